"""Rows 76 to 80: who signed the chats, and what attested code has to do with the signer.

`signature-covers` says which signature to hold against which chat. Chat and attestation may come
from different times: then the address, not the machine, joins them, and the report says so.

Source: verification.md 3, 3.4; providers.md 2.4 to 2.6, 3.8, 10.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from verify.checks.event_log import listed
from verify.checks.inputs import Inputs
from verify.crypto.secp256k1 import address_of, parse_public_key
from verify.engine.check import Facts
from verify.engine.errors import FormatError, Refused
from verify.engine.outcome import Affirmed, Outcome, Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.families.content import reply_of
from verify.families.identity import AttestedIdentity, RecognisedAnswers
from verify.families.signatures import (
    Identity,
    SignatureAnswer,
    VerifiedSignature,
    judge_kind,
    parse_answer,
    parse_found_event,
    parse_headers,
    parse_identity,
    parse_stream_event,
    verify_signature,
)
from verify.policy.model import SessionRules
from verify.wire.headers import read_headers
from verify.wire.model import (
    Artifact,
    ArtifactUnavailable,
    Binding,
    Evidence,
    Exchange,
    LargeBody,
    Statement,
)

_ARTIFACT: Final = frozenset(
    {
        Reason.ARTIFACT_WITHHELD,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
    }
)
IDENTITY_STABILITY_REASONS: Final = frozenset(
    {
        Reason.BINDING_UNDECLARED,
        Reason.EXCHANGE_CHAT_MISSING,
        Reason.EXCHANGE_ORDER_VIOLATED,
        Reason.IDENTITY_ATTESTED_LATER,
        Reason.IDENTITY_ATTESTED_ONCE,
        Reason.IDENTITY_CHANGED,
        Reason.IDENTITY_NO_SECOND_ATTESTATION,
    }
)
RECOVERY_REASONS: Final = _ARTIFACT | {
    Reason.BINDING_UNDECLARED,
    Reason.EXCHANGE_BODY_NOT_JSON,
    Reason.EXCHANGE_JSON_DUPLICATE_MEMBER,
    Reason.EXCHANGE_OVER_LIMIT,
    Reason.SHAPE_FIELD_MISSING,
    Reason.SHAPE_FIELD_TYPE,
    Reason.SIGNATURE_ADDRESS_MISMATCH,
    Reason.SIGNATURE_ALGORITHM_UNSUPPORTED,
    Reason.SIGNATURE_ALGORITHMS_DISAGREE,
    Reason.SIGNATURE_CHAT_ID_MISMATCH,
    Reason.SIGNATURE_FAMILY_HAS_NONE,
    Reason.SIGNATURE_INVALID,
    Reason.SIGNATURE_MALFORMED,
    Reason.SIGNATURE_RECOVERY_FAILED,
    Reason.SIGNATURE_TEXT_FORM_UNKNOWN,
    Reason.SIGNATURE_TEXT_MALFORMED,
    Reason.SIGNATURE_UNAVAILABLE,
}
SIGNER_REASONS: Final = frozenset({Reason.SIGNATURE_SIGNER_NOT_ATTESTED})
ROLE_REASONS: Final = frozenset(
    {
        Reason.SIGNATURE_KIND_CONTRADICTS_TEXT,
        Reason.SIGNATURE_KIND_UNKNOWN,
        Reason.SIGNATURE_ROLE_NOT_ACCEPTED,
        Reason.SIGNATURE_SIGNER_IS_GATEWAY,
    }
)
MODEL_REASONS: Final = frozenset(
    {
        Reason.FAMILY_NO_OBJECT,
        Reason.SIGNATURE_MODEL_MISMATCH,
        Reason.SIGNATURE_MODEL_NOT_SIGNED,
    }
)

_PERCENT: Final = re.compile(rb"%([0-9a-fA-F]{2})")
_UNSIGNED_FAMILIES: Final = frozenset({"chutes", "tinfoil"})


@value
class CoveringSignature:
    """A signature that verifies and the bodies it is declared to cover, by artifact id.

    ``artifact``: the signature's carrier. ``chat``: the exchange of the covered bodies, or None.
    """

    artifact: str
    request: str | None
    response: str | None
    chat: str | None
    verified: VerifiedSignature


@value
class CoveringSignatures:
    """Fact of `signature.recovery`: every declared signature, in Statement order."""

    signatures: tuple[CoveringSignature, ...]


@value
class AttestedSignature:
    """A signature and every attested identity of this bundle that is its signer."""

    signature: CoveringSignature
    identities: tuple[AttestedIdentity, ...]


@value
class AttestedSignatures:
    """Fact of `signature.signer`."""

    signatures: tuple[AttestedSignature, ...]


def attested_identities(facts: Facts) -> tuple[AttestedIdentity, ...]:
    """Return every identity that an authenticated quote of this bundle binds."""
    found: tuple[AttestedIdentity, ...] = facts.get("binding.report_data", tuple)
    return found


def is_signer(identity: AttestedIdentity, signer: Identity) -> bool:
    """Whether an attested identity is that signer: algorithm and the bytes of the address."""
    return identity.algorithm == signer.algorithm and identity.address == signer.value


def shown_time(instant: datetime) -> str:
    """Return an instant to the second, in UTC."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def of_exchange(exchange: Exchange, member: str = "") -> Pointer:
    """Point at an exchange's entry in the Statement."""
    return Pointer(document="statement", path=f"/predicate/exchanges/{exchange.index}{member}")


