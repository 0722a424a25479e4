"""The reader of the plain layout: never another value than the library's reader gives.

It may hand a document on (None); what it reads must be what `closed_yaml` reads. Source:
verification.md 5.
"""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.build import HERE
from verify.engine.errors import MalformedInput
from verify.policy import closed_yaml, loader
from verify.policy.closed_yaml import parse_yaml
from verify.policy.loader import default_bytes, default_names, load_policy
from verify.policy.plain_yaml import MAX_BYTES, plain_value

ALPHABET = "ab1_ :-?[]{},\n'\"#&*!|>%@`.\\~\t"
GOOD = sorted((HERE / "bundles").glob("*.policy.yaml"))


def agree(data: bytes) -> bool:
    """Whether the plain reader read it; then both libraries must read the very same."""
    found = plain_value(data)
    if found is not None:
        text = data.decode()
        for library in ("CSafeLoader", "SafeLoader"):
            events = yaml.parse(text, Loader=getattr(yaml, library))
            assert repr(closed_yaml._Constructor(events).document()) == repr(found)
        assert repr(parse_yaml(data).value) == repr(found)
    return found is not None


@pytest.mark.parametrize("name", default_names())
def test_plain_every_default_is_read_without_the_library(name):
    assert agree(default_bytes(name))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.name)
def test_plain_every_written_policy_is_read_without_the_library(path):
    assert agree(path.read_bytes())


def test_plain_a_policy_is_loaded_without_importing_the_library():
    program = (
        "import sys; from verify.policy.loader import load_default;"
        "load_default('near-direct'); sys.exit('yaml' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('a: "x # y"  # z\n', {"a": "x # y"}),
        ("a:  # z\n  b: 1\n# y\nc: true", {"a": {"b": 1}, "c": True}),
        ("a:\n  - b: 1\n    c: [x, 2, {d: []}]\n  - {}\n", {"a": [{"b": 1, "c": ["x", 2, {"d": []}]}, {}]}),
        ("a: [ 1 , x ]   \n\n", {"a": [1, "x"]}),
        ("a: { b: 1 , c: {d: false} }\n", {"a": {"b": 1, "c": {"d": False}}}),
        ('a: "Grüße"\n', {"a": "Grüße"}),
        ('a:\n    - "x: y"\n    - z\n', {"a": ["x: y", "z"]}),
    ],
)  # fmt: skip
def test_plain_layout_is_read(text, value):
    assert plain_value(text.encode()) == value
    assert agree(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "", "# a\n", "a", "- a\n", " a: 1\n", "---\na: 1\n", "a: 1\n...\n", "%YAML 1.2\n---\na: 1\n",
        "a: b\n  c\n", "a: b\n  c: d\n", 'a: "b"\n  c\n', "a:\n- 1\n", "a:\n", "a: # b\n", "a:\n  - - 1\n", "a:\n  -\n",
        "a:\n  -  b\n", "a:\n  - b\n c\n", "a:\n    b: 1\n  c: 2\n", "a: 1\n b: 2\n", "a: 1\na: 2\n", "a: {b: 1, b: 2}\n",
        "a: {b: 1,}\n", "a: [1,]\n", "a: [,]\n", "a: [1\n]\n", "a: {b:1}\n", "a: {b : 1}\n", "a: [b: 1]\n", "a: [b c]\n", "a: [b #c]\n",
        "a: 'b'\n", 'a: "b\\n"\n', 'a: "b"c\n', 'a: "b"#c\n', 'a: "b" "c"\n', 'a: "b\n  c"\n', '"a": 1\n', "a:1\n", "a : 1\n",
        "a: yes\n", "a: 01\n", "a: 1.5\n", "a: -1\n", "a: ~\n", "a: b:c\n", "a: a b\n", "a: |\n  b\n", "a: >\n  b\n", "a: &b 1\n", "a: *b\n",
        "a: !!str 1\n", "y: 1\n", "A: 1\n", "true: 1\n", "? a\n: 1\n", "a:\t1\n", "a: 1\r\n", "a: 1\rb: 2\n", "\ufeffa: 1\n",
        'a: "\u2028"\n', f"{'a' * 65}: 1\n", "a: " + "[" * 9 + "]" * 9, "a:" + "".join("\n" + " " * n + "a:" for n in range(1, 9)) + " 1\n",
    ],
)  # fmt: skip
def test_plain_everything_else_is_left_to_the_library(text):
    assert plain_value(text.encode()) is None


def test_plain_bytes_beyond_the_limit_or_not_utf8_are_left_to_the_library():
    assert plain_value(b"a: 1\n#" + b"x" * MAX_BYTES) is None
    assert plain_value(b"a: \xff\n") is None


@settings(max_examples=300, deadline=None)
@given(
    st.text(alphabet=ALPHABET, max_size=60),
    st.sampled_from(["", "a: ", "a:\n  - ", "a: {b: ", "a: ["]),
)
def test_plain_punctuation_is_read_alike_or_not_at_all(text, before):
    agree((before + text).encode())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(default_names()), st.integers(0, 2**32))
def test_plain_damaged_policies_are_read_alike_or_not_at_all(name, seed):
    dice = random.Random(seed)  # noqa: S311  (damage, not secrets)
    lines = default_bytes(name).decode().split("\n")[: dice.randrange(1, 60)]
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(lines))
        line = lines[at]
        cut = dice.randrange(len(line) + 1)
        more = "".join(dice.choices(ALPHABET, k=dice.randrange(3)))
        lines[at] = line[:cut] + more + line[cut + dice.randrange(3) :]
        if dice.randrange(4) == 0:
            lines.insert(at, lines[dice.randrange(len(lines))])
    agree("\n".join(lines).encode())


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b'schema: "urn:teebundle:schema:policy:v1"', b'schema: "urn:other"', 3),
        (b"max_capture_s: 900", b"max_capture_s: true", 19),
        (b"max_capture_s: 900", b"max_capture_s: yes", 19),
    ],
)
def test_plain_refusals_have_the_words_and_lines_of_the_library(monkeypatch, old, new, line):
    data = default_bytes("near-direct")
    assert data.count(old) == 1
    changed = data.replace(old, new)
    with pytest.raises(MalformedInput) as first:
        load_policy(changed, file="p.yaml")
    monkeypatch.setattr(loader, "plain_value", lambda _: None)
    with pytest.raises(MalformedInput) as second:
        load_policy(changed, file="p.yaml")
    assert vars(first.value) == vars(second.value)
    assert f"line {line}: " in str(first.value)
