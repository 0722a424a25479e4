"""Family aci: a quote that binds a key set and a nonce by hash, and receipts signed by those keys.

Everything is hashed and signed in the canonical text of RFC 8785, never as served. The statement
inside report_data is built here from the recomputed digest: what an answer says of its own digests
is compared, not used.

Source: providers.md 1.2, 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from verify.crypto import ed25519
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.families.dstack import log_item
from verify.families.identity import (
    Binding,
    Item,
    NonceRuling,
    RecognisedAnswer,
    ReportObject,
    Shape,
    TlsKey,
)
from verify.families.members import (
    Companion,
    array,
    base64_bytes,
    below,
    hex_bytes,
    mapping,
    optional_text,
    quote_bytes,
    required,
    text,
)
from verify.wire.jcs import canonical
from verify.wire.strict_json import Json

VERSION: Final = "aci/1"
MAX_EVENTS: Final = 4096

_DIGEST: Final = "sha256:"
_PLATFORMS: Final[Mapping[str, str]] = {"tdx": "tdx.quote", "sev_snp": "snp.report"}
_KEYSET: Final = "/attestation/workload_keyset"
_EVIDENCE: Final = "/attestation/evidence"
_LATEST: Final = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


def _bad(reason: Reason, path: str, what: str) -> FormatError:
    return FormatError(0, what, reason=reason, path=path)


def canonical_digest(found: Json, path: str) -> bytes:
    """Return SHA-256 of the canonical text. Raises `FormatError` (``shape.encoding_invalid``)."""
    try:
        return sha256(canonical(found)).digest()
    except FormatError as error:
        raise _bad(Reason.SHAPE_ENCODING_INVALID, path, error.what) from error


def _digest(stated: str, path: str) -> bytes:
    """Return the bytes of ``sha256:`` and 64 hex digits. Raises `FormatError`."""
    if not stated.startswith(_DIGEST):
        raise _bad(Reason.SHAPE_ENCODING_INVALID, path, "not a sha256: digest")
    return hex_bytes(stated.removeprefix(_DIGEST), path, 32)


def _seconds(members: Mapping[str, Json], name: str, path: str) -> datetime:
    found = required(members, name, path)
    place = below(path, name)
    if isinstance(found, bool) or not isinstance(found, int):
        raise _bad(Reason.SHAPE_FIELD_TYPE, place, f"{name} is not an integer")
    if not 0 <= found <= _LATEST:
        raise _bad(Reason.SHAPE_ENCODING_INVALID, place, f"{name} is no time")
    return datetime.fromtimestamp(found, UTC)


# --- the report ------------------------------------------------------------------------------


@value
class ReceiptKey:
    """A key of the key set that signs receipts. ``key``: as stated; 32 bytes for ed25519."""

    key_id: str
    algorithm: str
    key: bytes


@value
class AciReport(ReportObject):
    """A report. ``keyset_digest``: recomputed; ``stated_digest``: as the answer says.

    ``copies``: (JSON Pointer, bytes) of each copy of report_data in the answer, its beginning or
    the whole. ``echo``: the ``nonce`` member, None where absent.
    """

    keyset_digest: bytes
    stated_digest: bytes
    not_after: datetime
    receipt_keys: tuple[ReceiptKey, ...]
    tls_keys: tuple[TlsKey, ...]
    copies: tuple[tuple[str, bytes], ...]
    echo: str | None


def _receipt_keys(keyset: Mapping[str, Json]) -> tuple[ReceiptKey, ...]:
    place = below(_KEYSET, "receipt_signing_keys")
    found: list[ReceiptKey] = []
    for number, entry in enumerate(array(required(keyset, "receipt_signing_keys", _KEYSET), place)):
        at = below(place, number)
        members = mapping(entry, at)
        key_id = text(members, "key_id", at)
        if any(key.key_id == key_id for key in found):
            raise _bad(Reason.SHAPE_DUPLICATE_DISAGREES, below(at, "key_id"), "one id, two keys")
        found.append(
            ReceiptKey(
                key_id=key_id,
                algorithm=text(members, "algo", at),
                key=hex_bytes(text(members, "public_key", at), below(at, "public_key")),
            )
        )
    return tuple(found)


def _tls_keys(keyset: Mapping[str, Json]) -> tuple[TlsKey, ...]:
    place = below(_KEYSET, "tls_public_keys")
    found: list[TlsKey] = []
    for number, entry in enumerate(array(required(keyset, "tls_public_keys", _KEYSET), place)):
        at = below(place, number)
        members = mapping(entry, at)
        spki = hex_bytes(text(members, "spki_sha256", at), below(at, "spki_sha256"), 32)
        found.append(TlsKey(spki=spki, domain=optional_text(members, "domain", at)))
    return tuple(found)


def _copies(
    attestation: Mapping[str, Json], evidence: Mapping[str, Json]
) -> tuple[tuple[str, bytes], ...]:
    found: list[tuple[str, bytes]] = []
    for members, name, path in (
        (attestation, "report_data", "/attestation"),
        (evidence, "quote_report_data", _EVIDENCE),
    ):
        stated = optional_text(members, name, path)
        if stated is None:
            continue
        place = below(path, name)
        data = hex_bytes(stated, place)
        if len(data) not in (32, 64):
            raise _bad(Reason.SHAPE_LENGTH_INVALID, place, "neither 32 nor 64 bytes")
        found.append((place, data))
    return tuple(found)


def read(
    members: Mapping[str, Json],
    artifact: str,
    shape: Shape,
    companions: Sequence[Companion] = (),  # noqa: ARG001  (this family's answers stand alone)
) -> RecognisedAnswer:
    """Read a report. Raises `FormatError` with a closed code."""
    attestation = mapping(members.get("attestation"), "/attestation")
    role = _PLATFORMS.get(text(attestation, "tee_type", "/attestation"))
    if role is None:
        raise _bad(
            Reason.SHAPE_ENCODING_INVALID, "/attestation/tee_type", "neither tdx nor sev_snp"
        )
    evidence = mapping(required(attestation, "evidence", "/attestation"), _EVIDENCE)
    keyset = mapping(required(attestation, "workload_keyset", "/attestation"), _KEYSET)
    place = below(_EVIDENCE, "quote")
    step, _ = quote_bytes(text(evidence, "quote", _EVIDENCE), place)
    quote = Item(role=role, steps=(f"select:{place}", step), pointer="")
    log: Item | None = None
    if evidence.get("event_log") is not None:
        at = below(_EVIDENCE, "event_log")
        log = log_item(at, evidence.get("event_log"), "", "dstack.event-log")
    compose: Item | None = None
    if optional_text(evidence, "app_compose", _EVIDENCE) is not None:
        compose = Item(
            role="dstack.app-compose",
            steps=(f"select:{below(_EVIDENCE, 'app_compose')}", "text"),
            pointer="",
            media_type="application/json",
        )
    keys = Item(
        role="provider.evidence",
        steps=(f"span:{_KEYSET}",),
        pointer="",
        media_type="application/json",
    )
    tls_keys = _tls_keys(keyset)
    stated = text(members, "workload_keyset_digest", "")
    report = AciReport(
        pointer="",
        role="enclave",
        quote=quote,
        tls_fingerprint=tls_keys[0].spki if tls_keys else None,
        logs=() if log is None else (log,),
        compose=compose,
        keys=(keys,),
        keyset_digest=canonical_digest(keyset, _KEYSET),
        stated_digest=_digest(stated, "/workload_keyset_digest"),
        not_after=_seconds(keyset, "not_after", _KEYSET),
        receipt_keys=_receipt_keys(keyset),
        tls_keys=tls_keys,
        copies=_copies(attestation, evidence),
        echo=optional_text(members, "nonce", ""),
    )
    return RecognisedAnswer(
        artifact=artifact,
        shape=shape,
        family="aci",
        reports=(report,),
        items=tuple(item for item in (quote, log, compose, keys) if item is not None),
        echo=report.echo,
    )


def judge_keyset(report: AciReport, instant: datetime) -> None:
    """Demand that the answer names its own key set, and that the set is in force at ``instant``.

    Raises `Refused`: ``binding.keyset_digest_mismatch``, ``aci.keyset_expired``.
    """
    if report.stated_digest != report.keyset_digest:
        raise Refused(
            Reason.BINDING_KEYSET_DIGEST_MISMATCH,
            "the stated digest is not that of the key set beside it",
            got=report.stated_digest.hex(),
            expected=report.keyset_digest.hex(),
            path="/workload_keyset_digest",
        )
    if instant > report.not_after:
        raise Refused(
            Reason.ACI_KEYSET_EXPIRED,
            "the key set was no longer in force",
            got=instant.isoformat(),
            expected=f"not after {report.not_after.isoformat()}",
            path=below(_KEYSET, "not_after"),
        )


# --- formulas over a verified quote ----------------------------------------------------------


def statement(keyset_digest: bytes, nonce: bytes | None) -> bytes:
    """Return the exact bytes that report_data is the hash of; ``null`` where no nonce was sent."""
    shown = "null" if nonce is None else f'"{nonce.hex()}"'
    return (
        f'{{"keyset_digest":"{_DIGEST}{keyset_digest.hex()}","nonce":{shown},'
        '"purpose":"aci.report_data.v1"}'
    ).encode()


def _own(report: ReportObject) -> AciReport:
    assert isinstance(report, AciReport)  # noqa: S101  (the recogniser pairs them)
    return report


def _bound(
    report: AciReport, report_data: bytes, nonces: Sequence[bytes]
) -> tuple[bool, bytes | None]:
    """Return (whether the formula holds for a known nonce, that nonce or None for ``null``)."""
    known: list[bytes | None] = [*nonces]
    if report.echo is not None:
        with suppress(FormatError):  # what cannot be a nonce offers none
            known.append(hex_bytes(report.echo, "/nonce"))
    for nonce in (*known, None):
        if report_data[:32] == sha256(statement(report.keyset_digest, nonce)).digest():
            return True, nonce
    return False, None


def _mismatch(report: AciReport, report_data: bytes, nonce: bytes | None) -> Refused:
    return Refused(
        Reason.BINDING_REPORT_DATA_MISMATCH,
        "report_data does not open with the hash of the key set's statement",
        got=report_data[:32].hex(),
        expected=sha256(statement(report.keyset_digest, nonce)).hexdigest(),
        path=report.pointer,
    )


def judge_nonce(report: ReportObject, report_data: bytes, nonce: bytes) -> NonceRuling:
    """Return the nonce inside the statement: the session's, the echoed one, or none (empty).

    Refused: ``binding.report_data_mismatch`` where no known nonce makes the formula hold.
    """
    own = _own(report)
    holds, found = _bound(own, report_data, (nonce,))
    if not holds:
        return NonceRuling(bound=None, refused=(_mismatch(own, report_data, nonce),))
    return NonceRuling(bound=found or b"")


def judge_binding(
    report: ReportObject,
    report_data: bytes,
    seen: Sequence[bytes],  # noqa: ARG001  (row 52 compares channels)
    nonces: Sequence[bytes],
) -> Binding:
    """Return what the quote binds: the key set, under the digest of which it is known."""
    own = _own(report)
    refused: list[Refused] = []
    holds, _ = _bound(own, report_data, nonces)
    if not holds:
        refused.append(_mismatch(own, report_data, (*nonces, None)[0]))
    if any(report_data[32:64]):
        refused.append(
            Refused(
                Reason.BINDING_REPORT_DATA_TAIL_NOT_ZERO,
                "the second half of report_data is not zero",
                got=report_data[32:64].hex(),
                expected=bytes(32).hex(),
                path=report.pointer,
            )
        )
    for path, copy in own.copies:
        if report_data[: len(copy)] != copy:
            refused.append(
                Refused(
                    Reason.BINDING_REPORT_DATA_FIELD_DISAGREES,
                    "the copy of report_data in the answer differs from the quote",
                    got=copy.hex(),
                    expected=report_data[: len(copy)].hex(),
                    path=path,
                )
            )
    return Binding(
        form="aci_statement",
        algorithm="keyset",
        address=own.keyset_digest,
        public_key=None,
        tls_fingerprint=own.tls_fingerprint,
        tls_keys=own.tls_keys,
        refused=tuple(refused),
    )


# --- receipts --------------------------------------------------------------------------------


def _demand_version(members: Mapping[str, Json]) -> None:
    stated = text(members, "api_version", "")
    if stated != VERSION:
        raise Refused(
            Reason.ACI_VERSION_UNSUPPORTED,
            "a record of another version",
            got=stated,
            expected=VERSION,
            path="/api_version",
        )


@value
class Upstream:
    """What the service says of its upstream. ``path``: of the event. ``session``: 32 bytes."""

    path: str
    verified: bool
    result: str
    session: bytes | None


@value
class Receipt:
    """A receipt as stated. ``signed``: the canonical text without ``signature``."""

    receipt_id: str
    keyset_digest: bytes
    key_id: str
    signature: bytes
    signed: bytes
    request_hash: bytes
    response_hash: bytes
    forwarded: tuple[tuple[str, bytes], ...]
    upstreams: tuple[Upstream, ...]


def _upstream(event: Mapping[str, Json], at: str) -> Upstream:
    result = text(event, "result", at)
    verified = result == "verified"
    session = text(event, "session_id", at) if verified else None
    return Upstream(
        path=at,
        verified=verified,
        result=result,
        session=None if session is None else hex_bytes(session, below(at, "session_id"), 32),
    )


def read_receipt(members: Mapping[str, Json]) -> Receipt:
    """Read a receipt. Raises `FormatError`, `Refused` (``aci.version_unsupported``).

    The first event is ``request.received``; ``response.returned`` stands once. Unknown events are
    ignored.
    """
    _demand_version(members)
    place = "/event_log"
    events = array(required(members, "event_log", ""), place)
    if len(events) > MAX_EVENTS:
        raise _bad(Reason.EXCHANGE_OVER_LIMIT, place, f"more than {MAX_EVENTS} events")
    hashes: dict[str, list[tuple[str, bytes]]] = {
        "request.received": [],
        "request.forwarded": [],
        "response.returned": [],
    }
    upstreams: list[Upstream] = []
    for number, entry in enumerate(events):
        at = below(place, number)
        event = mapping(entry, at)
        kind = text(event, "type", at)
        if number == 0 and kind != "request.received":
            raise _bad(Reason.SHAPE_FIELD_MISSING, at, "does not begin with request.received")
        if kind in hashes:
            stated = _digest(text(event, "body_hash", at), below(at, "body_hash"))
            hashes[kind].append((below(at, "body_hash"), stated))
        elif kind == "upstream.verified":
            upstreams.append(_upstream(event, at))
    for kind in ("request.received", "response.returned"):
        if not hashes[kind]:
            raise _bad(Reason.SHAPE_FIELD_MISSING, place, f"no event {kind}")
        if len(hashes[kind]) > 1:
            raise _bad(
                Reason.SHAPE_DUPLICATE_DISAGREES, hashes[kind][1][0], f"a second event {kind}"
            )
    unsigned = {name: found for name, found in members.items() if name != "signature"}
    try:
        signed = canonical(unsigned)
    except FormatError as error:
        raise _bad(Reason.SHAPE_ENCODING_INVALID, "", error.what) from error
    return Receipt(
        receipt_id=text(members, "receipt_id", ""),
        keyset_digest=_digest(
            text(members, "workload_keyset_digest", ""), "/workload_keyset_digest"
        ),
        key_id=text(members, "key_id", ""),
        signature=hex_bytes(text(members, "signature", ""), "/signature", 64),
        signed=signed,
        request_hash=hashes["request.received"][0][1],
        response_hash=hashes["response.returned"][0][1],
        forwarded=tuple(hashes["request.forwarded"]),
        upstreams=tuple(upstreams),
    )


def judge_receipt(receipt: Receipt, reports: Sequence[AciReport]) -> None:
    """Demand a signature by a key of an attested key set: the one that the receipt names.

    Raises `Refused`: ``binding.keyset_digest_mismatch``, ``aci.key_unknown``,
    ``aci.receipt_signature_invalid``.
    """
    attested = [report for report in reports if report.keyset_digest == receipt.keyset_digest]
    if not attested:
        raise Refused(
            Reason.BINDING_KEYSET_DIGEST_MISMATCH,
            "the receipt names a key set that no quote of this bundle binds",
            got=receipt.keyset_digest.hex(),
            expected=" or ".join(sorted({report.keyset_digest.hex() for report in reports})),
            path="/workload_keyset_digest",
        )
    key = next(
        (
            found
            for found in attested[0].receipt_keys
            if found.key_id == receipt.key_id and found.algorithm == "ed25519"
        ),
        None,
    )
    if key is None:
        raise Refused(
            Reason.ACI_KEY_UNKNOWN,
            "no ed25519 receipt key of the key set has this id",
            got=receipt.key_id,
            expected=" or ".join(found.key_id for found in attested[0].receipt_keys),
            path="/key_id",
        )
    if not ed25519.signed(key.key, receipt.signature, receipt.signed):
        raise Refused(
            Reason.ACI_RECEIPT_SIGNATURE_INVALID,
            "the key that the receipt names did not sign it",
            got=receipt.signature.hex(),
            expected=f"a signature by {key.key.hex()}",
            path="/signature",
        )


def unverified_upstreams(receipt: Receipt) -> tuple[Refused, ...]:
    """Return where the service itself says that it did not verify what it forwarded to.

    A request that was forwarded without any such event was forwarded unverified.
    """
    found = [
        Refused(
            Reason.ACI_UPSTREAM_UNVERIFIED,
            "the service served an upstream that it could not verify",
            got=upstream.result,
            expected="verified",
            path=upstream.path,
        )
        for upstream in receipt.upstreams
        if not upstream.verified
    ]
    if receipt.forwarded and not receipt.upstreams:
        found.append(
            Refused(
                Reason.ACI_UPSTREAM_UNVERIFIED,
                "the request was forwarded, and nothing is said of who received it",
                got="no event upstream.verified",
                expected="verified",
                path="/event_log",
            )
        )
    return tuple(found)


# --- sessions --------------------------------------------------------------------------------


def session_id(members: Mapping[str, Json]) -> bytes:
    """Return the id of a session record: the digest of its canonical text. Raises `FormatError`."""
    return canonical_digest(members, "")


def _data(uri: str, path: str) -> bytes:
    """Return the bytes of a data URI in base64. Raises `FormatError`. Source: RFC 2397."""
    head, comma, body = uri.partition(",")
    if not head.startswith("data:") or not comma or not head.endswith(";base64"):
        raise _bad(Reason.SHAPE_ENCODING_INVALID, path, "not a data: URI in base64")
    return base64_bytes(body, path)


def judge_session(members: Mapping[str, Json], wanted: Sequence[bytes]) -> None:
    """Demand that a session record is one that was asked for, and its evidence the one it names.

    Its claims stay the aggregator's word. Raises `FormatError`, `Refused`:
    ``aci.version_unsupported``, ``aci.session_id_mismatch``, ``aci.evidence_digest_mismatch``.
    """
    _demand_version(members)
    found = session_id(members)
    if found not in wanted:
        raise Refused(
            Reason.ACI_SESSION_ID_MISMATCH,
            "the session record does not hash to the id it stands for",
            got=found.hex(),
            expected=" or ".join(item.hex() for item in wanted) or "an id that a receipt names",
            path="",
        )
    evidence = mapping(required(members, "evidence", ""), "/evidence")
    stated = _digest(text(evidence, "digest", "/evidence"), "/evidence/digest")
    hashed = sha256(_data(text(evidence, "data", "/evidence"), "/evidence/data")).digest()
    if hashed != stated:
        raise Refused(
            Reason.ACI_EVIDENCE_DIGEST_MISMATCH,
            "the session's evidence is not the one it names",
            got=hashed.hex(),
            expected=stated.hex(),
            path="/evidence/digest",
        )
