"""Submit a bundle's own GPU evidence to NVIDIA's attestation service and attach the answer.

The bundle stays as it is: the exchange becomes an ``nras-result`` attachment, signed by the
submitter, written to a new file, and judged offline like an answer recorded at capture time. HTTP
200 is not a result: a well-formed answer is kept whatever it says. The API key is read from the
environment, sent, and nowhere else.

Source: verification.md 11; nvidia.md 10.1, 10.2, 12; bundle-format.md 11.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from bundle.assemble import Assembly, ExchangeIds, instant
from bundle.keys import FileSigner, key_id
from bundle.policy_init import draft_policy
from bundle.recording import RecordedExchange
from bundle.seal import blob_entry, envelope, packed, search_credentials
from bundle.transport import TRANSIENT, Bounds, Transport, TransportError, utc_now
from verify.api import open_unverified, verify_bundle
from verify.checks.gpu_devices import AttestedDevices, PlacedDevice
from verify.checks.nras import ServiceAnswers
from verify.engine.asof import AsOf
from verify.engine.errors import FormatError, UsageError
from verify.engine.outcome import Status
from verify.engine.reason import Reason
from verify.engine.report import Report
from verify.engine.value import replace
from verify.nvidia.nras import parse_answer, parse_key_set
from verify.policy.loader import load_policy
from verify.policy.model import NrasRules, Policy, SubjectRule
from verify.trust.anchor import Anchor, Purpose
from verify.trust.file import TrustFile, read_signer
from verify.trust.store import TrustStore
from verify.wire.container import read_bundle

SERVICE: Final = "https://nras.attestation.nvidia.com"
ATTEMPTS: Final = 5
FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 30.0
LONGEST_RETRY_AFTER_S: Final = 60.0
NOTICE: Final = (
    "This sends to NVIDIA's attestation service: the GPU evidence (device serial numbers, firmware "
    "versions), the session's nonce and this machine's address. No request or response body is "
    "sent. NVIDIA's terms allow use without an enterprise licence for development only; a paid "
    "commercial offering needs one."
)

Say = Callable[[str], None]
Sleep = Callable[[float], None]


class OnlineUnavailable(Exception):  # noqa: N818  (an outcome of the online step: exit 5)
    """The online step could not be completed; nothing was attached. ``code``: ``nras.online.*``."""

    def __init__(self, code: str, what: str) -> None:
        super().__init__(what)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What a call asks for. ``consent``: the user agreed to `NOTICE`, said by the user alone."""

    service: str = SERVICE
    claims: str = "2.0"
    api_key: str | None = None
    consent: bool = False
    again: bool = False
    insist: bool = False
    by: str = ""

    def __repr__(self) -> str:
        return f"Submission(service={self.service!r}, claims={self.claims!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Policy and trust that a submission is judged under, and whether the policy was given."""

    policy: Policy
    trust: TrustStore
    given: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The new file, and the report of verifying it. ``groups``: architectures that were sent."""

    data: bytes
    report: Report
    groups: tuple[str, ...]


def judgement(
    data: bytes,
    *,
    policy: Policy | None,
    files: Sequence[TrustFile],
    signers: Sequence[Anchor],
    key: FileSigner,
) -> Judgement:
    """Return what to judge under: the policy given, else one drafted from the bundle itself.

    The submitter's key is known as an attachment signer, and as a capture signer too (whoever
    holds it can say so); a *given* policy still decides whether it is accepted.
    """
    own = read_signer(key.public_pem())
    attaching = replace(own, purpose=Purpose.ATTACHMENT_SIGNER)
    known = {anchor.sha256 for anchor in signers}
    extra = () if own.sha256 in known else (own,)
    trust = TrustStore.build(files=files, signers=(*signers, *extra, attaching))
    if policy is not None:
        return Judgement(policy=policy, trust=trust, given=True)
    profile = open_unverified(data).evidence.statement.profile
    drafted = load_policy(draft_policy(profile, data, trust).data)
    added = tuple({anchor.purpose.value for anchor in trust.added_vendor_anchors})
    subjects = dict(drafted.subjects)
    subjects["nras"] = SubjectRule(mode="required")
    drafted = replace(
        drafted,
        subjects=subjects,
        nras=drafted.nras or NrasRules(claims_versions=("2.0", "3.0"), max_capture_distance_s=600),
        attachments=replace(drafted.attachments, accept=(key_id(key.spki()),)),
        trust=replace(drafted.trust, accept_added=added),
    )
    return Judgement(policy=drafted, trust=trust, given=False)


# --- what to send ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """The devices of one architecture: one call. ``nonce``: the requester nonce they carry."""

    arch: str
    nonce: bytes
    devices: tuple[PlacedDevice, ...]


def _architecture(device: PlacedDevice) -> str:
    return device.device.family.architecture.value


def _groups(report: Report, asked: Submission) -> tuple[_Group, ...]:
    """Group the devices to send by architecture and nonce, in the bundle's order.

    Raises UsageError where a device did not pass its own checks and the user does not insist.
    """
    envelope = report.outcomes["envelope.signature"]
    if envelope.reason is Reason.ENVELOPE_SIGNER_UNKNOWN:
        message = (
            "nothing was sent: nobody told whose bundle this is; name its signer with --signer or "
            "--trust, or accept it in the policy"
        )
        raise UsageError(message)
    attested = report.outcomes["gpu.report.signature"].fact
    if not isinstance(attested, AttestedDevices):
        outcome = report.outcomes["gpu.report.signature"]
        message = (
            f"no device report passed its signature check ({outcome.reason}: {outcome.detail}); "
            "nothing was sent. See: teebundle verify"
        )
        raise UsageError(message)
    nonce = report.outcomes["gpu.nonce"]
    if nonce.status is not Status.PASS and not asked.insist:
        message = (
            f"the devices' nonces did not pass ({nonce.reason}: {nonce.detail}); nothing was sent. "
            "--insist sends the evidence all the same"
        )
        raise UsageError(message)
    answered: set[str] = set()
    recorded = report.outcomes["nras.token"].fact
    if isinstance(recorded, ServiceAnswers) and not asked.again:
        for one in recorded.answers:
            answered.update(one.exchange.devices or ())
    found: dict[tuple[str, bytes], list[PlacedDevice]] = {}
    for device in attested.devices:
        if device.id not in answered:
            key = (_architecture(device), device.device.report.requester_nonce)
            found.setdefault(key, []).append(device)
    return tuple(
        _Group(arch=arch, nonce=value, devices=tuple(devices))
        for (arch, value), devices in found.items()
    )


def request_body(group: _Group, bodies: Mapping[str, bytes], claims: str) -> bytes:
    """Return the request for one group: the evidence and chains exactly as the bundle has them."""
    return json.dumps(
        {
            "nonce": group.nonce.hex(),
            "arch": group.arch,
            "claims_version": claims,
            "evidence_list": [
                {
                    "evidence": base64.b64encode(bodies[device.id]).decode("ascii"),
                    "certificate": base64.b64encode(bodies[device.chain_id]).decode("ascii"),
                }
                for device in group.devices
            ],
        }
    ).encode()


# --- sending ---------------------------------------------------------------------------------


def _retry_after(exchange: RecordedExchange, now: datetime) -> float | None:
    for name, text in exchange.response_headers or ():
        if name.lower() != "retry-after" or text is None:
            continue
        if text.isascii() and text.isdigit():
            return min(float(text), LONGEST_RETRY_AFTER_S)
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            return None
        return min(max(0.0, (until - now).total_seconds()), LONGEST_RETRY_AFTER_S)
    return None


_STATUS_CODES: Final[Mapping[int, str]] = {
    401: "nras.online.unauthorized",
    403: "nras.online.unauthorized",
    429: "nras.online.rate_limited",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A connection to the service with its patience: how to wait, how to say what happens."""

    transport: Transport
    asked: Submission
    sleep: Sleep = time.sleep
    jitter: Callable[[float], float] = lambda most: random.uniform(0.0, most)  # noqa: S311  (waiting, not secrecy)
    say: Say = lambda _text: None

    def call(
        self, method: str, path: str, *, purpose: str, body: bytes | None = None
    ) -> RecordedExchange:
        """Send until a usable status comes or patience ends. Raises `OnlineUnavailable`.

        Transient failures alone are tried again: full jitter from 0.1 s doubling to 30 s, or the
        service's own Retry-After.
        """
        url = self.asked.service.rstrip("/") + path
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.asked.api_key is not None:
            headers["Authorization"] = f"Bearer {self.asked.api_key}"
        for attempt in range(1, ATTEMPTS + 1):
            wait = self.jitter(min(FIRST_DELAY_S * 2 ** (attempt - 1), LONGEST_DELAY_S))
            try:
                exchange = self.transport.exchange(
                    method, url, purpose=purpose, body=body, headers=headers
                )
            except TransportError as error:
                trouble, code = str(error), "nras.online.unavailable"
                again = error.again
            else:
                if exchange.status == 200:
                    return exchange
                trouble = f"status {exchange.status}"
                code = _STATUS_CODES.get(exchange.status or 0, "nras.online.rejected")
                if (exchange.status or 0) >= 500:
                    code = "nras.online.unavailable"
                again = exchange.status in TRANSIENT
                stated = _retry_after(exchange, utc_now())
                wait = wait if stated is None else stated
            if not again or attempt == ATTEMPTS:
                message = f"{method} {urlsplit(url).netloc}{path}: {trouble}{_advice(code)}"
                raise OnlineUnavailable(code, message)
            self.say(f"{trouble}; trying again in {wait:.1f} s ({attempt} of {ATTEMPTS})")
            self.sleep(wait)
        raise OnlineUnavailable("nras.online.unavailable", "no attempt was made")


