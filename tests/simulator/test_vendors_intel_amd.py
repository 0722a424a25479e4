"""Intel's and AMD's simulated services: what they answer is accepted then, each fault refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from fixtures import amd_pki, intel_pki
from fixtures.simulator.vendors import WORLDS
from fixtures.simulator.vendors_intel import OTHER, PLATFORM, PROCESSOR, pem_list
from fixtures.snp_case import bundle_of
from tests.amd import snp_judged
from tests.simulator.vendor_calls import (
    DAYS,
    PRESENT,
    appraised,
    ask,
    at,
    collateral,
    given,
    header,
    second,
)
from verify.crypto.x509 import load_revocation_list
from verify.engine.reason import Reason
from verify.intel.appraisal import appraise

R = Reason
PCS = "/tdx/certification/v4"


# --- Intel ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", DAYS, ids=str)
@pytest.mark.parametrize("world", WORLDS, ids=["platform", "other", "processor"])
def test_intel_quote_of_each_platform_is_accepted_at_any_time(moment, world):
    found = appraised(at(moment), moment, world)
    assert found.codes == ()
    assert found.tcb is not None
    assert found.tcb_info.fmspc == world.pck.fmspc


@pytest.mark.parametrize("moment", DAYS, ids=str)
def test_intel_quote_of_an_enclave_is_accepted_with_its_own_items(moment):
    world = intel_pki.sgx_world()
    assert appraised(at(moment), moment, world, tee="sgx").codes == ()


def test_intel_quote_of_the_fixtures_is_accepted_with_what_is_answered_later():
    later = DAYS[2]
    world = PLATFORM
    found = appraise(
        world.quote,
        collateral(at(later), world),
        later,
        world.anchor,
    )
    assert found.codes == ()


def test_intel_items_of_today_are_refused_when_they_are_over():
    moment = DAYS[1]
    found = appraised(at(moment - timedelta(days=31)), moment, PLATFORM)
    assert found.code is R.TDX_TCB_INFO_EXPIRED
    assert R.TDX_PCK_CRL_EXPIRED in found.codes


CODES = {
    "collateral-404": R.TDX_COLLATERAL_MISSING,
    "collateral-404@qe-identity": R.TDX_COLLATERAL_MISSING,
    "collateral-404@pck-crl": R.TDX_COLLATERAL_MISSING,
    "collateral-404@root-crl": R.TDX_COLLATERAL_MISSING,
    "collateral-expired": R.TDX_TCB_INFO_EXPIRED,
    "collateral-expired@qe-identity": R.TDX_QE_IDENTITY_EXPIRED,
    "collateral-expired@pck-crl": R.TDX_PCK_CRL_EXPIRED,
    "collateral-expired@root-crl": R.TDX_ROOT_CRL_EXPIRED,
    "collateral-late": R.TDX_TCB_INFO_NOT_YET_VALID,
    "collateral-late@qe-identity": R.TDX_QE_IDENTITY_NOT_YET_VALID,
    "collateral-late@pck-crl": R.TDX_PCK_CRL_NOT_YET_VALID,
    "collateral-late@root-crl": R.TDX_ROOT_CRL_NOT_YET_VALID,
    "collateral-other-fmspc": R.TDX_TCB_INFO_FMSPC_MISMATCH,
}


@pytest.mark.parametrize("moment", DAYS[1:3], ids=str)
@pytest.mark.parametrize("fault", CODES)
def test_intel_fault_gives_its_code_and_no_other(moment, fault):
    assert appraised(at(moment, fault), moment, PLATFORM).codes == (CODES[fault],)


@pytest.mark.parametrize(
    ("item", "path", "name"),
    [
        ("", f"{PCS}/tcb?fmspc={intel_pki.FMSPC.hex()}", "TCB-Info-Issuer-Chain"),
        ("@qe-identity", f"{PCS}/qe/identity", "SGX-Enclave-Identity-Issuer-Chain"),
        ("@pck-crl", "/sgx/certification/v4/pckcrl?ca=platform", "SGX-PCK-CRL-Issuer-Chain"),
    ],
)
def test_intel_chain_header_is_there_unless_the_fault_is_on(item, path, name):
    good = ask(at(PRESENT), "intel_pcs", path)
    bare = ask(at(PRESENT, f"collateral-no-chain-header{item}"), "intel_pcs", path)
    assert (header(good, name) or "").startswith("-----BEGIN%20CERTIFICATE-----%0A")
    assert bare.status == 200
    assert header(bare, name) is None


def test_intel_family_that_nobody_knows_is_not_found():
    assert ask(at(PRESENT), "intel_pcs", f"{PCS}/tcb?fmspc=00606a000000").status == 404
    assert ask(at(PRESENT), "intel_pcs", f"{PCS}/tcb?fmspc=zz").status == 400
    assert ask(at(PRESENT), "intel_pcs", f"{PCS}/nothing").status == 404


def test_intel_evaluation_number_is_the_one_asked_for():
    def number(query):
        body = given(at(PRESENT), "intel_pcs", f"{PCS}/tcb?fmspc={OTHER.pck.fmspc.hex()}{query}")
        return json.loads(body)["tcbInfo"]["tcbEvaluationDataNumber"]

    assert (number(""), number("&update=standard"), number("&update=early")) == (17, 17, 18)
    assert number("&tcbEvaluationDataNumber=18") == 18
    unknown = f"{PCS}/tcb?fmspc={OTHER.pck.fmspc.hex()}&tcbEvaluationDataNumber=3"
    assert ask(at(PRESENT), "intel_pcs", unknown).status == 404


def test_intel_lists_come_as_pem_der_and_hexadecimal_text():
    vendors = at(PRESENT)
    der = given(vendors, "intel_pcs", "/sgx/certification/v4/pckcrl?ca=processor&encoding=der")
    assert given(vendors, "intel_pcs", "/sgx/certification/v4/pckcrl?ca=processor") == pem_list(der)
    found = load_revocation_list(der)
    assert found.issuer == load_revocation_list(PROCESSOR.pck_crl).issuer
    root = given(vendors, "intel_certificates", "/IntelSGXRootCA.der")
    text = given(vendors, "intel_pcs", "/sgx/certification/v4/rootcacrl")
    assert bytes.fromhex(text.decode()) == root


# --- AMD -----------------------------------------------------------------------------------------

SPLS = {
    "fmcSPL": "fmc",
    "blSPL": "bootloader",
    "teeSPL": "tee",
    "snpSPL": "snp",
    "ucodeSPL": "microcode",
}


def leaf_path(product, **levels):
    known = {**amd_pki.TCB[product], **levels}
    query = "&".join(f"{spl}={known[name]}" for spl, name in SPLS.items() if name in known)
    return f"/vcek/v1/{product}/{amd_pki.chip_hwid(product).hex()}?{query}"


def snp(moment, *faults, product="Genoa"):
    vendors = at(moment, *faults)
    case = bundle_of(
        amd_pki.evidence(product, as_of=second(moment)).report,
        given(vendors, "amd_kds", leaf_path(product)),
        (given(vendors, "amd_kds", f"/vcek/v1/{product}/cert_chain"),),
        given(vendors, "amd_kds", f"/vcek/v1/{product}/crl"),
    )
    return snp_judged.given(snp_judged.judge(replace(case, as_of=second(moment))))


@pytest.mark.parametrize("moment", DAYS, ids=str)
def test_amd_report_is_accepted_at_any_time(moment):
    assert snp(moment) == {}


@pytest.mark.parametrize("product", ["Milan", "Turin"])
def test_amd_report_of_the_other_products_is_accepted(product):
    assert snp(DAYS[2], product=product) == {}


def test_amd_faults_give_their_codes():
    row = "snp.certificates.revocation"
    assert snp(DAYS[1], "collateral-expired") == {row: R.SNP_CRL_EXPIRED}
    assert snp(DAYS[1], "collateral-late") == {row: R.SNP_CRL_NOT_YET_VALID}
    for item, path in (
        ("", leaf_path("Genoa")),
        ("@amd-chain", "/vcek/v1/Genoa/cert_chain"),
        ("@amd-crl", "/vcek/v1/Genoa/crl"),
    ):
        assert ask(at(PRESENT, f"collateral-404{item}"), "amd_kds", path).status == 404


def test_amd_leaf_of_another_tcb_says_so_and_of_another_chip_is_not_found():
    vendors = at(PRESENT)
    usual = given(vendors, "amd_kds", leaf_path("Milan"))
    assert given(vendors, "amd_kds", leaf_path("Milan", microcode=1)) != usual
    stranger = leaf_path("Milan").replace(amd_pki.chip_hwid("Milan").hex(), "00" * 64)
    assert ask(vendors, "amd_kds", stranger).status == 404
    assert ask(vendors, "amd_kds", leaf_path("Milan").partition("?")[0]).status == 400
    assert ask(vendors, "amd_kds", "/vlek/v1/Milan/cert?blSPL=1").status == 401
    assert ask(vendors, "amd_kds", "/vcek/v1/Rome/crl").status == 404
    assert given(vendors, "amd_kds", "/vlek/v1/Milan/cert_chain").count(b"BEGIN") == 2
