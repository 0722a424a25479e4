"""Family dstack: vllm-proxy, NEAR, Venice, NanoGPT and RedPill in front of them.

Reads the two shapes (``dstack-flat``, ``dstack-gateway``) into report objects and the items that
the extractor table names, and holds the two formulas by which a quote binds an identity.

Source: providers.md 1.2, 2.3, 3.1, 3.2, 3.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from verify.crypto import ed25519
from verify.crypto.secp256k1 import (
    Address,
    PublicKey,
    address_of,
    parse_address,
    parse_public_key,
)
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.families.identity import (
    Algorithm,
    Binding,
    BindingForm,
    Disagreement,
    Item,
    KeyConfig,
    NonceRuling,
    RecognisedAnswer,
    ReportObject,
    Role,
    Shape,
)
from verify.families.members import (
    Companion,
    array,
    base64_bytes,
    below,
    hex_bytes,
    mapping,
    optional_hex,
    optional_text,
    quote_bytes,
    required,
    text,
)
from verify.wire.strict_json import Json, parse_evidence

MAX_REPORTS: Final = 64
MAX_DEVICES: Final = 32

_JSON: Final = "application/json"
_PEM: Final = "application/x-pem-file"
_TEXT: Final = "text/plain"

_REPORT_MEMBERS: Final = (
    "model_name",
    "signing_address",
    "signing_algo",
    "signing_public_key",
    "request_nonce",
    "intel_quote",
    "quote",
    "report_data",
    "nvidia_payload",
    "event_log",
    "info",
    "vm_config",
    "tls_cert_fingerprint",
    "vpc",
    "compose_manager_attestation",
    "ohttp_attestation",
    "ohttp_key_config",
)
_ANSWER_MEMBERS: Final = frozenset(
    (
        *_REPORT_MEMBERS,
        "all_attestations",
        "gateway_attestation",
        "model_attestations",
        "tls_certificate",
        # members that proxies add
        "nonce",
        "nonce_source",
        "signing_key",
    )
)
_VERDICTS: Final = ("verified", "server_verification", "verification", "valid")
"""Members in which a service judges its own answer: noted, never evidence (providers.md 0.3)."""


def _bad(reason: Reason, path: str, what: str) -> FormatError:
    return FormatError(0, what, reason=reason, path=path)


def _json_text(stated: str, path: str) -> Json:
    """Parse JSON that stands as text inside a string member."""
    try:
        return parse_evidence(stated.encode())
    except FormatError as error:
        raise _bad(
            error.reason or Reason.SHAPE_ENCODING_INVALID, path, f"JSON text: {error.what}"
        ) from error


@value
class DstackReport(ReportObject):
    """What one dstack object states. ``address``: 20 bytes (ecdsa) or 32 (ed25519).

    ``public_key``: 64 bytes x‖y or the 32 bytes of an ed25519 key, None where the object has none.
    ``request_nonce``: 32 bytes. ``report_data_copy``: the JSON copy of report_data, to be compared
    with the quote, never used.
    """

    algorithm: Algorithm
    address: bytes
    address_text: str
    checksum_wrong: bool
    public_key: bytes | None
    public_key_text: str | None
    request_nonce: bytes
    report_data_copy: bytes | None

    @property
    def form(self) -> BindingForm:
        """The only form in which this object may be bound (providers.md 3.2)."""
        return "address_padded" if self.tls_fingerprint is None else "sha256_address_tls"


# --- one report object -----------------------------------------------------------------------


def _algorithm(members: Mapping[str, Json], path: str) -> Algorithm:
    stated = text(members, "signing_algo", path)
    if stated == "ecdsa":
        return "ecdsa"
    if stated == "ed25519":
        return "ed25519"
    raise _bad(
        Reason.SHAPE_ENCODING_INVALID, below(path, "signing_algo"), "neither ecdsa nor ed25519"
    )


def _address(stated: str, algorithm: Algorithm, path: str) -> tuple[bytes, bool]:
    """Return (identity bytes, whether a mixed-case spelling is not EIP-55)."""
    if algorithm == "ed25519":
        return hex_bytes(stated, path, 32), False
    if len(stated) != 42:
        raise _bad(Reason.SHAPE_LENGTH_INVALID, path, "an address is 0x and 40 hex digits")
    try:
        found = parse_address(stated)
    except FormatError as error:
        raise _bad(Reason.SHAPE_ENCODING_INVALID, path, error.what) from error
    return found.value, found.checksum_wrong


def _public_key(stated: str, algorithm: Algorithm, path: str) -> bytes:
    if algorithm == "ed25519":
        return hex_bytes(stated, path, 32)
    if len(stated) not in (128, 130):
        raise _bad(
            Reason.SHAPE_LENGTH_INVALID, path, "a public key is 128 hex digits, or 130 behind 04"
        )
    try:
        return parse_public_key(stated)
    except FormatError as error:
        raise _bad(Reason.SHAPE_ENCODING_INVALID, path, error.what) from error


def log_item(path: str, value: Json, pointer: str, role: str) -> Item:
    """Return the item of a log that is an array, or a string that holds the JSON of one."""
    if isinstance(value, str):
        steps: tuple[str, ...] = (f"select:{path}", "text")
    elif isinstance(value, Sequence):
        steps = (f"span:{path}",)
    else:
        raise _bad(Reason.SHAPE_FIELD_TYPE, path, "neither an array nor a string")
    return Item(role=role, steps=steps, pointer=pointer, media_type=_JSON)


@value
class _Info:
    """What `info` contributes: the second copy of the log, the compose text, two documents."""

    log: Item | None
    compose: Item | None
    documents: tuple[Item, ...]


def _info(members: Mapping[str, Json], pointer: str) -> _Info:
    path = below(pointer, "info")
    info = mapping(required(members, "info", pointer), path)
    place = below(path, "tcb_info")
    stated = info.get("tcb_info")
    before: tuple[str, ...] = ()
    if isinstance(stated, str):
        before = (f"select:{place}",)
        stated, inner = _json_text(stated, place), ""
    else:
        inner = place
    log: Item | None = None
    compose: Item | None = None
    if stated is not None:
        tcb_info = mapping(stated, place)
        second = tcb_info.get("event_log")
        if second is not None:
            found = log_item(f"{inner}/event_log", second, pointer, "dstack.event-log")
            if before:
                kind = "json" if found.steps[-1] == "text" else "text"
                found = Item(
                    role=found.role,
                    steps=(*before, kind, *found.steps),
                    pointer=pointer,
                    media_type=_JSON,
                )
            log = found
        if optional_text(tcb_info, "app_compose", place) is not None:
            steps = (f"select:{inner}/app_compose", "text")
            compose = Item(
                role="dstack.app-compose",
                steps=(*before, "json", *steps) if before else steps,
                pointer=pointer,
                media_type=_JSON,
            )
    documents = tuple(
        Item(
            role=role,
            steps=(f"select:{below(path, name)}", "text"),
            pointer=pointer,
            media_type=_JSON,
        )
        for name, role in (
            ("vm_config", "dstack.vm-config"),
            ("key_provider_info", "dstack.key-provider"),
        )
        if optional_text(info, name, path)
    )
    return _Info(log=log, compose=compose, documents=documents)


def _devices(
    members: Mapping[str, Json], pointer: str
) -> tuple[Item | None, tuple[tuple[Item, Item], ...]]:
    """Return the payload's item and (evidence, chain) of each device. Source: providers.md 3.1."""
    path = below(pointer, "nvidia_payload")
    stated = members.get("nvidia_payload")
    if stated is None:
        return None, ()
    if isinstance(stated, str):
        head: tuple[str, ...] = (f"select:{path}", "json")
        inner = ""
        payload_steps: tuple[str, ...] = (f"select:{path}", "text")
        payload = mapping(_json_text(stated, path), path)
    else:
        head, inner = (), path
        payload_steps = (f"span:{path}",)
        payload = mapping(stated, path)
    place = below(path, "evidence_list")
    entries = array(required(payload, "evidence_list", path), place)
    if len(entries) > MAX_DEVICES:
        raise _bad(Reason.EXCHANGE_OVER_LIMIT, place, f"more than {MAX_DEVICES} devices")
    devices: list[tuple[Item, Item]] = []
    for number, listed in enumerate(entries):
        at = below(place, number)
        entry = mapping(listed, at)
        pair: list[Item] = []
        for name, role, media_type in (
            ("evidence", "nvidia.gpu-evidence", "application/octet-stream"),
            ("certificate", "nvidia.gpu-chain", _PEM),
        ):
            decoded = base64_bytes(text(entry, name, at), below(at, name))
            if not decoded:
                raise _bad(Reason.SHAPE_LENGTH_INVALID, below(at, name), f"{name} is empty")
            pair.append(
                Item(
                    role=role,
                    steps=(*head, f"select:{inner}/evidence_list/{number}/{name}", "base64"),
                    pointer=pointer,
                    media_type=media_type,
                )
            )
        devices.append((pair[0], pair[1]))
    item = Item(role="nvidia.payload", steps=payload_steps, pointer=pointer, media_type=_JSON)
    return item, tuple(devices)


