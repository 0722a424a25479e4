"""The policy layer's own table of subjects and checks is the catalogue's."""

from __future__ import annotations

from verify.checks.catalogue import CATALOGUE
from verify.policy.subjects import CHECKS, SUBJECT_OF


def test_subject_table_is_that_of_the_catalogue():
    by_subject: dict[str, list[str]] = {}
    for check in CATALOGUE:
        by_subject.setdefault(check.subject, []).append(check.id)
    assert {subject: list(checks) for subject, checks in CHECKS.items()} == by_subject
    assert set(SUBJECT_OF) == set(CATALOGUE.ids())
