"""Trust files and signer keys: bytes the user hands over, read strictly.

Source: verification.md 6, 6.2; bundle-format.md 9.1 (which keys may sign).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_der_public_key

from verify.engine.errors import MalformedInput
from verify.trust.anchor import SIGNER_OPTION, VENDOR, Anchor, AnchorStatus, Kind, Purpose
from verify.wire.members import Members, ShapeError
from verify.wire.strict_json import JsonError, parse_own

SCHEMA_ID: Final = "urn:teebundle:schema:trust:v1"
MAX_BYTES: Final = 4 * 1024 * 1024
MAX_ANCHORS: Final = 4096
_DATA_LIMIT: Final = 64 * 1024

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_VKEY: Final = re.compile(r"([^\s+]{1,255})\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")
_PEM: Final = re.compile(
    rb"\s*-----BEGIN PUBLIC KEY-----\s+([A-Za-z0-9+/=\s]+?)\s+-----END PUBLIC KEY-----\s*"
)

_KINDS: Final[Mapping[Purpose, tuple[Kind, ...]]] = {
    **dict.fromkeys(VENDOR, (Kind.X509, Kind.PIN)),
    Purpose.NRAS_INTERMEDIATE: (Kind.PIN, Kind.SPKI),
    Purpose.SIGSTORE_REKOR: (Kind.SPKI, Kind.PIN),
    Purpose.SIGSTORE_CT: (Kind.SPKI, Kind.PIN),
    Purpose.CAPTURE_SIGNER: (Kind.SPKI,),
    Purpose.CAPTURE_SIGNER_CA: (Kind.X509,),
    Purpose.ATTACHMENT_SIGNER: (Kind.SPKI,),
    Purpose.TSA: (Kind.X509,),
    Purpose.TLOG: (Kind.VKEY,),
    Purpose.WITNESS: (Kind.VKEY,),
    Purpose.BEACON_LOG: (Kind.VKEY,),
    Purpose.RESULT_ISSUER: (Kind.SPKI, Kind.X509),
}
_SIGNING: Final = frozenset({Purpose.CAPTURE_SIGNER, Purpose.ATTACHMENT_SIGNER})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustFile:
    """A trust file. ``sha256``: over its bytes, lower-case hex; ``issued_at`` gives its age."""

    sha256: str
    name: str
    issued_at: datetime
    anchors: tuple[Anchor, ...]


def _signing_key(spki: bytes) -> str | None:
    """Say why a SubjectPublicKeyInfo cannot sign bundles, or None: Ed25519 or ECDSA P-256 can."""
    try:
        key = load_der_public_key(spki)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"not a public key: {error}"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return None
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return None
    return "the key must be Ed25519 or ECDSA P-256"


def _canonical(text: str, pointer: str) -> bytes:
    """Decode canonical base64."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ShapeError(pointer, f"not base64: {error}") from None
    if not data or base64.b64encode(data).decode("ascii") != text:
        raise ShapeError(pointer, "must be canonical base64 (RFC 4648 section 4, padded)")
    return data


def _data(members: Members, kind: Kind, purpose: Purpose) -> bytes | None:
    pointer = members.at("data")
    value = members.take("data")
    if kind is Kind.PIN:
        if value is not None:
            raise ShapeError(pointer, "a pin carries no data: write null")
        return None
    if not isinstance(value, str) or len(value) > _DATA_LIMIT:
        raise ShapeError(pointer, f"text of at most {_DATA_LIMIT} characters expected")
    if kind is Kind.VKEY:
        match = _VKEY.fullmatch(value)
        key = b"" if match is None else _canonical(match.group(3), pointer)
        if match is None or len(key) != 33:
            raise ShapeError(
                pointer, "must be a verifier key: name+8 hex digits+base64 of 33 bytes"
            )
        named = hashlib.sha256(match.group(1).encode() + b"\n" + key).digest()[:4].hex()
        if named != match.group(2):
            raise ShapeError(pointer, f"the key's own id is {named}, not {match.group(2)}")
        return value.encode()
    data = _canonical(value, pointer)
    if purpose in _SIGNING and (complaint := _signing_key(data)) is not None:
        raise ShapeError(pointer, complaint)
    return data


