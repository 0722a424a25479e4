"""External blobs: the bytes beside a packed file, read once and hashed on the way.

Whoever reads a blob a second time may be given other bytes, so everything that is ever said about
it comes from one pass. Pieces are small, and a large blob is never held: memory does not depend on
its length.

Source: bundle-format.md 4, 5.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final, Protocol, TypeAlias

from verify.engine.value import value
from verify.wire.model import Outside

PIECE: Final = 1 << 20


class Readable(Protocol):
    """A binary file opened for reading; `open(path, "rb")` gives one."""

    def read(self, size: int, /) -> bytes | None:
        """Return up to ``size`` bytes, none at the end."""

    def close(self) -> None:
        """Give the file back."""


Given: TypeAlias = "bytes | Readable"
"""The bytes of a blob, or an open file with them, which is read once, to its end, and closed."""


class Reader(Protocol):
    """Something that reads a body while it is hashed."""

    def feed(self, piece: bytes) -> None:
        """Take the next bytes, in order; at least one."""


@value
class Listener:
    """A reader of the body behind ``skip`` bytes of salt."""

    skip: int
    reader: Reader


def _pieces(given: Given) -> Iterator[bytes]:
    if isinstance(given, bytes):
        for start in range(0, len(given), PIECE):
            yield given[start : start + PIECE]
        return
    while piece := given.read(PIECE):
        yield piece


def read_outside(
    given: Given,
    *,
    limit: int,
    held: int = 0,
    second: bool = False,
    listeners: Sequence[Listener] = (),
) -> Outside | None:
    """Read a blob to its end; return None where it cannot be read or has over ``limit`` bytes.

    ``held``: keep the bytes if there are no more than this. ``second``: SHA-512, too. The caller
    fills `Outside.bodies` from its listeners.
    """
    try:
        return _read(given, limit, held, second=second, listeners=listeners)
    except OSError:
        return None
    finally:
        if not isinstance(given, bytes):
            given.close()


def _read(
    given: Given, limit: int, held: int, *, second: bool, listeners: Sequence[Listener]
) -> Outside | None:
    first, other = sha256(), None
    if second:
        from hashlib import sha512  # noqa: PLC0415  (few artifacts state the second digest)

        other = sha512()
    kept: list[bytes] | None = []
    size = 0
    for piece in _pieces(given):
        before, size = size, size + len(piece)
        if size > limit:
            return None
        first.update(piece)
        if other is not None:
            other.update(piece)
        if size > held:
            kept = None
        if kept is not None:
            kept.append(piece)
        for listener in listeners:
            part = piece[max(0, listener.skip - before) :]
            if part:
                listener.reader.feed(part)
    data = given if isinstance(given, bytes) else None if kept is None else b"".join(kept)
    return Outside(
        size=size,
        sha256=first.hexdigest(),
        sha512=None if other is None else other.hexdigest(),
        data=data if size <= held else None,
    )
