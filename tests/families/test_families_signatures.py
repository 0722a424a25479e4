"""Response signatures: carriers, strictness, judging; eth-account is the oracle."""

from __future__ import annotations

import json

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.chat_sim import (
    UNAVAILABLE_200,
    UNAVAILABLE_404,
    answer_members,
    chat,
    ecdsa_signer,
    ed25519_signer,
    signature_answer,
    signature_headers,
    with_signature_event,
)
from verify.crypto.secp256k1 import ORDER
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.families.signatures import (
    MAX_ANSWER,
    SignatureAnswer,
    VerifiedSignature,
    judge_kind,
    parse_answer,
    parse_headers,
    parse_identity,
    parse_stream_event,
    verify_signature,
)

ECDSA = ecdsa_signer("signer")
ED25519 = ed25519_signer("signer")
CHAT = chat("signatures")
TEXT = CHAT.text()


def answer(**changes: str) -> SignatureAnswer:
    members = {
        "text": TEXT,
        "signature": ECDSA.sign(TEXT),
        "signing_address": ECDSA.address,
        "algorithm": "ecdsa",
        **changes,
    }
    return SignatureAnswer(**members)  # type: ignore[arg-type]


def refused(given_answer: SignatureAnswer) -> Refused:
    with pytest.raises(Refused) as caught:
        verify_signature(given_answer)
    return caught.value


# --- carriers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("signer", [ECDSA, ED25519])
@pytest.mark.parametrize("model", [None, "test/model:7b"])
def test_answer_of_a_signer_verifies(signer: object, model: str | None) -> None:
    body = signature_answer(signer, CHAT, model=model)  # type: ignore[arg-type]
    found = verify_signature(parse_answer(body))
    assert found.signer.value == signer.identity  # type: ignore[attr-defined]
    assert found.text.model == model
    assert found.text.text == CHAT.text(model=model)


def test_answer_of_the_simulated_signer_is_that_of_the_oracle() -> None:
    recovered = Account.recover_message(encode_defunct(text=TEXT), signature=ECDSA.sign(TEXT))
    assert recovered == ECDSA.address


def test_answer_without_algorithm_is_inferred_from_the_address() -> None:
    for signer in (ECDSA, ED25519):
        members = answer_members(signer, TEXT)
        del members["signing_algo"]
        found = verify_signature(parse_answer(json.dumps(members).encode()))
        assert found.signer.algorithm == signer.algorithm


def test_answer_lower_case_address_names_the_same_signer() -> None:
    lower = answer(signing_address=ECDSA.address.lower())
    swapped = answer(signing_address="0x" + ECDSA.address[2:].swapcase())
    assert verify_signature(lower).signer == verify_signature(answer()).signer
    assert not verify_signature(lower).checksum_wrong
    assert verify_signature(swapped).checksum_wrong


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("provider_tee", "provider_tee"), ("gateway", "gateway"), ("Gateway", None), (None, None)],
)
def test_answer_kind_is_one_of_two_words_or_unknown(kind: str | None, expected: str | None) -> None:
    body = json.dumps(answer_members(ECDSA, TEXT, kind=kind)).encode()
    assert parse_answer(body).kind == expected


@pytest.mark.parametrize(
    "body",
    [
        UNAVAILABLE_404,
        UNAVAILABLE_200,
        b'{"detail":"Chat id not found"}',
        b'{"error":"text","status":402}',
        b'{"status":"failure","message":"none"}',
    ],
)
def test_answer_that_says_there_is_none_is_unavailable(body: bytes) -> None:
    with pytest.raises(Refused) as caught:
        parse_answer(body)
    assert caught.value.reason is Reason.SIGNATURE_UNAVAILABLE


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.EXCHANGE_BODY_NOT_JSON),
        (b"<html>", Reason.EXCHANGE_BODY_NOT_JSON),
        (b'{"text":"a","text":"a"}', Reason.EXCHANGE_JSON_DUPLICATE_MEMBER),
        (b" " * (MAX_ANSWER + 1), Reason.EXCHANGE_OVER_LIMIT),
        (b"[]", Reason.SHAPE_FIELD_TYPE),
        (b"{}", Reason.SHAPE_FIELD_MISSING),
        (b'{"signature":"0x"}', Reason.SHAPE_FIELD_MISSING),
        (b'{"signature":1,"text":"t","signing_address":"a"}', Reason.SHAPE_FIELD_TYPE),
        (
            b'{"signature":"s","text":"t","signing_address":"a","signing_algo":1}',
            Reason.SHAPE_FIELD_TYPE,
        ),
    ],
)
def test_answer_of_other_form_names_its_code(body: bytes, reason: Reason) -> None:
    with pytest.raises(FormatError) as caught:
        parse_answer(body)
    assert caught.value.reason is reason


