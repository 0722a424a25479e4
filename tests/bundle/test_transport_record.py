"""What is kept of one exchange: bytes, header blocks, times, connections, certificates."""

from __future__ import annotations

import gzip
import ssl
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import bundle.peer
from bundle.bounds import Bounds
from bundle.recording import RecordedExchange, StoredBody, Withholding
from bundle.transport import IN_MEMORY, Body, Credential, Transport
from tests.bundle.raw_server import (
    Line,
    RawServer,
    answering,
    authority,
    certificate,
    chunked,
    length,
    serving,
    tunnelling,
)
from verify.engine.errors import UsageError

QUICK = Bounds(connect_s=5.0, idle_s=5.0, total_s=10.0)


@dataclass
class Ticks:
    """A clock that advances by a second each time it is read."""

    now: datetime = datetime(2026, 6, 10, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@dataclass
class Kept:
    """A sink in a file."""

    path: Path
    events: list[str] = field(default_factory=list)
    head: RecordedExchange | None = None
    size: int = 0

    def begin(self, head: RecordedExchange) -> None:
        self.events.append("begin")
        self.head = head
        self.file = self.path.open("wb")
        self.digest = sha256()

    def write(self, part: bytes) -> None:
        self.file.write(part)
        self.digest.update(part)
        self.size += len(part)

    def finish(self) -> StoredBody | None:
        self.events.append("finish")
        self.file.close()
        return StoredBody(path=self.path, size=self.size, sha256=self.digest.digest())


def get(server: RawServer, path: str = "/", **given: object) -> RecordedExchange:
    with Transport(bounds=QUICK, clock=Ticks()) as transport:
        return transport.record("GET", server.url(path), purpose="other", **given)  # type: ignore[arg-type]


# --- the request ------------------------------------------------------------------------------


def test_record_request_is_sent_and_kept_as_given() -> None:
    body = b'{"a" : 1,\n "\xc3\xa4":2}'
    with serving(length(b"{}")) as server, Transport(bounds=QUICK) as transport:
        recorded = transport.record(
            "POST",
            server.url("/v1/x?model=TEE/a%2Fb&z"),
            purpose="chat",
            body=body,
            headers=(("X-First", "1"), ("content-type", "text/odd"), ("X-first", " ".join("ab"))),
            session="s7",
        )
    (sent,) = server.requests
    head, _, sent_body = sent.partition(b"\r\n\r\n")
    assert sent_body == body == recorded.request_body
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /v1/x?model=TEE/a%2Fb&z HTTP/1.1"
    assert [f"{name}: {value}" for name, value in recorded.request_headers or ()] == lines[1:]
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "Host",
        "User-Agent",
        "Accept",
        "Accept-Encoding",
        "X-First",
        "content-type",
        "X-first",
        "Content-Length",
    ]
    assert ("Accept-Encoding", "identity") in (recorded.request_headers or ())
    assert (recorded.request_headers or ())[0] == ("Host", f"127.0.0.1:{server.port}")
    assert (recorded.method, recorded.session, recorded.purpose) == ("POST", "s7", "chat")
    assert recorded.url == server.url("/v1/x?model=TEE/a%2Fb&z")


def test_record_body_without_a_type_is_called_json_and_none_has_no_length() -> None:
    with serving(length(b"1"), length(b"2"), length(b"3")) as server:
        with Transport(bounds=QUICK) as transport:
            for body in (b"{}", None, b""):
                transport.record("POST", server.url(), purpose="other", body=body)
    with_body, without, empty = (request.lower() for request in server.requests)
    assert b"content-type: application/json" in with_body
    assert b"content-type" not in without
    assert b"content-length: 0" in empty


