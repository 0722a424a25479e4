"""Which vendor endpoints to ask for whatever an attestation brought back.

A generator of calls (`bundle.calls`): evidence is parsed, never believed; it only steers what is
asked. Evidence that does not parse gives no call, and the verifier says why. A failed item stops
no other one: what could not be had is missing from the bundle, with the recorded failure as its
explanation.

Order within a round: Intel, AMD, NVIDIA's attestation service (its tokens are short-lived), then
manifests, OCSP, revocation lists.

Source: tdx.md 4.4, 5; sev-snp.md 7, 8; nvidia.md 8.1, 8.2, 9, 10.1 to 10.5, 12; providers.md 2.4,
3.4; bundle-format.md 5.2.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable, Generator, Iterator, Mapping, MutableSet, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from bundle.bounds import TRANSIENT, Bounds
from bundle.calls import COLLATERAL, NO_PATIENCE, PATIENT, Call, Steps, patiently, usable
from bundle.events import escaped
from bundle.inventory import header, platform_of
from bundle.recording import RecordedExchange
from verify.engine.errors import FormatError, Refused
from verify.families import shapes
from verify.families.tinfoil import TinfoilReport
from verify.wire.derive import Body

if TYPE_CHECKING:
    from verify.amd.report import Product, SnpReport
    from verify.crypto.x509 import Certificate
    from verify.families.identity import RecognisedAnswer, ReportObject
    from verify.intel.quote import Quote
    from verify.nvidia.certificates import DeviceChain, Family
    from verify.nvidia.spdm import Report

Claims = Literal["2.0", "3.0"]
RandomBytes = Callable[[int], bytes]

OCSP_NONCE: Final = 32
"""Bytes of a fresh OCSP nonce (RFC 8954 2.1 allows up to 32)."""
MOST: Final = 1024
"""Items asked for in one round: far above any honest fleet, below what a hostile answer may cost.

The largest answer seen has seven instances of eight GPUs: some hundred items."""
GIVE_UP: Final = 8
"""Items in a row that a service leaves without an answer before a round asks it for nothing more.

Each costs up to a time-out, and evidence decides how many there are: hours, without this."""
SERVICE: Final = Bounds(connect_s=5.0, idle_s=30.0, total_s=30.0, body=1 << 20)
"""Of NVIDIA's attestation service (nvidia.md 12, 17)."""
KEY_SET_TRIES: Final = 2
KEY_SET_DELAY_S: Final = 1.0
"""A key that signed a moment ago and is not published yet: asked for once more, after so long."""

