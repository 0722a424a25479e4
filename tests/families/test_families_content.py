"""What is hashed: the wire bytes, the five named forms, no sixth; streams and their ends."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.chat_sim import (
    Dialect,
    chat,
    compact,
    ecdsa_signer,
    request_body,
    with_signature_event,
)
from verify.families.content import (
    Form,
    Inadmissible,
    admitted,
    ionet_request,
    ionet_stream,
    matching_form,
    model_renamed,
    python_compact,
    python_default,
    read_reply,
)

EVERY: tuple[Form, ...] = (
    "raw",
    "python_default",
    "python_compact",
    "model_renamed",
    "ionet_request",
    "ionet_stream",
)


# --- forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "stream", "form"),
    [
        ("near", True, "raw"),
        ("near", False, "raw"),
        ("vllm-proxy", True, "raw"),
        ("vllm-proxy", False, "python_default"),
        ("ionet", True, "ionet_stream"),
        ("ionet", False, "python_compact"),
    ],
)
def test_matching_form_response_of_each_service_is_found(
    dialect: Dialect, stream: bool, form: Form
) -> None:
    subject = chat("forms", dialect=dialect, stream=stream)
    body = subject.response
    if form == "ionet_stream":
        body = with_signature_event(ecdsa_signer("ionet"), subject)
    expected = sha256(subject.hashed_response).digest()
    assert matching_form(body, expected, EVERY) == form
    assert matching_form(body, expected, [other for other in EVERY if other != form]) is None


def test_matching_form_any_byte_of_the_wire_changed_is_none() -> None:
    subject = chat("bytes")
    expected = sha256(subject.hashed_response).digest()
    assert matching_form(subject.response[:-1], expected, EVERY) is None
    assert matching_form(subject.response[:-2], expected, EVERY) is None
    crlf = subject.response.replace(b"\n", b"\r\n")
    assert matching_form(crlf, expected, EVERY) is None


def test_python_forms_spell_numbers_and_strings_as_python_does() -> None:
    body = (
        '{"a":1.0,"b":1e-05,"c":1E16,"d":-0.0,"e":"é\\/\U0001f680\x7f\\t","f":[true,null]}'.encode()
    )
    assert python_default(body) == (
        b'{"a": 1.0, "b": 1e-05, "c": 1e+16, "d": -0.0, '
        b'"e": "\\u00e9/\\ud83d\\ude80\\u007f\\t", "f": [true, null]}'
    )
    assert python_compact(b'{"z": 1, "a": {"b": [1, 2]}}') == b'{"z":1,"a":{"b":[1,2]}}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}{}",
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_python_forms_body_without_one_reading_is_inadmissible(body: bytes) -> None:
    for form in (python_default, python_compact, ionet_request):
        with pytest.raises(Inadmissible):
            form(body)


def test_ionet_request_builder_is_already_in_normal_form() -> None:
    body = request_body("m", stream=True, marker="cap-00")
    assert ionet_request(body) == body


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (b'{"stream":null}', b"{}"),
        (b"{}", b'{"stream":false}'),
        (
            b'{"user":"u","model":"m","top_p":1,"n":2.0}',
            b'{"model":"m","stream":false,"top_p":1.0,"n":2,"user":"u"}',
        ),
        (
            b'{"x":null,"y":{"z":null},"logprobs":true}',
            b'{"stream":false,"logprobs":true,"y":{"z":null}}',
        ),
        (b'{"stop":["a"],"stream":true}', b'{"stream":true,"stop":["a"]}'),
    ],
)
def test_ionet_request_known_bodies_give_known_forms(body: bytes, form: bytes) -> None:
    assert ionet_request(body) == form


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"n":1.5}',
        b'{"n":1e999}',
        b'{"n":true}',
        b'{"temperature":"0.7"}',
        b'{"temperature":false}',
        b'{"temperature":9007199254740993}',
        b'{"temperature":1' + b"0" * 400 + b"}",
        b'{"stream":1}',
        b'{"logprobs":"true"}',
    ],
)
def test_ionet_request_value_that_does_not_convert_is_inadmissible(body: bytes) -> None:
    with pytest.raises(Inadmissible):
        ionet_request(body)


def test_ionet_stream_signature_event_may_stand_anywhere() -> None:
    subject = chat("ionet", dialect="ionet")
    body = with_signature_event(ecdsa_signer("ionet"), subject)
    event = body[body.index(b"event: signature") : body.index(b"data: [DONE]")]
    first = body.index(b"\n\n") + 2
    moved = body.replace(event, b"")
    moved = moved[:first] + event + moved[first:]
    assert ionet_stream(moved) == ionet_stream(body) == subject.hashed_response


@pytest.mark.parametrize(
    "body", [b"\xff", b"event: signature\ndata: {}\n\nevent: signature\ndata: {}\n\n"]
)
def test_ionet_stream_not_readable_or_two_signatures_is_inadmissible(body: bytes) -> None:
    with pytest.raises(Inadmissible):
        ionet_stream(body)


def test_ionet_stream_signature_event_without_data_drops_nothing_else() -> None:
    assert ionet_stream(b"event: signature\n\ndata: a\n\n") == b'{"chunks":["a"]}'


def test_model_renamed_changes_the_top_level_model_and_nothing_else() -> None:
    body = b'{ "messages":[{"model":"no"}],\n "model" : "TEE/x\\u002dy", "z":1.0 }'
    assert model_renamed(body, 'a"b') == (
        b'{ "messages":[{"model":"no"}],\n "model" : "a\\"b", "z":1.0 }'
    )


@pytest.mark.parametrize(
    ("body", "model"), [(b'{"model":"x"}', None), (b"{}", "m"), (b'{"model":1}', "m"), (b"", "m")]
)
def test_model_renamed_without_two_names_is_inadmissible(body: bytes, model: str | None) -> None:
    with pytest.raises(Inadmissible):
        model_renamed(body, model)


def test_model_renamed_is_tried_with_the_name_of_the_response() -> None:
    sent = request_body("TEE/test/model-7b", stream=True)
    forwarded = request_body("test/model-7b", stream=True)
    expected = sha256(forwarded).digest()
    assert matching_form(sent, expected, ("raw",), "test/model-7b") is None
    assert matching_form(sent, expected, EVERY, "test/model-7b") == "model_renamed"


@pytest.mark.parametrize(
    ("profile", "request_forms", "response_forms", "rewritten"),
    [
        ("near-direct", ("raw",), ("raw",), False),
        ("vllm-proxy", ("raw",), ("raw", "python_default"), False),
        ("nanogpt", ("raw", "model_renamed"), ("raw", "python_default"), True),
        ("redpill", ("raw", "model_renamed"), ("raw", "python_default"), True),
        ("venice", ("raw",), ("raw", "python_default"), True),
        (
            "ionet",
            ("raw", "ionet_request"),
            ("raw", "python_compact", "ionet_stream"),
            False,
        ),
        ("unheard-of", ("raw",), ("raw",), False),
    ],
)
def test_admitted_forms_follow_the_table(
    profile: str,
    request_forms: tuple[Form, ...],
    response_forms: tuple[Form, ...],
    rewritten: bool,
) -> None:
    found = admitted(profile)
    assert (found.request, found.response, found.rewritten) == (
        request_forms,
        response_forms,
        rewritten,
    )


# --- replies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["near", "vllm-proxy", "ionet"])
def test_read_reply_stream_is_complete_and_named(dialect: Dialect) -> None:
    subject = chat("reply", dialect=dialect)
    found = read_reply(subject.response)
    assert (found.stream, found.done, found.error) == (True, True, None)
    assert (found.chat_id, found.model) == (subject.chat_id, subject.model)


def test_read_reply_plain_answer_is_named() -> None:
    subject = chat("reply", stream=False)
    found = read_reply(subject.response)
    assert (found.stream, found.done, found.error) == (False, False, None)
    assert (found.chat_id, found.model) == (subject.chat_id, subject.model)


@pytest.mark.parametrize(
    "end", [b"data: [DONE]\n\n", b"data:[DONE]\n", b"data: [DONE]\r\n\r\n", b"data: [DONE]"]
)
def test_read_reply_every_spelling_of_the_end_counts(end: bytes) -> None:
    body = chat("ends").response.replace(b"data: [DONE]\n\n", end)
    assert read_reply(body).done


@pytest.mark.parametrize(
    "end",
    [
        b"",
        b"data: [DONE",
        b"data:  [DONE]\n",
        b"data: [DONE] \n",
        b" data: [DONE]\n",
        b": [DONE]\n",
    ],
)
def test_read_reply_anything_else_is_no_end(end: bytes) -> None:
    body = chat("ends").response.replace(b"data: [DONE]\n\n", end)
    assert read_reply(body).stream
    assert not read_reply(body).done


def test_read_reply_comments_and_crlf_are_part_of_a_stream() -> None:
    body = b": keep-alive\r\n\r\n" + chat("crlf").response.replace(b"\n", b"\r\n")
    found = read_reply(body)
    assert found.done
    assert found.chat_id is not None


@pytest.mark.parametrize(
    "frame",
    [
        b'data: {"error":{"message":"overloaded"}}\n\n',
        b'data: {"id":"x","choices":[{"finish_reason":"error"}]}\n\n',
        b'data: {"finish_reason":"error"}\n\n',
    ],
)
def test_read_reply_error_frame_is_found_where_it_stands(frame: bytes) -> None:
    body = chat("error").response
    place = body.index(b"data: [DONE]")
    found = read_reply(body[:place] + frame + body[place:])
    assert found.error == place


def test_read_reply_word_error_in_an_answer_is_no_error() -> None:
    body = b'data: {"id":"a","choices":[{"delta":{"content":"\\"error\\""}}],"error":null}\n\n'
    assert read_reply(body).error is None
    assert read_reply(b'{"error":{"message":"no"}}').error == 0


def test_read_reply_null_errors_cost_nothing_and_hide_no_error() -> None:
    null = b'data: {"id":"a","error":null}\n\n'
    body = null * 70_000 + b'data: {"error": {"message":"no"}}\n\n'
    assert read_reply(body).error == 70_000 * len(null)
    last = b'data: {"error":null,"choices":[{"finish_reason":"error"}]}\n\n'
    assert read_reply(null + last).error == len(null)


def test_read_reply_answer_that_says_the_word_error_is_not_looked_into() -> None:
    said = b'data: {"id":"a","choices":[{"delta":{"content":"error"}}]}\n\n'
    assert read_reply(said * 70_000).error is None


@pytest.mark.parametrize("junk", [b"data: {\n", b"data: 1\n", b'data: {"choices":{"error":1}}\n'])
def test_read_reply_looks_into_so_many_lines_and_no_more(junk: bytes) -> None:
    named = b'data: {"id":"a"}\n\ndata: [DONE]\n\n'
    found = read_reply(junk * 65_535 + named)
    assert found.error is None
    assert found.chat_id == ("a" if b"choices" not in junk else None)
    body = junk * 65_537 + named
    found = read_reply(body)
    assert found.error == 65_536 * len(junk)
    assert found.chat_id is None
    assert found.stream
    assert found.done


def test_read_reply_first_object_counts_even_if_it_names_nothing() -> None:
    body = b'data: {}\n\ndata: {"id":"b","error":{}}\n\n'
    found = read_reply(body)
    assert found.chat_id is None
    assert found.error == body.index(b'data: {"id"')


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [b"data:", b" ", b"\n", b"{}", b"[DONE]", b'{"id":"a"}', b'"error"', b"\xff"]
        ),
        max_size=12,
    )
)
def test_read_reply_and_forms_any_bytes_never_raise(parts: list[bytes]) -> None:
    body = b"".join(parts)
    read_reply(body)
    assert matching_form(body, bytes(32), EVERY, "m") is None


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=3
            )
        ),
        max_leaves=8,
    )
)
def test_python_forms_any_value_is_dumped_as_python_dumps_it(value: object) -> None:
    body = compact(value)
    assert python_default(body) == json.dumps(json.loads(body)).encode()