def chats(statement: Statement) -> tuple[Exchange, ...]:
    """Return every chat exchange that was answered, in order; a refused try is no chat."""
    return tuple(
        exchange
        for exchange in statement.exchanges
        if exchange.purpose == "chat"
        and exchange.response is not None
        and 200 <= exchange.response.status < 300
    )


# --- row 77 -----------------------------------------------------------------------------------


def _read(evidence: Evidence, artifact: Artifact) -> SignatureAnswer:
    """Read a signature from its carrier. Raises `FormatError`, `Refused`, `ArtifactUnavailable`."""
    if artifact.role == "http.response.body":
        stream = evidence.chat_body(artifact.id)
        if isinstance(stream, LargeBody):
            return parse_found_event(stream.events, stream.event)
        return parse_stream_event(stream)
    body = evidence.body(artifact.id)
    if artifact.role == "http.response.headers":
        return parse_headers(read_headers(body))
    return parse_answer(body)


def _chat_of(statement: Statement, binding: Binding) -> tuple[str | None, str | None, str | None]:
    """Return (request id, response id, exchange id) that a binding covers."""
    request = next(iter(binding.many("request")), None)
    response = next(iter(binding.many("response")), None)
    exchange = statement.exchange_of_body(response or request or "")
    return request, response, None if exchange is None else exchange.id


def _stated_chat(url: str) -> str | None:
    """Return the chat id that a look-up URL asks for: ``request_id`` or the last path segment."""
    path, _, query = url.partition("?")
    for field in query.split("&"):
        name, _, asked = field.partition("=")
        if name == "request_id" and asked:
            return _unquoted(asked)
    head, _, last = path.rpartition("/")
    return _unquoted(last) if head.endswith("/signature") and last else None


def _unquoted(text: str) -> str:
    """Return a URL part with its ``%XX`` decoded."""
    decoded = _PERCENT.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode())
    return decoded.decode("utf-8", "replace")


def _judge_chat_id(
    evidence: Evidence, carrier: Artifact, response: str | None, tally: Tally
) -> None:
    exchange = evidence.statement.exchange_of_body(carrier.id)
    body = evidence.known_body(response)
    if exchange is None or body is None or carrier.id == response:
        return
    asked, answered = _stated_chat(exchange.request.url), reply_of(body).chat_id
    if asked is not None and answered is not None and asked != answered:
        tally.find(
            Reason.SIGNATURE_CHAT_ID_MISMATCH,
            of_exchange(exchange, "/request/url"),
            what="the signature was looked up for another chat",
            got=asked,
            expected=answered,
        )


def _key_identity(text: str, algorithm: str) -> Identity:
    """Read a key artifact: an address, or a public key in hex. Raises `FormatError`."""
    if algorithm == "ecdsa" and not text.startswith("0x"):
        return Identity(algorithm="ecdsa", value=address_of(parse_public_key(text)))
    return parse_identity(algorithm, text)


