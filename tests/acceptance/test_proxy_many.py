"""Two hundred chats at once through the proxy: no byte differs, and every bundle verifies."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from pathlib import Path

from bundle.keys import key_id
from fixtures.simulator.world import Simulator
from tests.acceptance.program import place
from verify.api import open_unverified, verify_bundle
from verify.engine.asof import AsOf
from verify.engine.report import Verdict
from verify.policy.loader import load_policy
from verify.trust.file import read_signer, read_trust_file
from verify.trust.store import TrustStore

CHATS = 200


async def asked(port: int, number: int, model: str) -> tuple[bytes, bytes]:
    """Send one streamed chat; return its request body and the answer's body, unchunked."""
    body = json.dumps(
        {
            "model": model,
            "stream": True,
            "messages": [{"role": "user", "content": f"chat {number}: é"}],
        }
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer unused\r\n"
        b"Content-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        % len(body)
        + body
    )
    await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    assert b"chunked" in head.lower()
    parts = []
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        part = await reader.readexactly(size + 2)
        if not size:
            break
        parts.append(part[:-2])
    writer.close()
    return body, b"".join(parts)


async def all_at_once(port: int, model: str) -> list[tuple[bytes, bytes]]:
    return await asyncio.gather(*(asked(port, number, model) for number in range(CHATS)))


def test_two_hundred_streams_at_once_are_exact_and_each_is_a_verified_bundle(
    tmp_path: Path,
) -> None:
    provider = "nanogpt"
    with Simulator(provider) as simulator:
        where = place(tmp_path, simulator, provider)
        judged = tmp_path / "policy-proxy.yaml"
        judged.write_bytes(simulator.policy(key_id(where.signer.spki()), marked=False))
        words = where.words(
            "proxy", "--config", where.config, "--key", where.key, "--listen", "127.0.0.1:0",
            "--out", tmp_path / "bundles", "--json", "--policy", judged,
        )  # fmt: skip
        proxy = subprocess.Popen(
            words, env=where.environment, stdout=subprocess.PIPE, text=True, cwd=tmp_path
        )
        try:
            assert proxy.stdout is not None
            port = 0
            for line in proxy.stdout:
                event = json.loads(line)
                if "listening" in json.dumps(event):
                    port = int(str(event).split("127.0.0.1:")[1].split("/")[0].split("'")[0])
                    break
            assert port
            exchanged = asyncio.run(all_at_once(port, simulator.model))
            proxy.send_signal(signal.SIGINT)
            told, _ = proxy.communicate(timeout=120)
        finally:
            proxy.kill()
            proxy.wait()
        assert proxy.returncode == 0
        # nobody named the signer: the proxy knows its own key
        assert told.count("VERIFIED") == CHATS
        served = {
            request.body
            for request in simulator.journal.requests
            if request.path.endswith("/chat/completions")
        }
        policy = load_policy(simulator.policy(key_id(where.signer.spki()), marked=False))
        trust = TrustStore.build(
            files=[read_trust_file(simulator.trust)],
            signers=[read_signer(where.signer.public_pem())],
        )
        secret = simulator.api_key.encode()
    assert {body for body, _ in exchanged} == served
    assert all(answer.rstrip().endswith(b"data: [DONE]") for _, answer in exchanged)
    files = sorted((tmp_path / "bundles").glob("*.evidence.json"))
    assert len(files) == CHATS
    recorded = set()
    for file in files:
        data = file.read_bytes()
        assert secret not in data
        evidence = open_unverified(data).evidence
        chat = next(e for e in evidence.statement.exchanges if e.purpose == "chat")
        assert chat.request.body is not None
        assert chat.response is not None
        assert chat.response.body is not None
        recorded.add((evidence.body(chat.request.body), evidence.body(chat.response.body)))
        report = verify_bundle(data, policy=policy, trust=trust, as_of=AsOf.capture())
        assert report.verdict is Verdict.VERIFIED, file
    assert recorded == set(exchanged)
    assert [path for path in (tmp_path / "bundles").iterdir() if path not in files] == []
