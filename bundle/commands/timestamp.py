"""`teebundle timestamp`: add time stamps of RFC 3161 to a bundle, in a new file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verify.cli.console import help_of, print_text
from verify.cli.output import say

if TYPE_CHECKING:
    from bundle.calls import Call
    from bundle.recording import RecordedExchange
    from bundle.timestamps import Send, Stamped
    from bundle.transport import Transport


def register(app: typer.Typer, program: str) -> None:
    """Add the command to the application of that program."""

    @app.command(
        "timestamp",
        help=help_of(
            r"""Have an authority stamp a bundle's signature (RFC 3161); write a new bundle.

    What leaves this machine: the SHA-256 of each signature, nothing else. Each token is verified
    before it is accepted: nonce, imprint, signature, and that it leads to an authority of a trust
    file (--trust, an anchor of purpose tsa), because one that nobody can verify later is worth
    nothing. Statement and bundle id stay as they are. A policy accepts the authority by its
    time.accept_tsa. Ask soon: what is stamped long after the capture proves little about it.
    Exit 5: an authority failed, nothing was written.

    \b
    Examples:
      {program} timestamp chat.evidence.json --tsa https://tsa.example/tsr --trust tsa.json \
          -o stamped.evidence.json
      {program} timestamp c.json --tsa URL1 --tsa URL2 --trust tsa.json -o stamped.json
    """,
            program,
        ),
    )
    def timestamp(  # noqa: PLR0917  (typer makes options of arguments)
        bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Bundle to stamp.")],
        tsa: Annotated[
            list[str], typer.Option("--tsa", metavar="URL", help="Authority to ask (repeatable).")
        ],
        out: Annotated[Path, typer.Option("--out", "-o", metavar="NEW", help="Bundle to write.")],
        trust: Annotated[
            list[str] | None,
            typer.Option("--trust", "-t", metavar="FILE", help="Trust file with the authority."),
        ] = None,
        proxy: Annotated[
            str | None, typer.Option("--proxy", metavar="URL", help="HTTP proxy to go through.")
        ] = None,
        ca_file: Annotated[
            Path | None,
            typer.Option("--ca-file", metavar="FILE", help="Further CAs for HTTPS (PEM)."),
        ] = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace NEW.")] = False,
    ) -> None:
        """Add time stamps."""
        from bundle.seal import refuse_input, write_new  # noqa: PLC0415  (help does not need it)
        from bundle.timestamps import StampError, stamped  # noqa: PLC0415  (the same)
        from bundle.transport import Transport, demand_address  # noqa: PLC0415  (the same)
        from verify.cli.files import bundle_bytes  # noqa: PLC0415  (the same)
        from verify.cli.loading import trust_of  # noqa: PLC0415  (the same)
        from verify.engine.errors import UsageError  # noqa: PLC0415  (the same)
        from verify.engine.report import ErrorSummary  # noqa: PLC0415  (the same)
        from verify.render.text import error_lines  # noqa: PLC0415  (the same)

        if not overwrite and (out.exists() or out.is_symlink()):
            message = f"{out}: exists already; choose another name or pass --overwrite"
            raise UsageError(message)
        refuse_input(out, (bundle, *(trust or ()), ca_file))
        for url in tsa:
            demand_address(url)
        data, anchors = bundle_bytes(bundle), trust_of(tuple(trust or ()), ())
        try:
            with Transport(proxy=proxy, ca_file=ca_file) as transport:
                made = stamped(data, tuple(tsa), anchors, sender(transport))
        except StampError as error:
            summary = ErrorSummary(kind="online-unavailable", what=str(error))
            say(*error_lines(summary), "nothing was written")
            raise typer.Exit(int(summary.exit_code)) from error
        write_new(out, made.data, overwrite=overwrite)
        print_text("".join(f"{line}\n" for line in _said(made)))
        say(f"wrote {out}")


def sender(transport: Transport) -> Send:
    """Return what sends a call and records what came, after waiting where it is another try."""
    import time  # noqa: PLC0415  (only another try waits)

    def send(call: Call) -> RecordedExchange:
        if call.after_s:
            say(f"no answer; trying again in {call.after_s:g} s")
            time.sleep(call.after_s)
        return transport.record(
            call.method,
            call.url,
            purpose=call.purpose,
            body=call.body,
            headers=call.headers,
            bounds=call.bounds,
        )

    return send


def _said(made: Stamped) -> list[str]:
    """Say what is proven now, and how long after the capture."""
    from verify.wire.scalars import format_time  # noqa: PLC0415  (help does not need it)

    lines: list[str] = []
    for proof in made.proofs:
        late = max(0.0, (proof.instant - made.captured).total_seconds())
        lines.append(
            f"{proof.by}: the signature of {proof.keyid} existed by {format_time(proof.instant)}, "
            f"{late:.0f} s after the end of the capture"
        )
    return lines
