"""What a recording proxy does apart from its clients: attest, look up, seal, one chat at a time.

Everything here blocks and runs in threads, sealing in processes of its own. Each attestation round
and each chat has a journal (`bundle.journal`); a round's journal stays until no chat needs it, a
chat's until its bundle is on disk and reads back.

Rounds are made in series: the first of a series asks for all collateral, a later one only for what
is new; a bundle holds the evidence of the rounds before and after its chat and the collateral of
their whole series up to then. No series is older than an hour.

Source: providers.md 2.4; bundle-format.md 6, 8.1, 9.3; DESIGN invariant 7.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets as chance
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from multiprocessing.connection import wait
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import TYPE_CHECKING, Final

from bundle.calls import Attested, Call, Provider
from bundle.capture import About, CaptureError, attest, seal_exchanges, with_own_keys
from bundle.collateral import Endpoints, Want
from bundle.driver import SKEW, Driver, Sends, stated_date
from bundle.journal import Journal, Plan
from bundle.keys import FileSigner, key_id
from bundle.providers.bodies import streams
from bundle.providers.reading import chat_id
from bundle.recording import RecordedExchange
from bundle.scene import CaptureScene, MadeNonce
from bundle.seal import write_new
from bundle.spool import Spooled
from verify.engine.errors import TeebundleError, UsageError
from verify.version import VERSION

if TYPE_CHECKING:
    from bundle.transport import Clock, Credential
    from verify.policy.model import Policy
    from verify.trust.store import TrustStore
    from verify.wire.model import KeyId

SERIES: Final = timedelta(hours=1)
"""How old the collateral of a bundle may be when its later round is made."""
_MATERIAL: Final = frozenset({"collateral", "revocation", "rim", "provenance"})
"""Purposes whose answers serve every round of a series."""
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What holds for every chat of a proxy. Holds no secret but in ``credentials``, ``secrets``.

    ``work``: folder of journals. ``signer``: id of the first key. ``halt``: set when waiting must
    end at once. ``timeout_s``: seconds of silence in look-ups and attestations, None for defaults.
    """

    provider: str
    profile: str
    base_url: str
    algorithms: tuple[str, ...]
    options: Mapping[str, str]
    endpoints: Endpoints
    want: Want
    operator: str
    work: Path
    signers: tuple[KeyId, ...]
    transport: Sends
    clock: Clock
    credentials: Mapping[str, Credential] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    timeout_s: float | None = None
    random_bytes: Callable[[int], bytes] = chance.token_bytes
    halt: Flag = field(default_factory=Flag)

    def sleep(self, seconds: float) -> None:
        """Wait. Raises `CaptureError` where the proxy ends meanwhile."""
        if self.halt.wait(seconds):
            raise CaptureError("the proxy was stopped")

    def plan(self, model: str, *, chat: bool, settings: Mapping[str, str | None]) -> Plan:
        """Return the first record of a journal."""
        return Plan(
            provider=self.provider,
            profile=self.profile,
            base_url=self.base_url,
            model=model,
            chat=chat,
            prompt=None,
            request=None,
            stream=None,
            algorithms=self.algorithms,
            options=dict(self.options),
            endpoints=asdict(self.endpoints),
            nras=self.want.nras,
            claims=self.want.claims,
            insist=self.want.insist,
            beacon=None,
            signers=self.signers,
            first_random=self.random_bytes(32),
            marker_secret=None,
            operator=self.operator,
            host=None,
            out="",
            timeout_s=self.timeout_s,
            max_response=None,
            started_at=self.clock(),
            tool_version=VERSION,
            settings=dict(settings),
        )

    def scene(
        self, journal: Journal, model: str, body: bytes | None, known: set[str] | None = None
    ) -> CaptureScene:
        """Return what a provider's sequence is told."""
        return CaptureScene(
            journal=journal,
            signer=self.signers[0],
            base_url=self.base_url,
            model=model,
            chat_body=body,
            stream=body is not None and streams(body),
            algorithms=self.algorithms,
            options=dict(self.options),
            endpoints=self.endpoints,
            want=self.want,
            random_bytes=self.random_bytes,
            known=set() if known is None else known,
        )

    def driver(self, journal: Journal) -> Driver:
        """Return what sends the calls of a sequence and journals their answers."""
        timeout = self.timeout_s
        return Driver(
            transport=self.transport,
            journal=journal,
            clock=self.clock,
            credentials=self.credentials,
            redacting=self.secrets,
            sleep=self.sleep,
            bounds=lambda call: None if timeout is None else replace(call.bounds, idle_s=timeout),
        )


