"""The JSON report: normative form, the same bytes for the same inputs on any machine.

Members stand in the order of verification.md 7.1; absent values are null, never left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from verify.engine.outcome import Finding, Note, shown
from verify.engine.report import (
    FREE_TEXT,
    SCHEMA,
    AbsentArtifact,
    AsOfSummary,
    AttachmentSummary,
    Bound,
    CheckRow,
    ErrorReport,
    ErrorSummary,
    InputSummary,
    Meaning,
    PolicySummary,
    Report,
    Sentence,
    SignerSummary,
    ToolSummary,
    TrustSummary,
    Waived,
    timestamp,
)

Document = dict[str, object]


def _time(instant: datetime | None) -> str | None:
    return None if instant is None else timestamp(instant)


def _text(value: str | None) -> str | None:
    return None if value is None else shown(value, FREE_TEXT)


def _tool(tool: ToolSummary) -> Document:
    return {
        "name": tool.name,
        "version": tool.version,
        "catalogue": tool.catalogue,
        "catalogueSha256": tool.catalogue_sha256,
    }


def _error(error: ErrorSummary | None) -> Document | None:
    if error is None:
        return None
    return {
        "kind": error.kind,
        "code": error.code,
        "file": error.file,
        "pointer": error.pointer,
        "what": error.what,
    }


def _signer(signer: SignerSummary) -> Document:
    return {
        "keyid": signer.keyid,
        "name": signer.name,
        "operator": _text(signer.operator),
        "state": signer.state,
    }


def _input(given: InputSummary) -> Document:
    return {
        "fileSha256": given.file_sha256,
        "size": given.size,
        "bundleId": given.bundle_id,
        "payloadSha256": given.payload_sha256,
        "profileClaimed": _text(given.profile_claimed),
        "mode": given.mode,
        "complete": given.complete,
        "signers": [_signer(signer) for signer in given.signers],
    }


def _policy(policy: PolicySummary | None) -> Document | None:
    if policy is None:
        return None
    return {
        "name": _text(policy.name),
        "version": _text(policy.version),
        "sha256": policy.sha256,
        "profile": _text(policy.profile),
    }


def _trust(trust: TrustSummary) -> Document:
    return {
        "builtin": trust.builtin,
        "files": list(trust.files),
        "addedVendorAnchors": [
            {"purpose": anchor.purpose, "name": anchor.name, "sha256": anchor.sha256}
            for anchor in trust.added_vendor_anchors
        ],
        "oldestSnapshotDays": trust.oldest_snapshot_days,
    }


def _bound(bound: Bound | None) -> Document | None:
    return None if bound is None else {"instant": timestamp(bound.instant), "by": _text(bound.by)}


def _as_of(as_of: AsOfSummary) -> Document:
    window = as_of.evidence_window
    claimed = as_of.claimed_start is not None and as_of.claimed_end is not None
    return {
        "source": as_of.source,
        "instant": _time(as_of.instant),
        "level": as_of.level,
        "claimed": {"start": _time(as_of.claimed_start), "end": _time(as_of.claimed_end)}
        if claimed
        else None,
        "notBefore": _bound(as_of.not_before),
        "notAfter": _bound(as_of.not_after),
        "evidenceWindow": None
        if window is None
        else {"from": _time(window.start), "until": _time(window.end)},
    }


def _finding(finding: Finding) -> Document:
    return {
        "reason": finding.reason.code,
        "pointer": shown(str(finding.pointer), FREE_TEXT),
        "got": finding.got,
        "expected": finding.expected,
    }


def _check(row: CheckRow) -> Document:
    return {
        "id": row.id,
        "status": row.status.value,
        "reason": None if row.reason is None else row.reason.code,
        "detail": row.detail,
        "findings": [_finding(finding) for finding in row.findings],
        "matched": list(row.matched),
    }


def _waived(row: Waived) -> Document:
    return {
        "check": row.check,
        "subject": row.subject,
        "kind": row.kind,
        "because": row.because,
        "underlying": row.underlying,
    }


def _absent(row: AbsentArtifact) -> Document:
    return {
        "artifact": row.artifact,
        "role": row.role,
        "state": row.state,
        "reason": row.reason,
        "attachment": row.attachment,
    }


def _attachment(row: AttachmentSummary) -> Document:
    return {
        "id": row.id,
        "kind": row.kind,
        "by": _text(row.by),
        "at": _time(row.at),
        "signer": _text(row.signer),
        "status": row.status,
    }


def _note(note: Note) -> Document:
    pointer = None if note.pointer is None else shown(str(note.pointer), FREE_TEXT)
    return {"code": note.reason.code, "text": note.text, "pointer": pointer}


def _sentences(sentences: tuple[Sentence, ...]) -> list[Document]:
    return [{"text": sentence.text, "checks": list(sentence.checks)} for sentence in sentences]


def _meaning(meaning: Meaning) -> Document:
    return {
        "proven": _sentences(meaning.proven),
        "claimed": _sentences(meaning.claimed),
        "notCovered": _sentences(meaning.uncovered),
    }


def document(report: Report | ErrorReport) -> Mapping[str, object]:
    """Return the report as plain values, members in their normative order."""
    match report:
        case ErrorReport():
            return {
                "verdict": None,
                "exitCode": int(report.exit_code),
                "schema": SCHEMA,
                "tool": _tool(report.tool),
                "error": _error(report.error),
                "input": None,
                "policy": _policy(report.policy),
                "trust": None,
                "asOf": None,
                "summary": None,
                "checks": [],
                "waived": [],
                "absent": [],
                "meaning": None,
                "limits": [],
                "attachments": [],
                "notes": [],
                "reappraisal": None,
            }
        case Report():
            return {
                "verdict": report.verdict.value,
                "exitCode": int(report.exit_code),
                "schema": SCHEMA,
                "tool": _tool(report.tool),
                "error": _error(report.error),
                "input": _input(report.input),
                "policy": _policy(report.policy),
                "trust": _trust(report.trust),
                "asOf": _as_of(report.as_of),
                "summary": dict(report.summary),
                "checks": [_check(row) for row in report.checks],
                "waived": [_waived(row) for row in report.waived],
                "absent": [_absent(row) for row in report.absent],
                "meaning": _meaning(report.meaning),
                "limits": [{"code": n.reason.code, "text": n.text} for n in report.limits],
                "attachments": [_attachment(row) for row in report.attachments],
                "notes": [_note(note) for note in report.notes],
                "reappraisal": None,
            }


def rendered(report: Report | ErrorReport) -> bytes:
    """Return the JSON report: UTF-8, one-space indentation, LF, one final LF."""
    text = json.dumps(document(report), ensure_ascii=False, indent=1, allow_nan=False)
    return text.encode() + b"\n"
