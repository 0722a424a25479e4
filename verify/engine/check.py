"""Check, Catalogue and the facts a check may see.

Source: verification.md 2 and 3. ``I`` is the type of the inputs (bundle, policy, trust, as_of); the
engine never looks inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from verify.engine.outcome import Outcome
from verify.engine.reason import Reason
from verify.engine.value import value

I = TypeVar("I")  # noqa: E741  (inputs)
F = TypeVar("F")


class Facts:
    """The facts of a check's needs and of everything those rest on, nothing else.

    A need that passed had its own needs passed, so what lies below is established too; asking for
    the fact of any other check is a bug and raises KeyError.
    """

    __slots__ = ("_declared", "_facts")

    def __init__(self, facts: Mapping[str, object], declared: frozenset[str]) -> None:
        self._facts = facts
        self._declared = declared

    def get(self, check_id: str, kind: type[F]) -> F:
        """Return the fact of a declared need that passed. Raises KeyError, TypeError: a bug."""
        found = self.find(check_id, kind)
        if found is None:
            message = f"{check_id} gave no fact; declare it as a hard need or use find()"
            raise KeyError(message)
        return found

    def find(self, check_id: str, kind: type[F]) -> F | None:
        """Return the fact of a declared (soft) need, or None where that check did not pass."""
        if check_id not in self._declared:
            message = f"the check reads the fact of {check_id} but does not declare it"
            raise KeyError(message)
        fact = self._facts.get(check_id)
        if fact is None:
            return None
        if not isinstance(fact, kind):
            message = f"fact of {check_id} is {type(fact).__name__}, not {kind.__name__}"
            raise TypeError(message)
        return fact


@value
class Check(Generic[I]):
    """One question about a bundle.

    ``needs`` must be PASS; ``soft_needs`` must be PASS or NOT_APPLICABLE, and at least one of them
    PASS when there is no hard need. ``reasons`` lists every code ``run`` itself may give, notes
    included. ``proves`` and ``does_not_prove`` are shown to people beside the result.
    """

    id: str
    subject: str
    title: str
    spec: str
    needs: tuple[str, ...] = ()
    soft_needs: tuple[str, ...] = ()
    proves: str
    does_not_prove: str
    reasons: frozenset[Reason]
    run: Callable[[I, Facts], Outcome[object]]


@value(kw_only=False)
class Catalogue(Generic[I]):
    """The literal, ordered, complete list of checks. Not empty; ids unique; needs stand earlier."""

    checks: tuple[Check[I], ...]

    def __post_init__(self) -> None:
        if not self.checks:
            message = "a catalogue without checks would verify anything"
            raise ValueError(message)
        seen: set[str] = set()
        for check in self.checks:
            if check.id in seen:
                message = f"check id {check.id} stands twice"
                raise ValueError(message)
            for need in (*check.needs, *check.soft_needs):
                if need not in seen:
                    message = f"{check.id} needs {need}, which does not stand before it"
                    raise ValueError(message)
            seen.add(check.id)

    def __iter__(self) -> Iterator[Check[I]]:
        return iter(self.checks)

    def __len__(self) -> int:
        return len(self.checks)

    def visible(self) -> Mapping[str, frozenset[str]]:
        """Map each check id to the ids whose facts it may read: its needs and all below them."""
        below: dict[str, frozenset[str]] = {}
        for check in self.checks:
            direct = (*check.needs, *check.soft_needs)
            below[check.id] = frozenset(direct).union(*(below[need] for need in direct))
        return below

    def ids(self) -> tuple[str, ...]:
        """Return the check ids in order."""
        return tuple(check.id for check in self.checks)


class Mode:
    """How a policy treats a subject: constants of the schema's enum."""

    REQUIRED = "required"
    IF_PRESENT = "if_present"
    EXCLUDED = "excluded"


@value
class Ruling:
    """What the policy says about one check before the bundle is read.

    ``mode``: of the check's subject; ``because``: why it is not required. ``waived``: the reason
    given for waiving this very check by name, or None. ``informational``: never counts.
    """

    mode: str = Mode.REQUIRED
    because: str = ""
    waived: str | None = None
    informational: bool = False
