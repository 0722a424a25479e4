"""Capture: talk to a provider, keep everything, seal it, verify it, write it.

The sequence (providers.md 2.4): beacon if asked for, attestation and collateral, chat, what signs
it, attestation again; then seal, verify with the shipped verifier, write. Each step is on disk in a
journal before the next begins, and a capture that stops leaves its journal: `resume` goes on from
there, or seals what is there as incomplete. A chat that was sent is never sent again.

The bundle is written whatever the verdict: evidence of a failure is evidence. The journal is
removed once the bundle is on disk and reads back, unless the caller keeps it or something is
missing that may still be had (`Gap`): a resumed capture asks for that again.

`attest` and `seal_exchanges` stand on their own, for those who share one attestation among chats.

Source: providers.md 2.4, 2.8; bundle-format.md 6 to 9; DESIGN invariants 7 and 8.
"""

from __future__ import annotations

import contextlib
import json
import secrets as chance
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from bundle.assemble import PUBLIC_PURPOSES, Assembly, CaptureClaims
from bundle.bodies import blob_file, remove
from bundle.bounds import TRANSIENT, Bounds
from bundle.calls import Attested, Call, ChatAsk, Provider, Steps, patiently, usable
from bundle.collateral import Claims, Endpoints, Want
from bundle.driver import SKEW, Asked, Driver, RefusedError, Sends, stated_date, unsent
from bundle.events import Event, Watch, escaped, outcome_of, unwatched
from bundle.importing import bundle_id_of
from bundle.inventory import Inventory, SessionNonce
from bundle.journal import CaptureError, Journal, JournalError, Plan, encoded
from bundle.keys import Signer, key_id
from bundle.recording import RecordedExchange, redacted_url
from bundle.scene import CaptureScene, MadeNonce, marker_of
from bundle.seal import SealError, seal, search_credentials, write_new
from verify.engine.errors import FormatError, MalformedInput, TeebundleError, UsageError
from verify.version import VERSION
from verify.wire.strict_json import parse_evidence, pointer_get

if TYPE_CHECKING:
    from bundle.policy_init import Draft
    from bundle.transport import Clock, Credential
    from verify.engine.report import Report
    from verify.policy.model import Policy
    from verify.trust.store import TrustStore
    from verify.wire.model import KeyId

__all__ = [
    "About",
    "CaptureAsked",
    "CaptureError",
    "CaptureResult",
    "Gap",
    "JournalError",
    "Marker",
    "Means",
    "Sealed",
    "attest",
    "capture",
    "resume",
    "seal_exchanges",
]

_SEALING: Final = "sealing"
_NOTE: Final = 400
"""Characters that are shown of why no attestation came."""
_ESSENTIAL: Final = frozenset({"chat", "signature", "receipt"})
_FIRST_LOOK: Final = "cap-" + "0" * 32


# --- what is asked, and with what ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureAsked:
    """What to capture.

    ``prompt`` or ``request``: what to say; neither means attestation only. ``stream`` None: as
    `bundle.calls.ChatAsk` says. ``base_url``, ``profile``, ``algorithms``: None or empty for the
    provider's own. ``beacon``: URL of a signed checkpoint. ``marker``: mark the request where the
    provider has a place for it. ``timeout_s``: of silence; ``max_response``: bytes of a chat
    answer; None for the defaults. ``journal`` None: ``<out>.journal``. ``settings``: the caller's
    own, kept in the plan.
    """

    provider: Provider
    out: Path
    operator: str
    model: str | None = None
    prompt: str | None = None
    request: bytes | None = None
    stream: bool | None = None
    base_url: str | None = None
    profile: str | None = None
    algorithms: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    endpoints: Endpoints = field(default_factory=Endpoints)
    want: Want = field(default_factory=Want)
    beacon: str | None = None
    marker: bool = True
    host: str | None = None
    timeout_s: float | None = None
    max_response: int | None = None
    journal: Path | None = None
    settings: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a capture is done with. Secrets live here alone.

    ``signers``: the first is the one that nonces commit to. ``secrets``: every configured
    credential; ``credentials``: those that calls name. ``policy``, ``trust``: to verify with, as
    values or as files; without a policy a draft is made. ``finish``: adds time material to the
    sealed file. ``blobs``: folder for answers that are too large for the file, None for
    ``<out>.blobs``. ``keep_journal``: even after a good end. ``clock_source`` and the two after
    it: see `bundle.assemble.CaptureClaims`.
    """

    transport: Sends
    signers: tuple[Signer, ...]
    clock: Clock
    credentials: Mapping[str, Credential] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    watch: Watch = unwatched
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = chance.SystemRandom().random
    random_bytes: Callable[[int], bytes] = chance.token_bytes
    policy: Policy | Path | None = None
    trust: TrustStore | tuple[Path, ...] | None = None
    finish: Callable[[bytes], bytes] | None = None
    blobs: Path | None = None
    overwrite: bool = False
    keep_journal: bool = False
    sha512: bool = False
    clock_source: str = "system"
    clock_offset_ms: int | None = None
    clock_max_error_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Something that was asked for and not had. ``what``: one line, for people.

    ``essential``: without it the chat or its signature, or the second attestation, is missing.
    ``again``: asking once more may bring it; a definite "no" from a vendor is none of those.
    """

    step: str
    purpose: str
    what: str
    essential: bool
    again: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureResult:
    """A bundle that was written. ``complete``: the sequence went to its end.

    ``report``: of the shipped verifier, None without a policy; then ``draft`` is a policy made from
    the bundle, None where none could be made, and ``no_draft`` says why. ``blobs``: folder with
    what was too large for the file, None where nothing was. ``journal``: the folder, None where it
    was removed.
    """

    out: Path
    bundle_id: str
    profile: str
    complete: bool
    gaps: tuple[Gap, ...]
    warnings: tuple[str, ...]
    report: Report | None
    draft: Draft | None
    no_draft: str
    blobs: Path | None
    journal: Path | None

    @property
    def whole(self) -> bool:
        """Whether the sequence went to its end and nothing essential is missing."""
        return self.complete and not any(gap.essential for gap in self.gaps)


