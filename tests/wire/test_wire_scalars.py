"""Base64, hex, times, ids, digests, URLs, pointers: one text for one value."""

from __future__ import annotations

import base64 as standard
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.engine.errors import FormatError
from verify.wire import base64, limits, scalars


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_base64_and_hex_come_back_and_agree_with_the_standard_ones(data):
    assert base64.decode(base64.encode(data)) == data
    assert base64.encode(data) == standard.b64encode(data).decode()
    assert base64.decode_url(base64.encode_url(data)) == data
    if data:
        assert base64.decode_hex(data.hex()) == data
        assert base64.decode_foreign_hex("0x" + data.hex().upper(), size=len(data)) == data


@pytest.mark.parametrize(
    "text",
    ["A", "AA", "AAA", "AA=", "A===", "AB==", "AAB=", "AA==AA==", "AA==\n", " AAA", "AA A", "A-__",
     "====", "AAAA=", "AAAA====", "é===", "AA=A"],
)  # fmt: skip
def test_base64_that_is_not_canonical_is_refused(text):
    with pytest.raises(FormatError):
        base64.decode(text)


@pytest.mark.parametrize("text", ["A", "AB", "AAB", "AA==", "AA+/", "AA\n", "AAAAA", "é"])
def test_base64url_that_is_not_canonical_is_refused(text):
    with pytest.raises(FormatError):
        base64.decode_url(text)


@pytest.mark.parametrize("text", ["", "0", "AB", "0x00", "zz", "00\n", "0 0", "\u0660\u0660"])
def test_hex_that_is_not_canonical_is_refused(text):
    with pytest.raises(FormatError):
        base64.decode_hex(text)


@pytest.mark.parametrize("text", ["", "0x", "0X00", "zz", "0", "0x0", "00 "])
def test_hex_of_a_third_party_that_is_none_is_refused(text):
    with pytest.raises(FormatError):
        base64.decode_foreign_hex(text)


def test_hex_of_another_length_is_refused():
    with pytest.raises(FormatError):
        base64.decode_hex("00", size=2)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=12))
def test_decoders_of_any_text_give_bytes_or_a_format_error(text):
    for decode in (
        base64.decode,
        base64.decode_url,
        base64.decode_hex,
        base64.decode_foreign_hex,
        scalars.parse_time,
        scalars.parse_digest,
        scalars.parse_local_id,
        scalars.parse_url,
        scalars.parse_pointer,
    ):
        try:
            decode(text)
        except FormatError:
            continue


def test_time_is_read_and_written_in_one_form():
    text = "2026-11-21T06:10:03.120Z"
    found = scalars.parse_time(text)
    assert found == datetime(2026, 11, 21, 6, 10, 3, 120000, UTC)
    assert scalars.format_time(found) == text
    east = found.astimezone(timezone(timedelta(hours=5)))
    assert scalars.format_time(east) == text
    with pytest.raises(ValueError, match="time zone"):
        scalars.format_time(found.replace(tzinfo=None))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-21T06:10:03Z",
        "2026-11-21T06:10:03.120",
        "2026-11-21T06:10:03.120+00:00",
        "2026-11-21 06:10:03.120Z",
        "2026-11-21T06:10:03.120Z\n",
        "2026-02-30T06:10:03.120Z",
        "2026-11-21T24:00:00.000Z",
        "2026-11-21T06:10:60.000Z",
        "1999-12-31T23:59:59.999Z",
        "9999-01-01T00:00:00.000Z",
        "٢٠٢٦-11-21T06:10:03.120Z",
    ],
)
def test_time_that_no_calendar_or_grammar_has_is_refused(text):
    with pytest.raises(FormatError):
        scalars.parse_time(text)


def test_digest_and_id_are_read():
    text = "sha256:" + "0a" * 32
    assert scalars.parse_digest(text) == text
    assert (
        scalars.digest_of(b"")
        == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert scalars.parse_local_id("a" * 64) == "a" * 64


@pytest.mark.parametrize("text", ["sha256:" + "0A" * 32, "0a" * 32, "sha256:" + "0a" * 32 + "\n"])
def test_digest_in_another_form_is_refused(text):
    with pytest.raises(FormatError):
        scalars.parse_digest(text)


@pytest.mark.parametrize("text", ["", "1a", "A", "a_b", "a" * 65, "a\n", "-a"])
def test_id_in_another_form_is_refused(text):
    with pytest.raises(FormatError):
        scalars.parse_local_id(text)


@pytest.mark.parametrize(
    "text", ["https://api.example/v1?key={redacted}", "http://127.0.0.1:8000", "https://[::1]/a@b"]
)
def test_url_is_read(text):
    assert scalars.parse_url(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://a",
        "https://",
        "https:///path",
        "https://user@host/",
        "https://host/#part",
        "https://host/ä",
        "https://host/a b",
        "https://host/\n",
        "https://host/" + "a" * scalars.URL_LIMIT,
    ],
)
def test_url_with_more_than_a_bundle_may_keep_is_refused(text):
    with pytest.raises(FormatError):
        scalars.parse_url(text)


def test_pointer_is_split_and_bounded():
    assert scalars.parse_pointer("") == ()
    assert scalars.parse_pointer("/a~1b/~0/") == ("a/b", "~", "")
    assert scalars.pointer_token("a/b~c") == "a~1b~0c"
    for text in ("a", "/~", "/~2", "/" + "a" * 1024):
        with pytest.raises(FormatError):
            scalars.parse_pointer(text)
    assert scalars.parse_index("0") == 0
    assert scalars.parse_index("00") is None


def test_limits_are_raised_to_their_hard_bound_and_no_further():
    assert limits.Limits(packed_file=512 * limits.MIB).packed_file == 512 * limits.MIB
    for name, value in (
        ("packed_file", 512 * limits.MIB + 1),
        ("payload", 16 * limits.MIB + 1),
        ("inline_blob", 64 * limits.MIB + 1),
        ("external_blob", 4 * limits.GIB + 1),
        ("payload", 0),
    ):
        with pytest.raises(ValueError, match=name):
            limits.Limits(**{name: value})
