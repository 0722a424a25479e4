"""Whatever comes back, a sequence ends, raises nothing, and makes no chat of its own."""

from __future__ import annotations

import json

import pytest

from bundle.providers import PROVIDERS, provider
from tests.bundle.providers.playing import Stage, answer, play

HOSTILE = {
    "nothing": b"",
    "no JSON": b"<html>busy</html>",
    "cut": b'{"intel_quote": "00',
    "twice": b'{"nonce":"1","nonce":"2"}',
    "deep": b"[" * 100_000,
    "huge number": b'{"signing_address":' + b"9" * 400 + b"}",
    "a list": b"[1,2,3]",
    "a text": b'"text"',
    "wrong types": json.dumps(
        {
            "intel_quote": 1,
            "signing_address": ["a"],
            "model_attestations": {"a": 1},
            "all_attestations": [1, None, "x"],
            "gateway_attestation": 7,
            "data": 3,
            "models": [1],
            "instances": {"a": 1},
            "evidence": "x",
        }
    ).encode(),
    "evidence of nothing": b'{"evidence":[]}',
    "address with line ends": b'{"intel_quote":"00","signing_address":"0x\\r\\nHost: x"}',
    "not UTF-8": b"\xff\xfe\x00",
    "null members": b'{"models":null,"endpoints":null,"event_log":null,"instances":null}',
}


def scene(name):
    base = PROVIDERS[name].base_url or "https://vllm.example.test"
    return Stage(base_url=base, chat_body=b"{}", algorithms=PROVIDERS[name].algorithms)


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_a_hostile_answer_ends_the_sequence_without_an_exception(name, body):
    asked, stage = provider(name), scene(name)
    _, before = play(asked.before(stage), lambda _: answer(body))
    _, after = play(asked.after(stage, before), lambda _: answer(body))
    for chat in (answer(body), answer(b"data: " + body + b"\n\ndata: [DONE]\n\n")):
        try:
            asked.base_of(stage)
        except Exception:  # noqa: BLE001, S112  (never located: the chat is not made either)
            continue
        play(asked.after_chat(stage, chat), lambda _: answer(body))
    assert before.usable or before.note
    assert after.usable or after.note


@pytest.mark.parametrize("trouble", ["unreachable", "tls", "too-large", "cut"])
@pytest.mark.parametrize("name", sorted(PROVIDERS))
def test_no_answer_at_all_is_not_usable_and_says_why(name, trouble):
    asked, stage = provider(name), scene(name)
    calls, found = play(asked.before(stage), lambda _: answer(trouble=trouble))
    assert not found.usable
    assert found.note
    assert all(call.purpose != "chat" for call in calls)
    assert stage.collected == []
