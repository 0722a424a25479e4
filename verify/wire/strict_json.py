"""Strict JSON: one text, one reading, at a bounded price.

Two profiles. OWN reads what this project writes; EVIDENCE reads third-party documents. A scanner
bounds nesting and the number of values before `json` builds anything, so neither recursion nor
memory depends on the sender. Rules J1 to J11 of bundle-format.md 2; pointers are RFC 6901.

Numbers: integers come as int; fractions and exponents (evidence only) as exact `Decimal`, as does
``-0``. Raises only `JsonError`, a `FormatError` that names its ``input.*`` code.
"""

from __future__ import annotations

import codecs
import json
import re
from _thread import allocate_lock
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from verify.engine.errors import FormatError, InputCode
from verify.wire import limits
from verify.wire.scalars import parse_index, parse_pointer, pointer_token

if TYPE_CHECKING:
    from decimal import Decimal

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | Decimal | bool | None"
"""A parsed value. Maps are dict, lists are list; nobody changes them after parsing."""


class Profile(Enum):
    """Whose JSON it is."""

    OWN = "own"
    EVIDENCE = "evidence"


class JsonError(FormatError):
    """Text that is not strict JSON. ``code``: the ``input.*`` code for a file of our own."""

    def __init__(
        self, offset: int, what: str, code: InputCode = "input.json", path: str | None = None
    ) -> None:
        super().__init__(offset, what, path=path)
        self.code: InputCode = code


_DEPTH: Final = {Profile.OWN: limits.OWN_DEPTH, Profile.EVIDENCE: limits.EVIDENCE_DEPTH}
_SLICE: Final = limits.MIB
_BOM: Final = b"\xef\xbb\xbf"
_BLANK: Final = b" \t\r\n"
_LONG_TOKEN: Final = re.compile(rb"[^\[\]{},:']{%d}" % (limits.NUMBER_TOKEN + 1))
_ONLY_STRUCTURE: Final = bytes(set(range(256)) - set(b"[]{}"))
_AS_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
# Compiled where they are first used: few documents have such escapes.
_SURROGATE_ESCAPE: Final = rb"\\u[dD][89a-fA-F]"
_CONTROL_ESCAPE: Final = rb"\\(?:u00[01]|[bfnrt])"
_NO_LINE_ESCAPE: Final = rb"\\(?:u00[01]|[bf])"
_SURROGATE: Final = "[\ud800-\udfff]"
_CONTROL: Final = "[\x00-\x1f]"
_CONTROL_BUT_LINES: Final = "[\x00-\x08\x0b\x0c\x0e-\x1f]"


class _Twice(Exception):  # noqa: N818  (carries a name out of the parser)
    """A member name that stands twice in one object."""


# --- the scanner -----------------------------------------------------------------------------


def _check_text(data: bytes) -> None:
    """Refuse what is not UTF-8 without byte order mark, a slice at a time."""
    if data.isascii():
        return
    if data.startswith(_BOM):
        raise JsonError(0, "a byte order mark", "input.encoding")
    view = memoryview(data)
    at = 0
    while at < len(data):
        final = at + _SLICE >= len(data)
        try:
            _, used = codecs.utf_8_decode(view[at : at + _SLICE], "strict", final)
        except UnicodeDecodeError as error:
            raise JsonError(at + error.start, "not UTF-8", "input.encoding") from None
        at += used


def _slices(data: bytes) -> Iterator[bytes]:
    """Cut into slices, never inside an escape (an odd run of backslashes)."""
    at = 0
    while at < len(data):
        stop = min(at + _SLICE, len(data))
        if stop < len(data) and data[stop - 1] == 0x5C:
            run = stop - len(data[at:stop].rstrip(b"\\"))
            # A run that fills the whole slice is even: a slice has an even size.
            if run % 2:
                stop += 1
        yield data[at:stop]
        at = stop


def _without_strings(part: bytes, *, inside: bool) -> tuple[bytes, bool]:
    """Replace every string of a slice by one quote; say whether it ends inside a string."""
    if b"\\" in part:
        # Left to right: pairs of backslashes first, so a quote behind a lone one is escaped.
        part = part.replace(b"\\\\", b"").replace(b'\\"', b"")
    if inside:
        quote = part.find(b'"')
        if quote < 0:
            return b"", True
        part = part[quote + 1 :]
    pieces = part.split(b'"')
    tight = b"'".join(pieces[::2])
    if len(pieces) % 2:
        return tight, False
    return tight + b"'", True


