"""How long an answer asks to be left alone, whatever it writes there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from bundle.calls import retry_after
from bundle.recording import RecordedExchange

NOW = datetime(2026, 6, 10, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("9" * 400, 999999999.0),
        ("Wed, 10 Jun 2026 12:00:30 GMT", 30.0),
        ("Wed, 10 Jun 2026 11:00:00 GMT", 0.0),
        ("Wed, 10 Jun 2026 12:00:30 -0000", 30.0),
        ("Wed, 10 Jun 2026 12:00:30 +99999999999999", None),
        ("Wed, 10 Jun 2026 12:00:30 +999999", None),
        ("Wed, 10 Jun 99999 12:00:30 GMT", None),
        ("-7", None),
        ("\u00b2", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_nothing(text: str | None, seconds: float | None) -> None:
    recorded = RecordedExchange(
        purpose="other",
        method="GET",
        url="https://h/",
        started_at=NOW,
        ended_at=NOW,
        response_headers=(("Date", "x"), ("RETRY-after", text)),
    )
    assert retry_after(recorded) == seconds
