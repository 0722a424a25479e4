"""The key of the certificate that an answer shows for its own channel.

Source: providers.md 3.2 (``tls_certificate``), 2.1 (peer key).
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm

from verify.crypto.x509 import load_certificate, split_pem
from verify.engine.errors import FormatError
from verify.engine.reason import Reason


def certificate_spki(der: bytes) -> bytes:
    """Return SHA-256 of the SubjectPublicKeyInfo of one DER certificate. Raises `FormatError`."""
    certificate = load_certificate(der)
    try:
        return certificate.spki_sha256
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as error:
        raise FormatError(0, "a public key that cannot be read") from error


def leaf_spki(pem: str, path: str) -> bytes:
    """Return SHA-256 of the SubjectPublicKeyInfo of the first certificate of a PEM chain.

    Raises `FormatError` (``shape.encoding_invalid``).
    """
    try:
        return certificate_spki(split_pem(pem.encode())[0])
    except (FormatError, UnicodeEncodeError) as error:
        what = error.what if isinstance(error, FormatError) else "not text"
        raise FormatError(
            0, f"PEM: {what}", reason=Reason.SHAPE_ENCODING_INVALID, path=path
        ) from error
