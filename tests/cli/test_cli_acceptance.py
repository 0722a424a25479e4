"""The main job, end to end, on real recordings, through the installed commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


def call(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / str(words[0])), *(str(word) for word in words[1:])],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def done(*words: object, cwd: Path, code: int = 0) -> str:
    found = call(*words, cwd=cwd)
    assert found.returncode == code, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    return found.stdout + found.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("acceptance")


@pytest.fixture(scope="module")
def captures(evidence_root: Path) -> Path:
    return evidence_root / "captures"


@pytest.fixture(scope="module")
def nanogpt(folder: Path, captures: Path) -> Path:
    said = done("teebundle", "keygen", "--out", "k", cwd=folder)
    assert "sha256:" in said
    recording = captures / "nanogpt_tee_gemma-3-27b-it_20260610_014905"
    done(
        "teebundle",
        "import",
        recording,
        "--key",
        "k/signer.key",
        "-o",
        "n.evidence.json",
        cwd=folder,
    )
    done(
        "teebundle",
        "policy",
        "init",
        "--from",
        "nanogpt",
        "--bundle",
        "n.evidence.json",
        "-o",
        "p.yaml",
        cwd=folder,
    )
    return folder


def test_import_verifies_as_of_capture(nanogpt: Path) -> None:
    words = ("--policy", "p.yaml", "--signer", "k/signer.pub", "--format", "json")
    report = json.loads(call("teebundle", "verify", "n.evidence.json", *words, cwd=nanogpt).stdout)
    assert (report["verdict"], report["exitCode"]) == ("VERIFIED", 0)
    passed = {row["id"] for row in report["checks"] if row["status"] == "PASS"}
    assert passed >= {
        "tdx.tcb",
        "binding.report_data",
        "freshness.nonce_in_quote",
        "event_log.replay",
        "compose.hash",
        "gpu.report.signature",
        "gpu.chain",
        "gpu.nonce",
        "nras.token",
        "nras.result",
        "nras.binding",
        "reference.measurements",
    }
    assert report["input"]["mode"] == "import"
    assert {"session.imported", "nonce.foreign_accepted"} <= {
        row["code"] for row in report["limits"]
    }


def test_policy_from_a_bundle_marks_what_it_took(nanogpt: Path) -> None:
    text = (nanogpt / "p.yaml").read_text(encoding="utf-8")
    assert text.count("# from the bundle: confirm elsewhere") > 10
    assert "allow_import: true  # from the bundle: confirm elsewhere" in text


def test_verifier_alone_gives_the_same_report(nanogpt: Path) -> None:
    words = (
        "verify",
        "n.evidence.json",
        "--policy",
        "p.yaml",
        "--signer",
        "k/signer.pub",
        "--format",
        "json",
    )
    full = call("teebundle", *words, cwd=nanogpt)
    alone = call("teebundle-verify", *words, cwd=nanogpt)
    assert (full.returncode, alone.returncode) == (0, 0)
    assert full.stdout == alone.stdout


def test_later_instant_names_the_expired_collateral(nanogpt: Path) -> None:
    said = done(
        "teebundle",
        "verify",
        "n.evidence.json",
        "--policy",
        "p.yaml",
        "--signer",
        "k/signer.pub",
        "--as-of",
        "2026-07-20T00:00:00Z",
        cwd=nanogpt,
        code=1,
    )
    for code in ("tdx.tcb_info.expired", "tdx.qe_identity.expired", "tdx.pck_crl.expired"):
        assert code in said


def test_no_signer_named_is_incomplete(nanogpt: Path) -> None:
    said = done("teebundle", "verify", "n.evidence.json", "--policy", "p.yaml", cwd=nanogpt, code=3)
    assert "envelope.signer_unknown" in said


def test_no_policy_named_says_what_leads_on(nanogpt: Path) -> None:
    said = done("teebundle", "verify", "n.evidence.json", cwd=nanogpt, code=2)
    assert "nanogpt" in said
    assert "teebundle policy init --from nanogpt --bundle n.evidence.json" in said
    assert "teebundle-verify verify n.evidence.json --policy" in said


def test_default_of_another_profile_writes_nothing(nanogpt: Path) -> None:
    said = done(
        "teebundle",
        "policy",
        "init",
        "--from",
        "venice",
        "--bundle",
        "n.evidence.json",
        "-o",
        "other.yaml",
        cwd=nanogpt,
        code=2,
    )
    assert "nanogpt" in said
    assert not (nanogpt / "other.yaml").exists()


def test_chat_and_attestation_of_different_days_join_by_address(
    nanogpt: Path, captures: Path, evidence_root: Path
) -> None:
    done(
        "teebundle",
        "import",
        "--attestation",
        captures / "venice_e2ee-qwen3-5-122b-a10b_20260610_014707",
        "--chat",
        evidence_root / "chat" / "near-qwen35-122b-20260602",
        "--key",
        "k/signer.key",
        "-o",
        "q.evidence.json",
        cwd=nanogpt,
    )
    done(
        "teebundle",
        "policy",
        "init",
        "--from",
        "venice",
        "--bundle",
        "q.evidence.json",
        "-o",
        "q.yaml",
        cwd=nanogpt,
    )
    done(
        "teebundle",
        "verify",
        "q.evidence.json",
        "--policy",
        "q.yaml",
        "--signer",
        "k/signer.pub",
        "--format",
        "json",
        "-o",
        "q.json",
        cwd=nanogpt,
    )
    report = json.loads((nanogpt / "q.json").read_text(encoding="utf-8"))
    rows = {row["id"]: row for row in report["checks"]}
    assert report["verdict"] == "VERIFIED"
    for check in (
        "content.request",
        "content.response",
        "signature.recovery",
        "signature.signer",
        "binding.report_data",
    ):
        assert rows[check]["status"] == "PASS"
    joined = " ".join(rows["identity.stability"]["matched"])
    assert "2026-06-02" in joined
    assert "2026-06-10" in joined
    assert "the address, not the machine, joins them" in joined


@pytest.mark.parametrize(
    "item", ["gemma-3-27b-it", "gpt-oss-120b", "glm-5", "qwen3-30b-a3b-instruct-2507"]
)
def test_march_answers_echo_the_nonce_and_do_not_bind_it(
    nanogpt: Path, captures: Path, item: str
) -> None:
    out = f"{item}.evidence.json"
    done(
        "teebundle",
        "import",
        captures / "nanogpt_20260325_225022" / item,
        "--key",
        "k/signer.key",
        "-o",
        out,
        cwd=nanogpt,
    )
    done(
        "teebundle",
        "policy",
        "init",
        "--from",
        "nanogpt-own-nonce",
        "--bundle",
        out,
        "-o",
        f"{item}.yaml",
        cwd=nanogpt,
    )
    found = call(
        "teebundle",
        "verify",
        out,
        "--policy",
        f"{item}.yaml",
        "--signer",
        "k/signer.pub",
        "--format",
        "json",
        cwd=nanogpt,
    )
    report = json.loads(found.stdout)
    assert found.returncode == 3, "the recording holds no collateral"
    echo = [row["text"] for row in report["limits"] if row["code"] == "freshness.echo_only"]
    assert echo == [
        "the nonce that was sent is echoed but NOT bound: the quote holds another value"
    ]
