"""One fault, one code: every rejection and gap of SEV-SNP, each triggered by exactly its fault.

Faults behind a signature are signed again with the TEST ONLY keys, so that the intended check and
no other speaks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fixtures import amd_pki
from fixtures.amd_pki import AS_OF, OID, PSS_WITH_TRAILER, RsaKey, ia5, integer, tlv
from tests.amd.snp_case import (
    ALL_SET,
    CHECKS,
    RULES,
    SnpCase,
    anchor,
    given,
    noted,
    pinned,
    simulated,
    simulated_anchors,
)
from verify.checks import snp
from verify.engine.errors import InternalFault
from verify.engine.outcome import Status
from verify.engine.reason import Reason, ReasonClass
from verify.policy.model import AnyOf, Ignore, Masked, PinSet, Release, Zero
from verify.trust.anchor import AnchorStatus, Kind

R = Reason
REPORT = "snp.report.format"
CERTIFICATES = "snp.certificates.format"
CHAIN = "snp.certificates.chain"
VALIDITY = "snp.certificates.validity"
REVOCATION = "snp.certificates.revocation"
SIGNER = "snp.signer.match"
SIGNATURE = "snp.report.signature"
ORDER = "snp.tcb.order"
MINIMUM = "snp.tcb.minimum"
GUEST = "snp.guest.policy"
PLATFORM = "snp.platform.policy"
IDENTITY = "snp.reference.identity"

KILLS: dict[str, tuple[Callable[[], SnpCase], str, Reason, frozenset[str]]] = {}


def kill(check: str, reason: Reason, *, also: tuple[str, ...] = ()):
    """Register a fault; ``also``: other checks that see the same fault from their own side."""

    def register(build: Callable[[], SnpCase]) -> Callable[[], SnpCase]:
        assert build.__name__ not in KILLS
        KILLS[build.__name__] = (build, check, reason, frozenset(also))
        return build

    return register


def report(case: SnpCase | None = None, product: str = "Genoa", version: int = 3, **changes):
    spec = replace(amd_pki.report(product, version), **changes)
    return (case or simulated(product, version)).with_body("report-1", spec.body())


def unsigned_change(offset: int, data: bytes, product: str = "Genoa", version: int = 3) -> SnpCase:
    spec = amd_pki.report(product, version)
    body = bytearray(spec.body())
    body[offset : offset + len(data)] = data
    return simulated(product, version).with_body("report-1", bytes(body))


def leaf(change: Callable[..., amd_pki.CertificateSpec], product="Genoa", kind="vcek", version=3):
    spec = change(amd_pki.leaf(product, kind))
    return simulated(product, version, kind).with_body("vek-1", spec.der())


def chain(
    intermediate: amd_pki.CertificateSpec | None = None,
    root: amd_pki.CertificateSpec | None = None,
    product: str = "Genoa",
    kind: str = "vcek",
) -> SnpCase:
    pair = amd_pki.pem_pair(
        (intermediate or amd_pki.intermediate(product, kind)).der(),
        (root or amd_pki.root(product)).der(),
    )
    return simulated(product, 3, kind).with_body("chain-1", pair)


def crl(product: str = "Genoa", **changes: object) -> SnpCase:
    spec = replace(amd_pki.crl(product), **changes)
    return simulated(product).with_body("crl-1", spec.der())


def levels(product: str = "Genoa", **changes: int) -> bytes:
    return amd_pki.tcb_bytes(product, {**amd_pki.TCB[product], **changes})


# -- row 30 -------------------------------------------------------------------------------------


@kill(REPORT, R.SNP_REPORT_LENGTH_INVALID)
def report_one_byte_short():
    return simulated().with_body("report-1", amd_pki.report("Genoa").body()[:-1])


@kill(REPORT, R.SNP_REPORT_LENGTH_INVALID)
def report_one_byte_long():
    return simulated().with_body("report-1", amd_pki.report("Genoa").body() + b"\x00")


@kill(REPORT, R.SNP_REPORT_LENGTH_INVALID)
def report_empty():
    return simulated().with_body("report-1", b"")


@kill(REPORT, R.SNP_REPORT_VERSION_UNSUPPORTED)
def report_of_version_six():
    return report(version=5, fields={0: (6).to_bytes(4, "little")})


@kill(REPORT, R.SNP_REPORT_VERSION_UNSUPPORTED)
def report_of_version_one():
    return report(version=2, fields={0: (1).to_bytes(4, "little")})


@kill(REPORT, R.SNP_REPORT_VERSION_UNSUPPORTED)
def report_of_a_version_the_policy_leaves_out():
    return simulated(version=2).ruled(accept_report_versions=(3, 5))


@kill(REPORT, R.SNP_REPORT_SIGNATURE_ALGORITHM_UNSUPPORTED)
def report_with_another_signature_algorithm():
    return report(fields={0x034: b"\x02"})


@kill(REPORT, R.SNP_REPORT_SIGNER_INFO_MALFORMED)
def report_with_reserved_signing_key():
    return report(signer_info=2 << 2)


@kill(REPORT, R.SNP_REPORT_SIGNER_INFO_MALFORMED)
def report_with_reserved_signer_bit():
    return report(signer_info=1 << 5)


@kill(REPORT, R.SNP_REPORT_UNSIGNED)
def report_that_says_it_is_unsigned():
    return report(signer_info=7 << 2)


@kill(REPORT, R.SNP_REPORT_RESERVED_NOT_ZERO)
def report_of_version_three_relabelled_two():
    return unsigned_change(0, b"\x02")


@kill(REPORT, R.SNP_REPORT_RESERVED_NOT_ZERO)
def report_of_version_four_with_mitigations():
    return report(version=4, fields={0x1F8: b"\x0b"})


@kill(REPORT, R.SNP_REPORT_RESERVED_NOT_ZERO)
def report_with_reserved_byte_after_signer_info():
    return report(fields={0x04F: b"\x01"})


@kill(REPORT, R.SNP_REPORT_RESERVED_NOT_ZERO)
def report_with_reserved_byte_after_versions():
    return report(fields={0x1EB: b"\x01"})


@kill(REPORT, R.SNP_REPORT_RESERVED_NOT_ZERO)
def report_with_reserved_byte_after_committed_version():
    return report(fields={0x1EF: b"\x01"})


@kill(REPORT, R.SNP_REPORT_RESERVED_NOT_ZERO)
def report_of_version_five_with_last_reserved_byte():
    return report(version=5, fields={0x29F: b"\x80"})


@kill(REPORT, R.SNP_REPORT_SIGNATURE_PADDING_NOT_ZERO)
def report_with_padding_of_r():
    return unsigned_change(0x2DC, b"\x01")


@kill(REPORT, R.SNP_REPORT_SIGNATURE_PADDING_NOT_ZERO)
def report_with_padding_of_s():
    return unsigned_change(0x32F, b"\x01")


@kill(REPORT, R.SNP_REPORT_TAIL_NOT_ZERO)
def report_with_first_tail_byte():
    return report(after={0x330: b"\x01"})


@kill(REPORT, R.SNP_REPORT_TAIL_NOT_ZERO)
def report_with_middle_tail_byte():
    return report(after={0x400: b"\x10"})


@kill(REPORT, R.SNP_REPORT_TAIL_NOT_ZERO)
def report_with_last_tail_byte():
    return report(after={0x49F: b"\x01"})


@kill(REPORT, R.SNP_REPORT_POLICY_MALFORMED)
def report_whose_policy_lacks_bit_seventeen():
    return report(policy=0x10000)


@kill(REPORT, R.SNP_REPORT_POLICY_MALFORMED)
def report_whose_policy_has_bit_twenty_six():
    return report(policy=0x30000 | 1 << 26)


@kill(REPORT, R.SNP_REPORT_POLICY_MALFORMED)
def report_whose_policy_has_the_last_bit():
    return report(policy=0x30000 | 1 << 63)


@kill(REPORT, R.SNP_REPORT_VMPL_INVALID)
def report_of_vmpl_four():
    return report(vmpl=4)


@kill(REPORT, R.SNP_PRODUCT_UNKNOWN)
def report_of_a_family_without_roots():
    return report(fields={0x188: b"\x1b"})


@kill(REPORT, R.SNP_PRODUCT_UNKNOWN)
def report_of_the_first_model_after_milan_and_genoa():
    return report(fields={0x189: b"\x20"})


@kill(REPORT, R.SNP_PRODUCT_UNKNOWN)
def report_of_the_first_model_after_turin():
    return report(product="Turin", version=5, fields={0x189: b"\x12"})


@kill(REPORT, R.ARTIFACT_MISSING)
def report_listed_without_bytes():
    return simulated().with_body("report-1", None)


# -- row 31 -------------------------------------------------------------------------------------


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MISSING)
def leaf_stripped():
    return simulated().without("vek-1")


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MISSING)
def intermediate_stripped():
    return simulated().without("chain-1")


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MISSING)
def every_companion_stripped():
    case = simulated()
    return replace(case, artifacts=case.artifacts[:1], bindings=())


@kill(CERTIFICATES, R.BINDING_UNDECLARED)
def certificates_bound_to_nothing():
    return replace(simulated(), bindings=())


@kill(CERTIFICATES, R.ARTIFACT_MISSING)
def leaf_listed_without_bytes():
    return simulated().with_body("vek-1", None)


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MALFORMED)
def leaf_cut_short():
    return simulated().with_body("vek-1", amd_pki.leaf("Genoa").der()[:-1])


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MALFORMED)
def leaf_with_a_byte_behind():
    return simulated().with_body("vek-1", amd_pki.leaf("Genoa").der() + b"\x00")


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MALFORMED)
def leaf_twice():
    case = simulated()
    again = ("vek-2", "amd.vek", amd_pki.leaf("Genoa").der())
    bindings = (*case.bindings, ("chain-for", "report-1", ("vek-2",)))
    return replace(case, artifacts=(*case.artifacts, again), bindings=bindings)


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MALFORMED)
def five_certificates():
    case = simulated()
    pair = amd_pki.pem_pair(amd_pki.intermediate("Genoa").der(), amd_pki.root("Genoa").der())
    bindings = (*case.bindings, ("chain-for", "report-1", ("chain-2",)))
    artifacts = (*case.artifacts, ("chain-2", "amd.chain", pair))
    return replace(case, artifacts=artifacts, bindings=bindings)


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MALFORMED)
def leaf_without_a_role_in_its_name():
    return leaf(lambda spec: replace(spec, common_name="VCEK"))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MALFORMED)
def leaf_with_a_critical_extension_of_another_arc():
    return leaf(lambda spec: spec.having("keyUsage", bytes.fromhex("03020780"), critical=True))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MALFORMED)
def leaf_with_an_extension_twice():
    return leaf(lambda spec: replace(spec, extensions=(*spec.extensions, spec.extensions[0])))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MALFORMED)
def leaf_whose_point_is_off_the_curve():
    spki = bytearray(amd_pki.EcKey("vcek Genoa").spki)
    spki[-1] ^= 1
    return leaf(lambda spec: replace(spec, spki=bytes(spki)))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MALFORMED)
def chain_of_three_pem_blocks():
    pair = amd_pki.pem_pair(amd_pki.intermediate("Genoa").der(), amd_pki.root("Genoa").der())
    return simulated().with_body("chain-1", pair + pair[: len(pair) // 2 + 40])


@kill(CERTIFICATES, R.SNP_CERTIFICATE_MALFORMED)
def chain_whose_second_block_is_no_certificate():
    pair = amd_pki.pem_pair(amd_pki.intermediate("Genoa").der(), b"\x30\x00")
    return simulated().with_body("chain-1", pair)


@kill(CERTIFICATES, R.SNP_CERTIFICATE_ALGORITHM_UNSUPPORTED)
def leaf_signed_with_pkcs1():
    return leaf(
        lambda spec: replace(
            spec, algorithm=amd_pki.PKCS1_SHA384, signer=RsaKey("ASK_GENOA", pkcs1=True)
        )
    )


@kill(CERTIFICATES, R.SNP_CERTIFICATE_ALGORITHM_UNSUPPORTED)
def leaf_whose_two_identifiers_differ():
    return leaf(lambda spec: replace(spec, outer_algorithm=amd_pki.PSS_WITHOUT_TRAILER))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_ALGORITHM_UNSUPPORTED)
def leaf_with_a_p256_key():
    spki = bytes.fromhex(
        "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f2770377"
        "812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    )
    return leaf(lambda spec: replace(spec, spki=spki))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_ALGORITHM_UNSUPPORTED)
def intermediate_with_an_elliptic_curve_key():
    spec = replace(amd_pki.intermediate("Genoa"), spki=amd_pki.EcKey("any").spki)
    return chain(intermediate=spec)


@kill(CERTIFICATES, R.SNP_CERTIFICATE_ALGORITHM_UNSUPPORTED)
def root_with_an_unreadable_key():
    return chain(root=replace(amd_pki.root("Genoa"), spki=tlv(0x30, tlv(0x05))))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_ALGORITHM_UNSUPPORTED)
def intermediate_with_a_small_exponent():
    p, q = (int(prime, 16) for prime in amd_pki.TEST_ONLY_PRIMES["ASK_GENOA"])
    key = tlv(0x30, integer(p * q), integer(3))
    algorithm = tlv(0x30, amd_pki.oid("1.2.840.113549.1.1.1"), tlv(0x05))
    spki = tlv(0x30, algorithm, tlv(0x03, b"\x00", key))
    return chain(intermediate=replace(amd_pki.intermediate("Genoa"), spki=spki))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MISSING)
def vcek_without_hwid():
    return leaf(lambda spec: spec.without("hwid"))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MISSING)
def vlek_without_csp_id():
    return leaf(lambda spec: spec.without("cspId"), kind="vlek")


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MISSING)
def leaf_without_microcode_level():
    return leaf(lambda spec: spec.without("microcode"))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MISSING)
def turin_leaf_without_fmc_level():
    return leaf(lambda spec: spec.without("fmc"), "Turin")


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MISSING)
def leaf_without_product_name():
    return leaf(lambda spec: spec.without("productName"))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MISSING)
def leaf_without_struct_version():
    return leaf(lambda spec: spec.without("structVersion"))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MALFORMED)
def turin_leaf_with_a_long_hwid():
    return leaf(lambda spec: spec.having("hwid", bytes(64)), "Turin")


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MALFORMED)
def genoa_leaf_with_a_short_hwid():
    return leaf(lambda spec: spec.having("hwid", bytes(8)))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MALFORMED)
def leaf_with_a_level_of_one_signed_byte():
    return leaf(lambda spec: spec.having("microcode", bytes.fromhex("0201d9")))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MALFORMED)
def leaf_with_a_level_of_256():
    return leaf(lambda spec: spec.having("microcode", integer(256)))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MALFORMED)
def leaf_with_a_level_that_is_padded():
    return leaf(lambda spec: spec.having("microcode", bytes.fromhex("02020054")))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MALFORMED)
def leaf_whose_product_name_is_a_utf8_string():
    return leaf(lambda spec: spec.having("productName", tlv(0x0C, b"Genoa")))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MALFORMED)
def leaf_of_an_unknown_product():
    return leaf(lambda spec: spec.having("productName", ia5("Venice-B0")))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MALFORMED)
def vlek_with_an_empty_csp_id():
    return leaf(lambda spec: spec.having("cspId", ia5("")), kind="vlek")


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_MALFORMED)
def genoa_leaf_with_an_fmc_level():
    return leaf(lambda spec: spec.having("fmc", integer(1)))


@kill(CERTIFICATES, R.SNP_CERTIFICATE_EXTENSION_CONFLICT)
def leaf_with_hwid_and_csp_id():
    return leaf(lambda spec: spec.having("cspId", ia5("CN=cc-test-1.example")))


# -- row 32 -------------------------------------------------------------------------------------


@kill(CHAIN, R.SNP_CHAIN_ROOT_NOT_TRUSTED)
def self_made_root():
    rogue = amd_pki.rogue_root("Genoa")
    ask = replace(amd_pki.intermediate("Genoa"), signer=rogue.signer)
    return chain(intermediate=ask, root=rogue)


@kill(CHAIN, R.SNP_CHAIN_ROOT_NOT_TRUSTED)
def root_known_to_be_compromised():
    der = amd_pki.root("Genoa").der()
    bad = anchor(der, status=AnchorStatus.COMPROMISED, since=AS_OF)
    return replace(simulated(), anchors=(bad,))


@kill(CHAIN, R.SNP_CHAIN_ROOT_NOT_TRUSTED)
def root_added_by_the_user_but_not_accepted():
    der = amd_pki.root("Genoa").der()
    return replace(simulated(), anchors=(anchor(der, origin="--signer"),))


def _rootless() -> SnpCase:
    return simulated().with_body("chain-1", amd_pki.intermediate("Genoa").der())


@kill(CHAIN, R.SNP_CHAIN_ROOT_NOT_TRUSTED)
def no_root_in_the_bundle_and_none_of_the_product_trusted():
    milan = anchor(amd_pki.root("Milan").der())
    strange = anchor(b"\x30\x00")
    return replace(_rootless(), anchors=(milan, strange))


@kill(CHAIN, R.SNP_CHAIN_ROOT_NOT_TRUSTED)
def no_root_in_the_bundle_and_only_its_digest_trusted():
    digest = anchor(amd_pki.root("Genoa").der(), kind=Kind.PIN, data=None)
    return replace(_rootless(), anchors=(digest,))


@kill(CHAIN, R.SNP_CHAIN_ROLE_MISMATCH)
def milan_authorities_over_a_genoa_leaf():
    pair = amd_pki.pem_pair(amd_pki.intermediate("Milan").der(), amd_pki.root("Milan").der())
    return simulated().with_body("chain-1", pair)


@kill(CHAIN, R.SNP_CHAIN_ROLE_MISMATCH)
def milan_root_over_a_genoa_intermediate():
    return chain(root=amd_pki.root("Milan"))


@kill(CHAIN, R.SNP_CHAIN_ROLE_MISMATCH)
def vlek_under_the_vcek_intermediate():
    spec = replace(
        amd_pki.leaf("Genoa", "vlek"), issuer_name="SEV-Genoa", signer=RsaKey("ASK_GENOA")
    )
    case = simulated("Genoa", 3, "vlek").with_body("vek-1", spec.der())
    pair = amd_pki.pem_pair(amd_pki.intermediate("Genoa").der(), amd_pki.root("Genoa").der())
    return case.with_body("chain-1", pair)


@kill(CHAIN, R.SNP_CHAIN_ROLE_MISMATCH)
def vcek_under_the_vlek_intermediate():
    return chain(intermediate=amd_pki.intermediate("Genoa", "vlek"))


@kill(CHAIN, R.SNP_CHAIN_ROLE_MISMATCH)
def intermediate_without_basic_constraints():
    return chain(intermediate=amd_pki.intermediate("Genoa").without("basicConstraints"))


@kill(CHAIN, R.SNP_CHAIN_ROLE_MISMATCH)
def intermediate_that_is_no_authority():
    return chain(
        intermediate=amd_pki.intermediate("Genoa").having(
            "basicConstraints", tlv(0x30), critical=True
        )
    )


@kill(CHAIN, R.SNP_CHAIN_ROLE_MISMATCH)
def intermediate_that_may_not_sign_certificates():
    return chain(
        intermediate=amd_pki.intermediate("Genoa").having(
            "keyUsage", bytes.fromhex("03020780"), critical=True
        )
    )


@kill(CHAIN, R.SNP_CHAIN_NAME_MISMATCH)
def leaf_that_names_another_issuer():
    return leaf(lambda spec: replace(spec, issuer_name="SEV-Milan"))


@kill(CHAIN, R.SNP_CHAIN_NAME_MISMATCH)
def intermediate_that_names_another_issuer():
    return chain(intermediate=replace(amd_pki.intermediate("Genoa"), issuer_name="ARK-Milan"))


@kill(CHAIN, R.SNP_CHAIN_SIGNATURE_INVALID)
def leaf_signed_by_somebody_else():
    return leaf(lambda spec: replace(spec, signer=RsaKey("OTHER_ROOT")))


@kill(CHAIN, R.SNP_CHAIN_SIGNATURE_INVALID)
def leaf_signed_with_a_short_salt():
    return leaf(lambda spec: replace(spec, signer=RsaKey("ASK_GENOA", salt_length=32)))


@kill(CHAIN, R.SNP_CHAIN_SIGNATURE_INVALID)
def leaf_signed_with_pkcs1_under_a_pss_identifier():
    return leaf(lambda spec: replace(spec, signer=RsaKey("ASK_GENOA", pkcs1=True)))


@kill(CHAIN, R.SNP_CHAIN_SIGNATURE_INVALID)
def intermediate_signed_by_somebody_else():
    spec = replace(amd_pki.intermediate("Genoa"), signer=RsaKey("OTHER_ROOT"))
    return chain(intermediate=spec)


@kill(CHAIN, R.SNP_CHAIN_SIGNATURE_INVALID)
def root_whose_own_signature_is_wrong():
    root = replace(amd_pki.root("Genoa"), signer=RsaKey("OTHER_ROOT"))
    return replace(chain(root=root), anchors=(anchor(root.der()),))


# -- row 33 -------------------------------------------------------------------------------------


@kill(VALIDITY, R.SNP_CHAIN_LEAF_MINTED_LATER)
def vcek_minted_a_second_later():
    return leaf(lambda spec: replace(spec, not_before=AS_OF + timedelta(seconds=1)))


@kill(VALIDITY, R.SNP_CHAIN_LEAF_MINTED_LATER)
def vcek_minted_a_second_beyond_the_grace():
    late = AS_OF + timedelta(days=7, seconds=1)
    case = leaf(lambda spec: replace(spec, not_before=late))
    return case.ruled(accept_leaf_minted_within_s=7 * 86400)


@kill(VALIDITY, R.SNP_CHAIN_NOT_YET_VALID)
def vlek_that_begins_later_in_spite_of_the_grace():
    later = AS_OF + timedelta(seconds=1)
    case = leaf(lambda spec: replace(spec, not_before=later), kind="vlek")
    return case.ruled(accept_leaf_minted_within_s=7 * 86400)


@kill(VALIDITY, R.SNP_CHAIN_NOT_YET_VALID)
def intermediate_that_begins_later_in_spite_of_the_grace():
    spec = replace(amd_pki.intermediate("Genoa"), not_before=AS_OF + timedelta(seconds=1))
    return chain(intermediate=spec).ruled(accept_leaf_minted_within_s=7 * 86400)


@kill(VALIDITY, R.SNP_CHAIN_EXPIRED)
def vcek_expired_a_second_ago():
    return leaf(lambda spec: replace(spec, not_after=AS_OF - timedelta(seconds=1)))


@kill(VALIDITY, R.SNP_CHAIN_EXPIRED)
def intermediate_expired_a_second_ago():
    spec = replace(amd_pki.intermediate("Genoa"), not_after=AS_OF - timedelta(seconds=1))
    return chain(intermediate=spec)


@kill(VALIDITY, R.SNP_CHAIN_NOT_YET_VALID)
def anchor_believed_only_later():
    der = amd_pki.root("Genoa").der()
    return replace(simulated(), anchors=(anchor(der, start=AS_OF + timedelta(seconds=1)),))


@kill(VALIDITY, R.SNP_CHAIN_EXPIRED)
def anchor_believed_no_longer():
    der = amd_pki.root("Genoa").der()
    return replace(simulated(), anchors=(anchor(der, end=AS_OF - timedelta(seconds=1)),))


# -- row 34 -------------------------------------------------------------------------------------


@kill(REVOCATION, R.SNP_CRL_MISSING)
def list_stripped():
    return simulated().without("crl-1")


@kill(REVOCATION, R.BINDING_UNDECLARED)
def list_bound_to_nothing():
    case = simulated()
    return replace(case, bindings=case.bindings[:1])


@kill(REVOCATION, R.ARTIFACT_MISSING)
def list_listed_without_bytes():
    return simulated().with_body("crl-1", None)


@kill(REVOCATION, R.SNP_CRL_MALFORMED)
def list_cut_short():
    return simulated().with_body("crl-1", amd_pki.crl("Genoa").der()[:-1])


@kill(REVOCATION, R.SNP_CRL_MALFORMED)
def list_without_next_update():
    return crl(next_update=None)


@kill(REVOCATION, R.SNP_CRL_MALFORMED)
def list_of_version_one():
    return crl(version=0)


@kill(REVOCATION, R.SNP_CRL_MALFORMED)
def list_with_an_unknown_critical_extension():
    return crl(extensions=(("2.5.29.28", tlv(0x30), True),))


@kill(REVOCATION, R.SNP_CRL_MALFORMED)
def list_with_an_unknown_critical_entry_extension():
    entry = amd_pki.extension("2.5.29.29", tlv(0x30), critical=True)
    return crl(revoked=(5,), entry_extensions=(entry,))


@kill(REVOCATION, R.SNP_CRL_MALFORMED)
def list_whose_two_identifiers_differ():
    return crl(outer_algorithm=PSS_WITH_TRAILER)


@kill(REVOCATION, R.SNP_CRL_ISSUER_MISMATCH)
def empty_list_of_another_product():
    return simulated().with_body("crl-1", amd_pki.crl("Milan").der())


@kill(REVOCATION, R.SNP_CRL_SIGNATURE_INVALID)
def list_signed_by_somebody_else():
    return crl(signer=RsaKey("ARK_MILAN"))


@kill(REVOCATION, R.SNP_CRL_SIGNATURE_INVALID)
def list_under_another_algorithm():
    return crl(algorithm=amd_pki.PKCS1_SHA384, signer=RsaKey("ARK_GENOA", pkcs1=True))


@kill(REVOCATION, R.SNP_CRL_NOT_YET_VALID)
def list_that_begins_later():
    return crl(this_update=AS_OF + timedelta(seconds=1))


@kill(REVOCATION, R.SNP_CRL_EXPIRED)
def empty_list_that_ended_a_second_ago():
    return crl(next_update=AS_OF - timedelta(seconds=1))


@kill(REVOCATION, R.SNP_CRL_INTERMEDIATE_REVOKED)
def list_with_the_intermediate():
    return crl(revoked=(7, amd_pki.intermediate("Genoa").serial))


# -- row 35 -------------------------------------------------------------------------------------


@kill(SIGNER, R.SNP_SIGNER_KIND_MISMATCH)
def vlek_report_with_a_vcek():
    return report(kind="vlek")


@kill(SIGNER, R.SNP_SIGNER_KIND_MISMATCH)
def key_kind_that_the_policy_leaves_out():
    return simulated().ruled(accept_signing_keys=("vlek",))


@kill(SIGNER, R.SNP_SIGNER_PRODUCT_MISMATCH)
def milan_processor_with_a_genoa_certificate():
    return report(fields={0x188: bytes((0x19, 0x01, 0x01))})


@kill(SIGNER, R.SNP_SIGNER_CHIP_ID_MASKED)
def masked_chip_with_a_vcek():
    return report(chip_id=bytes(64))


@kill(SIGNER, R.SNP_SIGNER_CHIP_ID_MISMATCH)
def certificate_of_another_chip():
    return report(chip_id=amd_pki.chip_hwid("Milan"))


@kill(SIGNER, R.SNP_SIGNER_CHIP_ID_MISMATCH)
def turin_chip_with_more_than_eight_bytes():
    chip = amd_pki.chip_hwid("Turin").ljust(63, b"\x00") + b"\x01"
    return report(product="Turin", version=5, chip_id=chip)


@kill(SIGNER, R.SNP_SIGNER_TCB_MISMATCH)
def certificate_level_one_too_high():
    return leaf(lambda spec: spec.having("microcode", integer(85)))


@kill(SIGNER, R.SNP_SIGNER_TCB_MISMATCH)
def certificate_level_one_too_low():
    return leaf(lambda spec: spec.having("microcode", integer(83)))


@kill(SIGNER, R.SNP_SIGNER_TCB_MISMATCH)
def unused_byte_of_reported_tcb_set():
    return report(reported=levels()[:2] + b"\x01" + levels()[3:])


@kill(SIGNER, R.SNP_SIGNER_TCB_MISMATCH)
def unused_level_of_the_certificate_set():
    return leaf(lambda spec: spec.having("spl5", integer(1)))


@kill(SIGNER, R.SNP_SIGNER_CSP_NOT_ACCEPTED)
def vlek_of_an_unlisted_cloud():
    return simulated("Milan", 3, "vlek").ruled(accept_csp_ids=("CN=other.example",))


# -- row 36 -------------------------------------------------------------------------------------


@kill(SIGNATURE, R.SNP_REPORT_SIGNATURE_INVALID)
def measurement_changed():
    return unsigned_change(0x090, b"\xff")


@kill(SIGNATURE, R.SNP_REPORT_SIGNATURE_INVALID)
def report_signed_by_another_key():
    return report(key=amd_pki.EcKey("somebody"))


@kill(SIGNATURE, R.SNP_REPORT_SIGNATURE_OUT_OF_RANGE)
def signature_with_r_zero():
    return unsigned_change(0x2A0, bytes(72))


@kill(SIGNATURE, R.SNP_REPORT_SIGNATURE_OUT_OF_RANGE)
def signature_with_s_equal_to_the_order():
    return unsigned_change(0x2E8, amd_pki.P384_ORDER.to_bytes(72, "little"))


# -- rows 37 and 38 -----------------------------------------------------------------------------


@kill(ORDER, R.SNP_TCB_COMMITTED_ABOVE_CURRENT)
def committed_microcode_above_current():
    return report(committed=levels(microcode=85))


@kill(ORDER, R.SNP_TCB_COMMITTED_ABOVE_CURRENT)
def committed_firmware_above_current():
    return report(committed_version=(1, 56, 0))


@kill(ORDER, R.SNP_TCB_REPORTED_ABOVE_CURRENT)
def reported_microcode_above_current():
    return report(current=levels(microcode=83), committed=levels(microcode=83))


@kill(MINIMUM, R.SNP_TCB_MINIMUM_NOT_GIVEN)
def no_floor_for_the_product():
    return simulated().ruled(minimum_tcb={"milan": RULES.minimum_tcb["milan"]})


def _floor(**changes: int) -> dict[str, dict[str, int]]:
    return {"genoa": {**amd_pki.TCB["Genoa"], **changes}}


@kill(MINIMUM, R.SNP_TCB_BELOW_MINIMUM)
def reported_microcode_below_the_floor():
    return simulated().ruled(minimum_tcb=_floor(microcode=85))


@kill(MINIMUM, R.SNP_TCB_BELOW_MINIMUM)
def bootloader_below_the_floor_while_microcode_is_far_above():
    return simulated().ruled(minimum_tcb=_floor(bootloader=11, microcode=0))


@kill(MINIMUM, R.SNP_TCB_BELOW_MINIMUM)
def committed_below_the_floor_where_asked():
    case = report(committed=levels(microcode=83))
    return case.ruled(minimum_tcb=_floor(), apply_minimum_to=("committed", "current"))


@kill(MINIMUM, R.SNP_TCB_LAUNCH_BELOW_MINIMUM)
def launch_below_the_floor():
    return report(launch=levels(snp=22)).ruled(minimum_tcb=_floor())


@kill(MINIMUM, R.SNP_TCB_FIRMWARE_BELOW_MINIMUM)
def firmware_build_below_the_floor():
    return simulated().ruled(minimum_firmware=(1, 55, 41))


@kill(MINIMUM, R.SNP_TCB_PROVISIONAL_FIRMWARE)
def provisional_tcb_where_forbidden():
    case = report(committed=levels(microcode=83))
    return case.ruled(require_committed_equals_current=True)


@kill(MINIMUM, R.SNP_TCB_PROVISIONAL_FIRMWARE)
def provisional_firmware_version_where_forbidden():
    case = report(committed_version=(1, 55, 39))
    return case.ruled(require_committed_equals_current=True)


@kill(MINIMUM, R.SNP_TCB_MITIGATION_MISSING)
def mitigation_bit_missing():
    return simulated(version=5).ruled(required_mitigations={"genoa": 0b100})


@kill(MINIMUM, R.SNP_TCB_MITIGATION_MISSING)
def mitigation_asked_of_version_four():
    return simulated(version=4).ruled(required_mitigations={"genoa": 1})


# -- rows 39 and 40 -----------------------------------------------------------------------------


@kill(GUEST, R.SNP_POLICY_DEBUG_ENABLED)
def debug_guest():
    return report(policy=0xB0000)


@kill(GUEST, R.SNP_POLICY_MIGRATION_ENABLED)
def migratable_guest():
    return report(policy=0x70000)


@kill(GUEST, R.SNP_POLICY_VMPL_NOT_ACCEPTED)
def report_of_vmpl_one():
    return report(vmpl=1)


@kill(GUEST, R.SNP_POLICY_VMPL_NOT_ACCEPTED)
def report_the_host_asked_for():
    return report(vmpl=0xFFFFFFFF).ruled(accept_vmpl=(0, 1, 2, 3))


@kill(GUEST, R.SNP_POLICY_FLAG_NOT_ACCEPTED)
def smt_allowed_where_forbidden():
    return simulated().ruled(guest_flags={**RULES.guest_flags, "smt_allowed": "forbidden"})


@kill(GUEST, R.SNP_POLICY_FLAG_NOT_ACCEPTED)
def single_socket_missing_where_required():
    return simulated().ruled(guest_flags={**RULES.guest_flags, "single_socket": "required"})


@kill(GUEST, R.SNP_POLICY_ABI_BELOW_MINIMUM)
def abi_below_the_floor():
    return report(policy=0x3001E).ruled(minimum_guest_abi=(0, 31))


@kill(PLATFORM, R.SNP_PLATFORM_PRODUCT_NOT_ACCEPTED)
def product_that_the_policy_leaves_out():
    return simulated().ruled(accept_products=("milan", "turin"))


@kill(PLATFORM, R.SNP_PLATFORM_PRODUCT_NOT_ACCEPTED)
def product_of_a_version_two_report_comes_from_its_certificate():
    return simulated(version=2).ruled(accept_products=("milan",))


@kill(PLATFORM, R.SNP_PLATFORM_FLAG_NOT_ACCEPTED)
def smt_enabled_where_forbidden():
    return simulated().ruled(platform_flags={**RULES.platform_flags, "smt_enabled": "forbidden"})


@kill(PLATFORM, R.SNP_PLATFORM_FLAG_NOT_ACCEPTED)
def alias_check_missing_where_required():
    case = report(platform_info=0x05)
    return case.ruled(platform_flags={**RULES.platform_flags, "alias_check_complete": "required"})


# -- row 41 -------------------------------------------------------------------------------------


def _identity(name: str, size: int) -> SnpCase:
    rule = AnyOf(values=(b"\x01" * size, b"\x02" * size))
    return simulated().ruled(fields=pinned(**{name: rule}))


@kill(IDENTITY, R.SNP_REFERENCE_REPORT_DATA_MISMATCH)
def report_data_not_pinned_value():
    return _identity("report_data", 64)


@kill(IDENTITY, R.SNP_REFERENCE_HOST_DATA_MISMATCH)
def host_data_not_pinned_value():
    return _identity("host_data", 32)


@kill(IDENTITY, R.SNP_REFERENCE_ID_KEY_NOT_ACCEPTED)
def id_key_not_pinned_value():
    return _identity("id_key_digest", 48)


@kill(IDENTITY, R.SNP_REFERENCE_AUTHOR_KEY_NOT_ACCEPTED)
def author_key_not_pinned_value():
    return _identity("author_key_digest", 48)


@kill(IDENTITY, R.SNP_REFERENCE_FAMILY_ID_MISMATCH)
def family_id_not_pinned_value():
    return _identity("family_id", 16)


@kill(IDENTITY, R.SNP_REFERENCE_IMAGE_ID_MISMATCH)
def image_id_not_pinned_value():
    return _identity("image_id", 16)


@kill(IDENTITY, R.SNP_REFERENCE_HOST_DATA_MISMATCH)
def host_data_not_zero_where_zero_is_asked():
    return report(host_data=b"\x01" * 32).ruled(fields=pinned(host_data=Zero()))


@kill(IDENTITY, R.SNP_REFERENCE_GUEST_SVN_BELOW_MINIMUM)
def guest_svn_below_the_floor():
    return report(guest_svn=4).ruled(minimum_guest_svn=5)


@kill(IDENTITY, R.REFERENCE_MISSING)
def field_without_any_value():
    return simulated().ruled(fields=pinned(host_data=AnyOf(values=())))


@kill(IDENTITY, R.REFERENCE_MISSING)
def fields_left_to_sets_where_no_set_is_given():
    return simulated().ruled(fields=ALL_SET)


@kill(IDENTITY, R.REFERENCE_MISSING)
def identity_left_to_a_release():
    return simulated().ruled(fields=pinned(image_id=Release()))


def _set(name: str, **changes: bytes) -> PinSet:
    spec = amd_pki.report("Genoa")
    values = {
        "measurement": spec.measurement,
        "report_data": bytes(64),
        "host_data": bytes(32),
        "id_key_digest": bytes(48),
        "author_key_digest": bytes(48),
        "family_id": bytes(16),
        "image_id": bytes(16),
    }
    return PinSet(
        name=name,
        because="a test",
        values={field: (value,) for field, value in {**values, **changes}.items()},
    )


@kill(IDENTITY, R.SNP_REFERENCE_HOST_DATA_MISMATCH)
def host_data_of_one_set_beside_the_rest_of_another():
    far = _set("far", host_data=b"\x01" * 32, measurement=bytes(48), image_id=b"\x05" * 16)
    near = _set("near", host_data=b"\x02" * 32)
    return report(host_data=b"\x01" * 32).ruled(fields=ALL_SET, sets=(far, near))


# -- the property of all of them ----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(KILLS))
def test_snp_fault_gives_exactly_its_code(name):
    build, check, reason, also = KILLS[name]
    outcomes = build().outcomes()
    found = given(outcomes)
    assert found.get(check) is reason, {k: str(v) for k, v in found.items()}
    wanted = Status.FAIL if reason.kind is ReasonClass.REJECT else Status.BLOCKED
    assert outcomes[check].status is wanted
    # Whatever rests on the check is silent; only the few faults with two sides are named twice.
    assert set(found) - {check} == also, found


def test_snp_every_code_has_a_fault():
    killed = {reason for _, _, reason, _ in KILLS.values()}
    codes = {reason for reason in Reason if str(reason).startswith("snp.")}
    missing = {r for r in codes if r.kind is not ReasonClass.NOTE} - killed
    assert not missing, sorted(str(reason) for reason in missing)


def test_snp_bundle_without_a_report_is_a_gap():
    outcomes = replace(simulated(), artifacts=(), bindings=()).outcomes()
    assert outcomes[REPORT].reason is R.EVIDENCE_ABSENT
    assert outcomes[CERTIFICATES].reason is R.EVIDENCE_ABSENT
    assert not any(outcome.status is Status.PASS for outcome in outcomes.values())


# -- what must pass -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vcek", "vlek"])
@pytest.mark.parametrize("version", [2, 3, 4, 5])
@pytest.mark.parametrize("product", amd_pki.PRODUCTS)
def test_snp_good_evidence_passes_every_check(product, version, kind):
    outcomes = simulated(product, version, kind).outcomes()
    assert set(outcomes) == set(CHECKS)
    assert all(outcome.status is Status.PASS for outcome in outcomes.values()), given(outcomes)


PASSES: dict[str, tuple[Callable[[], SnpCase], Reason | None]] = {
    "windows end at as_of": (
        lambda: replace(
            leaf(lambda spec: replace(spec, not_before=AS_OF, not_after=AS_OF)),
            anchors=(anchor(amd_pki.root("Genoa").der(), start=AS_OF, end=AS_OF),),
        ).with_body(
            "crl-1",
            replace(amd_pki.crl("Genoa"), this_update=AS_OF, next_update=AS_OF).der(),
        ),
        None,
    ),
    "vcek minted at the end of the grace": (
        lambda: leaf(lambda spec: replace(spec, not_before=AS_OF + timedelta(days=7))).ruled(
            accept_leaf_minted_within_s=7 * 86400
        ),
        R.SNP_CHAIN_LEAF_MINTED_LATER_ACCEPTED,
    ),
    "list with serial zero alone": (lambda: crl(revoked=(0,)), None),
    "list entries with known extensions": (
        lambda: crl(
            revoked=(5,),
            entry_extensions=(
                amd_pki.extension("2.5.29.21", bytes.fromhex("0a0101"), critical=True),
            ),
        ),
        None,
    ),
    "list without a number": (
        lambda: crl(extensions=(("2.5.29.35", tlv(0x30), True),)),
        None,
    ),
    "level of 217 in two bytes": (lambda: simulated("Milan"), None),
    "hwid inside an octet string": (
        lambda: leaf(lambda spec: spec.having("hwid", tlv(0x04, amd_pki.chip_hwid("Genoa")))),
        None,
    ),
    "leaf with the other algorithm identifier": (
        lambda: leaf(lambda spec: replace(spec, algorithm=amd_pki.PSS_WITHOUT_TRAILER)),
        None,
    ),
    "unknown extension inside the arc": (
        lambda: leaf(lambda spec: spec.having("1.3.6.1.4.1.3704.1.3.200", integer(1))),
        R.SNP_CERTIFICATE_UNKNOWN_EXTENSION,
    ),
    "extension of another arc that is not critical": (
        lambda: leaf(lambda spec: spec.having("2.5.29.14", tlv(0x04, bytes(20)))),
        None,
    ),
    "unassigned platform bits": (
        lambda: report(platform_info=0x25 | 1 << 6 | 1 << 40),
        R.SNP_PLATFORM_UNASSIGNED_BIT_SET,
    ),
    "masked chip where allowed": (
        lambda: report(chip_id=bytes(64)).ruled(allow_masked_chip_id=True),
        None,
    ),
    "debug and migration where allowed": (
        lambda: report(policy=0xF0000).ruled(allow_debug=True, allow_migration=True),
        None,
    ),
    "flags as demanded": (
        lambda: simulated().ruled(
            guest_flags={**RULES.guest_flags, "smt_allowed": "required"},
            platform_flags={**RULES.platform_flags, "tio_enabled": "forbidden"},
            minimum_guest_abi=(0, 0),
        ),
        None,
    ),
    "provisional firmware where not forbidden": (
        lambda: report(committed=levels(microcode=83)),
        R.SNP_TCB_PROVISIONAL_FIRMWARE_PRESENT,
    ),
    "reported above committed": (
        lambda: report(committed=levels(microcode=83)),
        R.SNP_TCB_REPORTED_ABOVE_COMMITTED,
    ),
    "launch above current": (
        lambda: report(launch=levels(microcode=90)),
        R.SNP_TCB_LAUNCH_ABOVE_CURRENT,
    ),
    "floor met exactly": (
        lambda: simulated(version=5).ruled(
            minimum_tcb=_floor(),
            minimum_firmware=(1, 55, 40),
            required_mitigations={"genoa": 11},
            apply_minimum_to=("launch", "reported", "committed", "current"),
            require_committed_equals_current=True,
        ),
        None,
    ),
    "cloud that the policy lists": (
        lambda: simulated("Milan", 3, "vlek").ruled(accept_csp_ids=("CN=cc-test-1.example",)),
        R.SNP_REPORT_CHIP_ID_UNAUTHENTICATED,
    ),
    "root from the trust store": (_rootless, None),
    "root by its digest alone": (
        lambda: replace(
            simulated(),
            anchors=(anchor(amd_pki.root("Genoa").der(), kind=Kind.PIN, data=None),),
        ),
        None,
    ),
    "root added by the user and accepted": (
        lambda: replace(
            simulated(),
            anchors=(anchor(amd_pki.root("Genoa").der(), origin="--signer"),),
            accept_added=("amd-ark",),
        ),
        None,
    ),
    "identity as pinned": (
        lambda: simulated().ruled(
            fields=pinned(
                host_data=Zero(),
                family_id=AnyOf(values=(bytes(16),)),
                image_id=Masked(mask=b"\xff" * 16, value=bytes(16)),
                report_data=Ignore(because="bound elsewhere"),
            )
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", sorted(PASSES))
def test_snp_acceptable_variant_passes_with_its_note(name):
    build, note = PASSES[name]
    outcomes = build().outcomes()
    assert given(outcomes) == {}
    if note is None:
        assert noted(outcomes) <= {R.SNP_REPORT_CHIP_ID_UNAUTHENTICATED}
    else:
        assert note in noted(outcomes)


def test_snp_matching_set_is_named():
    case = simulated().ruled(fields=ALL_SET, sets=(_set("old", image_id=b"\x09" * 16), _set("new")))
    outcome = case.outcomes()[IDENTITY]
    assert outcome.status is Status.PASS
    assert outcome.matched == ("new",)


def test_snp_set_that_differs_in_the_measurement_alone_is_left_to_the_reference_check():
    case = simulated().ruled(fields=ALL_SET, sets=(_set("other", measurement=bytes(48)),))
    outcome = case.outcomes()[IDENTITY]
    assert outcome.status is Status.PASS
    assert outcome.matched == ()


def _second_report(case: SnpCase, body: bytes) -> SnpCase:
    companions = tuple(name for name, role, _ in case.artifacts if role != "snp.report")
    return replace(
        case,
        artifacts=(*case.artifacts, ("report-2", "snp.report", body)),
        bindings=(
            *case.bindings,
            ("chain-for", "report-2", tuple(c for c in companions if not c.startswith("crl"))),
            ("collateral-for", "report-2", ("crl-1",)),
        ),
    )


def test_snp_two_good_reports_pass_together():
    case = _second_report(simulated(), amd_pki.report("Genoa").body())
    outcomes = case.outcomes()
    assert given(outcomes) == {}
    fact = outcomes[SIGNATURE].fact
    assert isinstance(fact, snp.VerifiedSnpReports)
    assert [item.artifact for item in fact.items] == ["report-1", "report-2"]
    assert fact.items[0].measurement == fact.items[0].report.measurement
    assert fact.items[0].report_data == bytes(64)


def test_snp_one_bad_report_of_two_fails_the_check():
    bad = replace(amd_pki.report("Genoa"), key=amd_pki.EcKey("somebody")).body()
    outcomes = _second_report(simulated(), bad).outcomes()
    outcome = outcomes[SIGNATURE]
    assert outcome.reason is R.SNP_REPORT_SIGNATURE_INVALID
    assert [str(f.pointer) for f in outcome.findings] == ["artifact:report-2#bytes=672-816"]


def test_snp_report_without_a_list_of_its_own_is_a_gap():
    case = _second_report(simulated(), amd_pki.report("Genoa").body())
    case = replace(case, bindings=case.bindings[:-1])
    outcome = case.outcomes()[REVOCATION]
    assert outcome.reason is R.SNP_CRL_MISSING
    assert [finding.got for finding in outcome.findings] == ["report-2"]


def test_snp_report_with_every_fault_names_them_all_in_order():
    spec = replace(
        amd_pki.report("Genoa"),
        policy=0,
        vmpl=9,
        signer_info=1 << 6,
        fields={0x034: b"\x09", 0x04C: b"\x01"},
        after={0x2D0: b"\x01", 0x330: b"\x01"},
    )
    outcome = simulated().with_body("report-1", spec.body()).outcomes()[REPORT]
    assert [finding.reason for finding in outcome.findings] == [
        R.SNP_REPORT_SIGNATURE_ALGORITHM_UNSUPPORTED,
        R.SNP_REPORT_SIGNER_INFO_MALFORMED,
        R.SNP_REPORT_RESERVED_NOT_ZERO,
        R.SNP_REPORT_SIGNATURE_PADDING_NOT_ZERO,
        R.SNP_REPORT_TAIL_NOT_ZERO,
        R.SNP_REPORT_POLICY_MALFORMED,
        R.SNP_REPORT_VMPL_INVALID,
    ]


def test_snp_certificate_table_of_a_guest_supplies_the_chain():
    entries = (
        ("63da758de6644564adc5f4b93be8accd", amd_pki.leaf("Genoa").der()),
        ("4ab7b379bbac4fe4a02f05aef327c782", amd_pki.intermediate("Genoa").der()),
        ("c0b406a4a803495297433fb6014cd0ae", amd_pki.root("Genoa").der()),
        ("ffffffffffffffffffffffffffffffff", b"something else"),
    )
    table = amd_pki.certificate_table((bytes.fromhex(guid), body) for guid, body in entries)
    case = simulated()
    artifacts = (case.artifacts[0], ("table", "snp.certificate-table", table), case.artifacts[3])
    bindings = (("chain-for", "report-1", ("table",)), case.bindings[1])
    case = replace(case, artifacts=artifacts, bindings=bindings)
    assert given(case.outcomes()) == {}
    broken = case.with_body("table", table[:100])
    assert given(broken.outcomes())[CERTIFICATES] is R.SNP_CERTIFICATE_MALFORMED
    flawed = bytearray(table)
    at = table.index(entries[1][1])
    flawed[at] = 0x31
    outcome = case.with_body("table", bytes(flawed)).outcomes()[CERTIFICATES]
    assert outcome.reason is R.SNP_CERTIFICATE_MALFORMED
    assert str(outcome.findings[0].pointer) == f"artifact:table#bytes={at}-{at}"
    unknown = amd_pki.certificate_table([(b"\xff" * 16, b"x")])
    outcome = case.with_body("table", unknown).outcomes()[CERTIFICATES]
    assert outcome.reason is R.SNP_CERTIFICATE_MISSING


def test_snp_findings_of_a_chain_point_at_the_certificate_they_speak_of():
    outcome = KILLS["leaf_signed_by_somebody_else"][0]().outcomes()[CHAIN]
    assert str(outcome.findings[0].pointer) == "artifact:vek-1#"
    outcome = KILLS["intermediate_signed_by_somebody_else"][0]().outcomes()[CHAIN]
    assert str(outcome.findings[0].pointer) == "artifact:chain-1#"
    outcome = KILLS["no_root_in_the_bundle_and_none_of_the_product_trusted"][0]().outcomes()[CHAIN]
    assert str(outcome.findings[0].pointer) == "trust#"


def test_snp_check_under_a_policy_that_excludes_the_subject_is_a_fault_of_ours():
    class Excluding:
        snp = None

    class Wrong:
        policy = Excluding()

    with pytest.raises(InternalFault):
        snp.rules_of(Wrong())


def test_snp_time_of_the_simulated_evidence_is_an_aware_instant():
    assert datetime(2026, 6, 10, 12, tzinfo=UTC) == AS_OF
    assert len(simulated_anchors()) == 3
    assert OID["hwid"].startswith("1.3.6.1.4.1.3704.1")
