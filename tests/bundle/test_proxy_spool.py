"""A chat on its way is readable from its file, wherever writing was cut."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle import spool
from bundle.recording import Failure, RecordedExchange, RecordedTls

AT = datetime(2026, 11, 21, 11, 0, tzinfo=UTC)
BEGUN = RecordedExchange(
    purpose="chat",
    method="POST",
    url="https://service.example/v1/chat/completions",
    started_at=AT,
    ended_at=AT,
    request_body=b'{"model":"m"}\xff',
    complete=False,
)
HEAD = replace(
    BEGUN,
    first_byte_at=AT + timedelta(seconds=1),
    request_headers=(("Host", "service.example"), ("Authorization", None)),
    status=200,
    response_headers=(("Content-Type", "text/event-stream"),),
    connection="relay-1",
    tls=RecordedTls(
        version="TLSv1.3", cipher="x", alpn=None, chain=(b"\x30\x00",), spki=None, webpki=True
    ),
)
ENDED = replace(
    HEAD, ended_at=AT + timedelta(seconds=2), complete=True, done_at=AT + timedelta(seconds=2)
)
PARTS = (b"data: 1\n\n", b"B 00000001\nx", b"data: [DONE]\n\n")


def written(path, *, head=True, end: RecordedExchange | None = ENDED) -> bytes:
    made = spool.Spool.create(path, {"model": "m", "before": None}, BEGUN)
    if head:
        made.head(HEAD)
        for part in PARTS:
            made.part(part)
    if end is not None:
        made.end(end)
    made.close()
    return path.read_bytes()


def test_whole_chat_is_read_back(tmp_path) -> None:
    written(tmp_path / "a.chat")
    found = spool.read(tmp_path / "a.chat")
    assert found is not None
    assert found.ended
    assert found.told == {"model": "m", "before": None}
    assert found.recorded == ENDED
    assert b"".join(found.parts()) == b"".join(PARTS)
    assert (tmp_path / "a.chat").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("trouble", ["cut", "timeout"])
def test_chat_without_an_answer_is_read_back(tmp_path, trouble) -> None:
    failure = Failure(trouble=trouble, what="why")
    ended = replace(BEGUN, connection="relay-1", failure=failure)
    written(tmp_path / "a.chat", head=False, end=ended)
    found = spool.read(tmp_path / "a.chat")
    assert found is not None
    assert found.recorded == ended
    assert [*found.parts()] == []


def test_chat_that_did_not_end_is_interrupted(tmp_path) -> None:
    written(tmp_path / "a.chat", end=None)
    found = spool.read(tmp_path / "a.chat")
    assert found is not None
    assert not found.ended
    assert not found.recorded.complete
    assert found.recorded.failure is not None
    assert found.recorded.failure.trouble == "interrupted"
    assert found.recorded.ended_at == HEAD.first_byte_at
    assert b"".join(found.parts()) == b"".join(PARTS)


@given(st.data())
def test_every_cut_gives_what_was_whole_by_then(tmp_path_factory, data) -> None:
    path = tmp_path_factory.mktemp("spool") / "a.chat"
    whole = written(path)
    size = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:size])
    found = spool.read(path)
    if found is None:
        assert b"\nH " not in whole[:size]
        return
    assert not found.ended
    assert found.recorded.request_body == BEGUN.request_body
    assert b"".join(PARTS).startswith(b"".join(found.parts()))


@given(st.binary(max_size=300))
def test_foreign_bytes_are_no_chat(tmp_path_factory, data) -> None:
    path = tmp_path_factory.mktemp("spool") / "a.chat"
    path.write_bytes(data)
    assert spool.read(path) is None
