"""What a hostile or broken client tries: the relay keeps its framing, its bounds and its secrets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable

import pytest

from bundle.transport import Credential
from fixtures.simulator.tls import authority
from tests.bundle.relay_case import Bench, Client, Service, Turn, bench, chat
from tests.bundle.test_relay import answered, exchanged, run, sized

ANSWER = sized(b"{}")
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
STATUS = b"GET /.own HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def answer(turn: Turn) -> None:
    await turn.send(ANSWER)


async def until(what: Callable[[], object]) -> None:
    while not what():  # noqa: ASYNC110  (what is waited for sets no event)
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
        (POST + b"Content-Length: 2, 2\r\n\r\n{}", 400),
        (POST + b"Content-Length: +2\r\n\r\n{}", 400),
        (POST + b"Content-Length : 2\r\n\r\n{}", 400),
        (POST + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", 400),
        (POST + b"X: a\rY: b\r\nContent-Length: 2\r\n\r\n{}", 400),
        (POST.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}", 400),
        (POST + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 501),
        (b"GET /v1/../admin HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v1/%2e%2E/admin HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v1/..%2fadmin HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v1/..\\admin HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n", 403),
        (b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nOrigin: http://[\r\n\r\n", 403),
        (b"GET /v1/x HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n", 403),
        (b"GET /v1/x HTTP/1.1\r\nHost: [\r\n\r\n", 403),
    ],
)
def test_doubtful_request_is_refused_and_never_sent(request_bytes: bytes, status: int) -> None:
    async def main() -> None:
        async with Service(answer) as service, bench(service.base) as to:
            client = await to.client()
            await client.ask(request_bytes)
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert int(head.split()[1]) == status
            assert service.turns == []

    run(main())


def test_page_of_this_machine_is_let_in() -> None:
    async def main() -> None:
        async with Service(answer) as service, bench(service.base) as to:
            extra = b"Origin: http://localhost:3000\r\nSec-Fetch-Site: same-site\r\n"
            assert await exchanged(to, chat(extra=extra)) == ANSWER

    run(main())


def test_trailer_of_a_request_is_no_header() -> None:
    async def main() -> None:
        async with Service(answer) as service, bench(service.base) as to:
            head = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            wire = head + b"2;a=b\r\n{}\r\n0\r\nX-Admin: 1\r\nHost: evil.example\r\n\r\n"
            assert await exchanged(to, wire) == ANSWER
            assert service.turns[0].header("x-admin") == []
            assert service.turns[0].body == b"{}"

    run(main())


@pytest.mark.parametrize("endless", [b"0\r\nX: ", b"0\r\n" + b"A: b\r\n" * 20_000, b"2;x="])
def test_endless_trailers_and_extensions_are_refused(endless: bytes) -> None:
    async def main() -> None:
        async with Service(answer) as service, bench(service.base) as to:
            client = await to.client()
            await client.ask(POST + b"Transfer-Encoding: chunked\r\n\r\n" + endless)
            for _ in range(12):
                await client.ask(b"y" * 10_000)
                await asyncio.sleep(0)
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert int(head.split()[1]) in {400, 431}
            assert service.turns == []

    run(main())


def test_body_of_a_request_that_asks_to_upgrade_is_sent_and_starts_no_request() -> None:
    """A common Java client asks so with each first request."""

    async def main() -> None:
        async with Service(answer) as service, bench(service.base) as to:
            body = b"GET /v1/admin HTTP/1.1\r\nHost: localhost\r\n\r\n"
            extra = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
            client = await to.client()
            await client.ask(chat(body, close=False, extra=extra) + chat(b"{}"))
            assert await client.rest() == ANSWER * 2
            assert [turn.body for turn in service.turns] == [body, b"{}"]
            assert [turn.header("upgrade") for turn in service.turns] == [[], []]

    run(main())


def test_refusal_reaches_a_client_that_is_still_sending() -> None:
    async def main() -> None:
        async with Service(answer) as service, bench(service.base, request_body=1 << 20) as to:
            client = await to.client()
            await client.ask(chat(bytes(3 << 20)))
            status, document = answered(await client.rest())
            assert (status, document["error"]["code"]) == (413, "request_too_large")
            assert service.turns == []
            client.close()
            await until(lambda: not to.relay.clients)

    run(main())


def test_refused_client_that_never_stops_sending_is_cut_off() -> None:
    async def main() -> None:
        async with Service(answer) as service, bench(service.base, request_body=1 << 16) as to:
            client = await to.client()
            with pytest.raises(OSError):
                while True:
                    await client.ask(bytes(1 << 16))
            await until(lambda: not to.relay.clients)

    run(main())


def test_body_is_invited_after_the_answers_before_it() -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def script(turn: Turn) -> None:
            await go.wait()
            await turn.send(ANSWER)

        async with Service(script) as service, bench(service.base) as to:
            client = await to.client()
            later = chat(b"{}", extra=b"Expect: 100-continue\r\n")
            await client.ask(chat(b"{}", close=False) + later[:-2])
            await until(lambda: service.turns)
            go.set()
            assert await client.reader.readexactly(len(ANSWER)) == ANSWER
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.ask(later[-2:])
            assert await client.rest() == ANSWER

    run(main())


def test_secrets_of_a_client_that_are_for_nobody_stay_here() -> None:
    async def main() -> None:
        credential = Credential("Authorization", "Bearer ours")
        async with Service(answer) as service, bench(service.base, credential=credential) as to:
            extra = b"Cookie: session=1\r\nX-Api-Key: theirs\r\nApi-Key: theirs\r\nX-Kept: 1\r\n"
            assert await exchanged(to, chat(extra=extra)) == ANSWER
            (turn,) = service.turns
            assert turn.header("authorization") == ["Bearer ours"]
            assert turn.header("x-kept") == ["1"]
            assert b"theirs" not in turn.head
            assert b"session" not in turn.head

    run(main())


def test_client_that_pipelines_and_reads_nothing_fills_no_memory() -> None:
    async def main() -> None:
        async with Service(answer) as service, bench(service.base) as to:
            told = json.dumps({"filler": "x" * 20_000}).encode()
            to.relay.own = lambda asked: told if asked.path == "/.own" else None
            client = await to.client()
            (mine,) = to.relay.clients
            assert mine.transport is not None
            writer = asyncio.ensure_future(client.ask(STATUS * 50_000))
            most = 0
            for _ in range(200):
                await asyncio.sleep(0)
                most = max(most, mine.transport.get_write_buffer_size())
            await until(lambda: mine.full)
            for _ in range(200):
                await asyncio.sleep(0)
                most = max(most, mine.transport.get_write_buffer_size())
            assert most < 200_000
            writer.cancel()

    run(main())


@pytest.mark.parametrize("first", [b"", b"POST /v1/x HT", POST + b"Content-Length: 9\r\n\r\n{"])
def test_client_that_says_nothing_more_is_let_go(first: bytes) -> None:
    async def main() -> None:
        async with Service(answer) as service:
            async with bench(service.base, client_idle_s=0.05, request_s=0.05) as to:
                client = await to.client()
                await client.ask(first)
                assert await client.rest() == b""
                await until(lambda: not to.relay.clients)

    run(main())


@pytest.mark.parametrize(
    "begun", [b"GET /v1/x HTTP/1.1\r\nX: ", POST + b"Content-Length: 9999\r\n\r\n"]
)
def test_client_that_drips_is_let_go(begun: bytes) -> None:
    async def main() -> None:
        async with Service(answer) as service:
            async with bench(service.base, client_idle_s=0.3, request_s=0.3) as to:
                client = await to.client()
                await client.ask(begun)
                with pytest.raises(OSError):
                    while True:
                        await client.ask(b"y")
                        await asyncio.sleep(0.02)
                assert service.turns == []

    run(main())


def test_client_that_never_takes_its_answer_does_not_hold_up_the_end() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(sized(bytes(32 << 20)))

    async def main() -> None:
        async with Service(script) as service, bench(service.base, client_idle_s=0.2) as to:
            client = await narrow(to)
            await client.ask(chat())
            await until(lambda: to.tickets)
            await to.relay.stop()
            recorded = to.tickets[0].recorded
            assert recorded is not None
            assert not recorded.complete

    run(main())


async def narrow(to: Bench) -> Client:
    """Connect with a small receive buffer, so that little is under way."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", to.port))
    client = Client(*await asyncio.open_connection(sock=made, limit=1024))
    to.clients.append(client)
    return client


