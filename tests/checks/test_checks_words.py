"""What a bundle proves, in words: only from checks that passed, per family."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fixtures import goods
from fixtures.registry import Case
from fixtures.verification import answer
from verify.checks.catalogue import CATALOGUE
from verify.checks.words import CLAIMED, PROVEN, UNCOVERED
from verify.engine.outcome import Status
from verify.engine.report import Meaning, Report


def report_of(case: Case) -> Report:
    found = answer(case).report
    assert found is not None
    return found


def texts(meaning: Meaning, part: str) -> str:
    return "\n".join(sentence.text for sentence in getattr(meaning, part))


@pytest.mark.parametrize("rule", [*PROVEN, *CLAIMED, *UNCOVERED], ids=lambda rule: rule.text[:40])
def test_words_rest_on_checks_that_exist(rule: object) -> None:
    assert set(rule.checks) <= set(CATALOGUE.ids())  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(goods.SESSIONS))
def test_words_proven_rest_on_passed_checks_alone(name: str) -> None:
    report = report_of(goods.good(name))
    passed = {row.id for row in report.checks if row.status is Status.PASS}
    assert report.meaning.proven
    for sentence in report.meaning.proven:
        assert set(sentence.checks) - {"time.timestamp"} <= passed
    assert "made for this capture key" in texts(report.meaning, "proven")
    assert "when this was captured" in texts(report.meaning, "claimed")
    assert "they share only a nonce" in texts(report.meaning, "uncovered")


def test_words_of_a_stranger_s_bundle_prove_nothing() -> None:
    case = goods.good("nanogpt")
    report = report_of(Case(bundle=case.bundle, policy=case.policy, trust=()))
    assert report.meaning == Meaning()


def test_words_of_a_rewritten_request_say_it_is_not_covered() -> None:
    meaning = report_of(goods.good("nanogpt")).meaning
    assert "a proxy rewrites requests" in texts(meaning, "uncovered")
    assert "exactly this request" not in texts(meaning, "proven")
    assert "exactly this response" in texts(meaning, "proven")
    direct = report_of(goods.good("near-direct")).meaning
    assert "exactly this request" in texts(direct, "proven")
    assert "a proxy rewrites requests" not in texts(direct, "uncovered")


def test_words_of_a_foreign_nonce_claim_freshness_only() -> None:
    def allow(document: dict[str, dict[str, object]]) -> None:
        document["session"]["allow_foreign_nonce"] = True

    case = goods.case("nanogpt", session={"foreign_nonce": bytes(range(32))}, policy=allow)
    meaning = report_of(case).meaning
    assert "binds a nonce that this session did not choose" in texts(meaning, "claimed")
    assert "after its nonce was chosen" not in texts(meaning, "proven")


def test_words_of_a_gateway_signature_do_not_name_a_model() -> None:
    def gateway(document: dict[str, dict[str, object]]) -> None:
        document["signature"]["roles"] = ["model", "gateway"]

    session = goods.near_gateway()
    changed = replace(
        session,
        chat_signer=session.gateway.signer,  # type: ignore[union-attr]
        three_part=False,
        signature_kind="gateway",
    )
    case = goods.case(
        "near-gateway",
        session={
            "chat_signer": changed.chat_signer,
            "three_part": False,
            "signature_kind": "gateway",
        },
        policy=gateway,
    )
    meaning = report_of(case).meaning
    assert "the gateway signed it" in texts(meaning, "uncovered")


def test_words_of_a_broken_response_prove_no_response() -> None:
    case = goods.case("nanogpt", session={"edit": {"response": lambda raw: raw + b"\n"}})
    meaning = report_of(case).meaning
    assert "exactly this response" not in texts(meaning, "proven")
    assert "genuine Intel hardware" in texts(meaning, "proven")