def _judge_key(
    evidence: Evidence, binding: Binding, verified: VerifiedSignature, tally: Tally
) -> None:
    """Hold the declared key against the signer."""
    for key in binding.many("key"):
        try:
            text = evidence.body(key).decode("utf-8", "replace")
            identity = _key_identity(text, verified.signer.algorithm)
        except ArtifactUnavailable as error:
            tally.find(error.reason, error.pointer, what=key, got=error.state.value)
        except FormatError as error:
            tally.malformed(error, evidence.document(key), Reason.SIGNATURE_MALFORMED)
        else:
            if identity != verified.signer:
                tally.find(
                    Reason.SIGNATURE_ADDRESS_MISMATCH,
                    Pointer(document=evidence.document(key)),
                    what="the signer is not the declared key",
                    got=str(verified.signer),
                    expected=str(identity),
                )


def _covering(
    inputs: Inputs, evidence: Evidence, binding: Binding, tally: Tally
) -> CoveringSignature | None:
    carrier = evidence.statement.artifact(binding.one("signature"))
    document = evidence.document(carrier.id)
    try:
        verified = verify_signature(_read(evidence, carrier))
    except ArtifactUnavailable as error:
        tally.find(error.reason, error.pointer, what=carrier.id, got=error.state.value)
        return None
    except FormatError as error:
        tally.malformed(error, document, Reason.SIGNATURE_MALFORMED)
        return None
    except Refused as refused:
        tally.refuse(refused, document)
        return None
    rules = inputs.policy.signature
    algorithms = () if rules is None else rules.algorithms
    if verified.signer.algorithm not in algorithms:
        tally.find(
            Reason.SIGNATURE_ALGORITHM_UNSUPPORTED,
            Pointer(document=document, path="/signing_algo"),
            what="the policy does not accept this algorithm",
            got=verified.signer.algorithm,
            expected=" or ".join(algorithms),
        )
    request, response, chat = _chat_of(evidence.statement, binding)
    _judge_chat_id(evidence, carrier, response, tally)
    _judge_key(evidence, binding, verified, tally)
    spelled = " (its spelling is not EIP-55)" if verified.checksum_wrong else ""
    tally.match(f"{carrier.id} signed by {verified.signer}{spelled}")
    return CoveringSignature(
        artifact=carrier.id, request=request, response=response, chat=chat, verified=verified
    )


def _refused_lookup(exchange: Exchange | None) -> bool:
    """Whether a look-up was answered with another status than success."""
    answer = None if exchange is None else exchange.response
    return answer is not None and not 200 <= answer.status < 300


def _judge_undeclared(evidence: Evidence, declared: frozenset[str], tally: Tally) -> int:
    """Judge look-up answers that no binding names; return how many say there is no signature."""
    unavailable = 0
    for artifact in evidence.statement.of_role("provider.signature"):
        if artifact.id in declared:
            continue
        if _refused_lookup(evidence.statement.exchange_of_body(artifact.id)):
            unavailable += 1
            continue
        try:
            parse_answer(evidence.body(artifact.id))
        except Refused:
            unavailable += 1
            continue
        except (FormatError, ArtifactUnavailable):
            # whatever it is: nothing declares what it signs
            pass
        tally.find(
            Reason.BINDING_UNDECLARED,
            listed(artifact),
            what=f"nothing declares what {artifact.id} covers",
            got=artifact.role,
            expected="signature-covers",
        )
    return unavailable


def _judge_agreement(
    evidence: Evidence, signatures: Sequence[CoveringSignature], tally: Tally
) -> None:
    """Demand one text of all signatures over one chat, whatever their algorithm."""
    first: dict[tuple[str | None, str | None], CoveringSignature] = {}
    for signature in signatures:
        other = first.setdefault((signature.request, signature.response), signature)
        mine, theirs = signature.verified, other.verified
        if mine.signer.algorithm != theirs.signer.algorithm and mine.text != theirs.text:
            tally.find(
                Reason.SIGNATURE_ALGORITHMS_DISAGREE,
                Pointer(document=evidence.document(signature.artifact), path="/text"),
                what=f"{signature.artifact} and {other.artifact} sign different texts",
                got=mine.text.text,
                expected=theirs.text.text,
            )


