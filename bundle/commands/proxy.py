"""`teebundle proxy`: an OpenAI-compatible proxy that keeps a signed bundle of each chat."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer

from bundle.commands.options import (
    AlgorithmOption,
    ApiKeyOption,
    BaseUrlOption,
    CaFileOption,
    ConfigOption,
    ConsentOption,
    JsonLinesOption,
    KeyOption,
    KnobOption,
    NrasKeyOption,
    NrasOption,
    OperatorOption,
    PassphraseOption,
    ProfileOption,
    ProxyOption,
    SignerOption,
    TimeoutOption,
    TrustOption,
    TsaOption,
    UnverifiedHostOption,
)
from verify.cli.console import help_of
from verify.cli.output import say
from verify.engine.errors import UsageError

if TYPE_CHECKING:
    from bundle.proxy import Proxy, Tell
    from bundle.settings import Given, Settings

LEFT: Final = 5
"""Exit code where chats are left in the work folder."""
INTERRUPTED: Final = 130
FILES: Final = 8192

HELP: Final = r"""Stand between OpenAI clients and a provider; seal one bundle for each chat.

    Point a client's base URL at it, unchanged otherwise. Bytes pass through unaltered and as they
    come. Before the first chat of a model, and every --refresh seconds while it is in use, the
    model is attested, with vendor collateral; each chat's bundle holds the attestation before and
    the one after it, so it is written when the next one is there, or when the proxy stops.

    Recorded: POST .../chat/completions (and .../completions for io.net). Everything else is passed
    through and NOT recorded: model lists, embeddings, responses, files. A chat that cannot be
    recorded or attested is refused with 503; --no-require-attestation records it without.

    near-gateway: for the model's own signature stream with "stream_options":
    {"include_usage": true, "continuous_usage_stats": true}. nanogpt: stream; answers in one piece
    are altered on the way and cannot be verified.

    The provider's key comes from an environment variable (as with capture) and is put in the place
    of whatever the client sends; a client's own key never leaves this machine. The request body is
    not altered, so it has no marker: exclude the subject marker, and marker-in-request, in the
    policy, with the reason (policy init --bundle does). Host, Accept-Encoding and hop-by-hop
    headers are rewritten.

    GET /.teebundle/status tells how it is. Ctrl-C or SIGTERM: no more chats, those under way end, a
    last attestation is made, everything is sealed; a second one ends at once. What is left, by that
    or a crash, is finished by the next proxy with the same --out. Exit 5: something is left.

    \b
    Examples:
      {program} proxy nanogpt --listen 127.0.0.1:8338 --out bundles --key k/signer.key
      {program} proxy near-direct --out bundles --key k/signer.key --refresh 120 --json
    \b
    Clients:
      OpenAI(base_url="http://127.0.0.1:8338/v1", api_key="unused")
      export OPENAI_BASE_URL=http://127.0.0.1:8338/v1 OPENAI_API_KEY=unused
    """


def register(app: typer.Typer, program: str) -> None:
    """Add the command to the application of that program."""

    @app.command("proxy", help=help_of(HELP, program))
    def proxy(  # noqa: PLR0917  (typer makes options of arguments)
        provider: Annotated[
            str | None, typer.Argument(metavar="PROVIDER", help="Who is asked.")
        ] = None,
        listen: Annotated[
            str, typer.Option("--listen", metavar="HOST:PORT", help="Where clients connect.")
        ] = "127.0.0.1:8338",
        out: Annotated[
            Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for bundles.")
        ] = None,
        key: KeyOption = None,
        passphrase_env: PassphraseOption = None,
        model: Annotated[
            str | None,
            typer.Option("--model", "-m", metavar="NAME", help="For requests that name none."),
        ] = None,
        refresh: Annotated[
            float, typer.Option("--refresh", metavar="S", help="Renew attestation after.")
        ] = 300.0,
        queue: Annotated[
            int, typer.Option("--queue", metavar="N", help="Chats that may wait for finishing.")
        ] = 256,
        require: Annotated[
            bool,
            typer.Option(
                "--require-attestation/--no-require-attestation",
                help="Refuse chats of a model that is not attested.",
            ),
        ] = True,
        allow_remote: Annotated[
            bool,
            typer.Option("--allow-remote", help="Listen beyond this machine: anyone may use it."),
        ] = False,
        allow_host: Annotated[
            list[str] | None,
            typer.Option("--allow-host", metavar="NAME", help="Further name clients may use."),
        ] = None,
        base_url: BaseUrlOption = None,
        api_key_env: ApiKeyOption = None,
        policy: Annotated[
            Path | None,
            typer.Option("--policy", "-p", metavar="FILE", help="Judge each bundle under it."),
        ] = None,
        trust: TrustOption = None,
        signer: SignerOption = None,
        nras: NrasOption = None,
        yes: ConsentOption = False,
        nras_key_env: NrasKeyOption = None,
        tsa: TsaOption = None,
        algorithm: AlgorithmOption = None,
        timeout: TimeoutOption = None,
        max_response: Annotated[
            int | None,
            typer.Option("--max-response", metavar="MIB", help="Largest recorded answer: 64."),
        ] = None,
        proxy: ProxyOption = None,
        ca_file: CaFileOption = None,
        unverified_host: UnverifiedHostOption = None,
        option: KnobOption = None,
        operator: OperatorOption = None,
        profile: ProfileOption = None,
        config: ConfigOption = None,
        as_json: JsonLinesOption = False,
    ) -> None:
        """Run the proxy."""
        from bundle.settings import Given  # noqa: PLC0415  (help does not need it)

        given = Given(
            provider=provider,
            base_url=base_url,
            profile=profile,
            model=model,
            api_key_env=api_key_env,
            nras_key_env=nras_key_env,
            key=tuple(key or ()),
            passphrase_env=passphrase_env,
            ca_file=ca_file,
            proxy=proxy,
            unverified_hosts=tuple(unverified_host or ()),
            algorithms=tuple(algorithm or ()),
            operator=operator,
            policy=policy,
            trust=tuple(trust or ()),
            signer=tuple(signer or ()),
            tsa=tuple(tsa or ()),
            timeout=timeout,
            max_response=max_response,
            nras=nras,
            options=tuple(option or ()),
            config=config,
        )
        wish = Wish(
            listen=listen,
            out=out,
            refresh_s=refresh,
            queue=queue,
            require=require,
            allow_remote=allow_remote,
            allow_hosts=tuple(allow_host or ()),
            consent=yes,
            as_json=as_json,
        )
        raise typer.Exit(run(given, wish))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a call asks for besides its settings."""

    listen: str = "127.0.0.1:8338"
    out: Path | None = None
    refresh_s: float = 300.0
    queue: int = 256
    require: bool = True
    allow_remote: bool = False
    allow_hosts: tuple[str, ...] = ()
    consent: bool = False
    as_json: bool = False


