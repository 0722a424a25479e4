"""SEV-SNP judged: chain, validity, revocation, signer, signature, TCB, policy.

Each step takes what the step before established and gives a typed object, or says why not. Pure:
the instant, the trusted roots and the rules are arguments. A step that compares many values
returns an `Appraisal` with every contradiction, in the order of sev-snp.md 10.

Source: sev-snp.md 3 to 11.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from verify.amd.certificates import (
    PSS_IDENTIFIERS,
    Authority,
    Certificate,
    CertificateSet,
    Leaf,
    Place,
    RevocationList,
    Role,
    authority_key,
    forget_certificates,
    parse_certificate,
    read_authority,
)
from verify.amd.report import (
    GUEST_FLAGS,
    HOST_VMPL,
    PLATFORM_FLAGS,
    FirmwareVersion,
    Product,
    SigningKey,
    SnpReport,
    TcbLevels,
    product_of,
)
from verify.crypto.cache import Bounded
from verify.crypto.ecdsa import Curve, Signed, signed_raw_by
from verify.crypto.pss import signed_pss_sha384
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import field, value
from verify.policy.model import FlagRule, SnpRules

P384_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffff"
    "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)

TrustedRoots = Mapping[bytes, bytes | None]
"""SHA-256 of each trusted ARK to its DER, or to None where only the digest is known."""

_DEBUG = 1 << GUEST_FLAGS["debug"]
_MIGRATION = 1 << GUEST_FLAGS["migrate_ma"]


class ChainRefused(Refused):
    """A refusal about one certificate of a chain; ``place`` says which."""

    def __init__(
        self, place: Place, reason: Reason, what: str, *, got: str = "", expected: str = ""
    ) -> None:
        super().__init__(reason, what, got=got, expected=expected)
        self.place = place


@value
class Remark:
    """A note beside a pass: its code, its words, and the span of the report it speaks of."""

    reason: Reason
    text: str
    start: int | None = None
    stop: int | None = None


@value
class Appraisal:
    """What comparing found: every contradiction in catalogue order, and remarks."""

    refused: tuple[Refused, ...] = ()
    remarks: tuple[Remark, ...] = ()


@value
class VerifiedChain:
    """A leaf that chains to a trusted ARK of its own product, each certificate in its role."""

    leaf: Leaf
    intermediate: Authority
    root: Authority


@value
class VerifiedSnpReport:
    """A report whose bytes a genuine chip's firmware signed.

    ``artifact``: its id in the Statement. ``product``: of the leaf, and of CPUID where the report
    has one. ``kind``, ``csp_id``, ``hwid``, ``signer``: what the certificate says of the signer;
    ``signer`` is the SHA-256 of the leaf's SubjectPublicKeyInfo.
    """

    artifact: str
    report: SnpReport = field(repr=False)
    product: Product
    kind: SigningKey
    hwid: bytes | None
    csp_id: str | None
    signer: bytes

    @property
    def report_data(self) -> bytes:
        """REPORT_DATA: 64 bytes chosen by the guest."""
        return self.report.report_data

    @property
    def measurement(self) -> bytes:
        """MEASUREMENT: the 48-byte launch digest."""
        return self.report.measurement


# -- row 30: the product ----------------------------------------------------------------------


def product_from_cpuid(report: SnpReport) -> Product | None:
    """Return the product of CPUID, None for version 2 (the leaf then says).

    Raises Refused ``snp.product.unknown``. Source: sev-snp.md 3.
    """
    if report.cpuid is None:
        return None
    found = product_of(report.cpuid)
    if found is None:
        raise Refused(
            Reason.SNP_PRODUCT_UNKNOWN,
            "no roots are pinned for this processor",
            got=f"family {report.cpuid.family:#04x}, model {report.cpuid.model:#04x}",
            expected="a family and model of Milan, Genoa or Turin",
            start=0x188,
            stop=0x18B,
        )
    return found


# -- row 32: the chain ------------------------------------------------------------------------


_EDGES: Final[Bounded[tuple[bytes, bytes, bytes], Signed]] = Bounded(2048)


def forget() -> None:
    """Empty the caches of this room (for measurements and for tests of equal results)."""
    _EDGES.clear()
    forget_certificates()


def _signed_by(issuer: Certificate, tbs: bytes, signature: bytes) -> Signed:
    """Whether the issuer's key signed ``tbs``; remembered, for archives of one fleet."""
    entry = (issuer.spki_sha256, hashlib.sha384(tbs).digest(), signature)
    found = _EDGES.get(entry)
    if found is None:
        found = _EDGES.put(entry, signed_pss_sha384(authority_key(issuer.spki), signature, tbs))
    return found


