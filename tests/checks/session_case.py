"""A session assembled like a live capture, and the session checks run on it one by one."""

from __future__ import annotations

import json
from hashlib import sha256
from types import SimpleNamespace

from bundle.assemble import Assembly, CaptureClaims
from bundle.inventory import Inventory, SessionNonce
from bundle.keys import key_id
from fixtures import sessions
from verify.checks import session
from verify.checks.tdx import VerifiedQuotes
from verify.engine.check import Facts
from verify.engine.outcome import Status
from verify.intel.quote import parse_quote
from verify.wire.model import ArtifactState, Evidence
from verify.wire.statement import read_statement

STATEMENT_ID = "urn:uuid:00000000-0000-4000-8000-000000000001"
SHAPES = ("dstack-flat", "dstack-gateway")


class AnyId(frozenset):
    def __contains__(self, item):
        return True


def policy(**changes):
    members = {
        "profile": "near-direct",
        "shapes": SHAPES,
        "subjects": {},
        "bindings": (),
        "modes": {},
        "allow_foreign_nonce": False,
        "allow_attest_after_chat": False,
        "cpu_min": 1,
    } | changes
    modes = members.pop("modes")
    return SimpleNamespace(
        profile=members["profile"],
        shapes=members["shapes"],
        subjects=dict.fromkeys(modes),
        bindings=members["bindings"],
        mode=lambda subject: modes.get(subject, "required"),
        judges=lambda subject: modes.get(subject, "required") != "excluded",
        session=SimpleNamespace(
            allow_foreign_nonce=members["allow_foreign_nonce"],
            allow_attest_after_chat=members["allow_attest_after_chat"],
        ),
        counts=SimpleNamespace(cpu_min=members["cpu_min"]),
    )


class World:
    """A session assembled like a live capture, and the checks run on it one by one."""

    def __init__(self, exchanges, nonces=(), *, mode="live", complete=True, edit=None, **rules):
        assembly = Assembly(
            profile=rules.get("profile", "near-direct"),
            signer=key_id(sessions.CAPTURER.spki()),
            statement_id=STATEMENT_ID,
            salt=lambda name: sha256(name.encode()).digest(),
        )
        made = {
            value: SessionNonce(value=value, derivation="teebundle-v1", random=random)
            for value, random in nonces
        }
        inventory = Inventory(assembly=assembly, nonces=made, lenient=True)
        for exchange in exchanges:
            inventory.add(exchange)
        inventory.bind()
        times = (
            [e.started_at for e in exchanges] + [e.ended_at for e in exchanges] + [sessions.AS_OF]
        )
        claims = CaptureClaims(
            mode=mode,
            complete=complete,
            started_at=min(times),
            ended_at=max(times),
            operator="test",
            provider="test",
            endpoint="https://provider.example.test",
            tool_version="1.0.0",
            imported_description="a test" if mode == "import" else None,
        )
        payload = json.loads(assembly.freeze(claims).payload)
        if edit is not None:
            edit(payload["predicate"])
        subject = [
            {"name": a["id"], "digest": {"sha256": a["digest"][7:]}}
            for a in payload["predicate"]["artifacts"]
        ]
        payload["subject"] = subject
        self.statement = read_statement(json.dumps(payload).encode()).statement
        self.bodies = {a.id: assembly.body(a.id) for a in self.statement.artifacts}
        self.policy = policy(**rules)
        self.found = {}
        self.outcomes = {}

    @property
    def evidence(self):
        states = {
            a.id: ArtifactState.PRESENT if a.id in self.bodies else ArtifactState.WITHHELD
            for a in self.statement.artifacts
        }
        return Evidence(statement=self.statement, bodies=self.bodies, states=states)

    def quotes(self):
        return VerifiedQuotes(
            quotes={
                a.id: SimpleNamespace(body=parse_quote(self.bodies[a.id]).body)
                for a in self.statement.of_role("tdx.quote", "sgx.quote")
            }
        )

    def run(self, name, **more):
        facts = {
            "blobs.digests": self.evidence,
            "blobs.derived": self.evidence,
            **self.found,
            **more,
        }
        inputs = SimpleNamespace(policy=self.policy)
        outcome = getattr(session, name)(inputs, Facts(facts, AnyId()))
        reasons = {f.reason for f in outcome.findings} | {n.reason for n in outcome.notes}
        reasons |= {outcome.reason} - {None}
        constant = f"{name.upper()}_REASONS"
        assert reasons <= getattr(session, constant)
        self.outcomes[name] = outcome
        return outcome

    def upto(self, *names):
        ids = {
            "exchange_recorded": "exchange.recorded",
            "shape_recognised": "shape.recognised",
            "cpu_authentic": "cpu.authentic",
            "report_data": "binding.report_data",
        }
        for name, check in ids.items():
            if name in names:
                more = {"tdx.quote.signature": self.quotes()} if name == "cpu_authentic" else {}
                outcome = self.run(name, **more)
                assert outcome.status is Status.PASS, outcome
                self.found[check] = outcome.fact
        return self

    def bound(self):
        return self.upto("exchange_recorded", "shape_recognised", "cpu_authentic")


def codes(outcome):
    return [str(f.reason) for f in outcome.findings]


def notes(outcome):
    return [str(n.reason) for n in outcome.notes]


def only(outcome, status, code):
    assert outcome.status is status, outcome
    assert str(outcome.reason) == code
    assert set(codes(outcome)) <= {code}
    return outcome
