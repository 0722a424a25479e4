"""From recorded exchanges to the artifacts and declared pairs of a session.

Live captures and importers share this one road: roles by purpose and content, the family's own
extractor for the items of each answer, chain headers as derived artifacts, and every binding the
verifier is to test. It declares, it does not judge: a pair that is false fails verification.

Source: bundle-format.md 5.2, 5.3, 6.5; providers.md 1.2, 2.4, 3.4.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final, Literal
from urllib.parse import parse_qs, unquote, urlsplit

from bundle.assemble import Assembly, ExchangeIds
from bundle.providers.reading import chat_id, header
from bundle.recording import RecordedExchange
from verify.engine.errors import FormatError, Refused, UsageError
from verify.families import shapes
from verify.families.dstack import DstackReport
from verify.families.identity import Item, RecognisedAnswer, ReportObject
from verify.families.members import Companion
from verify.wire.derive import run_steps
from verify.wire.strict_json import Json, parse_evidence

__all__ = [
    "Inventory",
    "Platform",
    "SessionNonce",
    "carries_signature",
    "header",
    "media_type",
    "nonce_of",
    "platform_of",
    "response_role",
    "sent_nonce",
]

_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")

_REQUEST_ROLES: Final[Mapping[str, str]] = {
    "attestation": "provider.attestation-request",
    "chat": "http.request.body",
    "nras": "nras.request",
    "revocation": "nvidia.ocsp-request",
}
_RESPONSE_ROLES: Final[Mapping[str, str]] = {
    "attestation": "provider.attestation",
    "chat": "http.response.body",
    "signature": "provider.signature",
    "receipt": "provider.receipt",
    "model-list": "provider.model-list",
    "rim": "nvidia.rim",
    "nras": "nras.answer",
    "jwks": "nras.jwks",
    "provenance": "sigstore.bundle",
    "time": "time.checkpoint",
}
_OTHER: Final = "provider.evidence"
_STATUS_MATTERS: Final = frozenset(
    ("collateral", "revocation", "nras", "jwks", "provenance", "receipt", "key-config")
)
"""Purposes whose error pages are kept, but under no role that a check reads as evidence.

