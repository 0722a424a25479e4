"""Outcome: how one check ended. It has no truth value and cannot be built inconsistently.

Source: verification.md 2, 2.1, 2.2.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Generic, NoReturn, TypeVar

from verify.engine.reason import Reason, ReasonClass
from verify.engine.value import field, value

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_TEXT_LIMIT = 128


class Status(Enum):
    """How a check ended. Only PASS counts; every use is an exhaustive match."""

    PASS = "PASS"  # noqa: S105  (a status, not a secret)
    FAIL = "FAIL"
    BLOCKED = "BLOCKED"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    ERROR = "ERROR"


_STANDS_BESIDE: Final = {
    Status.PASS: None,
    Status.FAIL: ReasonClass.REJECT,
    Status.BLOCKED: ReasonClass.ABSENT,
    Status.NOT_APPLICABLE: ReasonClass.POLICY,
    Status.ERROR: ReasonClass.CRASH,
}
"""The class of reason that each status demands; a pass has none."""


def shown(text: str, limit: int = _TEXT_LIMIT) -> str:
    r"""Return ``text`` made safe to print: control and bidirectional characters escaped, cut.

    Every printable character stays; anything `str.isprintable` refuses (C0, C1, bidirectional
    controls, surrogates, private use, line separators) becomes a backslash escape in hex.
    """
    if len(text) <= limit and text.isprintable():
        return text
    parts: list[str] = []
    for character in text[: limit + 1]:
        if character.isprintable():
            parts.append(character)
        else:
            point = ord(character)
            parts.append(f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}")
    joined = "".join(parts)
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"


@value
class Pointer:
    """A place in the evidence.

    ``document``: ``bundle``, ``statement``, ``attachment:<n>``, ``artifact:<id>``,
    ``attachment:<n>/artifact:<id>``, ``policy`` or ``trust``. ``path``: JSON Pointer. ``start``,
    ``stop``: byte span in decoded artifact bytes, stop exclusive.
    """

    document: str
    path: str = ""
    start: int | None = None
    stop: int | None = None

    def __str__(self) -> str:
        if self.start is not None:
            stop = self.stop if self.stop is not None else self.start
            return f"{self.document}#bytes={self.start}-{stop}"
        return f"{self.document}#{self.path}"

    @classmethod
    def artifact(
        cls, artifact_id: str, *, path: str = "", start: int | None = None, stop: int | None = None
    ) -> Pointer:
        """Point into an artifact of the bundle's own Statement."""
        return cls(document=f"artifact:{artifact_id}", path=path, start=start, stop=stop)


@value
class Finding:
    """One contradiction or gap: code, place, what was there, what was wanted."""

    reason: Reason
    pointer: Pointer
    got: str = ""
    expected: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "got", shown(self.got))
        object.__setattr__(self, "expected", shown(self.expected))


@value
class Note:
    """Something printed beside an outcome that has no effect on the verdict."""

    reason: Reason
    text: str
    pointer: Pointer | None = None

    def __post_init__(self) -> None:
        if self.reason.kind is not ReasonClass.NOTE:
            message = f"{self.reason} is not a note"
            raise ValueError(message)
        object.__setattr__(self, "text", shown(self.text, 512))


@value
class Outcome(Generic[T_co]):
    """How one check ended, with its reason, findings, notes and (on PASS alone) its fact.

    Build with `passed`, `failed`, `blocked`; the engine alone uses `not_applicable` and `crashed`.
    """

    status: Status
    reason: Reason | None = None
    detail: str = ""
    findings: tuple[Finding, ...] = ()
    notes: tuple[Note, ...] = ()
    matched: tuple[str, ...] = ()
    fact: T_co | None = field(default=None, repr=False)
    underlying: Reason | None = None

    def __post_init__(self) -> None:
        wanted = _STANDS_BESIDE[self.status]
        found = None if self.reason is None else self.reason.kind
        if wanted is not found:
            message = f"{self.status.value} cannot stand beside {self.reason}"
            raise ValueError(message)
        if (self.status is Status.PASS) is (self.fact is None):
            message = f"{self.status.value} and the fact do not fit: a fact is there on PASS alone"
            raise ValueError(message)
        if self.status is Status.FAIL and not self.findings:
            message = f"FAIL ({self.reason}) without a finding that points into the evidence"
            raise ValueError(message)
        object.__setattr__(self, "detail", shown(self.detail, 512))

    def __bool__(self) -> NoReturn:
        message = "an Outcome has no truth value: match on .status"
        raise TypeError(message)


@value
class Affirmed:
    """The fact of a check whose answer is only yes: which items it affirmed."""

    items: tuple[str, ...] = ()


def passed(
    fact: T,
    *,
    detail: str = "",
    notes: tuple[Note, ...] = (),
    matched: tuple[str, ...] = (),
) -> Outcome[T]:
    """Answered yes for every item. ``fact`` is what later checks receive; it is never None."""
    return Outcome(status=Status.PASS, fact=fact, detail=detail, notes=notes, matched=matched)


def failed(
    reason: Reason,
    *findings: Finding,
    detail: str = "",
    notes: tuple[Note, ...] = (),
    matched: tuple[str, ...] = (),
) -> Outcome[T]:
    """Answered no: ``reason`` (class reject) is the first finding's in the document's order."""
    return Outcome(
        status=Status.FAIL,
        reason=reason,
        detail=detail,
        findings=findings,
        notes=notes,
        matched=matched,
    )


def blocked(
    reason: Reason,
    *findings: Finding,
    detail: str = "",
    notes: tuple[Note, ...] = (),
    matched: tuple[str, ...] = (),
) -> Outcome[T]:
    """The question could not be answered: ``reason`` is of class absent."""
    return Outcome(
        status=Status.BLOCKED,
        reason=reason,
        detail=detail,
        findings=findings,
        notes=notes,
        matched=matched,
    )