def _manager(members: Mapping[str, Json], pointer: str) -> tuple[Item, ...]:
    """Return the items of the compose manager: quote, log, actions. Source: providers.md 3.6."""
    stated = members.get("compose_manager_attestation")
    if stated is None:
        return ()
    path = below(pointer, "compose_manager_attestation")
    manager = mapping(stated, path)
    at = below(path, "quote")
    step, _ = quote_bytes(text(manager, "quote", path), at)
    items = [Item(role="tdx.quote", steps=(f"select:{at}", step), pointer=pointer)]
    log = manager.get("event_log")
    if log is not None:
        items.append(log_item(below(path, "event_log"), log, pointer, "dstack.event-log"))
    if manager.get("actions") is not None:
        place = below(path, "actions")
        array(manager.get("actions"), place)
        items.append(
            Item(
                role="dstack.compose-actions",
                steps=(f"span:{place}",),
                pointer=pointer,
                media_type=_JSON,
            )
        )
    return tuple(items)


@value
class _Read:
    """One report object with its items in table order and what it says twice."""

    report: DstackReport
    items: tuple[Item, ...]
    disagreements: tuple[Disagreement, ...]


def _doubles(
    members: Mapping[str, Json], pointer: str, quote: bytes, report: DstackReport
) -> tuple[Disagreement, ...]:
    """Compare what one object states twice. Source: providers.md 2.3."""
    found: list[Disagreement] = []
    second = optional_text(members, "quote", pointer)
    if second is not None:
        path = below(pointer, "quote")
        _, raw = quote_bytes(second, path)
        if raw != quote:
            found.append(
                Disagreement(
                    path=path, got=sha256(raw).hexdigest(), expected=sha256(quote).hexdigest()
                )
            )
    again = optional_text(members, "signing_key", pointer)
    if again is not None and report.public_key is not None:
        path = below(pointer, "signing_key")
        key = _public_key(again, report.algorithm, path)
        if key != report.public_key:
            found.append(Disagreement(path=path, got=key.hex(), expected=report.public_key.hex()))
    return tuple(found)


