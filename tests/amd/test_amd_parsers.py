"""Hostile bytes: every parser of the AMD room gives a value or a FormatError, nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import amd_pki
from fixtures.amd_pki import OID, integer, tlv
from verify.amd import snp
from verify.amd.certificates import (
    CERTIFICATE_LIMIT,
    CRL_LIMIT,
    PEM_LIMIT,
    TABLE_ENTRIES,
    TABLE_LIMIT,
    authority_key,
    dotted,
    parse_certificate,
    parse_crl,
    parse_table,
    pem_pair,
    read_authority,
    read_leaf,
)
from verify.amd.report import Cpuid, Product, TcbVersion, faults, parse_report, product_of
from verify.crypto import ecdsa
from verify.crypto.ecdsa import Signed
from verify.crypto.pss import signed_pss_sha384
from verify.engine.errors import FormatError

QUIET = settings(max_examples=150, deadline=None)


def leaf_der(**changes: object) -> bytes:
    return replace(amd_pki.leaf("Genoa"), **changes).der()


def read_whole(data: bytes) -> None:
    certificate = parse_certificate(data)
    if certificate.common_name.startswith("SEV-V"):
        read_leaf(certificate)
    else:
        read_authority(certificate)


PARSERS = {
    "report": (parse_report, amd_pki.report("Genoa").body()),
    "leaf": (read_whole, amd_pki.leaf("Turin").der()),
    "intermediate": (read_whole, amd_pki.intermediate("Milan").der()),
    "crl": (parse_crl, amd_pki.crl("Genoa", revoked=(5, 6)).der()),
    "pem": (
        pem_pair,
        amd_pki.pem_pair(amd_pki.intermediate("Genoa").der(), amd_pki.root("Genoa").der()),
    ),
    "table": (parse_table, amd_pki.certificate_table([(b"\x01" * 16, b"abc")])),
}


def offset_of(parse, data: bytes) -> int:
    """Return where parsing failed, 0 where it did not; let anything but a FormatError through."""
    try:
        parse(data)
    except FormatError as error:
        return error.offset
    return 0


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(data=st.binary(max_size=300))
@QUIET
def test_amd_parser_any_bytes_give_a_value_or_a_format_error(name, data):
    parse, _ = PARSERS[name]
    assert 0 <= offset_of(parse, data) <= len(data)


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(data=st.data())
@QUIET
def test_amd_parser_changed_bytes_give_a_value_or_a_format_error(name, data):
    parse, good = PARSERS[name]
    body = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    changed = bytes(body[:cut] if data.draw(st.booleans()) else body)
    assert 0 <= offset_of(parse, changed) <= len(good)


@given(body=st.binary(min_size=1184, max_size=1184), version=st.sampled_from([2, 3, 4, 5]))
@QUIET
def test_amd_report_parses_exactly_where_it_has_no_fault(body, version):
    body = version.to_bytes(4, "little") + body[4:]
    found = faults(body)
    if found:
        with pytest.raises(FormatError) as error:
            parse_report(body)
        assert error.value.reason is found[0].reason
    else:
        parse_report(body)


@pytest.mark.parametrize(
    ("family", "model", "product"),
    [
        (0x19, 0x00, Product.MILAN),
        (0x19, 0x0F, Product.MILAN),
        (0x19, 0x10, Product.GENOA),
        (0x19, 0x1F, Product.GENOA),
        (0x19, 0x20, None),
        (0x19, 0x9F, None),
        (0x19, 0xA0, Product.GENOA),
        (0x19, 0xAF, Product.GENOA),
        (0x19, 0xB0, None),
        (0x1A, 0x00, Product.TURIN),
        (0x1A, 0x11, Product.TURIN),
        (0x1A, 0x12, None),
        (0x18, 0x01, None),
        (0x1B, 0x01, None),
    ],
)
def test_amd_cpuid_names_the_product_of_the_table_or_none(family, model, product):
    assert product_of(Cpuid(family=family, model=model, stepping=0)) is product


def test_amd_tcb_bytes_read_by_product_and_compare_by_component():
    turin = TcbVersion(raw=bytes.fromhex("0101010400000051"))
    levels = turin.read(Product.TURIN)
    assert dict(levels.levels) == {
        "fmc": 1,
        "bootloader": 1,
        "tee": 1,
        "snp": 4,
        "microcode": 81,
    }
    assert levels.unused_zero
    assert str(levels) == "fmc 1 bootloader 1 tee 1 snp 4 microcode 81"
    assert not turin.read(Product.MILAN).unused_zero
    low = TcbVersion(raw=bytes.fromhex("0200000000000054")).read(Product.GENOA)
    other = TcbVersion(raw=bytes.fromhex("0300000000000053")).read(Product.GENOA)
    assert low.above(other) == ("microcode",)
    assert other.above(low) == ("bootloader",)


# -- certificates -------------------------------------------------------------------------------


def good_tbs_parts() -> amd_pki.CertificateSpec:
    return amd_pki.leaf("Genoa")


@pytest.mark.parametrize(
    "data",
    [
        b"\x30" * (CERTIFICATE_LIMIT + 1),
        tlv(0x31, b""),
        tlv(0x30, tlv(0x30), tlv(0x30)),
        tlv(0x30, tlv(0x30), tlv(0x30), tlv(0x03, b"\x00")),
        leaf_der(extensions=()) + b"\x00",
        leaf_der(serial=-1),
        leaf_der(serial=1 << 168),
    ],
)
def test_amd_certificate_of_another_shape_is_malformed(data):
    with pytest.raises(FormatError) as error:
        parse_certificate(data)
    assert error.value.reason is None


def swapped(old: bytes, new: bytes, spec: amd_pki.CertificateSpec | None = None) -> bytes:
    """Return the leaf with the last such element exchanged (names: the subject's), unsigned."""
    data = (spec or amd_pki.leaf("Genoa")).der()
    assert len(old) == len(new)
    assert data.count(old) >= 1
    at = data.rindex(old)
    return data[:at] + new + data[at + len(old) :]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a003020102", "a003020101"),  # version 2
        ("82020100", "82020101"),  # a signature with an unused bit
        ("0c085345562d56434b", "16085345562d56434b"),  # a common name as IA5String
        ("5345562d5643454b", "5345562d564345ff"),  # a common name that is not ASCII
        ("0603550403", "0603550404"),  # a name without a common name
        ("0603550406", "0603550403"),  # a name with two
    ],
)
def test_amd_certificate_with_a_wrong_field_is_malformed(old, new):
    data = bytes.fromhex(old)
    if old.startswith("0c08"):
        data, new = bytes.fromhex("0c08") + b"SEV-VCEK", "1608" + b"SEV-VCEK".hex()
    with pytest.raises(FormatError) as error:
        parse_certificate(swapped(data, bytes.fromhex(new)))
    assert error.value.reason is None


