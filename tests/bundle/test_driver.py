"""The driver: what it sends, what it takes from the journal, when it waits and when it stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from bundle.bounds import Bounds
from bundle.calls import Call, Steps, patiently, usable
from bundle.driver import Driver, RefusedError, stated_date, unsent
from bundle.events import Event
from bundle.journal import Journal, JournalError
from bundle.recording import Failure, RecordedExchange, redacted_headers, redacted_url
from bundle.transport import Credential
from verify.engine.errors import UsageError

from .test_journal import AT, KEY, call, plan

Reply = bytes | int | RecordedExchange | BaseException | Callable[[Any], None]


@dataclass
class Clock:
    now: datetime = AT

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=10)
        return self.now


@dataclass
class Fake:
    """A transport that answers by URL. A reply is a body, a status, an exchange or an error."""

    replies: dict[str, list[Reply]]
    clock: Clock = field(default_factory=Clock)
    sent: list[tuple[str, bytes | None]] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    streaming: bool = True

    def record(self, method: str, url: str, **given: Any) -> RecordedExchange:
        self.sent.append((url, given.get("body")))
        self.seen.append(given)
        replies = self.replies[url]
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, BaseException):
            raise reply
        begun = RecordedExchange(
            purpose=given["purpose"],
            method=method,
            url=redacted_url(url),
            started_at=self.clock(),
            ended_at=self.clock.now,
            request_headers=redacted_headers(
                (("Host", "x"), *given["headers"], *_credential(given["credential"]))
            ),
            request_body=given["body"],
            session=given["session"],
            complete=False,
        )
        if isinstance(reply, Failure):
            return replace(begun, failure=reply, ended_at=self.clock())
        status, body = (reply, b'{"error":"told"}') if isinstance(reply, int) else (200, reply)
        assert isinstance(body, bytes)
        first = self.clock()
        head = replace(
            begun,
            status=status,
            response_headers=self.headers,
            first_byte_at=first,
            ended_at=first,
            connection="c1",
        )
        sink, watch = given["sink"], given["watch"]
        if self.streaming:
            sink.begin(head)
            for at in range(0, len(body), 5):
                sink.write(body[at : at + 5])
                watch(at + len(body[at : at + 5]))
            sink.finish()
        return replace(head, ended_at=self.clock(), complete=True, response_body=body or None)


def _credential(given: Credential | None) -> tuple[tuple[str, str], ...]:
    return () if given is None else ((given.header, given.value),)


URL = "https://provider.example/a?nonce=00"


@dataclass
class Setting:
    folder: Path
    fake: Fake
    waits: list[float] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def driver(self, journal: Journal, **more: Any) -> Driver:
        return Driver(
            transport=self.fake,
            journal=journal,
            clock=self.fake.clock,
            credentials={"provider": Credential(header="Authorization", value=f"Bearer {KEY}")},
            redacting=(KEY,),
            watch=self.events.append,
            sleep=self.waits.append,
            jitter=lambda: 1.0,
            **more,
        )

    def create(self) -> Journal:
        return Journal.create(self.folder, plan(), secrets=(KEY,))

    def open(self) -> Journal:
        return Journal.open(self.folder, secrets=(KEY,))

    def kinds(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(folder=tmp_path / "j", fake=Fake(replies={}))


def each(*calls: Call) -> Steps[list[RecordedExchange]]:
    found = []
    for one in calls:
        recorded = yield one
        found += [recorded]
    return found


def test_driver_sends_records_and_feeds_back(setting: Setting) -> None:
    setting.fake.replies = {URL: [b"one"], "https://provider.example/b": [b"two"]}
    calls = (
        call(credential="provider", headers=(("X-A", "1"),), session="s2", stage="attestation"),
        call("b", url="https://provider.example/b", method="POST", body=b"asked", stage="more"),
    )
    with setting.create() as journal:
        driver = setting.driver(journal)
        found = driver.run(each(*calls))
        driver.end_stage()
        assert [one.response_body for one in found] == [b"one", b"two"]
        assert journal.exchanges == tuple(found)
    first = setting.fake.seen[0]
    assert first["credential"].value == f"Bearer {KEY}"
    assert first["bounds"] == calls[0].bounds
    assert first["session"] == "s2"
    assert found[0].request_headers == (("Host", "x"), ("X-A", "1"), ("Authorization", None))
    assert setting.fake.seen[1]["credential"] is None
    assert setting.fake.sent[1] == ("https://provider.example/b", b"asked")
    stages = [(e.kind, e.stage) for e in setting.events if e.kind.startswith("stage")]
    assert stages == [
        ("stage-began", "attestation"),
        ("stage-ended", "attestation"),
        ("stage-began", "more"),
        ("stage-ended", "more"),
    ]
    assert [event.size for event in setting.kinds("bytes")] == [3, 3]


def test_driver_resumed_asks_for_what_is_new_alone(setting: Setting) -> None:
    setting.fake.replies = {URL: [b"one"], "https://provider.example/b": [b"two"]}
    second = call("b", url="https://provider.example/b", after_s=4.0)
    with setting.create() as journal:
        first = setting.driver(journal).run(each(call(after_s=2.0)))
    assert setting.waits == [2.5]
    with setting.open() as journal:
        found = setting.driver(journal).run(each(call(after_s=2.0), second))
        assert found[0] == first[0]
        assert journal.exchanges == tuple(found)
    assert [url for url, _ in setting.fake.sent] == [URL, "https://provider.example/b"]
    assert setting.waits == [2.5, 5.0]
    assert found[0].connection == "c1"
    assert found[1].connection == "r2-c1", "another process, another connection"


def test_driver_limits_may_be_raised(setting: Setting) -> None:
    setting.fake.replies = {URL: [b"one"]}
    with setting.create() as journal:
        setting.driver(journal, bounds=lambda _call: Bounds(body=7)).run(each(call()))
    assert setting.fake.seen[0]["bounds"] == Bounds(body=7)


def test_driver_retries_with_waits_and_says_why(setting: Setting) -> None:
    setting.fake.replies = {URL: [503, Failure(trouble="timeout", what="silence\x1b[2J"), b"one"]}
    with setting.create() as journal:
        asked, recorded = setting.driver(journal).run(patiently(lambda _number: call()))
        assert asked.step == "attest-1/3"
        assert usable(recorded)
        assert len(journal.exchanges) == 3
    assert setting.waits == [1.25, 2.5]
    waiting = setting.kinds("waiting")
    assert [event.text for event in waiting] == [
        'HTTP 503: {"error":"told"}',
        "timeout: silence\\x1b[2J",
    ]


# --- what a killed process left -----------------------------------------------------------------


def begun(setting: Setting, one: Call, part: bytes) -> None:
    with setting.create() as journal:
        under = journal.begin(one, url=one.url, headers=(), started_at=AT)
        if part:
            under.write(part)
        under.leave()


def test_driver_never_sends_a_chat_twice(setting: Setting) -> None:
    chat = call("chat", purpose="chat", once=True, body=b"say")
    begun(setting, chat, b"half an ans")
    with setting.open() as journal:
        (recorded,) = setting.driver(journal).run(each(chat))
        assert journal.exchanges == (recorded,)
    assert setting.fake.sent == []
    assert recorded.response_body == b"half an ans"
    assert recorded.failure is not None
    assert recorded.failure.trouble == "interrupted"


def test_driver_feeds_back_an_interrupted_attestation(setting: Setting) -> None:
    begun(setting, call(), b"")
    setting.fake.replies = {URL: [b"one"]}
    with setting.open() as journal:
        asked, recorded = setting.driver(journal).run(patiently(lambda _number: call()))
        assert asked.step == "attest-1/2", "with a nonce of its own"
        assert usable(recorded)
        assert len(journal.exchanges) == 2


def test_driver_asks_again_for_interrupted_collateral(setting: Setting) -> None:
    item = call("before.intel", purpose="collateral")
    begun(setting, item, b"ha")
    setting.fake.replies = {URL: [b"whole"]}
    with setting.open() as journal:
        (recorded,) = setting.driver(journal).run(each(item))
        assert recorded.response_body == b"whole"
        cut, whole = journal.exchanges
        assert (cut.response_body, cut.complete) == (b"ha", False)
        assert whole == recorded


def test_driver_stopped_before_sending_leaves_nothing_sent(setting: Setting) -> None:
    chat = call("chat", purpose="chat", once=True, body=b"say", url="http://provider.example/")
    setting.fake.replies = {chat.url: [UsageError("only https:// is spoken"), b"now"]}
    with setting.create() as journal:
        with pytest.raises(UsageError, match="only https"):
            setting.driver(journal).run(each(chat))
    with setting.open() as journal:
        (recorded,) = setting.driver(journal).run(each(chat))
        assert recorded.response_body == b"now"


# --- stopping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 402, 403])
def test_driver_stops_where_the_provider_refuses(setting: Setting, status: int) -> None:
    setting.fake.replies = {URL: [status]}
    with setting.create() as journal:
        driver = setting.driver(journal)
        with pytest.raises(RefusedError) as refused:
            driver.run(patiently(lambda _number: call(credential="provider")))
        assert refused.value.exit_code == 5
        assert refused.value.status == status
        assert f"HTTP {status}" in str(refused.value)
        assert KEY not in str(refused.value)
        assert len(setting.fake.sent) == 1
        driver.forget_unanswered()
    setting.fake.replies = {URL: [b"paid"]}
    with setting.open() as journal:
        _, recorded = setting.driver(journal).run(patiently(lambda _number: call()))
        assert recorded.response_body == b"paid"


def test_driver_goes_on_where_a_vendor_refuses(setting: Setting) -> None:
    setting.fake.replies = {URL: [401]}
    with setting.create() as journal:
        (recorded,) = setting.driver(journal).run(each(call(purpose="nras", credential="nras")))
    assert recorded.status == 401
    assert setting.fake.seen[0]["credential"] is None, "no key of that name is configured"


def test_driver_forgets_failures_but_no_chat_that_was_sent(setting: Setting) -> None:
    urls = {name: f"https://provider.example/{name}" for name in "abcd"}
    gone = Failure(trouble="unreachable", what="refused")
    setting.fake.replies = {
        urls["a"]: [b"fine"],
        urls["b"]: [404],
        urls["c"]: [500],
        urls["d"]: [gone],
    }
    steps = (
        call("a", url=urls["a"]),
        call("b", url=urls["b"]),
        call("b/2", url=urls["b"]),
        call("c", url=urls["c"], once=True, purpose="chat"),
        call("d", url=urls["d"], once=True, purpose="chat"),
    )
    with setting.create() as journal:
        driver = setting.driver(journal)
        driver.run(each(*steps))
        assert [asked.call.step for asked in driver.unanswered()] == ["b/2", "c", "d"]
        driver.forget_unanswered()
    setting.fake.sent.clear()
    with setting.open() as journal:
        setting.driver(journal).run(each(*steps))
    assert [url for url, _ in setting.fake.sent] == [urls["b"], urls["b"], urls["d"]]


def test_driver_journal_trouble_ends_the_run(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.fake.replies = {URL: [JournalError("the disk is full")]}
    with setting.create() as journal:
        with pytest.raises(JournalError, match="the disk is full"):
            setting.driver(journal).run(each(call()))


# --- warnings ------------------------------------------------------------------------------------


def test_driver_takes_for_unsent_only_what_no_service_got() -> None:
    begun = RecordedExchange(
        purpose="chat", method="POST", url=URL, started_at=AT, ended_at=AT, complete=False
    )
    for trouble in ("unreachable", "tls"):
        failed = replace(begun, failure=Failure(trouble=trouble, what="w"))  # type: ignore[arg-type]
        assert unsent(failed)
        assert not unsent(replace(failed, status=502))
    for trouble in ("timeout", "idle", "cut", "not-http", "interrupted", "secret-in-body"):
        assert not unsent(replace(begun, failure=Failure(trouble=trouble, what="w")))  # type: ignore[arg-type]
    assert not unsent(begun)


@pytest.mark.parametrize(("hours", "said"), [(1, "3600 s ahead of"), (-1, "behind"), (0, None)])
def test_driver_warns_of_clocks_that_differ(setting: Setting, hours: int, said: str | None) -> None:
    stated = (AT + timedelta(hours=hours)).astimezone(UTC)
    setting.fake.headers = (("Date", format_datetime(stated, usegmt=True)),)
    setting.fake.replies = {URL: [b"one"]}
    with setting.create() as journal:
        setting.driver(journal).run(each(call(), call("attest-2")))
        told = [text for kind, text in journal.notes if kind == "warning"]
    warned = [event.text for event in setting.kinds("warning")]
    assert warned == told
    assert len(warned) == (0 if said is None else 1)
    assert said is None or said in warned[0]


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "Thu, 01 Jan 2026",
        "",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2024 99999999999:00:00 GMT",
    ],
)
def test_driver_bad_date_header_states_nothing(text: str) -> None:
    recorded = RecordedExchange(
        purpose="other",
        method="GET",
        url=URL,
        started_at=AT,
        ended_at=AT,
        response_headers=(("Date", text),),
    )
    assert stated_date(recorded) is None
    assert not unsent(recorded)


def test_driver_tells_of_another_model_once_and_escaped(setting: Setting) -> None:
    setting.fake.headers = (("X-Model-Alias-Resolved", "other\x1b]0;\x07"),)
    setting.fake.replies = {URL: [b"one"]}
    with setting.create() as journal:
        setting.driver(journal).run(each(call(), call("attest-2")))
    (warning,) = setting.kinds("warning")
    assert warning.text == "the provider put another model in place: other\\x1b]0;\\x07"


def test_driver_writes_no_credential_anywhere(setting: Setting) -> None:
    address = f"https://provider.example/a?api_key={KEY}&x={KEY}"
    setting.fake.replies = {address: [b"one"]}
    with setting.create() as journal:
        driver = setting.driver(journal)
        journal_url = call(url=address, headers=(("X-Api-Key", KEY), ("X-Other", KEY)))
        under = driver.run  # the fake redacts what it records as the transport does
        setting.fake.record = _redacting(setting.fake.record)  # type: ignore[method-assign]
        under(each(journal_url))
    for path in setting.folder.iterdir():
        assert KEY.encode() not in path.read_bytes()


def _redacting(record: Callable[..., RecordedExchange]) -> Callable[..., RecordedExchange]:
    def clean(method: str, url: str, **given: Any) -> RecordedExchange:
        given["headers"] = ()
        given["sink"].begin = lambda _head: None
        return replace(record(method, url, **given), url="https://provider.example/a")

    return clean
