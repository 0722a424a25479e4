"""The public entrance: bundle bytes, policy, trust store and instant to a report.

`verify_bundle` is a pure function of its arguments: no socket, no clock, no environment, no
randomness, no write. Equal arguments give equal reports on any machine.

Source: verification.md 1, 7, 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Literal

from verify.checks.catalogue import CATALOGUE, CATALOGUE_ID
from verify.checks.container import Attachments, absences, judged_signers
from verify.checks.inputs import BlobSource, Inputs
from verify.checks.opening import open_evidence
from verify.checks.subjects import present
from verify.checks.times import Bracket
from verify.checks.windows import evidence_window
from verify.checks.words import meaning
from verify.engine.asof import AsOf, AsOfInstant
from verify.engine.outcome import Note, Outcome, Status
from verify.engine.reason import Reason
from verify.engine.report import (
    AbsentArtifact,
    AddedAnchor,
    AllowedFinding,
    AsOfSummary,
    AttachmentSummary,
    InputSummary,
    PolicySummary,
    Report,
    SignerSummary,
    TrustSummary,
)
from verify.engine.run import run
from verify.engine.value import value
from verify.policy.model import Policy
from verify.trust.store import TrustStore
from verify.wire.container import UnverifiedBundle, read_bundle
from verify.wire.limits import DEFAULT, Limits
from verify.wire.model import ArtifactState, Evidence, Statement
from verify.wire.statement import VerifiedStatement

Outcomes = Mapping[str, Outcome[object]]
_STATES: Final[Mapping[ArtifactState, Literal["external-unavailable", "withheld", "missing"]]] = {
    ArtifactState.EXTERNAL_UNAVAILABLE: "external-unavailable",
    ArtifactState.WITHHELD: "withheld",
    ArtifactState.MISSING: "missing",
}


@value
class Opened:
    """A bundle opened to be looked at: nothing in it is verified.

    ``signatures``: key ids of the envelope. ``attachments``: how many there are.
    """

    bundle_id: str
    signatures: tuple[str, ...]
    attachments: int
    evidence: Evidence


def open_unverified(data: bytes, *, bounds: Limits = DEFAULT) -> Opened:
    """Open a bundle for showing. No signature is checked and nothing returned is a fact.

    Raises MalformedInput (kind ``bundle``).
    """
    bundle = read_bundle(data, bounds=bounds)
    return Opened(
        bundle_id=bundle.id,
        signatures=tuple(s.keyid for s in bundle.statement.envelope.signatures),
        attachments=len(bundle.attachments),
        evidence=open_evidence(bundle),
    )


def verify_bundle(
    data: bytes,
    *,
    policy: Policy,
    trust: TrustStore,
    as_of: AsOf,
    blobs: BlobSource | None = None,
    bounds: Limits = DEFAULT,
) -> Report:
    """Replay every check of the catalogue on a packed bundle and report.

    ``data``: the file's bytes. ``as_of``: the instant to judge at, an argument like all others.
    ``blobs``: gives external blobs by digest, or None: their bytes, or a file opened for reading,
    which is read once, in pieces, and closed. ``bounds``: reader limits.
    Raises MalformedInput (kind ``bundle``) for a file that cannot be used at all.
    """
    bundle = read_bundle(data, bounds=bounds)
    inputs = Inputs(bundle=bundle, policy=policy, trust=trust, as_of=as_of, blobs=blobs)
    rulings = policy.rulings((check.id, check.subject) for check in CATALOGUE)
    outcomes = run(CATALOGUE, inputs, rulings, present)
    verified = outcomes["statement.form"].fact
    statement = verified.statement if isinstance(verified, VerifiedStatement) else None
    instant = outcomes["time.as_of"].fact
    return Report(
        catalogue=CATALOGUE,
        catalogue_id=CATALOGUE_ID,
        outcomes=outcomes,
        rulings=rulings,
        input=_input_summary(bundle, inputs, statement),
        policy=PolicySummary(
            name=policy.name, version=policy.version, sha256=policy.sha256, profile=policy.profile
        ),
        trust=_trust_summary(inputs, instant if isinstance(instant, AsOfInstant) else None),
        as_of=_as_of_summary(as_of, outcomes),
        absent=_absent(inputs, outcomes),
        attachments=_attachments(bundle, outcomes),
        allowed=_allowed(policy, outcomes),
        extra_notes=_notes(inputs, statement),
        meaning=meaning(outcomes),
    )


def _input_summary(
    bundle: UnverifiedBundle, inputs: Inputs, statement: Statement | None
) -> InputSummary:
    return InputSummary(
        file_sha256=bundle.sha256,
        size=bundle.size,
        bundle_id=bundle.id,
        payload_sha256=sha256(bundle.statement.envelope.payload).hexdigest(),
        profile_claimed=None if statement is None else statement.profile,
        mode=None if statement is None else statement.capture.mode,
        complete=None if statement is None else statement.capture.complete,
        signers=tuple(
            SignerSummary(
                keyid=found.keyid,
                name=found.name,
                operator=found.operator,
                state=found.state.value,
            )
            for found in judged_signers(inputs)
        ),
    )


def _trust_summary(inputs: Inputs, instant: AsOfInstant | None) -> TrustSummary:
    trust = inputs.trust
    counted = inputs.policy.trust.accept_added
    return TrustSummary(
        builtin=f"sha256:{trust.builtin_sha256}",
        files=tuple(file.sha256 for file in trust.files),
        added_vendor_anchors=tuple(
            AddedAnchor(purpose=a.purpose.value, name=a.name, sha256=a.sha256)
            for a in trust.added_vendor_anchors
            if a.purpose.value in counted
        ),
        oldest_snapshot_days=(
            None if instant is None else trust.oldest_snapshot_days(instant.instant)
        ),
    )


def _as_of_summary(as_of: AsOf, outcomes: Outcomes) -> AsOfSummary:
    instant = outcomes["time.as_of"].fact
    bracket = outcomes["time.bracket"].fact
    known = instant if isinstance(instant, AsOfInstant) else None
    shown = bracket if isinstance(bracket, Bracket) else None
    return AsOfSummary(
        source=as_of.source.value,
        instant=None if known is None else known.instant,
        level=None if shown is None else shown.level.value,
        claimed_start=None if known is None else known.claimed_start,
        claimed_end=None if known is None else known.claimed_end,
        not_before=None if shown is None else shown.not_before,
        not_after=None if shown is None else shown.not_after,
        evidence_window=evidence_window(outcomes),
    )


def _absent(inputs: Inputs, outcomes: Outcomes) -> tuple[AbsentArtifact, ...]:
    evidence = outcomes["blobs.derived"].fact
    attachments = outcomes["attachments.form"].fact
    if not isinstance(evidence, Evidence):
        return ()
    known = attachments if isinstance(attachments, Attachments) else None
    return tuple(
        AbsentArtifact(
            artifact=absence.artifact.id,
            role=absence.artifact.role,
            state=_STATES[absence.state],
            reason=absence.reason,
            attachment=absence.attachment,
        )
        for absence in absences(inputs, evidence, known)
    )


def _attachments(bundle: UnverifiedBundle, outcomes: Outcomes) -> tuple[AttachmentSummary, ...]:
    """List every attachment: accepted, ignored for its unknown signer, or bad."""
    found = outcomes["attachments.form"].fact
    accepted = {a.index: a for a in found.accepted} if isinstance(found, Attachments) else {}
    ignored = {a.index for a in found.ignored} if isinstance(found, Attachments) else set()
    rows = []
    for index, record in enumerate(bundle.attachments):
        known = accepted.get(index)
        rows.append(
            AttachmentSummary(
                id=record.envelope.id,
                kind="unknown" if known is None else known.kind,
                by=None if known is None else known.by,
                at=None if known is None else known.at,
                signer=None if known is None else known.signer,
                status=(
                    "accepted" if known is not None else "ignored" if index in ignored else "bad"
                ),
            )
        )
    return tuple(rows)


def _allowed(policy: Policy, outcomes: Outcomes) -> tuple[AllowedFinding, ...]:
    """List the findings the policy accepts by name, where the check that finds them ran."""
    rules = policy.tdx
    if rules is None or outcomes["tdx.attributes"].status is not Status.PASS:
        return ()
    matched = outcomes["tdx.attributes"].matched
    return tuple(
        AllowedFinding(
            check="tdx.attributes", subject="tdx", finding=entry.finding, because=entry.because
        )
        for entry in rules.allow_findings
        if any(item.endswith(f": {entry.finding} allowed") for item in matched)
    )


def _notes(inputs: Inputs, statement: Statement | None) -> tuple[Note, ...]:
    """Give the notes that belong to the whole verification and to no single check."""
    notes = []
    counted = inputs.policy.trust.accept_added
    added = [a for a in inputs.trust.added_vendor_anchors if a.purpose.value in counted]
    if added:
        names = ", ".join(f"{a.name} ({a.purpose.value})" for a in added)
        notes.append(
            Note(
                reason=Reason.TRUST_ADDED_VENDOR_ANCHOR,
                text=f"vendor anchors were added by the user: {names}",
            )
        )
    if statement is not None and statement.capture.mode == "import":
        notes.append(
            Note(
                reason=Reason.SESSION_IMPORTED,
                text="assembled from an earlier recording that the signer did not make",
            )
        )
    return tuple(notes)
