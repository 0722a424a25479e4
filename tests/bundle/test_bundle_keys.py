"""File keys: what is made, how it is stored, what is refused."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_public_key,
)

from bundle.keys import KeyAlgorithm, generate, key_id, load, write_pair
from verify.engine.errors import UsageError


@pytest.mark.parametrize(("algorithm", "size"), [("ed25519", 44), ("p256", 91)])
def test_keys_generated_load_again_and_sign(algorithm: KeyAlgorithm, size: int) -> None:
    signer = generate(algorithm)
    again = load(signer.private_pem(), name="k")
    assert again.spki() == signer.spki()
    assert len(signer.spki()) == size
    public = load_der_public_key(signer.spki())
    signature = again.sign(b"message")
    if isinstance(public, ec.EllipticCurvePublicKey):
        from cryptography.hazmat.primitives import hashes

        public.verify(signature, b"message", ec.ECDSA(hashes.SHA256()))
    else:
        public.verify(signature, b"message")  # type: ignore[union-attr, call-arg]


def test_keys_repr_shows_only_the_key_id() -> None:
    signer = generate()
    assert repr(signer) == f"FileSigner({key_id(signer.spki())})"


def test_keys_written_private_is_0600_and_never_overwritten(tmp_path: Path) -> None:
    private, public = write_pair(tmp_path / "k", generate())
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert public.read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----")
    before = private.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        write_pair(tmp_path / "k", generate())
    assert private.read_bytes() == before


def test_keys_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "signer.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="never overwritten"):
        write_pair(tmp_path / "k", generate())
    assert not (tmp_path / "elsewhere").exists()


def test_keys_encrypted_needs_its_passphrase() -> None:
    pem = generate().private_pem(b"open")
    assert load(pem, name="k", passphrase=b"open").spki()
    with pytest.raises(UsageError, match="encrypted"):
        load(pem, name="k")
    with pytest.raises(UsageError, match="wrong passphrase"):
        load(pem, name="k", passphrase=b"shut")
    with pytest.raises(UsageError, match="not encrypted"):
        load(generate().private_pem(), name="k", passphrase=b"open")


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
    ],
)
def test_keys_of_other_kinds_are_refused(key: rsa.RSAPrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UsageError, match="only Ed25519 and P-256"):
        load(pem, name="k")


def test_keys_nonsense_is_refused_with_a_way_out() -> None:
    with pytest.raises(UsageError, match="teebundle keygen"):
        load(b"nonsense", name="k")


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_keys_where_no_folder_can_be_is_a_usage_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="no folder can be made"):
        write_pair(tmp_path / place, generate())


def test_keys_that_cannot_be_written_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def full(path: Path, flags: int, mode: int) -> int:
        if path.name == "signer.pub":
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, flags, mode)

    monkeypatch.setattr("bundle.keys.os.open", full)
    with pytest.raises(UsageError, match="No space left"):
        write_pair(tmp_path / "k", generate())
    assert list((tmp_path / "k").iterdir()) == []
