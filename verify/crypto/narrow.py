"""The common forms of certificates and revocation lists, read without the library's Python half.

`cryptography` needs its Python half even for certificates that its Rust half parses, and the
modules of that cost a fifth of a whole verification to import. What vendors of this field write is
of few forms. The functions here read exactly those, every byte of them, and answer None for
everything else: then the library reads it. An answer given here is the library's answer; tests
hold the two side by side on whatever can be found or mutated.

Source: RFC 5280 4.1, 4.2, 5.1; ITU-T X.690 10, 11 (canonical forms).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from verify.crypto import der
from verify.crypto.cache import Bounded
from verify.crypto.certificate import Certificate, Extension, ListParts
from verify.crypto.der import Element
from verify.crypto.ecdsa import Curve, key_from_point
from verify.engine.errors import FormatError

_ENTRIES: Final = 1 << 16
_VERSION_3: Final = bytes.fromhex("a003020102")
_VERSION_2: Final = bytes.fromhex("020101")
_COMMON_NAME: Final = bytes.fromhex("0603550403")
_ATTRIBUTE: Final = bytes.fromhex("06035504")
_ATTRIBUTES: Final = frozenset((3, 5, 6, 7, 8, 9, 10, 11, 12, 17, 46))
"""Attributes of names by the last part of 2.5.4.x (ITU-T X.520)."""
_GENERALIZED_FROM: Final = 2050
"""The first year that is not written as UTCTime (RFC 5280 4.1.2.5)."""
_REASON_CODE: Final = bytes.fromhex("300a0603551d1504030a01")
"""A not critical reasonCode extension up to its one value byte (RFC 5280 5.3.1)."""
_REASONS: Final = frozenset({1, 2, 3, 4, 5, 6, 8, 9, 10})
_DNS: Final = 0x82
_URI: Final = 0x86
_ADDRESS: Final = 0x87
_CONTEXT_0: Final = 0x80
_CONSTRUCTED_0: Final = 0xA0
_CONSTRUCTED_3: Final = 0xA3

_PRINTABLE: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?"
)
_VISIBLE: Final = frozenset(range(0x21, 0x7F))


class _OtherForm(FormatError):  # noqa: N818  (an answer, caught in this module)
    """A form that is not read here."""

    def __init__(self) -> None:
        super().__init__(0, "another form")


def _demand(*, holds: bool) -> None:
    if not holds:
        raise _OtherForm


# --- names -----------------------------------------------------------------------------------


def _text(data: bytes, element: Element) -> str:
    body = der.value(data, element)
    _demand(holds=body != b"")
    if element.tag == der.PRINTABLE_STRING:
        _demand(holds=_PRINTABLE.issuperset(body))
    elif element.tag == der.IA5_STRING:
        _demand(holds=body.isascii())
    else:
        _demand(holds=element.tag == der.UTF8_STRING)
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise _OtherForm from None


_NAMES: Final[Bounded[bytes, tuple[str, ...]]] = Bounded(512)


def _common_names(data: bytes, name: Element) -> tuple[str, ...]:
    """Read a name of single-valued parts; return its common names.

    Remembered: the issuer of one certificate is the subject of another.
    """
    whole = der.outer(data, name)
    found = _NAMES.get(whole)
    return _NAMES.put(whole, _read_name(data, name)) if found is None else found


def _read_name(data: bytes, name: Element) -> tuple[str, ...]:
    found: list[str] = []
    for part in der.children(data, der.expect(name, der.SEQUENCE, "name")):
        attribute = der.element_at(data, der.expect(part, der.SET, "part").inside, part.stop)
        _demand(holds=attribute.stop == part.stop and attribute.tag == der.SEQUENCE)
        kind, text = _pair(data, attribute)
        oid = der.outer(data, kind)
        _demand(holds=len(oid) == 5 and oid.startswith(_ATTRIBUTE) and oid[4] in _ATTRIBUTES)
        shown = _text(data, text)
        if oid == _COMMON_NAME:
            found.append(shown)
    return tuple(found)


def _pair(data: bytes, parent: Element) -> tuple[Element, Element]:
    found = der.children(data, parent, limit=2)
    _demand(holds=len(found) == 2)
    return found[0], found[1]


# --- extensions ------------------------------------------------------------------------------


class _Facts:
    """What the extensions of one certificate say beside their bytes."""

    __slots__ = ("ca", "path_length", "usage")

    def __init__(self) -> None:
        self.ca: bool | None = None
        self.path_length: int | None = None
        self.usage = 0


def _basic_constraints(data: bytes, facts: _Facts) -> None:
    members = der.children(data, der.whole(data, der.SEQUENCE, "constraints"), limit=2)
    if members:
        der.truth(data, members[0], "cA")
    facts.ca = bool(members)
    if len(members) == 2:
        facts.path_length = der.natural(data, members[1], "path length", size=2)


def _key_usage(data: bytes, facts: _Facts) -> None:
    """Read one byte of bits without the eighth, which demands another one."""
    _demand(holds=len(data) == 4 and data[:2] == b"\x03\x02" and 1 <= data[2] <= 7)
    bits = data[3]
    _demand(holds=bits & -bits == 1 << data[2])
    facts.usage = bits


def _key_identifier(data: bytes, _facts: _Facts) -> None:
    found = der.whole(data, der.OCTET_STRING, "key identifier")
    _demand(holds=found.stop > found.inside)


def _authority_key_identifier(data: bytes, _facts: _Facts) -> None:
    outer = der.whole(data, der.SEQUENCE, "authority key identifier")
    (found,) = _only(der.children(data, outer, limit=1))
    _demand(holds=found.tag == _CONTEXT_0 and found.stop > found.inside)


def _only(found: tuple[Element, ...]) -> tuple[Element]:
    _demand(holds=len(found) == 1)
    return (found[0],)


def _address(data: bytes, element: Element) -> None:
    body = der.value(data, element)
    _demand(holds=element.tag == _URI and body != b"" and _VISIBLE.issuperset(body))


def _distribution_points(data: bytes, _facts: _Facts) -> None:
    """Points of nothing but addresses."""
    points = der.children(data, der.whole(data, der.SEQUENCE, "points"))
    _demand(holds=points != ())
    for point in points:
        (name,) = _only(der.children(data, der.expect(point, der.SEQUENCE, "point"), limit=1))
        (full,) = _only(der.children(data, der.expect(name, _CONSTRUCTED_0, "name"), limit=1))
        addresses = der.children(data, der.expect(full, _CONSTRUCTED_0, "full name"))
        _demand(holds=addresses != ())
        for address in addresses:
            _address(data, address)


_ACCESS: Final = frozenset(
    (bytes.fromhex("06082b06010505073001"), bytes.fromhex("06082b06010505073002"))
)


def _authority_access(data: bytes, _facts: _Facts) -> None:
    """OCSP and issuer addresses."""
    found = der.children(data, der.whole(data, der.SEQUENCE, "access"))
    _demand(holds=found != ())
    for entry in found:
        method, place = _pair(data, der.expect(entry, der.SEQUENCE, "description"))
        _demand(holds=der.outer(data, method) in _ACCESS)
        _address(data, place)


_PURPOSES: Final = frozenset(
    bytes.fromhex("06082b060105050703") + bytes([number]) for number in (1, 2, 3, 4, 8, 9)
)


def _extended_key_usage(data: bytes, _facts: _Facts) -> None:
    found = der.children(data, der.whole(data, der.SEQUENCE, "purposes"))
    _demand(holds=found != ())
    for purpose in found:
        _demand(holds=der.outer(data, purpose) in _PURPOSES)


_DEVICE_NAME: Final = bytes.fromhex("060a2b06010401831c821201")
"""The type of the other name under which a device of NVIDIA stands: 1.3.6.1.4.1.412.274.1."""


def _alternative_names(data: bytes, _facts: _Facts) -> None:
    """Read host names, addresses and the names of devices."""
    found = der.children(data, der.whole(data, der.SEQUENCE, "names"))
    _demand(holds=found != ())
    for name in found:
        body = der.value(data, name)
        if name.tag == _DNS:
            _demand(holds=body != b"" and _VISIBLE.issuperset(body))
        elif name.tag == _ADDRESS:
            _demand(holds=len(body) in (4, 16))
        else:
            kind, holder = _pair(data, der.expect(name, _CONSTRUCTED_0, "other name"))
            _demand(holds=der.outer(data, kind) == _DEVICE_NAME)
            (text,) = _only(
                der.children(data, der.expect(holder, _CONSTRUCTED_0, "other name"), limit=1)
            )
            _demand(holds=text.tag == der.UTF8_STRING)
            _text(data, text)


def _crl_number(data: bytes, _facts: _Facts) -> None:
    der.natural(data, der.whole(data, der.INTEGER, "CRL number"), "CRL number", size=20)


def _opaque(_data: bytes, _facts: _Facts) -> None:
    """A vendor's extension: the library hands out its bytes as they are."""


