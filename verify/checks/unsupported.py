"""Rows whose evidence this version does not judge: vTPM.

They answer honestly: `evidence.absent` where the bundle lists none, `evidence.unsupported` where it
does. Neither ever passes.
"""

from __future__ import annotations

from typing import Final

from verify.checks.inputs import Inputs
from verify.checks.subjects import ROLES
from verify.engine.check import Facts
from verify.engine.outcome import Affirmed, Finding, Outcome, Pointer, blocked
from verify.engine.reason import Reason
from verify.wire.model import Evidence

_REASONS: Final = frozenset({Reason.EVIDENCE_ABSENT, Reason.EVIDENCE_UNSUPPORTED})
VTPM_REASONS: Final = _REASONS


def _not_judged(facts: Facts, subject: str) -> Outcome[Affirmed]:
    evidence = facts.get("blobs.derived", Evidence)
    items = evidence.statement.of_role(*ROLES[subject])
    if not items:
        return blocked(Reason.EVIDENCE_ABSENT, detail=f"the bundle lists no {subject} evidence")
    findings = tuple(
        Finding(
            reason=Reason.EVIDENCE_UNSUPPORTED,
            pointer=Pointer(document="statement", path=f"/predicate/artifacts/{item.index}"),
            got=item.role,
            expected="evidence of a kind that this version judges",
        )
        for item in items
    )
    return blocked(
        Reason.EVIDENCE_UNSUPPORTED,
        *findings,
        detail=f"this version does not judge {subject} evidence",
    )


def vtpm(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Rows 42 and 43: paravisor blobs and TPM quotes are not judged by this version."""
    return _not_judged(facts, "vtpm")
