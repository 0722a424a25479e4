"""Every schema: closed objects, local references without cycles, safe patterns, its own id."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from fixtures import contract

ROOT: Final = Path(__file__).resolve().parents[2]
SCHEMAS: Final = sorted((ROOT / "schemas").glob("*.json"))
NAME: Final = re.compile(r"([a-z-]+)\.v1\.schema\.json")


def load(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def subschemas(schema: object) -> Iterator[dict[str, Any]]:
    """Give every subschema; members of `properties` and `$defs` are schemas, not keywords."""
    if not isinstance(schema, dict):
        return
    yield schema
    for keyword, value in schema.items():
        if keyword in {"properties", "$defs", "patternProperties"}:
            for below in value.values():
                yield from subschemas(below)
        elif keyword in {"anyOf", "oneOf", "allOf", "prefixItems"}:
            for below in value:
                yield from subschemas(below)
        elif keyword in {
            "items",
            "not",
            "additionalProperties",
            "propertyNames",
            "if",
            "then",
            "else",
        }:
            yield from subschemas(value)


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_schema_is_2020_12_with_the_id_of_its_file(path: Path) -> None:
    schema = load(path)
    jsonschema.Draft202012Validator.check_schema(schema)
    match = NAME.fullmatch(path.name)
    assert match is not None
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:teebundle:schema:{match[1]}:v1"


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_schema_objects_are_closed(path: Path) -> None:
    for found in subschemas(load(path)):
        types = found.get("type", [])
        if "object" in (types if isinstance(types, list) else [types]):
            extra = found.get("additionalProperties")
            assert extra is False or isinstance(extra, dict), found


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_schema_references_are_local_and_without_cycle(path: Path) -> None:
    schema = load(path)
    edges = {
        name: {
            found["$ref"].removeprefix("#/$defs/") for found in subschemas(body) if "$ref" in found
        }
        for name, body in schema.get("$defs", {}).items()
    }
    for found in subschemas(schema):
        if "$ref" in found:
            assert found["$ref"].removeprefix("#/$defs/") in edges
    done: set[str] = set()
    while len(done) < len(edges):
        ready = {name for name, below in edges.items() if name not in done and below <= done}
        assert ready, f"a cycle among {sorted(set(edges) - done)}"
        done |= ready


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_schema_patterns_never_let_a_trailing_newline_or_a_foreign_digit_through(
    path: Path,
) -> None:
    for found in subschemas(load(path)):
        pattern = found.get("pattern", "")
        assert "\\d" not in pattern, found
        if pattern.endswith("$"):
            bounded = {"minLength", "maxLength"} <= set(found)
            assert bounded or "not" in found, found


def test_schema_lists_of_checks_and_reasons_are_those_of_the_code() -> None:
    assert contract.main(["--check"]) == 0


def test_vector_index_fits_its_schema() -> None:
    schema = load(ROOT / "schemas" / "vector.v1.schema.json")
    rows = json.loads((ROOT / "fixtures" / "vectors" / "INDEX.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    assert rows
    assert [error.message for row in rows for error in validator.iter_errors(row)] == []