def read_report(value: Json, pointer: str, role: Role) -> _Read:
    """Read one report object. Raises `FormatError` (``shape.*``, ``exchange.over_limit``).

    Source: providers.md 3.1.
    """
    members = mapping(value, pointer)
    algorithm = _algorithm(members, pointer)
    address_text = text(members, "signing_address", pointer)
    address, checksum_wrong = _address(address_text, algorithm, below(pointer, "signing_address"))
    key_text = optional_text(members, "signing_public_key", pointer)
    key = None
    if key_text is not None:
        key = _public_key(key_text, algorithm, below(pointer, "signing_public_key"))
    nonce = hex_bytes(text(members, "request_nonce", pointer), below(pointer, "request_nonce"), 32)
    at = below(pointer, "intel_quote")
    step, raw = quote_bytes(text(members, "intel_quote", pointer), at)
    quote = Item(role="tdx.quote", steps=(f"select:{at}", step), pointer=pointer)
    first: Item | None = None
    if members.get("event_log") is not None:
        first = log_item(
            below(pointer, "event_log"), members.get("event_log"), pointer, "dstack.event-log"
        )
    info = _info(members, pointer)
    payload, devices = _devices(members, pointer)
    manager = _manager(members, pointer)
    names = ["signing_address"] + ([] if key_text is None else ["signing_public_key"])
    keys = tuple(
        Item(
            role="provider.signing-key",
            steps=(f"select:{below(pointer, name)}", "text"),
            pointer=pointer,
            media_type=_TEXT,
        )
        for name in names
    )
    logs = tuple(item for item in (first, info.log) if item is not None)
    report = DstackReport(
        pointer=pointer,
        role=role,
        algorithm=algorithm,
        address=address,
        address_text=address_text,
        checksum_wrong=checksum_wrong,
        public_key=key,
        public_key_text=key_text,
        model_name=optional_text(members, "model_name", pointer),
        request_nonce=nonce,
        tls_fingerprint=optional_hex(members, "tls_cert_fingerprint", pointer, 32),
        report_data_copy=optional_hex(members, "report_data", pointer, 64),
        quote=quote,
        logs=logs,
        compose=info.compose,
        devices=devices,
        payload=payload,
        manager=manager,
        keys=keys,
    )
    items = [quote, *logs]
    if info.compose is not None:
        items.append(info.compose)
    items.extend(info.documents)
    if payload is not None:
        items.append(payload)
    for evidence, chain in devices:
        items.extend((evidence, chain))
    items.extend(keys)
    items.extend(manager)
    return _Read(
        report=report,
        items=tuple(items),
        disagreements=_doubles(members, pointer, raw, report),
    )


