"""Reference integrity manifests: what the vendor signed, for what, and whether a report agrees.

A manifest (RIM) is a SWID document under one XML signature. Its values are read from the canonical
bytes just digested, never from the text as received. The id under which it was fetched is not
signed: it is compared with the id a device's report leads to, and used for nothing else.

Source: nvidia.md 8, 17.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import Enum
from functools import partial
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NoReturn

from verify.crypto.cache import Bounded
from verify.crypto.ecdsa import Curve, Signed, signed_raw_by
from verify.crypto.x509 import Certificate, load_certificate, signed_by
from verify.engine.errors import FormatError, Refused
from verify.engine.later import later
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.nvidia.certificates import MAX_CERTIFICATE, Architecture, Family, issues, role_fault
from verify.nvidia.encoding import base64_bytes, json_object, json_text, json_value
from verify.nvidia.judging import refusals
from verify.nvidia.spdm import OpaqueType, Report

if TYPE_CHECKING:
    from xml.parsers import expat

    from verify.nvidia import xmldsig
else:
    expat = later("xml.parsers.expat")
    xmldsig = later("verify.nvidia.xmldsig")

MAX_ANSWER: Final = 1024 * 1024
CHAIN_LENGTH: Final = 4
FORMAT: Final = "TCG"
"""The service's name of the SWID form (``rim_format``)."""
MAX_RESOURCES: Final = 256
MAX_ALTERNATIVES: Final = 64
MAX_INDEX: Final = 255
HASH_HEX: Final = 96
SWID: Final = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
HASH: Final = "http://www.w3.org/2001/04/xmlenc#sha384"
NVDEC0_INDEX: Final = 35
_HASH_NAME: Final = f"{HASH} Hash"
_NUMBERS: Final = {str(number): number for number in range(MAX_INDEX + 1)}
_MEMBERS: Final = frozenset({"type", "index", "active", "alternatives", "name", "size"})


class RimKind(Enum):
    """Which firmware a manifest is about. Not signed: it follows from where it is used."""

    DRIVER = "driver"
    VBIOS = "vbios"
    SWITCH = "switch"


@value
class Resource:
    """One measurement entry: its index, whether it governs, the 48-byte values it allows."""

    index: int
    active: bool
    alternatives: tuple[bytes, ...]
    name: str


@value
class Manifest:
    """The signed content of a manifest. ``resources`` in document order, indices unique."""

    software_name: str
    tag_id: str
    product: str
    edition: str
    version: str
    resources: tuple[Resource, ...]

    @property
    def active(self) -> tuple[Resource, ...]:
        """The entries that govern a measurement, by index."""
        return tuple(sorted((r for r in self.resources if r.active), key=lambda r: r.index))


def _schema(what: str) -> FormatError:
    return FormatError(0, what, reason=Reason.GPU_RIM_SCHEMA_INVALID)


def _number(text: str | None, what: str) -> int:
    """Read a plain decimal number without sign or leading zero, at most 255."""
    found = _NUMBERS.get(text or "")
    if found is None:
        raise _schema(f"{what} {(text or '')[:16]!r} is not a number from 0 to {MAX_INDEX}")
    return found


