"""Report: one outcome for every check of the catalogue, and what follows from them.

A report cannot be built with a check missing or added; its verdict and its exit code are computed,
never given. `ErrorReport` stands where no verification took place.

Source: verification.md 2.3, 7, 8. The engine knows no TEE: what a bundle, policy or trust store is
called arrives here as small summaries of plain values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum, IntEnum
from typing import Final, Literal, Protocol

from verify.engine.check import Mode, Ruling
from verify.engine.errors import InternalFault, MalformedInput, TeebundleError, UsageError
from verify.engine.outcome import Finding, Note, Outcome, Status, shown
from verify.engine.reason import Reason
from verify.engine.value import field, value
from verify.version import VERSION

SCHEMA: Final = "urn:teebundle:schema:report:v1"
TOOL: Final = "teebundle-verify"
FREE_TEXT: Final = 1024

LIMITS: Final = frozenset(
    {
        Reason.ACI_REQUEST_REWRITTEN,
        Reason.ACI_UPSTREAM_UNVERIFIED_ACCEPTED,
        Reason.BINDING_GPU_LINKED_BY_NONCE_ONLY,
        Reason.COMPOSE_CONFIG_ID_UNSET,
        Reason.COMPOSE_IMAGES_NOT_PINNED,
        Reason.COMPOSE_MANAGER_ACTIONS_NOT_REPRODUCIBLE,
        Reason.CONTENT_HASH_CHOSEN_BY_CALLER,
        Reason.CONTENT_RESPONSE_RESERIALISED,
        Reason.ENVELOPE_RENEWALS_NOT_EVALUATED,
        Reason.FRESHNESS_ECHO_ONLY,
        Reason.FRESHNESS_NONCE_ZERO_PADDED,
        Reason.GPU_FAMILY_UNTESTED,
        Reason.GPU_MEASUREMENT_SKIPPED_NVDEC,
        Reason.GPU_NONCE_CONSTANT,
        Reason.GPU_REVOCATION_LEAF_NOT_COVERED,
        Reason.IDENTITY_ATTESTED_LATER,
        Reason.IDENTITY_ATTESTED_ONCE,
        Reason.IDENTITY_ROUTER_ONLY,
        Reason.IDENTITY_SEVERAL_CODES,
        Reason.NONCE_FOREIGN_ACCEPTED,
        Reason.NRAS_ANSWER_LATER_THAN_CAPTURE,
        Reason.SESSION_CAPTURE_INCOMPLETE,
        Reason.SESSION_E2EE_NOT_JUDGED,
        Reason.SESSION_IMPORTED,
        Reason.SIGNATURE_MODEL_NOT_SIGNED,
        Reason.SIGNATURE_SIGNER_IS_GATEWAY,
        Reason.TIME_CLAIMED_ONLY,
        Reason.TRUST_ADDED_VENDOR_ANCHOR,
        Reason.TRUST_SNAPSHOT_OLD,
    }
)
"""Notes that say what even a pass here does not show; all other notes are plain notes."""


class Verdict(Enum):
    """What a whole verification says."""

    VERIFIED = "VERIFIED"
    REJECTED = "REJECTED"
    INCOMPLETE = "INCOMPLETE"


class ExitCode(IntEnum):
    """Exit codes of every command that verifies (verification.md 8)."""

    VERIFIED = 0
    REJECTED = 1
    USAGE = 2
    INCOMPLETE = 3
    MALFORMED = 4
    ONLINE_UNAVAILABLE = 5
    INTERNAL = 70


PRECEDENCE: Final = (
    ExitCode.REJECTED,
    ExitCode.INTERNAL,
    ExitCode.MALFORMED,
    ExitCode.ONLINE_UNAVAILABLE,
    ExitCode.INCOMPLETE,
)
"""Which code wins where several apply; VERIFIED only where none does."""

ErrorKind = Literal[
    "usage",
    "malformed-bundle",
    "malformed-policy",
    "malformed-trust",
    "online-unavailable",
    "internal",
]
_KIND_OF: Final[Mapping[str, ErrorKind]] = {
    "bundle": "malformed-bundle",
    "policy": "malformed-policy",
    "trust": "malformed-trust",
}
_CODE_OF: Final[Mapping[ErrorKind, ExitCode]] = {
    "usage": ExitCode.USAGE,
    "malformed-bundle": ExitCode.MALFORMED,
    "malformed-policy": ExitCode.MALFORMED,
    "malformed-trust": ExitCode.MALFORMED,
    "online-unavailable": ExitCode.ONLINE_UNAVAILABLE,
    "internal": ExitCode.INTERNAL,
}


@value
class ErrorSummary:
    """Why a verification, or an online step of it, did not take place.

    ``code``: one of the ``input.*`` codes where an input is malformed. ``file``: its base name (a
    full path would make reports differ between machines).
    """

    kind: ErrorKind
    what: str
    code: str | None = None
    file: str | None = None
    pointer: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", shown(self.what, FREE_TEXT))
        if self.file is not None:
            object.__setattr__(self, "file", shown(self.file.rpartition("/")[2], 255))
        if self.pointer is not None:
            object.__setattr__(self, "pointer", shown(self.pointer, FREE_TEXT))

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that this error alone gives."""
        return _CODE_OF[self.kind]

    @classmethod
    def of(cls, error: BaseException) -> ErrorSummary:
        """Summarise an exception of the documented tree; anything else is ``internal``."""
        match error:
            case MalformedInput():
                return cls(
                    kind=_KIND_OF[error.kind],
                    code=error.code,
                    file=error.file,
                    pointer=error.pointer or None,
                    what=error.what,
                )
            case UsageError():
                return cls(kind="usage", what=str(error))
            case InternalFault() | TeebundleError():
                return cls(kind="internal", what=str(error))
            case _:
                return cls(kind="internal", what=f"{type(error).__name__}: {error}")


