"""The rows of time on whole bundles: every code alone, every end of every window, ± 1 s."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from bundle.assemble import CaptureClaims
from bundle.seal import pae
from fixtures import goods
from fixtures.registry import Case
from fixtures.sessions import AS_OF, START
from fixtures.verification import answer
from tests.checks.time_case import BEACON, LOG, WITNESSES, Authority, Logged, NoteKey, Stamp, trust

Document = dict[str, Any]
BASE = "nanogpt"
CASES: dict[str, tuple[Callable[[], Case], str, str | None, str | None]] = {}


def expecting(
    check: str | None = None, reason: str | None = None, verdict: str = "REJECTED"
) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    def register(build: Callable[[], Case]) -> Callable[[], Case]:
        CASES[build.__name__] = (build, verdict, check, reason)
        return build

    return register


AFTER = AS_OF + timedelta(seconds=60)
"""When the simulated authorities saw the signature."""


def _signature(document: Document) -> bytes:
    return base64.b64decode(document["statement"]["signatures"][0]["sig"])


def _entry(document: Document) -> bytes:
    """Return the log entry of the first signature (bundle-format.md 9.4)."""
    statement = document["statement"]
    payload = base64.b64decode(statement["payload"])
    bundle_id = sha256(pae(statement["payloadType"], payload)).hexdigest()
    keyid = statement["signatures"][0]["keyid"]
    digest = sha256(_signature(document)).hexdigest()
    return f"teebundle/tlog/v1\nsha256:{bundle_id}\n{keyid}\nsha256:{digest}\n".encode()


def _material(document: Document, *, rfc3161: list[str], proofs: list[str]) -> None:
    document["material"] = [
        {
            "keyid": document["statement"]["signatures"][0]["keyid"],
            "x509Chain": [],
            "rfc3161": rfc3161,
            "tlogProofs": proofs,
        }
    ]


def _wanting(level: str, **rules: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document["time"].update(
            require=level,
            accept_tsa=["name:test-tsa"],
            accept_logs=["name:test-log", "name:test-beacon"],
            witness_quorum=2,
        )
        document["time"].update(rules)

    return change


def stamped(
    make: Callable[[bytes], bytes] | None = None,
    *,
    trusted: bytes | None = None,
    level: str = "upper",
    **stamp: Any,
) -> Case:
    """A bundle with one time stamp; ``stamp`` changes it, ``make`` the bytes stored."""

    def change(document: Document) -> None:
        members = {"message": _signature(document), "at": AFTER, **stamp}
        token = Stamp(**members).response()
        token = token if make is None else make(token)
        _material(document, rfc3161=[base64.b64encode(token).decode()], proofs=[])

    return goods.case(BASE, file=change, policy=_wanting(level), trusted=trusted or trust())


def logged(
    make: Callable[[str], str] | None = None,
    *,
    trusted: bytes | None = None,
    level: str = "upper",
    times: tuple[datetime, ...] = (AFTER, AFTER + timedelta(seconds=5)),
    **log: Any,
) -> Case:
    """A bundle with one log proof; ``log`` changes it, ``make`` the text stored."""

    def change(document: Document) -> None:
        cosigned = tuple(zip(WITNESSES, times, strict=False))
        members = {"entry": _entry(document), "cosigned": cosigned, **log}
        text = Logged(**members).proof()
        _material(document, rfc3161=[], proofs=[text if make is None else make(text)])

    return goods.case(BASE, file=change, policy=_wanting(level), trusted=trusted or trust())


def _claims(**members: Any) -> Callable[[CaptureClaims], CaptureClaims]:
    return lambda claims: replace(claims, **members)


# --- good ------------------------------------------------------------------------------------


@expecting(verdict="VERIFIED")
def time_stamp_of_a_named_authority() -> Case:
    """A time stamp over the signature lifts the level to ``upper``."""
    return stamped()


@expecting(verdict="VERIFIED")
def log_proof_with_its_quorum() -> Case:
    """A log proof that two known witnesses cosigned lifts the level to ``upper``."""
    return logged()


@expecting(verdict="VERIFIED")
def time_stamp_of_an_unknown_authority_beside_no_demand() -> Case:
    """A stamp of an authority that nobody names is shown and proves nothing; nothing was asked."""
    return stamped(authority=Authority(label="other tsa"), level="claimed")


# --- time.as_of ------------------------------------------------------------------------------


@expecting(check="time.as_of", reason="time.as_of_out_of_range")
def judged_before_any_vendor_root() -> Case:
    """The instant asked for lies one second before the first day of the range."""
    return goods.case(BASE, as_of="2018-05-20T23:59:59Z")


@expecting(check="time.as_of", reason="time.as_of_out_of_range")
def judged_after_the_last_vendor_root() -> Case:
    """The instant asked for lies one second after the last day of the range."""
    return goods.case(BASE, as_of="2050-01-01T00:00:00Z")


# --- time.timestamp --------------------------------------------------------------------------


@expecting(check="time.timestamp", reason="timestamp.malformed")
def time_stamp_cut_off() -> Case:
    """The last byte of the stamp is missing."""
    return stamped(lambda token: token[:-1])


@expecting(check="time.timestamp", reason="timestamp.malformed")
def time_stamp_not_granted() -> Case:
    """The authority's own status says that it refused."""
    return stamped(status=2)


