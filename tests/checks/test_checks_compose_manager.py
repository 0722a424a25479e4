"""Row 57: the launcher's list, its quote, its nonce, its TD."""

from __future__ import annotations

from typing import Literal

import pytest

from fixtures.chat_sim import ecdsa_signer
from fixtures.dstack_sim import (
    Guest,
    actions,
    actions_hash,
    guest,
    manager_attestation,
    report_data,
    report_object,
)
from tests.checks.chat_case import (
    NONCE,
    Session,
    as_json,
    ask,
    notes,
    policy,
    quote_of,
    quotes,
    refused,
)
from verify.checks import compose_manager
from verify.checks.compose_manager import Launchers
from verify.engine.outcome import Outcome, Status
from verify.engine.reason import Reason

GUEST = guest("launcher")
SIGNER = ecdsa_signer("launcher")
LISTED = actions()
OTHER_NONCE = bytes(reversed(range(32)))
PATH = "/compose_manager_attestation"


def session_of(
    *,
    own: Guest = GUEST,
    nonce: bytes = NONCE,
    quoted: bytes | None = None,
    dump: Literal["sorted", "as-sent", "other"] = "sorted",
    changes: dict[str, object] | None = None,
    model_nonce: bytes = NONCE,
) -> Session:
    """Return a report object with a compose manager; ``quoted``: its quote's report data."""
    attested = actions_hash(LISTED, dump)
    model_quote = quote_of(GUEST.fields, report_data(SIGNER, model_nonce))
    own_quote = quote_of(own.fields, attested + nonce if quoted is None else quoted)
    manager = manager_attestation(
        own, nonce=nonce, quote=own_quote, listed=LISTED, attested=attested
    )
    report = report_object(
        GUEST,
        signer=SIGNER,
        nonce=model_nonce,
        quote=model_quote,
        extra={"compose_manager_attestation": {**manager, **(changes or {})}},
    )
    session = Session()
    session.add("att-1", "provider.attestation", as_json(report))
    session.add("quote-1", "tdx.quote", model_quote, steps=("select:/intel_quote", "hex"))
    session.add("quote-2", "tdx.quote", own_quote, steps=(f"select:{PATH}/quote", "hex"))
    session.add(
        "actions-1", "dstack.compose-actions", as_json(LISTED), steps=(f"span:{PATH}/actions",)
    )
    session.bind("nonce-in-evidence", nonce="nonce-1", evidence="quote-1")
    return session


def judge(session: Session, *, foreign: bool = False) -> Outcome[Launchers]:
    rules = policy(session={"allow_foreign_nonce": foreign})
    return ask(compose_manager.manager, session, rules, {"tdx.quote.signature": quotes(session)})


@pytest.mark.parametrize("dump", ["sorted", "as-sent"])
def test_manager_attested_in_the_models_td_passes(dump: Literal["sorted", "as-sent"]) -> None:
    outcome = judge(session_of(dump=dump))
    assert outcome.status is Status.PASS
    (launcher,) = outcome.fact.launchers
    assert (launcher.quote, launcher.model_quote, launcher.dump) == ("quote-2", "quote-1", dump)
    assert not notes(outcome)


def test_manager_other_quotes_of_the_bundle_are_not_taken_for_its_own() -> None:
    session = session_of()
    other = quote_of(guest("bystander").fields)
    session.add("quote-3", "tdx.quote", other, steps=("select:/elsewhere", "hex"))
    session.add("quote-4", "tdx.quote", other, steps=("select:/intel_quote", "hex"), source="att-2")
    session.add("quote-5", "tdx.quote", other)
    assert judge(session).status is Status.PASS


def test_manager_list_of_unknown_dump_is_noted() -> None:
    outcome = judge(session_of(dump="other"))
    assert outcome.status is Status.PASS
    assert notes(outcome) == [Reason.COMPOSE_MANAGER_ACTIONS_NOT_REPRODUCIBLE]


def test_manager_none_listed_is_evidence_absent() -> None:
    session = session_of()
    session.artifacts.pop()
    refused(judge(session), Reason.EVIDENCE_ABSENT)


def test_manager_hash_not_in_its_quote_is_report_data_mismatch() -> None:
    refused(judge(session_of(quoted=bytes(64))), Reason.COMPOSE_MANAGER_REPORT_DATA_MISMATCH)


