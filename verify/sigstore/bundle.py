"""Sigstore bundles of format v0.3 and the answers that carry them: bytes to typed values.

Nothing is judged here but form. Source: sev-snp.md 15.1, 15.2, 15.3 steps 1, 7, 11, 12.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.wire import base64
from verify.wire.strict_json import Json, parse_evidence

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
ANSWER_LIMIT: Final = 16
"""Bundles in one attestation answer; a release has a handful."""

_PATH_LIMIT: Final = 64
_TIME_LIMIT: Final = 1 << 33
"""Integrated times beyond this POSIX second (the year 2242) are no times of this format."""

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_DIGEST_FILE: Final = re.compile(rb"([0-9A-Fa-f]{64})\n?")
_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
_STATEMENT: Final = frozenset({"_type", "subject", "predicateType", "predicate"})
_MEASUREMENT: Final = 48


@value
class InclusionProof:
    """What a log says about an entry's place: ``index`` is per tree, unlike the entry's own."""

    index: int
    size: int
    root: bytes
    path: tuple[bytes, ...]
    checkpoint: str


@value
class LogEntry:
    """One entry of a Rekor v1 log. ``integrated_time``: POSIX seconds. ``body_text``: base64."""

    index: int
    key_id: bytes
    integrated_time: int
    promise: bytes
    body_text: str
    body: bytes
    proof: InclusionProof


@value
class SigstoreBundle:
    """One bundle. ``path``: its JSON Pointer in the artifact. ``leaf``: DER of the certificate."""

    path: str
    leaf: bytes
    entry: LogEntry
    payload: bytes
    signature: bytes

    @property
    def signed(self) -> bytes:
        """The pre-authentication encoding that the signature is over."""
        kind = PAYLOAD_TYPE.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)


@value
class EntryContent:
    """What the log recorded. ``verifier``: text of a PEM certificate."""

    payload_sha256: bytes
    signature: bytes
    verifier: bytes


@value
class ReleaseStatement:
    """An in-toto Statement with one subject. ``predicate``: not read yet."""

    subject_sha256: bytes
    predicate_type: str
    predicate: Json


@value
class Measurements:
    """The measurements of one release: 48 bytes each."""

    snp_measurement: bytes
    rtmr1: bytes
    rtmr2: bytes


class _Reader:
    """Asks parsed JSON for members of one kind; every complaint has the reader's one code."""

    def __init__(self, reason: Reason, root: str = "") -> None:
        self.reason = reason
        self.root = root

    def bad(self, path: str, what: str) -> FormatError:
        return FormatError(0, what, reason=self.reason, path=self.root + path)

    def parsed(self, data: bytes) -> Json:
        try:
            return parse_evidence(data)
        except FormatError as error:
            raise self.bad(error.path or "", f"not strict JSON: {error.what}") from None

    def mapping(self, found: Json, path: str) -> Mapping[str, Json]:
        if not isinstance(found, Mapping):
            raise self.bad(path, "not an object")
        return found

    def array(self, found: Json, path: str, most: int) -> Sequence[Json]:
        if isinstance(found, str) or not isinstance(found, Sequence):
            raise self.bad(path, "not an array")
        if not 1 <= len(found) <= most:
            raise self.bad(path, f"{len(found)} elements where 1 to {most} are wanted")
        return found

    def text(self, found: Json, path: str) -> str:
        if not isinstance(found, str):
            raise self.bad(path, "not a string")
        return found

    def decoded(self, found: Json, path: str, size: int | None = None) -> bytes:
        try:
            data = base64.decode(self.text(found, path))
        except FormatError as error:
            raise self.bad(path, error.what) from None
        if not data or (size is not None and len(data) != size):
            raise self.bad(path, f"{len(data)} bytes where {size or 'some'} are wanted")
        return data

    def number(self, found: Json, path: str) -> int:
        """Read an integer, which this format writes as a JSON string."""
        text = self.text(found, path)
        if _DECIMAL.fullmatch(text) is None:
            raise self.bad(path, "not a decimal number in a string")
        return int(text)

    def hexadecimal(self, found: Json, path: str, size: int) -> bytes:
        text = self.text(found, path)
        if len(text) != 2 * size or _HEX.fullmatch(text) is None:
            raise self.bad(path, f"not {2 * size} hexadecimal digits")
        return bytes.fromhex(text)


