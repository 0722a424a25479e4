"""Rows 81 to 83: what a verified signature says about stored bytes."""

from __future__ import annotations

import dataclasses
from hashlib import sha256

import pytest

from fixtures.chat_sim import (
    Chat,
    Dialect,
    Signer,
    chat,
    ecdsa_signer,
    request_body,
    signature_answer,
    with_signature_event,
)
from tests.checks.chat_case import Session, answers, as_json, ask, notes, policy, refused
from verify.checks import content, receipt, signature
from verify.engine.outcome import Outcome, Status
from verify.engine.reason import Reason
from verify.engine.value import replace
from verify.families.identity import RecognisedAnswers
from verify.policy.model import Policy
from verify.wire.model import ArtifactState

SIGNER: Signer = ecdsa_signer("content checks")
CHAT = chat("content checks")


def session_of(
    subject: Chat = CHAT,
    *,
    response: bytes | None = None,
    complete: bool = True,
    request_headers: object = None,
    response_headers: object = None,
) -> Session:
    """Return one chat with one declared signature; ``response``: other stored bytes."""
    session = Session()
    session.add("request-1", "http.request.body", subject.request)
    session.add(
        "response-1", "http.response.body", subject.response if response is None else response
    )
    session.add("signature-1", "provider.signature", signature_answer(SIGNER, subject))
    for name, value in (("in-1", request_headers), ("out-1", response_headers)):
        if value is not None:
            body = value if isinstance(value, bytes) else as_json(value)
            session.add(name, "http.request.headers", body)
    session.exchange(
        "chat-1",
        "chat",
        request="request-1",
        response="response-1",
        request_headers=None if request_headers is None else "in-1",
        response_headers=None if response_headers is None else "out-1",
        complete=complete,
    )
    session.bind(
        "signature-covers",
        signature="signature-1",
        key=None,
        request="request-1",
        response="response-1",
    )
    return session


def rules(
    profile: str = "near-direct",
    *,
    request_forms: tuple[str, ...] = ("raw", "model_renamed", "ionet_request"),
    response_forms: tuple[str, ...] = ("raw", "python_default", "python_compact", "ionet_stream"),
) -> Policy:
    forms = {"request_forms": request_forms, "response_forms": response_forms}
    return policy(signature=forms, profile=profile)


def judge(check: object, session: Session, found: Policy) -> Outcome[object]:
    recovered = ask(signature.recovery, session, policy(), {"shape.recognised": answers()})
    assert recovered.status is Status.PASS
    return ask(check, session, found, {"signature.recovery": recovered.fact})


def request(session: Session, found: Policy | None = None) -> Outcome[object]:
    return judge(content.request, session, found or rules())


def response(session: Session, found: Policy | None = None) -> Outcome[object]:
    return judge(content.response, session, found or rules())


# --- row 82 ---------------------------------------------------------------------------------------


def test_request_of_the_wire_passes_and_says_the_form() -> None:
    outcome = request(session_of())
    assert outcome.status is Status.PASS
    assert outcome.matched == ("request-1 in signature-1: raw",)
    assert not notes(outcome)


def test_request_other_bytes_is_hash_mismatch() -> None:
    session = session_of()
    session.bodies["request-1"] += b" "
    outcome = request(session)
    refused(outcome, Reason.CONTENT_REQUEST_HASH_MISMATCH)
    assert str(outcome.findings[0].pointer) == (
        f"artifact:request-1#bytes=0-{len(CHAT.request) + 1}"
    )


@pytest.mark.parametrize("profile", ["nanogpt", "venice", "redpill"])
def test_request_through_a_rewriting_proxy_is_unverifiable_never_a_mismatch(profile: str) -> None:
    forwarded = request_body("backend/model", stream=True, temperature=1)
    subject = chat("proxied", forwarded=forwarded)
    refused(request(session_of(subject), rules(profile)), Reason.CONTENT_REQUEST_UNVERIFIABLE)


@pytest.mark.parametrize("profile", ["nanogpt", "venice", "redpill"])
def test_request_through_a_proxy_that_changed_nothing_passes(profile: str) -> None:
    outcome = request(session_of(), rules(profile))
    assert outcome.status is Status.PASS
    assert notes(outcome) == [Reason.CONTENT_HASH_CHOSEN_BY_CALLER]


