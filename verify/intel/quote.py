"""Intel DCAP quotes: v3 (SGX), v4 (TDX), v5 body types 2, 3, 4 (TDX). Bytes to typed fields.

Nothing here is judged: a body is what a quote *says* until its signatures are verified
(`verify.intel.dcap`). All integers little-endian. Source: tdx.md 2.
"""

from __future__ import annotations

from enum import Enum
from hashlib import sha256
from typing import Final

from verify.crypto.cache import Bounded
from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.engine.value import value

QUOTE_LIMIT: Final = 64 * 1024
INTEL_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")

_HEADER: Final = 48
_TEE_SGX: Final = 0x00000000
_TEE_TDX: Final = 0x00000081
_ECDSA_P256: Final = 2
_OUTER_TYPE: Final = 6
_SGX_REPORT: Final = 384


class Tee(Enum):
    """Which technology made the quote."""

    SGX = "sgx"
    TDX = "tdx"


class ReportType(Enum):
    """Layout of the body; the value is the name of verification.md 3.3."""

    SGX = "sgx"
    TD_1_0 = "td1.0"
    TD_1_5 = "td1.5"
    TD_1_5_EXTENDED = "td1.5ex"


TD_FIELDS: Final[tuple[tuple[str, int, int], ...]] = (
    ("tee_tcb_svn", 0, 16),
    ("mr_seam", 16, 48),
    ("mr_signer_seam", 64, 48),
    ("seam_attributes", 112, 8),
    ("td_attributes", 120, 8),
    ("xfam", 128, 8),
    ("mr_td", 136, 48),
    ("mr_config_id", 184, 48),
    ("mr_owner", 232, 48),
    ("mr_owner_config", 280, 48),
    ("rtmr0", 328, 48),
    ("rtmr1", 376, 48),
    ("rtmr2", 424, 48),
    ("rtmr3", 472, 48),
    ("report_data", 520, 64),
    ("tee_tcb_svn2", 584, 16),
    ("mr_service_td", 600, 48),
    ("vmid", 648, 1),
    ("td_id", 649, 32),
    ("dev_info", 681, 48),
    ("init_service_td_hash", 729, 48),
    ("init_service_td_attributes", 777, 8),
    ("init_cpu_svn", 785, 16),
    ("init_tee_tcb_svn", 801, 16),
    ("init_tee_fmspc", 817, 12),
    ("cur_service_td_hash", 829, 48),
    ("cur_service_td_attributes", 877, 8),
)
"""Name, offset in the body, size (tdx.md 2.3). A field exists where it ends inside the body."""

SGX_FIELDS: Final[tuple[tuple[str, int, int], ...]] = (
    ("cpu_svn", 0, 16),
    ("misc_select", 16, 4),
    ("isv_ext_prod_id", 32, 16),
    ("attributes", 48, 16),
    ("mr_enclave", 64, 32),
    ("mr_signer", 128, 32),
    ("config_id", 192, 64),
    ("isv_prod_id", 256, 2),
    ("isv_svn", 258, 2),
    ("config_svn", 260, 2),
    ("isv_family_id", 304, 16),
    ("report_data", 320, 64),
)
"""Name, offset, size (tdx.md 2.4); reserved bytes have no name."""

_SIZES: Final = {
    ReportType.SGX: 384,
    ReportType.TD_1_0: 584,
    ReportType.TD_1_5: 648,
    ReportType.TD_1_5_EXTENDED: 885,
}
_V5_TYPES: Final = {2: ReportType.TD_1_0, 3: ReportType.TD_1_5, 4: ReportType.TD_1_5_EXTENDED}
_TD_SPANS: Final = {name: (at, at + size) for name, at, size in TD_FIELDS}
_SGX_SPANS: Final = {name: (at, at + size) for name, at, size in SGX_FIELDS}


