"""What the hashes in a signed text are taken over: the wire bytes, or one of five named forms.

A matching hash is self-proving: whichever admitted form matches, the enclave saw that content. No
sixth form may be invented.

Source: providers.md 2.7, 5.4; measured vectors for every form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final, Literal

from verify.engine.errors import FormatError
from verify.engine.value import value
from verify.wire.limits import EVIDENCE_DOCUMENT
from verify.wire.model import LargeBody, Reply
from verify.wire.strict_json import Json, parse_evidence, span

Form = Literal[
    "raw", "python_default", "python_compact", "model_renamed", "ionet_request", "ionet_stream"
]

RAW: Final[Form] = "raw"
IONET_STREAM: Final[Form] = "ionet_stream"

_DEFAULT: Final = (", ", ": ")
_COMPACT: Final = (",", ":")
_DONE: Final = re.compile(rb"^data: ?\[DONE\]\r?$", re.MULTILINE)
_DATA: Final = re.compile(rb"^data:", re.MULTILINE)

_IONET_DECLARED: Final = (
    "messages",
    "model",
    "temperature",
    "max_tokens",
    "stream",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "n",
    "logprobs",
)
_IONET_DOUBLES: Final = frozenset(
    (
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
    )
)
_IONET_INTEGERS: Final = frozenset(("max_tokens", "n"))
_IONET_BOOLEANS: Final = frozenset(("stream", "logprobs"))


class Inadmissible(Exception):  # noqa: N818  (a property of the body, not a fault)
    """A form does not exist for this body: it is not one JSON value a Python dump can repeat."""


def _native(body: bytes) -> object:
    """Return the body as the Python values that the proxies hold when they dump it again."""
    try:
        parse_evidence(body)
        value: object = json.loads(body.decode())
    except (FormatError, ValueError, RecursionError) as error:
        raise Inadmissible("not one JSON value without doubles") from error
    return value


def _dump(value: object, separators: tuple[str, str]) -> bytes:
    """Dump as Python does by default, but for the separators: ASCII only, repr of doubles."""
    try:
        return json.dumps(value, separators=separators, allow_nan=False).encode("ascii")
    except ValueError as error:
        raise Inadmissible("a number that no JSON dump can repeat") from error


def python_default(body: bytes) -> bytes:
    """Return the body parsed and dumped with ``", "`` and ``": "``. Raises `Inadmissible`."""
    return _dump(_native(body), _DEFAULT)


def python_compact(body: bytes) -> bytes:
    """Return the body parsed and dumped with ``","`` and ``":"``. Raises `Inadmissible`."""
    return _dump(_native(body), _COMPACT)


def _converted(name: str, value: object) -> object:
    """Convert a declared member as the service's request model does, without loss."""
    if name in _IONET_BOOLEANS:
        if isinstance(value, bool):
            return value
        raise Inadmissible(f"{name} is no boolean")
    if name not in _IONET_DOUBLES and name not in _IONET_INTEGERS:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Inadmissible(f"{name} is no number")
    try:
        converted: int | float = float(value) if name in _IONET_DOUBLES else int(value)
    except OverflowError as error:
        raise Inadmissible(f"{name} is too large") from error
    if converted != value:
        raise Inadmissible(f"{name} does not convert without loss")
    return converted


def ionet_request(body: bytes) -> bytes:
    """Return the normal form of a request at io.net. Raises `Inadmissible`.

    Nulls of the top level dropped; declared members first, in the service's order, as doubles,
    integers and booleans; ``stream`` added as false where it was missing; the others in body order;
    compact dump. Source: providers.md 5.4.
    """
    value = _native(body)
    if not isinstance(value, dict):
        raise Inadmissible("not an object")
    members: dict[str, object] = {}
    for name in _IONET_DECLARED:
        if name in value:
            if value[name] is not None:
                members[name] = _converted(name, value[name])
        elif name == "stream":
            members[name] = False
    others = {
        name: member
        for name, member in value.items()
        if name not in _IONET_DECLARED and member is not None
    }
    return _dump({**members, **others}, _COMPACT)


class _Chunks:
    """Picks the data lines of a stream without ``[DONE]`` and without the signature event."""

    __slots__ = ("_after_signature", "_signatures")

    def __init__(self) -> None:
        self._after_signature = False
        self._signatures = 0

    def of(self, lines: bytes) -> list[str]:
        """Return the chunks of lines that follow those given before. Raises `Inadmissible`."""
        try:
            texts = lines.decode().split("\n")
        except UnicodeDecodeError as error:
            raise Inadmissible("not UTF-8") from error
        chunks: list[str] = []
        after_signature = self._after_signature
        for line in texts:
            if line == "event: signature":
                self._signatures += 1
                after_signature = True
                continue
            if line.startswith("data: "):
                if not after_signature and not line.startswith("data: [DONE]"):
                    chunks.append(line[6:])
                after_signature = False
            elif not line:
                after_signature = False
        self._after_signature = after_signature
        if self._signatures > 1:
            raise Inadmissible("more than one signature event")
        return chunks


