"""A chat on its way, on disk as it comes: what a proxy that is killed leaves behind.

One file (mode 0600) of frames: a letter, a length in eight hex digits, a line end, so many bytes.
``R`` what was asked, ``H`` status and headers, ``B`` a part of the body, ``E`` how it ended. It is
written by the thread that serves all clients, so nothing waits for the disk here: what was written
outlives the process, and is on the disk itself (`bundle.journal`) before the next exchange of that
chat begins. No secret gets here: exchanges were redacted and bodies searched before.

Source: DESIGN invariants 7 and 8; bundle-format.md 6.3.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

from bundle.journal import decoded, encoded, exchange_members, exchange_of
from bundle.recording import Failure, RecordedExchange, RecordedTls

SUFFIX: Final = ".chat"
_HEADER: Final = 11
_MOST: Final = 64 << 20
_PLAIN: Final = (
    "purpose",
    "method",
    "url",
    "request_headers",
    "status",
    "http_version",
    "response_headers",
    "session",
    "connection",
)
"""What of a head JSON can write as it is."""
_END: Final = ("ended_at", "complete", "failure", "done_at")
"""What the end of an exchange changes of what was known when its head came."""


def _frame(kind: bytes, data: bytes) -> bytes:
    return b"%b %08x\n%b" % (kind, len(data), data)


def _json(document: object) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


@lru_cache(maxsize=256)
def _tls_members(tls: RecordedTls) -> object:
    """Return a connection as JSON; many chats share one."""
    return encoded(tls)


class Spool:
    """The file of one chat, being written. Every method may raise OSError."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._head = b""

    @classmethod
    def create(cls, path: Path, told: dict[str, str | None], begun: RecordedExchange) -> Self:
        """Make the file. ``told``: what the writer wants to know of the chat later, by name."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = cls(path, os.open(path, flags, 0o600))
        # only what is known before anything was sent: this stands between a client and its answer
        document = {
            "told": told,
            "purpose": begun.purpose,
            "method": begun.method,
            "url": begun.url,
            "session": begun.session,
            "started_at": encoded(begun.started_at),
            "body": encoded(begun.request_body),
        }
        try:
            made._put(_frame(b"R", _json(document)))
        except OSError:
            made.close()
            path.unlink(missing_ok=True)
            raise
        return made

    def head(self, recorded: RecordedExchange) -> None:
        """Take status and headers; they are written with what comes next, in one go."""
        document = {name: getattr(recorded, name) for name in _PLAIN}
        for name in ("started_at", "ended_at", "first_byte_at"):
            document[name] = encoded(getattr(recorded, name))
        document["tls"] = None if recorded.tls is None else _tls_members(recorded.tls)
        self._head = _frame(b"H", _json(document))

    def part(self, data: bytes) -> None:
        """Write a part of the body."""
        self._put(_frame(b"B", data))

    def end(self, recorded: RecordedExchange) -> None:
        """Write how it ended."""
        document = {name: encoded(getattr(recorded, name)) for name in _END}
        if recorded.status is None:  # no head was written, so this is all there is
            document |= exchange_members(recorded)
        self._put(_frame(b"E", _json(document)))

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _put(self, data: bytes) -> None:
        rest = memoryview(self._head + data)
        self._head = b""
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """What a file holds. ``recorded``: without its body; ``ended``: whether its end was written."""

    path: Path
    told: dict[str, str | None]
    recorded: RecordedExchange
    ended: bool

    def parts(self) -> Iterator[bytes]:
        """Give the body in order, as far as it was written."""
        yield from (data for kind, data in _frames(self.path) if kind == b"B")


def _frames(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Give the frames up to the first that breaks off. Raises OSError."""
    with path.open("rb") as file:
        while len(header := file.read(_HEADER)) == _HEADER:
            try:
                size = int(header[2:10], 16)
            except ValueError:
                return
            if size > _MOST or len(data := file.read(size)) < size:
                return
            yield header[:1], data


def read(path: Path) -> Spooled | None:
    """Return what a file holds, None where not even the request is whole. Raises OSError."""
    told: dict[str, str | None] | None = None
    known: RecordedExchange | None = None
    ended = False
    body: bytes | None = None
    for kind, data in _frames(path):
        if kind == b"B":
            continue
        try:
            document: Any = decoded(json.loads(data))
            if kind == b"R":
                told, body = document.pop("told"), document.pop("body")
                known = RecordedExchange(
                    **document,
                    ended_at=document["started_at"],
                    request_body=body,
                    complete=False,
                )
            elif kind == b"H" or "url" in document:
                document = {"failure": None, "complete": False, **document}
                known = exchange_of(document, body)
            elif known is not None:
                failure = document.pop("failure")
                known = replace(
                    known, **document, failure=None if failure is None else Failure(**failure)
                )
        except (ValueError, KeyError, TypeError):
            break
        ended = kind == b"E"
    if told is None or known is None:
        return None
    if not ended:
        what = "the proxy ended while this was under way"
        known = replace(
            known,
            ended_at=max(known.ended_at, known.first_byte_at or known.started_at),
            complete=False,
            failure=Failure(trouble="interrupted", what=what),
        )
    return Spooled(path=path, told=told, recorded=known, ended=ended)
