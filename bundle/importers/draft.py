"""What every importer hands over, and how it becomes an assembly ready to be sealed.

Source: bundle-format.md 6.1 (``mode`` import, ``importedFrom``); verification.md 3.3, T6.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import urlsplit

from bundle.assemble import Assembly, CaptureClaims
from bundle.inventory import Inventory, header
from bundle.recording import RecordedExchange
from verify.engine.errors import UsageError
from verify.families.shapes import PROFILE_SHAPES
from verify.version import VERSION
from verify.wire.model import KeyId

Times = Literal["recorded", "file-date", "assumed"]

_LABELS: Final = {
    "neardirect": "near-direct",
    "nearcloud": "near-gateway",
    "nanogpt": "nanogpt",
    "venice": "venice",
    "chutes": "chutes",
    "phala": "vllm-proxy",
    "redpill": "redpill",
}

UNRECORDED: Final = "https://unrecorded.invalid"
"""Origin written where a recording keeps no URL: a name that no host can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedExchange:
    """A recorded exchange and the file it came from, for messages."""

    recorded: RecordedExchange
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording read from disk: exchanges in order, who is said to have answered, when.

    ``label``: the recorder's own name of the provider, or empty. ``files``: name and bytes of every
    file that was read.
    """

    label: str
    description: str
    exchanges: tuple[NamedExchange, ...]
    started_at: datetime
    ended_at: datetime
    times: Times
    files: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An assembly with its claims: `Assembly.freeze` and a seal make a bundle of it."""

    assembly: Assembly
    claims: CaptureClaims


def utc(moment: datetime) -> datetime:
    """Return the instant in UTC, cut to milliseconds."""
    found = moment.astimezone(UTC)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)


def date_of(recorded: RecordedExchange) -> datetime | None:
    """Return the instant of the answer's ``Date`` header, or None."""
    stated = header(recorded, "date")
    if stated is None:
        return None
    try:
        found = parsedate_to_datetime(stated)
    except ValueError:
        return None
    return utc(found if found.tzinfo is not None else found.replace(tzinfo=UTC))


def profile_of(label: str, profile: str | None) -> str:
    """Return the profile of a recording: as asked for, else by the recorder's label.

    Raises UsageError that lists the names. Source: verification.md 3.3.
    """
    known = sorted(PROFILE_SHAPES)
    if profile is not None:
        if profile not in PROFILE_SHAPES:
            message = f"--profile {profile}: no such profile; known: {', '.join(known)}"
            raise UsageError(message)
        return profile
    if label in _LABELS:
        return _LABELS[label]
    if label.startswith("tinfoil_v3"):
        return "tinfoil-v3"
    what = (
        f"the recorder's label {label!r} names no profile" if label else "nothing names a profile"
    )
    message = f"{what}: say --profile NAME, one of {', '.join(known)}"
    raise UsageError(message)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _end(exchanges: Sequence[NamedExchange], ended_at: datetime) -> datetime:
    """Return the capture's end: not before any exchange's end, nor any ``Date`` header."""
    dates = [date_of(named.recorded) for named in exchanges]
    ends = [named.recorded.ended_at for named in exchanges]
    return max([ended_at, *ends, *(date for date in dates if date is not None)])


def draft(
    recording: Recording,
    *,
    signer: KeyId,
    statement_id: str,
    salt: Callable[[str], bytes],
    operator: str,
    profile: str | None = None,
    lenient: bool = False,
) -> Draft:
    """Return the assembly of a recording.

    ``salt``: artifact id to 32 fresh bytes; ``statement_id``: ``urn:uuid:…``. ``lenient``: keep an
    answer of a family that is not read here instead of refusing it. Raises UsageError.
    """
    name = profile_of(recording.label, profile)
    attestations = [
        named for named in recording.exchanges if named.recorded.purpose == "attestation"
    ]
    if not attestations:
        message = f"{recording.description}: no attestation answer in this recording"
        raise UsageError(message)
    assembly = Assembly(profile=name, signer=signer, statement_id=statement_id, salt=salt)
    inventory = Inventory(assembly=assembly, lenient=lenient)
    for named in recording.exchanges:
        inventory.add(named.recorded, name=named.file)
    inventory.bind()
    claims = CaptureClaims(
        mode="import",
        started_at=min(
            [recording.started_at, *(named.recorded.started_at for named in recording.exchanges)]
        ),
        ended_at=_end(recording.exchanges, recording.ended_at),
        operator=operator,
        provider=recording.label or name,
        endpoint=_origin(attestations[0].recorded.url),
        tool_version=VERSION,
        imported_description=recording.description,
        imported_times=recording.times,
        imported_files=tuple(
            dict.fromkeys("sha256:" + sha256(data).hexdigest() for _, data in recording.files)
        ),
    )
    return Draft(assembly=assembly, claims=claims)
