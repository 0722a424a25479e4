"""Chutes, tinfoil and ionet: what their answers state, and what their quotes bind."""

from __future__ import annotations

import base64
import json
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fixtures import chat_sim, intel_pki, nvidia_pki
from fixtures.sessions import spki_of, tls_certificate
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.families import chutes, dstack, ionet, shapes, tinfoil
from verify.families.identity import RecognisedAnswer

NONCE = chat_sim.seed("nonce")
OTHER = chat_sim.seed("other nonce")
QUOTE = bytes(range(200))
KEY = base64.b64encode(bytes(1184)).decode()
CERTIFICATE = tls_certificate("attestation-service")
SPKI = sha256(spki_of(CERTIFICATE)).digest()


def b64(raw):
    return base64.b64encode(raw).decode()


def pem(der):
    return f"-----BEGIN CERTIFICATE-----\n{b64(der)}\n-----END CERTIFICATE-----\n"


def device(**changes):
    found = {"certificate": b64(b"-----BEGIN"), "evidence": b64(bytes(40)), "arch": "HOPPER"}
    return {**found, **changes}


def read(value, companions=()):
    return shapes.read_answer(shapes.parse_answer(json.dumps(value).encode()), "att-1", companions)


def failure(value, companions=()):
    with pytest.raises(FormatError) as caught:
        read(value, companions)
    return caught.value.reason, caught.value.path


def reasons(ruling):
    return [str(refused.reason) for refused in ruling.refused]


def steps_of(answer):
    return [(item.role, *item.steps) for item in answer.items]


# --- chutes ----------------------------------------------------------------------------------


def native(**changes):
    item = {
        "quote": b64(QUOTE),
        "instance_id": "i-1",
        "gpu_evidence": [device()],
        "certificate": b64(CERTIFICATE),
        **changes,
    }
    return {"evidence": [{k: v for k, v in item.items() if v is not None}]}


def instances(**changes):
    return ("doc-1", {"instances": [{"instance_id": "i-1", "e2e_pubkey": KEY, **changes}]})


def aggregated(**changes):
    item = {
        "instance_id": "i-1",
        "nonce": OTHER.hex(),
        "e2e_pubkey": KEY,
        "intel_quote": b64(QUOTE),
        "gpu_evidence": [device()],
        **changes,
    }
    return {"attestation_type": "chutes", "all_attestations": [item], "nonce": NONCE.hex()}


def chutes_data(nonce=NONCE, key=KEY, tail=SPKI):
    return sha256(nonce.hex().encode() + key.encode()).digest() + tail


def test_native_items_and_keys_of_the_instance_list_are_found():
    answer = read(native(), [instances()])
    assert steps_of(answer) == [
        ("tdx.quote", "select:/evidence/0/quote", "base64"),
        ("provider.evidence", "select:/evidence/0/certificate", "base64"),
        ("nvidia.gpu-evidence", "select:/evidence/0/gpu_evidence/0/evidence", "base64"),
        ("nvidia.gpu-chain", "select:/evidence/0/gpu_evidence/0/certificate", "base64"),
        ("provider.signing-key", "select:/instances/0/e2e_pubkey", "text"),
    ]
    assert answer.items[-1].source == "doc-1"
    assert answer.gpu_nonce_span() == (0, 32)


def test_native_quote_binds_nonce_key_and_certificate():
    (report,) = read(native(), [instances()]).reports
    assert chutes.judge_nonce(report, chutes_data(), NONCE).bound == NONCE
    binding = chutes.judge_binding(report, chutes_data(), (), (NONCE,))
    assert (binding.refused, binding.algorithm) == ((), "ml-kem-768")


def test_native_quote_of_another_nonce_or_key_is_a_mismatch():
    (report,) = read(native(), [instances()]).reports
    for data in (chutes_data(OTHER), chutes_data(key="AA==")):
        ruling = chutes.judge_nonce(report, data, NONCE)
        assert (ruling.bound, reasons(ruling)) == (None, ["binding.report_data_mismatch"])
        binding = chutes.judge_binding(report, data, (), (NONCE,))
        assert reasons(binding) == ["binding.report_data_mismatch"]
    assert reasons(chutes.judge_binding(report, chutes_data(), (), ())) == [
        "binding.report_data_mismatch"
    ]


