"""The five certificates of a device: leaf, boot ROM, provisioner, identity, pinned root.

The walk is our own, so that every way to fail has its code and time is an argument. Positions count
from the leaf (0) to the root (4).

Source: nvidia.md 1, 5, 17, 18.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from enum import Enum
from functools import partial
from hashlib import sha256
from itertools import pairwise
from typing import Final

from verify.crypto import der
from verify.crypto.cache import Bounded
from verify.crypto.ecdsa import Curve, Signed, signed_raw_by
from verify.crypto.x509 import (
    OID_BASIC_CONSTRAINTS,
    OID_ECDSA_SHA384,
    OID_KEY_USAGE,
    Certificate,
    load_certificate,
    signed_by,
)
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.nvidia.judging import refusals
from verify.nvidia.spdm import Report
from verify.wire import base64

MAX_CHAIN_TEXT: Final = 32 * 1024
MAX_CERTIFICATE: Final = 8 * 1024
CHAIN_LENGTH: Final = 5
FWID_LENGTH: Final = 48
OID_FWID: Final = "2.23.133.5.4.1"
OID_TCB_INFO: Final = "2.23.133.5.4.1.1"

_OUTSIDE: Final = b" \t\r\n\v\f\0"
_BLOCK: Final = re.compile(
    rb"[ \t\r\n\v\f\x00]*-----BEGIN CERTIFICATE-----"
    rb"([A-Za-z0-9+/= \t\r\n]+)-----END CERTIFICATE-----"
)
_MAX_BLOCKS: Final = 16
_ALLOWED_CRITICAL: Final = frozenset({OID_BASIC_CONSTRAINTS, OID_KEY_USAGE})
_ECDSA_SHA384_IDENTIFIER: Final = bytes.fromhex("300a06082a8648ce3d040303")
_P384_KEY: Final = bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")
_SHA384_IDENTIFIER: Final = bytes.fromhex("0609608648016503040202")
_BLACKWELL: Final = re.compile(r"GB1[0-9]{2} ")


class Architecture(Enum):
    """The service's name of a device generation; the value is what containers declare."""

    HOPPER = "HOPPER"
    BLACKWELL = "BLACKWELL"
    LS10 = "LS10"


@value
class Family:
    """A device family, from the signed leaf. ``name``: GH100, GB100, LS10 or another GB1nn.

    ``seen``: whether a genuine report of this member was ever read by this program.
    """

    name: str
    architecture: Architecture
    seen: bool

    @property
    def is_switch(self) -> bool:
        """Whether the device is an NVSwitch, not a GPU."""
        return self.architecture is Architecture.LS10


@value
class FirmwareId:
    """The FWID extension of a leaf.

    ``digest``: 48 bytes. ``embedded_key``: SubjectPublicKeyInfo that the older form repeats; it
    should be the key of position 1. ``flags``: of the newer form, shown and not judged.
    """

    oid: str
    digest: bytes
    embedded_key: bytes | None
    flags: bytes | None


@value
class DeviceChain:
    """The certificates of one device as sent, leaf first, each loaded, nothing verified.

    ``text_sha256``: of the PEM text as received.
    """

    certificates: tuple[Certificate, ...]
    text_sha256: bytes

    @property
    def leaf(self) -> Certificate:
        """Position 0: the key that signs reports."""
        return self.certificates[0]

    @property
    def boot(self) -> Certificate:
        """Position 1: the boot ROM, issuer of the leaf."""
        return self.certificates[1]

    @property
    def ueid(self) -> str:
        """The leaf's serial number in decimal, as the service's ``ueid`` claim has it."""
        return str(self.leaf.serial)

    @property
    def hardware_model(self) -> str:
        """Common name of position 1, e.g. ``GH100 A01 GSP BROM``; empty where it has none."""
        names = self.boot.common_names
        return names[0] if len(names) == 1 else ""

    @property
    def pdi(self) -> str | None:
        """The device's PDI, 16 upper-case hex digits, from the serial number of position 1.

        None where that number has not the shape ``0x41`` (GPU) or ``0x50`` (switch) and 8 bytes.
        """
        serial = self.boot.serial
        if serial >> 64 not in (0x41, 0x50):
            return None
        return f"{serial & 0xFFFF_FFFF_FFFF_FFFF:016X}"


