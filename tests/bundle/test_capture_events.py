"""What a capture tells: lines for machines, one rewritten line for people, nothing dangerous."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from bundle.events import Event, JsonLines, Progress, escaped, outcome_of, quantity, unwatched
from bundle.recording import Failure, RecordedExchange

from .test_journal import AT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def recorded(status: int | None, body: bytes | None = None) -> RecordedExchange:
    return RecordedExchange(
        purpose="other",
        method="GET",
        url="https://x.example/",
        started_at=AT,
        ended_at=AT,
        status=status,
        response_body=body,
    )


class Gone(Terminal):
    def write(self, _text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_events_that_nobody_reads_any_more_end_nothing() -> None:
    clock = Seconds()
    tell, show = JsonLines(Gone(), now=clock), Progress(Gone(), now=clock)
    clock.now = 10.0
    for event in (Event(kind="stage-began", stage="chat"), Event(kind="warning", text="w")):
        tell(event)
        show(event)
    show.close()


def test_events_as_json_are_one_object_a_line() -> None:
    stream, clock = io.StringIO(), Seconds()
    tell = JsonLines(stream, now=clock)
    tell(Event(kind="stage-began", stage="chat", step="chat"))
    tell(Event(kind="bytes", stage="chat", step="chat", size=5))
    clock.now = 1.0
    tell(Event(kind="bytes", stage="chat", step="chat", size=9))
    tell(Event(kind="bytes", stage="chat", step="chat", size=10))
    tell(Event(kind="answered", step="chat", text="HTTP 200 \u2713", status=200, size=10))
    unwatched(Event(kind="result"))
    lines = stream.getvalue().splitlines()
    assert stream.getvalue().isascii()
    assert [json.loads(line) for line in lines] == [
        {"event": "stage-began", "stage": "chat", "step": "chat"},
        {"event": "bytes", "stage": "chat", "step": "chat", "size": 9},
        {"event": "answered", "step": "chat", "text": "HTTP 200 \u2713", "size": 10, "status": 200},
    ]


def test_progress_on_a_terminal_rewrites_one_line_after_a_while() -> None:
    stream, clock = Terminal(), Seconds()
    tell = Progress(stream, colour=True, now=clock)
    tell(Event(kind="stage-began", stage="attestation"))
    assert stream.getvalue() == "", "a short capture shows nothing"
    clock.now = 2.5
    tell(Event(kind="stage-began", stage="chat"))
    clock.now = 2.55
    tell(Event(kind="bytes", size=2048))
    clock.now = 3.0
    tell(Event(kind="bytes", size=2048))
    tell(Event(kind="waiting", text="HTTP 503", seconds=4.2))
    tell(Event(kind="answered", text="HTTP 200"))
    tell(Event(kind="resumed", text="resumed"))
    tell(Event(kind="warning", text="careful"))
    tell.close()
    shown = stream.getvalue()
    assert "\n" not in shown.replace("careful\n", "")
    parts = [part.strip() for part in shown.split("\r") if part.strip()]
    assert parts == [
        "chat",
        "chat: 2.0 KiB",
        "chat: HTTP 503, again in 4 s",
        "resumed",
        "\x1b[33mwarning\x1b[0m: careful",
    ]


def test_progress_line_is_cut_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream, clock = Terminal(), Seconds()
    tell = Progress(stream, now=clock)
    clock.now = 3.0
    tell(Event(kind="stage-began", stage="x" * 100))
    assert stream.getvalue() == "\r" + "x" * 39
    tell.close()
    assert stream.getvalue().endswith("\r" + " " * 39 + "\r")


def test_progress_elsewhere_tells_warnings_alone_and_without_colour() -> None:
    stream, clock = io.StringIO(), Seconds()
    tell = Progress(stream, colour=True, now=clock)
    clock.now = 9.0
    tell(Event(kind="stage-began", stage="chat"))
    tell(Event(kind="bytes", size=5))
    tell(Event(kind="warning", text="careful"))
    tell(Event(kind="result", text="VERIFIED"))
    tell.close()
    assert stream.getvalue() == "warning: careful\n"


def test_foreign_text_is_escaped_and_cut() -> None:
    assert escaped("a\x1b[2J\r\n\u202e\x9bb") == "a\\x1b[2J\\r\\n\\u202e\\x9bb"
    assert escaped("x" * 160) == "x" * 160
    assert escaped("x" * 161) == "x" * 157 + "..."


@pytest.mark.parametrize(
    ("exchange", "said"),
    [
        (recorded(200), "HTTP 200"),
        (replace(recorded(200), complete=False), "HTTP 200, broken off"),
        (recorded(404), "HTTP 404"),
        (recorded(500, b" <html>\x00\xff "), "HTTP 500: <html>\\x00\ufffd"),
        (recorded(None), "no answer"),
        (
            replace(recorded(None), failure=Failure(trouble="tls", what="expired\n")),
            "tls: expired\\n",
        ),
        (
            replace(recorded(200), failure=Failure(trouble="cut", what="gone")),
            "cut after HTTP 200: gone",
        ),
    ],
)
def test_outcome_of_an_exchange_is_one_line(exchange: RecordedExchange, said: str) -> None:
    assert outcome_of(exchange) == said


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB")],
)
def test_quantity_of_bytes_is_for_people(size: int, said: str) -> None:
    assert quantity(size) == said
