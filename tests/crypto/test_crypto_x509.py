"""Certificates and lists are read whole or not at all; PEM chains are split strictly."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from fixtures import intel_pki as pki
from verify.crypto import x509 as ours
from verify.crypto.cache import Bounded
from verify.crypto.ecdsa import (
    Curve,
    Signed,
    curve_of,
    key_from_point,
    signed_der,
    signed_raw,
    signed_raw_by,
)
from verify.crypto.x509 import (
    ChainTooLongError,
    load_certificate,
    load_revocation_list,
    recorded_crl_der,
    signed_by,
    split_pem,
)
from verify.engine.errors import FormatError

CHAIN = pki.BASE.pck_chain
ROOT = pki.BASE.anchor


def test_certificate_read_again_is_the_same_object():
    assert load_certificate(ROOT) is load_certificate(bytes(ROOT))


def test_certificate_members_are_those_of_the_library():
    found = load_certificate(pki.BASE.leaf_der)
    native = x509.load_der_x509_certificate(pki.BASE.leaf_der)
    assert found.serial == native.serial_number
    assert found.common_names == ("Intel SGX PCK Certificate",)
    assert found.version == 3
    assert found.path_length is None
    assert found.curve is Curve.P256
    spki = native.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert found.spki_sha256 == pki.hashlib.sha256(spki).digest()


def test_certificate_of_another_key_kind_has_no_curve():
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
    name = x509.Name([])
    native = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(pki.AS_OF)
        .not_valid_after(pki.AS_OF)
        .sign(key, None)
    )
    found = load_certificate(native.public_bytes(serialization.Encoding.DER))
    assert found.curve is None
    assert found.ca is None
    assert not found.may_sign
    assert signed_by(found, found) is Signed.NO


@pytest.mark.parametrize("data", [b"", b"0", ROOT[:-1], ROOT + b"\x00", bytes(65537)])
def test_what_is_no_certificate_is_a_format_error(data):
    with pytest.raises(FormatError):
        load_certificate(data)


@pytest.mark.parametrize("data", [b"", ROOT, pki.BASE.pck_crl + b"\x00", bytes(1024 * 1024 + 1)])
def test_what_is_no_list_is_a_format_error(data):
    with pytest.raises(FormatError):
        load_revocation_list(data)


def _with_serial(der, serial):
    """Return a certificate with another serial of the same length; its signature is then wrong."""
    old = b"\x02\x04" + load_certificate(der).serial.to_bytes(4, "big")
    assert old in der
    return der.replace(old, b"\x02\x04" + serial, 1)


def test_negative_serial_is_a_format_error():
    with pytest.raises(FormatError):
        load_certificate(_with_serial(ROOT, b"\xff\x00\x00\x01"))


def test_certificate_with_explicit_curve_parameters_has_no_usable_key():
    named = bytes.fromhex("06082a8648ce3d030107")
    der = ROOT.replace(named, bytes.fromhex("06082a8648ce3d030108"), 1)
    try:
        found = load_certificate(der)
    except FormatError:
        return
    assert found.key is None


class _Panic(BaseException):
    """Stands for a Rust panic, which derives from BaseException alone."""


@pytest.mark.parametrize(
    "error", [ValueError, TypeError, OverflowError, _Panic, x509.InvalidVersion]
)
def test_whatever_the_library_throws_is_a_format_error(monkeypatch, error):
    def throw(_):
        raise error("x", 1) if error is x509.InvalidVersion else error("x")

    monkeypatch.setattr(ours.narrow, "read_certificate", lambda _: None)
    monkeypatch.setattr(ours, "read_by_library", throw)
    ours.forget()
    with pytest.raises(FormatError):
        load_certificate(ROOT)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit])
def test_interruptions_are_not_swallowed(monkeypatch, error):
    def throw(_):
        raise error

    monkeypatch.setattr(ours.narrow, "read_certificate", lambda _: None)
    monkeypatch.setattr(ours, "read_by_library", throw)
    ours.forget()
    with pytest.raises(error):
        load_certificate(ROOT)


def test_list_with_a_critical_entry_extension_is_a_format_error():
    entry = (
        x509.RevokedCertificateBuilder()
        .serial_number(5)
        .revocation_date(pki.AS_OF)
        .add_extension(x509.CertificateIssuer([x509.DNSName("test-only.invalid")]), critical=True)
        .build()
    )
    plain = (
        x509.RevokedCertificateBuilder()
        .serial_number(6)
        .revocation_date(pki.AS_OF)
        .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
        .build()
    )

    def listed(revoked):
        crl = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(x509.Name([]))
            .last_update(pki.AS_OF)
            .next_update(pki.AS_OF)
            .add_revoked_certificate(revoked)
            .sign(pki.key("x"), hashes.SHA256(), ecdsa_deterministic=True)
        )
        return crl.public_bytes(serialization.Encoding.DER)

    assert load_revocation_list(listed(plain)).revoked == frozenset({6})
    with pytest.raises(FormatError):
        load_revocation_list(listed(entry))


def test_chain_is_split_into_its_blocks():
    assert split_pem(CHAIN) == (pki.BASE.leaf_der, pki.BASE.authority.der(), ROOT)
    assert split_pem(b"\r\n\t " + CHAIN.replace(b"\n", b"\r\n") + b" \n\x00")[2] == ROOT


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x00",
        CHAIN + b"\x00\x00",
        CHAIN + b"\x00\n",
        b"\x00" + CHAIN,
        b"subject=x\n" + CHAIN,
        CHAIN + b"x",
        CHAIN.replace(b"-----END", b"----END", 1),
        CHAIN.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
        b"-----BEGIN CERTIFICATE-----\nMA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMA=\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMB==\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMA==MA==\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nM*A=\n-----END CERTIFICATE-----\n",
    ],
    ids=range(14),
)
def test_text_that_is_no_plain_chain_is_a_format_error(text):
    with pytest.raises(FormatError):
        split_pem(text)


def test_longer_chain_than_asked_for_is_told_apart():
    with pytest.raises(ChainTooLongError):
        split_pem(CHAIN, limit=2)
    assert len(split_pem(CHAIN, limit=3)) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"3",
        b"303",
        b"text",
        b"-----BEGIN X509 CRL-----\nMA\n-----END X509 CRL-----\n",
        b"-----BEGIN X509 CRL-----\nMB==\n-----END X509 CRL-----\n",
        b"-----BEGIN X509 CRL-----\nMA==\n-----END X509 CRL-----\nx",
    ],
)
def test_recorded_list_of_no_known_encoding_does_not_give_a_list(body):
    with pytest.raises(FormatError):
        load_revocation_list(recorded_crl_der(body))


# --- ECDSA --------------------------------------------------------------------------------------

KEY = pki.key("x").public_key()
MESSAGE = b"message"
GOOD = pki.sign_raw("x", MESSAGE)


def test_raw_signature_of_the_key_is_recognised_again_and_again():
    for _ in range(2):
        assert signed_raw_by(b"key id", KEY, GOOD, MESSAGE, Curve.P256) is Signed.YES
        assert signed_raw_by(b"key id", KEY, GOOD, b"other", Curve.P256) is Signed.NO


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\x00",
        bytes(64),
        bytes(32) + GOOD[32:],
        GOOD[:32] + bytes(32),
        b"\xff" * 64,
        GOOD[32:] + GOOD[:32],
    ],
)
def test_malformed_signature_is_no_signature(signature):
    assert signed_raw(KEY, signature, MESSAGE, Curve.P256) is Signed.NO


def test_key_of_another_curve_is_no_signer():
    assert signed_raw(KEY, b"\x01" * 96, MESSAGE, Curve.P384) is Signed.NO
    assert signed_der(KEY, b"", MESSAGE, Curve.P256) is Signed.NO


def test_p384_signature_uses_sha384():
    key = ec.derive_private_key(7, ec.SECP384R1())
    der = key.sign(MESSAGE, ec.ECDSA(hashes.SHA384(), deterministic_signing=True))
    assert signed_der(key.public_key(), der, MESSAGE, Curve.P384) is Signed.YES
    other = key.sign(MESSAGE, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    assert signed_der(key.public_key(), other, MESSAGE, Curve.P384) is Signed.NO


def test_point_off_the_curve_or_of_another_size_is_no_key():
    assert key_from_point(Curve.P256, pki.public_point("x")) is not None
    assert key_from_point(Curve.P256, bytes(64)) is None
    assert key_from_point(Curve.P256, bytes(63)) is None


def test_curve_of_what_is_no_supported_key_is_none():
    assert curve_of(ec.derive_private_key(7, ec.SECP521R1()).public_key()) is None
    assert curve_of("key") is None


# --- cache --------------------------------------------------------------------------------------


def test_bounded_map_drops_its_oldest_entry():
    cache: Bounded[int, str] = Bounded(2)
    for number in range(3):
        assert cache.put(number, str(number)) == str(number)
    assert len(cache) == 2
    assert cache.get(0) is None
    assert cache.get(2) == "2"
    cache.put(2, "two")
    assert len(cache) == 2
    cache.clear()
    assert len(cache) == 0


@pytest.mark.parametrize("kind", ["certificate", "list"])
def test_a_signature_that_claims_unused_bits_is_a_format_error(kind):
    der, load = {
        "certificate": (ROOT, load_certificate),
        "list": (pki.BASE.pck_crl, load_revocation_list),
    }[kind]
    native = load(der)
    place = der.rindex(native.signature) - 1
    assert der[place] == 0
    changed = der[:place] + b"\x01" + der[place + 1 :]
    with pytest.raises(FormatError):
        load(changed)
