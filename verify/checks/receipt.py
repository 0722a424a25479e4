"""Row 81: signed receipts: whether a key of an attested key set signed them.

A receipt is matched with its chat by the declared `receipt-covers`; rows 82 and 83 hold the bodies
against the hashes that a good receipt names.

Source: verification.md 3, 3.4; providers.md 8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from verify.checks.inputs import Inputs
from verify.engine.check import Facts
from verify.engine.errors import FormatError, Refused
from verify.engine.later import later
from verify.engine.outcome import Outcome, Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.families import shapes
from verify.families.identity import RecognisedAnswers
from verify.wire.model import Artifact, ArtifactUnavailable, Evidence
from verify.wire.strict_json import Json

if TYPE_CHECKING:
    from verify.families import aci
else:
    aci = later("verify.families.aci")

SIGNATURE_REASONS: Final = frozenset(
    {
        Reason.ACI_EVIDENCE_DIGEST_MISMATCH,
        Reason.ACI_KEY_UNKNOWN,
        Reason.ACI_RECEIPT_SIGNATURE_INVALID,
        Reason.ACI_REQUEST_REWRITTEN,
        Reason.ACI_SESSION_ID_MISMATCH,
        Reason.ACI_UPSTREAM_UNVERIFIED,
        Reason.ACI_UPSTREAM_UNVERIFIED_ACCEPTED,
        Reason.ACI_VERSION_UNSUPPORTED,
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_WITHHELD,
        Reason.BINDING_KEYSET_DIGEST_MISMATCH,
        Reason.BINDING_UNDECLARED,
        Reason.EVIDENCE_ABSENT,
        Reason.EXCHANGE_BODY_NOT_JSON,
        Reason.EXCHANGE_ERROR_BODY,
        Reason.EXCHANGE_JSON_DUPLICATE_MEMBER,
        Reason.EXCHANGE_OVER_LIMIT,
        Reason.SHAPE_DUPLICATE_DISAGREES,
        Reason.SHAPE_ENCODING_INVALID,
        Reason.SHAPE_FIELD_MISSING,
        Reason.SHAPE_FIELD_TYPE,
        Reason.SHAPE_LENGTH_INVALID,
    }
)

_SESSION_URL: Final = r"/sessions/([0-9a-fA-F]{64})$"


@value
class CoveringReceipt:
    """A receipt that verifies and the bodies it is declared to cover, by artifact id."""

    artifact: str
    request: str | None
    response: str | None
    request_hash: bytes
    response_hash: bytes


@value
class CoveringReceipts:
    """Fact of `receipt.signature`: every receipt, in Statement order."""

    receipts: tuple[CoveringReceipt, ...]


def _members(evidence: Evidence, artifact: Artifact, tally: Tally) -> Mapping[str, Json] | None:
    """Return the object of a record; record why there is none."""
    try:
        return shapes.parse_record(evidence.body(artifact.id))
    except ArtifactUnavailable as gone:
        tally.find(
            gone.reason, gone.pointer, what=str(gone), got=gone.state.value, expected="bytes"
        )
    except FormatError as error:
        tally.malformed(error, evidence.document(artifact.id), Reason.SHAPE_FIELD_TYPE)
    return None


def _judge_upstream(inputs: Inputs, receipt: aci.Receipt, document: str, tally: Tally) -> None:
    rules = inputs.policy.receipt
    for refused in aci.unverified_upstreams(receipt):
        if rules is not None and rules.allow_upstream_unverified:
            tally.note(
                Reason.ACI_UPSTREAM_UNVERIFIED_ACCEPTED,
                f"{refused.what}; the policy allows it",
                Pointer(document=document, path=refused.path or ""),
            )
        else:
            tally.refuse(refused, document)
    for path, forwarded in receipt.forwarded:
        if forwarded != receipt.request_hash:
            tally.note(
                Reason.ACI_REQUEST_REWRITTEN,
                "the service forwarded another body than it received",
                Pointer(document=document, path=path),
            )


def _covered(
    evidence: Evidence, artifact: Artifact, tally: Tally
) -> tuple[tuple[str | None, str | None], ...]:
    """Return (request id, response id) of every chat that a receipt is declared to cover."""
    found = tuple(
        (next(iter(binding.many("request")), None), next(iter(binding.many("response")), None))
        for binding in evidence.statement.bindings_of("receipt-covers")
        if binding.one("receipt") == artifact.id
    )
    if not found:
        tally.find(
            Reason.BINDING_UNDECLARED,
            Pointer(document="statement", path=f"/predicate/artifacts/{artifact.index}"),
            what="nothing declares which chat this receipt covers",
            got=artifact.id,
            expected="receipt-covers",
        )
    return found


def _judge_sessions(evidence: Evidence, receipts: Sequence[aci.Receipt], tally: Tally) -> None:
    """Hold every listed session record against the id it was asked for, or that a receipt names."""
    named = [
        upstream.session
        for receipt in receipts
        for upstream in receipt.upstreams
        if upstream.session is not None
    ]
    for artifact in evidence.statement.of_role("provider.session"):
        exchange = evidence.statement.exchange_of_body(artifact.id)
        url = "" if exchange is None else exchange.request.url.partition("?")[0]
        asked = re.search(_SESSION_URL, url)
        members = _members(evidence, artifact, tally)
        if members is None:
            continue
        document = evidence.document(artifact.id)
        try:
            aci.judge_session(members, (bytes.fromhex(asked[1]),) if asked else named)
        except FormatError as error:
            tally.malformed(error, document, Reason.SHAPE_FIELD_TYPE)
        except Refused as refused:
            tally.refuse(refused, document)
        else:
            tally.match(artifact.id)


def signature(inputs: Inputs, facts: Facts) -> Outcome[CoveringReceipts]:
    """Row 81: whether a key of an attested key set signed every receipt of the bundle."""
    evidence = facts.get("blobs.digests", Evidence)
    answers = facts.get("shape.recognised", RecognisedAnswers)
    attested = [
        report
        for answer in answers.answers
        for report in answer.reports
        if answer.family == "aci" and isinstance(report, aci.AciReport)
    ]
    tally = Tally()
    listed = evidence.statement.of_role("provider.receipt")
    covering: list[CoveringReceipt] = []
    receipts: list[aci.Receipt] = []
    for artifact in listed:
        document = evidence.document(artifact.id)
        members = _members(evidence, artifact, tally)
        if members is None:
            continue
        try:
            receipt = aci.read_receipt(members)
            aci.judge_receipt(receipt, attested)
        except FormatError as error:
            tally.malformed(error, document, Reason.SHAPE_FIELD_TYPE)
            continue
        except Refused as refused:
            tally.refuse(refused, document)
            continue
        receipts.append(receipt)
        _judge_upstream(inputs, receipt, document, tally)
        covering.extend(
            CoveringReceipt(
                artifact=artifact.id,
                request=request,
                response=response,
                request_hash=receipt.request_hash,
                response_hash=receipt.response_hash,
            )
            for request, response in _covered(evidence, artifact, tally)
        )
        tally.match(f"{artifact.id}: {receipt.key_id}")
    _judge_sessions(evidence, receipts, tally)
    if not listed:
        tally.find(
            Reason.EVIDENCE_ABSENT,
            Pointer(document="statement", path="/predicate/artifacts"),
            what="the bundle lists no receipt",
            expected="provider.receipt",
        )
    return tally.outcome(CoveringReceipts(receipts=tuple(covering)))
