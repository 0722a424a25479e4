"""An authority over real HTTP on this machine, with one behaviour at a time, and bundles to stamp."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bundle.assemble import Assembly, CaptureClaims
from bundle.inventory import Inventory, SessionNonce
from bundle.keys import key_id
from bundle.recording import RecordedExchange
from bundle.seal import assemble_file
from bundle.transport import Transport
from fixtures import goods, policies, time_sim
from fixtures.sealed import VERSION, Draft, salt
from fixtures.sessions import AS_OF, CAPTURER, Session, commitment
from fixtures.simulator.vendors_time import read_query
from fixtures.time_sim import Stamp
from verify.trust.file import read_trust_file
from verify.trust.store import TrustStore

REPLY = "application/timestamp-reply"
AT = AS_OF + timedelta(seconds=6)


def honest(query, **changes):
    """Return the response to a query; ``changes``: members of `Stamp`."""
    made = Stamp(**{"at": AT, "nonce": query.nonce, "embedded": query.embedded, **changes})
    return made.over_imprint(query.imprint, query.algorithm)


@dataclass(kw_only=True)
class Authority:
    """A server. ``give``: from a query to the body, or (status, media type, body)."""

    give: object = honest
    received: list = field(default_factory=list)

    def __enter__(self):
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                """Say nothing."""

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                query = read_query(body)
                authority.received.append((dict(self.headers.items()), query, body))
                made = authority.give(query)
                status, kind, answer = made if isinstance(made, tuple) else (200, REPLY, made)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/tsa"


def send(call):
    """Send a call over HTTP, without waiting between tries."""
    with Transport() as transport:
        return transport.record(
            call.method,
            call.url,
            purpose=call.purpose,
            body=call.body,
            headers=call.headers,
            bounds=call.bounds,
        )


def store(**changes):
    """Return a trust store with the simulated authorities; ``changes``: see `time_sim.trusted`."""
    return TrustStore.build(files=[read_trust_file(time_sim.trusted(**changes))])


def bare_store():
    """Return a trust store that believes no authority of time."""
    return TrustStore.build(files=[read_trust_file(goods.trust())])


@cache
def sealed(**draft):
    """Return a good bundle without any proof of time."""
    return Draft(session=goods.nanogpt(), **draft).build()


@dataclass(frozen=True, kw_only=True)
class Beaconed(Session):
    """A session whose nonces commit to a beacon."""

    beacon: bytes = b""

    @property
    def nonces(self):
        return tuple(
            (commitment(self.capturer, random, self.beacon), random) for _, random in super().nonces
        )


def beaconed():
    """Return a good bundle whose nonces commit to a witnessed head of half a minute before."""
    first = goods.nanogpt()
    began = first.exchanges()[0].started_at
    state = time_sim.LogState(key=time_sim.BEACON, cosigned=began - timedelta(seconds=30))
    body = state.checkpoint().encode()
    members = {name: getattr(first, name) for name in Session.__dataclass_fields__}
    session = Beaconed(**members, beacon=body)
    assembly = Assembly(
        profile=session.profile,
        signer=key_id(CAPTURER.spki()),
        statement_id="urn:uuid:00000000-0000-4000-8000-00000000beac",
        salt=salt,
    )
    nonces = {}
    inventory = Inventory(assembly=assembly, nonces=nonces)
    head = RecordedExchange(
        purpose="time",
        method="GET",
        url="https://beacon.example.test/checkpoint",
        started_at=began - timedelta(seconds=2),
        ended_at=began - timedelta(seconds=1),
        status=200,
        response_headers=(("Content-Type", "text/plain"),),
        response_body=body,
    )
    beacon = inventory.add(head).response_body
    for value, random in session.nonces:
        nonces[value] = SessionNonce(
            value=value, derivation="teebundle-v1", random=random, beacon=beacon
        )
    for exchange in session.exchanges():
        inventory.add(exchange)
    inventory.bind()
    frozen = assembly.freeze(
        CaptureClaims(
            mode="live",
            started_at=head.started_at,
            ended_at=session.end,
            operator="operator of the simulation (TEST ONLY)",
            provider=session.profile,
            endpoint="https://provider.example.test",
            tool_version=VERSION,
        )
    )
    return assemble_file(frozen, (CAPTURER,))


def policy(level="upper", *, marked=True):
    """Return the good policy that wants this level of time. ``marked``: the chat has a marker."""
    document = policies.session_document("nanogpt", goods.nanogpt())
    time_sim.believed(document)
    document["time"]["require"] = level
    if not marked:
        policies.exclude(document, "marker", "the simulated chat has another nonce's marker")
    return policies.written(document)


def with_tokens(data, count):
    """Return the bundle with so many tokens over its signature already."""
    import base64
    import json

    from bundle.seal import packed

    document = json.loads(data)
    entry = document["statement"]["signatures"][0]
    token = Stamp(at=AT).over(base64.b64decode(entry["sig"]))
    document["material"] = [
        {
            "keyid": entry["keyid"],
            "x509Chain": [],
            "rfc3161": [base64.b64encode(token).decode()] * count,
            "tlogProofs": [],
        }
    ]
    return packed(document)


__all__ = ["AT", "Authority", "replace"]