@value
class SignerSummary:
    """One signature of the envelope. ``name``, ``operator``: of the trust entry, if known."""

    keyid: str
    name: str | None
    operator: str | None
    state: Literal["accepted", "known-not-accepted", "unknown", "bad-signature"]


@value
class InputSummary:
    """What was read. Digests are lower-case hex; members from the Statement are None without one.

    No path stands here: reports compare across machines.
    """

    file_sha256: str
    size: int
    bundle_id: str | None = None
    payload_sha256: str | None = None
    profile_claimed: str | None = None
    mode: Literal["live", "import"] | None = None
    complete: bool | None = None
    signers: tuple[SignerSummary, ...] = ()


@value
class PolicySummary:
    """Identity of the policy: SHA-256 of the file bytes, lower-case hex."""

    name: str
    version: str
    sha256: str
    profile: str


@value
class AddedAnchor:
    """A vendor-purpose anchor that the user added and the policy accepts."""

    purpose: str
    name: str
    sha256: str


@value
class TrustSummary:
    """Identity of the trust store. ``builtin``: ``sha256:`` and hex over the built-in anchors.

    ``files``: SHA-256 of each trust file's bytes, in the order given.
    """

    builtin: str
    files: tuple[str, ...] = ()
    added_vendor_anchors: tuple[AddedAnchor, ...] = ()
    oldest_snapshot_days: int | None = None


@value
class Bound:
    """An instant proven by somebody other than the capturer. ``by``: ``name:<trust entry>``."""

    instant: datetime
    by: str


@value
class Window:
    """The overlap of everything that has a validity: [latest start, earliest end]."""

    start: datetime | None
    end: datetime | None


@value
class AsOfSummary:
    """The instant judged and what is known of the time of capture.

    ``instant`` and ``level`` are None where the check that establishes them did not pass.
    """

    source: Literal["capture", "explicit", "now"]
    instant: datetime | None = None
    level: Literal["claimed", "upper", "bracketed"] | None = None
    claimed_start: datetime | None = None
    claimed_end: datetime | None = None
    not_before: Bound | None = None
    not_after: Bound | None = None
    evidence_window: Window | None = None


@value
class AbsentArtifact:
    """An artifact without bytes. ``reason``, ``attachment``: of the redaction entry, if any."""

    artifact: str
    role: str
    state: Literal["external-unavailable", "withheld", "missing"]
    reason: str | None = None
    attachment: str | None = None


@value
class AttachmentSummary:
    """One attachment: who says what about the bundle, and whether that was believed."""

    id: str
    kind: str
    by: str | None
    at: datetime | None
    signer: str | None
    status: Literal["accepted", "ignored", "bad"]


@value
class AllowedFinding:
    """A finding that the policy accepts by name; shown with the waivers."""

    check: str
    subject: str
    finding: str
    because: str


@value
class Waived:
    """One row of what the policy took out of the verdict. ``underlying``: the code it had."""

    check: str
    subject: str
    kind: Literal["waive", "excluded", "if_present", "informational", "finding"]
    because: str
    underlying: str | None


