"""Every way an exchange can fail is a recorded exchange that keeps what had come."""

from __future__ import annotations

import socket
import ssl
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import h11
import pytest

from bundle.bounds import Bounds
from bundle.recording import RecordedExchange, Withholding
from bundle.transport import Body, Transport, TransportError, utc_now
from tests.bundle.raw_server import (
    Line,
    RawServer,
    Script,
    answering,
    authority,
    chunked,
    length,
    serving,
)
from verify.engine.errors import UsageError

PATIENT = Bounds(connect_s=5.0, idle_s=5.0, total_s=10.0)
HASTY = Bounds(connect_s=5.0, idle_s=0.2, total_s=10.0)


def asked(
    url: str, limits: Bounds = PATIENT, *, ca_file: Path | None = None, **more: object
) -> RecordedExchange:
    with Transport(bounds=limits, ca_file=ca_file, **more) as transport:  # type: ignore[arg-type]
        return transport.record("GET", url, purpose="other")


def served(script: Script, limits: Bounds = PATIENT) -> RecordedExchange:
    with RawServer(script) as server:
        return asked(server.url(), limits)


def failed(recorded: RecordedExchange) -> tuple[str, str]:
    assert recorded.failure is not None
    assert recorded.complete is False
    return recorded.failure.trouble, recorded.failure.what


def after_request(*parts: bytes, end: str = "close") -> Script:
    def script(line: Line) -> None:
        line.request()
        line.send(*parts)
        if end == "wait":
            line.wait()
        elif end == "reset":
            line.reset()

    return script


# --- no connection ----------------------------------------------------------------------------


def test_failure_refused_connection_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    recorded = asked(f"http://127.0.0.1:{port}/")
    assert failed(recorded) == ("unreachable", f"127.0.0.1:{port}: connection refused")
    assert (recorded.status, recorded.connection, recorded.request_headers) == (None, None, None)
    assert recorded.first_byte_at is None


def test_failure_unknown_host_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert failed(asked("https://api.example/")) == (
        "unreachable",
        "api.example:443: there is no such host",
    )


def test_failure_silent_name_servers_are_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def silent(*_: object, **__: object) -> None:
        over.wait(20)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    recorded = asked("https://api.example/", replace(PATIENT, connect_s=0.2))
    over.set()
    trouble, what = failed(recorded)
    assert (trouble, "its address was not found within 0.2 s" in what) == ("timeout", True)


