from __future__ import annotations

import base64
import json
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import chat_sim, dstack_sim
from fixtures.sessions import spki_of, tls_certificate
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.families import certificates, dstack, members, shapes
from verify.families.certificates import certificate_spki, leaf_spki

NONCE = chat_sim.seed("nonce")
FINGERPRINT = chat_sim.seed("tls key")
QUOTE = bytes(range(256)) * 4
ECDSA = chat_sim.ecdsa_signer("model")
ED25519 = chat_sim.ed25519_signer("model")
GUEST = dstack_sim.guest("model")


def payload(count=2):
    entries = [
        {
            "certificate": base64.b64encode(b"-----BEGIN").decode(),
            "evidence": base64.b64encode(bytes((number,)) * 40).decode(),
            "arch": "HOPPER",
        }
        for number in range(count)
    ]
    return {"nonce": NONCE.hex(), "evidence_list": entries, "arch": "HOPPER"}


def flat(signer=ECDSA, **changes):
    report = dstack_sim.report_object(
        GUEST,
        signer=signer,
        nonce=NONCE,
        quote=QUOTE,
        nvidia_payload=json.dumps(payload()),
        tls_fingerprint=changes.pop("tls_fingerprint", None),
        tcb_info_as_text=changes.pop("tcb_info_as_text", False),
        event_log_as_text=changes.pop("event_log_as_text", False),
        gateway=changes.pop("gateway", False),
    )
    report.update(changes)
    return {name: value for name, value in report.items() if value is not None}


def gateway(**changes):
    top = {
        "gateway_attestation": flat(ED25519, gateway=True, nvidia_payload=None),
        "model_attestations": [flat(), flat()],
        "tls_certificate": "-----BEGIN CERTIFICATE-----",
    }
    top.update(changes)
    return top


def read(value):
    return shapes.read_answer(shapes.parse_answer(json.dumps(value).encode()), "att-1")


def failure(value):
    with pytest.raises(FormatError) as caught:
        read(value)
    return caught.value.reason, caught.value.path


def steps_of(answer):
    return [(item.role, *item.steps) for item in answer.items]


def test_flat_answer_gives_the_items_of_the_table():
    answer = read(flat())
    device = "select:/nvidia_payload", "json"
    assert steps_of(answer) == [
        ("tdx.quote", "select:/intel_quote", "hex"),
        ("dstack.event-log", "span:/event_log"),
        ("dstack.event-log", "span:/info/tcb_info/event_log"),
        ("dstack.app-compose", "select:/info/tcb_info/app_compose", "text"),
        ("dstack.vm-config", "select:/info/vm_config", "text"),
        ("dstack.key-provider", "select:/info/key_provider_info", "text"),
        ("nvidia.payload", "select:/nvidia_payload", "text"),
        ("nvidia.gpu-evidence", *device, "select:/evidence_list/0/evidence", "base64"),
        ("nvidia.gpu-chain", *device, "select:/evidence_list/0/certificate", "base64"),
        ("nvidia.gpu-evidence", *device, "select:/evidence_list/1/evidence", "base64"),
        ("nvidia.gpu-chain", *device, "select:/evidence_list/1/certificate", "base64"),
        ("provider.signing-key", "select:/signing_address", "text"),
        ("provider.signing-key", "select:/signing_public_key", "text"),
    ]
    (report,) = answer.reports
    assert (report.role, report.algorithm, report.address) == ("model", "ecdsa", ECDSA.identity)
    assert report.request_nonce == NONCE
    assert answer.gpu_nonce_span() == (32, 64)


def test_flat_answer_with_everything_as_text_starts_with_json_steps():
    answer = read(flat(tcb_info_as_text=True, event_log_as_text=True, nvidia_payload=payload()))
    found = steps_of(answer)
    assert ("dstack.event-log", "select:/event_log", "text") in found
    assert ("dstack.event-log", "select:/info/tcb_info", "text", "span:/event_log") in found
    compose = "select:/info/tcb_info", "json", "select:/app_compose", "text"
    assert ("dstack.app-compose", *compose) in found
    assert ("nvidia.payload", "span:/nvidia_payload") in found
    evidence = "select:/nvidia_payload/evidence_list/0/evidence", "base64"
    assert ("nvidia.gpu-evidence", *evidence) in found


def test_tcb_info_as_text_with_log_as_text_selects_twice():
    report = flat()
    tcb_info = dict(report["info"]["tcb_info"])
    tcb_info["event_log"] = json.dumps(tcb_info["event_log"])
    report["info"] = {**report["info"], "tcb_info": json.dumps(tcb_info)}
    second = "select:/info/tcb_info", "json", "select:/event_log", "text"
    assert ("dstack.event-log", *second) in steps_of(read(report))


