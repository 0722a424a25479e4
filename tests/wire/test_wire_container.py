"""Packed files: the worked example to the byte, every unusable file with its code and place."""

from __future__ import annotations

import base64
import json
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.worked_example import MARKER, NONCE, OTHER, SIGNER, Draft, digest, envelope, written
from verify.engine.errors import MalformedInput
from verify.wire.container import External, pre_authentication_encoding, read_bundle
from verify.wire.limits import Limits
from verify.wire.statement import read_statement

PAYLOAD_SHA256 = "8ab49ad28b6a389546501c053b5e239cc59920945ca1698f08c9d8abb43bd5f8"
BUNDLE_ID = "sha256:5b02b7776fd553731bef8463ff53863c48ccc6d29f5a6dc6a6bfad13dff3d34b"
SIGNATURE = (
    "PHYk3ScgyFUnM4wwjXo5KOUqthmrzeHadLoNmSlZ3WXwLx3eu32MKYviBTD6IkLZ3ps2eLBfDs9itQusCtifBg=="
)


def known_payload() -> bytes:
    """The payload of bundle-format.md 18: the same values, laid out one entry a line."""
    document = Draft().statement
    predicate = document["predicate"]

    def line(value: object) -> str:
        return json.dumps(value)

    def lines(name: str, indent: str, values: list[object]) -> str:
        body = ",\n".join(f"{indent} {line(value)}" for value in values)
        return f'{indent}"{name}": [\n{body}\n{indent}]'

    inner = [
        f'  "schema": {line(predicate["schema"])}',
        f'  "id": {line(predicate["id"])}',
        f'  "profile": {line(predicate["profile"])}',
        f'  "capture": {line(predicate["capture"])}',
        f'  "session": {line(predicate["session"])}',
        lines("artifacts", "  ", predicate["artifacts"]),
        lines("exchanges", "  ", predicate["exchanges"]),
        lines("bindings", "  ", predicate["bindings"]),
        '  "observations": []',
        '  "extensions": {}',
        '  "critical": []',
    ]
    outer = [
        f' "_type": {line(document["_type"])}',
        lines("subject", " ", document["subject"]),
        f' "predicateType": {line(document["predicateType"])}',
        ' "predicate": {\n' + ",\n".join(inner) + "\n }",
    ]
    return ("{\n" + ",\n".join(outer) + "\n}").encode()


def test_worked_example_has_the_digests_of_the_format():
    payload = known_payload()
    assert len(payload) == 3951
    assert sha256(payload).hexdigest() == PAYLOAD_SHA256
    assert SIGNER.keyid.startswith("sha256:67056f039d47525b")
    assert NONCE.hex().startswith("709534dbfad8c7c6edff")
    assert MARKER == "cap-95dc698fe15d294080cd683af1a68cd4"
    bundle = read_bundle(Draft(payload=payload).build())
    assert bundle.id == BUNDLE_ID
    (signature,) = bundle.statement.envelope.signatures
    assert base64.b64encode(signature.sig).decode() == SIGNATURE
    assert read_statement(payload).statement == read_statement(Draft().serialised()).statement


def test_encoding_that_is_signed_has_byte_counts():
    assert pre_authentication_encoding("typé", b"ab") == b"DSSEv1 5 typ\xc3\xa9 2 ab"


def test_bundle_is_read_completely():
    draft = Draft(
        redactions=[{"artifact": "x", "reason": "size", "attachment": None}],
        material=[
            {
                "keyid": SIGNER.keyid,
                "x509Chain": ["AAEC"],
                "rfc3161": ["AAED"],
                "tlogProofs": ["c2sp.org/tlog-proof@v1\nindex 1\n"],
            }
        ],
        renewals=[{"kind": "rehash", "hash": "sha384", "covers": [], "token": "AAAA"}],
    )
    draft.extra["sha256:" + "0" * 64] = {"encoding": "external", "size": 5}
    draft.attach("retention", {"action": "hold", "until": None})
    data = draft.build()
    bundle = read_bundle(data)
    assert (bundle.sha256, bundle.size) == (sha256(data).hexdigest(), len(data))
    assert bundle.blobs["sha256:" + "0" * 64] == External(size=5)
    (material,) = bundle.statement.material
    assert material.chain == (b"\x00\x01\x02",)
    assert material.timestamps == (b"\x00\x01\x03",)
    assert material.log_proofs[0].endswith("1\n")
    assert bundle.statement.chain(SIGNER.keyid) == material.chain
    assert bundle.statement.chain(OTHER.keyid) == ()
    assert bundle.redactions[0].artifact == "x"
    assert len(bundle.attachments) == 1
    assert bundle.renewals == 1


def refused(data: bytes, **options) -> MalformedInput:
    with pytest.raises(MalformedInput) as caught:
        read_bundle(data, **options)
    assert caught.value.kind == "bundle"
    return caught.value


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "input.empty"),
        (b"{", "input.json"),
        (b"{}", "input.schema"),
        (b"[]", "input.schema"),
        (b'{"a":1,"a":1}', "input.duplicate_member"),
        (b"\xef\xbb\xbf{}", "input.encoding"),
        (b"\xff", "input.encoding"),
        (b"[" * 17 + b"]" * 17, "input.depth"),
        (b"[" + b"0," * 400_000 + b"0]", "input.count"),
        (Draft().build() + b"x", "input.json"),
        (Draft().build().replace(b"v1+json", b"v2+json"), "input.version"),
    ],
)
def test_file_that_is_no_bundle_has_a_code(data, code):
    error = refused(data, file="name.evidence.json")
    assert error.code == code
    assert error.file == "name.evidence.json"


