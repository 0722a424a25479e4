"""Whatever comes over a connection, in whatever pieces, gives an exchange and never an error."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bundle.transport
from bundle.bounds import Bounds
from bundle.peer import Peer
from bundle.recording import RecordedExchange
from bundle.transport import Clock, Transport, utc_now
from tests.bundle.raw_server import chunked, length

QUICK = Bounds(connect_s=2.0, idle_s=2.0, total_s=4.0, body=4096, headers=2048)
FRAGMENTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 404\n",
        b"Content-Length: 3\r\n",
        b"content-length: 99999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b" folded\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\n\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"data: [DONE]\n\n",
    ]
)
ANSWERS = st.lists(FRAGMENTS | st.binary(max_size=12), max_size=10).map(b"".join)


def exchanged(pieces: list[bytes], clock: Clock = utc_now) -> RecordedExchange:
    """Return what is recorded of an answer that comes in these pieces, one a read."""
    near, far = socket.socketpair()
    rest = [piece for piece in pieces if piece]

    class Pieces:
        """A socket that gives one piece a read."""

        def __getattr__(self, name: str) -> object:
            return getattr(near, name)

        def recv(self, _size: int) -> bytes:
            return rest.pop(0) if rest else b""

    with far, patch.object(bundle.transport, "connect", lambda *_, **__: Peer(Pieces(), None)):  # type: ignore[arg-type]
        with Transport(bounds=QUICK, secrets=("abcdefgh-secret",), clock=clock) as transport:
            recorded = transport.record("GET", "http://127.0.0.1/", purpose="other")
    near.close()
    return recorded


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANSWERS)
def test_any_answer_is_an_exchange(answer: bytes) -> None:
    recorded = exchanged([answer])
    assert recorded.complete is (recorded.failure is None)
    assert recorded.status is not None or not recorded.complete
    assert len(recorded.response_body or b"") <= QUICK.body
    assert recorded.request_headers is not None


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=200) | st.just(b"data: 1\r\n\r\ndata: [DONE]\n\n"),
    st.booleans(),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_body_is_the_same_in_whatever_pieces(body: bytes, whole: bool, cuts: list[int]) -> None:
    parts = [body[at : at + 7] for at in range(0, len(body), 7)]
    answer = length(body, "X-A: 1") if whole else chunked(parts, "X-A: 1")
    places = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    recorded = exchanged([answer[at:end] for at, end in pairwise(places)])
    assert recorded.complete
    assert (recorded.response_body or b"") == body
    assert (recorded.response_headers or ())[0] == ("X-A", "1")
    assert (recorded.done_at is not None) is (b"\ndata: [DONE]\n" in b"\n" + body)


EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 200


@pytest.mark.parametrize(
    ("pieces", "seconds"),
    [
        ([EARLY, b"\r\n\r\n" + length(b"x")], 1.0),
        ([EARLY + b"\r\n\r\n", length(b"x")], 2.0),
        ([EARLY + b"\r\n\r\n" + length(b"x")], 1.0),
        ([EARLY, b"\r\n\r", b"\n", length(b"x")[:-1], b"x"], 2.0),
    ],
)
def test_informational_answer_ends_wherever_it_is_cut(pieces: list[bytes], seconds: float) -> None:
    """The first byte is not that of an answer that came alone before; a read is a second here."""
    begin = datetime(2026, 6, 10, 12, 0, tzinfo=UTC)
    ticks = (begin + timedelta(seconds=number) for number in count())
    recorded = exchanged(pieces, lambda: next(ticks))
    assert (recorded.status, recorded.response_body) == (200, b"x")
    assert recorded.first_byte_at is not None
    assert (recorded.first_byte_at - recorded.started_at).total_seconds() == seconds


def test_length_beside_chunks_counts_for_nothing() -> None:
    head, _, rest = chunked([b"abc"], "Content-Length: 99999").partition(b"\r\n\r\n")
    recorded = exchanged([head + b"\r\n\r\n", rest])
    assert (recorded.complete, recorded.response_body) == (True, b"abc")
