"""Redaction before storage: headers and URLs."""

from __future__ import annotations

import pytest

from bundle.recording import holds_secret, redacted_headers, redacted_url


@pytest.mark.parametrize(
    "name",
    ["Authorization", "COOKIE", "Set-Cookie", "x-api-key", "X-Auth-Token", "my-secret-thing"],
)
def test_recording_secret_header_value_is_replaced(name: str) -> None:
    assert redacted_headers(((name, "s3cret"),)) == ((name, None),)


def test_recording_other_headers_stay_in_order_and_case() -> None:
    pairs = (("Date", "x"), ("date", "y"), ("TCB-Info-Issuer-Chain", "z"))
    assert redacted_headers(pairs) == pairs
    assert redacted_headers(pairs, frozenset({"date"}))[0] == ("Date", None)


def test_recording_url_loses_user_fragment_and_secret_values_only() -> None:
    url = "https://me:pw@api.example/v1/a?model=TEE/x%2Fy&nonce=00&token=abc&sig=a%3D&empty#frag"
    assert redacted_url(url) == (
        "https://api.example/v1/a?model=TEE/x%2Fy&nonce=00&token={redacted}&sig={redacted}&empty"
    )


@pytest.mark.parametrize("name", ["auth_token", "client_secret", "api%5Fkey", "API_KEY", "Token"])
def test_url_query_values_are_secret_by_name_however_it_is_written(name: str) -> None:
    shown = redacted_url(f"https://h/p?a=1&{name}=s3cret&b=2")
    assert shown == f"https://h/p?a=1&{name}={{redacted}}&b=2"


def test_url_that_is_none_is_not_repeated() -> None:
    assert redacted_url("https://[me:s3cret@h/") == "(no address)"


def test_secret_is_found_in_texts_of_the_wire_and_in_others() -> None:
    form = "\u20ac-s3cret".encode()
    assert holds_secret("a \u20ac-s3cret", (form,))
    assert holds_secret("a " + form.decode("latin-1"), (form,))
    assert not holds_secret("a s3cret", (form,))
    assert not holds_secret("a", ())
