"""Rows 44 to 46: Nitro documents: read and signed, chained to a trusted root, of a known image.

Source: verification.md 3; sev-snp.md 17.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from verify.checks.inputs import Inputs
from verify.engine.asof import AsOfInstant
from verify.engine.check import Facts
from verify.engine.errors import FormatError, Refused
from verify.engine.later import later
from verify.engine.outcome import Affirmed, Outcome, Pointer, blocked
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.policy.model import Fit, Ignore, PinSet, Set, fit, wanted
from verify.trust.anchor import Anchor, AnchorStatus, Kind, Purpose
from verify.wire.model import ArtifactUnavailable, Evidence

if TYPE_CHECKING:
    from verify.nitro import chain as judging
    from verify.nitro import document as layout
else:
    judging = later("verify.nitro.chain")
    layout = later("verify.nitro.document")

DOCUMENT_REASONS: Final = frozenset(
    {
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_WITHHELD,
        Reason.EVIDENCE_ABSENT,
        Reason.NITRO_DOCUMENT_ALGORITHM_UNSUPPORTED,
        Reason.NITRO_DOCUMENT_MALFORMED,
        Reason.NITRO_DOCUMENT_SIGNATURE_INVALID,
        Reason.NITRO_DOCUMENT_TIME_MISMATCH,
    }
)
CHAIN_REASONS: Final = frozenset(
    {
        Reason.NITRO_CHAIN_CONSTRAINT_VIOLATED,
        Reason.NITRO_CHAIN_NOT_VALID_AT_TIMESTAMP,
        Reason.NITRO_CHAIN_ROOT_NOT_TRUSTED,
        Reason.NITRO_CHAIN_SIGNATURE_INVALID,
    }
)
PCR_REASONS: Final = frozenset(
    {
        Reason.NITRO_PCR_DEBUG_MODE,
        Reason.NITRO_PCR_NOT_ACCEPTED,
        Reason.NITRO_PCR_REFERENCE_MISSING,
    }
)
_IMAGE: Final = (0, 1, 2)
"""Registers that name the code: image, kernel and boot, application."""


@value
class ListedDocument:
    """A document that parsed, signed by its own leaf. ``artifact``: its id."""

    artifact: str
    document: layout.NitroDocument
    chain: judging.Chain

    @property
    def code(self) -> tuple[bytes, ...]:
        """What names the code: PCR0 to PCR2, empty where a document lacks one."""
        return tuple(self.document.pcrs.get(index, b"") for index in _IMAGE)


@value
class ListedDocuments:
    """Fact of `nitro.document` and of `nitro.chain`: every document, in Statement order."""

    items: tuple[ListedDocument, ...]


def document(inputs: Inputs, facts: Facts) -> Outcome[ListedDocuments]:
    """Row 44: whether every document is strict, signed by its leaf, and near as_of."""
    evidence = facts.get("blobs.derived", Evidence)
    instant = facts.get("time.as_of", AsOfInstant).instant
    rules = inputs.policy.nitro
    distance = 0 if rules is None else rules.max_document_distance_s
    listed = evidence.statement.of_role("nitro.document")
    if not listed:
        return blocked(Reason.EVIDENCE_ABSENT, detail="the bundle lists no nitro.document")
    tally = Tally()
    found: list[ListedDocument] = []
    for artifact in listed:
        place = evidence.document(artifact.id)
        try:
            parsed = layout.parse_document(evidence.body(artifact.id))
            chain = judging.read_chain(parsed)
            judging.judge_signature(parsed, chain)
            judging.judge_time(parsed, instant, distance)
        except ArtifactUnavailable as gone:
            tally.find(
                gone.reason, gone.pointer, what=str(gone), got=gone.state.value, expected="bytes"
            )
        except FormatError as error:
            tally.malformed(error, place, Reason.NITRO_DOCUMENT_MALFORMED)
        except Refused as refused:
            tally.refuse(refused, place)
        else:
            found.append(ListedDocument(artifact=artifact.id, document=parsed, chain=chain))
            tally.match(artifact.id)
    return tally.outcome(ListedDocuments(items=tuple(found)))


def _each(
    inputs: Inputs,
    facts: Facts,
    need: str,
    judge: Callable[[Inputs, ListedDocument, str, Tally], None],
) -> tuple[ListedDocuments, Tally]:
    evidence = facts.get("blobs.derived", Evidence)
    documents = facts.get(need, ListedDocuments)
    tally = Tally()
    for item in documents.items:
        judge(inputs, item, evidence.document(item.artifact), tally)
        tally.match(item.artifact)
    return documents, tally


def _believed(inputs: Inputs, item: ListedDocument) -> list[Anchor]:
    """Return the roots that are believed at the document's own time."""
    at = item.document.timestamp
    accept = inputs.policy.trust.accept_added
    return [
        anchor
        for anchor in inputs.trust.of(Purpose.AWS_NITRO_ROOT, accept_added=accept)
        if anchor.kind in {Kind.X509, Kind.PIN}
        and anchor.status is not AnchorStatus.COMPROMISED
        and (anchor.start is None or anchor.start <= at)
        and (anchor.end is None or at <= anchor.end)
    ]


