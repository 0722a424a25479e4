"""A chat's body read in one pass, however large: what `read_reply` and the forms say of it.

Memory is bounded by the longest line that is looked at. The results are those that the whole text
would give, but for a line over the limit: such a line holds no answer that anybody could read.

Source: providers.md 2.7, 2.8 (16 MiB for a line), 5.4.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from hashlib import sha256
from typing import Final

from verify.families.content import IONET_STREAM, ReplyReader, StreamForm
from verify.wire.limits import EVIDENCE_DOCUMENT
from verify.wire.model import LargeBody

LINE: Final = EVIDENCE_DOCUMENT + 64
"""A longer line holds more than a document may have, whatever stands in front of it."""
_EVENT: Final = re.compile(rb"^event: signature$", re.MULTILINE)


class _SignatureEvents:
    """Counts signature events and keeps the line behind the first."""

    __slots__ = ("_open", "count", "line")

    def __init__(self) -> None:
        self.count = 0
        self.line = b""
        self._open = False

    def block(self, block: bytes) -> None:
        if self._open:
            self.line = block.partition(b"\n")[0]
            self._open = False
        if b"event: signature" not in block:
            return
        for found in _EVENT.finditer(block):
            self.count += 1
            if self.count > 1:
                continue
            behind = block[found.end() + 1 :]
            if behind:
                self.line = behind.partition(b"\n")[0]
            else:
                self._open = True

    def overlong(self) -> None:
        self._open = False


class BodyReader:
    """Takes a body in pieces and gives its `LargeBody`. ``forms``: the other forms wanted."""

    __slots__ = ("_at", "_digest", "_events", "_form", "_line", "_lost", "_reply", "_size", "_tail")

    def __init__(self, forms: Collection[str] = ()) -> None:
        self._digest = sha256()
        self._size = 0
        self._at = 0
        """Offset of the first byte that no block had yet."""
        self._tail: list[bytes] = []
        self._line = 0
        """Length of the line so far of which ``_tail`` holds the bytes."""
        self._lost = False
        """Whether the rest of an overlong line is being passed over."""
        self._reply = ReplyReader()
        self._events = _SignatureEvents()
        self._form: StreamForm | None = StreamForm() if IONET_STREAM in forms else None

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body: at most `LINE` of them."""
        self._digest.update(piece)
        self._size += len(piece)
        if self._line or self._lost:
            # the one line that may be too long: it began in an earlier piece
            end = piece.find(b"\n")
            if self._line + (end if end >= 0 else len(piece)) > LINE:
                self._give_up()
            if self._lost:
                self._at += end + 1 if end >= 0 else len(piece)
                self._lost = end < 0
                piece = piece[end + 1 :] if end >= 0 else b""
        stop = piece.rfind(b"\n") + 1
        if stop:
            self._block(b"".join((*self._tail, piece[:stop])))
            piece = piece[stop:]
        if piece:
            self._tail.append(piece)
            self._line += len(piece)

    def _block(self, block: bytes) -> None:
        """Take whole lines, the first of which began in the tail."""
        self._reply.block(block, self._at)
        self._events.block(block)
        if self._form is not None:
            self._form.block(block)
        self._at += len(block)
        self._tail.clear()
        self._line = 0

    def _give_up(self) -> None:
        """Give up a line that is longer than anybody reads; only its kind still counts."""
        start = b"".join(part[:5] for part in self._tail[:5])[:5]
        self._reply.block(start, self._at)
        self._events.overlong()
        self._form = None
        self._at += self._line
        self._tail.clear()
        self._line = 0
        self._lost = True

    def body(self) -> LargeBody:
        """Return what was read, at the end of the body."""
        if self._tail:
            self._block(b"".join(self._tail))
        return LargeBody(
            size=self._size,
            sha256=self._digest.digest(),
            reply=self._reply.reply(),
            events=self._events.count,
            event=self._events.line,
            forms={} if self._form is None else {IONET_STREAM: self._form.digest()},
        )
