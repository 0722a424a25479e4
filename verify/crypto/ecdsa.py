"""ECDSA over P-256 and P-384: keys from raw points, signatures raw (r ‖ s) or DER.

Nothing here raises on hostile input; the hash is stated by us (SHA-256 with P-256, SHA-384 with
P-384), never taken from what a certificate names. Source: tdx.md 13.4, nvidia.md 2.3.
"""

from __future__ import annotations

from enum import Enum
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from verify.crypto.cache import Bounded


class Curve(Enum):
    """A supported curve; the value is the size of a coordinate in bytes."""

    P256 = 32
    P384 = 48


class Signed(Enum):
    """Whether a key made a signature. NO covers every malformed signature."""

    YES = "yes"
    NO = "no"


class _Stated(ec.ECDSA):
    """ECDSA with a stated hash, for verification alone.

    The library's constructor asks whether signatures can be made without randomness, and imports
    all its ciphers to find out: a thirtieth of a whole verification in time and memory.
    """

    def __init__(self, algorithm: hashes.HashAlgorithm) -> None:
        self._stated = algorithm

    @property
    def algorithm(self) -> hashes.HashAlgorithm:
        return self._stated

    @property
    def deterministic_signing(self) -> bool:
        return False


_CURVES: Final[dict[Curve, ec.EllipticCurve]] = {
    Curve.P256: ec.SECP256R1(),
    Curve.P384: ec.SECP384R1(),
}
_ECDSA: Final = {Curve.P256: _Stated(hashes.SHA256()), Curve.P384: _Stated(hashes.SHA384())}
_SEEN: Final[Bounded[tuple[bytes, bytes, bytes, Curve], Signed]] = Bounded(2048)


def forget() -> None:
    """Empty the cache of this module (for measurements and for tests of equal results)."""
    _SEEN.clear()


def curve_of(key: object) -> Curve | None:
    """Return the supported curve of a public key, or None for any other key."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        for curve, known in _CURVES.items():
            if key.curve.name == known.name:
                return curve
    return None


def key_from_point(curve: Curve, point: bytes) -> ec.EllipticCurvePublicKey | None:
    """Return the key of ``x ‖ y`` (big-endian, fixed width), or None if it is no point on it."""
    if len(point) != 2 * curve.value:
        return None
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[curve], b"\x04" + point)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def signed_der(
    key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes, curve: Curve
) -> Signed:
    """Whether ``key`` (on ``curve``) made the DER-encoded ``signature`` over ``message``."""
    if curve_of(key) is not curve:
        return Signed.NO
    try:
        key.verify(signature, message, _ECDSA[curve])
    except (InvalidSignature, ValueError, TypeError, OverflowError, UnsupportedAlgorithm):
        return Signed.NO
    return Signed.YES


def signed_raw(
    key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes, curve: Curve
) -> Signed:
    """Whether ``key`` made ``r ‖ s`` (big-endian, fixed width) over ``message``."""
    size = curve.value
    if len(signature) != 2 * size:
        return Signed.NO
    r = int.from_bytes(signature[:size], "big")
    s = int.from_bytes(signature[size:], "big")
    if r == 0 or s == 0:
        return Signed.NO
    return signed_der(key, encode_dss_signature(r, s), message, curve)


def signed_raw_by(
    key_id: bytes,
    key: ec.EllipticCurvePublicKey,
    signature: bytes,
    message: bytes,
    curve: Curve,
) -> Signed:
    """`signed_raw`, remembered under ``key_id``: the SHA-256 of the key's SPKI or certificate."""
    entry = (key_id, sha256(message).digest(), signature, curve)
    found = _SEEN.get(entry)
    return found or _SEEN.put(entry, signed_raw(key, signature, message, curve))