def _issuing_root(
    intermediate: Authority, product: Product, roots: TrustedRoots
) -> Authority | None:
    """Find the trusted ARK of a product that an intermediate names, where the bundle has no root.

    Several may bear one name (a simulated one beside AMD's): the one that signed is preferred.
    """
    named: Authority | None = None
    child = intermediate.certificate
    for data in roots.values():
        if data is None:
            continue
        try:
            root = read_authority(parse_certificate(data))
        except FormatError:
            continue  # a trusted certificate of another shape is no ARK
        issuer = root.certificate
        if issuer.common_name != f"ARK-{product.value}" or issuer.subject != child.issuer:
            continue
        if _signed_by(issuer, child.tbs, child.signature) is Signed.YES:
            return root
        named = named or root
    return named


def _trusted_root(found: CertificateSet, roots: TrustedRoots) -> Authority:
    product = found.leaf.product
    if found.root is None:
        pinned = _issuing_root(found.intermediate, product, roots)
        if pinned is None:
            raise ChainRefused(
                "root",
                Reason.SNP_CHAIN_ROOT_NOT_TRUSTED,
                "no root in the bundle, and none in the trust store that the intermediate names",
                got=found.intermediate.certificate.common_name,
                expected=f"a trusted ARK-{product.value} that issued it",
            )
        return pinned
    digest = found.root.certificate.sha256
    if digest not in roots:
        raise ChainRefused(
            "root",
            Reason.SNP_CHAIN_ROOT_NOT_TRUSTED,
            "the root certificate is not a trusted one; its name proves nothing",
            got=f"{found.root.certificate.common_name} {digest.hex()}",
            expected=" or ".join(sorted(pin.hex() for pin in roots)),
        )
    return found.root


def verify_chain(found: CertificateSet, roots: TrustedRoots) -> VerifiedChain:
    """Walk leaf, intermediate, root; dates are judged elsewhere.

    Raises Refused: ``snp.chain.root_not_trusted``, ``.role_mismatch``, ``.name_mismatch``,
    ``.signature_invalid``, in this order. Source: sev-snp.md 6.3.
    """
    leaf, intermediate = found.leaf, found.intermediate
    root = _trusted_root(found, roots)
    product = leaf.product.value
    prefix = "SEV-" if leaf.kind is SigningKey.VCEK else "SEV-VLEK-"
    authorities: tuple[tuple[Place, Authority, str], ...] = (
        ("intermediate", intermediate, prefix + product),
        ("root", root, f"ARK-{product}"),
    )
    for place, authority, expected in authorities:
        name = authority.certificate.common_name
        if name != expected:
            raise ChainRefused(
                place,
                Reason.SNP_CHAIN_ROLE_MISMATCH,
                f"{name} cannot stand above a {leaf.certificate.common_name} of {product}",
                got=name,
                expected=expected,
            )
        if not authority.may_issue:
            raise ChainRefused(
                place,
                Reason.SNP_CHAIN_ROLE_MISMATCH,
                f"{name} may not issue certificates",
                got="no CA flag or no certificate signing",
                expected="CA, keyCertSign",
            )
    steps: tuple[tuple[Place, Certificate, Certificate], ...] = (
        ("root", root.certificate, root.certificate),
        ("intermediate", intermediate.certificate, root.certificate),
        ("leaf", leaf.certificate, intermediate.certificate),
    )
    for place, subject, issuer in steps:
        if subject.issuer != issuer.subject:
            raise ChainRefused(
                place,
                Reason.SNP_CHAIN_NAME_MISMATCH,
                f"{subject.common_name} does not name {issuer.common_name} as its issuer",
                got=subject.issuer.hex(),
                expected=issuer.subject.hex(),
            )
    for place, subject, issuer in steps:
        if _signed_by(issuer, subject.tbs, subject.signature) is not Signed.YES:
            raise ChainRefused(
                place,
                Reason.SNP_CHAIN_SIGNATURE_INVALID,
                f"{issuer.common_name} did not sign {subject.common_name}",
                got=f"{subject.common_name} signed otherwise",
                expected=f"a signature of {issuer.common_name}",
            )
    return VerifiedChain(leaf=leaf, intermediate=intermediate, root=root)


