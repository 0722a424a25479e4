"""Rows of time called directly: bounds to the second, levels, quorums, reasons declared."""

from __future__ import annotations

import ast
import inspect
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from types import SimpleNamespace

import pytest

from fixtures import goods
from fixtures.trust_file import document as trust_document
from tests.checks.time_case import BEACON, WITNESSES, Authority, Logged, NoteKey, anchor, trust
from verify.checks import reference, times
from verify.checks.times import (
    EARLIEST,
    LATEST,
    Beacons,
    Bracket,
    ProvenTimes,
    log_entry,
    upper_bound,
)
from verify.engine.asof import AsOf, AsOfInstant, AsOfSource
from verify.engine.check import Facts
from verify.engine.outcome import Status
from verify.engine.reason import Reason
from verify.engine.report import Bound
from verify.engine.value import replace
from verify.policy.loader import load_policy
from verify.policy.model import Level
from verify.trust.file import read_trust_file
from verify.trust.store import TrustStore
from verify.wire.container import read_bundle
from verify.wire.model import ArtifactState, Evidence
from verify.wire.statement import (
    _MAKING,
    VerifiedStatement,
    establish_payload,
    read_statement,
)

SECOND = timedelta(seconds=1)
EVERYTHING = frozenset(
    (
        "statement.form",
        "time.as_of",
        "time.timestamp",
        "time.log",
        "time.beacon",
        "envelope.signature",
        "blobs.digests",
    )
)


@pytest.fixture(scope="module")
def case():
    return goods.good("nanogpt")


@pytest.fixture(scope="module")
def bundle(case):
    return read_bundle(case.bundle)


@pytest.fixture(scope="module")
def statement(bundle):
    return read_statement(bundle.statement.envelope.payload).statement


@pytest.fixture(scope="module")
def policy(case):
    return load_policy(case.policy)


def verified(statement):
    return VerifiedStatement(_MAKING, None, statement)


def inputs(policy, *, as_of=None, trusted=None, bundle=None):
    store = TrustStore.build(files=[read_trust_file(trusted or trust())])
    return SimpleNamespace(policy=policy, trust=store, as_of=as_of or AsOf.capture(), bundle=bundle)


def facts(**found):
    return Facts({name.replace("__", "."): fact for name, fact in found.items()}, EVERYTHING)


def with_time(policy, **rules):
    return replace(policy, time=replace(policy.time, **rules))


# --- as_of -----------------------------------------------------------------------------------


@pytest.mark.parametrize("instant", [EARLIEST, LATEST])
def test_as_of_at_both_ends_of_the_range_is_resolved(statement, policy, instant):
    found = times.as_of(
        inputs(policy, as_of=AsOf.at(instant)), facts(statement__form=verified(statement))
    )
    assert found.status is Status.PASS
    assert found.fact.instant == instant
    assert found.fact.source is AsOfSource.EXPLICIT


@pytest.mark.parametrize("instant", [EARLIEST - SECOND, LATEST + SECOND])
def test_as_of_one_second_outside_the_range_is_refused(statement, policy, instant):
    found = times.as_of(
        inputs(policy, as_of=AsOf.now(instant)), facts(statement__form=verified(statement))
    )
    assert found.reason is Reason.TIME_AS_OF_OUT_OF_RANGE
    assert "now" in found.detail


def test_as_of_capture_is_its_end_cut_to_whole_seconds(statement, policy):
    ended = statement.capture.ended_at.replace(microsecond=999_000)
    late = replace(statement, capture=replace(statement.capture, ended_at=ended))
    found = times.as_of(inputs(policy), facts(statement__form=verified(late)))
    assert found.fact.instant == ended.replace(microsecond=0)
    assert found.fact.claimed_end == ended
    assert found.fact.inside(found.fact.instant, found.fact.instant)
    assert found.fact.inside(found.fact.instant, None)
    assert not found.fact.inside(found.fact.instant + SECOND, None)
    assert not found.fact.inside(EARLIEST, found.fact.instant - SECOND)
    assert found.fact.ended_before(ended + SECOND) == SECOND


def test_as_of_request_is_aware_and_consistent():
    east = datetime.fromisoformat("2026-06-10T11:00:00.900+02:00")
    assert AsOf.at(east).instant == datetime(2026, 6, 10, 9, tzinfo=UTC)
    with pytest.raises(ValueError, match="ambiguous"):
        AsOf.at(datetime(2026, 6, 10))  # noqa: DTZ001  (naive on purpose)
    with pytest.raises(ValueError, match="carries"):
        AsOf(source=AsOfSource.CAPTURE, instant=east)
    with pytest.raises(ValueError, match="carries"):
        AsOf(source=AsOfSource.NOW)


