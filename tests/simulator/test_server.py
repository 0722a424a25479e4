"""The server core: what HTTP it speaks, what it can do wrong on purpose, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from hashlib import sha256

import httpx
import pytest

from fixtures.simulator.server import Server
from fixtures.simulator.tls import Authority
from fixtures.simulator.wire import Answer, Journal, Request

AUTHORITY = Authority(seed="server tests")
TRUSTING = ssl.create_default_context(cadata=AUTHORITY.pem.decode())


def echo(request: Request) -> Answer | None:
    if request.path == "/echo":
        return Answer(body=request.method.encode() + b" " + request.body, media_type="text/plain")
    return None


def asked(server: Server, raw: bytes, *, half_close: bool = False) -> bytes:
    """Return everything that comes back for raw bytes, up to the end of the connection."""
    with socket.create_connection(server.address, timeout=10) as sock:
        sock.sendall(raw)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while part := sock.recv(65536):
                received += part
    return received


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode()


def test_connection_is_kept_and_counted() -> None:
    with Server(echo) as server, httpx.Client(trust_env=False) as client:
        for text in (b"one", b"two"):
            assert client.post(server.base_url + "/echo", content=text).content == b"POST " + text
        with httpx.Client(trust_env=False) as other:
            other.get(server.base_url + "/echo")
    assert [one.connection for one in server.journal.requests] == [0, 0, 1]
    assert [one.number for one in server.journal.requests] == [0, 1, 2]


def test_requests_are_journalled_as_they_came() -> None:
    journal = Journal()
    with Server(echo, journal=journal) as server:
        raw = head("POST /echo?a=b%20c HTTP/1.1", "HoSt: x", "X-One:  1 ", "x-one: 2")
        raw = (
            raw.replace(b"\r\n\r\n", b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n") + b"hi"
        )
        assert b"POST hi" in asked(server, raw)
    (request,) = journal.requests
    assert request.headers[:3] == (("HoSt", "x"), ("X-One", "1"), ("x-one", "2"))
    assert (request.method, request.path, request.query) == ("POST", "/echo", {"a": "b c"})
    assert request.header("X-ONE") == "1"
    assert request.spki is None


def test_head_has_the_headers_and_no_body() -> None:
    with Server(echo) as server:
        found = asked(server, head("HEAD /echo HTTP/1.1", "Host: x", "Connection: close"))
    assert found.endswith(b"\r\n\r\n")
    assert b"Content-Length: 5\r\n" in found


def test_chunked_request_with_trailers_is_read() -> None:
    raw = head("POST /echo HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Connection: close")
    raw += b"3;note=1\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
    with Server(echo) as server:
        assert asked(server, raw).endswith(b"POST abcde")


def test_expectation_is_answered_before_the_body() -> None:
    with Server(echo) as server, socket.create_connection(server.address, timeout=10) as sock:
        sock.sendall(
            head("POST /echo HTTP/1.1", "Host: x", "Expect: 100-continue", "Content-Length: 2")
        )
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"ok")
        assert sock.recv(65536).endswith(b"POST ok")


def test_http_1_0_gets_a_close() -> None:
    def parts(request: Request) -> Answer:
        return Answer(body=[b"ab", b"cd"], framing="chunked")

    with Server(parts) as server:
        found = asked(server, head("GET / HTTP/1.0"))
    assert found.endswith(b"\r\n\r\nabcd")
    assert b"chunked" not in found


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (head("GET /echo HTTP/2.0"), b"400"),
        (head("GET /echo HTTP/1.1", "no colon"), b"400"),
        (head("GET /echo HTTP/1.1", "name : x"), b"400"),
        (head("POST /echo HTTP/1.1", "Content-Length: -1"), b"400"),
        (head("POST /echo HTTP/1.1", "Content-Length: 1", "Content-Length: 2"), b"400"),
        (head("POST /echo HTTP/1.1", "Content-Length: 99999999999"), b"413"),
        (head("POST /echo HTTP/1.1", "Transfer-Encoding: gzip"), b"501"),
        (
            head("POST /echo HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 1"),
            b"400",
        ),
        (head("POST /echo HTTP/1.1", "Transfer-Encoding: chunked") + b"zz\r\n", b"400"),
        (head("POST /echo HTTP/1.1", "Transfer-Encoding: chunked") + b"1\r\nabc", b"400"),
        (head("POST /echo HTTP/1.1", "Transfer-Encoding: chunked") + b"fffffff\r\n", b"413"),
        (b"GET /" + b"a" * 200_000, b"431"),
    ],
)
def test_request_that_cannot_be_read_is_answered_and_closed(raw: bytes, status: bytes) -> None:
    with Server(echo) as server:
        found = asked(server, raw)
    assert found.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in found


def test_failing_handler_is_told_and_answered() -> None:
    def broken(request: Request) -> Answer:
        raise ZeroDivisionError

    with Server(broken) as server:
        assert httpx.get(server.base_url, trust_env=False).status_code == 500
    assert [type(trouble) for trouble in server.troubles] == [ZeroDivisionError]


def test_unknown_path_is_not_found() -> None:
    with Server(echo) as server:
        assert httpx.get(server.base_url + "/other", trust_env=False).status_code == 404


def test_answer_is_cut_where_it_says() -> None:
    with Server(lambda _: Answer(body=[b"abc", b"def"], framing="chunked", cut=4)) as server:
        found = asked(server, head("GET / HTTP/1.1", "Host: x"))
    assert found.endswith(b"3\r\nabc\r\n1\r\nd\r\n")


def test_answer_can_say_another_length_or_leave_the_end_out() -> None:
    with Server(lambda _: Answer(body=b"abc", declared=9)) as server:
        found = asked(server, head("GET / HTTP/1.1", "Host: x"))
        assert b"Content-Length: 9\r\n" in found
        assert found.endswith(b"\r\n\r\nabc")
    with Server(lambda _: Answer(body=[b"abc"], framing="chunked", unended=True)) as server:
        assert asked(server, head("GET / HTTP/1.1", "Host: x")).endswith(b"\r\n\r\n3\r\nabc\r\n")


def test_answer_that_ends_with_the_connection() -> None:
    with Server(lambda _: Answer(body=b"abc", framing="close")) as server:
        found = asked(server, head("GET / HTTP/1.1", "Host: x"))
    assert found.endswith(b"\r\n\r\nabc")
    assert b"Content-Length" not in found


def test_raw_answer_is_sent_as_it_is() -> None:
    with Server(lambda _: Answer(raw=b"SSH-2.0-test\r\n")) as server:
        assert asked(server, head("GET / HTTP/1.1", "Host: x")) == b"SSH-2.0-test\r\n"


def test_parts_without_a_length_need_another_framing() -> None:
    with Server(lambda _: Answer(body=lambda: iter([b"x"]))) as server:
        assert asked(server, head("GET / HTTP/1.1", "Host: x", "Connection: close")) == b""
    assert [type(trouble) for trouble in server.troubles] == [TypeError]


def test_parts_that_fail_end_the_connection_and_are_told() -> None:
    def failing(request: Request) -> Answer:
        def parts() -> Iterator[bytes]:
            yield b"abc"
            raise ZeroDivisionError

        return Answer(body=parts, framing="chunked")

    with Server(failing) as server:
        assert asked(server, head("GET / HTTP/1.1", "Host: x")).endswith(b"3\r\nabc\r\n")
    assert [type(trouble) for trouble in server.troubles] == [ZeroDivisionError]


def test_tls_shows_one_key_after_the_other() -> None:
    identities = tuple(AUTHORITY.identity(f"node {number}") for number in range(2))
    seen = []
    with Server(echo, identities=identities) as server:
        for _ in range(4):
            with socket.create_connection(server.address, timeout=10) as plain:
                with TRUSTING.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
                    assert sock.version() == "TLSv1.3"
                    seen.append(sock.getpeercert(binary_form=True))
                    sock.sendall(head("GET /echo HTTP/1.1", "Host: x"))
                    assert sock.recv(65536).startswith(b"HTTP/1.1 200")
    assert seen == [identities[0].leaf, identities[1].leaf] * 2
    assert [one.spki for one in server.journal.requests] == [one.spki for one in identities] * 2


@pytest.mark.parametrize("change", ["expired", "self_made", "wrong_name"])
def test_bad_certificate_is_refused_by_a_client(change: str) -> None:
    bad = AUTHORITY.identity("bad", **{change: True})
    assert bad.spki == AUTHORITY.identity("bad").spki
    with Server(echo, identities=(bad,)) as server:
        with pytest.raises(httpx.ConnectError, match=r"CERTIFICATE_VERIFY_FAILED|certificate"):
            httpx.get(server.base_url + "/echo", verify=TRUSTING, trust_env=False)
    assert not server.journal.requests


def test_broken_handshake_is_an_alert() -> None:
    with Server(echo, identities=(AUTHORITY.identity("x"),), handshake=False) as server:
        with pytest.raises(httpx.ConnectError, match=r"(?i)handshake"):
            httpx.get(server.base_url + "/echo", verify=TRUSTING, trust_env=False)


def test_plain_bytes_to_a_tls_server_harm_nobody() -> None:
    with Server(echo, identities=(AUTHORITY.identity("x"),)) as server:
        asked(server, b"GET / HTTP/1.1\r\n\r\n")
        found = httpx.get(server.base_url + "/echo", verify=TRUSTING, trust_env=False)
        assert found.status_code == 200


def test_authority_is_the_same_for_the_same_seed() -> None:
    again = Authority(seed="server tests")
    assert again.pem == AUTHORITY.pem
    assert again.identity("x").leaf == AUTHORITY.identity("x").leaf
    assert Authority(seed="another").pem != AUTHORITY.pem


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])  # noqa: S104  (refused)
def test_only_this_machine_is_served(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        Server(echo, listen=(host, 0))


def test_taken_port_is_an_error_and_leaves_nothing_open() -> None:
    with Server(echo) as server, pytest.raises(OSError, match="in use"):
        Server(echo, listen=server.address).__enter__()


def test_stop_ends_streams_silences_and_threads() -> None:
    before = threading.active_count()

    def endless(request: Request) -> Answer:
        if request.path == "/silence":
            return Answer(pause_s=3600)

        def parts() -> Iterator[bytes]:
            while True:
                yield b"x" * 65536

        return Answer(body=parts, framing="chunked", between_s=0.001)

    identities = (AUTHORITY.identity("x"),)
    server = Server(endless, identities=identities)
    with contextlib.ExitStack() as stack:
        with server:
            for path in ("/stream", "/silence", "/stream"):
                plain = stack.enter_context(socket.create_connection(server.address, timeout=10))
                sock = stack.enter_context(TRUSTING.wrap_socket(plain, server_hostname="127.0.0.1"))
                sock.sendall(head(f"GET {path} HTTP/1.1", "Host: x"))
            idle = stack.enter_context(socket.create_connection(server.address, timeout=10))
            while len(server.journal.requests) < 3:
                time.sleep(0.01)
            begun = time.monotonic()
        assert time.monotonic() - begun < 3
        assert threading.active_count() == before
        assert idle.recv(1) == b""
    with pytest.raises(ConnectionError):
        socket.create_connection(server.address, timeout=1)


def test_several_servers_at_once() -> None:
    with Server(echo) as one, Server(echo) as two:
        assert one.base_url != two.base_url
        for server in (one, two):
            assert httpx.get(server.base_url + "/echo", trust_env=False).status_code == 200


def test_two_hundred_streams_at_once_are_byte_exact() -> None:
    """Every stream is open before any may go on, so all are under way together."""
    count = 200
    gate = threading.Barrier(count, timeout=60)

    def body(number: int) -> list[bytes]:
        return [sha256(b"%d %d" % (number, part)).digest() * 8 for part in range(20)]

    def stream(request: Request) -> Answer:
        listed = body(int(request.query["n"]))

        def parts() -> Iterator[bytes]:
            yield listed[0]
            gate.wait()
            yield from listed[1:]

        return Answer(body=parts, framing="chunked")

    async def one(host: str, port: int, number: int) -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(head(f"GET /?n={number} HTTP/1.1", "Host: x", "Connection: close"))
        raw = await reader.read()
        writer.close()
        payload = raw.partition(b"\r\n\r\n")[2]
        found = b""
        while payload:
            size, _, payload = payload.partition(b"\r\n")
            found += payload[: int(size, 16)]
            payload = payload[int(size, 16) + 2 :]
        return found

    async def everything(host: str, port: int) -> list[bytes]:
        return await asyncio.gather(*(one(host, port, number) for number in range(count)))

    with Server(stream) as server:
        found = asyncio.run(everything(*server.address))
    assert found == [b"".join(body(number)) for number in range(count)]
    assert not server.troubles