@value
class CheckRow:
    """One check as the report shows it."""

    id: str
    subject: str
    status: Status
    reason: Reason | None
    detail: str
    findings: tuple[Finding, ...]
    matched: tuple[str, ...]


@value
class Sentence:
    """One statement in words, and the checks it rests on."""

    text: str
    checks: tuple[str, ...]


@value
class Meaning:
    """What the passed checks prove, what is only claimed, what nothing here covers."""

    proven: tuple[Sentence, ...] = ()
    claimed: tuple[Sentence, ...] = ()
    uncovered: tuple[Sentence, ...] = ()


@value
class ToolSummary:
    """Which program and which list of checks. ``catalogue_sha256``: ids, needs and specs."""

    catalogue: str
    catalogue_sha256: str
    name: str = TOOL
    version: str = VERSION


class ListedCheck(Protocol):
    """What a report reads of a check."""

    @property
    def id(self) -> str:
        """Check id."""
        ...

    @property
    def subject(self) -> str:
        """Subject the check belongs to."""
        ...

    @property
    def spec(self) -> str:
        """Document and section."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Checks that must be PASS."""
        ...

    @property
    def soft_needs(self) -> tuple[str, ...]:
        """Checks that must be PASS or NOT_APPLICABLE."""
        ...


class CheckList(Protocol):
    """What a report reads of a catalogue, whatever its checks take as inputs."""

    def __iter__(self) -> Iterator[ListedCheck]: ...

    def ids(self) -> tuple[str, ...]:
        """Check ids in order."""
        ...


