"""Time as a parameter of the builders: days, certificates issued anew, services of other times."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509

from fixtures import aci_sim, goods, intel_pki, nvidia_pki, policies, sessions
from fixtures.registry import Case
from fixtures.sealed import Draft
from fixtures.simulator.clock import Setting, day_of, second_of
from fixtures.verification import answer
from tests.simulator.vendor_calls import DAYS, second

ZURICH = timezone(timedelta(hours=2))


def test_clock_counts_days_and_seconds_in_utc():
    moment = datetime(2026, 6, 11, 1, 30, 15, 9, tzinfo=ZURICH)
    assert day_of(moment) == datetime(2026, 6, 10, tzinfo=UTC)
    assert second_of(moment) == datetime(2026, 6, 10, 23, 30, 15, tzinfo=UTC)
    assert Setting(time=lambda: moment).now.tzinfo is UTC


def test_clock_fault_strikes_by_name_by_item_and_not_otherwise():
    items = {"late": frozenset({"a"})}
    bare = Setting(faults={"late", "other"}, items=items)
    assert (bare.struck("late", "a"), bare.struck("late", "b")) == (True, False)
    assert (bare.struck("other"), bare.struck("other", "b"), bare.struck("none")) == (
        True,
        True,
        False,
    )
    single = Setting(faults={"late@b"}, items=items)
    assert (single.struck("late", "a"), single.struck("late", "b")) == (False, True)
    assert not single.struck("late")


def test_world_of_a_day_is_the_same_all_day_and_keeps_keys_and_root():
    early, late = (intel_pki.world_at(datetime(2031, 1, 1, h, tzinfo=UTC)) for h in (0, 23))
    for part in ("pck_chain", "tcb_info", "qe_identity", "pck_crl", "root_crl", "quote"):
        assert getattr(early, part) == getattr(late, part)
    assert early.anchor == intel_pki.BASE.anchor
    assert early.tcb_info != intel_pki.world_at(datetime(2031, 1, 2, tzinfo=UTC)).tcb_info


def test_world_issues_certificates_anew_before_they_end():
    def serials(year):
        world = intel_pki.world_at(datetime(year, 6, 10, tzinfo=UTC))
        return world.leaf.serial, world.signer.serial, world.authority.serial

    base = intel_pki.BASE
    assert serials(2026) == (base.leaf.serial, base.signer.serial, base.authority.serial)
    assert all(new != old for new, old in zip(serials(2034), serials(2026), strict=True))
    with pytest.raises(TypeError, match="exact text"):
        intel_pki.world_at(DAYS[1], replace(base, tcb_info_inner="{}"))


def test_manifest_chain_is_another_each_year_under_one_root():
    this, then = (nvidia_pki.rim_chain_at(datetime(y, 3, 1, tzinfo=UTC)) for y in (2026, 2034))
    assert this[3] == then[3] == nvidia_pki.rim_root()
    assert {plan.key for plan in this} == {plan.key for plan in then}
    assert not {plan.serial for plan in this[:3]} & {plan.serial for plan in then[:3]}


@pytest.mark.parametrize("moment", DAYS, ids=str)
def test_aci_key_set_and_receipt_follow_the_session_s_time(moment):
    end = second(moment)
    good = aci_sim.service()
    service = replace(good, end=end, node=replace(good.node, world=intel_pki.world_at(end)))
    assert service.keys()["not_after"] == int(end.timestamp()) + 86400
    found = answer(
        Case(
            bundle=Draft(session=service).build(),
            policy=policies.written(aci_sim.document()),
            trust=(goods.trust(),),
        )
    )
    assert found.verdict == "VERIFIED"


def test_aci_key_set_of_another_time_is_not_accepted():
    late = second(DAYS[1])
    good = aci_sim.service()
    over = int(late.timestamp()) - 86400
    service = replace(
        good,
        end=late,
        node=replace(good.node, world=intel_pki.world_at(late)),
        keyset=lambda document: document.update(not_after=over),
    )
    bundle = Draft(session=service).build()
    found = answer(
        Case(bundle=bundle, policy=policies.written(aci_sim.document()), trust=(goods.trust(),))
    )
    assert found.verdict == "REJECTED"


def test_tls_certificate_lives_when_it_is_told_to():
    start, end = DAYS[2], DAYS[2] + timedelta(days=90)
    made = x509.load_der_x509_certificate(
        sessions.tls_certificate("host.example.test", start=start, end=end)
    )
    assert (made.not_valid_before_utc, made.not_valid_after_utc) == (start, end)
    usual = sessions.tls_certificate("host.example.test")
    assert sessions.spki_of(usual) == sessions.spki_of(
        sessions.tls_certificate("host.example.test", start=start, end=end)
    )
