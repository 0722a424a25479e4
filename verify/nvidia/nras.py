"""Recorded answers of the vendor's remote attestation service, verified again without a network.

Three layers, asked separately: are the tokens genuine (fixed ES384, key by id in the recorded key
set, key certificate of a pinned intermediate, at the token's own time); do they say success (the
overall token and every device token); are they about these devices. Claims are the service's
opinion; those this version does not know are kept as they are.

Source: nvidia.md 10, 11, 17, 18.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from verify.crypto.cache import Bounded
from verify.crypto.ecdsa import Curve, Signed, key_from_point, signed_raw_by
from verify.crypto.x509 import Certificate, load_certificate
from verify.engine.errors import FormatError, Refused
from verify.engine.later import later
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.nvidia.certificates import MAX_CERTIFICATE, DeviceChain, issues
from verify.nvidia.encoding import (
    base64_bytes,
    base64url_bytes,
    json_list,
    json_object,
    json_text,
    json_value,
)
from verify.nvidia.judging import refusals
from verify.nvidia.payload import MAX_DEVICES, Payload
from verify.nvidia.spdm import Report
from verify.wire.strict_json import Json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
else:
    padding = later("cryptography.hazmat.primitives.asymmetric.padding")
    rsa = later("cryptography.hazmat.primitives.asymmetric.rsa")

MAX_ANSWER: Final = 1024 * 1024
MAX_KEY_SET: Final = 1024 * 1024
MAX_KEYS: Final = 256
MAX_TOKEN: Final = 64 * 1024
ISSUER: Final = "https://nras.attestation.nvidia.com"
SUBJECT: Final = "NVIDIA-PLATFORM-ATTESTATION"
VERSIONS: Final = frozenset({"2.0", "3.0"})
MAX_LIFE_S: Final = 86_400
MAX_RECEIPT_DISTANCE_S: Final = 600

_OID_RSA_SHA256: Final = "1.2.840.113549.1.1.11"
_RSA_BITS: Final = 2048
_NAME: Final = re.compile(r"(GPU|SWITCH)-(0|[1-9][0-9]{0,2})")
_HEX64: Final = re.compile(r"[0-9A-Fa-f]{64}")
_STEERING: Final = frozenset({"crit", "jwk", "jku", "x5u", "x5c", "b64", "zip"})
_ERROR: Final = "x-nvidia-error-details"
_WARNING: Final = "x-nvidia-attestation-warning"
_OVERALL: Final = "x-nvidia-overall-att-result"

_COMMON_TEXT: Final = ("eat_nonce", "ueid", "hwmodel", "measres")


def _prefixed(prefix: str, names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{name}" for name in names.split())


@value
class _Table:
    """The claims a success token must have: texts, booleans, certificate objects."""

    texts: tuple[str, ...]
    booleans: tuple[str, ...]
    certificates: tuple[str, ...]


_GPU: Final = "x-nvidia-gpu-"
_SWITCH: Final = "x-nvidia-switch-"
_REPORT: Final = (
    "attestation-report-parsed attestation-report-nonce-match attestation-report-signature-verified"
)
_GPU_BOTH: Final = (
    f"arch-check vbios-index-no-conflict {_REPORT} "
    "driver-rim-fetched driver-rim-schema-validated driver-rim-signature-verified "
    "driver-rim-measurements-available vbios-rim-fetched vbios-rim-schema-validated "
    "vbios-rim-signature-verified vbios-rim-measurements-available"
)
_SWITCH_BOTH: Final = (
    f"arch-check {_REPORT} bios-rim-fetched bios-rim-schema-validated "
    "bios-rim-signature-verified bios-rim-measurements-available"
)
_TABLES: Final[Mapping[tuple[str, str], _Table]] = {
    ("GPU", "2.0"): _Table(
        texts=_prefixed(_GPU, "driver-version vbios-version"),
        booleans=_prefixed(
            _GPU,
            f"{_GPU_BOTH} attestation-report-cert-chain-validated "
            "driver-rim-cert-validated vbios-rim-cert-validated",
        ),
        certificates=(),
    ),
    ("GPU", "3.0"): _Table(
        texts=_prefixed(_GPU, "driver-version vbios-version"),
        booleans=_prefixed(
            _GPU,
            f"{_GPU_BOTH} attestation-report-cert-chain-fwid-match "
            "driver-rim-version-match vbios-rim-version-match",
        ),
        certificates=_prefixed(
            _GPU, "attestation-report-cert-chain driver-rim-cert-chain vbios-rim-cert-chain"
        ),
    ),
    ("SWITCH", "2.0"): _Table(
        texts=_prefixed(_SWITCH, "bios-version"),
        booleans=_prefixed(
            _SWITCH,
            f"{_SWITCH_BOTH} attestation-report-cert-chain-validated bios-rim-cert-validated",
        ),
        certificates=(),
    ),
    ("SWITCH", "3.0"): _Table(
        texts=_prefixed(_SWITCH, "bios-version"),
        booleans=_prefixed(
            _SWITCH,
            f"{_SWITCH_BOTH} attestation-report-cert-chain-fwid-match bios-rim-version-match",
        ),
        certificates=_prefixed(_SWITCH, "attestation-report-cert-chain bios-rim-cert-chain"),
    ),
}


@value
class Token:
    """One compact token, parsed and unverified.

    ``name``: ``GPU-0`` …, empty for the overall token. ``path``: JSON Pointer into the answer body.
    ``claims``: everything the payload says, unknown claims included.
    """

    name: str
    path: str
    compact: str
    kid: str
    signed: bytes
    signature: bytes
    claims: Mapping[str, Json]

    @property
    def kind(self) -> str:
        """``GPU`` or ``SWITCH``; empty for the overall token."""
        return self.name.partition("-")[0]

    @property
    def position(self) -> int:
        """Which entry of the request's evidence list a device token belongs to."""
        return int(self.name.partition("-")[2])