# --- attestation rounds -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One attestation round with its collateral. ``name``: of its journal's folder.

    ``series``: equal for rounds that share collateral; ``number``: within it, from 1. ``material``:
    collateral of earlier rounds of the series. ``attested`` None: read back from a journal.
    ``trouble``: why it is of no use, empty where it is. Times are those of its exchanges.
    """

    name: str
    model: str
    series: str
    number: int
    began_at: datetime
    ended_at: datetime
    exchanges: tuple[RecordedExchange, ...]
    material: tuple[RecordedExchange, ...]
    nonces: Mapping[bytes, MadeNonce]
    attested: Attested | None
    known: set[str] = field(repr=False)
    series_began_at: datetime
    trouble: str = ""

    @property
    def collateral(self) -> tuple[RecordedExchange, ...]:
        """Everything that a later round of the series need not ask for again."""
        own = (one for one in self.exchanges if one.purpose in _MATERIAL)
        return (*self.material, *own)


def make_round(
    setup: Setup, provider: Provider, model: str, name: str, previous: Round | None
) -> Round:
    """Attest, with collateral. ``previous``: the round before, whose series may be gone on with.

    What came is in a journal, whatever came of it. Raises JournalError where that cannot be written
    and UsageError for an address that must not be asked.
    """
    now = setup.clock()
    goes_on = (
        previous is not None
        and previous.attested is not None
        and not previous.trouble
        and now - previous.series_began_at < SERIES
    )
    series, number, known = name, 1, set[str]()
    material: tuple[RecordedExchange, ...] = ()
    began = now
    if goes_on and previous is not None:
        series, number, known = previous.series, previous.number + 1, set(previous.known)
        material, began = previous.collateral, previous.series_began_at
    plan = setup.plan(
        model, chat=False, settings={"kind": "round", "series": series, "number": str(number)}
    )
    with Journal.create(setup.work / name, plan, secrets=setup.secrets) as journal:
        driver = setup.driver(journal)
        scene = setup.scene(journal, model, None, known)
        attested: Attested | None = None
        trouble = ""
        try:
            if goes_on and previous is not None and previous.attested is not None:
                attested = driver.run(provider.after(scene, previous.attested))
                if not attested.usable:
                    trouble = attested.note or f"{provider.name} gave no attestation"
            else:
                attested = attest(driver, provider, scene)
        except CaptureError as error:
            trouble = error.what
        journal.note("round", trouble)
        exchanges = journal.exchanges
        return Round(
            name=name,
            model=model,
            series=series,
            number=number,
            began_at=min((one.started_at for one in exchanges), default=now),
            ended_at=max((one.ended_at for one in exchanges), default=now),
            exchanges=exchanges,
            material=material,
            nonces=scene.made(),
            attested=attested,
            known=scene.known,
            series_began_at=began,
            trouble=trouble,
        )


def rounds_left(setup: Setup, folders: Iterable[Path]) -> dict[str, Round]:
    """Read back the rounds whose journals an earlier run left, by name; broken ones are left out.

    A round that an earlier run did not end is of no use. Raises nothing.
    """
    found: dict[str, Round] = {}
    for folder in sorted(folders):
        try:
            with Journal.open(folder, secrets=setup.secrets) as journal:
                plan, exchanges = journal.plan, journal.exchanges
                scene = setup.scene(journal, plan.model or "", None)
                notes = [text for kind, text in journal.notes if kind == "round"]
                nonces = scene.made() if plan.signers == setup.signers else {}
        except TeebundleError:
            continue
        series = plan.settings.get("series") or folder.name
        number = int(plan.settings.get("number") or "1")
        earlier = [r for r in found.values() if r.series == series and r.number < number]
        found[folder.name] = Round(
            name=folder.name,
            model=plan.model or "",
            series=series,
            number=number,
            began_at=min((one.started_at for one in exchanges), default=plan.started_at),
            ended_at=max((one.ended_at for one in exchanges), default=plan.started_at),
            exchanges=exchanges,
            material=tuple(one for r in earlier for one in r.exchanges if one.purpose in _MATERIAL),
            nonces=nonces,
            attested=None,
            known=set(),
            series_began_at=plan.started_at,
            trouble="not ended" if not notes else notes[-1],
        )
    return found


# --- chats ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A chat whose answer has ended. ``before``: name of the round before it, None for none.

    ``body``: parts of an answer that is too long to be held, None where it is held.
    """

    name: str
    model: str
    before: str | None
    recorded: RecordedExchange
    body: Spooled | None = None


