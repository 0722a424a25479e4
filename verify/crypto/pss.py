"""RSASSA-PSS with SHA-384, MGF1 with SHA-384 and a salt of 48 bytes: AMD's one signature scheme.

Source: sev-snp.md 6.3; RFC 8017 8.1.2.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

SALT_LENGTH = 48


def pss_sha384_verifies(key: rsa.RSAPublicKey, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` is one over ``message``; the salt length is fixed, never read off."""
    try:
        key.verify(
            signature,
            message,
            padding.PSS(padding.MGF1(hashes.SHA384()), SALT_LENGTH),
            hashes.SHA384(),
        )
    except InvalidSignature:
        return False
    return True
