"""Quotes: limits of every length field, and what is reported of a parsed one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fixtures import intel_pki as pki
from fixtures.intel_cases import quote
from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.intel.quote import ReportType, Tee, parse_quote

V4 = pki.BASE.quote
V3 = pki.sgx_world().quote
V5 = quote(version=5, body_type=4).quote


def reason_of(data):
    with pytest.raises(FormatError) as caught:
        parse_quote(data)
    return caught.value.reason


@pytest.mark.parametrize("data", [V3, V4, V5])
def test_every_shorter_quote_is_truncated(data):
    for size in (0, 1, 47, 48, 49, 53, 54, 400, 431, 435, 631, 635, 636, 942, len(data) - 1):
        assert reason_of(data[:size]) is Reason.TDX_QUOTE_TRUNCATED


def patched(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def with_signature_data(size):
    return V4[:632] + size.to_bytes(4, "little") + V4[636 : 636 + size]


@pytest.mark.parametrize(
    "data",
    [
        with_signature_data(0),
        with_signature_data(127),
        with_signature_data(133),
        patched(with_signature_data(134), 766, bytes(4)),
        patched(with_signature_data(134 + 449), 766, (449).to_bytes(4, "little")),
        patched(with_signature_data(134 + 460), 766, (460).to_bytes(4, "little")),
        patched(V4, 764, b"\x05"),
        patched(V4, 766, b"\x00\x00\x00\x00"),
        patched(V4, 766, b"\xff\xff\xff\xff"),
        patched(V4, 1218, b"\xff\xff"),
        patched(V4, 1254, b"\x00\x00\x00\x00"),
        patched(V4, 1254, b"\xff\xff\xff\xff"),
        V3[:432] + (100).to_bytes(4, "little") + V3[436:],
        patched(V3, 1012, b"\xff\xff"),
    ],
    ids=range(14),
)
def test_inner_length_that_does_not_fit_is_malformed(data):
    assert reason_of(data) is Reason.TDX_QUOTE_AUTH_DATA_MALFORMED


def test_declared_length_of_all_ones_is_truncated():
    assert reason_of(patched(V4, 632, b"\xff\xff\xff\xff")) is Reason.TDX_QUOTE_TRUNCATED


@pytest.mark.parametrize("cert_type", [0, 8, 0xFFFF])
def test_certification_type_outside_the_known_is_refused(cert_type):
    data = patched(V4, 1252, cert_type.to_bytes(2, "little"))
    assert reason_of(data) is Reason.TDX_QUOTE_CERT_TYPE_UNSUPPORTED


@pytest.mark.parametrize(("version", "tee"), [(3, 0x81), (4, 0), (5, 0), (4, 0x82)])
def test_tee_that_does_not_go_with_the_version_is_refused(version, tee):
    data = patched(V4, 0, version.to_bytes(2, "little"))
    assert reason_of(patched(data, 4, tee.to_bytes(4, "little"))) is (
        Reason.TDX_QUOTE_TEE_TYPE_UNSUPPORTED
    )


def test_trailing_bytes_are_counted_and_do_not_change_the_declared_digest():
    plain, padded, dirty = (parse_quote(V4 + extra) for extra in (b"", bytes(70), b"\x00x"))
    assert plain.trailing_bytes == 0
    assert (padded.trailing_bytes, padded.trailing_nonzero) == (70, False)
    assert (dirty.trailing_bytes, dirty.trailing_nonzero) == (2, True)
    assert plain.sha256 == plain.declared_sha256 == padded.declared_sha256
    assert padded.sha256 != plain.sha256
    assert padded.declared_size == len(V4)


def test_body_knows_its_fields_by_layout():
    found = parse_quote(V5)
    assert found.report_type is ReportType.TD_1_5_EXTENDED
    assert found.tee is Tee.TDX
    assert found.span("report_data") == (574, 638)
    assert found.span("cur_service_td_attributes") == (931, 939)
    assert len(found.body.fields()) == 27
    old = parse_quote(V4)
    assert old.body.find("tee_tcb_svn2") is None
    assert old.body.find("mr_enclave") is None
    assert len(old.body.fields()) == 15
    with pytest.raises(KeyError):
        old.body["mr_service_td"]
    sgx = parse_quote(V3)
    assert sgx.report_type is ReportType.SGX
    assert sgx.span("mr_enclave") == (112, 144)
    assert sgx.body.isv_prod_id == 1


def test_builder_refuses_fields_of_another_layout():
    with pytest.raises(KeyError):
        replace(pki.QuoteSpec(), fields={"mr_enclave": bytes(32)}).body()
    with pytest.raises(ValueError, match="mr_td"):
        replace(pki.QuoteSpec(), fields={"mr_td": bytes(32)}).body()
