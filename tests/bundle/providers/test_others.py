"""Providers with a sequence of their own: io.net, Chutes, Tinfoil, ACI; and their bodies."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bundle.calls import ChatAsk
from bundle.providers import PROVIDERS, provider
from fixtures import aci_sim, other_families
from tests.bundle.providers.playing import Stage, answer, play, shown
from verify.engine.errors import UsageError
from verify.families.content import ionet_request

MODEL = "test/model-7b"


def scene(name, **changes):
    asked = PROVIDERS[name]
    return Stage(**{"base_url": asked.base_url, "algorithms": asked.algorithms, **changes})


def text(value):
    return answer(json.dumps(value).encode())


# --- io.net ------------------------------------------------------------------------------------


def test_ionet_sends_the_nonce_in_a_body_and_looks_nothing_up():
    asked, stage = provider("ionet"), scene("ionet", chat_body=b"{}")
    enclave = other_families.enclave("ionet")
    script = [answer(status=500), answer(enclave.answer(b"n" * 32))]
    calls, found = play(asked.before(stage), script)
    base = "https://api.intelligence.io.net/v1/private"
    assert shown(calls) == [
        ("attest-1", "POST", f"{base}/attestation"),
        ("attest-1/2", "POST", f"{base}/attestation"),
    ]
    for call in calls:
        nonce = stage.nonces[call.step].hex()
        assert call.body == f'{{"model_id":"{MODEL}","nonce":"{nonce}"}}'.encode()
        assert ("Content-Type", "application/json") in call.headers
    assert calls[0].body != calls[1].body
    assert found.usable
    assert asked.chat_call(stage).url == f"{base}/completions"
    assert play(asked.after_chat(stage, answer(b'{"id":"c"}')), [])[0] == []
    again, _ = play(asked.after(stage, found), lambda _: answer(enclave.answer(b"m" * 32)))
    assert [call.step for call in again] == ["attest-2"]


def test_ionet_takes_the_spellings_of_the_published_service():
    options = {"attestation_path": "/attest", "chat_path": "/completion", "model_id": "omit"}
    asked = provider("ionet")
    stage = scene("ionet", options=options, chat_body=b"{}", base_url="https://guest.test")
    calls, _ = play(asked.before(stage), lambda _: text({}))
    assert calls[0].url == "https://guest.test/attest"
    assert list(json.loads(calls[0].body)) == ["nonce"]
    assert asked.chat_call(stage).url == "https://guest.test/completion"


@pytest.mark.parametrize(
    "ask",
    [
        ChatAsk(model=MODEL, prompt="Grüße 東京", marker="cap-1"),
        ChatAsk(model=MODEL, prompt="x", stream=False),
        ChatAsk(
            model="other",
            request=b'{"user":"me","top_p":1,"x":[1.50,null],"model":"a","n":2.0,"stop":null}',
            marker="cap-1",
        ),
        ChatAsk(model=None, request=b'{"model":"a","messages":[]}', stream=True),
    ],
)
def test_ionet_bodies_are_their_own_normal_form(ask):
    body = provider("ionet").chat_body(ask)
    assert ionet_request(body) == body
    members = json.loads(body)
    assert body.isascii()
    if ask.marker:
        assert list(members)[-1] == "user"
        assert members["user"] == "cap-1"
    assert members["stream"] is (ask.stream is not False if ask.prompt else bool(ask.stream))


def test_a_request_that_has_no_normal_form_is_refused():
    bad = ChatAsk(model=None, request=b'{"model":"a","max_tokens":1.5}')
    with pytest.raises(UsageError, match="max_tokens does not convert"):
        provider("ionet").chat_body(bad)


# --- NEAR gateway: bodies ----------------------------------------------------------------------


def test_a_stream_through_the_gateway_asks_for_the_models_own_bytes():
    gateway = provider("near-gateway")
    made = json.loads(gateway.chat_body(ChatAsk(model="m", prompt="x", marker="c")))
    assert list(made) == ["model", "messages", "stream", "stream_options", "user"]
    assert made["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    for ask in (
        ChatAsk(model="m", prompt="x", stream=False),
        ChatAsk(model="m", prompt="x", options={"usage_stats": "off"}),
        ChatAsk(model="m", request=b'{"model":"m","stream":true}'),
    ):
        assert "stream_options" not in json.loads(gateway.chat_body(ask))


# --- Chutes ------------------------------------------------------------------------------------

LISTED = {
    "data": [
        {"id": MODEL, "chute_id": "plain", "confidential_compute": False},
        {"id": MODEL, "chute_id": "c/1", "confidential_compute": True},
    ]
}


def test_chutes_asks_for_keys_then_evidence_in_each_round():
    asked, stage = provider("chutes"), scene("chutes")
    enclave = other_families.enclave("chutes")

    def respond(call):
        if call.purpose == "model-list":
            return text(LISTED)
        body = enclave.instances() if call.purpose == "key-config" else enclave.answer(b"n" * 32)
        return answer(body)

    calls, found = play(asked.before(stage), respond)
    nonce = stage.nonces["attest-1"].hex()
    assert shown(calls) == [
        ("models", "GET", "https://llm.chutes.ai/v1/models"),
        ("instances-1", "GET", "https://api.chutes.ai/e2e/instances/c%2F1"),
        ("attest-1", "GET", f"https://api.chutes.ai/chutes/c%2F1/evidence?nonce={nonce}"),
    ]
    assert {call.credential for call in calls} == {"provider"}
    assert found.usable
    again, _ = play(asked.after(stage, found), respond)
    assert [call.step for call in again] == ["instances-2", "attest-2"]


def test_chutes_takes_an_id_or_a_list_elsewhere_and_stops_where_the_model_is_not_confidential():
    asked = provider("chutes")
    known = scene("chutes", options={"chute_id": "c-9"})
    calls, _ = play(asked.before(known), lambda _: text({}))
    assert [call.step for call in calls] == ["instances-1", "attest-1"]
    own = scene("chutes", base_url="https://mine.test")
    calls, found = play(asked.before(own), [text({"data": LISTED["data"][:1]})])
    assert calls[0].url == "https://mine.test/v1/models"
    assert not found.usable
    assert MODEL in found.note
    listed = scene("chutes", options={"models_url": "https://list.test/m"})
    calls, _ = play(asked.before(listed), [text([])])
    assert calls[0].url == "https://list.test/m"


def test_chutes_says_why_there_is_no_chat():
    asked = provider("chutes")
    assert not asked.has_chat
    for ask in (
        lambda: asked.chat_body(ChatAsk(model="m", prompt="x")),
        lambda: asked.chat_call(scene("chutes")),
    ):
        with pytest.raises(UsageError, match="signs no responses"):
            ask()
    assert play(asked.after_chat(scene("chutes"), answer(b"")), [])[0] == []


# --- Tinfoil -----------------------------------------------------------------------------------

DIGEST = "ab" * 32
TABLE = {
    "models": {
        MODEL: {
            "repo": "tinfoilsh/confidential-model",
            "tag": "v1.2",
            "measurement": {},
            "enclaves": ["evil.example.org", "model.tinfoil.sh"],
        }
    }
}


def tinfoil(script=None, **changes):
    asked = provider("tinfoil")
    stage = scene("tinfoil", algorithms=(), chat_body=b"{}", **changes)
    document = other_families.enclave("tinfoil-v3").answer(b"n" * 32)

    def respond(call):
        if script and call.step in script:
            return script[call.step]
        if call.step == "route":
            return text(TABLE)
        if call.step.endswith(".latest"):
            return text({"tag_name": "v9"})
        if call.step.endswith(".digest"):
            return answer(DIGEST.encode() + b"\n")
        return answer(document if call.purpose == "attestation" else b"{}")

    calls, found = play(asked.before(stage), respond)
    return asked, stage, calls, found


def test_tinfoil_attests_and_talks_to_the_enclave_of_the_table_and_fetches_the_releases():
    asked, stage, calls, found = tinfoil()
    nonce = stage.nonces["attest-1"].hex()
    proxy = "https://github-proxy.tinfoil.sh"
    repo, hardware = "tinfoilsh/confidential-model", "tinfoilsh/hardware-measurements"
    assert shown(calls) == [
        ("route", "GET", "https://inference.tinfoil.sh/.well-known/tinfoil-proxy"),
        (
            "attest-1",
            "GET",
            f"https://model.tinfoil.sh/.well-known/tinfoil-attestation?nonce={nonce}",
        ),
        ("release-code.digest", "GET", f"{proxy}/{repo}/releases/download/v1.2/tinfoil.hash"),
        ("release-code.statements", "GET", f"{proxy}/repos/{repo}/attestations/sha256:{DIGEST}"),
        ("release-hardware.latest", "GET", f"{proxy}/repos/{hardware}/releases/latest"),
        ("release-hardware.digest", "GET", f"{proxy}/{hardware}/releases/download/v9/tinfoil.hash"),
        (
            "release-hardware.statements",
            "GET",
            f"{proxy}/repos/{hardware}/attestations/sha256:{DIGEST}",
        ),
    ]
    assert {call.credential for call in calls} == {None}
    assert found.usable
    chat = asked.chat_call(stage)
    assert (chat.url, chat.credential) == (
        "https://model.tinfoil.sh/v1/chat/completions",
        "provider",
    )
    assert play(asked.after_chat(stage, answer(b'data: {"id":"c"}\n\n')), [])[0] == []


@pytest.mark.parametrize(
    ("enclaves", "host"),
    [
        ({"a.tinfoil.sh": {}}, "a.tinfoil.sh"),
        ([{"host": "b.tinfoil.sh"}, 7], "b.tinfoil.sh"),
        (["evil.example.org"], "inference.tinfoil.sh"),
        (7, "inference.tinfoil.sh"),
    ],
)
def test_tinfoil_reads_the_enclaves_of_a_table_and_else_stays_with_the_router(enclaves, host):
    table = {"models": {MODEL: {**TABLE["models"][MODEL], "enclaves": enclaves}}}
    _, _, calls, _ = tinfoil({"route": text(table)})
    assert calls[1].url.startswith(f"https://{host}/")


def test_tinfoil_without_a_table_rests_on_the_routers_own_release():
    _, _, calls, _ = tinfoil({"route": answer(status=404)})
    assert "tinfoilsh/confidential-model-router/releases/latest" in calls[2].url
    _, _, calls, _ = tinfoil(options={"route": "off", "provenance": "off"})
    assert [call.step for call in calls] == ["attest-1"]


def test_tinfoil_takes_an_enclave_and_a_release_service_of_ones_own():
    options = {"enclave": "x.tinfoil.sh", "repo": "me/mine", "releases": "https://rel.test"}
    _, _, calls, _ = tinfoil(options=options)
    assert calls[0].url.startswith("https://x.tinfoil.sh/.well-known/tinfoil-attestation?")
    assert calls[1].url == "https://rel.test/repos/me/mine/releases/latest"
    with pytest.raises(UsageError, match="no host of Tinfoil's"):
        tinfoil(options={"enclave": "example.org"})


@pytest.mark.parametrize(
    "script",
    [
        {"release-code.digest": answer(b"no digest")},
        {"release-code.digest": answer(DIGEST.encode(), status=404)},
        {"release-code.digest": answer(b"\xff" * 64)},
    ],
)
def test_tinfoil_goes_on_where_a_release_cannot_be_read(script):
    _, _, calls, found = tinfoil(script)
    assert "release-code.statements" not in [call.step for call in calls]
    assert calls[-1].step == "release-hardware.statements"
    assert found.usable


@pytest.mark.parametrize("tag", [7, "../../x", "", None])
def test_tinfoil_asks_for_no_release_whose_tag_is_no_tag(tag):
    _, _, calls, _ = tinfoil({"release-hardware.latest": text({"tag_name": tag})})
    assert calls[-1].step == "release-hardware.latest"


@pytest.mark.parametrize(
    "repository",
    [
        "../../x",
        "a/..",
        "./b",
        "a/b/c",
        "a",
        "a/b?x=1",
        "a/b#c",
        "a b/c",
        "a/b\n",
        "a" * 101 + "/b",
        7,
    ],
)
def test_tinfoil_asks_for_no_release_of_what_is_no_repository(repository):
    entry = {**TABLE["models"]["test/model-7b"], "repo": repository}
    _, _, calls, found = tinfoil({"route": text({"models": {"test/model-7b": entry}})})
    assert found.usable
    assert not [call.step for call in calls if call.step.startswith("release-code")]
    assert calls[-1].step == "release-hardware.statements"


# --- ACI ---------------------------------------------------------------------------------------


def test_aci_fetches_the_receipt_that_the_chat_names_and_its_records():
    service = aci_sim.service()
    asked, stage = provider("aci"), scene("aci", chat_body=b"{}")
    calls, found = play(asked.before(stage), lambda _: answer(service.answer(b"n" * 32)))
    base = "https://inference.phala.com"
    nonce = stage.nonces["attest-1"].hex()
    assert shown(calls) == [("attest-1", "GET", f"{base}/v1/aci/attestation?nonce={nonce}")]
    assert found.usable
    name, record = service.session_record()
    chat = answer(b'{"id":"chat-1"}', headers=(("X-Receipt-Id", "rcpt/1"),))
    script = [answer(b'{"error":{}}', status=404), answer(service.receipt_body()), answer(record)]
    looked, _ = play(asked.after_chat(stage, chat), script)
    assert shown(looked) == [
        ("receipt", "GET", f"{base}/v1/aci/receipts/rcpt%2F1"),
        ("receipt/2", "GET", f"{base}/v1/aci/receipts/rcpt%2F1"),
        ("session.1", "GET", f"{base}/v1/aci/sessions/{name}"),
    ]
    assert {call.purpose for call in looked} == {"receipt"}


def test_aci_falls_back_to_the_chats_id_and_reads_a_receipt_for_its_records_alone():
    asked, stage = provider("aci"), scene("aci", chat_body=b"{}")
    play(asked.before(stage), lambda _: answer(b"{}"))
    chat = answer(b'{"id":"chat-1"}')
    event = {"type": "upstream.verified", "session_id": "AB" * 32}
    odd = [event, event, 7, {"type": "other", "session_id": "cd" * 32}, {**event, "session_id": 1}]
    looked, _ = play(asked.after_chat(stage, chat), [text({"event_log": odd}), text({})])
    assert [call.url.rsplit("/", 1)[-1] for call in looked] == ["chat-1", "ab" * 32]
    stage.options["sessions"] = "off"
    looked, _ = play(asked.after_chat(stage, chat), [text({"event_log": odd})])
    assert len(looked) == 1
    many = [{**event, "session_id": f"{number:064x}"} for number in range(99)]
    stage.options.clear()
    looked, _ = play(asked.after_chat(stage, chat), lambda _: text({"event_log": many}))
    assert len(looked) == 17


@pytest.mark.parametrize(
    "chat",
    [
        answer(b"{}", status=503, headers=(("X-Receipt-Id", "r"),)),
        answer(b"{}", headers=(("X-Receipt-Id", ".."),)),
        answer(b"{}", headers=(("X-Receipt-Id", "a\nb"),)),
        answer(b"{}"),
    ],
)
def test_aci_asks_for_no_receipt_without_an_answer_or_an_id(chat):
    asked, stage = provider("aci"), scene("aci", chat_body=b"{}")
    play(asked.before(stage), lambda _: answer(b"{}"))
    assert play(asked.after_chat(stage, chat), [])[0] == []


# --- base URLs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "base", "chat"),
    [
        ("dstack", "https://x.test/v1", "https://x.test/v1/chat/completions"),
        ("dstack", "https://x.test/api", "https://x.test/api/v1/chat/completions"),
        ("nanogpt", "https://x.test/api/v1", "https://x.test/api/v1/chat/completions"),
        ("ionet", "https://x.test/v1/private", "https://x.test/v1/private/completions"),
    ],
)
def test_a_base_url_as_clients_write_it_is_understood(name, base, chat):
    asked, stage = provider(name), scene(name, base_url=base, chat_body=b"{}")
    play(asked.before(stage), lambda _: answer(b"{}"))
    assert asked.chat_call(stage).url == chat


def test_a_provider_that_needs_a_model_says_so():
    for name in ("nanogpt", "venice", "redpill", "near-gateway", "ionet"):
        with pytest.raises(UsageError, match="no model"):
            play(provider(name).before(scene(name, model=None)), lambda _: answer(b""))


def test_chutes_without_a_model_asks_for_no_list():
    stage = Stage(base_url="https://api.chutes.ai", model=None)
    with pytest.raises(UsageError, match="give --model NAME"):
        next(provider("chutes").before(stage))


@pytest.mark.parametrize("name", ["..", ".", "", "a b", "a\x1bb", "x" * 257, 7, None])
def test_chutes_takes_no_id_from_a_list_that_may_not_stand_in_a_path(name):
    listed = json.dumps({"data": [{"id": "test/model-7b", "chute_id": name}]}).encode()
    calls, found = play(
        provider("chutes").before(Stage(base_url="https://api.chutes.ai")), [answer(listed)]
    )
    assert [call.step for call in calls] == ["models"]
    assert not found.usable


@pytest.mark.parametrize("named", ["..", "a b", "x" * 257, "\u00e9"])
def test_aci_asks_by_the_chats_id_where_the_named_receipt_fits_no_path(named):
    chat = answer(b'{"id":"chat-1"}', headers=(("X-Receipt-Id", named),))
    asked, stage = provider("aci"), Stage(base_url="https://aci.example.test")
    call = next(asked.after_chat(stage, chat))
    assert call.url == "https://aci.example.test/v1/aci/receipts/chat-1"


# --- what signs a chat ---------------------------------------------------------------------------

CHAT = answer(b'data: {"id":"chat-1"}\n\ndata: [DONE]\n\n')
NO_ID = answer(b"{}")


def looked_up(body, purpose="signature", **more):
    return replace(answer(body, **more), purpose=purpose)


@pytest.mark.parametrize(
    "name", ["nanogpt", "near-direct", "near-gateway", "phala", "dstack", "redpill", "venice"]
)
def test_a_chat_is_signed_by_a_look_up_that_brought_a_signature(name):
    asked = provider(name)
    good = looked_up(b'{"signature":"0x00","text":"t"}')
    none = looked_up(b'{"error_code":"SIGNATURE_UNSUPPORTED","message":"no"}')
    odd = looked_up(b'{"signature":7}')
    assert asked.unsigned(CHAT, [none, good]) == ""
    assert "no look-up brought" in asked.unsigned(CHAT, [none, odd, looked_up(b"<html>")])
    assert "no look-up brought" in asked.unsigned(CHAT, [replace(good, purpose="attestation")])
    assert "no look-up brought" in asked.unsigned(CHAT, [replace(good, status=404)])
    assert "has no id" in asked.unsigned(NO_ID, [good])


def test_an_aci_chat_is_signed_by_its_receipt():
    asked, good = provider("aci"), looked_up(b'{"a":1}', purpose="receipt")
    named = answer(b"{}", headers=(("X-Receipt-Id", "r1"),))
    assert asked.unsigned(CHAT, [good]) == asked.unsigned(named, [good]) == ""
    assert "no look-up brought a receipt" in asked.unsigned(CHAT, [replace(good, status=404)])
    assert "no look-up brought a receipt" in asked.unsigned(CHAT, [looked_up(b'{"a":1}')])
    assert "has no id" in asked.unsigned(NO_ID, [good])


def test_an_ionet_chat_is_signed_by_what_comes_with_it():
    asked = provider("ionet")
    event = b'data: {"id":"c"}\n\nevent: signature\ndata: {"signature":"0x"}\n\n'
    assert asked.unsigned(answer(b"{}", headers=(("Signature", "0x"),)), []) == ""
    assert asked.unsigned(answer(event), []) == ""
    assert "no signature came" in asked.unsigned(answer(b"event: signature\n\n"), [])
    assert "no signature came" in asked.unsigned(CHAT, [looked_up(b'{"signature":"0x"}')])


@pytest.mark.parametrize("name", ["tinfoil", "chutes"])
def test_nothing_is_missing_where_nobody_signs(name):
    assert provider(name).unsigned(NO_ID, []) == ""
