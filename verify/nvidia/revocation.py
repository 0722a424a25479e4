"""Recorded OCSP answers and revocation lists, replayed at the instant judged.

"Good" is weak: for device issuers the vendor answers good for unknown serial numbers, and the leaf
is never covered. No genuine answer of the vendor's responder was at hand when this was written: the
code follows RFC 6960, RFC 5280 and nvidia.md 9, and was tried on simulated answers only.

Source: nvidia.md 9, 17.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import Final, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from verify.crypto import der
from verify.crypto.ecdsa import Signed
from verify.crypto.x509 import (
    Certificate,
    RevocationList,
    load_certificate,
    load_revocation_list,
    sealed,
    signed_by,
)
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.nvidia.certificates import issues
from verify.nvidia.judging import refusals

MAX_OCSP: Final = 64 * 1024
MAX_CRL: Final = 8 * 1024 * 1024
DEFAULT_LIFE: Final = timedelta(hours=1)
"""How long an answer without nextUpdate counts, from its thisUpdate."""

_OID_EXTENDED_KEY_USAGE: Final = "2.5.29.37"
_OCSP_SIGNING: Final = bytes.fromhex("06082b06010505070309")
_CERTID_HASHES: Final = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha384": hashlib.sha384}
_SIGNATURE_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_RSA_BITS: Final = 2048

T = TypeVar("T")


class CertStatus(Enum):
    """What a responder says about one certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


def _key_bits(certificate: Certificate) -> bytes:
    """Return the key bits of SubjectPublicKeyInfo, as CertID and byKey hash them (RFC 6960 4)."""
    spki = certificate.spki
    _, bits = der.children(spki, der.whole(spki, der.SEQUENCE, "the public key"))
    return der.value(spki, bits)[1:]


@value
class CertId:
    """Which certificate is meant: hash name, hashes of issuer name and key, serial number."""

    algorithm: str
    name_hash: bytes
    key_hash: bytes
    serial: int

    def means(self, child: Certificate, issuer: Certificate) -> bool:
        """Whether it means ``child`` as issued by ``issuer``: every part is computed again."""
        new = _CERTID_HASHES.get(self.algorithm)
        if new is None or self.serial != child.serial:
            return False
        return (
            self.name_hash == new(child.issuer).digest()
            and issues(issuer, child)
            and self.key_hash == new(_key_bits(issuer)).digest()
        )


@value
class OcspRequest:
    """A recorded request: which certificate was asked about, and the nonce sent, if any."""

    identifier: CertId
    nonce: bytes | None


@value
class OcspSingle:
    """A responder's words about one certificate. ``hold``: revocation reason certificate_hold."""

    identifier: CertId
    status: CertStatus
    revoked_at: datetime | None
    hold: bool
    this_update: datetime
    next_update: datetime | None


@value
class OcspResponse:
    """A recorded response, read completely. ``status``: of the outer message, 0 is successful.

    The other members are empty unless it is. ``responder_name``, ``responder_key_hash``: exactly
    one is set. ``signed``: the DER under the signature.
    """

    status: int
    singles: tuple[OcspSingle, ...] = ()
    nonce: bytes | None = None
    responder_name: bytes | None = None
    responder_key_hash: bytes | None = None
    certificates: tuple[bytes, ...] = ()
    signed: bytes = b""
    signature: bytes = b""
    hash_algorithm: hashes.HashAlgorithm | None = None


def _sealed(read: Callable[[bytes], T], data: bytes, what: str) -> T:
    if len(data) > MAX_OCSP:
        raise FormatError(MAX_OCSP, f"{len(data)} bytes of OCSP", reason=Reason.GPU_INPUT_TOO_LARGE)
    try:
        return sealed(read, data, what)
    except FormatError as error:
        raise FormatError(error.offset, error.what, reason=Reason.GPU_OCSP_MALFORMED) from error


def parse_ocsp_request(data: bytes) -> OcspRequest:
    """Parse a recorded OCSP request about one certificate.

    Raises FormatError: ``gpu.input.too_large``, ``gpu.ocsp.malformed``. Source: nvidia.md 9.2.
    """
    from verify.nvidia.ocsp import read_request  # noqa: PLC0415  (slow to import, rarely needed)

    return _sealed(read_request, data, "not an OCSP request")


def parse_ocsp_response(data: bytes) -> OcspResponse:
    """Parse a recorded OCSP response.

    Raises FormatError: ``gpu.input.too_large``, ``gpu.ocsp.malformed``. Source: nvidia.md 9.3.
    """
    from verify.nvidia.ocsp import read_response  # noqa: PLC0415  (slow to import, rarely needed)

    return _sealed(read_response, data, "not an OCSP response")


# --- OCSP --------------------------------------------------------------------------------------


def judge_status(response: OcspResponse) -> None:
    """The responder answered. Raises Refused (``gpu.ocsp.response_status``)."""
    if response.status:
        raise Refused(
            Reason.GPU_OCSP_RESPONSE_STATUS,
            "the responder gave no answer",
            got=str(response.status),
            expected="0 (successful)",
        )