_CHAINS: Final[Bounded[bytes, DeviceChain]] = Bounded(512)


def forget() -> None:
    """Empty the cache of this module (for measurements and for tests of equal results)."""
    _CHAINS.clear()


def _malformed(offset: int, what: str) -> FormatError:
    return FormatError(offset, what, reason=Reason.GPU_CHAIN_MALFORMED)


def split_chain(text: bytes) -> tuple[bytes, ...]:
    """Split PEM text into the DER of its certificates.

    Between and around the blocks: ASCII white space and NUL, nothing else. Raises FormatError:
    ``gpu.input.too_large``, ``gpu.chain.malformed``. Source: nvidia.md 5.1.
    """
    if len(text) > MAX_CHAIN_TEXT:
        raise FormatError(
            MAX_CHAIN_TEXT,
            f"{len(text)} bytes of chain text, at most {MAX_CHAIN_TEXT} are read",
            reason=Reason.GPU_INPUT_TOO_LARGE,
        )
    found: list[bytes] = []
    at = 0
    while (block := _BLOCK.match(text, at)) is not None and len(found) < _MAX_BLOCKS:
        digits = block.group(1).translate(None, b" \t\r\n")
        try:
            decoded = base64.decode(digits.decode("ascii"))
        except FormatError as error:
            raise _malformed(block.start(1), error.what) from error
        if len(decoded) > MAX_CERTIFICATE:
            raise _malformed(block.start(1), f"a certificate of {len(decoded)} bytes")
        found.append(decoded)
        at = block.end()
    if text[at:].strip(_OUTSIDE) or not found:
        raise _malformed(at, "something that is no certificate block")
    return tuple(found)


def parse_chain(text: bytes) -> DeviceChain:
    """Parse the PEM text of one device's chain: exactly five certificates, leaf first.

    Raises FormatError: as `split_chain`; ``gpu.chain.malformed`` for a certificate that cannot be
    read or has no positive serial number, ``gpu.chain.length_unexpected``. Source: nvidia.md 5.
    """
    digest = sha256(text).digest()
    known = _CHAINS.get(digest)
    if known is not None:
        return known
    encoded = split_chain(text)
    certificates: list[Certificate] = []
    for position, one in enumerate(encoded):
        try:
            certificate = load_certificate(one)
        except FormatError as error:
            raise _malformed(0, f"position {position}: {error.what}") from error
        if certificate.serial == 0:
            raise _malformed(0, f"position {position}: serial number 0")
        certificates.append(certificate)
    if len(certificates) != CHAIN_LENGTH:
        raise FormatError(
            0,
            f"{len(certificates)} certificates, not {CHAIN_LENGTH}",
            reason=Reason.GPU_CHAIN_LENGTH_UNEXPECTED,
        )
    return _CHAINS.put(digest, DeviceChain(certificates=tuple(certificates), text_sha256=digest))


def family_of(chain: DeviceChain) -> Family:
    """Return the family that the leaf's common name states.

    Raises Refused (``gpu.input.unsupported_arch``). Source: nvidia.md 1.
    """
    names = chain.leaf.common_names
    name = names[0] if len(names) == 1 else ""
    if name.startswith("GH100 "):
        return Family(name="GH100", architecture=Architecture.HOPPER, seen=True)
    if name.startswith("LS_10 "):
        return Family(name="LS10", architecture=Architecture.LS10, seen=True)
    if _BLACKWELL.match(name) is not None:
        return Family(name=name[:5], architecture=Architecture.BLACKWELL, seen=name[:5] == "GB100")
    raise Refused(
        Reason.GPU_INPUT_UNSUPPORTED_ARCH,
        "the leaf names no device family that is judged",
        got=name,
        expected="GH100, GB1nn or LS_10",
    )


