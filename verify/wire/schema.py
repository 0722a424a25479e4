"""The shipped JSON schemas: a small fast reader for the hot path, `jsonschema` to explain.

The schema files are the only place where the structure of a document is written down. `check` turns
one into plain functions, once, and knows exactly the keywords of `KEYWORDS`: any other keyword, a
reference out of the file or an open object is a fault of ours, found when the schema is compiled,
never ignored. `explain` asks the reference validator what is wrong with a refused document; the
tests hold both to the same answer on every instance.

Source: bundle-format.md 1 (Schemas), 9.5; JSON Schema 2020-12.
"""

from __future__ import annotations

import json
import os
import re
from _thread import RLock
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from verify.engine.errors import FormatError, InternalFault
from verify.wire.scalars import pointer_token
from verify.wire.strict_json import Json

if TYPE_CHECKING:
    from pathlib import Path

SchemaName: TypeAlias = Literal["bundle", "statement", "attachment", "headers", "exploded"]
"""The schemas that the verifier itself applies; the folder holds more."""

KEYWORDS: Final = frozenset(
    (
        "$schema", "$id", "$ref", "$defs", "title", "description",
        "type", "const", "enum", "anyOf", "not",
        "properties", "required", "additionalProperties", "patternProperties", "propertyNames",
        "maxProperties", "items", "prefixItems", "minItems", "maxItems", "uniqueItems",
        "minLength", "maxLength", "pattern", "minimum", "maximum",
    )
)  # fmt: skip

_Check: TypeAlias = Callable[[object], None]
_TYPES: Final[Mapping[str, type]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
}
_ONLY_NULL: Final = {"type": "null"}
_BESIDE: Final = {
    "required": "properties",
    "properties": "additionalProperties",
    "patternProperties": "propertyNames",
    "propertyNames": "maxProperties",
    "maxProperties": "patternProperties",
    "additionalProperties": "type",
    "minItems": "items",
    "prefixItems": "items",
    "uniqueItems": "items",
    "maxItems": "items",
    "items": "maxItems",
}
_APART: Final = (("not", "anyOf"), ("properties", "patternProperties"), ("const", "enum"))
_SHOWN: Final = 64


class _Mismatch(Exception):  # noqa: N818  (an answer, caught a few lines further up)
    """A value that a schema refuses; the path is filled in from the inside out."""

    def __init__(self, text: str, *values: object) -> None:
        super().__init__()
        self.path: list[str | int] = []
        self._text = text
        self._values = values

    @property
    def what(self) -> str:
        """What is wrong, in words; put together only where somebody reads it."""
        return self._text.format(*map(_brief, self._values))


def folder() -> Path:
    """Return where the schemas lie: inside the installed package, or beside it in a checkout."""
    from pathlib import Path  # noqa: PLC0415  (slow to import, and listings alone need it)

    return Path(_folder())


def _folder() -> str:
    package = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120  (see above)
    shipped = os.path.join(package, "_schemas")  # noqa: PTH118  (see above)
    return shipped if os.path.isdir(shipped) else os.path.join(package, "..", "schemas")  # noqa: PTH112, PTH118


def load(name: str) -> Mapping[str, Any]:
    """Return a shipped schema as parsed JSON. Raises InternalFault where it cannot be read."""
    try:
        with open(f"{_folder()}/{name}.v1.schema.json", "rb") as file:  # noqa: PTH123  (see above)
            found = json.loads(file.read())
    except (OSError, ValueError) as error:
        message = f"the shipped schema {name} cannot be read: {error}"
        raise InternalFault(message) from error
    if not isinstance(found, dict):
        message = f"the shipped schema {name} is no object"
        raise InternalFault(message)
    return found


# --- compiling -------------------------------------------------------------------------------


def _same(value: object, wanted: object) -> bool:
    return type(value) is type(wanted) and value == wanted


def _brief(value: object) -> str:
    return json.dumps(value, default=str)[:_SHOWN]