def test_headers_carry_a_signature_in_any_case() -> None:
    pairs = signature_headers(ECDSA, chat("ionet", dialect="ionet", stream=False))
    shouted = tuple((name.upper(), value) for name, value in pairs)
    assert verify_signature(parse_headers(pairs)) == verify_signature(parse_headers(shouted))


def test_headers_without_any_signature_is_unavailable() -> None:
    with pytest.raises(Refused) as caught:
        parse_headers((("content-type", "application/json"),))
    assert caught.value.reason is Reason.SIGNATURE_UNAVAILABLE


@pytest.mark.parametrize("change", ["twice", "absent", "redacted"])
def test_headers_not_there_once_in_clear_is_malformed(change: str) -> None:
    pairs: list[tuple[str, str | None]] = list(signature_headers(ECDSA, CHAT))
    if change == "twice":
        pairs.append(("Signature", pairs[1][1]))
    elif change == "absent":
        del pairs[1]
    else:
        pairs[1] = ("signature", None)
    with pytest.raises(FormatError) as caught:
        parse_headers(pairs)
    assert caught.value.reason is Reason.SIGNATURE_MALFORMED


def test_stream_event_carries_a_signature() -> None:
    body = with_signature_event(ECDSA, chat("ionet", dialect="ionet"))
    assert verify_signature(parse_stream_event(body)).signer.value == ECDSA.identity


def test_stream_without_signature_event_is_unavailable() -> None:
    with pytest.raises(Refused) as caught:
        parse_stream_event(CHAT.response)
    assert caught.value.reason is Reason.SIGNATURE_UNAVAILABLE


