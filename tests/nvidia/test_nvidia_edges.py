"""The corners of the NVIDIA readers: each line of a rule met by its own simulated input."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from fixtures import nvidia_nras as nras_sim
from fixtures import nvidia_pki as pki
from fixtures import nvidia_revocation as revocation_sim
from fixtures import nvidia_rim as rim_sim
from fixtures import nvidia_spdm as sim
from verify.crypto.x509 import load_certificate
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import replace as replace_value
from verify.nvidia import certificates, devices, nras, payload, revocation, rim, spdm, xmldsig

R: Final = Reason
GPU: Final = sim.Device(label="edge gpu")
CHAIN: Final = GPU.chain()


def reason_of(parse: Callable[[], object]) -> Reason | None:
    with pytest.raises(FormatError) as caught:
        parse()
    return caught.value.reason


def what_of(parse: Callable[[], object]) -> str:
    with pytest.raises(FormatError) as caught:
        parse()
    return caught.value.what


def refused_by(judge: Callable[[], object]) -> Reason:
    with pytest.raises(Refused) as caught:
        judge()
    return caught.value.reason


# --- reports -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (3, b"\0"),
        (3, b"570"),
        (3, b"\x07\0"),
        (3, b"570\xff\0"),
        (6, bytes(7)),
        (6, b"96.10.73.00.0g"),
        (11, b""),
        (11, bytes(2)),
        (21, bytes(2)),
        (20, bytes(47)),
        (22, b""),
        (22, bytes(9)),
        (26, bytes(127)),
        (34, b""),
        (36, bytes(9)),
    ],
)
def test_opaque_value_of_another_form_is_refused(kind: int, value: bytes) -> None:
    data = sim.report(sim.Device(label=GPU.label, opaque={kind: value}))
    assert reason_of(lambda: spdm.parse_report(data)) is R.GPU_REPORT_OPAQUE_INVALID


def test_opaque_data_of_the_announced_layout_is_refused_by_name() -> None:
    data = sim.report(GPU, opaque=b"NVDAOD\0\0\x02\0\0\0")
    assert "NVDAOD" in what_of(lambda: spdm.parse_report(data))


def test_report_without_fields_gives_none() -> None:
    report = spdm.parse_report(sim.report(GPU, opaque=b""))
    assert report.opaque == ()
    assert (report.driver, report.vbios, report.fwid) == (None, None, None)
    assert (report.switch_pdis, report.own_pdi, report.gpu_pdis) == (None, None, None)
    assert report.text(spdm.OpaqueType.PROJECT) is None
    assert report.mode is spdm.GpuMode.UNKNOWN
    assert not report.nvdec0_disabled


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({36: b"\x01\x00"}, spdm.GpuMode.MPT),
        ({36: b"\x09"}, spdm.GpuMode.UNKNOWN),
        ({36: None, 21: b"\xaa"}, spdm.GpuMode.PPCIE),
        ({36: None, 21: b"\x55"}, spdm.GpuMode.UNKNOWN),
    ],
)
def test_mode_follows_the_feature_flag_then_the_status(
    changes: Mapping[int, bytes | None], mode: spdm.GpuMode
) -> None:
    report = spdm.parse_report(sim.report(sim.Device(label=GPU.label, opaque=changes)))
    assert report.mode is mode


def test_text_field_that_is_not_printable_gives_none() -> None:
    device = sim.Device(label=GPU.label, opaque={17: b"\x01\x02", 18: b"\0"})
    report = spdm.parse_report(sim.report(device))
    assert report.text(spdm.OpaqueType.PROJECT) is None
    assert report.text(spdm.OpaqueType.PROJECT_SKU) is None
    family = certificates.family_of(certificates.parse_chain(GPU.chain_pem()))
    assert rim.wanted_ids(report, family)[rim.RimKind.VBIOS] is None


def test_ids_of_a_report_without_versions_are_none() -> None:
    report = spdm.parse_report(sim.report(GPU, opaque=b""))
    family = certificates.family_of(certificates.parse_chain(GPU.chain_pem()))
    assert set(rim.wanted_ids(report, family).values()) == {None}
    switch = sim.Device(label="edge switch", family=pki.LS10, vbios=sim.SWITCH_BIOS)
    of_switch = certificates.family_of(certificates.parse_chain(switch.chain_pem()))
    assert set(rim.wanted_ids(report, of_switch).values()) == {None}


def test_ids_of_blackwell_follow_the_chip_info_where_there_is_one() -> None:
    device = sim.Device(label="edge b", family=pki.GB100, opaque={35: b"GB102X\0"})
    report = spdm.parse_report(sim.report(device))
    family = certificates.family_of(certificates.parse_chain(device.chain_pem()))
    ids = rim.wanted_ids(report, family)
    assert ids[rim.RimKind.DRIVER] == f"NV_GPU_CC_DRIVER_GB102X_{sim.DRIVER}"
    plain = spdm.parse_report(sim.report(sim.Device(label="edge b", family=pki.GB100)))
    assert rim.product_of(plain, family) == "GB100"


def test_switch_that_states_two_identities_is_refused() -> None:
    switch = sim.Device(
        label="edge switch", family=pki.LS10, vbios=sim.SWITCH_BIOS, opaque={22: bytes(16)}
    )
    chain = certificates.parse_chain(switch.chain_pem())
    device = devices.Device(
        label="s",
        report=spdm.parse_report(sim.report(switch)),
        chain=chain,
        family=certificates.family_of(chain),
    )
    assert refused_by(lambda: devices.judge_opaque(device)) is R.GPU_REPORT_OPAQUE_INVALID


def test_node_whose_gpus_do_not_say_what_is_linked_is_a_gap() -> None:
    gpus, switches = sim.node(2, 1, name="edge")
    silent = [pki.replace(gpu, switches=None) for gpu in gpus]
    found = []
    for device in (*silent, *switches):
        chain = certificates.parse_chain(device.chain_pem())
        found.append(
            devices.Device(
                label=device.label,
                report=spdm.parse_report(sim.report(device)),
                chain=chain,
                family=certificates.family_of(chain),
            )
        )
    assert [refused.reason for _, refused in devices.topology_refusals(found)] == [
        R.GPU_TOPOLOGY_NOT_REPORTED
    ]
    unlinked = [pki.replace(gpu, switches=()) for gpu in gpus]
    alone = [
        devices.Device(
            label=device.label,
            report=spdm.parse_report(sim.report(device)),
            chain=certificates.parse_chain(device.chain_pem()),
            family=found[0].family,
        )
        for device in unlinked
    ]
    assert devices.topology_refusals(alone) == ()


# --- chains --------------------------------------------------------------------------------------


def test_chain_with_white_space_and_zero_bytes_around_is_read() -> None:
    text = GPU.chain_pem()
    known = certificates.parse_chain(text)
    for tail in (b"\n\n", b"\n\0\0\0\0\0", b" \t\r\n\v\f"):
        found = certificates.parse_chain(text.rstrip(b"\n") + tail)
        assert [one.der for one in found.certificates] == [one.der for one in known.certificates]
    crlf = text.replace(b"\n", b"\r\n")
    assert certificates.parse_chain(crlf).leaf.der == known.leaf.der


def test_chain_with_zero_bytes_inside_a_block_is_refused() -> None:
    text = GPU.chain_pem().replace(b"MII", b"MI\0I", 1)
    assert reason_of(lambda: certificates.parse_chain(text)) is R.GPU_CHAIN_MALFORMED


def test_chain_of_too_large_or_zero_numbered_certificates_is_refused() -> None:
    large = pki.faulty(CHAIN, 0, extensions=(("1.3.6.1.4.1.99999.2", False, bytes(9000)),))
    assert reason_of(lambda: certificates.parse_chain(pki.pem(large))) is R.GPU_CHAIN_MALFORMED
    leaf = pki.der(CHAIN[0])
    serial = b"\x02\x14" + CHAIN[0].serial.to_bytes(20, "big")
    zero = leaf.replace(serial, b"\x02\x01\x00".ljust(3), 1)
    zero = _shortened(zero, len(serial) - 3)
    text = (
        b"-----BEGIN CERTIFICATE-----\n"
        + base64.encodebytes(zero)
        + b"-----END CERTIFICATE-----\n"
        + pki.pem(CHAIN[1:])
    )
    assert what_of(lambda: certificates.parse_chain(text)) == "position 0: serial number 0"


def _shortened(der: bytes, by: int) -> bytes:
    """Lower the two outer lengths of a certificate from which bytes were taken."""
    assert der[1] == der[5] == 0x82
    outer = int.from_bytes(der[2:4], "big") - by
    inner = int.from_bytes(der[6:8], "big") - by
    return der[:2] + outer.to_bytes(2, "big") + der[4:6] + inner.to_bytes(2, "big") + der[8:]


def test_certificate_of_version_1_has_no_role() -> None:
    certificate = load_certificate(pki.der(CHAIN[2]))
    old = replace_value(certificate, version=1)
    assert certificates.role_fault(old, signs_certificates=True, below=1) == "not version 3"


def test_pdi_is_read_from_a_serial_number_of_the_right_shape_alone() -> None:
    odd = pki.faulty(CHAIN, 1, serial=0x42 << 64)
    assert certificates.parse_chain(pki.pem(odd)).pdi is None
    assert certificates.parse_chain(GPU.chain_pem()).pdi == pki.pdi(GPU.label).hex().upper()


def test_key_of_a_leaf_is_shown_as_pem() -> None:
    pem = certificates.public_key_pem(certificates.parse_chain(GPU.chain_pem()))
    assert pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    body = "".join(pem.split("\n")[1:-2])
    assert base64.b64decode(body) == pki.spki(f"leaf {GPU.label}")
    rsa_leaf = pki.faulty(CHAIN, 0, key="rsa")
    assert certificates.public_key_pem(certificates.parse_chain(pki.pem(rsa_leaf))) == ""


ENTRY: Final = pki.tlv(0x30, pki.oid(pki.SHA384_OID), pki.tlv(0x04, bytes(48)))


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (certificates.parse_fwid, pki.tlv(0x30, pki.integer(2), pki.spki("x"), ENTRY)),
        (certificates.parse_fwid, pki.tlv(0x30, pki.integer(1), pki.integer(1), ENTRY)),
        (
            certificates.parse_fwid,
            pki.tlv(
                0x30,
                pki.integer(1),
                pki.spki("x"),
                pki.tlv(0x30, pki.oid("2.16.840.1.101.3.4.2.1"), pki.tlv(0x04, bytes(48))),
            ),
        ),
        (
            certificates.parse_fwid,
            pki.tlv(
                0x30,
                pki.integer(1),
                pki.spki("x"),
                pki.tlv(0x30, pki.oid(pki.SHA384_OID), pki.tlv(0x04, bytes(47))),
            ),
        ),
        (certificates.parse_tcb_info, pki.tlv(0x30, pki.tlv(0x80, b"a"), pki.tlv(0x80, b"a"))),
        (certificates.parse_tcb_info, pki.tlv(0x30, pki.integer(1))),
        (certificates.parse_tcb_info, pki.tlv(0x30, pki.tlv(0xA6))),
        (certificates.parse_tcb_info, pki.tlv(0x30, pki.tlv(0x80, b"a"))),
    ],
)
def test_firmware_id_of_another_form_is_refused(
    parse: Callable[[bytes], object], value: bytes
) -> None:
    with pytest.raises(FormatError):
        parse(value)


def test_leaf_with_both_forms_of_firmware_id_is_refused() -> None:
    older = pki.fwid_extension(pki.fwid(), pki.spki(CHAIN[1].key))
    newer = pki.tcb_info_extension(pki.fwid())
    both = pki.faulty(
        CHAIN,
        0,
        extensions=(
            (certificates.OID_FWID, False, older),
            (certificates.OID_TCB_INFO, False, newer),
        ),
    )
    chain = certificates.parse_chain(pki.pem(both))
    report = spdm.parse_report(sim.report(GPU))
    assert (
        refused_by(lambda: certificates.judge_fwid(report, chain))
        is R.GPU_FWID_MISSING_IN_CERTIFICATE
    )


def test_caches_change_no_answer() -> None:
    text = GPU.chain_pem()
    first = certificates.parse_chain(text)
    certificates.forget()
    again = certificates.parse_chain(text)
    assert again is not first
    assert [one.der for one in again.certificates] == [one.der for one in first.certificates]
    data = rim_sim.document(rim_sim.driver_manifest())
    manifest = rim.parse_rim(data)
    rim.forget()
    assert rim.parse_rim(data).manifest == manifest.manifest
    nras.forget()


# --- signed documents and manifests --------------------------------------------------------------


def driver(**knobs: Any) -> bytes:
    return rim_sim.document(rim_sim.driver_manifest(), **knobs)


def body(old: str, new: str) -> bytes:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return rim_sim.document(pki.replace(rim_sim.driver_manifest(), body_edit=edit))


def signature(old: str, new: str) -> bytes:
    return driver(signature_edit=lambda text: text.replace(old, new, 1))


PROFILE: Final = R.GPU_RIM_DSIG_PROFILE_INVALID


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<ds:SignedInfo>", "<ds:SignedInfo>x"),
        ("<ds:SignedInfo>", '<ds:SignedInfo Id="a">'),
        ("></ds:CanonicalizationMethod>", ">x</ds:CanonicalizationMethod>"),
        ("></ds:CanonicalizationMethod>", "><ds:X></ds:X></ds:CanonicalizationMethod>"),
        ("<ds:DigestValue>", '<ds:DigestValue Id="a">'),
        ("<ds:DigestValue>", "<ds:DigestValue>QQ=="),
        ("<ds:SignatureValue>", "<ds:SignatureValue>A*"),
        ("</ds:SignatureValue>", "QUFB</ds:SignatureValue>"),
        ("<ds:X509Certificate>", "<ds:X509SubjectName></ds:X509SubjectName><ds:X509Certificate>"),
        ("<ds:Transforms>", "<ds:Transforms><ds:Transform></ds:Transform>"),
        ("<ds:KeyInfo>", '<ds:KeyInfo xmlns:q="x"><q:a></q:a>'),
    ],
)
def test_signature_of_another_form_is_refused(old: str, new: str) -> None:
    data = signature(old, new)
    assert reason_of(lambda: xmldsig.parse_signed_document(data)) is PROFILE


def test_signature_without_certificate_is_refused() -> None:
    data = driver(
        signature_edit=lambda text: (
            text[: text.index("<ds:X509Certificate>")]
            + "</ds:X509Data></ds:KeyInfo></ds:Signature>"
        )
    )
    assert reason_of(lambda: xmldsig.parse_signed_document(data)) is PROFILE


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (' corpus="', ' :a="" corpus="'),
        (' corpus="', ' xmlns:xml="x" corpus="'),
        (' corpus="', ' xmlns:q="" corpus="'),
        (
            ' corpus="',
            ' ns2:x="1" q:x="2" xmlns:q="http://www.w3.org/2001/04/xmlenc#sha384" corpus="',
        ),
        ("<ns0:Entity", "<a:b:c></a:b:c><ns0:Entity"),
    ],
)
def test_document_with_another_use_of_names_is_refused(old: str, new: str) -> None:
    data = driver(text_edit=lambda text: text.replace(old, new, 1))
    assert reason_of(lambda: xmldsig.parse_signed_document(data)) is R.GPU_RIM_MALFORMED


def test_document_with_an_utf8_declaration_and_escapes_keeps_its_canonical_form() -> None:
    plain = xmldsig.parse_signed_document(driver())
    declared = driver(text_edit=lambda text: '<?xml version="1.0" encoding="utf-8"?>\n' + text)
    bare = driver(text_edit=lambda text: '<?xml version="1.0"?>\n' + text)
    for data in (declared, bare):
        assert xmldsig.parse_signed_document(data).body == plain.body
    odd = body('patch="false"', 'patch="&lt;&amp;&quot;&#x9;&#xA;&#xD;>\u00e9"')
    text = xmldsig.parse_signed_document(odd).body.decode()
    assert 'patch="&lt;&amp;&quot;&#x9;&#xA;&#xD;>\u00e9"' in text
    inner = body("</ns0:Payload>\n", "</ns0:Payload>&lt;&amp;&gt;&#xD;\n")
    assert b"&lt;&amp;&gt;&#xD;\n</SoftwareIdentity>" in xmldsig.parse_signed_document(inner).body
    xmldsig.judge_digest(xmldsig.parse_signed_document(inner))


def test_default_namespace_may_be_withdrawn() -> None:
    data = body("    <ns0:Payload", '    <a xmlns=""></a><ns0:Payload')
    document = xmldsig.parse_signed_document(data)
    xmldsig.judge_digest(document)
    assert rim.parse_manifest(document.body).product == "GH100"


def resources(*entries: rim_sim.Entry) -> bytes:
    return rim_sim.document(rim_sim.Manifest(entries=entries))


def entry(index: int, values: int = 1, **knobs: Any) -> rim_sim.Entry:
    return rim_sim.Entry(index=str(index), active="True", values=("00" * 48,) * values, **knobs)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (resources(*(entry(index) for index in range(256))), None),
        (resources(entry(0, 64)), None),
        (resources(entry(0, 65)), R.GPU_INPUT_TOO_LARGE),
        (resources(entry(256)), R.GPU_RIM_SCHEMA_INVALID),
        (resources(entry(0, 2, alternatives="1")), R.GPU_RIM_SCHEMA_INVALID),
        (resources(entry(0, 0)), R.GPU_RIM_SCHEMA_INVALID),
        (resources(entry(0, alternatives="01")), R.GPU_RIM_SCHEMA_INVALID),
        (resources(entry(0, kind="Other")), R.GPU_RIM_SCHEMA_INVALID),
        (body('ns2:Hash0="', 'ns2:Hash0=" '), R.GPU_RIM_SCHEMA_INVALID),
        (body('ns2:Hash0="0', 'ns2:Hash0="g'), R.GPU_RIM_SCHEMA_INVALID),
        (body(' type="Measurement"', ' other="x" type="Measurement"'), None),
        (body(' name="Measurement_0"', ""), None),
        (body(' ns2:Hash0="', ' ns2:Hash7="'), R.GPU_RIM_SCHEMA_INVALID),
        (body("<ns0:Meta ", "<ns0:Other "), R.GPU_RIM_MALFORMED),
        (body("    <ns0:Meta ", "    <ns0:Meta></ns0:Meta><ns0:Meta "), R.GPU_RIM_SCHEMA_INVALID),
        (body("    <ns0:Payload", '    <q:Meta xmlns:q="x"></q:Meta><ns0:Payload'), None),
    ],
)
def test_manifest_of_the_form_is_read_and_of_another_refused(
    data: bytes, reason: Reason | None
) -> None:
    if reason is None:
        rim.parse_rim(data)
    else:
        assert reason_of(lambda: rim.parse_rim(data)) is reason


def test_manifest_without_meta_or_payload_is_refused() -> None:
    root = f'<SoftwareIdentity xmlns="{rim_sim.SWID}" name="a"></SoftwareIdentity>'
    assert reason_of(lambda: rim.parse_manifest(root.encode("ascii"))) is R.GPU_RIM_SCHEMA_INVALID


def test_manifest_with_257_resources_is_too_large() -> None:
    reader = rim._ManifestReader()
    reader._resources = dict.fromkeys(range(256))  # type: ignore[arg-type]
    assert reason_of(lambda: reader._resource({})) is R.GPU_INPUT_TOO_LARGE


def test_manifest_answer_of_more_than_a_mebibyte_is_too_large() -> None:
    assert reason_of(lambda: rim.parse_rim(b" " * (1 << 20) + b"{")) is R.GPU_INPUT_TOO_LARGE


def test_manifest_signer_that_cannot_be_read_is_refused_without_a_crash() -> None:
    broken = base64.b64encode(b"not a certificate").decode("ascii")

    def edit(text: str) -> str:
        head, found, rest = text.partition("<ds:X509Certificate>")
        return head + found + broken + rest[rest.index("</ds:X509Certificate>") :]

    found = rim.parse_rim(driver(signature_edit=edit))
    assert found.certificates[0] is None
    assert found.signer_serial == ""
    roots = {load_certificate(pki.der(pki.rim_root())).sha256}
    codes = [refused.reason for refused in rim.authenticity_refusals(found, roots, pki.AS_OF)]
    assert codes == [R.GPU_RIM_SIGNATURE_INVALID, R.GPU_RIM_CHAIN_INVALID]
    large = base64.b64encode(bytes(9000)).decode("ascii")
    broken = large
    assert rim.parse_rim(driver(signature_edit=edit)).certificates[0] is None


def test_manifest_chain_whose_links_do_not_hold_is_refused() -> None:
    chain = pki.faulty(pki.rim_chain(), 1, signer="somebody else")
    found = rim.parse_rim(driver(chain=chain))
    assert refused_by(lambda: rim.judge_chain(found)) is R.GPU_RIM_CHAIN_INVALID


# --- revocation ----------------------------------------------------------------------------------

CHILD: Final = load_certificate(pki.der(CHAIN[1]))
ISSUER: Final = load_certificate(pki.der(CHAIN[2]))


def test_response_with_an_unreadable_or_other_delegate_is_refused() -> None:
    other = revocation_sim.responder(CHAIN[2], label="another responder")
    data = revocation_sim.response(CHAIN[1], CHAIN[2], delegate=revocation_sim.responder(CHAIN[2]))
    response = revocation.parse_ocsp_response(data)
    for certificate in (b"nothing", pki.der(pki.replace(other, subject=pki.named("Other")))):
        changed = replace_value(response, certificates=(certificate,))
        assert (
            refused_by(lambda: revocation.responder_of(changed, ISSUER, pki.AS_OF))  # noqa: B023
            is R.GPU_OCSP_RESPONDER_UNTRUSTED
        )


def test_response_signed_with_rsa_is_verified_and_with_sha1_is_not() -> None:
    response = revocation.parse_ocsp_response(revocation_sim.response(CHAIN[1], CHAIN[2]))
    signer = load_certificate(pki.der(pki.nras_intermediate()))
    made = pki.nras_intermediate_key().sign(response.signed, padding.PKCS1v15(), hashes.SHA256())
    rsa_signed = replace_value(response, signature=made, hash_algorithm=hashes.SHA256())
    revocation.judge_signature(rsa_signed, signer)
    for changes in (
        {"signature": b""},
        {"hash_algorithm": hashes.SHA1()},  # noqa: S303  (what must be refused)
        {"hash_algorithm": None},
    ):
        weak = replace_value(rsa_signed, **changes)
        assert (
            refused_by(lambda: revocation.judge_signature(weak, signer))  # noqa: B023
            is R.GPU_OCSP_SIGNATURE_INVALID
        )


def test_response_of_a_key_of_another_kind_is_refused() -> None:
    response = revocation.parse_ocsp_response(revocation_sim.response(CHAIN[1], CHAIN[2]))
    signed = (
        x509.CertificateBuilder()
        .subject_name(pki.certificate(CHAIN[2]).subject)
        .issuer_name(pki.certificate(CHAIN[2]).subject)
        .public_key(Ed25519PrivateKey.from_private_bytes(pki.seed("edge")).public_key())
        .serial_number(1)
        .not_valid_before(pki.DEVICE_START)
        .not_valid_after(pki.FOREVER)
        .sign(pki.key(CHAIN[2].key), hashes.SHA384(), ecdsa_deterministic=True)
    )
    signer = load_certificate(signed.public_bytes(Encoding.DER))
    judge = partial(revocation.judge_signature, response, signer)
    assert refused_by(judge) is R.GPU_OCSP_SIGNATURE_INVALID


def test_crl_of_more_than_eight_mebibytes_is_too_large() -> None:
    assert reason_of(lambda: revocation.parse_crl(bytes((8 << 20) + 1))) is R.GPU_INPUT_TOO_LARGE


def test_response_may_carry_other_extensions() -> None:
    child, issuer = pki.certificate(CHAIN[1]), pki.certificate(CHAIN[2])
    asked = ocsp.OCSPRequestBuilder().add_certificate(child, issuer, hashes.SHA384())
    other = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.3"), b"\x05\x00")
    request = revocation.parse_ocsp_request(
        asked.add_extension(other, critical=False).build().public_bytes(Encoding.DER)
    )
    assert request.nonce is None
    found = revocation.ocsp_refusals(
        revocation.parse_ocsp_response(revocation_sim.response(CHAIN[1], CHAIN[2])),
        request,
        CHILD,
        ISSUER,
        pki.AS_OF + timedelta(hours=23),
    )
    assert found == ()


# --- the service and containers ------------------------------------------------------------------


def test_answer_larger_than_is_read_is_too_large() -> None:
    assert reason_of(lambda: nras.parse_answer(bytes((1 << 20) + 1))) is R.GPU_INPUT_TOO_LARGE
    assert reason_of(lambda: nras.parse_key_set(bytes((1 << 20) + 1))) is R.GPU_INPUT_TOO_LARGE
    many = json.dumps({"keys": [{"kid": "a"}] * 257}).encode("ascii")
    assert reason_of(lambda: nras.parse_key_set(many)) is R.GPU_INPUT_TOO_LARGE
    crowd = nras_sim.body("a.b.c", {f"GPU-{index}": "a" for index in range(129)})
    assert reason_of(lambda: nras.parse_answer(crowd)) is R.GPU_INPUT_TOO_LARGE
    other = json.dumps([["CWT", "a.b.c"], {"GPU-0": "a"}]).encode("ascii")
    assert reason_of(lambda: nras.parse_answer(other)) is R.NRAS_ANSWER_MALFORMED
    assert reason_of(lambda: payload.parse_payload(bytes((8 << 20) + 1))) is R.GPU_INPUT_TOO_LARGE
    long = json.dumps([{"evidence": "A" * 30_000, "certificate": ""}]).encode("ascii")
    assert reason_of(lambda: payload.parse_payload(long)) is R.GPU_INPUT_TOO_LARGE


@pytest.mark.parametrize("inner", [b"{", b"[]", b'{"alg": 1, "alg": 2}', b"\xff"])
def test_token_whose_parts_are_no_object_is_refused(inner: bytes) -> None:
    part = base64.urlsafe_b64encode(inner).rstrip(b"=").decode("ascii")
    good = nras_sim.token({})
    for text in (f"{part}.AA.AA", f"{good.partition('.')[0]}.{part}.AA"):
        assert reason_of(lambda: nras.parse_token(text)) is R.NRAS_JWT_MALFORMED  # noqa: B023


def test_key_entry_of_another_form_is_refused() -> None:
    def of(**changes: object) -> Reason:
        data = nras_sim.jwks(nras_sim.jwk(changes=changes))
        key = nras.parse_key_set(data).keys[0]
        return refused_by(lambda: nras.resolve(key))

    assert of(x="AAAA") is R.NRAS_KEY_JWK_MISMATCH
    assert of(x=7) is R.NRAS_KEY_JWK_MISMATCH
    assert of(x5c=["A" * 20_000, "AAAA"]) is R.NRAS_KEY_CHAIN_INVALID
    assert of(x5c=["AAAA", "AAAA"]) is R.NRAS_KEY_CHAIN_INVALID
    assert of(kty="RSA") is R.NRAS_KEY_JWK_MISMATCH


def test_key_certificate_signed_by_another_rsa_key_is_refused() -> None:
    leaf = pki.nras_leaf(nras_sim.KID)
    der = bytearray(pki.der(leaf))
    der[-1] ^= 1
    entry_ = nras_sim.jwk()
    chain = entry_["x5c"]
    assert isinstance(chain, list)
    changed = {**entry_, "x5c": [base64.b64encode(bytes(der)).decode("ascii"), chain[1]]}
    key = nras.resolve(nras.parse_key_set(nras_sim.jwks(changed)).keys[0])
    assert refused_by(lambda: nras.judge_key_chain(key)) is R.NRAS_KEY_CHAIN_INVALID
    issuer = pki.replace(pki.nras_intermediate(), key="an EC key")
    other = nras_sim.jwks(nras_sim.jwk(intermediate=issuer))
    key = nras.resolve(nras.parse_key_set(other).keys[0])
    assert refused_by(lambda: nras.judge_key_chain(key)) is R.NRAS_KEY_CHAIN_INVALID


def test_request_without_such_a_device_is_refused() -> None:
    request = payload.parse_payload(nras_sim.request([(b"a", b"b")]))
    for asked in (None, request):
        judge = partial(nras.judge_request, asked, 1, b"a", b"b")
        assert refused_by(judge) is R.NRAS_BIND_REQUEST_MISMATCH
    nras.judge_request(request, 0, b"a", b"b")
