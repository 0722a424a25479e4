"""Statement: payload bytes to a typed manifest that is consistent in itself.

`VerifiedPayload` and `VerifiedStatement` are made here and nowhere else: the first by the check
that counted the accepted signatures, the second from the first alone. Facts come from a
`VerifiedStatement`; nothing of the outer file is ever consulted for one.

Source: bundle-format.md 5.3, 6, 9.5 (steps 5 to 7).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NoReturn

from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.wire import limits, roles, scalars
from verify.wire.documents import read, statement_version, unusable, unusable_at
from verify.wire.model import (
    Artifact,
    Binding,
    BundleId,
    Capture,
    Clock,
    Digest,
    Exchange,
    FromArtifact,
    FromExchange,
    FromOperator,
    KeyId,
    Nonce,
    Observation,
    Origin,
    Request,
    Response,
    Statement,
    Tls,
)

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
CAPTURE_TYPE: Final = "urn:teebundle:capture:v1"
_DOCUMENT: Final = "statement"
_MAKING: Final = object()

ONE: Final = "artifact"
MANY: Final = "artifacts"
EXCHANGE: Final = "exchange"
NONCE: Final = "nonce"
TEXT: Final = "text"
BINDINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "nonce-in-evidence": {"nonce": NONCE, "evidence": ONE},
    "key-in-evidence": {"key": ONE, "evidence": ONE},
    "tls-in-evidence": {"exchange": EXCHANGE, "evidence": ONE},
    "devices-in-evidence": {"devices": MANY, "evidence": ONE},
    "devices-share-nonce": {"devices": MANY, "evidence": ONE},
    "chain-for": {"evidence": ONE, "with": MANY},
    "collateral-for": {"evidence": ONE, "with": MANY},
    "log-in-evidence": {"log": ONE, "evidence": ONE},
    "code-in-evidence": {"code": ONE, "evidence": ONE},
    "release-for": {"release": MANY, "evidence": ONE},
    "signature-covers": {"signature": ONE, "key": ONE, "request": ONE, "response": ONE},
    "receipt-covers": {"receipt": ONE, "key": ONE, "request": ONE, "response": ONE},
    "marker-in-request": {"marker": ONE, "nonce": NONCE, "request": ONE, "pointer": TEXT},
    "attested-around": {"before": EXCHANGE, "after": EXCHANGE, "chat": EXCHANGE},
    "nras-covers": {"request": ONE, "answer": ONE, "jwks": ONE, "devices": MANY},
}
"""Binding type to its members and what each names (bundle-format.md 6.5)."""


# --- what was signed, by whom ----------------------------------------------------------------


@value
class AcceptedSigner:
    """An accepted key whose signature over the payload verified.

    ``name``, ``operator``: of its trust entry. ``anchor``: SHA-256 (hex) that finds this entry:
    the key's own for a bare key, the authority's for a certificate. ``chain``: certificates as DER,
    leaf first, empty for a bare key. ``signature``: the signature bytes (what timestamps stamp).
    """

    keyid: KeyId
    name: str
    operator: str
    anchor: str
    chain: tuple[bytes, ...]
    signature: bytes


class VerifiedPayload:
    """Fact of `envelope.signature`: payload bytes that enough accepted keys signed.

    ``payload``: the exact bytes. ``bundle_id``: digest of what was signed. ``signers``: not empty.
    """

    __slots__ = ("bundle_id", "payload", "signers")

    def __init__(
        self,
        making: object,
        payload: bytes,
        bundle_id: BundleId,
        signers: tuple[AcceptedSigner, ...],
    ) -> None:
        if making is not _MAKING:
            raise TypeError("a verified payload comes from counting accepted signatures alone")
        self.payload = payload
        self.bundle_id = bundle_id
        self.signers = signers

    def __reduce__(self) -> NoReturn:
        raise TypeError("a verified payload is made where it is verified, never copied in")

    @property
    def keyids(self) -> frozenset[KeyId]:
        """The key ids of the accepted signers."""
        return frozenset(signer.keyid for signer in self.signers)


def establish_payload(
    payload: bytes, bundle_id: BundleId, signers: tuple[AcceptedSigner, ...]
) -> VerifiedPayload:
    """Make a `VerifiedPayload`. For the check that counted the signatures and nobody else."""
    if not signers:
        raise TypeError("nobody signed this")
    return VerifiedPayload(_MAKING, payload, bundle_id, signers)


class VerifiedStatement:
    """Fact of `statement.form`: the Statement of a verified payload, consistent in itself."""

    __slots__ = ("payload", "statement")

    def __init__(self, making: object, payload: VerifiedPayload, statement: Statement) -> None:
        if making is not _MAKING:
            raise TypeError("a verified statement comes from a verified payload alone")
        self.payload = payload
        self.statement = statement

    def __reduce__(self) -> NoReturn:
        raise TypeError("a verified statement is made where it is verified, never copied in")

    @property
    def bundle_id(self) -> BundleId:
        """The bundle id."""
        return self.payload.bundle_id


# --- building the types ----------------------------------------------------------------------


def _time(value: Mapping[str, Any], name: str, document: str, path: str) -> datetime:
    try:
        return scalars.parse_time(value[name])
    except FormatError as error:
        raise unusable_at(document, f"{path}/{name}", error) from None


def _origin(value: Mapping[str, Any]) -> Origin:
    if "exchange" in value:
        return FromExchange(exchange=value["exchange"])
    if "artifact" in value:
        return FromArtifact(artifact=value["artifact"], steps=tuple(value["steps"]))
    return FromOperator(description=value["local"])


def read_artifacts(values: Sequence[Mapping[str, Any]]) -> tuple[Artifact, ...]:
    """Return the artifacts of a document whose schema passed."""
    return tuple(
        Artifact(
            id=value["id"],
            role=value["role"],
            media_type=value["mediaType"],
            digest=Digest(value["digest"]),
            size=value["size"],
            framing=value["framing"],
            origin=_origin(value["origin"]),
            sha512=value.get("sha512"),
            index=index,
        )
        for index, value in enumerate(values)
    )


def _response(value: Mapping[str, Any] | None) -> Response | None:
    if value is None:
        return None
    return Response(
        status=value["status"],
        http_version=value["httpVersion"],
        headers=value["headers"],
        body=value["body"],
        complete=value["complete"],
    )


def _tls(value: Mapping[str, Any] | None) -> Tls | None:
    if value is None:
        return None
    return Tls(
        version=value["version"],
        cipher=value["cipher"],
        alpn=value["alpn"],
        chain=tuple(value["chain"]),
        spki=Digest(value["spki"]),
        webpki=value["webpki"],
    )


def read_exchanges(
    values: Sequence[Mapping[str, Any]], document: str = _DOCUMENT
) -> tuple[Exchange, ...]:
    """Return the exchanges of a document whose schema passed. Raises MalformedInput for a time."""
    found = []
    for index, entry in enumerate(values):
        path = f"/predicate/exchanges/{index}"
        first = entry["firstByteAt"]
        request = entry["request"]
        found.append(
            Exchange(
                id=entry["id"],
                session=entry["session"],
                connection=entry["connection"],
                seq=entry["seq"],
                purpose=entry["purpose"],
                started_at=_time(entry, "startedAt", document, path),
                first_byte_at=(
                    None if first is None else _time(entry, "firstByteAt", document, path)
                ),
                ended_at=_time(entry, "endedAt", document, path),
                request=Request(
                    method=request["method"],
                    url=request["url"],
                    headers=request["headers"],
                    body=request["body"],
                ),
                response=_response(entry["response"]),
                tls=_tls(entry["tls"]),
                index=index,
            )
        )
    return tuple(found)


def _capture(value: Mapping[str, Any]) -> Capture:
    clock = value["clock"]
    imported = value.get("importedFrom")
    retention = value.get("retention")
    if retention is not None and retention["until"] is not None:
        _time(retention, "until", _DOCUMENT, "/predicate/capture/retention")
    return Capture(
        mode=value["mode"],
        complete=value["complete"],
        started_at=_time(value, "startedAt", _DOCUMENT, "/predicate/capture"),
        ended_at=_time(value, "endedAt", _DOCUMENT, "/predicate/capture"),
        clock=Clock(
            source=clock["source"],
            offset_ms=clock["offsetMs"],
            max_error_ms=clock["maxErrorMs"],
        ),
        operator=value["operator"],
        host=value.get("host"),
        provider_name=value["provider"]["name"],
        provider_endpoint=value["provider"]["endpoint"],
        tool_name=value["tool"]["name"],
        tool_version=value["tool"]["version"],
        imported_from=None if imported is None else imported["description"],
        imported_times=None if imported is None else imported["times"],
    )


def _nonce(value: Mapping[str, Any], index: int) -> Nonce:
    random = value["random"]
    return Nonce(
        id=value["id"],
        value=bytes.fromhex(value["value"]),
        derivation=value["derivation"],
        random=None if random is None else bytes.fromhex(random),
        beacon=value["beacon"],
        sent_as=value["sentAs"],
        index=index,
    )


def _binding(value: Mapping[str, Any], index: int) -> Binding:
    members = {
        name: tuple(found) if isinstance(found, list) else found
        for name, found in value.items()
        if name != "type"
    }
    return Binding(type=value["type"], members=members, index=index)


def read_extensions(predicate: Mapping[str, Any], document: str) -> tuple[str, ...]:
    """Return the names of the extensions. Raises MalformedInput for one that is too large."""
    for name, found in predicate["extensions"].items():
        if len(json.dumps(found, ensure_ascii=False).encode()) > limits.EXTENSION:
            path = f"/predicate/extensions/{scalars.pointer_token(name)}"
            raise unusable("input.too_large", document, path, "an extension above 64 KiB")
    return tuple(predicate["extensions"])


@value
class ReadStatement:
    """A Statement as it is written, not yet compared with itself."""

    statement: Statement
    subject: tuple[tuple[str, str], ...]


def read_subject(values: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Return (name, digest) of each subject, the digest in our own text form."""
    return tuple((value["name"], f"sha256:{value['digest']['sha256']}") for value in values)


