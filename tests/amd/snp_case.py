"""One SEV-SNP case at the level of the checks: artifacts in, twelve outcomes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from types import SimpleNamespace

from fixtures import amd_pki
from verify.checks import snp
from verify.engine.asof import AsOfInstant, AsOfSource
from verify.engine.check import Catalogue, Check, Ruling
from verify.engine.outcome import Outcome, Status, passed
from verify.engine.reason import Reason
from verify.engine.run import run
from verify.policy.model import Ignore, Set, SnpRules
from verify.trust.anchor import Anchor, AnchorStatus, Kind, Purpose
from verify.trust.store import TrustStore
from verify.wire.model import (
    Artifact,
    ArtifactState,
    Binding,
    Digest,
    Evidence,
    FromOperator,
    Statement,
)

GUEST_FLAGS = (
    "smt_allowed",
    "single_socket",
    "cxl_allowed",
    "mem_aes_256_xts",
    "rapl_dis",
    "ciphertext_hiding_dram",
    "page_swap_disable",
)
PLATFORM_FLAGS = (
    "smt_enabled",
    "tsme_enabled",
    "ecc_enabled",
    "rapl_disabled",
    "ciphertext_hiding_dram_enabled",
    "alias_check_complete",
    "tio_enabled",
)
FIELDS = (
    "measurement",
    "report_data",
    "host_data",
    "id_key_digest",
    "author_key_digest",
    "family_id",
    "image_id",
)

RULES = SnpRules(
    accept_products=("milan", "genoa", "turin"),
    accept_report_versions=(2, 3, 4, 5),
    accept_signing_keys=("vcek", "vlek"),
    accept_csp_ids=None,
    allow_debug=False,
    allow_migration=False,
    allow_masked_chip_id=False,
    accept_vmpl=(0,),
    guest_flags=dict.fromkeys(GUEST_FLAGS, "any"),
    minimum_guest_abi=None,
    minimum_tcb={
        "milan": {"bootloader": 0, "tee": 0, "snp": 0, "microcode": 0},
        "genoa": {"bootloader": 0, "tee": 0, "snp": 0, "microcode": 0},
        "turin": {"fmc": 0, "bootloader": 0, "tee": 0, "snp": 0, "microcode": 0},
    },
    apply_minimum_to=("reported", "launch"),
    minimum_firmware=None,
    require_committed_equals_current=False,
    required_mitigations={"milan": 0, "genoa": 0, "turin": 0},
    platform_flags=dict.fromkeys(PLATFORM_FLAGS, "any"),
    accept_leaf_minted_within_s=0,
    minimum_guest_svn=0,
    fields={name: Ignore(because="not pinned in this case") for name in FIELDS},
    sets=(),
)


def pinned(**rules: object) -> Mapping[str, object]:
    """Return the field rules with some replaced."""
    return {**RULES.fields, **rules}


ALL_SET = {name: Set() for name in FIELDS}


def anchor(der: bytes, **changes: object) -> Anchor:
    """Return a trusted ARK."""
    digest = sha256(der).hexdigest()
    return replace(
        Anchor(
            name=f"ark-{digest[:8]}",
            purpose=Purpose.AMD_ARK,
            kind=Kind.X509,
            data=der,
            sha256=digest,
            operator="AMD",
            start=None,
            end=None,
            status=AnchorStatus.ACTIVE,
            since=None,
            source="a test",
            origin="built-in",
        ),
        **changes,
    )


def simulated_anchors() -> tuple[Anchor, ...]:
    return tuple(anchor(der) for der in amd_pki.anchors().values())


def _preset(fact: object):
    return lambda *_: passed(fact)


_ROWS = (
    ("snp.report.format", ("blobs.derived",), snp.report_format, snp.REPORT_FORMAT_REASONS),
    (
        "snp.certificates.format",
        ("blobs.derived",),
        snp.certificates_format,
        snp.CERTIFICATES_FORMAT_REASONS,
    ),
    (
        "snp.certificates.chain",
        ("snp.certificates.format",),
        snp.certificates_chain,
        snp.CERTIFICATES_CHAIN_REASONS,
    ),
    (
        "snp.certificates.validity",
        ("snp.certificates.chain", "time.as_of"),
        snp.certificates_validity,
        snp.CERTIFICATES_VALIDITY_REASONS,
    ),
    (
        "snp.certificates.revocation",
        ("snp.certificates.chain", "time.as_of"),
        snp.certificates_revocation,
        snp.CERTIFICATES_REVOCATION_REASONS,
    ),
    (
        "snp.signer.match",
        ("snp.report.format", "snp.certificates.format"),
        snp.signer_match,
        snp.SIGNER_MATCH_REASONS,
    ),
    (
        "snp.report.signature",
        ("snp.report.format", "snp.certificates.chain"),
        snp.report_signature,
        snp.REPORT_SIGNATURE_REASONS,
    ),
    (
        "snp.tcb.order",
        ("snp.report.signature", "snp.signer.match"),
        snp.tcb_order,
        snp.TCB_ORDER_REASONS,
    ),
    ("snp.tcb.minimum", ("snp.report.signature",), snp.tcb_minimum, snp.TCB_MINIMUM_REASONS),
    ("snp.guest.policy", ("snp.report.signature",), snp.guest_policy, snp.GUEST_POLICY_REASONS),
    (
        "snp.platform.policy",
        ("snp.report.signature",),
        snp.platform_policy,
        snp.PLATFORM_POLICY_REASONS,
    ),
    (
        "snp.reference.identity",
        ("snp.report.signature",),
        snp.reference_identity,
        snp.REFERENCE_IDENTITY_REASONS,
    ),
)
CHECKS = tuple(row[0] for row in _ROWS)


def statement(artifacts: tuple[Artifact, ...], bindings: tuple[Binding, ...]) -> Statement:
    """Return a Statement with these artifacts; the SEV-SNP checks read nothing else of it."""
    return Statement(
        schema="",
        id="",
        profile="",
        capture=None,
        signer="",
        nonces=(),
        artifacts=artifacts,
        exchanges=(),
        bindings=bindings,
        observations=(),
        extensions=(),
        critical=(),
        _by_id={artifact.id: artifact for artifact in artifacts},
    )


@dataclass(frozen=True, kw_only=True)
class SnpCase:
    """The artifacts by (id, role, bytes or None where missing), and what they are judged by."""

    artifacts: tuple[tuple[str, str, bytes | None], ...]
    bindings: tuple[tuple[str, str, tuple[str, ...]], ...]
    rules: SnpRules = RULES
    as_of: datetime = amd_pki.AS_OF
    anchors: tuple[Anchor, ...] = field(default_factory=simulated_anchors)
    accept_added: tuple[str, ...] = ()

    def with_body(self, artifact: str, body: bytes | None) -> SnpCase:
        """Return the case with the bytes of one artifact replaced (None: listed, not there)."""
        changed = tuple(
            (entry[0], entry[1], body if entry[0] == artifact else entry[2])
            for entry in self.artifacts
        )
        return replace(self, artifacts=changed)

    def without(self, artifact: str) -> SnpCase:
        """Return the case with one artifact struck from the Statement and its bindings."""
        kept = tuple(entry for entry in self.artifacts if entry[0] != artifact)
        bindings = tuple(
            (kind, evidence, tuple(i for i in ids if i != artifact))
            for kind, evidence, ids in self.bindings
        )
        return replace(self, artifacts=kept, bindings=bindings)

    def ruled(self, **changes: object) -> SnpCase:
        """Return the case with other rules."""
        return replace(self, rules=replace(self.rules, **changes))

    def outcomes(self) -> dict[str, Outcome[object]]:
        """Judge, through the engine; every reason given must be one the check declares."""
        artifacts = tuple(
            Artifact(
                id=name,
                role=role,
                media_type="application/octet-stream",
                digest=Digest("sha256:" + sha256(body or b"").hexdigest()),
                size=len(body or b""),
                framing="raw",
                origin=FromOperator(description="a test"),
                index=index,
            )
            for index, (name, role, body) in enumerate(self.artifacts)
        )
        bindings = tuple(
            Binding(type=kind, members={"evidence": item, "with": ids}, index=index)
            for index, (kind, item, ids) in enumerate(self.bindings)
        )
        evidence = Evidence(
            statement=statement(artifacts, bindings),
            bodies={name: body for name, _, body in self.artifacts if body is not None},
            states={
                name: ArtifactState.MISSING if body is None else ArtifactState.PRESENT
                for name, _, body in self.artifacts
            },
        )
        as_of = AsOfInstant(
            instant=self.as_of,
            source=AsOfSource.EXPLICIT,
            claimed_start=self.as_of,
            claimed_end=self.as_of,
        )
        inputs = SimpleNamespace(
            policy=SimpleNamespace(
                snp=self.rules, trust=SimpleNamespace(accept_added=self.accept_added)
            ),
            trust=TrustStore.build(
                builtins=[a for a in self.anchors if not a.added],
                signers=[a for a in self.anchors if a.added],
            ),
        )
        rows = (
            ("blobs.derived", (), _preset(evidence), frozenset()),
            ("time.as_of", (), _preset(as_of), frozenset()),
            *_ROWS,
        )
        catalogue = Catalogue(
            tuple(
                Check(
                    id=check,
                    subject="snp",
                    title="",
                    spec="",
                    needs=needs,
                    proves="",
                    does_not_prove="",
                    reasons=reasons,
                    run=function,
                )
                for check, needs, function, reasons in rows
            )
        )
        found = run(
            catalogue, inputs, {check: Ruling() for check in catalogue.ids()}, lambda *_: True
        )
        for check in catalogue:
            outcome = found[check.id]
            assert outcome.status is not Status.ERROR, outcome
            given = {finding.reason for finding in outcome.findings}
            given |= {note.reason for note in outcome.notes}
            if outcome.reason is not None and outcome.reason is not Reason.NEED_NOT_PASSED:
                given.add(outcome.reason)
            assert given <= check.reasons, (check.id, given - check.reasons)
        return {check: found[check] for check in CHECKS}


def bundle_of(
    report: bytes, vek: bytes, chain: tuple[bytes, ...], crl: bytes | None = None
) -> SnpCase:
    """Return the case of one report, its leaf, its chain (PEM pair or DER) and perhaps its CRL."""
    artifacts: list[tuple[str, str, bytes | None]] = [
        ("report-1", "snp.report", report),
        ("vek-1", "amd.vek", vek),
        *((f"chain-{n}", "amd.chain", body) for n, body in enumerate(chain, start=1)),
    ]
    if crl is not None:
        artifacts.append(("crl-1", "amd.crl", crl))
    certificates = tuple(name for name, role, _ in artifacts if role in {"amd.vek", "amd.chain"})
    bindings: list[tuple[str, str, tuple[str, ...]]] = [("chain-for", "report-1", certificates)]
    if crl is not None:
        bindings.append(("collateral-for", "report-1", ("crl-1",)))
    return SnpCase(artifacts=tuple(artifacts), bindings=tuple(bindings))


def simulated(product: str = "Genoa", version: int = 3, kind: str = "vcek") -> SnpCase:
    """Return the case of good simulated evidence."""
    found = amd_pki.evidence(product, version=version, kind=kind)
    return bundle_of(found.report, found.vek, (found.chain,), found.crl)


def given(outcomes: Mapping[str, Outcome[object]]) -> dict[str, Reason]:
    """Return the reason of every check that did not pass, needs left out."""
    return {
        check: outcome.reason
        for check, outcome in outcomes.items()
        if outcome.reason is not None and outcome.reason is not Reason.NEED_NOT_PASSED
    }


def noted(outcomes: Mapping[str, Outcome[object]]) -> set[Reason]:
    """Return every note."""
    return {note.reason for outcome in outcomes.values() for note in outcome.notes}
