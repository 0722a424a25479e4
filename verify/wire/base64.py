"""Canonical base64, base64url and hex: one text for one byte string.

Common decoders, strict ones included, accept non-zero trailing bits; here the decoded bytes are
encoded again and must give the same text. Raises only `FormatError`, its offset counted in
characters of the text. Source: bundle-format.md 3; RFC 4648 4, 5.
"""

from __future__ import annotations

import binascii
import re
from typing import Final

from verify.engine.errors import FormatError

_FOREIGN: Final = r"[^A-Za-z0-9+/]"
_FOREIGN_URL: Final = re.compile(r"[^A-Za-z0-9_-]")
_FOREIGN_HEX: Final = re.compile(r"[^0-9a-f]")
_FOREIGN_ANY_HEX: Final = re.compile(r"[^0-9A-Fa-f]")
_TO_STANDARD: Final = str.maketrans("-_", "+/")


def decode(text: str) -> bytes:
    """Decode standard base64: padded, no whitespace, canonical. The empty text gives b""."""
    if len(text) % 4:
        raise FormatError(len(text), "base64: the length is no multiple of four")
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        found = re.search(_FOREIGN, text)
        at = len(text) if found is None else found.start()
        raise FormatError(at, "base64: a character or padding where none may stand") from None
    # Only a last group can be written in several ways; whole ones are one to one with their bytes.
    whole = len(text) - 4
    last = binascii.b2a_base64(data[whole // 4 * 3 :], newline=False)
    if text and (text.find("=", 0, whole) >= 0 or last != text[whole:].encode("ascii")):
        raise FormatError(max(0, len(text) - 4), "base64: not the canonical form")
    return data


def encode(data: bytes) -> str:
    """Encode as standard base64, padded."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decode_url(text: str) -> bytes:
    """Decode base64url: unpadded, no whitespace, canonical."""
    found = _FOREIGN_URL.search(text)
    if found is not None:
        raise FormatError(found.start(), "base64url: a character that may not stand here")
    if len(text) % 4 == 1:
        raise FormatError(len(text), "base64url: no byte string has this length")
    return decode(text.translate(_TO_STANDARD) + "=" * (-len(text) % 4))


def encode_url(data: bytes) -> str:
    """Encode as base64url, unpadded."""
    text = binascii.b2a_base64(data, newline=False).decode("ascii")
    return text.rstrip("=").replace("+", "-").replace("/", "_")


def decode_hex(text: str, *, size: int | None = None) -> bytes:
    """Decode lower-case hex of at least one byte, of exactly ``size`` bytes where given."""
    found = _FOREIGN_HEX.search(text)
    if found is not None:
        raise FormatError(found.start(), "hex: lower-case digits only")
    return _pairs(text, size)


def decode_foreign_hex(text: str, *, size: int | None = None) -> bytes:
    """Decode third-party hex: either case, an optional ``0x`` in front."""
    digits = text.removeprefix("0x")
    found = _FOREIGN_ANY_HEX.search(digits)
    if found is not None:
        raise FormatError(found.start() + len(text) - len(digits), "hex: not a digit")
    return _pairs(digits, size)


def _pairs(digits: str, size: int | None) -> bytes:
    if not digits or len(digits) % 2:
        raise FormatError(len(digits), "hex: two digits a byte, at least one byte")
    if size is not None and len(digits) != 2 * size:
        raise FormatError(len(digits), f"hex: {2 * size} digits expected, {len(digits)} are there")
    return bytes.fromhex(digits)
