"""Container: file bytes to a typed bundle that nobody has vouched for yet.

The payload stays opaque bytes here; only a verified signature opens it
(`verify.wire.statement`). What cannot be used at all is `MalformedInput` of kind ``bundle``.

Source: bundle-format.md 5, 9.2, 9.5 (steps 1 to 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from verify.engine.errors import FormatError, MalformedInput
from verify.engine.value import field, value
from verify.wire import base64
from verify.wire.documents import Document, read, unusable
from verify.wire.limits import CERTIFICATE, DEFAULT, TIMESTAMP, Limits
from verify.wire.model import BundleId, Digest, KeyId

MEDIA_TYPE: Final = "application/vnd.teebundle.evidence.v1+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
DOCUMENT: Final = "bundle"
LINES: Final = ("data", "tlogProofs")
"""Members whose strings may hold line ends: text blobs, and log proofs, which are lines."""

_OTHER_MAJOR: Final = "application/vnd.teebundle.evidence.v"


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """Return what a DSSE signature is made over. Source: bundle-format.md 9.2."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@value
class Signature:
    """``keyid`` narrows the search for a key; it proves nothing. ``sig``: raw or DER bytes."""

    keyid: KeyId
    sig: bytes


@value
class Envelope:
    """Signed bytes and who claims to have signed them.

    ``payload`` is opaque. ``signed``: the pre-authentication encoding. ``id``: its digest: the
    bundle id, or an attachment's.
    """

    payload: bytes = field(repr=False)
    signatures: tuple[Signature, ...]
    signed: bytes = field(repr=False)
    id: BundleId


@value
class Material:
    """Self-verifying proofs about the signature of ``keyid``; certificates and tokens as DER."""

    keyid: KeyId
    chain: tuple[bytes, ...]
    timestamps: tuple[bytes, ...]
    log_proofs: tuple[str, ...]


@value
class SignedRecord:
    """An envelope with its proofs: the bundle's own, or an attachment."""

    envelope: Envelope
    material: tuple[Material, ...]

    def chain(self, keyid: KeyId) -> tuple[bytes, ...]:
        """Return the certificates given for a key id, leaf first; none for a bare key."""
        for entry in self.material:
            if entry.keyid == keyid:
                return entry.chain
        return ()


@value
class External:
    """A blob whose bytes lie beside the file. ``size``: as claimed, in bytes."""

    size: int


Blob = bytes | External


@value
class Redaction:
    """A declaration of absence, not signed. ``attachment``: id of the record that says so."""

    artifact: str
    reason: str
    attachment: BundleId | None


@value
class UnverifiedBundle:
    """A packed file, read. Nothing in it is believed yet.

    ``sha256``, ``size``: of the file's bytes. ``blobs``: by claimed digest, bytes not yet hashed.
    ``renewals``: how many there are; this version evaluates none.
    """

    sha256: str
    size: int
    statement: SignedRecord
    blobs: Mapping[Digest, Blob] = field(repr=False)
    redactions: tuple[Redaction, ...]
    attachments: tuple[SignedRecord, ...]
    renewals: int
    limits: Limits = DEFAULT

    @property
    def id(self) -> BundleId:
        """The bundle id: unchanged by redaction, added signatures, attachments, renewal."""
        return self.statement.envelope.id


def _version(document: Document) -> None:
    found = document.get("mediaType")
    if isinstance(found, str) and found != MEDIA_TYPE and found.startswith(_OTHER_MAJOR):
        raise unusable("input.version", DOCUMENT, "/mediaType", f"{found[:64]} is not known here")


def _decoded(text: str, path: str, limit: int) -> bytes:
    """Decode canonical base64 of 1 to ``limit`` bytes."""
    if len(text) > (limit + 2) // 3 * 4:
        raise unusable("input.too_large", DOCUMENT, path, f"more than {limit} bytes")
    try:
        data = base64.decode(text)
    except FormatError as error:
        what = f"{error.what} (character {error.offset})"
        raise unusable("input.base64", DOCUMENT, path, what) from None
    if len(data) > limit:
        raise unusable("input.too_large", DOCUMENT, path, f"more than {limit} bytes")
    return data


def _distinct(keyids: Sequence[str], path: str) -> None:
    if len(set(keyids)) != len(keyids):
        raise unusable("input.schema", DOCUMENT, path, "a key id stands twice")


