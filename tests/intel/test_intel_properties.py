"""Parsers raise FormatError alone; no changed byte is accepted, but for a list that is exact."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import intel_pki as pki
from fixtures.intel_cases import appraised, shot
from verify.crypto.x509 import (
    load_certificate,
    load_revocation_list,
    recorded_crl_der,
    split_pem,
)
from verify.engine.errors import FormatError
from verify.intel.ccel import parse_ccel
from verify.intel.collateral import (
    qe_identity_body,
    read_qe_identity,
    read_tcb_info,
    tcb_info_body,
)
from verify.intel.pck import CaKind, sgx_extension
from verify.intel.quote import parse_quote

BASE = shot(pki.BASE)
LOG = bytes.fromhex(
    "00000000" "03000000" + "00" * 20 + "21000000"
    "53706563204944204576656e74303300" "00000000" "00020002" "01000000" "0c003000" "00"
    "01000000" "0d000000" "01000000" "0c00" + "ab" * 48 + "03000000" "616263"
)  # fmt: skip


def _tcb_info(data):
    read_tcb_info(tcb_info_body(data))


def _qe_identity(data):
    read_qe_identity(qe_identity_body(data))


def _extension(data):
    world = replace(pki.BASE, pck=pki.PckSpec(raw=data))
    for kind in CaKind:
        sgx_extension(load_certificate(world.leaf_der), kind)


PARSERS = {
    "quote": (parse_quote, BASE.quote),
    "tcb-info": (_tcb_info, BASE.tcb_info),
    "qe-identity": (_qe_identity, BASE.qe_identity),
    "chain": (split_pem, BASE.tcb_info_chain),
    "certificate": (load_certificate, pki.BASE.leaf_der),
    "list": (load_revocation_list, BASE.pck_crl),
    "recorded-list": (recorded_crl_der, BASE.pck_crl.hex().encode()),
    "firmware-log": (parse_ccel, LOG),
    "sgx-extension": (_extension, pki.BASE.pck.der()),
}


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_parser_on_damaged_input_raises_nothing_but_format_error(name, data):
    parse, good = PARSERS[name]
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(damaged) - 1)))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "drop"])):
            case "flip":
                damaged[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
            case "cut":
                del damaged[at:]
            case "insert":
                damaged[at:at] = data.draw(st.binary(min_size=1, max_size=8))
            case _:
                del damaged[at : at + data.draw(st.integers(1, 16))]
    with contextlib.suppress(FormatError):
        parse(bytes(damaged))


@pytest.mark.parametrize("name", sorted(set(PARSERS) - {"sgx-extension"}))
@given(data=st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_parser_on_any_bytes_raises_nothing_but_format_error(name, data):
    parse, _ = PARSERS[name]
    with contextlib.suppress(FormatError):
        parse(data)


def survivors(name, flip):
    """Return the offsets of an item where changing the byte with ``flip`` is still accepted."""
    data = getattr(BASE, name)
    found = []
    for at, byte in enumerate(data):
        other = flip(byte)
        if other == byte:
            continue
        changed = data[:at] + bytes([other]) + data[at + 1 :]
        if appraised(replace(BASE, **{name: changed})).code is None:
            found.append(at)
    return found


def test_no_flipped_bit_of_a_quote_is_accepted():
    assert survivors("quote", lambda byte: byte ^ 0x01) == []


@pytest.mark.parametrize("name", ["root_crl", "pck_crl", "tcb_info_chain", "qe_identity_chain"])
def test_no_flipped_bit_of_a_list_or_chain_is_accepted(name):
    assert survivors(name, lambda byte: byte ^ 0x20) == []


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
def test_letter_case_of_the_signature_is_all_that_may_change_in_a_signed_body(name):
    data = getattr(BASE, name)
    start = data.index(b'"signature":"') + len(b'"signature":"')
    letters = [at for at in range(start, start + 128) if data[at : at + 1].isalpha()]
    assert survivors(name, lambda byte: byte ^ 0x20) == letters


@pytest.mark.parametrize("name", ["quote", "tcb_info_chain", "qe_identity_chain"])
def test_line_ends_of_pem_are_all_that_may_become_blanks(name):
    data = getattr(BASE, name)
    start = data.index(b"-----BEGIN")
    lines = [at for at in range(start, len(data)) if data[at : at + 1] == b"\n"]

    def blank(byte):
        return 0x20 if byte == 0x0A else byte

    outside = [at for at in range(start) if data[at : at + 1] == b"\n"]
    assert survivors(name, blank) == lines
    assert not set(outside) & set(lines)


@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
def test_blanks_around_the_outer_members_and_their_order_are_tolerated(name):
    data = getattr(BASE, name).decode()
    member = "tcbInfo" if name == "tcb_info" else "enclaveIdentity"
    cut = data.rindex(',"signature"')
    inner, signature = data[len(member) + 4 : cut], data[cut + 1 : -1]
    turned = f' {{ {signature} ,\n "{member}" :\t{inner} }}\r\n'.encode()
    assert appraised(replace(BASE, **{name: turned})).code is None


def test_recorded_chain_beside_a_quote_with_its_own_is_never_used():
    assert appraised(replace(BASE, pck_chain=b"anything")).code is None
