"""The SEV-SNP attestation report: 1184 bytes, four known versions, one layout.

Source: sev-snp.md 2, 3, 4 (AMD 56860, ATTESTATION_REPORT, TCB_VERSION, GUEST_POLICY,
PLATFORM_INFO). Every integer is little-endian.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.engine.value import value

REPORT_SIZE: Final = 0x4A0
SIGNED_SIZE: Final = 0x2A0
"""The signature covers ``report[0:SIGNED_SIZE]``, exactly as captured."""
VERSIONS: Final = (2, 3, 4, 5)
HOST_VMPL: Final = 0xFFFFFFFF
"""VMPL of a report that the host asked for: REPORT_DATA is then not the guest's word."""

REPORT_DATA: Final = (0x050, 0x090)
MEASUREMENT: Final = (0x090, 0x0C0)

_ECDSA_P384_SHA384 = 1
_SIGNATURE_R = 0x2A0
_SIGNATURE_S = 0x2E8
_SIGNIFICANT = 48  # of the 72 bytes of r and of s
_TAIL = 0x330
_POLICY_MUST_BE_ONE = 1 << 17
_POLICY_RESERVED = ~((1 << 26) - 1)
_SIGNER_INFO_RESERVED = ~0b11111


class Product(Enum):
    """A processor line as the key service names it."""

    MILAN = "Milan"
    GENOA = "Genoa"
    TURIN = "Turin"


class SigningKey(Enum):
    """Which key the report says it was signed with."""

    VCEK = "vcek"
    VLEK = "vlek"


_SIGNING_KEYS: Final = {0: SigningKey.VCEK, 1: SigningKey.VLEK}
_UNSIGNED = 7

_CLASSIC: Final[Mapping[str, int]] = {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7}
COMPONENTS: Final[Mapping[Product, Mapping[str, int]]] = {
    Product.MILAN: _CLASSIC,
    Product.GENOA: _CLASSIC,
    Product.TURIN: {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7},
}
"""Component name to its byte in TCB_VERSION; every byte not named is zero (sev-snp.md 3)."""

GUEST_FLAGS: Final[Mapping[str, int]] = {
    "smt_allowed": 16,
    "migrate_ma": 18,
    "debug": 19,
    "single_socket": 20,
    "cxl_allowed": 21,
    "mem_aes_256_xts": 22,
    "rapl_dis": 23,
    "ciphertext_hiding_dram": 24,
    "page_swap_disable": 25,
}
"""Name of a flag of POLICY to its bit (sev-snp.md 4)."""

PLATFORM_FLAGS: Final[Mapping[str, int]] = {
    "smt_enabled": 0,
    "tsme_enabled": 1,
    "ecc_enabled": 2,
    "rapl_disabled": 3,
    "ciphertext_hiding_dram_enabled": 4,
    "alias_check_complete": 5,
    "tio_enabled": 7,
}
"""Name of a flag of PLATFORM_INFO to its bit; the others are unassigned and never fatal."""

_PLATFORM_ASSIGNED = sum(1 << bit for bit in PLATFORM_FLAGS.values())


@value
class TcbLevels:
    """A TCB read in one product's layout: component levels, and whether unused bytes are zero.

    Two values may be incomparable: compare component by component, never as one number.
    """

    product: Product
    levels: Mapping[str, int]
    unused_zero: bool

    def above(self, other: TcbLevels) -> tuple[str, ...]:
        """Name every component whose level is above that of ``other`` (of the same product)."""
        return tuple(name for name, level in self.levels.items() if level > other.levels[name])

    def __str__(self) -> str:
        return " ".join(f"{name} {level}" for name, level in self.levels.items())


@value
class TcbVersion:
    """TCB_VERSION as reported: eight bytes whose meaning depends on the product."""

    raw: bytes

    def read(self, product: Product) -> TcbLevels:
        """Read the bytes in the layout of ``product``."""
        places = COMPONENTS[product]
        used = frozenset(places.values())
        return TcbLevels(
            product=product,
            levels={name: self.raw[index] for name, index in places.items()},
            unused_zero=all(byte == 0 for i, byte in enumerate(self.raw) if i not in used),
        )


class FirmwareVersion(NamedTuple):
    """Firmware version; ordered as (major, minor, build)."""

    major: int
    minor: int
    build: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.build}"


@value
class Cpuid:
    """Family, combined model and stepping of the processor; reports of version 3 and later."""

    family: int
    model: int
    stepping: int


