"""Closed reading of a parsed document: every member is asked for by name and type, none is left.

Used for policy and trust files, whose own readers are strict and complete in themselves; a JSON
schema says the same a second time. Raises `ShapeError` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final, TypeVar

from verify.engine.errors import FormatError
from verify.wire.scalars import parse_time, pointer_token

T = TypeVar("T")

FREE_TEXT: Final = 1024
"""Longest free text, in characters (bundle-format.md 3)."""

LOWER: Final = "abcdefghijklmnopqrstuvwxyz"
DIGITS: Final = "0123456789"
HEX: Final = "0123456789abcdef"

_NAMES = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "a map"}


class ShapeError(Exception):
    """A document that is not what its reader reads. ``pointer``: JSON Pointer of the value."""

    def __init__(self, pointer: str, what: str) -> None:
        super().__init__(f"{pointer}: {what}")
        self.pointer = pointer
        self.what = what


def made_of(text: str, letters: str) -> bool:
    """Whether every character of ``text`` is one of ``letters``; an empty text is.

    The short grammars of policy and trust files are tested without regular expressions: compiling
    those would take longer than reading a policy.
    """
    return not text.strip(letters)


def kind_of(value: object) -> str:
    """Name the kind of a parsed value for a message."""
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def below(pointer: str, token: str | int) -> str:
    """Return the pointer of a member or element below ``pointer``."""
    return f"{pointer}/{pointer_token(token)}"


def as_text(value: object, pointer: str, *, limit: int = FREE_TEXT, empty: bool = False) -> str:
    """Return a text without control characters, not empty unless ``empty``."""
    if not isinstance(value, str):
        raise ShapeError(pointer, f"text expected, found {kind_of(value)}")
    if not value and not empty:
        raise ShapeError(pointer, "must not be empty")
    if len(value) > limit:
        raise ShapeError(pointer, f"longer than {limit} characters")
    if not value.isprintable() and any(
        ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in value
    ):
        raise ShapeError(pointer, "control characters are not allowed")
    return value


def as_match(value: object, pointer: str, fits: Callable[[str], bool], what: str) -> str:
    """Return a text that ``fits``; ``what`` describes it."""
    text = as_text(value, pointer)
    if not fits(text):
        raise ShapeError(pointer, f"must be {what}")
    return text


def as_choice(value: object, pointer: str, allowed: Collection[str]) -> str:
    """Return a text that is one of ``allowed``."""
    text = as_text(value, pointer)
    if text not in allowed:
        raise ShapeError(pointer, f"{text!r} is not one of {', '.join(allowed)}")
    return text


def as_number(value: object, pointer: str, low: int, high: int) -> int:
    """Return a whole number in [low, high]; true and false are not numbers."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise ShapeError(pointer, f"a whole number expected, found {kind_of(value)}")
    if not low <= value <= high:
        raise ShapeError(pointer, f"{value} is outside {low} to {high}")
    return value


def as_hex(value: object, pointer: str, size: int | None) -> bytes:
    """Return the bytes of lower-case hex without ``0x``, of exactly ``size`` bytes where given."""
    text = as_text(value, pointer, limit=131072)
    if len(text) % 2 or not made_of(text, HEX):
        raise ShapeError(pointer, "must be lower-case hex digits, two a byte, without 0x")
    if size is not None and len(text) != 2 * size:
        raise ShapeError(pointer, f"must be {2 * size} hex digits ({size} bytes), not {len(text)}")
    return bytes.fromhex(text)


def as_instant(value: object, pointer: str) -> datetime:
    """Return an instant written ``YYYY-MM-DDTHH:MM:SS.sssZ`` (bundle-format.md 3, time)."""
    try:
        return parse_time(as_text(value, pointer))
    except FormatError as error:
        raise ShapeError(pointer, error.what) from None


def as_list(value: object, pointer: str, read: Callable[[object, str], T]) -> tuple[T, ...]:
    """Return a list's elements, each read by ``read(value, pointer)``."""
    if not isinstance(value, list):
        raise ShapeError(pointer, f"a list expected, found {kind_of(value)}")
    return tuple(read(item, below(pointer, index)) for index, item in enumerate(value))


