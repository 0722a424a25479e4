"""`teebundle capture` as users run it: exit codes, messages, event lines, going on after a kill."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.simulator.wire import Answer, Request
from fixtures.simulator.world import Simulator
from tests.acceptance.program import Place, peak_kib, place, without_peak


@pytest.fixture
def near(tmp_path: Path) -> Iterator[tuple[Place, Simulator]]:
    with Simulator("near-direct") as simulator:
        yield place(tmp_path, simulator, "near-direct"), simulator


def left(where: Place) -> set[str]:
    known = {"k", "ca.pem", "trust.json", "policy.yaml", "teebundle.yaml"}
    return {path.name for path in where.folder.iterdir()} - known


def test_a_capture_is_written_judged_and_told(near: tuple[Place, Simulator]) -> None:
    where, simulator = near
    done = where.capture("--prompt", "hello", "--stream")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sha256:")
    assert "VERIFIED (0)" in done.stdout
    assert f"wrote {where.out}" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stderr
    assert left(where) == {"o.evidence.json"}
    assert simulator.api_key not in done.stdout + done.stderr
    again = where.run(
        "verify", where.out, "--policy", where.folder / "policy.yaml", "--trust",
        where.folder / "trust.json", "--signer", where.folder / "k/signer.pub",
    )  # fmt: skip
    assert again.returncode == 0, again.stdout


def test_event_lines_are_json_and_end_with_the_bundle(near: tuple[Place, Simulator]) -> None:
    where, _ = near
    done = where.capture("--prompt", "hello", "--stream", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert without_peak(done.stderr) == ""
    kinds = [event["event"] for event in events]
    assert {"stage-began", "stage-ended", "answered", "result"} <= set(kinds)
    assert events[-1]["event"] == "bundle"
    assert events[-1]["verdict"] == "VERIFIED"
    assert events[-1]["exit"] == 0
    assert events[-1]["file"] == str(where.out)


@pytest.mark.parametrize("gone", ["reader", "room"])
def test_event_lines_that_nobody_reads_end_no_capture(
    near: tuple[Place, Simulator], gone: str
) -> None:
    where, simulator = near
    if gone == "reader":
        reading, writing = os.pipe()
        os.close(reading)
    else:
        writing = os.open("/dev/full", os.O_WRONLY)
    try:
        done = subprocess.run(
            where.words(
                "capture", "--config", where.config, "--key", where.key, "-o", where.out,
                "--prompt", "hello", "--json",
            ),
            cwd=where.folder,
            env=where.environment,
            check=False,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert "fault of the program" not in done.stderr
    assert left(where) == {"o.evidence.json"}
    assert sum(one.method == "POST" for one in simulator.journal.requests) == 1


def test_what_cannot_be_asked_again_is_not_said_to_be(near: tuple[Place, Simulator]) -> None:
    where, simulator = near
    real = simulator.provider.handlers[0]

    def busy(request: Request) -> Answer | None:
        return Answer(status=503) if request.method == "POST" else real(request)

    simulator.provider.handlers = [busy]
    done = where.capture("--prompt", "hello", "--stream")
    assert done.returncode == 1, done.stderr  # REJECTED: the chat's status is no success
    journal = where.out.with_name(where.out.name + ".journal")
    assert "missing: chat: HTTP 503" in done.stderr
    assert f"the journal stays in {journal}; delete it when you need it no more" in done.stderr
    assert "--resume" not in done.stderr


def test_what_can_be_asked_again_is_said_to_be(near: tuple[Place, Simulator]) -> None:
    where, simulator = near
    real = simulator.provider.handlers[0]

    def large(request: Request) -> Answer | None:
        looked_up = "/signature/" in request.path
        return Answer(body=bytes(65 << 10)) if looked_up else real(request)

    simulator.provider.handlers = [large]
    done = where.capture("--prompt", "hello", "--stream")
    assert done.returncode == 5, done.stderr
    assert "missing: signature.ecdsa: too-large" in done.stderr
    assert "ask again for what is missing with --resume" in done.stderr


def test_a_request_file_is_sent_as_it_is_without_a_marker(near: tuple[Place, Simulator]) -> None:
    where, simulator = near
    text = '{ "model": "%s",  "stream": true, "messages": [{"role":"user","content":"é?"}] }'
    body = (text % simulator.model).encode()
    done = where.capture("--request", "-", "--no-marker", stdin=body)
    sent = [r.body for r in simulator.journal.requests if r.method == "POST"]
    assert sent == [body]
    assert done.returncode == 3, done.stdout  # the policy demands the marker
    assert "marker.missing" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--stream",), "--attestation-only"),
        (("--prompt", "a", "--attestation-only"), "one of the three"),
        (("--prompt", "a", "--request", "teebundle.yaml"), "both given"),
        (("--request", "gone.json"), "gone.json"),
        (("--prompt", "a", "--seal-incomplete"), "--resume"),
        (("--prompt", "a", "--algorithm", "rsa"), "does not sign with"),
        (("--prompt", "a", "--tsa", "http://tsa.example"), "only https"),
        (("--prompt", "a", "--beacon", "http://log.example/"), "only https"),
        (("--prompt", "a", "--beacon", "https://log.example/?token=abc"), "holds a secret"),
        (("--prompt", "a", "--tsa", "https://tsa.example:0/"), "no address"),
        (("--prompt", "a", "--ca-file", "gone.pem"), "gone.pem"),
        (("--prompt", "a", "--policy", "gone.yaml"), "gone.yaml"),
        (("--prompt", "a", "--nras"), "--yes"),
        (("elsewhere", "--prompt", "a"), "elsewhere"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_sent(
    near: tuple[Place, Simulator], words: tuple[str, ...], says: str
) -> None:
    where, simulator = near
    done = where.capture(*words)
    assert done.returncode in {2, 4}, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert simulator.journal.requests == []
    assert left(where) == set()


def test_an_output_is_never_an_input_nor_overwritten(near: tuple[Place, Simulator]) -> None:
    where, simulator = near
    onto_key = where.capture("--prompt", "a", "-o", where.key, "--overwrite")
    where.out.write_text("mine")
    taken = where.capture("--prompt", "a")
    assert (onto_key.returncode, taken.returncode) == (2, 2)
    assert "is an input" in onto_key.stderr
    assert "exists already" in taken.stderr
    assert where.out.read_text() == "mine"
    assert b"PRIVATE KEY" in where.key.read_bytes()
    assert simulator.journal.requests == []


def test_a_refused_key_ends_with_5_and_leaves_the_journal(tmp_path: Path) -> None:
    with Simulator("near-direct", fault="401") as simulator:
        where = place(tmp_path, simulator, "near-direct")
        done = where.capture("--prompt", "a", "--json")
    last = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 5
    assert last["event"] == "error"
    assert last["journal"] == str(where.out) + ".journal"
    assert "--resume" in done.stderr
    assert "API key" in done.stderr
    assert simulator.api_key not in done.stdout + done.stderr
    assert left(where) == {"o.evidence.json.journal"}


def killed_after(where: Place, simulator: Simulator, requests: int) -> None:
    """Start a capture and kill it once the simulator has had so many requests."""
    words = where.words(
        "capture", "--config", where.config, "--key", where.key, "-o", where.out,
        "--prompt", "hello", "--stream",
    )  # fmt: skip
    child = subprocess.Popen(
        words, env=where.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 30
    while len(simulator.journal.requests) < requests and child.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()


@pytest.mark.parametrize("requests", [1, 2, 3, 4, 5, 6])
def test_a_killed_capture_goes_on_and_sends_one_chat(
    near: tuple[Place, Simulator], requests: int
) -> None:
    where, simulator = near
    killed_after(where, simulator, requests)
    done = where.run("capture", "--resume", str(where.out) + ".journal")
    chats = [r for r in simulator.journal.requests if r.path.endswith("/chat/completions")]
    if "holds no record" in done.stderr or "is no journal" in done.stderr:
        pytest.fail(done.stderr)
    assert len(chats) <= 1
    assert where.out.exists(), done.stderr
    assert done.returncode in {0, 5, 1}, done.stderr
    if done.returncode == 0:
        assert "VERIFIED (0)" in done.stdout
    else:  # killed while the chat was under way: it is not asked again
        assert len(chats) == 1
        assert done.returncode == 1 or "missing" in done.stderr


def test_a_resumed_capture_refuses_what_its_journal_decides(near: tuple[Place, Simulator]) -> None:
    where, simulator = near
    killed_after(where, simulator, 2)
    folder = str(where.out) + ".journal"
    for words in (("--model", "m"), ("--prompt", "a"), ("--base-url", simulator.base_url)):
        done = where.run("capture", "--resume", folder, *words)
        assert done.returncode == 2
        assert "the journal says it" in done.stderr


def test_what_was_interrupted_is_sealed_as_incomplete(near: tuple[Place, Simulator]) -> None:
    where, simulator = near
    killed_after(where, simulator, 2)
    before = len(simulator.journal.requests)
    folder = str(where.out) + ".journal"
    done = where.run("capture", "--resume", folder, "--seal-incomplete")
    assert done.returncode == 5, done.stderr
    assert len(simulator.journal.requests) == before
    assert "sealed as incomplete" in done.stderr
    assert Path(folder).is_dir()


def test_a_hundred_mebibytes_are_captured_in_less_memory(tmp_path: Path) -> None:
    with Simulator("near-direct", size=100 << 20) as simulator:
        where = place(tmp_path, simulator, "near-direct")
        done = where.capture("--prompt", "much", "--stream", "--max-response", "128")
    assert done.returncode == 0, done.stdout + done.stderr
    blobs = Path(str(where.out) + ".blobs")
    assert max(p.stat().st_size for p in blobs.rglob("*")) > 100 << 20
    assert peak_kib(done.stderr) < 100 << 10
    judged = where.run(
        "verify", where.out, "--policy", where.folder / "policy.yaml", "--trust",
        where.folder / "trust.json", "--signer", where.folder / "k/signer.pub", "--blobs", blobs,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout
    assert peak_kib(judged.stderr) < 100 << 10


def test_an_answer_over_the_limit_is_cut_and_told(tmp_path: Path) -> None:
    with Simulator("near-direct", size=3 << 20) as simulator:
        where = place(tmp_path, simulator, "near-direct")
        done = where.capture("--prompt", "much", "--stream", "--max-response", "1")
    assert done.returncode in {1, 5}, done.stderr
    assert "too-large" in done.stderr
    assert "1048576 bytes" in done.stderr
    assert "VERIFIED" not in done.stdout


def test_a_reader_says_how_large_an_answer_it_reads(tmp_path: Path) -> None:
    with Simulator("near-direct", size=18 << 20) as simulator:
        where = place(tmp_path, simulator, "near-direct")
        done = where.capture("--prompt", "much", "--stream")
    assert done.returncode == 0, done.stderr
    words = (
        "verify", where.out, "--policy", where.folder / "policy.yaml", "--trust",
        where.folder / "trust.json", "--signer", where.folder / "k/signer.pub",
        "--blobs", f"{where.out}.blobs",
    )  # fmt: skip
    assert where.run(*words).returncode == 0
    assert where.run(*words, "--max-blob", "19").returncode == 0
    unread = where.run(*words, "--max-blob", "17")
    assert unread.returncode == 3
    assert "artifact.external_unavailable" in unread.stdout
    for wrong in ("0", "4097", "x", "-1"):
        refused = where.run(*words, f"--max-blob={wrong}")
        assert refused.returncode == 2
        assert "--max-blob takes 1 to 4096" in refused.stderr


def test_a_policy_can_be_drafted_from_a_bundle_with_a_large_answer(tmp_path: Path) -> None:
    with Simulator("near-direct", size=18 << 20) as simulator:
        where = place(tmp_path, simulator, "near-direct")
        done = where.capture("--prompt", "much", "--stream")
    assert done.returncode == 0, done.stderr
    words = (
        "policy", "init", "--from", "near-direct", "--bundle", where.out, "--signer",
        where.folder / "k/signer.pub", "--trust", where.folder / "trust.json",
    )  # fmt: skip
    blind = where.run(*words, "-o", where.folder / "a.yaml")
    seen = where.run(*words, "-o", where.folder / "b.yaml", "--blobs", f"{where.out}.blobs")
    assert "artifact.external_unavailable" in blind.stderr
    assert "artifact.external_unavailable" not in seen.stderr


def test_a_capture_between_beacon_and_timestamp_is_bracketed(
    near: tuple[Place, Simulator],
) -> None:
    where, simulator = near
    done = where.capture(
        "--prompt", "hello", "--tsa", simulator.tsa, "--beacon", simulator.beacon
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    words = (
        "verify", where.out, "--policy", where.folder / "policy.yaml", "--trust",
        where.folder / "trust.json", "--signer", where.folder / "k/signer.pub", "-f", "json",
    )  # fmt: skip
    report = json.loads(where.run(*words).stdout)
    checks = {check["id"]: check["status"] for check in report["checks"]}
    assert checks["time.timestamp"] == "PASS"
    assert checks["time.beacon"] == "PASS"
    assert "bracketed" in json.dumps(report)


@pytest.mark.parametrize(
    ("fault", "says"), [("tsa-reject", "timestamp"), ("tsa-wrong-nonce", "timestamp")]
)
def test_a_failed_timestamp_is_told_and_the_bundle_is_kept(
    fault: str, says: str, tmp_path: Path
) -> None:
    with Simulator("near-direct", fault=fault) as simulator:
        where = place(tmp_path, simulator, "near-direct")
        done = where.capture("--prompt", "hello", "--tsa", simulator.tsa)
        assert done.returncode == 5, done.stdout + done.stderr
        assert says in done.stderr
        assert "VERIFIED (0)" in done.stdout
        stamped = where.run(
            "timestamp", where.out, "--tsa", simulator.tsa, "--trust",
            where.folder / "trust.json", "--ca-file", where.folder / "ca.pem", "-o",
            where.folder / "new.json",
        )  # fmt: skip
    assert stamped.returncode == 5
    assert not (where.folder / "new.json").exists()


def test_an_address_with_a_secret_is_not_kept_for_resuming(tmp_path: Path) -> None:
    with Simulator("near-direct", fault="401") as simulator:
        where = place(tmp_path, simulator, "near-direct")
        secret = "k33p-this-0ut"
        done = where.capture("--prompt", "a", "--tsa", f"{simulator.tsa}?token={secret}")
    assert done.returncode == 5
    kept = [path for path in Path(f"{where.out}.journal").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if secret.encode() in path.read_bytes()]
    assert secret not in done.stdout + done.stderr


def test_a_capture_without_a_key_says_how_one_is_given(tmp_path: Path) -> None:
    with Simulator("near-direct") as simulator:
        where = place(tmp_path, simulator, "near-direct")
        text = where.config.read_text().replace('api_key_env: "SIMULATED_KEY"\n', "")
        where.config.write_text(text)
        done = where.capture("--prompt", "hello")
    assert done.returncode == 5
    assert "no API key is sent" in done.stderr
    assert "--api-key-env" in done.stderr
    assert "401" in done.stderr
