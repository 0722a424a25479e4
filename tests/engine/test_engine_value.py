"""`value` behaves as a frozen, slotted, keyword-only dataclass does, in all that is used of it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

import pytest

from verify.engine.value import FrozenError, field, fields_of, replace, value

T = TypeVar("T")


@value
class Point:
    """A value with every kind of field."""

    KIND: ClassVar[str] = "point"
    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list)
    hidden: int = field(default=0, repr=False, compare=False)
    total: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.x + self.y)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standard:
    """The same by the standard decorator, to compare with."""

    KIND: ClassVar[str] = "point"
    x: int
    y: int = 2
    tags: list[str] = dataclasses.field(default_factory=list)
    hidden: int = dataclasses.field(default=0, repr=False, compare=False)
    total: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", self.x + self.y)


@value(kw_only=False)
class Pair:
    """Positional fields."""

    left: int
    right: int = 1


@value
class Empty:
    """No fields at all."""


@value(eq=False)
class Identity:
    """Compared by identity."""

    x: int


@value
class Box(Generic[T]):
    """Generic."""

    content: T


@value
class Wide(Point):
    """Inherits fields."""

    z: int = 9


@pytest.mark.parametrize("kind", [Point, Standard])
def test_value_is_built_compared_and_shown_as_a_dataclass(kind: type) -> None:
    first = kind(x=1)
    assert (first.x, first.y, first.tags, first.total) == (1, 2, [], 3)
    assert first == kind(x=1, y=2, hidden=5)
    assert first != kind(x=2)
    assert first != 1
    assert repr(first) == f"{kind.__name__}(x=1, y=2, tags=[], total=3)"
    assert first.tags is not kind(x=1).tags
    assert kind.KIND == "point"
    assert not hasattr(first, "__dict__")


@pytest.mark.parametrize("kind", [Point, Standard])
@pytest.mark.parametrize(
    "call",
    [
        lambda kind: kind(),
        lambda kind: kind(1),
        lambda kind: kind(x=1, nothing=2),
        lambda kind: kind(x=1, total=3),
    ],
)
def test_value_wrong_call_is_refused_as_by_a_dataclass(
    kind: type, call: Callable[[type], object]
) -> None:
    with pytest.raises(TypeError):
        call(kind)


@pytest.mark.parametrize("kind", [Point, Standard])
def test_value_cannot_be_changed(kind: type) -> None:
    built = kind(x=1)
    for change in (lambda: setattr(built, "x", 2), lambda: delattr(built, "x")):
        with pytest.raises(AttributeError):
            change()
    with pytest.raises((AttributeError, TypeError)):
        built.new = 1
    assert built.x == 1


def test_value_frozen_error_names_field_and_class() -> None:
    with pytest.raises(FrozenError, match="'x' of a Identity"):
        Identity(x=1).x = 2  # type: ignore[misc]


def test_value_hash_follows_compared_fields() -> None:
    assert hash(Pair(1, 2)) == hash(Pair(1, 2))
    assert {Pair(1), Pair(1, 1)} == {Pair(left=1)}
    assert Empty() == Empty()
    assert hash(Empty()) == hash(Empty())
    assert Identity(x=1) != Identity(x=1)


def test_value_matches_by_position_only_where_positional() -> None:
    match Pair(3, 4):
        case Pair(left, right):
            assert (left, right) == (3, 4)
    assert Point.__match_args__ == ()
    match Point(x=1):
        case Point(x=found):
            assert found == 1


def test_value_generic_and_inherited_fields() -> None:
    assert Box[int](content=1) == Box(content=1)
    wide = Wide(x=1, z=3)
    assert [f.name for f in fields_of(Wide)] == ["x", "y", "tags", "hidden", "total", "z"]
    assert (wide.total, wide.z) == (3, 3)
    assert wide != Point(x=1)
    assert not hasattr(wide, "__dict__")


def test_value_survives_copy_and_pickle() -> None:
    built = Point(x=1, tags=["a"])
    assert pickle.loads(pickle.dumps(built)) == built  # noqa: S301
    assert copy.copy(built) == built
    assert copy.deepcopy(built).tags == ["a"]


def test_value_replace_here_and_by_the_standard_library() -> None:
    built = Point(x=1)
    assert replace(built, x=5).total == 7
    assert dataclasses.replace(built, x=5) == Point(x=5)  # type: ignore[type-var]
    assert [f.name for f in dataclasses.fields(Pair(1))] == ["left", "right"]  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{}, {"x": 1, "nothing": 2}, {"x": 1, "total": 3}])
def test_value_many_instances_are_built_alike_and_wrong_calls_refused_at_any_time(
    wrong: dict[str, int],
) -> None:
    @value
    class Fresh:
        """Never built before."""

        x: int
        y: list[int] = field(default_factory=list)
        total: int = field(init=False, default=0)

    built = [Fresh(x=1) for _ in range(20)]
    assert set(map(repr, built)) == {
        (
            "test_value_many_instances_are_built_alike_and_wrong_calls_"
            "refused_at_any_time.<locals>.Fresh(x=1, y=[], total=0)"
        )
    }
    assert len({id(one.y) for one in built}) == 20
    with pytest.raises(TypeError, match=r"Fresh\.__init__"):
        Fresh(**wrong)

    @value
    class Untouched(Fresh):
        """Refused at its first instance."""

    with pytest.raises(TypeError, match=r"Untouched\.__init__"):
        Untouched(**wrong)
    assert Untouched(x=2).x == 2
