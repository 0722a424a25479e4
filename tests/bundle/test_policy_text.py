"""Policy files are written so that the closed reader reads back what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.policy_text import FROM_BUNDLE, policy_text
from verify.policy.closed_yaml import parse_yaml

KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda key: (
        key not in ("true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf")
    )
)
TEXTS = st.text(
    alphabet=st.characters(exclude_categories=("C", "Zl", "Zp", "Zs")) | st.just(" "), max_size=60
)
SCALARS = st.booleans() | st.integers(min_value=0, max_value=10**15) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=6))
def test_policy_text_reads_back_as_what_was_written(document):
    assert parse_yaml(policy_text(document)).value == document


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=6))
def test_policy_text_with_every_value_marked_reads_back_the_same(document):
    marked = policy_text(document, comments={f"/{key}": FROM_BUNDLE for key in document})
    assert parse_yaml(marked).value == document
    assert all(line == "" or line.endswith(FROM_BUNDLE) for line in marked.decode().split("\n"))


def test_policy_text_marks_every_line_of_a_marked_value_and_no_other():
    document = {"a": {"b": ["x" * 70, "y" * 70], "c": 1}, "d": [{"e": "z" * 140, "f": 2}], "g": 3}
    lines = policy_text(document, comments={"/a/b": "here", "/d/0/e": "there"}).decode().split("\n")
    assert [line for line in lines if "# here" in line] == [
        "  b:  # here",
        f'    - "{"x" * 70}"  # here',
        f'    - "{"y" * 70}"  # here',
    ]
    assert [line for line in lines if "# there" in line] == [f'  - e: "{"z" * 140}"  # there']
    assert "  c: 1" in lines
    assert "    f: 2" in lines
    assert "g: 3" in lines


def test_policy_text_begins_with_its_title():
    assert policy_text({"a": 1}, title=("one", "")).startswith(b"# one\n#\na: 1\n")


@pytest.mark.parametrize("value", [None, 1.5, b"x", object()])
def test_policy_text_of_a_value_no_policy_holds_is_a_type_error(value):
    with pytest.raises(TypeError):
        policy_text({"a": value})
