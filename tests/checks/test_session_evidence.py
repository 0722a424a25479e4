"""Every recorded session, imported and judged by the session checks: exactly the expected findings."""

from __future__ import annotations

import json
from hashlib import sha256
from types import SimpleNamespace

import pytest

from bundle.importers.draft import draft
from bundle.importers.http_folder import read_recording
from bundle.importers.parts import read_parts
from bundle.keys import key_id
from fixtures import sessions
from verify.checks import session
from verify.engine.check import Facts
from verify.engine.outcome import Status
from verify.families.identity import AuthenticReport, AuthenticReports
from verify.intel.quote import parse_quote
from verify.wire.model import ArtifactState, Evidence
from verify.wire.statement import read_statement

CODE = ("mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id")
OTHER_LAYERS = frozenset(
    # asked for by checks of chat, signature and compose text
    (
        "exchange.chat_missing",
        "exchange.signature_missing",
        "signature.family_has_none",
        "identity.no_second_attestation",
        "compose.images_not_pinned",
        "compose.manager_actions_not_reproducible",
    )
)
FACTS = {
    "exchange_recorded": "exchange.recorded",
    "shape_recognised": "shape.recognised",
    "report_data": "binding.report_data",
}
ROWS = (
    "exchange_recorded",
    "shape_recognised",
    "evidence_inventory",
    "nonce_in_quote",
    "report_data",
    "document",
    "public_key",
    "tls_channel",
    "gpu_evidence",
)
ITEMS = (
    "chutes_zai-org_glm-5-tee_20260520_021819",
    "nanogpt_tee_gemma-3-27b-it_20260610_014905",
    "nearcloud_qwen_qwen3.5-122b-a10b_20260610_014855",
    "neardirect_qwen_qwen3.5-122b-a10b_20260610_015359",
    "tinfoil_v3_cloud_llama3-3-70b_20260629_021249",
    "tinfoil_v3_direct_gemma4-31b_20260629_020805",
    "venice_e2ee-qwen3-5-122b-a10b_20260610_014707",
    "nanogpt_20260325_225022/deepseek-v3.2",
    "nanogpt_20260325_225022/gemma-3-27b-it",
    "nanogpt_20260325_225022/glm-5",
    "nanogpt_20260325_225022/gpt-oss-120b",
    "nanogpt_20260325_225022/llama3-3-70b",
    "nanogpt_20260325_225022/qwen3-30b-a3b-instruct-2507",
)


class AnyId(frozenset):
    def __contains__(self, item):
        return True


def imported(recording, **changes):
    made = draft(
        recording,
        signer=key_id(sessions.CAPTURER.spki()),
        statement_id="urn:uuid:00000000-0000-4000-8000-000000000001",
        salt=lambda name: sha256(name.encode()).digest(),
        operator="test",
        **changes,
    )
    statement = read_statement(made.assembly.freeze(made.claims).payload).statement
    bodies = {a.id: made.assembly.body(a.id) for a in statement.artifacts}
    states = dict.fromkeys(bodies, ArtifactState.PRESENT)
    return Evidence(statement=statement, bodies=bodies, states=states)


def authentic(evidence):
    """The registers of each CPU item; the vendor layers that verify them have their own tests."""
    reports = {}
    for artifact in evidence.statement.of_role("tdx.quote"):
        body = parse_quote(evidence.bodies[artifact.id]).body
        reports[artifact.id] = AuthenticReport(
            artifact=artifact.id,
            kind="tdx",
            report_data=body["report_data"],
            code=tuple(body[name] for name in CODE),
        )
    for artifact in evidence.statement.of_role("snp.report"):
        data = evidence.bodies[artifact.id][0x50:0x90]
        reports[artifact.id] = AuthenticReport(
            artifact=artifact.id, kind="snp", report_data=data, code=()
        )
    return AuthenticReports(reports=reports)


