"""Catalogue rows 19 to 29 and 54, run in order over simulated bundles."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from fixtures import intel_pki as pki
from fixtures.intel_cases import (
    FINDINGS,
    GOOD,
    KILLS,
    attributes,
    fields,
    items,
    quote,
    shot,
    svn,
    world,
)
from verify.checks import tdx
from verify.checks.inputs import Inputs
from verify.engine.asof import AsOf, AsOfInstant, AsOfSource
from verify.engine.check import Catalogue, Check, Ruling
from verify.engine.errors import InternalFault
from verify.engine.outcome import Status, passed
from verify.engine.reason import Reason, ReasonClass
from verify.engine.run import run
from verify.intel import second_engine
from verify.intel.second_engine import Opinion
from verify.policy.model import (
    AllowedFinding,
    AnyOf,
    Ignore,
    Masked,
    TdxRules,
    TrustRules,
)
from verify.trust.anchor import BUILT_IN, Anchor, AnchorStatus, Kind, Purpose
from verify.trust.store import TrustStore
from verify.wire.model import (
    Artifact,
    ArtifactState,
    Binding,
    Evidence,
    FromArtifact,
    FromExchange,
    FromOperator,
    Statement,
)

ROWS = (
    ("tdx.quote.format", ("blobs.derived",), "quote_format"),
    ("tdx.root_crl", ("blobs.derived", "time.as_of"), "root_crl"),
    ("tdx.tcb_info", ("tdx.root_crl",), "tcb_info"),
    ("tdx.qe_identity", ("tdx.root_crl",), "qe_identity"),
    ("tdx.pck.chain", ("tdx.quote.format", "tdx.root_crl"), "pck_chain"),
    ("tdx.pck.revocation", ("tdx.pck.chain",), "pck_revocation"),
    ("tdx.qe_report", ("tdx.quote.format", "tdx.qe_identity", "tdx.pck.chain"), "qe_report"),
    ("tdx.quote.signature", ("tdx.quote.format", "tdx.qe_report"), "quote_signature"),
    (
        "tdx.tcb",
        ("tdx.tcb_info", "tdx.qe_identity", "tdx.pck.chain", "tdx.quote.signature"),
        "tcb",
    ),
    ("tdx.attributes", ("tdx.quote.signature",), "attributes"),
    ("tdx.second_engine", ("tdx.quote.signature", "tdx.tcb"), "second_engine"),
    ("ccel.replay", ("tdx.quote.signature",), "ccel_replay"),
)
EVERY_STATUS = tuple(sorted({status for status, _ in GOOD.values()}))

RULES = TdxRules(
    accept_report_types=("sgx", "td1.0", "td1.5", "td1.5ex"),
    accepted_tcb_status=("UpToDate",),
    platform_grace_days=0,
    rejected_advisory_ids=(),
    min_tcb_evaluation_data_number=17,
    allow_dynamic_platform=True,
    allow_cached_keys=True,
    allow_smt=True,
    allow_findings=(),
    fields={
        "xfam": AnyOf(values=(bytes.fromhex("e702060000000000"),)),
        "td_attributes": Ignore(because="findings are judged"),
    },
    sets=(),
)


def anchor(der, name="simulated"):
    return Anchor(
        name=name,
        purpose=Purpose.INTEL_SGX_ROOT,
        kind=Kind.X509,
        data=der,
        sha256=hashlib.sha256(der).hexdigest(),
        operator="TEST ONLY",
        start=None,
        end=None,
        status=AnchorStatus.ACTIVE,
        since=None,
        source="TEST ONLY",
        origin=BUILT_IN,
    )


def bundle(listed, bindings=(), withheld=(), origins=None):
    artifacts = tuple(
        Artifact(
            id=name,
            role=role,
            media_type="application/octet-stream",
            digest="sha256:" + hashlib.sha256(data).hexdigest(),
            size=len(data),
            framing="raw",
            origin=(origins or {}).get(name, FromOperator(description="TEST ONLY")),
            index=index,
        )
        for index, (name, role, data) in enumerate(listed)
    )
    statement = Statement(
        schema="1.0",
        id="urn:uuid:00000000-0000-4000-8000-000000000000",
        profile="test",
        capture=None,
        signer="sha256:" + "00" * 32,
        nonces=(),
        artifacts=artifacts,
        exchanges=(),
        bindings=tuple(bindings),
        observations=(),
        extensions=(),
        critical=(),
        _by_id={artifact.id: artifact for artifact in artifacts},
    )
    there = {name: data for name, _, data in listed if name not in withheld}
    return Evidence(
        statement=statement,
        bodies=there,
        states={
            name: ArtifactState.PRESENT if name in there else ArtifactState.WITHHELD
            for name, _, _ in listed
        },
    )


def belongs(kind, evidence, *names):
    return Binding(type=kind, members={"evidence": evidence, "with": tuple(names)})


def judge(evidence, *, at=pki.AS_OF, anchors=None, rules=RULES, rows=ROWS):
    instant = AsOfInstant(instant=at, source=AsOfSource.EXPLICIT, claimed_start=at, claimed_end=at)

    def stub(check_id, fact):
        return Check(
            id=check_id,
            subject="container",
            title="",
            spec="",
            proves="",
            does_not_prove="",
            reasons=frozenset(),
            run=lambda *_: passed(fact),
        )

    catalogue = Catalogue(
        (
            stub("blobs.derived", evidence),
            stub("time.as_of", instant),
            *(
                Check(
                    id=check_id,
                    subject="tdx",
                    title="",
                    spec="",
                    needs=needs,
                    proves="",
                    does_not_prove="",
                    reasons=getattr(tdx, f"{name.upper()}_REASONS"),
                    run=getattr(tdx, name),
                )
                for check_id, needs, name in rows
            ),
        )
    )
    inputs = Inputs(
        bundle=None,
        policy=SimpleNamespace(
            tdx=rules, trust=TrustRules(accept_added=(), max_snapshot_age_days=None)
        ),
        trust=TrustStore.build(builtins=anchors or [anchor(pki.BASE.anchor)]),
        as_of=AsOf.at(at),
    )
    rulings = {check.id: Ruling() for check in catalogue}
    outcomes = run(catalogue, inputs, rulings, lambda *_: True)
    for check in catalogue:
        outcome = outcomes[check.id]
        assert outcome.status is not Status.ERROR, (check.id, outcome.detail)
        given = {finding.reason for finding in outcome.findings} | (
            {outcome.reason} if outcome.reason else set()
        )
        assert given <= check.reasons | {Reason.NEED_NOT_PASSED}, (check.id, given)
    return outcomes


def judged(subject, **options):
    return judge(bundle(items(subject)), at=subject.at, anchors=[anchor(subject.anchor)], **options)


def first_bad(outcomes):
    for check_id, outcome in outcomes.items():
        if outcome.status is not Status.PASS and outcome.reason is not Reason.NEED_NOT_PASSED:
            return check_id, outcome.reason.code
    return None


CHAIN_ROWS = ROWS[:10]

# In a bundle, items are chosen by content: an item of another platform family is passed over,
# so the pair has to be declared for the mismatch itself to be judged.
DECLARED = {"tdx.tcb_info.fmspc_mismatch"}


@pytest.mark.parametrize("code", sorted(KILLS))
def test_one_fault_is_named_by_its_own_check(code):
    kill = KILLS[code]
    subject = kill.build()
    bindings = [belongs("collateral-for", "quote-1", "tcb-info")] if code in DECLARED else []
    outcomes = judge(
        bundle(items(subject), bindings),
        at=subject.at,
        anchors=[anchor(subject.anchor)],
        rows=CHAIN_ROWS,
    )
    assert first_bad(outcomes) == (kill.check, code)
    reported = {
        finding.reason.code for outcome in outcomes.values() for finding in outcome.findings
    }
    assert reported == {code}
    rejected = next(reason for reason in Reason if reason.code == code).kind is ReasonClass.REJECT
    assert outcomes[kill.check].status is (Status.FAIL if rejected else Status.BLOCKED)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_accepted_variation_passes_every_row(name):
    rules = replace(RULES, accepted_tcb_status=EVERY_STATUS, platform_grace_days=36500)
    outcomes = judged(GOOD[name][1](), rules=rules, rows=ROWS[:11])
    assert first_bad(outcomes) is None
    assert GOOD[name][0] in outcomes["tdx.tcb"].matched[0]


@pytest.mark.parametrize("code", sorted(FINDINGS))
def test_finding_fails_the_attributes_row_alone(code):
    outcomes = judged(FINDINGS[code](), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == ("tdx.attributes", code)
    assert outcomes["tdx.tcb"].status is Status.PASS


@pytest.mark.parametrize("code", sorted(FINDINGS))
def test_finding_allowed_by_name_passes(code):
    rules = replace(RULES, allow_findings=(AllowedFinding(finding=code, because="test"),))
    outcomes = judged(FINDINGS[code](), rules=rules, rows=CHAIN_ROWS)
    assert first_bad(outcomes) is None
    assert any(code in item for item in outcomes["tdx.attributes"].matched)


def _rules(**changes):
    return replace(RULES, **changes)


@pytest.mark.parametrize(
    ("code", "subject", "rules"),
    [
        (
            "tdx.policy.tcb_status_not_accepted",
            lambda: world(tcb_info_inner=pki.tcb_info(status="SWHardeningNeeded")),
            RULES,
        ),
        (
            "tdx.policy.tcb_too_old",
            lambda: world(tcb_info_inner=pki.tcb_info(status="OutOfDate")),
            _rules(accepted_tcb_status=("UpToDate", "OutOfDate"), platform_grace_days=100),
        ),
        (
            "tdx.policy.advisory_rejected",
            lambda: fields(tee_tcb_svn=svn(6, 1, 2)),
            _rules(
                accepted_tcb_status=("OutOfDate",),
                platform_grace_days=36500,
                rejected_advisory_ids=("INTEL-SA-00837",),
            ),
        ),
        (
            "tdx.policy.tcb_evaluation_number_too_low",
            lambda: world(qe_identity_inner=pki.qe_identity(number=16)),
            RULES,
        ),
        (
            "tdx.policy.platform_flag_rejected",
            lambda: shot(pki.BASE),
            _rules(allow_dynamic_platform=False),
        ),
        (
            "tdx.policy.platform_flag_rejected",
            lambda: world(pck=pki.PckSpec(cached_keys=True)),
            _rules(allow_cached_keys=False),
        ),
        ("tdx.policy.platform_flag_rejected", lambda: shot(pki.BASE), _rules(allow_smt=False)),
    ],
)
def test_tcb_policy_refuses_what_it_does_not_accept(code, subject, rules):
    assert first_bad(judged(subject(), rules=rules, rows=CHAIN_ROWS)) == ("tdx.tcb", code)


def test_grace_counts_from_the_tcb_date_to_the_instant_judged():
    subject = world(tcb_info_inner=pki.tcb_info(status="OutOfDate"))
    days = (pki.AS_OF - datetime(2024, 3, 13, tzinfo=UTC)).days
    for grace, status in ((days, Status.FAIL), (days + 1, Status.PASS)):
        rules = _rules(accepted_tcb_status=("OutOfDate",), platform_grace_days=grace)
        assert judged(subject, rules=rules)["tdx.tcb"].status is status


def test_flags_that_a_processor_leaf_does_not_have_are_not_refused():
    rules = _rules(allow_dynamic_platform=False, allow_cached_keys=False, allow_smt=False)
    subject = shot(pki.processor_world())
    assert judged(subject, rules=rules)["tdx.tcb"].status is Status.PASS


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("tdx.policy.xfam_rejected", {"xfam": AnyOf(values=(bytes(8),))}),
        (
            "tdx.policy.td_attributes_rejected",
            {"td_attributes": Masked(mask=b"\xff" * 8, value=attributes(28, 30))},
        ),
        ("reference.missing", {"xfam": AnyOf(values=())}),
    ],
)
def test_attribute_rule_not_met_is_named(code, rule):
    rules = _rules(fields={**RULES.fields, **rule})
    outcomes = judged(shot(pki.BASE), rules=rules, rows=CHAIN_ROWS)
    assert first_bad(outcomes) == ("tdx.attributes", code)


def test_report_type_the_policy_does_not_accept_is_refused():
    rules = _rules(accept_report_types=("td1.5",))
    outcomes = judged(shot(pki.BASE), rules=rules)
    assert first_bad(outcomes) == ("tdx.quote.format", "tdx.quote.body_type_unsupported")


def test_quote_listed_as_the_other_tee_is_refused():
    listed = [(n, "sgx.quote" if n == "quote-1" else r, d) for n, r, d in items(shot(pki.BASE))]
    outcomes = judge(bundle(listed))
    assert first_bad(outcomes) == ("tdx.quote.format", "tdx.quote.tee_type_unsupported")


def test_no_quote_listed_is_absent():
    listed = [item for item in items(shot(pki.BASE)) if item[0] != "quote-1"]
    outcomes = judge(bundle(listed))
    assert first_bad(outcomes) == ("tdx.quote.format", "evidence.absent")


def test_policy_without_the_section_is_a_fault_of_ours():
    facts = SimpleNamespace(get=lambda *_: bundle(items(shot(pki.BASE))))
    inputs = SimpleNamespace(policy=SimpleNamespace(tdx=None))
    with pytest.raises(InternalFault):
        tdx.quote_format(inputs, facts)


@pytest.mark.parametrize(
    ("withheld", "check"),
    [
        ("quote-1", "tdx.quote.format"),
        ("root-crl", "tdx.root_crl"),
        ("tcb-info", "tdx.tcb_info"),
        ("tcb-info-chain", "tdx.tcb_info"),
        ("qe-identity", "tdx.qe_identity"),
        ("pck-crl", "tdx.pck.revocation"),
    ],
)
def test_withheld_item_blocks_the_check_that_reads_it(withheld, check):
    outcomes = judge(bundle(items(shot(pki.BASE)), withheld=(withheld,)), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == (check, "artifact.withheld")
    assert outcomes[check].status is Status.BLOCKED


@pytest.mark.parametrize(
    ("absent", "check"),
    [
        ("root-crl", "tdx.root_crl"),
        ("tcb-info", "tdx.tcb_info"),
        ("tcb-info-chain", "tdx.tcb_info"),
        ("qe-identity", "tdx.qe_identity"),
        ("pck-crl", "tdx.pck.revocation"),
    ],
)
def test_item_that_is_not_listed_is_missing(absent, check):
    listed = [item for item in items(shot(pki.BASE)) if item[0] != absent]
    outcomes = judge(bundle(listed), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == (check, "tdx.collateral.missing")
    assert outcomes[check].status is Status.BLOCKED


def test_items_beside_an_unreadable_quote_stand_or_fall_by_themselves():
    base = items(shot(pki.BASE))
    broken = [(n, r, d[:100] if n == "quote-1" else d) for n, r, d in base]
    outcomes = judge(bundle(broken), rows=CHAIN_ROWS)
    assert outcomes["tdx.tcb_info"].status is Status.PASS
    spoilt = [(n, r, b"{}" if n == "tcb-info" else d) for n, r, d in broken]
    outcomes = judge(bundle(spoilt), rows=CHAIN_ROWS)
    assert outcomes["tdx.tcb_info"].reason is Reason.TDX_TCB_INFO_MALFORMED
    absent = [item for item in broken if item[0] != "tcb-info"]
    outcomes = judge(bundle(absent), rows=CHAIN_ROWS)
    assert outcomes["tdx.tcb_info"].reason is Reason.TDX_COLLATERAL_MISSING


# --- several items --------------------------------------------------------------------------


def test_every_quote_is_judged_one_bad_one_fails():
    bad = quote(attestation_signer="somebody else").quote
    listed = [*items(shot(pki.BASE)), ("quote-2", "tdx.quote", bad)]
    outcomes = judge(bundle(listed), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == ("tdx.quote.signature", "tdx.quote.signature_invalid")
    assert outcomes["tdx.quote.signature"].matched == ("quote-1",)
    (finding,) = outcomes["tdx.quote.signature"].findings
    assert str(finding.pointer) == "artifact:quote-2#bytes=636-700"


OTHER = replace(
    pki.BASE,
    pck=pki.PckSpec(fmspc=bytes.fromhex("7e57b0c06f01")),
    tcb_info_inner=pki.tcb_info(fmspc=bytes.fromhex("7e57b0c06f01")),
)


def test_mixed_fleet_each_quote_gets_the_info_of_its_platform():
    listed = [
        *items(shot(pki.BASE)),
        ("quote-2", "tdx.quote", OTHER.quote),
        ("tcb-info-2", "intel.tcb-info", OTHER.tcb_info),
        ("tcb-info-chain-2", "intel.tcb-info-chain", OTHER.tcb_info_chain),
    ]
    outcomes = judge(bundle(listed), rows=ROWS[:11])
    assert first_bad(outcomes) is None
    infos = outcomes["tdx.tcb_info"].fact.for_quote
    assert infos["quote-2"].recorded.artifact.id == "tcb-info-2"


def test_fleet_with_the_info_of_one_platform_only_is_incomplete():
    listed = [*items(shot(pki.BASE)), ("quote-2", "tdx.quote", OTHER.quote)]
    outcomes = judge(bundle(listed), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == ("tdx.tcb_info", "tdx.collateral.missing")
    assert outcomes["tdx.tcb_info"].status is Status.BLOCKED


def test_tampered_info_of_one_platform_is_rejected_beside_a_good_one():
    spoilt = OTHER.tcb_info.replace(b"UpToDate", b"UpToDatf", 1)
    listed = [
        *items(shot(pki.BASE)),
        ("quote-2", "tdx.quote", OTHER.quote),
        ("tcb-info-2", "intel.tcb-info", OTHER.tcb_info.replace(b'"pcesvn":11', b'"pcesvn":10')),
        ("tcb-info-chain-2", "intel.tcb-info-chain", OTHER.tcb_info_chain),
    ]
    assert spoilt != OTHER.tcb_info
    outcomes = judge(bundle(listed), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == ("tdx.tcb_info", "tdx.tcb_info.signature_invalid")


def test_newest_of_two_infos_in_force_is_used():
    newer = replace(pki.BASE, tcb_info_inner=pki.tcb_info(number=18, status="OutOfDate"))
    listed = [
        *items(shot(pki.BASE)),
        ("tcb-info-2", "intel.tcb-info", newer.tcb_info),
        ("tcb-info-chain-2", "intel.tcb-info-chain", newer.tcb_info_chain),
    ]
    outcomes = judge(bundle(listed), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == ("tdx.tcb", "tdx.policy.tcb_status_not_accepted")


def test_error_page_beside_a_good_answer_is_passed_over():
    listed = [("tcb-info-0", "intel.tcb-info", b"<html>"), *items(shot(pki.BASE))]
    outcomes = judge(bundle(listed), rows=CHAIN_ROWS)
    assert first_bad(outcomes) is None


def test_item_for_a_tee_no_quote_is_of_is_rejected():
    sgx = pki.sgx_world()
    base = items(shot(pki.BASE))
    for name, role, data in (
        ("tcb-info", "intel.tcb-info", sgx.tcb_info),
        ("qe-identity", "intel.qe-identity", sgx.qe_identity),
    ):
        listed = [(n, r, data if r == role else d) for n, r, d in base]
        outcomes = judge(bundle(listed), rows=CHAIN_ROWS)
        expected = "tdx." + name.replace("-", "_")
        assert first_bad(outcomes) == (expected, f"{expected}.type_mismatch")


def test_sgx_and_tdx_quote_side_by_side_each_with_its_own_items():
    sgx = pki.sgx_world()
    listed = [
        *items(shot(pki.BASE)),
        ("quote-2", "sgx.quote", sgx.quote),
        ("tcb-info-2", "intel.tcb-info", sgx.tcb_info),
        ("qe-identity-2", "intel.qe-identity", sgx.qe_identity),
    ]
    assert first_bad(judge(bundle(listed), rows=CHAIN_ROWS)) is None
    without = [item for item in listed if item[0] != "qe-identity-2"]
    outcomes = judge(bundle(without), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == ("tdx.qe_identity", "tdx.collateral.missing")


def test_lists_of_both_authorities_each_leaf_finds_its_own():
    processor = pki.processor_world()
    listed = [
        ("pck-crl-2", "intel.pck-crl", processor.pck_crl),
        *items(shot(pki.BASE)),
        ("quote-2", "tdx.quote", processor.quote),
    ]
    assert first_bad(judge(bundle(listed), rows=CHAIN_ROWS)) is None


def test_expired_list_of_the_right_authority_is_named_before_a_foreign_one():
    processor = pki.processor_world()
    expired = KILLS["tdx.pck_crl.expired"].build()
    listed = [("pck-crl-2", "intel.pck-crl", processor.pck_crl), *items(expired)]
    outcomes = judge(bundle(listed), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == ("tdx.pck.revocation", "tdx.pck_crl.expired")


def test_later_of_two_lists_decides():
    revoking = replace(
        pki.PCK_CRL,
        this_update=datetime(2026, 6, 10, 6, 0, tzinfo=UTC),
        revoked=(pki.LEAF.serial,),
    )
    listed = [*items(shot(pki.BASE)), ("pck-crl-2", "intel.pck-crl", revoking.der())]
    outcomes = judge(bundle(listed), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == ("tdx.pck.revocation", "tdx.pck.cert_revoked")


# --- which chain belongs to which body ------------------------------------------------------


def _two_signers():
    """Two TCB infos, whose chains stand in the wrong order."""
    other = replace(
        OTHER,
        signer=replace(pki.SIGNER, label="second signer", serial=0x7E570010),
        tcb_info_signer_key="second signer",
    )
    base = shot(pki.BASE)
    rest = [item for item in items(base) if not item[0].startswith("tcb-info")]
    return [
        *rest,
        ("quote-2", "tdx.quote", other.quote),
        ("tcb-info", "intel.tcb-info", base.tcb_info),
        ("tcb-info-2", "intel.tcb-info", other.tcb_info),
        ("chain-2", "intel.tcb-info-chain", other.tcb_info_chain),
        ("chain-1", "intel.tcb-info-chain", base.tcb_info_chain),
    ]


def test_chains_in_the_wrong_order_without_binding_fail():
    outcomes = judge(bundle(_two_signers()), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == ("tdx.tcb_info", "tdx.tcb_info.signature_invalid")


def test_chain_for_binding_joins_body_and_chain():
    bindings = [
        belongs("chain-for", "tcb-info", "chain-1"),
        belongs("chain-for", "tcb-info-2", "chain-2"),
    ]
    assert first_bad(judge(bundle(_two_signers(), bindings), rows=CHAIN_ROWS)) is None


def test_collateral_for_binding_joins_body_and_chain():
    bindings = [
        belongs("collateral-for", "quote-1", "tcb-info", "chain-1"),
        belongs("collateral-for", "quote-2", "tcb-info-2", "chain-2"),
    ]
    assert first_bad(judge(bundle(_two_signers(), bindings), rows=CHAIN_ROWS)) is None


def test_header_of_the_same_exchange_joins_body_and_chain():
    listed = [
        *_two_signers(),
        ("head-1", "http.response.headers", b"[]"),
        ("head-2", "http.response.headers", b"[]"),
    ]
    origins = {
        "tcb-info": FromExchange(exchange="x1"),
        "tcb-info-2": FromExchange(exchange="x2"),
        "head-1": FromExchange(exchange="x1"),
        "head-2": FromExchange(exchange="x2"),
        "chain-1": FromArtifact(
            artifact="head-1", steps=("header:tcb-info-issuer-chain", "percent")
        ),
        "chain-2": FromArtifact(
            artifact="head-2", steps=("header:tcb-info-issuer-chain", "percent")
        ),
    }
    assert first_bad(judge(bundle(listed, origins=origins), rows=CHAIN_ROWS)) is None


def test_body_alone_in_its_exchange_takes_the_chain_beside_it():
    origins = {"tcb-info": FromExchange(exchange="x1")}
    evidence = bundle(items(shot(pki.BASE)), origins=origins)
    assert first_bad(judge(evidence, rows=CHAIN_ROWS)) is None


def test_binding_without_exactly_one_chain_leaves_every_chain_to_be_tried():
    listed = [*_two_signers(), ("chain-3", "intel.tcb-info-chain", b"not a chain")]
    bindings = [
        belongs("collateral-for", "quote-1", "tcb-info"),
        belongs("collateral-for", "quote-2", "tcb-info-2", "chain-1", "chain-2"),
    ]
    assert first_bad(judge(bundle(listed, bindings), rows=CHAIN_ROWS)) is None


def test_origin_that_names_nothing_is_no_exchange():
    listed = items(shot(pki.BASE))
    origins = {"tcb-info": FromArtifact(artifact="gone", steps=())}
    assert first_bad(judge(bundle(listed, origins=origins), rows=CHAIN_ROWS)) is None


def test_origins_deeper_than_allowed_are_no_exchange():
    listed = items(shot(pki.BASE))
    origins = {"tcb-info": FromArtifact(artifact="tcb-info", steps=())}
    assert first_bad(judge(bundle(listed, origins=origins), rows=CHAIN_ROWS)) is None


def test_declared_info_of_another_tee_is_rejected_not_passed_over():
    sgx = pki.sgx_world()
    listed = [
        *items(shot(pki.BASE)),
        ("quote-2", "sgx.quote", sgx.quote),
        ("tcb-info-2", "intel.tcb-info", sgx.tcb_info),
        ("qe-identity-2", "intel.qe-identity", sgx.qe_identity),
    ]
    bindings = [belongs("collateral-for", "quote-1", "tcb-info-2")]
    outcomes = judge(bundle(listed, bindings), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == ("tdx.tcb_info", "tdx.tcb_info.type_mismatch")


# --- recorded PCK chains --------------------------------------------------------------------

_TYPE_2 = replace(pki.BASE, quote_spec=pki.QuoteSpec(cert_type=2, cert_data=bytes(256) + bytes(20)))


def _recorded(*bindings, parts=2, quotes=1):
    base = [item for item in items(shot(_TYPE_2)) if item[0] != "pck-chain"]
    leaf = pki.pem(pki.BASE.leaf_der)
    pieces = [
        ("header-chain", "intel.pck-chain", pki.BASE.pck_crl_chain),
        ("leaf", "intel.pck-chain", leaf),
    ]
    more = [("quote-2", "tdx.quote", _TYPE_2.quote)] if quotes == 2 else []
    return bundle([*base, *more, *pieces[:parts]], bindings)


def test_recorded_chain_named_in_order_serves_a_quote_without_one():
    evidence = _recorded(belongs("chain-for", "quote-1", "leaf", "header-chain"))
    assert first_bad(judge(evidence, rows=ROWS[:11])) is None


def test_recorded_chain_in_the_wrong_order_is_refused():
    outcomes = judge(_recorded(), rows=CHAIN_ROWS)
    assert first_bad(outcomes)[0] == "tdx.pck.chain"


def test_recorded_chain_that_no_binding_gives_to_one_of_two_quotes_is_not_used():
    outcomes = judge(_recorded(quotes=2), rows=CHAIN_ROWS)
    assert first_bad(outcomes) == ("tdx.pck.chain", "tdx.quote.cert_type_unsupported")


def test_recorded_chain_withheld_blocks():
    evidence = _recorded(belongs("chain-for", "quote-1", "leaf", "header-chain"))
    gone = Evidence(
        statement=evidence.statement,
        bodies={k: v for k, v in evidence.bodies.items() if k != "leaf"},
        states={**evidence.states, "leaf": ArtifactState.WITHHELD},
    )
    assert first_bad(judge(gone, rows=CHAIN_ROWS)) == ("tdx.pck.chain", "artifact.withheld")


# --- anchors --------------------------------------------------------------------------------


def test_two_anchors_the_one_with_a_list_is_used():
    evil = replace(pki.ROOT, label="other root", issuer_key="other root").der()
    outcomes = judge(
        bundle(items(shot(pki.BASE))),
        anchors=[anchor(evil, "other"), anchor(pki.BASE.anchor)],
        rows=CHAIN_ROWS,
    )
    assert first_bad(outcomes) is None
    assert outcomes["tdx.root_crl"].matched == ("simulated",)


def test_two_anchors_failing_the_one_the_evidence_ends_in_is_spoken_of():
    expired = KILLS["tdx.root_crl.expired"].build()
    evil = replace(pki.ROOT, label="other root", issuer_key="other root").der()
    outcomes = judge(
        bundle(items(expired)),
        anchors=[anchor(evil, "other"), anchor(pki.BASE.anchor)],
        rows=CHAIN_ROWS,
    )
    assert first_bad(outcomes) == ("tdx.root_crl", "tdx.root_crl.expired")


def test_two_anchors_failing_and_no_readable_chain_the_first_is_spoken_of():
    expired = KILLS["tdx.root_crl.expired"].build()
    listed = items(replace(expired, quote=quote(cert_type=1, cert_data=bytes(36)).quote))
    evil = replace(pki.ROOT, label="other root", issuer_key="other root").der()
    outcomes = judge(
        bundle(listed),
        anchors=[anchor(evil, "other"), anchor(pki.BASE.anchor)],
        rows=CHAIN_ROWS,
    )
    assert first_bad(outcomes) == ("tdx.root_crl", "tdx.root_crl.signature_invalid")


@pytest.mark.parametrize("code", ["tdx.tcb_info.expired", "tdx.pck_crl.expired"])
def test_fault_of_a_shared_item_is_said_once_for_all_quotes(code):
    kill = KILLS[code]
    subject = kill.build()
    listed = [*items(subject), ("quote-2", "tdx.quote", subject.quote)]
    outcomes = judge(bundle(listed), rows=CHAIN_ROWS)
    assert len(outcomes[kill.check].findings) == 1


def test_no_anchor_that_counts_is_a_rejection():
    gone = replace(anchor(pki.BASE.anchor), status=AnchorStatus.COMPROMISED)
    outcomes = judge(bundle(items(shot(pki.BASE))), anchors=[gone])
    assert first_bad(outcomes) == ("tdx.root_crl", "tdx.root.cert_revoked")


def test_windows_of_the_facts_cover_everything_used():
    outcomes = judge(bundle(items(shot(pki.BASE))), rows=CHAIN_ROWS)
    windows = [
        window
        for check in (
            "tdx.root_crl",
            "tdx.tcb_info",
            "tdx.qe_identity",
            "tdx.pck.chain",
            "tdx.pck.revocation",
        )
        for window in outcomes[check].fact.windows()
    ]
    assert len(windows) == 9
    assert max(start for start, _ in windows) == datetime(2026, 6, 10, 5, 41, tzinfo=UTC)
    assert min(end for _, end in windows) == datetime(2026, 7, 10, 5, 21, tzinfo=UTC)


def test_verified_quote_points_at_its_fields():
    outcomes = judge(bundle(items(shot(pki.BASE))), rows=CHAIN_ROWS)
    verified = outcomes["tdx.quote.signature"].fact.quotes["quote-1"]
    assert str(verified.pointer("report_data")) == "artifact:quote-1#bytes=568-632"
    assert verified.report_data == verified.body["report_data"]
    assert verified.pck.fmspc == pki.FMSPC


# --- second engine --------------------------------------------------------------------------


def test_second_engine_that_is_not_installed_blocks(monkeypatch):
    monkeypatch.setattr(second_engine, "installed", lambda: False)
    outcomes = judged(shot(pki.BASE), rows=ROWS[:11])
    assert first_bad(outcomes) == ("tdx.second_engine", "tdx.engine.unavailable")


@pytest.mark.parametrize("status", ["OutOfDate", None])
def test_second_engine_with_another_result_is_a_disagreement(monkeypatch, status):
    monkeypatch.setattr(second_engine, "installed", lambda: True)
    monkeypatch.setattr(
        second_engine,
        "second_opinion",
        lambda *_: Opinion(status=status, advisory_ids=(), error="no"),
    )
    outcomes = judged(shot(pki.BASE), rows=ROWS[:11])
    assert first_bad(outcomes) == ("tdx.second_engine", "tdx.engine.disagreement")


@pytest.mark.parametrize("name", ["authentication-data-64", "authentication-data-0"])
def test_second_engine_difference_that_is_known_passes_and_is_said(name):
    if not second_engine.installed():
        pytest.skip("dcap-qvl is not installed")
    outcomes = judged(GOOD[name][1](), rows=ROWS[:11])
    assert first_bad(outcomes) is None
    assert "differs" in outcomes["tdx.second_engine"].matched[0]


def test_second_engine_without_a_pck_list_is_incomplete():
    listed = [item for item in items(shot(pki.BASE)) if item[0] != "pck-crl"]
    rows = tuple(row for row in ROWS[:11] if row[0] != "tdx.pck.revocation")
    outcomes = judge(bundle(listed), rows=rows)
    expected = "tdx.collateral.missing" if second_engine.installed() else "tdx.engine.unavailable"
    assert first_bad(outcomes) == ("tdx.second_engine", expected)


def test_engine_is_absent_where_it_cannot_be_imported(monkeypatch):
    def refuse(name):
        raise ImportError(name)

    monkeypatch.setattr(second_engine.importlib, "import_module", refuse)
    assert second_engine.installed() is False


# --- firmware log ---------------------------------------------------------------------------

HEADER = bytes.fromhex(
    "00000000" "03000000" + "00" * 20 + "21000000"
    "53706563204944204576656e74303300" "00000000" "00020002" "01000000" "0c003000" "00"
)  # fmt: skip


def event(index, digest, kind=1):
    return (
        index.to_bytes(4, "little")
        + kind.to_bytes(4, "little")
        + bytes.fromhex("010000000c00")
        + digest
        + bytes(4)
    )


def extended(*digests):
    value = bytes(48)
    for digest in digests:
        value = hashlib.sha384(value + digest).digest()
    return value


A, B = b"\xaa" * 48, b"\xbb" * 48
LOG = (
    HEADER + event(0, B) + event(1, A) + event(2, A) + event(2, B, kind=3) + event(3, B) + bytes(64)
)
MATCHING = {"rtmr0": extended(A), "rtmr1": extended(A), "rtmr2": extended(B), "rtmr3": b"\x01" * 48}


def with_log(log, *bindings, **values):
    return bundle([*items(fields(**values)), ("log-1", "tdx.ccel", log)], bindings)


CCEL_ROWS = (*ROWS[:8], ROWS[11])


def test_firmware_log_that_replays_passes():
    outcomes = judge(with_log(LOG, **MATCHING), rows=CCEL_ROWS)
    assert first_bad(outcomes) is None
    assert outcomes["ccel.replay"].matched == ("log-1",)


@pytest.mark.parametrize("register", ["rtmr0", "rtmr1", "rtmr2"])
def test_firmware_log_that_gives_another_register_fails(register):
    outcomes = judge(with_log(LOG, **{**MATCHING, register: bytes(48)}), rows=CCEL_ROWS)
    assert first_bad(outcomes) == ("ccel.replay", "tdx.ccel.rtmr_mismatch")
    assert len(outcomes["ccel.replay"].findings) == 1


def test_firmware_log_with_events_of_rtmr3_is_compared_there_too():
    log = LOG[:-64] + event(4, A)
    outcomes = judge(with_log(log, **MATCHING), rows=CCEL_ROWS)
    assert first_bad(outcomes) == ("ccel.replay", "tdx.ccel.rtmr_mismatch")
    matching = {**MATCHING, "rtmr3": extended(A)}
    assert first_bad(judge(with_log(log, **matching), rows=CCEL_ROWS)) is None


def test_firmware_log_that_does_not_parse_fails():
    outcomes = judge(with_log(LOG[:100], **MATCHING), rows=CCEL_ROWS)
    assert first_bad(outcomes) == ("ccel.replay", "tdx.ccel.malformed")


def test_firmware_log_withheld_blocks():
    evidence = bundle([*items(shot(pki.BASE)), ("log-1", "tdx.ccel", LOG)], withheld=("log-1",))
    assert first_bad(judge(evidence, rows=CCEL_ROWS)) == ("ccel.replay", "artifact.withheld")


def test_no_firmware_log_listed_is_absent():
    outcomes = judge(bundle(items(shot(pki.BASE))), rows=CCEL_ROWS)
    assert first_bad(outcomes) == ("ccel.replay", "evidence.absent")


def test_firmware_log_between_two_quotes_needs_a_binding():
    listed = [
        *items(fields(**MATCHING)),
        ("quote-2", "tdx.quote", pki.BASE.quote),
        ("log-1", "tdx.ccel", LOG),
    ]
    outcomes = judge(bundle(listed), rows=CCEL_ROWS)
    assert first_bad(outcomes) == ("ccel.replay", "binding.undeclared")
    bound = Binding(type="log-in-evidence", members={"log": "log-1", "evidence": "quote-1"})
    assert first_bad(judge(bundle(listed, [bound]), rows=CCEL_ROWS)) is None
    other = Binding(type="log-in-evidence", members={"log": "log-2", "evidence": "quote-1"})
    outcomes = judge(bundle(listed, [other]), rows=CCEL_ROWS)
    assert first_bad(outcomes) == ("ccel.replay", "binding.undeclared")


def test_firmware_log_bound_to_what_is_no_quote_is_undeclared():
    bound = Binding(type="log-in-evidence", members={"log": "log-1", "evidence": "root-crl"})
    outcomes = judge(with_log(LOG, bound, **MATCHING), rows=CCEL_ROWS)
    assert first_bad(outcomes) == ("ccel.replay", "binding.undeclared")