def read_digest_file(data: bytes) -> bytes:
    """Read a release's digest file: 64 hex digits and at most a newline. Raises FormatError."""
    found = _DIGEST_FILE.fullmatch(data)
    if found is None:
        raise FormatError(
            0, "not 64 hexadecimal digits and a newline", reason=Reason.SIGSTORE_BUNDLE_MALFORMED
        )
    return bytes.fromhex(found.group(1).decode("ascii"))


def read_answer(data: bytes) -> tuple[SigstoreBundle, ...]:
    """Read an attestation answer (``attestations[].bundle``) or one bare bundle.

    Raises FormatError: ``sigstore.bundle.missing`` for an answer without any,
    ``sigstore.bundle.malformed``, ``.format_unsupported``, ``.time_unsupported``.
    """
    read = _Reader(Reason.SIGSTORE_BUNDLE_MALFORMED)
    document = read.mapping(read.parsed(data), "")
    if "attestations" not in document:
        return (_bundle(document, ""),)
    listed = document["attestations"]
    if isinstance(listed, Sequence) and not listed and not isinstance(listed, str):
        raise FormatError(
            0,
            "the answer lists no attestation",
            reason=Reason.SIGSTORE_BUNDLE_MISSING,
            path="/attestations",
        )
    found = []
    for number, item in enumerate(read.array(listed, "/attestations", ANSWER_LIMIT)):
        at = f"/attestations/{number}"
        members = read.mapping(item, at)
        found.append(_bundle(read.mapping(members.get("bundle"), f"{at}/bundle"), f"{at}/bundle"))
    return tuple(found)


def _bundle(members: Mapping[str, Json], path: str) -> SigstoreBundle:
    read = _Reader(Reason.SIGSTORE_BUNDLE_MALFORMED, path)
    if read.text(members.get("mediaType"), "/mediaType") != MEDIA_TYPE:
        raise FormatError(
            0,
            f"only {MEDIA_TYPE} is read",
            reason=Reason.SIGSTORE_BUNDLE_FORMAT_UNSUPPORTED,
            path=f"{path}/mediaType",
        )
    at = "/verificationMaterial"
    material = read.mapping(members.get("verificationMaterial"), at)
    certificate = read.mapping(material.get("certificate"), f"{at}/certificate")
    leaf = read.decoded(certificate.get("rawBytes"), f"{at}/certificate/rawBytes")
    (entry,) = read.array(material.get("tlogEntries"), f"{at}/tlogEntries", 1)
    logged = _entry(read, read.mapping(entry, f"{at}/tlogEntries/0"), f"{at}/tlogEntries/0")
    envelope = read.mapping(members.get("dsseEnvelope"), "/dsseEnvelope")
    if read.text(envelope.get("payloadType"), "/dsseEnvelope/payloadType") != PAYLOAD_TYPE:
        raise read.bad("/dsseEnvelope/payloadType", f"only {PAYLOAD_TYPE} is read")
    at = "/dsseEnvelope/signatures"
    (signature,) = read.array(envelope.get("signatures"), at, 1)
    return SigstoreBundle(
        path=path,
        leaf=leaf,
        entry=logged,
        payload=read.decoded(envelope.get("payload"), "/dsseEnvelope/payload"),
        signature=read.decoded(read.mapping(signature, f"{at}/0").get("sig"), f"{at}/0/sig"),
    )


def _entry(read: _Reader, entry: Mapping[str, Json], at: str) -> LogEntry:
    timeless = entry.get("integratedTime") in (None, "0")
    if timeless and entry.get("inclusionPromise") is None:
        raise FormatError(
            0,
            "an entry of a log that gives no time of its own",
            reason=Reason.SIGSTORE_BUNDLE_TIME_UNSUPPORTED,
            path=f"{read.root}{at}/integratedTime",
        )
    time = read.number(entry.get("integratedTime"), f"{at}/integratedTime")
    if not 0 < time < _TIME_LIMIT:
        raise read.bad(f"{at}/integratedTime", "no time that this format can mean")
    log = read.mapping(entry.get("logId"), f"{at}/logId")
    promise = read.mapping(entry.get("inclusionPromise"), f"{at}/inclusionPromise")
    stamp = promise.get("signedEntryTimestamp")
    text = read.text(entry.get("canonicalizedBody"), f"{at}/canonicalizedBody")
    return LogEntry(
        index=read.number(entry.get("logIndex"), f"{at}/logIndex"),
        key_id=read.decoded(log.get("keyId"), f"{at}/logId/keyId", 32),
        integrated_time=time,
        promise=read.decoded(stamp, f"{at}/inclusionPromise/signedEntryTimestamp"),
        body_text=text,
        body=read.decoded(text, f"{at}/canonicalizedBody"),
        proof=_proof(read, entry.get("inclusionProof"), f"{at}/inclusionProof"),
    )