@pytest.mark.parametrize(
    ("url", "headers", "said"),
    [
        ("http://10.0.0.1/", (), "only https"),
        ("http://api.example/", (), "only https"),
        ("https://me:hunter2@127.0.0.1/", (), "user name"),
        ("https://127.0.0.1:99999/", (), "no address"),
        ("https://127.0.0.1:0/", (), "no address"),
        ("https://127.0.0.1:/", (), "no address"),
        ("https://[::1]x/", (), "no address"),
        ("https://127.0.0.1\\.example/", (), "no address"),
        ("https://api%2eexample/", (), "no address"),
        ("https://127.0.0.1/a b", (), "no address"),
        ("https://.example/", (), "no address"),
        (f"https://{'a' * 64}.example/", (), "no address"),
        ("https://127.0.0.1/ä", (), "no address"),
        ("https://127.0.0.1/", (("Host", "x"),), "header host"),
        ("https://127.0.0.1/", (("accept-encoding", "gzip"),), "header accept-encoding"),
        ("https://127.0.0.1/", (("X-A", "hunter2\r\nX-B: 1"),), "header 'X-A'"),
        ("https://127.0.0.1/", (("X A", "hunter2"),), "header 'X A'"),
        ("https://127.0.0.1/", (("X-A", "hunter2\u2028"),), "header 'X-A'"),
    ],
)
def test_record_request_that_cannot_be_sent_is_refused(
    url: str, headers: tuple[tuple[str, str], ...], said: str
) -> None:
    with Transport() as transport, pytest.raises(UsageError, match=said) as caught:
        transport.record("GET", url, purpose="other", headers=headers)
    assert "hunter2" not in str(caught.value)


def test_record_method_that_cannot_be_sent_is_refused() -> None:
    with Transport() as transport, pytest.raises(UsageError, match="the method"):
        transport.record("GET X", "https://127.0.0.1/", purpose="other")


# --- the answer -------------------------------------------------------------------------------


def test_record_response_headers_keep_order_case_and_repetition() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nsErVer:  odd \t\r\nX-A: 1\r\nx-a: 2\r\nX-A:\r\nTCB-Info: \xe4\xff\r\n"
        b"CONTENT-length: 2\r\nContent-Length: 2\r\nX-Folded: one\r\n  two\r\n\r\n{}"
    )
    with serving(answer) as server:
        recorded = get(server)
    assert recorded.response_headers == (
        ("sErVer", "odd"),
        ("X-A", "1"),
        ("x-a", "2"),
        ("X-A", ""),
        ("TCB-Info", "\xe4\xff"),
        ("CONTENT-length", "2"),
        ("Content-Length", "2"),
        ("X-Folded", "one two"),
    )
    assert (recorded.status, recorded.http_version, recorded.complete) == (200, "1.1", True)
    assert recorded.response_body == b"{}"
    assert recorded.failure is None


def test_record_times_are_of_start_first_byte_done_and_end() -> None:
    parts = [b"data: {}\n\nda", b"ta:[DO", b"NE]\r", b"\n\n"]
    with serving(chunked(parts)) as server:
        recorded = get(server)
    assert recorded.response_body == b"".join(parts)
    assert recorded.first_byte_at is not None
    assert recorded.done_at is not None
    assert recorded.started_at < recorded.first_byte_at < recorded.done_at < recorded.ended_at


@pytest.mark.parametrize(
    ("body", "done"),
    [
        (b"data: [DONE]\n", True),
        (b"data: [DONE]", True),
        (b"data:[DONE]\r\n\r\n", True),
        (b": x\ndata: [DONE]\n\n: more\n", True),
        (b"data:  [DONE]\n", False),
        (b"data: [DONE] \n", False),
        (b"xdata: [DONE]\n", False),
        (b"data: [DONE", False),
        (b'data: {"x":"data: [DONE]"}\n', False),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 99])
def test_record_done_is_a_line_whatever_the_reads(body: bytes, size: int, done: bool) -> None:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    with serving(chunked(parts)) as server:
        recorded = get(server)
    assert recorded.response_body == body
    assert (recorded.done_at is not None) is done


def test_record_done_is_the_first_such_line() -> None:
    body = Body(1 << 20, Withholding(()), Ticks())
    body.add(b"data: [DONE]\n")
    first = body.done_at
    body.add(b"data: [DONE]\n")
    body.end()
    assert first is not None
    assert body.done_at == first


def test_record_chunks_at_odd_places_give_the_exact_stream() -> None:
    body = 'data: {"t":"äöü🙂"}\r\n\r\n: comment\n\ndata: [DONE]\n\n'.encode()

    def script(line: Line) -> None:
        line.request()
        for byte in chunked([body[at : at + 1] for at in range(len(body))]):
            line.send(bytes([byte]))

    with RawServer(script) as server:
        recorded = get(server)
    assert recorded.response_body == body
    assert recorded.complete
    assert recorded.done_at is not None


