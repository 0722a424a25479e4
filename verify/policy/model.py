"""The policy: what is acceptable, complete and frozen. No default is hidden in code.

Every value here was written down by somebody in a policy file; `verify.policy.loader` builds it and
refuses a file that leaves anything open. Source: verification.md 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Literal

from verify.engine.check import Mode, Ruling
from verify.engine.value import field, value

# --- rules for single fields -----------------------------------------------------------------


@value
class Set:
    """Decided by the pin sets: all fields of one set must match."""


@value
class AnyOf:
    """The field equals one of ``values``. No value: no reference was given, which is a gap."""

    values: tuple[bytes, ...]


@value
class Masked:
    """``field & mask == value``, byte by byte."""

    mask: bytes
    value: bytes


@value
class Zero:
    """All bytes are zero."""


@value
class Bound:
    """Judged by the check ``by``, which this policy neither waives nor excludes."""

    by: str


@value
class Release:
    """Must equal the value of the verified release statement (``sigstore.release``)."""


@value
class Ignore:
    """Not judged; listed in the report with the reason."""

    because: str


FieldRule = Set | AnyOf | Masked | Zero | Bound | Release | Ignore


@value
class AnyText:
    """A derived text (driver, VBIOS) equals one of ``values``; none: no reference was given."""

    values: tuple[str, ...]


class Fit(Enum):
    """How a value stands to its rule."""

    MET = "met"
    DIFFERS = "differs"
    NO_REFERENCE = "no reference"
    """The rule lists no value: a gap (``reference.missing``), never a rejection."""
    ELSEWHERE = "elsewhere"
    """A pin set, the release, another check, or nobody judges this field."""


def fit(rule: FieldRule, value: bytes) -> Fit:
    """Judge one complete field value by its own rule."""
    match rule:
        case AnyOf(values=values):
            if not values:
                return Fit.NO_REFERENCE
            return Fit.MET if value in values else Fit.DIFFERS
        case Masked(mask=mask, value=wanted):
            same_length = len(value) == len(mask)
            masked = bytes(a & b for a, b in zip(value, mask, strict=False))
            return Fit.MET if same_length and masked == wanted else Fit.DIFFERS
        case Zero():
            return Fit.DIFFERS if any(value) else Fit.MET
        case _:
            return Fit.ELSEWHERE


def wanted(rule: FieldRule) -> str:
    """Return what a rule asks for, in words for a finding's ``expected``."""
    match rule:
        case AnyOf(values=values):
            return " or ".join(value.hex() for value in values) or "a value (none is given)"
        case Masked(mask=mask, value=value):
            return f"{value.hex()} under mask {mask.hex()}"
        case Zero():
            return "zero"
        case Bound(by=by):
            return f"judged by {by}"
        case Set():
            return "the value of a pin set"
        case Release():
            return "the value of the release"
        case _:
            return "not judged"


@value
class PinSet:
    """One accepted combination: every field must match one of its values."""

    name: str
    because: str
    values: Mapping[str, tuple[bytes, ...]]

    def differences(self, values: Mapping[str, bytes]) -> tuple[str, ...]:
        """Name each field of this set that ``values`` lacks or gives another value."""
        return tuple(
            name for name, accepted in self.values.items() if values.get(name) not in accepted
        )


# --- members every policy has ----------------------------------------------------------------


class Level(Enum):
    """How well the time of capture is proven; later members include the earlier."""

    CLAIMED = "claimed"
    UPPER = "upper"
    BRACKETED = "bracketed"

    @property
    def rank(self) -> int:
        """Position in the order claimed < upper < bracketed."""
        return list(Level).index(self)


@value
class Signers:
    """Whose bundle signature counts. ``accept``: ``name:…`` or key ids of trust entries."""

    accept: tuple[str, ...]
    threshold: int
    distinct_operators: bool


@value
class AttachmentRules:
    """Whose attachments count, which kinds must be there."""

    accept: tuple[str, ...]
    require: tuple[str, ...]
    require_custody_chain: bool


@value
class TimeRules:
    """Durations are seconds, ``clock_error_ms`` milliseconds."""

    require: Level
    accept_tsa: tuple[str, ...]
    accept_logs: tuple[str, ...]
    witness_quorum: int
    max_sealing_delay_s: int
    max_beacon_age_s: int
    max_capture_s: int
    clock_error_ms: int


