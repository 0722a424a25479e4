"""OCSP messages through the library, as the values that revocation judges.

Apart from the judging, because the library's half of this is slow to import and most bundles hold
no OCSP answer. Called through `verify.crypto.x509.sealed` alone: whatever the library throws is a
FormatError there.

Source: RFC 6960 4; nvidia.md 9.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp

from verify.nvidia.revocation import CertId, CertStatus, OcspRequest, OcspResponse, OcspSingle


def _identifier(item: ocsp.OCSPRequest | ocsp.OCSPSingleResponse) -> CertId:
    return CertId(
        algorithm=item.hash_algorithm.name,
        name_hash=item.issuer_name_hash,
        key_hash=item.issuer_key_hash,
        serial=item.serial_number,
    )


def _nonce(extensions: x509.Extensions) -> bytes | None:
    for extension in extensions:
        if isinstance(extension.value, x509.OCSPNonce):
            return extension.value.nonce
    return None


def read_request(data: bytes) -> OcspRequest:
    """Read a request about one certificate."""
    request = ocsp.load_der_ocsp_request(data)
    return OcspRequest(identifier=_identifier(request), nonce=_nonce(request.extensions))


def _single(item: ocsp.OCSPSingleResponse) -> OcspSingle:
    status = CertStatus[item.certificate_status.name]
    revoked = status is CertStatus.REVOKED
    return OcspSingle(
        identifier=_identifier(item),
        status=status,
        revoked_at=item.revocation_time_utc if revoked else None,
        hold=revoked and item.revocation_reason is x509.ReasonFlags.certificate_hold,
        this_update=item.this_update_utc,
        next_update=item.next_update_utc,
    )


def read_response(data: bytes) -> OcspResponse:
    """Read a response with everything it says."""
    response = ocsp.load_der_ocsp_response(data)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return OcspResponse(status=response.response_status.value)
    name = response.responder_name
    return OcspResponse(
        status=0,
        singles=tuple(_single(item) for item in response.responses),
        nonce=_nonce(response.extensions),
        responder_name=None if name is None else name.public_bytes(),
        responder_key_hash=response.responder_key_hash,
        certificates=tuple(
            certificate.public_bytes(serialization.Encoding.DER)
            for certificate in response.certificates
        ),
        signed=response.tbs_response_bytes,
        signature=response.signature,
        hash_algorithm=response.signature_hash_algorithm,
    )
