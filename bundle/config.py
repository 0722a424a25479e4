"""`teebundle.yaml`: what a capture or a proxy is told, besides its command line.

Read only where it is named with ``--config``: a file that lies about in a working folder must not
decide where an API key is sent. A command-line option wins over the file. Relative paths start at
the file's own folder. The grammar is that of policies (`verify.policy.closed_yaml`): texts other
than plain words are quoted. No key stands in it, only the name of the variable that holds one.

::

    provider: nanogpt
    model: "TEE/gemma-3-27b"
    api_key_env: "NANOGPT_API_KEY"
    key: "k/signer.key"
    base_url: "https://nano-gpt.com/api"
    policy: "policy.yaml"
    trust: ["trust.json"]
    signer: ["k/signer.pub"]
    tsa: ["https://tsa.example/tsr"]
    beacon: "https://log.example/checkpoint"
    timeout: 120
    max_response: 64
    nras: false
    endpoints:
      intel_pcs: "https://pccs.internal.example"
    options:
      usage_stats: "true"

Source: issue of live capture; providers.md 13.1 (no host is fixed in code).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, cast

from bundle.collateral import Endpoints
from verify.engine.errors import MalformedInput, UsageError
from verify.policy.closed_yaml import MAX_BYTES, YamlRefusal, parse_yaml

TEXTS: Final = (
    "provider",
    "model",
    "base_url",
    "api_key_env",
    "nras_key_env",
    "operator",
    "proxy",
    "beacon",
    "profile",
    "passphrase_env",
)
PATHS: Final = ("key", "ca_file", "policy", "blobs")
LISTS: Final = ("tsa", "algorithms", "unverified_hosts")
PATH_LISTS: Final = ("trust", "signer")
NUMBERS: Final = ("timeout", "max_response")
SWITCHES: Final = ("nras", "stream", "marker")
MAPS: Final = ("endpoints", "options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a configuration file says; None, or empty, where it says nothing.

    ``timeout``: seconds without a byte. ``max_response``: mebibytes of a chat answer.
    """

    provider: str | None = None
    profile: str | None = None
    model: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    nras_key_env: str | None = None
    operator: str | None = None
    proxy: str | None = None
    beacon: str | None = None
    key: Path | None = None
    ca_file: Path | None = None
    policy: Path | None = None
    blobs: Path | None = None
    passphrase_env: str | None = None
    tsa: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    unverified_hosts: tuple[str, ...] = ()
    trust: tuple[Path, ...] = ()
    signer: tuple[Path, ...] = ()
    timeout: int | None = None
    max_response: int | None = None
    nras: bool | None = None
    stream: bool | None = None
    marker: bool | None = None
    endpoints: Mapping[str, str] | None = None
    options: Mapping[str, str] | None = None


EMPTY: Final = Config()
_MEMBERS: Final = frozenset(member.name for member in fields(Config))
_ENDPOINTS: Final = frozenset(member.name for member in fields(Endpoints))


def _refuse(file: str, line: int, what: str) -> UsageError:
    place = f"{file}: line {line}" if line else file
    return UsageError(f"{place}: {what}")


def read_config(path: Path) -> Config:
    """Return what a configuration file says. Raises UsageError naming file, line and remedy."""
    from verify.cli.files import read_file  # noqa: PLC0415  (only who names a file pays)

    file = str(path)
    try:
        document = parse_yaml(read_file(file, MAX_BYTES, "policy"))
    except MalformedInput as error:
        raise UsageError(f"{file}: no configuration: {error.what}") from error
    except YamlRefusal as error:
        raise _refuse(file, error.line, error.what) from error
    if not isinstance(document.value, dict):
        raise _refuse(file, 1, "a configuration is a map of members, such as provider: nanogpt")
    found: dict[str, object] = {}
    for name, value in document.value.items():
        line = document.lines.get(f"/{name}", 0)
        if name not in _MEMBERS:
            known = ", ".join(sorted(_MEMBERS))
            raise _refuse(file, line, f"no member {name}; known: {known}")
        found[name] = _member(file, line, name, value, path.parent)
    return Config(**found)  # type: ignore[arg-type]


def _member(file: str, line: int, name: str, value: object, folder: Path) -> object:
    """Return a member's value in its type. Raises UsageError."""
    if name in SWITCHES:
        if isinstance(value, bool):
            return value
        raise _refuse(file, line, f"{name} is true or false")
    if name in NUMBERS:
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        raise _refuse(file, line, f"{name} is a whole number above 0")
    if name in LISTS or name in PATH_LISTS:
        if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise _refuse(file, line, f'{name} is a list of texts: ["one", "another"]')
        texts = cast("list[str]", value)
        return tuple(folder / item for item in texts) if name in PATH_LISTS else tuple(texts)
    if name in MAPS:
        if not (isinstance(value, dict) and all(isinstance(item, str) for item in value.values())):
            raise _refuse(file, line, f"{name} is a map of texts")
        if name == "endpoints":
            unknown = sorted(set(value) - _ENDPOINTS)
            if unknown:
                known = ", ".join(sorted(_ENDPOINTS))
                raise _refuse(file, line, f"no endpoint {unknown[0]}; known: {known}")
        return dict(value)
    if not isinstance(value, str) or not value:
        raise _refuse(file, line, f"{name} is a text")
    return folder / value if name in PATHS else value
