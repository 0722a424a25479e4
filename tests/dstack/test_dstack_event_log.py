"""The dstack event log: known answers, a kill test for every code, hypothesis on the parser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.dstack_sim import Guest, SimEvent, boot_events, guest, replayed, runtime
from verify.dstack import event_log
from verify.dstack.event_log import (
    Event,
    Replay,
    canonical_event,
    compare,
    extend,
    missing,
    parse_event_log,
    parse_key_provider,
    replay,
    runtime_digest,
)
from verify.engine.errors import FormatError
from verify.engine.reason import Reason

GUEST = guest("event log")
BOOT = boot_events("os image")


def text_of(events: Sequence[SimEvent], *, stripped: bool = False) -> bytes:
    return json.dumps([event.printed(stripped=stripped) for event in events]).encode()


def read(events: Sequence[SimEvent], *, stripped: bool = False) -> Replay:
    return replay(parse_event_log(text_of(events, stripped=stripped)))


def codes(found: Replay) -> list[Reason]:
    return [fault.reason for fault in found.faults]


def rtmr3_of(subject: Guest) -> list[SimEvent]:
    return [event for event in subject.events if event.imr == 3]


# --- known answers of tdx.md 14.2 ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "payload", "version", "digest"),
    [
        (
            "app-id",
            "deadbeef",
            1,
            "67b4be4efed0893cfa2bb1d35dca209ad8348b4c97f980807bcde8b9a0f26398dd0923d6eccb5aa2096d98046da8740f",
        ),
        (
            "system-ready",
            "",
            1,
            "1a76b2a80a0be71eae59f80945d876351a7a3fb8e9fd1ff1cede5734aa84ea11fd72b4edfbb6f04e5a85edd114c751bd",
        ),
        (
            "compose-hash",
            "abcd",
            2,
            "9dde1673f544faa94b921825209593ddde08d0baf9cd6990175dffaf3081f1bb10311d56de189491feb33842a050ad7b",
        ),
    ],
)
def test_runtime_digest_known_event_gives_known_digest(
    name: str, payload: str, version: int, digest: str
) -> None:
    assert runtime_digest(name, bytes.fromhex(payload), version).hex() == digest


def test_canonical_event_known_event_gives_known_text() -> None:
    expected = b'{"name":"compose-hash","payload":"abcd","type":134217729}'
    assert canonical_event("compose-hash", bytes.fromhex("abcd")) == expected


def test_extend_known_events_give_known_registers() -> None:
    first = extend(bytes(48), runtime_digest("app-id", bytes.fromhex("deadbeef")))
    assert first.hex() == (
        "9f1bcb9c4dcada1710bf9612197f4e380a9259241b597f1b834c9b3d9f30ae05"
        "69950a92ca118e9d7697d893ea4b6d56"
    )
    second = extend(first, runtime_digest("compose-hash", bytes.fromhex("abcd"), 2))
    assert second.hex() == (
        "e8334a42203613b4bf7e29440e497f23f0e8576c292b88bf43354e53fbc91bf8"
        "679419ac26bdaa7e9a835d540ccdd642"
    )


def test_canonical_event_awkward_name_equals_the_oracle() -> None:
    rfc8785 = pytest.importorskip("rfc8785")
    for name in ('a"b\\c', "\u0001\b\t\n\f\r\u007f", "Zürich 東京 🚀 \u2028"):
        expected = rfc8785.dumps({"name": name, "payload": "00", "type": 134217729})
        assert canonical_event(name, b"\x00") == expected


# --- replay ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("stripped", [False, True])
def test_replay_healthy_log_explains_every_register(version: int, stripped: bool) -> None:
    subject = guest("healthy", event_version=version, application=(("app-event", b"\x01"),))
    found = read(subject.events, stripped=stripped)
    assert not found.faults
    assert found.registers == replayed(subject.events)
    assert not compare(found, replayed(subject.events))
    assert found.claims.one("app-id") == subject.app_id
    assert found.claims.one("compose-hash") == subject.compose_hash
    assert found.application == ("app-event",)


def test_replay_versions_may_be_mixed() -> None:
    events = [
        replace(event, version=1 + position % 2) if event.imr == 3 else event
        for position, event in enumerate(GUEST.events)
    ]
    assert not read(events).faults
    assert not compare(read(events), replayed(events))


def test_replay_boot_register_is_that_of_boot_mr_done() -> None:
    stop = [event.name for event in GUEST.events].index("boot-mr-done") + 1
    assert read(GUEST.events).boot_rtmr3 == replayed(GUEST.events[:stop])[3]


def test_compare_other_register_is_rtmr_mismatch_for_each() -> None:
    signed = list(replayed(GUEST.events))
    signed[0] = bytes(48)
    signed[3] = bytes(48)
    refused = compare(read(GUEST.events), signed)
    assert [r.reason for r in refused] == [Reason.TDX_EVENT_LOG_RTMR_MISMATCH] * 2
    assert [r.expected for r in refused] == [bytes(48).hex()] * 2


def test_compare_event_left_out_is_rtmr_mismatch() -> None:
    refused = compare(read(GUEST.events[:-1]), replayed(GUEST.events))
    assert [r.reason for r in refused] == [Reason.TDX_EVENT_LOG_RTMR_MISMATCH]


def test_compare_events_reordered_is_rtmr_mismatch() -> None:
    swapped = [GUEST.events[1], GUEST.events[0], *GUEST.events[2:]]
    refused = compare(read(swapped), replayed(GUEST.events))
    assert [r.reason for r in refused] == [Reason.TDX_EVENT_LOG_RTMR_MISMATCH]


def edited(name: str, **changes: object) -> list[SimEvent]:
    return [replace(e, **changes) if e.name == name else e for e in GUEST.events]  # type: ignore[arg-type]


def test_replay_payload_edited_beside_old_digest_is_digest_mismatch() -> None:
    old = next(event for event in GUEST.events if event.name == "app-id")
    events = edited("app-id", payload=bytes(20), digest=old.right_digest)
    found = read(events)
    assert codes(found) == [Reason.TDX_EVENT_LOG_DIGEST_MISMATCH]
    assert found.faults[0].path == f"/{GUEST.events.index(old)}/digest"
    assert compare(found, replayed(GUEST.events))


def test_replay_digest_edited_is_digest_mismatch_though_the_registers_fit() -> None:
    found = read(edited("storage-fs", digest=bytes(48)))
    assert codes(found) == [Reason.TDX_EVENT_LOG_DIGEST_MISMATCH]
    assert not compare(found, replayed(GUEST.events))


@pytest.mark.parametrize("imr", [4, 17])
def test_replay_register_beyond_three_is_register_invalid(imr: int) -> None:
    events = (*parse_event_log(text_of(GUEST.events)), event_with(imr=imr, event_type=1))
    found = replay(events)
    assert codes(found) == [Reason.TDX_EVENT_LOG_REGISTER_INVALID]


def event_with(*, imr: int, event_type: int) -> Event:
    return Event(
        index=99,
        imr=imr,
        event_type=event_type,
        name="x",
        payload=b"",
        digest=bytes(48),
        version=1,
        preimage=None,
    )


@pytest.mark.parametrize("imr", [0, 1, 2])
def test_replay_runtime_event_outside_rtmr3_is_register_invalid(imr: int) -> None:
    found = replay((event_with(imr=imr, event_type=event_log.RUNTIME_EVENT_TYPE),))
    assert codes(found) == [Reason.TDX_EVENT_LOG_REGISTER_INVALID]


def test_replay_unknown_version_is_version_unsupported_and_leaves_the_register_open() -> None:
    entries = [event.printed() for event in GUEST.events]
    entries[-1]["version"] = 3
    found = replay(parse_event_log(json.dumps(entries).encode()))
    assert codes(found) == [Reason.TDX_EVENT_LOG_VERSION_UNSUPPORTED]
    assert found.registers[3] is None
    assert not compare(found, (*replayed(GUEST.events)[:3], bytes(48)))


def test_replay_version_two_without_preimage_is_preimage_missing() -> None:
    entries = [event.printed() for event in guest("v2", event_version=2).events]
    del entries[-1]["preimage"]
    found = replay(parse_event_log(json.dumps(entries).encode()))
    assert codes(found) == [Reason.TDX_EVENT_LOG_PREIMAGE_MISSING]


def test_replay_version_two_with_other_preimage_is_preimage_mismatch() -> None:
    entries = [event.printed() for event in guest("v2", event_version=2).events]
    entries[-1]["preimage"] = b'{"name":"system-ready"}'.hex()
    found = replay(parse_event_log(json.dumps(entries).encode()))
    assert codes(found) == [Reason.TDX_EVENT_LOG_PREIMAGE_MISMATCH]


# --- which names may be believed ------------------------------------------------------------------


def test_claims_event_after_system_ready_is_never_a_claim() -> None:
    subject = guest("late", application=(("compose-hash", bytes(32)), ("mr-kms", bytes(32))))
    found = read(subject.events)
    assert not found.faults
    assert found.claims.one("compose-hash") == subject.compose_hash
    assert found.application == ("compose-hash", "mr-kms")


def test_claims_boot_typed_event_with_a_claim_name_is_never_a_claim() -> None:
    forged = SimEvent(imr=3, event_type=5, name="gpu-policy-hash", payload=bytes(32))
    found = read([*BOOT, forged, *rtmr3_of(GUEST)])
    assert not found.faults
    assert found.claims.one("gpu-policy-hash") is None


def test_claims_without_system_ready_nothing_is_believed() -> None:
    found = read(GUEST.events[:-1])
    assert not found.faults
    assert not found.claims.ready
    assert found.claims.one("app-id") is None
    refused = missing(found.claims, ["compose-hash", "system-ready"])
    assert [r.reason for r in refused] == [Reason.TDX_EVENT_LOG_EVENT_MISSING] * 2


def test_missing_required_name_is_event_missing() -> None:
    claims = read(GUEST.events).claims
    assert not missing(claims, ["app-id", "compose-hash", "system-ready"])
    refused = missing(claims, ["app-id", "gpu-attestation"])
    assert [r.reason for r in refused] == [Reason.TDX_EVENT_LOG_EVENT_MISSING]
    assert refused[0].expected == "gpu-attestation"


@pytest.mark.parametrize("name", ["app-id", "compose-hash", "key-provider", "storage-fs"])
def test_replay_claim_twice_before_system_ready_is_event_duplicate(name: str) -> None:
    position = [event.name for event in GUEST.events].index(name)
    events = [*GUEST.events[: position + 1], *GUEST.events[position:]]
    assert codes(read(events)) == [Reason.TDX_EVENT_LOG_EVENT_DUPLICATE]


def test_replay_init_scripts_may_repeat() -> None:
    found = read(guest("scripts", init_scripts=(b"a", b"b", b"a")).events)
    assert not found.faults
    assert len(found.claims.all("init-script-hash")) == 3


@pytest.mark.parametrize("name", ["app-id", "compose-hash", "instance-id"])
def test_replay_claim_after_boot_mr_done_is_event_order(name: str) -> None:
    events = [event for event in GUEST.events if event.name != name]
    moved = next(event for event in GUEST.events if event.name == name)
    position = [event.name for event in events].index("boot-mr-done") + 1
    events.insert(position, moved)
    assert codes(read(events)) == [Reason.TDX_EVENT_LOG_EVENT_ORDER]


def test_replay_without_boot_mr_done_is_event_missing() -> None:
    events = [event for event in GUEST.events if event.name != "boot-mr-done"]
    assert codes(read(events)) == [Reason.TDX_EVENT_LOG_EVENT_MISSING]


@pytest.mark.parametrize(
    ("name", "size"),
    [("app-id", 19), ("compose-hash", 20), ("instance-id", 32), ("os-image-hash", 31)],
)
def test_replay_claim_of_other_length_is_malformed(name: str, size: int) -> None:
    found = read(edited(name, payload=bytes(size)))
    assert codes(found) == [Reason.TDX_EVENT_LOG_MALFORMED]
    assert found.faults[0].path is not None
    assert found.faults[0].path.endswith("/event_payload")


def test_replay_guest_without_instance_id_is_accepted() -> None:
    assert not read(edited("instance-id", payload=b"")).faults


# --- the parser -----------------------------------------------------------------------------------


def entry(**changes: object) -> dict[str, object]:
    return {**runtime("app-id", bytes(20)).printed(), **changes}


@pytest.mark.parametrize(
    ("log", "path"),
    [
        ({}, ""),
        ("[]", ""),
        ([1], "/0"),
        ([entry(imr="3")], "/0/imr"),
        ([entry(imr=True)], "/0/imr"),
        ([entry(imr=-1)], "/0/imr"),
        ([entry(imr=1.5)], "/0/imr"),
        ([entry(event_type=2**32)], "/0/event_type"),
        ([entry(event=None)], "/0/event"),
        ([entry(event_payload="0")], "/0/event_payload"),
        ([entry(event_payload="zz")], "/0/event_payload"),
        ([entry(event_payload="00" * 65537)], "/0/event_payload"),
        ([entry(digest="00" * 47)], "/0/digest"),
        ([entry(digest="00" * 49)], "/0/digest"),
        ([entry(digest=" " * 96)], "/0/digest"),
        ([entry(event_type=1, digest="")], "/0/digest"),
        ([entry(version="2")], "/0/version"),
        ([entry(preimage=1)], "/0/preimage"),
        ([entry()] * 4097, ""),
    ],
)
def test_parse_event_log_other_form_is_malformed(log: object, path: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_event_log(json.dumps(log).encode())
    assert caught.value.reason is Reason.TDX_EVENT_LOG_MALFORMED
    assert caught.value.path == path


@pytest.mark.parametrize(
    "text",
    [b"", b"[", b"[]x", b"\xff", b'[{"imr":3,"imr":3}]', b'[{"event":"\\ud800"}]', b"[" * 100_000],
)
def test_parse_event_log_no_strict_json_is_malformed(text: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_event_log(text)
    assert caught.value.reason is Reason.TDX_EVENT_LOG_MALFORMED


def test_parse_event_log_too_large_is_malformed_before_parsing() -> None:
    with pytest.raises(FormatError) as caught:
        parse_event_log(b" " * (event_log.MAX_LOG + 1))
    assert caught.value.reason is Reason.TDX_EVENT_LOG_MALFORMED


def test_parse_event_log_unknown_members_are_ignored() -> None:
    (event,) = parse_event_log(json.dumps([entry(note="x", version=None)]).encode())
    assert event.version == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {
        "imr": st.integers(0, 5) | JSON,
        "event_type": st.sampled_from([1, 0x08000001]) | JSON,
        "digest": st.sampled_from(["", "00" * 48]) | JSON,
        "event": st.sampled_from(["app-id", "boot-mr-done", "system-ready"]) | st.text(max_size=9),
        "event_payload": st.binary(max_size=33).map(bytes.hex) | JSON,
    },
    optional={"version": st.integers(0, 3) | JSON, "preimage": st.just("00") | JSON},
)


def read_or_malformed(text: bytes) -> tuple[Event, ...]:
    """Return the events, none where the parser refuses with its one code."""
    try:
        return parse_event_log(text)
    except FormatError as error:
        reason = error.reason
    assert reason is Reason.TDX_EVENT_LOG_MALFORMED
    return ()


@settings(max_examples=150, deadline=None)
@given(st.lists(ENTRY, max_size=6) | JSON)
def test_parse_and_replay_any_json_gives_a_value_or_a_format_error(log: object) -> None:
    events = read_or_malformed(json.dumps(log).encode())
    found = replay(events)
    assert all(register is None or len(register) == 48 for register in found.registers)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_parse_event_log_any_bytes_give_a_value_or_a_format_error(text: bytes) -> None:
    read_or_malformed(text)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"name":"kms","id":"x"}', b'{"id":""}'])
def test_parse_key_provider_other_form_is_malformed(payload: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_key_provider(payload)
    assert caught.value.reason is Reason.TDX_EVENT_LOG_MALFORMED
