"""Container: signatures, Statement, blobs, derivations, attachments, custody, absences (rows 1-8).

These checks establish what everything below rests on: which bytes were sealed, by whom. They alone
read the unverified bundle.

Source: verification.md 3 (rows 1 to 8), 3.2, 3.4, 10; bundle-format.md 5, 9.5, 10, 11.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from verify.checks.inputs import Inputs
from verify.checks.signers import JudgedSigner, SignerRules, SignerState, fault_of
from verify.engine.check import Facts
from verify.engine.errors import FormatError, Refused
from verify.engine.outcome import Affirmed, Outcome, Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.trust.anchor import Purpose
from verify.wire.attachments import (
    Custody,
    ReadAttachment,
    Removed,
    named_digests,
    read_attachment,
)
from verify.wire.container import External
from verify.wire.derive import Body
from verify.wire.limits import SALT
from verify.wire.model import (
    Artifact,
    ArtifactState,
    BundleId,
    Digest,
    Evidence,
    FromArtifact,
    Statement,
)
from verify.wire.statement import (
    Contradictory,
    Graph,
    VerifiedPayload,
    VerifiedStatement,
    critical_faults,
    establish_payload,
    establish_statement,
    subject_faults,
    time_faults,
)

_STATEMENT: Final = "statement"
_BUNDLE: Final = "bundle"
_ABSENT: Final = {
    ArtifactState.WITHHELD: Reason.ARTIFACT_WITHHELD,
    ArtifactState.MISSING: Reason.ARTIFACT_MISSING,
    ArtifactState.EXTERNAL_UNAVAILABLE: Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
}


# --- 1 envelope.signature --------------------------------------------------------------------


ENVELOPE_SIGNATURE_REASONS: Final = frozenset(
    {
        Reason.ENVELOPE_SIGNATURE_INVALID,
        Reason.ENVELOPE_SIGNER_NOT_ACCEPTED,
        Reason.ENVELOPE_CHAIN_INVALID,
        Reason.ENVELOPE_SIGNER_UNKNOWN,
        Reason.ENVELOPE_THRESHOLD_NOT_MET,
        Reason.ENVELOPE_UNKNOWN_SIGNATURE_IGNORED,
        Reason.ENVELOPE_RENEWALS_NOT_EVALUATED,
    }
)


def judged_signers(inputs: Inputs) -> tuple[JudgedSigner, ...]:
    """Judge every signature over the bundle's Statement: who, and how each stands."""
    rules = SignerRules(
        trust=inputs.trust,
        purpose=Purpose.CAPTURE_SIGNER,
        references=inputs.policy.signers.accept,
    )
    return rules.judge(inputs.bundle.statement)


def _counted(inputs: Inputs, accepted: Sequence[JudgedSigner]) -> int:
    """How many signers count towards the threshold; key ids are distinct by the file's own form."""
    if inputs.policy.signers.distinct_operators:
        return len({signer.operator for signer in accepted})
    return len(accepted)


