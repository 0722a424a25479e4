"""Record inside an application: `httpx` transports that look on while it talks to a provider.

::

    import httpx, openai
    from bundle import RecordingTransport

    client = openai.OpenAI(
        http_client=httpx.Client(transport=RecordingTransport(on_exchange=kept.append))
    )

Every byte goes through as it comes, unaltered and at once; what is recorded is a copy. One thing is
changed: ``Accept-Encoding`` is ``identity``, since a compressed answer cannot be judged later. What
the application sees, errors included, is what the inner transport gives.

A streamed chat counts as whole when its framing came to an end. Clients close a stream once they
have read ``data: [DONE]``, a few bytes before that; then up to a second is spent on reading the
rest. A stream closed earlier is recorded as incomplete.

Unlike `bundle.transport` this rests on the header pairs of ``httpx``: order, case and repetitions
are those of the wire, but where a server sends ``Content-Length`` twice or ``Chunked``, one
``Content-Length`` and ``chunked`` are recorded. With HTTP/2 names are lower case.

Source: providers.md 2.1, 2.7; bundle-format.md 6.2 to 6.4.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import httpx

from bundle.calls import CHAT
from bundle.peer import Broken, observed_tls
from bundle.recording import (
    Failure,
    RecordedExchange,
    RecordedTls,
    Withholding,
    redacted_headers,
    redacted_url,
)
from bundle.transport import HIGHEST_STATUS, Body, Clock, forms_of, secrets_sent, utc_now

OnExchange = Callable[[RecordedExchange], None]
PurposeOf = Callable[[str, str], str]
Inner = httpx.BaseTransport
AsyncInner = httpx.AsyncBaseTransport


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """What is decided of a request that is to be recorded, before it is sent.

    ``on_exchange``: who takes its exchange. ``url``: where it goes instead, None: as it says.
    ``headers``: sent where the request has none of that name.
    """

    on_exchange: OnExchange
    url: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


OnRequest = Callable[[str, str, bytes | None], Leave | None]
"""Asked before a request is sent: method, URL (which may hold a credential), body (None where it is
made while it is sent, or holds a credential). None: it passes as it is, unrecorded. May wait, must
not raise."""

_CHATS: Final = ("/completions", "/responses", "/messages")
REST_S: Final = 1.0
"""Seconds spent on the few bytes after the line that ends a stream."""
MOST_SENT: Final = 32
"""Credentials of earlier requests that are remembered: some change with every request."""
_CLOSED: Final = Failure(
    trouble="interrupted", what="the application closed the answer before its end"
)
_NOT_SENT: Final = Failure(
    trouble="unreachable", what="the application ended the exchange before it was sent"
)
_ENDED: Final = Failure(trouble="interrupted", what="the application ended the exchange")
_CUT_WORDS: Final = ("disconnected", "closed connection")


def purpose_of(method: str, url: str) -> str:
    """Return ``chat`` for a POST to a usual path of chats, else ``other``."""
    path = urlsplit(url).path.rstrip("/")
    return "chat" if method == "POST" and path.endswith(_CHATS) else "other"


class _Recorder:
    """What both transports share: how exchanges are begun, and names of connections."""

    def __init__(
        self,
        *,
        on_exchange: OnExchange,
        purpose: PurposeOf,
        secrets: tuple[str, ...],
        limit: int,
        session: str,
        labels: str,
        clock: Clock,
        rest_s: float,
        on_request: OnRequest | None,
    ) -> None:
        self.rest_s = rest_s
        self.on_request = on_request
        self.on_exchange = on_exchange
        self.purpose = purpose
        self.secrets = secrets
        self.limit = limit
        self.session = session
        self.clock = clock
        self._labels = labels
        self._lock = threading.Lock()
        self._sent: dict[str, None] = {}
        self._known: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._count = 0
        self._under_way: set[_Tape] = set()

    def leave(self, request: httpx.Request) -> Leave | None:
        """Return what was decided of a request, None where it is not to be recorded."""
        if self.on_request is None:
            return Leave(on_exchange=self.on_exchange)
        try:
            body = request.content
        except httpx.RequestNotRead:
            body = None
        if body:
            forms = forms_of(self.secrets_after(secrets_sent(_pairs(request.headers))))
            body = None if any(form in body for form in forms) else body
        return self.on_request(request.method, str(request.url), body)

    async def leave_async(self, request: httpx.Request) -> Leave | None:
        """As `leave`, which may wait, without holding up the other tasks."""
        if self.on_request is None:
            return self.leave(request)
        lock, found, gone = threading.Lock(), list[Leave](), threading.Event()

        def ask() -> Leave | None:
            leave = self.leave(request)
            with lock:
                if leave is not None:
                    found.append(leave)
                if not gone.is_set():
                    return leave
            self.not_sent(request, found)
            return None

        # a limit of its own: the application's threads are not waited for
        limiter = anyio.CapacityLimiter(1)
        try:
            return await anyio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=limiter)
        except BaseException:
            with lock:
                gone.set()
            self.not_sent(request, found)
            raise

    def not_sent(self, request: httpx.Request, found: list[Leave]) -> None:
        """Hand over an exchange that was decided on and came to nothing, once."""
        while found:
            self.begin(request, found.pop()).end(_NOT_SENT)

    def begin(self, request: httpx.Request, leave: Leave) -> _Tape:
        """Force the one header, do what was decided, and start to record."""
        if leave.url is not None and leave.url != str(request.url):
            request.url = httpx.URL(leave.url)
            request.headers["Host"] = request.url.netloc.decode("ascii")
        for name, value in leave.headers:
            request.headers.setdefault(name, value)
        given = [name for name, _ in request.headers.raw if name.lower() == b"accept-encoding"]
        name = given[0].decode("ascii") if given else "Accept-Encoding"
        request.headers[name] = "identity"
        tape = _Tape(self, request, leave.on_exchange)
        with self._lock:
            self._under_way.add(tape)
        return tape

    def secrets_after(self, sent: tuple[str, ...]) -> tuple[str, ...]:
        """Return the configured credentials and those that secret headers have carried lately.

        An answer may send the application somewhere else with the credential in the address.
        """
        with self._lock:
            for secret in sent:
                self._sent.pop(secret, None)
                self._sent[secret] = None
            while len(self._sent) > MOST_SENT:
                del self._sent[next(iter(self._sent))]
            return tuple(dict.fromkeys((*self.secrets, *self._sent)))

    def label(self, stream: object) -> str | None:
        """Return the name of a connection, the same for the same one."""
        with self._lock, contextlib.suppress(TypeError):  # of a kind that cannot be told apart
            found = self._known.get(stream)
            if found is None and stream is not None:
                self._known[stream] = found = f"{self._labels}{self._count + 1}"
                self._count += 1
            return found
        return None

    def ended(self, tape: _Tape) -> bool:
        """Whether this is the first time that an exchange ends."""
        with self._lock:
            known = tape in self._under_way
            self._under_way.discard(tape)
            return known

    def end_all(self) -> None:
        """Hand over what is still under way."""
        with self._lock:
            left = tuple(self._under_way)
        for tape in left:
            tape.end(_CLOSED)


class _Tape:
    """One exchange while it goes on."""

    def __init__(
        self, recorder: _Recorder, request: httpx.Request, on_exchange: OnExchange
    ) -> None:
        self._recorder = recorder
        self._on_exchange = on_exchange
        self._request = request
        self._sent: list[bytes] = []
        self._sent_size = 0
        self._first: datetime | None = None
        self._response: httpx.Response | None = None
        self._connection: str | None = None
        self._tls: RecordedTls | None = None
        self._failure: Failure | None = None
        self.finished = False
        self.rest_s = recorder.rest_s
        pairs = _pairs(request.headers)
        self._forms = forms_of(recorder.secrets_after(secrets_sent(pairs)))
        self._started = recorder.clock()
        self._body = Body(recorder.limit, Withholding(self._forms), recorder.clock)

    def sending(self, part: bytes) -> None:
        """Take a part of the request body that is about to be sent."""
        self._sent_size += len(part)
        if self._sent_size <= self._recorder.limit:
            self._sent.append(bytes(part))

    def answered(self, response: httpx.Response) -> None:
        """Take status, headers and the connection."""
        self._first = self._recorder.clock()
        self._response = response
        stream = response.extensions.get("network_stream")
        self._connection = self._recorder.label(stream)
        secured = None if stream is None else stream.get_extra_info("ssl_object")
        if secured is not None:
            context = secured.context
            checked = bool(context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname)
            self._tls = observed_tls(secured, webpki=checked)

    def came(self, part: bytes) -> None:
        """Take a part of the response body, unless recording has ended before."""
        if self._failure is None and not self.finished:
            try:
                self._body.add(part)
            except Broken as broken:
                self._failure = Failure(trouble=broken.trouble, what=broken.what)

    @property
    def done(self) -> bool:
        """Whether the line that ends a stream has come."""
        return self._body.done_at is not None

    def broke(self, error: BaseException) -> None:
        """End because of an error that goes on to the application."""
        self.end(_failure_of(error, answered=self._response is not None))

    def closed(self) -> None:
        """End because the application closed the answer."""
        self.end(None if self._all_came() else _CLOSED)

    def _all_came(self) -> bool:
        """Whether nothing more could come, though nobody read on to the end."""
        response = self._response
        if response is None:
            return False
        if self._request.method == "HEAD" or response.status_code in {204, 304}:
            return True
        return bool(response.headers.get("content-length") == str(self._body.total))

    def end(self, failure: Failure | None) -> None:
        """Hand the exchange over, once. ``failure`` None: the answer is whole."""
        if not self._recorder.ended(self):
            return
        self.finished = True
        try:
            self._body.end()
        except Broken as broken:
            self._failure = self._failure or Failure(trouble=broken.trouble, what=broken.what)
        self._on_exchange(self._recorded(self._failure or failure))

    def _recorded(self, failure: Failure | None) -> RecordedExchange:
        request, response = self._request, self._response
        url = str(request.url)
        sent: bytes | None = b"".join(self._sent) or None
        if self._sent_size > self._recorder.limit:
            what = f"the request body is larger than {self._recorder.limit} bytes"
            failure, sent = failure or Failure(trouble="too-large", what=what), None
        elif sent is not None and any(form in sent for form in self._forms):
            what = "the request body holds a configured credential; it was not kept"
            failure, sent = failure or Failure(trouble="secret-in-body", what=what), None
        recorded = RecordedExchange(
            purpose=self._recorder.purpose(request.method, url),
            method=request.method,
            url=redacted_url(url, self._forms),
            started_at=self._started,
            first_byte_at=self._first,
            ended_at=max(filter(None, (self._recorder.clock(), self._started, self._first))),
            request_headers=redacted_headers(_pairs(request.headers), forms=self._forms),
            request_body=sent,
            session=self._recorder.session,
            complete=failure is None,
            failure=failure,
        )
        if response is None:
            return recorded
        if not 100 <= response.status_code <= HIGHEST_STATUS:
            odd = Failure(trouble="not-http", what="the answer's status is none of HTTP")
            return replace(recorded, complete=False, failure=failure or odd)
        return replace(
            recorded,
            status=response.status_code,
            http_version=response.http_version.removeprefix("HTTP/"),
            response_headers=redacted_headers(_pairs(response.headers), forms=self._forms),
            response_body=self._body.taken(),
            connection=self._connection,
            tls=self._tls,
            done_at=self._body.done_at,
        )


def _pairs(headers: httpx.Headers) -> tuple[tuple[str, str], ...]:
    """Return the pairs in wire order: the parser beneath sends Host first in any case."""
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers.raw]
    return tuple(sorted(pairs, key=lambda pair: pair[0].lower() != "host"))


def _failure_of(error: BaseException, *, answered: bool) -> Failure:
    """Return what an error of the inner transport means, in words of our own."""
    if not isinstance(error, httpx.TransportError):
        return _ENDED
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return Failure(trouble="timeout", what="no connection in time")
    if isinstance(error, httpx.TimeoutException):
        if answered:
            return Failure(trouble="idle", what="the answer fell silent")
        return Failure(trouble="timeout", what="no answer in time")
    if isinstance(error, httpx.ConnectError):
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLError):
                return Failure(trouble="tls", what="no trusted TLS connection")
            cause = cause.__cause__ or cause.__context__
        return Failure(trouble="unreachable", what="no connection")
    if isinstance(error, httpx.RemoteProtocolError):
        if any(word in str(error) for word in _CUT_WORDS):
            return Failure(trouble="cut", what="the connection was closed too early")
        return Failure(trouble="not-http", what="what came is not HTTP")
    if isinstance(error, httpx.ReadError | httpx.WriteError | httpx.CloseError):
        return Failure(trouble="cut", what="the connection was closed too early")
    return Failure(trouble="unreachable", what="the exchange could not be made")


def _rebuilt(
    response: httpx.Response, stream: httpx.SyncByteStream | httpx.AsyncByteStream
) -> httpx.Response:
    return httpx.Response(
        response.status_code,
        headers=response.headers,
        stream=stream,
        extensions=response.extensions,
    )


def _copied(
    request: httpx.Request, stream: httpx.SyncByteStream | httpx.AsyncByteStream
) -> httpx.Request:
    return httpx.Request(
        request.method,
        request.url,
        headers=request.headers,
        stream=stream,
        extensions=request.extensions,
    )


# --- for httpx.Client -------------------------------------------------------------------------


class _Upload(httpx.SyncByteStream):
    """A request body that is copied while it is sent."""

    def __init__(self, tape: _Tape, stream: httpx.SyncByteStream) -> None:
        self._tape = tape
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            self._tape.sending(part)
            yield part

    def close(self) -> None:
        self._stream.close()


class _Download(httpx.SyncByteStream):
    """A response body that is copied while the application reads it."""

    def __init__(self, tape: _Tape, response: httpx.Response) -> None:
        assert isinstance(response.stream, httpx.SyncByteStream)  # noqa: S101  (for the type)
        self._tape = tape
        self._stream = response.stream
        self._network = response.extensions.get("network_stream")
        self._parts = iter(self._stream)

    def __iter__(self) -> Iterator[bytes]:
        try:
            for part in self._parts:
                self._tape.came(part)
                yield part
        except GeneratorExit:  # the application stops reading; `close` follows
            raise
        except BaseException as error:
            self._tape.broke(error)
            raise
        self._tape.end(None)

    def close(self) -> None:
        if self._tape.done and not self._tape.finished and self._read_rest():
            self._tape.end(None)
        try:
            self._stream.close()
        finally:
            self._tape.closed()

    def _read_rest(self) -> bool:
        """Read what follows the last line; return whether the end came.

        In a thread, because a read has the application's patience and there is none here.
        """
        whole = threading.Event()

        def read() -> None:
            # whatever ends the reading: it did not come to the end then
            with contextlib.suppress(Exception):
                for part in self._parts:
                    self._tape.came(part)
                whole.set()

        thread = threading.Thread(target=read, name="teebundle-rest", daemon=True)
        thread.start()
        thread.join(self._tape.rest_s)
        if not thread.is_alive():
            return whole.is_set()
        made = None if self._network is None else self._network.get_extra_info("socket")
        if made is not None:
            with contextlib.suppress(OSError):
                made.shutdown(socket.SHUT_RDWR)
        thread.join(self._tape.rest_s)
        return False


class RecordingTransport(httpx.BaseTransport):
    """Records what goes through an inner transport; for ``httpx.Client``.

    ``inner``: default ``httpx.HTTPTransport()``. ``on_exchange``: called with each exchange once it
    has ended, in the thread that ended it; it should be quick. ``purpose``: of a method and a URL,
    see `purpose_of`. ``secrets``: credentials beyond those that secret headers carry. ``limit``:
    bytes of a body that are kept; a larger one goes through all the same and is recorded as
    incomplete. ``labels``: begins the names of connections. ``rest_s``: seconds spent, after the
    application closed a stream that had said ``[DONE]``, on reading it to its end.
    ``on_request``: see `OnRequest`; without it all is recorded. ``verify``, ``proxy``: of the
    default inner transport.
    """

    def __init__(
        self,
        inner: httpx.BaseTransport | None = None,
        *,
        on_exchange: OnExchange,
        purpose: PurposeOf = purpose_of,
        secrets: tuple[str, ...] = (),
        limit: int = CHAT.body,
        session: str = "s1",
        labels: str = "c",
        clock: Clock = utc_now,
        rest_s: float = REST_S,
        on_request: OnRequest | None = None,
        verify: ssl.SSLContext | bool = True,
        proxy: str | None = None,
    ) -> None:
        self._inner = inner or httpx.HTTPTransport(verify=verify, proxy=proxy)
        self._recorder = _Recorder(
            on_exchange=on_exchange,
            purpose=purpose,
            secrets=secrets,
            limit=limit,
            session=session,
            labels=labels,
            clock=clock,
            rest_s=rest_s,
            on_request=on_request,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its answer; both are recorded on the way."""
        leave = self._recorder.leave(request)
        if leave is None:
            return self._inner.handle_request(request)
        tape = self._recorder.begin(request, leave)
        try:
            assert isinstance(request.stream, httpx.SyncByteStream)  # noqa: S101  (for the type)
            response = self._inner.handle_request(_copied(request, _Upload(tape, request.stream)))
            tape.answered(response)
        except BaseException as error:
            tape.broke(error)
            raise
        return _rebuilt(response, _Download(tape, response))

    def hand_over(self) -> None:
        """Hand over what is under way as incomplete; it goes on unrecorded."""
        self._recorder.end_all()

    def close(self) -> None:
        """Close the inner transport; what is under way is handed over as incomplete."""
        self._recorder.end_all()
        self._inner.close()


