"""CCEL: the firmware's binary event log of a TD, replayed into RTMR values.

What the events mean is not judged. Source: tdx.md 15.
"""

from __future__ import annotations

from hashlib import sha384
from typing import Final

from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.engine.value import value

CCEL_LIMIT: Final = 1024 * 1024
SHA384: Final = 0x000C

_EV_NO_ACTION: Final = 3
_SIGNATURE: Final = b"Spec ID Event03\x00"
_ALGORITHMS: Final = 8
_DIGESTS: Final = 8
_END: Final = 0xFFFFFFFF


@value
class FirmwareEvent:
    """One record: ``index`` 0 is MRTD, 1 to 4 are RTMR0 to RTMR3; ``digest``: SHA-384."""

    index: int
    type: int
    digest: bytes
    data: bytes
    offset: int


@value
class FirmwareLog:
    """``events``: in order, EV_NO_ACTION included. ``end``: offset where reading stopped."""

    events: tuple[FirmwareEvent, ...]
    end: int

    def registers(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Replay: RTMR0 to RTMR3, each from 48 zero bytes."""
        values = [bytes(48)] * 4
        for event in self.events:
            if event.type != _EV_NO_ACTION and event.index > 0:
                values[event.index - 1] = sha384(values[event.index - 1] + event.digest).digest()
        return values[0], values[1], values[2], values[3]

    def extends(self, index: int) -> bool:
        """Whether any event of the log extends RTMR ``index`` (0 to 3)."""
        return any(e.index == index + 1 and e.type != _EV_NO_ACTION for e in self.events)


class _Reader:
    """Little-endian reads that never leave the buffer."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int, what: str) -> bytes:
        stop = self.at + size
        if stop > len(self.data):
            raise _malformed(self.at, f"{what} of {size} bytes runs past the end")
        found = self.data[self.at : stop]
        self.at = stop
        return found

    def number(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what), "little")


def _malformed(at: int, what: str) -> FormatError:
    return FormatError(at, what, reason=Reason.TDX_CCEL_MALFORMED)


def _algorithms(reader: _Reader) -> dict[int, int]:
    """Read the first record: digest sizes by algorithm id."""
    reader.number(4, "the index")
    if reader.number(4, "the type") != _EV_NO_ACTION:
        raise _malformed(4, "the first record is not EV_NO_ACTION")
    reader.take(20, "the digest")
    size = reader.number(4, "the size")
    inner = _Reader(reader.take(size, "the specification id"))
    if inner.take(16, "the signature") != _SIGNATURE:
        raise _malformed(32, "not Spec ID Event03")
    inner.take(8, "platform class and versions")
    count = inner.number(4, "the number of algorithms")
    if not 1 <= count <= _ALGORITHMS:
        raise _malformed(56, f"{count} algorithms")
    sizes: dict[int, int] = {}
    for _ in range(count):
        algorithm = inner.number(2, "an algorithm")
        sizes[algorithm] = inner.number(2, "a digest size")
    vendor = inner.number(1, "the vendor size")
    inner.take(vendor, "the vendor information")
    if inner.at != size:
        raise _malformed(32 + inner.at, "bytes after the specification id")
    if len(sizes) != count or sizes.get(SHA384) != 48:
        raise _malformed(56, "SHA-384 is not among the algorithms, or one stands twice")
    return sizes


def parse_ccel(data: bytes) -> FirmwareLog:
    """Read a CCEL area, padding included.

    Raises FormatError (``tdx.ccel.malformed``, ``tdx.input.too_large``). Source: tdx.md 15.
    """
    if len(data) > CCEL_LIMIT:
        raise FormatError(CCEL_LIMIT, "more than 1 MiB", reason=Reason.TDX_INPUT_TOO_LARGE)
    reader = _Reader(data)
    sizes = _algorithms(reader)
    events: list[FirmwareEvent] = []
    while reader.at < len(data):
        offset = reader.at
        index = reader.number(4, "the index")
        if index == _END:
            break
        kind = reader.number(4, "the type")
        count = reader.number(4, "the number of digests")
        if index == kind == count == 0:
            break
        if index > 4:
            raise _malformed(offset, f"register index {index}")
        if count > _DIGESTS:
            raise _malformed(offset + 8, f"{count} digests")
        digest: bytes | None = None
        for _ in range(count):
            algorithm = reader.number(2, "an algorithm")
            size = sizes.get(algorithm)
            if size is None:
                raise _malformed(reader.at - 2, f"algorithm {algorithm:#06x} is not declared")
            found = reader.take(size, "a digest")
            if algorithm == SHA384:
                digest = found
        size = reader.number(4, "the event size")
        body = reader.take(size, "the event")
        if digest is None:
            raise _malformed(offset, "a record without a SHA-384 digest")
        events.append(
            FirmwareEvent(index=index, type=kind, digest=digest, data=body, offset=offset)
        )
    return FirmwareLog(events=tuple(events), end=reader.at)
