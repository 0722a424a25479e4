"""Derivation steps: the bytes of one artifact computed from the body of another.

Used by the verifier to check derived artifacts and by the capture side to make them. Steps run left
to right on bytes, a JSON value, or a string; the result must be bytes. Raises only `FormatError`.

Source: bundle-format.md 5.3.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from verify.engine.errors import FormatError
from verify.wire import base64, limits
from verify.wire.headers import read_headers
from verify.wire.strict_json import Json, Spans, parse_evidence, pointer_get

STEPS_LIMIT: Final = 8
_PERCENT: Final = re.compile(r"%([0-9A-Fa-f]{2})|(%)|([^%]+)")


class _Source:
    """Bytes as they are, with the strict reading of them kept for several steps on one body."""

    __slots__ = ("_spans", "_value", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._value: list[Json] = []
        self._spans: Spans | None = None

    def value(self) -> Json:
        """Return the bytes read as third-party JSON."""
        if not self._value:
            self._value.append(parse_evidence(self.data))
        return self._value[0]

    def span(self, pointer: str) -> tuple[int, int]:
        """Return start and stop of a value's bytes: one index for all that is asked of a body."""
        if self._spans is None:
            self._spans = Spans(self.data)
        return self._spans.find(pointer)


_Carried: TypeAlias = "_Source | Json"


def _bytes(carried: _Carried, step: str) -> bytes:
    if isinstance(carried, _Source):
        return carried.data
    raise FormatError(0, f"{step} reads bytes, not a value")


def _text(carried: _Carried, step: str) -> str:
    if isinstance(carried, str):
        return carried
    raise FormatError(0, f"{step} reads a string")


def _select(carried: _Carried, argument: str) -> _Carried:
    value = carried.value() if isinstance(carried, _Source) else carried
    return pointer_get(value, argument)


def _span(carried: _Carried, argument: str) -> _Carried:
    if not isinstance(carried, _Source):
        raise FormatError(0, "span reads bytes, not a value")
    carried.value()
    start, stop = carried.span(argument)
    return _Source(carried.data[start:stop])


def _json(carried: _Carried, _argument: str) -> _Carried:
    return parse_evidence(_text(carried, "json").encode())


def _header(carried: _Carried, argument: str) -> _Carried:
    found = [
        value for name, value in read_headers(_bytes(carried, "header")) if name.lower() == argument
    ]
    if len(found) != 1 or found[0] is None:
        raise FormatError(0, f"the header {argument} does not stand there once, in clear")
    return found[0]


def _percent(carried: _Carried, _argument: str) -> _Carried:
    text = _text(carried, "percent")
    parts: list[bytes] = []
    for match in _PERCENT.finditer(text):
        digits, lone, plain = match.groups()
        if lone is not None:
            raise FormatError(match.start(), "% without two hex digits")
        parts.append(bytes.fromhex(digits) if digits is not None else plain.encode())
    return _Source(b"".join(parts))


def _gunzip(carried: _Carried, _argument: str) -> _Carried:
    data = _bytes(carried, "gunzip")
    inflater = zlib.decompressobj(wbits=31)
    try:
        found = inflater.decompress(data, limits.GUNZIP_OUTPUT + 1)
    except zlib.error as error:
        raise FormatError(0, f"gunzip: {error}") from None
    if len(found) > limits.GUNZIP_OUTPUT:
        raise FormatError(0, f"gunzip: more than {limits.GUNZIP_OUTPUT} bytes")
    if not inflater.eof:
        raise FormatError(len(data), "gunzip: the member does not end")
    if inflater.unused_data:
        raise FormatError(len(data) - len(inflater.unused_data), "gunzip: bytes behind the member")
    return _Source(found)


_STEPS: Final[Mapping[str, Callable[[_Carried, str], _Carried]]] = {
    "select": _select,
    "span": _span,
    "json": _json,
    "text": lambda carried, _: _Source(_text(carried, "text").encode()),
    "hex": lambda carried, _: _Source(base64.decode_foreign_hex(_text(carried, "hex"))),
    "base64": lambda carried, _: _Source(base64.decode(_text(carried, "base64"))),
    "base64url": lambda carried, _: _Source(base64.decode_url(_text(carried, "base64url"))),
    "header": _header,
    "percent": _percent,
    "gunzip": _gunzip,
}
_WITH_ARGUMENT: Final = frozenset(("select", "span", "header"))


class Body:
    """The body of a source artifact, to which the steps of several derivations are applied."""

    __slots__ = ("_inner", "_source")

    def __init__(self, data: bytes) -> None:
        self._source = _Source(data)
        self._inner: tuple[tuple[str, ...], _Carried] = ((), self._source)

    def derive(self, steps: Sequence[str]) -> bytes:
        """Return the bytes the steps lead to, at least one. Raises `FormatError`."""
        if not 1 <= len(steps) <= STEPS_LIMIT:
            raise FormatError(0, f"{len(steps)} steps, not 1 to {STEPS_LIMIT}")
        carried: _Carried = self._source
        done = 0
        known, value = self._inner
        if known and tuple(steps[: len(known)]) == known:
            carried, done = value, len(known)
        for place, step in enumerate(steps[done:], done + 1):
            name, colon, argument = step.partition(":")
            run = _STEPS.get(name)
            if run is None or bool(colon) is not (name in _WITH_ARGUMENT):
                raise FormatError(0, f"no step is called {step[:32]!r}")
            carried = run(carried, argument)
            if name == "json":
                # the devices of one payload follow one another: its text is read once
                self._inner = tuple(steps[:place]), carried
        found = _bytes(carried, "a derivation")
        if not found:
            raise FormatError(0, "no byte is left")
        return found


def run_steps(body: bytes, steps: Sequence[str]) -> bytes:
    """Apply ``steps`` to one body; see `Body.derive`. Raises `FormatError`."""
    return Body(body).derive(steps)
