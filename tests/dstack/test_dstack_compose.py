"""Compose text, MRCONFIGID, aggregates, echoes: known answers and a kill test for every code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.dstack_sim import Guest, compose_text, guest, runtime, with_events
from verify.dstack.compose import (
    compose_hash,
    judge_compose,
    judge_config_id,
    judge_published,
    mr_aggregated,
    mr_config_id_v1,
    mr_config_id_v2,
    mr_config_id_v3,
    mr_system,
    pinned_images,
)
from verify.dstack.event_log import Claims, KeyProvider, parse_event_log, replay
from verify.dstack.registers import TdRegisters
from verify.engine.errors import Refused
from verify.engine.reason import Reason

GUEST = guest("compose")


def claims_of(subject: Guest) -> Claims:
    found = replay(parse_event_log(json.dumps(subject.event_log()).encode()))
    assert not found.faults
    return found.claims


def registers_of(subject: Guest) -> TdRegisters:
    return TdRegisters(**subject.fields, report_data=bytes(64))


# --- compose hash ---------------------------------------------------------------------------------


def test_judge_compose_measured_text_gives_its_hash() -> None:
    text = GUEST.compose.encode()
    assert judge_compose(text, claims_of(GUEST)) == compose_hash(text) == GUEST.compose_hash


def test_judge_compose_other_text_is_compose_hash_mismatch() -> None:
    with pytest.raises(Refused) as caught:
        judge_compose(GUEST.compose.encode() + b"\n", claims_of(GUEST))
    assert caught.value.reason is Reason.TDX_DSTACK_COMPOSE_HASH_MISMATCH


def test_judge_compose_same_json_other_spelling_is_compose_hash_mismatch() -> None:
    text = json.dumps(json.loads(GUEST.compose)).encode()
    with pytest.raises(Refused) as caught:
        judge_compose(text, claims_of(GUEST))
    assert caught.value.reason is Reason.TDX_DSTACK_COMPOSE_HASH_MISMATCH


def test_judge_compose_without_believed_event_is_event_missing() -> None:
    late = with_events(GUEST, [e for e in GUEST.events if e.name != "system-ready"])
    with pytest.raises(Refused) as caught:
        judge_compose(GUEST.compose.encode(), claims_of(late))
    assert caught.value.reason is Reason.TDX_EVENT_LOG_EVENT_MISSING


def test_pinned_images_counts_only_whole_digests() -> None:
    assert len(pinned_images(compose_text().encode())) == 1
    assert not pinned_images(compose_text(pinned=False).encode())
    assert not pinned_images(b"image: a@sha256:" + b"0" * 63)
    assert not pinned_images(b"image: a@sha256:" + b"0" * 65)
    assert not pinned_images(b"sha256:" + b"0" * 64)


# --- MRCONFIGID -----------------------------------------------------------------------------------

COMPOSE, APP_ID = b"\x22" * 32, b"\x11" * 20
PROVIDER = KeyProvider(name="kms", id=b"\x33" * 32)
DOCUMENT = (
    b'{"app_id":"1111111111111111111111111111111111111111",'
    b'"compose_hash":"2222222222222222222222222222222222222222222222222222222222222222",'
    b'"instance_id":"4444444444444444444444444444444444444444","key_provider":"kms",'
    b'"key_provider_id":"3333333333333333333333333333333333333333333333333333333333333333",'
    b'"version":3}'
)


def test_mr_config_id_known_answers() -> None:
    zeros = "00" * 15
    assert mr_config_id_v1(COMPOSE).hex() == "01" + "22" * 32 + zeros
    assert mr_config_id_v2(COMPOSE, APP_ID, PROVIDER).hex() == (
        "027f2ca741da9d356026ab20ca640abf06198829a128817b091bbc9aec1ed97b60" + zeros
    )
    assert mr_config_id_v3(DOCUMENT).hex() == (
        "0350fc88d0a462b6a0b06ba25859abc02e98c2a8d9bd000b7dc0d8bae65e71ecbb" + zeros
    )


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("provider", ["kms", "local-sgx", "tpm", "none"])
def test_judge_config_id_right_value_gives_its_version(version: int, provider: str) -> None:
    subject = guest("config", config_version=version, key_provider=provider)
    assert judge_config_id(subject.mr_config_id, claims_of(subject)).version == version


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("offset", [1, 32, 33, 47])
def test_judge_config_id_any_byte_changed_is_mismatch(version: int, offset: int) -> None:
    value = bytearray(guest("config", config_version=version).mr_config_id)
    value[offset] ^= 1
    with pytest.raises(Refused) as caught:
        judge_config_id(bytes(value), claims_of(guest("config")))
    assert caught.value.reason is Reason.TDX_DSTACK_MR_CONFIG_ID_MISMATCH


@pytest.mark.parametrize("first", [0, 4, 255])
def test_judge_config_id_other_first_byte_is_version_unknown(first: int) -> None:
    value = bytes((first,)) + GUEST.mr_config_id[1:]
    with pytest.raises(Refused) as caught:
        judge_config_id(value, claims_of(GUEST))
    assert caught.value.reason is Reason.TDX_DSTACK_MR_CONFIG_ID_VERSION_UNKNOWN


@pytest.mark.parametrize("version", [1, 2])
def test_judge_config_id_without_claims_is_event_missing(version: int) -> None:
    value = guest("config", config_version=version).mr_config_id
    with pytest.raises(Refused) as caught:
        judge_config_id(value, Claims(ready=False, events=()))
    assert caught.value.reason is Reason.TDX_EVENT_LOG_EVENT_MISSING


def test_judge_config_id_unknown_kind_of_provider_is_mismatch() -> None:
    claims = claims_of(replace_payload("key-provider", b'{"name":"other","id":"00"}'))
    with pytest.raises(Refused) as caught:
        judge_config_id(guest("config", config_version=2).mr_config_id, claims)
    assert caught.value.reason is Reason.TDX_DSTACK_MR_CONFIG_ID_MISMATCH


def test_judge_config_id_unreadable_provider_is_malformed() -> None:
    claims = claims_of(replace_payload("key-provider", b"{"))
    with pytest.raises(Refused) as caught:
        judge_config_id(guest("config", config_version=2).mr_config_id, claims)
    assert caught.value.reason is Reason.TDX_EVENT_LOG_MALFORMED


def replace_payload(name: str, payload: bytes) -> Guest:
    return with_events(
        GUEST, [runtime(name, payload) if e.name == name else e for e in GUEST.events]
    )


def v3(**members: object) -> Guest:
    subject = guest("v3", config_version=3, init_scripts=(b"one", b"two"))
    return replace(subject, v3_members=tuple(members.items()))


def test_judge_config_id_document_is_found_among_candidates() -> None:
    subject = v3()
    claims = claims_of(subject)
    documents = (b"{}", subject.mr_config_document)
    assert judge_config_id(subject.mr_config_id, claims, documents).version == 3


def test_judge_config_id_init_scripts_of_the_document_are_compared() -> None:
    scripts = [payload.hex() for payload in claims_of(v3()).all("init-script-hash")]
    subject = v3(init_script_hashes=scripts)
    documents = (subject.mr_config_document,)
    assert judge_config_id(subject.mr_config_id, claims_of(subject), documents).version == 3


def test_judge_config_id_document_not_shown_is_evidence_absent() -> None:
    with pytest.raises(Refused) as caught:
        judge_config_id(v3().mr_config_id, claims_of(v3()))
    assert caught.value.reason is Reason.EVIDENCE_ABSENT


def test_judge_config_id_other_document_is_mismatch() -> None:
    with pytest.raises(Refused) as caught:
        judge_config_id(v3().mr_config_id, claims_of(v3()), (b"{}",))
    assert caught.value.reason is Reason.TDX_DSTACK_MR_CONFIG_ID_MISMATCH


@pytest.mark.parametrize(
    "members",
    [
        {"unknown": 1},
        {"version": 2},
        {"version": "3"},
        {"version": True},
        {"compose_hash": "00" * 32},
        {"app_id": "00" * 20},
        {"key_provider": "tpm"},
        {"key_provider_id": ""},
        {"instance_id": "00" * 20},
        {"gpu_policy_hash": "00" * 32},
        {"init_script_hashes": []},
        {"init_script_hashes": "x"},
    ],
)
def test_judge_config_id_document_against_the_log_is_mismatch(members: dict[str, object]) -> None:
    subject = v3(**members)
    with pytest.raises(Refused) as caught:
        judge_config_id(subject.mr_config_id, claims_of(subject), (subject.mr_config_document,))
    assert caught.value.reason is Reason.TDX_DSTACK_MR_CONFIG_ID_MISMATCH


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"version":3}', b"\xff"])
def test_judge_config_id_document_of_other_form_is_mismatch(document: bytes) -> None:
    with pytest.raises(Refused) as caught:
        judge_config_id(mr_config_id_v3(document), claims_of(GUEST), (document,))
    assert caught.value.reason is Reason.TDX_DSTACK_MR_CONFIG_ID_MISMATCH


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=48, max_size=48), st.binary(max_size=60))
def test_judge_config_id_any_bytes_are_refused(value: bytes, document: bytes) -> None:
    with pytest.raises(Refused):
        judge_config_id(b"\x01" + value[1:], claims_of(GUEST), (document,))


# --- aggregates and echoes ------------------------------------------------------------------------


def test_mr_aggregated_leaves_host_ids_out_only_when_all_are_zero() -> None:
    unset = registers_of(guest("x", config_version=0))
    owned = replace(unset, mr_owner=b"\x01" + bytes(47))
    assert mr_aggregated(unset) == guest("x", config_version=0).mr_aggregated
    assert mr_aggregated(registers_of(GUEST)) == GUEST.mr_aggregated
    assert mr_aggregated(owned) != mr_aggregated(unset)


def test_mr_system_without_key_provider_uses_zeros() -> None:
    registers = registers_of(GUEST)
    assert mr_system(registers, b"") != mr_system(registers, b"x")


def published(info: Mapping[str, object], boot_rtmr3: bytes | None = None) -> list[Reason]:
    refused = judge_published(
        info,  # type: ignore[arg-type]
        registers_of(GUEST),
        claims_of(GUEST),
        boot_rtmr3,
        path="/info/tcb_info",
    )
    assert all(str(r.path).startswith("/info/tcb_info/") for r in refused)
    return [r.reason for r in refused]


def test_judge_published_right_echoes_say_nothing() -> None:
    assert not published(GUEST.tcb_info())
    assert not published(GUEST.info())
    assert not published({"mrtd": "", "rtmr0": None})


def test_judge_published_boot_variant_of_the_aggregate_is_known() -> None:
    boot = bytes(48)
    value = mr_aggregated(registers_of(GUEST), boot).hex()
    assert not published({"mr_aggregated": value}, boot)
    assert published({"mr_aggregated": value}) == [Reason.TDX_DSTACK_MR_AGGREGATED_MISMATCH]


@pytest.mark.parametrize(
    "name", ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "compose_hash", "os_image_hash"]
)
@pytest.mark.parametrize("value", ["00" * 48, 7])
def test_judge_published_other_echo_is_published_register_mismatch(
    name: str, value: object
) -> None:
    info = {**GUEST.tcb_info(), name: value}
    assert published(info) == [Reason.TDX_DSTACK_PUBLISHED_REGISTER_MISMATCH]


@pytest.mark.parametrize("value", ["00" * 32, []])
def test_judge_published_other_aggregate_is_mr_aggregated_mismatch(value: object) -> None:
    info = {**GUEST.info(), "mr_aggregated": value}
    assert published(info) == [Reason.TDX_DSTACK_MR_AGGREGATED_MISMATCH]
