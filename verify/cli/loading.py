"""Policy and trust of a call: files to typed values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from verify.cli.files import KEY_LIMIT, POLICY_LIMIT, TRUST_LIMIT, read_file
from verify.policy.loader import load_default, load_policy
from verify.trust.file import read_signer, read_trust_file
from verify.trust.store import TrustStore

if TYPE_CHECKING:
    from verify.policy.model import Policy


def policy_of(file: str | None, profile: str | None) -> Policy:
    """Return the policy of ``--policy`` or ``--profile``; exactly one of them is given.

    Raises UsageError, MalformedInput (kind policy).
    """
    if file is not None:
        return load_policy(read_file(file, POLICY_LIMIT, "policy"), file=file)
    return load_default(profile or "")


def trust_of(files: Sequence[str], signers: Sequence[str]) -> TrustStore:
    """Return the built-in anchors with those of trust files and signer keys.

    Raises UsageError, MalformedInput (kind trust), InternalFault where a built-in is damaged.
    """
    read = [read_trust_file(read_file(name, TRUST_LIMIT, "trust"), file=name) for name in files]
    keys = [read_signer(read_file(name, KEY_LIMIT, "trust"), file=name) for name in signers]
    return TrustStore.build(files=read, signers=keys)
