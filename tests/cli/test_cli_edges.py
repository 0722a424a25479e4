"""The edges of a program: pipes that close, processes that end, places that cannot be written."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

import bundle.cli
import verify.cli
from tests.cli.shipped import GOOD, ROOT, call
from verify.cli import guard
from verify.cli.opening import device_key
from verify.cli.output import write_stdout


class Ended(BaseException):
    """Stands for the end of the process."""


class Gone(io.StringIO):
    """A stream whose reader went away."""

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("main", [verify.cli.main, bundle.cli.main])
def test_main_ends_the_process_with_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], main: object
) -> None:
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr("verify.cli.guard.os._exit", end)
    monkeypatch.setattr("verify.cli.guard.gc.disable", lambda: None)
    monkeypatch.setattr(sys, "argv", ["x", "--version"])
    assert callable(main)
    with pytest.raises(Ended):
        main()
    assert codes == [0]
    assert capfd.readouterr().out == "1.0.0\n"


def test_leave_ends_the_process_where_nobody_reads_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        raise Ended

    monkeypatch.setattr("verify.cli.guard.os._exit", end)
    monkeypatch.setattr("verify.cli.guard.gc.disable", lambda: None)
    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(Ended):
        guard.leave(lambda: 3)
    assert codes == [3]


def test_reader_gone_points_standard_output_nowhere() -> None:
    reader, writer = os.pipe()
    kept = os.dup(1)
    try:
        os.dup2(writer, 1)
        os.close(writer)
        stdout = sys.stdout
        sys.stdout = os.fdopen(os.dup(1), "w") if stdout is None else sys.__stdout__
        guard.reader_gone()
        sys.stdout = stdout
        assert os.fstat(1).st_rdev == Path("/dev/null").stat().st_rdev
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(reader)


def test_write_stdout_to_a_closed_pipe_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr("verify.cli.guard.reader_gone", lambda: told.append(True))
    write_stdout(b"x")
    assert told == [True]


def test_verify_report_in_a_wrong_place_leaves_no_draft_of_the_other_output(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = (*GOOD, "-o", str(tmp_path / "out.txt"), "--report", str(tmp_path / "no" / "r.json"))
    said = call(monkeypatch, capfd, *words)
    assert said.code == 2
    assert list(tmp_path.iterdir()) == []
    alone = call(monkeypatch, capfd, *GOOD, "--report", str(tmp_path / "r.json"))
    assert alone.code == 0
    assert alone.out.startswith("VERIFIED")
    other = call(monkeypatch, capfd, *GOOD, "-o", str(tmp_path / "o.txt"))
    assert (other.code, other.out) == (0, "")


def test_device_key_of_what_is_no_chain_says_why() -> None:
    assert device_key(b"nothing").startswith("not a device chain: ")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("extra", "code"), [((), 0), (("--as-of", "2050-01-01T00:00:00Z"), 1)])
def test_closed_streams_leave_the_exit_code_as_it_is(
    closed: str, extra: tuple[str, ...], code: int
) -> None:
    entry = "from verify.cli import main; main()"
    words = [sys.executable, "-c", entry, *GOOD, *extra]
    said = subprocess.run(
        ["bash", "-c", f'exec "$@" {closed}', "bash", *words],
        capture_output=True,
        check=False,
        cwd=ROOT,
        timeout=120,
    )
    assert (said.returncode, said.stdout, said.stderr) == (code, b"", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_and_is_no_fault_of_the_program() -> None:
    with Path("/dev/full").open("wb") as full:
        said = subprocess.run(
            [sys.executable, "-c", "from verify.cli import main; main()", *GOOD],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            cwd=ROOT,
            timeout=120,
        )
    assert said.returncode == 2
    assert b"standard output cannot be written: No space left" in said.stderr
    assert b"fault of the program" not in said.stderr


@pytest.mark.parametrize("option", ["--out", "--report"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_report_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], option: str
) -> None:
    said = call(monkeypatch, capfd, *GOOD, option, "/dev/full")
    assert (said.code, said.out) == (2, "")
    assert "cannot write /dev/full: No space left" in said.err
