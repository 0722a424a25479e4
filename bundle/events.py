"""What a capture tells while it works, and two ways to show it.

Texts that come from a provider are escaped and cut short before they get into an event; no event
holds a credential, a prompt or an answer.

Source: issue of live capture, point 9; verification.md X7 (prose and progress on stderr).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TextIO

from bundle.recording import RecordedExchange

Kind = Literal[
    "stage-began", "stage-ended", "bytes", "answered", "waiting", "warning", "resumed", "result"
]
TEXT_LIMIT: Final = 160
"""Characters of a provider's own text that are shown."""
QUIET_S: Final = 2.0
"""Seconds that a capture may take before a terminal shows progress."""
_REWRITE_S: Final = 0.1
_TOLD_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. ``stage``: as in `Call.stage`. ``step``: which call, if one.

    ``text``: one line, escaped. ``size``: bytes of the answer so far. ``seconds``: how long a stage
    took or a wait will last. ``status``: of an answer.
    """

    kind: Kind
    stage: str = ""
    step: str = ""
    text: str = ""
    size: int | None = None
    seconds: float | None = None
    status: int | None = None


Watch = Callable[[Event], None]


def unwatched(event: Event) -> None:
    """Show nothing."""


def escaped(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return foreign text as one line of printable characters, cut to ``limit``."""
    plain = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text[: limit + 1]
    )
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."


def outcome_of(recorded: RecordedExchange) -> str:
    """Say in one line what came of an exchange: ``HTTP 503: "upstream gone"``, ``timeout: ...``."""
    failure = recorded.failure
    if failure is not None:
        reached = "" if recorded.status is None else f" after HTTP {recorded.status}"
        return f"{failure.trouble}{reached}: {escaped(failure.what)}"
    if recorded.status is None:
        return "no answer"
    if 200 <= recorded.status < 300:
        return f"HTTP {recorded.status}" + ("" if recorded.complete else ", broken off")
    body = (recorded.response_body or b"")[: 4 * TEXT_LIMIT].decode("utf-8", "replace").strip()
    return f"HTTP {recorded.status}" + (f": {escaped(body)}" if body else "")


def quantity(size: int) -> str:
    """Return a number of bytes for people: ``512 B``, ``3.4 KiB``, ``12.0 MiB``."""
    if size < 1024:
        return f"{size} B"
    for unit, scale in (("KiB", 1 << 10), ("MiB", 1 << 20)):
        if size < scale << 10:
            return f"{size / scale:.1f} {unit}"
    return f"{size / (1 << 30):.1f} GiB"


class JsonLines:
    """One JSON object a line, members without a value left out; for machines.

    Of bytes that come, not every read is told: one line in `_TOLD_S`, and the sum in ``answered``.
    """

    def __init__(self, stream: TextIO, *, now: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._now = now
        self._told = now()

    def __call__(self, event: Event) -> None:
        """Write one event."""
        if event.kind == "bytes":
            if self._now() - self._told < _TOLD_S:
                return
            self._told = self._now()
        members = {
            "event": event.kind,
            "stage": event.stage,
            "step": event.step,
            "text": event.text,
            "size": event.size,
            "seconds": event.seconds,
            "status": event.status,
        }
        kept = {name: found for name, found in members.items() if found not in {"", None}}
        # a reader that went away, or a full disk, must not end a capture that is under way
        with contextlib.suppress(OSError):
            self._stream.write(json.dumps(kept, ensure_ascii=True) + "\n")
            self._stream.flush()


class Progress:
    """One line that is rewritten, on a terminal alone and not before `QUIET_S`; warnings always.

    ``colour``: whether the warning's word may be coloured. ``now``: seconds of a clock that only
    goes forward. Call `close` at the end: the line is wiped.
    """

    def __init__(
        self, stream: TextIO, *, colour: bool = False, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._colour = colour and self._terminal
        self._now = now
        self._began = now()
        self._shown = 0.0
        self._width = 0
        self._stage = ""

    def __call__(self, event: Event) -> None:
        """Show one event; where nothing can be shown any more, the capture goes on."""
        with contextlib.suppress(OSError):
            self._show(event)

    def _show(self, event: Event) -> None:
        match event.kind:
            case "stage-began":
                self._stage = event.stage
                self._line(self._stage)
            case "bytes":
                if self._now() - self._shown >= _REWRITE_S:
                    self._line(f"{self._stage}: {quantity(event.size or 0)}")
            case "waiting":
                self._line(f"{self._stage}: {event.text}, again in {event.seconds or 0:.0f} s")
            case "warning":
                self._wipe()
                word = "\x1b[33mwarning\x1b[0m" if self._colour else "warning"
                self._stream.write(f"{word}: {event.text}\n")
                self._stream.flush()
            case "resumed":
                self._line(event.text)
            case "stage-ended" | "answered" | "result":
                pass

    def close(self) -> None:
        """Wipe the line."""
        with contextlib.suppress(OSError):
            self._wipe()
            self._stream.flush()

    def _wipe(self) -> None:
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0

    def _line(self, text: str) -> None:
        if not self._terminal or self._now() - self._began < QUIET_S:
            return
        room = max(shutil.get_terminal_size().columns - 1, 20)
        shown = text[:room]
        self._stream.write("\r" + shown + " " * max(self._width - len(shown), 0))
        self._stream.flush()
        self._width = len(shown)
        self._shown = self._now()
