"""Rows 16 to 18, 47 to 52 and 72: what was exchanged, of which family it is, what its quotes bind.

Rows 16 and 17 decide which answers count; row 47 turns quotes into facts; rows 48 to 52 compare
those facts with the session's nonce, the stated identities and the observed channel. Nothing that
an answer says about itself is used as a fact.

Source: verification.md 3 (rows), 3.3, 3.4; providers.md 1 to 3, 10, 12.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from verify.checks.inputs import Inputs
from verify.checks.nitro import ListedDocuments
from verify.checks.snp import VerifiedSnpReports
from verify.checks.subjects import ALWAYS, ROLES, listed
from verify.checks.tdx import VerifiedQuotes
from verify.engine.asof import AsOfInstant
from verify.engine.check import Facts, Mode
from verify.engine.errors import FormatError, Refused
from verify.engine.later import later
from verify.engine.outcome import Affirmed, Outcome, Pointer, blocked
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.families import dstack, shapes
from verify.families.certificates import certificate_spki, leaf_spki
from verify.families.identity import (
    AttestedIdentity,
    AuthenticReport,
    AuthenticReports,
    Item,
    RecognisedAnswer,
    RecognisedAnswers,
    ReportObject,
    Shape,
)
from verify.families.members import Companion
from verify.intel.quote import parse_quote
from verify.wire.headers import read_headers
from verify.wire.model import (
    Artifact,
    ArtifactUnavailable,
    Evidence,
    Exchange,
    FromArtifact,
    Response,
    Statement,
)

if TYPE_CHECKING:
    from verify.families import aci, tinfoil
else:
    aci = later("verify.families.aci")
    tinfoil = later("verify.families.tinfoil")

_LOOPBACK: Final = frozenset(("127.0.0.1", "localhost", "[::1]"))
_PROVIDER_PURPOSES: Final = frozenset(
    ("attestation", "chat", "signature", "receipt", "key-config", "model-list")
)
_PLAIN_ENCODINGS: Final = frozenset(("", "identity"))

_EVIDENCE_ROLES: Final = frozenset(
    (
        "tdx.quote",
        "sgx.quote",
        "snp.report",
        "nitro.document",
        "dstack.event-log",
        "dstack.app-compose",
        "dstack.vm-config",
        "dstack.key-provider",
        "dstack.compose-actions",
        "nvidia.payload",
        "nvidia.gpu-evidence",
        "nvidia.gpu-chain",
        "nvidia.switch-evidence",
        "nvidia.switch-chain",
        "provider.signing-key",
        "provider.key-config",
    )
)
"""Roles whose artifacts must come out of an answer, and every one that an answer holds listed."""

_CPU_ROLES: Final = ("tdx.quote", "sgx.quote", "snp.report", "nitro.document")


# --- shared ----------------------------------------------------------------------------------


def _at_exchange(exchange: Exchange) -> Pointer:
    return Pointer(document="statement", path=f"/predicate/exchanges/{exchange.index}")


def _at_artifact(artifact: Artifact) -> Pointer:
    return Pointer(document="statement", path=f"/predicate/artifacts/{artifact.index}")


def _unavailable(tally: Tally, gone: ArtifactUnavailable) -> None:
    tally.find(gone.reason, gone.pointer, what=str(gone), got=gone.state.value, expected="bytes")


def _origin(url: str) -> tuple[str, str]:
    """Return (scheme, host without port) of a URL."""
    scheme, _, rest = url.partition("://")
    host = rest.split("/", 1)[0].split("?", 1)[0].lower()
    if host.startswith("["):
        return scheme, host.partition("]")[0] + "]"
    return scheme, host.partition(":")[0]


def _parameter(url: str, name: str) -> str | None:
    """Return the value of a query parameter as it stands in the URL, or None."""
    for field in url.partition("?")[2].split("&"):
        found, separator, value = field.partition("=")
        if separator and found == name:
            return value
    return None


def _derived(statement: Statement, answer: RecognisedAnswer, item: Item) -> Artifact | None:
    """Return the artifact that the Statement lists for an item of an answer, or None."""
    for artifact in statement.of_role(item.role):
        origin = artifact.origin
        if (
            isinstance(origin, FromArtifact)
            and origin.artifact == (item.source or answer.artifact)
            and origin.steps == item.steps
        ):
            return artifact
    return None


# --- row 16 ----------------------------------------------------------------------------------


@value
class RecordedSequence:
    """Fact of `exchange.recorded`: exchange ids in Statement order.

    ``attestations``: those whose answer may serve as evidence, with the artifact id of its body.
    ``chats``: with an answer.
    """

    attestations: Mapping[str, str]
    chats: tuple[str, ...]
    signatures: tuple[str, ...]


EXCHANGE_RECORDED_REASONS: Final = frozenset(
    (
        Reason.EXCHANGE_ATTESTATION_MISSING,
        Reason.EXCHANGE_CHAT_MISSING,
        Reason.EXCHANGE_CONTENT_ENCODED,
        Reason.EXCHANGE_ORDER_VIOLATED,
        Reason.EXCHANGE_REDIRECTED,
        Reason.EXCHANGE_SCHEME_INSECURE,
        Reason.EXCHANGE_SIGNATURE_MISSING,
        Reason.EXCHANGE_STATUS_UNEXPECTED,
        Reason.EXCHANGE_TRUNCATED,
        Reason.SESSION_CAPTURE_INCOMPLETE,
    )
)


def _usable(exchange: Exchange) -> bool:
    answer = exchange.response
    return (
        answer is not None
        and 200 <= answer.status < 300
        and answer.complete
        and answer.body is not None
    )


def _unusable(exchange: Exchange, response: Response, tally: Tally) -> None:
    """Say why an answer that serves, or is all there is, cannot be evidence."""
    place = _at_exchange(exchange)
    if 300 <= response.status < 400:
        tally.find(
            Reason.EXCHANGE_REDIRECTED,
            place,
            what="the answer is a redirect",
            got=str(response.status),
            expected="2xx",
        )
    elif not 200 <= response.status < 300:
        tally.find(
            Reason.EXCHANGE_STATUS_UNEXPECTED,
            place,
            what="evidence taken from an answer that is no success",
            got=str(response.status),
            expected="2xx",
        )
    elif not response.complete:
        tally.find(
            Reason.EXCHANGE_TRUNCATED,
            place,
            what="HTTP framing broke off",
            got="complete: false",
            expected="a complete answer",
        )


def _attestations(statement: Statement, tally: Tally) -> tuple[Exchange, ...]:
    tries = [exchange for exchange in statement.exchanges if exchange.purpose == "attestation"]
    usable = tuple(exchange for exchange in tries if _usable(exchange))
    sources = {
        artifact.origin.artifact
        for artifact in statement.artifacts
        if isinstance(artifact.origin, FromArtifact) and artifact.role in _EVIDENCE_ROLES
    }
    for exchange in tries:
        answer = exchange.response
        if answer is None or _usable(exchange):
            continue
        # a failed try is part of the record; it is a fault where evidence was taken from it, or
        # where a cut or redirected answer is all there is
        if answer.body in sources or (not usable and answer.status < 400):
            _unusable(exchange, answer, tally)
    if not usable and tally.clean:
        place = (
            _at_exchange(tries[-1])
            if tries
            else Pointer(document="statement", path="/predicate/exchanges")
        )
        tally.find(
            Reason.EXCHANGE_ATTESTATION_MISSING,
            place,
            what="no attestation exchange with a usable answer",
            got=f"{len(tries)} tries",
            expected="one",
        )
    return usable


def _content_encoding(evidence: Evidence, headers: str | None) -> str:
    """Return the Content-Encoding of a headers document, empty where there is none to read."""
    if headers is None:
        return ""
    try:
        fields = read_headers(evidence.body(headers))
    except (ArtifactUnavailable, FormatError):
        return ""
    for name, stated in fields:
        if name.lower() == "content-encoding":
            return (stated or "").strip().lower()
    return ""


def _chats(inputs: Inputs, statement: Statement, tally: Tally) -> tuple[Exchange, ...]:
    tries = [exchange for exchange in statement.exchanges if exchange.purpose == "chat"]
    answered = tuple(
        exchange
        for exchange in tries
        if exchange.response is not None and 200 <= exchange.response.status < 300
    )
    used = {
        response
        for binding in statement.bindings_of("signature-covers")
        for response in binding.many("response")
    }
    for exchange in tries:
        answer = exchange.response
        if answer is None:
            continue
        failed = not 200 <= answer.status < 300
        if failed and (answer.body in used or not answered):
            _unusable(exchange, answer, tally)
    if inputs.policy.mode("content") == Mode.REQUIRED and not tries:
        tally.find(
            Reason.EXCHANGE_CHAT_MISSING,
            Pointer(document="statement", path="/predicate/exchanges"),
            what="no chat exchange",
            expected="a chat",
        )
    return answered


def _signatures(inputs: Inputs, statement: Statement, tally: Tally) -> tuple[Exchange, ...]:
    found = tuple(exchange for exchange in statement.exchanges if exchange.purpose == "signature")
    carried = statement.of_role("provider.signature") or statement.bindings_of("signature-covers")
    if inputs.policy.mode("signature") == Mode.REQUIRED and not found and not carried:
        tally.find(
            Reason.EXCHANGE_SIGNATURE_MISSING,
            Pointer(document="statement", path="/predicate/exchanges"),
            what="no signature exchange",
            expected="a signature look-up",
        )
    return found


def _order(
    inputs: Inputs,
    tally: Tally,
    attestations: Sequence[Exchange],
    chats: Sequence[Exchange],
    signatures: Sequence[Exchange],
) -> None:
    """Demand attestation, chat, signature in this order within a session (providers.md 2.4)."""
    first: dict[str, Exchange] = {}
    for chat in chats:
        first.setdefault(chat.session, chat)
    for signature in signatures:
        opening = first.get(signature.session)
        if chats and (opening is None or opening.seq > signature.seq):
            tally.find(
                Reason.EXCHANGE_ORDER_VIOLATED,
                _at_exchange(signature),
                what="a signature was looked up before the chat of its session",
                got=f"seq {signature.seq}",
                expected="a chat before it",
            )
    for session, chat in first.items():
        own = [exchange for exchange in attestations if exchange.session == session]
        if any(exchange.seq < chat.seq for exchange in own):
            continue
        if own and inputs.policy.session.allow_attest_after_chat:
            continue
        tally.find(
            Reason.EXCHANGE_ORDER_VIOLATED,
            _at_exchange(chat),
            what="no attestation stands before this chat in its session",
            got=f"seq {chat.seq}",
            expected="an attestation before it",
        )


def exchange_recorded(inputs: Inputs, facts: Facts) -> Outcome[RecordedSequence]:
    """Row 16: whether the exchanges are complete, in order, from usable answers.

    Source: providers.md 2.1, 2.4; verification.md 3.4 (16).
    """
    evidence = facts.get("blobs.digests", Evidence)
    statement = evidence.statement
    tally = Tally()
    attestations = _attestations(statement, tally)
    in_use = tally.clean
    for exchange in statement.exchanges:
        scheme, host = _origin(exchange.request.url)
        if exchange.purpose in _PROVIDER_PURPOSES and scheme != "https" and host not in _LOOPBACK:
            tally.find(
                Reason.EXCHANGE_SCHEME_INSECURE,
                _at_exchange(exchange),
                what="the provider was asked without TLS",
                got=scheme,
                expected="https",
            )
    if statement.capture.mode == "live":
        # recorders keep bodies that they inflated, and headers as received: nothing to say then
        for exchange in attestations:
            answer = exchange.response
            encoding = _content_encoding(evidence, None if answer is None else answer.headers)
            if encoding not in _PLAIN_ENCODINGS:
                tally.find(
                    Reason.EXCHANGE_CONTENT_ENCODED,
                    _at_exchange(exchange),
                    what="the answer was compressed on the wire",
                    got=encoding,
                    expected="identity",
                )
    chats = _chats(inputs, statement, tally)
    signatures = _signatures(inputs, statement, tally)
    if in_use:
        _order(inputs, tally, attestations, chats, signatures)
    if not statement.capture.complete:
        tally.note(
            Reason.SESSION_CAPTURE_INCOMPLETE,
            "the capture was interrupted and sealed as it was",
            Pointer(document="statement", path="/predicate/capture/complete"),
        )
    for exchange in attestations:
        tally.match(exchange.id)
    return tally.outcome(
        RecordedSequence(
            attestations={
                exchange.id: exchange.response.body
                for exchange in attestations
                if exchange.response is not None and exchange.response.body is not None
            },
            chats=tuple(exchange.id for exchange in chats),
            signatures=tuple(exchange.id for exchange in signatures),
        )
    )


# --- row 17 ----------------------------------------------------------------------------------

SHAPE_RECOGNISED_REASONS: Final = frozenset(
    (
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_WITHHELD,
        Reason.BINDING_GPU_LINKED_BY_NONCE_ONLY,
        Reason.EXCHANGE_BODY_NOT_JSON,
        Reason.EXCHANGE_ERROR_BODY,
        Reason.EXCHANGE_JSON_DUPLICATE_MEMBER,
        Reason.FRESHNESS_ECHO_ONLY,
        Reason.EXCHANGE_OVER_LIMIT,
        Reason.IDENTITY_ROUTER_ONLY,
        Reason.PROVIDER_VERDICT_IGNORED,
        Reason.SHAPE_AMBIGUOUS,
        Reason.SHAPE_DUPLICATE_DISAGREES,
        Reason.SHAPE_ENCODING_INVALID,
        Reason.SHAPE_ERROR_TEXT_IN_EVIDENCE,
        Reason.SHAPE_FAMILY_NOT_ALLOWED,
        Reason.SHAPE_FAMILY_NOT_JUDGED,
        Reason.SHAPE_FIELD_MISSING,
        Reason.SHAPE_FIELD_TYPE,
        Reason.SHAPE_LENGTH_INVALID,
        Reason.SHAPE_LIST_EMPTY,
        Reason.SHAPE_UNKNOWN,
    )
)


def _demand_allowed(inputs: Inputs, shape: Shape) -> None:
    """Refuse a shape that the policy, or the table of its profile, does not name."""
    profile = shapes.PROFILE_SHAPES.get(inputs.policy.profile)
    if shape not in inputs.policy.shapes or (profile is not None and shape not in profile):
        raise Refused(
            Reason.SHAPE_FAMILY_NOT_ALLOWED,
            f"the policy does not accept the shape {shape}",
            got=shape,
            expected=", ".join(inputs.policy.shapes),
            path="",
        )


def _companions(evidence: Evidence) -> tuple[Companion, ...]:
    """Return the recorded documents that answers may lean on: lists of instances and their keys.

    One that cannot be read offers nothing: what it should have told is then missing by name.
    """
    found: list[Companion] = []
    for exchange in evidence.statement.exchanges:
        answer = exchange.response
        if exchange.purpose != "key-config" or answer is None or not _usable(exchange):
            continue
        with suppress(ArtifactUnavailable, FormatError):
            body = answer.body or ""
            found.append((body, shapes.parse_answer(evidence.body(body))))
    return tuple(found)


def _recognise(
    inputs: Inputs,
    body: bytes,
    artifact: Artifact,
    companions: Sequence[Companion],
    *,
    tally: Tally,
    document: str,
) -> RecognisedAnswer | None:
    try:
        members = shapes.parse_answer(body)
        _demand_allowed(inputs, shapes.recognise(members))
        answer = shapes.read_answer(members, artifact.id, companions)
    except FormatError as error:
        tally.malformed(error, document, Reason.SHAPE_UNKNOWN)
        return None
    except Refused as refused:
        tally.refuse(refused, document)
        return None
    for double in answer.disagreements:
        tally.find(
            Reason.SHAPE_DUPLICATE_DISAGREES,
            Pointer(document=document, path=double.path),
            what="one fact stands twice, differently",
            got=double.got,
            expected=double.expected,
        )
    return answer


_DEVICES_MEMBER: Final[Mapping[str, str]] = {
    "dstack": "nvidia_payload",
    "chutes": "gpu_evidence",
    "ionet": "gpu",
}


def _notes(answer: RecognisedAnswer, document: str, tally: Tally) -> None:
    for path in answer.verdicts:
        tally.note(
            Reason.PROVIDER_VERDICT_IGNORED,
            "the answer carries a verdict of its own",
            Pointer(document=document, path=path),
        )
    for report in answer.reports:
        if report.role == "router":
            tally.note(
                Reason.IDENTITY_ROUTER_ONLY,
                "only the router was attested: nothing is shown of the machine that computes",
                Pointer(document=document, path=report.pointer),
            )
        if report.devices and answer.family != "tinfoil":
            member = _DEVICES_MEMBER[answer.family]
            tally.note(
                Reason.BINDING_GPU_LINKED_BY_NONCE_ONLY,
                "nothing but a shared nonce ties the GPUs to the CPU",
                Pointer(document=document, path=f"{report.pointer}/{member}"),
            )


_ECHO_ONLY: Final = "the nonce that was sent is echoed but NOT bound: the quote holds another value"


def _note_echo(evidence: Evidence, answer: RecognisedAnswer, tally: Tally) -> None:
    """Say that an echo is only an echo, also where the quote itself cannot be judged.

    Reads what the quote *states*, verified or not, to warn and for nothing else: row 48 judges.
    """
    sent = {nonce.value.hex(): nonce.value for nonce in evidence.statement.nonces}
    nonce = sent.get((answer.echo or "").lower())
    if nonce is None:
        return
    rules = shapes.RULES_OF[answer.family]
    for report in answer.reports:
        quote = _derived(evidence.statement, answer, report.quote)
        if quote is None or quote.role != "tdx.quote" or quote.id not in evidence.bodies:
            continue
        with suppress(FormatError):
            stated = parse_quote(evidence.body(quote.id)).body["report_data"]
            if rules.judge_nonce(report, stated, nonce).bound != nonce:
                place = Pointer(document=evidence.document(answer.artifact), path="/nonce")
                tally.note(Reason.FRESHNESS_ECHO_ONLY, _ECHO_ONLY, place)
                return


def shape_recognised(inputs: Inputs, facts: Facts) -> Outcome[RecognisedAnswers]:
    """Row 17: whether each attestation answer is of exactly one family the policy allows.

    Source: providers.md 1, 2.3.
    """
    evidence = facts.get("blobs.derived", Evidence)
    sequence = facts.get("exchange.recorded", RecordedSequence)
    statement = evidence.statement
    tally = Tally()
    answers: list[RecognisedAnswer] = []
    bodies = [
        (statement.exchange(exchange), statement.artifact(body))
        for exchange, body in sequence.attestations.items()
    ]
    companions = _companions(evidence)
    texts = [(exchange.request.url, artifact.media_type) for exchange, artifact in bodies]
    if shapes.is_secretvm(texts):
        allowed = "secretvm" in inputs.policy.shapes
        tally.find(
            Reason.SHAPE_FAMILY_NOT_JUDGED if allowed else Reason.SHAPE_FAMILY_NOT_ALLOWED,
            _at_artifact(bodies[0][1]),
            what="three text answers of one origin: recognised only",
            got="secretvm",
            expected=", ".join(inputs.policy.shapes),
        )
        bodies = []
    for _, artifact in bodies:
        document = evidence.document(artifact.id)
        try:
            body = evidence.body(artifact.id)
        except ArtifactUnavailable as gone:
            _unavailable(tally, gone)
            continue
        answer = _recognise(inputs, body, artifact, companions, tally=tally, document=document)
        if answer is None:
            continue
        _notes(answer, document, tally)
        _note_echo(evidence, answer, tally)
        tally.match(f"{artifact.id}: {answer.shape}")
        answers.append(answer)
    return tally.outcome(RecognisedAnswers(answers=tuple(answers)))


# --- row 18 ----------------------------------------------------------------------------------

EVIDENCE_INVENTORY_REASONS: Final = frozenset(
    (
        Reason.EVIDENCE_ABSENT,
        Reason.EVIDENCE_COUNT_MISMATCH,
        Reason.EVIDENCE_NOT_IN_ANSWER,
        Reason.EVIDENCE_NOT_JUDGED,
        Reason.EVIDENCE_SOURCE_UNAVAILABLE,
        Reason.EVIDENCE_UNLISTED,
    )
)


def _unjudged(inputs: Inputs, statement: Statement, tally: Tally) -> None:
    """Find evidence whose subject the policy excludes: nobody looked at it."""
    for subject in sorted(inputs.policy.subjects):
        if subject in ALWAYS or inputs.policy.judges(subject) or not listed(subject, statement):
            continue
        items = statement.of_role(*ROLES.get(subject, frozenset()))
        place = (
            _at_artifact(items[0]) if items else Pointer(document="statement", path="/predicate")
        )
        tally.find(
            Reason.EVIDENCE_NOT_JUDGED,
            place,
            what=f"the policy excludes {subject}, and the bundle holds evidence of it",
            got=subject,
            expected="no evidence of an excluded subject",
        )


def evidence_inventory(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 18: whether the extractor finds exactly the listed items, and each is judged.

    Source: bundle-format.md 5.3 (D5); verification.md 2.2, 3.4 (18).
    """
    evidence = facts.get("blobs.derived", Evidence)
    answers = facts.find("shape.recognised", RecognisedAnswers)
    statement = evidence.statement
    tally = Tally()
    if answers is None:
        # the policy expects no answer (listed hardware evidence alone): nothing to compare with,
        # but evidence that nobody looks at cannot stand beside VERIFIED here either
        return _inventory_without_answer(inputs, statement, tally)
    wanted: Counter[tuple[str, str, tuple[str, ...]]] = Counter()
    for answer in answers.answers:
        for item in answer.items:
            wanted[item.source or answer.artifact, item.role, item.steps] += 1
    listed_items: list[str] = []
    for artifact in statement.artifacts:
        if artifact.role == "provider.attestation" and answers.of(artifact.id) is None:
            exchange = statement.exchange_of_body(artifact.id)
            # an attestation try that came to nothing is no evidence; under another purpose its
            # answer would never be looked at
            if exchange is None or exchange.purpose != "attestation":
                tally.find(
                    Reason.EVIDENCE_SOURCE_UNAVAILABLE,
                    _at_artifact(artifact),
                    what="an answer that no attestation exchange of the bundle delivered",
                    got=artifact.id,
                    expected="an attestation exchange",
                )
            continue
        origin = artifact.origin
        from_answer = isinstance(origin, FromArtifact) and answers.of(origin.artifact) is not None
        if artifact.role not in _EVIDENCE_ROLES and not from_answer:
            continue
        key = (
            (origin.artifact, artifact.role, origin.steps)
            if isinstance(origin, FromArtifact)
            else None
        )
        if key is not None and wanted[key] > 0:
            wanted[key] -= 1
            listed_items.append(artifact.id)
            continue
        tally.find(
            Reason.EVIDENCE_NOT_IN_ANSWER,
            _at_artifact(artifact),
            what="listed evidence that no answer holds, or that is listed twice",
            got=f"{artifact.role} {artifact.id}",
            expected="an item of the family's extractor",
        )
    for (source, role, steps), missing in wanted.items():
        if missing:
            tally.find(
                Reason.EVIDENCE_UNLISTED,
                Pointer.artifact(source, path=_first_pointer(steps)),
                what="the answer holds evidence that the bundle does not list",
                got=" ".join(steps),
                expected=f"an artifact of role {role}",
            )
    _unjudged(inputs, statement, tally)
    _count_cpus(inputs, statement, tally)
    if not listed_items and tally.clean:
        tally.find(
            Reason.EVIDENCE_ABSENT,
            Pointer(document="statement", path="/predicate/artifacts"),
            what="no item of evidence is listed",
            expected="at least one",
        )
    return tally.outcome(Affirmed(items=tuple(listed_items)))