def ionet_stream(body: bytes) -> bytes:
    """Return the normal form of a stream at io.net. Raises `Inadmissible`.

    The compact dump of the data lines without ``[DONE]`` and without the signature event.
    """
    return _dump({"chunks": _Chunks().of(body)}, _COMPACT)


class StreamForm:
    """The digest of `ionet_stream`, computed block by block."""

    __slots__ = ("_broken", "_chunks", "_digest", "_first")

    def __init__(self) -> None:
        self._chunks = _Chunks()
        self._digest = sha256(b'{"chunks":[')
        self._first = True
        self._broken = False

    def block(self, block: bytes) -> None:
        """Take the next whole lines, with the last line end or, at the end of all, without."""
        if self._broken:
            return
        try:
            chunks = self._chunks.of(block.removesuffix(b"\n"))
        except Inadmissible:
            self._broken = True
            return
        if chunks:
            self._digest.update(b"" if self._first else b",")
            self._digest.update(_dump(chunks, _COMPACT)[1:-1])
            self._first = False

    def digest(self) -> bytes | None:
        """Return the SHA-256 of the form, at the end; None where the stream has no such form."""
        if self._broken:
            return None
        whole = self._digest.copy()
        whole.update(b"]}")
        return whole.digest()


def model_renamed(body: bytes, model: str | None) -> bytes:
    """Return the bytes with the value of the top-level ``model`` replaced by the response's.

    Nothing else changes. Raises `Inadmissible`.
    """
    if model is None:
        raise Inadmissible("the response names no model")
    try:
        value = parse_evidence(body)
        if not isinstance(value, Mapping) or not isinstance(value.get("model"), str):
            raise Inadmissible("the request names no model")
        start, stop = span(body, "/model")
    except FormatError as error:
        raise Inadmissible("not one JSON value") from error
    return body[:start] + json.dumps(model, ensure_ascii=False).encode() + body[stop:]


_PLAIN: Final[Mapping[Form, Callable[[bytes], bytes]]] = {
    "raw": bytes,
    "python_default": python_default,
    "python_compact": python_compact,
    "ionet_request": ionet_request,
    "ionet_stream": ionet_stream,
}


def _in_form(form: Form, body: bytes, model: str | None) -> bytes:
    if form == "model_renamed":
        return model_renamed(body, model)
    return _PLAIN[form](body)


@value
class Admitted:
    """The forms a family knows, ``raw`` first. ``rewritten``: a proxy changes requests."""

    request: tuple[Form, ...]
    response: tuple[Form, ...]
    rewritten: bool = False


_RAW_ONLY: Final = Admitted(request=(RAW,), response=(RAW,))
_PROXIED: Final = Admitted(
    request=(RAW, "model_renamed"), response=(RAW, "python_default"), rewritten=True
)
ADMITTED: Final[Mapping[str, Admitted]] = {
    "vllm-proxy": Admitted(request=(RAW,), response=(RAW, "python_default")),
    # proxies in front of vllm-proxy and of NEAR, all of which rename the model
    "nanogpt": _PROXIED,
    "redpill": _PROXIED,
    "venice": Admitted(request=(RAW,), response=(RAW, "python_default"), rewritten=True),
    "ionet": Admitted(
        request=(RAW, "ionet_request"), response=(RAW, "python_compact", "ionet_stream")
    ),
}
"""Profile -> forms. Source: the table of providers.md 2.7; 3.10 and 4 for rewritten requests."""


def admitted(profile: str) -> Admitted:
    """Return the forms of a profile; a profile that is not listed knows the wire bytes only."""
    return ADMITTED.get(profile, _RAW_ONLY)


def digests(
    body: bytes | LargeBody, forms: Sequence[Form], model: str | None = None
) -> Iterator[tuple[Form, bytes]]:
    """Give the SHA-256 of ``body`` in each of ``forms`` that exists for it, one at a time.

    ``model``: the response's model name, for ``model_renamed``. Of a large body, the forms that
    were computed while it was hashed; `untested` names the others.
    """
    if isinstance(body, LargeBody):
        for form in forms:
            digest = body.sha256 if form == RAW else body.forms.get(form)
            if digest is not None:
                yield form, digest
        return
    for form in forms:
        try:
            text = _in_form(form, body, model)
        except Inadmissible:
            continue
        yield form, sha256(text).digest()