def recovery(inputs: Inputs, facts: Facts) -> Outcome[CoveringSignatures]:
    """Row 77: whether every declared signature is well formed and made by the key it states."""
    evidence = facts.get("blobs.derived", Evidence)
    answers = facts.get("shape.recognised", RecognisedAnswers).answers
    tally = Tally()
    bindings = evidence.statement.bindings_of("signature-covers")
    found = [_covering(inputs, evidence, binding, tally) for binding in bindings]
    signatures = tuple(signature for signature in found if signature is not None)
    declared = frozenset(binding.one("signature") for binding in bindings)
    unavailable = _judge_undeclared(evidence, declared, tally)
    _judge_agreement(evidence, signatures, tally)
    if not bindings and tally.clean:
        families = {answer.family for answer in answers}
        none_signs = not unavailable and bool(families) and families <= _UNSIGNED_FAMILIES
        tally.find(
            Reason.SIGNATURE_FAMILY_HAS_NONE if none_signs else Reason.SIGNATURE_UNAVAILABLE,
            Pointer(document="statement", path="/predicate/bindings"),
            what="this family signs no responses" if none_signs else "no signature was recorded",
            got=f"{unavailable} answers without signature",
            expected="signature-covers",
        )
    return tally.outcome(CoveringSignatures(signatures=signatures))


# --- row 76 -----------------------------------------------------------------------------------


_Key = tuple[str, bytes]
"""Algorithm and address of an identity."""


def _stated_signers(evidence: Evidence) -> dict[str, set[_Key]]:
    """Return body id -> keys that signatures over it state; row 77 verifies them."""
    signers: dict[str, set[_Key]] = {}
    for binding in evidence.statement.bindings_of("signature-covers"):
        try:
            answer = _read(evidence, evidence.statement.artifact(binding.one("signature")))
            stated = parse_identity(answer.algorithm, answer.signing_address)
        except (FormatError, Refused, ArtifactUnavailable):
            # row 77 says what is wrong with it; here it names nobody
            continue
        for body in (*binding.many("request"), *binding.many("response")):
            signers.setdefault(body, set()).add((stated.algorithm, stated.value))
    return signers


@value
class _Attestation:
    """One attestation exchange of a chat's session and the keys it attests."""

    exchange: Exchange
    keys: frozenset[_Key]


@value
class _Around:
    """The attestations of a chat's session, in order, and the keys of its signer."""

    chat: Exchange
    every: tuple[_Attestation, ...]
    wanted: frozenset[_Key]

    @property
    def before(self) -> tuple[_Attestation, ...]:
        """Those that ended before the chat began."""
        return tuple(a for a in self.every if a.exchange.ended_at <= self.chat.started_at)

    @property
    def after(self) -> tuple[_Attestation, ...]:
        """Those that began after the chat ended."""
        return tuple(a for a in self.every if a.exchange.started_at >= self.chat.ended_at)

    def attested(self, side: Sequence[_Attestation]) -> bool:
        """Whether every wanted key is attested on that side, and there is one."""
        seen = frozenset[_Key]().union(*(a.keys for a in side))
        return bool(self.wanted) and self.wanted <= seen

    def times(self) -> str:
        """Name every attestation with its time."""
        named = (f"{a.exchange.id} {shown_time(a.exchange.started_at)}" for a in self.every)
        return ", ".join(named) or "no attestation"


def _around(
    evidence: Evidence,
    chat: Exchange,
    keys: Mapping[str, set[_Key]],
    signers: Mapping[str, set[_Key]],
) -> _Around:
    """Collect one chat's surroundings. ``keys``: by exchange; ``signers``: by covered body."""
    every = tuple(
        _Attestation(exchange=exchange, keys=frozenset(keys[exchange.id]))
        for exchange in evidence.statement.exchanges
        if exchange.id in keys and exchange.session == chat.session
    )
    attested = frozenset[_Key]().union(*(a.keys for a in every))
    bodies = (chat.request.body, None if chat.response is None else chat.response.body)
    stated = frozenset[_Key]().union(*(signers.get(body or "", ()) for body in bodies))
    # a signer whom nobody attests is row 78's to refuse; without one: who is attested throughout
    wanted = attested & stated
    if not wanted and every:
        wanted = every[0].keys.intersection(*(a.keys for a in every)) or every[0].keys
    return _Around(chat=chat, every=every, wanted=wanted)