def test_gateway_answer_has_a_role_for_each_object():
    answer = read(gateway())
    assert [(r.pointer, r.role) for r in answer.reports] == [
        ("/gateway_attestation", "gateway"),
        ("/model_attestations/0", "model"),
        ("/model_attestations/1", "model"),
    ]
    assert answer.tls_certificate == "-----BEGIN CERTIFICATE-----"
    assert ("provider.evidence", "select:/tls_certificate", "text") in steps_of(answer)


def test_gateway_alone_without_models_is_read():
    top = gateway()
    del top["model_attestations"], top["tls_certificate"]
    answer = read(top)
    assert len(answer.reports) == 1
    assert answer.tls_certificate is None


def test_compose_manager_gives_its_own_items():
    manager = dstack_sim.manager_attestation(
        GUEST, nonce=NONCE, quote=QUOTE, listed=dstack_sim.actions(), attested=bytes(32)
    )
    found = steps_of(read(flat(compose_manager_attestation=manager)))
    place = "/compose_manager_attestation"
    assert found[-3:] == [
        ("tdx.quote", f"select:{place}/quote", "hex"),
        ("dstack.event-log", f"select:{place}/event_log", "text"),
        ("dstack.compose-actions", f"span:{place}/actions"),
    ]
    bare = {"quote": QUOTE.hex()}
    assert steps_of(read(flat(compose_manager_attestation=bare)))[-1][0] == "tdx.quote"


def test_what_an_object_does_not_hold_is_no_item():
    bare = flat(event_log=None, nvidia_payload=None)
    bare["info"] = {}
    assert [role for role, *_ in steps_of(read(bare))] == [
        "tdx.quote",
        "provider.signing-key",
        "provider.signing-key",
    ]
    bare["info"] = {"tcb_info": {}}
    assert len(read(bare).items) == 3
    top = gateway(gateway_attestation=flat(ED25519, gateway=True, event_log=None))
    assert ("dstack.event-log", "span:/gateway_attestation/event_log") not in steps_of(read(top))


def test_quote_in_base64_is_read_by_its_own_step():
    answer = read(flat(intel_quote=base64.b64encode(QUOTE).decode()))
    assert answer.reports[0].quote.steps == ("select:/intel_quote", "base64")
    answer = read(flat(intel_quote="0x" + QUOTE.hex()))
    assert answer.reports[0].quote.steps == ("select:/intel_quote", "hex")


def test_all_attestations_copy_is_read_once_and_others_are_reports():
    top = flat()
    answer = read({**top, "all_attestations": [top]})
    assert [r.pointer for r in answer.reports] == [""]
    other = flat(ED25519)
    answer = read({**top, "all_attestations": [top, other]})
    assert [r.pointer for r in answer.reports] == ["", "/all_attestations/1"]
    assert answer.disagreements == ()


def test_all_attestations_that_disagrees_is_listed_and_named():
    top = flat()
    answer = read({**top, "all_attestations": [{**top, "request_nonce": "00" * 32}]})
    assert [r.pointer for r in answer.reports] == ["", "/all_attestations/0"]
    assert [d.path for d in answer.disagreements] == ["/all_attestations/0/request_nonce"]


@pytest.mark.parametrize(
    "changes",
    [
        {"quote": (QUOTE + b"\x00").hex()},
        {"signing_key": "04" + chat_sim.ecdsa_signer("x").public_key},
    ],
)
def test_a_fact_stated_twice_differently_is_a_disagreement(changes):
    assert [d.path for d in read(flat(**changes)).disagreements] == [f"/{next(iter(changes))}"]


def test_a_fact_stated_twice_alike_is_none():
    answer = read(flat(quote=QUOTE.hex(), signing_key="04" + ECDSA.public_key))
    assert answer.disagreements == ()


def test_verdicts_echo_and_unknown_members_are_kept_apart():
    answer = read(flat(verified=True, server_verification={}, nonce="ab", tee_provider="x"))
    assert answer.verdicts == ("/verified", "/server_verification")
    assert answer.echo == "ab"
    assert answer.unknown == ("tee_provider",)
    assert read(flat(nonce=7, nonce_source="client")).echo is None


