"""Nonces and marker: derived from signer, beacon, random and secret, or refused by code."""

from __future__ import annotations

import uuid
from hashlib import sha256
from pathlib import Path

import pytest

from fixtures.worked_example import (
    NONCE,
    OTHER,
    RANDOM,
    REQUEST,
    SECRET,
    SIGNER,
    Draft,
    artifact,
    salted,
    seed,
)
from tests.checks.container_case import REASONS, noted, outcomes, policy, said
from verify.checks.nonces import marker_text, nonce_commitment, uuid_text
from verify.engine.reason import Reason

FOREIGN = {"derivation": "foreign", "random": None, "beacon": None}
LENIENT = {"allow_foreign_nonce": True, "min_nonce_bytes": 16}


def check(draft, expected, **options):
    found = outcomes(draft, **options)
    assert said(found) == expected
    return found


def nonces_only(reason):
    return {"session.nonces": reason.code}


def marker_only(reason):
    return {"marker.binding": reason.code}


def drafted(**members):
    draft = Draft()
    draft.predicate["session"]["nonces"][0].update(members)
    return draft


def test_commitment_is_the_one_of_the_format():
    head = b"teebundle/nonce/v1\x00" + sha256(SIGNER.spki).digest()
    assert nonce_commitment(SIGNER.keyid, None, RANDOM) == NONCE
    assert (
        nonce_commitment(SIGNER.keyid, b"beacon", RANDOM)
        == sha256(head + sha256(b"beacon").digest() + RANDOM).digest()
    )
    assert nonce_commitment(OTHER.keyid, None, RANDOM) != NONCE


def test_nonce_of_the_worked_example_is_a_fact():
    (nonce,) = check(Draft(), {})["session.nonces"].fact.nonces
    assert (nonce.value, nonce.commitment, nonce.foreign, nonce.strength) == (
        NONCE,
        NONCE,
        False,
        32,
    )


@pytest.mark.parametrize(
    "members",
    [
        {"value": "00" * 32},
        {"random": "00" * 32},
        {"value": NONCE.hex() + "00"},
        {"value": NONCE[:31].hex()},
        {"value": NONCE.hex(), "sentAs": "uuid"},
    ],
)
def test_nonce_that_does_not_follow_fails(members):
    check(
        drafted(**members),
        nonces_only(Reason.NONCE_DERIVATION_MISMATCH),
        rules=policy(session=LENIENT),
    )


def test_nonce_of_another_signer_fails():
    other = nonce_commitment(OTHER.keyid, None, RANDOM)
    check(drafted(value=other.hex()), nonces_only(Reason.NONCE_DERIVATION_MISMATCH))


@pytest.mark.parametrize(
    "members",
    [
        {"value": NONCE[:16].hex(), "sentAs": "hex32"},
        {"value": NONCE[:16].hex() + "00" * 16, "sentAs": "hex32"},
        {"value": uuid_text(NONCE).encode().hex(), "sentAs": "uuid"},
    ],
)
def test_nonce_of_sixteen_bytes_is_the_weaker_form(members):
    found = check(drafted(**members), {}, rules=policy(session=LENIENT))
    assert found["session.nonces"].fact.nonces[0].strength == 16
    check(drafted(**members), nonces_only(Reason.NONCE_TOO_SHORT))


@pytest.mark.parametrize(
    "value", [NONCE[:16].hex() + "00" * 15 + "01", NONCE[:16].hex() + "00" * 33, "00" * 16]
)
def test_nonce_of_sixteen_bytes_with_other_padding_fails(value):
    check(
        drafted(value=value, sentAs="hex32"),
        nonces_only(Reason.NONCE_DERIVATION_MISMATCH),
        rules=policy(session=LENIENT),
    )


def test_uuid_form_is_a_version_eight_uuid():
    found = uuid.UUID(uuid_text(NONCE))
    assert found.version == 8
    assert found.variant == uuid.RFC_4122
    assert found.bytes[:6] == NONCE[:6]
    assert found.bytes[9:] == NONCE[9:16]


def test_base64_form_is_the_commitment():
    check(drafted(sentAs="base64"), {})


@pytest.mark.parametrize("sent_as", ["hex64", "none"])
def test_foreign_nonce_is_accepted_only_by_policy(sent_as):
    draft = drafted(**FOREIGN, sentAs=sent_as)
    check(draft, nonces_only(Reason.NONCE_FOREIGN))
    found = check(draft, {}, rules=policy(session={"allow_foreign_nonce": True}))
    assert noted(found) == {"nonce.foreign_accepted"}
    assert found["session.nonces"].fact.nonces[0].foreign


def test_foreign_nonce_that_is_short_blocks():
    draft = drafted(**FOREIGN, value="11" * 16)
    check(
        draft,
        nonces_only(Reason.NONCE_TOO_SHORT),
        rules=policy(session={"allow_foreign_nonce": True}),
    )