def distinct(items: tuple[T, ...], pointer: str) -> tuple[T, ...]:
    """Return ``items`` unchanged; no element may stand twice."""
    if len(set(items)) != len(items):
        raise ShapeError(pointer, "an element stands twice")
    return items


class Members:
    """A map whose members are taken one by one; `done` refuses any that nobody took."""

    __slots__ = ("_left", "pointer")

    def __init__(self, value: object, pointer: str) -> None:
        if not isinstance(value, dict):
            raise ShapeError(pointer, f"a map expected, found {kind_of(value)}")
        self._left: dict[str, object] = dict(value)
        self.pointer = pointer

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def at(self, name: str) -> str:
        """Return the pointer of a member."""
        return below(self.pointer, name)

    def take(self, name: str) -> object:
        """Return a member that must be there."""
        if name not in self._left:
            raise ShapeError(self.pointer, f"{name!r} is missing: write every member down")
        return self._left.pop(name)

    def names(self) -> tuple[str, ...]:
        """Return the names nobody took yet, in file order."""
        return tuple(self._left)

    def text(self, name: str, *, empty: bool = False) -> str:
        """Return a text member."""
        return as_text(self.take(name), self.at(name), empty=empty)

    def match(self, name: str, fits: Callable[[str], bool], what: str) -> str:
        """Return a text member that matches as a whole."""
        return as_match(self.take(name), self.at(name), fits, what)

    def choice(self, name: str, allowed: Collection[str]) -> str:
        """Return a text member out of a closed list."""
        return as_choice(self.take(name), self.at(name), allowed)

    def flag(self, name: str) -> bool:
        """Return a member that is true or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            raise ShapeError(self.at(name), f"true or false expected, found {kind_of(value)}")
        return value

    def number(self, name: str, low: int, high: int) -> int:
        """Return a whole number in [low, high]."""
        return as_number(self.take(name), self.at(name), low, high)

    def number_or_any(self, name: str, low: int, high: int) -> int | None:
        """Return a whole number, or None for the word ``any``."""
        value = self.take(name)
        if value == "any":
            return None
        if isinstance(value, str):
            raise ShapeError(self.at(name), 'must be a whole number or the word "any"')
        return as_number(value, self.at(name), low, high)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of distinct texts."""
        return distinct(as_list(self.take(name), self.at(name), as_text), self.at(name))

    def choices(self, name: str, allowed: Collection[str]) -> tuple[str, ...]:
        """Return a list of distinct texts out of a closed list."""
        found = as_list(
            self.take(name), self.at(name), lambda item, at: as_choice(item, at, allowed)
        )
        return distinct(found, self.at(name))

    def matches(self, name: str, fits: Callable[[str], bool], what: str) -> tuple[str, ...]:
        """Return a list of distinct texts that match as a whole."""
        found = as_list(
            self.take(name), self.at(name), lambda item, at: as_match(item, at, fits, what)
        )
        return distinct(found, self.at(name))

    def hexes(self, name: str, size: int | None) -> tuple[bytes, ...]:
        """Return a list of distinct byte strings written in hex."""
        found = as_list(self.take(name), self.at(name), lambda item, at: as_hex(item, at, size))
        return distinct(found, self.at(name))

    def instant(self, name: str) -> datetime:
        """Return an instant."""
        return as_instant(self.take(name), self.at(name))

    def instant_or_null(self, name: str) -> datetime | None:
        """Return an instant, or None for null."""
        value = self.take(name)
        return None if value is None else as_instant(value, self.at(name))

    def below(self, name: str) -> Members:
        """Return a map member."""
        return Members(self.take(name), self.at(name))

    def each(self, name: str, read: Callable[[Members], T]) -> tuple[T, ...]:
        """Return a list of maps, each read by ``read`` and left without a remainder."""

        def one(value: object, pointer: str) -> T:
            members = Members(value, pointer)
            found = read(members)
            members.done()
            return found

        return as_list(self.take(name), self.at(name), one)

    def done(self) -> None:
        """Refuse members that this reader does not know."""
        for name in self._left:
            raise ShapeError(self.at(name), f"{name!r} is not a member known here")
