"""Rows 19 to 29 and 54: Intel quotes, their collateral, TCB, attributes, firmware log.

Every check judges all quotes. Collateral is chosen by content (tdx.md 7.A): what authenticates and
speaks of the quote's TEE and platform family. Where a ``collateral-for`` binding names the items of
a quote, only those are its candidates.

Source: verification.md 3 (rows 19 to 29, 54), tdx.md 7, 8, 9, 15, 17.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from verify.checks.inputs import Inputs
from verify.checks.intel_evidence import (
    QUOTE_ROLES,
    Gathered,
    Recorded,
    bodies_of,
    gather,
    named_for,
    recorded_pck_chain,
)
from verify.crypto.x509 import Certificate, RevocationList, split_pem
from verify.engine.asof import AsOfInstant
from verify.engine.check import Facts
from verify.engine.errors import FormatError, InternalFault, Refused
from verify.engine.later import later
from verify.engine.outcome import Affirmed, Outcome, Pointer
from verify.engine.reason import Reason
from verify.engine.tally import Tally
from verify.engine.value import value
from verify.intel.appraisal import (
    SignedQeIdentity,
    SignedTcbInfo,
    claimed_fmspc,
    newest,
    try_crls,
    verified_qe_identity,
    verified_tcb_info,
)
from verify.intel.collateral import (
    QeIdentity,
    TcbInfo,
    qe_identity_body,
    read_qe_identity,
    read_tcb_info,
    tcb_info_body,
)
from verify.intel.dcap import (
    PCK_CRL,
    ROOT_CRL,
    PckChain,
    attribute_findings,
    evaluate_tcb,
    judge_currency,
    judge_pck_chain,
    judge_pck_standing,
    judge_qe,
    judge_qe_report_signature,
    judge_quote_signature,
    judge_root,
    judge_root_standing,
    judge_tee,
    pck_chain_text,
    read_pck_extension,
)
from verify.intel.pck import SgxExtension
from verify.intel.quote import Body, Quote, ReportType, Tee, parse_quote
from verify.intel.tcb import ComponentLevel, TcbResult, TcbStatus
from verify.policy.model import Fit, TdxRules, fit, wanted
from verify.trust.anchor import Kind, Purpose
from verify.wire.model import Artifact, ArtifactUnavailable, Evidence

if TYPE_CHECKING:
    from verify.intel import ccel
    from verify.intel import second_engine as engine
else:
    ccel = later("verify.intel.ccel")
    engine = later("verify.intel.second_engine")

S = TypeVar("S", SignedTcbInfo, SignedQeIdentity)

Window = tuple[datetime, datetime | None]

# --- reasons --------------------------------------------------------------------------------------

_ABSENT_BYTES: Final = frozenset(
    {
        Reason.ARTIFACT_EXTERNAL_UNAVAILABLE,
        Reason.ARTIFACT_MISSING,
        Reason.ARTIFACT_WITHHELD,
    }
)
_COLLATERAL: Final = _ABSENT_BYTES | {Reason.TDX_COLLATERAL_MISSING, Reason.TDX_INPUT_TOO_LARGE}

QUOTE_FORMAT_REASONS: Final = _ABSENT_BYTES | {
    Reason.EVIDENCE_ABSENT,
    Reason.TDX_INPUT_TOO_LARGE,
    Reason.TDX_QUOTE_AUTH_DATA_MALFORMED,
    Reason.TDX_QUOTE_BODY_SIZE_MISMATCH,
    Reason.TDX_QUOTE_BODY_TYPE_UNSUPPORTED,
    Reason.TDX_QUOTE_CERT_TYPE_UNSUPPORTED,
    Reason.TDX_QUOTE_KEY_TYPE_UNSUPPORTED,
    Reason.TDX_QUOTE_TEE_TYPE_UNSUPPORTED,
    Reason.TDX_QUOTE_TRUNCATED,
    Reason.TDX_QUOTE_VENDOR_UNKNOWN,
    Reason.TDX_QUOTE_VERSION_UNSUPPORTED,
}
ROOT_CRL_REASONS: Final = _COLLATERAL | {
    Reason.TDX_ROOT_CERT_EXPIRED,
    Reason.TDX_ROOT_CERT_ISSUER_MISMATCH,
    Reason.TDX_ROOT_CERT_NAME,
    Reason.TDX_ROOT_CERT_NOT_YET_VALID,
    Reason.TDX_ROOT_CERT_PROFILE,
    Reason.TDX_ROOT_CERT_REVOKED,
    Reason.TDX_ROOT_CERT_SIGNATURE_INVALID,
    Reason.TDX_ROOT_CHAIN_MALFORMED,
    Reason.TDX_ROOT_CRL_EXPIRED,
    Reason.TDX_ROOT_CRL_ISSUER_MISMATCH,
    Reason.TDX_ROOT_CRL_MALFORMED,
    Reason.TDX_ROOT_CRL_NOT_YET_VALID,
    Reason.TDX_ROOT_CRL_PROFILE,
    Reason.TDX_ROOT_CRL_SIGNATURE_INVALID,
}
TCB_INFO_REASONS: Final = _COLLATERAL | {
    Reason.TDX_TCB_INFO_CERT_EXPIRED,
    Reason.TDX_TCB_INFO_CERT_ISSUER_MISMATCH,
    Reason.TDX_TCB_INFO_CERT_NAME,
    Reason.TDX_TCB_INFO_CERT_NOT_YET_VALID,
    Reason.TDX_TCB_INFO_CERT_PROFILE,
    Reason.TDX_TCB_INFO_CERT_REVOKED,
    Reason.TDX_TCB_INFO_CERT_SIGNATURE_INVALID,
    Reason.TDX_TCB_INFO_CHAIN_MALFORMED,
    Reason.TDX_TCB_INFO_CHAIN_SHAPE,
    Reason.TDX_TCB_INFO_EXPIRED,
    Reason.TDX_TCB_INFO_MALFORMED,
    Reason.TDX_TCB_INFO_NOT_YET_VALID,
    Reason.TDX_TCB_INFO_ROOT_MISMATCH,
    Reason.TDX_TCB_INFO_SIGNATURE_INVALID,
    Reason.TDX_TCB_INFO_STATUS_UNKNOWN,
    Reason.TDX_TCB_INFO_TYPE_MISMATCH,
}
QE_IDENTITY_REASONS: Final = _COLLATERAL | {
    Reason.TDX_QE_IDENTITY_CERT_EXPIRED,
    Reason.TDX_QE_IDENTITY_CERT_ISSUER_MISMATCH,
    Reason.TDX_QE_IDENTITY_CERT_NAME,
    Reason.TDX_QE_IDENTITY_CERT_NOT_YET_VALID,
    Reason.TDX_QE_IDENTITY_CERT_PROFILE,
    Reason.TDX_QE_IDENTITY_CERT_REVOKED,
    Reason.TDX_QE_IDENTITY_CERT_SIGNATURE_INVALID,
    Reason.TDX_QE_IDENTITY_CHAIN_MALFORMED,
    Reason.TDX_QE_IDENTITY_CHAIN_SHAPE,
    Reason.TDX_QE_IDENTITY_EXPIRED,
    Reason.TDX_QE_IDENTITY_MALFORMED,
    Reason.TDX_QE_IDENTITY_NOT_YET_VALID,
    Reason.TDX_QE_IDENTITY_ROOT_MISMATCH,
    Reason.TDX_QE_IDENTITY_SIGNATURE_INVALID,
    Reason.TDX_QE_IDENTITY_STATUS_UNKNOWN,
    Reason.TDX_QE_IDENTITY_TYPE_MISMATCH,
}
PCK_CHAIN_REASONS: Final = _ABSENT_BYTES | {
    Reason.TDX_INPUT_TOO_LARGE,
    Reason.TDX_PCK_CERT_EXPIRED,
    Reason.TDX_PCK_CERT_ISSUER_MISMATCH,
    Reason.TDX_PCK_CERT_NAME,
    Reason.TDX_PCK_CERT_NOT_YET_VALID,
    Reason.TDX_PCK_CERT_PROFILE,
    Reason.TDX_PCK_CERT_SIGNATURE_INVALID,
    Reason.TDX_PCK_CHAIN_MALFORMED,
    Reason.TDX_PCK_CHAIN_SHAPE,
    Reason.TDX_PCK_EXTENSION_MALFORMED,
    Reason.TDX_PCK_ROOT_MISMATCH,
    Reason.TDX_QUOTE_CERT_TYPE_UNSUPPORTED,
}
PCK_REVOCATION_REASONS: Final = _COLLATERAL | {
    Reason.TDX_PCK_CA_REVOKED,
    Reason.TDX_PCK_CERT_REVOKED,
    Reason.TDX_PCK_CRL_EXPIRED,
    Reason.TDX_PCK_CRL_ISSUER_MISMATCH,
    Reason.TDX_PCK_CRL_MALFORMED,
    Reason.TDX_PCK_CRL_NOT_YET_VALID,
    Reason.TDX_PCK_CRL_PROFILE,
    Reason.TDX_PCK_CRL_SIGNATURE_INVALID,
}
QE_REPORT_REASONS: Final = frozenset(
    {
        Reason.TDX_QE_REPORT_ATTRIBUTES_MISMATCH,
        Reason.TDX_QE_REPORT_DEBUG,
        Reason.TDX_QE_REPORT_KEY_BINDING_MISMATCH,
        Reason.TDX_QE_REPORT_MISCSELECT_MISMATCH,
        Reason.TDX_QE_REPORT_MRSIGNER_MISMATCH,
        Reason.TDX_QE_REPORT_PRODID_MISMATCH,
        Reason.TDX_QE_REPORT_SIGNATURE_INVALID,
        Reason.TDX_QE_REPORT_SVN_UNSUPPORTED,
    }
)
QUOTE_SIGNATURE_REASONS: Final = frozenset(
    {Reason.TDX_QUOTE_ATTESTATION_KEY_INVALID, Reason.TDX_QUOTE_SIGNATURE_INVALID}
)
TCB_REASONS: Final = frozenset(
    {
        Reason.TDX_POLICY_ADVISORY_REJECTED,
        Reason.TDX_POLICY_PLATFORM_FLAG_REJECTED,
        Reason.TDX_POLICY_TCB_EVALUATION_NUMBER_TOO_LOW,
        Reason.TDX_POLICY_TCB_STATUS_NOT_ACCEPTED,
        Reason.TDX_POLICY_TCB_TOO_OLD,
        Reason.TDX_TCB_INFO_FMSPC_MISMATCH,
        Reason.TDX_TCB_INFO_PCEID_MISMATCH,
        Reason.TDX_TCB_MODULE_ATTRIBUTES_MISMATCH,
        Reason.TDX_TCB_MODULE_IDENTITY_MISSING,
        Reason.TDX_TCB_MODULE_SIGNER_MISMATCH,
        Reason.TDX_TCB_MODULE_SVN_UNSUPPORTED,
        Reason.TDX_TCB_NO_MATCHING_LEVEL,
        Reason.TDX_TCB_REVOKED,
    }
)
ATTRIBUTES_REASONS: Final = frozenset(
    {
        Reason.REFERENCE_MISSING,
        Reason.TDX_POLICY_SERVICE_TD_BOUND,
        Reason.TDX_POLICY_SGX_DEBUG,
        Reason.TDX_POLICY_TD_ATTRIBUTES_REJECTED,
        Reason.TDX_POLICY_TD_DEBUG,
        Reason.TDX_POLICY_TD_MIGRATABLE,
        Reason.TDX_POLICY_TD_PROFILING,
        Reason.TDX_POLICY_TD_RESERVED_BITS,
        Reason.TDX_POLICY_TD_SEPT_VE_DISABLE_CLEAR,
        Reason.TDX_POLICY_TD_SERVTD_EXT,
        Reason.TDX_POLICY_XFAM_REJECTED,
    }
)
SECOND_ENGINE_REASONS: Final = frozenset(
    {
        Reason.TDX_COLLATERAL_MISSING,
        Reason.TDX_ENGINE_DISAGREEMENT,
        Reason.TDX_ENGINE_UNAVAILABLE,
    }
)
CCEL_REPLAY_REASONS: Final = _ABSENT_BYTES | {
    Reason.BINDING_UNDECLARED,
    Reason.EVIDENCE_ABSENT,
    Reason.TDX_CCEL_MALFORMED,
    Reason.TDX_CCEL_RTMR_MISMATCH,
    Reason.TDX_INPUT_TOO_LARGE,
}

# --- facts ----------------------------------------------------------------------------------------


@value
class QuoteSet:
    """Fact of ``tdx.quote.format``: parsed quotes by artifact id; nothing in them is verified."""

    quotes: Mapping[str, Quote]


@value(eq=False)
class TrustedRoot:
    """An anchor that is good at as_of, with its own revocation list of then."""

    certificate: Certificate
    crl: RevocationList
    crl_artifact: str
    crl_body: bytes


@value(eq=False)
class TrustedRoots:
    """Fact of ``tdx.root_crl``: at least one."""

    roots: tuple[TrustedRoot, ...]

    def windows(self) -> tuple[Window, ...]:
        """Return the validity of every certificate and list used."""
        return tuple(
            window
            for root in self.roots
            for window in (
                (root.certificate.not_before, root.certificate.not_after),
                (root.crl.this_update, root.crl.next_update),
            )
        )

    def for_chain(self, text: bytes) -> TrustedRoot:
        """Return the root a chain claims to end in, else the first: the shape is judged later."""
        try:
            last = split_pem(text)[-1]
        except FormatError:
            return self.roots[0]
        return next((root for root in self.roots if root.certificate.der == last), self.roots[0])


@value(eq=False)
class Chosen(Generic[S]):
    """A verified item and the recorded answer it came from."""

    recorded: Recorded
    signed: S


@value(eq=False)
class TcbInfos:
    """Fact of ``tdx.tcb_info``: the verified, current TCB info for each readable quote."""

    for_quote: Mapping[str, Chosen[SignedTcbInfo]]

    def windows(self) -> tuple[Window, ...]:
        """Return the validity of every item and signer used."""
        return _windows((c.signed.info, c.signed.signer) for c in self.for_quote.values())


@value(eq=False)
class QeIdentities:
    """Fact of ``tdx.qe_identity``: the verified, current QE identity for each readable quote."""

    for_quote: Mapping[str, Chosen[SignedQeIdentity]]

    def windows(self) -> tuple[Window, ...]:
        """Return the validity of every item and signer used."""
        return _windows((c.signed.identity, c.signed.signer) for c in self.for_quote.values())


@value(eq=False)
class Platform:
    """A verified PCK chain and what its leaf says. ``recorded``: its text, not from the quote."""

    chain: PckChain
    pck: SgxExtension
    recorded: bytes | None


@value(eq=False)
class Platforms:
    """Fact of ``tdx.pck.chain``: by quote; revocation is judged apart."""

    for_quote: Mapping[str, Platform]

    def windows(self) -> tuple[Window, ...]:
        """Return the validity of every certificate used."""
        return tuple(
            (certificate.not_before, certificate.not_after)
            for platform in self.for_quote.values()
            for certificate in (platform.chain.leaf, platform.chain.authority)
        )


@value(eq=False)
class PckStandings:
    """Fact of ``tdx.pck.revocation``: by quote, the list that leaves its leaf standing."""

    for_quote: Mapping[str, RevocationList]

    def windows(self) -> tuple[Window, ...]:
        """Return the validity of every list used."""
        return tuple((crl.this_update, crl.next_update) for crl in self.for_quote.values())


@value(eq=False)
class QeLevels:
    """Fact of ``tdx.qe_report``: by quote, the level of its quoting enclave."""

    for_quote: Mapping[str, ComponentLevel]


@value(eq=False)
class VerifiedQuote:
    """A quote whose body is a fact: E1, E2 and S2 hold under a chain to the anchor.

    ``pck.ppid`` is a stable identifier of the machine. Patch level and attributes: later checks.
    """

    artifact: str
    quote: Quote
    chain: PckChain
    pck: SgxExtension
    qe_level: ComponentLevel

    @property
    def body(self) -> Body:
        """TD report or SGX report."""
        return self.quote.body

    @property
    def tee(self) -> Tee:
        """Which technology."""
        return self.quote.tee

    @property
    def report_data(self) -> bytes:
        """The 64 bytes the guest chose."""
        return self.quote.body["report_data"]

    def pointer(self, name: str) -> Pointer:
        """Point at a field of the body."""
        start, stop = self.quote.span(name)
        return Pointer.artifact(self.artifact, start=start, stop=stop)


@value(eq=False)
class VerifiedQuotes:
    """Fact of ``tdx.quote.signature``: by artifact id."""

    quotes: Mapping[str, VerifiedQuote]


@value(eq=False)
class TcbResults:
    """Fact of ``tdx.tcb``: by artifact id; every status is one the policy accepts."""

    results: Mapping[str, TcbResult]


def _windows(
    items: Iterable[tuple[TcbInfo | QeIdentity, Certificate]],
) -> tuple[Window, ...]:
    return tuple(
        window
        for item, signer in items
        for window in (
            (item.issue_date, item.next_update),
            (signer.not_before, signer.not_after),
        )
    )


# --- shared ---------------------------------------------------------------------------------------


def _rules(inputs: Inputs) -> TdxRules:
    if inputs.policy.tdx is None:
        message = "a policy that does not exclude tdx has a section tdx"
        raise InternalFault(message)
    return inputs.policy.tdx


def _record(tally: Tally, fault: FormatError | Refused, document: str, otherwise: Reason) -> None:
    if isinstance(fault, Refused):
        tally.refuse(fault, document)
    else:
        tally.malformed(fault, document, otherwise)


def _gap(tally: Tally, absent: ArtifactUnavailable) -> None:
    tally.find(
        absent.reason,
        absent.pointer,
        what=absent.artifact.id,
        got=absent.state.value,
        expected="bytes",
    )


_STATEMENT_LIST: Final = Pointer(document="statement", path="/predicate/artifacts")


def _missing(tally: Tally, what: str, quote_id: str) -> None:
    tally.find(
        Reason.TDX_COLLATERAL_MISSING,
        _STATEMENT_LIST,
        what=f"no {what} is recorded for {quote_id}",
        expected=what,
    )


def _quotes(evidence: Evidence) -> dict[str, Quote]:
    """Parse what can be parsed: only to know which collateral to look for."""
    found: dict[str, Quote] = {}
    for artifact, body in bodies_of(evidence, *QUOTE_ROLES)[0]:
        try:
            found[artifact.id] = parse_quote(body)
        except FormatError:
            continue
    return found


def _recorded_chain(evidence: Evidence, quote_id: str) -> bytes | None:
    try:
        return recorded_pck_chain(evidence, quote_id)
    except ArtifactUnavailable:
        return None


# --- row 19 ---------------------------------------------------------------------------------------


def quote_format(inputs: Inputs, facts: Facts) -> Outcome[QuoteSet]:
    """Row 19: every quote parses completely and is of a report type the policy accepts."""
    evidence = facts.get("blobs.derived", Evidence)
    accepted = _rules(inputs).accept_report_types
    tally = Tally()
    quotes: dict[str, Quote] = {}
    artifacts = evidence.statement.of_role(*QUOTE_ROLES)
    if not artifacts:
        tally.find(Reason.EVIDENCE_ABSENT, _STATEMENT_LIST, what="the bundle lists no quote")
    for artifact in artifacts:
        document = evidence.document(artifact.id)
        try:
            quote = parse_quote(evidence.body(artifact.id))
        except ArtifactUnavailable as absent:
            _gap(tally, absent)
            continue
        except FormatError as error:
            tally.malformed(error, document, Reason.TDX_QUOTE_TRUNCATED)
            continue
        wanted_tee = Tee.TDX if artifact.role == "tdx.quote" else Tee.SGX
        if quote.tee is not wanted_tee:
            tally.find(
                Reason.TDX_QUOTE_TEE_TYPE_UNSUPPORTED,
                Pointer(document=document, start=4, stop=8),
                what=f"{artifact.id} is listed as {artifact.role}",
                got=quote.tee.value,
                expected=wanted_tee.value,
            )
        if quote.report_type.value not in accepted:
            start, stop = quote.spans["body"]
            tally.find(
                Reason.TDX_QUOTE_BODY_TYPE_UNSUPPORTED,
                Pointer(document=document, start=start, stop=stop),
                what="the policy does not accept this report type",
                got=quote.report_type.value,
                expected=" or ".join(accepted),
            )
        quotes[artifact.id] = quote
        tally.match(artifact.id)
    return tally.outcome(QuoteSet(quotes=quotes))


# --- row 20 ---------------------------------------------------------------------------------------


def _embedded_roots(evidence: Evidence) -> set[bytes]:
    """DER of the last certificate of every PCK chain: says which anchor to speak of, no more."""
    found: set[bytes] = set()
    for quote_id, quote in _quotes(evidence).items():
        try:
            text = pck_chain_text(quote, _recorded_chain(evidence, quote_id))
            found.add(split_pem(text)[-1])
        except (FormatError, Refused):
            continue
    return found


def root_crl(inputs: Inputs, facts: Facts) -> Outcome[TrustedRoots]:
    """Row 20: an anchor of the trust store is good at as_of, and so is its revocation list."""
    evidence = facts.get("blobs.derived", Evidence)
    at = facts.get("time.as_of", AsOfInstant).instant
    tally = Tally()
    anchors = [
        anchor
        for anchor in inputs.trust.anchors(
            Purpose.INTEL_SGX_ROOT, at=at, accept_added=inputs.policy.trust.accept_added
        )
        if anchor.kind is Kind.X509 and anchor.data is not None
    ]
    lists, absent = bodies_of(evidence, "intel.root-crl")
    roots: list[TrustedRoot] = []
    faults: list[tuple[bytes, FormatError | Refused, str]] = []
    for anchor in anchors:
        der = anchor.data or b""
        document = "trust"
        try:
            certificate = judge_root(der, at)
            if not lists:
                continue
            index, crl = try_crls([body for _, body in lists], certificate, at, ROOT_CRL)
            document = evidence.document(lists[index][0].id)
            if not isinstance(crl, RevocationList):
                faults.append((der, crl, document))
                continue
            judge_root_standing(certificate, crl)
        except (FormatError, Refused) as error:
            faults.append((der, error, document))
            continue
        roots.append(
            TrustedRoot(
                certificate=certificate,
                crl=crl,
                crl_artifact=lists[index][0].id,
                crl_body=lists[index][1],
            )
        )
        tally.match(anchor.name)
    if roots:
        return tally.outcome(TrustedRoots(roots=tuple(roots)))
    if not anchors:
        tally.find(
            Reason.TDX_ROOT_CERT_REVOKED,
            Pointer(document="trust"),
            what="no anchor of purpose intel-sgx-root counts at this instant",
        )
    embedded = _embedded_roots(evidence) if len(faults) > 1 else set()
    spoken_of = [fault for fault in faults if fault[0] in embedded] or faults[:1]
    for _, spoken, document in spoken_of:
        _record(tally, spoken, document, Reason.TDX_ROOT_CRL_MALFORMED)
    if not lists:
        for gap in absent:
            _gap(tally, gap)
        if not absent:
            _missing(tally, "root CRL", "the quotes")
    return tally.outcome(TrustedRoots(roots=()))


# --- rows 21 and 22 -------------------------------------------------------------------------------


@value(eq=False)
class _Kind(Generic[S]):
    """How to judge one kind of signed collateral."""

    what: str
    body_role: str
    chain_role: str
    verify: Callable[[Recorded, TrustedRoot, datetime], S]
    item: Callable[[S], TcbInfo | QeIdentity]
    claim: Callable[[bytes], TcbInfo | QeIdentity]
    malformed: Reason


@value(eq=False)
class _Tried(Generic[S]):
    recorded: Recorded
    signed: S | None
    fault: FormatError | Refused | None


def _fits(item: TcbInfo | QeIdentity, quote: Quote, fmspc: bytes | None) -> bool:
    if item.tee is not quote.tee:
        return False
    return not isinstance(item, TcbInfo) or fmspc is None or item.fmspc == fmspc


def _claims(kind: _Kind[S], recorded: Recorded, quote: Quote, fmspc: bytes | None) -> bool:
    """Whether a body that failed says it is about this quote; believed for choosing only."""
    try:
        return _fits(kind.claim(recorded.answer.body), quote, fmspc)
    except FormatError:
        return False


def _choose(
    kind: _Kind[S],
    pool: Sequence[_Tried[S]],
    quote: Quote,
    *,
    fmspc: bytes | None,
    declared: bool,
    others: frozenset[Tee],
    at: datetime,
) -> Chosen[S] | list[tuple[Recorded, FormatError | Refused]]:
    """Rule A for one quote: the item, or the failures to report (none: nothing is recorded)."""
    good = [(t.recorded, t.signed) for t in pool if t.signed is not None]
    fitting = [(r, s) for r, s in good if _fits(kind.item(s), quote, fmspc)]
    if not fitting and declared:
        # Handed over for this very quote: another platform family is judged, not passed over.
        fitting = [(r, s) for r, s in good if _fits(kind.item(s), quote, None)]
    if fitting:
        recorded, signed = newest(fitting, lambda pair: kind.item(pair[1]), at)
        try:
            judge_currency(kind.item(signed), at)
        except Refused as error:
            return [(recorded, error)]
        return Chosen(recorded=recorded, signed=signed)
    failed = [(t.recorded, t.fault) for t in pool if t.fault is not None]
    mine = [(r, fault) for r, fault in failed if _claims(kind, r, quote, fmspc)]
    if mine or (failed and not good):
        return (mine or failed)[:1]
    for recorded, signed in good:
        try:
            judge_tee(kind.item(signed), quote.tee)
        except Refused as error:
            # For a TEE that no quote here is of: nobody else's item, so a wrong one.
            if kind.item(signed).tee not in others or declared:
                return [(recorded, error)]
    return []


def _signed_items(facts: Facts, kind: _Kind[S], tally: Tally) -> dict[str, Chosen[S]]:
    evidence = facts.get("blobs.derived", Evidence)
    at = facts.get("time.as_of", AsOfInstant).instant
    roots = facts.get("tdx.root_crl", TrustedRoots)
    gathered = gather(evidence, kind.body_role, kind.chain_role)
    tried: list[_Tried[S]] = []
    for recorded in gathered.answers:
        root = roots.for_chain(recorded.answer.chain)
        try:
            signed = kind.verify(recorded, root, at)
        except (FormatError, Refused) as error:
            tried.append(_Tried(recorded=recorded, signed=None, fault=error))
        else:
            tried.append(_Tried(recorded=recorded, signed=signed, fault=None))
    quotes = _quotes(evidence)
    tees = frozenset(quote.tee for quote in quotes.values())
    chosen: dict[str, Chosen[S]] = {}
    seen: set[tuple[str, Reason | None]] = set()
    for quote_id, quote in quotes.items():
        named = named_for(evidence.statement, quote_id, "collateral-for")
        declared = any(t.recorded.artifact.id in named for t in tried)
        pool = [t for t in tried if not declared or t.recorded.artifact.id in named]
        found = _choose(
            kind,
            pool,
            quote,
            fmspc=claimed_fmspc(quote, _recorded_chain(evidence, quote_id)),
            declared=declared,
            others=tees,
            at=at,
        )
        if isinstance(found, Chosen):
            chosen[quote_id] = found
            tally.match(found.recorded.artifact.id)
            continue
        for recorded, fault in found:
            if (recorded.artifact.id, fault.reason) not in seen:
                seen.add((recorded.artifact.id, fault.reason))
                _record(tally, fault, evidence.document(recorded.artifact.id), kind.malformed)
        if not found:
            _absent_items(tally, kind.what, quote_id, gathered)
    if not quotes:
        # No quote can be read: the items stand or fall by themselves.
        faults = [(t.recorded, t.fault) for t in tried if t.fault is not None]
        if len(faults) < len(tried):
            return chosen
        for recorded, fault in faults[:1]:
            _record(tally, fault, evidence.document(recorded.artifact.id), kind.malformed)
        if not faults:
            _absent_items(tally, kind.what, "the quotes", gathered)
    return chosen


def _absent_items(tally: Tally, what: str, quote_id: str, gathered: Gathered) -> None:
    for gap in gathered.unavailable:
        _gap(tally, gap)
    if not gathered.unavailable:
        chain = "; its issuer chain is not recorded" if gathered.unpaired else ""
        _missing(tally, what + chain, quote_id)


_TCB_INFO: Final = _Kind(
    what="TCB info",
    body_role="intel.tcb-info",
    chain_role="intel.tcb-info-chain",
    verify=lambda recorded, root, at: verified_tcb_info(
        recorded.answer, root.certificate, root.crl, at
    ),
    item=lambda signed: signed.info,
    claim=lambda body: read_tcb_info(tcb_info_body(body)),
    malformed=Reason.TDX_TCB_INFO_MALFORMED,
)
_QE_IDENTITY: Final = _Kind(
    what="QE identity",
    body_role="intel.qe-identity",
    chain_role="intel.qe-identity-chain",
    verify=lambda recorded, root, at: verified_qe_identity(
        recorded.answer, root.certificate, root.crl, at
    ),
    item=lambda signed: signed.identity,
    claim=lambda body: read_qe_identity(qe_identity_body(body)),
    malformed=Reason.TDX_QE_IDENTITY_MALFORMED,
)


def tcb_info(inputs: Inputs, facts: Facts) -> Outcome[TcbInfos]:  # noqa: ARG001
    """Row 21: for each quote a TCB info that is authentic, current, of its TEE and platform."""
    tally = Tally()
    return tally.outcome(TcbInfos(for_quote=_signed_items(facts, _TCB_INFO, tally)))


def qe_identity(inputs: Inputs, facts: Facts) -> Outcome[QeIdentities]:  # noqa: ARG001
    """Row 22: for each quote a QE identity that is authentic, current, of its TEE."""
    tally = Tally()
    return tally.outcome(QeIdentities(for_quote=_signed_items(facts, _QE_IDENTITY, tally)))


# --- rows 23 and 24 -------------------------------------------------------------------------------


def pck_chain(inputs: Inputs, facts: Facts) -> Outcome[Platforms]:  # noqa: ARG001
    """Row 23: the PCK chain of each quote leads to the anchor, in shape, at as_of."""
    evidence = facts.get("blobs.derived", Evidence)
    at = facts.get("time.as_of", AsOfInstant).instant
    roots = facts.get("tdx.root_crl", TrustedRoots)
    tally = Tally()
    platforms: dict[str, Platform] = {}
    for quote_id, quote in facts.get("tdx.quote.format", QuoteSet).quotes.items():
        try:
            recorded = None if quote.cert_type == 5 else recorded_pck_chain(evidence, quote_id)
            text = pck_chain_text(quote, recorded)
            chain = judge_pck_chain(text, roots.for_chain(text).certificate, at)
            extension = read_pck_extension(chain)
        except ArtifactUnavailable as absent:
            _gap(tally, absent)
        except FormatError as error:
            # The offset is inside the chain: inside the quote where the chain is the quote's own.
            start, stop = quote.spans["cert_data"]
            tally.find(
                error.reason or Reason.TDX_PCK_CHAIN_MALFORMED,
                Pointer(document=evidence.document(quote_id), start=start, stop=stop),
                what=error.what,
                got=error.what,
            )
        except Refused as error:
            start, stop = quote.spans["cert_data"]
            tally.find(
                error.reason,
                Pointer(document=evidence.document(quote_id), start=start, stop=stop),
                what=error.what,
                got=error.got,
                expected=error.expected,
            )
        else:
            platforms[quote_id] = Platform(chain=chain, pck=extension, recorded=recorded)
            tally.match(f"{quote_id}: {chain.kind.value}, FMSPC {extension.fmspc.hex()}")
    return tally.outcome(Platforms(for_quote=platforms))


def pck_revocation(inputs: Inputs, facts: Facts) -> Outcome[PckStandings]:  # noqa: ARG001
    """Row 24: neither PCK leaf nor authority is on the lists of then."""
    evidence = facts.get("blobs.derived", Evidence)
    at = facts.get("time.as_of", AsOfInstant).instant
    roots = facts.get("tdx.root_crl", TrustedRoots)
    lists, absent = bodies_of(evidence, "intel.pck-crl")
    tally = Tally()
    standings: dict[str, RevocationList] = {}
    seen: set[tuple[str, Reason | None]] = set()
    for quote_id, platform in facts.get("tdx.pck.chain", Platforms).for_quote.items():
        chain = platform.chain
        if not lists:
            for gap in absent:
                _gap(tally, gap)
            if not absent:
                _missing(tally, "PCK CRL", quote_id)
            continue
        index, crl = try_crls([body for _, body in lists], chain.authority, at, PCK_CRL)
        if not isinstance(crl, RevocationList):
            artifact = lists[index][0].id
            if (artifact, crl.reason) not in seen:
                seen.add((artifact, crl.reason))
                _record(tally, crl, evidence.document(artifact), Reason.TDX_PCK_CRL_MALFORMED)
            continue
        root = next(r for r in roots.roots if r.certificate is chain.root)
        try:
            judge_pck_standing(chain, root.crl, crl)
        except Refused as error:
            start, stop = (
                facts.get("tdx.quote.format", QuoteSet).quotes[quote_id].spans["cert_data"]
            )
            tally.find(
                error.reason,
                Pointer(document=evidence.document(quote_id), start=start, stop=stop),
                what=error.what,
                got=error.got,
            )
            continue
        standings[quote_id] = crl
        tally.match(quote_id)
    return tally.outcome(PckStandings(for_quote=standings))


# --- rows 25 and 26 -------------------------------------------------------------------------------


def qe_report(inputs: Inputs, facts: Facts) -> Outcome[QeLevels]:  # noqa: ARG001
    """Row 25: the PCK signed the QE report, which names the attestation key and is acceptable."""
    evidence = facts.get("blobs.derived", Evidence)
    platforms = facts.get("tdx.pck.chain", Platforms).for_quote
    identities = facts.get("tdx.qe_identity", QeIdentities).for_quote
    tally = Tally()
    levels: dict[str, ComponentLevel] = {}
    for quote_id, quote in facts.get("tdx.quote.format", QuoteSet).quotes.items():
        try:
            judge_qe_report_signature(quote, platforms[quote_id].chain.leaf)
            levels[quote_id] = judge_qe(quote, identities[quote_id].signed.identity)
        except Refused as error:
            tally.refuse(error, evidence.document(quote_id))
        else:
            tally.match(quote_id)
    return tally.outcome(QeLevels(for_quote=levels))


def quote_signature(inputs: Inputs, facts: Facts) -> Outcome[VerifiedQuotes]:  # noqa: ARG001
    """Row 26: that key signed header and body: from here on the body is a fact."""
    evidence = facts.get("blobs.derived", Evidence)
    platforms = facts.get("tdx.pck.chain", Platforms).for_quote
    levels = facts.get("tdx.qe_report", QeLevels).for_quote
    tally = Tally()
    verified: dict[str, VerifiedQuote] = {}
    for quote_id, quote in facts.get("tdx.quote.format", QuoteSet).quotes.items():
        try:
            judge_quote_signature(quote)
        except Refused as error:
            tally.refuse(error, evidence.document(quote_id))
            continue
        verified[quote_id] = VerifiedQuote(
            artifact=quote_id,
            quote=quote,
            chain=platforms[quote_id].chain,
            pck=platforms[quote_id].pck,
            qe_level=levels[quote_id],
        )
        tally.match(quote_id)
    return tally.outcome(VerifiedQuotes(quotes=verified))


# --- row 27 ---------------------------------------------------------------------------------------

_OUT_OF_DATE: Final = frozenset({TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED})


def _judge_tcb_policy(
    rules: TdxRules, result: TcbResult, number: int, pck: SgxExtension, at: datetime
) -> list[Refused]:
    """Say what the policy does not accept of a TCB result (tdx.md 9, second table)."""
    found: list[Refused] = []
    if result.status.value not in rules.accepted_tcb_status:
        found.append(
            Refused(
                Reason.TDX_POLICY_TCB_STATUS_NOT_ACCEPTED,
                "TCB status",
                got=result.status.value,
                expected=" or ".join(rules.accepted_tcb_status),
            )
        )
    elif result.status in _OUT_OF_DATE:
        grace = timedelta(days=rules.platform_grace_days)
        if result.launch.tcb_date + grace < at:
            found.append(
                Refused(
                    Reason.TDX_POLICY_TCB_TOO_OLD,
                    "the platform's TCB is older than the policy's grace",
                    got=f"{result.launch.tcb_date:%Y-%m-%d}",
                    expected=f"at most {rules.platform_grace_days} days before the instant judged",
                )
            )
    rejected = sorted(set(rules.rejected_advisory_ids) & set(result.all_advisory_ids))
    if rejected:
        found.append(
            Refused(
                Reason.TDX_POLICY_ADVISORY_REJECTED,
                "advisories that the policy rejects",
                got=", ".join(rejected),
            )
        )
    if number < rules.min_tcb_evaluation_data_number:
        found.append(
            Refused(
                Reason.TDX_POLICY_TCB_EVALUATION_NUMBER_TOO_LOW,
                "TCB evaluation data number",
                got=str(number),
                expected=f"at least {rules.min_tcb_evaluation_data_number}",
            )
        )
    for allowed, flag, name in (
        (rules.allow_dynamic_platform, pck.dynamic_platform, "dynamic platform"),
        (rules.allow_cached_keys, pck.cached_keys, "cached keys"),
        (rules.allow_smt, pck.smt, "SMT"),
    ):
        if flag is True and not allowed:
            found.append(
                Refused(Reason.TDX_POLICY_PLATFORM_FLAG_REJECTED, "platform flag", got=name)
            )
    return found


def tcb(inputs: Inputs, facts: Facts) -> Outcome[TcbResults]:
    """Row 27: the TCB evaluation of each quote gives a status the policy accepts."""
    evidence = facts.get("blobs.derived", Evidence)
    at = facts.get("time.as_of", AsOfInstant).instant
    infos = facts.get("tdx.tcb_info", TcbInfos).for_quote
    identities = facts.get("tdx.qe_identity", QeIdentities).for_quote
    rules = _rules(inputs)
    tally = Tally()
    results: dict[str, TcbResult] = {}
    for quote_id, verified in facts.get("tdx.quote.signature", VerifiedQuotes).quotes.items():
        document = evidence.document(quote_id)
        info = infos[quote_id].signed.info
        try:
            result = evaluate_tcb(verified.quote, info, verified.pck, verified.qe_level)
        except Refused as error:
            tally.refuse(error, document)
            continue
        number = min(info.evaluation_number, identities[quote_id].signed.identity.evaluation_number)
        for refused in _judge_tcb_policy(rules, result, number, verified.pck, at):
            tally.refuse(refused, document)
        results[quote_id] = result
        advisories = ", ".join(result.all_advisory_ids)
        tally.match(
            f"{quote_id}: {result.status.value}, TCB of {result.launch.tcb_date:%Y-%m-%d}, "
            f"evaluation {number}" + (f", {advisories}" if advisories else "")
        )
    return tally.outcome(TcbResults(results=results))


# --- row 28 ---------------------------------------------------------------------------------------

_FIELD_OF: Final = {
    Reason.TDX_POLICY_SERVICE_TD_BOUND: "mr_service_td",
    Reason.TDX_POLICY_SGX_DEBUG: "attributes",
}
_RULED: Final = (
    ("xfam", Reason.TDX_POLICY_XFAM_REJECTED),
    ("td_attributes", Reason.TDX_POLICY_TD_ATTRIBUTES_REJECTED),
)


def attributes(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:
    """Row 28: no finding on attributes beyond those allowed; xfam and td_attributes by rule."""
    rules = _rules(inputs)
    tally = Tally()
    items: list[str] = []
    for quote_id, verified in facts.get("tdx.quote.signature", VerifiedQuotes).quotes.items():
        body = verified.body
        for finding in attribute_findings(body):
            name = _FIELD_OF.get(finding, "td_attributes")
            if rules.allows(finding.code):
                tally.match(f"{quote_id}: {finding.code} allowed")
                continue
            tally.find(
                finding,
                verified.pointer(name),
                what=f"{name} of {quote_id}",
                got=body[name].hex(),
            )
        if body.report_type is not ReportType.SGX:
            for name, reason in _RULED:
                rule = rules.fields[name]
                judged = fit(rule, body[name])
                if judged is Fit.DIFFERS:
                    tally.find(
                        reason,
                        verified.pointer(name),
                        what=f"{name} of {quote_id}",
                        got=body[name].hex(),
                        expected=wanted(rule),
                    )
                elif judged is Fit.NO_REFERENCE:
                    tally.find(
                        Reason.REFERENCE_MISSING,
                        Pointer(document="policy", path=f"/tdx/fields/{name}"),
                        what=f"the policy gives no value of {name}",
                        got=body[name].hex(),
                    )
        items.append(quote_id)
        tally.match(quote_id)
    return tally.outcome(Affirmed(items=tuple(items)))


# --- row 29 ---------------------------------------------------------------------------------------


def _pck_crl(
    lists: Sequence[tuple[Artifact, bytes]], chain: PckChain, at: datetime
) -> tuple[RevocationList, bytes] | None:
    if not lists:
        return None
    index, crl = try_crls([body for _, body in lists], chain.authority, at, PCK_CRL)
    return (crl, lists[index][1]) if isinstance(crl, RevocationList) else None


def second_engine(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Row 29: an independent engine gives the same status, or differs in a way that is known."""
    tally = Tally()
    if not engine.installed():
        tally.find(
            Reason.TDX_ENGINE_UNAVAILABLE,
            Pointer(document="policy", path="/subjects/second_engine"),
            what="the optional second engine is not installed",
        )
        return tally.outcome(Affirmed())
    evidence = facts.get("blobs.derived", Evidence)
    at = facts.get("time.as_of", AsOfInstant).instant
    roots = facts.get("tdx.root_crl", TrustedRoots).roots
    infos = facts.get("tdx.tcb_info", TcbInfos).for_quote
    identities = facts.get("tdx.qe_identity", QeIdentities).for_quote
    results = facts.get("tdx.tcb", TcbResults).results
    recorded = facts.get("tdx.pck.chain", Platforms).for_quote
    lists, _ = bodies_of(evidence, "intel.pck-crl")
    items: list[str] = []
    for quote_id, verified in facts.get("tdx.quote.signature", VerifiedQuotes).quotes.items():
        root = next(r for r in roots if r.certificate is verified.chain.root)
        info, identity = infos[quote_id], identities[quote_id]
        # `tdx.pck.revocation` is not a need of this check: its list is chosen again.
        found = _pck_crl(lists, verified.chain, at)
        if found is None:
            _missing(tally, "PCK CRL for the second engine", quote_id)
            continue
        pck_crl, pck_crl_body = found
        ours = results[quote_id].status.value
        opinion = engine.second_opinion(
            evidence.body(quote_id),
            engine.OneOfEach(
                tcb_info=info.recorded.answer,
                qe_identity=identity.recorded.answer,
                pck_crl=pck_crl_body,
                root_crl=root.crl_body,
                chain=verified.chain,
                pck_chain=recorded[quote_id].recorded,
            ),
            at,
            root.certificate.der,
        )
        explained = engine.expected_to_differ(
            verified.quote,
            info=info.signed.info,
            identity=identity.signed.identity,
            crl_ends=(root.crl.next_update, pck_crl.next_update),
            at=at,
        )
        if opinion.status != ours and explained is None:
            tally.find(
                Reason.TDX_ENGINE_DISAGREEMENT,
                Pointer(document=evidence.document(quote_id)),
                what="the second engine comes to another result",
                got=opinion.status or f"rejected: {opinion.error}",
                expected=ours,
            )
            continue
        items.append(quote_id)
        tally.match(quote_id if explained is None else f"{quote_id}: differs, {explained}")
    return tally.outcome(Affirmed(items=tuple(items)))