A failed try is part of the record; beside a later good one it must not speak against it.
"""

_CHAIN_HEADERS: Final[Mapping[str, tuple[str, str]]] = {
    "tcb-info-issuer-chain": ("intel.tcb-info", "intel.tcb-info-chain"),
    "sgx-tcb-info-issuer-chain": ("intel.tcb-info", "intel.tcb-info-chain"),
    "sgx-enclave-identity-issuer-chain": ("intel.qe-identity", "intel.qe-identity-chain"),
    "sgx-pck-crl-issuer-chain": ("intel.pck-crl", "intel.pck-crl-chain"),
    "tcb-evaluation-data-numbers-issuer-chain": (
        "intel.tcb-evaluation-numbers",
        "intel.tcb-evaluation-numbers-chain",
    ),
}
"""Header that carries a PEM chain, percent-encoded -> (role beside it, its own role)."""


MOST_ITEMS: Final = 2560
"""Items derived from the answers of one session: of two rounds with 64 machines of eight GPUs each,
and room in a statement (4096 artifacts) for everything else."""

# --- roles -----------------------------------------------------------------------------------


def media_type(recorded: RecordedExchange) -> str:
    """Return the media type of an answer in our grammar, or ``application/octet-stream``."""
    stated = (header(recorded, "content-type") or "").partition(";")[0].strip().lower()
    return stated if _MEDIA_TYPE.fullmatch(stated) else "application/octet-stream"


def _json(body: bytes | None) -> Json:
    if not body:
        return None
    try:
        return parse_evidence(body)
    except FormatError:
        return None


_CERTIFICATE_LISTS: Final = (
    (b"Intel SGX PCK Platform CA", "intel.pck-crl"),
    (b"Intel SGX PCK Processor CA", "intel.pck-crl"),
    (b"Intel SGX Root CA", "intel.root-crl"),
    (b"Advanced Micro Devices", "amd.crl"),
    (b"NVIDIA", "nvidia.crl"),
)
"""Name inside the DER of a revocation list -> role; the first that occurs decides."""


_OCSP_BASIC: Final = bytes.fromhex("06092b0601050507300101")
"""DER of the object identifier id-pkix-ocsp-basic: every OCSP answer with a status has it."""


def _revocation_role(recorded: RecordedExchange) -> str:
    body = recorded.response_body or b""
    if _OCSP_BASIC in body or media_type(recorded) == "application/ocsp-response":
        return "nvidia.ocsp-response"
    if body.startswith(b"-----BEGIN X509 CRL-----"):
        try:
            lines = [line for line in body.splitlines() if not line.startswith(b"-----")]
            body = base64.b64decode(b"".join(lines))
        except (ValueError, binascii.Error):
            return _OTHER
    if not body.startswith(b"0"):
        return _OTHER
    for name, role in _CERTIFICATE_LISTS:
        if name in body:
            return role
    return _OTHER


def _collateral_role(recorded: RecordedExchange) -> str:
    value = _json(recorded.response_body)
    if isinstance(value, Mapping):
        for member, role in (
            ("tcbInfo", "intel.tcb-info"),
            ("enclaveIdentity", "intel.qe-identity"),
            ("tcbEvalNumbers", "intel.tcb-evaluation-numbers"),
        ):
            if member in value:
                return role
    path = urlsplit(recorded.url).path
    if path.endswith("/cert_chain"):
        return "amd.chain"
    if "/vcek/" in path or "/vlek/" in path:
        return "amd.vek"
    return _OTHER


def response_role(recorded: RecordedExchange) -> str:
    """Return the role of an answer's body: by purpose, and by content where a purpose has several.

    Source: bundle-format.md 5.2.
    """
    purpose = recorded.purpose
    success = recorded.status is not None and 200 <= recorded.status < 300
    if purpose in _STATUS_MATTERS and not success:
        return _OTHER
    if purpose == "collateral":
        return _collateral_role(recorded)
    if purpose == "revocation":
        return _revocation_role(recorded)
    if purpose == "provenance":
        return _provenance_role(recorded)
    if purpose == "receipt" and "/sessions/" in urlsplit(recorded.url).path:
        return "provider.session"
    if purpose == "key-config":
        value = _json(recorded.response_body)
        listed = isinstance(value, Mapping) and "instances" in value
        return _OTHER if listed else "provider.key-config"
    return _RESPONSE_ROLES.get(purpose, _OTHER)


def _provenance_role(recorded: RecordedExchange) -> str:
    path = urlsplit(recorded.url).path
    if path.endswith("tinfoil.hash"):
        return "release.digest"
    if "/attestations/" in path:
        return "release.attestations"
    if "/releases/" in path:
        return "release.manifest"
    value = _json(recorded.response_body)
    if isinstance(value, Mapping) and "dsseEnvelope" in value:
        return "sigstore.bundle"
    return _OTHER


_STATEMENT_ROLES: Final = frozenset({"release.attestations", "sigstore.bundle"})
_RELEASE_ROLES: Final = _STATEMENT_ROLES | {"release.digest", "release.manifest"}


def _repository(url: str) -> tuple[str, ...]:
    """Return owner and name of the repository that a release URL speaks of."""
    parts = urlsplit(url).path.strip("/").split("/")
    if "repos" in parts:
        start = parts.index("repos") + 1
    else:  # .../owner/name/releases/download/...
        start = max(0, parts.index("releases") - 2) if "releases" in parts else 0
    return tuple(parts[start : start + 2])


# --- what a session's nonce is ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionNonce:
    """One nonce as made by the capture, or as found in a recording (``foreign``).

    ``value``: bytes as they should appear in evidence. ``beacon``: artifact id, or None.
    """

    value: bytes
    derivation: Literal["teebundle-v1", "foreign"] = "foreign"
    random: bytes | None = None
    beacon: str | None = None


def _nonce_text(text: object) -> bytes | None:
    """Return the bytes of a nonce in hex: at least sixteen; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        return None
    return value if len(value) >= 16 else None