@value
class Answer:
    """An answer body: the overall token and the device tokens by position."""

    overall: Token
    devices: tuple[Token, ...]

    @property
    def tokens(self) -> tuple[Token, ...]:
        """Every token, the overall one first."""
        return (self.overall, *self.devices)

    @property
    def version(self) -> str | None:
        """The claims version that the overall token states, where it is a text."""
        found = self.overall.claims.get("x-nvidia-ver")
        return found if isinstance(found, str) else None

    @property
    def issued_at(self) -> int | None:
        """``iat`` of the overall token, seconds since 1970, where it is a number."""
        return _seconds(self.overall.claims.get("iat"))


@value
class TokenKey:
    """One entry of a recorded key set, as it stands; `resolve` reads and judges it."""

    kid: str
    path: str
    members: Mapping[str, Json]


@value
class KeySet:
    """A recorded key set."""

    keys: tuple[TokenKey, ...]


def _bad_token(path: str, what: str) -> FormatError:
    return FormatError(0, what, reason=Reason.NRAS_JWT_MALFORMED, path=path)


def _bad_answer(path: str, what: str) -> FormatError:
    return FormatError(0, what, reason=Reason.NRAS_ANSWER_MALFORMED, path=path)


def parse_token(compact: str, *, name: str = "", path: str = "") -> Token:
    """Parse a compact token: three base64url parts, a header that names ES384 and a key id.

    Raises FormatError: ``gpu.input.too_large``, ``nras.jwt.malformed``, ``nras.jwt.alg_rejected``.
    Source: nvidia.md 10.4, steps 1 and 7.
    """
    malformed = Reason.NRAS_JWT_MALFORMED
    if len(compact) > MAX_TOKEN:
        raise FormatError(0, "a token too long", reason=Reason.GPU_INPUT_TOO_LARGE, path=path)
    parts = compact.split(".")
    if len(parts) != 3:
        raise _bad_token(path, f"{len(parts)} parts, not 3")
    header_bytes, payload, signature = (base64url_bytes(part, malformed, path) for part in parts)
    header = _inner(header_bytes, path)
    if header.get("alg") != "ES384":
        raise FormatError(
            0, "an algorithm other than ES384", reason=Reason.NRAS_JWT_ALG_REJECTED, path=path
        )
    steering = sorted(_STEERING.intersection(header))
    if steering:
        raise _bad_token(path, f"the header steers its own verification: {steering[0]}")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid or not kid.isprintable():
        raise _bad_token(path, "the header names no key")
    return Token(
        name=name,
        path=path,
        compact=compact,
        kid=kid,
        signed=compact.rpartition(".")[0].encode("ascii"),
        signature=signature,
        claims=_inner(payload, path),
    )


