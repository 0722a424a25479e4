"""The instant that everything is judged at: how it was asked for, and what it resolved to.

Time is an argument. Nothing below the command line reads a clock: `AsOf.now` takes the instant that
the command line read once. Source: verification.md 4.2.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum

from verify.engine.value import value


class AsOfSource(Enum):
    """Where the instant comes from."""

    CAPTURE = "capture"
    EXPLICIT = "explicit"
    NOW = "now"


def whole_seconds(instant: datetime) -> datetime:
    """Return ``instant`` in UTC, cut (not rounded) to whole seconds. Raises ValueError if naive."""
    if instant.tzinfo is None:
        message = "an instant without a time zone is ambiguous"
        raise ValueError(message)
    return instant.astimezone(UTC).replace(microsecond=0)


@value
class AsOf:
    """What was asked for. Build with `capture`, `at` or `now`."""

    source: AsOfSource
    instant: datetime | None = None

    def __post_init__(self) -> None:
        if (self.source is AsOfSource.CAPTURE) is not (self.instant is None):
            message = "the capture's own time carries no instant, every other source carries one"
            raise ValueError(message)
        if self.instant is not None:
            object.__setattr__(self, "instant", whole_seconds(self.instant))

    @classmethod
    def capture(cls) -> AsOf:
        """Judge at the time the bundle claims for its capture (``capture.endedAt``)."""
        return cls(source=AsOfSource.CAPTURE)

    @classmethod
    def at(cls, instant: datetime) -> AsOf:
        """Judge at an instant given by the caller: aware, cut to whole seconds."""
        return cls(source=AsOfSource.EXPLICIT, instant=instant)

    @classmethod
    def now(cls, clock: datetime) -> AsOf:
        """Judge at the present; ``clock`` is what the command line read, once for the whole run."""
        return cls(source=AsOfSource.NOW, instant=clock)


@value
class AsOfInstant:
    """Fact of ``time.as_of``: the one instant for every window below.

    ``instant``: aware UTC, whole seconds; all windows are inclusive and judged at it.
    ``claimed_start``, ``claimed_end``: the capture's claimed interval, as signed (milliseconds).
    """

    instant: datetime
    source: AsOfSource
    claimed_start: datetime
    claimed_end: datetime

    def inside(self, start: datetime, end: datetime | None) -> bool:
        """Whether the instant lies in [start, end], both ends included; no end means open."""
        return start <= self.instant and (end is None or self.instant <= end)

    def ended_before(self, moment: datetime) -> timedelta:
        """Return how long before ``moment`` the claimed interval ended (negative if after)."""
        return moment - self.claimed_end
