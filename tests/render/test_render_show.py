"""What `show` prints of a Statement that has one of everything."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from verify.render import show, trust
from verify.trust.anchor import Anchor, AnchorStatus, Kind, Purpose
from verify.trust.store import TrustStore
from verify.wire.model import (
    Artifact,
    ArtifactState,
    Binding,
    Capture,
    Clock,
    Digest,
    Evidence,
    Exchange,
    FromExchange,
    FromOperator,
    KeyId,
    Observation,
    Request,
    Response,
    Statement,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DIGEST = Digest("sha256:" + "0" * 64)


def artifact(name: str, role: str) -> Artifact:
    origin = (
        FromOperator(description="from a drawer")
        if name == "att-2"
        else FromExchange(exchange="ex-1")
    )
    return Artifact(
        id=name,
        role=role,
        media_type="application/json",
        digest=DIGEST,
        size=1,
        framing="raw",
        origin=origin,
    )


def contents(bodies: dict[str, bytes]) -> show.Contents:
    artifacts = (
        artifact("att-1", "provider.attestation"),
        artifact("att-2", "provider.attestation"),
        artifact("verdict-1", "provider.verdict"),
        artifact("headers-1", "http.response.headers"),
        artifact("quote-1", "tdx.quote"),
    )
    capture = Capture(
        mode="import",
        complete=False,
        started_at=NOW,
        ended_at=NOW,
        clock=Clock(source="unknown", offset_ms=None, max_error_ms=None),
        operator="op",
        host="host-1",
        provider_name="p",
        provider_endpoint="https://p.invalid",
        tool_name="t",
        tool_version="1",
        imported_from="a folder",
        imported_times="recorded",
    )
    exchanges = tuple(
        Exchange(
            id=f"ex-{seq}",
            session="s",
            connection=None,
            seq=seq,
            purpose="chat",
            started_at=NOW,
            first_byte_at=None,
            ended_at=NOW,
            request=Request(method="POST", url="https://p.invalid", headers=None, body=None),
            response=None
            if seq == 2
            else Response(
                status=200, http_version="1.1", headers="headers-1", body=None, complete=False
            ),
            tls=None,
        )
        for seq in (1, 2)
    )
    statement = Statement(
        schema="1.0",
        id="urn:uuid:0",
        profile="ionet",
        capture=capture,
        signer=KeyId("sha256:" + "1" * 64),
        nonces=(),
        artifacts=artifacts,
        exchanges=exchanges,
        bindings=(
            Binding(
                type="signature-covers", members={"key": "k", "response": None, "with": ("a", "b")}
            ),
        ),
        observations=(Observation(check="tdx.tcb", status="pass", note=""),),
        extensions=(),
        critical=(),
        _by_id={a.id: a for a in artifacts},
    )
    states = {
        a.id: ArtifactState.PRESENT if a.id in bodies else ArtifactState.WITHHELD for a in artifacts
    }
    return show.Contents(
        bundle_id=DIGEST,
        file_sha256="0" * 64,
        signatures=("sha256:" + "1" * 64,),
        attachments=2,
        evidence=Evidence(statement=statement, bodies=bodies, states=states),
    )


BODIES = {
    "att-1": b'{"verified": true, "valid": {"a": "\\u202e"}}',
    "att-2": b"[1]",
    "headers-1": json.dumps(
        [["Signature", "0x1"], ["text", "a:b"], ["date", "now"], ["cookie", {"redacted": "secret"}]]
    ).encode(),
}


def test_summary_labels_every_claim() -> None:
    text = show.summary(contents(BODIES))
    for line in (
        "capture     import, incomplete, 2026-06-01T00:00:00.000Z .. 2026-06-01T00:00:00.000Z",
        "operator    op   host host-1",
        "imported    a folder; times: recorded",
        "attachments 2",
        "  none",
        "  tdx.tcb: pass",
        "  att-1 says verified = true",
        '  att-1 says valid = {"a": "\\u202e"}',
        "  verdict-1 (role provider.verdict): 1 bytes, archived only",
        "  signature-covers  key=k  response=none  with=a, b",
    ):
        assert line in text.splitlines()
    assert "operator: from a drawer" in text
    assert "status 200, broken off" in text
    assert "no answer" in text


def test_summary_of_unreadable_answers_shows_no_verdicts() -> None:
    for body in (b"{", b"\xff", b"[" * 100_000, b" " * (9 << 20)):
        text = show.summary(contents({"att-1": body}))
        assert "att-1 says" not in text


def test_signatures_are_found_in_response_headers() -> None:
    text = show.signatures(contents(BODIES).evidence)
    assert "headers-1 (http.response.headers)\n  signature: 0x1\n  text: a:b\n" in text
    assert "date" not in text
    for body in (b"{", b"{}", b'[["Signature"]]'):
        found = show.signatures(contents({"headers-1": body}).evidence)
        assert "no response signature" in found


def test_quotes_without_bytes_name_their_state() -> None:
    assert show.quotes(contents(BODIES).evidence).endswith("no bytes: withheld\n")


def test_document_of_an_exchange_without_answer_has_no_status() -> None:
    document = show.document(contents(BODIES))
    assert json.loads(json.dumps(document))["exchanges"][1]["status"] is None


def test_trust_listing_shows_since_when_an_anchor_is_compromised() -> None:
    anchor = Anchor(
        name="lost",
        purpose=Purpose.CAPTURE_SIGNER,
        kind=Kind.SPKI,
        data=b"x",
        sha256="0" * 64,
        operator="",
        start=NOW,
        end=None,
        status=AnchorStatus.COMPROMISED,
        since=NOW,
        source="minutes\x1b[2J",
        origin="0" * 64,
    )
    text = trust.listing(TrustStore.build(builtins=(), signers=(anchor,)))
    assert "compromised since 2026-06-01T00:00:00Z  2026-06-01 .. open" in text
    assert "no operator named" in text
    assert "minutes\\u001b[2J" in text
