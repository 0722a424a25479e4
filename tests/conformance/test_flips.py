"""One bit of a byte changed anywhere in the file: never VERIFIED, but where nothing is said.

Source: verification.md 13.4.
"""

from __future__ import annotations

import re

import pytest

from fixtures import goods
from fixtures.registry import Case
from fixtures.vectors import intel
from tests.conformance.judging import verdict

STEP = 97
"""Every so many bytes of a session; a prime, so that no layout of the file is missed for ever."""

PARTS = 4
"""Into how many tests the sample of a session is cut."""

UNCOVERED: dict[str, tuple[tuple[int, int, str], ...]] = {"nanogpt": (), "hardware-tdx": ()}
"""Base to (first offset, last offset, reason): where one changed bit leaves the bundle VERIFIED.

There is no such byte. White space outside strings is the only part of a bundle that says nothing,
and no single bit turns one white space of JSON into another; member names are closed by the schema,
text is under digests, encodings have one form, and the Statement is signed.
"""

_SPACE = re.compile(rb'[ \n](?=[ "}\]])')


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << (at * 5 % 8)
    return bytes(changed)


def uncovered(name: str, at: int) -> bool:
    return any(first <= at <= last for first, last, _ in UNCOVERED[name])


def survivors(case: Case, offsets: range) -> list[int]:
    return [at for at in offsets if verdict(case, bundle=flipped(case.bundle, at)) == "VERIFIED"]


@pytest.mark.parametrize("part", range(PARTS))
def test_flipped_bit_of_a_session_is_never_verified(part: int) -> None:
    case = goods.good("nanogpt")
    offsets = range(part * STEP, len(case.bundle), PARTS * STEP)
    assert survivors(case, offsets) == [at for at in offsets if uncovered("nanogpt", at)]


def test_flipped_bit_of_listed_hardware_is_never_verified() -> None:
    case = intel.good()
    offsets = range(STEP // 2, len(case.bundle), STEP)
    assert survivors(case, offsets) == [at for at in offsets if uncovered("hardware-tdx", at)]


@pytest.mark.parametrize("other", [b"\t", b"\r", b"  ", b""])
def test_other_white_space_outside_strings_says_the_same(other: bytes) -> None:
    """What is not covered, covered: the layout of the file carries no meaning."""
    case = intel.good()
    place = _SPACE.search(case.bundle)
    assert place is not None
    changed = case.bundle[: place.start()] + other + case.bundle[place.end() :]
    assert verdict(case, bundle=changed) == "VERIFIED"


@pytest.mark.parametrize("tail", [b"\x00", b"{}", b"//", b"\xef\xbb\xbf"])
def test_anything_but_white_space_behind_the_file_is_unusable(tail: bytes) -> None:
    case = intel.good()
    assert verdict(case, bundle=case.bundle + tail) == "unusable"
    assert verdict(case, bundle=case.bundle + b" \n") == "VERIFIED"
