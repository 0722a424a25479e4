"""The Platform Certification Key certificate: roles in Intel chains, the SGX extension.

Source: tdx.md 3.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from verify.crypto import der
from verify.crypto.cache import Bounded
from verify.crypto.ecdsa import Curve
from verify.crypto.x509 import (
    OID_AUTHORITY_KEY_IDENTIFIER,
    OID_BASIC_CONSTRAINTS,
    OID_CRL_DISTRIBUTION_POINTS,
    OID_ECDSA_SHA256,
    OID_KEY_USAGE,
    OID_SUBJECT_KEY_IDENTIFIER,
    Certificate,
)
from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.engine.value import value

SGX_EXTENSION: Final = "1.2.840.113741.1.13.1"
CN_ROOT: Final = "Intel SGX Root CA"
CN_PLATFORM: Final = "Intel SGX PCK Platform CA"
CN_PROCESSOR: Final = "Intel SGX PCK Processor CA"
CN_LEAF: Final = "Intel SGX PCK Certificate"
CN_SIGNER: Final = "Intel SGX TCB Signing"

_ARC: Final = bytes.fromhex("2a864886f84d010d01")
"""The extension's own OID, as it begins every member's OID."""
_ENUMERATED: Final = 0x0A


class CaKind(Enum):
    """Which of Intel's two PCK authorities issued a leaf."""

    PLATFORM = "platform"
    PROCESSOR = "processor"


class Role(Enum):
    """What a certificate is in an Intel chain."""

    AUTHORITY = "authority"
    PCK_LEAF = "pck-leaf"
    SIGNER = "signer"


@value
class SgxExtension:
    """The SGX extension of a PCK leaf (tdx.md 3.3). ``ppid`` identifies the machine for ever.

    ``platform_instance_id`` and the three flags exist under the Platform CA only.
    """

    ppid: bytes
    components: tuple[int, ...]
    pce_svn: int
    cpu_svn: bytes
    pce_id: bytes
    fmspc: bytes
    sgx_type: int
    platform_instance_id: bytes | None
    dynamic_platform: bool | None
    cached_keys: bool | None
    smt: bool | None


def profile_fault(certificate: Certificate, role: Role) -> str | None:
    """Say what keeps a certificate from the profile of tdx.md 3.2 items 1 to 4, or None."""
    if certificate.version != 3:
        return f"X.509 version {certificate.version}"
    if certificate.signature_oid != OID_ECDSA_SHA256:
        return f"signature algorithm {certificate.signature_oid}"
    if certificate.curve is not Curve.P256:
        return "the subject key is not on the named curve P-256"
    extensions = certificate.extensions
    for oid in (
        OID_AUTHORITY_KEY_IDENTIFIER,
        OID_CRL_DISTRIBUTION_POINTS,
        OID_SUBJECT_KEY_IDENTIFIER,
        OID_KEY_USAGE,
        OID_BASIC_CONSTRAINTS,
    ):
        if oid not in extensions:
            return f"extension {oid} is missing"
    for oid, extension in extensions.items():
        if extension.critical is not (oid in (OID_KEY_USAGE, OID_BASIC_CONSTRAINTS)):
            return f"extension {oid} is {'' if extension.critical else 'not '}critical"
    if role is Role.AUTHORITY:
        if certificate.ca is not True:
            return "an authority without cA"
        if not (certificate.may_sign_certs and certificate.may_sign_crls):
            return "an authority without keyCertSign and cRLSign"
    else:
        if certificate.ca is not False:
            return "a leaf or signer with cA"
        if not certificate.may_sign or certificate.may_sign_certs:
            return "a leaf or signer without digitalSignature, or with keyCertSign"
    if (SGX_EXTENSION in extensions) is not (role is Role.PCK_LEAF):
        return "the SGX extension is on the PCK leaf and nowhere else"
    return None


def has_common_name(certificate: Certificate, *names: str) -> bool:
    """Whether the subject has exactly one CN and it is one of ``names``."""
    return len(certificate.common_names) == 1 and certificate.common_names[0] in names


def _member(data: bytes, element: der.Element, arc: bytes) -> tuple[int, der.Element]:
    """Read SEQUENCE(OID, value): the sub-identifier under ``arc``, the value."""
    der.expect(element, der.SEQUENCE, "a member")
    parts = der.children(data, element, limit=2)
    if len(parts) != 2:
        raise FormatError(element.start, "a member is an identifier and a value")
    der.expect(parts[0], der.OBJECT_IDENTIFIER, "a member's identifier")
    oid = der.value(data, parts[0])
    if len(oid) != len(arc) + 1 or oid[:-1] != arc or oid[-1] & 0x80:
        raise FormatError(parts[0].start, "an identifier outside the extension's own")
    return oid[-1], parts[1]


