"""secp256k1: strictness, and eth-account as the oracle for recovery and spelling."""

from __future__ import annotations

import hashlib

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils import to_checksum_address
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.crypto.secp256k1 import (
    ORDER,
    Address,
    PublicKey,
    RecoveryFailed,
    Signature,
    address_of,
    checksummed,
    eip191_digest,
    parse_address,
    parse_public_key,
    parse_signature,
    recover,
)
from verify.engine.errors import FormatError

SECRET = hashlib.sha256(b"teebundle TEST ONLY secp256k1").digest()
ACCOUNT = Account.from_key(SECRET)
MESSAGE = b"a:b"


def signed(message: bytes, secret: bytes = SECRET) -> str:
    return Account.sign_message(encode_defunct(message), secret).signature.hex()


def encoded(*, r: int, s: int, v: int) -> str:
    return (r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes((v,))).hex()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(min_value=1, max_value=ORDER - 1))
def test_recover_signature_of_the_oracle_gives_its_address(message: bytes, secret: int) -> None:
    key = secret.to_bytes(32, "big")
    signature = parse_signature(signed(message, key))
    found = address_of(recover(signature, eip191_digest(message)))
    assert checksummed(found) == Account.from_key(key).address


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=65, max_size=65))
def test_recover_any_bytes_agrees_with_the_oracle(raw: bytes) -> None:
    raw = raw[:64] + bytes((27 + raw[64] % 2,))
    try:
        signature = parse_signature(raw.hex())
    except FormatError:
        return
    try:
        expected: str | None = Account.recover_message(encode_defunct(MESSAGE), signature=raw)
    except Exception:  # noqa: BLE001  (the oracle raises several types)
        expected = None
    try:
        found: str | None = checksummed(address_of(recover(signature, eip191_digest(MESSAGE))))
    except RecoveryFailed:
        found = None
    assert found == expected


@pytest.mark.parametrize("prefix", ["", "0x"])
@pytest.mark.parametrize("shift", [0, 27])
def test_parse_signature_tolerated_spelling_is_read(prefix: str, shift: int) -> None:
    raw = bytes.fromhex(signed(MESSAGE))
    text = prefix + (raw[:64] + bytes((raw[64] - 27 + shift,))).hex()
    assert parse_signature(text) == parse_signature(raw.hex())


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        (signed(MESSAGE)[:128], 0),
        (signed(MESSAGE) + "00", 0),
        ("", 0),
        ("0X" + signed(MESSAGE), 0),
        (" " + signed(MESSAGE)[1:], 0),
        (signed(MESSAGE)[:-2] + "1d", 64),
        (signed(MESSAGE)[:-2] + "02", 64),
        (encoded(r=0, s=1, v=27), 0),
        (encoded(r=ORDER, s=1, v=27), 0),
        (encoded(r=1, s=0, v=27), 32),
        (encoded(r=1, s=ORDER, v=27), 32),
        (encoded(r=1, s=ORDER // 2 + 1, v=27), 32),
    ],
)
def test_parse_signature_other_spelling_is_refused(text: str, offset: int) -> None:
    with pytest.raises(FormatError) as caught:
        parse_signature(text)
    assert caught.value.offset == offset


def test_parse_signature_highest_low_s_is_read() -> None:
    assert parse_signature(encoded(r=ORDER - 1, s=ORDER // 2, v=1)).s == ORDER // 2


def test_recover_r_that_is_no_x_coordinate_fails() -> None:
    # x = 5 is not on the curve
    with pytest.raises(RecoveryFailed):
        recover(Signature(r=5, s=1, recovery=0), bytes(32))


def test_public_key_and_address_agree_with_the_oracle() -> None:
    key = ACCOUNT._key_obj.public_key.to_bytes()
    assert checksummed(address_of(PublicKey(key))) == ACCOUNT.address


@pytest.mark.parametrize("prefix", ["", "04"])
def test_parse_public_key_both_spellings_are_read(prefix: str) -> None:
    key = ACCOUNT._key_obj.public_key.to_bytes()
    assert parse_public_key(prefix + key.hex()) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "02" + "11" * 32,
        "05" + "11" * 64,
        "0x" + "11" * 64,
        "zz" * 64,
        "11" * 64,  # no point of the curve
    ],
)
def test_parse_public_key_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_public_key(text)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=20, max_size=20))
def test_checksummed_equals_the_oracle(raw: bytes) -> None:
    text = checksummed(Address(raw))
    assert text == to_checksum_address(raw)
    assert parse_address(text) == parse_address(text.lower())


def test_parse_address_wrong_checksum_is_flagged_not_refused() -> None:
    right = ACCOUNT.address
    swapped = "0x" + right[2:].swapcase()
    assert not parse_address(right).checksum_wrong
    assert not parse_address("0x" + right[2:].upper()).checksum_wrong
    assert parse_address(swapped).checksum_wrong
    assert parse_address(swapped).value == parse_address(right).value


@pytest.mark.parametrize("text", ["", "0x", "0x" + "1" * 39, "1" * 42, "0x" + "g" * 40])
def test_parse_address_other_spelling_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        parse_address(text)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=140))
def test_parsers_any_text_gives_a_value_or_a_format_error(text: str) -> None:
    for parse in (parse_signature, parse_address, parse_public_key):
        try:
            parse(text)
        except FormatError:
            continue
