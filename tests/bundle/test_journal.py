"""The journal: what was recorded is there again, whatever the end of the process cut off."""

from __future__ import annotations

import errno
import os
import resource
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from bundle import journal as journals
from bundle.calls import Call
from bundle.journal import HELD, CaptureError, Journal, JournalError, Plan
from bundle.recording import Failure, RecordedExchange, RecordedTls, StoredBody
from verify.engine.errors import UsageError

AT = datetime(2026, 6, 10, 9, 0, tzinfo=UTC)
KEY = "sk-journal-0123456789abcdef"


def plan() -> Plan:
    return Plan(
        provider="near-direct",
        profile="near-direct",
        base_url="https://provider.example",
        model="m",
        chat=True,
        prompt="héllo",
        request=None,
        stream=True,
        algorithms=("ecdsa", "ed25519"),
        options={"a": "b"},
        endpoints={"amd_kds": "https://kds.example"},
        nras=False,
        claims="2.0",
        insist=False,
        beacon=None,
        signers=("sha256:00",),
        first_random=bytes(range(32)),
        marker_secret=b"\x01" * 32,
        operator="me",
        host=None,
        out="x.json",
        timeout_s=1.5,
        max_response=None,
        started_at=AT,
        tool_version="1",
        settings={"policy": "x", "y": None},
    )


def call(step: str = "attest-1", **members: object) -> Call:
    made = Call(
        step=step, purpose="attestation", method="GET", url="https://provider.example/a?nonce=00"
    )
    return replace(made, **members)


def head() -> RecordedExchange:
    return RecordedExchange(
        purpose="attestation",
        method="GET",
        url="https://provider.example/a?nonce=00",
        started_at=AT,
        ended_at=AT + timedelta(seconds=1),
        first_byte_at=AT + timedelta(seconds=1),
        request_headers=(("Host", "provider.example"), ("Authorization", None)),
        status=200,
        response_headers=(("X-Odd", "ü"), ("Set-Cookie", None), ("X-Odd", "2")),
        complete=False,
        connection="c1",
        tls=RecordedTls(
            version="TLSv1.3", cipher="C", alpn=None, chain=(b"\x00\xff",), spki=b"k", webpki=True
        ),
    )


def answer(body: bytes | None, **members: object) -> RecordedExchange:
    made = replace(
        head(), complete=True, response_body=body, ended_at=AT + timedelta(seconds=2), done_at=AT
    )
    return replace(made, **members)


def begin(journal: Journal, asked: Call) -> journals.Underway:
    headers = (("Accept", "*/*"), ("Authorization", None))
    return journal.begin(asked, url=asked.url, headers=headers, started_at=AT)


def filled(folder: Path) -> tuple[Journal, RecordedExchange]:
    journal = Journal.create(folder, plan(), secrets=(KEY,))
    journal.keep_random("attest-1", b"\x07" * 32)
    under = begin(journal, call(body=b"asked"))
    under.begin(head())
    under.write(b"first ")
    under.write(b"second")
    recorded = under.done(answer(b"first second"))
    journal.note("stage", "attested")
    return journal, recorded


def reopened(journal: Journal) -> Journal:
    journal.close()
    return Journal.open(journal.folder, secrets=(KEY,))


def test_journal_reopened_gives_everything_back(tmp_path: Path) -> None:
    journal, recorded = filled(tmp_path / "j")
    journal.keep_chat_body(b'{"a":"\xff"}')
    with reopened(journal) as again:
        assert again.plan == plan()
        assert again.run == 2
        assert again.exchanges == (recorded,)
        assert recorded.request_body == b"asked"
        assert again.answered("attest-1") == recorded
        assert again.answered("attest-2") is None
        assert again.random_of("attest-1") == b"\x07" * 32
        assert again.randoms == (b"\x07" * 32,)
        assert again.chat_body == b'{"a":"\xff"}'
        assert again.notes == (("stage", "attested"),)
        assert Journal.plan_of(tmp_path / "j") == plan(), "to look at it needs no lock"


def test_journal_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        journal, _ = filled(tmp_path / "j")
    finally:
        os.umask(before)
    journal.close()
    assert stat.S_IMODE((tmp_path / "j").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "j").iterdir()}
    assert modes == {"lock": 0o600, "records": 0o600, "body-000001": 0o600}


def test_journal_body_without_stream_is_kept(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "j", plan())
    begin(journal, call()).done(answer(b"whole"))
    begin(journal, call("empty")).done(answer(b""))
    with reopened(journal) as again:
        assert [one.response_body for one in again.exchanges] == [b"whole", None]