def _inner(data: bytes, path: str) -> Mapping[str, Json]:
    """Parse JSON inside a token; errors point at the token, not into it."""
    try:
        return json_object(
            json_value(data, Reason.NRAS_JWT_MALFORMED), Reason.NRAS_JWT_MALFORMED, path
        )
    except FormatError as error:
        raise _bad_token(path, error.what) from error


def parse_answer(data: bytes) -> Answer:
    """Parse an answer body: ``[["JWT", overall], {"GPU-0": token, …}]``.

    Raises FormatError: ``gpu.input.too_large``, ``nras.answer.malformed``, and as `parse_token`.
    Source: nvidia.md 10.3.
    """
    if len(data) > MAX_ANSWER:
        raise FormatError(
            MAX_ANSWER, f"{len(data)} bytes of answer", reason=Reason.GPU_INPUT_TOO_LARGE
        )
    malformed = Reason.NRAS_ANSWER_MALFORMED
    body = json_list(json_value(data, malformed), malformed, "")
    if len(body) != 2:
        raise _bad_answer("", f"{len(body)} members, not 2")
    first = json_list(body[0], malformed, "/0")
    if len(first) != 2 or first[0] != "JWT":
        raise _bad_answer("/0", "not an overall token")
    named = json_object(body[1], malformed, "/1")
    if not named:
        raise _bad_answer("/1", "no device token")
    if len(named) > MAX_DEVICES:
        raise FormatError(
            0, f"{len(named)} device tokens", reason=Reason.GPU_INPUT_TOO_LARGE, path="/1"
        )
    overall = parse_token(json_text(first[1], malformed, "/0/1"), path="/0/1")
    devices: list[Token] = []
    for name, text in named.items():
        if _NAME.fullmatch(name) is None:
            raise _bad_answer("/1", "a device token without a device name")
        path = f"/1/{name}"
        devices.append(parse_token(json_text(text, malformed, path), name=name, path=path))
    devices.sort(key=lambda token: (token.kind, token.position))
    return Answer(overall=overall, devices=tuple(devices))


def parse_key_set(data: bytes) -> KeySet:
    """Parse a recorded key set. Entries are read when a token names them.

    Raises FormatError: ``gpu.input.too_large``, ``nras.answer.malformed``. Source: nvidia.md 10.4.
    """
    if len(data) > MAX_KEY_SET:
        raise FormatError(
            MAX_KEY_SET, f"{len(data)} bytes of key set", reason=Reason.GPU_INPUT_TOO_LARGE
        )
    malformed = Reason.NRAS_ANSWER_MALFORMED
    body = json_object(json_value(data, malformed), malformed, "")
    listed = json_list(body.get("keys"), malformed, "/keys")
    if len(listed) > MAX_KEYS:
        raise FormatError(0, f"{len(listed)} keys", reason=Reason.GPU_INPUT_TOO_LARGE, path="/keys")
    keys: list[TokenKey] = []
    for index, entry in enumerate(listed):
        path = f"/keys/{index}"
        members = json_object(entry, malformed, path)
        kid = json_text(members.get("kid"), malformed, f"{path}/kid")
        keys.append(TokenKey(kid=kid, path=path, members=members))
    return KeySet(keys=tuple(keys))


# --- are the tokens genuine ----------------------------------------------------------------------


@value
class ResolvedKey:
    """A key set entry read: its point (x ‖ y), its certificate and the certificate's issuer."""

    kid: str
    point: bytes
    leaf: Certificate
    intermediate: Certificate


_RSA_EDGES: Final[Bounded[tuple[bytes, bytes], Signed]] = Bounded(512)


def forget() -> None:
    """Empty the cache of this module (for measurements and for tests of equal results)."""
    _RSA_EDGES.clear()


def find_key(token: Token, keys: KeySet | None) -> TokenKey:
    """Return the one entry with the token's key id.

    Raises Refused: ``nras.key.missing`` (absent: no entry recorded), ``nras.jwt.kid_unknown`` (none
    or several fit). Source: nvidia.md 10.4, step 2.
    """
    if keys is None or not keys.keys:
        raise Refused(Reason.NRAS_KEY_MISSING, "no key of the service was recorded", got=token.kid)
    found = [key for key in keys.keys if key.kid == token.kid]
    if len(found) != 1:
        raise Refused(
            Reason.NRAS_JWT_KID_UNKNOWN,
            f"{len(found)} of {len(keys.keys)} recorded keys have the id the token names",
            got=token.kid,
            path=token.path,
        )
    return found[0]