def test_record_chunk_extensions_and_trailers_are_no_body() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b"3;x=y\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"
    )
    with serving(answer) as server:
        recorded = get(server)
    assert recorded.response_body == b"abc"
    assert recorded.response_headers == (("Transfer-Encoding", "Chunked"),)


def test_record_compressed_answer_is_kept_as_received() -> None:
    packed = gzip.compress(bytes(1 << 20))
    with serving(length(packed, "Content-Encoding: gzip")) as server:
        recorded = get(server)
    assert recorded.response_body == packed
    assert ("Content-Encoding", "gzip") in (recorded.response_headers or ())


def test_record_redirect_is_not_followed() -> None:
    with serving(length(b"away", "Location: /other", status="302 Found"), length(b"no")) as server:
        recorded = get(server)
    assert (recorded.status, recorded.response_body, recorded.complete) == (302, b"away", True)
    assert len(server.requests) == 1


def test_record_refusal_with_retry_after_is_an_answer() -> None:
    with serving(length(b"{}", "Retry-After: 2", status="429 Too Many Requests")) as server:
        recorded = get(server)
    assert (recorded.status, recorded.complete, recorded.failure) == (429, True, None)
    assert ("Retry-After", "2") in (recorded.response_headers or ())


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99999999\r\n\r\n"),
    ],
)
def test_record_empty_body_is_none(method: str, answer: bytes) -> None:
    with serving(answer) as server, Transport(bounds=QUICK) as transport:
        recorded = transport.record(method, server.url(), purpose="other")
    assert (recorded.response_body, recorded.complete) == (None, True)


def test_record_informational_answers_are_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    with serving(early + early + length(b"x", "X-Real: 1")) as server:
        recorded = get(server)
    assert (recorded.status, recorded.response_body) == (200, b"x")
    assert recorded.response_headers == (("X-Real", "1"), ("Content-Length", "1"))


def test_record_body_up_to_the_end_of_a_plain_connection_is_whole() -> None:
    with serving(b"HTTP/1.0 200 OK\r\n\r\nabc") as server:
        recorded = get(server)
    assert (recorded.response_body, recorded.complete, recorded.http_version) == (
        b"abc",
        True,
        "1.0",
    )


def test_record_watch_sees_the_bytes_come() -> None:
    seen: list[int] = []
    with serving(chunked([b"abc", b"defg"])) as server:
        get(server, watch=seen.append)
    assert seen == [3, 7]


# --- connections ------------------------------------------------------------------------------


def test_record_kept_connection_has_the_same_label_and_chain() -> None:
    tls = authority().context()
    with serving(length(b"1"), length(b"2"), tls=tls) as server:
        with Transport(bounds=QUICK, ca_file=authority().file) as transport:
            one = transport.record("GET", server.url("/1"), purpose="attestation")
            two = transport.record("GET", server.url("/2"), purpose="chat")
    assert (one.connection, two.connection) == ("c1", "c1")
    assert one.tls == two.tls
    assert server.lines == [1, 1]


def test_record_labels_begin_as_told() -> None:
    with serving(length(b"1")) as server, Transport(bounds=QUICK, labels="r2-c") as transport:
        assert transport.record("GET", server.url(), purpose="other").connection == "r2-c1"