def _judge_keywords(keywords: frozenset[str]) -> None:
    unknown = keywords - KEYWORDS
    if unknown:
        message = f"keywords that the verifier does not apply: {sorted(unknown)}"
        raise InternalFault(message)
    for keyword, needed in _BESIDE.items():
        if keyword in keywords and needed not in keywords:
            message = f"{keyword} without {needed} would not be applied"
            raise InternalFault(message)
    for one, other in _APART:
        if one in keywords and other in keywords:
            message = f"{one} and {other} in one place: one of them would not be applied"
            raise InternalFault(message)


class _Compiler:
    """Turns the parts of one schema file into functions; each definition once.

    ``eager`` False: members, elements and branches are compiled when a value has the first one.
    """

    def __init__(self, root: Mapping[str, Any], *, eager: bool = True) -> None:
        self._eager = eager
        self._sound: set[frozenset[str]] = set()
        self._definitions: Mapping[str, Any] = root.get("$defs", {})
        self._done: dict[str, _Check] = {}
        self._open: set[str] = set()
        self._lock = RLock()

    def compile(self, schema: Mapping[str, Any] | bool) -> _Check:
        """Return a function that raises `_Mismatch` for a value the schema refuses.

        Parts are compiled when a value has them, perhaps in several threads: one at a time.
        """
        with self._lock:
            return self._compile(schema)

    def _compile(self, schema: Mapping[str, Any] | bool) -> _Check:
        if isinstance(schema, bool):
            return _anything if schema else _nothing
        if schema == _ONLY_NULL:
            return _null
        keywords = frozenset(schema)
        if keywords not in self._sound:
            _judge_keywords(keywords)
            self._sound.add(keywords)
        checks: list[_Check] = []
        if "$ref" in schema:
            checks.append(self._reference(schema["$ref"]))
        for read in (_constant, _kind, _text, _number, self._choice, self._object, self._list):
            found = read(schema)
            if found is not None:
                checks.append(found)
        if len(checks) == 1:
            return checks[0]

        def every(value: object) -> None:
            for check in checks:
                check(value)

        return every

    def _picked(self, schema: Mapping[str, Any] | bool) -> _Check:
        """Return the check of a part that may never be met."""
        if self._eager or schema in (True, False, _ONLY_NULL):
            return self.compile(schema)
        made: list[_Check] = []

        def check(value: object) -> None:
            if not made:
                made.append(self.compile(schema))
            made[0](value)

        return check

    def _reference(self, target: str) -> _Check:
        name = target.removeprefix("#/$defs/")
        if name == target or name not in self._definitions or name in self._open:
            message = f"$ref {target}: not a definition of the same file, or recursive"
            raise InternalFault(message)
        if name not in self._done:
            self._open.add(name)
            self._done[name] = self.compile(self._definitions[name])
            self._open.discard(name)
        return self._done[name]

    def _choice(self, schema: Mapping[str, Any]) -> _Check | None:
        if "not" in schema:
            if schema["not"].keys() == {"type", "pattern"} and schema["not"]["type"] == "string":
                return _without(schema["not"]["pattern"])
            refused = self.compile(schema["not"])

            def none_of(value: object) -> None:
                try:
                    refused(value)
                except _Mismatch:
                    return
                raise _Mismatch("a character or value that may not stand here")

            return none_of
        if "anyOf" not in schema:
            return None
        named = self._discriminator(schema["anyOf"])
        if named is not None:
            return _dispatch(named, [self._picked(branch) for branch in schema["anyOf"]])
        branches = [self._picked(branch) for branch in schema["anyOf"]]
        branches.sort(key=lambda branch: branch is not _null)

        def any_of(value: object) -> None:
            nearest: _Mismatch | None = None
            for branch in branches:
                try:
                    branch(value)
                except _Mismatch as mismatch:
                    # The branch that came furthest into the value says most about it.
                    if nearest is None or len(mismatch.path) > len(nearest.path):
                        nearest = mismatch
                else:
                    return
            if nearest is None or (len(branches) > 2 and len(nearest.path) < 2):
                nearest = _Mismatch("none of the forms that may stand here")
            raise nearest

        return any_of

    def _discriminator(self, branches: Sequence[Any]) -> tuple[str, tuple[str, ...]] | None:
        """Find a member that has another constant in every branch: it alone picks the branch."""
        for name, rule in branches[0].get("properties", {}).items():
            if "const" not in rule:
                continue
            constants = tuple(
                branch.get("properties", {}).get(name, {}).get("const") for branch in branches
            )
            required = all(name in branch.get("required", ()) for branch in branches)
            texts = all(isinstance(constant, str) for constant in constants)
            if required and texts and len(set(constants)) == len(branches):
                return name, constants
        return None

    def _object(self, schema: Mapping[str, Any]) -> _Check | None:
        named = "properties" in schema
        if not named and "patternProperties" not in schema:
            return None
        if schema.get("additionalProperties") is not False:
            raise InternalFault("an object that is not closed")
        return self._members(schema) if named else self._map(schema)

    def _members(self, schema: Mapping[str, Any]) -> _Check:
        properties = schema["properties"]
        members = (
            {name: self.compile(below) for name, below in properties.items()} if self._eager else {}
        )
        required = frozenset(schema.get("required", ()))

        def check(value: object) -> None:
            if not isinstance(value, dict):
                return
            if not required <= value.keys():
                missing = min(required - value.keys())
                raise _Mismatch("the member {} is missing", missing)
            name = ""
            try:
                for name, schema_below in properties.items():
                    if name in value:
                        if name not in members:
                            members[name] = self.compile(schema_below)
                        members[name](value[name])
            except _Mismatch as mismatch:
                mismatch.path.append(name)
                raise
            if not value.keys() <= properties.keys():
                unknown = min(value.keys() - properties.keys())
                raise _Mismatch("{} is no member known here", unknown)

        return check

    def _map(self, schema: Mapping[str, Any]) -> _Check:
        ((prefix, below),) = schema["patternProperties"].items()
        search = re.compile(prefix).search
        entry = self._picked(below)
        key = self.compile(schema["propertyNames"])
        most = int(schema["maxProperties"])

        def check(value: object) -> None:
            if not isinstance(value, dict):
                return
            if len(value) > most:
                raise _Mismatch("{} members, more than {}", len(value), most)
            for name, found in value.items():
                try:
                    key(name)
                    (entry if search(name) else _nothing)(found)
                except _Mismatch as mismatch:
                    mismatch.path.append(name)
                    raise

        return check

    def _list(self, schema: Mapping[str, Any]) -> _Check | None:
        if "items" not in schema:
            return None
        least = schema.get("minItems", 0)
        most = schema["maxItems"]
        leading = [self.compile(below) for below in schema.get("prefixItems", ())]
        rest = self._picked(schema["items"])
        unique = schema.get("uniqueItems", False)

        def check(value: object) -> None:
            if not isinstance(value, list):
                return
            if not least <= len(value) <= most:
                raise _Mismatch("{} elements, not {} to {}", len(value), least, most)
            at = 0
            try:
                for at, found in enumerate(value):
                    (leading[at] if at < len(leading) else rest)(found)
            except _Mismatch as mismatch:
                mismatch.path.append(at)
                raise
            if unique and len({json.dumps(found) for found in value}) != len(value):
                raise _Mismatch("an element stands twice")

        return check