_Reader = Callable[[bytes, _Facts], None]
_CERTIFICATE: Final[Mapping[str, tuple[str, _Reader]]] = {
    "551d0e": ("2.5.29.14", _key_identifier),
    "551d0f": ("2.5.29.15", _key_usage),
    "551d11": ("2.5.29.17", _alternative_names),
    "551d13": ("2.5.29.19", _basic_constraints),
    "551d1f": ("2.5.29.31", _distribution_points),
    "551d23": ("2.5.29.35", _authority_key_identifier),
    "551d25": ("2.5.29.37", _extended_key_usage),
    "2b06010505070101": ("1.3.6.1.5.5.7.1.1", _authority_access),
    "2a864886f84d010d01": ("1.2.840.113741.1.13.1", _opaque),
    "678105050401": ("2.23.133.5.4.1", _opaque),
    "2b0601040183e73d0101": ("1.3.6.1.4.1.62397.1.1", _opaque),
    "2b0601040183e73d0102": ("1.3.6.1.4.1.62397.1.2", _opaque),
    "2b0601040183e73d0103": ("1.3.6.1.4.1.62397.1.3", _opaque),
    "2b0601040183e73d0104": ("1.3.6.1.4.1.62397.1.4", _opaque),
}
_LIST: Final[Mapping[str, tuple[str, _Reader]]] = {
    "551d14": ("2.5.29.20", _crl_number),
    "551d23": ("2.5.29.35", _authority_key_identifier),
}


