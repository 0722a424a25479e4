"""RFC 3161 time stamps: read, matched with a trusted authority, verified at their own time.

The CMS signature and the chain are the library's work; what is stamped, by whom and when is ours.
Source: RFC 3161 2.4.2, RFC 5816; bundle-format.md 5.1 (``rfc3161``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509

from verify.crypto.x509 import Certificate, load_certificate
from verify.engine.errors import FormatError
from verify.engine.value import field, value

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

T = TypeVar("T")

TOKEN_LIMIT: Final = 32 * 1024
_CERTIFICATES: Final = 8
_GRANTED: Final = 0
_IMPRINTS: Final = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}


@value
class Token:
    """A time stamp as it stands. Nothing is a fact before `verified`.

    ``latest``: genTime plus the stated accuracy: the stamped bytes existed by then.
    ``certificates``: those embedded, DER parsed.
    """

    gen_time: datetime
    latest: datetime
    algorithm: str
    imprint: bytes
    certificates: tuple[Certificate, ...]
    native: TimeStampResponse = field(repr=False, compare=False)

    def stamps(self, message: bytes) -> bool:
        """Whether the imprint is that of ``message``."""
        return hashlib.new(self.algorithm, message).digest() == self.imprint

    def names(self, authority: Certificate) -> bool:
        """Whether an embedded certificate is the authority's or names it as its issuer."""
        return any(
            certificate.der == authority.der or certificate.issuer == authority.subject
            for certificate in self.certificates
        )

    def outside(self) -> Certificate | None:
        """Return an embedded certificate whose validity does not cover genTime, or None."""
        for certificate in self.certificates:
            if not certificate.not_before <= self.gen_time <= certificate.not_after:
                return certificate
        return None


def _parsed(data: bytes) -> Token:
    from rfc3161_client import decode_timestamp_response  # noqa: PLC0415  (bundles without tokens)

    native = decode_timestamp_response(data)
    if native.status != _GRANTED:
        raise FormatError(0, f"the authority's status is {native.status}, not granted")
    info = native.tst_info
    algorithm = _IMPRINTS.get(info.message_imprint.hash_algorithm.dotted_string, "")
    imprint = bytes(info.message_imprint.message)
    if not algorithm or len(imprint) != hashlib.new(algorithm).digest_size:
        raise FormatError(0, "the imprint is not one of SHA-256, SHA-384, SHA-512")
    embedded = sorted(bytes(der) for der in native.signed_data.certificates)
    if not 1 <= len(embedded) <= _CERTIFICATES:
        raise FormatError(0, f"{len(embedded)} certificates embedded, not 1 to {_CERTIFICATES}")
    gen_time = info.gen_time.replace(tzinfo=info.gen_time.tzinfo or UTC).astimezone(UTC)
    margin = timedelta()
    if info.accuracy is not None:
        margin = timedelta(
            seconds=info.accuracy.seconds or 0,
            milliseconds=info.accuracy.millis or 0,
            microseconds=info.accuracy.micros or 0,
        )
    return Token(
        gen_time=gen_time,
        latest=gen_time + margin,
        algorithm=algorithm,
        imprint=imprint,
        certificates=tuple(load_certificate(der) for der in embedded),
        native=native,
    )


def _sealed(read: Callable[[], T], what: str) -> T:
    """Call into the library; whatever it throws becomes a FormatError that says ``what``."""
    try:
        return read()
    except (KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit, FormatError):
        raise
    except BaseException as error:  # noqa: BLE001  (a Rust panic derives from BaseException alone)
        # The library's texts name files and lines of its build: a report must not.
        raise FormatError(0, f"{what} ({type(error).__name__})") from None


def read_token(data: bytes) -> Token:
    """Read a TimeStampResp (DER). Raises FormatError."""
    if len(data) > TOKEN_LIMIT:
        raise FormatError(TOKEN_LIMIT, f"a time stamp longer than {TOKEN_LIMIT} bytes")
    return _sealed(lambda: _parsed(data), "not a time stamp response")


def verify_token(token: Token, authority: bytes, message: bytes) -> None:
    """Verify signature, imprint and chain up to ``authority`` (DER), all at genTime.

    The signer's certificate is the one that the signed attributes name; it is for time stamping
    alone. Raises FormatError where anything does not hold.
    """
    from rfc3161_client import VerifierBuilder  # noqa: PLC0415  (bundles without tokens)

    def held() -> bool:
        root = x509.load_der_x509_certificate(authority)
        return VerifierBuilder(roots=[root]).build().verify_message(token.native, message)

    what = "the signature does not lead to the authority"
    if not _sealed(held, what):
        raise FormatError(0, what)
