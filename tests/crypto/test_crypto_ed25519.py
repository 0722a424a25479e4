"""Ed25519: what RFC 8032 leaves open is refused."""

from __future__ import annotations

import hashlib
import sys
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.crypto import ed25519
from verify.crypto.ecdsa import Curve, Signed, signed_der
from verify.crypto.ed25519 import acceptable_key, signed

PRIVATE = Ed25519PrivateKey.from_private_bytes(
    hashlib.sha256(b"teebundle TEST ONLY ed25519").digest()
)
KEY = PRIVATE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
MESSAGE = b"model:request:response"
SIGNATURE = PRIVATE.sign(MESSAGE)
ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19

SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def test_signed_by_the_key_holds() -> None:
    assert signed(KEY, SIGNATURE, MESSAGE)


def test_signed_rfc_8032_vector_holds() -> None:
    key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    signature = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert signed(bytes.fromhex(key), bytes.fromhex(signature), b"\x72")


@pytest.mark.parametrize(
    ("key", "signature", "message"),
    [
        (KEY, SIGNATURE, MESSAGE + b" "),
        (KEY, SIGNATURE[:63], MESSAGE),
        (KEY, SIGNATURE + b"\x00", MESSAGE),
        (KEY[:31], SIGNATURE, MESSAGE),
        (bytes(31) + b"\x02", SIGNATURE, MESSAGE),
        (KEY, bytes((SIGNATURE[0] ^ 1,)) + SIGNATURE[1:], MESSAGE),
    ],
)
def test_signed_anything_else_does_not_hold(key: bytes, signature: bytes, message: bytes) -> None:
    assert not signed(key, signature, message)


def test_signed_scalar_not_reduced_does_not_hold() -> None:
    scalar = int.from_bytes(SIGNATURE[32:], "little") + ORDER
    assert not signed(KEY, SIGNATURE[:32] + scalar.to_bytes(32, "little"), MESSAGE)


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_signed_key_of_small_order_does_not_hold(key: str) -> None:
    # R = the neutral element and S = 0 verify any message under the neutral element as key
    signature = b"\x01" + bytes(63)
    assert not acceptable_key(bytes.fromhex(key))
    assert not signed(bytes.fromhex(key), signature, MESSAGE)


def test_acceptable_key_not_canonical_is_refused() -> None:
    assert not acceptable_key((PRIME + 3).to_bytes(32, "little"))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=70), st.binary(max_size=20))
def test_signed_any_bytes_never_raises(key: bytes, signature: bytes, message: bytes) -> None:
    assert not signed(key, signature, message)


def test_ed25519_keys_are_loaded_alike_where_the_compiled_part_is_elsewhere(monkeypatch):
    raw = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    key = Ed25519PublicKey.from_public_bytes(raw)
    assert ed25519.public_key(raw) == key
    assert ed25519._loader()(raw) == key
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.bindings._rust", None)
    assert ed25519._loader()(raw) == key
    monkeypatch.setitem(
        sys.modules,
        "cryptography.hazmat.bindings._rust",
        SimpleNamespace(openssl=SimpleNamespace()),
    )
    assert ed25519._loader()(raw) == key


@pytest.mark.parametrize("size", [0, 31, 33])
def test_ed25519_key_of_another_size_is_a_value_error(size):
    with pytest.raises(ValueError, match="32 bytes"):
        ed25519.public_key(bytes(size))


def test_library_accepts_the_stated_algorithm_for_both_curves():
    message = b"TEST ONLY"
    for curve, native, digest in (
        (Curve.P256, ec.SECP256R1(), hashes.SHA256()),
        (Curve.P384, ec.SECP384R1(), hashes.SHA384()),
    ):
        private = ec.generate_private_key(native)
        made = private.sign(message, ec.ECDSA(digest))
        assert signed_der(private.public_key(), made, message, curve) is Signed.YES
        assert signed_der(private.public_key(), made, message + b".", curve) is Signed.NO
        other = private.sign(message, ec.ECDSA(hashes.SHA512()))
        assert signed_der(private.public_key(), other, message, curve) is Signed.NO
