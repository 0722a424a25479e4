"""The evidence window: the overlap of everything that has a validity.

A fact that rests on certificates, lists or signed documents says in ``windows`` from when to when
each of them holds. Source: verification.md 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, runtime_checkable

from verify.engine.outcome import Outcome
from verify.engine.report import Window


@runtime_checkable
class Limited(Protocol):
    """A fact with validity: (start, end) of each item it rests on, both ends included."""

    def windows(self) -> tuple[tuple[datetime, datetime], ...]:
        """Return every window, in no particular order."""
        ...


def evidence_window(outcomes: Mapping[str, Outcome[object]]) -> Window | None:
    """Return [latest start, earliest end] over the facts established; None without any."""
    windows = [
        window
        for outcome in outcomes.values()
        # The protocol's own test is slow, and few facts have windows.
        if hasattr(outcome.fact, "windows") and isinstance(outcome.fact, Limited)
        for window in outcome.fact.windows()
    ]
    if not windows:
        return None
    return Window(start=max(start for start, _ in windows), end=min(end for _, end in windows))
