"""What is asked of NVIDIA: attestation service, manifests, OCSP and revocation lists."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from bundle.calls import DELAYS_S
from bundle.collateral import Want, _Round, _standing
from fixtures import (
    amd_pki,
    goods,
    nvidia_nras,
    nvidia_pki,
    nvidia_revocation,
    nvidia_spdm,
    other_families,
    sessions,
)
from fixtures.nvidia_spdm import Device
from tests.bundle.collateral_case import (
    HERE,
    Vendors,
    ask,
    attestation,
    attestations,
    of,
    recorded,
    unreachable,
    urls,
)
from tests.bundle.raw_server import certificate
from verify.crypto.x509 import load_certificate
from verify.nvidia import rim
from verify.nvidia.payload import parse_payload
from verify.nvidia.revocation import parse_ocsp_request

RIM = "https://rim.attestation.nvidia.com/v1/rim"
OCSP = "https://ocsp.ndis.nvidia.com/"
CRL = "https://crl.ndis.nvidia.com"
NRAS = "https://nras.attestation.nvidia.com"
JWKS = ("GET", f"{NRAS}/.well-known/jwks.json")
DRIVER = f"{RIM}/NV_GPU_DRIVER_GH100_{nvidia_spdm.DRIVER}"
VBIOS = f"{RIM}/NV_GPU_VBIOS_G520_0280_895_{nvidia_spdm.VBIOS.replace('.', '')}"
YES = Want(nras=True)


def node_answer(*devices, profile="vllm-proxy", **changes):
    """Return the first attestation of a session whose machine has these devices."""
    session = goods.SESSIONS[profile]()
    changed = replace(session, node=replace(session.node, devices=devices), **changes)
    return attestations(changed)[:1]


def gpus(count):
    return sessions.gpus(count, "model")


# --- manifests -----------------------------------------------------------------------------------


def test_two_equal_gpus_ask_for_two_manifests():
    calls = of(ask(node_answer(*gpus(2))), "rim")
    assert urls(calls) == [("GET", DRIVER), ("GET", VBIOS)]
    assert [call.step for call in calls] == [
        f"before.nvidia.rim.{call.url.rpartition('/')[2]}" for call in calls
    ]


def test_gpus_of_other_firmware_ask_for_theirs_too():
    other = Device(label="other", driver="580.95.99", vbios="96.00.D0.00.99")
    calls = of(ask(node_answer(*gpus(1), other)), "rim")
    assert [url for _, url in urls(calls)] == [
        DRIVER,
        VBIOS,
        f"{RIM}/NV_GPU_DRIVER_GH100_580.95.99",
        f"{RIM}/NV_GPU_VBIOS_G520_0280_895_9600D00099",
    ]


def test_blackwell_driver_is_asked_for_under_its_own_prefix():
    device = Device(label="b200", family=nvidia_pki.GB100)
    calls = of(ask(node_answer(device)), "rim")
    assert calls[0].url == f"{RIM}/NV_GPU_CC_DRIVER_GB100_{nvidia_spdm.DRIVER}"


def test_switches_ask_for_their_bios_manifest():
    session = other_families.enclave("tinfoil-v3")
    changed = replace(session, **other_families.switched())
    calls = ask(attestations(changed)[:1])
    wanted = nvidia_spdm.SWITCH_BIOS.replace(".", "").upper()
    assert f"{RIM}/NV_SWITCH_BIOS_5612_0002_890_{wanted}" in [call.url for call in calls]


@pytest.mark.parametrize(
    ("kind", "value"),
    [(3, None), (3, b"../../v1/rim/ids\0"), (3, b"x y\0"), (3, b"%2e\0"), (3, b"?a=b#c\0")],
)
def test_driver_that_is_no_version_asks_for_no_manifest(kind, value):
    device = Device(label="model gpu 0", opaque={kind: value})
    assert [call.url for call in of(ask(node_answer(device)), "rim")] in ([VBIOS], [])


# --- revocation ----------------------------------------------------------------------------------


def certified(*devices, rim=True):
    """Return (child, issuer) plans of every certificate one can ask about, each once."""
    chains = [device.chain()[1:] for device in devices]
    if rim:
        chains.append(nvidia_pki.rim_chain())
    found = {}
    for chain in chains:
        for child, issuer in itertools.pairwise(chain):
            found.setdefault(child.serial, (child, issuer))
    return list(found.values())


def test_standing_is_asked_for_every_certificate_between_leaf_and_root():
    devices = gpus(2)
    calls = [call for call in ask(node_answer(*devices)) if call.url == OCSP]
    nonce = b"\x07" * 32
    assert [call.body for call in calls] == [
        nvidia_revocation.request(child, issuer, nonce=nonce)
        for child, issuer in certified(*devices)
    ]
    assert len(calls) == 2 + 2 + 3, "two boot ROMs, two shared above them, three of the manifests"
    assert {call.method for call in calls} == {"POST"}
    assert {call.purpose for call in calls} == {"revocation"}
    assert {call.headers for call in calls} == {(("Content-Type", "application/ocsp-request"),)}


def test_every_try_has_a_nonce_of_its_own():
    counter = iter(range(1, 1000))
    vendors = Vendors(override={OCSP: lambda call: recorded(call, 503)})
    calls = ask(
        node_answer(*gpus(1)),
        vendors,
        random_bytes=lambda size: next(counter).to_bytes(size, "big"),
    )
    first = [call for call in calls if call.url == OCSP][: 1 + len(DELAYS_S)]
    found = [parse_ocsp_request(call.body) for call in first]
    assert len({one.identifier for one in found}) == 1
    assert [int.from_bytes(one.nonce, "big") for one in found] == [1, 2, 3, 4, 5, 6]


def test_manifest_that_is_not_published_brings_no_signers():
    vendors = Vendors(override={RIM: lambda call: recorded(call, 404, b"{}")})
    calls = ask(node_answer(*gpus(1)), vendors)
    assert len([call for call in calls if call.url == OCSP]) == 3
    assert len(of(calls, "rim")) == 2


def test_manifest_that_cannot_be_read_brings_no_signers():
    vendors = Vendors(override={RIM: lambda call: recorded(call, 200, b'{"rim":"?"}')})
    assert len([call for call in ask(node_answer(*gpus(1)), vendors) if call.url == OCSP]) == 3


def test_manifest_with_a_certificate_that_cannot_be_read_brings_no_signers(monkeypatch):
    whole = rim.parse_rim

    def holed(body):
        found = whole(body)
        listed = found.certificates
        return replace(found, certificates=(listed[0], None, *listed[1:]))

    monkeypatch.setattr(rim, "parse_rim", holed)
    assert len([call for call in ask(node_answer(*gpus(1))) if call.url == OCSP]) == 3


def test_lists_are_those_that_the_certificates_name_each_once():
    calls = [call for call in ask(node_answer(*gpus(2))) if call.url.startswith(CRL)]
    assert urls(calls) == [
        ("GET", f"{CRL}/crl/l2-gh100.crl"),
        ("GET", f"{CRL}/crl/l1-root.crl"),
        ("GET", f"{CRL}/crl/l1-corim"),
    ]
    assert [call.step for call in calls] == [
        "before.nvidia.crl.crl.l2-gh100.crl",
        "before.nvidia.crl.crl.l1-root.crl",
        "before.nvidia.crl.crl.l1-corim",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "http://crl.ndis.nvidia.com/../admin",
        "http://crl.ndis.nvidia.com/v1/secret",
        "http://crl.ndis.nvidia.com/crl/a%2f..",
        "http://[crl",
        "ldap://crl/",
    ],
)
def test_list_under_another_path_is_not_asked_for(url):
    device = gpus(1)[0]
    plans = device.chain()
    changed = (*plans[:2], replace(plans[2], crl_url=url), *plans[3:])
    answer = with_chain(node_answer(device)[0], nvidia_pki.pem(changed))
    calls = [call.url for call in ask([answer]) if call.url.startswith(CRL)]
    assert calls == [f"{CRL}/crl/l1-root.crl", f"{CRL}/crl/l1-corim"]


def with_chain(exchange, chain):
    members = json.loads(exchange.response_body)
    members["nvidia_payload"]["evidence_list"][0]["certificate"] = other_families.b64(chain)
    return attestation(json.dumps(members).encode())


def test_chain_out_of_order_is_asked_about_where_it_links():
    device = gpus(1)[0]
    plans = device.chain()
    answer = with_chain(
        node_answer(device)[0],
        nvidia_pki.pem((plans[0], plans[2], plans[1], plans[3], plans[4])),
    )
    calls = [call for call in ask([answer]) if call.url == OCSP]
    assert nvidia_revocation.request(plans[3], plans[4], nonce=b"\x07" * 32) in [
        call.body for call in calls
    ]
    assert len(calls) == 1 + 3


def test_chain_of_another_length_asks_about_nothing_of_it():
    device = gpus(1)[0]
    answer = with_chain(node_answer(device)[0], nvidia_pki.pem(device.chain()[:4]))
    assert not [call for call in ask([answer]) if "nvidia" in call.url]


# --- the attestation service ---------------------------------------------------------------------


def service_calls(exchanges, vendors, **changes):
    return of(ask(exchanges, vendors, want=changes.pop("want", YES), **changes), "nras", "jwks")


def test_nothing_is_submitted_without_consent():
    calls = ask(node_answer(*gpus(2)), Vendors(devices=gpus(2)))
    assert not of(calls, "nras", "jwks")


def test_payload_goes_as_received_where_it_is_a_fit_request():
    exchanges = node_answer(*gpus(2), payload_as_text=True)
    calls = service_calls(exchanges, Vendors(devices=gpus(2)))
    assert urls(calls) == [("POST", f"{NRAS}/v3/attest/gpu"), JWKS]
    payload = json.loads(exchanges[0].response_body)["nvidia_payload"]
    assert calls[0].body == payload.encode()
    assert calls[0].headers == (("Content-Type", "application/json"),)
    assert [call.credential for call in calls] == ["nras", None]
    assert "nras.jwks.1" in calls[1].step


def test_payload_that_is_an_object_goes_as_its_own_text():
    exchanges = node_answer(*gpus(1), payload_as_text=False)
    calls = service_calls(exchanges, Vendors(devices=gpus(1)))
    assert calls[0].body in exchanges[0].response_body


def test_payload_with_another_nonce_than_its_devices_is_written_anew():
    session = goods.vllm_proxy()
    devices = session.node.devices

    def renamed(members):
        payload = dict(members["nvidia_payload"], nonce="00" * 32)
        return {**members, "nvidia_payload": payload}

    exchanges = attestations(replace(session, members=renamed))[:1]
    calls = service_calls(exchanges, Vendors(devices=devices))
    asked = parse_payload(calls[0].body)
    assert asked.nonce == session.nonces[0][0].hex()
    assert (asked.arch, asked.claims_version) == ("HOPPER", "2.0")
    assert [(one.evidence, one.chain) for one in asked.entries] == list(
        session.node.evidence(session.nonces[0][0])
    )


@pytest.mark.parametrize("profile", ["chutes", "tinfoil-v3", "ionet"])
def test_devices_are_submitted_with_the_nonce_of_their_family(profile):
    session = other_families.enclave(profile)
    exchanges = attestations(session)
    calls = service_calls(exchanges, Vendors(devices=session.node.devices))
    version = "v4" if profile == "ionet" else "v3"
    assert urls(calls) == [("POST", f"{NRAS}/{version}/attest/gpu"), JWKS]
    asked = parse_payload(calls[0].body)
    client = session.nonces[0][0].hex()
    assert (asked.nonce == client) is (profile != "chutes")
    assert bytes.fromhex(asked.nonce) == asked.entries[0].evidence[4:36]
    if profile == "ionet":
        assert calls[0].body in exchanges[0].response_body


def test_claims_asked_for_by_the_user_go_to_the_newer_interface():
    calls = service_calls(
        node_answer(*gpus(1)),
        Vendors(devices=gpus(1)),
        want=Want(nras=True, claims="3.0"),
    )
    assert urls(calls)[0] == ("POST", f"{NRAS}/v4/attest/gpu")
    assert parse_payload(calls[0].body).claims_version == "3.0"


def test_gpus_and_switches_are_submitted_apart():
    session = replace(other_families.enclave("tinfoil-v3"), **other_families.switched())
    devices = (*session.node.devices, *session.switches)
    calls = service_calls(attestations(session)[:1], Vendors(devices=devices))
    assert urls(calls) == [
        ("POST", f"{NRAS}/v3/attest/gpu"),
        JWKS,
        ("POST", f"{NRAS}/v3/attest/switch"),
    ], "the keys of the first answer sign the second, too"
    assert len(parse_payload(calls[0].body).entries) == 8
    assert len(parse_payload(calls[2].body).entries) == 4


def mismatched():
    """Return an answer whose GPU signed another nonce than the quote binds, and its device."""
    session = goods.vllm_proxy()
    devices = gpus(1)

    def other(members):
        payload = sessions.Node.payload(replace(session.node, devices=devices), bytes(32))
        return {**members, "nvidia_payload": payload}

    return attestations(replace(session, members=other))[:1], devices


def test_device_with_another_nonce_than_its_quote_is_not_submitted():
    exchanges, devices = mismatched()
    assert service_calls(exchanges, Vendors(devices=devices)) == []


def test_user_who_insists_submits_it_all_the_same():
    exchanges, devices = mismatched()
    calls = service_calls(exchanges, Vendors(devices=devices), want=Want(nras=True, insist=True))
    assert parse_payload(calls[0].body).nonce == "00" * 32


def forged(place):
    """Return an answer whose first GPU's evidence has one bit changed at ``place``."""
    session = goods.vllm_proxy()

    def flip(members):
        payload = json.loads(json.dumps(members["nvidia_payload"]))
        report, _ = session.node.evidence(session.nonces[0][0])[0]
        changed = bytearray(report)
        changed[place] ^= 1
        payload["evidence_list"][0]["evidence"] = other_families.b64(bytes(changed))
        return {**members, "nvidia_payload": payload}

    return attestations(replace(session, members=flip))[:1], session.node.devices