@pytest.mark.parametrize(
    ("changes", "reason", "path"),
    [
        ({"signing_algo": None}, Reason.SHAPE_FIELD_MISSING, "/signing_algo"),
        ({"signing_algo": "rsa"}, Reason.SHAPE_ENCODING_INVALID, "/signing_algo"),
        ({"signing_algo": 1}, Reason.SHAPE_FIELD_TYPE, "/signing_algo"),
        ({"signing_address": "0x12"}, Reason.SHAPE_LENGTH_INVALID, "/signing_address"),
        ({"signing_address": "0x" + "zz" * 20}, Reason.SHAPE_ENCODING_INVALID, "/signing_address"),
        ({"signing_public_key": "ab"}, Reason.SHAPE_LENGTH_INVALID, "/signing_public_key"),
        ({"signing_public_key": "00" * 64}, Reason.SHAPE_ENCODING_INVALID, "/signing_public_key"),
        ({"request_nonce": None}, Reason.SHAPE_FIELD_MISSING, "/request_nonce"),
        ({"request_nonce": "00"}, Reason.SHAPE_LENGTH_INVALID, "/request_nonce"),
        ({"request_nonce": "zz" * 32}, Reason.SHAPE_ENCODING_INVALID, "/request_nonce"),
        ({"intel_quote": ""}, Reason.SHAPE_LENGTH_INVALID, "/intel_quote"),
        ({"intel_quote": "abc"}, Reason.SHAPE_ENCODING_INVALID, "/intel_quote"),
        ({"intel_quote": "a b="}, Reason.SHAPE_ENCODING_INVALID, "/intel_quote"),
        ({"intel_quote": "_-8="}, Reason.SHAPE_ENCODING_INVALID, "/intel_quote"),
        ({"intel_quote": "zz=="}, Reason.SHAPE_ENCODING_INVALID, "/intel_quote"),
        ({"intel_quote": "Error: no"}, Reason.SHAPE_ERROR_TEXT_IN_EVIDENCE, "/intel_quote"),
        ({"event_log": 5}, Reason.SHAPE_FIELD_TYPE, "/event_log"),
        ({"info": None}, Reason.SHAPE_FIELD_MISSING, "/info"),
        ({"info": []}, Reason.SHAPE_FIELD_TYPE, "/info"),
        ({"info": {"tcb_info": "{"}}, Reason.SHAPE_ENCODING_INVALID, "/info/tcb_info"),
        ({"info": {"tcb_info": 3}}, Reason.SHAPE_FIELD_TYPE, "/info/tcb_info"),
        ({"nvidia_payload": "{"}, Reason.SHAPE_ENCODING_INVALID, "/nvidia_payload"),
        ({"nvidia_payload": {}}, Reason.SHAPE_FIELD_MISSING, "/nvidia_payload/evidence_list"),
        (
            {"nvidia_payload": {"evidence_list": {}}},
            Reason.SHAPE_FIELD_TYPE,
            "/nvidia_payload/evidence_list",
        ),
        (
            {"nvidia_payload": {"evidence_list": [{"evidence": "", "certificate": ""}]}},
            Reason.SHAPE_LENGTH_INVALID,
            "/nvidia_payload/evidence_list/0/evidence",
        ),
        (
            {"nvidia_payload": {"evidence_list": [{"evidence": "*"}]}},
            Reason.SHAPE_ENCODING_INVALID,
            "/nvidia_payload/evidence_list/0/evidence",
        ),
        (
            {"nvidia_payload": payload(33)},
            Reason.EXCHANGE_OVER_LIMIT,
            "/nvidia_payload/evidence_list",
        ),
        ({"all_attestations": []}, Reason.SHAPE_LIST_EMPTY, "/all_attestations"),
        ({"all_attestations": [{}] * 65}, Reason.EXCHANGE_OVER_LIMIT, "/all_attestations"),
        ({"tls_cert_fingerprint": "ab"}, Reason.SHAPE_LENGTH_INVALID, "/tls_cert_fingerprint"),
        ({"report_data": "ab"}, Reason.SHAPE_LENGTH_INVALID, "/report_data"),
        (
            {"compose_manager_attestation": {}},
            Reason.SHAPE_FIELD_MISSING,
            "/compose_manager_attestation/quote",
        ),
        (
            {"ohttp_attestation": {"signing_algo": "ecdsa"}},
            Reason.SHAPE_ENCODING_INVALID,
            "/ohttp_attestation/signing_algo",
        ),
    ],
)
def test_report_object_that_is_not_one_has_its_code(changes, reason, path):
    value = {**flat(), **changes}
    assert failure({k: v for k, v in value.items() if v is not None}) == (reason, path)


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ([], Reason.SHAPE_LIST_EMPTY),
        ([{}] * 65, Reason.EXCHANGE_OVER_LIMIT),
        ({}, Reason.SHAPE_FIELD_TYPE),
    ],
)
def test_model_list_that_is_not_one_has_its_code(listed, reason):
    assert failure(gateway(model_attestations=listed)) == (reason, "/model_attestations")


