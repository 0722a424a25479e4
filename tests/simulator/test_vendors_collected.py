"""A capture's own questions, answered by the simulated vendors: the bundle is VERIFIED at any time.

Without sockets: the collateral steps of the capture side ask, the handler answers, and the recorded
answers stand in the place of a session's own. Everything else of the session is as in the fixtures.
"""

from __future__ import annotations

from dataclasses import replace
from email.utils import format_datetime
from urllib.parse import urlsplit

import pytest

from bundle.collateral import Endpoints, Want, collect
from bundle.recording import RecordedExchange
from fixtures import goods, intel_pki, policies, trust_file
from fixtures.registry import Case
from fixtures.sealed import Draft
from fixtures.simulator.vendors import Vendors, simulator_trust
from fixtures.simulator.vendors_intel import PROCESSOR
from fixtures.simulator.wire import Request
from fixtures.verification import answer
from tests.simulator.vendor_calls import DAYS, ENDPOINTS, second

VENDORS_OWN = {"collateral", "revocation", "nras", "jwks", "rim"}
CAPTURE = Endpoints(**{k: v for k, v in ENDPOINTS.items() if k not in ("tsa", "beacon")})


def sent(vendors, call, moment) -> RecordedExchange:
    """Return what comes of a call."""
    url = urlsplit(call.url)
    found = vendors(
        Request(
            method=call.method,
            target=url.path + (f"?{url.query}" if url.query else ""),
            headers=(("Host", url.netloc), *call.headers),
            body=call.body or b"",
            connection=0,
            spki=None,
            number=0,
        )
    )
    assert found is not None, call.url
    return RecordedExchange(
        purpose=call.purpose,
        method=call.method,
        url=call.url.replace("127.0.0.1:1", "vendors.example.test"),
        started_at=moment,
        ended_at=moment,
        first_byte_at=moment,
        request_headers=(("Host", url.netloc), *call.headers),
        request_body=call.body,
        status=found.status,
        response_headers=(
            ("Date", format_datetime(moment, usegmt=True)),
            ("Content-Type", found.media_type),
            *found.headers,
        ),
        response_body=found.body or None,
    )


def collected(vendors, attestations, moment, known) -> list[RecordedExchange]:
    """Drive the capture's questions about attestations."""
    numbers = iter(range(1, 1000))
    steps = collect(
        attestations,
        endpoints=CAPTURE,
        label="before",
        known=known,
        want=Want(nras=True),
        random_bytes=lambda size: next(numbers).to_bytes(size, "big"),
    )
    found: list[RecordedExchange] = []
    try:
        call = next(steps)
        while True:
            found.append(sent(vendors, call, moment))
            call = steps.send(found[-1])
    except StopIteration:
        return found


def captured(moment, *faults, world=intel_pki.BASE):
    """Return the case of a session whose vendor answers were collected, and those answers."""
    end = second(moment)
    vendors = Vendors(time=lambda: moment, faults=faults)
    asked: list[RecordedExchange] = []

    def with_vendors(raw):
        known: set[str] = set()
        result: list[RecordedExchange] = []
        for exchange in raw:
            if exchange.purpose in VENDORS_OWN:
                continue
            result.append(exchange)
            if exchange.purpose == "attestation":
                found = collected(vendors, [exchange], end, known)
                asked.extend(found)
                result.extend(found)
        return tuple(result)

    good = goods.near_gateway()
    session = replace(
        good,
        end=end,
        node=replace(good.node, world=intel_pki.world_at(moment, world)),
        gateway=replace(good.gateway, world=intel_pki.world_at(moment)),
        recorded=with_vendors,
    )

    document = policies.session_document("near-gateway", session)
    case = Case(
        bundle=Draft(session=session).build(),
        policy=policies.written(document),
        trust=(trust_file.document(),),
    )
    return case, asked


@pytest.mark.parametrize("moment", DAYS, ids=str)
@pytest.mark.parametrize("trust", [trust_file.document(), simulator_trust()], ids=["test", "own"])
def test_capture_with_simulated_vendors_is_verified_at_any_time(moment, trust):
    case, asked = captured(moment)
    assert {one.purpose for one in asked} == VENDORS_OWN
    assert {one.status for one in asked} == {200}
    found = answer(replace(case, trust=(trust,)))
    assert found.verdict == "VERIFIED"
    wanted = ("tdx.tcb", "gpu.rim", "gpu.measurement", "gpu.revocation", "nras.result")
    assert [found.checks[name][0] for name in wanted] == ["PASS"] * len(wanted)


def test_capture_of_two_platform_families_is_verified():
    case, asked = captured(DAYS[1], world=PROCESSOR)
    assert len([one for one in asked if "/tcb?" in one.url]) == 2
    assert answer(case).verdict == "VERIFIED"


FAULTS = {
    "collateral-404": ("INCOMPLETE", "tdx.tcb_info", "tdx.collateral.missing"),
    "collateral-404@pck-crl": ("INCOMPLETE", "tdx.pck.revocation", "tdx.collateral.missing"),
    "collateral-expired": ("REJECTED", "tdx.tcb_info", "tdx.tcb_info.expired"),
    "collateral-late": ("REJECTED", "tdx.tcb_info", "tdx.tcb_info.not_yet_valid"),
    # what speaks of another family is bound to no quote: it is there, and says nothing of this one
    "collateral-other-fmspc": ("INCOMPLETE", "tdx.tcb_info", "tdx.collateral.missing"),
    "collateral-no-chain-header": ("INCOMPLETE", "tdx.tcb_info", "tdx.collateral.missing"),
    "nras-negative": ("REJECTED", "nras.result", "nras.result.overall_false"),
    "nras-unknown-kid": ("REJECTED", "nras.token", "nras.jwt.kid_unknown"),
    "ocsp-revoked": ("REJECTED", "gpu.revocation", "gpu.ocsp.revoked"),
    "ocsp-stale": ("REJECTED", "gpu.revocation", "gpu.ocsp.stale"),
    "rim-404": ("INCOMPLETE", "gpu.rim", "gpu.rim.missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_capture_with_a_vendor_fault_is_judged_with_its_reason(fault):
    verdict, check, reason = FAULTS[fault]
    case, _ = captured(DAYS[1], fault)
    found = answer(case)
    assert (found.verdict, found.checks[check][1]) == (verdict, reason)


def test_capture_while_the_key_set_rotates_is_verified():
    case, asked = captured(DAYS[1], "nras-keys-rotate")
    sets = [one.response_body for one in asked if one.purpose == "jwks"]
    assert len(set(sets)) == len(sets) > 1
    assert answer(case).verdict == "VERIFIED"


def test_capture_is_rejected_by_built_in_trust_and_its_own_signer():
    case, _ = captured(DAYS[1])
    signer = [entry for entry in trust_file.anchors() if entry["purpose"] == "capture-signer"]
    found = answer(replace(case, trust=(trust_file.document(signer),)))
    assert found.verdict == "REJECTED"
    assert {name: said[1] for name, said in found.checks.items() if said[0] == "FAIL"} == {
        "tdx.root_crl": "tdx.root_crl.issuer_mismatch",
        "gpu.chain": "gpu.chain.root_untrusted",
        "nras.token": "nras.key.intermediate_not_pinned",
    }
    assert {found.checks[name][0] for name in ("tdx.pck.chain", "gpu.rim")} == {"BLOCKED"}