class _ManifestReader:
    """The handlers of one pass over canonical bytes, with namespaces resolved by the tokeniser."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate("UTF-8", " ")
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._path: list[str] = []
        self._root: dict[str, str] = {}
        self._meta: dict[str, str] | None = None
        self._payloads = 0
        self._resources: dict[int, Resource] = {}

    def read(self, body: bytes) -> Manifest:
        try:
            self._parser.Parse(body, True)
        except expat.ExpatError as error:  # canonical bytes are well-formed: cannot be reached
            raise _schema(f"not well-formed XML ({error.code})") from error
        if self._meta is None or self._payloads != 1:
            raise _schema("the manifest needs one Meta and one Payload below its root")
        try:
            return Manifest(
                software_name=self._root["name"],
                tag_id=self._root.get("tagId", ""),
                product=self._meta["product"],
                edition=self._meta["edition"],
                version=self._meta["colloquialVersion"],
                resources=tuple(self._resources.values()),
            )
        except KeyError as error:
            raise _schema(f"the attribute {error.args[0]} is missing") from error

    def _refuse(self, what: str) -> NoReturn:
        raise _schema(what)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        path = self._path
        uri, _, local = name.rpartition(" ")
        path.append(name)
        depth = len(path)
        if depth == 1:
            if name != f"{SWID} SoftwareIdentity":
                self._refuse(f"the root is {local[:64]} of another kind")
            self._root = attributes
            return
        if uri != SWID:
            return
        if local == "SoftwareIdentity":
            self._refuse("a manifest inside the manifest")
        elif local == "Meta":
            if depth != 2 or self._meta is not None:
                self._refuse("Meta stands twice or in the wrong place")
            self._meta = attributes
        elif local == "Payload":
            if depth != 2 or self._payloads:
                self._refuse("Payload stands twice or in the wrong place")
            self._payloads = 1
        elif local == "Resource":
            if depth != 3 or path[1] != f"{SWID} Payload":
                self._refuse("a Resource outside Payload")
            self._resource(attributes)

    def _end(self, name: str) -> None:
        del name
        self._path.pop()

    def _resource(self, attributes: dict[str, str]) -> None:
        if len(self._resources) >= MAX_RESOURCES:
            raise FormatError(0, "too many resources", reason=Reason.GPU_INPUT_TOO_LARGE)
        index = _number(attributes.get("index"), "index")
        if attributes.get("type") != "Measurement" or attributes.get("size") != "48":
            self._refuse(f"resource {index} is not a measurement of 48 bytes")
        if index in self._resources:
            self._refuse(f"index {index} stands twice")
        active = attributes.get("active")
        if active not in ("True", "False"):
            self._refuse(f"resource {index} is neither active nor inactive")
        count = _number(attributes.get("alternatives"), "alternatives")
        if count > MAX_ALTERNATIVES:
            raise FormatError(0, "too many alternatives", reason=Reason.GPU_INPUT_TOO_LARGE)
        values: list[bytes] = []
        for position in range(count):
            text = attributes.get(f"{_HASH_NAME}{position}", "")
            try:
                found = bytes.fromhex(text)
            except ValueError:
                found = b""
            # White space, which fromhex skips, cannot stand in 96 characters that give 48 bytes.
            if len(text) != HASH_HEX or len(found) * 2 != HASH_HEX:
                self._refuse(f"value {position} of resource {index} is not 96 hex digits")
            values.append(found)
        others = len(attributes) - count
        if others != len(_MEMBERS) or not attributes.keys() >= _MEMBERS:
            others = sum(not key.startswith(_HASH_NAME) for key in attributes)
        if not count or others + count != len(attributes):
            self._refuse(f"resource {index} has another number of values than {count}")
        self._resources[index] = Resource(
            index=index,
            active=active == "True",
            alternatives=tuple(values),
            name=attributes.get("name", ""),
        )


def parse_manifest(body: bytes) -> Manifest:
    """Parse the canonical body of a signed document.

    Raises FormatError: ``gpu.rim.schema_invalid``, ``gpu.rim.no_active_measurements``,
    ``gpu.input.too_large``. Source: nvidia.md 8.3.
    """
    manifest = _ManifestReader().read(body)
    if not any(resource.active for resource in manifest.resources):
        raise FormatError(
            0,
            "no measurement of the manifest is active",
            reason=Reason.GPU_RIM_NO_ACTIVE_MEASUREMENTS,
        )
    return manifest


# --- the file --------------------------------------------------------------------------------


@value
class Rim:
    """One recorded manifest, parsed and unverified.

    ``recorded_id``: the id in the service's envelope, None for bare XML. ``certificates``: as
    embedded, signer first, None in a place whose DER cannot be read.
    """

    recorded_id: str | None
    document: xmldsig.SignedDocument
    manifest: Manifest
    certificates: tuple[Certificate | None, ...]

    @property
    def signer_serial(self) -> str:
        """The signer's serial number in upper-case hex, empty where it cannot be read."""
        signer = self.certificates[0]
        return "" if signer is None else f"{signer.serial:X}"


_RIMS: Final[Bounded[bytes, Rim]] = Bounded(64)


def forget() -> None:
    """Empty the cache of this module (for measurements and for tests of equal results)."""
    _RIMS.clear()


