"""A second opinion from dcap-qvl, where it is installed. Imported only when asked for.

It is asked about quotes alone that our own procedure accepted: on a chain whose names do not meet,
an assertion in it ends the whole process.

Source: tdx.md 17.2, 17.3.
"""

from __future__ import annotations

import base64
import importlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Final, cast

from verify.crypto.x509 import Certificate, recorded_crl_der
from verify.engine.errors import FormatError
from verify.engine.value import value
from verify.intel.appraisal import Answer
from verify.intel.collateral import QeIdentity, TcbInfo, qe_identity_body, tcb_info_body
from verify.intel.dcap import PckChain, attribute_findings
from verify.intel.quote import Quote

VERSION: Final = "0.7.0"
_AUTHENTICATION_BYTES: Final = 32


@value
class Opinion:
    """``status``: its TCB status, None where it rejects; ``error``: its own text then."""

    status: str | None
    advisory_ids: tuple[str, ...]
    error: str | None


@value
class OneOfEach:
    """The collateral one quote was judged with."""

    tcb_info: Answer
    qe_identity: Answer
    pck_crl: bytes
    root_crl: bytes
    chain: PckChain
    pck_chain: bytes | None


def _pem(certificate: Certificate) -> str:
    lines = base64.encodebytes(certificate.der).decode("ascii")
    return f"-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n"


def engine_json(collateral: OneOfEach) -> str:
    """Return the engine's own JSON form. Raises FormatError where our readers would."""
    info = tcb_info_body(collateral.tcb_info.body)
    identity = qe_identity_body(collateral.qe_identity.body)
    members = {
        # Ours does not use the chain recorded beside the list; the engine wants one.
        "pck_crl_issuer_chain": _pem(collateral.chain.authority) + _pem(collateral.chain.root),
        "root_ca_crl": recorded_crl_der(collateral.root_crl).hex(),
        "pck_crl": recorded_crl_der(collateral.pck_crl).hex(),
        "tcb_info_issuer_chain": collateral.tcb_info.chain.decode("ascii", "replace"),
        "tcb_info": info.signed.decode("utf-8"),
        "tcb_info_signature": info.signature.hex(),
        "qe_identity_issuer_chain": collateral.qe_identity.chain.decode("ascii", "replace"),
        "qe_identity": identity.signed.decode("utf-8"),
        "qe_identity_signature": identity.signature.hex(),
    }
    if collateral.pck_chain is not None:
        members["pck_certificate_chain"] = collateral.pck_chain.decode("ascii", "replace")
    return json.dumps(members)


def installed() -> bool:
    """Whether the engine can be imported."""
    try:
        importlib.import_module("dcap_qvl")
    except ImportError:
        return False
    return True


def second_opinion(quote: bytes, collateral: OneOfEach, at: datetime, anchor: bytes) -> Opinion:
    """Ask the engine about the same bytes at the same instant. Raises ImportError."""
    module = importlib.import_module("dcap_qvl")
    read = cast("Callable[[str], object]", module.QuoteCollateralV3.from_json)
    verify = cast("Callable[[bytes, object, bytes, int], object]", module.verify_with_root_ca)
    try:
        found = verify(quote, read(engine_json(collateral)), anchor, int(at.timestamp()))
    except (ValueError, OverflowError, TypeError, FormatError) as error:
        return Opinion(status=None, advisory_ids=(), error=str(error))
    return Opinion(
        status=str(getattr(found, "status", None)),
        advisory_ids=tuple(sorted(str(name) for name in getattr(found, "advisory_ids", ()))),
        error=None,
    )


def expected_to_differ(
    quote: Quote,
    *,
    info: TcbInfo,
    identity: QeIdentity,
    crl_ends: tuple[datetime | None, ...],
    at: datetime,
) -> str | None:
    """Say which class of tdx.md 17.2 lets the engine be stricter or different here, or None."""
    if len(quote.qe_authentication) != _AUTHENTICATION_BYTES:
        return "QE authentication data is not 32 bytes"
    if attribute_findings(quote.body):
        return "attribute findings reject there"
    if at in crl_ends:
        return "the end of a revocation list is exclusive there"
    if not (info.modules_in_order and identity.levels_in_order):
        return "module and QE levels are taken in file order there"
    return None