@expecting(check="time.timestamp", reason="timestamp.malformed")
def time_stamp_over_sha1() -> Case:
    """The imprint is made with an algorithm that gives no assurance."""
    return stamped(algorithm="sha1")


@expecting(check="time.timestamp", reason="timestamp.signature_invalid")
def time_stamp_signed_by_another_key() -> Case:
    """The stamp names the authority's certificate; another key signed."""
    return stamped(signed_by="somebody else")


@expecting(check="time.timestamp", reason="timestamp.signature_invalid")
def time_stamp_content_replaced() -> Case:
    """The signature is genuine, over other content than the one embedded."""
    return stamped(content=b"another time")


@expecting(check="time.timestamp", reason="timestamp.signature_invalid")
def time_stamp_by_a_certificate_for_something_else() -> Case:
    """The authority issued the certificate, but not for time stamping."""
    return stamped(authority=Authority(stamping=False))


@expecting(check="time.timestamp", reason="timestamp.imprint_mismatch")
def time_stamp_of_another_signature() -> Case:
    """A genuine stamp, taken from another bundle."""
    return stamped(message=b"another signature")


@expecting(check="time.timestamp", reason="timestamp.authority_not_in_force")
def time_stamp_after_its_certificate_ended() -> Case:
    """The stamp's own time lies one second after the end of the stamping certificate."""
    ends = Authority(end=AFTER - timedelta(seconds=1))
    return stamped(authority=ends, trusted=trust(test_tsa=_as_anchor(ends)))


@expecting(check="time.timestamp", reason="timestamp.authority_not_in_force")
def time_stamp_outside_the_validity_of_its_trust_entry() -> Case:
    """The trust file ends the authority one millisecond before the stamp."""
    window = {"start": "2020-01-01T00:00:00.000Z", "end": _iso(AFTER - timedelta(milliseconds=1))}
    return stamped(trusted=trust(test_tsa={"validFor": window}))


@expecting(check="time.timestamp", reason="timestamp.authority_not_in_force")
def time_stamp_after_its_authority_was_compromised() -> Case:
    """The authority is known to be compromised since the very instant it states."""
    return stamped(trusted=trust(test_tsa={"status": "compromised", "since": _iso(AFTER)}))


@expecting(verdict="VERIFIED")
def time_stamp_before_its_authority_was_compromised() -> Case:
    """The authority is known to be compromised since one millisecond after the stamp."""
    later = _iso(AFTER + timedelta(milliseconds=1))
    return stamped(trusted=trust(test_tsa={"status": "compromised", "since": later}))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _as_anchor(authority: Authority) -> dict[str, object]:
    der = authority.root()
    return {"data": base64.b64encode(der).decode(), "sha256": sha256(der).hexdigest()}


# --- time.log --------------------------------------------------------------------------------


@expecting(check="time.log", reason="tlog.malformed")
def log_proof_without_index() -> Case:
    """The line that names the entry's index is gone."""
    return logged(lambda text: text.replace("index 3\n", "", 1))


@expecting(check="time.log", reason="tlog.checkpoint_invalid")
def log_checkpoint_signature_wrong() -> Case:
    """The log's key signed another checkpoint."""
    return logged(wrong=(LOG.name,))


@expecting(check="time.log", reason="tlog.checkpoint_invalid")
def log_checkpoint_of_another_origin() -> Case:
    """The log's key signed a checkpoint that names another log as its origin."""
    return logged(origin="other.example.test/2026")


@expecting(check="time.log", reason="tlog.checkpoint_invalid")
def log_cosignature_wrong() -> Case:
    """A known witness's signature does not hold."""
    return logged(wrong=(WITNESSES[1].name,))


@expecting(check="time.log", reason="tlog.inclusion_invalid")
def log_proof_of_another_entry() -> Case:
    """A genuine proof of another entry of the same log."""
    return logged(entry=b"teebundle/tlog/v1\nanother\n")


