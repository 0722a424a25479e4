"""The report for people: verdict first, then everything that is not a pass, then the limits.

Every string that came from outside is escaped (control and bidirectional characters), nothing of a
body is printed, and no line suggests to weaken a policy. Source: verification.md 7.2, X1 to X6.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from verify.engine.outcome import Finding, Status, shown
from verify.engine.reason import Reason
from verify.engine.report import (
    AbsentArtifact,
    CheckRow,
    ErrorReport,
    ErrorSummary,
    Report,
    Verdict,
    Waived,
)

ALWAYS_UNSHOWN: Final = (
    "the capturer could have left out other exchanges",
    "a passed check says what it proves and no more: see `explain CHECK`",
)
_FINDINGS_SHOWN: Final = 3
_LEGACY: Final = "gpu.legacy."
_BOLD: Final = "\x1b[1m"
_RED: Final = "\x1b[31m"
_GREEN: Final = "\x1b[32m"
_YELLOW: Final = "\x1b[33m"
_DIM: Final = "\x1b[2m"
_RESET: Final = "\x1b[0m"

LEVELS: Final = {
    "claimed": "claimed by the capturer only",
    "upper": "upper bound proven",
    "bracketed": "bracketed by proven bounds",
}


_VERDICT_STYLE: Final = {
    Verdict.VERIFIED: _GREEN,
    Verdict.REJECTED: _RED,
    Verdict.INCOMPLETE: _YELLOW,
}
_STATUS_STYLE: Final = {
    Status.PASS: _GREEN,
    Status.FAIL: _RED,
    Status.BLOCKED: _YELLOW,
    Status.NOT_APPLICABLE: _DIM,
    Status.ERROR: _RED,
}


class Paint:
    """Adds terminal colours, or nothing: output without colour holds no escape sequence."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, style: str, text: str) -> str:
        """Return ``text`` in ``style``."""
        return f"{style}{text}{_RESET}" if self._colour else text

    def verdict(self, verdict: Verdict) -> str:
        """Return the verdict in its colour."""
        return self(_BOLD + _VERDICT_STYLE[verdict], verdict.value)

    def status(self, status: Status, width: int) -> str:
        """Return a status, padded, in its colour."""
        return self(_STATUS_STYLE[status], f"{status.value:<{width}}")


def seconds(instant: datetime) -> str:
    """Return an instant in UTC to the second, e.g. ``2026-11-21T06:10:03Z``."""
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _trust_line(report: Report) -> str:
    trust = report.trust
    count = len(trust.files)
    files = "no file" if count == 0 else f"{count} file" + ("" if count == 1 else "s")
    age = trust.oldest_snapshot_days
    snapshot = "" if age is None else f"; oldest snapshot {age} day" + ("" if age == 1 else "s")
    return f"trust    built-in {trust.builtin[:19]}, {files}{snapshot}"


def _as_of_line(report: Report) -> str:
    as_of = report.as_of
    if as_of.instant is None:
        return f"as of    not resolved ({as_of.source})"
    upper = (
        "upper bound claimed only"
        if as_of.not_after is None
        else f"upper bound {seconds(as_of.not_after.instant)} proven by {_who(as_of.not_after.by)}"
    )
    lower = (
        "lower bound claimed only"
        if as_of.not_before is None
        else f"lower bound {seconds(as_of.not_before.instant)} proven by "
        f"{_who(as_of.not_before.by)}"
    )
    imported = "; imported recording" if report.input.mode == "import" else ""
    return f"as of    {seconds(as_of.instant)} ({as_of.source}{imported}); {upper}; {lower}"


def _who(by: str) -> str:
    return shown(by.removeprefix("name:"))


def _signer_lines(report: Report) -> list[str]:
    lines = []
    for signer in report.input.signers:
        who = shown(signer.name or signer.keyid)
        operator = f" ({shown(signer.operator)})" if signer.operator else ""
        state = "" if signer.state == "accepted" else f": {signer.state}"
        lines.append(f"signer   {who}{operator}{state}")
    return lines


