"""Strict base64, base64url and JSON as the vendor's containers and tokens use them.

Source: nvidia.md 17.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.wire import base64
from verify.wire.strict_json import Json, parse_evidence


def base64_bytes(text: str, reason: Reason, path: str) -> bytes:
    """Decode base64 in its one form. Raises FormatError with ``reason`` and pointer ``path``."""
    try:
        return base64.decode(text)
    except FormatError as error:
        raise FormatError(error.offset, error.what, reason=reason, path=path) from error


def base64url_bytes(text: str, reason: Reason, path: str) -> bytes:
    """Decode base64url without padding. Raises FormatError with ``reason``."""
    try:
        return base64.decode_url(text)
    except FormatError as error:
        raise FormatError(error.offset, error.what, reason=reason, path=path) from error


def json_value(data: bytes, reason: Reason, path: str = "") -> Json:
    """Parse strict JSON. Raises FormatError with ``reason``; the pointer is put behind ``path``."""
    try:
        return parse_evidence(data)
    except FormatError as error:
        place = path + (error.path or "")
        raise FormatError(error.offset, error.what, reason=reason, path=place or None) from error


def json_object(value: Json, reason: Reason, path: str) -> Mapping[str, Json]:
    """Return an object. Raises FormatError with ``reason``."""
    if not isinstance(value, Mapping):
        raise FormatError(0, "not an object", reason=reason, path=path)
    return value


def json_list(value: Json, reason: Reason, path: str) -> Sequence[Json]:
    """Return an array. Raises FormatError with ``reason``."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise FormatError(0, "not an array", reason=reason, path=path)
    return value


def json_text(value: Json, reason: Reason, path: str) -> str:
    """Return a string. Raises FormatError with ``reason``."""
    if not isinstance(value, str):
        raise FormatError(0, "not a string", reason=reason, path=path)
    return value