# --- for httpx.AsyncClient --------------------------------------------------------------------


class _AsyncUpload(httpx.AsyncByteStream):
    """See `_Upload`."""

    def __init__(self, tape: _Tape, stream: httpx.AsyncByteStream) -> None:
        self._tape = tape
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            self._tape.sending(part)
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class _AsyncDownload(httpx.AsyncByteStream):
    """See `_Download`."""

    def __init__(self, tape: _Tape, response: httpx.Response) -> None:
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101  (for the type)
        self._tape = tape
        self._stream = response.stream
        self._parts = aiter(self._stream)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._parts:
                self._tape.came(part)
                yield part
        except GeneratorExit:
            raise
        except BaseException as error:
            self._tape.broke(error)
            raise
        self._tape.end(None)

    async def aclose(self) -> None:
        try:
            if self._tape.done and not self._tape.finished:
                await self._read_rest()
        finally:
            try:
                await self._stream.aclose()
            finally:
                self._tape.closed()

    async def _read_rest(self) -> None:
        whole = False
        with anyio.move_on_after(self._tape.rest_s), contextlib.suppress(httpx.TransportError):
            async for part in self._parts:
                self._tape.came(part)
            whole = True
        if whole:
            self._tape.end(None)


class AsyncRecordingTransport(httpx.AsyncBaseTransport):
    """Records what goes through an inner transport; for ``httpx.AsyncClient``.

    As `RecordingTransport`; ``inner``: default ``httpx.AsyncHTTPTransport()``. ``on_exchange`` is
    an ordinary function, called in the task that ended the exchange; it must not block.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport | None = None,
        *,
        on_exchange: OnExchange,
        purpose: PurposeOf = purpose_of,
        secrets: tuple[str, ...] = (),
        limit: int = CHAT.body,
        session: str = "s1",
        labels: str = "c",
        clock: Clock = utc_now,
        rest_s: float = REST_S,
        on_request: OnRequest | None = None,
        verify: ssl.SSLContext | bool = True,
        proxy: str | None = None,
    ) -> None:
        self._inner = inner or httpx.AsyncHTTPTransport(verify=verify, proxy=proxy)
        self._recorder = _Recorder(
            on_exchange=on_exchange,
            purpose=purpose,
            secrets=secrets,
            limit=limit,
            session=session,
            labels=labels,
            clock=clock,
            rest_s=rest_s,
            on_request=on_request,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its answer; both are recorded on the way."""
        leave = await self._recorder.leave_async(request)
        if leave is None:
            return await self._inner.handle_async_request(request)
        tape = self._recorder.begin(request, leave)
        try:
            assert isinstance(request.stream, httpx.AsyncByteStream)  # noqa: S101  (for the type)
            sent = _copied(request, _AsyncUpload(tape, request.stream))
            response = await self._inner.handle_async_request(sent)
            tape.answered(response)
        except BaseException as error:
            tape.broke(error)
            raise
        return _rebuilt(response, _AsyncDownload(tape, response))

    def hand_over(self) -> None:
        """Hand over what is under way as incomplete; it goes on unrecorded."""
        self._recorder.end_all()

    async def aclose(self) -> None:
        """Close the inner transport; what is under way is handed over as incomplete."""
        self._recorder.end_all()
        await self._inner.aclose()
