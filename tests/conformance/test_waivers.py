"""A waiver forgives silence, never a contradiction; evidence nobody looked at blocks VERIFIED.

Source: verification.md 2.2, 13.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import pytest

from fixtures import goods, intel_cases, policies
from fixtures.build import all_vectors
from fixtures.registry import Case, Vector
from fixtures.resealed import listed
from fixtures.vectors import intel
from tests.conformance.judging import judged, policy_of
from verify.checks.catalogue import CATALOGUE
from verify.checks.subjects import ALWAYS, ROLES
from verify.engine.check import Mode
from verify.engine.outcome import Status
from verify.engine.report import CheckRow, Report
from verify.policy.model import Policy, SubjectRule, Waiver

WAIVABLE = [check.id for check in CATALOGUE if check.subject not in ("container", "legacy")]
BECAUSE = "waived by the test"


def waiving(policy: Policy, check: str) -> Policy:
    """Return a policy that waives one more check.

    The loader refuses some of these: a field may be bound to the waived check. What the engine
    makes of a waiver is the question here.
    """
    kept = tuple(waiver for waiver in policy.waive if waiver.check != check)
    return replace(policy, waive=(*kept, Waiver(check=check, because=BECAUSE)))


def unwaived(policy: Policy, check: str) -> Policy:
    return replace(policy, waive=tuple(w for w in policy.waive if w.check != check))


def row(report: Report, check: str) -> CheckRow:
    return next(found for found in report.checks if found.id == check)


@cache
def by_fault() -> Mapping[tuple[str, str], Vector]:
    """Return one vector for each (check, verdict) whose one fault the check names."""
    found: dict[tuple[str, str], Vector] = {}
    for vector in all_vectors().values():
        if vector.check is not None and vector.verdict is not None:
            found.setdefault((vector.check, vector.verdict), vector)
    return found


def kills(verdict: str) -> list[str]:
    return [check for check in WAIVABLE if (check, verdict) in by_fault()]


@cache
def unknown_signer() -> Case:
    """Return a case in which nobody known signed: every later check is blocked."""
    return all_vectors()["signer-unknown"].build()


@pytest.mark.parametrize("check", WAIVABLE)
def test_waived_check_whose_need_failed_is_not_applicable(check: str) -> None:
    case = unknown_signer()
    policy = policy_of(case.policy)
    subject = next(found.subject for found in CATALOGUE if found.id == check)
    if policy.mode(subject) == Mode.EXCLUDED:
        policy = replace(
            policy, subjects={**policy.subjects, subject: SubjectRule(mode=Mode.REQUIRED)}
        )
    before = row(judged(case, policy=unwaived(policy, check)), check)
    assert (before.status, str(before.reason)) == (Status.BLOCKED, "need.not_passed")
    report = judged(case, policy=waiving(policy, check))
    after = row(report, check)
    assert (after.status, str(after.reason)) == (Status.NOT_APPLICABLE, "policy.waived")
    waived = {entry.check: entry for entry in report.waived}
    assert (waived[check].because, str(waived[check].underlying)) == (BECAUSE, "need.not_passed")
    assert report.verdict.value == "INCOMPLETE"


@pytest.mark.parametrize("check", kills("INCOMPLETE"))
def test_waived_check_that_misses_something_is_not_applicable(check: str) -> None:
    vector = by_fault()[check, "INCOMPLETE"]
    case = vector.build()
    policy = policy_of(case.policy)
    before = row(judged(case), check)
    assert (before.status, str(before.reason)) == (Status.BLOCKED, vector.reason)
    report = judged(case, policy=waiving(policy, check))
    after = row(report, check)
    assert (after.status, str(after.reason)) == (Status.NOT_APPLICABLE, "policy.waived")
    waived = {entry.check: entry for entry in report.waived}
    assert str(waived[check].underlying) == vector.reason


@pytest.mark.parametrize("check", kills("REJECTED"))
def test_waived_check_that_finds_a_contradiction_still_fails(check: str) -> None:
    vector = by_fault()[check, "REJECTED"]
    case = vector.build()
    report = judged(case, policy=waiving(policy_of(case.policy), check))
    found = row(report, check)
    assert (found.status, str(found.reason)) == (Status.FAIL, vector.reason)
    assert report.verdict.value == "REJECTED"


def test_a_waiver_of_one_check_does_not_waive_what_rests_on_it() -> None:
    case = all_vectors()["root-list-not-recorded"].build()
    report = judged(case, policy=waiving(policy_of(case.policy), "tdx.root_crl"))
    assert report.verdict.value == "INCOMPLETE"
    assert str(row(report, "tdx.tcb_info").reason) == "need.not_passed"


def excluding(policy: Policy, subject: str) -> Policy:
    rule = SubjectRule(mode=Mode.EXCLUDED, because=BECAUSE)
    return replace(policy, subjects={**policy.subjects, subject: rule})


HELD = ("tdx", "event_log", "gpu", "nras", "signature", "content", "marker", "compose_manager")
"""Subjects that a NEAR session holds evidence of."""


@pytest.mark.parametrize("subject", [*HELD, "tls"])
def test_excluded_subject_that_is_present_is_incomplete(subject: str) -> None:
    case = goods.good("near-direct")
    report = judged(case, policy=excluding(policy_of(case.policy), subject))
    found = row(report, "evidence.inventory")
    assert (found.status, str(found.reason)) == (Status.BLOCKED, "evidence.not_judged")
    assert report.verdict.value == "INCOMPLETE"


FROM_ANSWERS = {"nitro", "snp"}
"""Subjects whose evidence must come out of an answer: listed beside it, it is rejected besides."""


@pytest.mark.parametrize("subject", sorted(set(ROLES) - set(HELD) - ALWAYS))
def test_excluded_subject_that_is_only_listed_is_incomplete(subject: str) -> None:
    """One listed artifact is enough, whatever its bytes are: nobody looked at it."""
    case = goods.good("nanogpt")
    role = min(ROLES[subject])
    report = judged(
        case,
        bundle=listed(case.bundle, role, b"evidence of the simulation"),
        policy=excluding(policy_of(case.policy), subject),
    )
    found = row(report, "evidence.inventory")
    assert "evidence.not_judged" in {str(finding.reason) for finding in found.findings}
    assert report.verdict.value == ("REJECTED" if subject in FROM_ANSWERS else "INCOMPLETE")


def test_allowed_finding_is_listed_beside_the_verdict() -> None:
    """A debug guest accepted by name is VERIFIED, and the report says what was forgiven."""
    name = "tdx.policy.td_debug"
    document = policies.hardware_document(gpu=False)
    document["tdx"]["allow_findings"] = [{"finding": name, "because": BECAUSE}]
    document["tdx"]["fields"]["td_attributes"] = {"rule": "ignore", "because": BECAUSE}
    debugged = intel.case(intel_cases.FINDINGS[name]())
    report = judged(replace(debugged, policy=policies.written(document)))
    assert report.verdict.value == "VERIFIED"
    listed_ones = [waived for waived in report.waived if waived.kind == "finding"]
    assert [(one.check, one.underlying, one.because) for one in listed_ones] == [
        ("tdx.attributes", name, BECAUSE)
    ]
