"""Rows 9 to 12, 14 and 15: which instant is judged, who vouches for it, and which keys held then.

Proofs of time are judged at their own time; what they prove is collected here as bounds. What is
present and of an authority that the policy accepts must verify; whether enough is present is the
question of row 14 alone.

Source: verification.md 3.4, 4, 6.2; bundle-format.md 5.1, 8.1, 9.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from verify.checks.inputs import Inputs
from verify.engine.asof import AsOfInstant, whole_seconds
from verify.engine.check import Facts
from verify.engine.errors import FormatError
from verify.engine.outcome import Affirmed, Finding, Outcome, Pointer, failed, passed
from verify.engine.reason import Reason
from verify.engine.report import Bound
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.policy.model import Level
from verify.trust.anchor import Anchor, Purpose, Standing
from verify.wire.model import ArtifactUnavailable, Evidence, Exchange, KeyId, Statement
from verify.wire.scalars import format_time
from verify.wire.statement import AcceptedSigner, VerifiedPayload, VerifiedStatement

if TYPE_CHECKING:
    from verify.crypto.notes import Checkpoint, VerifierKey
    from verify.crypto.timestamps import Token
    from verify.crypto.x509 import Certificate

EARLIEST: Final = datetime(2018, 5, 21, tzinfo=UTC)
"""First second of the day on which the oldest vendor root began."""
LATEST: Final = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
"""Last second of the day on which that root ends."""

_ENDED: Final = Pointer(document="statement", path="/predicate/capture/endedAt")
_STARTED: Final = Pointer(document="statement", path="/predicate/capture/startedAt")
_MODE: Final = Pointer(document="statement", path="/predicate/capture/mode")


# --- row 9 -----------------------------------------------------------------------------------

AS_OF_REASONS: Final = frozenset((Reason.TIME_AS_OF_OUT_OF_RANGE,))


def as_of(inputs: Inputs, facts: Facts) -> Outcome[AsOfInstant]:
    """Row 9: the one instant that everything below is judged at."""
    capture = facts.get("statement.form", VerifiedStatement).statement.capture
    asked = inputs.as_of
    instant = whole_seconds(capture.ended_at if asked.instant is None else asked.instant)
    if not EARLIEST <= instant <= LATEST:
        finding = Finding(
            reason=Reason.TIME_AS_OF_OUT_OF_RANGE,
            pointer=_ENDED,
            got=format_time(instant),
            expected=f"{format_time(EARLIEST)} to {format_time(LATEST)}",
        )
        what = f"no vendor certificate covers the instant asked for ({asked.source.value})"
        return failed(Reason.TIME_AS_OF_OUT_OF_RANGE, finding, detail=what)
    return passed(
        AsOfInstant(
            instant=instant,
            source=asked.source,
            claimed_start=capture.started_at,
            claimed_end=capture.ended_at,
        )
    )


# --- bounds ----------------------------------------------------------------------------------


@value
class ProvenTimes:
    """Fact of `time.timestamp` and `time.log`: instants by which the bundle signature existed.

    ``own``: key id to the earliest instant proven for that key's signature: each proves nothing
    about the others.
    """

    bounds: tuple[Bound, ...] = ()
    own: Mapping[str, datetime] = MappingProxyType({})


@value
class Beacons:
    """Fact of `time.beacon`: artifact id of a checkpoint to the instant it existed from."""

    bounds: Mapping[str, Bound]


@value
class Bracket:
    """Fact of `time.bracket`: how well the time of capture is known.

    ``not_before``: lower bound of the evidence (L). ``not_after``: upper bound of the signature
    (U). Both None where nobody but the capturer vouches for them.
    """

    level: Level
    not_before: Bound | None
    not_after: Bound | None


def upper_bound(facts: Facts) -> Bound | None:
    """Return U, the earliest instant proven for the signature, or None without any."""
    bounds = (
        *facts.get("time.timestamp", ProvenTimes).bounds,
        *facts.get("time.log", ProvenTimes).bounds,
    )
    return min(bounds, key=lambda bound: (bound.instant, bound.by), default=None)


def _held(anchor: Anchor, at: datetime) -> bool:
    """Whether a key counts at its own time; compromised later is no objection (T4, T5)."""
    standing = anchor.standing(at, proven=True)
    return standing in (Standing.IN_FORCE, Standing.COMPROMISED_LATER)


def _accepted(inputs: Inputs, purpose: Purpose, references: Iterable[str]) -> tuple[Anchor, ...]:
    """Return the anchors of the trust store that the policy names for a purpose."""
    digests = inputs.trust.accepted(purpose, references)
    return tuple(anchor for anchor in inputs.trust.of(purpose) if anchor.sha256 in digests)


def _proofs(inputs: Inputs, facts: Facts, member: str) -> Iterable[tuple[AcceptedSigner, int, int]]:
    """Give each proof of ``member`` that belongs to an accepted signature.

    Proofs about other signatures are skipped: anybody can append those.
    """
    signers = {s.keyid: s for s in facts.get("envelope.signature", VerifiedPayload).signers}
    for entry, material in enumerate(inputs.bundle.statement.material):
        signer = signers.get(material.keyid)
        if signer is not None:
            found = material.timestamps if member == "rfc3161" else material.log_proofs
            yield from ((signer, entry, index) for index in range(len(found)))


# --- row 10 ----------------------------------------------------------------------------------

TIMESTAMP_REASONS: Final = frozenset(
    (
        Reason.TIMESTAMP_AUTHORITY_NOT_IN_FORCE,
        Reason.TIMESTAMP_AUTHORITY_UNKNOWN,
        Reason.TIMESTAMP_IMPRINT_MISMATCH,
        Reason.TIMESTAMP_MALFORMED,
        Reason.TIMESTAMP_SIGNATURE_INVALID,
    )
)


def _authority(
    token: Token, authorities: Iterable[tuple[Anchor, Certificate]]
) -> tuple[Anchor, Certificate] | None:
    """Return the accepted authority that a token's certificates name, or None."""
    for anchor, certificate in authorities:
        if token.names(certificate):
            return anchor, certificate
    return None


