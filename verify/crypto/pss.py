"""RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes: AMD's one signature scheme.

Source: sev-snp.md 6.3; RFC 8017 8.1.2.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from verify.crypto.ecdsa import Signed

SALT_LENGTH: Final = 48


def signed_pss_sha384(key: rsa.RSAPublicKey, signature: bytes, message: bytes) -> Signed:
    """Whether ``key`` made ``signature`` over ``message``.

    The salt length is fixed, never read off the signature or a certificate.
    """
    try:
        key.verify(
            signature,
            message,
            padding.PSS(padding.MGF1(hashes.SHA384()), SALT_LENGTH),
            hashes.SHA384(),
        )
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return Signed.NO
    return Signed.YES
