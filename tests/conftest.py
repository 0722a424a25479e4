"""Fixtures shared by every test."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EVIDENCE = ROOT.parent / "shared" / "evidence"


@pytest.fixture(scope="session")
def evidence_root() -> Path:
    """Return the folder of real evidence; skip, counted and explained, where it is absent."""
    if not EVIDENCE.is_dir():
        pytest.skip(
            "real evidence is not beside this checkout (shared/evidence): nothing to compare"
        )
    return EVIDENCE
