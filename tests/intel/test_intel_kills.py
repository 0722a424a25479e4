"""Each code of tdx.md 11 is given by exactly one fault, as the only code, by the right check."""

from __future__ import annotations

import pytest

from fixtures.intel_cases import FINDINGS, GOOD, KILLS, appraised
from verify.crypto import x509
from verify.engine.reason import Reason, ReasonClass
from verify.intel import collateral, pck, quote
from verify.intel.tcb import TcbStatus

NOT_HERE = ("tdx.event_log.", "tdx.dstack.", "tdx.ccel.", "tdx.engine.", "tdx.policy.")


@pytest.mark.parametrize("code", sorted(KILLS))
def test_one_fault_gives_exactly_its_code(code):
    found = appraised(KILLS[code].build())
    assert [reason.code for reason in found.codes] == [code]
    assert found.code is found.codes[0]
    assert found.provable_not_before is None
    assert found.window_end is None


def test_every_code_of_the_chain_of_trust_has_a_kill():
    wanted = {
        reason.code
        for reason in Reason
        if reason.code.startswith("tdx.")
        and not reason.code.startswith(NOT_HERE)
        and reason.kind in (ReasonClass.REJECT, ReasonClass.ABSENT)
    }
    assert set(KILLS) == wanted


@pytest.mark.parametrize("name", sorted(GOOD))
def test_accepted_variation_gives_its_status_and_no_finding(name):
    status, build = GOOD[name]
    found = appraised(build())
    assert found.codes == ()
    assert found.tcb is not None
    assert found.tcb.status.value == status
    assert found.findings == ()


def test_every_status_that_is_not_revoked_has_an_accepted_input():
    assert {status for status, _ in GOOD.values()} == {
        status.value for status in TcbStatus if status is not TcbStatus.REVOKED
    }


@pytest.mark.parametrize("code", sorted(FINDINGS))
def test_attribute_finding_stands_beside_an_accepted_chain(code):
    found = appraised(FINDINGS[code]())
    assert found.code is None
    assert [finding.code for finding in found.findings] == [code]


@pytest.mark.parametrize("code", sorted(KILLS))
def test_results_are_equal_with_cold_and_warm_caches(code):
    subject = KILLS[code].build()
    warm = appraised(subject)
    for module in (x509, quote, pck, collateral):
        module.forget()
    assert appraised(subject).codes == warm.codes
