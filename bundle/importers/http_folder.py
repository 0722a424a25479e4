"""Recorded HTTP folders: ``manifest.json`` with ``responses/NNNN_*``, and single saved answers.

Two layouts. *Capture folder*: each exchange is a pair ``NNNN_name.json`` (metadata) and
``NNNN_name.body`` (raw bytes); the URL inside the metadata is the only authority. *Saved answer*:
``<model>_attestation.json`` with ``<model>_headers.json`` and ``<model>_nonce.txt``.

Recorders keep bodies after content decoding; the import says so by its mode.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from bundle.importers.draft import NamedExchange, Recording, date_of, utc
from bundle.inventory import nonce_of
from bundle.recording import (
    Header,
    RecordedExchange,
    RecordedTls,
    redacted_headers,
    redacted_url,
)
from verify.engine.errors import FormatError, UsageError
from verify.wire.strict_json import Json, parse_evidence

MAX_FILE: Final = 64 * 1024 * 1024
MAX_FILES: Final = 2048

_NUMBERED: Final = re.compile(r"([0-9]{4})_.*\.json")
_FRACTION: Final = re.compile(r"\.([0-9]+)")
_NANOGPT: Final = "https://nano-gpt.com/api/v1/tee/attestation"


def read_file(path: Path) -> bytes:
    """Return a file's bytes. Raises UsageError for anything that is no plain file of fair size."""
    if path.is_symlink() or not path.is_file():
        message = f"{path}: not a plain file"
        raise UsageError(message)
    if path.stat().st_size > MAX_FILE:
        message = f"{path}: larger than {MAX_FILE // 1024 // 1024} MiB"
        raise UsageError(message)
    return path.read_bytes()


def read_object(path: Path) -> Mapping[str, Json]:
    """Return the JSON object of a file. Raises UsageError."""
    try:
        value = parse_evidence(read_file(path))
    except FormatError as error:
        message = f"{path}: not strict JSON: {error.what}"
        raise UsageError(message) from error
    if not isinstance(value, Mapping):
        message = f"{path}: not a JSON object"
        raise UsageError(message)
    return value


def _text(members: Mapping[str, Json], name: str, path: Path) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        message = f"{path}: {name} is missing or no text"
        raise UsageError(message)
    return value


def _whole(members: Mapping[str, Json], name: str) -> int | None:
    value = members.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _bytes(members: Mapping[str, Json], name: str, path: Path) -> bytes | None:
    value = members.get(name)
    if value is None:
        return None
    try:
        return base64.b64decode(value if isinstance(value, str) else "!", validate=True)
    except (ValueError, binascii.Error) as error:
        message = f"{path}: {name} is no base64"
        raise UsageError(message) from error


def instant_of(text: str, where: str) -> datetime:
    """Return an RFC 3339 instant with any number of fraction digits. Raises UsageError."""
    try:
        found = datetime.fromisoformat(_FRACTION.sub(lambda m: f".{m[1][:6]:0<6}", text))
    except ValueError as error:
        message = f"{where}: {text!r} is no RFC 3339 instant"
        raise UsageError(message) from error
    if found.tzinfo is None:
        message = f"{where}: {text!r} says no time zone"
        raise UsageError(message)
    return utc(found)


def headers_of(value: Json, path: Path) -> tuple[Header, ...]:
    """Return recorded headers (name to list of values), secrets replaced. Raises UsageError."""
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        message = f"{path}: headers is no object"
        raise UsageError(message)
    pairs: list[tuple[str, str]] = []
    for name, values in value.items():
        entries = (values,) if isinstance(values, str) else values
        if not isinstance(entries, Sequence):
            message = f"{path}: header {name} is no list"
            raise UsageError(message)
        for entry in entries:
            if not isinstance(entry, str):
                message = f"{path}: header {name} has a value that is no text"
                raise UsageError(message)
            pairs.append((name, entry))
    return redacted_headers(tuple(pairs))


# --- what an exchange is for -----------------------------------------------------------------

_ATTESTATION_PATHS: Final = (
    "/attestation/report",
    "/tee/attestation",
    "/tinfoil-attestation",
    "/aci/attestation",
)


