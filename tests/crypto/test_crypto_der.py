"""The strict DER walk: one encoding of everything, every other refused."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.crypto import der
from verify.engine.errors import FormatError


def whole(text: str, tag: int) -> tuple[bytes, der.Element]:
    data = bytes.fromhex(text)
    return data, der.whole(data, tag, "it")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "3001",
        "30020500" + "00",
        "3080",
        "3081",
        "308100",
        "30817f" + "00" * 127,
        "308200ff" + "00" * 255,
        "308201",
        "30830000010000",
        "1f0100",
        "3082ffff00",
        "0400",
    ],
)
def test_der_element_that_is_not_in_its_one_form_is_refused(text):
    with pytest.raises(FormatError) as error:
        whole(text, der.SEQUENCE)
    assert 0 <= error.value.offset <= len(text) // 2


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535])
def test_der_length_is_read_in_every_form(size):
    if size < 128:
        head = bytes((0x04, size))
    elif size < 256:
        head = bytes((0x04, 0x81, size))
    else:
        head = b"\x04\x82" + size.to_bytes(2, "big")
    data = head + bytes(size)
    found = der.whole(data, der.OCTET_STRING, "it")
    assert der.value(data, found) == bytes(size)
    assert der.outer(data, found) == data


def test_der_children_fill_their_parent_and_are_limited():
    data = bytes.fromhex("3006050005000500")
    found = der.whole(data, der.SEQUENCE, "it")
    assert len(der.children(data, found)) == 3
    with pytest.raises(FormatError, match="more than 2"):
        der.children(data, found, limit=2)
    data = bytes.fromhex("30030500ff")
    with pytest.raises(FormatError):
        der.children(data, der.whole(data, der.SEQUENCE, "it"))


@pytest.mark.parametrize(
    ("text", "number"),
    [("020100", 0), ("02017f", 127), ("020200d9", 217), ("02020100", 256)],
)
def test_der_natural_in_shortest_form_is_read(text, number):
    data, found = whole(text, der.INTEGER)
    assert der.natural(data, found, "it", size=2) == number


@pytest.mark.parametrize("text", ["0200", "0201ff", "02020001", "0203010000", "0401ff"])
def test_der_natural_in_any_other_form_is_refused(text):
    data = bytes.fromhex(text)
    with pytest.raises(FormatError):
        der.natural(data, der.element_at(data, 0, len(data)), "it", size=2)


@pytest.mark.parametrize("text", ["010100", "010101", "0100", "0102ffff", "0201ff"])
def test_der_truth_in_any_form_but_one_is_refused(text):
    data = bytes.fromhex(text)
    with pytest.raises(FormatError):
        der.truth(data, der.element_at(data, 0, len(data)), "it")
    yes = bytes.fromhex("0101ff")
    assert der.truth(yes, der.element_at(yes, 0, 3), "it")


def test_der_bits_with_unused_bits_are_refused():
    data, found = whole("030200ff", der.BIT_STRING)
    assert der.bits(data, found, "it") == b"\xff"
    for text in ("030201fe", "0300"):
        data, found = whole(text, der.BIT_STRING)
        with pytest.raises(FormatError, match="unused bits"):
            der.bits(data, found, "it")


def time(tag: int, text: str) -> datetime:
    data = bytes((tag, len(text))) + text.encode()
    return der.instant(data, der.element_at(data, 0, len(data)), "it")


@pytest.mark.parametrize(
    ("tag", "text", "year"),
    [
        (der.UTC_TIME, "490203040506Z", 2049),
        (der.UTC_TIME, "500203040506Z", 1950),
        (der.GENERALIZED_TIME, "20510203040506Z", 2051),
    ],
)
def test_der_time_is_read_in_its_two_forms(tag, text, year):
    assert time(tag, text) == datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (der.UTC_TIME, "4902030405Z"),
        (der.UTC_TIME, "490203040506"),
        (der.UTC_TIME, "490203040506+"),
        (der.UTC_TIME, "49020304050xZ"),
        (der.UTC_TIME, "491303040506Z"),
        (der.UTC_TIME, "490230040506Z"),
        (der.UTC_TIME, "490203040560Z"),
        (der.GENERALIZED_TIME, "490203040506Z"),
        (der.GENERALIZED_TIME, "00000203040506Z"),
        (der.OCTET_STRING, "490203040506Z"),
    ],
)
def test_der_time_in_any_other_form_is_refused(tag, text):
    with pytest.raises(FormatError):
        time(tag, text)


@given(data=st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_der_any_bytes_give_elements_or_a_format_error(data):
    try:
        found = der.element_at(data, 0, len(data))
        inside = der.children(data, found)
    except FormatError:
        return
    for child in inside:
        assert found.inside <= child.start <= child.inside <= child.stop <= found.stop
        for read in (der.bits, der.truth, der.instant):
            with suppress(FormatError):
                read(data, child, "it")