# -- row 33: validity -------------------------------------------------------------------------


def appraise_validity(
    chain: VerifiedChain, as_of: datetime, *, grace_s: int
) -> tuple[tuple[ChainRefused, ...], tuple[Remark, ...]]:
    """Compare the three validities with ``as_of``, both ends inclusive.

    ``grace_s``: how much later than ``as_of`` a VCEK may begin, because the key service mints one
    at each request over the same key; a VLEK and the authorities have no grace.
    Codes ``snp.chain.not_yet_valid``, ``.leaf_minted_later``, ``.expired``; remark
    ``snp.chain.leaf_minted_later_accepted``. Source: sev-snp.md 9.
    """
    refused: list[ChainRefused] = []
    remarks: list[Remark] = []
    certificates: tuple[tuple[Place, Certificate], ...] = (
        ("root", chain.root.certificate),
        ("intermediate", chain.intermediate.certificate),
        ("leaf", chain.leaf.certificate),
    )
    for place, certificate in certificates:
        if as_of >= certificate.not_before:
            continue
        if certificate.role is not Role.VCEK:
            reason = Reason.SNP_CHAIN_NOT_YET_VALID
        elif as_of >= certificate.not_before - timedelta(seconds=grace_s):
            remarks.append(
                Remark(
                    reason=Reason.SNP_CHAIN_LEAF_MINTED_LATER_ACCEPTED,
                    text=f"the VCEK begins {certificate.not_before.isoformat()}, after as_of",
                )
            )
            continue
        else:
            reason = Reason.SNP_CHAIN_LEAF_MINTED_LATER
        refused.append(
            ChainRefused(
                place,
                reason,
                f"{certificate.common_name} was not yet valid",
                got=f"notBefore {certificate.not_before.isoformat()}",
                expected=f"not after {as_of.isoformat()}",
            )
        )
    refused.extend(
        ChainRefused(
            place,
            Reason.SNP_CHAIN_EXPIRED,
            f"{certificate.common_name} had expired",
            got=f"notAfter {certificate.not_after.isoformat()}",
            expected=f"not before {as_of.isoformat()}",
        )
        for place, certificate in certificates
        if as_of > certificate.not_after
    )
    return tuple(refused), tuple(remarks)


# -- row 34: revocation -----------------------------------------------------------------------


