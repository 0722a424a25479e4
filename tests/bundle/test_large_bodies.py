"""Bodies too large for the bundle file: assembled, sealed, written, read back, judged; never held."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256, sha512
from pathlib import Path

import pytest

from bundle import bodies
from bundle import seal as sealing
from bundle.bodies import ExternalBlob, blob_file, pieces, response_head, write_blobs
from bundle.recording import RecordedExchange, StoredBody
from bundle.seal import SealError, seal, search_credentials
from fixtures import goods
from fixtures.registry import Case
from fixtures.sealed import statement_of
from fixtures.sessions import CAPTURER, START
from fixtures.verification import as_of
from tests.bundle.large_case import (
    CLAIMS,
    INLINE,
    MIB,
    files,
    frozen,
    lone,
    sealed,
    session,
    stored,
)
from verify.api import verify_bundle
from verify.cli.blobs import BlobFolder
from verify.engine.errors import UsageError
from verify.engine.report import Report
from verify.engine.value import replace as with_value
from verify.policy.loader import load_policy
from verify.trust.file import read_trust_file
from verify.trust.store import TrustStore
from verify.wire.limits import DEFAULT

SALT = 32
SECRET = "sk-test-0123456789abcdef"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Make 4 KiB the most that a writer puts into the file, so that a test needs few bytes."""
    monkeypatch.setattr("bundle.assemble.DEFAULT", with_value(DEFAULT, inline_blob=4096))
    return 4096


def verified(case: Case, blobs: Path | None) -> Report:
    return verify_bundle(
        case.bundle,
        policy=load_policy(case.policy, file="policy.yaml"),
        trust=TrustStore.build(files=[read_trust_file(data) for data in case.trust]),
        as_of=as_of(case.as_of),
        blobs=None if blobs is None else BlobFolder(str(blobs)),
    )


def bad(report: Report) -> dict[str, str]:
    return {
        row.id: str(row.reason)
        for row in report.checks
        if row.status.value in ("FAIL", "BLOCKED", "ERROR") and str(row.reason) != "need.not_passed"
    }


# --- in or beside the file -------------------------------------------------------------------


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize(
    ("size", "beside"),
    [
        (INLINE - SALT, False),
        (INLINE - SALT + 1, True),
        (INLINE, True),
        (INLINE + 1, True),
    ],
)
def test_stored_bytes_over_sixteen_mebibytes_lie_beside_the_file(
    tmp_path: Path, size: int, *, beside: bool, in_file: bool
) -> None:
    body = bytes(size)
    held = None if in_file else body
    file = stored(tmp_path, body) if in_file else None
    made = lone(file, held=held).freeze(CLAIMS)
    assert bool(made.external) is beside
    assert bool(made.blobs) is not beside
    assert list(map(len, made.blobs.values())) == ([] if beside else [INLINE])
    (entry,) = json.loads(made.payload)["predicate"]["artifacts"]
    assert (entry["size"], entry["framing"]) == (size + SALT, "salt32")
    if beside:
        (digest,) = made.external
        assert digest == entry["digest"]
        assert sum(map(len, made.external[digest].pieces())) == size + SALT


def test_held_or_in_a_file_the_bundle_is_the_same(tmp_path: Path, small: int) -> None:
    for size in (1, small - SALT, small - SALT + 1, 3 * MIB + 5):
        body = os.urandom(size)
        one = lone(stored(tmp_path, body), sha512=True).freeze(CLAIMS)
        two = lone(None, held=body, sha512=True).freeze(CLAIMS)
        assert one.payload == two.payload
        assert one.blobs == two.blobs
        assert one.external.keys() == two.external.keys()
        (entry,) = json.loads(one.payload)["predicate"]["artifacts"]
        framed = sha256(b"res-1").digest() + body
        assert entry["digest"] == "sha256:" + sha256(framed).hexdigest()
        assert entry["sha512"] == sha512(framed).hexdigest()
        for made in (one, two):
            for blob in made.external.values():
                assert b"".join(blob.pieces()) == framed


