"""Trust files and signer keys: the example, and everything that is refused."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from pathlib import Path

import jsonschema
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.chat_sim import seed
from fixtures.intel_pki import key
from tests.checks.time_case import LOG, WITNESSES, Authority, anchor
from verify.engine.errors import MalformedInput
from verify.trust.anchor import SIGNER_OPTION, AnchorStatus, Kind, Purpose
from verify.trust.file import MAX_ANCHORS, MAX_BYTES, read_document, read_signer, read_trust_file
from verify.wire.members import ShapeError

EXAMPLE = (Path(__file__).resolve().parent / "example.json").read_bytes()
SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "trust.v1.schema.json"


@pytest.fixture
def document():
    return json.loads(EXAMPLE)


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def spki(public):
    return public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def pem(public):
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def refused(document):
    with pytest.raises(ShapeError) as caught:
        read_document(document, "0" * 64)
    return caught.value


# --- the file --------------------------------------------------------------------------------


def test_trust_example_of_the_specification_is_read(validator, document):
    assert validator.is_valid(document)
    found = read_trust_file(EXAMPLE)
    assert found.sha256 == hashlib.sha256(EXAMPLE).hexdigest()
    (only,) = found.anchors
    assert only.keyid == "sha256:67056f039d47525be485357a44add36253886cd7be368a31b8c574b0ed6d8d57"
    assert (only.purpose, only.kind, only.status) == (
        Purpose.CAPTURE_SIGNER,
        Kind.SPKI,
        AnchorStatus.ACTIVE,
    )
    assert only.end is None
    assert only.added


GOOD = [
    anchor("a", "tsa", Authority().root(), "x509"),
    anchor("b", "tlog", LOG.vkey().encode(), "vkey"),
    anchor("c", "witness", WITNESSES[0].vkey().encode(), "vkey"),
    anchor("d", "capture-signer", spki(key("k").public_key()), "spki"),
    anchor("e", "nras-intermediate", b"", "spki") | {"kind": "pin", "data": None},
    anchor("f", "intel-sgx-root", Authority().root(), "x509"),
    anchor("g", "attachment-signer", spki(ed25519.Ed25519PrivateKey.from_private_bytes(seed("a")).public_key()), "spki"),
    anchor("h", "sigstore-rekor", spki(key("k").public_key()), "spki"),
    anchor("i", "capture-signer-ca", Authority().root(), "x509"),
]  # fmt: skip


@pytest.mark.parametrize("entry", GOOD, ids=lambda entry: entry["purpose"])
def test_trust_entry_of_every_kind_is_read(validator, document, entry):
    document["anchors"] = [entry]
    assert validator.is_valid(document)
    (found,) = read_document(document, "0" * 64).anchors
    assert found.purpose.value == entry["purpose"]


def test_trust_file_without_any_one_member_is_refused(validator, document):
    for name in list(document):
        fresh = json.loads(EXAMPLE)
        del fresh[name]
        assert name in refused(fresh).what
        assert not validator.is_valid(fresh)
    for name in list(document["anchors"][0]):
        fresh = json.loads(EXAMPLE)
        del fresh["anchors"][0][name]
        assert name in refused(fresh).what
        assert not validator.is_valid(fresh)


@pytest.mark.parametrize("place", ["", "anchors", "validFor"])
def test_trust_file_with_an_unknown_member_is_refused(validator, document, place):
    target = document
    if place:
        target = document["anchors"][0]
    if place == "validFor":
        target = target["validFor"]
    target["surprise"] = 1
    assert "surprise" in refused(document).pointer
    assert not validator.is_valid(document)


@pytest.mark.parametrize(
    ("changes", "pointer", "word"),
    [
        ({"name": "Acme"}, "name", "name like"),
        ({"name": ""}, "name", "empty"),
        ({"name": "a" * 65}, "name", "name like"),
        ({"purpose": "capture"}, "purpose", "not one of"),
        ({"kind": "x509"}, "kind", "not one of"),
        ({"kind": "pin"}, "kind", "not one of"),
        ({"data": None}, "data", "text"),
        ({"data": "MCow BQYD"}, "data", "base64"),
        ({"data": "MCowBQYDK2VwAyEA"}, "data", "SubjectPublicKeyInfo"),
        ({"data": "A" * 70000}, "data", "at most"),
        ({"data": ""}, "data", "canonical"),
        ({"data": "AB=="}, "data", "canonical"),
        ({"sha256": "00" * 32}, "sha256", "digest is"),
        ({"sha256": "00" * 31}, "sha256", "64"),
        ({"sha256": "AA" * 32}, "sha256", "64"),
        ({"operator": ""}, "operator", "empty"),
        ({"operator": "a\u0000b"}, "operator", "control"),
        ({"validFor": None}, "validFor", "map"),
        ({"validFor": {"start": None, "end": None}}, "validFor/start", "text"),
        ({"validFor": {"start": "2026-01-01", "end": None}}, "validFor/start", "time"),
        ({"validFor": {"start": "2026-02-30T00:00:00.000Z", "end": None}}, "validFor/start", "calendar"),
        ({"validFor": {"start": "1999-12-31T00:00:00.000Z", "end": None}}, "validFor/start", "year"),
        ({"validFor": {"start": "2026-01-02T00:00:00.000Z", "end": "2026-01-01T00:00:00.000Z"}}, "validFor", "before it starts"),
        ({"status": "revoked"}, "status", "not one of"),
        ({"status": "compromised"}, "since", "text"),
        ({"since": "2026-01-01T00:00:00.000Z"}, "since", "compromised alone"),
        ({"source": ""}, "source", "empty"),
    ],
)  # fmt: skip
def test_trust_entry_outside_its_grammar_is_refused(document, changes, pointer, word):
    document["anchors"][0].update(changes)
    found = refused(document)
    assert found.pointer == f"/anchors/0/{pointer}"
    assert word in found.what


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        (anchor("a", "tlog", WITNESSES[0].vkey().encode(), "vkey"), "type 1"),
        (anchor("a", "witness", LOG.vkey().encode(), "vkey"), "type 4"),
        (anchor("a", "tlog", b"name+00000000+AAAA", "vkey"), "verifier key"),
        (anchor("a", "tsa", b"\x30\x00", "x509"), ""),
        (anchor("a", "capture-signer", spki(rsa.generate_private_key(65537, 2048).public_key()), "spki"), "Ed25519"),
        (anchor("a", "capture-signer", spki(ec.derive_private_key(7, ec.SECP384R1()).public_key()), "spki"), "Ed25519"),
        (anchor("a", "nras-intermediate", b"x", "spki") | {"kind": "pin"}, "null"),
    ],
)  # fmt: skip
def test_trust_entry_whose_data_is_not_what_its_purpose_needs_is_refused(document, entry, word):
    document["anchors"] = [entry]
    found = refused(document)
    assert found.pointer == "/anchors/0/data"
    assert word in found.what


def test_trust_file_with_a_name_twice_is_refused(document):
    document["anchors"] *= 2
    assert "twice" in refused(document).what


def test_trust_file_with_too_many_anchors_is_refused(document):
    document["anchors"] = [
        dict(document["anchors"][0], name=f"a{number}") for number in range(MAX_ANCHORS + 1)
    ]
    assert "more than" in refused(document).what


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "input.empty"),
        (b"{", "input.json"),
        (b"[]", "input.schema"),
        (b"\xff", "input.encoding"),
        (b'{"schema": 1, "schema": 1}', "input.duplicate_member"),
        (b"[" * 20 + b"]" * 20, "input.depth"),
        (EXAMPLE.replace(b":trust:v1", b":trust:v2"), "input.version"),
        (b" " * (MAX_BYTES + 1), "input.too_large"),
    ],
)
def test_trust_file_refusal_carries_the_code_of_its_kind(data, code):
    with pytest.raises(MalformedInput) as caught:
        read_trust_file(data, file="acme.json")
    assert (caught.value.kind, caught.value.code, caught.value.file) == ("trust", code, "acme.json")
    assert caught.value.pointer.startswith("trust#")


def test_trust_file_refusal_points_at_the_value():
    with pytest.raises(MalformedInput) as caught:
        read_trust_file(EXAMPLE.replace(b'"active"', b'"ok"'))
    assert caught.value.pointer == "trust#/anchors/0/status"


# --- single keys -----------------------------------------------------------------------------


@pytest.mark.parametrize("public", [key("k").public_key(), ed25519.Ed25519PrivateKey.from_private_bytes(seed("a")).public_key()])  # fmt: skip
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_signer_key_is_a_capture_signer_without_bounds(public, ending):
    found = read_signer(b"\n" + pem(public).replace(b"\n", ending))
    assert found.data == spki(public)
    assert (found.purpose, found.start, found.end, found.origin) == (
        Purpose.CAPTURE_SIGNER,
        None,
        None,
        SIGNER_OPTION,
    )
    assert found.keyid == "sha256:" + hashlib.sha256(spki(public)).hexdigest()


GOOD_PEM = pem(key("k").public_key())


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "input.encoding"),
        (b"ssh-ed25519 AAAA", "input.encoding"),
        (GOOD_PEM * 2, "input.encoding"),
        (GOOD_PEM + b"x", "input.encoding"),
        (b"x" + GOOD_PEM, "input.encoding"),
        (GOOD_PEM.replace(b"PUBLIC", b"PRIVATE"), "input.encoding"),
        (b"-----BEGIN PUBLIC KEY-----", "input.encoding"),
        (b"\n" * 20000, "input.encoding"),
        (GOOD_PEM.replace(b"M", b"!"), "input.base64"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "input.schema"),
        (pem(ec.derive_private_key(7, ec.SECP256K1()).public_key()), "input.schema"),
    ],
)
def test_signer_key_that_is_none_is_refused(data, code):
    with pytest.raises(MalformedInput) as caught:
        read_signer(data, file="signer.pub")
    assert (caught.value.kind, caught.value.code) == ("trust", code)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_key_or_a_file_or_a_refusal(data):
    for read in (read_signer, read_trust_file):
        with contextlib.suppress(MalformedInput):
            read(data)
    wrapped = b"-----BEGIN PUBLIC KEY-----" + base64.b64encode(data) + b"-----END PUBLIC KEY-----"
    with contextlib.suppress(MalformedInput):
        read_signer(wrapped)


# --- schema and reader -----------------------------------------------------------------------


BEYOND_THE_SCHEMA = ("base64", "canonical", "digest is", "SubjectPublicKeyInfo", "calendar", "year", "before it starts", "twice", "Ed25519", "certificate", "DER", "is of type")  # fmt: skip


def said(document):
    """What the reader says against a document, or nothing."""
    try:
        read_document(document, "0" * 64)
    except ShapeError as error:
        return error.what
    return ""


def test_trust_schema_and_reader_agree_on_every_single_change(validator):
    whole = {**json.loads(EXAMPLE), "anchors": GOOD}
    others = (
        None,
        True,
        7,
        "☃",
        "x\n",
        [],
        {},
        "2026-01-01T00:00:00.000Z",
        "pin",
        "compromised",
        "tlog",
    )
    changes = 0
    for number, entry in enumerate(GOOD):
        for name in [*entry, "validFor/start", "validFor/end"]:
            for other in others:
                fresh = json.loads(json.dumps(whole))
                target = fresh["anchors"][number]
                outer, _, inner = name.partition("/")
                if inner:
                    target, outer = target[outer], inner
                if target[outer] == other:
                    continue
                target[outer] = other
                by_schema = validator.is_valid(fresh)
                changes += 1
                what = said(fresh)
                if by_schema:
                    assert not what or any(word in what for word in BEYOND_THE_SCHEMA), (
                        name,
                        other,
                    )
                else:
                    assert what, (number, name, other)
    assert changes > 900