# --- links, keys and roles, shared by device and manifest chains --------------------------------


def issues(issuer: Certificate, child: Certificate) -> bool:
    """Whether the names link: the child's issuer is the issuer's subject, compared as DER."""
    return issuer.subject == child.issuer


def has_plain_p384_key(certificate: Certificate) -> bool:
    """Whether key and signature algorithm are the one accepted encoding of P-384 and SHA-384.

    A named curve and an uncompressed point; the algorithm stated inside the signed part and beside
    the signature alike.
    """
    if certificate.curve is not Curve.P384 or certificate.signature_oid != OID_ECDSA_SHA384:
        return False
    return (
        certificate.algorithm == _ECDSA_SHA384_IDENTIFIER
        and certificate.spki[: len(_P384_KEY)] == _P384_KEY
    )


def role_fault(certificate: Certificate, *, signs_certificates: bool, below: int) -> str | None:
    """Say what makes a certificate unfit for its place in a chain, or None.

    ``below``: how many CA certificates stand between it and the leaf.
    """
    if certificate.version != 3:
        return "not version 3"
    if not has_plain_p384_key(certificate):
        return "not a plain P-384 key signed with SHA-384"
    unknown = {
        oid
        for oid, extension in certificate.extensions.items()
        if extension.critical and oid not in _ALLOWED_CRITICAL
    }
    if unknown:
        return f"critical extension {min(unknown)}"
    if signs_certificates:
        if certificate.ca is not True or not certificate.may_sign_certs:
            return "not a CA that may sign certificates"
        if certificate.path_length is not None and certificate.path_length < below:
            return f"path length {certificate.path_length}, {below} CAs below"
        return None
    if certificate.ca is True or certificate.may_sign_certs or not certificate.may_sign:
        return "not an end entity that may sign"
    return None


# --- the five questions asked of a device chain --------------------------------------------------


def judge_root(chain: DeviceChain, roots: Collection[bytes]) -> None:
    """Position 4 is a believed root. ``roots``: SHA-256 of DER.

    Raises Refused (``gpu.chain.root_untrusted``). Source: nvidia.md 5.2, step 2.
    """
    last = chain.certificates[-1].sha256
    if last not in roots:
        raise Refused(
            Reason.GPU_CHAIN_ROOT_UNTRUSTED,
            "the chain does not end at a believed root",
            got=last.hex(),
            expected=" or ".join(sorted(root.hex() for root in roots)),
        )


def judge_order(chain: DeviceChain) -> None:
    """Each issuer name is the next subject name. Raises Refused (``gpu.chain.order_invalid``)."""
    for position, (child, issuer) in enumerate(pairwise(chain.certificates)):
        if not issues(issuer, child):
            raise Refused(
                Reason.GPU_CHAIN_ORDER_INVALID,
                f"position {position + 1} is not the issuer that position {position} names",
                got=f"position {position + 1}",
            )


def judge_links(chain: DeviceChain) -> None:
    """Each signature verifies under the next key. Raises Refused (``…signature_invalid``).

    The pinned root's self-signature is not needed. Source: nvidia.md 5.2, step 4.
    """
    for position, (child, issuer) in enumerate(pairwise(chain.certificates)):
        if signed_by(child, issuer) is not Signed.YES:
            raise Refused(
                Reason.GPU_CHAIN_SIGNATURE_INVALID,
                f"position {position} is not signed by position {position + 1}",
                got=f"position {position}",
            )


