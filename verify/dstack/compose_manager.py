"""NEAR's compose manager: the list of actions that started a model's containers, and its quote.

Source: providers.md 3.6.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from verify.dstack.registers import TdRegisters
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.wire.strict_json import Json, parse_evidence

_HEX64: Final = 64
_DIGITS: Final = frozenset("0123456789abcdef")


@value
class ManagerStatement:
    """What the manager says beside its quote: 32 bytes each; the quote alone makes it count."""

    actions_hash: bytes
    nonce: bytes


def parse_manager(value: Mapping[str, Json], path: str) -> ManagerStatement:
    """Read ``actions_hash`` and ``nonce``. Raises `FormatError` with a ``shape.*`` code."""
    return ManagerStatement(
        actions_hash=_hex32(value, "actions_hash", path), nonce=_hex32(value, "nonce", path)
    )


def _hex32(value: Mapping[str, Json], name: str, path: str) -> bytes:
    stated = value.get(name)
    place = f"{path}/{name}"
    if stated is None:
        raise FormatError(0, f"no {name}", reason=Reason.SHAPE_FIELD_MISSING, path=place)
    if not isinstance(stated, str):
        raise FormatError(0, f"{name} is not a string", reason=Reason.SHAPE_FIELD_TYPE, path=place)
    if not _DIGITS.issuperset(stated):
        raise FormatError(
            0, f"{name} is not lower-case hex", reason=Reason.SHAPE_ENCODING_INVALID, path=place
        )
    if len(stated) != _HEX64:
        raise FormatError(
            0, f"{name} is not 32 bytes", reason=Reason.SHAPE_LENGTH_INVALID, path=place
        )
    return bytes.fromhex(stated)


def judge_report_data(statement: ManagerStatement, own: TdRegisters) -> None:
    """Demand that the manager's own quote carries actions hash ‖ nonce.

    Raises `Refused` (``compose.manager_report_data_mismatch``).
    """
    expected = statement.actions_hash + statement.nonce
    if own.report_data != expected:
        raise Refused(
            Reason.COMPOSE_MANAGER_REPORT_DATA_MISMATCH,
            "the manager's quote binds another hash or nonce",
            got=own.report_data.hex(),
            expected=expected.hex(),
        )


def judge_nonce(statement: ManagerStatement, nonce: bytes) -> None:
    """Demand that the manager used the session's nonce.

    Raises `Refused` (``freshness.compose_manager_nonce_mismatch``).
    """
    if statement.nonce != nonce:
        raise Refused(
            Reason.FRESHNESS_COMPOSE_MANAGER_NONCE_MISMATCH,
            "the manager's quote was made for another nonce",
            got=statement.nonce.hex(),
            expected=nonce.hex(),
        )


def judge_same_td(own: TdRegisters, model: TdRegisters) -> None:
    """Demand that both quotes name one TD: MRTD, RTMR0 to RTMR3, MRCONFIGID.

    Raises `Refused` (``compose.manager_other_td``).
    """
    names = ("mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id")
    for name, mine, theirs in zip(names, own.code, model.code, strict=True):
        if mine != theirs:
            raise Refused(
                Reason.COMPOSE_MANAGER_OTHER_TD,
                f"{name} of the manager's quote is not that of the model's",
                got=mine.hex(),
                expected=theirs.hex(),
            )


def dump_of_actions(text: bytes, actions_hash: bytes) -> str | None:
    """Return the name of the dump of the action list that has the attested hash, or None.

    ``text``: exact bytes of ``actions``. Known dumps, both compact with non-ASCII kept: members
    sorted (from late June 2026), members as sent (before). None is no contradiction: the hash is
    attested, the list is not. Raises `FormatError` where the text is no JSON array.
    """
    value = parse_evidence(text)
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise FormatError(0, "actions is not an array", reason=Reason.SHAPE_FIELD_TYPE, path="")
    # read again as the values a Python service holds: the strict reader keeps numbers as text
    native: object = json.loads(text)
    for name, ordered in (("sorted", True), ("as-sent", False)):
        dump = json.dumps(native, sort_keys=ordered, separators=(",", ":"), ensure_ascii=False)
        if sha256(dump.encode()).digest() == actions_hash:
            return name
    return None