def _coordinate(key: TokenKey, name: str) -> bytes:
    place = f"{key.path}/{name}"
    try:
        text = json_text(key.members.get(name), Reason.NRAS_KEY_JWK_MISMATCH, place)
        found = base64url_bytes(text, Reason.NRAS_KEY_JWK_MISMATCH, place)
    except FormatError as error:
        raise Refused(Reason.NRAS_KEY_JWK_MISMATCH, f"{name}: {error.what}") from error
    if len(found) != 48:
        raise Refused(Reason.NRAS_KEY_JWK_MISMATCH, f"{name} has {len(found)} bytes, not 48")
    return found


def _certificates(key: TokenKey) -> tuple[Certificate, Certificate]:
    place = f"{key.path}/x5c"
    invalid = Reason.NRAS_KEY_CHAIN_INVALID
    try:
        listed = json_list(key.members.get("x5c"), invalid, place)
        if len(listed) != 2:
            raise Refused(invalid, f"{len(listed)} certificates beside the key, not 2")
        texts = [json_text(one, invalid, place) for one in listed]
        if any(len(text) > MAX_CERTIFICATE * 2 for text in texts):
            raise Refused(invalid, "a certificate beside the key is too long")
        encoded = [base64_bytes(text, invalid, place) for text in texts]
        leaf, intermediate = (load_certificate(one) for one in encoded)
    except FormatError as error:
        raise Refused(invalid, f"certificates beside the key: {error.what}") from error
    return leaf, intermediate


def resolve(key: TokenKey) -> ResolvedKey:
    """Read an entry: P-384 coordinates and the two certificates, whose leaf has that key.

    Raises Refused: ``nras.key.jwk_mismatch``, ``nras.key.chain_invalid``. Source: nvidia.md 10.4,
    step 3.
    """
    members = key.members
    if members.get("kty") != "EC" or members.get("crv") != "P-384":
        raise Refused(Reason.NRAS_KEY_JWK_MISMATCH, "the entry is no P-384 key", got=key.kid)
    point = _coordinate(key, "x") + _coordinate(key, "y")
    leaf, intermediate = _certificates(key)
    stated = key_from_point(Curve.P384, point)
    if stated is None or leaf.key is None or leaf.curve is not Curve.P384 or stated != leaf.key:
        raise Refused(
            Reason.NRAS_KEY_JWK_MISMATCH,
            "the entry's coordinates are not the key of its certificate",
            got=key.kid,
        )
    return ResolvedKey(kid=key.kid, point=point, leaf=leaf, intermediate=intermediate)


def _signed_by_rsa(child: Certificate, issuer: Certificate) -> Signed:
    """Whether the issuer's RSA key signed the child (PKCS#1 v1.5, SHA-256)."""
    entry = (issuer.sha256, child.sha256)
    found = _RSA_EDGES.get(entry)
    if found is not None:
        return found
    found = Signed.NO
    if child.signature_oid == _OID_RSA_SHA256:
        try:
            key = issuer.public_key()
            if isinstance(key, rsa.RSAPublicKey) and key.key_size >= _RSA_BITS:
                key.verify(child.signature, child.tbs, padding.PKCS1v15(), hashes.SHA256())
                found = Signed.YES
        except (InvalidSignature, ValueError, TypeError, OverflowError, UnsupportedAlgorithm):
            found = Signed.NO
    return _RSA_EDGES.put(entry, found)


def judge_key_chain(key: ResolvedKey) -> None:
    """The intermediate issued the key's certificate. Raises ``nras.key.chain_invalid``."""
    if (
        not issues(key.intermediate, key.leaf)
        or _signed_by_rsa(key.leaf, key.intermediate) is not Signed.YES
    ):
        raise Refused(
            Reason.NRAS_KEY_CHAIN_INVALID,
            "the certificate of the token key is not issued by the one beside it",
            got=key.kid,
        )