def verify_revocation(revocations: RevocationList, chain: VerifiedChain, as_of: datetime) -> None:
    """Judge the ARK's list and look up the intermediate in it.

    An empty list is judged like any other. The leaf's serial is never looked up: the list speaks
    of what the ARK issued, and every leaf has serial 0. Raises Refused:
    ``snp.crl.issuer_mismatch``, ``.signature_invalid``, ``.not_yet_valid``, ``.expired``,
    ``.intermediate_revoked``. Source: sev-snp.md 7.
    """
    root = chain.root.certificate
    if revocations.issuer != root.subject:
        raise Refused(
            Reason.SNP_CRL_ISSUER_MISMATCH,
            "the revocation list is of another issuer than the root in use",
            got=revocations.issuer_name,
            expected=root.common_name,
        )
    if (
        revocations.algorithm not in PSS_IDENTIFIERS
        or _signed_by(root, revocations.tbs, revocations.signature) is not Signed.YES
    ):
        raise Refused(
            Reason.SNP_CRL_SIGNATURE_INVALID,
            "the root did not sign this revocation list",
            expected=f"a signature of {root.common_name}",
        )
    if as_of < revocations.this_update:
        raise Refused(
            Reason.SNP_CRL_NOT_YET_VALID,
            "the revocation list begins after as_of",
            got=f"thisUpdate {revocations.this_update.isoformat()}",
            expected=f"not after {as_of.isoformat()}",
        )
    if as_of > revocations.next_update:
        raise Refused(
            Reason.SNP_CRL_EXPIRED,
            "the revocation list had expired",
            got=f"nextUpdate {revocations.next_update.isoformat()}",
            expected=f"not before {as_of.isoformat()}",
        )
    intermediate = chain.intermediate.certificate
    if intermediate.serial in revocations.revoked:
        raise Refused(
            Reason.SNP_CRL_INTERMEDIATE_REVOKED,
            f"AMD withdrew {intermediate.common_name}",
            got=f"serial {intermediate.serial:#x}",
            expected="a serial that is not on the list",
        )


# -- row 35: signer ---------------------------------------------------------------------------


def appraise_signer(report: SnpReport, leaf: Leaf, rules: SnpRules) -> Appraisal:
    """Compare what report and certificate say of the signer.

    Codes ``snp.signer.*`` in the order of sev-snp.md 10; remark
    ``snp.report.chip_id_unauthenticated`` for a VLEK. Source: sev-snp.md 6.5.
    """
    refused: list[Refused] = []
    remarks: list[Remark] = []
    if report.signing_key is not leaf.kind:
        refused.append(
            Refused(
                Reason.SNP_SIGNER_KIND_MISMATCH,
                "the report was signed with a key of the other kind",
                got=f"certificate of a {leaf.kind.value.upper()}",
                expected=f"SIGNING_KEY says {report.signing_key.value.upper()}",
                start=0x048,
                stop=0x04C,
            )
        )
    elif leaf.kind.value not in rules.accept_signing_keys:
        refused.append(
            Refused(
                Reason.SNP_SIGNER_KIND_MISMATCH,
                "the policy accepts no key of this kind",
                got=leaf.kind.value,
                expected=" or ".join(rules.accept_signing_keys),
                start=0x048,
                stop=0x04C,
            )
        )
    product = None if report.cpuid is None else product_of(report.cpuid)
    if product is not None and product is not leaf.product:
        refused.append(
            Refused(
                Reason.SNP_SIGNER_PRODUCT_MISMATCH,
                "the certificate is of another product than the processor",
                got=leaf.product_name,
                expected=product.value,
                start=0x188,
                stop=0x18B,
            )
        )
    if leaf.hwid is None:
        remarks.append(
            Remark(
                reason=Reason.SNP_REPORT_CHIP_ID_UNAUTHENTICATED,
                text="a VLEK does not say which chip; CHIP_ID is used for nothing",
                start=0x1A0,
                stop=0x1E0,
            )
        )
    elif report.chip_masked:
        if not rules.allow_masked_chip_id:
            refused.append(
                Refused(
                    Reason.SNP_SIGNER_CHIP_ID_MASKED,
                    "the host masks CHIP_ID, and the policy does not allow that",
                    got="all zero",
                    expected=leaf.hwid.hex(),
                    start=0x1A0,
                    stop=0x1E0,
                )
            )
    elif report.chip_id != leaf.hwid.ljust(len(report.chip_id), b"\x00"):
        refused.append(
            Refused(
                Reason.SNP_SIGNER_CHIP_ID_MISMATCH,
                "this certificate is for another chip",
                got=report.chip_id.hex(),
                expected=leaf.hwid.hex(),
                start=0x1A0,
                stop=0x1E0,
            )
        )
    reported = report.reported_tcb.read(leaf.product)
    if (
        reported.levels != leaf.levels.levels
        or not reported.unused_zero
        or not leaf.levels.unused_zero
    ):
        refused.append(
            Refused(
                Reason.SNP_SIGNER_TCB_MISMATCH,
                "the certificate is for another TCB than REPORTED_TCB",
                got=f"{report.reported_tcb.raw.hex()} ({reported})",
                expected=f"{leaf.levels}, all other bytes zero",
                start=0x180,
                stop=0x188,
            )
        )
    if (
        leaf.csp_id is not None
        and rules.accept_csp_ids is not None
        and leaf.csp_id not in rules.accept_csp_ids
    ):
        refused.append(
            Refused(
                Reason.SNP_SIGNER_CSP_NOT_ACCEPTED,
                "the policy does not accept this cloud provider's key",
                got=leaf.csp_id,
                expected=" or ".join(rules.accept_csp_ids),
            )
        )
    return Appraisal(refused=tuple(refused), remarks=tuple(remarks))


