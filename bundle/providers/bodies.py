"""The request body of a chat: written once, here; what is made here is what is sent and stored.

From a prompt: an object in the OpenAI chat format, compact UTF-8 JSON, members in a fixed order.
From a request file: the user's own bytes; only what was asked for is replaced or added in place, so
that everything else stays byte for byte as it was.

Source: providers.md 2.1, 2.8 (10 MiB), 3.8, 5.4; bundle-format.md 8.2 (marker).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from bundle.calls import ChatAsk
from verify.engine.errors import FormatError, UsageError
from verify.wire.strict_json import Json, parse_evidence, span

MAX_REQUEST: Final = 10 << 20


def compact(value: object) -> bytes:
    """Return a value as compact JSON in UTF-8. Raises UsageError: text that is not Unicode."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        message = "the prompt holds bytes that are not UTF-8: give it in a file as UTF-8"
        raise UsageError(message) from error


def request_object(data: bytes) -> Mapping[str, Json]:
    """Return the object in a request file. Raises UsageError saying what is wrong and where."""
    try:
        value = parse_evidence(data, limit=MAX_REQUEST)
    except FormatError as error:
        message = f"the request file is not strict JSON: at byte {error.offset}: {error.what}"
        raise UsageError(message) from error
    if not isinstance(value, Mapping):
        raise UsageError("the request file holds no JSON object: write one like a chat request")
    return value


def model_of(body: bytes) -> str | None:
    """Return the model that a request body names, None where it names none."""
    try:
        value = parse_evidence(body, limit=MAX_REQUEST)
    except FormatError:
        return None
    found = value.get("model") if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else None


def streams(body: bytes) -> bool:
    """Whether a request body asks for a stream."""
    try:
        value = parse_evidence(body, limit=MAX_REQUEST)
    except FormatError:
        return False
    return isinstance(value, Mapping) and value.get("stream") is True


def put(data: bytes, name: str, value: object, *, last: bool = False) -> bytes:
    """Return an object's text with a top-level member replaced, or added behind all others.

    ``last``: the member must stand last, wherever it stood. Every other byte stays.
    """
    found = request_object(data)
    written = compact(value)
    if name in found and last:
        data = _without(data, name)
        found = request_object(data)
    if name in found:
        start, stop = span(data, f"/{_token(name)}")
        return data[:start] + written + data[stop:]
    end = data.rindex(b"}")
    comma = b"," if found else b""
    return data[:end] + comma + compact(name) + b":" + written + data[end:]


def _without(data: bytes, name: str) -> bytes:
    """Return an object's text without a top-level member that is there, its comma with it."""
    _, stop = span(data, f"/{_token(name)}")
    names = list(request_object(data))
    place = names.index(name)
    if place:  # from behind the value before it
        _, begin = span(data, f"/{_token(names[place - 1])}")
        return data[:begin] + data[stop:]
    opening = data.index(b"{") + 1
    rest = data[stop:].lstrip(b" \t\r\n").removeprefix(b",")
    return data[:opening] + rest


def _token(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def from_prompt(ask: ChatAsk, extra: Mapping[str, object] | None = None) -> bytes:
    """Return the body of a prompt: model, messages, stream, then ``extra``, then the marker.

    Raises UsageError: no model, no prompt, text that is not Unicode.
    """
    if ask.prompt is None:
        raise UsageError("nothing to say: give --prompt TEXT or --request FILE")
    if not ask.model:
        raise UsageError("no model: give --model NAME")
    made: dict[str, object] = {
        "model": ask.model,
        "messages": [{"role": "user", "content": ask.prompt}],
        "stream": ask.stream is not False,
        **(extra or {}),
    }
    if ask.marker is not None:
        made["user"] = ask.marker
    return compact(made)


def from_request(ask: ChatAsk, model: str | None, *, last: bool = False) -> bytes:
    """Return the user's body with what was asked for put in place; else the same bytes.

    ``model``: replaces the body's, None keeps it. ``last``: the marker is the last member.
    Raises UsageError: not strict JSON, no object, no model anywhere.
    """
    data = ask.request or b""
    found = request_object(data)
    if model is not None and found.get("model") != model:
        data = put(data, "model", model)
    elif not isinstance(found.get("model"), str):
        raise UsageError("the request file names no model: add the member or give --model NAME")
    stated = found.get("stream") is True
    if ask.stream is not None and ask.stream is not stated:
        data = put(data, "stream", ask.stream)
    if ask.marker is not None:
        data = put(data, "user", ask.marker, last=last)
    if len(data) > MAX_REQUEST:
        message = f"the request has {len(data)} bytes, the limit is {MAX_REQUEST}"
        raise UsageError(message)
    return data