def test_failure_first_address_dead_second_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        dead = free.getsockname()
    with serving(length(b"1")) as server:
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        found = [(*kind, dead), (*kind, ("127.0.0.1", server.port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert asked(f"http://localhost:{server.port}/").status == 200


def test_failure_connect_timeout_is_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        place = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for one in fillers:
            one.setblocking(False)
            one.connect_ex(place)
        recorded = asked(f"http://127.0.0.1:{place[1]}/", replace(PATIENT, connect_s=0.2))
        for one in fillers:
            one.close()
    trouble, what = failed(recorded)
    assert trouble == "timeout"
    assert what.endswith("no connection within 0.2 s")


# --- TLS --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "days", "alone", "said"),
    [
        ("127.0.0.1", 1, True, "self"),
        ("127.0.0.1", -1, False, "expired"),
        ("other.example", 1, False, "mismatch"),
    ],
)
def test_failure_certificate_not_trusted_is_tls(
    host: str, days: int, alone: bool, said: str
) -> None:
    tls = authority().context(host, days=days, alone=alone)
    with serving(length(b"secret"), tls=tls) as server:
        recorded = asked(server.url(), ca_file=authority().file)
    trouble, what = failed(recorded)
    assert trouble == "tls"
    assert said in what
    assert (recorded.tls, server.requests) == (None, [])


def test_failure_unknown_authority_is_tls_without_its_file() -> None:
    with serving(length(b"x"), tls=authority().context()) as server:
        assert failed(asked(server.url()))[0] == "tls"


@pytest.mark.parametrize(
    ("host", "days", "alone"),
    [("127.0.0.1", 1, True), ("127.0.0.1", -1, False), ("other.example", 1, False)],
)
@pytest.mark.parametrize("by_port", [False, True])
def test_unverified_host_goes_on_and_says_so(
    host: str, days: int, alone: bool, by_port: bool
) -> None:
    tls = authority().context(host, days=days, alone=alone)
    with serving(length(b"1"), length(b"2"), tls=tls) as server:
        name = f"127.0.0.1:{server.port}" if by_port else "127.0.0.1"
        recorded = asked(server.url(), ca_file=authority().file, unverified_hosts=frozenset({name}))
    assert recorded.complete
    assert recorded.tls is not None
    assert recorded.tls.webpki is False
    assert recorded.tls.spki == tls.spki  # type: ignore[attr-defined]
    assert recorded.tls.chain == tls.chain  # type: ignore[attr-defined]


def test_unverified_host_with_a_good_certificate_is_validated() -> None:
    with serving(length(b"1"), tls=authority().context()) as server:
        recorded = asked(
            server.url(), ca_file=authority().file, unverified_hosts=frozenset({"127.0.0.1"})
        )
        assert server.accepted == 1
    assert recorded.tls is not None
    assert recorded.tls.webpki is True


@pytest.mark.parametrize("named", ["localhost", "127.0.0.1:1", ""])
def test_unverified_host_excuses_no_other(named: str) -> None:
    with serving(length(b"1"), tls=authority().context(alone=True)) as server:
        recorded = asked(server.url(), unverified_hosts=frozenset({named}))
    assert failed(recorded)[0] == "tls"
    assert server.requests == []


@pytest.mark.parametrize("excused", [False, True])
def test_failure_handshake_is_tls(excused: bool) -> None:
    tls = authority().context()
    tls.maximum_version = ssl.TLSVersion.TLSv1_2
    tls.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384")  # the key is no RSA key
    hosts = frozenset({"127.0.0.1"}) if excused else frozenset()
    with serving(length(b"1"), tls=tls) as server:
        recorded = asked(server.url(), ca_file=authority().file, unverified_hosts=hosts)
    trouble, what = failed(recorded)
    assert trouble == "tls"
    assert "handshake failed" in what


def test_failure_plain_answer_where_tls_is_spoken_is_tls() -> None:
    def script(line: Line) -> None:
        line.socket.recv(4096)
        line.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with RawServer(script) as server:
        recorded = asked(server.url().replace("http:", "https:"))
    assert failed(recorded)[0] == "tls"


def test_failure_silent_handshake_is_timeout() -> None:
    with RawServer(Line.wait) as server:
        url = server.url().replace("http:", "https:")
        recorded = asked(url, replace(PATIENT, connect_s=0.2))
    trouble, what = failed(recorded)
    assert (trouble, "handshake" in what) == ("timeout", True)


@pytest.mark.parametrize("text", ["", "no certificate"])
def test_authority_file_without_certificates_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "ca.pem").write_text(text)
    with pytest.raises(UsageError, match="no PEM certificates"):
        Transport(ca_file=tmp_path / "ca.pem")


def test_authority_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        Transport(ca_file=tmp_path / "none.pem")


def test_failure_handshake_that_is_reset_is_unreachable() -> None:
    """Nothing was said about trust; another try may help."""

    def script(line: Line) -> None:
        line.socket.recv(4096)
        line.reset()

    with RawServer(script) as server:
        recorded = asked(server.url().replace("http:", "https:"))
    trouble, what = failed(recorded)
    assert trouble == "unreachable"
    assert "handshake broke off" in what


def test_failure_total_used_up_before_connecting_is_timeout() -> None:
    times = iter((0.0, 11.0))
    with serving() as server:
        recorded = asked(server.url(), monotonic=lambda: next(times))
    assert failed(recorded) == ("timeout", "the answer took longer than 10 s")


# --- time -------------------------------------------------------------------------------------


def test_failure_no_first_byte_is_timeout() -> None:
    recorded = served(after_request(end="wait"), HASTY)
    assert failed(recorded) == ("timeout", "no answer within 0.2 s")
    assert (recorded.status, recorded.first_byte_at) == (None, None)
    assert recorded.request_headers is not None


def test_failure_total_ends_a_silence_that_the_idle_limit_allows() -> None:
    recorded = served(after_request(end="wait"), replace(PATIENT, idle_s=600.0, total_s=0.3))
    assert failed(recorded) == ("timeout", "the answer took longer than 0.3 s")


def test_failure_silence_in_a_stream_is_idle_and_keeps_what_came() -> None:
    answer = chunked([b"data: 1\n\n"]).removesuffix(b"0\r\n\r\n")
    recorded = served(after_request(answer, end="wait"), HASTY)
    assert failed(recorded) == ("idle", "the answer fell silent for 0.2 s")
    assert (recorded.status, recorded.response_body) == (200, b"data: 1\n\n")
    assert recorded.response_headers == (("Transfer-Encoding", "chunked"),)


def test_failure_silence_in_the_header_block_is_idle() -> None:
    recorded = served(after_request(b"HTTP/1.1 200 OK\r\nX-A: 1\r\n", end="wait"), HASTY)
    assert failed(recorded)[0] == "idle"
    assert (recorded.status, recorded.response_headers) == (None, None)
    assert recorded.first_byte_at is not None


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b""])
def test_failure_drip_beyond_the_total_is_timeout(head: bytes) -> None:
    """Neither a body nor a header block that comes byte by byte outlasts the total."""

    def script(line: Line) -> None:
        line.request()
        line.send(head or b"HTTP/1.1 200 OK\r\nX: ")
        while not line.server.over.wait(0.02):
            line.send(b"x")

    recorded = served(script, replace(PATIENT, total_s=0.3))
    assert failed(recorded) == ("timeout", "the answer took longer than 0.3 s")
    if head:
        assert recorded.response_body is not None
        assert set(recorded.response_body) == {ord("x")}