def single_about(response: OcspResponse, child: Certificate, issuer: Certificate) -> OcspSingle:
    """Return the one single response about ``child``.

    Raises Refused (``gpu.ocsp.certid_mismatch``) where there is none, or more than one.
    """
    found = [single for single in response.singles if single.identifier.means(child, issuer)]
    if len(found) != 1:
        raise Refused(
            Reason.GPU_OCSP_CERTID_MISMATCH,
            "the response does not speak once of the certificate asked about",
            got=f"{len(found)} of {len(response.singles)}",
            expected=f"serial {child.serial:X}",
        )
    return found[0]


def responder_of(response: OcspResponse, issuer: Certificate, as_of: datetime) -> Certificate:
    """Return the certificate that may sign the response: the issuer, or one it delegated to.

    Raises Refused (``gpu.ocsp.responder_untrusted``). Source: nvidia.md 9.3, step 3.
    """
    if _is_named(response, issuer):
        return issuer
    for encoded in response.certificates:
        try:
            candidate = load_certificate(encoded)
        except FormatError:
            continue
        if not _is_named(response, candidate):
            continue
        if (
            issues(issuer, candidate)
            and signed_by(candidate, issuer) is Signed.YES
            and _may_sign_ocsp(candidate)
            and candidate.not_before <= as_of <= candidate.not_after
        ):
            return candidate
    raise Refused(
        Reason.GPU_OCSP_RESPONDER_UNTRUSTED,
        "the response is signed neither by the issuer nor by its delegate of that time",
        got=(response.responder_name or response.responder_key_hash or b"").hex(),
    )


def _is_named(response: OcspResponse, certificate: Certificate) -> bool:
    """Whether the response names this certificate as its responder."""
    if response.responder_name is not None:
        return response.responder_name == certificate.subject
    key_hash = hashlib.sha1(_key_bits(certificate), usedforsecurity=False).digest()
    return response.responder_key_hash == key_hash


def _may_sign_ocsp(certificate: Certificate) -> bool:
    """Whether extended key usage names OCSPSigning."""
    usage = certificate.extensions.get(_OID_EXTENDED_KEY_USAGE)
    if usage is None:
        return False
    purposes = der.children(usage.value, der.whole(usage.value, der.SEQUENCE, "the usage"))
    return any(der.outer(usage.value, one) == _OCSP_SIGNING for one in purposes)


def judge_signature(response: OcspResponse, responder: Certificate) -> None:
    """The responder signed the response data. Raises Refused (``gpu.ocsp.signature_invalid``)."""
    algorithm = response.hash_algorithm
    good = False
    if isinstance(algorithm, _SIGNATURE_HASHES):
        try:
            key = responder.key or responder.native.public_key()
            if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(response.signature, response.signed, ec.ECDSA(algorithm))
                good = True
            elif isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_BITS:
                key.verify(response.signature, response.signed, padding.PKCS1v15(), algorithm)
                good = True
        except (InvalidSignature, ValueError, TypeError, OverflowError, UnsupportedAlgorithm):
            good = False
    if not good:
        raise Refused(Reason.GPU_OCSP_SIGNATURE_INVALID, "the responder did not sign this response")


def judge_fresh(single: OcspSingle, as_of: datetime) -> None:
    """The answer was current at ``as_of``, ends included. Raises Refused (``gpu.ocsp.stale``)."""
    end = single.next_update or single.this_update + DEFAULT_LIFE
    if not single.this_update <= as_of <= end:
        raise Refused(
            Reason.GPU_OCSP_STALE,
            "the answer does not cover the instant judged",
            got=f"{single.this_update.isoformat()} .. {end.isoformat()}",
            expected=as_of.isoformat(),
        )


def judge_nonce(response: OcspResponse, request: OcspRequest | None) -> None:
    """A nonce that was sent came back. Raises Refused (``gpu.ocsp.nonce_mismatch``)."""
    if request is not None and request.nonce is not None and response.nonce != request.nonce:
        raise Refused(
            Reason.GPU_OCSP_NONCE_MISMATCH,
            "the response answers another request",
            got="no nonce" if response.nonce is None else response.nonce.hex(),
            expected=request.nonce.hex(),
        )


def revoked_later(single: OcspSingle, as_of: datetime) -> bool:
    """Whether the certificate was revoked only after ``as_of``: a note, not a failure."""
    return single.revoked_at is not None and single.revoked_at > as_of


