"""Rows 82 and 83: whether a verified signature or receipt names the stored bytes of every chat.

Source: verification.md 3, 3.4; providers.md 2.7, 3.9, 4, 8, 10.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from verify.checks.inputs import Inputs
from verify.checks.receipt import CoveringReceipts
from verify.checks.signature import CoveringSignatures, chats, of_exchange
from verify.engine.check import Facts
from verify.engine.errors import FormatError
from verify.engine.outcome import Affirmed, Outcome, Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.families.content import (
    RAW,
    Admitted,
    Form,
    admitted,
    digests,
    reply_of,
    untested,
)
from verify.wire.headers import read_headers
from verify.wire.model import ArtifactUnavailable, Evidence, Exchange, LargeBody

_COMMON: Final = frozenset(
    {
        Reason.ARTIFACT_WITHHELD,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.BINDING_UNDECLARED,
        Reason.EXCHANGE_CHAT_MISSING,
        Reason.SIGNATURE_FAMILY_HAS_NONE,
    }
)
REQUEST_REASONS: Final = _COMMON | {
    Reason.CONTENT_HASH_CHOSEN_BY_CALLER,
    Reason.CONTENT_REQUEST_HASH_MISMATCH,
    Reason.CONTENT_REQUEST_UNVERIFIABLE,
}
RESPONSE_REASONS: Final = _COMMON | {
    Reason.CONTENT_RESPONSE_HASH_MISMATCH,
    Reason.CONTENT_RESPONSE_INCOMPLETE,
    Reason.CONTENT_RESPONSE_RESERIALISED,
    Reason.EXCHANGE_CONTENT_ENCODED,
    Reason.EXCHANGE_ERROR_BODY,
}

_CALLER_HASH: Final = "x-request-hash"
_CALLER_HASH_PROFILES: Final = frozenset({"vllm-proxy", "nanogpt", "redpill", "venice"})
"""Profiles with vllm-proxy at the end, which signs a hash that the caller supplies (3.9)."""


@value
class _Vouched:
    """What one verified signature or receipt says: bodies by artifact id, and their digests."""

    artifact: str
    request: str | None
    response: str | None
    request_hash: bytes
    response_hash: bytes


def _vouched(facts: Facts, tally: Tally) -> tuple[_Vouched, ...] | None:
    """Return what was signed over bodies; record why there is nothing to hold them against."""
    signatures = facts.find("signature.recovery", CoveringSignatures)
    receipts = facts.find("receipt.signature", CoveringReceipts)
    if signatures is None and receipts is None:
        tally.find(
            Reason.SIGNATURE_FAMILY_HAS_NONE,
            Pointer(document="statement", path="/predicate/bindings"),
            what="neither signature nor receipt names these bytes",
            expected="signature-covers or receipt-covers",
        )
        return None
    found = [
        _Vouched(
            artifact=one.artifact,
            request=one.request,
            response=one.response,
            request_hash=one.verified.text.request_hash,
            response_hash=one.verified.text.response_hash,
        )
        for one in (() if signatures is None else signatures.signatures)
    ]
    found.extend(
        _Vouched(
            artifact=one.artifact,
            request=one.request,
            response=one.response,
            request_hash=one.request_hash,
            response_hash=one.response_hash,
        )
        for one in (() if receipts is None else receipts.receipts)
    )
    return tuple(found)


def _held(evidence: Evidence, tally: Tally) -> tuple[Exchange, ...]:
    found = chats(evidence.statement)
    if not found:
        tally.find(
            Reason.EXCHANGE_CHAT_MISSING,
            Pointer(document="statement", path="/predicate/exchanges"),
            what="no chat exchange",
            expected="chat",
        )
    return found


@value
class _Stored:
    """A chat's body that is there, or what was read of a large one, and what judging it needs.

    ``wire``: its SHA-256. ``size``: in bytes.
    """

    evidence: Evidence
    exchange: Exchange
    artifact: str
    body: bytes | LargeBody
    tally: Tally
    wire: bytes
    size: int

    def at(self, start: int, stop: int) -> Pointer:
        """Point into the body."""
        document = self.evidence.document(self.artifact)
        return Pointer(document=document, start=start, stop=stop)

    @property
    def whole(self) -> Pointer:
        """Point at the whole body."""
        return self.at(0, self.size)


def _stored(
    evidence: Evidence, exchange: Exchange, artifact: str | None, member: str, tally: Tally
) -> _Stored | None:
    """Return a body; record why it is not there."""
    if artifact is None:
        tally.find(
            Reason.ARTIFACT_MISSING,
            of_exchange(exchange, member),
            what=f"{exchange.id} has no such body",
            expected="bytes",
        )
        return None
    try:
        body = evidence.chat_body(artifact)
    except ArtifactUnavailable as error:
        tally.find(
            error.reason, error.pointer, what=artifact, got=error.state.value, expected="bytes"
        )
        return None
    return _Stored(
        evidence=evidence,
        exchange=exchange,
        artifact=artifact,
        body=body,
        tally=tally,
        wire=body.sha256 if isinstance(body, LargeBody) else sha256(body).digest(),
        size=body.size if isinstance(body, LargeBody) else len(body),
    )


class _Forms:
    """The digests of one body, each taken once however many signatures name the body."""

    __slots__ = ("_body", "_found", "_left", "_others")

    def __init__(self, stored: _Stored, forms: Sequence[Form], model: str | None = None) -> None:
        self._found: dict[bytes, Form] = {stored.wire: RAW} if RAW in forms else {}
        self._body = stored.body
        self._others = tuple(form for form in forms if form != RAW)
        self._left = digests(stored.body, self._others, model)

    @property
    def untested(self) -> tuple[Form, ...]:
        """The forms that a body of this size is not held in."""
        return untested(self._body, self._others)

    def named(self, digest: bytes) -> Form | None:
        """Return the first form with that digest, the wire bytes before all others, or None."""
        while digest not in self._found:
            following = next(self._left, None)
            if following is None:
                return None
            self._found.setdefault(following[1], following[0])
        return self._found[digest]


def _covering(stored: _Stored, signatures: Sequence[_Vouched], member: str) -> tuple[_Vouched, ...]:
    """Return the signatures declared over a body; none declared is recorded as a gap.

    Each must be declared over both bodies of the chat: a request under one signature and a response
    under another were never shown to belong together.
    """
    artifact = stored.artifact
    found = tuple(s for s in signatures if artifact in {s.request, s.response})
    if not found:
        stored.tally.find(
            Reason.BINDING_UNDECLARED,
            of_exchange(stored.exchange, member),
            what=f"no signature or receipt is declared over {artifact}",
            got=artifact,
            expected="signature-covers or receipt-covers",
        )
    answer = stored.exchange.response
    pair = (stored.exchange.request.body, None if answer is None else answer.body)
    for signature in found:
        if (signature.request, signature.response) != pair:
            stored.tally.find(
                Reason.BINDING_UNDECLARED,
                of_exchange(stored.exchange, member),
                what=f"{signature.artifact} is not declared over both bodies of this chat",
                got=f"{signature.request or 'none'} and {signature.response or 'none'}",
                expected=f"{pair[0] or 'none'} and {pair[1] or 'none'}",
            )
    return found


def _header(evidence: Evidence, artifact: str | None, name: str) -> tuple[str | None, ...]:
    """Return every value of a header as far as its document is there; a record, never proof."""
    body = evidence.bodies.get(artifact or "")
    if body is None:
        return ()
    try:
        pairs = read_headers(body)
    except FormatError:
        return ()
    return tuple(found for stated, found in pairs if stated.lower() == name)


def _forms(policy: Sequence[str], family: Sequence[Form]) -> tuple[Form, ...]:
    """Return the forms that both the policy and the family admit, in the policy's order."""
    return tuple(known for form in policy for known in family if known == form)