def _with_extensions(raw: bytes) -> bytes:
    """Return a leaf whose extension list is exactly ``raw``."""
    spec = replace(amd_pki.leaf("Genoa"), extensions=())
    tbs = spec.tbs()
    parts = tbs[tbs.index(b"\xa3\x02\x30\x00") :]
    assert parts == b"\xa3\x02\x30\x00"
    inner = tbs[4:-4] if tbs[1] == 0x82 else tbs[3:-4]
    body = tlv(0x30, inner, tlv(0xA3, tlv(0x30, raw)))
    return tlv(0x30, body, spec.algorithm, tlv(0x03, b"\x00" + bytes(512)))


@pytest.mark.parametrize(
    "raw",
    [
        tlv(0x30, tlv(0x06, b"\x55")),
        tlv(0x30, tlv(0x06, b"\x55"), tlv(0x01, b"\xff"), tlv(0x04), tlv(0x04)),
        tlv(0x30, tlv(0x06, b""), tlv(0x04)),
        tlv(0x30, tlv(0x06, b"\x2b\x81"), tlv(0x04)),
        tlv(0x30, tlv(0x06, b"\x55"), tlv(0x01, b"\x01"), tlv(0x04)),
        tlv(0x30, tlv(0x06, b"\x55"), tlv(0x01, b"\x00"), tlv(0x04)),
        tlv(0x30, tlv(0x06, b"\x55"), tlv(0x02, b"\x01")),
        tlv(0x31, tlv(0x06, b"\x55"), tlv(0x04)),
        b"".join(tlv(0x30, tlv(0x06, bytes((1, i))), tlv(0x04)) for i in range(65)),
    ],
)
def test_amd_extension_of_another_shape_is_malformed(raw):
    with pytest.raises(FormatError) as error:
        parse_certificate(_with_extensions(raw))
    assert error.value.reason is None


