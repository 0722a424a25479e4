"""Keccak-256 as Ethereum and dstack use it: the submission's padding, not that of SHA3-256.

No hash of the standard library or of `cryptography` offers it: SHA3-256 appends other domain bits,
and the permutation itself is not reachable through either. The one installed C implementation costs
25 ms to import, as much as a hundred calls of this one, and a verification makes fewer than ten.

Source: the Keccak reference, version 3.0, sections 1.2 and 1.3; tdx.md 14.5; providers.md 2.5.
"""

from __future__ import annotations

import struct
from typing import Final

RATE: Final = 136
"""Bytes absorbed per permutation with 256 bits of output."""

_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF
_LANES: Final = struct.Struct("<17Q")
_ROUND_CONSTANTS: Final = (
    0x0000000000000001,
    0x0000000000008082,
    0x800000000000808A,
    0x8000000080008000,
    0x000000000000808B,
    0x0000000080000001,
    0x8000000080008081,
    0x8000000000008009,
    0x000000000000008A,
    0x0000000000000088,
    0x0000000080008009,
    0x000000008000000A,
    0x000000008000808B,
    0x800000000000008B,
    0x8000000000008089,
    0x8000000000008003,
    0x8000000000008002,
    0x8000000000000080,
    0x000000000000800A,
    0x800000008000000A,
    0x8000000080008081,
    0x8000000000008080,
    0x0000000080000001,
    0x8000000080008008,
)

State = tuple[int, ...]


def _permute(state: State) -> State:
    """Keccak-f[1600] over 25 lanes, lane (x, y) at index x + 5y.

    Written out lane by lane: a loop over the lanes takes four times as long.
    """
    (
        a00, a10, a20, a30, a40,
        a01, a11, a21, a31, a41,
        a02, a12, a22, a32, a42,
        a03, a13, a23, a33, a43,
        a04, a14, a24, a34, a44,
    ) = state  # fmt: skip
    m = _MASK
    for constant in _ROUND_CONSTANTS:
        # theta
        c0 = a00 ^ a01 ^ a02 ^ a03 ^ a04
        c1 = a10 ^ a11 ^ a12 ^ a13 ^ a14
        c2 = a20 ^ a21 ^ a22 ^ a23 ^ a24
        c3 = a30 ^ a31 ^ a32 ^ a33 ^ a34
        c4 = a40 ^ a41 ^ a42 ^ a43 ^ a44
        d0 = c4 ^ ((c1 << 1 | c1 >> 63) & m)
        d1 = c0 ^ ((c2 << 1 | c2 >> 63) & m)
        d2 = c1 ^ ((c3 << 1 | c3 >> 63) & m)
        d3 = c2 ^ ((c4 << 1 | c4 >> 63) & m)
        d4 = c3 ^ ((c0 << 1 | c0 >> 63) & m)
        # rho and pi: lane (x, y) goes to (y, 2x + 3y), rotated by its offset
        b00 = a00 ^ d0
        t = a10 ^ d1
        b02 = (t << 1 | t >> 63) & m
        t = a20 ^ d2
        b04 = (t << 62 | t >> 2) & m
        t = a30 ^ d3
        b01 = (t << 28 | t >> 36) & m
        t = a40 ^ d4
        b03 = (t << 27 | t >> 37) & m
        t = a01 ^ d0
        b13 = (t << 36 | t >> 28) & m
        t = a11 ^ d1
        b10 = (t << 44 | t >> 20) & m
        t = a21 ^ d2
        b12 = (t << 6 | t >> 58) & m
        t = a31 ^ d3
        b14 = (t << 55 | t >> 9) & m
        t = a41 ^ d4
        b11 = (t << 20 | t >> 44) & m
        t = a02 ^ d0
        b21 = (t << 3 | t >> 61) & m
        t = a12 ^ d1
        b23 = (t << 10 | t >> 54) & m
        t = a22 ^ d2
        b20 = (t << 43 | t >> 21) & m
        t = a32 ^ d3
        b22 = (t << 25 | t >> 39) & m
        t = a42 ^ d4
        b24 = (t << 39 | t >> 25) & m
        t = a03 ^ d0
        b34 = (t << 41 | t >> 23) & m
        t = a13 ^ d1
        b31 = (t << 45 | t >> 19) & m
        t = a23 ^ d2
        b33 = (t << 15 | t >> 49) & m
        t = a33 ^ d3
        b30 = (t << 21 | t >> 43) & m
        t = a43 ^ d4
        b32 = (t << 8 | t >> 56) & m
        t = a04 ^ d0
        b42 = (t << 18 | t >> 46) & m
        t = a14 ^ d1
        b44 = (t << 2 | t >> 62) & m
        t = a24 ^ d2
        b41 = (t << 61 | t >> 3) & m
        t = a34 ^ d3
        b43 = (t << 56 | t >> 8) & m
        t = a44 ^ d4
        b40 = (t << 14 | t >> 50) & m
        # chi, and iota on lane (0, 0)
        a00 = b00 ^ (b20 & ~b10) ^ constant
        a10 = b10 ^ (b30 & ~b20)
        a20 = b20 ^ (b40 & ~b30)
        a30 = b30 ^ (b00 & ~b40)
        a40 = b40 ^ (b10 & ~b00)
        a01 = b01 ^ (b21 & ~b11)
        a11 = b11 ^ (b31 & ~b21)
        a21 = b21 ^ (b41 & ~b31)
        a31 = b31 ^ (b01 & ~b41)
        a41 = b41 ^ (b11 & ~b01)
        a02 = b02 ^ (b22 & ~b12)
        a12 = b12 ^ (b32 & ~b22)
        a22 = b22 ^ (b42 & ~b32)
        a32 = b32 ^ (b02 & ~b42)
        a42 = b42 ^ (b12 & ~b02)
        a03 = b03 ^ (b23 & ~b13)
        a13 = b13 ^ (b33 & ~b23)
        a23 = b23 ^ (b43 & ~b33)
        a33 = b33 ^ (b03 & ~b43)
        a43 = b43 ^ (b13 & ~b03)
        a04 = b04 ^ (b24 & ~b14)
        a14 = b14 ^ (b34 & ~b24)
        a24 = b24 ^ (b44 & ~b34)
        a34 = b34 ^ (b04 & ~b44)
        a44 = b44 ^ (b14 & ~b04)
    return (
        a00, a10, a20, a30, a40,
        a01, a11, a21, a31, a41,
        a02, a12, a22, a32, a42,
        a03, a13, a23, a33, a43,
        a04, a14, a24, a34, a44,
    )  # fmt: skip


def keccak256(data: bytes) -> bytes:
    """Return the 32 bytes of Keccak-256 of ``data`` (multi-rate padding 0x01 … 0x80)."""
    padded = bytearray(data)
    padded += bytes(RATE - len(data) % RATE)
    padded[len(data)] ^= 0x01
    padded[-1] ^= 0x80
    state: State = (0,) * 25
    for start in range(0, len(padded), RATE):
        block = _LANES.unpack_from(padded, start)
        state = _permute(
            tuple(lane ^ word for lane, word in zip(state, block, strict=False)) + state[17:]
        )
    return struct.pack("<4Q", *state[:4])
