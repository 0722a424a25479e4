"""Policies that tests start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from verify.policy.closed_yaml import parse_yaml

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def example_bytes() -> bytes:
    """The example of verification.md 5.3, byte for byte."""
    return (HERE / "example.yaml").read_bytes()


@pytest.fixture
def document(example_bytes):
    """The example as plain values; every test gets its own."""
    return parse_yaml(example_bytes).value