# --- the bracket -----------------------------------------------------------------------------


def bound(instant, by="name:test-tsa"):
    return Bound(instant=instant, by=by)


def bracket(statement, policy, *, upper=None, lower=None, nonces=None):
    """Judge the bracket of a statement whose nonces commit to one beacon."""
    committed = tuple(replace(nonce, beacon="beacon-1") for nonce in statement.nonces)
    statement = replace(statement, nonces=committed if nonces is None else nonces(committed))
    found = {} if lower is None else {"beacon-1": bound(lower, "name:test-beacon")}
    return times.bracket(
        inputs(policy),
        facts(
            statement__form=verified(statement),
            time__timestamp=ProvenTimes(bounds=() if upper is None else (bound(upper),)),
            time__log=ProvenTimes(),
            time__beacon=Beacons(bounds=found),
        ),
    )


@pytest.fixture
def strict(policy):
    return with_time(
        policy,
        require=Level.BRACKETED,
        max_sealing_delay_s=3600,
        max_beacon_age_s=600,
        clock_error_ms=2000,
    )


def test_bracket_with_both_bounds_is_bracketed(statement, strict):
    start, end = statement.capture.started_at, statement.capture.ended_at
    found = bracket(statement, strict, upper=end + SECOND, lower=start - SECOND)
    assert found.status is Status.PASS
    assert found.fact == Bracket(
        level=Level.BRACKETED,
        not_before=bound(start - SECOND, "name:test-beacon"),
        not_after=bound(end + SECOND),
    )
    assert found.notes == ()


@pytest.mark.parametrize(
    ("upper", "lower", "level"),
    [
        (timedelta(seconds=3600), timedelta(seconds=600), Level.BRACKETED),
        (timedelta(seconds=3600, milliseconds=1), timedelta(seconds=600), Level.CLAIMED),
        (timedelta(seconds=3600), timedelta(seconds=600, milliseconds=1), Level.UPPER),
        (timedelta(seconds=-2), timedelta(seconds=-2), Level.BRACKETED),
        (timedelta(seconds=3600), None, Level.UPPER),
        (None, timedelta(seconds=1), Level.CLAIMED),
        (None, None, Level.CLAIMED),
    ],
)
def test_bracket_level_is_exact_at_the_ends_of_its_windows(statement, strict, upper, lower, level):
    start, end = statement.capture.started_at, statement.capture.ended_at
    found = bracket(
        statement,
        with_time(strict, require=Level.CLAIMED),
        upper=None if upper is None else end + upper,
        lower=None if lower is None else start - lower,
    )
    assert found.status is Status.PASS
    assert found.fact.level is level
    said = [note.reason for note in found.notes]
    assert said == ([Reason.TIME_CLAIMED_ONLY] if level is Level.CLAIMED else [])


@pytest.mark.parametrize(
    ("upper", "lower", "path"),
    [
        (
            timedelta(seconds=-2, milliseconds=-1),
            timedelta(seconds=1),
            "/predicate/capture/endedAt",
        ),
        (
            timedelta(seconds=1),
            timedelta(seconds=-2, milliseconds=-1),
            "/predicate/capture/startedAt",
        ),
    ],
)
def test_bracket_one_millisecond_outside_is_refused(statement, strict, upper, lower, path):
    start, end = statement.capture.started_at, statement.capture.ended_at
    found = bracket(statement, strict, upper=end + upper, lower=start - lower)
    assert found.reason is Reason.TIME_OUTSIDE_BRACKET
    assert found.findings[0].pointer.path == path


@pytest.mark.parametrize(
    ("have", "want", "enough"),
    [
        (Level.CLAIMED, Level.CLAIMED, True),
        (Level.CLAIMED, Level.UPPER, False),
        (Level.UPPER, Level.UPPER, True),
        (Level.UPPER, Level.BRACKETED, False),
        (Level.BRACKETED, Level.BRACKETED, True),
        (Level.BRACKETED, Level.UPPER, True),
    ],
)
def test_bracket_level_is_enough_from_the_wanted_one_on(statement, strict, have, want, enough):
    start, end = statement.capture.started_at, statement.capture.ended_at
    found = bracket(
        statement,
        with_time(strict, require=want),
        upper=None if have is Level.CLAIMED else end,
        lower=start if have is Level.BRACKETED else None,
    )
    assert (found.status is Status.PASS) is enough
    if not enough:
        assert found.reason is Reason.TIME_LEVEL_INSUFFICIENT


