"""DCAP: who made a quote, on Intel's word of a given instant. The numbered steps of tdx.md 7.

Each step is a pure function that raises `FormatError` or `Refused` with the one code of its clause,
or returns a verified object that later steps take. Nothing of a quote's body is a fact before E1,
E2 and S2; nothing of a JSON item before T3. `verify.intel.appraisal` runs all of them in order.

Source: tdx.md 6, 7, 8, 9.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import Final

from verify.crypto.ecdsa import Curve, Signed, key_from_point, signed_raw, signed_raw_by
from verify.crypto.x509 import (
    OID_AUTHORITY_KEY_IDENTIFIER,
    OID_CRL_NUMBER,
    OID_DELTA_CRL_INDICATOR,
    OID_ECDSA_SHA256,
    OID_ISSUING_DISTRIBUTION_POINT,
    Certificate,
    ChainTooLongError,
    RevocationList,
    load_certificate,
    load_revocation_list,
    recorded_crl_der,
    signed_by,
    split_pem,
)
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.intel.collateral import (
    CHAIN_LIMIT,
    QE_IDENTITY,
    TCB_INFO,
    BodyCodes,
    QeIdentity,
    SignedBody,
    TcbInfo,
    qe_identity_body,
    read_qe_identity,
    read_tcb_info,
    tcb_info_body,
)
from verify.intel.pck import (
    CN_LEAF,
    CN_PLATFORM,
    CN_PROCESSOR,
    CN_ROOT,
    CN_SIGNER,
    CaKind,
    Role,
    SgxExtension,
    has_common_name,
    profile_fault,
    sgx_extension,
)
from verify.intel.quote import Body, Quote, ReportType, Tee
from verify.intel.tcb import (
    ComponentLevel,
    Evaluation,
    Module,
    TcbResult,
    TcbStatus,
    after_relaunch,
    first_level,
    merge,
    module_level,
    platform_level,
)

CRL_LIMIT: Final = 1024 * 1024


# --- codes --------------------------------------------------------------------------------------


@value
class ChainCodes:
    """Reason codes of one kind of certificate chain (tdx.md 11)."""

    chain_malformed: Reason
    chain_shape: Reason
    root_mismatch: Reason
    cert_name: Reason
    cert_issuer_mismatch: Reason
    cert_signature_invalid: Reason
    cert_profile: Reason
    cert_not_yet_valid: Reason
    cert_expired: Reason
    cert_revoked: Reason


@value
class ListCodes:
    """Reason codes of one kind of revocation list (tdx.md 11)."""

    malformed: Reason
    profile: Reason
    issuer_mismatch: Reason
    signature_invalid: Reason
    not_yet_valid: Reason
    expired: Reason


PCK_CHAIN: Final = ChainCodes(
    chain_malformed=Reason.TDX_PCK_CHAIN_MALFORMED,
    chain_shape=Reason.TDX_PCK_CHAIN_SHAPE,
    root_mismatch=Reason.TDX_PCK_ROOT_MISMATCH,
    cert_name=Reason.TDX_PCK_CERT_NAME,
    cert_issuer_mismatch=Reason.TDX_PCK_CERT_ISSUER_MISMATCH,
    cert_signature_invalid=Reason.TDX_PCK_CERT_SIGNATURE_INVALID,
    cert_profile=Reason.TDX_PCK_CERT_PROFILE,
    cert_not_yet_valid=Reason.TDX_PCK_CERT_NOT_YET_VALID,
    cert_expired=Reason.TDX_PCK_CERT_EXPIRED,
    cert_revoked=Reason.TDX_PCK_CERT_REVOKED,
)
TCB_INFO_CHAIN: Final = ChainCodes(
    chain_malformed=Reason.TDX_TCB_INFO_CHAIN_MALFORMED,
    chain_shape=Reason.TDX_TCB_INFO_CHAIN_SHAPE,
    root_mismatch=Reason.TDX_TCB_INFO_ROOT_MISMATCH,
    cert_name=Reason.TDX_TCB_INFO_CERT_NAME,
    cert_issuer_mismatch=Reason.TDX_TCB_INFO_CERT_ISSUER_MISMATCH,
    cert_signature_invalid=Reason.TDX_TCB_INFO_CERT_SIGNATURE_INVALID,
    cert_profile=Reason.TDX_TCB_INFO_CERT_PROFILE,
    cert_not_yet_valid=Reason.TDX_TCB_INFO_CERT_NOT_YET_VALID,
    cert_expired=Reason.TDX_TCB_INFO_CERT_EXPIRED,
    cert_revoked=Reason.TDX_TCB_INFO_CERT_REVOKED,
)
QE_IDENTITY_CHAIN: Final = ChainCodes(
    chain_malformed=Reason.TDX_QE_IDENTITY_CHAIN_MALFORMED,
    chain_shape=Reason.TDX_QE_IDENTITY_CHAIN_SHAPE,
    root_mismatch=Reason.TDX_QE_IDENTITY_ROOT_MISMATCH,
    cert_name=Reason.TDX_QE_IDENTITY_CERT_NAME,
    cert_issuer_mismatch=Reason.TDX_QE_IDENTITY_CERT_ISSUER_MISMATCH,
    cert_signature_invalid=Reason.TDX_QE_IDENTITY_CERT_SIGNATURE_INVALID,
    cert_profile=Reason.TDX_QE_IDENTITY_CERT_PROFILE,
    cert_not_yet_valid=Reason.TDX_QE_IDENTITY_CERT_NOT_YET_VALID,
    cert_expired=Reason.TDX_QE_IDENTITY_CERT_EXPIRED,
    cert_revoked=Reason.TDX_QE_IDENTITY_CERT_REVOKED,
)
ROOT_CRL: Final = ListCodes(
    malformed=Reason.TDX_ROOT_CRL_MALFORMED,
    profile=Reason.TDX_ROOT_CRL_PROFILE,
    issuer_mismatch=Reason.TDX_ROOT_CRL_ISSUER_MISMATCH,
    signature_invalid=Reason.TDX_ROOT_CRL_SIGNATURE_INVALID,
    not_yet_valid=Reason.TDX_ROOT_CRL_NOT_YET_VALID,
    expired=Reason.TDX_ROOT_CRL_EXPIRED,
)
PCK_CRL: Final = ListCodes(
    malformed=Reason.TDX_PCK_CRL_MALFORMED,
    profile=Reason.TDX_PCK_CRL_PROFILE,
    issuer_mismatch=Reason.TDX_PCK_CRL_ISSUER_MISMATCH,
    signature_invalid=Reason.TDX_PCK_CRL_SIGNATURE_INVALID,
    not_yet_valid=Reason.TDX_PCK_CRL_NOT_YET_VALID,
    expired=Reason.TDX_PCK_CRL_EXPIRED,
)


def _when(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%SZ}"


def _judge_window(
    what: str,
    window: tuple[datetime, datetime],
    at: datetime,
    *,
    early: Reason,
    late: Reason,
) -> None:
    """Both ends inclusive, no grace (tdx.md 6 rules 2 and 3)."""
    start, stop = window
    if at < start:
        raise Refused(early, f"{what} is not valid yet", got=_when(at), expected=_when(start))
    if at > stop:
        raise Refused(late, f"{what} has expired", got=_when(at), expected=_when(stop))


# --- R: root and root CRL -----------------------------------------------------------------------


def judge_root(anchor: bytes, at: datetime) -> Certificate:
    """Step R1: the anchor (DER) is what an Intel root looks like, at ``at``.

    Raises FormatError, Refused (``tdx.root.*``).
    """
    try:
        root = load_certificate(anchor)
    except FormatError as error:
        raise FormatError(
            error.offset, error.what, reason=Reason.TDX_ROOT_CHAIN_MALFORMED
        ) from error
    if not has_common_name(root, CN_ROOT):
        raise Refused(
            Reason.TDX_ROOT_CERT_NAME, "the anchor's common name", got=", ".join(root.common_names)
        )
    if root.issuer != root.subject:
        raise Refused(Reason.TDX_ROOT_CERT_ISSUER_MISMATCH, "the anchor is not self-issued")
    if signed_by(root, root) is not Signed.YES:
        raise Refused(Reason.TDX_ROOT_CERT_SIGNATURE_INVALID, "the anchor is not self-signed")
    fault = profile_fault(root, Role.AUTHORITY)
    if fault is not None:
        raise Refused(Reason.TDX_ROOT_CERT_PROFILE, fault)
    _judge_window(
        "the anchor",
        (root.not_before, root.not_after),
        at,
        early=Reason.TDX_ROOT_CERT_NOT_YET_VALID,
        late=Reason.TDX_ROOT_CERT_EXPIRED,
    )
    return root


def _list_profile_fault(crl: RevocationList) -> str | None:
    if crl.version != 2:
        return "not a version 2 list"
    if crl.signature_oid != OID_ECDSA_SHA256:
        return f"signature algorithm {crl.signature_oid}"
    for oid in (OID_CRL_NUMBER, OID_AUTHORITY_KEY_IDENTIFIER):
        if oid not in crl.extensions:
            return f"extension {oid} is missing"
    for oid in (OID_DELTA_CRL_INDICATOR, OID_ISSUING_DISTRIBUTION_POINT):
        if oid in crl.extensions:
            return f"extension {oid} is not for a complete list"
    for oid, extension in crl.extensions.items():
        if extension.critical:
            return f"extension {oid} is critical"
    return "nextUpdate is missing" if crl.next_update is None else None


def read_crl(body: bytes, codes: ListCodes) -> RevocationList:
    """Read a recorded CRL body: DER, hexadecimal or PEM. Raises FormatError. Source: tdx.md 4.3."""
    if len(body) > CRL_LIMIT:
        raise FormatError(CRL_LIMIT, "more than 1 MiB", reason=Reason.TDX_INPUT_TOO_LARGE)
    try:
        return load_revocation_list(recorded_crl_der(body))
    except FormatError as error:
        raise FormatError(error.offset, error.what, reason=codes.malformed) from error


def judge_crl(body: bytes, issuer: Certificate, at: datetime, codes: ListCodes) -> RevocationList:
    """Steps R2 and P5: the list is of the profile, by ``issuer``, in force at ``at``.

    Raises FormatError, Refused with a code of ``codes``.
    """
    crl = read_crl(body, codes)
    fault = _list_profile_fault(crl)
    if fault is not None:
        raise Refused(codes.profile, fault)
    if crl.issuer != issuer.subject:
        raise Refused(codes.issuer_mismatch, "the list's issuer is not the certificate's subject")
    if signed_by(crl, issuer) is not Signed.YES:
        raise Refused(codes.signature_invalid, "the issuer's key did not sign the list")
    next_update = crl.next_update if crl.next_update is not None else crl.this_update
    _judge_window(
        "the list",
        (crl.this_update, next_update),
        at,
        early=codes.not_yet_valid,
        late=codes.expired,
    )
    return crl


def judge_root_standing(root: Certificate, root_crl: RevocationList) -> None:
    """Step R3. Raises Refused (``tdx.root.cert_revoked``)."""
    if root.serial in root_crl.revoked:
        raise Refused(Reason.TDX_ROOT_CERT_REVOKED, "the root's serial is on its own list")


# --- T, I: signed collateral --------------------------------------------------------------------


def _chain(text: bytes, count: int, root: Certificate, codes: ChainCodes) -> list[Certificate]:
    """Split and load a chain of fixed shape whose last certificate is the anchor."""
    if len(text) > CHAIN_LIMIT:
        raise FormatError(
            CHAIN_LIMIT, "a chain of more than 64 KiB", reason=Reason.TDX_INPUT_TOO_LARGE
        )
    try:
        blocks = split_pem(text)
    except ChainTooLongError as error:
        raise Refused(codes.chain_shape, error.what, expected=str(count)) from error
    except FormatError as error:
        raise FormatError(error.offset, error.what, reason=codes.chain_malformed) from error
    if len(blocks) != count:
        raise Refused(
            codes.chain_shape,
            f"a chain of exactly {count} certificates is wanted",
            got=str(len(blocks)),
            expected=str(count),
        )
    if blocks[-1] != root.der:
        raise Refused(
            codes.root_mismatch,
            "the chain does not end in the anchor",
            got=sha256(blocks[-1]).hexdigest(),
            expected=root.sha256.hex(),
        )
    try:
        return [*(load_certificate(block) for block in blocks[:-1]), root]
    except FormatError as error:
        raise FormatError(error.offset, error.what, reason=codes.chain_malformed) from error


def _judge_issued(
    child: Certificate, issuer: Certificate, role: Role, codes: ChainCodes, what: str
) -> None:
    if child.issuer != issuer.subject:
        raise Refused(codes.cert_issuer_mismatch, f"issuer name of the {what}")
    if signed_by(child, issuer) is not Signed.YES:
        raise Refused(codes.cert_signature_invalid, f"the issuer's key did not sign the {what}")
    fault = profile_fault(child, role)
    if fault is not None:
        raise Refused(codes.cert_profile, f"{what}: {fault}")


def _judge_validity(certificate: Certificate, at: datetime, codes: ChainCodes, what: str) -> None:
    _judge_window(
        what,
        (certificate.not_before, certificate.not_after),
        at,
        early=codes.cert_not_yet_valid,
        late=codes.cert_expired,
    )


def judge_signer(
    chain: bytes,
    root: Certificate,
    root_crl: RevocationList | None,
    at: datetime,
    codes: ChainCodes,
) -> Certificate:
    """Steps T1 and T2: the recorded issuer chain gives Intel's collateral signer at ``at``.

    ``root_crl`` is None only where step R failed already. Raises FormatError, Refused.
    """
    signer, _ = _chain(chain, 2, root, codes)
    if not has_common_name(signer, CN_SIGNER):
        raise Refused(
            codes.cert_name, "the signer's common name", got=", ".join(signer.common_names)
        )
    _judge_issued(signer, root, Role.SIGNER, codes, "signer")
    _judge_validity(signer, at, codes, "the signer's certificate")
    if root_crl is not None and signer.serial in root_crl.revoked:
        raise Refused(codes.cert_revoked, "the signer is on the root's list")
    return signer


def _judge_body(body: SignedBody, signer: Certificate, codes: BodyCodes) -> None:
    key = signer.key
    if (
        key is None
        or signed_raw_by(signer.sha256, key, body.signature, body.signed, Curve.P256)
        is not Signed.YES
    ):
        raise Refused(codes.signature_invalid, "the signer's key did not sign these bytes")


def authentic_tcb_info(body: bytes, signer: Certificate) -> TcbInfo:
    """Steps T3 and T4: a TCB info that ``signer`` signed. Raises FormatError, Refused."""
    sliced = tcb_info_body(body)
    _judge_body(sliced, signer, TCB_INFO)
    return read_tcb_info(sliced)


def authentic_qe_identity(body: bytes, signer: Certificate) -> QeIdentity:
    """Steps I3 and I4: a QE identity that ``signer`` signed. Raises FormatError, Refused."""
    sliced = qe_identity_body(body)
    _judge_body(sliced, signer, QE_IDENTITY)
    return read_qe_identity(sliced)


def judge_tee(item: TcbInfo | QeIdentity, tee: Tee) -> None:
    """Step T4, last part: the item is for the quote's TEE. Raises Refused."""
    codes = TCB_INFO if isinstance(item, TcbInfo) else QE_IDENTITY
    if item.tee is not tee:
        raise Refused(
            codes.type_mismatch, "for another TEE", got=item.tee.value, expected=tee.value
        )