def _inventory_without_answer(
    inputs: Inputs, statement: Statement, tally: Tally
) -> Outcome[Affirmed]:
    _unjudged(inputs, statement, tally)
    items = tuple(artifact.id for artifact in statement.of_role(*_EVIDENCE_ROLES))
    if statement.of_role(*_CPU_ROLES):
        _count_cpus(inputs, statement, tally)
    elif inputs.policy.counts.cpu_min or not items:
        # none at all is a gap, not a contradiction: nobody said that there is one
        tally.find(
            Reason.EVIDENCE_ABSENT,
            Pointer(document="statement", path="/predicate/artifacts"),
            what="no item of CPU evidence is listed",
            expected=f"at least {max(1, inputs.policy.counts.cpu_min)}",
        )
    return tally.outcome(Affirmed(items=items))


def _count_cpus(inputs: Inputs, statement: Statement, tally: Tally) -> None:
    cpus = statement.of_role(*_CPU_ROLES)
    if len(cpus) < inputs.policy.counts.cpu_min:
        tally.find(
            Reason.EVIDENCE_COUNT_MISMATCH,
            Pointer(document="statement", path="/predicate/artifacts"),
            what="fewer CPU items than the policy wants",
            got=str(len(cpus)),
            expected=f"at least {inputs.policy.counts.cpu_min}",
        )


