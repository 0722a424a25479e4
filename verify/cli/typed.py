"""Typer commands built from the option table, so that help and parser cannot drift apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from verify.cli.arguments import VERIFY_OPTIONS, Option, arguments
from verify.cli.verification import usage, verify
from verify.engine.errors import UsageError

VERIFY_HELP = """Verify a bundle offline, as of the time of its capture.

Prints a verdict with everything that is not a pass, and ends with the exit code of the verdict:
0 VERIFIED, 1 REJECTED, 3 INCOMPLETE; 2 wrong call, 4 unusable file, 70 fault of the program.

\b
Examples:
  {program} verify chat.evidence.json --policy acme.yaml --trust acme-trust.json
  {program} verify chat.evidence.json --policy acme.yaml --signer key.pem --format json
  {program} verify chat.evidence.json --policy acme.yaml --as-of now --report report.json
"""


def _parameter(option: Option) -> inspect.Parameter:
    kinds = {"flag": bool, "one": str | None, "many": list[str] | None}
    info = typer.Option(
        *option.flags,
        help=option.help,
        metavar=option.metavar or None,
        show_default=option.default or False,
    )
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if option.takes == "flag" else None,
        annotation=Annotated[kinds[option.takes], info],
    )


def signature(options: Sequence[Option] = VERIFY_OPTIONS) -> inspect.Signature:
    """Return the signature of ``verify`` that typer reads: files, then every option."""
    files = inspect.Parameter(
        "paths",
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        annotation=Annotated[
            list[str], typer.Argument(help="Bundle (*.evidence.json).", metavar="FILE")
        ],
    )
    return inspect.Signature([files, *(_parameter(option) for option in options)])


def _verify(**given: object) -> None:
    """Take what typer parsed; the fast path of the command line never comes here."""
    single = {k: v for k, v in given.items() if isinstance(v, str)}
    many = {k: [str(x) for x in v] for k, v in given.items() if isinstance(v, list | tuple)}
    paths = many.pop("paths", [])
    try:
        parsed = arguments(paths, single, many, verbose=given.get("verbose") is True)
    except UsageError as error:
        raise typer.Exit(usage(error, json=single.get("format") == "json")) from error
    raise typer.Exit(verify(parsed))


def verify_command() -> Callable[..., None]:
    """Return the function to register as ``verify``."""

    def command(**given: object) -> None:
        _verify(**given)

    command.__signature__ = signature()  # type: ignore[attr-defined]
    command.__annotations__ = {
        name: parameter.annotation for name, parameter in signature().parameters.items()
    }
    return command