def test_slow_drip_within_the_idle_limit_is_an_answer() -> None:
    def script(line: Line) -> None:
        line.request()
        line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for _ in range(6):
            line.server.over.wait(0.05)
            line.send(b"x")

    recorded = served(script, replace(PATIENT, idle_s=2.0))
    assert (recorded.complete, recorded.response_body) == (True, b"xxxxxx")


def test_failure_server_that_does_not_read_is_timeout() -> None:
    with RawServer(Line.wait) as server, Transport(bounds=HASTY) as transport:
        recorded = transport.record("POST", server.url(), purpose="chat", body=bytes(10 << 20))
    assert failed(recorded)[0] == "timeout"


def test_failure_server_that_resets_while_a_body_is_sent_is_cut() -> None:
    def script(line: Line) -> None:
        line.socket.recv(100)
        line.reset()

    with RawServer(script) as server, Transport(bounds=PATIENT) as transport:
        recorded = transport.record("POST", server.url(), purpose="chat", body=bytes(10 << 20))
    assert failed(recorded)[0] == "cut"
    assert server.accepted == 1


def test_early_answer_to_a_body_that_is_not_read_is_kept() -> None:
    """Its connection is not used again: the rest of the body would have to go first."""

    def script(line: Line) -> None:
        line.socket.recv(100)
        line.send(length(b"too much", status="413 Content Too Large"))
        line.wait()

    limits = replace(PATIENT, idle_s=0.5)
    with RawServer(script) as server, Transport(bounds=limits) as transport:
        recorded = transport.record("POST", server.url(), purpose="chat", body=bytes(10 << 20))
        again = transport.record("GET", server.url(), purpose="other")
    assert (recorded.connection, again.connection) == ("c1", "c2")
    assert recorded.status == 413
    assert recorded.response_body == b"too much"


# --- closed too early -------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"", None, None),
        (b"HTTP/1.1 200 OK\r\nX-A", None, None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", 200, b"abc"),
        (chunked([b"abc"]).removesuffix(b"0\r\n\r\n"), 200, b"abc"),
        (chunked([b"abc"]).removesuffix(b"\n"), 200, b"abc"),
        (chunked([]).replace(b"0\r\n\r\n", b"ff\r\nabc"), 200, b"abc"),
    ],
)
def test_failure_closed_too_early_is_cut(
    answer: bytes, status: int | None, body: bytes | None, end: str
) -> None:
    def script(line: Line) -> None:
        line.request()
        line.send(answer)
        if end == "reset":  # not before the client has read, or the system drops what was sent
            came.wait(5)
            line.reset()

    from threading import Event

    came = Event()
    if not body:
        came.set()
    with RawServer(script) as server, Transport(bounds=PATIENT) as transport:
        recorded = transport.record(
            "GET", server.url(), purpose="chat", watch=lambda _total: came.set()
        )
    assert failed(recorded)[0] == "cut"
    if end == "close":
        assert recorded.status == status
    assert recorded.response_body == body