def address(listen: str, *, allow_remote: bool) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``. Raises UsageError, for other machines' reach too."""
    from bundle.relay import is_loopback  # noqa: PLC0415  (help does not need it)

    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen takes HOST:PORT, such as 127.0.0.1:8338, not {listen!r}")
    if not allow_remote and not is_loopback(host):
        raise UsageError(
            f"--listen {listen}: other machines could use your API key and read what is asked; "
            "listen on 127.0.0.1, or pass --allow-remote and guard the port yourself"
        )
    return host, int(port)


def run(given: Given, wish: Wish) -> int:
    """Carry out one call; return its exit code when the proxy has ended. Raises UsageError."""
    from bundle.online import agreed  # noqa: PLC0415  (help does not need it)
    from bundle.settings import settle  # noqa: PLC0415  (the same)

    host, port = address(wish.listen, allow_remote=wish.allow_remote)
    if wish.out is None:
        raise UsageError("name the folder for bundles with --out DIR")
    if wish.refresh_s <= 0:
        raise UsageError(f"--refresh is a number of seconds above 0, not {wish.refresh_s:g}")
    if wish.queue < 1:
        raise UsageError(f"--queue is at least 1, not {wish.queue}")
    settings = settle(given)
    if settings.nras and not agreed(wish.consent):
        raise UsageError("nothing was sent: agree to what --nras sends with --yes")
    if settings.beacon is not None:
        say("note: the proxy fetches no beacon; the one of the configuration is not used")
    try:
        wish.out.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{wish.out}: cannot be made: {error.strerror}") from error
    gc.enable()  # a proxy lives long; for a verification it is off
    # look-ups share the process with the clients' streams: let those in sooner than after 5 ms
    sys.setswitchinterval(0.0001)
    # asyncio would write what goes wrong in it as tracebacks; see `_serve`
    logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
    tell = json_lines if wish.as_json else lines
    return asyncio.run(_serve(settings, wish, host, port, tell))


