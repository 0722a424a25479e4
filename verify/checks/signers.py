"""Who signed an envelope, and whether that counts: the trust store knows, the policy accepts.

A key id in a file only narrows the search; the key comes from the trust store, or from a
certificate that leads to an authority there. Nothing embedded in a bundle is believed.

Source: bundle-format.md 9.1, 9.5 (steps 4 and 5); verification.md 7.1 (states of signers).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

from verify.crypto.ecdsa import Signed
from verify.crypto.signatures import SignerKey, load_signer_key, signed
from verify.crypto.x509 import Certificate, load_certificate, signed_by
from verify.engine.errors import FormatError
from verify.engine.reason import Reason
from verify.engine.value import value
from verify.trust.anchor import SIGNER_OPTION, Anchor, Kind, Purpose
from verify.trust.store import TrustStore
from verify.wire.container import Signature, SignedRecord
from verify.wire.model import KeyId
from verify.wire.statement import AcceptedSigner

_KNOWN_CRITICAL: Final = frozenset(("2.5.29.15", "2.5.29.19", "2.5.29.37"))


class SignerState(Enum):
    """How one signature of an envelope stands."""

    ACCEPTED = "accepted"
    NOT_ACCEPTED = "known-not-accepted"
    UNKNOWN = "unknown"
    BAD = "bad-signature"


@value
class JudgedSigner:
    """One signature, judged. ``name``, ``operator``, ``anchor``: of the trust entry, if any.

    ``broken_chain``: what is wrong with certificates that name a trusted authority.
    """

    index: int
    keyid: KeyId
    state: SignerState
    name: str | None = None
    operator: str | None = None
    anchor: str | None = None
    chain: tuple[bytes, ...] = ()
    signature: bytes = b""
    broken_chain: str = ""

    def accepted(self) -> AcceptedSigner:
        """Return the fact about an accepted signer. Raises ValueError for any other."""
        if self.state is not SignerState.ACCEPTED or self.anchor is None:
            message = f"{self.keyid} is not accepted"
            raise ValueError(message)
        return AcceptedSigner(
            keyid=self.keyid,
            name=self.name or "",
            operator=self.operator or "",
            anchor=self.anchor,
            chain=self.chain,
            signature=self.signature,
        )


class _Broken(Exception):  # noqa: N818  (an answer, caught a few lines further up)
    """Certificates that name a trusted authority and do not lead to it."""


def _spki(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415  (chains are rare)
        Encoding,
        PublicFormat,
    )

    try:
        key = certificate.native.public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception:  # noqa: BLE001  (a key the library does not know throws many things)
        raise _Broken("a certificate whose key cannot be read") from None


def _issued(chain: Sequence[Certificate], authority: Certificate) -> SignerKey:
    """Check a chain, leaf first, up to an authority; return the leaf's key. Raises `_Broken`."""
    for depth, (child, issuer) in enumerate(zip(chain, (*chain[1:], authority), strict=True)):
        if child.issuer != issuer.subject or signed_by(child, issuer) is not Signed.YES:
            raise _Broken(f"certificate {depth} is not issued by the next")
        if issuer.ca is not True or not issuer.may_sign_certs:
            raise _Broken(f"the issuer of certificate {depth} is no authority")
        if issuer.path_length is not None and issuer.path_length < depth:
            raise _Broken(f"the issuer of certificate {depth} allows no such length")
    for certificate in chain:
        for oid, extension in certificate.extensions.items():
            if extension.critical and oid not in _KNOWN_CRITICAL:
                raise _Broken(f"a critical extension {oid} that is not known here")
    leaf = chain[0]
    if leaf.ca is True or not leaf.may_sign:
        raise _Broken("the leaf is not made for signing")
    try:
        return load_signer_key(_spki(leaf))
    except FormatError as error:
        raise _Broken(f"the leaf's key: {error.what}") from None


def _authority(
    chain: Sequence[bytes], anchors: Iterable[Anchor]
) -> tuple[Anchor, Certificate, tuple[Certificate, ...]] | None:
    """Find the trusted authority that the last certificate names as its issuer."""
    try:
        certificates = tuple(load_certificate(der) for der in chain)
    except FormatError:
        return None
    for anchor in anchors:
        if anchor.kind is not Kind.X509 or anchor.data is None:
            continue
        try:
            authority = load_certificate(anchor.data)
        except FormatError:
            continue
        if certificates and certificates[-1].issuer == authority.subject:
            return anchor, authority, certificates
    return None


@value
class SignerRules:
    """Which keys count for one purpose. ``references``: of the policy, names or key ids."""

    trust: TrustStore
    purpose: Purpose
    references: tuple[str, ...]

    def accepts(self, anchor: Anchor) -> bool:
        """Whether the policy names this trust entry.

        A key given singly on the command line counts where the policy names nobody at all.
        """
        if not self.references:
            return anchor.origin == SIGNER_OPTION
        return anchor.sha256 in self.trust.accepted(anchor.purpose, self.references)

    def _state(self, accepted: bool) -> SignerState:
        return SignerState.ACCEPTED if accepted else SignerState.NOT_ACCEPTED

    def _by_key(self, index: int, found: Signature, anchor: Anchor, message: bytes) -> JudgedSigner:
        state = self._state(self.accepts(anchor))
        try:
            key = load_signer_key(anchor.data or b"")
        except FormatError:
            made = Signed.NO
        else:
            made = signed(key, found.sig, message)
        if made is not Signed.YES:
            state = SignerState.BAD
        return JudgedSigner(
            index=index,
            keyid=found.keyid,
            state=state,
            name=anchor.name,
            operator=anchor.operator,
            anchor=anchor.sha256,
            signature=found.sig,
        )

    def _by_chain(
        self, index: int, found: Signature, chain: tuple[bytes, ...], message: bytes
    ) -> JudgedSigner:
        unknown = JudgedSigner(index=index, keyid=found.keyid, state=SignerState.UNKNOWN)
        if self.purpose is not Purpose.CAPTURE_SIGNER:
            return unknown
        named = _authority(chain, self.trust.of(Purpose.CAPTURE_SIGNER_CA))
        if named is None:
            return unknown
        anchor, authority, certificates = named
        broken = ""
        state = self._state(self.accepts(anchor) or found.keyid in self.references)
        try:
            key = _issued(certificates, authority)
        except _Broken as error:
            state, broken = SignerState.BAD, str(error)
        else:
            if key.keyid != found.keyid:
                state, broken = SignerState.BAD, "the leaf's key is another than the key id says"
            elif signed(key, found.sig, message) is not Signed.YES:
                state = SignerState.BAD
        return JudgedSigner(
            index=index,
            keyid=found.keyid,
            state=state,
            name=anchor.name,
            operator=anchor.operator,
            anchor=anchor.sha256,
            chain=chain,
            signature=found.sig,
            broken_chain=broken,
        )

    def judge(self, record: SignedRecord) -> tuple[JudgedSigner, ...]:
        """Judge every signature of a record, in its order."""
        message = record.envelope.signed
        judged = []
        for index, found in enumerate(record.envelope.signatures):
            anchor = self.trust.find_signer(self.purpose, found.keyid)
            if anchor is not None:
                judged.append(self._by_key(index, found, anchor, message))
            else:
                judged.append(self._by_chain(index, found, record.chain(found.keyid), message))
        return tuple(judged)


def fault_of(signer: JudgedSigner) -> Reason:
    """Return the envelope code for a signer whose state is BAD."""
    if signer.broken_chain:
        return Reason.ENVELOPE_CHAIN_INVALID
    return Reason.ENVELOPE_SIGNATURE_INVALID