def test_manager_of_another_td_is_other_td() -> None:
    refused(judge(session_of(own=guest("another"))), Reason.COMPOSE_MANAGER_OTHER_TD)


def test_manager_of_another_nonce_is_nonce_mismatch() -> None:
    outcome = judge(session_of(nonce=OTHER_NONCE))
    refused(outcome, Reason.FRESHNESS_COMPOSE_MANAGER_NONCE_MISMATCH)
    assert outcome.findings[0].expected == NONCE.hex()


def test_manager_nonce_of_the_proxy_is_accepted_where_the_policy_says_so() -> None:
    session = session_of(nonce=OTHER_NONCE, model_nonce=OTHER_NONCE)
    refused(judge(session), Reason.FRESHNESS_COMPOSE_MANAGER_NONCE_MISMATCH)
    outcome = judge(session, foreign=True)
    assert outcome.status is Status.PASS
    assert notes(outcome) == [Reason.NONCE_FOREIGN_ACCEPTED]


def test_manager_nonce_of_nobody_is_never_accepted() -> None:
    session = session_of(nonce=OTHER_NONCE)
    refused(judge(session, foreign=True), Reason.FRESHNESS_COMPOSE_MANAGER_NONCE_MISMATCH)


def test_manager_own_nonce_binding_is_preferred() -> None:
    session = session_of()
    session.bindings.clear()
    session.bind("nonce-in-evidence", nonce="nonce-1", evidence="quote-2")
    assert judge(session).status is Status.PASS


def test_manager_without_declared_nonce_is_binding_undeclared() -> None:
    session = session_of()
    session.bindings.clear()
    refused(judge(session), Reason.BINDING_UNDECLARED)


@pytest.mark.parametrize(
    ("changes", "reason", "path"),
    [
        ({"actions_hash": None}, Reason.SHAPE_FIELD_MISSING, "/actions_hash"),
        ({"actions_hash": 1}, Reason.SHAPE_FIELD_TYPE, "/actions_hash"),
        ({"nonce": "Z" * 64}, Reason.SHAPE_ENCODING_INVALID, "/nonce"),
        ({"nonce": "00"}, Reason.SHAPE_LENGTH_INVALID, "/nonce"),
    ],
)
def test_manager_member_of_other_form_names_its_code(
    changes: dict[str, object], reason: Reason, path: str
) -> None:
    outcome = judge(session_of(changes=changes))
    refused(outcome, reason)
    assert str(outcome.findings[0].pointer) == f"artifact:att-1#{PATH}{path}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", Reason.EXCHANGE_BODY_NOT_JSON),
        (b"{}", Reason.SHAPE_FIELD_MISSING),
        (b'{"compose_manager_attestation":1}', Reason.SHAPE_FIELD_TYPE),
    ],
)
def test_manager_answer_without_it_names_its_code(body: bytes, reason: Reason) -> None:
    session = session_of()
    session.bodies["att-1"] = body
    refused(judge(session), reason)


def test_manager_list_that_is_no_array_is_field_type() -> None:
    session = session_of()
    session.bodies["actions-1"] = b"{}"
    refused(judge(session), Reason.SHAPE_FIELD_TYPE)


@pytest.mark.parametrize("artifact", ["att-1", "actions-1"])
def test_manager_without_bytes_never_passes(artifact: str) -> None:
    session = session_of()
    session.withhold(artifact)
    refused(judge(session), Reason.ARTIFACT_WITHHELD)


@pytest.mark.parametrize("quote", ["quote-1", "quote-2"])
def test_manager_without_both_quotes_is_evidence_absent(quote: str) -> None:
    session = session_of()
    session.artifacts = [entry for entry in session.artifacts if entry.id != quote]
    refused(judge(session), Reason.EVIDENCE_ABSENT)


@pytest.mark.parametrize("steps", [(), ("span:/x/actions",), ("span:/x", "text")])
def test_manager_list_of_other_origin_is_source_unavailable(steps: tuple[str, ...]) -> None:
    session = session_of()
    session.artifacts.pop()
    session.add("actions-1", "dstack.compose-actions", as_json(LISTED), steps=steps)
    refused(judge(session), Reason.EVIDENCE_SOURCE_UNAVAILABLE)