def test_bracket_needs_a_beacon_behind_every_nonce(statement, strict):
    start, end = statement.capture.started_at, statement.capture.ended_at
    found = bracket(
        statement,
        strict,
        upper=end,
        lower=start,
        nonces=lambda all_of: (replace(all_of[0], beacon=None), *all_of[1:]),
    )
    assert found.reason is Reason.TIME_LEVEL_INSUFFICIENT


def test_bracket_of_nonces_that_were_never_sent_has_no_lower_bound(statement, strict):
    start, end = statement.capture.started_at, statement.capture.ended_at
    found = bracket(
        statement,
        strict,
        upper=end,
        lower=start,
        nonces=lambda all_of: tuple(replace(nonce, sent_as="none") for nonce in all_of),
    )
    assert found.reason is Reason.TIME_LEVEL_INSUFFICIENT


def test_upper_bound_is_the_earliest_of_all_proofs():
    early, late = datetime(2026, 6, 10, tzinfo=UTC), datetime(2026, 6, 11, tzinfo=UTC)
    found = upper_bound(
        facts(
            time__timestamp=ProvenTimes(bounds=(bound(late),)),
            time__log=ProvenTimes(bounds=(bound(early, "name:w"), bound(late))),
        )
    )
    assert found == bound(early, "name:w")
    assert upper_bound(facts(time__timestamp=ProvenTimes(), time__log=ProvenTimes())) is None


@pytest.mark.parametrize("place", ["started_at", "first_byte_at", "ended_at"])
@pytest.mark.parametrize(("side", "outside"), [(0, False), (1, True)])
def test_bracket_exchange_at_the_end_of_the_interval_is_inside_and_beyond_it_not(
    statement, policy, place, side, outside
):
    end = statement.capture.ended_at
    exchange = replace(statement.exchanges[-1], **{place: end + side * timedelta(milliseconds=1)})
    changed = replace(statement, exchanges=(*statement.exchanges[:-1], exchange))
    found = bracket(changed, policy)
    assert (found.reason is Reason.TIME_EXCHANGE_OUTSIDE_CAPTURE) is outside


@pytest.mark.parametrize(("extra", "refused"), [(0, False), (1, True)])
def test_bracket_capture_of_exactly_the_longest_span_is_allowed(statement, policy, extra, refused):
    span = statement.capture.ended_at - statement.capture.started_at
    started = statement.capture.started_at - timedelta(milliseconds=extra)
    changed = replace(statement, capture=replace(statement.capture, started_at=started))
    found = bracket(changed, with_time(policy, max_capture_s=int(span.total_seconds())))
    assert (found.reason is Reason.TIME_CAPTURE_TOO_LONG) is refused


def test_bracket_import_is_allowed_by_name_only(statement, policy):
    recorded = replace(statement, capture=replace(statement.capture, mode="import"))
    assert bracket(recorded, policy).reason is Reason.TIME_IMPORT_NOT_ALLOWED
    allowed = replace(policy, session=replace(policy.session, allow_import=True))
    assert bracket(recorded, allowed).status is Status.PASS


# --- proofs ----------------------------------------------------------------------------------


def evidence_of(statement, bodies, states=None):
    return Evidence(
        statement=statement,
        bodies=bodies,
        states=states or dict.fromkeys(bodies, ArtifactState.PRESENT),
    )


def listing(statement, artifact_id):
    artifact = replace(
        statement.artifacts[0],
        id=artifact_id,
        role="time.checkpoint",
        index=len(statement.artifacts),
    )
    known = {a.id: a for a in (*statement.artifacts, artifact)}
    return replace(statement, artifacts=(*statement.artifacts, artifact), _by_id=known)


@pytest.fixture
def believing(policy):
    return with_time(policy, accept_logs=("name:test-log", "name:test-beacon"), witness_quorum=2)


def beacon(statement, policy, body, *, trusted=None, states=None):
    found = evidence_of(
        listing(statement, "beacon-1"), {} if body is None else {"beacon-1": body}, states
    )
    return times.beacon(inputs(policy, trusted=trusted), facts(blobs__digests=found))


