"""Pack and unpack: a bundle as one file, and as a folder of plain files that tools can look into.

Neither needs a key; both check digests and limits, refuse what exists already, and leave either the
whole result or nothing.

Source: bundle-format.md 13.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from verify.cli.files import read_file
from verify.cli.folder import read_folder
from verify.engine.errors import UsageError
from verify.wire.exploded import explode
from verify.wire.limits import DEFAULT, Limits

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def _new(target: Path) -> None:
    if target.exists() or target.is_symlink():
        message = f"{target}: exists already; choose another name"
        raise UsageError(message)


def _unwritable(target: Path, error: OSError) -> UsageError:
    return UsageError(f"{target}: cannot be written: {error.strerror or error}")


def _write(path: Path, data: bytes) -> None:
    """Write a file that must not exist yet, readable by its owner alone, and force it to disk."""
    with os.fdopen(os.open(path, _CREATE, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        *levels, _ = name.split("/")
        below = folder
        for level in levels:
            below /= level
            below.mkdir(mode=0o700, exist_ok=True)
        _write(folder / name, data)


def unpack(source: Path, target: Path, *, bounds: Limits = DEFAULT) -> None:
    """Write the bundle in the file ``source`` as the folder ``target``, which must not exist.

    Raises UsageError, MalformedInput.
    """
    _new(target)
    files = explode(read_file(str(source), bounds.packed_file, "bundle"), bounds=bounds)
    try:
        draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        _write_all(draft, files)
        # A folder that appeared meanwhile stays: renaming onto it fails unless it is empty.
        draft.rename(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def pack(source: Path, target: Path, *, bounds: Limits = DEFAULT) -> None:
    """Write the bundle in the folder ``source`` as the file ``target``, which must not exist.

    Raises UsageError, MalformedInput.
    """
    _new(target)
    data = read_folder(str(source), bounds=bounds)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise _unwritable(target, error) from error
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, target)  # unlike a rename, this fails where another writer was faster
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        draft.unlink(missing_ok=True)
