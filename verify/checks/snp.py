"""Rows 30 to 41: SEV-SNP reports, each with the certificates and lists its bindings name.

A report's ``chain-for`` and ``collateral-for`` bindings say which certificates and which list
belong to it; they pick the pair to test and prove nothing. Every listed report is judged.

Source: verification.md 3 (rows 30 to 41), sev-snp.md 2 to 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from verify.checks.inputs import Inputs
from verify.engine.asof import AsOfInstant
from verify.engine.check import Facts
from verify.engine.errors import FormatError, InternalFault, Refused
from verify.engine.later import later
from verify.engine.outcome import Affirmed, Outcome, Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.policy.model import Fit, PinSet, Release, Set, SnpRules, fit, wanted
from verify.trust.anchor import Anchor, AnchorStatus, Kind, Purpose
from verify.wire.model import Artifact, ArtifactUnavailable, Evidence, Statement

if TYPE_CHECKING:
    from verify.amd import certificates
    from verify.amd import report as layout
    from verify.amd import snp as amd
else:
    certificates = later("verify.amd.certificates")
    layout = later("verify.amd.report")
    amd = later("verify.amd.snp")

T = TypeVar("T")

REPORT_ROLE: Final = "snp.report"
_CERTIFICATE_ROLES: Final = ("amd.vek", "amd.chain", "snp.certificate-table")
_CRL_ROLE: Final = "amd.crl"

_ARTIFACT: Final = frozenset(
    {
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_WITHHELD,
    }
)

REPORT_FORMAT_REASONS: Final = _ARTIFACT | {
    Reason.EVIDENCE_ABSENT,
    Reason.SNP_PRODUCT_UNKNOWN,
    Reason.SNP_REPORT_LENGTH_INVALID,
    Reason.SNP_REPORT_POLICY_MALFORMED,
    Reason.SNP_REPORT_RESERVED_NOT_ZERO,
    Reason.SNP_REPORT_SIGNATURE_ALGORITHM_UNSUPPORTED,
    Reason.SNP_REPORT_SIGNATURE_PADDING_NOT_ZERO,
    Reason.SNP_REPORT_SIGNER_INFO_MALFORMED,
    Reason.SNP_REPORT_TAIL_NOT_ZERO,
    Reason.SNP_REPORT_UNSIGNED,
    Reason.SNP_REPORT_VERSION_UNSUPPORTED,
    Reason.SNP_REPORT_VMPL_INVALID,
}
CERTIFICATES_FORMAT_REASONS: Final = _ARTIFACT | {
    Reason.BINDING_UNDECLARED,
    Reason.EVIDENCE_ABSENT,
    Reason.SNP_CERTIFICATE_ALGORITHM_UNSUPPORTED,
    Reason.SNP_CERTIFICATE_EXTENSION_CONFLICT,
    Reason.SNP_CERTIFICATE_EXTENSION_MALFORMED,
    Reason.SNP_CERTIFICATE_EXTENSION_MISSING,
    Reason.SNP_CERTIFICATE_MALFORMED,
    Reason.SNP_CERTIFICATE_MISSING,
    Reason.SNP_CERTIFICATE_UNKNOWN_EXTENSION,
}
CERTIFICATES_CHAIN_REASONS: Final = frozenset(
    {
        Reason.SNP_CHAIN_NAME_MISMATCH,
        Reason.SNP_CHAIN_ROLE_MISMATCH,
        Reason.SNP_CHAIN_ROOT_NOT_TRUSTED,
        Reason.SNP_CHAIN_SIGNATURE_INVALID,
    }
)
CERTIFICATES_VALIDITY_REASONS: Final = frozenset(
    {
        Reason.SNP_CHAIN_EXPIRED,
        Reason.SNP_CHAIN_LEAF_MINTED_LATER,
        Reason.SNP_CHAIN_LEAF_MINTED_LATER_ACCEPTED,
        Reason.SNP_CHAIN_NOT_YET_VALID,
    }
)
CERTIFICATES_REVOCATION_REASONS: Final = _ARTIFACT | {
    Reason.BINDING_UNDECLARED,
    Reason.SNP_CRL_EXPIRED,
    Reason.SNP_CRL_INTERMEDIATE_REVOKED,
    Reason.SNP_CRL_ISSUER_MISMATCH,
    Reason.SNP_CRL_MALFORMED,
    Reason.SNP_CRL_MISSING,
    Reason.SNP_CRL_NOT_YET_VALID,
    Reason.SNP_CRL_SIGNATURE_INVALID,
}
SIGNER_MATCH_REASONS: Final = frozenset(
    {
        Reason.SNP_REPORT_CHIP_ID_UNAUTHENTICATED,
        Reason.SNP_SIGNER_CHIP_ID_MASKED,
        Reason.SNP_SIGNER_CHIP_ID_MISMATCH,
        Reason.SNP_SIGNER_CSP_NOT_ACCEPTED,
        Reason.SNP_SIGNER_KIND_MISMATCH,
        Reason.SNP_SIGNER_PRODUCT_MISMATCH,
        Reason.SNP_SIGNER_TCB_MISMATCH,
    }
)
REPORT_SIGNATURE_REASONS: Final = frozenset(
    {Reason.SNP_REPORT_SIGNATURE_INVALID, Reason.SNP_REPORT_SIGNATURE_OUT_OF_RANGE}
)
TCB_ORDER_REASONS: Final = frozenset(
    {
        Reason.SNP_TCB_COMMITTED_ABOVE_CURRENT,
        Reason.SNP_TCB_LAUNCH_ABOVE_CURRENT,
        Reason.SNP_TCB_REPORTED_ABOVE_COMMITTED,
        Reason.SNP_TCB_REPORTED_ABOVE_CURRENT,
    }
)
TCB_MINIMUM_REASONS: Final = frozenset(
    {
        Reason.SNP_TCB_BELOW_MINIMUM,
        Reason.SNP_TCB_FIRMWARE_BELOW_MINIMUM,
        Reason.SNP_TCB_LAUNCH_BELOW_MINIMUM,
        Reason.SNP_TCB_MINIMUM_NOT_GIVEN,
        Reason.SNP_TCB_MITIGATION_MISSING,
        Reason.SNP_TCB_PROVISIONAL_FIRMWARE,
        Reason.SNP_TCB_PROVISIONAL_FIRMWARE_PRESENT,
    }
)
GUEST_POLICY_REASONS: Final = frozenset(
    {
        Reason.SNP_POLICY_ABI_BELOW_MINIMUM,
        Reason.SNP_POLICY_DEBUG_ENABLED,
        Reason.SNP_POLICY_FLAG_NOT_ACCEPTED,
        Reason.SNP_POLICY_MIGRATION_ENABLED,
        Reason.SNP_POLICY_VMPL_NOT_ACCEPTED,
    }
)
PLATFORM_POLICY_REASONS: Final = frozenset(
    {
        Reason.SNP_PLATFORM_FLAG_NOT_ACCEPTED,
        Reason.SNP_PLATFORM_PRODUCT_NOT_ACCEPTED,
        Reason.SNP_PLATFORM_UNASSIGNED_BIT_SET,
    }
)
REFERENCE_IDENTITY_REASONS: Final = frozenset(
    {
        Reason.REFERENCE_MISSING,
        Reason.SNP_REFERENCE_AUTHOR_KEY_NOT_ACCEPTED,
        Reason.SNP_REFERENCE_FAMILY_ID_MISMATCH,
        Reason.SNP_REFERENCE_GUEST_SVN_BELOW_MINIMUM,
        Reason.SNP_REFERENCE_HOST_DATA_MISMATCH,
        Reason.SNP_REFERENCE_ID_KEY_NOT_ACCEPTED,
        Reason.SNP_REFERENCE_IMAGE_ID_MISMATCH,
        Reason.SNP_REFERENCE_REPORT_DATA_MISMATCH,
    }
)


@value
class SnpReports:
    """Fact of ``snp.report.format``: every listed report, parsed, by artifact id."""

    items: Mapping[str, layout.SnpReport]


@value
class SnpCertificates:
    """Fact of ``snp.certificates.format``: the certificates of every report, by its artifact id.

    ``documents``: which artifact supplied which place of the chain, to be pointed at.
    """

    items: Mapping[str, certificates.CertificateSet]
    documents: Mapping[str, Mapping[certificates.Place, str]]

    def document(self, report: str, place: certificates.Place) -> str:
        """Return where a certificate came from; ``trust`` for a root that the bundle lacks."""
        return self.documents[report].get(place, "trust")


@value
class SnpChains:
    """Fact of ``snp.certificates.chain``: the verified chain of every report."""

    items: Mapping[str, amd.VerifiedChain]


@value
class VerifiedSnpReports:
    """Fact of ``snp.report.signature``: every listed report, in Statement order."""

    items: tuple[amd.VerifiedSnpReport, ...]


def rules_of(inputs: Inputs) -> SnpRules:
    """Return the policy's rules for ``snp``; they are there wherever the subject is judged."""
    if inputs.policy.snp is None:
        message = "a check of subject snp ran under a policy that excludes it"
        raise InternalFault(message)
    return inputs.policy.snp