@expecting(check="time.log", reason="tlog.inclusion_invalid")
def log_proof_with_the_wrong_index() -> Case:
    """The path is right, the index is its neighbour's."""
    return logged(lambda text: text.replace("index 3\n", "index 2\n", 1))


@expecting(check="time.log", reason="tlog.key_not_in_force")
def log_key_ended() -> Case:
    """The trust file ends the log before the cosignatures."""
    window = {"start": "2020-01-01T00:00:00.000Z", "end": _iso(AS_OF)}
    return logged(trusted=trust(test_log={"validFor": window}))


@expecting(check="time.log", reason="tlog.key_not_in_force")
def log_witness_ended() -> Case:
    """The trust file ends a witness before it cosigned."""
    window = {"start": "2020-01-01T00:00:00.000Z", "end": _iso(AS_OF)}
    return logged(times=(AFTER, AFTER, AFTER), trusted=trust(test_witness_2={"validFor": window}))


@expecting(check="time.log", reason="tlog.quorum_not_met", verdict="INCOMPLETE")
def log_proof_with_one_witness_of_two() -> Case:
    """The policy wants two witnesses; one known witness cosigned."""
    return logged(times=(AFTER,))


# --- time.beacon -----------------------------------------------------------------------------


def beaconed(
    make: Callable[[str], str] | None = None,
    *,
    trusted: bytes | None = None,
    level: str = "claimed",
    at: datetime = START - timedelta(seconds=30),
    **log: Any,
) -> Case:
    """A bundle that lists a beacon; no nonce commits to it unless the session says so."""
    cosigned = tuple((witness, at) for witness in WITNESSES[:2])
    text = Logged(**{"entry": b"x", "log": BEACON, "cosigned": cosigned, **log}).checkpoint()
    body = (text if make is None else make(text)).encode()
    digest = f"sha256:{sha256(body).hexdigest()}"

    def listed(statement: Document) -> None:
        statement["predicate"]["artifacts"].append(
            {
                "id": "beacon-1",
                "role": "time.checkpoint",
                "mediaType": "text/plain",
                "digest": digest,
                "size": len(body),
                "framing": "raw",
                "origin": {"local": "beacon of the simulation"},
            }
        )
        statement["subject"].append({"name": "beacon-1", "digest": {"sha256": digest[7:]}})

    def stored(blobs: dict[str, bytes]) -> None:
        blobs[digest] = body

    return goods.case(
        BASE,
        statement=listed,
        blobs=stored,
        policy=_wanting(level),
        trusted=trusted or trust(),
    )


@expecting(verdict="VERIFIED")
def beacon_of_a_named_log() -> Case:
    """A genuine beacon is listed; the nonces do not commit to it, and nothing asks them to."""
    return beaconed()


@expecting(verdict="VERIFIED")
def beacon_of_an_unknown_log() -> Case:
    """A beacon of a log that nobody names is shown and proves nothing."""
    return beaconed(log=NoteKey(name="other.example.test"))


@expecting(check="time.beacon", reason="beacon.malformed")
def beacon_without_a_root() -> Case:
    """The checkpoint's third line is gone."""
    return beaconed(lambda text: "\n".join([*text.split("\n")[:2], *text.split("\n")[3:]]))


@expecting(check="time.beacon", reason="beacon.signature_invalid")
def beacon_signature_wrong() -> Case:
    """The beacon log's key signed another checkpoint."""
    return beaconed(wrong=(BEACON.name,))


@expecting(check="time.beacon", reason="beacon.signature_invalid")
def beacon_cosignature_wrong() -> Case:
    """A known witness's signature under the beacon does not hold."""
    return beaconed(wrong=(WITNESSES[0].name,))


# --- time.bracket ----------------------------------------------------------------------------


@expecting(check="time.bracket", reason="time.outside_bracket")
def capture_ends_after_its_time_stamp() -> Case:
    """The stamp proves that the signature existed before the capture is said to have ended."""
    return stamped(at=AS_OF - timedelta(seconds=4))


@expecting(verdict="VERIFIED")
def capture_ends_within_the_clock_error_of_its_time_stamp() -> Case:
    """Stamp plus accuracy plus the allowed clock error is exactly the claimed end."""
    return stamped(at=AS_OF - timedelta(seconds=3))


@expecting(check="time.bracket", reason="time.exchange_outside_capture")
def exchange_before_the_claimed_interval() -> Case:
    """The capture claims to have begun after its first exchange did."""
    return goods.case(
        BASE,
        claims=lambda made: replace(made, started_at=made.started_at + timedelta(milliseconds=1)),
    )