@pytest.mark.parametrize("goodbye", [True, False])
def test_tls_body_without_length_is_whole_only_with_a_closure_alert(goodbye: bool) -> None:
    def script(line: Line) -> None:
        line.request()
        line.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        if not goodbye:
            socket.socket.shutdown(line.socket, socket.SHUT_WR)
            line.wait()

    with RawServer(script, authority().context()) as server:
        recorded = asked(server.url(), ca_file=authority().file)
    assert recorded.response_body == b"abc"
    if goodbye:
        assert recorded.complete
    else:
        assert failed(recorded)[0] == "cut"


# --- too much ---------------------------------------------------------------------------------


def test_failure_announced_beyond_the_limit_is_refused_at_once() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\nabc"
    recorded = served(after_request(answer, end="wait"), replace(PATIENT, body=1000))
    assert failed(recorded) == (
        "too-large",
        "an answer of more than 1000 bytes (10737418240 announced)",
    )
    assert (recorded.status, recorded.response_body) == (200, b"abc")


@pytest.mark.parametrize("announced", [True, False])
def test_failure_body_beyond_the_limit_is_kept_up_to_it(announced: bool) -> None:
    answer = length(bytes(1500)) if announced else chunked([bytes(700)] * 3)
    recorded = served(after_request(answer), replace(PATIENT, body=1000))
    assert failed(recorded)[0] == "too-large"
    assert recorded.response_body == bytes(1000)


@pytest.mark.parametrize("announced", [True, False])
def test_body_of_exactly_the_limit_is_whole(announced: bool) -> None:
    answer = length(bytes(1000)) if announced else chunked([bytes(500)] * 2)
    recorded = served(after_request(answer), replace(PATIENT, body=1000))
    assert (recorded.complete, recorded.response_body) == (True, bytes(1000))


def test_failure_endless_chunks_stop_at_the_limit_in_flat_memory() -> None:
    def script(line: Line) -> None:
        line.request()
        line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
        while True:
            line.send(chunk)

    tracemalloc.start()
    try:
        recorded = served(script, replace(PATIENT, body=1 << 20))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert failed(recorded)[0] == "too-large"
    assert len(recorded.response_body or b"") == 1 << 20
    assert peak < 8 << 20


def test_failure_endless_chunk_size_line_is_stopped() -> None:
    def script(line: Line) -> None:
        line.request()
        line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
        while True:
            line.send(bytes([0x61]) * 65536)

    assert failed(served(script))[0] == "not-http"


