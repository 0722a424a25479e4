"""Which subjects a bundle holds evidence of, judged on what its signed Statement lists.

"There" means listed, whether or not the bytes are: stripping a blob never makes a subject absent.

Source: verification.md 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from verify.checks.container import Attachments
from verify.wire.model import Statement
from verify.wire.statement import VerifiedStatement

ALWAYS: Final = frozenset({"container", "time", "session", "legacy"})
"""Subjects that every bundle has; ``legacy`` is only ever judged when the policy asks for it."""

ROLES: Final[Mapping[str, frozenset[str]]] = {
    "tdx": frozenset({"tdx.quote", "sgx.quote"}),
    "snp": frozenset({"snp.report"}),
    "vtpm": frozenset({"snp.hcl-report", "tpm.quote"}),
    "nitro": frozenset({"nitro.document"}),
    "event_log": frozenset({"dstack.event-log", "dstack.app-compose"}),
    "ccel": frozenset({"tdx.ccel"}),
    "compose_manager": frozenset({"dstack.compose-actions"}),
    "provenance": frozenset(
        {"sigstore.bundle", "release.manifest", "release.attestations", "release.digest"}
    ),
    "image": frozenset({"image.manifest", "image.config"}),
    "gpu": frozenset({"nvidia.gpu-evidence", "nvidia.switch-evidence", "nvidia.payload"}),
    "nras": frozenset({"nras.answer"}),
    "signature": frozenset({"provider.signature"}),
    "receipt": frozenset({"provider.receipt"}),
    "marker": frozenset({"session.marker"}),
}
"""A subject is there when an artifact of one of these roles is listed."""

BINDINGS: Final[Mapping[str, str]] = {
    "marker": "marker-in-request",
    "tls": "tls-in-evidence",
    "gpu_binding": "devices-in-evidence",
}
"""A subject is there, too, when a binding of this type is declared."""


def listed(subject: str, statement: Statement) -> bool:
    """Whether the Statement lists evidence of ``subject``."""
    if subject in ALWAYS:
        return True
    roles = ROLES.get(subject, frozenset())
    if any(artifact.role in roles for artifact in statement.artifacts):
        return True
    binding = BINDINGS.get(subject)
    if binding is not None and statement.bindings_of(binding):
        return True
    if subject == "content":
        return any(exchange.purpose == "chat" for exchange in statement.exchanges)
    if subject == "signature":
        return bool(statement.bindings_of("signature-covers"))
    if subject == "tls":
        return any(
            exchange.purpose == "attestation"
            and exchange.tls is not None
            and exchange.tls.spki is not None
            for exchange in statement.exchanges
        )
    return False


def present(subject: str, facts: Mapping[str, object]) -> bool:
    """Whether the bundle holds evidence of ``subject``, on the facts established so far.

    Without a verified Statement nothing is known to be absent, so the answer is yes: the check then
    ends BLOCKED by its needs instead of being excused.
    """
    verified = facts.get("statement.form")
    if not isinstance(verified, VerifiedStatement):
        return True
    if listed(subject, verified.statement):
        return True
    attachments = facts.get("attachments.form")
    if subject == "nras" and isinstance(attachments, Attachments):
        return any(attachment.kind == "nras-result" for attachment in attachments.accepted)
    return False