def purpose_of(method: str, url: str) -> str:
    """Return the purpose of an exchange by host and path; ``other`` where nothing is known.

    Source: bundle-format.md 6.1; the request tables of providers.md 3 to 8.
    """
    parts = urlsplit(url)
    host, path = (parts.hostname or "").lower(), parts.path.rstrip("/").lower()
    if host.endswith("trustedservices.intel.com"):
        is_list = path.endswith(("/pckcrl", "/rootcacrl", ".der", ".crl"))
        return "revocation" if is_list else "collateral"
    if host == "kdsintf.amd.com":
        return "revocation" if path.endswith("/crl") else "collateral"
    if host.endswith("attestation.nvidia.com"):
        if path.endswith("/jwks.json"):
            return "jwks"
        if host.startswith("rim"):
            return "rim"
        return "nras" if "/attest/" in path else "other"
    if host.startswith("ocsp.") and host.endswith("nvidia.com"):
        return "revocation"
    if host.startswith("github-proxy.tinfoil") or host in ("api.github.com", "github.com"):
        return "provenance"
    if path.endswith(_ATTESTATION_PATHS) or (method == "POST" and path.endswith("/attestation")):
        return "attestation"
    if path.startswith("/e2e/instances/"):
        return "key-config"
    if path.startswith("/chutes/") and path.endswith("/evidence"):
        return "attestation"
    if path.endswith(("/chat/completions", "/completion", "/completions", "/e2e/invoke")):
        return "chat"
    if "/signature/" in path or path.endswith("/tee/signature"):
        return "signature"
    if "/aci/receipts/" in path or "/aci/sessions/" in path:
        return "receipt"
    if path.endswith("/models"):
        return "model-list"
    return "other"


# --- capture folders -------------------------------------------------------------------------


def _tls(members: Mapping[str, Json], path: Path) -> RecordedTls | None:
    version, cipher = members.get("tls_version"), members.get("tls_cipher")
    spki = _bytes(members, "peer_spki_der_base64", path)
    if spki is None or not isinstance(version, str) or not isinstance(cipher, str):
        return None  # an observation of a channel without its key binds nothing
    return RecordedTls(
        version=version,
        cipher=cipher,
        alpn=None,
        chain=(),
        spki=spki,
        # the recorder does not say whether it validated the certificate
        webpki=False,
    )


def _exchange(
    path: Path, members: Mapping[str, Json], body: bytes, window: tuple[datetime, datetime]
) -> RecordedExchange:
    method, url = _text(members, "method", path), _text(members, "url", path)
    status = _whole(members, "status")
    proto = members.get("proto")
    start, end = window
    found = RecordedExchange(
        purpose=purpose_of(method, url),
        method=method,
        url=redacted_url(url),
        started_at=start,
        ended_at=end,
        request_body=_bytes(members, "req_body_base64", path),
        status=status,
        http_version=proto.partition("/")[2] if isinstance(proto, str) else "1.1",
        response_headers=headers_of(members.get("headers"), path),
        response_body=body or None,
        tls=_tls(members, path),
    )
    answered = min(max(date_of(found) or end, start), end)
    took = timedelta(milliseconds=max(_whole(members, "duration_ms") or 0, 0))
    return replace(found, started_at=max(answered - took, start), ended_at=answered)


