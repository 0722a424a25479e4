"""Scalars of our own documents: times, digests, ids, pointers. One text for one value.

Raises only `FormatError`. Source: bundle-format.md 3; JSON Pointer: RFC 6901.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from verify.engine.errors import FormatError
from verify.wire.model import Digest

_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_LOCAL_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_ESCAPE: Final = re.compile(r"~(?![01])")
_URL: Final = re.compile(r"https?://[!-~]+")
POINTER_LIMIT: Final = 1_024
URL_LIMIT: Final = 8_192


def parse_time(text: str) -> datetime:
    """Return the instant of ``YYYY-MM-DDTHH:MM:SS.sssZ``: aware UTC, milliseconds.

    Refused: any other length, a date or hour that no calendar has, a leap second, years before 2000
    or after 9998.
    """
    if _TIME.fullmatch(text) is None:
        raise FormatError(0, "a time is written like 2026-01-31T12:00:00.000Z")
    try:
        found = datetime.fromisoformat(text[:23]).replace(tzinfo=UTC)
    except ValueError:
        raise FormatError(0, "no calendar has this time") from None
    if not 2000 <= found.year <= 9998:
        raise FormatError(0, "a year outside 2000 to 9998")
    return found


def format_time(instant: datetime) -> str:
    """Write an aware instant, cut to milliseconds. Raises ValueError for a naive one."""
    if instant.tzinfo is None:
        message = "an instant without a time zone is ambiguous"
        raise ValueError(message)
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_digest(text: str) -> Digest:
    """Return a digest text ``sha256:`` and 64 lower-case hex digits, checked."""
    if _DIGEST.fullmatch(text) is None:
        raise FormatError(0, "a digest is sha256: and 64 lower-case hex digits")
    return Digest(text)


def digest_of(data: bytes) -> Digest:
    """Return the digest text of a byte string."""
    return Digest(f"sha256:{sha256(data).hexdigest()}")


def parse_local_id(text: str) -> str:
    """Return a local id, checked: a lower-case letter, then letters, digits, hyphens."""
    if _LOCAL_ID.fullmatch(text) is None:
        raise FormatError(0, "an id is a lower-case letter, then at most 63 of a-z, 0-9, hyphen")
    return text


def parse_url(text: str) -> str:
    """Return a URL, checked: ``https`` or ``http``, a host, no user info, no fragment."""
    if len(text) > URL_LIMIT:
        raise FormatError(URL_LIMIT, f"longer than {URL_LIMIT} characters")
    if _URL.fullmatch(text) is None:
        raise FormatError(0, "an http or https URL in printable ASCII")
    authority = re.split(r"[/?]", text.partition("://")[2], maxsplit=1)[0]
    if not authority or "@" in authority:
        raise FormatError(0, "a URL with a host and without user info")
    if "#" in text:
        raise FormatError(text.index("#"), "a URL without a fragment")
    return text


def parse_pointer(text: str) -> tuple[str, ...]:
    """Return the tokens of a JSON Pointer, unescaped; the empty pointer has none."""
    if len(text) > POINTER_LIMIT:
        raise FormatError(POINTER_LIMIT, f"a pointer longer than {POINTER_LIMIT} characters")
    if not text:
        return ()
    if text[0] != "/":
        raise FormatError(0, "a JSON Pointer is empty or begins with a slash")
    bad = _ESCAPE.search(text)
    if bad is not None:
        raise FormatError(bad.start(), "~ stands only in ~0 and ~1")
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/"))


def pointer_token(name: str | int) -> str:
    """Return a member name or index as one token of a JSON Pointer."""
    if isinstance(name, int):
        return str(name)
    return name.replace("~", "~0").replace("/", "~1") if "~" in name or "/" in name else name


def parse_index(token: str) -> int | None:
    """Return the array index a pointer token writes, or None: no leading zero, no ``-``."""
    return int(token) if _INDEX.fullmatch(token) else None
