"""show, explain, catalogue, schema, trust show: what they print, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import bundle.cli
from tests.cli.shipped import BUNDLE, FIXTURES, ROOT, TRUST, call, edited
from verify.checks.catalogue import CATALOGUE
from verify.cli.guard import guarded
from verify.engine.errors import UsageError
from verify.render.recipes import RECIPES

MonkeyPatch = pytest.MonkeyPatch
Capture = pytest.CaptureFixture[str]
BOTH = pytest.mark.parametrize("main", [None, bundle.cli.call], ids=["verifier", "whole"])


def test_show_prints_statement_and_labels_claims(monkeypatch: MonkeyPatch, capfd: Capture) -> None:
    said = call(monkeypatch, capfd, "show", str(BUNDLE))
    assert (said.code, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[0].startswith("Claims of the signer")
    for heading in ("nonces", "exchanges", "artifacts", "bindings (pairs to test, not results)"):
        assert heading in lines
    assert "  quote-1  tdx.quote  " in said.out
    assert "derived" in said.out


def test_show_quote_prints_hex_of_every_quote(monkeypatch: MonkeyPatch, capfd: Capture) -> None:
    said = call(monkeypatch, capfd, "show", str(BUNDLE), "--quote")
    lines = said.out.splitlines()
    assert lines[0].startswith("quote-1 (tdx.quote, sha256:")
    assert bytes.fromhex(lines[1])[:2] == b"\x04\x00"


def test_show_signature_prints_text_signature_and_address(
    monkeypatch: MonkeyPatch, capfd: Capture
) -> None:
    said = call(monkeypatch, capfd, "show", str(BUNDLE), "--signature")
    for member in ("  text: ", "  signature: 0x", "  signing_address: 0x"):
        assert member in said.out


def test_show_gpu_keys_prints_pem_of_each_device(monkeypatch: MonkeyPatch, capfd: Capture) -> None:
    said = call(monkeypatch, capfd, "show", str(BUNDLE), "--gpu-keys")
    assert said.out.count("-----BEGIN PUBLIC KEY-----") == said.out.count("gpu-chain-")
    assert "unrelated to the keys that sign answers" in said.out


def test_show_of_a_bundle_without_such_evidence_says_so(
    monkeypatch: MonkeyPatch, capfd: Capture
) -> None:
    path = str(FIXTURES / "bundles" / "hardware-tdx.evidence.json")
    assert "no device certificate chain" in call(monkeypatch, capfd, "show", path, "--gpu-keys").out
    assert "no response signature" in call(monkeypatch, capfd, "show", path, "--signature").out


def test_show_of_removed_bytes_names_their_state(
    monkeypatch: MonkeyPatch, capfd: Capture, tmp_path: Path
) -> None:
    path = tmp_path / "b.evidence.json"
    path.write_bytes(edited(lambda document: document["blobs"].clear()))
    for flag in ("--quote", "--signature", "--gpu-keys"):
        assert "no bytes: missing" in call(monkeypatch, capfd, "show", str(path), flag).out
    assert "  missing  " in call(monkeypatch, capfd, "show", str(path)).out


def test_show_json_is_one_document(monkeypatch: MonkeyPatch, capfd: Capture) -> None:
    found = json.loads(call(monkeypatch, capfd, "show", str(BUNDLE), "--format", "json").out)
    assert found["bundleId"].startswith("sha256:")
    assert {row["state"] for row in found["artifacts"]} <= {"present", "derived"}


def test_show_refuses_what_is_no_bundle(monkeypatch: MonkeyPatch, capfd: Capture) -> None:
    said = call(monkeypatch, capfd, "show", str(TRUST))
    assert said.code == 4
    assert "test-only.json" in said.err
    assert call(monkeypatch, capfd, "show", "nowhere").code == 2
    assert call(monkeypatch, capfd, "show", str(BUNDLE), "--format", "xml").code == 2


@pytest.mark.parametrize("check", CATALOGUE.ids())
def test_explain_says_everything_about_a_check(
    monkeypatch: MonkeyPatch, capfd: Capture, check: str
) -> None:
    said = call(monkeypatch, capfd, "explain", check)
    assert (said.code, said.err) == (0, "")
    for heading in ("specification", "rests on", "proves", "does not prove", "rule"):
        assert heading in said.out


def test_explain_with_a_bundle_lists_inputs_with_digests(
    monkeypatch: MonkeyPatch, capfd: Capture
) -> None:
    said = call(monkeypatch, capfd, "explain", "tdx.tcb", str(BUNDLE))
    assert "inputs in this bundle (" in said.out
    assert "  quote-1  tdx.quote  " in said.out
    assert "gpu-1" not in said.out
    everything = call(monkeypatch, capfd, "explain", "blobs.digests", str(BUNDLE)).out
    assert "gpu-1" in everything


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_explain_recipe_names_checks_that_exist(
    monkeypatch: MonkeyPatch, capfd: Capture, name: str
) -> None:
    said = call(monkeypatch, capfd, "explain", "--recipe", name)
    assert (said.code, said.err) == (0, "")
    ids = set(CATALOGUE.ids())
    subjects = {check.id.partition(".")[0] for check in CATALOGUE}
    for step in RECIPES[name]:
        for check in step.checks:
            assert check in ids or check.removesuffix(".*") in subjects


@pytest.mark.parametrize(
    ("words", "said_of_it"),
    [
        (["explain"], "name a check, or --recipe"),
        (["explain", "gpu.nothing"], "there are gpu.report.format"),
        (["explain", "nothing"], "`catalogue` lists them all"),
        (["explain", "--recipe", "nothing"], "there are nanogpt, ionet"),
        (["schema", "nothing"], "no schema is called nothing"),
        (["nothing"], "No such command"),
        (["catalogue", "--format", "xml"], "neither text nor json"),
        (["trust", "show", "--trust", "nowhere"], "cannot be read"),
    ],
)
@BOTH
def test_reading_commands_wrong_call_exits_2(
    monkeypatch: MonkeyPatch,
    capfd: Capture,
    words: list[str],
    said_of_it: str,
    main: None,
) -> None:
    said = call(monkeypatch, capfd, *words, **({} if main is None else {"main": main}))
    assert (said.code, said.out) == (2, "")
    assert said_of_it in said.err


def test_catalogue_lists_every_check_in_order(monkeypatch: MonkeyPatch, capfd: Capture) -> None:
    text = call(monkeypatch, capfd, "catalogue").out
    assert [line.split()[1] for line in text.splitlines()] == list(CATALOGUE.ids())
    found = json.loads(call(monkeypatch, capfd, "catalogue", "--format", "json").out)
    assert [row["id"] for row in found["checks"]] == list(CATALOGUE.ids())
    assert {"code", "class"} == set(found["checks"][0]["reasons"][0])


def test_schema_prints_every_shipped_schema(monkeypatch: MonkeyPatch, capfd: Capture) -> None:
    names = call(monkeypatch, capfd, "schema").out.split()
    assert len(names) == len(list((ROOT / "schemas").glob("*.json")))
    for name in names:
        jsonschema.Draft202012Validator.check_schema(
            json.loads(call(monkeypatch, capfd, "schema", name).out)
        )


def test_trust_show_lists_built_in_and_added_anchors(
    monkeypatch: MonkeyPatch, capfd: Capture
) -> None:
    plain = call(monkeypatch, capfd, "trust", "show")
    assert (plain.code, plain.err) == (0, "")
    assert "intel-sgx-root  intel-sgx-root  x509  active" in plain.out
    assert "TEST ONLY" not in plain.out
    more = call(monkeypatch, capfd, "trust", "show", "--trust", str(TRUST)).out
    assert "TEST ONLY" in more


@BOTH
def test_help_of_every_command_has_an_example(
    monkeypatch: MonkeyPatch, capfd: Capture, main: None
) -> None:
    named = {} if main is None else {"main": main}
    overview = call(monkeypatch, capfd, "--help", **named).out
    commands = [line.split()[0] for line in overview.partition("Commands:\n")[2].splitlines()]
    assert {"verify", "show", "explain", "catalogue", "schema", "trust"} <= set(commands)
    for command in commands:
        said = call(monkeypatch, capfd, command, "--help", **named)
        assert said.code == 0
        if "Commands:" in said.out:
            below = [line.split()[0] for line in said.out.partition("Commands:\n")[2].splitlines()]
            texts = [call(monkeypatch, capfd, command, name, "-h", **named).out for name in below]
        else:
            texts = [said.out]
        for text in texts:
            assert "Example" in text


@BOTH
def test_version_is_printed(monkeypatch: MonkeyPatch, capfd: Capture, main: None) -> None:
    named = {} if main is None else {"main": main}
    assert call(monkeypatch, capfd, "--version", **named).out == "1.0.0\n"
    assert call(monkeypatch, capfd, **named).code in {0, 2}


def test_guarded_gives_141_where_the_reader_of_a_listing_went_away(
    monkeypatch: MonkeyPatch,
) -> None:
    def gone() -> int:
        raise BrokenPipeError

    monkeypatch.setattr("verify.cli.guard.reader_gone", lambda: None)
    assert guarded(gone, ["catalogue"]) == 141


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (3, 3), ("words", 70)])
def test_guarded_takes_the_exit_code_of_a_library(code: object, expected: int) -> None:
    def stop() -> int:
        raise SystemExit(code)

    assert guarded(stop, []) == expected


def test_explain_recipe_on_a_bundle_shows_each_step_s_result(capsys):
    from verify.cli.opening import explained_recipe

    root = Path(__file__).resolve().parents[2] / "fixtures"
    bundle = str(root / "bundles" / "nanogpt.evidence.json")
    policy = str(root / "bundles" / "nanogpt.policy.yaml")
    trust = (str(root / "trust" / "test-only.json"),)
    for name in ("nanogpt", "ionet"):
        text = explained_recipe(name, bundle, policy, trust)
        assert "VERIFIED (0)" in text
        assert "PASS" in text
        assert "NOT_APPLICABLE" in text
    assert "content.request (policy.waived)" in text


def test_explain_recipe_on_a_bundle_without_policy_is_usage():
    from verify.cli.opening import explained_recipe

    with pytest.raises(UsageError, match="--policy"):
        explained_recipe("nanogpt", "b.json")
