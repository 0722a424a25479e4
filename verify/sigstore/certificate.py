"""The signing certificate of a workflow: identity, proof of its own logging, as encoded.

The signed part is read by hand: the log signed the certificate *without* the extension that holds
its own answer, so every other byte must stay as it is. Source: sev-snp.md 15.3 steps 9, 10; RFC
6962 3.2, 3.3; Fulcio arc 1.3.6.1.4.1.57264.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from verify.crypto import der
from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.engine.value import value

_SCT_LIST: Final = bytes.fromhex("2b06010401d679020402")
_SUBJECT_ALT_NAME: Final = bytes.fromhex("551d11")
_EXTENDED_KEY_USAGE: Final = bytes.fromhex("551d25")
_CODE_SIGNING: Final = bytes.fromhex("300a06082b06010505070303")
_FULCIO: Final = bytes.fromhex("2b0601040183bf3001")
_EXTENSIONS_TAG: Final = 0xA3
_URI_TAG: Final = 0x86
_RAW_FIELDS: Final = range(1, 7)
"""Fulcio's first members are bare text; the later ones are DER UTF8String."""

_SHA256_ECDSA: Final = b"\x04\x03"


@value
class Timestamp:
    """A certificate log's promise. ``at``: milliseconds since 1970. ``extensions``: opaque."""

    version: int
    log_id: bytes
    at: int
    extensions: bytes
    algorithm: bytes
    signature: bytes


@value
class WorkflowCertificate:
    """What a leaf says beyond RFC 5280.

    ``claims``: number in the Fulcio arc to text. ``uris``: every general name that is a URI.
    ``names``: how many general names there are of any kind. ``bare``: the signed part without the
    list of timestamps. ``timestamps``: DER value of that list, None without any.
    """

    claims: Mapping[int, str]
    uris: tuple[str, ...]
    names: int
    code_signing: bool
    bare: bytes
    timestamps: bytes | None


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes((size,))
    return b"\x81%c" % size if size < 0x100 else b"\x82" + size.to_bytes(2, "big")


def _wrapped(tag: int, inside: bytes) -> bytes:
    return bytes((tag,)) + _length(len(inside)) + inside


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(
            0, "a claim that is not UTF-8", reason=Reason.SIGSTORE_IDENTITY_INCONSISTENT
        ) from None


def _claim(number: int, data: bytes) -> str:
    if number in _RAW_FIELDS:
        return _text(data)
    try:
        return _text(der.value(data, der.whole(data, der.UTF8_STRING, "a claim")))
    except FormatError as error:
        raise FormatError(0, error.what, reason=Reason.SIGSTORE_IDENTITY_INCONSISTENT) from None


def read_workflow(tbs: bytes) -> WorkflowCertificate:
    """Read the signed part of a leaf. Raises FormatError, without a code where its DER is wrong."""
    whole = der.whole(tbs, der.SEQUENCE, "the signed part")
    members = der.children(tbs, whole)
    if not members or members[-1].tag != _EXTENSIONS_TAG:
        raise FormatError(0, "a certificate without extensions")
    holder = members[-1]
    (outer,) = _only(tbs, holder)
    listed = der.children(tbs, der.expect(outer, der.SEQUENCE, "extensions"))
    kept: list[bytes] = []
    values: dict[bytes, bytes] = {}
    for extension in listed:
        parts = der.children(tbs, der.expect(extension, der.SEQUENCE, "an extension"), limit=3)
        if len(parts) < 2:
            raise FormatError(extension.start, "an extension without a value")
        oid = der.value(tbs, der.expect(parts[0], der.OBJECT_IDENTIFIER, "an extension's name"))
        if oid in values:
            raise FormatError(extension.start, "an extension that stands twice")
        values[oid] = der.value(tbs, der.expect(parts[-1], der.OCTET_STRING, "its value"))
        if oid != _SCT_LIST:
            kept.append(der.outer(tbs, extension))
    extensions = _wrapped(_EXTENSIONS_TAG, _wrapped(der.SEQUENCE, b"".join(kept)))
    names = values.get(_SUBJECT_ALT_NAME)
    found = () if names is None else der.children(names, der.whole(names, der.SEQUENCE, "names"))
    return WorkflowCertificate(
        claims={
            oid[-1]: _claim(oid[-1], data)
            for oid, data in values.items()
            if oid[:-1] == _FULCIO and oid[-1] < 0x80
        },
        uris=tuple(_text(der.value(names or b"", name)) for name in found if name.tag == _URI_TAG),
        names=len(found),
        code_signing=values.get(_EXTENDED_KEY_USAGE) == _CODE_SIGNING,
        bare=_wrapped(der.SEQUENCE, tbs[whole.inside : holder.start] + extensions),
        timestamps=values.get(_SCT_LIST),
    )


def _only(data: bytes, parent: der.Element) -> tuple[der.Element]:
    found = der.children(data, parent, limit=1)
    if len(found) != 1:
        raise FormatError(parent.start, "one element expected")
    return (found[0],)


class _Cursor:
    """Takes bytes off the front; raises FormatError where there are too few."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        stop = self.at + size
        if stop > len(self.data):
            raise FormatError(self.at, "a timestamp is cut off")
        found = self.data[self.at : stop]
        self.at = stop
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    @property
    def left(self) -> int:
        return len(self.data) - self.at


def read_timestamps(data: bytes) -> tuple[Timestamp, ...]:
    """Read the list of certificate timestamps, at least one, at most eight. Raises FormatError."""
    inner = _Cursor(der.value(data, der.whole(data, der.OCTET_STRING, "the list of timestamps")))
    if inner.number(2) != inner.left:
        raise FormatError(0, "the list of timestamps has another length than it states")
    found: list[Timestamp] = []
    while inner.left:
        one = _Cursor(inner.take(inner.number(2)))
        found.append(
            Timestamp(
                version=one.number(1),
                log_id=one.take(32),
                at=one.number(8),
                extensions=one.take(one.number(2)),
                algorithm=one.take(2),
                signature=one.take(one.number(2)),
            )
        )
        if one.left or len(found) > 8:
            raise FormatError(0, "bytes after a timestamp, or more than eight of them")
    if not found:
        raise FormatError(0, "an empty list of timestamps")
    return tuple(found)


def promised(timestamp: Timestamp, issuer_spki_sha256: bytes, bare: bytes) -> bytes | None:
    """Return the bytes that a log signed, or None for a version or algorithm that is not read."""
    if timestamp.version != 0 or timestamp.algorithm != _SHA256_ECDSA:
        return None
    return b"".join(
        (
            b"\x00\x00",
            timestamp.at.to_bytes(8, "big"),
            b"\x00\x01",
            issuer_spki_sha256,
            len(bare).to_bytes(3, "big"),
            bare,
            len(timestamp.extensions).to_bytes(2, "big"),
            timestamp.extensions,
        )
    )
