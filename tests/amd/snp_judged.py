"""The twelve SEV-SNP checks on one case, through the engine."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from types import SimpleNamespace

from fixtures.snp_case import SnpCase
from verify.checks import snp
from verify.engine.asof import AsOfInstant, AsOfSource
from verify.engine.check import Catalogue, Check, Ruling
from verify.engine.outcome import Outcome, Status, passed
from verify.engine.reason import Reason
from verify.engine.run import run
from verify.trust.store import TrustStore
from verify.wire.model import (
    Artifact,
    ArtifactState,
    Binding,
    Digest,
    Evidence,
    FromOperator,
    Statement,
)


def _preset(fact: object):
    return lambda *_: passed(fact)


_ROWS = (
    ("snp.report.format", ("blobs.derived",), snp.report_format, snp.REPORT_FORMAT_REASONS),
    (
        "snp.certificates.format",
        ("blobs.derived",),
        snp.certificates_format,
        snp.CERTIFICATES_FORMAT_REASONS,
    ),
    (
        "snp.certificates.chain",
        ("snp.certificates.format",),
        snp.certificates_chain,
        snp.CERTIFICATES_CHAIN_REASONS,
    ),
    (
        "snp.certificates.validity",
        ("snp.certificates.chain", "time.as_of"),
        snp.certificates_validity,
        snp.CERTIFICATES_VALIDITY_REASONS,
    ),
    (
        "snp.certificates.revocation",
        ("snp.certificates.chain", "time.as_of"),
        snp.certificates_revocation,
        snp.CERTIFICATES_REVOCATION_REASONS,
    ),
    (
        "snp.signer.match",
        ("snp.report.format", "snp.certificates.format"),
        snp.signer_match,
        snp.SIGNER_MATCH_REASONS,
    ),
    (
        "snp.report.signature",
        ("snp.report.format", "snp.certificates.chain"),
        snp.report_signature,
        snp.REPORT_SIGNATURE_REASONS,
    ),
    (
        "snp.tcb.order",
        ("snp.report.signature", "snp.signer.match"),
        snp.tcb_order,
        snp.TCB_ORDER_REASONS,
    ),
    ("snp.tcb.minimum", ("snp.report.signature",), snp.tcb_minimum, snp.TCB_MINIMUM_REASONS),
    ("snp.guest.policy", ("snp.report.signature",), snp.guest_policy, snp.GUEST_POLICY_REASONS),
    (
        "snp.platform.policy",
        ("snp.report.signature",),
        snp.platform_policy,
        snp.PLATFORM_POLICY_REASONS,
    ),
    (
        "snp.reference.identity",
        ("snp.report.signature",),
        snp.reference_identity,
        snp.REFERENCE_IDENTITY_REASONS,
    ),
)
CHECKS = tuple(row[0] for row in _ROWS)


def statement(artifacts: tuple[Artifact, ...], bindings: tuple[Binding, ...]) -> Statement:
    """Return a Statement with these artifacts; the SEV-SNP checks read nothing else of it."""
    return Statement(
        schema="",
        id="",
        profile="",
        capture=None,
        signer="",
        nonces=(),
        artifacts=artifacts,
        exchanges=(),
        bindings=bindings,
        observations=(),
        extensions=(),
        critical=(),
        _by_id={artifact.id: artifact for artifact in artifacts},
    )


def judge(case: SnpCase) -> dict[str, Outcome[object]]:
    """Judge, through the engine; every reason given must be one the check declares."""
    artifacts = tuple(
        Artifact(
            id=name,
            role=role,
            media_type="application/octet-stream",
            digest=Digest("sha256:" + sha256(body or b"").hexdigest()),
            size=len(body or b""),
            framing="raw",
            origin=FromOperator(description="a test"),
            index=index,
        )
        for index, (name, role, body) in enumerate(case.artifacts)
    )
    bindings = tuple(
        Binding(type=kind, members={"evidence": item, "with": ids}, index=index)
        for index, (kind, item, ids) in enumerate(case.bindings)
    )
    evidence = Evidence(
        statement=statement(artifacts, bindings),
        bodies={name: body for name, _, body in case.artifacts if body is not None},
        states={
            name: ArtifactState.MISSING if body is None else ArtifactState.PRESENT
            for name, _, body in case.artifacts
        },
    )
    as_of = AsOfInstant(
        instant=case.as_of,
        source=AsOfSource.EXPLICIT,
        claimed_start=case.as_of,
        claimed_end=case.as_of,
    )
    inputs = SimpleNamespace(
        policy=SimpleNamespace(
            snp=case.rules, trust=SimpleNamespace(accept_added=case.accept_added)
        ),
        trust=TrustStore.build(
            builtins=[a for a in case.anchors if not a.added],
            signers=[a for a in case.anchors if a.added],
        ),
    )
    rows = (
        ("blobs.derived", (), _preset(evidence), frozenset()),
        ("time.as_of", (), _preset(as_of), frozenset()),
        *_ROWS,
    )
    catalogue = Catalogue(
        tuple(
            Check(
                id=check,
                subject="snp",
                title="",
                spec="",
                needs=needs,
                proves="",
                does_not_prove="",
                reasons=reasons,
                run=function,
            )
            for check, needs, function, reasons in rows
        )
    )
    found = run(catalogue, inputs, {check: Ruling() for check in catalogue.ids()}, lambda *_: True)
    for check in catalogue:
        outcome = found[check.id]
        assert outcome.status is not Status.ERROR, outcome
        given = {finding.reason for finding in outcome.findings}
        given |= {note.reason for note in outcome.notes}
        if outcome.reason is not None and outcome.reason is not Reason.NEED_NOT_PASSED:
            given.add(outcome.reason)
        assert given <= check.reasons, (check.id, given - check.reasons)
    return {check: found[check] for check in CHECKS}


def given(outcomes: Mapping[str, Outcome[object]]) -> dict[str, Reason]:
    """Return the reason of every check that did not pass, needs left out."""
    return {
        check: outcome.reason
        for check, outcome in outcomes.items()
        if outcome.reason is not None and outcome.reason is not Reason.NEED_NOT_PASSED
    }


def noted(outcomes: Mapping[str, Outcome[object]]) -> set[Reason]:
    """Return every note."""
    return {note.reason for outcome in outcomes.values() for note in outcome.notes}
