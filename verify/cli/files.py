"""Files at the edge of the verifier: read once and bounded.

Only the command line calls this. A file is opened once, judged by the open descriptor (so nothing
is swapped between look and read), must be a regular file, and is never read beyond its limit.
"""

from __future__ import annotations

import os
import stat
from typing import Final, NoReturn

from verify.engine.errors import InputKind, MalformedInput, UsageError

MIB: Final = 1 << 20
BUNDLE_LIMIT: Final = 64 * MIB
POLICY_LIMIT: Final = 256 << 10
TRUST_LIMIT: Final = 16 * MIB
KEY_LIMIT: Final = 64 << 10
_CHUNK: Final = MIB
_NAMES: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _refuse(path: str, error: OSError) -> NoReturn:
    message = f"{path}: cannot be read: {error.strerror or error}"
    raise UsageError(message) from error


def read_bounded(descriptor: int, limit: int) -> bytes:
    """Read at most ``limit`` + 1 bytes."""
    parts: list[bytes] = []
    left = limit + 1
    while left > 0:
        part = os.read(descriptor, min(left, _CHUNK))
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def read_file(path: str, limit: int, kind: InputKind) -> bytes:
    """Return the bytes of a regular file of at most ``limit`` bytes.

    Raises UsageError where there is no such file or it is not a regular one, `MalformedInput` where
    it is empty or larger than the limit (found from its size, before anything is read).
    """
    if path == "-":
        raise UsageError("standard input is not read: name a file")
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        _refuse(path, error)
    except ValueError as error:  # a NUL in the name
        message = f"{path!r} is not a file name"
        raise UsageError(message) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            what = _NAMES.get(stat.S_IFMT(status.st_mode), "not a regular file")
            wanted = "trust file or key" if kind == "trust" else kind
            message = f"{path} is {what}; a {wanted} is a regular file"
            raise UsageError(message)
        data = b"" if status.st_size > limit else read_bounded(descriptor, limit)
    except OSError as error:
        _refuse(path, error)
    finally:
        os.close(descriptor)
    if status.st_size > limit or len(data) > limit:
        size = max(status.st_size, len(data))
        message = f"{size} bytes, the limit is {limit}"
        raise MalformedInput(kind, "input.too_large", message, file=path)
    if not data:
        raise MalformedInput(kind, "input.empty", "the file is empty", file=path)
    return data


def is_exploded(path: str) -> bool:
    """Whether a path is a folder that holds an exploded bundle (bundle-format.md 13)."""
    return os.path.isfile(os.path.join(path, "bundle.json"))  # noqa: PTH113, PTH118  (pathlib is slow to import)


def bundle_bytes(path: str) -> bytes:
    """Return the packed bytes of a bundle: a file, or an exploded folder put together.

    Raises UsageError, `MalformedInput` (kind bundle).
    """
    if is_exploded(path):
        from verify.cli.folder import read_folder  # noqa: PLC0415  (most bundles are files)

        return read_folder(path)
    return read_file(path, BUNDLE_LIMIT, "bundle")
