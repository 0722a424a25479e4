"""Rows 53, 55, 56: every code of the three checks, and nothing passes by absence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fixtures.chat_sim import ecdsa_signer
from fixtures.dstack_sim import Guest, compose_text, guest, report_object, with_events
from fixtures.intel_pki import QuoteSpec
from tests.checks.chat_case import (
    NONCE,
    Session,
    as_json,
    ask,
    notes,
    policy,
    quote_of,
    quotes,
    reasons,
    refused,
)
from verify.checks import event_log
from verify.checks.event_log import MeasuredComposes, ReplayedLogs
from verify.engine.outcome import Outcome, Status
from verify.engine.reason import Reason
from verify.wire.model import ArtifactState

GUEST = guest("event log check")
SIGNER = ecdsa_signer("event log check")


def session_of(
    subject: Guest = GUEST,
    *,
    shown: Guest | None = None,
    info_as_text: bool = False,
    changes: dict[str, object] | None = None,
) -> Session:
    """Return an attested guest with both log copies and its compose text.

    ``shown``: whose log and compose the answer prints; ``changes``: to ``tcb_info``.
    """
    session = Session()
    printed = shown or subject
    quote = quote_of(subject.fields)
    report = report_object(
        printed, signer=SIGNER, nonce=NONCE, quote=quote, tcb_info_as_text=info_as_text
    )
    if changes is not None:
        info = dict(report["info"])  # type: ignore[call-overload]
        report["info"] = {**info, "tcb_info": {**info["tcb_info"], **changes}}
    session.add("att-1", "provider.attestation", as_json(report))
    session.add("quote-1", "tdx.quote", quote, steps=("select:/intel_quote", "hex"))
    session.add("log-1", "dstack.event-log", as_json(printed.event_log()))
    session.add("log-2", "dstack.event-log", as_json(printed.event_log(stripped=True)))
    session.add("compose-1", "dstack.app-compose", printed.compose.encode())
    session.bind("log-in-evidence", log="log-1", evidence="quote-1")
    session.bind("log-in-evidence", log="log-2", evidence="quote-1")
    session.bind("code-in-evidence", code="compose-1", evidence="quote-1")
    return session


def replay(session: Session) -> Outcome[ReplayedLogs]:
    facts = {"tdx.quote.signature": quotes(session)}
    return ask(event_log.replay, session, policy(), facts)


def compose(
    session: Session, accepted: tuple[bytes, ...] = (GUEST.compose_hash,)
) -> Outcome[MeasuredComposes]:
    facts = {"tdx.quote.signature": quotes(session), "event_log.replay": replay(session).fact}
    return ask(event_log.compose_hash, session, policy(compose_hashes=accepted), facts)


def config(session: Session) -> Outcome[event_log.ConfigIds]:
    facts = {"tdx.quote.signature": quotes(session), "event_log.replay": replay(session).fact}
    return ask(event_log.compose_config_id, session, policy(), facts)


# --- row 53 ---------------------------------------------------------------------------------------


def test_replay_both_copies_explain_the_quote_passes() -> None:
    outcome = replay(session_of())
    assert outcome.status is Status.PASS
    assert [log.log for log in outcome.fact.logs] == ["log-1", "log-2"]
    assert outcome.matched == ("log-1 explains quote-1", "log-2 explains quote-1")


def test_replay_application_events_are_listed() -> None:
    outcome = replay(session_of(guest("app", application=(("my-event", b"x"),))))
    assert "log-1: application event my-event" in outcome.matched


def test_replay_log_of_another_guest_is_rtmr_mismatch() -> None:
    outcome = replay(session_of(shown=guest("another")))
    refused(outcome, *[Reason.TDX_EVENT_LOG_RTMR_MISMATCH] * 2)
    assert str(outcome.findings[1].pointer) == "artifact:log-2#"


def test_replay_second_copy_wrong_fails_though_the_first_holds() -> None:
    session = session_of()
    session.bodies["log-2"] = as_json(guest("another").event_log(stripped=True))
    refused(replay(session), Reason.TDX_EVENT_LOG_RTMR_MISMATCH)


def test_replay_no_log_is_event_log_missing() -> None:
    session = Session()
    session.add("quote-1", "tdx.quote", quote_of(GUEST.fields))
    refused(replay(session), Reason.EVENT_LOG_MISSING)


def test_replay_second_quote_without_log_is_event_log_missing() -> None:
    session = session_of()
    session.add("quote-2", "tdx.quote", quote_of(GUEST.fields))
    outcome = replay(session)
    refused(outcome, Reason.EVENT_LOG_MISSING)
    assert outcome.findings[0].pointer.document == "artifact:quote-2"


def test_replay_sgx_quote_needs_no_log() -> None:
    session = session_of()
    session.add("quote-2", "sgx.quote", QuoteSpec(version=3).build(b"no chain"))
    assert replay(session).status is Status.PASS


def test_replay_log_that_nothing_joins_is_binding_undeclared() -> None:
    session = session_of()
    session.add("log-3", "dstack.event-log", as_json(GUEST.event_log()))
    refused(replay(session), Reason.BINDING_UNDECLARED)


def test_replay_log_joined_to_no_td_quote_is_binding_undeclared() -> None:
    session = session_of()
    session.add("log-3", "dstack.event-log", as_json(GUEST.event_log()))
    session.bind("log-in-evidence", log="log-3", evidence="compose-1")
    refused(replay(session), Reason.BINDING_UNDECLARED)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (ArtifactState.WITHHELD, Reason.ARTIFACT_WITHHELD),
        (ArtifactState.MISSING, Reason.ARTIFACT_MISSING),
        (ArtifactState.EXTERNAL_UNAVAILABLE, Reason.ARTIFACT_EXTERNAL_UNAVAILABLE),
    ],
)
def test_replay_log_without_bytes_never_passes(state: ArtifactState, reason: Reason) -> None:
    session = session_of()
    session.withhold("log-1", state)
    refused(replay(session), reason)


def test_replay_unreadable_log_is_malformed_with_its_place() -> None:
    session = session_of()
    session.bodies["log-1"] = as_json([{"imr": 9}])
    outcome = replay(session)
    refused(outcome, Reason.TDX_EVENT_LOG_MALFORMED)
    assert str(outcome.findings[0].pointer) == "artifact:log-1#/0/digest"


def test_replay_event_the_policy_requires_is_event_missing() -> None:
    subject = with_events(GUEST, [e for e in GUEST.events if e.name != "app-id"])
    refused(replay(session_of(subject)), *[Reason.TDX_EVENT_LOG_EVENT_MISSING] * 2)


def test_replay_fault_inside_a_log_is_reported_before_the_registers() -> None:
    events = [
        replace(e, payload=bytes(20), digest=e.right_digest) if e.name == "app-id" else e
        for e in GUEST.events
    ]
    session = session_of(shown=with_events(GUEST, events))
    session.bodies["log-2"] = as_json(GUEST.event_log(stripped=True))
    refused(
        replay(session), Reason.TDX_EVENT_LOG_DIGEST_MISMATCH, Reason.TDX_EVENT_LOG_RTMR_MISMATCH
    )


# --- row 55 ---------------------------------------------------------------------------------------


def test_compose_hash_measured_and_accepted_passes() -> None:
    outcome = compose(session_of())
    assert outcome.status is Status.PASS
    (found,) = outcome.fact.composes
    assert (found.compose, found.quote, found.compose_hash) == (
        "compose-1",
        "quote-1",
        GUEST.compose_hash,
    )
    assert outcome.fact.of("quote-1") is found
    assert outcome.fact.of("quote-2") is None
    assert not notes(outcome)


def test_compose_hash_other_text_is_compose_hash_mismatch() -> None:
    session = session_of()
    session.bodies["compose-1"] += b" "
    refused(compose(session), Reason.TDX_DSTACK_COMPOSE_HASH_MISMATCH)


def test_compose_hash_without_believed_event_is_event_missing() -> None:
    session = session_of()
    facts = {"tdx.quote.signature": quotes(session), "event_log.replay": replay(session).fact}
    log = facts["event_log.replay"].logs[0]
    claims = log.replay.claims
    bare = replace(log, replay=replace(log.replay, claims=replace(claims, events=())))
    facts["event_log.replay"] = ReplayedLogs(logs=(bare,))
    outcome = ask(
        event_log.compose_hash, session, policy(compose_hashes=(GUEST.compose_hash,)), facts
    )
    refused(outcome, Reason.TDX_EVENT_LOG_EVENT_MISSING)


def test_compose_hash_not_among_the_accepted_is_measurement_not_listed() -> None:
    refused(compose(session_of(), (bytes(32),)), Reason.REFERENCE_MEASUREMENT_NOT_LISTED)


def test_compose_hash_policy_without_any_is_reference_missing() -> None:
    refused(compose(session_of(), ()), Reason.REFERENCE_MISSING)


def test_compose_hash_images_without_digest_are_noted() -> None:
    subject = guest("unpinned", compose=compose_text(pinned=False))
    outcome = compose(session_of(subject), (subject.compose_hash,))
    assert outcome.status is Status.PASS
    assert notes(outcome) == [Reason.COMPOSE_IMAGES_NOT_PINNED]


def test_compose_hash_no_text_is_compose_missing() -> None:
    session = session_of()
    session.artifacts.pop()
    session.bindings.pop()
    refused(compose(session), Reason.COMPOSE_MISSING)


def test_compose_hash_text_that_nothing_joins_is_binding_undeclared() -> None:
    session = session_of()
    session.bindings.pop()
    refused(compose(session), Reason.BINDING_UNDECLARED, Reason.COMPOSE_MISSING)


def test_compose_hash_text_joined_to_no_td_quote_is_binding_undeclared() -> None:
    session = session_of()
    session.add("compose-2", "dstack.app-compose", b"x@sha256:" + b"0" * 64)
    session.bind("code-in-evidence", code="compose-2", evidence="log-1")
    refused(compose(session), Reason.BINDING_UNDECLARED)


def test_compose_hash_text_without_bytes_never_passes() -> None:
    session = session_of()
    session.withhold("compose-1")
    refused(compose(session), Reason.ARTIFACT_WITHHELD)


def test_compose_hash_second_quote_of_the_same_td_needs_no_text_of_its_own() -> None:
    session = session_of()
    session.add("quote-2", "tdx.quote", quote_of(GUEST.fields, b"\x01" * 64))
    session.add("log-3", "dstack.event-log", as_json(GUEST.event_log()))
    session.bind("log-in-evidence", log="log-3", evidence="quote-2")
    assert compose(session).status is Status.PASS


def test_compose_hash_second_td_without_text_is_compose_missing() -> None:
    session = session_of()
    other = guest("other")
    session.add("quote-2", "tdx.quote", quote_of(other.fields))
    session.add("log-3", "dstack.event-log", as_json(other.event_log()))
    session.bind("log-in-evidence", log="log-3", evidence="quote-2")
    outcome = compose(session)
    refused(outcome, Reason.COMPOSE_MISSING)
    assert outcome.findings[0].pointer.document == "artifact:quote-2"


# --- row 56 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("info_as_text", [False, True])
def test_config_id_that_follows_from_the_log_passes(version: int, info_as_text: bool) -> None:
    outcome = config(session_of(guest("c", config_version=version), info_as_text=info_as_text))
    assert outcome.status is Status.PASS
    assert outcome.fact.versions == {"quote-1": version}
    assert not notes(outcome)


def test_config_id_unset_is_noted() -> None:
    outcome = config(session_of(guest("c", config_version=0)))
    assert outcome.status is Status.PASS
    assert notes(outcome) == [Reason.COMPOSE_CONFIG_ID_UNSET]


def quoted_with(mr_config_id: bytes) -> Session:
    session = session_of()
    session.bodies["quote-1"] = quote_of({**GUEST.fields, "mr_config_id": mr_config_id})
    return session


def test_config_id_of_another_compose_is_mismatch() -> None:
    session = quoted_with(b"\x01" + bytes(47))
    refused(
        config(session),
        Reason.TDX_DSTACK_MR_CONFIG_ID_MISMATCH,
        Reason.TDX_DSTACK_MR_AGGREGATED_MISMATCH,
        Reason.TDX_DSTACK_MR_AGGREGATED_MISMATCH,
    )


def test_config_id_of_unknown_version_is_version_unknown() -> None:
    outcome = config(quoted_with(b"\x09" + bytes(47)))
    assert reasons(outcome)[0] is Reason.TDX_DSTACK_MR_CONFIG_ID_VERSION_UNKNOWN


def test_config_id_version_three_without_document_is_evidence_absent() -> None:
    refused(config(session_of(guest("v3", config_version=3))), Reason.EVIDENCE_ABSENT)


def test_config_id_version_three_with_its_document_passes() -> None:
    subject = guest("v3", config_version=3)
    session = session_of(subject)
    session.add("config-1", "dstack.vm-config", subject.mr_config_document)
    session.add("config-2", "dstack.vm-config", None, state=ArtifactState.MISSING)
    for code in ("config-1", "config-2"):
        session.bind("code-in-evidence", code=code, evidence="quote-1")
    assert config(session).status is Status.PASS


def test_config_id_unreadable_key_provider_is_malformed() -> None:
    subject = guest("v2", config_version=2)
    events = [replace(e, payload=b"{") if e.name == "key-provider" else e for e in subject.events]
    refused(config(session_of(with_events(subject, events))), Reason.TDX_EVENT_LOG_MALFORMED)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("rtmr1", Reason.TDX_DSTACK_PUBLISHED_REGISTER_MISMATCH),
        ("compose_hash", Reason.TDX_DSTACK_PUBLISHED_REGISTER_MISMATCH),
        ("mr_aggregated", Reason.TDX_DSTACK_MR_AGGREGATED_MISMATCH),
    ],
)
def test_config_id_echo_that_differs_is_refused_where_it_stands(
    member: str, reason: Reason
) -> None:
    outcome = config(session_of(changes={member: "00" * 48}))
    refused(outcome, reason)
    assert str(outcome.findings[0].pointer) == f"artifact:att-1#/info/tcb_info/{member}"


def test_config_id_without_the_answer_compares_no_echo() -> None:
    session = session_of(changes={"rtmr1": "00" * 48})
    session.withhold("att-1")
    assert config(session).status is Status.PASS


@pytest.mark.parametrize("body", [b"{", b"{}", b'{"info":1}', b'{"info":{"tcb_info":"{"}}'])
def test_config_id_answer_without_readable_echo_compares_none(body: bytes) -> None:
    session = session_of()
    session.bodies["att-1"] = body
    assert config(session).status is Status.PASS


def test_config_id_quote_of_other_origin_compares_no_echo() -> None:
    session = session_of(changes={"rtmr1": "00" * 48})
    session.artifacts[1] = replace(session.artifacts[1], origin=session.artifacts[0].origin)
    assert config(session).status is Status.PASS
