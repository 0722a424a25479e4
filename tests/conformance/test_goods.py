"""Every committed bundle is VERIFIED by the simulation's anchors and by nothing less."""

from __future__ import annotations

import pytest

from bundle.seal import assemble_file
from fixtures import hardware, intel_cases, intel_pki, nvidia_spdm
from fixtures.build import HERE, good_cases
from fixtures.registry import Case
from fixtures.sessions import CAPTURER, gpus
from fixtures.verification import answer
from verify.engine.outcome import Status

GOOD = good_cases()


@pytest.mark.parametrize("name", sorted(GOOD))
def test_good_bundle_is_verified_with_the_simulation_s_anchors(name: str) -> None:
    found = answer(GOOD[name])
    assert (found.verdict, found.exit_code) == ("VERIFIED", 0)
    assert {status for status, _ in found.checks.values()} == {"PASS", "NOT_APPLICABLE"}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_good_bundle_without_trust_file_is_incomplete(name: str) -> None:
    case = GOOD[name]
    found = answer(Case(bundle=case.bundle, policy=case.policy, trust=()))
    assert (found.verdict, found.exit_code) == ("INCOMPLETE", 3)
    assert found.checks["envelope.signature"] == ("BLOCKED", "envelope.signer_unknown")


@pytest.mark.parametrize("name", sorted(GOOD))
def test_good_bundle_rests_on_added_anchors_and_says_so(name: str) -> None:
    report = answer(GOOD[name]).report
    assert report is not None
    assert report.trust.added_vendor_anchors
    assert "trust.added_vendor_anchor" in {note.reason.code for note in report.limits}


@pytest.mark.parametrize("name", sorted(GOOD))
def test_good_bundle_judged_without_added_anchors_is_rejected(name: str) -> None:
    case = GOOD[name]
    policy = case.policy.replace(
        b'accept_added: ["intel-sgx-root", "nvidia-device-root", "nvidia-rim-root", '
        b'"nras-intermediate"]',
        b"accept_added: []",
    )
    assert policy != case.policy
    found = answer(Case(bundle=case.bundle, policy=policy, trust=case.trust))
    assert found.verdict == "REJECTED"


def test_committed_files_are_exactly_the_built_ones() -> None:
    stems = {path.name.partition(".")[0] for path in (HERE / "bundles").iterdir()}
    assert stems == set(GOOD)
    for name, case in GOOD.items():
        assert (HERE / "bundles" / f"{name}.evidence.json").read_bytes() == case.bundle
        assert (HERE / "bundles" / f"{name}.policy.yaml").read_bytes() == case.policy


def test_every_check_passes_in_some_good_bundle_or_is_out_of_this_version() -> None:
    passing: set[str] = set()
    for case in GOOD.values():
        report = answer(case).report
        assert report is not None
        passing |= {row.id for row in report.checks if row.status is Status.PASS}
    ids = set(report.catalogue.ids())
    assert ids - passing == NEVER_IN_A_GOOD_BUNDLE


NEVER_IN_A_GOOD_BUNDLE = {
    "snp.report.format",
    "snp.certificates.format",
    "snp.certificates.chain",
    "snp.certificates.validity",
    "snp.certificates.revocation",
    "snp.signer.match",
    "snp.report.signature",
    "snp.tcb.order",
    "snp.tcb.minimum",
    "snp.guest.policy",
    "snp.platform.policy",
    "snp.reference.identity",
    "azure.hcl",
    "azure.tpm",
    "nitro.document",
    "nitro.chain",
    "nitro.pcr",
    "sigstore.release",
    "image.digest",
    "binding.gpu_evidence",
    "receipt.signature",
    "legacy.nanogpt_pins",
    "tdx.second_engine",
    "ccel.replay",
    "gpu.topology",
}
"""Judged by vectors alone (SNP, CCEL, topology), informational, or not judged by this version."""


def test_hardware_evidence_of_an_excluded_kind_is_never_beside_verified() -> None:
    frozen = hardware.frozen(
        [intel_cases.shot(intel_pki.BASE)],
        hardware.Devices(
            gpus=tuple(
                (nvidia_spdm.report(device, hardware.session_nonce()), device.chain_pem())
                for device in gpus(1)
            )
        ),
    )
    case = GOOD["hardware-tdx"]
    found = answer(
        Case(
            bundle=assemble_file(frozen, [CAPTURER]),
            policy=case.policy,
            trust=case.trust,
        )
    )
    assert found.verdict == "INCOMPLETE"
    assert found.checks["evidence.inventory"] == ("BLOCKED", "evidence.not_judged")
