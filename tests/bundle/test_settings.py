"""Configuration file and command line of captures: what wins, what is refused, where keys go."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from bundle.commands.capture import resumed_settings
from bundle.config import read_config
from bundle.providers import provider
from bundle.settings import Given, Settings, settle
from verify.engine.errors import UsageError

if TYPE_CHECKING:
    from bundle.journal import Plan

KEY = "sk-0123456789abcdef"


def written(folder: Path, text: str) -> Path:
    place = folder / "teebundle.yaml"
    place.write_text(text)
    return place


def test_a_file_says_everything_that_the_command_line_can(tmp_path: Path) -> None:
    place = written(
        tmp_path,
        'provider: nanogpt\nmodel: "TEE/m"\nkey: "k/signer.key"\ntrust: ["t.json"]\ntimeout: 7\n'
        'max_response: 3\nnras: false\nstream: true\nendpoints:\n  intel_pcs: "https://p.example"\n'
        'options:\n  usage_stats: "no"\ntsa: ["https://t.example"]\n',
    )
    settings = settle(Given(config=place), {})
    assert settings.provider == "nanogpt"
    assert settings.keys == (tmp_path / "k/signer.key",)
    assert settings.trust == (tmp_path / "t.json",)
    assert settings.timeout_s == 7.0
    assert settings.max_response == 3 << 20
    assert settings.stream is True
    assert settings.endpoints.intel_pcs == "https://p.example"
    assert settings.options == {"usage_stats": "no"}
    assert settings.tsa == ("https://t.example",)


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    place = written(
        tmp_path,
        'provider: nanogpt\nmodel: "a"\nbase_url: "https://a.example"\napi_key_env: "A"\n'
        'nras: true\nnras_key_env: "A"\nkey: "a.key"\noperator: "a"\ntimeout: 1\nstream: true\n'
        'marker: false\ntsa: ["https://a.example"]\noptions:\n  one: "1"\n  two: "2"\n',
    )
    given = Given(
        config=place,
        provider="venice",
        model="b",
        base_url="https://b.example",
        api_key_env="B",
        nras_key_env="B",
        key=(Path("b.key"),),
        operator="b",
        timeout=2.5,
        stream=False,
        marker=True,
        tsa=("https://b.example",),
        options=("one=3",),
    )
    settings = settle(given, {"A": "a" * 20, "B": "b" * 20})
    assert (settings.provider, settings.model) == ("venice", "b")
    assert settings.base_url == "https://b.example"
    assert settings.secrets == ("b" * 20, "b" * 20)
    assert (settings.keys, settings.operator) == ((Path("b.key"),), "b")
    assert (settings.timeout_s, settings.stream, settings.marker) == (2.5, False, True)
    assert settings.tsa == ("https://b.example",)
    assert settle(replace(given, nras=False), {"B": "b" * 20}).nras_key is None
    assert settings.options == {"one": "3", "two": "2"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n", "a map of members"),
        ("provider: [nanogpt]\n", "provider is a text"),
        ("nonsense: 1\n", "no member nonsense"),
        ("nras: 1\n", "true or false"),
        ("timeout: 0\n", "above 0"),
        ("timeout: true\n", "above 0"),
        ("tsa: word\n", "list of texts"),
        ("options: word\n", "map of texts"),
        ('endpoints:\n  moon: "https://m.example"\n', "no endpoint moon"),
        ("provider: &a nanogpt\n", "line 1"),
        ("\n\nprovider: 7\n", "line 3"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_line(
    tmp_path: Path, text: str, says: str
) -> None:
    place = written(tmp_path, text)
    with pytest.raises(UsageError, match=says) as caught:
        read_config(place)
    assert str(place) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.yaml"):
        read_config(tmp_path / "gone.yaml")


def test_the_key_of_a_provider_is_sent_to_its_own_address_only() -> None:
    held = {"NANOGPT_API_KEY": KEY, "OTHER": "another-secret-1"}
    own = settle(Given(provider="nanogpt"), held)
    away = settle(Given(provider="nanogpt", base_url="https://elsewhere.example/api/"), held)
    named = settle(
        Given(provider="nanogpt", base_url="https://elsewhere.example", api_key_env="OTHER"), held
    )
    lists = settle(Given(provider="nanogpt", options=("models_url=https://e.example",)), held)
    assert own.api_key == KEY
    assert away.api_key is None
    assert lists.api_key is None
    assert away.base_url == "https://elsewhere.example/api"
    assert named.api_key == "another-secret-1"


def test_the_key_of_the_attestation_service_is_sent_to_its_own_address_only(tmp_path: Path) -> None:
    held = {"NVIDIA_API_KEY": KEY, "OTHER": "another-secret-1"}
    elsewhere = 'provider: nanogpt\nendpoints:\n  nvidia_nras: "https://nras.example"\n'
    place = written(tmp_path, elsewhere)
    assert settle(Given(provider="nanogpt", nras=True), held).nras_key == KEY
    assert settle(Given(provider="nanogpt"), held).nras_key is None
    assert settle(Given(config=place, nras=True), held).nras_key is None
    named = settle(Given(config=place, nras=True, nras_key_env="OTHER"), held)
    assert named.nras_key == "another-secret-1"


def test_no_credential_is_ever_shown() -> None:
    held = {"NANOGPT_API_KEY": KEY, "NVIDIA_API_KEY": "nv-secret-key", "P": "pass phrase"}
    given = Given(provider="nanogpt", nras=True, passphrase_env="P", proxy="http://u:pw@127.0.0.1")
    settings = settle(given, held)
    assert settings.secrets == (KEY, "nv-secret-key")
    for secret in (*settings.secrets, "pass phrase", "pw@"):
        assert secret not in repr(settings)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Given(), "name a provider"),
        (Given(provider="nanogpt", api_key_env="UNSET"), "UNSET holds no key"),
        (Given(provider="nanogpt", api_key_env="SHORT"), "no usable key"),
        (Given(provider="nanogpt", api_key_env="LINES"), "no usable key"),
        (Given(provider="nanogpt", base_url="http://provider.example"), "only https"),
        (Given(provider="nanogpt", base_url="https://p.example/?a=b"), "no query"),
        (Given(provider="nanogpt", base_url="https://p.example/a b"), "no address"),
        (Given(provider="nanogpt", max_response=5000), "--max-response"),
        (Given(provider="nanogpt", max_response=0), "--max-response"),
        (Given(provider="nanogpt", base_url="https://p.example/#x"), "no query"),
        (Given(provider="nanogpt", base_url="https://me:abcdefgh@p.example"), "a user name"),
        (Given(provider="nanogpt", base_url="https://p.example/?api_key=abcdefgh"), "no query"),
        (Given(provider="nanogpt", base_url="https://[abcdefgh@p.example"), "cannot be read"),
        (Given(provider="nanogpt", timeout=-1.0), "--timeout"),
        (Given(provider="nanogpt", timeout=float("nan")), "--timeout"),
        (Given(provider="nanogpt", timeout=float("inf")), "--timeout"),
        (Given(provider="nanogpt", timeout=86401.0), "--timeout"),
        (Given(provider="nanogpt", options=("x",)), "NAME=VALUE"),
        (Given(provider="nanogpt", passphrase_env="UNSET"), "no passphrase"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_sent(given: Given, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        settle(given, {"SHORT": "abc", "LINES": "abcdefgh\nijkl"})
    assert "abcdefgh" not in str(caught.value)


def test_an_endpoint_of_the_file_must_be_secure(tmp_path: Path) -> None:
    place = written(tmp_path, 'provider: nanogpt\nendpoints:\n  amd_kds: "http://amd.example"\n')
    with pytest.raises(UsageError, match="only https"):
        settle(Given(config=place), {})


def test_the_defaults_are_the_vendors_own_addresses() -> None:
    settings = settle(Given(provider="ionet"), {})
    assert isinstance(settings, Settings)
    assert settings.endpoints.intel_pcs == "https://api.trustedservices.intel.com"
    assert settings.api_key is None
    assert settings.marker is True


def test_a_resumed_capture_sends_no_default_key_where_the_first_did_not() -> None:
    held = {"CHUTES_API_KEY": KEY}
    options = {"models_url": "https://elsewhere.example/v1/models"}
    plan = SimpleNamespace(
        provider="chutes",
        base_url="https://api.chutes.ai",
        nras=False,
        options=options,
        settings={},
    )
    told = resumed_settings(cast("Plan", plan), Given(), provider("chutes"))
    assert settle(told, held).api_key is None
    plain = SimpleNamespace(**{**vars(plan), "options": {}})
    told = resumed_settings(cast("Plan", plain), Given(), provider("chutes"))
    assert settle(told, held).api_key == KEY