@pytest.mark.parametrize(
    "companions",
    [[], [instances(instance_id="i-2")], [("doc-1", {"other": 1})], [instances(e2e_pubkey=None)]],
)
def test_native_instance_without_listed_key_is_unknown(companions):
    (report,) = read(native(), companions).reports
    assert reasons(chutes.judge_nonce(report, chutes_data(), NONCE)) == ["binding.e2e_key_unknown"]
    binding = chutes.judge_binding(report, chutes_data(), (), (NONCE,))
    assert reasons(binding) == ["binding.e2e_key_unknown"]


@pytest.mark.parametrize(
    ("certificate", "tail", "code"),
    [
        (None, SPKI, "binding.instance_certificate_missing"),
        (b64(CERTIFICATE), bytes(32), "binding.instance_certificate_not_bound"),
        (b64(b"no DER"), SPKI, "shape.encoding_invalid"),
    ],
)
def test_native_certificate_must_be_the_bound_one(certificate, tail, code):
    (report,) = read(native(certificate=certificate), [instances()]).reports
    assert reasons(chutes.judge_binding(report, chutes_data(tail=tail), (), (NONCE,))) == [code]


def test_aggregated_item_binds_the_aggregators_nonce():
    answer = read(aggregated())
    assert ("provider.signing-key", "select:/all_attestations/0/e2e_pubkey", "text") in steps_of(
        answer
    )
    assert answer.echo == NONCE.hex()
    (report,) = answer.reports
    assert chutes.judge_nonce(report, chutes_data(OTHER), NONCE).bound == OTHER
    assert chutes.judge_nonce(report, chutes_data(NONCE), NONCE).bound == NONCE
    binding = chutes.judge_binding(report, chutes_data(OTHER), (), (NONCE,))
    assert reasons(binding) == ["binding.instance_certificate_missing"]


def test_aggregated_nonce_that_is_no_hex_is_bound_as_it_stands():
    (report,) = read(aggregated(nonce="words")).reports
    data = sha256(b"words" + KEY.encode()).digest() + SPKI
    assert chutes.judge_nonce(report, data, NONCE).bound == b"words"


@pytest.mark.parametrize(
    ("value", "companions", "reason", "path"),
    [
        ({"evidence": []}, (), Reason.SHAPE_LIST_EMPTY, "/evidence"),
        ({"evidence": native()["evidence"] * 65}, (), Reason.EXCHANGE_OVER_LIMIT, "/evidence"),
        (native(quote=""), (), Reason.SHAPE_LENGTH_INVALID, "/evidence/0/quote"),
        (native(quote="zz"), (), Reason.SHAPE_ENCODING_INVALID, "/evidence/0/quote"),
        (
            native(gpu_evidence=[device()] * 33),
            (),
            Reason.EXCHANGE_OVER_LIMIT,
            "/evidence/0/gpu_evidence",
        ),
        (
            native(gpu_evidence=[device(evidence="")]),
            (),
            Reason.SHAPE_LENGTH_INVALID,
            "/evidence/0/gpu_evidence/0/evidence",
        ),
        (
            native(),
            [instances(e2e_pubkey="AA==")],
            Reason.SHAPE_LENGTH_INVALID,
            "/instances/0/e2e_pubkey",
        ),
        (aggregated(nonce=None), (), Reason.SHAPE_FIELD_MISSING, "/all_attestations/0/nonce"),
    ],
)
def test_an_instance_that_is_damaged_has_its_code(value, companions, reason, path):
    assert failure(value, companions) == (reason, path)


# --- tinfoil ---------------------------------------------------------------------------------

DOCUMENT_KEY = nvidia_pki.key("tinfoil document")


