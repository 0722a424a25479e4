"""Every vector gives exactly its answer: verdict, check, reason, and nothing else wrong beside it."""

from __future__ import annotations

import json

import pytest

from fixtures.build import INDEX, all_vectors
from fixtures.registry import Vector
from fixtures.verification import Answer, answer

VECTORS = all_vectors()
CONSEQUENCES = {"need.not_passed"}
"""The only reason another check may end BLOCKED with beside the one fault of a vector."""


def beside(found: Answer, check: str) -> dict[str, str]:
    """Return what else ended neither PASS nor out of scope, without mere consequences."""
    return {
        name: reason
        for name, (status, reason) in found.checks.items()
        if name != check and status not in ("PASS", "NOT_APPLICABLE") and reason not in CONSEQUENCES
    }


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_vector_gives_exactly_its_answer(name: str) -> None:
    vector: Vector = VECTORS[name]
    found = answer(vector.build())
    if vector.error_code is not None:
        assert (found.verdict, found.error_code) == (None, vector.error_code)
        assert found.exit_code == 4
        return
    assert found.error_code is None
    assert found.verdict == vector.verdict
    if vector.check is None:
        assert found.verdict == "VERIFIED"
        return
    status = {"REJECTED": "FAIL", "INCOMPLETE": "BLOCKED"}[vector.verdict or ""]
    assert found.checks[vector.check] == (status, vector.reason)
    assert beside(found, vector.check) == {
        other: reason for other, reason in vector.also.items() if other != vector.check
    }


def test_vector_index_lists_exactly_the_vectors() -> None:
    rows = json.loads(INDEX.read_text(encoding="utf-8"))
    assert [row["name"] for row in rows] == sorted(VECTORS)