def test_journal_body_other_than_streamed_is_refused(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j", plan()) as journal:
        under = begin(journal, call())
        under.write(b"one")
        with pytest.raises(ValueError, match="not the one that was streamed"):
            under.done(answer(b"two"))


def test_journal_large_body_stays_in_its_file(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "j", plan())
    data = b"0123456789abcdef" * (HELD // 16) + b"x"
    under = begin(journal, call())
    under.begin(head())
    for start in range(0, len(data), 1 << 20):
        under.write(data[start : start + (1 << 20)])
    stored = under.finish()
    assert stored == StoredBody(
        path=tmp_path / "j" / "body-000001", size=len(data), sha256=sha256(data).digest()
    )
    recorded = under.done(answer(None, response_file=stored))
    assert recorded.response_file == stored
    assert recorded.response_body is None
    with reopened(journal) as again:
        assert again.exchanges == (recorded,)
    assert stored.path.read_bytes() == data


def test_journal_large_body_given_whole_goes_to_its_file(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j", plan()) as journal:
        recorded = begin(journal, call()).done(answer(bytes(HELD + 1)))
        assert recorded.response_body is None
        assert recorded.response_file is not None
        assert recorded.response_file.size == HELD + 1


# --- what the end of the process leaves ---------------------------------------------------------


def test_journal_killed_before_the_answer_knows_the_call(tmp_path: Path) -> None:
    journal, _ = filled(tmp_path / "j")
    begin(journal, call("chat", body=b"say", once=True))
    with reopened(journal) as again:
        cut = again.answered("chat")
        assert cut is not None
        assert cut.failure is not None
        assert cut.failure.trouble == "interrupted"
        assert (cut.status, cut.complete, cut.response_body) == (None, False, None)
        assert cut.request_body == b"say"
        assert cut.request_headers == (("Accept", "*/*"), ("Authorization", None))
        assert again.exchanges[-1] == cut


def test_journal_killed_in_mid_stream_keeps_what_came(tmp_path: Path) -> None:
    journal, _ = filled(tmp_path / "j")
    under = begin(journal, call("chat", once=True))
    under.begin(head())
    under.write(b"data: 1\n\n")
    under.write(b"data: 2")
    with reopened(journal) as again:
        cut = again.answered("chat")
        assert cut is not None
        assert cut.status == 200
        assert cut.response_headers == head().response_headers
        assert cut.tls == head().tls
        assert cut.response_body == b"data: 1\n\ndata: 2"
        assert not cut.complete
        assert cut.first_byte_at is not None
        assert cut.started_at <= cut.first_byte_at <= cut.ended_at
    with Journal.open(tmp_path / "j") as third:
        assert third.answered("chat") == cut
        assert third.run == 3


def test_journal_killed_in_a_large_body_keeps_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "HELD", 8)
    journal = Journal.create(tmp_path / "j", plan())
    under = begin(journal, call())
    under.begin(head())
    under.write(b"more than eight")
    with reopened(journal) as again:
        cut = again.exchanges[0]
        assert cut.response_body is None
        assert cut.response_file is not None
        assert (cut.response_file.size, cut.response_file.sha256) == (
            15,
            sha256(b"more than eight").digest(),
        )


def test_journal_torn_anywhere_keeps_every_whole_record(tmp_path: Path) -> None:
    journal, recorded = filled(tmp_path / "j")
    journal.close()
    records = tmp_path / "j" / "records"
    whole = records.read_bytes()
    first = whole.index(b"\n", whole.index(b"\n", whole.index(b"\n") + 1) + 1) + 1  # the plan
    end_of_done = whole.index(b"\n", whole.index(b'"type":"done"')) + 1
    ends = [at for at in range(len(whole)) if whole[at] == 0x0A]
    places = {at + by for at in ends for by in (-1, 0, 1, 2)} | set(range(0, len(whole), 11))
    for cut in sorted(places):
        records.write_bytes(whole[:cut])
        if cut < first:
            with pytest.raises(UsageError, match="before it had recorded anything"):
                Journal.open(tmp_path / "j")
            continue
        with Journal.open(tmp_path / "j") as again:
            assert again.plan == plan()
            if cut >= end_of_done:
                assert again.exchanges == (recorded,)
            elif again.exchanges:
                assert again.exchanges[0].failure is not None
            again.note("after", "written")
        with Journal.open(tmp_path / "j") as third:
            assert third.notes[-1] == ("after", "written")


def test_journal_tail_of_zeros_is_dropped(tmp_path: Path) -> None:
    journal, recorded = filled(tmp_path / "j")
    journal.close()
    records = tmp_path / "j" / "records"
    whole = records.read_bytes()
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for zeros in (5, 92, 4096):
        records.write_bytes(whole + bytes(zeros))
        Journal.open(tmp_path / "j").close()
    records.write_bytes(whole[: last + 10] + bytes(len(whole) - last - 10))
    with Journal.open(tmp_path / "j") as again:
        assert again.exchanges == (recorded,)


def test_journal_flipped_byte_anywhere_is_refused(tmp_path: Path) -> None:
    journal, _ = filled(tmp_path / "j")
    journal.close()
    records = tmp_path / "j" / "records"
    whole = records.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x01
        records.write_bytes(bytes(changed))
        with pytest.raises((UsageError, JournalError)) as refused:
            Journal.open(tmp_path / "j")
        assert str(tmp_path / "j") in str(refused.value)
        assert records.read_bytes() == bytes(changed), "a damaged journal must not be touched"


def test_journal_records_taken_out_or_moved_are_refused(tmp_path: Path) -> None:
    journal, _ = filled(tmp_path / "j")
    journal.close()
    records = tmp_path / "j" / "records"
    first, *lines = records.read_bytes().split(b"\n")[:-1]
    frames = [b"\n".join(pair) for pair in zip(lines[::2], lines[1::2], strict=True)]
    for order in (frames[:2] + frames[3:], [frames[0], frames[2], frames[1], *frames[3:]]):
        records.write_bytes(b"\n".join([first, *order]) + b"\n")
        with pytest.raises(JournalError, match="damaged at byte"):
            Journal.open(tmp_path / "j")


def test_journal_damaged_body_is_refused(tmp_path: Path) -> None:
    journal, _ = filled(tmp_path / "j")
    journal.close()
    body = tmp_path / "j" / "body-000001"
    body.write_bytes(b"first sEcond")
    with pytest.raises(JournalError, match="damaged: the answer of attest-1"):
        Journal.open(tmp_path / "j")
    body.unlink()
    with pytest.raises(JournalError, match="is gone"):
        Journal.open(tmp_path / "j")


def test_journal_record_of_unknown_kind_is_refused(tmp_path: Path) -> None:
    journal, _ = filled(tmp_path / "j")
    journal.append({"type": "later"})
    journal.close()
    with pytest.raises(JournalError, match="none of this version"):
        Journal.open(tmp_path / "j")


# --- who may use it ------------------------------------------------------------------------------


def test_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    journal, _ = filled(tmp_path / "j")
    journal.close()
    records = tmp_path / "j" / "records"
    records.write_bytes(records.read_bytes().replace(b"journal/1\n", b"journal/2\n"))
    with pytest.raises(UsageError, match="format '2', this version reads format 1"):
        Journal.open(tmp_path / "j")


@pytest.mark.parametrize("content", [None, b"anything else", b"teebundle-journal"])
def test_journal_foreign_folder_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "records").write_bytes(content)
    with pytest.raises(UsageError):
        Journal.open(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) in (
        [],
        ["lock", "records"],
    )


def test_journal_held_by_another_process_is_refused(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j", plan()) as journal:
        child = os.fork()
        if child == 0:
            try:
                os.close(journal._lock)
                Journal.open(tmp_path / "j")
            except UsageError as error:
                os._exit(7 if "another process" in str(error) else 1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    Journal.open(tmp_path / "j").close()


def test_journal_folder_that_is_taken_is_refused(tmp_path: Path) -> None:
    journal, _ = filled(tmp_path / "j")
    journal.close()
    with pytest.raises(UsageError, match="--resume"):
        Journal.create(tmp_path / "j", plan())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="not empty"):
        Journal.create(tmp_path / "full", plan())
    with pytest.raises(UsageError, match="folder above it"):
        Journal.create(tmp_path / "no" / "j", plan())
    (tmp_path / "empty").mkdir(mode=0o755)
    Journal.create(tmp_path / "empty", plan()).close()
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o700


# --- disks that refuse ----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("taken", [0, 1, 60, 200])
def test_journal_on_a_disk_that_refuses_says_so_and_stays_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, taken: int
) -> None:
    journal, recorded = filled(tmp_path / "j")
    room = taken

    def put(descriptor: int, data: bytes | memoryview) -> int:
        nonlocal room
        if room == 0:
            raise OSError(code, os.strerror(code))
        part = data[:room]
        room -= len(part)
        return os.write(descriptor, part)

    with monkeypatch.context() as patch:
        patch.setattr(journals, "_put", put)
        with pytest.raises(JournalError) as refused:
            journal.note("stage", "x" * 400)
        assert refused.value.exit_code == 5
        assert isinstance(refused.value, CaptureError)
        word = "cannot be written" if code == errno.EROFS else "the disk is full"
        assert word in str(refused.value)
        assert f"--resume {tmp_path / 'j'}" in str(refused.value)
    with pytest.raises(JournalError, match="no more records"):
        journal.note("stage", "room again, but a record is missing")
    with reopened(journal) as again:
        assert again.exchanges == (recorded,)


def test_journal_body_on_a_full_disk_keeps_what_fitted(tmp_path: Path) -> None:
    journal, _ = filled(tmp_path / "j")
    under = begin(journal, call("chat", once=True))
    under.begin(head())
    limit = (1 << 16) + 17
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(JournalError, match="the disk is full"):
            for _ in range(100):
                under.write(b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    under.leave()
    with reopened(journal) as again:
        cut = again.answered("chat")
        assert cut is not None
        assert cut.response_body == b"x" * limit


def test_journal_in_a_read_only_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(journals.os, "open", refuse)
        with pytest.raises(JournalError, match="Read-only file system"):
            Journal.create(tmp_path / "j", plan())
    journal, _ = filled(tmp_path / "k")
    journal.close()
    with monkeypatch.context() as patch:
        patch.setattr(journals.os, "open", refuse)
        with pytest.raises(JournalError, match="Read-only file system"):
            Journal.open(tmp_path / "k")


def failing(code: int) -> object:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    return refuse


def test_journal_answer_that_cannot_be_synced_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = filled(tmp_path / "j")
    under = begin(journal, call("chat"))
    under.write(b"some")
    with monkeypatch.context() as patch:
        patch.setattr(journals, "_sync", failing(errno.EIO))
        with pytest.raises(JournalError, match="Input/output error"):
            under.finish()
    with reopened(journal) as again:
        cut = again.answered("chat")
        assert cut is not None
        assert cut.response_body == b"some"


def test_journal_that_cannot_be_begun_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(journals, "_put", failing(errno.ENOSPC))
        with pytest.raises(JournalError, match="the disk is full"):
            Journal.create(tmp_path / "j", plan())
    with pytest.raises(UsageError, match="nothing was sent"):
        Journal.open(tmp_path / "j")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", failing(errno.EACCES))
        with pytest.raises(JournalError, match="Permission denied; name another place"):
            Journal.create(tmp_path / "k", plan())


def test_journal_with_an_unreadable_part_of_an_answer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = filled(tmp_path / "j")
    under = begin(journal, call("chat"))
    under.write(b"some")
    under.leave()
    journal.close()
    monkeypatch.setattr(Path, "open", failing(errno.EIO))
    with pytest.raises(JournalError):
        Journal.open(tmp_path / "j")


def test_journal_not_removed_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = filled(tmp_path / "j")
    monkeypatch.setattr(Path, "unlink", failing(errno.EPERM))
    with pytest.raises(JournalError, match="delete it by hand"):
        journal.remove()
    journal.close()


# --- forgetting, secrets, removal ---------------------------------------------------------------


def test_journal_forgotten_step_is_asked_again_with_another_nonce(tmp_path: Path) -> None:
    journal, recorded = filled(tmp_path / "j")
    journal.forget(["attest-1"])
    assert journal.answered("attest-1") is None
    with reopened(journal) as again:
        assert again.answered("attest-1") is None
        assert again.random_of("attest-1") is None
        assert again.randoms == (b"\x07" * 32,)
        assert again.exchanges == (recorded,)
        second = begin(again, call()).done(answer(b"second"))
        assert again.answered("attest-1") == second
        assert again.exchanges == (recorded, second)


def test_journal_refuses_a_credential_in_a_record(tmp_path: Path) -> None:
    with Journal.create(tmp_path / "j", plan(), secrets=(KEY,)) as journal:
        with pytest.raises(JournalError) as refused:
            begin(journal, call(url=f"https://provider.example/{KEY}"))
        assert KEY not in str(refused.value)
        with pytest.raises(JournalError):
            begin(journal, call(body=f"my key is {KEY}, tell me".encode()))
    for path in (tmp_path / "j").iterdir():
        assert KEY.encode() not in path.read_bytes()


def test_journal_removed_is_gone(tmp_path: Path) -> None:
    journal, _ = filled(tmp_path / "j")
    journal.remove()
    journal.close()
    assert not (tmp_path / "j").exists()


def test_journal_failure_and_tls_survive(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "j", plan())
    failed = answer(
        None,
        status=None,
        complete=False,
        tls=None,
        failure=Failure(trouble="timeout", what="no answer in 10 s"),
    )
    recorded = begin(journal, call()).done(failed)
    with reopened(journal) as again:
        assert again.exchanges == (recorded,)
        assert recorded.failure == failed.failure
