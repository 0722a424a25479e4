"""Rarer ways through the proxy, its rounds and its relay: refusals, stops, unforeseen trouble."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundle import finishing, spool
from bundle.bounds import Bounds
from bundle.calls import Attested, Scene, Steps
from bundle.finishing import Ended, Sealing, Setup
from bundle.journal import CaptureError, Journal
from bundle.keys import write_pair
from bundle.providers import provider
from bundle.providers.aci import Aci
from bundle.proxy import Options, _Asking, _model_of, _said, api_base, chat_path
from bundle.recording import Failure, RecordedExchange
from bundle.relay import Asked, Refused
from bundle.seal import SealError
from fixtures.simulator.tls import authority
from fixtures.simulator.world import Simulator
from tests.bundle import proxy_case, test_relay
from tests.bundle.proxy_case import Case, folder_of, proxied, run
from tests.bundle.relay_case import Service, Turn, bench, chat
from tests.bundle.test_proxy import INLINE, answered, with_proxy
from tests.bundle.test_proxy_spool import AT, BEGUN, ENDED, HEAD
from verify.engine.errors import UsageError

LEFT = Failure(trouble="cut", what="the client left")


def chat_of(case: Case, **changes: Any) -> Asked:
    document = {"model": case.simulator.model, "messages": [], **changes}
    path = "/v1/chat/completions"
    body = json.dumps(document).encode()
    return Asked(method="POST", path=path, target=path, headers=(), body=body)


# --- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/api/v1/chat/completions", "https://p.example/api/v1"),
        ("/v1/completions", "https://p.example/v1"),
        ("/completion", "https://p.example"),
        ("/elsewhere", "https://p.example"),
    ],
)
def test_address_of_the_api_is_that_of_the_chats(path: str, base: str) -> None:
    assert api_base("https://p.example", path) == base


def test_provider_that_says_no_path_has_the_common_one() -> None:
    class Other:
        name = "other"

    other: Any = Other()
    assert chat_path(other, "https://p.example", {}) == "/v1/chat/completions"


def test_asking_for_an_address_has_no_nonce_and_no_collateral() -> None:
    scene = _Asking(base_url="https://p.example", options={})
    with pytest.raises(NotImplementedError, match=r"attest-1"):
        scene.nonce("attest-1")
    with pytest.raises(NotImplementedError, match="c1"):
        scene.collateral("c1", ())


def test_chats_go_to_the_common_place_until_their_model_is_attested(tmp_path) -> None:
    async def main(case: Case) -> None:
        model = case.simulator.model
        common = f"{case.simulator.base_url}/v1/chat/completions"
        assert case.proxy.chat_url(None) == case.proxy.chat_url(model) == common
        assert await case.proxy.attest(model) == ""
        assert case.proxy.chat_url(model) == common
        assert await case.proxy.attest(model) == ""
        assert len(case.told("attested")) == 1
        assert await case.proxy.attest(model, anew=True) == ""
        assert len(case.told("attested")) == 2

    with_proxy(tmp_path, main)


def test_model_that_cannot_be_attested_is_told_why(tmp_path) -> None:
    async def main(case: Case) -> None:
        assert "401" in await case.proxy.attest(case.simulator.model)
        assert len(case.told("not-attested")) == 1

    with_proxy(tmp_path, main, fault="401", on="attestation")


# --- admission --------------------------------------------------------------------------------


def test_chat_that_another_carries_is_let_through_or_given_up(tmp_path) -> None:
    async def main(case: Case) -> None:
        asked = chat_of(case)
        assert await case.proxy.admit(replace(asked, method="GET")) is None
        assert await case.proxy.admit(replace(asked, path="/v1/embeddings")) is None
        assert case.proxy.passed == 2
        ticket = await case.proxy.admit(asked)
        assert ticket is not None
        assert case.proxy.under_way == 1
        path = ticket.file.path
        assert path.is_file()
        ticket.abandoned(LEFT)
        assert not path.exists()
        assert case.proxy.under_way == 0
        (event,) = case.told("not-sent")
        assert event["what"] == "the client left"
        assert await case.proxy.stop() == 0
        assert case.bundles == []

    with_proxy(tmp_path, main)


def test_service_out_of_reach_leaves_no_chat(tmp_path) -> None:
    async def main(case: Case) -> None:
        assert await case.proxy.attest(case.simulator.model) == ""
        case.simulator.provider.__exit__(None, None, None)
        status, document = answered(await case.exchanged(case.ask()))
        assert (status, document["error"]["code"]) == (502, "unreachable")
        (event,) = case.told("not-sent")
        assert "cannot be reached" in event["what"]
        assert [*case.work.glob("chat-*")] == []

    with Simulator("aci") as simulator, folder_of(simulator, tmp_path) as signer:

        async def whole() -> None:
            async with proxied(simulator, tmp_path, signer, name="aci", options=INLINE) as case:
                await main(case)

        run(whole())


@pytest.mark.parametrize("model", ["", "m" * 257, "a\nb", 5, None])
def test_model_that_is_no_name_is_refused(tmp_path, model: object) -> None:
    async def main(case: Case) -> None:
        with pytest.raises(Refused) as refused:
            await case.proxy.admit(chat_of(case, model=model))
        assert (refused.value.status, refused.value.code) == (400, "no_model")
        assert case.events == []

    with_proxy(tmp_path, main)


@pytest.mark.parametrize("body", [b"\xff", b"[" * 100_000, b"[]"])
def test_request_that_names_no_model_takes_the_default(tmp_path, body: bytes) -> None:
    async def main(case: Case) -> None:
        ticket = await case.proxy.admit(replace(chat_of(case), body=body))
        assert ticket is not None
        assert ticket.line.model == "aci-default"

    options = Options(processes=0, model="aci-default", require=False)
    with_proxy(tmp_path, main, options=options, fault="401", on="attestation")


def test_large_request_is_read_beside_the_loop(tmp_path) -> None:
    async def main(case: Case) -> None:
        ticket = await case.proxy.admit(chat_of(case, user="x" * (300 << 10)))
        assert ticket is not None
        assert ticket.line.model == case.simulator.model

    with_proxy(tmp_path, main)


def test_chat_that_waits_for_room_is_refused_when_the_proxy_stops(tmp_path) -> None:
    async def main(case: Case) -> None:
        case.proxy._finishing = 1
        waiting = asyncio.ensure_future(case.proxy.admit(chat_of(case)))
        await asyncio.sleep(0)
        assert not waiting.done()
        stopping = asyncio.ensure_future(case.proxy.stop())
        with pytest.raises(Refused) as refused:
            await waiting
        assert (refused.value.status, refused.value.code) == (503, "stopping")
        assert await stopping == 0

    with_proxy(tmp_path, main, options=Options(processes=0, queue=1))


# --- starting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", ["folder", "port"])
def test_proxy_that_cannot_start_says_why(tmp_path, trouble: str) -> None:
    async def main(case: Case) -> None:
        await case.proxy.break_off()
        assert not case.work.exists()
        case.out.rmdir()
        case.out.write_bytes(b"")
        with pytest.raises(UsageError, match="cannot be made or written: Not a directory"):
            await case.proxy.start(None)

    async def taken(case: Case) -> None:
        await case.proxy.break_off()
        listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        try:
            with pytest.raises(UsageError, match=rf"cannot listen on 127\.0\.0\.1:{port}: "):
                await case.proxy.start("127.0.0.1", port)
        finally:
            listening.close()

    with_proxy(tmp_path, main if trouble == "folder" else taken)


def test_provider_whose_chats_cannot_be_recorded_makes_no_proxy(tmp_path) -> None:
    async def main(_case: Case) -> None:
        raise AssertionError

    with pytest.raises(UsageError, match="its chats cannot be recorded here"):
        with_proxy(tmp_path, main, make_provider=lambda: provider("chutes"))


# --- rounds -----------------------------------------------------------------------------------


class Broken(Aci):
    """Attesting goes wrong as nobody foresaw."""

    def before(self, scene: Scene) -> Steps[Attested]:
        raise ValueError(scene.base_url)
        yield


def test_unforeseen_trouble_of_a_round_refuses_the_chat_and_repeats_no_word(tmp_path) -> None:
    async def main(case: Case) -> None:
        with pytest.raises(Refused) as refused:
            await case.proxy.admit(chat_of(case))
        assert refused.value.code == "attestation_failed"
        (event,) = case.told("not-attested")
        assert event["what"] == "unexpected ValueError; please report it"
        assert await case.proxy.stop() == 0

    with_proxy(tmp_path, main, make_provider=Broken)


def test_second_round_without_an_attestation_is_of_no_use(tmp_path) -> None:
    class Fading(Aci):
        def after(self, scene: Scene, before: Attested) -> Steps[Attested]:
            found = yield from super().after(scene, before)
            return replace(found, usable=False, note="")

    async def main(case: Case) -> None:
        model = case.simulator.model
        assert await case.proxy.attest(model) == ""
        assert await case.proxy.attest(model, anew=True) == "aci gave no attestation"

    with_proxy(tmp_path, main, make_provider=Fading)


def test_waiting_ends_with_the_proxy(tmp_path) -> None:
    async def main(case: Case) -> None:
        setup = case.proxy.setup
        setup.sleep(0)
        threading.Timer(0.01, setup.halt.set).start()
        with pytest.raises(CaptureError, match="the proxy was stopped"):
            setup.sleep(20)

    with_proxy(tmp_path, main)


def test_series_ends_after_an_hour(tmp_path) -> None:
    async def main(case: Case) -> None:
        setup, model = case.proxy.setup, case.simulator.model
        made = await asyncio.to_thread(
            finishing.make_round, setup, provider("aci"), model, "round-a", None
        )
        next_one = await asyncio.to_thread(
            finishing.make_round, setup, provider("aci"), model, "round-b", made
        )
        assert (next_one.series, next_one.number) == ("round-a", 2)
        old = replace(made, series_began_at=made.series_began_at - finishing.SERIES)
        later = await asyncio.to_thread(
            finishing.make_round, setup, provider("aci"), model, "round-c", old
        )
        assert (later.series, later.number) == ("round-c", 1)
        folders = [setup.work / name for name in ("round-a", "round-b", "round-c", "gone")]
        back = finishing.rounds_left(setup, folders)
        assert sorted(back) == ["round-a", "round-b", "round-c"]
        assert back["round-b"].trouble == ""
        assert back["round-b"].material == back["round-a"].collateral

    with_proxy(tmp_path, main)


# --- chats ------------------------------------------------------------------------------------


def kept(setup: Setup, **changes: Any) -> Path:
    recorded = replace(ENDED, response_body=b"data: 1\n\n", **changes)
    chat = Ended(name="chat-a", model="m", before=None, recorded=recorded)
    return finishing.keep_chat(setup, chat)


class Unsure(Aci):
    """Looking up goes wrong in a way that a person can mend."""

    def after_chat(self, scene: Scene, chat: RecordedExchange) -> Steps[None]:
        raise UsageError(f"{scene.model}: {chat.status}: no such address")
        yield


def test_look_up_that_cannot_be_made_is_noted_with_the_chat(tmp_path) -> None:
    async def main(case: Case) -> None:
        setup = case.proxy.setup
        folder = kept(setup, request_body=None)
        assert finishing.look_up(setup, Unsure(), folder) == "m: 200: no such address"
        with Journal.open(folder) as journal:
            assert journal.notes[-1] == ("warning", "m: 200: no such address")

    with_proxy(tmp_path, main)


def test_chat_without_an_answer_is_kept_as_it_failed(tmp_path) -> None:
    async def main(case: Case) -> None:
        setup = case.proxy.setup
        failed = RecordedExchange(
            purpose="chat", method="POST", url=HEAD.url, started_at=AT, ended_at=AT,
            complete=False, failure=LEFT,
        )  # fmt: skip
        chat = Ended(name="chat-a", model="m", before=None, recorded=failed)
        with Journal.open(finishing.keep_chat(setup, chat)) as journal:
            found = journal.answered("chat")
        assert found is not None
        assert (found.status, found.failure) == (None, failed.failure)

    with_proxy(tmp_path, main)


def test_journal_without_a_chat_is_neither_looked_up_nor_sealed(tmp_path) -> None:
    async def main(case: Case) -> None:
        setup = case.proxy.setup
        folder = setup.work / "chat-none"
        plan = setup.plan("m", chat=True, settings={"kind": "chat"})
        Journal.create(folder, plan, secrets=()).close()
        assert finishing.look_up(setup, provider("aci"), folder) == "no chat was recorded"
        job = finishing.job_of(folder, None, None, "")
        with pytest.raises(UsageError, match="chat-none: holds no chat"):
            finishing.seal_chat(job, case.proxy.sealing, ())
        assert folder.is_dir()

    with_proxy(tmp_path, main)


def test_chat_of_an_earlier_run_with_another_key_is_left_as_it_is(tmp_path) -> None:
    with Simulator("aci") as simulator, folder_of(simulator, tmp_path) as signer:

        async def main() -> None:
            async with proxied(simulator, tmp_path, signer, name="aci") as case:
                strange = replace(case.proxy.setup, provider="venice")
                folder = kept(strange)
            async with proxied(simulator, tmp_path, signer, name="aci") as case:
                (event,) = case.told("failed")
                assert event["what"].startswith("was recorded for another provider or key")
                assert event["kept"] == str(folder)
                assert await case.proxy.stop() == 1
            assert folder.is_dir()

        run(main())


def test_chat_of_an_earlier_run_that_ended_is_sealed(tmp_path) -> None:
    """Its spool is there in whole: the proxy was killed before the journal was made."""
    with Simulator("aci") as simulator, folder_of(simulator, tmp_path) as signer:
        work = tmp_path / "out" / proxy_case.WORK
        work.mkdir()
        made = spool.Spool.create(work / "chat-1.chat", {"model": "m", "before": None}, BEGUN)
        made.head(replace(HEAD, tls=None))
        made.part(b"data: 1\n\n")
        made.end(replace(ENDED, tls=None))
        made.close()

        async def main() -> None:
            async with proxied(simulator, tmp_path, signer, name="aci") as case:
                assert await case.proxy.stop() == 0, case.told("failed")
                (event,) = case.told("bundle")
                assert event["status"] == 200
                assert not event["complete"]
                assert "not attested before" in event["notes"]
                assert len(case.bundles) == 1
            assert not work.exists()

        run(main())


def test_process_is_prepared_once_for_all_chats(tmp_path, monkeypatch) -> None:
    """Nothing of a chat is needed for it, and the keys are read before one is there."""
    monkeypatch.setattr(finishing, "_held", [])
    monkeypatch.setattr(finishing, "_unready", [])
    monkeypatch.setattr(finishing.signal, "signal", lambda *_: None)
    ends: list[object] = []
    parent = type("Parent", (), {"sentinel": 7})
    monkeypatch.setattr(finishing.multiprocessing, "parent_process", parent)
    monkeypatch.setattr(finishing, "_end_with", ends.append)
    write_pair(tmp_path / "k", proxy_case.generate(), None)
    sealing = Sealing(
        provider="aci", profile="aci", base_url="https://p.example", operator="o", out=tmp_path,
        keys=(tmp_path / "k" / "signer.key",),
    )  # fmt: skip
    finishing.prepare(sealing)
    (tmp_path / "k" / "signer.key").unlink()
    sealed: list[tuple[Any, ...]] = []
    monkeypatch.setattr(finishing, "seal_chat", lambda *words: sealed.append(words))
    job = finishing.job_of(tmp_path, None, None, "")
    finishing.seal_prepared(job)
    ((given, told, signers),) = sealed
    assert (given, told, len(signers)) == (job, sealing, 1)
    assert ends == [7]


def test_process_ends_with_the_one_that_made_it(monkeypatch) -> None:
    ended: list[object] = []
    monkeypatch.setattr(finishing, "wait", ended.append)
    monkeypatch.setattr(finishing.os, "_exit", ended.append)
    finishing._end_with(7)
    assert ended == [[7], 0]


def test_names_of_bundles_run_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _path: True)
    with pytest.raises(UsageError, match="ten thousand bundles of one chat id and instant"):
        finishing._free(tmp_path, AT, "chat-1")


def test_members_without_a_value_are_left_out_of_a_line() -> None:
    told = {"event": "bundle", "id": None, "what": "", "notes": [], "size": 0, "complete": False}
    line = finishing.told_line({**told, "model": "é\u2028"})
    assert json.loads(line) == {
        "event": "bundle", "size": 0, "complete": False, "model": "é\u2028"
    }  # fmt: skip
    assert line.isascii()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UsageError("u"), "u"),
        (SealError("s"), "s"),
        (OSError(28, "No space left"), "[Errno 28] No space left"),
        (KeyError("sk-secret"), "unexpected KeyError; please report it"),
    ],
)
def test_error_is_said_in_words_only_where_they_are_known(error: Exception, said: str) -> None:
    assert _said(error) == said


# --- relay ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        b"HTTP/1.1 407 Proxy Authentication Required\r\nA: b\r\n\r\n",
        b"SSH-2.0 200\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * (70 << 10),
        b"HTTP/1.1 200 O",
        b"",
    ],
    ids=["403", "407", "ssh", "short", "endless", "cut", "closed"],
)
def test_proxy_that_makes_no_tunnel_gets_no_request(tmp_path, answer: bytes) -> None:
    (tmp_path / "ca.pem").write_bytes(authority("relay").pem)
    asked: list[bytes] = []

    async def between(turn: Turn) -> None:
        asked.append(turn.head)
        await turn.send(answer)
        turn.writer.close()

    async def main() -> None:
        async with (
            Service(between) as proxy,
            bench(
                "https://[::1]:1/v1",
                ca_file=tmp_path / "ca.pem",
                proxy="http://" + proxy.base.split("/")[2],
            ) as to,
        ):
            got = await test_relay.exchanged(to, chat())
            status, document = test_relay.answered(got)
            assert (status, document["error"]["code"]) == (502, "unreachable")
            assert "the proxy makes no tunnel to the service" in document["error"]["message"]
            (ticket,) = to.tickets
            assert ticket.why is not None
            assert ticket.recorded is None
        assert len(asked) == 1
        assert asked[0].startswith(b"CONNECT [::1]:1 HTTP/1.1\r\nHost: [::1]:1\r\n")

    run(main())


def test_answer_that_takes_too_long_is_ended(tmp_path) -> None:
    """However busy the service is: it keeps sending."""
    bounds = Bounds(connect_s=2.0, idle_s=30.0, total_s=0.15, body=1 << 20)

    async def script(turn: Turn) -> None:
        await turn.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await turn.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.01)

    async def main() -> None:
        async with Service(script) as service, bench(service.base, bounds=bounds) as to:
            got = await test_relay.exchanged(to, chat())
            assert got.startswith(b"HTTP/1.1 200")
            assert not got.endswith(b"0\r\n\r\n")
            recorded = to.tickets[0].recorded
            assert recorded is not None
            assert recorded.failure is not None
            assert recorded.failure.trouble == "timeout"
            assert recorded.failure.what == "the answer took longer than 0.15 s"
            assert not recorded.complete

    run(main())


def test_what_came_is_kept_while_more_is_waited_for() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(test_relay.chunked(b"ab", end=b""))
        await turn.reader.read()

    async def main() -> None:
        async with Service(script) as service, bench(service.base, flush_s=0.02) as to:
            client = await to.client()
            await client.ask(chat())
            await client.reader.readuntil(b"ab\r\n")
            await to.tickets[0].some.wait()
            assert to.tickets[0].parts == [b"ab"]
            assert to.tickets[0].recorded is None

    run(main())


def test_answer_that_switches_protocols_is_refused() -> None:
    async def script(turn: Turn) -> None:
        await turn.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
        )

    async def main() -> None:
        async with Service(script) as service, bench(service.base) as to:
            got = await test_relay.exchanged(to, chat())
            assert got.startswith(b"HTTP/1.1 502")
            recorded = to.tickets[0].recorded
            assert recorded is not None
            assert recorded.failure is not None
            assert recorded.failure.trouble == "not-http"

    run(main())


def test_brackets_of_a_request_do_not_decide_how_deep_the_stack_grows() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # as a library of the second opinion does when it is imported
    try:
        assert _model_of(b"[" * 1_000_000) is None
        assert _model_of(b'{"model":"m","deep":' + b"[" * 100_000) is None
        assert _model_of(b'{"model":"m"}') == "m"
        assert _model_of(b'{"model":"m","model":"n"}') is None
    finally:
        sys.setrecursionlimit(before)
