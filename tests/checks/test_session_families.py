"""The session checks on families that bind other things than a response key."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import replace
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bundle.recording import RecordedExchange, RecordedTls
from fixtures import intel_pki, sessions
from tests.checks.session_case import World, codes, notes, only
from tests.families.test_families_others import (
    CERTIFICATE,
    DOCUMENT_CERTIFICATE,
    DOCUMENT_KEY,
    GPU,
    KEY,
    NONCE,
    OTHER,
    SPKI,
    aggregated,
    b64,
    chutes_data,
    device,
    ionet_answer,
    native,
    pem,
    v2,
)
from verify.engine.outcome import Status

CERTIFICATE_TEXT = b64(CERTIFICATE)
FREE = {"content": "excluded", "signature": "excluded"}


def quote(report_data):
    return intel_pki.BASE.quote_with(report_data=report_data)


def exchange(
    value,
    *,
    url="https://enclave.example.test/attestation/report",
    purpose="attestation",
    spki=None,
):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    tls = None
    if spki is not None:
        tls = RecordedTls(version="TLS", cipher="C", alpn=None, chain=(), spki=spki, webpki=True)
    return RecordedExchange(
        purpose=purpose,
        method="GET",
        url=f"{url}?nonce={NONCE.hex()}",
        started_at=sessions.START,
        ended_at=sessions.START,
        status=200,
        response_headers=(("Content-Type", "application/json"),),
        response_body=body,
        tls=tls,
    )


def case(*exchanges, shape, profile, edit=None):
    return World(exchanges, mode="import", shapes=(shape,), profile=profile, modes=FREE, edit=edit)


# --- chutes ----------------------------------------------------------------------------------


def listing(**changes):
    value = {"instances": [{"instance_id": "i-1", "e2e_pubkey": KEY, **changes}]}
    return exchange(value, url="https://api.example.test/e2e/instances/x", purpose="key-config")


def chutes(data=None, *, companion=None, certificate=CERTIFICATE_TEXT):
    item = native(quote=b64(quote(data or chutes_data())), certificate=certificate)
    return case(
        companion or listing(), exchange(item), shape="chutes-native", profile="chutes"
    ).bound()


def test_a_chutes_instance_is_bound_by_nonce_key_and_certificate():
    found = chutes().upto("report_data")
    for row in ("evidence_inventory", "nonce_in_quote"):
        assert found.run(row).status is Status.PASS
    for row in ("document", "public_key", "gpu_evidence"):
        only(found.run(row), Status.BLOCKED, "family.no_object")
    only(found.run("tls_channel"), Status.BLOCKED, "binding.tls_fingerprint_missing")
    (identity,) = found.found["binding.report_data"]
    assert (identity.algorithm, identity.nonce) == ("ml-kem-768", NONCE)
    assert str(found.outcomes["shape_recognised"].notes[0].pointer) == (
        "artifact:att-1#/evidence/0/gpu_evidence"
    )


def test_a_chutes_instance_without_listed_key_is_not_judged():
    found = chutes(companion=listing(instance_id="i-2"))
    only(found.run("nonce_in_quote"), Status.BLOCKED, "binding.e2e_key_unknown")
    only(found.run("report_data"), Status.BLOCKED, "binding.e2e_key_unknown")


def test_a_list_of_instances_that_cannot_be_read_offers_nothing():
    found = chutes(companion=replace(listing(), response_body=b"<html>"))
    only(found.run("nonce_in_quote"), Status.BLOCKED, "binding.e2e_key_unknown")


def test_a_chutes_quote_of_other_values_is_a_mismatch():
    found = chutes(chutes_data(key="other"))
    only(found.run("nonce_in_quote"), Status.FAIL, "binding.report_data_mismatch")
    only(found.run("report_data"), Status.FAIL, "binding.report_data_mismatch")


def test_a_chutes_certificate_must_be_the_bound_one():
    found = chutes(chutes_data(tail=bytes(32)))
    only(found.run("report_data"), Status.FAIL, "binding.instance_certificate_not_bound")
    found = chutes(certificate=b64(b"no DER"))
    only(found.run("report_data"), Status.FAIL, "shape.encoding_invalid")


def test_an_aggregated_answer_binds_the_aggregators_nonce():
    value = aggregated(intel_quote=b64(quote(chutes_data(OTHER))))
    found = case(exchange(value), shape="chutes-aggregated", profile="nanogpt").bound()
    only(found.run("nonce_in_quote"), Status.FAIL, "binding.nonce_not_in_report_data")
    assert notes(found.outcomes["nonce_in_quote"]) == ["freshness.echo_only"]
    only(found.run("report_data"), Status.BLOCKED, "binding.instance_certificate_missing")


# --- tinfoil ---------------------------------------------------------------------------------


def v3(
    *,
    gpu=GPU,
    data=None,
    hpke="11" * 32,
    stated=None,
    certificate=DOCUMENT_CERTIFICATE,
    signed=True,
):
    fingerprint = sha256(sessions.spki_of(certificate)).hexdigest()
    report_data = {"tls_key_fp": fingerprint, "hpke_key": hpke, "nonce": NONCE.hex()}
    if gpu is not None:
        report_data["gpu_evidence_hash"] = sha256(json.dumps(gpu).encode()).hexdigest()
    report_data |= stated or {}
    preimage = b"".join(bytes.fromhex(part) for part in report_data.values())
    bound = data or (sha256(preimage).digest() + bytes(32))
    members = {
        "format": "https://tinfoil.sh/predicate/attestation/v3",
        "report_data": report_data,
        "cpu": {"platform": "tdx", "report": b64(quote(bound))},
    }
    if gpu is not None:
        members["gpu"] = gpu
    members |= {"certificate": pem(DOCUMENT_CERTIFICATE), "signature": ""}
    body = json.dumps(members).encode()
    made = base64.b64encode(sign(body if signed else b"other"))
    return body.replace(b'"signature": ""', b'"signature": "' + made + b'"')


def sign(body):
    return DOCUMENT_KEY.sign(body, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def tinfoil(body=None, *, spki=None, edit=None):
    recorded = exchange(body or v3(), spki=spki or sessions.spki_of(DOCUMENT_CERTIFICATE))
    return case(recorded, shape="tinfoil-v3", profile="tinfoil-v3", edit=edit).bound()


def test_a_tinfoil_document_binds_channel_devices_and_nonce():
    found = tinfoil().upto("report_data")
    for row in ("evidence_inventory", "nonce_in_quote", "document", "tls_channel", "gpu_evidence"):
        assert found.run(row).status is Status.PASS, (row, found.outcomes[row])
    only(found.run("public_key"), Status.BLOCKED, "family.no_object")
    assert notes(found.outcomes["shape_recognised"]) == []
    types = {binding.type for binding in found.statement.bindings}
    assert {"devices-in-evidence", "devices-share-nonce", "tls-in-evidence"} <= types


def test_a_tinfoil_router_is_noted():
    found = tinfoil(v3(gpu=None)).upto("report_data")
    assert notes(found.outcomes["shape_recognised"]) == ["identity.router_only"]
    only(found.run("gpu_evidence"), Status.BLOCKED, "family.no_object")


def test_a_tinfoil_document_with_a_wrong_signature_is_rejected():
    found = tinfoil(v3(signed=False))
    only(found.run("document"), Status.FAIL, "binding.document_signature_invalid")


def test_a_tinfoil_quote_of_other_values_is_a_mismatch():
    found = tinfoil(v3(data=bytes(64)))
    only(found.run("nonce_in_quote"), Status.FAIL, "binding.report_data_mismatch")
    only(found.run("report_data"), Status.FAIL, "binding.report_data_mismatch")


def test_a_tinfoil_nonce_that_is_not_the_clients_is_rejected():
    found = tinfoil(v3(stated={"nonce": OTHER.hex()}))
    only(found.run("nonce_in_quote"), Status.FAIL, "binding.nonce_not_in_report_data")
    assert found.run("report_data").status is Status.PASS


def test_a_tinfoil_certificate_of_another_key_is_a_mismatch():
    other = sessions.tls_certificate("other.example.test")
    found = tinfoil(v3(certificate=other), spki=sessions.spki_of(other)).upto("report_data")
    only(found.run("tls_channel"), Status.FAIL, "binding.tls_certificate_mismatch")


def test_tinfoil_gpu_evidence_of_another_hash_is_a_mismatch():
    stated = {"gpu_evidence_hash": "00" * 32}
    found = tinfoil(v3(stated=stated)).upto("report_data")
    only(found.run("gpu_evidence"), Status.FAIL, "binding.gpu_hash_mismatch")


def test_tinfoil_gpu_text_that_is_not_listed_or_withheld_is_a_gap():
    def drop(predicate):
        text = next(a for a in predicate["artifacts"] if a["role"] == "nvidia.payload")
        predicate["artifacts"].remove(text)

    found = tinfoil(edit=drop).upto("report_data")
    only(found.run("gpu_evidence"), Status.BLOCKED, "evidence.absent")
    found = tinfoil().upto("report_data")
    (text,) = found.statement.of_role("nvidia.payload")
    del found.bodies[text.id]
    only(found.run("gpu_evidence"), Status.BLOCKED, "artifact.withheld")


def test_tinfoil_switch_evidence_that_does_not_hash_is_a_gap():
    stated = {"nvswitch_evidence_hash": "00" * 32}
    found = tinfoil(v3(stated=stated)).upto("report_data")
    only(found.run("gpu_evidence"), Status.BLOCKED, "binding.nvswitch_hash_mismatch")


def test_an_older_tinfoil_document_binds_no_nonce():
    data = SPKI + b"\x02" * 32
    body = b64(gzip.compress(quote(data), mtime=0))
    recorded = exchange(v2(body=body), spki=sessions.spki_of(CERTIFICATE))
    found = case(recorded, shape="tinfoil-v2", profile="tinfoil-v2").bound().upto("report_data")
    only(found.run("nonce_in_quote"), Status.BLOCKED, "freshness.family_binds_no_nonce")
    assert found.run("tls_channel").status is Status.PASS
    (identity,) = found.found["binding.report_data"]
    assert (identity.nonce, identity.tls_fingerprint) == (b"", SPKI)


# --- ionet -----------------------------------------------------------------------------------


def test_an_ionet_answer_binds_its_nonce_and_no_key():
    value = ionet_answer(cpu={"quote": quote(NONCE + bytes(32)).hex()})
    found = case(exchange(value), shape="ionet", profile="ionet").bound()
    for row in ("evidence_inventory", "nonce_in_quote"):
        assert found.run(row).status is Status.PASS
    only(found.run("report_data"), Status.BLOCKED, "binding.key_not_attested")


def test_an_ionet_quote_with_more_than_a_nonce_is_rejected():
    value = ionet_answer(cpu={"quote": quote(NONCE + NONCE).hex()})
    found = case(exchange(value), shape="ionet", profile="ionet").bound()
    found.run("nonce_in_quote")
    assert codes(found.outcomes["nonce_in_quote"]) == ["binding.report_data_tail_not_zero"]


def test_device_lists_of_a_family_are_listed_item_by_item():
    value = ionet_answer(
        cpu={"quote": quote(NONCE + bytes(32)).hex()},
        gpu={"evidence_list": [device(), device(evidence=b64(bytes(41)))]},
    )
    found = case(exchange(value), shape="ionet", profile="ionet")
    assert len(found.statement.of_role("nvidia.gpu-evidence")) == 2
