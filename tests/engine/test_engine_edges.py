"""Small promises of the engine: instants, lengths, a run that unusable input ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from verify.engine.asof import AsOf, AsOfInstant, AsOfSource, whole_seconds
from verify.engine.check import Catalogue, Check, Facts, Ruling
from verify.engine.errors import MalformedInput
from verify.engine.outcome import Affirmed, Outcome, Pointer, Status
from verify.engine.reason import Reason
from verify.engine.run import run
from verify.engine.tally import Tally

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_instant_is_cut_not_rounded_and_never_naive() -> None:
    assert whole_seconds(NOON + timedelta(microseconds=999_999)) == NOON
    with pytest.raises(ValueError, match="without a time zone"):
        whole_seconds(datetime(2026, 6, 1))  # noqa: DTZ001  (the refused case)


def test_as_of_needs_an_instant_exactly_where_the_source_gives_none() -> None:
    for source, instant in ((AsOfSource.CAPTURE, NOON), (AsOfSource.NOW, None)):
        with pytest.raises(ValueError, match="carries"):
            AsOf(source=source, instant=instant)


def test_as_of_instant_includes_both_ends() -> None:
    second = timedelta(seconds=1)
    fact = AsOfInstant(
        instant=NOON, source=AsOfSource.NOW, claimed_start=NOON - second, claimed_end=NOON
    )
    assert fact.inside(NOON, NOON)
    assert fact.inside(NOON - second, None)
    assert not fact.inside(NOON + second, None)
    assert not fact.inside(NOON - second, NOON - second)
    assert fact.ended_before(NOON + second) == second


def test_tally_counts_and_stops_only_with_a_finding() -> None:
    tally = Tally()
    with pytest.raises(ValueError, match="has a fact to give"):
        tally.stopped()
    tally.find(Reason.ARTIFACT_MISSING, Pointer(document="bundle"))
    assert tally.count == 1
    stopped: Outcome[Affirmed] = tally.stopped()
    assert stopped.status is Status.BLOCKED


def test_run_is_ended_by_unusable_input_instead_of_an_outcome() -> None:
    def unusable(_inputs: None, _facts: Facts) -> Outcome[object]:
        raise MalformedInput("bundle", "input.json", "no Statement")

    check = Check(
        id="a.x",
        subject="a",
        title="?",
        spec="-",
        proves="-",
        does_not_prove="-",
        reasons=frozenset(),
        run=unusable,
    )
    catalogue = Catalogue((check,))
    assert len(catalogue) == 1
    with pytest.raises(MalformedInput):
        run(catalogue, None, {"a.x": Ruling()}, lambda _subject, _facts: True)
