"""Who signed a Nitro document: its leaf, and the chain from the leaf up to a trusted root.

Every certificate is judged at the document's own time: a leaf lives three hours, so no later
instant makes sense.

Source: sev-snp.md 17.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from verify.crypto.certificate import Certificate
from verify.crypto.ecdsa import Curve, Signed, signed_raw
from verify.crypto.x509 import load_certificate, signed_by
from verify.engine.errors import FormatError, Refused
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.nitro.document import NitroDocument

_CONSTRAINTS: Final = frozenset(("2.5.29.19", "2.5.29.15"))
"""Object identifiers of basicConstraints and keyUsage: the critical extensions that are judged."""


@value
class Chain:
    """The certificates of a document, root first, the leaf last."""

    certificates: tuple[Certificate, ...]

    @property
    def root(self) -> Certificate:
        """The first of the bundle."""
        return self.certificates[0]

    @property
    def leaf(self) -> Certificate:
        """The one that signed the document."""
        return self.certificates[-1]


def read_chain(document: NitroDocument) -> Chain:
    """Read every certificate. Raises `FormatError` (``nitro.document.malformed``)."""
    try:
        found = tuple(load_certificate(der) for der in (*document.cabundle, document.certificate))
    except FormatError as error:
        raise FormatError(
            error.offset, error.what, reason=Reason.NITRO_DOCUMENT_MALFORMED
        ) from error
    return Chain(certificates=found)


def judge_signature(document: NitroDocument, chain: Chain) -> None:
    """Demand the leaf's signature. Raises `Refused` (``nitro.document.signature_invalid``)."""
    key = chain.leaf.key
    good = (
        key is not None
        and chain.leaf.curve is Curve.P384
        and signed_raw(key, document.signature, document.signed, Curve.P384) is Signed.YES
    )
    if not good:
        raise Refused(
            Reason.NITRO_DOCUMENT_SIGNATURE_INVALID,
            "the document's own certificate did not sign it",
            got=document.signature.hex(),
            expected="a signature by the leaf's P-384 key",
        )


def judge_time(document: NitroDocument, instant: datetime, distance_s: int) -> None:
    """Demand that the document is of the instant. Raises `Refused`."""
    apart = abs((document.timestamp - instant).total_seconds())
    if apart > distance_s:
        raise Refused(
            Reason.NITRO_DOCUMENT_TIME_MISMATCH,
            "the document was made at another time",
            got=document.timestamp.isoformat(),
            expected=f"within {distance_s} s of {instant.isoformat()}",
        )


def _refuse_constraint(what: str, certificate: Certificate) -> Refused:
    return Refused(
        Reason.NITRO_CHAIN_CONSTRAINT_VIOLATED,
        what,
        got=", ".join(certificate.common_names),
        expected="authorities down to one leaf that signs",
    )


def _judge_roles(certificates: Sequence[Certificate]) -> None:
    for place, certificate in enumerate(certificates):
        below = len(certificates) - place - 2
        if any(
            extension.critical and oid not in _CONSTRAINTS
            for oid, extension in certificate.extensions.items()
        ):
            raise _refuse_constraint("a critical extension that nobody here knows", certificate)
        if below < 0:
            if certificate.ca or not certificate.may_sign:
                raise _refuse_constraint("the leaf is no leaf that signs", certificate)
            continue
        if not certificate.ca or not certificate.may_sign_certs:
            raise _refuse_constraint("an issuer is no authority", certificate)
        if certificate.path_length is not None and certificate.path_length < below:
            raise _refuse_constraint("more authorities than the path length allows", certificate)


def judge_chain(document: NitroDocument, chain: Chain, roots: Collection[bytes]) -> None:
    """Demand an unbroken chain from a trusted root (SHA-256 of its DER), valid at the document.

    Raises `Refused`: ``nitro.chain.root_not_trusted``, ``.signature_invalid``,
    ``.constraint_violated``, ``.not_valid_at_timestamp``.
    """
    if chain.root.sha256 not in roots:
        raise Refused(
            Reason.NITRO_CHAIN_ROOT_NOT_TRUSTED,
            "the first certificate of the bundle is no trusted root",
            got=chain.root.sha256.hex(),
            expected=" or ".join(sorted(root.hex() for root in roots)) or "a trusted root",
        )
    certificates = chain.certificates
    for issuer, child in pairwise(certificates):
        signed = issuer.curve is Curve.P384 and signed_by(child, issuer) is Signed.YES
        if not signed or child.issuer != issuer.subject:
            raise Refused(
                Reason.NITRO_CHAIN_SIGNATURE_INVALID,
                "a certificate was not issued by the one before it",
                got=", ".join(child.common_names),
                expected=f"issued by {', '.join(issuer.common_names)}",
            )
    _judge_roles(certificates)
    for certificate in certificates:
        if not certificate.not_before <= document.timestamp <= certificate.not_after:
            raise Refused(
                Reason.NITRO_CHAIN_NOT_VALID_AT_TIMESTAMP,
                "a certificate is not valid at the document's own time",
                got=document.timestamp.isoformat(),
                expected=(
                    f"{certificate.not_before.isoformat()} to {certificate.not_after.isoformat()}"
                ),
            )
