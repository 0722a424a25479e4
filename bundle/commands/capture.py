"""`teebundle capture`: talk to a provider, keep everything, seal it, verify it, write it."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

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
from verify.cli.console import help_of, print_text
from verify.cli.output import colour_wanted, say
from verify.engine.errors import TeebundleError, UsageError

if TYPE_CHECKING:
    from bundle.calls import Provider
    from bundle.capture import CaptureAsked, CaptureResult, Means
    from bundle.events import JsonLines, Progress
    from bundle.journal import Plan
    from bundle.settings import Given, Settings
    from bundle.transport import Transport
    from verify.trust.store import TrustStore

REQUEST_LIMIT: Final = 10 << 20
"""Bytes of a chat request (providers.md 2.8)."""
INCOMPLETE: Final = 5
"""Exit code where something that was asked for could not be had."""

HELP: Final = r"""Capture a live session with a provider in one signed bundle.

    In order: a fresh nonce that commits to your key, attestation, vendor collateral for whatever
    came back, the chat, its signature, attestation with a second nonce; then the bundle is sealed,
    verified and written. Each exchange is in a journal on disk before the next begins.

    PROVIDER: nanogpt, ionet, near-direct, near-gateway, phala, redpill, venice, chutes, tinfoil,
    aci, or dstack with --base-url for any endpoint of that kind.

    The API key is read from an environment variable: NANOGPT_API_KEY, IONET_API_KEY, NEAR_API_KEY,
    PHALA_API_KEY, REDPILL_API_KEY, VENICE_API_KEY, CHUTES_API_KEY, TINFOIL_API_KEY, ACI_API_KEY,
    DSTACK_API_KEY, or the one --api-key-env names. With --base-url no key is sent unless
    --api-key-env names its variable. Keys are never stored.

    Exit 0: a whole bundle was written (with --policy: and it is VERIFIED; 1 REJECTED, 3
    INCOMPLETE). Exit 5: something could not be had; the journal stays, and --resume goes on.

    \b
    Examples:
      {program} capture nanogpt --model TEE/gemma-3-27b-it --prompt "yes or no?" --stream \
          --key k/signer.key -o chat.evidence.json
      {program} capture near-direct --model openai/gpt-oss-120b --request chat.json \
          --key k/signer.key --policy p.yaml --signer k/signer.pub -o chat.evidence.json
      {program} capture ionet --model meta-llama/Llama-3.3-70B-Instruct --attestation-only \
          --key k/signer.key -o att.evidence.json
      {program} capture dstack --base-url https://llm.example --api-key-env MY_KEY --model m \
          --prompt hello --key k/signer.key -o chat.evidence.json
      {program} capture --resume chat.evidence.json.journal
      {program} capture --resume chat.evidence.json.journal --seal-incomplete

    \b
    --config teebundle.yaml holds any of these, a command-line option wins:
      provider, profile, model, base_url, api_key_env, nras_key_env, key, passphrase_env, ca_file,
      proxy, unverified_hosts, algorithms, operator, policy, trust, signer, tsa, beacon, timeout,
      max_response, nras, stream, marker, blobs, endpoints (base URLs of the vendors), options
    """


def register(app: typer.Typer, program: str) -> None:
    """Add the command to the application of that program."""

    @app.command("capture", help=help_of(HELP, program))
    def capture(  # noqa: PLR0917  (typer makes options of arguments)
        provider: Annotated[
            str | None, typer.Argument(metavar="PROVIDER", help="Who is asked.")
        ] = None,
        model: Annotated[
            str | None, typer.Option("--model", "-m", metavar="NAME", help="Model to ask.")
        ] = None,
        prompt: Annotated[
            str | None, typer.Option("--prompt", metavar="TEXT", help="What to say.")
        ] = None,
        request: Annotated[
            Path | None,
            typer.Option("--request", metavar="FILE", help="Chat request (JSON); - reads stdin."),
        ] = None,
        attestation_only: Annotated[
            bool, typer.Option("--attestation-only", help="No chat.")
        ] = False,
        stream: Annotated[
            bool | None,
            typer.Option("--stream/--no-stream", help="Streamed answer, or in one piece."),
        ] = None,
        out: Annotated[
            Path | None, typer.Option("--out", "-o", metavar="FILE", help="Bundle to write.")
        ] = None,
        key: KeyOption = None,
        passphrase_env: PassphraseOption = None,
        base_url: BaseUrlOption = None,
        api_key_env: ApiKeyOption = None,
        policy: Annotated[
            Path | None,
            typer.Option("--policy", "-p", metavar="FILE", help="Judge the bundle under it."),
        ] = None,
        trust: TrustOption = None,
        signer: SignerOption = None,
        nras: NrasOption = None,
        yes: ConsentOption = False,
        nras_key_env: NrasKeyOption = None,
        tsa: TsaOption = None,
        beacon: Annotated[
            str | None,
            typer.Option("--beacon", metavar="URL", help="Checkpoint that proves not-earlier."),
        ] = None,
        algorithm: AlgorithmOption = None,
        marker: Annotated[
            bool | None,
            typer.Option("--marker/--no-marker", help="Mark the request (member user)."),
        ] = None,
        timeout: TimeoutOption = None,
        max_response: Annotated[
            int | None,
            typer.Option("--max-response", metavar="MIB", help="Largest answer; default 64."),
        ] = None,
        blobs: Annotated[
            Path | None,
            typer.Option("--blobs", metavar="DIR", help="For answers over 16 MiB; OUT.blobs."),
        ] = None,
        proxy: ProxyOption = None,
        ca_file: CaFileOption = None,
        unverified_host: UnverifiedHostOption = None,
        option: KnobOption = None,
        operator: OperatorOption = None,
        profile: ProfileOption = None,
        config: ConfigOption = None,
        resume: Annotated[
            Path | None, typer.Option("--resume", metavar="DIR", help="Go on from a journal.")
        ] = None,
        seal_incomplete: Annotated[
            bool, typer.Option("--seal-incomplete", help="With --resume: seal what is there.")
        ] = False,
        journal: Annotated[
            Path | None, typer.Option("--journal", metavar="DIR", help="Default: OUT.journal")
        ] = None,
        keep_journal: Annotated[
            bool, typer.Option("--keep-journal", help="Keep it after a good end, too.")
        ] = False,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
        as_json: JsonLinesOption = False,
    ) -> None:
        """Capture a session."""
        from bundle.settings import Given  # noqa: PLC0415  (help does not need it)

        gc.enable()  # a capture lives longer than a verification, for which it is off
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
            beacon=beacon,
            timeout=timeout,
            max_response=max_response,
            nras=nras,
            stream=stream,
            marker=marker,
            blobs=blobs,
            options=tuple(option or ()),
            config=config,
        )
        wish = Wish(
            prompt=prompt,
            request=request,
            attestation_only=attestation_only,
            out=out,
            resume=resume,
            seal_incomplete=seal_incomplete,
            journal=journal,
            keep_journal=keep_journal,
            overwrite=overwrite,
            as_json=as_json,
            consent=yes,
        )
        raise typer.Exit(run(given, wish))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a call asks for besides its settings."""

    prompt: str | None = None
    request: Path | None = None
    attestation_only: bool = False
    out: Path | None = None
    resume: Path | None = None
    seal_incomplete: bool = False
    journal: Path | None = None
    keep_journal: bool = False
    overwrite: bool = False
    as_json: bool = False
    consent: bool = False


