"""What a proxy does when something is against it: odd paths, full disks, kills, deaf listeners."""

from __future__ import annotations

import asyncio
import resource
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openai
import pytest

from bundle import finishing, relay, spool
from bundle.commands import proxy as command
from bundle.finishing import Sealing, Setup
from bundle.proxy import Options
from bundle.recording import RecordedExchange
from fixtures.simulator.world import Simulator
from tests.bundle.proxy_case import Case, folder_of, proxied, report_of, run
from tests.bundle.test_proxy import INLINE, answered, with_proxy
from tests.bundle.test_proxy_command import events_of, started
from verify.engine.errors import UsageError

NOW = datetime(2026, 6, 10, 12, tzinfo=UTC)


def full(*_: object, **__: object) -> int:
    raise OSError(28, "No space left on device")


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


@pytest.mark.parametrize(
    "path",
    [
        "/v1//chat/completions",
        "/v1/chat%2Fcompletions",
        "//v1/Chat/Completions/",
        "/chat/completions",
    ],
)
def test_no_way_of_writing_the_path_gets_a_chat_past_the_record(tmp_path, path: str) -> None:
    async def main(case: Case) -> None:
        request = case.ask().replace(b"/v1/chat/completions", path.encode())
        assert (await case.exchanged(request)).startswith(b"HTTP/1.1 200")
        assert await case.proxy.stop() == 0
        assert len(case.bundles) == 1
        assert case.proxy.passed == 0
        assert case.report(case.bundles[0]).verdict.value == "VERIFIED"

    with_proxy(tmp_path, main)


def test_chat_refused_on_a_full_disk_leaves_no_file_and_no_open_one(tmp_path, monkeypatch) -> None:
    asked = RecordedExchange(
        purpose="chat", method="POST", url="https://p.example", started_at=NOW, ended_at=NOW
    )
    before = open_files()
    with monkeypatch.context() as patched:
        patched.setattr(spool.os, "write", full)
        with pytest.raises(OSError, match="No space"):
            spool.Spool.create(tmp_path / "chat-1.chat", {}, asked)
    assert open_files() == before
    assert [*tmp_path.iterdir()] == []


def test_long_answer_that_the_disk_did_not_take_is_not_called_whole(tmp_path, monkeypatch) -> None:
    """Of such an answer nothing is held in memory, so the record has a gap."""
    monkeypatch.setattr(relay, "HELD", 1000)
    part, times = spool.Spool.part, []

    def once(self: spool.Spool, data: bytes) -> None:
        times.append(1)
        if len(times) == 1:
            full()
        part(self, data)

    monkeypatch.setattr(spool.Spool, "part", once)

    async def main(case: Case) -> None:
        assert b"[DONE]" in await case.exchanged(case.ask())
        assert await case.proxy.stop() == 0
        assert case.told("disk")
        (event,) = case.told("bundle")
        assert not event["complete"]
        assert any("could not be written" in note for note in event["notes"])

    with_proxy(tmp_path, main, size=5_000)