def _depth(brackets: bytes, limit: int) -> int:
    """Return the greatest nesting, looked at as far as ``limit`` + 1."""
    level = greatest = 0
    for bracket in brackets:
        level += 1 if bracket == 0x5B else -1
        if level > greatest:
            greatest = level
            if greatest > limit:
                break
    return greatest


def _balanced_within(brackets: bytes, limit: int) -> bool:
    """Whether the brackets pair up and nest no deeper than ``limit``: the quick way to say so."""
    for _ in range(limit):
        if not brackets:
            return True
        brackets = brackets.replace(b"[]", b"")
    return not brackets


def _scan(data: bytes, depth: int) -> None:
    """Bound nesting, count and tokens before anything is built; the grammar is left to the parser.

    Whatever the grammar refuses later was still counted up to that place: outside strings the
    scanner sees every bracket and comma the parser can see.
    """
    inside = False
    last = b""
    opens = closes = commas = empties = 0
    structure: list[bytes] = []
    for part in _slices(data):
        bare, inside = _without_strings(part, inside=inside)
        tight = bare.translate(None, _BLANK)
        if not tight:
            continue
        if _LONG_TOKEN.search(tight):
            raise JsonError(0, f"a word or number of more than {limits.NUMBER_TOKEN} characters")
        seam = last + tight[:1]
        empties += tight.count(b"[]") + tight.count(b"{}") + (seam in (b"[]", b"{}"))
        last = tight[-1:]
        commas += tight.count(b",")
        brackets = tight.translate(_AS_BRACKETS, _ONLY_STRUCTURE)
        opens += brackets.count(b"[")
        closes += brackets.count(b"]")
        structure.append(brackets)
        if 1 + commas + opens - empties > limits.NODES or closes > limits.NODES:
            break
    brackets = b"".join(structure)
    if not _balanced_within(brackets, depth) and _depth(brackets, depth) > depth:
        raise JsonError(0, f"nested deeper than {depth}", "input.depth")
    if 1 + commas + opens - empties > limits.NODES:
        raise JsonError(0, f"more than {limits.NODES} values", "input.count")


# --- the parser ------------------------------------------------------------------------------


def _own_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _tell_twice(pairs)
    return found


def _evidence_members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        _tell_twice(pairs)
    if found and max(map(len, found)) > limits.MEMBER_NAME:
        raise ValueError(f"a member name longer than {limits.MEMBER_NAME} characters")
    return found


def _tell_twice(pairs: list[tuple[str, object]]) -> NoReturn:
    last = {name: at for at, (name, _) in enumerate(pairs)}
    raise _Twice(next(name for at, (name, _) in enumerate(pairs) if last[name] != at))


def _own_integer(digits: str) -> int:
    if len(digits) > 17 or digits == "-0" or abs(value := int(digits)) > limits.SAFE_INTEGER:
        raise ValueError("an integer outside -(2^53-1) to 2^53-1, or -0")
    return value


def _own_fraction(digits: str) -> NoReturn:
    raise ValueError(f"a number with fraction or exponent ({len(digits)} characters)")


def _evidence_integer(digits: str) -> int | Decimal:
    return _exact(digits) if digits == "-0" else int(digits)


def _exact(token: str) -> Decimal:
    from decimal import Decimal, InvalidOperation  # noqa: PLC0415  (rare, and costs its import)

    try:
        return Decimal(token)
    except InvalidOperation:
        raise ValueError("an exponent beyond any use") from None


