"""The Statement's own look-ups: by id, role, body; what is absent says why."""

from __future__ import annotations

import pytest

from fixtures.worked_example import QUOTE, Draft
from tests.checks.container_case import outcomes
from verify.engine.reason import Reason
from verify.wire.model import ArtifactState, ArtifactUnavailable
from verify.wire.statement import read_statement


@pytest.fixture(scope="module")
def statement():
    return read_statement(Draft().serialised()).statement


def test_statement_finds_its_parts(statement):
    assert statement.artifact("att-1").role == "provider.attestation"
    assert [found.id for found in statement.of_role("tdx.quote", "session.marker")] == [
        "quote-1",
        "mark-1",
    ]
    assert statement.exchange("ex-2").purpose == "chat"
    assert statement.nonce("nonce-1").sent_as == "hex64"
    assert statement.exchange_of_body("att-1").id == "ex-1"
    assert statement.exchange_of_body("req-1").id == "ex-2"
    assert statement.exchange_of_body("quote-1") is None


def test_statement_does_not_find_what_is_not_there(statement):
    for find in (statement.artifact, statement.exchange, statement.nonce):
        with pytest.raises(KeyError):
            find("nothing")


def test_binding_gives_one_or_many(statement):
    (binding,) = statement.bindings_of("nonce-in-evidence")
    assert binding.one("evidence") == "quote-1"
    assert binding.many("evidence") == ("quote-1",)
    draft = Draft()
    draft.predicate["bindings"] = [
        {"type": "devices-in-evidence", "devices": ["att-1", "quote-1"], "evidence": "quote-1"},
        {
            "type": "signature-covers",
            "signature": "att-1",
            "key": "att-1",
            "request": None,
            "response": None,
        },
    ]
    devices, covers = read_statement(draft.serialised()).statement.bindings
    assert devices.many("devices") == ("att-1", "quote-1")
    assert covers.many("request") == ()
    for binding, member in ((devices, "devices"), (covers, "request"), (covers, "absent")):
        with pytest.raises(KeyError):
            binding.one(member)


@pytest.mark.parametrize(
    ("how", "state", "reason"),
    [
        ("missing", ArtifactState.MISSING, Reason.ARTIFACT_MISSING),
        ("withheld", ArtifactState.WITHHELD, Reason.ARTIFACT_WITHHELD),
        (
            "external",
            ArtifactState.EXTERNAL_UNAVAILABLE,
            Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        ),
    ],
)
def test_evidence_says_why_a_body_is_not_there(how, state, reason):
    draft = Draft()
    stored = draft.stored.pop("res-1")
    if how == "withheld":
        draft.redactions.append({"artifact": "res-1", "reason": "size", "attachment": None})
    if how == "external":
        digest = draft.artifact("res-1")["digest"]
        draft.extra[digest] = {"encoding": "external", "size": len(stored)}
    evidence = outcomes(draft)["blobs.derived"].fact
    assert evidence.body("quote-1") == QUOTE
    assert evidence.document("quote-1") == "artifact:quote-1"
    with pytest.raises(ArtifactUnavailable) as caught:
        evidence.body("res-1")
    assert (caught.value.state, caught.value.reason) == (state, reason)
    assert str(caught.value.pointer) == "statement#/predicate/artifacts/4"
    with pytest.raises(KeyError):
        evidence.body("nothing")