# --- formulas --------------------------------------------------------------------------------


def report_of(**changes):
    return read(flat(**changes)).reports[0]


@pytest.mark.parametrize("signer", [ECDSA, ED25519])
@pytest.mark.parametrize("fingerprint", [None, FINGERPRINT])
def test_identity_bound_in_its_form_is_accepted(signer, fingerprint):
    report = read(flat(signer, tls_fingerprint=fingerprint)).reports[0]
    data = dstack_sim.report_data(signer, NONCE, fingerprint)
    dstack.judge_identity(report, data)
    assert dstack.bound_nonce(data) == NONCE
    assert report.form == ("address_padded" if fingerprint is None else "sha256_address_tls")


def refusal(call, *arguments):
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value.reason


def test_identity_of_another_signer_is_refused():
    other = dstack_sim.report_data(ED25519, NONCE)
    found = refusal(dstack.judge_identity, report_of(), other)
    assert found is Reason.BINDING_SIGNING_ADDRESS_NOT_IN_REPORT_DATA


def test_identity_in_the_tls_form_without_a_stated_fingerprint_is_refused():
    data = dstack_sim.report_data(ECDSA, NONCE, FINGERPRINT)
    found = refusal(dstack.judge_identity, report_of(), data)
    assert found is Reason.BINDING_SIGNING_ADDRESS_NOT_IN_REPORT_DATA


def test_stated_fingerprint_beside_the_padded_form_is_not_bound():
    data = dstack_sim.report_data(ECDSA, NONCE)
    found = refusal(dstack.judge_identity, report_of(tls_fingerprint=FINGERPRINT), data)
    assert found is Reason.BINDING_TLS_FINGERPRINT_NOT_BOUND


def test_stated_fingerprint_that_is_not_the_seen_one_is_not_bound():
    data = dstack_sim.report_data(ECDSA, NONCE, FINGERPRINT)
    report = report_of(tls_fingerprint=bytes(32))
    found = refusal(dstack.judge_identity, report, data, (FINGERPRINT,))
    assert found is Reason.BINDING_TLS_FINGERPRINT_NOT_BOUND
    found = refusal(dstack.judge_identity, report, data)
    assert found is Reason.BINDING_SIGNING_ADDRESS_NOT_IN_REPORT_DATA


def test_address_right_padded_with_anything_but_zeros_is_refused():
    data = bytearray(dstack_sim.report_data(ECDSA, NONCE))
    data[25] = 1
    found = refusal(dstack.judge_identity, report_of(), bytes(data))
    assert found is Reason.BINDING_SIGNING_ADDRESS_NOT_IN_REPORT_DATA


def test_copy_of_report_data_that_differs_is_refused():
    data = dstack_sim.report_data(ECDSA, NONCE)
    dstack.judge_copy(report_of(report_data=data.hex()), data)
    dstack.judge_copy(report_of(), data)
    found = refusal(dstack.judge_copy, report_of(report_data=bytes(64).hex()), data)
    assert found is Reason.BINDING_REPORT_DATA_FIELD_DISAGREES


def test_public_key_of_another_address_is_refused():
    key = bytes.fromhex(ECDSA.public_key)
    dstack.judge_public_key("ecdsa", ECDSA.identity, key)
    dstack.judge_public_key("ed25519", ED25519.identity, ED25519.identity)
    for algorithm, address, stated in (
        ("ecdsa", bytes(20), key),
        ("ed25519", bytes(32), ED25519.identity),
    ):
        found = refusal(dstack.judge_public_key, algorithm, address, stated)
        assert found is Reason.BINDING_PUBLIC_KEY_NOT_OF_ADDRESS


def key_config(*, config=b"key config", signer=ED25519, signed=None, beside=None):
    attestation = {
        "signing_algo": "ed25519",
        "signing_key": signer.identity.hex(),
        "key_config": config.hex(),
        "signature": ed25519_sign(signer, config if signed is None else signed).hex(),
    }
    members = {"ohttp_attestation": attestation}
    if beside is not None:
        members["ohttp_key_config"] = beside.hex()
    return members


def ed25519_sign(signer, message):
    return Ed25519PrivateKey.from_private_bytes(signer.secret).sign(message)