def _in_statement(artifact: Artifact) -> Pointer:
    return Pointer(document="statement", path=f"/predicate/artifacts/{artifact.index}")


def _body(evidence: Evidence, artifact_id: str, tally: Tally) -> bytes | None:
    """Return an artifact's bytes, or record why they are not there."""
    try:
        return evidence.body(artifact_id)
    except ArtifactUnavailable as absent:
        tally.find(absent.reason, absent.pointer, what=str(absent))
        return None


def _record(tally: Tally, appraisal: amd.Appraisal, document: str) -> None:
    for refused in appraisal.refused:
        tally.refuse(refused, document)
    for remark in appraisal.remarks:
        pointer = Pointer(document=document, start=remark.start, stop=remark.stop)
        tally.note(remark.reason, remark.text, pointer)


def _companions(
    statement: Statement, report: Artifact, roles: tuple[str, ...], missing: Reason, tally: Tally
) -> tuple[Artifact, ...]:
    """Return the artifacts of ``roles`` that the report's bindings name; none is recorded."""
    bindings = [
        binding
        for kind in ("chain-for", "collateral-for")
        for binding in statement.bindings_of(kind)
    ]
    own: set[str] = set()
    anybody: set[str] = set()
    for binding in bindings:
        named = binding.many("with")
        anybody.update(named)
        if report.id in binding.many("evidence"):
            own.update(named)
    listed = statement.of_role(*roles)
    found = tuple(artifact for artifact in listed if artifact.id in own)
    if not found:
        undeclared = any(artifact.id not in anybody for artifact in listed)
        tally.find(
            Reason.BINDING_UNDECLARED if undeclared else missing,
            _in_statement(report),
            what=f"no binding says which {' or '.join(roles)} belongs to {report.id}"
            if undeclared
            else f"the bundle lists no {' or '.join(roles)} for {report.id}",
            got=report.id,
            expected=" or ".join(roles),
        )
    return found