def _advice(code: str) -> str:
    return {
        "nras.online.unauthorized": "; name an API key with --api-key-env NAME",
        "nras.online.rate_limited": "; wait and try again",
        "nras.online.rejected": "; the service does not take this evidence",
    }.get(code, "; nothing was attached, try again later")


# --- the attachment --------------------------------------------------------------------------


def _attachment(
    bundle_id: str,
    group: _Group,
    exchanges: tuple[RecordedExchange, RecordedExchange],
    asked: Submission,
    key: FileSigner,
) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """Return the signed record about one group, and its blobs."""
    assembly = Assembly(
        profile="hardware-only",
        signer=key_id(key.spki()),
        statement_id="urn:uuid:00000000-0000-4000-8000-000000000000",
        salt=lambda _artifact: b"",  # everything here is public, nothing is salted
    )
    ids: list[ExchangeIds] = [
        assembly.exchange(
            exchanges[0],
            body_role="nras.answer",
            request_role="nras.request",
            body_media_type="application/json",
        ),
        assembly.exchange(exchanges[1], body_role="nras.jwks", body_media_type="application/json"),
    ]
    artifacts, recorded = assembly.records()
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "bundle", "digest": {"sha256": bundle_id.removeprefix("sha256:")}},
            *assembly.subject(),
        ],
        "predicateType": "urn:teebundle:attachment:nras-result:v1",
        "predicate": {
            "schema": "1.0",
            "at": instant(exchanges[1].ended_at),
            "by": asked.by or "submitter",
            "artifacts": artifacts,
            "exchanges": recorded,
            "service": asked.service,
            "claims": asked.claims,
            "consent": True,
            "devices": [device.id for device in group.devices],
            "request": ids[0].request_body,
            "answer": ids[0].response_body,
            "jwks": ids[1].response_body,
            "extensions": {},
            "critical": [],
        },
    }
    payload = json.dumps(statement, indent=1, ensure_ascii=False).encode()
    return {"statement": envelope(payload, [key]), "material": []}, assembly.blobs()