def judge_pinned(key: ResolvedKey, pins: Collection[bytes]) -> None:
    """The intermediate is believed. ``pins``: SHA-256 of SubjectPublicKeyInfo.

    Raises Refused (``nras.key.intermediate_not_pinned``), with the digest found. Source: 10.4, 18.
    """
    found = key.intermediate.spki_sha256
    if found not in pins:
        raise Refused(
            Reason.NRAS_KEY_INTERMEDIATE_NOT_PINNED,
            "the issuer of the token key is not among the believed ones",
            got=found.hex(),
            expected=" or ".join(sorted(pin.hex() for pin in pins)),
        )


def _seconds(value: Json) -> int | None:
    """Return a time claim: a non-negative integer that a date can hold."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**33:
        return None
    return value


def judge_key_time(key: ResolvedKey, token: Token) -> None:
    """Both certificates were valid when the token was issued. Raises ``nras.key.time_invalid``."""
    issued = _seconds(token.claims.get("iat"))
    if issued is None:
        return  # the token's own times are refused elsewhere
    at = datetime.fromtimestamp(issued, tz=UTC)
    for certificate in (key.leaf, key.intermediate):
        if not certificate.not_before <= at <= certificate.not_after:
            raise Refused(
                Reason.NRAS_KEY_TIME_INVALID,
                "the token key was not certified when the token was issued",
                got=f"{certificate.not_before.isoformat()} .. {certificate.not_after.isoformat()}",
                expected=at.isoformat(),
                path=token.path,
            )


def judge_token_signature(token: Token, key: ResolvedKey) -> None:
    """The key signed the token (ES384). Raises Refused (``nras.jwt.signature_invalid``)."""
    public = key.leaf.key
    if (
        public is None
        or signed_raw_by(key.leaf.sha256, public, token.signature, token.signed, Curve.P384)
        is not Signed.YES
    ):
        raise Refused(
            Reason.NRAS_JWT_SIGNATURE_INVALID,
            "the service's key did not sign this token",
            got=token.kid,
            path=token.path,
        )


def judge_issuer(token: Token) -> None:
    """The production service issued it. Raises Refused (``nras.token.issuer_mismatch``)."""
    found = token.claims.get("iss")
    if found != ISSUER:
        raise Refused(
            Reason.NRAS_TOKEN_ISSUER_MISMATCH,
            "another issuer than the production service",
            got=found if isinstance(found, str) else "",
            expected=ISSUER,
            path=token.path,
        )


def judge_token_times(
    token: Token,
    *,
    received_at: datetime | None,
    as_of: datetime,
    max_distance_s: int | None,
) -> None:
    """Issue, start and end fit one another, the receipt of the answer and the instant judged.

    ``received_at``: None where no receipt was recorded. ``max_distance_s``: bound on the distance
    of ``iat`` from ``as_of``, None for none. Raises Refused (``nras.token.time_inconsistent``).
    Source: nvidia.md 10.4, step 8; verification.md 3.3.
    """
    issued, start, end = (_seconds(token.claims.get(name)) for name in ("iat", "nbf", "exp"))
    what = ""
    if issued is None or start is None or end is None:
        what = "a time of the token is not a whole number"
    elif not start <= issued < end or end - issued > MAX_LIFE_S:
        what = "the token's times do not fit one another"
    elif received_at is not None and _distance(issued, received_at) > MAX_RECEIPT_DISTANCE_S:
        what = "the token was not issued when the answer was received"
    elif max_distance_s is not None and _distance(issued, as_of) > max_distance_s:
        what = "the token was not issued near the instant judged"
    if what:
        raise Refused(
            Reason.NRAS_TOKEN_TIME_INCONSISTENT,
            what,
            got=f"iat {issued}, nbf {start}, exp {end}",
            path=token.path,
        )


def _distance(issued: int, at: datetime) -> float:
    return abs(at.timestamp() - issued)


def judge_unexpired(token: Token, received_at: datetime | None) -> None:
    """The token had not ended when received. Raises ``nras.token.expired_at_capture``."""
    end = _seconds(token.claims.get("exp"))
    if end is not None and received_at is not None and received_at.timestamp() > end:
        raise Refused(
            Reason.NRAS_TOKEN_EXPIRED_AT_CAPTURE,
            "the token had ended when the answer was received",
            got=f"exp {end}",
            expected=received_at.isoformat(),
            path=token.path,
        )


def expired(token: Token, as_of: datetime) -> bool:
    """Whether the token's acceptance limit lies before ``as_of``: a note, never a failure."""
    end = _seconds(token.claims.get("exp"))
    return end is not None and as_of.timestamp() > end