def read_statement(payload: bytes, *, limit: int = limits.DEFAULT.payload) -> ReadStatement:
    """Read a payload of at most ``limit`` bytes.

    Raises MalformedInput where it cannot be used; FormatError with reason
    ``statement.minor_unsupported`` for a higher minor version.
    """
    document = read(
        payload,
        name="statement",
        document=_DOCUMENT,
        limit=limit,
        version=statement_version(_DOCUMENT, "urn:teebundle:capture"),
    )
    predicate = document["predicate"]
    artifacts = read_artifacts(predicate["artifacts"])
    statement = Statement(
        schema=predicate["schema"],
        id=predicate["id"],
        profile=predicate["profile"],
        capture=_capture(predicate["capture"]),
        signer=KeyId(predicate["session"]["signer"]),
        nonces=tuple(
            _nonce(value, index) for index, value in enumerate(predicate["session"]["nonces"])
        ),
        artifacts=artifacts,
        exchanges=read_exchanges(predicate["exchanges"]),
        bindings=tuple(_binding(value, index) for index, value in enumerate(predicate["bindings"])),
        observations=tuple(
            Observation(check=value["check"], status=value["status"], note=value["note"])
            for value in predicate["observations"]
        ),
        extensions=read_extensions(predicate, _DOCUMENT),
        critical=tuple(predicate["critical"]),
        _by_id={artifact.id: artifact for artifact in artifacts},
    )
    return ReadStatement(statement=statement, subject=read_subject(document["subject"]))