def renamed() -> Session:
    sent = request_body("TEE/test/model-7b", stream=True)
    forwarded = request_body("test/model-7b", stream=True)
    return session_of(chat("renamed", request=sent, forwarded=forwarded))


def test_request_renamed_model_passes_where_family_and_policy_admit_the_form() -> None:
    outcome = request(renamed(), rules("nanogpt"))
    assert outcome.status is Status.PASS
    assert outcome.matched == ("request-1 in signature-1: model_renamed",)


def test_request_renamed_model_is_off_unless_the_policy_names_it() -> None:
    found = rules("nanogpt", request_forms=("raw",))
    refused(request(renamed(), found), Reason.CONTENT_REQUEST_UNVERIFIABLE)


def test_request_renamed_model_is_no_form_of_other_families() -> None:
    refused(request(renamed(), rules("near-direct")), Reason.CONTENT_REQUEST_HASH_MISMATCH)
    refused(request(renamed(), rules("venice")), Reason.CONTENT_REQUEST_UNVERIFIABLE)


def test_request_renamed_model_without_the_response_is_unverifiable() -> None:
    session = renamed()
    recovered = ask(signature.recovery, session, policy(), {"shape.recognised": answers()})
    session.withhold("response-1")
    outcome = ask(
        content.request, session, rules("nanogpt"), {"signature.recovery": recovered.fact}
    )
    refused(outcome, Reason.CONTENT_REQUEST_UNVERIFIABLE)


def test_request_in_the_services_normal_form_passes() -> None:
    subject = chat(
        "ionet",
        dialect="ionet",
        request=b'{"model":"m","messages":[]}',
        forwarded=b'{"messages":[],"model":"m","stream":false}',
    )
    outcome = request(session_of(subject), rules("ionet"))
    assert outcome.matched == ("request-1 in signature-1: ionet_request",)


def test_request_hash_that_the_caller_named_is_noted() -> None:
    pairs = [["X-Request-Hash", "00"], ["authorization", {"redacted": "secret"}]]
    outcome = request(session_of(request_headers=pairs))
    assert outcome.status is Status.PASS
    assert notes(outcome) == [Reason.CONTENT_HASH_CHOSEN_BY_CALLER]


@pytest.mark.parametrize("headers", [b"{", b"{}", b"[1]", b'[["a"]]', b'[[1,"a"]]', b'[["a",1]]'])
def test_request_headers_that_are_no_headers_say_nothing(headers: bytes) -> None:
    outcome = request(session_of(request_headers=headers))
    assert outcome.status is Status.PASS
    assert not notes(outcome)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (ArtifactState.WITHHELD, Reason.ARTIFACT_WITHHELD),
        (ArtifactState.MISSING, Reason.ARTIFACT_MISSING),
        (ArtifactState.EXTERNAL_UNAVAILABLE, Reason.ARTIFACT_EXTERNAL_UNAVAILABLE),
    ],
)
def test_bodies_without_bytes_never_pass(state: ArtifactState, reason: Reason) -> None:
    session = session_of()
    session.withhold("request-1", state)
    refused(request(session), reason)
    session = session_of()
    session.withhold("response-1", state)
    refused(response(session), reason)


def test_chat_without_bodies_is_artifact_missing() -> None:
    session = session_of()
    session.exchanges.clear()
    session.exchange("chat-1", "chat")
    refused(request(session), Reason.ARTIFACT_MISSING)
    refused(response(session), Reason.ARTIFACT_MISSING)


def test_no_answered_chat_is_chat_missing() -> None:
    session = session_of()
    session.exchanges.clear()
    session.exchange("chat-1", "chat", request="request-1", status=None)
    session.exchange("chat-2", "chat", response="response-1", status=503)
    refused(request(session), Reason.EXCHANGE_CHAT_MISSING)
    refused(response(session), Reason.EXCHANGE_CHAT_MISSING)