def _judge_token(
    token: Token,
    authority: tuple[Anchor, Certificate],
    signature: bytes,
    pointer: Pointer,
    tally: Tally,
) -> Bound | None:
    """Judge one token of an accepted authority; return what it proves."""
    from verify.crypto.timestamps import verify_token  # noqa: PLC0415  (bundles without tokens)

    anchor, certificate = authority
    if not token.stamps(signature):
        tally.find(
            Reason.TIMESTAMP_IMPRINT_MISMATCH,
            pointer,
            what="the time stamp is over other bytes than this signature",
            got=token.imprint.hex(),
            expected=f"{token.algorithm} of the signature",
        )
        return None
    late = token.outside()
    covered = certificate.not_before <= token.gen_time <= certificate.not_after
    if late is not None or not covered or not _held(anchor, token.gen_time):
        tally.find(
            Reason.TIMESTAMP_AUTHORITY_NOT_IN_FORCE,
            pointer,
            what="the authority was not in force at the time it states",
            got=format_time(token.gen_time),
            expected=f"a time at which {anchor.name} and its certificates are good",
        )
        return None
    try:
        verify_token(token, certificate.der, signature)
    except FormatError as error:
        tally.find(
            Reason.TIMESTAMP_SIGNATURE_INVALID,
            pointer,
            what=error.what,
            got=error.what,
            expected=f"a signature that leads to {anchor.name}",
        )
        return None
    tally.match(f"name:{anchor.name}")
    return Bound(instant=token.latest, by=f"name:{anchor.name}")