def test_key_config_signed_by_an_attested_key_is_attested():
    answer = read(flat(ED25519, **key_config(beside=b"key config")))
    (config,) = answer.key_configs
    assert config.pointer == "/ohttp_attestation"
    assert ("provider.key-config", "span:/ohttp_attestation") in steps_of(answer)
    assert dstack.judge_key_config(config, [ED25519.identity]) is True
    assert dstack.judge_key_config(config, []) is False


def test_key_config_beside_the_gateway_is_found():
    answer = read(gateway(**key_config()))
    assert [c.pointer for c in answer.key_configs] == ["/ohttp_attestation"]


@pytest.mark.parametrize("changes", [{"signed": b"another"}, {"beside": b"another"}])
def test_key_config_that_is_not_the_signed_one_is_refused(changes):
    (config,) = read(flat(ED25519, **key_config(**changes))).key_configs
    found = refusal(dstack.judge_key_config, config, [ED25519.identity])
    assert found is Reason.BINDING_OHTTP_SIGNATURE_INVALID


# --- certificates ----------------------------------------------------------------------------


def test_leaf_key_of_a_pem_chain_is_its_first():
    der = tls_certificate("a.example.test")
    text = (
        "-----BEGIN CERTIFICATE-----\n"
        + base64.b64encode(der).decode()
        + "\n-----END CERTIFICATE-----\n"
    )
    assert leaf_spki(text, "/tls_certificate") == sha256(spki_of(der)).digest()
    assert certificate_spki(der) == sha256(spki_of(der)).digest()


@pytest.mark.parametrize(
    "text", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_text_that_is_no_certificate_is_an_encoding_fault(text):
    with pytest.raises(FormatError) as caught:
        leaf_spki(text, "/tls_certificate")
    assert caught.value.reason is Reason.SHAPE_ENCODING_INVALID


def test_a_certificate_whose_key_the_library_cannot_read_is_an_encoding_fault(monkeypatch):
    der = tls_certificate("a.example.test")

    class Unreadable:
        @property
        def spki_sha256(self):
            raise ValueError("explicit parameters")

    monkeypatch.setattr(certificates, "load_certificate", lambda _der: Unreadable())
    with pytest.raises(FormatError):
        certificate_spki(der)


# --- members ---------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_quote_bytes_of_any_text_gives_bytes_or_a_closed_code(text):
    try:
        step, raw = members.quote_bytes(text, "/q")
    except FormatError as error:
        step, raw = error.reason, b"-"
    assert step in ("hex", "base64", *Reason)
    assert raw


# --- recordings ------------------------------------------------------------------------------


def recordings(root):
    places = [
        *root.glob("captures/*/expected.json"),
        *root.glob("captures/nanogpt_2*/*/expected.json"),
    ]
    return sorted([*places, root / "near-fixture" / "expected.json"])


def test_recorded_answers_are_of_the_expected_shape_and_bind_as_expected(evidence_root):
    judged = 0
    for place in recordings(evidence_root):
        expected = json.loads(place.read_text())
        body = (place.parent / expected["attestation_exchange"]["file"]).read_bytes()
        value = shapes.parse_answer(body)
        assert shapes.recognise(value) == expected["shape"]
        if expected["family"] != "dstack":
            continue
        answer = shapes.read_answer(value, "att-1")
        own = [r for r in expected["reports"] if "same_evidence_as" not in r]
        assert [(r.pointer, r.role) for r in answer.reports] == [(r["at"], r["role"]) for r in own]
        assert answer.disagreements == ()
        for report, wanted in zip(answer.reports, own, strict=True):
            judged += 1
            data = bytes.fromhex(wanted["quote"]["report_data"])
            identity, binding = wanted["identity"], wanted["binding"]
            dstack.judge_identity(report, data)
            dstack.judge_copy(report, data)
            assert report.form == binding["form"]
            assert report.algorithm == identity["signing_algo"]
            assert report.address_text == identity["signing_address"]
            assert report.checksum_wrong is False
            assert dstack.bound_nonce(data).hex() == binding["nonce_in_report_data"]
            assert report.request_nonce.hex() == binding["request_nonce"]
            assert (report.tls_fingerprint or b"").hex() == (
                binding.get("tls_cert_fingerprint") or ""
            )
            assert report.model_name == wanted.get("model_name")
            assert len(report.devices) == (wanted.get("gpu") or {}).get("count", 0)
            if report.public_key is not None:
                dstack.judge_public_key(report.algorithm, report.address, report.public_key)
            ohttp = wanted.get("ohttp")
            if ohttp:
                (config,) = [c for c in answer.key_configs if c.pointer.startswith(report.pointer)]
                attested = dstack.judge_key_config(config, [report.address])
                assert attested is ohttp["signing_key_is_attested_identity"]
    assert judged == 15
