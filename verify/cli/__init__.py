"""`teebundle-verify`: read files, call the verifier, render, exit.

The only room of the verifier that looks at the clock (`--as-of now`), the environment (NO_COLOR)
and the terminal. The work of ``verify`` starts without importing the library that parses commands
and prints help: it costs as much as the verification.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from verify.cli.guard import guarded, leave


def main() -> NoReturn:
    """Run `teebundle-verify` as a program: ends the process with the exit code."""
    leave(call)


def call() -> int:
    """Run the command line on `sys.argv` and return the exit code (verification.md 8)."""
    words = sys.argv[1:]
    return guarded(lambda: run(words), words)


def run(words: list[str]) -> int:
    """Dispatch one call: ``verify`` directly, everything else and all help through typer."""
    from verify.cli.arguments import wants_help  # noqa: PLC0415  (paid for by the calls that use it)

    if words[:1] == ["verify"] and not wants_help(words[1:]):
        from verify.cli.verification import verify_words  # noqa: PLC0415  (the same)

        return verify_words(words[1:])
    from verify.cli.console import app, run_app  # noqa: PLC0415  (the same)

    return run_app(app, words, "teebundle-verify")
