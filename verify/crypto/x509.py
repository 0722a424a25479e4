"""X.509 certificates and revocation lists: loaded once, read completely, remembered by digest.

`cryptography` parses lazily and throws many things, rarely even a Rust panic that derives from
BaseException. Here every attribute that a judgement uses is touched inside one wrapper; whatever
goes wrong is a `FormatError`. Nothing here judges time, names or profiles.

The library's Python half is imported for what `verify.crypto.narrow` does not read: its modules
cost more than reading all certificates of a bundle.

Source: tdx.md 13.3, 13.4; verification.md 12 (caches).
"""

from __future__ import annotations

import binascii
import re
import warnings
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography.hazmat.bindings._rust import x509 as rust_x509
from cryptography.hazmat.primitives.asymmetric import ec

from verify.crypto import narrow
from verify.crypto.cache import Bounded
from verify.crypto.certificate import Certificate, Extension, ListParts, RevocationList
from verify.crypto.ecdsa import Curve, Signed, curve_of, signed_der
from verify.engine.errors import FormatError

if TYPE_CHECKING:
    from cryptography import x509

__all__ = (
    "CERTIFICATE_LIMIT",
    "CRL_LIMIT",
    "OID_AUTHORITY_KEY_IDENTIFIER",
    "OID_BASIC_CONSTRAINTS",
    "OID_CRL_DISTRIBUTION_POINTS",
    "OID_CRL_NUMBER",
    "OID_DELTA_CRL_INDICATOR",
    "OID_ECDSA_SHA256",
    "OID_ECDSA_SHA384",
    "OID_ISSUING_DISTRIBUTION_POINT",
    "OID_KEY_USAGE",
    "OID_SUBJECT_KEY_IDENTIFIER",
    "Certificate",
    "ChainTooLongError",
    "RevocationList",
    "forget",
    "load_certificate",
    "load_revocation_list",
    "recorded_crl_der",
    "sealed",
    "signed_by",
    "split_pem",
)

CERTIFICATE_LIMIT: Final = 64 * 1024
CRL_LIMIT: Final = 1024 * 1024

OID_SUBJECT_KEY_IDENTIFIER: Final = "2.5.29.14"
OID_KEY_USAGE: Final = "2.5.29.15"
OID_BASIC_CONSTRAINTS: Final = "2.5.29.19"
OID_CRL_NUMBER: Final = "2.5.29.20"
OID_DELTA_CRL_INDICATOR: Final = "2.5.29.27"
OID_ISSUING_DISTRIBUTION_POINT: Final = "2.5.29.28"
OID_CRL_DISTRIBUTION_POINTS: Final = "2.5.29.31"
OID_AUTHORITY_KEY_IDENTIFIER: Final = "2.5.29.35"
OID_ECDSA_SHA256: Final = "1.2.840.10045.4.3.2"
OID_ECDSA_SHA384: Final = "1.2.840.10045.4.3.3"

_EXPLICIT_VERSION: Final = 0xA0
_ALGORITHM_CURVE: Final = {Curve.P256: OID_ECDSA_SHA256, Curve.P384: OID_ECDSA_SHA384}

T = TypeVar("T")


_CERTIFICATES: Final[Bounded[bytes, Certificate]] = Bounded(512)
_LISTS: Final[Bounded[bytes, RevocationList]] = Bounded(64)
_CHAINS: Final[Bounded[bytes, tuple[bytes, ...]]] = Bounded(256)
_EDGES: Final[Bounded[tuple[bytes, bytes, Curve], Signed]] = Bounded(4096)


def forget() -> None:
    """Empty the caches of this module (for measurements and for tests of equal results)."""
    for cache in (_CERTIFICATES, _LISTS, _CHAINS, _EDGES):
        cache.clear()


def sealed(read: Callable[[bytes], T], data: bytes, what: str) -> T:
    """Call a reader of the library on ``data``; anything it throws becomes a FormatError.

    Interruptions of ours excepted. ``what``: what the bytes are not, in words.
    """
    try:
        # A warning is the library's remark about tomorrow; the result must not depend on filters.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(data)
    except (KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit):
        raise
    except FormatError:
        raise
    except BaseException as error:  # noqa: BLE001  (a Rust panic derives from BaseException alone)
        raise FormatError(0, f"{what}: {type(error).__name__}") from None


def _extensions(found: x509.Extensions) -> dict[str, Extension]:
    from cryptography.x509 import UnrecognizedExtension  # noqa: PLC0415  (see the module's text)

    named: dict[str, Extension] = {}
    for extension in found:
        value = extension.value
        unknown = isinstance(value, UnrecognizedExtension)
        raw = value.value if unknown else value.public_bytes()
        named[extension.oid.dotted_string] = Extension(critical=extension.critical, value=raw)
    return named


