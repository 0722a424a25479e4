"""Rows 73 to 75: recorded answers of the vendor's remote attestation service.

Answers in the bundle and in accepted ``nras-result`` attachments are judged alike; only the
distance of an attachment's token from the instant judged is not limited, as it may come later.

Source: verification.md 3 (rows 73 to 75), 3.3, 11; nvidia.md 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from verify.checks.container import Attachments
from verify.checks.gpu_devices import (
    GONE,
    AttestedDevices,
    PlacedDevice,
    believed_digests,
    record_gone,
)
from verify.checks.inputs import Inputs
from verify.engine.asof import AsOfInstant
from verify.engine.check import Facts
from verify.engine.errors import FormatError, Refused
from verify.engine.outcome import Affirmed, Outcome, Pointer, blocked
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.nvidia import nras as service
from verify.nvidia.judging import refusals
from verify.nvidia.payload import Payload, parse_payload
from verify.policy.model import NrasRules
from verify.trust.anchor import Purpose
from verify.wire.model import Artifact, ArtifactUnavailable, Evidence

_HTTP_OK: Final = 200
_LATE: Final = timedelta(seconds=600)


@value
class NrasExchange:
    """One recorded question and answer.

    ``evidence``: the bundle's own artifacts or an attachment's. ``devices``: ids of the bundle's
    artifacts that are declared to be covered, None where nothing is declared. ``received_at``: end
    of the recorded exchange, or None. ``attached``: whether it came later, as an attachment.
    """

    evidence: Evidence
    answer: Artifact
    request: Artifact | None
    jwks: Artifact | None
    devices: tuple[str, ...] | None
    received_at: datetime | None
    attached: bool

    @property
    def document(self) -> str:
        """Where findings about the answer point."""
        return self.evidence.document(self.answer.id)


@value
class ReadExchange:
    """An exchange whose answer parsed. ``request`` is None where its bytes cannot be read."""

    exchange: NrasExchange
    answer: service.Answer
    request: Payload | None


@value
class ServiceAnswers:
    """Fact of `nras.token`: answers made of genuine tokens. What they say is another question."""

    answers: tuple[ReadExchange, ...]


def _rules(inputs: Inputs) -> NrasRules:
    rules = inputs.policy.nras
    if rules is None:
        message = "an NRAS check ran although the policy excludes the subject"
        raise ValueError(message)
    return rules


def _received_at(evidence: Evidence, answer: Artifact) -> datetime | None:
    exchange = evidence.statement.exchange_of_body(answer.id)
    return None if exchange is None else exchange.ended_at


def _in_bundle(evidence: Evidence) -> Iterator[NrasExchange]:
    """Give the bundle's own exchanges: the declared ones, then answers nobody declared."""
    statement = evidence.statement
    seen: set[str] = set()
    for binding in statement.bindings_of("nras-covers"):
        answer = statement.artifact(binding.one("answer"))
        seen.add(answer.id)
        yield NrasExchange(
            evidence=evidence,
            answer=answer,
            request=statement.artifact(binding.one("request")),
            jwks=next((statement.artifact(one) for one in binding.many("jwks")), None),
            devices=binding.many("devices"),
            received_at=_received_at(evidence, answer),
            attached=False,
        )
    for answer in statement.of_role("nras.answer"):
        if answer.id in seen:
            continue
        exchange = statement.exchange_of_body(answer.id)
        sent = None if exchange is None else exchange.request.body
        key_sets = statement.of_role("nras.jwks")
        later = [one for one in key_sets if one.index > answer.index]
        yield NrasExchange(
            evidence=evidence,
            answer=answer,
            request=None if sent is None else statement.artifact(sent),
            jwks=next(iter((*later, *reversed(key_sets))), None),
            devices=None,
            received_at=_received_at(evidence, answer),
            attached=False,
        )


def _attached(facts: Facts) -> Iterator[NrasExchange]:
    for attachment in facts.get("attachments.form", Attachments).of_kind("nras-result"):
        statement, own = attachment.evidence.statement, attachment.said.own
        answer = statement.artifact(own["answer"])
        yield NrasExchange(
            evidence=attachment.evidence,
            answer=answer,
            request=statement.artifact(own["request"]),
            jwks=statement.artifact(own["jwks"]),
            devices=attachment.said.devices,
            received_at=_received_at(attachment.evidence, answer) or attachment.at,
            attached=True,
        )


# --- row 73 ------------------------------------------------------------------------------------