_RIM_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_LIST_PATH: Final = re.compile(r"/crl[a-z0-9-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,80}){1,3}")
_FMSPC: Final = re.compile(r"[0-9A-Fa-f]{12}")
_TRAILER: Final = 20
"""CPUSVN 16, PCESVN 2, PCEID 2: the end of certification data of types 1 to 3 (tdx.md 2.6)."""
_ENCRYPTED_PPID: Final[Mapping[int, int]] = {2: 256, 3: 384}
_SPLS: Final[Mapping[str, str]] = {
    "fmc": "fmcSPL",
    "bootloader": "blSPL",
    "tee": "teeSPL",
    "snp": "snpSPL",
    "microcode": "ucodeSPL",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Base URLs of the vendors' services, no slash at the end.

    ``intel_pcs`` may be a caching proxy of the same paths. ``nvidia_crl``: the certificates name
    that host with ``http://``; it is asked over HTTPS. Source: tdx.md 4.4; nvidia.md 8.2, 9.1,
    10.1; sev-snp.md 8; providers.md 7.
    """

    intel_pcs: str = "https://api.trustedservices.intel.com"
    intel_certificates: str = "https://certificates.trustedservices.intel.com"
    nvidia_rim: str = "https://rim.attestation.nvidia.com"
    nvidia_ocsp: str = "https://ocsp.ndis.nvidia.com"
    nvidia_crl: str = "https://crl.ndis.nvidia.com"
    nvidia_nras: str = "https://nras.attestation.nvidia.com"
    amd_kds: str = "https://kdsintf.amd.com"
    tinfoil_releases: str = "https://github-proxy.tinfoil.sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What the user asked for, beyond what every capture fetches.

    ``nras``: send GPU evidence to NVIDIA's attestation service; the user agreed to that (`NOTICE`
    of `bundle.nras`). ``claims``: version of its claims. ``insist``: also send evidence that fails
    a local check of signature or nonce.
    """

    nras: bool = False
    claims: Claims = "2.0"
    insist: bool = False


def collect(
    attestations: Sequence[RecordedExchange],
    *,
    endpoints: Endpoints,
    label: str,
    known: MutableSet[str],
    want: Want,
    random_bytes: RandomBytes = secrets.token_bytes,
    session: str = "s1",
) -> Steps[None]:
    """Ask for vendor material of every piece of evidence in ``attestations``, each item once.

    ``label``: first part of every step's name (``before``). ``known``: keys of what was answered
    in earlier rounds of this capture; added to. An item that got no answer, or one that says "try
    again later", is not added: the next round asks for it again. ``random_bytes``: of OCSP nonces.
    Raises nothing.
    """
    round_ = _Round(
        endpoints=endpoints,
        label=label,
        known=known,
        want=want,
        random_bytes=random_bytes,
        session=session,
    )
    found = [one for recorded in attestations for one in _evidence(recorded)]
    for one in found:
        for role, data in one.cpu:
            if role != "snp.report":
                yield from _intel(round_, data)
    for one in found:
        for role, data in one.cpu:
            if role == "snp.report":
                yield from _amd(round_, data)
    if want.nras:
        for one in found:
            for submission in _submissions(one, want):
                yield from _attest(round_, submission)
    yield from _nvidia(round_, [device for one in found for device in one.devices])


# --- one round -----------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class _Round:
    """One round of asking: what was asked in it, and which services gave up on it.

    ``tired``: base URLs that stayed silent through all patience; further items there get one try,
    and none after `GIVE_UP` silent items in a row (``silent``).
    """

    endpoints: Endpoints
    label: str
    known: MutableSet[str]
    want: Want
    random_bytes: RandomBytes
    session: str
    asked: set[str] = field(default_factory=set)
    tired: set[str] = field(default_factory=set)
    silent: dict[str, int] = field(default_factory=dict)
    kids: set[str] = field(default_factory=set)
    key_sets: int = 0

    def ask(
        self,
        key: str,
        base: str,
        path: str,
        *,
        purpose: str,
        stage: str,
        body: Callable[[], bytes] | None = None,
        media_type: str | None = None,
        credential: str | None = None,
        bounds: Bounds = COLLATERAL,
        after_s: float = 0.0,
        anew: bool = False,
    ) -> Generator[Call, RecordedExchange, RecordedExchange | None]:
        """Ask once for an item; return what came of it, None where it was asked for before.

        ``anew``: whatever earlier rounds got.
        """
        if (key in self.known and not anew) or key in self.asked or len(self.asked) >= MOST:
            return None
        silent = self.silent.get(base, 0)
        if silent >= GIVE_UP:
            return None
        self.asked.add(key)

        def make(_number: int) -> Call:
            return Call(
                step=f"{self.label}.{key}",
                purpose=purpose,
                method="GET" if body is None else "POST",
                url=base.rstrip("/") + path,
                body=None if body is None else body(),
                headers=() if media_type is None else (("Content-Type", media_type),),
                credential=credential,
                bounds=bounds,
                after_s=after_s,
                session=self.session,
                stage=stage,
            )

        patience = NO_PATIENCE if base in self.tired else PATIENT
        _, recorded = yield from patiently(make, patience)
        if recorded.status is not None and recorded.complete and recorded.status not in TRANSIENT:
            self.known.add(key)
            self.silent[base] = 0
        else:
            self.tired.add(base)
            self.silent[base] = silent + 1
        return recorded


# --- what came back ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Device:
    """One GPU or switch as an answer carries it, parsed, nothing verified."""

    evidence: bytes
    chain_text: bytes
    report: Report
    chain: DeviceChain
    family: Family


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """The devices of one report object. ``nonce``: 32 bytes they must carry, None: nobody can tell.

    ``payload``: the container as received, where the answer has one.
    """

    devices: tuple[_Device, ...]
    nonce: bytes | None
    payload: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What one attestation answer holds. ``cpu``: (role, bytes) in document order."""

    cpu: tuple[tuple[str, bytes], ...]
    boxes: tuple[_Box, ...]

    @property
    def devices(self) -> tuple[_Device, ...]:
        return tuple(device for box in self.boxes for device in box.devices)


_CPU_ROLES: Final = frozenset(("tdx.quote", "sgx.quote", "snp.report"))


def _evidence(recorded: RecordedExchange) -> Iterator[_Found]:
    """Read one attestation exchange; nothing where no family reads it."""
    if recorded.purpose != "attestation" or not usable(recorded) or not recorded.response_body:
        return
    try:
        answer = shapes.read_answer(shapes.parse_answer(recorded.response_body), "")
    except (FormatError, Refused):
        return
    source = Body(recorded.response_body)
    cpu: list[tuple[str, bytes]] = []
    for item in answer.items:
        if item.role in _CPU_ROLES and item.source is None:
            data = _derived(source, item.steps)
            if data is not None:
                cpu.append((item.role, data))
    boxes = tuple(_box(source, answer, report) for report in answer.reports if report.devices)
    yield _Found(cpu=tuple(cpu), boxes=boxes)


def _derived(source: Body, steps: tuple[str, ...]) -> bytes | None:
    try:
        return source.derive(steps)
    except FormatError:
        return None


def _box(source: Body, answer: RecognisedAnswer, report: ReportObject) -> _Box:
    devices: list[_Device] = []
    for evidence_item, chain_item in report.devices:
        evidence = _derived(source, evidence_item.steps)
        chain = _derived(source, chain_item.steps)
        device = None if evidence is None or chain is None else _device(evidence, chain)
        if device is not None:
            devices.append(device)
    quote = _derived(source, report.quote.steps)
    return _Box(
        devices=tuple(devices),
        nonce=None if quote is None else _expected_nonce(answer, report, quote),
        payload=None if report.payload is None else _derived(source, report.payload.steps),
    )


def _device(evidence: bytes, chain_text: bytes) -> _Device | None:
    from verify.nvidia.certificates import family_of, parse_chain  # noqa: PLC0415  (heavy imports)
    from verify.nvidia.spdm import parse_report  # noqa: PLC0415

    try:
        report, chain = parse_report(evidence), parse_chain(chain_text)
        family = family_of(chain)
    except (FormatError, Refused):
        return None
    return _Device(
        evidence=evidence, chain_text=chain_text, report=report, chain=chain, family=family
    )


def _expected_nonce(answer: RecognisedAnswer, report: ReportObject, quote: bytes) -> bytes | None:
    """Return what the devices of a report must carry, by its quote. Source: providers.md 3.4."""
    if isinstance(report, TinfoilReport):
        return report.nonce
    span = answer.gpu_nonce_span()
    data = _report_data(quote)
    return None if span is None or data is None else data[span[0] : span[1]]


def _report_data(quote: bytes) -> bytes | None:
    from verify.amd.report import REPORT_SIZE, parse_report  # noqa: PLC0415  (heavy imports)
    from verify.intel.quote import parse_quote  # noqa: PLC0415

    try:
        if len(quote) == REPORT_SIZE:
            return parse_report(quote).report_data
        return parse_quote(quote).body["report_data"]
    except FormatError:
        return None


# --- Intel ---------------------------------------------------------------------------------------


def _intel(round_: _Round, data: bytes) -> Steps[None]:
    """Ask for what one quote needs (tdx.md 5.1)."""
    from verify.intel.quote import Tee, parse_quote  # noqa: PLC0415  (heavy import)

    try:
        quote = parse_quote(data)
    except FormatError:
        return
    tee = "tdx" if quote.tee is Tee.TDX else "sgx"
    platform = platform_of(data)
    if platform is not None:
        yield from _intel_items(round_, tee, platform.fmspc.hex(), platform.ca)
        return
    fetched = yield from _pck_chain(round_, quote)
    if fetched is not None:
        yield from _intel_items(round_, tee, *fetched)


def _intel_items(round_: _Round, tee: str, fmspc: str, ca: str) -> Steps[None]:
    """TCB info, QE identity, revocation lists of the leaf's CA and of the root (tdx.md 4.4)."""
    base = round_.endpoints.intel_pcs
    shown = tee.upper()
    yield from round_.ask(
        f"intel.tcb.{tee}.{fmspc}",
        base,
        f"/{tee}/certification/v4/tcb?fmspc={fmspc}",
        purpose="collateral",
        stage=f"Intel: TCB info for {fmspc} ({shown})",
    )
    yield from round_.ask(
        f"intel.qe.{tee}",
        base,
        f"/{tee}/certification/v4/qe/identity",
        purpose="collateral",
        stage=f"Intel: identity of the quoting enclave ({shown})",
    )
    yield from round_.ask(
        f"intel.pckcrl.{ca}",
        base,
        f"/sgx/certification/v4/pckcrl?ca={ca}&encoding=der",
        purpose="revocation",
        stage=f"Intel: revocation list of the {ca} CA",
    )
    yield from round_.ask(
        "intel.rootcrl",
        round_.endpoints.intel_certificates,
        "/IntelSGXRootCA.der",
        purpose="revocation",
        stage="Intel: revocation list of the root",
    )


def _pck_chain(
    round_: _Round, quote: Quote
) -> Generator[Call, RecordedExchange, tuple[str, str] | None]:
    """Ask for the certificate of a quote that carries none; return FMSPC and CA (tdx.md 5.3).

    The service takes an encrypted PPID alone, so nothing can be asked for type 1.
    """
    size = _ENCRYPTED_PPID.get(quote.cert_type)
    if size is None or len(quote.cert_data) != size + _TRAILER:
        return None
    ppid, trailer = quote.cert_data[:size], quote.cert_data[size:]
    query = (
        f"encrypted_ppid={ppid.hex()}&cpusvn={trailer[:16].hex()}&pcesvn={trailer[16:18].hex()}"
        f"&pceid={trailer[18:].hex()}&qeid={quote.user_data[:16].hex()}"
    )
    recorded = yield from round_.ask(
        f"intel.pckcert.{_short(quote.cert_data)}",
        round_.endpoints.intel_pcs,
        f"/sgx/certification/v4/pckcert?{query}",
        purpose="collateral",
        stage="Intel: certificate of a quote that carries none",
    )
    if recorded is None or not usable(recorded):
        return None
    fmspc = (header(recorded, "sgx-fmspc") or "").strip()
    ca = (header(recorded, "sgx-pck-certificate-ca-type") or "").strip().lower()
    if _FMSPC.fullmatch(fmspc) is None or ca not in ("platform", "processor"):
        return None
    return fmspc.lower(), ca


def _short(data: bytes) -> str:
    """Return a name for bytes inside step names."""
    return sha256(data).hexdigest()[:16]


# --- AMD -----------------------------------------------------------------------------------------


def _amd(round_: _Round, data: bytes) -> Steps[None]:
    """Ask for certificate, chain and revocation list of one report (sev-snp.md 8)."""
    from verify.amd.report import parse_report  # noqa: PLC0415  (heavy import)

    try:
        report = parse_report(data)
    except FormatError:
        return
    product = yield from _chip(round_, report)
    if product is None:
        return
    kind, name = report.signing_key.value, product.value
    base = round_.endpoints.amd_kds
    yield from round_.ask(
        f"amd.chain.{kind}.{name}",
        base,
        f"/{kind}/v1/{name}/cert_chain",
        purpose="collateral",
        stage=f"AMD: certificate chain of {name}",
    )
    yield from round_.ask(
        f"amd.crl.{kind}.{name}",
        base,
        f"/{kind}/v1/{name}/crl",
        purpose="revocation",
        stage=f"AMD: revocation list of {name}",
    )


def _chip(round_: _Round, report: SnpReport) -> Generator[Call, RecordedExchange, Product | None]:
    """Ask for the chip's certificate, where there is one to ask for; return the product line.

    A VLEK comes from the guest alone, and a masked chip id names no chip. Where the report does not
    say its product line, the service knows which one the chip belongs to.
    """
    from verify.amd.report import SigningKey  # noqa: PLC0415  (heavy import)

    lines = _products(report)
    if report.signing_key is not SigningKey.VCEK or report.chip_masked:
        return lines[0] if len(lines) == 1 else None
    for line in lines:
        marker = f"amd.line.{line.value}.{_short(report.chip_id)}"
        recorded = yield from _chip_certificate(round_, report, line)
        if recorded is not None and usable(recorded):
            round_.known.add(marker)
        if len(lines) == 1 or marker in round_.known:
            return line
    return None


def _products(report: SnpReport) -> tuple[Product, ...]:
    """Return the product lines a report may come from, likeliest first (sev-snp.md 3).

    A report of version 2 does not say; eight significant bytes of chip id mark Turin.
    """
    from verify.amd.report import Product, product_of  # noqa: PLC0415  (heavy import)

    if report.cpuid is not None:
        found = product_of(report.cpuid)
        return () if found is None else (found,)
    if any(report.chip_id[:8]) and not any(report.chip_id[8:]):
        return (Product.TURIN,)
    return (Product.MILAN, Product.GENOA)


def _chip_certificate(
    round_: _Round, report: SnpReport, product: Product
) -> Generator[Call, RecordedExchange, RecordedExchange | None]:
    """Ask for the certificate of a chip at its reported TCB."""
    from verify.amd.report import Product as Line  # noqa: PLC0415  (heavy import)

    chip = report.chip_id[:8] if product is Line.TURIN else report.chip_id
    levels = report.reported_tcb.read(product).levels
    query = "&".join(f"{spl}={levels[name]}" for name, spl in _SPLS.items() if name in levels)
    name = product.value
    return (
        yield from round_.ask(
            f"amd.vcek.{name}.{_short(chip + report.reported_tcb.raw)}",
            round_.endpoints.amd_kds,
            f"/vcek/v1/{name}/{chip.hex()}?{query}",
            purpose="collateral",
            stage=f"AMD: certificate of the chip ({name})",
        )
    )


# --- NVIDIA's attestation service ----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Submission:
    """One request to the service. ``version``: of the interface (``v3``)."""

    body: bytes
    version: str
    kind: str
    count: int


def _stands(device: _Device, nonce: bytes | None) -> bool:
    """Whether chain, report signature and nonce hold, apart from anchors and time."""
    from verify.nvidia import certificates as own  # noqa: PLC0415  (heavy import)

    if nonce is None or device.report.requester_nonce != nonce:
        return False
    try:
        own.judge_order(device.chain)
        own.judge_links(device.chain)
        own.judge_report_signature(device.report, device.chain)
    except (FormatError, Refused):
        return False
    return True


def _submissions(found: _Found, want: Want) -> Iterator[_Submission]:
    """Return the requests for one answer: one for each box, architecture and nonce."""
    for box in found.boxes:
        groups: dict[tuple[str, bytes], list[_Device]] = {}
        for device in box.devices:
            if want.insist or _stands(device, box.nonce):
                key = (device.family.architecture.value, device.report.requester_nonce)
                groups.setdefault(key, []).append(device)
        for (arch, nonce), devices in groups.items():
            received = _as_received(box, arch, nonce, devices, want)
            body, claims = received or (_request(arch, nonce, devices, want), want.claims)
            yield _Submission(
                body=body,
                version="v4" if claims == "3.0" else "v3",
                kind="switch" if devices[0].family.is_switch else "gpu",
                count=len(devices),
            )


def _as_received(
    box: _Box, arch: str, nonce: bytes, devices: Sequence[_Device], want: Want
) -> tuple[bytes, str] | None:
    """Return the container as received and its claims version, where it is a fit request.

    It must be an object that names this nonce and architecture and lists these devices alone.
    Source: providers.md 3.4; nvidia.md 10.2.
    """
    from verify.nvidia.payload import parse_payload  # noqa: PLC0415  (heavy import)

    if box.payload is None or not box.payload.lstrip(b" \t\r\n").startswith(b"{"):
        return None
    try:
        payload = parse_payload(box.payload)
    except FormatError:
        return None
    claims = payload.claims_version or "2.0"
    fits = (
        (payload.nonce or "").lower() == nonce.hex()
        and payload.arch == arch
        and claims in ("2.0", "3.0")
        and (payload.claims_version is not None or want.claims == claims)
        and [(entry.evidence, entry.chain) for entry in payload.entries]
        == [(device.evidence, device.chain_text) for device in devices]
    )
    return (box.payload, claims) if fits else None


def _request(arch: str, nonce: bytes, devices: Sequence[_Device], want: Want) -> bytes:
    """Return a request for one group (nvidia.md 10.2)."""
    return json.dumps(
        {
            "nonce": nonce.hex(),
            "arch": arch,
            "claims_version": want.claims,
            "evidence_list": [
                {
                    "evidence": base64.b64encode(device.evidence).decode("ascii"),
                    "certificate": base64.b64encode(device.chain_text).decode("ascii"),
                }
                for device in devices
            ],
        }
    ).encode()


def _attest(round_: _Round, submission: _Submission) -> Steps[None]:
    """Submit one group, then fetch the keys that signed the answer (nvidia.md 10.5)."""
    recorded = yield from round_.ask(
        f"nras.{_short(submission.body)}",
        round_.endpoints.nvidia_nras,
        f"/{submission.version}/attest/{submission.kind}",
        purpose="nras",
        stage=f"NVIDIA: attestation service, {submission.count} device(s)",
        body=lambda: submission.body,
        media_type="application/json",
        credential="nras",
        bounds=SERVICE,
    )
    if recorded is None or not usable(recorded):
        return
    needed = _key_ids(recorded.response_body or b"")
    for attempt in range(KEY_SET_TRIES):
        if needed <= round_.kids:
            return
        round_.key_sets += 1
        key_set = yield from round_.ask(
            f"nras.jwks.{round_.key_sets}",
            round_.endpoints.nvidia_nras,
            "/.well-known/jwks.json",
            purpose="jwks",
            stage="NVIDIA: keys of the attestation service",
            bounds=SERVICE,
            after_s=KEY_SET_DELAY_S if attempt else 0.0,
            anew=True,
        )
        if key_set is None or not usable(key_set):
            return
        round_.kids |= _published(key_set.response_body or b"")


def _key_ids(body: bytes) -> frozenset[str]:
    """Return the key ids of an answer's tokens; empty where it is none."""
    from verify.nvidia.nras import parse_answer  # noqa: PLC0415  (heavy import)

    try:
        return frozenset(token.kid for token in parse_answer(body).tokens)
    except FormatError:
        return frozenset()


def _published(body: bytes) -> frozenset[str]:
    from verify.nvidia.nras import parse_key_set  # noqa: PLC0415  (heavy import)

    try:
        return frozenset(key.kid for key in parse_key_set(body).keys)
    except FormatError:
        return frozenset()


# --- NVIDIA manifests and revocation -------------------------------------------------------------


def _nvidia(round_: _Round, devices: Sequence[_Device]) -> Steps[None]:
    """Ask for manifests, then for the standing of every certificate that can be asked about.

    Device chains from position 1 on (the leaf is not served), manifest chains from position 0 on,
    both without the root. Source: nvidia.md 8.1, 8.2, 9.1, 9.2.
    """
    from verify.nvidia.rim import wanted_ids  # noqa: PLC0415  (heavy import)

    pairs: list[tuple[Certificate, Certificate]] = []
    for device in devices:
        pairs.extend(pairwise(device.chain.certificates[1:]))
    for device in devices:
        for rim_id in wanted_ids(device.report, device.family).values():
            if rim_id is None or _RIM_ID.fullmatch(rim_id) is None:
                continue
            recorded = yield from round_.ask(
                f"nvidia.rim.{rim_id}",
                round_.endpoints.nvidia_rim,
                f"/v1/rim/{rim_id}",
                purpose="rim",
                stage=f"NVIDIA: manifest {rim_id}",
            )
            if recorded is not None and usable(recorded):
                pairs.extend(_signers(recorded.response_body or b""))
    for child, issuer in pairs:
        yield from _standing(round_, child, issuer)
    for child, _ in pairs:
        for path in _list_paths(child):
            yield from round_.ask(
                f"nvidia.crl{path.replace('/', '.')}",
                round_.endpoints.nvidia_crl,
                path,
                purpose="revocation",
                stage=f"NVIDIA: revocation list {path.rpartition('/')[2]}",
            )


def _signers(body: bytes) -> tuple[tuple[Certificate, Certificate], ...]:
    """Return each certificate of a manifest with its issuer; none where one is unreadable."""
    from verify.nvidia.rim import parse_rim  # noqa: PLC0415  (heavy import)

    try:
        listed = parse_rim(body).certificates
    except FormatError:
        return ()
    chain = [certificate for certificate in listed if certificate is not None]
    return tuple(pairwise(chain)) if len(chain) == len(listed) else ()


def _standing(round_: _Round, child: Certificate, issuer: Certificate) -> Steps[None]:
    """Ask the responder about one certificate, with a fresh nonce for every try."""
    if child.issuer != issuer.subject or _ocsp_request(child, issuer, bytes(OCSP_NONCE)) is None:
        return
    yield from round_.ask(
        f"nvidia.ocsp.{child.sha256.hex()[:16]}",
        round_.endpoints.nvidia_ocsp,
        "/",
        purpose="revocation",
        stage=f"NVIDIA: standing of {escaped((child.common_names or ('a certificate',))[0], 80)}",
        body=lambda: _ocsp_request(child, issuer, round_.random_bytes(OCSP_NONCE)) or b"",
        media_type="application/ocsp-request",
    )


def _ocsp_request(child: Certificate, issuer: Certificate, nonce: bytes) -> bytes | None:
    """Return a request with a CertID of SHA-384, as the vendor's own client writes it.

    None for a certificate that the library cannot put into one. Source: RFC 6960 4.1; nvidia.md
    9.1.
    """
    from cryptography import x509  # noqa: PLC0415  (heavy import)
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.x509 import ocsp  # noqa: PLC0415

    from verify.crypto.x509 import sealed  # noqa: PLC0415

    def write(value: bytes) -> bytes:
        builder = (
            ocsp.OCSPRequestBuilder()
            .add_certificate(child.native, issuer.native, hashes.SHA384())
            .add_extension(x509.OCSPNonce(value), critical=False)
        )
        return builder.build().public_bytes(serialization.Encoding.DER)

    try:
        return sealed(write, nonce, "not a certificate one can ask about")
    except FormatError:
        return None


def _list_paths(certificate: Certificate) -> tuple[str, ...]:
    """Return the paths of a certificate's revocation lists; their host is ours to choose."""
    from cryptography import x509  # noqa: PLC0415  (heavy import)

    from verify.crypto.x509 import OID_CRL_DISTRIBUTION_POINTS, sealed  # noqa: PLC0415

    if OID_CRL_DISTRIBUTION_POINTS not in certificate.extensions:
        return ()

    def read(_der: bytes) -> tuple[str, ...]:
        points = certificate.native.extensions.get_extension_for_class(x509.CRLDistributionPoints)
        return tuple(
            name.value
            for point in points.value
            for name in point.full_name or ()
            if isinstance(name, x509.UniformResourceIdentifier)
        )

    try:
        named = sealed(read, b"", "no distribution points")
        paths = tuple(urlsplit(url).path for url in named)
    except (FormatError, ValueError):
        return ()
    return tuple(path for path in paths if _LIST_PATH.fullmatch(path) is not None)