def test_public_body_beside_the_file_has_no_salt(tmp_path: Path, small: int) -> None:
    body = b"x" * (small + 1)
    made = lone(stored(tmp_path, body), purpose="attestation").freeze(CLAIMS)
    assert list(made.external) == ["sha256:" + sha256(body).hexdigest()]
    assert lone(stored(tmp_path, body[:-1]), purpose="attestation").freeze(CLAIMS).blobs


def test_empty_file_is_no_body(tmp_path: Path) -> None:
    made = lone(stored(tmp_path, b"")).freeze(CLAIMS)
    (exchange,) = json.loads(made.payload)["predicate"]["exchanges"]
    assert exchange["response"]["body"] is None
    assert not made.external
    assert not made.blobs


@pytest.mark.parametrize("size", [100, 5000])
@pytest.mark.parametrize("change", [b"", b"X", b"longer"])
def test_file_that_changed_since_it_was_recorded_is_refused(
    tmp_path: Path, small: int, size: int, change: bytes
) -> None:
    assert small < 5000
    body = stored(tmp_path, b"y" * size)
    body.path.write_bytes(b"y" * (size - 1) + change)
    with pytest.raises(UsageError, match="other bytes than were recorded"):
        lone(body)
    body.path.unlink()
    with pytest.raises(UsageError, match="cannot be read"):
        lone(body)


@pytest.mark.usefixtures("small")
def test_body_that_is_not_held_gives_its_head_and_nothing_else(tmp_path: Path) -> None:
    text = b'data: {"id":"chat-1"}\n\n' * 9000
    made = lone(stored(tmp_path, text), purpose="attestation")
    (name,) = made.ids_of("provider.attestation")
    assert made.head(name) == text[: 64 << 10]
    with pytest.raises(ValueError, match="not held"):
        made.body(name)
    with pytest.raises(ValueError, match="not held"):
        made.derive(name, role="tdx.quote", steps=["select:/a", "hex"])


def test_head_of_a_response_wherever_it_is(tmp_path: Path) -> None:
    base = RecordedExchange(
        purpose="chat", method="POST", url="https://x.test/", started_at=START, ended_at=START
    )
    assert response_head(base) == b""
    assert response_head(replace(base, response_body=b"abc"), 2) == b"ab"
    file = stored(tmp_path, b"d" * (3 * MIB))
    assert response_head(replace(base, response_file=file), 2 * MIB + 1) == b"d" * (2 * MIB + 1)
    assert response_head(replace(base, response_file=file)) == b"d" * (64 << 10)


# --- sealing ---------------------------------------------------------------------------------


def beside(tmp_path: Path, body: bytes) -> ExternalBlob:
    return ExternalBlob(salt=b"s" * SALT, body=stored(tmp_path, body), size=len(body) + SALT)


@pytest.mark.usefixtures("small")
def test_sealed_file_names_the_blob_and_the_folder_holds_it(tmp_path: Path) -> None:
    made = lone(stored(tmp_path, b"z" * 9000)).freeze(CLAIMS)
    blobs = tmp_path / "new" / "blobs"
    document = json.loads(seal(made, [CAPTURER], blobs=blobs))
    (digest,) = made.external
    assert document["blobs"] == {digest: {"encoding": "external", "size": 9000 + SALT}}
    (path,) = files(blobs)
    assert path == blob_file(blobs, digest)
    assert path.read_bytes() == sha256(b"res-1").digest() + b"z" * 9000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.usefixtures("small")
def test_sealing_without_a_folder_says_which_option(tmp_path: Path) -> None:
    made = lone(stored(tmp_path, b"z" * 9000)).freeze(CLAIMS)
    with pytest.raises(UsageError, match=r"9032 bytes.*--blobs"):
        seal(made, [CAPTURER])


@pytest.mark.usefixtures("small")
def test_body_that_no_reader_takes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    made = lone(stored(tmp_path, b"z" * 9000)).freeze(CLAIMS)
    (digest,) = made.external
    huge = replace(made.external[digest], size=(4 << 30) + 1)
    with pytest.raises(UsageError, match="no reader takes more"):
        seal(replace(made, external={digest: huge}), [CAPTURER], blobs=tmp_path / "blobs")
    assert not files(tmp_path / "blobs")