def _judge_chain(inputs: Inputs, item: ListedDocument, place: str, tally: Tally) -> None:
    roots = {bytes.fromhex(anchor.sha256) for anchor in _believed(inputs, item)}
    try:
        judging.judge_chain(item.document, item.chain, roots)
    except Refused as refused:
        tally.refuse(refused, place)


def chain(inputs: Inputs, facts: Facts) -> Outcome[ListedDocuments]:
    """Row 45: whether each leaf chains to a trusted root at the document's own time."""
    documents, tally = _each(inputs, facts, "nitro.document", _judge_chain)
    return tally.outcome(documents)


def _nearest(sets: tuple[PinSet, ...], values: dict[str, bytes]) -> tuple[str, ...] | None:
    """Return in which fields the document differs from the set that it is nearest to."""
    judged = [pins.differences(values) for pins in sets]
    return min(judged, key=len, default=None)


def _judge_registers(inputs: Inputs, item: ListedDocument, place: str, tally: Tally) -> None:
    registers = item.document.pcrs
    at = Pointer(document=place)
    if not any(registers.get(0, b"")):
        tally.find(
            Reason.NITRO_PCR_DEBUG_MODE,
            at,
            what="PCR0 is zero: the enclave was started in debug mode",
            got=registers.get(0, b"").hex() or "no PCR0",
            expected="the hash of an image",
        )
        return
    rules = inputs.policy.nitro
    if rules is None:
        return
    values = {f"pcr{index}": register for index, register in registers.items()}
    differing = _nearest(rules.sets, values)
    for name, rule in rules.fields.items():
        if isinstance(rule, Ignore):
            continue
        got = values.get(name, b"")
        how = fit(rule, got) if got else Fit.DIFFERS
        if isinstance(rule, Set) and got:
            if differing is None:
                how = Fit.NO_REFERENCE
            elif name in differing:
                how = Fit.DIFFERS
        if how is Fit.DIFFERS:
            tally.find(
                Reason.NITRO_PCR_NOT_ACCEPTED,
                at,
                what=f"{name} is not what the policy pins",
                got=got.hex() or "absent",
                expected=wanted(rule),
            )
        elif how is Fit.NO_REFERENCE:
            tally.find(
                Reason.NITRO_PCR_REFERENCE_MISSING,
                at,
                what=f"the policy gives no value for {name}",
                got=got.hex(),
                expected=wanted(rule),
            )


def pcr(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 46: whether the registers are pinned ones, and the enclave was not debuggable."""
    documents, tally = _each(inputs, facts, "nitro.chain", _judge_registers)
    return tally.outcome(Affirmed(items=tuple(item.artifact for item in documents.items)))