def _first_pointer(steps: Sequence[str]) -> str:
    """Return the JSON Pointer of the first step, for a finding."""
    return steps[0].partition(":")[2] if steps else ""


# --- row 47 ----------------------------------------------------------------------------------

CPU_AUTHENTIC_REASONS: Final = frozenset((Reason.EVIDENCE_ABSENT,))


def cpu_authentic(inputs: Inputs, facts: Facts) -> Outcome[AuthenticReports]:  # noqa: ARG001
    """Row 47: whether every CPU item, at least one, is authenticated by its own kind.

    Source: verification.md 3.3 (nothing listed: ``evidence.absent``).
    """
    statement = facts.get("blobs.derived", Evidence).statement
    reports: dict[str, AuthenticReport] = {}
    quotes = facts.find("tdx.quote.signature", VerifiedQuotes)
    if quotes is not None:
        for artifact_id, quote in quotes.quotes.items():
            body = quote.body
            sgx = body.find("mr_td") is None
            names = (
                ("mr_enclave", "mr_signer")
                if sgx
                else ("mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id")
            )
            reports[artifact_id] = AuthenticReport(
                artifact=artifact_id,
                kind="sgx" if sgx else "tdx",
                report_data=body["report_data"],
                code=tuple(body[name] for name in names),
            )
    guests = facts.find("snp.report.signature", VerifiedSnpReports)
    if guests is not None:
        for verified in guests.items:
            reports[verified.artifact] = AuthenticReport(
                artifact=verified.artifact,
                kind="snp",
                report_data=verified.report_data,
                code=(verified.measurement,),
            )
    enclaves = facts.find("nitro.chain", ListedDocuments)
    for item in () if enclaves is None else enclaves.items:
        # these documents have no report_data: what they bind are members of their own
        reports[item.artifact] = AuthenticReport(
            artifact=item.artifact, kind="nitro", report_data=b"", code=item.code
        )
    tally = Tally()
    items = statement.of_role(*_CPU_ROLES)
    for artifact in items:
        if artifact.id in reports:
            tally.match(artifact.id)
            continue
        tally.find(
            Reason.EVIDENCE_ABSENT,
            _at_artifact(artifact),
            what="no check of this verification authenticates this CPU item",
            got=artifact.role,
            expected="a signature that holds",
        )
    if not items:
        return blocked(Reason.EVIDENCE_ABSENT, detail="the bundle lists no CPU evidence")
    return tally.outcome(AuthenticReports(reports=reports))


