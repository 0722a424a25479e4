"""The words of `verify`: one table, two readers that agree, wrong calls told plainly."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner

from verify.cli import typed
from verify.cli.arguments import (
    VERIFY_OPTIONS,
    VerifyArguments,
    as_of,
    parse,
    wants_help,
    wants_json,
)
from verify.cli.console import app
from verify.engine.asof import AsOf
from verify.engine.errors import UsageError

CLOCK = datetime(2026, 11, 21, 6, 10, 3, 500000, UTC)


def by_typer(words: list[str]) -> VerifyArguments | None:
    """Parse with the typer command; None where it refuses."""
    found: list[VerifyArguments] = []
    original = typed.verify
    typed.verify = lambda given: found.append(given) or 0  # type: ignore[func-returns-value,assignment]
    try:
        CliRunner().invoke(app, ["verify", *words])
    finally:
        typed.verify = original
    return found[0] if found else None


@pytest.mark.parametrize(
    "words",
    [
        ["a.json"],
        ["a.json", "--policy", "p.yaml"],
        ["-p", "p.yaml", "a.json"],
        ["--policy=p.yaml", "a.json", "--trust", "t", "-t", "u", "--trust=v"],
        ["a.json", "--profile", "near-direct", "--signer", "k.pem", "--signer=l.pem"],
        ["a.json", "--as-of", "now", "--blobs", "b", "--format", "json"],
        ["a.json", "--as-of=2026-06-10T09:00:00Z", "-f", "text"],
        ["a.json", "-o", "out", "--report", "r.json", "--verbose"],
        ["-v", "--", "--strange.json"],
        ["a.json", "b.json", "-ooutput", "-fjson"],
    ],
)
def test_arguments_both_readers_agree(words: list[str]) -> None:
    assert by_typer(words) == parse(words)


def test_arguments_every_option_of_the_table_is_a_field_and_in_the_help() -> None:
    fields = set(VerifyArguments.__dataclass_fields__)
    assert {option.name for option in VERIFY_OPTIONS} | {"paths"} == fields
    help_text = CliRunner().invoke(app, ["verify", "--help"]).output
    for option in VERIFY_OPTIONS:
        for flag in option.flags:
            assert flag in help_text
    assert "Examples:\n    teebundle-verify verify chat.evidence.json --policy" in help_text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nothing"], "no such option: --nothing"),
        (["-x"], "no such option: -x"),
        (["--policy"], "--policy needs a value: FILE"),
        (["--policy", "--trust"], "--policy needs a value"),
        (["--policy="], "not empty"),
        (["-p", "a", "-p", "b"], "--policy is given twice"),
        (["--verbose=yes"], "--verbose takes no value"),
        (["--format", "xml"], "--format takes text or json"),
    ],
)
def test_arguments_wrong_call_is_told(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(words)


def test_arguments_help_and_json_are_seen_in_wrong_calls() -> None:
    assert wants_help(["a", "-h"])
    assert wants_help(["--help"])
    assert not wants_help(["--", "--help"])
    for words in (["--bad", "--format", "json"], ["--format=json"], ["-fjson", "--bad"]):
        assert wants_json(words)
    for words in (["--format", "text"], ["--format"], ["--", "--format=json"], []):
        assert not wants_json(words)


def test_as_of_words_become_requests() -> None:
    assert as_of("capture", CLOCK) == AsOf.capture()
    assert as_of("now", CLOCK) == AsOf.now(CLOCK)
    assert as_of("2026-06-10T11:00:00+02:00", CLOCK) == AsOf.at(
        datetime(2026, 6, 10, 9, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-06-10",
        "2026-06-10T09:00:00",
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+23:00",
        "NOW",
    ],
)
def test_as_of_anything_else_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="--as-of"):
        as_of(text, CLOCK)


def test_typer_command_turns_a_usage_error_into_exit_2() -> None:
    result = CliRunner().invoke(app, ["verify", "a.json", "--format", "xml"])
    assert result.exit_code == 2
    assert isinstance(app, typer.Typer)
