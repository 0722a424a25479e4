"""`teebundle`: command line of the capture side; what only reads is that of `teebundle-verify`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from bundle.commands import capture as capture_command
from bundle.commands import proxy as proxy_command
from bundle.commands import simulate as simulate_command
from bundle.commands import timestamp as timestamp_command
from verify.cli.arguments import wants_help
from verify.cli.console import (
    add_reading_commands,
    help_of,
    new_app,
    print_text,
    run_app,
    show_version,
)
from verify.cli.guard import guarded, leave
from verify.cli.output import colour_wanted, say
from verify.cli.verification import verify_words
from verify.engine.errors import UsageError

PROGRAM = "teebundle"

app = new_app("Evidence that lasts for confidential AI: signed bundles and an offline verifier.")
ONLINE_HELP: Final = """
\b
One more step, which uses the network: NVIDIA's attestation service is asked about the
bundle's GPU evidence, and its answer is judged with the rest. Nothing is written.
  {program} verify chat.evidence.json --policy acme.yaml --online nras --key k/signer.key
  --online nras          ask the service (says what leaves this machine and asks first)
  --key KEY              private key under which the answer is attached
  --yes                  agree to the notice without being asked
  --service URL, --api-key-env NAME, --claims 2.0|3.0, --passphrase-env NAME
  --again, --insist      ask about answered devices, too; send in spite of a wrong nonce