def _extensions(
    data: bytes, holder: Element, known: Mapping[str, tuple[str, _Reader]], facts: _Facts
) -> dict[str, Extension]:
    (rows,) = _only(der.children(data, holder, limit=1))
    found: dict[str, Extension] = {}
    for row in der.children(data, der.expect(rows, der.SEQUENCE, "extensions")):
        members = der.children(data, der.expect(row, der.SEQUENCE, "extension"), limit=3)
        _demand(holds=len(members) >= 2)
        name = known.get(der.value(data, members[0]).hex())
        if name is None or members[0].tag != der.OBJECT_IDENTIFIER or name[0] in found:
            raise _OtherForm
        critical = len(members) == 3 and der.truth(data, members[1], "critical")
        inner = der.value(data, der.expect(members[-1], der.OCTET_STRING, "extension value"))
        name[1](inner, facts)
        found[name[0]] = Extension(critical=critical, value=inner)
    return found


# --- the two structures ------------------------------------------------------------------------


_ECDSA_SHA256: Final = "1.2.840.10045.4.3.2"
_ECDSA_SHA384: Final = "1.2.840.10045.4.3.3"
_ALGORITHMS: Final[Mapping[str, str]] = {
    "300a06082a8648ce3d040302": _ECDSA_SHA256,
    "300a06082a8648ce3d040303": _ECDSA_SHA384,
    "300d06092a864886f70d01010b0500": "1.2.840.113549.1.1.11",
    "300d06092a864886f70d01010c0500": "1.2.840.113549.1.1.12",
}
"""DER of an AlgorithmIdentifier with its only parameters to the OID (RFC 5758 3.2, RFC 4055 5)."""

