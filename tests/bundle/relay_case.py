"""A service of scripted bytes, a raw client and a recording ticket for the tests of the relay."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from bundle.peer import Trust
from bundle.recording import Failure, RecordedExchange
from bundle.relay import Asked, Relay, Ticket, Upstream

Script = Callable[["Turn"], Awaitable[None]]


@dataclass
class Turn:
    """One request at the service: its raw head, its body, and the way back."""

    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    connection: int

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def header(self, name: str) -> list[str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.partition(": ") for line in lines if line)
        return [value for found, _, value in pairs if found.lower() == name.lower()]


class Service:
    """Listens on loopback; every request is answered by the script."""

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.context = context
        self.turns: list[Turn] = []
        self.connections = 0
        self.closed = 0
        self.base = ""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._met, "127.0.0.1", 0, ssl=self.context)
        port = self._server.sockets[0].getsockname()[1]
        scheme, host = ("http", "127.0.0.1") if self.context is None else ("https", "localhost")
        self.base = f"{scheme}://{host}:{port}/api/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = self.connections
        self.connections += 1
        try:
            while True:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
                    return
                turn = Turn(head, b"", reader, writer, number)
                length = turn.header("content-length")
                if length:
                    turn.body = await reader.readexactly(int(length[0]))
                self.turns.append(turn)
                await self.script(turn)
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            return
        finally:
            self.closed += 1
            self._tasks.discard(task)
            with contextlib.suppress(Exception):
                writer.transport.abort()


@dataclass
class Noted:
    """A ticket that keeps what it hears."""

    asked: Asked
    purpose: str = "chat"
    session: str = "s1"
    extra: tuple[tuple[str, str], ...] = ()
    url: str | None = None
    heads: list[RecordedExchange] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    recorded: RecordedExchange | None = None
    why: Failure | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    some: asyncio.Event = field(default_factory=asyncio.Event)

    def began(self, head: RecordedExchange) -> None:
        self.heads.append(head)

    def heard(self, part: bytes) -> None:
        self.parts.append(part)
        self.some.set()

    def finished(self, recorded: RecordedExchange) -> None:
        assert self.recorded is None
        self.recorded = recorded
        self.over.set()

    def abandoned(self, why: Failure) -> None:
        assert self.why is None
        self.why = why
        self.over.set()


@dataclass
class Bench:
    """A relay before a service, on a port of its own."""

    relay: Relay
    port: int
    tickets: list[Noted]
    clients: list[Client] = field(default_factory=list)

    async def client(self) -> Client:
        made = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(made)
        return made


@dataclass
class Client:
    """A raw client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self) -> bytes:
        return await self.reader.read()

    def close(self) -> None:
        self.writer.transport.abort()


def chat(body: bytes = b"{}", *, close: bool = True, extra: bytes = b"") -> bytes:
    """A chat request as bytes."""
    end = b"Connection: close\r\n" if close else b""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: application/json\r\n%b%bContent-Length: %d\r\n\r\n%b"
        % (extra, end, len(body), body)
    )


@contextlib.asynccontextmanager
async def bench(
    base: str,
    *,
    ca_file: Path | None = None,
    unverified: frozenset[str] = frozenset(),
    flush_s: float = 0.0,
    hosts: frozenset[str] | None = frozenset(),
    extra: tuple[tuple[str, str], ...] = (),
    most_clients: int = 4096,
    client_idle_s: float = 75.0,
    request_s: float = 300.0,
    **changes: object,
) -> AsyncIterator[Bench]:
    """Run a relay that records every POST to a path that ends in completions."""
    tickets: list[Noted] = []

    async def admit(asked: Asked) -> Ticket | None:
        if asked.method != "POST" or not asked.path.endswith("completions"):
            return None
        relay.demand_no_secret(asked)
        tickets.append(Noted(asked, extra=extra))
        return tickets[-1]

    upstream = replace(
        Upstream(base=base, trust=Trust(ca_file=ca_file, unverified_hosts=unverified)),
        **changes,  # type: ignore[arg-type]
    )
    relay = Relay(
        upstream,
        admit=admit,
        hosts=hosts,
        flush_s=flush_s,
        most_clients=most_clients,
        client_idle_s=client_idle_s,
        request_s=request_s,
    )
    port = await relay.listen("127.0.0.1", 0)
    made = Bench(relay, port, tickets)
    try:
        yield made
    finally:
        await relay.break_off()
        for client in made.clients:
            client.close()
        await asyncio.sleep(0)
