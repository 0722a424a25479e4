"""The exploded form: one bundle as a set of files, and back without loss.

Pure: files are a map from relative path to bytes. Paths are computed from digests and indices,
never read from the input. Both ways check digests and limits, neither needs a key.

Source: bundle-format.md 5.1 (writer's layout), 13.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

from verify.engine.errors import MalformedInput
from verify.wire import base64
from verify.wire.container import DOCUMENT, LINES, bundle_of, read_packed
from verify.wire.documents import read, unusable
from verify.wire.limits import DEFAULT, Limits

BUNDLE: Final = "bundle.json"
MANIFEST: Final = "manifest.json"
BLOBS: Final = "blobs/sha256/"
ATTACHMENTS: Final = "attachments/"
FILES_LIMIT: Final = 65_536 + 256 + 2
"""More files than any bundle can have."""


def blob_path(digest: str) -> str:
    """Return the path of a blob's bytes."""
    return BLOBS + digest.removeprefix("sha256:")


def attachment_path(index: int) -> str:
    """Return the path of an attachment's payload."""
    return f"{ATTACHMENTS}{index:03d}.json"


def write_layout(document: Mapping[str, Any]) -> bytes:
    """Return a document in the writer's layout: one-space indentation, UTF-8, one final LF."""
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _check_digest(digest: str, data: bytes) -> None:
    found = f"sha256:{sha256(data).hexdigest()}"
    if found != digest:
        path = f"/blobs/{digest}"
        raise unusable("input.schema", DOCUMENT, path, f"the bytes have the digest {found}")


def _emptied(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a signed record's envelope holder with the payload taken out, order kept."""
    return {**record, "statement": {**record["statement"], "payload": ""}}


def explode(data: bytes, *, bounds: Limits = DEFAULT) -> dict[str, bytes]:
    """Return the files of a packed bundle. Raises MalformedInput, also where a digest differs."""
    document = read_packed(data, bounds=bounds)
    found = bundle_of(document, digest="", size=len(data), bounds=bounds)
    files: dict[str, bytes] = {MANIFEST: found.statement.envelope.payload}
    for digest, blob in found.blobs.items():
        if isinstance(blob, bytes):
            _check_digest(digest, blob)
            files[blob_path(digest)] = blob
    for index, record in enumerate(found.attachments):
        files[attachment_path(index)] = record.envelope.payload
    outer = _emptied(document)
    outer["blobs"] = {
        digest: {name: value for name, value in blob.items() if name != "data"}
        for digest, blob in document["blobs"].items()
    }
    outer["attachments"] = [_emptied(record) for record in document["attachments"]]
    return {BUNDLE: write_layout(outer), **files}


def _expected(outer: Mapping[str, Any]) -> Iterator[str]:
    yield BUNDLE
    yield MANIFEST
    for digest, blob in outer["blobs"].items():
        if blob["encoding"] != "external":
            yield blob_path(digest)
    for index in range(len(outer["attachments"])):
        yield attachment_path(index)


def _filled(record: Mapping[str, Any], payload: bytes) -> dict[str, Any]:
    statement = {**record["statement"], "payload": base64.encode(payload)}
    return {**record, "statement": statement}


def _blob(digest: str, blob: Mapping[str, Any], data: bytes) -> dict[str, Any]:
    _check_digest(digest, data)
    if blob["encoding"] == "base64":
        return {**blob, "data": base64.encode(data)}
    try:
        return {**blob, "data": data.decode()}
    except UnicodeDecodeError:
        path = f"/blobs/{digest}"
        raise unusable("input.encoding", DOCUMENT, path, "not UTF-8") from None


def implode(files: Mapping[str, bytes], *, bounds: Limits = DEFAULT) -> bytes:
    """Return the packed bundle of a set of files, in the writer's layout.

    Raises MalformedInput where a file is missing, too many, too large or not what its name says.
    """
    if BUNDLE not in files:
        raise unusable("input.schema", DOCUMENT, "", f"{BUNDLE} is missing")
    outer = read(
        files[BUNDLE],
        name="exploded",
        document=DOCUMENT,
        limit=bounds.packed_file,
        lines=LINES,
    )
    expected = set(_expected(outer))
    for path in sorted(expected ^ files.keys()):
        what = "is missing" if path in expected else "belongs to nothing"
        raise unusable("input.schema", DOCUMENT, "", f"the file {path} {what}")
    if sum(map(len, files.values())) > bounds.packed_file:
        raise unusable("input.too_large", DOCUMENT, "", f"more than {bounds.packed_file} bytes")
    packed = _filled(outer, files[MANIFEST])
    packed["blobs"] = {
        digest: (
            blob
            if blob["encoding"] == "external"
            else _blob(digest, blob, files[blob_path(digest)])
        )
        for digest, blob in outer["blobs"].items()
    }
    packed["attachments"] = [
        _filled(record, files[attachment_path(index)])
        for index, record in enumerate(outer["attachments"])
    ]
    data = write_layout(packed)
    _check_readable(data, bounds)
    return data


def _check_readable(data: bytes, bounds: Limits) -> None:
    """Refuse what the reader of packed files would refuse: the same limits hold on both ways."""
    try:
        bundle_of(read_packed(data, bounds=bounds), digest="", size=len(data), bounds=bounds)
    except MalformedInput as error:
        raise unusable(error.code, DOCUMENT, error.pointer.rpartition("#")[2], error.what) from None