def checkpoint(*times_of, **members):
    cosigned = tuple(zip(WITNESSES, times_of, strict=False))
    return Logged(entry=b"x", log=BEACON, cosigned=cosigned, **members).checkpoint().encode()


NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)


def test_beacon_counts_from_its_earliest_cosignature(statement, believing):
    found = beacon(statement, believing, checkpoint(NOON + SECOND, NOON))
    assert found.fact.bounds == {"beacon-1": bound(NOON, "name:test-witness-2")}
    assert found.matched == ("name:test-beacon",)


def test_beacon_with_too_few_witnesses_proves_no_time(statement, believing):
    found = beacon(statement, believing, checkpoint(NOON))
    assert found.status is Status.PASS
    assert found.fact.bounds == {}


def test_beacon_of_a_log_key_that_ended_proves_no_time(statement, believing):
    ended = {"validFor": {"start": "2020-01-01T00:00:00.000Z", "end": "2026-06-10T11:59:59.999Z"}}
    found = beacon(statement, believing, checkpoint(NOON, NOON), trusted=trust(test_beacon=ended))
    assert found.fact.bounds == {}


def test_beacon_that_no_policy_names_is_a_note(statement, policy):
    found = beacon(statement, policy, checkpoint(NOON, NOON))
    assert found.status is Status.PASS
    assert [note.reason for note in found.notes] == [Reason.BEACON_LOG_UNKNOWN]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (ArtifactState.WITHHELD, Reason.ARTIFACT_WITHHELD),
        (ArtifactState.MISSING, Reason.ARTIFACT_MISSING),
        (ArtifactState.EXTERNAL_UNAVAILABLE, Reason.ARTIFACT_EXTERNAL_UNAVAILABLE),
    ],
)
def test_beacon_without_bytes_is_a_gap(statement, believing, state, reason):
    found = beacon(statement, believing, None, states={"beacon-1": state})
    assert (found.status, found.reason) == (Status.BLOCKED, reason)


def test_beacon_that_is_not_utf8_is_malformed(statement, believing):
    assert beacon(statement, believing, b"\xff\n").reason is Reason.BEACON_MALFORMED


def test_beacon_is_asked_of_nobody_where_none_is_listed(statement, believing):
    found = times.beacon(inputs(believing), facts(blobs__digests=evidence_of(statement, {})))
    assert found.fact == Beacons(bounds={})


def with_material(bundle, **members):
    record = bundle.statement
    keyid = record.envelope.signatures[0].keyid
    material = SimpleNamespace(keyid=members.pop("keyid", keyid), timestamps=(), log_proofs=())
    vars(material).update(members)
    return replace(bundle, statement=replace(record, material=(material,)))


def payload(bundle):
    envelope = bundle.statement.envelope
    signature = envelope.signatures[0]
    signer = SimpleNamespace(
        keyid=signature.keyid,
        name="test-capture-2026",
        anchor=signature.keyid[7:],
        chain=(),
        signature=signature.sig,
    )
    return establish_payload(envelope.payload, envelope.id, (signer,))


def proven(bundle, *times_of):
    signature = bundle.statement.envelope.signatures[0]
    entry = log_entry(bundle.id, signature.keyid, signature.sig)
    return Logged(entry=entry, cosigned=tuple(zip(WITNESSES, times_of, strict=False))).proof()


@pytest.mark.parametrize(("quorum", "completed"), [(0, 0), (1, 0), (2, 1), (3, 2)])
def test_log_time_is_that_of_the_cosignature_that_completes_the_quorum(
    bundle, believing, quorum, completed
):
    seen = (NOON, NOON + SECOND, NOON + 2 * SECOND)
    changed = with_material(bundle, log_proofs=(proven(bundle, *reversed(seen)),))
    rules = with_time(believing, witness_quorum=quorum)
    found = times.log(inputs(rules, bundle=changed), facts(envelope__signature=payload(changed)))
    assert [b.instant for b in found.fact.bounds] == [seen[completed]]


def test_log_proof_without_witnesses_proves_no_time_where_none_is_wanted(bundle, believing):
    changed = with_material(bundle, log_proofs=(proven(bundle),))
    rules = with_time(believing, witness_quorum=0)
    found = times.log(inputs(rules, bundle=changed), facts(envelope__signature=payload(changed)))
    assert found.status is Status.PASS
    assert found.fact.bounds == ()
    assert found.matched == ("name:test-log",)


