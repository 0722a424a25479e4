"""The run: needs, soft needs, rulings, crashes, and the facts a check may see."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from verify.engine.check import Catalogue, Check, Facts, Mode, Ruling
from verify.engine.outcome import (
    Affirmed,
    Finding,
    Outcome,
    Pointer,
    Status,
    blocked,
    failed,
    passed,
)
from verify.engine.reason import Reason
from verify.engine.run import run

PLACE = Pointer(document="bundle")
Answer = Callable[[None, Facts], Outcome[object]]


def yes(_inputs: None, _facts: Facts) -> Outcome[object]:
    return passed(Affirmed(items=("yes",)))


def no(_inputs: None, _facts: Facts) -> Outcome[object]:
    return failed(Reason.BLOB_ORPHAN, Finding(reason=Reason.BLOB_ORPHAN, pointer=PLACE))


def gap(_inputs: None, _facts: Facts) -> Outcome[object]:
    return blocked(Reason.EVIDENCE_ABSENT, detail="none listed")


def crash(_inputs: None, _facts: Facts) -> Outcome[object]:
    message = "boom"
    raise RuntimeError(message)


def check(
    name: str, answer: Answer, needs: tuple[str, ...] = (), soft: tuple[str, ...] = ()
) -> Check[None]:
    return Check(
        id=name,
        subject=name.split(".", maxsplit=1)[0],
        title="?",
        spec="-",
        needs=needs,
        soft_needs=soft,
        proves="-",
        does_not_prove="-",
        reasons=frozenset(),
        run=answer,
    )


def statuses(
    *checks: Check[None], rulings: dict[str, Ruling] | None = None, absent: tuple[str, ...] = ()
) -> dict[str, Outcome[object]]:
    catalogue = Catalogue(checks)
    given = {c.id: Ruling() for c in checks} | (rulings or {})
    return run(catalogue, None, given, lambda subject, _facts: subject not in absent)


def test_catalogue_empty_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="without checks"):
        Catalogue(())


def test_catalogue_repeated_id_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="stands twice"):
        Catalogue((check("a.x", yes), check("a.x", yes)))


def test_catalogue_need_that_stands_later_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="does not stand before"):
        Catalogue((check("a.x", yes, ("b.y",)), check("b.y", yes)))


def test_run_missing_ruling_is_refused() -> None:
    with pytest.raises(KeyError):
        run(Catalogue((check("a.x", yes),)), None, {}, lambda _s, _f: True)


@pytest.mark.parametrize("first", [no, gap, crash])
def test_run_need_not_passed_blocks(first: Answer) -> None:
    found = statuses(check("a.x", first), check("b.y", yes, ("a.x",)))
    assert (found["b.y"].status, found["b.y"].reason) == (Status.BLOCKED, Reason.NEED_NOT_PASSED)
    assert found["b.y"].detail == "a.x"


def test_run_soft_need_may_be_out_of_scope_but_not_failed() -> None:
    out = {"a.x": Ruling(mode=Mode.EXCLUDED, because="not here")}
    found = statuses(
        check("a.x", yes), check("b.y", yes), check("c.z", yes, ("b.y",), ("a.x",)), rulings=out
    )
    assert found["c.z"].status is Status.PASS
    found = statuses(check("a.x", no), check("b.y", yes), check("c.z", yes, ("b.y",), ("a.x",)))
    assert found["c.z"].status is Status.BLOCKED


def test_run_only_soft_needs_want_one_pass() -> None:
    out = {
        "a.x": Ruling(mode=Mode.EXCLUDED, because="not here"),
        "b.y": Ruling(mode=Mode.EXCLUDED, because="not here"),
    }
    checks = (check("a.x", yes), check("b.y", yes), check("c.z", yes, (), ("a.x", "b.y")))
    found = statuses(*checks, rulings=out)
    assert (found["c.z"].status, found["c.z"].detail) == (Status.BLOCKED, "a.x or b.y")
    out.pop("b.y")
    assert statuses(*checks, rulings=out)["c.z"].status is Status.PASS


def test_run_waiver_forgives_silence_never_a_contradiction() -> None:
    waived = {"a.x": Ruling(waived="nobody records it")}
    found = statuses(check("a.x", gap), rulings=waived)["a.x"]
    assert (found.status, found.reason) == (Status.NOT_APPLICABLE, Reason.POLICY_WAIVED)
    assert found.underlying is Reason.EVIDENCE_ABSENT
    assert statuses(check("a.x", no), rulings=waived)["a.x"].status is Status.FAIL
    assert statuses(check("a.x", yes), rulings=waived)["a.x"].status is Status.PASS
    assert statuses(check("a.x", crash), rulings=waived)["a.x"].status is Status.ERROR


def test_run_waiver_does_not_waive_dependants() -> None:
    found = statuses(
        check("a.x", gap),
        check("b.y", yes, ("a.x",)),
        rulings={"a.x": Ruling(waived="nobody records it")},
    )
    assert found["b.y"].status is Status.BLOCKED


def test_run_excluded_subject_does_not_run() -> None:
    found = statuses(check("a.x", crash), rulings={"a.x": Ruling(mode=Mode.EXCLUDED, because="b")})
    assert (found["a.x"].reason, found["a.x"].detail) == (Reason.POLICY_SUBJECT_EXCLUDED, "b")


def test_run_if_present_is_judged_when_there() -> None:
    ruling = {"a.x": Ruling(mode=Mode.IF_PRESENT, because="optional")}
    assert statuses(check("a.x", no), rulings=ruling)["a.x"].status is Status.FAIL
    found = statuses(check("a.x", no), rulings=ruling, absent=("a",))["a.x"]
    assert (found.status, found.reason) == (
        Status.NOT_APPLICABLE,
        Reason.POLICY_ABSENCE_PERMITTED,
    )


def test_run_required_subject_runs_even_when_nothing_is_listed() -> None:
    assert statuses(check("a.x", gap), absent=("a",))["a.x"].status is Status.BLOCKED


@pytest.mark.parametrize("answer", [yes, no, gap])
def test_run_informational_check_never_counts(answer: Answer) -> None:
    found = statuses(check("a.x", answer), rulings={"a.x": Ruling(informational=True)})["a.x"]
    assert (found.status, found.reason) == (Status.NOT_APPLICABLE, Reason.POLICY_INFORMATIONAL)


def test_run_informational_crash_is_still_an_error() -> None:
    found = statuses(check("a.x", crash), rulings={"a.x": Ruling(informational=True)})["a.x"]
    assert found.status is Status.ERROR


def test_run_crash_becomes_error_with_its_words() -> None:
    found = statuses(check("a.x", crash))["a.x"]
    assert (found.status, found.reason) == (Status.ERROR, Reason.INTERNAL_CRASH)
    assert found.detail == "RuntimeError: boom"


def test_facts_of_undeclared_checks_are_out_of_reach() -> None:
    def peek(_inputs: None, facts: Facts) -> Outcome[object]:
        facts.get("a.x", Affirmed)
        return passed(Affirmed())

    found = statuses(check("a.x", yes), check("b.y", peek))
    assert found["b.y"].status is Status.ERROR
    assert statuses(check("a.x", yes), check("b.y", peek, ("a.x",)))["b.y"].status is Status.PASS


def test_facts_reach_through_needs_and_check_types() -> None:
    def deep(_inputs: None, facts: Facts) -> Outcome[object]:
        assert facts.get("a.x", Affirmed).items == ("yes",)
        with pytest.raises(TypeError):
            facts.find("a.x", str)
        return passed(Affirmed())

    found = statuses(check("a.x", yes), check("b.y", yes, ("a.x",)), check("c.z", deep, ("b.y",)))
    assert found["c.z"].status is Status.PASS


def test_facts_of_a_soft_need_out_of_scope_are_none() -> None:
    def soft(_inputs: None, facts: Facts) -> Outcome[object]:
        assert facts.find("a.x", Affirmed) is None
        with pytest.raises(KeyError, match="gave no fact"):
            facts.get("a.x", Affirmed)
        return passed(Affirmed())

    found = statuses(
        check("a.x", yes),
        check("b.y", yes),
        check("c.z", soft, ("b.y",), ("a.x",)),
        rulings={"a.x": Ruling(mode=Mode.EXCLUDED, because="b")},
    )
    assert found["c.z"].status is Status.PASS
