"""Policies in the plain layout that policies are written in, read without the YAML library.

Importing that library costs a tenth of a whole verification. What is read here is a small part of
the closed grammar: maps and lists by indentation or in one-line brackets, texts in double quotes
without escapes, words, whole numbers, true and false, comments. For everything else, and for every
fault, the answer is None: `verify.policy.closed_yaml` then reads the document, words the refusal
and knows the lines. It stays the reference: whatever is read here has the same value there, and the
tests hold both to that.

Source: verification.md 5.
"""

from __future__ import annotations

import re
from typing import Final

from verify.wire.members import DIGITS, LOWER, made_of

MAX_BYTES: Final = 256 * 1024
_MAX_DEPTH: Final = 8
"""Less than the reference reads; no policy nests deeper."""
_MAX_KEY: Final = 64
"""YAML knows no key longer than 1024 characters; no policy has one of this length."""

_LETTERS: Final = LOWER + LOWER.upper() + "_"
_RESOLVED: Final = frozenset(
    {"true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"}
)
"""Words that some YAML 1.1 or 1.2 resolver reads as no string, compared in lower case."""

_BARE: Final = re.compile(r"[A-Za-z0-9_./-]+")


def is_number(text: str) -> bool:
    """Whether a plain scalar is a whole number."""
    return made_of(text, DIGITS) and (text == "0" or (0 < len(text) <= 16 and text[0] != "0"))


def is_word(text: str) -> bool:
    """Whether a plain scalar is a string for every resolver."""
    return (
        text != ""
        and text[0] in _LETTERS
        and made_of(text, _LETTERS + DIGITS + ".:/-")
        and text.lower() not in _RESOLVED
    )


def is_key(text: str) -> bool:
    """Whether a text can be the key of a map."""
    return text != "" and text[0] in LOWER and made_of(text, LOWER + DIGITS + "_")


class _Other(Exception):  # noqa: N818  (no fault: somebody else's turn)
    """The document is not in the plain layout."""


def plain_value(data: bytes) -> dict[str, object] | None:
    """Return the value of a document in the plain layout, None for every other one."""
    if len(data) > MAX_BYTES:
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not text.replace("\n", "").isprintable():
        return None
    reader = _Reader(text)
    try:
        return reader.document()
    except _Other:
        return None


class _Reader:
    """Reads line by line; ``_lines``: indentation and content, without blank lines and comments."""

    def __init__(self, text: str) -> None:
        self._lines: list[tuple[int, str]] = []
        for line in text.split("\n"):
            content = line.lstrip(" ")
            if content and content[0] != "#":
                self._lines.append((len(line) - len(content), content))
        self._at = 0

    def document(self) -> dict[str, object]:
        if not self._lines or self._lines[0][0]:
            raise _Other
        found = self._map(0, 1)
        if self._at < len(self._lines):
            raise _Other
        return found

    def _entry(self, indent: int) -> str | None:
        """Return the next line of the block that is indented by ``indent``, None at its end."""
        if self._at == len(self._lines):
            return None
        column, content = self._lines[self._at]
        if column > indent:  # goes on what ended on the line before
            raise _Other
        return content if column == indent else None

    def _map(self, indent: int, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        while (content := self._entry(indent)) is not None:
            key, colon, rest = content.partition(":")
            if not colon or not _plain_key(key) or key in found:
                raise _Other
            self._at += 1
            if not rest or _is_comment(rest):
                found[key] = self._nested(indent, depth)
            elif rest[0] == " ":
                found[key] = _inline(rest.lstrip(" "), depth)
            else:
                raise _Other
        return found

    def _nested(self, indent: int, depth: int) -> object:
        if depth >= _MAX_DEPTH or self._at == len(self._lines):
            raise _Other
        column, content = self._lines[self._at]
        if column <= indent:
            raise _Other
        if content.startswith("- "):
            return self._list(column, depth + 1)
        return self._map(column, depth + 1)

    def _list(self, indent: int, depth: int) -> list[object]:
        found: list[object] = []
        while (content := self._entry(indent)) is not None:
            if content[:2] != "- ":
                raise _Other
            item = content[2:]
            if item[:1] not in {'"', "[", "{"} and ":" in item:
                if depth >= _MAX_DEPTH:
                    raise _Other
                self._lines[self._at] = (indent + 2, item)
                found.append(self._map(indent + 2, depth + 1))
                continue
            self._at += 1
            found.append(_inline(item, depth))
        return found


def _plain_key(key: str) -> bool:
    return len(key) <= _MAX_KEY and is_key(key) and is_word(key)


def _is_comment(rest: str) -> bool:
    """Whether what follows a value or a colon is nothing, or a comment set off by a space."""
    left = rest.lstrip(" ")
    return not left or (left[0] == "#" and rest[0] == " ")


def _inline(text: str, depth: int) -> object:
    """Read the one value of a line from its first character on."""
    value, end = _value(text, 0, depth)
    if end < len(text) and not _is_comment(text[end:]):
        raise _Other
    return value


def _value(text: str, at: int, depth: int) -> tuple[object, int]:
    first = text[at : at + 1]
    if first == '"':
        end = text.find('"', at + 1)
        found = text[at + 1 : end]
        if end < 0 or "\\" in found:
            raise _Other
        return found, end + 1
    if first == "[":
        return _bracket(text, at, depth + 1)
    if first == "{":
        return _brace(text, at, depth + 1)
    match = _BARE.match(text, at)
    if match is None:
        raise _Other
    return _scalar(match.group()), match.end()


def _scalar(text: str) -> object:
    if text in {"true", "false"}:
        return text == "true"
    if is_number(text):
        return int(text)
    if is_word(text):
        return text
    raise _Other


def _past_spaces(text: str, at: int) -> int:
    while text[at : at + 1] == " ":
        at += 1
    return at


def _separated(text: str, at: int, closing: str) -> tuple[int, bool]:
    """Step over what follows an item: a comma, or the end of the collection (then True)."""
    at = _past_spaces(text, at)
    sign = text[at : at + 1]
    if sign == closing:
        return at + 1, True
    if sign != ",":
        raise _Other
    return _past_spaces(text, at + 1), False


def _opened(text: str, at: int, depth: int, closing: str) -> tuple[int, bool]:
    """Step into a collection; True where it is empty, and past its end then."""
    if depth > _MAX_DEPTH:
        raise _Other
    at = _past_spaces(text, at + 1)
    return (at + 1, True) if text[at : at + 1] == closing else (at, False)


def _bracket(text: str, at: int, depth: int) -> tuple[list[object], int]:
    found: list[object] = []
    at, done = _opened(text, at, depth, "]")
    while not done:
        item, at = _value(text, at, depth)
        found.append(item)
        at, done = _separated(text, at, "]")
    return found, at


def _brace(text: str, at: int, depth: int) -> tuple[dict[str, object], int]:
    found: dict[str, object] = {}
    at, done = _opened(text, at, depth, "}")
    while not done:
        colon = text.find(": ", at)
        key = text[at:colon]
        if colon < 0 or not _plain_key(key) or key in found:
            raise _Other
        found[key], at = _value(text, _past_spaces(text, colon + 2), depth)
        at, done = _separated(text, at, "}")
    return found, at
