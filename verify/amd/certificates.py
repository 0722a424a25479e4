"""AMD certificates and revocation lists, read by a small strict reader of our own.

Every genuine VCEK and VLEK has serial number 0, which X.509 libraries announce to refuse; a
verifier that must run in ten years cannot rest on their patience. So the certificates are walked
as the fixed shape they are, and only their public keys go through a library.

Source: sev-snp.md 6, 7, 8 (certificate table), 13; AMD 57230 (VCEK and KDS), 56421 (GHCB).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Final, Literal
from uuid import UUID

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from verify.amd.report import COMPONENTS, Product, SigningKey, TcbLevels
from verify.crypto import der
from verify.crypto.cache import Bounded
from verify.crypto.ecdsa import Curve, key_from_point
from verify.crypto.x509 import split_pem
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value

CERTIFICATE_LIMIT: Final = 4096
CRL_LIMIT: Final = 64 * 1024
PEM_LIMIT: Final = 16 * 1024
CERTIFICATES_PER_REPORT: Final = 4
TABLE_LIMIT: Final = 64 * 1024
TABLE_ENTRIES: Final = 16

_PSS_WITHOUT_TRAILER: Final = bytes.fromhex(
    "304106092a864886f70d01010a3034a00f300d06096086480165030402020500"
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130"
)
_PSS_WITH_TRAILER: Final = bytes.fromhex(
    "304606092a864886f70d01010a3039a00f300d06096086480165030402020500"
    "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020130a303020101"
)
PSS_IDENTIFIERS: Final = frozenset({_PSS_WITHOUT_TRAILER, _PSS_WITH_TRAILER})
"""RSASSA-PSS, SHA-384, MGF1 SHA-384, salt 48: the two encodings that AMD uses, nothing else."""

_P384_SPKI_PREFIX: Final = bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")
_P384_SPKI_SIZE: Final = 120

_VERSION_3: Final = bytes.fromhex("a003020102")
_EXTENSIONS_TAG: Final = 0xA3
_CRL_EXTENSIONS_TAG: Final = 0xA0
_COMMON_NAME: Final = bytes.fromhex("550403")
_BASIC_CONSTRAINTS: Final = bytes.fromhex("551d13")
_KEY_USAGE: Final = bytes.fromhex("551d0f")
_CRL_NUMBER: Final = bytes.fromhex("551d14")
_AUTHORITY_KEY_IDENTIFIER: Final = bytes.fromhex("551d23")
_REASON_CODE: Final = bytes.fromhex("551d15")
_INVALIDITY_DATE: Final = bytes.fromhex("551d18")
_KEY_CERT_SIGN: Final = 0x04
_SERIAL_SIZE: Final = 21  # 20 bytes and the zero that keeps a high first bit positive

_ARC: Final = bytes.fromhex("2b060104019c7801")  # 1.3.6.1.4.1.3704.1
_STRUCT_VERSION: Final = _ARC + b"\x01"
_PRODUCT_NAME: Final = _ARC + b"\x02"
_HWID: Final = _ARC + b"\x04"
_CSP_ID: Final = _ARC + b"\x05"
_SPLS: Final[Mapping[str, bytes]] = {
    "bootloader": _ARC + b"\x03\x01",
    "tee": _ARC + b"\x03\x02",
    "snp": _ARC + b"\x03\x03",
    "microcode": _ARC + b"\x03\x08",
    "fmc": _ARC + b"\x03\x09",
}
_RESERVED_SPLS: Final = tuple(_ARC + b"\x03" + bytes((number,)) for number in (4, 5, 6, 7))
_KNOWN: Final = frozenset(
    {_STRUCT_VERSION, _PRODUCT_NAME, _HWID, _CSP_ID, *_SPLS.values(), *_RESERVED_SPLS}
)
_HWID_SIZES: Final[Mapping[Product, int]] = {
    Product.MILAN: 64,
    Product.GENOA: 64,
    Product.TURIN: 8,
}
_CSP_ID_LIMIT: Final = 255


class Role(Enum):
    """The place of a certificate in the chain, told by the common name of its subject."""

    ROOT = "ARK"
    VCEK_AUTHORITY = "ASK"
    VLEK_AUTHORITY = "ASVK"
    VCEK = "VCEK"
    VLEK = "VLEK"


@value
class Extension:
    """One extension: whether it is critical, and the content of its OCTET STRING."""

    critical: bool
    value: bytes


@value
class Certificate:
    """A certificate that parsed; nothing is judged.

    ``sha256``: of the DER. ``spki_sha256``: of the SubjectPublicKeyInfo, which is what identifies a
    VCEK (sev-snp.md 6.6). ``tbs``: the signed bytes. ``issuer``, ``subject``: raw DER, to be
    compared as bytes. ``extensions``: by the content bytes of the object identifier.
    """

    der: bytes
    sha256: bytes
    tbs: bytes
    signature: bytes
    serial: int
    issuer: bytes
    subject: bytes
    common_name: str
    role: Role
    not_before: datetime
    not_after: datetime
    spki: bytes
    spki_sha256: bytes
    extensions: Mapping[bytes, Extension]


@value
class Authority:
    """ARK, ASK or ASVK with an RSA-4096 key (`authority_key` of its SubjectPublicKeyInfo).

    ``may_issue``: basic constraints say CA and key usage allows certificate signing.
    """

    certificate: Certificate
    may_issue: bool


@value
class Leaf:
    """VCEK or VLEK with what AMD says in its extensions: worth something only after the chain.

    ``levels``: the SPLs as TCB components; ``levels.unused_zero`` is False where an SPL of an
    unused TCB byte is not zero. ``hwid``: 64 bytes, Turin 8; None for a VLEK. ``unknown``:
    object identifiers inside AMD's arc that this version does not know.
    """

    certificate: Certificate
    key: ec.EllipticCurvePublicKey
    kind: SigningKey
    product: Product
    product_name: str
    struct_version: int
    levels: TcbLevels
    hwid: bytes | None
    csp_id: str | None
    unknown: tuple[str, ...]


Place = Literal["leaf", "intermediate", "root"]
"""Where in the chain a certificate belongs."""

_PLACES: Final[Mapping[Role, Place]] = {
    Role.ROOT: "root",
    Role.VCEK_AUTHORITY: "intermediate",
    Role.VLEK_AUTHORITY: "intermediate",
    Role.VCEK: "leaf",
    Role.VLEK: "leaf",
}


@value
class Supplied:
    """A certificate and the document (``artifact:<id>``) that supplied it."""

    document: str
    certificate: Certificate


@value
class CertificateSet:
    """Exactly one leaf, its intermediate and, where the bundle holds one, the root."""

    leaf: Leaf
    intermediate: Authority
    root: Authority | None


def dotted(oid: bytes) -> str:
    """Return the dotted form of the (whole, not empty) bytes of an object identifier."""
    arcs: list[int] = []
    arc = 0
    for byte in oid:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(number) for number in (first, arcs[0] - 40 * first, *arcs[1:]))


def _common_name(data: bytes, name: der.Element) -> str:
    found: list[str] = []
    for relative in der.children(data, der.expect(name, der.SEQUENCE, "a name")):
        (pair,) = _exactly(data, der.expect(relative, der.SET, "a relative name"), 1)
        kind, text = _exactly(data, der.expect(pair, der.SEQUENCE, "an attribute"), 2)
        der.expect(kind, der.OBJECT_IDENTIFIER, "an attribute type")
        if der.value(data, kind) != _COMMON_NAME:
            continue
        if text.tag not in {der.UTF8_STRING, der.PRINTABLE_STRING}:
            raise FormatError(text.start, "a common name is neither UTF8String nor PrintableString")
        try:
            found.append(der.value(data, text).decode("ascii"))
        except UnicodeDecodeError as error:
            raise FormatError(text.inside, "a common name is not ASCII") from error
    if len(found) != 1:
        raise FormatError(name.start, f"a name has {len(found)} common names, not one")
    return found[0]


def _exactly(data: bytes, parent: der.Element, count: int) -> tuple[der.Element, ...]:
    found = der.children(data, parent)
    if len(found) != count:
        raise FormatError(parent.start, f"{len(found)} elements where {count} belong")
    return found


def _extensions(data: bytes, element: der.Element) -> dict[bytes, Extension]:
    """Read extensions inside their explicit tag."""
    (listed,) = _exactly(data, element, 1)
    return _listed_extensions(data, listed)


def _listed_extensions(data: bytes, listed: der.Element) -> dict[bytes, Extension]:
    found: dict[bytes, Extension] = {}
    for entry in der.children(data, der.expect(listed, der.SEQUENCE, "extensions")):
        parts = der.children(data, der.expect(entry, der.SEQUENCE, "an extension"))
        if not 2 <= len(parts) <= 3:
            raise FormatError(entry.start, "an extension has neither two nor three elements")
        oid = der.value(data, der.expect(parts[0], der.OBJECT_IDENTIFIER, "an extension's name"))
        critical = len(parts) == 3 and der.truth(data, parts[1], "an extension's critical flag")
        if not oid or oid[-1] & 0x80:
            raise FormatError(parts[0].start, "an object identifier is cut off")
        if oid in found:
            raise FormatError(entry.start, f"extension {dotted(oid)} stands twice")
        content = der.value(data, der.expect(parts[-1], der.OCTET_STRING, "an extension's value"))
        found[oid] = Extension(critical=critical, value=content)
    return found


def _role(common_name: str) -> Role | None:
    exact = {"SEV-VCEK": Role.VCEK, "SEV-VLEK": Role.VLEK}.get(common_name)
    if exact is not None:
        return exact
    # "SEV-VLEK-" stands before "SEV-", of which it is a case.
    for prefix, role in (
        ("ARK-", Role.ROOT),
        ("SEV-VLEK-", Role.VLEK_AUTHORITY),
        ("SEV-", Role.VCEK_AUTHORITY),
    ):
        if common_name.startswith(prefix):
            return role
    return None


_CERTIFICATES: Final[Bounded[bytes, Certificate]] = Bounded(256)


def parse_certificate(data: bytes) -> Certificate:
    """Parse a certificate of AMD's shape; remembered by digest.

    Raises FormatError; its reason is ``snp.certificate.algorithm_unsupported`` where the signature
    algorithm is not one of `PSS_IDENTIFIERS`, else None (``snp.certificate.malformed``).
    Source: sev-snp.md 6.2, 6.3 (reader rules).
    """
    if len(data) > CERTIFICATE_LIMIT:
        raise FormatError(0, f"a certificate of {len(data)} bytes, more than {CERTIFICATE_LIMIT}")
    digest = hashlib.sha256(data).digest()
    known = _CERTIFICATES.get(digest)
    return known if known is not None else _CERTIFICATES.put(digest, _parse(data, digest))


def _parse(data: bytes, digest: bytes) -> Certificate:
    outer = der.whole(data, der.SEQUENCE, "a certificate")
    tbs, algorithm, signature = _exactly(data, outer, 3)
    fields = _exactly(data, der.expect(tbs, der.SEQUENCE, "the signed part"), 8)
    version, serial, inner, issuer, validity, subject, spki, extensions = fields
    if der.outer(data, version) != _VERSION_3:
        raise FormatError(version.start, "not an X.509 certificate of version 3")
    number = der.natural(data, serial, "the serial number", size=_SERIAL_SIZE)
    times = _exactly(data, der.expect(validity, der.SEQUENCE, "the validity"), 2)
    not_before = der.instant(data, times[0], "notBefore")
    not_after = der.instant(data, times[1], "notAfter")
    # The issuer is only ever compared, as bytes, with a subject that was read.
    der.expect(issuer, der.SEQUENCE, "the issuer")
    common_name = _common_name(data, subject)
    role = _role(common_name)
    if role is None:
        raise FormatError(subject.start, f"{common_name!r} names no role in an AMD chain")
    der.expect(spki, der.SEQUENCE, "the public key")
    found = _extensions(data, der.expect(extensions, _EXTENSIONS_TAG, "the extensions"))
    known = _KNOWN if role in {Role.VCEK, Role.VLEK} else {_BASIC_CONSTRAINTS, _KEY_USAGE}
    for oid, extension in found.items():
        if extension.critical and oid not in known:
            raise FormatError(
                extensions.start, f"extension {dotted(oid)} is critical and means nothing here"
            )
    bits = der.bits(data, signature, "the signature")
    der.expect(algorithm, der.SEQUENCE, "the signature algorithm")
    identifier = der.outer(data, algorithm)
    if identifier not in PSS_IDENTIFIERS or identifier != der.outer(data, inner):
        raise FormatError(
            algorithm.start,
            "the signature algorithm is not RSASSA-PSS with SHA-384 and salt 48, stated twice",
            reason=Reason.SNP_CERTIFICATE_ALGORITHM_UNSUPPORTED,
        )
    return Certificate(
        der=data,
        sha256=digest,
        tbs=der.outer(data, tbs),
        signature=bits,
        serial=number,
        issuer=der.outer(data, issuer),
        subject=der.outer(data, subject),
        common_name=common_name,
        role=role,
        not_before=not_before,
        not_after=not_after,
        spki=der.outer(data, spki),
        spki_sha256=hashlib.sha256(der.outer(data, spki)).digest(),
        extensions=found,
    )


def _unsupported(what: str) -> FormatError:
    return FormatError(0, what, reason=Reason.SNP_CERTIFICATE_ALGORITHM_UNSUPPORTED)


def _constraint(extension: Extension | None, read: Callable[[bytes], bool]) -> bool:
    """Read one extension of an authority; a malformed one says nothing, so the answer is no."""
    if extension is None:
        return False
    try:
        return read(extension.value)
    except FormatError:
        return False


def _says_authority(data: bytes) -> bool:
    parts = der.children(data, der.whole(data, der.SEQUENCE, "basic constraints"))
    if not 1 <= len(parts) <= 2:
        raise FormatError(0, "basic constraints say nothing")
    if len(parts) == 2:
        der.natural(data, parts[1], "the path length", size=1)
    return der.truth(data, parts[0], "the CA flag")


def _says_certificate_signing(data: bytes) -> bool:
    content = der.value(data, der.whole(data, der.BIT_STRING, "key usage"))
    return len(content) >= 2 and bool(content[1] & _KEY_CERT_SIGN)


_KEYS: Final[Bounded[bytes, rsa.RSAPublicKey]] = Bounded(64)


def authority_key(spki: bytes) -> rsa.RSAPublicKey:
    """Load the key of an ARK, ASK or ASVK; an archive of one fleet repeats the same few.

    Raises FormatError (``snp.certificate.algorithm_unsupported``) unless RSA-4096 with e = 65537.
    """
    known = _KEYS.get(spki)
    return known if known is not None else _KEYS.put(spki, _load_authority_key(spki))


def forget_certificates() -> None:
    """Empty the caches of certificates and keys."""
    _CERTIFICATES.clear()
    _KEYS.clear()


def _load_authority_key(spki: bytes) -> rsa.RSAPublicKey:
    try:
        key = load_der_public_key(spki)
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as error:
        raise _unsupported("the public key of an authority cannot be read") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise _unsupported("the key of an authority is not RSA")
    if key.key_size != 4096 or key.public_numbers().e != 65537:
        raise _unsupported("the key of an authority is not RSA-4096 with e = 65537")
    return key


def read_authority(certificate: Certificate) -> Authority:
    """Read what makes an ARK, ASK or ASVK an authority. Raises FormatError of `authority_key`."""
    authority_key(certificate.spki)
    extensions = certificate.extensions
    return Authority(
        certificate=certificate,
        may_issue=_constraint(extensions.get(_BASIC_CONSTRAINTS), _says_authority)
        and _constraint(extensions.get(_KEY_USAGE), _says_certificate_signing),
    )


class _Arc:
    """Reads the extensions of AMD's arc of one leaf, each failure with its own code."""

    def __init__(self, extensions: Mapping[bytes, Extension]) -> None:
        self._extensions = extensions

    def has(self, oid: bytes) -> bool:
        return oid in self._extensions

    def raw(self, oid: bytes, name: str) -> bytes:
        found = self._extensions.get(oid)
        if found is None:
            raise FormatError(
                0,
                f"extension {name} ({dotted(oid)}) is not there",
                reason=Reason.SNP_CERTIFICATE_EXTENSION_MISSING,
            )
        return found.value

    def number(self, oid: bytes, name: str) -> int:
        data = self.raw(oid, name)
        if len(data) == 3 and data[:2] == b"\x02\x01" and data[2] < 0x80:
            return data[2]  # nearly every level is one byte
        try:
            level = der.natural(data, der.whole(data, der.INTEGER, name), name, size=2)
        except FormatError as error:
            raise self.malformed(name, error.what) from error
        if level > 255:
            raise self.malformed(name, f"{level} is not 0 to 255")
        return level

    def text(self, oid: bytes, name: str) -> str:
        data = self.raw(oid, name)
        try:
            content = der.value(data, der.whole(data, der.IA5_STRING, name))
            found = content.decode("ascii")
        except (FormatError, UnicodeDecodeError) as error:
            raise self.malformed(name, "not an IA5String") from error
        if not 1 <= len(found) <= _CSP_ID_LIMIT:
            raise self.malformed(name, f"{len(found)} characters")
        return found

    def hwid(self, size: int) -> bytes:
        """Read the raw bytes, or an OCTET STRING of exactly that length."""
        data = self.raw(_HWID, "hwid")
        if len(data) == size + 2 and data[:2] == bytes((der.OCTET_STRING, size)):
            return data[2:]
        if len(data) != size:
            raise self.malformed("hwid", f"{len(data)} bytes, not {size}")
        return data

    @staticmethod
    def malformed(name: str, what: str) -> FormatError:
        return FormatError(
            0, f"extension {name}: {what}", reason=Reason.SNP_CERTIFICATE_EXTENSION_MALFORMED
        )