def test_log_key_compromised_at_any_time_counts_for_nothing_without_a_witness(bundle, believing):
    changed = with_material(bundle, log_proofs=(proven(bundle),))
    lost = {"status": "compromised", "since": "2040-01-01T00:00:00.000Z"}
    asked = inputs(
        with_time(believing, witness_quorum=0), bundle=changed, trusted=trust(test_log=lost)
    )
    found = times.log(asked, facts(envelope__signature=payload(changed)))
    assert found.reason is Reason.TLOG_KEY_NOT_IN_FORCE


def test_log_cosignature_beyond_any_calendar_is_refused(bundle, believing):
    changed = with_material(bundle, log_proofs=(proven(bundle, LATEST + SECOND, NOON),))
    found = times.log(
        inputs(believing, bundle=changed), facts(envelope__signature=payload(changed))
    )
    assert found.reason is Reason.TLOG_CHECKPOINT_INVALID


def test_log_unknown_is_a_note_whether_or_not_another_is_named(bundle, policy, believing):
    signature = bundle.statement.envelope.signatures[0]
    entry = log_entry(bundle.id, signature.keyid, signature.sig)
    other = Logged(entry=entry, log=NoteKey(name="other.example.test")).proof()
    changed = with_material(bundle, log_proofs=(other,))
    for rules in (policy, believing):
        found = times.log(
            inputs(rules, bundle=changed), facts(envelope__signature=payload(changed))
        )
        assert found.status is Status.PASS
        assert [note.reason for note in found.notes] == [Reason.TLOG_LOG_UNKNOWN]


def test_proofs_about_a_signature_that_does_not_count_are_skipped(bundle, believing):
    changed = with_material(
        bundle, keyid="sha256:" + "00" * 32, log_proofs=("garbage",), timestamps=(b"x",)
    )
    asked = inputs(believing, bundle=changed)
    seen = facts(envelope__signature=payload(changed))
    assert times.log(asked, seen).fact == ProvenTimes()
    assert times.timestamp(asked, seen).fact == ProvenTimes()


def test_timestamp_of_nobody_named_is_not_even_parsed(bundle, policy):
    changed = with_material(bundle, timestamps=(b"garbage",))
    found = times.timestamp(
        inputs(policy, bundle=changed), facts(envelope__signature=payload(changed))
    )
    assert found.status is Status.PASS
    assert [note.reason for note in found.notes] == [Reason.TIMESTAMP_AUTHORITY_UNKNOWN]


# --- signers ---------------------------------------------------------------------------------


def standing(bundle, policy, *, upper=None, at=NOON, trusted=None, own=None):
    mine = {} if upper is None else {s.keyid: upper for s in payload(bundle).signers}
    return times.signer_standing(
        inputs(policy, bundle=bundle, trusted=trusted),
        facts(
            envelope__signature=payload(bundle),
            time__as_of=AsOfInstant(
                instant=at, source=AsOfSource.EXPLICIT, claimed_start=at, claimed_end=at
            ),
            time__timestamp=ProvenTimes(
                bounds=() if upper is None else (bound(upper),),
                own=mine if own is None else own,
            ),
            time__log=ProvenTimes(),
        ),
    )


@pytest.mark.parametrize(
    ("start", "end", "held"),
    [
        (0, 0, True),
        (-1, 1, True),
        (1, 2, False),
        (-2, -1, False),
    ],
)
@pytest.mark.parametrize("proven_time", [False, True])
def test_signer_is_judged_inside_its_time_ends_included(
    bundle, policy, start, end, held, proven_time
):
    def iso(offset):
        return (NOON + offset * SECOND).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    window = {"validFor": {"start": iso(start), "end": iso(end)}}
    found = standing(
        bundle,
        policy,
        trusted=trust(test_capture_2026=window),
        upper=NOON if proven_time else None,
        at=NOON + timedelta(days=365) if proven_time else NOON,
    )
    assert (found.status is Status.PASS) is held
    if not held:
        assert found.reason is Reason.SIGNER_NOT_IN_FORCE