def judge_currency(item: TcbInfo | QeIdentity, at: datetime) -> None:
    """Steps T5 and I5. Raises Refused."""
    codes = TCB_INFO if isinstance(item, TcbInfo) else QE_IDENTITY
    _judge_window(
        "the TCB info" if isinstance(item, TcbInfo) else "the QE identity",
        (item.issue_date, item.next_update),
        at,
        early=codes.not_yet_valid,
        late=codes.expired,
    )


# --- P: PCK chain -------------------------------------------------------------------------------


@value(eq=False)
class PckChain:
    """Verified PCK certificates: leaf, its authority, the anchor. Revocation judged apart."""

    leaf: Certificate
    authority: Certificate
    root: Certificate
    kind: CaKind


def pck_chain_text(quote: Quote, recorded: bytes | None) -> bytes:
    """Step P1: the quote's own chain (type 5), else the recorded one (types 1 to 3).

    Raises Refused (``tdx.quote.cert_type_unsupported``).
    """
    if quote.cert_type == 5:
        return quote.cert_data
    if quote.cert_type in (1, 2, 3) and recorded is not None:
        return recorded
    start, stop = quote.spans["cert_type"]
    raise Refused(
        Reason.TDX_QUOTE_CERT_TYPE_UNSUPPORTED,
        "the quote carries no PCK chain and none is recorded for it",
        got=str(quote.cert_type),
        expected="5",
        start=start,
        stop=stop,
    )