def _response_model(stored: _Stored) -> str | None:
    """Return the model that the answer to a request names, where the answer is there."""
    answer = stored.exchange.response
    body = None if answer is None else stored.evidence.known_body(answer.body)
    return None if body is None else reply_of(body).model


def _judge_request(stored: _Stored, signature: _Vouched, forms: _Forms, family: Admitted) -> bool:
    signed = signature.request_hash
    form = forms.named(signed)
    if form is not None:
        stored.tally.match(f"{stored.artifact} in {signature.artifact}: {form}")
        return True
    left = () if family.rewritten else forms.untested
    if family.rewritten:
        reason = Reason.CONTENT_REQUEST_UNVERIFIABLE
        what = "the proxy forwarded another body than this"
    elif left:
        reason = Reason.CONTENT_REQUEST_UNVERIFIABLE
        what = f"the request is too large to be tested in the form {' or '.join(left)}"
    else:
        reason = Reason.CONTENT_REQUEST_HASH_MISMATCH
        what = "the signed request is not this one"
    stored.tally.find(reason, stored.whole, what=what, got=stored.wire.hex(), expected=signed.hex())
    return False


def _note_caller_hash(stored: _Stored, profile: str) -> None:
    """Say where the signed request hash may be what a caller wrote into a header."""
    sent = bool(_header(stored.evidence, stored.exchange.request.headers, _CALLER_HASH))
    if sent or profile in _CALLER_HASH_PROFILES:
        stored.tally.note(
            Reason.CONTENT_HASH_CHOSEN_BY_CALLER,
            "the recorded request named its own hash"
            if sent
            else "this family signs a request hash that its caller may supply; none was recorded",
            stored.whole,
        )


