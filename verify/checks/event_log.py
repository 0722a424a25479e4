"""Rows 53, 55, 56: the dstack event log, the compose text, MRCONFIGID and the aggregates.

The pairs to test are declared: ``log-in-evidence`` joins a log to a quote, ``code-in-evidence`` a
compose text. Every TD quote of a bundle that is judged for event logs needs both.

Source: verification.md 3; tdx.md 14; providers.md 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from verify.checks.inputs import Inputs
from verify.checks.quotes import td_registers
from verify.dstack import compose as dstack_compose
from verify.dstack import event_log as dstack_log
from verify.dstack.event_log import Replay
from verify.dstack.registers import TdRegisters
from verify.engine.check import Facts
from verify.engine.errors import FormatError, Refused
from verify.engine.outcome import Outcome, Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.wire.model import Artifact, ArtifactUnavailable, Evidence, FromArtifact
from verify.wire.strict_json import Json, parse_evidence, pointer_get

_ARTIFACT: Final = frozenset(
    {
        Reason.ARTIFACT_WITHHELD,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.BINDING_UNDECLARED,
    }
)
REPLAY_REASONS: Final = _ARTIFACT | {
    Reason.EVENT_LOG_MISSING,
    Reason.TDX_EVENT_LOG_MALFORMED,
    Reason.TDX_EVENT_LOG_REGISTER_INVALID,
    Reason.TDX_EVENT_LOG_VERSION_UNSUPPORTED,
    Reason.TDX_EVENT_LOG_PREIMAGE_MISSING,
    Reason.TDX_EVENT_LOG_PREIMAGE_MISMATCH,
    Reason.TDX_EVENT_LOG_DIGEST_MISMATCH,
    Reason.TDX_EVENT_LOG_EVENT_DUPLICATE,
    Reason.TDX_EVENT_LOG_EVENT_MISSING,
    Reason.TDX_EVENT_LOG_EVENT_ORDER,
    Reason.TDX_EVENT_LOG_RTMR_MISMATCH,
}
COMPOSE_HASH_REASONS: Final = _ARTIFACT | {
    Reason.COMPOSE_MISSING,
    Reason.COMPOSE_IMAGES_NOT_PINNED,
    Reason.TDX_EVENT_LOG_EVENT_MISSING,
    Reason.TDX_DSTACK_COMPOSE_HASH_MISMATCH,
    Reason.REFERENCE_MEASUREMENT_NOT_LISTED,
    Reason.REFERENCE_MISSING,
}
COMPOSE_CONFIG_ID_REASONS: Final = frozenset(
    {
        Reason.COMPOSE_CONFIG_ID_UNSET,
        Reason.EVIDENCE_ABSENT,
        Reason.TDX_EVENT_LOG_EVENT_MISSING,
        Reason.TDX_EVENT_LOG_MALFORMED,
        Reason.TDX_DSTACK_MR_CONFIG_ID_MISMATCH,
        Reason.TDX_DSTACK_MR_CONFIG_ID_VERSION_UNKNOWN,
        Reason.TDX_DSTACK_MR_AGGREGATED_MISMATCH,
        Reason.TDX_DSTACK_PUBLISHED_REGISTER_MISMATCH,
    }
)


@value
class ReplayedLog:
    """A log that explains all four RTMRs of a verified quote. ``log``, ``quote``: artifact ids."""

    log: str
    quote: str
    replay: Replay


@value
class ReplayedLogs:
    """Fact of `event_log.replay`: every log of the bundle, in Statement order."""

    logs: tuple[ReplayedLog, ...]

    def by_quote(self) -> dict[str, ReplayedLog]:
        """Return quote id -> its first log; every copy explains the same runtime events."""
        first: dict[str, ReplayedLog] = {}
        for log in self.logs:
            first.setdefault(log.quote, log)
        return first


@value
class MeasuredCompose:
    """A compose text that a quote measures. ``images``: digests the text names."""

    compose: str
    quote: str
    compose_hash: bytes
    images: tuple[str, ...]


@value
class MeasuredComposes:
    """Fact of `compose.hash`: every compose text with the quote that measures it."""

    composes: tuple[MeasuredCompose, ...]

    def of(self, quote: str) -> MeasuredCompose | None:
        """Return the compose text of a quote, or None."""
        for compose in self.composes:
            if compose.quote == quote:
                return compose
        return None


@value
class ConfigIds:
    """Fact of `compose.config_id`: quote id to the version of its MRCONFIGID, 0 for unset."""

    versions: Mapping[str, int]


def listed(artifact: Artifact) -> Pointer:
    """Point at an artifact's entry in the Statement."""
    return Pointer(document="statement", path=f"/predicate/artifacts/{artifact.index}")