def judge_pck_chain(text: bytes, root: Certificate, at: datetime) -> PckChain:
    """Steps P2 to P4. Raises FormatError, Refused (``tdx.pck.*``)."""
    codes = PCK_CHAIN
    leaf, authority, _ = _chain(text, 3, root, codes)
    if not has_common_name(leaf, CN_LEAF):
        raise Refused(codes.cert_name, "the leaf's common name", got=", ".join(leaf.common_names))
    if has_common_name(authority, CN_PLATFORM):
        kind = CaKind.PLATFORM
    elif has_common_name(authority, CN_PROCESSOR):
        kind = CaKind.PROCESSOR
    else:
        raise Refused(
            codes.cert_name, "the authority's common name", got=", ".join(authority.common_names)
        )
    _judge_issued(authority, root, Role.AUTHORITY, codes, "PCK authority")
    _judge_issued(leaf, authority, Role.PCK_LEAF, codes, "PCK leaf")
    _judge_validity(authority, at, codes, "the PCK authority")
    _judge_validity(leaf, at, codes, "the PCK leaf")
    return PckChain(leaf=leaf, authority=authority, root=root, kind=kind)


def judge_pck_standing(
    chain: PckChain, root_crl: RevocationList | None, pck_crl: RevocationList
) -> None:
    """Step P6. Raises Refused. ``root_crl`` is None only where step R failed already."""
    if root_crl is not None and chain.authority.serial in root_crl.revoked:
        raise Refused(Reason.TDX_PCK_CA_REVOKED, "the PCK authority is on the root's list")
    if chain.leaf.serial in pck_crl.revoked:
        raise Refused(
            Reason.TDX_PCK_CERT_REVOKED,
            "the PCK leaf is on its authority's list",
            got=f"{chain.leaf.serial:x}",
        )


