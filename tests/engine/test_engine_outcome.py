"""Outcome, Pointer, Finding, Note, Tally: what cannot be built, and what comes out."""

from __future__ import annotations

import pytest

from verify.engine.errors import FormatError, Refused
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
    shown,
)
from verify.engine.reason import Reason, ReasonClass
from verify.engine.tally import Tally

PLACE = Pointer(document="bundle", path="/statement")
REJECT = Finding(reason=Reason.BLOB_DIGEST_MISMATCH, pointer=PLACE)


def test_outcome_has_no_truth_value() -> None:
    with pytest.raises(TypeError, match="no truth value"):
        bool(passed(Affirmed()))


@pytest.mark.parametrize(
    ("status", "reason", "fact"),
    [
        (Status.PASS, Reason.BLOB_ORPHAN, Affirmed()),
        (Status.FAIL, None, None),
        (Status.FAIL, Reason.NEED_NOT_PASSED, None),
        (Status.BLOCKED, Reason.BLOB_ORPHAN, None),
        (Status.BLOCKED, None, None),
        (Status.NOT_APPLICABLE, Reason.BLOB_ORPHAN, None),
        (Status.ERROR, Reason.BLOB_ORPHAN, None),
        (Status.PASS, None, None),
        (Status.BLOCKED, Reason.NEED_NOT_PASSED, Affirmed()),
    ],
)
def test_outcome_inconsistent_cannot_be_built(
    status: Status, reason: Reason | None, fact: Affirmed | None
) -> None:
    with pytest.raises(ValueError, match=r"cannot stand beside|do not fit"):
        Outcome(status=status, reason=reason, fact=fact, findings=(REJECT,))


def test_outcome_fail_without_finding_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="without a finding"):
        failed(Reason.BLOB_ORPHAN)


def test_outcome_of_each_kind_keeps_its_parts() -> None:
    note = Note(reason=Reason.TIME_CLAIMED_ONLY, text="claimed")
    assert passed(Affirmed(items=("a",)), notes=(note,)).fact == Affirmed(items=("a",))
    bad = failed(Reason.BLOB_DIGEST_MISMATCH, REJECT, detail="x")
    assert (bad.status, bad.findings, bad.fact) == (Status.FAIL, (REJECT,), None)
    gap = blocked(Reason.ARTIFACT_MISSING)
    assert (gap.status, gap.reason) == (Status.BLOCKED, Reason.ARTIFACT_MISSING)


def test_note_of_another_class_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a note"):
        Note(reason=Reason.BLOB_ORPHAN, text="")


def test_pointer_text_forms() -> None:
    assert str(Pointer.artifact("quote-1", start=568, stop=632)) == "artifact:quote-1#bytes=568-632"
    assert str(Pointer.artifact("quote-1", start=5)) == "artifact:quote-1#bytes=5-5"
    assert str(PLACE) == "bundle#/statement"


def test_shown_escapes_and_cuts() -> None:
    assert shown("a\x1b[31m\u202eb\U000e0001") == "a\\u001b[31m\\u202eb\\U000e0001"
    assert shown("é ok") == "é ok"
    assert len(shown("x" * 500)) == 128
    assert shown("x" * 500).endswith("…")
    finding = Finding(reason=Reason.BLOB_ORPHAN, pointer=PLACE, got="\x00" * 200, expected="\n")
    assert len(finding.got) == 128
    assert finding.expected == "\\u000a"


def test_reason_codes_are_unique_and_found_by_text() -> None:
    codes = [reason.code for reason in Reason]
    assert len(codes) == len(set(codes))
    assert all(Reason.of(code).code == code for code in codes)
    assert str(Reason.BLOB_ORPHAN) == "blob.orphan"
    with pytest.raises(KeyError):
        Reason.of("blob.Orphan")


def test_tally_rejection_outranks_gap_and_keeps_all_findings() -> None:
    tally = Tally()
    assert tally.clean
    tally.find(Reason.ARTIFACT_MISSING, PLACE, what="first")
    tally.find(Reason.BLOB_ORPHAN, PLACE, what="second")
    tally.note(Reason.TIME_CLAIMED_ONLY, "claimed")
    tally.match("a")
    tally.match("a")
    outcome = tally.outcome(Affirmed())
    assert not tally.clean
    assert (outcome.status, outcome.reason, outcome.detail) == (
        Status.FAIL,
        Reason.BLOB_ORPHAN,
        "second",
    )
    assert len(outcome.findings) == 2
    assert outcome.matched == ("a",)
    assert outcome.notes[0].reason is Reason.TIME_CLAIMED_ONLY


def test_tally_gap_alone_blocks_and_nothing_passes() -> None:
    tally = Tally()
    tally.find(Reason.ARTIFACT_MISSING, PLACE)
    assert tally.outcome(Affirmed()).status is Status.BLOCKED
    assert Tally().outcome(Affirmed()).status is Status.PASS


def test_tally_refuses_notes_as_findings() -> None:
    with pytest.raises(ValueError, match="neither a rejection nor a gap"):
        Tally().find(Reason.TIME_CLAIMED_ONLY, PLACE)


def test_tally_takes_carriers_with_their_places() -> None:
    tally = Tally()
    tally.refuse(
        Refused(Reason.BLOB_ORPHAN, "why", got="g", expected="e", start=1, stop=2), "artifact:a"
    )
    tally.malformed(FormatError(7, "cut"), "artifact:b", Reason.BLOB_FRAMING_INVALID)
    tally.malformed(
        FormatError(0, "type", reason=Reason.BLOB_SIZE_MISMATCH, path="/x"),
        "artifact:c",
        Reason.BLOB_FRAMING_INVALID,
    )
    outcome = tally.outcome(Affirmed())
    assert [str(f.pointer) for f in outcome.findings] == [
        "artifact:a#bytes=1-2",
        "artifact:b#bytes=7-7",
        "artifact:c#/x",
    ]
    assert [f.reason for f in outcome.findings] == [
        Reason.BLOB_ORPHAN,
        Reason.BLOB_FRAMING_INVALID,
        Reason.BLOB_SIZE_MISMATCH,
    ]


def test_reason_classes_cover_every_member() -> None:
    assert {reason.kind for reason in Reason} == set(ReasonClass)