# --- row 54 ---------------------------------------------------------------------------------------


def _quote_of_log(
    evidence: Evidence, artifact: Artifact, quotes: Mapping[str, VerifiedQuote]
) -> VerifiedQuote | None:
    """Return the TD quote a firmware log is to explain: as bound, else the only one."""
    for binding in evidence.statement.bindings_of("log-in-evidence"):
        if binding.members.get("log") == artifact.id:
            return quotes.get(binding.one("evidence"))
    return next(iter(quotes.values())) if len(quotes) == 1 else None


def ccel_replay(inputs: Inputs, facts: Facts) -> Outcome[Affirmed]:  # noqa: ARG001
    """Row 54: every firmware log replays to the signed RTMRs of its quote (tdx.md 15)."""
    evidence = facts.get("blobs.derived", Evidence)
    verified = facts.get("tdx.quote.signature", VerifiedQuotes).quotes
    quotes = {name: quote for name, quote in verified.items() if quote.tee is Tee.TDX}
    tally = Tally()
    items: list[str] = []
    artifacts = evidence.statement.of_role("tdx.ccel")
    if not artifacts:
        tally.find(Reason.EVIDENCE_ABSENT, _STATEMENT_LIST, what="the bundle lists no firmware log")
    for artifact in artifacts:
        document = evidence.document(artifact.id)
        try:
            log = ccel.parse_ccel(evidence.body(artifact.id))
        except ArtifactUnavailable as absent:
            _gap(tally, absent)
            continue
        except FormatError as error:
            tally.malformed(error, document, Reason.TDX_CCEL_MALFORMED)
            continue
        quote = _quote_of_log(evidence, artifact, quotes)
        if quote is None:
            tally.find(
                Reason.BINDING_UNDECLARED,
                Pointer(document="statement", path="/predicate/bindings"),
                what=f"no binding says which verified TD quote {artifact.id} explains",
                expected="log-in-evidence",
            )
            continue
        for index, register in enumerate(log.registers()):
            name = f"rtmr{index}"
            if index == 3 and not log.extends(3):
                continue
            if quote.body[name] != register:
                tally.find(
                    Reason.TDX_CCEL_RTMR_MISMATCH,
                    quote.pointer(name),
                    what=f"{artifact.id} does not replay to {name} of {quote.artifact}",
                    got=register.hex(),
                    expected=quote.body[name].hex(),
                )
        items.append(artifact.id)
        tally.match(artifact.id)
    return tally.outcome(Affirmed(items=tuple(items)))