def request(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 82: whether every signature over a chat names the stored request bytes."""
    evidence = facts.get("blobs.digests", Evidence)
    policy = inputs.policy
    family = admitted(policy.profile)
    named = (RAW,) if policy.signature is None else policy.signature.request_forms
    tally = Tally()
    items: list[str] = []
    signatures = _vouched(facts, tally)
    for exchange in _held(evidence, tally):
        stored = _stored(evidence, exchange, exchange.request.body, "/request/body", tally)
        if stored is None or signatures is None:
            continue
        forms = _Forms(stored, _forms(named, family.request), _response_model(stored))
        matched = [
            _judge_request(stored, signature, forms, family)
            for signature in _covering(stored, signatures, "/request/body")
        ]
        if any(matched):
            _note_caller_hash(stored, policy.profile)
        items.append(stored.artifact)
    return tally.outcome(Affirmed(items=tuple(items)))


def _judge_complete(stored: _Stored) -> None:
    """Demand an answer that is no error, and its end: framing, and of a stream its last line."""
    reply = reply_of(stored.body)
    if reply.error is not None:
        stored.tally.find(
            Reason.EXCHANGE_ERROR_BODY,
            stored.at(reply.error, stored.size),
            what="the answer reports an error of the service",
            got="error",
            expected="a chat's answer",
        )
        return
    framed = stored.exchange.response is not None and stored.exchange.response.complete
    if framed and (reply.done or not reply.stream):
        return
    end = stored.size
    stored.tally.find(
        Reason.CONTENT_RESPONSE_INCOMPLETE,
        stored.at(end, end),
        what="the stream has no proper end" if framed else "the answer broke off",
        got=f"{end} bytes",
        expected="data: [DONE]" if framed else "a complete answer",
    )


def _judge_response(stored: _Stored, signature: _Vouched, forms: _Forms) -> None:
    signed = signature.response_hash
    form = forms.named(signed)
    if form is None:
        answer = stored.exchange.response
        document = None if answer is None else answer.headers
        codings = [
            coding
            for coding in _header(stored.evidence, document, "content-encoding")
            if coding is not None and coding.strip().lower() != "identity"
        ]
        left = forms.untested
        if left and not codings:
            stored.tally.find(
                Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
                stored.whole,
                what=f"the answer is too large to be tested in the form {' or '.join(left)}",
                got=f"{stored.size} bytes, {stored.wire.hex()}",
                expected=signed.hex(),
            )
            return
        stored.tally.find(
            Reason.EXCHANGE_CONTENT_ENCODED if codings else Reason.CONTENT_RESPONSE_HASH_MISMATCH,
            stored.whole,
            what="the body was compressed on the way: what was hashed is not here"
            if codings
            else "the signed response is not this one",
            got=", ".join(codings) if codings else stored.wire.hex(),
            expected="identity" if codings else signed.hex(),
        )
        return
    stored.tally.match(f"{stored.artifact} in {signature.artifact}: {form}")
    if form != RAW:
        stored.tally.note(
            Reason.CONTENT_RESPONSE_RESERIALISED,
            f"the hash is that of the form {form}, not of the bytes on the wire",
            stored.whole,
        )


def response(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 83: whether every signature over a chat names the stored response, to its end."""
    evidence = facts.get("blobs.digests", Evidence)
    policy = inputs.policy
    named = (RAW,) if policy.signature is None else policy.signature.response_forms
    known = _forms(named, admitted(policy.profile).response)
    tally = Tally()
    items: list[str] = []
    signatures = _vouched(facts, tally)
    for exchange in _held(evidence, tally):
        body = None if exchange.response is None else exchange.response.body
        stored = _stored(evidence, exchange, body, "/response/body", tally)
        if stored is None or signatures is None:
            continue
        _judge_complete(stored)
        forms = _Forms(stored, known)
        for signature in _covering(stored, signatures, "/response/body"):
            _judge_response(stored, signature, forms)
        items.append(stored.artifact)
    return tally.outcome(Affirmed(items=tuple(items)))
