"""The twelve steps: whether a release statement is genuine, logged, and from the pinned workflow.

Keys come from the trust store alone; nothing in a bundle is believed for being there. All times are
the log's: the leaf lives for minutes, so certificates are judged when the log took the entry.

Source: sev-snp.md 15.3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from verify.crypto.certificate import Certificate
from verify.crypto.ecdsa import Curve, Signed, key_from_point, signed_der
from verify.crypto.notes import LogProof, leaf_hash, read_checkpoint, root_of
from verify.crypto.x509 import load_certificate, signed_by, split_pem
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.policy.model import ProvenanceRules
from verify.sigstore.bundle import (
    Measurements,
    SigstoreBundle,
    read_entry_content,
    read_measurements,
    read_statement,
)
from verify.sigstore.certificate import (
    WorkflowCertificate,
    promised,
    read_timestamps,
    read_workflow,
)
from verify.trust.anchor import Anchor, Purpose

ISSUER: Final = "https://token.actions.githubusercontent.com"
PREDICATE: Final = "https://tinfoil.sh/predicate/snp-tdx-multiplatform/v1"

_P256: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_TAG: Final = re.compile(r"refs/tags/([A-Za-z0-9._+-]+)")
_GITHUB: Final = "https://github.com/"
_LATEST_MS: Final = 1 << 43
"""Milliseconds beyond which a timestamp is no time of the calendar that is read here."""

Anchors = Callable[[Purpose, datetime], tuple[Anchor, ...]]
"""Given a purpose and an instant, the anchors in force."""


@value
class SignedRelease:
    """One verified release. ``repository``, ``tag``, ``workflow``: as certified.

    ``logged_at``: when the log took the entry. ``digest``: of the released deployment document.
    """

    repository: str
    tag: str
    workflow: str
    logged_at: datetime
    digest: bytes
    measurements: Measurements


def _log_key(anchor: Anchor) -> ec.EllipticCurvePublicKey | None:
    data = anchor.data or b""
    return key_from_point(Curve.P256, data[len(_P256) :]) if data.startswith(_P256) else None


def _key_of(anchors: tuple[Anchor, ...], log_id: bytes) -> ec.EllipticCurvePublicKey | None:
    """Return the key of the log whose id is the SHA-256 of its SPKI, or None."""
    for anchor in anchors:
        if anchor.sha256 == log_id.hex():
            return _log_key(anchor)
    return None


def _certificate(found: SigstoreBundle) -> tuple[Certificate, WorkflowCertificate]:
    try:
        leaf = load_certificate(found.leaf)
        return leaf, read_workflow(leaf.tbs)
    except FormatError as error:
        raise FormatError(
            0,
            error.what,
            reason=error.reason or Reason.SIGSTORE_CERTIFICATE_CHAIN_INVALID,
            path=f"{found.path}/verificationMaterial/certificate",
        ) from None


def _check_log(found: SigstoreBundle, leaf: Certificate, at: datetime, anchors: Anchors) -> None:
    """Steps 3 to 7: the entry is in a known log and records exactly this signature."""
    entry, proof = found.entry, found.entry.proof
    path = f"{found.path}/verificationMaterial/tlogEntries/0"
    key = _key_of(anchors(Purpose.SIGSTORE_REKOR, at), entry.key_id)
    if key is None:
        raise Refused(
            Reason.SIGSTORE_LOG_UNKNOWN,
            "no log of the trust store, or not in force then",
            got=entry.key_id.hex(),
            path=f"{path}/logId/keyId",
        )
    told = {
        "body": entry.body_text,
        "integratedTime": entry.integrated_time,
        "logID": entry.key_id.hex(),
        "logIndex": entry.index,
    }
    stamp = json.dumps(told, separators=(",", ":")).encode()
    if signed_der(key, entry.promise, stamp, Curve.P256) is not Signed.YES:
        raise Refused(
            Reason.SIGSTORE_LOG_PROMISE_INVALID,
            "the log did not sign this entry with this time",
            path=f"{path}/inclusionPromise",
        )
    at_checkpoint = f"{path}/inclusionProof/checkpoint"
    try:
        checkpoint = read_checkpoint(proof.checkpoint)
    except FormatError as error:
        raise FormatError(
            0, error.what, reason=Reason.SIGSTORE_LOG_CHECKPOINT_INVALID, path=at_checkpoint
        ) from None
    way = LogProof(index=proof.index, path=proof.path, checkpoint=checkpoint)
    same_size = checkpoint.size == proof.size
    if same_size and root_of(leaf_hash(entry.body), way) != proof.root:
        raise Refused(
            Reason.SIGSTORE_LOG_INCLUSION_INVALID,
            "the path does not lead from the entry to the root",
            path=f"{path}/inclusionProof",
        )
    lines = [s.signature for s in checkpoint.note.signatures if s.key_id == entry.key_id[:4]]
    text = checkpoint.note.text
    held = [signed_der(key, line, text, Curve.P256) is Signed.YES for line in lines]
    if not same_size or checkpoint.root != proof.root or not held or not all(held):
        raise Refused(
            Reason.SIGSTORE_LOG_CHECKPOINT_INVALID,
            "the log did not sign this size and root",
            path=at_checkpoint,
        )
    body = f"{path}/canonicalizedBody"
    content = read_entry_content(entry.body, body)
    try:
        verifier = split_pem(content.verifier, limit=1)
    except FormatError as error:
        raise FormatError(
            0, error.what, reason=Reason.SIGSTORE_LOG_ENTRY_MISMATCH, path=body
        ) from None
    recorded = (content.payload_sha256, content.signature, verifier)
    if recorded != (sha256(found.payload).digest(), found.signature, (leaf.der,)):
        raise Refused(
            Reason.SIGSTORE_LOG_ENTRY_MISMATCH,
            "the log recorded another payload, signature or certificate",
            path=body,
        )


def _issuer(
    leaf: Certificate, workflow: WorkflowCertificate, at: datetime, anchors: Anchors, path: str
) -> Certificate:
    """Step 8: return the intermediate of a chain that the trust store pins in full."""
    pinned = [
        load_certificate(anchor.data)
        for anchor in anchors(Purpose.SIGSTORE_FULCIO, at)
        if anchor.data is not None
    ]
    chains = [
        (intermediate, root)
        for intermediate in pinned
        for root in pinned
        if intermediate.issuer == root.subject
        and root.issuer == root.subject
        and intermediate.subject != root.subject
        and leaf.issuer == intermediate.subject
        and signed_by(intermediate, root) is Signed.YES
        and signed_by(leaf, intermediate) is Signed.YES
    ]
    if not chains or leaf.ca or not leaf.may_sign or not workflow.code_signing:
        raise Refused(
            Reason.SIGSTORE_CERTIFICATE_CHAIN_INVALID,
            "not a code signing certificate issued by the pinned authority",
            path=path,
        )
    intermediate, root = chains[0]
    for one in (leaf, intermediate, root):
        if not one.not_before <= at <= one.not_after:
            raise Refused(
                Reason.SIGSTORE_CERTIFICATE_NOT_VALID_AT_TIME,
                "not valid when the log took the entry",
                got=at.isoformat(),
                expected=f"{one.not_before.isoformat()} to {one.not_after.isoformat()}",
                path=path,
            )
    return intermediate


def _check_timestamps(
    workflow: WorkflowCertificate, intermediate: Certificate, anchors: Anchors, path: str
) -> None:
    """Step 9: every timestamp in the leaf is one of a known certificate log; there is one."""
    try:
        listed = read_timestamps(workflow.timestamps or b"")
    except FormatError as error:
        raise FormatError(0, error.what, reason=Reason.SIGSTORE_SCT_INVALID, path=path) from None
    seen: set[bytes] = set()
    for timestamp in listed:
        key = None
        if timestamp.at < _LATEST_MS:
            at = datetime.fromtimestamp(timestamp.at // 1000, UTC)
            key = _key_of(anchors(Purpose.SIGSTORE_CT, at), timestamp.log_id)
        message = promised(timestamp, intermediate.spki_sha256, workflow.bare)
        if (
            key is None
            or message is None
            or timestamp.log_id in seen
            or signed_der(key, timestamp.signature, message, Curve.P256) is not Signed.YES
        ):
            raise Refused(
                Reason.SIGSTORE_SCT_INVALID,
                "a timestamp that no known certificate log gave for this certificate",
                got=timestamp.log_id.hex(),
                path=path,
            )
        seen.add(timestamp.log_id)


def _inconsistent(what: str, got: str, path: str) -> Refused:
    return Refused(Reason.SIGSTORE_IDENTITY_INCONSISTENT, what, got=got, path=path)


def _identity(
    workflow: WorkflowCertificate, rules: ProvenanceRules, path: str
) -> tuple[str, str, str]:
    """Step 10: return repository, tag and workflow file, of which all claims must agree."""
    claims: Mapping[int, str] = workflow.claims
    if claims.get(8) != ISSUER:
        raise Refused(
            Reason.SIGSTORE_IDENTITY_ISSUER_MISMATCH,
            "another identity provider",
            got=claims.get(8, ""),
            expected=ISSUER,
            path=path,
        )
    if claims.get(1, ISSUER) != ISSUER:
        raise _inconsistent("the two forms of the issuer differ", claims[1], path)
    repository, ref = claims.get(5, ""), claims.get(14, "")
    if claims.get(12) != _GITHUB + repository:
        raise _inconsistent("two names of the repository", claims.get(12, ""), path)
    if claims.get(6) != ref:
        raise _inconsistent("two names of the ref", claims.get(6, ""), path)
    name = workflow.uris[0] if len(workflow.uris) == workflow.names == 1 else ""
    head, tail = f"{_GITHUB}{repository}/.github/workflows/", f"@{ref}"
    file = name.removeprefix(head).removesuffix(tail)
    if name != head + file + tail or not file or "/" in file or "@" in file:
        raise _inconsistent("the subject is no workflow of that repository and ref", name, path)
    if not claims.get(9) == claims.get(18) == name:
        raise _inconsistent("another signer or build configuration", claims.get(9, ""), path)
    if repository not in rules.repositories or (
        rules.workflows is not None and file not in rules.workflows
    ):
        raise Refused(
            Reason.SIGSTORE_IDENTITY_REPOSITORY_MISMATCH,
            "a repository or workflow that the policy does not name",
            got=name,
            expected=" or ".join(rules.repositories),
            path=path,
        )
    tag = _TAG.fullmatch(ref)
    if tag is None or (rules.tags is not None and tag.group(1) not in rules.tags):
        raise Refused(
            Reason.SIGSTORE_IDENTITY_REF_NOT_ACCEPTED,
            "not a tag, or not one that the policy names",
            got=ref,
            expected="any tag" if rules.tags is None else " or ".join(rules.tags),
            path=path,
        )
    return repository, tag.group(1), file


def judge_release(
    found: SigstoreBundle, digest: bytes, rules: ProvenanceRules, anchors: Anchors
) -> SignedRelease:
    """Judge one bundle about the release whose digest file states ``digest``.

    Raises Refused or FormatError with the first code of sev-snp.md 15.3 that applies.
    """
    leaf, workflow = _certificate(found)
    at_leaf = f"{found.path}/verificationMaterial/certificate"
    at_payload = f"{found.path}/dsseEnvelope/payload"
    if leaf.key is None or (
        signed_der(leaf.key, found.signature, found.signed, Curve.P256) is not Signed.YES
    ):
        raise Refused(
            Reason.SIGSTORE_SIGNATURE_INVALID,
            "the certificate's key did not sign the statement",
            path=f"{found.path}/dsseEnvelope/signatures/0",
        )
    at = datetime.fromtimestamp(found.entry.integrated_time, UTC)
    _check_log(found, leaf, at, anchors)
    intermediate = _issuer(leaf, workflow, at, anchors, at_leaf)
    _check_timestamps(workflow, intermediate, anchors, at_leaf)
    repository, tag, file = _identity(workflow, rules, at_leaf)
    statement = read_statement(found.payload, at_payload)
    if statement.subject_sha256 != digest:
        raise Refused(
            Reason.SIGSTORE_STATEMENT_SUBJECT_MISMATCH,
            "a statement about another release",
            got=statement.subject_sha256.hex(),
            expected=digest.hex(),
            path=at_payload,
        )
    kind = statement.predicate_type
    if kind not in rules.predicate_types or kind != PREDICATE:
        raise Refused(
            Reason.SIGSTORE_STATEMENT_TYPE_NOT_ACCEPTED,
            "a kind of statement that the policy does not accept",
            got=kind,
            expected=" or ".join(rules.predicate_types),
            path=at_payload,
        )
    return SignedRelease(
        repository=repository,
        tag=tag,
        workflow=file,
        logged_at=at,
        digest=digest,
        measurements=read_measurements(statement.predicate, at_payload),
    )
