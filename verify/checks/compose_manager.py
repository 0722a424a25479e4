"""Row 57: the launcher's action list, attested in the TD that it launches into.

The manager's own quote, its statement and the model's quote are found through the origin of the
listed action list: all of them stand in one report object of one answer.

Source: verification.md 3; providers.md 3.6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from verify.checks.event_log import listed
from verify.checks.inputs import Inputs
from verify.checks.quotes import td_registers
from verify.dstack.compose_manager import (
    ManagerStatement,
    dump_of_actions,
    judge_nonce,
    judge_report_data,
    judge_same_td,
    parse_manager,
)
from verify.dstack.registers import TdRegisters
from verify.engine.check import Facts
from verify.engine.errors import FormatError, Refused
from verify.engine.outcome import Outcome, Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.wire.model import Artifact, ArtifactUnavailable, Evidence, FromArtifact
from verify.wire.strict_json import parse_evidence, pointer_get

MANAGER_REASONS: Final = frozenset(
    {
        Reason.ARTIFACT_WITHHELD,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.BINDING_UNDECLARED,
        Reason.EVIDENCE_ABSENT,
        Reason.EVIDENCE_SOURCE_UNAVAILABLE,
        Reason.EXCHANGE_BODY_NOT_JSON,
        Reason.SHAPE_FIELD_MISSING,
        Reason.SHAPE_FIELD_TYPE,
        Reason.SHAPE_ENCODING_INVALID,
        Reason.SHAPE_LENGTH_INVALID,
        Reason.COMPOSE_MANAGER_REPORT_DATA_MISMATCH,
        Reason.COMPOSE_MANAGER_OTHER_TD,
        Reason.COMPOSE_MANAGER_ACTIONS_NOT_REPRODUCIBLE,
        Reason.FRESHNESS_COMPOSE_MANAGER_NONCE_MISMATCH,
        Reason.NONCE_FOREIGN_ACCEPTED,
    }
)

_STEP: Final = "span:"
_MEMBER: Final = "/compose_manager_attestation"
_ACTIONS: Final = f"{_MEMBER}/actions"


@value
class Launcher:
    """A compose manager whose list hash is attested in the model's TD.

    ``actions``: artifact id of the list. ``quote``, ``model_quote``: artifact ids. ``dump``: which
    dump of the list has the attested hash, None where none has.
    """

    actions: str
    quote: str
    model_quote: str
    actions_hash: bytes
    dump: str | None


@value
class Launchers:
    """Fact of `compose.manager`."""

    launchers: tuple[Launcher, ...]


def _report(artifact: Artifact) -> tuple[str, str] | None:
    """Return (answer id, pointer of the report object) of an action list, by its origin."""
    origin = artifact.origin
    if not isinstance(origin, FromArtifact) or len(origin.steps) != 1:
        return None
    step = origin.steps[0]
    if not step.startswith(_STEP) or not step.endswith(_ACTIONS):
        return None
    return origin.artifact, step[len(_STEP) : -len(_ACTIONS)]


def _statement(body: bytes, report: str) -> ManagerStatement:
    """Read the manager's statement out of an answer. Raises `FormatError`."""
    try:
        value = parse_evidence(body)
    except FormatError as error:
        raise FormatError(error.offset, error.what, reason=Reason.EXCHANGE_BODY_NOT_JSON) from error
    path = report + _MEMBER
    try:
        stated = pointer_get(value, path)
    except FormatError as error:
        raise FormatError(0, error.what, reason=Reason.SHAPE_FIELD_MISSING, path=path) from error
    if not isinstance(stated, Mapping):
        raise FormatError(0, "not an object", reason=Reason.SHAPE_FIELD_TYPE, path=path)
    return parse_manager(stated, path)


class _Places:
    """Where quotes and nonces stand, looked up once for every list.

    ``registers``: of every verified TD quote, by artifact id.
    """

    def __init__(self, evidence: Evidence, registers: Mapping[str, TdRegisters]) -> None:
        statement = evidence.statement
        self.evidence = evidence
        self.registers = registers
        self._quotes: dict[tuple[str, str], str] = {}
        for artifact in statement.of_role("tdx.quote"):
            origin = artifact.origin
            if isinstance(origin, FromArtifact) and origin.steps:
                self._quotes[origin.artifact, origin.steps[0]] = artifact.id
        self._nonces = {
            binding.one("evidence"): binding.one("nonce")
            for binding in statement.bindings_of("nonce-in-evidence")
        }
        self._values = {nonce.id: nonce.value for nonce in statement.nonces}

    def quote(self, answer: str, pointer: str) -> str:
        """Return the id of the quote taken from that member of an answer, empty for none."""
        return self._quotes.get((answer, f"select:{pointer}"), "")

    def nonce(self, *quotes: str) -> bytes | None:
        """Return the session nonce declared for the first of the quotes that has one."""
        for quote in quotes:
            if quote in self._nonces:
                return self._values[self._nonces[quote]]
        return None


