"""Rows 59 and 60: pins, one set as a whole, images; every code of each."""

from __future__ import annotations

from hashlib import sha256
from types import SimpleNamespace

import pytest

from fixtures import goods, policies
from fixtures.verification import answer
from verify.checks import reference
from verify.checks.reference import Measured, judge, nearest
from verify.engine.check import Facts
from verify.engine.outcome import Status
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.policy.model import (
    AnyOf,
    Bound,
    Ignore,
    ImageRules,
    Masked,
    PinSet,
    Release,
    Set,
    Zero,
)
from verify.wire.model import Artifact, ArtifactState, Evidence, FromOperator

A, B, C = b"\xaa" * 4, b"\xbb" * 4, b"\xcc" * 4


def measured(rules, values=None, sets=(), mismatch=Reason.TDX_POLICY_MEASUREMENT_MISMATCH):
    values = {"x": A, "y": B, "z": bytes(4)} if values is None else values
    return Measured(
        artifact="quote-1",
        document="artifact:quote-1",
        values=values,
        spans={name: (4 * i, 4 * i + 4) for i, name in enumerate(values)},
        rules=rules,
        sets=sets,
        judged=tuple(values),
        mismatch=mismatch,
    )


def pins(name, **values):
    return PinSet(name=name, because="", values={k: (v,) for k, v in values.items()})


def judged(item):
    tally = Tally()
    said = judge(item, tally)
    return said, tally.outcome("fact")


FREE = {"y": Zero(), "z": Zero()}


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (AnyOf(values=(A,)), None),
        (AnyOf(values=(C, A)), None),
        (AnyOf(values=(C,)), Reason.TDX_POLICY_MEASUREMENT_MISMATCH),
        (AnyOf(values=()), Reason.REFERENCE_MISSING),
        (Masked(mask=b"\xf0\0\0\0", value=b"\xa0\0\0\0"), None),
        (Masked(mask=b"\xf0\0\0\0", value=b"\xb0\0\0\0"), Reason.TDX_POLICY_MEASUREMENT_MISMATCH),
        (Zero(), Reason.TDX_POLICY_MEASUREMENT_MISMATCH),
        (Bound(by="tdx.tcb"), None),
        (Release(), Reason.REFERENCE_MISSING),
        (Ignore(because="no matter"), None),
        (Set(), Reason.REFERENCE_MISSING),
        (None, Reason.TDX_POLICY_MEASUREMENT_MISMATCH),
    ],
)
def test_field_is_judged_by_its_rule_alone(rule, reason):
    rules = {} if rule is None else {"x": rule}
    said, found = judged(measured(rules, {"x": A}))
    assert found.reason is reason
    if reason is not None:
        (finding,) = found.findings
        assert (finding.pointer.start, finding.pointer.stop) == (0, 4)
        assert finding.got == A.hex()
    assert said == (("quote-1: x not judged (no matter)",) if isinstance(rule, Ignore) else ())


def test_all_fields_must_match_inside_one_set():
    """A field of one accepted release beside a field of another is no accepted combination."""
    rules = {"x": Set(), "y": Set(), "z": Zero()}
    both = (pins("r1", x=A, y=C), pins("r2", x=C, y=B))
    _, found = judged(measured(rules, sets=both))
    assert found.reason is Reason.TDX_POLICY_MEASUREMENT_MISMATCH
    (finding,) = found.findings
    assert "set r1" in finding.expected
    assert finding.pointer.start == 4


def test_matching_set_is_named_for_each_item():
    rules = {"x": Set(), "y": Set(), "z": Zero()}
    said, found = judged(measured(rules, sets=(pins("r1", x=C, y=C), pins("r2", x=A, y=B))))
    assert found.status is Status.PASS
    assert found.matched == ("r2",)
    assert said == ("quote-1: r2",)


def test_nearest_set_has_the_fewest_differences_and_then_comes_first():
    rules = {"x": Set(), "y": Set(), "z": Set()}
    far, near, same = (
        pins("far", x=C, y=C, z=C),
        pins("near", x=A, y=B, z=C),
        pins("same", x=A, y=C, z=bytes(4)),
    )
    item = measured(rules, sets=(far, near, same))
    assert nearest(item) == (near, ("z",))
    assert nearest(measured(rules)) is None
    _, found = judged(item)
    assert len(found.findings) == 1


def test_every_differing_field_of_the_nearest_set_is_a_finding():
    rules = {"x": Set(), "y": Set(), "z": Zero()}
    _, found = judged(measured(rules, sets=(pins("r1", x=C, y=C),)))
    assert [f.pointer.start for f in found.findings] == [0, 4]


def test_set_without_any_set_given_is_a_gap_for_every_field():
    _, found = judged(measured({"x": Set(), "y": Set(), "z": Zero()}))
    assert (found.status, found.reason) == (Status.BLOCKED, Reason.REFERENCE_MISSING)
    assert len(found.findings) == 2


