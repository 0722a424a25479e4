"""What a capture asks for: one request at a time, decided by what came back before.

A provider's sequence and a vendor's collateral are written as generators (`Steps`): they yield a
`Call` and receive the `RecordedExchange` that came of it, whatever that was. They hold no clock,
no network, no randomness: the same answers give the same calls, so an interrupted capture is
resumed by running the generator again over the journal until it asks for something new.

Who drives them (`bundle.driver`) waits, sends, records and journals; a failure of the network is a
recorded exchange like any other (``failure``), never an exception.

Source: providers.md 2.1, 2.4, 2.8; DESIGN invariant "nothing is lost".
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Protocol, TypeVar

from bundle.bounds import TRANSIENT, Bounds
from bundle.recording import RecordedExchange

T = TypeVar("T")

DELAYS_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds before each further try of an idempotent request (providers.md 2.8)."""
LONGEST_RETRY_AFTER_S: Final = 60.0

ATTESTATION: Final = Bounds(connect_s=10.0, idle_s=120.0, total_s=180.0, body=8 << 20)
CHAT: Final = Bounds(connect_s=10.0, idle_s=120.0, total_s=3600.0, body=64 << 20)
SIGNATURE: Final = Bounds(connect_s=10.0, idle_s=15.0, total_s=15.0, body=64 << 10)
COLLATERAL: Final = Bounds(connect_s=10.0, idle_s=30.0, total_s=30.0, body=8 << 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to send.

    ``step``: names the call within its capture and stays the same when the capture is resumed:
    ``attest-1.ecdsa``, ``attest-1.ecdsa/2`` (second try), ``chat``, ``signature.ecdsa``.
    ``purpose``: an exchange purpose of bundle-format.md 6.1. ``headers``: beyond those that the
    transport always sends. ``credential``: which configured credential goes along (``provider``,
    ``nras``), None for none. ``after_s``: seconds to wait before sending. ``once``: never sent a
    second time, not even by a resumed capture (a chat). ``session``: label of the
    attest-chat-attest run. ``stage``: what a progress line says is being done.
    """

    step: str
    purpose: str
    method: str
    url: str
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    credential: str | None = None
    bounds: Bounds = COLLATERAL
    after_s: float = 0.0
    once: bool = False
    session: str = "s1"
    stage: str = ""


Steps = Generator[Call, RecordedExchange, T]
"""A sequence of calls: yields each, receives what came of it, returns what it learnt."""


def usable(recorded: RecordedExchange) -> bool:
    """Whether a whole answer with a status of success came."""
    status = recorded.status
    return status is not None and 200 <= status < 300 and recorded.complete


def retry_after(recorded: RecordedExchange) -> float | None:
    """Return the seconds that an answer's ``Retry-After`` asks for, None where it has none."""
    for name, text in recorded.response_headers or ():
        if name.lower() != "retry-after" or text is None:
            continue
        stripped = text.strip()
        if stripped.isascii() and stripped.isdigit():
            return float(stripped[:9])
        try:
            until = parsedate_to_datetime(stripped)
        except (ValueError, OverflowError):  # the second: a zone of too many digits
            return None
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        return max(0.0, (until - recorded.ended_at).total_seconds())
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often an idempotent request is sent again, and after what.

    ``statuses``: which answers are worth another try; no answer at all always is, but where TLS was
    refused or a limit was hit. ``within_s``: no further try after so many seconds, be they spent on
    waiting or on answers.
    """

    delays_s: tuple[float, ...] = DELAYS_S
    statuses: frozenset[int] = TRANSIENT
    within_s: float | None = None

    def wait_for(self, recorded: RecordedExchange, tried: int, waited_s: float) -> float | None:
        """Return the seconds to wait before the next try, None where there is to be none.

        ``tried``: tries so far, at least 1. ``waited_s``: seconds spent on them and between them.
        """
        if tried > len(self.delays_s):
            return None
        if recorded.failure is not None:
            if recorded.failure.trouble in FINAL_TROUBLES:
                return None
        elif recorded.status not in self.statuses:
            return None
        asked = retry_after(recorded)
        if asked is not None and asked > LONGEST_RETRY_AFTER_S:
            return None
        delay = self.delays_s[tried - 1] if asked is None else max(asked, 0.0)
        if self.within_s is not None and waited_s + delay > self.within_s:
            return None
        return delay


FINAL_TROUBLES: Final = frozenset(
    {"tls", "too-large", "headers-too-large", "not-http", "secret-in-body"}
)
"""Troubles that another try does not mend."""

NO_PATIENCE: Final = Patience(delays_s=())
PATIENT: Final = Patience()


def patiently(
    make: Callable[[int], Call], patience: Patience = PATIENT
) -> Steps[tuple[Call, RecordedExchange]]:
    """Ask until a usable answer comes or patience ends; return the last call and its answer.

    ``make(number)`` gives the call of a try, counted from 1: a retried attestation has a new nonce,
    so it is made anew each time. From the second on, ``/number`` is added to the step. Every try is
    an exchange of the capture.
    """
    tried, waited, delay = 0, 0.0, 0.0
    while True:
        tried += 1
        call = make(tried)
        if tried > 1:
            call = replace(call, step=f"{call.step}/{tried}", after_s=delay)
        recorded = yield call
        if usable(recorded):
            return call, recorded
        # an answer's own times: the time between a capture and its resumption does not count
        waited += max(0.0, (recorded.ended_at - recorded.started_at).total_seconds())
        next_delay = patience.wait_for(recorded, tried, waited)
        if next_delay is None:
            return call, recorded
        waited += next_delay
        delay = next_delay


# --- what a sequence is told ------------------------------------------------------------------


class Scene(Protocol):
    """One attest-chat-attest run, as a provider's sequence sees it.

    ``base_url``: of the provider, no slash at the end. ``model``: as the user named it, or None.
    ``chat_body``: the exact request bytes of the chat, None in attestation-only mode. ``stream``:
    whether the body asks for a stream. ``algorithms``: signing algorithms to ask for, in order.
    ``options``: a provider's own knobs, by name.
    """

    @property
    def base_url(self) -> str: ...
    @property
    def model(self) -> str | None: ...
    @property
    def chat_body(self) -> bytes | None: ...
    @property
    def stream(self) -> bool: ...
    @property
    def algorithms(self) -> tuple[str, ...]: ...
    @property
    def options(self) -> dict[str, str]: ...
    @property
    def session(self) -> str: ...

    def nonce(self, step: str) -> bytes:
        """Return the 32-byte nonce of a step: fresh, but the same again on resuming."""
        ...

    def collateral(self, label: str, attestations: tuple[RecordedExchange, ...]) -> Steps[None]:
        """Ask for vendor collateral of whatever came back and was not asked for before.

        ``label``: ``before`` or ``after``; part of the steps' names.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatAsk:
    """What the user wants to say. Either ``prompt`` or ``request`` (JSON object text) is given.

    ``stream``: None takes a stream for a prompt and leaves a request as it is written. ``marker``:
    text to put at the provider's pointer, None for none. ``options``: as of `Scene`.
    """

    model: str | None
    prompt: str | None = None
    request: bytes | None = None
    stream: bool | None = None
    marker: str | None = None
    options: dict[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """One provider's protocol: which requests to make, in which order. Interprets what it must.

    ``name``: as on the command line. ``profile``: of the bundle (providers.md 1.1). ``base_url``:
    default, None where the user must say it. ``marker_pointer``: JSON Pointer or None.
    ``has_chat``: whether a chat of this provider can be recorded here.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def profile(self) -> str: ...
    @property
    def base_url(self) -> str | None: ...
    @property
    def marker_pointer(self) -> str | None: ...
    @property
    def algorithms(self) -> tuple[str, ...]: ...
    @property
    def has_chat(self) -> bool: ...

    def chat_body(self, ask: ChatAsk) -> bytes:
        """Return the request body: serialised here, once. Raises UsageError."""
        ...

    def before(self, scene: Scene) -> Steps[Attested]:
        """Attest, with collateral: what must be there before a chat."""
        ...

    def chat_call(self, scene: Scene) -> Call:
        """Return the call of the chat (``once``)."""
        ...

    def after_chat(self, scene: Scene, chat: RecordedExchange) -> Steps[None]:
        """Look up what signs the chat (signature, receipt), where the provider has such."""
        ...

    def unsigned(self, chat: RecordedExchange, exchanges: Sequence[RecordedExchange]) -> str:
        """Say why there is nothing that signs a chat; empty where there is, or nobody signs one.

        ``exchanges``: all of the capture.
        """
        ...

    def after(self, scene: Scene, attested: Attested) -> Steps[Attested]:
        """Attest again with another nonce, with collateral of whatever is new."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """What an attestation round brought. ``answers``: the attestation exchanges, last tries only.

    ``signers``: signing address by algorithm, as the answers state it. ``usable``: whether at least
    one answer came that has evidence in it; a chat is not made where none did. ``note``: why not,
    one line for people.
    """

    answers: tuple[RecordedExchange, ...]
    signers: dict[str, str]
    usable: bool
    note: str = ""


def now_from(text: str) -> datetime:
    """Return an instant written with its zone, in UTC. Raises ValueError."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        message = f"{text!r} has no time zone"
        raise ValueError(message)
    return found.astimezone(UTC)
