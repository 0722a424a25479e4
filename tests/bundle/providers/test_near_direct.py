"""NEAR at the model: discovery, one attestation per algorithm, the rules of 404."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from bundle.calls import Attested
from bundle.providers import provider
from fixtures.intel_pki import AS_OF
from tests.bundle.providers.playing import Stage, answer, play, shown
from verify.engine.errors import UsageError

BASE = "https://model.completions.near.ai"
ADDRESS = {"ecdsa": "0x" + "ab" * 20, "ed25519": "cd" * 32}


def report(algorithm, **more):
    members = {
        "signing_algo": algorithm,
        "signing_address": ADDRESS[algorithm],
        "intel_quote": "00",
        **more,
    }
    return json.dumps(members).encode()


def scene(**changes):
    return Stage(**{"base_url": BASE, "algorithms": ("ecdsa", "ed25519"), **changes})


def reports(call):
    algorithm = call.step.split(".")[1].partition("/")[0]
    return answer(report(algorithm))


ELSEWHERE = b'{"error":{"message":"Signing address not found on this server"}}'
UNKNOWN = b'{"error":{"message":"Chat id not found or expired","type":"not_found"}}'
STREAM = b'data: {"id":"chatcmpl-1"}\n\ndata: [DONE]\n\n'


def test_a_round_attests_once_per_algorithm_with_a_nonce_each():
    stage, near = scene(), provider("near-direct")
    calls, found = play(near.before(stage), reports)

    def url(step, algorithm):
        return (
            f"{BASE}/v1/attestation/report?signing_algo={algorithm}"
            f"&nonce={stage.nonces[step].hex()}&include_tls_fingerprint=true"
        )

    assert shown(calls) == [
        ("attest-1.ecdsa", "GET", url("attest-1.ecdsa", "ecdsa")),
        ("attest-1.ed25519", "GET", url("attest-1.ed25519", "ed25519")),
    ]
    assert {call.purpose for call in calls} == {"attestation"}
    assert {call.credential for call in calls} == {None}
    assert len(set(stage.nonces.values())) == 2
    assert (found.usable, found.note, found.signers) == (True, "", ADDRESS)
    assert stage.collected == [("before", 2)]


def test_the_second_round_names_the_signer_of_each_algorithm():
    stage, near = scene(), provider("near-direct")
    _, found = play(near.before(stage), reports)
    calls, again = play(near.after(stage, found), reports)
    assert [call.step for call in calls] == ["attest-2.ecdsa", "attest-2.ed25519"]
    for call, algorithm in zip(calls, ("ecdsa", "ed25519"), strict=True):
        assert call.url.endswith(f"&signing_address={ADDRESS[algorithm]}")
    assert again.signers == ADDRESS
    assert stage.collected == [("before", 2), ("after", 2)]
    assert len(set(stage.nonces.values())) == 4


def test_the_host_is_looked_up_by_model_at_the_list_of_endpoints():
    listed = {
        "endpoints": [
            {"domain": "evil.example.org", "models": ["test/model-7b"]},
            {"domain": "other.completions.near.ai", "models": ["test/other"]},
            {"domain": "model.completions.near.ai", "models": ["x", "TEST/Model-7B"]},
        ]
    }
    near = provider("near-direct")
    stage = scene(base_url=near.base_url, chat_body=b"{}")
    first = [answer(json.dumps(listed).encode())]
    calls, found = play(
        near.before(stage), lambda call: first.pop() if call.step == "discover" else reports(call)
    )
    assert shown(calls)[0] == ("discover", "GET", "https://completions.near.ai/endpoints")
    assert calls[0].purpose == "model-list"
    assert calls[0].credential is None
    assert all(call.url.startswith(f"{BASE}/v1/attestation/") for call in calls[1:])
    assert found.usable
    assert near.chat_call(stage).url == f"{BASE}/v1/chat/completions"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"endpoints":7}',
        b'{"endpoints":[7,{"domain":3,"models":[]},{"models":["test/model-7b"]}]}',
        b'{"endpoints":[{"domain":"evil.example.org","models":["test/model-7b"]}]}',
        b'{"endpoints":[{"domain":"u@x.completions.near.ai","models":["test/model-7b"]}]}',
        b'{"endpoints":[{"domain":"x.completions.near.ai:99999","models":["test/model-7b"]}]}',
        b'{"endpoints":[{"domain":"x.completions.near.ai/a","models":["test/model-7b"]}]}',
        b'{"endpoints":[{"domain":"xcompletions.near.ai","models":["test/model-7b"]}]}',
        b'{"endpoints":[{"domain":"a%2e.completions.near.ai","models":["test/model-7b"]}]}',
        b'{"endpoints":[{"domain":"x.completions.near.ai","models":"test/model-7b"}]}',
    ],
)
def test_a_model_that_no_listed_host_serves_is_not_attested(body):
    near = provider("near-direct")
    stage = scene(base_url=near.base_url, chat_body=b"{}")
    calls, found = play(near.before(stage), [answer(body)])
    assert len(calls) == 1
    assert (found.usable, found.answers) == (False, ())
    assert "test/model-7b" in found.note
    with pytest.raises(UsageError, match="not known yet"):
        near.chat_call(stage)


def test_a_list_on_a_loopback_address_may_name_loopback_addresses_alone():
    near = provider("near-direct")

    def located(domain):
        stage = scene(base_url="http://127.0.0.1:9", options={"discover": "true"}, chat_body=b"{}")
        listed = {"endpoints": [{"domain": domain, "models": ["test/model-7b"]}]}
        first = [answer(json.dumps(listed).encode())]
        calls, _ = play(
            near.before(stage),
            lambda call: first.pop() if call.step == "discover" else reports(call),
        )
        return [call.url.split("/v1/")[0] for call in calls[1:]]

    assert located("127.0.0.1:8443") == ["http://127.0.0.1:8443"] * 2
    assert located("[::1]:8443") == ["http://[::1]:8443"] * 2
    assert located("model.completions.near.ai") == []


def test_every_try_has_a_nonce_of_its_own_and_waits_longer():
    stage, near = scene(algorithms=("ecdsa",)), provider("near-direct")
    script = [answer(status=500), answer(trouble="timeout"), answer(report("ecdsa"))]
    calls, found = play(near.before(stage), script)
    assert [call.step for call in calls] == [
        "attest-1.ecdsa",
        "attest-1.ecdsa/2",
        "attest-1.ecdsa/3",
    ]
    assert [call.after_s for call in calls] == [0.0, 1.0, 2.0]
    assert list(stage.nonces) == [call.step for call in calls]
    for call in calls:
        assert f"nonce={stage.nonces[call.step].hex()}&" in call.url
    assert len({call.url for call in calls}) == 3
    assert found.usable
    assert len(found.answers) == 1


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refusal_ends_the_round_at_once(status):
    stage, near = scene(), provider("near-direct")
    calls, found = play(near.before(stage), [answer(b'{"error":"no"}', status=status)])
    assert len(calls) == 1
    assert not found.usable
    assert str(status) in found.note
    assert stage.collected == []


def test_an_algorithm_that_the_endpoint_does_not_know_does_not_end_the_round():
    stage, near = scene(), provider("near-direct")
    calls, found = play(near.before(stage), [answer(status=400), answer(report("ed25519"))])
    assert len(calls) == 2
    assert found.usable
    assert found.signers == {"ed25519": ADDRESS["ed25519"]}
    stage.chat_body = b"{}"
    looked, _ = play(near.after_chat(stage, answer(STREAM)), [answer(b'{"signature":"0x"}')])
    assert [call.step for call in looked] == ["signature.ed25519"]


def test_an_hour_of_asked_patience_ends_the_round():
    stage, near = scene(), provider("near-direct")
    limited = answer(status=429, headers=(("Retry-After", "3600"),))
    calls, found = play(near.before(stage), [limited])
    assert (len(calls), found.usable) == (1, False)


def test_a_machine_without_the_signer_is_asked_again_then_anybody():
    stage, near = scene(algorithms=("ecdsa",)), provider("near-direct")
    _, found = play(near.before(stage), reports)
    script = [answer(ELSEWHERE, status=404)] * 12 + [answer(report("ecdsa"))]
    calls, again = play(near.after(stage, found), script)
    assert [call.step for call in calls[:3]] == [
        "attest-2.ecdsa",
        "attest-2.ecdsa/2",
        "attest-2.ecdsa/3",
    ]
    assert all("&signing_address=" in call.url for call in calls[:12])
    assert calls[12].step == "attest-2.ecdsa.any"
    assert "signing_address" not in calls[12].url
    assert len({call.url for call in calls}) == 13
    assert again.usable


def test_another_404_of_the_second_round_is_not_waited_for():
    stage, near = scene(algorithms=("ecdsa",)), provider("near-direct")
    _, found = play(near.before(stage), reports)
    script = [answer(b'{"detail":"Not Found"}', status=404), answer(report("ecdsa"))]
    calls, _ = play(near.after(stage, found), script)
    assert [call.step for call in calls] == ["attest-2.ecdsa", "attest-2.ecdsa.any"]


def chatted(script, chat=None):
    stage, near = scene(), provider("near-direct")
    play(near.before(stage), reports)
    calls, _ = play(near.after_chat(stage, chat or answer(STREAM)), script)
    return calls


def test_the_signature_is_looked_up_per_algorithm():
    signed = answer(b'{"text":"t","signature":"0x"}')
    calls = chatted([signed, signed])
    assert shown(calls) == [
        ("signature.ecdsa", "GET", f"{BASE}/v1/signature/chatcmpl-1?signing_algo=ecdsa"),
        ("signature.ed25519", "GET", f"{BASE}/v1/signature/chatcmpl-1?signing_algo=ed25519"),
    ]
    assert {call.credential for call in calls} == {"provider"}
    assert {call.purpose for call in calls} == {"signature"}


def test_a_signature_that_another_node_may_have_is_asked_for_twelve_times_within_a_minute():
    signed = answer(b'{"signature":"0x"}')
    calls = chatted([answer(UNKNOWN, status=404)] * 2 + [signed, signed])
    assert [call.step for call in calls] == [
        "signature.ecdsa",
        "signature.ecdsa/2",
        "signature.ecdsa/3",
        "signature.ed25519",
    ]
    calls = chatted([answer(UNKNOWN, status=404)] * 13)
    assert [call.step for call in calls[11:]] == ["signature.ecdsa/12", "signature.ed25519"]
    # each wait is made up to a quarter longer
    assert 40 <= sum(call.after_s for call in calls) <= 60 / 1.25


def test_a_signature_is_not_asked_for_beyond_a_minute_however_slow_the_answers():
    slow = replace(
        answer(UNKNOWN, status=404), started_at=AS_OF - timedelta(seconds=14), ended_at=AS_OF
    )
    calls = chatted([slow] * 5)
    # 4 x 14 s of answers and 1 + 2 + 3 s of waiting are over a minute
    assert [call.step for call in calls] == [
        "signature.ecdsa",
        "signature.ecdsa/2",
        "signature.ecdsa/3",
        "signature.ecdsa/4",
        "signature.ed25519",
    ]


@pytest.mark.parametrize(
    "chat",
    [
        answer(b'data: {"id":"chatcmpl-1"}\n\n'),
        answer(STREAM, complete=False),
        answer(b'data: {"id":"chatcmpl-1"}\n\ndata: [DONE', trouble="cut"),
    ],
)
def test_a_chat_that_broke_off_is_looked_up_without_waiting(chat):
    if chat.status is None:
        assert chatted([], chat) == []
        return
    calls = chatted([answer(UNKNOWN, status=404)] * 2, chat)
    assert [call.step for call in calls] == ["signature.ecdsa", "signature.ed25519"]


@pytest.mark.parametrize(
    "chat",
    [answer(STREAM, status=500), answer(b"<html>"), answer(b'{"id":7}'), answer(b'{"id":".."}')],
)
def test_a_chat_without_an_answer_or_an_id_is_not_looked_up(chat):
    assert chatted([], chat) == []


def test_never_is_an_answer():
    never = answer(b'{"error_code":"STREAM_DISCONNECTED","message":"none"}')
    assert [call.step for call in chatted([never])] == ["signature.ecdsa"]
    assert [call.step for call in chatted([answer(status=401)])] == ["signature.ecdsa"]


def test_the_key_goes_along_with_an_attestation_where_it_is_wanted():
    stage = scene(options={"attest_with_key": "true"})
    calls, _ = play(provider("near-direct").before(stage), reports)
    assert {call.credential for call in calls} == {"provider"}


def test_a_busy_machine_is_given_time_in_the_second_round_as_well():
    stage, near = scene(algorithms=("ecdsa",)), provider("near-direct")
    _, found = play(near.before(stage), reports)
    script = [answer(status=503), answer(ELSEWHERE, status=404), answer(report("ecdsa"))]
    calls, again = play(near.after(stage, found), script)
    assert [call.step for call in calls] == [
        "attest-2.ecdsa",
        "attest-2.ecdsa/2",
        "attest-2.ecdsa/3",
    ]
    assert again.usable


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (answer(trouble="tls"), "no answer: tls"),
        (answer(status=401), "status 401: the API key was not accepted"),
        (answer(status=418), "status 418"),
        (answer(b"{}", complete=False), "broke off"),
        (answer(b"<html>"), "no JSON object"),
        (answer(b'{"a":1}'), "no evidence of a known kind"),
        (replace(answer(), status=None), "no answer came"),
    ],
)
def test_why_there_is_no_attestation_is_said_in_a_line(found, why):
    stage = scene(algorithms=("ecdsa",))
    _, told = play(provider("near-direct").before(stage), lambda _: found)
    assert not told.usable
    assert why in told.note
    assert "\n" not in told.note


def test_no_algorithm_at_all_is_no_attestation():
    _, told = play(provider("near-direct").before(scene(algorithms=())), [])
    assert (told.usable, "nothing was asked" in told.note) == (False, True)


def test_a_look_up_that_begins_anew_asks_where_the_chat_was_served():
    near = provider("near-direct")
    stage = scene(base_url=near.base_url)
    with pytest.raises(UsageError, match="not known yet"):
        near.base_of(stage)
    chat = replace(answer(STREAM), url=f"{BASE}/v1/chat/completions?a=b")
    calls, _ = play(near.after_chat(stage, chat), [answer(b'{"signature":"0x"}')] * 2)
    assert {call.url.partition("/v1/")[0] for call in calls} == {BASE}


def test_the_chat_is_sent_once_with_the_very_bytes():
    stage, near = scene(chat_body=b'{"x":1}'), provider("near-direct")
    play(near.before(stage), reports)
    call = near.chat_call(stage)
    assert (call.step, call.method, call.body, call.once) == ("chat", "POST", b'{"x":1}', True)
    assert (call.purpose, call.credential) == ("chat", "provider")
    assert ("Content-Type", "application/json") in call.headers
    with pytest.raises(UsageError, match="no chat"):
        near.chat_call(scene())


def test_the_second_round_alone_finds_the_host_as_well():
    near = provider("near-direct")
    held = Attested(answers=(), signers={}, usable=True)
    calls, _ = play(near.after(scene(), held), reports)
    assert [call.step for call in calls] == ["attest-2.ecdsa", "attest-2.ed25519"]
    _, found = play(
        provider("near-direct").after(scene(base_url=near.base_url), held), [answer(b"{}")]
    )
    assert not found.usable


def test_without_a_model_nobody_is_asked_where_it_is_served():
    stage = scene(model=None, base_url="https://completions.near.ai")
    with pytest.raises(UsageError, match="give --model NAME"):
        next(provider("near-direct").before(stage))
