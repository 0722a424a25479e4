"""Nitro documents: the genuine one at its own time, and bytes that are no document."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import nitro_sim, policies, trust_file
from fixtures.registry import Case
from fixtures.verification import answer
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.nitro.chain import judge_chain, judge_signature, judge_time, read_chain
from verify.nitro.document import parse_document

GOOD = nitro_sim.System().document()


@pytest.fixture
def genuine(evidence_root):
    folder = evidence_root / "snp" / "nitro-maple-2024"
    expected = json.loads((folder / "expected.json").read_text())
    return folder, (folder / "document.cbor").read_bytes(), expected


def test_genuine_document_reads_as_recorded(genuine):
    _, data, expected = genuine
    found = parse_document(data)
    assert found.module_id == expected["module_id"]
    assert found.timestamp == datetime.fromisoformat(expected["as_of"])
    assert {str(index): value.hex() for index, value in found.pcrs.items()} == expected["pcrs"]
    assert found.public_key == bytes.fromhex(expected["public_key"])
    assert found.nonce == bytes.fromhex(expected["nonce"])
    assert found.user_data is None
    assert len(found.payload) == expected["cose"]["payload_bytes"]


def test_genuine_document_chains_to_the_published_root(genuine):
    folder, data, expected = genuine
    document = parse_document(data)
    chain = read_chain(document)
    judge_signature(document, chain)
    assert len(chain.certificates) == expected["chain"]["length"]
    judge_chain(document, chain, {sha256((folder / "root.der").read_bytes()).digest()})


def recorded(data, expected, end):
    """Return a bundle of the genuine document, judged by the built-in root alone."""
    rules = nitro_sim.policy()
    rules["trust"]["accept_added"] = []
    pinned = {
        f"pcr{index}": {"rule": "any_of", "values": [expected["pcrs"][str(index)]]}
        for index in (0, 1, 2, 3, 4, 8)
    }
    rules["nitro"].update(fields=pinned, sets=[], max_document_distance_s=60)
    return Case(
        bundle=nitro_sim.sealed((data,), end=end),
        policy=policies.written(rules),
        trust=(trust_file.document([trust_file.anchors()[-1]]),),
    )


def test_genuine_document_is_verified_as_of_its_time(genuine):
    _, data, expected = genuine
    made = datetime.fromisoformat(expected["as_of"])
    found = answer(recorded(data, expected, made + timedelta(seconds=5)))
    assert found.verdict == "VERIFIED"
    rows = ("nitro.document", "nitro.chain", "nitro.pcr", "cpu.authentic")
    assert {found.checks[row][0] for row in rows} == {"PASS"}


def test_genuine_document_is_refused_at_another_time(genuine):
    _, data, expected = genuine
    made = datetime.fromisoformat(expected["as_of"])
    found = answer(recorded(data, expected, made + timedelta(days=1)))
    assert found.checks["nitro.document"] == ("FAIL", "nitro.document.time_mismatch")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81" * 16_000,
        b"\x9f\xff",
        b"\xd8\x1c\x81\xd8\x1d\x00",
        b"\x5b" + b"\xff" * 8,
        b"\xc2\x5b" + b"\x7f" * 9,
        cbor2.dumps([1, 2, 3, 4]),
        cbor2.dumps([b"\x00", {}, b"x", bytes(96)]),
        cbor2.dumps([bytes.fromhex("a1013822"), {}, b"", bytes(96)]),
        cbor2.dumps([bytes.fromhex("a1013822"), {}, cbor2.dumps({1: 2}), bytes(96)]),
        cbor2.dumps([bytes.fromhex("a1013822"), [], cbor2.dumps({}), bytes(96)]),
    ],
)
def test_bytes_that_are_no_document_are_malformed(data):
    with pytest.raises(FormatError) as caught:
        parse_document(data)
    assert caught.value.reason is Reason.NITRO_DOCUMENT_MALFORMED


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("module_id", ""),
        ("module_id", 1),
        ("timestamp", True),
        ("timestamp", -1),
        ("timestamp", 2**63),
        ("pcrs", {}),
        ("pcrs", []),
        ("pcrs", {True: bytes(48)}),
        ("pcrs", {0: "text"}),
        ("certificate", bytes(1025)),
        ("certificate", "text"),
        ("cabundle", [bytes(10)] * 9),
        ("cabundle", "text"),
        ("public_key", bytes(1025)),
        ("user_data", bytes(513)),
        ("nonce", "text"),
    ],
)
def test_member_of_another_form_is_malformed(name, stated):
    data = nitro_sim.System(members=lambda members: members.update({name: stated})).document()
    with pytest.raises(FormatError) as caught:
        parse_document(data)
    assert caught.value.reason is Reason.NITRO_DOCUMENT_MALFORMED


@pytest.mark.parametrize("name", ["public_key", "user_data", "nonce"])
def test_optional_member_may_be_left_out(name):
    data = nitro_sim.System(members=lambda members: members.pop(name)).document()
    assert getattr(parse_document(data), name) is None


def test_signature_of_another_length_is_malformed():
    data = nitro_sim.System(cose=lambda whole: whole.__setitem__(3, whole[3][:-1])).document()
    with pytest.raises(FormatError) as caught:
        parse_document(data)
    assert caught.value.reason is Reason.NITRO_DOCUMENT_MALFORMED


def test_time_limit_is_inclusive_in_both_directions():
    document = parse_document(GOOD)
    for seconds in (-10, 10):
        judge_time(document, document.timestamp + timedelta(seconds=seconds), 10)
        with pytest.raises(Refused):
            judge_time(document, document.timestamp + timedelta(seconds=seconds), 9)


def test_timestamp_is_cut_to_whole_seconds_in_utc():
    assert parse_document(GOOD).timestamp == nitro_sim.MADE.astimezone(UTC)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_document_with_any_byte_changed_is_never_accepted(place, change):
    data = bytearray(GOOD)
    data[place] ^= change
    with pytest.raises((FormatError, Refused)):
        document = parse_document(bytes(data))
        chain = read_chain(document)
        judge_signature(document, chain)
        judge_chain(document, chain, {sha256(nitro_sim.root()).digest()})


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_format_error_and_nothing_else(data):
    with pytest.raises(FormatError):
        parse_document(data)
