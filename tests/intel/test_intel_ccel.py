"""Firmware logs: shape of the header, of records, where reading stops."""

from __future__ import annotations

import hashlib

import pytest

from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.intel.ccel import parse_ccel

DIGEST = b"\xaa" * 48


def header(
    *,
    kind=3,
    name=b"Spec ID Event03\x00",
    algorithms=((0x0C, 48),),
    count=None,
    vendor=b"",
    spare=b"",
):
    body = (
        name
        + bytes(8)
        + (len(algorithms) if count is None else count).to_bytes(4, "little")
        + b"".join(a.to_bytes(2, "little") + s.to_bytes(2, "little") for a, s in algorithms)
        + bytes([len(vendor)])
        + vendor
        + spare
    )
    return (
        bytes(4) + kind.to_bytes(4, "little") + bytes(20) + len(body).to_bytes(4, "little") + body
    )


def record(index=1, kind=1, digests=((0x0C, DIGEST),), data=b"", count=None, size=None):
    return (
        index.to_bytes(4, "little")
        + kind.to_bytes(4, "little")
        + (len(digests) if count is None else count).to_bytes(4, "little")
        + b"".join(a.to_bytes(2, "little") + d for a, d in digests)
        + (len(data) if size is None else size).to_bytes(4, "little")
        + data
    )


def test_log_without_records_leaves_every_register_zero():
    assert parse_ccel(header()).registers() == (bytes(48),) * 4


def test_log_with_several_algorithms_uses_sha384():
    log = parse_ccel(
        header(algorithms=((0x04, 20), (0x0C, 48)), vendor=b"xy")
        + record(digests=((0x04, bytes(20)), (0x0C, DIGEST)), data=b"abc")
    )
    assert log.events[0].data == b"abc"
    assert log.registers()[0] == hashlib.sha384(bytes(48) + DIGEST).digest()
    assert log.extends(0)
    assert not log.extends(3)


@pytest.mark.parametrize("stop", [b"\xff\xff\xff\xff", bytes(12), b"\xff\xff\xff\xff" + b"junk"])
def test_reading_stops_at_an_end_mark(stop):
    log = parse_ccel(header() + record() + stop)
    assert len(log.events) == 1
    assert log.end <= len(header() + record()) + 12


def test_no_action_records_and_mrtd_extend_nothing():
    log = parse_ccel(header() + record(kind=3) + record(index=0))
    assert log.registers() == (bytes(48),) * 4
    assert not log.extends(0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(31),
        header(kind=1),
        header(name=b"Spec ID Event02\x00"),
        header(count=0),
        header(count=9),
        header(count=2),
        header(algorithms=((0x0B, 32),)),
        header(algorithms=((0x0C, 32),)),
        header(algorithms=((0x0C, 48), (0x0C, 48))),
        header(spare=b"\x00"),
        header()[:-1],
        header() + record(index=5),
        header() + record(count=9),
        header() + record(count=0),
        header() + record(count=2),
        header() + record(digests=((0x0B, bytes(32)),)),
        header() + record(size=0xFFFFFFFF),
        header() + record()[:-1],
        header() + bytes(11),
        header() + b"\x01",
        header(algorithms=((0x04, 20), (0x0C, 48))) + record(digests=((0x04, bytes(20)),)),
    ],
    ids=range(22),
)
def test_log_of_another_shape_is_malformed(data):
    with pytest.raises(FormatError) as caught:
        parse_ccel(data)
    assert caught.value.reason is Reason.TDX_CCEL_MALFORMED


def test_log_larger_than_the_limit_is_refused():
    with pytest.raises(FormatError) as caught:
        parse_ccel(bytes(1024 * 1024 + 1))
    assert caught.value.reason is Reason.TDX_INPUT_TOO_LARGE
