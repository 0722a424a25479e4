"""`teebundle simulate`: what it prints, what it writes, how it ends, what it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from bundle.commands import simulate
from bundle.config import read_config
from bundle.keys import generate, key_id, write_pair
from fixtures.simulator import command
from fixtures.simulator.faults import FAULTS
from fixtures.simulator.providers import PROFILES, SCENARIOS
from fixtures.simulator.vendors import VENDOR_FAULTS
from verify.cli.console import new_app, run_app
from verify.engine.errors import UsageError
from verify.policy.loader import load_policy
from verify.trust.file import read_trust_file

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from bundle.commands import simulate
from verify.cli.console import new_app, run_app
from verify.cli.guard import guarded, leave
app = new_app("test")
simulate.register(app, "teebundle")
@app.command("other")
def other() -> None:
    "Another command, so that the name has to be said."
leave(lambda: guarded(lambda: run_app(app, sys.argv[1:], "teebundle"), sys.argv[1:]))
"""


def _app():
    app = new_app("test")
    simulate.register(app, "teebundle")

    @app.command("other")
    def other() -> None:
        """Another command."""

    return app


def _run(*words: str) -> int | str | None:
    try:
        return run_app(_app(), ["simulate", *words], "teebundle")
    except SystemExit as ended:
        return ended.code


def test_program_prints_where_it_is_and_ends_cleanly(tmp_path: Path) -> None:
    write_pair(tmp_path / "k", generate())
    words = ["simulate", "--provider", "nanogpt", "--out", str(tmp_path / "sim")]
    words += ["--signer", str(tmp_path / "k" / "signer.pub")]
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    try:
        said = json.loads(running.stdout.readline())
        assert said["test_only"] is True
        assert said["base_url"].startswith("https://127.0.0.1:")
        found = httpx.get(
            said["base_url"] + "/api/v1/models",
            headers={"Authorization": "Bearer " + said["api_key"]},
            verify=_trusting(said["ca_pem"]),
            trust_env=False,
        )
        assert found.json()["data"][0]["id"] == said["model"] == "TEE/model-7b"
        running.send_signal(signal.SIGTERM)
        out, complaint = running.communicate(timeout=10)
    finally:
        running.kill()
    assert running.returncode == 0, complaint
    assert out == b""
    assert b"TEST ONLY" in complaint
    assert b"Traceback" not in complaint
    assert not [path for path in _files(tmp_path) if said["api_key"].encode() in path.read_bytes()]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _trusting(pem: str):
    import ssl

    return ssl.create_default_context(cadata=pem)


@contextlib.contextmanager
def _stopping() -> Iterator[Callable[[], None]]:
    yield lambda: None


def test_written_files_are_what_captures_and_verifications_read(tmp_path: Path) -> None:
    signer = key_id(generate().spki())
    said: list[str] = []
    for provider in PROFILES:
        folder = tmp_path / provider
        command.run(
            command.Wanted(provider=provider, out=folder, signer=signer), said.append, _stopping
        )
        summary = json.loads(said[-1])
        assert summary["profile"] == PROFILES[provider]
        config = read_config(folder / "teebundle.yaml")
        assert config.provider == provider
        assert config.base_url == summary["base_url"]
        assert config.endpoints == summary["endpoints"]
        assert config.tsa == (summary["tsa"],)
        assert config.ca_file == folder / "ca.pem"
        assert read_trust_file((folder / "trust.json").read_bytes())
        for name in ("policy-proxy.yaml", "policy-attestation.yaml"):
            narrower = load_policy((folder / name).read_bytes(), file=name)
            assert narrower.mode("marker") == "excluded"
        policy = load_policy((folder / "policy.yaml").read_bytes(), file="policy.yaml")
        signs = provider not in {"chutes", "tinfoil"}
        assert policy.mode("marker") == ("required" if signs else "excluded")
        assert policy.profile == PROFILES[provider]
        assert (folder / "ca.pem").read_text() == summary["ca_pem"]


def test_plain_http_writes_no_ca_into_the_configuration(tmp_path: Path) -> None:
    said: list[str] = []
    wanted = command.Wanted(provider="near-direct", http=True, out=tmp_path)
    command.run(wanted, said.append, _stopping)
    assert json.loads(said[0])["base_url"].startswith("http://127.0.0.1:")
    assert "ca_file" not in (tmp_path / "teebundle.yaml").read_text()
    assert not (tmp_path / "policy.yaml").exists()


def test_list_names_everything() -> None:
    text = command.listing()
    assert text.startswith("TEST ONLY")
    for name in (*PROFILES, *SCENARIOS, *FAULTS, *VENDOR_FAULTS):
        assert name in text


def test_list_and_help_are_printed(capfd: pytest.CaptureFixture[str]) -> None:
    assert _run("--list") == 0
    assert "signature-404-twice" in capfd.readouterr().out
    assert _run("--help") == 0
    shown = capfd.readouterr().out
    assert "TEST ONLY" in shown
    assert "Examples:" in shown


@pytest.mark.parametrize(
    ("members", "what"),
    [
        ({"provider": "nobody"}, "unknown provider nobody; there are: nanogpt, ionet"),
        ({"scenario": "nothing"}, "unknown scenario nothing; there are: nanogpt-flat"),
        ({"scenario": "near-direct"}, "nanogpt does not play near-direct; it plays: nanogpt-flat"),
        ({"fault": "nothing"}, "unknown fault nothing; there are: signature-404"),
        ({"fault": "tls-fingerprint-other"}, "cannot be played in the scenario nanogpt-flat"),
        ({"variants": ("nothing",)}, "unknown variant nothing; there are: event-log-text"),
        ({"on": "nothing"}, "unknown kind of request nothing; there are: attestation, chat"),
        ({"listen": "0.0.0.0:0"}, "use 127.0.0.1:0"),
        ({"listen": "192.0.2.1:80"}, "serves this machine alone"),
        ({"listen": "127.0.0.1"}, "not HOST:PORT"),
        ({"listen": "127.0.0.1:99999"}, "not HOST:PORT"),
    ],
)
def test_what_cannot_be_simulated_is_refused(members: dict[str, object], what: str) -> None:
    wanted = {"provider": "nanogpt", **members}
    with pytest.raises(UsageError, match=what):
        command.run(command.Wanted(**wanted), lambda _: None, _stopping)


def test_taken_port_and_folder_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    before = threading.active_count()
    with pytest.raises(UsageError, match="cannot write there"):
        command.run(command.Wanted(provider="nanogpt", out=file / "x"), lambda _: None, _stopping)
    assert threading.active_count() == before
    with command.simulator(command.Wanted(provider="nanogpt")) as running:
        port = running.provider.address[1]
        with pytest.raises(UsageError, match="in use"):
            command.run(
                command.Wanted(provider="nanogpt", listen=f"127.0.0.1:{port}"),
                lambda _: None,
                _stopping,
            )


def test_provider_has_to_be_said(capfd: pytest.CaptureFixture[str]) -> None:
    assert _run() == 2
    assert "--provider NAME" in capfd.readouterr().err


def test_vendor_fault_and_localhost_are_taken() -> None:
    said: list[str] = []
    wanted = command.Wanted(provider="nanogpt", fault="rim-404", listen="localhost:0")
    command.run(wanted, said.append, _stopping)
    assert json.loads(said[0])["fault"] == "rim-404"


def test_signals_end_the_wait() -> None:
    with command.signalled() as wait:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        wait()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