def _members(
    data: bytes, parent: der.Element, arc: bytes, wanted: tuple[int, ...]
) -> dict[int, der.Element]:
    der.expect(parent, der.SEQUENCE, "a list of members")
    found: dict[int, der.Element] = {}
    for element in der.children(data, parent, limit=20):
        number, value = _member(data, element, arc)
        if number in found:
            raise FormatError(element.start, f"member {number} stands twice")
        found[number] = value
    if set(found) != set(wanted):
        raise FormatError(parent.start, f"members {sorted(found)}, not {list(wanted)}")
    return found


def _octets(data: bytes, element: der.Element, size: int, what: str) -> bytes:
    der.expect(element, der.OCTET_STRING, what)
    found = der.value(data, element)
    if len(found) != size:
        raise FormatError(element.start, f"{what} of {len(found)} bytes, not {size}")
    return found


def _flag(data: bytes, element: der.Element, what: str) -> bool:
    der.expect(element, der.BOOLEAN, what)
    found = der.value(data, element)
    if found not in (b"\x00", b"\xff"):
        raise FormatError(element.inside, f"{what} is neither 00 nor ff")
    return found == b"\xff"


_TCB: Final = tuple(range(1, 19))
_PROCESSOR: Final = (1, 2, 3, 4, 5)
_PLATFORM: Final = (1, 2, 3, 4, 5, 6, 7)


def _walk(data: bytes, kind: CaKind) -> SgxExtension:
    outer = der.whole(data, der.SEQUENCE, "the SGX extension")
    platform = kind is CaKind.PLATFORM
    top = _members(data, outer, _ARC, _PLATFORM if platform else _PROCESSOR)
    tcb = _members(data, top[2], _ARC + b"\x02", _TCB)
    components = []
    for index in range(1, 17):
        svn = der.natural(data, tcb[index], f"component {index}", size=2)
        if svn > 0xFF:
            raise FormatError(tcb[index].start, f"component {index} is {svn}")
        components.append(svn)
    pce_svn = der.natural(data, tcb[17], "PCESVN", size=3)
    if pce_svn > 0xFFFF:
        raise FormatError(tcb[17].start, f"PCESVN is {pce_svn}")
    cpu_svn = _octets(data, tcb[18], 16, "CPUSVN")
    if cpu_svn != bytes(components):
        raise FormatError(tcb[18].start, "CPUSVN differs from the sixteen components")
    der.expect(top[5], _ENUMERATED, "the SGX type")
    sgx_type = der.value(data, top[5])
    if len(sgx_type) != 1 or sgx_type[0] > 2:
        raise FormatError(top[5].start, "an SGX type outside 0 to 2")
    flags = _members(data, top[7], _ARC + b"\x07", (1, 2, 3)) if platform else None
    return SgxExtension(
        ppid=_octets(data, top[1], 16, "PPID"),
        components=tuple(components),
        pce_svn=pce_svn,
        cpu_svn=cpu_svn,
        pce_id=_octets(data, top[3], 2, "PCEID"),
        fmspc=_octets(data, top[4], 6, "FMSPC"),
        sgx_type=sgx_type[0],
        platform_instance_id=(
            _octets(data, top[6], 16, "the platform instance id") if platform else None
        ),
        dynamic_platform=None if flags is None else _flag(data, flags[1], "dynamic platform"),
        cached_keys=None if flags is None else _flag(data, flags[2], "cached keys"),
        smt=None if flags is None else _flag(data, flags[3], "SMT"),
    )


_EXTENSIONS: Final[Bounded[tuple[bytes, CaKind], SgxExtension]] = Bounded(256)


def forget() -> None:
    """Empty the cache of this module."""
    _EXTENSIONS.clear()


def sgx_extension(leaf: Certificate, kind: CaKind) -> SgxExtension:
    """Walk the SGX extension of a PCK leaf issued by that authority.

    Raises FormatError (``tdx.pck.extension_malformed``). Source: tdx.md 3.3, 7.P7.
    """
    extension = leaf.extensions.get(SGX_EXTENSION)
    if extension is None:
        raise FormatError(
            0, "no SGX extension on the PCK leaf", reason=Reason.TDX_PCK_EXTENSION_MALFORMED
        )
    found = _EXTENSIONS.get((extension.value, kind))
    if found is not None:
        return found
    try:
        return _EXTENSIONS.put((extension.value, kind), _walk(extension.value, kind))
    except FormatError as error:
        raise FormatError(
            error.offset, error.what, reason=Reason.TDX_PCK_EXTENSION_MALFORMED
        ) from error