def run(given: Given, wish: Wish) -> int:
    """Carry out one call and return its exit code."""
    from bundle.events import JsonLines, Progress  # noqa: PLC0415  (help does not need it)
    from bundle.journal import CaptureError  # noqa: PLC0415  (the same)

    watch = JsonLines(sys.stdout) if wish.as_json else Progress(sys.stderr, colour=colour_wanted())
    try:
        result = _captured(given, wish, watch)
    except TeebundleError as error:
        _close(watch)
        if wish.as_json:
            folder = error.folder if isinstance(error, CaptureError) else None
            _line({"event": "error", "text": str(error), "journal": _text(folder)})
        if isinstance(error, CaptureError):
            say(f"capture failed: {error}")
            return INCOMPLETE
        raise
    _close(watch)
    code = exit_code(result)
    if wish.as_json:
        _line(result_members(result, code))
    else:
        _tell(result)
    return code


def exit_code(result: CaptureResult) -> int:
    """Return the exit code of a bundle that was written (verification.md 8: 1, 70, 4, 5, 3)."""
    judged = 0 if result.report is None else int(result.report.exit_code)
    unstamped = any(gap.purpose == "time" for gap in result.gaps)
    if judged in {1, 4, 70} or (result.whole and not unstamped):
        return judged
    return INCOMPLETE


