"""Nonces and the request marker: both commit to the key that sealed the bundle (rows 13 and 84).

Fresh evidence whose signed nonce equals one of these was made for this signer, after the beacon it
commits to; somebody else's evidence under another key fails here.

Source: bundle-format.md 8; verification.md 3 (rows 13 and 84), 3.2.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from verify.checks.inputs import Inputs
from verify.engine.check import Facts
from verify.engine.errors import FormatError, Refused
from verify.engine.outcome import Affirmed, Outcome, Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.wire.limits import EVIDENCE_DOCUMENT
from verify.wire.model import ArtifactUnavailable, Binding, Evidence, KeyId, LargeBody, Nonce
from verify.wire.strict_json import parse_evidence, pointer_get

_NONCE: Final = b"teebundle/nonce/v1\x00"
_MARKER: Final = b"teebundle/marker/v1\x00"
_SHORT: Final = 16
_FULL: Final = 32
_STATEMENT: Final = "statement"


@value
class VerifiedNonce:
    """A nonce that is what it says. ``value``: as it should appear in evidence.

    ``commitment``: the 32 bytes that commit to the signer; for a foreign nonce its value, which
    commits to nobody. ``strength``: how many bytes of it cannot be guessed.
    """

    id: str
    value: bytes
    commitment: bytes
    foreign: bool
    beacon: str | None
    strength: int


@value
class VerifiedNonces:
    """Fact of `session.nonces`: every nonce of the Statement, in order; at least one."""

    nonces: tuple[VerifiedNonce, ...]

    def get(self, nonce_id: str) -> VerifiedNonce:
        """Return the nonce of that id. Raises KeyError."""
        return {nonce.id: nonce for nonce in self.nonces}[nonce_id]


def nonce_commitment(signer: KeyId, beacon: bytes | None, random: bytes) -> bytes:
    """Return N: 32 bytes that commit to signer, beacon body and random (bundle-format.md 8.1)."""
    key = bytes.fromhex(signer.removeprefix("sha256:"))
    start = bytes(_FULL) if beacon is None else sha256(beacon).digest()
    return sha256(_NONCE + key + start + random).digest()


def marker_text(signer: KeyId, commitment: bytes, secret: bytes) -> str:
    """Return the text that a request carries at the marker's place (bundle-format.md 8.2)."""
    key = bytes.fromhex(signer.removeprefix("sha256:"))
    return f"cap-{sha256(_MARKER + key + commitment + secret).digest()[:_SHORT].hex()}"


def uuid_text(commitment: bytes) -> str:
    """Return the first 16 bytes as a version-8 UUID, 36 characters (RFC 9562 5.8)."""
    raw = bytearray(commitment[:_SHORT])
    raw[6] = raw[6] & 0x0F | 0x80
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def strength_of(nonce: Nonce) -> int:
    """Return how many bytes of a nonce cannot be guessed: padding and text forms add none."""
    if nonce.sent_as in ("hex32", "uuid"):
        return _SHORT
    return len(nonce.value)


def _follows(nonce: Nonce, commitment: bytes) -> bool:
    """Whether the value is the commitment in the form it was sent in."""
    if nonce.sent_as == "uuid":
        return nonce.value == uuid_text(commitment).encode()
    if nonce.sent_as == "hex32":
        # A provider that wants more bytes pads with zeros; nothing else may follow.
        head, rest = nonce.value[:_SHORT], nonce.value[_SHORT:]
        return head == commitment[:_SHORT] and not any(rest) and len(rest) <= _FULL
    return nonce.value == commitment


SESSION_NONCES_REASONS: Final = frozenset(
    {
        Reason.NONCE_DERIVATION_MISMATCH,
        Reason.NONCE_FOREIGN,
        Reason.NONCE_TOO_SHORT,
        Reason.NONCE_NONE,
        Reason.NONCE_FOREIGN_ACCEPTED,
        Reason.ARTIFACT_WITHHELD,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
    }
)


def _own_commitment(nonce: Nonce, evidence: Evidence) -> bytes:
    """Return the commitment of a nonce of ours. Raises `Refused`, `ArtifactUnavailable`."""
    beacon = None if nonce.beacon is None else evidence.body(nonce.beacon)
    commitment = nonce_commitment(evidence.statement.signer, beacon, nonce.random or b"")
    if not _follows(nonce, commitment):
        raise Refused(
            Reason.NONCE_DERIVATION_MISMATCH,
            f"{nonce.id} does not follow from signer, beacon and random",
            path=f"/predicate/session/nonces/{nonce.index}/value",
            got=nonce.value.hex(),
            expected=f"{commitment.hex()} as {nonce.sent_as}",
        )
    return commitment