def read_pck_extension(chain: PckChain) -> SgxExtension:
    """Step P7. Raises FormatError (``tdx.pck.extension_malformed``)."""
    return sgx_extension(chain.leaf, chain.kind)


# --- E, S: QE report and quote signature --------------------------------------------------------


def judge_qe_report_signature(quote: Quote, leaf: Certificate) -> None:
    """Steps E1 and E2: the PCK signed the QE report, the report names the attestation key."""
    start, stop = quote.spans["qe_report"]
    key = leaf.key
    if (
        key is None
        or signed_raw(key, quote.qe_report_signature, quote.qe_report.data, Curve.P256)
        is not Signed.YES
    ):
        raise Refused(
            Reason.TDX_QE_REPORT_SIGNATURE_INVALID,
            "the PCK leaf did not sign the QE report",
            start=start,
            stop=stop,
        )
    wanted = sha256(quote.attestation_key + quote.qe_authentication).digest() + bytes(32)
    found = quote.qe_report["report_data"]
    if found != wanted:
        raise Refused(
            Reason.TDX_QE_REPORT_KEY_BINDING_MISMATCH,
            "the QE report does not name this attestation key",
            got=found.hex(),
            expected=wanted.hex(),
            start=start + 320,
            stop=start + 384,
        )


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(byte & bit for byte, bit in zip(value, mask, strict=True))


