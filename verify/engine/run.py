"""Run a catalogue: order, needs, policy rulings, the one place where a crash becomes ERROR.

Source: verification.md 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from verify.engine.check import Catalogue, Check, Facts, Mode, Ruling
from verify.engine.errors import TeebundleError
from verify.engine.outcome import Outcome, Status, blocked
from verify.engine.reason import Reason

I = TypeVar("I")  # noqa: E741


def not_applicable(
    reason: Reason, *, detail: str = "", underlying: Outcome[object] | None = None
) -> Outcome[object]:
    """Out of scope by policy. ``underlying``: the outcome the check had, where it ran."""
    return Outcome(
        status=Status.NOT_APPLICABLE,
        reason=reason,
        detail=detail,
        findings=() if underlying is None else underlying.findings,
        notes=() if underlying is None else underlying.notes,
        matched=() if underlying is None else underlying.matched,
        underlying=None if underlying is None else underlying.reason,
    )


def crashed(error: BaseException) -> Outcome[object]:
    """The verifier itself failed: never a pass, never a statement about the evidence."""
    return Outcome(
        status=Status.ERROR,
        reason=Reason.INTERNAL_CRASH,
        detail=f"{type(error).__name__}: {error}",
    )


def _unmet(check: Check[I], outcomes: Mapping[str, Outcome[object]]) -> str | None:
    """Name the need that keeps ``check`` from running, or None."""
    for need in check.needs:
        if outcomes[need].status is not Status.PASS:
            return need
    passing = 0
    for need in check.soft_needs:
        status = outcomes[need].status
        if status is Status.PASS:
            passing += 1
        elif status is not Status.NOT_APPLICABLE:
            return need
    if check.soft_needs and not check.needs and passing == 0:
        return " or ".join(check.soft_needs)
    return None


def _answer(
    check: Check[I], inputs: I, outcomes: Mapping[str, Outcome[object]], facts: Facts
) -> Outcome[object]:
    need = _unmet(check, outcomes)
    if need is not None:
        return blocked(Reason.NEED_NOT_PASSED, detail=need)
    try:
        return check.run(inputs, facts)
    except TeebundleError:
        # unusable input (a payload that is no Statement) is not an outcome: it ends the run
        raise
    except Exception as error:  # noqa: BLE001  (the one place where a crash becomes an outcome)
        return crashed(error)


def judge(
    check: Check[I],
    inputs: I,
    ruling: Ruling,
    *,
    outcomes: Mapping[str, Outcome[object]],
    facts: Facts,
    present: Callable[[str], bool],
) -> Outcome[object]:
    """Answer one check under its ruling. ``present``: whether the bundle lists a subject at all."""
    if ruling.mode == Mode.EXCLUDED:
        return not_applicable(Reason.POLICY_SUBJECT_EXCLUDED, detail=ruling.because)
    if ruling.mode == Mode.IF_PRESENT and not present(check.subject):
        return not_applicable(Reason.POLICY_ABSENCE_PERMITTED, detail=ruling.because)
    outcome = _answer(check, inputs, outcomes, facts)
    if ruling.informational:
        if outcome.status is Status.ERROR:
            return outcome
        return not_applicable(
            Reason.POLICY_INFORMATIONAL, detail=outcome.detail, underlying=outcome
        )
    if ruling.waived is not None and outcome.status is Status.BLOCKED:
        detail = outcome.detail or str(outcome.reason)
        return not_applicable(Reason.POLICY_WAIVED, detail=detail, underlying=outcome)
    return outcome


def run(
    catalogue: Catalogue[I],
    inputs: I,
    rulings: Mapping[str, Ruling],
    present: Callable[[str, Mapping[str, object]], bool],
) -> dict[str, Outcome[object]]:
    """Run every check in order and return one outcome for each id.

    ``rulings``: one for each check id; a missing one is a KeyError (a policy is complete).
    ``present(subject, facts)``: whether the bundle lists evidence of a subject, judged on the facts
    established so far.
    """
    outcomes: dict[str, Outcome[object]] = {}
    facts: dict[str, object] = {}
    visible = catalogue.visible()
    for check in catalogue:
        outcome = judge(
            check,
            inputs,
            rulings[check.id],
            outcomes=outcomes,
            facts=Facts(facts, visible[check.id]),
            present=lambda subject: present(subject, facts),
        )
        outcomes[check.id] = outcome
        if outcome.status is Status.PASS:
            facts[check.id] = outcome.fact
    return outcomes