def envelope(payload: bytes, signatures: tuple[Signature, ...]) -> Envelope:
    """Return an envelope over ``payload`` with its encoding and id computed."""
    signed = pre_authentication_encoding(PAYLOAD_TYPE, payload)
    return Envelope(
        payload=payload,
        signatures=signatures,
        signed=signed,
        id=BundleId(f"sha256:{sha256(signed).hexdigest()}"),
    )


def _envelope(value: Mapping[str, Any], path: str, limit: int) -> Envelope:
    payload = _decoded(value["payload"], f"{path}/payload", limit)
    signatures = tuple(
        Signature(
            keyid=KeyId(entry["keyid"]),
            sig=_decoded(entry["sig"], f"{path}/signatures/{index}/sig", 96),
        )
        for index, entry in enumerate(value["signatures"])
    )
    _distinct([signature.keyid for signature in signatures], f"{path}/signatures")
    return envelope(payload, signatures)


def _material(
    values: Sequence[Mapping[str, Any]], path: str, signed: Envelope
) -> tuple[Material, ...]:
    _distinct([entry["keyid"] for entry in values], path)
    known = {signature.keyid for signature in signed.signatures}
    found = []
    for index, entry in enumerate(values):
        here = f"{path}/{index}"
        if entry["keyid"] not in known:
            raise unusable(
                "input.schema", DOCUMENT, f"{here}/keyid", "no signature has this key id"
            )
        found.append(
            Material(
                keyid=KeyId(entry["keyid"]),
                chain=tuple(
                    _decoded(text, f"{here}/x509Chain/{place}", CERTIFICATE)
                    for place, text in enumerate(entry["x509Chain"])
                ),
                timestamps=tuple(
                    _decoded(text, f"{here}/rfc3161/{place}", TIMESTAMP)
                    for place, text in enumerate(entry["rfc3161"])
                ),
                log_proofs=tuple(entry["tlogProofs"]),
            )
        )
    return tuple(found)


def _blob(value: Mapping[str, Any], path: str, limit: int) -> Blob:
    match value["encoding"]:
        case "utf-8":
            text = value["data"]
            data = text.encode() if len(text) <= limit else b""
            if not 0 < len(data) <= limit:
                raise unusable("input.too_large", DOCUMENT, path, f"more than {limit} bytes")
            return data
        case "base64":
            return _decoded(value["data"], f"{path}/data", limit)
        case _:
            return External(size=value["size"])


def _record(value: Mapping[str, Any], path: str, bounds: Limits) -> SignedRecord:
    signed = _envelope(value["statement"], f"{path}/statement", bounds.payload)
    return SignedRecord(
        envelope=signed, material=_material(value["material"], f"{path}/material", signed)
    )


def bundle_of(
    document: Document, *, digest: str, size: int, bounds: Limits = DEFAULT
) -> UnverifiedBundle:
    """Build the bundle of a parsed packed object whose schema passed.

    ``digest``, ``size``: of the file it was parsed from. Raises MalformedInput.
    """
    return UnverifiedBundle(
        sha256=digest,
        size=size,
        statement=_record(document, "", bounds),
        blobs={
            Digest(name): _blob(value, f"/blobs/{name}", bounds.inline_blob)
            for name, value in document["blobs"].items()
        },
        redactions=tuple(
            Redaction(
                artifact=value["artifact"],
                reason=value["reason"],
                attachment=None if value["attachment"] is None else BundleId(value["attachment"]),
            )
            for value in document["redactions"]
        ),
        attachments=tuple(
            _record(value, f"/attachments/{index}", bounds)
            for index, value in enumerate(document["attachments"])
        ),
        renewals=len(document["renewals"]),
        limits=bounds,
    )


def read_packed(data: bytes, *, bounds: Limits = DEFAULT) -> Document:
    """Return the packed object of a file: strict JSON, version, schema. Raises MalformedInput."""
    return read(
        data,
        name="bundle",
        document=DOCUMENT,
        limit=bounds.packed_file,
        version=_version,
        lines=LINES,
    )


def read_bundle(
    data: bytes, *, bounds: Limits = DEFAULT, file: str | None = None
) -> UnverifiedBundle:
    """Read a packed file. ``file``: its name, for the message alone.

    Raises MalformedInput, kind ``bundle``, with one ``input.*`` code and a pointer.
    """
    try:
        document = read_packed(data, bounds=bounds)
        return bundle_of(document, digest=sha256(data).hexdigest(), size=len(data), bounds=bounds)
    except MalformedInput as error:
        if file is None:
            raise
        raise MalformedInput(
            error.kind, error.code, error.what, pointer=error.pointer, file=file
        ) from None