class _Declared:
    """The quotes that bindings of one type join to each artifact."""

    def __init__(self, evidence: Evidence, binding_type: str, member: str, tally: Tally) -> None:
        self._type = binding_type
        self._tally = tally
        self._targets: dict[str, list[str]] = {}
        for binding in evidence.statement.bindings_of(binding_type):
            self._targets.setdefault(binding.one(member), []).append(binding.one("evidence"))

    def of(self, artifact: Artifact) -> Sequence[str]:
        """Return the evidence declared for an artifact; none declared is recorded as a gap."""
        declared = self._targets.get(artifact.id, [])
        if not declared:
            self._tally.find(
                Reason.BINDING_UNDECLARED,
                listed(artifact),
                what=f"{artifact.id} is joined to no quote",
                got=artifact.role,
                expected=self._type,
            )
        return declared


def _quote_of(
    quotes: Mapping[str, TdRegisters], target: str, artifact: Artifact, tally: Tally
) -> TdRegisters | None:
    registers = quotes.get(target)
    if registers is None:
        tally.find(
            Reason.BINDING_UNDECLARED,
            listed(artifact),
            what=f"{artifact.id} is joined to {target}, which is no TD quote",
            got=target,
            expected="a TD quote",
        )
    return registers


def _body(evidence: Evidence, artifact: Artifact, tally: Tally) -> bytes | None:
    try:
        return evidence.body(artifact.id)
    except ArtifactUnavailable as error:
        tally.find(
            error.reason,
            error.pointer,
            what=artifact.id,
            got=error.state.value,
            expected="bytes",
        )
        return None


def replay(inputs: Inputs, facts: Facts) -> Outcome[ReplayedLogs]:
    """Row 53: whether every log replays to its quote's RTMRs and every TD quote has a log."""
    evidence = facts.get("blobs.derived", Evidence)
    quotes = td_registers(facts)
    rules = inputs.policy.event_log
    required = () if rules is None else rules.require_events
    tally = Tally()
    replayed: list[ReplayedLog] = []
    logged: set[str] = set()
    declared = _Declared(evidence, "log-in-evidence", "log", tally)
    for artifact in evidence.statement.of_role("dstack.event-log"):
        targets = declared.of(artifact)
        logged.update(targets)
        body = _body(evidence, artifact, tally)
        if body is None:
            continue
        document = evidence.document(artifact.id)
        try:
            found = dstack_log.replay(dstack_log.parse_event_log(body))
        except FormatError as error:
            tally.malformed(error, document, Reason.TDX_EVENT_LOG_MALFORMED)
            continue
        for fault in (*found.faults, *dstack_log.missing(found.claims, required)):
            tally.refuse(fault, document)
        for target in targets:
            registers = _quote_of(quotes, target, artifact, tally)
            if registers is None:
                continue
            for refused in dstack_log.compare(found, registers.rtmrs):
                tally.refuse(refused, document)
            replayed.append(ReplayedLog(log=artifact.id, quote=target, replay=found))
            tally.match(f"{artifact.id} explains {target}")
            for name in found.application:
                tally.match(f"{artifact.id}: application event {name}")
    for quote in quotes:
        if quote not in logged:
            tally.find(
                Reason.EVENT_LOG_MISSING,
                Pointer(document=evidence.document(quote)),
                what=f"no event log for {quote}",
                expected="log-in-evidence",
            )
    return tally.outcome(ReplayedLogs(logs=tuple(replayed)))