TOKEN_REASONS: Final = GONE | {
    Reason.GPU_INPUT_TOO_LARGE,
    Reason.NRAS_ANSWER_HTTP_STATUS,
    Reason.NRAS_ANSWER_LATER_THAN_CAPTURE,
    Reason.NRAS_ANSWER_MALFORMED,
    Reason.NRAS_DEVICE_DIGEST_MISMATCH,
    Reason.NRAS_DEVICE_SET_MISMATCH,
    Reason.NRAS_JWT_ALG_REJECTED,
    Reason.NRAS_JWT_KID_UNKNOWN,
    Reason.NRAS_JWT_MALFORMED,
    Reason.NRAS_JWT_SIGNATURE_INVALID,
    Reason.NRAS_KEY_CHAIN_INVALID,
    Reason.NRAS_KEY_INTERMEDIATE_NOT_PINNED,
    Reason.NRAS_KEY_JWK_MISMATCH,
    Reason.NRAS_KEY_MISSING,
    Reason.NRAS_KEY_TIME_INVALID,
    Reason.NRAS_NOT_RECORDED,
    Reason.NRAS_TOKEN_EXPIRED_AT_CAPTURE,
    Reason.NRAS_TOKEN_EXPIRED_SINCE,
    Reason.NRAS_TOKEN_ISSUER_MISMATCH,
    Reason.NRAS_TOKEN_TIME_INCONSISTENT,
    Reason.NRAS_TOKEN_VERSION_UNSUPPORTED,
}


def _read_request(exchange: NrasExchange) -> Payload | None:
    """Return the request where it can be read; row 75 says why where it cannot."""
    if exchange.request is None:
        return None
    try:
        return parse_payload(exchange.evidence.body(exchange.request.id))
    except (ArtifactUnavailable, FormatError):
        return None


def _read_keys(exchange: NrasExchange, tally: Tally) -> tuple[service.KeySet | None, bool]:
    """Return the key set, and whether its absence has been recorded already."""
    if exchange.jwks is None:
        return None, False
    try:
        return service.parse_key_set(exchange.evidence.body(exchange.jwks.id)), False
    except ArtifactUnavailable as gone:
        record_gone(tally, gone)
    except FormatError as error:
        tally.malformed(
            error, exchange.evidence.document(exchange.jwks.id), Reason.NRAS_ANSWER_MALFORMED
        )
    return None, True


def _status_wrong(exchange: NrasExchange) -> int | None:
    """Return the recorded status of the answer where it is not 200."""
    recorded = exchange.evidence.statement.exchange_of_body(exchange.answer.id)
    if recorded is None or recorded.response is None:
        return None
    status = recorded.response.status
    return None if status == _HTTP_OK else status


def _read(inputs: Inputs, facts: Facts, one: NrasExchange, tally: Tally) -> ReadExchange | None:
    """Judge one exchange's tokens; return it where the answer could be read."""
    status = _status_wrong(one)
    if status is not None:
        tally.find(
            Reason.NRAS_ANSWER_HTTP_STATUS,
            Pointer(document=one.document),
            what="the service refused the request",
            got=str(status),
            expected=str(_HTTP_OK),
        )
        return None
    try:
        answer = service.parse_answer(one.evidence.body(one.answer.id))
    except ArtifactUnavailable as gone:
        record_gone(tally, gone)
        return None
    except FormatError as error:
        tally.malformed(error, one.document, Reason.NRAS_ANSWER_MALFORMED)
        return None
    request = _read_request(one)
    keys, said = _read_keys(one, tally)
    at = facts.get("time.as_of", AsOfInstant)
    rules = _rules(inputs)
    found = service.token_refusals(
        answer,
        keys,
        None if request is None else len(request.entries),
        service.TokenRules(
            pins=believed_digests(inputs, facts, Purpose.NRAS_INTERMEDIATE, at=_issued_at(answer)),
            versions=rules.claims_versions,
            received_at=one.received_at,
            as_of=at.instant,
            max_distance_s=None if one.attached else rules.max_capture_distance_s,
        ),
    )
    for refused in _once(found):
        if not (said and refused.reason is Reason.NRAS_KEY_MISSING):
            tally.refuse(refused, one.document)
    if service.expired(answer.overall, at.instant):
        tally.note(
            Reason.NRAS_TOKEN_EXPIRED_SINCE,
            "the service's own acceptance limit had passed at the instant judged",
            Pointer(document=one.document),
        )
    if one.received_at is not None and one.received_at - at.claimed_end > _LATE:
        tally.note(
            Reason.NRAS_ANSWER_LATER_THAN_CAPTURE,
            "the service was asked after the capture had ended",
            Pointer(document=one.document),
        )
    tally.match(one.answer.id)
    return ReadExchange(exchange=one, answer=answer, request=request)


def _issued_at(answer: service.Answer) -> datetime | None:
    """Return when the overall token says it was issued: tokens are judged at their own time."""
    issued = answer.issued_at
    return None if issued is None else datetime.fromtimestamp(issued, tz=UTC)


def _once(found: Sequence[Refused]) -> Iterator[Refused]:
    """Leave out what repeats itself from token to token: a finding about the shared key."""
    seen: set[tuple[Reason, str, str | None]] = set()
    for refused in found:
        key = (refused.reason, refused.got, refused.path)
        if key not in seen:
            seen.add(key)
            yield refused


def token(inputs: Inputs, facts: Facts) -> Outcome[ServiceAnswers]:
    """Row 73: recorded answers are made of genuine tokens that belong together.

    Source: nvidia.md 10.3 to 10.5.
    """
    exchanges = [*_in_bundle(facts.get("blobs.derived", Evidence)), *_attached(facts)]
    if not exchanges:
        return blocked(Reason.NRAS_NOT_RECORDED, detail="no answer of the service is recorded")
    tally = Tally()
    found = [_read(inputs, facts, one, tally) for one in exchanges]
    return tally.outcome(ServiceAnswers(answers=tuple(one for one in found if one is not None)))


