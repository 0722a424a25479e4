"""The compose manager: its quote, its nonce, its TD, its list."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.dstack_sim import actions, actions_hash, guest
from verify.dstack.compose_manager import (
    ManagerStatement,
    dump_of_actions,
    judge_nonce,
    judge_report_data,
    judge_same_td,
    parse_manager,
)
from verify.dstack.registers import TdRegisters
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason

GUEST = guest("manager")
NONCE = bytes(range(32))
LISTED = actions()
STATEMENT = ManagerStatement(actions_hash=actions_hash(LISTED), nonce=NONCE)
MODEL = TdRegisters(**GUEST.fields, report_data=bytes(64))
OWN = replace(MODEL, report_data=STATEMENT.actions_hash + NONCE)


def test_manager_right_statement_is_accepted() -> None:
    members = {"actions_hash": STATEMENT.actions_hash.hex(), "nonce": NONCE.hex(), "quote": "00"}
    assert parse_manager(members, "") == STATEMENT
    judge_report_data(STATEMENT, OWN)
    judge_nonce(STATEMENT, NONCE)
    judge_same_td(OWN, MODEL)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.SHAPE_FIELD_MISSING),
        (7, Reason.SHAPE_FIELD_TYPE),
        ("A" * 64, Reason.SHAPE_ENCODING_INVALID),
        ("0" * 63, Reason.SHAPE_LENGTH_INVALID),
    ],
)
@pytest.mark.parametrize("name", ["actions_hash", "nonce"])
def test_parse_manager_other_member_names_its_code(
    name: str, value: object, reason: Reason
) -> None:
    members = {"actions_hash": "00" * 32, "nonce": "00" * 32, name: value}
    with pytest.raises(FormatError) as caught:
        parse_manager(members, "/compose_manager_attestation")  # type: ignore[arg-type]
    assert caught.value.reason is reason
    assert caught.value.path == f"/compose_manager_attestation/{name}"


@pytest.mark.parametrize("offset", [0, 31, 32, 63])
def test_judge_report_data_other_byte_is_manager_report_data_mismatch(offset: int) -> None:
    data = bytearray(OWN.report_data)
    data[offset] ^= 1
    with pytest.raises(Refused) as caught:
        judge_report_data(STATEMENT, replace(OWN, report_data=bytes(data)))
    assert caught.value.reason is Reason.COMPOSE_MANAGER_REPORT_DATA_MISMATCH


def test_judge_nonce_other_nonce_is_nonce_mismatch() -> None:
    with pytest.raises(Refused) as caught:
        judge_nonce(STATEMENT, bytes(32))
    assert caught.value.reason is Reason.FRESHNESS_COMPOSE_MANAGER_NONCE_MISMATCH


@pytest.mark.parametrize("name", ["mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id"])
def test_judge_same_td_any_other_register_is_manager_other_td(name: str) -> None:
    other = replace(OWN, **{name: bytes(48)})
    with pytest.raises(Refused) as caught:
        judge_same_td(other, MODEL)
    assert caught.value.reason is Reason.COMPOSE_MANAGER_OTHER_TD


@pytest.mark.parametrize("dump", ["sorted", "as-sent"])
def test_dump_of_actions_known_dump_is_named(dump: Literal["sorted", "as-sent"]) -> None:
    text = json.dumps(LISTED, indent=1, ensure_ascii=False).encode()
    assert dump_of_actions(text, actions_hash(LISTED, dump)) == dump


def test_dump_of_actions_other_dump_is_none() -> None:
    text = json.dumps(LISTED).encode()
    assert dump_of_actions(text, actions_hash(LISTED, "other")) is None
    assert dump_of_actions(b'[{"a":1.50}]', bytes(32)) is None


@pytest.mark.parametrize("text", [b"", b"{}", b'"x"', b"[", b'[{"a":1,"a":2}]'])
def test_dump_of_actions_no_array_is_a_format_error(text: bytes) -> None:
    with pytest.raises(FormatError):
        dump_of_actions(text, bytes(32))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_dump_of_actions_any_bytes_give_a_value_or_a_format_error(text: bytes) -> None:
    try:
        assert dump_of_actions(text, bytes(32)) is None
    except FormatError:
        return
