"""Asking a third party's parsed JSON for one member, by type, with the shape codes of the family.

Every refusal is a `FormatError` with a ``shape.*`` code and the JSON Pointer of the place.

Source: providers.md 2.3, 12.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final

from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.wire.strict_json import Json

_DIGITS: Final = frozenset("0123456789abcdefABCDEF")
_ERROR: Final = "error"


Companion = tuple[str, Mapping[str, Json]]
"""Another document of the same service: its artifact id and its parsed object."""


def below(pointer: str, token: str | int) -> str:
    """Return the JSON Pointer of a member or element. Source: RFC 6901."""
    return f"{pointer}/{str(token).replace('~', '~0').replace('/', '~1')}"


def _bad(reason: Reason, path: str, what: str) -> FormatError:
    return FormatError(0, what, reason=reason, path=path)


def mapping(value: Json, path: str) -> Mapping[str, Json]:
    """Return an object. Raises `FormatError` (``shape.field_type``)."""
    if not isinstance(value, Mapping):
        raise _bad(Reason.SHAPE_FIELD_TYPE, path, "not an object")
    return value


def array(value: Json, path: str) -> Sequence[Json]:
    """Return an array. Raises `FormatError` (``shape.field_type``)."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _bad(Reason.SHAPE_FIELD_TYPE, path, "not an array")
    return value


def text(members: Mapping[str, Json], name: str, path: str) -> str:
    """Return a string member that must be there.

    Raises `FormatError`: ``shape.field_missing``, ``shape.field_type``.
    """
    found = optional_text(members, name, path)
    if found is None:
        raise _bad(Reason.SHAPE_FIELD_MISSING, below(path, name), f"no {name}")
    return found


def optional_text(members: Mapping[str, Json], name: str, path: str) -> str | None:
    """Return a string member, or None where it is absent or null. Raises `FormatError`."""
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _bad(Reason.SHAPE_FIELD_TYPE, below(path, name), f"{name} is not a string")
    return value


def required(members: Mapping[str, Json], name: str, path: str) -> Json:
    """Return a member that must be there and not null. Raises `FormatError`."""
    value = members.get(name)
    if value is None:
        raise _bad(Reason.SHAPE_FIELD_MISSING, below(path, name), f"no {name}")
    return value


def hex_bytes(stated: str, path: str, size: int | None = None) -> bytes:
    """Return the bytes of hex digits in either case, without ``0x``, of exactly ``size`` bytes.

    Raises `FormatError`: ``shape.encoding_invalid``, ``shape.length_invalid``.
    """
    if len(stated) % 2 or not _DIGITS.issuperset(stated):
        raise _bad(Reason.SHAPE_ENCODING_INVALID, path, "not hex digits, two a byte")
    if size is not None and len(stated) != 2 * size:
        raise _bad(
            Reason.SHAPE_LENGTH_INVALID, path, f"{len(stated) // 2} bytes where {size} are wanted"
        )
    return bytes.fromhex(stated)


def optional_hex(
    members: Mapping[str, Json], name: str, path: str, size: int | None = None
) -> bytes | None:
    """Return the bytes of a hex member, None where it is absent. Raises `FormatError`."""
    stated = optional_text(members, name, path)
    return None if stated is None else hex_bytes(stated, below(path, name), size)


def base64_bytes(stated: str, path: str) -> bytes:
    """Return the bytes of canonical, padded standard base64.

    Raises `FormatError` (``shape.encoding_invalid``).
    """
    try:
        raw = base64.b64decode(stated.encode("ascii"), validate=True)
    except (ValueError, binascii.Error) as error:
        raise _bad(Reason.SHAPE_ENCODING_INVALID, path, "not standard base64") from error
    if base64.b64encode(raw) != stated.encode("ascii"):
        raise _bad(Reason.SHAPE_ENCODING_INVALID, path, "base64 that is not canonical")
    return raw


def quote_bytes(stated: str, path: str) -> tuple[str, bytes]:
    """Return (derivation step, bytes) of a quote: hex, hex with ``0x``, else standard base64.

    Hex is tried first, because hex digits are base64 as well. Raises `FormatError`:
    ``shape.error_text_in_evidence``, ``shape.encoding_invalid``, ``shape.length_invalid``.
    Source: providers.md 2.3, 5.1.
    """
    if stated[:5].lower() == _ERROR:
        raise _bad(
            Reason.SHAPE_ERROR_TEXT_IN_EVIDENCE, path, "an error text where a quote should be"
        )
    if not stated:
        raise _bad(Reason.SHAPE_LENGTH_INVALID, path, "an empty quote")
    digits = stated.removeprefix("0x")
    if _DIGITS.issuperset(digits):
        if len(digits) % 2 or not digits:
            raise _bad(Reason.SHAPE_ENCODING_INVALID, path, "an odd number of hex digits")
        return "hex", bytes.fromhex(digits)
    return "base64", base64_bytes(stated, path)