@value
class MitigationVectors:
    """Mitigation bits at launch and now; reports of version 5."""

    launch: int
    current: int


@value
class SnpReport:
    """A report that parsed: every field, its signed bytes, nothing judged.

    ``r``, ``s``: the signature's integers, range not yet judged. ``signed``: the exact bytes under
    the signature. ``cpuid`` is None in version 2, ``mitigations`` before version 5.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    current_tcb: TcbVersion
    platform_info: int
    author_key_en: bool
    mask_chip_key: bool
    signing_key: SigningKey
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: TcbVersion
    cpuid: Cpuid | None
    chip_id: bytes
    committed_tcb: TcbVersion
    current_version: FirmwareVersion
    committed_version: FirmwareVersion
    launch_tcb: TcbVersion
    mitigations: MitigationVectors | None
    r: int
    s: int
    signed: bytes

    @property
    def abi(self) -> tuple[int, int]:
        """The minimum firmware ABI the guest asks for: (major, minor)."""
        return (self.policy >> 8 & 0xFF, self.policy & 0xFF)

    @property
    def chip_masked(self) -> bool:
        """Whether the host hides CHIP_ID."""
        return not any(self.chip_id)

    @property
    def unassigned_platform_bits(self) -> tuple[int, ...]:
        """The set bits of PLATFORM_INFO that no document at hand assigns."""
        unknown = self.platform_info & ~_PLATFORM_ASSIGNED
        return tuple(bit for bit in range(64) if unknown >> bit & 1)


def _integer(body: bytes, start: int, size: int) -> int:
    return int.from_bytes(body[start : start + size], "little")


def _reserved(version: int) -> tuple[tuple[int, int], ...]:
    """Spans of the signed part that must be zero in that version (start, stop)."""
    always = ((0x04C, 0x050), (0x1EB, 0x1EC), (0x1EF, 0x1F0))
    before_cpuid = (0x188 if version < 3 else 0x18B, 0x1A0)
    after_launch = (0x208 if version >= 5 else 0x1F8, SIGNED_SIZE)
    return (always[0], before_cpuid, *always[1:], after_launch)


def _not_zero(body: bytes, start: int, stop: int) -> int | None:
    """Return the offset of the first non-zero byte of the span, or None."""
    rest = body[start:stop].lstrip(b"\x00")
    return stop - len(rest) if rest else None


def _layout_fault(body: bytes) -> FormatError | None:
    """What keeps the bytes from being read at all."""
    if len(body) != REPORT_SIZE:
        return FormatError(
            0,
            f"a report has {REPORT_SIZE} bytes, this has {len(body)}",
            reason=Reason.SNP_REPORT_LENGTH_INVALID,
        )
    version = _integer(body, 0x000, 4)
    if version not in VERSIONS:
        return FormatError(
            0,
            f"report version {version} is not one of {VERSIONS}: a later layout may move fields",
            reason=Reason.SNP_REPORT_VERSION_UNSUPPORTED,
        )
    return None


def faults(body: bytes) -> tuple[FormatError, ...]:
    """Return everything that is wrong with the form of a report, in the order of sev-snp.md 10.

    Empty means that `parse_report` gives a value. A wrong length or version stands alone: the
    places of the other fields are then unknown.
    """
    layout = _layout_fault(body)
    if layout is not None:
        return (layout,)
    found: list[FormatError] = []

    def fault(offset: int, reason: Reason, what: str) -> None:
        found.append(FormatError(offset, what, reason=reason))

    algorithm = _integer(body, 0x034, 4)
    if algorithm != _ECDSA_P384_SHA384:
        fault(
            0x034,
            Reason.SNP_REPORT_SIGNATURE_ALGORITHM_UNSUPPORTED,
            f"SIGNATURE_ALGO is {algorithm}, not 1 (ECDSA P-384 with SHA-384)",
        )
    signer_info = _integer(body, 0x048, 4)
    signing_key = signer_info >> 2 & 0b111
    if signer_info & _SIGNER_INFO_RESERVED or signing_key not in {*_SIGNING_KEYS, _UNSIGNED}:
        fault(
            0x048,
            Reason.SNP_REPORT_SIGNER_INFO_MALFORMED,
            f"signer info {signer_info:#x} has a reserved bit or a reserved SIGNING_KEY",
        )
    elif signing_key == _UNSIGNED:
        fault(0x048, Reason.SNP_REPORT_UNSIGNED, "SIGNING_KEY 7: the firmware signed nothing")
    for start, stop in _reserved(_integer(body, 0x000, 4)):
        offset = _not_zero(body, start, stop)
        if offset is not None:
            fault(offset, Reason.SNP_REPORT_RESERVED_NOT_ZERO, "a reserved signed byte is set")
    for name, start in (("r", _SIGNATURE_R), ("s", _SIGNATURE_S)):
        offset = _not_zero(body, start + _SIGNIFICANT, start + 72)
        if offset is not None:
            fault(
                offset,
                Reason.SNP_REPORT_SIGNATURE_PADDING_NOT_ZERO,
                f"one of the upper 24 bytes of {name} is set",
            )
    offset = _not_zero(body, _TAIL, REPORT_SIZE)
    if offset is not None:
        fault(offset, Reason.SNP_REPORT_TAIL_NOT_ZERO, "a byte after the signature is set")
    policy = _integer(body, 0x008, 8)
    if not policy & _POLICY_MUST_BE_ONE or policy & _POLICY_RESERVED:
        fault(
            0x008,
            Reason.SNP_REPORT_POLICY_MALFORMED,
            f"POLICY {policy:#x}: bit 17 must be one and bits 63:26 zero",
        )
    vmpl = _integer(body, 0x030, 4)
    if vmpl > 3 and vmpl != HOST_VMPL:
        fault(0x030, Reason.SNP_REPORT_VMPL_INVALID, f"VMPL {vmpl:#x} is not 0 to 3 or all ones")
    return tuple(found)


def _firmware(body: bytes, start: int) -> FirmwareVersion:
    return FirmwareVersion(build=body[start], minor=body[start + 1], major=body[start + 2])


def parse_report(body: bytes) -> SnpReport:
    """Parse a report.

    Layout: sev-snp.md 2. Raises FormatError with the reason of the first of `faults`.
    """
    wrong = faults(body)
    if wrong:
        raise wrong[0]
    version = _integer(body, 0x000, 4)
    signer_info = _integer(body, 0x048, 4)

    def tcb(start: int) -> TcbVersion:
        return TcbVersion(raw=body[start : start + 8])

    return SnpReport(
        version=version,
        guest_svn=_integer(body, 0x004, 4),
        policy=_integer(body, 0x008, 8),
        family_id=body[0x010:0x020],
        image_id=body[0x020:0x030],
        vmpl=_integer(body, 0x030, 4),
        current_tcb=tcb(0x038),
        platform_info=_integer(body, 0x040, 8),
        author_key_en=bool(signer_info & 1),
        mask_chip_key=bool(signer_info & 2),
        signing_key=_SIGNING_KEYS[signer_info >> 2 & 0b111],
        report_data=body[slice(*REPORT_DATA)],
        measurement=body[slice(*MEASUREMENT)],
        host_data=body[0x0C0:0x0E0],
        id_key_digest=body[0x0E0:0x110],
        author_key_digest=body[0x110:0x140],
        report_id=body[0x140:0x160],
        report_id_ma=body[0x160:0x180],
        reported_tcb=tcb(0x180),
        cpuid=(
            Cpuid(family=body[0x188], model=body[0x189], stepping=body[0x18A])
            if version >= 3
            else None
        ),
        chip_id=body[0x1A0:0x1E0],
        committed_tcb=tcb(0x1E0),
        current_version=_firmware(body, 0x1E8),
        committed_version=_firmware(body, 0x1EC),
        launch_tcb=tcb(0x1F0),
        mitigations=(
            MitigationVectors(launch=_integer(body, 0x1F8, 8), current=_integer(body, 0x200, 8))
            if version >= 5
            else None
        ),
        r=_integer(body, _SIGNATURE_R, 72),
        s=_integer(body, _SIGNATURE_S, 72),
        signed=body[:SIGNED_SIZE],
    )


def product_of(cpuid: Cpuid) -> Product | None:
    """Return the product of a CPUID, or None where the table of sev-snp.md 3 has none."""
    if cpuid.family == 0x19:
        if cpuid.model <= 0x0F:
            return Product.MILAN
        if 0x10 <= cpuid.model <= 0x1F or 0xA0 <= cpuid.model <= 0xAF:
            return Product.GENOA
    elif cpuid.family == 0x1A and cpuid.model <= 0x11:
        return Product.TURIN
    return None
