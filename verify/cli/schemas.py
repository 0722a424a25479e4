"""The schemas shipped with the program, by name."""

from __future__ import annotations

from typing import Final

from verify.engine.errors import UsageError
from verify.engine.outcome import shown
from verify.wire.schema import folder

_SUFFIX: Final = ".v1.schema.json"


def names() -> tuple[str, ...]:
    """Return the names of all shipped schemas, sorted."""
    return tuple(sorted(p.name.removesuffix(_SUFFIX) for p in folder().glob(f"*{_SUFFIX}")))


def schema(name: str) -> str:
    """Return the text of a schema. Raises UsageError for a name that is not shipped."""
    if name not in names():
        message = f"no schema is called {shown(name)}; there are {', '.join(names())}"
        raise UsageError(message)
    return (folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
