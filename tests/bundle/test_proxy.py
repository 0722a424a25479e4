"""The proxy keeps one verified bundle of each chat that passes, and loses none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import openai
import pytest

from bundle import finishing
from bundle.calls import Scene, Steps
from bundle.journal import JournalError
from bundle.providers.aci import Aci
from bundle.proxy import Options
from bundle.recording import RecordedExchange
from fixtures.simulator.world import Simulator
from tests.bundle.proxy_case import Case, folder_of, proxied, report_of, run
from verify.engine.errors import UsageError

INLINE = Options(processes=0)


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def answered(got: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = got.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_official_client_streaming_and_not_many_at_once_gives_verified_bundles(tmp_path) -> None:
    async def main(case: Case) -> None:
        model = case.simulator.model

        async def streamed(client: openai.AsyncOpenAI, number: int) -> str:
            stream = await client.chat.completions.create(
                model=model, messages=says(f"stream {number}"), stream=True
            )
            found = ""
            async for event in stream:
                found += "".join(choice.delta.content or "" for choice in event.choices)
            return found

        async with openai.AsyncOpenAI(base_url=case.url, api_key="unused", max_retries=0) as client:
            texts = await asyncio.gather(*(streamed(client, number) for number in range(3)))
            assert all(texts)
            whole = await client.chat.completions.create(model=model, messages=says("whole"))
            assert whole.choices[0].message.content

        def synchronous() -> None:
            with openai.OpenAI(base_url=case.url, api_key="unused", max_retries=0) as client:
                stream = client.chat.completions.create(
                    model=model, messages=says("sync"), stream=True
                )
                assert "".join(
                    event.choices[0].delta.content or "" for event in stream if event.choices
                )
                assert client.chat.completions.create(model=model, messages=says("s")).choices

        await asyncio.to_thread(synchronous)
        assert await case.proxy.stop() == 0
        assert len(case.bundles) == len(case.told("bundle")) == 6
        for path in case.bundles:
            report = case.report(path)
            assert report.verdict.value == "VERIFIED", [
                (name, o.reason) for name, o in report.outcomes.items() if o.reason
            ]
        # one attestation before all of them, one after: shared
        assert len(case.told("attested")) == 2
        assert not case.work.exists()

    with_proxy(tmp_path, main)


def test_chats_of_several_signers_and_devices_share_their_attestation(tmp_path) -> None:
    with Simulator("near-direct") as simulator, folder_of(simulator, tmp_path) as signer:

        async def main() -> None:
            async with proxied(simulator, tmp_path, signer, name="near-direct") as case:
                await asyncio.gather(*(case.exchanged(case.ask(str(n))) for n in range(2)))
                assert await case.proxy.stop() == 0
                assert len(case.told("attested")) == 2
                for path in case.bundles:
                    assert case.report(path).verdict.value == "VERIFIED"
                assert len(case.bundles) == 2

        run(main())


def with_proxy(
    tmp_path: Path,
    main: Any,
    *,
    options: Options = INLINE,
    make_provider: Any = None,
    **simulated: Any,
) -> None:
    """Run a test with a proxy before a light provider."""
    with Simulator("aci", **simulated) as simulator, folder_of(simulator, tmp_path) as signer:

        async def whole() -> None:
            async with proxied(
                simulator,
                tmp_path,
                signer,
                name="aci",
                options=options,
                make_provider=make_provider,
            ) as case:
                await main(case)

        run(whole())


def test_client_gets_the_bytes_of_the_bundle(tmp_path) -> None:
    async def main(case: Case) -> None:
        got = await case.exchanged(case.ask(stream=False))
        await case.proxy.stop()
        (path,) = case.bundles
        statement = case.statement(path)
        (chat,) = [one for one in statement.exchanges if one.purpose == "chat"]
        from verify.api import open_unverified

        bodies = open_unverified(path.read_bytes()).evidence.bodies
        assert got.partition(b"\r\n\r\n")[2] == bodies[chat.response.body]

    with_proxy(tmp_path, main)


def test_bundle_is_written_when_the_attestation_is_renewed(tmp_path) -> None:
    async def main(case: Case) -> None:
        await case.exchanged(case.ask("one"))
        await case.until(lambda: len(case.bundles) == 1)
        await case.exchanged(case.ask("two"))
        await case.until(lambda: len(case.bundles) == 2)
        for path in case.bundles:
            bindings = case.statement(path).bindings_of("attested-around")
            assert len(bindings) == 1
            assert case.report(path).verdict.value == "VERIFIED"
        assert case.told("bundle")[0]["complete"]

    with_proxy(tmp_path, main, options=Options(processes=0, refresh_s=0.2))


def test_idle_model_is_not_attested_for_ever(tmp_path) -> None:
    async def main(case: Case) -> None:
        await case.exchanged(case.ask())
        await case.until(lambda: len(case.told("attested")) >= 4)
        before = len(case.told("attested"))
        await asyncio.sleep(0.3)
        assert len(case.told("attested")) <= before + 2

    with_proxy(tmp_path, main, options=Options(processes=0, refresh_s=0.02))


def test_other_paths_pass_unrecorded_and_are_counted(tmp_path) -> None:
    async def main(case: Case) -> None:
        request = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        await case.exchanged(request)
        status, found = answered(
            await case.exchanged(request.replace(b"/v1/models", b"/.teebundle/status"))
        )
        assert status == 200
        assert found["passed_unrecorded"] == 1
        assert found["chats"] == {
            "under_way": 0,
            "finishing": 0,
            "waiting_for_attestation": 0,
            "queue": 256,
        }
        assert await case.proxy.stop() == 0
        assert case.bundles == []
        paths = [one.path for one in case.simulator.journal.requests]
        assert paths == ["/v1/models"]

    with_proxy(tmp_path, main)


def test_model_that_cannot_be_attested_is_refused_and_nothing_is_sent(tmp_path) -> None:
    async def main(case: Case) -> None:
        status, document = answered(await case.exchanged(case.ask()))
        assert status == 503
        assert document["error"]["code"] == "attestation_failed"
        kinds = {one.path for one in case.simulator.journal.requests}
        assert "/v1/chat/completions" not in kinds
        assert case.proxy.status()["models"] == {}
        assert await case.proxy.stop() == 0
        assert case.bundles == []

    with_proxy(tmp_path, main, fault="401", on="attestation")


def test_model_that_cannot_be_attested_is_recorded_where_that_is_wished(tmp_path) -> None:
    async def main(case: Case) -> None:
        status = (await case.exchanged(case.ask(stream=False))).split()[1]
        assert status == b"200"
        assert await case.proxy.stop() == 0
        (event,) = case.told("bundle")
        assert not event["complete"]
        assert any("not attested" in note for note in event["notes"])
        assert case.report(case.bundles[0]).verdict.value == "INCOMPLETE"

    options = Options(processes=0, require=False)
    with_proxy(tmp_path, main, fault="401", on="attestation", options=options)


def test_request_without_model_is_refused_or_takes_the_default(tmp_path) -> None:
    async def main(case: Case) -> None:
        request = case.ask().replace(b'"model"', b'"modal"')
        status, document = answered(await case.exchanged(request))
        assert (status, document["error"]["code"]) == (400, "no_model")

    with_proxy(tmp_path, main)


def test_no_secret_is_ever_on_disk(tmp_path) -> None:
    async def main(case: Case) -> None:
        await asyncio.gather(*(case.exchanged(case.ask(str(number))) for number in range(3)))
        key = case.simulator.api_key.encode()

        def search() -> int:
            files = [path for path in case.out.rglob("*") if path.is_file()]
            for path in files:
                with contextlib.suppress(
                    FileNotFoundError
                ):  # a spool goes once its journal is there
                    assert key not in path.read_bytes(), path
            return len(files)

        await case.until(lambda: len(case.told("attested")) == 1)
        assert search() > 3  # journals of rounds and chats
        await case.proxy.stop()
        assert search() == 3
        sent = [one for one in case.simulator.journal.requests if one.method == "POST"]
        assert len(sent) == 3
        assert all(one.header("authorization") == f"Bearer {key.decode()}" for one in sent)

    with_proxy(tmp_path, main)


class Held(Aci):
    """Look-ups wait for a sign."""

    gate = threading.Event()

    def after_chat(self, scene: Scene, chat: RecordedExchange) -> Steps[None]:
        self.gate.wait(20)
        yield from super().after_chat(scene, chat)


def test_full_queue_holds_new_chats_back_and_drops_none(tmp_path) -> None:
    Held.gate.clear()

    async def main(case: Case) -> None:
        await case.exchanged(case.ask("one"))
        waiting = asyncio.ensure_future(case.exchanged(case.ask("two")))
        await case.until(lambda: case.proxy.status()["chats"]["finishing"] == 1)
        for _ in range(20):
            await asyncio.sleep(0.01)
        posts = [one for one in case.simulator.journal.requests if one.method == "POST"]
        assert len(posts) == 1
        assert not waiting.done()
        Held.gate.set()
        assert (await waiting).startswith(b"HTTP/1.1 200")
        assert await case.proxy.stop() == 0
        assert len(case.bundles) == 2

    options = Options(processes=0, queue=1)
    with_proxy(tmp_path, main, options=options, make_provider=Held)


def test_stop_lets_a_stream_end_and_refuses_new_chats(tmp_path) -> None:
    async def main(case: Case) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", case.port)
        writer.write(case.ask())
        await reader.readuntil(b"data:")
        stopping = asyncio.ensure_future(case.proxy.stop())
        await asyncio.sleep(0)
        with pytest.raises(OSError):
            await case.exchanged(case.ask())
        assert b"[DONE]" in await reader.read()
        writer.transport.abort()
        assert await stopping == 0
        (path,) = case.bundles
        assert case.report(path).verdict.value == "VERIFIED"

    with_proxy(tmp_path, main, pace_s=0.01)


def test_client_that_leaves_gives_an_incomplete_bundle(tmp_path) -> None:
    async def main(case: Case) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", case.port)
        writer.write(case.ask())
        await reader.readuntil(b"data:")
        writer.transport.abort()
        await case.until(lambda: case.proxy.under_way == 0)
        assert await case.proxy.stop() == 0
        (event,) = case.told("bundle")
        assert not event["complete"]
        assert any("client left" in note for note in event["notes"])
        assert not case.statement(case.bundles[0]).capture.complete

    with_proxy(tmp_path, main, pace_s=0.01, size=20_000)


def test_failure_of_one_chat_does_not_stop_the_proxy(tmp_path, monkeypatch) -> None:
    keep = finishing.keep_chat

    def once(setup: Any, chat: Any) -> Path:
        monkeypatch.setattr(finishing, "keep_chat", keep)
        raise JournalError("the disk is full")

    monkeypatch.setattr(finishing, "keep_chat", once)

    async def main(case: Case) -> None:
        await case.exchanged(case.ask("one"))
        await case.until(lambda: bool(case.told("failed")))
        assert "disk is full" in case.told("failed")[0]["what"]
        await case.exchanged(case.ask("two"))
        assert await case.proxy.stop() == 1
        assert len(case.bundles) == 1
        assert len([*case.work.glob("chat-*")]) == 1  # its spool is kept for the next run

    with_proxy(tmp_path, main)


def test_chat_that_cannot_be_recorded_is_not_sent(tmp_path) -> None:
    async def main(case: Case) -> None:
        await case.exchanged(case.ask("one"))
        await case.until(lambda: case.proxy.status()["chats"]["waiting_for_attestation"] == 1)
        hidden = case.work.with_name("hidden")
        case.work.rename(hidden)
        status, document = answered(await case.exchanged(case.ask("two")))
        assert (status, document["error"]["code"]) == (503, "not_recordable")
        hidden.rename(case.work)
        assert await case.proxy.stop() == 0
        assert len(case.bundles) == 1

    with_proxy(tmp_path, main)


def test_two_proxies_do_not_share_a_folder(tmp_path) -> None:
    with Simulator("aci") as simulator, folder_of(simulator, tmp_path) as signer:

        async def main() -> None:
            async with proxied(simulator, tmp_path, signer, name="aci"):
                with pytest.raises(UsageError, match="another proxy"):
                    async with proxied(simulator, tmp_path, signer, name="aci"):
                        pass

        run(main())


@pytest.mark.parametrize("moment", ["streaming", "waiting"])
def test_what_a_killed_proxy_leaves_is_finished_by_the_next(tmp_path, moment) -> None:
    """A copy of the folder, taken in the middle, is what a kill leaves."""
    with (
        Simulator("aci", pace_s=0.01, size=5_000) as simulator,
        folder_of(simulator, tmp_path) as signer,
    ):

        async def main() -> None:
            copy = tmp_path / "copy"
            async with proxied(simulator, tmp_path, signer, name="aci") as case:
                reader, writer = await asyncio.open_connection("127.0.0.1", case.port)
                writer.write(case.ask())
                await reader.readuntil(b"data:")
                if moment == "waiting":
                    await reader.read()
                    status = case.proxy.status
                    await case.until(lambda: status()["chats"]["waiting_for_attestation"] == 1)
                else:
                    file = next(case.work.glob("*.chat"))
                    await case.until(lambda: b"data:" in file.read_bytes())
                shutil.copytree(case.out, copy)
                writer.transport.abort()
            async with proxied(simulator, tmp_path, signer, name="aci", out=copy) as case:
                assert await case.proxy.stop() == 0
                (path,) = case.bundles
                (event,) = case.told("bundle")
                whole = moment == "waiting"
                assert event["complete"] is whole
                if whole:
                    assert case.report(path).verdict.value == "VERIFIED"
                else:
                    assert case.report(path).verdict.value != "VERIFIED"
                    assert any("ended while" in note for note in event["notes"])
                    chat = next(o for o in case.statement(path).exchanges if o.purpose == "chat")
                    assert chat.response is not None
                    assert not chat.response.complete
                assert not case.work.exists()

        run(main())


def test_sealing_in_a_process_survives_its_end(tmp_path) -> None:
    async def main(case: Case) -> None:
        await case.exchanged(case.ask("one"))
        await case.until(lambda: case.proxy.status()["chats"]["waiting_for_attestation"] == 1)
        sealer = case.proxy._sealer
        pid = await case.proxy.loop.run_in_executor(sealer, os.getpid)
        os.kill(pid, 9)
        assert await case.proxy.stop() == 0
        (path,) = case.bundles
        assert report_of(path, case.simulator, case.signer).verdict.value == "VERIFIED"

    with_proxy(tmp_path, main, options=Options(processes=1))
