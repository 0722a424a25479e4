"""Rows 76 to 80: who signed, whether attested code has that key, in which role, for which model."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fixtures.chat_sim import (
    UNAVAILABLE_200,
    UNAVAILABLE_404,
    Chat,
    Signer,
    answer_members,
    chat,
    compact,
    ecdsa_signer,
    ed25519_signer,
    signature_answer,
    signature_headers,
    with_signature_event,
)
from tests.checks.chat_case import (
    Session,
    answers,
    as_json,
    ask,
    identity,
    notes,
    policy,
    refused,
)
from verify.checks import signature
from verify.checks.signature import AttestedSignatures, CoveringSignatures
from verify.engine.outcome import Outcome, Status
from verify.engine.reason import Reason
from verify.families.identity import AttestedIdentity
from verify.wire.model import ArtifactState

SIGNER = ecdsa_signer("model")
OTHER = ecdsa_signer("other model")
ED25519 = ed25519_signer("model")
GATEWAY = ed25519_signer("gateway")
CHAT = chat("signature checks")
MODEL = CHAT.model


def session_of(
    *,
    signer: Signer = SIGNER,
    subject: Chat = CHAT,
    answer: bytes | None = None,
    key: str | None = None,
    url: str | None = None,
) -> Session:
    """Return attestation, chat, look-up, attestation, with one declared signature."""
    session = Session()
    session.add("request-1", "http.request.body", subject.request)
    session.add("response-1", "http.response.body", subject.response)
    session.add(
        "signature-1",
        "provider.signature",
        answer if answer is not None else signature_answer(signer, subject, model=MODEL),
    )
    session.add("key-1", "provider.signing-key", (key or signer.address).encode())
    session.exchange("before", "attestation", minute=0)
    session.exchange("chat-1", "chat", minute=1, request="request-1", response="response-1")
    session.exchange(
        "lookup-1",
        "signature",
        minute=2,
        url=url or f"https://provider.example.test/v1/signature/{subject.chat_id}?model=m",
        response="signature-1",
    )
    session.exchange("after", "attestation", minute=3)
    session.bind(
        "signature-covers",
        signature="signature-1",
        key="key-1",
        request="request-1",
        response="response-1",
    )
    session.bind("attested-around", before="before", after="after", chat="chat-1")
    return session


def recover(
    session: Session, *, algorithms: tuple[str, ...] = ("ecdsa", "ed25519"), family: str = "dstack"
) -> Outcome[CoveringSignatures]:
    rules = policy(signature={"algorithms": algorithms})
    return ask(signature.recovery, session, rules, {"shape.recognised": answers(family)})


# --- row 77 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("signer", [SIGNER, ED25519])
def test_recovery_signature_of_the_stated_key_passes(signer: Signer) -> None:
    outcome = recover(session_of(signer=signer))
    assert outcome.status is Status.PASS
    (found,) = outcome.fact.signatures
    assert (found.request, found.response, found.chat) == ("request-1", "response-1", "chat-1")
    assert found.verified.signer.value == signer.identity


def test_recovery_public_key_as_declared_key_names_the_same_signer() -> None:
    assert recover(session_of(key="04" + SIGNER.public_key)).status is Status.PASS


def test_recovery_wrong_checksum_is_shown_and_changes_nothing() -> None:
    members = answer_members(SIGNER, CHAT.text(model=MODEL))
    members["signing_address"] = "0x" + SIGNER.address[2:].swapcase()
    outcome = recover(session_of(answer=compact(members)))
    assert outcome.status is Status.PASS
    assert outcome.matched[0].endswith("(its spelling is not EIP-55)")


def test_recovery_headers_and_stream_may_carry_the_signature() -> None:
    plain = chat("ionet", dialect="ionet", stream=False)
    session = session_of(subject=plain)
    pairs = [list(pair) for pair in signature_headers(SIGNER, plain)]
    session.add("headers-1", "http.response.headers", as_json(pairs))
    session.bindings[0] = session.bindings[0].__class__(
        type="signature-covers",
        members={
            "signature": "headers-1",
            "key": "key-1",
            "request": "request-1",
            "response": "response-1",
        },
    )
    session.artifacts = [a for a in session.artifacts if a.id != "signature-1"]
    assert recover(session).status is Status.PASS
    stream = chat("ionet", dialect="ionet")
    session = session_of(subject=stream)
    session.bodies["response-1"] = with_signature_event(SIGNER, stream)
    session.artifacts = [a for a in session.artifacts if a.id != "signature-1"]
    session.bindings[0] = session.bindings[0].__class__(
        type="signature-covers",
        members={
            "signature": "response-1",
            "key": "key-1",
            "request": "request-1",
            "response": "response-1",
        },
    )
    assert recover(session).status is Status.PASS


def answer_with(**changes: object) -> bytes:
    return compact({**answer_members(SIGNER, CHAT.text(model=MODEL)), **changes})


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"{", Reason.EXCHANGE_BODY_NOT_JSON),
        (b'{"text":"a","text":"b"}', Reason.EXCHANGE_JSON_DUPLICATE_MEMBER),
        (b" " * 70_000, Reason.EXCHANGE_OVER_LIMIT),
        (answer_with(text=None), Reason.SHAPE_FIELD_MISSING),
        (answer_with(text=1), Reason.SHAPE_FIELD_TYPE),
        (answer_with(signature="0x"), Reason.SIGNATURE_MALFORMED),
        (answer_with(signing_algo="rsa"), Reason.SIGNATURE_ALGORITHM_UNSUPPORTED),
        (answer_with(text="a:b"), Reason.SIGNATURE_TEXT_MALFORMED),
        (answer_with(text="a"), Reason.SIGNATURE_TEXT_FORM_UNKNOWN),
        (answer_with(text=CHAT.text()), Reason.SIGNATURE_ADDRESS_MISMATCH),
        (
            answer_with(signature="00" * 31 + "05" + "00" * 31 + "01" + "1b"),
            Reason.SIGNATURE_RECOVERY_FAILED,
        ),
        (
            answer_with(
                signing_algo="ed25519", signing_address=ED25519.address, signature="00" * 64
            ),
            Reason.SIGNATURE_INVALID,
        ),
        (UNAVAILABLE_200, Reason.SIGNATURE_UNAVAILABLE),
    ],
)
def test_recovery_answer_that_does_not_hold_names_its_code(answer: bytes, reason: Reason) -> None:
    refused(recover(session_of(answer=answer)), reason)


def test_recovery_algorithm_the_policy_does_not_accept_is_unsupported() -> None:
    outcome = recover(session_of(), algorithms=("ed25519",))
    refused(outcome, Reason.SIGNATURE_ALGORITHM_UNSUPPORTED)


def test_recovery_other_declared_key_is_address_mismatch() -> None:
    refused(recover(session_of(key=OTHER.address)), Reason.SIGNATURE_ADDRESS_MISMATCH)


def test_recovery_declared_key_that_is_no_key_is_malformed() -> None:
    refused(recover(session_of(key="0xno")), Reason.SIGNATURE_MALFORMED)
    refused(recover(session_of(key="no")), Reason.SIGNATURE_MALFORMED)


def test_recovery_declared_key_without_bytes_never_passes() -> None:
    session = session_of()
    session.withhold("key-1")
    refused(recover(session), Reason.ARTIFACT_WITHHELD)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (ArtifactState.WITHHELD, Reason.ARTIFACT_WITHHELD),
        (ArtifactState.MISSING, Reason.ARTIFACT_MISSING),
        (ArtifactState.EXTERNAL_UNAVAILABLE, Reason.ARTIFACT_EXTERNAL_UNAVAILABLE),
    ],
)
def test_recovery_answer_without_bytes_never_passes(state: ArtifactState, reason: Reason) -> None:
    session = session_of()
    session.withhold("signature-1", state)
    refused(recover(session), reason)


@pytest.mark.parametrize(
    "url",
    [
        "https://p.example.test/v1/signature/chatcmpl-other",
        "https://p.example.test/tee/signature?model=m&request_id=chatcmpl%2Dother",
    ],
)
def test_recovery_looked_up_for_another_chat_is_chat_id_mismatch(url: str) -> None:
    outcome = recover(session_of(url=url))
    refused(outcome, Reason.SIGNATURE_CHAT_ID_MISMATCH)
    assert outcome.findings[0].got == "chatcmpl-other"
    assert str(outcome.findings[0].pointer) == "statement#/predicate/exchanges/2/request/url"


@pytest.mark.parametrize(
    "url",
    [
        "https://p.example.test/elsewhere",
        "https://p.example.test/v1/signature/",
        "https://p.example.test/v1/signature/" + CHAT.chat_id.replace("-", "%2d"),
        "https://p.example.test/signature?request_id=" + CHAT.chat_id,
    ],
)
def test_recovery_url_that_names_this_chat_or_none_passes(url: str) -> None:
    assert recover(session_of(url=url)).status is Status.PASS


def test_recovery_chat_id_of_a_response_too_large_to_be_held_is_compared() -> None:
    for last, reasons in ((CHAT.chat_id, ()), ("other", (Reason.SIGNATURE_CHAT_ID_MISMATCH,))):
        session = session_of(url=f"https://p.example.test/v1/signature/{last}")
        session.outgrow("response-1")
        outcome = recover(session)
        assert tuple(finding.reason for finding in outcome.findings) == reasons
        assert (outcome.status is Status.PASS) is not bool(reasons)


INSIDE = with_signature_event(SIGNER, CHAT)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (INSIDE, None),
        (INSIDE.replace(b"event: signature", b"event: other"), Reason.SIGNATURE_UNAVAILABLE),
        (INSIDE + b"event: signature\ndata: {}\n\n", Reason.SIGNATURE_MALFORMED),
        (INSIDE.replace(b"event: signature\n", b"event: signature\nx"), Reason.SIGNATURE_MALFORMED),
    ],
)
def test_recovery_signature_inside_a_stream_is_read_however_large(
    body: bytes, reason: Reason | None, *, large: bool
) -> None:
    session = session_of()
    session.artifacts = [item for item in session.artifacts if item.role != "provider.signature"]
    session.bodies["response-1"] = body
    session.bindings.clear()
    session.bind(
        "signature-covers",
        signature="response-1",
        key="key-1",
        request="request-1",
        response="response-1",
    )
    if large:
        session.outgrow("response-1")
    outcome = recover(session)
    if reason is None:
        assert outcome.fact.signatures[0].verified.signer.value == SIGNER.identity
    else:
        refused(outcome, reason)


def test_recovery_without_the_response_still_judges_the_signature() -> None:
    session = session_of(url="https://p.example.test/v1/signature/other")
    session.withhold("response-1")
    assert recover(session).status is Status.PASS


def test_recovery_both_algorithms_over_one_text_pass_over_two_disagree() -> None:
    session = session_of()
    session.add("signature-2", "provider.signature", signature_answer(ED25519, CHAT, model=MODEL))
    session.bind(
        "signature-covers",
        signature="signature-2",
        key=None,
        request="request-1",
        response="response-1",
    )
    assert recover(session).status is Status.PASS
    session.bodies["signature-2"] = signature_answer(ED25519, CHAT)
    refused(recover(session), Reason.SIGNATURE_ALGORITHMS_DISAGREE)


def test_recovery_answer_that_nothing_declares_is_binding_undeclared() -> None:
    session = session_of()
    session.add("signature-2", "provider.signature", signature_answer(SIGNER, CHAT))
    session.add("signature-3", "provider.signature", b"{")
    refused(recover(session), Reason.BINDING_UNDECLARED, Reason.BINDING_UNDECLARED)


def test_recovery_tries_that_failed_before_the_good_one_are_kept_and_change_nothing() -> None:
    session = session_of()
    session.add("signature-2", "provider.signature", UNAVAILABLE_404)
    session.add("signature-3", "provider.signature", UNAVAILABLE_200)
    session.exchange("lookup-2", "signature", response="signature-2", status=404)
    session.exchange("lookup-3", "signature", response="signature-3")
    assert recover(session).status is Status.PASS


def test_recovery_nothing_but_failed_tries_is_unavailable() -> None:
    session = session_of(answer=UNAVAILABLE_404)
    session.bindings.clear()
    refused(recover(session), Reason.SIGNATURE_UNAVAILABLE)
    refused(recover(session, family="chutes"), Reason.SIGNATURE_UNAVAILABLE)


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("chutes", Reason.SIGNATURE_FAMILY_HAS_NONE),
        ("tinfoil", Reason.SIGNATURE_FAMILY_HAS_NONE),
        ("dstack", Reason.SIGNATURE_UNAVAILABLE),
    ],
)
def test_recovery_none_recorded_never_passes(family: str, reason: Reason) -> None:
    session = Session()
    refused(recover(session, family=family), reason)


# --- row 76 ---------------------------------------------------------------------------------------


def stability(
    session: Session, *identities: AttestedIdentity, around: bool = True, late: bool = False
) -> Outcome[object]:
    rules = policy(session={"attest_around": around, "allow_attest_after_chat": late})
    return ask(signature.identity_stability, session, rules, {"binding.report_data": identities})


BOTH = (identity(SIGNER, exchange="before"), identity(SIGNER, exchange="after"))


def test_stability_signer_attested_on_both_sides_passes() -> None:
    outcome = stability(session_of(), *BOTH)
    assert outcome.status is Status.PASS
    assert not notes(outcome)
    assert "before 2026-06-10T06:00:00Z, after 2026-06-10T06:03:00Z" in outcome.matched[0]


def test_stability_each_algorithm_may_have_its_own_attestations() -> None:
    session = session_of()
    session.add("signature-2", "provider.signature", signature_answer(ED25519, CHAT, model=MODEL))
    session.bind(
        "signature-covers",
        signature="signature-2",
        key=None,
        request="request-1",
        response="response-1",
    )
    session.exchange("before-2", "attestation", minute=0)
    session.exchange("after-2", "attestation", minute=4)
    identities = (
        *BOTH,
        identity(ED25519, exchange="before-2"),
        identity(ED25519, exchange="after-2"),
    )
    assert stability(session, *identities).status is Status.PASS
    refused(stability(session, *identities[:3]), Reason.IDENTITY_NO_SECOND_ATTESTATION)


def test_stability_key_that_rotates_is_changed() -> None:
    outcome = stability(session_of(), BOTH[0], identity(OTHER, exchange="after"))
    refused(outcome, Reason.IDENTITY_CHANGED, Reason.IDENTITY_NO_SECOND_ATTESTATION)
    assert str(outcome.findings[0].pointer) == "statement#/predicate/exchanges/3"


def test_stability_key_that_rotates_is_changed_without_any_signature() -> None:
    session = session_of()
    del session.bindings[0]
    outcome = stability(session, BOTH[0], identity(OTHER, exchange="after"))
    refused(outcome, Reason.IDENTITY_CHANGED, Reason.IDENTITY_NO_SECOND_ATTESTATION)


@pytest.mark.parametrize("answer", [b"{", UNAVAILABLE_404])
def test_stability_unreadable_signature_names_nobody(answer: bytes) -> None:
    assert stability(session_of(answer=answer), *BOTH).status is Status.PASS


def test_stability_signature_over_another_chat_names_nobody() -> None:
    session = session_of()
    session.add("signature-2", "provider.signature", signature_answer(OTHER, CHAT))
    session.bind("signature-covers", signature="signature-2", key=None, request=None, response=None)
    assert stability(session, *BOTH).status is Status.PASS


def test_stability_second_attestation_missing_is_no_second_attestation() -> None:
    outcome = stability(session_of(), BOTH[0])
    refused(outcome, Reason.IDENTITY_NO_SECOND_ATTESTATION)


def test_stability_no_attestation_in_the_session_is_no_second_attestation() -> None:
    refused(stability(session_of()), Reason.IDENTITY_NO_SECOND_ATTESTATION)
    outcome = stability(session_of(), around=False, late=True)
    refused(outcome, Reason.IDENTITY_NO_SECOND_ATTESTATION)


def test_stability_attestations_of_another_session_do_not_count() -> None:
    session = session_of()
    session.exchange("elsewhere", "attestation", minute=5, session="s2")
    identities = (BOTH[0], identity(SIGNER, exchange="elsewhere"))
    refused(stability(session, *identities), Reason.IDENTITY_NO_SECOND_ATTESTATION)


def test_stability_pair_not_declared_is_binding_undeclared() -> None:
    session = session_of()
    del session.bindings[1]
    refused(stability(session, *BOTH), Reason.BINDING_UNDECLARED)


def test_stability_pair_in_wrong_order_is_order_violated() -> None:
    session = session_of()
    del session.bindings[1]
    session.bind("attested-around", before="after", after="before", chat="chat-1")
    outcome = stability(session, *BOTH)
    refused(outcome, Reason.EXCHANGE_ORDER_VIOLATED, Reason.EXCHANGE_ORDER_VIOLATED)


def test_stability_pair_that_attests_nothing_is_binding_undeclared() -> None:
    session = session_of()
    del session.bindings[1]
    session.bind("attested-around", before="before", after="lookup-1", chat="chat-1")
    refused(stability(session, *BOTH), Reason.BINDING_UNDECLARED)


def test_stability_pair_of_another_chat_is_not_looked_at() -> None:
    session = session_of()
    session.bind("attested-around", before="after", after="before", chat="chat-2")
    assert stability(session, *BOTH).status is Status.PASS


def test_stability_one_attestation_suffices_where_the_policy_says_so() -> None:
    outcome = stability(session_of(), BOTH[0], around=False)
    assert outcome.status is Status.PASS
    assert notes(outcome) == [Reason.IDENTITY_ATTESTED_ONCE]


def test_stability_only_later_needs_its_own_permission() -> None:
    refused(stability(session_of(), BOTH[1], around=False), Reason.IDENTITY_NO_SECOND_ATTESTATION)
    outcome = stability(session_of(), BOTH[1], around=False, late=True)
    assert outcome.status is Status.PASS
    assert notes(outcome) == [Reason.IDENTITY_ATTESTED_LATER]


def test_stability_late_attestation_does_not_replace_the_pair() -> None:
    refused(
        stability(session_of(), BOTH[1], around=True, late=True),
        Reason.IDENTITY_NO_SECOND_ATTESTATION,
    )


def test_stability_no_chat_is_chat_missing() -> None:
    session = Session()
    session.exchange("chat-1", "chat", status=503)
    refused(stability(session, *BOTH), Reason.EXCHANGE_CHAT_MISSING)


# --- rows 78 to 80 --------------------------------------------------------------------------------


def signer_of(session: Session, *identities: AttestedIdentity) -> Outcome[AttestedSignatures]:
    facts = {
        "binding.report_data": identities,
        "signature.recovery": recover(session).fact,
    }
    return ask(signature.signer, session, policy(), facts)


def test_signer_attested_key_passes_and_shows_both_times() -> None:
    session = session_of()
    outcome = signer_of(session, *BOTH)
    assert outcome.status is Status.PASS
    assert len(outcome.fact.signatures[0].identities) == 2
    assert outcome.matched[0] == (
        f"{SIGNER.address} is the model of quote-1, attested 2026-06-10T06:00:00Z, "
        "chat 2026-06-10T06:01:00Z"
    )


def test_signer_signature_over_no_exchange_is_still_named() -> None:
    session = session_of()
    session.bindings[0] = session.bindings[0].__class__(
        type="signature-covers",
        members={"signature": "signature-1", "key": None, "request": None, "response": None},
    )
    outcome = signer_of(session, *BOTH)
    assert outcome.status is Status.PASS
    assert "chat" not in outcome.matched[0]


@pytest.mark.parametrize("identities", [(), (identity(OTHER),), (identity(ED25519),)])
def test_signer_of_no_attested_report_is_not_attested(
    identities: tuple[AttestedIdentity, ...],
) -> None:
    refused(signer_of(session_of(), *identities), Reason.SIGNATURE_SIGNER_NOT_ATTESTED)


def role_of(
    session: Session, *identities: AttestedIdentity, roles: tuple[str, ...] = ("model",)
) -> Outcome[object]:
    facts = {"signature.signer": signer_of(session, *identities).fact}
    return ask(signature.role, session, policy(signature={"roles": roles}), facts)


def test_role_model_signer_passes_with_unknown_kind() -> None:
    outcome = role_of(session_of(), *BOTH)
    assert outcome.status is Status.PASS
    assert notes(outcome) == [Reason.SIGNATURE_KIND_UNKNOWN]


def test_role_kind_that_fits_says_nothing() -> None:
    answer = signature_answer(SIGNER, CHAT, model=MODEL, kind="provider_tee")
    outcome = role_of(session_of(answer=answer), *BOTH)
    assert outcome.status is Status.PASS
    assert not notes(outcome)


def test_role_gateway_signer_is_role_not_accepted_unless_the_policy_names_it() -> None:
    answer = signature_answer(GATEWAY, CHAT, kind="gateway")
    session = session_of(signer=GATEWAY, answer=answer)
    attested = identity(GATEWAY, role="gateway")
    outcome = role_of(session, attested)
    refused(outcome, Reason.SIGNATURE_ROLE_NOT_ACCEPTED)
    assert notes(outcome) == [Reason.SIGNATURE_SIGNER_IS_GATEWAY]
    outcome = role_of(session, attested, roles=("gateway",))
    assert outcome.status is Status.PASS
    assert notes(outcome) == [Reason.SIGNATURE_SIGNER_IS_GATEWAY]


def test_role_key_of_gateway_and_model_needs_both_accepted() -> None:
    session = session_of()
    attested = (identity(SIGNER), identity(SIGNER, role="gateway"))
    refused(role_of(session, *attested), Reason.SIGNATURE_ROLE_NOT_ACCEPTED)
    assert role_of(session, *attested, roles=("model", "gateway")).status is Status.PASS


def test_role_kind_swapped_is_kind_contradicts_text() -> None:
    answer = signature_answer(SIGNER, CHAT, kind="provider_tee")
    refused(role_of(session_of(answer=answer), *BOTH), Reason.SIGNATURE_KIND_CONTRADICTS_TEXT)


def model_of(session: Session, *identities: AttestedIdentity) -> Outcome[object]:
    facts = {"signature.signer": signer_of(session, *identities).fact}
    return ask(signature.model, session, policy(), facts)


def test_model_attested_name_passes_and_shows_the_requested() -> None:
    outcome = model_of(session_of(), *BOTH)
    assert outcome.status is Status.PASS
    assert outcome.matched == (f"signature-1: {MODEL}, the request asked for {MODEL}",)


@pytest.mark.parametrize("body", [None, b"{}"])
def test_model_without_readable_request_shows_the_signed_alone(body: bytes | None) -> None:
    session = session_of()
    if body is None:
        session.withhold("request-1")
    else:
        session.bodies["request-1"] = body
    assert model_of(session, *BOTH).matched == (f"signature-1: {MODEL}",)


def test_model_of_two_part_text_is_not_signed() -> None:
    outcome = model_of(session_of(answer=signature_answer(SIGNER, CHAT)), *BOTH)
    assert outcome.status is Status.PASS
    assert notes(outcome) == [Reason.SIGNATURE_MODEL_NOT_SIGNED]


def test_model_of_another_name_is_mismatch() -> None:
    answer = signature_answer(SIGNER, CHAT, model="test/model-70b")
    refused(model_of(session_of(answer=answer), *BOTH), Reason.SIGNATURE_MODEL_MISMATCH)


def test_model_attested_under_no_name_is_no_object() -> None:
    outcome = model_of(session_of(), identity(SIGNER, model_name=None))
    refused(outcome, Reason.FAMILY_NO_OBJECT)


# --- chat and attestation of different times ------------------------------------------------------


def test_chat_of_second_june_and_attestation_of_tenth_june_join_by_the_address() -> None:
    session = Session()
    session.add("request-1", "http.request.body", CHAT.request)
    session.add("response-1", "http.response.body", CHAT.response)
    session.add("signature-1", "provider.signature", signature_answer(SIGNER, CHAT, model=MODEL))
    session.exchange(
        "chat-1",
        "chat",
        start=datetime(2026, 6, 2, 12, 54, 59, tzinfo=UTC),
        request="request-1",
        response="response-1",
    )
    session.exchange(
        "attested",
        "attestation",
        start=datetime(2026, 6, 10, 1, 47, 8, tzinfo=UTC),
    )
    session.bind(
        "signature-covers",
        signature="signature-1",
        key=None,
        request="request-1",
        response="response-1",
    )
    late = identity(SIGNER, exchange="attested")
    outcome = stability(session, late, around=False, late=True)
    assert outcome.status is Status.PASS
    assert notes(outcome) == [Reason.IDENTITY_ATTESTED_LATER]
    text = outcome.notes[0].text
    assert "2026-06-02T12:54:59Z" in text
    assert "2026-06-10T01:47:08Z" in text
    assert "the address, not the machine, joins them" in text
    assert recover(session).status is Status.PASS
    signer = signer_of(session, late)
    assert signer.status is Status.PASS
    assert "attested 2026-06-10T01:47:08Z, chat 2026-06-02T12:54:59Z" in signer.matched[0]
    refused(stability(session, late, around=False), Reason.IDENTITY_NO_SECOND_ATTESTATION)
