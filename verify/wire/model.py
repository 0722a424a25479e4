"""The typed Statement and the evidence reached through it.

Plain frozen values; `verify.wire.statement` builds them from bytes. Names follow bundle-format.md 5
and 6 in snake case. Times are aware UTC datetimes with millisecond precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Literal, NewType

from verify.engine.outcome import Pointer
from verify.engine.reason import Reason
from verify.engine.value import field, value

Digest = NewType("Digest", str)
"""``sha256:`` and 64 lower-case hex digits, over stored (framed) bytes."""
KeyId = NewType("KeyId", str)
"""``sha256:`` and 64 lower-case hex digits, over a SubjectPublicKeyInfo DER."""
BundleId = NewType("BundleId", str)
"""``sha256:`` and 64 lower-case hex digits, over the DSSE pre-authentication encoding."""


@value
class FromExchange:
    """Origin: the bytes are a body, header document or certificate of that exchange."""

    exchange: str


@value
class FromArtifact:
    """Origin: the bytes follow from another artifact's body by ``steps``, left to right."""

    artifact: str
    steps: tuple[str, ...]


@value
class FromOperator:
    """Origin: supplied by the operator."""

    description: str


Origin = FromExchange | FromArtifact | FromOperator


@value
class Artifact:
    """One captured byte string. ``digest``, ``size``, ``sha512`` are over the framed bytes."""

    id: str
    role: str
    media_type: str
    digest: Digest
    size: int
    framing: Literal["raw", "salt32"]
    origin: Origin
    sha512: str | None = None
    index: int = 0
    """Position in ``predicate.artifacts``, for pointers into the Statement."""


@value
class Nonce:
    """A session nonce; ``value``: the decoded bytes as they should appear in evidence."""

    id: str
    value: bytes
    derivation: Literal["teebundle-v1", "foreign"]
    random: bytes | None
    beacon: str | None
    sent_as: Literal["hex64", "hex32", "uuid", "base64", "none"]
    index: int = 0


@value
class Request:
    """``headers`` and ``body`` are artifact ids or None."""

    method: str
    url: str
    headers: str | None
    body: str | None


@value
class Response:
    """``complete`` is False where HTTP framing or the stream broke off."""

    status: int
    http_version: str
    headers: str | None
    body: str | None
    complete: bool


@value
class Tls:
    """The capturer's observation of the connection; ``spki`` is the digest of the leaf's SPKI."""

    version: str
    cipher: str
    alpn: str | None
    chain: tuple[str, ...]
    spki: Digest | None
    webpki: bool


@value
class Exchange:
    """One HTTP exchange as recorded."""

    id: str
    session: str
    connection: str | None
    seq: int
    purpose: str
    started_at: datetime
    first_byte_at: datetime | None
    ended_at: datetime
    request: Request
    response: Response | None
    tls: Tls | None
    index: int = 0


@value
class Binding:
    """Which pair to test. ``members`` maps a member name to an id, a tuple of ids or None."""

    type: str
    members: Mapping[str, str | tuple[str, ...] | None]
    index: int = 0

    def one(self, name: str) -> str:
        """Return a single-id member. Raises KeyError where the binding has none of that name."""
        value = self.members[name]
        if not isinstance(value, str):
            raise KeyError(name)
        return value

    def many(self, name: str) -> tuple[str, ...]:
        """Return a list member as a tuple; a single id counts as a list of one, None as empty."""
        value = self.members[name]
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else value


@value
class Observation:
    """What the capturer saw. Displayed, never an input to a verdict."""

    check: str
    status: Literal["pass", "fail", "not-run"]
    note: str


@value
class Clock:
    """The capturer's clock as it describes itself."""

    source: str
    offset_ms: int | None
    max_error_ms: int | None


@value
class Capture:
    """Who says when and how the bytes were captured. Every member is a claim of the signer."""

    mode: Literal["live", "import"]
    complete: bool
    started_at: datetime
    ended_at: datetime
    clock: Clock
    operator: str
    host: str | None
    provider_name: str
    provider_endpoint: str
    tool_name: str
    tool_version: str
    imported_from: str | None
    imported_times: Literal["recorded", "file-date", "assumed"] | None


@value
class Statement:
    """The signed manifest, parsed. The only source of facts about what a bundle holds."""

    schema: str
    id: str
    profile: str
    capture: Capture
    signer: KeyId
    nonces: tuple[Nonce, ...]
    artifacts: tuple[Artifact, ...]
    exchanges: tuple[Exchange, ...]
    bindings: tuple[Binding, ...]
    observations: tuple[Observation, ...]
    extensions: tuple[str, ...]
    critical: tuple[str, ...]
    _by_id: Mapping[str, Artifact] = field(default_factory=dict, repr=False, compare=False)

    def artifact(self, artifact_id: str) -> Artifact:
        """Return the artifact of that id. Raises KeyError."""
        return self._by_id[artifact_id]

    def of_role(self, *roles: str) -> tuple[Artifact, ...]:
        """Return every artifact of one of the roles, in Statement order."""
        return tuple(a for a in self.artifacts if a.role in roles)

    def exchange(self, exchange_id: str) -> Exchange:
        """Return the exchange of that id. Raises KeyError."""
        for exchange in self.exchanges:
            if exchange.id == exchange_id:
                return exchange
        raise KeyError(exchange_id)

    def nonce(self, nonce_id: str) -> Nonce:
        """Return the nonce of that id. Raises KeyError."""
        for nonce in self.nonces:
            if nonce.id == nonce_id:
                return nonce
        raise KeyError(nonce_id)

    def bindings_of(self, binding_type: str) -> tuple[Binding, ...]:
        """Return every binding of one type, in Statement order."""
        return tuple(b for b in self.bindings if b.type == binding_type)

    def exchange_of_body(self, artifact_id: str) -> Exchange | None:
        """Return the exchange whose response or request body is that artifact, or None."""
        for exchange in self.exchanges:
            if exchange.response is not None and exchange.response.body == artifact_id:
                return exchange
            if exchange.request.body == artifact_id:
                return exchange
        return None


