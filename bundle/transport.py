"""Sends requests and records what went over the wire, byte for byte.

No redirect is followed, nothing is inflated, no body is decoded, nothing is ever sent twice. Sizes
and times are limited while reading. Secrets are replaced before an exchange is made of what
happened (`bundle.recording`), and before a sink sees a byte.

How the wire is kept: ``h11`` frames and parses HTTP/1.1 over a socket of our own (`bundle.peer`),
so both header blocks are at hand as bytes. The request's pairs are read from the very bytes that
are sent, the response's from the very bytes received: hence wire order, case and repetitions. The
body is what h11 gives after transfer decoding; content decoding does not exist here. One request at
a time goes over a connection; its certificates are asked of that connection's own TLS object.

Source: bundle-format.md 4, 6.2 to 6.4; providers.md 2.1, 2.7, 2.8, 13.3; RFC 9112.
"""

from __future__ import annotations

import ipaddress
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Protocol, Self
from urllib.parse import SplitResult, urlsplit

import h11

from bundle.bounds import TRANSIENT, Bounds
from bundle.peer import Broken, Proxy, Trust, connect, is_alive, is_readable
from bundle.recording import (
    Failure,
    RecordedExchange,
    RecordedTls,
    StoredBody,
    Withholding,
    redacted_headers,
    redacted_url,
    secret_name,
)
from bundle.seal import credential_forms
from verify.engine.errors import UsageError
from verify.version import VERSION

__all__ = [
    "TRANSIENT",
    "BodySink",
    "Bounds",
    "Clock",
    "Credential",
    "Transport",
    "TransportError",
    "Trouble",
    "demand_address",
    "demand_secure",
    "utc_now",
]

Clock = Callable[[], datetime]
Trouble = Literal["unavailable", "timeout", "too-large", "tls"]
Watch = Callable[[int], None]

IN_MEMORY: Final = (16 << 20) - 32
"""Bytes of a body held where a sink keeps them too: an inline blob less its salt."""
MOST_PAIRS: Final = 512
LARGEST_VALUE: Final = 64 << 10
HIGHEST_STATUS: Final = 599
"""RFC 9110 15; a bundle holds no higher one."""
_READ: Final = 16 << 10
"""Bytes of one read: as many as a TLS record holds."""
_LONGEST_LINE: Final = 8 << 10
"""Bytes of chunk extensions or trailers that may wait for their end. The parser's expressions take
quadratic time for some lines that do not match, so this and one read bound what a line costs."""
_SEND: Final = 64 << 10
_KEPT_S: Final = 60.0
_SHORTEST_SECRET: Final = 8
_OURS: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "accept-encoding", "connection", "te"}
)
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_HEAD_END_REACH: Final = 2
_NO_HEADER: Final = re.compile(rb"[\x00\v\f]|\r(?!\n)")
"""What no header block holds (RFC 9112 2.2, 5). Found here, because the parser's own search takes
quadratic time for it."""
_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]+)?")
_DONE: Final = re.compile(rb"\ndata: ?\[DONE\]\r?\n")
_DONE_LAST: Final = re.compile(rb"\ndata: ?\[DONE\]\r?\Z")
_DONE_REACH: Final = 16


class TransportError(Exception):
    """No answer came. ``trouble`` says of what kind; ``again`` whether trying again may help."""

    def __init__(self, trouble: Trouble, what: str, *, again: bool) -> None:
        super().__init__(what)
        self.trouble = trouble
        self.again = again


@dataclass(frozen=True, slots=True)
class Credential:
    """A header that carries a secret. ``value``: all of it, ``Bearer ...``."""

    header: str
    value: str

    def __repr__(self) -> str:
        return f"Credential(header={self.header!r})"


class BodySink(Protocol):
    """Takes a response body while it arrives, and keeps it where the process may die."""

    def begin(self, head: RecordedExchange) -> None:
        """Status and headers have come; ``complete`` is False yet."""
        ...

    def write(self, part: bytes) -> None:
        """Take the next bytes of the body."""
        ...

    def finish(self) -> StoredBody | None:
        """No more will come. Return where the bytes lie, None where they are not kept as a file."""
        ...