def test_more_clients_than_wished_are_sent_away() -> None:
    async def main() -> None:
        async with Service(answer) as service, bench(service.base, most_clients=2) as to:
            kept = [await to.client() for _ in range(2)]
            await until(lambda: len(to.relay.clients) == 2)
            third = await to.client()
            status, document = answered(await third.rest())
            assert (status, document["error"]["code"]) == (503, "too_many_connections")
            await kept[0].ask(chat())
            assert await kept[0].rest() == ANSWER

    run(main())


def test_large_pipelined_bodies_are_not_read_ahead() -> None:
    async def main() -> None:
        go = asyncio.Event()

        async def script(turn: Turn) -> None:
            await go.wait()
            await turn.send(ANSWER)

        async with Service(script) as service, bench(service.base) as to:
            client = await to.client()
            one = chat(bytes(2 << 20), close=False)
            asking = asyncio.ensure_future(client.ask(one * 7 + chat()))
            await until(lambda: service.turns)
            (mine,) = to.relay.clients
            for _ in range(20):
                await asyncio.sleep(0.01)
            assert len(mine._waiting) <= 2
            go.set()
            assert await client.rest() == ANSWER * 8
            await asking

    run(main())


def test_service_that_speaks_unasked_is_asked_no_more_on_that_connection() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(ANSWER)
        await asyncio.sleep(0.05)
        await turn.send(sized(b'{"forged": 1}'))

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            assert await exchanged(to, chat()) == ANSWER
            await until(lambda: service.closed == 1)
            assert await exchanged(to, chat()) == ANSWER
            assert service.connections == 2

    run(main())


