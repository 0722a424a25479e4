"""Which recorded Intel answers a bundle holds, and which issuer chain belongs to which body.

The pairs say what to test, they prove nothing: a wrong chain fails at its own step. A chain
belongs to a body by a ``chain-for`` binding; else by standing in the same exchange; else by a
``collateral-for`` binding that names both; else by position; else every recorded chain is tried.

Source: bundle-format.md 6.5, tdx.md 4.4, 5.3, 7.A.
"""

from __future__ import annotations

from collections.abc import Sequence

from verify.engine.value import value
from verify.intel.appraisal import Answer
from verify.wire.model import (
    Artifact,
    ArtifactUnavailable,
    Evidence,
    FromArtifact,
    FromExchange,
    Statement,
)

QUOTE_ROLES = ("tdx.quote", "sgx.quote")
PCK_CHAIN_ROLE = "intel.pck-chain"


@value
class Recorded:
    """One recorded answer with the chain it is to be tried with."""

    artifact: Artifact
    chain: Artifact
    answer: Answer


@value
class Gathered:
    """What there is: answers whose bytes are there, and what is listed without bytes."""

    answers: tuple[Recorded, ...]
    unavailable: tuple[ArtifactUnavailable, ...]
    unpaired: tuple[Artifact, ...]


def exchange_of(statement: Statement, artifact: Artifact) -> str | None:
    """Return the exchange an artifact comes from, through what it is derived from; else None."""
    for _ in range(4):
        match artifact.origin:
            case FromExchange(exchange=exchange):
                return exchange
            case FromArtifact(artifact=source):
                try:
                    artifact = statement.artifact(source)
                except KeyError:
                    return None
            case _:
                return None
    return None


def named_for(statement: Statement, artifact_id: str, binding_type: str) -> tuple[str, ...]:
    """Return the ids that bindings of a type name for an artifact, in order."""
    found: list[str] = []
    for binding in statement.bindings_of(binding_type):
        if binding.members.get("evidence") == artifact_id:
            found.extend(binding.many("with"))
    return tuple(found)


def _chains_for(
    statement: Statement, body: Artifact, bodies: Sequence[Artifact], chains: Sequence[Artifact]
) -> tuple[Artifact, ...]:
    named = named_for(statement, body.id, "chain-for")
    bound = tuple(chain for chain in chains if chain.id in named)
    if bound:
        return bound
    exchange = exchange_of(statement, body)
    if exchange is not None:
        beside = tuple(c for c in chains if exchange_of(statement, c) == exchange)
        if beside:
            return beside
    for binding in statement.bindings_of("collateral-for"):
        together = binding.many("with")
        if body.id in together:
            joined = tuple(chain for chain in chains if chain.id in together)
            if len(joined) == 1:
                return joined
    if len(chains) == len(bodies):
        return (chains[bodies.index(body)],)
    return tuple(chains)


def gather(evidence: Evidence, body_role: str, chain_role: str) -> Gathered:
    """Collect the recorded answers of a role, each with its chain."""
    statement = evidence.statement
    bodies = statement.of_role(body_role)
    chains = statement.of_role(chain_role)
    answers: list[Recorded] = []
    unavailable: list[ArtifactUnavailable] = []
    unpaired: list[Artifact] = []
    for artifact in bodies:
        mine = _chains_for(statement, artifact, bodies, chains)
        if not mine:
            unpaired.append(artifact)
        for chain in mine:
            try:
                answer = Answer(body=evidence.body(artifact.id), chain=evidence.body(chain.id))
            except ArtifactUnavailable as absent:
                unavailable.append(absent)
                continue
            answers.append(Recorded(artifact=artifact, chain=chain, answer=answer))
    return Gathered(
        answers=tuple(answers), unavailable=tuple(unavailable), unpaired=tuple(unpaired)
    )


def bodies_of(
    evidence: Evidence, *roles: str
) -> tuple[list[tuple[Artifact, bytes]], list[ArtifactUnavailable]]:
    """Return the artifacts of some roles with their bytes, and those without."""
    found: list[tuple[Artifact, bytes]] = []
    absent: list[ArtifactUnavailable] = []
    for artifact in evidence.statement.of_role(*roles):
        try:
            found.append((artifact, evidence.body(artifact.id)))
        except ArtifactUnavailable as gap:
            absent.append(gap)
    return found, absent


def recorded_pck_chain(evidence: Evidence, quote_id: str) -> bytes | None:
    """Return the recorded PCK chain of a quote that carries none: leaf body, then header chain.

    Named by ``chain-for`` in this order; without a binding the bundle's only such artifacts. Raises
    ArtifactUnavailable.
    """
    chains = evidence.statement.of_role(PCK_CHAIN_ROLE)
    named = named_for(evidence.statement, quote_id, "chain-for")
    by_id = {artifact.id: artifact for artifact in chains}
    parts = [by_id[name] for name in named if name in by_id]
    if not parts and len(evidence.statement.of_role(*QUOTE_ROLES)) == 1:
        parts = list(chains)
    if not parts:
        return None
    return b"\n".join(evidence.body(artifact.id) for artifact in parts)