def timestamp(inputs: Inputs, facts: Facts) -> Outcome[ProvenTimes]:
    """Row 10: every token of an accepted authority verifies over its signature, at its own time."""
    proofs = tuple(_proofs(inputs, facts, "rfc3161"))
    if not proofs:
        return passed(ProvenTimes())
    from verify.crypto.timestamps import read_token  # noqa: PLC0415  (bundles without tokens)
    from verify.crypto.x509 import load_certificate  # noqa: PLC0415  (the same)

    tally = Tally()
    authorities = tuple(
        (anchor, load_certificate(anchor.data or b""))
        for anchor in _accepted(inputs, Purpose.TSA, inputs.policy.time.accept_tsa)
    )
    bounds: list[Bound] = []
    own: dict[str, datetime] = {}
    for signer, entry, index in proofs:
        pointer = Pointer(document="bundle", path=f"/material/{entry}/rfc3161/{index}")
        named = None
        if authorities:
            try:
                token = read_token(inputs.bundle.statement.material[entry].timestamps[index])
            except FormatError as error:
                tally.find(Reason.TIMESTAMP_MALFORMED, pointer, what=error.what, got=error.what)
                continue
            named = _authority(token, authorities)
            if named is not None:
                bound = _judge_token(token, named, signer.signature, pointer, tally)
                if bound is not None:
                    bounds.append(bound)
                    own[signer.keyid] = min(bound.instant, own.get(signer.keyid, bound.instant))
        if named is None:
            text = "a time stamp of an authority that the policy does not name proves nothing here"
            tally.note(Reason.TIMESTAMP_AUTHORITY_UNKNOWN, text, pointer)
    return tally.outcome(ProvenTimes(bounds=tuple(bounds), own=own))


# --- row 11 ----------------------------------------------------------------------------------

LOG_REASONS: Final = frozenset(
    (
        Reason.TLOG_CHECKPOINT_INVALID,
        Reason.TLOG_INCLUSION_INVALID,
        Reason.TLOG_KEY_NOT_IN_FORCE,
        Reason.TLOG_LOG_UNKNOWN,
        Reason.TLOG_MALFORMED,
        Reason.TLOG_QUORUM_NOT_MET,
    )
)


def log_entry(bundle_id: str, keyid: KeyId, signature: bytes) -> bytes:
    """Return the entry that a log holds for one signature. Source: bundle-format.md 9.4."""
    digest = sha256(signature).hexdigest()
    return f"teebundle/tlog/v1\n{bundle_id}\n{keyid}\nsha256:{digest}\n".encode("ascii")


def _keys(anchors: Iterable[Anchor]) -> tuple[tuple[Anchor, VerifierKey], ...]:
    """Return anchors of kind ``vkey`` with their keys; the trust store has checked the texts."""
    from verify.crypto.notes import read_verifier_key  # noqa: PLC0415  (bundles without proofs)

    return tuple((anchor, read_verifier_key((anchor.data or b"").decode())) for anchor in anchors)


@value
class _Witnessed:
    """``times``: good cosignatures, earliest first. ``wrong``, ``expired``: names of the others."""

    times: tuple[Bound, ...]
    wrong: tuple[str, ...]
    expired: tuple[str, ...]


def _witnesses(inputs: Inputs, checkpoint: Checkpoint) -> _Witnessed:
    """Judge the cosignatures of every witness in the trust store."""
    from verify.crypto.notes import cosigned  # noqa: PLC0415  (bundles without proofs)

    times: list[Bound] = []
    wrong: list[str] = []
    expired: list[str] = []
    for anchor, key in _keys(inputs.trust.of(Purpose.WITNESS)):
        seconds = cosigned(checkpoint.note, key)
        if seconds is None:
            continue
        if seconds is False or seconds > LATEST.timestamp():
            wrong.append(anchor.name)
            continue
        at = datetime.fromtimestamp(seconds, UTC)
        if _held(anchor, at):
            times.append(Bound(instant=at, by=f"name:{anchor.name}"))
        else:
            expired.append(anchor.name)
    times.sort(key=lambda bound: (bound.instant, bound.by))
    return _Witnessed(times=tuple(times), wrong=tuple(wrong), expired=tuple(expired))