def test_service_without_trusted_tls_gets_no_request(tmp_path) -> None:
    identity = authority("strange").identity("service")
    (tmp_path / "ca.pem").write_bytes(authority("other").pem)

    async def main() -> None:
        async with Service(answer, identity.context()) as service:
            async with bench(service.base, ca_file=tmp_path / "ca.pem") as to:
                status, document = answered(await exchanged(to, chat()))
                assert (status, document["error"]["code"]) == (502, "tls")
                assert to.tickets[0].why is not None
                assert to.tickets[0].why.trouble == "tls"
                assert service.turns == []

    run(main())


def test_trouble_that_nobody_foresaw_is_an_answer_without_its_words() -> None:
    async def main() -> None:
        async with Service(answer) as service, bench(service.base) as to:

            async def broken(_asked: object) -> None:
                message = "sk-secret"
                raise ValueError(message)

            to.relay._admit = broken
            got = await exchanged(to, chat())
            status, document = answered(got)
            assert (status, document["error"]["code"]) == (500, "internal")
            assert b"sk-secret" not in got

    run(main())


def test_service_that_does_not_connect_in_time_gives_a_clear_error(monkeypatch) -> None:
    async def main() -> None:
        async with Service(answer) as service, bench(service.base) as to:

            async def never(*_: object, **__: object) -> None:
                raise TimeoutError

            client = await to.client()
            monkeypatch.setattr(to.relay.loop, "create_connection", never)
            await client.ask(chat())
            status, document = answered(await client.rest())
            assert (status, document["error"]["code"]) == (504, "timeout")

    run(main())