def _judge_nonce(
    statement: ManagerStatement,
    nonce: bytes,
    model: TdRegisters,
    *,
    allow_foreign: bool,
    tally: Tally,
    document: str,
) -> None:
    try:
        judge_nonce(statement, nonce)
    except Refused as refused:
        if allow_foreign and statement.nonce == model.report_data[32:]:
            tally.note(
                Reason.NONCE_FOREIGN_ACCEPTED,
                "the manager's quote binds the nonce of the model's quote, not the session's",
                Pointer(document=document),
            )
            return
        tally.refuse(refused, document)


def _judge(inputs: Inputs, places: _Places, artifact: Artifact, tally: Tally) -> Launcher | None:
    evidence = places.evidence
    source = _report(artifact)
    if source is None:
        tally.find(
            Reason.EVIDENCE_SOURCE_UNAVAILABLE,
            listed(artifact),
            what=f"{artifact.id} is not taken from an answer: its quote cannot be found",
            expected=f"{_STEP}…{_ACTIONS}",
        )
        return None
    answer, report = source
    try:
        body, text = evidence.body(answer), evidence.body(artifact.id)
    except ArtifactUnavailable as error:
        tally.find(
            error.reason,
            error.pointer,
            what=error.artifact.id,
            got=error.state.value,
            expected="bytes",
        )
        return None
    try:
        statement = _statement(body, report)
        dump = dump_of_actions(text, statement.actions_hash)
    except FormatError as error:
        tally.malformed(error, evidence.document(answer), Reason.SHAPE_FIELD_TYPE)
        return None
    own_id = places.quote(answer, f"{report}{_MEMBER}/quote")
    model_id = places.quote(answer, f"{report}/intel_quote")
    own, model = places.registers.get(own_id), places.registers.get(model_id)
    if own is None or model is None:
        tally.find(
            Reason.EVIDENCE_ABSENT,
            listed(artifact),
            what=f"the quotes of manager and model beside {artifact.id} are not both there",
            got=f"manager {own_id or 'none'}, model {model_id or 'none'}",
            expected="two verified TD quotes",
        )
        return None
    document = evidence.document(own_id)
    try:
        judge_report_data(statement, own)
    except Refused as refused:
        tally.refuse(refused, document)
    try:
        judge_same_td(own, model)
    except Refused as refused:
        tally.refuse(refused, document)
    nonce = places.nonce(own_id, model_id)
    if nonce is None:
        tally.find(
            Reason.BINDING_UNDECLARED,
            Pointer(document="statement", path="/predicate/bindings"),
            what=f"no nonce is declared for {own_id} or {model_id}",
            expected="nonce-in-evidence",
        )
    else:
        _judge_nonce(
            statement,
            nonce,
            model,
            allow_foreign=inputs.policy.session.allow_foreign_nonce,
            tally=tally,
            document=document,
        )
    if dump is None:
        tally.note(
            Reason.COMPOSE_MANAGER_ACTIONS_NOT_REPRODUCIBLE,
            "the attested hash is of no known dump of the list: the hash counts, the list does not",
            Pointer(document=evidence.document(artifact.id)),
        )
    tally.match(f"{artifact.id}: hash {statement.actions_hash.hex()} in {own_id}, dump {dump}")
    return Launcher(
        actions=artifact.id,
        quote=own_id,
        model_quote=model_id,
        actions_hash=statement.actions_hash,
        dump=dump,
    )


def manager(inputs: Inputs, facts: Facts) -> Outcome[Launchers]:
    """Row 57: whether every listed action list is attested by a quote of the same TD."""
    evidence = facts.get("blobs.derived", Evidence)
    tally = Tally()
    lists = evidence.statement.of_role("dstack.compose-actions")
    if not lists:
        tally.find(
            Reason.EVIDENCE_ABSENT,
            Pointer(document="statement", path="/predicate/artifacts"),
            what="the bundle lists no compose manager",
            expected="dstack.compose-actions",
        )
    places = _Places(evidence, td_registers(facts))
    judged = [_judge(inputs, places, artifact, tally) for artifact in lists]
    return tally.outcome(Launchers(launchers=tuple(entry for entry in judged if entry)))
