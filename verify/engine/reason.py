"""The closed list of reason codes.

Every way in which a check can end other than PASS, and every note it can attach, is a member.
A code is stable for ever, never reused for another meaning and never built from message text.
Each member carries its class, which fixes the status it may stand beside:

========  ================  ==========================================================
class     status            meaning
========  ================  ==========================================================
reject    FAIL              the evidence is false, malformed or forbidden by policy
absent    BLOCKED           the question could not be answered
note      (none)            printed, without effect on the verdict
policy    NOT_APPLICABLE    the policy put the check out of scope
crash     ERROR             the verifier itself failed
========  ================  ==========================================================

Source: verification.md 3.2, tdx.md 11, nvidia.md 16, sev-snp.md 12, providers.md 12.
"""

from __future__ import annotations

from enum import Enum

from verify.engine.closed import Closed


class ReasonClass(Enum):
    """What a reason code may stand beside; see the module's table."""

    REJECT = "reject"
    ABSENT = "absent"
    NOTE = "note"
    POLICY = "policy"
    CRASH = "crash"


_R = ReasonClass.REJECT
_A = ReasonClass.ABSENT
_N = ReasonClass.NOTE
_P = ReasonClass.POLICY
_C = ReasonClass.CRASH


class Reason(Closed):
    """One reason code: ``code`` is its text form, ``kind`` its class."""

    code: str
    kind: ReasonClass

    def __init__(self, code: str, kind: ReasonClass) -> None:
        self.code = code
        self.kind = kind

    def __str__(self) -> str:
        return self.code

    @classmethod
    def of(cls, code: str) -> Reason:
        """Return the member whose text form is ``code``. Raises KeyError for any other text."""
        return _BY_CODE[code]

    # aci
    ACI_EVIDENCE_DIGEST_MISMATCH = ("aci.evidence_digest_mismatch", _R)
    ACI_KEY_UNKNOWN = ("aci.key_unknown", _R)
    ACI_KEYSET_EXPIRED = ("aci.keyset_expired", _R)
    ACI_RECEIPT_SIGNATURE_INVALID = ("aci.receipt_signature_invalid", _R)
    ACI_REQUEST_REWRITTEN = ("aci.request_rewritten", _N)
    ACI_SESSION_ID_MISMATCH = ("aci.session_id_mismatch", _R)
    ACI_UPSTREAM_UNVERIFIED = ("aci.upstream_unverified", _R)
    ACI_UPSTREAM_UNVERIFIED_ACCEPTED = ("aci.upstream_unverified_accepted", _N)
    ACI_VERSION_UNSUPPORTED = ("aci.version_unsupported", _R)

    # artifact
    ARTIFACT_EXTERNAL_UNAVAILABLE = ("artifact.external_unavailable", _A)
    ARTIFACT_MISSING = ("artifact.missing", _A)
    ARTIFACT_WITHHELD = ("artifact.withheld", _A)

    # attachment
    ATTACHMENT_ARTIFACT_MISMATCH = ("attachment.artifact_mismatch", _R)
    ATTACHMENT_REQUIRED_MISSING = ("attachment.required_missing", _A)
    ATTACHMENT_SIGNATURE_INVALID = ("attachment.signature_invalid", _R)
    ATTACHMENT_SUBJECT_MISMATCH = ("attachment.subject_mismatch", _R)
    ATTACHMENT_UNKNOWN_SIGNER_IGNORED = ("attachment.unknown_signer_ignored", _N)

    # beacon
    BEACON_LOG_UNKNOWN = ("beacon.log_unknown", _N)
    BEACON_MALFORMED = ("beacon.malformed", _R)
    BEACON_SIGNATURE_INVALID = ("beacon.signature_invalid", _R)

    # binding
    BINDING_DOCUMENT_SIGNATURE_INVALID = ("binding.document_signature_invalid", _R)
    BINDING_E2E_KEY_UNKNOWN = ("binding.e2e_key_unknown", _A)
    BINDING_GPU_HASH_MISMATCH = ("binding.gpu_hash_mismatch", _R)
    BINDING_GPU_LINKED_BY_NONCE_ONLY = ("binding.gpu_linked_by_nonce_only", _N)
    BINDING_IMAGE_DIGEST_NOT_ATTESTED = ("binding.image_digest_not_attested", _A)
    BINDING_INSTANCE_CERTIFICATE_MISSING = ("binding.instance_certificate_missing", _A)
    BINDING_INSTANCE_CERTIFICATE_NOT_BOUND = ("binding.instance_certificate_not_bound", _R)
    BINDING_KEY_NOT_ATTESTED = ("binding.key_not_attested", _A)
    BINDING_KEYSET_DIGEST_MISMATCH = ("binding.keyset_digest_mismatch", _R)
    BINDING_NONCE_NOT_IN_REPORT_DATA = ("binding.nonce_not_in_report_data", _R)
    BINDING_NVSWITCH_HASH_MISMATCH = ("binding.nvswitch_hash_mismatch", _A)
    BINDING_OHTTP_SIGNATURE_INVALID = ("binding.ohttp_signature_invalid", _R)
    BINDING_PUBLIC_KEY_NOT_OF_ADDRESS = ("binding.public_key_not_of_address", _R)
    BINDING_REPORT_DATA_FIELD_DISAGREES = ("binding.report_data_field_disagrees", _R)
    BINDING_REPORT_DATA_MISMATCH = ("binding.report_data_mismatch", _R)
    BINDING_REPORT_DATA_TAIL_NOT_ZERO = ("binding.report_data_tail_not_zero", _R)
    BINDING_SIGNING_ADDRESS_NOT_IN_REPORT_DATA = ("binding.signing_address_not_in_report_data", _R)
    BINDING_TLS_CERTIFICATE_MISMATCH = ("binding.tls_certificate_mismatch", _R)
    BINDING_TLS_FINGERPRINT_MISSING = ("binding.tls_fingerprint_missing", _A)
    BINDING_TLS_FINGERPRINT_NOT_BOUND = ("binding.tls_fingerprint_not_bound", _R)
    BINDING_TLS_PEER_MISMATCH = ("binding.tls_peer_mismatch", _R)
    BINDING_TLS_PEER_NOT_RECORDED = ("binding.tls_peer_not_recorded", _A)
    BINDING_UNDECLARED = ("binding.undeclared", _A)

    # blob
    BLOB_DIGEST_MISMATCH = ("blob.digest_mismatch", _R)
    BLOB_FRAMING_INVALID = ("blob.framing_invalid", _R)
    BLOB_ORPHAN = ("blob.orphan", _R)
    BLOB_SHA512_MISMATCH = ("blob.sha512_mismatch", _R)
    BLOB_SIZE_MISMATCH = ("blob.size_mismatch", _R)
    BLOB_UNUSED = ("blob.unused", _N)

    # compose
    COMPOSE_CONFIG_ID_UNSET = ("compose.config_id_unset", _N)
    COMPOSE_IMAGES_NOT_PINNED = ("compose.images_not_pinned", _N)
    COMPOSE_MANAGER_ACTIONS_NOT_REPRODUCIBLE = ("compose.manager_actions_not_reproducible", _N)
    COMPOSE_MANAGER_OTHER_TD = ("compose.manager_other_td", _R)
    COMPOSE_MANAGER_REPORT_DATA_MISMATCH = ("compose.manager_report_data_mismatch", _R)
    COMPOSE_MISSING = ("compose.missing", _A)

    # content
    CONTENT_HASH_CHOSEN_BY_CALLER = ("content.hash_chosen_by_caller", _N)
    CONTENT_REQUEST_HASH_MISMATCH = ("content.request_hash_mismatch", _R)
    CONTENT_REQUEST_UNVERIFIABLE = ("content.request_unverifiable", _A)
    CONTENT_RESPONSE_HASH_MISMATCH = ("content.response_hash_mismatch", _R)
    CONTENT_RESPONSE_INCOMPLETE = ("content.response_incomplete", _R)
    CONTENT_RESPONSE_RESERIALISED = ("content.response_reserialised", _N)

    # custody
    CUSTODY_BROKEN = ("custody.broken", _R)
    CUSTODY_MISSING = ("custody.missing", _A)

    # derived
    DERIVED_DIGEST_MISMATCH = ("derived.digest_mismatch", _R)
    DERIVED_STEP_FAILED = ("derived.step_failed", _R)

    # envelope
    ENVELOPE_CHAIN_INVALID = ("envelope.chain_invalid", _R)
    ENVELOPE_RENEWALS_NOT_EVALUATED = ("envelope.renewals_not_evaluated", _N)
    ENVELOPE_SIGNATURE_INVALID = ("envelope.signature_invalid", _R)
    ENVELOPE_SIGNER_NOT_ACCEPTED = ("envelope.signer_not_accepted", _R)
    ENVELOPE_SIGNER_UNKNOWN = ("envelope.signer_unknown", _A)
    ENVELOPE_THRESHOLD_NOT_MET = ("envelope.threshold_not_met", _A)
    ENVELOPE_UNKNOWN_SIGNATURE_IGNORED = ("envelope.unknown_signature_ignored", _N)

    # event_log
    EVENT_LOG_MISSING = ("event_log.missing", _A)

    # evidence
    EVIDENCE_ABSENT = ("evidence.absent", _A)
    EVIDENCE_COUNT_MISMATCH = ("evidence.count_mismatch", _R)
    EVIDENCE_NOT_IN_ANSWER = ("evidence.not_in_answer", _R)
    EVIDENCE_NOT_JUDGED = ("evidence.not_judged", _A)
    EVIDENCE_SOURCE_UNAVAILABLE = ("evidence.source_unavailable", _A)
    EVIDENCE_UNLISTED = ("evidence.unlisted", _R)
    EVIDENCE_UNSUPPORTED = ("evidence.unsupported", _A)

    # exchange
    EXCHANGE_ATTESTATION_MISSING = ("exchange.attestation_missing", _A)
    EXCHANGE_BODY_NOT_JSON = ("exchange.body_not_json", _R)
    EXCHANGE_CHAT_MISSING = ("exchange.chat_missing", _A)
    EXCHANGE_CONTENT_ENCODED = ("exchange.content_encoded", _A)
    EXCHANGE_ERROR_BODY = ("exchange.error_body", _R)
    EXCHANGE_JSON_DUPLICATE_MEMBER = ("exchange.json_duplicate_member", _R)
    EXCHANGE_ORDER_VIOLATED = ("exchange.order_violated", _R)
    EXCHANGE_OVER_LIMIT = ("exchange.over_limit", _R)
    EXCHANGE_REDIRECTED = ("exchange.redirected", _R)
    EXCHANGE_SCHEME_INSECURE = ("exchange.scheme_insecure", _R)
    EXCHANGE_SIGNATURE_MISSING = ("exchange.signature_missing", _A)
    EXCHANGE_STATUS_UNEXPECTED = ("exchange.status_unexpected", _R)
    EXCHANGE_TRUNCATED = ("exchange.truncated", _R)

    # family
    FAMILY_NO_OBJECT = ("family.no_object", _A)

    # freshness
    FRESHNESS_COMPOSE_MANAGER_NONCE_MISMATCH = ("freshness.compose_manager_nonce_mismatch", _R)
    FRESHNESS_ECHO_MISMATCH = ("freshness.echo_mismatch", _N)
    FRESHNESS_ECHO_ONLY = ("freshness.echo_only", _N)
    FRESHNESS_FAMILY_BINDS_NO_NONCE = ("freshness.family_binds_no_nonce", _A)
    FRESHNESS_NONCE_NOT_SENT = ("freshness.nonce_not_sent", _A)
    FRESHNESS_NONCE_REUSED = ("freshness.nonce_reused", _R)
    FRESHNESS_NONCE_ZERO_PADDED = ("freshness.nonce_zero_padded", _N)
    FRESHNESS_REQUEST_NONCE_MISMATCH = ("freshness.request_nonce_mismatch", _R)

    # gpu
    GPU_CHAIN_CONSTRAINTS_INVALID = ("gpu.chain.constraints_invalid", _R)
    GPU_CHAIN_FAMILY_MISMATCH = ("gpu.chain.family_mismatch", _R)
    GPU_CHAIN_LENGTH_UNEXPECTED = ("gpu.chain.length_unexpected", _R)
    GPU_CHAIN_MALFORMED = ("gpu.chain.malformed", _R)
    GPU_CHAIN_ORDER_INVALID = ("gpu.chain.order_invalid", _R)
    GPU_CHAIN_ROOT_UNTRUSTED = ("gpu.chain.root_untrusted", _R)
    GPU_CHAIN_SIGNATURE_INVALID = ("gpu.chain.signature_invalid", _R)
    GPU_CHAIN_TIME_INVALID = ("gpu.chain.time_invalid", _R)
    GPU_CRL_MALFORMED = ("gpu.crl.malformed", _R)
    GPU_CRL_REVOKED = ("gpu.crl.revoked", _R)
    GPU_CRL_SIGNATURE_INVALID = ("gpu.crl.signature_invalid", _R)
    GPU_CRL_STALE = ("gpu.crl.stale", _R)
    GPU_DEVICES_COUNT_MISMATCH = ("gpu.devices.count_mismatch", _R)
    GPU_DEVICES_DUPLICATE = ("gpu.devices.duplicate", _R)
    GPU_DEVICES_FIRMWARE_MIXED = ("gpu.devices.firmware_mixed", _N)
    GPU_DEVICES_MODE_MIXED = ("gpu.devices.mode_mixed", _R)
    GPU_DEVICES_NONCE_DIFFERS = ("gpu.devices.nonce_differs", _R)
    GPU_FAMILY_UNTESTED = ("gpu.family.untested", _N)
    GPU_FWID_KEY_MISMATCH = ("gpu.fwid.key_mismatch", _R)
    GPU_FWID_MISMATCH = ("gpu.fwid.mismatch", _R)
    GPU_FWID_MISSING_IN_CERTIFICATE = ("gpu.fwid.missing_in_certificate", _R)
    GPU_FWID_NOT_REPORTED = ("gpu.fwid.not_reported", _A)
    GPU_INPUT_DECLARED_MISMATCH = ("gpu.input.declared_mismatch", _R)
    GPU_INPUT_DEVICE_COUNT = ("gpu.input.device_count", _R)
    GPU_INPUT_ENCODING_INVALID = ("gpu.input.encoding_invalid", _R)
    GPU_INPUT_MALFORMED = ("gpu.input.malformed", _R)
    GPU_INPUT_TOO_LARGE = ("gpu.input.too_large", _R)
    GPU_INPUT_UNSUPPORTED_ARCH = ("gpu.input.unsupported_arch", _R)
    GPU_LEGACY_NANOGPT_PIN_MATCH = ("gpu.legacy.nanogpt_pin_match", _N)
    GPU_LEGACY_NANOGPT_PIN_MISMATCH = ("gpu.legacy.nanogpt_pin_mismatch", _N)
    GPU_LEGACY_NOT_EVALUATED = ("gpu.legacy.not_evaluated", _N)
    GPU_MEASUREMENT_MISMATCH = ("gpu.measurement.mismatch", _R)
    GPU_MEASUREMENT_MISSING_BLOCK = ("gpu.measurement.missing_block", _R)
    GPU_MEASUREMENT_NOT_CHECKED = ("gpu.measurement.not_checked", _A)
    GPU_MEASUREMENT_SKIPPED_NVDEC = ("gpu.measurement.skipped_nvdec", _N)
    GPU_NONCE_CONSTANT = ("gpu.nonce.constant", _N)
    GPU_NONCE_DECLARED_MISMATCH = ("gpu.nonce.declared_mismatch", _R)
    GPU_NONCE_EXPECTED_MISSING = ("gpu.nonce.expected_missing", _A)
    GPU_NONCE_MISMATCH = ("gpu.nonce.mismatch", _R)
    GPU_OCSP_CERTID_MISMATCH = ("gpu.ocsp.certid_mismatch", _R)
    GPU_OCSP_MALFORMED = ("gpu.ocsp.malformed", _R)
    GPU_OCSP_NONCE_MISMATCH = ("gpu.ocsp.nonce_mismatch", _R)
    GPU_OCSP_ON_HOLD = ("gpu.ocsp.on_hold", _R)
    GPU_OCSP_RESPONDER_UNTRUSTED = ("gpu.ocsp.responder_untrusted", _R)
    GPU_OCSP_RESPONSE_STATUS = ("gpu.ocsp.response_status", _R)
    GPU_OCSP_REVOKED = ("gpu.ocsp.revoked", _R)
    GPU_OCSP_REVOKED_LATER = ("gpu.ocsp.revoked_later", _N)
    GPU_OCSP_SIGNATURE_INVALID = ("gpu.ocsp.signature_invalid", _R)
    GPU_OCSP_STALE = ("gpu.ocsp.stale", _R)
    GPU_OCSP_UNKNOWN = ("gpu.ocsp.unknown", _R)
    GPU_POLICY_DRIVER_NOT_ALLOWED = ("gpu.policy.driver_not_allowed", _R)
    GPU_POLICY_FAMILY_NOT_ALLOWED = ("gpu.policy.family_not_allowed", _R)
    GPU_POLICY_MEASUREMENT_NOT_ALLOWED = ("gpu.policy.measurement_not_allowed", _R)
    GPU_POLICY_MODE_NOT_ALLOWED = ("gpu.policy.mode_not_allowed", _R)
    GPU_POLICY_VBIOS_NOT_ALLOWED = ("gpu.policy.vbios_not_allowed", _R)
    GPU_REPORT_HEADER_INVALID = ("gpu.report.header_invalid", _R)
    GPU_REPORT_MEASUREMENTS_INVALID = ("gpu.report.measurements_invalid", _R)
    GPU_REPORT_OPAQUE_INVALID = ("gpu.report.opaque_invalid", _R)
    GPU_REPORT_OPAQUE_UNKNOWN_TYPE = ("gpu.report.opaque_unknown_type", _N)
    GPU_REPORT_SIGNATURE_INVALID = ("gpu.report.signature_invalid", _R)
    GPU_REPORT_TRAILING_BYTES = ("gpu.report.trailing_bytes", _R)
    GPU_REPORT_TRUNCATED = ("gpu.report.truncated", _R)
    GPU_REVOCATION_LEAF_NOT_COVERED = ("gpu.revocation.leaf_not_covered", _N)
    GPU_REVOCATION_NOT_RECORDED = ("gpu.revocation.not_recorded", _A)
    GPU_RIM_CHAIN_EXPIRED = ("gpu.rim.chain_expired", _R)
    GPU_RIM_CHAIN_EXPIRED_SINCE = ("gpu.rim.chain_expired_since", _N)
    GPU_RIM_CHAIN_INVALID = ("gpu.rim.chain_invalid", _R)
    GPU_RIM_CHAIN_NOT_YET_VALID = ("gpu.rim.chain_not_yet_valid", _R)
    GPU_RIM_CHAIN_ROOT_UNTRUSTED = ("gpu.rim.chain_root_untrusted", _R)
    GPU_RIM_DIGEST_MISMATCH = ("gpu.rim.digest_mismatch", _R)
    GPU_RIM_DSIG_PROFILE_INVALID = ("gpu.rim.dsig_profile_invalid", _R)
    GPU_RIM_FORMAT_UNSUPPORTED = ("gpu.rim.format_unsupported", _R)
    GPU_RIM_ID_MISMATCH = ("gpu.rim.id_mismatch", _R)
    GPU_RIM_INDEX_CONFLICT = ("gpu.rim.index_conflict", _R)
    GPU_RIM_MALFORMED = ("gpu.rim.malformed", _R)
    GPU_RIM_MISSING = ("gpu.rim.missing", _A)
    GPU_RIM_NO_ACTIVE_MEASUREMENTS = ("gpu.rim.no_active_measurements", _R)
    GPU_RIM_PRODUCT_MISMATCH = ("gpu.rim.product_mismatch", _R)
    GPU_RIM_SCHEMA_INVALID = ("gpu.rim.schema_invalid", _R)
    GPU_RIM_SIGNATURE_INVALID = ("gpu.rim.signature_invalid", _R)
    GPU_RIM_VERSION_MISMATCH = ("gpu.rim.version_mismatch", _R)
    GPU_TOPOLOGY_GPU_SET_MISMATCH = ("gpu.topology.gpu_set_mismatch", _R)
    GPU_TOPOLOGY_GPUS_NOT_ATTESTED = ("gpu.topology.gpus_not_attested", _A)
    GPU_TOPOLOGY_NOT_REPORTED = ("gpu.topology.not_reported", _A)
    GPU_TOPOLOGY_SWITCH_IDENTITY_MISMATCH = ("gpu.topology.switch_identity_mismatch", _R)
    GPU_TOPOLOGY_SWITCH_SET_MISMATCH = ("gpu.topology.switch_set_mismatch", _R)
    GPU_TOPOLOGY_SWITCHES_NOT_ATTESTED = ("gpu.topology.switches_not_attested", _A)

    # identity
    IDENTITY_ATTESTED_LATER = ("identity.attested_later", _N)
    IDENTITY_ATTESTED_ONCE = ("identity.attested_once", _N)
    IDENTITY_CHANGED = ("identity.changed", _R)
    IDENTITY_NO_SECOND_ATTESTATION = ("identity.no_second_attestation", _A)
    IDENTITY_ROUTER_ONLY = ("identity.router_only", _N)
    IDENTITY_SEVERAL_CODES = ("identity.several_codes", _N)

    # internal
    INTERNAL_CRASH = ("internal.crash", _C)

    # marker
    MARKER_MISMATCH = ("marker.mismatch", _R)
    MARKER_MISSING = ("marker.missing", _A)

    # need
    NEED_NOT_PASSED = ("need.not_passed", _A)

    # nitro
    NITRO_CHAIN_CONSTRAINT_VIOLATED = ("nitro.chain.constraint_violated", _R)
    NITRO_CHAIN_NOT_VALID_AT_TIMESTAMP = ("nitro.chain.not_valid_at_timestamp", _R)
    NITRO_CHAIN_ROOT_NOT_TRUSTED = ("nitro.chain.root_not_trusted", _R)
    NITRO_CHAIN_SIGNATURE_INVALID = ("nitro.chain.signature_invalid", _R)
    NITRO_DOCUMENT_ALGORITHM_UNSUPPORTED = ("nitro.document.algorithm_unsupported", _R)
    NITRO_DOCUMENT_MALFORMED = ("nitro.document.malformed", _R)
    NITRO_DOCUMENT_SIGNATURE_INVALID = ("nitro.document.signature_invalid", _R)
    NITRO_DOCUMENT_TIME_MISMATCH = ("nitro.document.time_mismatch", _R)
    NITRO_PCR_DEBUG_MODE = ("nitro.pcr.debug_mode", _R)
    NITRO_PCR_NOT_ACCEPTED = ("nitro.pcr.not_accepted", _R)
    NITRO_PCR_REFERENCE_MISSING = ("nitro.pcr.reference_missing", _A)

    # nonce
    NONCE_DERIVATION_MISMATCH = ("nonce.derivation_mismatch", _R)
    NONCE_FOREIGN = ("nonce.foreign", _A)
    NONCE_FOREIGN_ACCEPTED = ("nonce.foreign_accepted", _N)
    NONCE_NONE = ("nonce.none", _A)
    NONCE_TOO_SHORT = ("nonce.too_short", _A)

    # nras
    NRAS_ANSWER_HTTP_STATUS = ("nras.answer.http_status", _R)
    NRAS_ANSWER_LATER_THAN_CAPTURE = ("nras.answer.later_than_capture", _N)
    NRAS_ANSWER_MALFORMED = ("nras.answer.malformed", _R)
    NRAS_BIND_DRIVER_MISMATCH = ("nras.bind.driver_mismatch", _R)
    NRAS_BIND_HWMODEL_MISMATCH = ("nras.bind.hwmodel_mismatch", _R)
    NRAS_BIND_NONCE_MISMATCH = ("nras.bind.nonce_mismatch", _R)
    NRAS_BIND_REQUEST_MISMATCH = ("nras.bind.request_mismatch", _R)
    NRAS_BIND_UEID_MISMATCH = ("nras.bind.ueid_mismatch", _R)
    NRAS_BIND_VBIOS_MISMATCH = ("nras.bind.vbios_mismatch", _R)
    NRAS_DEVICE_CLAIM_FALSE = ("nras.device.claim_false", _R)
    NRAS_DEVICE_CLAIM_MISSING = ("nras.device.claim_missing", _R)
    NRAS_DEVICE_DIGEST_MISMATCH = ("nras.device.digest_mismatch", _R)
    NRAS_DEVICE_ERROR_REPORTED = ("nras.device.error_reported", _R)
    NRAS_DEVICE_MEASRES_NOT_SUCCESS = ("nras.device.measres_not_success", _R)
    NRAS_DEVICE_NONCE_MISMATCH = ("nras.device.nonce_mismatch", _R)
    NRAS_DEVICE_SET_MISMATCH = ("nras.device.set_mismatch", _R)
    NRAS_JWT_ALG_REJECTED = ("nras.jwt.alg_rejected", _R)
    NRAS_JWT_KID_UNKNOWN = ("nras.jwt.kid_unknown", _R)
    NRAS_JWT_MALFORMED = ("nras.jwt.malformed", _R)
    NRAS_JWT_SIGNATURE_INVALID = ("nras.jwt.signature_invalid", _R)
    NRAS_KEY_CHAIN_INVALID = ("nras.key.chain_invalid", _R)
    NRAS_KEY_INTERMEDIATE_NOT_PINNED = ("nras.key.intermediate_not_pinned", _R)
    NRAS_KEY_JWK_MISMATCH = ("nras.key.jwk_mismatch", _R)
    NRAS_KEY_MISSING = ("nras.key.missing", _A)
    NRAS_KEY_TIME_INVALID = ("nras.key.time_invalid", _R)
    NRAS_NOT_RECORDED = ("nras.not_recorded", _A)
    NRAS_ONLINE_DISABLED = ("nras.online.disabled", _N)
    NRAS_ONLINE_RATE_LIMITED = ("nras.online.rate_limited", _N)
    NRAS_ONLINE_REJECTED = ("nras.online.rejected", _N)
    NRAS_ONLINE_UNAUTHORIZED = ("nras.online.unauthorized", _N)
    NRAS_ONLINE_UNAVAILABLE = ("nras.online.unavailable", _N)
    NRAS_RESULT_OVERALL_FALSE = ("nras.result.overall_false", _R)
    NRAS_RESULT_OVERALL_MISSING = ("nras.result.overall_missing", _R)
    NRAS_TOKEN_EXPIRED_AT_CAPTURE = ("nras.token.expired_at_capture", _R)
    NRAS_TOKEN_EXPIRED_SINCE = ("nras.token.expired_since", _N)
    NRAS_TOKEN_ISSUER_MISMATCH = ("nras.token.issuer_mismatch", _R)
    NRAS_TOKEN_TIME_INCONSISTENT = ("nras.token.time_inconsistent", _R)
    NRAS_TOKEN_VERSION_UNSUPPORTED = ("nras.token.version_unsupported", _R)
    NRAS_WARNING_PRESENT = ("nras.warning_present", _N)

    # policy
    POLICY_ABSENCE_PERMITTED = ("policy.absence_permitted", _P)
    POLICY_INFORMATIONAL = ("policy.informational", _P)
    POLICY_SUBJECT_EXCLUDED = ("policy.subject_excluded", _P)
    POLICY_WAIVED = ("policy.waived", _P)

    # profile
    PROFILE_MISMATCH = ("profile.mismatch", _R)

    # provider
    PROVIDER_VERDICT_IGNORED = ("provider.verdict_ignored", _N)

    # redaction
    REDACTION_CONTRADICTED = ("redaction.contradicted", _R)
    REDACTION_UNSIGNED = ("redaction.unsigned", _A)

    # reference
    REFERENCE_MEASUREMENT_NOT_LISTED = ("reference.measurement_not_listed", _R)
    REFERENCE_MISSING = ("reference.missing", _A)

    # session
    SESSION_CAPTURE_INCOMPLETE = ("session.capture_incomplete", _N)
    SESSION_E2EE_NOT_JUDGED = ("session.e2ee_not_judged", _N)
    SESSION_IMPORTED = ("session.imported", _N)

    # shape
    SHAPE_AMBIGUOUS = ("shape.ambiguous", _R)
    SHAPE_DUPLICATE_DISAGREES = ("shape.duplicate_disagrees", _R)
    SHAPE_ENCODING_INVALID = ("shape.encoding_invalid", _R)
    SHAPE_ERROR_TEXT_IN_EVIDENCE = ("shape.error_text_in_evidence", _R)
    SHAPE_FAMILY_NOT_ALLOWED = ("shape.family_not_allowed", _R)
    SHAPE_FAMILY_NOT_JUDGED = ("shape.family_not_judged", _A)
    SHAPE_FIELD_MISSING = ("shape.field_missing", _R)
    SHAPE_FIELD_TYPE = ("shape.field_type", _R)
    SHAPE_LENGTH_INVALID = ("shape.length_invalid", _R)
    SHAPE_LIST_EMPTY = ("shape.list_empty", _R)
    SHAPE_UNKNOWN = ("shape.unknown", _R)

    # signature
    SIGNATURE_ADDRESS_MISMATCH = ("signature.address_mismatch", _R)
    SIGNATURE_ALGORITHMS_DISAGREE = ("signature.algorithms_disagree", _R)
    SIGNATURE_ALGORITHM_UNSUPPORTED = ("signature.algorithm_unsupported", _R)
    SIGNATURE_CHAT_ID_MISMATCH = ("signature.chat_id_mismatch", _R)
    SIGNATURE_FAMILY_HAS_NONE = ("signature.family_has_none", _A)
    SIGNATURE_INVALID = ("signature.invalid", _R)
    SIGNATURE_KIND_CONTRADICTS_TEXT = ("signature.kind_contradicts_text", _R)
    SIGNATURE_KIND_UNKNOWN = ("signature.kind_unknown", _N)
    SIGNATURE_MALFORMED = ("signature.malformed", _R)
    SIGNATURE_MODEL_MISMATCH = ("signature.model_mismatch", _R)
    SIGNATURE_MODEL_NOT_SIGNED = ("signature.model_not_signed", _N)
    SIGNATURE_RECOVERY_FAILED = ("signature.recovery_failed", _R)
    SIGNATURE_ROLE_NOT_ACCEPTED = ("signature.role_not_accepted", _R)
    SIGNATURE_SIGNER_IS_GATEWAY = ("signature.signer_is_gateway", _N)
    SIGNATURE_SIGNER_NOT_ATTESTED = ("signature.signer_not_attested", _R)
    SIGNATURE_TEXT_FORM_UNKNOWN = ("signature.text_form_unknown", _R)
    SIGNATURE_TEXT_MALFORMED = ("signature.text_malformed", _R)
    SIGNATURE_UNAVAILABLE = ("signature.unavailable", _A)

    # signer
    SIGNER_COMPROMISED = ("signer.compromised", _R)
    SIGNER_COMPROMISED_LATER = ("signer.compromised_later", _N)
    SIGNER_NOT_IN_FORCE = ("signer.not_in_force", _R)

    # sigstore
    SIGSTORE_BUNDLE_FORMAT_UNSUPPORTED = ("sigstore.bundle.format_unsupported", _A)
    SIGSTORE_BUNDLE_MALFORMED = ("sigstore.bundle.malformed", _R)
    SIGSTORE_BUNDLE_MISSING = ("sigstore.bundle.missing", _A)
    SIGSTORE_BUNDLE_TIME_UNSUPPORTED = ("sigstore.bundle.time_unsupported", _A)
    SIGSTORE_CERTIFICATE_CHAIN_INVALID = ("sigstore.certificate.chain_invalid", _R)
    SIGSTORE_CERTIFICATE_NOT_VALID_AT_TIME = ("sigstore.certificate.not_valid_at_time", _R)
    SIGSTORE_IDENTITY_INCONSISTENT = ("sigstore.identity.inconsistent", _R)
    SIGSTORE_IDENTITY_ISSUER_MISMATCH = ("sigstore.identity.issuer_mismatch", _R)
    SIGSTORE_IDENTITY_REF_NOT_ACCEPTED = ("sigstore.identity.ref_not_accepted", _R)
    SIGSTORE_IDENTITY_REPOSITORY_MISMATCH = ("sigstore.identity.repository_mismatch", _R)
    SIGSTORE_LOG_CHECKPOINT_INVALID = ("sigstore.log.checkpoint_invalid", _R)
    SIGSTORE_LOG_ENTRY_MISMATCH = ("sigstore.log.entry_mismatch", _R)
    SIGSTORE_LOG_INCLUSION_INVALID = ("sigstore.log.inclusion_invalid", _R)
    SIGSTORE_LOG_PROMISE_INVALID = ("sigstore.log.promise_invalid", _R)
    SIGSTORE_LOG_UNKNOWN = ("sigstore.log.unknown", _R)
    SIGSTORE_PREDICATE_MALFORMED = ("sigstore.predicate.malformed", _R)
    SIGSTORE_PREDICATE_MEASUREMENT_MISMATCH = ("sigstore.predicate.measurement_mismatch", _R)
    SIGSTORE_SCT_INVALID = ("sigstore.sct.invalid", _R)
    SIGSTORE_SIGNATURE_INVALID = ("sigstore.signature_invalid", _R)
    SIGSTORE_STATEMENT_MALFORMED = ("sigstore.statement.malformed", _R)
    SIGSTORE_STATEMENT_SUBJECT_MISMATCH = ("sigstore.statement.subject_mismatch", _R)
    SIGSTORE_STATEMENT_TYPE_NOT_ACCEPTED = ("sigstore.statement.type_not_accepted", _R)

    # snp
    SNP_CERTIFICATE_ALGORITHM_UNSUPPORTED = ("snp.certificate.algorithm_unsupported", _R)
    SNP_CERTIFICATE_EXTENSION_CONFLICT = ("snp.certificate.extension_conflict", _R)
    SNP_CERTIFICATE_EXTENSION_MALFORMED = ("snp.certificate.extension_malformed", _R)
    SNP_CERTIFICATE_EXTENSION_MISSING = ("snp.certificate.extension_missing", _R)
    SNP_CERTIFICATE_MALFORMED = ("snp.certificate.malformed", _R)
    SNP_CERTIFICATE_MISSING = ("snp.certificate.missing", _A)
    SNP_CERTIFICATE_UNKNOWN_EXTENSION = ("snp.certificate.unknown_extension", _N)
    SNP_CHAIN_EXPIRED = ("snp.chain.expired", _R)
    SNP_CHAIN_LEAF_MINTED_LATER = ("snp.chain.leaf_minted_later", _R)
    SNP_CHAIN_LEAF_MINTED_LATER_ACCEPTED = ("snp.chain.leaf_minted_later_accepted", _N)
    SNP_CHAIN_NAME_MISMATCH = ("snp.chain.name_mismatch", _R)
    SNP_CHAIN_NOT_YET_VALID = ("snp.chain.not_yet_valid", _R)
    SNP_CHAIN_ROLE_MISMATCH = ("snp.chain.role_mismatch", _R)
    SNP_CHAIN_ROOT_NOT_TRUSTED = ("snp.chain.root_not_trusted", _R)
    SNP_CHAIN_SIGNATURE_INVALID = ("snp.chain.signature_invalid", _R)
    SNP_CRL_EXPIRED = ("snp.crl.expired", _R)
    SNP_CRL_INTERMEDIATE_REVOKED = ("snp.crl.intermediate_revoked", _R)
    SNP_CRL_ISSUER_MISMATCH = ("snp.crl.issuer_mismatch", _R)
    SNP_CRL_MALFORMED = ("snp.crl.malformed", _R)
    SNP_CRL_MISSING = ("snp.crl.missing", _A)
    SNP_CRL_NOT_YET_VALID = ("snp.crl.not_yet_valid", _R)
    SNP_CRL_SIGNATURE_INVALID = ("snp.crl.signature_invalid", _R)
    SNP_PLATFORM_FLAG_NOT_ACCEPTED = ("snp.platform.flag_not_accepted", _R)
    SNP_PLATFORM_PRODUCT_NOT_ACCEPTED = ("snp.platform.product_not_accepted", _R)
    SNP_PLATFORM_UNASSIGNED_BIT_SET = ("snp.platform.unassigned_bit_set", _N)
    SNP_POLICY_ABI_BELOW_MINIMUM = ("snp.policy.abi_below_minimum", _R)
    SNP_POLICY_DEBUG_ENABLED = ("snp.policy.debug_enabled", _R)
    SNP_POLICY_FLAG_NOT_ACCEPTED = ("snp.policy.flag_not_accepted", _R)
    SNP_POLICY_MIGRATION_ENABLED = ("snp.policy.migration_enabled", _R)
    SNP_POLICY_VMPL_NOT_ACCEPTED = ("snp.policy.vmpl_not_accepted", _R)
    SNP_PRODUCT_UNKNOWN = ("snp.product.unknown", _A)
    SNP_REFERENCE_AUTHOR_KEY_NOT_ACCEPTED = ("snp.reference.author_key_not_accepted", _R)
    SNP_REFERENCE_FAMILY_ID_MISMATCH = ("snp.reference.family_id_mismatch", _R)
    SNP_REFERENCE_GUEST_SVN_BELOW_MINIMUM = ("snp.reference.guest_svn_below_minimum", _R)
    SNP_REFERENCE_HOST_DATA_MISMATCH = ("snp.reference.host_data_mismatch", _R)
    SNP_REFERENCE_ID_KEY_NOT_ACCEPTED = ("snp.reference.id_key_not_accepted", _R)
    SNP_REFERENCE_IMAGE_ID_MISMATCH = ("snp.reference.image_id_mismatch", _R)
    SNP_REFERENCE_REPORT_DATA_MISMATCH = ("snp.reference.report_data_mismatch", _R)
    SNP_REPORT_CHIP_ID_UNAUTHENTICATED = ("snp.report.chip_id_unauthenticated", _N)
    SNP_REPORT_LENGTH_INVALID = ("snp.report.length_invalid", _R)
    SNP_REPORT_POLICY_MALFORMED = ("snp.report.policy_malformed", _R)
    SNP_REPORT_RESERVED_NOT_ZERO = ("snp.report.reserved_not_zero", _R)
    SNP_REPORT_SIGNATURE_ALGORITHM_UNSUPPORTED = ("snp.report.signature_algorithm_unsupported", _R)
    SNP_REPORT_SIGNATURE_INVALID = ("snp.report.signature_invalid", _R)
    SNP_REPORT_SIGNATURE_OUT_OF_RANGE = ("snp.report.signature_out_of_range", _R)
    SNP_REPORT_SIGNATURE_PADDING_NOT_ZERO = ("snp.report.signature_padding_not_zero", _R)
    SNP_REPORT_SIGNER_INFO_MALFORMED = ("snp.report.signer_info_malformed", _R)
    SNP_REPORT_TAIL_NOT_ZERO = ("snp.report.tail_not_zero", _R)
    SNP_REPORT_UNSIGNED = ("snp.report.unsigned", _R)
    SNP_REPORT_VERSION_UNSUPPORTED = ("snp.report.version_unsupported", _A)
    SNP_REPORT_VMPL_INVALID = ("snp.report.vmpl_invalid", _R)
    SNP_SIGNER_CHIP_ID_MASKED = ("snp.signer.chip_id_masked", _A)
    SNP_SIGNER_CHIP_ID_MISMATCH = ("snp.signer.chip_id_mismatch", _R)
    SNP_SIGNER_CSP_NOT_ACCEPTED = ("snp.signer.csp_not_accepted", _R)
    SNP_SIGNER_KIND_MISMATCH = ("snp.signer.kind_mismatch", _R)
    SNP_SIGNER_PRODUCT_MISMATCH = ("snp.signer.product_mismatch", _R)
    SNP_SIGNER_TCB_MISMATCH = ("snp.signer.tcb_mismatch", _R)
    SNP_TCB_BELOW_MINIMUM = ("snp.tcb.below_minimum", _R)
    SNP_TCB_COMMITTED_ABOVE_CURRENT = ("snp.tcb.committed_above_current", _R)
    SNP_TCB_FIRMWARE_BELOW_MINIMUM = ("snp.tcb.firmware_below_minimum", _R)
    SNP_TCB_LAUNCH_ABOVE_CURRENT = ("snp.tcb.launch_above_current", _N)
    SNP_TCB_LAUNCH_BELOW_MINIMUM = ("snp.tcb.launch_below_minimum", _R)
    SNP_TCB_MINIMUM_NOT_GIVEN = ("snp.tcb.minimum_not_given", _A)
    SNP_TCB_MITIGATION_MISSING = ("snp.tcb.mitigation_missing", _R)
    SNP_TCB_PROVISIONAL_FIRMWARE = ("snp.tcb.provisional_firmware", _R)
    SNP_TCB_PROVISIONAL_FIRMWARE_PRESENT = ("snp.tcb.provisional_firmware_present", _N)
    SNP_TCB_REPORTED_ABOVE_COMMITTED = ("snp.tcb.reported_above_committed", _N)
    SNP_TCB_REPORTED_ABOVE_CURRENT = ("snp.tcb.reported_above_current", _R)

    # statement
    STATEMENT_CRITICAL_UNKNOWN = ("statement.critical_unknown", _A)
    STATEMENT_DERIVATION_FORBIDDEN = ("statement.derivation_forbidden", _R)
    STATEMENT_EXTENSION_IGNORED = ("statement.extension_ignored", _N)
    STATEMENT_FRAMING_FORBIDDEN = ("statement.framing_forbidden", _R)
    STATEMENT_ID_DUPLICATE = ("statement.id_duplicate", _R)
    STATEMENT_MINOR_UNSUPPORTED = ("statement.minor_unsupported", _A)
    STATEMENT_REFERENCE_UNRESOLVED = ("statement.reference_unresolved", _R)
    STATEMENT_SIGNER_MISMATCH = ("statement.signer_mismatch", _R)
    STATEMENT_SUBJECT_MISMATCH = ("statement.subject_mismatch", _R)
    STATEMENT_TIME_ORDER = ("statement.time_order", _R)

    # tdx
    TDX_CCEL_MALFORMED = ("tdx.ccel.malformed", _R)
    TDX_CCEL_RTMR_MISMATCH = ("tdx.ccel.rtmr_mismatch", _R)
    TDX_COLLATERAL_MISSING = ("tdx.collateral.missing", _A)
    TDX_DSTACK_COMPOSE_HASH_MISMATCH = ("tdx.dstack.compose_hash_mismatch", _R)
    TDX_DSTACK_MR_AGGREGATED_MISMATCH = ("tdx.dstack.mr_aggregated_mismatch", _R)
    TDX_DSTACK_MR_CONFIG_ID_MISMATCH = ("tdx.dstack.mr_config_id_mismatch", _R)
    TDX_DSTACK_MR_CONFIG_ID_VERSION_UNKNOWN = ("tdx.dstack.mr_config_id_version_unknown", _R)
    TDX_DSTACK_PUBLISHED_REGISTER_MISMATCH = ("tdx.dstack.published_register_mismatch", _R)
    TDX_ENGINE_DISAGREEMENT = ("tdx.engine.disagreement", _R)
    TDX_ENGINE_UNAVAILABLE = ("tdx.engine.unavailable", _A)
    TDX_EVENT_LOG_DIGEST_MISMATCH = ("tdx.event_log.digest_mismatch", _R)
    TDX_EVENT_LOG_EVENT_DUPLICATE = ("tdx.event_log.event_duplicate", _R)
    TDX_EVENT_LOG_EVENT_MISSING = ("tdx.event_log.event_missing", _R)
    TDX_EVENT_LOG_EVENT_ORDER = ("tdx.event_log.event_order", _R)
    TDX_EVENT_LOG_MALFORMED = ("tdx.event_log.malformed", _R)
    TDX_EVENT_LOG_PREIMAGE_MISMATCH = ("tdx.event_log.preimage_mismatch", _R)
    TDX_EVENT_LOG_PREIMAGE_MISSING = ("tdx.event_log.preimage_missing", _R)
    TDX_EVENT_LOG_REGISTER_INVALID = ("tdx.event_log.register_invalid", _R)
    TDX_EVENT_LOG_RTMR_MISMATCH = ("tdx.event_log.rtmr_mismatch", _R)
    TDX_EVENT_LOG_VERSION_UNSUPPORTED = ("tdx.event_log.version_unsupported", _R)
    TDX_INPUT_TOO_LARGE = ("tdx.input.too_large", _R)
    TDX_PCK_CA_REVOKED = ("tdx.pck.ca_revoked", _R)
    TDX_PCK_CERT_EXPIRED = ("tdx.pck.cert_expired", _R)
    TDX_PCK_CERT_ISSUER_MISMATCH = ("tdx.pck.cert_issuer_mismatch", _R)
    TDX_PCK_CERT_NAME = ("tdx.pck.cert_name", _R)
    TDX_PCK_CERT_NOT_YET_VALID = ("tdx.pck.cert_not_yet_valid", _R)
    TDX_PCK_CERT_PROFILE = ("tdx.pck.cert_profile", _R)
    TDX_PCK_CERT_REVOKED = ("tdx.pck.cert_revoked", _R)
    TDX_PCK_CERT_SIGNATURE_INVALID = ("tdx.pck.cert_signature_invalid", _R)
    TDX_PCK_CHAIN_MALFORMED = ("tdx.pck.chain_malformed", _R)
    TDX_PCK_CHAIN_SHAPE = ("tdx.pck.chain_shape", _R)
    TDX_PCK_EXTENSION_MALFORMED = ("tdx.pck.extension_malformed", _R)
    TDX_PCK_ROOT_MISMATCH = ("tdx.pck.root_mismatch", _R)
    TDX_PCK_CRL_EXPIRED = ("tdx.pck_crl.expired", _R)
    TDX_PCK_CRL_ISSUER_MISMATCH = ("tdx.pck_crl.issuer_mismatch", _R)
    TDX_PCK_CRL_MALFORMED = ("tdx.pck_crl.malformed", _R)
    TDX_PCK_CRL_NOT_YET_VALID = ("tdx.pck_crl.not_yet_valid", _R)
    TDX_PCK_CRL_PROFILE = ("tdx.pck_crl.profile", _R)
    TDX_PCK_CRL_SIGNATURE_INVALID = ("tdx.pck_crl.signature_invalid", _R)
    TDX_POLICY_ADVISORY_REJECTED = ("tdx.policy.advisory_rejected", _R)
    TDX_POLICY_MEASUREMENT_MISMATCH = ("tdx.policy.measurement_mismatch", _R)
    TDX_POLICY_PLATFORM_FLAG_REJECTED = ("tdx.policy.platform_flag_rejected", _R)
    TDX_POLICY_SERVICE_TD_BOUND = ("tdx.policy.service_td_bound", _R)
    TDX_POLICY_SGX_DEBUG = ("tdx.policy.sgx_debug", _R)
    TDX_POLICY_TCB_EVALUATION_NUMBER_TOO_LOW = ("tdx.policy.tcb_evaluation_number_too_low", _R)
    TDX_POLICY_TCB_STATUS_NOT_ACCEPTED = ("tdx.policy.tcb_status_not_accepted", _R)
    TDX_POLICY_TCB_TOO_OLD = ("tdx.policy.tcb_too_old", _R)
    TDX_POLICY_TD_ATTRIBUTES_REJECTED = ("tdx.policy.td_attributes_rejected", _R)
    TDX_POLICY_TD_DEBUG = ("tdx.policy.td_debug", _R)
    TDX_POLICY_TD_MIGRATABLE = ("tdx.policy.td_migratable", _R)
    TDX_POLICY_TD_PROFILING = ("tdx.policy.td_profiling", _R)
    TDX_POLICY_TD_RESERVED_BITS = ("tdx.policy.td_reserved_bits", _R)
    TDX_POLICY_TD_SEPT_VE_DISABLE_CLEAR = ("tdx.policy.td_sept_ve_disable_clear", _R)
    TDX_POLICY_TD_SERVTD_EXT = ("tdx.policy.td_servtd_ext", _R)
    TDX_POLICY_XFAM_REJECTED = ("tdx.policy.xfam_rejected", _R)
    TDX_QE_IDENTITY_CERT_EXPIRED = ("tdx.qe_identity.cert_expired", _R)
    TDX_QE_IDENTITY_CERT_ISSUER_MISMATCH = ("tdx.qe_identity.cert_issuer_mismatch", _R)
    TDX_QE_IDENTITY_CERT_NAME = ("tdx.qe_identity.cert_name", _R)
    TDX_QE_IDENTITY_CERT_NOT_YET_VALID = ("tdx.qe_identity.cert_not_yet_valid", _R)
    TDX_QE_IDENTITY_CERT_PROFILE = ("tdx.qe_identity.cert_profile", _R)
    TDX_QE_IDENTITY_CERT_REVOKED = ("tdx.qe_identity.cert_revoked", _R)
    TDX_QE_IDENTITY_CERT_SIGNATURE_INVALID = ("tdx.qe_identity.cert_signature_invalid", _R)
    TDX_QE_IDENTITY_CHAIN_MALFORMED = ("tdx.qe_identity.chain_malformed", _R)
    TDX_QE_IDENTITY_CHAIN_SHAPE = ("tdx.qe_identity.chain_shape", _R)
    TDX_QE_IDENTITY_EXPIRED = ("tdx.qe_identity.expired", _R)
    TDX_QE_IDENTITY_MALFORMED = ("tdx.qe_identity.malformed", _R)
    TDX_QE_IDENTITY_NOT_YET_VALID = ("tdx.qe_identity.not_yet_valid", _R)
    TDX_QE_IDENTITY_ROOT_MISMATCH = ("tdx.qe_identity.root_mismatch", _R)
    TDX_QE_IDENTITY_SIGNATURE_INVALID = ("tdx.qe_identity.signature_invalid", _R)
    TDX_QE_IDENTITY_STATUS_UNKNOWN = ("tdx.qe_identity.status_unknown", _R)
    TDX_QE_IDENTITY_TYPE_MISMATCH = ("tdx.qe_identity.type_mismatch", _R)
    TDX_QE_REPORT_ATTRIBUTES_MISMATCH = ("tdx.qe_report.attributes_mismatch", _R)
    TDX_QE_REPORT_DEBUG = ("tdx.qe_report.debug", _R)
    TDX_QE_REPORT_KEY_BINDING_MISMATCH = ("tdx.qe_report.key_binding_mismatch", _R)
    TDX_QE_REPORT_MISCSELECT_MISMATCH = ("tdx.qe_report.miscselect_mismatch", _R)
    TDX_QE_REPORT_MRSIGNER_MISMATCH = ("tdx.qe_report.mrsigner_mismatch", _R)
    TDX_QE_REPORT_PRODID_MISMATCH = ("tdx.qe_report.prodid_mismatch", _R)
    TDX_QE_REPORT_SIGNATURE_INVALID = ("tdx.qe_report.signature_invalid", _R)
    TDX_QE_REPORT_SVN_UNSUPPORTED = ("tdx.qe_report.svn_unsupported", _R)
    TDX_QUOTE_ATTESTATION_KEY_INVALID = ("tdx.quote.attestation_key_invalid", _R)
    TDX_QUOTE_AUTH_DATA_MALFORMED = ("tdx.quote.auth_data_malformed", _R)
    TDX_QUOTE_BODY_SIZE_MISMATCH = ("tdx.quote.body_size_mismatch", _R)
    TDX_QUOTE_BODY_TYPE_UNSUPPORTED = ("tdx.quote.body_type_unsupported", _R)
    TDX_QUOTE_CERT_TYPE_UNSUPPORTED = ("tdx.quote.cert_type_unsupported", _R)
    TDX_QUOTE_KEY_TYPE_UNSUPPORTED = ("tdx.quote.key_type_unsupported", _R)
    TDX_QUOTE_SIGNATURE_INVALID = ("tdx.quote.signature_invalid", _R)
    TDX_QUOTE_TEE_TYPE_UNSUPPORTED = ("tdx.quote.tee_type_unsupported", _R)
    TDX_QUOTE_TRUNCATED = ("tdx.quote.truncated", _R)
    TDX_QUOTE_VENDOR_UNKNOWN = ("tdx.quote.vendor_unknown", _R)
    TDX_QUOTE_VERSION_UNSUPPORTED = ("tdx.quote.version_unsupported", _R)
    TDX_ROOT_CERT_EXPIRED = ("tdx.root.cert_expired", _R)
    TDX_ROOT_CERT_ISSUER_MISMATCH = ("tdx.root.cert_issuer_mismatch", _R)
    TDX_ROOT_CERT_NAME = ("tdx.root.cert_name", _R)
    TDX_ROOT_CERT_NOT_YET_VALID = ("tdx.root.cert_not_yet_valid", _R)
    TDX_ROOT_CERT_PROFILE = ("tdx.root.cert_profile", _R)
    TDX_ROOT_CERT_REVOKED = ("tdx.root.cert_revoked", _R)
    TDX_ROOT_CERT_SIGNATURE_INVALID = ("tdx.root.cert_signature_invalid", _R)
    TDX_ROOT_CHAIN_MALFORMED = ("tdx.root.chain_malformed", _R)
    TDX_ROOT_CRL_EXPIRED = ("tdx.root_crl.expired", _R)
    TDX_ROOT_CRL_ISSUER_MISMATCH = ("tdx.root_crl.issuer_mismatch", _R)
    TDX_ROOT_CRL_MALFORMED = ("tdx.root_crl.malformed", _R)
    TDX_ROOT_CRL_NOT_YET_VALID = ("tdx.root_crl.not_yet_valid", _R)
    TDX_ROOT_CRL_PROFILE = ("tdx.root_crl.profile", _R)
    TDX_ROOT_CRL_SIGNATURE_INVALID = ("tdx.root_crl.signature_invalid", _R)
    TDX_TCB_MODULE_ATTRIBUTES_MISMATCH = ("tdx.tcb.module_attributes_mismatch", _R)
    TDX_TCB_MODULE_IDENTITY_MISSING = ("tdx.tcb.module_identity_missing", _R)
    TDX_TCB_MODULE_SIGNER_MISMATCH = ("tdx.tcb.module_signer_mismatch", _R)
    TDX_TCB_MODULE_SVN_UNSUPPORTED = ("tdx.tcb.module_svn_unsupported", _R)
    TDX_TCB_NO_MATCHING_LEVEL = ("tdx.tcb.no_matching_level", _R)
    TDX_TCB_REVOKED = ("tdx.tcb.revoked", _R)
    TDX_TCB_INFO_CERT_EXPIRED = ("tdx.tcb_info.cert_expired", _R)
    TDX_TCB_INFO_CERT_ISSUER_MISMATCH = ("tdx.tcb_info.cert_issuer_mismatch", _R)
    TDX_TCB_INFO_CERT_NAME = ("tdx.tcb_info.cert_name", _R)
    TDX_TCB_INFO_CERT_NOT_YET_VALID = ("tdx.tcb_info.cert_not_yet_valid", _R)
    TDX_TCB_INFO_CERT_PROFILE = ("tdx.tcb_info.cert_profile", _R)
    TDX_TCB_INFO_CERT_REVOKED = ("tdx.tcb_info.cert_revoked", _R)
    TDX_TCB_INFO_CERT_SIGNATURE_INVALID = ("tdx.tcb_info.cert_signature_invalid", _R)
    TDX_TCB_INFO_CHAIN_MALFORMED = ("tdx.tcb_info.chain_malformed", _R)
    TDX_TCB_INFO_CHAIN_SHAPE = ("tdx.tcb_info.chain_shape", _R)
    TDX_TCB_INFO_EXPIRED = ("tdx.tcb_info.expired", _R)
    TDX_TCB_INFO_FMSPC_MISMATCH = ("tdx.tcb_info.fmspc_mismatch", _R)
    TDX_TCB_INFO_MALFORMED = ("tdx.tcb_info.malformed", _R)
    TDX_TCB_INFO_NOT_YET_VALID = ("tdx.tcb_info.not_yet_valid", _R)
    TDX_TCB_INFO_PCEID_MISMATCH = ("tdx.tcb_info.pceid_mismatch", _R)
    TDX_TCB_INFO_ROOT_MISMATCH = ("tdx.tcb_info.root_mismatch", _R)
    TDX_TCB_INFO_SIGNATURE_INVALID = ("tdx.tcb_info.signature_invalid", _R)
    TDX_TCB_INFO_STATUS_UNKNOWN = ("tdx.tcb_info.status_unknown", _R)
    TDX_TCB_INFO_TYPE_MISMATCH = ("tdx.tcb_info.type_mismatch", _R)

    # time
    TIME_AS_OF_OUT_OF_RANGE = ("time.as_of_out_of_range", _R)
    TIME_CAPTURE_TOO_LONG = ("time.capture_too_long", _R)
    TIME_CLAIMED_ONLY = ("time.claimed_only", _N)
    TIME_EXCHANGE_OUTSIDE_CAPTURE = ("time.exchange_outside_capture", _R)
    TIME_IMPORT_NOT_ALLOWED = ("time.import_not_allowed", _R)
    TIME_LEVEL_INSUFFICIENT = ("time.level_insufficient", _A)
    TIME_OUTSIDE_BRACKET = ("time.outside_bracket", _R)

    # timestamp
    TIMESTAMP_AUTHORITY_NOT_IN_FORCE = ("timestamp.authority_not_in_force", _R)
    TIMESTAMP_AUTHORITY_UNKNOWN = ("timestamp.authority_unknown", _N)
    TIMESTAMP_IMPRINT_MISMATCH = ("timestamp.imprint_mismatch", _R)
    TIMESTAMP_MALFORMED = ("timestamp.malformed", _R)
    TIMESTAMP_SIGNATURE_INVALID = ("timestamp.signature_invalid", _R)

    # tlog
    TLOG_CHECKPOINT_INVALID = ("tlog.checkpoint_invalid", _R)
    TLOG_INCLUSION_INVALID = ("tlog.inclusion_invalid", _R)
    TLOG_KEY_NOT_IN_FORCE = ("tlog.key_not_in_force", _R)
    TLOG_LOG_UNKNOWN = ("tlog.log_unknown", _N)
    TLOG_MALFORMED = ("tlog.malformed", _R)
    TLOG_QUORUM_NOT_MET = ("tlog.quorum_not_met", _A)

    # trust
    TRUST_ADDED_VENDOR_ANCHOR = ("trust.added_vendor_anchor", _N)
    TRUST_SNAPSHOT_OLD = ("trust.snapshot_old", _N)


_BY_CODE = {member.code: member for member in Reason}
