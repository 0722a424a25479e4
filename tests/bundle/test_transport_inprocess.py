"""Recording inside an application: with httpx itself and with the official client."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import bundle
from bundle import AsyncRecordingTransport, RecordingTransport
from bundle.inprocess import MOST_SENT
from bundle.recording import RecordedExchange
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

KEY = "sk-test-0123456789abcdef"
STREAM = [
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m",',
    b'"choices":[{"index":0,"delta":{"content":"a\xc3',
    b'\xa4"}}]}\n\n',
    b"data: [DONE]\n",
    b"\n",
]
ANSWER = json.dumps(
    {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "b"}}
        ],
    }
).encode()


class Kept(list[RecordedExchange]):
    """What was handed over; `one` is all of it."""

    @property
    def one(self) -> RecordedExchange:
        (found,) = self
        return found


def client(kept: Kept, **given: Any) -> httpx.Client:
    return httpx.Client(transport=RecordingTransport(on_exchange=kept.append, **given), timeout=5)


class Both:
    """The same request through the sync and the async transport."""

    def __init__(self, way: str) -> None:
        self.way = way

    def ask(self, kept: Kept, url: str, until: bytes | None = None, **given: Any) -> list[bytes]:
        """Read a stream in raw parts, up to the one that ends with ``until``."""
        timeout = given.pop("timeout", 5)
        method, content = given.pop("method", "POST"), given.pop("content", b"{}")
        if self.way == "sync":
            transport = RecordingTransport(on_exchange=kept.append, **given)
            with httpx.Client(transport=transport, timeout=timeout) as made:
                with made.stream(method, url, content=content) as response:
                    found = []
                    for part in response.iter_raw():
                        found.append(part)
                        if until is not None and part.endswith(until):
                            break
                    return found

        async def run() -> list[bytes]:
            transport = AsyncRecordingTransport(on_exchange=kept.append, **given)
            async with httpx.AsyncClient(transport=transport, timeout=timeout) as made:
                async with made.stream(method, url, content=content) as response:
                    found = []
                    async for part in response.aiter_raw():
                        found.append(part)
                        if until is not None and part.endswith(until):
                            break
                    return found

        return asyncio.run(run())


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Both:
    return Both(request.param)


# --- the package ------------------------------------------------------------------------------


def test_public_names_are_loaded_when_asked_for_alone() -> None:
    code = (
        "import sys, bundle; assert 'httpx' not in sys.modules and 'bundle.transport' not in "
        "sys.modules; bundle.RecordingTransport; assert 'httpx' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_public_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        bundle.Nothing  # noqa: B018


# --- with httpx -------------------------------------------------------------------------------


def test_inprocess_exchange_is_recorded_as_sent_and_received(both: Both) -> None:
    kept = Kept()
    answer = length(ANSWER, "sErVer: odd", "X-A: 1", "x-a: 2", "Set-Cookie: a=b")
    with serving(answer) as server:
        found = both.ask(kept, server.url("/v1/chat/completions?x=%2F"), content=b'{"a" : 1}')
    recorded = kept.one
    assert b"".join(found) == ANSWER == recorded.response_body
    assert recorded.request_body == b'{"a" : 1}'
    head = server.requests[0].partition(b"\r\n\r\n")[0].decode()
    assert [f"{name}: {value}" for name, value in recorded.request_headers or ()] == head.split(
        "\r\n"
    )[1:]
    assert ("Accept-Encoding", "identity") in (recorded.request_headers or ())
    assert (recorded.response_headers or ())[:4] == (
        ("sErVer", "odd"),
        ("X-A", "1"),
        ("x-a", "2"),
        ("Set-Cookie", None),
    )
    assert (recorded.purpose, recorded.method, recorded.status) == ("chat", "POST", 200)
    assert (recorded.http_version, recorded.complete, recorded.failure) == ("1.1", True, None)
    assert recorded.url == server.url("/v1/chat/completions?x=%2F")
    assert recorded.first_byte_at is not None
    assert recorded.started_at <= recorded.first_byte_at <= recorded.ended_at


def test_inprocess_stream_goes_through_at_once(both: Both) -> None:
    """The server sends each part only once the application has the one before."""
    seen = threading.Semaphore(1)
    parts = [b"data: %d\n\n" % number for number in range(5)]

    def script(line: Line) -> None:
        line.request()
        line.send(chunked([]).removesuffix(b"0\r\n\r\n"))
        for part in parts:
            assert seen.acquire(timeout=5)
            line.send(b"%x\r\n%s\r\n" % (len(part), part))
        assert seen.acquire(timeout=5)
        line.send(b"0\r\n\r\n")

    kept = Kept()
    with RawServer(script) as server:
        if both.way == "sync":
            with client(kept) as made, made.stream("GET", server.url()) as response:
                for part in response.iter_raw():
                    assert part in parts
                    assert kept == []
                    seen.release()
        else:

            async def run() -> None:
                transport = AsyncRecordingTransport(on_exchange=kept.append)
                async with httpx.AsyncClient(transport=transport) as asynchronous:
                    async with asynchronous.stream("GET", server.url()) as response:
                        async for part in response.aiter_raw():
                            assert part in parts
                            seen.release()

            asyncio.run(run())
    assert kept.one.response_body == b"".join(parts)
    assert kept.one.complete


def test_inprocess_credential_is_known_where_an_answer_sends_the_application() -> None:
    """Another origin is asked without the header, but may have the credential in its address."""
    kept = Kept()
    with serving(length(b"you: " + KEY.encode())) as other:
        away = f"Location: {other.url(f'/x?k={KEY}', host='localhost')}"
        with serving(length(b"", away, status="302 Found")) as server:
            with client(kept) as made:
                headers = {"Authorization": f"Bearer {KEY}"}
                made.get(server.url(), headers=headers, follow_redirects=True)
    assert b"authorization" not in other.requests[0].lower()
    assert KEY not in repr(kept)
    assert kept[1].url.endswith("/x?k={redacted}")
    assert (kept[1].response_body, kept[1].complete) == (b"you: ", False)


def test_inprocess_only_the_last_credentials_are_remembered() -> None:
    kept = Kept()
    answers = [length(b"{}")] * (MOST_SENT + 1) + [length(b"key-0001-000 key-0001-001")]
    with serving(*answers) as server, client(kept) as made:
        for number in range(MOST_SENT + 1):
            headers = {"Authorization": f"Bearer key-0001-{number:03}"}
            made.get(server.url(), headers=headers)
        made.get(server.url())
    assert kept[-1].response_body == b"key-0001-000 "


@pytest.mark.parametrize(
    ("method", "answer", "whole"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", True),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", True),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", True),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", False),
    ],
)
def test_inprocess_answer_without_a_body_is_whole_unread(
    method: str, answer: bytes, whole: bool
) -> None:
    kept = Kept()
    with serving(answer) as server, client(kept) as made, made.stream(method, server.url()):
        pass
    assert (kept.one.complete, kept.one.response_body) == (whole, None)


def test_inprocess_stream_closed_early_is_not_read_on(both: Both) -> None:
    def script(line: Line) -> None:
        line.request()
        line.send(chunked([b"data: 1\n\n"]).removesuffix(b"0\r\n\r\n"))
        line.server.over.wait(0.2)
        line.send(b"1\r\nx\r\n0\r\n\r\n")

    kept = Kept()
    with RawServer(script) as server:
        both.ask(kept, server.url(), until=b"1\n\n")
    assert (kept.one.response_body, kept.one.complete) == (b"data: 1\n\n", False)


def test_inprocess_upload_beyond_the_limit_is_not_held() -> None:
    def upload() -> Iterator[bytes]:
        for _ in range(64):
            yield bytes(1 << 16)

    def script(line: Line) -> None:
        rest = 4 << 20
        while rest > 0:
            rest -= len(line.socket.recv(1 << 16))
        line.send(length(b"x"))

    kept = Kept()
    with RawServer(script) as server, client(kept, limit=1000) as made:
        tracemalloc.start()
        try:
            made.post(server.url(), content=upload(), headers={"Content-Length": str(4 << 20)})
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert kept.one.request_body is None
    assert peak < 3 << 20


def test_inprocess_status_that_no_bundle_holds_is_no_answer(both: Both) -> None:
    kept = Kept()
    with serving(length(b"x", status="999 Odd")) as server:
        assert both.ask(kept, server.url()) == [b"x"]
    assert (kept.one.status, kept.one.response_body, kept.one.complete) == (None, None, False)
    assert kept.one.failure is not None
    assert kept.one.failure.trouble == "not-http"


def test_inprocess_early_close_is_incomplete(both: Both) -> None:
    kept = Kept()

    def script(line: Line) -> None:
        line.request()
        line.send(chunked([b"data: 1\n\n"]).removesuffix(b"0\r\n\r\n"))
        line.wait()

    with RawServer(script) as server:
        assert both.ask(kept, server.url(), until=b"1\n\n") == [b"data: 1\n\n"]
    recorded = kept.one
    assert recorded.failure is not None
    assert (recorded.complete, recorded.failure.trouble) == (False, "interrupted")
    assert recorded.response_body == b"data: 1\n\n"


@pytest.mark.parametrize("ends", [True, False])
def test_inprocess_rest_after_done_is_read_but_not_waited_for(both: Both, ends: bool) -> None:
    """A client that closes on ``[DONE]`` has not read the end; it is fetched, within limits."""
    kept, rest = Kept(), threading.Event()

    def script(line: Line) -> None:
        line.request()
        line.send(chunked(STREAM[:4]).removesuffix(b"0\r\n\r\n"))
        if ends:
            rest.wait(5)
            line.send(b"1\r\n\n\r\n0\r\n\r\n")
        line.wait()

    given: dict[str, Any] = {"rest_s": 5.0 if ends else 0.1}
    threading.Timer(0.05, rest.set).start()
    with RawServer(script) as server:
        both.ask(kept, server.url(), until=b"[DONE]\n", **given)
    recorded = kept.one
    assert recorded.complete is ends
    expected = STREAM if ends else STREAM[:4]
    assert recorded.response_body == b"".join(expected)


def test_inprocess_closed_with_nothing_left_is_complete(both: Both) -> None:
    kept = Kept()
    with serving(length(b"abc")) as server:
        both.ask(kept, server.url(), until=b"c")
    assert (kept.one.complete, kept.one.response_body) == (True, b"abc")


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
def test_inprocess_answer_without_a_body_is_complete_though_nobody_reads(
    method: str, answer: bytes
) -> None:
    kept = Kept()
    with serving(answer) as server, client(kept) as made:
        with made.stream(method, server.url()):
            pass
    assert (kept.one.complete, kept.one.response_body) == (True, None)


def silent(line: Line) -> None:
    line.request()
    line.wait()


def silent_later(line: Line) -> None:
    line.request()
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    line.wait()


@pytest.mark.parametrize(
    ("script", "error", "trouble", "status"),
    [
        (answering(b""), httpx.RemoteProtocolError, "cut", None),
        (answering(b"SSH-2.0\r\n\r\n"), httpx.RemoteProtocolError, "not-http", None),
        (answering(length(b"abc").replace(b"3", b"9")), httpx.RemoteProtocolError, "cut", 200),
        (silent, httpx.ReadTimeout, "timeout", None),
        (silent_later, httpx.ReadTimeout, "idle", 200),
        (lambda line: (line.request(), line.reset()), httpx.ReadError, "cut", None),
    ],
    ids=["no answer", "not http", "short", "silent", "silent later", "reset"],
)
def test_inprocess_failure_reaches_application_and_record(
    both: Both, script: Script, error: type[Exception], trouble: str, status: int | None
) -> None:
    kept = Kept()
    with RawServer(script) as server, pytest.raises(error):
        both.ask(kept, server.url(), timeout=0.3)
    recorded = kept.one
    assert recorded.failure is not None
    assert (recorded.failure.trouble, recorded.complete) == (trouble, False)
    assert recorded.status == status
    assert recorded.response_body == (b"abc" if status else None)


def test_inprocess_refused_connection_is_unreachable(both: Both) -> None:
    kept = Kept()
    with serving() as server:
        url = server.url()
    with pytest.raises(httpx.ConnectError):
        both.ask(kept, url)
    assert kept.one.failure is not None
    assert kept.one.failure.trouble == "unreachable"


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (httpx.ConnectTimeout("x"), "timeout"),
        (httpx.PoolTimeout("x"), "timeout"),
        (httpx.ProxyError("x"), "unreachable"),
        (KeyError("x"), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_inprocess_error_of_the_inner_transport_goes_on(error: BaseException, trouble: str) -> None:
    class Failing(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            raise error

    kept = Kept()
    with client(kept, inner=Failing()) as made, pytest.raises(type(error)):
        made.get("https://api.example/")
    assert kept.one.failure is not None
    assert kept.one.failure.trouble == trouble


@pytest.mark.parametrize("trusted", [True, False])
def test_inprocess_tls_is_that_of_the_connection(both: Both, trusted: bool) -> None:
    import ssl

    kept, tls = Kept(), authority().context()
    verify = ssl.create_default_context(cafile=authority().file)
    if not trusted:
        verify.check_hostname = False
        verify.verify_mode = ssl.CERT_NONE
    inner = {
        "sync": lambda: httpx.HTTPTransport(verify=verify),
        "async": lambda: httpx.AsyncHTTPTransport(verify=verify),
    }[both.way]()
    with serving(length(b"1"), tls=tls) as server:
        both.ask(kept, server.url(), inner=inner)
    seen = kept.one.tls
    assert seen is not None
    assert seen.chain == tls.chain  # type: ignore[attr-defined]
    assert seen.spki == tls.spki  # type: ignore[attr-defined]
    assert (seen.version, seen.webpki) == ("TLSv1.3", trusted)


def test_inprocess_untrusted_certificate_is_tls(both: Both) -> None:
    kept = Kept()
    with serving(length(b"1"), tls=authority().context()) as server:
        with pytest.raises(httpx.ConnectError):
            both.ask(kept, server.url())
    assert kept.one.failure is not None
    assert kept.one.failure.trouble == "tls"


def test_inprocess_kept_connections_have_one_label() -> None:
    kept = Kept()
    with serving(length(b"1"), length(b"2", "Connection: close")) as server:
        with client(kept, labels="a") as made:
            for _ in range(2):
                made.get(server.url())
    with serving(length(b"1")) as server, client(kept, labels="b") as made:
        made.get(server.url())
    assert [one.connection for one in kept] == ["a1", "a1", "b1"]


def test_inprocess_inner_without_a_connection_has_no_label() -> None:
    kept = Kept()
    inner = httpx.MockTransport(lambda _request: httpx.Response(200, content=b"abc"))
    with client(kept, inner=inner) as made:
        assert made.get("https://api.example/").content == b"abc"
    assert (kept.one.connection, kept.one.tls, kept.one.response_body) == (None, None, b"abc")


def test_inprocess_redirects_followed_by_the_client_are_exchanges_of_their_own() -> None:
    kept = Kept()
    with serving(length(b"", "Location: /b", status="302 Found"), length(b"x")) as server:
        with client(kept) as made:
            assert made.get(server.url("/a"), follow_redirects=True).text == "x"
    assert [one.status for one in kept] == [302, 200]


def test_inprocess_streamed_upload_is_recorded() -> None:
    def parts() -> Iterator[bytes]:
        yield b"abc"
        yield b"def"

    kept = Kept()
    inner = httpx.MockTransport(lambda request: httpx.Response(200, content=request.read()))
    with client(kept, inner=inner) as made:
        assert made.post("https://api.example/", content=parts()).content == b"abcdef"
    assert kept.one.request_body == b"abcdef"


def test_inprocess_body_over_the_limit_goes_through_and_is_kept_in_part(both: Both) -> None:
    kept = Kept()
    with serving(chunked([b"abcdef", b"ghi"])) as server:
        found = both.ask(kept, server.url(), limit=4)
    assert b"".join(found) == b"abcdefghi"
    assert kept.one.response_body == b"abcd"
    assert kept.one.failure is not None
    assert kept.one.failure.trouble == "too-large"


def test_inprocess_request_over_the_limit_is_sent_and_not_kept() -> None:
    kept = Kept()
    with serving(length(b"1")) as server, client(kept, limit=4) as made:
        made.post(server.url(), content=b"12345")
    assert kept.one.request_body is None
    assert kept.one.failure is not None
    assert kept.one.failure.trouble == "too-large"
    assert server.requests[0].endswith(b"12345")


def test_inprocess_secrets_pass_through_and_are_not_kept() -> None:
    kept = Kept()
    with serving(length(f"you sent {KEY}!".encode(), f"X-Echo: {KEY}")) as server:
        with client(kept) as made:
            answer = made.post(
                server.url(f"/?x={KEY}"),
                content=f"key {KEY}",
                headers={"Authorization": f"Bearer {KEY}"},
            )
    assert KEY in answer.text
    assert KEY in answer.headers["X-Echo"]
    assert KEY.encode() in server.requests[0]
    assert KEY not in repr(kept)
    assert kept.one.response_body == b"you sent "
    assert kept.one.request_body is None
    assert kept.one.failure is not None
    assert kept.one.failure.trouble == "secret-in-body"


def test_inprocess_closing_the_client_hands_over_what_is_under_way() -> None:
    kept = Kept()
    with RawServer(silent_later) as server:
        made = client(kept)
        response = made.send(made.build_request("GET", server.url()), stream=True)
        made.close()
        assert kept.one.failure is not None
        assert kept.one.failure.trouble == "interrupted"
        response.close()
    assert len(kept) == 1


def test_inprocess_cancelled_task_is_recorded() -> None:
    kept = Kept()

    async def run(url: str) -> None:
        transport = AsyncRecordingTransport(on_exchange=kept.append)
        async with httpx.AsyncClient(transport=transport, timeout=5) as made:
            task = asyncio.create_task(made.get(url))
            await asyncio.to_thread(asked.wait, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asked = threading.Event()

    def script(line: Line) -> None:
        line.request()
        asked.set()
        line.wait()

    with RawServer(script) as server:
        asyncio.run(run(server.url()))
    assert kept.one.failure is not None
    assert kept.one.failure.trouble == "interrupted"


def test_inprocess_many_threads_mix_nothing() -> None:
    kept = Kept()

    def script(line: Line) -> None:
        while True:
            request = line.request()
            if not request:
                return
            line.send(chunked([b"<", request.rpartition(b"\r\n\r\n")[2], b">"]))

    with RawServer(script) as server, client(kept) as made:

        def ask(number: int) -> None:
            for turn in range(5):
                body = b"%d-%d" % (number, turn)
                assert made.post(server.url(), content=body).content == b"<" + body + b">"

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert len(kept) == 40
    assert all(one.response_body == b"<%s>" % (one.request_body or b"") for one in kept)


# --- with the official client -----------------------------------------------------------------

EXPLAINED = "the official client is a development dependency; without it httpx alone is tested"
MESSAGES: Any = [{"role": "user", "content": "hä"}]


@pytest.fixture
def openai() -> Any:
    return pytest.importorskip("openai", reason=EXPLAINED)


@pytest.mark.parametrize("stream", [False, True])
def test_official_client_is_recorded(openai: Any, stream: bool) -> None:
    kept = Kept()
    answer = chunked(STREAM, "Content-Type: text/event-stream")
    if not stream:
        answer = length(ANSWER, "Content-Type: application/json")
    with serving(answer, answer) as server:
        with client(kept) as http_client:
            made = openai.OpenAI(
                api_key=KEY, base_url=server.url("/v1"), http_client=http_client, max_retries=0
            )
            for _ in range(2):
                found = made.chat.completions.create(model="m", messages=MESSAGES, stream=stream)
                if stream:
                    assert [one.choices[0].delta.content for one in found] == ["aä"]
                else:
                    assert found.choices[0].message.content == "b"
    _as_official(kept, server, stream=stream)


@pytest.mark.parametrize("stream", [False, True])
def test_official_asynchronous_client_is_recorded(openai: Any, stream: bool) -> None:
    kept = Kept()
    answer = chunked(STREAM, "Content-Type: text/event-stream")
    if not stream:
        answer = length(ANSWER, "Content-Type: application/json")

    async def run(url: str) -> None:
        transport = AsyncRecordingTransport(on_exchange=kept.append)
        async with httpx.AsyncClient(transport=transport, timeout=5) as http_client:
            made = openai.AsyncOpenAI(
                api_key=KEY, base_url=url, http_client=http_client, max_retries=0
            )
            for _ in range(2):
                found = await made.chat.completions.create(
                    model="m", messages=MESSAGES, stream=stream
                )
                if stream:
                    assert [one.choices[0].delta.content async for one in found] == ["aä"]
                else:
                    assert found.choices[0].message.content == "b"

    with serving(answer, answer) as server:
        asyncio.run(run(server.url("/v1")))
    _as_official(kept, server, stream=stream)


def _as_official(kept: Kept, server: RawServer, *, stream: bool) -> None:
    assert len(kept) == 2
    for recorded, request in zip(kept, server.requests, strict=True):
        assert (recorded.purpose, recorded.complete, recorded.failure) == ("chat", True, None)
        assert recorded.response_body == (b"".join(STREAM) if stream else ANSWER)
        assert recorded.request_body == request.partition(b"\r\n\r\n")[2]
        assert (recorded.done_at is not None) is stream
        assert KEY not in repr(recorded)
        assert KEY.encode() in request
    assert {one.connection for one in kept} == {"c1"}, "the connection could be used again"