def _log_key(
    logs: Iterable[tuple[Anchor, VerifierKey]], checkpoint: Checkpoint
) -> tuple[Anchor, bool] | None:
    """Find the accepted log whose name and key id stand under a checkpoint of its own origin.

    Returns it with whether its signature holds; None where no accepted log is named.
    """
    from verify.crypto.notes import signed  # noqa: PLC0415  (bundles without proofs)

    for anchor, key in logs:
        held = signed(checkpoint.note, key)
        if held is not None:
            return anchor, held and checkpoint.origin == key.name
    return None


def _judge_log(
    inputs: Inputs, anchor: Anchor, checkpoint: Checkpoint, pointer: Pointer, tally: Tally
) -> Bound | None:
    """Judge the witnesses of a checkpoint that an accepted log signed; return what they prove."""
    witnessed = _witnesses(inputs, checkpoint)
    for name in witnessed.wrong:
        what = f"the cosignature of {name} does not hold"
        tally.find(Reason.TLOG_CHECKPOINT_INVALID, pointer, what=what, got=what)
    for name in witnessed.expired:
        what = f"{name} was not in force when it cosigned"
        tally.find(Reason.TLOG_KEY_NOT_IN_FORCE, pointer, what=what, got=what)
    quorum = inputs.policy.time.witness_quorum
    if len(witnessed.times) < quorum:
        tally.find(
            Reason.TLOG_QUORUM_NOT_MET,
            pointer,
            what="too few witnesses that are known here cosigned the checkpoint",
            got=str(len(witnessed.times)),
            expected=f"at least {quorum}",
        )
        return None
    seen = max(1, quorum) - 1
    bound = witnessed.times[seen] if witnessed.times else None
    at = bound.instant if bound is not None else LATEST
    compromised = anchor.standing(at, proven=bound is not None) is Standing.COMPROMISED
    if compromised or (bound is not None and not _held(anchor, at)):
        what = f"the key of {anchor.name} was not in force"
        tally.find(Reason.TLOG_KEY_NOT_IN_FORCE, pointer, what=what, got=what)
        return None
    return bound


def log(inputs: Inputs, facts: Facts) -> Outcome[ProvenTimes]:
    """Row 11: every proof of an accepted log holds for its signature's entry, witnesses enough.

    The instant proven is that at which the quorum was reached: the cosignature that completes it.
    """
    proofs = tuple(_proofs(inputs, facts, "tlogProofs"))
    if not proofs:
        return passed(ProvenTimes())
    from verify.crypto.notes import leaf_hash, read_log_proof, root_of  # noqa: PLC0415  (the same)

    tally = Tally()
    payload = facts.get("envelope.signature", VerifiedPayload)
    logs = _keys(_accepted(inputs, Purpose.TLOG, inputs.policy.time.accept_logs))
    bounds: list[Bound] = []
    own: dict[str, datetime] = {}
    unknown = "a proof of a log that the policy does not name proves nothing here"
    for signer, entry, index in proofs:
        pointer = Pointer(document="bundle", path=f"/material/{entry}/tlogProofs/{index}")
        if not logs:
            tally.note(Reason.TLOG_LOG_UNKNOWN, unknown, pointer)
            continue
        try:
            proof = read_log_proof(inputs.bundle.statement.material[entry].log_proofs[index])
        except FormatError as error:
            tally.find(Reason.TLOG_MALFORMED, pointer, what=error.what, got=error.what)
            continue
        found = _log_key(logs, proof.checkpoint)
        if found is None:
            tally.note(Reason.TLOG_LOG_UNKNOWN, unknown, pointer)
            continue
        anchor, held = found
        if not held:
            what = f"the signature of {anchor.name} under the checkpoint does not hold"
            tally.find(Reason.TLOG_CHECKPOINT_INVALID, pointer, what=what, got=what)
            continue
        leaf = leaf_hash(log_entry(payload.bundle_id, signer.keyid, signer.signature))
        root = root_of(leaf, proof)
        if root != proof.checkpoint.root:
            tally.find(
                Reason.TLOG_INCLUSION_INVALID,
                pointer,
                what="the proof does not lead from this signature's entry to the checkpoint",
                got="no root" if root is None else root.hex(),
                expected=proof.checkpoint.root.hex(),
            )
            continue
        tally.match(f"name:{anchor.name}")
        bound = _judge_log(inputs, anchor, proof.checkpoint, pointer, tally)
        if bound is not None:
            bounds.append(bound)
            own[signer.keyid] = min(bound.instant, own.get(signer.keyid, bound.instant))
    return tally.outcome(ProvenTimes(bounds=tuple(bounds), own=own))


