"""secp256k1 as Ethereum uses it: signatures with recovery, addresses, the personal-message prefix.

Source: providers.md 2.3 (encodings), 2.5 (algorithm); EIP-191 version 0x45; EIP-55.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NewType

from verify.crypto.keccak import keccak256
from verify.engine.errors import FormatError
from verify.engine.later import later
from verify.engine.value import value

if TYPE_CHECKING:
    import coincurve
else:
    coincurve = later("coincurve")

ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
"""Order n of the group."""

Address = NewType("Address", bytes)
"""20 bytes: the end of Keccak-256 over the 64 bytes of a public key."""
PublicKey = NewType("PublicKey", bytes)
"""64 bytes x‖y of a point on the curve."""

_CACHE: Final = 1024
"""Signers remembered: an archive has few, and a Keccak costs more than a recovery."""

_HEX: Final = frozenset("0123456789abcdefABCDEF")
_RECOVERY_OF_V: Final = {0: 0, 1: 1, 27: 0, 28: 1}


class RecoveryFailed(Exception):  # noqa: N818  (a fact about the signature, not a fault here)
    """No public key can have made this signature over this digest."""


@value
class Signature:
    """``r`` and ``s`` in [1, n-1], ``s`` in the lower half, ``recovery`` 0 or 1."""

    r: int
    s: int
    recovery: int


@value
class StatedAddress:
    """An address as somebody wrote it. ``checksum_wrong``: mixed case that is not EIP-55."""

    value: Address
    checksum_wrong: bool


def _hex_bytes(digits: str, what: str) -> bytes:
    # bytes.fromhex alone would let white space through
    for offset, character in enumerate(digits):
        if character not in _HEX:
            raise FormatError(offset, f"{what}: not a hexadecimal digit")
    return bytes.fromhex(digits)


def parse_signature(text: str) -> Signature:
    """Read 65 bytes r‖s‖v in hex, with ``0x`` or without; v one of 27, 28, 0, 1.

    Raises `FormatError`: length, digits, v, r or s out of range, s in the upper half (every
    producer emits the lower one: the other is a re-made copy). Source: providers.md 2.3.
    """
    digits = text.removeprefix("0x")
    if len(digits) != 130:
        raise FormatError(0, f"an ECDSA signature has 65 bytes, not {len(digits)} hex digits")
    raw = _hex_bytes(digits, "ECDSA signature")
    r = int.from_bytes(raw[:32], "big")
    s = int.from_bytes(raw[32:64], "big")
    recovery = _RECOVERY_OF_V.get(raw[64])
    if recovery is None:
        raise FormatError(64, f"v is {raw[64]}, not 27, 28, 0 or 1")
    if not 0 < r < ORDER:
        raise FormatError(0, "r is outside [1, n-1]")
    if not 0 < s < ORDER:
        raise FormatError(32, "s is outside [1, n-1]")
    if s > ORDER // 2:
        raise FormatError(32, "s lies in the upper half")
    return Signature(r=r, s=s, recovery=recovery)


def eip191_digest(message: bytes) -> bytes:
    """Return the Keccak-256 of a personal message: 0x19, the title, LF, decimal length, bytes."""
    head = b"\x19Ethereum Signed Message:\n" + str(len(message)).encode("ascii")
    return keccak256(head + message)


def recover(signature: Signature, digest: bytes) -> PublicKey:
    """Return the one public key that made ``signature`` over the 32-byte ``digest``.

    Nearly every signature yields *some* key: comparing it is the check. Raises `RecoveryFailed`.
    """
    compact = (
        signature.r.to_bytes(32, "big")
        + signature.s.to_bytes(32, "big")
        + bytes((signature.recovery,))
    )
    try:
        point = coincurve.PublicKey.from_signature_and_message(compact, digest, hasher=None)
    except ValueError as error:
        raise RecoveryFailed("no point of the curve fits r, s, v and the digest") from error
    return PublicKey(point.format(compressed=False)[1:])


@lru_cache(maxsize=_CACHE)
def address_of(key: PublicKey) -> Address:
    """Return the last 20 bytes of Keccak-256 over the 64 bytes of a public key."""
    return Address(keccak256(key)[12:])


@lru_cache(maxsize=_CACHE)
def checksummed(address: Address) -> str:
    """Return an address in its EIP-55 spelling."""
    digits = address.hex()
    digest = keccak256(digits.encode("ascii")).hex()
    return "0x" + "".join(
        digit.upper() if int(nibble, 16) >= 8 else digit
        for digit, nibble in zip(digits, digest, strict=False)
    )


def parse_address(text: str) -> StatedAddress:
    """Read ``0x`` and 40 hex digits in any case. Raises `FormatError`.

    A mixed-case spelling that is not EIP-55 is flagged, not refused: the 20 bytes are compared.
    Source: providers.md 2.3.
    """
    if len(text) != 42 or not text.startswith("0x"):
        raise FormatError(0, "an address is 0x and 40 hex digits")
    digits = text[2:]
    value = Address(_hex_bytes(digits, "address"))
    single_case = digits in (digits.lower(), digits.upper())
    return StatedAddress(value=value, checksum_wrong=not single_case and checksummed(value) != text)


def parse_public_key(text: str) -> PublicKey:
    """Read 128 hex digits x‖y, or 130 that start with 04; the point must lie on the curve.

    The compressed form is not accepted. Raises `FormatError`. Source: providers.md 2.3.
    """
    digits = text[2:] if len(text) == 130 and text.startswith("04") else text
    if len(digits) != 128:
        raise FormatError(0, "a public key is 128 hex digits, or 130 that start with 04")
    raw = _hex_bytes(digits, "public key")
    try:
        coincurve.PublicKey(b"\x04" + raw)
    except ValueError as error:
        raise FormatError(0, "the public key is no point of the curve") from error
    return PublicKey(raw)
