"""The headers document of an exchange: names and values in wire order, secrets marked.

Source: bundle-format.md 6.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.wire.strict_json import Json, parse_evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """Pairs of name and value; the value is None where it was redacted."""

    pairs: tuple[tuple[str, str | None], ...]

    def all(self, name: str) -> tuple[str | None, ...]:
        """Return every value of a name, compared without case."""
        wanted = name.lower()
        return tuple(value for found, value in self.pairs if found.lower() == wanted)


def _malformed(path: str, what: str) -> FormatError:
    return FormatError(0, what, reason=Reason.SHAPE_FIELD_TYPE, path=path)


def _pair(entry: Json, index: int) -> tuple[str, str | None]:
    path = f"/{index}"
    if isinstance(entry, str) or not isinstance(entry, Sequence) or len(entry) != 2:
        raise _malformed(path, "not a pair of name and value")
    name, value = entry
    if not isinstance(name, str):
        raise _malformed(f"{path}/0", "a header name is not a string")
    if isinstance(value, Mapping) and value == {"redacted": "secret"}:
        return name, None
    if not isinstance(value, str):
        raise _malformed(f"{path}/1", "a header value is neither a string nor redacted")
    return name, value


def parse_headers_document(body: bytes) -> Headers:
    """Read a headers document. Raises `FormatError` (``shape.field_type`` or the reader's own)."""
    value = parse_evidence(body)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _malformed("", "a headers document is an array")
    return Headers(pairs=tuple(_pair(entry, index) for index, entry in enumerate(value)))