# --- row 12 ----------------------------------------------------------------------------------

BEACON_REASONS: Final = frozenset(
    (
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_WITHHELD,
        Reason.BEACON_LOG_UNKNOWN,
        Reason.BEACON_MALFORMED,
        Reason.BEACON_SIGNATURE_INVALID,
    )
)


def beacon(inputs: Inputs, facts: Facts) -> Outcome[Beacons]:
    """Row 12: checkpoints used as beacons are genuine; from when on they existed.

    A beacon counts from the earliest cosignature of a known witness, once there are as many as the
    policy's quorum; with fewer it proves no time, which row 14 then misses.
    """
    evidence = facts.get("blobs.digests", Evidence)
    artifacts = evidence.statement.of_role("time.checkpoint")
    if not artifacts:
        return passed(Beacons(bounds={}))
    from verify.crypto.notes import read_checkpoint  # noqa: PLC0415  (bundles without beacons)

    tally = Tally()
    logs = _keys(_accepted(inputs, Purpose.BEACON_LOG, inputs.policy.time.accept_logs))
    bounds: dict[str, Bound] = {}
    for artifact in artifacts:
        document = evidence.document(artifact.id)
        try:
            body = evidence.body(artifact.id)
        except ArtifactUnavailable as gone:
            tally.find(gone.reason, gone.pointer, what=str(gone), expected="bytes")
            continue
        try:
            checkpoint = read_checkpoint(body.decode("utf-8"))
        except (FormatError, UnicodeDecodeError) as error:
            what = error.what if isinstance(error, FormatError) else "not UTF-8"
            tally.find(
                Reason.BEACON_MALFORMED,
                Pointer(document=document, start=0, stop=len(body)),
                what=what,
                got=what,
            )
            continue
        pointer = Pointer(document=document)
        found = _log_key(logs, checkpoint)
        if found is None:
            text = "a beacon of a log that the policy does not name proves nothing here"
            tally.note(Reason.BEACON_LOG_UNKNOWN, text, pointer)
            continue
        anchor, held = found
        witnessed = _witnesses(inputs, checkpoint)
        if not held or witnessed.wrong:
            name = witnessed.wrong[0] if held else anchor.name
            what = f"the signature of {name} under the checkpoint does not hold"
            tally.find(Reason.BEACON_SIGNATURE_INVALID, pointer, what=what, got=what)
            continue
        tally.match(f"name:{anchor.name}")
        times = witnessed.times
        if times and len(times) >= inputs.policy.time.witness_quorum:
            first = times[0]
            if _held(anchor, first.instant):
                bounds[artifact.id] = first
    return tally.outcome(Beacons(bounds=bounds))


# --- row 14 ----------------------------------------------------------------------------------

BRACKET_REASONS: Final = frozenset(
    (
        Reason.TIME_CAPTURE_TOO_LONG,
        Reason.TIME_CLAIMED_ONLY,
        Reason.TIME_EXCHANGE_OUTSIDE_CAPTURE,
        Reason.TIME_IMPORT_NOT_ALLOWED,
        Reason.TIME_LEVEL_INSUFFICIENT,
        Reason.TIME_OUTSIDE_BRACKET,
    )
)