def test_device_whose_signature_fails_is_left_out():
    exchanges, devices = forged(-1)
    calls = service_calls(exchanges, Vendors(devices=devices))
    assert len(parse_payload(calls[0].body).entries) == len(devices) - 1


@pytest.mark.parametrize("fault", [{"signer": "somebody else"}, {"issuer": None}])
def test_device_whose_chain_does_not_link_is_not_submitted(fault):
    """By a signature that fails under the right name, and the other way round."""
    device = gpus(1)[0]
    plans = device.chain()
    if "issuer" in fault:
        fault = {"issuer": plans[2].subject}
    answer = with_chain(
        node_answer(device)[0], nvidia_pki.pem(nvidia_pki.faulty(plans, 2, **fault))
    )
    assert service_calls([answer], Vendors(devices=[device])) == []


def test_payload_of_another_architecture_than_its_devices_is_written_anew():
    exchange = node_answer(*gpus(1), payload_as_text=False)[0]
    members = json.loads(exchange.response_body)
    members["nvidia_payload"]["arch"] = "BLACKWELL"
    renamed = attestation(json.dumps(members).encode())
    calls = service_calls([renamed], Vendors(devices=gpus(1)))
    assert parse_payload(calls[0].body).arch == "HOPPER"


def test_keys_are_fetched_again_where_the_key_is_not_published_yet():
    young = nvidia_nras.jwks(nvidia_nras.jwk("nv-eat-kid-test-only-2"))
    sets = iter([young])
    vendors = Vendors(
        devices=gpus(1),
        override={"jwks.json": lambda call: recorded(call, 200, next(sets, nvidia_nras.jwks()))},
    )
    calls = service_calls(node_answer(*gpus(1)), vendors)
    assert urls(calls)[1:] == [JWKS, JWKS]
    assert [call.after_s for call in calls[1:]] == [0.0, 1.0]
    assert [call.step for call in calls[1:]] == ["before.nras.jwks.1", "before.nras.jwks.2"]


