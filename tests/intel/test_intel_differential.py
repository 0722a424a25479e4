"""Against dcap-qvl on the same bytes: equal, or a difference that is listed with its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fixtures import intel_pki as pki
from fixtures.intel_cases import GOOD, KILLS, appraised, collateral, world
from verify.engine.reason import ReasonClass
from verify.intel.appraisal import Appraisal, Collateral
from verify.intel.dcap import PCK_CRL, ROOT_CRL, read_crl
from verify.intel.second_engine import (
    OneOfEach,
    engine_json,
    expected_to_differ,
    installed,
    second_opinion,
)

LISTED = json.loads((Path(__file__).parent / "divergences.json").read_text())


@pytest.fixture(autouse=True)
def _engine():
    if not installed():
        pytest.skip("dcap-qvl is not installed: no second opinion to compare with")


def opinion_of(quote: bytes, recorded: Collateral, found: Appraisal, anchor: bytes):
    return second_opinion(
        quote,
        OneOfEach(
            tcb_info=recorded.tcb_info[0],
            qe_identity=recorded.qe_identity[0],
            pck_crl=recorded.pck_crl[0],
            root_crl=recorded.root_crl[0],
            chain=found.chain,
            pck_chain=None,
        ),
        found.as_of,
        anchor,
    )


def explained(found: Appraisal, recorded: Collateral) -> str | None:
    return expected_to_differ(
        found.quote,
        info=found.tcb_info,
        identity=found.qe_identity,
        crl_ends=(
            read_crl(recorded.root_crl[0], ROOT_CRL).next_update,
            read_crl(recorded.pck_crl[0], PCK_CRL).next_update,
        ),
        at=found.as_of,
    )


def test_accepted_evidence_has_the_same_status_and_advisories_or_a_listed_reason(tdx_items):
    compared = 0
    classes: dict[str, set[str]] = {}
    for name, item in tdx_items.items():
        for case, recorded, anchor, at in item.judged():
            found = item.appraise(recorded, anchor, at)
            if found.code is not None:
                continue
            opinion = opinion_of(item.quote, recorded, found, anchor)
            compared += 1
            if opinion.status == found.tcb.status.value:
                assert opinion.advisory_ids == found.tcb.all_advisory_ids, (name, case)
                continue
            reason = explained(found, recorded)
            assert reason is not None, (name, case.get("case"), opinion)
            assert opinion.status is None
            classes.setdefault(reason, set()).add(f"{name}/{case.get('case', 'main')}")
    assert compared > 100
    assert {reason: sorted(names) for reason, names in classes.items()} == {
        reason: entry["evidence"]
        for reason, entry in LISTED["accepted here, rejected there"].items()
        if entry["evidence"]
    }


def test_rejected_evidence_is_rejected_there_or_listed(tdx_items):
    accepted_there: dict[str, set[str]] = {}
    for name, item in tdx_items.items():
        for case, recorded, anchor, at in item.judged():
            found = item.appraise(recorded, anchor, at)
            if found.code is None or found.chain is None:
                continue
            opinion = opinion_of(item.quote, recorded, found, anchor)
            if opinion.status is not None:
                accepted_there.setdefault(found.code.code, set()).add(
                    f"{name}/{case.get('case', 'main')}"
                )
    assert {code: sorted(names) for code, names in accepted_there.items()} == LISTED[
        "rejected here, accepted there"
    ]["evidence"]


@pytest.mark.parametrize("name", sorted(GOOD))
def test_accepted_simulation_has_the_same_status_there_or_is_listed(name):
    subject = GOOD[name][1]()
    found = appraised(subject)
    recorded = collateral(subject)
    opinion = opinion_of(subject.quote, recorded, found, subject.anchor)
    if opinion.status == found.tcb.status.value:
        assert opinion.advisory_ids == found.tcb.all_advisory_ids
        return
    assert explained(found, recorded) is not None, opinion
    assert name in LISTED["accepted here, rejected there"][explained(found, recorded)]["simulated"]


@pytest.mark.parametrize("code", sorted(KILLS))
def test_rejected_simulation_is_rejected_there_or_listed(code):
    subject = KILLS[code].build()
    found = appraised(subject)
    recorded = collateral(subject)
    if not all((recorded.tcb_info, recorded.qe_identity, recorded.pck_crl, recorded.root_crl)):
        # An engine that wants every item cannot be asked about a missing one.
        assert found.code.kind is ReasonClass.ABSENT
        return
    if found.chain is None:
        # A Rust assertion there ends the whole process on a chain whose names do not meet, so it
        # is asked about chains only that hold.
        assert code.startswith(("tdx.pck.", "tdx.root.", "tdx.quote.", "tdx.input."))
        return
    opinion = opinion_of(subject.quote, recorded, found, subject.anchor)
    listed = LISTED["rejected here, accepted there"]["simulated"]
    assert (opinion.status is not None) is (code in listed), opinion


def test_levels_in_another_order_are_a_known_difference():
    turned = pki.qe_identity()
    turned["tcbLevels"] = turned["tcbLevels"][::-1]
    subject = world(qe_identity_inner=turned)
    found = appraised(subject)
    assert found.tcb.status.value == "UpToDate"
    assert explained(found, collateral(subject)) == (
        "module and QE levels are taken in file order there"
    )


def test_body_the_engine_cannot_be_given_is_its_rejection():
    subject = GOOD["baseline"][1]()
    found = appraised(subject)
    recorded = collateral(replace(subject, tcb_info=b"{}"))
    assert opinion_of(subject.quote, recorded, found, subject.anchor).status is None


def test_recorded_chain_is_handed_over_too():
    subject = world(quote_spec=pki.QuoteSpec(cert_type=2, cert_data=bytes(276)))
    subject = replace(subject, pck_chain=pki.BASE.pck_chain)
    found = appraised(subject)
    assert found.code is None
    given = json.loads(
        engine_json(
            OneOfEach(
                tcb_info=collateral(subject).tcb_info[0],
                qe_identity=collateral(subject).qe_identity[0],
                pck_crl=subject.pck_crl,
                root_crl=subject.root_crl,
                chain=found.chain,
                pck_chain=subject.pck_chain,
            )
        )
    )
    assert given["pck_certificate_chain"] == pki.BASE.pck_chain.decode()
