"""The store: additions never replace a built-in, standing in time, identities."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from fixtures.intel_pki import key
from tests.checks.time_case import Authority, anchor
from tests.trust.keys import keyed, spki_of
from verify.engine.errors import MalformedInput
from verify.engine.value import replace
from verify.trust.anchor import Anchor, AnchorStatus, Kind, Purpose, Standing
from verify.trust.builtin import builtins
from verify.trust.file import read_signer, read_trust_file
from verify.trust.store import TrustStore

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
ROOT = Authority().root()


def file_of(*entries, issued="2026-06-01T00:00:00.000Z"):
    document = {
        "schema": "urn:teebundle:schema:trust:v1",
        "name": "tests",
        "issuedAt": issued,
        "anchors": list(entries),
    }
    return read_trust_file(json.dumps(document).encode())


def builtin(purpose):
    return next(anchor for anchor in builtins() if anchor.purpose is purpose)


def copied(purpose, **changes):
    """An entry of a trust file with the content of a built-in."""
    own = builtin(purpose)
    entry = anchor("copy", purpose.value, own.data or b"", own.kind.value)
    if own.kind is Kind.PIN:
        entry.update(data=None, sha256=own.sha256)
    return {**entry, **changes}


def refused(*files):
    with pytest.raises(MalformedInput) as caught:
        TrustStore.build(files=files)
    return caught.value


# --- built-ins against additions -------------------------------------------------------------


@pytest.mark.parametrize("purpose", [Purpose.INTEL_SGX_ROOT, Purpose.NRAS_INTERMEDIATE])
def test_addition_equal_to_a_builtin_changes_nothing(purpose):
    store = TrustStore.build(files=[file_of(copied(purpose))])
    (only,) = store.anchors(purpose, at=NOON)
    assert only == builtin(purpose)
    assert store.added_vendor_anchors == ()


@pytest.mark.parametrize("purpose", [Purpose.INTEL_SGX_ROOT, Purpose.NRAS_INTERMEDIATE])
def test_addition_may_distrust_a_builtin(purpose):
    lost = copied(purpose, status="compromised", since="2040-01-01T00:00:00.000Z")
    store = TrustStore.build(files=[file_of(lost)])
    assert store.anchors(purpose, at=NOON) == ()
    assert store.of(purpose)[0].status is AnchorStatus.COMPROMISED


def test_addition_cannot_trust_again_what_another_distrusts():
    lost = copied(Purpose.INTEL_SGX_ROOT, status="compromised", since="2026-01-01T00:00:00.000Z")
    good = copied(Purpose.INTEL_SGX_ROOT)
    for files in ((file_of(lost), file_of(good)), (file_of(good), file_of(lost))):
        store = TrustStore.build(files=files)
        assert store.anchors(Purpose.INTEL_SGX_ROOT, at=NOON) == ()


def test_addition_cannot_narrow_or_retire_a_builtin():
    ended = copied(
        Purpose.INTEL_SGX_ROOT,
        status="retired",
        validFor={"start": "2020-01-01T00:00:00.000Z", "end": "2020-01-02T00:00:00.000Z"},
    )
    store = TrustStore.build(files=[file_of(ended)])
    assert store.anchors(Purpose.INTEL_SGX_ROOT, at=NOON) == (builtin(Purpose.INTEL_SGX_ROOT),)


def test_addition_of_other_content_under_a_builtins_digest_is_refused():
    pinned = copied(Purpose.INTEL_SGX_ROOT) | {"kind": "pin", "data": None}
    assert "built-in" in refused(file_of(pinned)).what


def test_addition_under_a_builtins_name_is_refused():
    taken = anchor("intel-sgx-root", "intel-sgx-root", ROOT, "x509")
    assert "same name" in refused(file_of(taken)).what


def test_same_anchor_twice_with_different_content_is_refused():
    one = anchor("a", "tsa", ROOT, "x509")
    two = anchor("a", "tsa", ROOT, "x509", operator="somebody else")
    assert "different content" in refused(file_of(one), file_of(two)).what
    assert len(TrustStore.build(files=[file_of(one), file_of(one)]).of(Purpose.TSA)) == 1


def test_same_name_for_two_anchors_of_one_purpose_is_refused():
    one = anchor("a", "tsa", ROOT, "x509")
    two = anchor("a", "tsa", Authority(label="other").root(), "x509")
    assert "same name" in refused(file_of(one), file_of(two)).what


# --- vendor anchors the user added -----------------------------------------------------------


def test_added_vendor_anchor_counts_only_where_the_policy_names_the_purpose():
    store = TrustStore.build(files=[file_of(anchor("mine", "intel-sgx-root", ROOT, "x509"))])
    known = [a.name for a in store.anchors(Purpose.INTEL_SGX_ROOT, at=NOON)]
    assert known == ["intel-sgx-root"]
    assert [
        a.name for a in store.anchors(Purpose.INTEL_SGX_ROOT, at=NOON, accept_added=["amd-ark"])
    ] == known
    accepted = store.anchors(Purpose.INTEL_SGX_ROOT, at=NOON, accept_added=["intel-sgx-root"])
    assert [a.name for a in accepted] == ["intel-sgx-root", "mine"]
    assert [a.name for a in store.added_vendor_anchors] == ["mine"]


def test_added_anchor_of_another_purpose_needs_no_permission():
    store = TrustStore.build(files=[file_of(anchor("mine", "tsa", ROOT, "x509"))])
    assert [a.name for a in store.anchors(Purpose.TSA, at=NOON)] == ["mine"]
    assert store.added_vendor_anchors == ()


# --- references ------------------------------------------------------------------------------


def test_reference_by_name_and_by_key_id_finds_the_same_signer():
    store = TrustStore.build(files=[file_of(keyed("alice"), keyed("bob"))])
    alice = store.resolve(Purpose.CAPTURE_SIGNER, "name:alice")
    assert alice is not None
    assert store.resolve(Purpose.CAPTURE_SIGNER, alice.keyid) is alice
    assert store.find_signer(Purpose.CAPTURE_SIGNER, alice.keyid) is alice
    assert store.find(Purpose.CAPTURE_SIGNER, alice.sha256) is alice
    assert store.resolve(Purpose.ATTACHMENT_SIGNER, "name:alice") is None
    assert store.resolve(Purpose.CAPTURE_SIGNER, "name:carol") is None
    assert store.find_signer(Purpose.CAPTURE_SIGNER, "sha256:" + "00" * 32) is None
    assert store.accepted(Purpose.CAPTURE_SIGNER, ["name:alice", "name:carol"]) == {alice.sha256}


# --- standing --------------------------------------------------------------------------------


def made(**changes):
    base = Anchor(
        name="a",
        purpose=Purpose.TSA,
        kind=Kind.X509,
        data=b"x",
        sha256="00" * 32,
        operator="o",
        start=NOON - timedelta(days=1),
        end=NOON + timedelta(days=1),
        status=AnchorStatus.ACTIVE,
        since=None,
        source="s",
        origin="f",
    )
    return replace(base, **changes)


@pytest.mark.parametrize("status", [AnchorStatus.ACTIVE, AnchorStatus.RETIRED])
@pytest.mark.parametrize(
    ("at", "standing"),
    [
        (NOON - timedelta(days=1) - MILLISECOND, Standing.NOT_IN_FORCE),
        (NOON - timedelta(days=1), Standing.IN_FORCE),
        (NOON, Standing.IN_FORCE),
        (NOON + timedelta(days=1), Standing.IN_FORCE),
        (NOON + timedelta(days=1) + MILLISECOND, Standing.NOT_IN_FORCE),
    ],
)
@pytest.mark.parametrize("proven", [False, True])
def test_standing_of_a_good_anchor_is_that_of_its_window(status, at, standing, proven):
    assert made(status=status).standing(at, proven=proven) is standing


@pytest.mark.parametrize(
    ("since", "proven", "standing"),
    [
        (NOON - MILLISECOND, True, Standing.COMPROMISED),
        (NOON, True, Standing.COMPROMISED),
        (NOON + MILLISECOND, True, Standing.COMPROMISED_LATER),
        (NOON + MILLISECOND, False, Standing.COMPROMISED),
        (NOON + timedelta(days=9999), False, Standing.COMPROMISED),
    ],
)
def test_standing_of_a_compromised_anchor_rests_on_a_proven_time(since, proven, standing):
    lost = made(status=AnchorStatus.COMPROMISED, since=since)
    assert lost.standing(NOON, proven=proven) is standing


def test_standing_without_bounds_is_open_on_both_sides():
    free = made(start=None, end=None)
    assert free.standing(datetime(2000, 1, 1, tzinfo=UTC), proven=False) is Standing.IN_FORCE
    assert free.standing(datetime(2049, 1, 1, tzinfo=UTC), proven=False) is Standing.IN_FORCE


def test_anchors_leave_out_what_is_not_in_force():
    window = {"start": "2026-06-10T12:00:00.000Z", "end": "2026-06-10T12:00:00.000Z"}
    store = TrustStore.build(files=[file_of(anchor("mine", "tsa", ROOT, "x509", validFor=window))])
    assert len(store.anchors(Purpose.TSA, at=NOON)) == 1
    assert store.anchors(Purpose.TSA, at=NOON + timedelta(seconds=1)) == ()
    assert store.anchors(Purpose.TSA, at=NOON - timedelta(seconds=1)) == ()


# --- single keys, identities -----------------------------------------------------------------


def test_signer_given_singly_never_loosens_what_a_file_says():
    pem = spki_of(key("alice").public_key(), pem=True)
    window = {"start": "2020-01-01T00:00:00.000Z", "end": "2020-01-02T00:00:00.000Z"}
    store = TrustStore.build(
        files=[file_of(keyed("alice", validFor=window))], signers=[read_signer(pem)]
    )
    (only,) = store.of(Purpose.CAPTURE_SIGNER)
    assert only.end is not None
    assert store.signers == ()


def test_signer_given_singly_is_shown_as_such():
    signer = read_signer(spki_of(key("alice").public_key(), pem=True))
    store = TrustStore.build(signers=[signer])
    assert store.signers == (signer,)
    assert store.sha256 != TrustStore.build().sha256


def test_store_identity_does_not_depend_on_order():
    one, two = file_of(keyed("alice")), file_of(keyed("bob"))
    assert TrustStore.build(files=[one, two]).sha256 == TrustStore.build(files=[two, one]).sha256
    assert TrustStore.build(files=[one]).sha256 != TrustStore.build(files=[two]).sha256
    assert TrustStore.build(builtins=()).builtin_sha256 != TrustStore.build().builtin_sha256


def test_oldest_snapshot_is_that_of_the_oldest_file_and_never_negative():
    old = file_of(keyed("alice"), issued="2026-06-01T12:00:00.001Z")
    new = file_of(keyed("bob"), issued="2026-07-01T00:00:00.000Z")
    assert TrustStore.build(files=[old, new]).oldest_snapshot_days(NOON) == 8
    assert TrustStore.build(files=[new]).oldest_snapshot_days(NOON) == 0
    assert TrustStore.build().oldest_snapshot_days(NOON) is None