def document_certificate():
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "TEST ONLY enclave")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(DOCUMENT_KEY.public_key())
        .serial_number(7)
        .not_valid_before(intel_pki.AS_OF.replace(tzinfo=None))
        .not_valid_after(intel_pki.AS_OF.replace(tzinfo=None, year=2027))
        .sign(DOCUMENT_KEY, hashes.SHA384())
    )


DOCUMENT_CERTIFICATE = document_certificate().public_bytes(serialization.Encoding.DER)
GPU = {"evidences": [device()]}


def v3(*, gpu=GPU, nvswitch=None, hashed=True, platform="tdx", sign=True, **stated):
    members = {
        "format": "https://tinfoil.sh/predicate/attestation/v3",
        "report_data": {
            "tls_key_fp": sha256(spki_of(DOCUMENT_CERTIFICATE)).hexdigest(),
            "hpke_key": "11" * 32,
            "nonce": NONCE.hex(),
        },
        "cpu": {"platform": platform, "report": b64(QUOTE)},
    }
    for name, found in (("gpu", gpu), ("nvswitch", nvswitch)):
        if found is not None:
            members[name] = found
            if hashed:
                digest = sha256(json.dumps(found).encode()).hexdigest()
                members["report_data"][f"{name}_evidence_hash"] = digest
    members["report_data"] |= stated
    members["certificate"] = pem(DOCUMENT_CERTIFICATE)
    members["signature"] = ""
    body = json.dumps(members).encode()
    if sign:
        made = DOCUMENT_KEY.sign(body, ec.ECDSA(hashes.SHA256()))
        members["signature"] = b64(made)
    return members


def tinfoil_data(report):
    return sha256(report.preimage).digest() + bytes(32)


def test_v3_items_are_those_of_the_table():
    answer = read(v3(nvswitch={"evidences": [device()]}))
    assert steps_of(answer) == [
        ("tdx.quote", "select:/cpu/report", "base64"),
        ("provider.evidence", "select:/certificate", "text"),
        ("nvidia.payload", "span:/gpu"),
        ("nvidia.payload", "span:/nvswitch"),
        ("nvidia.gpu-evidence", "select:/gpu/evidences/0/evidence", "base64"),
        ("nvidia.gpu-chain", "select:/gpu/evidences/0/certificate", "base64"),
        ("nvidia.switch-evidence", "select:/nvswitch/evidences/0/evidence", "base64"),
        ("nvidia.switch-chain", "select:/nvswitch/evidences/0/certificate", "base64"),
    ]
    assert answer.reports[0].role == "enclave"
    assert answer.gpu_nonce_span() is None


def test_v3_without_devices_is_a_router():
    answer = read(v3(gpu=None, platform="sev-snp"))
    assert answer.reports[0].role == "router"
    assert answer.reports[0].quote.role == "snp.report"


def test_v3_quote_binds_all_that_is_stated():
    (report,) = read(v3(nvswitch={"evidences": [device()]})).reports
    data = tinfoil_data(report)
    assert tinfoil.judge_nonce(report, data, NONCE).bound == NONCE
    assert tinfoil.judge_binding(report, data, (), (NONCE,)).refused == ()


def test_v3_with_another_stated_value_is_a_mismatch():
    (report,) = read(v3(hpke_key="22" * 32)).reports
    (other,) = read(v3()).reports
    data = tinfoil_data(other)
    assert reasons(tinfoil.judge_nonce(report, data, NONCE)) == ["binding.report_data_mismatch"]
    assert reasons(tinfoil.judge_binding(report, data, (), ())) == ["binding.report_data_mismatch"]


def test_v3_tail_must_be_zero():
    (report,) = read(v3()).reports
    data = tinfoil_data(report)[:32] + b"\x01" + bytes(31)
    found = reasons(tinfoil.judge_binding(report, data, (), ()))
    assert found == ["binding.report_data_tail_not_zero"]