# --- consistent in itself --------------------------------------------------------------------


def _fault(reason: Reason, path: str, what: str, *, got: str = "", expected: str = "") -> Refused:
    return Refused(reason, what, path=path, got=got or what, expected=expected)


def subject_faults(
    subject: Sequence[tuple[str, str]], artifacts: Sequence[Artifact], first: int = 0
) -> Iterator[Refused]:
    """Give the differences between subjects and artifacts: one for each, in the same order."""
    listed = subject[first:]
    for index, artifact in enumerate(artifacts):
        wanted = (artifact.id, artifact.digest)
        if index >= len(listed) or listed[index] != wanted:
            yield _fault(
                Reason.STATEMENT_SUBJECT_MISMATCH,
                f"/subject/{first + index}",
                f"the subject of artifact {artifact.id} is not there or another",
                got=" ".join(listed[index]) if index < len(listed) else "nothing",
                expected=" ".join(wanted),
            )
    if len(listed) > len(artifacts):
        yield _fault(
            Reason.STATEMENT_SUBJECT_MISMATCH,
            f"/subject/{first + len(artifacts)}",
            "a subject without an artifact",
            got=listed[len(artifacts)][0],
        )


class Graph:
    """The ids of one Statement or attachment and what they name; gives the broken edges."""

    def __init__(
        self,
        artifacts: Sequence[Artifact],
        exchanges: Sequence[Exchange],
        nonces: Sequence[Nonce] = (),
    ) -> None:
        self._artifacts = artifacts
        self._exchanges = exchanges
        self._nonces = nonces
        self._artifact = {artifact.id: artifact for artifact in artifacts}
        self._exchange = {exchange.id: exchange for exchange in exchanges}
        self._nonce = {nonce.id for nonce in nonces}

    def faults(self) -> Iterator[Refused]:
        """Give every contradiction among ids, references, framings and derivations."""
        yield from self._duplicates()
        yield from self._framings()
        for exchange in self._exchanges:
            yield from self._exchange_faults(exchange)
        for artifact in self._artifacts:
            yield from self._origin_faults(artifact)
        for nonce in self._nonces:
            if nonce.beacon is not None:
                path = f"/predicate/session/nonces/{nonce.index}/beacon"
                yield from self._role(nonce.beacon, path, ("time.checkpoint",))

    def _duplicates(self) -> Iterator[Refused]:
        seen: set[str] = set()
        places = (
            ("artifacts", self._artifacts),
            ("exchanges", self._exchanges),
            ("session/nonces", self._nonces),
        )
        for name, items in places:
            for item in items:
                if item.id in seen:
                    yield _fault(
                        Reason.STATEMENT_ID_DUPLICATE,
                        f"/predicate/{name}/{item.index}/id",
                        f"the id {item.id} stands twice",
                        got=item.id,
                    )
                seen.add(item.id)

    def _framings(self) -> Iterator[Refused]:
        salted: dict[str, str] = {}
        raw = {artifact.digest for artifact in self._artifacts if artifact.framing == "raw"}
        for artifact in self._artifacts:
            path = f"/predicate/artifacts/{artifact.index}/framing"
            allowed = roles.FRAMINGS[artifact.role]
            if artifact.framing not in allowed:
                yield _fault(
                    Reason.STATEMENT_FRAMING_FORBIDDEN,
                    path,
                    f"{artifact.role} is not framed {artifact.framing}",
                    got=artifact.framing,
                    expected=" or ".join(allowed),
                )
            if artifact.framing == "salt32":
                if artifact.digest in salted or artifact.digest in raw:
                    yield _fault(
                        Reason.STATEMENT_FRAMING_FORBIDDEN,
                        path,
                        "a salted artifact shares its digest with another: no fresh salt",
                        got=artifact.digest,
                    )
                salted[artifact.digest] = artifact.id

    def _role(self, artifact_id: str, path: str, wanted: Sequence[str]) -> Iterator[Refused]:
        found = self._artifact.get(artifact_id)
        if found is None or (wanted and found.role not in wanted):
            yield _fault(
                Reason.STATEMENT_REFERENCE_UNRESOLVED,
                path,
                f"{artifact_id} names no artifact that may stand here",
                got=artifact_id if found is None else found.role,
                expected=" or ".join(wanted) or "an artifact",
            )

    def _exchange_faults(self, exchange: Exchange) -> Iterator[Refused]:
        path = f"/predicate/exchanges/{exchange.index}"
        request = exchange.request
        response = exchange.response
        documents = [("request", "http.request.headers", request.headers)]
        bodies = [("request", request.body)]
        if response is not None:
            documents.append(("response", "http.response.headers", response.headers))
            bodies.append(("response", response.body))
        for side, role, headers in documents:
            if headers is None:
                continue
            here = f"{path}/{side}/headers"
            yield from self._role(headers, here, (role,))
            yield from self._belongs(headers, here, exchange)
            yield from self._headers_framing(headers, exchange)
        for side, body in bodies:
            if body is not None:
                yield from self._role(body, f"{path}/{side}/body", ())
                yield from self._belongs(body, f"{path}/{side}/body", exchange)
        for place, certificate in enumerate(() if exchange.tls is None else exchange.tls.chain):
            yield from self._role(certificate, f"{path}/tls/chain/{place}", ("tls.certificate",))

    def _belongs(self, artifact_id: str, path: str, exchange: Exchange) -> Iterator[Refused]:
        """A body or headers document is of one exchange, and says so itself (B4)."""
        found = self._artifact.get(artifact_id)
        if found is None:
            return
        origin = found.origin
        if not isinstance(origin, FromExchange) or origin.exchange != exchange.id:
            yield _fault(
                Reason.STATEMENT_REFERENCE_UNRESOLVED,
                path,
                f"{artifact_id} does not say that it comes from {exchange.id}",
                got=artifact_id,
                expected=f"an artifact of {exchange.id}",
            )

    def _headers_framing(self, artifact_id: str, exchange: Exchange) -> Iterator[Refused]:
        found = self._artifact.get(artifact_id)
        wanted = "raw" if exchange.purpose in roles.PUBLIC_PURPOSES else "salt32"
        if found is not None and found.framing != wanted:
            yield _fault(
                Reason.STATEMENT_FRAMING_FORBIDDEN,
                f"/predicate/artifacts/{found.index}/framing",
                f"headers of purpose {exchange.purpose} are framed {wanted}",
                got=found.framing,
                expected=wanted,
            )

    def _origin_faults(self, artifact: Artifact) -> Iterator[Refused]:
        path = f"/predicate/artifacts/{artifact.index}/origin"
        origin = artifact.origin
        if isinstance(origin, FromExchange):
            exchange = self._exchange.get(origin.exchange)
            if exchange is None or artifact.id not in _named_by(exchange):
                yield _fault(
                    Reason.STATEMENT_REFERENCE_UNRESOLVED,
                    f"{path}/exchange",
                    f"no exchange {origin.exchange} that names {artifact.id}",
                    got=origin.exchange,
                    expected="the exchange that names the artifact",
                )
        elif isinstance(origin, FromArtifact):
            yield from self._derivation_faults(artifact, origin, path)

    def _derivation_faults(
        self, artifact: Artifact, origin: FromArtifact, path: str
    ) -> Iterator[Refused]:
        source = self._artifact.get(origin.artifact)
        if source is None:
            yield from self._role(origin.artifact, f"{path}/artifact", ())
            return
        complaint = ""
        if source.framing != "raw":
            complaint = "the source is salted: its derivation would undo the salt"  # D1
        elif artifact.framing != "raw":
            complaint = "a derived artifact is raw"  # D3
        elif source.index >= artifact.index:
            complaint = "the source is not listed earlier"  # D2
        elif self._sources(artifact) > limits.DERIVATION_SOURCES:
            complaint = f"a chain of more than {limits.DERIVATION_SOURCES} sources"  # D2
        if complaint:
            yield _fault(
                Reason.STATEMENT_DERIVATION_FORBIDDEN, path, complaint, got=origin.artifact
            )

    def _sources(self, artifact: Artifact) -> int:
        count = 0
        while isinstance(artifact.origin, FromArtifact) and count <= limits.DERIVATION_SOURCES:
            source = self._artifact.get(artifact.origin.artifact)
            if source is None:
                break
            artifact = source
            count += 1
        return count

    def binding_faults(self, binding: Binding) -> Iterator[Refused]:
        """Give the members of a binding that name nothing of the right kind."""
        for name, kind in BINDINGS[binding.type].items():
            path = f"/predicate/bindings/{binding.index}/{name}"
            for found in binding.many(name):
                if kind in (ONE, MANY):
                    role = ("session.marker",) if name == "marker" else ()
                    yield from self._role(found, path, role)
                elif (kind == EXCHANGE and found not in self._exchange) or (
                    kind == NONCE and found not in self._nonce
                ):
                    yield _fault(
                        Reason.STATEMENT_REFERENCE_UNRESOLVED,
                        path,
                        f"{found} names no {kind}",
                        got=found,
                        expected=f"a {kind}",
                    )