# -- row 30 -------------------------------------------------------------------------------------


def report_format(inputs: Inputs, facts: Facts) -> Outcome[SnpReports]:
    """Is each a report of a known layout with nothing hidden in it? (sev-snp.md 2, 10)."""
    rules = rules_of(inputs)
    evidence = facts.get("blobs.derived", Evidence)
    tally = Tally()
    reports: dict[str, layout.SnpReport] = {}
    for artifact in _reports(evidence, tally):
        body = _body(evidence, artifact.id, tally)
        if body is None:
            continue
        document = evidence.document(artifact.id)
        wrong = layout.faults(body)
        if wrong:
            for error in wrong:
                tally.malformed(error, document, Reason.SNP_REPORT_LENGTH_INVALID)
            continue
        report = layout.parse_report(body)
        if report.version not in rules.accept_report_versions:
            tally.find(
                Reason.SNP_REPORT_VERSION_UNSUPPORTED,
                Pointer(document=document, start=0x000, stop=0x004),
                what="the policy accepts no report of this version",
                got=str(report.version),
                expected=" or ".join(str(version) for version in rules.accept_report_versions),
            )
        try:
            amd.product_from_cpuid(report)
        except Refused as refused:
            tally.refuse(refused, document)
        reports[artifact.id] = report
    return tally.outcome(SnpReports(items=reports))


def _reports(evidence: Evidence, tally: Tally) -> tuple[Artifact, ...]:
    """Return the listed reports; none is a gap."""
    listed = evidence.statement.of_role(REPORT_ROLE)
    if not listed:
        tally.find(
            Reason.EVIDENCE_ABSENT,
            Pointer(document="statement", path="/predicate/artifacts"),
            what="the bundle lists no SEV-SNP report",
            expected=REPORT_ROLE,
        )
    return listed


# -- row 31 -------------------------------------------------------------------------------------


def _certificates_in(artifact: Artifact, body: bytes) -> tuple[tuple[bytes, int | None], ...]:
    """Return the DER of each certificate of an artifact, with its offset where it has one.

    Raises FormatError.
    """
    if artifact.role == "snp.certificate-table":
        return tuple(
            (entry.body, entry.start)
            for entry in certificates.parse_table(body)
            if entry.guid in certificates.CERTIFICATE_GUIDS
        )
    if artifact.role == "amd.chain" and body[:1] != b"\x30":
        return tuple((der, None) for der in certificates.pem_pair(body))
    return ((body, 0),)


