"""Record an application's own chats, each sealed into a bundle, without a proxy beside it.

::

    import httpx, openai
    from bundle import Recorder

    with Recorder("near-direct", model=MODEL, key="k/signer.key", out="bundles") as recorder:
        client = openai.OpenAI(
            base_url=recorder.base_url,
            api_key=API_KEY,
            http_client=httpx.Client(transport=recorder.transport()),
        )
        client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    print([done.path for done in recorder.bundles])

What becomes of the chats is the proxy's own business (`bundle.proxy`), which runs here in a thread
and listens nowhere: attestation with collateral before the first chat, look-ups of signatures as
soon as a chat has ended, another attestation after it, one bundle for each chat.

Source: issue of live capture, point 6; providers.md 2.4; bundle-format.md 6, 9.3.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import os
import threading
import warnings
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast
from urllib.parse import urlsplit

import anyio.to_thread

from bundle.calls import CHAT
from bundle.collateral import Endpoints
from bundle.commands.proxy import Wish, make
from bundle.driver import unsent
from bundle.finishing import Done
from bundle.inprocess import AsyncRecordingTransport, Leave, RecordingTransport, purpose_of
from bundle.journal import CaptureError
from bundle.peer import Trust
from bundle.proxy import WORK, Proxy, api_base
from bundle.recording import Failure, RecordedExchange
from bundle.relay import Asked, Refused
from bundle.settings import SHORTEST_SECRET, Given, Settings, settle
from bundle.transport import Transport, demand_address
from verify.engine.errors import TeebundleError, UsageError

if TYPE_CHECKING:
    from bundle.inprocess import AsyncInner, Inner
    from bundle.proxy import _Chat

T = TypeVar("T")
File = str | os.PathLike[str]

_PART: Final = 1 << 20
_LAST_LOOKS: Final = 100
_LOOK_S: Final = 0.01
_VERIFIED: Final = "VERIFIED"
_INTERRUPTED: Final = Failure(
    trouble="interrupted", what="the application ended before it was sent"
)


class RecordingWarning(UserWarning):
    """Something about the recording is not as it should be; every chat has its bundle."""


class RecordingError(CaptureError):
    """A chat that went through has no bundle. ``troubles``: all that happened."""

    def __init__(self, what: str, troubles: tuple[Trouble, ...]) -> None:
        super().__init__(what)
        self.troubles = troubles


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What went wrong, one line for people. ``model``: whose, empty where none is concerned.

    ``lost``: a chat has no bundle for it. ``file``: the bundle that is not as it should be, or the
    journal that a chat without one has left; None where there is neither.
    """

    what: str
    model: str = ""
    lost: bool = False
    file: Path | None = None