def test_body_over_what_readers_take_by_default_can_be_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setitem(BlobFolder.__init__.__kwdefaults__, "limit", small)
    made = lone(stored(tmp_path, b"z" * 9000)).freeze(CLAIMS)
    assert seal(made, [CAPTURER], blobs=tmp_path / "blobs")


def test_sealing_without_large_bodies_makes_no_folder(tmp_path: Path) -> None:
    made = lone(None, held=b"small").freeze(CLAIMS)
    assert seal(made, [CAPTURER], blobs=tmp_path / "blobs") == seal(made, [CAPTURER])
    assert not (tmp_path / "blobs").exists()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("at", [0, 5, MIB - SALT - 30, MIB - 7, MIB - 1, 2 * MIB - 3, -len(SECRET)])
def test_credential_anywhere_in_a_large_body_is_found_before_anything_is_written(
    tmp_path: Path, at: int
) -> None:
    body = bytearray(b"-" * (2 * MIB + 99))
    start = at if at >= 0 else len(body) + at
    body[start : start + len(SECRET)] = SECRET.encode()
    made = lone(stored(tmp_path, bytes(body))).freeze(CLAIMS)
    (digest,) = made.external
    with pytest.raises(SealError, match=digest) as caught:
        seal(made, [CAPTURER], secrets=[SECRET], blobs=tmp_path / "blobs")
    assert SECRET not in str(caught.value)
    assert not (tmp_path / "blobs").exists()
    seal(made, [CAPTURER], secrets=[SECRET + "x"], blobs=tmp_path / "blobs")


def test_credential_of_one_character_is_searched_for_too(tmp_path: Path) -> None:
    blob = beside(tmp_path, b"a" * MIB + b"Q")
    with pytest.raises(SealError):
        search_credentials({}, ["Q"], {"blob": blob})


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("how", ["other bytes", "shorter", "longer", "gone", "a link"])
def test_blob_that_does_not_read_back_is_told_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    made = lone(stored(tmp_path, b"z" * 9000)).freeze(CLAIMS)

    def spoilt(given: object, folder: Path) -> tuple[Path, ...]:
        written = write_blobs(given, folder)  # type: ignore[arg-type]
        (path,) = written
        data = path.read_bytes()
        path.unlink()
        if how == "a link":
            (tmp_path / "elsewhere").write_bytes(data)
            path.symlink_to(tmp_path / "elsewhere")
        elif how != "gone":
            changed = {"other bytes": b"y" + data[1:], "shorter": data[:-1], "longer": data + b"z"}
            path.write_bytes(changed[how])
        return written

    monkeypatch.setattr(sealing, "write_blobs", spoilt)
    with pytest.raises(SealError, match="nothing was written"):
        seal(made, [CAPTURER], blobs=tmp_path / "blobs")
    assert not files(tmp_path / "blobs")


# --- the blob store --------------------------------------------------------------------------


def digest_of(blob: ExternalBlob) -> str:
    return "sha256:" + sha256(b"".join(blob.pieces())).hexdigest()


def test_equal_blob_is_kept_and_another_is_not_overwritten(tmp_path: Path) -> None:
    blob = beside(tmp_path, b"k" * (MIB + 3))
    digest, store = digest_of(blob), tmp_path / "blobs"
    (path,) = write_blobs({digest: blob}, store)
    before = path.stat()
    assert write_blobs({digest: blob}, store) == ()
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    path.write_bytes(b"other")
    with pytest.raises(UsageError, match="other bytes than its name says"):
        write_blobs({digest: blob}, store)
    assert path.read_bytes() == b"other"
    assert files(store) == [path]


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_blob_name_that_is_no_regular_file_is_refused(tmp_path: Path, kind: str) -> None:
    blob = beside(tmp_path, b"k" * 99)
    digest, store = digest_of(blob), tmp_path / "blobs"
    path = blob_file(store, digest)
    path.parent.mkdir(parents=True)
    target = tmp_path / "target"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        if kind == "link":
            target.write_bytes(b"".join(blob.pieces()))
        path.symlink_to(target)
    with pytest.raises(UsageError, match="blob folder"):
        write_blobs({digest: blob}, store)
    assert files(store) == [path]
    assert target.exists() is (kind == "link")


