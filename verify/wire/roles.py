"""The closed list of artifact roles, and how the bytes of each may be framed.

Source: bundle-format.md 5.2, 6.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

Framing = Literal["raw", "salt32"]

_RAW: Final[tuple[Framing, ...]] = ("raw",)
_SALTED: Final[tuple[Framing, ...]] = ("salt32",)
_EITHER: Final[tuple[Framing, ...]] = ("raw", "salt32")

FRAMINGS: Final[Mapping[str, tuple[Framing, ...]]] = {
    "provider.attestation": _RAW,
    "provider.attestation-request": _RAW,
    "provider.evidence": _RAW,
    "provider.signing-key": _RAW,
    "provider.model-list": _RAW,
    "provider.verdict": _EITHER,
    "provider.key-config": _RAW,
    "provider.signature": _SALTED,
    "provider.receipt": _SALTED,
    "provider.session": _SALTED,
    "http.request.body": _SALTED,
    "http.response.body": _SALTED,
    "http.request.headers": _EITHER,
    "http.response.headers": _EITHER,
    "e2ee.request-plaintext": _SALTED,
    "e2ee.response-plaintext": _SALTED,
    "e2ee.key": _SALTED,
    "session.marker": _SALTED,
    "tls.certificate": _RAW,
    "tls.notary-presentation": _SALTED,
    "tdx.quote": _RAW,
    "sgx.quote": _RAW,
    "tdx.ccel": _RAW,
    "intel.tcb-info": _RAW,
    "intel.qe-identity": _RAW,
    "intel.tcb-info-chain": _RAW,
    "intel.qe-identity-chain": _RAW,
    "intel.pck-crl": _RAW,
    "intel.root-crl": _RAW,
    "intel.pck-crl-chain": _RAW,
    "intel.pck-chain": _RAW,
    "intel.tcb-evaluation-numbers": _RAW,
    "intel.tcb-evaluation-numbers-chain": _RAW,
    "dstack.event-log": _RAW,
    "dstack.app-compose": _RAW,
    "dstack.vm-config": _RAW,
    "dstack.key-provider": _RAW,
    "dstack.image-material": _RAW,
    "dstack.compose-actions": _RAW,
    "snp.report": _RAW,
    "snp.certificate-table": _RAW,
    "snp.hcl-report": _RAW,
    "snp.launch-endorsement": _RAW,
    "amd.vek": _RAW,
    "amd.chain": _RAW,
    "amd.crl": _RAW,
    "tpm.quote": _RAW,
    "tpm.ak-chain": _RAW,
    "tpm.event-log": _RAW,
    "nitro.document": _RAW,
    "nitro.pcr-history": _RAW,
    "nvidia.payload": _RAW,
    "nvidia.gpu-evidence": _RAW,
    "nvidia.switch-evidence": _RAW,
    "nvidia.gpu-chain": _RAW,
    "nvidia.switch-chain": _RAW,
    "nvidia.rim": _RAW,
    "nvidia.ocsp-request": _RAW,
    "nvidia.ocsp-response": _RAW,
    "nvidia.crl": _RAW,
    "nras.request": _RAW,
    "nras.answer": _RAW,
    "nras.jwks": _RAW,
    "sigstore.bundle": _RAW,
    "sigstore.trusted-root": _RAW,
    "release.manifest": _RAW,
    "release.attestations": _RAW,
    "release.digest": _RAW,
    "image.manifest": _RAW,
    "image.config": _RAW,
    "result.token": _RAW,
    "result.jwks": _RAW,
    "time.checkpoint": _RAW,
    "verify.report": _EITHER,
    "document.text": _EITHER,
}
"""Role to the framings its bytes may have; the first is the default."""

HEADERS: Final = frozenset(("http.request.headers", "http.response.headers"))
PUBLIC_PURPOSES: Final = frozenset(
    ("collateral", "revocation", "rim", "nras", "jwks", "provenance", "time")
)
"""Purposes of exchanges whose headers documents are stored raw; all others are salted."""