class ArtifactState(Enum):
    """Where an artifact's bytes are (bundle-format.md 5.1). Only the first two give bytes."""

    PRESENT = "present"
    DERIVED = "derived"
    EXTERNAL_UNAVAILABLE = "external-unavailable"
    WITHHELD = "withheld"
    MISSING = "missing"


_ABSENCE = {
    ArtifactState.EXTERNAL_UNAVAILABLE: Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
    ArtifactState.WITHHELD: Reason.ARTIFACT_WITHHELD,
    ArtifactState.MISSING: Reason.ARTIFACT_MISSING,
}


class ArtifactUnavailable(Exception):  # noqa: N818  (a state, not a fault)
    """The bytes of an artifact are not there; ``reason`` is the absent code a check reports."""

    def __init__(self, artifact: Artifact, state: ArtifactState) -> None:
        super().__init__(f"{artifact.id} ({artifact.role}): {state.value}")
        self.artifact = artifact
        self.state = state
        self.reason = _ABSENCE[state]
        self.pointer = Pointer(document="statement", path=f"/predicate/artifacts/{artifact.index}")


@value
class Reply:
    """What a chat response says about itself; nothing of it is proven.

    ``stream``: server-sent events. ``done``: a line ``data: [DONE]`` was received. ``chat_id``,
    ``model``: of the JSON object, or of the first data line that is one. ``error``: the offset of a
    data line, or 0, where an error object stands instead of an answer; None where there is none.
    """

    stream: bool
    done: bool
    chat_id: str | None
    model: str | None
    error: int | None


@value
class LargeBody:
    """What stands for a chat body too large to be held: all that was read of it while hashing it.

    ``size``, ``sha256`` (32 bytes): of the body without its salt. ``events``: how many lines
    ``event: signature`` it has; ``event``: the line behind the first. ``forms``: SHA-256 of the
    body in other forms than the wire's, by name; None where the body has no such form. A form that
    is not listed could not be computed.
    """

    size: int
    sha256: bytes
    reply: Reply
    events: int
    event: bytes = field(repr=False)
    forms: Mapping[str, bytes | None]


@value
class Outside:
    """An external blob after the one reading of it. ``sha256``, ``sha512``: hex, of stored bytes.

    ``data``: the stored bytes that were hashed, None where they are too large to be held. Then
    ``bodies`` has what was read of the body in the framings in which it is a chat's.
    """

    size: int
    sha256: str
    sha512: str | None
    data: bytes | None = field(repr=False)
    bodies: Mapping[str, LargeBody] = field(default_factory=dict)


@value
class Evidence:
    """Fact of `blobs.derived`: the Statement and the bytes reached from it by digest.

    ``bodies`` maps an artifact id to its body (salt removed). ``states`` has every artifact.
    ``document_prefix`` is empty for the bundle's own Statement, ``attachment:<n>/`` for another's.
    ``large``: artifacts whose bytes are there and were hashed, but are too large to be held, with
    what was read of them where they are bodies of chats. ``outside``: every external blob.
    """

    statement: Statement
    bodies: Mapping[str, bytes]
    states: Mapping[str, ArtifactState]
    document_prefix: str = ""
    large: Mapping[str, LargeBody | None] = field(default_factory=dict)
    outside: Mapping[Digest, Outside] = field(default_factory=dict, repr=False)

    def body(self, artifact_id: str) -> bytes:
        """Return the artifact's body. Raises `ArtifactUnavailable`; KeyError for an unknown id.

        A body too large to be held is unavailable to all who need its bytes at once.
        """
        found = self.bodies.get(artifact_id)
        if found is None:
            artifact = self.statement.artifact(artifact_id)
            state = self.states[artifact_id]
            if artifact_id in self.large:
                state = ArtifactState.EXTERNAL_UNAVAILABLE
            raise ArtifactUnavailable(artifact, state)
        return found

    def chat_body(self, artifact_id: str) -> bytes | LargeBody:
        """Return a chat's body, or what stands for a large one. Raises as `body` does."""
        return self.large.get(artifact_id) or self.body(artifact_id)

    def known_body(self, artifact_id: str | None) -> bytes | LargeBody | None:
        """Return a chat's body as far as it is there; None for no id and for absent bytes."""
        wanted = artifact_id or ""
        return self.large.get(wanted) or self.bodies.get(wanted)

    def has_bytes(self, artifact_id: str) -> bool:
        """Whether the bytes of an artifact are there, held or not."""
        return artifact_id in self.bodies or artifact_id in self.large

    def document(self, artifact_id: str) -> str:
        """Return the pointer document of an artifact, e.g. ``artifact:quote-1``."""
        return f"{self.document_prefix}artifact:{artifact_id}"