def judge_roles(chain: DeviceChain) -> None:
    """Each certificate fits its place. Raises Refused (``gpu.chain.constraints_invalid``)."""
    for position, certificate in enumerate(chain.certificates):
        fault = role_fault(certificate, signs_certificates=position > 0, below=max(position - 1, 0))
        if fault is not None:
            raise Refused(
                Reason.GPU_CHAIN_CONSTRAINTS_INVALID,
                f"position {position}: {fault}",
                got=f"position {position}: {fault}",
            )


def judge_times(chain: DeviceChain, as_of: datetime) -> None:
    """All are valid at ``as_of``, ends included. Raises Refused (``gpu.chain.time_invalid``)."""
    for position, certificate in enumerate(chain.certificates):
        if not certificate.not_before <= as_of <= certificate.not_after:
            raise Refused(
                Reason.GPU_CHAIN_TIME_INVALID,
                f"position {position} is not valid at the instant judged",
                got=f"{certificate.not_before.isoformat()} .. {certificate.not_after.isoformat()}",
                expected=as_of.isoformat(),
            )


def judge_family(chain: DeviceChain) -> None:
    """Leaf and boot ROM are of one family: the first two words of their names agree.

    Raises Refused (``gpu.chain.family_mismatch``). Source: nvidia.md 5.2, step 7.
    """
    heads = [
        certificate.common_names[0].split(" ")[:2] if len(certificate.common_names) == 1 else []
        for certificate in (chain.leaf, chain.boot)
    ]
    if heads[0] != heads[1] or len(heads[0]) != 2:
        raise Refused(
            Reason.GPU_CHAIN_FAMILY_MISMATCH,
            "leaf and boot ROM are of different families",
            got=" / ".join(chain.leaf.common_names),
            expected=" / ".join(chain.boot.common_names),
        )


def chain_refusals(
    chain: DeviceChain, roots: Collection[bytes], as_of: datetime
) -> tuple[Refused, ...]:
    """Ask all questions of a device chain, in the specification's order (nvidia.md 5.2)."""
    return refusals(
        partial(judge_root, chain, roots),
        partial(judge_order, chain),
        partial(judge_links, chain),
        partial(judge_roles, chain),
        partial(judge_times, chain, as_of),
        partial(judge_family, chain),
    )


def judge_report_signature(report: Report, chain: DeviceChain) -> None:
    """The leaf's key signed everything before the signature (ECDSA P-384, SHA-384, raw r || s).

    Raises Refused (``gpu.report.signature_invalid``). Source: nvidia.md 2.3.
    """
    leaf = chain.leaf
    good = (
        leaf.key is not None
        and leaf.curve is Curve.P384
        and signed_raw_by(leaf.sha256, leaf.key, report.signature, report.signed, Curve.P384)
        is Signed.YES
    )
    if not good:
        raise Refused(
            Reason.GPU_REPORT_SIGNATURE_INVALID,
            "the leaf's key did not sign this report",
            start=report.signature_offset,
            stop=report.extent,
        )


# --- firmware identity --------------------------------------------------------------------------


def _digest_entry(value: bytes, entry: der.Element) -> bytes:
    """Read SEQUENCE { OID sha384, OCTET STRING (48) }."""
    der.expect(entry, der.SEQUENCE, "a digest entry")
    parts = der.children(value, entry)
    if len(parts) != 2 or der.outer(value, parts[0]) != _SHA384_IDENTIFIER:
        raise FormatError(entry.start, "a digest entry that is not SHA-384")
    found = der.value(value, der.expect(parts[1], der.OCTET_STRING, "the digest"))
    if len(found) != FWID_LENGTH:
        raise FormatError(parts[1].start, f"a digest of {len(found)} bytes")
    return found


