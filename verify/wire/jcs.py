"""The canonical text of a JSON value: what keysets, receipts and session records are hashed over.

Members sorted by UTF-16 code units, no white space, the shortest spelling of every string and
number. Numbers are doubles there, so an integer that no double holds exactly has no canonical text
here: two readers would not agree on it.

Source: RFC 8785; providers.md 8.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from verify.engine.errors import FormatError
from verify.engine.later import later
from verify.wire.strict_json import Json

if TYPE_CHECKING:
    import decimal
else:
    decimal = later("decimal")

_EXACT: Final = 2**53 - 1
_PLAIN_DIGITS: Final = 21


def _number(value: decimal.Decimal) -> str:
    """Return a double as ECMAScript writes it (RFC 8785 3.2.2.3)."""
    double = float(value)
    if not math.isfinite(double):
        raise FormatError(0, "a number that no double holds")
    if double == 0:
        return "0"
    _, digits, exponent = decimal.Decimal(repr(abs(double))).normalize().as_tuple()
    if not isinstance(exponent, int):
        raise FormatError(0, "a number that no double holds")
    text = "".join(map(str, digits))
    sign = "-" if double < 0 else ""
    # the value is 0.text times ten to the power of ``point``
    point = len(text) + exponent
    if len(text) <= point <= _PLAIN_DIGITS:
        return sign + text + "0" * (point - len(text))
    if 0 < point <= _PLAIN_DIGITS:
        return f"{sign}{text[:point]}.{text[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{text}"
    mantissa = text if len(text) == 1 else f"{text[0]}.{text[1:]}"
    return f"{sign}{mantissa}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def _parts(value: Json) -> Iterator[str]:
    if value is None or isinstance(value, bool | str):
        yield json.dumps(value, ensure_ascii=False)
    elif isinstance(value, int):
        if abs(value) > _EXACT:
            raise FormatError(0, "an integer that no double holds exactly")
        yield str(value)
    elif isinstance(value, decimal.Decimal):
        yield _number(value)
    elif isinstance(value, Mapping):
        mark = "{"
        for name in sorted(value, key=lambda text: text.encode("utf-16-be")):
            yield mark + json.dumps(name, ensure_ascii=False) + ":"
            yield from _parts(value[name])
            mark = ","
        yield "}" if value else "{}"
    else:
        mark = "["
        for element in value:
            yield mark
            yield from _parts(element)
            mark = ","
        yield "]" if value else "[]"


def canonical(value: Json) -> bytes:
    """Return the canonical bytes of a parsed value; its nesting is bounded by the strict reader.

    Raises `FormatError` for a number without a canonical text. Source: RFC 8785 3.
    """
    return "".join(_parts(value)).encode("utf-8")
