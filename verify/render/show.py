"""What a bundle says it holds: everything here is a claim of its signer, nothing was verified.

Every string is escaped and cut; bodies are not printed, except where a flag asks for one field of
public evidence (a quote, a signature with its text). Source: verification.md 7.1 last paragraph.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from verify.engine.errors import FormatError
from verify.engine.outcome import shown
from verify.engine.report import timestamp
from verify.engine.value import value
from verify.wire.model import (
    Artifact,
    Binding,
    Evidence,
    Exchange,
    FromArtifact,
    FromExchange,
    FromOperator,
    Nonce,
    Origin,
    Statement,
)
from verify.wire.strict_json import parse_evidence

BANNER: Final = "Claims of the signer, as the file states them. Nothing below was verified."
VERDICT_MEMBERS: Final = ("valid", "verification", "verified", "server_verification")
"""Top-level members in which services state a verdict of their own; shown, never believed."""
QUOTES: Final = ("tdx.quote", "sgx.quote")
_TEXT: Final = 256
_JSON_LIMIT: Final = 8 << 20
_SIGNATURE_MEMBERS: Final = (
    "text",
    "signature",
    "signing_address",
    "signing_algo",
    "signature_kind",
)
_HEADER_PREFIXES: Final = ("x-signature", "signature", "signing", "text", "x-signing", "image")


@value
class Contents:
    """A bundle opened for showing. ``signatures``: key ids of the envelope."""

    bundle_id: str
    file_sha256: str
    signatures: tuple[str, ...]
    attachments: int
    evidence: Evidence


def _section(title: str, lines: Iterable[str]) -> list[str]:
    rows = [f"  {line}" for line in lines]
    return ["", title, *(rows or ["  none"])]


def _head(contents: Contents) -> list[str]:
    statement = contents.evidence.statement
    capture = statement.capture
    lines = [
        f"bundle      {contents.bundle_id}",
        f"file        sha256:{contents.file_sha256}",
        f"schema      {shown(statement.schema)}   id {shown(statement.id)}",
        f"profile     {shown(statement.profile)}",
        (
            f"capture     {capture.mode}, {'complete' if capture.complete else 'incomplete'}, "
            f"{timestamp(capture.started_at)} .. {timestamp(capture.ended_at)}"
        ),
        (
            f"provider    {shown(capture.provider_name, _TEXT)}  "
            f"{shown(capture.provider_endpoint, _TEXT)}"
        ),
        f"operator    {shown(capture.operator, _TEXT)}"
        + (f"   host {shown(capture.host, _TEXT)}" if capture.host else ""),
        f"tool        {shown(capture.tool_name, _TEXT)} {shown(capture.tool_version, _TEXT)}",
        f"signatures  {', '.join(shown(keyid) for keyid in contents.signatures)}",
    ]
    if capture.imported_from is not None:
        lines.append(
            f"imported    {shown(capture.imported_from, _TEXT)}; times: {capture.imported_times}"
        )
    if contents.attachments:
        lines.append(f"attachments {contents.attachments}")
    return lines


def _origin(origin: Origin) -> str:
    match origin:
        case FromExchange(exchange=exchange):
            return f"exchange {exchange}"
        case FromArtifact(artifact=source, steps=steps):
            return f"from {source} by {' '.join(shown(step, _TEXT) for step in steps)}"
        case FromOperator(description=description):
            return f"operator: {shown(description, _TEXT)}"


def _artifact(artifact: Artifact, evidence: Evidence) -> str:
    state = evidence.states[artifact.id].value
    salted = ", salted" if artifact.framing == "salt32" else ""
    return (
        f"{artifact.id}  {artifact.role}  {artifact.size} bytes{salted}  {state}  "
        f"{artifact.digest}  {_origin(artifact.origin)}"
    )


def _exchange(exchange: Exchange) -> str:
    request = exchange.request
    if exchange.response is None:
        answer = "no answer"
    else:
        broken = "" if exchange.response.complete else ", broken off"
        answer = f"status {exchange.response.status}{broken}"
    return (
        f"{exchange.seq}  {exchange.id}  {exchange.purpose}  {shown(request.method)} "
        f"{shown(request.url, _TEXT)}  {answer}  {timestamp(exchange.started_at)}"
    )


def _nonce(nonce: Nonce) -> str:
    return f"{nonce.id}  {nonce.value.hex()}  {nonce.derivation}, sent as {nonce.sent_as}"


def _binding(binding: Binding) -> str:
    parts = []
    for name, given in binding.members.items():
        values = given if isinstance(given, str) else "none" if given is None else ", ".join(given)
        parts.append(f"{name}={shown(values, _TEXT)}")
    return f"{binding.type}  {'  '.join(parts)}"


def _members(body: bytes) -> Mapping[str, object]:
    """Return the members of a JSON object, or nothing where the body is anything else."""
    if len(body) > _JSON_LIMIT:
        return {}
    try:
        parse_evidence(body)  # bounds the depth; the values below are only ever printed
        found = json.loads(body)
    except (FormatError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _verdicts(evidence: Evidence) -> list[str]:
    lines = [
        f"{artifact.id} (role provider.verdict): {artifact.size} bytes, archived only"
        for artifact in evidence.statement.of_role("provider.verdict")
    ]
    for artifact in evidence.statement.of_role("provider.attestation"):
        members = _members(evidence.bodies.get(artifact.id, b""))
        for name in VERDICT_MEMBERS:
            if name in members:
                value = shown(json.dumps(members[name], ensure_ascii=False))
                lines.append(f"{artifact.id} says {name} = {value}")
    return lines


def summary(contents: Contents) -> str:
    """Return the Statement for people, claims labelled as claims."""
    evidence = contents.evidence
    statement = evidence.statement
    lines = [BANNER, "", *_head(contents)]
    lines += _section("nonces", map(_nonce, statement.nonces))
    lines += _section("exchanges", map(_exchange, statement.exchanges))
    lines += _section("artifacts", (_artifact(a, evidence) for a in statement.artifacts))
    lines += _section("bindings (pairs to test, not results)", map(_binding, statement.bindings))
    lines += _section(
        "observations of the capturer (CLAIMS, never an input to a verdict)",
        (
            f"{shown(o.check)}: {o.status}  {shown(o.note, _TEXT)}".rstrip()
            for o in statement.observations
        ),
    )
    lines += _section(
        "verdicts of the provider about itself (CLAIMS, never an input to a verdict)",
        _verdicts(evidence),
    )
    return "\n".join(lines) + "\n"


def _bodies(evidence: Evidence, *roles: str) -> list[tuple[Artifact, bytes | None]]:
    return [(a, evidence.bodies.get(a.id)) for a in evidence.statement.of_role(*roles)]


def quotes(evidence: Evidence) -> str:
    """Return every CPU quote as one line of hex under its id, for a second opinion elsewhere."""
    lines = []
    for artifact, body in _bodies(evidence, *QUOTES):
        lines.append(f"{artifact.id} ({artifact.role}, {artifact.digest})")
        lines.append(body.hex() if body is not None else _absent(artifact, evidence))
    return "\n".join(lines or ["the bundle lists no quote"]) + "\n"


def _absent(artifact: Artifact, evidence: Evidence) -> str:
    return f"no bytes: {evidence.states[artifact.id].value}"


def _signature_of_headers(body: bytes) -> Mapping[str, object]:
    try:
        parse_evidence(body)
        pairs = json.loads(body)
    except (FormatError, ValueError):
        return {}
    found: dict[str, object] = {}
    for pair in pairs if isinstance(pairs, list) else ():
        match pair:
            case [str(name), str(value)] if name.lower().startswith(_HEADER_PREFIXES):
                found[name.lower()] = value
            case _:
                continue
    return found


def _signature_lines(artifact: Artifact, members: Mapping[str, object]) -> list[str]:
    lines = [f"{artifact.id} ({artifact.role})"]
    lines += [
        f"  {name}: {shown(str(value), 1024)}"
        for name, value in members.items()
        if isinstance(value, str)
    ]
    return lines


def signatures(evidence: Evidence) -> str:
    """Return text, signature and address of each signed answer, as web pages want them."""
    lines = ["Text, signature and address exactly as the provider sent them (claims)."]
    for artifact, body in _bodies(evidence, "provider.signature"):
        if body is None:
            lines += ["", f"{artifact.id}: {_absent(artifact, evidence)}"]
            continue
        members = _members(body)
        chosen = {name: members[name] for name in _SIGNATURE_MEMBERS if name in members}
        lines += ["", *_signature_lines(artifact, chosen)]
    for artifact in _chat_headers(evidence.statement):
        body = evidence.bodies.get(artifact.id)
        found = {} if body is None else _signature_of_headers(body)
        if "signature" in found or "x-signature" in found:
            lines += ["", *_signature_lines(artifact, found)]
    if len(lines) == 1:
        lines.append("the bundle lists no response signature")
    return "\n".join(lines) + "\n"


def _chat_headers(statement: Statement) -> list[Artifact]:
    ids = [
        exchange.response.headers
        for exchange in statement.exchanges
        if exchange.purpose == "chat" and exchange.response is not None
    ]
    return [statement.artifact(found) for found in ids if found is not None]


def gpu_keys(evidence: Evidence, key_of: Callable[[bytes], str]) -> str:
    """Return the public key of each GPU's leaf certificate. ``key_of``: chain bytes to PEM or text.

    The key signs the device's reports; it is unrelated to the key that signs answers.
    """
    lines = ["Keys that sign device reports; unrelated to the keys that sign answers."]
    chains = _bodies(evidence, "nvidia.gpu-chain", "nvidia.switch-chain")
    for artifact, body in chains:
        lines += ["", f"{artifact.id} ({artifact.role})"]
        lines.append(_absent(artifact, evidence) if body is None else key_of(body))
    if not chains:
        lines.append("the bundle lists no device certificate chain")
    return "\n".join(lines) + "\n"


def document(contents: Contents) -> Mapping[str, object]:
    """Return the Statement's summary as plain values for ``show --format json``."""
    statement = contents.evidence.statement
    states = contents.evidence.states
    return {
        "claims": BANNER,
        "bundleId": contents.bundle_id,
        "fileSha256": contents.file_sha256,
        "profile": shown(statement.profile),
        "signatures": [shown(keyid) for keyid in contents.signatures],
        "nonces": [
            {"id": n.id, "value": n.value.hex(), "derivation": n.derivation}
            for n in statement.nonces
        ],
        "exchanges": [
            {
                "id": e.id,
                "seq": e.seq,
                "purpose": e.purpose,
                "url": shown(e.request.url, 8192),
                "status": None if e.response is None else e.response.status,
            }
            for e in statement.exchanges
        ],
        "artifacts": [
            {
                "id": a.id,
                "role": a.role,
                "size": a.size,
                "digest": a.digest,
                "state": states[a.id].value,
            }
            for a in statement.artifacts
        ],
        "bindings": [
            {
                "type": b.type,
                **{k: list(v) if isinstance(v, tuple) else v for k, v in b.members.items()},
            }
            for b in statement.bindings
        ],
        "observations": [
            {"check": o.check, "status": o.status, "note": shown(o.note, 1024)}
            for o in statement.observations
        ],
    }
