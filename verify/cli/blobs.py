"""External blobs supplied beside a bundle (bundle-format.md 5.1)."""

from __future__ import annotations

import os
import stat
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from verify.cli.files import read_bounded
from verify.engine.errors import UsageError
from verify.wire.limits import DEFAULT, SALT

if TYPE_CHECKING:
    from verify.wire.outside import Given

EXTERNAL_BLOB_LIMIT: Final = DEFAULT.external_blob
_WHOLE: Final = DEFAULT.inline_blob + SALT
"""A smaller file is read at once; a larger one is handed over open and read in pieces."""
_DIGEST_LENGTH: Final = 71


class BlobFolder:
    """External blobs below a folder, at ``sha256/<64 hex>``; a callable from digest to blob.

    ``limit``: the largest file that is read, in bytes.
    """

    def __init__(self, folder: str, *, limit: int = EXTERNAL_BLOB_LIMIT) -> None:
        if not Path(folder).is_dir():
            message = f"--blobs {folder} is not a folder"
            raise UsageError(message)
        self._folder = folder
        self._limit = limit

    def __call__(self, digest: str) -> Given | None:
        """Return a small blob's bytes, a large one's open file, or None where there is none.

        The path is computed from the digest alone; a link in place of the file is not followed.
        """
        algorithm, _, name = digest.partition(":")
        lower_hex = all(character in "0123456789abcdef" for character in name)
        if algorithm != "sha256" or len(digest) != _DIGEST_LENGTH or not lower_hex:
            return None
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        path = Path(self._folder) / "sha256" / name
        try:
            descriptor = os.open(path, flags)
        except OSError:  # not there, or a link
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > self._limit:
                return None
            if status.st_size > _WHOLE:
                return FileIO(os.dup(descriptor), "rb")
            data = read_bounded(descriptor, _WHOLE)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        # one that grew while it was read is no stored blob
        return data if len(data) <= _WHOLE else None