# --- rows 48 and 50: walking reports ---------------------------------------------------------


@value
class _Bound:
    """A report object beside its authenticated quote and the exchange that delivered it."""

    answer: RecognisedAnswer
    report: ReportObject
    quote: Artifact
    authentic: AuthenticReport
    exchange: Exchange | None

    def pointer(self, evidence: Evidence, path: str | None = None) -> Pointer:
        """Point at a place of the report object in its answer."""
        return Pointer(
            document=evidence.document(self.answer.artifact),
            path=self.report.pointer if path is None else path,
        )


def _bound_reports(
    evidence: Evidence, answers: RecognisedAnswers, authentic: AuthenticReports, tally: Tally
) -> Iterator[_Bound]:
    """Give each report object with its authenticated quote; a gap where it has none."""
    statement = evidence.statement
    for answer in answers.answers:
        for report in answer.reports:
            quote = _derived(statement, answer, report.quote)
            found = None if quote is None else authentic.reports.get(quote.id)
            if quote is None or found is None:
                tally.find(
                    Reason.EVIDENCE_ABSENT,
                    Pointer(document=evidence.document(answer.artifact), path=report.pointer),
                    what="the quote of this report object is not among the authenticated items",
                    got="no artifact" if quote is None else quote.id,
                    expected="an authenticated quote",
                )
                continue
            yield _Bound(
                answer=answer,
                report=report,
                quote=quote,
                authentic=found,
                exchange=statement.exchange_of_body(answer.artifact),
            )