def judge_version(answer: Answer, accepted: Collection[str]) -> None:
    """The overall token is of a kind and claims version that is judged and accepted.

    Raises Refused (``nras.token.version_unsupported``). Source: nvidia.md 10.4, 11.
    """
    version = answer.version
    subject = answer.overall.claims.get("sub")
    if subject != SUBJECT or version not in VERSIONS or version not in accepted:
        raise Refused(
            Reason.NRAS_TOKEN_VERSION_UNSUPPORTED,
            "another kind or version of claims than is accepted",
            got=f"{subject if isinstance(subject, str) else ''} {version or ''}",
            expected=f"{SUBJECT} {' or '.join(sorted(VERSIONS.intersection(accepted)))}",
            path=answer.overall.path,
        )


def judge_names(answer: Answer, entries: int | None) -> None:
    """Overall token, device tokens and request speak of the same number of devices, by name.

    ``entries``: length of the request's evidence list, None where it is not recorded. Raises
    Refused (``nras.device.set_mismatch``). Source: nvidia.md 10.4.
    """
    listed = answer.overall.claims.get("submods")
    names = [token.name for token in answer.devices]
    wanted = sorted(listed) if isinstance(listed, Mapping) else []
    contiguous = [token.position for token in answer.devices] == list(range(len(names)))
    if (
        sorted(names) != wanted
        or not contiguous
        or len({token.kind for token in answer.devices}) != 1
        or (entries is not None and entries != len(names))
    ):
        raise Refused(
            Reason.NRAS_DEVICE_SET_MISMATCH,
            "the answer speaks of other devices than were asked about",
            got=", ".join(names),
            expected=f"{', '.join(wanted)}; {entries} in the request",
            path="/1",
        )


def judge_digest(answer: Answer, token: Token) -> None:
    """The overall token vouches for this device token by digest.

    Raises Refused (``nras.device.digest_mismatch``). Source: nvidia.md 10.4.
    """
    listed = answer.overall.claims.get("submods")
    stated = listed.get(token.name) if isinstance(listed, Mapping) else None
    found = sha256(token.compact.encode("ascii")).hexdigest()
    if stated != ["DIGEST", ["SHA-256", found]]:
        raise Refused(
            Reason.NRAS_DEVICE_DIGEST_MISMATCH,
            "the overall token names another device token",
            got=found,
            path=token.path,
        )


@value
class TokenRules:
    """What a caller decides about tokens; see `judge_token_times`, `judge_pinned`."""

    pins: Collection[bytes]
    versions: Collection[str]
    received_at: datetime | None
    as_of: datetime
    max_distance_s: int | None


def _token_questions(token: Token, keys: KeySet | None, rules: TokenRules) -> tuple[Refused, ...]:
    resolved: list[ResolvedKey] = []

    def key() -> None:
        resolved.append(resolve(find_key(token, keys)))

    found = list(refusals(key))
    for one in resolved:
        found += refusals(
            partial(judge_key_chain, one),
            partial(judge_pinned, one, rules.pins),
            partial(judge_key_time, one, token),
            partial(judge_token_signature, token, one),
        )
    found += refusals(
        partial(judge_issuer, token),
        partial(
            judge_token_times,
            token,
            received_at=rules.received_at,
            as_of=rules.as_of,
            max_distance_s=rules.max_distance_s,
        ),
        partial(judge_unexpired, token, rules.received_at),
    )
    return tuple(found)


def token_refusals(
    answer: Answer, keys: KeySet | None, entries: int | None, rules: TokenRules
) -> tuple[Refused, ...]:
    """Ask whether an answer is made of genuine tokens that belong together (10.4, steps 1 to 8).

    ``entries``: length of the recorded request's evidence list, None where there is none.
    """
    found: list[Refused] = []
    for token in answer.tokens:
        found += _token_questions(token, keys, rules)
    found += refusals(
        partial(judge_version, answer, rules.versions),
        partial(judge_names, answer, entries),
        *(partial(judge_digest, answer, token) for token in answer.devices),
    )
    return tuple(found)