@expecting(check="time.bracket", reason="time.capture_too_long")
def capture_longer_than_allowed() -> Case:
    """The claimed interval is one second longer than the policy allows."""

    def change(document: Document) -> None:
        document["time"]["max_capture_s"] = 900

    started = AS_OF - timedelta(seconds=901)
    return goods.case(BASE, claims=_claims(started_at=started), policy=change)


@expecting(check="time.bracket", reason="time.import_not_allowed")
def recording_where_a_live_capture_is_wanted() -> Case:
    """The bundle says that it was put together from a recording; the policy wants live ones."""

    def change(statement: Document) -> None:
        capture = statement["predicate"]["capture"]
        capture["mode"] = "import"
        capture["importedFrom"] = {"description": "a recording", "times": "recorded", "files": []}

    return goods.case(BASE, statement=change)


@expecting(check="time.bracket", reason="time.level_insufficient", verdict="INCOMPLETE")
def nobody_vouches_for_the_time() -> Case:
    """The policy wants an upper bound; there is no stamp and no log proof."""
    return goods.case(BASE, policy=_wanting("upper"), trusted=trust())


@expecting(check="time.bracket", reason="time.level_insufficient", verdict="INCOMPLETE")
def time_stamp_taken_too_late() -> Case:
    """The stamp is genuine, one second later than the policy allows between end and sealing."""
    return stamped(at=AS_OF + timedelta(seconds=3600))


@expecting(check="time.bracket", reason="time.level_insufficient", verdict="INCOMPLETE")
def no_beacon_where_a_bracket_is_wanted() -> Case:
    """A stamp gives the upper bound; the nonces commit to no beacon."""
    return stamped(level="bracketed")


@expecting(check="time.bracket", reason="time.level_insufficient", verdict="INCOMPLETE")
def time_stamp_stripped() -> Case:
    """The stamp that lifted the level is removed from the file."""

    def change(document: Document) -> None:
        _material(document, rfc3161=[], proofs=[])

    return goods.case(BASE, file=change, policy=_wanting("upper"), trusted=trust())


# --- signer.standing -------------------------------------------------------------------------


@expecting(check="signer.standing", reason="signer.not_in_force")
def capture_key_not_yet_in_force() -> Case:
    """The trust file lets the key begin one second after the instant judged."""
    window = {"start": _iso(AS_OF + timedelta(seconds=1)), "end": None}
    return goods.case(BASE, trusted=trust(test_capture_2026={"validFor": window}))


@expecting(check="signer.standing", reason="signer.not_in_force")
def capture_key_ended() -> Case:
    """The trust file ends the key one second before the instant judged."""
    window = {"start": "2020-01-01T00:00:00.000Z", "end": _iso(AS_OF - timedelta(seconds=1))}
    return goods.case(BASE, trusted=trust(test_capture_2026={"validFor": window}))


@expecting(verdict="VERIFIED")
def capture_key_retired_at_the_instant_judged() -> Case:
    """A retired key is good for the time it was valid, both ends included."""
    window = {"start": _iso(AS_OF), "end": _iso(AS_OF)}
    changed = {"status": "retired", "validFor": window}
    return goods.case(BASE, trusted=trust(test_capture_2026=changed))


@expecting(check="signer.standing", reason="signer.compromised")
def capture_key_compromised_without_a_proven_time() -> Case:
    """The key was lost later, but nothing proves that the signature is older than the loss."""
    changed = {"status": "compromised", "since": _iso(AS_OF + timedelta(days=90))}
    return goods.case(BASE, trusted=trust(test_capture_2026=changed))


@expecting(check="signer.standing", reason="signer.compromised")
def capture_key_compromised_before_its_time_stamp() -> Case:
    """A stamp proves a time, but the key was lost before it."""
    changed = {"status": "compromised", "since": _iso(AS_OF)}
    return stamped(trusted=trust(test_capture_2026=changed))


@expecting(verdict="VERIFIED")
def capture_key_compromised_after_its_time_stamp() -> Case:
    """A stamp proves that the signature existed before the key was lost."""
    changed = {"status": "compromised", "since": _iso(AFTER + timedelta(seconds=2))}
    return stamped(trusted=trust(test_capture_2026=changed))


@pytest.mark.parametrize("name", CASES)
def test_times_case_ends_as_its_docstring_says(name):
    build, verdict, check, reason = CASES[name]
    found = answer(build())
    assert found.error_code is None
    assert found.verdict == verdict
    own = {
        check_id: code
        for check_id, (status, code) in found.checks.items()
        if status not in ("PASS", "NOT_APPLICABLE") and code != "need.not_passed"
    }
    assert own == ({} if check is None else {check: reason})
