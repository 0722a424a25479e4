"""What the recording proxy costs, against a proxy that forwards bytes and knows nothing of them.

Both run in one run of this program, each in a process of its own, before the same simulated
provider over TLS, asked by the same client in turns:

* first byte: from the last byte of a request to the first of its answer, one chat at a time;
* forwarding: CPU seconds of the thread that serves the clients, per chat, many at once;
* finishing: CPU seconds of everything else (attestations, journals, look-ups, sealing), per chat.

Goals: at most 5 ms added to the first byte, at most 1.2 times the CPU for forwarding. Finishing is
extra work that a forwarding proxy does not do; it is reported for what it is.

Exit 0: all goals met; 1: one is missed. Other work on the machine shows in the turns' spread.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import ssl
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

from bundle.collateral import Endpoints, Want
from bundle.finishing import Sealing, Setup
from bundle.keys import generate, key_id, write_pair
from bundle.peer import Trust
from bundle.providers import provider
from bundle.proxy import WORK, Options, Proxy, api_base, chat_path
from bundle.relay import Upstream
from bundle.transport import Credential, Transport, utc_now
from fixtures.simulator.world import Simulator

PROVIDER = "aci"
FIRST_BYTE_MS = 5.0
CPU_RATIO = 1.2


# --- the three processes ----------------------------------------------------------------------


def upstream(pipe: Connection, size: int, pace: float) -> None:
    """The simulated provider."""
    with Simulator(PROVIDER, size=size, pace_s=pace) as simulator:
        pipe.send(
            {
                "base_url": simulator.base_url,
                "ca": simulator.ca_pem,
                "key": simulator.api_key,
                "model": simulator.model,
                "endpoints": simulator.endpoints,
            }
        )
        pipe.recv()


class Plain(asyncio.Protocol):
    """Forwards the bytes of one client to a TLS connection of its own, and back; with drain."""

    def __init__(self, host, port, context):
        self.to = (host, port, context)
        self.early = []
        self.upward = None

    def connection_made(self, transport):
        self.transport = transport
        self.task = asyncio.ensure_future(self.connect())

    async def connect(self):
        host, port, context = self.to
        loop = asyncio.get_running_loop()
        self.upward, _ = await loop.create_connection(
            lambda: Back(self), host, port, ssl=context, server_hostname=host
        )
        for data in self.early:
            self.upward.write(data)

    def data_received(self, data):
        if self.upward is None:
            self.early.append(data)
        else:
            self.upward.write(data)

    def pause_writing(self):
        if self.upward is not None:
            self.upward.pause_reading()

    def resume_writing(self):
        if self.upward is not None:
            self.upward.resume_reading()

    def connection_lost(self, _exc):
        self.task.cancel()
        if self.upward is not None:
            self.upward.abort()


class Back(asyncio.Protocol):
    """The other half of `Plain`."""

    def __init__(self, front):
        self.front = front

    def data_received(self, data):
        self.front.transport.write(data)

    def connection_lost(self, _exc):
        self.front.transport.close()


def costs() -> dict[str, float]:
    """CPU seconds so far: of this thread, of the process, of processes that ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "thread": time.thread_time(),
        "process": time.process_time(),
        "children": children.ru_utime + children.ru_stime,
    }


def plain(pipe: Connection, told: dict, folder: Path) -> None:
    async def main() -> None:
        context = ssl.create_default_context(cafile=folder / "ca.pem")
        parts = urlsplit(told["base_url"])
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Plain(parts.hostname, parts.port, context), "127.0.0.1", 0, backlog=1024
        )
        pipe.send(server.sockets[0].getsockname()[1])
        await served(pipe)

    asyncio.run(main())


async def served(pipe: Connection) -> None:
    """Tell the costs whenever asked, until told to end."""
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, pipe.recv) == "costs":
        pipe.send(costs())


def ours(pipe: Connection, told: dict, folder: Path) -> None:
    sys.setswitchinterval(0.0001)  # as the command does
    asked_of = provider(PROVIDER)
    signer = generate()
    private, _ = write_pair(folder / "k", signer, None)
    out = folder / "out"
    out.mkdir()
    base_url, secrets = told["base_url"], (told["key"],)
    credential = Credential("Authorization", f"Bearer {told['key']}")
    setup = Setup(
        provider=PROVIDER,
        profile=asked_of.profile,
        base_url=base_url,
        algorithms=asked_of.algorithms,
        options={},
        endpoints=Endpoints(**told["endpoints"]),
        want=Want(),
        operator="bench",
        work=out / WORK,
        signers=(key_id(signer.spki()),),
        transport=Transport(ca_file=folder / "ca.pem", secrets=secrets),
        clock=utc_now,
        credentials={"provider": credential},
        secrets=secrets,
    )
    sealing = Sealing(
        provider=PROVIDER,
        profile=asked_of.profile,
        base_url=base_url,
        operator="bench",
        out=out,
        keys=(private,),
        secrets=secrets,
    )
    relayed = Upstream(
        base=api_base(base_url, chat_path(asked_of, base_url, {})),
        trust=Trust(ca_file=folder / "ca.pem", unverified_hosts=frozenset()),
        credential=credential,
    )

    async def main() -> None:
        proxy = Proxy(
            setup,
            sealing,
            relayed,
            make_provider=lambda: provider(PROVIDER),
            options=Options(queue=10_000),
            tell=lambda _event: None,
        )
        pipe.send(await proxy.start("127.0.0.1", 0))
        await served(pipe)
        left = await proxy.stop()
        await asyncio.to_thread(proxy.shut)
        pipe.send({**costs(), "left": left, "bundles": proxy.written})

    asyncio.run(main())


# --- the client -------------------------------------------------------------------------------


