"""Every member and element of a bundle deleted, doubled, swapped: never a pass, never a crash."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from fixtures.worked_example import Draft, written
from tests.checks.container_case import outcomes, said
from verify.engine.errors import MalformedInput
from verify.engine.outcome import Status
from verify.wire import schema

BENIGN_SIGNED = {
    # Which pairs to test is judged where they are needed; the order of bindings says nothing.
    ("deleted", "/predicate/bindings/0"),
    ("doubled", "/predicate/bindings/0"),
    ("doubled", "/predicate/bindings/1"),
    ("swapped", "/predicate/bindings"),
}


def places(value: Any, path: tuple[Any, ...] = ()):
    yield path, value
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, below in items:
        yield from places(below, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


def mutations(document: Any):
    """Give (how, pointer, document): each member and element deleted, doubled, swapped."""
    for path, found in places(document):
        pointer = "".join(f"/{step}" for step in path)
        if path:
            made = copy.deepcopy(document)
            del at(made, path[:-1])[path[-1]]
            yield "deleted", pointer, made
        if path and isinstance(path[-1], int):
            made = copy.deepcopy(document)
            at(made, path[:-1]).insert(path[-1], copy.deepcopy(found))
            yield "doubled", pointer, made
        if isinstance(found, list) and len(found) > 1:
            made = copy.deepcopy(document)
            at(made, path).reverse()
            yield "swapped", pointer, made
        if isinstance(found, dict) and len(found) > 1:
            made = copy.deepcopy(document)
            inner = at(made, path)
            items = list(inner.items())[::-1]
            inner.clear()
            inner.update(items)
            yield "reordered", pointer, made


@pytest.fixture(autouse=True)
def _without_explanations(monkeypatch):
    """The reference validator only words the refusal; it is held to the same answer elsewhere."""
    monkeypatch.setattr(schema, "explain", lambda _name, _value: None)


def judged(data: bytes | Draft) -> dict[str, str] | None:
    """Return what did not pass, or None where the file cannot be used."""
    try:
        found = outcomes(data)
    except MalformedInput:
        return None
    assert all(outcome.status is not Status.ERROR for outcome in found.values())
    return said(found)


def test_every_change_of_the_outer_structure_is_noticed():
    for how, pointer, document in mutations(Draft().document()):
        accepted = judged(written(document)) == {}
        assert accepted is (how == "reordered"), (how, pointer)


def test_every_change_of_the_signed_structure_is_noticed():
    for how, pointer, document in mutations(Draft().statement):
        accepted = judged(Draft(payload=json.dumps(document).encode())) == {}
        assert accepted is (how == "reordered" or (how, pointer) in BENIGN_SIGNED), (how, pointer)


def test_every_member_that_stands_twice_is_malformed():
    text = json.dumps(Draft().document())
    for name in ("mediaType", "statement", "blobs", "keyid", "payload", "encoding"):
        doubled = text.replace(f'"{name}":', f'"{name}": 1, "{name}":', 1)
        with pytest.raises(MalformedInput) as caught:
            outcomes(doubled.encode())
        assert caught.value.code == "input.duplicate_member"


def test_every_bit_flip_in_the_file_is_noticed():
    """One bit of each byte; what stays a bundle that passes is white space alone."""
    data = Draft().build()
    for position in range(0, len(data), 5):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 7)
        if judged(bytes(changed)) == {}:
            assert data[position : position + 1].isspace()
            assert bytes(changed[position : position + 1]).isspace()