def _product(arc: _Arc) -> tuple[Product, str]:
    name = arc.text(_PRODUCT_NAME, "productName")
    line = name.split("-", 1)[0]
    for product in Product:
        if product.value == line:
            return product, name
    raise arc.malformed("productName", f"{name!r} begins with the name of no known product")


def _levels(arc: _Arc, product: Product) -> TcbLevels:
    """Read the SPLs; the set must be that of the product."""
    wanted = COMPONENTS[product]
    for name, oid in _SPLS.items():
        if name not in wanted and arc.has(oid):
            raise arc.malformed(f"{name}SPL", f"a level that {product.value} does not have")
    reserved = [arc.number(oid, dotted(oid)) for oid in _RESERVED_SPLS if arc.has(oid)]
    return TcbLevels(
        product=product,
        levels={name: arc.number(_SPLS[name], f"{name}SPL") for name in wanted},
        unused_zero=not any(reserved),
    )


def read_leaf(certificate: Certificate) -> Leaf:
    """Read the key and AMD's extensions of a VCEK or VLEK.

    Raises FormatError with one of ``snp.certificate.algorithm_unsupported``,
    ``.extension_missing``, ``.extension_malformed``, ``.extension_conflict``, or without a reason
    (``.malformed``) where the point is not on the curve. Source: sev-snp.md 6.2, 6.4.
    """
    spki = certificate.spki
    if len(spki) != _P384_SPKI_SIZE or not spki.startswith(_P384_SPKI_PREFIX):
        raise _unsupported(f"the key of {certificate.common_name} is not an uncompressed P-384 key")
    key = key_from_point(Curve.P384, spki[len(_P384_SPKI_PREFIX) :])
    if key is None:
        raise FormatError(0, "the public key is no point of P-384")
    arc = _Arc(certificate.extensions)
    if arc.has(_HWID) and arc.has(_CSP_ID):
        raise FormatError(
            0, "both hwid and cspId", reason=Reason.SNP_CERTIFICATE_EXTENSION_CONFLICT
        )
    struct_version = arc.number(_STRUCT_VERSION, "structVersion")
    product, product_name = _product(arc)
    levels = _levels(arc, product)
    vcek = certificate.role is Role.VCEK
    return Leaf(
        certificate=certificate,
        key=key,
        kind=SigningKey.VCEK if vcek else SigningKey.VLEK,
        product=product,
        product_name=product_name,
        struct_version=struct_version,
        levels=levels,
        hwid=arc.hwid(_HWID_SIZES[product]) if vcek else None,
        csp_id=None if vcek else arc.text(_CSP_ID, "cspId"),
        unknown=tuple(
            dotted(oid)
            for oid in certificate.extensions
            if oid.startswith(_ARC) and oid not in _KNOWN
        ),
    )