def judge_qe(quote: Quote, identity: QeIdentity) -> ComponentLevel:
    """Steps E3 to E5: the quoting enclave is Intel's and acceptable; its level."""
    report = quote.qe_report
    base = quote.spans["qe_report"][0]

    def refuse(reason: Reason, name: str, got: str, expected: str) -> Refused:
        start, stop = report.span(name)
        return Refused(
            reason,
            f"{name} of the quoting enclave",
            got=got,
            expected=expected,
            start=base + start,
            stop=base + stop,
        )

    if report["mr_signer"] != identity.mr_signer:
        raise refuse(
            Reason.TDX_QE_REPORT_MRSIGNER_MISMATCH,
            "mr_signer",
            report["mr_signer"].hex(),
            identity.mr_signer.hex(),
        )
    if report.isv_prod_id != identity.isv_prod_id:
        raise refuse(
            Reason.TDX_QE_REPORT_PRODID_MISMATCH,
            "isv_prod_id",
            str(report.isv_prod_id),
            str(identity.isv_prod_id),
        )
    misc_select = _masked(report["misc_select"], identity.misc_select_mask)
    if misc_select != identity.misc_select:
        raise refuse(
            Reason.TDX_QE_REPORT_MISCSELECT_MISMATCH,
            "misc_select",
            misc_select.hex(),
            identity.misc_select.hex(),
        )
    attributes = _masked(report["attributes"], identity.attributes_mask)
    if attributes != identity.attributes:
        raise refuse(
            Reason.TDX_QE_REPORT_ATTRIBUTES_MISMATCH,
            "attributes",
            attributes.hex(),
            identity.attributes.hex(),
        )
    if report["attributes"][0] & 0x02:
        raise refuse(
            Reason.TDX_QE_REPORT_DEBUG, "attributes", report["attributes"].hex(), "no DEBUG flag"
        )
    level = first_level(identity.levels, report.isv_svn)
    if level is None:
        raise refuse(
            Reason.TDX_QE_REPORT_SVN_UNSUPPORTED, "isv_svn", str(report.isv_svn), "a listed level"
        )
    return level