def keep_chat(setup: Setup, chat: Ended) -> Path:
    """Put a chat into a journal of its own, on the disk when this returns. Raises JournalError."""
    folder = setup.work / chat.name
    recorded = chat.recorded
    plan = setup.plan(chat.model, chat=True, settings={"kind": "chat", "before": chat.before})
    with Journal.create(folder, plan, secrets=setup.secrets) as journal:
        if recorded.request_body:
            journal.keep_chat_body(recorded.request_body)
        call = Call(
            step="chat",
            purpose="chat",
            method=recorded.method,
            url=recorded.url,
            body=recorded.request_body,
            once=True,
            session=recorded.session,
        )
        under = journal.begin(
            call,
            url=recorded.url,
            headers=recorded.request_headers or (),
            started_at=recorded.started_at,
        )
        try:
            if recorded.status is not None:
                under.begin(replace(recorded, response_body=None, complete=False))
            if recorded.response_body is None and chat.body is not None:
                for part in chat.body.parts():
                    under.write(part)
            under.done(recorded)
        finally:
            under.leave()
    return folder


def look_up(setup: Setup, provider: Provider, folder: Path) -> str:
    """Fetch what signs a chat, as its provider has it; return why that did not come, else nothing.

    Raises JournalError.
    """
    with Journal.open(folder, secrets=setup.secrets) as journal:
        chat = journal.answered("chat")
        if chat is None:
            return "no chat was recorded"
        scene = setup.scene(journal, journal.plan.model or "", chat.request_body)
        driver = setup.driver(journal)
        try:
            driver.run(provider.after_chat(scene, chat))
        except (CaptureError, UsageError) as error:
            journal.note("warning", str(error))
            return str(error)
        missing = [asked.call.step for asked in driver.unanswered()]
        return f"not had: {', '.join(missing)}" if missing else ""