def test_answer_that_memory_held_is_whole_whatever_the_disk_did(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(spool.Spool, "part", full)

    async def main(case: Case) -> None:
        await case.exchanged(case.ask())
        assert await case.proxy.stop() == 0
        assert case.told("disk")
        assert case.told("bundle")[0]["complete"]
        assert case.report(case.bundles[0]).verdict.value == "VERIFIED"

    with_proxy(tmp_path, main)


def test_answer_too_long_for_memory_is_sealed_from_disk(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(relay, "HELD", 1000)

    async def main(case: Case) -> None:
        got = await case.exchanged(case.ask())
        assert len(got) > 5_000
        assert await case.proxy.stop() == 0
        assert case.report(case.bundles[0]).verdict.value == "VERIFIED"

    with_proxy(tmp_path, main, size=5_000)


def test_bundle_that_cannot_be_written_is_kept_for_the_next_run(tmp_path, monkeypatch) -> None:
    def unwritable(path: Path, _data: bytes) -> None:
        message = f"{path}: cannot write there: No space left on device"
        raise UsageError(message)

    with Simulator("aci") as simulator, folder_of(simulator, tmp_path) as signer:

        async def main() -> None:
            with monkeypatch.context() as patched:
                patched.setattr(finishing, "write_new", unwritable)
                async with proxied(simulator, tmp_path, signer, name="aci") as case:
                    await case.exchanged(case.ask())
                    assert await case.proxy.stop() == 1
                    (event,) = case.told("failed")
                    assert "No space left" in event["what"]
                    assert event["kept"].startswith(str(case.work / "chat-"))
                    assert case.bundles == []
            async with proxied(simulator, tmp_path, signer, name="aci") as case:
                assert await case.proxy.stop() == 0
                (path,) = case.bundles
                assert case.report(path).verdict.value == "VERIFIED"

        run(main())


def test_start_leaves_chats_alone_that_begin_meanwhile(tmp_path, monkeypatch) -> None:
    """What comes while an earlier run's chats are read belongs to this run."""
    found = finishing.rounds_left

    def during(setup: Setup, folders: Any) -> Any:
        (setup.work / "chat-live.chat").write_bytes(b"")
        (setup.work / "round-live").mkdir()
        return found(setup, folders)

    monkeypatch.setattr(finishing, "rounds_left", during)

    async def main(case: Case) -> None:
        assert (case.work / "chat-live.chat").exists()
        assert case.events == []

    with_proxy(tmp_path, main)


def test_chat_of_an_earlier_run_that_cannot_be_read_stops_no_start(tmp_path) -> None:
    work = tmp_path / "out" / ".teebundle-proxy"

    async def main(case: Case) -> None:
        await case.until(lambda: len(case.told("failed")) == 2)
        assert {Path(event["kept"]).name for event in case.told("failed")} == {"chat-1", "chat-2"}
        await case.exchanged(case.ask())
        assert await case.proxy.stop() == 2
        assert len(case.bundles) == 1

    with Simulator("aci") as simulator, folder_of(simulator, tmp_path) as signer:
        (work / "chat-1.chat").mkdir(parents=True)
        (work / "chat-2").mkdir()
        (work / "chat-3.chat").write_bytes(b"R 000000ff\n{")

        async def whole() -> None:
            async with proxied(simulator, tmp_path, signer, name="aci") as case:
                await main(case)

        run(whole())


def test_models_without_attestation_are_not_asked_for_it_with_every_chat(tmp_path) -> None:
    async def main(case: Case) -> None:
        for _ in range(4):
            assert (await case.exchanged(case.ask())).startswith(b"HTTP/1.1 200")
        assert len(case.told("not-attested")) == 1
        assert await case.proxy.stop() == 0
        assert len(case.bundles) == 4

    options = Options(processes=0, require=False)
    with_proxy(tmp_path, main, fault="401", on="attestation", options=options)


def test_listener_that_fails_stops_nothing(tmp_path) -> None:
    async def main(case: Case) -> None:
        def deaf(_event: object) -> None:
            raise RuntimeError

        case.proxy._hear = deaf
        assert (await case.exchanged(case.ask())).startswith(b"HTTP/1.1 200")
        assert await case.proxy.stop() == 0
        assert len(case.bundles) == 1

    with_proxy(tmp_path, main)


def test_more_clients_than_wished_are_sent_away(tmp_path) -> None:
    async def main(case: Case) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", case.port)
        await case.until(lambda: len(case.proxy.relay.clients) == 1)
        status, document = answered(await case.exchanged(b""))
        assert (status, document["error"]["code"]) == (503, "too_many_connections")
        writer.transport.abort()

    with_proxy(tmp_path, main, options=Options(processes=0, most_clients=1))


@pytest.mark.parametrize("fault", [None, "tsa-reject"])
def test_bundles_are_stamped_before_they_are_written(tmp_path, fault) -> None:
    async def main(case: Case) -> None:
        await case.exchanged(case.ask())
        assert await case.proxy.stop() == 0
        (path,) = case.bundles
        report = case.report(path)
        assert report.verdict.value == "VERIFIED"
        (event,) = case.told("bundle")
        fact: Any = report.outcomes["time.bracket"].fact
        stamped = fact.level.value == "upper" and fact.not_after is not None
        told = any("no timestamp" in note for note in event["notes"])
        assert (stamped, told) == ((True, False) if fault is None else (False, True))

    setting = {} if fault is None else {"fault": fault}
    with (
        Simulator("aci", **setting) as simulator,
        folder_of(simulator, tmp_path) as signer,
    ):

        async def whole() -> None:
            async with proxied(
                simulator, tmp_path, signer, name="aci", options=INLINE, stamped=True
            ) as case:
                await main(case)

        run(whole())


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ("../../etc/passwd", "20260610T120000.000Z-.._.._etc_passwd"),
        ("\x1b]0;x\x07\u202e", "20260610T120000.000Z-__0_x__"),
        (None, "20260610T120000.000Z-no-id"),
        ("a" * 500, "20260610T120000.000Z-" + "a" * 80),
    ],
)
def test_chat_id_makes_a_harmless_name_and_a_second_one_another(tmp_path, found, name) -> None:
    first = finishing._free(tmp_path, NOW, found)
    assert first == tmp_path / f"{name}.evidence.json"
    first.write_bytes(b"")
    assert finishing._free(tmp_path, NOW, found) == tmp_path / f"{name}-2.evidence.json"