class Recorder:
    """Records the chats that go through its transports and seals each into a bundle.

    Use it once, with ``with`` or ``async with``. On entering, ``model`` is attested; on leaving, it
    is attested again, and the bundles that wait for that are written. Chats of other models are
    recorded as well: the first of each waits for its attestation. Everything that is not a POST to
    the provider's chats (below `base_url`) passes as it is and is counted in `passed`.

    Request and answer are not altered, so there is no marker: the policy leaves that subject out.
    ``Accept-Encoding`` is ``identity``; the request goes to where the provider has the chats of its
    model, and gets headers that the provider's chats need where it has none of that name.

    Trouble with the recording never reaches the application's requests: a chat that cannot be
    recorded or attested goes through all the same. It is collected in `troubles`. On leaving,
    `RecordingError` is raised where a chat has no bundle, unless another exception is under way;
    for anything less, such as an incomplete bundle or a verdict other than VERIFIED, there is one
    `RecordingWarning`.

    A chat waits for the recorder only where its model has no attestation younger than twice
    ``refresh``, or where ``queue`` chats are being finished.

    What ``kill -9`` leaves stands in ``out/.teebundle-proxy`` and is finished by the next recorder
    or proxy with the same ``out`` and key: chats whose answer had ended, whole; of a chat that was
    under way, the request alone, sealed as incomplete: what had come of its answer is lost. (The
    proxy keeps that, too.)

    ``provider``, and options: named, and with the defaults, as of ``teebundle proxy``; a file named
    by ``config`` gives what is not given here. ``key``: file, or files, the first of which is the
    one that nonces commit to. ``api_key``: for attestations and look-ups, the application's client
    has its own; None: that of ``api_key_env``, or, at the provider's own address, of the
    provider's variable. ``require``: raise on entering where ``model`` cannot be attested, else
    record without. ``refresh``: seconds after which an attestation is renewed while its model is in
    use; None: only by `renew` and on leaving. ``nras``: agrees to what that sends to NVIDIA.
    ``timeout``: seconds without a byte; ``max_response``: MiB, in attestations and recorded
    answers. ``policy``: verify each bundle under it. No key is ever written.

    Raises UsageError for what cannot be asked. ``out`` belongs to one recorder at a time.
    """

    def __init__(
        self,
        provider: str | None = None,
        *,
        key: File | Sequence[File] = (),
        out: File,
        model: str | None = None,
        api_key: str | None = None,
        api_key_env: str | None = None,
        base_url: str | None = None,
        profile: str | None = None,
        passphrase: bytes | None = None,
        passphrase_env: str | None = None,
        ca_file: File | None = None,
        proxy: str | None = None,
        unverified_hosts: Sequence[str] = (),
        algorithms: Sequence[str] = (),
        operator: str | None = None,
        policy: File | None = None,
        trust: Sequence[File] = (),
        signer: Sequence[File] = (),
        tsa: Sequence[str] = (),
        timeout: float | None = None,
        max_response: int | None = None,
        nras: bool | None = None,
        nras_key: str | None = None,
        nras_key_env: str | None = None,
        endpoints: Endpoints | Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        config: File | None = None,
        refresh: float | None = 300.0,
        queue: int = 256,
        require: bool = True,
    ) -> None:
        if refresh is not None and not refresh > 0:
            raise UsageError(f"refresh is a number of seconds above 0, not {refresh}")
        if queue < 1:
            raise UsageError(f"queue is at least 1, not {queue}")
        given = Given(
            provider=provider,
            base_url=base_url,
            profile=profile,
            model=model,
            api_key_env=api_key_env,
            nras_key_env=nras_key_env,
            key=_paths(key),
            passphrase_env=passphrase_env,
            ca_file=None if ca_file is None else Path(ca_file),
            proxy=proxy,
            unverified_hosts=tuple(unverified_hosts),
            algorithms=tuple(algorithms),
            operator=operator,
            policy=None if policy is None else Path(policy),
            trust=_paths(trust),
            signer=_paths(signer),
            tsa=tuple(tsa),
            timeout=timeout,
            max_response=max_response,
            nras=nras,
            options=tuple(f"{name}={value}" for name, value in (options or {}).items()),
            config=None if config is None else Path(config),
        )
        settings = settle(given)
        if isinstance(endpoints, Endpoints):
            settings = replace(settings, endpoints=endpoints)
        elif endpoints:
            settings = replace(settings, endpoints=_endpoints(settings.endpoints, endpoints))
        for url in asdict(settings.endpoints).values():
            demand_address(url)
        if api_key is not None:
            settings = replace(settings, api_key=_secret("api_key", api_key))
        if nras_key is not None:
            settings = replace(settings, nras_key=_secret("nras_key", nras_key))
        if passphrase is not None:
            settings = replace(settings, passphrase=passphrase)
        self._settings: Settings = settings
        self._require = require
        self._wish = Wish(
            out=Path(out),
            refresh_s=math.inf if refresh is None else float(refresh),
            queue=queue,
            require=False,  # of the application's requests; on entering it is looked at here
        )
        self._out = Path(out)
        self._made_out = False
        self._lock = threading.Lock()
        self._transports: list[RecordingTransport | AsyncRecordingTransport] = []
        self._trust: Trust | None = None
        self._bundles: list[Done] = []
        self._troubles: list[Trouble] = []
        self._passed = 0
        self._bases: dict[tuple[str, str, int | None, str], None] = {}
        self._proxy: Proxy | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._halt: asyncio.Event | None = None
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ended: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._thread: threading.Thread | None = None
        self._open = False

    def __repr__(self) -> str:
        """Name provider and folder, nothing else."""
        return f"Recorder({self._settings.provider!r}, out={str(self._out)!r})"

    # --- for the application --------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """Where an OpenAI client sends requests: the address of `Recorder.model`'s chats.

        Raises UsageError outside of ``with``.
        """
        proxy = self._running()
        return api_base("", proxy.chat_url(self._settings.model))

    @property
    def bundles(self) -> tuple[Done, ...]:
        """What was written so far, in order; those that an earlier run had left are among them."""
        return tuple(self._bundles)

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What went wrong so far, in order."""
        return tuple(self._troubles)

    @property
    def passed(self) -> int:
        """How many requests went through unrecorded."""
        return self._passed

    def transport(self, inner: Inner | None = None) -> RecordingTransport:
        """Return a transport for an ``httpx.Client``; make as many as there are clients.

        ``inner``: what really sends; default: an ``httpx.HTTPTransport`` that believes ``ca_file``
        and goes through ``proxy``. Whoever uses the transport closes it.
        """
        made = RecordingTransport(
            inner, **self._given(), verify=self._context(), proxy=self._settings.proxy
        )
        self._transports.append(made)
        return made

    def async_transport(self, inner: AsyncInner | None = None) -> AsyncRecordingTransport:
        """Return a transport for an ``httpx.AsyncClient``; see `transport`."""
        made = AsyncRecordingTransport(
            inner, **self._given(), verify=self._context(), proxy=self._settings.proxy
        )
        self._transports.append(made)
        return made

    def renew(self, model: str | None = None) -> bool:
        """Attest a model now, None for the recorder's own; return whether that came off.

        Bundles of its chats that have ended before are written then. Waits; among tasks, call it
        with ``asyncio.to_thread``. Raises UsageError outside of ``with`` or without a model.
        """
        proxy = self._running()
        wanted = model or self._settings.model
        if not wanted:
            raise UsageError("name the model to attest")
        return not self._waited(self._begun(proxy.attest(wanted, anew=True)))

    # --- from beginning to end ------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Take the folder, attest. Raises UsageError, and `CaptureError` where that fails."""
        if self._thread is not None:
            raise UsageError("a recorder is used once; make another one")
        try:
            if not self._out.is_dir():
                self._out.mkdir(mode=0o700)
                self._made_out = True
        except OSError as error:
            raise UsageError(f"{self._out}: cannot be made: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, name="teebundle-recorder", daemon=True)
        self._thread.start()
        try:
            self._ready.result()
        except BaseException:
            self._break_off()
            self._thread.join()
            self._tidy()
            raise
        self._open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Attest again, write every bundle, tell of troubles. Raises `RecordingError`.

        Answers under way are recorded as incomplete as far as they have come; they go on.
        """
        self._leave()
        self._tell_troubles(raising=error is None)

    async def __aenter__(self) -> Self:
        """See `__enter__`."""
        await anyio.to_thread.run_sync(self.__enter__)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """See `__exit__`."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._leave)
        self._tell_troubles(raising=error is None)

    def _leave(self) -> None:
        self._open = False
        if self._thread is None or self._loop is None or self._end is None:
            return
        for transport in tuple(self._transports):
            transport.hand_over()
        # callbacks run in order: everything handed over until now comes before the end
        self._loop.call_soon_threadsafe(self._end.set)
        try:
            left = self._ended.result() - sum(1 for one in self._troubles if one.file and one.lost)
            if left > 0:
                work = self._out / WORK
                what = f"chats left in {work} for the next recorder to finish: {left}"
                self._trouble(Trouble(what=what, lost=True, file=work))
        except BaseException:
            self._break_off()
            raise
        finally:
            self._thread.join()
            self._tidy()

    def _break_off(self) -> None:
        if self._loop is not None and self._halt is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._halt.set)

    def _tidy(self) -> None:
        if self._made_out:
            with contextlib.suppress(OSError):  # it is kept where something is in it
                self._out.rmdir()

    def _tell_troubles(self, *, raising: bool) -> None:
        troubles = self.troubles
        if not troubles:
            return
        lost = [trouble for trouble in troubles if trouble.lost]
        told = "; ".join(dict.fromkeys(trouble.what for trouble in lost or troubles))
        if lost and raising:
            count = f"{len(lost)} chats have" if len(lost) > 1 else "a chat has"
            message = f"{count} no bundle: {told}"
            raise RecordingError(message, troubles)
        # where warnings are errors, it must not take the place of what is under way
        with contextlib.nullcontext() if raising else contextlib.suppress(RecordingWarning):
            warnings.warn(f"recording: {told}", RecordingWarning, stacklevel=3)

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            left = asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001  (told to the thread that waits)
            for waited in (self._ready, self._ended):
                if not waited.done():
                    waited.set_exception(error)
        else:
            self._ended.set_result(left)

    async def _main(self) -> int:
        """Begin, wait for the end, end; return how many chats are left in the work folder."""
        self._end, self._halt = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        proxy = make(self._settings, self._wish, self._heard, processes=0)
        try:
            try:
                await proxy.start(None)
            except BaseException:
                await asyncio.to_thread(proxy.shut)
                raise
            return await self._serve(proxy, self._end, self._halt)
        finally:
            sends = proxy.setup.transport
            if isinstance(sends, Transport):
                sends.close()

    async def _serve(self, proxy: Proxy, end: asyncio.Event, halt: asyncio.Event) -> int:
        halted = asyncio.ensure_future(halt.wait())
        work = asyncio.ensure_future(self._work(proxy, end))
        try:
            await asyncio.wait({halted, work}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            work.cancel()
            left = await proxy.break_off()
            await asyncio.to_thread(proxy.shut)
            return left
        finally:
            halted.cancel()

    async def _work(self, proxy: Proxy, end: asyncio.Event) -> int:
        model = self._settings.model
        self._know(proxy, None)
        if model:
            trouble = await proxy.attest(model)
            if trouble and self._require:
                await proxy.stop()
                message = f"{model} cannot be attested: {trouble}"
                raise CaptureError(message)
            self._know(proxy, model)
        self._proxy = proxy
        self._ready.set_result(None)
        await end.wait()
        self._proxy = None
        await self._last(proxy)
        return await proxy.stop()

    async def _last(self, proxy: Proxy) -> None:
        """Take what the application's threads are about to hand over."""
        for _ in range(_LAST_LOOKS):
            if not proxy.under_way:
                return
            for transport in tuple(self._transports):
                transport.hand_over()
            await asyncio.sleep(_LOOK_S)

    def _running(self) -> Proxy:
        if self._proxy is None or not self._open:
            raise UsageError("the recorder does not run: use it inside of its with statement")
        return self._proxy

    def _begun(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Begin something in the recorder's own loop."""
        assert self._loop is not None  # noqa: S101  (for the type: it runs)
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise CaptureError("the recorder has ended") from None

    def _waited(self, begun: concurrent.futures.Future[T]) -> T:
        """Wait for it."""
        either: set[concurrent.futures.Future[Any]] = {begun, self._ended}
        concurrent.futures.wait(either, return_when=concurrent.futures.FIRST_COMPLETED)
        if not begun.done() or begun.cancelled():  # the loop ended without a look at it
            raise CaptureError("the recorder has ended")
        return begun.result()

    # --- a chat ---------------------------------------------------------------------------------

    def _given(self) -> dict[str, Any]:
        """Return what both transports are told."""
        limit = self._settings.max_response
        with self._lock:
            number = len(self._transports) + 1
        return {
            "on_exchange": self._unasked,
            "on_request": self._asked,
            "purpose": _always_chat,
            "secrets": self._settings.secrets,
            "limit": CHAT.body if limit is None else limit,
            "labels": f"a{os.urandom(2).hex()}-{number}-",
        }

    def _unasked(self, recorded: RecordedExchange) -> None:
        """Take nothing: every exchange has a taker of its own."""

    def _context(self) -> Any:  # noqa: ANN401  (an ssl.SSLContext, and no import of ssl for it)
        if self._trust is None:
            hosts = frozenset(self._settings.unverified_hosts)
            self._trust = Trust(ca_file=self._settings.ca_file, unverified_hosts=hosts)
        return self._trust.ordinary

    def _know(self, proxy: Proxy, model: str | None) -> None:
        """Remember an address below which there are chats to record."""
        self._bases[_place(api_base("", proxy.chat_url(model)))] = None

    def _below(self, url: str) -> str | None:
        """Return a URL's path below the provider's addresses, None where it is elsewhere."""
        scheme, host, port, path = _place(url)
        for base in tuple(self._bases):
            if (scheme, host, port) == base[:3] and path.startswith(base[3] + "/"):
                return path[len(base[3]) :]
        return None

    def _asked(self, method: str, url: str, body: bytes | None) -> Leave | None:
        """Decide on a request, in the thread that is about to send it; see `OnRequest`."""
        try:
            return self._decided(method, url, body)
        except (Refused, TeebundleError, OSError) as error:
            self._trouble(Trouble(what=f"a chat was not recorded: {error}", lost=True))
        except Exception as error:  # noqa: BLE001  (no trouble of ours stops the application)
            kind = type(error).__name__
            what = f"a chat was not recorded: unexpected {kind}; please report it"
            self._trouble(Trouble(what=what, lost=True))
        with self._lock:
            self._passed += 1
        return None

    def _decided(self, method: str, url: str, body: bytes | None) -> Leave | None:
        proxy, loop = self._proxy, self._loop
        path = self._below(url)
        if proxy is None or loop is None or not self._open or path is None:
            with self._lock:
                self._passed += 1
            if purpose_of(method, url) == "chat":
                place = urlsplit(url).hostname
                why = "it is none of the provider's addresses: use base_url of the recorder"
                if path is not None or not self._open:
                    why = "the recorder does not run"
                what = f"a chat to {place} was not recorded: {why}"
                self._trouble(Trouble(what=what, lost=True))
            return None
        asked = Asked(
            method=method,
            path=path,
            target=path,  # without a query: it may hold a key that nobody named
            headers=(),
            body=body or b"",
        )
        chat = self._admitted(proxy, asked)
        if chat is None:
            with self._lock:
                self._passed += 1
            return None
        wanted = None
        if chat.before is not None and chat.url is not None:
            wanted = chat.url + "".join(url.partition("?")[1:])
            self._know(proxy, chat.line.model)
        return Leave(
            on_exchange=lambda recorded: self._over(chat, recorded),
            url=wanted,
            headers=chat.extra,
        )

    def _admitted(self, proxy: Proxy, asked: Asked) -> _Chat | None:
        """Let a chat through, once it may go."""
        loop = self._loop
        assert loop is not None  # noqa: S101  (for the type: it runs)
        admitted = self._begun(proxy.admit(asked))

        def forgotten(done: concurrent.futures.Future[_Chat | None]) -> None:
            if not done.cancelled() and done.exception() is None:
                chat = done.result()
                if chat is not None:
                    loop.call_soon_threadsafe(chat.abandoned, _INTERRUPTED)

        try:
            return self._waited(admitted)
        except (KeyboardInterrupt, SystemExit):
            admitted.add_done_callback(forgotten)
            raise

    def _over(self, chat: _Chat, recorded: RecordedExchange) -> None:
        """Take an exchange, in the thread that ended it."""
        loop = self._loop
        assert loop is not None  # noqa: S101  (for the type: a chat was let through)
        try:
            loop.call_soon_threadsafe(self._take, chat, recorded)
        except RuntimeError:
            what = "a chat was not recorded: it ended after the recorder did"
            self._trouble(Trouble(what=what, model=chat.line.model, lost=True))

    def _take(self, chat: _Chat, recorded: RecordedExchange) -> None:
        """Spool an exchange and have it finished, in the loop's thread."""
        if unsent(recorded) and recorded.failure is not None:
            chat.abandoned(recorded.failure)
            return
        if recorded.status is not None:
            chat.began(recorded)
            body = memoryview(recorded.response_body or b"")
            for at in range(0, len(body), _PART):
                chat.heard(bytes(body[at : at + _PART]))
        chat.finished(recorded)

    # --- what happens ---------------------------------------------------------------------------

    def _trouble(self, trouble: Trouble) -> None:
        self._troubles.append(trouble)

    def _heard(self, event: Mapping[str, object]) -> None:
        """Take an event of the proxy; see `bundle.proxy.Tell`."""
        model, what = str(event.get("model") or ""), str(event.get("what") or "")
        match event["event"]:
            case "bundle":
                self._written(event)
            case "not-attested":
                self._trouble(Trouble(what=f"{model} was not attested: {what}", model=model))
            case "failed":
                kept = event.get("kept")
                file = Path(str(kept)) if kept else None
                said = f"{what} (kept: {kept})" if kept else what
                self._trouble(Trouble(what=said, model=model, lost=True, file=file))
            case "disk":
                self._trouble(Trouble(what=f"{event.get('chat')}: {what}"))
            case _:
                pass

    def _written(self, event: Mapping[str, object]) -> None:
        done = Done(
            path=Path(str(event["file"])),
            bundle_id=str(event["id"]),
            chat=cast("str | None", event["chat"]),
            status=cast("int | None", event["status"]),
            complete=bool(event["complete"]),
            size=cast("int", event["size"]),
            verdict=cast("str | None", event["verdict"]),
            notes=tuple(cast("list[str]", event["notes"])),
        )
        self._bundles.append(done)
        said = list(done.notes)
        if not done.complete and not said:
            said.append("incomplete")
        if done.verdict not in {None, _VERIFIED}:
            said.append(f"the verdict is {done.verdict}")
        if said:
            self._trouble(Trouble(what=f"{done.path.name}: {', '.join(said)}", file=done.path))


def _always_chat(_method: str, _url: str) -> str:
    """Return the purpose of every exchange that is recorded here."""
    return "chat"


def _paths(given: File | Sequence[File]) -> tuple[Path, ...]:
    if isinstance(given, (str, os.PathLike)):
        return (Path(given),)
    return tuple(Path(one) for one in given)


def _place(url: str) -> tuple[str, str, int | None, str]:
    """Return scheme, host, port and path of a URL, as they are compared."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port, parts.path.rstrip("/")


def _endpoints(known: Endpoints, given: Mapping[str, str]) -> Endpoints:
    try:
        return replace(known, **given)
    except TypeError as error:
        message = f"endpoints: {', '.join(sorted(given))}: one of them is none; see Endpoints"
        raise UsageError(message) from error


def _secret(name: str, value: str) -> str:
    """Return a credential that may be used. Raises UsageError, without it."""
    if len(value) < SHORTEST_SECRET or not value.isascii() or not value.isprintable():
        message = f"{name} is no usable key: at least {SHORTEST_SECRET} printable ASCII characters"
        raise UsageError(message)
    return value


__all__ = ["Recorder", "RecordingError", "RecordingWarning", "Trouble"]