def test_set_fields_of_another_structure_say_nothing():
    """A policy that accepts quotes of two kinds lists the fields of both in each set."""
    rules = {"x": Set(), "y": Set(), "z": Zero(), "mr_enclave": Set()}
    _, found = judged(measured(rules, sets=(pins("r1", x=A, y=B, mr_enclave=C),)))
    assert found.status is Status.PASS


def test_value_shorter_than_its_pin_is_no_match():
    _, found = judged(measured({"x": AnyOf(values=(A,))}, {"x": A[:3]}))
    assert found.reason is Reason.TDX_POLICY_MEASUREMENT_MISMATCH


def test_measurement_of_another_platform_has_its_own_code():
    _, found = judged(
        measured({"x": Zero()}, {"x": A}, mismatch=Reason.REFERENCE_MEASUREMENT_NOT_LISTED)
    )
    assert found.reason is Reason.REFERENCE_MEASUREMENT_NOT_LISTED


# --- on whole bundles ------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["mr_td", "rtmr0", "rtmr1", "rtmr2"])
def test_register_with_one_bit_changed_in_its_pin_is_refused(field):
    def change(document):
        values = document["tdx"]["sets"][0]["values"]
        raw = bytearray(bytes.fromhex(values[field][0]))
        raw[-1] ^= 1
        values[field] = [raw.hex()]

    found = answer(goods.case("nanogpt", policy=change))
    assert found.verdict == "REJECTED"
    assert found.checks["reference.measurements"] == ("FAIL", "tdx.policy.measurement_mismatch")


def test_register_pinned_by_nobody_is_a_gap():
    def change(document):
        document["tdx"]["sets"] = []

    found = answer(goods.case("nanogpt", policy=change))
    assert found.verdict == "INCOMPLETE"
    assert found.checks["reference.measurements"] == ("BLOCKED", "reference.missing")


def test_two_trust_domains_may_match_two_sets_but_not_a_mixture():
    good = goods.good("near-gateway")
    assert answer(good).verdict == "VERIFIED"

    def mix(document):
        first, second = document["tdx"]["sets"]
        first["values"]["rtmr1"], second["values"]["rtmr1"] = ["ff" * 48], ["ff" * 48]

    found = answer(goods.case("near-gateway", policy=mix))
    assert found.checks["reference.measurements"] == ("FAIL", "tdx.policy.measurement_mismatch")


def test_ignored_fields_are_listed_in_the_report():
    report = answer(goods.good("nanogpt")).report
    assert report is not None
    detail = report.outcomes["reference.measurements"].detail
    assert "mr_seam not judged" in detail
    assert "node-1" in detail


def test_fixture_policies_differ_from_the_defaults_as_their_builder_says():
    assert policies.PINNED == ("mr_td", "rtmr0", "rtmr1", "rtmr2")


# --- image -----------------------------------------------------------------------------------

BODY = b"{}"


def image(digests, body=BODY, state=ArtifactState.PRESENT, listed=True):
    artifact = Artifact(
        id="image-1",
        role="image.manifest",
        media_type="application/json",
        digest="sha256:00",
        size=2,
        framing="raw",
        origin=FromOperator(description="x"),
    )
    statement = SimpleNamespace(
        of_role=lambda *roles: (artifact,) if listed and artifact.role in roles else (),
        artifact=lambda _: artifact,
    )
    bodies = {} if body is None else {"image-1": body}
    evidence = Evidence(statement=statement, bodies=bodies, states={"image-1": state})
    rules = None if digests is None else ImageRules(digests=digests)
    return reference.image_digest(
        SimpleNamespace(policy=SimpleNamespace(image=rules)),
        Facts({"blobs.derived": evidence}, frozenset(("blobs.derived",))),
    )


@pytest.mark.parametrize(
    ("digests", "status", "reason"),
    [
        ((sha256(BODY).digest(),), Status.BLOCKED, Reason.BINDING_IMAGE_DIGEST_NOT_ATTESTED),
        ((sha256(b"other").digest(),), Status.FAIL, Reason.REFERENCE_MEASUREMENT_NOT_LISTED),
        ((), Status.BLOCKED, Reason.REFERENCE_MISSING),
        (None, Status.BLOCKED, Reason.REFERENCE_MISSING),
    ],
)
def test_image_never_passes_while_no_report_commits_to_it(digests, status, reason):
    found = image(digests)
    assert (found.status, found.reason) == (status, reason)


def test_image_that_is_not_listed_is_a_gap():
    assert image((b"\0" * 32,), listed=False).reason is Reason.EVIDENCE_ABSENT


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (ArtifactState.WITHHELD, Reason.ARTIFACT_WITHHELD),
        (ArtifactState.MISSING, Reason.ARTIFACT_MISSING),
        (ArtifactState.EXTERNAL_UNAVAILABLE, Reason.ARTIFACT_EXTERNAL_UNAVAILABLE),
    ],
)
def test_image_without_bytes_is_a_gap(state, reason):
    assert image((b"\0" * 32,), body=None, state=state).reason is reason