def nonce_of(url: str) -> bytes | None:
    """Return the bytes of the hex nonce in an attestation URL, or None."""
    found = (_nonce_text(text) for text in parse_qs(urlsplit(url).query).get("nonce", ()))
    return next((value for value in found if value is not None), None)


def sent_nonce(recorded: RecordedExchange, known: Collection[bytes] = ()) -> bytes | None:
    """Return the nonce that an attestation request carried, or None.

    The parameter ``nonce`` of the URL; else the member ``nonce`` of a JSON body; else whichever of
    ``known`` (nonces of this capture) stands anywhere in URL or body, as hex.
    """
    value = nonce_of(recorded.url)
    if value is not None:
        return value
    body = _json(recorded.request_body)
    if isinstance(body, Mapping):
        value = _nonce_text(body.get("nonce"))
        if value is not None:
            return value
    sent = recorded.url.lower().encode() + b" " + (recorded.request_body or b"").lower()
    return next((value for value in known if value.hex().encode() in sent), None)


# --- the inventory ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """A recognised answer with its exchange and the artifact id of each of its items."""

    answer: RecognisedAnswer
    exchange: ExchangeIds
    recorded: RecordedExchange
    ids: Mapping[tuple[str, ...], str]

    def id(self, item: Item) -> str:
        """Return the artifact id of an item."""
        return self.ids[(item.source or "", item.role, *item.steps)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """An exchange with the ids and the role it was given, and the chains its headers carry."""

    recorded: RecordedExchange
    ids: ExchangeIds
    role: str
    chains: tuple[str, ...]


@dataclass(slots=True)
class Inventory:
    """Puts recorded exchanges into an `Assembly`, in order, and declares what belongs together.

    ``nonces``: nonce bytes to how they were made; a nonce that is not there is ``foreign``.
    ``lenient``: a shape that no family here reads is kept as it is instead of being refused.
    """

    assembly: Assembly
    nonces: Mapping[bytes, SessionNonce] = field(default_factory=dict)
    lenient: bool = False
    _kept: list[_Kept] = field(default_factory=list)
    _answers: list[_Listed] = field(default_factory=list)
    _nonce_ids: dict[bytes, str] = field(default_factory=dict)
    _derived: int = 0

    def add(self, recorded: RecordedExchange, *, name: str = "") -> ExchangeIds:
        """Add one exchange and everything derived from it. ``name``: the file, for messages.

        Raises UsageError for an attestation answer that cannot be bundled, saying why.
        """
        kind = media_type(recorded)
        answer = self._read(recorded, name or recorded.url)
        role = response_role(recorded)
        ids = self.assembly.exchange(
            recorded,
            body_role=role,
            request_role=_REQUEST_ROLES.get(recorded.purpose, _OTHER),
            body_media_type=kind,
            request_media_type=(
                "application/ocsp-request"
                if recorded.purpose == "revocation"
                else "application/json"
            ),
        )
        kept = _Kept(
            recorded=recorded, ids=ids, role=role, chains=self._derive_chains(recorded, ids, role)
        )
        self._kept.append(kept)
        if recorded.purpose == "attestation":
            self._declare_nonce(recorded)
        if answer is not None and ids.response_body is not None:
            self._derive_items(answer, kept, ids.response_body)
        return ids

    def _read(self, recorded: RecordedExchange, name: str) -> RecognisedAnswer | None:
        if recorded.purpose != "attestation" or not _usable(recorded):
            return None
        if not recorded.response_body:
            return None
        try:
            return shapes.read_answer(
                shapes.parse_answer(recorded.response_body), "", self._companions()
            )
        except Refused as refused:
            if self.lenient:
                return None
            message = f"{name}: {refused.what} ({refused.reason})"
            if refused.got in shapes.FAMILIES:
                message = f"{name}: family not supported yet: {refused.got} ({refused.reason})"
            raise UsageError(message) from refused
        except FormatError as error:
            if self.lenient:
                return None
            place = error.path if error.path is not None else f"byte {error.offset}"
            message = f"{name}: {place}: {error.what} ({error.reason})"
            raise UsageError(message) from error

    def _companions(self) -> tuple[Companion, ...]:
        """Return the recorded documents that an answer may lean on, as the verifier sees them."""
        found: list[Companion] = []
        for kept in self._kept:
            body = kept.ids.response_body
            if kept.recorded.purpose != "key-config" or not _usable(kept.recorded) or body is None:
                continue
            with suppress(FormatError):
                found.append((body, shapes.parse_answer(kept.recorded.response_body or b"")))
        return tuple(found)

    def _declare_nonce(self, recorded: RecordedExchange) -> None:
        value = sent_nonce(recorded, self.nonces)
        if value is None or value in self._nonce_ids:
            return
        made = self.nonces.get(value) or SessionNonce(value=value)
        self._nonce_ids[value] = self.assembly.nonce(
            made.value,
            derivation=made.derivation,
            random=made.random,
            beacon=made.beacon,
            sent_as="hex64" if len(value) == 32 else "hex32",
        )

    def _derive_chains(
        self, recorded: RecordedExchange, ids: ExchangeIds, role: str
    ) -> tuple[str, ...]:
        document = ids.response_headers
        if document is None or recorded.purpose not in ("collateral", "revocation"):
            return ()
        names = [found.lower() for found, _ in recorded.response_headers or ()]
        chains: list[str] = []
        for name, (beside, own) in _CHAIN_HEADERS.items():
            if role != beside or names.count(name) != 1:
                continue
            steps = (f"header:{name}", "percent")
            try:
                run_steps(self.assembly.body(document), steps)
            except FormatError:
                continue  # a broken header is kept in its document; nothing can be derived
            chains.append(
                self.assembly.derive(
                    document, role=own, steps=steps, media_type="application/x-pem-file"
                )
            )
        return tuple(chains)

    def _derive_items(self, answer: RecognisedAnswer, kept: _Kept, source: str) -> None:
        if self.lenient and self._derived + len(answer.items) > MOST_ITEMS:
            return  # kept as it is: a statement that no reader takes would keep nothing at all
        self._derived += len(answer.items)
        listed = _Listed(answer=answer, exchange=kept.ids, recorded=kept.recorded, ids={})
        self._answers.append(replace(listed, ids=self._ids_of(answer, source, {})))

    def _ids_of(
        self, answer: RecognisedAnswer, source: str, ids: Mapping[tuple[str, ...], str]
    ) -> Mapping[tuple[str, ...], str]:
        """Return the artifact id of every item, derived now where ``ids`` has none.

        Each answer has artifacts of its own, of keys in a list that several lean on, too: the
        verifier counts the items of every answer.
        """
        found = dict(ids)
        for item in answer.items:
            key = (item.source or "", item.role, *item.steps)
            if key not in found:
                found[key] = self.assembly.derive(
                    item.source or source,
                    role=item.role,
                    steps=item.steps,
                    media_type=item.media_type,
                )
        return found

    def _read_again(self) -> None:
        """Read answers again that lean on documents, some of which were recorded after them."""
        companions = self._companions()
        for number, listed in enumerate(self._answers):
            body, source = listed.recorded.response_body, listed.exchange.response_body
            if not companions or listed.answer.family != "chutes" or not body or source is None:
                continue
            with suppress(FormatError, Refused):
                answer = shapes.read_answer(shapes.parse_answer(body), "", companions)
                ids = self._ids_of(answer, source, listed.ids)
                self._answers[number] = replace(listed, answer=answer, ids=ids)

    # --- bindings ----------------------------------------------------------------------------

    def bind(self) -> None:
        """Declare every pair the verifier is to test. Call once, after the last exchange."""
        self._read_again()
        for kept in self._kept:
            if kept.chains and kept.ids.response_body is not None:
                self.assembly.bind(
                    "chain-for", evidence=kept.ids.response_body, with_=list(kept.chains)
                )
        for listed in self._answers:
            for report in listed.answer.reports:
                self._bind_report(listed, report)
        self._bind_nras()
        self._bind_signatures()
        self._bind_carried()
        self._bind_receipts()
        self._bind_around()

    def _quotes(self, listed: _Listed, report: ReportObject) -> tuple[str, ...]:
        """Return the report's own quote and, if there is one, its compose manager's."""
        own = [listed.id(report.quote)]
        own.extend(listed.id(item) for item in report.manager if item.role == "tdx.quote")
        return tuple(own)

    def _bind_report(self, listed: _Listed, report: ReportObject) -> None:
        bind = self.assembly.bind
        quote, *managers = self._quotes(listed, report)
        value = sent_nonce(listed.recorded, self.nonces)
        nonce = None if value is None else self._nonce_ids.get(value)
        for evidence in (quote, *managers):
            if nonce is not None:
                bind("nonce-in-evidence", nonce=nonce, evidence=evidence)
            self._bind_collateral(evidence)
            self._bind_release(evidence)
        for item in report.keys:
            bind("key-in-evidence", key=listed.id(item), evidence=quote)
        if report.tls_fingerprint is not None and report.pointer in ("", "/gateway_attestation"):
            bind("tls-in-evidence", exchange=listed.exchange.exchange, evidence=quote)
        for log in report.logs:
            bind("log-in-evidence", log=listed.id(log), evidence=quote)
        for item in report.manager:
            if item.role == "dstack.event-log":
                for manager in managers:
                    bind("log-in-evidence", log=listed.id(item), evidence=manager)
        if report.compose is not None:
            bind("code-in-evidence", code=listed.id(report.compose), evidence=quote)
        for evidence_item, chain in report.devices:
            bind("chain-for", evidence=listed.id(evidence_item), with_=[listed.id(chain)])
        devices = [listed.id(evidence_item) for evidence_item, _ in report.devices]
        if devices:
            bind("devices-share-nonce", devices=devices, evidence=quote)
        if devices and listed.answer.shape == "tinfoil-v3":
            bind("devices-in-evidence", devices=devices, evidence=quote)
            if nonce is not None:
                for device in devices:
                    bind("nonce-in-evidence", nonce=nonce, evidence=device)

    def _bind_collateral(self, quote: str) -> None:
        """Join a quote with the newest recorded collateral of its platform."""
        if quote in self.assembly.ids_of("snp.report"):
            endorsements = self.assembly.ids_of("amd.vek", "amd.chain")
            if endorsements:
                self.assembly.bind("chain-for", evidence=quote, with_=list(endorsements))
            lists = self.assembly.ids_of("amd.crl")
            if lists:
                self.assembly.bind("collateral-for", evidence=quote, with_=list(lists))
            return
        platform = platform_of(self.assembly.body(quote))
        found: dict[str, list[str]] = {}
        for kept in self._kept:
            body = kept.ids.response_body
            if body is None or kept.recorded.purpose not in ("collateral", "revocation"):
                continue
            if not kept.role.startswith("intel."):
                continue
            if platform is None or _serves(kept.role, kept.recorded, platform):
                found[kept.role] = [body, *kept.chains]
        ids = [item for items in found.values() for item in items]
        if ids:
            self.assembly.bind("collateral-for", evidence=quote, with_=ids)

    def _bind_release(self, evidence: str) -> None:
        """Join a report with each recorded release: what one repository published."""
        found: dict[tuple[str, ...], list[tuple[str, str]]] = {}
        for kept in self._kept:
            if kept.role in _RELEASE_ROLES and kept.ids.response_body is not None:
                group = found.setdefault(_repository(kept.recorded.url), [])
                group.append((kept.role, kept.ids.response_body))
        for group in found.values():
            if any(role in _STATEMENT_ROLES for role, _ in group):
                self.assembly.bind(
                    "release-for", release=[body for _, body in group], evidence=evidence
                )

    def _bind_nras(self) -> None:
        devices = {
            self.assembly.body(item): item
            for item in self.assembly.ids_of("nvidia.gpu-evidence", "nvidia.switch-evidence")
        }
        keys = [
            kept.ids.response_body
            for kept in self._kept
            if kept.role == "nras.jwks" and kept.ids.response_body
        ]
        for kept in self._kept:
            if kept.role != "nras.answer" or kept.ids.response_body is None:
                continue
            if kept.ids.request_body is None or not keys:
                continue
            submitted = _submitted(kept.recorded.request_body)
            if not any(raw in devices for raw in submitted):
                continue  # an answer about devices that this session does not hold
            self.assembly.bind(
                "nras-covers",
                request=kept.ids.request_body,
                answer=kept.ids.response_body,
                jwks=self._jwks_after(kept) or keys[-1],
                devices=[devices[raw] for raw in submitted if raw in devices],
            )

    def _jwks_after(self, answer: _Kept) -> str | None:
        """Return the key set fetched next after an answer."""
        for kept in self._kept[self._kept.index(answer) :]:
            if kept.role == "nras.jwks" and kept.ids.response_body:
                return kept.ids.response_body
        return None

    def _chats(self) -> list[_Kept]:
        """Return the chats that were answered, whole or cut; a refused try is no chat."""
        return [
            kept
            for kept in self._kept
            if kept.recorded.purpose == "chat" and _successful(kept.recorded)
        ]

    def _bind_signatures(self) -> None:
        chats = self._chats()
        for kept in self._kept:
            carrier = kept.ids.response_body
            if kept.recorded.purpose != "signature" or carrier is None or not chats:
                continue
            stated = _json(kept.recorded.response_body)
            if not _successful(kept.recorded) or not isinstance(stated, Mapping):
                continue
            if "signature" not in stated:
                continue  # an answer that says there is none
            chat = _chat_before(chats, kept, self._kept)
            self._bind_signature(carrier, stated.get("signing_address"), chat)

    def _bind_signature(self, carrier: str, address: Json, chat: _Kept) -> None:
        self.assembly.bind(
            "signature-covers",
            signature=carrier,
            key=self._key_of(address),
            request=chat.ids.request_body,
            response=chat.ids.response_body,
        )

    def _bind_carried(self) -> None:
        """Join chats with the signatures that came along with them, in headers or in the stream.

        Source: providers.md 5.1, 5.4.
        """
        shapes_seen = {listed.answer.shape for listed in self._answers}
        if self.assembly.profile != "ionet" and "ionet" not in shapes_seen:
            return
        for chat in self._chats():
            named = [name.lower() for name, _ in chat.recorded.response_headers or ()]
            if "signature" in named and chat.ids.response_headers is not None:
                address = header(chat.recorded, "signing_address")
                self._bind_signature(chat.ids.response_headers, address, chat)
                continue
            event = _signature_event(chat.recorded)
            if event is not None and chat.ids.response_body is not None:
                stated = _json(event)
                named_key = stated.get("signing_address") if isinstance(stated, Mapping) else None
                self._bind_signature(chat.ids.response_body, named_key, chat)

    def _bind_receipts(self) -> None:
        chats = self._chats()
        keys = [
            listed.id(item)
            for listed in self._answers
            if listed.answer.shape == "aci"
            for report in listed.answer.reports
            for item in report.keys
        ]
        for kept in self._kept:
            carrier = kept.ids.response_body
            if kept.role != "provider.receipt" or carrier is None or not chats or not keys:
                continue
            chat = _chat_of_receipt(chats, kept) or _chat_before(chats, kept, self._kept)
            self.assembly.bind(
                "receipt-covers",
                receipt=carrier,
                key=keys[0],
                request=chat.ids.request_body,
                response=chat.ids.response_body,
            )

    def _key_of(self, stated: Json) -> str:
        """Return the signing-key artifact that spells that address.

        Where no answer offers it, the address itself is kept as the look-up states it: the verifier
        then says that no quote binds it.
        """
        text = stated if isinstance(stated, str) else ""
        for key in self.assembly.ids_of("provider.signing-key"):
            if self.assembly.body(key).decode("utf-8", "replace").lower() == text.lower():
                return key
        return self.assembly.local(
            text.encode() or b"(none stated)",
            role=_OTHER,
            description="signing address as the signature look-up states it",
            media_type="text/plain",
        )

    def _bind_around(self) -> None:
        """Name the attestations nearest to each chat, a pair for each kind of key attested.

        A report binds one signing key, so a round that asks for two algorithms has two answers.
        """
        for chat in self._chats():
            at = self._kept.index(chat)
            session = chat.recorded.session
            own = [item for item in self._answers if item.recorded.session == session]
            places = {kept.ids.exchange: number for number, kept in enumerate(self._kept)}
            before = [item for item in own if places[item.exchange.exchange] < at]
            after = [item for item in own if places[item.exchange.exchange] > at]
            if not before or not after:
                continue
            nearest = {_algorithms(item): item for item in before}
            first: dict[tuple[str, ...], _Listed] = {}
            for item in after:
                first.setdefault(_algorithms(item), item)
            pairs = [(nearest[kind], item) for kind, item in first.items() if kind in nearest]
            for one, other in pairs or [(before[-1], after[0])]:
                self.assembly.bind(
                    "attested-around",
                    before=one.exchange.exchange,
                    after=other.exchange.exchange,
                    chat=chat.ids.exchange,
                )


def _successful(recorded: RecordedExchange) -> bool:
    """Whether an answer with a status of success came, whole or not."""
    return recorded.status is not None and 200 <= recorded.status < 300


def _usable(recorded: RecordedExchange) -> bool:
    """Whether a whole answer with a status of success came."""
    return _successful(recorded) and recorded.complete


def _algorithms(listed: _Listed) -> tuple[str, ...]:
    """Return the signing algorithms of an answer's report objects, where its family states any."""
    return tuple(
        report.algorithm for report in listed.answer.reports if isinstance(report, DstackReport)
    )


_EVENT: Final = b"event: signature"


def _signature_event(recorded: RecordedExchange) -> bytes | None:
    """Return the data of the signature event of a stream, empty where it has none; None without.

    Reads a stored body line by line: it may be too large to be held.
    """
    if recorded.response_body is not None:
        return _event_data(io.BytesIO(recorded.response_body))
    if recorded.response_file is None:
        return None
    try:
        with recorded.response_file.path.open("rb") as stream:
            return _event_data(stream)
    except OSError:
        return None


def carries_signature(chat: RecordedExchange) -> bool:
    """Whether a signature came with a chat: in a header, or in an event of its stream."""
    return header(chat, "signature") is not None or bool(_signature_event(chat))


def _event_data(stream: BinaryIO) -> bytes | None:
    begins = True
    while line := stream.readline(_MAX_LINE):
        if begins and line.rstrip(b"\n") == _EVENT:
            return stream.readline(_MAX_LINE).strip().removeprefix(b"data: ")
        begins = line.endswith(b"\n")
    return None


_MAX_LINE: Final = 64 << 10


def _asked_chat(url: str) -> str:
    """Return the chat id that a look-up asks for: ``request_id``, else the last path segment."""
    parts = urlsplit(url)
    named = parse_qs(parts.query).get("request_id")
    return named[0] if named else unquote(parts.path.rsplit("/", 1)[-1])


def _chat_before(chats: Sequence[_Kept], kept: _Kept, order: Sequence[_Kept]) -> _Kept:
    """Return the chat that a look-up names, else the last chat before it."""
    asked = _asked_chat(kept.recorded.url)
    found = [(chat_id(chat.recorded), chat) for chat in chats]
    for name, chat in found:
        if name == asked:
            return chat
    for name, chat in found:  # a recorder may have put something around it
        if name is not None and name in asked:
            return chat
    at = order.index(kept)
    before = [chat for chat in chats if order.index(chat) < at]
    return before[-1] if before else chats[0]


def _chat_of_receipt(chats: Sequence[_Kept], kept: _Kept) -> _Kept | None:
    """Return the chat whose answer named this receipt in a header, or None."""
    receipt_id = unquote(urlsplit(kept.recorded.url).path.rsplit("/", 1)[-1])
    for chat in chats:
        if header(chat.recorded, "x-receipt-id") == receipt_id:
            return chat
    return None


def _submitted(body: bytes | None) -> tuple[bytes, ...]:
    """Return the evidence items of an NRAS request, decoded; empty where it has none."""
    value = _json(body)
    listed = value.get("evidence_list") if isinstance(value, Mapping) else None
    if isinstance(listed, str) or not isinstance(listed, Sequence):
        return ()
    found: list[bytes] = []
    for entry in listed:
        stated = entry.get("evidence") if isinstance(entry, Mapping) else None
        if isinstance(stated, str):
            try:
                found.append(base64.b64decode(stated, validate=True))
            except (ValueError, binascii.Error):
                continue
    return tuple(found)


# --- which collateral belongs to which platform ----------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What a quote's PCK certificate says: FMSPC (6 bytes) and issuing CA; and its TEE."""

    fmspc: bytes
    ca: Literal["platform", "processor"]
    tdx: bool


def platform_of(quote: bytes) -> Platform | None:
    """Return the platform of a quote that carries its PCK chain, or None."""
    from verify.crypto.x509 import load_certificate, split_pem  # noqa: PLC0415  (heavy import)
    from verify.intel.pck import CaKind, sgx_extension  # noqa: PLC0415
    from verify.intel.quote import Tee, parse_quote  # noqa: PLC0415

    try:
        parsed = parse_quote(quote)
        chain = [load_certificate(der) for der in split_pem(parsed.cert_data)]
        platform = len(chain) > 1 and any("Platform" in name for name in chain[1].common_names)
        kind = CaKind.PLATFORM if platform else CaKind.PROCESSOR
        extension = sgx_extension(chain[0], kind)
    except FormatError:
        return None
    return Platform(
        fmspc=extension.fmspc,
        ca="platform" if platform else "processor",
        tdx=parsed.tee is Tee.TDX,
    )


def _serves(role: str, recorded: RecordedExchange, platform: Platform) -> bool:
    """Whether an item of collateral speaks of that platform."""
    if role == "intel.tcb-info":
        value = _json(recorded.response_body)
        info = value.get("tcbInfo") if isinstance(value, Mapping) else None
        if not isinstance(info, Mapping):
            return False
        fmspc = info.get("fmspc")
        return (
            isinstance(fmspc, str)
            and fmspc.lower() == platform.fmspc.hex()
            and info.get("id") == ("TDX" if platform.tdx else "SGX")
        )
    if role == "intel.qe-identity":
        value = _json(recorded.response_body)
        identity = value.get("enclaveIdentity") if isinstance(value, Mapping) else None
        return isinstance(identity, Mapping) and identity.get("id") == (
            "TD_QE" if platform.tdx else "QE"
        )
    if role == "intel.pck-crl":
        body = recorded.response_body or b""
        name = b"PCK Platform CA" if platform.ca == "platform" else b"PCK Processor CA"
        if body.startswith(b"-----"):
            return f"ca={platform.ca}" in recorded.url
        return name in body
    return True
