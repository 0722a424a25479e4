"""``kill -9`` at every step: a capture is stopped at each system call that leaves something on disk.

A child process runs the capture and kills itself at its n-th such call: before it, after it, or, of
a write, in the middle of the bytes. Then the capture is resumed here. Whatever the place: the
bundle reads back, every request that was sent is on record, no chat is sent twice, and an answer
that had come is whole in the bundle.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundle.capture import capture, resume
from bundle.journal import Journal
from verify.api import open_unverified
from verify.engine.errors import UsageError

from .capture_case import CHAT, Case, Network

CALLS = ("write", "fsync", "mkdir", "link", "unlink", "rmdir", "ftruncate")
PLACES: tuple[tuple[str, float], ...] = (
    ("before", 0.0),
    ("after", 0.0),
    ("within", 0.01),
    ("within", 0.5),
    ("within", 0.999),
)
_write, _kill, _exit = os.write, os.kill, os._exit


class Ending:
    """Counts calls that touch the disk and ends the process at one of them."""

    def __init__(self, at: int, place: str, share: float, how: str) -> None:
        self.count, self.at, self.place, self.share, self.how = 0, at, place, share, how

    def end(self) -> None:
        if self.how == "kill":
            _kill(os.getpid(), signal.SIGKILL)
        _exit(9)

    def around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **more: Any) -> Any:
            self.count += 1
            if self.count != self.at:
                return real(*given, **more)
            if self.place == "within" and name == "write":
                real(given[0], bytes(given[1])[: int(len(given[1]) * self.share)])
                self.end()
            if self.place == "before":
                self.end()
            found = real(*given, **more)
            self.end()
            return found

        return called

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self.around(name, getattr(os, name)))


def case_in(folder: Path) -> Case:
    case = Case(folder=folder)
    log = os.open(folder.parent / f"{folder.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    case.network.log = lambda path: (_write(log, f"{path}\n".encode()), None)[1]
    return case


def run(case: Case) -> None:
    capture(case.asked(algorithms=("ecdsa",)), case.means())


def ended(folder: Path, at: int, place: str, share: float, how: str) -> bool:
    """Run a capture in a child that ends at its call number ``at``; whether it did."""
    child = os.fork()
    if child == 0:
        try:
            case = case_in(folder)
            Ending(at, place, share, how).install()
            run(case)
        except BaseException:  # noqa: BLE001  (whatever it was, it must not get into pytest)
            _exit(99)
        _exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9, -signal.SIGKILL)
    return code != 0


def sent(folder: Path) -> list[str]:
    log = folder.parent / f"{folder.name}.log"
    return log.read_text().splitlines() if log.exists() else []


def whole_answers(out: Path) -> int:
    exchanges = open_unverified(out.read_bytes()).evidence.statement.exchanges
    return sum(1 for one in exchanges if one.response is not None and one.response.complete)


def on_record(out: Path) -> tuple[Counter[str], list[bytes]]:
    evidence = open_unverified(out.read_bytes()).evidence
    paths = Counter(
        "/" + exchange.request.url.split("/", 3)[3].partition("?")[0]
        for exchange in evidence.statement.exchanges
    )
    answers = evidence.statement.of_role("http.response.body")
    return paths, [evidence.body(artifact.id) for artifact in answers]


def check(folder: Path) -> None:
    """Resume what a killed capture left, and look at what it makes of it."""
    before = sent(folder)
    case = case_in(folder)
    try:
        resume(case.journal, case.provider, case.means())
    except UsageError as error:
        # killed before the plan was on disk (nothing was sent), or after all was done
        told = str(error)
        assert "is no journal" in told or ("nothing was sent" in told and before == [])
        if not case.out.exists():
            assert before == []
            return
    paths, answers = on_record(case.out)
    asked = Counter(sent(folder))
    assert asked["/chat"] <= 1
    assert not asked - paths, "a request was sent and is not on record"
    if "/signature" in before:
        assert answers == [CHAT], "the chat had been answered before the end"
    assert all(CHAT.startswith(answer) for answer in answers)
    assert set(paths) == {"/attestation", "/item", "/chat", "/signature"} or answers == []
    assert whole_answers(case.out) >= len(before) - 1, "every answer but the last had come"


def total(folder: Path) -> int:
    """How many calls a capture makes that touch the disk."""
    folder.mkdir()
    ending = Ending(0, "before", 0.0, "exit")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        case = case_in(folder)
        ending.install()
        try:
            run(case)
            _write(write, str(ending.count).encode())
        finally:
            _exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as told:
        return int(told.read())


SHARES = 24


@pytest.mark.parametrize("share", range(SHARES))
def test_capture_killed_at_any_step_is_resumed(tmp_path: Path, share: int) -> None:
    steps = total(tmp_path / "all")
    assert steps > 80
    stops = 0
    for at in range(1 + share, steps + 1, SHARES):
        for number, (place, part) in enumerate(PLACES):
            if number >= 2 and (at + number) % 3:
                continue  # of the places inside a write one at each step is enough
            folder = tmp_path / f"{at}-{number}"
            folder.mkdir()
            how = "exit" if (at + number) % 2 else "kill"
            stops += ended(folder, at, place, part, how)
            check(folder)
    assert stops >= 2 * (steps // SHARES)


def test_capture_killed_again_and_again_is_resumed(tmp_path: Path) -> None:
    """Killed while resuming, too: some calls further each time, until it comes to its end."""
    folder = tmp_path / "f"
    folder.mkdir()
    assert ended(folder, 40, "after", 0.0, "kill")
    for _ in range(100):
        child = os.fork()
        if child == 0:
            try:
                case = case_in(folder)
                Ending(17, "within", 0.5, "kill").install()
                resume(case.journal, case.provider, case.means())
            except BaseException:  # noqa: BLE001  (as above)
                _exit(99)
            _exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL)
        if code == 0 or not (folder / "o.evidence.json.journal" / "records").exists():
            break
    check_out = on_record(folder / "o.evidence.json")
    asked = Counter(sent(folder))
    assert asked["/chat"] == 1
    assert not asked - check_out[0]


def test_capture_killed_can_be_sealed_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    for at in range(30, 70, 7):
        folder = tmp_path / str(at)
        folder.mkdir()
        assert ended(folder, at, "after", 0.0, "kill")
        asked = Counter(sent(folder))
        case = Case(folder=folder)
        result = resume(case.journal, case.provider, case.means(), seal_incomplete=True)
        assert not result.complete
        assert case.network.sent == []
        paths, _ = on_record(case.out)
        assert not asked - paths
        document = json.loads(case.out.read_bytes())
        assert document["statement"]["signatures"]


def test_capture_killed_in_mid_stream_keeps_the_bytes(tmp_path: Path) -> None:
    """The kill falls between two parts of the chat's answer: the first part is in the bundle."""
    folder = tmp_path / "f"
    folder.mkdir()
    child = os.fork()
    if child == 0:
        case = case_in(folder)
        case.network.served["/chat"] = [Stops(CHAT)]
        try:
            run(case)
        finally:
            _exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with Journal.open(folder / "o.evidence.json.journal") as journal:
        cut = journal.answered("chat")
        assert cut is not None
        assert cut.response_body == CHAT[: len(CHAT) // 2]
    case = case_in(folder)
    result = resume(case.journal, case.provider, case.means())
    assert result.complete
    assert not result.whole
    paths, answers = on_record(case.out)
    assert answers == [CHAT[: len(CHAT) // 2]]
    assert paths["/chat"] == 1
    assert Counter(sent(folder))["/chat"] == 1


class Stops(bytes):
    """A body whose second half never comes: the process is killed when it is asked for."""

    def __getitem__(self, part: Any) -> Any:
        if part.start:
            _kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(part)


def test_network_of_these_tests_is_never_a_real_one() -> None:
    assert Network().record.__module__.endswith("capture_case")