def _readable(encoded: bytes) -> Certificate | None:
    if len(encoded) > MAX_CERTIFICATE:
        return None
    try:
        return load_certificate(encoded)
    except FormatError:
        return None


def _open_envelope(data: bytes) -> tuple[str, bytes]:
    """Read the service's JSON answer: id and the XML inside."""
    malformed = Reason.GPU_RIM_MALFORMED
    body = json_object(json_value(data, malformed), malformed, "")
    if body.get("rim_format", FORMAT) != FORMAT:
        raise FormatError(
            0,
            "a manifest of another format than SWID",
            reason=Reason.GPU_RIM_FORMAT_UNSUPPORTED,
            path="/rim_format",
        )
    rim_id = json_text(body.get("id"), malformed, "/id")
    text = json_text(body.get("rim"), malformed, "/rim")
    return rim_id, base64_bytes(text, Reason.GPU_INPUT_ENCODING_INVALID, "/rim")


def parse_rim(data: bytes) -> Rim:
    """Parse a recorded manifest: the service's answer body, or the bare XML.

    Raises FormatError: ``gpu.input.too_large``, ``gpu.input.encoding_invalid``,
    ``gpu.rim.malformed``, ``gpu.rim.format_unsupported``, ``gpu.rim.dsig_profile_invalid``,
    ``gpu.rim.schema_invalid``, ``gpu.rim.no_active_measurements``. Source: nvidia.md 8.2-8.4.
    """
    if len(data) > MAX_ANSWER:
        raise FormatError(
            MAX_ANSWER, f"{len(data)} bytes of manifest", reason=Reason.GPU_INPUT_TOO_LARGE
        )
    digest = sha256(data).digest()
    known = _RIMS.get(digest)
    if known is not None:
        return known
    recorded_id: str | None = None
    xml = data
    if data.lstrip(b" \t\r\n")[:1] == b"{":
        recorded_id, xml = _open_envelope(data)
    document = xmldsig.parse_signed_document(xml)
    return _RIMS.put(
        digest,
        Rim(
            recorded_id=recorded_id,
            document=document,
            manifest=parse_manifest(document.body),
            certificates=tuple(_readable(one) for one in document.certificates),
        ),
    )


# --- authenticity ----------------------------------------------------------------------------


def judge_signature(rim: Rim) -> None:
    """The first certificate's key signed SignedInfo. Raises Refused (``…signature_invalid``)."""
    signer = rim.certificates[0]
    document = rim.document
    good = (
        signer is not None
        and signer.key is not None
        and signer.curve is Curve.P384
        and signed_raw_by(
            signer.sha256, signer.key, document.signature, document.signed_info, Curve.P384
        )
        is Signed.YES
    )
    if not good:
        raise Refused(
            Reason.GPU_RIM_SIGNATURE_INVALID,
            "the manifest's signer did not sign it",
            got=rim.signer_serial,
        )


def _chain_fault(rim: Rim) -> str | None:
    chain = [certificate for certificate in rim.certificates if certificate is not None]
    if len(chain) != len(rim.certificates):
        return "a certificate cannot be read"
    if len(chain) != CHAIN_LENGTH:
        return f"{len(chain)} certificates, not {CHAIN_LENGTH}"
    for position, certificate in enumerate(chain):
        fault = role_fault(certificate, signs_certificates=position > 0, below=max(position - 1, 0))
        if fault is not None:
            return f"position {position}: {fault}"
    for position, (child, issuer) in enumerate(pairwise(chain)):
        if not issues(issuer, child) or signed_by(child, issuer) is not Signed.YES:
            return f"position {position} is not issued by position {position + 1}"
    return None


def judge_chain(rim: Rim) -> None:
    """Four certificates that issue one another, each in its role.

    Raises Refused (``gpu.rim.chain_invalid``). Source: nvidia.md 8.5.
    """
    fault = _chain_fault(rim)
    if fault is not None:
        raise Refused(Reason.GPU_RIM_CHAIN_INVALID, fault, got=fault)