"""

add_reading_commands(app, PROGRAM, ONLINE_HELP)
policy_app = new_app("Policies: write one from a default, check one.")
app.add_typer(policy_app, name="policy")


def main() -> NoReturn:
    """Run `teebundle` as a program: ends the process with the exit code."""
    leave(call)


def call() -> int:
    """Run the command line on `sys.argv` and return the exit code (verification.md 8)."""
    words = sys.argv[1:]
    return guarded(lambda: run(words), words)


def _asks_online(words: list[str]) -> bool:
    before_end = words[: words.index("--")] if "--" in words else words
    return any(word == "--online" or word.startswith("--online=") for word in before_end)


def run(words: list[str]) -> int:
    """Dispatch one call; ``verify`` is the same function as that of `teebundle-verify`."""
    if words[:1] == ["verify"] and not wants_help(words[1:]):
        if _asks_online(words[1:]):
            from bundle.online import verify_online  # noqa: PLC0415  (offline is the common case)

            return verify_online(words[1:])
        return verify_words(words[1:])
    return run_app(app, words, PROGRAM)


def passphrase_of(variable: str | None) -> bytes | None:
    """Return the passphrase held by an environment variable. Raises UsageError if it has none."""
    from bundle.keys import passphrase_in  # noqa: PLC0415  (help does not need it)

    return passphrase_in(variable, os.environ)


capture_command.register(app, PROGRAM)
proxy_command.register(app, PROGRAM)
simulate_command.register(app, PROGRAM)


@app.command(
    "keygen",
    help=help_of(
        r"""Make a capture key: signer.key (mode 0600, keep it secret) and signer.pub.

    \b
    Examples:
      {program} keygen --out keys
      {program} keygen --out keys --algorithm p256 --passphrase-env KEY_PASSPHRASE
    """,
        PROGRAM,
    ),
)
def keygen(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write to.")],
    algorithm: Annotated[
        str, typer.Option("--algorithm", metavar="ed25519|p256", help="Kind of key.")
    ] = "ed25519",
    passphrase_env: Annotated[
        str | None,
        typer.Option("--passphrase-env", metavar="NAME", help="Variable with a passphrase."),
    ] = None,
) -> None:
    """Make a capture key."""
    from bundle.keys import generate, key_id, write_pair  # noqa: PLC0415  (help does not need it)

    match algorithm:
        case "ed25519" | "p256":
            signer = generate(algorithm)
        case _:
            message = f"{algorithm!r} is neither ed25519 nor p256"
            raise typer.BadParameter(message, param_hint="--algorithm")
    private, public = write_pair(out, signer, passphrase_of(passphrase_env))
    print_text(f"{key_id(signer.spki())}\n")
    say(f"private key {private} (keep it secret), public key {public} (--signer {public})")


@app.command(
    "import",
    help=help_of(
        r"""Seal a recorded HTTP session into a bundle, and prove that it reads back.

    RECORDING is a folder with manifest.json and responses/, or a saved attestation answer
    (<model>_attestation.json). --attestation and --chat take the two from different places.

    \b
    Examples:
      {program} import recording/ --key keys/signer.key -o chat.evidence.json
      {program} import --attestation recording/ --chat chat/ --key signer.key -o c.json
    """,
        PROGRAM,
    ),
)
def import_recording(  # noqa: PLR0917  (typer makes options of arguments)
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Bundle to write.")],
    key: Annotated[Path, typer.Option("--key", metavar="KEY", help="Private capture key (PEM).")],
    recording: Annotated[
        Path | None, typer.Argument(metavar="RECORDING", help="Recorded session.")
    ] = None,
    attestation: Annotated[
        Path | None, typer.Option("--attestation", metavar="PATH", help="Attestation part.")
    ] = None,
    chat: Annotated[
        Path | None, typer.Option("--chat", metavar="DIR", help="Signed chat to go with it.")
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="NAME", help="Profile the bundle claims.")
    ] = None,
    operator: Annotated[
        str, typer.Option("--operator", metavar="TEXT", help="Who seals: free text, a claim.")
    ] = "unnamed",
    nonce: Annotated[
        str | None, typer.Option("--nonce", metavar="HEX", help="Nonce that was sent.")
    ] = None,
    captured_at: Annotated[
        str | None,
        typer.Option("--captured-at", metavar="TIME", help="When, if the recording is silent."),
    ] = None,
    passphrase_env: Annotated[
        str | None,
        typer.Option("--passphrase-env", metavar="NAME", help="Variable with the passphrase."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace FILE if it exists.")
    ] = False,
) -> None:
    """Seal a recorded session."""
    from bundle.importing import (  # noqa: PLC0415  (help does not need it)
        Import,
        import_session,
        next_step,
    )

    place = attestation or recording
    if place is None or (attestation and recording):
        raise UsageError("name either RECORDING or --attestation PATH")
    asked = Import(
        place=place,
        chat=chat,
        profile=profile,
        operator=operator,
        nonce=nonce,
        captured_at=captured_at,
        out=out,
        overwrite=overwrite,
    )
    bundle_id, _ = import_session(asked, key, passphrase_of(passphrase_env))
    print_text(f"{bundle_id}\n")
    say(f"wrote {out}", next_step(out))


@app.command(
    "nras",
    help=help_of(
        r"""Send a bundle's GPU evidence to NVIDIA's attestation service and attach the answer.

    Says what leaves the machine and asks first (or --yes). The bundle's own signature stays as it
    is; the answer becomes an attachment signed with KEY in a new file. `verify --online nras --key
    KEY` does the same in memory and writes nothing. Without a policy the result is judged under one
    drafted from the bundle itself. The API key, if any, comes from the environment and is nowhere
    stored.

    \b
    Examples:
      {program} nras chat.evidence.json --key k/signer.key --out chat-nras.evidence.json
      {program} nras chat.evidence.json --key k/signer.key --out n.json --claims 3.0 --yes \
          --api-key-env NVIDIA_API_KEY --policy policy.yaml --signer k/signer.pub
    """,
        PROGRAM,
    ),
)
def nras(  # noqa: PLR0917  (typer makes options of arguments)
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Bundle to submit.")],
    key: Annotated[Path, typer.Option("--key", metavar="KEY", help="Key that signs the record.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="NEW", help="Bundle to write.")],
    service: Annotated[
        str | None, typer.Option("--service", metavar="URL", help="Another service address.")
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option("--api-key-env", metavar="NAME", help="Variable that holds the API key."),
    ] = None,
    claims: Annotated[
        str, typer.Option("--claims", metavar="2.0|3.0", help="Version of the claims.")
    ] = "2.0",
    policy: Annotated[
        str | None, typer.Option("--policy", "-p", metavar="FILE", help="Judge under this policy.")
    ] = None,
    trust: Annotated[
        list[str] | None, typer.Option("--trust", "-t", metavar="FILE", help="Trust file.")
    ] = None,
    signer: Annotated[
        list[str] | None, typer.Option("--signer", metavar="KEY.pem", help="Believed signer.")
    ] = None,
    by: Annotated[
        str, typer.Option("--by", metavar="TEXT", help="Who submits: free text, a claim.")
    ] = "submitter",
    passphrase_env: Annotated[
        str | None,
        typer.Option("--passphrase-env", metavar="NAME", help="Variable with the passphrase."),
    ] = None,
    consent: Annotated[
        bool, typer.Option("--yes", help="Agree to the notice without being asked.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Ask about devices that have an answer, too.")
    ] = False,
    insist: Annotated[
        bool, typer.Option("--insist", help="Send evidence whose nonce did not pass.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace NEW.")] = False,
) -> None:
    """Submit GPU evidence."""
    from bundle.online import Asked, submit_to_file  # noqa: PLC0415  (help does not need it)

    code = submit_to_file(
        Asked(
            bundle=bundle,
            key=key,
            passphrase=passphrase_of(passphrase_env),
            service=service,
            api_key_env=api_key_env,
            claims=claims,
            by=by,
            consent=consent,
            again=again,
            insist=insist,
        ),
        policy=policy,
        trust=tuple(trust or ()),
        signer=tuple(signer or ()),
        out=out,
        overwrite=overwrite,
    )
    raise typer.Exit(code)


timestamp_command.register(app, PROGRAM)


@app.command(
    "pack",
    help=help_of(
        r"""Write an exploded bundle (a folder) as one file. Needs no key; nothing is lost.

    \b
    Example:
      {program} pack chat.evidence/ chat.evidence.json
    """,
        PROGRAM,
    ),
)
def pack_folder(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Exploded bundle.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Bundle to write; must not exist.")],
) -> None:
    """Pack a folder."""
    from bundle.pack import pack  # noqa: PLC0415  (help does not need it)

    pack(folder, file)
    say(f"wrote {file}")


@app.command(
    "unpack",
    help=help_of(
        r"""Write a bundle as a folder of plain files that other tools can look into.

    \b
    Example:
      {program} unpack chat.evidence.json chat.evidence/
    """,
        PROGRAM,
    ),
)
def unpack_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Bundle (*.evidence.json).")],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder to write; must not exist.")
    ],
) -> None:
    """Unpack a file."""
    from bundle.pack import unpack  # noqa: PLC0415  (help does not need it)

    unpack(file, folder)
    say(f"wrote {folder}")


@app.command(
    "demo",
    help=help_of(
        r"""Verify a shipped bundle, change one bit of a copy, and see what changes. Offline.

    \b
    Example:
      {program} demo
    """,
        PROGRAM,
    ),
)
def demo() -> None:
    """Run the demo."""
    from bundle import demo as shipped  # noqa: PLC0415  (help does not need it)

    raise typer.Exit(shipped.run(print_text, colour=colour_wanted()))


@policy_app.command(
    "init",
    help=help_of(
        r"""Write a policy of your own from a shipped default.

    With --bundle, signer, pins and counts are taken from that bundle and marked line by line:
    confirm each of them from another source. --trust or --signer let its signature be checked, too.

    \b
    Examples:
      {program} policy init --from near-direct -o policy.yaml
      {program} policy init --from venice --bundle good.evidence.json -o policy.yaml
    """,
        PROGRAM,
    ),
)
def policy_init(  # noqa: PLR0917  (typer makes options of arguments)
    default: Annotated[str, typer.Option("--from", metavar="NAME", help="Shipped default.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Policy to write.")],
    bundle: Annotated[
        str | None, typer.Option("--bundle", metavar="GOOD", help="Bundle to take values from.")
    ] = None,
    trust: Annotated[
        list[str] | None, typer.Option("--trust", "-t", metavar="FILE", help="Trust file.")
    ] = None,
    signer: Annotated[
        list[str] | None, typer.Option("--signer", metavar="KEY", help="Signer's public key.")
    ] = None,
    blobs: Annotated[
        str | None, typer.Option("--blobs", metavar="DIR", help="What is too large for GOOD.")
    ] = None,
    accept_added: Annotated[
        bool, typer.Option("--accept-added", help="Accept vendor roots that --trust adds.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace FILE if it exists.")
    ] = False,
) -> None:
    """Write a policy."""
    from bundle.policy_init import draft_policy  # noqa: PLC0415  (help does not need it)
    from bundle.seal import refuse_input, write_new  # noqa: PLC0415  (the same)
    from verify.cli.blobs import BlobFolder  # noqa: PLC0415  (the same)
    from verify.cli.files import bundle_bytes  # noqa: PLC0415  (the same)
    from verify.cli.loading import trust_of  # noqa: PLC0415  (the same)
    from verify.wire.limits import EXTERNAL_HARD  # noqa: PLC0415  (the same)

    refuse_input(out, (bundle, *(trust or ()), *(signer or ())))
    data = None if bundle is None else bundle_bytes(bundle)
    outside = None if blobs is None else BlobFolder(blobs, limit=EXTERNAL_HARD)
    store = trust_of(tuple(trust or ()), tuple(signer or ()))
    made = draft_policy(default, data, store, outside, accept_added=accept_added)
    write_new(out, made.data, overwrite=overwrite)
    say(f"wrote {out}")
    if data is None:
        return
    aside = ""
    if not made.signer_known:
        say("the bundle's own signature was not checked: its key is not here (--signer, --trust)")
        aside = "apart from that, "
    if made.open:
        say(f"{aside}under this policy the bundle is not yet VERIFIED:")
        say(*(f"  {status}  {check}  {reason}" for check, status, reason in made.open))
    else:
        say(f"{aside}under this policy the bundle gives VERIFIED; confirm marked lines elsewhere")


@policy_app.command(
    "check",
    help=help_of(
        r"""Read a policy as the verifier does, and say what it demands and leaves open.

    \b
    Example:
      {program} policy check policy.yaml
    """,
        PROGRAM,
    ),
)
def policy_check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Policy (YAML).")],
) -> None:
    """Check a policy."""
    from bundle.policy_check import check_policy  # noqa: PLC0415  (help does not need it)
    from verify.cli.files import read_file  # noqa: PLC0415  (the same)
    from verify.policy.closed_yaml import MAX_BYTES  # noqa: PLC0415  (the same)

    print_text(check_policy(read_file(file, MAX_BYTES, "policy"), file=file))


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    del version