def test_sealing_process_without_its_key_says_so_with_each_chat(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(finishing, "_held", [])
    monkeypatch.setattr(finishing, "_unready", [])
    monkeypatch.setattr(finishing.signal, "signal", lambda *_: None)
    finishing.prepare(
        Sealing(
            provider="aci",
            profile="aci",
            base_url="https://p.example",
            operator="o",
            out=tmp_path,
            keys=(tmp_path / "gone.key",),
        )
    )
    job = finishing.job_of(tmp_path, None, None, "")
    with pytest.raises(UsageError, match=r"gone\.key"):
        finishing.seal_prepared(job)


# --- the command ------------------------------------------------------------------------------


def asked(url: str, model: str) -> None:
    with openai.OpenAI(base_url=url, api_key="unused", max_retries=0) as client:
        message: Any = {"role": "user", "content": "hi"}
        assert client.chat.completions.create(model=model, messages=[message]).choices


def running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def test_processes_of_a_killed_proxy_end_with_it(tmp_path) -> None:
    with Simulator("aci") as simulator, folder_of(simulator, tmp_path):
        with started(tmp_path, simulator) as (process, url):
            asked(url, simulator.model)
            tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
            children = [int(pid) for task in tasks for pid in task.read_text().split()]
            assert children
            process.kill()
            process.wait()

            async def gone() -> None:
                while any(running(pid) for pid in children):  # noqa: ASYNC110  (sets no event)
                    await asyncio.sleep(0.02)

            run(gone())


def test_reader_of_events_that_went_away_ends_no_proxy(tmp_path) -> None:
    with Simulator("aci") as simulator, folder_of(simulator, tmp_path) as signer:
        with started(tmp_path, simulator) as (process, url):
            assert process.stdout is not None
            process.stdout.close()
            asked(url, simulator.model)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
        (path,) = (tmp_path / "out").glob("*.evidence.json")
        assert report_of(path, simulator, signer).verdict.value == "VERIFIED"


def test_signals_at_any_moment_of_the_start_are_obeyed(tmp_path) -> None:
    with Simulator("aci") as simulator, folder_of(simulator, tmp_path):
        with started(tmp_path, simulator) as (process, _url):
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
        assert [event["event"] for event in events_of(out)] == ["stopping", "stopped"]


@pytest.mark.parametrize(
    ("context", "line"),
    [
        (
            {"message": "accept failed", "exception": OSError(24, "Too many")},
            "accept failed: Too many",
        ),
        (
            {"message": "m", "exception": ValueError("sk-secret")},
            "unexpected ValueError in the proxy: m; please report it",
        ),
        ({"message": "m"}, "unexpected trouble in the proxy: m; please report it"),
    ],
)
def test_what_nobody_foresaw_is_one_line(context: dict[str, object], line: str) -> None:
    assert command.unforeseen(context) == line


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ((1024, 4096), 4096),
        ((1024, 1 << 20), 8192),
        ((65536, 1 << 20), 65536),
        ((1024, resource.RLIM_INFINITY), 8192),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 8192),
    ],
)
def test_limit_of_open_files_is_raised_and_never_lowered(monkeypatch, limits, allowed) -> None:
    stated: list[tuple[int, int]] = []
    monkeypatch.setattr(command.resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(command.resource, "setrlimit", lambda _, found: stated.append(found))
    assert command.files_allowed() == allowed
    assert stated in ([], [(allowed, limits[1])])
