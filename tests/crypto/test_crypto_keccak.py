"""Keccak-256: known answers, and an installed second implementation as the oracle."""

from __future__ import annotations

import pytest
from Crypto.Hash import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.crypto.keccak import RATE, keccak256

KNOWN = [
    (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
    (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
]


@pytest.mark.parametrize(("message", "digest"), KNOWN)
def test_keccak256_known_message_gives_known_digest(message: bytes, digest: str) -> None:
    assert keccak256(message).hex() == digest


@pytest.mark.parametrize(
    "length", [0, 1, RATE - 2, RATE - 1, RATE, RATE + 1, 2 * RATE - 1, 2 * RATE]
)
def test_keccak256_at_block_edges_equals_the_oracle(length: int) -> None:
    message = bytes(index % 251 for index in range(length))
    assert keccak256(message) == keccak.new(digest_bits=256, data=message).digest()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=600))
def test_keccak256_any_message_equals_the_oracle(message: bytes) -> None:
    assert keccak256(message) == keccak.new(digest_bits=256, data=message).digest()