@pytest.mark.parametrize(
    ("name", "value", "may_issue"),
    [
        ("basicConstraints", "30060101ff020100", True),
        ("basicConstraints", "30030101ff", True),
        ("basicConstraints", "3000", False),
        ("basicConstraints", "3003020100", False),
        ("basicConstraints", "30090101ff020100020100", False),
        ("basicConstraints", "04", False),
        ("keyUsage", "03020106", True),
        ("keyUsage", "03020780", False),
        ("keyUsage", "0300", False),
        ("keyUsage", "030100", False),
    ],
)
def test_amd_authority_may_issue_only_where_both_extensions_say_so(name, value, may_issue):
    spec = amd_pki.intermediate("Genoa").having(name, bytes.fromhex(value), critical=True)
    assert read_authority(parse_certificate(spec.der())).may_issue is may_issue


def test_amd_dotted_form_of_an_object_identifier():
    assert dotted(bytes.fromhex("2b060104019c78010304")) == "1.3.6.1.4.1.3704.1.3.4"
    assert dotted(bytes.fromhex("551d0f")) == "2.5.29.15"
    assert dotted(bytes.fromhex("8837")) == "2.999"


def test_amd_hwid_of_an_octet_string_with_another_length_is_refused():
    spec = amd_pki.leaf("Turin").having("hwid", tlv(0x04, bytes(7)))
    with pytest.raises(FormatError, match="hwid"):
        read_leaf(parse_certificate(spec.der()))


# -- PEM, table, list ---------------------------------------------------------------------------

PAIR = amd_pki.pem_pair(amd_pki.intermediate("Genoa").der(), amd_pki.root("Genoa").der())


def test_amd_pem_pair_gives_both_certificates_in_order():
    first, second = pem_pair(b"\n" + PAIR.replace(b"\n", b"\r\n") + b" \n")
    assert first == amd_pki.intermediate("Genoa").der()
    assert second == amd_pki.root("Genoa").der()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        PAIR + PAIR,
        PAIR[: PAIR.index(b"-----END CERTIFICATE-----\n") + 26],
        b"Subject: x\n" + PAIR,
        PAIR + b"\x00",
        PAIR + b"x",
        PAIR.replace(b"CERTIFICATE", b"CERTIFICATF"),
        PAIR.replace(b"MII", b"M!I"),
        b" " * (PEM_LIMIT + 1),
    ],
)
def test_amd_pem_of_anything_but_two_blocks_is_malformed(text):
    with pytest.raises(FormatError):
        pem_pair(text)


def entry(guid: bytes, start: int, size: int) -> bytes:
    return guid + start.to_bytes(4, "little") + size.to_bytes(4, "little")


@pytest.mark.parametrize(
    "table",
    [
        b"",
        bytes(23),
        entry(b"\x01" * 16, 48, 1) + bytes(24),
        entry(b"\x01" * 16, 47, 1) + bytes(24) + b"x",
        entry(b"\x01" * 16, 0xFFFFFFFF, 0xFFFFFFFF) + bytes(24) + b"x",
        entry(b"\x01" * 16, 48, 0xFFFFFFFF) + bytes(24) + b"x",
        entry(b"\x01" * 16, 0, 0) * (TABLE_ENTRIES + 1) + bytes(24),
        bytes(TABLE_LIMIT + 1),
    ],
)
def test_amd_table_that_points_outside_itself_or_does_not_end_is_malformed(table):
    with pytest.raises(FormatError):
        parse_table(table)


