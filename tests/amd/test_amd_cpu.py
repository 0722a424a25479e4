"""A verified SEV-SNP report is a CPU item like any other."""

from __future__ import annotations

from hashlib import sha256
from types import SimpleNamespace

from fixtures import amd_pki
from fixtures.snp_case import simulated
from tests.amd.snp_judged import judge, statement
from verify.checks.session import cpu_authentic
from verify.checks.snp import VerifiedSnpReports
from verify.engine.check import Facts
from verify.engine.outcome import Status
from verify.engine.reason import Reason
from verify.wire.model import Artifact, ArtifactState, Digest, Evidence, FromOperator


def verified() -> VerifiedSnpReports:
    fact = judge(simulated())["snp.report.signature"].fact
    assert isinstance(fact, VerifiedSnpReports)
    return fact


def cpu_facts(role: str, reports: VerifiedSnpReports) -> Facts:
    body = amd_pki.report("Genoa").body()
    artifact = Artifact(
        id="report-1",
        role=role,
        media_type="application/octet-stream",
        digest=Digest("sha256:" + sha256(body).hexdigest()),
        size=len(body),
        framing="raw",
        origin=FromOperator(description="a test"),
    )
    evidence = Evidence(
        statement=statement((artifact,), ()),
        bodies={"report-1": body},
        states={"report-1": ArtifactState.PRESENT},
    )
    facts = {"blobs.derived": evidence, "snp.report.signature": reports}
    return Facts(facts, frozenset({*facts, "tdx.quote.signature", "nitro.chain"}))


def test_amd_verified_report_is_an_authenticated_cpu_item():
    reports = verified()
    outcome = cpu_authentic(SimpleNamespace(), cpu_facts("snp.report", reports))
    assert outcome.status is Status.PASS
    found = outcome.fact.reports["report-1"]
    assert (found.kind, found.report_data) == ("snp", reports.items[0].report_data)
    assert found.code == (reports.items[0].measurement,)


def test_amd_report_that_nothing_verified_is_no_authenticated_cpu_item():
    outcome = cpu_authentic(
        SimpleNamespace(), cpu_facts("snp.report", VerifiedSnpReports(items=()))
    )
    assert outcome.reason is Reason.EVIDENCE_ABSENT
