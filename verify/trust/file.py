"""Trust files and signer keys: bytes the user hands over, read strictly.

Source: verification.md 6, 6.2; bundle-format.md 9.1 (which keys may sign).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from verify.engine.errors import FormatError, MalformedInput
from verify.engine.value import value
from verify.trust.anchor import SIGNER_OPTION, VENDOR, Anchor, AnchorStatus, Kind, Purpose
from verify.wire.members import DIGITS, HEX, LOWER, Members, ShapeError, made_of
from verify.wire.strict_json import JsonError, parse_own

SCHEMA_ID: Final = "urn:teebundle:schema:trust:v1"
MAX_BYTES: Final = 4 * 1024 * 1024
MAX_ANCHORS: Final = 4096
_DATA_LIMIT: Final = 64 * 1024


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
_PEM_HEAD: Final = b"-----BEGIN PUBLIC KEY-----"
_PEM_TAIL: Final = b"-----END PUBLIC KEY-----"
_SIGNING: Final = frozenset({Purpose.CAPTURE_SIGNER, Purpose.ATTACHMENT_SIGNER})


@value
class TrustFile:
    """A trust file. ``sha256``: over its bytes, lower-case hex; ``issued_at`` gives its age."""

    sha256: str
    name: str
    issued_at: datetime
    anchors: tuple[Anchor, ...]


_SPKI_FORMS: Final = (
    (bytes.fromhex("302a300506032b6570032100"), 44),  # Ed25519
    (bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"), 91),  # P-256
)
"""How the SubjectPublicKeyInfo of a key that may sign begins, and its whole length."""


def _is_name(text: str) -> bool:
    return text[0] in LOWER and len(text) <= 64 and made_of(text, LOWER + DIGITS + "-")


def _is_digest(text: str) -> bool:
    return len(text) == 64 and made_of(text, HEX)


def _signing_key(spki: bytes) -> str | None:
    """Say why a SubjectPublicKeyInfo cannot sign bundles, or None: Ed25519 or ECDSA P-256 can.

    Only the one DER form of each is taken; whether the point is on its curve shows at first use.
    """
    if any(spki.startswith(head) and len(spki) == size for head, size in _SPKI_FORMS):
        return None
    return "must be the SubjectPublicKeyInfo of an Ed25519 or ECDSA P-256 key, in DER"


def _canonical(text: str, pointer: str) -> bytes:
    """Decode canonical base64."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ShapeError(pointer, f"not base64: {error}") from None
    if not data or base64.b64encode(data).decode("ascii") != text:
        raise ShapeError(pointer, "must be canonical base64 (RFC 4648 section 4, padded)")
    return data


def _verifier_key(text: str, pointer: str, purpose: Purpose) -> bytes:
    """Check a verifier key: a log's signs notes, a witness's cosigns them with a time."""
    from verify.crypto.notes import (  # noqa: PLC0415  (most trust files name no log)
        LOG_KEY,
        WITNESS_KEY,
        read_verifier_key,
    )

    try:
        key = read_verifier_key(text)
    except FormatError as error:
        raise ShapeError(pointer, error.what) from None
    wanted = WITNESS_KEY if purpose is Purpose.WITNESS else LOG_KEY
    if key.kind != wanted:
        raise ShapeError(pointer, f"a {purpose.value} key is of type {wanted}, this is {key.kind}")
    return text.encode()


def _certificate(der: bytes, pointer: str) -> None:
    """Check that DER is one certificate: what cannot be read could only fail later."""
    from verify.crypto.x509 import load_certificate  # noqa: PLC0415  (the same)

    try:
        load_certificate(der)
    except FormatError as error:
        raise ShapeError(pointer, error.what) from None


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
        return _verifier_key(value, pointer, purpose)
    data = _canonical(value, pointer)
    if kind is Kind.X509:
        _certificate(data, pointer)
    if purpose in _SIGNING and (complaint := _signing_key(data)) is not None:
        raise ShapeError(pointer, complaint)
    return data


def _anchor(members: Members, origin: str) -> Anchor:
    name = members.match("name", _is_name, "a name like capture-2026")
    purpose = Purpose(members.choice("purpose", [purpose.value for purpose in Purpose]))
    kind = Kind(members.choice("kind", [kind.value for kind in _KINDS[purpose]]))
    data = _data(members, kind, purpose)
    sha256 = members.match("sha256", _is_digest, "64 lower-case hex digits")
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
    body = pem.strip() if len(pem) <= 16384 else b""
    inside = body.removeprefix(_PEM_HEAD).removesuffix(_PEM_TAIL)
    if len(inside) != len(body) - len(_PEM_HEAD) - len(_PEM_TAIL) or b"-" in inside:
        raise MalformedInput(
            "trust",
            "input.encoding",
            "not one PEM block 'PUBLIC KEY': give the public key of the capture signer",
            file=file,
        )
    try:
        spki = base64.b64decode(b"".join(inside.split()), validate=True)
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
