"""Run the container checks on a bundle, alone and in catalogue order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from hashlib import sha256

from fixtures.worked_example import OFFICER, P256, SIGNER, Draft, Key
from verify.checks import container, nonces
from verify.checks.inputs import Inputs
from verify.engine.asof import AsOf
from verify.engine.check import Facts
from verify.engine.outcome import Outcome, Status
from verify.policy.loader import load_default
from verify.policy.model import (
    AttachmentRules,
    Policy,
    RedactionRules,
    SessionRules,
    Signers,
    Tolerated,
)
from verify.trust.anchor import Anchor, AnchorStatus, Kind, Purpose
from verify.trust.store import TrustStore
from verify.wire.container import read_bundle
from verify.wire.limits import DEFAULT, Limits

ROWS = (
    ("envelope.signature", (), container.envelope_signature),
    ("statement.form", ("envelope.signature",), container.statement_form),
    ("profile.match", ("statement.form",), container.profile_match),
    ("blobs.digests", ("statement.form",), container.blobs_digests),
    ("blobs.derived", ("blobs.digests",), container.blobs_derived),
    ("attachments.form", ("blobs.digests",), container.attachments_form),
    ("custody.chain", ("attachments.form",), container.custody_chain),
    ("artifacts.accounted", ("blobs.derived", "attachments.form"), container.artifacts_accounted),
    ("session.nonces", ("blobs.digests",), nonces.session_nonces),
    ("marker.binding", ("session.nonces", "blobs.digests"), nonces.marker_binding),
)
REASONS = {
    "envelope.signature": container.ENVELOPE_SIGNATURE_REASONS,
    "statement.form": container.STATEMENT_FORM_REASONS,
    "profile.match": container.PROFILE_MATCH_REASONS,
    "blobs.digests": container.BLOBS_DIGESTS_REASONS,
    "blobs.derived": container.BLOBS_DERIVED_REASONS,
    "attachments.form": container.ATTACHMENTS_FORM_REASONS,
    "custody.chain": container.CUSTODY_CHAIN_REASONS,
    "artifacts.accounted": container.ARTIFACTS_ACCOUNTED_REASONS,
    "session.nonces": nonces.SESSION_NONCES_REASONS,
    "marker.binding": nonces.MARKER_BINDING_REASONS,
}


def anchor(key: Key | bytes, purpose: Purpose, name: str, **changes: object) -> Anchor:
    data = key if isinstance(key, bytes) else key.spki
    made = Anchor(
        name=name,
        purpose=purpose,
        kind=Kind.X509 if isinstance(key, bytes) else Kind.SPKI,
        data=data,
        sha256=sha256(data).hexdigest(),
        operator=f"operator of {name}",
        start=None,
        end=None,
        status=AnchorStatus.ACTIVE,
        since=None,
        source="TEST ONLY",
        origin="test",
    )
    return replace(made, **changes)


def trust(*extra: Anchor) -> TrustStore:
    return TrustStore.build(
        builtins=(),
        signers=(
            anchor(SIGNER, Purpose.CAPTURE_SIGNER, "capture-1"),
            anchor(P256, Purpose.CAPTURE_SIGNER, "capture-p256"),
            anchor(OFFICER, Purpose.ATTACHMENT_SIGNER, "dpo"),
            *extra,
        ),
    )


@cache
def base_policy() -> Policy:
    return replace(
        load_default("demo"),
        signers=Signers(
            accept=("name:capture-1", "name:capture-p256"), threshold=1, distinct_operators=False
        ),
        attachments=AttachmentRules(accept=("name:dpo",), require=(), require_custody_chain=False),
    )


def policy(
    *,
    signers: Mapping[str, object] | None = None,
    attachments: Mapping[str, object] | None = None,
    session: Mapping[str, object] | None = None,
    require_signed: bool = True,
    tolerate: tuple[str, ...] = (),
    profile: str = "demo",
) -> Policy:
    base = base_policy()
    found: SessionRules = replace(base.session, **(session or {}))
    return replace(
        base,
        profile=profile,
        signers=replace(base.signers, **(signers or {})),
        attachments=replace(base.attachments, **(attachments or {})),
        session=found,
        redaction=RedactionRules(
            require_signed=require_signed,
            tolerate=tuple(Tolerated(role=role, because="test") for role in tolerate),
        ),
    )


def outcomes(
    bundle: Draft | bytes,
    *,
    rules: Policy | None = None,
    store: TrustStore | None = None,
    blobs=None,
    bounds: Limits = DEFAULT,
) -> dict[str, Outcome[object]]:
    """Return the outcome of every row whose needs passed."""
    data = bundle if isinstance(bundle, bytes) else bundle.build()
    inputs = Inputs(
        bundle=read_bundle(data, bounds=bounds),
        policy=rules or policy(),
        trust=store or trust(),
        as_of=AsOf.capture(),
        blobs=blobs,
    )
    facts: dict[str, object] = {}
    found: dict[str, Outcome[object]] = {}
    for name, needs, run in ROWS:
        if all(need in facts for need in needs):
            outcome = run(inputs, Facts(facts, frozenset(facts)))
            found[name] = outcome
            for reason in (outcome.reason, *(f.reason for f in outcome.findings)):
                assert reason is None or reason in REASONS[name], (name, reason)
            for note in outcome.notes:
                assert note.reason in REASONS[name], (name, note)
            if outcome.status is Status.PASS:
                facts[name] = outcome.fact
    return found


def said(found: Mapping[str, Outcome[object]]) -> dict[str, str]:
    """Return check id to reason code of every row that did not pass."""
    return {
        name: outcome.reason.code for name, outcome in found.items() if outcome.reason is not None
    }


def noted(found: Mapping[str, Outcome[object]]) -> set[str]:
    return {note.reason.code for outcome in found.values() for note in outcome.notes}
