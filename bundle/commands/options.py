"""Options that several sub-commands share: one wording, one spelling."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

PassphraseOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--passphrase-env", metavar="NAME", help="Variable with its passphrase."),
]
ApiKeyOption: TypeAlias = Annotated[
    str | None, typer.Option("--api-key-env", metavar="NAME", help="Variable with the API key.")
]
TrustOption: TypeAlias = Annotated[
    list[Path] | None, typer.Option("--trust", "-t", metavar="FILE", help="Trust file.")
]
NrasOption: TypeAlias = Annotated[
    bool | None, typer.Option("--nras/--no-nras", help="Ask NVIDIA's attestation service as well.")
]
NrasKeyOption: TypeAlias = Annotated[
    str | None, typer.Option("--nras-key-env", metavar="NAME", help="Variable with NVIDIA's key.")
]
JsonLinesOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Event lines (JSON) on standard output.")
]
KeyOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option("--key", metavar="KEY", help="Private capture key (PEM; repeatable)."),
]
BaseUrlOption: TypeAlias = Annotated[
    str | None, typer.Option("--base-url", metavar="URL", help="Provider's address.")
]
SignerOption: TypeAlias = Annotated[
    list[Path] | None, typer.Option("--signer", metavar="PUB", help="Believed signer.")
]
ConsentOption: TypeAlias = Annotated[
    bool, typer.Option("--yes", help="Agree to what --nras sends without being asked.")
]
TsaOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--tsa", metavar="URL", help="RFC 3161 authority (repeatable)."),
]
AlgorithmOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--algorithm", metavar="ecdsa|ed25519", help="Signing algorithm."),
]
TimeoutOption: TypeAlias = Annotated[
    float | None, typer.Option("--timeout", metavar="S", help="Seconds without a byte.")
]
ProxyOption: TypeAlias = Annotated[
    str | None, typer.Option("--proxy", metavar="URL", help="HTTP proxy to go through.")
]
CaFileOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--ca-file", metavar="FILE", help="Further CAs for HTTPS (PEM)."),
]
UnverifiedHostOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--unverified-host",
        metavar="HOST",
        help="Host with a self-made certificate; attestation must bind its key.",
    ),
]
KnobOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="A provider's own knob."),
]
OperatorOption: TypeAlias = Annotated[
    str | None, typer.Option("--operator", metavar="TEXT", help="Who captures: a claim.")
]
ProfileOption: TypeAlias = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="Profile it claims.")
]
ConfigOption: TypeAlias = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="teebundle.yaml")
]
