"""Signing keys: make, store, load. Ed25519 by default, ECDSA P-256 for hardware and cloud keys.

No algorithm name travels with a signature; the key fixes it. Source: bundle-format.md 9.1.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from verify.engine.errors import UsageError
from verify.wire.model import KeyId

KeyAlgorithm = Literal["ed25519", "p256"]


class Signer(Protocol):
    """Anything that signs: a file key here, a KMS or a token elsewhere."""

    def spki(self) -> bytes:
        """Return the SubjectPublicKeyInfo DER of the public key."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature over ``message``: 64 bytes for Ed25519, DER for ECDSA P-256."""


def key_id(spki: bytes) -> KeyId:
    """Return ``sha256:`` and the hex digest of a SubjectPublicKeyInfo DER."""
    return KeyId("sha256:" + sha256(spki).hexdigest())


@dataclass(frozen=True, slots=True)
class FileSigner:
    """A private key held in memory. ``repr`` never shows it."""

    _key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    deterministic: bool = False

    def __repr__(self) -> str:
        return f"FileSigner({key_id(self.spki())})"

    def spki(self) -> bytes:
        """Return the SubjectPublicKeyInfo DER of the public key."""
        return self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def public_pem(self) -> bytes:
        """Return the public key as PEM."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def private_pem(self, passphrase: bytes | None = None) -> bytes:
        """Return the private key as PKCS#8 PEM, encrypted where a passphrase is given."""
        protection = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)

    def sign(self, message: bytes) -> bytes:
        """Return the signature: 64 bytes for Ed25519, DER with SHA-256 for ECDSA P-256."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(
            message, ec.ECDSA(hashes.SHA256(), deterministic_signing=self.deterministic)
        )


def generate(algorithm: KeyAlgorithm = "ed25519") -> FileSigner:
    """Make a fresh key from the operating system's random source."""
    if algorithm == "p256":
        return FileSigner(ec.generate_private_key(ec.SECP256R1()))
    return FileSigner(Ed25519PrivateKey.generate())


def load(data: bytes, *, name: str, passphrase: bytes | None = None) -> FileSigner:
    """Return the signer of a PKCS#8 PEM. ``name``: the file's name, for messages.

    Raises UsageError, saying what to do, for anything that is not an Ed25519 or P-256 private key.
    """
    try:
        key = load_pem_private_key(data, passphrase)
    except TypeError as error:
        message = f"{name}: the key is encrypted; name the variable that holds its passphrase"
        if passphrase:
            message = f"{name}: a passphrase was given but the key is not encrypted"
        raise UsageError(message) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        message = (
            f"{name}: not a readable PKCS#8 PEM private key (wrong file, or wrong passphrase); "
            "make one with: teebundle keygen --out DIR"
        )
        raise UsageError(message) from error
    if isinstance(key, Ed25519PrivateKey):
        return FileSigner(key)
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return FileSigner(key)
    message = f"{name}: only Ed25519 and P-256 keys sign bundles; make one with: teebundle keygen"
    raise UsageError(message)


def write_pair(
    folder: Path, signer: FileSigner, passphrase: bytes | None = None
) -> tuple[Path, Path]:
    """Write ``signer.key`` (mode 0600) and ``signer.pub`` below ``folder``; return both paths.

    Raises UsageError where one of them exists (a key is never overwritten) or cannot be written;
    then neither is left behind.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{folder}: no folder can be made there: {error.strerror or error}"
        raise UsageError(message) from error
    private, public = folder / "signer.key", folder / "signer.pub"
    for path in (private, public):
        if path.exists() or path.is_symlink():
            message = f"{path}: exists already; a key is never overwritten, choose another folder"
            raise UsageError(message)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    made: list[Path] = []
    try:
        for path, mode, pem in (
            (private, 0o600, signer.private_pem(passphrase)),
            (public, 0o644, signer.public_pem()),
        ):
            descriptor = os.open(path, flags, mode)
            made.append(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
    except OSError as error:
        for path in made:
            path.unlink(missing_ok=True)
        message = f"{folder}: keys cannot be written there: {error.strerror or error}"
        raise UsageError(message) from error
    return private, public


def passphrase_in(variable: str | None, environment: Mapping[str, str]) -> bytes | None:
    """Return the passphrase held by a variable; None where no variable is named. UsageError."""
    if variable is None:
        return None
    value = environment.get(variable)
    if not value:
        message = f"the environment variable {variable} holds no passphrase"
        raise UsageError(message)
    return value.encode()