def json_lines(event: Mapping[str, object]) -> None:
    """Write an event as one JSON line to standard output."""
    from bundle.finishing import told_line  # noqa: PLC0415  (help does not need it)

    _written(sys.stdout, told_line(event) + "\n")


def lines(event: Mapping[str, object]) -> None:
    """Write an event for people to standard error."""
    _written(sys.stderr, line_of(event) + "\n")


def _written(stream: TextIO, text: str) -> None:
    """Write; to nowhere from then on where nobody reads any more, which must not end a proxy."""
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def files_allowed() -> int:
    """Raise the limit of open files to `FILES`, as far as that is allowed; return what it is."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if now == resource.RLIM_INFINITY:
        return FILES
    wanted = max(now, FILES if most == resource.RLIM_INFINITY else min(FILES, most))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    return wanted


def line_of(event: Mapping[str, object]) -> str:
    """Return the line for people of an event."""
    from bundle.events import escaped  # noqa: PLC0415  (help does not need it)

    what = escaped(str(event.get("what") or ""))
    model = escaped(str(event.get("model") or ""))
    match event["event"]:
        case "listening":
            return f"listening on {event['url']}, bundles go to {event['out']}"
        case "bundle":
            notes = event.get("notes") or []
            words = [
                str(event["file"]),
                f"HTTP {event['status']}" if event["status"] is not None else "no answer",
                "complete" if event["complete"] else "INCOMPLETE CAPTURE",
                str(event.get("verdict") or ""),
                *(escaped(str(note)) for note in (notes if isinstance(notes, list) else [])),
            ]
            return "  ".join(word for word in words if word)
        case "attested":
            return f"attested {model} in {event['seconds']} s"
        case "not-attested":
            return f"NOT attested {model}: {what}"
        case "failed":
            return f"FAILED {model}: {what} (kept: {event.get('kept')})"
        case "not-sent":
            return f"not sent {model}: {what}"
        case other:
            return f"{other}: {what}"


async def _serve(settings: Settings, wish: Wish, host: str, port: int, tell: Tell) -> int:
    """Run until a signal comes; return the exit code."""
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[None] = asyncio.Queue()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signals.put_nowait, None)
    proxy = make(settings, wish, tell, files=files_allowed())
    loop.set_exception_handler(
        lambda _loop, context: tell({"event": "trouble", "what": unforeseen(context)})
    )
    found = await proxy.start(host, port)
    shown = f"[{host}]" if ":" in host else host
    tell(
        {
            "event": "listening",
            "url": f"http://{shown}:{found}/v1",
            "out": str(wish.out),
            "provider": settings.provider,
        }
    )
    await signals.get()
    tell({"event": "stopping", "what": "answers under way end, then everything is sealed"})
    stopping = asyncio.ensure_future(proxy.stop())
    again = asyncio.ensure_future(signals.get())
    await asyncio.wait({stopping, again}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        stopping.cancel()
        left = await proxy.break_off()
        tell({"event": "stopped", "what": f"at once; chats left to finish: {left}", "left": left})
        sys.stdout.flush()
        sys.stderr.flush()
        # threads may wait for the network for minutes; what they do is safe in journals
        os._exit(INTERRUPTED)
    again.cancel()
    left = stopping.result()
    written = proxy.written
    tell({"event": "stopped", "what": f"bundles written: {written}, left: {left}", "left": left})
    return LEFT if left else 0


def unforeseen(context: Mapping[str, object]) -> str:
    """Say in one line what nobody foresaw, without a word that may be the other side's."""
    error = context.get("exception")
    if isinstance(error, OSError):
        return f"{context.get('message')}: {error.strerror or type(error).__name__}"
    kind = "trouble" if error is None else type(error).__name__
    return f"unexpected {kind} in the proxy: {context.get('message')}; please report it"


