"""Row 81: signed receipts. This version recognises them and does not judge them.

Source: verification.md 3; providers.md 8.
"""

from __future__ import annotations

from typing import Final

from verify.checks.inputs import Inputs
from verify.engine.check import Facts
from verify.engine.outcome import Affirmed, Outcome, Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.wire.model import Evidence

SIGNATURE_REASONS: Final = frozenset({Reason.EVIDENCE_ABSENT, Reason.EVIDENCE_UNSUPPORTED})


def signature(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Row 81: never passes: a receipt is not judged, and none is not a receipt."""
    evidence = facts.get("blobs.digests", Evidence)
    tally = Tally()
    receipts = evidence.statement.of_role("provider.receipt")
    for receipt in receipts:
        tally.find(
            Reason.EVIDENCE_UNSUPPORTED,
            Pointer(document="statement", path=f"/predicate/artifacts/{receipt.index}"),
            what="this version does not judge receipts",
            got=receipt.role,
            expected="evidence of a kind that this version judges",
        )
    if not receipts:
        tally.find(
            Reason.EVIDENCE_ABSENT,
            Pointer(document="statement", path="/predicate/artifacts"),
            what="the bundle lists no receipt",
            expected="provider.receipt",
        )
    return tally.outcome(Affirmed())
