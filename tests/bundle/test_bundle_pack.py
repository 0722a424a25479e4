"""Pack and unpack: lossless both ways, nothing followed, nothing overwritten."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from bundle.pack import pack, unpack
from fixtures.worked_example import QUOTE, SIGNER, Draft, digest, written
from verify.cli.folder import read_folder
from verify.engine.errors import MalformedInput, UsageError
from verify.wire import exploded
from verify.wire.exploded import BUNDLE, MANIFEST, explode, implode
from verify.wire.limits import Limits

ROOT = Path(__file__).resolve().parents[2]


def full() -> Draft:
    draft = Draft(
        material=[
            {
                "keyid": SIGNER.keyid,
                "x509Chain": [],
                "rfc3161": [],
                "tlogProofs": ["line\nline é\n"],
            }
        ],
        redactions=[{"artifact": "res-1", "reason": "size", "attachment": None}],
        renewals=[{"kind": "rehash", "hash": "sha512", "covers": [], "token": "AAAA"}],
    )
    draft.stored["quote-1"] = QUOTE
    del draft.stored["res-1"]
    text = 'tab\tline\n"quoted" \\ \u2028 \x7f é😀\r\n'
    draft.extra[digest(text.encode())] = {"encoding": "utf-8", "data": text}
    draft.extra["sha256:" + "0" * 64] = {"encoding": "external", "size": 9}
    draft.attach("retention", {"action": "hold", "until": None})
    draft.attach("retention", {"action": "release", "until": None})
    return draft


BUNDLES = [Draft().build(), full().build()]


@pytest.mark.parametrize("data", BUNDLES)
def test_exploded_form_comes_back_byte_for_byte(data):
    assert implode(explode(data)) == data


def test_exploded_form_of_every_fixture_comes_back_byte_for_byte():
    for path in sorted((ROOT / "fixtures" / "bundles").glob("*.evidence.json")):
        data = path.read_bytes()
        assert implode(explode(data)) == data, path.name


def test_exploded_form_of_another_layout_keeps_every_value():
    document = full().document()
    compact = json.dumps(document, separators=(",", ":")).encode()
    assert json.loads(implode(explode(compact))) == document


def test_exploded_form_has_the_files_of_the_format():
    files = explode(full().build())
    assert files[MANIFEST] == full().serialised()
    assert files[f"blobs/sha256/{digest(QUOTE)[7:]}"] == QUOTE
    assert {"attachments/000.json", "attachments/001.json"} <= set(files)
    assert "blobs/sha256/" + "0" * 64 not in files
    outer = json.loads(files[BUNDLE])
    assert outer["statement"]["payload"] == ""
    assert all("data" not in blob for blob in outer["blobs"].values())


def refused(files, code="input.schema", **options):
    with pytest.raises(MalformedInput) as caught:
        implode(files, **options)
    assert caught.value.code == code
    return caught.value


def test_exploded_form_with_a_file_too_few_or_too_many_is_refused():
    files = explode(full().build())
    for name in files:
        refused({other: data for other, data in files.items() if other != name})
    for name in ("extra", "blobs/sha256/" + "1" * 64, "attachments/002.json", "blobs/x"):
        assert name in refused({**files, name: b"x"}).what


def test_exploded_form_with_other_bytes_is_refused():
    files = explode(full().build())
    refused({**files, f"blobs/sha256/{digest(QUOTE)[7:]}": b"other"})
    refused({**files, BUNDLE: b"{}"})
    refused({**files, BUNDLE: b"["}, "input.json")
    refused({**files, MANIFEST: b""})
    refused(files, "input.too_large", bounds=Limits(packed_file=6000))
    assert implode({**files, MANIFEST: b"other"})


def test_exploded_text_blob_that_is_no_text_is_refused():
    files = explode(Draft().build())
    outer = json.loads(files[BUNDLE])
    data = b"\xff"
    outer["blobs"][digest(data)] = {"encoding": "utf-8"}
    files = {**files, BUNDLE: written(outer), f"blobs/sha256/{digest(data)[7:]}": data}
    refused(files, "input.encoding")


def test_exploding_a_file_whose_bytes_are_others_is_refused():
    document = Draft().document()
    name = next(iter(document["blobs"]))
    document["blobs"][name]["data"] = "AAAA"
    with pytest.raises(MalformedInput):
        explode(written(document))


# --- on the file system ----------------------------------------------------------------------


@pytest.mark.parametrize("data", BUNDLES)
def test_unpack_and_pack_give_the_same_file(data, tmp_path):
    source = tmp_path / "a.evidence.json"
    source.write_bytes(data)
    unpack(source, tmp_path / "a.evidence")
    pack(tmp_path / "a.evidence", tmp_path / "b.evidence.json")
    assert (tmp_path / "b.evidence.json").read_bytes() == data
    assert read_folder(str(tmp_path / "a.evidence")) == data
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.evidence",
        "a.evidence.json",
        "b.evidence.json",
    ]
    for path in (tmp_path / "a.evidence").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600)
    assert stat.S_IMODE((tmp_path / "b.evidence.json").stat().st_mode) == 0o600


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "a.evidence.json"
    source.write_bytes(full().build())
    unpack(source, tmp_path / "a.evidence")
    return tmp_path / "a.evidence"


def test_nothing_that_exists_is_overwritten(folder):
    there = folder.parent / "there"
    there.mkdir()
    dangling = folder.parent / "dangling"
    dangling.symlink_to(folder.parent / "nowhere")
    for target in (there, dangling, folder.parent / "a.evidence.json"):
        with pytest.raises(UsageError, match="exists already"):
            pack(folder, target)
        with pytest.raises(UsageError, match="exists already"):
            unpack(folder.parent / "a.evidence.json", target)
    assert list(there.iterdir()) == []


def test_target_that_appears_meanwhile_stays(folder, monkeypatch):
    target = folder.parent / "late.json"
    link = os.link

    def appear(source, name):
        target.write_bytes(b"mine")
        link(source, name)

    monkeypatch.setattr(os, "link", appear)
    with pytest.raises(UsageError, match="cannot be written"):
        pack(folder, target)
    assert target.read_bytes() == b"mine"
    assert [path.name for path in folder.parent.glob(".late*")] == []


def test_folder_that_appears_meanwhile_stays(folder, monkeypatch):
    target = folder.parent / "late"
    rename = Path.rename

    def appear(self, name):
        (target / "mine").mkdir(parents=True)
        return rename(self, name)

    monkeypatch.setattr(Path, "rename", appear)
    with pytest.raises(UsageError, match="cannot be written"):
        unpack(folder.parent / "a.evidence.json", target)
    assert [path.name for path in target.iterdir()] == ["mine"]
    assert [path.name for path in folder.parent.glob(".late*")] == []


def test_target_below_nothing_is_refused(folder):
    nowhere = folder.parent / "nowhere" / "x"
    with pytest.raises(UsageError, match="cannot be written"):
        pack(folder, nowhere)
    with pytest.raises(UsageError, match="cannot be written"):
        unpack(folder.parent / "a.evidence.json", nowhere)


def test_source_that_is_not_there_is_refused(tmp_path):
    for path in ("absent", "a\x00b"):
        with pytest.raises(UsageError):
            read_folder(str(tmp_path / "x") + path)
    file = tmp_path / "file"
    file.write_bytes(b"x")
    with pytest.raises(UsageError):
        read_folder(str(file))
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(UsageError):
        read_folder(str(link))


def malformed(folder, code="input.schema", **options):
    with pytest.raises(MalformedInput) as caught:
        read_folder(str(folder), **options)
    assert caught.value.code == code
    assert caught.value.file == str(folder)
    return caught.value


def test_link_inside_a_folder_is_not_followed(folder):
    manifest = folder / MANIFEST
    outside = folder.parent / "outside"
    manifest.rename(outside)
    manifest.symlink_to(outside)
    malformed(folder)


def test_linked_folder_inside_a_folder_is_not_followed(folder):
    outside = folder.parent / "outside"
    (folder / "blobs").rename(outside)
    (folder / "blobs").symlink_to(outside)
    malformed(folder)


def test_folder_without_a_file_is_refused(folder):
    (folder / MANIFEST).unlink()
    assert "is missing" in malformed(folder).what


def test_pipe_inside_a_folder_is_refused(folder):
    os.mkfifo(folder / "pipe")
    assert "no plain file" in malformed(folder).what


def test_folders_deeper_than_the_form_are_refused(folder):
    (folder / "blobs" / "sha256" / "deep").mkdir()
    assert "no plain file" in malformed(folder).what


def test_folder_of_too_many_files_is_refused(folder, monkeypatch):
    monkeypatch.setattr("verify.cli.folder.FILES_LIMIT", 0)
    assert "more files" in malformed(folder).what


def test_folder_above_the_limit_is_refused_before_it_is_read(folder):
    large = folder / MANIFEST
    with large.open("r+b") as file:
        file.truncate(1 << 34)
    malformed(folder, "input.too_large")
    malformed(folder, "input.too_large", bounds=Limits(packed_file=100))


def test_file_that_grows_while_it_is_read_is_refused(folder, monkeypatch):
    monkeypatch.setattr(
        "verify.cli.folder.read_bounded", lambda _descriptor, limit: b"x" * (limit + 1)
    )
    malformed(folder, "input.too_large", bounds=Limits(packed_file=100_000))


def test_files_limit_is_more_than_any_bundle_has():
    assert exploded.FILES_LIMIT >= 65_536 + 256 + 2