def judged(evidence, shape, **session_rules):
    rules = {"allow_foreign_nonce": False, "allow_attest_after_chat": True} | session_rules
    policy = SimpleNamespace(
        profile=evidence.statement.profile,
        shapes=(shape,),
        subjects={},
        bindings=("nonce-in-evidence",),
        # nobody asks these recordings for a chat
        mode=lambda _subject: "if_present",
        judges=lambda _subject: True,
        session=SimpleNamespace(**rules),
        counts=SimpleNamespace(cpu_min=1),
    )
    facts = {
        "blobs.digests": evidence,
        "blobs.derived": evidence,
        "cpu.authentic": authentic(evidence),
    }
    outcomes = {}
    for row in ROWS:
        if row in ("public_key", "tls_channel") and "binding.report_data" not in facts:
            continue
        inputs = SimpleNamespace(policy=policy)
        outcomes[row] = getattr(session, row)(inputs, Facts(facts, AnyId()))
        if row in FACTS and outcomes[row].status is Status.PASS:
            facts[FACTS[row]] = outcomes[row].fact
    return outcomes, facts


def codes(outcomes):
    found = {(str(f.reason), f.pointer.path) for o in outcomes.values() for f in o.findings}
    notes = {(str(n.reason), n.pointer.path) for o in outcomes.values() for n in o.notes}
    # a family without such an object is no finding of the recording
    return {pair for pair in found | notes if pair[0] != "family.no_object"}


@pytest.mark.parametrize("name", ITEMS)
def test_a_recorded_session_gives_exactly_the_expected_findings(evidence_root, name):
    folder = evidence_root / "captures" / name
    expected = json.loads((folder / "expected.json").read_text())
    outcomes, facts = judged(imported(read_recording(folder)), expected["shape"])
    wanted = {(f["code"], f["at"]) for f in expected["findings"] if f["code"] not in OTHER_LAYERS}
    assert codes(outcomes) == wanted
    rejected = {o.reason.code for o in outcomes.values() if o.status is Status.FAIL}
    assert rejected == {f["code"] for f in expected["findings"] if f["group"] == "reject"}
    assert outcomes["evidence_inventory"].status is Status.PASS
    identities = facts.get("binding.report_data")
    if identities is None:
        return
    assert {i.form for i in identities} == set(expected["summary"]["binding_forms"])
    own = [r for r in expected["reports"] if "same_evidence_as" not in r]
    assert [(i.pointer, i.role) for i in identities] == [(r["at"], r["role"]) for r in own]
    signing = {i.address for i in identities if i.algorithm in ("ecdsa", "ed25519")}
    stated = {bytes.fromhex(a.removeprefix("0x")) for a in expected["summary"]["signing_addresses"]}
    assert signing == stated
    for identity, report in zip(identities, own, strict=True):
        binding = report["binding"]
        if "nonce_in_report_data" in binding:
            assert identity.nonce.hex() == binding["nonce_in_report_data"]
        if identity.form == "sha256_address_tls":
            assert identity.tls_fingerprint.hex() == binding["tls_cert_fingerprint"]
    match = expected["tls"]["binding"] == "match"
    assert (outcomes["tls_channel"].status is Status.PASS) is match


def test_the_older_gateway_report_gives_exactly_the_expected_findings(evidence_root):
    folder = evidence_root / "near-fixture"
    expected = json.loads((folder / "expected.json").read_text())
    path = folder / expected["attestation_exchange"]["file"]
    recording = read_parts(path, nonce=expected["nonce"]["sent"])
    outcomes, _ = judged(imported(recording, profile="near-gateway"), expected["shape"])
    wanted = {(f["code"], f["at"]) for f in expected["findings"] if f["code"] not in OTHER_LAYERS}
    assert codes(outcomes) == wanted


def test_a_foreign_nonce_that_the_policy_accepts_is_a_note(evidence_root):
    folder = evidence_root / "captures" / "nanogpt_20260325_225022" / "glm-5"
    evidence = imported(read_recording(folder))
    outcomes, _ = judged(evidence, "dstack-gateway", allow_foreign_nonce=True)
    found = outcomes["nonce_in_quote"]
    assert found.status is Status.PASS
    assert [str(n.reason) for n in found.notes].count("nonce.foreign_accepted") == 4
