"""Strict JSON: what is read, what is refused, with which code, at what price."""

from __future__ import annotations

import json
import resource
import string
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.engine.errors import FormatError
from verify.wire import limits, strict_json
from verify.wire.strict_json import (
    JsonError,
    Profile,
    parse,
    parse_evidence,
    parse_own,
    pointer_get,
    span,
)

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 1 << 20
BOTH = pytest.mark.parametrize("profile", list(Profile))


def refused(data: bytes, profile: Profile = Profile.EVIDENCE, limit: int = LIMIT) -> JsonError:
    with pytest.raises(JsonError) as caught:
        parse(data, profile=profile, limit=limit)
    return caught.value


@BOTH
@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"null", None),
        (b" \t\r\n true \n", True),
        (b"0", 0),
        (b"-1", -1),
        (b"9007199254740991", 2**53 - 1),
        (b"-9007199254740991", -(2**53) + 1),
        (b'""', ""),
        (b'"\\u00e9\\ud83d\\ude00\\/\\\\"', "é😀/\\"),
        ("é😀".join('""').encode(), "é😀"),
        (b"[]", []),
        (b"{}", {}),
        (b'{"a":[1,{"b":null}]}', {"a": [1, {"b": None}]}),
    ],
)
def test_json_of_either_profile_is_read(profile, data, wanted):
    assert parse(data, profile=profile, limit=LIMIT) == wanted


@BOTH
@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b"[1 2]",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"nul",
        b"1 1",
        b'"a" // no',
        b"'a'",
        b"{a:1}",
        b'"\x01"',
        b'"\n"',
        b'"\\x41"',
        b'"abc',
        b'"abc\\',
        b"\x00",
        b"]",
        b"   ",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\ud83d":1}',
        b'[["\\ud83dx"]]',
    ],
)
def test_json_that_is_none_is_refused(profile, data):
    assert refused(data, profile).code == "input.json"


@BOTH
@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-32"),
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'"\xf5\x80\x80\x80"',
        b'"\xe2\x82',
    ],
)
def test_json_in_another_encoding_is_refused(profile, data):
    assert refused(data, profile).code == "input.encoding"


@BOTH
@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'[{"x":{"a":1,"b":2,"a":3}}]',
        b'{"":1,"":2}',
    ],
)
def test_json_member_that_stands_twice_is_refused(profile, data):
    assert refused(data, profile).code == "input.duplicate_member"


@pytest.mark.parametrize(
    "data", [b"1.5", b"1e3", b"-0", b"9007199254740992", b"-9007199254740992", b"1E400", b"1" * 99]
)
def test_json_number_that_is_no_safe_integer_is_refused_in_our_documents(data):
    assert refused(data, Profile.OWN).code == "input.json"


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"1.50", Decimal("1.50")),
        (b"1e400", Decimal("1e400")),
        (b"-0", Decimal("-0")),
        (b"9007199254740993", 9007199254740993),
        (b"0.1", Decimal("0.1")),
        (b"9" * 64, int("9" * 64)),
    ],
)
def test_json_number_of_a_third_party_is_kept_exactly(data, wanted):
    found = parse_evidence(data)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize("data", [b"9" * 65, b"0." + b"1" * 64, b"1e" + b"9" * 40])
def test_json_number_beyond_any_use_is_refused(data):
    assert refused(data).code == "input.json"


def test_json_control_characters_stand_only_where_lines_are_allowed():
    data = b'{"data":"a\\tb\\nc\\r","list":["x\\n"],"other":"d"}'
    assert parse_own(data, limit=LIMIT, lines=("data", "list")) == {
        "data": "a\tb\nc\r",
        "list": ["x\n"],
        "other": "d",
    }
    for changed in (b'{"data":"\\u0000"}', b'{"data":"\\b"}', b'{"data":"\\u001F"}'):
        with pytest.raises(JsonError) as caught:
            parse_own(changed, limit=LIMIT, lines=("data",))
        assert caught.value.path == "/data"
    with pytest.raises(JsonError) as caught:
        parse_own(b'{"data":{"below":"\\n"}}', limit=LIMIT, lines=("data",))
    assert caught.value.path == "/data/below"
    with pytest.raises(JsonError):
        parse_own(b'{"a\\nb":1}', limit=LIMIT, lines=("a\nb",))
    assert parse_evidence(b'"\\u0000\\n"') == "\x00\n"


def test_json_escapes_without_harm_are_read_in_our_documents():
    data = b'{"a":"\\\\n \\\\ud800 \\" \\u0041"}'
    assert parse_own(data, limit=LIMIT) == {"a": '\\n \\ud800 " A'}


