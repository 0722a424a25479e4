"""A small session for the tests of rows 53 to 57 and 76 to 83: Statement, bytes, facts.

Facts of other rows are put in as values: these tests judge one check at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, cast

from fixtures.intel_pki import QuoteSpec
from verify.checks import compose_manager, content, event_log, receipt, signature
from verify.checks.inputs import Inputs
from verify.checks.tdx import VerifiedQuote, VerifiedQuotes
from verify.engine.check import Facts
from verify.engine.outcome import Outcome, Status
from verify.engine.reason import Reason
from verify.engine.value import replace
from verify.families.bodies import BodyReader
from verify.families.identity import AttestedIdentity, RecognisedAnswer, RecognisedAnswers
from verify.intel.quote import parse_quote
from verify.policy.loader import default_bytes, load_policy
from verify.policy.model import EventLogRules, Policy, SessionRules, SignatureRules
from verify.wire.model import (
    Artifact,
    ArtifactState,
    Binding,
    Capture,
    Clock,
    Digest,
    Evidence,
    Exchange,
    FromArtifact,
    FromExchange,
    KeyId,
    LargeBody,
    Nonce,
    Request,
    Response,
    Statement,
)

REASONS: dict[Any, frozenset[Reason]] = {
    event_log.replay: event_log.REPLAY_REASONS,
    event_log.compose_hash: event_log.COMPOSE_HASH_REASONS,
    event_log.compose_config_id: event_log.COMPOSE_CONFIG_ID_REASONS,
    compose_manager.manager: compose_manager.MANAGER_REASONS,
    signature.identity_stability: signature.IDENTITY_STABILITY_REASONS,
    signature.recovery: signature.RECOVERY_REASONS,
    signature.signer: signature.SIGNER_REASONS,
    signature.role: signature.ROLE_REASONS,
    signature.model: signature.MODEL_REASONS,
    receipt.signature: receipt.SIGNATURE_REASONS,
    content.request: content.REQUEST_REASONS,
    content.response: content.RESPONSE_REASONS,
}
"""Every check judged with this helper and the codes it declares."""

START = datetime(2026, 6, 10, 6, 0, 0, tzinfo=UTC)
NONCE = bytes(range(32))
DIGEST = Digest("sha256:" + "0" * 64)


@cache
def _default(name: str) -> Policy:
    return load_policy(default_bytes(name))


def policy(
    name: str = "near-direct",
    *,
    session: Mapping[str, bool] | None = None,
    signature: Mapping[str, tuple[str, ...]] | None = None,
    compose_hashes: Sequence[bytes] = (),
    **changes: object,
) -> Policy:
    """Return a shipped default with some knobs turned."""
    found = _default(name)
    rules = EventLogRules(
        compose_hashes=tuple(compose_hashes), require_events=("app-id", "compose-hash")
    )
    sessions: SessionRules = replace(found.session, **(session or {}))
    signatures = cast("SignatureRules", found.signature)
    return replace(
        found,
        session=sessions,
        event_log=rules,
        signature=replace(signatures, **(signature or {})),
        **changes,
    )


class Session:
    """Collects artifacts, exchanges, bindings; gives the Statement and the bytes."""

    def __init__(self) -> None:
        self.artifacts: list[Artifact] = []
        self.bodies: dict[str, bytes] = {}
        self.states: dict[str, ArtifactState] = {}
        self.large: dict[str, LargeBody | None] = {}
        self.exchanges: list[Exchange] = []
        self.bindings: list[Binding] = []
        self.nonces: list[Nonce] = [
            Nonce(
                id="nonce-1",
                value=NONCE,
                derivation="foreign",
                random=None,
                beacon=None,
                sent_as="hex64",
            )
        ]

    def add(
        self,
        artifact: str,
        role: str,
        body: bytes | None,
        *,
        steps: tuple[str, ...] = (),
        source: str = "att-1",
        state: ArtifactState = ArtifactState.PRESENT,
    ) -> str:
        """Add an artifact; ``steps``: derived from ``source``; no body: in ``state``."""
        origin = FromArtifact(artifact=source, steps=steps) if steps else FromExchange(exchange="x")
        self.artifacts.append(
            Artifact(
                id=artifact,
                role=role,
                media_type="application/json",
                digest=DIGEST,
                size=1,
                framing="raw",
                origin=origin,
                index=len(self.artifacts),
            )
        )
        self.states[artifact] = state
        if body is not None:
            self.bodies[artifact] = body
        return artifact

    def withhold(self, artifact: str, state: ArtifactState = ArtifactState.WITHHELD) -> None:
        """Take the bytes of an artifact away."""
        del self.bodies[artifact]
        self.states[artifact] = state

    def outgrow(self, artifact: str, forms: Sequence[str] = ()) -> None:
        """Let a chat's body stand as what is read of one too large to be held."""
        reader = BodyReader(forms)
        reader.feed(self.bodies.pop(artifact))
        self.large[artifact] = reader.body()

    def exchange(
        self,
        name: str,
        purpose: str,
        *,
        minute: int = 0,
        start: datetime | None = None,
        url: str = "https://provider.example.test/v1",
        request: str | None = None,
        response: str | None = None,
        request_headers: str | None = None,
        response_headers: str | None = None,
        status: int | None = 200,
        complete: bool = True,
        session: str = "s1",
    ) -> Exchange:
        """Add an exchange of ten seconds, ``minute`` minutes after the start."""
        began = start or START + timedelta(minutes=minute)
        answer = None
        if status is not None:
            answer = Response(
                status=status,
                http_version="1.1",
                headers=response_headers,
                body=response,
                complete=complete,
            )
        index = len(self.exchanges)
        exchange = Exchange(
            id=name,
            session=session,
            connection=None,
            seq=index + 1,
            purpose=purpose,
            started_at=began,
            first_byte_at=None,
            ended_at=began + timedelta(seconds=10),
            request=Request(method="GET", url=url, headers=request_headers, body=request),
            response=answer,
            tls=None,
            index=index,
        )
        self.exchanges.append(exchange)
        return exchange

    def bind(self, binding: str, **members: str | tuple[str, ...] | None) -> None:
        """Declare a binding."""
        self.bindings.append(Binding(type=binding, members=members, index=len(self.bindings)))

    def evidence(self) -> Evidence:
        """Return the Statement with its bytes."""
        capture = Capture(
            mode="live",
            complete=True,
            started_at=START,
            ended_at=START + timedelta(hours=1),
            clock=Clock(source="ntp", offset_ms=0, max_error_ms=0),
            operator="test",
            host=None,
            provider_name="test",
            provider_endpoint="https://provider.example.test",
            tool_name="test",
            tool_version="0",
            imported_from=None,
            imported_times=None,
        )
        statement = Statement(
            schema="1.0",
            id="urn:uuid:00000000-0000-4000-8000-000000000000",
            profile="near-direct",
            capture=capture,
            signer=KeyId(DIGEST),
            nonces=tuple(self.nonces),
            artifacts=tuple(self.artifacts),
            exchanges=tuple(self.exchanges),
            bindings=tuple(self.bindings),
            observations=(),
            extensions=(),
            critical=(),
            _by_id={artifact.id: artifact for artifact in self.artifacts},
        )
        return Evidence(
            statement=statement, bodies=self.bodies, states=self.states, large=self.large
        )