def _head(report: Report, paint: Paint) -> list[str]:
    bundle = report.input.bundle_id or f"file sha256:{report.input.file_sha256}"
    lines = [f"{paint.verdict(report.verdict)} ({int(report.exit_code)})  {bundle}"]
    added: dict[str, int] = {}
    for anchor in report.trust.added_vendor_anchors:
        added[anchor.purpose] = added.get(anchor.purpose, 0) + 1
    if added:
        listed = ", ".join(f"{purpose} ({count})" for purpose, count in sorted(added.items()))
        lines.append(paint(_BOLD + _YELLOW, f"ADDED VENDOR ANCHORS: {listed}"))
    policy = report.policy
    lines.append(
        f"policy   {shown(policy.name)} {shown(policy.version)} (sha256:{policy.sha256[:12]}…)"
        f"   profile {shown(policy.profile)}"
    )
    lines.append(_trust_line(report))
    lines.append(_as_of_line(report))
    lines.extend(_signer_lines(report))
    if report.error is not None:
        lines.append(f"error    {report.error.kind}: {report.error.what}")
    return lines


def _difference(finding: Finding) -> list[str]:
    parts = []
    if finding.got:
        parts.append(f"got {finding.got}")
    if finding.expected:
        parts.append(f"expected {finding.expected}")
    return parts


def _finding_line(*parts: str) -> str:
    return "           " + "  ".join(shown(part, 255) for part in parts)


def _row(row: CheckRow, width: int, paint: Paint, *, verbose: bool) -> list[str]:
    reason = "" if row.reason is None else row.reason.code
    first = row.findings[0] if row.findings else None
    pointer = "" if first is None else shown(str(first.pointer), 255)
    cells = [paint.status(row.status, 8), f"{row.id:<{width}}", reason, row.detail, pointer]
    lines = ["  ".join(cell for cell in cells if cell).rstrip()]
    if row.status is Status.PASS:
        return lines
    if len(row.findings) == 1 and first is not None:
        if first.got or first.expected:
            lines.append(_finding_line(*_difference(first)))
        return lines
    shown_findings = row.findings if verbose else row.findings[:_FINDINGS_SHOWN]
    lines.extend(
        _finding_line(finding.reason.code, str(finding.pointer), *_difference(finding))
        for finding in shown_findings
    )
    hidden = len(row.findings) - len(shown_findings)
    if hidden:
        lines.append(f"           and {hidden} more; --verbose lists them")
    return lines


def _problems(report: Report, paint: Paint, *, verbose: bool) -> list[str]:
    rows = [row for row in report.checks if row.status not in {Status.PASS, Status.NOT_APPLICABLE}]
    behind = [] if verbose else [row for row in rows if row.reason is Reason.NEED_NOT_PASSED]
    full = [row for row in rows if row not in behind]
    if verbose:
        full = [row for row in report.checks if row.status is not Status.NOT_APPLICABLE]
    width = max((len(row.id) for row in full), default=0)
    lines = [line for row in full for line in _row(row, width, paint, verbose=verbose)]
    if behind:
        needs = sorted({row.detail for row in behind if row.detail})
        lines.append(
            f"{paint.status(Status.BLOCKED, 8)}  {len(behind)} more "
            f"{'check' if len(behind) == 1 else 'checks'} (need.not_passed) behind "
            + ", ".join(needs)
        )
    return lines


def _waiver_lines(waived: tuple[Waived, ...], paint: Paint) -> list[str]:
    named = [row for row in waived if row.kind in {"waive", "finding"}]
    width = max((len(row.check) for row in named), default=0)
    lines = [
        f"{paint(_YELLOW, 'waived  ')} {row.check:<{width}}  {row.because}"
        + (f" ({row.underlying})" if row.underlying else "")
        for row in named
    ]
    out = [row for row in waived if row.kind in {"excluded", "if_present", "informational"}]
    if out:
        subjects = list(dict.fromkeys(row.subject for row in out))
        noun = "check" if len(out) == 1 else "checks"
        lines.append(f"by policy out of scope or absent: {' '.join(subjects)} ({len(out)} {noun})")
    return lines


def _pins(report: Report) -> str:
    for row in report.checks:
        if row.id == "reference.measurements" and row.matched:
            return "           pins matched: " + ", ".join(row.matched)
    return ""


