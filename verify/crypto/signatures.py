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
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from verify.crypto import der, ed25519
from verify.crypto.ecdsa import Curve, Signed, signed_der
from verify.engine.errors import FormatError
from verify.engine.value import field, value
from verify.wire.model import KeyId

SPKI_LIMIT: Final = 1024
_COORDINATE: Final = 32


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

    Refused: other algorithms and curves, an encoding that is not the one of that key (compressed
    points, parameters), Ed25519 keys of small order.
    """
    if len(spki) > SPKI_LIMIT:
        raise FormatError(SPKI_LIMIT, "longer than any key that may sign")
    try:
        native = load_der_public_key(spki)
        again = native.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FormatError(0, f"no public key: {type(error).__name__}") from None
    if again != spki:
        raise FormatError(0, "not the one encoding of this key")
    if isinstance(native, Ed25519PublicKey):
        if not ed25519.acceptable_key(native.public_bytes_raw()):
            raise FormatError(0, "an Ed25519 key of small order")
        algorithm = Algorithm.ED25519
    elif isinstance(native, ec.EllipticCurvePublicKey) and isinstance(native.curve, ec.SECP256R1):
        algorithm = Algorithm.ECDSA_P256
    else:
        raise FormatError(0, "neither Ed25519 nor ECDSA P-256")
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
        made = ed25519.signed(key.native.public_bytes_raw(), signature, message)
        return Signed.YES if made else Signed.NO
    if not _canonical_ecdsa(signature):
        return Signed.NO
    return signed_der(key.native, signature, message, Curve.P256)