def sort_roles(supplied: tuple[Supplied, ...]) -> Mapping[Place, Supplied]:
    """Sort certificates into places by content; the leaf is never searched for by trying.

    The result has a leaf and an intermediate. Raises Refused ``snp.certificate.malformed`` (a place
    taken twice, or more than four certificates) or ``.missing``. Source: sev-snp.md 13.
    """
    if len(supplied) > CERTIFICATES_PER_REPORT:
        raise Refused(
            Reason.SNP_CERTIFICATE_MALFORMED,
            "more certificates than a chain has",
            got=str(len(supplied)),
            expected=f"at most {CERTIFICATES_PER_REPORT}",
        )
    places: dict[Place, Supplied] = {}
    for entry in supplied:
        place = _PLACES[entry.certificate.role]
        if place in places:
            raise Refused(
                Reason.SNP_CERTIFICATE_MALFORMED,
                f"two certificates for the place of the {place}",
                got=f"{places[place].certificate.common_name}, {entry.certificate.common_name}",
                expected="one for each place",
            )
        places[place] = entry
    wanted: tuple[tuple[Place, str], ...] = (
        ("leaf", "VCEK or VLEK"),
        ("intermediate", "ASK or ASVK"),
    )
    for place, what in wanted:
        if place not in places:
            names = ", ".join(entry.certificate.common_name for entry in places.values())
            raise Refused(
                Reason.SNP_CERTIFICATE_MISSING,
                f"the {place} certificate is not in the bundle",
                got=names or "none",
                expected=what,
            )
    return places


