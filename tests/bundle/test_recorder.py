"""An application records itself: its chats, unaltered, become bundles that verify."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import bundle
from bundle import Recorder, RecordingError, RecordingWarning, finishing, spool
from bundle.inprocess import AsyncRecordingTransport, Leave, RecordingTransport
from bundle.journal import CaptureError
from bundle.keys import FileSigner, generate, key_id, write_pair
from bundle.proxy import WORK, Proxy
from bundle.recording import RecordedExchange
from fixtures.simulator.world import Simulator
from verify.api import open_unverified, verify_bundle
from verify.engine.asof import AsOf
from verify.engine.errors import UsageError
from verify.engine.report import Report
from verify.policy.loader import load_policy
from verify.trust.file import read_signer, read_trust_file
from verify.trust.store import TrustStore


class Case:
    """A simulated provider and a folder for one recorder."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        self.simulator = simulator
        self.folder = folder
        self.signer: FileSigner = generate()
        write_pair(folder / "k", self.signer, None)
        (folder / "ca.pem").write_bytes(simulator.ca_pem)
        (folder / "policy.yaml").write_bytes(
            simulator.policy(key_id(self.signer.spki()), marked=False)
        )
        (folder / "trust.json").write_bytes(simulator.trust)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def model(self) -> str:
        return self.simulator.model

    @property
    def files(self) -> list[Path]:
        return sorted(self.out.rglob("*")) if self.out.exists() else []

    def recorder(self, **given: Any) -> Recorder:
        simulator = self.simulator
        named: dict[str, Any] = {
            "model": self.model,
            "key": self.folder / "k" / "signer.key",
            "out": self.out,
            "api_key": simulator.api_key,
            "base_url": simulator.base_url,
            "ca_file": self.folder / "ca.pem",
            "endpoints": simulator.endpoints,
            "options": simulator.options,
            **given,
        }
        return Recorder(simulator.world.provider, **named)

    def client(self, recorder: Recorder, **given: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=recorder.base_url,
            api_key=self.simulator.api_key,
            http_client=httpx.Client(transport=recorder.transport()),
            max_retries=0,
            **given,
        )

    def report(self, path: Path) -> Report:
        own = read_signer(self.signer.public_pem())
        return verify_bundle(
            path.read_bytes(),
            policy=load_policy((self.folder / "policy.yaml").read_bytes()),
            trust=TrustStore.build(files=[read_trust_file(self.simulator.trust)], signers=[own]),
            as_of=AsOf.capture(),
        )

    def verified(self, recorder: Recorder, count: int) -> None:
        assert len(recorder.bundles) == count
        assert recorder.troubles == ()
        for done in recorder.bundles:
            report = self.report(done.path)
            assert report.verdict.value == "VERIFIED", [
                (name, o.reason) for name, o in report.outcomes.items() if o.reason
            ]
        assert [p for p in self.files if p.is_file()] == sorted(d.path for d in recorder.bundles)


CUT = (httpx.TransportError, openai.APIConnectionError)
LONG = pytest.mark.parametrize("case", [{"size": 300_000}], indirect=True)
"""An answer that no single read takes in."""