@value
class SessionRules:
    """How the capture must have been made."""

    allow_import: bool
    allow_foreign_nonce: bool
    min_nonce_bytes: int
    attest_around: bool
    allow_attest_after_chat: bool


@value
class TrustRules:
    """``accept_added``: vendor purposes for which user-added anchors count."""

    accept_added: tuple[str, ...]
    max_snapshot_age_days: int | None


@value
class Tolerated:
    """A role whose bytes may be absent, and why."""

    role: str
    because: str


@value
class RedactionRules:
    """Which absences are acceptable."""

    require_signed: bool
    tolerate: tuple[Tolerated, ...]

    def tolerates(self, role: str) -> bool:
        """Whether bytes of this role may be absent."""
        return any(entry.role == role for entry in self.tolerate)


@value
class Counts:
    """How many items; None: any number."""

    cpu_min: int
    gpu_min: int
    gpu_exact: int | None
    switch_exact: int | None


@value
class SubjectRule:
    """Mode of a subject (`verify.engine.check.Mode`); ``because`` is empty where required."""

    mode: str
    because: str = ""


@value
class Waiver:
    """Silence of one check forgiven, by name and with a reason. Never forgives a contradiction."""

    check: str
    because: str


# --- knobs of the subjects -------------------------------------------------------------------


@value
class AllowedFinding:
    """An attribute finding (``tdx.policy.td_…``) this policy lets stand, and why."""

    finding: str
    because: str


@value
class TdxRules:
    """TDX and SGX quotes: accepted structures, patch levels, attributes, registers (tdx.md 9).

    ``fields`` has every field of every accepted report type once; ``min_…number`` 0 accepts all.
    """

    accept_report_types: tuple[str, ...]
    accepted_tcb_status: tuple[str, ...]
    platform_grace_days: int
    rejected_advisory_ids: tuple[str, ...]
    min_tcb_evaluation_data_number: int
    allow_dynamic_platform: bool
    allow_cached_keys: bool
    allow_smt: bool
    allow_findings: tuple[AllowedFinding, ...]
    fields: Mapping[str, FieldRule]
    sets: tuple[PinSet, ...]

    def allows(self, finding: str) -> bool:
        """Whether this attribute finding is let stand."""
        return any(entry.finding == finding for entry in self.allow_findings)


FlagRule = Literal["required", "forbidden", "any"]


@value
class SnpRules:
    """SEV-SNP reports (sev-snp.md 11). None stands for the word ``any``.

    ``minimum_tcb``: product (``milan``, ``genoa``, ``turin``) to component levels; a product that
    is not listed has no floor, which is a gap. ``required_mitigations``: product to a bit mask.
    """

    accept_products: tuple[str, ...]
    accept_report_versions: tuple[int, ...]
    accept_signing_keys: tuple[str, ...]
    accept_csp_ids: tuple[str, ...] | None
    allow_debug: bool
    allow_migration: bool
    allow_masked_chip_id: bool
    accept_vmpl: tuple[int, ...]
    guest_flags: Mapping[str, FlagRule]
    minimum_guest_abi: tuple[int, int] | None
    minimum_tcb: Mapping[str, Mapping[str, int]]
    apply_minimum_to: tuple[str, ...]
    minimum_firmware: tuple[int, int, int] | None
    require_committed_equals_current: bool
    required_mitigations: Mapping[str, int]
    platform_flags: Mapping[str, FlagRule]
    accept_leaf_minted_within_s: int
    minimum_guest_svn: int
    fields: Mapping[str, FieldRule]
    sets: tuple[PinSet, ...]


@value
class NitroRules:
    """Nitro documents (sev-snp.md 17)."""

    max_document_distance_s: int
    fields: Mapping[str, FieldRule]
    sets: tuple[PinSet, ...]


@value
class VtpmRules:
    """Paravisor and TPM evidence (sev-snp.md 16)."""

    fields: Mapping[str, FieldRule]
    sets: tuple[PinSet, ...]


@value
class EventLogRules:
    """``compose_hashes``: accepted SHA-256 of the compose text; none: no reference was given."""

    compose_hashes: tuple[bytes, ...]
    require_events: tuple[str, ...]


@value
class ComposeManagerRules:
    """Nothing to choose: what there is to judge (providers.md 3.6) is judged (section ``{}``)."""


