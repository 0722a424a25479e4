"""A capture reduced to what the simulator's tests need: drive, seal, verify. No journal, no resume."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from bundle.assemble import Assembly, CaptureClaims
from bundle.calls import ChatAsk, Steps
from bundle.collateral import Endpoints, Want, collect
from bundle.inventory import Inventory, SessionNonce
from bundle.keys import key_id
from bundle.recording import RecordedExchange
from bundle.seal import assemble_file
from bundle.transport import Credential, Transport
from fixtures.registry import Case
from fixtures.sealed import salt
from fixtures.sessions import CAPTURER, MARKER_SECRET, commitment, marker
from fixtures.simulator.world import Simulator
from fixtures.verification import Answer, answer

SIGNER = key_id(CAPTURER.spki())


@dataclass(kw_only=True)
class Scene:
    base_url: str
    model: str | None
    chat_body: bytes | None
    stream: bool
    algorithms: tuple[str, ...]
    endpoints: Endpoints
    options: dict[str, str] = field(default_factory=dict)
    session: str = "s1"
    made: dict[bytes, bytes] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    nras: bool = True

    def nonce(self, step: str) -> bytes:
        random = sha256(f"random {step}".encode()).digest()
        value = commitment(CAPTURER, random)
        self.made[value] = random
        return value

    def collateral(self, label: str, attestations: tuple[RecordedExchange, ...]) -> Steps[None]:
        yield from collect(
            attestations,
            endpoints=self.endpoints,
            label=label,
            known=self.known,
            want=Want(nras=self.nras),
            session=self.session,
        )


@dataclass(kw_only=True)
class Captured:
    exchanges: list[RecordedExchange]
    scene: Scene
    profile: str
    marked: bool
    steps: list[str]
    waited: list[float]

    def of(self, purpose: str) -> list[RecordedExchange]:
        return [found for found in self.exchanges if found.purpose == purpose]

    def replace_body(self, number: int, body: bytes) -> None:
        self.exchanges[number] = replace(self.exchanges[number], response_body=body)

    def sealed(self) -> bytes:
        assembly = Assembly(
            profile=self.profile,
            signer=SIGNER,
            statement_id="urn:uuid:00000000-0000-4000-8000-000000000060",
            salt=salt,
        )
        nonces = {
            value: SessionNonce(value=value, derivation="teebundle-v1", random=random)
            for value, random in self.scene.made.items()
        }
        inventory = Inventory(assembly=assembly, nonces=nonces, lenient=True)
        for exchange in self.exchanges:
            inventory.add(exchange)
        inventory.bind()
        bodies = assembly.ids_of("http.request.body")
        if self.scene.chat_body is not None and bodies and self.marked:
            assembly.bind(
                "marker-in-request",
                marker=assembly.local(MARKER_SECRET, role="session.marker", description="secret"),
                nonce="nonce-1",
                request=bodies[0],
                pointer="/user",
            )
        claims = CaptureClaims(
            mode="live",
            started_at=self.exchanges[0].started_at,
            ended_at=max(found.ended_at for found in self.exchanges),
            operator="tests",
            provider=self.profile,
            endpoint="https://provider.example.test",
            tool_version="1.0.0",
            clock_source="ntp",
            clock_offset_ms=2,
            clock_max_error_ms=50,
        )
        return assemble_file(assembly.freeze(claims), (CAPTURER,))

    def answer(self, simulator: Simulator, *, trusted: bool = True) -> Answer:
        return answer(
            Case(
                bundle=self.sealed(),
                policy=simulator.policy(SIGNER, chat=self.scene.chat_body is not None),
                trust=(simulator.trust,) if trusted else (),
            )
        )


def capture(
    simulator: Simulator,
    provider: Any,
    folder: Path,
    *,
    stream: bool = True,
    request: bytes | None = None,
    chat: bool = True,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    **transport: Any,
) -> Captured:
    ca = folder / "ca.pem"
    ca.write_bytes(simulator.ca_pem)
    body = None
    scene = Scene(
        base_url=simulator.base_url,
        model=simulator.model,
        chat_body=None,
        stream=stream,
        algorithms=provider.algorithms,
        endpoints=Endpoints(**simulator.endpoints),
        options=simulator.options,
    )
    marked = provider.marker_pointer is not None
    if chat and provider.has_chat:
        first = commitment(CAPTURER, sha256(f"random {_first_step(provider)}".encode()).digest())
        body = provider.chat_body(
            ChatAsk(
                model=simulator.model,
                prompt=None if request else "Say hello.",
                request=request,
                stream=stream,
                marker=marker(CAPTURER, first) if marked else None,
                options=simulator.options,
            )
        )
        scene.chat_body = body
    exchanges: list[RecordedExchange] = []
    steps: list[str] = []
    waited: list[float] = []

    with Transport(ca_file=ca, secrets=(simulator.api_key,), clock=clock, **transport) as client:

        def send(call: Any) -> RecordedExchange:
            waited.append(call.after_s)
            steps.append(call.step)
            credential = (
                Credential("Authorization", f"Bearer {simulator.api_key}")
                if call.credential == "provider"
                else None
            )
            found = client.record(
                call.method,
                call.url,
                purpose=call.purpose,
                body=call.body,
                headers=call.headers,
                credential=credential,
                bounds=replace(call.bounds, idle_s=min(call.bounds.idle_s, 2.0)),
                session=call.session,
            )
            exchanges.append(found)
            return found

        def drive(sequence: Any) -> Any:
            answer = None
            while True:
                try:
                    call = sequence.send(answer)
                except StopIteration as stop:
                    return stop.value
                answer = send(call)

        attested = drive(provider.before(scene))
        if body is not None:
            found = send(provider.chat_call(scene))
            drive(provider.after_chat(scene, found))
        drive(provider.after(scene, attested))
    return Captured(
        exchanges=exchanges,
        scene=scene,
        marked=marked,
        profile=provider.profile,
        steps=steps,
        waited=waited,
    )


def client(simulator: Simulator, *, key: bool = True) -> httpx.Client:
    return httpx.Client(
        verify=ssl.create_default_context(cadata=simulator.ca_pem.decode()),
        headers={"Authorization": f"Bearer {simulator.api_key}"} if key else {},
        trust_env=False,
        timeout=10,
    )


def _first_step(provider: Any) -> str:
    return f"attest-1.{provider.algorithms[0]}" if provider.per_algorithm else "attest-1"