_EC_KEYS: Final = (
    (Curve.P256, bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")),
    (Curve.P384, bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")),
)
"""SubjectPublicKeyInfo of an uncompressed point up to its coordinates (RFC 5480)."""
_RSA_KEY: Final = bytes.fromhex("300d06092a864886f70d0101010500")


def read_certificate(data: bytes) -> Certificate | None:
    """Return what a certificate (DER) of the common form says, or None: ask the library."""
    try:
        return _certificate(data)
    except FormatError:
        return None


def _key(spki: bytes) -> tuple[ec.EllipticCurvePublicKey | None, Curve | None]:
    """Read a key: a point of a known curve, or RSA, which has none."""
    for curve, head in _EC_KEYS:
        if spki.startswith(head):
            point = key_from_point(curve, spki[len(head) :])
            _demand(holds=point is not None)
            return point, curve
    algorithm, bits = _pair(spki, der.whole(spki, der.SEQUENCE, "key"))
    _demand(holds=der.outer(spki, algorithm) == _RSA_KEY)
    der.bits(spki, der.expect(bits, der.BIT_STRING, "key bits"), "key bits")
    return None, None


def _instant(data: bytes, element: Element) -> datetime:
    found = der.instant(data, element, "time")
    _demand(holds=element.tag == der.UTC_TIME or found.year >= _GENERALIZED_FROM)
    return found


def _certificate(data: bytes) -> Certificate:
    parts = der.children(data, der.whole(data, der.SEQUENCE, "certificate"), limit=3)
    _demand(holds=len(parts) == 3)
    members = der.children(data, der.expect(parts[0], der.SEQUENCE, "TBSCertificate"), limit=8)
    _demand(holds=len(members) == 8 and der.outer(data, members[0]) == _VERSION_3)
    _, serial, algorithm, issuer, validity, subject, spki, holder = members
    number = der.natural(data, serial, "serial number", size=20)
    signed_with = der.outer(data, algorithm)
    oid = _ALGORITHMS.get(der.outer(data, parts[1]).hex())
    if number == 0 or oid is None or signed_with.hex() not in _ALGORITHMS:
        raise _OtherForm
    signature = der.bits(data, der.expect(parts[2], der.BIT_STRING, "signature"), "signature")
    _common_names(data, issuer)
    begin, end = _pair(data, der.expect(validity, der.SEQUENCE, "validity"))
    key, curve = _key(der.outer(data, spki))
    facts = _Facts()
    _demand(holds=holder.tag == _CONSTRUCTED_3)
    extensions = _extensions(data, holder, _CERTIFICATE, facts)
    return Certificate(
        der=data,
        sha256=sha256(data).digest(),
        version=3,
        serial=number,
        issuer=der.outer(data, issuer),
        subject=der.outer(data, subject),
        spki=der.outer(data, spki),
        algorithm=signed_with,
        common_names=_common_names(data, subject),
        not_before=_instant(data, begin),
        not_after=_instant(data, end),
        signature_oid=oid,
        signature=signature,
        tbs=der.outer(data, parts[0]),
        extensions=extensions,
        ca=facts.ca,
        path_length=facts.path_length,
        may_sign=bool(facts.usage & 0x80),
        may_sign_certs=bool(facts.usage & 0x04),
        may_sign_crls=bool(facts.usage & 0x02),
        key=key,
        curve=curve,
    )


def list_parts(tbs: bytes) -> ListParts | None:
    """Return what a TBSCertList of the common form says, or None: ask the library.

    ``tbs``: DER that the library has accepted as part of a revocation list.
    """
    try:
        return _list_parts(tbs)
    except FormatError:
        return None


def _list_parts(tbs: bytes) -> ListParts:
    """Version 2 with both dates; the entries may be left out."""
    members = der.children(tbs, der.whole(tbs, der.SEQUENCE, "TBSCertList"), limit=7)
    _demand(holds=len(members) >= 6 and der.outer(tbs, members[0]) == _VERSION_2)
    for time in members[3:5]:
        _demand(holds=time.tag in (der.UTC_TIME, der.GENERALIZED_TIME))
    _demand(holds=members[-1].tag == _CONSTRUCTED_0)
    revoked: set[int] = set()
    if len(members) == 7:
        entries = der.expect(members[5], der.SEQUENCE, "entries")
        for entry in der.children(tbs, entries, limit=_ENTRIES):
            parts = der.children(tbs, der.expect(entry, der.SEQUENCE, "entry"), limit=3)
            _demand(holds=len(parts) >= 2)
            if len(parts) == 3:
                _reason(der.outer(tbs, parts[2]))
            revoked.add(der.natural(tbs, parts[0], "serial number", size=21))
    return ListParts(
        extensions=_extensions(tbs, members[-1], _LIST, _Facts()),
        revoked=frozenset(revoked),
    )


def _reason(extensions: bytes) -> None:
    """Read the extensions of an entry: one that gives the reason, not critical."""
    body = extensions[2:]
    _demand(holds=len(body) == len(_REASON_CODE) + 1 and extensions[:2] == b"\x30\x0c")
    _demand(holds=body.startswith(_REASON_CODE) and body[-1] in _REASONS)