def _lower_bounds(statement: Statement, beacons: Beacons) -> tuple[Bound, ...]:
    """Return the bound of each nonce's beacon; nothing unless every nonce has one."""
    found = tuple(
        beacons.bounds.get(nonce.beacon or "")
        for nonce in statement.nonces
        if nonce.sent_as != "none"
    )
    bounds = tuple(bound for bound in found if bound is not None)
    return bounds if len(bounds) == len(found) else ()


def _outside(exchange: Exchange, start: datetime, end: datetime) -> bool:
    times = (exchange.started_at, exchange.first_byte_at, exchange.ended_at)
    return any(time is not None and not start <= time <= end for time in times)


def _claims(inputs: Inputs, statement: Statement, tally: Tally) -> None:
    """Judge the claimed interval by itself."""
    rules, capture = inputs.policy, statement.capture
    if capture.mode == "import" and not rules.session.allow_import:
        tally.find(
            Reason.TIME_IMPORT_NOT_ALLOWED,
            _MODE,
            what="put together from a recording; the policy wants a live capture",
            got="import",
            expected="live",
        )
    span = capture.ended_at - capture.started_at
    if span > timedelta(seconds=rules.time.max_capture_s):
        tally.find(
            Reason.TIME_CAPTURE_TOO_LONG,
            _ENDED,
            what="the capture took longer than the policy allows",
            got=f"{span.total_seconds():.3f} s",
            expected=f"at most {rules.time.max_capture_s} s",
        )
    for exchange in statement.exchanges:
        if _outside(exchange, capture.started_at, capture.ended_at):
            tally.find(
                Reason.TIME_EXCHANGE_OUTSIDE_CAPTURE,
                Pointer(document="statement", path=f"/predicate/exchanges/{exchange.index}"),
                what="an exchange lies outside the claimed interval",
                got=f"{format_time(exchange.started_at)} to {format_time(exchange.ended_at)}",
                expected=f"{format_time(capture.started_at)} to {format_time(capture.ended_at)}",
            )


def bracket(inputs: Inputs, facts: Facts) -> Outcome[Bracket]:
    """Row 14: claimed interval, recorded times and proven bounds agree, at a sufficient level."""
    statement = facts.get("statement.form", VerifiedStatement).statement
    capture, rules = statement.capture, inputs.policy.time
    tally = Tally()
    _claims(inputs, statement, tally)
    upper = upper_bound(facts)
    lowers = _lower_bounds(statement, facts.get("time.beacon", Beacons))
    error = timedelta(milliseconds=rules.clock_error_ms)
    for lower in lowers:
        if lower.instant - error > capture.started_at:
            tally.find(
                Reason.TIME_OUTSIDE_BRACKET,
                _STARTED,
                what="the capture is said to begin before its beacon existed",
                got=format_time(capture.started_at),
                expected=f"not before {format_time(lower.instant)} ({lower.by})",
            )
    if upper is not None and capture.ended_at > upper.instant + error:
        tally.find(
            Reason.TIME_OUTSIDE_BRACKET,
            _ENDED,
            what="the capture is said to end after its signature existed",
            got=format_time(capture.ended_at),
            expected=f"not after {format_time(upper.instant)} ({upper.by})",
        )
    level = Level.CLAIMED
    earliest = min(lowers, key=lambda bound: (bound.instant, bound.by), default=None)
    sealing = timedelta(seconds=rules.max_sealing_delay_s)
    if upper is not None and upper.instant - capture.ended_at <= sealing:
        level = Level.UPPER
    age = timedelta(seconds=rules.max_beacon_age_s)
    if level is Level.UPPER and earliest is not None:
        fresh = capture.started_at - earliest.instant <= age
        level = Level.BRACKETED if fresh else Level.UPPER
    if level.rank < rules.require.rank:
        tally.find(
            Reason.TIME_LEVEL_INSUFFICIENT,
            _ENDED,
            what="nobody the policy accepts vouches for the time of capture as well as it wants",
            got=level.value,
            expected=rules.require.value,
        )
    elif level is Level.CLAIMED:
        text = "only the capturer says when this was captured"
        tally.note(Reason.TIME_CLAIMED_ONLY, text, _ENDED)
    return tally.outcome(Bracket(level=level, not_before=earliest, not_after=upper))


