"""Scripted vendors: a generator of calls is driven with answers made here, and what it asked kept."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

from bundle.collateral import Endpoints, Want, collect
from bundle.recording import Failure, RecordedExchange
from fixtures import nvidia_nras, nvidia_rim, sessions

HERE = Endpoints()
NONCE = bytes(range(32))


def recorded(call, status, body=b"", headers=(), *, failure=None, complete=True):
    """Return the exchange that a call came to."""
    return RecordedExchange(
        purpose=call.purpose,
        method=call.method,
        url=call.url,
        started_at=sessions.START,
        ended_at=sessions.START,
        request_body=call.body,
        status=status,
        response_headers=tuple(headers),
        response_body=body or None,
        complete=complete,
        failure=failure,
        session=call.session,
    )


def unreachable(call):
    """No answer: nobody listens there."""
    return recorded(
        call, None, complete=False, failure=Failure(trouble="unreachable", what="refused")
    )


def attestation(body, *, status=200, complete=True):
    """Return an attestation exchange with that body."""
    return RecordedExchange(
        purpose="attestation",
        method="GET",
        url=f"https://provider.example.test/report?nonce={NONCE.hex()}",
        started_at=sessions.START,
        ended_at=sessions.START,
        status=status,
        response_body=body,
        complete=complete,
    )


def attestations(session):
    """Return the attestation exchanges of a simulated session."""
    return [one for one in session.exchanges() if one.purpose == "attestation"]


def kds(report):
    """Return an attestation whose CPU evidence is that report or quote (io.net's shape)."""
    members = {
        "cpu": {"quote": report.hex()},
        "gpu": {"status": "none"},
        "signing_address": "0x" + "11" * 20,
    }
    return attestation(json.dumps(members).encode())


class Vendors:
    """Answers of every vendor, honest by default. ``override``: path part to an answer maker."""

    def __init__(self, *, devices=(), override=None, kid=nvidia_nras.KID):
        self.by_chain = {device.chain_pem(): device for device in devices}
        self.override = override or {}
        self.kid = kid
        self.calls = []

    def __call__(self, call):
        self.calls.append(call)
        for part, make in self.override.items():
            if part in call.url:
                return make(call)
        return self.honest(call)

    def honest(self, call):
        if call.purpose == "rim":
            rim_id = call.url.rpartition("/")[2]
            made = (
                nvidia_rim.driver_manifest() if "DRIVER" in rim_id else nvidia_rim.vbios_manifest()
            )
            return recorded(call, 200, nvidia_rim.envelope(rim_id, nvidia_rim.document(made)))
        if call.purpose == "nras":
            asked = json.loads(call.body)
            posted = [
                (base64.b64decode(entry["evidence"]), base64.b64decode(entry["certificate"]))
                for entry in asked["evidence_list"]
            ]
            made = nvidia_nras.exchange(
                [self.by_chain[chain] for _, chain in posted],
                posted,
                nonce=bytes.fromhex(asked["nonce"]),
                version=asked.get("claims_version", "2.0"),
                kid=self.kid,
            )
            return recorded(call, 200, made.answer)
        if call.purpose == "jwks":
            return recorded(call, 200, nvidia_nras.jwks())
        return recorded(call, 200, b"{}")


def drive(steps, answer):
    """Run a generator of calls to its end; return the calls it made."""
    made = []
    try:
        call = next(steps)
        while True:
            made.append(call)
            call = steps.send(answer(call))
    except StopIteration:
        return made


def ask(exchanges, answer=None, *, label="before", known=None, want=None, **changes):
    """Run one round; return the calls it made."""
    return drive(
        collect(
            exchanges,
            endpoints=changes.pop("endpoints", HERE),
            label=label,
            known=set() if known is None else known,
            want=want or Want(),
            random_bytes=changes.pop("random_bytes", lambda size: b"\x07" * size),
            **changes,
        ),
        answer or Vendors(),
    )


def urls(calls):
    """Return (method, URL) of each call."""
    return [(call.method, call.url) for call in calls]


def of(calls, *purposes):
    """Return the calls with one of these purposes."""
    return [call for call in calls if call.purpose in purposes]


def with_world(session, world):
    """Return the session on another platform."""
    return replace(session, node=replace(session.node, world=world))