@pytest.mark.parametrize(
    ("profile", "depth"),
    [(Profile.OWN, limits.OWN_DEPTH), (Profile.EVIDENCE, limits.EVIDENCE_DEPTH)],
)
def test_json_is_nested_as_deep_as_its_profile_allows_and_no_deeper(profile, depth):
    fits = b"[" * depth + b"]" * depth
    assert parse(fits, profile=profile, limit=LIMIT) is not None
    assert refused(b"[" * (depth + 1) + b"]" * (depth + 1), profile).code == "input.depth"
    assert refused(b"[" * (depth + 1), profile).code == "input.depth"
    mixed = b'{"a":[' * (depth // 2) + b"]}" * (depth // 2)
    assert parse(mixed, profile=profile, limit=LIMIT) is not None
    assert refused(b"[" * depth, profile).code == "input.json"


def test_json_brackets_inside_strings_are_no_nesting():
    text = '[[["' + "[{" * 500 + '\\"]" , "}\\\\"]]]'
    assert parse_own(text.encode(), limit=LIMIT) is not None


def test_json_has_as_many_values_as_allowed_and_no_more():
    count = limits.NODES - 1
    assert len(parse_own(b"[" + b"0," * (count - 1) + b"0]", limit=LIMIT)) == count
    assert refused(b"[" + b"0," * count + b"0]", Profile.OWN).code == "input.count"
    empties = b"[" + b"[ ]," * (count - 1) + b"{\n}]"
    assert len(parse_own(empties, limit=4 * LIMIT)) == count


def test_json_outside_its_size_is_refused():
    assert refused(b"").code == "input.empty"
    assert refused(b" " * 11, limit=10).code == "input.too_large"
    assert parse(b'"' + b"a" * 8 + b'"', profile=Profile.OWN, limit=10) == "a" * 8


def test_json_member_name_of_a_third_party_is_bounded():
    assert parse_evidence(b'{"%s":1}' % (b"a" * 1024)) == {"a" * 1024: 1}
    assert refused(b'{"%s":1}' % (b"a" * 1025)).code == "input.json"


def test_json_error_names_the_byte_behind_other_characters():
    assert refused('["é😀",]'.encode()).offset == len('["é😀",'.encode())


def test_json_strings_across_the_scanner_slices_are_seen_once():
    # A run of backslashes and a string end exactly at a slice's edge.
    for fill in range(-4, 5):
        body = "x" * ((1 << 20) + fill) + '\\\\\\"[[[' + "\\\\" * 3
        assert parse_own(f'["{body}",[1]]'.encode(), limit=1 << 22) is not None
    body = '"' + "\\\\" * (1 << 20) + '"'
    assert parse_own(body.encode(), limit=1 << 22) == "\\" * (1 << 20)
    wide = "é" * (1 << 20)
    assert parse_own(f'"{wide}"'.encode(), limit=1 << 22) == wide
    seam = b" " * ((1 << 20) - 1) + b"[" + b"]"
    assert parse_own(seam, limit=1 << 22) == []


HOSTILE = {
    "deep": b"[" * (1 << 20),
    "deep and closed": b"[" * 10**6 + b"]" * 10**6,
    "deep objects": b'{"a":' * 10**6,
    "values": b"[" + b"1," * (20 << 20) + b"1]",
    "one member twice among many": b"{"
    + b",".join(b'"a%d":1' % i for i in (*range(390_000), 389_999))
    + b"}",
    "members": b"{" + b",".join(b'"a%d":1' % i for i in range(10**6)) + b"}",
    "strings": b"[" + b'"",' * (16 << 20) + b'""]',
    "an open string of quotes": b'"' + b'\\"' * (31 << 20),
    "closers": b"]" * (63 << 20),
    "a long number": b"1" * (63 << 20),
    "blanks": b" " * (63 << 20),
    "zero bytes": b"\x00" * (63 << 20),
}
SCRIPT = """
import re, sys
from pathlib import Path
from verify.wire.strict_json import JsonError, parse_own
data = Path(sys.argv[1]).read_bytes()
try:
    parse_own(data, limit=64 << 20)
except JsonError as error:
    print(error.code, re.search(r"VmHWM:[^0-9]*([0-9]+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_json_bomb_is_refused_in_little_memory(name, tmp_path):
    """The whole process, interpreter and input included, stays below 200 MiB."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("the peak of one process is read from /proc, which is not here")
    file = tmp_path / "hostile.json"
    file.write_bytes(HOSTILE[name])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(file)], capture_output=True, check=True, cwd=ROOT
    )
    code, peak = done.stdout.split()
    assert code.decode() in {
        "input.depth",
        "input.count",
        "input.json",
        "input.duplicate_member",
    }
    assert int(peak) < 200 << 10


def test_json_beyond_the_limit_is_not_looked_at():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    class Huge(bytes):
        def __len__(self) -> int:
            return 1 << 30

    assert refused(Huge(b"{"), limit=64 << 20).code == "input.too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