# --- sealing ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """What the sealing processes are told once. ``judge``: policy and trust files to verify with.

    ``passphrase``, ``secrets``: never leave memory.
    """

    provider: str
    profile: str
    base_url: str
    operator: str
    out: Path
    keys: tuple[Path, ...]
    passphrase: bytes | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    policy: Path | None = None
    trust: tuple[Path, ...] = ()
    signer: tuple[Path, ...] = ()
    tsa: tuple[str, ...] = ()
    ca_file: Path | None = None
    proxy: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One chat to seal. ``folder``: its journal. ``around``: exchanges of the rounds about it.

    ``attested``: whether both rounds are usable. ``trouble``: what could not be had, for people;
    ``seen``: the same without a word of the provider's, to stand in the bundle.
    """

    folder: Path
    around: tuple[RecordedExchange, ...]
    nonces: Mapping[bytes, MadeNonce]
    attested: bool
    trouble: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A bundle that was written. ``verdict``: of the shipped verifier, None without a policy.

    ``complete``: the chat came whole and is attested before and after. ``notes``: what is missing.
    """

    path: Path
    bundle_id: str
    chat: str | None
    status: int | None
    complete: bool
    size: int
    verdict: str | None
    notes: tuple[str, ...]


def job_of(folder: Path, before: Round | None, after: Round | None, trouble: str) -> Job:
    """Return what is needed to seal a chat between two rounds. ``trouble``: of its look-ups."""
    around: dict[int, RecordedExchange] = {}
    nonces: dict[bytes, MadeNonce] = {}
    told, seen = [], []
    if trouble:
        told.append(trouble)
        seen.append("what signs the chat was not had")
    for side, one in (("before", before), ("after", after)):
        if one is not None:
            around.update((id(exchange), exchange) for exchange in (*one.material, *one.exchanges))
            nonces.update(one.nonces)
        if one is None or one.trouble:
            told.append(f"not attested {side}" + (f": {one.trouble}" if one else ""))
            seen.append(f"not attested {side}")
    return Job(
        folder=folder,
        around=tuple(around.values()),
        nonces=nonces,
        attested=all(one is not None and not one.trouble for one in (before, after)),
        trouble=tuple(told),
        seen=tuple(seen),
    )


_held: list[tuple[Sealing, tuple[FileSigner, ...]]] = []
_unready: list[str] = []


def prepare(sealing: Sealing) -> None:
    """Make a process ready to seal; a terminal's interrupt is the proxy's own business.

    The process ends with the proxy, even with one that is killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    try:
        _held[:] = [(sealing, signers_of(sealing))]
    except (TeebundleError, OSError) as error:  # told with each chat: here it would be a traceback
        _unready[:] = [str(error)]


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(0)


def signers_of(sealing: Sealing) -> tuple[FileSigner, ...]:
    """Return the signers of the key files. Raises UsageError."""
    from bundle.importing import load_key  # noqa: PLC0415  (pulls the importers in)

    return tuple(load_key(path, sealing.passphrase) for path in sealing.keys)


def seal_prepared(job: Job) -> Done:
    """Seal a chat in a process that was prepared. Raises UsageError where that did not succeed."""
    if _unready:
        raise UsageError(_unready[0])
    sealing, signers = _held[0]
    return seal_chat(job, sealing, signers)


def seal_chat(job: Job, sealing: Sealing, signers: tuple[FileSigner, ...]) -> Done:
    """Seal a chat, verify if there is a policy, write; its journal is removed then.

    Raises SealError for a credential in what was to be stored, UsageError, JournalError.
    """
    with Journal.open(job.folder, secrets=sealing.secrets) as journal:
        chat = journal.answered("chat")
        if chat is None:
            message = f"{job.folder}: holds no chat"
            raise UsageError(message)
        exchanges = sorted((*job.around, *journal.exchanges), key=lambda one: one.started_at)
        found = chat_id(chat)
        complete = chat.complete and chat.status is not None and job.attested
        path = _free(sealing.out, chat.started_at, found)
        about = About(
            profile=sealing.profile,
            provider=sealing.provider,
            endpoint=sealing.base_url,
            operator=sealing.operator,
            started_at=min(one.started_at for one in exchanges),
            ended_at=_end(exchanges),
            complete=complete,
        )
        blobs = path.with_name(path.name + ".blobs")
        sealed = seal_exchanges(
            exchanges,
            about=about,
            signers=signers,
            nonces=job.nonces,
            observations=[("exchange.recorded", text) for text in job.seen],
            secrets=sealing.secrets,
            blobs=blobs,
        )
        data, unstamped = _stamped(sealed.data, sealing)
        verdict = _verdict(data, sealing, signers, blobs if sealed.external else None)
        write_new(path, data)
        journal.remove()
    told = [*job.trouble, *([chat.failure.what] if chat.failure else []), *unstamped]
    return Done(
        path=path,
        bundle_id=sealed.bundle_id,
        chat=found,
        status=chat.status,
        complete=complete,
        size=len(data),
        verdict=verdict,
        notes=tuple(told),
    )