def test_keys_that_never_appear_are_asked_for_twice():
    vendors = Vendors(devices=gpus(1), kid="nv-eat-kid-nobody-publishes")
    assert len(service_calls(node_answer(*gpus(1)), vendors)) == 1 + 2


@pytest.mark.parametrize(
    "answer",
    [
        lambda call: recorded(call, 401),
        lambda call: recorded(call, 403, b"no"),
        lambda call: recorded(call, 400, b"{}"),
        lambda call: recorded(call, 200, b"{"),
        lambda call: recorded(call, 200, b'[["JWT","x"],{}]'),
    ],
)
def test_no_answer_means_no_keys_and_no_second_try(answer):
    vendors = Vendors(devices=gpus(1), override={"/attest/gpu": answer})
    assert len(service_calls(node_answer(*gpus(1)), vendors)) == 1


def test_answer_of_failure_is_kept_with_its_keys():
    made = {}

    def negative(call):
        asked = parse_payload(call.body)
        made["answer"] = nvidia_nras.exchange(
            gpus(1),
            [(one.evidence, one.chain) for one in asked.entries],
            result=False,
        ).answer
        return recorded(call, 200, made["answer"])

    vendors = Vendors(devices=gpus(1), override={"/attest/gpu": negative})
    assert urls(service_calls(node_answer(*gpus(1)), vendors))[1:] == [JWKS]