def pem_pair(body: bytes) -> tuple[bytes, bytes]:
    """Read the two certificates of a ``cert_chain`` answer, as DER, in their order.

    Exactly two blocks, nothing but white space around them, canonical base64. Raises FormatError.
    Source: sev-snp.md 8, 13.
    """
    if len(body) > PEM_LIMIT:
        raise FormatError(0, f"a PEM text of {len(body)} bytes, more than {PEM_LIMIT}")
    if body.endswith(b"\x00"):
        raise FormatError(len(body) - 1, "a zero byte after the PEM blocks")
    found = split_pem(body, limit=2)
    if len(found) != 2:
        raise FormatError(0, "one PEM block, not two")
    return found[0], found[1]


VCEK_GUID: Final = UUID("63da758d-e664-4564-adc5-f4b93be8accd")
VLEK_GUID: Final = UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1")
ASK_GUID: Final = UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")
ARK_GUID: Final = UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
CERTIFICATE_GUIDS: Final = frozenset({VCEK_GUID, VLEK_GUID, ASK_GUID, ARK_GUID})


@value
class TableEntry:
    """One entry of a guest's certificate table: what it is, and where in the table it lies."""

    guid: UUID
    start: int
    body: bytes


def parse_table(body: bytes) -> tuple[TableEntry, ...]:
    """Parse the certificate table of an extended guest report.

    Entries of 24 bytes: GUID (16, RFC 4122 order), offset u32, length u32, little-endian; an
    all-zero entry ends them. Offsets count from the table's start and lie behind the entries.
    Entries of an unknown GUID are returned too. Raises FormatError. Source: sev-snp.md 8.
    """
    if len(body) > TABLE_LIMIT:
        raise FormatError(0, f"a certificate table of {len(body)} bytes, more than {TABLE_LIMIT}")
    spans: list[tuple[UUID, int, int]] = []
    at = 0
    while True:
        if len(body) - at < 24:
            raise FormatError(at, "the certificate table has no end")
        entry = body[at : at + 24]
        at += 24
        if not any(entry):
            break
        if len(spans) == TABLE_ENTRIES:
            raise FormatError(at - 24, f"more than {TABLE_ENTRIES} entries")
        start = int.from_bytes(entry[16:20], "little")
        size = int.from_bytes(entry[20:24], "little")
        spans.append((UUID(bytes=entry[:16]), start, start + size))
    for index, (_, start, stop) in enumerate(spans):
        if start < at or stop > len(body):
            raise FormatError(24 * index, "an entry does not lie between the header and the end")
    return tuple(
        TableEntry(guid=guid, start=start, body=body[start:stop]) for guid, start, stop in spans
    )


