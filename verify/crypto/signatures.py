"""Signatures of bundles and attachments: Ed25519 or ECDSA P-256, as the key itself fixes.

No algorithm name travels; whoever holds the SubjectPublicKeyInfo knows the algorithm. Nothing here
raises on hostile input except `FormatError` from `load_signer_key`.

Source: bundle-format.md 9.1; 5.1 (signature); RFC 8032; RFC 5480.
"""

from __future__ import annotations

from enum import Enum
from hashlib import sha256
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from verify.crypto import der, ed25519
from verify.crypto.ecdsa import Curve, Signed, signed_der
from verify.engine.errors import FormatError
from verify.engine.value import field, value
from verify.wire.model import KeyId

_COORDINATE: Final = 32
_ED25519_HEAD: Final = bytes.fromhex("302a300506032b6570032100")
"""SEQUENCE, id-Ed25519 without parameters, BIT STRING of 32 bytes (RFC 8410)."""
_P256_HEAD: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
"""SEQUENCE, id-ecPublicKey with secp256r1, BIT STRING of an uncompressed point (RFC 5480)."""


class Algorithm(Enum):
    """What a key signs with."""

    ED25519 = "Ed25519"
    ECDSA_P256 = "ECDSA P-256 with SHA-256"


@value
class SignerKey:
    """A public key that may sign. ``spki``: its SubjectPublicKeyInfo, DER, in the one form."""

    keyid: KeyId
    algorithm: Algorithm
    spki: bytes
    native: Ed25519PublicKey | ec.EllipticCurvePublicKey = field(repr=False, compare=False)


def key_id(spki: bytes) -> KeyId:
    """Return the key id of a SubjectPublicKeyInfo."""
    return KeyId(f"sha256:{sha256(spki).hexdigest()}")


def load_signer_key(spki: bytes) -> SignerKey:
    """Return the key in a SubjectPublicKeyInfo (DER). Raises `FormatError`.

    Both kinds have one encoding: a fixed head and the key. Refused is everything else: other
    algorithms and curves, compressed points, parameters, points off the curve, and Ed25519 keys of
    small order.
    """
    native: Ed25519PublicKey | ec.EllipticCurvePublicKey
    try:
        if spki.startswith(_ED25519_HEAD) and len(spki) == len(_ED25519_HEAD) + 32:
            algorithm = Algorithm.ED25519
            raw = spki[len(_ED25519_HEAD) :]
            if not ed25519.acceptable_key(raw):
                raise FormatError(len(_ED25519_HEAD), "an Ed25519 key of small order")
            native = ed25519.public_key(raw)
        elif spki.startswith(_P256_HEAD) and len(spki) == len(_P256_HEAD) + 64:
            algorithm = Algorithm.ECDSA_P256
            point = spki[len(_P256_HEAD) - 1 :]
            native = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        else:
            raise FormatError(0, "neither an Ed25519 nor an ECDSA P-256 key in its one encoding")
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FormatError(0, f"no public key: {type(error).__name__}") from None
    return SignerKey(keyid=key_id(spki), algorithm=algorithm, spki=spki, native=native)


def _canonical_ecdsa(signature: bytes) -> bool:
    """Whether the bytes are a DER SEQUENCE of two minimal positive integers and nothing else."""
    try:
        sequence = der.whole(signature, der.SEQUENCE, "ECDSA signature")
        numbers = der.children(signature, sequence, limit=2)
        for number in numbers:
            if der.natural(signature, number, "ECDSA integer", size=_COORDINATE + 1) == 0:
                return False
    except FormatError:
        return False
    return len(numbers) == 2


def signed(key: SignerKey, signature: bytes, message: bytes) -> Signed:
    """Whether the holder of ``key`` made ``signature`` over ``message``."""
    if isinstance(key.native, Ed25519PublicKey):
        made = ed25519.signed(key.spki[len(_ED25519_HEAD) :], signature, message)
        return Signed.YES if made else Signed.NO
    if not _canonical_ecdsa(signature):
        return Signed.NO
    return signed_der(key.native, signature, message, Curve.P256)
