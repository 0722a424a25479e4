"""The dstack event log: what it says, what its replay gives, which of its names may be believed.

Source: tdx.md 14.1 to 14.3, 14.7; providers.md 3.3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha384
from typing import Final

from verify.dstack.registers import REGISTER_SIZE
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.wire.strict_json import Json, parse_evidence

RUNTIME_EVENT_TYPE: Final = 0x08000001
"""Events that the guest's own code extends, always into RTMR3."""

MAX_EVENTS: Final = 4096
MAX_PAYLOAD: Final = 64 * 1024
MAX_LOG: Final = 8 * 1024 * 1024

APP_ID: Final = "app-id"
COMPOSE_HASH: Final = "compose-hash"
INSTANCE_ID: Final = "instance-id"
BOOT_MR_DONE: Final = "boot-mr-done"
KEY_PROVIDER: Final = "key-provider"
SYSTEM_READY: Final = "system-ready"
INIT_SCRIPT_HASH: Final = "init-script-hash"
GPU_POLICY_HASH: Final = "gpu-policy-hash"
OS_IMAGE_HASH: Final = "os-image-hash"

_SIZES: Final[Mapping[str, tuple[int, ...]]] = {
    APP_ID: (20,),
    COMPOSE_HASH: (32,),
    INIT_SCRIPT_HASH: (32,),
    GPU_POLICY_HASH: (32,),
    # a guest without instance id extends the empty payload (seen); one that was not told its
    # image's hash can only do the same
    INSTANCE_ID: (0, 20),
    OS_IMAGE_HASH: (0, 32),
    "mr-kms": (32,),
}
_ONCE: Final = (
    APP_ID,
    COMPOSE_HASH,
    GPU_POLICY_HASH,
    "gpu-attestation",
    INSTANCE_ID,
    "mr-kms",
    OS_IMAGE_HASH,
    KEY_PROVIDER,
    "storage-fs",
)
_BEFORE_BOOT_DONE: Final = (APP_ID, COMPOSE_HASH, INSTANCE_ID)

_HEX: Final = frozenset("0123456789abcdefABCDEF")


@value
class Event:
    """One entry as printed. ``digest`` is None where the log has an empty one."""

    index: int
    imr: int
    event_type: int
    name: str
    payload: bytes
    digest: bytes | None
    version: int
    preimage: bytes | None

    @property
    def runtime(self) -> bool:
        """Whether guest code extended it, so that its digest can be recomputed."""
        return self.event_type == RUNTIME_EVENT_TYPE


@value
class Claims:
    """The runtime events before the first ``system-ready``; none at all where there is none.

    Code of the application may append events of any name later: those are never claims.
    Source: tdx.md 14.3.
    """

    ready: bool
    events: tuple[tuple[str, bytes], ...]

    def all(self, name: str) -> tuple[bytes, ...]:
        """Return every payload of that name, in order."""
        return tuple(payload for found, payload in self.events if found == name)

    def one(self, name: str) -> bytes | None:
        """Return the payload of that name, or None. Doubles are refused by `replay`."""
        found = self.all(name)
        return found[0] if found else None

    def has(self, name: str) -> bool:
        """Whether an event of that name is believed; ``system-ready``: whether it was reached."""
        return self.ready if name == SYSTEM_READY else bool(self.all(name))


@value
class Replay:
    """What the events accumulate to.

    ``registers``: RTMR0 to RTMR3; None where an event of that register could not be replayed.
    ``boot_rtmr3``: RTMR3 right after ``boot-mr-done``. ``application``: names of the events after
    ``system-ready``, listed and never interpreted. ``faults``: every contradiction inside the log.
    """

    registers: tuple[bytes | None, bytes | None, bytes | None, bytes | None]
    boot_rtmr3: bytes | None
    claims: Claims
    application: tuple[str, ...]
    faults: tuple[Refused, ...]


def _malformed(path: str, what: str) -> FormatError:
    return FormatError(0, what, reason=Reason.TDX_EVENT_LOG_MALFORMED, path=path)


