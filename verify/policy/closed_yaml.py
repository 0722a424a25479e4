"""A YAML reader that knows no surprise: one document, no types to guess, nothing implicit.

The library's event stream is read by our own constructor, so tags, anchors, aliases, merge keys
and type resolution do not exist here. A plain scalar is ``true``, ``false``, a decimal number, or a
word that no YAML 1.1 or 1.2 resolver reads as anything but a string; all else must be quoted.

Source: verification.md 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import yaml
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from verify.engine.errors import InputCode
from verify.engine.value import field, value
from verify.policy import plain_yaml
from verify.policy.plain_yaml import is_key, is_number, is_word
from verify.wire.members import below

if TYPE_CHECKING:
    from yaml._yaml import Mark as FastMark
    from yaml.error import Mark

MAX_BYTES: Final = plain_yaml.MAX_BYTES
MAX_DEPTH: Final = 16


@value
class Document:
    """A parsed YAML document: plain maps, lists, texts, numbers, booleans.

    ``lines``: JSON Pointer of every value to the line (from 1) it begins on.
    """

    value: object
    lines: dict[str, int] = field(repr=False)


class YamlRefusal(Exception):  # noqa: N818  (a refusal of this module's grammar)
    """A document outside the closed grammar. ``line`` counts from 1; 0 when there is none."""

    def __init__(self, code: InputCode, line: int, what: str, pointer: str = "") -> None:
        super().__init__(f"line {line}: {what}")
        self.code = code
        self.line = line
        self.what = what
        self.pointer = pointer


def _line(mark: Mark | FastMark | None) -> int:
    return 0 if mark is None else mark.line + 1


class _Constructor:
    """Reads one document from an event stream; never recurses deeper than `MAX_DEPTH`."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self.lines: dict[str, int] = {}

    def document(self) -> object:
        next(self._events)  # the stream's start
        start = next(self._events)
        if isinstance(start, StreamEndEvent):
            raise YamlRefusal("input.empty", 0, "the file holds no document")
        if not isinstance(start, DocumentStartEvent) or start.version is not None or start.tags:
            raise YamlRefusal("input.yaml", _line(start.start_mark), "directives are not allowed")
        value = self._value(next(self._events), "", 1)
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, StreamEndEvent):
            raise YamlRefusal("input.yaml", _line(after.start_mark), "only one document is allowed")
        return value

    def _value(self, event: Event, pointer: str, depth: int) -> object:
        line = _line(event.start_mark)
        self.lines[pointer] = line
        if isinstance(event, AliasEvent):
            raise YamlRefusal("input.yaml", line, "aliases are not allowed", pointer)
        if getattr(event, "anchor", None) is not None:
            raise YamlRefusal("input.yaml", line, "anchors are not allowed", pointer)
        if getattr(event, "tag", None) is not None:
            raise YamlRefusal("input.yaml", line, "tags are not allowed", pointer)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, pointer)
        if depth > MAX_DEPTH:
            raise YamlRefusal("input.depth", line, f"nested deeper than {MAX_DEPTH}", pointer)
        if isinstance(event, SequenceStartEvent):
            items: list[object] = []
            while not isinstance(event := next(self._events), SequenceEndEvent):
                items.append(self._value(event, below(pointer, len(items)), depth + 1))
            return items
        return self._map(pointer, depth)

    def _map(self, pointer: str, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            line = _line(event.start_mark)
            key = self._value(event, below(pointer, "?"), depth + 1)
            del self.lines[below(pointer, "?")]
            if not isinstance(key, str) or not is_key(key):
                raise YamlRefusal(
                    "input.yaml", line, "keys are words of a-z, 0-9 and _, a letter first", pointer
                )
            if key in found:
                raise YamlRefusal(
                    "input.duplicate_member", line, f"the key {key!r} stands twice", pointer
                )
            found[key] = self._value(next(self._events), below(pointer, key), depth + 1)
        return found

    def _scalar(self, event: ScalarEvent, pointer: str) -> object:
        text = event.value
        if event.style:  # a quoted or block scalar; plain is "" or None, by library
            return text
        if text in ("true", "false"):
            return text == "true"
        if is_number(text):
            return int(text)
        if is_word(text):
            return text
        line = _line(event.start_mark)
        if not text:
            raise YamlRefusal("input.yaml", line, "a value is missing here", pointer)
        shown = text if len(text) <= 40 else text[:39] + "…"
        raise YamlRefusal(
            "input.yaml",
            line,
            f"ambiguous: {shown!r} could be read in two ways: quote this",
            pointer,
        )


def _unwanted(character: str) -> str:
    if character == "\t":
        return "tabs are not allowed"
    return f"the character U+{ord(character):04X} is not allowed"


def _text(data: bytes) -> str:
    """Decode and look for characters that no policy needs."""
    if not data.strip():
        raise YamlRefusal("input.empty", 0, "the file is empty")
    if len(data) > MAX_BYTES:
        raise YamlRefusal("input.too_large", 0, f"larger than {MAX_BYTES // 1024} KiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlRefusal("input.encoding", line, "not UTF-8") from None
    if not text.replace("\r\n", "").replace("\n", "").isprintable():
        lines = text.replace("\r\n", "\n").split("\n")
        number, character = next(
            (number, character)
            for number, part in enumerate(lines, start=1)
            for character in part
            if not character.isprintable()
        )
        raise YamlRefusal("input.yaml", number, _unwanted(character))
    return text


def parse_yaml(data: bytes) -> Document:
    """Parse one document of the closed grammar. Raises YamlRefusal and nothing else."""
    text = _text(data)
    try:
        constructor = _Constructor(_events(text))
        value = constructor.document()
    except YAMLError as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        what = error.problem if isinstance(error, MarkedYAMLError) else None
        raise YamlRefusal("input.yaml", _line(mark), what or "not YAML") from None
    return Document(value=value, lines=constructor.lines)


def _events(text: str) -> Iterator[Event]:
    """Return the library's event stream, by libyaml where the wheel has it."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    events: Iterator[Event] = yaml.parse(text, Loader=loader)
    return events
