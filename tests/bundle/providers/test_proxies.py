"""The exact requests of the providers whose sequence is the common one."""

from __future__ import annotations

import json

import pytest

from bundle.providers import PROVIDERS, provider
from tests.bundle.providers.playing import Stage, answer, play, shown

ADDRESS = "0x" + "ab" * 20
REPORT = json.dumps({"intel_quote": "00", "signing_address": ADDRESS}).encode()
STREAM = b': hello\ndata: {"id":"c/1?x"}\n\ndata: [DONE]\n\n'

# name, options, first attestation, second attestation, chat, look-up; N is the nonce
TABLE = [
    (
        "nanogpt",
        {},
        "/api/v1/tee/attestation?model=TEE/model-7b&nonce=N",
        "/api/v1/tee/attestation?model=TEE/model-7b&nonce=N",
        "/api/v1/chat/completions",
        "/api/v1/tee/signature/c%2F1%3Fx?model=TEE/model-7b&signing_algo=ecdsa",
    ),
    (
        "nanogpt",
        {"signing_algo": "send"},
        "/api/v1/tee/attestation?model=TEE/model-7b&nonce=N&signing_algo=ecdsa",
        "/api/v1/tee/attestation?model=TEE/model-7b&nonce=N&signing_algo=ecdsa",
        "/api/v1/chat/completions",
        "/api/v1/tee/signature/c%2F1%3Fx?model=TEE/model-7b&signing_algo=ecdsa",
    ),
    (
        "dstack",
        {},
        "/v1/attestation/report?signing_algo=ecdsa&nonce=N",
        f"/v1/attestation/report?signing_algo=ecdsa&nonce=N&signing_address={ADDRESS}",
        "/v1/chat/completions",
        "/v1/signature/c%2F1%3Fx?signing_algo=ecdsa",
    ),
    (
        "phala",
        {"version": "2"},
        "/v1/attestation/report?signing_algo=ecdsa&nonce=N&version=2",
        f"/v1/attestation/report?signing_algo=ecdsa&nonce=N&version=2&signing_address={ADDRESS}",
        "/v1/chat/completions",
        "/v1/signature/c%2F1%3Fx?signing_algo=ecdsa",
    ),
    (
        "near-gateway",
        {},
        (
            "/v1/attestation/report?model=model-7b&nonce=N&signing_algo=ecdsa"
            "&include_tls_fingerprint=true&provider=near"
        ),
        (
            f"/v1/attestation/report?model=model-7b&nonce=N&signing_algo=ecdsa"
            f"&signing_address={ADDRESS}&include_tls_fingerprint=true&provider=near"
        ),
        "/v1/chat/completions",
        "/v1/signature/c%2F1%3Fx?model=model-7b&signing_algo=ecdsa",
    ),
    (
        "venice",
        {},
        "/api/v1/tee/attestation?model=model-7b&nonce=N",
        "/api/v1/tee/attestation?model=model-7b&nonce=N",
        "/api/v1/chat/completions",
        "/api/v1/tee/signature?model=model-7b&request_id=c/1%3Fx",
    ),
    (
        "redpill",
        {},
        "/v1/attestation/report?model=model-7b&nonce=N",
        f"/v1/attestation/report?model=model-7b&nonce=N&signing_address={ADDRESS}",
        "/v1/chat/completions",
        "/v1/signature/c%2F1%3Fx?model=model-7b",
    ),
    (
        "redpill",
        {"signing_algo": "send"},
        "/v1/attestation/report?model=model-7b&nonce=N&signing_algo=ecdsa",
        (
            "/v1/attestation/report?model=model-7b&nonce=N&signing_algo=ecdsa"
            f"&signing_address={ADDRESS}"
        ),
        "/v1/chat/completions",
        "/v1/signature/c%2F1%3Fx?model=model-7b&signing_algo=ecdsa",
    ),
]


@pytest.mark.parametrize(("name", "options", "first", "second", "chat", "look_up"), TABLE)
def test_a_whole_session_asks_exactly_this(name, options, first, second, chat, look_up):
    base = PROVIDERS[name].base_url or "https://vllm.example.test"
    asked = provider(name)
    stage = Stage(
        base_url=base, model="model-7b", options=options, chat_body=b"{}", algorithms=("ecdsa",)
    )
    calls, before = play(asked.before(stage), lambda _: answer(REPORT))
    called = asked.chat_call(stage)
    looked, _ = play(
        asked.after_chat(stage, answer(STREAM)), [answer(b'{"text":"t","signature":"0x"}')]
    )
    again, after = play(asked.after(stage, before), lambda _: answer(REPORT))
    suffix = ".ecdsa" if name in {"dstack", "phala", "near-gateway"} else ""

    def with_nonce(path, step):
        return base + path.replace("=N", "=" + stage.nonces[step].hex())

    assert shown(calls) == [(f"attest-1{suffix}", "GET", with_nonce(first, f"attest-1{suffix}"))]
    assert (called.method, called.url, called.body) == ("POST", base + chat, b"{}")
    assert shown(looked) == [("signature.ecdsa", "GET", base + look_up)]
    assert shown(again) == [(f"attest-2{suffix}", "GET", with_nonce(second, f"attest-2{suffix}"))]
    assert before.usable
    assert after.usable
    assert stage.collected == [("before", 1), ("after", 1)]
    assert {call.credential for call in (*calls, called, *looked, *again)} == {"provider"}


def test_a_back_end_that_attests_no_signer_is_looked_up_without_waiting():
    """An aggregated answer of a family that signs nothing, behind a proxy."""
    asked = provider("nanogpt")
    stage = Stage(base_url=asked.base_url, chat_body=b"{}")
    chutes = b'{"attestation_type":"chutes","all_attestations":[{"instance_id":"i"}]}'
    _, found = play(asked.before(stage), [answer(chutes)])
    assert found.usable
    assert found.signers == {}
    calls, _ = play(asked.after_chat(stage, answer(STREAM)), [answer(status=404)])
    assert [call.step for call in calls] == ["signature.ecdsa"]


def test_the_gateways_key_is_second_to_the_models():
    asked = provider("near-gateway")
    stage = Stage(base_url=asked.base_url, algorithms=("ecdsa", "ed25519"), chat_body=b"{}")
    report = {
        "gateway_attestation": {"signing_address": "0x" + "01" * 20, "signing_algo": "ecdsa"},
        "model_attestations": [{"signing_address": ADDRESS, "signing_algo": "ecdsa"}],
    }
    _, found = play(asked.before(stage), lambda _: answer(json.dumps(report).encode()))
    assert found.signers == {"ecdsa": ADDRESS}
    assert ("X-No-Aliasing", "true") in asked.chat_call(stage).headers