def _key_config(members: Mapping[str, Json], pointer: str) -> tuple[KeyConfig, Item] | None:
    """Return the OHTTP key configuration beside a report, and its item."""
    stated = members.get("ohttp_attestation")
    if stated is None:
        return None
    path = below(pointer, "ohttp_attestation")
    attestation = mapping(stated, path)
    if text(attestation, "signing_algo", path) != "ed25519":
        raise _bad(
            Reason.SHAPE_ENCODING_INVALID, below(path, "signing_algo"), "an algorithm but ed25519"
        )
    config = KeyConfig(
        pointer=path,
        signing_key=hex_bytes(
            text(attestation, "signing_key", path), below(path, "signing_key"), 32
        ),
        key_config=hex_bytes(text(attestation, "key_config", path), below(path, "key_config")),
        signature=hex_bytes(
            text(attestation, "signature", path).removeprefix("0x"), below(path, "signature"), 64
        ),
        beside=optional_hex(members, "ohttp_key_config", pointer),
    )
    item = Item(
        role="provider.key-config", steps=(f"span:{path}",), pointer=pointer, media_type=_JSON
    )
    return config, item


# --- whole answers ---------------------------------------------------------------------------


def _copies(top: Mapping[str, Json], answer: Mapping[str, Json]) -> tuple[Disagreement, ...]:
    """Compare ``all_attestations[0]`` with the top level, member by member."""
    return tuple(
        Disagreement(
            path=f"/all_attestations/0/{name}",
            got="another value",
            expected=f"the value of /{name}",
        )
        for name in _REPORT_MEMBERS
        if name in answer and name in top and answer[name] != top[name]
    )


def _flat(members: Mapping[str, Json]) -> tuple[list[_Read], tuple[Disagreement, ...]]:
    reads = [read_report(members, "", "model")]
    listed = members.get("all_attestations")
    if listed is None:
        return reads, ()
    path = "/all_attestations"
    entries = array(listed, path)
    if not entries:
        raise _bad(Reason.SHAPE_LIST_EMPTY, path, "an empty list of attestations")
    if len(entries) > MAX_REPORTS:
        raise _bad(Reason.EXCHANGE_OVER_LIMIT, path, f"more than {MAX_REPORTS} attestations")
    disagreements = _copies(members, mapping(entries[0], f"{path}/0"))
    for number, entry in enumerate(entries):
        if number > 0 or disagreements:
            reads.append(read_report(entry, f"{path}/{number}", "model"))
    return reads, disagreements


def _gateway(members: Mapping[str, Json]) -> list[_Read]:
    reads = [read_report(members.get("gateway_attestation"), "/gateway_attestation", "gateway")]
    listed = members.get("model_attestations")
    if listed is None:
        return reads
    path = "/model_attestations"
    entries = array(listed, path)
    if not entries:
        raise _bad(Reason.SHAPE_LIST_EMPTY, path, "an empty list of models")
    if len(entries) > MAX_REPORTS:
        raise _bad(Reason.EXCHANGE_OVER_LIMIT, path, f"more than {MAX_REPORTS} models")
    reads.extend(
        read_report(entry, f"{path}/{number}", "model") for number, entry in enumerate(entries)
    )
    return reads


