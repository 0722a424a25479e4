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
from verify.engine.value import replace, value
from verify.families.content import admitted
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
from verify.wire.limits import DERIVED_TOTAL, SALT
from verify.wire.model import (
    Artifact,
    ArtifactState,
    BundleId,
    Digest,
    Evidence,
    FromArtifact,
    LargeBody,
    Outside,
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


_CHAT_BODIES: Final = frozenset(("http.request.body", "http.response.body"))
"""Roles whose bodies are judged however large they are; all others are read whole or not at all."""


def _read_external(inputs: Inputs, statement: Statement) -> Mapping[Digest, Outside]:
    """Read every external blob that is supplied, each exactly once. Source: bundle-format.md 4.

    Those that would fit into the file are held, together as much as a file may hold; of larger ones
    only what was read while they were hashed.
    """
    source, bounds = inputs.blobs, inputs.bundle.limits
    external = {
        digest: blob for digest, blob in inputs.bundle.blobs.items() if isinstance(blob, External)
    }
    if source is None or not external:
        return {}
    # most bundles are one file
    from verify.families.bodies import BodyReader  # noqa: PLC0415
    from verify.wire.outside import Listener, read_outside  # noqa: PLC0415

    users: dict[Digest, list[Artifact]] = {}
    for artifact in statement.artifacts:
        users.setdefault(artifact.digest, []).append(artifact)
    forms = admitted(inputs.policy.profile).response
    room = bounds.packed_file
    found: dict[Digest, Outside] = {}
    for digest, blob in external.items():
        given = source(digest) if blob.size <= bounds.external_blob else None
        if given is None:
            continue
        named = users.get(digest, [])
        held = blob.size <= min(room, bounds.inline_blob + SALT)
        room -= blob.size if held else 0
        readers = {
            artifact.framing: BodyReader(forms)
            for artifact in named
            if artifact.role in _CHAT_BODIES and not held
        }
        # an attachment may name the blob, too; what it states is not known yet
        stated = any(artifact.sha512 is not None for artifact in named)
        outside = read_outside(
            given,
            limit=bounds.external_blob,
            held=blob.size if held else 0,
            second=stated or bool(inputs.bundle.attachments),
            listeners=[
                Listener(skip=SALT if framing == "salt32" else 0, reader=reader)
                for framing, reader in readers.items()
            ],
        )
        if outside is not None:
            bodies = {framing: reader.body() for framing, reader in readers.items()}
            found[digest] = replace(outside, bodies=bodies)
    return found


class _Store:
    """The blobs of one bundle: those of its file, and external ones as they were read once."""

    def __init__(self, inputs: Inputs, outside: Mapping[Digest, Outside]) -> None:
        self._inputs = inputs
        self.outside = outside

    def stored(self, digest: Digest) -> bytes | Outside | None:
        """Return the stored bytes under a digest, or what was read of them, or None."""
        blob = self._inputs.bundle.blobs.get(digest)
        if isinstance(blob, External):
            return self.outside.get(digest)
        return blob

    def state_without_bytes(self, artifact: Artifact, withheld: frozenset[str]) -> ArtifactState:
        """Return the state of an artifact that neither blob nor source gives bytes."""
        if artifact.digest in self._inputs.bundle.blobs:
            return ArtifactState.EXTERNAL_UNAVAILABLE
        if artifact.id in withheld:
            return ArtifactState.WITHHELD
        return ArtifactState.MISSING


class _Bodies:
    """Bodies and states of the artifacts of one Statement, collected one by one."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.large: dict[str, LargeBody | None] = {}
        self.states: dict[str, ArtifactState] = {}

    def add(self, artifact: Artifact, stored: bytes | Outside) -> None:
        """Take an artifact whose stored bytes are there."""
        self.states[artifact.id] = ArtifactState.PRESENT
        data = stored if isinstance(stored, bytes) else stored.data
        if data is not None:
            self.held[artifact.id] = body_of(artifact, data)
        elif isinstance(stored, Outside):
            self.large[artifact.id] = (
                stored.bodies.get(artifact.framing) if artifact.role in _CHAT_BODIES else None
            )


def body_of(artifact: Artifact, stored: bytes) -> bytes:
    """Return the body of stored bytes: the salt in front of salted ones is taken off."""
    return stored[SALT:] if artifact.framing == "salt32" else stored


def _second_digest(stored: bytes | Outside) -> str | None:
    if isinstance(stored, bytes):
        return hashlib.sha512(stored).hexdigest()
    return stored.sha512


def _stored_faults(
    artifact: Artifact, stored: bytes | Outside
) -> Iterable[tuple[Reason, str, str, str]]:
    """Give code, member, found and wanted for each way stored bytes differ from their artifact."""
    size = len(stored) if isinstance(stored, bytes) else stored.size
    if size != artifact.size:
        yield Reason.BLOB_SIZE_MISMATCH, "size", f"{size} bytes", f"{artifact.size} bytes"
    if artifact.framing == "salt32" and size <= SALT:
        yield Reason.BLOB_FRAMING_INVALID, "framing", f"{size} bytes", "a salt and a body"
    if artifact.sha512 is not None:
        found = _second_digest(stored)
        if found != artifact.sha512:
            yield Reason.BLOB_SHA512_MISMATCH, "sha512", found or "", artifact.sha512


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
    store = _Store(inputs, _read_external(inputs, statement))
    _judge_blobs(inputs, statement, store, tally)
    withheld = frozenset(redaction.artifact for redaction in inputs.bundle.redactions)
    bodies = _Bodies()
    for artifact in statement.artifacts:
        stored = store.stored(artifact.digest)
        if stored is None:
            bodies.states[artifact.id] = store.state_without_bytes(artifact, withheld)
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
        bodies.add(artifact, stored)
    return tally.outcome(
        Evidence(
            statement=statement,
            bodies=bodies.held,
            states=bodies.states,
            large=bodies.large,
            outside=store.outside,
        )
    )


def _judge_blobs(inputs: Inputs, statement: Statement, store: _Store, tally: Tally) -> None:
    named = {artifact.digest for artifact in statement.artifacts}
    others: tuple[frozenset[str], frozenset[str]] | None = None
    for digest, blob in inputs.bundle.blobs.items():
        pointer = Pointer(document=_BUNDLE, path=f"/blobs/{digest}")
        stored = store.stored(digest)
        if isinstance(blob, External) and isinstance(stored, Outside) and stored.size != blob.size:
            tally.find(
                Reason.BLOB_SIZE_MISMATCH,
                pointer,
                what="an external blob of another length",
                got=f"{stored.size} bytes",
                expected=f"{blob.size} bytes",
            )
        if stored is not None:
            if isinstance(stored, Outside):
                found = f"sha256:{stored.sha256}"
            else:
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


class Room:
    """How many more derived bytes are held; steps may repeat one source four thousand times."""

    __slots__ = ("_left",)

    def __init__(self, left: int) -> None:
        self._left = left

    def derive(self, source: Body | None, origin: FromArtifact) -> bytes:
        """Apply the steps of one artifact and take its room. Raises `FormatError`."""
        if source is None:
            raise FormatError(0, f"{origin.artifact} is larger than what steps are applied to")
        found = source.derive(origin.steps)
        if len(found) > self._left:
            raise FormatError(0, "derived artifacts are larger together than a reader holds")
        self._left -= len(found)
        return found


def _derived(
    artifact: Artifact, origin: FromArtifact, source: Body | None, room: Room
) -> tuple[bytes | None, Refused | None]:
    """Apply the steps and compare with what the artifact says. Source: bundle-format.md 5.3.

    ``source``: None where it is too large to be held, so that nothing can be derived from it.
    """
    path = f"/predicate/artifacts/{artifact.index}"
    try:
        found = room.derive(source, origin)
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


def derive_all(stored: Evidence, room: Room | None = None) -> tuple[Evidence, tuple[Refused, ...]]:
    """Add every artifact that follows from another; return what contradicts its source.

    ``room``: shared by several Statements; of its own `DERIVED_TOTAL` bytes where there is none.
    """
    room = Room(DERIVED_TOTAL) if room is None else room
    bodies = dict(stored.bodies)
    states = dict(stored.states)
    sources: dict[str, Body] = {}
    faults: list[Refused] = []
    for artifact in stored.statement.artifacts:
        origin = artifact.origin
        if not isinstance(origin, FromArtifact):
            continue
        source = sources.get(origin.artifact)
        if source is None and origin.artifact in bodies:
            source = sources[origin.artifact] = Body(bodies[origin.artifact])
        if source is None and origin.artifact not in stored.large:
            continue
        found, fault = _derived(artifact, origin, source, room)
        if fault is not None:
            faults.append(fault)
        elif found is not None and artifact.id not in bodies:
            bodies[artifact.id] = found
            states[artifact.id] = ArtifactState.DERIVED
    return replace(stored, bodies=bodies, states=states), tuple(faults)


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

    def __init__(
        self,
        inputs: Inputs,
        verified: VerifiedStatement,
        outside: Mapping[Digest, Outside],
        tally: Tally,
    ) -> None:
        self._inputs = inputs
        self._verified = verified
        self._tally = tally
        self._store = _Store(inputs, outside)
        self._room = Room(DERIVED_TOTAL)

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
        bodies = _Bodies()
        for artifact in own.artifacts:
            stored = self._store.stored(artifact.digest)
            if stored is None:
                bodies.states[artifact.id] = self._store.state_without_bytes(artifact, frozenset())
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
            bodies.add(artifact, stored)
        stored_evidence = Evidence(
            statement=own,
            bodies=bodies.held,
            states=bodies.states,
            document_prefix=f"{document}/",
            large=bodies.large,
            outside=self._store.outside,
        )
        evidence, faults = derive_all(stored_evidence, self._room)
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
    reader = _AttachmentReader(
        inputs,
        facts.get("statement.form", VerifiedStatement),
        facts.get("blobs.digests", Evidence).outside,
        tally,
    )
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
        elif evidence.has_bytes(artifact_id):
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
    return tally.outcome(Affirmed(items=(*evidence.bodies, *evidence.large)))
