"""Drives sequences of calls: waits, sends, records, journals, and feeds back what came.

A resumed capture drives the same sequences over its journal: a call that was answered before is
answered from there, without waiting, until the sequence asks for something new.

What a process that was killed left half done: a ``once`` call (a chat) is never sent again, its
part of an answer is fed back; so is that of an attestation, since another try must have another
nonce. Anything else is asked for again. Every try stays among the exchanges.

Source: providers.md 2.4, 2.8; DESIGN invariant 7.
"""

from __future__ import annotations

import random as chance
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from bundle.assemble import PUBLIC_PURPOSES
from bundle.bounds import Bounds
from bundle.calls import Call, Steps, usable
from bundle.events import Event, Watch, escaped, outcome_of, unwatched
from bundle.journal import CaptureError, Journal
from bundle.recording import RecordedExchange, redacted_headers, redacted_url
from bundle.seal import credential_forms
from verify.engine.errors import UsageError

if TYPE_CHECKING:
    from bundle.transport import BodySink, Clock, Credential

T = TypeVar("T")

REFUSALS: Final[Mapping[int, str]] = {
    401: "the API key is not accepted",
    402: "the account has no credit",
    403: "the API key may not do this",
}
"""Statuses of a provider after which a capture stops at once, and what they usually mean."""
SKEW: Final = timedelta(seconds=60)
"""Difference between an answer's ``Date`` and our clock that is worth a warning."""
_JITTER: Final = 0.25
_UNSENT: Final = frozenset({"unreachable", "tls"})


class Sends(Protocol):
    """What sends a request and records what came: `bundle.transport.Transport`."""

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
        watch: Callable[[int], None] | None = None,
    ) -> RecordedExchange:
        """See `bundle.transport.Transport.record`."""
        ...


class RefusedError(CaptureError):
    """The provider refused: 401, 402, 403. ``status``: which. Never holds the key."""

    def __init__(self, what: str, status: int, *, once: bool) -> None:
        super().__init__(what)
        self.status = status
        self.once = once


def unsent(recorded: RecordedExchange) -> bool:
    """Whether the service got not one byte of a request: no connection, or no TLS."""
    failure = recorded.failure
    return failure is not None and failure.trouble in _UNSENT and recorded.status is None