@value
class Body:
    """A TD report or SGX report: its bytes and where its named fields lie. Unverified."""

    report_type: ReportType
    data: bytes

    def names(self) -> tuple[str, ...]:
        """Return every field name of this layout, in byte order."""
        table = SGX_FIELDS if self.report_type is ReportType.SGX else TD_FIELDS
        return tuple(name for name, at, size in table if at + size <= len(self.data))

    def span(self, name: str) -> tuple[int, int]:
        """Return start and stop of a field inside the body. Raises KeyError where it has none."""
        spans = _SGX_SPANS if self.report_type is ReportType.SGX else _TD_SPANS
        start, stop = spans[name]
        if stop > len(self.data):
            raise KeyError(name)
        return start, stop

    def __getitem__(self, name: str) -> bytes:
        start, stop = self.span(name)
        return self.data[start:stop]

    def find(self, name: str) -> bytes | None:
        """Return a field's bytes, or None where this layout has no such field."""
        try:
            return self[name]
        except KeyError:
            return None

    def fields(self) -> dict[str, bytes]:
        """Return every named field in byte order."""
        return {name: self[name] for name in self.names()}

    @property
    def isv_prod_id(self) -> int:
        """Product number of an SGX report."""
        return int.from_bytes(self["isv_prod_id"], "little")

    @property
    def isv_svn(self) -> int:
        """Security version of an SGX report."""
        return int.from_bytes(self["isv_svn"], "little")


@value
class Quote:
    """A quote as it stands. Nothing is a fact before the signatures are verified.

    ``signed``: bytes under ``signature``. ``attestation_key``: x ‖ y. ``qe_report_data`` and the
    rest of P: tdx.md 2.5. ``body_start``: offset of the body. ``declared_size``: end of what the
    length fields cover; later bytes are counted (``trailing_bytes``) and never read.
    ``spans``: byte spans of the parts, for pointers.
    """

    version: int
    tee: Tee
    body_type: int | None
    body: Body
    body_start: int
    user_data: bytes
    signed: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: Body
    qe_report_signature: bytes
    qe_authentication: bytes
    cert_type: int
    cert_data: bytes
    declared_size: int
    sha256: bytes
    declared_sha256: bytes
    trailing_bytes: int
    trailing_nonzero: bool
    spans: dict[str, tuple[int, int]]

    @property
    def report_type(self) -> ReportType:
        """Layout of the body."""
        return self.body.report_type

    def span(self, name: str) -> tuple[int, int]:
        """Return the byte span of a body field in the quote. Raises KeyError."""
        start, stop = self.body.span(name)
        return self.body_start + start, self.body_start + stop


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _need(data: bytes, stop: int, what: str) -> None:
    if len(data) < stop:
        raise FormatError(len(data), f"ends inside {what}", reason=Reason.TDX_QUOTE_TRUNCATED)


def _malformed(at: int, what: str) -> FormatError:
    return FormatError(at, what, reason=Reason.TDX_QUOTE_AUTH_DATA_MALFORMED)


def _layout(data: bytes) -> tuple[int, Tee, int | None, ReportType, int]:
    """Read header and descriptor: version, TEE, body type, layout, offset of the body."""
    _need(data, _HEADER, "the header")
    version = _u16(data, 0)
    if version not in (3, 4, 5):
        raise FormatError(
            0, f"quote version {version}", reason=Reason.TDX_QUOTE_VERSION_UNSUPPORTED
        )
    tee = _u32(data, 4)
    if tee != (_TEE_SGX if version == 3 else _TEE_TDX):
        raise FormatError(
            4,
            f"TEE type {tee:#010x} in a quote of version {version}",
            reason=Reason.TDX_QUOTE_TEE_TYPE_UNSUPPORTED,
        )
    if _u16(data, 2) != _ECDSA_P256:
        raise FormatError(
            2, f"attestation key type {_u16(data, 2)}", reason=Reason.TDX_QUOTE_KEY_TYPE_UNSUPPORTED
        )
    if data[12:28] != INTEL_VENDOR:
        raise FormatError(
            12, f"QE vendor {data[12:28].hex()}", reason=Reason.TDX_QUOTE_VENDOR_UNKNOWN
        )
    if version == 3:
        return version, Tee.SGX, None, ReportType.SGX, _HEADER
    if version == 4:
        return version, Tee.TDX, None, ReportType.TD_1_0, _HEADER
    _need(data, _HEADER + 6, "the body descriptor")
    body_type = _u16(data, 48)
    report_type = _V5_TYPES.get(body_type)
    if report_type is None:
        raise FormatError(
            48, f"body type {body_type}", reason=Reason.TDX_QUOTE_BODY_TYPE_UNSUPPORTED
        )
    if _u32(data, 50) != _SIZES[report_type]:
        raise FormatError(
            50,
            f"a body of type {body_type} of {_u32(data, 50)} bytes",
            reason=Reason.TDX_QUOTE_BODY_SIZE_MISMATCH,
        )
    return version, Tee.TDX, body_type, report_type, _HEADER + 6


