"""Every limit of the container in one place, enforced before anything is allocated.

Four of them may be raised by a reader's explicit option up to a hard bound; nothing else may.
Source: bundle-format.md 4.
"""

from __future__ import annotations

from typing import Final

from verify.engine.value import value

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

NODES: Final = 400_000
OWN_DEPTH: Final = 16
EVIDENCE_DEPTH: Final = 64
MEMBER_NAME: Final = 1_024
NUMBER_TOKEN: Final = 64
SAFE_INTEGER: Final = 2**53 - 1

EVIDENCE_DOCUMENT: Final = 16 * MIB
HEADERS_PAIRS: Final = 512
HEADERS_VALUE: Final = 64 * KIB
HEADERS_DOCUMENT: Final = 256 * KIB
CERTIFICATE: Final = 16 * KIB
TIMESTAMP: Final = 32 * KIB
LOG_PROOF: Final = 64 * KIB
DERIVATION_SOURCES: Final = 3
DERIVED_TOTAL: Final = 512 * MIB
"""Derived bytes held of one bundle, and of its attachments together: a whole packed file's."""
GUNZIP_OUTPUT: Final = MIB
SALT: Final = 32
EXTENSION: Final = 64 * KIB

EXTERNAL_HARD: Final = 4 * GIB
_HARD: Final = {
    "packed_file": 512 * MIB,
    "payload": 16 * MIB,
    "inline_blob": 64 * MIB,
    "external_blob": EXTERNAL_HARD,
}


@value
class Limits:
    """The raisable limits, in bytes. Raises ValueError above the hard bound or below 1."""

    packed_file: int = 64 * MIB
    payload: int = 4 * MIB
    inline_blob: int = 16 * MIB
    external_blob: int = 256 * MIB

    def __post_init__(self) -> None:
        for name, hard in _HARD.items():
            value: int = getattr(self, name)
            if not 1 <= value <= hard:
                message = f"{name}: {value} is outside 1 to {hard} bytes"
                raise ValueError(message)


DEFAULT: Final = Limits()
