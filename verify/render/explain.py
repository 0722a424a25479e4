"""What one check asks, rests on, proves and does not prove; and the catalogue as a list.

Source: verification.md 3, 7.2 X6.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from verify.engine.check import Catalogue, Check, I
from verify.engine.outcome import shown
from verify.engine.reason import Reason, ReasonClass
from verify.wire.model import Artifact

READS: Final[Mapping[str, tuple[str, ...]]] = {
    "time": ("time.",),
    "session": ("provider.", "tdx.quote", "sgx.quote", "snp.report", "nitro.document"),
    "tdx": ("tdx.quote", "sgx.quote", "intel."),
    "second_engine": ("tdx.quote", "sgx.quote", "intel."),
    "snp": ("snp.", "amd."),
    "vtpm": ("snp.hcl-report", "tpm."),
    "nitro": ("nitro.",),
    "event_log": ("tdx.quote", "dstack."),
    "ccel": ("tdx.quote", "tdx.ccel"),
    "compose_manager": ("tdx.quote", "dstack.compose-actions"),
    "provenance": ("sigstore.", "release."),
    "image": ("image.", "provider.attestation"),
    "gpu": ("nvidia.",),
    "gpu_binding": ("nvidia.", "tdx.quote"),
    "nras": ("nras.", "nvidia.gpu-evidence", "nvidia.switch-evidence"),
    "tls": ("tls.certificate", "provider.attestation", "tdx.quote"),
    "signature": ("provider.signature", "provider.attestation", "http.response.headers"),
    "receipt": ("provider.receipt", "provider.session", "provider.attestation"),
    "content": ("http.", "provider.signature", "provider.receipt"),
    "marker": ("session.marker", "http.request.body"),
    "legacy": ("tdx.quote", "nvidia.gpu-evidence"),
}
"""Role prefixes that the checks of a subject read; a subject that is not named reads them all."""

_WHAT: Final = {
    ReasonClass.REJECT: "REJECTED because of",
    ReasonClass.ABSENT: "blocked by",
    ReasonClass.NOTE: "may note",
}
_RULE: Final = (
    "PASS only if the answer is yes for every item of its kind. A contradiction is FAIL, a "
    "question that cannot be answered is BLOCKED; neither is ever taken for a pass."
)


def read_by(subject: str, artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """Return the artifacts that the checks of ``subject`` read, in Statement order."""
    prefixes = READS.get(subject)
    if prefixes is None:
        return tuple(artifacts)
    return tuple(a for a in artifacts if a.role.startswith(prefixes))


def _reason_lines(reasons: Iterable[Reason]) -> list[str]:
    lines = []
    given = sorted(reasons, key=lambda reason: reason.code)
    for kind, heading in _WHAT.items():
        codes = [reason.code for reason in given if reason.kind is kind]
        if codes:
            lines.append(f"{heading}")
            lines += [f"  {code}" for code in codes]
    return lines


def explained(check: Check[I], artifacts: Sequence[Artifact] | None = None) -> str:
    """Return everything there is to say about a check; with ``artifacts``, its inputs as well.

    ``artifacts``: what a bundle's Statement lists (a claim of its signer until it is verified).
    """
    needs = list(check.needs) + [f"{need} (or out of scope)" for need in check.soft_needs]
    lines = [
        check.id,
        f"  {check.title}",
        "",
        f"subject          {check.subject}",
        f"specification    {check.spec}",
        f"rests on         {', '.join(needs) or 'nothing before it'}",
        f"proves           {check.proves}",
        f"does not prove   {check.does_not_prove}",
        f"rule             {_RULE}",
    ]
    if artifacts is not None:
        read = read_by(check.subject, artifacts)
        lines += ["", f"inputs in this bundle ({len(read)}), as its Statement lists them:"]
        lines += [f"  {a.id}  {shown(a.role)}  {a.size} bytes  {a.digest}" for a in read]
    lines += ["", *_reason_lines(check.reasons)]
    return "\n".join(lines).rstrip() + "\n"


def catalogue_text(catalogue: Catalogue[I]) -> str:
    """Return the catalogue for people: number, id, subject, question."""
    width = max(len(check.id) for check in catalogue)
    lines = [
        f"{number:>2}  {check.id:<{width}}  [{check.subject}] {check.title}"
        for number, check in enumerate(catalogue, start=1)
    ]
    return "\n".join(lines) + "\n"


def catalogue_json(catalogue: Catalogue[I], catalogue_id: str, digest: str) -> str:
    """Return the catalogue for programs, reasons included."""
    rows = [
        {
            "id": check.id,
            "subject": check.subject,
            "title": check.title,
            "spec": check.spec,
            "needs": list(check.needs),
            "softNeeds": list(check.soft_needs),
            "proves": check.proves,
            "doesNotProve": check.does_not_prove,
            "reasons": [
                {"code": reason.code, "class": reason.kind.value}
                for reason in sorted(check.reasons, key=lambda reason: reason.code)
            ],
        }
        for check in catalogue
    ]
    document = {"catalogue": catalogue_id, "catalogueSha256": digest, "checks": rows}
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"
