"""Built-in anchors: their digests, their self-signatures, the genuine chains that hold them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from verify.engine.errors import InternalFault
from verify.policy.subjects import VENDOR_PURPOSES
from verify.trust.anchor import BUILT_IN, VENDOR, Kind, Purpose
from verify.trust.builtin import FOLDER, builtins
from verify.trust.store import TrustStore

NOW = datetime(2026, 11, 21, tzinfo=UTC)
WRITTEN = {
    (Purpose.INTEL_SGX_ROOT, "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"),
    (
        Purpose.NVIDIA_DEVICE_ROOT,
        "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48",
    ),
    (Purpose.NVIDIA_RIM_ROOT, "12977b5115acb0381179279fffeb5a8c4d264971ebb32298023a465fa41df5d1"),
    (Purpose.NRAS_INTERMEDIATE, "fd32837f954e2c45db073105166dfe6985ae0480bb113fba63b091a75affe896"),
    (Purpose.AMD_ARK, "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd"),
    (Purpose.AMD_ARK, "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1"),
    (Purpose.AMD_ARK, "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a"),
    (Purpose.AWS_NITRO_ROOT, "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"),
    (Purpose.SIGSTORE_FULCIO, "3ba7b6cc4e95469d4d334b49cb257ad8537076fa84b0ca87ff4ecfe6a54680c1"),
    (Purpose.SIGSTORE_FULCIO, "15d795348226b4649f750f5802592c393bee7cc53c3b86982175b7ad087efe47"),
    (Purpose.SIGSTORE_REKOR, "c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d"),
    (Purpose.SIGSTORE_REKOR, "b54813cb63d8859870a5e78500cc6adcfdf59723edae93ee8d25faf2475a0690"),
    (Purpose.SIGSTORE_CT, "dd3d306ac6c7113263191e1c99673702a24a5eb8de3cadff878a72802f29ee8e"),
}
"""verification.md 6.1; sev-snp.md 15.1."""


def test_builtins_are_those_of_the_specification():
    assert {(anchor.purpose, anchor.sha256) for anchor in builtins()} == WRITTEN
    assert all(anchor.origin == BUILT_IN and not anchor.added for anchor in builtins())


def test_builtin_certificates_hash_to_their_constants_and_sign_themselves():
    for anchor in builtins():
        if anchor.kind is Kind.PIN:
            assert anchor.data is None
            continue
        assert hashlib.sha256(anchor.data).hexdigest() == anchor.sha256
        if anchor.kind is Kind.SPKI:
            key = load_der_public_key(anchor.data)
            written = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            assert written == anchor.data
            continue
        certificate = x509.load_der_x509_certificate(anchor.data)
        issuer = certificate
        if anchor.name == "sigstore-fulcio-intermediate":
            (root,) = (one for one in builtins() if one.name == "sigstore-fulcio-root")
            issuer = x509.load_der_x509_certificate(root.data)
        certificate.verify_directly_issued_by(issuer)


def test_builtin_with_one_bit_changed_is_an_internal_fault(tmp_path):
    folder = tmp_path / "anchors"
    shutil.copytree(FOLDER, folder)
    assert len(builtins(str(folder))) == len(WRITTEN)
    path = folder / "intel-sgx-root.der"
    data = bytearray(path.read_bytes())
    data[300] ^= 1
    path.write_bytes(data)
    with pytest.raises(InternalFault, match="digest"):
        builtins(str(folder))
    path.unlink()
    with pytest.raises(InternalFault, match="cannot be read"):
        builtins(str(folder))


def test_vendor_purposes_are_those_the_policy_knows():
    assert {purpose.value for purpose in VENDOR} == set(VENDOR_PURPOSES)


def test_builtins_cover_no_purpose_that_is_the_users_decision():
    assert {anchor.purpose for anchor in builtins()} <= VENDOR


def _pems(text: bytes):
    for body in re.findall(
        rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", text, re.DOTALL
    ):
        yield base64.b64decode(b"".join(body.split()))


def test_intel_root_is_the_last_certificate_of_genuine_quotes(evidence_root):
    (root,) = TrustStore.build().anchors(Purpose.INTEL_SGX_ROOT, at=NOW)
    seen = 0
    for path in sorted((evidence_root / "tdx").glob("*/quote.bin")):
        chain = list(_pems(path.read_bytes()))
        if not chain or x509.load_der_x509_certificate(chain[-1]).not_valid_before_utc.year != 2018:
            continue
        seen += chain[-1] == root.data
    assert seen >= 40


def test_nvidia_roots_end_genuine_device_chains(evidence_root):
    (root,) = TrustStore.build().anchors(Purpose.NVIDIA_DEVICE_ROOT, at=NOW)
    chains = sorted((evidence_root / "nvidia").glob("*/chain.pem"))
    seen = [list(_pems(path.read_bytes()))[-1] == root.data for path in chains]
    assert sum(seen) >= 5


def test_nras_pin_is_the_key_of_the_recorded_intermediate(evidence_root):
    (pin,) = TrustStore.build().anchors(Purpose.NRAS_INTERMEDIATE, at=NOW)
    seen = 0
    for path in sorted((evidence_root / "nvidia").glob("nras-*/jwks.json")):
        for entry in json.loads(path.read_bytes())["keys"]:
            der = base64.b64decode(entry["x5c"][1])
            key = x509.load_der_x509_certificate(der).public_key()
            spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            assert hashlib.sha256(spki).hexdigest() == pin.sha256
            seen += 1
    assert seen >= 32


def test_amd_roots_are_those_of_recorded_chains(evidence_root):
    known = {anchor.data for anchor in TrustStore.build().anchors(Purpose.AMD_ARK, at=NOW)}
    for product in ("milan", "genoa", "turin"):
        path = evidence_root / "snp" / "anchors" / f"ark-{product}.pem"
        assert next(_pems(path.read_bytes())) in known


def test_nitro_root_stands_in_a_genuine_document(evidence_root):
    (root,) = TrustStore.build().anchors(Purpose.AWS_NITRO_ROOT, at=NOW)
    documents = sorted((evidence_root / "snp").glob("nitro-*/document.cbor"))
    assert documents
    assert all(root.data in path.read_bytes() for path in documents)


def test_provenance_note_names_every_file():
    folder = Path(FOLDER)
    note = (folder / "PROVENANCE.md").read_text(encoding="utf-8")
    files = sorted(path.name for path in folder.glob("*.der"))
    assert len(files) >= 7
    assert all(f"`{name}`" in note for name in files)