def envelope_signature(inputs: Inputs, _facts: Facts) -> Outcome[VerifiedPayload]:
    """Do enough accepted keys sign exactly these payload bytes? (bundle-format.md 9.5, 4 and 5)."""
    tally = Tally()
    judged = judged_signers(inputs)
    accepted = [signer for signer in judged if signer.state is SignerState.ACCEPTED]
    threshold = inputs.policy.signers.threshold
    enough = bool(accepted) and _counted(inputs, accepted) >= threshold
    for signer in judged:
        pointer = Pointer(document=_BUNDLE, path=f"/statement/signatures/{signer.index}")
        if signer.state is SignerState.BAD:
            tally.find(
                fault_of(signer),
                pointer,
                what=signer.broken_chain or "the signature does not fit the payload",
                got=signer.keyid,
            )
        elif signer.state is SignerState.NOT_ACCEPTED and not enough:
            tally.find(
                Reason.ENVELOPE_SIGNER_NOT_ACCEPTED,
                pointer,
                what="a known signer that the policy does not accept",
                got=signer.name or signer.keyid,
                expected=", ".join(inputs.policy.signers.accept),
            )
        elif signer.state is SignerState.UNKNOWN and enough:
            tally.note(
                Reason.ENVELOPE_UNKNOWN_SIGNATURE_IGNORED,
                f"{signer.keyid} is not in the trust store",
                pointer,
            )
    if not enough:
        reason = Reason.ENVELOPE_THRESHOLD_NOT_MET if accepted else Reason.ENVELOPE_SIGNER_UNKNOWN
        tally.find(
            reason,
            Pointer(document=_BUNDLE, path="/statement/signatures"),
            what=f"{len(accepted)} accepted of {threshold} needed",
            got=", ".join(signer.keyid for signer in judged),
            expected=f"{threshold} accepted signers",
        )
    if inputs.bundle.renewals:
        tally.note(
            Reason.ENVELOPE_RENEWALS_NOT_EVALUATED,
            f"{inputs.bundle.renewals} renewals are not evaluated by this version",
            Pointer(document=_BUNDLE, path="/renewals"),
        )
    if not tally.clean:
        return tally.stopped()
    for signer in accepted:
        tally.match(signer.name or signer.keyid)
    envelope = inputs.bundle.statement.envelope
    return tally.outcome(
        establish_payload(
            envelope.payload, envelope.id, tuple(signer.accepted() for signer in accepted)
        )
    )


# --- 2 statement.form, 3 profile.match -------------------------------------------------------


STATEMENT_FORM_REASONS: Final = frozenset(
    {
        Reason.STATEMENT_SUBJECT_MISMATCH,
        Reason.STATEMENT_ID_DUPLICATE,
        Reason.STATEMENT_REFERENCE_UNRESOLVED,
        Reason.STATEMENT_TIME_ORDER,
        Reason.STATEMENT_FRAMING_FORBIDDEN,
        Reason.STATEMENT_DERIVATION_FORBIDDEN,
        Reason.STATEMENT_SIGNER_MISMATCH,
        Reason.STATEMENT_MINOR_UNSUPPORTED,
        Reason.STATEMENT_CRITICAL_UNKNOWN,
        Reason.STATEMENT_EXTENSION_IGNORED,
    }
)


def statement_form(inputs: Inputs, facts: Facts) -> Outcome[VerifiedStatement]:
    """One Statement, known version, consistent in itself? (bundle-format.md 9.5, 6 and 7).

    Raises MalformedInput where the signed payload cannot be used at all.
    """
    payload = facts.get("envelope.signature", VerifiedPayload)
    tally = Tally()
    try:
        found = establish_statement(payload, limit=inputs.bundle.limits.payload)
    except FormatError as error:
        tally.malformed(error, _STATEMENT, Reason.STATEMENT_MINOR_UNSUPPORTED)
        return tally.stopped()
    except Contradictory as error:
        for fault in error.faults:
            tally.refuse(fault, _STATEMENT)
        return tally.stopped()
    _note_extensions(tally, found.statement, _STATEMENT)
    return tally.outcome(found)


def _note_extensions(tally: Tally, statement: Statement, document: str) -> None:
    for name in statement.extensions:
        tally.note(
            Reason.STATEMENT_EXTENSION_IGNORED,
            f"the extension {name} is not read",
            Pointer(document=document, path="/predicate/extensions"),
        )


PROFILE_MATCH_REASONS: Final = frozenset({Reason.PROFILE_MISMATCH})


