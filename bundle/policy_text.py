"""Writes policy files: plain values to the closed YAML grammar, line comments included.

The result is read back by `verify.policy.closed_yaml`; texts are always quoted. Source:
verification.md 5.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from verify.wire.members import below

FROM_BUNDLE: Final = "from the bundle: confirm elsewhere"
_WIDTH: Final = 130
_INDENT: Final = "  "


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        # JSON's string is a YAML double-quoted scalar as long as nothing beyond ASCII is escaped
        return json.dumps(value, ensure_ascii=False)
    message = f"a policy holds no {type(value).__name__}"
    raise TypeError(message)


def _flow(value: object) -> str:
    """Write a value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _scalar(value)


class _Writer:
    def __init__(self, comments: Mapping[str, str]) -> None:
        self._comments = comments
        self.lines: list[str] = []

    def _mixed(self, pointer: str) -> bool:
        """Whether something below a value has another comment than the value itself."""
        own = self._comments.get(pointer)
        return any(
            text != own for place, text in self._comments.items() if place.startswith(pointer + "/")
        )

    def value(self, head: str, value: object, pointer: str, depth: int) -> None:
        """Write ``head`` (``key:`` or ``-``) and a value: on one line where it fits."""
        indent = _INDENT * depth
        line = f"{indent}{head} {_flow(value)}"
        own = self._comments.get(pointer)
        nested = isinstance(value, Mapping | list | tuple) and bool(value)
        if not nested or (len(line) <= _WIDTH and not self._mixed(pointer)):
            self.lines.append(line + (f"  # {own}" if own else ""))
            return
        self.lines.append(f"{indent}{head}" + (f"  # {own}" if own else ""))
        if isinstance(value, Mapping):
            for key, item in value.items():
                self.value(f"{key}:", item, below(pointer, key), depth + 1)
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                self._element(item, below(pointer, index), depth + 1, own)

    def _element(self, item: object, pointer: str, depth: int, own: str | None) -> None:
        """Write one element of a list; a map too long for a line begins beside its dash."""
        indent = _INDENT * depth
        line = f"{indent}- {_flow(item)}"
        if not isinstance(item, Mapping) or (len(line) <= _WIDTH and not self._mixed(pointer)):
            mark = self._comments.get(pointer, own)
            self.lines.append(line + (f"  # {mark}" if mark else ""))
            return
        start = len(self.lines)
        for key, value in item.items():
            self.value(f"{key}:", value, below(pointer, key), depth + 1)
        first = self.lines[start]
        self.lines[start] = f"{indent}- {first[len(indent) + 2 :]}"


def policy_text(
    document: Mapping[str, object],
    *,
    title: Sequence[str] = (),
    comments: Mapping[str, str] | None = None,
) -> bytes:
    """Write a policy document. ``comments``: JSON Pointer to a comment at the end of its line.

    ``title``: comment lines at the top. A comment on a value that needs several lines stands on
    each of them.
    """
    writer = _Writer(_spread(document, comments or {}))
    lines = [f"# {line}".rstrip() for line in title]
    block = False
    for key, value in document.items():
        start = len(writer.lines)
        writer.value(f"{key}:", value, below("", key), 0)
        several = len(writer.lines) > start + 1
        if several or block:
            writer.lines.insert(start, "")
        block = several
    return "\n".join([*lines, *writer.lines, ""]).encode()


def _spread(document: object, comments: Mapping[str, str]) -> dict[str, str]:
    """Put the comment of a container on everything inside it as well."""
    found: dict[str, str] = {}

    def walk(value: object, pointer: str, inherited: str | None) -> None:
        mark = comments.get(pointer, inherited)
        if mark is not None:
            found[pointer] = mark
        if isinstance(value, Mapping):
            for key, item in value.items():
                walk(item, below(pointer, key), mark)
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                walk(item, below(pointer, index), mark)

    walk(document, "", None)
    return found