# --- do they say success -----------------------------------------------------------------------


def judge_overall(answer: Answer) -> None:
    """The overall result is JSON true.

    Raises Refused: ``nras.result.overall_missing``, ``nras.result.overall_false``.
    """
    found = answer.overall.claims.get(_OVERALL)
    if not isinstance(found, bool):
        raise Refused(
            Reason.NRAS_RESULT_OVERALL_MISSING,
            "the overall token has no result",
            path=answer.overall.path,
        )
    if not found:
        raise Refused(
            Reason.NRAS_RESULT_OVERALL_FALSE,
            "the service did not accept the devices",
            got="false",
            expected="true",
            path=answer.overall.path,
        )


def judge_no_error(token: Token) -> None:
    """The device token reports no error. Raises Refused (``nras.device.error_reported``)."""
    details = token.claims.get(_ERROR)
    if details is None:
        return
    code = message = ""
    if isinstance(details, Mapping):
        code, message = str(details.get("code", "")), str(details.get("message", ""))
    raise Refused(
        Reason.NRAS_DEVICE_ERROR_REPORTED,
        f"the service reports an error about {token.name}",
        got=f"{code} {message}".strip(),
        path=token.path,
    )


def judge_measures(token: Token) -> None:
    """Measurements agreed, by the service. Raises ``nras.device.measres_not_success``."""
    found = token.claims.get("measres")
    if found != "success":
        raise Refused(
            Reason.NRAS_DEVICE_MEASRES_NOT_SUCCESS,
            f"the service did not accept the measurements of {token.name}",
            got=found if isinstance(found, str) else "",
            expected="success",
            path=token.path,
        )


def _certificate_good(value: Json) -> bool:
    return (
        isinstance(value, Mapping)
        and value.get("x-nvidia-cert-status") == "valid"
        and value.get("x-nvidia-cert-ocsp-status") == "good"
        and not any(inner is False for inner in value.values())
    )


def false_claims(token: Token) -> tuple[str, ...]:
    """Return the claims by which the service says no: booleans, ``secboot``, certificates."""
    found = [
        name
        for name, value in token.claims.items()
        if (name.startswith("x-nvidia-") and value is False)
        or (name == "secboot" and value is not True)
        or (name.endswith("-cert-chain") and value is not None and not _certificate_good(value))
    ]
    return tuple(sorted(found))


def judge_claims(token: Token) -> None:
    """No claim of a device token says no. Raises Refused (``nras.device.claim_false``)."""
    found = false_claims(token)
    if found:
        raise Refused(
            Reason.NRAS_DEVICE_CLAIM_FALSE,
            f"the service answers no about {token.name}",
            got=", ".join(found),
            path=token.path,
        )


def judge_complete(token: Token, version: str) -> None:
    """Every claim of the version's table is there, with its type.

    Raises Refused (``nras.device.claim_missing``). Source: nvidia.md 11.
    """
    table = _TABLES[token.kind, version]
    claims = token.claims
    missing = [
        *(name for name in (*_COMMON_TEXT, *table.texts) if not isinstance(claims.get(name), str)),
        *(name for name in table.booleans if not isinstance(claims.get(name), bool)),
        *(name for name in table.certificates if not isinstance(claims.get(name), Mapping)),
    ]
    if missing:
        raise Refused(
            Reason.NRAS_DEVICE_CLAIM_MISSING,
            f"the token of {token.name} lacks claims of version {version}",
            got=", ".join(missing),
            path=token.path,
        )


def _nonce(token: Token) -> str | None:
    found = token.claims.get("eat_nonce")
    return found.lower() if isinstance(found, str) and _HEX64.fullmatch(found) else None


def judge_same_nonce(answer: Answer, token: Token) -> None:
    """Device and overall token name one nonce. Raises Refused (``nras.device.nonce_mismatch``)."""
    if _nonce(token) != _nonce(answer.overall) or _nonce(token) is None:
        raise Refused(
            Reason.NRAS_DEVICE_NONCE_MISMATCH,
            f"the token of {token.name} names another nonce than the overall token",
            got=_nonce(token) or "",
            expected=_nonce(answer.overall) or "",
            path=token.path,
        )


def warning(token: Token) -> str | None:
    """Return the text of the service's warning about a device, or None."""
    found = token.claims.get(_WARNING)
    if found is None:
        return None
    return found if isinstance(found, str) else "a warning that is not text"


