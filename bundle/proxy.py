"""The recording proxy: one bundle for each chat that passes, attested before and after.

`bundle.relay` carries the bytes; what is decided here is what becomes of them. A chat is let
through once its model is attested; attestation and collateral are shared by the chats of a model
and renewed while it is in use. A chat that has ended is put into a journal, its signature is looked
up at once, then it waits for the next round: the attestation after it, and the one before the chats
that follow. Then it is sealed, in a process of its own, so that no client waits for that.

No chat passes unrecorded: what cannot be recorded is refused. Finishing has a bounded queue; where
it is full, new chats wait. What a proxy that was killed leaves is finished by the next one that has
the same folder: look-ups of whole answers are made up for, interrupted chats are sealed as
incomplete.

Source: issue of live capture, point 5; providers.md 2.4; bundle-format.md 6, 9.3.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import multiprocessing
import os
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from bundle import finishing, spool
from bundle.calls import Provider, Steps
from bundle.finishing import Done, Ended, Job, Round, Sealing, Setup
from bundle.journal import Journal
from bundle.providers.basis import Basis
from bundle.recording import Failure, RecordedExchange, redacted_url
from bundle.relay import Asked, Pairs, Refused, Relay, Ticket, Upstream
from bundle.seal import SealError
from verify.engine.errors import FormatError, TeebundleError, UsageError
from verify.wire.strict_json import Profile, parse

WORK: Final = ".teebundle-proxy"
STATUS: Final = "/.teebundle/status"
_LOOK_UPS: Final = 16
_ROUNDS: Final = 4
_TRIES: Final = 3
"""Rounds that may fail in a row before chats are sealed without a second attestation."""
_AGAIN_S: Final = 15.0
_EARLY_S: Final = 5.0
_IDLE_ROUNDS: Final = 3
_BIG: Final = 256 << 10
_CHAT: Final = "/chat/completions"

Tell = Callable[[Mapping[str, object]], None]
"""Takes an event: ``event`` names it, the other members are JSON values. No secret is in one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a proxy behaves. ``refresh_s``: age at which an attestation is renewed.

    ``queue``: chats that may be waiting to be finished. ``require``: refuse chats of a model that
    cannot be attested; else they are recorded without. ``model``: of requests that name none.
    ``processes``: that seal; 0: in this one. ``most_clients``: connections at once.
    """

    refresh_s: float = 300.0
    queue: int = 256
    require: bool = True
    model: str | None = None
    processes: int = 1
    most_clients: int = 4096


def chat_path(provider: Provider, base_url: str, options: Mapping[str, str]) -> str:
    """Return the path of a provider's chats below its base URL."""
    if isinstance(provider, Basis):
        return provider.chat_path(_Asking(base_url=base_url, options=dict(options)))
    return "/v1" + _CHAT


def api_base(base_url: str, path: str) -> str:
    """Return the address that a client's ``/v1`` stands for: that of the chats, less their name."""
    for tail in (_CHAT, "/completions", "/completion"):
        if path.endswith(tail):
            return base_url + path.removesuffix(tail)
    return base_url


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asking:
    """A scene without a session: enough to ask a provider for address and headers of a chat."""

    base_url: str
    options: dict[str, str]
    algorithms: tuple[str, ...] = ()
    model: str | None = None
    chat_body: bytes | None = None
    stream: bool = False
    session: str = "s1"

    def nonce(self, step: str) -> bytes:
        """No session, no nonces."""
        # a provider that wants one to say where its chats go would be a fault: told, not hidden
        raise NotImplementedError(step)

    def collateral(self, label: str, attestations: tuple[RecordedExchange, ...]) -> Steps[None]:
        """No session, no collateral."""
        # the same
        raise NotImplementedError(label, attestations)


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """A chat in its journal. ``ended_at``: of its exchange. ``trouble``: of its look-ups."""

    folder: Path
    model: str
    before: Round | None
    ended_at: datetime
    trouble: str


