"""Tally: collects what a check finds over all its items and turns it into one Outcome.

A check judges every item of its kind; one bad item fails it. Rejections outrank gaps, gaps outrank
a pass; the first recorded of the winning class gives the outcome's reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from verify.engine.outcome import Finding, Note, Outcome, Pointer, blocked, failed, passed
from verify.engine.reason import Reason, ReasonClass

if TYPE_CHECKING:
    from verify.engine.errors import FormatError, Refused

T = TypeVar("T")


class Tally:
    """Mutable collector, used inside one check only."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._details: list[str] = []
        self._notes: list[Note] = []
        self._matched: list[str] = []

    def find(
        self, reason: Reason, pointer: Pointer, *, what: str = "", got: str = "", expected: str = ""
    ) -> None:
        """Record a contradiction (class reject) or a gap (class absent)."""
        if reason.kind not in (ReasonClass.REJECT, ReasonClass.ABSENT):
            message = f"{reason} is neither a rejection nor a gap"
            raise ValueError(message)
        self._findings.append(Finding(reason=reason, pointer=pointer, got=got, expected=expected))
        self._details.append(what)

    def refuse(self, refused: Refused, document: str) -> None:
        """Record a `Refused` raised by judging code about ``document`` (``artifact:<id>``)."""
        self.find(
            refused.reason,
            Pointer(
                document=document,
                path=refused.path or "",
                start=refused.start,
                stop=refused.stop,
            ),
            what=refused.what,
            got=refused.got,
            expected=refused.expected,
        )

    def malformed(self, error: FormatError, document: str, otherwise: Reason) -> None:
        """Record a `FormatError`; ``otherwise`` is the code where the parser named none."""
        if error.path is not None:
            pointer = Pointer(document=document, path=error.path)
        else:
            pointer = Pointer(document=document, start=error.offset, stop=error.offset)
        self.find(error.reason or otherwise, pointer, what=error.what, got=error.what)

    def note(self, reason: Reason, text: str, pointer: Pointer | None = None) -> None:
        """Record a note (class note)."""
        self._notes.append(Note(reason=reason, text=text, pointer=pointer))

    def match(self, item: str) -> None:
        """Record an item, pin set, key or hash form that matched; order kept, no repetition."""
        if item not in self._matched:
            self._matched.append(item)

    @property
    def clean(self) -> bool:
        """Whether nothing but notes was recorded so far."""
        return not self._findings

    @property
    def count(self) -> int:
        """How many findings were recorded so far."""
        return len(self._findings)

    def _ended(self) -> Outcome[T] | None:
        notes = tuple(self._notes)
        matched = tuple(self._matched)
        for kind, build in ((ReasonClass.REJECT, failed), (ReasonClass.ABSENT, blocked)):
            for finding, detail in zip(self._findings, self._details, strict=True):
                if finding.reason.kind is kind:
                    return build(
                        finding.reason,
                        *self._findings,
                        detail=detail,
                        notes=notes,
                        matched=matched,
                    )
        return None

    def outcome(self, fact: T) -> Outcome[T]:
        """Return FAIL if anything was rejected, else BLOCKED if anything was missing, else PASS."""
        ended: Outcome[T] | None = self._ended()
        if ended is not None:
            return ended
        return passed(fact, notes=tuple(self._notes), matched=tuple(self._matched))

    def stopped(self) -> Outcome[T]:
        """Return FAIL or BLOCKED: the check cannot go on. Raises ValueError if nothing is wrong."""
        ended: Outcome[T] | None = self._ended()
        if ended is None:
            message = "a check that found nothing has a fact to give"
            raise ValueError(message)
        return ended