def test_silent_service_stops_neither_manifests_nor_lists():
    vendors = Vendors(devices=gpus(1), override={NRAS: unreachable})
    calls = ask(node_answer(*gpus(1)), vendors, want=YES)
    assert len(of(calls, "nras")) == 1 + len(DELAYS_S)
    assert [call.url for call in of(calls, "rim")] == [DRIVER, VBIOS]


def test_second_round_submits_new_evidence_and_asks_for_nothing_else():
    session = goods.vllm_proxy()
    first, second = attestations(session)
    vendors, known = Vendors(devices=session.node.devices), set()
    ask([first], vendors, known=known, want=YES)
    calls = ask([second], vendors, known=known, want=YES, label="after")
    assert urls(calls) == [("POST", f"{NRAS}/v3/attest/gpu"), JWKS]
    assert parse_payload(calls[0].body).nonce == session.nonces[1][0].hex()
    assert ask([second], vendors, known=known, want=YES, label="third") == []


def test_round_ends_at_the_limit_of_items(monkeypatch):
    monkeypatch.setattr("bundle.collateral.MOST", 9)
    whole = node_answer(*gpus(8))
    assert len(ask(whole)) == 9
    monkeypatch.setattr("bundle.collateral.MOST", 1000)
    assert len(ask(whole)) == 4 + 2 + (8 + 2 + 3) + 3