def _judge_declared(statement: Statement, binding: Binding, around: _Around, tally: Tally) -> bool:
    """Judge the order of a declared pair; return whether both ends attest something."""
    ends = (binding.one("before"), binding.one("after"))
    sides = (around.before, around.after)
    attesting = {a.exchange.id for a in around.every}
    for end, side in zip(ends, sides, strict=True):
        if end in attesting and end not in {a.exchange.id for a in side}:
            exchange = statement.exchange(end)
            tally.find(
                Reason.EXCHANGE_ORDER_VIOLATED,
                of_exchange(exchange),
                what=f"{end} does not lie on its side of {around.chat.id}",
                got=f"{shown_time(exchange.started_at)} to {shown_time(exchange.ended_at)}",
                expected=f"around {shown_time(around.chat.started_at)}",
            )
    return attesting.issuperset(ends)


def _judge_change(around: _Around, tally: Tally) -> None:
    """Demand the chat's signer of every attestation that attests a key of its algorithm."""
    for attestation in around.every:
        for algorithm, address in sorted(around.wanted - attestation.keys):
            others = [value for other, value in attestation.keys if other == algorithm]
            if others:
                tally.find(
                    Reason.IDENTITY_CHANGED,
                    of_exchange(attestation.exchange),
                    what=f"the signer around {around.chat.id} is not attested there",
                    got=", ".join(sorted(value.hex() for value in others)),
                    expected=address.hex(),
                )


def _judge_sides(
    around: _Around, declared: Sequence[bool], session: SessionRules, tally: Tally
) -> None:
    """Hold the sides on which the signer is attested against what the policy demands."""
    chat, times = around.chat, around.times()
    at = shown_time(chat.started_at)
    place = of_exchange(chat)
    before, after = around.attested(around.before), around.attested(around.after)
    if before and after and any(declared):
        tally.match(f"{chat.id} {at}, attested around it: {times}")
    elif before and after and session.attest_around:
        tally.find(
            Reason.BINDING_UNDECLARED,
            place,
            what=f"nothing declares which attestations lie around {chat.id}",
            got=times,
            expected="attested-around",
        )
    elif session.attest_around or not (before or session.allow_attest_after_chat):
        tally.find(
            Reason.IDENTITY_NO_SECOND_ATTESTATION,
            place,
            what=f"the signer of {chat.id} is not attested on the sides the policy demands",
            got=times,
            expected="before and after" if session.attest_around else "before the chat",
        )
    elif before:
        text = f"chat {chat.id} of {at}, attested on one side: {times}"
        tally.note(Reason.IDENTITY_ATTESTED_ONCE, text, place)
        tally.match(text)
    elif around.every:
        text = (
            f"chat {chat.id} of {at}, attested only later: {times}; "
            "the address, not the machine, joins them"
        )
        tally.note(Reason.IDENTITY_ATTESTED_LATER, text, place)
        tally.match(text)
    else:
        tally.find(
            Reason.IDENTITY_NO_SECOND_ATTESTATION,
            place,
            what=f"no attestation stands in the session of {chat.id}",
            got=times,
            expected="an attestation",
        )