def read_by_library(der: bytes) -> Certificate:
    """Read any certificate that the library reads. Raises FormatError and whatever it raises."""
    from cryptography import x509  # noqa: PLC0415  (see the module's text)

    native = x509.load_der_x509_certificate(der)
    _demand_whole_octets(der)
    tbs, (_, algorithm, issuer, _, subject, spki) = _signed_members(der)
    serial = native.serial_number
    if serial < 0:
        raise FormatError(0, "a negative serial number")
    ca: bool | None = None
    path_length: int | None = None
    usage: x509.KeyUsage | None = None
    found = native.extensions
    for extension in found:
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            ca, path_length = value.ca, value.path_length
        elif isinstance(value, x509.KeyUsage):
            usage = value
    key = _public_key(native)
    names = native.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return Certificate(
        der=der,
        sha256=sha256(der).digest(),
        version=native.version.value + 1,
        serial=serial,
        issuer=issuer,
        subject=subject,
        spki=spki,
        algorithm=algorithm,
        common_names=tuple(str(name.value) for name in names),
        not_before=native.not_valid_before_utc,
        not_after=native.not_valid_after_utc,
        signature_oid=native.signature_algorithm_oid.dotted_string,
        signature=native.signature,
        tbs=tbs,
        extensions=_extensions(found),
        ca=ca,
        path_length=path_length,
        may_sign=usage is not None and usage.digital_signature,
        may_sign_certs=usage is not None and usage.key_cert_sign,
        may_sign_crls=usage is not None and usage.crl_sign,
        key=key,
        curve=curve_of(key),
    )


def library_list_parts(native: x509.CertificateRevocationList) -> ListParts:
    """Return what a revocation list says, read by the library. Raises whatever it raises."""
    extensions = _extensions(native.extensions)
    serials: set[int] = set()
    for entry in native:
        for extension in entry.extensions:
            # An entry of an indirect list speaks of another issuer's certificate: not ours to read.
            if extension.critical:
                raise FormatError(0, f"critical entry extension {extension.oid.dotted_string}")
        serials.add(entry.serial_number)
    return ListParts(extensions=extensions, revoked=frozenset(serials))


def _public_key(native: x509.Certificate) -> ec.EllipticCurvePublicKey | None:
    try:
        key = native.public_key()
    except Exception:  # noqa: BLE001  (explicit parameters, unknown algorithms: no usable key)
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def _next(der: bytes, at: int) -> int:
    """Return where the element at ``at`` ends. The library has found the DER well-formed."""
    length = der[at + 1]
    if length < 0x80:
        return at + 2 + length
    inside = at + 2 + (length & 0x7F)
    return inside + int.from_bytes(der[at + 2 : inside], "big")


def _inside(der: bytes, at: int) -> int:
    """Return where the value of the element at ``at`` begins."""
    length = der[at + 1]
    return at + 2 if length < 0x80 else at + 2 + (length & 0x7F)


def _demand_whole_octets(der: bytes) -> None:
    """Refuse a signature whose BIT STRING says that some of its bits are unused.

    The library drops that number; who changes it makes another file of the same certificate.
    """
    tbs = _inside(der, 0)
    signature = _next(der, _next(der, tbs))
    if der[_inside(der, signature)] != 0:
        raise FormatError(signature, "a signature with unused bits")