@pytest.mark.parametrize(
    "answer",
    [
        length(b"1", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1",
        length(b"1") + b"unasked",
        chunked([b"1"], "Content-Length: 6"),
        b"HTTP/1.1 204 No Content\r\n\r\nunasked",
    ],
)
def test_record_connection_that_cannot_go_on_is_not_used_again(answer: bytes) -> None:
    with RawServer(answering(answer, answer)) as server, Transport(bounds=QUICK) as transport:
        labels = [
            transport.record("GET", server.url(), purpose="other").connection for _ in range(2)
        ]
    assert labels == ["c1", "c2"]


def test_record_chat_on_a_connection_that_dies_is_never_sent_twice() -> None:
    def script(line: Line) -> None:
        line.request()
        line.send(length(b"1"))
        if line.number == 1:
            line.request()  # takes the chat whole, and dies without an answer
            line.reset()

    with RawServer(script) as server, Transport(bounds=QUICK) as transport:
        transport.record("GET", server.url(), purpose="attestation")
        chat = transport.record("POST", server.url(), purpose="chat", body=b"{}")
    assert chat.failure is not None
    assert (chat.failure.trouble, chat.status, chat.complete) == ("cut", None, False)
    assert chat.connection == "c1"
    assert sum(request.startswith(b"POST") for request in server.requests) == 1
    assert server.accepted == 1


def test_record_connection_closed_while_idle_is_replaced_before_sending() -> None:
    with serving(length(b"1")) as server, Transport(bounds=QUICK) as transport:
        first = transport.record("GET", server.url(), purpose="attestation")
        for thread in server._threads[1:]:
            thread.join(5)
        chat = transport.record("POST", server.url(), purpose="chat", body=b"{}")
    assert (first.connection, chat.connection) == ("c1", "c2")
    assert (chat.status, len(server.requests)) == (200, 2)


def test_record_connection_idle_too_long_is_replaced() -> None:
    times = iter(count(0.0, 0.001))
    late = [0.0]
    with serving(length(b"1"), length(b"2")) as server:
        with Transport(bounds=QUICK, monotonic=lambda: next(times) + late[0]) as transport:
            transport.record("GET", server.url(), purpose="other")
            late[0] = 61.0
            again = transport.record("GET", server.url(), purpose="other")
    assert again.connection == "c2"


# --- TLS --------------------------------------------------------------------------------------


def test_record_tls_is_that_of_the_connection() -> None:
    tls = authority().context()
    with serving(length(b"1"), tls=tls) as server:
        with Transport(bounds=QUICK, ca_file=authority().file) as transport:
            recorded = transport.record("GET", server.url(), purpose="attestation")
    seen = recorded.tls
    assert seen is not None
    assert (seen.version, seen.alpn, seen.webpki) == ("TLSv1.3", "http/1.1", True)
    assert seen.cipher.startswith("TLS_")
    assert seen.chain == tls.chain  # type: ignore[attr-defined]
    assert seen.spki == tls.spki  # type: ignore[attr-defined]


def test_record_two_servers_behind_one_name_show_two_keys() -> None:
    """The key recorded is that of the connection used, not of the name."""
    contexts = [authority().context(), authority().context()]

    def script(line: Line) -> None:
        line.request()
        line.send(length(b"1", "Connection: close"))

    with RawServer(script, contexts[0]) as server:
        with Transport(bounds=QUICK, ca_file=authority().file) as transport:
            first = transport.record("GET", server.url(), purpose="attestation")
            server.tls = contexts[1]
            second = transport.record("GET", server.url(), purpose="chat")
    assert [one.tls.spki for one in (first, second) if one.tls] == [
        context.spki  # type: ignore[attr-defined]
        for context in contexts
    ]


def test_record_without_a_chain_function_keeps_the_leaf_alone() -> None:
    class Bare:
        def getpeercert(self, binary: bool) -> bytes | None:
            return b"leaf" if binary else None

    assert bundle.peer.peer_chain(Bare()) == (b"leaf",)


def test_record_chain_beyond_what_a_bundle_holds_is_cut() -> None:
    class Many:
        def get_unverified_chain(self) -> list[bytes]:
            return [bytes([number]) for number in range(10)]

    assert bundle.peer.peer_chain(Many()) == tuple(bytes([number]) for number in range(8))


def test_record_key_is_the_leafs_even_where_the_leaf_is_too_large_to_keep() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    noise = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(20 << 10))
    large = certificate("large", key, more=noise).public_bytes(Encoding.DER)
    small, middle = authority().context().chain  # type: ignore[attr-defined]

    class Shown:
        """What a connection of such a chain shows."""

        def __init__(self, *chain: bytes) -> None:
            self.get_unverified_chain = lambda: chain
            self.getpeercert = lambda _binary: chain[0]
            self.cipher = self.selected_alpn_protocol = lambda: None
            self.version = lambda: "TLSv1.3"

    seen = bundle.peer.observed_tls(Shown(large, middle), webpki=False)
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (seen.chain, seen.spki) == ((), spki)  # never the key of another certificate
    seen = bundle.peer.observed_tls(Shown(small, large, middle), webpki=False)
    assert (seen.chain, seen.spki) == ((small,), bundle.peer.spki_of(small))


def test_record_no_second_handshake_can_change_the_certificate() -> None:
    trust = bundle.peer.Trust(ca_file=None, unverified_hosts=frozenset())
    for context in (trust.ordinary, trust.none):
        assert ssl.OP_NO_RENEGOTIATION in context.options


