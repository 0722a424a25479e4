"""What a certificate and a revocation list say, as values.

Source: RFC 5280 4.1, 5.1; tdx.md 13.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from verify.crypto import der
from verify.crypto.ecdsa import Curve
from verify.engine.errors import FormatError
from verify.engine.later import later
from verify.engine.value import value

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
else:
    rsa = later("cryptography.hazmat.primitives.asymmetric.rsa")

_RSA_KEY: Final = bytes.fromhex("300d06092a864886f70d0101010500")
_RSA_BYTES: Final = 1025
"""Bytes of a modulus of 8192 bits and its sign."""


@value
class Extension:
    """``value``: the DER inside the extension's OCTET STRING, where the library hands it out."""

    critical: bool
    value: bytes


def _rsa_numbers(spki: bytes) -> rsa.RSAPublicNumbers | None:
    """Return the numbers of an RSA key in its one encoding, None for everything else."""
    try:
        algorithm, holder = der.children(spki, der.whole(spki, der.SEQUENCE, "key"), limit=2)
        if der.outer(spki, algorithm) != _RSA_KEY:
            return None
        inner = der.bits(spki, der.expect(holder, der.BIT_STRING, "key bits"), "key bits")
        found = der.children(inner, der.whole(inner, der.SEQUENCE, "RSA key"), limit=2)
        modulus, exponent = (
            der.natural(inner, number, "RSA number", size=_RSA_BYTES) for number in found
        )
    except (FormatError, ValueError):
        return None
    return rsa.RSAPublicNumbers(exponent, modulus)


@value(eq=False)
class Certificate:
    """A certificate read completely. Two are equal iff their ``sha256`` are.

    ``issuer``, ``subject``, ``spki``, ``algorithm``: DER of the names, the SubjectPublicKeyInfo and
    the AlgorithmIdentifier inside the signed part, each as encoded. ``common_names``: every CN of
    the subject, in order.
    ``ca``: cA of basicConstraints, None without that extension. ``may_sign``, ``may_sign_certs``,
    ``may_sign_crls``: keyUsage bits, False without it. ``curve``: None for a key that is not on a
    supported named curve. Times are aware UTC, both ends inclusive.
    """

    der: bytes
    sha256: bytes
    version: int
    serial: int
    issuer: bytes
    subject: bytes
    spki: bytes
    algorithm: bytes
    common_names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    signature_oid: str
    signature: bytes
    tbs: bytes
    extensions: Mapping[str, Extension]
    ca: bool | None
    path_length: int | None
    may_sign: bool
    may_sign_certs: bool
    may_sign_crls: bool
    key: ec.EllipticCurvePublicKey | None
    curve: Curve | None

    @property
    def native(self) -> x509.Certificate:
        """The library's own object, made when it is asked for: its import is slow."""
        from cryptography import x509  # noqa: PLC0415  (see above)

        return x509.load_der_x509_certificate(self.der)

    def public_key(self) -> CertificatePublicKeyTypes:
        """Return the key of any kind. Raises ValueError, UnsupportedAlgorithm."""
        if self.key is not None:
            return self.key
        numbers = _rsa_numbers(self.spki)
        return self.native.public_key() if numbers is None else numbers.public_key()

    @property
    def spki_sha256(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo."""
        return sha256(self.spki).digest()


@value(eq=False)
class RevocationList:
    """A CRL read completely. ``next_update`` is None where the list has none."""

    der: bytes
    sha256: bytes
    version: int
    issuer: bytes
    this_update: datetime
    next_update: datetime | None
    signature_oid: str
    signature: bytes
    tbs: bytes
    extensions: Mapping[str, Extension]
    revoked: frozenset[int]
    native: x509.CertificateRevocationList


@value
class ListParts:
    """What a revocation list says in extensions and entries."""

    extensions: Mapping[str, Extension]
    revoked: frozenset[int]
