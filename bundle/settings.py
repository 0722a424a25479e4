"""What a capture or a proxy is told, from configuration file and command line, made ready to use.

Files are read here and named in every complaint; keys come from the environment and are never part
of a message. Source: `bundle.config`, providers.md 2.8, 13.1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bundle.collateral import Endpoints
from bundle.config import EMPTY, read_config
from verify.engine.errors import UsageError

if TYPE_CHECKING:
    from bundle.keys import FileSigner
    from verify.policy.model import Policy
    from verify.trust.store import TrustStore

KEY_VARIABLES: Final[Mapping[str, str]] = {
    "nanogpt": "NANOGPT_API_KEY",
    "ionet": "IONET_API_KEY",
    "near-direct": "NEAR_API_KEY",
    "near-gateway": "NEAR_API_KEY",
    "phala": "PHALA_API_KEY",
    "dstack": "DSTACK_API_KEY",
    "redpill": "REDPILL_API_KEY",
    "venice": "VENICE_API_KEY",
    "chutes": "CHUTES_API_KEY",
    "tinfoil": "TINFOIL_API_KEY",
    "aci": "ACI_API_KEY",
}
"""Provider -> environment variable that holds its API key, where none is named."""
NRAS_VARIABLE: Final = "NVIDIA_API_KEY"
MOST_RESPONSE_MIB: Final = 4096
"""Hard limit of an external blob (bundle-format.md 4)."""
LONGEST_TIMEOUT_S: Final = 86_400
SHORTEST_SECRET: Final = 8
"""A credential below this length would be found in bodies by chance; it is refused as unset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that configuration file and command line decide. ``secrets``: never shown.

    ``api_key``: None where no variable holds one. ``named_key_env``: the variable named for it,
    None where the provider's own was looked at. ``timeout_s``: seconds without a byte, None for the
    defaults. ``max_response``: bytes of a chat answer, None for the default. ``policy``, ``trust``:
    files; see `load_judgement`.
    """

    provider: str
    base_url: str | None = None
    profile: str | None = None
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    named_key_env: str | None = None
    nras_key: str | None = field(default=None, repr=False)
    nras_key_env: str | None = None
    passphrase_env: str | None = None
    keys: tuple[Path, ...] = ()
    passphrase: bytes | None = field(default=None, repr=False)
    ca_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)
    unverified_hosts: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    operator: str = "capturer"
    policy: Path | None = None
    trust: tuple[Path, ...] = ()
    signer: tuple[Path, ...] = ()
    tsa: tuple[str, ...] = ()
    beacon: str | None = None
    timeout_s: float | None = None
    max_response: int | None = None
    nras: bool = False
    stream: bool | None = None
    marker: bool = True
    blobs: Path | None = None
    endpoints: Endpoints = field(default_factory=Endpoints)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every configured credential."""
        return tuple(item for item in (self.api_key, self.nras_key) if item)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the command line says; None, or empty, where it says nothing."""

    provider: str | None = None
    base_url: str | None = None
    profile: str | None = None
    model: str | None = None
    api_key_env: str | None = None
    nras_key_env: str | None = None
    key: tuple[Path, ...] = ()
    passphrase_env: str | None = None
    ca_file: Path | None = None
    proxy: str | None = None
    unverified_hosts: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    operator: str | None = None
    policy: Path | None = None
    trust: tuple[Path, ...] = ()
    signer: tuple[Path, ...] = ()
    tsa: tuple[str, ...] = ()
    beacon: str | None = None
    timeout: float | None = None
    max_response: int | None = None
    nras: bool | None = None
    stream: bool | None = None
    marker: bool | None = None
    blobs: Path | None = None
    options: tuple[str, ...] = ()
    config: Path | None = None


def secret_of(variable: str | None, default: str, environment: Mapping[str, str]) -> str | None:
    """Return the credential that an environment variable holds, None where there is none.

    A variable that was named must hold one. Raises UsageError.
    """
    value = environment.get(variable or default, "").strip()
    if not value:
        if variable is None:
            return None
        raise UsageError(f"the environment variable {variable} holds no key: set it and try again")
    if len(value) < SHORTEST_SECRET or not value.isascii() or not value.isprintable():
        raise UsageError(
            f"the environment variable {variable or default} holds no usable key: at least "
            f"{SHORTEST_SECRET} printable ASCII characters are expected"
        )
    return value


def _options(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--option takes NAME=VALUE, not {text!r}")
        found[name] = value
    return found


def _base_url(url: str | None) -> str | None:
    from bundle.recording import redacted_url  # noqa: PLC0415  (help does not need it)
    from bundle.transport import demand_address  # noqa: PLC0415  (imports the HTTP client)

    if url is None:
        return None
    demand_address(url)
    if "?" in url or "#" in url:
        message = f"{redacted_url(url)}: a base URL ends with its path: no query, no fragment"
        raise UsageError(message)
    return url.rstrip("/")


def settle(given: Given, environment: Mapping[str, str] | None = None) -> Settings:
    """Return what holds, the command line over the file over the defaults. Raises UsageError.

    The variable with a key is a default one only where the address is the provider's (or NVIDIA's)
    own: to another address no key is sent unless its variable is named.
    """
    from bundle.keys import passphrase_in  # noqa: PLC0415  (help does not need it)

    held = os.environ if environment is None else environment
    said = EMPTY if given.config is None else read_config(given.config)
    provider = given.provider or said.provider
    if provider is None:
        known = ", ".join(sorted(KEY_VARIABLES))
        raise UsageError(f"name a provider, one of {known}")
    base_url = _base_url(given.base_url or said.base_url)
    named = given.api_key_env or said.api_key_env
    options = {**(said.options or {}), **_options(given.options)}
    elsewhere = base_url is not None or any("://" in value for value in options.values())
    api_key = None
    if named is not None or not elsewhere:
        api_key = secret_of(named, KEY_VARIABLES.get(provider, "TEEBUNDLE_API_KEY"), held)
    nras = given.nras if given.nras is not None else bool(said.nras)
    nras_named = given.nras_key_env or said.nras_key_env
    nras_own = "nvidia_nras" not in (said.endpoints or {})
    most = said.max_response if given.max_response is None else given.max_response
    if most is not None and not 0 < most <= MOST_RESPONSE_MIB:
        raise UsageError(f"--max-response is 1 to {MOST_RESPONSE_MIB} MiB, not {most}")
    timeout = given.timeout if given.timeout is not None else said.timeout
    if timeout is not None and not 0 < timeout <= LONGEST_TIMEOUT_S:  # refuses NaN, too
        raise UsageError(f"--timeout is a number of seconds above 0, at most {LONGEST_TIMEOUT_S}")
    keys = given.key or (() if said.key is None else (said.key,))
    settings = Settings(
        provider=provider,
        base_url=base_url,
        profile=given.profile or said.profile,
        model=given.model or said.model,
        api_key=api_key,
        named_key_env=named,
        nras_key_env=nras_named,
        passphrase_env=given.passphrase_env or said.passphrase_env,
        nras_key=secret_of(nras_named, NRAS_VARIABLE, held)
        if nras and (nras_named is not None or nras_own)
        else None,
        keys=keys,
        passphrase=passphrase_in(given.passphrase_env or said.passphrase_env, held),
        ca_file=given.ca_file or said.ca_file,
        proxy=given.proxy or said.proxy,
        unverified_hosts=given.unverified_hosts or said.unverified_hosts,
        algorithms=given.algorithms or said.algorithms,
        operator=given.operator or said.operator or "capturer",
        policy=given.policy or said.policy,
        trust=given.trust or said.trust,
        signer=given.signer or said.signer,
        tsa=given.tsa or said.tsa,
        beacon=given.beacon or said.beacon,
        timeout_s=None if timeout is None else float(timeout),
        max_response=None if most is None else most << 20,
        nras=nras,
        stream=given.stream if given.stream is not None else said.stream,
        marker=given.marker if given.marker is not None else said.marker is not False,
        blobs=given.blobs or said.blobs,
        options=options,
    )
    if said.endpoints:
        for url in said.endpoints.values():
            _base_url(url)
        settings = replace(settings, endpoints=replace(settings.endpoints, **said.endpoints))
    return settings


def load_signers(settings: Settings) -> tuple[FileSigner, ...]:
    """Return the signers of the key files, in order; the first is the session's. UsageError."""
    from bundle.importing import load_key  # noqa: PLC0415  (help does not need it)

    if not settings.keys:
        raise UsageError("name a capture key with --key KEY; make one with: teebundle keygen -o k")
    return tuple(load_key(path, settings.passphrase) for path in settings.keys)


def load_judgement(settings: Settings) -> tuple[Policy | None, TrustStore]:
    """Return policy (None where none is named) and trust store, as ``verify`` would read them."""
    from verify.cli.loading import policy_of, trust_of  # noqa: PLC0415  (help does not need it)

    policy = None if settings.policy is None else policy_of(str(settings.policy), None)
    trust = trust_of(
        tuple(str(path) for path in settings.trust), tuple(str(path) for path in settings.signer)
    )
    return policy, trust