# --- row 15 ----------------------------------------------------------------------------------

SIGNER_STANDING_REASONS: Final = frozenset(
    (
        Reason.SIGNER_COMPROMISED,
        Reason.SIGNER_COMPROMISED_LATER,
        Reason.SIGNER_NOT_IN_FORCE,
        Reason.TRUST_SNAPSHOT_OLD,
    )
)


def _chain_covers(chain: tuple[bytes, ...], at: datetime) -> bool:
    """Whether every certificate of a signer's chain is valid at an instant, ends included."""
    if not chain:
        return True
    from verify.crypto.x509 import load_certificate  # noqa: PLC0415  (bare keys have no chain)

    return all(
        certificate.not_before <= at <= certificate.not_after
        for certificate in map(load_certificate, chain)
    )


def _note_age(inputs: Inputs, at: datetime, tally: Tally) -> None:
    """Note trust files older at ``at`` than the policy likes: a revocation may be missing there."""
    days, most = inputs.trust.oldest_snapshot_days(at), inputs.policy.trust.max_snapshot_age_days
    if days is not None and most is not None and days > most:
        text = f"the oldest trust file is of {days} days before; the policy likes at most {most}"
        tally.note(Reason.TRUST_SNAPSHOT_OLD, text, Pointer(document="trust", path="/issuedAt"))


def signer_standing(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 15: every accepted key in force at U, or at as_of where nothing proves a time.

    A key that is compromised counts only by a proof over its own signature: whoever holds it can
    sign again beside an older, proven signature of somebody else (T4).
    """
    payload = facts.get("envelope.signature", VerifiedPayload)
    upper = upper_bound(facts)
    proven = tuple(facts.get(check, ProvenTimes).own for check in ("time.timestamp", "time.log"))
    judged = facts.get("time.as_of", AsOfInstant)
    at = judged.instant if upper is None else upper.instant
    said = f"{format_time(at)} ({'as of' if upper is None else upper.by})"
    places = {s.keyid: i for i, s in enumerate(inputs.bundle.statement.envelope.signatures)}
    tally = Tally()
    _note_age(inputs, judged.instant, tally)
    for signer in payload.signers:
        place = places.get(signer.keyid, 0)
        pointer = Pointer(document="bundle", path=f"/statement/signatures/{place}")
        purpose = Purpose.CAPTURE_SIGNER_CA if signer.chain else Purpose.CAPTURE_SIGNER
        anchor = inputs.trust.find(purpose, signer.anchor)
        standing = Standing.NOT_IN_FORCE
        if anchor is not None and _chain_covers(signer.chain, at):
            own = min((one[signer.keyid] for one in proven if signer.keyid in one), default=None)
            standing = anchor.standing(at, proven=own is not None)
            if standing is Standing.COMPROMISED_LATER and own is not None:
                standing = anchor.standing(own, proven=True)
        match standing:
            case Standing.IN_FORCE:
                tally.match(signer.name or signer.keyid)
            case Standing.COMPROMISED_LATER:
                tally.match(signer.name or signer.keyid)
                text = f"{signer.name} is known to be compromised since a later time than {said}"
                tally.note(Reason.SIGNER_COMPROMISED_LATER, text, pointer)
            case Standing.NOT_IN_FORCE:
                tally.find(
                    Reason.SIGNER_NOT_IN_FORCE,
                    pointer,
                    what=f"the key {signer.name} was not in force",
                    got=said,
                    expected="a time inside its validity",
                )
            case _:
                tally.find(
                    Reason.SIGNER_COMPROMISED,
                    pointer,
                    what=f"the key {signer.name} is compromised",
                    got=said,
                    expected="a proven time before the compromise",
                )
    return tally.outcome(Affirmed(items=tuple(signer.keyid for signer in payload.signers)))
