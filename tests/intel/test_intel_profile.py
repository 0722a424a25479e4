"""Certificates, lists and the SGX extension: each clause of the profiles has its own refusal."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fixtures import intel_pki as pki
from fixtures.intel_cases import appraised, quote, shot, world
from fixtures.intel_pki import tlv
from verify.crypto.x509 import load_certificate
from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.intel.dcap import PCK_CRL, read_crl
from verify.intel.pck import CaKind, Role, profile_fault, sgx_extension

P384 = ec.derive_private_key(7, ec.SECP384R1()).public_key()


def named(changes):  # a key prints its address: worker processes would collect different names
    return re.sub(r"0x[0-9a-f]+", "key", str(changes))


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
SGX_ON_SIGNER = x509.UnrecognizedExtension(pki.OID_SGX, pki.BASE.pck.der())


@pytest.mark.parametrize(
    "changes",
    [
        {"public": P384},
        {"omit": frozenset({"2.5.29.35"})},
        {"omit": frozenset({"2.5.29.31"})},
        {"omit": frozenset({"2.5.29.14"})},
        {"omit": frozenset({"2.5.29.15"})},
        {"omit": frozenset({"2.5.29.19"})},
        {"extra": ((UNKNOWN, True),)},
        {"basic_critical": False},
        {"ca": True, "digital_signature": True, "key_cert_sign": False, "crl_sign": False},
        {"digital_signature": False},
        {"key_cert_sign": True},
        {"extra": ((SGX_ON_SIGNER, False),)},
    ],
    ids=named,
)
def test_signer_outside_the_profile_is_refused(changes):
    subject = world(signer=replace(pki.SIGNER, **changes), qe_signer=pki.SIGNER)
    assert appraised(subject).codes == (Reason.TDX_TCB_INFO_CERT_PROFILE,)


@pytest.mark.parametrize(
    "changes",
    [
        {"ca": False, "key_cert_sign": True, "crl_sign": True},
        {"key_cert_sign": False},
        {"crl_sign": False},
        {"extra": ((SGX_ON_SIGNER, False),)},
    ],
    ids=named,
)
def test_authority_outside_the_profile_is_refused(changes):
    found = appraised(world(authority=replace(pki.PLATFORM_CA, **changes)))
    assert found.codes == (Reason.TDX_PCK_CERT_PROFILE,)


def test_leaf_without_the_sgx_extension_is_outside_the_profile():
    leaf = replace(pki.LEAF, omit=frozenset({pki.OID_SGX.dotted_string}))
    assert appraised(world(leaf=leaf)).codes == (Reason.TDX_PCK_CERT_PROFILE,)


def _sha384(builder, label):
    signed = builder.sign(pki.key(label), hashes.SHA384(), ecdsa_deterministic=True)
    return signed.public_bytes(serialization.Encoding.DER)


def test_certificate_signed_with_another_hash_does_not_verify():
    native = x509.load_der_x509_certificate(pki.SIGNER.der())
    builder = x509.CertificateBuilder(
        native.issuer,
        native.subject,
        native.public_key(),
        native.serial_number,
        native.not_valid_before_utc,
        native.not_valid_after_utc,
        list(native.extensions),
    )
    der = _sha384(builder, "intel root")
    subject = replace(shot(pki.BASE), tcb_info_chain=pki.pem(der, pki.BASE.anchor))
    assert appraised(subject).codes == (Reason.TDX_TCB_INFO_CERT_SIGNATURE_INVALID,)
    fault = profile_fault(load_certificate(der), Role.SIGNER)
    assert fault == "signature algorithm 1.2.840.10045.4.3.3"


def test_certificate_of_another_version_is_outside_the_profile():
    assert profile_fault(SimpleNamespace(version=1), Role.SIGNER) == "X.509 version 1"


def test_list_signed_with_another_hash_is_outside_the_profile():
    native = x509.load_der_x509_crl(pki.BASE.pck_crl)
    builder = x509.CertificateRevocationListBuilder(
        native.issuer,
        native.last_update_utc,
        native.next_update_utc,
        list(native.extensions),
        [],
    )
    subject = replace(shot(pki.BASE), pck_crl=_sha384(builder, "intel platform ca"))
    assert appraised(subject).codes == (Reason.TDX_PCK_CRL_PROFILE,)


@pytest.mark.parametrize(
    "spec",
    [
        pki.LEAF,
        pki.PLATFORM_CA,
    ],
)
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"common_names": ()}, Reason.TDX_PCK_CERT_NAME),
        ({"not_after": pki.AS_OF - timedelta(seconds=1)}, Reason.TDX_PCK_CERT_EXPIRED),
        ({"not_before": pki.AS_OF + timedelta(seconds=1)}, Reason.TDX_PCK_CERT_NOT_YET_VALID),
        ({"signer": "somebody else"}, Reason.TDX_PCK_CERT_SIGNATURE_INVALID),
        ({"issuer": "Somebody Else"}, Reason.TDX_PCK_CERT_ISSUER_MISMATCH),
    ],
)
def test_leaf_and_authority_are_judged_alike(spec, changes, code):
    part = "leaf" if spec is pki.LEAF else "authority"
    found = appraised(world(**{part: replace(spec, **changes)}))
    assert found.code is code


def test_name_that_stands_twice_is_no_name():
    leaf = replace(pki.LEAF, common_names=("Intel SGX PCK Certificate",) * 2)
    assert appraised(world(leaf=leaf)).codes == (Reason.TDX_PCK_CERT_NAME,)


@pytest.mark.parametrize("part", ["signer", "leaf", "authority", "root"])
@pytest.mark.parametrize("end", ["not_before", "not_after"])
def test_both_ends_of_a_certificate_are_inside_its_window(part, end):
    spec = getattr(pki.BASE, part)
    assert appraised(world(**{part: replace(spec, **{end: pki.AS_OF})})).codes == ()


@pytest.mark.parametrize("part", ["root_crl_spec", "pck_crl_spec"])
@pytest.mark.parametrize("end", ["this_update", "next_update"])
def test_both_ends_of_a_list_are_inside_its_window(part, end):
    spec = getattr(pki.BASE, part)
    assert appraised(world(**{part: replace(spec, **{end: pki.AS_OF})})).codes == ()


@pytest.mark.parametrize("end", ["issued", "expires"])
def test_both_ends_of_a_signed_item_are_inside_its_window(end):
    found = appraised(
        world(
            tcb_info_inner=pki.tcb_info(**{end: pki.AS_OF}),
            qe_identity_inner=pki.qe_identity(**{end: pki.AS_OF}),
        )
    )
    assert found.codes == ()


@pytest.mark.parametrize("part", ["root_crl_spec", "pck_crl_spec"])
@pytest.mark.parametrize(
    "changes",
    [
        {"omit": frozenset({"2.5.29.20"})},
        {"omit": frozenset({"2.5.29.35"})},
        {"extra": ((x509.DeltaCRLIndicator(1), True),)},
        {"extra": ((UNKNOWN, True),)},
        {
            "extra": (
                (
                    x509.IssuingDistributionPoint(
                        [x509.UniformResourceIdentifier("https://test-only.invalid/")],
                        None,
                        only_contains_user_certs=False,
                        only_contains_ca_certs=False,
                        only_some_reasons=None,
                        indirect_crl=False,
                        only_contains_attribute_certs=False,
                    ),
                    True,
                ),
            )
        },
    ],
    ids=range(5),
)
def test_list_outside_the_profile_is_refused(part, changes):
    family = part.removesuffix("_spec")
    found = appraised(world(**{part: replace(getattr(pki.BASE, part), **changes)}))
    assert [code.code for code in found.codes] == [f"tdx.{family}.profile"]


def _edited_crl(spec, old, new):
    """Re-sign a list whose TBS bytes are edited, lengths kept right by the caller."""
    native = x509.load_der_x509_crl(spec.der())
    tbs = native.tbs_certlist_bytes.replace(old, new, 1)
    body = tbs[tbs[1] - 0x80 + 2 if tbs[1] & 0x80 else 2 :]
    tbs = tlv(0x30, body)
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    der = pki.key(spec.issuer_key).sign(
        tbs,
        ec.ECDSA(hashes.SHA256(), deterministic_signing=True),
    )
    return tlv(0x30, tbs + algorithm + tlv(0x03, b"\x00" + der))


def test_list_without_next_update_is_outside_the_profile():
    edited = _edited_crl(pki.PCK_CRL, b"\x17\x0d260710052100Z", b"")
    found = appraised(replace(shot(pki.BASE), pck_crl=edited))
    assert found.codes == (Reason.TDX_PCK_CRL_PROFILE,)


def test_list_of_version_one_is_not_accepted():
    edited = _edited_crl(pki.PCK_CRL, b"\x02\x01\x01", b"")
    found = appraised(replace(shot(pki.BASE), pck_crl=edited))
    assert found.code in (Reason.TDX_PCK_CRL_PROFILE, Reason.TDX_PCK_CRL_MALFORMED)


def test_list_larger_than_the_limit_is_refused():
    with pytest.raises(FormatError) as caught:
        read_crl(bytes(1024 * 1024 + 1), PCK_CRL)
    assert caught.value.reason is Reason.TDX_INPUT_TOO_LARGE


@pytest.mark.parametrize(
    "encode",
    [
        lambda der: der.hex().upper().encode() + b"\n",
        lambda der: (
            b"-----BEGIN X509 CRL-----\r\n"
            + pki.encodebytes(der).replace(b"\n", b"\r\n")
            + b"-----END X509 CRL-----\n"
        ),
    ],
)
def test_list_as_text_is_the_same_list(encode):
    subject = replace(shot(pki.BASE), pck_crl=encode(pki.BASE.pck_crl))
    assert appraised(subject).codes == ()


def test_recorded_list_that_is_hex_starting_with_a_sequence_digit_is_text():
    assert pki.BASE.root_crl.hex().startswith("30")
    assert appraised(replace(shot(pki.BASE), root_crl=pki.BASE.root_crl.hex().encode())).codes == ()


# --- the SGX extension --------------------------------------------------------------------------

PLATFORM = pki.BASE.pck
ARC = bytes.fromhex("2a864886f84d010d01")


def member(arc, value):
    return tlv(0x30, tlv(0x06, arc) + value)


def tcb(components=(0,) * 16, pce=b"\x02\x01\x0d", cpu=bytes(16), extra=b"", drop=None):
    parts = [
        member(ARC + bytes([2, i]), tlv(0x02, svn.to_bytes(svn.bit_length() // 8 + 1, "big")))
        for i, svn in enumerate(components, start=1)
        if i != drop
    ]
    return member(
        ARC + b"\x02",
        tlv(
            0x30,
            b"".join(parts)
            + member(ARC + b"\x02\x11", pce)
            + member(ARC + b"\x02\x12", tlv(0x04, cpu))
            + extra,
        ),
    )


def extension(**parts):
    base = {
        "ppid": member(ARC + b"\x01", tlv(0x04, bytes(16))),
        "tcb": tcb(),
        "pceid": member(ARC + b"\x03", tlv(0x04, bytes(2))),
        "fmspc": member(ARC + b"\x04", tlv(0x04, bytes(6))),
        "type": member(ARC + b"\x05", tlv(0x0A, b"\x00")),
    }
    return tlv(0x30, b"".join({**base, **parts}.values()))


def flags(*values):
    return member(
        ARC + b"\x07",
        tlv(
            0x30,
            b"".join(member(ARC + bytes([7, i]), v) for i, v in enumerate(values, start=1)),
        ),
    )


INSTANCE = member(ARC + b"\x06", tlv(0x04, bytes(16)))
TRUE, FALSE = b"\x01\x01\xff", b"\x01\x01\x00"


def walked(data, kind=CaKind.PROCESSOR):
    leaf = load_certificate(replace(pki.BASE, pck=pki.PckSpec(raw=data)).leaf_der)
    return sgx_extension(leaf, kind)


def test_extension_of_a_processor_leaf_has_five_members():
    found = walked(extension())
    assert found.sgx_type == 0
    assert found.pce_svn == 13
    assert found.platform_instance_id is None
    assert found.dynamic_platform is None


def test_extension_of_a_platform_leaf_has_seven_members():
    found = walked(extension(six=INSTANCE, seven=flags(TRUE, FALSE, TRUE)), CaKind.PLATFORM)
    assert (found.dynamic_platform, found.cached_keys, found.smt) == (True, False, True)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (extension(), CaKind.PLATFORM),
        (extension(six=INSTANCE, seven=flags(TRUE, TRUE, TRUE)), CaKind.PROCESSOR),
        (extension(six=INSTANCE), CaKind.PLATFORM),
        (extension(six=INSTANCE, seven=flags(TRUE, TRUE)), CaKind.PLATFORM),
        (extension(six=INSTANCE, seven=flags(TRUE, TRUE, b"\x01\x01\x01")), CaKind.PLATFORM),
        (extension(six=INSTANCE, seven=flags(TRUE, TRUE, TRUE, TRUE)), CaKind.PLATFORM),
        (
            extension(
                six=member(ARC + b"\x06", tlv(0x04, bytes(15))), seven=flags(TRUE, TRUE, TRUE)
            ),
            CaKind.PLATFORM,
        ),
        (extension(again=member(ARC + b"\x01", tlv(0x04, bytes(16)))), CaKind.PROCESSOR),
        (extension(ppid=member(ARC + b"\x08", tlv(0x04, bytes(16)))), CaKind.PROCESSOR),
        (extension(ppid=member(ARC[:-1] + b"\x02\x01", tlv(0x04, bytes(16)))), CaKind.PROCESSOR),
        (extension(ppid=member(ARC, tlv(0x04, bytes(16)))), CaKind.PROCESSOR),
        (extension(ppid=member(ARC + b"\x81", tlv(0x04, bytes(16)))), CaKind.PROCESSOR),
        (extension(ppid=member(ARC + b"\x01", tlv(0x04, bytes(17)))), CaKind.PROCESSOR),
        (extension(ppid=member(ARC + b"\x01", tlv(0x03, bytes(16)))), CaKind.PROCESSOR),
        (extension(ppid=tlv(0x30, tlv(0x06, ARC + b"\x01"))), CaKind.PROCESSOR),
        (extension(ppid=tlv(0x30, tlv(0x05, b"") + tlv(0x04, bytes(16)))), CaKind.PROCESSOR),
        (extension(ppid=tlv(0x31, b"")), CaKind.PROCESSOR),
        (extension(type=member(ARC + b"\x05", tlv(0x0A, b"\x03"))), CaKind.PROCESSOR),
        (extension(type=member(ARC + b"\x05", tlv(0x0A, b"\x00\x00"))), CaKind.PROCESSOR),
        (extension(type=member(ARC + b"\x05", tlv(0x02, b"\x00"))), CaKind.PROCESSOR),
        (extension(tcb=tcb(components=(256,) + (0,) * 15)), CaKind.PROCESSOR),
        (extension(tcb=tcb(components=(1,) + (0,) * 15)), CaKind.PROCESSOR),
        (extension(tcb=tcb(drop=4)), CaKind.PROCESSOR),
        (extension(tcb=tcb(pce=b"\x02\x03\x01\x00\x00")), CaKind.PROCESSOR),
        (extension(tcb=tcb(pce=b"\x02\x01\xff")), CaKind.PROCESSOR),
        (extension(tcb=tcb(pce=b"\x02\x02\x00\x01")), CaKind.PROCESSOR),
        (extension(tcb=tcb(cpu=bytes(15))), CaKind.PROCESSOR),
        (extension(tcb=member(ARC + b"\x02", tlv(0x31, b""))), CaKind.PROCESSOR),
        (extension() + b"\x00", CaKind.PROCESSOR),
        (b"\x30\x80" + extension()[4:] + b"\x00\x00", CaKind.PROCESSOR),
        (b"", CaKind.PROCESSOR),
    ],
    ids=range(31),
)
def test_extension_of_another_shape_is_malformed(data, kind):
    with pytest.raises(FormatError) as caught:
        walked(data, kind)
    assert caught.value.reason is Reason.TDX_PCK_EXTENSION_MALFORMED


def test_leaf_without_the_extension_has_nothing_to_walk():
    with pytest.raises(FormatError) as caught:
        sgx_extension(load_certificate(pki.LEAF.der()), CaKind.PLATFORM)
    assert caught.value.reason is Reason.TDX_PCK_EXTENSION_MALFORMED


def test_pce_svn_of_two_bytes_loses_its_sign_byte():
    found = walked(extension(tcb=tcb(pce=b"\x02\x03\x00\xff\xff")))
    assert found.pce_svn == 0xFFFF


def test_pck_chain_of_more_certificates_than_anyone_looks_at_is_out_of_shape():
    long = pki.BASE.pck_chain + pki.pem(pki.BASE.anchor) * 8
    assert appraised(quote(cert_data=long)).codes == (Reason.TDX_PCK_CHAIN_SHAPE,)


def test_pck_chain_with_a_block_that_is_no_certificate_is_malformed():
    chain = pki.pem(b"\x30\x00", pki.PLATFORM_CA.der(), pki.BASE.anchor)
    assert appraised(quote(cert_data=chain)).codes == (Reason.TDX_PCK_CHAIN_MALFORMED,)


def test_pck_chain_of_one_certificate_is_out_of_shape():
    assert appraised(quote(cert_data=pki.pem(pki.BASE.leaf_der))).codes == (
        Reason.TDX_PCK_CHAIN_SHAPE,
    )


def test_quote_alone_with_nothing_recorded_says_every_gap():
    empty = replace(shot(pki.BASE), tcb_info=None, qe_identity=None, pck_crl=None, root_crl=None)
    found = appraised(empty)
    assert set(found.codes) == {Reason.TDX_COLLATERAL_MISSING}
    assert len(found.codes) == 4
    assert found.chain is not None
    assert found.tcb is None


def test_rejection_outranks_an_earlier_gap():
    spoilt = replace(quote(attestation_signer="somebody else"), root_crl=None)
    found = appraised(spoilt)
    assert found.code is Reason.TDX_QUOTE_SIGNATURE_INVALID
    assert found.codes[0] is Reason.TDX_COLLATERAL_MISSING
