"""Row 58: signed releases: genuine, logged, from the pinned workflow, about the stated digest.

A ``release-for`` binding says which answers and which digest file make one release, and which
report the release is to explain; it picks the pair to test and proves nothing. Every listed
bundle is judged.

Source: sev-snp.md 15; verification.md 3 (row 58).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from verify.checks.inputs import Inputs
from verify.engine.check import Facts
from verify.engine.errors import FormatError, Refused
from verify.engine.later import later
from verify.engine.outcome import Outcome, Pointer, blocked
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.policy.model import ProvenanceRules
from verify.trust.anchor import Anchor, Purpose
from verify.wire.model import Artifact, ArtifactUnavailable, Evidence

if TYPE_CHECKING:
    from verify.sigstore import bundle as layout
    from verify.sigstore import release as judging
else:
    layout = later("verify.sigstore.bundle")
    judging = later("verify.sigstore.release")

BUNDLE_ROLES: Final = frozenset({"release.attestations", "sigstore.bundle"})
DIGEST_ROLE: Final = "release.digest"

RELEASE_REASONS: Final = frozenset(
    {
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_WITHHELD,
        Reason.BINDING_UNDECLARED,
        Reason.SIGSTORE_BUNDLE_FORMAT_UNSUPPORTED,
        Reason.SIGSTORE_BUNDLE_MALFORMED,
        Reason.SIGSTORE_BUNDLE_MISSING,
        Reason.SIGSTORE_BUNDLE_TIME_UNSUPPORTED,
        Reason.SIGSTORE_CERTIFICATE_CHAIN_INVALID,
        Reason.SIGSTORE_CERTIFICATE_NOT_VALID_AT_TIME,
        Reason.SIGSTORE_IDENTITY_INCONSISTENT,
        Reason.SIGSTORE_IDENTITY_ISSUER_MISMATCH,
        Reason.SIGSTORE_IDENTITY_REF_NOT_ACCEPTED,
        Reason.SIGSTORE_IDENTITY_REPOSITORY_MISMATCH,
        Reason.SIGSTORE_LOG_CHECKPOINT_INVALID,
        Reason.SIGSTORE_LOG_ENTRY_MISMATCH,
        Reason.SIGSTORE_LOG_INCLUSION_INVALID,
        Reason.SIGSTORE_LOG_PROMISE_INVALID,
        Reason.SIGSTORE_LOG_UNKNOWN,
        Reason.SIGSTORE_PREDICATE_MALFORMED,
        Reason.SIGSTORE_SCT_INVALID,
        Reason.SIGSTORE_SIGNATURE_INVALID,
        Reason.SIGSTORE_STATEMENT_MALFORMED,
        Reason.SIGSTORE_STATEMENT_SUBJECT_MISMATCH,
        Reason.SIGSTORE_STATEMENT_TYPE_NOT_ACCEPTED,
    }
)


@value
class SignedReleases:
    """The releases declared for each report: artifact id of the report to verified releases."""

    of: Mapping[str, tuple[judging.SignedRelease, ...]]


def _digest(
    evidence: Evidence, listed: list[Artifact], tally: Tally
) -> tuple[Artifact, bytes] | None:
    """Return the one digest file of a release, or None with the finding recorded."""
    if len(listed) != 1:
        tally.find(
            Reason.BINDING_UNDECLARED,
            Pointer(document="statement", path="/predicate/bindings"),
            what="a release is declared with one digest file",
            got=str(len(listed)),
            expected="1",
        )
        return None
    try:
        return listed[0], layout.read_digest_file(evidence.body(listed[0].id))
    except ArtifactUnavailable as gone:
        tally.find(gone.reason, gone.pointer, what=str(gone), expected="bytes")
    except FormatError as error:
        document = evidence.document(listed[0].id)
        tally.malformed(error, document, Reason.SIGSTORE_BUNDLE_MALFORMED)
    return None


def _releases(
    inputs: Inputs,
    rules: ProvenanceRules,
    artifact: Artifact,
    digest: bytes,
    *,
    evidence: Evidence,
    tally: Tally,
) -> tuple[judging.SignedRelease, ...]:
    """Judge every bundle of one artifact; what is wrong is recorded."""

    def anchors(purpose: Purpose, at: datetime) -> tuple[Anchor, ...]:
        return inputs.trust.anchors(purpose, at=at, accept_added=inputs.policy.trust.accept_added)

    document = evidence.document(artifact.id)
    try:
        read = layout.read_answer(evidence.body(artifact.id))
        return tuple(judging.judge_release(one, digest, rules, anchors) for one in read)
    except ArtifactUnavailable as gone:
        tally.find(gone.reason, gone.pointer, what=str(gone), expected="bytes")
    except FormatError as error:
        tally.malformed(error, document, Reason.SIGSTORE_BUNDLE_MALFORMED)
    except Refused as refused:
        tally.refuse(refused, document)
    return ()


def release(inputs: Inputs, facts: Facts) -> Outcome[SignedReleases]:
    """Row 58: each release statement is genuine, logged, and from the pinned workflow."""
    evidence = facts.get("blobs.derived", Evidence)
    statement = evidence.statement
    listed = statement.of_role(*sorted(BUNDLE_ROLES))
    rules = inputs.policy.provenance
    if not listed or rules is None:
        return blocked(
            Reason.SIGSTORE_BUNDLE_MISSING, detail="the bundle lists no signed release statement"
        )
    tally = Tally()
    judged: dict[tuple[str, str], tuple[judging.SignedRelease, ...]] = {}
    of: dict[str, tuple[judging.SignedRelease, ...]] = {}
    bound: set[str] = set()
    for binding in statement.bindings_of("release-for"):
        members = [statement.artifact(name) for name in binding.many("release")]
        bundles = [artifact for artifact in members if artifact.role in BUNDLE_ROLES]
        bound.update(artifact.id for artifact in bundles)
        read = _digest(evidence, [item for item in members if item.role == DIGEST_ROLE], tally)
        if read is None:
            continue
        file, digest = read
        for artifact in bundles:
            key = (artifact.id, file.id)
            if key not in judged:
                judged[key] = _releases(
                    inputs, rules, artifact, digest, evidence=evidence, tally=tally
                )
                for one in judged[key]:
                    tally.match(f"{one.repository} {one.tag}")
            report = binding.one("evidence")
            of[report] = of.get(report, ()) + judged[key]
    for artifact in listed:
        if artifact.id not in bound:
            tally.find(
                Reason.BINDING_UNDECLARED,
                Pointer(document="statement", path=f"/predicate/artifacts/{artifact.index}"),
                what="no release-for binding says which release this is about",
                got=artifact.id,
            )
    return tally.outcome(SignedReleases(of=of))