# -- row 36: signature ------------------------------------------------------------------------


def verify_report(artifact: str, report: SnpReport, chain: VerifiedChain) -> VerifiedSnpReport:
    """Verify the report's signature with the leaf's key.

    High s is allowed: AMD does not normalise. Raises Refused:
    ``snp.report.signature_out_of_range``, ``.signature_invalid``. Source: sev-snp.md 5.
    """
    if not (0 < report.r < P384_ORDER and 0 < report.s < P384_ORDER):
        raise Refused(
            Reason.SNP_REPORT_SIGNATURE_OUT_OF_RANGE,
            "r or s is not in [1, n-1]",
            got=f"r {report.r:#x}, s {report.s:#x}",
            start=0x2A0,
            stop=0x330,
        )
    leaf = chain.leaf
    signature = report.r.to_bytes(48, "big") + report.s.to_bytes(48, "big")
    signer = leaf.certificate.spki_sha256
    if signed_raw_by(signer, leaf.key, signature, report.signed, Curve.P384) is not Signed.YES:
        raise Refused(
            Reason.SNP_REPORT_SIGNATURE_INVALID,
            f"the key of this {leaf.kind.value.upper()} did not sign these bytes",
            got=f"r {report.r:#x}",
            expected=f"a signature of the key {signer.hex()}",
            start=0x2A0,
            stop=0x330,
        )
    return VerifiedSnpReport(
        artifact=artifact,
        report=report,
        product=leaf.product,
        kind=leaf.kind,
        hwid=leaf.hwid,
        csp_id=leaf.csp_id,
        signer=signer,
    )


# -- rows 37 and 38: TCB ----------------------------------------------------------------------

_TCB_SPANS: Final[Mapping[str, tuple[int, int]]] = {
    "current": (0x038, 0x040),
    "reported": (0x180, 0x188),
    "committed": (0x1E0, 0x1E8),
    "launch": (0x1F0, 0x1F8),
}


def _tcb(verified: VerifiedSnpReport, which: str) -> TcbLevels:
    report = verified.report
    raw = {
        "current": report.current_tcb,
        "reported": report.reported_tcb,
        "committed": report.committed_tcb,
        "launch": report.launch_tcb,
    }[which]
    return raw.read(verified.product)