def _named_by(exchange: Exchange) -> frozenset[str]:
    named = {exchange.request.headers, exchange.request.body}
    if exchange.response is not None:
        named |= {exchange.response.headers, exchange.response.body}
    if exchange.tls is not None:
        named.update(exchange.tls.chain)
    return frozenset(name for name in named if name is not None)


def time_faults(exchanges: Sequence[Exchange]) -> Iterator[Refused]:
    """Give exchanges that end before they start or do not follow one another."""
    last = 0
    for exchange in exchanges:
        path = f"/predicate/exchanges/{exchange.index}"
        first = exchange.first_byte_at
        moments = [exchange.started_at, *(() if first is None else (first,)), exchange.ended_at]
        if moments != sorted(moments):
            yield _fault(
                Reason.STATEMENT_TIME_ORDER,
                path,
                f"{exchange.id} ends before it starts",
                got=" ".join(map(scalars.format_time, moments)),
                expected="startedAt <= firstByteAt <= endedAt",
            )
        if exchange.seq <= last:
            yield _fault(
                Reason.STATEMENT_TIME_ORDER,
                f"{path}/seq",
                "the exchanges are not numbered upwards",
                got=str(exchange.seq),
                expected=f"more than {last}",
            )
        last = exchange.seq


def statement_faults(found: ReadStatement, signers: frozenset[KeyId]) -> tuple[Refused, ...]:
    """Return every way in which a Statement contradicts itself or its signers.

    ``signers``: key ids of the accepted signers. Source: bundle-format.md 9.5 step 7, 14.
    """
    statement = found.statement
    graph = Graph(statement.artifacts, statement.exchanges, statement.nonces)
    faults = [*subject_faults(found.subject, statement.artifacts), *graph.faults()]
    for binding in statement.bindings:
        faults += graph.binding_faults(binding)
    capture = statement.capture
    if capture.started_at > capture.ended_at:
        faults.append(
            _fault(
                Reason.STATEMENT_TIME_ORDER,
                "/predicate/capture",
                "the capture ends before it starts",
                got=f"{capture.started_at} to {capture.ended_at}",
            )
        )
    faults += time_faults(statement.exchanges)
    if statement.signer not in signers:
        faults.append(
            _fault(
                Reason.STATEMENT_SIGNER_MISMATCH,
                "/predicate/session/signer",
                "the session's signer is none of the accepted signers",
                got=statement.signer,
                expected=" or ".join(sorted(signers)),
            )
        )
    faults += critical_faults(statement.critical)
    return tuple(faults)


def critical_faults(critical: Sequence[str]) -> Iterator[Refused]:
    """Give the extensions that must be understood; this version understands none."""
    for index, name in enumerate(critical):
        yield _fault(
            Reason.STATEMENT_CRITICAL_UNKNOWN,
            f"/predicate/critical/{index}",
            f"the extension {name} is critical and not known here",
            got=name,
        )


class Contradictory(Exception):  # noqa: N818  (a judgement on evidence, not an error)
    """A Statement that contradicts itself; ``faults`` has every way it does."""

    def __init__(self, faults: tuple[Refused, ...]) -> None:
        super().__init__(f"{len(faults)} contradictions")
        self.faults = faults


def establish_statement(
    payload: VerifiedPayload, *, limit: int = limits.DEFAULT.payload
) -> VerifiedStatement:
    """Read the very bytes that were signed and compare the Statement with itself.

    Raises MalformedInput, FormatError (a higher minor version), `Contradictory`.
    """
    found = read_statement(payload.payload, limit=limit)
    faults = statement_faults(found, payload.keyids)
    if faults:
        raise Contradictory(faults)
    return VerifiedStatement(_MAKING, payload, found.statement)