def _supplied(
    artifact: Artifact, body: bytes, document: str, tally: Tally
) -> tuple[certificates.Supplied, ...] | None:
    """Parse the certificates of one artifact, or record what is wrong with them."""
    try:
        found = _certificates_in(artifact, body)
    except FormatError as error:
        tally.malformed(error, document, Reason.SNP_CERTIFICATE_MALFORMED)
        return None
    supplied: list[certificates.Supplied] = []
    for der, offset in found:
        try:
            supplied.append(
                certificates.Supplied(
                    document=document, certificate=certificates.parse_certificate(der)
                )
            )
        except FormatError as error:
            _certificate_fault(tally, error, document, offset)
    return tuple(supplied) if len(supplied) == len(found) else None


def _certificate_fault(tally: Tally, error: FormatError, document: str, offset: int | None) -> None:
    """Record what is wrong with a certificate that begins at ``offset`` (None: inside PEM)."""
    placed = FormatError(
        0 if offset is None else offset + error.offset,
        error.what,
        reason=error.reason,
        path="" if offset is None else None,
    )
    tally.malformed(placed, document, Reason.SNP_CERTIFICATE_MALFORMED)


def _read(
    read: Callable[[certificates.Certificate], T], supplied: certificates.Supplied, tally: Tally
) -> T | None:
    try:
        return read(supplied.certificate)
    except FormatError as error:
        _certificate_fault(tally, error, supplied.document, None)
        return None


def _assemble(
    evidence: Evidence, report: Artifact, tally: Tally
) -> tuple[certificates.CertificateSet, Mapping[certificates.Place, str]] | None:
    """Read the certificates of one report; record everything that is wrong with them."""
    companions = _companions(
        evidence.statement, report, _CERTIFICATE_ROLES, Reason.SNP_CERTIFICATE_MISSING, tally
    )
    supplied: list[certificates.Supplied] = []
    complete = bool(companions)
    for artifact in companions:
        body = _body(evidence, artifact.id, tally)
        document = evidence.document(artifact.id)
        found = None if body is None else _supplied(artifact, body, document, tally)
        complete = complete and found is not None
        supplied.extend(found or ())
    if not complete:
        return None  # what is not there was recorded where it was looked for
    try:
        places = certificates.sort_roles(tuple(supplied))
    except Refused as refused:
        pointer = _in_statement(report)
        tally.find(
            refused.reason, pointer, what=refused.what, got=refused.got, expected=refused.expected
        )
        return None
    leaf: certificates.Leaf | None = _read(certificates.read_leaf, places["leaf"], tally)
    intermediate: certificates.Authority | None = _read(
        certificates.read_authority, places["intermediate"], tally
    )
    root = None
    if "root" in places:
        root = _read(certificates.read_authority, places["root"], tally)
        if root is None:
            return None
    if leaf is None or intermediate is None:
        return None
    for oid in leaf.unknown:
        tally.note(
            Reason.SNP_CERTIFICATE_UNKNOWN_EXTENSION,
            f"extension {oid} is not known to this version and is ignored",
            Pointer(document=places["leaf"].document),
        )
    documents = {place: entry.document for place, entry in places.items()}
    return certificates.CertificateSet(leaf=leaf, intermediate=intermediate, root=root), documents


def certificates_format(inputs: Inputs, facts: Facts) -> Outcome[SnpCertificates]:  # noqa: ARG001
    """Are leaf, intermediate and root there and well formed? (sev-snp.md 6, 10)."""
    evidence = facts.get("blobs.derived", Evidence)
    tally = Tally()
    items: dict[str, certificates.CertificateSet] = {}
    documents: dict[str, Mapping[certificates.Place, str]] = {}
    for report in _reports(evidence, tally):
        read = _assemble(evidence, report, tally)
        if read is not None:
            items[report.id], documents[report.id] = read
    return tally.outcome(SnpCertificates(items=items, documents=documents))


# -- rows 32 and 33 -----------------------------------------------------------------------------


def _anchors(inputs: Inputs) -> Iterable[Anchor]:
    accept_added = inputs.policy.trust.accept_added
    for anchor in inputs.trust.of(Purpose.AMD_ARK, accept_added=accept_added):
        if anchor.kind in {Kind.X509, Kind.PIN} and anchor.status is not AnchorStatus.COMPROMISED:
            yield anchor


