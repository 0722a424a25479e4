"""External blobs supplied beside a bundle (bundle-format.md 5.1)."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from verify.cli.files import read_bounded
from verify.engine.errors import UsageError

EXTERNAL_BLOB_LIMIT: Final = 256 << 20
_DIGEST_LENGTH: Final = 71


class BlobFolder:
    """External blobs below a folder, at ``sha256/<64 hex>``; a callable from digest to bytes."""

    def __init__(self, folder: str) -> None:
        if not Path(folder).is_dir():
            message = f"--blobs {folder} is not a folder"
            raise UsageError(message)
        self._folder = folder

    def __call__(self, digest: str) -> bytes | None:
        """Return the blob's bytes, or None where the folder holds no such regular file.

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
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > EXTERNAL_BLOB_LIMIT:
                return None
            data = read_bounded(descriptor, EXTERNAL_BLOB_LIMIT)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return data if len(data) <= EXTERNAL_BLOB_LIMIT else None