def test_second_chat_that_no_signature_covers_is_binding_undeclared() -> None:
    session = session_of()
    session.add("request-2", "http.request.body", b"{}")
    session.add("response-2", "http.response.body", b"{}")
    session.exchange("chat-2", "chat", request="request-2", response="response-2")
    refused(request(session), Reason.BINDING_UNDECLARED)
    refused(response(session), Reason.BINDING_UNDECLARED)


def test_request_and_response_under_two_signatures_are_binding_undeclared() -> None:
    """Both texts are genuine, and nobody signed that this response answers this request."""
    other = chat("another chat")
    session = Session()
    session.add("request-1", "http.request.body", CHAT.request)
    session.add("response-2", "http.response.body", other.response)
    session.add("signature-1", "provider.signature", signature_answer(SIGNER, CHAT))
    session.add("signature-2", "provider.signature", signature_answer(SIGNER, other))
    session.exchange("chat-1", "chat", request="request-1", response="response-2")
    session.bind(
        "signature-covers", signature="signature-1", key=None, request="request-1", response=None
    )
    session.bind(
        "signature-covers", signature="signature-2", key=None, request=None, response="response-2"
    )
    refused(request(session), Reason.BINDING_UNDECLARED)
    refused(response(session), Reason.BINDING_UNDECLARED)


def test_neither_signature_nor_receipt_is_family_has_none() -> None:
    session = session_of()
    for check in (content.request, content.response):
        refused(ask(check, session, rules()), Reason.SIGNATURE_FAMILY_HAS_NONE)
        excluded = replace(rules(), signature=None)
        refused(ask(check, session, excluded), Reason.SIGNATURE_FAMILY_HAS_NONE)


# --- row 83 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "dialect", "stream", "form"),
    [
        ("near-direct", "near", True, "raw"),
        ("near-direct", "near", False, "raw"),
        ("vllm-proxy", "vllm-proxy", True, "raw"),
        ("vllm-proxy", "vllm-proxy", False, "python_default"),
        ("ionet", "ionet", True, "ionet_stream"),
        ("ionet", "ionet", False, "python_compact"),
    ],
)
def test_response_of_each_service_passes_and_says_the_form(
    profile: str, dialect: Dialect, stream: bool, form: str
) -> None:
    subject = chat("served", dialect=dialect, stream=stream)
    body = with_signature_event(SIGNER, subject) if form == "ionet_stream" else None
    outcome = response(session_of(subject, response=body), rules(profile))
    assert outcome.status is Status.PASS
    assert outcome.matched == (f"response-1 in signature-1: {form}",)
    assert notes(outcome) == ([] if form == "raw" else [Reason.CONTENT_RESPONSE_RESERIALISED])


def test_response_form_of_another_family_is_hash_mismatch() -> None:
    subject = chat("served", dialect="vllm-proxy", stream=False)
    refused(response(session_of(subject)), Reason.CONTENT_RESPONSE_HASH_MISMATCH)


def test_response_form_the_policy_does_not_admit_is_hash_mismatch() -> None:
    subject = chat("served", dialect="vllm-proxy", stream=False)
    found = rules("vllm-proxy", response_forms=("raw",))
    refused(response(session_of(subject), found), Reason.CONTENT_RESPONSE_HASH_MISMATCH)


@pytest.mark.parametrize("profile", ["near-direct", "nanogpt", "venice"])
def test_response_other_bytes_is_hash_mismatch_even_through_a_proxy(profile: str) -> None:
    body = CHAT.response.replace(b"done.", b"gone.")
    outcome = response(session_of(response=body), rules(profile))
    refused(outcome, Reason.CONTENT_RESPONSE_HASH_MISMATCH)
    assert str(outcome.findings[0].pointer) == f"artifact:response-1#bytes=0-{len(body)}"


def test_response_one_newline_less_at_the_end_is_hash_mismatch() -> None:
    refused(
        response(session_of(response=CHAT.response[:-1])), Reason.CONTENT_RESPONSE_HASH_MISMATCH
    )


def test_response_without_done_is_incomplete() -> None:
    body = CHAT.response.replace(b"data: [DONE]\n\n", b"")
    refused(
        response(session_of(response=body)),
        Reason.CONTENT_RESPONSE_INCOMPLETE,
        Reason.CONTENT_RESPONSE_HASH_MISMATCH,
    )