def test_body_that_changes_while_it_is_written_leaves_nothing(tmp_path: Path) -> None:
    good, changed = beside(tmp_path, b"g" * 99), beside(tmp_path, b"k" * 99)
    good = replace(good, body=b"g" * 99)
    digests = sorted((digest_of(good), "sha256:" + "f" * 64))
    with pytest.raises(UsageError, match="changed while it was written"):
        write_blobs(dict(zip(digests, (good, changed), strict=True)), tmp_path / "blobs")
    assert not files(tmp_path / "blobs")


def test_body_that_cannot_be_read_while_it_is_written_leaves_nothing(tmp_path: Path) -> None:
    gone = StoredBody(path=tmp_path / "gone", size=9, sha256=bytes(32))
    blob = ExternalBlob(salt=b"", body=gone, size=9)
    with pytest.raises(UsageError, match="gone: a recorded body cannot be read"):
        write_blobs({"sha256:" + "0" * 64: blob}, tmp_path / "blobs")
    assert not files(tmp_path / "blobs")


def test_blob_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_bytes(b"a file")
    blob = beside(tmp_path, b"k")
    with pytest.raises(UsageError, match="cannot write the blob folder"):
        write_blobs({digest_of(blob): blob}, tmp_path / "blobs")


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bodies.os, "fsync", full)
    blob = beside(tmp_path, b"k")
    with pytest.raises(UsageError, match="No space left"):
        write_blobs({digest_of(blob): blob}, tmp_path / "blobs")
    assert not files(tmp_path / "blobs")


def test_another_writer_that_was_faster_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = beside(tmp_path, b"k" * 99)
    digest, store = digest_of(blob), tmp_path / "blobs"
    real = os.link

    def slow(source: Path, target: Path) -> None:
        target.write_bytes(b"".join(blob.pieces()))
        real(source, target)

    monkeypatch.setattr(bodies.os, "link", slow)
    assert write_blobs({digest: blob}, store) == ()
    assert files(store) == [blob_file(store, digest)]


def test_pieces_are_small(tmp_path: Path) -> None:
    body = b"p" * (2 * MIB + 1)
    for given in (body, stored(tmp_path, body)):
        assert [len(piece) for piece in pieces(given)] == [MIB, MIB, 1]


# --- verified --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Path]:
    """A good bundle whose chat answer has 17 MiB, and its blob folder."""
    folder = tmp_path_factory.mktemp("large")
    return sealed(session(17 * MIB, folder), folder / "blobs"), folder / "blobs"


def test_large_answer_is_verified_with_its_folder(large: tuple[Case, Path]) -> None:
    case, blobs = large
    assert len(case.bundle) < MIB
    assert verified(case, blobs).verdict.value == "VERIFIED"


def test_large_answer_that_is_not_supplied_is_incomplete(
    large: tuple[Case, Path], tmp_path: Path
) -> None:
    case, _ = large
    for folder in (None, tmp_path):
        report = verified(case, folder)
        assert report.verdict.value == "INCOMPLETE"
        assert bad(report) == {
            "artifacts.accounted": "artifact.external_unavailable",
            "content.response": "artifact.external_unavailable",
        }


def other_store(large: tuple[Case, Path], folder: Path) -> Path:
    """Return the path of a copy of the one blob in a new store."""
    (path,) = files(large[1])
    (folder / "sha256").mkdir()
    copy = folder / "sha256" / path.name
    copy.write_bytes(path.read_bytes())
    return copy


def test_large_answer_with_one_byte_changed_is_rejected(
    large: tuple[Case, Path], tmp_path: Path
) -> None:
    copy = other_store(large, tmp_path)
    with copy.open("r+b") as file:
        file.seek(9 * MIB)
        file.write(b"!")
    report = verified(large[0], tmp_path)
    assert report.verdict.value == "REJECTED"
    assert bad(report)["blobs.digests"] == "blob.digest_mismatch"


def test_large_answer_cut_short_is_rejected(large: tuple[Case, Path], tmp_path: Path) -> None:
    copy = other_store(large, tmp_path)
    os.truncate(copy, copy.stat().st_size - 1)
    report = verified(large[0], tmp_path)
    assert report.verdict.value == "REJECTED"
    assert bad(report)["blobs.digests"] == "blob.size_mismatch"


