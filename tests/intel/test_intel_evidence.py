"""Every recorded quote at every judged instant gives what its expectation file says."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from urllib.parse import unquote

import pytest

from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.intel.appraisal import Answer, Collateral, appraise
from verify.intel.ccel import parse_ccel
from verify.intel.dcap import attribute_findings
from verify.intel.quote import parse_quote


def iso(moment):
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def test_real_quotes_every_case_gives_the_expected_status_or_code(tdx_items):
    judged = 0
    for name, item in tdx_items.items():
        for case, collateral, anchor, at in item.judged():
            found = item.appraise(collateral, anchor, at)
            code = None if found.code is None else found.code.code
            status = None if found.code is not None else found.tcb.status.value
            assert (code, status) == (case["code"], case["status"]), (name, case.get("case"))
            judged += 1
    assert judged == 329


def test_real_quotes_accepted_cases_give_the_expected_details(tdx_items):
    judged = 0
    for name, item in tdx_items.items():
        for case, collateral, anchor, at in item.judged():
            if case["status"] is None or "tcb_date" not in case:
                continue
            found = item.appraise(collateral, anchor, at)
            launch, current = found.tcb.launch, found.tcb.current
            assert {
                "advisory_ids": list(found.tcb.all_advisory_ids),
                "tcb_date": iso(launch.tcb_date),
                "platform_status": launch.platform_status.value,
                "module_status": launch.module_status and launch.module_status.value,
                "qe_status": launch.qe_status.value,
                "current_status": current and current.status.value,
                "tcb_evaluation_data_number": {
                    "tcb_info": found.tcb_info.evaluation_number,
                    "qe_identity": found.qe_identity.evaluation_number,
                },
                "provable_not_before": iso(found.provable_not_before),
                "window_end": iso(found.window_end),
            } == {
                key: case[key]
                for key in (
                    "advisory_ids",
                    "tcb_date",
                    "platform_status",
                    "module_status",
                    "qe_status",
                    "current_status",
                    "tcb_evaluation_data_number",
                    "provable_not_before",
                    "window_end",
                )
            }, (name, case["case"])
            judged += 1
    assert judged == 103


def test_real_quotes_parse_to_the_expected_fields(tdx_items):
    for name, item in tdx_items.items():
        expected = item.expected
        quote = parse_quote(item.quote)
        if "fields" in expected:
            assert {k: v.hex() for k, v in quote.body.fields().items()} == expected["fields"], name
        assert quote.tee.value == expected["tee"]
        assert quote.version == expected["quote_version"]
        assert [f.code for f in attribute_findings(quote.body)] == expected["attribute_findings"]
        if "declared_sha256" in expected:
            assert quote.sha256.hex() == expected["quote_sha256"]
            assert quote.declared_sha256.hex() == expected["declared_sha256"]
            assert quote.declared_size == expected["declared_bytes"]
            assert quote.trailing_nonzero is expected["trailing_nonzero"]
            assert quote.cert_type == expected["cert_type"]
            assert len(quote.qe_authentication) == expected["qe_auth_bytes"]
            assert quote.body_type == expected["body_type"]
            for field, value in expected["qe_report"].items():
                assert quote.qe_report[field].hex() == value, (name, field)
        if "trailing_bytes" in expected:
            assert quote.trailing_bytes == expected["trailing_bytes"]


def test_real_quotes_pck_extension_gives_the_expected_platform(tdx_items):
    seen = 0
    for name, item in tdx_items.items():
        wanted = item.expected.get("pck")
        if not wanted or not item.judged():
            continue
        _, collateral, anchor, at = item.judged()[0]
        found = item.appraise(collateral, anchor, at)
        if found.pck is None:
            continue
        facts = {
            "ca": found.chain.kind.value,
            "fmspc": found.pck.fmspc.hex(),
            "pceid": found.pck.pce_id.hex(),
            "pcesvn": found.pck.pce_svn,
            "cpusvn": found.pck.cpu_svn.hex(),
            "sgx_type": found.pck.sgx_type,
            "dynamic_platform": found.pck.dynamic_platform,
            "cached_keys": found.pck.cached_keys,
            "smt_enabled": found.pck.smt,
            "not_before": iso(found.chain.leaf.not_before),
            "not_after": iso(found.chain.leaf.not_after),
        }
        assert {key: value for key, value in facts.items() if value is not None} == wanted, name
        seen += 1
    assert seen > 40


@pytest.mark.parametrize("name", ["intel-sgx-v3-certtype1", "oasis-sgx-v3-certtype3"])
def test_quote_without_chain_and_none_recorded_is_cert_type_unsupported(tdx_items, name):
    other = tdx_items["teepot-sgx-v3"]
    _, collateral, anchor, at = other.judged()[0]
    found = appraise(tdx_items[name].quote, collateral, at, anchor)
    assert found.code is Reason.TDX_QUOTE_CERT_TYPE_UNSUPPORTED


def test_quote_without_any_collateral_is_missing_not_rejected(tdx_items):
    _, _, anchor, at = tdx_items["dcapqvl-tdx-v4"].judged()[0]
    found = appraise(tdx_items["oasis-tdx-v4-trailing"].quote, Collateral(), at, anchor)
    assert found.code is Reason.TDX_COLLATERAL_MISSING
    assert found.chain is not None


def test_answers_as_recorded_from_intel_appraise_a_quote_of_that_day(tdx_items, evidence_root):
    folder = evidence_root / "tdx" / "http-intel-20260520"

    def chain(name):
        headers = json.loads((folder / f"{name}.http.json").read_text())["headers"]
        (value,) = [v[0] for k, v in headers.items() if k.lower().endswith("issuer-chain")]
        return unquote(value).encode("ascii")

    def body(name):
        return (folder / f"{name}.body").read_bytes()

    item = tdx_items["chutes-20260520-1"]
    _, _, anchor, at = item.judged()[0]
    found = item.appraise(
        Collateral(
            tcb_info=(Answer(body=body("tcb"), chain=chain("tcb")),),
            qe_identity=(Answer(body=body("qe_identity"), chain=chain("qe_identity")),),
            pck_crl=(body("pckcrl"),),
            root_crl=(body("root_crl"),),
        ),
        anchor,
        at,
    )
    assert found.code is None
    assert found.tcb.status.value == "UpToDate"


def test_several_answers_the_fitting_one_is_chosen_by_content(tdx_items):
    first, second = tdx_items["chutes-20260520-1"], tdx_items["chutes-20260520-2"]
    _, one, anchor, _ = first.judged()[0]
    case, two, _, at = second.judged()[0]
    found = second.appraise(
        Collateral(
            tcb_info=one.tcb_info + two.tcb_info,
            qe_identity=one.qe_identity + two.qe_identity,
            pck_crl=one.pck_crl + two.pck_crl,
            root_crl=one.root_crl + two.root_crl,
        ),
        anchor,
        at,
    )
    assert found.code is None
    assert found.tcb.status.value == case["status"]


def test_anchor_of_the_store_is_the_only_root_that_counts(tdx_items):
    item = tdx_items["synthetic-baseline"]
    _, collateral, _, at = item.judged()[0]
    _, _, real, _ = tdx_items["dcapqvl-tdx-v4"].judged()[0]
    assert hashlib.sha256(real).hexdigest().startswith("44a0196b")
    found = item.appraise(collateral, real, at)
    assert found.code is not None


def test_firmware_logs_replay_to_the_registers_of_their_quotes(tdx_items):
    replayed = 0
    for name, item in tdx_items.items():
        path = item.folder / "ccel.bin"
        if not path.exists():
            continue
        log = parse_ccel(path.read_bytes())
        body = parse_quote(item.quote).body
        (expected,) = item.expected["ccel"]
        values = log.registers()
        assert {f"rtmr{i}": v.hex() for i, v in enumerate(values)} == expected["replayed"], name
        assert [body[f"rtmr{i}"] == v for i, v in enumerate(values)] == expected["rtmr_match"]
        assert len(log.events) in (expected["events"], expected["events"] - 1)
        assert not log.extends(3)
        replayed += 1
    assert replayed == 2


def test_every_second_of_a_window_counts_and_none_outside(tdx_items):
    item = tdx_items["dcapqvl-tdx-v4"]
    case, collateral, anchor, _ = item.judged()[0]
    start = datetime.fromisoformat(case["provable_not_before"])
    end = datetime.fromisoformat(case["window_end"])
    assert item.appraise(collateral, anchor, start).code is None
    assert item.appraise(collateral, anchor, end).code is None
    assert (
        item.appraise(collateral, anchor, start.replace(tzinfo=UTC) - (end - start)).code
        is not None
    )


def test_quote_larger_than_the_limit_is_refused_before_it_is_read():
    with pytest.raises(FormatError) as caught:
        parse_quote(bytes(64 * 1024 + 1))
    assert caught.value.reason is Reason.TDX_INPUT_TOO_LARGE
