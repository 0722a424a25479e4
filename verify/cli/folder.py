"""An exploded bundle in a folder, read to the bytes of its packed form.

The folder is opened once and everything in it relative to that descriptor; links are not followed,
anything but plain files and the two known levels of folders is refused, sizes are bounded before
they are read.

Source: bundle-format.md 9.5 step 1, 13; threats 22 and 23 of 17.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import Final

from verify.cli.files import read_bounded
from verify.engine.errors import InputCode, MalformedInput, UsageError
from verify.wire.exploded import FILES_LIMIT, implode
from verify.wire.limits import DEFAULT, Limits

_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LEVELS: Final = 3


def _refused(folder: str, what: str, code: InputCode = "input.schema") -> MalformedInput:
    return MalformedInput("bundle", code, what, file=folder)


def _opened(name: str, parent: int | None, folder: str) -> int:
    try:
        return os.open(name, _FLAGS, dir_fd=parent)
    except OSError as error:
        raise _refused(folder, f"{name}: {error.strerror}") from None


class _Reader:
    """Walks one folder; counts files and bytes as it goes."""

    def __init__(self, folder: str, bounds: Limits) -> None:
        self._folder = folder
        self._left = bounds.packed_file
        self._files = 0

    def files(self, descriptor: int, prefix: str, level: int) -> Iterator[tuple[str, bytes]]:
        """Give relative path and bytes of every file below an open folder."""
        for name in sorted(os.listdir(descriptor)):
            path = prefix + name
            self._files += 1
            if self._files > FILES_LIMIT + _LEVELS:
                raise _refused(self._folder, "more files than a bundle has")
            found = _opened(name, descriptor, self._folder)
            try:
                status = os.fstat(found)
                if stat.S_ISDIR(status.st_mode) and level < _LEVELS:
                    yield from self.files(found, f"{path}/", level + 1)
                elif stat.S_ISREG(status.st_mode):
                    yield path, self._bytes(found, status.st_size, path)
                else:
                    raise _refused(self._folder, f"{path} is no plain file")
            finally:
                os.close(found)

    def _bytes(self, descriptor: int, size: int, path: str) -> bytes:
        data = read_bounded(descriptor, self._left) if size <= self._left else b""
        self._left -= max(size, len(data))
        if self._left < 0:
            raise _refused(self._folder, f"too large, at {path}", "input.too_large")
        return data


def read_folder(path: str, *, bounds: Limits = DEFAULT) -> bytes:
    """Return the packed bytes of the exploded bundle in a folder.

    Raises UsageError where it cannot be opened, MalformedInput where it is no exploded bundle.
    """
    try:
        descriptor = os.open(path, _FLAGS | os.O_DIRECTORY)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        message = f"{path}: cannot be read as a folder: {reason}"
        raise UsageError(message) from error
    try:
        files = dict(_Reader(path, bounds).files(descriptor, "", 1))
    finally:
        os.close(descriptor)
    try:
        return implode(files, bounds=bounds)
    except MalformedInput as error:
        raise MalformedInput(
            error.kind, error.code, error.what, pointer=error.pointer, file=path
        ) from None