def judge_quote_signature(quote: Quote) -> None:
    """Steps S1 and S2: the attestation key signed header, descriptor and body."""
    key = key_from_point(Curve.P256, quote.attestation_key)
    if key is None:
        start, stop = quote.spans["attestation_key"]
        raise Refused(
            Reason.TDX_QUOTE_ATTESTATION_KEY_INVALID,
            "the attestation key is no point on P-256",
            start=start,
            stop=stop,
        )
    if signed_raw(key, quote.signature, quote.signed, Curve.P256) is not Signed.YES:
        start, stop = quote.spans["signature"]
        raise Refused(
            Reason.TDX_QUOTE_SIGNATURE_INVALID,
            "the attestation key did not sign this quote",
            start=start,
            stop=stop,
        )


# --- V: TCB -------------------------------------------------------------------------------------


def _module_reference(info: TcbInfo, svn: bytes) -> Module:
    """Step V2."""
    version = svn[1]
    if version == 0 and info.tdx_module is not None:
        return info.tdx_module
    wanted = f"TDX_{version:02X}"
    for module in info.modules:
        if module.id == wanted:
            return module
    raise Refused(
        Reason.TDX_TCB_MODULE_IDENTITY_MISSING,
        "the TCB info has no identity for this module version",
        got=wanted,
        expected=", ".join(module.id for module in info.modules),
    )


def _judge_module(quote: Quote, reference: Module) -> None:
    """Step V3. The mask is not applied."""
    body = quote.body
    if body["mr_signer_seam"] != reference.mr_signer:
        start, stop = quote.span("mr_signer_seam")
        raise Refused(
            Reason.TDX_TCB_MODULE_SIGNER_MISMATCH,
            "signer of the TDX module",
            got=body["mr_signer_seam"].hex(),
            expected=reference.mr_signer.hex(),
            start=start,
            stop=stop,
        )
    if any(body["seam_attributes"]) or body["seam_attributes"] != reference.attributes:
        start, stop = quote.span("seam_attributes")
        raise Refused(
            Reason.TDX_TCB_MODULE_ATTRIBUTES_MISMATCH,
            "attributes of the TDX module",
            got=body["seam_attributes"].hex(),
            expected=reference.attributes.hex(),
            start=start,
            stop=stop,
        )


