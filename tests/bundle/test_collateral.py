"""What is asked of Intel, AMD and of the vendors' patience, for exactly what came back."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.calls import DELAYS_S
from bundle.collateral import GIVE_UP, Endpoints
from fixtures import amd_pki, goods, intel_pki, nitro_sim, other_families
from fixtures.intel_pki import PckSpec, QuoteSpec, World
from tests.bundle.collateral_case import (
    Vendors,
    ask,
    attestation,
    attestations,
    kds,
    of,
    recorded,
    unreachable,
    urls,
)

PCS = "https://api.trustedservices.intel.com"
ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
FMSPC = intel_pki.FMSPC.hex()
OTHER = bytes.fromhex("b0c06f000000")
CPU = ("collateral",)


def intel(fmspc=FMSPC, tee="tdx", ca="platform"):
    return [
        ("GET", f"{PCS}/{tee}/certification/v4/tcb?fmspc={fmspc}"),
        ("GET", f"{PCS}/{tee}/certification/v4/qe/identity"),
        ("GET", f"{PCS}/sgx/certification/v4/pckcrl?ca={ca}&encoding=der"),
        ("GET", ROOT_CRL),
    ]


def cpu_only(calls):
    return [call for call in calls if "nvidia" not in call.url]


def quote_answer(quote):
    return kds(quote)


# --- Intel ---------------------------------------------------------------------------------------


def test_quote_gets_four_items_of_the_specification():
    calls = ask([quote_answer(intel_pki.BASE.quote)])
    assert urls(calls) == intel()
    assert [call.purpose for call in calls] == [
        "collateral",
        "collateral",
        "revocation",
        "revocation",
    ]
    assert [call.step for call in calls] == [
        f"before.intel.tcb.tdx.{FMSPC}",
        "before.intel.qe.tdx",
        "before.intel.pckcrl.platform",
        "before.intel.rootcrl",
    ]
    assert all(call.stage and call.body is None and call.credential is None for call in calls)
    assert not any(call.once for call in calls)


def test_quote_of_the_compose_manager_asks_nothing_twice():
    session = goods.near_direct()
    calls = ask(attestations(session)[:1], Vendors(devices=session.node.devices))
    assert urls(cpu_only(calls)) == intel()


def test_gateway_and_model_on_two_platforms_get_tcb_info_each():
    session = goods.near_gateway()
    other = replace(session.gateway, world=World(pck=PckSpec(fmspc=OTHER)))
    calls = ask(attestations(replace(session, gateway=other))[:1])
    assert urls(cpu_only(calls)) == [*intel(OTHER.hex()), intel()[0]]


def test_quote_under_the_processor_ca_asks_for_that_list():
    calls = ask([quote_answer(intel_pki.processor_world().quote)])
    assert urls(calls) == intel(ca="processor")


def test_sgx_quote_asks_for_sgx_items():
    calls = ask([quote_answer(intel_pki.sgx_world().quote)])
    assert urls(calls) == intel(tee="sgx")


def test_sgx_and_tdx_side_by_side_share_the_revocation_lists():
    calls = ask(
        [quote_answer(intel_pki.BASE.quote), quote_answer(intel_pki.sgx_world().quote)],
    )
    assert urls(calls) == [*intel(), *intel(tee="sgx")[:2]]


def test_every_instance_of_an_answer_counts():
    session = other_families.enclave("chutes")
    members = json.loads(attestations(session)[0].response_body)
    second = dict(members["evidence"][0], instance_id="00000000-0000-4000-8000-00000000c002")
    world = World(pck=PckSpec(fmspc=OTHER))
    second["quote"] = other_families.b64(world.quote)
    members["evidence"].append(second)
    calls = ask([attestation(json.dumps(members).encode())])
    assert urls(of(calls, "collateral")) == [*intel()[:2], intel(OTHER.hex())[0]]


@pytest.mark.parametrize("profile", ["chutes", "tinfoil-v3", "tinfoil-v2", "ionet"])
def test_every_family_of_quotes_is_read(profile):
    session = other_families.enclave(profile)
    calls = ask(attestations(session), Vendors(devices=session.node.devices))
    assert urls(cpu_only(calls)) == intel()


PPID = {2: bytes(range(256)), 3: bytes(range(192)) * 2}
TRAILER = bytes(range(16)) + bytes.fromhex("0d00") + bytes.fromhex("0000")
USER = bytes(range(0x20, 0x34))


def bare(kind, data):
    return World(quote_spec=QuoteSpec(cert_type=kind, cert_data=data, user_data=USER)).quote


def certified(call, *, fmspc="90C06F000000", ca="platform"):
    found = [("SGX-FMSPC", fmspc), ("SGX-PCK-Certificate-CA-Type", ca)]
    return recorded(call, 200, b"-----BEGIN", [pair for pair in found if pair[1] is not None])


@pytest.mark.parametrize("kind", [2, 3])
def test_quote_without_a_chain_asks_for_its_certificate_first(kind):
    vendors = Vendors(override={"/pckcert?": certified})
    calls = ask([quote_answer(bare(kind, PPID[kind] + TRAILER))], vendors)
    assert urls(calls)[0] == (
        "GET",
        (
            f"{PCS}/sgx/certification/v4/pckcert?encrypted_ppid={PPID[kind].hex()}"
            "&cpusvn=000102030405060708090a0b0c0d0e0f&pcesvn=0d00&pceid=0000"
            "&qeid=202122232425262728292a2b2c2d2e2f"
        ),
    )
    assert urls(calls)[1:] == intel("90c06f000000")


@pytest.mark.parametrize(
    "answer",
    [
        lambda call: recorded(call, 404),
        lambda call: recorded(call, 401),
        lambda call: certified(call, fmspc=None),
        lambda call: certified(call, fmspc="../../secret"),
        lambda call: certified(call, ca="other"),
    ],
)
def test_certificate_that_tells_no_platform_ends_the_questions(answer):
    vendors = Vendors(override={"/pckcert?": answer})
    calls = ask([quote_answer(bare(2, PPID[2] + TRAILER))], vendors)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("kind", "data"),
    [(1, bytes(16) + TRAILER), (2, PPID[2]), (3, PPID[2] + TRAILER), (5, b"no chain"), (4, b"x")],
)
def test_quote_that_names_no_platform_asks_nothing(kind, data):
    assert ask([quote_answer(bare(kind, data))]) == []


def test_other_hosts_take_the_place_of_the_vendors():
    calls = ask(
        [quote_answer(intel_pki.BASE.quote)],
        endpoints=Endpoints(intel_pcs="http://127.0.0.1:1/", intel_certificates="http://[::1]:2"),
    )
    assert [call.url for call in calls] == [
        f"http://127.0.0.1:1/tdx/certification/v4/tcb?fmspc={FMSPC}",
        "http://127.0.0.1:1/tdx/certification/v4/qe/identity",
        "http://127.0.0.1:1/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
        "http://[::1]:2/IntelSGXRootCA.der",
    ]


def test_endpoints_are_those_of_the_specifications():
    assert {one.name: one.default for one in fields(Endpoints)} == {
        "intel_pcs": "https://api.trustedservices.intel.com",
        "intel_certificates": "https://certificates.trustedservices.intel.com",
        "nvidia_rim": "https://rim.attestation.nvidia.com",
        "nvidia_ocsp": "https://ocsp.ndis.nvidia.com",
        "nvidia_crl": "https://crl.ndis.nvidia.com",
        "nvidia_nras": "https://nras.attestation.nvidia.com",
        "amd_kds": "https://kdsintf.amd.com",
        "tinfoil_releases": "https://github-proxy.tinfoil.sh",
    }


# --- AMD -----------------------------------------------------------------------------------------

KDS = "https://kdsintf.amd.com"


def snp(product, **changes):
    return kds(replace(amd_pki.report(product), **changes).body())


def levels(product):
    tcb = amd_pki.TCB[product]
    head = f"fmcSPL={tcb['fmc']}&" if product == "Turin" else ""
    return (
        f"{head}blSPL={tcb['bootloader']}&teeSPL={tcb['tee']}&snpSPL={tcb['snp']}"
        f"&ucodeSPL={tcb['microcode']}"
    )


def vcek(product):
    chip = amd_pki.chip_hwid(product).hex()
    return ("GET", f"{KDS}/vcek/v1/{product}/{chip}?{levels(product)}")


def listed(product, kind="vcek"):
    return [
        ("GET", f"{KDS}/{kind}/v1/{product}/cert_chain"),
        ("GET", f"{KDS}/{kind}/v1/{product}/crl"),
    ]


@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
def test_report_gets_its_chip_certificate_then_chain_then_list(product):
    calls = ask([snp(product)])
    assert urls(calls) == [vcek(product), *listed(product)]
    assert [call.purpose for call in calls] == ["collateral", "collateral", "revocation"]


def test_turin_chip_is_named_by_sixteen_digits():
    assert len(vcek("Turin")[1].partition("?")[0].rpartition("/")[2]) == 16
    assert len(vcek("Genoa")[1].partition("?")[0].rpartition("/")[2]) == 128


def test_levels_follow_the_reported_tcb():
    report = snp("Genoa", reported=bytes.fromhex("0a00000000001754"))
    assert ask([report])[0].url.partition("?")[2] == "blSPL=10&teeSPL=0&snpSPL=23&ucodeSPL=84"


@pytest.mark.parametrize("product", ["Milan", "Genoa", "Turin"])
def test_report_signed_with_a_vlek_gets_the_lists_of_vleks(product):
    calls = ask([kds(amd_pki.report(product, kind="vlek").body())])
    assert urls(calls) == listed(product, "vlek")


def test_report_of_a_masked_chip_asks_for_no_certificate():
    assert urls(ask([snp("Milan", chip_id=bytes(64))])) == listed("Milan")


def test_report_of_an_unknown_product_asks_nothing():
    assert ask([snp("Genoa", fields={0x188: bytes((0x1B, 0, 0))})]) == []


@pytest.mark.parametrize("after", [{0x4A0 - 1: b"\x01"}, {0x000: b"\x09"}])
def test_report_that_does_not_parse_asks_nothing(after):
    assert ask([snp("Genoa", after=after)]) == []


def test_two_chips_of_one_product_share_chain_and_list():
    calls = ask([snp("Genoa"), snp("Genoa", chip_id=b"\x11" * 64)])
    assert urls(calls) == [
        vcek("Genoa"),
        *listed("Genoa"),
        ("GET", f"{KDS}/vcek/v1/Genoa/{'11' * 64}?{levels('Genoa')}"),
    ]


def version_2(product):
    return kds(amd_pki.report(product, 2).body())


def not_milan(call):
    return recorded(call, 404)


def test_report_that_does_not_say_its_product_is_asked_about_in_turn():
    known = set()
    vendors = Vendors(override={"/vcek/v1/Milan/": not_milan})
    calls = ask([version_2("Genoa")], vendors, known=known)
    assert [url.split("/")[5] for _, url in urls(calls)] == ["Milan", "Genoa", "Genoa", "Genoa"]
    assert urls(calls)[1:] == [vcek("Genoa"), *listed("Genoa")]
    assert ask([version_2("Genoa")], vendors, known=known, label="after") == []


def test_report_that_does_not_say_its_product_is_milan_if_milan_knows_the_chip():
    assert urls(ask([version_2("Milan")])) == [vcek("Milan"), *listed("Milan")]


def test_short_chip_id_without_cpuid_is_turin():
    assert urls(ask([version_2("Turin")])) == [vcek("Turin"), *listed("Turin")]


def test_report_whose_product_nobody_knows_gets_no_lists():
    vendors = Vendors(override={"/vcek/": not_milan})
    calls = ask([version_2("Genoa")], vendors)
    assert len(calls) == 2


def test_vlek_report_without_cpuid_asks_nothing():
    assert ask([kds(amd_pki.report("Milan", 2, "vlek").body())]) == []


# --- patience ------------------------------------------------------------------------------------


def test_busy_service_is_asked_again_and_the_next_items_too():
    answers = iter([503, 429])

    def busy(call):
        return recorded(call, next(answers, 200), b"{}", [("Retry-After", "7")])

    calls = ask([quote_answer(intel_pki.BASE.quote)], Vendors(override={"/tcb?": busy}))
    step = f"before.intel.tcb.tdx.{FMSPC}"
    assert [(call.step, call.after_s) for call in calls[:3]] == [
        (step, 0.0),
        (f"{step}/2", 7.0),
        (f"{step}/3", 7.0),
    ]
    assert urls(calls)[2:] == intel()


def test_service_that_stays_busy_is_asked_anew_in_the_next_round():
    known = set()
    busy = Vendors(override={PCS: lambda call: recorded(call, 503)})
    ask([quote_answer(intel_pki.BASE.quote)], busy, known=known)
    assert (
        urls(ask([quote_answer(intel_pki.BASE.quote)], known=known, label="after")) == intel()[:3]
    )


def test_silent_service_is_given_up_on_however_much_evidence_there_is():
    chips = [snp("Genoa", chip_id=bytes([number]) * 64) for number in range(1, 40)]
    calls = ask(chips, Vendors(override={KDS: unreachable}))
    assert len(calls) == GIVE_UP + len(DELAYS_S)
    assert len({call.url for call in calls}) == GIVE_UP
    others = ask([*chips, quote_answer(intel_pki.BASE.quote)], Vendors(override={KDS: unreachable}))
    assert set(intel()) <= set(urls(others)), "another service is none the worse for it"


def test_service_that_answers_now_and_then_is_not_given_up_on():
    chips = [snp("Genoa", chip_id=bytes([number]) * 64) for number in range(1, 40)]
    turn = iter(range(1000))

    def faint(call):
        return recorded(call, 200, b"{}") if next(turn) % GIVE_UP == 0 else unreachable(call)

    calls = ask(chips, Vendors(override={KDS: faint}))
    assert len({call.url for call in calls}) == len(chips) + 2
    assert len({call.step for call in calls if "/" in call.step}) == len(DELAYS_S)


def test_silent_service_costs_patience_once_and_stops_nothing_else():
    known = set()
    vendors = Vendors(override={PCS: unreachable})
    calls = ask([quote_answer(intel_pki.BASE.quote), snp("Genoa")], vendors, known=known)
    tries = 1 + len(DELAYS_S)
    assert urls(calls) == [
        *[intel()[0]] * tries,
        *intel()[1:],
        vcek("Genoa"),
        *listed("Genoa"),
    ]
    assert [call.after_s for call in calls[:tries]] == [0.0, *DELAYS_S]
    again = ask([quote_answer(intel_pki.BASE.quote)], known=known, label="after")
    assert urls(again) == intel()[:3], "the silent service is asked anew, the answered one is not"


def test_refusal_is_kept_and_final():
    known = set()
    vendors = Vendors(override={"/tcb?": lambda call: recorded(call, 404, b"")})
    calls = ask([quote_answer(intel_pki.BASE.quote)], vendors, known=known)
    assert urls(calls) == intel()
    assert ask([quote_answer(intel_pki.BASE.quote)], known=known, label="after") == []


def test_answer_that_was_cut_is_no_answer():
    known = set()
    vendors = Vendors(override={"/tcb?": lambda call: recorded(call, 200, b"{", complete=False)})
    ask([quote_answer(intel_pki.BASE.quote)], vendors, known=known)
    again = ask([quote_answer(intel_pki.BASE.quote)], known=known, label="after")
    assert urls(again) == intel()[:1]


# --- rounds --------------------------------------------------------------------------------------


def test_second_round_asks_for_what_is_new_alone():
    known = set()
    ask([quote_answer(intel_pki.BASE.quote), snp("Genoa")], known=known)
    other = World(pck=PckSpec(fmspc=OTHER)).quote
    calls = ask(
        [quote_answer(intel_pki.BASE.quote), quote_answer(other), snp("Milan")],
        known=known,
        label="after",
    )
    assert urls(calls) == [intel(OTHER.hex())[0], vcek("Milan"), *listed("Milan")]
    assert all(call.step.startswith("after.") for call in calls)


@pytest.mark.parametrize("name", sorted(goods.SESSIONS))
def test_same_answers_give_the_same_calls_each_with_its_own_name(name):
    session = goods.SESSIONS[name]()
    devices = session.node.devices
    first, second = (
        ask(attestations(session), Vendors(devices=devices), session="s2") for _ in range(2)
    )
    assert first == second
    assert len({call.step for call in first}) == len(first) > 4
    assert {call.session for call in first} == {"s2"}


# --- what gives no call --------------------------------------------------------------------------

GOOD = attestations(goods.vllm_proxy())[0].response_body


@pytest.mark.parametrize(
    "exchange",
    [
        attestation(GOOD, status=500),
        attestation(GOOD, status=404),
        attestation(GOOD, complete=False),
        attestation(None),
        attestation(b""),
        attestation(b"{"),
        attestation(b"[]"),
        attestation(b'{"error":"busy"}'),
        attestation(b'{"unknown":1}'),
        attestation(json.dumps({"attestation_document": "hEShATgi"}).encode()),
        attestation(GOOD[:-20]),
        attestation(b"{" * 100_000),
        attestation(b" " * (8 << 20) + GOOD),
        replace(attestation(GOOD), purpose="chat"),
        replace(attestation(GOOD), status=None),
    ],
)
def test_what_holds_no_evidence_gives_no_call(exchange):
    assert ask([exchange]) == []


def test_nitro_document_needs_nothing_from_anybody():
    document = nitro_sim.System().document()
    members = {"attestation_document": other_families.b64(document)}
    assert ask([attestation(json.dumps(members).encode())]) == []


@given(st.binary(max_size=200))
def test_hostile_body_gives_no_call_and_no_error(body):
    assert ask([attestation(body)]) == []


@given(st.integers(0, len(intel_pki.BASE.quote) - 1), st.integers(1, 255))
def test_damaged_quote_never_raises(place, change):
    quote = bytearray(intel_pki.BASE.quote)
    quote[place] ^= change
    allowed = {url.partition("?")[0] for _, url in intel()}
    for call in ask([quote_answer(bytes(quote))]):
        assert call.url.partition("?")[0] in allowed | {f"{PCS}/sgx/certification/v4/pckcert"}


@given(st.integers(0, 0x49F), st.integers(1, 255))
def test_damaged_report_never_raises(place, change):
    report = bytearray(amd_pki.report("Genoa").body())
    report[place] ^= change
    assert all(call.url.startswith(f"{KDS}/v") for call in ask([kds(bytes(report))]))
