"""Hands HTTP/1.1 from clients to one service and back, byte for byte, and watches a copy.

The bytes of an answer go to the client as they stand on the wire, head and chunk framing included,
in the same turn of the loop in which they came; ``httptools`` reads a copy. Nothing of an answer is
changed, held back or joined. A slow client slows the reading from the service; no buffer grows
without bound.

What is changed in a request: ``Host``; the credential (always the configured one: a client's own
never leaves this machine, because look-ups must be made by whoever made the chat);
``Accept-Encoding: identity``; hop-by-hop headers; the body's framing, which becomes a
Content-Length; headers that the provider's protocol needs are added where the client has none. The
body goes out byte for byte as it came. A leading ``/v1`` of the path stands for the base address.

Who listens is told of each exchange through a `Ticket`. Secrets are replaced before it hears
anything: header values as in `bundle.recording`; a body that repeats a credential is cut before it
in the record, never on its way to the client.

Why ``httptools``: 0.2 microseconds for a chunk against 7 for ``h11``, measured side by side.

Source: issue of live capture, point 5; providers.md 2.1, 2.7, 2.8; RFC 9112; RFC 9110 7.6.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol, cast
from urllib.parse import unquote, urlsplit

import httptools

from bundle.bounds import Bounds
from bundle.calls import CHAT
from bundle.peer import Proxy, Trust, observed_tls
from bundle.recording import (
    SECRET_HEADERS,
    Failure,
    Header,
    RecordedExchange,
    RecordedTls,
    Trouble,
    Withholding,
    holds_secret,
    redacted_headers,
    redacted_url,
)
from bundle.transport import Clock, Credential, demand_secure, forms_of, utc_now

HELD: Final = 1 << 20
"""Bytes of a body that are held in memory; what is longer is only handed to the ticket."""
_BATCH: Final = 64 << 10
_CLIENT_BUFFER: Final = 64 << 10
_REQUEST_HEAD: Final = 64 << 10
_WAITING_REQUESTS: Final = 8
_WAITING_BYTES: Final = 1 << 20
_KEEP_S: Final = 4.0
"""Seconds an idle connection is used again: common servers close theirs after five."""
_CLIENT_IDLE_S: Final = 75.0
_REQUEST_S: Final = 300.0
"""Seconds that a request may take to come in."""
_LINGER_S: Final = 5.0
"""Seconds for which the rest of a refused request is read: a reset would take the answer away."""

_DONE: Final = re.compile(rb"(?:^|[\r\n])data: ?\[DONE\][ \t]*(?:[\r\n]|$)")
_UPGRADING: Final = frozenset({b"upgrade", b"http2-settings"})
_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
        "expect",
    }
)
"""Headers that concern one connection only; never handed on (RFC 9110 7.6.1)."""
_CREDENTIALS: Final = frozenset({"authorization", "x-api-key", "api-key"})
_CLIENTS_OWN: Final = SECRET_HEADERS - _CREDENTIALS
"""Secrets of a client that are meant for no provider: cookies of another port of this machine."""
_OWN: Final = frozenset({"host", "accept-encoding", "content-length", *_CREDENTIALS})
"""Headers whose fate a client's ``Connection`` header does not decide."""
_LEFT: Final = Failure(trouble="cut", what="the client left before the answer was complete")
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The service. ``base``: address that a client's ``/v1`` stands for, no slash at the end.

    ``trust``: which certificates are believed. ``credential``: what goes along with every request,
    None for nothing. ``secrets``: texts that no record may hold. ``proxy``:
    ``http://[user:password@]host:port`` to tunnel through (not for plain HTTP, which is spoken to
    this machine alone). ``bounds``: limits of one exchange. ``request_body``: bytes of a request.
    ``connections``: how many requests may be under way. ``labels``: how names of connections begin.
    """

    base: str
    trust: Trust
    credential: Credential | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    proxy: str | None = field(default=None, repr=False)
    bounds: Bounds = CHAT
    request_body: int = 10 << 20
    connections: int = 512
    labels: str = "relay-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A client's request. ``path``: below the base, without ``/v1`` and query. ``target``: with it.

    ``headers``: in wire order as received, a client's own credential among them: never store them.
    """

    method: str
    path: str
    target: str
    headers: Pairs = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """Return the first value of a header, None where there is none."""
        wanted = name.lower()
        return next((value for found, value in self.headers if found.lower() == wanted), None)


class Refused(Exception):  # noqa: N818  (an answer, not an error of ours)
    """The relay answers by itself, in OpenAI's form. ``retry_after``: seconds, None for none."""

    def __init__(
        self, status: int, code: str, what: str, *, retry_after: int | None = None
    ) -> None:
        super().__init__(what)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class Ticket(Protocol):
    """Who hears of one exchange. All calls come from the loop's thread and must return at once."""

    @property
    def purpose(self) -> str:
        """Exchange purpose (bundle-format.md 6.1)."""
        ...

    @property
    def session(self) -> str:
        """Label of the session."""
        ...

    @property
    def extra(self) -> Pairs:
        """Headers to send where the client has none of that name."""
        ...

    @property
    def url(self) -> str | None:
        """Where to send the request, without query; None: below the base as the client said."""
        ...

    def began(self, head: RecordedExchange) -> None:
        """Status and headers came."""
        ...

    def heard(self, part: bytes) -> None:
        """Some bytes of the body came: searched for credentials, in order."""
        ...

    def finished(self, recorded: RecordedExchange) -> None:
        """The exchange is over. ``response_body`` is None where it was longer than `HELD`."""
        ...

    def abandoned(self, why: Failure) -> None:
        """Nothing was sent: the client left, or no connection came about."""
        ...