def _dispatch(named: tuple[str, tuple[str, ...]], branches: Sequence[_Check]) -> _Check:
    """Return the choice among branches that one member tells apart."""
    name, constants = named
    table = dict(zip(constants, branches, strict=True))

    def check(value: object) -> None:
        if not isinstance(value, dict):
            raise _Mismatch("object expected")
        told = value.get(name)
        branch = table.get(told) if isinstance(told, str) else None
        if branch is None:
            mismatch = _Mismatch("{} names none of the forms known here", told)
            if name in value:
                mismatch.path.append(name)
            raise mismatch
        branch(value)

    return check


def _without(pattern: str) -> _Check:
    """Return the check that a text holds nothing of a kind of characters."""
    search = re.compile(pattern).search

    def check(value: object) -> None:
        if isinstance(value, str) and search(value) is not None:
            raise _Mismatch("{} holds a character that may not stand here", value)

    return check


def _null(value: object) -> None:
    if value is not None:
        raise _Mismatch("null expected")


def _anything(_value: object) -> None:
    """Accept."""


def _nothing(_value: object) -> None:
    raise _Mismatch("nothing may stand here")


def _constant(schema: Mapping[str, Any]) -> _Check | None:
    if "const" in schema:
        allowed: tuple[object, ...] = (schema["const"],)
    elif "enum" in schema:
        allowed = tuple(schema["enum"])
    else:
        return None
    words = frozenset(word for word in allowed if isinstance(word, str))
    others = tuple(word for word in allowed if not isinstance(word, str))

    def check(value: object) -> None:
        if isinstance(value, str):
            if value in words:
                return
        elif any(_same(value, word) for word in others):
            return
        if len(allowed) <= 8:
            raise _Mismatch("{} is not" + " {}" * len(allowed), value, *allowed)
        raise _Mismatch("{} is not on the closed list", value)

    return check