def read_capture(folder: Path) -> Recording:
    """Read a capture folder. Raises UsageError naming file and reason."""
    manifest_path = folder / "manifest.json"
    manifest = read_object(manifest_path)
    ended = instant_of(_text(manifest, "captured_at", manifest_path), str(manifest_path))
    names = sorted(
        path.name
        for path in (folder / "responses").iterdir()
        if _NUMBERED.fullmatch(path.name) is not None
    )
    if not names or len(names) > MAX_FILES:
        message = f"{folder / 'responses'}: {len(names)} exchanges; 1 to {MAX_FILES} are read"
        raise UsageError(message)
    files: list[tuple[str, bytes]] = [("manifest.json", read_file(manifest_path))]
    metas: list[tuple[Path, Mapping[str, Json], bytes]] = []
    for name in names:
        path = folder / "responses" / name
        body_path = path.with_suffix(".body")
        body = read_file(body_path) if body_path.exists() else b""
        files.extend(
            ((f"responses/{name}", read_file(path)), (f"responses/{body_path.name}", body))
        )
        metas.append((path, read_object(path), body))
    took = _whole(manifest, "duration_ms")
    dates = [date for path, members, _ in metas if (date := _date(members, path)) is not None]
    end = max([ended, *dates])
    start = ended - timedelta(milliseconds=took) if took else min([ended, *dates])
    exchanges = tuple(
        NamedExchange(
            recorded=_exchange(path, members, body, (start, end)), file=f"responses/{path.name}"
        )
        for path, members, body in metas
    )
    nonce = manifest.get("nonce_hex")
    for named in exchanges:
        sent = nonce_of(named.recorded.url)
        if (
            named.recorded.purpose == "attestation"
            and isinstance(nonce, str)
            and sent is not None
            and sent.hex() != nonce.lower()
        ):
            message = f"{folder / named.file}: the URL carries another nonce than manifest.json"
            raise UsageError(message)
    label = manifest.get("provider")
    return Recording(
        label=label if isinstance(label, str) else "",
        description=f"HTTP capture folder {folder.name}; bodies stored after content decoding",
        exchanges=exchanges,
        started_at=min([start, *(named.recorded.started_at for named in exchanges)]),
        ended_at=end,
        times="recorded",
        files=tuple(files),
    )


def _date(members: Mapping[str, Json], path: Path) -> datetime | None:
    probe = RecordedExchange(
        purpose="other",
        method="GET",
        url="https://unrecorded.invalid/",
        started_at=datetime.fromtimestamp(0, UTC),
        ended_at=datetime.fromtimestamp(0, UTC),
        response_headers=headers_of(members.get("headers"), path),
    )
    return date_of(probe)


# --- saved answers ---------------------------------------------------------------------------


def _saved(folder: Path) -> Path | None:
    found = sorted(folder.glob("*_attestation.json"))
    return found[0] if len(found) == 1 else None


def read_saved_answer(path: Path) -> Recording:
    """Read ``<model>_attestation.json`` with its headers and nonce files. Raises UsageError."""
    model = path.name.removesuffix("_attestation.json")
    body = read_file(path)
    files: list[tuple[str, bytes]] = [(path.name, body)]
    headers: tuple[Header, ...] = ()
    nonce = ""
    headers_path = path.with_name(f"{model}_headers.json")
    if headers_path.exists():
        headers = headers_of(read_object(headers_path), headers_path)
        files.append((headers_path.name, read_file(headers_path)))
    nonce_path = path.with_name(f"{model}_nonce.txt")
    if nonce_path.exists():
        raw = read_file(nonce_path)
        files.append((nonce_path.name, raw))
        nonce = raw.decode("utf-8", "replace").strip()
        if not re.fullmatch(r"[0-9A-Fa-f]{32,128}", nonce):
            message = f"{nonce_path}: not a nonce in hex"
            raise UsageError(message)
    moment = utc(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    query = f"model={quote(f'TEE/{model}', safe='')}" + (f"&nonce={nonce}" if nonce else "")
    found = RecordedExchange(
        purpose="attestation",
        method="GET",
        url=f"{_NANOGPT}?{query}",
        started_at=moment,
        ended_at=moment,
        status=200,
        response_headers=headers,
        response_body=body or None,
    )
    stated = date_of(found)
    if stated is not None:
        moment = stated
    exchange = replace(found, started_at=moment, ended_at=moment)
    return Recording(
        label="nanogpt",
        description=f"saved attestation answer {path.name}; body stored after content decoding",
        exchanges=(NamedExchange(recorded=exchange, file=path.name),),
        started_at=moment,
        ended_at=moment,
        times="recorded" if stated is not None else "file-date",
        files=tuple(files),
    )


def read_recording(place: Path) -> Recording:
    """Read whichever of the two layouts lies at ``place``. Raises UsageError."""
    if place.is_file() and place.name.endswith("_attestation.json"):
        return read_saved_answer(place)
    if (place / "manifest.json").is_file() and (place / "responses").is_dir():
        return read_capture(place)
    if place.is_dir():
        saved = _saved(place)
        if saved is not None:
            return read_saved_answer(saved)
    message = (
        f"{place}: no recording found; expected manifest.json with responses/, or one "
        "<model>_attestation.json beside <model>_headers.json and <model>_nonce.txt"
    )
    raise UsageError(message)
