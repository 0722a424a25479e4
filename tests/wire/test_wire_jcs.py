"""Canonical JSON: the examples of RFC 8785 and the edges of its numbers."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest

from verify.engine.errors import FormatError
from verify.wire.jcs import canonical
from verify.wire.strict_json import parse_evidence

NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}
"""Bits of a double and its text: appendix B of RFC 8785."""


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_jcs_double_is_written_as_ecmascript_writes_it(bits, text):
    (double,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(Decimal(double)) == text.encode()


def test_jcs_example_of_the_standard_gives_its_text():
    body = rb"""{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"""
    wanted = (
        '{"literals":[null,true,false],'
        '"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        r'"string":"€$\u000f\nA' + "'" + r'B\"\\\\\"/"}'
    )
    assert canonical(parse_evidence(body)) == wanted.encode()


def test_jcs_members_are_sorted_by_utf16_units():
    value = {"\ufb33": 1, "\U0001f600": 2, "\u20ac": 3, "\r": 4, "1": 5, "\u0080": 6, "ö": 7}
    assert list(parse_evidence(canonical(value))) == [
        "\r", "1", "\u0080", "ö", "\u20ac", "\U0001f600", "\ufb33",
    ]  # fmt: skip


def test_jcs_empty_containers_and_nesting_keep_their_form():
    assert canonical({"b": [], "a": {}, "c": [[1], {"d": -2}]}) == (
        b'{"a":{},"b":[],"c":[[1],{"d":-2}]}'
    )


@pytest.mark.parametrize("value", [2**53, -(2**53), Decimal("1e400")])
def test_jcs_number_that_no_double_holds_is_refused(value):
    with pytest.raises(FormatError, match="no double holds"):
        canonical([value])