def utc_now() -> datetime:
    """Return the present as an aware UTC time in whole milliseconds."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def demand_secure(url: str, forms: tuple[bytes, ...] = ()) -> None:
    """Refuse a URL that is not HTTPS, but for loopback addresses. Raises UsageError.

    ``forms``: byte strings of credentials, which its message does not repeat.
    """
    parts = _taken_apart(url)
    if parts.scheme == "https" and parts.hostname:
        return
    host = parts.hostname or ""
    loopback = host == "localhost"
    if not loopback:
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
    if parts.scheme != "http" or not loopback:
        message = (
            f"{redacted_url(url, forms)}: only https:// is spoken (http:// to this machine alone)"
        )
        raise UsageError(message)


def demand_address(url: str) -> None:
    """Refuse a URL that `Transport` would not ask: of an address named long before it is used.

    Raises UsageError.
    """
    _Place.of(url, ())


def _taken_apart(url: str) -> SplitResult:
    """Return the parts of a URL. Raises UsageError, which names nothing of what cannot be read."""
    try:
        return urlsplit(url)
    except ValueError:
        pass  # its message repeats the address, a password in it included
    message = (
        "an address cannot be read: check its brackets, and write a host name in its ASCII form"
    )
    raise UsageError(message)


# --- what is asked ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a URL leads. ``target``: path and query exactly as given."""

    secure: bool
    host: str
    port: int
    authority: str
    target: str

    @classmethod
    def of(cls, url: str, forms: tuple[bytes, ...]) -> _Place:
        """Take a URL apart. Raises UsageError, printing no secret part of it."""
        demand_secure(url, forms)
        parts = _taken_apart(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if "@" in parts.netloc:
            message = (
                f"{redacted_url(url, forms)}: a user name or password in an address is not "
                "supported; give an API key by the name of its environment variable"
            )
            raise UsageError(message)
        plain = url.isascii() and all(0x21 <= ord(character) <= 0x7E for character in url)
        host = parts.hostname or ""
        labels = all(0 < len(label) < 64 for label in host.removesuffix(".").split("."))
        if not plain or not labels or not _AUTHORITY.fullmatch(parts.netloc) or port == 0:
            message = (
                f"{redacted_url(url, forms)!a}: is no address that can be asked; write other "
                "characters percent-encoded, and a host name in its ASCII form"
            )
            raise UsageError(message)
        secure = parts.scheme == "https"
        return cls(
            secure=secure,
            host=host,
            port=port or (443 if secure else 80),
            authority=parts.netloc,
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        )


def _pairs(block: bytes) -> tuple[tuple[str, str], ...]:
    """Return the header pairs of a block as they stand in it; its first line is none."""
    found: list[list[bytes]] = []
    for raw in block.split(b"\n")[1:]:
        line = raw.removesuffix(b"\r")
        if not line:
            continue
        if line[:1] in b" \t" and found:  # a folded line (RFC 9112 5.2) goes on with the value
            found[-1][1] += b" " + line.strip(b" \t")
            continue
        name, _, value = line.partition(b":")
        found.append([name, value.strip(b" \t")])
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in found)


def _storable(pairs: Sequence[tuple[str, str]], most: int) -> int:
    """Return how many of the pairs a headers document can hold (bundle-format.md 4)."""
    size = 2
    for number, (name, value) in enumerate(pairs):
        size += len(json.dumps([name, value], ensure_ascii=False).encode()) + 1
        if number >= MOST_PAIRS or len(value.encode()) > LARGEST_VALUE or size > most:
            return number
    return len(pairs)