def appraise_tcb_order(verified: VerifiedSnpReport) -> Appraisal:
    """Compare the TCB values of one report with one another, component by component.

    Codes ``snp.tcb.committed_above_current``, ``.reported_above_current``; remarks
    ``.reported_above_committed``, ``.launch_above_current``. Source: sev-snp.md 3.
    """
    report = verified.report
    tcb = {which: _tcb(verified, which) for which in _TCB_SPANS}
    refused: list[Refused] = []
    remarks: list[Remark] = []
    for which, reason in (
        ("committed", Reason.SNP_TCB_COMMITTED_ABOVE_CURRENT),
        ("reported", Reason.SNP_TCB_REPORTED_ABOVE_CURRENT),
    ):
        above = tcb[which].above(tcb["current"])
        start, stop = _TCB_SPANS[which]
        if above:
            refused.append(
                Refused(
                    reason,
                    f"{which} is above current in {', '.join(above)}",
                    got=str(tcb[which]),
                    expected=f"no component above {tcb['current']}",
                    start=start,
                    stop=stop,
                )
            )
    if report.committed_version > report.current_version:
        refused.insert(
            1 if refused and refused[0].reason is Reason.SNP_TCB_COMMITTED_ABOVE_CURRENT else 0,
            Refused(
                Reason.SNP_TCB_COMMITTED_ABOVE_CURRENT,
                "the committed firmware is newer than the running one",
                got=str(report.committed_version),
                expected=f"at most {report.current_version}",
                start=0x1EC,
                stop=0x1EF,
            ),
        )
    for which, other, reason in (
        ("reported", "committed", Reason.SNP_TCB_REPORTED_ABOVE_COMMITTED),
        ("launch", "current", Reason.SNP_TCB_LAUNCH_ABOVE_CURRENT),
    ):
        above = tcb[which].above(tcb[other])
        start, stop = _TCB_SPANS[which]
        if above:
            text = f"{which} is above {other} in {', '.join(above)}"
            remarks.append(Remark(reason=reason, text=text, start=start, stop=stop))
    return Appraisal(refused=tuple(refused), remarks=tuple(remarks))