# --- row 74 ------------------------------------------------------------------------------------

RESULT_REASONS: Final = frozenset(
    {
        Reason.NRAS_DEVICE_CLAIM_FALSE,
        Reason.NRAS_DEVICE_CLAIM_MISSING,
        Reason.NRAS_DEVICE_ERROR_REPORTED,
        Reason.NRAS_DEVICE_MEASRES_NOT_SUCCESS,
        Reason.NRAS_DEVICE_NONCE_MISMATCH,
        Reason.NRAS_RESULT_OVERALL_FALSE,
        Reason.NRAS_RESULT_OVERALL_MISSING,
        Reason.NRAS_WARNING_PRESENT,
    }
)


def result(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Row 74: overall true and every device a success, in every answer.

    Source: nvidia.md 10.4, 10.6.
    """
    answers = facts.get("nras.token", ServiceAnswers).answers
    tally = Tally()
    for one in answers:
        document = one.exchange.document
        for refused in service.result_refusals(one.answer):
            tally.refuse(refused, document)
        for token_ in one.answer.devices:
            text = service.warning(token_)
            if text is not None:
                tally.note(
                    Reason.NRAS_WARNING_PRESENT,
                    f"{token_.name}: {text}",
                    Pointer(document=document, path=token_.path),
                )
        tally.match(one.exchange.answer.id)
    return tally.outcome(Affirmed(items=tuple(one.exchange.answer.id for one in answers)))


# --- row 75 ------------------------------------------------------------------------------------

BINDING_REASONS: Final = GONE | {
    Reason.EVIDENCE_ABSENT,
    Reason.NRAS_BIND_DRIVER_MISMATCH,
    Reason.NRAS_BIND_HWMODEL_MISMATCH,
    Reason.NRAS_BIND_NONCE_MISMATCH,
    Reason.NRAS_BIND_REQUEST_MISMATCH,
    Reason.NRAS_BIND_UEID_MISMATCH,
    Reason.NRAS_BIND_VBIOS_MISMATCH,
}


def _no_request(one: ReadExchange, tally: Tally) -> None:
    """Say why the request of an answer could not be read."""
    exchange = one.exchange
    if exchange.request is None:
        tally.find(
            Reason.EVIDENCE_ABSENT,
            Pointer(document=exchange.document),
            what="the request of this answer is not recorded",
            expected="nras.request",
        )
        return
    try:
        parse_payload(exchange.evidence.body(exchange.request.id))
    except ArtifactUnavailable as gone:
        record_gone(tally, gone)
    except FormatError as error:
        tally.malformed(
            FormatError(
                error.offset, error.what, reason=Reason.NRAS_BIND_REQUEST_MISMATCH, path=error.path
            ),
            exchange.evidence.document(exchange.request.id),
            Reason.NRAS_BIND_REQUEST_MISMATCH,
        )


def _judge_binding(
    facts: Facts, one: ReadExchange, known: Mapping[bytes, PlacedDevice], tally: Tally
) -> list[str]:
    """Judge one answer against the devices its request carried; return their ids."""
    bundle = facts.get("blobs.derived", Evidence)
    exchange = one.exchange
    if one.request is None:
        _no_request(one, tally)
        return []
    found: list[str] = []
    for token_ in one.answer.devices:
        # Row 73 has made sure that tokens and entries are equal in number and order.
        entry = one.request.entries[token_.position]
        placed = known.get(entry.evidence)
        if placed is None:
            tally.find(
                Reason.NRAS_BIND_REQUEST_MISMATCH,
                Pointer(document=exchange.document, path=token_.path),
                what="the service was asked about evidence that is not in this bundle",
                got=entry.path,
            )
            continue
        device = placed.device
        chain = bundle.body(placed.chain_id)
        request = partial(
            service.judge_request, one.request, token_.position, device.report.data, chain
        )
        for refused in refusals(request):
            tally.refuse(refused, exchange.document)
        for refused in service.binding_refusals(one.answer, token_, device.report, device.chain):
            tally.refuse(refused, exchange.document)
        found.append(placed.id)
    if exchange.devices is not None and sorted(found) != sorted(exchange.devices):
        tally.find(
            Reason.NRAS_BIND_REQUEST_MISMATCH,
            Pointer(document=exchange.document),
            what="the answer covers other devices than is declared",
            got=", ".join(found),
            expected=", ".join(exchange.devices),
        )
    return found


def binding(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Row 75: each answer is about devices and the nonce of this bundle.

    Which devices: those whose evidence the recorded request carries; they must be the declared
    ones. Source: nvidia.md 10.7.
    """
    attested = facts.get("gpu.report.signature", AttestedDevices)
    known = {one.device.report.data: one for one in attested.devices}
    tally = Tally()
    covered: list[str] = []
    for one in facts.get("nras.token", ServiceAnswers).answers:
        for device in _judge_binding(facts, one, known, tally):
            covered.append(device)
            tally.match(device)
    return tally.outcome(Affirmed(items=tuple(covered)))