def judge_root(rim: Rim, roots: Collection[bytes]) -> None:
    """The last certificate is a believed root. ``roots``: SHA-256 of DER.

    Raises Refused (``gpu.rim.chain_root_untrusted``). Source: nvidia.md 8.5.
    """
    last = sha256(rim.document.certificates[-1]).digest()
    if last not in roots:
        raise Refused(
            Reason.GPU_RIM_CHAIN_ROOT_UNTRUSTED,
            "the signer's chain does not end at a believed root",
            got=last.hex(),
            expected=" or ".join(sorted(root.hex() for root in roots)),
        )


def judge_times(rim: Rim, as_of: datetime) -> None:
    """All certificates of the signer's chain are valid at ``as_of``, ends included.

    Raises Refused: ``gpu.rim.chain_expired``, ``gpu.rim.chain_not_yet_valid``.
    """
    for position, certificate in enumerate(rim.certificates):
        if certificate is None:
            continue
        shown = f"{certificate.not_before.isoformat()} .. {certificate.not_after.isoformat()}"
        if as_of > certificate.not_after:
            raise Refused(
                Reason.GPU_RIM_CHAIN_EXPIRED,
                f"position {position} had expired",
                got=shown,
                expected=as_of.isoformat(),
            )
        if as_of < certificate.not_before:
            raise Refused(
                Reason.GPU_RIM_CHAIN_NOT_YET_VALID,
                f"position {position} was not valid yet",
                got=shown,
                expected=as_of.isoformat(),
            )


def authenticity_refusals(
    rim: Rim, roots: Collection[bytes], as_of: datetime
) -> tuple[Refused, ...]:
    """Ask whether the vendor signed this manifest and was entitled to at ``as_of``."""
    return refusals(
        partial(xmldsig.judge_digest, rim.document),
        partial(judge_signature, rim),
        partial(judge_chain, rim),
        partial(judge_root, rim, roots),
        partial(judge_times, rim, as_of),
    )


def valid_until(rim: Rim) -> datetime | None:
    """Return the earliest end among the signer's certificates, for notes about other instants."""
    return min((one.not_after for one in rim.certificates if one is not None), default=None)


# --- which manifest for which device -----------------------------------------------------------


def wanted_ids(report: Report, family: Family) -> dict[RimKind, str | None]:
    """Return the manifest id per kind that a device's signed report leads to.

    None where the report lacks a part of it. Source: nvidia.md 8.1.
    """
    version = report.vbios
    plain = None if version is None else version.replace(".", "").upper()
    if family.is_switch:
        return {RimKind.SWITCH: None if plain is None else f"NV_SWITCH_BIOS_5612_0002_890_{plain}"}
    driver = report.driver
    product = product_of(report, family)
    if driver is None:
        driver_id = None
    elif family.architecture is Architecture.BLACKWELL:
        driver_id = f"NV_GPU_CC_DRIVER_{product}_{driver}"
    else:
        driver_id = f"NV_GPU_DRIVER_{product}_{driver}"
    board = (
        report.text(OpaqueType.PROJECT),
        report.text(OpaqueType.PROJECT_SKU),
        report.text(OpaqueType.CHIP_SKU),
        plain,
    )
    named = [part for part in board if part is not None]
    vbios_id = f"NV_GPU_VBIOS_{'_'.join(named)}".upper() if len(named) == len(board) else None
    return {RimKind.DRIVER: driver_id, RimKind.VBIOS: vbios_id}


def product_of(report: Report, family: Family) -> str:
    """Return what ``Meta/product`` must say for a device (nvidia.md 8.6)."""
    if family.architecture is Architecture.BLACKWELL:
        return report.text(OpaqueType.CHIP_INFO) or family.name
    return family.name


def judge_id(recorded: str, wanted: str | None) -> None:
    """The id recorded with a manifest is the one the report leads to.

    Raises Refused (``gpu.rim.id_mismatch``). Source: nvidia.md 8.1.
    """
    if recorded != wanted:
        raise Refused(
            Reason.GPU_RIM_ID_MISMATCH,
            "the manifest was fetched under another id than the report leads to",
            got=recorded,
            expected=wanted or "",
        )


