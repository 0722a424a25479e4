"""The online sub-commands run in this process: what they say, write and end with."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from bundle import cli, online
from bundle.capture import CaptureResult, Gap
from bundle.commands import capture as capturing
from bundle.commands import proxy as proxying
from bundle.commands import simulate, timestamp
from bundle.keys import generate, key_id, write_pair
from bundle.policy_init import Draft
from bundle.proxy import Proxy
from bundle.settings import Given, settle
from fixtures.simulator.wire import Answer, Request
from fixtures.simulator.world import Simulator
from tests.acceptance.program import Place, place
from tests.bundle.proxy_case import report_of
from verify.engine.errors import UsageError
from verify.wire.container import read_bundle

HELLO = ("--prompt", "hello", "--stream")


@pytest.fixture(autouse=True)
def _settings_of_the_process() -> Iterator[None]:
    """A command that lives long changes these for its process; here they are put back."""
    collecting, interval = gc.isenabled(), sys.getswitchinterval()
    log = logging.getLogger("asyncio")
    level = log.level
    yield
    log.setLevel(level)
    sys.setswitchinterval(interval)
    (gc.enable if collecting else gc.disable)()


@contextlib.contextmanager
def at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str = "aci", **simulated: Any
) -> Iterator[tuple[Place, Simulator]]:
    """A simulator, and everything that its user has, in the folder that is worked in."""
    with Simulator(name, **simulated) as simulator:
        where = place(tmp_path, simulator, name)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("SIMULATED_KEY", simulator.api_key)
        monkeypatch.setenv("NO_COLOR", "1")
        yield where, simulator


def called(*words: object) -> int | str | None:
    """Run `teebundle` here; return its exit code."""
    try:
        return cli.run([str(word) for word in words])
    except SystemExit as ended:
        return ended.code


def captured(where: Place, *words: object) -> int | str | None:
    return called(
        "capture", "--config", where.config, "--key", where.key, "-o", where.out, *words
    )  # fmt: skip


def posts(simulator: Simulator) -> list[bytes]:
    return [one.body for one in simulator.journal.requests if one.method == "POST"]


def left(where: Place) -> set[str]:
    known = {"k", "ca.pem", "trust.json", "policy.yaml", "teebundle.yaml"}
    return {path.name for path in where.folder.iterdir()} - known


def stamps(bundle: Path) -> int:
    parsed = read_bundle(bundle.read_bytes())
    return sum(len(material.timestamps) for material in parsed.statement.material)


def changed(where: Place, line: str, new: str = "") -> None:
    text = where.config.read_text()
    assert line in text
    where.config.write_text(text.replace(line, new))


def refusing(simulator: Simulator, status: int, path: str = "") -> Callable[[], None]:
    """Let the provider answer with a status; give what ends that."""
    real = simulator.provider.handlers[0]

    def refuse(request: Request) -> Answer | None:
        return Answer(status=status) if path in request.path else real(request)

    simulator.provider.handlers = [refuse]

    def again() -> None:
        simulator.provider.handlers = [real]

    return again


# --- capture ----------------------------------------------------------------------------------


def test_a_capture_is_written_judged_and_told(tmp_path, monkeypatch, capfd) -> None:
    with at(tmp_path, monkeypatch) as (where, simulator):
        assert captured(where, *HELLO) == 0
    said = capfd.readouterr()
    assert said.out.startswith("sha256:")
    assert "VERIFIED (0)" in said.out
    assert f"wrote {where.out}" in said.err
    assert simulator.api_key not in said.out + said.err + where.out.read_text()
    assert left(where) == {where.out.name}


def test_a_capture_as_event_lines_ends_with_the_bundle(tmp_path, monkeypatch, capfd) -> None:
    with at(tmp_path, monkeypatch) as (where, _):
        assert captured(where, *HELLO, "--json", "--keep-journal") == 0
    said = capfd.readouterr()
    last = json.loads(said.out.splitlines()[-1])
    assert said.err == ""
    assert (last["event"], last["verdict"], last["exit"]) == ("bundle", "VERIFIED", 0)
    assert (last["complete"], last["whole"], last["gaps"], last["blobs"]) == (True, True, [], None)
    assert last["journal"] == f"{where.out}.journal"
    assert Path(last["journal"]).is_dir()


def test_a_kept_journal_that_lacks_nothing_may_be_deleted(tmp_path, monkeypatch, capfd) -> None:
    with at(tmp_path, monkeypatch) as (where, _):
        assert captured(where, *HELLO, "--keep-journal") == 0
    assert f"{where.out}.journal; delete it when you need it no more" in capfd.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failed_capture_goes_on_with_resume(tmp_path, monkeypatch, capfd, as_json) -> None:
    more = ("--json",) if as_json else ()
    with at(tmp_path, monkeypatch) as (where, simulator):
        again = refusing(simulator, 401)
        assert captured(where, *HELLO, *more) == 5
        first = capfd.readouterr()
        assert "capture failed: " in first.err
        assert "API key" in first.err
        journal = Path(f"{where.out}.journal")
        if as_json:
            last = json.loads(first.out.splitlines()[-1])
            assert (last["event"], last["journal"]) == ("error", str(journal))
        assert left(where) == {journal.name}
        again()
        assert called("capture", "--resume", journal, *more) == 0
        assert len(posts(simulator)) == 1
    second = capfd.readouterr()
    if as_json:
        assert json.loads(second.out.splitlines()[-1])["verdict"] == "VERIFIED"
    else:
        assert "VERIFIED (0)" in second.out
    assert left(where) == {where.out.name}


def test_what_cannot_be_had_is_sealed_as_incomplete(tmp_path, monkeypatch, capfd) -> None:
    with at(tmp_path, monkeypatch) as (where, simulator):
        refusing(simulator, 401)
        assert captured(where, *HELLO) == 5
        asked = len(simulator.journal.requests)
        assert called("capture", "--resume", f"{where.out}.journal", "--seal-incomplete") == 5
        assert len(simulator.journal.requests) == asked
    said = capfd.readouterr().err
    assert "sealed as incomplete: the capture did not go to its end" in said
    assert f"{where.out}.journal; ask again for what is missing with --resume" in said
    assert where.out.is_file()


def test_what_a_journal_decides_cannot_be_said_again(tmp_path, monkeypatch, capfd) -> None:
    decided = {
        "PROVIDER": ("aci",),
        "--model": ("--model", "m"),
        "--base-url": ("--base-url", "https://p.example"),
        "--option": ("--option", "a=b"),
        "--prompt": ("--prompt", "a"),
        "--request": ("--request", "r.json"),
        "--journal": ("--journal", "j"),
    }
    with at(tmp_path, monkeypatch) as (where, simulator):
        refusing(simulator, 401)
        assert captured(where, *HELLO) == 5
        asked = len(simulator.journal.requests)
        capfd.readouterr()
        for named, words in decided.items():
            assert called("capture", "--resume", f"{where.out}.journal", *words) == 2
            said = capfd.readouterr().err
            assert f"{named} does not go with --resume: the journal says it" in said
        assert len(simulator.journal.requests) == asked


def test_a_request_is_sent_as_it_is_from_a_file_and_from_standard_input(
    tmp_path, monkeypatch, capfd
) -> None:
    with at(tmp_path, monkeypatch) as (where, simulator):
        text = '{ "model": "%s",  "stream": true, "messages": [{"role":"user","content":"é"}] }'
        body = (text % simulator.model).encode()
        (tmp_path / "r.json").write_bytes(body)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))
        for name in ("r.json", "-"):
            code = captured(where, "--request", name, "--no-marker", "--overwrite")
            assert code == 3  # the policy demands the marker
            assert "marker.missing" in capfd.readouterr().out
        assert posts(simulator) == [body, body]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--stream",), "one of the three"),
        (("--prompt", "a", "--attestation-only"), "one of the three"),
        (("--request", "gone.json"), "gone.json: no request could be read: No such file"),
        (("--request", "empty.json"), "holds no request"),
        (("--request", "large.json"), "a request has at most 10 MiB"),
        (("--prompt", "a", "--seal-incomplete"), "--seal-incomplete goes with --resume DIR"),
        (("--prompt", "a", "--nras"), "agree to what --nras sends with --yes"),
        (("--prompt", "a", "--tsa", "http://tsa.example"), "only https"),
        (("--prompt", "a", "--tsa", "https://tsa.example", "--trust", "none.json"), "none.json"),
    ],
)
def test_a_wrong_call_sends_and_writes_nothing(tmp_path, monkeypatch, capfd, words, says) -> None:
    with at(tmp_path, monkeypatch) as (where, simulator):
        (tmp_path / "empty.json").write_bytes(b" \n")
        with (tmp_path / "large.json").open("wb") as file:
            file.truncate((10 << 20) + 1)
        before = left(where)
        assert captured(where, *words) in {2, 4}
        assert simulator.journal.requests == []
        assert left(where) == before
    assert says in capfd.readouterr().err


def test_a_capture_without_a_file_to_write_is_refused(tmp_path, monkeypatch, capfd) -> None:
    with at(tmp_path, monkeypatch) as (where, simulator):
        words = ("--config", where.config, "--key", where.key, *HELLO, "--json")
        assert called("capture", *words) == 2
        assert simulator.journal.requests == []
    said = capfd.readouterr()
    assert "name the bundle to write with -o FILE" in said.err
    last = json.loads(said.out)
    assert (last["event"], last["journal"]) == ("error", None)


def test_a_capture_is_stamped_after_it_is_sealed(tmp_path, monkeypatch, capfd) -> None:
    with at(tmp_path, monkeypatch) as (where, simulator):
        assert captured(where, *HELLO, "--tsa", simulator.tsa) == 0
    assert "VERIFIED (0)" in capfd.readouterr().out
    assert stamps(where.out) == 1


def test_a_timestamp_that_is_refused_is_a_gap(tmp_path, monkeypatch, capfd) -> None:
    with at(tmp_path, monkeypatch, fault="tsa-reject") as (where, simulator):
        assert captured(where, *HELLO, "--tsa", simulator.tsa) == 5
        new = where.folder / "new.json"
        words = ("--tsa", simulator.tsa, "--trust", "trust.json", "--ca-file", "ca.pem", "-o", new)
        assert called("timestamp", where.out, *words) == 5
        assert called("timestamp", where.out, *words[:-1], where.out) == 2
    said = capfd.readouterr()
    assert "VERIFIED (0)" in said.out
    assert "nothing was written" in said.err
    assert "exists already; choose another name or pass --overwrite" in said.err
    assert not new.exists()


def test_a_bundle_is_stamped_in_a_new_file(tmp_path, monkeypatch, capfd) -> None:
    with at(tmp_path, monkeypatch) as (where, simulator):
        assert captured(where, *HELLO) == 0
        new = where.folder / "new.json"
        words = ("--tsa", simulator.tsa, "--trust", "trust.json", "--ca-file", "ca.pem", "-o", new)
        capfd.readouterr()
        assert called("timestamp", where.out, *words) == 0
    said = capfd.readouterr()
    assert "after the end of the capture" in said.out
    assert f"wrote {new}" in said.err
    assert (stamps(where.out), stamps(new)) == (0, 1)


def test_another_try_of_a_timestamp_is_waited_for_and_said(monkeypatch, capfd) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    transport: Any = SimpleNamespace(record=lambda method, url, **_: (method, url))
    call: Any = SimpleNamespace(
        after_s=2.0, method="POST", url="u", purpose="time", body=b"", headers=(), bounds=None
    )
    assert timestamp.sender(transport)(call) == ("POST", "u")
    assert waited == [2.0]
    assert "no answer; trying again in 2 s" in capfd.readouterr().err


@pytest.mark.parametrize("own", [True, False])
def test_a_capture_without_a_key_says_how_one_is_given(tmp_path, monkeypatch, capfd, own) -> None:
    def stopped(_settings: object) -> None:
        raise UsageError("stopped before anything is sent")

    with at(tmp_path, monkeypatch) as (where, simulator):
        changed(where, 'api_key_env: "SIMULATED_KEY"\n')
        if own:
            changed(where, f'base_url: "{simulator.base_url}"\n')
        monkeypatch.delenv("ACI_API_KEY", raising=False)
        monkeypatch.setattr(capturing, "_transport", stopped)
        assert captured(where, *HELLO) == 2
    how = "set ACI_API_KEY" if own else "name its variable: --api-key-env"
    assert f"no API key is sent; if the provider wants one, {how}" in capfd.readouterr().err


def test_a_capture_without_a_policy_is_judged_under_a_draft(tmp_path, monkeypatch, capfd) -> None:
    with at(tmp_path, monkeypatch, "near-direct") as (where, _):
        changed(where, 'policy: "policy.yaml"\n')
        assert captured(where, *HELLO) == 0
    said = capfd.readouterr().err
    assert "under a policy drafted from the bundle itself it is " in said
    assert f"next: teebundle policy init --from near-direct --bundle {where.out}" in said


def result(**changes: Any) -> CaptureResult:
    members: dict[str, Any] = {
        "out": Path("o.json"),
        "bundle_id": "sha256:00",
        "profile": "aci",
        "complete": True,
        "gaps": (),
        "warnings": (),
        "report": None,
        "draft": None,
        "no_draft": "no default fits",
        "blobs": None,
        "journal": None,
    }
    return CaptureResult(**{**members, **changes})


def gap(purpose: str, *, essential: bool, again: bool = True) -> Gap:
    return Gap(step="s", purpose=purpose, what=f"{purpose}: none", essential=essential, again=again)


def judged(code: int) -> Any:
    return SimpleNamespace(exit_code=code)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"report": judged(3)}, 3),
        ({"complete": False}, 5),
        ({"complete": False, "report": judged(1)}, 1),
        ({"gaps": (gap("chat", essential=True),), "report": judged(3)}, 5),
        ({"gaps": (gap("rim", essential=False),)}, 0),
        ({"gaps": (gap("time", essential=False),)}, 5),
        ({"gaps": (gap("time", essential=False),), "report": judged(70)}, 70),
    ],
)
def test_exit_code_says_what_is_worst(changes: dict[str, Any], code: int) -> None:
    assert capturing.exit_code(result(**changes)) == code


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({}, "not judged: no default fits; judge it with: teebundle verify o.json", "journal"),
        ({"blobs": Path("o.blobs")}, "lie in o.blobs: verify with --blobs o.blobs", "journal"),
        ({"gaps": (gap("chat", essential=True),)}, "missing: chat: none", "not had"),
        ({"gaps": (gap("rim", essential=False),)}, "not had: rim: none", "missing"),
        (
            {"journal": Path("j"), "gaps": (gap("chat", essential=True, again=False),)},
            "the journal stays in j; delete it",
            "--resume",
        ),
        ({"journal": Path("j"), "gaps": (gap("rim", essential=False),)}, "--resume", "delete"),
        (
            {"draft": Draft(default="aci", data=b"", open=(), signer_known=True)},
            "it is VERIFIED; confirm pins elsewhere",
            "not judged",
        ),
        (
            {"draft": Draft(default="d", data=b"", open=(("c", "FAIL", "r"),), signer_known=True)},
            "it is not VERIFIED:\n  FAIL  c  r",
            "confirm",
        ),
    ],
)
def test_what_was_written_is_told(capfd, changes: dict[str, Any], said: str, unsaid: str) -> None:
    capturing._tell(result(**changes))
    told = capfd.readouterr()
    assert told.out == "sha256:00\n"
    assert said in told.err.replace("teebundle: ", "")
    assert unsaid not in told.err


# --- simulate ---------------------------------------------------------------------------------


def test_simulation_is_played_until_a_signal_comes(tmp_path, monkeypatch, capfd) -> None:
    written: list[str] = []

    def ended(text: str) -> None:
        written.append(text)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(simulate, "print_text", ended)
    before = signal.getsignal(signal.SIGTERM)
    write_pair(tmp_path / "k", generate(), None)
    words = ("--provider", "aci", "--out", tmp_path / "sim", "--signer", tmp_path / "k/signer.pub")
    assert called("simulate", *words) == 0
    assert signal.getsignal(signal.SIGTERM) is before
    (line,) = written
    said = json.loads(line)
    assert (said["test_only"], said["provider"]) == (True, "aci")
    assert "policy" in said["files"]
    assert {path.name for path in (tmp_path / "sim").iterdir()} >= {"ca.pem", "policy-proxy.yaml"}
    assert "TEST ONLY: a simulated provider; Ctrl-C ends it" in capfd.readouterr().err


def test_simulation_lists_what_it_plays(capfd) -> None:
    assert called("simulate", "--list") == 0
    assert "Faults of a vendor:" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "say which provider to play"),
        (("--provider", "aci", "--variant", "x"), "unknown variant x"),
        (("--provider", "aci", "--signer", "gone.pub"), "gone.pub"),
    ],
)
def test_simulation_of_something_unknown_is_refused(capfd, words, says) -> None:
    assert called("simulate", *words) in {2, 4}
    said = capfd.readouterr()
    assert says in said.err
    assert said.out == ""


# --- proxy ------------------------------------------------------------------------------------


class Left(BaseException):
    """The process would have ended here."""


class Heard(io.StringIO):
    """A stream that does something in a thread of its own when a word is first told."""

    def __init__(self, then: dict[str, Callable[[str], None]]) -> None:
        super().__init__()
        self.then = dict(then)
        self.threads: list[threading.Thread] = []

    def write(self, text: str) -> int:
        size = super().write(text)
        for word in [word for word in self.then if word in text]:
            self.threads.append(threading.Thread(target=self.then.pop(word), args=(text,)))
            self.threads[-1].start()
        return size

    def events(self) -> list[dict[str, Any]]:
        for thread in self.threads:
            thread.join(10)
        return [json.loads(line) for line in self.getvalue().splitlines()]


def interrupt(_line: str = "") -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Proxy]]:
    """The proxies that the command makes; they seal in this process, and are shut at the end."""
    found: list[Proxy] = []
    real = proxying.make

    def make(*words: Any, **more: Any) -> Proxy:
        found.append(real(*words, processes=0, **more))
        return found[-1]

    monkeypatch.setattr(proxying, "make", make)
    yield found
    for proxy in found:
        proxy.shut()
        transport: Any = proxy.setup.transport
        transport.close()


def proxied(where: Place, *words: object) -> int | str | None:
    return called(
        "proxy", "--config", where.config, "--key", where.key, "--listen", "127.0.0.1:0",
        "--out", where.folder / "out", *words,
    )  # fmt: skip


def test_proxy_seals_its_chats_and_ends_with_a_signal(tmp_path, monkeypatch, made) -> None:
    with at(tmp_path, monkeypatch) as (where, simulator):

        def chat(line: str) -> None:
            url = json.loads(line)["url"]
            with openai.OpenAI(base_url=url, api_key="unused", max_retries=0) as client:
                message: Any = {"role": "user", "content": "hi"}
                client.chat.completions.create(model=simulator.model, messages=[message])
            os.kill(os.getpid(), signal.SIGTERM)

        heard = Heard({'"listening"': chat})
        monkeypatch.setattr(sys, "stdout", heard)
        (where.folder / "policy.yaml").write_bytes(
            simulator.policy(key_id(where.signer.spki()), marked=False)
        )
        code = proxied(
            where, "--json", "--signer", where.folder / "k/signer.pub", "--tsa", simulator.tsa,
            "--timeout", "60", "--max-response", "1",
        )  # fmt: skip
        assert code == 0
        events = heard.events()
        kinds = [event["event"] for event in events]
        assert kinds == ["listening", "attested", "stopping", "attested", "bundle", "stopped"]
        assert events[0]["provider"] == "aci"
        assert events[4]["verdict"] == "VERIFIED"
        assert events[4]["complete"] is True
        assert events[5]["what"] == "bundles written: 1, left: 0"
        (path,) = (where.folder / "out").glob("*.evidence.json")
        assert str(path) == events[4]["file"]
        assert report_of(path, simulator, where.signer).verdict.value == "VERIFIED"
        assert simulator.api_key not in heard.getvalue()
        bounds = made[0].relay.upstream.bounds
        assert (bounds.idle_s, bounds.body) == (60, 1 << 20)


def test_proxy_tells_people_in_lines_and_says_what_is_left(tmp_path, monkeypatch, made) -> None:
    """A chat of another key stays: exit 5."""
    with at(tmp_path, monkeypatch) as (where, simulator):
        changed(where, "endpoints:", f'beacon: "{simulator.beacon}"\nendpoints:')
        heard = Heard({"listening on ": interrupt})
        monkeypatch.setattr(sys, "stderr", heard)
        strange = where.folder / "out" / ".teebundle-proxy" / "chat-1"
        strange.mkdir(parents=True)
        assert proxied(where) == 5
    said = heard.getvalue()
    assert "the proxy fetches no beacon; the one of the configuration is not used" in said
    assert f"/v1, bundles go to {where.folder / 'out'}\n" in said
    assert "stopping: answers under way end, then everything is sealed" in said
    assert f"(kept: {strange})" in said
    assert said.endswith("stopped: bundles written: 0, left: 1\n")
    assert strange.is_dir()


def test_second_signal_ends_the_proxy_at_once(tmp_path, monkeypatch, made) -> None:
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise Left

    async def never(self: Proxy) -> int:
        await asyncio.Event().wait()
        return 0

    with at(tmp_path, monkeypatch) as (where, _):
        monkeypatch.setattr(Proxy, "stop", never)
        monkeypatch.setattr(proxying.os, "_exit", leave)
        heard = Heard({'"listening"': interrupt, '"stopping"': interrupt})
        monkeypatch.setattr(sys, "stdout", heard)
        with pytest.raises(Left):
            proxied(where, "--json")
    assert codes == [130]
    events = heard.events()
    assert [event["event"] for event in events] == ["listening", "stopping", "stopped"]
    assert events[-1]["what"] == "at once; chats left to finish: 0"


def test_trouble_of_the_loop_is_an_event(tmp_path, monkeypatch, made) -> None:
    with at(tmp_path, monkeypatch) as (where, _):

        def trouble(_line: str) -> None:
            context = {"message": "m", "exception": ValueError("sk-secret")}
            loop = made[0].loop
            loop.call_soon_threadsafe(loop.call_exception_handler, context)
            loop.call_soon_threadsafe(interrupt)

        heard = Heard({'"listening"': trouble})
        monkeypatch.setattr(sys, "stdout", heard)
        assert proxied(where, "--json") == 0
    told = [event["what"] for event in heard.events() if event["event"] == "trouble"]
    assert told == ["unexpected ValueError in the proxy: m; please report it"]


def test_reader_of_lines_that_went_away_is_written_to_no_more() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as stream:
        proxying._written(stream, "one\n")
        assert Path(f"/proc/self/fd/{stream.fileno()}").readlink() == Path(os.devnull)
        stream.flush()
        proxying._written(stream, "two\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--nras",), "agree to what --nras sends with --yes"),
        (("--refresh", "0"), "--refresh is a number of seconds above 0, not 0"),
        (("--queue", "0"), "--queue is at least 1, not 0"),
        (("--tsa", "http://tsa.example"), "only https"),
        (("--listen", "0.0.0.0:0"), "--allow-remote"),
        (("--listen", "nowhere"), "HOST:PORT"),
        (("--out", "gone/out"), "gone/out: cannot be made: No such file"),
        (("--algorithm", "rot13"), "does not sign with 'rot13'"),
    ],
)
def test_proxy_that_is_called_wrongly_does_not_begin(
    tmp_path, monkeypatch, capfd, words, says
) -> None:
    with at(tmp_path, monkeypatch) as (where, simulator):
        assert proxied(where, *words) == 2
        assert simulator.journal.requests == []
    said = capfd.readouterr()
    assert says in said.err
    assert said.out == ""


def test_proxy_is_not_made_without_a_folder(tmp_path, monkeypatch) -> None:
    with at(tmp_path, monkeypatch) as (where, _):
        settings = settle(Given(provider="aci", config=where.config, key=(where.key,)))
        with pytest.raises(UsageError, match="--out DIR"):
            proxying.make(settings, proxying.Wish(), lambda _event: None)


@pytest.mark.parametrize(
    ("tty", "answer", "agreed"), [(False, "", False), (True, "yes\n", True), (True, "n\n", False)]
)
def test_what_is_sent_to_nras_is_agreed_to(monkeypatch, capfd, tty, answer, agreed) -> None:
    class Asked(io.StringIO):
        def isatty(self) -> bool:
            return tty

    screen = Asked()
    monkeypatch.setattr(sys, "stdin", Asked(answer))
    monkeypatch.setattr(sys, "stderr", screen)
    assert online.agreed(False) is agreed
    assert ("Send it? [y/N]" in screen.getvalue()) is tty
