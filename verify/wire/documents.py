"""Documents of our own inside a bundle: strict JSON, version, schema, in this order.

What cannot be used at all is `MalformedInput` of kind ``bundle`` with one ``input.*`` code and a
pointer. Source: bundle-format.md 2, 9.5 (steps 2 and 6), 14; verification.md 7.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NoReturn, cast

from verify.engine.errors import FormatError, InputCode, MalformedInput
from verify.engine.reason import Reason
from verify.wire import schema
from verify.wire.strict_json import Json, JsonError, parse_own

_EXPLAIN_BELOW: Final = 8 << 20
_MINOR: Final = r"1\.[1-9][0-9]{0,3}"
_MAJOR: Final = r"[0-9]{1,4}\.[0-9]{1,4}"
_WIDTH: Final = 256

Document = Mapping[str, Any]
"""A parsed document whose shape its schema vouches for: members are read by name."""


def unusable(code: InputCode, document: str, path: str, what: str) -> MalformedInput:
    """Return the exception for a bundle that cannot be used because of one place in it."""
    return MalformedInput("bundle", code, what[:_WIDTH], pointer=f"{document}#{path}")


def unusable_at(document: str, path: str, error: FormatError) -> MalformedInput:
    """Return the exception for a scalar of a document that its own parser refused."""
    return unusable("input.schema", document, path, error.what)


def _parsed(data: bytes, document: str, limit: int, lines: Collection[str]) -> Json:
    try:
        return parse_own(data, limit=limit, lines=lines)
    except JsonError as error:
        where = "" if error.path is not None else f" (byte {error.offset})"
        raise unusable(error.code, document, error.path or "", error.what + where) from None


def _refuse(name: schema.SchemaName, document: str, value: Json, error: FormatError) -> NoReturn:
    what = error.what
    explained = schema.explain(name, value)
    if explained is not None:
        what = f"{what} [{explained}]"
    raise unusable("input.schema", document, error.path or "", what) from None


def read(
    data: bytes,
    *,
    name: schema.SchemaName,
    document: str,
    limit: int,
    version: Callable[[Document], None] | None = None,
    lines: Collection[str] = (),
) -> Document:
    """Return the document in ``data``. ``version`` may refuse it before the schema is applied.

    Raises MalformedInput, and whatever ``version`` raises.
    """
    value = _parsed(data, document, limit, lines)
    if version is not None and isinstance(value, dict):
        version(value)
    try:
        schema.check(name, value)
    except FormatError as error:
        if len(data) > _EXPLAIN_BELOW:
            raise unusable("input.schema", document, error.path or "", error.what) from None
        _refuse(name, document, value, error)
    return cast("Document", value)


def statement_version(document: str, family: str) -> Callable[[Document], None]:
    """Return the version rule of a Statement; ``family``: pattern of its predicate type.

    Another major is MalformedInput (``input.version``); a higher minor is a FormatError with reason
    ``statement.minor_unsupported``: what it means is not known here.
    """
    other = re.compile(family + r":v(?!1$)[0-9]{1,4}")

    def refuse(value: Document) -> None:
        kind = value.get("predicateType")
        if isinstance(kind, str) and other.fullmatch(kind):
            raise unusable("input.version", document, "/predicateType", f"{kind} is not known here")
        predicate = value.get("predicate")
        written = predicate.get("schema") if isinstance(predicate, dict) else None
        if not isinstance(written, str) or written == "1.0":
            return
        path = "/predicate/schema"
        if re.fullmatch(_MINOR, written):
            raise FormatError(
                0,
                f"minor version {written}",
                reason=Reason.STATEMENT_MINOR_UNSUPPORTED,
                path=path,
            )
        if re.fullmatch(_MAJOR, written):
            raise unusable("input.version", document, path, f"version {written} is not known here")

    return refuse