class _NotSent(Exception):  # noqa: N818  (carries an answer)
    """Why a request that was let in was not sent, for the ticket and for the client."""

    def __init__(self, trouble: Trouble, refused: Refused) -> None:
        super().__init__(str(refused))
        self.failure = Failure(trouble=trouble, what=str(refused))
        self.refused = refused


Admit = Callable[[Asked], Awaitable[Ticket | None]]
"""Decides about a request: a ticket to record it, None to hand it through, or raises `Refused`."""

Own = Callable[[Asked], bytes | None]
"""Answers the relay's own paths with a JSON text; None where the path is not one."""


def error_text(message: str, code: str, status: int) -> bytes:
    """Return an error body in OpenAI's form, as JSON."""
    kind = "invalid_request_error" if status < 500 else "proxy_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return json.dumps({"error": error}).encode()


def answer_bytes(
    status: int, body: bytes, *, close: bool, retry_after: int | None = None, head: bool = False
) -> bytes:
    """Return a whole HTTP/1.1 answer of our own."""
    lines = [
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if retry_after is not None:
        lines.append(f"Retry-After: {retry_after}")
    if close:
        lines.append("Connection: close")
    text = ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    return text if head else text + body


def below_base(target: str) -> str:
    """Return a request target without the leading ``/v1`` that stands for the base address."""
    if target == "/v1" or target.startswith(("/v1/", "/v1?")):
        return target[3:]
    return target


def target_of(url: str) -> str:
    """Return path and query of a URL, as they stand in a request line."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _host_of(origin: str) -> str:
    """Return host and port of a web page's origin, empty where it has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


# --- towards the service ----------------------------------------------------------------------


class _Upward(asyncio.Protocol):
    """One connection to the service. Serves one run at a time."""

    def __init__(self, label: str, pool: _Pool) -> None:
        self.label = label
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.tls: RecordedTls | None = None
        self.run: _Run | None = None
        self.closed = False
        self.idle_since = 0.0
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        run = self.run
        if run is None:  # nobody asked: what comes next could not be told from an answer
            self.abort()
            return
        run.received(data)

    def eof_received(self) -> None:
        self._ended = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        run, self.run = self.run, None
        if run is not None:
            run.lost(exc, ended=self._ended or exc is None)

    def pause_writing(self) -> None:
        """The request is bounded (`Upstream.request_body`): nothing to slow down."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""

    def abort(self) -> None:
        """Close without finishing."""
        self.closed = True
        if self.transport is not None:
            self.transport.abort()


class _Pool:
    """Connections to one origin: the last used first, each for one request at a time.

    ``authority``: host and port as in a Host header. ``label``: gives the next connection's name.
    """

    def __init__(self, upstream: Upstream, origin: str, label: Callable[[], str]) -> None:
        parts = urlsplit(origin)
        self.authority = parts.netloc
        self._label = label
        self._upstream = upstream
        self._host = parts.hostname or ""
        self._secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)
        self._proxy = None if upstream.proxy is None else Proxy.of(upstream.proxy)
        self._idle: deque[_Upward] = deque()

    async def take(self) -> _Upward:
        """Return a connection that nobody uses. Raises OSError, ssl.SSLError, TimeoutError."""
        now = asyncio.get_running_loop().time()
        while self._idle:
            upward = self._idle.pop()
            if not upward.closed and now - upward.idle_since <= _KEEP_S:
                return upward
            upward.abort()
        trust = self._upstream.trust
        if not self._secure:
            return await self._opened(None, webpki=False)
        try:
            return await self._opened(trust.ordinary, webpki=True)
        except ssl.SSLCertVerificationError:
            if not trust.excuses(self._host, self._port):
                raise
        return await self._opened(trust.none, webpki=False)

    async def _opened(self, context: ssl.SSLContext | None, *, webpki: bool) -> _Upward:
        upward = _Upward(self._label(), self)
        async with asyncio.timeout(self._upstream.bounds.connect_s):
            upward.transport = await self._connect(upward, context)
        found = upward.transport.get_extra_info("ssl_object")
        if found is not None:
            upward.tls = observed_tls(found, webpki=webpki)
        return upward

    async def _connect(self, upward: _Upward, context: ssl.SSLContext | None) -> asyncio.Transport:
        loop = asyncio.get_running_loop()
        name = None if context is None else self._host
        if self._proxy is None or context is None:
            transport, _ = await loop.create_connection(
                lambda: upward, self._host, self._port, ssl=context, server_hostname=name
            )
            return transport
        tunnel = await _tunnel(self._proxy, self._host, self._port)
        secure = await loop.start_tls(tunnel, upward, context, server_hostname=name)
        if secure is None:
            message = "the tunnel closed during the TLS handshake"
            raise ConnectionError(message)
        upward.connection_made(secure)
        return secure

    def give_back(self, upward: _Upward) -> None:
        """Keep a connection for the next request."""
        upward.run = None
        if upward.closed:
            return
        upward.idle_since = asyncio.get_running_loop().time()
        self._idle.append(upward)

    def sweep(self, now: float) -> None:
        """Close what has been idle for too long."""
        while self._idle and (self._idle[0].closed or now - self._idle[0].idle_since > _KEEP_S):
            self._idle.popleft().abort()

    def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.pop().abort()


class _Tunnel(asyncio.Protocol):
    """Reads the answer to CONNECT, and nothing beyond it."""

    def __init__(self) -> None:
        self.head = b""
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.head += data
        ended = b"\r\n\r\n" in self.head
        if (ended or len(self.head) > _REQUEST_HEAD) and not self.answered.done():
            if self._transport is not None:
                self._transport.pause_reading()
            self.answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self.answered.done():
            self.answered.set_result(None)


async def _tunnel(proxy: Proxy, host: str, port: int) -> asyncio.Transport:
    """Return a paused connection through a proxy (RFC 9110 9.3.6). Raises OSError."""
    loop = asyncio.get_running_loop()
    transport, tunnel = await loop.create_connection(_Tunnel, proxy.host, proxy.port)
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    try:
        transport.write("\r\n".join([*lines, "", ""]).encode("ascii"))
        await tunnel.answered
        head, ended, _beyond = tunnel.head.partition(b"\r\n\r\n")
        words = head.split(b" ", 2)
    except BaseException:
        transport.abort()
        raise
    if ended and len(words) > 1 and words[0].startswith(b"HTTP/1.") and words[1][:1] == b"2":
        return transport
    transport.abort()
    raise ConnectionError("the proxy makes no tunnel to the service")


# --- one request under way --------------------------------------------------------------------


class _Run:
    """One request on its way, and its answer as it comes. Parser callbacks are its methods."""

    def __init__(
        self, relay: Relay, client: _Downward, asked: Asked, ticket: Ticket | None
    ) -> None:
        self.relay = relay
        self.client = client
        self.asked = asked
        self.ticket = ticket
        self.done: asyncio.Future[None] = relay.loop.create_future()
        self.upward: _Upward | None = None
        self.reusable = False
        self.started = 0.0
        self.last = 0.0
        self.answering = False
        self._parser = httptools.HttpResponseParser(self)
        self._head = b""
        self._fields: list[tuple[str, str]] = []
        self._status: int | None = None
        self._version = "1.1"
        self._framed = False
        self._stream = False
        self._ended = False
        self._excess = False
        self._keep_alive = False
        self._tail = b""
        self._parts: list[bytes] = []
        self._pending = 0
        self._size = 0
        self._kept: list[bytes] | None = []
        self._kept_size = 0
        self._over = False
        self._secret = False
        self._over_with = False
        self._withholding = Withholding(relay.forms)
        self._flushed_at = 0.0
        self._shown_url = ""
        self._shown_sent: tuple[Header, ...] = ()
        self._shown_fields: tuple[Header, ...] | None = None
        self._started_at: datetime | None = None
        self._first_at: datetime | None = None
        self._done_at: datetime | None = None
        self._label: str | None = None
        self._tls: RecordedTls | None = None
        self.failure: Failure | None = None

    # sending

    def send(self, upward: _Upward) -> None:
        """Write the request to a connection."""
        relay = self.relay
        transport = upward.transport
        self.upward = upward
        self._label, self._tls = upward.label, upward.tls
        extra = self.ticket.extra if self.ticket else ()
        sent = relay.rewritten(self.asked, upward.pool.authority, extra)
        url = relay.address(self.asked, self.ticket)
        target = target_of(url)
        if self.ticket is not None:
            self._shown_sent = relay.safe(sent)
            self._shown_url = redacted_url(url, relay.forms)
        lines = [f"{self.asked.method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in sent]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self._started_at = relay.clock()
        self.started = self.last = self._flushed_at = relay.loop.time()
        upward.run = self
        if transport is None or upward.closed:  # lost between being taken and being used
            self._end(Failure(trouble="cut", what="the service closed the connection"))
            return
        body = self.asked.body
        if len(body) <= _BATCH:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        if self.client.full:
            transport.pause_reading()

    # parser callbacks

    def on_message_begin(self) -> None:
        """A second message is more than was asked for."""
        if self._ended:
            self._excess = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers of a chunked body are no part of the headers document."""
        if self._status is None:
            self._fields.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is there; an informational one is followed by another."""
        if self._ended:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._fields.clear()
            return
        self._status = status
        self._version = self._parser.get_http_version()
        for name, value in self._fields:
            lower = name.lower()
            if lower in {"content-length", "transfer-encoding"}:
                self._framed = True
            elif lower == "content-type":
                self._stream = "event-stream" in value.lower()
        if self.asked.method == "HEAD":
            self._ended = True
            self._keep_alive = False

    def on_body(self, part: bytes) -> None:
        """Some bytes of the body, transfer decoding removed."""
        if self._ended or self.ticket is None:
            return
        self._parts.append(part)
        self._pending += len(part)
        if self._stream and self._done_at is None:
            window = self._tail + part
            if b"[DONE]" in window and _DONE.search(window):
                self._done_at = self.relay.clock()
            self._tail = window[-20:]

    def on_message_complete(self) -> None:
        """The framing of the answer ended properly."""
        if self._status is not None and not self._ended:
            self._ended = True
            self._keep_alive = self._parser.should_keep_alive()

    # the answer

    def received(self, data: bytes) -> None:
        """Bytes of the answer: on to the client first, then to the parser."""
        self.last = self.relay.loop.time()
        if self.answering:
            self.client.write(data)
            broken = self._feed(data)
        else:
            if self._first_at is None:
                self._first_at = self.relay.clock()
            self._head += data
            broken = self._feed(data)
            if broken is None and self._status is None:
                if len(self._head) > self.relay.upstream.bounds.headers:
                    what = f"headers of more than {self.relay.upstream.bounds.headers} bytes"
                    self._end(Failure(trouble="headers-too-large", what=what))
                return
            if self._status is not None:
                self.answering = True
                head, self._head = self._head, b""
                self.client.write(head)
                if self.ticket is not None:
                    self._shown_fields = self.relay.safe(self._fields)
                    self.ticket.began(self._record(None, complete=False))
        if broken is not None and not self._ended:
            self._end(broken)
            return
        if self._pending >= _BATCH or (
            self._pending and self.last - self._flushed_at > self.relay.flush_s
        ):
            self._flush(last=False)
        if self._ended:
            self._excess = self._excess or broken is not None
            self._end(None)

    def _feed(self, data: bytes) -> Failure | None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return Failure(trouble="not-http", what="the service switched protocols unasked")
        except httptools.HttpParserError as error:
            return Failure(trouble="not-http", what=f"the answer is no HTTP: {error}")
        return None

    def _flush(self, *, last: bool) -> None:
        """Search what came since the last time, and keep it."""
        self._flushed_at = self.last
        if self.ticket is None:
            return
        part = b"".join(self._parts)
        self._parts.clear()
        self._pending = 0
        self._size += len(part)
        limit = self.relay.upstream.bounds.body
        if self._size > limit:
            part = part[: max(0, limit - (self._size - len(part)))]
            self._over = True
        if self._secret:
            return
        part, self._secret = self._withholding.add(part)
        if last and not self._secret:
            rest, self._secret = self._withholding.end()
            part += rest
        if not part:
            return
        self.ticket.heard(part)
        self._kept_size += len(part)
        if self._kept is not None:
            if self._kept_size > HELD:
                self._kept = None
            else:
                self._kept.append(part)

    def lost(self, error: Exception | None, *, ended: bool) -> None:
        """The service closed the connection."""
        if self._over_with:
            return
        if self._status is not None and not self._framed and ended and error is None:
            self._ended = True
            self._end(None)
            return
        at = "before an answer" if self._status is None else "in the middle of the answer"
        self._end(Failure(trouble="cut", what=f"the service closed the connection {at}"))

    def client_left(self) -> None:
        """The client closed its connection: nobody is there to answer to."""
        self._end(_LEFT)

    def interrupted(self) -> None:
        """The proxy ends at once."""
        self._end(Failure(trouble="interrupted", what="the proxy was stopped"))

    def overdue(self, now: float) -> None:
        """End the run where the service has been silent, or at work, for too long."""
        bounds = self.relay.upstream.bounds
        if self._over_with or self.upward is None:
            return
        if now - self.started > bounds.total_s:
            what = f"the answer took longer than {bounds.total_s:g} s"
            self._end(Failure(trouble="timeout", what=what))
        elif now - self.last > bounds.idle_s and not self.client.full:
            trouble: Trouble = "idle" if self.answering else "timeout"
            what = f"nothing came from the service for {bounds.idle_s:g} s"
            self._end(Failure(trouble=trouble, what=what))
        elif self._pending and now - self._flushed_at > self.relay.flush_s:
            self._flush(last=False)

    def _end(self, failure: Failure | None) -> None:
        """Finish: give the connection back or close it, tell the ticket, wake who waits."""
        if self._over_with:
            return
        self._over_with = True
        upward, self.upward = self.upward, None
        if upward is not None:
            upward.run = None
            if failure is None and self._keep_alive and not self._excess and not upward.closed:
                transport = upward.transport
                if transport is not None:
                    transport.resume_reading()
                upward.pool.give_back(upward)
                self.reusable = True
            else:
                upward.abort()
        ticket = self.ticket
        if ticket is not None:
            self._flush(last=True)
            if failure is None:
                failure = self._shortened()
            ticket.finished(self._record(failure, complete=failure is None))
        self.failure = failure
        self.done.set_result(None)

    def _shortened(self) -> Failure | None:
        """Say why the record holds less than the client got."""
        if self._secret:
            what = "the answer repeats a configured credential; the record ends before it"
            return Failure(trouble="secret-in-body", what=what)
        if self._over:
            what = f"the answer is longer than {self.relay.upstream.bounds.body} bytes"
            return Failure(trouble="too-large", what=f"{what}; the record ends there")
        return None

    def _record(self, failure: Failure | None, *, complete: bool) -> RecordedExchange:
        now = self.relay.clock()
        ticket = self.ticket
        body = None if self._kept is None else b"".join(self._kept) or None
        return RecordedExchange(
            purpose="chat" if ticket is None else ticket.purpose,
            session="s1" if ticket is None else ticket.session,
            method=self.asked.method,
            url=self._shown_url,
            started_at=self._started_at or now,
            first_byte_at=self._first_at,
            ended_at=now,
            request_headers=self._shown_sent,
            request_body=self.asked.body or None,
            status=self._status,
            http_version=self._version,
            response_headers=self._shown_fields,
            response_body=body,
            complete=complete,
            connection=self._label,
            tls=self._tls,
            failure=failure,
            done_at=self._done_at,
        )


# --- towards a client -------------------------------------------------------------------------


class _Incoming:
    """A request as its bytes come in."""

    __slots__ = (
        "began",
        "body",
        "expects",
        "fruitless",
        "headed",
        "headers",
        "refused",
        "size",
        "url",
    )

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.began = 0.0
        self.size = 0
        self.fruitless = 0
        self.headed = False
        self.expects = False
        self.refused: Refused | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """A whole request, or why it is none; ``keep``: whether the client's connection stays open."""

    asked: Asked | None
    refused: Refused | None
    keep: bool


class _Downward(asyncio.Protocol):
    """One client's connection. Serves its requests one after the other."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.full = False
        self.transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._incoming = _Incoming()
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self._run: _Run | None = None
        self._last = relay.loop.time()
        self._closing = False
        self._lingering = False
        self._ignored = 0
        self._unsent = 0
        self._emptied = asyncio.Event()

    # the transport's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_CLIENT_BUFFER)
        if self.relay.joined(self):
            return
        body = error_text("too many connections; close some", "too_many_connections", 503)
        self.write(answer_bytes(503, body, close=True, retry_after=5))
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._closing = True
        self._emptied.set()
        self.relay.left(self)
        run = self._run
        if run is not None and run.upward is not None:
            run.client_left()
        elif self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self.full = True
        self._emptied.clear()
        run = self._run
        if run is not None and run.upward is not None and run.upward.transport is not None:
            run.upward.transport.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        self._emptied.set()
        run = self._run
        if run is not None and run.upward is not None and run.upward.transport is not None:
            run.upward.transport.resume_reading()
            run.last = self.relay.loop.time()

    def data_received(self, data: bytes) -> None:
        self._last = self.relay.loop.time()
        if self._closing:
            self._ignored += len(data)
            if self._ignored > 4 * self.relay.upstream.request_body:
                self.abort()
            return
        incoming, size = self._incoming, self._incoming.size
        self._feed(data)
        if incoming is self._incoming and incoming.size == size:
            self._count(len(data))

    def _feed(self, data: bytes) -> None:
        while data and not self._closing:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # asked for another protocol: the request is answered in this one (RFC 9110 7.8)
                data = self._without_upgrade() + data[int(upgrade.args[0]) :]
                continue
            except httptools.HttpParserError as error:
                reason = Refused(400, "bad_request", f"the request is no HTTP/1.1: {error}")
                self._whole(_Waiting(asked=None, refused=reason, keep=False))
            break

    def _without_upgrade(self) -> bytes:
        """Return the head as if it had not asked to upgrade, for a parser that reads its body."""
        method, incoming = self._parser.get_method(), self._incoming
        if method == b"CONNECT":
            return b""
        lines = [b"%b %b HTTP/1.1" % (method, incoming.url)]
        lines += [
            b"%b: %b" % pair for pair in incoming.headers if pair[0].lower() not in _UPGRADING
        ]
        self._incoming = _Incoming()
        self._parser = httptools.HttpRequestParser(self)
        return b"\r\n".join([*lines, b"", b""])

    # parser callbacks

    def on_message_begin(self) -> None:
        """The first byte of a request is there."""
        self._incoming.began = self.relay.loop.time()

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._incoming.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the request; a trailer must not be taken for one (RFC 9110 6.5.1)."""
        if not self._incoming.headed:
            self._incoming.headers.append((name, value))

    def _count(self, size: int) -> None:
        """Limit bytes that bring no body, in head or trailers: the parser holds some unbounded."""
        incoming = self._incoming
        incoming.fruitless += size
        if incoming.fruitless > _REQUEST_HEAD and incoming.refused is None:
            what = f"the request's headers are longer than {_REQUEST_HEAD} bytes"
            self._refuse(Refused(431, "headers_too_large", what))

    def on_headers_complete(self) -> None:
        """Refuse early what is too long; invite a body that waits for it."""
        if self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT":
            return  # read once more, see `_without_upgrade`
        limit = self.relay.upstream.request_body
        self._count(sum(len(name) + len(value) + 4 for name, value in self._incoming.headers))
        self._incoming.headed = True
        self._incoming.fruitless = 0
        for name, value in self._incoming.headers:
            lower = name.lower()
            if lower == b"content-length" and value.isdigit() and int(value[:20]) > limit:
                self._too_large()
            elif lower == b"expect" and value.lower() == b"100-continue":
                self._incoming.expects = True
        self._invite()

    def _invite(self) -> None:
        """Ask for a body that waits to be asked for, once the answers before it have gone out."""
        incoming = self._incoming
        if incoming.expects and incoming.refused is None and self._task is None:
            incoming.expects = False
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, part: bytes) -> None:
        """Bytes of the request body, transfer decoding removed."""
        incoming = self._incoming
        if incoming.refused is not None:
            return
        incoming.size += len(part)
        incoming.fruitless = 0
        if incoming.size > self.relay.upstream.request_body:
            self._too_large()
            return
        incoming.body.append(part)

    def _too_large(self) -> None:
        limit = self.relay.upstream.request_body
        what = f"the request body is longer than {limit} bytes"
        self._refuse(Refused(413, "request_too_large", what))

    def _refuse(self, refused: Refused) -> None:
        """Answer at once and close: the rest of the request is not waited for."""
        self._incoming.refused = refused
        self._incoming.body.clear()
        self._whole(_Waiting(asked=None, refused=refused, keep=False))

    def on_message_complete(self) -> None:
        """A whole request is there."""
        if self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT":
            return
        incoming, self._incoming = self._incoming, _Incoming()
        if incoming.refused is not None:
            return
        try:
            asked = self.relay.asked(
                self._parser.get_method().decode("ascii"),
                self._parser.get_http_version(),
                incoming.url.decode("latin-1"),
                tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in incoming.headers),
                b"".join(incoming.body),
            )
        except Refused as refused:
            self._whole(_Waiting(asked=None, refused=refused, keep=False))
            return
        keep = self._parser.should_keep_alive()
        self._whole(_Waiting(asked=asked, refused=None, keep=keep))

    # serving

    def _whole(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        if self._enough() and self.transport is not None:
            self.transport.pause_reading()  # a client that pipelines waits for its answers
        if self._task is None:
            self._task = self.relay.loop.create_task(self._serve())

    def _enough(self) -> bool:
        bodies = sum(len(one.asked.body) for one in self._waiting if one.asked is not None)
        return len(self._waiting) >= _WAITING_REQUESTS or bodies > _WAITING_BYTES

    async def _serve(self) -> None:
        try:
            while self._waiting and not self._closing:
                waiting = self._waiting.popleft()
                if self.transport is not None and not self._enough():
                    self.transport.resume_reading()
                if self.full:  # who does not take the answers so far gets no more of them
                    await self._emptied.wait()
                if not await self._one(waiting) or self.relay.stopping:
                    self._finish(lingering=waiting.asked is None)
        finally:
            self._task = None
            self._last = self._incoming.began = self.relay.loop.time()
            self._invite()

    def _finish(self, *, lingering: bool) -> None:
        """Close once all is sent. ``lingering``: read on what a refused request still brings."""
        if lingering and not self._closing and self.transport is not None:
            self._closing = self._lingering = True
            self._last = self.relay.loop.time()
            self.transport.write_eof()
            self.transport.resume_reading()
        else:
            self.close()

    async def _one(self, waiting: _Waiting) -> bool:
        """Serve one request; return whether the connection stays open."""
        asked = waiting.asked
        close = not waiting.keep or self.relay.stopping
        try:
            if waiting.refused is not None:
                raise waiting.refused
            if asked is None:
                return False
            own = self.relay.own(asked)
            if own is not None:
                self.write(answer_bytes(200, own, close=close, head=asked.method == "HEAD"))
                return not close
            run = await self._carried(asked)
        except Refused as refused:
            body = error_text(str(refused), refused.code, refused.status)
            head = asked is not None and asked.method == "HEAD"
            self.write(
                answer_bytes(
                    refused.status, body, close=close, retry_after=refused.retry_after, head=head
                )
            )
            return not close
        if run.failure is None or run.answering:
            # what the client got cannot be taken back: a broken answer shows as a closed connection
            return waiting.keep and run.reusable
        status = 504 if run.failure.trouble in {"timeout", "idle"} else 502
        body = error_text(f"no answer: {run.failure.what}", run.failure.trouble, status)
        self.write(answer_bytes(status, body, close=close, head=asked.method == "HEAD"))
        return not close

    async def _carried(self, asked: Asked) -> _Run:
        """Carry a request. Raises `Refused`, for a failure that nobody foresaw as well."""
        try:
            return await self.relay.carry(self, asked)
        except Refused:
            raise
        except Exception as error:
            what = f"unexpected {type(error).__name__} in the proxy; please report it"
            raise Refused(500, "internal", what) from error

    def attach(self, run: _Run | None) -> None:
        """Say whose answer is on its way."""
        self._run = run

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._closing

    @property
    def busy(self) -> bool:
        """Whether a request is being served."""
        return self._task is not None

    def write(self, data: bytes) -> None:
        """Send bytes, unless the client has left."""
        if not self._closing and self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        """Close after what was written has gone out."""
        self._closing = True
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close without sending what is still to be sent."""
        self._closing = True
        if self.transport is not None:
            self.transport.abort()

    def overdue(self, now: float) -> None:
        """Close a connection on which nothing happens, or on which nothing ends."""
        relay = self.relay
        unsent = 0 if self.transport is None else self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._last = unsent, now
        silent = now - self._last
        if self.full or self._closing:
            most = _LINGER_S if self._lingering and not unsent else relay.client_idle_s
            if silent > most:
                self.abort()
        elif self._task is None:
            incoming = self._incoming
            begun = bool(incoming.url)
            late = relay.request_s if incoming.headed else relay.client_idle_s
            if silent > relay.client_idle_s or (begun and now - incoming.began > late):
                self.close()


# --- the relay --------------------------------------------------------------------------------


class Relay:
    """Listens, and carries requests to one service. Make it inside a running loop.

    ``admit`` decides what is recorded; ``own`` answers the relay's own paths. ``hosts``: further
    names that a ``Host`` header may state; None lets every name through (a listener that is meant
    for other machines). A page in a browser must not reach a service on this machine with the
    operator's key: requests for a strange host or from a strange origin are refused.

    ``most_clients``: connections; who comes when there are so many is sent away.
    ``client_idle_s``: seconds for which a client may be silent, take a request's head, or not take
    what is sent to it; ``request_s``: seconds for a whole request.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        admit: Admit,
        own: Own = lambda _asked: None,
        hosts: frozenset[str] | None = frozenset(),
        clock: Clock = utc_now,
        flush_s: float = 0.25,
        most_clients: int = 4096,
        client_idle_s: float = _CLIENT_IDLE_S,
        request_s: float = _REQUEST_S,
    ) -> None:
        demand_secure(upstream.base)
        self.loop = asyncio.get_running_loop()
        self.upstream = upstream
        self.clock = clock
        self.flush_s = flush_s
        self.client_idle_s = client_idle_s
        self.request_s = request_s
        self._most_clients = most_clients
        self._pools: dict[str, _Pool] = {}
        self._made = 0
        self.clients: set[_Downward] = set()
        self.stopping = False
        self.own = own
        credential = upstream.credential
        texts = set(upstream.secrets)
        if credential is not None:
            texts.add(credential.value.rpartition(" ")[2])
        self.forms = forms_of(sorted(texts - {""}))
        self._secret_headers = frozenset(() if credential is None else (credential.header.lower(),))
        self._admit = admit
        self._hosts = hosts
        self._no_client = asyncio.Event()
        self._no_client.set()
        self._runs: set[_Run] = set()
        self._slots = asyncio.Semaphore(upstream.connections)
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def listen(self, host: str, port: int) -> int:
        """Listen; return the port. Raises OSError where the address is taken."""
        self._server = await self.loop.create_server(
            lambda: _Downward(self), host, port, backlog=1024
        )
        self._sweeper = self.loop.create_task(self._sweep())
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more; return when every answer under way has ended.

        Cancel it, and call `break_off`, to end at once.
        """
        self.stopping = True
        if self._server is not None:
            self._server.close()
        for client in tuple(self.clients):
            if not client.busy:
                client.close()
        await self._no_client.wait()
        await self._close()

    async def break_off(self) -> None:
        """End at once: what is under way is recorded as interrupted."""
        self.stopping = True
        if self._server is not None:
            self._server.close()
        for run in tuple(self._runs):
            run.interrupted()
        for client in tuple(self.clients):
            client.abort()
        await self._close()

    async def _close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
            self._sweeper = None
        for pool in self._pools.values():
            pool.close()

    async def _sweep(self) -> None:
        bounds = self.upstream.bounds
        tick = min(1.0, max(0.02, min(bounds.idle_s, bounds.total_s) / 4), max(0.02, self.flush_s))
        while True:
            await asyncio.sleep(tick)
            now = self.loop.time()
            for pool in self._pools.values():
                pool.sweep(now)
            for run in tuple(self._runs):
                run.overdue(now)
            for client in tuple(self.clients):
                client.overdue(now)

    # who is connected

    def joined(self, client: _Downward) -> bool:
        """A client connected; return whether there is room for it."""
        self.clients.add(client)
        self._no_client.clear()
        return len(self.clients) <= self._most_clients

    def left(self, client: _Downward) -> None:
        """A client's connection is gone."""
        self.clients.discard(client)
        if not self.clients:
            self._no_client.set()

    @property
    def under_way(self) -> int:
        """How many requests are on their way to the service or back."""
        return len(self._runs)

    # requests

    def asked(self, method: str, version: str, target: str, headers: Pairs, body: bytes) -> Asked:
        """Return a request that may be carried. Raises `Refused`."""
        if version != "1.1":
            what = f"HTTP/{version} is not spoken here; use HTTP/1.1"
            raise Refused(505, "http_version", what)
        if method == "CONNECT" or not target.startswith("/"):
            raise Refused(405, "method_not_allowed", "this is no general proxy; name a path")
        if not target.isascii() or not target.isprintable() or set(' \\"<>') & set(target):
            raise Refused(400, "bad_request", "the path holds characters that no URL has")
        if any(set("\r\n\0") & set(value) for _name, value in headers):
            raise Refused(400, "bad_request", "a header runs over several lines")
        codings = [value for name, value in headers if name.lower() == "transfer-encoding"]
        if any(value.strip().lower() != "chunked" for value in codings):
            raise Refused(501, "transfer_encoding", "of transfer codings, only chunked is read")
        path = unquote(target.partition("?")[0].partition("#")[0])
        if not {".", ".."}.isdisjoint(path.split("/")):
            raise Refused(400, "bad_request", "the path holds . or .. as a segment")
        self._demand_local(headers)
        below = below_base(target)
        return Asked(
            method=method,
            path=below.partition("?")[0],
            target=below,
            headers=headers,
            body=body,
        )

    def _demand_local(self, headers: Pairs) -> None:
        if self._hosts is None:
            return
        stated = [value for name, value in headers if name.lower() == "host"]
        if len(stated) != 1 or not self._local(stated[0]):
            what = "the Host header names no address of this proxy (--allow-host NAME admits one)"
            raise Refused(403, "host_not_allowed", what)
        origins = [value for name, value in headers if name.lower() == "origin"]
        # what a page only shows, such as an image, states no origin
        sites = [value for name, value in headers if name.lower() == "sec-fetch-site"]
        strange = not origins and not {"cross-site", "same-site"}.isdisjoint(sites)
        if strange or not all(self._local(_host_of(origin)) for origin in origins):
            what = "requests from web pages of other hosts are refused"
            raise Refused(403, "origin_not_allowed", what)

    def _local(self, netloc: str) -> bool:
        try:
            host = urlsplit(f"//{netloc}").hostname or ""
        except ValueError:
            return False
        return is_loopback(host) or (self._hosts is not None and host in self._hosts)

    def address(self, asked: Asked, ticket: Ticket | None) -> str:
        """Return the URL that a request goes to."""
        url = None if ticket is None else ticket.url
        if url is None:
            return self.upstream.base + asked.target
        question = asked.target.partition("?")[1:]
        return url + "".join(question)

    def rewritten(self, asked: Asked, authority: str, extra: Pairs) -> Pairs:
        """Return the headers to send, in the client's order."""
        named = {
            token.strip().lower()
            for name, value in asked.headers
            if name.lower() == "connection"
            for token in value.split(",")
        }
        credential = self.upstream.credential
        drop = _HOP | (named - _OWN) | _CLIENTS_OWN
        out: list[tuple[str, str]] = []
        placed: set[str] = set()

        def once(kind: str, name: str, value: str) -> None:
            if kind not in placed:
                placed.add(kind)
                out.append((name, value))

        for name, value in asked.headers:
            lower = name.lower()
            if lower == "host":
                once("host", name, authority)
            elif lower in _CREDENTIALS or lower in self._secret_headers:
                if credential is not None:
                    once("credential", credential.header, credential.value)
            elif lower == "accept-encoding":
                once("encoding", name, "identity")
            elif lower in {"content-length", "transfer-encoding"}:
                once("length", "Content-Length", str(len(asked.body)))
            elif lower not in drop:
                out.append((name, value))
        once("host", "Host", authority)
        once("encoding", "Accept-Encoding", "identity")
        if credential is not None:
            once("credential", credential.header, credential.value)
        if asked.body or asked.method in {"POST", "PUT", "PATCH"}:
            once("length", "Content-Length", str(len(asked.body)))
        have = {name.lower() for name, _value in out}
        out.extend(pair for pair in extra if pair[0].lower() not in have)
        return tuple(out)

    def demand_no_secret(self, asked: Asked) -> None:
        """Refuse a request that holds a configured credential: it may not be recorded."""
        target = asked.target.encode()
        if any(form in asked.body or form in target for form in self.forms):
            what = "the request holds the configured credential; it was not sent"
            raise Refused(400, "credential_in_request", what)

    def safe(self, pairs: Iterable[tuple[str, str]]) -> tuple[Header, ...]:
        """Return headers as they may be kept: secret names, and values that repeat a secret."""
        listed = tuple(pairs)
        kept = redacted_headers(listed, self._secret_headers)
        # one look at all that is left: hardly ever does one of them hold a secret
        left = "\n".join(text for pair in kept for text in pair if text is not None)
        if not holds_secret(left, self.forms):
            return kept
        return redacted_headers(listed, self._secret_headers, self.forms)

    async def carry(self, client: _Downward, asked: Asked) -> _Run:
        """Carry a request and its answer. Raises `Refused` where nothing was sent."""
        if self.stopping:
            raise Refused(503, "stopping", "the proxy is stopping", retry_after=5)
        async with self._slots:
            ticket = await self._admit(asked)
            try:
                upward = await self._ready(client, asked, ticket)
            except _NotSent as reason:
                if ticket is not None:
                    ticket.abandoned(reason.failure)
                raise reason.refused from None
            except BaseException:
                if ticket is not None:
                    ticket.abandoned(_LEFT)
                raise
            run = _Run(self, client, asked, ticket)
            self._runs.add(run)
            client.attach(run)
            try:
                run.send(upward)
                await run.done
            finally:
                self._runs.discard(run)
                client.attach(None)
        return run

    def _pool(self, url: str) -> _Pool:
        demand_secure(url)
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._pools:
            self._pools[origin] = _Pool(self.upstream, origin, self._label)
        return self._pools[origin]

    def _label(self) -> str:
        self._made += 1
        return f"{self.upstream.labels}{self._made}"

    async def _ready(self, client: _Downward, asked: Asked, ticket: Ticket | None) -> _Upward:
        try:
            upward = await self._pool(self.address(asked, ticket)).take()
        except TimeoutError:
            what = f"no connection to the service within {self.upstream.bounds.connect_s:g} s"
            raise _NotSent("timeout", Refused(504, "timeout", what)) from None
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", None) or error.reason or "no TLS"
            what = f"TLS with the service failed: {why}"
            raise _NotSent("tls", Refused(502, "tls", what)) from None
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            what = f"the service cannot be reached: {why}"
            raise _NotSent("unreachable", Refused(502, "unreachable", what)) from None
        if client.gone:
            upward.pool.give_back(upward)
            raise asyncio.CancelledError
        return upward
