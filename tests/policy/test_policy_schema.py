"""The JSON Schema and the strict reader agree: the reference and the fast one."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import pytest

from fixtures.policy_parts import OTHERS, at, pointers, with_section
from verify.policy import read, subjects
from verify.policy.closed_yaml import parse_yaml
from verify.policy.loader import default_bytes, default_names
from verify.policy.read import read_policy
from verify.wire.members import ShapeError

SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "policy.v1.schema.json"


@pytest.fixture(scope="module")
def schema():
    return json.loads(SCHEMA.read_text())


@pytest.fixture(scope="module")
def validator(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def reads(document) -> ShapeError | None:
    try:
        read_policy(document, "0" * 64)
    except ShapeError as error:
        return error
    return None


def full(document):
    """A document with every section that a policy can have."""
    for section in OTHERS:
        with_section(document, section)
    return document


def test_policy_schema_accepts_the_example_and_every_default(validator, document):
    assert validator.is_valid(document)
    for name in default_names():
        assert validator.is_valid(parse_yaml(default_bytes(name)).value), name


def test_policy_schema_and_reader_accept_every_section_at_once(validator, document):
    whole = full(document)
    assert reads(whole) is None
    assert validator.is_valid(whole)


def mutations(document):
    """One change at a time: every member left out, replaced by another kind, every map widened."""
    for pointer in ["", *pointers(document)]:
        if pointer:
            container, last = at(document, pointer)
            value = container[last]
            for other in (None, True, 7, "☃\n", [], {}, 2**60):
                if other == value and type(other) is type(value):
                    continue
                yield pointer, "replaced", other
            if isinstance(container, dict):
                yield pointer, "removed", None
        else:
            value = document
        if isinstance(value, dict):
            yield pointer, "widened", None
        if isinstance(value, list) and value:
            yield pointer, "doubled", None


def mutated(document, pointer, kind, other):
    fresh = copy.deepcopy(document)
    if kind == "widened":
        target = fresh
        if pointer:
            container, last = at(fresh, pointer)
            target = container[last]
        target["surprise"] = 1
        return fresh
    container, last = at(fresh, pointer)
    if kind == "replaced":
        container[last] = other
    elif kind == "removed":
        del container[last]
    else:
        container[last] = container[last] + [copy.deepcopy(container[last][0])]
    return fresh


BETWEEN = (
    "no rule for",
    "is no field",
    "is missing: write every member down",
    "does not judge",
    "nobody would judge",
    "no release gives",
    "no set is ever used",
    "is judged in tdx.attributes",
    "outside the mask",
    "stands twice",
    "must lie after start",
    "hex digits",
    "every kind of hardware",
    "write 0",
    'write "any"',
    "must list at least one",
    "not a member known here",
)
"""What the reader says where a rule between members, not the schema, is broken."""


def test_policy_schema_and_reader_agree_on_every_single_change(validator, document):
    whole = full(document)
    changes = judged = 0
    for pointer, kind, other in mutations(whole):
        fresh = mutated(whole, pointer, kind, other)
        by_schema = validator.is_valid(fresh)
        error = reads(fresh)
        changes += 1
        if not by_schema:
            judged += 1
            assert error is not None, (pointer, kind, other)
        elif error is not None:
            assert any(words in error.what for words in BETWEEN), (pointer, kind, other, error.what)
    assert changes > 2500
    assert judged > 0.85 * changes


def test_policy_schema_lists_are_those_of_the_code(schema):
    assert schema["$defs"]["checkId"]["enum"] == list(subjects.SUBJECT_OF)
    assert schema["$defs"]["waivable"]["enum"] == [
        check for check, subject in subjects.SUBJECT_OF.items() if subject != "container"
    ]
    properties = schema["properties"]
    assert list(properties["subjects"]["properties"]) == list(subjects.NAMED)
    tdx = properties["tdx"]["properties"]
    assert tdx["accepted_tcb_status"]["items"]["enum"] == list(read.TCB_STATUSES)
    assert tdx["allow_findings"]["items"]["properties"]["finding"]["enum"] == list(read.FINDINGS)
    fields = {
        name: size for table in subjects.REPORT_FIELDS.values() for name, size in table.items()
    }
    assert {
        name: int(rule["$ref"].removeprefix("#/$defs/rule"))
        for name, rule in tdx["fields"]["properties"].items()
    } == fields
    assert properties["bindings"]["properties"]["require"]["items"]["enum"] == list(
        subjects.BINDING_TYPES
    )