def _proof(read: _Reader, found: Json, at: str) -> InclusionProof:
    proof = read.mapping(found, at)
    hashes = proof.get("hashes")
    alone = isinstance(hashes, Sequence) and not hashes  # a tree of one leaf has no path
    listed = () if alone else read.array(hashes, f"{at}/hashes", _PATH_LIMIT)
    checkpoint = read.mapping(proof.get("checkpoint"), f"{at}/checkpoint")
    return InclusionProof(
        index=read.number(proof.get("logIndex"), f"{at}/logIndex"),
        size=read.number(proof.get("treeSize"), f"{at}/treeSize"),
        root=read.decoded(proof.get("rootHash"), f"{at}/rootHash", 32),
        path=tuple(
            read.decoded(item, f"{at}/hashes/{number}", 32) for number, item in enumerate(listed)
        ),
        checkpoint=read.text(checkpoint.get("envelope"), f"{at}/checkpoint/envelope"),
    )


def read_entry_content(body: bytes, path: str) -> EntryContent:
    """Read a log entry of kind dsse 0.0.1. Raises FormatError (``sigstore.log.entry_mismatch``)."""
    read = _Reader(Reason.SIGSTORE_LOG_ENTRY_MISMATCH, path)
    members = read.mapping(read.parsed(body), "")
    if (members.get("kind"), members.get("apiVersion")) != ("dsse", "0.0.1"):
        raise read.bad("", "not an entry of kind dsse 0.0.1")
    spec = read.mapping(members.get("spec"), "")
    payload = read.mapping(spec.get("payloadHash"), "")
    if payload.get("algorithm") != "sha256":
        raise read.bad("", "a payload hash other than SHA-256")
    (signature,) = read.array(spec.get("signatures"), "", 1)
    signed = read.mapping(signature, "")
    return EntryContent(
        payload_sha256=read.hexadecimal(payload.get("value"), "", sha256().digest_size),
        signature=read.decoded(signed.get("signature"), ""),
        verifier=read.decoded(signed.get("verifier"), ""),
    )


def read_statement(payload: bytes, path: str) -> ReleaseStatement:
    """Read the signed Statement. Raises FormatError (``sigstore.statement.malformed``)."""
    read = _Reader(Reason.SIGSTORE_STATEMENT_MALFORMED, path)
    members = read.mapping(read.parsed(payload), "")
    if members.keys() - _STATEMENT:
        raise read.bad("", "a member that no Statement has")
    if members.get("_type") != STATEMENT_TYPE:
        raise read.bad("", f"only {STATEMENT_TYPE} is read")
    (subject,) = read.array(members.get("subject"), "", 1)
    digest = read.mapping(read.mapping(subject, "").get("digest"), "")
    return ReleaseStatement(
        subject_sha256=read.hexadecimal(digest.get("sha256"), "", 32),
        predicate_type=read.text(members.get("predicateType"), ""),
        predicate=members.get("predicate"),
    )


def read_measurements(predicate: Json, path: str) -> Measurements:
    """Read a release's measurements. Raises FormatError (``sigstore.predicate.malformed``)."""
    read = _Reader(Reason.SIGSTORE_PREDICATE_MALFORMED, path)
    members = read.mapping(predicate, "")
    tdx = read.mapping(members.get("tdx_measurement"), "")
    return Measurements(
        snp_measurement=read.hexadecimal(members.get("snp_measurement"), "", _MEASUREMENT),
        rtmr1=read.hexadecimal(tdx.get("rtmr1"), "", _MEASUREMENT),
        rtmr2=read.hexadecimal(tdx.get("rtmr2"), "", _MEASUREMENT),
    )