def stem(step: str) -> str:
    """Return a step's name without the number of its try: ``attest-1`` of ``attest-1/3``."""
    return step.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A step that was gone through in this run, and what came of it, sent now or replayed."""

    call: Call
    recorded: RecordedExchange


@dataclass(slots=True, kw_only=True)
class Driver:
    """Runs sequences over one journal.

    ``credentials``: by the names calls use; a name that is not there sends none. ``bounds``: gives
    the limits of a call, None for its own. ``sleep`` takes seconds; ``jitter`` gives 0 to 1.
    ``redacting``: credentials that no URL or header of the journal may hold.
    """

    transport: Sends
    journal: Journal
    clock: Clock
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    redacting: tuple[str, ...] = ()
    watch: Watch = unwatched
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = chance.random
    bounds: Callable[[Call], Bounds | None] = lambda _call: None
    asked: list[Asked] = field(default_factory=list)
    _stage: str = ""
    _stage_began: datetime | None = None
    _told: set[str] = field(default_factory=set)

    def run(self, steps: Steps[T]) -> T:
        """Drive a sequence to its end and return what it learnt.

        Raises `RefusedError` where the provider answers 401, 402 or 403, `JournalError`, UsageError
        for an address that must not be asked.
        """
        try:
            call = next(steps)
            while True:
                recorded = self.answer(call)
                self.asked.append(Asked(call=call, recorded=recorded))
                self._stop_if_refused(call, recorded)
                call = steps.send(recorded)
        except StopIteration as stop:
            found: T = stop.value
            return found
        finally:
            steps.close()

    def answer(self, call: Call) -> RecordedExchange:
        """Return what comes, or came, of one call."""
        known = self.journal.answered(call.step)
        if known is not None:
            cut = known.failure is not None and known.failure.trouble == "interrupted"
            if not cut or call.once or call.purpose == "attestation":
                return known
        self._enter(call)
        if call.after_s > 0:
            self._wait(call)
        return self._send(call)

    def end_stage(self) -> None:
        """Tell that the stage under way has ended."""
        if self._stage_began is not None:
            seconds = (self.clock() - self._stage_began).total_seconds()
            self.watch(Event(kind="stage-ended", stage=self._stage, seconds=max(seconds, 0.0)))
        self._stage, self._stage_began = "", None

    def unanswered(self) -> tuple[Asked, ...]:
        """Return the last try of everything asked in this run that got no usable answer."""
        last = {stem(asked.call.step): asked for asked in self.asked}
        return tuple(asked for asked in last.values() if not usable(asked.recorded))

    def forget_unanswered(self) -> None:
        """Let a resumed capture ask again for what got no usable answer; never for a chat sent.

        A step that is asked again is so with all its tries.
        """
        again = {
            stem(asked.call.step)
            for asked in self.unanswered()
            if not asked.call.once or unsent(asked.recorded)
        }
        self.journal.forget(
            dict.fromkeys(a.call.step for a in self.asked if stem(a.call.step) in again)
        )

    # --- one call --------------------------------------------------------------------------------

    def _enter(self, call: Call) -> None:
        stage = call.stage or call.purpose
        if stage != self._stage:
            self.end_stage()
            self._stage, self._stage_began = stage, self.clock()
            self.watch(Event(kind="stage-began", stage=stage, step=call.step))

    def _wait(self, call: Call) -> None:
        seconds = call.after_s * (1.0 + _JITTER * self.jitter())
        before = next(
            (a.recorded for a in reversed(self.asked) if stem(a.call.step) == stem(call.step)), None
        )
        text = "" if before is None else outcome_of(before)
        self.watch(
            Event(kind="waiting", stage=self._stage, step=call.step, text=text, seconds=seconds)
        )
        self.sleep(seconds)

    def _send(self, call: Call) -> RecordedExchange:
        credential = None if call.credential is None else self.credentials.get(call.credential)
        forms = tuple(form for secret in self.redacting for form in credential_forms(secret))
        headers = redacted_headers(call.headers, forms=forms)
        if credential is not None:
            headers = (*headers, (credential.header, None))
        under = self.journal.begin(
            call, url=redacted_url(call.url, forms), headers=headers, started_at=self.clock()
        )
        try:
            recorded = self.transport.record(
                call.method,
                call.url,
                purpose=call.purpose,
                body=call.body,
                headers=call.headers,
                credential=credential,
                bounds=self.bounds(call) or call.bounds,
                session=call.session,
                sink=under,
                watch=lambda size: self.watch(
                    Event(kind="bytes", stage=self._stage, step=call.step, size=size)
                ),
            )
        except UsageError as error:
            # nothing was sent, and that is what the journal must say
            under.done(under.unsent(str(error)))
            self.journal.forget((call.step,))
            raise
        finally:
            under.leave()
        if recorded.connection is not None and self.journal.run > 1:
            # another process counts its connections from one again
            label = f"r{self.journal.run}-{recorded.connection}"[:32]
            recorded = replace(recorded, connection=label)
        recorded = under.done(recorded)
        self._tell(call, recorded)
        return recorded

    # --- what is worth telling -------------------------------------------------------------------

    def _tell(self, call: Call, recorded: RecordedExchange) -> None:
        self.watch(
            Event(
                kind="answered",
                stage=self._stage,
                step=call.step,
                text=outcome_of(recorded),
                status=recorded.status,
                size=_size(recorded),
            )
        )
        self._warn_of_clock(call, recorded)
        for name, stated in recorded.response_headers or ():
            if name.lower() == "x-model-alias-resolved" and stated is not None:
                self.warn(f"the provider put another model in place: {escaped(stated)}")
        failure = recorded.failure
        if failure is not None and failure.trouble == "secret-in-body":
            self.warn(f"{call.step}: {escaped(failure.what)}")

    def _warn_of_clock(self, call: Call, recorded: RecordedExchange) -> None:
        stated = stated_date(recorded)
        seen = recorded.first_byte_at
        if stated is None or seen is None or abs(stated - seen) <= SKEW:
            return
        ahead = "ahead of" if stated > seen else "behind"
        seconds = abs((stated - seen).total_seconds())
        whose = "the provider's" if call.purpose not in PUBLIC_PURPOSES else "a vendor's"
        text = f"{whose} clock is {seconds:.0f} s {ahead} this machine's; one of them is wrong"
        self.warn(text, once_for=f"clock {whose}")

    def warn(self, text: str, *, once_for: str | None = None) -> None:
        """Tell a warning and record it: each text once, or one for whatever ``once_for`` names."""
        if (once_for or text) not in self._told:
            self._told.add(once_for or text)
            self.journal.note("warning", text)
            self.watch(Event(kind="warning", stage=self._stage, text=text))

    def _stop_if_refused(self, call: Call, recorded: RecordedExchange) -> None:
        status = recorded.status
        if status is None or status not in REFUSALS or call.purpose in PUBLIC_PURPOSES:
            return
        name = "chat" if call.once else call.purpose
        what = f"the provider refused the {name}: {outcome_of(recorded)} ({REFUSALS[status]})"
        raise RefusedError(what, status, once=call.once)


def _size(recorded: RecordedExchange) -> int:
    if recorded.response_file is not None:
        return recorded.response_file.size
    return len(recorded.response_body or b"")


def stated_date(recorded: RecordedExchange) -> datetime | None:
    """Return the instant that an answer's ``Date`` header states, None where it has no such."""
    for name, text in recorded.response_headers or ():
        if name.lower() == "date" and text is not None:
            try:
                found = parsedate_to_datetime(text.strip())
            except (ValueError, OverflowError):  # the second: a number of too many digits
                return None
            return found if found.tzinfo is not None else None
    return None