@pytest.mark.parametrize(
    "body",
    [
        b"event: signature\ndata: {}\n\nevent: signature\ndata: {}\n\n",
        b"event: signature",
        b"event: signature\n\n",
    ],
)
def test_stream_event_not_there_once_is_malformed(body: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_stream_event(body)
    assert caught.value.reason is Reason.SIGNATURE_MALFORMED


# --- judging --------------------------------------------------------------------------------------


def raw(*, r: int = 1, s: int = 1, v: int = 27) -> str:
    return "0x" + (r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((v,))).hex()


@pytest.mark.parametrize(
    "changes",
    [
        {"signature": ECDSA.sign(TEXT)[:-2]},
        {"signature": raw(v=29)},
        {"signature": raw(s=ORDER - 1)},
        {"signature": raw(r=0)},
        {"signature": ""},
        {"signing_address": ECDSA.address[2:]},
        {"signing_address": ED25519.address},
        {"algorithm": "ed25519", "signing_address": "0x" + ED25519.address},
        {"algorithm": "ed25519", "signing_address": ED25519.address, "signature": "00" * 63},
        {"algorithm": "ed25519", "signing_address": ED25519.address, "signature": "zz" * 64},
    ],
)
def test_signature_of_other_encoding_is_malformed(changes: dict[str, str]) -> None:
    assert refused(answer(**changes)).reason is Reason.SIGNATURE_MALFORMED


def test_signature_high_s_copy_of_a_good_one_is_malformed() -> None:
    good = bytes.fromhex(ECDSA.sign(TEXT)[2:])
    s = ORDER - int.from_bytes(good[32:64], "big")
    copy = good[:32] + s.to_bytes(32, "big") + bytes((55 - good[64],))
    assert Account.recover_message(encode_defunct(text=TEXT), signature=copy) == ECDSA.address
    assert refused(answer(signature=copy.hex())).reason is Reason.SIGNATURE_MALFORMED


@pytest.mark.parametrize("algorithm", ["", "ECDSA", "rsa", "secp256k1"])
def test_signature_of_other_algorithm_is_algorithm_unsupported(algorithm: str) -> None:
    found = refused(answer(algorithm=algorithm))
    assert found.reason is Reason.SIGNATURE_ALGORITHM_UNSUPPORTED
    assert found.path == "/signing_algo"


def test_signature_over_other_text_is_address_mismatch() -> None:
    edited = TEXT.replace(TEXT[0], "0" if TEXT[0] != "0" else "1", 1)
    found = refused(answer(text=edited))
    assert found.reason is Reason.SIGNATURE_ADDRESS_MISMATCH
    assert found.expected == ECDSA.address


def test_signature_of_another_key_is_address_mismatch() -> None:
    other = ecdsa_signer("other")
    assert refused(answer(signature=other.sign(TEXT))).reason is Reason.SIGNATURE_ADDRESS_MISMATCH


def test_signature_that_gives_no_key_is_recovery_failed() -> None:
    # no point of the curve has x = 5
    assert refused(answer(signature=raw(r=5))).reason is Reason.SIGNATURE_RECOVERY_FAILED


@pytest.mark.parametrize(
    "changes",
    [
        {"text": CHAT.text(model="x")},
        {"signature": ed25519_signer("other").sign(TEXT)},
        {"signing_address": "00" * 32},
    ],
)
def test_ed25519_signature_of_another_text_or_key_is_invalid(changes: dict[str, str]) -> None:
    members = {"signing_address": ED25519.address, "signature": ED25519.sign(TEXT), **changes}
    found = refused(answer(algorithm="ed25519", **members))
    assert found.reason is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a:b", Reason.SIGNATURE_TEXT_MALFORMED),
        ("hello", Reason.SIGNATURE_TEXT_FORM_UNKNOWN),
    ],
)
def test_signature_over_other_kind_of_text_names_its_code(text: str, reason: Reason) -> None:
    found = refused(answer(text=text, signature=ECDSA.sign(text)))
    assert found.reason is reason
    assert found.path == "/text"


@pytest.mark.parametrize(
    ("kind", "model", "holds"),
    [
        ("provider_tee", "m", True),
        ("provider_tee", None, False),
        ("gateway", None, True),
        ("gateway", "m", False),
        (None, None, True),
        (None, "m", True),
    ],
)
def test_kind_demands_its_number_of_parts(kind: str | None, model: str | None, holds: bool) -> None:
    body = signature_answer(ECDSA, CHAT, model=model, kind=kind)
    found: VerifiedSignature = verify_signature(parse_answer(body))
    if holds:
        judge_kind(found)
        return
    with pytest.raises(Refused) as caught:
        judge_kind(found)
    assert caught.value.reason is Reason.SIGNATURE_KIND_CONTRADICTS_TEXT


def test_identity_is_printed_as_people_know_it() -> None:
    assert str(parse_identity("ecdsa", ECDSA.address.lower())) == ECDSA.address
    assert str(parse_identity("ed25519", ED25519.address)) == ED25519.address


# --- any input ------------------------------------------------------------------------------------

TEXTS = st.sampled_from(
    [TEXT, ECDSA.address, ED25519.address, ECDSA.sign(TEXT), "ecdsa", "ed25519"]
)
MEMBERS = st.dictionaries(
    st.sampled_from(
        ["text", "signature", "signing_address", "signing_algo", "signature_kind", "error"]
    ),
    TEXTS | st.text(max_size=12) | st.integers() | st.none(),
)


@settings(max_examples=200, deadline=None)
@given(MEMBERS)
def test_parse_and_verify_any_members_are_read_or_refused(members: dict[str, object]) -> None:
    try:
        verify_signature(parse_answer(json.dumps(members).encode()))
    except (FormatError, Refused) as error:
        reason = error.reason
    else:
        return
    assert reason is not None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=120))
def test_parsers_any_bytes_are_read_or_refused(body: bytes) -> None:
    for parse in (parse_answer, parse_stream_event):
        try:
            parse(body)
        except (FormatError, Refused):
            continue
