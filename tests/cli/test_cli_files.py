"""Files at the edge: bounded, regular, whole or not at all."""

from __future__ import annotations

import os
import socket
from hashlib import sha256
from pathlib import Path

import pytest

from verify.cli.blobs import BlobFolder
from verify.cli.drafts import Draft
from verify.cli.files import BUNDLE_LIMIT, read_file
from verify.engine.errors import MalformedInput, UsageError

GIB = 1 << 30


def test_read_file_returns_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 10)
    assert read_file(str(path), 10, "bundle") == b"x" * 10


def test_read_file_larger_than_the_limit_is_refused_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(GIB)
    with pytest.raises(MalformedInput, match=f"{GIB} bytes, the limit is {BUNDLE_LIMIT}") as told:
        read_file(str(path), BUNDLE_LIMIT, "bundle")
    assert (told.value.code, told.value.file) == ("input.too_large", str(path))


def test_read_file_that_grows_while_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "grows"
    path.write_bytes(b"x" * 20)
    real = os.fstat

    def small(descriptor: int) -> os.stat_result:
        found = list(real(descriptor))
        found[6] = 5
        return os.stat_result(found)

    monkeypatch.setattr("verify.cli.files.os.fstat", small)
    with pytest.raises(MalformedInput, match="11 bytes, the limit is 10"):
        read_file(str(path), 10, "policy")


def test_read_file_empty_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.write_bytes(b"")
    with pytest.raises(MalformedInput, match="empty") as told:
        read_file(str(path), 10, "trust")
    assert told.value.code == "input.empty"


def test_read_file_that_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for path, said in (
            (str(tmp_path), "is a directory"),
            (str(fifo), "is a pipe"),
            (str(tmp_path / "socket"), "cannot be read"),
            ("/dev/null", "is a device"),
            (str(tmp_path / "nothing"), "No such file"),
            ("-", "standard input"),
            ("a\0b", "not a file name"),
        ):
            with pytest.raises(UsageError, match=said):
                read_file(path, 10, "bundle")


def test_read_file_error_while_reading_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x")

    def broken(_descriptor: int, _size: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("verify.cli.files.os.read", broken)
    with pytest.raises(UsageError, match="Input/output error"):
        read_file(str(path), 10, "bundle")


def test_blob_folder_gives_regular_files_by_digest_only(tmp_path: Path) -> None:
    folder = tmp_path / "sha256"
    folder.mkdir()
    name = sha256(b"blob").hexdigest()
    (folder / name).write_bytes(b"blob")
    linked = "1" * 64
    (folder / linked).symlink_to(folder / name)
    os.mkfifo(folder / ("2" * 64))
    (folder / ("3" * 64)).mkdir()
    with (folder / ("4" * 64)).open("wb") as file:
        file.truncate(GIB)
    blobs = BlobFolder(str(tmp_path))
    assert blobs(f"sha256:{name}") == b"blob"
    for digest in (
        *(f"sha256:{str(n) * 64}" for n in range(6)),
        "sha256:../../etc/passwd",
        f"sha512:{name}",
        f"sha256:{name.upper()}",
        "",
    ):
        assert blobs(digest) is None
    with pytest.raises(UsageError, match="not a folder"):
        BlobFolder(str(tmp_path / "nothing"))


def test_blob_that_cannot_be_read_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sha256").mkdir()
    (tmp_path / "sha256" / ("0" * 64)).write_bytes(b"x")

    def broken(_descriptor: int, _size: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("verify.cli.files.os.read", broken)
    assert BlobFolder(str(tmp_path))("sha256:" + "0" * 64) is None


def test_draft_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_bytes(b"old")
    draft = Draft(str(target))
    assert target.read_bytes() == b"old"
    draft.commit(b"new")
    draft.discard()
    assert target.read_bytes() == b"new"
    Draft(str(tmp_path / "never")).discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json"]


def test_draft_in_a_wrong_place_is_refused_at_once(tmp_path: Path) -> None:
    given = tmp_path / "in"
    given.write_bytes(b"x")
    for path, said in (
        (tmp_path, "is a directory"),
        (tmp_path / "nowhere" / "a", "No such file"),
        (given, "is an input"),
        ("a\0b", "cannot write"),
    ):
        with pytest.raises(UsageError, match=said):
            Draft(str(path), (str(given), str(tmp_path / "absent")))
    assert given.read_bytes() == b"x"


def test_draft_follows_a_link_and_never_replaces_a_device_or_pipe(tmp_path: Path) -> None:
    real, link, fifo = tmp_path / "real", tmp_path / "link", tmp_path / "fifo"
    link.symlink_to(real)
    Draft(str(link)).commit(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    draft = Draft(str(fifo))
    draft.commit(b"said")
    draft.discard()
    assert os.read(reader, 10) == b"said"
    os.close(reader)
    assert fifo.is_fifo()
    Draft("/dev/null").commit(b"nowhere")
    assert Path("/dev/null").is_char_device()
