"""Family aci: published vectors, and what a report, a receipt and a session record may not be."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256

import pytest

from fixtures import aci_sim
from verify.crypto import ed25519
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.families import aci, shapes
from verify.wire.jcs import canonical
from verify.wire.strict_json import parse_evidence

NONCE = bytes(range(32))


@pytest.fixture
def published(evidence_root):
    folder = evidence_root / "chat" / "aci-vectors-synthetic"
    return folder, json.loads((folder / "expected.json").read_text())


def record(folder, name):
    return parse_evidence((folder / name).read_bytes())


def test_published_keyset_and_statement_give_the_published_report_data(published):
    folder, expected = published
    digest = aci.canonical_digest(record(folder, "keyset.json"), "")
    assert f"sha256:{digest.hex()}" == expected["keyset_digest"]
    statement = aci.statement(digest, bytes.fromhex(expected["nonce"]))
    assert statement == (folder / "statement.txt").read_bytes()
    assert sha256(statement).hexdigest() == expected["report_data_32"]
    without = sha256(aci.statement(digest, None)).hexdigest()
    assert without == expected["report_data_32_without_nonce"]


def test_published_receipt_is_signed_and_names_the_bodies(published):
    folder, expected = published
    receipt = aci.read_receipt(record(folder, "receipt.json"))
    assert sha256(receipt.signed).hexdigest() == expected["receipt_signing_input_sha256"]
    key = bytes.fromhex(record(folder, "keyset.json")["receipt_signing_keys"][0]["public_key"])
    assert ed25519.signed(key, receipt.signature, receipt.signed)
    assert receipt.request_hash == sha256((folder / "request.body").read_bytes()).digest()
    assert receipt.response_hash == sha256((folder / "response.body").read_bytes()).digest()
    assert aci.unverified_upstreams(receipt) == ()
    assert receipt.upstreams[0].session == bytes.fromhex(expected["session_id"])


def test_published_session_has_its_id_and_its_evidence(published):
    folder, expected = published
    session = record(folder, "session.json")
    wanted = bytes.fromhex(expected["session_id"])
    assert aci.session_id(session) == wanted
    aci.judge_session(session, (wanted,))


def test_published_stub_report_binds_its_statement(published):
    folder, expected = published
    body = (folder / "stub-report.json").read_bytes()
    answer = shapes.read_answer(shapes.parse_answer(body), "att-1")
    (report,) = answer.reports
    assert f"sha256:{report.keyset_digest.hex()}" == expected["stub_report"]["keyset_digest"]
    aci.judge_keyset(report, datetime(2026, 1, 1, tzinfo=UTC))
    nonce = bytes.fromhex(expected["stub_report"]["nonce"])
    data = report.copies[0][1] + bytes(32)
    assert aci.judge_nonce(report, data, nonce).bound == nonce
    assert aci.judge_binding(report, data, (), (nonce,)).refused == ()
    assert answer.reports[0].tls_keys == ()


def members(change=None):
    made = json.loads(aci_sim.service().answer(NONCE))
    if change is not None:
        change(made)
    return made


def attestation(found):
    return found["attestation"]


def test_report_items_are_those_of_the_extractor_table():
    answer = shapes.read_answer(members(), "att-1")
    evidence = "/attestation/evidence"
    assert [(item.role, item.steps) for item in answer.items] == [
        ("tdx.quote", (f"select:{evidence}/quote", "hex")),
        ("dstack.event-log", (f"span:{evidence}/event_log",)),
        ("dstack.app-compose", (f"select:{evidence}/app_compose", "text")),
        ("provider.evidence", ("span:/attestation/workload_keyset",)),
    ]


def test_report_of_an_snp_guest_gives_a_report():
    answer = shapes.read_answer(
        members(lambda found: attestation(found).update(tee_type="sev_snp")), "att-1"
    )
    assert answer.reports[0].quote.role == "snp.report"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda f: f.pop("workload_keyset_digest"), Reason.SHAPE_FIELD_MISSING),
        (lambda f: f.update(workload_keyset_digest="00" * 32), Reason.SHAPE_ENCODING_INVALID),
        (lambda f: attestation(f).pop("evidence"), Reason.SHAPE_FIELD_MISSING),
        (lambda f: attestation(f).pop("workload_keyset"), Reason.SHAPE_FIELD_MISSING),
        (lambda f: attestation(f).update(report_data="00"), Reason.SHAPE_LENGTH_INVALID),
        (
            lambda f: attestation(f)["workload_keyset"].update(not_after=True),
            Reason.SHAPE_FIELD_TYPE,
        ),
        (
            lambda f: attestation(f)["workload_keyset"].update(not_after=10**12),
            Reason.SHAPE_ENCODING_INVALID,
        ),
        (
            lambda f: attestation(f)["workload_keyset"].update(epoch=2**60),
            Reason.SHAPE_ENCODING_INVALID,
        ),
        (
            lambda f: attestation(f)["workload_keyset"]["receipt_signing_keys"].append(
                attestation(f)["workload_keyset"]["receipt_signing_keys"][0]
            ),
            Reason.SHAPE_DUPLICATE_DISAGREES,
        ),
    ],
)
def test_report_that_cannot_be_read_is_refused_by_name(change, reason):
    with pytest.raises(FormatError) as caught:
        shapes.read_answer(members(change), "att-1")
    assert caught.value.reason is reason


def test_keyset_order_and_spacing_do_not_change_its_digest():
    found = members()
    keys = attestation(found)["workload_keyset"]
    attestation(found)["workload_keyset"] = dict(reversed(keys.items()))
    first = shapes.read_answer(members(), "a").reports[0]
    assert shapes.read_answer(found, "a").reports[0].keyset_digest == first.keyset_digest


def test_echo_that_is_no_hex_offers_no_nonce():
    report = shapes.read_answer(members(lambda found: found.update(nonce="zz")), "a").reports[0]
    assert aci.judge_nonce(report, bytes(64), NONCE).bound is None


def receipt(change=None):
    made = json.loads(aci_sim.service().receipt_body())
    if change is not None:
        change(made)
    return made


def test_receipt_with_unknown_events_and_members_reads_the_same():
    def change(found):
        found["event_log"].insert(1, {"type": "cache.missed"})
        found["extra"] = {"score": Decimal("0.5")}

    assert aci.read_receipt(receipt(change)).request_hash == (
        aci.read_receipt(receipt()).request_hash
    )


def test_receipt_over_the_event_limit_is_refused():
    with pytest.raises(FormatError) as caught:
        aci.read_receipt(receipt(lambda found: found["event_log"].extend([{}] * 5000)))
    assert caught.value.reason is Reason.EXCHANGE_OVER_LIMIT


def test_receipt_that_begins_with_another_event_is_refused():
    with pytest.raises(FormatError) as caught:
        aci.read_receipt(receipt(lambda found: found["event_log"].pop(0)))
    assert caught.value.reason is Reason.SHAPE_FIELD_MISSING


def test_receipt_with_a_number_of_no_canonical_form_is_refused():
    with pytest.raises(FormatError) as caught:
        aci.read_receipt(receipt(lambda found: found.update(served_at=2**53)))
    assert caught.value.reason is Reason.SHAPE_ENCODING_INVALID


def test_receipt_key_of_another_algorithm_is_unknown():
    def change(found):
        keys = attestation(found)["workload_keyset"]["receipt_signing_keys"]
        keys[0]["algo"] = "secp256k1"

    report = shapes.read_answer(members(change), "a").reports[0]
    body = receipt(
        lambda found: found.update(workload_keyset_digest=f"sha256:{report.keyset_digest.hex()}")
    )
    with pytest.raises(Refused) as caught:
        aci.judge_receipt(aci.read_receipt(body), (report,))
    assert caught.value.reason is Reason.ACI_KEY_UNKNOWN


@pytest.mark.parametrize("data", ["text", "data:text/plain,plain", "data:;base64,@@"])
def test_session_evidence_that_is_no_data_uri_is_refused(data):
    session = json.loads(aci_sim.service().session_record()[1])
    session = deepcopy(session)
    session["evidence"]["data"] = data
    with pytest.raises(FormatError) as caught:
        aci.judge_session(session, (sha256(canonical(session)).digest(),))
    assert caught.value.reason is Reason.SHAPE_ENCODING_INVALID


def test_record_that_is_no_object_is_refused():
    with pytest.raises(FormatError) as caught:
        shapes.parse_record(b"[]")
    assert caught.value.reason is Reason.SHAPE_FIELD_TYPE
