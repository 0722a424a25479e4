"""`teebundle simulate`: a provider and its vendor services on this machine, to try clients with."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from verify.cli.console import help_of, print_text
from verify.cli.output import say
from verify.engine.errors import UsageError


def _key_id(file: Path) -> str:
    """Return the key id of a public key. Raises MalformedInput, UsageError: unreadable."""
    from verify.cli.files import KEY_LIMIT, read_file  # noqa: PLC0415  (help does not need it)
    from verify.trust.file import read_signer  # noqa: PLC0415

    return read_signer(read_file(str(file), KEY_LIMIT, "trust"), file=str(file)).keyid


def register(app: typer.Typer, program: str) -> None:
    """Add the command to the application of that program."""

    @app.command(
        "simulate",
        help=help_of(
            r"""TEST ONLY. Play a provider with its vendor services on this machine.

    Speaks the provider's own protocol over HTTPS with simulated hardware, signatures and vendor
    collateral, honest unless --fault names a fault. For trying clients, captures and policies
    without an account or special hardware. Its keys are published and its roots are in no real
    trust store: nothing it says proves anything.

    Once everything answers, one JSON object on the standard output says where: base URL, API key,
    CA certificate, vendor endpoints, trust anchors. With --out DIR the files a capture and a
    verification need are written there: ca.pem, trust.json, teebundle.yaml (for --config) and, with
    --signer, the policies under which an honest capture is VERIFIED: policy.yaml, policy-proxy.yaml
    (chats through the proxy, without a marker), policy-attestation.yaml (no chat). Ctrl-C or
    SIGTERM ends it. It listens on 127.0.0.1 alone.

    \b
    Examples:
      {program} simulate --list
      {program} simulate --provider nanogpt --listen 127.0.0.1:8443 --out sim --signer k/signer.pub
      {program} simulate --provider near-direct --fault sse-cut --out sim
      {program} simulate --provider ionet --scenario ionet-stream --http
    \b
    Then, in another terminal (the key is the member api_key of what was printed):
      export TEEBUNDLE_SIMULATOR_KEY=...
      {program} capture nanogpt --config sim/teebundle.yaml --prompt hello --stream \
          --key k/signer.key -o chat.evidence.json
    """,
            program,
        ),
    )
    def simulate(  # noqa: PLR0917  (typer makes options of arguments)
        provider: Annotated[
            str | None,
            typer.Option("--provider", metavar="NAME", help="Which provider to play."),
        ] = None,
        scenario: Annotated[
            str | None,
            typer.Option("--scenario", metavar="NAME", help="What to play (default: its first)."),
        ] = None,
        fault: Annotated[
            str | None, typer.Option("--fault", metavar="NAME", help="One thing to do wrong.")
        ] = None,
        nth: Annotated[
            int | None,
            typer.Option(
                "--nth", metavar="N", min=1, help="Play the fault on the n-th request it is about."
            ),
        ] = None,
        on: Annotated[
            str | None,
            typer.Option("--on", metavar="KIND", help="Play the fault on this kind of request."),
        ] = None,
        http: Annotated[
            bool, typer.Option("--http", help="Plain HTTP in the place of HTTPS.")
        ] = False,
        listen: Annotated[
            str, typer.Option("--listen", metavar="127.0.0.1:PORT", help="0: any free port.")
        ] = "127.0.0.1:0",
        out: Annotated[
            Path | None, typer.Option("--out", metavar="DIR", help="Folder for the files.")
        ] = None,
        signer: Annotated[
            Path | None,
            typer.Option("--signer", metavar="KEY.pub", help="Capture key the policy believes."),
        ] = None,
        seed: Annotated[
            str, typer.Option("--seed", metavar="TEXT", help="Same text, same keys and answers.")
        ] = "test-only",
        size: Annotated[
            int,
            typer.Option("--size", metavar="BYTES", min=0, help="Least size of a streamed answer."),
        ] = 0,
        pace: Annotated[
            float,
            typer.Option("--pace", metavar="SECONDS", min=0, help="Silence between its events."),
        ] = 0.0,
        variant: Annotated[
            list[str] | None,
            typer.Option("--variant", metavar="NAME", help="Spelling of reports (repeatable)."),
        ] = None,
        listed: Annotated[
            bool, typer.Option("--list", help="List scenarios, faults and variants; exit.")
        ] = False,
    ) -> None:
        """Play a provider."""
        from bundle import simulation  # noqa: PLC0415  (help does not need it)

        command = simulation.load("simulator.command")
        if listed:
            print_text(command.listing())
            return
        if provider is None:
            raise UsageError("say which provider to play: --provider NAME (--list shows them)")
        wanted = command.Wanted(
            provider=provider,
            scenario=scenario,
            fault=fault,
            nth=nth,
            on=on,
            http=http,
            listen=listen,
            out=out,
            seed=seed,
            signer=None if signer is None else _key_id(signer),
            size=size,
            pace_s=pace,
            variants=tuple(variant or ()),
        )
        gc.enable()  # a simulator lives long; for a verification it is off
        say("TEST ONLY: a simulated provider; Ctrl-C ends it")
        command.run(wanted, print_text)