def _anchor(members: Members, origin: str) -> Anchor:
    name = members.match("name", _NAME, "a name like capture-2026")
    purpose = Purpose(members.choice("purpose", [purpose.value for purpose in Purpose]))
    kind = Kind(members.choice("kind", [kind.value for kind in _KINDS[purpose]]))
    data = _data(members, kind, purpose)
    sha256 = members.match("sha256", _DIGEST, "64 lower-case hex digits")
    if data is not None and (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise ShapeError(members.at("sha256"), f"the data's digest is {found}")
    window = members.below("validFor")
    start = window.instant("start")
    end = window.instant_or_null("end")
    window.done()
    if end is not None and end < start:
        raise ShapeError(window.pointer, "ends before it starts")
    status = AnchorStatus(members.choice("status", [status.value for status in AnchorStatus]))
    since: datetime | None
    if status is AnchorStatus.COMPROMISED:
        since = members.instant("since")
    else:
        since = None
        if members.take("since") is not None:
            raise ShapeError(members.at("since"), "stands beside status compromised alone")
    return Anchor(
        name=name,
        purpose=purpose,
        kind=kind,
        data=data,
        sha256=sha256,
        operator=members.text("operator"),
        start=start,
        end=end,
        status=status,
        since=since,
        source=members.text("source"),
        origin=origin,
    )


def read_document(document: object, sha256: str) -> TrustFile:
    """Read a parsed trust document. Raises ShapeError."""
    members = Members(document, "")
    members.choice("schema", (SCHEMA_ID,))
    name = members.text("name")
    issued_at = members.instant("issuedAt")
    anchors = members.each("anchors", lambda entry: _anchor(entry, sha256))
    members.done()
    if len(anchors) > MAX_ANCHORS:
        raise ShapeError("/anchors", f"more than {MAX_ANCHORS} anchors")
    seen: set[str] = set()
    for index, anchor in enumerate(anchors):
        if anchor.name in seen:
            raise ShapeError(f"/anchors/{index}/name", f"{anchor.name!r} stands twice")
        seen.add(anchor.name)
    return TrustFile(sha256=sha256, name=name, issued_at=issued_at, anchors=anchors)


def read_trust_file(data: bytes, *, file: str | None = None) -> TrustFile:
    """Read a trust file. ``file``: its name, for messages only.

    Raises MalformedInput (kind trust) with the pointer and what is wrong.
    """
    try:
        document = parse_own(data, limit=MAX_BYTES)
    except JsonError as error:
        pointer = f"trust#{error.path}" if error.path is not None else f"trust#bytes={error.offset}"
        raise MalformedInput("trust", error.code, error.what, pointer=pointer, file=file) from None
    if isinstance(document, Mapping) and document.get("schema") not in (None, SCHEMA_ID):
        raise MalformedInput(
            "trust",
            "input.version",
            f"schema must be {SCHEMA_ID!r}",
            pointer="trust#/schema",
            file=file,
        )
    try:
        return read_document(document, hashlib.sha256(data).hexdigest())
    except ShapeError as error:
        pointer = f"trust#{error.pointer}"
        raise MalformedInput(
            "trust", "input.schema", error.what, pointer=pointer, file=file
        ) from None


def read_signer(pem: bytes, *, file: str | None = None) -> Anchor:
    """Read a PEM public key (``--signer``): a capture signer without bounds in time.

    Raises MalformedInput (kind trust) for anything but one SubjectPublicKeyInfo of a signing key.
    """
    match = _PEM.fullmatch(pem) if len(pem) <= 16384 else None
    if match is None:
        raise MalformedInput(
            "trust",
            "input.encoding",
            "not one PEM block 'PUBLIC KEY': give the public key of the capture signer",
            file=file,
        )
    try:
        spki = base64.b64decode(b"".join(match.group(1).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedInput("trust", "input.base64", str(error), file=file) from None
    complaint = _signing_key(spki)
    if complaint is not None:
        raise MalformedInput("trust", "input.schema", complaint, file=file)
    sha256 = hashlib.sha256(spki).hexdigest()
    return Anchor(
        name=f"signer-{sha256[:8]}",
        purpose=Purpose.CAPTURE_SIGNER,
        kind=Kind.SPKI,
        data=spki,
        sha256=sha256,
        operator="",
        start=None,
        end=None,
        status=AnchorStatus.ACTIVE,
        since=None,
        source=SIGNER_OPTION,
        origin=SIGNER_OPTION,
    )