def _roots(inputs: Inputs) -> amd.TrustedRoots:
    return {bytes.fromhex(anchor.sha256): anchor.data for anchor in _anchors(inputs)}


def certificates_chain(inputs: Inputs, facts: Facts) -> Outcome[SnpChains]:
    """Does each leaf chain to a pinned AMD root, each in its role? (sev-snp.md 6.3)."""
    certificates = facts.get("snp.certificates.format", SnpCertificates)
    roots = _roots(inputs)
    tally = Tally()
    chains: dict[str, amd.VerifiedChain] = {}
    for report, found in certificates.items.items():
        try:
            chains[report] = amd.verify_chain(found, roots)
        except amd.ChainRefused as refused:
            tally.refuse(refused, certificates.document(report, refused.place))
    return tally.outcome(SnpChains(items=chains))


def certificates_validity(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Were all certificates of each chain valid at as_of? (sev-snp.md 9)."""
    rules = rules_of(inputs)
    as_of = facts.get("time.as_of", AsOfInstant)
    certificates = facts.get("snp.certificates.format", SnpCertificates)
    anchors = {anchor.sha256: anchor for anchor in _anchors(inputs)}
    tally = Tally()
    chains = facts.get("snp.certificates.chain", SnpChains).items
    for report, chain in chains.items():
        anchor = anchors[chain.root.certificate.sha256.hex()]
        if anchor.start is not None and as_of.instant < anchor.start:
            tally.find(
                Reason.SNP_CHAIN_NOT_YET_VALID,
                Pointer(document="trust"),
                what=f"the trust store believes {anchor.name} only from {anchor.start.isoformat()}",
                got=as_of.instant.isoformat(),
                expected=f"at or after {anchor.start.isoformat()}",
            )
        if anchor.end is not None and as_of.instant > anchor.end:
            tally.find(
                Reason.SNP_CHAIN_EXPIRED,
                Pointer(document="trust"),
                what=f"the trust store believes {anchor.name} only until {anchor.end.isoformat()}",
                got=as_of.instant.isoformat(),
                expected=f"at or before {anchor.end.isoformat()}",
            )
        refusals, remarks = amd.appraise_validity(
            chain, as_of.instant, grace_s=rules.accept_leaf_minted_within_s
        )
        for refused in refusals:
            tally.refuse(refused, certificates.document(report, refused.place))
        for remark in remarks:
            pointer = Pointer(document=certificates.document(report, "leaf"))
            tally.note(remark.reason, remark.text, pointer)
    return tally.outcome(Affirmed(items=tuple(chains)))


# -- row 34 -------------------------------------------------------------------------------------


def certificates_revocation(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Was each intermediate unrevoked, by a list current at as_of? (sev-snp.md 7)."""
    evidence = facts.get("blobs.derived", Evidence)
    as_of = facts.get("time.as_of", AsOfInstant)
    tally = Tally()
    chains = facts.get("snp.certificates.chain", SnpChains).items
    for report, chain in chains.items():
        artifact = evidence.statement.artifact(report)
        for companion in _companions(
            evidence.statement, artifact, (_CRL_ROLE,), Reason.SNP_CRL_MISSING, tally
        ):
            body = _body(evidence, companion.id, tally)
            if body is None:
                continue
            document = evidence.document(companion.id)
            try:
                amd.verify_revocation(certificates.parse_crl(body), chain, as_of.instant)
            except FormatError as error:
                tally.malformed(error, document, Reason.SNP_CRL_MALFORMED)
            except Refused as refused:
                tally.refuse(refused, document)
    return tally.outcome(Affirmed(items=tuple(chains)))


# -- rows 35 and 36 -----------------------------------------------------------------------------


def signer_match(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Is this the certificate of the key that the report says signed it? (sev-snp.md 6.5)."""
    rules = rules_of(inputs)
    evidence = facts.get("blobs.derived", Evidence)
    certificates = facts.get("snp.certificates.format", SnpCertificates)
    tally = Tally()
    reports = facts.get("snp.report.format", SnpReports).items
    for artifact, report in reports.items():
        appraisal = amd.appraise_signer(report, certificates.items[artifact].leaf, rules)
        _record(tally, appraisal, evidence.document(artifact))
    return tally.outcome(Affirmed(items=tuple(reports)))


def report_signature(inputs: Inputs, facts: Facts) -> Outcome[VerifiedSnpReports]:  # noqa: ARG001
    """Did the leaf's key sign each report? (sev-snp.md 5)."""
    evidence = facts.get("blobs.derived", Evidence)
    chains = facts.get("snp.certificates.chain", SnpChains).items
    tally = Tally()
    verified: list[amd.VerifiedSnpReport] = []
    for artifact, report in facts.get("snp.report.format", SnpReports).items.items():
        try:
            verified.append(amd.verify_report(artifact, report, chains[artifact]))
        except Refused as refused:
            tally.refuse(refused, evidence.document(artifact))
    return tally.outcome(VerifiedSnpReports(items=tuple(verified)))


# -- rows 37 to 41 ------------------------------------------------------------------------------


def _appraised(
    facts: Facts, appraise: Callable[[amd.VerifiedSnpReport], amd.Appraisal]
) -> Outcome[Affirmed]:
    """Appraise every verified report."""
    evidence = facts.get("blobs.derived", Evidence)
    verified = facts.get("snp.report.signature", VerifiedSnpReports).items
    tally = Tally()
    for report in verified:
        _record(tally, appraise(report), evidence.document(report.artifact))
    return tally.outcome(Affirmed(items=tuple(report.artifact for report in verified)))


def tcb_order(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Are the TCB values of each report consistent? (sev-snp.md 3)."""
    return _appraised(facts, amd.appraise_tcb_order)


def tcb_minimum(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Is the firmware at least what the policy demands? (sev-snp.md 11)."""
    rules = rules_of(inputs)
    return _appraised(facts, lambda report: amd.appraise_tcb_minimum(report, rules))


def guest_policy(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Was each guest launched under acceptable rules? (sev-snp.md 4)."""
    rules = rules_of(inputs)
    return _appraised(facts, lambda report: amd.appraise_guest_policy(report, rules))


def platform_policy(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Is the state of each platform acceptable? (sev-snp.md 4)."""
    rules = rules_of(inputs)
    return _appraised(facts, lambda report: amd.appraise_platform(report, rules))


def _nearest(sets: tuple[PinSet, ...], values: Mapping[str, bytes]) -> PinSet:
    """Return the set with the fewest differences; the first of several (verification.md 5.2)."""
    return min(sets, key=lambda pins: len(pins.differences(values)))


def _judge_identity(
    verified: amd.VerifiedSnpReport, rules: SnpRules, document: str, tally: Tally
) -> None:
    values = amd.pinned_values(verified.report)
    nearest = _nearest(rules.sets, values) if rules.sets else None
    differing = () if nearest is None else nearest.differences(values)
    for name, (start, stop, reason) in amd.IDENTITY_FIELDS.items():
        rule = rules.fields[name]
        pointer = Pointer(document=document, start=start, stop=stop)
        value = values[name]
        asked = wanted(rule)
        how = fit(rule, value)
        if isinstance(rule, Release):
            how = Fit.NO_REFERENCE  # a release names launch measurements and nothing else
        elif isinstance(rule, Set):
            if nearest is None:
                how = Fit.NO_REFERENCE
            elif name in differing:
                how = Fit.DIFFERS
                accepted = " or ".join(entry.hex() for entry in nearest.values[name])
                asked = f"{accepted} (set {nearest.name})"
        if how is Fit.DIFFERS:
            what = f"{name} is not what the policy pins"
            tally.find(reason, pointer, what=what, got=value.hex(), expected=asked)
        elif how is Fit.NO_REFERENCE:
            what = f"the policy gives no value for {name}"
            tally.find(
                Reason.REFERENCE_MISSING, pointer, what=what, got=value.hex(), expected=asked
            )
    if nearest is not None and not differing:
        tally.match(nearest.name)
    if verified.report.guest_svn < rules.minimum_guest_svn:
        tally.find(
            Reason.SNP_REFERENCE_GUEST_SVN_BELOW_MINIMUM,
            Pointer(document=document, start=0x004, stop=0x008),
            what="the guest's security version is below the floor",
            got=str(verified.report.guest_svn),
            expected=f"at least {rules.minimum_guest_svn}",
        )


def reference_identity(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Are host data, ID keys, family, image and SVN as pinned? (sev-snp.md 11).

    A set that differs in the launch measurement alone is judged by ``reference.measurements``; the
    nearest set is the same in both.
    """
    rules = rules_of(inputs)
    evidence = facts.get("blobs.derived", Evidence)
    verified = facts.get("snp.report.signature", VerifiedSnpReports).items
    tally = Tally()
    for report in verified:
        _judge_identity(report, rules, evidence.document(report.artifact), tally)
    return tally.outcome(Affirmed(items=tuple(report.artifact for report in verified)))
