"""A tiny provider, its scripted network and the means of a capture; for tests of the logic alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bundle.calls import Attested, Call, ChatAsk, Scene, Steps, patiently, usable
from bundle.capture import CaptureAsked, Means
from bundle.events import Event
from bundle.keys import FileSigner
from bundle.recording import Failure, RecordedExchange, redacted_headers, redacted_url
from bundle.transport import Credential
from fixtures.sessions import AS_OF, CAPTURER

BASE = "https://provider.example.test"
KEY = "sk-capture-0123456789abcdef"
CHAT = b'data: {"id":"chat-1","choices":[]}\n\ndata: [DONE]\n\n'
BEACON = "https://log.example.test/checkpoint"


@dataclass(kw_only=True)
class Tiny:
    """A provider with the usual sequence and answers that no family reads."""

    name: str = "tiny"
    title: str = "Tiny"
    profile: str = "tiny"
    base_url: str | None = BASE
    marker_pointer: str | None = "/user"
    algorithms: tuple[str, ...] = ("ecdsa", "ed25519")
    has_chat: bool = True
    note: str = ""
    reads: Callable[[bytes], bool] = bool

    def chat_body(self, ask: ChatAsk) -> bytes:
        body: dict[str, object] = {"model": ask.model, "prompt": ask.prompt, "stream": True}
        if ask.marker is not None:
            body["user"] = ask.marker
        return ask.request or json.dumps(body).encode()

    def _round(self, scene: Scene, number: int) -> Steps[Attested]:
        answers, signers = [], {}
        for algorithm in scene.algorithms:
            step = f"attest-{number}.{algorithm}"

            def make(tried: int, step: str = step) -> Call:
                nonce = scene.nonce(step if tried == 1 else f"{step}/{tried}").hex()
                return Call(
                    step=step,
                    purpose="attestation",
                    method="GET",
                    url=f"{scene.base_url}/attestation?nonce={nonce}",
                    credential="provider",
                    stage="attestation",
                )

            _, recorded = yield from patiently(make)
            answers.append(recorded)
            if usable(recorded) and self.reads(recorded.response_body or b""):
                signers[algorithm] = "0x"
        label = "before" if number == 1 else "after"
        yield from patiently(
            lambda _: _get(f"{label}.item", f"{scene.base_url}/item", "collateral")
        )
        answered = any(usable(answer) for answer in answers)
        return Attested(
            answers=tuple(answers),
            signers=signers,
            usable=bool(signers),
            note=self.note or ("an answer without evidence" if answered and not signers else ""),
        )

    def before(self, scene: Scene) -> Steps[Attested]:
        return (yield from self._round(scene, 1))

    def chat_call(self, scene: Scene) -> Call:
        return Call(
            step="chat",
            purpose="chat",
            method="POST",
            url=f"{scene.base_url}/chat",
            body=scene.chat_body,
            credential="provider",
            once=True,
        )

    def after_chat(self, scene: Scene, chat: RecordedExchange) -> Steps[None]:
        if chat.response_body or chat.response_file:
            yield from patiently(
                lambda _: _get("signature.ecdsa", f"{scene.base_url}/signature", "signature")
            )

    def unsigned(self, chat: RecordedExchange, exchanges: Sequence[RecordedExchange]) -> str:
        signed = any(one.purpose == "signature" and usable(one) for one in exchanges)
        return "" if signed else "no signature"

    def after(self, scene: Scene, attested: Attested) -> Steps[Attested]:
        return (yield from self._round(scene, 2))


def _get(step: str, url: str, purpose: str) -> Call:
    return Call(step=step, purpose=purpose, method="GET", url=url, credential="provider")


Reply = bytes | int | Failure | tuple[bytes, Failure]


@dataclass(kw_only=True)
class Network:
    """Answers by path. A reply is a body, a status, a failure, or what came before a failure.

    ``served``: replies still to come, the last of a list for ever. ``chats``: bodies of chats that
    reached the provider. ``answered``: bodies of answers that were given in full, by URL.
    """

    served: dict[str, list[Reply]] = field(default_factory=dict)
    now: datetime = AS_OF
    chats: list[bytes] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    log: Callable[[str], None] = lambda _url: None

    def clock(self) -> datetime:
        self.now += timedelta(milliseconds=5)
        return self.now

    def reply(self, path: str) -> Reply:
        usual: dict[str, Reply] = {
            "/attestation": b'{"evidence":"none that a family reads"}',
            "/item": b'{"item":1}',
            "/chat": CHAT,
            "/signature": b'{"signature":"0x00","text":"t","signing_address":"0x"}',
            "/checkpoint": b"log.example.test\n1\nAAAA\n\n",
        }
        listed = self.served.get(path)
        if listed is None:
            return usual[path]
        return listed.pop(0) if len(listed) > 1 else listed[0]

    def record(self, method: str, url: str, **given: Any) -> RecordedExchange:
        path = urlsplit(url).path
        credential: Credential | None = given["credential"]
        secret = () if credential is None else ((credential.header, credential.value),)
        begun = RecordedExchange(
            purpose=given["purpose"],
            method=method,
            url=redacted_url(url),
            started_at=self.clock(),
            ended_at=self.now,
            request_headers=redacted_headers((("Host", "h"), *given["headers"], *secret)),
            request_body=given["body"],
            session=given["session"],
            complete=False,
        )
        self.sent.append(url)
        if given["purpose"] == "chat":
            self.chats.append(given["body"])
        reply = self.reply(path)
        self.log(path)
        if isinstance(reply, Failure):
            return replace(begun, failure=reply, ended_at=self.clock())
        failure = None
        if isinstance(reply, tuple):
            reply, failure = reply
        status, body = (reply, b'{"error":"no"}') if isinstance(reply, int) else (200, reply)
        first = self.clock()
        head = replace(
            begun,
            status=status,
            response_headers=self.headers,
            first_byte_at=first,
            ended_at=first,
            connection="c1",
        )
        sink, half = given["sink"], len(body) // 2
        sink.begin(head)
        for start, stop in ((0, half), (half, len(body))):
            sink.write(body[start:stop])
            given["watch"](stop)
        stored = sink.finish()
        whole = replace(head, ended_at=self.clock(), complete=failure is None, failure=failure)
        if len(body) > (16 << 20) - 32:
            return replace(whole, response_file=stored)
        return replace(whole, response_body=body or None)


def nonce_in(url: str) -> bytes:
    """The nonce of an attestation request."""
    return bytes.fromhex(parse_qs(urlsplit(url).query)["nonce"][0])


@dataclass(kw_only=True)
class Case:
    """One capture to be made in a folder."""

    folder: Path
    network: Network = field(default_factory=Network)
    provider: Tiny = field(default_factory=Tiny)
    signers: tuple[FileSigner, ...] = (CAPTURER,)
    events: list[Event] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    drawn: int = 0

    @property
    def out(self) -> Path:
        return self.folder / "o.evidence.json"

    @property
    def journal(self) -> Path:
        return self.folder / "o.evidence.json.journal"

    def random_bytes(self, size: int) -> bytes:
        self.drawn += 1
        return sha256(b"%d %d" % (self.drawn, id(self))).digest()[:size]

    def means(self, **more: Any) -> Means:
        made = Means(
            transport=self.network,
            signers=self.signers,
            clock=self.network.clock,
            credentials={"provider": Credential(header="Authorization", value=f"Bearer {KEY}")},
            secrets=(KEY,),
            watch=self.events.append,
            sleep=self.waits.append,
            jitter=lambda: 0.0,
            random_bytes=self.random_bytes,
        )
        return replace(made, **more)

    def asked(self, **more: Any) -> CaptureAsked:
        made = CaptureAsked(
            provider=self.provider,
            out=self.out,
            operator="operator",
            model="m",
            prompt="hello",
        )
        return replace(made, **more)
