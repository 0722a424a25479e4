"""Parts that were saved one by one: an attestation answer here, a signed chat there.

``--attestation FOLDER_OR_FILE``: a recording as `bundle.importers.http_folder` reads it, or one
bare answer body. ``--chat FOLDER``: ``request.body``, ``response.body`` (exact bytes) and
``signature.json``. What nobody recorded is not invented: URLs of parts name the host
``unrecorded.invalid``, and ``times`` says what the times rest on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bundle.importers.draft import UNRECORDED, NamedExchange, Recording, utc
from bundle.importers.http_folder import read_file, read_recording
from bundle.inventory import nonce_of
from bundle.recording import RecordedExchange
from verify.engine.errors import FormatError, UsageError
from verify.families.content import read_reply
from verify.wire.strict_json import parse_evidence

_CREATED: Final = re.compile(rb'"created" ?: ?([0-9]{9,11})[,}\s]')
_HEX_NONCE: Final = re.compile(r"[0-9A-Fa-f]{32,128}")


def read_bare_answer(path: Path, *, nonce: str | None, captured_at: datetime | None) -> Recording:
    """Read one attestation body. ``nonce``: hex, as it was sent. Raises UsageError."""
    body = read_file(path)
    if nonce is not None and _HEX_NONCE.fullmatch(nonce) is None:
        message = f"--nonce {nonce}: not a nonce in hex"
        raise UsageError(message)
    moment = captured_at or utc(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    exchange = RecordedExchange(
        purpose="attestation",
        method="GET",
        url=f"{UNRECORDED}/attestation" + ("" if nonce is None else f"?nonce={nonce}"),
        started_at=moment,
        ended_at=moment,
        status=200,
        response_body=body or None,
    )
    return Recording(
        label="",
        description=f"attestation body {path.name}",
        exchanges=(NamedExchange(recorded=exchange, file=path.name),),
        started_at=moment,
        ended_at=moment,
        times="file-date" if captured_at is None else "assumed",
        files=((path.name, body),),
    )


def _chat_time(response: bytes, otherwise: datetime) -> datetime:
    """Return the ``created`` of the answer, or the given instant where there is none."""
    found = _CREATED.search(response)
    return otherwise if found is None else datetime.fromtimestamp(int(found[1]), UTC)


def read_chat(folder: Path, otherwise: datetime) -> Recording:
    """Read a chat folder; its time is the answer's ``created``, else ``otherwise``.

    Raises UsageError naming the file that is missing or unusable.
    """
    files: dict[str, bytes] = {}
    for name in ("request.body", "response.body", "signature.json"):
        path = folder / name
        if not path.exists():
            message = (
                f"{folder}: no {name}; a chat needs request.body, response.body, signature.json"
            )
            raise UsageError(message)
        files[name] = read_file(path)
    try:
        signature = parse_evidence(files["signature.json"])
    except FormatError as error:
        message = f"{folder / 'signature.json'}: not strict JSON: {error.what}"
        raise UsageError(message) from error
    if not isinstance(signature, Mapping):
        message = f"{folder / 'signature.json'}: not a JSON object"
        raise UsageError(message)
    reply = read_reply(files["response.body"])
    moment = utc(_chat_time(files["response.body"], otherwise))
    algorithm = signature.get("signing_algo")
    query = f"?signing_algo={algorithm}" if algorithm in ("ecdsa", "ed25519") else ""
    chat_id = quote(reply.chat_id or "unknown", safe="")
    chat = RecordedExchange(
        purpose="chat",
        method="POST",
        url=f"{UNRECORDED}/v1/chat/completions",
        started_at=moment,
        ended_at=moment,
        request_body=files["request.body"] or None,
        status=200,
        response_body=files["response.body"] or None,
    )
    lookup = RecordedExchange(
        purpose="signature",
        method="GET",
        url=f"{UNRECORDED}/v1/signature/{chat_id}{query}",
        started_at=moment,
        ended_at=moment,
        status=200,
        response_body=files["signature.json"],
    )
    return Recording(
        label="",
        description=f"signed chat {folder.name}",
        exchanges=(
            NamedExchange(recorded=chat, file=f"{folder.name}/response.body"),
            NamedExchange(recorded=lookup, file=f"{folder.name}/signature.json"),
        ),
        started_at=moment,
        ended_at=moment,
        times="assumed",
        files=tuple((f"{folder.name}/{name}", data) for name, data in files.items()),
    )


def _confirm_nonce(recording: Recording, nonce: str | None) -> None:
    """Refuse a ``--nonce`` that is not what the recording itself says was sent."""
    if nonce is None:
        return
    asked = [n.recorded.url for n in recording.exchanges if n.recorded.purpose == "attestation"]
    if nonce.lower() not in {sent.hex() for url in asked if (sent := nonce_of(url)) is not None}:
        message = (
            f"--nonce {nonce}: not the nonce of this recording, which says itself what was sent; "
            "the option goes with a bare answer"
        )
        raise UsageError(message)


def read_parts(
    attestation: Path,
    chat: Path | None = None,
    *,
    nonce: str | None = None,
    captured_at: datetime | None = None,
) -> Recording:
    """Join an attestation and a chat into one recording, in time order. Raises UsageError."""
    for place in (attestation, chat):
        if place is not None and not place.exists():
            message = f"{place}: no such file or folder"
            raise UsageError(message)
    if attestation.is_file() and not attestation.name.endswith("_attestation.json"):
        first = read_bare_answer(attestation, nonce=nonce, captured_at=captured_at)
    else:
        first = read_recording(attestation)
        _confirm_nonce(first, nonce)
    if chat is None:
        return first
    second = read_chat(chat, first.ended_at)
    parts = sorted((first, second), key=lambda part: part.started_at)
    return replace(
        first,
        description=f"{first.description}; {second.description}",
        exchanges=tuple(named for part in parts for named in part.exchanges),
        started_at=min(part.started_at for part in parts),
        ended_at=max(part.ended_at for part in parts),
        times="assumed",
        files=(*first.files, *second.files),
    )