@pytest.mark.parametrize(
    ("named", "host", "excused"),
    [
        ("[::1]:8443", "::1", True),
        ("[::1]", "::1", True),
        ("::1", "::1", True),
        ("API.example", "api.example", True),
        ("[::1]:8444", "::1", False),
        ("api.example.", "api.example", False),
        ("example", "api.example", False),
    ],
)
def test_unverified_hosts_are_named_exactly(named: str, host: str, excused: bool) -> None:
    trust = bundle.peer.Trust(ca_file=None, unverified_hosts=frozenset({named}))
    assert trust.excuses(host, 8443) is excused


@pytest.mark.parametrize("data", [b"", b"\x30\x00", b"\x30\x02\x30\x00", b"no certificate"])
def test_record_key_of_what_is_no_certificate_is_none(data: bytes) -> None:
    assert bundle.peer.spki_of(data) is None


# --- large bodies -----------------------------------------------------------------------------


def _stream(size: int) -> Iterator[bytes]:
    block = bytes(range(256)) * 256
    for _ in range(size // len(block)):
        yield block


def test_record_large_body_goes_through_the_sink_in_flat_memory(tmp_path: Path) -> None:
    size = 64 << 20
    expected = sha256()
    for part in _stream(size):
        expected.update(part)

    def script(line: Line) -> None:
        line.request()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for part in _stream(size):
            line.send(part)

    sink = Kept(tmp_path / "body")
    limits = Bounds(body=size, idle_s=20.0, total_s=60.0)
    with RawServer(script) as server, Transport(secrets=("a-configured-secret",)) as transport:
        tracemalloc.start()
        try:
            recorded = transport.record(
                "GET", server.url(), purpose="chat", bounds=limits, sink=sink
            )
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert recorded.complete
    assert recorded.response_body is None
    assert recorded.response_file == StoredBody(path=sink.path, size=size, sha256=expected.digest())
    assert sink.path.stat().st_size == size
    assert peak < 24 << 20


def test_record_body_just_within_memory_is_held_beside_the_sink(tmp_path: Path) -> None:
    sink = Kept(tmp_path / "body")
    limits = Bounds(body=IN_MEMORY, idle_s=20.0, total_s=60.0)
    with serving(length(bytes(IN_MEMORY))) as server:
        recorded = get(server, sink=sink, bounds=limits)
    assert recorded.response_body == bytes(IN_MEMORY)
    assert recorded.response_file is None
    assert sink.size == IN_MEMORY


def test_record_sink_sees_the_head_first_and_every_byte(tmp_path: Path) -> None:
    sink = Kept(tmp_path / "body")
    with serving(chunked([b"abc", b"def"], "Set-Cookie: c=1", "X-A: 1")) as server:
        recorded = get(server, sink=sink)
    assert sink.events == ["begin", "finish"]
    assert sink.head is not None
    assert (sink.head.status, sink.head.complete) == (200, False)
    assert sink.head.response_headers == recorded.response_headers
    assert ("Set-Cookie", None) in (sink.head.response_headers or ())
    assert sink.path.read_bytes() == recorded.response_body == b"abcdef"


def test_record_without_an_answer_never_begins_the_sink(tmp_path: Path) -> None:
    sink = Kept(tmp_path / "body")
    with serving() as server:
        recorded = get(server, sink=sink)
    assert (recorded.status, recorded.complete, sink.events) == (None, False, [])


def test_record_sink_on_a_full_disk_ends_the_exchange(tmp_path: Path) -> None:
    class Full(Kept):
        def write(self, part: bytes) -> None:
            self.file.close()
            raise OSError(28, "No space left on device")

    with serving(length(b"x")) as server, pytest.raises(OSError, match="No space left"):
        get(server, sink=Full(tmp_path / "body"))


# --- proxy ------------------------------------------------------------------------------------


def test_record_through_a_proxy_shows_the_servers_own_certificate() -> None:
    tls = authority().context()
    with serving(length(b"1"), length(b"2"), tls=tls) as server, RawServer(tunnelling()) as proxy:
        with Transport(
            bounds=QUICK,
            ca_file=authority().file,
            proxy=f"http://me:p%40ss@127.0.0.1:{proxy.port}",
        ) as transport:
            both = [transport.record("GET", server.url(), purpose="chat") for _ in range(2)]
    assert [one.status for one in both] == [200, 200]
    assert [one.connection for one in both] == ["c1", "c1"]
    assert both[0].tls is not None
    assert both[0].tls.chain == tls.chain  # type: ignore[attr-defined]
    (asked,) = proxy.requests
    assert asked.startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % server.port)
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==\r\n" in asked
    assert not any(b"Proxy" in request for request in server.requests)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "status 407"),
        (b"SSH-2.0-x\r\n\r\n", "no HTTP proxy"),
        (b"", "no tunnel"),
    ],
)
def test_record_proxy_that_makes_no_tunnel_is_unreachable(answer: bytes, said: str) -> None:
    with RawServer(tunnelling(answer)) as proxy:
        with Transport(bounds=QUICK, proxy=f"http://u:hunter2@127.0.0.1:{proxy.port}") as transport:
            recorded = transport.record("GET", "https://api.example/", purpose="other")
    assert recorded.failure is not None
    assert recorded.failure.trouble == "unreachable"
    assert said in recorded.failure.what
    assert "hunter2" not in recorded.failure.what


