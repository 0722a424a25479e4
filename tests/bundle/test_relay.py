"""The relay hands every byte on as it came, at once, and records what passed."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
from collections.abc import Coroutine
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.bounds import Bounds
from bundle.relay import HELD, Refused, below_base
from bundle.transport import Credential
from fixtures.simulator.tls import authority
from tests.bundle.relay_case import Bench, Service, Turn, bench, chat
from verify.engine.errors import UsageError

KEY = "sk-test-0123456789abcdef"
FAST = Bounds(connect_s=2.0, idle_s=30.0, total_s=60.0, body=64 << 20)


def run(main: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await main

    asyncio.run(limited())


def chunked(*parts: bytes, head: bytes = b"", end: bytes = b"0\r\n\r\n") -> bytes:
    lines = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
    start = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    return start + head + b"Transfer-Encoding: chunked\r\n\r\n" + lines + end


def sized(body: bytes, *, head: bytes = b"") -> bytes:
    start = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    return start + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def exchanged(to: Bench, request: bytes) -> bytes:
    client = await to.client()
    await client.ask(request)
    return await client.rest()


EVENTS = (
    ": a comment\r\n\r\n",
    'data: {"id":"chat-1","t":"grün 🙂"}\n\n',
    "data: two\n\n\n",
    "data: [DONE]\n\n",
)
BODY = "".join(EVENTS).encode()

closing = b"Connection: close\r\n"


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_cut_of_the_stream_arrives_unaltered_and_is_recorded(data) -> None:
    events = data.draw(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6))
    wire = chunked(*events, head=closing)
    places = data.draw(st.lists(st.integers(0, len(wire)), max_size=12))
    cuts = [0, *sorted(places), len(wire)]
    pieces = [wire[a:b] for a, b in itertools.pairwise(cuts) if a < b]

    async def script(turn: Turn) -> None:
        for piece in pieces:
            await turn.send(piece)
            await asyncio.sleep(0)

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            assert await exchanged(to, chat()) == wire
            recorded = to.tickets[0].recorded
            assert recorded is not None
            assert recorded.response_body == b"".join(events)
            assert b"".join(to.tickets[0].parts) == b"".join(events)
            assert recorded.complete
            assert recorded.failure is None

    run(main())


def test_one_byte_at_a_time_arrives_unaltered() -> None:
    wire = chunked(*(event.encode() for event in EVENTS), head=closing)

    async def script(turn: Turn) -> None:
        for place in range(len(wire)):
            await turn.send(wire[place : place + 1])
            await asyncio.sleep(0)

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            assert await exchanged(to, chat()) == wire
            recorded = to.tickets[0].recorded
            assert recorded.response_body == BODY
            assert recorded.done_at is not None

    run(main())


def test_an_event_reaches_the_client_before_the_next_is_made() -> None:
    async def main() -> None:
        seen = [asyncio.Event() for _ in EVENTS]

        async def script(turn: Turn) -> None:
            await turn.send(chunked(head=closing, end=b""))
            for event, had in zip(EVENTS, seen, strict=True):
                part = event.encode()
                await turn.send(b"%x\r\n%b\r\n" % (len(part), part))
                await had.wait()  # never set unless the client saw it
            await turn.send(b"0\r\n\r\n")

        async with Service(script) as service, bench(service.base) as to:
            client = await to.client()
            await client.ask(chat())
            await client.reader.readuntil(b"\r\n\r\n")
            for event, had in zip(EVENTS, seen, strict=True):
                part = event.encode()
                line = b"%x\r\n%b\r\n" % (len(part), part)
                assert await client.reader.readexactly(len(line)) == line
                had.set()
            assert await client.rest() == b"0\r\n\r\n"

    run(main())


def test_two_hundred_streams_at_once_differ_in_no_byte() -> None:
    def wire_of(number: int) -> bytes:
        events = [b"data: %d-%d %s\n\n" % (number, at, b"x" * (number % 7)) for at in range(12)]
        return chunked(*events, b"data: [DONE]\n\n")

    async def script(turn: Turn) -> None:
        wire = wire_of(int(turn.body))
        step = 7 + int(turn.body) % 90
        for place in range(0, len(wire), step):
            await turn.send(wire[place : place + step])
            await asyncio.sleep(0)

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:

            async def one(number: int) -> None:
                client = await to.client()
                wire = wire_of(number)
                await client.ask(chat(b"%d" % number, close=False))
                assert await client.reader.readexactly(len(wire)) == wire
                client.close()

            await asyncio.gather(*(one(number) for number in range(200)))
            assert len(to.tickets) == 200
            for ticket in to.tickets:
                await ticket.over.wait()
                wire = wire_of(int(ticket.asked.body))
                recorded = ticket.recorded
                assert recorded.complete
                assert recorded.request_body == ticket.asked.body
                body = recorded.response_body
                assert body.endswith(b"data: [DONE]\n\n")
                assert chunked(*(part + b"\n\n" for part in body.split(b"\n\n")[:-1])) == wire

    run(main())


def test_request_goes_out_with_only_the_stated_changes() -> None:
    body = b'{"model": "m",\n "x": "\\u00fc"}'
    request = (
        b"POST /v1/chat/completions?a=1 HTTP/1.1\r\nhost: localhost:1234\r\nX-First: 1\r\n"
        b"authorization: Bearer dummy\r\nAccept-Encoding: gzip, br\r\nConnection: close, x-gone\r\n"
        b"X-Gone: 1\r\nTE: trailers\r\nUser-Agent: t\r\nContent-Length: %d\r\nX-Last: 2\r\n\r\n%b"
    ) % (len(body), body)

    async def script(turn: Turn) -> None:
        await turn.send(sized(b"{}"))

    async def main() -> None:
        credential = Credential("Authorization", f"Bearer {KEY}")
        async with (
            Service(script) as service,
            bench(service.base, credential=credential, extra=(("X-Need", "1"),)) as to,
        ):
            await exchanged(to, request)
            (turn,) = service.turns
            authority = service.base.split("/")[2]
            assert turn.head.decode().split("\r\n") == [
                "POST /api/v1/chat/completions?a=1 HTTP/1.1",
                f"host: {authority}",
                "X-First: 1",
                f"Authorization: Bearer {KEY}",
                "Accept-Encoding: identity",
                "User-Agent: t",
                f"Content-Length: {len(body)}",
                "X-Last: 2",
                "X-Need: 1",
                "",
                "",
            ]
            assert turn.body == body
            recorded = to.tickets[0].recorded
            assert recorded.request_body == body
            assert recorded.url == service.base + "/chat/completions?a=1"
            assert ("Authorization", None) in recorded.request_headers
            assert [name for name, _ in recorded.request_headers] == [
                "host", "X-First", "Authorization", "Accept-Encoding", "User-Agent",
                "Content-Length", "X-Last", "X-Need",
            ]  # fmt: skip

    run(main())


def test_chunked_request_body_keeps_its_bytes() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(sized(b"{}"))

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            await exchanged(
                to,
                b"POST /chat/completions HTTP/1.1\r\nHost: [::1]:1\r\nConnection: close\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n3\r\n{\r\n\r\n4\r\n 1 }\r\n0\r\n\r\n",
            )
            assert service.turns[0].body == b"{\r\n 1 }"
            assert service.turns[0].header("transfer-encoding") == []
            assert service.turns[0].head.startswith(b"POST /api/v1/chat/completions ")

    run(main())


def test_client_key_never_goes_out_where_none_is_configured() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(sized(b"{}"))

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            await exchanged(to, chat(extra=b"Authorization: Bearer mine-mine-mine\r\n"))
            assert b"mine" not in service.turns[0].head
            assert "mine-mine" not in repr(to.tickets[0].recorded)

    run(main())


def test_response_headers_are_kept_in_order_and_case() -> None:
    head = b"X-b: 2\r\nX-A: 1\r\nset-cookie: secret=1\r\nX-b: 3\r\n"

    async def script(turn: Turn) -> None:
        await turn.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + sized(b"[1]", head=head))

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            got = await exchanged(to, chat())
            assert got.endswith(sized(b"[1]", head=head))
            assert to.tickets[0].recorded.response_headers == (
                ("Content-Type", "application/json"),
                ("X-b", "2"),
                ("X-A", "1"),
                ("set-cookie", None),
                ("X-b", "3"),
                ("Content-Length", "3"),
            )
            assert to.tickets[0].recorded.status == 200
            assert to.tickets[0].heads[0].status == 200

    run(main())


def test_trailers_pass_and_are_no_header() -> None:
    wire = chunked(b"abc", head=closing, end=b"0\r\nX-Trailer: 1\r\n\r\n")

    async def script(turn: Turn) -> None:
        await turn.send(wire)

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            assert await exchanged(to, chat()) == wire
            names = [name for name, _ in to.tickets[0].recorded.response_headers]
            assert "X-Trailer" not in names
            assert to.tickets[0].recorded.complete

    run(main())


def test_connections_are_used_again_on_both_sides() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(sized(b"{}"))

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            client = await to.client()
            for _ in range(3):
                await client.ask(chat(close=False))
                wire = sized(b"{}")
                assert await client.reader.readexactly(len(wire)) == wire
            assert service.connections == 1
            labels = {ticket.recorded.connection for ticket in to.tickets}
            assert labels == {"relay-1"}
            client.close()

    run(main())


def test_pipelined_requests_are_answered_in_order() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(sized(turn.body))

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            bodies = [b"%d" % number for number in range(30)]
            request = b"".join(chat(body, close=False) for body in bodies[:-1]) + chat(bodies[-1])
            assert await exchanged(to, request) == b"".join(sized(body) for body in bodies)

    run(main())


def test_bytes_beyond_the_answer_close_the_connections() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(sized(b"{}") + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            got = await exchanged(to, chat(close=False))  # ends because the relay closes
            assert got.startswith(sized(b"{}"))
            assert to.tickets[0].recorded.response_body == b"{}"
            await exchanged(to, chat())
            assert service.connections == 2

    run(main())


def test_answer_that_ends_with_the_connection_is_complete() -> None:
    wire = b"HTTP/1.1 200 OK\r\n\r\nabc"

    async def script(turn: Turn) -> None:
        await turn.send(wire)
        turn.writer.close()

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            assert await exchanged(to, chat(close=False)) == wire
            assert to.tickets[0].recorded.response_body == b"abc"
            assert to.tickets[0].recorded.complete

    run(main())


@pytest.mark.parametrize("cut", [b"5\r\nab", b"", b"2\r\nab\r\n"])
def test_answer_cut_short_is_cut_short_for_the_client_and_recorded_so(cut: bytes) -> None:
    async def script(turn: Turn) -> None:
        await turn.send(chunked(end=cut))
        turn.writer.close()

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            assert await exchanged(to, chat(close=False)) == chunked(end=cut)
            recorded = to.tickets[0].recorded
            assert not recorded.complete
            assert recorded.failure.trouble == "cut"
            assert recorded.response_body == (b"ab" if cut else None)

    run(main())


def answered(got: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_service_that_closes_before_an_answer_gives_a_clear_error() -> None:
    async def script(turn: Turn) -> None:
        turn.writer.close()

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            status, document = answered(await exchanged(to, chat()))
            assert status == 502
            assert document["error"]["code"] == "cut"
            assert document["error"]["type"] == "proxy_error"
            assert to.tickets[0].recorded.status is None
            assert to.tickets[0].recorded.failure.trouble == "cut"

    run(main())


def test_service_out_of_reach_gives_a_clear_error_and_nothing_was_sent() -> None:
    async def main() -> None:
        async with Service(lambda _turn: asyncio.sleep(0)) as service:
            base = service.base
        async with bench(base) as to:
            status, document = answered(await exchanged(to, chat()))
            assert (status, document["error"]["code"]) == (502, "unreachable")
            assert to.tickets[0].recorded is None
            assert to.tickets[0].why.trouble == "unreachable"

    run(main())


def test_answer_that_is_no_http_gives_a_clear_error() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(b"SSH-2.0-x\r\n\r\n")

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            status, document = answered(await exchanged(to, chat()))
            assert (status, document["error"]["code"]) == (502, "not-http")

    run(main())


def test_endless_headers_are_refused() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(b"HTTP/1.1 200 OK\r\n" + b"X: %b\r\n" % (b"y" * 1000) * 300)
        await turn.reader.read()

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            status, document = answered(await exchanged(to, chat()))
            assert (status, document["error"]["code"]) == (502, "headers-too-large")

    run(main())


@pytest.mark.parametrize(
    ("first", "status", "trouble"),
    [(b"", 504, "timeout"), (chunked(b"ab", end=b""), None, "idle")],
)
def test_silence_ends_an_exchange(first: bytes, status: int | None, trouble: str) -> None:
    bounds = Bounds(connect_s=2.0, idle_s=0.1, total_s=60.0, body=1 << 20)

    async def script(turn: Turn) -> None:
        await turn.send(first)
        await turn.reader.read()

    async def main() -> None:
        async with Service(script) as service, bench(service.base, bounds=bounds) as to:
            got = await exchanged(to, chat())
            if status is None:
                assert got == first
            else:
                assert answered(got)[0] == status
            assert to.tickets[0].recorded.failure.trouble == trouble

    run(main())


def test_client_that_leaves_cancels_the_service_and_is_recorded_incomplete() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(turn: Turn) -> None:
            await turn.send(chunked(b"data: 1\n\n", end=b""))
            assert await turn.reader.read() == b""
            gone.set()

        async with Service(script) as service, bench(service.base) as to:
            client = await to.client()
            await client.ask(chat())
            await client.reader.readuntil(b"data: 1\n\n")
            client.close()
            await gone.wait()
            ticket = to.tickets[0]
            await ticket.over.wait()
            assert not ticket.recorded.complete
            assert ticket.recorded.response_body == b"data: 1\n\n"
            assert "client left" in ticket.recorded.failure.what

    run(main())


def test_slow_client_slows_the_service() -> None:
    part = bytes(64 << 10)
    total = 64 << 20

    async def main() -> None:
        sent = 0

        async def script(turn: Turn) -> None:
            nonlocal sent
            await turn.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
            while sent < total:
                turn.writer.write(part)
                await turn.writer.drain()
                sent += len(part)

        async with Service(script) as service, bench(service.base) as to:
            client = await to.client()
            await client.ask(chat())
            await client.reader.readuntil(b"\r\n\r\n")
            before = -1
            while before != sent:  # until the service can send no more
                before = sent
                for _ in range(200):
                    await asyncio.sleep(0)
                await asyncio.sleep(0.05)
            # what the sockets and three bounded buffers hold, not the answer
            assert sent < total // 2
            got = 0
            while data := await client.reader.read(1 << 20):
                got += len(data)
            assert got == total
            ticket = to.tickets[0]
            await ticket.over.wait()
            assert ticket.recorded.complete
            assert ticket.recorded.response_body is None  # longer than HELD
            assert sum(map(len, ticket.parts)) == total > HELD

    run(main())


def test_answer_over_the_limit_reaches_the_client_whole_and_the_record_in_part() -> None:
    body = bytes(range(256)) * 1024
    bounds = Bounds(connect_s=2.0, idle_s=9.0, total_s=60.0, body=100_000)

    async def script(turn: Turn) -> None:
        await turn.send(sized(body))

    async def main() -> None:
        async with Service(script) as service, bench(service.base, bounds=bounds) as to:
            got = await exchanged(to, chat())
            assert sha256(got).digest() == sha256(sized(body)).digest()
            recorded = to.tickets[0].recorded
            assert recorded.response_body == body[:100_000]
            assert not recorded.complete
            assert recorded.failure.trouble == "too-large"

    run(main())


def test_credential_in_an_answer_reaches_the_client_and_no_record() -> None:
    body = f'{{"echo":"Bearer {KEY}","more":1}}'.encode()
    wire = sized(body, head=f"X-Echo: {KEY}\r\n".encode())

    async def script(turn: Turn) -> None:
        for place in range(0, len(wire), 9):
            await turn.send(wire[place : place + 9])
            await asyncio.sleep(0)

    async def main() -> None:
        credential = Credential("Authorization", f"Bearer {KEY}")
        async with Service(script) as service, bench(service.base, credential=credential) as to:
            assert await exchanged(to, chat()) == wire
            ticket = to.tickets[0]
            assert ticket.recorded.failure.trouble == "secret-in-body"
            assert ticket.recorded.response_body == b'{"echo":"Bearer '
            assert KEY not in repr(ticket.recorded) + repr(ticket.parts) + repr(ticket.heads)

    run(main())


def test_credential_in_a_request_is_not_sent() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(sized(b"{}"))

    async def main() -> None:
        credential = Credential("Authorization", f"Bearer {KEY}")
        async with Service(script) as service, bench(service.base, credential=credential) as to:
            status, document = answered(await exchanged(to, chat(KEY.encode())))
            assert (status, document["error"]["code"]) == (400, "credential_in_request")
            assert KEY not in json.dumps(document)
            assert service.turns == []
            assert to.tickets == []

    run(main())


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"NONSENSE\r\n\r\n", 400, "bad_request"),
        (b"GET /v1/models HTTP/1.0\r\nHost: localhost\r\n\r\n", 505, "http_version"),
        (b"GET http://other/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "method_not_allowed"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "method_not_allowed"),
        (b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "host_not_allowed"),
        (b"GET /v1/models HTTP/1.1\r\n\r\n", 403, "host_not_allowed"),
        (
            (
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Origin: https://evil.example\r\nContent-Length: 0\r\n\r\n"
            ),
            403,
            "origin_not_allowed",
        ),
        (
            (
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n"
                b"Content-Length: 0\r\n\r\n"
            ),
            403,
            "origin_not_allowed",
        ),
        (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n",
            413,
            "request_too_large",
        ),
        (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n2000\r\n" + bytes(0x2000),
            413,
            "request_too_large",
        ),
        (
            b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 70_000,
            431,
            "headers_too_large",
        ),
        (
            (
                b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
            "bad_request",
        ),
    ],
)
def test_bad_request_is_refused_with_a_clear_error(
    request_bytes: bytes, status: int, code: str
) -> None:
    async def main() -> None:
        async with Service(lambda _turn: asyncio.sleep(0)) as service:
            async with bench(service.base, request_body=4096) as to:
                got, document = answered(await exchanged(to, request_bytes))
                assert (got, document["error"]["code"]) == (status, code)
                assert service.turns == []

    run(main())


def test_strange_host_passes_where_it_is_named_or_all_are() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(sized(b"{}"))

    request = b"GET /v1/models HTTP/1.1\r\nHost: gate.example:1\r\nConnection: close\r\n\r\n"

    async def main() -> None:
        async with Service(script) as service:
            for hosts in (None, frozenset({"gate.example"})):
                async with bench(service.base, hosts=hosts) as to:
                    assert await exchanged(to, request) == sized(b"{}")
                    assert to.tickets == []

    run(main())


def test_head_answer_has_no_body() -> None:
    wire = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"

    async def script(turn: Turn) -> None:
        await turn.send(wire)

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            assert (
                await exchanged(to, b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n") == wire
            )

    run(main())


def test_waiting_body_is_invited() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(sized(b"{}"))

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            client = await to.client()
            request = chat(b"{}", extra=b"Expect: 100-continue\r\n")
            await client.ask(request[:-2])
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.ask(request[-2:])
            assert await client.rest() == sized(b"{}")
            assert service.turns[0].header("expect") == []

    run(main())


def test_upgrade_is_not_taken_up() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(sized(b"{}", head=closing))

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            extra = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
            assert await exchanged(to, chat(close=False, extra=extra)) == sized(b"{}", head=closing)
            assert service.turns[0].header("upgrade") == []

    run(main())


def test_tls_connection_is_verified_and_recorded(tmp_path) -> None:
    ca = authority("relay")
    identity = ca.identity("service")
    (tmp_path / "ca.pem").write_bytes(ca.pem)

    async def script(turn: Turn) -> None:
        await turn.send(sized(b"{}"))

    async def main() -> None:
        async with Service(script, identity.context()) as service:
            async with bench(service.base, ca_file=tmp_path / "ca.pem") as to:
                assert await exchanged(to, chat()) == sized(b"{}")
                tls = to.tickets[0].recorded.tls
                assert tls.webpki
                assert tls.version == "TLSv1.3"
                assert tls.alpn == "http/1.1"
                assert tls.chain[0] == identity.leaf
                assert sha256(tls.spki).digest() == identity.spki
            async with bench(service.base) as to:
                status, document = answered(await exchanged(to, chat()))
                assert (status, document["error"]["code"]) == (502, "tls")
                assert to.tickets[0].why.trouble == "tls"
            async with bench(service.base, unverified=frozenset({"localhost"})) as to:
                assert await exchanged(to, chat()) == sized(b"{}")
                assert not to.tickets[0].recorded.tls.webpki

    run(main())


def test_tunnel_through_a_proxy(tmp_path) -> None:
    ca = authority("relay")
    (tmp_path / "ca.pem").write_bytes(ca.pem)

    async def script(turn: Turn) -> None:
        await turn.send(sized(b"{}"))

    async def main() -> None:
        asked: list[bytes] = []

        async def proxy(turn: Turn) -> None:
            asked.append(turn.head)
            port = int(turn.head.split()[1].rpartition(b":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await turn.send(b"HTTP/1.1 200 OK\r\n\r\n")

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
                sink.close()

            try:
                await asyncio.gather(pump(turn.reader, writer), pump(reader, turn.writer))
            finally:
                writer.transport.abort()

        context: ssl.SSLContext = ca.identity("service").context()
        async with Service(script, context) as service, Service(proxy) as between:
            place = between.base.split("/")[2]
            async with bench(
                service.base, ca_file=tmp_path / "ca.pem", proxy=f"http://me:pw@{place}"
            ) as to:
                assert await exchanged(to, chat()) == sized(b"{}")
                assert b"Proxy-Authorization: Basic bWU6cHc=" in asked[0]
                assert to.tickets[0].recorded.tls.webpki

    run(main())


def test_stop_lets_an_answer_end_and_takes_no_more() -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def script(turn: Turn) -> None:
            await turn.send(chunked(b"data: 1\n\n", end=b""))
            await go.wait()
            await turn.send(b"0\r\n\r\n")

        async with Service(script) as service, bench(service.base) as to:
            client, idle = await to.client(), await to.client()
            await client.ask(chat(close=False))
            await client.reader.readuntil(b"data: 1\n\n")
            stopping = asyncio.ensure_future(to.relay.stop())
            assert await idle.rest() == b""
            with pytest.raises(OSError):
                await to.client()
            assert not stopping.done()
            go.set()
            assert (await client.rest()).endswith(b"0\r\n\r\n")
            await stopping
            assert to.tickets[0].recorded.complete

    run(main())


def test_break_off_records_what_came_as_interrupted() -> None:
    async def main() -> None:
        async def script(turn: Turn) -> None:
            await turn.send(chunked(b"data: 1\n\n", end=b""))
            await turn.reader.read()

        async with Service(script) as service, bench(service.base) as to:
            client = await to.client()
            await client.ask(chat())
            await client.reader.readuntil(b"data: 1\n\n")
            await to.relay.break_off()
            recorded = to.tickets[0].recorded
            assert recorded.failure.trouble == "interrupted"
            assert recorded.response_body == b"data: 1\n\n"

    run(main())


def test_plain_http_to_another_machine_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="only https"):
            async with bench("http://service.example/v1"):
                pass

    run(main())


@pytest.mark.parametrize(
    ("target", "below"),
    [
        ("/v1/chat/completions", "/chat/completions"),
        ("/chat/completions?x=1", "/chat/completions?x=1"),
        ("/v1", ""),
        ("/v1?x", "?x"),
        ("/v10/x", "/v10/x"),
    ],
)
def test_leading_version_stands_for_the_base(target: str, below: str) -> None:
    assert below_base(target) == below


def test_refusal_says_when_to_come_back() -> None:
    refused = Refused(503, "x", "why", retry_after=5)
    assert (refused.status, str(refused), refused.retry_after) == (503, "why", 5)
