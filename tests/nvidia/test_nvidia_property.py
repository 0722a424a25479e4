"""Parsers of NVIDIA evidence on any bytes: a value or `FormatError`, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fixtures import nvidia_nras as nras_sim
from fixtures import nvidia_pki as pki
from fixtures import nvidia_revocation as revocation_sim
from fixtures import nvidia_rim as rim_sim
from fixtures import nvidia_spdm as sim
from verify.engine.errors import FormatError, Refused
from verify.nvidia import certificates, legacy, nras, payload, revocation, rim, spdm, xmldsig

GPU: Final = sim.Device(label="property gpu")
CHAIN: Final = GPU.chain()
PAIR: Final = (sim.report(GPU), GPU.chain_pem())
EXCHANGE: Final = nras_sim.exchange((GPU,), (PAIR,))
SETTINGS: Final = settings(max_examples=150, deadline=None)

PARSERS: Final[dict[str, tuple[Callable[[bytes], object], bytes]]] = {
    "report": (spdm.parse_report, PAIR[0]),
    "switch report": (
        spdm.parse_report,
        sim.report(sim.Device(label="s", family=pki.LS10, vbios=sim.SWITCH_BIOS)),
    ),
    "chain": (certificates.parse_chain, PAIR[1]),
    "fwid": (certificates.parse_fwid, pki.fwid_extension(pki.fwid(), pki.spki("x"))),
    "tcb info": (certificates.parse_tcb_info, pki.tcb_info_extension(pki.fwid())),
    "signed document": (
        xmldsig.parse_signed_document,
        rim_sim.document(rim_sim.driver_manifest()),
    ),
    "rim": (
        rim.parse_rim,
        rim_sim.envelope("id", rim_sim.document(rim_sim.switch_manifest())),
    ),
    "manifest": (rim.parse_manifest, rim_sim.driver_manifest().body().encode("ascii")),
    "payload": (payload.parse_payload, nras_sim.request([PAIR])),
    "answer": (nras.parse_answer, EXCHANGE.answer),
    "key set": (nras.parse_key_set, EXCHANGE.jwks),
    "ocsp request": (
        revocation.parse_ocsp_request,
        revocation_sim.request(CHAIN[1], CHAIN[2], nonce=bytes(16)),
    ),
    "ocsp response": (
        revocation.parse_ocsp_response,
        revocation_sim.response(
            CHAIN[1], CHAIN[2], nonce=bytes(16), delegate=revocation_sim.responder(CHAIN[2])
        ),
    ),
    "crl": (
        revocation.parse_crl,
        revocation_sim.crl(CHAIN[3], revoked={5: revocation_sim.PRODUCED}),
    ),
}


def attempt(parse: Callable[[bytes], object], data: bytes) -> None:
    try:
        parse(data)
    except FormatError as error:
        assert error.offset >= 0  # noqa: PT017
        assert error.what  # noqa: PT017


@pytest.mark.parametrize("name", list(PARSERS))
@given(data=st.binary(max_size=400))
@SETTINGS
def test_parser_of_any_bytes_gives_a_value_or_a_format_error(name: str, data: bytes) -> None:
    attempt(PARSERS[name][0], data)


@pytest.mark.parametrize("name", list(PARSERS))
@given(data=st.data())
@SETTINGS
def test_parser_of_edited_evidence_gives_a_value_or_a_format_error(
    name: str, data: st.DataObject
) -> None:
    parse, good = PARSERS[name]
    parse(good)
    start = data.draw(st.integers(0, len(good)))
    stop = data.draw(st.integers(start, min(len(good), start + 40)))
    attempt(parse, good[:start] + data.draw(st.binary(max_size=40)) + good[stop:])


@given(text=st.text(max_size=200))
@SETTINGS
def test_token_of_any_text_gives_a_value_or_a_format_error(text: str) -> None:
    attempt(
        lambda data: nras.parse_token(data.decode("utf-8", "replace")),
        text.encode("utf-8", "replace"),
    )
    try:
        nras.parse_token(text)
    except FormatError:
        return


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    claims=st.dictionaries(
        st.sampled_from(
            sorted(
                {
                    *nras_sim.device_claims(GPU),
                    "x-nvidia-error-details",
                    "submods",
                    "x-nvidia-ver",
                    "sub",
                    "x-nvidia-overall-att-result",
                    "x-nvidia-gpu-driver-rim-cert-chain",
                }
            )
        ),
        json_values,
        max_size=6,
    )
)
@SETTINGS
def test_claims_of_any_type_are_judged_without_a_crash(claims: dict[str, object]) -> None:
    base = nras_sim.device_claims(GPU)
    token = nras_sim.token({**base, **claims})
    overall = nras_sim.token({**nras_sim.overall_claims({"GPU-0": token}), **claims})
    answer = nras.parse_answer(nras_sim.body(overall, {"GPU-0": token}))
    rules = nras.TokenRules(
        pins=(),
        versions=nras.VERSIONS,
        received_at=nras_sim.RECEIVED,
        as_of=pki.AS_OF,
        max_distance_s=600,
    )
    nras.token_refusals(answer, nras.parse_key_set(EXCHANGE.jwks), 1, rules)
    nras.result_refusals(answer)
    report, chain = spdm.parse_report(PAIR[0]), certificates.parse_chain(PAIR[1])
    nras.binding_refusals(answer, answer.devices[0], report, chain)


@given(
    members=st.dictionaries(st.sampled_from(["kid", "kty", "crv", "x", "y", "x5c"]), json_values)
)
@SETTINGS
def test_key_set_entry_of_any_type_is_refused_without_a_crash(members: dict[str, object]) -> None:
    entry = {**nras_sim.jwk(), **members, "kid": "k"}
    keys = nras.parse_key_set(json.dumps({"keys": [entry]}).encode("ascii"))
    try:
        nras.resolve(keys.keys[0])
    except Refused:
        return


@given(position=st.integers(0, len(PAIR[0]) - 1), bit=st.integers(0, 7))
@SETTINGS
def test_any_flipped_bit_of_evidence_makes_the_device_fail(position: int, bit: int) -> None:
    changed = bytearray(PAIR[0])
    changed[position] ^= 1 << bit
    chain = certificates.parse_chain(PAIR[1])
    with pytest.raises((FormatError, Refused)):
        certificates.judge_report_signature(spdm.parse_report(bytes(changed)), chain)


@given(position=st.integers(0, len(PAIR[1]) - 1), bit=st.integers(0, 7))
@example(position=1750, bit=2)  # the number of unused bits of a certificate's signature
@SETTINGS
def test_any_flipped_bit_of_a_chain_makes_the_device_fail_or_changes_no_certificate(
    position: int, bit: int
) -> None:
    changed = bytearray(PAIR[1])
    changed[position] ^= 1 << bit
    good = certificates.parse_chain(PAIR[1])
    try:
        chain = certificates.parse_chain(bytes(changed))
    except FormatError:
        return
    roots = {good.certificates[4].sha256}
    same = [one.der for one in chain.certificates] == [one.der for one in good.certificates]
    assert same or certificates.chain_refusals(chain, roots, pki.AS_OF)


@given(data=st.binary(max_size=300))
@SETTINGS
def test_legacy_slices_exist_exactly_where_the_bytes_do(data: bytes) -> None:
    assert (legacy.slices(data) is None) is (len(data) < 192)