NONCE_IN_QUOTE_REASONS: Final = frozenset(
    (
        Reason.BINDING_E2E_KEY_UNKNOWN,
        Reason.BINDING_NONCE_NOT_IN_REPORT_DATA,
        Reason.BINDING_REPORT_DATA_MISMATCH,
        Reason.BINDING_REPORT_DATA_TAIL_NOT_ZERO,
        Reason.BINDING_UNDECLARED,
        Reason.EVIDENCE_ABSENT,
        Reason.FRESHNESS_ECHO_MISMATCH,
        Reason.FRESHNESS_ECHO_ONLY,
        Reason.FRESHNESS_FAMILY_BINDS_NO_NONCE,
        Reason.FRESHNESS_NONCE_NOT_SENT,
        Reason.FRESHNESS_NONCE_REUSED,
        Reason.FRESHNESS_REQUEST_NONCE_MISMATCH,
        Reason.NONCE_FOREIGN_ACCEPTED,
    )
)


def _reused(statement: Statement, tally: Tally) -> None:
    """Find a nonce that stands in two attestation requests."""
    seen: dict[str, Exchange] = {}
    for exchange in statement.exchanges:
        if exchange.purpose != "attestation":
            continue
        sent = _parameter(exchange.request.url, "nonce")
        if not sent:
            continue
        earlier = seen.setdefault(sent.lower(), exchange)
        if earlier is not exchange:
            tally.find(
                Reason.FRESHNESS_NONCE_REUSED,
                _at_exchange(exchange),
                what="the same nonce in two attestation requests",
                got=sent,
                expected=f"another than in {earlier.id}",
            )


def _judge_nonce(
    inputs: Inputs, evidence: Evidence, item: _Bound, tally: Tally
) -> tuple[bytes, bytes | None] | None:
    """Compare the bound value with the session's; return (session nonce, bound value)."""
    statement = evidence.statement
    declared = [
        binding
        for binding in statement.bindings_of("nonce-in-evidence")
        if binding.one("evidence") == item.quote.id
    ]
    if not declared:
        tally.find(
            Reason.BINDING_UNDECLARED,
            _at_artifact(item.quote),
            what="no nonce is declared for this quote",
            got=item.quote.id,
            expected="nonce-in-evidence",
        )
        return None
    bound: bytes | None = None
    refused: dict[Reason, Refused] = {}
    value = b""
    for binding in declared:
        nonce = statement.nonce(binding.one("nonce"))
        value = nonce.value
        ruling = shapes.RULES_OF[item.answer.family].judge_nonce(
            item.report, item.authentic.report_data, value
        )
        bound = ruling.bound
        refused.update((entry.reason, entry) for entry in ruling.refused)
        sent = item.exchange is not None and (
            item.exchange.request.body is not None
            or _parameter(item.exchange.request.url, "nonce") is not None
        )
        if nonce.sent_as == "none" or not sent:
            tally.find(
                Reason.FRESHNESS_NONCE_NOT_SENT,
                _at_artifact(item.quote) if item.exchange is None else _at_exchange(item.exchange),
                what="the attestation request carried no nonce",
                expected="a nonce of 32 bytes",
            )
        elif bound is None:
            continue
        elif value == bound:
            tally.match(item.quote.id)
        elif inputs.policy.session.allow_foreign_nonce:
            tally.note(
                Reason.NONCE_FOREIGN_ACCEPTED,
                "the quote binds a nonce that this session did not choose: the evidence may be old",
                item.pointer(evidence),
            )
        else:
            tally.find(
                Reason.BINDING_NONCE_NOT_IN_REPORT_DATA,
                item.pointer(evidence),
                what="another value is bound where the session's nonce must be",
                got=bound.hex(),
                expected=value.hex(),
            )
    for entry in refused.values():
        tally.refuse(entry, evidence.document(item.answer.artifact))
    return value, bound


