"""A closed list of many members that costs little to define.

`enum.Enum` takes 8 microseconds for a member and goes through a descriptor at each use; a list of
five hundred would be a twentieth of a whole verification. A `Closed` class is used like an Enum
whose values are the arguments of ``__init__``: members are single instances, compared by identity,
iterated in order. Type checkers see an Enum, with everything they know about it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

__all__ = ("Closed",)

if TYPE_CHECKING:
    from enum import Enum as Closed
else:

    class _Members(type):
        """Makes the tuples in the body of a class its members."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            found = {key: given for key, given in body.items() if isinstance(given, tuple)}
            plain = {key: given for key, given in body.items() if key not in found}
            if len(set(found.values())) != len(found):
                message = f"two members of {name} have the same value"
                raise TypeError(message)
            made = super().__new__(cls, name, bases, {**plain, "_members": {}})
            for key, given in found.items():
                member = object.__new__(made)
                member.name = key
                member.value = given
                member.__init__(*given)
                made._members[key] = member
                type.__setattr__(made, key, member)
            return made

        def __setattr__(cls, name: str, value: object) -> None:
            message = f"cannot change {name!r}: the list is closed"
            raise AttributeError(message)

        def __call__(cls, value: object) -> object:
            for member in cls:
                if member is value or member.value == value:
                    return member
            message = f"{value!r} is no member of {cls.__name__}"
            raise ValueError(message)

        def __getitem__(cls, name: str) -> object:
            return cls._members[name]

        def __iter__(cls) -> Iterator[object]:
            return iter(cls._members.values())

        def __len__(cls) -> int:
            return len(cls._members)

    class Closed(metaclass=_Members):
        """The base of closed lists."""

        def __repr__(self) -> str:
            return f"<{type(self).__name__}.{self.name}>"

        def __reduce__(self) -> tuple[object, ...]:
            return getattr, (type(self), self.name)

        def __copy__(self) -> Closed:
            return self

        def __deepcopy__(self, _memo: object) -> Closed:
            return self
