"""Two published 32-byte slices of GPU evidence, shown for what they are. Never part of a verdict.

A client recipe compares them with constants under SGX names ("MRENCLAVE", "MRSIGNER"). They are
parts of VBIOS measurements with index 1 and 2 and constant block headers: no enclave identity, no
signer, no device.

Source: nvidia.md 14; verification.md 5.4.
"""

from __future__ import annotations

from typing import Final

from verify.engine.value import value

SLICE_A: Final = slice(96, 128)
SLICE_B: Final = slice(160, 192)
PIN_A: Final = bytes.fromhex("00000000020133000130008048dfd18fe229bf16eb9d30cca0f11a24dafe6eb7")
PIN_B: Final = bytes.fromhex("3000ec80d19d78143549a41d62d0078c56b2d538ed5d394f19e5af7d93bd1a24")
MEANS: Final = "bytes of VBIOS measurements idx 1 and idx 2, not an enclave identity"
REPLACEMENT: Final = (
    "policy on driver, VBIOS and measurement index, after the report's signature is verified"
)


@value
class Slices:
    """The two slices of one device's evidence."""

    a: bytes
    b: bytes


def slices(evidence: bytes) -> Slices | None:
    """Return the slices of a GPU's evidence, or None where it is too short to have them."""
    if len(evidence) < SLICE_B.stop:
        return None
    return Slices(a=evidence[SLICE_A], b=evidence[SLICE_B])