class _Chat:
    """The ticket of one chat (`bundle.relay.Ticket`): writes its spool."""

    purpose = "chat"
    session = "s1"

    def __init__(
        self,
        proxy: Proxy,
        line: _Line,
        *,
        name: str,
        before: Round | None,
        url: str,
        extra: Pairs,
        file: spool.Spool,
    ) -> None:
        self.url: str | None = url
        self.extra = extra
        self.name = name
        self.before = before
        self.line = line
        self.file = file
        self.cut = False
        self._proxy = proxy
        self._broken = ""

    def _write(self, write: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            write()
        except OSError as error:
            # the client gets its answer all the same; what can still be had is sealed from memory
            self._broken = error.strerror or type(error).__name__
            self._proxy.tell(
                {"event": "disk", "chat": self.name, "what": f"cannot be written: {self._broken}"}
            )

    def began(self, head: RecordedExchange) -> None:
        """Status and headers came."""
        self._write(lambda: self.file.head(head))

    def heard(self, part: bytes) -> None:
        """Some of the body came."""
        self._write(lambda: self.file.part(part))
        self.cut = self.cut or bool(self._broken)

    def finished(self, recorded: RecordedExchange) -> None:
        """The answer ended: finish the chat behind the client's back."""
        self._write(lambda: self.file.end(recorded))
        self.file.close()
        if self._broken and self.cut and recorded.response_body is None:
            what = f"the answer could not be written to disk: {self._broken}"
            cut = Failure(trouble="interrupted", what=what)
            recorded = replace(recorded, complete=False, failure=recorded.failure or cut)
        self._proxy.ended(self, recorded)

    def abandoned(self, why: Failure) -> None:
        """Nothing was sent: there is nothing to record."""
        self.file.close()
        with contextlib.suppress(OSError):
            self.file.path.unlink()
        self._proxy.left(self, why)


class _Line:
    """One model: its rounds, and the chats that wait for the next. Lives in the loop's thread."""

    def __init__(self, proxy: Proxy, model: str) -> None:
        self.proxy = proxy
        self.model = model
        self.provider = proxy.make_provider()
        self.current: Round | None = None
        self.waiting: list[_Waiting] = []
        self.failures = 0
        self.trouble = ""
        self._used = False
        self._idle = 0
        self.made_at = 0.0
        self._tried_at = 0.0
        self._renewing: asyncio.Task[Round | None] | None = None
        self._wake = asyncio.Event()
        self._keeper = asyncio.ensure_future(self._keep())

    # rounds

    async def attested(self) -> Round | None:
        """Return the round that a chat which begins now has before it, None where none is had."""
        self._used = True
        age = self.proxy.loop.time() - self.made_at
        refresh = self.proxy.options.refresh_s
        if self.current is not None and age < 2 * refresh:
            self._wake.set()
            return self.current
        lately = self.proxy.loop.time() - self._tried_at < min(refresh, _AGAIN_S)
        if self.failures and lately and not self.proxy.options.require:
            return None  # who takes chats without an attestation need not wait for each failure
        return await asyncio.shield(self.renew())

    def renew(self) -> asyncio.Task[Round | None]:
        """Make a round, unless one is being made; it gives None where it is of no use."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.ensure_future(self._renew())
        return self._renewing

    async def _renew(self) -> Round | None:
        proxy = self.proxy
        self._tried_at = began = proxy.loop.time()
        self._idle = 0 if self._used or self.waiting else self._idle + 1
        self._used = False
        name = proxy.fresh("round")
        made: Round | None = None
        try:
            made = await proxy.loop.run_in_executor(
                proxy.rounds,
                partial(
                    finishing.make_round,
                    proxy.setup,
                    self.provider,
                    self.model,
                    name,
                    self.current,
                ),
            )
            self.trouble = made.trouble
        except Exception as error:  # noqa: BLE001  (no failure of one model stops the proxy)
            self.trouble = _said(error)
        usable = made is not None and not made.trouble
        proxy.tell(
            {
                "event": "attested" if usable else "not-attested",
                "model": self.model,
                "what": self.trouble,
                "seconds": round(proxy.loop.time() - began, 3),
                "chats": len(self.waiting),
            }
        )
        if usable and made is not None:
            self.failures = 0
            self.made_at = proxy.loop.time()
            self.current = made
            proxy.keep(made)
            self._release(made)
            proxy.tidy()
            return made
        self.failures += 1
        if made is not None:
            proxy.keep(made)
        if self.failures >= _TRIES or proxy.stopping:
            self._release(made, forced=True)
        proxy.tidy()
        return None

    def _release(self, after: Round | None, *, forced: bool = False) -> None:
        """Seal every chat that ended before this round began; all of them where ``forced``."""
        still = []
        for chat in self.waiting:
            if forced or (after is not None and after.began_at >= chat.ended_at):
                self.proxy.seal(chat, after)
            else:
                still.append(chat)
        self.waiting = still

    def add(self, chat: _Waiting) -> None:
        """Take a chat whose look-ups are done: seal it, or let it wait for the next round."""
        self.waiting.append(chat)
        if self.current is not None:
            self._release(self.current)
        self._wake.set()

    def _due(self) -> float | None:
        """Return the seconds until the next round, None while none is called for."""
        refresh = self.proxy.options.refresh_s
        needed = bool(self.waiting) or self._used
        if self.failures:
            pause = min(refresh, _AGAIN_S) if needed else None
        elif self.current is None:
            pause = 0.0 if self.waiting else None
        elif len(self.waiting) >= self.proxy.options.queue:
            pause = min(refresh, _EARLY_S)
        else:
            pause = refresh if needed or self._idle < _IDLE_ROUNDS else None
        if pause is None:
            return None
        last = max(self.made_at, self._tried_at)
        return max(0.0, last + pause - self.proxy.loop.time())

    async def _keep(self) -> None:
        """Renew the attestation while the model is in use, and for a while after that."""
        while True:
            due = self._due()
            if due == 0.0:
                await asyncio.shield(self.renew())
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(due):
                    await self._wake.wait()
            self._wake.clear()

    async def finish(self) -> None:
        """Make the last rounds, until no chat waits."""
        if self._renewing is not None:
            await asyncio.wait({self._renewing})
        while self.waiting:
            await self.renew()

    def close(self) -> None:
        """Renew no more."""
        self._keeper.cancel()
        if self._renewing is not None:
            self._renewing.cancel()


class Proxy:
    """A relay with its sessions. Make it inside a running loop; see `start`, `stop`, `break_off`.

    ``make_provider``: a fresh provider for each model. ``tell``: hears what happens.
    """

    def __init__(
        self,
        setup: Setup,
        sealing: Sealing,
        upstream: Upstream,
        *,
        make_provider: Callable[[], Provider],
        options: Options,
        tell: Tell,
        hosts: frozenset[str] | None = frozenset(),
    ) -> None:
        provider = make_provider()
        if not provider.has_chat:
            message = f"{provider.title}: its chats cannot be recorded here"
            raise UsageError(message)
        self.loop = asyncio.get_running_loop()
        self.setup = setup
        self.sealing = sealing
        self.options = options
        self._hear = tell
        self.make_provider = make_provider
        self.stopping = False
        self.written = 0
        self.failed = 0
        self.passed = 0
        self.under_way = 0
        self.rounds = ThreadPoolExecutor(_ROUNDS, thread_name_prefix="attest")
        self._path = urlsplit(upstream.base).path
        self._tail = chat_path(provider, setup.base_url, setup.options)
        self._look_ups = ThreadPoolExecutor(_LOOK_UPS, thread_name_prefix="look-up")
        self._sealer: Executor | None = None
        self._signers = finishing.signers_of(sealing)
        self._lines: dict[str, _Line] = {}
        self._kept: dict[str, Round] = {}
        self._in_use: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._finishing = 0
        self._numbers = itertools.count(1)
        self._token = setup.random_bytes(4).hex()
        self._room = asyncio.Condition()
        self._lock = -1
        self.relay = Relay(
            upstream,
            admit=self._admit,
            own=self._own,
            hosts=hosts,
            clock=setup.clock,
            most_clients=options.most_clients,
        )

    def tell(self, event: Mapping[str, object]) -> None:
        """Tell what happened; whoever cannot hear it stops nothing."""
        with contextlib.suppress(Exception):
            self._hear(event)

    def fresh(self, kind: str) -> str:
        """Return a name that no file in the work folder has: kind, time, number."""
        stamp = self.setup.clock().strftime("%Y%m%dT%H%M%S")
        return f"{kind}-{stamp}-{self._token}-{next(self._numbers):06d}"

    # --- running --------------------------------------------------------------------------------

    async def start(self, host: str | None, port: int = 0) -> int:
        """Take the folder, listen, begin to finish what an earlier run left; return the port.

        ``host`` None: nobody listens, and 0 is returned; chats come through `admit` alone.
        Raises UsageError where the folder is in use or cannot be written, or the address is taken.
        """
        work = self.setup.work
        try:
            work.mkdir(mode=0o700, parents=False, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._lock = os.open(work / "lock", flags, 0o600)
        except OSError as error:
            message = f"{work}: cannot be made or written: {error.strerror}"
            raise UsageError(message) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"{self.sealing.out}: another proxy writes there; name another --out"
            raise UsageError(message) from error
        self._sealer = self._new_sealer()
        if self._sealer is not None:
            self._sealer.submit(int)  # starts it: keys are read now, not when the first chat ended
        # what is there before anybody listens is an earlier run's, what comes then is not
        earlier = sorted(work.iterdir())
        try:
            found = 0 if host is None else await self.relay.listen(host, port)
        except OSError as error:
            message = f"cannot listen on {host}:{port}: {error.strerror or error}"
            raise UsageError(message) from error
        left = await self.loop.run_in_executor(self._look_ups, self._left, earlier)
        self._go_on(left)
        return found

    def _new_sealer(self) -> Executor | None:
        if self.options.processes == 0:
            return None
        return ProcessPoolExecutor(
            self.options.processes,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=finishing.prepare,
            initargs=(self.sealing,),
        )

    async def stop(self) -> int:
        """Take no more, let answers end, attest a last time, seal; return how many chats are left.

        What could not be sealed keeps its journal.
        """
        self.stopping = True
        async with self._room:
            self._room.notify_all()
        await self.relay.stop()
        while self._tasks or any(line.waiting for line in self._lines.values()):
            if self._tasks:
                await asyncio.wait(set(self._tasks))
            for line in self._lines.values():
                await line.finish()
        await self.loop.run_in_executor(None, self.shut)
        return self._close()

    async def break_off(self) -> int:
        """End at once; what is under way stays in the work folder. Return how much that is."""
        self.stopping = True
        self.setup.halt.set()
        await self.relay.break_off()
        for task in tuple(self._tasks):
            task.cancel()
        return self._close()

    def _close(self) -> int:
        for line in self._lines.values():
            line.close()
        self.rounds.shutdown(wait=False, cancel_futures=True)
        self._look_ups.shutdown(wait=False, cancel_futures=True)
        if self._sealer is not None:
            self._sealer.shutdown(wait=False, cancel_futures=True)
        work = self.setup.work
        left = len({path.name.removesuffix(spool.SUFFIX) for path in work.glob("chat-*")})
        if not left:
            for folder in work.glob("round-*"):
                _remove(folder)
            with contextlib.suppress(OSError):
                (work / "lock").unlink()
                work.rmdir()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        return left

    def shut(self) -> None:
        """Wait until no thread or process of the proxy runs any more. Blocks."""
        self.rounds.shutdown(wait=True)
        self._look_ups.shutdown(wait=True)
        if self._sealer is not None:
            self._sealer.shutdown(wait=True)

    def _own(self, asked: Asked) -> bytes | None:
        if asked.path != STATUS:
            return None
        return json.dumps(self.status()).encode()

    def status(self) -> dict[str, object]:
        """Return how the proxy is: counts of chats, and each model's attestation."""
        now = self.loop.time()
        return {
            "provider": self.setup.provider,
            "stopping": self.stopping,
            "chats": {
                "under_way": self.under_way,
                "finishing": self._finishing,
                "waiting_for_attestation": sum(len(x.waiting) for x in self._lines.values()),
                "queue": self.options.queue,
            },
            "bundles": {"written": self.written, "failed": self.failed},
            "passed_unrecorded": self.passed,
            "models": {
                line.model: {
                    "attested": line.current is not None,
                    "age_s": None if line.current is None else round(now - line.made_at, 3),
                    "failures": line.failures,
                    "trouble": line.trouble,
                }
                for line in self._lines.values()
            },
        }

    # --- a request ------------------------------------------------------------------------------

    def _is_chat(self, asked: Asked) -> bool:
        if asked.method != "POST":
            return False
        # as lenient as any service may be: no other way of writing the path passes unrecorded
        path = "/" + "/".join(part for part in unquote(asked.path).lower().split("/") if part)
        return path.endswith(_CHAT) or (
            not self._tail.endswith(_CHAT) and path.endswith(("/completions", "/completion"))
        )

    async def admit(self, asked: Asked) -> _Chat | None:
        """Let a chat through that another one carries; None: what was asked is no chat.

        Raises `bundle.relay.Refused` where it cannot be recorded.
        """
        ticket = await self._admit(asked)
        return ticket if isinstance(ticket, _Chat) else None

    async def attest(self, model: str, *, anew: bool = False) -> str:
        """Attest a model where it is not yet, or ``anew``; return why that failed, else nothing."""
        line = self._lines.get(model)
        if line is None:
            line = self._lines[model] = _Line(self, model)
        made = await (asyncio.shield(line.renew()) if anew else line.attested())
        return "" if made is not None else line.trouble or "no answer"

    def chat_url(self, model: str | None) -> str:
        """Return where a model's chats go, as far as that is known; the common place if not."""
        line = None if model is None else self._lines.get(model)
        common = self.relay.upstream.base + _CHAT
        if line is None or line.current is None:
            return common
        setup = self.setup
        scene = _Asking(
            base_url=setup.base_url,
            options=dict(setup.options),
            algorithms=setup.algorithms,
            model=model,
            chat_body=b"{}",
        )
        return line.provider.chat_call(scene).url

    async def _admit(self, asked: Asked) -> Ticket | None:
        """Let a request through: a chat once it can be recorded, anything else at once."""
        if not self._is_chat(asked):
            self.passed += 1
            return None
        model = await self._model(asked.body)
        async with self._room:
            await self._room.wait_for(lambda: self._finishing < self.options.queue or self.stopping)
        if self.stopping:
            raise Refused(503, "stopping", "the proxy is stopping", retry_after=5)
        line = self._lines.get(model)
        if line is None:
            line = self._lines[model] = _Line(self, model)
        before = await line.attested()
        if before is None and self.options.require:
            self._drop_unused(line)
            what = f"the model cannot be attested: {line.trouble or 'no answer'}"
            raise Refused(503, "attestation_failed", what, retry_after=30)
        return self._ticket(asked, line, before)

    async def _model(self, body: bytes) -> str:
        if len(body) > _BIG:
            found = await self.loop.run_in_executor(self._look_ups, _model_of, body)
        else:
            found = _model_of(body)
        model = found or self.options.model
        if not model:
            what = "the request names no model, so there is nothing to attest (--model sets one)"
            raise Refused(400, "no_model", what)
        if len(model) > 256 or not model.isprintable():
            raise Refused(400, "no_model", "the model's name is no name")
        return model

    def _drop_unused(self, line: _Line) -> None:
        """Forget a model that nobody could attest: names come from clients without a bound."""
        if line.current is None and not line.waiting and self._lines.get(line.model) is line:
            line.close()
            del self._lines[line.model]

    def _ticket(self, asked: Asked, line: _Line, before: Round | None) -> Ticket:
        setup = self.setup
        body = asked.body
        self.relay.demand_no_secret(asked)
        extra: Pairs = ()
        url = self.relay.upstream.base + asked.path
        if before is not None:
            scene = _Asking(
                base_url=setup.base_url,
                options=dict(setup.options),
                algorithms=setup.algorithms,
                model=line.model,
                chat_body=body,
            )
            call = line.provider.chat_call(scene)
            url, extra = call.url, call.headers
        name = self.fresh("chat")
        now = setup.clock()
        question = asked.target.partition("?")[1:]
        begun = RecordedExchange(
            purpose="chat",
            method=asked.method,
            url=redacted_url(url + "".join(question), self.relay.forms),
            started_at=now,
            ended_at=now,
            request_body=body or None,
            complete=False,
        )
        told = {"model": line.model, "before": None if before is None else before.name}
        try:
            file = spool.Spool.create(setup.work / (name + spool.SUFFIX), told, begun)
        except OSError as error:
            what = f"the chat cannot be recorded ({error.strerror}); it was not sent"
            self.tell({"event": "disk", "chat": name, "what": what})
            raise Refused(503, "not_recordable", what, retry_after=30) from None
        self.under_way += 1
        self._hold(before)
        return _Chat(self, line, name=name, before=before, url=url, extra=extra, file=file)

    # --- a chat that has ended ------------------------------------------------------------------

    def left(self, chat: _Chat, why: Failure) -> None:
        """Hear that a chat was not sent."""
        self.under_way -= 1
        self._let_go(chat.before)
        self.tell({"event": "not-sent", "model": chat.line.model, "what": why.what})

    def ended(self, chat: _Chat, recorded: RecordedExchange) -> None:
        """Hear that a chat's answer has ended; finish it."""
        self.under_way -= 1
        self._finishing += 1
        before = chat.before
        body = None
        if recorded.response_body is None:
            body = spool.Spooled(path=chat.file.path, told={}, recorded=recorded, ended=True)
        ended = Ended(
            name=chat.name,
            model=chat.line.model,
            before=None if before is None else before.name,
            recorded=recorded,
            body=body,
        )
        self._task(self._finish(chat.line, ended, before, chat.file.path))

    def _task(self, work: Coroutine[None, None, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(
        self, line: _Line, ended: Ended, before: Round | None, file: Path | None
    ) -> None:
        """Journal a chat, look up what signs it, and let it wait for the next round."""
        try:
            folder = self.setup.work / ended.name
            provider = None if before is None else line.provider
            trouble = await self.loop.run_in_executor(
                self._look_ups, partial(_kept, self.setup, provider, ended, file)
            )
        except Exception as error:  # noqa: BLE001  (no failure of one chat stops the proxy)
            self._lost(ended.name, ended.model, _said(error), before)
        else:
            await self._freed()
            line.add(
                _Waiting(
                    folder=folder,
                    model=ended.model,
                    before=before,
                    ended_at=ended.recorded.ended_at,
                    trouble=trouble,
                )
            )
            return
        await self._freed()

    async def _freed(self) -> None:
        self._finishing -= 1
        async with self._room:
            self._room.notify_all()

    def _lost(self, name: str, model: str, what: str, before: Round | None) -> None:
        self.failed += 1
        self._let_go(before)
        self.tell(
            {
                "event": "failed",
                "model": model,
                "what": what,
                "kept": str(self.setup.work / name),
            }
        )

    def seal(self, chat: _Waiting, after: Round | None) -> None:
        """Seal a chat between its rounds."""
        self._finishing += 1
        self._hold(after)
        job = finishing.job_of(chat.folder, chat.before, after, chat.trouble)
        self._task(self._seal(chat, after, job))

    async def _seal(self, chat: _Waiting, after: Round | None, job: Job) -> None:
        try:
            done = await self._sealed(job)
        except Exception as error:  # noqa: BLE001  (no failure of one chat stops the proxy)
            self._lost(chat.folder.name, chat.model, _said(error), chat.before)
        else:
            self._let_go(chat.before)
            self.written += 1
            self.tell(
                {
                    "event": "bundle",
                    "file": str(done.path),
                    "id": done.bundle_id,
                    "chat": done.chat,
                    "status": done.status,
                    "complete": done.complete,
                    "size": done.size,
                    "verdict": done.verdict,
                    "notes": list(done.notes),
                }
            )
        finally:
            self._let_go(after)
            await self._freed()

    async def _sealed(self, job: Job) -> Done:
        if self._sealer is None:
            return await self.loop.run_in_executor(
                self._look_ups, finishing.seal_chat, job, self.sealing, self._signers
            )
        sealer = self._sealer
        try:
            return await self.loop.run_in_executor(sealer, finishing.seal_prepared, job)
        except BrokenProcessPool:
            # a sealing process was ended from outside: one more try with new ones
            if self._sealer is sealer:
                self._sealer = self._new_sealer()
            return await self.loop.run_in_executor(self._sealer, finishing.seal_prepared, job)

    # --- rounds on disk -------------------------------------------------------------------------

    def keep(self, made: Round) -> None:
        """Remember a round for as long as chats need its journal."""
        self._kept[made.name] = made

    def _hold(self, made: Round | None) -> None:
        if made is not None:
            self._in_use[made.series] = self._in_use.get(made.series, 0) + 1

    def _let_go(self, made: Round | None) -> None:
        if made is not None:
            self._in_use[made.series] -= 1

    def tidy(self) -> None:
        """Remove the journals of series that nobody needs any more."""
        current = {x.current.series for x in self._lines.values() if x.current is not None}
        for name, made in tuple(self._kept.items()):
            if made.series not in current and not self._in_use.get(made.series):
                del self._kept[name]
                self._in_use.pop(made.series, None)
                self.loop.run_in_executor(self.rounds, _remove, self.setup.work / name)

    # --- what an earlier run left ---------------------------------------------------------------

    def _left(self, earlier: list[Path]) -> list[tuple[Ended, Round | None]]:
        """Read what an earlier run left; a chat of another provider or key stays as it is."""
        rounds = finishing.rounds_left(
            self.setup, [path for path in earlier if path.name.startswith("round-")]
        )
        self._kept.update(rounds)
        found: list[tuple[Ended, Round | None]] = []
        chats = [path for path in earlier if path.name.startswith("chat-")]
        for name in sorted({path.name.removesuffix(spool.SUFFIX) for path in chats}):
            folder = self.setup.work / name
            try:
                chat = self._left_chat(folder, rounds)
            except (TeebundleError, OSError) as error:
                self.tell({"event": "failed", "what": str(error), "kept": str(folder)})
                continue
            if chat is not None:
                found.append(chat)
        return found

    def _left_chat(
        self, folder: Path, rounds: Mapping[str, Round]
    ) -> tuple[Ended, Round | None] | None:
        """Read one chat of an earlier run, None where it was not sent. Raises what reading does."""
        setup = self.setup
        path = folder.with_name(folder.name + spool.SUFFIX)
        if path.exists():
            spooled = spool.read(path)
            if spooled is None:
                path.unlink()  # it was not sent: the request is written before
                return None
            _remove(folder)  # where there is one, it was not ended
            ended = Ended(
                name=folder.name,
                model=spooled.told.get("model") or "",
                before=spooled.told.get("before"),
                recorded=spooled.recorded,
                body=spooled,
            )
            finishing.keep_chat(setup, ended)
            path.unlink()
        with Journal.open(folder, secrets=setup.secrets) as journal:
            plan, chat = journal.plan, journal.answered("chat")
        if (plan.provider, plan.signers) != (setup.provider, setup.signers) or chat is None:
            message = "was recorded for another provider or key; run the proxy with those"
            raise UsageError(message)
        before = rounds.get(plan.settings.get("before") or "")
        ended = Ended(
            name=folder.name,
            model=plan.model or "",
            before=None if before is None else before.name,
            recorded=chat,
        )
        return ended, before

    def _go_on(self, left: list[tuple[Ended, Round | None]]) -> None:
        for ended, before in left:
            self._finishing += 1
            self._hold(before)
            self._task(self._make_up(ended, before))
        if not left:
            self.tidy()

    async def _make_up(self, ended: Ended, before: Round | None) -> None:
        """Finish a chat of an earlier run: attest, look up, wait."""
        line = self._lines.get(ended.model)
        if line is None:
            line = self._lines[ended.model] = _Line(self, ended.model)
        await line.attested()
        await self._finish(line, ended, before, None)


def _said(error: Exception) -> str:
    """Return what went wrong in one line; of an error that nobody foresaw, its kind alone."""
    if isinstance(error, (TeebundleError, SealError, BrokenProcessPool, OSError)):
        return str(error)
    return f"unexpected {type(error).__name__}; please report it"


def _model_of(body: bytes) -> str | None:
    """Return the model that a request names, None where it names none."""
    try:
        # the strict reader: a client's brackets must not decide how deep the stack grows
        value = parse(body, profile=Profile.EVIDENCE, limit=max(len(body), 1))
    except FormatError:
        return None
    found = value.get("model") if isinstance(value, Mapping) else None
    return found if isinstance(found, str) else None


def _kept(setup: Setup, provider: Provider | None, ended: Ended, file: Path | None) -> str:
    """Put a chat into its journal and look up what signs it; return what was not had of that.

    ``provider`` None: nobody knows where to look. ``file``: its spool, which has done its duty once
    the journal is there; None where there is a journal already.
    """
    if file is not None:
        finishing.keep_chat(setup, ended)
        with contextlib.suppress(OSError):
            file.unlink()
    if provider is None:
        return ""
    return finishing.look_up(setup, provider, setup.work / ended.name)


def _remove(folder: Path) -> None:
    """Delete a journal that nobody needs; what cannot be deleted stays."""
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir(), key=lambda path: path.name != "records"):
            path.unlink()
        folder.rmdir()