def session_nonces(inputs: Inputs, facts: Facts) -> Outcome[VerifiedNonces]:
    """Each nonce derived from signer, beacon, random (or permitted as foreign). 8.1."""
    tally = Tally()
    evidence = facts.get("blobs.digests", Evidence)
    rules = inputs.policy.session
    found: list[VerifiedNonce] = []
    for nonce in evidence.statement.nonces:
        pointer = Pointer(document=_STATEMENT, path=f"/predicate/session/nonces/{nonce.index}")
        foreign = nonce.derivation == "foreign"
        commitment = nonce.value
        if foreign and rules.allow_foreign_nonce:
            tally.note(
                Reason.NONCE_FOREIGN_ACCEPTED,
                f"{nonce.id} commits to nobody: the evidence may be older than the capture",
                pointer,
            )
        elif foreign:
            tally.find(
                Reason.NONCE_FOREIGN,
                pointer,
                what=f"{nonce.id} is not of the signer's making",
                got="foreign",
                expected="teebundle-v1",
            )
        else:
            try:
                commitment = _own_commitment(nonce, evidence)
            except Refused as refused:
                tally.refuse(refused, _STATEMENT)
            except ArtifactUnavailable as absent:
                tally.find(absent.reason, absent.pointer, what=absent.artifact.id)
        strength = strength_of(nonce)
        if strength < rules.min_nonce_bytes:
            tally.find(
                Reason.NONCE_TOO_SHORT,
                pointer,
                what=f"{nonce.id} is shorter than wanted",
                got=f"{strength} bytes",
                expected=f"{rules.min_nonce_bytes} bytes",
            )
        found.append(
            VerifiedNonce(
                id=nonce.id,
                value=nonce.value,
                commitment=commitment,
                foreign=foreign,
                beacon=nonce.beacon,
                strength=strength,
            )
        )
    if not found:
        tally.find(
            Reason.NONCE_NONE,
            Pointer(document=_STATEMENT, path="/predicate/session/nonces"),
            what="the Statement lists no nonce",
            expected="at least one nonce",
        )
    return tally.outcome(VerifiedNonces(nonces=tuple(found)))


MARKER_BINDING_REASONS: Final = frozenset(
    {
        Reason.MARKER_MISMATCH,
        Reason.MARKER_MISSING,
        Reason.BINDING_UNDECLARED,
        Reason.ARTIFACT_WITHHELD,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
    }
)


def _carried(body: bytes, pointer: str) -> str | None:
    """Return the text that a request body carries at a pointer, or None."""
    try:
        found = pointer_get(parse_evidence(body), pointer)
    except FormatError:
        return None
    return found if isinstance(found, str) else None


def _judge_marker(
    binding: Binding, evidence: Evidence, nonces: VerifiedNonces, tally: Tally
) -> None:
    secret = evidence.body(binding.one("marker"))
    request = binding.one("request")
    body = evidence.chat_body(request)
    place = binding.one("pointer")
    nonce = nonces.get(binding.one("nonce"))
    if len(secret) != _FULL:
        tally.find(
            Reason.MARKER_MISMATCH,
            Pointer(document=evidence.document(binding.one("marker"))),
            what="the secret behind a marker has 32 bytes",
            got=f"{len(secret)} bytes",
            expected="32 bytes",
        )
        return
    size = body.size if isinstance(body, LargeBody) else len(body)
    if isinstance(body, LargeBody) or size > EVIDENCE_DOCUMENT:
        tally.find(
            Reason.MARKER_MISSING,
            Pointer(document=evidence.document(request)),
            what="the request is too large to be read for its marker",
            got=f"{size} bytes",
            expected=f"at most {EVIDENCE_DOCUMENT} bytes",
        )
        return
    found = _carried(body, place)
    wanted = marker_text(evidence.statement.signer, nonce.commitment, secret)
    if found != wanted:
        tally.find(
            Reason.MARKER_MISMATCH,
            Pointer(document=evidence.document(request), path=place),
            what="the request does not carry the marker of signer, nonce and secret",
            got=found or "no text there",
            expected=wanted,
        )
        return
    tally.match(request)


def marker_binding(_inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Request carries the marker derived from signer, nonce, secret. bundle-format.md 8.2."""
    tally = Tally()
    evidence = facts.get("blobs.digests", Evidence)
    nonces = facts.get("session.nonces", VerifiedNonces)
    bindings = evidence.statement.bindings_of("marker-in-request")
    markers = evidence.statement.of_role("session.marker")
    if not bindings and not markers:
        tally.find(
            Reason.MARKER_MISSING,
            Pointer(document=_STATEMENT, path="/predicate/bindings"),
            what="no request carries a marker",
            expected="a marker-in-request binding",
        )
    bound = {binding.one("marker") for binding in bindings}
    for marker in markers:
        if marker.id not in bound:
            tally.find(
                Reason.BINDING_UNDECLARED,
                Pointer(document=_STATEMENT, path=f"/predicate/artifacts/{marker.index}"),
                what=f"no binding says which request carries {marker.id}",
                got=marker.id,
                expected="a marker-in-request binding",
            )
    for binding in bindings:
        try:
            _judge_marker(binding, evidence, nonces, tally)
        except ArtifactUnavailable as absent:
            tally.find(absent.reason, absent.pointer, what=absent.artifact.id)
    return tally.outcome(Affirmed(items=tuple(binding.one("request") for binding in bindings)))