def profile_match(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Profile of the bundle = profile of the policy? (verification.md 5)."""
    tally = Tally()
    claimed = facts.get("statement.form", VerifiedStatement).statement.profile
    if claimed != inputs.policy.profile:
        tally.find(
            Reason.PROFILE_MISMATCH,
            Pointer(document=_STATEMENT, path="/predicate/profile"),
            what="the bundle claims another profile than the policy judges",
            got=claimed,
            expected=inputs.policy.profile,
        )
    return tally.outcome(Affirmed(items=(claimed,)))


# --- 4 blobs.digests -------------------------------------------------------------------------


BLOBS_DIGESTS_REASONS: Final = frozenset(
    {
        Reason.BLOB_DIGEST_MISMATCH,
        Reason.BLOB_SIZE_MISMATCH,
        Reason.BLOB_SHA512_MISMATCH,
        Reason.BLOB_FRAMING_INVALID,
        Reason.BLOB_ORPHAN,
        Reason.BLOB_UNUSED,
    }
)


class _Store:
    """The blobs of one bundle: every stored byte string hashed once, external ones fetched."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._external: dict[str, bytes | None] = {}

    def external(self, digest: str, blob: External) -> bytes | None:
        """Return the bytes of an external blob, or None where none were supplied."""
        if digest not in self._external:
            source = self._inputs.blobs
            fits = blob.size <= self._inputs.bundle.limits.external_blob
            self._external[digest] = source(digest) if source is not None and fits else None
        return self._external[digest]

    def bytes_of(self, digest: Digest) -> bytes | None:
        """Return the stored bytes under a digest, or None."""
        blob = self._inputs.bundle.blobs.get(digest)
        if isinstance(blob, External):
            return self.external(digest, blob)
        return blob

    def state_without_bytes(self, artifact: Artifact, withheld: frozenset[str]) -> ArtifactState:
        """Return the state of an artifact that neither blob nor source gives bytes."""
        if artifact.digest in self._inputs.bundle.blobs:
            return ArtifactState.EXTERNAL_UNAVAILABLE
        if artifact.id in withheld:
            return ArtifactState.WITHHELD
        return ArtifactState.MISSING


def body_of(artifact: Artifact, stored: bytes) -> bytes:
    """Return the body of stored bytes: the salt in front of salted ones is taken off."""
    return stored[SALT:] if artifact.framing == "salt32" else stored


def _stored_faults(artifact: Artifact, stored: bytes) -> Iterable[tuple[Reason, str, str, str]]:
    """Give code, member, found and wanted for each way stored bytes differ from their artifact."""
    if len(stored) != artifact.size:
        yield Reason.BLOB_SIZE_MISMATCH, "size", f"{len(stored)} bytes", f"{artifact.size} bytes"
    if artifact.framing == "salt32" and len(stored) <= SALT:
        yield Reason.BLOB_FRAMING_INVALID, "framing", f"{len(stored)} bytes", "a salt and a body"
    if artifact.sha512 is not None:
        found = hashlib.sha512(stored).hexdigest()
        if found != artifact.sha512:
            yield Reason.BLOB_SHA512_MISMATCH, "sha512", found, artifact.sha512


def _named_by_attachments(inputs: Inputs) -> tuple[frozenset[str], frozenset[str]]:
    """Return the digests attachments name: all of them, and those of accepted signers alone.

    This only tells an orphan from a blob that somebody added together with a record; whether the
    record counts is judged in `attachments.form`. What cannot be read names nothing.
    """
    every: set[str] = set()
    accepted: set[str] = set()
    rules = _attachment_rules(inputs)
    for record in inputs.bundle.attachments:
        digests = named_digests(record.envelope.payload, limit=inputs.bundle.limits.payload)
        every |= digests
        if any(signer.state is SignerState.ACCEPTED for signer in rules.judge(record)):
            accepted |= digests
    return frozenset(every), frozenset(accepted)


def blobs_digests(inputs: Inputs, facts: Facts) -> Outcome[Evidence]:
    """Every stored blob matches digest, size, framing; no orphan? (bundle-format.md 5.1, 9.5.8)."""
    statement = facts.get("statement.form", VerifiedStatement).statement
    tally = Tally()
    store = _Store(inputs)
    _judge_blobs(inputs, statement, store, tally)
    withheld = frozenset(redaction.artifact for redaction in inputs.bundle.redactions)
    bodies: dict[str, bytes] = {}
    states: dict[str, ArtifactState] = {}
    for artifact in statement.artifacts:
        stored = store.bytes_of(artifact.digest)
        if stored is None:
            states[artifact.id] = store.state_without_bytes(artifact, withheld)
            continue
        for reason, member, got, expected in _stored_faults(artifact, stored):
            path = f"/predicate/artifacts/{artifact.index}/{member}"
            tally.find(
                reason,
                Pointer(document=_STATEMENT, path=path),
                what=f"{artifact.id}: {member} differs",
                got=got,
                expected=expected,
            )
        states[artifact.id] = ArtifactState.PRESENT
        bodies[artifact.id] = body_of(artifact, stored)
    return tally.outcome(Evidence(statement=statement, bodies=bodies, states=states))


def _judge_blobs(inputs: Inputs, statement: Statement, store: _Store, tally: Tally) -> None:
    named = {artifact.digest for artifact in statement.artifacts}
    others: tuple[frozenset[str], frozenset[str]] | None = None
    for digest, blob in inputs.bundle.blobs.items():
        pointer = Pointer(document=_BUNDLE, path=f"/blobs/{digest}")
        stored = store.external(digest, blob) if isinstance(blob, External) else blob
        if isinstance(blob, External) and stored is not None and len(stored) != blob.size:
            tally.find(
                Reason.BLOB_SIZE_MISMATCH,
                pointer,
                what="an external blob of another length",
                got=f"{len(stored)} bytes",
                expected=f"{blob.size} bytes",
            )
        if stored is not None:
            found = f"sha256:{hashlib.sha256(stored).hexdigest()}"
            if found != digest:
                tally.find(
                    Reason.BLOB_DIGEST_MISMATCH,
                    pointer,
                    what="the bytes are not those of the digest",
                    got=found,
                    expected=digest,
                )
        if digest in named:
            continue
        if others is None:
            others = _named_by_attachments(inputs)
        every, accepted = others
        if digest not in every:
            tally.find(
                Reason.BLOB_ORPHAN,
                pointer,
                what="nothing names this blob",
                got=digest,
                expected="a digest that the Statement or an attachment names",
            )
        elif digest not in accepted:
            tally.note(
                Reason.BLOB_UNUSED,
                f"{digest} is named only by attachments that do not count",
                pointer,
            )


# --- 5 blobs.derived -------------------------------------------------------------------------


BLOBS_DERIVED_REASONS: Final = frozenset(
    {Reason.DERIVED_STEP_FAILED, Reason.DERIVED_DIGEST_MISMATCH}
)


def _derived(
    artifact: Artifact, origin: FromArtifact, source: Body
) -> tuple[bytes | None, Refused | None]:
    """Apply the steps and compare with what the artifact says. Source: bundle-format.md 5.3."""
    path = f"/predicate/artifacts/{artifact.index}"
    try:
        found = source.derive(origin.steps)
    except FormatError as error:
        return None, Refused(
            Reason.DERIVED_STEP_FAILED,
            f"{artifact.id}: {error.what}",
            path=f"{path}/origin/steps",
            got=" ".join(origin.steps),
            expected=f"bytes out of {origin.artifact}",
        )
    digest = f"sha256:{hashlib.sha256(found).hexdigest()}"
    wanted: list[tuple[str, str, str]] = [
        ("digest", digest, artifact.digest),
        ("size", str(len(found)), str(artifact.size)),
    ]
    if artifact.sha512 is not None:
        wanted.append(("sha512", hashlib.sha512(found).hexdigest(), artifact.sha512))
    for member, got, expected in wanted:
        if got != expected:
            return None, Refused(
                Reason.DERIVED_DIGEST_MISMATCH,
                f"{artifact.id}: {member} differs from what {origin.artifact} holds",
                path=f"{path}/{member}",
                got=got,
                expected=expected,
            )
    return found, None


def derive_all(stored: Evidence) -> tuple[Evidence, tuple[Refused, ...]]:
    """Add every artifact that follows from another; return what contradicts its source."""
    bodies = dict(stored.bodies)
    states = dict(stored.states)
    sources: dict[str, Body] = {}
    faults: list[Refused] = []
    for artifact in stored.statement.artifacts:
        origin = artifact.origin
        if not isinstance(origin, FromArtifact) or origin.artifact not in bodies:
            continue
        source = sources.get(origin.artifact)
        if source is None:
            source = sources[origin.artifact] = Body(bodies[origin.artifact])
        found, fault = _derived(artifact, origin, source)
        if fault is not None:
            faults.append(fault)
        elif found is not None and artifact.id not in bodies:
            bodies[artifact.id] = found
            states[artifact.id] = ArtifactState.DERIVED
    evidence = Evidence(
        statement=stored.statement,
        bodies=bodies,
        states=states,
        document_prefix=stored.document_prefix,
    )
    return evidence, tuple(faults)


def blobs_derived(_inputs: Inputs, facts: Facts) -> Outcome[Evidence]:
    """Every derived artifact follows from its source by its steps? (bundle-format.md 5.3)."""
    tally = Tally()
    evidence, faults = derive_all(facts.get("blobs.digests", Evidence))
    for fault in faults:
        tally.refuse(fault, _STATEMENT)
    return tally.outcome(evidence)


# --- 6 attachments.form ----------------------------------------------------------------------


ATTACHMENTS_FORM_REASONS: Final = frozenset(
    {
        Reason.ATTACHMENT_SIGNATURE_INVALID,
        Reason.ATTACHMENT_SUBJECT_MISMATCH,
        Reason.ATTACHMENT_ARTIFACT_MISMATCH,
        Reason.ATTACHMENT_REQUIRED_MISSING,
        Reason.ATTACHMENT_UNKNOWN_SIGNER_IGNORED,
        Reason.STATEMENT_MINOR_UNSUPPORTED,
        Reason.STATEMENT_CRITICAL_UNKNOWN,
        Reason.STATEMENT_EXTENSION_IGNORED,
    }
)


@value
class Attachment:
    """A record that counts: genuine, about this bundle, intact.

    ``kind``, ``at``, ``by``: as it says. ``signer``: name of the trust entry. ``evidence``: its own
    artifacts, with pointers of its own. ``said``: the whole predicate, typed.
    """

    index: int
    id: BundleId
    kind: str
    at: datetime
    by: str
    signer: str
    said: ReadAttachment
    evidence: Evidence


@value
class IgnoredAttachment:
    """A record of an unknown signer: nobody here vouches for it, so its payload is not read."""

    index: int
    id: BundleId


@value
class Attachments:
    """Fact of `attachments.form`."""

    accepted: tuple[Attachment, ...]
    ignored: tuple[IgnoredAttachment, ...]

    def of_kind(self, kind: str) -> tuple[Attachment, ...]:
        """Return the accepted attachments of one kind, in file order."""
        return tuple(found for found in self.accepted if found.kind == kind)


def _attachment_rules(inputs: Inputs) -> SignerRules:
    return SignerRules(
        trust=inputs.trust,
        purpose=Purpose.ATTACHMENT_SIGNER,
        references=inputs.policy.attachments.accept,
    )


def judged_attachment_signers(inputs: Inputs) -> tuple[tuple[JudgedSigner, ...], ...]:
    """Judge the signatures of every attachment, in file order."""
    rules = _attachment_rules(inputs)
    return tuple(rules.judge(record) for record in inputs.bundle.attachments)


class _AttachmentReader:
    """Reads one attachment of an accepted signer and says what is wrong with it."""

    def __init__(self, inputs: Inputs, verified: VerifiedStatement, tally: Tally) -> None:
        self._inputs = inputs
        self._verified = verified
        self._tally = tally
        self._store = _Store(inputs)

    def read(self, index: int, signer: JudgedSigner) -> Attachment | None:
        """Return the attachment, or None where something was found. Raises MalformedInput."""
        record = self._inputs.bundle.attachments[index]
        document = f"attachment:{index}"
        try:
            said = read_attachment(
                record.envelope.payload, index, limit=self._inputs.bundle.limits.payload
            )
        except FormatError as error:
            self._tally.malformed(error, document, Reason.STATEMENT_MINOR_UNSUPPORTED)
            return None
        before = self._tally.count
        self._subject(said, document)
        for fault in self._inner_faults(said):
            self._tally.refuse(_as_attachment(fault), document)
        evidence = self._evidence(said.statement, document)
        _note_extensions(self._tally, said.statement, document)
        if self._tally.count != before:
            return None
        return Attachment(
            index=index,
            id=record.envelope.id,
            kind=said.kind,
            at=said.at,
            by=said.by,
            signer=signer.name or signer.keyid,
            said=said,
            evidence=evidence,
        )

    def _subject(self, said: ReadAttachment, document: str) -> None:
        wanted = ("bundle", self._verified.bundle_id)
        if said.subject[0] != wanted:
            self._tally.find(
                Reason.ATTACHMENT_SUBJECT_MISMATCH,
                Pointer(document=document, path="/subject/0"),
                what="the record is about another bundle",
                got=" ".join(said.subject[0]),
                expected=" ".join(wanted),
            )

    def _inner_faults(self, said: ReadAttachment) -> Iterable[Refused]:
        own = said.statement
        yield from subject_faults(said.subject, own.artifacts, 1)
        yield from Graph(own.artifacts, own.exchanges).faults()
        yield from time_faults(own.exchanges)
        yield from critical_faults(own.critical)
        bundle = self._verified.statement
        known = {artifact.id for artifact in bundle.artifacts}
        for place, device in enumerate(said.devices):
            if device not in known:
                yield _unresolved(f"/predicate/devices/{place}", device)
        mine = {artifact.id for artifact in own.artifacts}
        for name, artifact_id in said.own.items():
            if artifact_id not in mine:
                yield _unresolved(f"/predicate/{name}", artifact_id)

    def _evidence(self, own: Statement, document: str) -> Evidence:
        bodies: dict[str, bytes] = {}
        states: dict[str, ArtifactState] = {}
        for artifact in own.artifacts:
            stored = self._store.bytes_of(artifact.digest)
            if stored is None:
                states[artifact.id] = self._store.state_without_bytes(artifact, frozenset())
                continue
            for _, member, got, expected in _stored_faults(artifact, stored):
                self._tally.find(
                    Reason.ATTACHMENT_ARTIFACT_MISMATCH,
                    Pointer(
                        document=document, path=f"/predicate/artifacts/{artifact.index}/{member}"
                    ),
                    what=f"{artifact.id}: {member} differs",
                    got=got,
                    expected=expected,
                )
            states[artifact.id] = ArtifactState.PRESENT
            bodies[artifact.id] = body_of(artifact, stored)
        evidence, faults = derive_all(
            Evidence(statement=own, bodies=bodies, states=states, document_prefix=f"{document}/")
        )
        for fault in faults:
            self._tally.refuse(_as_attachment(fault), document)
        return evidence


def _unresolved(path: str, artifact_id: str) -> Refused:
    return Refused(
        Reason.ATTACHMENT_ARTIFACT_MISMATCH,
        f"{artifact_id} names nothing",
        path=path,
        got=artifact_id,
        expected="the id of an artifact",
    )


def _as_attachment(fault: Refused) -> Refused:
    """Return a fault under the code that attachments have for it."""
    if fault.reason is Reason.STATEMENT_CRITICAL_UNKNOWN:
        return fault
    return Refused(
        Reason.ATTACHMENT_ARTIFACT_MISMATCH,
        fault.what,
        got=fault.got,
        expected=fault.expected,
        path=fault.path,
    )


def attachments_form(inputs: Inputs, facts: Facts) -> Outcome[Attachments]:
    """Attachments of known signers genuine, about this bundle, intact; required kinds there.

    Raises MalformedInput where the payload of an accepted signer cannot be used at all. Source:
    bundle-format.md 9.5 step 11, 11.
    """
    tally = Tally()
    reader = _AttachmentReader(inputs, facts.get("statement.form", VerifiedStatement), tally)
    accepted: list[Attachment] = []
    ignored: list[IgnoredAttachment] = []
    for index, judged in enumerate(judged_attachment_signers(inputs)):
        pointer = Pointer(document=_BUNDLE, path=f"/attachments/{index}")
        for signer in judged:
            if signer.state is SignerState.BAD:
                tally.find(
                    Reason.ATTACHMENT_SIGNATURE_INVALID,
                    Pointer(
                        document=_BUNDLE,
                        path=f"/attachments/{index}/statement/signatures/{signer.index}",
                    ),
                    what="the signature does not fit the record",
                    got=signer.name or signer.keyid,
                )
        good = [signer for signer in judged if signer.state is SignerState.ACCEPTED]
        if good:
            found = reader.read(index, good[0])
            if found is not None:
                accepted.append(found)
                tally.match(f"{found.kind} by {found.signer}")
        elif all(signer.state is not SignerState.BAD for signer in judged):
            record = inputs.bundle.attachments[index]
            ignored.append(IgnoredAttachment(index=index, id=record.envelope.id))
            tally.note(
                Reason.ATTACHMENT_UNKNOWN_SIGNER_IGNORED,
                f"attachment {index} is of nobody the policy accepts",
                pointer,
            )
    kinds = {found.kind for found in accepted}
    for kind in inputs.policy.attachments.require:
        if kind not in kinds:
            tally.find(
                Reason.ATTACHMENT_REQUIRED_MISSING,
                Pointer(document=_BUNDLE, path="/attachments"),
                what=f"no accepted attachment of kind {kind}",
                got=", ".join(sorted(kinds)) or "none",
                expected=kind,
            )
    return tally.outcome(Attachments(accepted=tuple(accepted), ignored=tuple(ignored)))


# --- 7 custody.chain -------------------------------------------------------------------------


CUSTODY_CHAIN_REASONS: Final = frozenset({Reason.CUSTODY_BROKEN, Reason.CUSTODY_MISSING})


def custody_chain(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Custody events, where present or demanded, form one unbroken sequence.

    Source: bundle-format.md 11.
    """
    tally = Tally()
    events: list[tuple[Custody, Attachment]] = [
        (found.said.custody, found)
        for found in facts.get("attachments.form", Attachments).accepted
        if found.said.custody is not None
    ]
    if not events and inputs.policy.attachments.require_custody_chain:
        tally.find(
            Reason.CUSTODY_MISSING,
            Pointer(document=_BUNDLE, path="/attachments"),
            what="no custody event of an accepted signer",
            expected="a chain of custody events",
        )
    events.sort(key=lambda event: (event[0].sequence, event[1].index))
    previous: BundleId | None = None
    for number, (said, found) in enumerate(events, start=1):
        document = f"attachment:{found.index}"
        if said.sequence != number:
            tally.find(
                Reason.CUSTODY_BROKEN,
                Pointer(document=document, path="/predicate/sequence"),
                what="the events are not numbered 1, 2, 3 …",
                got=str(said.sequence),
                expected=str(number),
            )
        elif said.previous != previous:
            tally.find(
                Reason.CUSTODY_BROKEN,
                Pointer(document=document, path="/predicate/previous"),
                what="the event names another one before it",
                got=said.previous or "none",
                expected=previous or "none",
            )
        previous = found.id
    return tally.outcome(
        Affirmed(items=tuple(f"{said.action} by {found.signer}" for said, found in events))
    )


# --- 8 artifacts.accounted -------------------------------------------------------------------


ARTIFACTS_ACCOUNTED_REASONS: Final = frozenset(
    {
        Reason.REDACTION_CONTRADICTED,
        Reason.REDACTION_UNSIGNED,
        Reason.ARTIFACT_WITHHELD,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
    }
)


@value
class Absence:
    """One artifact without bytes. ``reason``, ``attachment``: as a redaction declares them."""

    artifact: Artifact
    state: ArtifactState
    reason: str | None
    attachment: BundleId | None
    signed: bool


def _signed_removals(
    attachments: Attachments,
) -> Mapping[str, tuple[tuple[Attachment, Removed], ...]]:
    found: dict[str, tuple[tuple[Attachment, Removed], ...]] = {}
    for attachment in attachments.of_kind("redaction"):
        for removed in attachment.said.removed:
            found[removed.artifact] = (*found.get(removed.artifact, ()), (attachment, removed))
    return found


def absences(
    inputs: Inputs, evidence: Evidence, attachments: Attachments | None
) -> tuple[Absence, ...]:
    """Return every artifact without bytes with what is declared about it, in Statement order.

    ``attachments``: the fact of `attachments.form`, or None where that check did not pass.
    """
    removals = {} if attachments is None else _signed_removals(attachments)
    declared = {redaction.artifact: redaction for redaction in reversed(inputs.bundle.redactions)}
    found = []
    for artifact in evidence.statement.artifacts:
        state = evidence.states[artifact.id]
        if state in (ArtifactState.PRESENT, ArtifactState.DERIVED):
            continue
        redaction = declared.get(artifact.id)
        signers = removals.get(artifact.id, ())
        named = None if redaction is None else redaction.attachment
        signed = any(named in (None, attachment.id) for attachment, _ in signers)
        found.append(
            Absence(
                artifact=artifact,
                state=state,
                reason=None if redaction is None else redaction.reason,
                attachment=named,
                signed=redaction is not None and signed,
            )
        )
    return tuple(found)


def _contradictions(
    inputs: Inputs, evidence: Evidence, attachments: Attachments, tally: Tally
) -> None:
    """Find redactions that name what is there, what never was, or another digest."""
    known = {artifact.id: artifact for artifact in evidence.statement.artifacts}

    def judge(artifact_id: str, pointer: Pointer, digest: str | None) -> None:
        artifact = known.get(artifact_id)
        if artifact is None:
            got, expected = artifact_id, "an artifact of the Statement"
        elif artifact_id in evidence.bodies:
            got, expected = "its bytes are there", "no bytes"
        elif digest is not None and digest != artifact.digest:
            got, expected = digest, artifact.digest
        else:
            return
        tally.find(
            Reason.REDACTION_CONTRADICTED,
            pointer,
            what=f"{artifact_id}: what the redaction says is not so",
            got=got,
            expected=expected,
        )

    for index, redaction in enumerate(inputs.bundle.redactions):
        judge(redaction.artifact, Pointer(document=_BUNDLE, path=f"/redactions/{index}"), None)
    for attachment in attachments.of_kind("redaction"):
        for place, removed in enumerate(attachment.said.removed):
            path = f"/predicate/removed/{place}"
            pointer = Pointer(document=f"attachment:{attachment.index}", path=path)
            judge(removed.artifact, pointer, removed.digest)


def artifacts_accounted(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Every artifact has bytes, or a tolerated, properly declared absence.

    Source: verification.md 10; bundle-format.md 10.
    """
    tally = Tally()
    evidence = facts.get("blobs.derived", Evidence)
    attachments = facts.get("attachments.form", Attachments)
    _contradictions(inputs, evidence, attachments, tally)
    rules = inputs.policy.redaction
    for absence in absences(inputs, evidence, attachments):
        artifact = absence.artifact
        pointer = Pointer(document=_STATEMENT, path=f"/predicate/artifacts/{artifact.index}")
        undeclared = absence.state is ArtifactState.MISSING
        if undeclared or not rules.tolerates(artifact.role):
            declared = "" if absence.reason is None else f": {absence.reason}"
            tally.find(
                _ABSENT[absence.state],
                pointer,
                what=artifact.id,
                got=absence.state.value + declared,
                expected="bytes",
            )
        elif (
            absence.state is ArtifactState.WITHHELD and rules.require_signed and not absence.signed
        ):
            tally.find(
                Reason.REDACTION_UNSIGNED,
                pointer,
                what=artifact.id,
                got="no accepted redaction says so",
                expected="a signed redaction that names it",
            )
    return tally.outcome(Affirmed(items=tuple(evidence.bodies)))