def says(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def text_of(stream: Any) -> str:
    return "".join(c.delta.content or "" for event in stream for c in event.choices or ())


@pytest.fixture
def case(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Case]:
    given = dict(getattr(request, "param", {}))
    with Simulator(given.pop("provider", "aci"), **given) as simulator:
        yield Case(simulator, tmp_path)


@pytest.mark.parametrize(
    "case", [{"provider": name} for name in ("aci", "near-direct", "ionet")], indirect=True
)
def test_official_client_streaming_and_not_gives_verified_bundles(case: Case) -> None:
    with case.recorder() as recorder, case.client(recorder) as client:
        stream = client.chat.completions.create(model=case.model, messages=says("one"), stream=True)
        assert text_of(stream)
        whole = client.chat.completions.create(model=case.model, messages=says("two"))
        assert whole.choices[0].message.content
        assert recorder.bundles == ()
    case.verified(recorder, 2)


@pytest.mark.parametrize(
    "case",
    [
        {"provider": name}
        for name in ("nanogpt", "near-gateway", "phala", "dstack", "redpill", "venice", "tinfoil")
    ],
    indirect=True,
)
def test_stream_of_every_other_provider_gives_a_verified_bundle(case: Case) -> None:
    more: dict[str, Any] = {}
    if case.simulator.world.provider == "near-gateway":  # else it is the gateway's own signature
        more["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
    with case.recorder() as recorder, case.client(recorder) as client:
        stream = client.chat.completions.create(
            model=case.model, messages=says("one"), stream=True, extra_body=more
        )
        assert text_of(stream)
    case.verified(recorder, 1)


@pytest.mark.parametrize("case", [{"provider": "chutes"}], indirect=True)
def test_provider_whose_chats_cannot_be_recorded_is_refused(case: Case) -> None:
    with pytest.raises(UsageError, match="cannot be recorded here"):
        with case.recorder():
            pytest.fail("it began")
    assert not case.out.exists()


def bodies_of(path: Path) -> tuple[bytes, bytes | None]:
    """The chat's request and answer as a bundle holds them."""
    evidence = open_unverified(path.read_bytes()).evidence
    (chat,) = [one for one in evidence.statement.exchanges if one.purpose == "chat"]
    answer = None if chat.response is None else chat.response.body
    return evidence.bodies[chat.request.body], None if answer is None else evidence.bodies[answer]


def test_public_names_are_loaded_from_the_package() -> None:
    assert bundle.Recorder is Recorder
    assert issubclass(bundle.RecordingWarning, UserWarning)
    assert issubclass(bundle.RecordingError, CaptureError)


def test_bytes_are_those_of_the_wire_and_of_the_bundle(case: Case) -> None:
    body = b'{ "model":"%b","stream" : true,"messages":[{"role":"user","content":"\xc3\xa9"}]}'
    body %= case.model.encode()
    with case.recorder() as recorder, httpx.Client(transport=recorder.transport()) as client:
        with client.stream(
            "POST",
            recorder.base_url + "/chat/completions",
            content=body,
            headers={"Authorization": f"Bearer {case.simulator.api_key}"},
        ) as response:
            assert response.status_code == 200
            got = b"".join(response.iter_raw())
    (done,) = recorder.bundles
    assert bodies_of(done.path) == (body, got)
    (seen,) = [one for one in case.simulator.journal.requests if b"messages" in one.body]
    assert seen.body == body
    case.verified(recorder, 1)


@LONG
def test_answer_is_not_held_back(case: Case) -> None:
    with case.recorder() as recorder, case.client(recorder) as client:
        stream = client.chat.completions.create(model=case.model, messages=says("a"), stream=True)
        assert next(iter(stream)).id
        assert recorder._proxy is not None
        assert recorder._proxy.under_way == 1
        assert text_of(stream)
    case.verified(recorder, 1)


def test_several_threads_share_a_recorder(case: Case) -> None:
    texts: list[str] = []

    def talk(client: openai.OpenAI, number: int) -> None:
        for turn in range(2):
            stream = client.chat.completions.create(
                model=case.model, messages=says(f"{number}.{turn}"), stream=True
            )
            texts.append(text_of(stream))

    with case.recorder() as recorder, case.client(recorder) as one, case.client(recorder) as two:
        threads = [
            threading.Thread(target=talk, args=(client, number))
            for number, client in enumerate((one, one, two))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(texts) == 6
    assert all(texts)
    case.verified(recorder, 6)
    asked = {bodies_of(done.path)[0] for done in recorder.bundles}
    assert len(asked) == 6
    assert not [t for t in threading.enumerate() if t.name.startswith("teebundle")]


def test_async_client_streaming_and_not_gives_verified_bundles(case: Case) -> None:
    async def main() -> Recorder:
        async with case.recorder() as recorder:
            async with openai.AsyncOpenAI(
                base_url=recorder.base_url,
                api_key=case.simulator.api_key,
                http_client=httpx.AsyncClient(transport=recorder.async_transport()),
                max_retries=0,
            ) as client:

                async def streamed(number: int) -> str:
                    stream = await client.chat.completions.create(
                        model=case.model, messages=says(str(number)), stream=True
                    )
                    return "".join([c.delta.content or "" async for e in stream for c in e.choices])

                assert all(await asyncio.gather(*(streamed(number) for number in range(3))))
                whole = await client.chat.completions.create(model=case.model, messages=says("w"))
                assert whole.choices
                assert await asyncio.to_thread(recorder.renew)
            return recorder

    case.verified(asyncio.run(main()), 4)


# --- when bundles are written -----------------------------------------------------------------


def test_renewal_writes_what_waits(case: Case) -> None:
    written = threading.Event()
    with case.recorder(refresh=None) as recorder, case.client(recorder) as client:
        client.chat.completions.create(model=case.model, messages=says("a"))
        while not recorder.bundles:  # the look-up after the chat takes its time
            assert recorder.renew()
            written.wait(0.01)
        assert recorder.bundles[0].path.exists()
        client.chat.completions.create(model=case.model, messages=says("b"))
    case.verified(recorder, 2)


def test_interval_writes_what_waits(case: Case) -> None:
    pause = threading.Event()
    with case.recorder(refresh=0.1) as recorder, case.client(recorder) as client:
        client.chat.completions.create(model=case.model, messages=says("a"))
        while not recorder.bundles:
            pause.wait(0.01)
    case.verified(recorder, 1)


def test_without_a_chat_nothing_is_written(case: Case) -> None:
    with case.recorder() as recorder:
        assert recorder.renew()
    assert recorder.bundles == recorder.troubles == ()
    assert not case.out.exists()


def test_without_a_chat_a_folder_that_was_there_stays_as_it_was(case: Case) -> None:
    case.out.mkdir()
    with case.recorder():
        pass
    assert case.out.is_dir()
    assert case.files == []


def test_model_that_is_not_named_is_attested_before_its_first_chat(case: Case) -> None:
    with case.recorder(model=None) as recorder, case.client(recorder) as client:
        assert case.simulator.journal.requests == []
        client.chat.completions.create(model=case.model, messages=says("a"))
        with pytest.raises(UsageError, match="name the model"):
            recorder.renew()
    case.verified(recorder, 1)


@pytest.mark.parametrize("case", [{"provider": "near-direct"}], indirect=True)
def test_chat_goes_to_the_host_of_its_model(case: Case) -> None:
    # without a model nobody knows the host yet: the client is given the common address
    with case.recorder(model=None) as recorder, case.client(recorder) as client:
        assert recorder.base_url == case.simulator.base_url + "/v1"
        stream = client.chat.completions.create(model=case.model, messages=says("a"), stream=True)
        assert text_of(stream)
    case.verified(recorder, 1)


def test_bundles_are_judged_where_there_is_a_policy(case: Case) -> None:
    judge = {
        "policy": case.folder / "policy.yaml",
        "trust": [case.folder / "trust.json"],
        "signer": [case.folder / "k" / "signer.pub"],
    }
    with case.recorder(**judge) as recorder, case.client(recorder) as client:
        client.chat.completions.create(model=case.model, messages=says("a"))
    assert [done.verdict for done in recorder.bundles] == ["VERIFIED"]
    case.verified(recorder, 1)


def test_verdict_other_than_verified_is_warned_of(case: Case) -> None:
    recorder = case.recorder(policy=case.folder / "policy.yaml")
    with pytest.warns(RecordingWarning, match="the verdict is"):
        with recorder, case.client(recorder) as client:
            client.chat.completions.create(model=case.model, messages=says("a"))
    (trouble,) = recorder.troubles
    assert not trouble.lost
    assert trouble.file == recorder.bundles[0].path


# --- troubles ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [{"fault": "500-forever", "on": "chat"}], indirect=True)
def test_failing_provider_fails_for_the_application_and_is_on_record(case: Case) -> None:
    with case.recorder() as recorder, case.client(recorder) as client:
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model=case.model, messages=says("a"))
    (done,) = recorder.bundles
    assert done.status == 500
    assert case.report(done.path).verdict.value != "VERIFIED"


@pytest.mark.parametrize("case", [{"provider": "near-direct", "fault": "sse-cut"}], indirect=True)
def test_stream_that_breaks_off_breaks_off_for_the_application_and_is_on_record(
    case: Case,
) -> None:
    recorder = case.recorder()
    with pytest.warns(RecordingWarning, match="closed too early"):
        with recorder, case.client(recorder) as client, pytest.raises(CUT):
            text_of(
                client.chat.completions.create(model=case.model, messages=says("a"), stream=True)
            )
    (done,) = recorder.bundles
    assert not done.complete
    assert case.report(done.path).verdict.value == "REJECTED"


def test_provider_that_cannot_be_reached_leaves_nothing(case: Case) -> None:
    with case.recorder() as recorder, case.client(recorder) as client:
        case.simulator.provider.__exit__(None, None, None)
        with pytest.raises(openai.APIConnectionError):
            client.chat.completions.create(model=case.model, messages=says("a"))
    assert recorder.bundles == recorder.troubles == ()
    assert case.files == []


@LONG
def test_stream_that_the_application_closes_early_is_incomplete(case: Case) -> None:
    recorder = case.recorder()
    with pytest.warns(RecordingWarning, match="application closed the answer"):  # noqa: PT031
        with recorder, httpx.Client(transport=recorder.transport()) as client:
            asked = {"model": case.model, "messages": says("a"), "stream": True}
            with client.stream(
                "POST",
                recorder.base_url + "/chat/completions",
                json=asked,
                headers={"Authorization": f"Bearer {case.simulator.api_key}"},
            ) as response:
                read = next(response.iter_raw())
    (done,) = recorder.bundles
    assert not done.complete
    body = bodies_of(done.path)[1]
    assert body is not None
    assert body.startswith(read)
    assert case.report(done.path).verdict.value != "VERIFIED"


@LONG
def test_answer_under_way_at_the_end_is_incomplete_and_goes_on(case: Case) -> None:
    recorder = case.recorder()
    with pytest.warns(RecordingWarning, match="application closed the answer"):  # noqa: PT031
        with recorder:
            client = case.client(recorder)
            stream = client.chat.completions.create(
                model=case.model, messages=says("a"), stream=True
            )
            events = iter(stream)
            next(events)
    assert text_of(events)
    client.close()
    (done,) = recorder.bundles
    assert not done.complete


@pytest.mark.parametrize("case", [{"fault": "401", "on": "attestation"}], indirect=True)
def test_model_that_is_not_attested_at_the_start_is_an_error(case: Case) -> None:
    with pytest.raises(CaptureError, match=r"cannot be attested.*401"):
        with case.recorder():
            pytest.fail("the recorder began")
    assert not case.out.exists()
    assert not [t for t in threading.enumerate() if t.name.startswith("teebundle")]


@pytest.mark.parametrize("case", [{"fault": "401", "on": "attestation"}], indirect=True)
def test_model_that_is_not_attested_is_recorded_where_that_is_wished(case: Case) -> None:
    recorder = case.recorder(require=False)
    with pytest.warns(RecordingWarning, match="not attested before"):
        with recorder, case.client(recorder) as client:
            assert client.chat.completions.create(model=case.model, messages=says("a")).choices
    (done,) = recorder.bundles
    assert not done.complete
    assert case.report(done.path).verdict.value != "VERIFIED"


@pytest.mark.parametrize(
    "case",
    [{"provider": "near-direct", "fault": "401", "on": "attestation", "nth": 3}],
    indirect=True,
)
def test_model_that_is_not_attested_at_the_end_is_incomplete(case: Case) -> None:
    recorder = case.recorder()
    with pytest.warns(RecordingWarning, match="not attested after"):
        with recorder, case.client(recorder) as client:
            assert client.chat.completions.create(model=case.model, messages=says("a")).choices
    (done,) = recorder.bundles
    assert not done.complete
    assert case.report(done.path).verdict.value != "VERIFIED"
    assert not any(trouble.lost for trouble in recorder.troubles)


def test_disk_that_takes_nothing_does_not_stop_the_application(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_given: object) -> None:
        raise OSError(28, "No space left on device")

    recorder = case.recorder()
    with pytest.raises(RecordingError, match=r"a chat has no bundle.*No space left") as caught:
        with recorder, case.client(recorder) as client:
            monkeypatch.setattr(spool.Spool, "create", full)
            assert client.chat.completions.create(model=case.model, messages=says("a")).choices
    assert caught.value.troubles == recorder.troubles
    assert recorder.bundles == ()


def test_fault_of_the_recorder_does_not_stop_the_application(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = case.recorder()
    with pytest.raises(RecordingError, match="unexpected ValueError"):
        with recorder, case.client(recorder) as client:
            monkeypatch.setattr(Recorder, "_below", lambda *_: int("no number"))
            assert client.chat.completions.create(model=case.model, messages=says("a")).choices
    assert recorder.passed == 1


def test_bundle_that_cannot_be_sealed_leaves_its_journal_for_the_next_recorder(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_given: object, **_more: object) -> None:
        raise UsageError("it cannot be written")

    with pytest.raises(RecordingError, match="it cannot be written") as caught:
        with case.recorder() as recorder, case.client(recorder) as client:
            client.chat.completions.create(model=case.model, messages=says("a"))
            monkeypatch.setattr(finishing, "write_new", refused)
    monkeypatch.undo()
    (trouble,) = caught.value.troubles
    assert trouble.file is not None
    assert trouble.file.is_dir()
    with case.recorder() as again:
        pass
    case.verified(again, 1)


def test_exception_of_the_application_is_not_covered_up(case: Case) -> None:
    recorder = case.recorder()
    with pytest.raises(KeyError, match="its own"):
        with recorder, httpx.Client(transport=recorder.transport()) as client:
            with pytest.raises(httpx.ConnectError):
                client.post("https://127.0.0.1:1/v1/chat/completions", json={"model": "m"})
            raise KeyError("its own")
    assert [trouble.lost for trouble in recorder.troubles] == [True]


def test_chat_of_somebody_else_passes_and_is_told_of(case: Case) -> None:
    with Simulator("aci", seed="test-only-other") as other:
        ca = case.folder / "both.pem"
        ca.write_bytes(case.simulator.ca_pem + other.ca_pem)
        recorder = case.recorder(ca_file=ca)
        with pytest.raises(RecordingError, match="none of the provider's addresses"):
            with recorder, httpx.Client(transport=recorder.transport()) as client:
                answer = client.post(
                    other.base_url + "/v1/chat/completions",
                    json={"model": other.model, "messages": says("a")},
                    headers={"Authorization": f"Bearer {other.api_key}"},
                )
                assert answer.status_code == 200
    assert recorder.bundles == ()
    assert recorder.passed == 1
    assert case.files == []


def test_other_requests_pass_unaltered_and_unrecorded(case: Case) -> None:
    with case.recorder() as recorder, case.client(recorder) as client:
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model=case.model, input="a", encoding_format="float")
        assert recorder.passed == 1
    sent = case.simulator.journal.requests[-1]
    assert "gzip" in {k.lower(): v for k, v in sent.headers}["accept-encoding"]
    assert recorder.bundles == recorder.troubles == ()
    assert case.files == []


# --- what the transports are told -------------------------------------------------------------


class Where(httpx.MockTransport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[httpx.Request] = []
        super().__init__(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return httpx.Response(200, content=b"ok")


@pytest.mark.parametrize("way", ["sync", "async"])
def test_request_goes_where_it_is_sent_with_what_it_lacks(way: str) -> None:
    kept: list[RecordedExchange] = []
    asked: list[tuple[str, str, bytes | None]] = []

    def decide(method: str, url: str, body: bytes | None) -> Leave | None:
        asked.append((method, url, body))
        if body == b"pass":
            return None
        extra = (("X-Own", "the recorder"), ("X-New", "1"))
        return Leave(on_exchange=kept.append, url="https://other.example:8443/b?q=1", headers=extra)

    where = Where()
    given: dict[str, Any] = {"on_exchange": pytest.fail, "on_request": decide}
    headers = {"X-Own": "the application"}
    if way == "sync":
        with httpx.Client(transport=RecordingTransport(where, **given)) as client:
            for body in (b"record", b"pass"):
                client.post("https://one.example/a", content=body, headers=headers)
    else:

        async def main() -> None:
            transport = AsyncRecordingTransport(where, **given)
            async with httpx.AsyncClient(transport=transport) as client:
                for body in (b"record", b"pass"):
                    await client.post("https://one.example/a", content=body, headers=headers)

        asyncio.run(main())
    assert [one[2] for one in asked] == [b"record", b"pass"]
    recorded, passed = where.sent
    assert str(recorded.url) == "https://other.example:8443/b?q=1"
    assert recorded.headers["host"] == "other.example:8443"
    assert recorded.headers["x-own"] == "the application"
    assert recorded.headers["x-new"] == "1"
    assert recorded.headers["accept-encoding"] == "identity"
    assert str(passed.url) == "https://one.example/a"
    assert passed.headers["accept-encoding"] != "identity"
    (one,) = kept
    assert (one.url, one.request_body, one.response_body) == (str(recorded.url), b"record", b"ok")


# --- secrets ----------------------------------------------------------------------------------


def test_no_file_holds_a_secret(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bytes] = []

    def looked(path: Path, data: bytes) -> None:
        held.extend(one.read_bytes() for one in case.files if one.is_file())
        write_new(path, data)

    write_new = finishing.write_new
    monkeypatch.setattr(finishing, "write_new", looked)
    with case.recorder() as recorder, case.client(recorder) as client:
        stream = client.chat.completions.create(model=case.model, messages=says("a"), stream=True)
        assert text_of(stream)
    held += [one.read_bytes() for one in case.files if one.is_file()]
    key = case.simulator.api_key.encode()
    private = (case.folder / "k" / "signer.key").read_bytes().split(b"\n")[1]
    assert len(held) > 3
    assert not [data for data in held if key in data or private in data]
    assert case.simulator.api_key not in repr(recorder)
    assert case.simulator.api_key not in repr(vars(recorder))


def test_request_that_says_a_credential_is_not_kept(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[bytes | None] = []
    create = spool.Spool.create

    def created(path: Path, told: dict[str, str | None], begun: RecordedExchange) -> spool.Spool:
        bodies.append(begun.request_body)
        return create(path, told, begun)

    monkeypatch.setattr(spool.Spool, "create", created)
    # a key that the recorder was not told of: the client's alone
    recorder = case.recorder()
    own = "sk-the-clients-own-key"
    with pytest.warns(RecordingWarning, match="holds a configured credential"):  # noqa: PT031
        with recorder, httpx.Client(transport=recorder.transport()) as client:
            for said, key in ((case.simulator.api_key, case.simulator.api_key), (own, own)):
                client.post(
                    recorder.base_url + f"/chat/completions?key={key}",
                    json={"model": case.model, "messages": says(f"my key is {said}")},
                    headers={"Authorization": f"Bearer {key}"},
                )
    assert bodies == [None, None]
    assert [done.complete for done in recorder.bundles] == [False, False]
    for done in recorder.bundles:
        data = done.path.read_bytes()
        for key in (case.simulator.api_key, own):
            assert key.encode() not in data
            assert not any(
                key.encode() in body for body in open_unverified(data).evidence.bodies.values()
            )
        exchanges = open_unverified(data).evidence.statement.exchanges
        (chat,) = [one for one in exchanges if one.purpose == "chat"]
        assert chat.request.body is None
    assert len([one for one in case.simulator.journal.requests if b"my key" in one.body]) == 2


def test_chat_that_a_task_gives_up_while_it_waits_leaves_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = threading.Event(), threading.Event()
    make_round = finishing.make_round

    def slow(*given: Any) -> finishing.Round:
        asked.set()
        assert go_on.wait(10)
        return make_round(*given)

    monkeypatch.setattr(finishing, "make_round", slow)
    left, leave = threading.Event(), Proxy.left

    def told(*given: Any) -> None:
        leave(*given)
        left.set()

    monkeypatch.setattr(Proxy, "left", told)

    async def main() -> Recorder:
        async with case.recorder(model=None) as recorder:
            transport = recorder.async_transport()
            async with httpx.AsyncClient(transport=transport) as client:
                url, asking = recorder.base_url + "/chat/completions", {"model": case.model}
                chat = asyncio.create_task(client.post(url, json=asking))
                await asyncio.to_thread(asked.wait, 10)
                chat.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await chat
                go_on.set()
                assert await asyncio.to_thread(left.wait, 10)
        return recorder

    recorder = asyncio.run(main())
    assert recorder.bundles == recorder.troubles == ()
    assert case.files == []
    assert not [one for one in case.simulator.journal.requests if one.path.endswith("completions")]


# --- what is left, and what is refused --------------------------------------------------------

KILLED = """
import glob, json, os, signal, sys
import httpx
from bundle import Recorder
base, key, folder, ca, model, endpoints = sys.argv[1:7]
recorder = Recorder("aci", model=model, key=folder + "/k/signer.key", out=folder + "/out",
    api_key=key, base_url=base, ca_file=ca, endpoints=json.loads(endpoints))
with recorder, httpx.Client(transport=recorder.transport()) as client:
    asked = {"model": model, "messages": [{"role": "user", "content": "a"}], "stream": True}
    headers = {"Authorization": "Bearer " + key}
    url = recorder.base_url + "/chat/completions"
    client.post(url, json=asked, headers=headers)
    while not any(
            map(os.path.isdir, glob.glob(folder + "/out/.teebundle-proxy/chat-*"))):
        pass
    with client.stream("POST", url, json=asked, headers=headers) as response:
        next(response.iter_raw())
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_kill_leaves_is_finished_by_the_next_recorder(case: Case) -> None:
    simulator = case.simulator
    given = [
        simulator.base_url,
        simulator.api_key,
        str(case.folder),
        str(case.folder / "ca.pem"),
        case.model,
        json.dumps(simulator.endpoints),
    ]
    ended = subprocess.run([sys.executable, "-c", KILLED, *given], check=False, timeout=60)
    assert ended.returncode == -9
    recorder = case.recorder()
    with pytest.warns(RecordingWarning, match="ended while this was under way"), recorder:
        pass
    assert sorted(done.complete for done in recorder.bundles) == [False, True]
    (whole,) = [done for done in recorder.bundles if done.complete]
    assert case.report(whole.path).verdict.value == "VERIFIED"
    (cut,) = [done for done in recorder.bundles if not done.complete]
    assert bodies_of(cut.path)[1] is None
    assert not (case.out / WORK).exists()


def test_folder_belongs_to_one_recorder_at_a_time(case: Case) -> None:
    with case.recorder() as recorder, case.client(recorder) as client:
        client.chat.completions.create(model=case.model, messages=says("a"))
        with pytest.raises(UsageError, match="another proxy writes there"):
            with case.recorder():
                pytest.fail("two of them began")
    case.verified(recorder, 1)


def test_recorder_is_used_once_and_inside_of_with_alone(case: Case) -> None:
    recorder = case.recorder()
    with pytest.raises(UsageError, match="with statement"):
        recorder.renew()
    with pytest.raises(UsageError, match="with statement"):
        _ = recorder.base_url
    with recorder:
        base_url = recorder.base_url
    with pytest.raises(UsageError, match="once"):
        with recorder:
            pytest.fail("it began again")
    with httpx.Client(transport=recorder.transport()) as client:
        asked = {"model": case.model, "messages": says("late")}
        headers = {"Authorization": f"Bearer {case.simulator.api_key}"}
        late = client.post(base_url + "/chat/completions", json=asked, headers=headers)
    assert late.status_code == 200
    assert "does not run" in recorder.troubles[-1].what


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"refresh": 0}, "refresh"),
        ({"refresh": float("nan")}, "refresh"),
        ({"queue": 0}, "queue"),
        ({"api_key": "short"}, "api_key is no usable key"),
        ({"nras_key": "schlüssel-12345"}, "nras_key is no usable key"),
        ({"endpoints": {"nobody": "https://localhost"}}, "endpoints: nobody"),
        ({"endpoints": {"intel_pcs": "http://intel.example"}}, "only https"),
        ({"base_url": "http://provider.example"}, "only https"),
        ({"timeout": -1}, "timeout"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_once(
    tmp_path: Path, given: dict[str, Any], what: str
) -> None:
    with pytest.raises(UsageError, match=what) as caught:
        Recorder("aci", **{"out": tmp_path / "out", "key": tmp_path / "k", **given})
    assert "short" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"key": "nowhere.key"}, "nowhere.key"),
        ({"key": ()}, "capture key"),
        ({"out": "/nowhere/at/all"}, "cannot be made"),
        ({"algorithms": ["rot13"]}, "rot13"),
    ],
)
def test_what_is_not_there_is_refused_on_entering(
    case: Case, given: dict[str, Any], what: str
) -> None:
    with pytest.raises(UsageError, match=what):
        with case.recorder(**given):
            pytest.fail("it began")
    assert not case.out.exists()
