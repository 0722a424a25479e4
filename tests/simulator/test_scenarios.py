"""Every scenario: an honest capture of it is what the scenario says, and nobody else believes it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from bundle.providers import provider as provider_named
from fixtures.simulator.machines import VARIANTS
from fixtures.simulator.providers import PROFILES, SCENARIOS, World
from fixtures.simulator.world import Simulator
from tests.simulator.simulator_case import SIGNER, capture, client
from verify.crypto.secp256k1 import address_of, eip191_digest, parse_signature, recover

CASES = [
    (found, stream)
    for found in SCENARIOS.values()
    for stream in ((True, False) if found.stream is None else (found.stream,))
]
NONCE = "ab" * 32


@pytest.mark.parametrize(
    ("scenario", "stream"), CASES, ids=[f"{found.name}-{stream}" for found, stream in CASES]
)
def test_honest_capture_is_what_the_scenario_says(scenario, stream, tmp_path: Path) -> None:
    name = scenario.providers[0]
    with Simulator(name, scenario=scenario.name) as simulator:
        captured = capture(simulator, provider_named(name), tmp_path, stream=stream)
        assert not simulator.provider.troubles
        assert not simulator.vendors.troubles
        found = captured.answer(simulator)
        assert found.verdict == scenario.verdict, found.checks
        assert found.report is not None
        said = {reason for _, reason in found.checks.values()}
        said |= {note.reason.code for note in (*found.report.notes, *found.report.limits)}
        assert set(scenario.reasons) <= said
        assert captured.answer(simulator, trusted=False).verdict in {"INCOMPLETE", "REJECTED"}


@pytest.mark.parametrize("name", list(PROFILES))
def test_attestation_alone_is_verified(name: str, tmp_path: Path) -> None:
    with Simulator(name) as simulator:
        captured = capture(simulator, provider_named(name), tmp_path, chat=False)
        assert captured.answer(simulator).verdict == "VERIFIED"
        assert not [one for one in simulator.journal.requests if "completions" in one.path]


@pytest.mark.parametrize("name", ["near-direct", "nanogpt", "ionet", "aci"])
def test_a_changed_answer_is_not_verified(name: str, tmp_path: Path) -> None:
    with Simulator(name) as simulator:
        provider = provider_named(name)
        captured = capture(simulator, provider, tmp_path, stream=name != "ionet")
        chat = next(n for n, one in enumerate(captured.exchanges) if one.purpose == "chat")
        body = captured.exchanges[chat].response_body
        assert body is not None
        captured.replace_body(chat, body.replace(b"done.", b"gone."))
        assert captured.answer(simulator).verdict == "REJECTED"


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_tolerated_encoding_is_verified(variant: str, tmp_path: Path) -> None:
    with Simulator("near-direct", variants=frozenset({variant})) as simulator:
        captured = capture(simulator, provider_named("near-direct"), tmp_path, chat=True)
        assert captured.answer(simulator).verdict == "VERIFIED"


def test_journal_holds_what_was_asked(tmp_path: Path) -> None:
    with Simulator("near-direct") as simulator:
        captured = capture(simulator, provider_named("near-direct"), tmp_path)
        asked = simulator.journal.requests
    reports = [one for one in asked if one.path == "/v1/attestation/report"]
    nonces = [one.query["nonce"] for one in reports]
    assert all(re.fullmatch("[0-9a-f]{64}", nonce) for nonce in nonces)
    assert len(set(nonces)) == len(nonces) == 4
    assert [one.query["signing_algo"] for one in reports] == ["ecdsa", "ed25519"] * 2
    assert all(one.header("accept-encoding") == "identity" for one in asked)
    chats = [one for one in asked if one.path.endswith("completions")]
    assert [one.body for one in chats] == [captured.scene.chat_body]
    paths = [one.path.rpartition("/")[0] for one in asked]
    assert paths == [
        *["/v1/attestation"] * 2,
        "/v1/chat",
        *["/v1/signature"] * 2,
        *["/v1/attestation"] * 2,
    ]
    assert [one.number for one in asked] == list(range(len(asked)))


def test_the_same_seed_and_time_give_the_same_bytes() -> None:
    fixed = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)

    def answers(seed: str) -> list[bytes]:
        with Simulator("near-direct", seed=seed, time=fixed) as simulator, client(simulator) as c:
            query = f"?nonce={NONCE}&include_tls_fingerprint=true"
            report = c.get(simulator.base_url + "/v1/attestation/report" + query)
            body = {"model": simulator.model, "messages": [], "stream": True}
            chat = c.post(simulator.base_url + "/v1/chat/completions", json=body)
            assert report.headers["date"] == "Mon, 01 Mar 2027 09:30:00 GMT"
            return [simulator.ca_pem, report.content, chat.content, simulator.api_key.encode()]

    first, again, other = answers("one"), answers("one"), answers("two")
    assert first == again
    assert all(left != right for left, right in zip(first, other, strict=True))


def test_signature_is_there_only_after_the_whole_stream_was_sent() -> None:
    with Simulator("near-direct") as simulator, client(simulator) as c:
        url = simulator.base_url + "/v1/chat/completions"
        body = {"model": simulator.model, "messages": [{"role": "user", "content": "hé"}]}
        body["stream"] = True
        with c.stream("POST", url, json=body) as answer:
            parts = b"".join(answer.iter_raw())
        first = json.loads(parts.split(b"\n", 1)[0][6:])
        found = c.get(simulator.base_url + f"/v1/signature/{first['id']}").json()
        model, asked, answered = found["text"].rsplit(":", 2)
        assert model == "test/model-7b"
        assert asked == sha256(simulator.journal.requests[0].body).hexdigest()
        assert answered == sha256(parts).hexdigest()
        key = recover(parse_signature(found["signature"]), eip191_digest(found["text"].encode()))
        assert "0x" + address_of(key).hex() == found["signing_address"].lower()
        missing = c.get(simulator.base_url + "/v1/signature/chatcmpl-nobody")
        assert missing.status_code == 404
        assert missing.json()["error"]["type"] == "not_found"


def test_large_stream_has_the_size_and_is_signed() -> None:
    size = 3 << 20
    with Simulator("near-direct", size=size) as simulator, client(simulator) as c:
        body = {"model": simulator.model, "messages": [], "stream": True}
        digest, length, head = sha256(), 0, b""
        with c.stream("POST", simulator.base_url + "/v1/chat/completions", json=body) as answer:
            for part in answer.iter_raw():
                digest.update(part)
                length += len(part)
                head = head or part
        assert length >= size
        name = json.loads(head.split(b"\n", 1)[0][6:])["id"]
        found = c.get(simulator.base_url + f"/v1/signature/{name}").json()
        assert found["text"].endswith(digest.hexdigest())


@pytest.mark.parametrize(
    ("name", "query", "status"),
    [
        ("near-direct", "?nonce=zz", 400),
        ("near-direct", "?nonce=abcd", 400),
        ("near-direct", f"?nonce={NONCE}&signing_algo=rsa", 400),
        ("near-direct", f"?nonce={NONCE}&signing_address=0x{'11' * 20}", 404),
        ("phala", "?nonce=abcd", 400),
    ],
)
def test_bad_attestation_request_is_refused(name: str, query: str, status: int) -> None:
    with Simulator(name) as simulator, client(simulator) as c:
        found = c.get(simulator.base_url + "/v1/attestation/report" + query)
        assert found.status_code == status
        assert found.json().keys() & {"error", "detail"}


@pytest.mark.parametrize("name", sorted(set(PROFILES) - {"chutes"}))
def test_chat_without_the_key_is_refused_in_the_providers_envelope(name: str) -> None:
    with Simulator(name) as simulator, client(simulator, key=False) as c:
        chat = next(route for route in simulator.world.service.routes if route[2] == "chat")
        path = "/completions" if name == "ionet" else re.sub(r"\(.*?\)\?", "/api/v1", chat[1])
        path = "/api/v1/chat/completions" if name in {"nanogpt", "venice"} else path
        found = c.post(simulator.base_url + path, json={"model": "m", "messages": []})
        assert found.status_code == 401
        assert found.json().keys() & {"error", "detail"}


def test_chat_that_is_none_is_refused() -> None:
    with Simulator("near-direct") as simulator, client(simulator) as c:
        for body in (b"{", b"[]", b'{"model":"m"}', b'{"messages":[]}'):
            found = c.post(simulator.base_url + "/v1/chat/completions", content=body)
            assert found.status_code == 400


def test_another_path_is_not_found() -> None:
    with Simulator("nanogpt") as simulator, client(simulator) as c:
        assert c.get(simulator.base_url + "/v2/nothing").status_code == 404


def test_two_nodes_sign_only_what_they_served() -> None:
    with Simulator("near-direct", scenario="near-direct-two-nodes") as simulator:
        body = {"model": simulator.model, "messages": []}
        with client(simulator) as one, client(simulator) as two:
            chat = one.post(simulator.base_url + "/v1/chat/completions", json=body).json()
            path = f"{simulator.base_url}/v1/signature/{chat['id']}"
            assert two.get(path).status_code == 404
            assert one.get(path).status_code == 200
        spkis = {request.spki for request in simulator.journal.requests}
        assert len(spkis) == 2


def test_plain_http_gives_the_form_without_tls() -> None:
    with Simulator("near-direct", tls=False) as simulator:
        query = f"/v1/attestation/report?nonce={NONCE}&include_tls_fingerprint=true"
        found = httpx.get(simulator.base_url + query, trust_env=False).json()
    assert simulator.base_url.startswith("http://127.0.0.1:")
    assert "tls_cert_fingerprint" not in found


def test_policy_believes_the_signer_it_was_made_for() -> None:
    with Simulator("nanogpt") as simulator:
        assert SIGNER.encode() in simulator.policy(SIGNER)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KeyError):
        World("nobody")
    with pytest.raises(KeyError):
        World("nanogpt", "nothing")
    with pytest.raises(ValueError, match="does not play"):
        World("nanogpt", "near-direct")
    with pytest.raises(ValueError, match="cannot be played"):
        World("nanogpt", fault="tls-fingerprint-other")
    with pytest.raises(KeyError):
        World("nanogpt", fault="nothing")
    with pytest.raises(ValueError, match="loopback"):
        Simulator("nanogpt", listen=("0.0.0.0", 0))  # noqa: S104  (the address that is refused)