@BOTH
@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=64))
def test_json_of_any_bytes_gives_a_value_or_its_one_error(profile, data):
    try:
        found = parse(data, profile=profile, limit=LIMIT)
    except JsonError:
        return
    assert json.loads(data, parse_float=Decimal) == found


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXT, below, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None)
@given(value=VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_json_written_by_another_writer_is_read_back(value, ascii_only, indent):
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert parse_evidence(data) == value
    start, stop = span(data, "")
    assert json.loads(data[start:stop]) == value


def every_pointer(value, path=""):
    yield path, value
    if isinstance(value, dict):
        for name, below in value.items():
            yield from every_pointer(below, path + "/" + name.replace("~", "~0").replace("/", "~1"))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from every_pointer(below, f"{path}/{index}")


@settings(max_examples=100, deadline=None)
@given(value=VALUES, ascii_only=st.booleans())
def test_span_gives_the_source_of_what_the_pointer_names(value, ascii_only):
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    for pointer, below in every_pointer(value):
        if len(pointer) > 1000:
            continue
        assert pointer_get(value, pointer) == below
        start, stop = span(data, pointer)
        assert json.loads(data[start:stop]) == below
        assert data[start:stop] == data[start:stop].strip()


@settings(max_examples=200, deadline=None)
@given(
    data=st.text(alphabet='{}[]",:\\ 01ae', max_size=30),
    pointer=st.text(alphabet="/~01ae", max_size=8),
)
def test_span_of_any_bytes_gives_a_place_or_a_format_error(data, pointer):
    try:
        start, stop = span(data.encode(), pointer)
    except FormatError:
        return
    assert 0 <= start < stop <= len(data)


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        (b'{"a":1}', "/b"),
        (b'{"a":1}', "/a/b"),
        (b"[1]", "/1"),
        (b"[1]", "/01"),
        (b"[1]", "/-"),
        (b"[1]", "/a"),
        (b'{"a":1,"a":2}', "/a"),
        (b"{}", "/a"),
        (b"[]", "/0"),
        (b'{"a" 1}', "/a"),
        (b'{"a":1', "/a"),
        (b'{"a":1 "b":2}', "/b"),
        (b"{1:2}", "/1"),
        (b'{"\\x":1}', "/x"),
        (b'{"a":}', "/a"),
        (b"", ""),
    ],
)
def test_span_of_what_is_not_there_once_is_refused(data, pointer):
    with pytest.raises(FormatError):
        span(data, pointer)


@pytest.mark.parametrize(
    "pointer", ["/b", "/a/0", "/l/2", "/l/00", "/l/-", "/s/0", "a", "/~2", "/l/x"]
)
def test_pointer_to_what_is_not_there_is_refused(pointer):
    with pytest.raises(FormatError):
        pointer_get({"a": 1, "l": [1, 2], "s": "text"}, pointer)


def test_pointer_escapes_name_slash_and_tilde():
    assert pointer_get({"a/b": {"~1": 3}}, "/a~1b/~01") == 3
    assert span(b'{"a/b":{"~1":3}}', "/a~1b/~01") == (13, 14)


def test_own_profile_reads_what_the_standard_reader_reads():
    for text in string.printable:
        data = json.dumps(text).encode()
        try:
            assert parse_own(data, limit=LIMIT) == text
        except JsonError:
            assert ord(text) < 0x20


def test_json_remembered_documents_are_bounded_and_read_as_if_new():
    strict_json.forget()
    documents = [b'{"a": [%d, "%s"]}' % (n, b"x" * 100_000) for n in range(12)]
    first = [strict_json.parse_evidence(data) for data in documents]
    assert sum(map(len, strict_json._KEPT)) <= strict_json._KEPT_BYTES
    assert documents[-1] in strict_json._KEPT
    assert documents[0] not in strict_json._KEPT
    again = [strict_json.parse_evidence(data) for data in (*documents, *documents[-2:])]
    strict_json.forget()
    fresh = [strict_json.parse_evidence(data) for data in documents]
    assert first == again[:12] == fresh
    assert again[12:] == fresh[-2:]


def test_json_remembered_document_is_still_refused_beyond_a_smaller_limit():
    data = b'["' + b"x" * 2000 + b'"]'
    strict_json.parse_evidence(data)
    with pytest.raises(JsonError) as caught:
        strict_json.parse_evidence(data, limit=1500)
    assert caught.value.code == "input.too_large"


def test_json_refusals_are_not_remembered():
    data = b'{"a": 1, "b": "' + b"x" * 2000 + b'", "a": 1}'
    for _ in range(2):
        with pytest.raises(JsonError) as caught:
            strict_json.parse_evidence(data)
        assert caught.value.code == "input.duplicate_member"