def _text(entry: Mapping[str, Json], name: str, path: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise _malformed(f"{path}/{name}", f"{name} is not a string")
    return value


def _number(entry: Mapping[str, Json], name: str, path: str, limit: int) -> int:
    value = entry.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise _malformed(f"{path}/{name}", f"{name} is not an unsigned integer up to {limit}")
    return value


def _bytes(entry: Mapping[str, Json], name: str, path: str, limit: int) -> bytes:
    digits = _text(entry, name, path)
    if len(digits) > 2 * limit or len(digits) % 2 or not _HEX.issuperset(digits):
        raise _malformed(f"{path}/{name}", f"{name} is not the hex of at most {limit} bytes")
    return bytes.fromhex(digits)


def _event(entry: Json, index: int) -> Event:
    path = f"/{index}"
    if not isinstance(entry, Mapping):
        raise _malformed(path, "an event is not an object")
    digest = _bytes(entry, "digest", path, REGISTER_SIZE)
    if digest and len(digest) != REGISTER_SIZE:
        raise _malformed(f"{path}/digest", f"a digest has 48 bytes, not {len(digest)}")
    event_type = _number(entry, "event_type", path, 0xFFFF_FFFF)
    if not digest and event_type != RUNTIME_EVENT_TYPE:
        raise _malformed(f"{path}/digest", "a boot event without digest cannot be replayed")
    preimage = None
    if entry.get("preimage") is not None:
        preimage = _bytes(entry, "preimage", path, 4 * MAX_PAYLOAD)
    version = 1
    if entry.get("version") is not None:
        version = _number(entry, "version", path, 0xFFFF_FFFF)
    return Event(
        index=index,
        imr=_number(entry, "imr", path, 0xFFFF_FFFF),
        event_type=event_type,
        name=_text(entry, "event", path),
        payload=_bytes(entry, "event_payload", path, MAX_PAYLOAD),
        digest=digest or None,
        version=version,
        preimage=preimage,
    )


def parse_event_log(text: bytes) -> tuple[Event, ...]:
    """Read the JSON array of events. Raises `FormatError` with ``tdx.event_log.malformed``.

    Source: tdx.md 14.2; limits providers.md 2.8.
    """
    if len(text) > MAX_LOG:
        raise _malformed("", f"an event log of {len(text)} bytes")
    try:
        entries = parse_evidence(text)
    except FormatError as error:
        raise FormatError(
            error.offset, error.what, reason=Reason.TDX_EVENT_LOG_MALFORMED
        ) from error
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise _malformed("", "an event log is a JSON array")
    if len(entries) > MAX_EVENTS:
        raise _malformed("", f"{len(entries)} events, more than {MAX_EVENTS}")
    return tuple(_event(entry, index) for index, entry in enumerate(entries))


def canonical_event(name: str, payload: bytes) -> bytes:
    """Return the RFC 8785 text that a version-2 event hashes."""
    members = {"name": name, "payload": payload.hex(), "type": RUNTIME_EVENT_TYPE}
    # for these three members the standard dump is the canonical form (tdx.md 14.2)
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def runtime_digest(name: str, payload: bytes, version: int = 1) -> bytes:
    """Return the 48-byte digest that the guest extended for a runtime event, version 1 or 2."""
    if version == 1:
        kind = RUNTIME_EVENT_TYPE.to_bytes(4, "little")
        return sha384(b":".join((kind, name.encode(), payload))).digest()
    return sha384(canonical_event(name, payload)).digest()


def extend(register: bytes, digest: bytes) -> bytes:
    """Return a register after one more digest: SHA-384(register ‖ digest)."""
    return sha384(register + digest).digest()


def _digest_of(event: Event, faults: list[Refused]) -> bytes | None:
    """Return the digest to replay, or None where the event is of an unknown version."""
    if not event.runtime:
        return event.digest
    path = f"/{event.index}"
    if event.version not in (1, 2):
        faults.append(
            Refused(
                Reason.TDX_EVENT_LOG_VERSION_UNSUPPORTED,
                f"event {event.name!r} has version {event.version}",
                got=str(event.version),
                expected="1 or 2",
                path=f"{path}/version",
            )
        )
        return None
    if event.version == 2:
        if event.preimage is None:
            faults.append(
                Refused(
                    Reason.TDX_EVENT_LOG_PREIMAGE_MISSING,
                    f"event {event.name!r} of version 2 has no preimage",
                    expected="preimage",
                    path=path,
                )
            )
        elif event.preimage != canonical_event(event.name, event.payload):
            faults.append(
                Refused(
                    Reason.TDX_EVENT_LOG_PREIMAGE_MISMATCH,
                    f"the preimage of event {event.name!r} says something else",
                    got=event.preimage.decode("utf-8", "backslashreplace"),
                    expected=canonical_event(event.name, event.payload).decode(),
                    path=f"{path}/preimage",
                )
            )
    digest = runtime_digest(event.name, event.payload, event.version)
    if event.digest is not None and event.digest != digest:
        faults.append(
            Refused(
                Reason.TDX_EVENT_LOG_DIGEST_MISMATCH,
                f"the digest beside event {event.name!r} is not that of its name and payload",
                got=event.digest.hex(),
                expected=digest.hex(),
                path=f"{path}/digest",
            )
        )
    return digest


def _claims(runtime: Sequence[Event]) -> tuple[Claims, tuple[str, ...]]:
    for position, event in enumerate(runtime):
        if event.name == SYSTEM_READY:
            before = tuple((e.name, e.payload) for e in runtime[:position])
            application = tuple(e.name for e in runtime[position + 1 :])
            return Claims(ready=True, events=before), application
    return Claims(ready=False, events=()), ()


def _judge_claims(runtime: Sequence[Event], claims: Claims, faults: list[Refused]) -> None:
    """Apply the rule of tdx.md 14.3 to the events before ``system-ready``."""
    seen: set[str] = set()
    boot_done = False
    for event in runtime[: len(claims.events)]:
        path = f"/{event.index}"
        sizes = _SIZES.get(event.name)
        if sizes is not None and len(event.payload) not in sizes:
            faults.append(
                Refused(
                    Reason.TDX_EVENT_LOG_MALFORMED,
                    f"the payload of {event.name!r} has {len(event.payload)} bytes",
                    got=str(len(event.payload)),
                    expected=" or ".join(map(str, sizes)),
                    path=f"{path}/event_payload",
                )
            )
        if event.name in seen and event.name in _ONCE:
            faults.append(
                Refused(
                    Reason.TDX_EVENT_LOG_EVENT_DUPLICATE,
                    f"{event.name!r} stands twice before system-ready",
                    got=event.name,
                    expected="once",
                    path=path,
                )
            )
        seen.add(event.name)
        boot_done = boot_done or event.name == BOOT_MR_DONE
        if boot_done and event.name in _BEFORE_BOOT_DONE:
            faults.append(
                Refused(
                    Reason.TDX_EVENT_LOG_EVENT_ORDER,
                    f"{event.name!r} stands after boot-mr-done",
                    got=event.name,
                    expected="before boot-mr-done",
                    path=path,
                )
            )
    if claims.ready and not boot_done and seen.intersection(_BEFORE_BOOT_DONE):
        faults.append(
            Refused(
                Reason.TDX_EVENT_LOG_EVENT_MISSING,
                "no boot-mr-done before system-ready",
                expected=BOOT_MR_DONE,
                path="",
            )
        )


def replay(events: Sequence[Event]) -> Replay:
    """Extend four registers from zero by every event, in order, and read the believed names.

    Digests of runtime events are recomputed, never taken from the log. What contradicts the rules
    is collected in ``faults``. Source: tdx.md 14.2, 14.3.
    """
    registers: list[bytes | None] = [bytes(REGISTER_SIZE)] * 4
    boot_rtmr3: bytes | None = None
    faults: list[Refused] = []
    runtime: list[Event] = []
    for event in events:
        if event.imr > 3 or (event.runtime and event.imr != 3):
            faults.append(
                Refused(
                    Reason.TDX_EVENT_LOG_REGISTER_INVALID,
                    f"event {event.index} extends register {event.imr}",
                    got=str(event.imr),
                    expected="3" if event.runtime else "0 to 3",
                    path=f"/{event.index}/imr",
                )
            )
            continue
        digest = _digest_of(event, faults)
        register = registers[event.imr]
        registers[event.imr] = (
            None if register is None or digest is None else extend(register, digest)
        )
        if event.runtime:
            runtime.append(event)
            if event.name == BOOT_MR_DONE and boot_rtmr3 is None:
                boot_rtmr3 = registers[3]
    claims, application = _claims(runtime)
    _judge_claims(runtime, claims, faults)
    return Replay(
        registers=(registers[0], registers[1], registers[2], registers[3]),
        boot_rtmr3=boot_rtmr3,
        claims=claims,
        application=application,
        faults=tuple(faults),
    )


def compare(found: Replay, signed: Sequence[bytes]) -> tuple[Refused, ...]:
    """Return one refusal for each of the four registers that the log does not explain.

    ``signed``: RTMR0 to RTMR3 of a verified quote. A register with an event that could not be
    replayed is left to the fault that says so. Source: tdx.md 14.2.
    """
    return tuple(
        Refused(
            Reason.TDX_EVENT_LOG_RTMR_MISMATCH,
            f"the log replays to another RTMR{number}",
            got=replayed.hex(),
            expected=register.hex(),
            path="",
        )
        for number, (replayed, register) in enumerate(zip(found.registers, signed, strict=True))
        if replayed is not None and replayed != register
    )


def missing(claims: Claims, required: Sequence[str]) -> tuple[Refused, ...]:
    """Return one refusal for each required name that is not a believed claim."""
    return tuple(
        Refused(
            Reason.TDX_EVENT_LOG_EVENT_MISSING,
            f"no {name!r} before system-ready"
            if claims.ready
            else "no system-ready: no name in this log may be believed",
            expected=name,
            path="",
        )
        for name in required
        if not claims.has(name)
    )


@value
class KeyProvider:
    """Who released the keys of the application: ``name`` as printed, ``id`` as bytes."""

    name: str
    id: bytes


def parse_key_provider(payload: bytes) -> KeyProvider:
    """Read ``{"name": …, "id": hex}``. Raises `FormatError` (``tdx.event_log.malformed``)."""
    try:
        value = parse_evidence(payload)
    except FormatError as error:
        raise FormatError(
            error.offset, f"key-provider: {error.what}", reason=Reason.TDX_EVENT_LOG_MALFORMED
        ) from error
    if not isinstance(value, Mapping):
        raise _malformed("", "key-provider: not an object")
    return KeyProvider(name=_text(value, "name", ""), id=_bytes(value, "id", "", 4096))
