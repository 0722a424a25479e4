"""`teebundle proxy`: what it refuses, how it stops, what it tells."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from bundle.commands.proxy import Wish, address, line_of, run
from bundle.settings import Given
from fixtures.simulator.world import Simulator
from tests.bundle.proxy_case import folder_of, report_of
from verify.engine.errors import UsageError

CALL = """
import sys
from bundle.commands.proxy import register
from verify.cli.console import new_app, run_app
app = new_app("test")
app.command("other")(lambda: None)
register(app, "teebundle")
if __name__ == "__main__":
    sys.exit(run_app(app, sys.argv[1:], "teebundle"))
"""


@contextlib.contextmanager
def started(
    tmp_path: Path, simulator: Simulator, *more: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command; give the process and the URL it listens on."""
    endpoints = "".join(f'  {k}: "{v}"\n' for k, v in simulator.endpoints.items())
    (tmp_path / "teebundle.yaml").write_text(
        f'base_url: "{simulator.base_url}"\napi_key_env: "TEST_KEY"\nkey: "k/signer.key"\n'
        f'ca_file: "ca.pem"\nendpoints:\n{endpoints}'
    )
    (tmp_path / "call.py").write_text(CALL)
    process = subprocess.Popen(
        [
            sys.executable,
            str(tmp_path / "call.py"),
            "proxy",
            "aci",
            "--config",
            str(tmp_path / "teebundle.yaml"),
            "--listen",
            "127.0.0.1:0",
            "--out",
            str(tmp_path / "out"),
            "--json",
            *more,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TEST_KEY": simulator.api_key, "PYTHONPATH": str(Path.cwd())},
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        if not first:
            pytest.fail(process.communicate()[1])
        yield process, json.loads(first)["url"]
    finally:
        process.kill()
        process.communicate()


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_signal_ends_it_after_everything_is_sealed(tmp_path) -> None:
    with Simulator("aci") as simulator, folder_of(simulator, tmp_path) as signer:
        with started(tmp_path, simulator) as (process, url):
            with openai.OpenAI(base_url=url, api_key="unused", max_retries=0) as client:
                stream = client.chat.completions.create(
                    model=simulator.model,
                    messages=[{"role": "user", "content": "hi"}],
                    stream=True,
                )
                assert [event for event in stream if event.choices]
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        assert err == ""
        kinds = [event["event"] for event in events_of(out)]
        assert kinds == ["attested", "stopping", "attested", "bundle", "stopped"]
        (path,) = (tmp_path / "out").glob("*.evidence.json")
        assert report_of(path, simulator, signer).verdict.value == "VERIFIED"
        assert simulator.api_key not in out


def test_second_signal_ends_it_at_once_and_leaves_the_chat_for_the_next(tmp_path) -> None:
    with (
        Simulator("aci", pace_s=0.05, size=100_000) as simulator,
        folder_of(simulator, tmp_path),
    ):
        with started(tmp_path, simulator) as (process, url):
            host, port = url.removeprefix("http://").removesuffix("/v1").split(":")
            body = json.dumps({"model": simulator.model, "messages": [], "stream": True})
            with socket.create_connection((host, int(port))) as client:
                client.sendall(
                    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(body), body.encode())
                )
                seen = b""
                while b"data:" not in seen:
                    seen += client.recv(65536)
                assert process.stdout is not None
                assert json.loads(process.stdout.readline())["event"] == "attested"
                process.send_signal(signal.SIGINT)
                assert json.loads(process.stdout.readline())["event"] == "stopping"
                process.send_signal(signal.SIGINT)
                out, _ = process.communicate(timeout=20)
        assert process.returncode == 130
        (last,) = [event for event in events_of(out) if event["event"] == "stopped"]
        assert last["left"] == 1
        assert [*(tmp_path / "out" / ".teebundle-proxy").glob("chat-*")]


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("127.0.0.1:8338", ("127.0.0.1", 8338)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_address_is_read(listen: str, expected: tuple[str, int]) -> None:
    assert address(listen, allow_remote=False) == expected


@pytest.mark.parametrize("listen", ["", "8338", ":8338", "localhost:", "localhost:x", "a:99999"])
def test_address_that_is_none_is_refused(listen: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        address(listen, allow_remote=True)


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "host.example:1"])
def test_other_machines_are_let_in_only_where_that_is_wished(listen: str) -> None:
    with pytest.raises(UsageError, match="--allow-remote"):
        address(listen, allow_remote=False)
    assert address(listen, allow_remote=True)[1] == 1


@pytest.mark.parametrize(
    ("wish", "given", "what"),
    [
        (Wish(), Given(provider="aci"), "--out DIR"),
        (Wish(out=Path("x"), refresh_s=0), Given(provider="aci"), "--refresh"),
        (Wish(out=Path("x"), queue=0), Given(provider="aci"), "--queue"),
        (Wish(out=Path("x")), Given(), "name a provider"),
        (Wish(out=Path("missing/x")), Given(provider="aci"), "cannot be made"),
        (Wish(out=Path("x")), Given(provider="aci"), "--key KEY"),
        (Wish(out=Path("x")), Given(provider="nobody"), "no provider"),
        (Wish(out=Path("x")), Given(provider="dstack"), "--base-url URL"),
        (Wish(out=Path("x")), Given(provider="chutes"), "cannot be recorded here"),
        (
            Wish(out=Path("x")),
            Given(provider="aci", algorithms=("rot13",)),
            "does not sign with",
        ),
    ],
)
def test_wrong_use_is_refused_before_anything_is_sent(
    tmp_path, monkeypatch, wish: Wish, given: Given, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=what):
        run(given, wish)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            {"event": "listening", "url": "http://127.0.0.1:1/v1", "out": "b"},
            "listening on http://127.0.0.1:1/v1, bundles go to b",
        ),
        (
            {
                "event": "bundle",
                "file": "b/x.evidence.json",
                "status": 200,
                "complete": True,
                "verdict": "VERIFIED",
                "notes": [],
            },
            "b/x.evidence.json  HTTP 200  complete  VERIFIED",
        ),
        (
            {
                "event": "bundle",
                "file": "b/x.evidence.json",
                "status": None,
                "complete": False,
                "verdict": None,
                "notes": ["cut\x1b[2J"],
            },
            "b/x.evidence.json  no answer  INCOMPLETE CAPTURE  cut\\x1b[2J",
        ),
        ({"event": "attested", "model": "m", "seconds": 1.5}, "attested m in 1.5 s"),
        ({"event": "not-attested", "model": "m", "what": "w"}, "NOT attested m: w"),
        (
            {"event": "failed", "model": "m", "what": "w", "kept": "k"},
            "FAILED m: w (kept: k)",
        ),
        ({"event": "not-sent", "model": "m", "what": "w"}, "not sent m: w"),
        ({"event": "disk", "what": "full"}, "disk: full"),
    ],
)
def test_events_are_one_line_for_people(event: dict[str, Any], line: str) -> None:
    assert line_of(event) == line