@value
class RevocationList:
    """A certificate revocation list that parsed; nothing is judged.

    ``revoked``: serial numbers, perhaps none (an empty list is a list). ``algorithm``: raw
    identifier. ``number``: the CRL number, None where the extension is not there.
    """

    tbs: bytes
    signature: bytes
    algorithm: bytes
    issuer: bytes
    issuer_name: str
    this_update: datetime
    next_update: datetime
    number: int | None
    revoked: tuple[int, ...]


def _refuse_critical(found: Mapping[bytes, Extension], known: frozenset[bytes], at: int) -> None:
    for oid, extension in found.items():
        if extension.critical and oid not in known:
            raise FormatError(at, f"extension {dotted(oid)} is critical and means nothing here")


def parse_crl(data: bytes) -> RevocationList:
    """Parse a CRL of version 2 with nextUpdate.

    Raises FormatError without a reason (``snp.crl.malformed``). Source: sev-snp.md 6.3, 7.
    """
    if len(data) > CRL_LIMIT:
        raise FormatError(0, f"a revocation list of {len(data)} bytes, more than {CRL_LIMIT}")
    outer = der.whole(data, der.SEQUENCE, "a revocation list")
    tbs, algorithm, signature = _exactly(data, outer, 3)
    fields = der.children(data, der.expect(tbs, der.SEQUENCE, "the signed part"))
    if not 6 <= len(fields) <= 7:
        raise FormatError(
            tbs.start, f"{len(fields)} elements; version, times and extensions make 6 or 7"
        )
    version, inner, issuer, this_update, next_update, *entries, extensions = fields
    if der.natural(data, version, "the version", size=1) != 1:
        raise FormatError(version.start, "not a revocation list of version 2")
    der.expect(algorithm, der.SEQUENCE, "the signature algorithm")
    if der.outer(data, inner) != der.outer(data, algorithm):
        raise FormatError(inner.start, "the two signature algorithms differ")
    issuer_name = _common_name(data, issuer)
    began = der.instant(data, this_update, "thisUpdate")
    ends = der.instant(data, next_update, "nextUpdate")
    revoked: list[int] = []
    for listed in entries:
        for entry in der.children(data, der.expect(listed, der.SEQUENCE, "the revoked serials")):
            parts = der.children(data, der.expect(entry, der.SEQUENCE, "a revoked serial"))
            if not 2 <= len(parts) <= 3:
                raise FormatError(entry.start, "an entry has neither two nor three elements")
            revoked.append(der.natural(data, parts[0], "a revoked serial", size=_SERIAL_SIZE))
            der.instant(data, parts[1], "a revocation date")
            if len(parts) == 3:
                found = _listed_extensions(data, parts[2])
                _refuse_critical(found, frozenset({_REASON_CODE, _INVALIDITY_DATE}), entry.start)
    found = _extensions(data, der.expect(extensions, _CRL_EXTENSIONS_TAG, "the extensions"))
    _refuse_critical(found, frozenset({_CRL_NUMBER, _AUTHORITY_KEY_IDENTIFIER}), extensions.start)
    number = found.get(_CRL_NUMBER)
    return RevocationList(
        tbs=der.outer(data, tbs),
        signature=der.bits(data, signature, "the signature"),
        algorithm=der.outer(data, algorithm),
        issuer=der.outer(data, issuer),
        issuer_name=issuer_name,
        this_update=began,
        next_update=ends,
        number=None if number is None else _crl_number(number.value),
        revoked=tuple(revoked),
    )


def _crl_number(data: bytes) -> int:
    return der.natural(data, der.whole(data, der.INTEGER, "the CRL number"), "it", size=21)
