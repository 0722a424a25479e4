"""Signed chats that services gave, and recorded vectors, read in place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from verify.crypto.secp256k1 import eip191_digest
from verify.engine.errors import Refused
from verify.engine.reason import Reason
from verify.families.content import (
    ionet_request,
    ionet_stream,
    matching_form,
    python_compact,
    python_default,
    read_reply,
)
from verify.families.signatures import (
    judge_kind,
    parse_answer,
    parse_headers,
    parse_stream_event,
    verify_signature,
)

CHATS = [
    "near-qwen35-122b-20260602",
    "near-deepseek-v31-20251203",
    "near-ed25519-receipt-20260906",
    "near-signature-only-2025",
    "phala-llama33-70b-20250818",
    "near-llama33-70b-20250901-wrong-signature",
]


def load(root: Path, item: str) -> tuple[Path, Mapping[str, object]]:
    folder = root / "chat" / item
    return folder, json.loads((folder / "expected.json").read_text())


@pytest.mark.parametrize("item", CHATS)
def test_signature_of_a_service_is_judged_as_expected(evidence_root: Path, item: str) -> None:
    folder, expected = load(evidence_root, item)
    answer = parse_answer((folder / "signature.json").read_bytes())
    assert answer.algorithm == expected["signing_algo"]
    assert answer.kind == expected["signature_kind"]
    if expected["signing_algo"] == "ecdsa":
        assert eip191_digest(answer.text.encode()).hex() == expected["eip191_keccak256"]
        oracle = Account.recover_message(
            encode_defunct(text=answer.text), signature=answer.signature
        )
        assert oracle == expected["recovered_address"]
        if not expected["recovered_equals_signing_address"]:
            with pytest.raises(Refused) as caught:
                verify_signature(answer)
            assert caught.value.reason is Reason.SIGNATURE_ADDRESS_MISMATCH
            assert caught.value.got == oracle
            return
        assert str(verify_signature(answer).signer) == oracle
    found = verify_signature(answer)
    judge_kind(found)
    assert found.text.model == expected["signed_model"]
    assert found.text.request_hash.hex() == expected["signed_request_sha256"]
    assert found.text.response_hash.hex() == expected["signed_response_sha256"]


@pytest.mark.parametrize("item", CHATS)
def test_bodies_of_a_service_hash_as_expected(evidence_root: Path, item: str) -> None:
    folder, expected = load(evidence_root, item)
    if "request_sha256" not in expected:
        assert not (folder / "request.body").exists()
        return
    every = ("raw", "python_default", "python_compact", "model_renamed", "ionet_request")
    response = (folder / "response.body").read_bytes()
    reply = read_reply(response)
    assert reply.stream
    # the recorder of the re-formatted page cut the end off
    assert reply.done is response.rstrip().endswith(b"data: [DONE]")
    assert reply.chat_id == expected["chat_id"]
    assert reply.model == expected["response_model"]
    for name in ("request", "response"):
        body = (folder / f"{name}.body").read_bytes()
        signed = bytes.fromhex(str(expected[f"signed_{name}_sha256"]))
        form = matching_form(body, signed, every, reply.model)
        assert form == ("raw" if expected[f"{name}_hash_matches"] else None)


@pytest.mark.parametrize("item", ["near-qwen35-122b-20260602", "near-deepseek-v31-20251203"])
def test_stream_of_a_service_with_other_line_ends_does_not_match(
    evidence_root: Path, item: str
) -> None:
    folder, expected = load(evidence_root, item)
    body = (folder / "response.body").read_bytes()
    misses = expected["near_misses"]
    assert sha256(body[:-1]).hexdigest() == misses["without_last_newline"]["sha256"]
    assert sha256(body[:-2]).hexdigest() == misses["without_both_newlines"]["sha256"]
    signed = bytes.fromhex(str(expected["signed_response_sha256"]))
    for other in (body[:-1], body[:-2], body.replace(b"\n", b"\r\n"), body + b"\n"):
        assert matching_form(other, signed, ("raw", "python_default", "ionet_stream")) is None


def test_chat_and_later_attestation_name_one_address(evidence_root: Path) -> None:
    folder, expected = load(evidence_root, CHATS[0])
    (attested,) = expected["signer_attested_in"]
    capture = evidence_root / attested["item"]
    (body,) = capture.glob("responses/0001_*.body")
    report = json.loads(body.read_bytes())
    signer = verify_signature(parse_answer((folder / "signature.json").read_bytes())).signer
    assert signer.value.hex() == report["signing_address"][2:]
    quote = bytes.fromhex(report["intel_quote"])
    assert quote[568:588] == signer.value


def test_ionet_vectors_have_their_forms(evidence_root: Path) -> None:
    folder, expected = load(evidence_root, "ionet-vectors-synthetic")
    for row in expected["requests"]:
        body = (folder / row["file"]).read_bytes()
        assert ionet_request(body).decode() == row["normal_form"], row["name"]
        assert (ionet_request(body) == body) is row["raw_equals_normal_form"]
    response = expected["response"]
    compact = python_compact((folder / response["body"]).read_bytes())
    assert sha256(compact).hexdigest() == response["normal_form_sha256"]
    pairs = json.loads((folder / response["headers"]).read_text())
    found = verify_signature(parse_headers([(name, value) for name, value in pairs]))
    assert str(found.signer) == expected["signing_address"]
    assert found.text.text == response["signed_text"]
    stream = expected["stream"]
    for name in ("body", "same_hash"):
        body = (folder / stream[name]).read_bytes()
        assert sha256(ionet_stream(body)).hexdigest() == stream["normal_form_sha256"]
        found = verify_signature(parse_stream_event(body))
        assert found.text.text == stream["signed_text"]
        assert str(found.signer) == expected["signing_address"]


def test_vllm_proxy_vectors_have_their_forms(evidence_root: Path) -> None:
    folder, expected = load(evidence_root, "vllm-proxy-vectors-synthetic")
    response = expected["response"]
    body = (folder / "response.body").read_bytes()
    assert python_default(body).decode() == response["normal_form_text"]
    for prefix, form in (("", "python_default"), ("stream-", "raw")):
        answer = parse_answer((folder / f"{prefix}signature.json").read_bytes())
        found = verify_signature(answer)
        assert str(found.signer) == expected["signing_address"]
        request = (folder / f"{prefix}request.body").read_bytes()
        assert matching_form(request, found.text.request_hash, ("raw",)) == "raw"
        name = "stream.body" if prefix else "response.body"
        body = (folder / name).read_bytes()
        forms = ("raw", "python_default")
        assert matching_form(body, found.text.response_hash, forms) == form
