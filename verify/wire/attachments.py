"""Attachments: payload bytes of a signed record to what it says about a bundle.

An attachment adds evidence or statements; it never changes what the bundle's own Statement means.

Source: bundle-format.md 11.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from verify.engine.errors import FormatError
from verify.engine.value import value
from verify.wire import limits, scalars
from verify.wire.documents import read, statement_version, unusable_at
from verify.wire.model import BundleId, Capture, Clock, Digest, KeyId, Statement
from verify.wire.statement import (
    read_artifacts,
    read_exchanges,
    read_extensions,
    read_subject,
)
from verify.wire.strict_json import parse_own

_FAMILY: Final = "urn:teebundle:attachment:"
_OWN_IDS: Final = ("request", "answer", "jwks", "report", "text")


@value
class Removed:
    """One entry of a redaction: the artifact withheld, its digest, and why."""

    artifact: str
    digest: Digest
    reason: str


@value
class Custody:
    """One custody event. ``previous``: attachment id of the event before, None for the first."""

    sequence: int
    previous: BundleId | None
    action: str
    file: Digest | None


@value
class ReadAttachment:
    """An attachment as it is written, not yet compared with the bundle or itself.

    ``subject``: (name, digest) in order, the bundle first. ``statement``: its own artifacts and
    exchanges; ``capture`` repeats ``at`` and ``by``, the rest is empty. ``devices``: artifact ids
    of the *bundle*. ``own``: member name to an id of its own artifacts. ``custody``, ``removed``:
    of those kinds. ``said``: the text members of the predicate, for display.
    """

    kind: str
    at: datetime
    by: str
    subject: tuple[tuple[str, str], ...]
    statement: Statement
    devices: tuple[str, ...]
    own: Mapping[str, str]
    custody: Custody | None
    removed: tuple[Removed, ...]
    said: Mapping[str, str]


def _instant(predicate: Mapping[str, Any], name: str, document: str) -> datetime:
    try:
        return scalars.parse_time(predicate[name])
    except FormatError as error:
        raise unusable_at(document, f"/predicate/{name}", error) from None


def _statement(predicate: Mapping[str, Any], document: str, at: datetime, kind: str) -> Statement:
    artifacts = read_artifacts(predicate["artifacts"])
    return Statement(
        schema=predicate["schema"],
        id="",
        profile=kind,
        capture=Capture(
            mode="live",
            complete=True,
            started_at=at,
            ended_at=at,
            clock=Clock(source="unknown", offset_ms=None, max_error_ms=None),
            operator=predicate["by"],
            host=None,
            provider_name="",
            provider_endpoint="",
            tool_name="",
            tool_version="",
            imported_from=None,
            imported_times=None,
        ),
        signer=KeyId(""),
        nonces=(),
        artifacts=artifacts,
        exchanges=read_exchanges(predicate["exchanges"], document),
        bindings=(),
        observations=(),
        extensions=read_extensions(predicate, document),
        critical=tuple(predicate["critical"]),
        _by_id={artifact.id: artifact for artifact in artifacts},
    )


def _custody(predicate: Mapping[str, Any]) -> Custody:
    return Custody(
        sequence=predicate["sequence"],
        previous=predicate["previous"],
        action=predicate["action"],
        file=predicate["file"],
    )


def read_attachment(
    payload: bytes, index: int, *, limit: int = limits.DEFAULT.payload
) -> ReadAttachment:
    """Read the payload of attachment number ``index``.

    Raises MalformedInput where it cannot be used; FormatError with reason
    ``statement.minor_unsupported`` for a higher minor version.
    """
    document = f"attachment:{index}"
    parsed = read(
        payload,
        name="attachment",
        document=document,
        limit=limit,
        version=statement_version(document, f"{_FAMILY}[a-z-]{{1,64}}"),
    )
    predicate = parsed["predicate"]
    kind = str(parsed["predicateType"]).removeprefix(_FAMILY).removesuffix(":v1")
    at = _instant(predicate, "at", document)
    if kind == "verdict":
        _instant(predicate, "asOf", document)
    if kind == "retention" and predicate["until"] is not None:
        _instant(predicate, "until", document)
    return ReadAttachment(
        kind=kind,
        at=at,
        by=predicate["by"],
        subject=read_subject(parsed["subject"]),
        statement=_statement(predicate, document, at, kind),
        devices=tuple(predicate.get("devices", ())),
        own={name: predicate[name] for name in _OWN_IDS if name in predicate},
        custody=_custody(predicate) if kind == "custody" else None,
        removed=tuple(
            Removed(
                artifact=entry["artifact"], digest=Digest(entry["digest"]), reason=entry["reason"]
            )
            for entry in predicate.get("removed", ())
        ),
        said={
            name: found
            for name, found in predicate.items()
            if isinstance(found, str) and name not in _OWN_IDS
        },
    )


def named_digests(payload: bytes, *, limit: int = limits.DEFAULT.payload) -> frozenset[str]:
    """Return the digests that the artifacts of a record name, whatever else may be wrong with it.

    This only says whose a blob is, so it asks for no version and no schema; a payload that is not
    JSON names nothing.
    """
    try:
        found = parse_own(payload, limit=limit)
    except FormatError:
        return frozenset()
    predicate = found.get("predicate") if isinstance(found, dict) else None
    artifacts = predicate.get("artifacts") if isinstance(predicate, dict) else None
    digests = (
        entry.get("digest")
        for entry in (artifacts if isinstance(artifacts, list) else ())
        if isinstance(entry, dict)
    )
    return frozenset(digest for digest in digests if isinstance(digest, str))