def test_amd_table_entries_are_read_with_their_place():
    table = amd_pki.certificate_table([(b"\x01" * 16, b"one"), (b"\x02" * 16, b"")])
    first, second = parse_table(table)
    assert (first.guid.bytes, first.start, first.body) == (b"\x01" * 16, 72, b"one")
    assert (second.guid.bytes, second.start, second.body) == (b"\x02" * 16, 75, b"")


def test_amd_list_beyond_its_limit_is_malformed():
    with pytest.raises(FormatError, match="more than"):
        parse_crl(bytes(CRL_LIMIT + 1))


@pytest.mark.parametrize(
    "changes",
    [
        {"extensions": ((OID["crlNumber"], b"\x04\x01\x00", False),)},
        {"extensions": ((OID["crlNumber"], b"", False),)},
        {"version": 2},
    ],
)
def test_amd_list_with_a_wrong_field_is_malformed(changes):
    with pytest.raises(FormatError):
        parse_crl(replace(amd_pki.crl("Genoa"), **changes).der())


def test_amd_list_entry_without_a_date_is_malformed():
    data = amd_pki.crl("Genoa", revoked=(5,)).der()
    when = amd_pki.utc_time(amd_pki.crl("Genoa").this_update)
    body = tlv(0x30, integer(5), when)
    assert body in data
    short = tlv(0x30, tlv(0x02, b"\x05" + bytes(len(body) - 5)))
    assert len(short) == len(body)
    with pytest.raises(FormatError, match="two nor three"):
        parse_crl(data.replace(body, short))


# -- caches and keys ----------------------------------------------------------------------------


def test_amd_verified_chain_is_the_same_from_empty_and_from_warm_caches():
    found = amd_pki.evidence("Milan")

    def chain() -> snp.VerifiedChain:
        first, second = pem_pair(found.chain)
        leaf, ask, ark = (parse_certificate(data) for data in (found.vek, first, second))
        supplied = snp.CertificateSet(
            leaf=read_leaf(leaf), intermediate=read_authority(ask), root=read_authority(ark)
        )
        return snp.verify_chain(supplied, {ark.sha256: None})

    snp.forget()
    cold = chain()
    warm = chain()
    assert cold.leaf.certificate == warm.leaf.certificate
    assert cold.root == warm.root


def test_amd_authority_key_of_2048_bits_is_refused():
    modulus = (1 << 2047) + 1
    key = tlv(0x30, integer(modulus), integer(65537))
    algorithm = tlv(0x30, amd_pki.oid("1.2.840.113549.1.1.1"), tlv(0x05))
    with pytest.raises(FormatError, match="RSA-4096"):
        authority_key(tlv(0x30, algorithm, tlv(0x03, b"\x00", key)))


def test_amd_pss_signature_of_any_length_is_only_refused():
    key = authority_key(amd_pki.RsaKey("ARK_MILAN").spki)
    good = amd_pki.RsaKey("ARK_MILAN").sign(b"text")
    assert signed_pss_sha384(key, good, b"text") is Signed.YES
    assert signed_pss_sha384(key, good, b"Text") is Signed.NO
    for wrong in (b"", good[:-1], good + b"\x00", b"\xff" * 512):
        assert signed_pss_sha384(key, wrong, b"text") is Signed.NO


def test_amd_simulated_evidence_regenerates_byte_for_byte():
    first = amd_pki.evidence("Turin", version=5)
    amd_pki._private.cache_clear()
    assert amd_pki.evidence("Turin", version=5) == first
    assert ecdsa.curve_of(amd_pki.EcKey("vcek Turin").private.public_key()) is ecdsa.Curve.P384