@pytest.mark.parametrize(("offset", "held"), [(0, True), (1, False)])
def test_signer_by_certificate_needs_the_certificate_to_be_valid_then(bundle, policy, offset, held):
    ends = Authority(end=NOON)
    chained = SimpleNamespace(
        keyid="sha256:00",
        name="test-ca",
        anchor=sha256(Authority(label="ca").root()).hexdigest(),
        chain=(ends.root(),),
        signature=b"",
    )
    store = TrustStore.build(
        files=[
            read_trust_file(
                trust_document(
                    [anchor("test-ca", "capture-signer-ca", Authority(label="ca").root(), "x509")]
                )
            )
        ]
    )
    at = NOON + offset * SECOND
    found = times.signer_standing(
        SimpleNamespace(policy=policy, trust=store, bundle=bundle),
        facts(
            envelope__signature=establish_payload(b"x", bundle.id, (chained,)),
            time__as_of=AsOfInstant(
                instant=at, source=AsOfSource.EXPLICIT, claimed_start=at, claimed_end=at
            ),
            time__timestamp=ProvenTimes(),
            time__log=ProvenTimes(),
        ),
    )
    assert (found.status is Status.PASS) is held
    if not held:
        assert found.reason is Reason.SIGNER_NOT_IN_FORCE


@pytest.mark.parametrize(("most", "noted"), [(0, True), (8, True), (9, False), (None, False)])
def test_trust_file_older_than_the_policy_likes_is_a_note(bundle, policy, most, noted):
    rules = replace(policy, trust=replace(policy.trust, max_snapshot_age_days=most))
    issued = datetime(2026, 6, 1, 12, tzinfo=UTC)
    asked = inputs(rules, bundle=bundle)
    file = replace(asked.trust.files[0], issued_at=issued)
    asked.trust = TrustStore.build(files=[file])
    found = times.signer_standing(
        asked,
        facts(
            envelope__signature=payload(bundle),
            time__as_of=AsOfInstant(
                instant=NOON, source=AsOfSource.EXPLICIT, claimed_start=NOON, claimed_end=NOON
            ),
            time__timestamp=ProvenTimes(),
            time__log=ProvenTimes(),
        ),
    )
    assert found.status is Status.PASS
    assert ([note.reason for note in found.notes] == [Reason.TRUST_SNAPSHOT_OLD]) is noted


def test_signer_lost_after_the_proven_time_is_a_note(bundle, policy):
    lost = {"status": "compromised", "since": "2026-06-10T12:00:00.001Z"}
    found = standing(bundle, policy, upper=NOON, trusted=trust(test_capture_2026=lost))
    assert [note.reason for note in found.notes] == [Reason.SIGNER_COMPROMISED_LATER]


def test_signer_lost_later_counts_only_by_a_proof_over_its_own_signature(bundle, policy):
    """Another's time stamp says nothing of when the thief of this key signed beside it."""
    lost = {"status": "compromised", "since": "2026-06-10T12:00:00.001Z"}
    (signer,) = payload(bundle).signers
    for own in ({}, {"sha256:another": NOON}, {signer.keyid: NOON + SECOND}):
        believed = trust(test_capture_2026=lost)
        found = standing(bundle, policy, upper=NOON, trusted=believed, own=own)
        assert found.reason is Reason.SIGNER_COMPROMISED


def test_signer_whose_trust_entry_is_gone_is_not_in_force(bundle, policy):
    stranger = establish_payload(
        b"x",
        bundle.id,
        (SimpleNamespace(keyid="sha256:00", name="", anchor="00" * 32, chain=(), signature=b""),),
    )
    found = times.signer_standing(
        inputs(policy, bundle=bundle),
        facts(
            envelope__signature=stranger,
            time__as_of=AsOfInstant(
                instant=NOON, source=AsOfSource.EXPLICIT, claimed_start=NOON, claimed_end=NOON
            ),
            time__timestamp=ProvenTimes(),
            time__log=ProvenTimes(),
        ),
    )
    assert found.reason is Reason.SIGNER_NOT_IN_FORCE


# --- declared reasons ------------------------------------------------------------------------


@pytest.mark.parametrize("module", [times, reference])
def test_module_names_no_code_that_none_of_its_checks_declares(module):
    declared = set().union(
        *(value for name, value in vars(module).items() if name.endswith("_REASONS"))
    )
    tree = ast.parse(inspect.getsource(module))
    named = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "Reason"
    }
    assert named == {reason.name for reason in declared}


def test_log_entry_is_four_lines_of_ascii():
    entry = log_entry("sha256:" + "aa" * 32, "sha256:" + "bb" * 32, b"signature")
    lines = entry.decode("ascii").split("\n")
    assert lines[0] == "teebundle/tlog/v1"
    assert lines[4] == ""
    assert len(lines) == 5