def _object_at(members: Mapping[str, Json], pointer: str) -> Mapping[str, Json]:
    """Return the report object at a pointer this module made."""
    value: Json = members
    for token in pointer.split("/")[1:]:
        if isinstance(value, Mapping):
            value = value.get(token)
        else:
            value = array(value, pointer)[int(token)]
    return mapping(value, pointer)


def read(
    members: Mapping[str, Json],
    artifact: str,
    shape: Shape,
    companions: Sequence[Companion] = (),  # noqa: ARG001  (this family's answers stand alone)
) -> RecognisedAnswer:
    """Read an answer of one of the two shapes. Raises `FormatError` with a closed code.

    Source: providers.md 1.2, 3.1.
    """
    disagreements: list[Disagreement] = []
    if shape == "dstack-gateway":
        reads = _gateway(members)
    else:
        reads, copies = _flat(members)
        disagreements.extend(copies)
    items: list[Item] = []
    configs: list[KeyConfig] = []
    places = [read_one.report.pointer for read_one in reads]
    for one in reads:
        items.extend(one.items)
        disagreements.extend(one.disagreements)
    certificate: str | None = None
    if shape == "dstack-gateway":
        certificate = optional_text(members, "tls_certificate", "")
        if certificate is not None:
            items.append(
                Item(
                    role="provider.evidence",
                    steps=("select:/tls_certificate", "text"),
                    pointer="/gateway_attestation",
                    media_type=_PEM,
                )
            )
        places.append("")
    for place in places:
        found = _key_config(_object_at(members, place), place)
        if found is not None:
            configs.append(found[0])
            items.append(found[1])
    echo = members.get("nonce")
    source = members.get("nonce_source")
    return RecognisedAnswer(
        artifact=artifact,
        shape=shape,
        family="dstack",
        reports=tuple(one.report for one in reads),
        items=tuple(items),
        key_configs=tuple(configs),
        echo=echo if isinstance(echo, str) else None,
        nonce_source=source if isinstance(source, str) else None,
        verdicts=tuple(below("", name) for name in _VERDICTS if name in members),
        tls_certificate=certificate,
        disagreements=tuple(disagreements),
        unknown=tuple(
            sorted(
                name for name in members if name not in _ANSWER_MEMBERS and name not in _VERDICTS
            )
        ),
    )


# --- formulas over a verified quote ----------------------------------------------------------


def bound_identity(report: DstackReport, fingerprint: bytes | None = None) -> bytes:
    """Return the 32 bytes that must open report_data. ``fingerprint``: instead of the stated one.

    Source: providers.md 3.2.
    """
    stated = report.tls_fingerprint if fingerprint is None else fingerprint
    if stated is None:
        return report.address.ljust(32, b"\x00")
    return sha256(report.address + stated).digest()


def judge_identity(
    report: DstackReport, report_data: bytes, fingerprints: Sequence[bytes] = ()
) -> None:
    """Demand that report_data opens with the stated identity in the one admitted form.

    ``fingerprints``: TLS keys that were seen with this answer, to tell which part is at fault.
    Raises `Refused`: ``binding.tls_fingerprint_not_bound`` where the identity is bound with
    another fingerprint or with none, ``binding.signing_address_not_in_report_data``.
    Source: providers.md 3.2, 12.
    """
    bound = report_data[:32]
    expected = bound_identity(report)
    if bound == expected:
        return
    if report.tls_fingerprint is not None:
        others = [report.address.ljust(32, b"\x00")]
        others.extend(bound_identity(report, other) for other in fingerprints)
        if bound in others:
            raise Refused(
                Reason.BINDING_TLS_FINGERPRINT_NOT_BOUND,
                "the stated TLS fingerprint is not in the hash",
                got=report.tls_fingerprint.hex(),
                expected="a fingerprint that report_data commits to",
                path=below(report.pointer, "tls_cert_fingerprint"),
            )
    raise Refused(
        Reason.BINDING_SIGNING_ADDRESS_NOT_IN_REPORT_DATA,
        f"report_data does not open with the identity in the form {report.form}",
        got=bound.hex(),
        expected=expected.hex(),
        path=below(report.pointer, "signing_address"),
    )