def test_link_in_the_place_of_a_large_answer_is_not_followed(
    large: tuple[Case, Path], tmp_path: Path
) -> None:
    copy = other_store(large, tmp_path)
    copy.rename(tmp_path / "elsewhere")
    copy.symlink_to(tmp_path / "elsewhere")
    report = verified(large[0], tmp_path)
    assert report.verdict.value == "INCOMPLETE"
    assert bad(report)["artifacts.accounted"] == "artifact.external_unavailable"


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            lambda body: body.replace(b"data: [DONE]", b"data: [D0NE]"),
            "content.response_incomplete",
        ),
        (lambda body: body[:-1], "content.response_hash_mismatch"),
        (lambda body: body[: 16 * MIB + 5], "content.response_incomplete"),
    ],
)
def test_large_answer_that_is_not_the_signed_one_is_rejected(
    tmp_path: Path, edit: object, reason: str
) -> None:
    subject = replace(session(16 * MIB + 4096, tmp_path), edit={"response": edit})
    case = sealed(subject, tmp_path / "blobs")
    report = verified(case, tmp_path / "blobs")
    assert report.verdict.value == "REJECTED"
    assert bad(report)["content.response"] == reason


def test_frozen_session_with_a_large_answer_has_the_same_statement(tmp_path: Path) -> None:
    held, beside_it = (frozen(session(16 * MIB, folder)) for folder in (None, tmp_path))
    assert held.payload == beside_it.payload
    document = statement_of(json.loads(goods.good("nanogpt").bundle))
    assert len(json.loads(held.payload)["predicate"]["artifacts"]) == len(
        document["predicate"]["artifacts"]
    )


# --- memory ----------------------------------------------------------------------------------

_PEAK = """
import sys
{body}
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print("peak", int(line.split()[1]) >> 10, file=sys.stderr)
"""
_VERIFY = _PEAK.format(body="from verify.cli import run\nprint('code', run(sys.argv[1:]))")
_SEAL = _PEAK.format(
    body="""
from pathlib import Path
from bundle.recording import StoredBody
from bundle.seal import seal
from fixtures.sessions import CAPTURER
from tests.bundle.large_case import CLAIMS, lone
path, size, digest, blobs = sys.argv[1:]
body = StoredBody(path=Path(path), size=int(size), sha256=bytes.fromhex(digest))
made = lone(body).freeze(CLAIMS)
seal(made, [CAPTURER], secrets=["sk-test-0123456789abcdef"], blobs=Path(blobs))
print('code 0')
"""
)


def peak_mib(script: str, *words: str) -> int:
    """Run a script in a fresh interpreter; return the most memory it held, in MiB."""
    ended = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
    )
    assert "code 0" in ended.stdout, ended.stdout + ended.stderr
    return int(ended.stderr.rpartition("peak")[2])


on_linux = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="asks the kernel for the peak of a process"
)


@on_linux
def test_hundred_mebibytes_are_verified_in_less_memory(tmp_path: Path) -> None:
    case = sealed(session(100 * MIB, tmp_path), tmp_path / "blobs")
    bundle, policy, trust = (tmp_path / name for name in ("b.json", "p.yaml", "t.yaml"))
    bundle.write_bytes(case.bundle)
    policy.write_bytes(case.policy)
    trust.write_bytes(case.trust[0])
    words = [str(bundle), "-p", str(policy), "-t", str(trust), "--blobs", str(tmp_path / "blobs")]
    assert peak_mib(_VERIFY, "verify", *words) < 70


@on_linux
def test_hundred_mebibytes_are_sealed_in_less_memory(tmp_path: Path) -> None:
    path = tmp_path / "response.body"
    path.touch()
    os.truncate(path, 100 * MIB)
    digest = sha256()
    for _ in range(100):
        digest.update(bytes(MIB))
    peak = peak_mib(_SEAL, str(path), str(100 * MIB), digest.hexdigest(), str(tmp_path / "blobs"))
    assert peak < 90
    (blob,) = files(tmp_path / "blobs")
    assert blob.stat().st_size == 100 * MIB + SALT
