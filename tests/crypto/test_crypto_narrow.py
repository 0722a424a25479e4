"""Whatever the narrow reader says of a certificate or list, the library says as well."""

from __future__ import annotations

import base64
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import intel_pki as pki
from fixtures import nvidia_pki, sessions
from verify.crypto import narrow
from verify.crypto.certificate import Certificate
from verify.crypto.x509 import library_list_parts, load_certificate, read_by_library, split_pem
from verify.engine.errors import FormatError
from verify.engine.value import fields_of

DEVICE = tuple(nvidia_pki.der(plan) for plan in nvidia_pki.rim_chain())
CERTIFICATES = (
    *split_pem(pki.BASE.pck_chain),
    *split_pem(pki.BASE.tcb_info_chain),
    *DEVICE,
    nvidia_pki.der(nvidia_pki.nras_intermediate()),
)
LISTS = (pki.BASE.pck_crl, pki.BASE.root_crl)


def members(found: Certificate):
    said = {f.name: getattr(found, f.name) for f in fields_of(Certificate) if f.name != "key"}
    key = None if found.key is None else found.key.public_numbers()
    return {**said, "key": key, "extensions": list(found.extensions.items())}


def agree(data: bytes) -> bool:
    """Hold the two readers side by side; whether the narrow one read it."""
    found = narrow.read_certificate(data)
    if found is None:
        return False
    assert members(found) == members(read_by_library(data))
    return True


def lists_agree(data: bytes) -> bool:
    native = x509.load_der_x509_crl(data)
    found = narrow.list_parts(native.tbs_certlist_bytes)
    if found is None:
        return False
    other = library_list_parts(native)
    assert list(found.extensions.items()) == list(other.extensions.items())
    assert found.revoked == other.revoked
    return True


@pytest.mark.parametrize("data", CERTIFICATES)
def test_certificate_of_a_vendor_is_read_as_the_library_reads_it(data):
    assert agree(data)


@pytest.mark.parametrize("data", LISTS)
def test_list_of_a_vendor_is_read_as_the_library_reads_it(data):
    assert lists_agree(data)


def recorded(root):
    """Give everything in real evidence that looks like a PEM block, in escaped text as well."""
    block = re.compile(
        rb"-----BEGIN (?:CERTIFICATE|X509 CRL)-----((?:\\n|\\r|[A-Za-z0-9+/=\s])+?)-----END"
    )
    nested = re.compile(rb"[A-Za-z0-9+/=]{400,}")
    seen = set()
    for path in sorted(root.rglob("*")):
        if not path.is_file():
            continue
        texts = [path.read_bytes()]
        texts += [
            base64.b64decode(part + b"=" * (-len(part) % 4)) for part in nested.findall(texts[0])
        ]
        for text in texts:
            for body in block.findall(text):
                plain = re.sub(rb"\\[nr]|\s", b"", body)
                if len(plain) % 4 == 0 and plain not in seen:
                    seen.add(plain)
                    yield base64.b64decode(plain)


def test_every_real_certificate_and_list_is_read_as_the_library_reads_it(evidence_root):
    certificates, lists = [], []
    for data in recorded(evidence_root):
        try:
            x509.load_der_x509_certificate(data)
            certificates.append(agree(data))
        except ValueError:
            lists.append(lists_agree(data))
    assert len(certificates) > 100
    assert sum(certificates) > len(certificates) * 2 // 3
    assert all(lists)


def grown(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_changed_certificate_is_read_as_the_library_reads_it_or_not_at_all(data):
    whole = data.draw(st.sampled_from(CERTIFICATES))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole = grown(whole, at, bytes([data.draw(st.integers(0, 255))]))
    agree(whole)


def tags(data: bytes):
    """Give where the elements of a certificate begin."""
    stack = [(0, len(data))]
    while stack:
        at, stop = stack.pop()
        while at + 2 <= stop:
            yield at
            size, inside = data[at + 1], at + 2
            if size & 0x80:
                inside += size & 0x7F
                size = int.from_bytes(data[at + 2 : inside], "big")
            if data[at] & 0x20:
                stack.append((inside, inside + size))
            at = inside + size


@pytest.mark.parametrize("data", CERTIFICATES[:4])
def test_certificate_with_another_tag_is_read_as_the_library_reads_it_or_not_at_all(data):
    for at in tags(data):
        for tag in (0x01, 0x02, 0x03, 0x04, 0x0C, 0x13, 0x16, 0x17, 0x18, 0x30, 0x31, 0x80, 0xA3):
            agree(grown(data, at, bytes([tag])))
        for number in (0x00, 0x7F, 0x80, 0xFF):
            agree(grown(data, at + 2, bytes([number])))


@pytest.mark.parametrize("data", LISTS)
def test_list_with_another_byte_is_read_as_the_library_reads_it_or_not_at_all(data):
    for at in range(len(data)):
        for number in (data[at] ^ 1, 0x00, 0x80, 0xFF):
            changed = grown(data, at, bytes([number]))
            try:
                x509.load_der_x509_crl(changed)
            except (ValueError, x509.InvalidVersion):
                continue
            lists_agree(changed)


KEY = ec.derive_private_key(7, ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "TEST ONLY")])