def make(
    settings: Settings, wish: Wish, tell: Tell, *, processes: int = 1, files: int = FILES
) -> Proxy:
    """Return a proxy as settings and wish say, inside a running loop. Raises UsageError.

    ``processes``: that seal; 0: in this one. ``files``: how many may be open.
    """
    from bundle.bounds import Bounds  # noqa: PLC0415  (help does not need it)
    from bundle.calls import CHAT  # noqa: PLC0415  (the same)
    from bundle.collateral import Want  # noqa: PLC0415  (the same)
    from bundle.finishing import Sealing, Setup, first_key  # noqa: PLC0415  (the same)
    from bundle.peer import Trust  # noqa: PLC0415  (the same)
    from bundle.providers import provider  # noqa: PLC0415  (the same)
    from bundle.proxy import WORK, Options, Proxy, api_base, chat_path  # noqa: PLC0415
    from bundle.relay import Upstream  # noqa: PLC0415  (imports the HTTP parser)
    from bundle.settings import load_judgement, load_signers  # noqa: PLC0415  (the same)
    from bundle.transport import Credential, Transport, demand_secure, utc_now  # noqa: PLC0415

    if wish.out is None:
        raise UsageError("name the folder for bundles with --out DIR")
    asked_of = provider(settings.provider)
    if not asked_of.has_chat:
        raise UsageError(f"{asked_of.title}: its chats cannot be recorded here")
    base_url = (settings.base_url or asked_of.base_url or "").rstrip("/")
    if not base_url:
        raise UsageError(f"{asked_of.title} has no address of its own: name it with --base-url URL")
    unknown = [name for name in settings.algorithms if name not in asked_of.algorithms]
    if unknown:
        raise UsageError(f"{asked_of.name} does not sign with {unknown[0]!r}")
    signers = load_signers(settings)
    _, trust = load_judgement(settings)
    if settings.tsa:
        from bundle.timestamps import demand_authorities  # noqa: PLC0415  (few are stamped)

        for url in settings.tsa:
            demand_secure(url)
        demand_authorities(trust)
    credentials = {
        name: Credential("Authorization", f"Bearer {secret}")
        for name, secret in (("provider", settings.api_key), ("nras", settings.nras_key))
        if secret
    }
    hosts = frozenset(settings.unverified_hosts)
    # labels of connections differ from those of a run before, whose chats may still be finished
    run_label = os.urandom(2).hex()
    setup = Setup(
        provider=asked_of.name,
        profile=settings.profile or asked_of.profile,
        base_url=base_url,
        algorithms=settings.algorithms or asked_of.algorithms,
        options=settings.options,
        endpoints=settings.endpoints,
        want=Want(nras=settings.nras),
        operator=settings.operator,
        work=wish.out / WORK,
        signers=first_key(signers),
        transport=Transport(
            proxy=settings.proxy,
            ca_file=settings.ca_file,
            unverified_hosts=hosts,
            secrets=settings.secrets,
            labels=f"c{run_label}-",
        ),
        clock=utc_now,
        credentials=credentials,
        secrets=settings.secrets,
        timeout_s=settings.timeout_s,
    )
    sealing = Sealing(
        provider=setup.provider,
        profile=setup.profile,
        base_url=base_url,
        operator=settings.operator,
        out=wish.out,
        keys=settings.keys,
        passphrase=settings.passphrase,
        secrets=settings.secrets,
        policy=settings.policy,
        trust=settings.trust,
        signer=settings.signer,
        tsa=settings.tsa,
        ca_file=settings.ca_file,
        proxy=settings.proxy,
    )
    bounds: Bounds = CHAT
    if settings.timeout_s is not None:
        bounds = replace(
            bounds, idle_s=settings.timeout_s, total_s=max(bounds.total_s, settings.timeout_s)
        )
    if settings.max_response is not None:
        bounds = replace(bounds, body=settings.max_response)
    upstream = Upstream(
        base=api_base(base_url, chat_path(asked_of, base_url, settings.options)),
        trust=Trust(ca_file=settings.ca_file, unverified_hosts=hosts),
        credential=credentials.get("provider"),
        secrets=settings.secrets,
        proxy=settings.proxy,
        bounds=bounds,
        connections=min(512, files // 8),  # of three files each: two connections and a spool
        labels=f"p{run_label}-",
    )
    return Proxy(
        setup,
        sealing,
        upstream,
        make_provider=lambda: provider(settings.provider),
        options=Options(
            refresh_s=wish.refresh_s,
            queue=wish.queue,
            require=wish.require,
            model=settings.model,
            processes=processes,
            most_clients=files // 2,
        ),
        tell=tell,
        hosts=None if wish.allow_remote else frozenset(name.lower() for name in wish.allow_hosts),
    )