def result_members(result: CaptureResult, code: int) -> dict[str, object]:
    """Return the last event line: what was written and what it is worth."""
    return {
        "event": "bundle",
        "file": str(result.out),
        "bundle": result.bundle_id,
        "profile": result.profile,
        "complete": result.complete,
        "whole": result.whole,
        "verdict": None if result.report is None else result.report.verdict.value,
        "gaps": [gap.what for gap in result.gaps],
        "warnings": list(result.warnings),
        "blobs": _text(result.blobs),
        "journal": _text(result.journal),
        "exit": code,
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _line(members: dict[str, object]) -> None:
    print_text(json.dumps(members, ensure_ascii=True) + "\n")


def _close(watch: JsonLines | Progress) -> None:
    close = getattr(watch, "close", None)
    if close is not None:
        close()


def _captured(given: Given, wish: Wish, watch: JsonLines | Progress) -> CaptureResult:
    from bundle import capture as capturing  # noqa: PLC0415  (help does not need it)
    from bundle.journal import Journal  # noqa: PLC0415  (the same)
    from bundle.online import agreed  # noqa: PLC0415  (the same)
    from bundle.providers import provider  # noqa: PLC0415  (the same)
    from bundle.settings import KEY_VARIABLES, settle  # noqa: PLC0415  (the same)

    plan = None if wish.resume is None else Journal.plan_of(wish.resume)
    if plan is not None:
        _only_for_new(given, wish)
        given = resumed_settings(plan, given, provider(plan.provider))
    settings = settle(given)
    asked_of = provider(settings.provider)
    if settings.api_key is None and not wish.seal_incomplete and not wish.as_json:
        variable = settings.named_key_env or KEY_VARIABLES.get(settings.provider)
        how = f"set {variable}" if settings.base_url is None else "name its variable: --api-key-env"
        say(f"no API key is sent; if the provider wants one, {how}")
    nras = settings.nras if plan is None else plan.nras
    if nras and not wish.seal_incomplete and not agreed(wish.consent):
        raise UsageError("nothing was sent: agree to what --nras sends with --yes")
    with _transport(settings) as transport:
        means = _means(settings, wish, watch, transport)
        if wish.resume is not None:
            return capturing.resume(
                wish.resume, asked_of, means, out=wish.out, seal_incomplete=wish.seal_incomplete
            )
        return capturing.capture(_asked(settings, wish, asked_of), means)


_FOR_NEW: Final = (
    ("PROVIDER", "provider"),
    ("--model", "model"),
    ("--base-url", "base_url"),
    ("--profile", "profile"),
    ("--algorithm", "algorithms"),
    ("--beacon", "beacon"),
    ("--option", "options"),
)


def _only_for_new(given: Given, wish: Wish) -> None:
    """Refuse, with --resume, what the journal has decided. Raises UsageError."""
    said = [name for name, member in _FOR_NEW if getattr(given, member)]
    said += ["--prompt"] if wish.prompt is not None else []
    said += ["--request"] if wish.request is not None else []
    said += ["--journal"] if wish.journal is not None else []
    if said:
        raise UsageError(f"{said[0]} does not go with --resume: the journal says it")


def resumed_settings(plan: Plan, given: Given, asked_of: Provider) -> Given:
    """Return what a resumed capture is told: this call's options over those it was begun with.

    A key is sent to the address that the journal names only as it was before.
    """
    kept: dict[str, Any] = json.loads(plan.settings.get("given") or "{}")
    own = plan.base_url == (asked_of.base_url or "").rstrip("/")

    def paths(name: str) -> tuple[Path, ...]:
        return getattr(given, name) or tuple(Path(text) for text in kept.get(name, ()))

    def path(name: str) -> Path | None:
        return getattr(given, name) or (Path(kept[name]) if kept.get(name) else None)

    return replace(
        given,
        provider=plan.provider,
        base_url=None if own else plan.base_url,
        api_key_env=given.api_key_env or kept.get("api_key_env"),
        nras_key_env=given.nras_key_env or kept.get("nras_key_env"),
        nras=plan.nras,
        options=tuple(f"{name}={value}" for name, value in plan.options.items()),
        key=paths("key"),
        passphrase_env=given.passphrase_env or kept.get("passphrase_env"),
        ca_file=path("ca_file"),
        proxy=given.proxy or kept.get("proxy"),
        unverified_hosts=given.unverified_hosts or tuple(kept.get("unverified_hosts", ())),
        policy=path("policy"),
        trust=paths("trust"),
        signer=paths("signer"),
        tsa=given.tsa or tuple(kept.get("tsa", ())),
        blobs=path("blobs"),
    )


def _kept(settings: Settings) -> dict[str, str | None]:
    """Return what a resumed capture wants back. No secret: what holds one must be named again."""
    from bundle.recording import redacted_url  # noqa: PLC0415  (help does not need it)

    def absolute(places: tuple[Path, ...]) -> list[str]:
        return [str(place.absolute()) for place in places]

    def one(place: Path | None) -> str | None:
        return None if place is None else str(place.absolute())

    members = {
        "api_key_env": settings.named_key_env,
        "nras_key_env": settings.nras_key_env,
        "key": absolute(settings.keys),
        "passphrase_env": settings.passphrase_env,
        "ca_file": one(settings.ca_file),
        "proxy": None if "@" in (settings.proxy or "") else settings.proxy,
        "unverified_hosts": list(settings.unverified_hosts),
        "policy": one(settings.policy),
        "trust": absolute(settings.trust),
        "signer": absolute(settings.signer),
        "tsa": [url for url in settings.tsa if redacted_url(url) == url],
        "blobs": one(settings.blobs),
    }
    return {"given": json.dumps(members)}


def _transport(settings: Settings) -> Transport:
    from bundle.transport import Transport  # noqa: PLC0415  (imports the HTTP client)

    return Transport(
        proxy=settings.proxy,
        ca_file=settings.ca_file,
        unverified_hosts=frozenset(settings.unverified_hosts),
        secrets=settings.secrets,
    )


def _means(
    settings: Settings, wish: Wish, watch: JsonLines | Progress, transport: Transport
) -> Means:
    from bundle.capture import Means  # noqa: PLC0415  (help does not need it)
    from bundle.settings import load_judgement, load_signers  # noqa: PLC0415  (the same)
    from bundle.transport import Credential, utc_now  # noqa: PLC0415  (the same)

    policy, trust = load_judgement(settings)
    credentials = {
        name: Credential("Authorization", f"Bearer {secret}")
        for name, secret in (("provider", settings.api_key), ("nras", settings.nras_key))
        if secret
    }
    return Means(
        transport=transport,
        signers=load_signers(settings),
        clock=utc_now,
        credentials=credentials,
        secrets=settings.secrets,
        watch=watch,
        policy=policy,
        trust=trust,
        finish=_stamping(settings, trust, transport),
        blobs=settings.blobs,
        overwrite=wish.overwrite,
        keep_journal=wish.keep_journal,
    )


def _stamping(
    settings: Settings, trust: TrustStore, transport: Transport
) -> Callable[[bytes], bytes] | None:
    """Return what has the sealed file stamped; None where no authority is named. UsageError."""
    if not settings.tsa:
        return None
    from bundle.commands.timestamp import sender  # noqa: PLC0415  (few captures are stamped)
    from bundle.timestamps import demand_authorities, stamp  # noqa: PLC0415  (the same)
    from bundle.transport import demand_address  # noqa: PLC0415  (the same)

    for url in settings.tsa:
        demand_address(url)
    demand_authorities(trust)
    return lambda data: stamp(data, settings.tsa, trust, sender(transport))


def _asked(settings: Settings, wish: Wish, asked_of: Provider) -> CaptureAsked:
    from bundle.capture import CaptureAsked  # noqa: PLC0415  (help does not need it)
    from bundle.collateral import Want  # noqa: PLC0415  (the same)
    from bundle.seal import refuse_input  # noqa: PLC0415  (the same)

    if wish.seal_incomplete:
        raise UsageError("--seal-incomplete goes with --resume DIR")
    if wish.out is None:
        raise UsageError("name the bundle to write with -o FILE")
    silent = wish.prompt is None and wish.request is None
    if silent is not wish.attestation_only:
        raise UsageError(
            "say what to ask with --prompt TEXT or --request FILE, or ask nothing with "
            "--attestation-only: one of the three"
        )
    refuse_input(
        wish.out, (*settings.keys, wish.request, settings.policy, *settings.trust, *settings.signer)
    )
    return CaptureAsked(
        provider=asked_of,
        out=wish.out,
        operator=settings.operator,
        model=settings.model,
        prompt=wish.prompt,
        request=None if wish.request is None else _request(wish.request),
        stream=settings.stream,
        base_url=settings.base_url,
        profile=settings.profile,
        algorithms=settings.algorithms,
        options=settings.options,
        endpoints=settings.endpoints,
        want=Want(nras=settings.nras),
        beacon=settings.beacon,
        marker=settings.marker,
        timeout_s=settings.timeout_s,
        max_response=settings.max_response,
        journal=wish.journal,
        settings=_kept(settings),
    )


def _request(path: Path) -> bytes:
    """Return the chat request of a file, or of standard input. Raises UsageError."""
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(REQUEST_LIMIT + 1)
        else:
            with path.open("rb") as file:
                data = file.read(REQUEST_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{path}: no request could be read: {error.strerror}") from error
    if len(data) > REQUEST_LIMIT:
        raise UsageError(f"{path}: a request has at most {REQUEST_LIMIT >> 20} MiB")
    if not data.strip():
        raise UsageError(f"{path}: holds no request; a JSON object with messages is expected")
    return data


def _tell(result: CaptureResult) -> None:
    """Say what was written and what it is worth."""
    from verify.render import text  # noqa: PLC0415  (help does not need it)

    print_text(f"{result.bundle_id}\n")
    say(f"wrote {result.out}")
    if result.blobs is not None:
        say(f"answers too large for it lie in {result.blobs}: verify with --blobs {result.blobs}")
    if not result.complete:
        say("sealed as incomplete: the capture did not go to its end")
    for gap in result.gaps:
        say(f"{'missing' if gap.essential else 'not had'}: {gap.what}")
    if result.report is not None:
        print_text(text.rendered(result.report, colour=colour_wanted()))
    elif result.draft is None:
        say(
            f"not judged: {result.no_draft}; judge it with: teebundle verify {result.out} -p POLICY"
        )
    else:
        _tell_draft(result)
    if result.journal is None:
        return
    if not result.complete or any(gap.again for gap in result.gaps):
        say(f"the journal stays in {result.journal}; ask again for what is missing with --resume")
    else:
        say(f"the journal stays in {result.journal}; delete it when you need it no more")


def _tell_draft(result: CaptureResult) -> None:
    draft = result.draft
    if draft is None:
        return
    if draft.open:
        say("under a policy drafted from the bundle itself it is not VERIFIED:")
        say(*(f"  {status}  {check}  {reason}" for check, status, reason in draft.open))
    else:
        say("under a policy drafted from the bundle itself it is VERIFIED; confirm pins elsewhere")
    say(f"next: teebundle policy init --from {draft.default} --bundle {result.out} -o policy.yaml")