def _evaluate(
    svn: bytes | None, info: TcbInfo, extension: SgxExtension, qe_level: ComponentLevel
) -> Evaluation:
    """Evaluate(svn) of tdx.md 8.2."""
    platform = platform_level(
        info.levels,
        components=extension.components,
        pce_svn=extension.pce_svn,
        tdx_svn=svn,
    )
    module: ComponentLevel | None = None
    if svn is not None and svn[1] > 0:
        module = module_level(_module_reference(info, svn), svn)
    return merge(platform, module, qe_level)


def evaluate_tcb(
    quote: Quote, info: TcbInfo, extension: SgxExtension, qe_level: ComponentLevel
) -> TcbResult:
    """Steps V1 to V7. Raises Refused. Source: tdx.md 8."""
    if info.fmspc != extension.fmspc:
        raise Refused(
            Reason.TDX_TCB_INFO_FMSPC_MISMATCH,
            "the TCB info is for another platform family",
            got=info.fmspc.hex(),
            expected=extension.fmspc.hex(),
        )
    if info.pce_id != extension.pce_id:
        raise Refused(
            Reason.TDX_TCB_INFO_PCEID_MISMATCH,
            "the TCB info is for another PCE",
            got=info.pce_id.hex(),
            expected=extension.pce_id.hex(),
        )
    svn = quote.body.find("tee_tcb_svn")
    if svn is not None:
        _judge_module(quote, _module_reference(info, svn))
    launch = _evaluate(svn, info, extension, qe_level)
    current: Evaluation | None = None
    current_svn = quote.body.find("tee_tcb_svn2")
    if current_svn is not None:
        current = _evaluate(current_svn, info, extension, qe_level)
    if TcbStatus.REVOKED in (launch.status, None if current is None else current.status):
        raise Refused(
            Reason.TDX_TCB_REVOKED,
            "the platform's TCB is revoked",
            got=TcbStatus.REVOKED.value,
        )
    return TcbResult(
        status=after_relaunch(launch.status, None if current is None else current.status),
        launch=launch,
        current=current,
    )


# --- attribute findings -------------------------------------------------------------------------

_ATTRIBUTE_MASKS: Final = (
    (Reason.TDX_POLICY_TD_DEBUG, 1),
    (Reason.TDX_POLICY_TD_PROFILING, 0b111 << 4),
    # tdx.md 2.3: bits 1-3, 7-15, 23-26 and 32-61 must be zero
    (
        Reason.TDX_POLICY_TD_RESERVED_BITS,
        (0b111 << 1) | (0x1FF << 7) | (0b1111 << 23) | (((1 << 30) - 1) << 32),
    ),
    (Reason.TDX_POLICY_TD_MIGRATABLE, 1 << 29),
    (Reason.TDX_POLICY_TD_SERVTD_EXT, 1 << 17),
)


def attribute_findings(body: Body) -> tuple[Reason, ...]:
    """Say what kind of TD or enclave a body describes: the findings of tdx.md 9, in its order.

    A finding is a statement about the body, verified or not; policy decides what it means.
    """
    if body.report_type is ReportType.SGX:
        debug = body["attributes"][0] & 0x02
        return (Reason.TDX_POLICY_SGX_DEBUG,) if debug else ()
    bits = int.from_bytes(body["td_attributes"], "little")
    found = [reason for reason, mask in _ATTRIBUTE_MASKS if bits & mask]
    service = body.find("mr_service_td")
    if service is not None and any(service):
        found.append(Reason.TDX_POLICY_SERVICE_TD_BOUND)
    if not bits >> 28 & 1:
        found.append(Reason.TDX_POLICY_TD_SEPT_VE_DISABLE_CLEAR)
    return tuple(found)
