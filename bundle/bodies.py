"""Bodies that are too large for a packed file: read in pieces, written beside it.

A response of a hundred megabytes is never held. It is hashed, searched and copied piece by piece;
its bytes end in a blob store, a folder with one file for each digest.

Source: bundle-format.md 4, 5.1, 7.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from bundle.recording import RecordedExchange, StoredBody
from verify.engine.errors import UsageError

PIECE: Final = 1 << 20
"""Bytes read at once."""
HEAD: Final = 64 << 10
"""Enough of a stream to hold its first data line."""

AnyBody = bytes | StoredBody


def pieces(body: AnyBody) -> Iterator[bytes]:
    """Give a body in order, piece by piece. Raises UsageError where its file cannot be read."""
    if isinstance(body, bytes):
        for start in range(0, len(body), PIECE):
            yield body[start : start + PIECE]
        return
    try:
        with body.path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE):
                yield piece
    except OSError as error:
        message = f"{body.path}: a recorded body cannot be read: {error.strerror}"
        raise UsageError(message) from error


def head(body: AnyBody, limit: int = HEAD) -> bytes:
    """Return the first ``limit`` bytes of a body, or all of a shorter one."""
    found = b""
    for piece in pieces(body):
        found += piece
        if len(found) >= limit:
            break
    return found[:limit]


def loaded(body: AnyBody) -> bytes:
    """Return a body whole. Raises UsageError where a file holds other bytes than were recorded."""
    if isinstance(body, bytes):
        return body
    found = b"".join(pieces(body))
    refuse_changed(body, len(found), sha256(found).digest())
    return found


def refuse_changed(body: StoredBody, size: int, digest: bytes) -> None:
    """Raise UsageError where ``size`` and SHA-256 just read are not those recorded."""
    if (size, digest) != (body.size, body.sha256):
        message = (
            f"{body.path}: holds other bytes than were recorded ({size} of {body.size}); "
            "capture again"
        )
        raise UsageError(message)


def response_of(recorded: RecordedExchange) -> AnyBody | None:
    """Return the response body wherever it is, or None where there is none or it is empty."""
    if recorded.response_body:
        return recorded.response_body
    file = recorded.response_file
    return file if file is not None and file.size else None


def response_head(recorded: RecordedExchange, limit: int = HEAD) -> bytes:
    """Return how a response begins: enough for the chat id; empty where there is none."""
    body = response_of(recorded)
    return b"" if body is None else head(body, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalBlob:
    """Stored bytes that lie beside a packed file: ``salt`` (32 bytes or none), then the body.

    ``size``: of both together, in bytes.
    """

    salt: bytes = field(repr=False)
    body: AnyBody = field(repr=False)
    size: int

    def pieces(self) -> Iterator[bytes]:
        """Give the stored bytes in order. Raises UsageError where the file cannot be read."""
        if self.salt:
            yield self.salt
        yield from pieces(self.body)


def blob_file(folder: Path, digest: str) -> Path:
    """Return where a blob store holds a digest (``sha256:...``)."""
    return folder / "sha256" / digest.removeprefix("sha256:")


def _already_there(path: Path, digest: str) -> bool:
    """Whether a blob is there. Raises UsageError where something else has its name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as error:
        message = f"{path}: is no readable regular file; remove it or choose another blob folder"
        raise UsageError(message) from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = sha256()
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            while piece := file.read(PIECE):
                found.update(piece)
        if f"sha256:{found.hexdigest()}" != digest:
            message = (
                f"{path}: holds other bytes than its name says; it is not overwritten: "
                "remove it or choose another blob folder"
            )
            raise UsageError(message)
    return True


def _write_blob(path: Path, digest: str, blob: ExternalBlob) -> bool:
    """Write one blob whole or not at all (0600); return whether it is new."""
    if _already_there(path, digest):
        return False
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:16]}.")
    temporary = Path(name)
    try:
        found = sha256()
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for piece in blob.pieces():
                found.update(piece)
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
            os.fsync(file.fileno())
        if f"sha256:{found.hexdigest()}" != digest:
            message = f"{digest}: the recorded body changed while it was written; capture again"
            raise UsageError(message)
        try:
            # a link, unlike a rename, fails where another writer was faster
            os.link(temporary, path)
        except FileExistsError:
            return not _already_there(path, digest)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def write_blobs(blobs: Mapping[str, ExternalBlob], folder: Path) -> tuple[Path, ...]:
    """Write blobs (by digest) into a blob store; return the files that were not there before.

    The folder is made where it is missing (0700). Equal bytes already there are kept; what is new
    is removed again where a later blob cannot be written. Raises UsageError.
    """
    if not blobs:
        return ()
    store = folder / "sha256"
    written: list[Path] = []
    try:
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        for digest, blob in sorted(blobs.items()):
            path = blob_file(folder, digest)
            if _write_blob(path, digest, blob):
                written.append(path)
        _sync_folder(store)
    except OSError as error:
        remove(written)
        message = f"{folder}: cannot write the blob folder: {error.strerror or error}"
        raise UsageError(message) from error
    except BaseException:
        remove(written)
        raise
    return tuple(written)


def remove(written: list[Path] | tuple[Path, ...]) -> None:
    """Remove blob files that belong to a bundle which was not written after all."""
    for path in written:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
