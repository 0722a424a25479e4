"""Reference integrity manifests: what the vendor signed, for what, and whether a report agrees.

A manifest (RIM) is a SWID document under one XML signature. Its values are read from the canonical
bytes just digested, never from the text as received. The id under which it was fetched is not
signed: it is compared with the id a device's report leads to, and used for nothing else.

Source: nvidia.md 8, 17.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, NoReturn
from xml.parsers import expat

from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.nvidia.spdm import OpaqueType, Report
from verify.nvidia.xmldsig import SignedDocument, judge_digest, parse_signed_document

MAX_RESOURCES: Final = 256
MAX_ALTERNATIVES: Final = 64
MAX_INDEX: Final = 255
HASH_HEX: Final = 96
SWID: Final = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
HASH: Final = "http://www.w3.org/2001/04/xmlenc#sha384"
NVDEC0_INDEX: Final = 35
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_DECIMAL: Final = frozenset("0123456789")


class RimKind(Enum):
    """Which firmware a manifest is about. Not signed: it follows from where it is used."""

    DRIVER = "driver"
    VBIOS = "vbios"
    SWITCH = "switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One measurement entry: its index, whether it governs, the 48-byte values it allows."""

    index: int
    active: bool
    alternatives: tuple[bytes, ...]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
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


def _number(text: str, most: int, what: str) -> int:
    """Read a plain decimal number without sign or leading zero."""
    plain = 0 < len(text) <= 3 and _DECIMAL.issuperset(text) and (text == "0" or text[0] != "0")
    if not plain or int(text) > most:
        raise _schema(f"{what} {text[:16]!r} is not a number from 0 to {most}")
    return int(text)


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
        index = _number(attributes.get("index", ""), MAX_INDEX, "index")
        if attributes.get("type") != "Measurement" or attributes.get("size") != "48":
            self._refuse(f"resource {index} is not a measurement of 48 bytes")
        if index in self._resources:
            self._refuse(f"index {index} stands twice")
        active = attributes.get("active")
        if active not in ("True", "False"):
            self._refuse(f"resource {index} is neither active nor inactive")
        count = _number(attributes.get("alternatives", ""), 999, "alternatives")
        if count > MAX_ALTERNATIVES:
            raise FormatError(0, "too many alternatives", reason=Reason.GPU_INPUT_TOO_LARGE)
        prefix = f"{HASH} Hash"
        stated = sum(key.startswith(prefix) for key in attributes)
        if not count or stated != count:
            self._refuse(f"resource {index} has {stated} values, not {count}")
        values: list[bytes] = []
        for position in range(count):
            text = attributes.get(f"{prefix}{position}", "")
            if len(text) != HASH_HEX or not _HEX.issuperset(text):
                self._refuse(f"value {position} of resource {index} is not 96 hex digits")
            values.append(bytes.fromhex(text))
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
