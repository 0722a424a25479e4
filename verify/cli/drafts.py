"""Output files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from verify.engine.errors import UsageError


class Draft:
    """A file that appears whole or not at all: opened before the work, renamed into place after.

    Raises UsageError at once where the place cannot be written, or is one of ``inputs`` (the
    verifier never writes to what it reads).
    """

    def __init__(self, path: str, inputs: tuple[str, ...] = ()) -> None:
        target = Path(path)
        if target.is_dir():
            message = f"cannot write {path}: it is a directory"
            raise UsageError(message)
        for given in inputs:
            with contextlib.suppress(OSError, ValueError):
                if target.samefile(given):
                    message = f"cannot write {path}: it is an input of this command"
                    raise UsageError(message)
        self._target = target
        self._draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            self._file = self._draft.open("xb")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            message = f"cannot write {path}: {reason}"
            raise UsageError(message) from error

    def commit(self, data: bytes) -> None:
        """Write ``data``, force it to the disk, and rename the draft into place."""
        with self._file:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        self._draft.replace(self._target)

    def discard(self) -> None:
        """Remove the draft if it is still there."""
        self._file.close()
        self._draft.unlink(missing_ok=True)