def _signed_members(der: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    """Return TBSCertificate and its members from serialNumber to subjectPublicKeyInfo.

    As encoded: re-encoding would hide how somebody wrote them.
    """
    start = _inside(der, 0)
    at = _inside(der, start)
    if der[at] == _EXPLICIT_VERSION:
        at = _next(der, at)
    members: list[bytes] = []
    for _ in range(6):
        stop = _next(der, at)
        members.append(der[at:stop])
        at = stop
    return der[start : _next(der, start)], tuple(members)


def _list_issuer(der: bytes) -> tuple[int, bytes]:
    """Return version and issuer of a list, as encoded; the library does not tell the version."""
    at = _inside(der, _inside(der, 0))
    version = 1
    if der[at : at + 3] == b"\x02\x01\x01":
        version, at = 2, at + 3
    at = _next(der, at)
    return version, der[at : _next(der, at)]


def _read_list(der: bytes) -> RevocationList:
    native = rust_x509.load_der_x509_crl(der)
    _demand_whole_octets(der)
    version, issuer = _list_issuer(der)
    tbs = native.tbs_certlist_bytes
    said = narrow.list_parts(tbs) or library_list_parts(native)
    return RevocationList(
        der=der,
        sha256=sha256(der).digest(),
        version=version,
        issuer=issuer,
        this_update=native.last_update_utc,
        next_update=native.next_update_utc,
        signature_oid=native.signature_algorithm_oid.dotted_string,
        signature=native.signature,
        tbs=tbs,
        extensions=said.extensions,
        revoked=said.revoked,
        native=native,
    )


def load_certificate(der: bytes) -> Certificate:
    """Read one DER certificate, nothing after it. Raises FormatError."""
    if len(der) > CERTIFICATE_LIMIT:
        raise FormatError(CERTIFICATE_LIMIT, "a certificate of more than 64 KiB")
    digest = sha256(der).digest()
    found = _CERTIFICATES.get(digest)
    if found is None:
        found = narrow.read_certificate(der) or sealed(read_by_library, der, "not a certificate")
        _CERTIFICATES.put(digest, found)
    return found


def load_revocation_list(der: bytes, *, limit: int = CRL_LIMIT) -> RevocationList:
    """Read one DER certificate revocation list, nothing after it. Raises FormatError."""
    if len(der) > limit:
        raise FormatError(limit, f"a revocation list of more than {limit} bytes")
    digest = sha256(der).digest()
    found = _LISTS.get(digest)
    if found is None:
        found = _LISTS.put(digest, sealed(_read_list, der, "not a revocation list"))
    return found


def signed_by(child: Certificate | RevocationList, issuer: Certificate) -> Signed:
    """Whether ``issuer``'s key signed ``child``'s TBS bytes with the curve's own hash.

    Signature alone: names, validity and roles are the caller's to judge. Remembered by digests.
    """
    key, curve = issuer.key, issuer.curve
    if key is None or curve is None or child.signature_oid != _ALGORITHM_CURVE[curve]:
        return Signed.NO
    entry = (issuer.sha256, child.sha256, curve)
    found = _EDGES.get(entry)
    if found is None:
        found = _EDGES.put(entry, signed_der(key, child.signature, child.tbs, curve))
    return found


class ChainTooLongError(FormatError):
    """More PEM blocks than a caller is willing to look at."""


_BLOCK: Final = re.compile(
    rb"[ \t\r\n]*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/= \t\r\n]+)-----END CERTIFICATE-----"
)
_BLANKS: Final = re.compile(rb"[ \t\r\n]*")


def _split(text: bytes, limit: int) -> tuple[bytes, ...]:
    at = 0
    found: list[bytes] = []
    while (block := _BLOCK.match(text, at)) is not None:
        if len(found) == limit:
            raise ChainTooLongError(block.start(), f"more than {limit} certificates")
        digits = block.group(1).translate(None, b" \t\r\n")
        try:
            der = binascii.a2b_base64(digits, strict_mode=True)
        except binascii.Error as error:
            raise FormatError(block.start(1), f"base64: {error}") from None
        if binascii.b2a_base64(der, newline=False) != digits:
            raise FormatError(block.start(1), "base64 that is not in its one canonical form")
        found.append(der)
        at = block.end()
    blanks = _BLANKS.match(text, at)
    end = at if blanks is None else blanks.end()
    if end != len(text) and text[end:] != b"\x00":
        raise FormatError(end, "text that is no certificate block")
    if not found:
        raise FormatError(0, "no certificate block")
    return tuple(found)


def split_pem(text: bytes, *, limit: int = 8) -> tuple[bytes, ...]:
    """Split a PEM chain into the DER of its blocks, at least one, at most ``limit``.

    Blanks and line ends around and inside the base64 and one NUL at the very end are allowed,
    nothing else. The DER is not parsed. Raises FormatError; `ChainTooLongError` beyond the limit.
    Source: tdx.md 13.3.
    """
    digest = sha256(text).digest() + limit.to_bytes(2, "big")
    found = _CHAINS.get(digest)
    return found if found is not None else _CHAINS.put(digest, _split(text, limit))


_CRL_BLOCK: Final = re.compile(
    rb"[ \t\r\n]*-----BEGIN X509 CRL-----([A-Za-z0-9+/= \t\r\n]+)-----END X509 CRL-----[ \t\r\n]*"
)
_HEX_TEXT: Final = re.compile(rb"[ \t\r\n]*([0-9A-Fa-f]+)[ \t\r\n]*")


def _from_hex(body: bytes) -> bytes | None:
    digits = _HEX_TEXT.fullmatch(body)
    if digits is None or len(digits.group(1)) % 2:
        return None
    return binascii.a2b_hex(digits.group(1))


def recorded_crl_der(body: bytes) -> bytes:
    """Return the DER of a recorded CRL body: DER, hexadecimal text of it, or one PEM block.

    Recognised in that order. Raises FormatError. Source: tdx.md 4.3.
    """
    # "0" is 0x30, so text is looked for first: no DER list is made of hexadecimal digits alone.
    from_text = _from_hex(body)
    if from_text is not None:
        return from_text
    if body[:1] == b"\x30":
        return body
    block = _CRL_BLOCK.fullmatch(body)
    if block is None:
        raise FormatError(0, "neither DER, hexadecimal text nor PEM")
    text = block.group(1).translate(None, b" \t\r\n")
    try:
        der = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise FormatError(block.start(1), f"base64: {error}") from None
    if binascii.b2a_base64(der, newline=False) != text:
        raise FormatError(block.start(1), "base64 that is not in its one canonical form")
    return der
