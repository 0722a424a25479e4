"""NVIDIA's simulated services: what they answer is accepted then, each fault refused."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise

import pytest

from fixtures import nvidia_nras, nvidia_pki, nvidia_revocation
from fixtures import nvidia_spdm as sim
from tests.simulator.vendor_calls import (
    DAYS,
    DEVICE_ROOTS,
    NRAS_PINS,
    PRESENT,
    RIM_ROOTS,
    ask,
    at,
    given,
    second,
)
from verify.crypto.x509 import load_certificate
from verify.engine.reason import Reason
from verify.nvidia import certificates, nras, payload, revocation, rim, spdm

R = Reason
NONCE = nvidia_pki.seed("a nonce")
GPUS, SWITCHES = sim.node(2, 1, name="vendor test")
KEYS = "/.well-known/jwks.json"


def codes(found):
    return [refused.reason for refused in found]


def loaded(plan):
    return load_certificate(nvidia_pki.der(plan))


def evidence(devices, nonce=NONCE):
    return tuple((sim.report(device, nonce), device.chain_pem()) for device in devices)


# --- manifests -----------------------------------------------------------------------------------


def wanted(device):
    report = spdm.parse_report(sim.report(device, NONCE))
    family = certificates.family_of(certificates.parse_chain(device.chain_pem()))
    return report, family, rim.wanted_ids(report, family)


@pytest.mark.parametrize("moment", DAYS, ids=str)
@pytest.mark.parametrize("device", [GPUS[0], SWITCHES[0]], ids=["gpu", "switch"])
def test_rim_of_each_kind_is_genuine_and_fits_its_device_at_any_time(moment, device):
    report, family, ids = wanted(device)
    assert ids
    for kind, rim_id in ids.items():
        found = rim.parse_rim(given(at(moment), "nvidia_rim", f"/v1/rim/{rim_id}"))
        assert codes(rim.authenticity_refusals(found, RIM_ROOTS, second(moment))) == []
        rim.judge_id(found.recorded_id, rim_id)
        rim.judge_product(found.manifest, report, family)
        rim.judge_version(found.manifest, report, kind)


def test_rim_signed_this_year_is_refused_many_years_on():
    _, _, ids = wanted(GPUS[0])
    found = rim.parse_rim(given(at(PRESENT), "nvidia_rim", f"/v1/rim/{ids[rim.RimKind.DRIVER]}"))
    late = codes(rim.authenticity_refusals(found, RIM_ROOTS, DAYS[3]))
    assert late == [R.GPU_RIM_CHAIN_EXPIRED]


def test_rim_that_is_not_published_is_not_found():
    known = f"/v1/rim/NV_GPU_DRIVER_GH100_{sim.DRIVER}"
    assert ask(at(PRESENT), "nvidia_rim", "/v1/rim/NV_GPU_DRIVER_GH100_1.2.3").status == 404
    refused = ask(at(PRESENT, "rim-404"), "nvidia_rim", known)
    assert refused.status == 404
    assert "not found" in json.loads(refused.body)["error"]
    listed = json.loads(given(at(PRESENT), "nvidia_rim", "/v1/rim/ids"))["ids"]
    assert known.rpartition("/")[2] in listed


# --- OCSP, lists ---------------------------------------------------------------------------------


def ocsp(moment, child, issuer, *faults, algorithm="sha384", nonce=b"0123456789abcdef"):
    asked = nvidia_revocation.request(child, issuer, nonce=nonce, algorithm=algorithm)
    answer = given(at(moment, *faults), "nvidia_ocsp", "/", body=asked)
    return revocation.ocsp_refusals(
        revocation.parse_ocsp_response(answer),
        revocation.parse_ocsp_request(asked),
        loaded(child),
        loaded(issuer),
        second(moment),
    )


def links(moment):
    """Give every link that a capture asks about: devices from position 1, manifests from 0."""
    for family in (nvidia_pki.GH100, nvidia_pki.GB100, nvidia_pki.LS10):
        chain = nvidia_pki.device_chain(family, "some device")
        yield from pairwise(chain[1:])
    for product in ("GH100", "GB100", "LS10"):
        for chain in (
            nvidia_pki.rim_chain(product),
            nvidia_pki.rim_chain_at(moment, product),
        ):
            yield from pairwise(chain)


@pytest.mark.parametrize("moment", DAYS, ids=str)
def test_ocsp_answers_for_every_certificate_of_the_simulated_chains(moment):
    asked = list(links(moment))
    assert len(asked) == 27
    for child, issuer in asked:
        assert codes(ocsp(moment, child, issuer)) == []


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384"])
def test_ocsp_repeats_the_certificate_id_and_the_nonce(algorithm):
    child, issuer = nvidia_pki.device_chain(nvidia_pki.GH100, "some device")[1:3]
    for nonce in (None, b"12345678", bytes(32)):
        found = ocsp(PRESENT, child, issuer, algorithm=algorithm, nonce=nonce)
        assert codes(found) == []


@pytest.mark.parametrize(
    ("fault", "code"), [("ocsp-revoked", R.GPU_OCSP_REVOKED), ("ocsp-stale", R.GPU_OCSP_STALE)]
)
def test_ocsp_fault_gives_its_code_and_no_other(fault, code):
    for child, issuer in (
        nvidia_pki.device_chain(nvidia_pki.GH100, "some device")[1:3],
        nvidia_pki.rim_chain_at(PRESENT)[:2],
    ):
        assert codes(ocsp(PRESENT, child, issuer, fault)) == [code]


def test_ocsp_of_strangers():
    chain = nvidia_pki.rim_chain_at(PRESENT)
    unknown = nvidia_pki.faulty(chain, 0, serial=77)
    assert codes(ocsp(PRESENT, unknown[0], unknown[1])) == [R.GPU_OCSP_UNKNOWN]
    foreign = nvidia_pki.faulty(chain, 1, key="somebody else")
    assert codes(ocsp(PRESENT, foreign[0], foreign[1])) == [R.GPU_OCSP_RESPONSE_STATUS]
    answer = given(at(PRESENT), "nvidia_ocsp", "/", body=b"no request")
    assert revocation.parse_ocsp_response(answer).status == 1
    assert ask(at(PRESENT), "nvidia_ocsp", "/").status == 404


@pytest.mark.parametrize("moment", DAYS, ids=str)
def test_crl_at_each_path_of_the_certificates_is_current_and_signed(moment):
    hopper = nvidia_pki.device_chain(nvidia_pki.GH100, "d")
    blackwell = nvidia_pki.device_chain(nvidia_pki.GB100, "d")
    manifests = nvidia_pki.rim_chain_at(moment)
    rows = [
        ("/crl/l1-root.crl", hopper[3], hopper[4]),
        ("/crl/l2-gh100.crl", hopper[2], hopper[3]),
        ("/crl/l2-gb100.crl", blackwell[2], blackwell[3]),
        ("/crl-corim/l1-corim", manifests[2], manifests[3]),
        ("/crl-corim/l1-corim.crl", manifests[2], manifests[3]),
        ("/crl/l1-corim", manifests[2], manifests[3]),
    ]
    for path, child, issuer in rows:
        found = revocation.parse_crl(given(at(moment), "nvidia_crl", path))
        judged = revocation.crl_refusals(found, [loaded(child)], loaded(issuer), second(moment))
        assert codes(judged) == []
    assert ask(at(moment), "nvidia_crl", "/crl/other.crl").status == 404


# --- the attestation service ---------------------------------------------------------------------


def attested(vendors, moment, devices=GPUS, *, version="2.0", posted=None, nonce=NONCE, early=None):
    """Return every code about an exchange, the key set fetched after the answer."""
    kind = "switch" if devices[0].is_switch else "gpu"
    pairs = evidence(devices) if posted is None else posted
    request = nvidia_nras.request(pairs, nonce=nonce, arch=devices[0].family.arch, version=version)
    route = "/v3/attest/" if version == "2.0" else "/v4/attest/"
    body = given(vendors, "nvidia_nras", f"{route}{kind}", body=request)
    keys = given(vendors, "nvidia_nras", KEYS) if early is None else early
    answer = nras.parse_answer(body)
    rules = nras.TokenRules(
        pins=NRAS_PINS,
        versions=("2.0", "3.0"),
        received_at=moment,
        as_of=second(moment),
        max_distance_s=600,
    )
    found = list(nras.token_refusals(answer, nras.parse_key_set(keys), len(pairs), rules))
    found += nras.result_refusals(answer)
    recorded = payload.parse_payload(request)
    if found:
        return codes(found)
    for position, (report, chain) in enumerate(pairs):
        nras.judge_request(recorded, position, report, chain)
        (token,) = (t for t in answer.devices if t.name == f"{kind.upper()}-{position}")
        found += nras.binding_refusals(
            answer, token, spdm.parse_report(report), certificates.parse_chain(chain)
        )
    return codes(found)


@pytest.mark.parametrize("moment", DAYS, ids=str)
@pytest.mark.parametrize("version", ["2.0", "3.0"])
@pytest.mark.parametrize("devices", [GPUS, SWITCHES], ids=["gpus", "switches"])
def test_nras_accepts_devices_of_the_simulation_at_any_time(moment, version, devices):
    assert attested(at(moment), moment, devices, version=version) == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("nras-negative", R.NRAS_RESULT_OVERALL_FALSE),
        ("nras-unknown-kid", R.NRAS_JWT_KID_UNKNOWN),
    ],
)
def test_nras_fault_gives_its_code_and_no_other(fault, code):
    assert set(attested(at(PRESENT, fault), PRESENT)) == {code}


def test_nras_keys_that_rotate_fit_only_the_fetch_that_follows_the_answer():
    vendors = at(PRESENT, "nras-keys-rotate")
    first = given(vendors, "nvidia_nras", KEYS)
    assert attested(vendors, PRESENT) == []
    assert attested(vendors, PRESENT) == []
    assert set(attested(vendors, PRESENT, early=first)) == {R.NRAS_JWT_KID_UNKNOWN}


def test_nras_answer_before_midnight_fits_the_key_set_after_it():
    midnight = DAYS[2]
    before = midnight - timedelta(seconds=1)
    keys = given(at(midnight), "nvidia_nras", KEYS)
    assert attested(at(before), before, early=keys) == []


def other(change):
    pairs = list(evidence(GPUS))
    pairs[1] = change(*pairs[1])
    return pairs


def error_of(posted, nonce=NONCE):
    body = given(
        at(PRESENT),
        "nvidia_nras",
        "/v3/attest/gpu",
        body=nvidia_nras.request(posted, nonce=nonce),
    )
    answer = nras.parse_answer(body)
    assert answer.overall.claims["x-nvidia-overall-att-result"] is False
    return [
        (token.claims.get("x-nvidia-error-details") or {}).get("code") for token in answer.devices
    ]


def test_nras_judges_what_it_is_sent():
    good = list(evidence(GPUS))
    assert error_of(good, nonce=bytes(32)) == [4010, 4010]
    assert error_of(other(lambda _, chain: (sim.report(GPUS[1], bytes(32)), chain))) == [None, 4010]
    assert error_of(other(lambda _, chain: (good[0][0], chain))) == [None, 4013]
    assert error_of(other(lambda report, chain: (report[:-1], chain))) == [None, 4013]
    assert error_of(other(lambda report, _: (report, b"no chain"))) == [None, 4007]
    foreign = nvidia_pki.pem(nvidia_pki.faulty(GPUS[1].chain(), 3, signer="another root"))
    assert error_of(other(lambda report, _: (report, foreign))) == [None, 4007]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        nvidia_nras.request([]),
        nvidia_nras.request(evidence(GPUS), nonce=NONCE[:31]),
        nvidia_nras.request(evidence(GPUS), nonce=NONCE, arch="BLACKWELL"),
        nvidia_nras.request(evidence(GPUS), nonce=NONCE, version="9.0"),
    ],
)
def test_nras_refuses_a_request_of_another_form(body):
    assert ask(at(PRESENT), "nvidia_nras", "/v3/attest/gpu", body=body).status == 400


def test_device_chains_are_judged_good_at_every_instant():
    for moment in DAYS:
        chain = certificates.parse_chain(GPUS[0].chain_pem())
        assert codes(certificates.chain_refusals(chain, DEVICE_ROOTS, second(moment))) == []
