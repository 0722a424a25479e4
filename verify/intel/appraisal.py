"""The whole DCAP procedure on one quote: choosing among recorded answers, then every step in order.

Source: tdx.md 7 (rule A and the order of steps), 6 (windows), 10 (result).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from verify.crypto.x509 import Certificate, RevocationList, load_certificate, split_pem
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason, ReasonClass
from verify.engine.value import value
from verify.intel.collateral import QeIdentity, TcbInfo
from verify.intel.dcap import (
    PCK_CRL,
    QE_IDENTITY_CHAIN,
    ROOT_CRL,
    TCB_INFO_CHAIN,
    ListCodes,
    PckChain,
    attribute_findings,
    authentic_qe_identity,
    authentic_tcb_info,
    evaluate_tcb,
    judge_crl,
    judge_currency,
    judge_pck_chain,
    judge_pck_standing,
    judge_qe,
    judge_qe_report_signature,
    judge_quote_signature,
    judge_root,
    judge_root_standing,
    judge_signer,
    judge_tee,
    pck_chain_text,
    read_pck_extension,
)
from verify.intel.pck import CN_PLATFORM, CaKind, SgxExtension, has_common_name, sgx_extension
from verify.intel.quote import Quote, parse_quote
from verify.intel.tcb import ComponentLevel, TcbResult

A = TypeVar("A")
B = TypeVar("B")


@value
class Answer:
    """A recorded answer for TCB info or QE identity: body and its issuer chain (PEM)."""

    body: bytes
    chain: bytes


@value
class Collateral:
    """Everything recorded for a quote; each member may hold several candidates (tdx.md 7.A)."""

    tcb_info: tuple[Answer, ...] = ()
    qe_identity: tuple[Answer, ...] = ()
    pck_crl: tuple[bytes, ...] = ()
    root_crl: tuple[bytes, ...] = ()
    pck_chain: bytes | None = None


def missing(what: str) -> Refused:
    """Return the absence of a collateral item as a judgement (INCOMPLETE, not REJECTED)."""
    return Refused(Reason.TDX_COLLATERAL_MISSING, f"no {what} is recorded")


@value(eq=False)
class SignedTcbInfo:
    """A verified TCB info (steps T1 to T4) with its signer."""

    info: TcbInfo
    signer: Certificate


@value(eq=False)
class SignedQeIdentity:
    """A verified QE identity (steps I1 to I4) with its signer."""

    identity: QeIdentity
    signer: Certificate


def verified_tcb_info(
    answer: Answer, root: Certificate, root_crl: RevocationList | None, at: datetime
) -> SignedTcbInfo:
    """Steps T1 to T4 but the TEE. Raises FormatError, Refused."""
    signer = judge_signer(answer.chain, root, root_crl, at, TCB_INFO_CHAIN)
    return SignedTcbInfo(info=authentic_tcb_info(answer.body, signer), signer=signer)


def verified_qe_identity(
    answer: Answer, root: Certificate, root_crl: RevocationList | None, at: datetime
) -> SignedQeIdentity:
    """Steps I1 to I4 but the TEE. Raises FormatError, Refused."""
    signer = judge_signer(answer.chain, root, root_crl, at, QE_IDENTITY_CHAIN)
    return SignedQeIdentity(identity=authentic_qe_identity(answer.body, signer), signer=signer)


def newest(items: Sequence[A], item: Callable[[A], TcbInfo | QeIdentity], at: datetime) -> A:
    """Rule A: of several that fit, one in force at ``at``, highest number, then latest issue.

    ``items`` is not empty.
    """
    return max(
        items,
        key=lambda found: (
            item(found).issue_date <= at <= item(found).next_update,
            item(found).evaluation_number,
            item(found).issue_date,
        ),
    )


def select(candidates: Sequence[A], judge: Callable[[A], B], what: str) -> list[B]:
    """Return what ``judge`` made of each candidate it accepts; none: raise the first failure.

    Raises what ``judge`` raised, or Refused (``tdx.collateral.missing``) without candidates.
    """
    if not candidates:
        raise missing(what)
    kept: list[B] = []
    first: FormatError | Refused | None = None
    for candidate in candidates:
        try:
            kept.append(judge(candidate))
        except (FormatError, Refused) as error:
            first = first or error
    if not kept and first is not None:
        raise first
    return kept


def try_crls(
    bodies: Sequence[bytes], issuer: Certificate, at: datetime, codes: ListCodes
) -> tuple[int, RevocationList | FormatError | Refused]:
    """Rule A for revocation lists: by issuer, in force at ``at``, the latest.

    ``bodies`` is not empty. Returns a position with the list chosen, or with the failure to report.
    """
    best: tuple[int, RevocationList] | None = None
    faults: list[tuple[int, FormatError | Refused]] = []
    for index, body in enumerate(bodies):
        try:
            found = judge_crl(body, issuer, at, codes)
        except (FormatError, Refused) as error:
            faults.append((index, error))
            continue
        if best is None or found.this_update > best[1].this_update:
            best = index, found
    # A list of the other authority stands beside ours in a mixed fleet: its failure says less.
    telling = [fault for fault in faults if fault[1].reason is not codes.issuer_mismatch]
    return best or (telling or faults)[0]


def _select_crl(
    bodies: Sequence[bytes], issuer: Certificate, at: datetime, codes: ListCodes
) -> RevocationList:
    if not bodies:
        raise missing("revocation list")
    _, found = try_crls(bodies, issuer, at, codes)
    if not isinstance(found, RevocationList):
        raise found
    return found


# --- the whole procedure ------------------------------------------------------------------------


@value(eq=False)
class Appraisal:
    """Result of `appraise`: complete even on rejection, unknown parts None (tdx.md 10).

    ``code``: primary code: of the first failing step, a rejection before a gap; None: every step
    passed. ``codes``: all of them, in step order. ``provable_not_before``, ``window_end``: of the
    items that were verified; both None unless every step passed.
    """

    code: Reason | None
    codes: tuple[Reason, ...]
    faults: tuple[FormatError | Refused, ...]
    quote: Quote | None
    chain: PckChain | None
    pck: SgxExtension | None
    tcb_info: TcbInfo | None
    qe_identity: QeIdentity | None
    tcb: TcbResult | None
    findings: tuple[Reason, ...]
    as_of: datetime
    provable_not_before: datetime | None
    window_end: datetime | None


class _Run:
    """Runs steps, keeps what they refuse and the windows of what they verified."""

    def __init__(self) -> None:
        self.faults: list[FormatError | Refused] = []
        self.starts: list[datetime] = []
        self.ends: list[datetime] = []

    def step(self, call: Callable[[], A]) -> A | None:
        try:
            return call()
        except (FormatError, Refused) as error:
            self.faults.append(error)
            return None

    def certificate(self, *certificates: Certificate) -> None:
        for found in certificates:
            self.starts.append(found.not_before)
            self.ends.append(found.not_after)

    def window(self, start: datetime, end: datetime | None) -> None:
        self.starts.append(start)
        self.ends.append(end or start)


def _select_tcb_info(
    collateral: Collateral,
    quote: Quote | None,
    root: Certificate,
    root_crl: RevocationList | None,
    at: datetime,
) -> SignedTcbInfo:
    def judge(answer: Answer) -> SignedTcbInfo:
        found = verified_tcb_info(answer, root, root_crl, at)
        if quote is not None:
            judge_tee(found.info, quote.tee)
        return found

    kept = select(collateral.tcb_info, judge, "TCB info")
    fmspc = None if quote is None else claimed_fmspc(quote, collateral.pck_chain)
    fitting = [found for found in kept if fmspc is None or found.info.fmspc == fmspc]
    chosen = newest(fitting or kept, lambda found: found.info, at)
    judge_currency(chosen.info, at)
    return chosen


def _select_qe_identity(
    collateral: Collateral,
    quote: Quote | None,
    root: Certificate,
    root_crl: RevocationList | None,
    at: datetime,
) -> SignedQeIdentity:
    def judge(answer: Answer) -> SignedQeIdentity:
        found = verified_qe_identity(answer, root, root_crl, at)
        if quote is not None:
            judge_tee(found.identity, quote.tee)
        return found

    kept = select(collateral.qe_identity, judge, "QE identity")
    chosen = newest(kept, lambda found: found.identity, at)
    judge_currency(chosen.identity, at)
    return chosen


def claimed_fmspc(quote: Quote, recorded: bytes | None) -> bytes | None:
    """Read the FMSPC of the chain as it stands, unverified: it only steers which item to choose."""
    try:
        blocks = split_pem(pck_chain_text(quote, recorded))
        leaf, authority = load_certificate(blocks[0]), load_certificate(blocks[-2])
        platform = has_common_name(authority, CN_PLATFORM)
        return sgx_extension(leaf, CaKind.PLATFORM if platform else CaKind.PROCESSOR).fmspc
    except (FormatError, Refused, IndexError):
        return None


def appraise(quote: bytes, collateral: Collateral, as_of: datetime, anchor: bytes) -> Appraisal:
    """Run the whole procedure of tdx.md 7 on one quote. Never raises on any evidence.

    ``as_of``: aware UTC, whole seconds. ``anchor``: DER of the root to believe.
    """
    run = _Run()
    at = as_of
    # Q
    parsed = run.step(lambda: parse_quote(quote))
    # R
    root = run.step(lambda: judge_root(anchor, at))
    root_crl: RevocationList | None = None
    signed_info: SignedTcbInfo | None = None
    signed_identity: SignedQeIdentity | None = None
    chain: PckChain | None = None
    extension: SgxExtension | None = None
    standing = False
    if root is not None:
        known_root = root
        run.certificate(root)
        root_crl = run.step(lambda: _select_crl(collateral.root_crl, known_root, at, ROOT_CRL))
        if root_crl is not None:
            known_crl = root_crl
            run.window(root_crl.this_update, root_crl.next_update)
            run.step(lambda: judge_root_standing(known_root, known_crl))
        # T
        signed_info = run.step(
            lambda: _select_tcb_info(collateral, parsed, known_root, root_crl, at)
        )
        if signed_info is not None:
            run.certificate(signed_info.signer)
            run.window(signed_info.info.issue_date, signed_info.info.next_update)
        # I
        signed_identity = run.step(
            lambda: _select_qe_identity(collateral, parsed, known_root, root_crl, at)
        )
        if signed_identity is not None:
            run.certificate(signed_identity.signer)
            run.window(signed_identity.identity.issue_date, signed_identity.identity.next_update)
        # P
        if parsed is not None:
            known = parsed
            chain = run.step(
                lambda: judge_pck_chain(pck_chain_text(known, collateral.pck_chain), known_root, at)
            )
        if chain is not None:
            known_chain = chain
            run.certificate(chain.authority, chain.leaf)
            pck_crl = run.step(
                lambda: _select_crl(collateral.pck_crl, known_chain.authority, at, PCK_CRL)
            )
            if pck_crl is not None:
                known_pck_crl = pck_crl
                run.window(pck_crl.this_update, pck_crl.next_update)
                before = len(run.faults)
                run.step(lambda: judge_pck_standing(known_chain, root_crl, known_pck_crl))
                standing = len(run.faults) == before
            extension = run.step(lambda: read_pck_extension(known_chain))
    # E
    level: ComponentLevel | None = None
    if parsed is not None and chain is not None and standing and signed_identity is not None:
        known, known_chain, identity = parsed, chain, signed_identity.identity
        before = len(run.faults)
        run.step(lambda: judge_qe_report_signature(known, known_chain.leaf))
        if len(run.faults) == before:
            level = run.step(lambda: judge_qe(known, identity))
    # S
    if parsed is not None:
        known = parsed
        run.step(lambda: judge_quote_signature(known))
    # V
    tcb: TcbResult | None = None
    if (
        parsed is not None
        and signed_info is not None
        and extension is not None
        and level is not None
    ):
        known, info, pck, qe_level = parsed, signed_info.info, extension, level
        tcb = run.step(lambda: evaluate_tcb(known, info, pck, qe_level))
    reasons = tuple(fault.reason for fault in run.faults if fault.reason is not None)
    rejections = [reason for reason in reasons if reason.kind is ReasonClass.REJECT]
    return Appraisal(
        code=next(iter([*rejections, *reasons]), None),
        codes=reasons,
        faults=tuple(run.faults),
        quote=parsed,
        chain=chain,
        pck=extension,
        tcb_info=None if signed_info is None else signed_info.info,
        qe_identity=None if signed_identity is None else signed_identity.identity,
        tcb=tcb,
        findings=() if parsed is None else attribute_findings(parsed.body),
        as_of=at,
        provable_not_before=None if reasons else max(run.starts),
        window_end=None if reasons else min(run.ends),
    )
