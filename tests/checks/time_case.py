"""A simulated log of any size with several witnesses, and a stamping authority with more faults.

The shared simulation has one witness and a tree of two; the rows of time are tested on more.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fixtures.chat_sim import seed
from fixtures.intel_pki import key, tlv
from fixtures.trust_file import anchors as good_anchors
from fixtures.trust_file import document as trust_document

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2030, 1, 1, tzinfo=UTC)

SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
TST_INFO = bytes.fromhex("060b2a864886f70d0109100104")
CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
ECDSA_SHA256 = bytes.fromhex("06082a8648ce3d040302")
POLICY = bytes.fromhex("06042a030401")
HASHES = {
    "sha1": bytes.fromhex("06052b0e03021a"),
    "sha256": bytes.fromhex("0609608648016503040201"),
    "sha384": bytes.fromhex("0609608648016503040202"),
    "sha512": bytes.fromhex("0609608648016503040203"),
}


def sequence(*parts):
    return tlv(0x30, b"".join(parts))


def set_of(*parts):
    return tlv(0x31, b"".join(sorted(parts)))


def natural(number):
    return tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def algorithm(name):
    return sequence(HASHES[name], b"\x05\x00")


def name_of(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{common_name} (TEST ONLY)")])


@dataclass(frozen=True, kw_only=True)
class Authority:
    label: str = "tsa"
    start: datetime = START
    end: datetime = END
    leaf_end: datetime | None = None
    stamping: bool = True

    def _builder(self, subject, issuer, label, end):
        return (
            x509.CertificateBuilder()
            .subject_name(name_of(subject))
            .issuer_name(name_of(issuer))
            .public_key(key(label).public_key())
            .serial_number(int.from_bytes(seed(f"serial {label}")[:15], "big") + 1)
            .not_valid_before(self.start)
            .not_valid_after(end)
        )

    def root(self):
        usage = dict.fromkeys(
            (
                "digital_signature",
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        label = f"{self.label} root"
        made = (
            self._builder(label, label, label, self.end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True), critical=True)
            .sign(key(label), hashes.SHA256(), ecdsa_deterministic=True)
        )
        return made.public_bytes(Encoding.DER)

    def certificate(self):
        purpose = (
            ExtendedKeyUsageOID.TIME_STAMPING if self.stamping else ExtendedKeyUsageOID.CODE_SIGNING
        )
        root = f"{self.label} root"
        return (
            self._builder(self.label, root, self.label, self.leaf_end or self.end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
            .sign(key(root), hashes.SHA256(), ecdsa_deterministic=True)
        )


@dataclass(frozen=True, kw_only=True)
class Stamp:
    message: bytes
    at: datetime
    authority: Authority = field(default_factory=Authority)
    algorithm: str = "sha256"
    accuracy: bytes | None = sequence(natural(1))
    status: int = 0
    signed_by: str | None = None
    content: bytes | None = None
    embedded: bool = True

    def info(self):
        digest = hashes.Hash(getattr(hashes, self.algorithm.upper())())
        digest.update(self.message)
        return sequence(
            natural(1),
            POLICY,
            sequence(algorithm(self.algorithm), tlv(0x04, digest.finalize())),
            natural(7),
            tlv(0x18, self.at.strftime("%Y%m%d%H%M%SZ").encode()),
            self.accuracy or b"",
        )

    def response(self):
        info = self.info()
        leaf = self.authority.certificate()
        der = leaf.public_bytes(Encoding.DER)
        attributes = (
            sequence(CONTENT_TYPE, set_of(TST_INFO)),
            sequence(MESSAGE_DIGEST, set_of(tlv(0x04, sha256(self.content or info).digest()))),
        )
        signer = key(self.signed_by or self.authority.label)
        signature = signer.sign(
            set_of(*attributes), ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        )
        signer_info = sequence(
            natural(1),
            sequence(leaf.issuer.public_bytes(), natural(leaf.serial_number)),
            algorithm("sha256"),
            tlv(0xA0, b"".join(sorted(attributes))),
            sequence(ECDSA_SHA256),
            tlv(0x04, signature),
        )
        signed_data = sequence(
            natural(3),
            set_of(algorithm("sha256")),
            sequence(TST_INFO, tlv(0xA0, tlv(0x04, info))),
            tlv(0xA0, der) if self.embedded else b"",
            set_of(signer_info),
        )
        token = sequence(SIGNED_DATA, tlv(0xA0, signed_data))
        return sequence(sequence(natural(self.status)), token)


@dataclass(frozen=True, kw_only=True)
class NoteKey:
    name: str
    kind: int = 1

    def _private(self):
        return Ed25519PrivateKey.from_private_bytes(seed(f"note {self.name} {self.kind}"))

    def material(self):
        return bytes([self.kind]) + self._private().public_key().public_bytes_raw()

    def key_id(self):
        return sha256(self.name.encode() + b"\n" + self.material()).digest()[:4]

    def vkey(self):
        return f"{self.name}+{self.key_id().hex()}+{base64.b64encode(self.material()).decode()}"

    def line(self, text, *, at=None, wrong=False):
        body, data = text.encode(), b""
        if at is not None:
            seconds = int(at.timestamp())
            data = struct.pack(">Q", seconds)
            body = b"cosignature/v1\ntime %d\n%b" % (seconds, body)
        signature = self._private().sign(b"x" + body if wrong else body)
        encoded = base64.b64encode(self.key_id() + data + signature).decode()
        return f"\u2014 {self.name} {encoded}\n"


LOG = NoteKey(name="log.example.test/2026")
BEACON = NoteKey(name="beacon.example.test/2026")
WITNESSES = tuple(NoteKey(name=f"witness{i}.example.test", kind=4) for i in (1, 2, 3))


def root_hash(leaves):
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root_hash(leaves[:split]) + root_hash(leaves[split:])).digest()


def path_to(leaves, index):
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*path_to(leaves[:split], index), root_hash(leaves[split:])]
    return [*path_to(leaves[split:], index - split), root_hash(leaves[:split])]


@dataclass(frozen=True, kw_only=True)
class Logged:
    entry: bytes
    index: int = 3
    size: int = 7
    log: NoteKey = LOG
    origin: str | None = None
    cosigned: tuple[tuple[NoteKey, datetime], ...] = ()
    wrong: tuple[str, ...] = ()

    def leaves(self):
        others = [sha256(b"\x00" + seed(f"leaf {i}")).digest() for i in range(self.size)]
        others[self.index] = sha256(b"\x00" + self.entry).digest()
        return others

    def checkpoint(self):
        root = base64.b64encode(root_hash(self.leaves())).decode()
        text = f"{self.origin or self.log.name}\n{self.size}\n{root}\n"
        lines = self.log.line(text, wrong=self.log.name in self.wrong)
        for witness, at in self.cosigned:
            lines += witness.line(text, at=at, wrong=witness.name in self.wrong)
        return f"{text}\n{lines}"

    def proof(self):
        steps = path_to(self.leaves(), self.index)
        path = "".join(base64.b64encode(step).decode() + "\n" for step in steps)
        return f"c2sp.org/tlog-proof@v1\nindex {self.index}\n{path}\n{self.checkpoint()}"


def anchor(name, purpose, data, kind, **changes):
    entry = {
        "name": name,
        "purpose": purpose,
        "kind": kind,
        "data": data.decode() if kind == "vkey" else base64.b64encode(data).decode("ascii"),
        "sha256": sha256(data).hexdigest(),
        "operator": "simulation (TEST ONLY)",
        "validFor": {"start": "2020-01-01T00:00:00.000Z", "end": None},
        "status": "active",
        "since": None,
        "source": "tests (TEST ONLY)",
    }
    return {**entry, **changes}


def time_anchors():
    return [
        anchor("test-tsa", "tsa", Authority().root(), "x509"),
        anchor("test-log", "tlog", LOG.vkey().encode(), "vkey"),
        anchor("test-beacon", "beacon-log", BEACON.vkey().encode(), "vkey"),
        *(
            anchor(f"test-witness-{number}", "witness", witness.vkey().encode(), "vkey")
            for number, witness in enumerate(WITNESSES, 1)
        ),
    ]


def trust(**changes):
    """Return a trust file of vendors, capture key and time; changes by name (``_`` for ``-``)."""
    entries = [*good_anchors(), *time_anchors()]
    for entry in entries:
        entry.update(changes.get(str(entry["name"]).replace("-", "_"), {}))
    return trust_document(entries)
