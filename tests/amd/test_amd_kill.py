"""One fault, one code: every rejection and gap of SEV-SNP, each triggered by exactly its fault."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fixtures import amd_pki
from fixtures.amd_pki import AS_OF, OID
from fixtures.snp_case import ALL_SET, SnpCase, anchor, simulated, simulated_anchors
from fixtures.snp_faults import (
    CERTIFICATES,
    CHAIN,
    IDENTITY,
    KILLS,
    PASSES,
    REPORT,
    REVOCATION,
    SIGNATURE,
    pin_set,
)
from tests.amd.snp_judged import CHECKS, given, judge, noted
from verify.checks import snp
from verify.engine.errors import InternalFault
from verify.engine.outcome import Status
from verify.engine.reason import Reason, ReasonClass

R = Reason

# -- the property of all of them ----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(KILLS))
def test_snp_fault_gives_exactly_its_code(name):
    fault = KILLS[name]
    check, reason = fault.check, fault.reason
    outcomes = judge(fault.build())
    found = given(outcomes)
    wanted = Status.FAIL if reason.kind is ReasonClass.REJECT else Status.BLOCKED
    assert outcomes[check].status is wanted
    # Whatever rests on the check is silent, and nothing else speaks.
    assert found == {check: reason}


def test_snp_every_code_has_a_fault():
    killed = {fault.reason for fault in KILLS.values()}
    codes = {reason for reason in Reason if str(reason).startswith("snp.")}
    missing = {r for r in codes if r.kind is not ReasonClass.NOTE} - killed
    assert not missing, sorted(str(reason) for reason in missing)


def test_snp_bundle_without_a_report_is_a_gap():
    outcomes = judge(replace(simulated(), artifacts=(), bindings=()))
    assert outcomes[REPORT].reason is R.EVIDENCE_ABSENT
    assert outcomes[CERTIFICATES].reason is R.EVIDENCE_ABSENT
    assert not any(outcome.status is Status.PASS for outcome in outcomes.values())


# -- what must pass -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vcek", "vlek"])
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("product", amd_pki.PRODUCTS)
def test_snp_good_evidence_passes_every_check(product, version, kind):
    outcomes = judge(simulated(product, version, kind))
    assert set(outcomes) == set(CHECKS)
    assert all(outcome.status is Status.PASS for outcome in outcomes.values()), given(outcomes)


@pytest.mark.parametrize("name", sorted(PASSES))
def test_snp_acceptable_variant_passes_with_its_note(name):
    build, note = PASSES[name]
    outcomes = judge(build())
    assert given(outcomes) == {}
    if note is None:
        assert noted(outcomes) <= {R.SNP_REPORT_CHIP_ID_UNAUTHENTICATED}
    else:
        assert note in noted(outcomes)


def test_snp_matching_set_is_named():
    case = simulated().ruled(
        fields=ALL_SET, sets=(pin_set("old", image_id=b"\x09" * 16), pin_set("new"))
    )
    outcome = judge(case)[IDENTITY]
    assert outcome.status is Status.PASS
    assert outcome.matched == ("new",)


def test_snp_set_that_differs_in_the_measurement_alone_is_left_to_the_reference_check():
    case = simulated().ruled(fields=ALL_SET, sets=(pin_set("other", measurement=bytes(48)),))
    outcome = judge(case)[IDENTITY]
    assert outcome.status is Status.PASS
    assert outcome.matched == ()


def _second_report(case: SnpCase, body: bytes) -> SnpCase:
    companions = tuple(name for name, role, _ in case.artifacts if role != "snp.report")
    return replace(
        case,
        artifacts=(*case.artifacts, ("report-2", "snp.report", body)),
        bindings=(
            *case.bindings,
            ("chain-for", "report-2", tuple(c for c in companions if not c.startswith("crl"))),
            ("collateral-for", "report-2", ("crl-1",)),
        ),
    )


def test_snp_two_good_reports_pass_together():
    case = _second_report(simulated(), amd_pki.report("Genoa").body())
    outcomes = judge(case)
    assert given(outcomes) == {}
    fact = outcomes[SIGNATURE].fact
    assert isinstance(fact, snp.VerifiedSnpReports)
    assert [item.artifact for item in fact.items] == ["report-1", "report-2"]
    assert fact.items[0].measurement == fact.items[0].report.measurement
    assert fact.items[0].report_data == bytes(64)


def test_snp_one_bad_report_of_two_fails_the_check():
    bad = replace(amd_pki.report("Genoa"), key=amd_pki.EcKey("somebody")).body()
    outcomes = judge(_second_report(simulated(), bad))
    outcome = outcomes[SIGNATURE]
    assert outcome.reason is R.SNP_REPORT_SIGNATURE_INVALID
    assert [str(f.pointer) for f in outcome.findings] == ["artifact:report-2#bytes=672-816"]


def test_snp_report_without_a_list_of_its_own_is_a_gap():
    case = _second_report(simulated(), amd_pki.report("Genoa").body())
    case = replace(case, bindings=case.bindings[:-1])
    outcome = judge(case)[REVOCATION]
    assert outcome.reason is R.SNP_CRL_MISSING
    assert [finding.got for finding in outcome.findings] == ["report-2"]


def test_snp_report_with_every_fault_names_them_all_in_order():
    spec = replace(
        amd_pki.report("Genoa"),
        policy=0,
        vmpl=9,
        signer_info=1 << 6,
        fields={0x034: b"\x09", 0x04C: b"\x01"},
        after={0x2D0: b"\x01", 0x330: b"\x01"},
    )
    outcome = judge(simulated().with_body("report-1", spec.body()))[REPORT]
    assert [finding.reason for finding in outcome.findings] == [
        R.SNP_REPORT_SIGNATURE_ALGORITHM_UNSUPPORTED,
        R.SNP_REPORT_SIGNER_INFO_MALFORMED,
        R.SNP_REPORT_RESERVED_NOT_ZERO,
        R.SNP_REPORT_SIGNATURE_PADDING_NOT_ZERO,
        R.SNP_REPORT_TAIL_NOT_ZERO,
        R.SNP_REPORT_POLICY_MALFORMED,
        R.SNP_REPORT_VMPL_INVALID,
    ]


def test_snp_certificate_table_of_a_guest_supplies_the_chain():
    entries = (
        ("63da758de6644564adc5f4b93be8accd", amd_pki.leaf("Genoa").der()),
        ("4ab7b379bbac4fe4a02f05aef327c782", amd_pki.intermediate("Genoa").der()),
        ("c0b406a4a803495297433fb6014cd0ae", amd_pki.root("Genoa").der()),
        ("ffffffffffffffffffffffffffffffff", b"something else"),
    )
    table = amd_pki.certificate_table((bytes.fromhex(guid), body) for guid, body in entries)
    case = simulated()
    artifacts = (case.artifacts[0], ("table", "snp.certificate-table", table), case.artifacts[3])
    bindings = (("chain-for", "report-1", ("table",)), case.bindings[1])
    case = replace(case, artifacts=artifacts, bindings=bindings)
    assert given(judge(case)) == {}
    broken = case.with_body("table", table[:100])
    assert given(judge(broken))[CERTIFICATES] is R.SNP_CERTIFICATE_MALFORMED
    flawed = bytearray(table)
    at = table.index(entries[1][1])
    flawed[at] = 0x31
    outcome = judge(case.with_body("table", bytes(flawed)))[CERTIFICATES]
    assert outcome.reason is R.SNP_CERTIFICATE_MALFORMED
    assert str(outcome.findings[0].pointer) == f"artifact:table#bytes={at}-{at}"
    unknown = amd_pki.certificate_table([(b"\xff" * 16, b"x")])
    outcome = judge(case.with_body("table", unknown))[CERTIFICATES]
    assert outcome.reason is R.SNP_CERTIFICATE_MISSING


def test_snp_findings_of_a_chain_point_at_the_certificate_they_speak_of():
    outcome = judge(KILLS["leaf_signed_by_somebody_else"].build())[CHAIN]
    assert str(outcome.findings[0].pointer) == "artifact:vek-1#"
    outcome = judge(KILLS["intermediate_signed_by_somebody_else"].build())[CHAIN]
    assert str(outcome.findings[0].pointer) == "artifact:chain-1#"
    outcome = judge(KILLS["no_root_in_the_bundle_and_none_of_the_product_trusted"].build())[CHAIN]
    assert str(outcome.findings[0].pointer) == "trust#"


def test_snp_check_under_a_policy_that_excludes_the_subject_is_a_fault_of_ours():
    class Excluding:
        snp = None

    class Wrong:
        policy = Excluding()

    with pytest.raises(InternalFault):
        snp.rules_of(Wrong())


def test_snp_time_of_the_simulated_evidence_is_an_aware_instant():
    assert datetime(2026, 6, 10, 12, tzinfo=UTC) == AS_OF
    assert len(simulated_anchors()) == 3
    assert OID["hwid"].startswith("1.3.6.1.4.1.3704.1")


def test_snp_trusted_certificate_of_another_shape_is_no_root():
    case = KILLS["no_root_in_the_bundle_and_none_of_the_product_trusted"].build()
    strange = anchor(b"\x30\x00")
    outcome = judge(replace(case, anchors=(*case.anchors, strange)))[CHAIN]
    assert outcome.reason is R.SNP_CHAIN_ROOT_NOT_TRUSTED


def _named_like_the_root_of_genoa() -> bytes:
    key = amd_pki.RsaKey("OTHER_ROOT")
    return replace(amd_pki.root("Genoa"), key=key, signer=key).der()


def test_snp_of_two_trusted_roots_of_one_name_the_one_that_signed_is_taken():
    case, _ = PASSES["root from the trust store"]
    other = anchor(_named_like_the_root_of_genoa())
    good = anchor(amd_pki.root("Genoa").der())
    for anchors in ((other, good), (good, other)):
        assert given(judge(replace(case(), anchors=anchors))) == {}
    outcome = judge(replace(case(), anchors=(other,)))[CHAIN]
    assert outcome.reason is R.SNP_CHAIN_SIGNATURE_INVALID