def test_v3_gpu_text_must_have_the_bound_hash():
    text = json.dumps(GPU).encode()
    (report,) = read(v3()).reports
    assert tinfoil.judge_gpu(report, text, None) == ()
    for gpu in (None, text + b" "):
        codes = [str(r.reason) for r in tinfoil.judge_gpu(report, gpu, None)]
        assert codes == ["binding.gpu_hash_mismatch"]
    (bare,) = read(v3(hashed=False)).reports
    codes = [str(r.reason) for r in tinfoil.judge_gpu(bare, text, None)]
    assert codes == ["binding.gpu_hash_mismatch"]


def test_v3_switch_text_that_differs_is_a_gap_of_its_own():
    (report,) = read(v3(nvswitch={"evidences": [device()]})).reports
    text = json.dumps(GPU).encode()
    codes = [str(r.reason) for r in tinfoil.judge_gpu(report, text, b"other")]
    assert codes == ["binding.nvswitch_hash_mismatch"]


def judge_document(value, *, certificate=None, body=None):
    raw = json.dumps(value).encode() if body is None else body
    tinfoil.judge_document(raw, certificate or value["certificate"], value["signature"])


def test_v3_document_signed_by_its_certificate_holds():
    judge_document(v3())
    value = v3()
    judge_document(value, body=json.dumps(value).encode() + b"\n")


@pytest.mark.parametrize(
    "changes",
    [
        {"certificate": pem(CERTIFICATE)},
        {"certificate": "no PEM"},
        {"body": b'{"signature":1'},
        {"body": b'{"signature":""}'},
    ],
)
def test_v3_document_that_its_certificate_did_not_sign_is_refused(changes):
    with pytest.raises(Refused) as caught:
        judge_document(v3(), **changes)
    assert caught.value.reason is Reason.BINDING_DOCUMENT_SIGNATURE_INVALID


def test_v3_document_with_a_key_on_no_known_curve_is_refused():
    rsa = pem(nvidia_pki.der(nvidia_pki.nras_intermediate()))
    with pytest.raises(Refused) as caught:
        judge_document(v3(), certificate=rsa)
    assert caught.value.reason is Reason.BINDING_DOCUMENT_SIGNATURE_INVALID


@pytest.mark.parametrize(
    ("changes", "reason", "path"),
    [
        (
            {"cpu": {"platform": "sgx", "report": ""}},
            Reason.SHAPE_ENCODING_INVALID,
            "/cpu/platform",
        ),
        ({"cpu": {"platform": "tdx", "report": ""}}, Reason.SHAPE_LENGTH_INVALID, "/cpu/report"),
        ({"certificate": None}, Reason.SHAPE_FIELD_MISSING, "/certificate"),
        ({"signature": "*"}, Reason.SHAPE_ENCODING_INVALID, "/signature"),
        (
            {"gpu": {"evidences": [device()] * 33}},
            Reason.EXCHANGE_OVER_LIMIT,
            "/gpu/evidences",
        ),
        (
            {"gpu": {"evidences": [device(certificate="")]}},
            Reason.SHAPE_LENGTH_INVALID,
            "/gpu/evidences/0/certificate",
        ),
    ],
)
def test_v3_document_that_is_damaged_has_its_code(changes, reason, path):
    assert failure({**v3(), **changes}) == (reason, path)


def v2(platform="tdx", **changes):
    found = {"format": f"https://tinfoil.sh/predicate/{platform}-guest/v2", "body": b64(QUOTE)}
    return {**found, **changes}


@pytest.mark.parametrize(("platform", "role"), [("tdx", "tdx.quote"), ("sev-snp", "snp.report")])
def test_v2_document_is_a_compressed_item_without_a_nonce(platform, role):
    answer = read(v2(platform, nonce=NONCE.hex()))
    assert steps_of(answer) == [(role, "select:/body", "base64", "gunzip")]
    assert answer.echo == NONCE.hex()
    (report,) = answer.reports
    ruling = tinfoil.judge_nonce(report, bytes(64), NONCE)
    assert (ruling.bound, reasons(ruling)) == (None, ["freshness.family_binds_no_nonce"])
    binding = tinfoil.judge_binding(report, b"\x01" * 32 + b"\x02" * 32, (), ())
    assert binding.tls_fingerprint == b"\x01" * 32
    assert binding.address == b"\x02" * 32


