"""`teebundle`: what it does besides reading; the road from a recording to a verdict."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

import bundle.cli
from bundle import demo
from tests.cli.shipped import BUNDLE, POLICY, TRUST, Said, call, edited
from verify.checks.catalogue import CATALOGUE
from verify.engine.errors import InternalFault

Teebundle = Callable[..., Said]


@pytest.fixture
def teebundle(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Teebundle:
    return lambda *words: call(monkeypatch, capfd, *map(str, words), main=bundle.cli.call)


@pytest.mark.parametrize("algorithm", ["ed25519", "p256"])
def test_keygen_writes_a_pair_once_and_never_overwrites(
    teebundle: Teebundle, tmp_path: Path, algorithm: str
) -> None:
    said = teebundle("keygen", "--out", tmp_path / "k", "--algorithm", algorithm)
    assert said.code == 0
    assert said.out.startswith("sha256:")
    assert stat.S_IMODE((tmp_path / "k" / "signer.key").stat().st_mode) == 0o600
    again = teebundle("keygen", "--out", tmp_path / "k")
    assert (again.code, again.out) == (2, "")
    assert "never overwritten" in again.err


def test_keygen_refuses_unknown_algorithm_and_empty_passphrase(
    teebundle: Teebundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert teebundle("keygen", "--out", tmp_path, "--algorithm", "rsa").code == 2
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    said = teebundle("keygen", "--out", tmp_path, "--passphrase-env", "NO_SUCH_VARIABLE")
    assert said.code == 2
    assert "holds no passphrase" in said.err
    monkeypatch.setenv("A_PASSPHRASE", "correct horse")
    assert teebundle("keygen", "--out", tmp_path, "--passphrase-env", "A_PASSPHRASE").code == 0
    assert b"ENCRYPTED" in (tmp_path / "signer.key").read_bytes()
    assert list(tmp_path.iterdir())


def test_demo_shows_both_verdicts_and_what_changed(teebundle: Teebundle) -> None:
    said = teebundle("demo")
    assert (said.code, said.err) == (0, "")
    assert "VERIFIED (0)" in said.out
    assert "REJECTED (1)" in said.out
    assert "PASS -> FAIL  blobs.digests  blob.digest_mismatch" in said.out


def test_demo_that_does_not_go_as_it_should_exits_70(
    teebundle: Teebundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "tampered", lambda data: (data, "res-1"))
    assert teebundle("demo").code == 70


def test_demo_without_its_files_exits_70(
    teebundle: Teebundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "_FIXTURES", tmp_path)
    monkeypatch.setattr(demo, "_PACKAGE", tmp_path)
    said = teebundle("demo")
    assert said.code == 70
    assert "not where it was installed" in said.err
    with pytest.raises(InternalFault):
        demo._file("bundles", "nothing")


def test_pack_and_unpack_lose_nothing_and_overwrite_nothing(
    teebundle: Teebundle, tmp_path: Path
) -> None:
    folder, file = tmp_path / "b.evidence", tmp_path / "b.evidence.json"
    assert teebundle("unpack", BUNDLE, folder).code == 0
    assert teebundle("pack", folder, file).code == 0
    assert file.read_bytes() == BUNDLE.read_bytes()
    assert teebundle("pack", folder, file).code == 2
    assert teebundle("unpack", BUNDLE, folder).code == 2
    assert teebundle("pack", tmp_path / "nowhere", tmp_path / "x").code == 2
    assert teebundle("unpack", TRUST, tmp_path / "y").code == 4


def test_policy_init_from_a_good_bundle_gives_a_policy_under_which_it_verifies(
    teebundle: Teebundle, tmp_path: Path
) -> None:
    policy = tmp_path / "p.yaml"
    words = ("policy", "init", "--from", "nanogpt", "--bundle", BUNDLE, "--trust", TRUST)
    said = teebundle(*words, "-o", policy)
    assert said.code == 0
    assert "# from the bundle: confirm elsewhere" in policy.read_text(encoding="utf-8")
    assert teebundle(*words, "-o", policy).code == 2
    assert teebundle(*words, "-o", policy, "--overwrite").code == 0
    assert teebundle("policy", "check", policy).code == 0


def test_policy_init_from_a_default_alone_and_of_another_profile(
    teebundle: Teebundle, tmp_path: Path
) -> None:
    policy = tmp_path / "p.yaml"
    assert teebundle("policy", "init", "--from", "venice", "-o", policy).code == 0
    said = teebundle("policy", "check", policy)
    assert said.code == 0
    assert "profile     venice" in said.out
    other = ("policy", "init", "--from", "venice", "--bundle", BUNDLE, "-o", tmp_path / "q.yaml")
    assert teebundle(*other).code == 2
    assert not (tmp_path / "q.yaml").exists()


def test_policy_check_names_the_fault(teebundle: Teebundle, tmp_path: Path) -> None:
    assert teebundle("policy", "check", POLICY).code == 0
    bad = tmp_path / "p.yaml"
    bad.write_text("name: &a x\n", encoding="utf-8")
    said = teebundle("policy", "check", bad)
    assert (said.code, said.out) == (4, "")
    assert "anchors are not allowed" in said.err


def test_outputs_never_replace_what_is_no_regular_file(
    teebundle: Teebundle, tmp_path: Path
) -> None:
    said = teebundle("policy", "init", "--from", "venice", "-o", "/dev/null", "--overwrite")
    assert said.code == 2
    assert "no regular file" in said.err
    assert Path("/dev/null").is_char_device()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said_of_it"),
    [
        ((), "name either RECORDING or --attestation"),
        (("recording", "--attestation", "x"), "name either RECORDING or --attestation"),
        (("nowhere",), "nowhere: no such file or folder"),
        (("nowhere", "--captured-at", "noon"), "--captured-at takes a time"),
    ],
)
def test_import_wrong_call_exits_2_and_writes_nothing(
    teebundle: Teebundle, tmp_path: Path, words: tuple[str, ...], said_of_it: str
) -> None:
    assert teebundle("keygen", "--out", tmp_path / "k").code == 0
    out = tmp_path / "out.evidence.json"
    said = teebundle("import", *words, "--key", tmp_path / "k" / "signer.key", "-o", out)
    assert (said.code, said.out) == (2, "")
    assert said_of_it in said.err
    assert not out.exists()


def test_import_of_a_real_recording_leads_to_a_verdict(
    teebundle: Teebundle, tmp_path: Path, evidence_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = evidence_root / "captures" / "nanogpt_tee_gemma-3-27b-it_20260610_014905"
    key, out, policy = tmp_path / "k", tmp_path / "n.evidence.json", tmp_path / "p.yaml"
    assert teebundle("keygen", "--out", key).code == 0
    words = ("import", recording, "--key", key / "signer.key", "-o", out)
    said = teebundle(*words)
    assert said.code == 0
    assert "policy init --from nanogpt" in said.err
    assert teebundle(*words).code == 2
    signer = ("--signer", key / "signer.pub")
    made = teebundle("policy", "init", "--from", "nanogpt", "--bundle", out, *signer, "-o", policy)
    assert made.code == 0
    judged = teebundle("verify", out, "--policy", policy, *signer, "-f", "json")
    assert judged.report["input"]["mode"] == "import"
    assert judged.report["input"]["bundleId"] == said.out.strip()
    monkeypatch.setenv("TEEBUNDLE_CREDENTIALS", "intel_quote")
    refused = teebundle(*words[:-1], tmp_path / "other.evidence.json")
    assert refused.code == 2
    assert "a configured credential stands in" in refused.err
    assert not (tmp_path / "other.evidence.json").exists()


def test_verify_by_the_whole_program_needs_no_typer_and_help_shows_its_own_name(
    teebundle: Teebundle, tmp_path: Path
) -> None:
    assert "teebundle verify chat.evidence.json" in teebundle("verify", "--help").out
    path = tmp_path / "b.evidence.json"
    path.write_bytes(edited(lambda _document: None))
    assert teebundle("verify", path, "--policy", POLICY, "--trust", TRUST).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("import", "recording", "--key", "{key}", "-o", "{key}"),
        ("nras", str(BUNDLE), "--key", "{key}", "--yes", "--out", "{key}"),
        ("policy", "init", "--from", "nanogpt", "--bundle", "{key}", "-o", "{key}"),
        ("policy", "init", "--from", "nanogpt", "--signer", "{key}", "-o", "{key}"),
    ],
)
def test_no_command_writes_over_what_it_reads(
    teebundle: Teebundle, tmp_path: Path, words: tuple[str, ...]
) -> None:
    teebundle("keygen", "--out", tmp_path)
    key = tmp_path / "signer.key"
    before = key.read_bytes()
    said = teebundle(*(word.format(key=key) for word in words), "--overwrite")
    assert (said.code, said.out) == (2, "")
    assert "is an input of this command" in said.err
    assert key.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"x" * (65 << 10)])
def test_a_private_key_of_the_wrong_size_is_no_trust_file(
    teebundle: Teebundle, tmp_path: Path, content: bytes
) -> None:
    key = tmp_path / "signer.key"
    key.write_bytes(content)
    said = teebundle("import", tmp_path, "--key", key, "-o", tmp_path / "n.json")
    assert (said.code, said.out) == (2, "")
    assert "no private key" in said.err
    assert "trust" not in said.err


@pytest.mark.parametrize(
    "words",
    [
        "verify", "show", "explain", "catalogue", "schema", "trust show", "keygen", "import", "nras",
        "pack", "unpack", "demo", "policy init", "policy check",
    ],
)  # fmt: skip
def test_help_shows_each_example_on_a_line_of_its_own(teebundle: Teebundle, words: str) -> None:
    said = teebundle(*words.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert "\\b" not in said.out
    examples = [line for line in said.out.splitlines() if f"teebundle {words}" in line]
    assert any(line.startswith(f"    teebundle {words}") for line in examples)
    assert all(line.count("teebundle ") == 1 for line in examples)


@pytest.mark.parametrize(
    "service",
    [
        "https://user:hidden@127.0.0.1:1/",
        "https://127.0.0.1:1/?api_key=hidden",
        "https://127.0.0.1:1/#hidden",
        "https://127.0.0.1:1/\nhidden",
        "https://127.0.0.1:99999/hidden",
        "https://[hidden",
        "hidden",
        "",
    ],
)
def test_nras_service_that_is_no_plain_address_is_refused_and_not_repeated(
    teebundle: Teebundle, tmp_path: Path, service: str
) -> None:
    teebundle("keygen", "--out", tmp_path)
    words = ("nras", BUNDLE, "--key", tmp_path / "signer.key", "--yes", "--again")
    said = teebundle(*words, "--out", tmp_path / "n.json", "--service", service)
    assert (said.code, said.out) == (2, "")
    assert "--service takes an address" in said.err
    assert "hidden" not in said.err
    assert "fault of the program" not in said.err


@pytest.mark.parametrize("key", ["hidden\n", "hidd\u00e9n", "hidden part"])
def test_nras_api_key_that_no_header_can_carry_is_refused_and_not_repeated(
    teebundle: Teebundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("AN_API_KEY", key)
    teebundle("keygen", "--out", tmp_path)
    words = ("nras", BUNDLE, "--key", tmp_path / "signer.key", "--yes", "--again")
    said = teebundle(*words, "--out", tmp_path / "n.json", "--api-key-env", "AN_API_KEY")
    assert (said.code, said.out) == (2, "")
    assert "what AN_API_KEY holds is no API key" in said.err
    assert "hidd" not in said.err


def test_nras_of_a_strangers_bundle_asks_for_its_signer(
    teebundle: Teebundle, tmp_path: Path
) -> None:
    teebundle("keygen", "--out", tmp_path)
    words = ("nras", BUNDLE, "--key", tmp_path / "signer.key", "--yes", "--again")
    said = teebundle(*words, "--out", tmp_path / "n.json", "--service", "http://127.0.0.1:1")
    assert (said.code, said.out) == (2, "")
    assert "name its signer with --signer" in said.err
    assert not (tmp_path / "n.json").exists()


def test_what_a_check_proves_is_said_in_words() -> None:
    for check in CATALOGUE:
        assert "§" not in f"{check.title}{check.proves}{check.does_not_prove}", check.id
