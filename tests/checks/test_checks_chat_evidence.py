"""A real chat of 2 June 2026 and a real attestation of 10 June: what joins them, and what does not.

The quote is taken as verified here: its own rows are tested elsewhere.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.checks.chat_case import NONCE, Session, ask, notes, policy, quotes, refused
from verify.checks import compose_manager, content, event_log, session, signature
from verify.engine.outcome import Outcome, Status
from verify.engine.reason import Reason
from verify.families import shapes
from verify.policy.model import Policy
from verify.wire.derive import run_steps

CHAT_AT = datetime(2026, 6, 2, 12, 54, 59, tzinfo=UTC)
ATTESTED_AT = datetime(2026, 6, 10, 1, 47, 8, tzinfo=UTC)
ADDRESS = "0x6525e128AFcFfEBf7EED05d485D7Be983cDaE934"
COMPOSE = bytes.fromhex("4676ec04ecaff0303142bd3b76205ffc7bc218adaa91b92c10863d4fa6463a3f")


def attestation(root: Path) -> bytes:
    (body,) = root.glob("captures/venice_*/responses/0001_*.body")
    return body.read_bytes()


def session_of(root: Path) -> Session:
    """Return the session an import of both recordings gives."""
    made = Session()
    chat = root / "chat" / "near-qwen35-122b-20260602"
    made.add("request-1", "http.request.body", (chat / "request.body").read_bytes())
    made.add("response-1", "http.response.body", (chat / "response.body").read_bytes())
    made.add("signature-1", "provider.signature", (chat / "signature.json").read_bytes())
    body = attestation(root)
    nonce = bytes.fromhex(json.loads(body)["request_nonce"])
    assert nonce != NONCE
    made.nonces = [replace(made.nonces[0], value=nonce)]
    made.add("att-1", "provider.attestation", body)
    answer = shapes.read_answer(shapes.parse_answer(body), "att-1")
    for number, item in enumerate(answer.items):
        made.add(f"item-{number}", item.role, run_steps(body, item.steps), steps=item.steps)
    (report,) = answer.reports
    ids = {item.steps: f"item-{number}" for number, item in enumerate(answer.items)}
    quote = ids[report.quote.steps]
    for log in report.logs:
        made.bind("log-in-evidence", log=ids[log.steps], evidence=quote)
    own = next(ids[item.steps] for item in report.manager if item.role == "tdx.quote")
    for item in report.manager:
        if item.role == "dstack.event-log":
            made.bind("log-in-evidence", log=ids[item.steps], evidence=own)
    assert report.compose is not None
    made.bind("code-in-evidence", code=ids[report.compose.steps], evidence=quote)
    made.bind("nonce-in-evidence", nonce="nonce-1", evidence=quote)
    key = next(a.id for a in made.artifacts if a.role == "provider.signing-key")
    made.bind("key-in-evidence", key=key, evidence=quote)
    made.bind(
        "signature-covers",
        signature="signature-1",
        key=key,
        request="request-1",
        response="response-1",
    )
    made.exchange("chat-1", "chat", start=CHAT_AT, request="request-1", response="response-1")
    made.exchange(
        "lookup-1",
        "signature",
        start=CHAT_AT.replace(minute=55),
        url="https://p.example.test/v1/signature/afa7975eaf844b1888776cf41548e230",
        response="signature-1",
    )
    made.exchange("attested", "attestation", start=ATTESTED_AT, response="att-1")
    return made


def allowing(*, late: bool = True) -> Policy:
    return policy(
        "venice",
        session={
            "attest_around": False,
            "allow_attest_after_chat": late,
            "allow_import": True,
            "allow_foreign_nonce": True,
        },
        compose_hashes=(COMPOSE,),
    )


class Rows:
    """Runs rows in order and keeps their facts."""

    def __init__(self, made: Session, rules: Policy) -> None:
        self.session = made
        self.rules = rules
        self.facts: dict[str, object] = {"tdx.quote.signature": quotes(made)}
        for name, check in (
            ("exchange.recorded", session.exchange_recorded),
            ("shape.recognised", session.shape_recognised),
            ("cpu.authentic", session.cpu_authentic),
            ("binding.report_data", session.report_data),
        ):
            assert self.run(name, check).status is Status.PASS, name

    def run(self, name: str, check: Any) -> Outcome[Any]:
        facts = {"snp.report.signature": None, **self.facts}
        outcome = ask(check, self.session, self.rules, facts)
        if outcome.status is Status.PASS:
            self.facts[name] = outcome.fact
        return outcome


def test_late_attestation_joins_a_chat_by_the_address_and_says_so(evidence_root: Path) -> None:
    rows = Rows(session_of(evidence_root), allowing())
    stability = rows.run("identity.stability", signature.identity_stability)
    assert stability.status is Status.PASS
    assert notes(stability) == [Reason.IDENTITY_ATTESTED_LATER]
    text = stability.notes[0].text
    for part in ("2026-06-02T12:54:59Z", "2026-06-10T01:47:08Z", "the address, not the machine"):
        assert part in text
    assert rows.run("signature.recovery", signature.recovery).status is Status.PASS
    signer = rows.run("signature.signer", signature.signer)
    assert signer.status is Status.PASS
    assert signer.matched[0].startswith(f"{ADDRESS} is the model of ")
    assert "attested 2026-06-10T01:47:08Z, chat 2026-06-02T12:54:59Z" in signer.matched[0]
    assert rows.run("signature.role", signature.role).status is Status.PASS
    model = rows.run("signature.model", signature.model)
    assert model.status is Status.PASS
    assert "Qwen/Qwen3.5-122B-A10B" in model.matched[0]
    assert rows.run("content.request", content.request).status is Status.PASS
    response = rows.run("content.response", content.response)
    assert response.status is Status.PASS
    assert response.matched == ("response-1 in signature-1: raw",)


def test_late_attestation_without_permission_never_passes(evidence_root: Path) -> None:
    made = session_of(evidence_root)
    rows = Rows(made, allowing())
    rows.rules = allowing(late=False)
    outcome = rows.run("identity.stability", signature.identity_stability)
    refused(outcome, Reason.IDENTITY_NO_SECOND_ATTESTATION)


def test_logs_compose_and_launcher_of_the_real_answer_hold(evidence_root: Path) -> None:
    rows = Rows(session_of(evidence_root), allowing())
    assert rows.run("event_log.replay", event_log.replay).status is Status.PASS
    assert rows.run("compose.hash", event_log.compose_hash).status is Status.PASS
    assert rows.run("compose.config_id", event_log.compose_config_id).status is Status.PASS
    launcher = rows.run("compose.manager", compose_manager.manager)
    assert launcher.status is Status.PASS
    assert launcher.fact.launchers[0].dump == "as-sent"


@pytest.mark.parametrize(
    ("artifact", "check", "reason"),
    [
        ("request-1", content.request, Reason.CONTENT_REQUEST_UNVERIFIABLE),
        ("response-1", content.response, Reason.CONTENT_RESPONSE_HASH_MISMATCH),
    ],
)
def test_one_byte_of_the_chat_changed_never_passes(
    evidence_root: Path, artifact: str, check: Any, reason: Reason
) -> None:
    made = session_of(evidence_root)
    body = bytearray(made.bodies[artifact])
    body[40] ^= 1
    made.bodies[artifact] = bytes(body)
    rows = Rows(made, allowing())
    assert rows.run("signature.recovery", signature.recovery).status is Status.PASS
    refused(rows.run("content", check), reason)


def test_signature_of_another_key_is_not_attested(evidence_root: Path) -> None:
    made = session_of(evidence_root)
    other = evidence_root / "chat" / "near-deepseek-v31-20251203"
    made.bodies["signature-1"] = (other / "signature.json").read_bytes()
    rows = Rows(made, allowing())
    refused(rows.run("recovery", signature.recovery), Reason.SIGNATURE_ADDRESS_MISMATCH)
    made.bindings = [
        replace(b, members={**b.members, "key": None}) if b.type == "signature-covers" else b
        for b in made.bindings
    ]
    assert rows.run("signature.recovery", signature.recovery).status is Status.PASS
    refused(rows.run("signer", signature.signer), Reason.SIGNATURE_SIGNER_NOT_ATTESTED)