def untested(body: bytes | LargeBody, forms: Sequence[Form]) -> tuple[Form, ...]:
    """Return those of ``forms`` that may exist for a body but are not computed for its size.

    A hash that fits no other form is then no contradiction. A stream of events is no JSON value,
    so only its own form is ever left open.
    """
    if isinstance(body, LargeBody):
        known: Collection[str] = body.forms
    elif len(body) > EVIDENCE_DOCUMENT:
        known = (IONET_STREAM,)
    else:
        return ()
    stream = reply_of(body).stream
    return tuple(
        form
        for form in forms
        if form != RAW and form not in known and (form == IONET_STREAM or not stream)
    )


def matching_form(
    body: bytes, expected: bytes, forms: Sequence[Form], model: str | None = None
) -> Form | None:
    """Return the first of ``forms`` in which ``body`` has the SHA-256 ``expected``, or None."""
    for form, digest in digests(body, forms, model):
        if digest == expected:
            return form
    return None


def _object(text: bytes) -> Mapping[str, Json] | None:
    if not text.lstrip(b" \t\r\n").startswith(b"{"):
        return None
    try:
        value = parse_evidence(text)
    except FormatError:
        return None
    return value if isinstance(value, Mapping) else None


def _string(members: Mapping[str, Json] | None, name: str) -> str | None:
    value = None if members is None else members.get(name)
    return value if isinstance(value, str) else None


def _is_error(members: Mapping[str, Json] | None) -> bool:
    if members is None:
        return False
    if members.get("error") is not None or members.get("finish_reason") == "error":
        return True
    choices = members.get("choices")
    return isinstance(choices, Sequence) and any(
        isinstance(choice, Mapping) and choice.get("finish_reason") == "error" for choice in choices
    )


_LOOKS: Final = 1 << 16
"""Data lines that are looked into; one is enough for an honest stream without an error."""


_ERROR: Final = re.compile(
    rb'"error"[ \t\r]*:(?![ \t\r]*null)|"finish_reason"[ \t\r]*:[ \t\r]*"error"'
)


def _may_be_error(lines: bytes) -> bool:
    """Whether any line may hold what `_is_error` looks for: the word alone is often just said."""
    return b'"error"' in lines and _ERROR.search(lines) is not None


class ReplyReader:
    """What `read_reply` reads, block by block: each block is whole lines of the body.

    Where `_LOOKS` lines told nothing, no further one is looked into: no answer looks like that, and
    its next line counts as the error.
    """

    __slots__ = ("_done", "_error", "_first", "_looks", "_stream")

    def __init__(self) -> None:
        self._looks = _LOOKS
        self._stream = False
        self._done = False
        self._first: Mapping[str, Json] | None = None
        self._error: int | None = None

    def block(self, block: bytes, offset: int = 0) -> None:
        """Take the next lines, which begin at ``offset`` of the body."""
        if not self._stream and _DATA.search(block) is None:
            return
        self._stream = True
        self._done = self._done or (b"[DONE]" in block and _DONE.search(block) is not None)
        if self._error is not None or (self._first is not None and not _may_be_error(block)):
            return
        for found in _DATA.finditer(block):
            stop = block.find(b"\n", found.end())
            line = block[found.end() : stop if stop >= 0 else len(block)]
            if self._first is not None and not _may_be_error(line):
                continue
            if not self._looks:
                self._error = offset + found.start()
                return
            self._looks -= 1
            members = _object(line)
            if members is None:
                continue
            if self._first is None:
                self._first = members
            if _is_error(members):
                self._error = offset + found.start()
                return

    def reply(self, whole: bytes | None = None) -> Reply:
        """Return what was read. ``whole``: the body, where one JSON object may be all of it."""
        first = self._first
        error = self._error
        if not self._stream and whole is not None:
            first = _object(whole)
            error = 0 if _is_error(first) else None
        return Reply(
            stream=self._stream,
            done=self._done,
            chat_id=_string(first, "id"),
            model=_string(first, "model"),
            error=error,
        )


def read_reply(body: bytes) -> Reply:
    """Read a chat response far enough to know its kind, end, id and model. Never raises.

    Source: providers.md 2.7 (complete stream), 2.8 (error frames).
    """
    reader = ReplyReader()
    reader.block(body)
    return reader.reply(body)


def reply_of(body: bytes | LargeBody) -> Reply:
    """Return what `read_reply` says, or what was read of a body too large to be held."""
    return body.reply if isinstance(body, LargeBody) else read_reply(body)