def quote_of(fields: Mapping[str, bytes], report_data: bytes = bytes(64)) -> bytes:
    """Return a quote of a TD with these registers; its signature is nobody's here."""
    return QuoteSpec(fields={**fields, "report_data": report_data}).build(b"no chain")


def quotes(session: Session) -> VerifiedQuotes:
    """Return every quote of a session as verified."""
    return VerifiedQuotes(
        quotes={
            artifact.id: VerifiedQuote(
                artifact=artifact.id,
                quote=parse_quote(session.bodies[artifact.id]),
                chain=cast("Any", None),
                pck=cast("Any", None),
                qe_level=cast("Any", None),
            )
            for artifact in session.artifacts
            if artifact.role in {"tdx.quote", "sgx.quote"}
        }
    )


def answers(family: str = "dstack") -> RecognisedAnswers:
    """Return one recognised answer of a family."""
    answer = RecognisedAnswer(
        artifact="att-1", shape=cast("Any", "dstack-flat"), family=cast("Any", family)
    )
    return RecognisedAnswers(answers=(answer,))


def identity(
    signer: Any,
    *,
    exchange: str = "before",
    role: str = "model",
    model_name: str | None = "test/model-7b",
    code: tuple[bytes, ...] = (b"code",),
) -> AttestedIdentity:
    """Return an identity that a verified quote binds."""
    return AttestedIdentity(
        pointer="",
        role=cast("Any", role),
        algorithm=signer.algorithm,
        address=signer.identity,
        public_key=None,
        model_name=model_name,
        artifact="att-1",
        exchange=exchange,
        quote="quote-1",
        form="address_padded",
        nonce=NONCE,
        tls_fingerprint=None,
        code=code,
    )


def ask(
    check: Any, session: Session, rules: Policy, facts: Mapping[str, object] | None = None
) -> Outcome[Any]:
    """Run one check over a session."""
    inputs = Inputs(
        bundle=cast("Any", None), policy=rules, trust=cast("Any", None), as_of=cast("Any", None)
    )
    evidence = session.evidence()
    known = {"blobs.derived": evidence, "blobs.digests": evidence, **(facts or {})}
    declared = frozenset((*known, "signature.recovery", "receipt.signature", "nitro.chain"))
    outcome = cast("Outcome[Any]", check(inputs, Facts(known, declared)))
    declared_reasons = REASONS.get(check)
    if declared_reasons is not None:
        assert {*reasons(outcome), *notes(outcome)} <= declared_reasons
    return outcome


def reasons(outcome: Outcome[Any]) -> list[Reason]:
    """Return the reason of every finding, in order."""
    return [finding.reason for finding in outcome.findings]


def notes(outcome: Outcome[Any]) -> list[Reason]:
    """Return the code of every note, in order."""
    return [note.reason for note in outcome.notes]


def refused(outcome: Outcome[Any], *expected: Reason) -> None:
    """Demand exactly these findings; the status follows from the first."""
    assert reasons(outcome) == list(expected)
    wanted = Status.FAIL if expected[0].kind.value == "reject" else Status.BLOCKED
    assert outcome.status is wanted
    assert outcome.reason is expected[0]


def as_json(value: object) -> bytes:
    """Return a value as JSON bytes."""
    return json.dumps(value).encode()
