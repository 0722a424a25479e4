"""`policy check`: read a policy as strictly as the verifier does, and say what it demands.

Source: verification.md 5.
"""

from __future__ import annotations

from collections.abc import Iterable

from verify.engine.check import Mode
from verify.policy.loader import load_policy
from verify.policy.model import AnyOf, AnyText, Policy, Set
from verify.policy.subjects import NAMED


def check_policy(data: bytes, *, file: str | None = None) -> str:
    """Read a policy and say in a few lines what it demands. Raises MalformedInput."""
    policy = load_policy(data, file=file)
    by_mode: dict[str, list[str]] = {Mode.REQUIRED: [], Mode.IF_PRESENT: [], Mode.EXCLUDED: []}
    for subject in NAMED:
        by_mode[policy.mode(subject)].append(subject)
    gaps = list(_gaps(policy))
    lines = [
        f"{policy.name} {policy.version} (sha256:{policy.sha256})",
        f"profile     {policy.profile}; shapes {', '.join(policy.shapes)}",
        f"signers     {', '.join(policy.signers.accept) or 'none named'}",
        f"required    {' '.join(by_mode[Mode.REQUIRED])}",
        f"if present  {' '.join(by_mode[Mode.IF_PRESENT]) or '-'}",
        f"excluded    {' '.join(by_mode[Mode.EXCLUDED]) or '-'}",
        *(f"waived      {waiver.check}: {waiver.because}" for waiver in policy.waive),
        *(f"open        {gap}" for gap in gaps),
    ]
    return "\n".join(lines) + "\n"


def _gaps(policy: Policy) -> Iterable[str]:
    """Name every place where a value is demanded and none is given."""
    if not policy.signers.accept:
        yield "signers.accept names nobody: envelope.signer_unknown unless --signer is given"
    if policy.time.require.rank > 0 and not (policy.time.accept_tsa or policy.time.accept_logs):
        yield f"time.require is {policy.time.require.value}, but no authority is named"
    if policy.tdx is not None:
        demanded = [name for name, rule in policy.tdx.fields.items() if isinstance(rule, Set)]
        if demanded and not policy.tdx.sets:
            yield f"tdx.sets is empty, but {', '.join(demanded)} are demanded"
        for name, rule in policy.tdx.fields.items():
            if isinstance(rule, AnyOf) and not rule.values:
                yield f"tdx.fields.{name} lists no value"
    if policy.event_log is not None and not policy.event_log.compose_hashes:
        yield "event_log.compose_hashes is empty"
    if policy.gpu is not None:
        for name, text in (("driver", policy.gpu.driver), ("vbios", policy.gpu.vbios)):
            if isinstance(text, AnyText) and not text.values:
                yield f"gpu.{name} lists no value"
