"""RFC 3161 time stamps over a bundle's signatures: asked for, verified, then put in.

A token proves that a signature existed by its time, to whoever trusts the authority. One that
nobody can verify later is worthless: it is accepted only if the verifier's own reader takes it and
it leads to an authority of the user's trust files. The statement, and so the bundle id, stays as it
is.

Source: RFC 3161 2.4, 3.4; bundle-format.md 5.1 (``rfc3161``), 9.3 step 6; verification.md 3 (row
10), 4.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn

from bundle.bounds import Bounds
from bundle.calls import Call, Patience, Steps, patiently
from bundle.inventory import media_type
from bundle.recording import RecordedExchange
from bundle.seal import packed
from verify.engine.errors import FormatError, TeebundleError, UsageError
from verify.trust.anchor import Anchor, Purpose, Standing
from verify.wire.container import UnverifiedBundle, read_bundle
from verify.wire.scalars import format_time

if TYPE_CHECKING:
    from verify.crypto.timestamps import Token
    from verify.trust.store import TrustStore

MOST: Final = 8
"""Tokens for one signature, and authorities in one call (bundle-format.md 5.1)."""
ANSWER: Final = Bounds(connect_s=10.0, idle_s=30.0, total_s=30.0, body=32 << 10)
PATIENCE: Final = Patience(delays_s=(1.0, 2.0, 4.0))
CLOCK_ERROR: Final = timedelta(seconds=2)
"""How far the end of the capture may lie after the proven time: that of the shipped policies."""
QUERY: Final = "application/timestamp-query"
REPLY: Final = "application/timestamp-reply"
_CAME: Final = 200
_CERTIFICATES_AND_LISTS: Final = (0xA0, 0xA1)
"""Tags of the two sets of SignedData that are implicit."""

Send = Callable[[Call], RecordedExchange]


class StampError(TeebundleError):
    """No time stamp worth keeping came; nothing was changed. Names the authority's address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What one token proves. ``by``: the trust file's name of the authority.

    ``instant``: the signature of ``keyid`` existed by then (stated time plus accuracy, UTC).
    """

    keyid: str
    url: str
    by: str
    instant: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """A bundle with its new tokens. ``captured``: claimed end of the capture, for comparison."""

    data: bytes
    proofs: tuple[Proof, ...]
    captured: datetime


def stamp(data: bytes, tsa_urls: Sequence[str], trust: TrustStore, call: Send) -> bytes:
    """Return the bundle with a token of every authority over every signature: see `stamped`."""
    return stamped(data, tsa_urls, trust, call).data


def stamped(data: bytes, tsa_urls: Sequence[str], trust: TrustStore, call: Send) -> Stamped:
    """Run `stamping`, and say what the new tokens prove.

    ``call`` sends one request (after ``after_s`` seconds) and returns what came of it. Raises as
    `stamping`.
    """
    steps = stamping(data, tsa_urls, trust)
    try:
        asked = next(steps)
        while True:
            asked = steps.send(call(asked))
    except StopIteration as stop:
        made: Stamped = stop.value
        return made


def stamping(data: bytes, tsa_urls: Sequence[str], trust: TrustStore) -> Steps[Stamped]:
    """Ask every authority for a token over every signature; return the bundle that has them.

    All or none: the first token that does not hold ends it. Raises `StampError`; UsageError where
    no authority is trusted or there would be more than eight tokens; MalformedInput for a file that
    is no bundle.
    """
    bundle = read_bundle(data)
    authorities = demand_authorities(trust)
    _demand_room(bundle, tsa_urls)
    captured = _end_of_capture(bundle)
    made: dict[str, list[bytes]] = {}
    proofs: list[Proof] = []
    for place, signature in enumerate(bundle.statement.envelope.signatures, 1):
        for number, url in enumerate(tsa_urls, 1):
            name = f"timestamp.{place}.{number}"
            body, recorded = yield from _exchange(name, url, signature.sig)
            anchor, token, kept = _accepted(url, body, recorded, signature.sig, authorities)
            if captured > token.latest + CLOCK_ERROR:
                _refuse(
                    url,
                    f"its time {format_time(token.latest)} lies before the end of the capture "
                    f"({format_time(captured)}): one of the two clocks is wrong",
                )
            made.setdefault(signature.keyid, []).append(kept)
            proofs.append(
                Proof(keyid=signature.keyid, url=url, by=anchor.name, instant=token.latest)
            )
    return Stamped(data=_with_tokens(data, bundle, made), proofs=tuple(proofs), captured=captured)


# --- before asking -------------------------------------------------------------------------------


def demand_authorities(trust: TrustStore) -> tuple[Anchor, ...]:
    """Return the time-stamping authorities that are trusted. Raises UsageError: there is none."""
    found = tuple(anchor for anchor in trust.of(Purpose.TSA) if anchor.data is not None)
    if not found:
        message = (
            "no time-stamping authority is trusted, and a token that nobody can verify later is "
            "worth nothing; name a trust file with an anchor of purpose tsa (--trust)"
        )
        raise UsageError(message)
    return found


def _demand_room(bundle: UnverifiedBundle, tsa_urls: Sequence[str]) -> None:
    if not tsa_urls:
        raise UsageError("no time-stamping authority to ask; name one with --tsa URL")
    if len(set(tsa_urls)) != len(tsa_urls):
        raise UsageError("a time-stamping authority is named twice; one token of each is enough")
    held = max((len(entry.timestamps) for entry in bundle.statement.material), default=0)
    if held + len(tsa_urls) > MOST:
        message = (
            f"a signature holds at most {MOST} time stamps; the bundle has {held}, "
            f"{len(tsa_urls)} more are asked for"
        )
        raise UsageError(message)


def _end_of_capture(bundle: UnverifiedBundle) -> datetime:
    from verify.wire.statement import read_statement  # noqa: PLC0415  (heavy import)

    try:
        return read_statement(bundle.statement.envelope.payload).statement.capture.ended_at
    except FormatError as error:
        message = f"the bundle's statement cannot be read: {error.what}; nothing was added"
        raise StampError(message) from error


# --- asking --------------------------------------------------------------------------------------


def _request(message: bytes) -> bytes:
    """Return a request: SHA-256 of ``message``, a fresh nonce, the certificates wanted too."""
    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder  # noqa: PLC0415  (rarely used)

    builder = (
        TimestampRequestBuilder()
        .data(message)
        .hash_algorithm(HashAlgorithm.SHA256)
        .nonce(nonce=True)
        .cert_request(cert_request=True)
    )
    return builder.build().as_bytes()


def _exchange(
    name: str, url: str, message: bytes
) -> Generator[Call, RecordedExchange, tuple[bytes, RecordedExchange]]:
    """Ask one authority about one signature; return the request that was answered, and the answer.

    Every try has a nonce of its own. An answer that was recorded before a capture was interrupted
    brings its own request along.
    """

    def make(_number: int) -> Call:
        return Call(
            step=name,
            purpose="time",
            method="POST",
            url=url,
            body=_request(message),
            headers=(("Content-Type", QUERY), ("Accept", REPLY)),
            bounds=ANSWER,
            stage="Time stamp",
        )

    call, recorded = yield from patiently(make, PATIENCE)
    return recorded.request_body or call.body or b"", recorded


def _nonce_of(request: bytes) -> int:
    """Return the nonce of a request (RFC 3161 2.4.1). Raises FormatError where it has none."""
    from verify.crypto import der  # noqa: PLC0415  (rarely used)

    parts = der.children(request, der.whole(request, der.SEQUENCE, "a request"))
    for part in parts[2:]:
        if part.tag == der.INTEGER:
            return int.from_bytes(der.value(request, part), "big", signed=True)
    raise FormatError(0, "a request without a nonce")


def in_order(response: bytes) -> bytes:
    """Return a response with the sets of its SignedData in the order that DER prescribes.

    Authorities built on OpenSSL send the certificates as they were given, which BER allows and the
    verifier's reader does not. None of these sets is signed, and sorting them changes no length.
    What cannot be read is returned as it is: the reader says what is wrong.

    Source: RFC 5652 5.1; X.690 11.6.
    """
    from verify.crypto import der  # noqa: PLC0415  (rarely used)

    try:
        parts = der.children(response, der.whole(response, der.SEQUENCE, "a response"))
        content = der.children(response, der.children(response, parts[1])[1])[0]
        sorted_ = response
        for part in der.children(response, content):
            if part.tag in (der.SET, *_CERTIFICATES_AND_LISTS):
                items = sorted(der.outer(response, one) for one in der.children(response, part))
                inside = b"".join(items)
                sorted_ = sorted_[: part.inside] + inside + sorted_[part.inside + len(inside) :]
    except (FormatError, IndexError):
        return response
    return sorted_


# --- is it worth keeping -------------------------------------------------------------------------


def _refuse(url: str, what: str) -> NoReturn:
    from bundle.recording import redacted_url  # noqa: PLC0415  (shared with the transport)

    message = f"{redacted_url(url)}: {what}; nothing was added"
    raise StampError(message)


def _accepted(
    url: str,
    request: bytes,
    recorded: RecordedExchange,
    message: bytes,
    authorities: Sequence[Anchor],
) -> tuple[Anchor, Token, bytes]:
    """Return the authority, the token of an answer and its bytes, once everything about it holds.

    The questions are those of row 10 of the verifier, asked with its own functions; the nonce comes
    on top, which nobody can ask about later. Raises `StampError`.
    """
    from verify.crypto.timestamps import read_token, verify_token  # noqa: PLC0415  (rarely used)
    from verify.crypto.x509 import load_certificate  # noqa: PLC0415  (the same)

    if recorded.failure is not None:
        _refuse(url, recorded.failure.what)
    if recorded.status != _CAME:
        _refuse(url, f"answered with status {recorded.status}, not with a time stamp")
    if media_type(recorded) != REPLY:
        _refuse(url, f"answered with {media_type(recorded)}, not with {REPLY}: is it an authority?")
    kept = in_order(recorded.response_body or b"")
    try:
        token = read_token(kept)
        nonce = _nonce_of(request)
    except FormatError as error:
        _refuse(url, error.what)
    if token.native.tst_info.nonce != nonce:
        _refuse(url, "the time stamp answers another request (its nonce differs)")
    if not token.stamps(message):
        _refuse(url, "the time stamp is over other bytes than this signature")
    named = [
        (anchor, certificate)
        for anchor in authorities
        if token.names(certificate := load_certificate(anchor.data or b""))
    ]
    if not named:
        _refuse(
            url,
            "its time stamp leads to no authority of the trust files; add its root certificate "
            "as an anchor of purpose tsa",
        )
    anchor, certificate = named[0]
    covered = certificate.not_before <= token.gen_time <= certificate.not_after
    held = anchor.standing(token.gen_time, proven=True) in (
        Standing.IN_FORCE,
        Standing.COMPROMISED_LATER,
    )
    if token.outside() is not None or not covered or not held:
        _refuse(
            url,
            f"{anchor.name} or one of its certificates was not in force at the time it states "
            f"({format_time(token.gen_time)})",
        )
    try:
        verify_token(token, certificate.der, message)
    except FormatError as error:
        _refuse(url, error.what)
    return anchor, token, kept


# --- putting it in -------------------------------------------------------------------------------


def _with_tokens(data: bytes, bundle: UnverifiedBundle, made: dict[str, list[bytes]]) -> bytes:
    """Return the file with the tokens in ``material``, read back: nothing else may have changed."""
    document: dict[str, Any] = json.loads(data)
    for keyid, tokens in made.items():
        encoded = [base64.b64encode(token).decode("ascii") for token in tokens]
        for entry in document["material"]:
            if entry["keyid"] == keyid:
                entry["rfc3161"].extend(encoded)
                break
        else:
            document["material"].append(
                {"keyid": keyid, "x509Chain": [], "rfc3161": encoded, "tlogProofs": []}
            )
    written = packed(document)
    after = read_bundle(written)
    kept = (after.id, after.blobs, after.redactions, after.attachments, after.statement.envelope)
    if kept != (
        bundle.id,
        bundle.blobs,
        bundle.redactions,
        bundle.attachments,
        bundle.statement.envelope,
    ):
        message = "the bundle changed while the time stamp was added; nothing was written"
        raise StampError(message)
    return written
