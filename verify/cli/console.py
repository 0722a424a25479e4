"""Commands of `teebundle-verify` besides the fast path of `verify`; help for all of them."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from verify.cli.output import say, write_stdout
from verify.cli.typed import VERIFY_HELP, verify_command
from verify.engine.errors import MalformedInput, TeebundleError
from verify.engine.report import ErrorSummary
from verify.render.text import error_lines
from verify.version import VERSION

SETTINGS: Final = {"help_option_names": ["-h", "--help"]}

BundleArgument = Annotated[str, typer.Argument(metavar="BUNDLE", help="Bundle (*.evidence.json).")]
JsonOption = Annotated[
    str, typer.Option("--format", "-f", metavar="text|json", help="For people or for programs.")
]


def run_app(app: typer.Typer, words: list[str], program: str) -> int:
    """Run a typer application; errors of the documented tree become exit codes and messages."""
    code = 0
    try:
        app(args=words, prog_name=program)
    except TeebundleError as error:
        summary = ErrorSummary.of(error)
        file = error.file if isinstance(error, MalformedInput) else None
        say(*error_lines(summary, file))
        code = int(summary.exit_code)
    return code


def new_app(help_text: str) -> typer.Typer:
    """Return an application in the house style: plain help, no completion, no pretty traceback."""
    return typer.Typer(
        help=help_text,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=SETTINGS,
    )


def print_text(text: str) -> None:
    """Write text to standard output as UTF-8, whatever the locale."""
    write_stdout(text.encode("utf-8", "backslashreplace"))


def show_version(wanted: bool) -> None:
    """Print the version and stop, where that was asked for."""
    if wanted:
        print_text(f"{VERSION}\n")
        raise typer.Exit


def one_format(given: str) -> str:
    """Return the value of --format. Raises typer.BadParameter."""
    if given not in {"text", "json"}:
        message = f"{given!r} is neither text nor json"
        raise typer.BadParameter(message, param_hint="--format")
    return given


def show(
    bundle: BundleArgument,
    form: JsonOption = "text",
    signature: Annotated[
        bool, typer.Option("--signature", help="Text, signature and address, as web pages want.")
    ] = False,
    quote: Annotated[bool, typer.Option("--quote", help="CPU quotes as hex.")] = False,
    gpu_keys: Annotated[bool, typer.Option("--gpu-keys", help="Public keys of the GPUs.")] = False,
) -> None:
    r"""Show what a bundle claims to hold. Verifies nothing.

    \b
    Examples:
      {program} show chat.evidence.json
      {program} show chat.evidence.json --signature
      {program} show chat.evidence.json --quote
    """
    from verify.cli.opening import shown_bundle  # noqa: PLC0415  (help does not need it)

    print_text(
        shown_bundle(bundle, one_format(form), signature=signature, quote=quote, gpu_keys=gpu_keys)
    )


def explain(  # noqa: PLR0917  (typer makes options of arguments)
    check: Annotated[
        str | None, typer.Argument(metavar="CHECK", help="Check id, e.g. gpu.nonce.")
    ] = None,
    bundle: Annotated[
        str | None, typer.Argument(metavar="BUNDLE", help="List the check's inputs in this bundle.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="nanogpt|ionet", help="Steps of a published recipe."),
    ] = None,
    policy: Annotated[
        str | None, typer.Option("--policy", "-p", metavar="FILE", help="Judge a recipe's bundle.")
    ] = None,
    trust: Annotated[
        list[str] | None, typer.Option("--trust", "-t", metavar="FILE", help="Trust file.")
    ] = None,
    signer: Annotated[
        list[str] | None, typer.Option("--signer", metavar="KEY.pem", help="Believed signer.")
    ] = None,
) -> None:
    r"""Explain a check: question, rule, specification, inputs, what it proves and what not.

    \b
    Examples:
      {program} explain gpu.nonce
      {program} explain gpu.nonce chat.evidence.json
      {program} explain --recipe nanogpt
      {program} explain --recipe nanogpt chat.evidence.json --policy p.yaml --signer key.pub
    """
    from verify.cli.opening import explained_check, explained_recipe  # noqa: PLC0415  (the same)

    if recipe is not None:
        # with a recipe the one positional argument is the bundle to judge
        print_text(explained_recipe(recipe, check, policy, tuple(trust or ()), tuple(signer or ())))
    elif check is None:
        raise typer.BadParameter("name a check, or --recipe", param_hint="CHECK")
    else:
        print_text(explained_check(check, bundle))


def catalogue(form: JsonOption = "text") -> None:
    r"""List every check in the order in which they run.

    \b
    Examples:
      {program} catalogue
      {program} catalogue --format json
    """
    from verify.cli.opening import catalogue_listing  # noqa: PLC0415  (the same)

    print_text(catalogue_listing(one_format(form)))


def schema(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Schema; without: list the names.")
    ] = None,
) -> None:
    r"""Print a JSON Schema shipped with the program.

    \b
    Examples:
      {program} schema
      {program} schema report
    """
    from verify.cli import schemas  # noqa: PLC0415  (the same)

    print_text("\n".join(schemas.names()) + "\n" if name is None else schemas.schema(name))


def trust_show(
    trust: Annotated[
        list[str] | None, typer.Option("--trust", "-t", metavar="FILE", help="Trust file, too.")
    ] = None,
    signer: Annotated[
        list[str] | None, typer.Option("--signer", metavar="KEY.pem", help="Signer key, too.")
    ] = None,
) -> None:
    r"""List the anchors that are believed: built-in ones and those of trust files.

    \b
    Examples:
      {program} trust show
      {program} trust show --trust acme-trust.json
    """
    from verify.cli.opening import trust_listing  # noqa: PLC0415  (the same)

    print_text(trust_listing(tuple(trust or ()), tuple(signer or ())))


def add_reading_commands(app: typer.Typer, program: str, more: str = "") -> None:
    """Register every command that only reads, with ``program`` in its examples.

    ``more``: what the help of ``verify`` says besides, where a program adds to it.
    """
    text = (VERIFY_HELP + more).format(program=program)
    app.command("verify", help=text)(verify_command())
    for name, function in (
        ("show", show),
        ("explain", explain),
        ("catalogue", catalogue),
        ("schema", schema),
    ):
        app.command(name, help=help_of(function.__doc__, program))(function)
    trust = new_app("Anchors: what is believed, for which purpose.")
    trust.command("show", help=help_of(trust_show.__doc__, program))(trust_show)
    app.add_typer(trust, name="trust")


def help_of(docstring: str | None, program: str) -> str:
    r"""Return the help text of a command: its docstring with the program's name filled in.

    A line ``\b`` keeps the lines after it apart; raw docstrings hold it as two characters.
    """
    return (docstring or "").replace("{program}", program).replace("\\b\n", "\b\n")


app = new_app("Offline verifier of evidence bundles: no network, no clock but --as-of, no account.")
add_reading_commands(app, "teebundle-verify")


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    del version
