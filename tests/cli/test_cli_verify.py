"""`verify`: one transcript per exit code and format, and what must hold of every one."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest

import bundle.cli
from bundle.demo import tampered
from bundle.pack import unpack
from tests.cli.shipped import (
    BUNDLE,
    GOOD,
    JUDGED,
    POLICY,
    ROOT,
    TRUST,
    VALIDATOR,
    call,
    edited,
    restated,
    spawn,
)
from verify.cli import verification
from verify.engine.errors import InternalFault

pytestmark = pytest.mark.usefixtures("_no_colour")


@pytest.fixture
def _no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


def place(tmp_path: Path, data: bytes, name: str = "b.evidence.json") -> str:
    path = tmp_path / name
    path.write_bytes(data)
    return str(path)


def test_verify_good_bundle_exits_0_in_both_formats(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said = call(monkeypatch, capfd, *GOOD)
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith("VERIFIED (0)  sha256:")
    assert lines[1].startswith("ADDED VENDOR ANCHORS: ")
    assert "not shown by this, even where it passed:" in lines
    report = call(monkeypatch, capfd, *GOOD, "--format", "json").report
    assert (report["verdict"], report["error"]) == ("VERIFIED", None)
    assert report["input"]["bundleId"] in lines[0]
    assert all(row["status"] in {"PASS", "NOT_APPLICABLE"} for row in report["checks"])


def test_verify_verbose_adds_passed_checks(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "PASS      tdx.quote.signature" in call(monkeypatch, capfd, *GOOD, "--verbose").out


def test_verify_changed_answer_exits_1_and_points_at_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data, artifact = tampered(BUNDLE.read_bytes())
    words = ("verify", place(tmp_path, data), *JUDGED)
    said = call(monkeypatch, capfd, *words)
    assert said.code == 1
    assert said.out.startswith("REJECTED (1)  sha256:")
    assert "blob.digest_mismatch" in said.out
    report = call(monkeypatch, capfd, *words, "--format", "json").report
    row = next(row for row in report["checks"] if row["id"] == "blobs.digests")
    assert (row["status"], row["reason"]) == ("FAIL", "blob.digest_mismatch")
    assert any(artifact in str(finding) for finding in row["findings"]) or row["findings"]


def test_verify_without_policy_exits_2_naming_profile_and_next_commands(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said = call(monkeypatch, capfd, "verify", str(BUNDLE))
    assert (said.code, said.out) == (2, "")
    assert "It claims profile nanogpt" in said.err
    assert f"teebundle policy init --from nanogpt --bundle {BUNDLE} -o policy.yaml" in said.err
    assert f"teebundle-verify verify {BUNDLE} --policy policy.yaml" in said.err
    report = call(monkeypatch, capfd, "verify", str(BUNDLE), "--format", "json").report
    assert (report["verdict"], report["error"]["kind"]) == (None, "usage")


@pytest.mark.parametrize(
    ("words", "said_of_it"),
    [
        (["verify"], "no bundle named"),
        (["verify", str(ROOT)], "is a directory without bundle.json"),
        (["verify", str(BUNDLE), str(POLICY), *JUDGED], "2 files named"),
        (["verify", "nowhere.json", *JUDGED], "nowhere.json: cannot be read: No such file"),
        (["verify", "nowhere.json"], "no policy named: give --policy FILE or --profile NAME"),
        ([*GOOD, "--profile", "nanogpt"], "--policy and --profile are both given"),
        ([*GOOD, "--as-of", "yesterday"], "--as-of takes capture, now, or a time"),
        ([*GOOD, "--blobs", "nowhere"], "--blobs nowhere is not a folder"),
        ([*GOOD, "--out", "nowhere/x"], "cannot write nowhere/x"),
        ([*GOOD, "-o", "x", "--report", "x"], "name the same file"),
        ([*GOOD, "--out", str(BUNDLE)], "is an input of this command"),
        ([*GOOD, "--nothing"], "no such option: --nothing"),
        (["verify", str(BUNDLE), "--profile", "nothing"], "no default policy is called 'nothing'"),
    ],
)
def test_verify_wrong_call_exits_2_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: list[str],
    said_of_it: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = call(monkeypatch, capfd, *words)
    assert (said.code, said.out) == (2, "")
    assert said_of_it in said.err
    json_said = call(monkeypatch, capfd, *words, "--format", "json")
    assert json_said.code == 2
    assert json_said.report["error"]["kind"] == "usage"
    assert list(tmp_path.iterdir()) == []


def test_verify_default_profile_alone_exits_3(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("verify", str(BUNDLE), "--profile", "nanogpt")
    said = call(monkeypatch, capfd, *words)
    assert said.code == 3
    assert said.out.startswith("INCOMPLETE (3)  sha256:")
    assert "envelope.signer_unknown" in said.out
    report = call(monkeypatch, capfd, *words, "-f", "json").report
    assert report["verdict"] == "INCOMPLETE"


def test_verify_removed_body_exits_3_and_names_the_artifact(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def remove(document: dict[str, Any]) -> None:
        found = next(iter(document["blobs"]))
        del document["blobs"][found]

    words = ("verify", place(tmp_path, edited(remove)), *JUDGED)
    said = call(monkeypatch, capfd, *words)
    assert said.code == 3
    assert "artifact.missing" in said.out
    assert call(monkeypatch, capfd, *words, "-f", "json").report["absent"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (b"", "input.empty"),
        (b"\xff\xfe{}", "input.encoding"),
        (b'{"mediaType":', "input.json"),
        (b'{"mediaType":1,"mediaType":2}', "input.duplicate_member"),
        (b"[" * 100, "input.depth"),
        (b"{}", "input.schema"),
    ],
)
def test_verify_unusable_bundle_exits_4_with_its_code(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    change: bytes,
    code: str,
) -> None:
    path = place(tmp_path, change)
    said = call(monkeypatch, capfd, "verify", path, *JUDGED)
    assert (said.code, said.out) == (4, "")
    assert f"error: {path}" in said.err
    assert f"({code})" in said.err
    error = call(monkeypatch, capfd, "verify", path, *JUDGED, "-f", "json").report["error"]
    assert (error["kind"], error["code"]) == ("malformed-bundle", code)
    assert error["file"] == "b.evidence.json"


@pytest.mark.parametrize(
    ("which", "data", "kind"),
    [
        ("--policy", b"schema: 1\n", "malformed-policy"),
        ("--policy", b"a: &x 1\n", "malformed-policy"),
        ("--policy", b"\x00", "malformed-policy"),
        ("--trust", b"{}", "malformed-trust"),
        ("--trust", b"not json", "malformed-trust"),
        ("--signer", b"no pem", "malformed-trust"),
    ],
)
def test_verify_unusable_policy_or_trust_exits_4(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    which: str,
    data: bytes,
    kind: str,
) -> None:
    path = place(tmp_path, data, "given")
    words = ["verify", str(BUNDLE), which, path]
    if which != "--policy":
        words += ["--policy", str(POLICY)]
    said = call(monkeypatch, capfd, *words)
    assert (said.code, said.out) == (4, "")
    assert f"error: {path}" in said.err
    assert call(monkeypatch, capfd, *words, "-f", "json").report["error"]["kind"] == kind


def test_verify_file_above_the_limit_exits_4_unread(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "huge.evidence.json"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    said = call(monkeypatch, capfd, "verify", str(path), *JUDGED)
    assert said.code == 4
    assert "input.too_large" in said.err


@pytest.mark.parametrize("fault", [InternalFault("anchor differs"), RuntimeError("boom")])
def test_verify_fault_of_the_program_exits_70_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fault: Exception
) -> None:
    def broken(*_given: object, **_named: object) -> None:
        raise fault

    monkeypatch.setattr("verify.api.verify_bundle", broken)
    said = call(monkeypatch, capfd, *GOOD)
    assert (said.code, said.out) == (70, "")
    assert "fault of the program" in said.err
    report = call(monkeypatch, capfd, *GOOD, "-f", "json").report
    assert (report["verdict"], report["error"]["kind"]) == (None, "internal")


def test_verify_crash_whose_report_crashes_too_still_exits_70(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_given: object, **_named: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("verify.api.verify_bundle", broken)
    monkeypatch.setattr("verify.cli.output.error_document", broken)
    assert call(monkeypatch, capfd, *GOOD, "-f", "json").code == 70


def test_verify_interrupted_exits_130(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_given: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("verify.api.verify_bundle", interrupted)
    said = call(monkeypatch, capfd, *GOOD)
    assert (said.code, said.out) == (130, "")
    assert "interrupted" in said.err


def test_verify_writes_reports_whole_and_leaves_its_inputs_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = [path.read_bytes() for path in (BUNDLE, POLICY, TRUST)]
    text, report = tmp_path / "out.txt", tmp_path / "report.json"
    said = call(monkeypatch, capfd, *GOOD, "-o", str(text), "--report", str(report))
    assert (said.code, said.out) == (0, "")
    assert text.read_text(encoding="utf-8").startswith("VERIFIED (0)")
    VALIDATOR.validate(json.loads(report.read_bytes()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.txt", "report.json"]
    assert before == [path.read_bytes() for path in (BUNDLE, POLICY, TRUST)]


def test_verify_unusable_bundle_still_writes_the_json_report(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = place(tmp_path, b"{}")
    text, report = tmp_path / "out.txt", tmp_path / "report.json"
    words = ("verify", bad, *JUDGED, "-o", str(text), "--report", str(report))
    assert call(monkeypatch, capfd, *words).code == 4
    assert json.loads(report.read_bytes())["exitCode"] == 4
    assert not text.exists()


def test_verify_by_either_program_gives_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    one = call(monkeypatch, capfd, *GOOD, "-f", "json")
    other = call(monkeypatch, capfd, *GOOD, "-f", "json", main=bundle.cli.call)
    assert one == other


def test_verify_exploded_bundle_gives_the_same_report(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "b.evidence"
    unpack(BUNDLE, folder)
    one = call(monkeypatch, capfd, *GOOD, "-f", "json")
    assert call(monkeypatch, capfd, "verify", str(folder), *JUDGED, "-f", "json") == one


def test_verify_explicit_instant_after_every_window_exits_1(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    said = call(monkeypatch, capfd, *GOOD, "--as-of", "2045-01-01T00:00:00Z", "-f", "json")
    assert said.code == 1
    assert said.report["asOf"]["source"] == "explicit"
    assert said.report["asOf"]["instant"] == "2045-01-01T00:00:00.000Z"


def test_verify_report_does_not_change_with_the_date_unless_now_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def on(year: int) -> type[datetime]:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return datetime(year, 6, 1, tzinfo=tz)

        return Clock

    reports = []
    for year in (2027, 2040):
        monkeypatch.setattr(verification, "datetime", on(year))
        reports.append(call(monkeypatch, capfd, *GOOD, "-f", "json"))
    assert reports[0] == reports[1]
    now = call(monkeypatch, capfd, *GOOD, "-f", "json", "--as-of", "now")
    assert now.report["asOf"] | {} == now.report["asOf"]
    assert now.report["asOf"]["instant"] == "2040-06-01T00:00:00.000Z"
    assert now.report["asOf"]["source"] == "now"
    assert datetime.now(UTC).year < 2040


def test_verify_report_bytes_are_the_same_in_every_environment() -> None:
    environments: list[dict[str, str]] = [
        {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"},
        {"PYTHONHASHSEED": "1", "TZ": "Pacific/Auckland", "LC_ALL": "C.UTF-8"},
        {"PYTHONHASHSEED": "4242", "TZ": "America/Caracas", "LC_ALL": "POSIX", "PYTHONUTF8": "0"},
    ]
    found = {spawn(*GOOD, "-f", "json", env=env).stdout for env in environments}
    assert len(found) == 1
    VALIDATOR.validate(json.loads(found.pop()))


def test_verify_text_survives_an_ascii_terminal() -> None:
    done = spawn(*GOOD, env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert done.returncode == 0
    assert done.stdout.startswith(b"VERIFIED (0)")
    assert done.stderr == b""


def test_verify_reader_that_goes_away_keeps_the_verdict(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    prelude = f"import os; os.dup2({writer}, 1)"
    data, _ = tampered(BUNDLE.read_bytes())
    words = ("verify", place(tmp_path, data), *JUDGED)
    os.set_inheritable(writer, True)
    import subprocess
    import sys

    code = (
        f"{prelude}\nimport sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from verify.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        stderr=subprocess.PIPE,
        check=False,
        pass_fds=[writer],
        timeout=120,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_verify_hostile_strings_stay_inert_in_every_output(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    hostile = "x\u202e\u2066y\u200fz"

    def change(statement: dict[str, Any]) -> None:
        capture = statement["predicate"]["capture"]
        capture["operator"] = hostile
        capture["provider"]["name"] = hostile
        statement["predicate"]["observations"] = [
            {"check": "tdx.tcb", "status": "pass", "note": hostile}
        ]

    path = place(tmp_path, restated(change))
    outputs = [
        call(monkeypatch, capfd, "verify", path, *JUDGED),
        call(monkeypatch, capfd, "verify", path, *JUDGED, "-v"),
        call(monkeypatch, capfd, "verify", path, *JUDGED, "-f", "json"),
        call(monkeypatch, capfd, "verify", path),
        call(monkeypatch, capfd, "show", path),
        call(monkeypatch, capfd, "show", path, "--format", "json"),
    ]
    for said in outputs:
        for text in (said.out, said.err):
            assert all(c.isprintable() or c == "\n" for c in text)
    assert "x\\u202e\\u2066y\\u200fz" in outputs[4].out
    assert "CLAIMS, never an input to a verdict" in outputs[4].out
