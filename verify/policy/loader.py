"""Policy file bytes to `Policy`: a closed YAML reader, then the strict constructor.

The plain layout has a reader of its own; the library is asked for all else, and for the line of
whatever is refused.

Source: verification.md 5.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final, NoReturn

from verify.engine.errors import InputCode, MalformedInput, UsageError
from verify.engine.later import later
from verify.policy.model import Policy
from verify.policy.plain_yaml import plain_value
from verify.policy.read import SCHEMA_ID, read_policy
from verify.wire.members import ShapeError

if TYPE_CHECKING:
    from verify.policy import closed_yaml
else:
    closed_yaml = later("verify.policy.closed_yaml")

DEFAULTS: Final = os.path.join(os.path.dirname(__file__), "defaults")  # noqa: PTH118, PTH120
"""Folder of the shipped default policies (`pathlib` takes longer to import than to do this)."""

_SUFFIX: Final = ".yaml"

UNSUPPORTED_PROFILES: Final = frozenset(
    {
        "secretvm",
        "nitro",
        "redpill-tinfoil",
    }
)
"""Paths of providers.md 1.1 and 10.1 whose family this version does not judge."""


def _refuse(code: InputCode, line: int, what: str, pointer: str, file: str | None) -> NoReturn:
    where = f"line {line}: " if line else ""
    raise MalformedInput("policy", code, where + what, pointer=f"policy#{pointer}", file=file)


def load_policy(data: bytes, *, file: str | None = None) -> Policy:
    """Read a policy file. ``file``: its name, for messages only.

    Raises MalformedInput (kind policy) with the line, the pointer and what to do.
    """
    value: object = plain_value(data)
    if value is None:
        value = _read(data, file).value
    if isinstance(value, dict) and value.get("schema") not in (None, SCHEMA_ID):
        line = _read(data, file).lines.get("/schema", 0)
        _refuse("input.version", line, f"schema must be {SCHEMA_ID!r}", "/schema", file)
    try:
        return read_policy(value, hashlib.sha256(data).hexdigest())
    except ShapeError as error:
        line = _read(data, file).lines.get(error.pointer, 0)
        _refuse("input.schema", line, error.what, error.pointer, file)


def _read(data: bytes, file: str | None) -> closed_yaml.Document:
    """Read a document with the library. Raises MalformedInput."""
    try:
        return closed_yaml.parse_yaml(data)
    except closed_yaml.YamlRefusal as refusal:
        _refuse(refusal.code, refusal.line, refusal.what, refusal.pointer, file)


def default_names() -> tuple[str, ...]:
    """Return the names of the shipped default policies, sorted."""
    files = os.listdir(DEFAULTS)  # noqa: PTH208
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX)))


def default_bytes(name: str) -> bytes:
    """Return the file of a shipped default. Raises UsageError for any other name."""
    known = default_names()
    if name in known:
        with open(os.path.join(DEFAULTS, name + _SUFFIX), "rb") as file:  # noqa: PTH118, PTH123
            return file.read()
    if name in UNSUPPORTED_PROFILES:
        message = (
            f"profile {name!r}: family not supported yet by this version; "
            f"supported are {', '.join(known)}"
        )
    else:
        message = f"no default policy is called {name!r}; there are {', '.join(known)}"
    raise UsageError(message)


def load_default(name: str) -> Policy:
    """Read a shipped default policy by name. Raises UsageError for an unknown name."""
    return load_policy(default_bytes(name), file=f"{name}.yaml")
