"""Import: a recording on disk, assembled, signed, read back and written. The clock is not asked."""

from __future__ import annotations

import base64
import json
import os
import secrets
import uuid
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from bundle.importers.draft import draft
from bundle.importers.parts import read_parts
from bundle.keys import FileSigner, key_id, load
from bundle.seal import PAYLOAD_TYPE, SealError, pae, refuse_input, seal, write_new
from verify.cli.files import KEY_LIMIT, read_file
from verify.engine.errors import MalformedInput, UsageError
from verify.engine.value import value

CREDENTIALS: Final = "TEEBUNDLE_CREDENTIALS"
"""Environment variable: credentials, one a line, that must not stand anywhere in the bundle."""


@value
class Import:
    """What a call of ``import`` asks for. ``captured_at``: RFC 3339, for silent recordings."""

    place: Path
    chat: Path | None
    profile: str | None
    operator: str
    nonce: str | None
    captured_at: str | None
    out: Path
    overwrite: bool


def load_key(path: Path, passphrase: bytes | None) -> FileSigner:
    """Return the signer of a key file. Raises UsageError."""
    try:
        data = read_file(str(path), KEY_LIMIT, "trust")
    except MalformedInput as error:  # a private key is no trust file, whatever reads it
        message = f"{path}: no private key: {error.what}; make one with: teebundle keygen --out DIR"
        raise UsageError(message) from error
    return load(data, name=str(path), passphrase=passphrase)


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        message = f"--captured-at takes a time with its zone, 2026-06-10T09:00:00Z, not {text!r}"
        raise UsageError(message)
    return found.astimezone(UTC)


def bundle_id_of(data: bytes) -> str:
    """Return the bundle id of a packed file that was just sealed."""
    payload = base64.b64decode(json.loads(data)["statement"]["payload"])
    return "sha256:" + sha256(pae(PAYLOAD_TYPE, payload)).hexdigest()


def next_step(out: Path) -> str:
    """Say how to go on with a bundle that was just written."""
    from bundle.policy_init import fitting_defaults  # noqa: PLC0415  (only a good import pays)
    from verify.api import open_unverified  # noqa: PLC0415  (the same)

    statement = open_unverified(out.read_bytes()).evidence.statement
    fitting = fitting_defaults(statement)
    if not fitting:
        return f"no shipped policy fits profile {statement.profile} and what the bundle holds"
    return f"next: teebundle policy init --from {fitting[0]} --bundle {out} -o policy.yaml"


def import_session(asked: Import, key: Path, passphrase: bytes | None) -> tuple[str, str]:
    """Seal the recording that was asked for; return id and profile of the bundle written.

    Raises UsageError for a recording or key that cannot be used, and for a credential found in
    what was about to be stored; then nothing is written.
    """
    refuse_input(asked.out, (key, asked.place))
    signer = load_key(key, passphrase)
    recording = read_parts(
        asked.place, asked.chat, nonce=asked.nonce, captured_at=_instant(asked.captured_at)
    )
    made = draft(
        recording,
        signer=key_id(signer.spki()),
        statement_id=f"urn:uuid:{uuid.uuid4()}",
        salt=lambda _artifact: secrets.token_bytes(32),
        operator=asked.operator,
        profile=asked.profile,
    )
    known = [line for line in os.environ.get(CREDENTIALS, "").splitlines() if line]
    try:
        data = seal(made.assembly.freeze(made.claims), [signer], secrets=known)
    except SealError as error:
        raise UsageError(str(error)) from error
    write_new(asked.out, data, overwrite=asked.overwrite)
    return bundle_id_of(data), made.assembly.profile
