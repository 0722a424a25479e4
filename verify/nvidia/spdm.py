"""The SPDM 1.1 measurement report of one GPU or NVSwitch: layout, opaque data, derived strings.

One device's evidence is a GET_MEASUREMENTS request followed directly by its MEASUREMENTS response.
Parsing says what the bytes are; it judges neither signature nor values.

Source: nvidia.md 2, 3, 17.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.engine.value import value

MAX_EVIDENCE: Final = 16 * 1024
NONCE_LENGTH: Final = 32
SIGNATURE_LENGTH: Final = 96
VALUE_LENGTH: Final = 48
BLOCK_LENGTH: Final = 55
BLOCKS_OFFSET: Final = 45
NVDEC0_DISABLED: Final = 0x55
FLAG_ON: Final = 0xAA

_BLOCK_HEADERS: Final = tuple(
    bytes((index, 0x01, 51, 0, 0x01, VALUE_LENGTH, 0)) for index in range(256)
)
_FIXED: Final = (
    (0, 0x11, "request SPDM version"),
    (1, 0xE0, "request code"),
    (2, 0x01, "request param1"),
    (3, 0xFF, "request param2"),
    (36, 0x00, "slot"),
    (37, 0x11, "response SPDM version"),
    (38, 0x60, "response code"),
    (39, 0x00, "response param1"),
    (40, 0x00, "response param2"),
)
_VERSIONED: Final = b"NVDAOD"
"""How the vendor announces that opaque data of later drivers will begin (no sample was seen)."""
_PRINTABLE: Final = re.compile(rb"[ -~]+")
_SWITCH_VERSION: Final = re.compile(rb"[0-9A-Fa-f]{2}(?:\.[0-9A-Fa-f]{2}){4}")


class OpaqueType(Enum):
    """Types of the opaque data list (nvidia.md 3)."""

    ISSUER_NAME = 1
    AUTHORITY_KEY_ID = 2
    DRIVER_VERSION = 3
    GPU_INFO = 4
    SKU = 5
    VBIOS_VERSION = 6
    MANUFACTURER = 7
    TAMPER = 8
    SMC = 9
    VPR = 10
    NVDEC0_STATUS = 11
    MEASUREMENT_COUNTERS = 12
    CPR_INFO = 13
    BOARD_ID = 14
    CHIP_SKU = 15
    CHIP_SKU_MOD = 16
    PROJECT = 17
    PROJECT_SKU = 18
    PROJECT_SKU_MOD = 19
    FWID = 20
    PROTECTED_PCIE_STATUS = 21
    SWITCH_PDIS = 22
    FLOORSWEPT_PORTS = 23
    POSITION_ID = 24
    LOCK_STATUS = 25
    CONNECTED_GPU_PDIS = 26
    GPU_LINK_CONNECTION = 32
    SYSTEM_ENABLE_STATUS = 33
    OPAQUE_DATA_VERSION = 34
    CHIP_INFO = 35
    FEATURE_FLAG = 36
    INVALID = 255


_KNOWN: Final = frozenset(kind.value for kind in OpaqueType)


class GpuMode(Enum):
    """How the platform shares the GPU: one passed through, several, or protected PCIe."""

    SPT = "SPT"
    MPT = "MPT"
    PPCIE = "PPCIE"
    UNKNOWN = "unknown"


_MODES: Final = {0: GpuMode.SPT, 1: GpuMode.MPT, 2: GpuMode.PPCIE}


@value
class OpaqueField:
    """One entry of the opaque data: its type number, the offset of its value, the value."""

    kind: int
    offset: int
    value: bytes


@value
class Report:
    """One device's evidence, parsed and unverified.

    ``data``: all bytes given. ``blocks``: the 48-byte values; block number i (1-based) is
    ``blocks[i - 1]``, which is RIM index i - 1. ``extent``: where the signature ends.
    """

    data: bytes
    requester_nonce: bytes
    responder_nonce: bytes
    responder_nonce_offset: int
    blocks: tuple[bytes, ...]
    opaque: tuple[OpaqueField, ...]
    opaque_offset: int
    signature_offset: int
    extent: int

    @property
    def signed(self) -> bytes:
        """The bytes under the signature: everything before it (nvidia.md 2.3)."""
        return self.data[: self.signature_offset]

    @property
    def signature(self) -> bytes:
        """Raw r || s, 48 + 48 bytes, big-endian."""
        return self.data[self.signature_offset : self.extent]

    def field(self, kind: OpaqueType) -> OpaqueField | None:
        """Return the opaque field of that type, or None where the report has none."""
        wanted = kind.value
        for entry in self.opaque:
            if entry.kind == wanted:
                return entry
        return None

    def value(self, kind: OpaqueType) -> bytes | None:
        """Return the value of the opaque field of that type, or None."""
        entry = self.field(kind)
        return None if entry is None else entry.value

    @property
    def unknown_types(self) -> tuple[int, ...]:
        """Type numbers that the specification does not list, in order of appearance."""
        return tuple(entry.kind for entry in self.opaque if entry.kind not in _KNOWN)

    @property
    def driver(self) -> str | None:
        """Driver version, GPU only (type 3 up to the first NUL)."""
        raw = self.value(OpaqueType.DRIVER_VERSION)
        return None if raw is None else raw.partition(b"\0")[0].decode("ascii")

    @property
    def vbios(self) -> str | None:
        """VBIOS version of a GPU or BIOS version of a switch (nvidia.md 3.1)."""
        raw = self.value(OpaqueType.VBIOS_VERSION)
        if raw is None:
            return None
        if len(raw) == 14:
            return raw.decode("ascii")
        return f"{raw[3]:02X}.{raw[2]:02X}.{raw[1]:02X}.{raw[0]:02X}.{raw[4]:02X}"

    @property
    def fwid(self) -> bytes | None:
        """Firmware identity the report states (type 20), or None."""
        return self.value(OpaqueType.FWID)

    @property
    def nvdec0_disabled(self) -> bool:
        """Whether the report says NVDEC0 is disabled; False, too, where it says nothing."""
        return self.value(OpaqueType.NVDEC0_STATUS) == bytes((NVDEC0_DISABLED,))

    @property
    def mode(self) -> GpuMode:
        """Type 36 if present, else type 21 when on, else unknown (nvidia.md 3.1)."""
        flag = self.value(OpaqueType.FEATURE_FLAG)
        if flag is not None:
            return _MODES.get(int.from_bytes(flag, "little"), GpuMode.UNKNOWN)
        if self.value(OpaqueType.PROTECTED_PCIE_STATUS) == bytes((FLAG_ON,)):
            return GpuMode.PPCIE
        return GpuMode.UNKNOWN

    @property
    def switch_pdis(self) -> frozenset[str] | None:
        """PDIs of the switches a GPU is linked to, upper-case hex; None where not reported."""
        raw = self.value(OpaqueType.SWITCH_PDIS)
        if raw is None:
            return None
        parts = (raw[at : at + 8][::-1] for at in range(0, len(raw), 8))
        return frozenset(part.hex().upper() for part in parts if any(part))

    @property
    def own_pdi(self) -> str | None:
        """The PDI a switch states as its own (type 22, not reversed), upper-case hex, or None."""
        raw = self.value(OpaqueType.SWITCH_PDIS)
        return None if raw is None else raw.hex().upper()

    @property
    def gpu_pdis(self) -> frozenset[str] | None:
        """PDIs of the GPUs a switch is linked to, upper-case hex; None where not reported."""
        raw = self.value(OpaqueType.CONNECTED_GPU_PDIS)
        if raw is None:
            return None
        parts = (raw[at : at + 8] for at in range(0, 64, 8))
        return frozenset(part.hex().upper() for part in parts if any(part))

    def text(self, kind: OpaqueType) -> str | None:
        """Return a NUL-padded ASCII field, or None where it is absent, empty or not printable."""
        raw = self.value(kind)
        if raw is None:
            return None
        head = raw.partition(b"\0")[0]
        return head.decode("ascii") if _printable(head) else None


def _printable(raw: bytes) -> bool:
    return _PRINTABLE.fullmatch(raw) is not None


def _need(data: bytes, stop: int, what: str) -> None:
    if len(data) < stop:
        raise FormatError(
            len(data),
            f"the evidence ends inside the {what}: {len(data)} bytes, {stop} needed",
            reason=Reason.GPU_REPORT_TRUNCATED,
        )


def _read_blocks(data: bytes, count: int, stop: int) -> tuple[bytes, ...]:
    """Walk the measurement blocks from offset 45; they must be 1..count and end at ``stop``.

    All headers are compared at once; only where one differs it is looked for.
    """
    starts = range(BLOCKS_OFFSET, stop, BLOCK_LENGTH)
    headers = tuple([data[at : at + 7] for at in starts])
    if headers and headers == _BLOCK_HEADERS[1 : count + 1] and starts[-1] + BLOCK_LENGTH == stop:
        return tuple([data[at + 7 : at + BLOCK_LENGTH] for at in starts])
    values: list[bytes] = []
    at = BLOCKS_OFFSET
    for index in range(1, count + 1):
        end = at + BLOCK_LENGTH
        if end > stop or data[at : at + 7] != _BLOCK_HEADERS[index]:
            raise FormatError(
                at,
                f"block {index} is not a 48-byte DMTF value with that index inside the record",
                reason=Reason.GPU_REPORT_MEASUREMENTS_INVALID,
            )
        values.append(data[at + 7 : end])
        at = end
    if at != stop or not values:
        raise FormatError(
            at,
            f"{count} blocks do not fill the measurement record of {stop - BLOCKS_OFFSET} bytes",
            reason=Reason.GPU_REPORT_MEASUREMENTS_INVALID,
        )
    return tuple(values)


def _is_driver(value: bytes) -> bool:
    head, end, _ = value.partition(b"\0")
    return len(value) > 1 and bool(end) and _printable(head)


def _is_version(value: bytes) -> bool:
    return len(value) == 8 or (len(value) == 14 and bool(_SWITCH_VERSION.fullmatch(value)))


_FORMS: Final[Mapping[int, tuple[Callable[[bytes], bool], str]]] = {
    OpaqueType.DRIVER_VERSION.value: (
        _is_driver,
        "a driver version is printable ASCII and a NUL",
    ),
    OpaqueType.VBIOS_VERSION.value: (
        _is_version,
        "a VBIOS version is 8 bytes, or 14 characters hh.hh.hh.hh.hh",
    ),
    OpaqueType.NVDEC0_STATUS.value: (lambda value: len(value) == 1, "a status is one byte"),
    OpaqueType.FWID.value: (lambda value: len(value) == VALUE_LENGTH, "an FWID is 48 bytes"),
    OpaqueType.PROTECTED_PCIE_STATUS.value: (
        lambda value: len(value) == 1,
        "a status is one byte",
    ),
    OpaqueType.SWITCH_PDIS.value: (
        lambda value: len(value) > 0 and len(value) % 8 == 0,
        "PDIs are 8 bytes each",
    ),
    OpaqueType.CONNECTED_GPU_PDIS.value: (
        lambda value: len(value) == 128,
        "the table of connected GPUs is 128 bytes",
    ),
    OpaqueType.OPAQUE_DATA_VERSION.value: (
        lambda value: 1 <= len(value) <= 8,
        "an integer is 1 to 8 bytes",
    ),
    OpaqueType.FEATURE_FLAG.value: (
        lambda value: 1 <= len(value) <= 8,
        "an integer is 1 to 8 bytes",
    ),
}
"""The enforced forms of opaque values (nvidia.md 3, rule)."""


def parse_opaque(data: bytes, start: int, stop: int) -> tuple[OpaqueField, ...]:
    """Parse the opaque data between two offsets: type (2), length (2), value, little-endian.

    The list fills the span exactly and repeats no type; unknown types are kept. Raises FormatError
    (``gpu.report.opaque_invalid``). Source: nvidia.md 3.
    """
    if data.startswith(_VERSIONED, start, stop):
        raise FormatError(
            start,
            "versioned opaque data (NVDAOD) is of a layout this version does not read",
            reason=Reason.GPU_REPORT_OPAQUE_INVALID,
        )
    fields: list[OpaqueField] = []
    seen: set[int] = set()
    at = start
    while at < stop:
        if stop - at < 4:
            raise FormatError(
                at, "an opaque header is cut", reason=Reason.GPU_REPORT_OPAQUE_INVALID
            )
        kind = data[at] | data[at + 1] << 8
        end = at + 4 + (data[at + 2] | data[at + 3] << 8)
        if end > stop:
            raise FormatError(
                at,
                f"opaque type {kind} runs over the end of the opaque data",
                reason=Reason.GPU_REPORT_OPAQUE_INVALID,
            )
        value = data[at + 4 : end]
        form = _FORMS.get(kind)
        if kind in seen or (form is not None and not form[0](value)):
            wrong = "the type stands twice" if form is None or kind in seen else form[1]
            raise FormatError(
                at, f"opaque type {kind}: {wrong}", reason=Reason.GPU_REPORT_OPAQUE_INVALID
            )
        seen.add(kind)
        fields.append(OpaqueField(kind=kind, offset=at + 4, value=value))
        at = end
    return tuple(fields)


def read_report(data: bytes) -> Report:
    """Read one report from the start of ``data``; bytes may follow its signature.

    Layout (n blocks, L1 = 55 n, L2 opaque length): request 0..37 with the caller's nonce at 4, slot
    at 36; response header 37..45 with n at 41 and L1 (3 bytes) at 42; blocks at 45; responder nonce
    at 45+L1; L2 (2 bytes) at 77+L1; opaque data at 79+L1; signature (96 bytes) behind it.
    Raises FormatError with the code of nvidia.md 16 as its reason. Source: nvidia.md 2.1.
    """
    if len(data) > MAX_EVIDENCE:
        raise FormatError(
            MAX_EVIDENCE,
            f"{len(data)} bytes of evidence, at most {MAX_EVIDENCE} are read",
            reason=Reason.GPU_INPUT_TOO_LARGE,
        )
    for offset, fixed, name in _FIXED:
        _need(data, offset + 1, name)
        if data[offset] != fixed:
            raise FormatError(
                offset,
                f"{name} is {data[offset]:#04x}, not {fixed:#04x}",
                reason=Reason.GPU_REPORT_HEADER_INVALID,
            )
    _need(data, BLOCKS_OFFSET, "response header")
    record_end = BLOCKS_OFFSET + int.from_bytes(data[42:45], "little")
    _need(data, record_end, "measurement record")
    blocks = _read_blocks(data, data[41], record_end)
    opaque_offset = record_end + NONCE_LENGTH + 2
    _need(data, opaque_offset, "responder nonce and opaque length")
    signature_offset = opaque_offset + int.from_bytes(
        data[opaque_offset - 2 : opaque_offset], "little"
    )
    extent = signature_offset + SIGNATURE_LENGTH
    _need(data, extent, "opaque data and signature")
    return Report(
        data=data,
        requester_nonce=data[4:36],
        responder_nonce=data[record_end : record_end + NONCE_LENGTH],
        responder_nonce_offset=record_end,
        blocks=blocks,
        opaque=parse_opaque(data, opaque_offset, signature_offset),
        opaque_offset=opaque_offset,
        signature_offset=signature_offset,
        extent=extent,
    )


def parse_report(data: bytes) -> Report:
    """Parse one device's evidence; its signature must be the end of the bytes.

    Raises FormatError: as `read_report`, and ``gpu.report.trailing_bytes`` for anything behind the
    signature. Source: nvidia.md 2.3.
    """
    report = read_report(data)
    if len(data) != report.extent:
        raise FormatError(
            report.extent,
            f"{len(data) - report.extent} bytes stand behind the signature",
            reason=Reason.GPU_REPORT_TRAILING_BYTES,
        )
    return report