def _below(levels: TcbLevels, floor: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(name for name, least in floor.items() if levels.levels[name] < least)


def appraise_tcb_minimum(verified: VerifiedSnpReport, rules: SnpRules) -> Appraisal:
    """Compare the firmware with the floor of the policy.

    Codes ``snp.tcb.minimum_not_given`` and the others of sev-snp.md 10, in its order; remark
    ``snp.tcb.provisional_firmware_present``. Source: sev-snp.md 3, 11.
    """
    report = verified.report
    product = verified.product.value.lower()
    refused: list[Refused] = []
    remarks: list[Remark] = []
    floor = rules.minimum_tcb.get(product)
    if floor is None:
        refused.append(
            Refused(
                Reason.SNP_TCB_MINIMUM_NOT_GIVEN,
                f"the policy names no minimum TCB for {verified.product.value}",
                got=str(_tcb(verified, "reported")),
                expected=f"minimum_tcb.{product}",
            )
        )
    else:
        wanted = " ".join(f"{name} {least}" for name, least in floor.items())
        # The floor of launch has a code of its own, which comes after that of the others.
        order = sorted(rules.apply_minimum_to, key=lambda which: which == "launch")
        for which in order:
            levels = _tcb(verified, which)
            below = _below(levels, floor)
            start, stop = _TCB_SPANS[which]
            if below:
                refused.append(
                    Refused(
                        Reason.SNP_TCB_LAUNCH_BELOW_MINIMUM
                        if which == "launch"
                        else Reason.SNP_TCB_BELOW_MINIMUM,
                        f"{which} TCB is below the floor in {', '.join(below)}",
                        got=str(levels),
                        expected=f"at least {wanted}",
                        start=start,
                        stop=stop,
                    )
                )
    least = rules.minimum_firmware
    if least is not None:
        minimum = FirmwareVersion(major=least[0], minor=least[1], build=least[2])
        if report.committed_version < minimum:
            refused.append(
                Refused(
                    Reason.SNP_TCB_FIRMWARE_BELOW_MINIMUM,
                    "the committed firmware is below the floor",
                    got=str(report.committed_version),
                    expected=f"at least {minimum}",
                    start=0x1EC,
                    stop=0x1EF,
                )
            )
    if (
        report.committed_tcb != report.current_tcb
        or report.committed_version != report.current_version
    ):
        text = (
            f"committed {_tcb(verified, 'committed')} ({report.committed_version}), "
            f"current {_tcb(verified, 'current')} ({report.current_version})"
        )
        start, stop = _TCB_SPANS["committed"]
        if rules.require_committed_equals_current:
            refused.append(
                Refused(
                    Reason.SNP_TCB_PROVISIONAL_FIRMWARE,
                    "the running firmware is not committed: it may be rolled back",
                    got=text,
                    expected="committed equals current",
                    start=start,
                    stop=stop,
                )
            )
        else:
            remarks.append(
                Remark(
                    reason=Reason.SNP_TCB_PROVISIONAL_FIRMWARE_PRESENT,
                    text=text,
                    start=start,
                    stop=stop,
                )
            )
    mask = rules.required_mitigations.get(product, 0)
    vector = 0 if report.mitigations is None else report.mitigations.current
    if mask & ~vector:
        refused.append(
            Refused(
                Reason.SNP_TCB_MITIGATION_MISSING,
                "a mitigation that the policy requires is not in the current vector",
                got=f"{vector:#x}"
                if report.mitigations is not None
                else f"none in version {report.version}",
                expected=f"all bits of {mask:#x}",
                start=0x200,
                stop=0x208,
            )
        )
    return Appraisal(refused=tuple(refused), remarks=tuple(remarks))


# -- rows 39 and 40: policy of the guest, state of the platform ---------------------------------


def _flags(
    value: int,
    names: Mapping[str, int],
    demands: Mapping[str, FlagRule],
    reason: Reason,
    offset: int,
) -> list[Refused]:
    refused: list[Refused] = []
    for name, bit in names.items():
        demand = demands.get(name, "any")
        if demand == "any":
            continue
        is_set = bool(value >> bit & 1)
        if is_set is not (demand == "required"):
            refused.append(
                Refused(
                    reason,
                    f"{name} (bit {bit}) is {'set' if is_set else 'clear'}",
                    got=f"{value:#x}",
                    expected=f"{name} {demand}",
                    start=offset + bit // 8,
                    stop=offset + bit // 8 + 1,
                )
            )
    return refused


def appraise_guest_policy(verified: VerifiedSnpReport, rules: SnpRules) -> Appraisal:
    """Judge the rules under which the guest was launched, and who asked for the report.

    Codes ``snp.policy.*`` in the order of sev-snp.md 10. Source: sev-snp.md 4, 11.
    """
    report = verified.report
    refused: list[Refused] = []
    if report.policy & _DEBUG and not rules.allow_debug:
        refused.append(
            Refused(
                Reason.SNP_POLICY_DEBUG_ENABLED,
                "the host may read and write the guest's memory",
                got=f"{report.policy:#x}",
                expected="bit 19 clear",
                start=0x00A,
                stop=0x00B,
            )
        )
    if report.policy & _MIGRATION and not rules.allow_migration:
        refused.append(
            Refused(
                Reason.SNP_POLICY_MIGRATION_ENABLED,
                "a migration agent may move the guest",
                got=f"{report.policy:#x}",
                expected="bit 18 clear",
                start=0x00A,
                stop=0x00B,
            )
        )
    if report.vmpl not in rules.accept_vmpl:
        refused.append(
            Refused(
                Reason.SNP_POLICY_VMPL_NOT_ACCEPTED,
                "the host asked for this report"
                if report.vmpl == HOST_VMPL
                else "the report was asked for at a privilege level that the policy does not list",
                got=f"VMPL {report.vmpl:#x}",
                expected=" or ".join(str(level) for level in rules.accept_vmpl),
                start=0x030,
                stop=0x034,
            )
        )
    refused.extend(
        _flags(
            report.policy,
            GUEST_FLAGS,
            rules.guest_flags,
            Reason.SNP_POLICY_FLAG_NOT_ACCEPTED,
            0x008,
        )
    )
    least = rules.minimum_guest_abi
    if least is not None and report.abi < least:
        refused.append(
            Refused(
                Reason.SNP_POLICY_ABI_BELOW_MINIMUM,
                "the guest lets itself be launched by firmware of an older ABI",
                got=f"{report.abi[0]}.{report.abi[1]}",
                expected=f"at least {least[0]}.{least[1]}",
                start=0x008,
                stop=0x00A,
            )
        )
    return Appraisal(refused=tuple(refused))


def appraise_platform(verified: VerifiedSnpReport, rules: SnpRules) -> Appraisal:
    """Judge the state of the machine.

    Codes ``snp.platform.product_not_accepted``, ``.flag_not_accepted``; remark
    ``snp.platform.unassigned_bit_set``: an unassigned bit is never fatal. Source: sev-snp.md 4, 11.
    """
    report = verified.report
    refused: list[Refused] = []
    if verified.product.value.lower() not in rules.accept_products:
        refused.append(
            Refused(
                Reason.SNP_PLATFORM_PRODUCT_NOT_ACCEPTED,
                "the policy does not accept this product",
                got=verified.product.value,
                expected=" or ".join(rules.accept_products),
                start=0x188,
                stop=0x18B,
            )
        )
    refused.extend(
        _flags(
            report.platform_info,
            PLATFORM_FLAGS,
            rules.platform_flags,
            Reason.SNP_PLATFORM_FLAG_NOT_ACCEPTED,
            0x040,
        )
    )
    unassigned = report.unassigned_platform_bits
    remarks = (
        (
            Remark(
                reason=Reason.SNP_PLATFORM_UNASSIGNED_BIT_SET,
                text=f"PLATFORM_INFO {report.platform_info:#x} has unassigned bits "
                + ", ".join(str(bit) for bit in unassigned),
                start=0x040,
                stop=0x048,
            ),
        )
        if unassigned
        else ()
    )
    return Appraisal(refused=tuple(refused), remarks=remarks)


# -- row 41: launch parameters ------------------------------------------------------------------

IDENTITY_FIELDS: Final[Mapping[str, tuple[int, int, Reason]]] = {
    "report_data": (0x050, 0x090, Reason.SNP_REFERENCE_REPORT_DATA_MISMATCH),
    "host_data": (0x0C0, 0x0E0, Reason.SNP_REFERENCE_HOST_DATA_MISMATCH),
    "id_key_digest": (0x0E0, 0x110, Reason.SNP_REFERENCE_ID_KEY_NOT_ACCEPTED),
    "author_key_digest": (0x110, 0x140, Reason.SNP_REFERENCE_AUTHOR_KEY_NOT_ACCEPTED),
    "family_id": (0x010, 0x020, Reason.SNP_REFERENCE_FAMILY_ID_MISMATCH),
    "image_id": (0x020, 0x030, Reason.SNP_REFERENCE_IMAGE_ID_MISMATCH),
}
"""Pinnable launch parameters: span in the report and the code of a difference, in order."""

PINNED_FIELDS: Final[Mapping[str, tuple[int, int]]] = {
    "measurement": (0x090, 0x0C0),
    **{name: (start, stop) for name, (start, stop, _) in IDENTITY_FIELDS.items()},
}
"""Every field of a report that a policy pins, with its span."""


def pinned_values(report: SnpReport) -> Mapping[str, bytes]:
    """Return the bytes of every pinnable field, by name."""
    return {name: report.signed[start:stop] for name, (start, stop) in PINNED_FIELDS.items()}
