from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.families import shapes

SAMPLES = {
    "dstack-gateway": {"gateway_attestation": {}},
    "dstack-flat": {"intel_quote": "00", "signing_address": "0x"},
    "chutes-aggregated": {"attestation_type": "chutes", "all_attestations": []},
    "chutes-native": {"evidence": [{"quote": "", "instance_id": "i", "gpu_evidence": []}]},
    "tinfoil-v3": {
        "format": "https://tinfoil.sh/predicate/attestation/v3",
        "report_data": {},
        "cpu": {},
    },
    "tinfoil-v2": {"format": "https://tinfoil.sh/predicate/tdx-guest/v2", "body": ""},
    "tinfoil-wrapped": {"attestation_type": "tinfoil", "intel_quote": ""},
    "ionet": {"cpu": {"quote": "Error: x"}, "gpu": {}, "signing_address": "0x"},
    "aci": {"api_version": "aci/1", "attestation": {}},
    "nitro": {"attestation_document": ""},
}


@pytest.mark.parametrize("shape", SAMPLES)
def test_recognise_one_rule_holds_names_its_shape(shape):
    assert shapes.recognise(SAMPLES[shape]) == shape
    assert shapes.recognise({**SAMPLES[shape], "nonce": "x", "verified": True}) == shape


@pytest.mark.parametrize("shape", ["tinfoil-wrapped", "nitro"])
def test_read_answer_of_an_unjudged_family_is_refused_as_absent(shape):
    with pytest.raises(Refused) as caught:
        shapes.read_answer(SAMPLES[shape], "att-1")
    assert caught.value.reason is Reason.SHAPE_FAMILY_NOT_JUDGED
    assert caught.value.got == shape


def test_recognise_no_rule_holds_is_unknown():
    with pytest.raises(Refused) as caught:
        shapes.recognise({"quote": "00"})
    assert caught.value.reason is Reason.SHAPE_UNKNOWN


@pytest.mark.parametrize(
    ("first", "second"),
    [("dstack-gateway", "chutes-aggregated"), ("tinfoil-v2", "nitro"), ("ionet", "aci")],
)
def test_recognise_two_rules_hold_is_ambiguous(first, second):
    with pytest.raises(Refused) as caught:
        shapes.recognise({**SAMPLES[first], **SAMPLES[second]})
    assert caught.value.reason is Reason.SHAPE_AMBIGUOUS


def test_recognise_a_gateway_beside_flat_members_is_the_gateway():
    # R2 excludes answers that R1 takes: a proxy may repeat the model's members at the top
    both = {**SAMPLES["dstack-gateway"], **SAMPLES["dstack-flat"]}
    assert shapes.recognise(both) == "dstack-gateway"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.EXCHANGE_BODY_NOT_JSON),
        (b"<html></html>", Reason.EXCHANGE_BODY_NOT_JSON),
        (b'{"a":1', Reason.EXCHANGE_BODY_NOT_JSON),
        (b'{"a":1} x', Reason.EXCHANGE_BODY_NOT_JSON),
        (b'\xff\xfe{"a":1}', Reason.EXCHANGE_BODY_NOT_JSON),
        (b'{"nonce":"1","nonce":"2"}', Reason.EXCHANGE_JSON_DUPLICATE_MEMBER),
        (b"[" * 100_000, Reason.EXCHANGE_OVER_LIMIT),
        (b" " * (shapes.MAX_ANSWER + 1), Reason.EXCHANGE_OVER_LIMIT),
        (b'{"error":{"message":"no"}}', Reason.EXCHANGE_ERROR_BODY),
        (b'{"detail":"no"}', Reason.EXCHANGE_ERROR_BODY),
        (b'{"error_code":"X","message":"no"}', Reason.EXCHANGE_ERROR_BODY),
        (b"[]", Reason.SHAPE_UNKNOWN),
    ],
)
def test_parse_answer_unusable_body_has_its_code(body, reason):
    with pytest.raises(FormatError) as caught:
        shapes.parse_answer(body)
    assert caught.value.reason is reason


def test_parse_answer_error_beside_evidence_is_dispatched():
    members = shapes.parse_answer(b'{"error":"partly","gateway_attestation":{}}')
    assert shapes.recognise(members) == "dstack-gateway"


def test_secretvm_three_texts_of_one_origin_are_recognised():
    origin = "https://vm.example.test:21434"
    three = [(f"{origin}/{name}", "text/plain") for name in ("cpu", "gpu", "docker-compose")]
    assert shapes.is_secretvm(three)
    assert not shapes.is_secretvm(three[:2])
    assert not shapes.is_secretvm([*three[:2], ("https://other.test/docker-compose", "text/plain")])
    assert not shapes.is_secretvm([(url, "application/json") for url, _ in three])


def outcome(call):
    """Return what a call gives, or the closed code it is refused with."""
    try:
        return call()
    except (FormatError, Refused) as error:
        return error.reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)
members = st.dictionaries(
    st.sampled_from(
        [
            "gateway_attestation",
            "model_attestations",
            "intel_quote",
            "signing_address",
            "signing_algo",
            "request_nonce",
            "info",
            "nvidia_payload",
            "event_log",
            "all_attestations",
            "tls_certificate",
            "ohttp_attestation",
            "nonce",
            "evidence",
            "compose_manager_attestation",
            "cpu",
            "gpu",
            "format",
            "body",
            "attestation_type",
        ]
    ),
    json_values
    | st.just("00" * 40)
    | st.fixed_dictionaries(
        {"signing_address": st.just("0x" + "ab" * 20), "signing_algo": st.just("ecdsa")}
    ),
    max_size=10,
)


@settings(max_examples=200, deadline=None)
@given(members)
def test_read_answer_of_any_object_gives_a_closed_code_or_an_answer(value):
    body = json.dumps(value).encode()
    assert outcome(lambda: shapes.read_answer(shapes.parse_answer(body), "att-1").artifact)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_parse_answer_of_any_bytes_gives_a_closed_code_or_members(body):
    assert outcome(lambda: shapes.parse_answer(body)) is not None