def _tail(report: Report) -> list[str]:
    lines = [f"passed   {report.summary['PASS']} of {len(report.checks)}{_pins(report)}"]
    window = report.as_of.evidence_window
    if window is not None:
        start = "open" if window.start is None else seconds(window.start)
        end = "open" if window.end is None else seconds(window.end)
        lines.append(f"evidence window {start} .. {end}")
    absences = _absence_lines(report)
    if absences:
        lines += ["", *absences]
    for heading, sentences in (
        ("what this bundle proves (from the checks that passed):", report.meaning.proven),
        ("only claimed:", report.meaning.claimed),
        ("not covered:", report.meaning.uncovered),
    ):
        if sentences:
            lines += ["", heading, *(f"  - {sentence.text}" for sentence in sentences)]
    lines += ["", "not shown by this, even where it passed:"]
    lines += [f"  - {note.text}" for note in report.limits]
    lines += [f"  - {text}" for text in ALWAYS_UNSHOWN]
    return lines


def _absence_lines(report: Report) -> list[str]:
    attachments = {attachment.id: attachment for attachment in report.attachments}

    def key(row: AbsentArtifact) -> tuple[str, str, str]:
        return (row.state, row.reason or "", row.attachment or "")

    lines = []
    for (state, reason, attachment_id), rows in groupby(sorted(report.absent, key=key), key):
        line = f"{state} " + ", ".join(row.artifact for row in rows)
        attachment = attachments.get(attachment_id)
        if attachment is not None and attachment.status == "accepted":
            line += f" by {shown(attachment.by or attachment.signer or attachment.id)}"
            if attachment.at is not None:
                line += f" on {attachment.at:%Y-%m-%d}"
        lines.append(line + (f" ({reason})" if reason else ""))
    return lines


def _legacy(report: Report) -> list[str]:
    """Comparisons of published slices: shown whole, under a heading that says what they are."""
    notes = [note for note in report.notes if note.reason.code.startswith(_LEGACY)]
    if not notes:
        return []
    return ["", "legacy, not security relevant:"] + [f"  {note.text}" for note in notes]


def _notes(report: Report) -> list[str]:
    lines = []
    for note in report.notes:
        if note.reason.code.startswith(_LEGACY):
            continue
        place = "" if note.pointer is None else f"  {shown(str(note.pointer), 255)}"
        lines.append(f"note     {note.reason.code}  {note.text}{place}")
    return lines


def error_lines(error: ErrorSummary, file: str | None = None) -> list[str]:
    """Say what could not be used, where, why, and what to do about it; for standard error.

    ``file``: the name as the caller wrote it, where that is longer than the report's base name.
    """
    place = shown(file or error.file or "", 4096)
    if error.pointer:
        place += f" at {error.pointer}"
    head = f"{place}: {error.what}" if place else error.what
    code = f" ({error.code})" if error.code else ""
    lines = [f"error: {head}{code}"]
    advice = _ADVICE.get(error.kind)
    if advice:
        lines.append(f"  {advice}")
    return lines


_ADVICE: Final = {
    "malformed-bundle": "Nothing in this file was judged. Get the file again from its source and "
    "compare its SHA-256.",
    "malformed-policy": "Correct the policy; `teebundle policy check FILE` names every fault.",
    "malformed-trust": "Correct the trust file; `teebundle schema trust` prints its schema.",
    "online-unavailable": "Nothing was sent or stored; the offline result stands. Try again later.",
    "internal": "This is a fault of the program, not of the evidence: please report it with the "
    "command and the version.",
}


def rendered(report: Report | ErrorReport, *, verbose: bool = False, colour: bool = False) -> str:
    """Return the report as text that ends with a newline. ``colour``: for a terminal only."""
    paint = Paint(colour=colour)
    match report:
        case ErrorReport():
            first = f"no verdict ({int(report.exit_code)})  {report.error.kind}"
            return "\n".join([first, *error_lines(report.error)]) + "\n"
        case Report():
            blocks = [
                _head(report, paint),
                _problems(report, paint, verbose=verbose),
                _waiver_lines(report.waived, paint),
            ]
            body = blocks[1] + blocks[2]
            lines = [*blocks[0], "", *body, *_tail(report), *_legacy(report)]
            if verbose and report.notes:
                lines += ["", *_notes(report)]
            return "\n".join(lines) + "\n"
