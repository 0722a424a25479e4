"""Closed lists behave as enumerations; rare modules are imported when they are used."""

from __future__ import annotations

import copy
import pickle
import sys

import pytest

from verify.engine.closed import Closed
from verify.engine.later import later
from verify.engine.reason import Reason


class Colour(Closed):
    """Three members."""

    def __init__(self, code, weight):
        self.code = code
        self.weight = weight

    RED = ("red", 1)
    GREEN = ("green", 2)

    def heavier(self):
        return self.weight + 1


def test_members_are_single_instances_in_order():
    assert list(Colour) == [Colour.RED, Colour.GREEN]
    assert len(Colour) == 2
    assert Colour["RED"] is Colour.RED
    assert Colour(("green", 2)) is Colour.GREEN
    assert Colour(Colour.RED) is Colour.RED
    assert Colour.RED in set(Colour)
    assert (Colour.RED.name, Colour.RED.value, Colour.RED.heavier()) == ("RED", ("red", 1), 2)
    assert repr(Colour.RED) == "<Colour.RED>"


def test_members_survive_copying():
    assert copy.copy(Reason.TIME_CLAIMED_ONLY) is Reason.TIME_CLAIMED_ONLY
    assert copy.deepcopy([Reason.TIME_CLAIMED_ONLY])[0] is Reason.TIME_CLAIMED_ONLY
    assert pickle.loads(pickle.dumps(Reason.TIME_CLAIMED_ONLY)) is Reason.TIME_CLAIMED_ONLY  # noqa: S301


def test_closed_list_cannot_be_changed():
    with pytest.raises(AttributeError, match="closed"):
        Colour.RED = None
    with pytest.raises(ValueError, match="no member of Colour"):
        Colour(("blue", 3))
    with pytest.raises(KeyError):
        Colour["BLUE"]


def test_two_members_of_one_value_are_refused():
    with pytest.raises(TypeError, match="same value"):
        type(Colour)("Twice", (Closed,), {"A": (1,), "B": (1,)})


def test_module_is_imported_at_its_first_use():
    sys.modules.pop("colorsys", None)
    found = later("colorsys")
    assert "colorsys" not in sys.modules
    assert found.rgb_to_hsv(0, 0, 0) == (0.0, 0.0, 0)
    assert found.ONE_THIRD == sys.modules["colorsys"].ONE_THIRD
    with pytest.raises(AttributeError):
        assert found.nothing