# --- building blocks -----------------------------------------------------------------------------


def attest(driver: Driver, provider: Provider, scene: CaptureScene) -> Attested:
    """Attest, with collateral, as it must be before a chat.

    Raises `CaptureError` where nothing usable came: then no chat may be sent.
    """
    attested = driver.run(provider.before(scene))
    if not attested.usable:
        failed = [a for a in driver.unanswered() if a.call.purpose == "attestation"]
        why = escaped(attested.note, _NOTE) or (outcome_of(failed[-1].recorded) if failed else "")
        what = f"{provider.name} gave no attestation" + (f": {why}" if why else "")
        raise CaptureError(what)
    return attested


def fetch_beacon(url: str) -> Steps[bytes | None]:
    """Fetch the checkpoint that nonces commit to; return its bytes, None where none came."""

    def one(_number: int) -> Call:
        return Call(step="beacon", purpose="time", method="GET", url=url, stage="beacon")

    _, recorded = yield from patiently(one)
    return recorded.response_body if usable(recorded) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the capturer says of itself and of the provider, all claims; see `CaptureClaims`."""

    profile: str
    provider: str
    endpoint: str
    operator: str
    started_at: datetime
    ended_at: datetime
    complete: bool = True
    host: str | None = None
    tool_version: str = VERSION
    clock_source: str = "system"
    clock_offset_ms: int | None = None
    clock_max_error_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A mark in requests. ``nonce``: the value it commits to; ``pointer``: JSON Pointer."""

    secret: bytes
    nonce: bytes
    pointer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A sealed file, read back. ``external``: digests of what lies in the blob folder."""

    data: bytes
    bundle_id: str
    external: tuple[str, ...]


def seal_exchanges(
    exchanges: Sequence[RecordedExchange],
    *,
    about: About,
    signers: Sequence[Signer],
    nonces: Mapping[bytes, MadeNonce],
    beacon: bytes | None = None,
    marker: Marker | None = None,
    observations: Iterable[tuple[str, str]] = (),
    secrets: Iterable[str] = (),
    blobs: Path | None = None,
    random_bytes: Callable[[int], bytes] = chance.token_bytes,
    sha512: bool = False,
) -> Sealed:
    """Seal exchanges in the order given, any number of chats and rounds among them.

    ``nonces``: what is known of nonces of ours, by value; others are declared foreign. ``beacon``:
    body of the checkpoint among the exchanges that they commit to. ``observations``: (check, note)
    of what failed. ``blobs``: where large answers go. Raises `bundle.seal.SealError` for a
    credential in what was about to be stored, UsageError for a blob folder that cannot be written.
    """
    signer = key_id(signers[0].spki())
    assembly = Assembly(
        profile=about.profile,
        signer=signer,
        statement_id=f"urn:uuid:{uuid.UUID(bytes=random_bytes(16), version=4)}",
        salt=lambda _artifact: random_bytes(32),
        sha512=sha512,
    )
    known: dict[bytes, SessionNonce] = {}
    inventory = Inventory(assembly=assembly, nonces=known, lenient=True)
    checkpoint: str | None = None
    if beacon is None:
        _know(known, nonces, None)
    for recorded in exchanges:
        if recorded.purpose == "time" and not usable(recorded):
            # an error page is no checkpoint, and must not be taken for one
            inventory.add(replace(recorded, purpose="other"))
            continue
        ids = inventory.add(recorded)
        if recorded.purpose == "time" and recorded.response_body == beacon and checkpoint is None:
            checkpoint = ids.response_body
            _know(known, nonces, checkpoint)
    inventory.bind()
    for check, note in observations:
        assembly.observe(check, "fail", note)
    claims = CaptureClaims(
        mode="live",
        started_at=about.started_at,
        ended_at=about.ended_at,
        operator=about.operator,
        provider=about.provider,
        endpoint=about.endpoint,
        tool_version=about.tool_version,
        complete=about.complete,
        clock_source=about.clock_source,
        clock_offset_ms=about.clock_offset_ms,
        clock_max_error_ms=about.clock_max_error_ms,
        host=about.host,
    )
    if marker is not None:
        declared = json.loads(assembly.freeze(claims).payload)["predicate"]["session"]["nonces"]
        named = {bytes.fromhex(nonce["value"]): nonce["id"] for nonce in declared}
        _bind_marker(assembly, marker, signer, known[marker.nonce], named.get(marker.nonce))
    frozen = assembly.freeze(claims)
    data = seal(frozen, signers, secrets=secrets, blobs=blobs)
    return Sealed(data=data, bundle_id=bundle_id_of(data), external=tuple(sorted(frozen.external)))


def _know(
    known: dict[bytes, SessionNonce], nonces: Mapping[bytes, MadeNonce], beacon: str | None
) -> None:
    for value, made in nonces.items():
        known[value] = SessionNonce(
            value=value, derivation="teebundle-v1", random=made.random, beacon=beacon
        )


def _bind_marker(
    assembly: Assembly, marker: Marker, signer: KeyId, made: SessionNonce, nonce: str | None
) -> None:
    """Bind the marker to every chat request that really holds it; nothing where none does.

    ``nonce``: the id under which the marker's nonce was declared, None where no request carried it.
    """
    text = marker_of(signer, marker.nonce, marker.secret)
    marked = [
        request
        for request in assembly.ids_of("http.request.body")
        if _text_at(assembly.body(request), marker.pointer) == text
    ]
    if not marked:
        return
    if nonce is None:
        nonce = assembly.nonce(
            made.value, derivation=made.derivation, random=made.random, beacon=made.beacon
        )
    secret = assembly.local(marker.secret, role="session.marker", description="marker secret")
    for request in marked:
        assembly.bind(
            "marker-in-request",
            marker=secret,
            nonce=nonce,
            request=request,
            pointer=marker.pointer,
        )


def _text_at(body: bytes, pointer: str) -> object:
    try:
        return pointer_get(parse_evidence(body), pointer)
    except FormatError:
        return None


# --- a capture -----------------------------------------------------------------------------------


def capture(asked: CaptureAsked, means: Means) -> CaptureResult:
    """Carry out a capture and write its bundle.

    Raises UsageError for what cannot be asked (nothing was sent then, and no journal is left), and
    `CaptureError` where it came to no good end: its journal is kept and the message says how to go
    on.
    """
    means = _ready(means)
    plan = _plan(asked, means)
    _demand_new(asked.out, overwrite=means.overwrite)
    folder = asked.journal or asked.out.with_name(asked.out.name + ".journal")
    journal = Journal.create(folder, plan, secrets=means.secrets)
    with journal:
        try:
            return _Capture(
                journal=journal, provider=asked.provider, means=means, out=asked.out
            ).run()
        except UsageError:
            if all(unsent(recorded) for recorded in journal.exchanges):
                journal.remove()
            raise


def resume(
    folder: Path,
    provider: Provider,
    means: Means,
    *,
    out: Path | None = None,
    seal_incomplete: bool = False,
) -> CaptureResult:
    """Go on with a capture that stopped, or, with ``seal_incomplete``, seal what there is of it.

    ``provider``: the one that `Journal.plan_of` names. ``out``: another place for the bundle.
    Raises UsageError for another provider or key, or a folder that is no journal; `CaptureError`.
    """
    means = _ready(means)
    with Journal.open(folder, secrets=means.secrets) as journal:
        plan = journal.plan
        if provider.name != plan.provider:
            message = f"{folder}: is a capture of {plan.provider}, not of {provider.name}"
            raise UsageError(message)
        held = tuple(key_id(signer.spki()) for signer in means.signers)
        if held[:1] != plan.signers[:1]:
            message = (
                f"{folder}: was begun with the key {plan.signers[0]}, which its nonces commit to; "
                "name that key with --key"
            )
            raise UsageError(message)
        working = _Capture(journal=journal, provider=provider, means=means, out=out)
        written = working.written_before(complete=not seal_incomplete)
        if written is not None:
            return written
        _demand_new(working.target, overwrite=means.overwrite)
        means.watch(
            Event(kind="resumed", text=f"resumed with {len(journal.exchanges)} recorded exchanges")
        )
        return working.run(seal_incomplete=seal_incomplete)


def _ready(means: Means) -> Means:
    """Return the means with policy and trust read, if they are files: before anything is sent.

    Raises UsageError, MalformedInput for files that cannot be used.
    """
    policy, trust = means.policy, means.trust
    if not isinstance(policy, Path) and not isinstance(trust, tuple):
        return means
    from verify.cli.loading import policy_of, trust_of  # noqa: PLC0415  (values need no reading)

    if isinstance(policy, Path):
        policy = policy_of(str(policy), None)
    if isinstance(trust, tuple):
        trust = trust_of([str(path) for path in trust], [])
    return replace(means, policy=policy, trust=trust)


def _plan(asked: CaptureAsked, means: Means) -> Plan:
    """Say what is to be done, and refuse what cannot be. Raises UsageError."""
    provider = asked.provider
    if not means.signers:
        raise UsageError("a bundle needs a key to sign it: name one with --key")
    if asked.prompt is not None and asked.request is not None:
        raise UsageError("--prompt and --request are both given; it is not clear which is meant")
    chat = asked.prompt is not None or asked.request is not None
    if chat and not provider.has_chat:
        message = (
            f"{provider.title}: its chats cannot be recorded here, only its attestation: leave "
            "out --prompt and --request"
        )
        raise UsageError(message)
    if asked.beacon is not None and redacted_url(asked.beacon) != asked.beacon:
        raise UsageError("--beacon: an address that holds a secret cannot be kept in the journal")
    base_url = asked.base_url or provider.base_url
    if base_url is None:
        raise UsageError(f"{provider.title} has no address of its own: name it with --base-url URL")
    unknown = [name for name in asked.algorithms if name not in provider.algorithms]
    if unknown:
        known = ", ".join(provider.algorithms) or "none"
        raise UsageError(f"{provider.name} does not sign with {unknown[0]!r}; it knows: {known}")
    plan = Plan(
        provider=provider.name,
        profile=asked.profile or provider.profile,
        base_url=base_url.rstrip("/"),
        model=asked.model,
        chat=chat,
        prompt=asked.prompt,
        request=asked.request,
        stream=asked.stream,
        algorithms=asked.algorithms or provider.algorithms,
        options=dict(asked.options),
        endpoints=asdict(asked.endpoints),
        nras=asked.want.nras,
        claims=asked.want.claims,
        insist=asked.want.insist,
        beacon=asked.beacon,
        signers=tuple(key_id(signer.spki()) for signer in means.signers),
        first_random=means.random_bytes(32),
        marker_secret=(
            means.random_bytes(32)
            if chat and asked.marker and provider.marker_pointer is not None
            else None
        ),
        operator=asked.operator,
        host=asked.host,
        out=str(asked.out.absolute()),
        timeout_s=asked.timeout_s,
        max_response=asked.max_response,
        started_at=means.clock(),
        tool_version=VERSION,
        settings=dict(asked.settings),
    )
    if chat:  # whatever is wrong with the request is told before anything is sent
        body = provider.chat_body(_ask(plan, _FIRST_LOOK))
        try:
            search_credentials({"the request": body}, means.secrets)
        except SealError as error:
            raise UsageError(str(error)) from error
    _demand_recordable(plan, means.secrets)
    return plan


def _demand_recordable(plan: Plan, secrets: Iterable[str]) -> None:
    """Refuse a plan that no journal may hold, before there is one. Raises UsageError."""
    for part in fields(plan):
        stated = encoded(getattr(plan, part.name))
        try:
            text = json.dumps(stated, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            message = f"{part.name}: holds bytes that are not UTF-8; write it in other characters"
            raise UsageError(message) from error
        try:
            search_credentials({f"what was given as {part.name}": text}, secrets)
        except SealError as error:
            raise UsageError(str(error)) from error


def _ask(plan: Plan, marker: str | None) -> ChatAsk:
    return ChatAsk(
        model=plan.model,
        prompt=plan.prompt,
        request=plan.request,
        stream=plan.stream,
        marker=None if plan.marker_secret is None else marker,
        options=dict(plan.options),
    )


def _demand_new(out: Path, *, overwrite: bool) -> None:
    """Refuse a place that cannot be written to, before a provider is paid for a chat."""
    if not overwrite and (out.exists() or out.is_symlink()):
        message = f"{out}: exists already; choose another name or pass --overwrite"
        raise UsageError(message)
    if not out.parent.is_dir():
        message = f"{out}: the folder {out.parent} does not exist; make it first"
        raise UsageError(message)


@dataclass(slots=True, kw_only=True)
class _Capture:
    """One run over a journal."""

    journal: Journal
    provider: Provider
    means: Means
    out: Path | None = None
    _attested_after: bool = True
    _unsigned: str = ""
    _driver: Driver | None = None

    @property
    def plan(self) -> Plan:
        return self.journal.plan

    @property
    def target(self) -> Path:
        return self.out or Path(self.plan.out)

    @property
    def folder(self) -> Path:
        return self.journal.folder

    @property
    def driver(self) -> Driver:
        if self._driver is None:
            means = self.means
            self._driver = Driver(
                transport=means.transport,
                journal=self.journal,
                clock=means.clock,
                credentials=means.credentials,
                redacting=means.secrets,
                watch=means.watch,
                sleep=means.sleep,
                jitter=means.jitter,
                bounds=self._bounds,
            )
        return self._driver

    def _bounds(self, call: Call) -> Bounds | None:
        """Return the limits of a call as the user set them; of the chat, its size too."""
        bounds, plan = call.bounds, self.plan
        if plan.timeout_s is not None:
            bounds = replace(
                bounds, idle_s=plan.timeout_s, total_s=max(bounds.total_s, plan.timeout_s)
            )
        if plan.max_response is not None and call.purpose == "chat":
            bounds = replace(bounds, body=plan.max_response)
        return bounds

    # --- the sequence ----------------------------------------------------------------------------

    def run(self, *, seal_incomplete: bool = False) -> CaptureResult:
        """Go through the sequence, seal, verify, write. Raises `CaptureError`, UsageError."""
        try:
            if not seal_incomplete:
                self._go_through()
            return self._finish(complete=not seal_incomplete)
        except JournalError:
            raise
        except CaptureError as error:
            raise self._stopped(error) from error
        except UsageError as error:
            if all(unsent(recorded) for recorded in self.journal.exchanges):
                raise  # nothing was asked yet, so there is nothing to go on with
            raise self._stopped(CaptureError(str(error))) from error
        except KeyboardInterrupt:
            raise self._stopped(CaptureError("interrupted")) from None

    def _stopped(self, error: CaptureError) -> CaptureError:
        """Return what to raise where the capture stops and may be resumed."""
        if self._driver is not None:
            self._driver.end_stage()
            with contextlib.suppress(JournalError):
                self._driver.forget_unanswered()
        go_on = f"teebundle capture --resume {self.folder}"
        advice = (
            f"what came is kept in {self.folder}: go on with `{go_on}`, or seal it as it is by "
            "adding --seal-incomplete"
        )
        if isinstance(error, RefusedError) and error.once:
            advice = (
                f"the chat is not sent again: begin a new capture, or seal this one as it is with "
                f"`{go_on} --seal-incomplete`"
            )
        return CaptureError(error.what, folder=self.folder, advice=advice)

    def _scene(self) -> CaptureScene:
        plan = self.plan
        return CaptureScene(
            journal=self.journal,
            signer=key_id(self.means.signers[0].spki()),
            base_url=plan.base_url,
            model=plan.model,
            chat_body=self.journal.chat_body,
            stream=_streams(self.journal.chat_body),
            algorithms=plan.algorithms,
            options=dict(plan.options),
            beacon=self._beacon(),
            endpoints=Endpoints(**plan.endpoints),
            want=Want(
                nras=plan.nras,
                claims=cast("Claims", plan.claims),
                insist=plan.insist,
            ),
            random_bytes=self.means.random_bytes,
        )

    def _beacon(self) -> bytes | None:
        """Return the checkpoint that was fetched, None where there is none (yet)."""
        for recorded in self.journal.exchanges:
            if recorded.purpose == "time" and usable(recorded):
                return recorded.response_body
        return None

    def _go_through(self) -> None:
        plan, driver, provider = self.plan, self.driver, self.provider
        if plan.beacon is not None and self._beacon() is None:
            driver.run(fetch_beacon(plan.beacon))
            if self._beacon() is None:
                last = outcome_of(driver.asked[-1].recorded)
                raise CaptureError(f"the beacon could not be fetched: {last}")
        scene = self._scene()
        if plan.chat and scene.chat_body is None:
            marker = None
            if plan.marker_secret is not None:
                marker = marker_of(scene.signer, scene.first_nonce(), plan.marker_secret)
                self._warn_of_marker()
            scene.chat_body = provider.chat_body(_ask(plan, marker))
            scene.stream = _streams(scene.chat_body)
            self.journal.keep_chat_body(scene.chat_body)
        attested = self._attested(scene)
        if not plan.chat:
            driver.end_stage()
            return
        chat = driver.run(_one(provider.chat_call(scene)))
        if unsent(chat):
            raise CaptureError(f"the chat could not be sent: {outcome_of(chat)}")
        driver.run(provider.after_chat(scene, chat))
        self._unsigned = provider.unsigned(chat, self.journal.exchanges)
        self._attested_after = driver.run(provider.after(scene, attested)).usable
        driver.end_stage()

    def _warn_of_marker(self) -> None:
        """Tell where the marker takes the place of a value of the user's own."""
        own, pointer = self.plan.request, self.provider.marker_pointer
        if own is not None and pointer is not None and _text_at(own, pointer) is not None:
            self.driver.warn(
                f"the marker takes the place of {pointer} in the request; --no-marker leaves it"
            )

    def _attested(self, scene: CaptureScene) -> Attested:
        try:
            return attest(self.driver, self.provider, scene)
        except (JournalError, RefusedError):
            raise
        except CaptureError:
            # answers came that were of no use (a page of an edge proxy, say): they, too, are to be
            # asked for again
            self.journal.forget(
                dict.fromkeys(
                    asked.call.step
                    for asked in self.driver.asked
                    if asked.call.purpose not in PUBLIC_PURPOSES
                )
            )
            raise

    # --- the end ---------------------------------------------------------------------------------

    def _gaps(self) -> tuple[Gap, ...]:
        found = [
            Gap(
                step=asked.call.step,
                purpose=asked.call.purpose,
                what=f"{asked.call.step}: {outcome_of(asked.recorded)}",
                essential=asked.call.purpose in _ESSENTIAL,
                again=_again(asked),
            )
            for asked in (() if self._driver is None else self._driver.unanswered())
        ]
        if self._unsigned and not any(gap.purpose in _ESSENTIAL for gap in found):
            what = f"signature: {self._unsigned}"
            found.append(
                Gap(step="signature", purpose="signature", what=what, essential=True, again=False)
            )
        if not self._attested_after:
            what = "no attestation came after the chat"
            found.append(Gap(step="attest-2", purpose="attestation", what=what, essential=True))
        return tuple(found)

    def _about(self, *, complete: bool) -> About:
        plan, means = self.plan, self.means
        exchanges = self.journal.exchanges
        ended = [means.clock(), plan.started_at, *(one.ended_at for one in exchanges)]
        for recorded in exchanges:
            # bundle-format.md 6.1: the end is not before any Date recorded; a clock that is plainly
            # wrong was warned of, and does not set the instant at which everything is judged
            stated = stated_date(recorded)
            if stated is not None and stated - recorded.ended_at <= SKEW:
                ended.append(stated)
        started = [plan.started_at, *(one.started_at for one in exchanges)]
        return About(
            profile=plan.profile,
            provider=plan.provider,
            endpoint=plan.base_url,
            operator=plan.operator,
            started_at=min(started),
            ended_at=max(ended),
            complete=complete,
            host=plan.host,
            tool_version=plan.tool_version,
            clock_source=means.clock_source,
            clock_offset_ms=means.clock_offset_ms,
            clock_max_error_ms=means.clock_max_error_ms,
        )

    def _marker(self, scene: CaptureScene) -> Marker | None:
        secret, pointer = self.plan.marker_secret, self.provider.marker_pointer
        if secret is None or pointer is None or self.journal.chat_body is None:
            return None
        return Marker(secret=secret, nonce=scene.first_nonce(), pointer=pointer)

    def _nonces(self, scene: CaptureScene) -> dict[bytes, MadeNonce]:
        first = MadeNonce(value=scene.first_nonce(), random=self.plan.first_random)
        return {first.value: first, **scene.made()}

    def _finish(self, *, complete: bool) -> CaptureResult:
        gaps = self._gaps()
        if not self.journal.exchanges:
            raise CaptureError("nothing was recorded yet, so there is nothing to seal")
        scene, means = self._scene(), self.means
        blobs = means.blobs or self.target.with_name(self.target.name + ".blobs")
        try:
            sealed = seal_exchanges(
                self.journal.exchanges,
                about=self._about(complete=complete),
                signers=means.signers,
                nonces=self._nonces(scene),
                beacon=scene.beacon,
                marker=self._marker(scene),
                observations=self._observations(gaps),
                secrets=means.secrets,
                blobs=blobs,
                random_bytes=means.random_bytes,
                sha512=means.sha512,
            )
        except (SealError, UsageError) as error:
            raise CaptureError(str(error)) from error
        data = sealed.data
        if means.finish is not None:
            try:
                data = means.finish(data)
            except TeebundleError as error:
                # the bundle is worth keeping without; the time can be proven later
                what = f"no timestamp: {error}"
                gaps += (
                    Gap(step="timestamp", purpose="time", what=what, essential=False, again=False),
                )
        return self._write(sealed, data, gaps, complete=complete, blobs=blobs)

    def _warnings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(text for kind, text in self.journal.notes if kind == "warning"))

    def _observations(self, gaps: tuple[Gap, ...]) -> list[tuple[str, str]]:
        """Return what the capturer saw fail.

        Not in the provider's own words: those may repeat what was said, and this stands unsalted.
        """
        by_step = {} if self._driver is None else {a.call.step: a for a in self._driver.asked}
        found = []
        for gap in gaps:
            asked = by_step.get(gap.step)
            if asked is None:
                found.append(("exchange.recorded", gap.what))
                continue
            recorded = asked.recorded
            seen = "" if recorded.status is None else f" HTTP {recorded.status}"
            trouble = "" if recorded.failure is None else f" {recorded.failure.trouble}"
            found.append(("exchange.recorded", f"{gap.step}:{seen}{trouble}"))
        return found

    def _write(
        self,
        sealed: Sealed,
        data: bytes,
        gaps: tuple[Gap, ...],
        *,
        complete: bool,
        blobs: Path,
    ) -> CaptureResult:
        if _missing(gaps):
            self.driver.forget_unanswered()
        told = {
            "out": str(self.target.absolute()),
            "id": sealed.bundle_id,
            "complete": complete,
            "gaps": [asdict(gap) for gap in gaps],
            "external": bool(sealed.external),
            "exchanges": len(self.journal.exchanges),
        }
        self.journal.note(_SEALING, json.dumps(told))
        try:
            write_new(self.target, data, overwrite=self.means.overwrite)
        except UsageError as error:
            remove(tuple(blob_file(blobs, digest) for digest in sealed.external))
            raise CaptureError(str(error)) from error
        return self._written(
            data,
            gaps,
            self._warnings(),
            complete=complete,
            blobs=blobs if sealed.external else None,
        )

    def _written(
        self,
        data: bytes,
        gaps: tuple[Gap, ...],
        warnings: Sequence[str],
        *,
        complete: bool,
        blobs: Path | None,
    ) -> CaptureResult:
        """Verify what lies on disk, let go of the journal if nothing is missing, tell."""
        report, draft, no_draft = _judged(data, self.means, blobs)
        keep = self.means.keep_journal or not complete or _missing(gaps)
        if not keep:
            try:
                self.journal.remove()
            except JournalError as error:  # the bundle is there all the same
                keep, warnings = True, (*warnings, str(error))
        verdict = "no policy" if report is None else report.verdict.value
        self.means.watch(Event(kind="result", text=f"{verdict} {self.target}"))
        return CaptureResult(
            out=self.target,
            bundle_id=bundle_id_of(data),
            profile=self.plan.profile,
            complete=complete,
            gaps=gaps,
            warnings=tuple(warnings),
            report=report,
            draft=draft,
            no_draft=no_draft,
            blobs=blobs,
            journal=self.folder if keep else None,
        )

    def written_before(self, *, complete: bool) -> CaptureResult | None:
        """Return the result of a run that had written the bundle, None where there is more to do.

        ``complete``: whether only a run that went through the sequence is of interest.
        """
        notes = [text for kind, text in self.journal.notes if kind == _SEALING]
        if not notes or (complete and self.journal.forgetful):
            return None
        from verify.wire.container import read_bundle  # noqa: PLC0415  (rare)
        from verify.wire.limits import EXTERNAL_HARD, Limits  # noqa: PLC0415  (rare)

        told = json.loads(notes[-1])
        elsewhere = self.out is not None and str(self.out.absolute()) != told["out"]
        more = told["exchanges"] != len(self.journal.exchanges)
        if elsewhere or more or (complete and not told["complete"]):
            return None
        try:
            data = Path(told["out"]).read_bytes()
            # the verifier's reader: what lies there may be anything
            if read_bundle(data, bounds=Limits(external_blob=EXTERNAL_HARD)).id != told["id"]:
                return None
        except (OSError, MalformedInput):
            return None
        blobs = self.means.blobs or self.target.with_name(self.target.name + ".blobs")
        return self._written(
            data,
            tuple(Gap(**gap) for gap in told["gaps"]),
            self._warnings(),
            complete=told["complete"],
            blobs=blobs if told["external"] else None,
        )


