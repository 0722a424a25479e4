"""The schemas shipped with the program: one file for each name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from verify.engine.errors import InternalFault, UsageError

_PACKAGE: Final = Path(__file__).resolve().parents[1]
FOLDERS: Final = (_PACKAGE / "_schemas", _PACKAGE.parent / "schemas")
"""In an installed wheel, and in a checkout."""
_SUFFIX: Final = ".v1.schema.json"


def _folder() -> Path:
    for folder in FOLDERS:
        if folder.is_dir():
            return folder
    raise InternalFault("the schemas are not where they were installed")


def names() -> tuple[str, ...]:
    """Return the names of all shipped schemas, sorted."""
    return tuple(sorted(path.name.removesuffix(_SUFFIX) for path in _folder().glob(f"*{_SUFFIX}")))


def schema(name: str) -> str:
    """Return the text of a schema. Raises UsageError for a name that is not shipped."""
    if name not in names():
        message = f"no schema {name!r}; there are: {', '.join(names())}"
        raise UsageError(message)
    return (_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
