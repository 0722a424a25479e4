"""Report: cannot exist with a check missing; verdict and exit code follow from the outcomes."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product

import pytest

from verify.engine.check import Catalogue, Check, Facts, Mode, Ruling
from verify.engine.errors import InternalFault, MalformedInput, UsageError
from verify.engine.outcome import (
    Affirmed,
    Finding,
    Note,
    Outcome,
    Pointer,
    Status,
    blocked,
    failed,
    passed,
)
from verify.engine.reason import Reason, ReasonClass
from verify.engine.report import (
    LIMITS,
    AllowedFinding,
    AsOfSummary,
    ErrorReport,
    ErrorSummary,
    ExitCode,
    InputSummary,
    PolicySummary,
    Report,
    TrustSummary,
    Verdict,
    catalogue_digest,
    timestamp,
    tool_summary,
    worst,
)
from verify.engine.run import crashed, not_applicable

PLACE = Pointer(document="bundle")
OUTCOMES: dict[Status, Outcome[object]] = {
    Status.PASS: passed(Affirmed()),
    Status.FAIL: failed(Reason.BLOB_ORPHAN, Finding(reason=Reason.BLOB_ORPHAN, pointer=PLACE)),
    Status.BLOCKED: blocked(Reason.EVIDENCE_ABSENT),
    Status.NOT_APPLICABLE: not_applicable(Reason.POLICY_SUBJECT_EXCLUDED),
    Status.ERROR: crashed(RuntimeError("boom")),
}


def never(_inputs: None, _facts: Facts) -> Outcome[object]:
    return passed(Affirmed())


def check(name: str, *needs: str) -> Check[None]:
    return Check(
        id=name,
        subject=name.split(".", maxsplit=1)[0],
        title="?",
        spec="document 1",
        needs=needs,
        proves="-",
        does_not_prove="-",
        reasons=frozenset(),
        run=never,
    )


CATALOGUE = Catalogue((check("gpu.chain"), check("gpu.nonce", "gpu.chain"), check("tdx.tcb")))


def report(
    *statuses: Status | Outcome[object],
    rulings: dict[str, Ruling] | None = None,
    error: ErrorSummary | None = None,
    allowed: tuple[AllowedFinding, ...] = (),
    extra_notes: tuple[Note, ...] = (),
) -> Report:
    outcomes = {
        check_id: OUTCOMES[given] if isinstance(given, Status) else given
        for check_id, given in zip(CATALOGUE.ids(), statuses, strict=True)
    }
    return Report(
        catalogue=CATALOGUE,
        catalogue_id="urn:teebundle:catalogue:v1",
        outcomes=outcomes,
        rulings={check_id: Ruling() for check_id in CATALOGUE.ids()} | (rulings or {}),
        input=InputSummary(file_sha256="0" * 64, size=1),
        policy=PolicySummary(name="p", version="1", sha256="1" * 64, profile="near-direct"),
        trust=TrustSummary(builtin="sha256:" + "2" * 64),
        as_of=AsOfSummary(source="capture"),
        error=error,
        allowed=allowed,
        extra_notes=extra_notes,
    )


@pytest.mark.parametrize("given", list(product(Status, repeat=3)))
def test_report_verdict_and_exit_code_follow_from_statuses(given: tuple[Status, ...]) -> None:
    built = report(*given)
    if Status.FAIL in given:
        assert (built.verdict, built.exit_code) == (Verdict.REJECTED, ExitCode.REJECTED)
    elif set(given) <= {Status.PASS, Status.NOT_APPLICABLE} and Status.PASS in given:
        assert (built.verdict, built.exit_code) == (Verdict.VERIFIED, ExitCode.VERIFIED)
    else:
        assert built.verdict is Verdict.INCOMPLETE
        crash = Status.ERROR in given
        assert built.exit_code is (ExitCode.INTERNAL if crash else ExitCode.INCOMPLETE)
    assert sum(built.summary.values()) == 3


def test_report_with_passes_of_optional_subjects_alone_is_incomplete() -> None:
    optional = {check_id: Ruling(mode=Mode.IF_PRESENT) for check_id in CATALOGUE.ids()}
    assert report(*[Status.PASS] * 3, rulings=optional).verdict is Verdict.INCOMPLETE


@pytest.mark.parametrize("change", ["missing", "added"])
@pytest.mark.parametrize("what", ["outcomes", "rulings"])
def test_report_that_does_not_cover_the_catalogue_cannot_be_built(change: str, what: str) -> None:
    outcomes = dict.fromkeys(CATALOGUE.ids(), OUTCOMES[Status.PASS])
    rulings = {check_id: Ruling() for check_id in CATALOGUE.ids()}
    if change == "missing":
        (outcomes if what == "outcomes" else rulings).pop("tdx.tcb")
    elif what == "outcomes":
        outcomes["tdx.more"] = OUTCOMES[Status.PASS]
    else:
        rulings["tdx.more"] = Ruling()
    with pytest.raises(ValueError, match=f"{what} do not cover the catalogue exactly: tdx"):
        Report(
            catalogue=CATALOGUE,
            catalogue_id="urn:teebundle:catalogue:v1",
            outcomes=outcomes,
            rulings=rulings,
            input=InputSummary(file_sha256="0" * 64, size=1),
            policy=PolicySummary(name="p", version="1", sha256="1" * 64, profile="x"),
            trust=TrustSummary(builtin="sha256:" + "2" * 64),
            as_of=AsOfSummary(source="capture"),
        )


def test_report_online_error_outranks_incomplete_and_yields_to_rejected() -> None:
    offline = ErrorSummary(kind="online-unavailable", what="no answer")
    assert report(*[Status.PASS] * 3, error=offline).exit_code is ExitCode.ONLINE_UNAVAILABLE
    blocked_too = report(Status.PASS, Status.PASS, Status.BLOCKED, error=offline)
    assert blocked_too.exit_code is ExitCode.ONLINE_UNAVAILABLE
    rejected = report(Status.FAIL, Status.PASS, Status.PASS, error=offline)
    assert rejected.exit_code is ExitCode.REJECTED
    with pytest.raises(ValueError, match="cannot carry a usage error"):
        report(*[Status.PASS] * 3, error=ErrorSummary(kind="usage", what="?"))


def test_worst_follows_the_documented_precedence() -> None:
    every = set(ExitCode)
    order = []
    while every:
        code = worst(every)
        order.append(int(code))
        every.discard(code)
    assert order == [1, 70, 4, 5, 3, 2, 0]


def test_report_waived_lists_every_not_applicable_check_with_its_kind() -> None:
    waived = not_applicable(
        Reason.POLICY_WAIVED, underlying=blocked(Reason.GPU_REVOCATION_NOT_RECORDED)
    )
    built = report(
        waived,
        not_applicable(Reason.POLICY_SUBJECT_EXCLUDED),
        not_applicable(Reason.POLICY_ABSENCE_PERMITTED),
        rulings={
            "gpu.chain": Ruling(waived="no answers recorded"),
            "gpu.nonce": Ruling(mode=Mode.EXCLUDED, because="no GPUs"),
            "tdx.tcb": Ruling(mode=Mode.IF_PRESENT, because="may be absent"),
        },
        allowed=(
            AllowedFinding(
                check="tdx.attributes",
                subject="tdx",
                finding="tdx.policy.td_debug",
                because="test fleet\x1b[2J",
            ),
        ),
    )
    rows = [(r.check, r.kind, r.because, r.underlying) for r in built.waived]
    assert rows == [
        ("gpu.chain", "waive", "no answers recorded", "gpu.revocation.not_recorded"),
        ("gpu.nonce", "excluded", "no GPUs", None),
        ("tdx.tcb", "if_present", "may be absent", None),
        ("tdx.attributes", "finding", "test fleet\\u001b[2J", "tdx.policy.td_debug"),
    ]


def test_report_notes_are_split_into_limits_and_others_without_repetition() -> None:
    limit = Note(reason=Reason.TIME_CLAIMED_ONLY, text="claimed")
    other = Note(reason=Reason.BLOB_UNUSED, text="unused", pointer=PLACE)
    outcome = passed(Affirmed(), notes=(limit, other))
    built = report(outcome, outcome, Status.PASS, extra_notes=(other,))
    assert built.limits == (limit,)
    assert built.notes == (other,)


def test_limits_are_notes() -> None:
    assert {reason.kind for reason in LIMITS} == {ReasonClass.NOTE}


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (MalformedInput("bundle", "input.json", "x", file="/a/b.json"), "malformed-bundle", 4),
        (MalformedInput("policy", "input.yaml", "x"), "malformed-policy", 4),
        (MalformedInput("trust", "input.schema", "x"), "malformed-trust", 4),
        (UsageError("x"), "usage", 2),
        (InternalFault("x"), "internal", 70),
        (RuntimeError("x"), "internal", 70),
    ],
)
def test_error_summary_of_each_exception_names_kind_and_exit_code(
    error: BaseException, kind: str, code: int
) -> None:
    summary = ErrorSummary.of(error)
    shown = ErrorReport(tool=tool_summary(CATALOGUE, "urn:teebundle:catalogue:v1"), error=summary)
    assert (summary.kind, int(shown.exit_code)) == (kind, code)
    assert summary.file in {None, "b.json"}


def test_catalogue_digest_changes_with_ids_needs_and_specs() -> None:
    digests = {
        catalogue_digest(Catalogue(checks))
        for checks in (
            (check("a.x"), check("b.x")),
            (check("b.x"), check("a.x")),
            (check("a.x"), check("b.x", "a.x")),
            (check("a.x"),),
        )
    }
    assert len(digests) == 4


def test_timestamp_has_milliseconds_and_zone() -> None:
    assert timestamp(datetime(2026, 11, 21, 6, 10, 3, 120999, UTC)) == "2026-11-21T06:10:03.120Z"
