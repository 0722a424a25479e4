"""Open a bundle to be looked at: Statement and bytes as they stand, no signature judged.

What comes out is of the type that checks call evidence, but nobody vouches for it: it feeds `show`
and the hints of error messages, never a check.
"""

from __future__ import annotations

from verify.checks.container import body_of, derive_all
from verify.wire.container import UnverifiedBundle
from verify.wire.model import ArtifactState, Evidence, Statement
from verify.wire.statement import read_statement


def stored_evidence(bundle: UnverifiedBundle, statement: Statement) -> Evidence:
    """Return the bytes that lie under the digests of a Statement, unverified, nothing derived."""
    withheld = {entry.artifact for entry in bundle.redactions}
    bodies: dict[str, bytes] = {}
    states: dict[str, ArtifactState] = {}
    for artifact in statement.artifacts:
        stored = bundle.blobs.get(artifact.digest)
        if isinstance(stored, bytes):
            bodies[artifact.id] = body_of(artifact, stored)
            states[artifact.id] = ArtifactState.PRESENT
        elif stored is not None:
            states[artifact.id] = ArtifactState.EXTERNAL_UNAVAILABLE
        elif artifact.id in withheld:
            states[artifact.id] = ArtifactState.WITHHELD
        else:
            states[artifact.id] = ArtifactState.MISSING
    return Evidence(statement=statement, bodies=bodies, states=states)


def open_evidence(bundle: UnverifiedBundle) -> Evidence:
    """Return the Statement of a bundle and the bytes that lie under its digests, unverified.

    Derivations that fail leave their artifact without bytes. Raises MalformedInput or FormatError
    where the payload is no Statement.
    """
    statement = read_statement(bundle.statement.envelope.payload).statement
    evidence, _faults = derive_all(stored_evidence(bundle, statement))
    return evidence
