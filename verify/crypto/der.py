"""A strict walk over DER of a fixed shape: definite, minimal lengths, nothing left over.

No general ASN.1: the caller knows which element stands where and says so. Used for certificates
that a library refuses (serial 0, sev-snp.md 6.3) and for small extension values. Every function
raises FormatError and nothing else.

Source: ITU-T X.690 8.1, 10; sev-snp.md 6.3 (reader rules).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from verify.engine.errors import FormatError

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OBJECT_IDENTIFIER: Final = 0x06
UTF8_STRING: Final = 0x0C
PRINTABLE_STRING: Final = 0x13
IA5_STRING: Final = 0x16
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31

_MULTI_BYTE_TAG = 0x1F
_made = tuple.__new__
_CHILDREN = 64


class Element(NamedTuple):
    """One tag-length-value: ``start`` of the tag, ``inside`` the value's first byte, ``stop``."""

    tag: int
    start: int
    inside: int
    stop: int


def element_at(data: bytes, at: int, stop: int) -> Element:
    """Read the element that begins at ``at`` and must end by ``stop``."""
    if stop - at < 2:
        raise FormatError(at, "an element is cut off")
    tag, length = data[at], data[at + 1]
    if tag & _MULTI_BYTE_TAG == _MULTI_BYTE_TAG:
        raise FormatError(at, "a tag of more than one byte")
    inside = at + 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 2:
            raise FormatError(at + 1, "a length that is indefinite or of more than two bytes")
        inside += count
        if inside > stop:
            raise FormatError(at + 1, "a length is cut off")
        length = int.from_bytes(data[at + 2 : inside], "big")
        if length < (0x80 if count == 1 else 0x100):
            raise FormatError(at + 1, "a length that is not in its shortest form")
    if length > stop - inside:
        raise FormatError(at + 1, "an element is longer than what holds it")
    return Element(tag, at, inside, inside + length)


def whole(data: bytes, tag: int, what: str) -> Element:
    """Read ``data`` as exactly one element with that tag."""
    found = element_at(data, 0, len(data))
    if found.stop != len(data):
        raise FormatError(found.stop, f"bytes after {what}")
    return expect(found, tag, what)


def children(data: bytes, parent: Element, *, limit: int = _CHILDREN) -> tuple[Element, ...]:
    """Read the elements inside ``parent``; they fill it exactly and are at most ``limit``."""
    found: list[Element] = []
    at, stop = parent.inside, parent.stop
    while at < stop:
        if len(found) == limit:
            raise FormatError(at, f"more than {limit} elements in one")
        if stop - at > 1 and (end := at + 2 + data[at + 1]) <= stop:
            tag = data[at]
            if data[at + 1] < 0x80 and tag & _MULTI_BYTE_TAG != _MULTI_BYTE_TAG:
                # the common case, without a call
                found.append(_made(Element, (tag, at, at + 2, end)))
                at = end
                continue
        child = element_at(data, at, stop)
        found.append(child)
        at = child.stop
    return tuple(found)


def expect(element: Element, tag: int, what: str) -> Element:
    """Return ``element`` where it has that tag."""
    if element.tag != tag:
        raise FormatError(
            element.start, f"{what} should have tag {tag:#04x}, this is {element.tag:#04x}"
        )
    return element


def outer(data: bytes, element: Element) -> bytes:
    """Return the bytes of the element, tag and length included."""
    return data[element.start : element.stop]


def value(data: bytes, element: Element) -> bytes:
    """Return the bytes of the element's value."""
    return data[element.inside : element.stop]


def natural(data: bytes, element: Element, what: str, *, size: int) -> int:
    """Read an INTEGER that is not negative, in shortest form, of at most ``size`` value bytes."""
    expect(element, INTEGER, what)
    body = value(data, element)
    if not body or len(body) > size:
        raise FormatError(element.start, f"{what} has {len(body)} bytes, not 1 to {size}")
    if body[0] & 0x80:
        raise FormatError(element.inside, f"{what} is negative")
    if len(body) > 1 and body[0] == 0 and not body[1] & 0x80:
        raise FormatError(element.inside, f"{what} is not in its shortest form")
    return int.from_bytes(body, "big")


def truth(data: bytes, element: Element, what: str) -> bool:
    """Read a BOOLEAN that is TRUE (FF); DER leaves FALSE out where it is the default."""
    expect(element, BOOLEAN, what)
    if value(data, element) != b"\xff":
        raise FormatError(element.inside, f"{what} is not TRUE in its one encoding")
    return True


def bits(data: bytes, element: Element, what: str) -> bytes:
    """Read a BIT STRING without unused bits."""
    expect(element, BIT_STRING, what)
    body = value(data, element)
    if not body or body[0] != 0:
        raise FormatError(element.inside, f"{what} has unused bits")
    return body[1:]


def instant(data: bytes, element: Element, what: str) -> datetime:
    """Read UTCTime ``YYMMDDhhmmssZ`` (YY < 50 is 20YY) or GeneralizedTime ``YYYYMMDDhhmmssZ``."""
    body = value(data, element)
    digits = {UTC_TIME: 12, GENERALIZED_TIME: 14}.get(element.tag)
    if digits is None:
        raise FormatError(element.start, f"{what} is not a time")
    if len(body) != digits + 1 or body[-1:] != b"Z" or not body[:-1].isdigit():
        raise FormatError(element.inside, f"{what} is not of the form YYMMDDhhmmssZ")
    text = body[:-1].decode("ascii")
    if element.tag == UTC_TIME:
        text = ("20" if text[:2] < "50" else "19") + text
    if text[8:10] == "24":  # some versions of Python read it as the midnight that follows
        raise FormatError(element.inside, f"{what} is no date of the calendar")
    try:
        return datetime.fromisoformat(f"{text[:8]}T{text[8:]}Z")
    except ValueError as error:
        raise FormatError(element.inside, f"{what} is no date of the calendar") from error