def _parse(data: bytes) -> Quote:
    version, tee, body_type, report_type, start = _layout(data)
    stop = start + _SIZES[report_type]
    _need(data, stop + 4, "the body or the length of the signature data")
    size = _u32(data, stop)
    at = stop + 4
    end = at + size
    _need(data, end, "the signature data")

    # tdx.md 2.5; every offset below is inside [at, end)
    p = at + (128 if version == 3 else 134)
    if end < p:
        raise _malformed(at, f"signature data of {size} bytes")
    if version != 3:
        if _u16(data, at + 128) != _OUTER_TYPE:
            raise _malformed(at + 128, f"outer certification data type {_u16(data, at + 128)}")
        if _u32(data, at + 130) != end - p:
            raise _malformed(at + 130, "the outer element does not fill the signature data")
    qe_stop = p + _SGX_REPORT
    auth = qe_stop + 66
    if end < auth:
        raise _malformed(p, "the QE report does not fit into the signature data")
    auth_stop = auth + _u16(data, auth - 2)
    if end < auth_stop + 6:
        raise _malformed(auth - 2, "QE authentication data beyond the signature data")
    cert_type = _u16(data, auth_stop)
    cert = auth_stop + 6
    if _u32(data, auth_stop + 2) != end - cert:
        raise _malformed(auth_stop + 2, "certification data does not end with the signature data")
    if not 1 <= cert_type <= 7:
        raise FormatError(
            auth_stop,
            f"certification data type {cert_type}",
            reason=Reason.TDX_QUOTE_CERT_TYPE_UNSUPPORTED,
        )
    trailing = data[end:]
    digest = sha256(data).digest()
    return Quote(
        version=version,
        tee=tee,
        body_type=body_type,
        body=Body(report_type=report_type, data=data[start:stop]),
        body_start=start,
        user_data=data[28:48],
        signed=data[:stop],
        signature=data[at : at + 64],
        attestation_key=data[at + 64 : at + 128],
        qe_report=Body(report_type=ReportType.SGX, data=data[p:qe_stop]),
        qe_report_signature=data[qe_stop : qe_stop + 64],
        qe_authentication=data[auth:auth_stop],
        cert_type=cert_type,
        cert_data=data[cert:end],
        declared_size=end,
        sha256=digest,
        declared_sha256=sha256(data[:end]).digest() if trailing else digest,
        trailing_bytes=len(trailing),
        trailing_nonzero=any(trailing),
        spans={
            "body": (start, stop),
            "signature": (at, at + 64),
            "attestation_key": (at + 64, at + 128),
            "qe_report": (p, qe_stop),
            "qe_report_signature": (qe_stop, qe_stop + 64),
            "cert_type": (auth_stop, auth_stop + 2),
            "cert_data": (cert, end),
        },
    )


_QUOTES: Final[Bounded[bytes, Quote]] = Bounded(64)


def forget() -> None:
    """Empty the cache of this module."""
    _QUOTES.clear()


def parse_quote(data: bytes) -> Quote:
    """Parse one quote; bytes after the declared end are counted, not read.

    Raises FormatError with the code of steps Q1 to Q8, or ``tdx.input.too_large``.
    Source: tdx.md 2, 7.Q, 13.1.
    """
    if len(data) > QUOTE_LIMIT:
        raise FormatError(
            QUOTE_LIMIT, "a quote of more than 64 KiB", reason=Reason.TDX_INPUT_TOO_LARGE
        )
    found = _QUOTES.get(data)
    return found if found is not None else _QUOTES.put(data, _parse(data))
