"""The closed YAML grammar of verification.md 5: what is read, and everything that is refused."""

from __future__ import annotations

import contextlib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.policy import closed_yaml
from verify.policy.closed_yaml import MAX_BYTES, MAX_DEPTH, YamlRefusal, parse_yaml


def refusal(data: bytes) -> YamlRefusal:
    with pytest.raises(YamlRefusal) as caught:
        parse_yaml(data)
    return caught.value


@pytest.fixture(params=["libyaml", "python"])
def either_parser(request, monkeypatch):
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    return request.param


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: true", True),
        ("a: false", False),
        ("a: 0", 0),
        ("a: 17", 17),
        ("a: 9999999999999999", 9999999999999999),
        ("a: UpToDate", "UpToDate"),
        ("a: _x", "_x"),
        ("a: dstack-flat", "dstack-flat"),
        ("a: name:capture-2026", "name:capture-2026"),
        ("a: e702060000000000", "e702060000000000"),
        ("a: application/json", "application/json"),
        ('a: "no"', "no"),
        ("a: '1.5'", "1.5"),
        ('a: ""', ""),
        ("a: []", []),
        ("a: {}", {}),
        ("a: [1, b]", [1, "b"]),
        ("a:\n  - 1\n  - {b: c}\n", [1, {"b": "c"}]),
        ("---\na: b\n...\n", "b"),
        ("a: b\r\n", "b"),
        ("a: b  # said twice\n", "b"),
        ('a: "Grüße"', "Grüße"),
    ],
)
def test_yaml_unambiguous_value_is_read(either_parser, text, value):
    assert parse_yaml(text.encode()).value == {"a": value}


@pytest.mark.parametrize(
    "plain",
    [
        "yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF", "y", "Y", "n", "N",
        "null", "Null", "NULL", "~", "nan", "NaN", "inf", "Inf", ".nan", ".inf", "-.inf", "True", "TRUE", "False", "FALSE",
        "1.5", "0123", "00", "0x1f", "0o17", "0b1", "1e3", "1_000", "-1", "+1", "12345678901234567", "1:30",
        "2026-01-01", "2026-01-01T00:00:00Z", "0123456789abcdef", "44a0196b", "a b", "a,b", "a@b", "=", "<<", "Grüße",
        "a#b", "*", "10.0.0.1", "a+b", "a(b)",
    ],
)  # fmt: skip
def test_yaml_ambiguous_plain_scalar_is_refused_and_says_quote(either_parser, plain):
    if plain == "*":
        assert refusal(f"a: {plain}".encode()).code == "input.yaml"
        return
    found = refusal(f"x: 1\na: {plain}\n".encode())
    assert found.code == "input.yaml"
    assert "quote this" in found.what
    assert (found.line, found.pointer) == (2, "/a")


@pytest.mark.parametrize("text", ["a:", "a:\nb: 1", "a: [1,\n , 2]", "- "])
def test_yaml_missing_value_is_refused(text):
    assert refusal(text.encode()).code == "input.yaml"