def nonce_in_quote(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 48: whether the bound value is the session's nonce, in full. An echo proves nothing.

    Source: providers.md 2.2, 3.2, 12.
    """
    evidence = facts.get("blobs.derived", Evidence)
    answers = facts.get("shape.recognised", RecognisedAnswers)
    authentic = facts.get("cpu.authentic", AuthenticReports)
    tally = Tally()
    _reused(evidence.statement, tally)
    judged: list[str] = []
    pairs: dict[str, list[tuple[bytes, bytes | None]]] = {}
    for item in _bound_reports(evidence, answers, authentic, tally):
        judged.append(item.quote.id)
        pair = _judge_nonce(inputs, evidence, item, tally)
        if pair is not None:
            pairs.setdefault(item.answer.artifact, []).append(pair)
    for answer in answers.answers:
        found = pairs.get(answer.artifact)
        if answer.echo is None or not found:
            continue
        place = Pointer(document=evidence.document(answer.artifact), path="/nonce")
        if answer.echo.lower() != found[0][0].hex():
            tally.note(
                Reason.FRESHNESS_ECHO_MISMATCH, "the echoed nonce is not the session's", place
            )
        elif any(value != bound for value, bound in found):
            tally.note(Reason.FRESHNESS_ECHO_ONLY, _ECHO_ONLY, place)
    if not judged and tally.clean:
        return blocked(Reason.EVIDENCE_ABSENT, detail="no report object with a quote")
    return tally.outcome(Affirmed(items=tuple(judged)))


# --- row 49 ----------------------------------------------------------------------------------

DOCUMENT_REASONS: Final = frozenset(
    (
        Reason.ACI_KEYSET_EXPIRED,
        Reason.BINDING_DOCUMENT_SIGNATURE_INVALID,
        Reason.BINDING_KEYSET_DIGEST_MISMATCH,
        Reason.BINDING_OHTTP_SIGNATURE_INVALID,
        Reason.EVIDENCE_ABSENT,
        Reason.FAMILY_NO_OBJECT,
    )
)


def document(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Row 49: whether provider-signed documents hold, by a key that a quote binds.

    A document whose own key no quote binds is no object of this question: it may hold, and proves
    nothing here. Source: providers.md 3.1 (``ohttp_attestation``).
    """
    evidence = facts.get("blobs.derived", Evidence)
    answers = facts.get("shape.recognised", RecognisedAnswers)
    authentic = facts.get("cpu.authentic", AuthenticReports)
    tally = Tally()
    identities: list[bytes] = []
    for item in _bound_reports(evidence, answers, authentic, tally):
        binding = shapes.RULES_OF[item.answer.family].judge_binding(
            item.report, item.authentic.report_data, (), ()
        )
        # a contradiction is row 50's to tell; the identity then signs nothing here
        if binding.algorithm == "ed25519" and not binding.refused:
            identities.append(binding.address)
    judged: list[str] = []
    for answer in answers.answers:
        place = evidence.document(answer.artifact)
        if answer.document_signature is not None:
            judged.append(answer.artifact)
            try:
                tinfoil.judge_document(
                    evidence.body(answer.artifact),
                    answer.tls_certificate or "",
                    answer.document_signature,
                )
            except Refused as refused:
                tally.refuse(refused, place)
            else:
                tally.match(answer.artifact)
        for report in answer.reports:
            if answer.family != "aci" or not isinstance(report, aci.AciReport):
                continue
            judged.append(answer.artifact)
            try:
                aci.judge_keyset(report, facts.get("time.as_of", AsOfInstant).instant)
            except Refused as refused:
                tally.refuse(refused, place)
            else:
                tally.match(answer.artifact)
        for config in answer.key_configs:
            try:
                attested = dstack.judge_key_config(config, identities)
            except Refused as refused:
                tally.refuse(refused, place)
                continue
            if attested:
                judged.append(f"{answer.artifact}{config.pointer}")
                tally.match(judged[-1])
            else:
                tally.find(
                    Reason.FAMILY_NO_OBJECT,
                    Pointer(document=place, path=config.pointer),
                    what="signed by a key that no quote of this bundle binds",
                    got=config.signing_key.hex(),
                    expected="an attested ed25519 identity",
                )
    if not judged and tally.clean:
        return blocked(
            Reason.FAMILY_NO_OBJECT, detail="the answers hold no provider-signed document"
        )
    return tally.outcome(Affirmed(items=tuple(judged)))


# --- row 50 ----------------------------------------------------------------------------------

REPORT_DATA_REASONS: Final = frozenset(
    (
        Reason.BINDING_E2E_KEY_UNKNOWN,
        Reason.BINDING_INSTANCE_CERTIFICATE_MISSING,
        Reason.BINDING_INSTANCE_CERTIFICATE_NOT_BOUND,
        Reason.BINDING_KEY_NOT_ATTESTED,
        Reason.BINDING_REPORT_DATA_FIELD_DISAGREES,
        Reason.BINDING_REPORT_DATA_MISMATCH,
        Reason.BINDING_REPORT_DATA_TAIL_NOT_ZERO,
        Reason.BINDING_SIGNING_ADDRESS_NOT_IN_REPORT_DATA,
        Reason.BINDING_TLS_FINGERPRINT_NOT_BOUND,
        Reason.BINDING_UNDECLARED,
        Reason.EVIDENCE_ABSENT,
        Reason.IDENTITY_SEVERAL_CODES,
        Reason.SHAPE_ENCODING_INVALID,
    )
)


def _nonces_for(statement: Statement, quote: Artifact) -> tuple[bytes, ...]:
    """Return the session nonces declared for a quote."""
    return tuple(
        statement.nonce(binding.one("nonce")).value
        for binding in statement.bindings_of("nonce-in-evidence")
        if binding.one("evidence") == quote.id
    )


def _seen_fingerprints(item: _Bound) -> tuple[bytes, ...]:
    """Return the SHA-256 of every TLS key that was seen with an answer."""
    found: list[bytes] = []
    tls = None if item.exchange is None else item.exchange.tls
    if tls is not None and tls.spki is not None:
        found.append(bytes.fromhex(tls.spki.removeprefix("sha256:")))
    if item.answer.tls_certificate is not None:
        with suppress(FormatError):  # row 52 judges it
            found.append(leaf_spki(item.answer.tls_certificate, "/tls_certificate"))
    return tuple(found)


def _declared_keys(inputs: Inputs, evidence: Evidence, item: _Bound, tally: Tally) -> None:
    """Test every declared pair of a key text and this quote; demand one where policy does."""
    statement = evidence.statement
    declared = [
        binding
        for binding in statement.bindings_of("key-in-evidence")
        if binding.one("evidence") == item.quote.id
    ]
    if not declared and "key-in-evidence" in inputs.policy.bindings:
        tally.find(
            Reason.BINDING_UNDECLARED,
            _at_artifact(item.quote),
            what="no key is declared for this quote",
            got=item.quote.id,
            expected="key-in-evidence",
        )
    offered = {
        artifact.id
        for key in item.report.keys
        if (artifact := _derived(statement, item.answer, key)) is not None
    }
    for binding in declared:
        key_id = binding.one("key")
        if key_id in offered or _same_text(evidence, key_id, offered):
            continue
        tally.find(
            Reason.BINDING_SIGNING_ADDRESS_NOT_IN_REPORT_DATA,
            Pointer(document="statement", path=f"/predicate/bindings/{binding.index}"),
            what="the declared key is not one that this quote's report object states",
            got=key_id,
            expected=" or ".join(sorted(offered)),
        )


def _same_text(evidence: Evidence, key_id: str, offered: Iterable[str]) -> bool:
    """Whether a key artifact spells one of the offered keys."""
    text_of = evidence.bodies.get(key_id)
    return text_of is not None and text_of in [evidence.bodies.get(other) for other in offered]


def _code(code: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return what names the code alone: RTMR3 differs from instance to instance.

    Where MRCONFIGID is unset nothing but RTMR3 names the application, so it stays.
    """
    if len(code) == 6 and any(code[5]):
        return (*code[:4], code[5])
    return code


def _several_codes(
    identities: Sequence[AttestedIdentity], evidence: Evidence, tally: Tally
) -> None:
    codes: dict[tuple[str, bytes], list[AttestedIdentity]] = {}
    for identity in identities:
        codes.setdefault((identity.algorithm, identity.address), []).append(identity)
    for group in codes.values():
        distinct = {_code(identity.code) for identity in group}
        if len(distinct) > 1:
            parents = {identity.pointer.rpartition("/")[0] for identity in group}
            tally.note(
                Reason.IDENTITY_SEVERAL_CODES,
                f"one signing address, {len(distinct)} code identities",
                Pointer(
                    document=evidence.document(group[0].artifact),
                    path=parents.pop() if len(parents) == 1 else "",
                ),
            )


def report_data(inputs: Inputs, facts: Facts) -> Outcome[tuple[AttestedIdentity, ...]]:
    """Row 50: whether report_data commits to identity and keys by the family's formula.

    The nonce is row 48's question. Source: providers.md 3.2, 12 (precedence).
    """
    evidence = facts.get("blobs.derived", Evidence)
    answers = facts.get("shape.recognised", RecognisedAnswers)
    authentic = facts.get("cpu.authentic", AuthenticReports)
    tally = Tally()
    identities: list[AttestedIdentity] = []
    for item in _bound_reports(evidence, answers, authentic, tally):
        rules, data = shapes.RULES_OF[item.answer.family], item.authentic.report_data
        nonces = _nonces_for(evidence.statement, item.quote)
        bound = rules.judge_binding(item.report, data, _seen_fingerprints(item), nonces)
        for refused in bound.refused:
            tally.refuse(refused, evidence.document(item.answer.artifact))
        _declared_keys(inputs, evidence, item, tally)
        tally.match(f"{item.quote.id}: {bound.form}")
        nonce = rules.judge_nonce(item.report, data, (*nonces, b"")[0]).bound
        identities.append(
            AttestedIdentity(
                pointer=item.report.pointer,
                role=item.report.role,
                algorithm=bound.algorithm,
                address=bound.address,
                public_key=bound.public_key,
                model_name=item.report.model_name,
                artifact=item.answer.artifact,
                exchange="" if item.exchange is None else item.exchange.id,
                quote=item.quote.id,
                form=bound.form,
                nonce=nonce or b"",
                tls_fingerprint=bound.tls_fingerprint,
                code=item.authentic.code,
                tls_keys=bound.tls_keys,
            )
        )
    _several_codes(identities, evidence, tally)
    if not identities and tally.clean:
        return blocked(Reason.EVIDENCE_ABSENT, detail="no report object with a quote")
    return tally.outcome(tuple(identities))


# --- row 51 ----------------------------------------------------------------------------------

PUBLIC_KEY_REASONS: Final = frozenset(
    (Reason.BINDING_PUBLIC_KEY_NOT_OF_ADDRESS, Reason.EVIDENCE_ABSENT, Reason.FAMILY_NO_OBJECT)
)
_SIGNING: Final = frozenset(("ecdsa", "ed25519"))


def public_key(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Row 51: whether address and public key belong together.

    An object without a public key states nothing to compare, but at least one must.
    Source: providers.md 3.1, 3.2.
    """
    evidence = facts.get("blobs.derived", Evidence)
    identities: tuple[AttestedIdentity, ...] = facts.get("binding.report_data", tuple)
    tally = Tally()
    judged: list[str] = []
    for identity in identities:
        # an ed25519 identity is its own key, stated a second time or not
        key = identity.public_key
        if key is None and identity.algorithm == "ed25519":
            key = identity.address
        if key is None or identity.algorithm not in _SIGNING:
            continue
        judged.append(f"{identity.artifact}{identity.pointer}")
        try:
            dstack.judge_public_key(identity.algorithm, identity.address, key)
        except Refused as refused:
            tally.find(
                refused.reason,
                Pointer(
                    document=evidence.document(identity.artifact),
                    path=f"{identity.pointer}/signing_public_key",
                ),
                what=refused.what,
                got=refused.got,
                expected=refused.expected,
            )
            continue
        tally.match(judged[-1])
    if not judged:
        signs = any(identity.algorithm in _SIGNING for identity in identities)
        return blocked(
            Reason.EVIDENCE_ABSENT if signs else Reason.FAMILY_NO_OBJECT,
            detail="no report object states a public key",
        )
    return tally.outcome(Affirmed(items=tuple(judged)))


# --- row 52 ----------------------------------------------------------------------------------

TLS_CHANNEL_REASONS: Final = frozenset(
    (
        Reason.BINDING_TLS_CERTIFICATE_MISMATCH,
        Reason.BINDING_TLS_FINGERPRINT_MISSING,
        Reason.BINDING_TLS_PEER_MISMATCH,
        Reason.BINDING_TLS_PEER_NOT_RECORDED,
        Reason.BINDING_UNDECLARED,
        Reason.SHAPE_ENCODING_INVALID,
    )
)


def _peer(evidence: Evidence, exchange: Exchange, tally: Tally) -> bytes | None:
    """Return SHA-256 of the peer's key, or None; the recorded leaf must have the recorded key."""
    tls = exchange.tls
    if tls is None or tls.spki is None:
        return None
    spki = bytes.fromhex(tls.spki.removeprefix("sha256:"))
    if tls.chain:
        place = Pointer(
            document="statement", path=f"/predicate/exchanges/{exchange.index}/tls/spki"
        )
        try:
            leaf = certificate_spki(evidence.body(tls.chain[0]))
        except (ArtifactUnavailable, FormatError):
            leaf = spki  # the digest stands for itself where the certificate is withheld
        if leaf != spki:
            tally.find(
                Reason.BINDING_TLS_PEER_MISMATCH,
                place,
                what="the recorded leaf certificate has another key than recorded",
                got=leaf.hex(),
                expected=spki.hex(),
            )
    return spki


def _judge_certificate(
    answer: RecognisedAnswer, fingerprint: bytes, place: str, tally: Tally
) -> None:
    if answer.tls_certificate is None:
        return
    path = "/certificate" if answer.family == "tinfoil" else "/tls_certificate"
    try:
        found = leaf_spki(answer.tls_certificate, path)
    except FormatError as error:
        tally.malformed(error, place, Reason.SHAPE_ENCODING_INVALID)
        return
    if found != fingerprint:
        tally.find(
            Reason.BINDING_TLS_CERTIFICATE_MISMATCH,
            Pointer(document=place, path=path),
            what="the certificate in the answer has another key than the bound fingerprint",
            got=found.hex(),
            expected=fingerprint.hex(),
        )


def _judge_peer(
    exchange: Exchange, peer: bytes | None, accepted: Sequence[bytes], place: Pointer, tally: Tally
) -> None:
    if peer is None:
        tally.find(
            Reason.BINDING_TLS_PEER_NOT_RECORDED,
            place,
            what=f"no peer key is recorded for {exchange.id}",
            got=exchange.id,
            expected="the SPKI digest of the peer",
        )
    elif peer not in accepted:
        tally.find(
            Reason.BINDING_TLS_PEER_MISMATCH,
            place,
            what=f"the peer key of {exchange.id} is not one that a quote binds",
            got=peer.hex(),
            expected=" or ".join(value.hex() for value in accepted) or "a key for this host",
        )
    else:
        tally.match(exchange.id)


def _keys_for(identity: AttestedIdentity, url: str) -> tuple[bytes, ...]:
    """Return the TLS keys that an identity's quote binds for the host of a URL."""
    if not identity.tls_keys:
        return () if identity.tls_fingerprint is None else (identity.tls_fingerprint,)
    _, host = _origin(url)
    return tuple(
        key.spki for key in identity.tls_keys if key.domain is None or key.domain.lower() == host
    )


def tls_channel(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 52: whether the TLS key of the answering connection is committed to.

    The trust domain at the client's end is the flat report or the gateway object; a fingerprint of
    a model behind a gateway belongs to another channel. Source: providers.md 2.1, 3.2.
    """
    evidence = facts.get("blobs.derived", Evidence)
    answers = facts.get("shape.recognised", RecognisedAnswers)
    sequence = facts.get("exchange.recorded", RecordedSequence)
    identities: tuple[AttestedIdentity, ...] = facts.get("binding.report_data", tuple)
    statement = evidence.statement
    tally = Tally()
    by_artifact = {answer.artifact: answer for answer in answers.answers}
    accepted: list[AttestedIdentity] = []
    judged: list[str] = []
    for identity in identities:
        if identity.pointer not in ("", "/gateway_attestation"):
            continue
        place = evidence.document(identity.artifact)
        at = Pointer(document=place, path=identity.pointer)
        fingerprint = identity.tls_fingerprint
        delivered = statement.exchange(identity.exchange)
        proxied = inputs.policy.profile in shapes.PROXIED and delivered.tls is not None
        if fingerprint is None or proxied:
            tally.find(
                Reason.BINDING_TLS_FINGERPRINT_MISSING,
                at,
                what="the report states no key of the channel that the client used",
                expected="tls_cert_fingerprint",
            )
            continue
        accepted.append(identity)
        exchange = delivered
        _judge_certificate(by_artifact[identity.artifact], fingerprint, place, tally)
        if "tls-in-evidence" in inputs.policy.bindings and not any(
            binding.one("exchange") == exchange.id and binding.one("evidence") == identity.quote
            for binding in statement.bindings_of("tls-in-evidence")
        ):
            tally.find(
                Reason.BINDING_UNDECLARED,
                _at_exchange(exchange),
                what="no TLS key is declared for this exchange and quote",
                got=exchange.id,
                expected="tls-in-evidence",
            )
        keys = _keys_for(identity, exchange.request.url)
        _judge_peer(exchange, _peer(evidence, exchange, tally), keys, at, tally)
        judged.append(exchange.id)
    if accepted:
        # another connection may end in another machine: its key must be an attested one, too
        known = {statement.exchange(item).connection for item in judged} - {None}
        for chat_id in sequence.chats:
            chat = statement.exchange(chat_id)
            if chat.connection is not None and chat.connection in known:
                continue
            keys = tuple(key for one in accepted for key in _keys_for(one, chat.request.url))
            _judge_peer(chat, _peer(evidence, chat, tally), keys, _at_exchange(chat), tally)
            judged.append(chat.id)
    if not judged and tally.clean:
        return blocked(
            Reason.BINDING_TLS_FINGERPRINT_MISSING, detail="no report of the client's channel"
        )
    return tally.outcome(Affirmed(items=tuple(judged)))


# --- row 72 ----------------------------------------------------------------------------------

GPU_EVIDENCE_REASONS: Final = frozenset(
    (
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_WITHHELD,
        Reason.BINDING_GPU_HASH_MISMATCH,
        Reason.BINDING_NVSWITCH_HASH_MISMATCH,
        Reason.EVIDENCE_ABSENT,
        Reason.FAMILY_NO_OBJECT,
    )
)


def gpu_evidence(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Row 72: whether CPU evidence commits to this GPU evidence.

    Only one family's formula covers it: the exact texts of ``gpu`` and ``nvswitch`` are hashed, and
    row 50 holds the hashes against report_data. Source: providers.md 3.5, 7.
    """
    evidence = facts.get("blobs.derived", Evidence)
    answers = facts.get("shape.recognised", RecognisedAnswers)
    tally = Tally()
    judged: list[str] = []
    for answer in answers.answers:
        for report in answer.reports:
            if answer.family != "tinfoil" or not isinstance(report, tinfoil.TinfoilReport):
                continue
            found: dict[str, bytes] = {}
            for item in (report.gpu, report.nvswitch):
                if item is None:
                    continue
                artifact = _derived(evidence.statement, answer, item)
                if artifact is None:
                    tally.find(
                        Reason.EVIDENCE_ABSENT,
                        Pointer(
                            document=evidence.document(answer.artifact), path=item.steps[0][5:]
                        ),
                        what="the text that the hash is of is not listed",
                        got=item.steps[0],
                        expected="an artifact",
                    )
                    continue
                try:
                    found[item.steps[0]] = evidence.body(artifact.id)
                except ArtifactUnavailable as gone:
                    _unavailable(tally, gone)
            gpu, nvswitch = found.get("span:/gpu"), found.get("span:/nvswitch")
            if tally.clean:
                for refused in tinfoil.judge_gpu(report, gpu, nvswitch):
                    tally.refuse(refused, evidence.document(answer.artifact))
            if gpu is not None:
                judged.append(answer.artifact)
                tally.match(answer.artifact)
    if not judged and tally.clean:
        families = {answer.family for answer in answers.answers}
        return blocked(
            Reason.FAMILY_NO_OBJECT,
            detail=f"{', '.join(sorted(families))}: report_data commits to no GPU evidence",
        )
    return tally.outcome(Affirmed(items=tuple(judged)))