@pytest.mark.parametrize("stream", [True, False])
def test_response_whose_framing_broke_off_is_incomplete_though_it_hashes(stream: bool) -> None:
    session = session_of(chat("cut", stream=stream), complete=False)
    refused(response(session), Reason.CONTENT_RESPONSE_INCOMPLETE)


def test_response_compressed_on_the_way_cannot_be_judged() -> None:
    session = session_of(response=b"\x1f\x8b", response_headers=[["Content-Encoding", "gzip"]])
    recovered = ask(signature.recovery, session, policy(), {"shape.recognised": answers()})
    outcome = ask(content.response, session, rules(), {"signature.recovery": recovered.fact})
    refused(outcome, Reason.EXCHANGE_CONTENT_ENCODED)


def test_response_that_the_recorder_inflated_still_proves_itself() -> None:
    session = session_of(response_headers=[["Content-Encoding", "gzip"]])
    assert response(session).status is Status.PASS


@pytest.mark.parametrize("coding", ["identity", " Identity "])
def test_response_said_to_be_plain_is_judged(coding: str) -> None:
    session = session_of(response=b"x", response_headers=[["content-encoding", coding]])
    refused(response(session), Reason.CONTENT_RESPONSE_HASH_MISMATCH)


# --- row 81 ---------------------------------------------------------------------------------------


NO_ANSWERS: dict[str, object] = {"shape.recognised": RecognisedAnswers(answers=())}


def test_receipt_of_no_version_is_refused() -> None:
    session = Session()
    session.add("receipt-1", "provider.receipt", b"{}")
    refused(ask(receipt.signature, session, rules(), NO_ANSWERS), Reason.SHAPE_FIELD_MISSING)


def test_receipt_that_is_not_there_is_absent() -> None:
    refused(ask(receipt.signature, Session(), rules(), NO_ANSWERS), Reason.EVIDENCE_ABSENT)


def test_request_and_response_are_held_against_a_receipt() -> None:
    session = session_of()
    stated = receipt.CoveringReceipt(
        artifact="receipt-1",
        request="request-1",
        response="response-1",
        request_hash=sha256(CHAT.request).digest(),
        response_hash=sha256(CHAT.response).digest(),
    )
    known = {"receipt.signature": receipt.CoveringReceipts(receipts=(stated,))}
    for check in (content.request, content.response):
        assert ask(check, session, rules(), known).status is Status.PASS
    other = replace(stated, request_hash=bytes(32), response_hash=bytes(32))
    known = {"receipt.signature": receipt.CoveringReceipts(receipts=(other,))}
    for check, reason in (
        (content.request, Reason.CONTENT_REQUEST_HASH_MISMATCH),
        (content.response, Reason.CONTENT_RESPONSE_HASH_MISMATCH),
    ):
        refused(ask(check, session, rules(), known), reason)


# --- bodies too large to be held ------------------------------------------------------------------


def grown(subject: Chat, *outgrown: str, forms: tuple[str, ...] = ()) -> Session:
    session = session_of(subject)
    for artifact in outgrown:
        session.outgrow(artifact, forms)
    return session


def test_large_stream_is_judged_like_a_small_one() -> None:
    outcome = response(grown(CHAT, "response-1"))
    assert outcome.status is Status.PASS
    assert outcome.matched == response(session_of()).matched
    assert request(grown(CHAT, "request-1")).matched == request(session_of()).matched


def test_large_stream_that_is_another_is_hash_mismatch() -> None:
    session = session_of(response=CHAT.response.replace(b"done.", b"gone."))
    small = response(session)
    session.outgrow("response-1")
    found = response(session)
    refused(found, Reason.CONTENT_RESPONSE_HASH_MISMATCH)
    assert found.findings == small.findings