def parse_fwid(value: bytes) -> FirmwareId:
    """Parse extension 2.23.133.5.4.1: SEQUENCE { 1, SubjectPublicKeyInfo, digest entry }.

    Raises FormatError. Source: nvidia.md 5.4.
    """
    parts = der.children(value, der.whole(value, der.SEQUENCE, "the FWID extension"))
    if len(parts) != 3 or der.outer(value, parts[0]) != b"\x02\x01\x01":
        raise FormatError(0, "the FWID extension is not version 1 with a key and a digest")
    der.expect(parts[1], der.SEQUENCE, "the embedded key")
    return FirmwareId(
        oid=OID_FWID,
        digest=_digest_entry(value, parts[2]),
        embedded_key=der.outer(value, parts[1]),
        flags=None,
    )


def parse_tcb_info(value: bytes) -> FirmwareId:
    """Parse extension 2.23.133.5.4.1.1 (DiceTcbInfo); the FWID is the first entry of tag 6.

    Raises FormatError. Source: nvidia.md 5.4.
    """
    digest: bytes | None = None
    flags: bytes | None = None
    seen = -1
    for part in der.children(value, der.whole(value, der.SEQUENCE, "the TCB info")):
        number = part.tag & 0x1F
        if part.tag & 0xC0 != 0x80 or number <= seen:
            raise FormatError(part.start, "TCB info members are context tags in ascending order")
        seen = number
        if number == 6:
            entries = der.children(value, part)
            if not entries:
                raise FormatError(part.start, "an empty list of firmware ids")
            digest = _digest_entry(value, entries[0])
        elif number == 7:
            flags = der.value(value, part)
    if digest is None:
        raise FormatError(0, "the TCB info has no firmware ids")
    return FirmwareId(oid=OID_TCB_INFO, digest=digest, embedded_key=None, flags=flags)


def firmware_id(leaf: Certificate) -> FirmwareId | None:
    """Return the FWID that the leaf carries, or None. Raises FormatError where it is unreadable."""
    older = leaf.extensions.get(OID_FWID)
    newer = leaf.extensions.get(OID_TCB_INFO)
    if older is not None and newer is not None:
        raise FormatError(0, "the leaf carries two forms of firmware id")
    if older is not None:
        return parse_fwid(older.value)
    return None if newer is None else parse_tcb_info(newer.value)


def judge_fwid(report: Report, chain: DeviceChain) -> FirmwareId:
    """Report and leaf name the same firmware, and the leaf's extension names its issuer's key.

    Raises Refused: ``gpu.fwid.key_mismatch``, ``gpu.fwid.not_reported`` (absent: the report states
    none), ``gpu.fwid.missing_in_certificate``, ``gpu.fwid.mismatch``. Source: nvidia.md 5.4.
    """
    what = "the leaf carries no firmware id"
    found: FirmwareId | None
    try:
        found = firmware_id(chain.leaf)
    except FormatError as error:
        found, what = None, f"the leaf's firmware id cannot be read: {error.what}"
    if (
        found is not None
        and found.embedded_key is not None
        and found.embedded_key != chain.boot.spki
    ):
        raise Refused(
            Reason.GPU_FWID_KEY_MISMATCH,
            "the key beside the leaf's firmware id is not the key of its issuer",
            got=found.embedded_key[-48:].hex(),
        )
    stated = report.fwid
    if stated is None:
        raise Refused(Reason.GPU_FWID_NOT_REPORTED, "the report states no firmware id")
    if found is None:
        raise Refused(Reason.GPU_FWID_MISSING_IN_CERTIFICATE, what, expected=stated.hex())
    if found.digest != stated:
        raise Refused(
            Reason.GPU_FWID_MISMATCH,
            "report and leaf name different firmware",
            got=stated.hex(),
            expected=found.digest.hex(),
        )
    return found


def public_key_pem(chain: DeviceChain) -> str:
    """Return the leaf's public key as PEM text: the key that signs the device's reports.

    It is unrelated to any key that signs model answers. Empty for a key that is no EC key.
    Source: providers.md 11.
    """
    key = chain.leaf.key
    if key is None:
        return ""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  (slow to import; only shown)

    encoded = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded.decode("ascii")