def _missing(gaps: tuple[Gap, ...]) -> bool:
    """Whether something is missing that a resumed capture would ask for again, or cannot."""
    return any(gap.essential or gap.again for gap in gaps)


def _again(asked: Asked) -> bool:
    """Whether asking once more may bring what did not come; a chat that was sent never is."""
    recorded = asked.recorded
    if asked.call.once and not unsent(recorded):
        return False
    return recorded.failure is not None or recorded.status in TRANSIENT


def _one(call: Call) -> Steps[RecordedExchange]:
    return (yield call)


def _streams(body: bytes | None) -> bool:
    from bundle.providers.bodies import streams  # noqa: PLC0415  (attestation needs none)

    return body is not None and streams(body)


# --- what the shipped verifier says --------------------------------------------------------------


def _judged(
    data: bytes, means: Means, blobs: Path | None
) -> tuple[Report | None, Draft | None, str]:
    """Verify a sealed file: a report under the policy given, else a policy drafted from it."""
    # the verifier costs more than a short capture; what has failed before does not pay for it
    from verify.api import open_unverified, verify_bundle  # noqa: PLC0415
    from verify.cli.blobs import BlobFolder  # noqa: PLC0415
    from verify.engine.asof import AsOf  # noqa: PLC0415
    from verify.trust.store import TrustStore  # noqa: PLC0415
    from verify.wire.limits import EXTERNAL_HARD, Limits  # noqa: PLC0415

    given = means.trust if isinstance(means.trust, TrustStore) else TrustStore.build()
    trust = with_own_keys(given, means.signers)
    # what a reader accepts by default is the reader's affair
    bounds = Limits(external_blob=EXTERNAL_HARD)
    outside = None if blobs is None else BlobFolder(str(blobs), limit=EXTERNAL_HARD)
    if means.policy is not None and not isinstance(means.policy, Path):
        report = verify_bundle(
            data,
            policy=means.policy,
            trust=trust,
            as_of=AsOf.capture(),
            blobs=outside,
            bounds=bounds,
        )
        return report, None, ""
    from bundle.policy_init import best_draft  # noqa: PLC0415

    try:
        draft = best_draft(data, trust, outside, accept_added=True)
    except TeebundleError as error:
        return None, None, str(error)
    if draft is None:
        profile = open_unverified(data, bounds=bounds).evidence.statement.profile
        return None, None, f"no shipped policy fits profile {profile} and this bundle"
    return None, draft, ""


def with_own_keys(trust: TrustStore, signers: Sequence[Signer]) -> TrustStore:
    """Return the store with the keys that have just signed, where it does not know them yet.

    Whoever holds a key may say that it is theirs; a policy still decides whether it is accepted.
    """
    import base64  # noqa: PLC0415  (only who judges needs it)

    from verify.trust.anchor import Purpose  # noqa: PLC0415
    from verify.trust.file import read_signer  # noqa: PLC0415
    from verify.trust.store import TrustStore as Store  # noqa: PLC0415

    known = {anchor.sha256 for anchor in trust.of(Purpose.CAPTURE_SIGNER)}
    own = [
        read_signer(
            b"-----BEGIN PUBLIC KEY-----\n"
            + base64.encodebytes(signer.spki())
            + b"-----END PUBLIC KEY-----\n"
        )
        for signer in signers
    ]
    new = [anchor for anchor in own if anchor.sha256 not in known]
    return Store.build(files=trust.files, signers=[*trust.signers, *new]) if new else trust