def request_of(told: dict, port: int, number: int) -> bytes:
    body = json.dumps(
        {
            "model": told["model"],
            "messages": [{"role": "user", "content": f"number {number}"}],
            "stream": True,
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {told['key']}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def chats(told: dict, port: int, numbers: range) -> list[float]:
    """Make chats one after the other over one connection; return each one's first byte in s."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    try:
        for number in numbers:
            began = time.perf_counter()
            writer.write(request_of(told, port, number))
            data = await reader.read(65536)
            found.append(time.perf_counter() - began)
            while not data.endswith(b"0\r\n\r\n"):
                part = await reader.read(65536)
                if not part:
                    sys.exit("an answer was cut short")
                data = data[-8:] + part
    finally:
        writer.close()
    return found


async def many(told: dict, port: int, count: int, at_once: int) -> None:
    each = count // at_once
    await asyncio.gather(
        *(chats(told, port, range(n * each, (n + 1) * each)) for n in range(at_once))
    )


def difference(after: dict, before: dict) -> dict[str, float]:
    return {name: after[name] - before[name] for name in ("thread", "process", "children")}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.proxy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    number = parser.add_argument
    number("--chats", type=int, default=200, metavar="N", help="for the CPU, in all (200)")
    number("--at-once", type=int, default=20, metavar="N", help="of those, side by side (20)")
    number("--bytes", type=int, default=20_000, metavar="N", help="text of one answer (20000)")
    number("--pace", type=float, default=0.01, metavar="S", help="between two of its events (0.01)")
    number("--turns", type=int, default=5, metavar="N", help="each proxy's, one after another (5)")
    number("--firsts", type=int, default=20, metavar="N", help="serial chats of a turn (20)")
    asked = parser.parse_args()
    if min(asked.chats // asked.turns // asked.at_once, asked.turns, asked.firsts) < 1:
        parser.error("each turn needs a chat for each of those at once (--chats, --turns)")
    context = multiprocessing.get_context("spawn")

    def process(target, *arguments):
        mine, its = context.Pipe()
        made = context.Process(target=target, args=(its, *arguments))
        made.start()
        return made, mine

    with tempfile.TemporaryDirectory(prefix="teebundle-bench-") as name:
        folder = Path(name)
        far, far_pipe = process(upstream, asked.bytes, asked.pace)
        told = far_pipe.recv()
        (folder / "ca.pem").write_bytes(told["ca"])
        made = {kind: process(kind, told, folder) for kind in (plain, ours)}
        pipes = {kind: pipe for kind, (_, pipe) in made.items()}
        ports = {kind: pipe.recv() for kind, pipe in pipes.items()}
        firsts = {plain: [], ours: []}
        used = {plain: [], ours: []}
        for kind in (plain, ours):  # the model is attested, modules are loaded
            asyncio.run(many(told, ports[kind], 2, 2))
        for _ in range(asked.turns):
            for kind in (plain, ours):
                # over one connection the first chat opens it; it is no measure of the rest
                firsts[kind] += asyncio.run(chats(told, ports[kind], range(asked.firsts + 1)))[1:]
        for _ in range(asked.turns):
            for kind in (plain, ours):
                pipes[kind].send("costs")
                before = pipes[kind].recv()
                asyncio.run(many(told, ports[kind], asked.chats // asked.turns, asked.at_once))
                pipes[kind].send("costs")
                used[kind].append(difference(pipes[kind].recv(), before))
        for kind in (plain, ours):
            pipes[kind].send("end")
        end = pipes[ours].recv()
        for running, _ in made.values():
            running.join()
        far_pipe.send("end")
        far.join()
    per_turn = asked.chats // asked.turns // asked.at_once * asked.at_once
    return told_of(firsts, used, end, per_turn)


def told_of(firsts: dict, used: dict, end: dict, per_turn: int) -> int:
    def ms(values: list[float], part: float) -> float:
        return statistics.quantiles(values, n=100)[round(part * 100) - 1] * 1e3

    for part, word in ((0.5, "median"), (0.95, "p95")):
        one, two = ms(firsts[plain], part), ms(firsts[ours], part)
        print(
            f"first byte {word:6}  plain {one:7.2f} ms  ours {two:7.2f} ms  "
            f"added {two - one:6.2f} ms"
        )
    added = ms(firsts[ours], 0.5) - ms(firsts[plain], 0.5)
    ratios = [b["thread"] / a["thread"] for a, b in zip(used[plain], used[ours], strict=True)]
    ratio = statistics.median(ratios)
    a = statistics.median(one["thread"] for one in used[plain]) / per_turn * 1e3
    b = statistics.median(one["thread"] for one in used[ours]) / per_turn * 1e3
    print(
        f"forwarding CPU      plain {a:7.2f} ms  ours {b:7.2f} ms a chat  ratio {ratio:.2f}"
        f"  (turns {', '.join(f'{one:.2f}' for one in ratios)})"
    )
    finishing = end["process"] - end["thread"] + end["children"]
    print(
        f"finishing CPU       {finishing / end['bundles'] * 1e3:.0f} ms a bundle, outside the loop "
        f"({end['bundles']} bundles written, {end['left']} left; sealing processes' start included)"
    )
    goals = (
        (
            f"first byte: at most {FIRST_BYTE_MS:g} ms added",
            f"{added:.2f} ms",
            added <= FIRST_BYTE_MS,
        ),
        (f"forwarding: at most {CPU_RATIO:g} times the CPU", f"{ratio:.2f}", ratio <= CPU_RATIO),
        ("every chat sealed", f"{end['left']} left", end["left"] == 0),
    )
    print()
    for goal, found, met in goals:
        print(f"{'met   ' if met else 'MISSED'}  {goal}: {found}")
    return 0 if all(met for _, _, met in goals) else 1


if __name__ == "__main__":
    sys.exit(main())
