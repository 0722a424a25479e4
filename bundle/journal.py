"""The journal of a capture: what is known is on disk before the next step is taken.

A folder (mode 0700) of files (mode 0600)::

    lock           held while a process works on the journal
    records        a first line that names format and version, then framed records
    body-000001    the answer of the first exchange, as it came

A record is a line of 91 ASCII characters (its number, its length, a digest, a checksum of the
line) and a JSON text. The digest covers the text and the digest before it, so records cannot be
lost, moved or changed unseen; a record that breaks off at the end of the file is what ``kill -9``
or a full disk leaves, and is dropped. Answers stream into files of their own, so that the bytes of
an answer that was cut short are kept. No secret gets here: what is recorded was redacted before.

Source: DESIGN invariants 7 and 8; providers.md 2.4; bundle-format.md 6.3.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Self

from bundle.calls import Call
from bundle.recording import Failure, Header, RecordedExchange, RecordedTls, StoredBody
from verify.engine.errors import TeebundleError, UsageError

FORMAT: Final = "teebundle-journal"
MAJOR: Final = 1
_FIRST_LINE: Final = f"{FORMAT}/{MAJOR}\n".encode()
_HEADER: Final = 92
"""Bytes of a record's line: 8 + 1 + 8 + 1 + 64 + 1 + 8, and the end of line."""
HELD: Final = (16 << 20) - 32
"""Bytes of an answer that are held in memory, as `bundle.transport` does; what is longer stays in
its file, because with its salt it is too large for a packed file (bundle-format.md 4)."""
_PART: Final = 1 << 20

_RECORDS: Final = "records"
_LOCK: Final = "lock"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class CaptureError(TeebundleError):
    """A capture that came to no good end: exit 5. What was recorded is in ``folder``.

    ``what``: one line. ``advice``: what to do now.
    """

    exit_code: Final = 5

    def __init__(self, what: str, *, folder: Path | None = None, advice: str = "") -> None:
        super().__init__(f"{what}; {advice}" if advice else what)
        self.what = what
        self.folder = folder
        self.advice = advice


class JournalError(CaptureError):
    """The journal cannot be written, or is damaged. What is on disk stays as it is."""


# --- the one place where bytes meet the disk (tests stop the process here) ----------------------


def _put(descriptor: int, data: bytes | memoryview) -> int:
    """Write what one system call takes; return how many bytes that were."""
    return os.write(descriptor, data)


def _sync(descriptor: int) -> None:
    """Return once everything written is on the disk."""
    os.fsync(descriptor)


