"""Asking several questions of one item, so that every contradiction is reported, not the first.

Source: verification.md 2 (a check reports all mismatches it can see).
"""

from __future__ import annotations

from collections.abc import Callable

from verify.engine.errors import Refused


def refusals(*questions: Callable[[], object]) -> tuple[Refused, ...]:
    """Ask each question in order and return what was refused; empty when nothing was."""
    found: list[Refused] = []
    for question in questions:
        try:
            question()
        except Refused as refused:
            found.append(refused)
    return tuple(found)