def result_refusals(answer: Answer) -> tuple[Refused, ...]:
    """Ask whether the overall token and every device token say success.

    After an error report the other claims of that device do not exist and are not asked for.
    Source: nvidia.md 10.4, 10.6.
    """
    found = list(refusals(partial(judge_overall, answer)))
    version = answer.version
    for token in answer.devices:
        reported = refusals(partial(judge_no_error, token))
        found += reported
        if reported:
            continue
        found += refusals(partial(judge_measures, token), partial(judge_claims, token))
        if version is not None and (token.kind, version) in _TABLES:
            found += refusals(partial(judge_complete, token, version))
        found += refusals(partial(judge_same_nonce, answer, token))
    return tuple(found)


# --- are they about these devices --------------------------------------------------------------


def judge_request(request: Payload | None, position: int, evidence: bytes, chain: bytes) -> None:
    """The recorded request asked about exactly these bytes.

    Raises Refused (``nras.bind.request_mismatch``). Source: nvidia.md 10.7.
    """
    entries: Sequence[object] = () if request is None else request.entries
    if request is None or position >= len(entries):
        raise Refused(Reason.NRAS_BIND_REQUEST_MISMATCH, "the request has no such device")
    entry = request.entries[position]
    if entry.evidence != evidence or entry.chain != chain:
        raise Refused(
            Reason.NRAS_BIND_REQUEST_MISMATCH,
            "the request asked about other evidence",
            got=sha256(entry.evidence).hexdigest(),
            expected=sha256(evidence).hexdigest(),
            path=entry.path,
        )


def judge_bound_nonce(answer: Answer, token: Token, report: Report) -> None:
    """The tokens name the nonce that the device signed. Raises ``nras.bind.nonce_mismatch``."""
    wanted = report.requester_nonce.hex()
    for one in (answer.overall, token):
        if one.claims.get("eat_nonce") is None and one is token:
            continue
        if _nonce(one) != wanted:
            raise Refused(
                Reason.NRAS_BIND_NONCE_MISMATCH,
                "the answer is about another nonce than the device signed",
                got=_nonce(one) or "",
                expected=wanted,
                path=one.path,
            )


def _judge_text(
    token: Token, claim: str, wanted: Sequence[str | None], reason: Reason, what: str
) -> None:
    found = token.claims.get(claim)
    stated = found if isinstance(found, str) else ""
    accepted = [one for one in wanted if one]
    if reason is Reason.NRAS_BIND_VBIOS_MISMATCH:  # the one claim whose case varies
        stated, accepted = stated.upper(), [one.upper() for one in accepted]
    if stated not in accepted:
        raise Refused(
            reason,
            f"the token of {token.name} is about another {what}",
            got=stated,
            expected=" or ".join(accepted),
            path=token.path,
        )


def binding_refusals(
    answer: Answer, token: Token, report: Report, chain: DeviceChain
) -> tuple[Refused, ...]:
    """Ask whether a device token is about this device: nonce, device id, versions, model.

    An error token has no claims but the nonce of the overall token. Source: nvidia.md 10.7.
    """
    found = refusals(partial(judge_bound_nonce, answer, token, report))
    if token.claims.get(_ERROR) is not None:
        return found
    model = chain.hardware_model
    switch = token.kind == "SWITCH"
    version = f"{_SWITCH}bios-version" if switch else f"{_GPU}vbios-version"
    ask = partial(_judge_text, token)
    return (
        *found,
        *refusals(
            partial(ask, "ueid", (chain.ueid,), Reason.NRAS_BIND_UEID_MISMATCH, "device"),
            *(
                ()
                if switch
                else (
                    partial(
                        ask,
                        f"{_GPU}driver-version",
                        (report.driver,),
                        Reason.NRAS_BIND_DRIVER_MISMATCH,
                        "driver",
                    ),
                )
            ),
            partial(ask, version, (report.vbios,), Reason.NRAS_BIND_VBIOS_MISMATCH, "VBIOS"),
            partial(
                ask,
                "hwmodel",
                (model, model.partition(" ")[0]),
                Reason.NRAS_BIND_HWMODEL_MISMATCH,
                "hardware model",
            ),
        ),
    )
