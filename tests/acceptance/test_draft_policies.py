"""A policy drafted from a good capture accepts that capture, whatever the provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bundle.policy_init import best_draft, draft_policy
from tests.acceptance.capture_case import Made, captured
from verify.engine.report import Verdict
from verify.trust.file import read_signer, read_trust_file
from verify.trust.store import TrustStore

ALONE = {"chat": False}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "near-direct": ("near-direct", {}),
    "near-direct, attestation alone": ("near-direct", ALONE),
    "near-gateway": ("near-gateway", {}),
    "nanogpt": ("nanogpt", {"asked": {"stream": True}}),
    "phala": ("phala", {}),
    "redpill": ("redpill", {}),
    "ionet": ("ionet", {}),
    "aci": ("aci", {}),
    "chutes": ("chutes", ALONE),
    "tinfoil": ("tinfoil", {}),
    "tinfoil, attestation alone": ("tinfoil", ALONE),
    "tinfoil router": ("tinfoil", {"scenario": "tinfoil-v3-snp-router"}),
}


def store(made: Made) -> TrustStore:
    return TrustStore.build(
        files=[read_trust_file(made.simulator.trust)],
        signers=[read_signer(made.signer.public_pem())],
    )


@pytest.mark.parametrize("case", CASES)
def test_best_draft_accepts_what_it_was_made_from(case: str, tmp_path: Path) -> None:
    name, more = CASES[case]
    made = captured(name, tmp_path, **more)
    draft = best_draft(made.out.read_bytes(), store(made), accept_added=True)
    assert draft is not None
    assert draft.open == ()
    assert draft.signer_known
    assert made.report(policy=draft.data).verdict is Verdict.VERIFIED


def test_added_roots_are_accepted_only_where_that_is_asked_for(tmp_path: Path) -> None:
    made = captured("near-direct", tmp_path)
    draft = draft_policy("near-direct", made.out.read_bytes(), store(made))
    assert b"accept_added: []" in draft.data
    assert "tdx.root_crl" in {check for check, _, _ in draft.open}
