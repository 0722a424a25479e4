"""Recorded exchanges to Statement and blobs: salts and ids come in as arguments.

`Assembly` collects artifacts, exchanges, nonces, bindings and observations in order; `freeze` gives
the exact payload bytes and the blobs. Nothing is signed here, nothing is fetched, nothing judged.
The only files read are bodies recorded as too large to be held: once, piece by piece.

Source: bundle-format.md 5, 6, 7.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Final, Literal

from bundle.bodies import AnyBody, ExternalBlob, head, loaded, pieces, refuse_changed, response_of
from bundle.recording import Header, RecordedExchange, RecordedTls, StoredBody
from verify.engine.errors import FormatError, UsageError
from verify.wire.derive import Body
from verify.wire.limits import DEFAULT
from verify.wire.model import KeyId

SALTED: Final = frozenset(
    {
        "provider.signature",
        "provider.receipt",
        "provider.session",
        "http.request.body",
        "http.response.body",
        "e2ee.request-plaintext",
        "e2ee.response-plaintext",
        "e2ee.key",
        "session.marker",
        "tls.notary-presentation",
    }
)
"""Roles whose bytes are always salted (bundle-format.md 5.2, framing S)."""

PUBLIC_PURPOSES: Final = frozenset(
    {"collateral", "revocation", "rim", "nras", "jwks", "provenance", "time"}
)
"""Purposes whose header documents are public and stored raw."""

PREDICATE_TYPE: Final = "urn:teebundle:capture:v1"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"


def instant(moment: datetime) -> str:
    """Return a time in the own grammar: UTC, three fraction digits, ``Z``."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def headers_document(headers: Sequence[Header]) -> bytes:
    """Return the headers document: an array of pairs in wire order (bundle-format.md 6.3)."""
    pairs = [[name, {"redacted": "secret"} if value is None else value] for name, value in headers]
    return json.dumps(pairs, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureClaims:
    """What the capturer says about itself; see `verify.wire.model.Capture`."""

    mode: Literal["live", "import"]
    started_at: datetime
    ended_at: datetime
    operator: str
    provider: str
    endpoint: str
    tool_version: str
    complete: bool = True
    clock_source: str = "unknown"
    clock_offset_ms: int | None = None
    clock_max_error_ms: int | None = None
    host: str | None = None
    imported_description: str | None = None
    imported_times: Literal["recorded", "file-date", "assumed"] | None = None
    imported_files: tuple[str, ...] = ()

    def members(self) -> dict[str, object]:
        """Return the JSON members of ``predicate.capture``."""
        out: dict[str, object] = {
            "mode": self.mode,
            "complete": self.complete,
            "startedAt": instant(self.started_at),
            "endedAt": instant(self.ended_at),
            "clock": {
                "source": self.clock_source,
                "offsetMs": self.clock_offset_ms,
                "maxErrorMs": self.clock_max_error_ms,
            },
            "operator": self.operator,
        }
        if self.host is not None:
            out["host"] = self.host
        out["provider"] = {"name": self.provider, "endpoint": self.endpoint}
        out["tool"] = {"name": "teebundle", "version": self.tool_version}
        if self.mode == "import":
            out["importedFrom"] = {
                "description": self.imported_description or "",
                "times": self.imported_times or "assumed",
                "files": list(self.imported_files),
            }
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeIds:
    """Ids given to one exchange and to the artifacts made of it; None where there was none."""

    exchange: str
    request_headers: str | None
    request_body: str | None
    response_headers: str | None
    response_body: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """The exact Statement bytes and every blob they name: digest to stored (framed) bytes.

    ``salted``: digests of salted blobs, which are always written as base64. ``external``: digest to
    bytes that are too large for the packed file and are written beside it.
    """

    payload: bytes
    blobs: Mapping[str, bytes]
    salted: frozenset[str]
    external: Mapping[str, ExternalBlob] = field(default_factory=dict)


@dataclass(slots=True)
class Assembly:
    """Collects what one bundle will hold. ``salt(artifact id)`` gives 32 fresh bytes for each."""

    profile: str
    signer: KeyId
    statement_id: str
    salt: Callable[[str], bytes]
    sha512: bool = False
    _artifacts: list[dict[str, object]] = field(default_factory=list)
    _bodies: dict[str, AnyBody] = field(default_factory=dict)
    _blobs: dict[str, bytes] = field(default_factory=dict)
    _external: dict[str, ExternalBlob] = field(default_factory=dict)
    _salted: set[str] = field(default_factory=set)
    _framing: dict[str, str] = field(default_factory=dict)
    _reading: tuple[str, Body] | None = None
    _exchanges: list[dict[str, object]] = field(default_factory=list)
    _nonces: list[dict[str, object]] = field(default_factory=list)
    _bindings: list[dict[str, object]] = field(default_factory=list)
    _observations: list[dict[str, object]] = field(default_factory=list)
    _extensions: dict[str, object] = field(default_factory=dict)
    _counters: dict[str, int] = field(default_factory=dict)

    def fresh_id(self, stem: str) -> str:
        """Return the next free local id of a stem: ``quote-1``, then ``quote-2``."""
        number = self._counters.get(stem, 0) + 1
        self._counters[stem] = number
        return f"{stem}-{number}"

    def body(self, artifact_id: str) -> bytes:
        """Return the body (salt removed) of an artifact added before.

        Raises ValueError for one that is too large to be held (a bug of the caller: see `head`).
        """
        body = self._bodies[artifact_id]
        if isinstance(body, StoredBody):
            message = f"{artifact_id}: {body.size} bytes are not held; ask for the head"
            raise ValueError(message)  # noqa: TRY004  (the type is right, the size is not)
        return body

    def head(self, artifact_id: str) -> bytes:
        """Return how the body of an artifact begins: at most 64 KiB, whatever its size."""
        return head(self._bodies[artifact_id])

    def ids_of(self, *roles: str) -> tuple[str, ...]:
        """Return the ids of every artifact of one of the roles, in order."""
        return tuple(str(a["id"]) for a in self._artifacts if a["role"] in roles)

    def _add(
        self,
        artifact_id: str,
        body: AnyBody,
        *,
        role: str,
        media_type: str,
        salted: bool,
        origin: dict[str, object],
        stored: bool,
    ) -> str:
        salt = self.salt(artifact_id) if salted else b""
        size = len(salt) + (body.size if isinstance(body, StoredBody) else len(body))
        inline = size <= DEFAULT.inline_blob
        if inline:
            body = loaded(body)
        digest, second = self._digests(salt, body)
        entry: dict[str, object] = {
            "id": artifact_id,
            "role": role,
            "mediaType": media_type,
            "digest": digest,
            "size": size,
            "framing": "salt32" if salted else "raw",
            "origin": origin,
        }
        if second is not None:
            entry["sha512"] = second
        self._artifacts.append(entry)
        self._bodies[artifact_id] = body
        self._framing[artifact_id] = "salt32" if salted else "raw"
        if stored and inline:
            self._blobs[digest] = salt + loaded(body)
            if salted:
                self._salted.add(digest)
        elif stored:
            self._external[digest] = ExternalBlob(salt=salt, body=body, size=size)
        return artifact_id

    def _digests(self, salt: bytes, body: AnyBody) -> tuple[str, str | None]:
        """Return the digests of stored bytes, read once; the second where it was asked for."""
        framed, plain = sha256(salt), sha256()
        second = None
        if self.sha512:
            # imported late: few operators ask for the second digest
            from hashlib import sha512  # noqa: PLC0415

            second = sha512(salt)
        size = 0
        for piece in (body,) if isinstance(body, bytes) else pieces(body):
            framed.update(piece)
            if second is not None:
                second.update(piece)
            if isinstance(body, StoredBody):
                plain.update(piece)
                size += len(piece)
        if isinstance(body, StoredBody):
            refuse_changed(body, size, plain.digest())
        return f"sha256:{framed.hexdigest()}", None if second is None else second.hexdigest()

    def local(
        self,
        body: bytes,
        *,
        role: str,
        description: str,
        media_type: str = "application/octet-stream",
        artifact_id: str | None = None,
    ) -> str:
        """Add an artifact supplied by the operator; return its id."""
        return self._add(
            artifact_id or self.fresh_id(_stem(role)),
            body,
            role=role,
            media_type=media_type,
            salted=role in SALTED,
            origin={"local": description},
            stored=True,
        )

    def derive(
        self,
        source: str,
        *,
        role: str,
        steps: Sequence[str],
        media_type: str = "application/octet-stream",
        artifact_id: str | None = None,
    ) -> str:
        """Add an artifact that follows from another's body by ``steps``; return its id.

        Raises UsageError naming source and steps where they do not give bytes, and ValueError for
        a source that is salted (rule D1) or too large to be held: bugs of the caller.
        """
        if self._framing[source] != "raw":
            message = f"{source} is salted: nothing may be derived from it"
            raise ValueError(message)
        try:
            if self._reading is None or self._reading[0] != source:
                self._reading = source, Body(self.body(source))
            body = self._reading[1].derive(tuple(steps))
        except FormatError as error:
            message = f"{source}: steps {list(steps)} do not lead to bytes: {error.what}"
            raise UsageError(message) from error
        return self._add(
            artifact_id or self.fresh_id(_stem(role)),
            body,
            role=role,
            media_type=media_type,
            salted=False,
            origin={"artifact": source, "steps": list(steps)},
            stored=False,
        )

    def _headers(
        self, headers: Sequence[Header] | None, *, side: str, exchange: str, purpose: str
    ) -> str | None:
        if headers is None:
            return None
        return self._add(
            self.fresh_id("req-headers" if side == "request" else "res-headers"),
            headers_document(headers),
            role=f"http.{side}.headers",
            media_type="application/vnd.teebundle.headers.v1+json",
            salted=purpose not in PUBLIC_PURPOSES,
            origin={"exchange": exchange},
            stored=True,
        )

    def _body(
        self, body: AnyBody | None, *, role: str, exchange: str, media_type: str
    ) -> str | None:
        if not body:
            return None
        return self._add(
            self.fresh_id(_stem(role)),
            body,
            role=role,
            media_type=media_type,
            salted=role in SALTED,
            origin={"exchange": exchange},
            stored=True,
        )

    def _tls(self, tls: RecordedTls, exchange: str) -> dict[str, object]:
        chain = [
            self._add(
                self.fresh_id("tls-certificate"),
                der,
                role="tls.certificate",
                media_type="application/pkix-cert",
                salted=False,
                origin={"exchange": exchange},
                stored=True,
            )
            for der in tls.chain
        ]
        return {
            "version": tls.version,
            "cipher": tls.cipher,
            "alpn": tls.alpn,
            "chain": chain,
            "spki": None if tls.spki is None else "sha256:" + sha256(tls.spki).hexdigest(),
            "webpki": tls.webpki,
        }

    def exchange(
        self,
        recorded: RecordedExchange,
        *,
        body_role: str,
        request_role: str = "provider.evidence",
        body_media_type: str = "application/octet-stream",
        request_media_type: str = "application/json",
    ) -> ExchangeIds:
        """Add one exchange and the artifacts of its bodies, headers and certificates."""
        exchange = self.fresh_id("ex")
        purpose = recorded.purpose
        request_headers = self._headers(
            recorded.request_headers, side="request", exchange=exchange, purpose=purpose
        )
        request_body = self._body(
            recorded.request_body,
            role=request_role,
            exchange=exchange,
            media_type=request_media_type,
        )
        response_headers = self._headers(
            recorded.response_headers, side="response", exchange=exchange, purpose=purpose
        )
        response_body = self._body(
            response_of(recorded), role=body_role, exchange=exchange, media_type=body_media_type
        )
        response: dict[str, object] | None = None
        if recorded.status is not None:
            response = {
                "status": recorded.status,
                "httpVersion": recorded.http_version,
                "headers": response_headers,
                "body": response_body,
                "complete": recorded.complete,
            }
        first = recorded.first_byte_at
        self._exchanges.append(
            {
                "id": exchange,
                "session": recorded.session,
                "connection": recorded.connection,
                "seq": len(self._exchanges) + 1,
                "purpose": purpose,
                "startedAt": instant(recorded.started_at),
                "firstByteAt": None if first is None else instant(first),
                "endedAt": instant(recorded.ended_at),
                "request": {
                    "method": recorded.method,
                    "url": recorded.url,
                    "headers": request_headers,
                    "body": request_body,
                },
                "response": response,
                "tls": None if recorded.tls is None else self._tls(recorded.tls, exchange),
            }
        )
        return ExchangeIds(
            exchange=exchange,
            request_headers=request_headers,
            request_body=request_body,
            response_headers=response_headers,
            response_body=response_body,
        )

    def nonce(
        self,
        value: bytes,
        *,
        derivation: Literal["teebundle-v1", "foreign"] = "foreign",
        random: bytes | None = None,
        beacon: str | None = None,
        sent_as: str = "hex64",
    ) -> str:
        """Add a session nonce; return its id."""
        nonce = self.fresh_id("nonce")
        self._nonces.append(
            {
                "id": nonce,
                "value": value.hex(),
                "derivation": derivation,
                "random": None if random is None else random.hex(),
                "beacon": beacon,
                "sentAs": sent_as,
            }
        )
        return nonce

    def bind(self, binding_type: str, **members: str | Sequence[str] | None) -> None:
        """Declare which pair a check is to test. ``with_`` stands for the member ``with``."""
        entry: dict[str, object] = {"type": binding_type}
        for name, value in members.items():
            plain = value if value is None or isinstance(value, str) else list(value)
            entry[name.rstrip("_")] = plain
        self._bindings.append(entry)

    def observe(self, check: str, status: Literal["pass", "fail", "not-run"], note: str) -> None:
        """Add what the capturer saw: displayed, never an input to a verdict."""
        self._observations.append({"check": check, "status": status, "note": note})

    def extend(self, urn: str, value: object) -> None:
        """Add an extension: listed in reports, never an input to a check."""
        self._extensions[urn] = value

    def subject(self) -> list[dict[str, object]]:
        """Return the in-toto subject: one entry for each artifact, in order."""
        return [
            {"name": entry["id"], "digest": {"sha256": str(entry["digest"])[7:]}}
            for entry in self._artifacts
        ]

    def records(self) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
        """Return the artifacts and exchanges collected so far, as they stand in a predicate."""
        return list(self._artifacts), list(self._exchanges)

    def blobs(self) -> dict[str, bytes]:
        """Return the stored bytes collected so far: digest to framed bytes, without large ones."""
        return dict(self._blobs)

    def freeze(self, capture: CaptureClaims) -> Frozen:
        """Return the payload, serialised exactly once, and the blobs."""
        subject = self.subject()
        statement = {
            "_type": STATEMENT_TYPE,
            "subject": subject,
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "schema": "1.0",
                "id": self.statement_id,
                "profile": self.profile,
                "capture": capture.members(),
                "session": {"signer": self.signer, "nonces": self._nonces},
                "artifacts": self._artifacts,
                "exchanges": self._exchanges,
                "bindings": self._bindings,
                "observations": self._observations,
                "extensions": self._extensions,
                "critical": [],
            },
        }
        payload = json.dumps(statement, indent=1, ensure_ascii=False).encode()
        return Frozen(
            payload=payload,
            blobs=dict(self._blobs),
            salted=frozenset(self._salted),
            external=dict(self._external),
        )


_STEMS: Final[Mapping[str, str]] = {
    "provider.attestation": "att",
    "provider.signing-key": "key",
    "provider.signature": "sig",
    "provider.evidence": "doc",
    "http.request.body": "req",
    "http.response.body": "res",
    "session.marker": "mark",
    "tdx.quote": "quote",
    "sgx.quote": "quote",
    "dstack.event-log": "event-log",
    "dstack.app-compose": "compose",
    "nvidia.gpu-evidence": "gpu",
    "nvidia.gpu-chain": "gpu-chain",
    "nvidia.switch-evidence": "switch",
    "nvidia.switch-chain": "switch-chain",
}


def _stem(role: str) -> str:
    return _STEMS.get(role) or role.replace(".", "-")