def test_record_proxy_whose_answer_has_no_end_is_unreachable() -> None:
    def script(line: Line) -> None:
        line.request()
        line.send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * (17 << 10))
        line.wait()

    with RawServer(script) as proxy:
        with Transport(bounds=QUICK, proxy=f"http://127.0.0.1:{proxy.port}") as transport:
            recorded = transport.record("GET", "https://api.example/", purpose="other")
    assert recorded.failure is not None
    assert recorded.failure.trouble == "unreachable"


def test_record_proxy_that_says_nothing_is_a_timeout() -> None:
    with RawServer(Line.wait) as proxy:
        limits = replace(QUICK, connect_s=0.2)
        with Transport(bounds=limits, proxy=f"http://127.0.0.1:{proxy.port}") as transport:
            recorded = transport.record("GET", "https://api.example/", purpose="other")
    assert recorded.failure is not None
    assert recorded.failure.trouble == "timeout"
    assert "no tunnel within 0.2 s" in recorded.failure.what


def test_record_proxy_that_breaks_off_is_unreachable() -> None:
    def script(line: Line) -> None:
        line.request()
        line.reset()

    with RawServer(script) as proxy:
        with Transport(bounds=QUICK, proxy=f"http://127.0.0.1:{proxy.port}") as transport:
            recorded = transport.record("GET", "https://api.example/", purpose="other")
    assert recorded.failure is not None
    assert recorded.failure.trouble == "unreachable"


def test_proxy_repr_hides_its_password() -> None:
    assert "hunter2" not in repr(bundle.peer.Proxy.of("http://me:hunter2@proxy.example"))


def test_record_user_agent_can_be_given() -> None:
    with serving(length(b"1")) as server:
        get(server, headers=(("user-agent", "odd/1"),))
    assert server.requests[0].lower().count(b"user-agent") == 1


def test_record_sink_that_keeps_nothing_cannot_take_a_large_body(tmp_path: Path) -> None:
    class Forgetful(Kept):
        def finish(self) -> StoredBody | None:
            super().finish()
            return None

    limits = Bounds(body=IN_MEMORY + 1, idle_s=20.0, total_s=60.0)
    with serving(length(bytes(IN_MEMORY + 1))) as server:
        with pytest.raises(RuntimeError, match="keeps none"):
            get(server, sink=Forgetful(tmp_path / "body"), bounds=limits)


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "http://", "http://h:x/", "http://h/path"])
def test_record_proxy_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="proxy"):
        Transport(proxy=url)


def test_record_plain_loopback_never_goes_through_the_proxy() -> None:
    with serving(length(b"1")) as server, RawServer(tunnelling()) as proxy:
        with Transport(bounds=QUICK, proxy=f"http://127.0.0.1:{proxy.port}") as transport:
            recorded = transport.record("GET", server.url(), purpose="other")
    assert (recorded.status, proxy.accepted) == (200, 0)


def test_record_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(length(b"1"), tls=authority().context()) as server:
        with Transport(bounds=QUICK, ca_file=authority().file) as transport:
            assert transport.record("GET", server.url(), purpose="other").status == 200


def test_credential_repr_hides_its_value() -> None:
    assert "hunter2" not in repr(Credential("Authorization", "Bearer hunter2"))
