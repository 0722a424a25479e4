"""Tinfoil: the enclave of a model, found in the router's table, and the releases that measured it.

The router is an enclave of its own and shows nothing of the machine that computes, so the table's
enclave is attested and talked to where there is one. The release of its code and the table of
hardware measurements are fetched beside it. Nobody signs a chat.

Options: ``enclave`` (host name of an enclave: no table is asked for); ``route`` (``off``: stay with
the router); ``repo`` (``owner/name`` of the enclave's code, where no table says); ``releases``
(base URL of the release service; else the capture's, else Tinfoil's); ``provenance`` (``off``).

Source: providers.md 7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bundle.calls import Attested, Call, Scene, Steps, patiently, usable
from bundle.providers.basis import Basis, always, query, segment
from bundle.providers.hosts import listed_url
from bundle.providers.reading import hex64, members, objects, text_of, texts
from bundle.recording import RecordedExchange
from verify.engine.errors import UsageError
from verify.wire.strict_json import Json

ROUTER: Final = "https://inference.tinfoil.sh"
DOMAIN: Final = "tinfoil.sh"
RELEASES: Final = "https://github-proxy.tinfoil.sh"
ROUTER_REPOSITORY: Final = "tinfoilsh/confidential-model-router"
HARDWARE: Final = "tinfoilsh/hardware-measurements"
_REPOSITORY: Final = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}"
)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Which release an enclave is said to run. ``tag``: None for the latest."""

    repository: str
    tag: str | None = None


def _hosts(value: Json) -> tuple[str, ...]:
    """Return the host names of a table's enclaves: a list of names or objects, or names to objects.

    The first that is allowed is taken.
    """
    if isinstance(value, Mapping):
        return tuple(value)
    named = tuple(text_of(item, "host") for item in objects(value))
    return (*texts(value), *(name for name in named if name))


def _release(repository: str | None, tag: str | None) -> Release | None:
    if repository is None or not _REPOSITORY.fullmatch(repository):
        return None
    return Release(repository=repository, tag=tag if tag and _TAG.fullmatch(tag) else None)


@dataclass(kw_only=True)
class Tinfoil(Basis):
    """Tinfoil, documents of version 3."""

    name: str = "tinfoil"
    title: str = "Tinfoil"
    profile: str = "tinfoil-v3"
    base_url: str | None = ROUTER
    marker_pointer: str | None = None
    algorithms: tuple[str, ...] = ()
    attestation_credential: str | None = None
    _releases: dict[tuple[str, str | None], Release | None] = field(
        default_factory=dict, repr=False
    )

    def attestation_path(
        self,
        scene: Scene,  # noqa: ARG002
        nonce: bytes,
        algorithm: str | None,  # noqa: ARG002
        signer: str | None,  # noqa: ARG002
    ) -> str:
        """Return path and query of a document request."""
        return query("/.well-known/tinfoil-attestation", ("nonce", nonce.hex()))

    def fixed(self, scene: Scene) -> str | None:
        """Return the router's URL where the capture stays with it, None where a table is asked."""
        return scene.base_url if scene.options.get("route") == "off" else None

    def locate(self, scene: Scene) -> Steps[str | None]:
        """Find the enclave that serves the model; the base URL itself where no table names one."""
        options, key = scene.options, (scene.base_url, scene.model)
        default = ROUTER_REPOSITORY if scene.base_url == ROUTER else None
        self._releases[key] = _release(options.get("repo", default), None)
        if "enclave" in options:
            self._releases[key] = _release(options.get("repo"), None)
            own = listed_url(scene.base_url, options["enclave"], DOMAIN)
            if own is None:
                message = f"tinfoil: {options['enclave']!r} is no host of Tinfoil's: name one"
                raise UsageError(message)
            return own
        if options.get("route") == "off":
            return scene.base_url
        call = self._get(
            scene, "route", "model-list", f"{scene.base_url}/.well-known/tinfoil-proxy"
        )
        _, recorded = yield from patiently(always(call))
        entry = self._entry(recorded, scene)
        for host in () if entry is None else _hosts(entry.get("enclaves")):
            url = listed_url(scene.base_url, host, DOMAIN)
            if entry is not None and url is not None:
                repository = options.get("repo") or text_of(entry, "repo")
                self._releases[key] = _release(repository, text_of(entry, "tag"))
                return url
        return scene.base_url

    def _entry(self, recorded: RecordedExchange, scene: Scene) -> Mapping[str, Json] | None:
        table = members(recorded)
        models = None if table is None else table.get("models")
        entry = models.get(scene.model or "") if isinstance(models, Mapping) else None
        return entry if isinstance(entry, Mapping) else None

    def unsigned(
        self,
        chat: RecordedExchange,  # noqa: ARG002
        exchanges: Sequence[RecordedExchange],  # noqa: ARG002
    ) -> str:
        """Return nothing: nobody signs a chat here, so nothing is missing."""
        return ""

    def before(self, scene: Scene) -> Steps[Attested]:
        """Attest, with collateral and the releases that say what was measured."""
        found = yield from super().before(scene)
        if found.usable and scene.options.get("provenance") != "off":
            release = self._releases.get((scene.base_url, scene.model))
            for name, wanted in (("code", release), ("hardware", Release(repository=HARDWARE))):
                if wanted is not None:
                    yield from self._fetch(scene, name, wanted)
        return found

    def _fetch(self, scene: Scene, name: str, release: Release) -> Steps[None]:
        """Fetch one release: its tag where none is known, its digest, the statements about it."""
        base = scene.options.get("releases") or getattr(
            getattr(scene, "endpoints", None), "tinfoil_releases", RELEASES
        )
        tag = release.tag
        if tag is None:
            url = f"{base}/repos/{release.repository}/releases/latest"
            latest = self._get(scene, f"release-{name}.latest", "provenance", url)
            _, recorded = yield from patiently(always(latest))
            stated = members(recorded)
            tag = None if stated is None else text_of(stated, "tag_name")
        if tag is None or not _TAG.fullmatch(tag):
            return
        url = f"{base}/{release.repository}/releases/download/{segment(tag)}/tinfoil.hash"
        digest = self._get(scene, f"release-{name}.digest", "provenance", url)
        _, recorded = yield from patiently(always(digest))
        body = recorded.response_body or b""
        found = hex64(body.decode("ascii", "replace").strip()) if usable(recorded) else None
        if found is None:
            return
        url = f"{base}/repos/{release.repository}/attestations/sha256:{found}"
        statements = self._get(scene, f"release-{name}.statements", "provenance", url)
        yield from patiently(always(statements))

    def _get(self, scene: Scene, step: str, purpose: str, url: str) -> Call:
        return Call(
            step=step, purpose=purpose, method="GET", url=url, session=scene.session, stage=purpose
        )
