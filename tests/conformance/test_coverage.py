"""Every code that can end a check badly has a vector, or is listed as out of reach with a reason.

Source: verification.md 13.2.
"""

from __future__ import annotations

import json
from pathlib import Path

from fixtures.build import HERE, all_vectors
from verify.checks.catalogue import CATALOGUE
from verify.engine.reason import ReasonClass

UNREACHABLE: Path = HERE / "vectors" / "UNREACHABLE.json"
JUDGED = (ReasonClass.REJECT, ReasonClass.ABSENT)

Pair = tuple[str, str]


def declared() -> set[Pair]:
    return {
        (check.id, reason.code)
        for check in CATALOGUE
        for reason in check.reasons
        if reason.kind in JUDGED
    }


def covered() -> set[Pair]:
    """Return every (check, code) that a vector asserts, as its one fault or as its other side."""
    pairs: set[Pair] = set()
    for vector in all_vectors().values():
        if vector.check is not None and vector.reason is not None:
            pairs.add((vector.check, vector.reason))
        pairs.update(vector.also.items())
    return pairs


def rows() -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(UNREACHABLE.read_text(encoding="utf-8"))
    return found


def unreachable() -> set[Pair]:
    return {(row["check"], row["reason"]) for row in rows()}


def test_every_declared_code_has_a_vector_or_a_reason_why_not() -> None:
    assert sorted(declared() - covered() - unreachable()) == []


def test_no_code_is_called_unreachable_that_a_vector_reaches() -> None:
    assert sorted(unreachable() & covered()) == []


def test_only_declared_codes_are_called_unreachable() -> None:
    assert sorted(unreachable() - declared()) == []


def test_every_vector_asserts_a_declared_code() -> None:
    assert sorted(covered() - declared()) == []


def test_unreachable_rows_are_sorted_distinct_and_explained() -> None:
    found = rows()
    keys = [(row["check"], row["reason"]) for row in found]
    assert keys == sorted(set(keys))
    for row in found:
        assert set(row) == {"check", "reason", "because"}
        assert len(row["because"]) > 20
