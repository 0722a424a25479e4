"""Hosts that a provider's list may send an API key to."""

from __future__ import annotations

import pytest

from bundle.providers.hosts import listed_url

OWN = "https://completions.near.ai"


@pytest.mark.parametrize(
    ("domain", "url"),
    [
        ("completions.near.ai", "https://completions.near.ai"),
        ("a-1.completions.near.ai", "https://a-1.completions.near.ai"),
        ("A.COMPLETIONS.near.ai", "https://a.completions.near.ai"),
        ("a.completions.near.ai:8443", "https://a.completions.near.ai:8443"),
        ("a.completions.near.ai/", "https://a.completions.near.ai"),
        ("b.tinfoil.sh", "https://b.tinfoil.sh"),
    ],
)
def test_a_host_below_an_allowed_name_is_taken(domain: str, url: str) -> None:
    assert listed_url(OWN, domain, "tinfoil.sh") == url


@pytest.mark.parametrize(
    "domain",
    [
        "",
        "evil.example",
        "near.ai",
        "evilcompletions.near.ai",
        "completions.near.ai.evil.example",
        "x@completions.near.ai",
        "evil.example#.completions.near.ai",
        "evil.example?.completions.near.ai",
        "evil.example/.completions.near.ai",
        "evil.example\\.completions.near.ai",
        "completions.near.ai/path",
        "completions.near.ai:0",
        "completions.near.ai:99999",
        "completions.near.ai:x",
        "..completions.near.ai",
        ".completions.near.ai",
        "-x.completions.near.ai",
        "x-.completions.near.ai",
        "a\tb.completions.near.ai",
        "a\nb.completions.near.ai",
        "a\x00b.completions.near.ai",
        "a\x1bb.completions.near.ai",
        "a b.completions.near.ai",
        "a&b.completions.near.ai",
        "a<b>.completions.near.ai",
        "a,b.completions.near.ai",
        "a%2eb.completions.near.ai",
        "\u00e9.completions.near.ai",
        "a" * 64 + ".completions.near.ai",
        "a." * 150 + "completions.near.ai",
        "[::1]",
        "127.0.0.1",
        "localhost",
        "[x.completions.near.ai",
    ],
)
def test_no_other_host_is_sent_a_key(domain: str) -> None:
    assert listed_url(OWN, domain) is None


@pytest.mark.parametrize("own", ["https://127.0.0.1:8443", "https://localhost", "https://[::1]"])
def test_a_list_on_this_machine_names_this_machine_alone(own: str) -> None:
    assert listed_url(own, "127.0.0.1:1") == "https://127.0.0.1:1"
    assert listed_url(own, "[::1]:2") == "https://[::1]:2"
    assert listed_url(own, "evil.example") is None
    assert listed_url(own, "127.0.0.1.evil.example") is None
    assert listed_url(own, "a.localhost") is None