def test_v1_documents_are_not_judged():
    with pytest.raises(Refused) as caught:
        read({"format": "https://tinfoil.sh/predicate/tdx-guest/v1", "body": ""})
    assert caught.value.reason is Reason.SHAPE_FAMILY_NOT_JUDGED


# --- ionet -----------------------------------------------------------------------------------

SIGNER = chat_sim.ecdsa_signer("ionet")


def ionet_answer(**changes):
    found = {
        "nonce": NONCE.hex(),
        "cpu": {"quote": QUOTE.hex()},
        "gpu": {"nonce": NONCE.hex(), "arch": "HOPPER", "evidence_list": [device()]},
        "signing_address": SIGNER.address,
        "image_digest": "sha256:" + "ab" * 32,
    }
    return {**found, **changes}


def test_ionet_items_are_those_of_the_table():
    answer = read(ionet_answer())
    assert steps_of(answer) == [
        ("tdx.quote", "select:/cpu/quote", "hex"),
        ("nvidia.payload", "span:/gpu"),
        ("provider.signing-key", "select:/signing_address", "text"),
        ("nvidia.gpu-evidence", "select:/gpu/evidence_list/0/evidence", "base64"),
        ("nvidia.gpu-chain", "select:/gpu/evidence_list/0/certificate", "base64"),
    ]
    assert answer.reports[0].image_digest == "sha256:" + "ab" * 32
    snp = read(ionet_answer(cpu={"quote": "00" * 1184}, gpu={"error": "none"}, image_digest=1))
    assert snp.reports[0].quote.role == "snp.report"
    assert snp.reports[0].devices == ()
    assert snp.reports[0].image_digest is None


def test_ionet_quote_binds_the_nonce_and_no_key():
    (report,) = read(ionet_answer()).reports
    ruling = ionet.judge_nonce(report, NONCE + bytes(32), NONCE)
    assert (ruling.bound, ruling.refused) == (NONCE, ())
    tail = ionet.judge_nonce(report, NONCE + b"\x01" * 32, NONCE)
    assert reasons(tail) == ["binding.report_data_tail_not_zero"]
    binding = ionet.judge_binding(report, NONCE + bytes(32), (), (NONCE,))
    assert reasons(binding) == ["binding.key_not_attested"]
    assert binding.address == SIGNER.identity


@pytest.mark.parametrize(
    ("changes", "reason", "path"),
    [
        ({"cpu": {"quote": "Error: x"}}, Reason.SHAPE_ERROR_TEXT_IN_EVIDENCE, "/cpu/quote"),
        ({"signing_address": "0x1"}, Reason.SHAPE_ENCODING_INVALID, "/signing_address"),
        (
            {"gpu": {"evidence_list": [device()] * 33}},
            Reason.EXCHANGE_OVER_LIMIT,
            "/gpu/evidence_list",
        ),
        (
            {"gpu": {"evidence_list": [device(evidence="")]}},
            Reason.SHAPE_LENGTH_INVALID,
            "/gpu/evidence_list/0/evidence",
        ),
    ],
)
def test_ionet_answer_that_is_damaged_has_its_code(changes, reason, path):
    assert failure(ionet_answer(**changes)) == (reason, path)


# --- one family's formula never sees another's report ------------------------------------------


def test_a_report_of_another_family_is_a_fault_of_ours():
    (report,) = read(v2()).reports
    for rules in (chutes, dstack, ionet):
        with pytest.raises(TypeError):
            rules.judge_binding(report, bytes(64), (), ())


@pytest.mark.parametrize(
    ("family", "shape", "span"),
    [
        ("dstack", "dstack-flat", (32, 64)),
        ("ionet", "ionet", (0, 32)),
        ("tinfoil", "tinfoil-v3", None),
    ],
)
def test_the_place_of_the_gpu_nonce_follows_from_the_family(family, shape, span):
    answer = RecognisedAnswer(artifact="a", shape=shape, family=family)
    assert answer.gpu_nonce_span() == span
