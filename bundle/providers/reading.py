"""Reading what a provider answered, as far as the next request depends on it. Never raises.

Answers are hostile until verified: whatever cannot be read says nothing. Nothing here judges.

Source: providers.md 1, 2.3, 2.7 (chat id, complete stream), 2.8 (error bodies).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from bundle.calls import Attested, usable
from bundle.recording import RecordedExchange
from verify.engine.errors import FormatError
from verify.wire.strict_json import Json, parse_evidence

PREFIX: Final = 64 << 10
"""Bytes of an answer's beginning in which its id is looked for."""
_ID: Final = re.compile(r"[!-~]{1,256}")
_DATA: Final = re.compile(rb"^data:", re.MULTILINE)
_DONE: Final = re.compile(rb"^data: ?\[DONE\]\r?$", re.MULTILINE)
_HEX64: Final = re.compile(r"[0-9a-fA-F]{64}")


def parsed(body: bytes | None) -> Json:
    """Return the value of a JSON text, None where it is none."""
    if not body:
        return None
    try:
        return parse_evidence(body)
    except FormatError:
        return None


def members(recorded: RecordedExchange) -> Mapping[str, Json] | None:
    """Return the object that a whole answer with a status of success holds, or None."""
    if not usable(recorded):
        return None
    value = parsed(recorded.response_body)
    return value if isinstance(value, Mapping) else None


def text_of(found: Mapping[str, Json], name: str) -> str | None:
    """Return a string member, None where there is none."""
    value = found.get(name)
    return value if isinstance(value, str) else None


def objects(value: Json) -> Iterator[Mapping[str, Json]]:
    """Give the objects of an array; nothing for anything else."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        yield from (item for item in value if isinstance(item, Mapping))


def texts(value: Json) -> tuple[str, ...]:
    """Return the strings of an array, empty for anything else."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return ()
    return tuple(item for item in value if isinstance(item, str))


def header(recorded: RecordedExchange, name: str) -> str | None:
    """Return the first response header of that name that is not redacted, or None."""
    for found, value in recorded.response_headers or ():
        if found.lower() == name and value is not None:
            return value
    return None


# --- attestation answers -----------------------------------------------------------------------


def has_evidence(recorded: RecordedExchange) -> bool:
    """Whether the answer has the shape of one of the known families."""
    found = members(recorded)
    if found is None:
        return False
    from verify.families.shapes import RULES  # noqa: PLC0415  (the families cost their import)

    return any(rule(found) for _, rule in RULES)