def test_session_without_a_nonce_blocks():
    draft = Draft()
    draft.predicate["session"]["nonces"].clear()
    draft.predicate["bindings"].clear()
    check(draft, nonces_only(Reason.NONCE_NONE))


BEACON = b"log.example/beacon\n1\nAAAA\n"


def with_beacon():
    draft = Draft()
    draft.add(artifact("beacon-1", "time.checkpoint", BEACON, {"local": "fetched before"}), BEACON)
    value = nonce_commitment(SIGNER.keyid, BEACON, RANDOM)
    draft.predicate["session"]["nonces"][0].update(beacon="beacon-1", value=value.hex())
    request = REQUEST.replace(
        marker_text(SIGNER.keyid, NONCE, SECRET).encode(),
        marker_text(SIGNER.keyid, value, SECRET).encode(),
    )
    draft.restore("req-1", salted("req-1", request))
    return draft


def test_nonce_with_a_beacon_commits_to_it():
    found = check(with_beacon(), {})
    assert found["session.nonces"].fact.nonces[0].beacon == "beacon-1"
    draft = with_beacon()
    draft.restore("beacon-1", BEACON + b"x")
    check(draft, nonces_only(Reason.NONCE_DERIVATION_MISMATCH))


def gone(draft, artifact_id, *, declared=False, external=False):
    stored = draft.stored.pop(artifact_id)
    if declared:
        draft.redactions.append({"artifact": artifact_id, "reason": "size", "attachment": None})
    if external:
        digest = draft.artifact(artifact_id)["digest"]
        draft.extra[digest] = {"encoding": "external", "size": len(stored)}
    return draft


ABSENCES = [
    ({}, Reason.ARTIFACT_MISSING),
    ({"declared": True}, Reason.ARTIFACT_WITHHELD),
    ({"external": True}, Reason.ARTIFACT_EXTERNAL_UNAVAILABLE),
]


@pytest.mark.parametrize(("how", "reason"), ABSENCES)
def test_nonce_whose_beacon_has_no_bytes_blocks(how, reason):
    expected = {"artifacts.accounted": reason.code, "session.nonces": reason.code}
    check(gone(with_beacon(), "beacon-1", **how), expected)


@pytest.mark.parametrize("artifact_id", ["mark-1", "req-1"])
@pytest.mark.parametrize(("how", "reason"), ABSENCES)
def test_marker_whose_bytes_are_not_there_blocks(artifact_id, how, reason):
    expected = {"artifacts.accounted": reason.code, "marker.binding": reason.code}
    check(gone(Draft(), artifact_id, **how), expected)


def test_marker_that_nobody_mentions_is_missing():
    draft = Draft()
    draft.predicate["bindings"].pop()
    draft.predicate["artifacts"].pop(2)
    draft.statement["subject"].pop(2)
    del draft.stored["mark-1"]
    check(draft, marker_only(Reason.MARKER_MISSING))


def test_marker_that_no_binding_places_is_undeclared():
    draft = Draft()
    draft.predicate["bindings"].pop()
    check(draft, marker_only(Reason.BINDING_UNDECLARED))


@pytest.mark.parametrize(
    "body",
    [
        REQUEST.replace(b"cap-", b"cup-"),
        REQUEST.replace(b'"user"', b'"other"'),
        b'{"user": 7}',
        b'{"user": null}',
        b"not json",
        b'{"user":"a","user":"b"}',
        b'"text"',
    ],
)
def test_request_without_the_marker_fails(body):
    draft = Draft()
    draft.restore("req-1", salted("req-1", body))
    check(draft, marker_only(Reason.MARKER_MISMATCH))


@pytest.mark.parametrize("secret", [seed("another"), SECRET[:31], SECRET + b"x"])
def test_marker_of_another_secret_fails(secret):
    draft = Draft()
    draft.restore("mark-1", salted("mark-1", secret))
    check(draft, marker_only(Reason.MARKER_MISMATCH))


def test_marker_of_another_nonce_fails():
    draft = Draft()
    second = {
        "id": "nonce-2",
        "value": nonce_commitment(SIGNER.keyid, None, seed("r2")).hex(),
        "derivation": "teebundle-v1",
        "random": seed("r2").hex(),
        "beacon": None,
        "sentAs": "hex64",
    }
    draft.predicate["session"]["nonces"].append(second)
    check(draft, {})
    draft.predicate["bindings"][1]["nonce"] = "nonce-2"
    check(draft, marker_only(Reason.MARKER_MISMATCH))


def test_every_code_of_both_rows_was_triggered():
    """Each code stands in a test above, which asserts that it is the only one given."""
    source = Path(__file__).read_text(encoding="utf-8")
    for name in ("session.nonces", "marker.binding"):
        for reason in REASONS[name]:
            assert f"Reason.{reason.name}" in source or f'"{reason.code}"' in source, reason