def _no_constant(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


_DECODERS: Final = {
    Profile.OWN: json.JSONDecoder(
        object_pairs_hook=_own_members,
        parse_int=_own_integer,
        parse_float=_own_fraction,
        parse_constant=_no_constant,
    ),
    Profile.EVIDENCE: json.JSONDecoder(
        object_pairs_hook=_evidence_members,
        parse_int=_evidence_integer,
        parse_float=_exact,
        parse_constant=_no_constant,
    ),
}


def _byte_offset(text: str, at: int) -> int:
    return at if text.isascii() else len(text[:at].encode())


def _strings(value: Json, lines: Collection[str]) -> Iterator[tuple[str, str, bool]]:
    """Give every string and member name with its pointer; whether line ends may stand in it."""
    stack: list[tuple[Json, str, bool]] = [(value, "", False)]
    while stack:
        found, path, free = stack.pop()
        if isinstance(found, str):
            yield found, path, free
        elif isinstance(found, dict):
            for name, below in found.items():
                here = f"{path}/{pointer_token(name)}"
                yield name, here, False
                stack.append((below, here, name in lines))
        elif isinstance(found, list):
            stack.extend((below, f"{path}/{at}", free) for at, below in enumerate(found))


def _check_strings(data: bytes, value: Json, profile: Profile, lines: Collection[str]) -> None:
    """Refuse lone surrogates (J8) and, in our own documents, control characters (J9).

    Both can only come from an escape, so a text without such escapes is done at once.
    """
    if b"\\" not in data:
        return
    surrogates = b"\\u" in data and re.search(_SURROGATE_ESCAPE, data) is not None
    controls = profile is Profile.OWN and re.search(_CONTROL_ESCAPE, data) is not None
    if not surrogates and not controls:
        return
    # Where only line ends are escaped, texts that may hold lines need no look.
    plain = not surrogates and re.search(_NO_LINE_ESCAPE, data) is None
    for text, path, free in _strings(value, lines):
        if free and plain:
            continue
        if surrogates and re.search(_SURROGATE, text):
            raise JsonError(0, "an unpaired surrogate", path=_printable(path))
        if controls and re.search(_CONTROL_BUT_LINES if free else _CONTROL, text):
            raise JsonError(0, "a control character", path=_printable(path))


def _printable(path: str) -> str:
    return path.encode("ascii", "backslashreplace").decode("ascii")


def parse(data: bytes, *, profile: Profile, limit: int, lines: Collection[str] = ()) -> Json:
    """Return the value that ``data`` writes, at most ``limit`` bytes. Raises `JsonError`.

    ``lines``: member names under which TAB, LF and CR may stand in strings of profile OWN.
    """
    if not data:
        raise JsonError(0, "nothing there", "input.empty")
    if len(data) > limit:
        raise JsonError(limit, f"{len(data)} bytes, the limit is {limit}", "input.too_large")
    _check_text(data)
    _scan(data, _DEPTH[profile])
    text = data.decode()
    try:
        value: Json = _DECODERS[profile].decode(text)
    except _Twice as error:
        name = str(error).encode("ascii", "backslashreplace").decode()[:64]
        raise JsonError(0, f"the member {name!r} stands twice", "input.duplicate_member") from None
    except json.JSONDecodeError as error:
        raise JsonError(_byte_offset(text, error.pos), error.msg) from None
    except (ValueError, RecursionError) as error:
        raise JsonError(0, str(error)) from None
    _check_strings(data, value, profile, lines)
    return value


def parse_own(data: bytes, *, limit: int, lines: Collection[str] = ()) -> Json:
    """`parse` with profile OWN."""
    return parse(data, profile=Profile.OWN, limit=limit, lines=lines)


def parse_evidence(data: bytes, *, limit: int = limits.EVIDENCE_DOCUMENT) -> Json:
    """`parse` with profile EVIDENCE; the last documents are remembered by their bytes.

    Several checks read one answer, each for itself.
    """
    if limit < len(data) or not _WORTH_KEEPING <= len(data) <= _KEPT_BYTES:
        return parse(data, profile=Profile.EVIDENCE, limit=limit)
    known = _KEPT.get(data)
    found = parse(data, profile=Profile.EVIDENCE, limit=limit) if known is None else known
    with _KEEPING:
        _KEPT.pop(data, None)
        _KEPT[data] = found
        total = sum(map(len, _KEPT))
        for oldest in tuple(_KEPT):
            if total <= _KEPT_BYTES:
                break
            total -= len(oldest)
            del _KEPT[oldest]
    return found


def forget() -> None:
    """Forget the remembered documents (for measurements and for tests of equal results)."""
    with _KEEPING:
        _KEPT.clear()


_WORTH_KEEPING: Final = 1024
_KEPT_BYTES: Final = 512 * 1024
_KEEPING: Final = allocate_lock()
_KEPT: Final[dict[bytes, Json]] = {}
"""The documents read last, oldest first: together at most `_KEPT_BYTES`."""


# --- pointers --------------------------------------------------------------------------------


def pointer_get(value: Json, pointer: str) -> Json:
    """Return what a JSON Pointer names in a parsed value. Raises `FormatError`: not there."""
    path = ""
    for token in parse_pointer(pointer):
        path += f"/{pointer_token(token)}"
        if isinstance(value, Mapping) and token in value:
            value = value[token]
            continue
        if isinstance(value, Sequence) and not isinstance(value, str):
            index = parse_index(token)
            if index is not None and index < len(value):
                value = value[index]
                continue
        raise FormatError(0, "nothing stands there", path=path)
    return value


_BLANKS: Final = re.compile(r"[ \t\r\n]*+")
_SKIP: Final = json.JSONDecoder()
"""Only finds where a value ends; what it builds is dropped."""


def _skip_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return at if found is None else found.end()


def _value_at(text: str, at: int) -> tuple[object, int]:
    """Return the value that begins at ``at`` and where it ends, one past its last character."""
    try:
        return _SKIP.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise JsonError(_byte_offset(text, at), f"a value expected: {error}") from None


def _name_at(text: str, at: int) -> tuple[str, int]:
    name, stop = _value_at(text, at)
    if not isinstance(name, str):
        raise JsonError(_byte_offset(text, at), "a member name expected")
    return name, stop


def _elements(text: str, at: int) -> Iterator[tuple[str | int, int, int]]:
    """Give key, start and stop of every value directly inside the container at ``at``."""
    is_object = text[at] == "{"
    closer = "}" if is_object else "]"
    at = _skip_blanks(text, at + 1)
    if text[at : at + 1] == closer:
        return
    number = 0
    while True:
        key: str | int = number
        if is_object:
            key, at = _name_at(text, at)
            at = _skip_blanks(text, at)
            if text[at : at + 1] != ":":
                raise JsonError(_byte_offset(text, at), "a colon expected")
            at = _skip_blanks(text, at + 1)
        stop = _value_at(text, at)[1]
        yield key, at, stop
        at = _skip_blanks(text, stop)
        if text[at : at + 1] == closer:
            return
        if text[at : at + 1] != ",":
            raise JsonError(_byte_offset(text, at), "a comma or the end expected")
        at = _skip_blanks(text, at + 1)
        number += 1


class Spans:
    """Where the values of one JSON text lie: each container on the way is walked once.

    Raises `JsonError` for bytes that are no UTF-8.
    """

    __slots__ = ("_found", "_text")

    def __init__(self, data: bytes) -> None:
        try:
            self._text = data.decode()
        except UnicodeDecodeError as error:
            raise JsonError(error.start, "not UTF-8", "input.encoding") from None
        self._found: dict[int, dict[str | int, tuple[int, int, int | None]]] = {}

    def _inside(self, start: int) -> dict[str | int, tuple[int, int, int | None]]:
        """Return start, stop, and start of a second one of that name, of every value inside."""
        found = self._found.get(start)
        if found is None:
            found = {}
            for key, begin, end in _elements(self._text, start):
                first = found.get(key)
                if first is None:
                    found[key] = (begin, end, None)
                elif first[2] is None:
                    found[key] = (first[0], first[1], begin)
            self._found[start] = found
        return found

    def _place(self, start: int, token: str) -> tuple[int, int]:
        """Return start and stop of the one value that a pointer token names in a container."""
        opener = self._text[start : start + 1]
        wanted: str | int | None = None
        if opener == "{":
            wanted = token
        elif opener == "[":
            wanted = parse_index(token)
        found = None if wanted is None else self._inside(start).get(wanted)
        if found is None:
            offset = _byte_offset(self._text, start)
            raise FormatError(offset, "nothing stands there", path=f"/{token}")
        begin, end, second = found
        if second is not None:
            offset = _byte_offset(self._text, second)
            raise JsonError(offset, "a member stands twice", "input.duplicate_member")
        return begin, end

    def find(self, pointer: str) -> tuple[int, int]:
        """Return start and stop of the source bytes of a value; see `span`."""
        text = self._text
        tokens = parse_pointer(pointer)
        start = _skip_blanks(text, 0)
        stop = len(text) if tokens else _value_at(text, start)[1]
        for token in tokens:
            start, stop = self._place(start, token)
        return _byte_offset(text, start), _byte_offset(text, stop)


def span(data: bytes, pointer: str) -> tuple[int, int]:
    """Return start and stop (exclusive) of the source bytes of the value a JSON Pointer names.

    ``data`` should have been parsed; whatever it is, only `FormatError` comes out. A name that
    stands twice on the way is refused. Source: bundle-format.md 5.3, J11.
    """
    return Spans(data).find(pointer)