def _well_formed(exchanges: tuple[RecordedExchange, RecordedExchange]) -> None:
    """Refuse what is no answer at all. Raises `OnlineUnavailable`."""
    try:
        parse_answer(exchanges[0].response_body or b"")
        parse_key_set(exchanges[1].response_body or b"")
    except FormatError as error:
        message = f"the service's answer is not one: {error.what}; nothing was attached"
        raise OnlineUnavailable("nras.online.rejected", message) from error


def submit(
    data: bytes, *, key: FileSigner, under: Judgement, asked: Submission, line: Line
) -> Submitted:
    """Send a bundle's evidence, attach the answers, and verify the result offline.

    Raises UsageError where nothing may be sent, `OnlineUnavailable` where the service gave no
    answer (nothing is attached then), MalformedInput for an unusable bundle.
    """
    if not asked.consent:
        message = "submission needs your consent: pass --yes after reading the notice"
        raise UsageError(message)
    before = verify_bundle(data, policy=under.policy, trust=under.trust, as_of=AsOf.capture())
    groups = _groups(before, asked)
    if not groups:
        message = "every device has a recorded answer already; --again asks anew"
        raise UsageError(message)
    bundle = read_bundle(data)
    bodies = open_unverified(data).evidence.bodies
    document = json.loads(data)
    for number, group in enumerate(groups, 1):
        kind = "switch" if group.arch == "LS10" else "gpu"
        version = "v4" if asked.claims == "3.0" else "v3"
        line.say(f"{group.arch}: {len(group.devices)} device(s), call {number} of {len(groups)}")
        answer = line.call(
            "POST",
            f"/{version}/attest/{kind}",
            purpose="nras",
            body=request_body(group, bodies, asked.claims),
        )
        keys = line.call("GET", "/.well-known/jwks.json", purpose="jwks")
        _well_formed((answer, keys))
        record, blobs = _attachment(bundle.id, group, (answer, keys), asked, key)
        document["attachments"].append(record)
        for digest, stored in blobs.items():
            document["blobs"].setdefault(digest, blob_entry(stored))
    document["blobs"] = dict(sorted(document["blobs"].items()))
    made = packed(document)
    if asked.api_key is not None:
        search_credentials({"the new bundle": made}, [asked.api_key])
    after = verify_bundle(made, policy=under.policy, trust=under.trust, as_of=AsOf.capture())
    return Submitted(data=made, report=after, groups=tuple(group.arch for group in groups))


def line_to(asked: Submission, *, say: Say = lambda _text: None) -> tuple[Transport, Line]:
    """Return a transport with the service's bounds, and a line over it."""
    transport = Transport(bounds=Bounds())
    return transport, Line(transport=transport, asked=asked, say=say)
