"""Signatures of bundle signers: the key fixes the algorithm, one encoding each."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.worked_example import OTHER, P256, SIGNER
from verify.crypto.ecdsa import Signed
from verify.crypto.signatures import Algorithm, key_id, load_signer_key, signed
from verify.engine.errors import FormatError

MESSAGE = b"message"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def spki(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("key", "algorithm"), [(SIGNER, Algorithm.ED25519), (P256, Algorithm.ECDSA_P256)]
)
def test_key_signs_by_its_own_algorithm(key, algorithm):
    loaded = load_signer_key(key.spki)
    assert loaded.algorithm is algorithm
    assert loaded.keyid == key.keyid == key_id(key.spki)
    good = key.sign(MESSAGE)
    assert signed(loaded, good, MESSAGE) is Signed.YES
    assert signed(loaded, good, MESSAGE + b"x") is Signed.NO
    assert signed(loaded, good + b"\x00", MESSAGE) is Signed.NO
    assert signed(loaded, good[:-1], MESSAGE) is Signed.NO
    assert signed(loaded, b"", MESSAGE) is Signed.NO
    assert signed(load_signer_key(OTHER.spki), good, MESSAGE) is Signed.NO


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        SIGNER.spki[:-1],
        SIGNER.spki + b"\x00",
        SIGNER.spki[:12] + bytes(32),
        SIGNER.spki[:12] + b"\xff" * 32,
        P256.spki[:-1],
        P256.spki[:27] + bytes(64),
        P256.spki[:26] + b"\x02" + P256.spki[27:59],
        spki(ec.derive_private_key(7, ec.SECP384R1())),
        spki(ec.derive_private_key(7, ec.SECP256K1())),
        spki(rsa.generate_private_key(65537, 2048)),
    ],
)
def test_key_of_any_other_kind_is_refused(data):
    with pytest.raises(FormatError):
        load_signer_key(data)


def test_ecdsa_signature_has_one_encoding():
    key = load_signer_key(P256.spki)
    good = P256.sign(MESSAGE)
    r, s = decode_dss_signature(good)
    assert signed(key, encode_dss_signature(r, ORDER - s), MESSAGE) is Signed.YES
    long_form = b"\x30\x81" + good[1:]
    padded = bytes([0x30, good[1] + 1, 2, good[3] + 1, 0]) + good[4:]
    for bad in (
        long_form,
        padded,
        encode_dss_signature(0, s),
        encode_dss_signature(r, 0),
        r.to_bytes(32, "big") + s.to_bytes(32, "big"),
        b"\x30\x03\x02\x01\x01",
        b"\x30\x09" + b"\x02\x01\x01" * 3,
    ):
        assert signed(key, bad, MESSAGE) is Signed.NO


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=120), head=st.sampled_from([b"", SIGNER.spki[:12], P256.spki[:27]]))
def test_key_of_any_bytes_is_loaded_or_a_format_error(data, head):
    try:
        key = load_signer_key(head + data)
    except FormatError:
        return
    assert key.spki == head + data


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=80))
def test_signature_of_any_bytes_is_no(data):
    for key in (SIGNER, P256):
        assert signed(load_signer_key(key.spki), data, MESSAGE) is Signed.NO