def test_file_above_the_limit_is_refused_and_below_a_raised_one_read():
    data = Draft().build()
    size = len(data)
    assert refused(data, bounds=Limits(packed_file=size - 1)).code == "input.too_large"
    assert read_bundle(data, bounds=Limits(packed_file=size)).size == size


def test_part_far_above_its_limit_is_not_decoded():
    assert refused(Draft().build(), bounds=Limits(payload=100)).code == "input.too_large"


@pytest.mark.parametrize(("bound", "size"), [("payload", 3951), ("inline_blob", 180)])
def test_parts_above_their_limit_are_refused(bound, size):
    data = Draft(payload=known_payload()).build()
    assert read_bundle(data, bounds=Limits(**{bound: size})).size
    assert refused(data, bounds=Limits(**{bound: size - 1})).code == "input.too_large"


def test_text_blob_above_the_limit_in_bytes_is_refused():
    text = "é" * 100
    draft = Draft(extra={digest(text.encode()): {"encoding": "utf-8", "data": text}})
    assert refused(draft.build(), bounds=Limits(inline_blob=199)).code == "input.too_large"
    assert read_bundle(draft.build(), bounds=Limits(inline_blob=200)).size


def edited(change) -> bytes:
    document = Draft().document()
    change(document)
    return written(document)


def set_sig(text):
    return lambda d: d["statement"]["signatures"][0].update(sig=text)


def set_blob(**members):
    return lambda d: d["blobs"].update({"sha256:" + "0" * 64: members})


def twice(document):
    document["statement"]["signatures"] *= 2


def material(**members):
    entry = {"keyid": SIGNER.keyid, "x509Chain": [], "rfc3161": [], "tlogProofs": []}
    return lambda d: d.update(material=[{**entry, **members}])


def two_materials(document):
    material()(document)
    document["material"] *= 2


@pytest.mark.parametrize(
    ("change", "code", "pointer"),
    [
        (set_sig("AAA"), "input.schema", "/statement/signatures/0/sig"),
        (set_sig("AAAB*==="), "input.base64", "/statement/signatures/0/sig"),
        (set_sig("AB=="), "input.base64", "/statement/signatures/0/sig"),
        (set_sig("A" * 132), "input.schema", "/statement/signatures/0/sig"),
        (lambda d: d["statement"].update(payload="AAA"), "input.schema", "/statement/payload"),
        (lambda d: d["statement"].update(payload="AA=A"), "input.base64", "/statement/payload"),
        (lambda d: d["statement"].update(payloadType="x"), "input.schema", "/statement/payloadType"),
        (lambda d: d["statement"].update(signatures=[]), "input.schema", "/statement/signatures"),
        (lambda d: d["statement"].update(extra=1), "input.schema", "/statement"),
        (twice, "input.schema", "/statement/signatures"),
        (lambda d: d.pop("renewals"), "input.schema", ""),
        (lambda d: d.update(extra=1), "input.schema", ""),
        (lambda d: d.update(mediaType="application/json"), "input.schema", "/mediaType"),
        (set_blob(encoding="base64", data="AB=="), "input.base64", "/blobs/sha256:" + "0" * 64 + "/data"),
        (set_blob(encoding="base64", data=""), "input.schema", None),
        (set_blob(encoding="hex", data="00"), "input.schema", None),
        (set_blob(encoding="external"), "input.schema", None),
        (set_blob(encoding="external", size=0), "input.schema", None),
        (set_blob(encoding="utf-8", data="a\x00b"), "input.json", None),
        (lambda d: d["blobs"].update({"sha256:" + "0" * 63: {"encoding": "utf-8", "data": "a"}}), "input.schema", None),
        (lambda d: d["blobs"].update({"sha512:" + "0" * 64: {"encoding": "utf-8", "data": "a"}}), "input.schema", None),
        (material(keyid=OTHER.keyid), "input.schema", "/material/0/keyid"),
        (two_materials, "input.schema", "/material"),
        (material(x509Chain=["AA=A"]), "input.base64", "/material/0/x509Chain/0"),
        (material(rfc3161=["AB=="]), "input.base64", "/material/0/rfc3161/0"),
        (material(x509Chain=["AAAA"] * 9), "input.schema", "/material/0/x509Chain"),
        (lambda d: d.update(attachments=[{"statement": envelope(b"{}", [SIGNER])}]), "input.schema", "/attachments/0"),
        (lambda d: d.update(redactions=[{"artifact": "X", "reason": "size", "attachment": None}]), "input.schema", "/redactions/0/artifact"),
        (lambda d: d.update(renewals=[{}]), "input.schema", "/renewals/0"),
    ],
)  # fmt: skip
def test_bundle_with_a_part_that_cannot_be_used_names_the_place(change, code, pointer):
    error = refused(edited(change))
    assert error.code == code
    if pointer is not None:
        assert error.pointer == f"bundle#{pointer}"


def test_schema_of_a_huge_document_is_not_explained():
    document = Draft().document()
    document["blobs"]["sha256:" + "0" * 64] = {"encoding": "utf-8", "data": "a" * (9 << 20)}
    document["extra"] = 1
    assert "schema rule" not in refused(written(document)).what


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=60))
def test_reader_of_any_bytes_gives_a_bundle_or_malformed_input(data):
    with pytest.raises(MalformedInput):
        read_bundle(data)


GOOD = Draft().build()


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255))
def test_reader_of_a_changed_file_gives_a_bundle_or_malformed_input(at, byte):
    data = GOOD[:at] + bytes([byte]) + GOOD[at + 1 :]
    try:
        assert read_bundle(data).size == len(data)
    except MalformedInput:
        return
