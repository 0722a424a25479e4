"""Output files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from verify.engine.errors import UsageError


class Draft:
    """A file that appears whole or not at all: opened before the work, renamed into place after.

    A link is followed, so it stays a link; a device or pipe is written as it is, never replaced.
    Raises UsageError at once where the place cannot be written, or is one of ``inputs`` (the
    verifier never writes to what it reads).
    """

    def __init__(self, path: str, inputs: tuple[str, ...] = ()) -> None:
        given = Path(path)
        try:
            special = given.exists() and not given.is_file()
            if given.is_dir():
                message = f"cannot write {path}: it is a directory"
                raise UsageError(message)
            for name in inputs:
                with contextlib.suppress(OSError):
                    if given.samefile(name):
                        message = f"cannot write {path}: it is an input of this command"
                        raise UsageError(message)
            self._target = given if special else given.resolve()
            self._draft: Path | None = None
            if special:
                self._file = given.open("wb")
            else:
                self._draft = self._target.with_name(f".{self._target.name}.{os.getpid()}.tmp")
                self._file = self._draft.open("xb")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            message = f"cannot write {path}: {reason}"
            raise UsageError(message) from error

    def commit(self, data: bytes) -> None:
        """Write ``data``; for a regular file, force it to the disk and rename it into place.

        Raises UsageError where the disk is full or the like; then a regular file is as it was.
        """
        try:
            with self._file:
                self._file.write(data)
                self._file.flush()
                if self._draft is not None:
                    os.fsync(self._file.fileno())
            if self._draft is not None:
                self._draft.replace(self._target)
        except OSError as error:
            message = f"cannot write {self._target}: {error.strerror or error}"
            raise UsageError(message) from error

    def discard(self) -> None:
        """Remove the draft if it is still there."""
        self._file.close()
        if self._draft is not None:
            self._draft.unlink(missing_ok=True)
