"""Anchor: one thing that is believed, for one purpose, for a time.

Source: verification.md 6.2, 4.2 T4.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum

from verify.engine.value import value


class Purpose(Enum):
    """What an anchor is believed for: closed list."""

    INTEL_SGX_ROOT = "intel-sgx-root"
    NVIDIA_DEVICE_ROOT = "nvidia-device-root"
    NVIDIA_RIM_ROOT = "nvidia-rim-root"
    NRAS_INTERMEDIATE = "nras-intermediate"
    AMD_ARK = "amd-ark"
    AWS_NITRO_ROOT = "aws-nitro-root"
    SIGSTORE_FULCIO = "sigstore-fulcio"
    SIGSTORE_REKOR = "sigstore-rekor"
    SIGSTORE_CT = "sigstore-ct"
    CAPTURE_SIGNER = "capture-signer"
    CAPTURE_SIGNER_CA = "capture-signer-ca"
    ATTACHMENT_SIGNER = "attachment-signer"
    TSA = "tsa"
    TLOG = "tlog"
    WITNESS = "witness"
    BEACON_LOG = "beacon-log"
    RESULT_ISSUER = "result-issuer"


VENDOR = frozenset(
    {
        Purpose.INTEL_SGX_ROOT,
        Purpose.NVIDIA_DEVICE_ROOT,
        Purpose.NVIDIA_RIM_ROOT,
        Purpose.NRAS_INTERMEDIATE,
        Purpose.AMD_ARK,
        Purpose.AWS_NITRO_ROOT,
        Purpose.SIGSTORE_FULCIO,
        Purpose.SIGSTORE_REKOR,
        Purpose.SIGSTORE_CT,
    }
)
"""Purposes with built-ins: an anchor the user adds counts only if the policy names the purpose."""


class Kind(Enum):
    """What an anchor's data is. ``pin``: a digest alone, matched against evidence."""

    X509 = "x509"
    SPKI = "spki"
    VKEY = "vkey"
    PIN = "pin"


class AnchorStatus(Enum):
    """Standing of an entry, as its file says."""

    ACTIVE = "active"
    RETIRED = "retired"
    COMPROMISED = "compromised"


class Standing(Enum):
    """How an anchor stands at an instant."""

    IN_FORCE = "in force"
    NOT_IN_FORCE = "not in force"
    COMPROMISED = "compromised"
    COMPROMISED_LATER = "compromised later"
    """Good at a *proven* instant; known to be compromised since some later one."""


BUILT_IN = "built-in"
SIGNER_OPTION = "--signer"


@value
class Anchor:
    """One anchor. ``data``: DER, or key text for ``vkey``; None for ``pin``.

    ``sha256``: lower-case hex over the DER (over the SPKI for ``spki`` and for pins of an
    intermediate, over the text for ``vkey``). ``start``, ``end``: inclusive, None is open.
    ``origin``: ``built-in``, ``--signer`` or the SHA-256 of the trust file.
    """

    name: str
    purpose: Purpose
    kind: Kind
    data: bytes | None
    sha256: str
    operator: str
    start: datetime | None
    end: datetime | None
    status: AnchorStatus
    since: datetime | None
    source: str
    origin: str

    @property
    def keyid(self) -> str:
        """The key id of an ``spki`` anchor: ``sha256:`` and the digest of its SPKI."""
        return f"sha256:{self.sha256}"

    @property
    def added(self) -> bool:
        """Whether the user added it (it is no built-in)."""
        return self.origin != BUILT_IN

    def standing(self, at: datetime, *, proven: bool) -> Standing:
        """Judge the anchor at an instant; both ends of its time are included.

        ``proven``: whether somebody other than the capturer vouches for ``at`` (an upper bound U).
        Without that a compromised key is never good: who holds it can claim any time (T4).
        """
        if self.start is not None and at < self.start:
            return Standing.NOT_IN_FORCE
        if self.end is not None and at > self.end:
            return Standing.NOT_IN_FORCE
        if self.status is AnchorStatus.COMPROMISED:
            if not proven or self.since is None or self.since <= at:
                return Standing.COMPROMISED
            return Standing.COMPROMISED_LATER
        return Standing.IN_FORCE