# --- what cannot be read -------------------------------------------------------------------------


def ionet_with(quote, devices, nonce):
    """Return an answer of io.net's shape with that CPU evidence and GPUs of that nonce."""
    members = {
        "cpu": {"quote": quote.hex()},
        "gpu": {
            "evidence_list": [
                {
                    "evidence": other_families.b64(nvidia_spdm.report(device, nonce)),
                    "certificate": other_families.b64(device.chain_pem()),
                }
                for device in devices
            ]
        },
        "signing_address": "0x" + "11" * 20,
    }
    return attestation(json.dumps(members).encode())


def test_nonce_of_an_snp_report_counts_for_its_gpus():
    nonce = bytes(range(32))
    report = replace(amd_pki.report("Genoa"), report_data=nonce + bytes(32)).body()
    calls = service_calls([ionet_with(report, gpus(1), nonce)], Vendors(devices=gpus(1)))
    assert parse_payload(calls[0].body).nonce == nonce.hex()
    assert calls[0].url == f"{NRAS}/v3/attest/gpu", "a container without a nonce is written anew"


def test_gpus_beside_a_quote_that_cannot_be_read_are_not_submitted():
    nonce = bytes(range(32))
    exchange = ionet_with(b"no quote at all", gpus(1), nonce)
    calls = ask([exchange], Vendors(devices=gpus(1)), want=YES)
    assert not of(calls, "nras", "jwks", "collateral")
    assert [call.url for call in of(calls, "rim")] == [DRIVER, VBIOS]


def test_compressed_quote_that_does_not_inflate_asks_nothing():
    session = other_families.enclave("tinfoil-v2")
    members = json.loads(attestations(session)[0].response_body)
    members["body"] = other_families.b64(b"no gzip member")
    assert ask([attestation(json.dumps(members).encode())]) == []


def test_key_set_that_cannot_be_read_is_asked_for_again():
    vendors = Vendors(
        devices=gpus(1), override={"jwks.json": lambda call: recorded(call, 200, b"<html>")}
    )
    assert len(service_calls(node_answer(*gpus(1)), vendors)) == 1 + 2


def test_key_set_that_is_refused_is_not():
    vendors = Vendors(devices=gpus(1), override={"jwks.json": lambda call: recorded(call, 404)})
    assert len(service_calls(node_answer(*gpus(1)), vendors)) == 1 + 1


def test_certificate_that_the_library_cannot_ask_about_is_passed_over(monkeypatch):
    def broken(*_):
        raise ValueError("not in this library")

    monkeypatch.setattr("cryptography.x509.ocsp.OCSPRequestBuilder.add_certificate", broken)
    calls = ask(node_answer(*gpus(1)))
    assert not [call for call in calls if call.url == OCSP]
    assert [call for call in calls if call.url.startswith(CRL)]


def test_payload_that_holds_two_lists_is_written_anew():
    session = goods.vllm_proxy()

    def doubled(members):
        payload = dict(members["nvidia_payload"], evidences=[])
        return {**members, "nvidia_payload": payload}

    exchanges = attestations(replace(session, members=doubled))[:1]
    calls = service_calls(exchanges, Vendors(devices=session.node.devices))
    assert sorted(json.loads(calls[0].body)) == [
        "arch",
        "claims_version",
        "evidence_list",
        "nonce",
    ]


def test_name_of_a_certificate_cannot_write_to_the_terminal():
    """It is the provider's to choose, and stands in the line that says what is asked for."""
    root_key, key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    root = certificate("root", root_key, ca=True)
    middle = certificate("\x1b]0;owned\x07\r" + "x" * 30, key, issuer=(root, root_key), ca=True)
    child, issuer = (load_certificate(one.public_bytes(Encoding.DER)) for one in (middle, root))
    round_ = _Round(
        endpoints=HERE, label="before", known=set(), want=Want(), random_bytes=bytes, session="s1"
    )
    call = next(_standing(round_, child, issuer))
    assert call.stage.isprintable()
    assert "owned" in call.stage
