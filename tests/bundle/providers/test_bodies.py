"""The request body: a fixed order from a prompt, the user's own bytes from a file."""

from __future__ import annotations

import json

import pytest

from bundle.calls import ChatAsk
from bundle.providers import PROVIDERS, provider
from bundle.providers.bodies import compact, model_of, put, streams
from verify.engine.errors import UsageError


def body(name="near-direct", **ask):
    return provider(name).chat_body(ChatAsk(**{"model": "m/x", **ask}))


def test_a_prompt_becomes_a_compact_body_in_a_fixed_order():
    assert (
        body(prompt="Grüße", marker="cap-1")
        == (
            '{"model":"m/x","messages":[{"role":"user","content":"Grüße"}],"stream":true,"user":"cap-1"}'
        ).encode()
    )
    assert json.loads(body(prompt="x", stream=False))["stream"] is False
    assert "user" not in json.loads(body(prompt="x"))


def test_a_request_file_stays_as_it_is_where_nothing_was_asked_for():
    data = b'{ "model": "a",\n "messages":[], "temperature":1.50e0 }\n'
    assert body(model=None, request=data) == data
    assert body(model="a", request=data) == data
    assert body(model="a", request=data, stream=False) == data


def test_only_what_was_asked_for_changes_in_a_request_file():
    data = b'{ "model": "a",\n "stream": false, "temperature":1.50e0 }\n'
    assert body(model="b", request=data, stream=True, marker="cap-1") == (
        b'{ "model": "b",\n "stream": true, "temperature":1.50e0 ,"user":"cap-1"}\n'
    )
    mine = b'{"user":"me","model":"a"}'
    assert body(model=None, request=mine, marker="cap-1") == b'{"user":"cap-1","model":"a"}'


@pytest.mark.parametrize(
    ("data", "made"),
    [
        (b"{}", b'{"user":"c"}'),
        (b'{"user":"me"}', b'{"user":"c"}'),
        (b'{ "user" : "me" , "a":1}', b'{ "a":1,"user":"c"}'),
        (b'{"a":1, "user":"me","b":[2] }', b'{"a":1,"b":[2] ,"user":"c"}'),
        (b'{"a/b":1,"user":{"x":"}"}}', b'{"a/b":1,"user":"c"}'),
    ],
)
def test_a_member_that_must_stand_last_does(data, made):
    found = put(data, "user", "c", last=True)
    assert found == made
    assert list(json.loads(found))[-1] == "user"


@pytest.mark.parametrize(
    ("ask", "what"),
    [
        ({"request": b"{"}, "strict JSON: at byte"),
        ({"request": b'{"a":1,"a":2}'}, "stands twice"),
        ({"request": b"[]"}, "no JSON object"),
        ({"request": b"{}", "model": None}, "names no model"),
        ({"request": b'{"model":7}', "model": None}, "names no model"),
        ({"model": None, "prompt": "x"}, "no model"),
        ({}, "nothing to say"),
        ({"prompt": "\udcff"}, "not UTF-8"),
        ({"request": b'{"model":"a","x":"' + b"x" * (10 << 20) + b'"}'}, "strict JSON"),
    ],
)
def test_what_cannot_be_a_request_is_refused_with_the_reason(ask, what):
    with pytest.raises(UsageError, match=what):
        body(**ask)


def test_a_marker_that_makes_a_request_too_large_is_refused():
    data = b'{"model":"a","x":"' + b"x" * ((10 << 20) - 22) + b'"}'
    assert body(model=None, request=data) == data
    with pytest.raises(UsageError, match="the limit is 10485760"):
        body(model=None, request=data, marker="cap-1")


def test_what_a_body_says_of_itself_is_read_strictly():
    assert (model_of(b'{"model":"a"}'), model_of(b"["), model_of(b'{"model":1}')) == (
        "a",
        None,
        None,
    )
    assert [streams(text) for text in (b'{"stream":true}', b'{"stream":1}', b"[", b"[]")] == [
        True,
        False,
        False,
        False,
    ]


def test_confidential_models_of_nanogpt_have_their_prefix_and_stream():
    made = json.loads(body("nanogpt", model="deepseek", prompt="x", stream=False))
    assert (made["model"], made["stream"]) == ("TEE/deepseek", True)
    assert json.loads(body("nanogpt", model="TEE/deepseek", prompt="x"))["model"] == "TEE/deepseek"
    mine = b'{"model":"TEE/a","stream":false}'
    assert body("nanogpt", model=None, request=mine) == mine


def test_every_provider_states_what_the_command_line_needs():
    for name, one in PROVIDERS.items():
        assert one.name == name
        assert one.title
        assert one.marker_pointer in {None, "/user"}
        assert one.base_url is None or one.base_url.startswith("https://")
        assert provider(name) is not one
    with pytest.raises(UsageError, match=r"there are: .*nanogpt"):
        provider("nobody")


def test_compact_text_is_one_serialisation():
    assert compact({"ü": [1, None, True]}) == '{"ü":[1,null,true]}'.encode()
