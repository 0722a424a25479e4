"""A scene and a player for sequences: scripted answers, recorded calls, no clock, no network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from hashlib import sha256

from bundle.calls import Call
from bundle.recording import Failure, RecordedExchange
from fixtures.intel_pki import AS_OF


@dataclass
class Stage:
    """A scene: nonces follow from steps, collateral is noted and asks for nothing."""

    base_url: str
    model: str | None = "test/model-7b"
    chat_body: bytes | None = None
    stream: bool = True
    algorithms: tuple[str, ...] = ("ecdsa",)
    options: dict[str, str] = field(default_factory=dict)
    session: str = "s1"
    nonces: dict[str, bytes] = field(default_factory=dict)
    collected: list[tuple[str, int]] = field(default_factory=list)

    def nonce(self, step):
        return self.nonces.setdefault(step, sha256(step.encode()).digest())

    def collateral(self, label, attestations):
        self.collected.append((label, len(attestations)))
        yield from ()


def answer(body=b"", *, status=200, headers=(), complete=True, trouble=None, **more):
    """Return what a call brought, but for what the call itself says."""
    return RecordedExchange(
        purpose="other",
        method="GET",
        url="",
        started_at=AS_OF - timedelta(seconds=1),
        ended_at=AS_OF,
        status=None if trouble else status,
        response_headers=None if trouble else tuple(headers),
        response_body=body or None,
        complete=complete and trouble is None,
        failure=None if trouble is None else Failure(trouble=trouble, what=f"no answer: {trouble}"),
        **more,
    )


def of(call: Call, found: RecordedExchange) -> RecordedExchange:
    """Return an answer as the recording of a call."""
    return replace(
        found,
        purpose=call.purpose,
        method=call.method,
        url=call.url,
        request_body=call.body,
        session=call.session,
    )


def play(steps, answers):
    """Run a sequence. ``answers``: a list in order, or a function of the call.

    Returns the calls, what the sequence returned, and the answers that were left.
    """
    calls: list[Call] = []
    left = None if callable(answers) else list(answers)
    try:
        call = next(steps)
        while True:
            calls.append(call)
            assert len(calls) < 200, "the sequence does not end"
            found = answers(call) if left is None else left.pop(0)
            call = steps.send(of(call, found))
    except StopIteration as end:
        assert not left, f"{len(left)} answers were not asked for"
        return calls, end.value


def shown(calls):
    """Return step, method and URL of calls."""
    return [(call.step, call.method, call.url) for call in calls]
