"""Response signatures: the look-up answer, the same members in headers or in a stream, the judging.

Source: providers.md 2.3 (encodings), 2.5 (algorithms), 2.6 (text), 2.8 (error bodies), 3.7, 3.8,
4, 5.1, 5.4 (carriers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from verify.crypto import ed25519
from verify.crypto.secp256k1 import (
    Address,
    RecoveryFailed,
    address_of,
    checksummed,
    eip191_digest,
    parse_address,
    parse_signature,
    recover,
)
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.families.identity import Algorithm
from verify.families.signed_text import SignedText, parse_signed_text
from verify.wire.strict_json import Json, JsonError, parse_evidence

Kind = Literal["provider_tee", "gateway"]

MAX_ANSWER: Final = 64 * 1024
_ERROR_MEMBERS: Final = frozenset(("error", "detail", "error_code", "message"))
_HEADER_NAMES: Final = ("text", "signature", "signing_address", "signing_algo")
_DIGITS: Final = frozenset("0123456789abcdefABCDEF")


@value
class Identity:
    """Who signs: an address of 20 bytes (ecdsa) or a key of 32 bytes (ed25519)."""

    algorithm: Algorithm
    value: bytes

    def __str__(self) -> str:
        if self.algorithm == "ecdsa":
            return checksummed(Address(self.value))
        return self.value.hex()


@value
class SignatureAnswer:
    """What a provider states about the signature of one chat. Nothing in it is verified.

    ``algorithm`` as stated, or inferred from the spelling of the address where none is stated.
    ``kind``: one of the two known values of ``signature_kind``, else None.
    """

    text: str
    signature: str
    signing_address: str
    algorithm: str
    kind: Kind | None = None


@value
class VerifiedSignature:
    """A signature that verifies: ``signer`` signed ``text``. Nothing is said about the signer."""

    signer: Identity
    text: SignedText
    kind: Kind | None
    checksum_wrong: bool = False


def parse_identity(algorithm: str, text: str) -> Identity:
    """Read a signing address. Source: providers.md 2.3.

    Raises `FormatError`: ``signature.algorithm_unsupported``, ``signature.malformed``.
    """
    if algorithm == "ecdsa":
        try:
            return Identity(algorithm="ecdsa", value=parse_address(text).value)
        except FormatError as error:
            raise FormatError(
                error.offset, error.what, reason=Reason.SIGNATURE_MALFORMED
            ) from error
    if algorithm == "ed25519":
        if len(text) != 64 or not _DIGITS.issuperset(text):
            raise FormatError(
                0, "an ed25519 identity is 64 hex digits", reason=Reason.SIGNATURE_MALFORMED
            )
        return Identity(algorithm="ed25519", value=bytes.fromhex(text))
    raise FormatError(0, f"algorithm {algorithm!r}", reason=Reason.SIGNATURE_ALGORITHM_UNSUPPORTED)


def _inferred(address: str) -> str:
    """Name the algorithm whose identities are spelled like ``address``."""
    return "ecdsa" if address.startswith("0x") else "ed25519"


def _text(members: Mapping[str, Json], name: str) -> str:
    value = members.get(name)
    if value is None:
        raise FormatError(0, f"no {name}", reason=Reason.SHAPE_FIELD_MISSING, path=f"/{name}")
    if not isinstance(value, str):
        raise FormatError(
            0, f"{name} is not a string", reason=Reason.SHAPE_FIELD_TYPE, path=f"/{name}"
        )
    return value


def _kind(value: Json) -> Kind | None:
    if value == "provider_tee":
        return "provider_tee"
    if value == "gateway":
        return "gateway"
    return None


def _answer(members: Mapping[str, Json]) -> SignatureAnswer:
    address = _text(members, "signing_address")
    stated = members.get("signing_algo")
    return SignatureAnswer(
        text=_text(members, "text"),
        signature=_text(members, "signature"),
        signing_address=address,
        # an older client recipe shows an answer without this member
        algorithm=_inferred(address) if stated is None else _text(members, "signing_algo"),
        kind=_kind(members.get("signature_kind")),
    )


def parse_answer(body: bytes) -> SignatureAnswer:
    """Read a look-up answer. Unknown members are ignored.

    Raises `FormatError` (``exchange.over_limit``, ``exchange.body_not_json``,
    ``exchange.json_duplicate_member``, ``shape.*``); `Refused` with ``signature.unavailable`` for
    an error object or a 200 that says there is none.
    """
    if len(body) > MAX_ANSWER:
        raise FormatError(
            MAX_ANSWER, f"{len(body)} bytes of answer", reason=Reason.EXCHANGE_OVER_LIMIT
        )
    try:
        value = parse_evidence(body)
    except JsonError as error:
        reason = (
            Reason.EXCHANGE_JSON_DUPLICATE_MEMBER
            if error.code == "input.duplicate_member"
            else Reason.EXCHANGE_BODY_NOT_JSON
        )
        raise FormatError(error.offset, error.what, reason=reason) from error
    if not isinstance(value, Mapping):
        raise FormatError(0, "not an object", reason=Reason.SHAPE_FIELD_TYPE, path="")
    if "signature" not in value and _ERROR_MEMBERS.intersection(value):
        raise Refused(
            Reason.SIGNATURE_UNAVAILABLE,
            "the provider says there is no signature",
            got=", ".join(sorted(_ERROR_MEMBERS.intersection(value))),
            expected="text, signature, signing_address",
        )
    return _answer(value)


def parse_headers(pairs: Sequence[tuple[str, str | None]]) -> SignatureAnswer:
    """Read the signature from response headers; a value is None where it was redacted.

    Names are compared without case; each must occur once. Raises `FormatError`
    (``signature.malformed``), `Refused` (``signature.unavailable``) where none of them is there.
    Source: providers.md 5.1, 11.3.
    """
    members: dict[str, Json] = {}
    for name in _HEADER_NAMES:
        values = [value for found, value in pairs if found.lower() == name]
        if len(values) > 1 or None in values:
            raise FormatError(
                0, f"header {name} is not there once, in clear", reason=Reason.SIGNATURE_MALFORMED
            )
        if values:
            members[name] = values[0]
    if not members:
        raise Refused(
            Reason.SIGNATURE_UNAVAILABLE,
            "no signature header",
            expected=", ".join(_HEADER_NAMES),
        )
    for name in _HEADER_NAMES:
        if name not in members:
            raise FormatError(0, f"no header {name}", reason=Reason.SIGNATURE_MALFORMED)
    return _answer(members)


def parse_stream_event(body: bytes) -> SignatureAnswer:
    """Read the one ``event: signature`` of a stream. Source: providers.md 5.4.

    Raises `FormatError` (``signature.malformed``, ``shape.*``), `Refused`
    (``signature.unavailable``).
    """
    lines = body.split(b"\n")
    places = [number for number, line in enumerate(lines) if line == b"event: signature"]
    behind = lines[places[0] + 1] if places and places[0] + 1 < len(lines) else b""
    return parse_found_event(len(places), behind)


def parse_found_event(events: int, data: bytes) -> SignatureAnswer:
    """Read the line behind the first of ``events`` signature events; see `parse_stream_event`."""
    if not events:
        raise Refused(
            Reason.SIGNATURE_UNAVAILABLE, "no signature event", expected="event: signature"
        )
    if events > 1:
        raise FormatError(0, "more than one signature event", reason=Reason.SIGNATURE_MALFORMED)
    if not data.startswith(b"data: "):
        raise FormatError(
            0, "no data line behind event: signature", reason=Reason.SIGNATURE_MALFORMED
        )
    return parse_answer(data[6:])


def _judge_ecdsa(answer: SignatureAnswer, signer: Identity) -> None:
    try:
        signature = parse_signature(answer.signature)
    except FormatError as error:
        raise Refused(
            Reason.SIGNATURE_MALFORMED, error.what, got=answer.signature, path="/signature"
        ) from error
    try:
        key = recover(signature, eip191_digest(answer.text.encode()))
    except RecoveryFailed as error:
        raise Refused(
            Reason.SIGNATURE_RECOVERY_FAILED,
            str(error),
            got=answer.signature,
            expected=str(signer),
            path="/signature",
        ) from error
    found = address_of(key)
    if found != signer.value:
        raise Refused(
            Reason.SIGNATURE_ADDRESS_MISMATCH,
            "the key that made this signature has another address",
            got=checksummed(found),
            expected=str(signer),
            path="/signature",
        )


def _judge_ed25519(answer: SignatureAnswer, signer: Identity) -> None:
    digits = answer.signature.removeprefix("0x")
    if len(digits) != 128 or not _DIGITS.issuperset(digits):
        raise Refused(
            Reason.SIGNATURE_MALFORMED,
            "an ed25519 signature is 128 hex digits",
            got=answer.signature,
            path="/signature",
        )
    if not ed25519.signed(signer.value, bytes.fromhex(digits), answer.text.encode()):
        raise Refused(
            Reason.SIGNATURE_INVALID,
            "the stated key did not make this signature",
            got=answer.signature,
            expected=str(signer),
            path="/signature",
        )


def _stated(answer: SignatureAnswer) -> tuple[Identity, SignedText]:
    path = "/signing_address"
    try:
        signer = parse_identity(answer.algorithm, answer.signing_address)
        path = "/text"
        return signer, parse_signed_text(answer.text)
    except FormatError as error:
        reason = error.reason or Reason.SIGNATURE_MALFORMED
        if reason is Reason.SIGNATURE_ALGORITHM_UNSUPPORTED:
            path = "/signing_algo"
        got = answer.text if path == "/text" else answer.signing_address
        raise Refused(reason, error.what, got=got, path=path) from error


def verify_signature(answer: SignatureAnswer) -> VerifiedSignature:
    """Return what was signed and by whom, if the stated signer signed the stated text.

    Raises `Refused`: ``signature.algorithm_unsupported``, ``.malformed``, ``.text_malformed``,
    ``.text_form_unknown``, ``.recovery_failed``, ``.address_mismatch``, ``.invalid``.
    """
    signer, text = _stated(answer)
    checksum_wrong = False
    if signer.algorithm == "ecdsa":
        _judge_ecdsa(answer, signer)
        checksum_wrong = parse_address(answer.signing_address).checksum_wrong
    else:
        _judge_ed25519(answer, signer)
    return VerifiedSignature(
        signer=signer, text=text, kind=answer.kind, checksum_wrong=checksum_wrong
    )


def judge_kind(signature: VerifiedSignature) -> None:
    """Demand three parts of ``provider_tee`` and two of ``gateway``. An absent kind says nothing.

    Raises `Refused` (``signature.kind_contradicts_text``). Source: providers.md 2.6.
    """
    if signature.kind is None:
        return
    parts = 2 if signature.text.model is None else 3
    wanted = 3 if signature.kind == "provider_tee" else 2
    if parts != wanted:
        raise Refused(
            Reason.SIGNATURE_KIND_CONTRADICTS_TEXT,
            f"signature_kind {signature.kind} with a text of {parts} parts",
            got=str(parts),
            expected=str(wanted),
            path="/signature_kind",
        )