def _kind(schema: Mapping[str, Any]) -> _Check | None:
    if "type" not in schema:
        return None
    named = schema["type"]
    names = (named,) if isinstance(named, str) else tuple(named)
    kinds = tuple(_TYPES[name] for name in names)
    truth = "boolean" in names or "integer" not in names  # Python's bool is an int
    wanted = f"{' or '.join(names)} expected"

    def check(value: object) -> None:
        if not isinstance(value, kinds) or (not truth and isinstance(value, bool)):
            raise _Mismatch(wanted)

    return check


def _text(schema: Mapping[str, Any]) -> _Check | None:
    if not {"minLength", "maxLength", "pattern"} & set(schema):
        return None
    least = schema.get("minLength", 0)
    most = schema.get("maxLength")
    pattern = schema.get("pattern")
    search = None if pattern is None else re.compile(pattern).search

    def check(value: object) -> None:
        if not isinstance(value, str):
            return
        if len(value) < least or (most is not None and len(value) > most):
            raise _Mismatch("{} characters, not {} to {}", len(value), least, most)
        if search is not None and search(value) is None:
            raise _Mismatch("{} is not of the form {}", value, pattern)

    return check


def _number(schema: Mapping[str, Any]) -> _Check | None:
    if "minimum" not in schema and "maximum" not in schema:
        return None
    least = schema.get("minimum")
    most = schema.get("maximum")

    def check(value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            return
        if (least is not None and value < least) or (most is not None and value > most):
            raise _Mismatch("{} is outside {} to {}", value, least, most)

    return check


@cache
def _compiled(name: SchemaName) -> _Check:
    root = load(name)
    return _Compiler(root, eager=False).compile(root)


def compile_schema(schema: Mapping[str, Any]) -> Callable[[Json], None]:
    """Return the check of any schema in the closed keyword set; it raises `FormatError`.

    Raises InternalFault where the schema uses anything else.
    """
    return _public(_Compiler(schema).compile(schema))


def _public(compiled: _Check) -> Callable[[Json], None]:
    def check(value: Json) -> None:
        try:
            compiled(value)
        except _Mismatch as mismatch:
            path = "".join(f"/{pointer_token(part)}" for part in reversed(mismatch.path))
            raise FormatError(0, mismatch.what, path=path) from None

    return check


def check(name: SchemaName, value: Json) -> None:
    """Refuse a value that the schema refuses: `FormatError` with the pointer of the place."""
    _public(_compiled(name))(value)


def explain(name: SchemaName, value: Json) -> str | None:
    """Return what the reference validator says about a value, or None where it has no complaint.

    Slow (it imports `jsonschema`): for documents that `check` refused. The text names places and
    rules, and quotes little.
    """
    from jsonschema import Draft202012Validator  # noqa: PLC0415  (80 ms, only for refused input)
    from jsonschema.exceptions import best_match  # noqa: PLC0415

    found = best_match(Draft202012Validator(load(name)).iter_errors(value))
    if found is None:
        return None
    path = "".join(f"/{pointer_token(part)}" for part in found.absolute_path)
    return f"{path or '(top)'}: schema rule {found.validator!r}"
