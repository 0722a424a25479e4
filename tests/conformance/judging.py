"""Judge one bundle again and again: policy and trust read once, the report or the refusal given."""

from __future__ import annotations

from functools import cache

from fixtures.registry import Case
from fixtures.verification import as_of
from verify.api import verify_bundle
from verify.engine.errors import MalformedInput
from verify.engine.outcome import Status
from verify.engine.report import Report
from verify.policy.loader import load_policy
from verify.policy.model import Policy
from verify.trust.file import read_trust_file
from verify.trust.store import TrustStore

UNUSABLE = "unusable"


@cache
def policy_of(data: bytes) -> Policy:
    return load_policy(data, file="policy.yaml")


@cache
def trust_of(data: tuple[bytes, ...]) -> TrustStore:
    return TrustStore.build(files=[read_trust_file(one) for one in data])


def judged(case: Case, *, bundle: bytes | None = None, policy: Policy | None = None) -> Report:
    """Return the report of a case. Raises MalformedInput."""
    return verify_bundle(
        case.bundle if bundle is None else bundle,
        policy=policy or policy_of(case.policy),
        trust=trust_of(case.trust),
        as_of=as_of(case.as_of),
        blobs=case.blobs.get if case.blobs else None,
    )


def verdict(case: Case, *, bundle: bytes | None = None, policy: Policy | None = None) -> str:
    """Return the verdict, or that the file is unusable. A crash is no answer."""
    try:
        report = judged(case, bundle=bundle, policy=policy)
    except MalformedInput:
        return UNUSABLE
    crashed = [row.id for row in report.checks if row.status is Status.ERROR]
    assert crashed == []
    return report.verdict.value
