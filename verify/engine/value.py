"""Values: frozen, slotted, keyword-only classes that cost next to nothing to define.

The standard `dataclass` compiles five functions for a class when it is defined, half a millisecond
each time; with two hundred classes that alone would be longer than a whole verification. `value`
shares its functions among all classes and compiles the constructor of a class when the first
instance is made. It takes what this package uses of `dataclass`, nothing else: keyword-only fields
(or positional ones), defaults, `field`, `__post_init__`, comparison, hash and repr by fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar, cast, dataclass_transform, overload

T = TypeVar("T")

_FIELDS: Final = "__value_fields__"
_OWN: Final = "__value_own__"
_NOTHING: Final[tuple[tuple[str, ...], dict[str, object], bool]] = ((), {}, True)
_CLASS_VARIABLE: Final = ("ClassVar", "typing.ClassVar")


class _Missing:
    __slots__ = ()


MISSING: Final = _Missing()


class Field:
    """How one field is treated; made by `field`, named when its class is defined."""

    __slots__ = ("compare", "default", "default_factory", "init", "kw_only", "name", "repr")

    def __init__(
        self,
        *,
        default: object,
        default_factory: Callable[[], object] | None,
        init: bool,
        repr: bool,  # noqa: A002  (the name that type checkers know)
        compare: bool,
    ) -> None:
        self.name = ""
        self.kw_only = True
        self.default = default
        self.default_factory = default_factory
        self.init = init
        self.repr = repr
        self.compare = compare


def field(
    *,
    default: Any = MISSING,  # noqa: ANN401  (stands for a value of the field's own type)
    default_factory: Callable[[], object] | None = None,
    init: bool = True,
    repr: bool = True,  # noqa: A002  (the name that type checkers know)
    compare: bool = True,
) -> Any:  # noqa: ANN401  (stands for a value of the field's own type)
    """Return a marker that says how a field is treated; its meaning is that of `dataclasses`."""
    return Field(
        default=default, default_factory=default_factory, init=init, repr=repr, compare=compare
    )


class FrozenError(AttributeError):
    """An attempt to change a value."""


def _frozen(self: object, name: str, *_value: object) -> NoReturn:
    message = f"cannot change {name!r} of a {type(self).__name__}: it is frozen"
    raise FrozenError(message)


def fields_of(kind: type) -> tuple[Field, ...]:
    """Return the fields of a value class, those of its bases first; worked out when first asked."""
    found = kind.__dict__.get(_FIELDS)
    if found is None:
        found = _read_fields(kind)
        type.__setattr__(kind, _FIELDS, found)
    return cast("tuple[Field, ...]", found)


def _read_fields(kind: type) -> tuple[Field, ...]:
    fields: dict[str, Field] = {}
    for base in reversed(kind.__mro__):
        names, given, kw_only = base.__dict__.get(_OWN, _NOTHING)
        for name in names:
            default = given.get(name, MISSING)
            own: Field = default if isinstance(default, Field) else field(default=default)
            own.name = name
            own.kw_only = kw_only
            fields[name] = own
    return tuple(fields.values())


def _key(self: object) -> tuple[object, ...]:
    return tuple(getattr(self, f.name) for f in fields_of(type(self)) if f.compare)


def _eq(self: object, other: object) -> object:
    return NotImplemented if type(other) is not type(self) else _key(self) == _key(other)


def _hash(self: object) -> int:
    return hash(_key(self))


def _repr(self: object) -> str:
    shown = (f"{f.name}={getattr(self, f.name)!r}" for f in fields_of(type(self)) if f.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _getstate(self: object) -> tuple[object, ...]:
    return tuple(getattr(self, f.name) for f in fields_of(type(self)))


def _setstate(self: object, state: tuple[object, ...]) -> None:
    for f, given in zip(fields_of(type(self)), state, strict=True):
        object.__setattr__(self, f.name, given)


def _constructor(kind: type) -> Callable[..., None]:
    """Compile ``__init__`` of a value class: one function, the fields as its arguments."""
    setters: dict[str, object] = {"_object_setattr": object.__setattr__}
    arguments: list[str] = []
    lines: list[str] = []
    for number, f in enumerate(fields_of(kind)):
        setters[f"_default{number}"] = f.default
        setters[f"_make{number}"] = f.default_factory
        value = f.name
        if f.default_factory is not None:
            value = f"{f.name} if {f.name} is not _missing else _make{number}()"
            default = "=_missing"
        else:
            default = "" if f.default is MISSING else f"=_default{number}"
        if not f.init:
            if f.default_factory is None and f.default is MISSING:
                continue
            value = f"_make{number}()" if f.default_factory is not None else f"_default{number}"
        else:
            arguments.append(f.name + default)
        lines.append(f"    _object_setattr(self, {f.name!r}, {value})")
    if hasattr(kind, "__post_init__"):
        lines.append("    self.__post_init__()")
    star = "*, " if arguments and fields_of(kind)[0].kw_only else ""
    head = f"def __init__(self, {star}{', '.join(arguments)}):"
    space: dict[str, Callable[..., None]] = {}
    source = "\n".join([head, *(lines or ["    pass"])])
    exec(source, {**setters, "_missing": MISSING}, space)  # noqa: S102  (field names are identifiers)
    return space["__init__"]


_UNCOMPILED: Final = 40
"""How many instances of a class are built field by field before its constructor is compiled."""


def _first_init(self: object, *positional: object, **named: object) -> None:
    """Build an instance field by field; after a few, compile the constructor and use that.

    Most classes have a handful of instances in one verification, fewer than compiling is worth.
    """
    kind = type(self)
    plan = _PLANS.get(kind)
    if plan is None:
        plan = _PLANS[kind] = _Plan(kind)
    if plan.left and not positional:
        plan.left -= 1
        if plan.build(self, named):
            return
    constructor = _constructor(kind)
    constructor.__qualname__ = f"{kind.__qualname__}.__init__"
    type.__setattr__(kind, "__init__", constructor)
    constructor(self, *positional, **named)


class _Plan:
    """How instances of one class are built without a constructor of its own.

    ``left``: how many more before it gets one.
    """

    __slots__ = ("after", "known", "left", "made", "needed", "plain")

    def __init__(self, kind: type) -> None:
        self.left = _UNCOMPILED
        self.known: set[str] = set()
        self.needed: set[str] = set()
        self.plain: list[tuple[str, object]] = []
        self.made: list[tuple[str, Callable[[], object]]] = []
        for f in fields_of(kind):
            if f.init:
                self.known.add(f.name)
            if f.default_factory is not None:
                self.made.append((f.name, f.default_factory))
            elif f.default is not MISSING:
                self.plain.append((f.name, f.default))
            elif f.init:
                self.needed.add(f.name)
        self.after: Callable[[object], None] | None = getattr(kind, "__post_init__", None)

    def build(self, instance: object, named: dict[str, object]) -> bool:
        """Set every field from ``named``; False, with nothing done, where the call is not exact.

        The compiled constructor then tells what is wrong in the words everybody knows.
        """
        names = named.keys()
        if not self.needed <= names or not names <= self.known:
            return False
        put = object.__setattr__
        for name, given in named.items():
            put(instance, name, given)
        if len(named) < len(self.needed) + len(self.plain) + len(self.made):
            for name, default in self.plain:
                if name not in named:
                    put(instance, name, default)
            for name, make in self.made:
                if name not in named:
                    put(instance, name, make())
        if self.after is not None:
            self.after(instance)
        return True


_PLANS: Final[dict[type, _Plan]] = {}


class _StandardFields:
    """Gives `dataclasses` (replace, fields, asdict) what it looks for, when it looks."""

    __slots__ = ()

    def __get__(self, instance: object, kind: type) -> object:
        import dataclasses  # noqa: PLC0415  (what this module exists not to import)

        rows = [(f.name, object, dataclasses.field(init=f.init)) for f in fields_of(kind)]
        shadow = dataclasses.make_dataclass(kind.__name__, rows, kw_only=True)
        return getattr(shadow, "__dataclass_fields__")  # noqa: B009  (typed as a plain class)


class _Value:
    """What all values share. A class without bases gets this one: cheaper than a copy in each."""

    __slots__ = ()
    __dataclass_fields__ = _StandardFields()
    __match_args__ = ()
    __setattr__ = __delattr__ = _frozen
    __getstate__ = _getstate
    __setstate__ = _setstate
    __repr__ = _repr


class _Comparable(_Value):
    """A value that is compared by its fields."""

    __slots__ = ()
    __eq__ = cast("Callable[[object, object], bool]", _eq)
    __hash__ = _hash


def _bases(kind: type, members: dict[str, object], *, eq: bool) -> tuple[type, ...]:
    """Return the bases of the finished class; where it has some, its members get what they miss."""
    eq = eq and "__eq__" not in members
    if kind.__bases__ == (object,):
        return (_Comparable,) if eq else (_Value,)
    for name in ("__dataclass_fields__", "__setattr__", "__delattr__", "__getstate__"):
        members[name] = _Value.__dict__[name]
    members["__setstate__"] = _setstate
    members.setdefault("__repr__", _repr)
    if eq:
        members["__eq__"] = _eq
        members["__hash__"] = members.get("__hash__") or _hash
    return kind.__bases__


def _made(kind: type[T], *, kw_only: bool, eq: bool) -> type[T]:
    members = dict(kind.__dict__)
    inherited = {name for base in kind.__mro__[1:] for name in base.__dict__.get(_OWN, _NOTHING)[0]}
    names: list[str] = []
    given: dict[str, object] = {}
    for name, annotation in members.get("__annotations__", {}).items():
        if str(annotation).startswith(_CLASS_VARIABLE):
            continue
        names.append(name)
        if name in members:
            given[name] = members.pop(name)
    for name in ("__dict__", "__weakref__"):
        members.pop(name, None)
    members["__slots__"] = tuple(name for name in names if name not in inherited)
    members[_OWN] = (names, given, kw_only)
    members["__init__"] = _first_init
    members["__qualname__"] = kind.__qualname__
    bases = _bases(kind, members, eq=eq)
    build = cast("Callable[..., type[T]]", type(kind))
    made = build(kind.__name__, bases, members)
    if not kw_only or bases == kind.__bases__:
        shown = () if kw_only else tuple(f.name for f in fields_of(made) if f.init)
        type.__setattr__(made, "__match_args__", shown)
    return made


def replace(instance: T, **changes: object) -> T:
    """Return a copy of a value with some fields changed."""
    given = {f.name: getattr(instance, f.name) for f in fields_of(type(instance)) if f.init}
    return type(instance)(**{**given, **changes})


@overload
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field, Field))
def value(kind: type[T], /) -> type[T]: ...


@overload
@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field, Field))
def value(*, kw_only: bool = True, eq: bool = True) -> Callable[[type[T]], type[T]]: ...


def value(
    kind: type[T] | None = None, /, *, kw_only: bool = True, eq: bool = True
) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a class a frozen, slotted value with keyword-only fields.

    ``kw_only`` False: fields may be given by position as well. ``eq`` False: compared by identity.
    """
    if kind is not None:
        return _made(kind, kw_only=True, eq=True)
    return lambda found: _made(found, kw_only=kw_only, eq=eq)
