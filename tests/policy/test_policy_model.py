"""Rules for single fields, pin sets, levels."""

from __future__ import annotations

import pytest

from verify.policy.model import (
    AnyOf,
    Bound,
    Fit,
    Ignore,
    Level,
    Masked,
    PinSet,
    Release,
    Set,
    Zero,
    fit,
    wanted,
)

A, B = b"\x01" * 8, b"\x02" * 8
MASK = Masked(mask=b"\xf0" + b"\xff" * 7, value=b"\x10" + b"\x00" * 7)


@pytest.mark.parametrize(
    ("rule", "value", "found"),
    [
        (AnyOf(values=(A, B)), B, Fit.MET),
        (AnyOf(values=(A,)), B, Fit.DIFFERS),
        (AnyOf(values=(A,)), A + b"\x00", Fit.DIFFERS),
        (AnyOf(values=(A,)), A[:7], Fit.DIFFERS),
        (AnyOf(values=()), A, Fit.NO_REFERENCE),
        (MASK, b"\x1f" + b"\x00" * 7, Fit.MET),
        (MASK, b"\x2f" + b"\x00" * 7, Fit.DIFFERS),
        (MASK, b"\x10" + b"\x00" * 6, Fit.DIFFERS),
        (MASK, b"\x10" + b"\x00" * 8, Fit.DIFFERS),
        (Zero(), bytes(8), Fit.MET),
        (Zero(), bytes(7) + b"\x01", Fit.DIFFERS),
        (Set(), A, Fit.ELSEWHERE),
        (Bound(by="tdx.tcb"), A, Fit.ELSEWHERE),
        (Release(), A, Fit.ELSEWHERE),
        (Ignore(because="x"), A, Fit.ELSEWHERE),
    ],
)
def test_rule_judges_one_complete_value(rule, value, found):
    assert fit(rule, value) is found


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (AnyOf(values=(A, B)), f"{A.hex()} or {B.hex()}"),
        (AnyOf(values=()), "a value (none is given)"),
        (MASK, f"{MASK.value.hex()} under mask {MASK.mask.hex()}"),
        (Zero(), "zero"),
        (Set(), "the value of a pin set"),
        (Bound(by="tdx.tcb"), "judged by tdx.tcb"),
        (Release(), "the value of the release"),
        (Ignore(because="x"), "not judged"),
    ],
)
def test_rule_says_what_it_wants(rule, text):
    assert wanted(rule) == text


def test_pin_set_matches_only_as_a_whole():
    pins = PinSet(name="a", because="b", values={"x": (A, B), "y": (A,)})
    assert pins.differences({"x": B, "y": A}) == ()
    assert pins.differences({"x": B, "y": B}) == ("y",)
    assert pins.differences({"x": bytes(8)}) == ("x", "y")


def test_levels_stand_in_order():
    assert [level.rank for level in (Level.CLAIMED, Level.UPPER, Level.BRACKETED)] == [0, 1, 2]