def _reports(found: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    """Give the report objects of an answer, models before the gateway."""
    yield from objects(found.get("model_attestations"))
    yield found
    gateway = found.get("gateway_attestation")
    if isinstance(gateway, Mapping):
        yield gateway
    yield from objects(found.get("all_attestations"))


def signers_of(recorded: RecordedExchange) -> dict[str, str]:
    """Return signing address by algorithm as the answer states it, a model's before a gateway's.

    Where no algorithm is stated it follows from the spelling: ``0x`` is ecdsa.
    """
    found = members(recorded)
    signers: dict[str, str] = {}
    for report in () if found is None else _reports(found):
        address = text_of(report, "signing_address")
        if address is None or _ID.fullmatch(address) is None:
            continue
        inferred = "ecdsa" if address.startswith("0x") else "ed25519"
        stated = text_of(report, "signing_algo") or inferred
        if stated in {"ecdsa", "ed25519"}:
            signers.setdefault(stated, address)
    return signers


_MEANING: Final[Mapping[int, str]] = {
    401: ": the API key was not accepted",
    402: ": the account has no balance left",
    403: ": the API key may not use this",
    404: ": no such model or path there",
    429: ": too many requests, try again later",
}


def what_came(recorded: RecordedExchange) -> str:
    """Return one line for people on why an answer is of no use."""
    if recorded.failure is not None:
        return recorded.failure.what
    if recorded.status is None:
        return "no answer came"
    if not 200 <= recorded.status < 300:
        meaning = _MEANING.get(recorded.status, "")
        return f"status {recorded.status}{meaning}"
    if not recorded.complete:
        return "the answer broke off"
    if members(recorded) is None:
        return "the answer is no JSON object"
    return "the answer holds no evidence of a known kind"


def attested(answers: Sequence[RecordedExchange]) -> Attested:
    """Return what a round brought. ``answers``: the last try of each attestation request."""
    signers: dict[str, str] = {}
    for answer in answers:
        for algorithm, address in signers_of(answer).items():
            signers.setdefault(algorithm, address)
    found = any(has_evidence(answer) for answer in answers)
    note = ""
    if not found:
        why = what_came(answers[-1]) if answers else "nothing was asked"
        note = f"no attestation to rest a chat on: {why}"
    return Attested(answers=tuple(answers), signers=signers, usable=found, note=note)


# --- chat answers --------------------------------------------------------------------------------


def beginning(recorded: RecordedExchange) -> bytes:
    """Return the first bytes of an answer's body, `PREFIX` at most, wherever it is kept."""
    if recorded.response_body is not None:
        return recorded.response_body[:PREFIX]
    if recorded.response_file is None:
        return b""
    try:
        with recorded.response_file.path.open("rb") as stream:
            return stream.read(PREFIX)
    except OSError:
        return b""


def ending(recorded: RecordedExchange) -> bytes:
    """Return the last bytes of an answer's body, `PREFIX` at most, wherever it is kept."""
    if recorded.response_body is not None:
        return recorded.response_body[-PREFIX:]
    if recorded.response_file is None:
        return b""
    try:
        with recorded.response_file.path.open("rb") as stream:
            stream.seek(max(0, recorded.response_file.size - PREFIX))
            return stream.read(PREFIX)
    except OSError:
        return b""


_DECODER: Final = json.JSONDecoder()
_BLANK: Final = " \t\r\n"


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _leading_member(text: str, wanted: str) -> object:
    """Return a top-level member of an object whose text may be cut, None where it is not there."""
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        return None
    at += 1
    try:
        while True:
            name, at = _DECODER.raw_decode(text, _skip(text, at))
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                return None
            value, at = _DECODER.raw_decode(text, _skip(text, at + 1))
            if name == wanted:
                return value
            at = _skip(text, at)
            if text[at : at + 1] != ",":
                return None
            at += 1
    except (ValueError, RecursionError):
        return None


def is_stream(recorded: RecordedExchange) -> bool:
    """Whether an answer is made of server-sent events."""
    return _DATA.search(beginning(recorded)) is not None


def chat_id(recorded: RecordedExchange) -> str | None:
    """Return the ``id`` of a chat answer: of its object, or of its first data line that is one.

    None where there is none that fits a URL. Source: providers.md 2.7.
    """
    head = beginning(recorded)
    found: object = None
    if _DATA.search(head) is None:
        found = _leading_member(head.decode("utf-8", "replace"), "id")
    else:
        for line in head.split(b"\n"):
            value = parsed(line[5:]) if line.startswith(b"data:") else None
            if isinstance(value, Mapping):
                found = value.get("id")
                break
    return url_name(found)


def url_name(text: object) -> str | None:
    """Return a name that a service gave, None for one that may not be a segment of a path."""
    named = isinstance(text, str) and _ID.fullmatch(text) is not None and text not in {".", ".."}
    return text if isinstance(text, str) and named else None


def whole_chat(recorded: RecordedExchange) -> bool:
    """Whether a chat answer came to its proper end: framing and, of a stream, the last line."""
    if not usable(recorded):
        return False
    if not is_stream(recorded):
        return True
    return recorded.done_at is not None or _DONE.search(ending(recorded)) is not None


def hex64(text: object) -> str | None:
    """Return a text of 64 hex digits, None for anything else."""
    return text if isinstance(text, str) and _HEX64.fullmatch(text) else None
