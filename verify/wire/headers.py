"""Headers documents: the header fields of one message, in wire order.

Source: bundle-format.md 6.3.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, cast

from verify.wire import limits, schema
from verify.wire.strict_json import parse_own

SECRET: Final = {"redacted": "secret"}

Field = tuple[str, str | None]
"""Name as received, and value; None where the value is secret and was never stored."""


def read_headers(data: bytes) -> tuple[Field, ...]:
    """Return the fields of a headers document. Raises `FormatError`."""
    value = parse_own(data, limit=limits.HEADERS_DOCUMENT)
    schema.check("headers", value)
    pairs = cast("list[tuple[str, object]]", value)
    return tuple((name, found if isinstance(found, str) else None) for name, found in pairs)


def write_headers(fields: Sequence[Field]) -> bytes:
    """Return the headers document of ``fields``: compact JSON, UTF-8."""
    pairs = [[name, SECRET if value is None else value] for name, value in fields]
    return json.dumps(pairs, ensure_ascii=False, separators=(",", ":")).encode()
