"""A recording proxy before the simulator, and what it wrote, for the tests of the proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundle.calls import Provider
from bundle.collateral import Endpoints, Want
from bundle.finishing import Sealing, Setup
from bundle.keys import FileSigner, generate, key_id, write_pair
from bundle.peer import Trust
from bundle.providers import provider
from bundle.proxy import WORK, Options, Proxy, api_base, chat_path
from bundle.relay import Upstream
from bundle.transport import Credential, Transport, utc_now
from fixtures import policies
from fixtures.simulator.policy import policy_document
from fixtures.simulator.world import Simulator
from verify.api import open_unverified, verify_bundle
from verify.engine.asof import AsOf
from verify.engine.report import Report
from verify.policy.loader import load_policy
from verify.trust.file import read_signer, read_trust_file
from verify.trust.store import TrustStore
from verify.wire.model import Statement

UNMARKED = "the proxy does not alter request bodies"


def run(main: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(30):
            await main

    asyncio.run(limited())


def unmarked_policy(simulator: Simulator, signer: FileSigner) -> bytes:
    """The policy of the simulation for requests that have no marker."""
    document = policy_document(simulator.world, key_id(signer.spki()))
    policies.exclude(document, "marker", UNMARKED)
    required = document["bindings"]["require"]
    document["bindings"]["require"] = [name for name in required if name != "marker-in-request"]
    return policies.written(document)


@dataclass(kw_only=True)
class Case:
    """A proxy that runs. ``events``: what it told."""

    proxy: Proxy
    port: int
    out: Path
    simulator: Simulator
    signer: FileSigner
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def bundles(self) -> list[Path]:
        return sorted(self.out.glob("*.evidence.json"))

    @property
    def work(self) -> Path:
        return self.out / WORK

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]

    def report(self, path: Path) -> Report:
        return report_of(path, self.simulator, self.signer)

    def statement(self, path: Path) -> Statement:
        return open_unverified(path.read_bytes()).evidence.statement

    async def until(self, what: Callable[[], bool]) -> None:
        while not what():  # noqa: ASYNC110  (what is waited for sets no event)
            await asyncio.sleep(0.01)

    def ask(self, text: str = "hi", *, stream: bool = True, **more: object) -> bytes:
        """A chat request as bytes on the wire."""
        document = {
            "model": self.simulator.model,
            "messages": [{"role": "user", "content": text}],
            "stream": stream,
            **more,
        }
        body = json.dumps(document).encode()
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    async def exchanged(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.transport.abort()


def report_of(path: Path, simulator: Simulator, signer: FileSigner) -> Report:
    return verify_bundle(
        path.read_bytes(),
        policy=load_policy(unmarked_policy(simulator, signer)),
        trust=TrustStore.build(
            files=[read_trust_file(simulator.trust)], signers=[read_signer(signer.public_pem())]
        ),
        as_of=AsOf.capture(),
    )


@contextlib.contextmanager
def folder_of(simulator: Simulator, folder: Path) -> Iterator[FileSigner]:
    """Put a key and the simulation's CA into a folder."""
    signer = generate()
    write_pair(folder / "k", signer, None)
    (folder / "ca.pem").write_bytes(simulator.ca_pem)
    (folder / "trust.json").write_bytes(simulator.trust)
    (folder / "out").mkdir()
    yield signer


@contextlib.asynccontextmanager
async def proxied(
    simulator: Simulator,
    folder: Path,
    signer: FileSigner,
    *,
    name: str,
    out: Path | None = None,
    make_provider: Callable[[], Provider] | None = None,
    options: Options | None = None,
    stamped: bool = False,
) -> AsyncIterator[Case]:
    """Run a proxy; it is broken off at the end unless the test has stopped it."""
    out = out or folder / "out"
    asked_of = provider(name)
    credential = Credential("Authorization", f"Bearer {simulator.api_key}")
    transport = Transport(ca_file=folder / "ca.pem", secrets=(simulator.api_key,), labels="c-")
    setup = Setup(
        provider=name,
        profile=asked_of.profile,
        base_url=simulator.base_url,
        algorithms=asked_of.algorithms,
        options={},
        endpoints=Endpoints(**simulator.endpoints),
        want=Want(),
        operator="test",
        work=out / WORK,
        signers=(key_id(signer.spki()),),
        transport=transport,
        clock=utc_now,
        credentials={"provider": credential},
        secrets=(simulator.api_key,),
    )
    sealing = Sealing(
        provider=name,
        profile=asked_of.profile,
        base_url=simulator.base_url,
        operator="test",
        out=out,
        keys=(folder / "k" / "signer.key",),
        secrets=(simulator.api_key,),
        tsa=(simulator.tsa,) if stamped else (),
        trust=(folder / "trust.json",) if stamped else (),
        ca_file=folder / "ca.pem",
    )
    upstream = Upstream(
        base=api_base(simulator.base_url, chat_path(asked_of, simulator.base_url, {})),
        trust=Trust(ca_file=folder / "ca.pem", unverified_hosts=frozenset()),
        credential=credential,
    )
    events: list[dict[str, Any]] = []
    proxy = Proxy(
        setup,
        sealing,
        upstream,
        make_provider=make_provider or (lambda: provider(name)),
        options=options or Options(processes=0),
        tell=lambda event: events.append(dict(event)),
    )
    port = await proxy.start("127.0.0.1", 0)
    try:
        yield Case(
            proxy=proxy, port=port, out=out, simulator=simulator, signer=signer, events=events
        )
    finally:
        await proxy.break_off()
        await asyncio.to_thread(proxy.shut)
        transport.close()
        await asyncio.sleep(0)