@pytest.mark.parametrize(
    ("text", "code", "word", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", "input.duplicate_member", "twice", 3),
        ('a: 1\n"a": 2\n', "input.duplicate_member", "twice", 2),
        ('a: 1\n"\\x61": 2\n', "input.duplicate_member", "twice", 2),
        ("a: {b: 1, b: 2}\n", "input.duplicate_member", "twice", 1),
        ("a: &x 1\n", "input.yaml", "anchors", 1),
        ("a: &x [1]\nb: 1\n", "input.yaml", "anchors", 1),
        ("&x a: 1\n", "input.yaml", "anchors", 1),
        ("a: *x\n", "input.yaml", "aliases", 1),
        ("a: !!str 1\n", "input.yaml", "tags", 1),
        ("a: !local {b: 1}\n", "input.yaml", "tags", 1),
        ('a: !!python/object/apply:os.system ["id"]\n', "input.yaml", "tags", 1),
        ("<<: {a: 1}\n", "input.yaml", "quote", 1),
        ('"<<": {a: 1}\n', "input.yaml", "keys", 1),
        ("%YAML 1.2\n---\na: 1\n", "input.yaml", "directives", 1),
        ("%TAG ! tag:x,2026:\n---\na: 1\n", "input.yaml", "directives", 1),
        ("a: 1\n---\nb: 2\n", "input.yaml", "one document", 2),
        ("a:\t1\n", "input.yaml", "tabs", 1),
        ('a: 1\nb: "x\ty"\n', "input.yaml", "tabs", 2),
        ("Aa: 1\n", "input.yaml", "keys", 1),
        ("a-b: 1\n", "input.yaml", "keys", 1),
        ("a.b: 1\n", "input.yaml", "keys", 1),
        ("_a: 1\n", "input.yaml", "keys", 1),
        ("1: 1\n", "input.yaml", "keys", 1),
        ("true: 1\n", "input.yaml", "keys", 1),
        ("y: 1\n", "input.yaml", "quote", 1),
        ('"": 1\n', "input.yaml", "keys", 1),
        ("? [a]\n: 1\n", "input.yaml", "keys", 1),
        ("? {a: 1}\n: 1\n", "input.yaml", "keys", 1),
        ("a: [1\n", "input.yaml", "", 2),
        ("a: 'x\n", "input.yaml", "", 2),
        ("a: 1\n b: 2\n", "input.yaml", "", 1),
        ("a: \u0085b\n", "input.yaml", "U+0085", 1),
        ('x: 1\na: "\u2028"\n', "input.yaml", "U+2028", 2),
        ('a: "\u202e"\n', "input.yaml", "U+202E", 1),
        ("\ufeffa: 1\n", "input.yaml", "U+FEFF", 1),
        ("a: 1\rb: 2\n", "input.yaml", "U+000D", 1),
        ("a: \x00\n", "input.yaml", "U+0000", 1),
        ("", "input.empty", "empty", 0),
        (" \n\n", "input.empty", "empty", 0),
        ("# nothing but a comment\n", "input.empty", "no document", 0),
    ],
)  # fmt: skip
def test_yaml_outside_the_grammar_is_refused_with_its_line(either_parser, text, code, word, line):
    found = refusal(text.encode())
    assert found.code == code
    assert word in found.what
    assert found.line == line


def test_yaml_bytes_that_are_not_utf8_are_refused_with_their_line():
    found = refusal(b"a: 1\nb: \xff\n")
    assert (found.code, found.line) == ("input.encoding", 2)


def test_yaml_utf16_is_refused():
    assert refusal("a: 1\n".encode("utf-16")).code == "input.encoding"


def test_yaml_at_the_size_limit_is_read_and_one_byte_more_refused():
    text = b"a: 1\n#"
    assert parse_yaml(text + b"x" * (MAX_BYTES - len(text))).value == {"a": 1}
    assert refusal(text + b"x" * (MAX_BYTES - len(text) + 1)).code == "input.too_large"


def test_yaml_at_the_depth_limit_is_read_and_one_more_refused(either_parser):
    inner = MAX_DEPTH - 1
    assert parse_yaml(b"a: " + b"[" * inner + b"]" * inner)
    found = refusal(b"a: " + b"[" * (inner + 1) + b"]" * (inner + 1))
    assert found.code == "input.depth"


@pytest.mark.parametrize("bomb", [b"[" * 200_000, b"{a: " * 60_000, b"- " * 100_000])
def test_yaml_nesting_bomb_is_refused(bomb):
    assert refusal(bomb).code in ("input.depth", "input.yaml")


def test_yaml_lines_name_the_place_of_every_value(example_bytes):
    parsed = parse_yaml(example_bytes)
    lines = example_bytes.decode().split("\n")
    assert lines[parsed.lines["/profile"] - 1].startswith("profile:")
    assert "mr_td:" in lines[parsed.lines["/tdx/sets/0/values/mr_td"] - 1]
    assert "/tdx/fields/?" not in parsed.lines


def test_yaml_of_the_library_agrees_on_the_example(example_bytes):
    """What our reader reads is what the library's own loader reads."""
    assert parse_yaml(example_bytes).value == yaml.safe_load(example_bytes)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass")),
    )
)
def test_yaml_any_bytes_give_a_document_or_a_refusal(data):
    with contextlib.suppress(YamlRefusal):
        parse_yaml(data)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab:-?[]{}, \n'\"#&*!|>%@`01.\\~", max_size=60))
def test_yaml_hostile_punctuation_gives_a_document_or_a_refusal(text):
    for loader in ("CSafeLoader", "SafeLoader"):
        found = closed_yaml._Constructor(yaml.parse(text, Loader=getattr(yaml, loader)))
        with contextlib.suppress(YamlRefusal, yaml.YAMLError):
            found.document()