@value
class IndexedValues:
    """Accepted values per measurement index, for sites without reference manifests."""

    values: Mapping[int, tuple[bytes, ...]]


@value
class GpuRules:
    """Policy over signed fields of GPU reports (nvidia.md 13)."""

    families: tuple[str, ...]
    driver: AnyText | Ignore
    vbios: AnyText | Ignore
    mode: tuple[str, ...]
    measurements: IndexedValues | Ignore
    allow_certificate_hold: bool


@value
class NrasRules:
    """Recorded answers of the vendor's service (nvidia.md 10)."""

    claims_versions: tuple[str, ...]
    max_capture_distance_s: int


@value
class ProvenanceRules:
    """Whose signed release counts (sev-snp.md 15). An empty list accepts nothing.

    ``repositories``: ``owner/name``. ``workflows``: file names below ``.github/workflows``.
    ``tags``: names of accepted tags. None stands for the word ``any``.
    """

    repositories: tuple[str, ...]
    workflows: tuple[str, ...] | None
    tags: tuple[str, ...] | None
    predicate_types: tuple[str, ...]


@value
class ImageRules:
    """``digests``: accepted SHA-256 of the image; none: no reference was given."""

    digests: tuple[bytes, ...]


@value
class SignatureRules:
    """Which response signatures count; forms of providers.md 2.7 tried in this order."""

    algorithms: tuple[str, ...]
    roles: tuple[str, ...]
    request_forms: tuple[str, ...]
    response_forms: tuple[str, ...]


@value
class ReceiptRules:
    """Signed receipts (providers.md 8)."""

    allow_upstream_unverified: bool


@value
class LegacySlice:
    """A published slice comparison: bytes ``start`` to ``stop`` of artifacts of ``role``."""

    label: str
    role: str
    start: int
    stop: int
    allowed: tuple[bytes, ...]
    covers: str


@value
class LegacyRules:
    """Shown so that users can see what the slices cover; never counts (verification.md 5.4)."""

    slices: tuple[LegacySlice, ...]


# --- the whole -------------------------------------------------------------------------------


@value
class Policy:
    """A complete policy. A section is None exactly where its subject is excluded.

    ``sha256``: lower-case hex digest of the file's bytes, the identity printed everywhere.
    """

    sha256: str
    name: str
    version: str
    profile: str
    description: str
    shapes: tuple[str, ...]
    signers: Signers
    attachments: AttachmentRules
    time: TimeRules
    session: SessionRules
    trust: TrustRules
    redaction: RedactionRules
    counts: Counts
    subjects: Mapping[str, SubjectRule]
    tdx: TdxRules | None
    snp: SnpRules | None
    nitro: NitroRules | None
    vtpm: VtpmRules | None
    event_log: EventLogRules | None
    compose_manager: ComposeManagerRules | None
    gpu: GpuRules | None
    nras: NrasRules | None
    provenance: ProvenanceRules | None
    image: ImageRules | None
    signature: SignatureRules | None
    receipt: ReceiptRules | None
    legacy: LegacyRules | None
    bindings: tuple[str, ...]
    waive: tuple[Waiver, ...]
    enforce_reappraisal: bool
    _waived: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_waived", {w.check: w.because for w in self.waive})

    def mode(self, subject: str) -> str:
        """Return the mode of a subject; those that no policy may name are always required."""
        rule = self.subjects.get(subject)
        return Mode.REQUIRED if rule is None else rule.mode

    def judges(self, subject: str) -> bool:
        """Whether the subject is not excluded."""
        return self.mode(subject) != Mode.EXCLUDED

    def waives(self, check_id: str) -> bool:
        """Whether this check is waived by name."""
        return check_id in self._waived

    def ruling(self, check_id: str, subject: str) -> Ruling:
        """Return what this policy says about one check before the bundle is read."""
        rule = self.subjects.get(subject, SubjectRule(mode=Mode.REQUIRED))
        return Ruling(
            mode=rule.mode,
            because=rule.because,
            waived=self._waived.get(check_id),
            informational=subject == "legacy",
        )

    def rulings(self, rows: Iterable[tuple[str, str]]) -> Mapping[str, Ruling]:
        """Return a ruling for each (check id, subject) pair of the catalogue."""
        return {check_id: self.ruling(check_id, subject) for check_id, subject in rows}