def identity_stability(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 76: whether the signer is attested before and after every chat, as demanded."""
    evidence = facts.get("blobs.derived", Evidence)
    statement = evidence.statement
    keys: dict[str, set[_Key]] = {}
    for identity in attested_identities(facts):
        keys.setdefault(identity.exchange, set()).add((identity.algorithm, identity.address))
    signers = _stated_signers(evidence)
    tally = Tally()
    held = chats(statement)
    if not held:
        tally.find(
            Reason.EXCHANGE_CHAT_MISSING,
            Pointer(document="statement", path="/predicate/exchanges"),
            what="no chat to be attested around",
            expected="chat",
        )
    for chat in held:
        around = _around(evidence, chat, keys, signers)
        declared = [
            _judge_declared(statement, binding, around, tally)
            for binding in statement.bindings_of("attested-around")
            if binding.one("chat") == chat.id
        ]
        _judge_change(around, tally)
        _judge_sides(around, declared, inputs.policy.session, tally)
    return tally.outcome(Affirmed(items=tuple(chat.id for chat in held)))


# --- rows 78 to 80 ----------------------------------------------------------------------------


def signer(inputs: Inputs, facts: Facts) -> Outcome[AttestedSignatures]:  # noqa: ARG001
    """Row 78: whether every signer is a key that an attested report of this bundle binds."""
    evidence = facts.get("blobs.derived", Evidence)
    identities = attested_identities(facts)
    tally = Tally()
    attested: list[AttestedSignature] = []
    for signature in facts.get("signature.recovery", CoveringSignatures).signatures:
        who = signature.verified.signer
        found = tuple(identity for identity in identities if is_signer(identity, who))
        if not found:
            tally.find(
                Reason.SIGNATURE_SIGNER_NOT_ATTESTED,
                Pointer(document=evidence.document(signature.artifact), path="/signing_address"),
                what="no attested report of this bundle binds the signer",
                got=str(who),
                expected=", ".join(dict.fromkeys(i.address.hex() for i in identities)),
            )
            continue
        attested.append(AttestedSignature(signature=signature, identities=found))
        for identity in found:
            attestation = evidence.statement.exchange(identity.exchange)
            chat = (
                ""
                if signature.chat is None
                else f", chat {shown_time(evidence.statement.exchange(signature.chat).started_at)}"
            )
            tally.match(
                f"{who} is the {identity.role} of {identity.quote}, attested "
                f"{shown_time(attestation.started_at)}{chat}"
            )
    return tally.outcome(AttestedSignatures(signatures=tuple(attested)))


def role(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 79: whether every signer stands in a role the policy accepts and is said to have."""
    evidence = facts.get("blobs.derived", Evidence)
    rules = inputs.policy.signature
    accepted = () if rules is None else rules.roles
    tally = Tally()
    signatures = facts.get("signature.signer", AttestedSignatures).signatures
    for entry in signatures:
        document = evidence.document(entry.signature.artifact)
        verified = entry.signature.verified
        if verified.kind is None:
            tally.note(
                Reason.SIGNATURE_KIND_UNKNOWN,
                "the answer does not say who signed: the role follows from the attested address",
                Pointer(document=document),
            )
        try:
            judge_kind(verified)
        except Refused as refused:
            tally.refuse(refused, document)
        roles = sorted({identity.role for identity in entry.identities})
        if "gateway" in roles:
            tally.note(
                Reason.SIGNATURE_SIGNER_IS_GATEWAY,
                "the gateway signed what it sent; that a model computed it is not shown",
                Pointer(document=document),
            )
        for name in roles:
            if name not in accepted:
                tally.find(
                    Reason.SIGNATURE_ROLE_NOT_ACCEPTED,
                    Pointer(document=document, path="/signing_address"),
                    what=f"the signer is attested as {name}",
                    got=name,
                    expected=" or ".join(accepted),
                )
        tally.match(f"{entry.signature.artifact} signed as {' and '.join(roles)}")
    return tally.outcome(Affirmed(items=tuple(e.signature.artifact for e in signatures)))


def _asked_model(evidence: Evidence, request: str | None) -> str:
    body = evidence.known_body(request)
    asked = None if body is None else reply_of(body).model
    return "" if asked is None else f", the request asked for {asked}"


def model(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Row 80: whether the signed model name is the attested one."""
    evidence = facts.get("blobs.derived", Evidence)
    tally = Tally()
    signatures = facts.get("signature.signer", AttestedSignatures).signatures
    for entry in signatures:
        signature = entry.signature
        pointer = Pointer(document=evidence.document(signature.artifact), path="/text")
        signed = signature.verified.text.model
        if signed is None:
            tally.note(Reason.SIGNATURE_MODEL_NOT_SIGNED, "the signed text names no model", pointer)
            continue
        names = tuple(dict.fromkeys(i.model_name for i in entry.identities if i.model_name))
        if not names:
            tally.find(
                Reason.FAMILY_NO_OBJECT,
                pointer,
                what="the signer's report names no model to compare with",
                got=signed,
                expected="model_name",
            )
        for name in names:
            if name != signed:
                tally.find(
                    Reason.SIGNATURE_MODEL_MISMATCH,
                    pointer,
                    what="the signed model is not the attested one",
                    got=signed,
                    expected=name,
                )
        tally.match(f"{signature.artifact}: {signed}{_asked_model(evidence, signature.request)}")
    return tally.outcome(Affirmed(items=tuple(e.signature.artifact for e in signatures)))
