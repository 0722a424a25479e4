"""A whole capture without a network: a provider's sequence over simulated machines, sealed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

from bundle.assemble import Assembly, CaptureClaims
from bundle.calls import ChatAsk
from bundle.inventory import Inventory, SessionNonce
from bundle.keys import key_id
from bundle.providers import provider
from bundle.seal import assemble_file
from fixtures import goods, policies
from fixtures.chat_sim import seed
from fixtures.registry import Case
from fixtures.sealed import salt
from fixtures.sessions import AS_OF, CAPTURER, MARKER_SECRET, commitment, marker
from tests.bundle.providers.playing import Stage, of


class Whole:
    """Runs a sequence. ``respond(call)``: what a call brings; ``material``: of a session, once."""

    def __init__(self, name, respond, *, session, stage, prompt="Say hello.", stream=True):
        self.provider, self.respond, self.session = provider(name), respond, session
        self.stage, self.kept = stage, []
        stage.nonce = self.nonce
        stage.collateral = self.collateral
        self.randoms = {}
        self.ask = ChatAsk(
            model=stage.model,
            prompt=prompt,
            stream=stream,
            options=stage.options,
        )

    def nonce(self, step):
        random = self.randoms.setdefault(step, seed(f"nonce of {step}"))
        return commitment(CAPTURER, random)

    def collateral(self, label, attestations):
        if label == "before":
            self.kept.extend(self.session._collateral())
            devices = self.session.node.devices
            if devices:
                self.kept.extend(self.session._manifests(devices[0]))
                self.kept.extend(self.session._revocation(devices))
        yield from ()

    def send(self, call):
        recorded = of(call, self.respond(call))
        recorded = replace(
            recorded,
            request_headers=(("Host", urlsplit(call.url).netloc),),
            connection="c1",
            tls=self.session._tls(),
        )
        self.kept.append(recorded)
        return recorded

    def run(self, steps):
        try:
            call = next(steps)
            while True:
                call = steps.send(self.send(call))
        except StopIteration as end:
            return end.value

    def capture(self, *, chat=True):
        """Play the sequence of a strict capture (providers.md 2.4)."""
        first = "attest-1" + (f".{self.stage.algorithms[0]}" if self.provider.per_algorithm else "")
        text = marker(CAPTURER, self.nonce(first)) if self.provider.marker_pointer else None
        if chat:
            self.stage.chat_body = self.provider.chat_body(replace(self.ask, marker=text))
        before = self.run(self.provider.before(self.stage))
        if chat:
            answered = self.send(self.provider.chat_call(self.stage))
            self.run(self.provider.after_chat(self.stage, answered))
        self.run(self.provider.after(self.stage, before))
        return self

    def exchanges(self):
        start = AS_OF - timedelta(seconds=len(self.kept))
        for number, exchange in enumerate(self.kept):
            begun = start + timedelta(seconds=number)
            yield replace(
                exchange,
                started_at=begun,
                first_byte_at=begun + timedelta(milliseconds=400),
                ended_at=begun + timedelta(milliseconds=900),
            )

    def assembly(self):
        assembly = Assembly(
            profile=self.provider.profile,
            signer=key_id(CAPTURER.spki()),
            statement_id="urn:uuid:00000000-0000-4000-8000-000000000001",
            salt=salt,
        )
        made = {
            commitment(CAPTURER, random): SessionNonce(
                value=commitment(CAPTURER, random), derivation="teebundle-v1", random=random
            )
            for random in self.randoms.values()
        }
        inventory = Inventory(assembly=assembly, nonces=made, lenient=True)
        for exchange in self.exchanges():
            inventory.add(exchange)
        inventory.bind()
        requests = assembly.ids_of("http.request.body")
        if requests and self.provider.marker_pointer:
            secret = assembly.local(MARKER_SECRET, role="session.marker", description="marker")
            assembly.bind(
                "marker-in-request",
                marker=secret,
                nonce="nonce-1",
                request=requests[0],
                pointer=self.provider.marker_pointer,
            )
        return assembly

    def case(self, document):
        """Return what was sealed, beside a policy document."""
        exchanges = tuple(self.exchanges())
        claims = CaptureClaims(
            mode="live",
            started_at=exchanges[0].started_at,
            ended_at=AS_OF,
            operator="operator of the simulation (TEST ONLY)",
            provider=self.provider.name,
            endpoint=self.stage.base_url,
            tool_version="1.0.0",
            clock_source="ntp",
        )
        frozen = self.assembly().freeze(claims)
        return Case(
            bundle=assemble_file(frozen, (CAPTURER,)),
            policy=policies.written(document),
            trust=(goods.trust(),),
        )


def asked(call, name):
    """Return a query parameter of a call."""
    return parse_qs(urlsplit(call.url).query)[name][0]


def scene(base, **changes):
    return Stage(**{"base_url": base, "model": "test/model-7b", **changes})