def _end(exchanges: Iterable[RecordedExchange]) -> datetime:
    """Return the end of a capture: of its exchanges, and of every believable Date among them."""
    ended = []
    for one in exchanges:
        stated = stated_date(one)
        ended.append(one.ended_at)
        if stated is not None and stated - one.ended_at <= SKEW:
            ended.append(stated)
    return max(ended)


def _free(out: Path, at: datetime, found: str | None) -> Path:
    """Return a name that is not taken: time, chat id in safe characters, a number if need be."""
    stamp = at.strftime("%Y%m%dT%H%M%S.") + f"{at.microsecond // 1000:03d}Z"
    safe = "".join(sign if sign in _NAME else "_" for sign in found or "no-id")[:80]
    for number in range(1, 10_000):
        tail = "" if number == 1 else f"-{number}"
        path = out / f"{stamp}-{safe}{tail}.evidence.json"
        if not path.exists():
            return path
    message = f"{out}: ten thousand bundles of one chat id and instant; nothing was written"
    raise UsageError(message)


def _stamped(data: bytes, sealing: Sealing) -> tuple[bytes, list[str]]:
    """Have a bundle stamped; without, if that fails: it can be made up for later."""
    if not sealing.tsa:
        return data, []
    from bundle.commands.timestamp import sender  # noqa: PLC0415  (few proxies have it)
    from bundle.timestamps import StampError, stamp  # noqa: PLC0415  (the same)
    from bundle.transport import Transport  # noqa: PLC0415  (the same)
    from verify.cli.loading import trust_of  # noqa: PLC0415  (the same)

    trust = trust_of([str(path) for path in sealing.trust], [])
    try:
        with Transport(proxy=sealing.proxy, ca_file=sealing.ca_file) as transport:
            return stamp(data, sealing.tsa, trust, sender(transport)), []
    except (StampError, TeebundleError) as error:
        return data, [f"no timestamp: {error}"]


@lru_cache(maxsize=2)
def _judges(
    policy: Path, trust: tuple[Path, ...], signer: tuple[Path, ...]
) -> tuple[Policy, TrustStore]:
    """Read policy and trust files once: what counts is what they held when the proxy began."""
    from verify.cli.loading import policy_of, trust_of  # noqa: PLC0415  (few proxies judge)

    store = trust_of([str(path) for path in trust], [str(path) for path in signer])
    return policy_of(str(policy), None), store


def _verdict(
    data: bytes, sealing: Sealing, signers: tuple[FileSigner, ...], blobs: Path | None
) -> str | None:
    if sealing.policy is None:
        return None
    from verify.api import verify_bundle  # noqa: PLC0415  (only a proxy with a policy pays)
    from verify.cli.blobs import BlobFolder  # noqa: PLC0415  (the same)
    from verify.engine.asof import AsOf  # noqa: PLC0415  (the same)
    from verify.wire.limits import EXTERNAL_HARD, Limits  # noqa: PLC0415  (the same)

    policy, trust = _judges(sealing.policy, sealing.trust, sealing.signer)
    report = verify_bundle(
        data,
        policy=policy,
        trust=with_own_keys(trust, signers),
        as_of=AsOf.capture(),
        # what a reader accepts by default is the reader's affair
        blobs=None if blobs is None else BlobFolder(str(blobs), limit=EXTERNAL_HARD),
        bounds=Limits(external_blob=EXTERNAL_HARD),
    )
    return report.verdict.value


def told_line(members: Mapping[str, object]) -> str:
    """Return an event as one JSON line, members without a value left out."""
    kept = {name: value for name, value in members.items() if value not in (None, "", (), [])}
    return json.dumps(kept, ensure_ascii=True)


def first_key(signers: Iterable[FileSigner]) -> tuple[KeyId, ...]:
    """Return the ids of the keys, the session's signer first."""
    return tuple(key_id(signer.spki()) for signer in signers)