def catalogue_digest(catalogue: CheckList) -> str:
    """SHA-256 (hex) over one line a check: id, needs, soft needs, spec, tab-separated, in order."""
    lines = (
        "\t".join((c.id, ",".join(c.needs), ",".join(c.soft_needs), c.spec)) + "\n"
        for c in catalogue
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def tool_summary(catalogue: CheckList, catalogue_id: str) -> ToolSummary:
    """Describe this program with the catalogue it runs."""
    return ToolSummary(catalogue=catalogue_id, catalogue_sha256=catalogue_digest(catalogue))


_WAIVED_KIND: Final[
    Mapping[Reason, Literal["waive", "excluded", "if_present", "informational"]]
] = {
    Reason.POLICY_WAIVED: "waive",
    Reason.POLICY_SUBJECT_EXCLUDED: "excluded",
    Reason.POLICY_ABSENCE_PERMITTED: "if_present",
    Reason.POLICY_INFORMATIONAL: "informational",
}


@value
class Report:
    """A verification that took place.

    ``outcomes`` and ``rulings`` hold one entry for exactly each id of ``catalogue``; anything else
    raises ValueError. ``notes``: of the caller, beside those of the outcomes. ``error``: only of
    kind ``online-unavailable`` or ``internal`` (a requested step besides the verification failed).
    """

    catalogue: CheckList
    catalogue_id: str
    outcomes: Mapping[str, Outcome[object]]
    rulings: Mapping[str, Ruling]
    input: InputSummary
    policy: PolicySummary
    trust: TrustSummary
    as_of: AsOfSummary
    absent: tuple[AbsentArtifact, ...] = ()
    attachments: tuple[AttachmentSummary, ...] = ()
    allowed: tuple[AllowedFinding, ...] = ()
    extra_notes: tuple[Note, ...] = ()
    meaning: Meaning = Meaning()
    error: ErrorSummary | None = None
    verdict: Verdict = field(init=False)

    def __post_init__(self) -> None:
        ids = set(self.catalogue.ids())
        for name, given in (("outcomes", self.outcomes), ("rulings", self.rulings)):
            if ids != set(given):
                differing = ", ".join(sorted(ids.symmetric_difference(given)))
                message = f"{name} do not cover the catalogue exactly: {differing}"
                raise ValueError(message)
        if self.error is not None and self.error.kind not in {"online-unavailable", "internal"}:
            message = f"a verification that took place cannot carry a {self.error.kind} error"
            raise ValueError(message)
        object.__setattr__(self, "verdict", self._verdict())

    def _verdict(self) -> Verdict:
        statuses = {outcome.status for outcome in self.outcomes.values()}
        if Status.FAIL in statuses:
            return Verdict.REJECTED
        if statuses - {Status.PASS, Status.NOT_APPLICABLE}:
            return Verdict.INCOMPLETE
        required_pass = any(
            self.outcomes[check_id].status is Status.PASS
            and self.rulings[check_id].mode == Mode.REQUIRED
            for check_id in self.catalogue.ids()
        )
        return Verdict.VERIFIED if required_pass else Verdict.INCOMPLETE

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of verification.md 8, by precedence."""
        codes = {
            Verdict.VERIFIED: ExitCode.VERIFIED,
            Verdict.REJECTED: ExitCode.REJECTED,
            Verdict.INCOMPLETE: ExitCode.INCOMPLETE,
        }
        found = {codes[self.verdict]}
        if any(outcome.status is Status.ERROR for outcome in self.outcomes.values()):
            found.add(ExitCode.INTERNAL)
        if self.error is not None:
            found.add(self.error.exit_code)
        return worst(found)

    @property
    def tool(self) -> ToolSummary:
        """Which program and which catalogue."""
        return tool_summary(self.catalogue, self.catalogue_id)

    @property
    def checks(self) -> tuple[CheckRow, ...]:
        """Every check in catalogue order."""
        rows = []
        for check in self.catalogue:
            outcome = self.outcomes[check.id]
            rows.append(
                CheckRow(
                    id=check.id,
                    subject=check.subject,
                    status=outcome.status,
                    reason=outcome.reason,
                    detail=outcome.detail,
                    findings=outcome.findings,
                    matched=tuple(shown(item, 255) for item in outcome.matched),
                )
            )
        return tuple(rows)

    @property
    def summary(self) -> Mapping[str, int]:
        """How many checks ended in each status; every status is a key."""
        counts = {status.value: 0 for status in Status}
        for outcome in self.outcomes.values():
            counts[outcome.status.value] += 1
        return counts

    @property
    def waived(self) -> tuple[Waived, ...]:
        """Every NOT_APPLICABLE check, in catalogue order, then the allowed findings."""
        rows = []
        for check in self.catalogue:
            outcome = self.outcomes[check.id]
            if outcome.status is not Status.NOT_APPLICABLE or outcome.reason is None:
                continue
            kind = _WAIVED_KIND[outcome.reason]
            ruling = self.rulings[check.id]
            because = (ruling.waived or "") if kind == "waive" else ruling.because
            rows.append(
                Waived(
                    check=check.id,
                    subject=check.subject,
                    kind=kind,
                    because=shown(because, FREE_TEXT),
                    underlying=None if outcome.underlying is None else outcome.underlying.code,
                )
            )
        rows.extend(
            Waived(
                check=item.check,
                subject=item.subject,
                kind="finding",
                because=shown(item.because, FREE_TEXT),
                underlying=item.finding,
            )
            for item in self.allowed
        )
        return tuple(rows)

    def _all_notes(self) -> tuple[Note, ...]:
        seen: dict[tuple[str, str, str], Note] = {}
        from_checks = (n for c in self.catalogue for n in self.outcomes[c.id].notes)
        for note in (*from_checks, *self.extra_notes):
            seen.setdefault((note.reason.code, note.text, str(note.pointer)), note)
        return tuple(seen.values())

    @property
    def limits(self) -> tuple[Note, ...]:
        """Notes that say what even a pass does not show; one for each code and text."""
        seen: dict[tuple[str, str], Note] = {}
        for note in self._all_notes():
            if note.reason in LIMITS:
                seen.setdefault((note.reason.code, note.text), note)
        return tuple(seen.values())

    @property
    def notes(self) -> tuple[Note, ...]:
        """All other notes, without repetition, in catalogue order."""
        return tuple(note for note in self._all_notes() if note.reason not in LIMITS)


@value
class ErrorReport:
    """What stands in a report's place when no verification took place: ``verdict`` is null.

    ``policy``: where it could be read before the error.
    """

    tool: ToolSummary
    error: ErrorSummary
    policy: PolicySummary | None = None

    @property
    def exit_code(self) -> ExitCode:
        """The exit code that the error gives."""
        return self.error.exit_code


def worst(codes: set[ExitCode]) -> ExitCode:
    """Return the code of highest precedence; USAGE stands alone and outranks nothing else."""
    for code in PRECEDENCE:
        if code in codes:
            return code
    return ExitCode.USAGE if ExitCode.USAGE in codes else ExitCode.VERIFIED


def timestamp(instant: datetime) -> str:
    """Return ``YYYY-MM-DDTHH:MM:SS.sssZ`` (bundle-format.md 3), milliseconds cut."""
    moment = instant.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