def secrets_sent(
    pairs: Sequence[tuple[str, str]], extra: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """Return what the secret headers of a request carry: ``abc`` of ``Bearer abc``.

    ``extra``: names of further such headers, lower case.
    """
    values = (value.rpartition(" ")[2] for name, value in pairs if secret_name(name, extra))
    return tuple(value for value in values if len(value) >= _SHORTEST_SECRET)


def forms_of(secrets: Sequence[str]) -> tuple[bytes, ...]:
    """Return every byte string by which one of the credentials would be recognised."""
    made: dict[bytes, None] = {}
    for secret in secrets:
        made.update(dict.fromkeys(credential_forms(secret)))
    return tuple(made)


# --- one exchange under way -------------------------------------------------------------------


@dataclass(slots=True)
class Body:
    """A response body while it comes: limited, searched for credentials, kept and passed on."""

    limit: int
    withholding: Withholding
    clock: Clock
    sink: BodySink | None = None
    watch: Watch | None = None
    total: int = 0
    done_at: datetime | None = None
    _kept: bytearray = field(default_factory=bytearray, repr=False)
    _size: int = 0
    _held: bool = True
    _tail: bytes = b"\n"

    def add(self, part: bytes) -> None:
        """Take the bytes of one read. Raises `Broken` where the body ends here."""
        room = self.limit - self.total
        over = len(part) > room
        if over:
            part = part[:room]
        self.total += len(part)
        if self.done_at is None:
            window = self._tail + part
            if _DONE.search(window):
                self.done_at = self.clock()
            self._tail = window[-_DONE_REACH:]
        kept, secret = self.withholding.add(part)
        self._keep(kept)
        if self.watch is not None:
            self.watch(self.total)
        if secret:
            raise Broken("secret-in-body", _REPEATED)
        if over:
            raise Broken("too-large", f"an answer of more than {self.limit} bytes")

    def end(self) -> None:
        """Take in what was held back. Raises `Broken` where a credential seems to begin in it."""
        kept, secret = self.withholding.end()
        self._keep(kept)
        if self.done_at is None and _DONE_LAST.search(self._tail):
            self.done_at = self.clock()
        if secret:
            raise Broken("secret-in-body", _REPEATED)

    def _keep(self, part: bytes) -> None:
        if not part:
            return
        self._size += len(part)
        if self.sink is not None:
            self.sink.write(part)
            if self._size > IN_MEMORY:
                self._kept.clear()
                self._held = False
        if self._held:
            self._kept += part  # not a list: a part may be a single byte

    def taken(self) -> bytes | None:
        """Return the body where all of it is in memory and it is not empty."""
        return bytes(self._kept) or None

    @property
    def held(self) -> bool:
        """Whether all of it is in memory."""
        return self._held


_REPEATED: Final = (
    "the answer repeats a configured credential; it was cut before it. Tell the provider, and "
    "replace the credential"
)


@dataclass(slots=True)
class _Line:
    """A connection with its parser. ``label``: equal for one connection, never used again."""

    socket: socket.socket
    parser: h11.Connection
    label: str
    tls: RecordedTls | None
    idle_since: float = 0.0


class _Deadline:
    """Seconds that an exchange may take in all."""

    def __init__(self, total_s: float, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._total_s = total_s
        self._until = monotonic() + total_s

    def wait(self, limit_s: float) -> float:
        """Return the seconds a step may take. Raises `Broken` when there are none."""
        left = self._until - self._monotonic()
        if left <= 0:
            raise Broken("timeout", f"the answer took longer than {self._total_s:g} s")
        return min(left, limit_s)


@dataclass(slots=True, kw_only=True)
class _Exchange:
    """What is known of an exchange so far."""

    begun: RecordedExchange
    limits: Bounds
    deadline: _Deadline
    clock: Clock
    forms: tuple[bytes, ...] = field(repr=False)
    secret_headers: frozenset[str]
    body: Body
    started_sink: bool = False
    first: datetime | None = None
    sent: tuple[tuple[str, str], ...] | None = None
    status: int | None = None
    http_version: str = "1.1"
    received: tuple[tuple[str, str], ...] | None = None
    line: _Line | None = None
    unsent: bool = False
    ended_stream: bool = False
    ragged: bool = False

    @property
    def framed_twice(self) -> bool:
        """Whether the answer states its length in two ways: who knows what follows it.

        Source: RFC 9112 6.3 rule 3.
        """
        names = {name.lower() for name, _ in self.received or ()}
        return {"content-length", "transfer-encoding"} <= names

    def recorded(self, failure: Failure | None = None) -> RecordedExchange:
        """Return the exchange as it stands, without its body."""
        latest = max(filter(None, (self.clock(), self.begun.started_at, self.first)))
        return replace(
            self.begun,
            first_byte_at=self.first,
            ended_at=latest,
            request_headers=None
            if self.sent is None
            else redacted_headers(self.sent, self.secret_headers, self.forms),
            status=self.status,
            http_version=self.http_version,
            response_headers=None
            if self.received is None
            else redacted_headers(self.received, self.secret_headers, self.forms),
            complete=False,
            connection=None if self.line is None else self.line.label,
            tls=None if self.line is None else self.line.tls,
            failure=failure,
        )


class Transport:
    """Connections to any number of hosts, and what is trusted of them. Use as a context manager.

    ``bounds``: where a call names none. ``proxy``: ``http://host:port`` for HTTPS requests; the
    environment's proxies are not used. ``ca_file``, ``unverified_hosts``: see `bundle.peer.Trust`.
    ``secrets``: configured credentials, kept out of everything recorded. ``labels``: begins the
    names of connections, ``c1``, ``c2``; a resumed capture passes another, since names mean
    connections. May be used by several threads. Raises UsageError for a bad proxy or CA file.
    """

    def __init__(
        self,
        *,
        bounds: Bounds | None = None,
        proxy: str | None = None,
        clock: Clock = utc_now,
        ca_file: Path | None = None,
        unverified_hosts: frozenset[str] = frozenset(),
        secrets: tuple[str, ...] = (),
        labels: str = "c",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bounds = bounds or Bounds()
        self._proxy = None if proxy is None else Proxy.of(proxy)
        self._clock = clock
        self._trust = Trust(ca_file=ca_file, unverified_hosts=unverified_hosts)
        self._secrets = secrets
        self._labels = labels
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._opened = 0
        self._idle: dict[tuple[bool, str, int], list[_Line]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that no exchange uses."""
        with self._lock:
            lines = [line for found in self._idle.values() for line in found]
            self._idle.clear()
        for line in lines:
            line.socket.close()

    def record(
        self,
        method: str,
        url: str,
        *,
        purpose: str,
        body: bytes | None = None,
        headers: Sequence[tuple[str, str]] = (),
        credential: Credential | None = None,
        bounds: Bounds | None = None,
        session: str = "s1",
        sink: BodySink | None = None,
        watch: Watch | None = None,
        allow_secret_in_body: bool = False,
    ) -> RecordedExchange:
        """Send one request once, and return what happened, whatever that was.

        Sent in this order: Host, User-Agent, Accept (``*/*`` unless given), Accept-Encoding
        (identity), Content-Type (JSON, where there is a body and none is given), ``headers`` as
        given, ``credential``, Content-Length. What is recorded of them, and of the answer's, are
        the bytes of the wire, see above.

        ``sink``: gets the body as it arrives; of one beyond 16 MiB it is then the only keeper.
        ``watch``: called with the number of body bytes that have come.

        Trouble of the network gives an exchange with ``failure``, ``complete`` False and all that
        had come. Raises UsageError for an address or header that cannot be sent and for a body that
        holds a configured credential (unless allowed), OSError of the sink.
        """
        place = _Place.of(url, forms_of(self._secrets))
        pairs = self._request_pairs(place, body, headers, credential)
        hidden = frozenset(() if credential is None else (credential.header.lower(),))
        forms = forms_of(tuple(dict.fromkeys((*self._secrets, *secrets_sent(pairs, hidden)))))
        where = redacted_url(url, forms)
        if not allow_secret_in_body and any(form in (body or b"") for form in forms):
            message = (
                f"{where}: the request body holds a configured credential; nothing was sent. "
                "Take it out of the request"
            )
            raise UsageError(message)
        limits = bounds or self._bounds
        started = self._clock()
        under = _Exchange(
            begun=RecordedExchange(
                purpose=purpose,
                method=method,
                url=where,
                started_at=started,
                ended_at=started,
                request_body=body or None,
                session=session,
                complete=False,
            ),
            limits=limits,
            deadline=_Deadline(limits.total_s, self._monotonic),
            clock=self._clock,
            forms=forms,
            secret_headers=hidden,
            body=Body(limits.body, Withholding(forms), self._clock, sink=sink, watch=watch),
        )
        failure: Failure | None = None
        try:
            try:
                self._perform(under, place, method, pairs, body)
            except Broken as broken:
                failure = Failure(trouble=broken.trouble, what=broken.what)
            try:
                under.body.end()
            except Broken as broken:
                failure = failure or Failure(trouble=broken.trouble, what=broken.what)
        except BaseException:
            if under.line is not None:
                under.line.socket.close()
            raise
        if under.line is not None:
            clear = failure is None and not under.unsent and not under.framed_twice
            self._release(place, under.line, reusable=clear)
        stored = sink.finish() if sink is not None and under.started_sink else None
        recorded = replace(
            under.recorded(failure), complete=failure is None, done_at=under.body.done_at
        )
        if under.body.held:
            return replace(recorded, response_body=under.body.taken())
        if stored is None:
            message = "a body too large for memory was given to a sink that keeps none"
            raise RuntimeError(message)
        return replace(recorded, response_file=stored)

    def exchange(
        self,
        method: str,
        url: str,
        *,
        purpose: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> RecordedExchange:
        """Send one request and return the exchange as recorded, whatever the status.

        Raises UsageError for an insecure URL and `TransportError` where no whole answer came.
        """
        given = dict(headers or {})
        if not any(name.lower() == "accept" for name in given):
            given = {"Accept": "application/json", **given}
        recorded = self.record(
            method, url, purpose=purpose, body=body, headers=tuple(given.items())
        )
        failure = recorded.failure
        if failure is not None:
            trouble = _OLD_TROUBLES.get(failure.trouble, "unavailable")
            raise TransportError(trouble, failure.what, again=failure.trouble in _AGAIN)
        return recorded

    # --- connections --------------------------------------------------------------------------

    def _line(self, under: _Exchange, place: _Place) -> _Line:
        """Return an idle connection that still lives, else a new one. Raises `Broken`."""
        key = (place.secure, place.host, place.port)
        while True:
            with self._lock:
                found = self._idle.get(key)
                line = found.pop() if found else None
            if line is None:
                break
            fresh = self._monotonic() - line.idle_since < _KEPT_S
            if fresh and is_alive(line.socket):
                return line
            line.socket.close()
        peer = connect(
            place.host,
            place.port,
            secure=place.secure,
            trust=self._trust,
            proxy=self._proxy,
            wait=under.deadline.wait,
            limit_s=under.limits.connect_s,
        )
        with self._lock:
            self._opened += 1
            label = f"{self._labels}{self._opened}"
        return _Line(socket=peer.socket, parser=_parser(), label=label, tls=peer.tls)

    def _release(self, place: _Place, line: _Line, *, reusable: bool) -> None:
        parser = line.parser
        ended = parser.our_state is h11.DONE and parser.their_state is h11.DONE
        if not reusable or not ended or parser.trailing_data != (b"", False):
            line.socket.close()
            return
        parser.start_next_cycle()
        line.idle_since = self._monotonic()
        with self._lock:
            self._idle.setdefault((place.secure, place.host, place.port), []).append(line)

    # --- one exchange -------------------------------------------------------------------------

    def _request_pairs(
        self,
        place: _Place,
        body: bytes | None,
        headers: Sequence[tuple[str, str]],
        credential: Credential | None,
    ) -> tuple[tuple[str, str], ...]:
        names = {name.lower() for name, _ in headers}
        taken = sorted(names & _OURS)
        if taken:
            message = f"the header {taken[0]} is set here and cannot be given"
            raise UsageError(message)
        pairs = [("Host", place.authority)]
        if "user-agent" not in names:
            pairs.append(("User-Agent", f"teebundle/{VERSION}"))
        if "accept" not in names:
            pairs.append(("Accept", "*/*"))
        pairs.append(("Accept-Encoding", "identity"))
        if body is not None and "content-type" not in names:
            pairs.append(("Content-Type", "application/json"))
        pairs.extend(headers)
        if credential is not None:
            pairs.append((credential.header, credential.value))
        if body is not None:
            pairs.append(("Content-Length", str(len(body))))
        return tuple(pairs)

    def _perform(
        self,
        under: _Exchange,
        place: _Place,
        method: str,
        pairs: Sequence[tuple[str, str]],
        body: bytes | None,
    ) -> None:
        """Send and receive. Raises `Broken`; UsageError before anything was sent."""
        request = _framed(method, place.target, pairs)
        under.line = line = self._line(under, place)
        head = line.parser.send(request) or b""
        under.sent = _pairs(head)
        parts = [head]
        if body:
            parts.append(line.parser.send(h11.Data(data=body)) or b"")
        parts.append(line.parser.send(h11.EndOfMessage()) or b"")
        self._send(under, line, b"".join(parts))
        self._receive(under, line)

    def _send(self, under: _Exchange, line: _Line, data: bytes) -> None:
        """Send, unless the other side stops reading: it may have answered already."""
        rest = memoryview(data)
        try:
            while rest:
                line.socket.settimeout(under.deadline.wait(under.limits.idle_s))
                rest = rest[line.socket.send(rest[:_SEND]) :]
        except TimeoutError as error:
            under.unsent = True
            if not is_readable(line.socket):
                raise _silent(under) from error
        except OSError:
            under.unsent = True

    def _read(self, under: _Exchange, line: _Line) -> bytes:
        """Return the next bytes, none at the end. Raises `Broken`."""
        line.socket.settimeout(under.deadline.wait(under.limits.idle_s))
        try:
            data = line.socket.recv(_READ)
        except ssl.SSLEOFError:
            under.ragged = True
            data = b""
        except TimeoutError as error:
            raise _silent(under) from error
        except OSError as error:
            raise _lost(under) from error
        if data and under.first is None:
            under.first = self._clock()
        under.ended_stream = not data
        return data

    def _receive(self, under: _Exchange, line: _Line) -> None:
        event = self._head(under, line)
        under.status = event.status_code
        under.http_version = event.http_version.decode("ascii")
        if under.body.sink is not None:
            under.body.sink.begin(under.recorded())
            under.started_sink = True
        announced = _announced(event)
        refused = announced is not None and announced > under.limits.body
        while True:
            try:
                found = line.parser.next_event()
            except h11.RemoteProtocolError as error:
                if under.ended_stream:
                    raise _lost(under) from error
                raise Broken("not-http", "the framing of the answer's body is broken") from error
            if isinstance(found, h11.Data):
                under.body.add(bytes(found.data))
            elif found is h11.NEED_DATA:
                if refused:
                    what = (
                        f"an answer of more than {under.limits.body} bytes ({announced} announced)"
                    )
                    raise Broken("too-large", what)
                line.parser.receive_data(self._read(under, line))
            else:
                break
        if under.ragged:
            # a body that ends with the connection is whole only if TLS ended properly
            # (RFC 9112 9.8); one of any other framing would not have come to its end above
            raise _lost(under)

    def _head(self, under: _Exchange, line: _Line) -> h11.Response:
        """Read up to the end of the header block. Raises `Broken`."""
        head = bytearray()
        before = 0  # bytes of earlier, informational blocks
        limit = under.limits.headers
        seen = 0  # where the search for the end goes on
        while True:
            if not _may_be_http(head):
                raise Broken("not-http", "what came is not HTTP")
            end = _HEAD_END.search(head, seen)
            if end is None:
                seen = max(0, len(head) - _HEAD_END_REACH)
                if before + len(head) > limit:
                    self._too_many(under, head)
                data = self._read(under, line)
                if not data:
                    raise _lost(under)
                head += data
                continue
            if before + end.end() > limit:
                self._too_many(under, head[: end.end()])
            block = bytes(head[: end.end()])
            del head[: end.end()]
            before += len(block)
            seen = 0
            if _NO_HEADER.search(block):
                raise Broken("not-http", "the answer's header block is not HTTP")
            pairs = _pairs(block)
            line.parser.receive_data(block)
            try:
                event = line.parser.next_event()
            except h11.RemoteProtocolError as error:
                raise Broken("not-http", "the answer's header block is not HTTP") from error
            if isinstance(event, h11.InformationalResponse):
                under.first = under.first if head else None
                continue
            if not isinstance(event, h11.Response) or event.status_code > HIGHEST_STATUS:
                raise Broken("not-http", "what came is not an answer of HTTP")
            if _storable(pairs, limit) < len(pairs):
                self._too_many(under, block)
            under.received = pairs
            if head:
                line.parser.receive_data(bytes(head))
            return event

    def _too_many(self, under: _Exchange, block: bytes | bytearray) -> None:
        """Keep of a header block what can be stored, and raise `Broken`."""
        whole = bytes(block[: block.rfind(b"\n") + 1])
        pairs = _pairs(whole)
        under.received = pairs[: _storable(pairs, under.limits.headers)]
        found = re.match(rb"HTTP/1\.([01]) ([1-5][0-9]{2})[ \r\n]", whole)
        if found is not None:
            under.http_version, under.status = f"1.{found[1].decode()}", int(found[2])
        what = f"a header block of more than {under.limits.headers} bytes or {MOST_PAIRS} headers"
        raise Broken("headers-too-large", what)


_OLD_TROUBLES: Final[Mapping[str, Trouble]] = {
    "timeout": "timeout",
    "idle": "timeout",
    "tls": "tls",
    "too-large": "too-large",
    "headers-too-large": "too-large",
}
_AGAIN: Final = frozenset({"unreachable", "timeout", "idle", "cut"})


def _parser() -> h11.Connection:
    # header blocks are limited in `_head`, so this only has to hold one read of chunk framing
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_LINE)


def _framed(method: str, target: str, pairs: Sequence[tuple[str, str]]) -> h11.Request:
    """Return the request. Raises UsageError for what HTTP cannot carry, printing no value."""
    try:
        return h11.Request(
            method=method.encode("ascii"),
            target=target.encode("ascii"),
            headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in pairs],
        )
    except (h11.LocalProtocolError, UnicodeError):
        bad = next((name for name, value in pairs if not _sendable(name, value)), None)
    what = "the method" if bad is None else f"the header {bad!a}"
    message = f"{what} holds characters that HTTP cannot carry"
    raise UsageError(message)


def _sendable(name: str, value: str) -> bool:
    return (
        re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) is not None
        and re.fullmatch(r"[\t\x20-\x7e\x80-\xff]*", value) is not None
        and value == value.strip(" \t")
    )


def _announced(event: h11.Response) -> int | None:
    """Return the length that the answer states, None where it states none that counts.

    An answer that has no body whatever it states is at its end before this matters.
    """
    found = {name.lower(): value for name, value in event.headers.raw_items()}
    if b"transfer-encoding" in found:
        return None
    length = found.get(b"content-length")
    return None if length is None else int(length)


def _may_be_http(head: bytes | bytearray) -> bool:
    start = b"HTTP/1."
    return head[: len(start)] == start[: len(head)]


def _silent(under: _Exchange) -> Broken:
    """Return what ends an exchange in which nothing came for too long."""
    try:
        under.deadline.wait(0.0)
    except Broken as broken:
        return broken
    if under.first is None:
        return Broken("timeout", f"no answer within {under.limits.idle_s:g} s")
    return Broken("idle", f"the answer fell silent for {under.limits.idle_s:g} s")


def _lost(under: _Exchange) -> Broken:
    """Return what ends an exchange whose connection was closed too early."""
    if under.first is None:
        return Broken("cut", "the connection was closed before an answer came")
    if under.status is None:
        return Broken("cut", "the connection was closed in the midst of the header block")
    return Broken(
        "cut",
        f"the connection was closed in the midst of the answer ({under.body.total} bytes came)",
    )
