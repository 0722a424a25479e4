"""A body read in pieces says what the whole says, wherever it is cut."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.chat_sim import chat, ecdsa_signer, with_signature_event
from verify.engine.errors import FormatError, Refused
from verify.families import bodies
from verify.families.bodies import BodyReader
from verify.families.content import Inadmissible, ionet_stream, read_reply
from verify.families.signatures import parse_found_event, parse_stream_event
from verify.wire.model import LargeBody

SIGNER = ecdsa_signer("bodies")


def read(body: bytes, cuts: Iterator[int] | None = None) -> LargeBody:
    reader = BodyReader(("ionet_stream",))
    at = 0
    for size in cuts or ():
        if at < len(body) and size:
            reader.feed(body[at : at + size])
            at += size
    if at < len(body):
        reader.feed(body[at:])
    return reader.body()


def event(body: bytes) -> object:
    try:
        return parse_stream_event(body)
    except (FormatError, Refused) as error:
        return str(error)


def found_event(read_of: LargeBody) -> object:
    try:
        return parse_found_event(read_of.events, read_of.event)
    except (FormatError, Refused) as error:
        return str(error)


def form(body: bytes) -> bytes | None:
    try:
        return sha256(ionet_stream(body)).digest()
    except Inadmissible:
        return None


def agrees(body: bytes, found: LargeBody) -> None:
    assert found.size == len(body)
    assert found.sha256 == sha256(body).digest()
    whole = read_reply(body)
    if whole.stream:
        assert found.reply == whole
    else:
        assert not found.reply.stream
    assert found.forms == {"ionet_stream": form(body)}
    assert found_event(found) == event(body)


REAL = with_signature_event(SIGNER, chat("bodies", dialect="ionet"))


@pytest.mark.parametrize("size", range(1, 40))
def test_real_stream_in_pieces_of_any_size(size: int) -> None:
    found = read(REAL, iter([size] * len(REAL)))
    agrees(REAL, found)
    assert found.reply.done
    assert found.reply.chat_id is not None
    assert found.events == 1


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"data:",
                b"data: ",
                b" ",
                b"\n",
                b"\r\n",
                b"{}",
                b"[DONE]",
                b"data: [DONE]\n",
                b'{"id":"a","model":"m"}',
                b'data: {"id":"b"}\n',
                b'data: {"error":{}}\n',
                b'"error"',
                b"event: signature",
                b"event: signature\n",
                b"\xc3",
                b"\xa9",
                b"\xff",
            ]
        ),
        max_size=16,
    ),
    st.lists(st.integers(1, 30), max_size=40),
)
def test_any_lines_cut_anywhere(parts: list[bytes], cuts: list[int]) -> None:
    body = b"".join(parts)
    agrees(body, read(body, iter(cuts)))


def test_error_frame_is_placed_in_the_body_not_in_the_piece() -> None:
    body = b": c\n" * 50 + b'data: {"id":"a"}\n\n' + b'data: {"error":{"message":"no"}}\n\n'
    found = read(body, iter([7] * 100))
    assert found.reply.error == read_reply(body).error == body.index(b'data: {"error"')


def test_line_over_the_limit_is_passed_over_and_its_form_left_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "LINE", 100)
    long = b'data: {"id":"long","x":"' + b"y" * 200 + b'"}\n'
    end = b'data: {"id":"b"}\n\ndata: [DONE]\n\n'
    for cuts in ([50] * 20, [90, 40, 90, 3, 50], [1] * 400):
        found = read(b"data: 1\n" + long + end, iter(cuts))
        assert found.reply.chat_id == "b"
        assert found.reply.done
        assert found.forms == {}
        assert found.size == len(long) + len(end) + 8
        assert found.sha256 == sha256(b"data: 1\n" + long + end).digest()


@pytest.mark.parametrize("last", [b"", b"\n"])
def test_line_over_the_limit_alone_still_is_a_stream(
    monkeypatch: pytest.MonkeyPatch, last: bytes
) -> None:
    monkeypatch.setattr(bodies, "LINE", 100)
    assert read(b"data: " + b"y" * 300 + last, iter([3] * 120)).reply.stream
    assert not read(b"xdata: " + b"y" * 300 + last, iter([3] * 120)).reply.stream


def test_line_at_the_limit_is_read_and_one_byte_more_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = b'data: {"id":"a"}'
    monkeypatch.setattr(bodies, "LINE", len(line))
    assert read(line + b"\n", iter([1] * 30)).reply.chat_id == "a"
    assert read(line, iter([1] * 30)).reply.chat_id == "a"
    assert read(line + b" \n", iter([1] * 30)).reply.chat_id is None


def test_data_line_of_a_signature_event_over_the_limit_is_malformed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "LINE", 100)
    body = b"event: signature\ndata: " + b"y" * 300 + b"\nevent: x\ndata: {}\n"
    found = read(body, iter([40] * 20))
    assert found.events == 1
    with pytest.raises(FormatError):
        parse_found_event(found.events, found.event)


def test_memory_is_that_of_a_line_not_of_the_body() -> None:
    piece = b'data: {"id":"a","n":1}\n\n' * 4_000
    reader = BodyReader(("ionet_stream",))
    reader.feed(piece)
    tracemalloc.start()
    for _ in range(8):
        reader.feed(piece)
    _, first = tracemalloc.get_traced_memory()
    for _ in range(24):
        reader.feed(piece)
    _, later = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert later < first * 1.2