def judge_product(manifest: Manifest, report: Report, family: Family) -> None:
    """The manifest is for this chip. Raises Refused (``gpu.rim.product_mismatch``)."""
    wanted = (product_of(report, family), "SWITCH" if family.is_switch else "GPU")
    if (manifest.product, manifest.edition) != wanted:
        raise Refused(
            Reason.GPU_RIM_PRODUCT_MISMATCH,
            "the manifest is for another product",
            got=f"{manifest.product} {manifest.edition}",
            expected=" ".join(wanted),
        )


def judge_version(manifest: Manifest, report: Report, kind: RimKind) -> None:
    """The manifest is for this firmware version, compared without regard to ASCII case.

    Raises Refused (``gpu.rim.version_mismatch``). Source: nvidia.md 8.6.
    """
    wanted = (report.driver if kind is RimKind.DRIVER else report.vbios) or ""
    if not wanted or not manifest.version.isascii() or manifest.version.lower() != wanted.lower():
        raise Refused(
            Reason.GPU_RIM_VERSION_MISMATCH,
            "the manifest is for another version",
            got=manifest.version,
            expected=wanted,
        )


def judge_indices(driver: Manifest, vbios: Manifest) -> None:
    """No index is active in both manifests of a GPU. Raises Refused (``…index_conflict``)."""
    both = {one.index for one in driver.active} & {one.index for one in vbios.active}
    if both:
        raise Refused(
            Reason.GPU_RIM_INDEX_CONFLICT,
            "driver and VBIOS manifest govern the same measurement",
            got=", ".join(str(index) for index in sorted(both)),
        )


# --- comparison ------------------------------------------------------------------------------


@value
class Comparison:
    """What a comparison found, by manifest index. ``skipped``: index 35 with NVDEC0 disabled."""

    kind: RimKind
    active: int
    skipped: tuple[int, ...]
    matched: tuple[int, ...]
    mismatched: tuple[int, ...]
    missing: tuple[int, ...]

    @property
    def compared(self) -> int:
        """How many entries were compared with a block."""
        return len(self.matched) + len(self.mismatched)


def compare(manifest: Manifest, report: Report, kind: RimKind) -> Comparison:
    """Compare every active entry with its block (block = index + 1); any alternative may match.

    Source: nvidia.md 8.7.
    """
    skipped: list[int] = []
    matched: list[int] = []
    mismatched: list[int] = []
    missing: list[int] = []
    for entry in manifest.active:
        if entry.index == NVDEC0_INDEX and report.nvdec0_disabled:
            skipped.append(entry.index)
        elif entry.index >= len(report.blocks):
            missing.append(entry.index)
        elif report.blocks[entry.index] in entry.alternatives:
            matched.append(entry.index)
        else:
            mismatched.append(entry.index)
    return Comparison(
        kind=kind,
        active=len(manifest.active),
        skipped=tuple(skipped),
        matched=tuple(matched),
        mismatched=tuple(mismatched),
        missing=tuple(missing),
    )


def comparison_refusals(comparison: Comparison, signer_serial: str) -> tuple[Refused, ...]:
    """Return what a comparison contradicts, naming the indices and the manifest's signer.

    Codes: ``gpu.measurement.missing_block``, ``gpu.measurement.mismatch``. Source: nvidia.md 8.7.
    """
    found: list[Refused] = []
    for indices, reason, what in (
        (comparison.missing, Reason.GPU_MEASUREMENT_MISSING_BLOCK, "the report lacks blocks"),
        (comparison.mismatched, Reason.GPU_MEASUREMENT_MISMATCH, "measurements differ"),
    ):
        if indices:
            listed = ", ".join(str(index) for index in indices)
            found.append(
                Refused(
                    reason,
                    f"{what} that the {comparison.kind.value} manifest governs",
                    got=f"{comparison.kind.value} index {listed}",
                    expected=f"manifest signed by {signer_serial}",
                )
            )
    return tuple(found)


def judge_compared(comparisons: Collection[Comparison]) -> None:
    """Something was compared. Raises Refused (``gpu.measurement.not_checked``: absent).

    Without an authentic manifest for the device's own product and version there is no comparison.
    """
    if not any(comparison.compared for comparison in comparisons):
        raise Refused(Reason.GPU_MEASUREMENT_NOT_CHECKED, "nothing to compare the device with")