def judge_copy(report: DstackReport, report_data: bytes) -> None:
    """Demand that the JSON copy of report_data, where there is one, is the quote's.

    Raises `Refused` (``binding.report_data_field_disagrees``).
    """
    if report.report_data_copy is not None and report.report_data_copy != report_data:
        raise Refused(
            Reason.BINDING_REPORT_DATA_FIELD_DISAGREES,
            "the answer's copy of report_data is not the quote's",
            got=report.report_data_copy.hex(),
            expected=report_data.hex(),
            path=below(report.pointer, "report_data"),
        )


def bound_nonce(report_data: bytes) -> bytes:
    """Return the 32 bytes at the place of the nonce. Source: providers.md 3.2."""
    return report_data[32:64]


def judge_nonce(report: ReportObject, report_data: bytes, nonce: bytes) -> NonceRuling:  # noqa: ARG001
    """Return the bound nonce, and the contradiction where ``request_nonce`` is another value.

    Source: providers.md 3.2 (``freshness.request_nonce_mismatch``).
    """
    own = _own(report)
    bound = bound_nonce(report_data)
    if own.request_nonce == bound:
        return NonceRuling(bound=bound)
    lie = Refused(
        Reason.FRESHNESS_REQUEST_NONCE_MISMATCH,
        "request_nonce is not the value that the quote binds",
        got=own.request_nonce.hex(),
        expected=bound.hex(),
        path=below(own.pointer, "request_nonce"),
    )
    return NonceRuling(bound=bound, refused=(lie,))


def judge_binding(
    report: ReportObject,
    report_data: bytes,
    seen: Sequence[bytes],
    nonces: Sequence[bytes],  # noqa: ARG001
) -> Binding:
    """Return what the quote binds, with every contradiction. ``seen``: TLS keys seen with it."""
    own = _own(report)
    refused: list[Refused] = []
    try:
        judge_copy(own, report_data)
    except Refused as found:
        refused.append(found)
    try:
        judge_identity(own, report_data, seen)
    except Refused as found:
        refused.append(found)
    return Binding(
        form=own.form,
        algorithm=own.algorithm,
        address=own.address,
        public_key=own.public_key,
        tls_fingerprint=own.tls_fingerprint,
        refused=tuple(refused),
    )


def _own(report: ReportObject) -> DstackReport:
    if not isinstance(report, DstackReport):
        raise TypeError("a report object of another family")
    return report


def judge_public_key(algorithm: Algorithm, address: bytes, key: bytes) -> None:
    """Demand that the address is that of the public key; for ed25519 they are the same bytes.

    Raises `Refused` (``binding.public_key_not_of_address``).
    """
    found = key if algorithm == "ed25519" else address_of(PublicKey(key))
    if found != address:
        raise Refused(
            Reason.BINDING_PUBLIC_KEY_NOT_OF_ADDRESS,
            "the public key has another address",
            got=Address(found).hex(),
            expected=address.hex(),
        )


def judge_key_config(config: KeyConfig, identities: Sequence[bytes]) -> bool:
    """Return whether the key that signed an OHTTP key configuration is an attested identity.

    ``identities``: ed25519 keys that quotes of this answer bind. Raises `Refused`
    (``binding.ohttp_signature_invalid``) where the signature does not hold or the configuration
    beside it is another. Source: providers.md 3.1.
    """
    if not ed25519.signed(config.signing_key, config.signature, config.key_config):
        raise Refused(
            Reason.BINDING_OHTTP_SIGNATURE_INVALID,
            "the stated key did not sign the key configuration",
            got=config.signature.hex(),
            expected=f"a signature by {config.signing_key.hex()}",
            path=below(config.pointer, "signature"),
        )
    if config.beside is not None and config.beside != config.key_config:
        raise Refused(
            Reason.BINDING_OHTTP_SIGNATURE_INVALID,
            "the key configuration beside the signed one is another",
            got=config.beside.hex(),
            expected=config.key_config.hex(),
            path=below(config.pointer, "key_config"),
        )
    return config.signing_key in identities