def made(*extensions, name=NAME, serial=5):
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(NAME)
        .public_key(KEY.public_key())
        .serial_number(serial)
        .not_valid_before(pki.AS_OF)
        .not_valid_after(pki.AS_OF)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(KEY, hashes.SHA256(), ecdsa_deterministic=True)
    return signed.public_bytes(serialization.Encoding.DER)


IDENTIFIER = x509.SubjectKeyIdentifier(bytes(20))
URI = x509.UniformResourceIdentifier("http://test-only.invalid/x")
READ = {
    "identifier": (IDENTIFIER,),
    "constraints": (x509.BasicConstraints(ca=True, path_length=3),),
    "no authority": (x509.BasicConstraints(ca=False, path_length=None),),
    "purposes": (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.OCSP_SIGNING]),),
    "names": (x509.SubjectAlternativeName([x509.DNSName("test-only.invalid")]),),
    "points": (x509.CRLDistributionPoints([x509.DistributionPoint([URI], None, None, None)]),),
    "access": (
        x509.AuthorityInformationAccess(
            [x509.AccessDescription(x509.AuthorityInformationAccessOID.OCSP, URI)]
        ),
    ),
}
LEFT = {
    "none": (),
    "policies": (
        x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)]),
    ),
    "mail": (x509.SubjectAlternativeName([x509.RFC822Name("a@test-only.invalid")]),),
    "issuer's serial": (x509.AuthorityKeyIdentifier(bytes(20), [x509.DirectoryName(NAME)], 5),),
    "unknown": (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),),
    "reasons": (
        x509.CRLDistributionPoints(
            [
                x509.DistributionPoint(
                    [URI], None, frozenset({x509.ReasonFlags.key_compromise}), None
                )
            ]
        ),
    ),
}


@pytest.mark.parametrize("extensions", READ.values(), ids=READ)
def test_extension_of_the_common_form_is_read(extensions):
    assert agree(made(*extensions))


@pytest.mark.parametrize("extensions", LEFT.values(), ids=LEFT)
def test_extension_of_another_form_is_left_to_the_library(extensions):
    data = made(*extensions)
    assert narrow.read_certificate(data) is None
    assert load_certificate(data).serial == 5


def test_key_usage_of_every_combination_is_read_as_the_library_reads_it():
    for bits in range(1, 128):
        usage = x509.KeyUsage(
            digital_signature=bool(bits & 64),
            content_commitment=bool(bits & 32),
            key_encipherment=bool(bits & 16),
            data_encipherment=bool(bits & 8),
            key_agreement=bool(bits & 4),
            key_cert_sign=bool(bits & 2),
            crl_sign=bool(bits & 1),
            encipher_only=False,
            decipher_only=False,
        )
        assert agree(made(usage))


def test_name_with_two_attributes_in_one_part_is_left_to_the_library():
    part = x509.RelativeDistinguishedName(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "TEST ONLY"),
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "XX"),
        ]
    )
    data = made(IDENTIFIER, name=x509.Name([part]))
    assert narrow.read_certificate(data) is None
    assert load_certificate(data).common_names == ("TEST ONLY",)


def test_point_off_the_curve_is_left_to_the_library():
    data = made(IDENTIFIER)
    point = KEY.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    off = data.replace(point, point[:-1] + bytes([point[-1] ^ 1]))
    assert narrow.read_certificate(off) is None
    assert load_certificate(off).key is None


def test_bytes_that_are_no_certificate_are_left_to_the_library():
    for data in (b"", b"0", b"\x30\x00", CERTIFICATES[0][:-1], CERTIFICATES[0] + b"\x00"):
        assert narrow.read_certificate(data) is None
    assert narrow.list_parts(b"\x30\x00") is None


def test_key_of_any_kind_is_the_library_s():
    for data in (*CERTIFICATES, sessions.tls_certificate("test-only.invalid")):
        found = load_certificate(data)
        native = x509.load_der_x509_certificate(data).public_key()
        assert found.public_key().public_numbers() == native.public_numbers()
        assert found.native.public_key() == native
    assert isinstance(
        load_certificate(CERTIFICATES[-1]).public_key(),
        rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    )


def test_rsa_key_with_a_negative_number_is_left_to_the_library():
    data = nvidia_pki.der(nvidia_pki.nras_intermediate())
    found = load_certificate(data)
    key = found.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        pytest.skip("the simulation's intermediate has no RSA key")
    modulus = b"\x00" + key.public_numbers().n.to_bytes(key.key_size // 8, "big")
    assert modulus in data
    broken = load_certificate(data.replace(modulus, b"\xff" + modulus[1:]))
    with pytest.raises((ValueError, FormatError)):
        broken.public_key()