def judge_standing(single: OcspSingle, as_of: datetime, *, allow_hold: bool) -> None:
    """The certificate was not revoked at ``as_of``.

    ``allow_hold``: whether a certificate on hold is tolerated (manifest signers, by policy). Raises
    Refused: ``gpu.ocsp.revoked``, ``gpu.ocsp.on_hold``, ``gpu.ocsp.unknown``.
    """
    if single.status is CertStatus.UNKNOWN:
        raise Refused(Reason.GPU_OCSP_UNKNOWN, "the responder does not know the certificate")
    if single.status is CertStatus.GOOD or revoked_later(single, as_of):
        return
    when = "" if single.revoked_at is None else single.revoked_at.isoformat()
    if not single.hold:
        raise Refused(Reason.GPU_OCSP_REVOKED, "the certificate was revoked", got=when)
    if not allow_hold:
        raise Refused(Reason.GPU_OCSP_ON_HOLD, "the certificate was on hold", got=when)


def ocsp_refusals(
    response: OcspResponse,
    request: OcspRequest | None,
    child: Certificate,
    issuer: Certificate,
    as_of: datetime,
    *,
    allow_hold: bool = False,
) -> tuple[Refused, ...]:
    """Replay one recorded answer about ``child`` at ``as_of`` (nvidia.md 9.3, steps 1 to 6)."""
    silent = refusals(partial(judge_status, response))
    if silent:
        return silent

    def signature() -> None:
        judge_signature(response, responder_of(response, issuer, as_of))

    def fresh() -> None:
        judge_fresh(single_about(response, child, issuer), as_of)

    def standing() -> None:
        judge_standing(single_about(response, child, issuer), as_of, allow_hold=allow_hold)

    named = refusals(partial(single_about, response, child, issuer))
    return (
        *named,
        *refusals(signature),
        *(() if named else refusals(fresh)),
        *refusals(partial(judge_nonce, response, request)),
        *(() if named else refusals(standing)),
    )


# --- CRL -----------------------------------------------------------------------------------------


def parse_crl(data: bytes) -> RevocationList:
    """Parse a recorded revocation list (DER); one with any critical extension is not read.

    Raises FormatError: ``gpu.input.too_large``, ``gpu.crl.malformed``. Source: nvidia.md 9.3.
    """
    if len(data) > MAX_CRL:
        raise FormatError(
            MAX_CRL, f"{len(data)} bytes of revocation list", reason=Reason.GPU_INPUT_TOO_LARGE
        )
    try:
        found = load_revocation_list(data, limit=MAX_CRL)
    except FormatError as error:
        raise FormatError(error.offset, error.what, reason=Reason.GPU_CRL_MALFORMED) from error
    critical = sorted(oid for oid, one in found.extensions.items() if one.critical)
    if critical:
        raise FormatError(0, f"critical extension {critical[0]}", reason=Reason.GPU_CRL_MALFORMED)
    return found


def judge_crl_signature(crl: RevocationList, issuer: Certificate) -> None:
    """The issuer, entitled to do so, signed the list. Raises ``gpu.crl.signature_invalid``."""
    if crl.issuer != issuer.subject or not issuer.may_sign_crls or not _list_signed(crl, issuer):
        raise Refused(
            Reason.GPU_CRL_SIGNATURE_INVALID,
            "the list is not signed by the issuer of the certificate",
        )


def _list_signed(crl: RevocationList, issuer: Certificate) -> bool:
    """Whether the issuer signed the list, with its curve's own hash or another of the family.

    A list may name SHA-256 beside a P-384 key, as OCSP answers may; certificates may not.
    """
    if signed_by(crl, issuer) is Signed.YES:
        return True
    algorithm = crl.native.signature_hash_algorithm
    if issuer.key is None or not isinstance(algorithm, _SIGNATURE_HASHES):
        return False
    try:
        issuer.key.verify(crl.signature, crl.tbs, ec.ECDSA(algorithm))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def judge_crl_fresh(crl: RevocationList, as_of: datetime) -> None:
    """The list was current at ``as_of``, ends included. Raises Refused (``gpu.crl.stale``)."""
    end = crl.next_update
    if end is None or not crl.this_update <= as_of <= end:
        raise Refused(
            Reason.GPU_CRL_STALE,
            "the list does not cover the instant judged",
            got=f"{crl.this_update.isoformat()} .. {'' if end is None else end.isoformat()}",
            expected=as_of.isoformat(),
        )


def judge_unlisted(crl: RevocationList, child: Certificate, as_of: datetime) -> None:
    """The certificate is not listed with a date up to ``as_of``. Raises ``gpu.crl.revoked``."""
    if child.serial not in crl.revoked:
        return
    entry = crl.native.get_revoked_certificate_by_serial_number(child.serial)
    if entry is None or entry.revocation_date_utc <= as_of:
        raise Refused(
            Reason.GPU_CRL_REVOKED,
            "the certificate is on the list",
            got=f"serial {child.serial:X}",
        )


def crl_refusals(
    crl: RevocationList, children: Sequence[Certificate], issuer: Certificate, as_of: datetime
) -> tuple[Refused, ...]:
    """Replay one recorded list for the certificates that ``issuer`` issued."""
    return refusals(
        partial(judge_crl_signature, crl, issuer),
        partial(judge_crl_fresh, crl, as_of),
        *(partial(judge_unlisted, crl, child, as_of) for child in children),
    )
