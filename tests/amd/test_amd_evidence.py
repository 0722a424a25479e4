"""Genuine reports, certificates and lists reproduce their computed expectations, read in place."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fixtures.snp_case import RULES, anchor, bundle_of
from tests.amd.snp_judged import given, judge, noted
from verify.amd.certificates import parse_certificate, parse_crl, read_authority, read_leaf
from verify.amd.report import GUEST_FLAGS, PLATFORM_FLAGS, parse_report
from verify.amd.snp import product_from_cpuid
from verify.engine.outcome import Status
from verify.engine.reason import Reason

REPORTS = (
    "aws-milan-v3-vlek",
    "azure-genoa-v3-hcl",
    "genoa-model-a0-v5",
    "microsoft-genoa-v3",
    "microsoft-milan-v3",
    "microsoft-turin-v5",
)


def folder(evidence_root: Path, name: str) -> tuple[Path, dict]:
    path = evidence_root / "snp" / name
    expected = json.loads((path / "expected.json").read_text())
    for file, digest in expected["files"].items():
        assert sha256((path / file).read_bytes()).hexdigest() == digest
    return path, expected


def case_of(path: Path, expected: dict, *, leaf: str | None = None):
    read = {entry.name: entry.read_bytes() for entry in path.iterdir()}
    intermediate = "ask.der" if "ask.der" in read else "asvk.der"
    case = bundle_of(
        read["report.bin"],
        read[leaf or expected["certificates"]["leaf_file"]],
        (read[intermediate], read["ark.der"]),
        read.get("crl.der"),
    )
    return replace(
        case,
        as_of=datetime.fromisoformat(expected["as_of"]),
        anchors=(anchor(read["ark.der"]),),
    )


def zulu(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("name", REPORTS)
def test_snp_genuine_report_parses_to_its_fields(evidence_root, name):
    path, expected = folder(evidence_root, name)
    report = parse_report((path / "report.bin").read_bytes())
    product = product_from_cpuid(report)
    assert product is not None
    assert (product.value, report.version) == (expected["product"], expected["version"])
    cpuid = expected["cpuid"]
    assert report.cpuid is not None
    assert (report.cpuid.family, report.cpuid.model, report.cpuid.stepping) == (
        cpuid["family"],
        cpuid["model"],
        cpuid["stepping"],
    )
    assert (report.guest_svn, report.vmpl) == (expected["guest_svn"], expected["vmpl"])
    for member in (
        "chip_id",
        "measurement",
        "report_data",
        "host_data",
        "id_key_digest",
        "author_key_digest",
        "report_id",
        "report_id_ma",
        "family_id",
        "image_id",
    ):
        assert getattr(report, member).hex() == expected[member], member
    policy = expected["policy"]
    assert report.policy == int(policy["raw"], 16)
    assert report.abi == (policy["abi_major"], policy["abi_minor"])
    for flag, bit in GUEST_FLAGS.items():
        assert bool(report.policy >> bit & 1) is policy[flag], flag
    platform = expected["platform_info"]
    assert report.platform_info == int(platform["raw"], 16)
    for flag, bit in PLATFORM_FLAGS.items():
        assert bool(report.platform_info >> bit & 1) is platform[flag], flag
    assert bool(report.unassigned_platform_bits) is platform["unassigned_bits_set"]
    signer = expected["signer_info"]
    assert report.signing_key.value == signer["signing_key"]
    assert report.author_key_en is signer["author_key_en"]
    assert report.mask_chip_key is signer["mask_chip_key"]
    for which, tcb in expected["tcb"].items():
        found = getattr(report, f"{which}_tcb")
        assert found.raw.hex() == tcb.pop("raw")
        levels = found.read(product)
        assert dict(levels.levels) == tcb
        assert levels.unused_zero
    assert str(report.current_version) == expected["firmware"]["current"]
    assert str(report.committed_version) == expected["firmware"]["committed"]
    vector = expected["mitigation_vector"]
    if vector is None:
        assert report.mitigations is None
    else:
        assert report.mitigations is not None
        assert report.mitigations.current == vector["current"]
        assert report.mitigations.launch == vector["launch"]
    assert f"{report.r:096x}" == expected["signature"]["r"]
    assert f"{report.s:096x}" == expected["signature"]["s"]


@pytest.mark.parametrize("name", REPORTS)
def test_snp_genuine_leaf_reads_to_its_extensions(evidence_root, name):
    path, expected = folder(evidence_root, name)
    wanted = expected["certificates"]
    leaf = read_leaf(parse_certificate((path / wanted["leaf_file"]).read_bytes()))
    assert leaf.kind.value == wanted["leaf_kind"]
    assert leaf.certificate.serial == wanted["leaf_serial"] == 0
    assert zulu(leaf.certificate.not_before) == wanted["leaf_not_before"]
    assert zulu(leaf.certificate.not_after) == wanted["leaf_not_after"]
    assert leaf.certificate.spki_sha256.hex() == wanted["leaf_spki_sha256"]
    assert (leaf.product_name, leaf.struct_version) == (
        wanted["product_name"],
        wanted["struct_version"],
    )
    assert (None if leaf.hwid is None else leaf.hwid.hex()) == wanted["hwid"]
    assert leaf.csp_id == wanted["csp_id"]
    assert dict(leaf.levels.levels) == wanted["spl"]
    assert leaf.levels.unused_zero


@pytest.mark.parametrize("name", REPORTS)
def test_snp_genuine_evidence_gives_exactly_its_findings(evidence_root, name):
    path, expected = folder(evidence_root, name)
    outcomes = judge(case_of(path, expected))
    found = {str(reason) for reason in given(outcomes).values()}
    found.discard("snp.crl.missing")  # the set judges a list only where one was found
    assert found == set(expected["findings"])
    if expected["crl"] is None:
        assert outcomes["snp.certificates.revocation"].reason is Reason.SNP_CRL_MISSING


def test_snp_aws_vlek_shows_unauthenticated_chip_and_provisional_firmware(evidence_root):
    path, expected = folder(evidence_root, "aws-milan-v3-vlek")
    notes = noted(judge(case_of(path, expected)))
    assert notes == {
        Reason.SNP_REPORT_CHIP_ID_UNAUTHENTICATED,
        Reason.SNP_TCB_PROVISIONAL_FIRMWARE_PRESENT,
    }


def test_snp_aws_vlek_passes_where_its_vmpl_is_accepted(evidence_root):
    path, expected = folder(evidence_root, "aws-milan-v3-vlek")
    case = case_of(path, expected).ruled(accept_vmpl=(0, 1))
    assert set(given(judge(case)).values()) == {Reason.SNP_CRL_MISSING}


def test_snp_turin_unassigned_platform_bit_passes_and_is_shown(evidence_root):
    path, expected = folder(evidence_root, "microsoft-turin-v5")
    outcome = judge(case_of(path, expected))["snp.platform.policy"]
    assert outcome.status is Status.PASS
    assert [note.reason for note in outcome.notes] == [Reason.SNP_PLATFORM_UNASSIGNED_BIT_SET]
    assert outcome.notes[0].text.endswith("6")


@pytest.mark.parametrize(
    ("name", "second"),
    [
        ("microsoft-milan-v3", "vcek-other-issuance.der"),
        ("genoa-model-a0-v5", "vcek-other-issuance.der"),
    ],
)
def test_snp_second_issuance_of_one_key_signs_the_same_report(evidence_root, name, second):
    path, expected = folder(evidence_root, name)
    first = parse_certificate((path / "vcek.der").read_bytes())
    other = parse_certificate((path / second).read_bytes())
    assert first.sha256 != other.sha256
    assert first.spki == other.spki
    outcome = judge(case_of(path, expected, leaf=second))["snp.report.signature"]
    assert outcome.status is Status.PASS


def test_snp_genuine_anchors_have_the_digests_of_the_specification(evidence_root):
    path, expected = folder_without_files(evidence_root, "anchors")
    seen = set()
    for entry in expected["certificates"]:
        der = serialization_of((path / entry["file"]).read_bytes())
        certificate = parse_certificate(der)
        assert read_authority(certificate).may_issue
        assert certificate.common_name == entry["subject_cn"]
        assert certificate.role.value == entry["role"].upper()
        assert certificate.serial == int(entry["serial"], 16)
        assert zulu(certificate.not_before) == entry["not_before"]
        assert zulu(certificate.not_after) == entry["not_after"]
        assert certificate.sha256.hex() == entry["sha256_der"]
        assert certificate.spki_sha256.hex() == entry["sha256_spki"]
        seen.add(certificate.common_name)
    assert len(seen) == 9


def folder_without_files(evidence_root: Path, name: str) -> tuple[Path, dict]:
    path = evidence_root / "snp" / name
    return path, json.loads((path / "expected.json").read_text())


def serialization_of(pem: bytes) -> bytes:
    certificate = x509.load_pem_x509_certificate(pem)
    return certificate.public_bytes(serialization.Encoding.DER)


def test_snp_genuine_lists_parse_and_fail_against_the_other_root(evidence_root):
    path, expected = folder(evidence_root, "crls")
    for entry in expected["crls"]:
        found = parse_crl((path / entry["file"]).read_bytes())
        assert found.issuer_name == entry["issuer"]
        assert zulu(found.this_update) == entry["this_update"]
        assert zulu(found.next_update) == entry["next_update"]
        assert found.number == entry["crl_number"]
        assert [hex(serial) for serial in found.revoked] == [e["serial"] for e in entry["entries"]]


@pytest.mark.parametrize(
    ("name", "other", "reason"),
    [
        ("microsoft-genoa-v3", "milan-vcek.crl.der", Reason.SNP_CRL_ISSUER_MISMATCH),
        ("microsoft-milan-v3", "genoa-vcek.crl.der", Reason.SNP_CRL_ISSUER_MISMATCH),
    ],
)
def test_snp_genuine_list_of_another_product_is_refused(evidence_root, name, other, reason):
    path, expected = folder(evidence_root, name)
    body = (evidence_root / "snp" / "crls" / other).read_bytes()
    case = case_of(path, expected).with_body("crl-1", body)
    assert given(judge(case)) == {"snp.certificates.revocation": reason}


def test_snp_genuine_certificates_read_as_the_library_reads_them(evidence_root):
    """The own reader and the library agree on every certificate at hand, leaves included."""
    files = sorted((evidence_root / "snp").rglob("*.der"))
    compared = 0
    for file in files:
        data = file.read_bytes()
        if "crl" in file.name or file.parent.name.startswith("nitro"):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # serial 0 is what the own reader exists for
            theirs = x509.load_der_x509_certificate(data)
            serial = theirs.serial_number
        ours = parse_certificate(data)
        assert ours.serial == serial
        assert ours.tbs == theirs.tbs_certificate_bytes
        assert ours.signature == theirs.signature
        assert ours.issuer == theirs.issuer.public_bytes()
        assert ours.subject == theirs.subject.public_bytes()
        assert ours.not_before == theirs.not_valid_before_utc
        assert ours.not_after == theirs.not_valid_after_utc
        assert ours.spki == theirs.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        extensions = {entry.oid.dotted_string: entry for entry in theirs.extensions}
        assert len(ours.extensions) == len(extensions)
        compared += 1
    assert compared >= 20


def test_snp_flipped_bit_of_a_genuine_report_is_never_a_pass(evidence_root):
    """Every byte, one bit each (which one varies by offset): the unsigned 368 are included."""
    path, expected = folder(evidence_root, "microsoft-milan-v3")
    case = case_of(path, expected)
    body = (path / "report.bin").read_bytes()
    assert given(judge(case)) == {}
    for offset in range(len(body)):
        flipped = bytearray(body)
        flipped[offset] ^= 1 << offset % 8
        found = given(judge(case.with_body("report-1", bytes(flipped))))
        assert found, offset


def test_snp_strict_rules_are_those_of_the_expectations():
    assert RULES.accept_vmpl == (0,)
    assert not RULES.allow_debug
    assert not RULES.allow_migration