@pytest.mark.parametrize(
    ("end", "complete"), [(b"", True), (b"data: [DONE] \n\n", True), (b"data: [DONE]\n\n", False)]
)
def test_large_stream_without_its_end_is_incomplete(end: bytes, *, complete: bool) -> None:
    subject = replace_response(CHAT, CHAT.response.replace(b"data: [DONE]\n\n", end))
    session = session_of(subject, complete=complete)
    small = response(session)
    session.outgrow("response-1")
    found = response(session)
    refused(found, Reason.CONTENT_RESPONSE_INCOMPLETE)
    assert found.findings == small.findings


def replace_response(subject: Chat, body: bytes) -> Chat:
    return dataclasses.replace(subject, response=body, hashed_response=body)


def test_large_stream_in_the_services_form_passes_where_the_form_was_computed() -> None:
    subject = chat("served", dialect="ionet")
    session = session_of(subject, response=with_signature_event(SIGNER, subject))
    session.outgrow("response-1", ("ionet_stream",))
    outcome = response(session, rules("ionet"))
    assert outcome.status is Status.PASS
    assert outcome.matched == ("response-1 in signature-1: ionet_stream",)


def test_large_stream_whose_form_was_not_computed_is_neither_pass_nor_mismatch() -> None:
    subject = chat("served", dialect="ionet")
    session = session_of(subject, response=with_signature_event(SIGNER, subject))
    session.outgrow("response-1")
    outcome = response(session, rules("ionet"))
    refused(outcome, Reason.ARTIFACT_EXTERNAL_UNAVAILABLE)
    assert outcome.status is Status.BLOCKED
    assert "ionet_stream" in outcome.detail


def test_large_stream_of_a_form_that_streams_do_not_have_is_hash_mismatch() -> None:
    other = chat("another", dialect="vllm-proxy")
    session = session_of(chat("served", dialect="vllm-proxy"), response=other.response)
    session.outgrow("response-1")
    refused(response(session, rules("vllm-proxy")), Reason.CONTENT_RESPONSE_HASH_MISMATCH)


def test_large_answer_signed_in_a_dump_that_is_not_made_blocks() -> None:
    subject = chat("served", dialect="vllm-proxy", stream=False)
    outcome = response(grown(subject, "response-1"), rules("vllm-proxy"))
    refused(outcome, Reason.ARTIFACT_EXTERNAL_UNAVAILABLE)
    assert outcome.status is Status.BLOCKED
    raw_only = rules("vllm-proxy", response_forms=("raw",))
    refused(response(grown(subject, "response-1"), raw_only), Reason.CONTENT_RESPONSE_HASH_MISMATCH)


def test_large_answer_that_was_compressed_says_so() -> None:
    session = session_of(
        chat("served", dialect="vllm-proxy", stream=False),
        response_headers=[["Content-Encoding", "gzip"]],
    )
    session.outgrow("response-1")
    refused(response(session, rules("vllm-proxy")), Reason.EXCHANGE_CONTENT_ENCODED)


def test_large_request_signed_in_a_form_that_is_not_made_is_unverifiable() -> None:
    subject = chat(
        "ionet",
        dialect="ionet",
        request=b'{"model":"m","messages":[]}',
        forwarded=b'{"messages":[],"model":"m","stream":false}',
    )
    outcome = request(grown(subject, "request-1"), rules("ionet"))
    refused(outcome, Reason.CONTENT_REQUEST_UNVERIFIABLE)
    assert "ionet_request" in outcome.detail
    raw_only = rules("ionet", request_forms=("raw",))
    refused(request(grown(subject, "request-1"), raw_only), Reason.CONTENT_REQUEST_HASH_MISMATCH)


def test_large_answer_still_names_the_model_of_a_renamed_request() -> None:
    session = renamed()
    session.outgrow("response-1")
    outcome = request(session, rules("nanogpt"))
    assert outcome.matched == ("request-1 in signature-1: model_renamed",)


def test_held_answer_over_the_size_of_a_document_blocks_in_forms_that_are_not_made() -> None:
    subject = chat("served", dialect="vllm-proxy", stream=False)
    padded = subject.response + b" " * (16 << 20)
    outcome = response(session_of(subject, response=padded), rules("vllm-proxy"))
    refused(outcome, Reason.ARTIFACT_EXTERNAL_UNAVAILABLE)