def compose_hash(inputs: Inputs, facts: Facts) -> Outcome[MeasuredComposes]:
    """Row 55: whether every compose text is the measured, accepted one and every TD has one."""
    evidence = facts.get("blobs.derived", Evidence)
    logs = facts.get("event_log.replay", ReplayedLogs).by_quote()
    quotes = td_registers(facts)
    rules = inputs.policy.event_log
    accepted = () if rules is None else rules.compose_hashes
    tally = Tally()
    measured: list[MeasuredCompose] = []
    composed: set[tuple[bytes, ...]] = set()
    declared = _Declared(evidence, "code-in-evidence", "code", tally)
    for artifact in evidence.statement.of_role("dstack.app-compose"):
        targets = declared.of(artifact)
        composed.update(quotes[target].code for target in targets if target in quotes)
        body = _body(evidence, artifact, tally)
        if body is None:
            continue
        document = evidence.document(artifact.id)
        images = dstack_compose.pinned_images(body)
        if not images:
            tally.note(
                Reason.COMPOSE_IMAGES_NOT_PINNED,
                "the compose text names images without digest: a tag may point elsewhere",
                Pointer(document=document),
            )
        for target in targets:
            log = logs.get(target)
            if log is None:
                _quote_of({}, target, artifact, tally)
                continue
            try:
                value = dstack_compose.judge_compose(body, log.replay.claims)
            except Refused as refused:
                tally.refuse(refused, document)
                continue
            if not accepted:
                tally.find(
                    Reason.REFERENCE_MISSING,
                    Pointer(document="policy", path="/event_log/compose_hashes"),
                    what="the policy lists no compose hash",
                    got=value.hex(),
                    expected="accepted compose hashes",
                )
            elif value not in accepted:
                tally.find(
                    Reason.REFERENCE_MEASUREMENT_NOT_LISTED,
                    Pointer(document=document),
                    what="the compose hash is not among those the policy accepts",
                    got=value.hex(),
                    expected=" or ".join(entry.hex() for entry in accepted),
                )
            measured.append(
                MeasuredCompose(
                    compose=artifact.id, quote=target, compose_hash=value, images=images
                )
            )
            tally.match(f"{artifact.id} measured by {target}: {value.hex()}")
    for quote in logs:
        # a launcher's own quote names the same TD and has no compose text of its own
        if quotes[quote].code not in composed:
            tally.find(
                Reason.COMPOSE_MISSING,
                Pointer(document=evidence.document(quote)),
                what=f"no compose text for {quote}",
                expected="code-in-evidence",
            )
    return tally.outcome(MeasuredComposes(composes=tuple(measured)))


def _documents(evidence: Evidence) -> dict[str, tuple[bytes, ...]]:
    """Return quote id -> bytes of every other document declared as its code."""
    found: dict[str, tuple[bytes, ...]] = {}
    for binding in evidence.statement.bindings_of("code-in-evidence"):
        code, quote = binding.one("code"), binding.one("evidence")
        body = evidence.bodies.get(code)
        if body is not None and evidence.statement.artifact(code).role != "dstack.app-compose":
            found[quote] = (*found.get(quote, ()), body)
    return found


def _found(text: bytes, pointer: str) -> Json:
    """Return what a pointer names in a JSON text, None where there is nothing to read.

    The text echoes registers at best; the check that vouches for the answer refuses a broken one.
    """
    try:
        return pointer_get(parse_evidence(text), pointer)
    except FormatError:
        return None


def _echoes(evidence: Evidence, quote: str) -> tuple[str, tuple[tuple[str, Json], ...]]:
    """Return (answer id, (pointer, object)…) of ``info`` and ``tcb_info`` beside a quote.

    Found through the quote's own origin; nothing where the answer or its members are not there.
    """
    origin = evidence.statement.artifact(quote).origin
    if not isinstance(origin, FromArtifact) or not origin.steps:
        return "", ()
    report, _, member = origin.steps[0].removeprefix("select:").rpartition("/")
    body = evidence.bodies.get(origin.artifact)
    if member != "intel_quote" or body is None:
        return "", ()
    path = f"{report}/info"
    info = _found(body, path)
    tcb_info = info.get("tcb_info") if isinstance(info, Mapping) else None
    if isinstance(tcb_info, str):
        tcb_info = _found(tcb_info.encode(), "")
    return origin.artifact, ((path, info), (f"{path}/tcb_info", tcb_info))


def compose_config_id(inputs: Inputs, facts: Facts) -> Outcome[ConfigIds]:  # noqa: ARG001
    """Row 56: whether MRCONFIGID follows from the log, and aggregates and echoes fit."""
    evidence = facts.get("blobs.derived", Evidence)
    logs = facts.get("event_log.replay", ReplayedLogs).by_quote()
    quotes = td_registers(facts)
    tally = Tally()
    versions: dict[str, int] = {}
    documents = _documents(evidence)
    for quote, log in logs.items():
        registers, claims = quotes[quote], log.replay.claims
        document = evidence.document(quote)
        try:
            found = dstack_compose.judge_config_id(
                registers.mr_config_id, claims, documents.get(quote, ())
            )
        except Refused as refused:
            tally.refuse(refused, document)
        else:
            versions[quote] = found.version
            tally.match(f"{quote}: mr_config_id version {found.version}")
            if found.version == 0:
                tally.note(
                    Reason.COMPOSE_CONFIG_ID_UNSET,
                    "the host set no configuration id",
                    Pointer(document=document),
                )
        answer, echoes = _echoes(evidence, quote)
        for path, info in echoes:
            if isinstance(info, Mapping):
                for differing in dstack_compose.judge_published(
                    info, registers, claims, log.replay.boot_rtmr3, path=path
                ):
                    tally.refuse(differing, evidence.document(answer))
    return tally.outcome(ConfigIds(versions=versions))
