"""The subjects a policy names, the checks of each, and the fields of each report structure.

These are the policy layer's own literals, so that a policy can be read without the checks; a test
holds them equal to the catalogue. Source: verification.md 3.1, tdx.md 2.3 and 2.4, sev-snp.md 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ALWAYS_REQUIRED: Final = ("container", "time", "session")
"""Subjects of the first row of verification.md 3.1: never named in a policy."""

CHECKS: Final[Mapping[str, tuple[str, ...]]] = {
    "container": (
        "envelope.signature",
        "statement.form",
        "profile.match",
        "blobs.digests",
        "blobs.derived",
        "attachments.form",
        "custody.chain",
        "artifacts.accounted",
    ),
    "time": (
        "time.as_of",
        "time.timestamp",
        "time.log",
        "time.beacon",
        "time.bracket",
        "signer.standing",
    ),
    "session": (
        "session.nonces",
        "exchange.recorded",
        "shape.recognised",
        "evidence.inventory",
        "cpu.authentic",
        "freshness.nonce_in_quote",
        "binding.document",
        "binding.report_data",
        "binding.public_key",
        "reference.measurements",
    ),
    "tdx": (
        "tdx.quote.format",
        "tdx.root_crl",
        "tdx.tcb_info",
        "tdx.qe_identity",
        "tdx.pck.chain",
        "tdx.pck.revocation",
        "tdx.qe_report",
        "tdx.quote.signature",
        "tdx.tcb",
        "tdx.attributes",
    ),
    "second_engine": ("tdx.second_engine",),
    "snp": (
        "snp.report.format",
        "snp.certificates.format",
        "snp.certificates.chain",
        "snp.certificates.validity",
        "snp.certificates.revocation",
        "snp.signer.match",
        "snp.report.signature",
        "snp.tcb.order",
        "snp.tcb.minimum",
        "snp.guest.policy",
        "snp.platform.policy",
        "snp.reference.identity",
    ),
    "vtpm": ("azure.hcl", "azure.tpm"),
    "nitro": ("nitro.document", "nitro.chain", "nitro.pcr"),
    "event_log": ("event_log.replay", "compose.hash", "compose.config_id"),
    "ccel": ("ccel.replay",),
    "compose_manager": ("compose.manager",),
    "provenance": ("sigstore.release",),
    "image": ("image.digest",),
    "gpu": (
        "gpu.report.format",
        "gpu.chain",
        "gpu.report.signature",
        "gpu.fwid",
        "gpu.nonce",
        "gpu.devices",
        "gpu.topology",
        "gpu.rim",
        "gpu.measurement",
        "gpu.revocation",
        "gpu.policy",
    ),
    "gpu_binding": ("binding.gpu_evidence",),
    "nras": ("nras.token", "nras.result", "nras.binding"),
    "tls": ("binding.tls_channel",),
    "signature": (
        "identity.stability",
        "signature.recovery",
        "signature.signer",
        "signature.role",
        "signature.model",
    ),
    "receipt": ("receipt.signature",),
    "content": ("content.request", "content.response"),
    "marker": ("marker.binding",),
    "legacy": ("legacy.nanogpt_pins",),
}

SUBJECT_OF: Final[Mapping[str, str]] = {
    check: subject for subject, checks in CHECKS.items() for check in checks
}

NAMED: Final = tuple(subject for subject in CHECKS if subject not in ALWAYS_REQUIRED)
"""Every subject that a policy must give a mode."""

KNOBS: Final = (
    "tdx",
    "snp",
    "nitro",
    "vtpm",
    "event_log",
    "compose_manager",
    "gpu",
    "nras",
    "provenance",
    "image",
    "signature",
    "receipt",
    "legacy",
)
"""Subjects with a section of their own: required unless the subject is excluded, else forbidden."""

_TD10: Final[Mapping[str, int]] = {
    "tee_tcb_svn": 16,
    "mr_seam": 48,
    "mr_signer_seam": 48,
    "seam_attributes": 8,
    "td_attributes": 8,
    "xfam": 8,
    "mr_td": 48,
    "mr_config_id": 48,
    "mr_owner": 48,
    "mr_owner_config": 48,
    "rtmr0": 48,
    "rtmr1": 48,
    "rtmr2": 48,
    "rtmr3": 48,
    "report_data": 64,
}
_TD15: Final[Mapping[str, int]] = {**_TD10, "tee_tcb_svn2": 16, "mr_service_td": 48}

REPORT_FIELDS: Final[Mapping[str, Mapping[str, int]]] = {
    "td1.0": _TD10,
    "td1.5": _TD15,
    "td1.5ex": {
        **_TD15,
        "vmid": 1,
        "td_id": 32,
        "dev_info": 48,
        "init_service_td_hash": 48,
        "init_service_td_attributes": 8,
        "init_cpu_svn": 16,
        "init_tee_tcb_svn": 16,
        "init_tee_fmspc": 12,
        "cur_service_td_hash": 48,
        "cur_service_td_attributes": 8,
    },
    "sgx": {
        "cpu_svn": 16,
        "misc_select": 4,
        "isv_ext_prod_id": 16,
        "attributes": 16,
        "mr_enclave": 32,
        "mr_signer": 32,
        "config_id": 64,
        "isv_prod_id": 2,
        "isv_svn": 2,
        "config_svn": 2,
        "isv_family_id": 16,
        "report_data": 64,
    },
}
"""Field name to length in bytes, per report type; reserved bytes are left out."""

SNP_FIELDS: Final[Mapping[str, int]] = {
    "measurement": 48,
    "report_data": 64,
    "host_data": 32,
    "id_key_digest": 48,
    "author_key_digest": 48,
    "family_id": 16,
    "image_id": 16,
}
"""The identity fields of an SEV-SNP report; what else it holds has knobs of its own."""

NITRO_FIELDS: Final[Mapping[str, int]] = {f"pcr{index}": 48 for index in (0, 1, 2, 3, 4, 8)}
VTPM_FIELDS: Final[Mapping[str, int]] = {f"pcr{index}": 32 for index in range(16)}

ELSEWHERE: Final = frozenset({"xfam", "td_attributes"})
"""TDX fields judged in ``tdx.attributes``, so never by a pin set or a release."""

BINDERS: Final[Mapping[str, frozenset[str]]] = {
    **dict.fromkeys(
        ("tee_tcb_svn", "tee_tcb_svn2", "mr_seam", "mr_signer_seam", "seam_attributes", "cpu_svn"),
        frozenset({"tdx.tcb"}),
    ),
    **dict.fromkeys(
        ("td_attributes", "xfam", "mr_service_td", "attributes"), frozenset({"tdx.attributes"})
    ),
    **dict.fromkeys(
        ("rtmr0", "rtmr1", "rtmr2", "rtmr3"), frozenset({"event_log.replay", "ccel.replay"})
    ),
    "mr_config_id": frozenset({"compose.config_id"}),
    "report_data": frozenset({"binding.report_data", "freshness.nonce_in_quote", "azure.hcl"}),
}
"""Which checks judge a field: what ``{rule: "bound", by: …}`` may name. Other fields: none."""

SHAPES: Final = (
    "dstack-gateway",
    "dstack-flat",
    "chutes-aggregated",
    "chutes-native",
    "tinfoil-v3",
    "tinfoil-v2",
    "tinfoil-wrapped",
    "ionet",
    "aci",
    "nitro",
    "secretvm",
)
"""Shapes of provider answers (providers.md 1)."""

NO_SHAPE: Final = "none"
"""Stands alone in ``shapes``: listed evidence without a provider answer (``hardware-only``)."""

BINDING_TYPES: Final = (
    "nonce-in-evidence",
    "key-in-evidence",
    "tls-in-evidence",
    "devices-in-evidence",
    "devices-share-nonce",
    "chain-for",
    "collateral-for",
    "log-in-evidence",
    "code-in-evidence",
    "release-for",
    "signature-covers",
    "receipt-covers",
    "marker-in-request",
    "attested-around",
    "nras-covers",
)
"""Types of bindings (bundle-format.md 6.5)."""

ATTACHMENT_KINDS: Final = (
    "custody",
    "countersignature",
    "redaction",
    "nras-result",
    "collateral",
    "verdict",
    "declaration",
    "retention",
)
"""Kinds of attachments (bundle-format.md 11)."""

VENDOR_PURPOSES: Final = (
    "intel-sgx-root",
    "nvidia-device-root",
    "nvidia-rim-root",
    "nras-intermediate",
    "amd-ark",
    "aws-nitro-root",
    "sigstore-fulcio",
    "sigstore-rekor",
    "sigstore-ct",
)
"""Purposes with built-in anchors (verification.md 6.1)."""