def _put_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[_put(descriptor, rest) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


# --- values to JSON and back ---------------------------------------------------------------------

_BYTES: Final = "$bytes"
_TIME: Final = "$time"


def encoded(found: object) -> object:
    """Return a JSON value for a text, number, bytes, instant, sequence, mapping or dataclass."""
    if isinstance(found, bytes):
        return {_BYTES: base64.b64encode(found).decode("ascii")}
    if isinstance(found, datetime):
        return {_TIME: found.isoformat()}
    if isinstance(found, Mapping):
        return {str(name): encoded(inner) for name, inner in found.items()}
    if isinstance(found, (tuple, list)):
        return [encoded(inner) for inner in found]
    if is_dataclass(found):
        return {part.name: encoded(getattr(found, part.name)) for part in fields(found)}
    return found


def decoded(found: Any) -> Any:  # noqa: ANN401  (the inverse of `encoded`, in the same file)
    """Return the value that `encoded` was given; sequences become tuples."""
    if isinstance(found, dict):
        if found.keys() == {_BYTES}:
            return base64.b64decode(found[_BYTES])
        if found.keys() == {_TIME}:
            return datetime.fromisoformat(found[_TIME])
        return {name: decoded(inner) for name, inner in found.items()}
    if isinstance(found, list):
        return tuple(decoded(inner) for inner in found)
    return found


Members = dict[str, Any]

_WITHOUT: Final = ("request_body", "response_body", "response_file")
"""Parts of an exchange that lie elsewhere: with its beginning, and in the body file."""


def exchange_members(recorded: RecordedExchange) -> Members:
    """Return an exchange as JSON members, without its bodies."""
    return {
        part.name: encoded(getattr(recorded, part.name))
        for part in fields(recorded)
        if part.name not in _WITHOUT
    }


def exchange_of(members: Members, request_body: bytes | None) -> RecordedExchange:
    """Return the exchange of decoded members, without an answer's body."""
    tls, failure = members.pop("tls"), members.pop("failure")
    return RecordedExchange(
        **members,
        request_body=request_body,
        tls=None if tls is None else RecordedTls(**tls),
        failure=None if failure is None else Failure(**failure),
    )


# the names by which the proxy's spool knows them
_encoded, _decoded = encoded, decoded
_exchange_members, _exchange = exchange_members, exchange_of


# --- the plan -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a capture set out to do: the first record. Holds no secret.

    ``chat``: whether there is one; ``prompt``, ``request``: what is to be said, one of them.
    ``signers``: ids of the keys that are to sign, the first of which the nonces commit to.
    ``first_random``: of the first nonce, which the marker commits to. ``marker_secret``: 32 bytes,
    None without a marker; it becomes the body of ``session.marker``. ``settings``: what else the
    caller wants back when resuming, by name. ``endpoints``: base URLs of vendors, by name. ``out``:
    where the bundle goes. ``timeout_s``, ``max_response``: as the user set them.
    """

    provider: str
    profile: str
    base_url: str
    model: str | None
    chat: bool
    prompt: str | None
    request: bytes | None
    stream: bool | None
    algorithms: tuple[str, ...]
    options: dict[str, str]
    endpoints: dict[str, str]
    nras: bool
    claims: str
    insist: bool
    beacon: str | None
    signers: tuple[str, ...]
    first_random: bytes
    marker_secret: bytes | None
    operator: str
    host: str | None
    out: str
    timeout_s: float | None
    max_response: int | None
    started_at: datetime
    tool_version: str
    settings: dict[str, str | None]


# --- exchanges ----------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Entry:
    """One exchange of the journal, as far as it came."""

    number: int
    step: str
    once: bool
    begun: RecordedExchange
    head: RecordedExchange | None = None
    recorded: RecordedExchange | None = None
    forgotten: bool = False


class Underway:
    """An exchange that is being made; its answer goes to disk as it comes (a `BodySink`)."""

    def __init__(self, journal: Journal, entry: _Entry) -> None:
        self._journal = journal
        self._entry = entry
        self._descriptor: int | None = None
        self._digest = sha256()
        self._size = 0
        self._stored: StoredBody | None = None

    @property
    def _path(self) -> Path:
        return self._journal.body_path(self._entry.number)

    def begin(self, head: RecordedExchange) -> None:
        """Record status and headers. Raises `JournalError`."""
        self._entry.head = head
        self._journal.append(
            {"type": "head", "number": self._entry.number, "exchange": exchange_members(head)}
        )

    def write(self, part: bytes) -> None:
        """Put a part of the body into its file. Raises `JournalError`."""
        if not part:
            return
        try:
            if self._descriptor is None:
                self._descriptor = _new_file(self._path)
                _sync_folder(self._journal.folder)
            _put_all(self._descriptor, part)
        except OSError as error:
            raise self._journal.trouble(error) from error
        self._digest.update(part)
        self._size += len(part)

    def finish(self) -> StoredBody | None:
        """Return the file once all of it is on disk, None where no byte came."""
        if self._descriptor is not None:
            try:
                _sync(self._descriptor)
            except OSError as error:
                raise self._journal.trouble(error) from error
            finally:
                os.close(self._descriptor)
                self._descriptor = None
            self._stored = StoredBody(
                path=self._path, size=self._size, sha256=self._digest.digest()
            )
        return self._stored

    def unsent(self, why: str) -> RecordedExchange:
        """Return the exchange of a request that was not sent after all."""
        failure = Failure(trouble="unreachable", what=f"nothing was sent: {why}")
        return replace(self._entry.begun, failure=failure)

    def leave(self) -> None:
        """Close the file of an exchange that nobody will finish."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def done(self, recorded: RecordedExchange) -> RecordedExchange:
        """Record how the exchange ended; return it as a resumed capture would get it.

        Raises `JournalError`; ValueError where the body recorded is not the one that was streamed.
        """
        body = recorded.response_body
        if body and self._size == 0:
            for start in range(0, len(body), _PART):
                self.write(body[start : start + _PART])
        stored = self.finish()
        if stored is not None and body is not None and stored.sha256 != sha256(body).digest():
            message = f"{self._entry.step}: the body recorded is not the one that was streamed"
            raise ValueError(message)
        large = stored if stored is not None and (body is None or stored.size > HELD) else None
        ended = replace(
            recorded,
            request_body=self._entry.begun.request_body,
            response_body=None if large is not None else body or None,
            response_file=large,
        )
        self._journal.append(
            {
                "type": "done",
                "number": self._entry.number,
                "exchange": exchange_members(ended),
                "size": 0 if stored is None else stored.size,
                "sha256": None if stored is None else stored.sha256.hex(),
            }
        )
        self._entry.recorded = ended
        return ended


def _new_file(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


# --- the journal --------------------------------------------------------------------------------


@dataclass(slots=True)
class _State:
    """What the records say."""

    plan: Plan | None = None
    runs: int = 0
    entries: list[_Entry] = field(default_factory=list)
    randoms: dict[str, bytes] = field(default_factory=dict)
    made: list[bytes] = field(default_factory=list)
    chat_body: bytes | None = None
    notes: list[tuple[str, str]] = field(default_factory=list)


class Journal:
    """A journal that this process holds. Make with `create` or `open`; use as a context manager.

    ``plan``: the first record. ``run``: how many processes have worked on it, from 1.
    """

    def __init__(self, folder: Path, *, lock: int, secrets: Iterable[str]) -> None:
        # imported late: it is not needed to say that a folder is no journal
        from bundle.seal import credential_forms  # noqa: PLC0415

        self.folder = folder
        self._lock = lock
        self._forms = tuple(form for secret in secrets for form in credential_forms(secret))
        self._records = -1
        self._end = 0
        self._count = 0
        self._last = sha256(_FIRST_LINE).digest()
        self._broken = False
        self._state = _State()
        self._made: Plan | None = None

    # --- making and opening ----------------------------------------------------------------------

    @classmethod
    def create(cls, folder: Path, plan: Plan, *, secrets: Iterable[str] = ()) -> Self:
        """Make a journal in a folder that is new or empty, and record the plan.

        Raises UsageError where something lies there, `JournalError` where it cannot be written.
        """
        try:
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                if not folder.is_dir() or any(folder.iterdir()):
                    raise UsageError(_taken(folder)) from None
                folder.chmod(0o700)
        except FileNotFoundError as error:
            message = f"{folder}: the folder above it does not exist; make it first"
            raise UsageError(message) from error
        except OSError as error:
            message = f"{folder}: no journal can be made there: {error.strerror or error}"
            raise JournalError(message, advice="name another place with --journal") from error
        made = cls(folder, lock=_locked(folder, make=True), secrets=secrets)
        try:
            try:
                made._records = _new_file(folder / _RECORDS)
                _put_all(made._records, _FIRST_LINE)
                made._end = len(_FIRST_LINE)
                _sync_folder(folder)
                _sync_folder(folder.parent)
            except OSError as error:
                raise made.trouble(error) from error
            made._made = plan
            made.append({"type": "plan", "plan": encoded(plan)})
            made._state.runs = 1
        except BaseException:
            made.close()
            raise
        return made

    @classmethod
    def plan_of(cls, folder: Path) -> Plan:
        """Return what a journal set out to do, without taking it. Raises as `open` does."""
        _demand_records(folder)
        made = cls(folder, lock=-1, secrets=())
        try:
            made._read(write=False)
            return made.plan
        finally:
            made.close()

    @classmethod
    def open(cls, folder: Path, *, secrets: Iterable[str] = ()) -> Self:
        """Open a journal to go on with it; what broke off at its end is dropped.

        Raises UsageError where the folder is no journal, is of another version, holds no plan yet
        or is in use; `JournalError` where it is damaged or cannot be written.
        """
        _demand_records(folder)
        try:
            lock = _locked(folder, make=False)
        except OSError as error:
            message = f"{folder}: the journal cannot be used: {error.strerror or error}"
            raise JournalError(message, folder=folder) from error
        made = cls(folder, lock=lock, secrets=secrets)
        try:
            made._read()
            made.append({"type": "run", "number": made._state.runs + 1})
            made._state.runs += 1
        except BaseException:
            made.close()
            raise
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the journal; another process may take it then."""
        for descriptor in (self._records, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._records = self._lock = -1

    def remove(self) -> None:
        """Delete the journal: folder and files. Call once everything in it is safe elsewhere."""
        try:
            # the records go first: what an interrupted removal leaves is no journal any more
            for path in sorted(self.folder.iterdir(), key=lambda path: path.name != _RECORDS):
                path.unlink()
            self.folder.rmdir()
        except OSError as error:
            message = f"{self.folder}: the journal cannot be removed: {error.strerror or error}"
            raise JournalError(message, folder=self.folder, advice="delete it by hand") from error

    # --- what it holds ---------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """What the capture set out to do."""
        plan = self._made or self._state.plan
        assert plan is not None  # noqa: S101  (no journal is made or opened without one)
        return plan

    @property
    def run(self) -> int:
        """How many processes have worked on it, this one included."""
        return self._state.runs

    @property
    def exchanges(self) -> tuple[RecordedExchange, ...]:
        """Every exchange in the order in which they were begun; all tries, cut ones included."""
        return tuple(self._held(entry) for entry in self._state.entries if self._known(entry))

    @property
    def notes(self) -> tuple[tuple[str, str], ...]:
        """(kind, text) of every note, in order."""
        return tuple(self._state.notes)

    @property
    def forgetful(self) -> bool:
        """Whether a step is to be asked again: forgotten, and not gone through since."""
        return any(
            entry.forgotten and self.answered(entry.step) is None for entry in self._state.entries
        )

    @property
    def chat_body(self) -> bytes | None:
        """The bytes of the chat request, once they were fixed."""
        return self._state.chat_body

    def body_path(self, number: int) -> Path:
        """Return where the answer of an exchange lies."""
        return self.folder / f"body-{number:06d}"

    def answered(self, step: str) -> RecordedExchange | None:
        """Return what came of a step: its last try that was not forgotten, None before any.

        A try that the end of a process cut short is one too: ``complete`` is False then, with the
        failure ``interrupted``.
        """
        for entry in reversed(self._state.entries):
            if entry.step == step:
                return None if entry.forgotten or not self._known(entry) else self._held(entry)
        return None

    def random_of(self, step: str) -> bytes | None:
        """Return the random of a step's nonce, None where there is none yet."""
        return self._state.randoms.get(step)

    @property
    def randoms(self) -> tuple[bytes, ...]:
        """Random of every nonce ever made, in order."""
        return tuple(dict.fromkeys(self._state.made))

    @staticmethod
    def _known(entry: _Entry) -> bool:
        return entry.recorded is not None

    @staticmethod
    def _held(entry: _Entry) -> RecordedExchange:
        assert entry.recorded is not None  # noqa: S101  (`_known` was asked before)
        return entry.recorded

    # --- what is added ---------------------------------------------------------------------------

    def keep_random(self, step: str, random: bytes) -> None:
        """Record the random of a step's nonce: before the nonce is used."""
        self.append({"type": "nonce", "step": step, "random": random.hex()})
        self._take_random(step, random)

    def keep_chat_body(self, body: bytes) -> None:
        """Record the bytes of the chat request: before they are sent."""
        self.append({"type": "chat-body", "body": encoded(body)})
        self._state.chat_body = body

    def note(self, kind: str, text: str) -> None:
        """Record something worth knowing, such as that a stage ended."""
        self.append({"type": "note", "kind": kind, "text": text})
        self._state.notes.append((kind, text))

    def begin(
        self, call: Call, *, url: str, headers: tuple[Header, ...], started_at: datetime
    ) -> Underway:
        """Record a call before it is sent. ``url`` and ``headers`` are redacted already."""
        begun = RecordedExchange(
            purpose=call.purpose,
            method=call.method,
            url=url,
            started_at=started_at,
            ended_at=started_at,
            request_headers=headers,
            request_body=call.body or None,
            complete=False,
            session=call.session,
        )
        number = len(self._state.entries) + 1
        self.append(
            {
                "type": "begun",
                "number": number,
                "step": call.step,
                "once": call.once,
                "exchange": exchange_members(begun),
                "request_body": encoded(call.body or None),
            }
        )
        entry = _Entry(number=number, step=call.step, once=call.once, begun=begun)
        self._state.entries.append(entry)
        return Underway(self, entry)

    def forget(self, steps: Iterable[str]) -> None:
        """Let steps be asked again when the capture is resumed, with new nonces.

        What came of them stays among the exchanges.
        """
        listed = list(steps)
        if listed:
            self.append({"type": "forgotten", "steps": listed})
            self._forget(listed)

    def append(self, record: Mapping[str, object]) -> None:
        """Append one record and return once it is on the disk. Raises `JournalError`."""
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        if any(form in text for form in self._forms):
            message = (
                f"a configured credential stands in what was to be recorded ({record['type']})"
            )
            raise JournalError(
                message, folder=self.folder, advice="take it out of the request and capture anew"
            )
        if self._broken:
            message = f"{self.folder}: the journal took no more records before"
            raise JournalError(message, folder=self.folder)
        digest = sha256(self._last + text).digest()
        try:
            _put_all(self._records, _header(self._count + 1, len(text), digest) + text)
            _sync(self._records)
        except OSError as error:
            raise self.trouble(error) from error
        self._count += 1
        self._end += _HEADER + len(text)
        self._last = digest

    def trouble(self, error: OSError) -> JournalError:
        """Return what to raise where the disk refused; the records end where they did before."""
        if not self._broken and self._records >= 0 and self._end:
            self._broken = True
            # where even that fails, the rest of a record is dropped when the journal is opened
            with contextlib.suppress(OSError):
                os.ftruncate(self._records, self._end)
        if error.errno in _FULL:
            what = f"{self.folder}: the disk is full ({error.strerror})"
            advice = "make room, then go on with: teebundle capture --resume " + str(self.folder)
        else:
            what = f"{self.folder}: the journal cannot be written: {error.strerror or error}"
            advice = "mend that, then go on with: teebundle capture --resume " + str(self.folder)
        return JournalError(what, folder=self.folder, advice=advice)

    def _forget(self, steps: Iterable[str]) -> None:
        gone = frozenset(steps)
        for entry in self._state.entries:
            if entry.step in gone:
                entry.forgotten = True
        for step in gone:
            self._state.randoms.pop(step, None)

    def _take_random(self, step: str, random: bytes) -> None:
        self._state.randoms[step] = random
        self._state.made.append(random)

    # --- reading ---------------------------------------------------------------------------------

    def _damaged(self, offset: int, what: str) -> JournalError:
        message = f"{self.folder / _RECORDS}: damaged at byte {offset}: {what}"
        return JournalError(
            message,
            folder=self.folder,
            advice="restore the folder from a copy; nothing was changed in it",
        )

    def _read(self, *, write: bool = True) -> None:
        mode = os.O_RDWR if write else os.O_RDONLY
        try:
            self._records = os.open(self.folder / _RECORDS, mode | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(os.dup(self._records), "rb") as file:
                data = file.read()
        except OSError as error:
            message = f"{self.folder}: the journal cannot be used: {error.strerror or error}"
            raise JournalError(message, folder=self.folder) from error
        if not data.startswith(_FIRST_LINE):
            self._refuse_version(data)
        offset = len(_FIRST_LINE)
        while (found := self._frame(data, offset)) is not None:
            text, offset = found
            try:
                self._take(json.loads(text))
            except (ValueError, KeyError, TypeError, IndexError) as error:
                what = f"record {self._count} is none of this version ({type(error).__name__})"
                raise self._damaged(offset - len(text), what) from error
        if self._state.plan is None:
            raise UsageError(_empty(self.folder))
        for entry in self._state.entries:
            if entry.recorded is None:
                entry.recorded = self._interrupted(entry)
        self._end = offset
        if not write:
            return
        try:
            os.ftruncate(self._records, offset)
            os.lseek(self._records, offset, os.SEEK_SET)
        except OSError as error:
            raise self.trouble(error) from error

    def _refuse_version(self, data: bytes) -> None:
        line = data[: len(_FIRST_LINE) + 8].partition(b"\n")[0].decode("ascii", "replace")
        if _FIRST_LINE.startswith(data):
            raise UsageError(_empty(self.folder))
        if line.startswith(FORMAT + "/"):
            message = (
                f"{self.folder}: is a journal of format {line.partition('/')[2]!r}, this version "
                f"reads format {MAJOR}; resume with the version of teebundle that began it"
            )
            raise UsageError(message)
        message = f"{self.folder}: the file {_RECORDS!r} is no journal of a capture"
        raise UsageError(message)

    def _frame(self, data: bytes, offset: int) -> tuple[bytes, int] | None:
        """Return a record's text and where the next begins, None at the end.

        The end is also a record that breaks off, or one that the system never filled in (zeros).
        """
        header = data[offset : offset + _HEADER]
        if len(data[offset:].rstrip(b"\0")) < _HEADER:
            return None
        line = header[: _HEADER - 10]
        if header[-10:] != b" " + _check(line) + b"\n":
            raise self._damaged(offset, "the line of a record is not as it was written")
        number, length = int(line[:8], 16), int(line[9:17], 16)
        if number != self._count + 1:
            raise self._damaged(offset, f"record {number} stands after record {self._count}")
        start = offset + _HEADER
        text = data[start : start + length]
        if len(text) < length or (start + length == len(data) and text.endswith(b"\0")):
            return None
        digest = sha256(self._last + text).digest()
        if digest.hex().encode() != line[18:82]:
            raise self._damaged(offset, f"record {number} is not as it was written")
        self._count, self._last = number, digest
        return text, start + length

    def _take(self, record: Members) -> None:
        """Take one record into the state. Raises KeyError, TypeError, ValueError, IndexError."""
        state = self._state
        match record["type"]:
            case "plan":
                state.plan = Plan(**decoded(record["plan"]))
                state.runs = 1
            case "run":
                state.runs = record["number"]
            case "nonce":
                self._take_random(record["step"], bytes.fromhex(record["random"]))
            case "chat-body":
                state.chat_body = decoded(record["body"])
            case "begun":
                begun = exchange_of(decoded(record["exchange"]), decoded(record["request_body"]))
                state.entries.append(
                    _Entry(
                        number=record["number"],
                        step=record["step"],
                        once=record["once"],
                        begun=begun,
                    )
                )
            case "head":
                entry = state.entries[record["number"] - 1]
                entry.head = exchange_of(decoded(record["exchange"]), entry.begun.request_body)
            case "done":
                self._take_done(record)
            case "forgotten":
                self._forget(record["steps"])
            case "note":
                state.notes.append((record["kind"], record["text"]))
            case other:
                message = f"unknown record {other!r}"
                raise ValueError(message)

    def _take_done(self, record: Members) -> None:
        entry = self._state.entries[record["number"] - 1]
        recorded = exchange_of(decoded(record["exchange"]), entry.begun.request_body)
        if record["sha256"] is None:
            entry.recorded = recorded
            return
        path = self.body_path(entry.number)
        stored = StoredBody(path=path, size=record["size"], sha256=bytes.fromhex(record["sha256"]))
        try:
            body, size, digest = _body_of(path)
        except OSError as error:
            message = f"{path}: the answer of {entry.step} is gone: {error.strerror}"
            raise JournalError(
                message, folder=self.folder, advice="restore the folder from a copy"
            ) from error
        if (size, digest) != (stored.size, stored.sha256):
            message = f"{path}: damaged: the answer of {entry.step} is not as it was written"
            raise JournalError(message, folder=self.folder, advice="restore the folder from a copy")
        entry.recorded = replace(
            recorded, response_body=body, response_file=stored if body is None else None
        )

    def _interrupted(self, entry: _Entry) -> RecordedExchange:
        """Return an exchange that was begun and not finished, with the bytes that reached the disk.

        It ends at the last instant that the journal knows of it.
        """
        known = entry.head or entry.begun
        path = self.body_path(entry.number)
        body: bytes | None = None
        stored: StoredBody | None = None
        if path.exists():
            try:
                body, size, digest = _body_of(path)
            except OSError as error:
                raise self.trouble(error) from error
            if body is None:
                stored = StoredBody(path=path, size=size, sha256=digest)
        what = "the capture was interrupted while this was under way"
        return replace(
            known,
            ended_at=max(known.ended_at, known.first_byte_at or known.started_at),
            response_body=body or None,
            response_file=stored,
            complete=False,
            failure=Failure(trouble="interrupted", what=what),
        )


def _body_of(path: Path) -> tuple[bytes | None, int, bytes]:
    """Return an answer's bytes (None where they are too many to hold), their size and digest."""
    digest, size = sha256(), 0
    parts: list[bytes] = []
    with path.open("rb") as file:
        while part := file.read(_PART):
            digest.update(part)
            size += len(part)
            if size <= HELD:
                parts.append(part)
            else:
                parts.clear()
    return (b"".join(parts) if size <= HELD else None), size, digest.digest()


def _check(line: bytes) -> bytes:
    return sha256(line).hexdigest()[:8].encode()


def _header(number: int, length: int, digest: bytes) -> bytes:
    line = f"{number:08x} {length:08x} {digest.hex()}".encode()
    return line + b" " + _check(line) + b"\n"


def _locked(folder: Path, *, make: bool) -> int:
    """Take the journal for this process. Raises UsageError where another one has it, OSError."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_CREAT
    try:
        descriptor = os.open(folder / _LOCK, flags, 0o600)
    except OSError as error:
        if not make:
            raise
        message = f"{folder}: no journal can be made there: {error.strerror or error}"
        raise JournalError(message, advice="name another place with --journal") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        message = f"{folder}: another process is working on this journal; wait until it has ended"
        raise UsageError(message) from error
    return descriptor


def _demand_records(folder: Path) -> None:
    if not (folder / _RECORDS).is_file():
        message = (
            f"{folder}: is no journal of a capture (no file {_RECORDS!r} in it); "
            "name the folder that the capture named when it stopped"
        )
        raise UsageError(message)


def _taken(folder: Path) -> str:
    if (folder / _RECORDS).exists():
        return (
            f"{folder}: holds the journal of a capture that did not end; "
            f"go on with it: teebundle capture --resume {folder}"
        )
    return f"{folder}: is there already and not empty; name another folder with --journal"


def _empty(folder: Path) -> str:
    return (
        f"{folder}: the capture stopped before it had recorded anything, and nothing was sent; "
        "delete the folder and capture anew"
    )