def headers_of(size: int, value: int = 1000) -> bytes:
    lines = b"".join(b"X-%04d: %s\r\n" % (at, b"v" * (value - 10)) for at in range(size // value))
    return b"HTTP/1.1 200 OK\r\nX-First: 1\r\n" + lines + b"Content-Length: 1\r\n\r\nx"


def test_header_block_of_nearly_the_limit_is_kept() -> None:
    recorded = served(after_request(headers_of(250 << 10)))
    assert recorded.complete
    assert len(recorded.response_headers or ()) == 2 + 256


@pytest.mark.parametrize(
    "answer",
    [
        headers_of(300 << 10),
        headers_of(300 << 10).partition(b"Content-Length")[0],
        b"HTTP/1.1 200 OK\r\nX-First: 1\r\n" + b"A: 1\r\n" * 600 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-First: 1\r\nA: " + b"v" * (70 << 10) + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-First: 1\r\nA: " + b"v" * (300 << 10),
    ],
    ids=["bytes", "unended", "pairs", "value", "one line"],
)
def test_failure_header_block_too_large_keeps_what_can_be_stored(answer: bytes) -> None:
    recorded = served(after_request(answer, end="wait"))
    assert failed(recorded)[0] == "headers-too-large"
    assert recorded.status == 200
    kept = recorded.response_headers or ()
    assert kept[0] == ("X-First", "1")
    assert len(kept) <= 512
    assert sum(len(name) + len(value or "") for name, value in kept) <= 256 << 10
    assert recorded.response_body is None


def test_failure_endless_informational_answers_are_stopped() -> None:
    def script(line: Line) -> None:
        line.request()
        while True:
            line.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 100)

    assert failed(served(script))[0] == "headers-too-large"


# --- not HTTP ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n", "wait"),
        (b"\x16\x03\x01", "wait"),
        (b"HTTP/2 200 OK\r\n\r\n", "wait"),
        (b"<html>nothing</html>", "close"),
        (b"HTTP/0.9 200 OK\r\n\r\n", "wait"),
        (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "wait"),
        (b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "wait"),
        (b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n", "wait"),
        (b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", "wait"),
        (b"HTTP/1.1 abc\r\n\r\n", "wait"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "wait"),
        (b"HTTP/1.1 200 OK\r\nX\x00Y: 1\r\n\r\n", "wait"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "wait"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "wait"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "wait"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "wait"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "wait"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "wait"),
    ],
)
def test_failure_what_is_not_http_is_told_at_once(answer: bytes, end: str) -> None:
    assert failed(served(after_request(answer, end=end)))[0] == "not-http"


@pytest.mark.parametrize("odd", [b"\x00", b"\v", b"\f", b"\r"])
def test_failure_bytes_of_no_header_never_reach_the_parser(
    odd: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its expressions take minutes for 200 KiB of spaces before such a byte."""
    monkeypatch.setattr(h11.Connection, "receive_data", lambda *_: pytest.fail("was parsed"))
    block = b"HTTP/1.1 200 OK\r\nA: " + b" " * (200 << 10) + odd + b"x\r\n\r\n"
    assert failed(served(after_request(block, end="wait")))[0] == "not-http"


@pytest.mark.parametrize("start", [b"1;", b"0\r\nA:"], ids=["extension", "trailer"])
def test_failure_line_of_chunk_framing_is_short(start: bytes) -> None:
    """The same for what stands between chunks, where the parser is the first to look."""
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + start + b" " * (30 << 10)
    assert failed(served(after_request(answer, end="wait")))[0] == "not-http"


def test_body_of_single_bytes_takes_no_more_memory_than_it_has_bytes() -> None:
    body = Body(1 << 20, Withholding(()), utc_now)
    tracemalloc.start()
    try:
        for number in range(1 << 16):
            body.add(b"%c%c" % (number & 255, number >> 8 & 255))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(body.taken() or b"") == 1 << 17
    assert peak < 1 << 19


# --- the old face -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "limits", "trouble", "again"),
    [
        (answering(b""), PATIENT, "unavailable", True),
        (answering(b"nonsense"), PATIENT, "unavailable", False),
        (after_request(end="wait"), HASTY, "timeout", True),
        (answering(length(bytes(2000))), replace(PATIENT, body=1000), "too-large", False),
    ],
)
def test_exchange_raises_where_no_whole_answer_came(
    script: Script, limits: Bounds, trouble: str, again: bool
) -> None:
    with RawServer(script) as server, Transport(bounds=limits) as transport:
        with pytest.raises(TransportError) as caught:
            transport.exchange("GET", server.url(), purpose="nras")
    assert (caught.value.trouble, caught.value.again) == (trouble, again)


def test_exchange_of_an_untrusted_server_is_a_tls_error() -> None:
    with serving(length(b"1"), tls=authority().context()) as server, Transport() as transport:
        with pytest.raises(TransportError) as caught:
            transport.exchange("GET", server.url(), purpose="nras")
    assert (caught.value.trouble, caught.value.again) == ("tls", False)


@pytest.mark.parametrize(
    ("given", "sent"), [({}, b"application/json"), ({"accept": "text/x"}, b"text/x")]
)
def test_exchange_accepts_json_unless_told(given: dict[str, str], sent: bytes) -> None:
    with serving(length(b"{}")) as server, Transport() as transport:
        recorded = transport.exchange("GET", server.url(), purpose="nras", headers=given)
    assert recorded.response_body == b"{}"
    assert server.requests[0].lower().count(b"accept: ") == 1
    assert b"ccept: " + sent in server.requests[0]
