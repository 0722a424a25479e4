"""The anchors that are believed, as a list for people."""

from __future__ import annotations

from datetime import datetime

from verify.engine.outcome import shown
from verify.trust.anchor import Anchor, AnchorStatus
from verify.trust.store import TrustStore


def _day(moment: datetime | None) -> str:
    return "open" if moment is None else f"{moment:%Y-%m-%d}"


def _row(anchor: Anchor) -> list[str]:
    status = anchor.status.value
    if anchor.status is AnchorStatus.COMPROMISED and anchor.since is not None:
        status += f" since {anchor.since:%Y-%m-%dT%H:%M:%SZ}"
    bounds = f"{_day(anchor.start)} .. {_day(anchor.end)}"
    if anchor.start is None and anchor.end is None:
        bounds = "without bounds"
    return [
        f"{anchor.purpose.value}  {shown(anchor.name)}  {anchor.kind.value}  {status}  {bounds}",
        f"  sha256 {anchor.sha256}",
        (
            f"  {shown(anchor.operator) or 'no operator named'}; {shown(anchor.origin)}; "
            f"{shown(anchor.source, 1024)}"
        ),
    ]


def listing(store: TrustStore) -> str:
    """Return every anchor by purpose, and the digests that identify the store."""
    lines = [f"built-in anchors  sha256:{store.builtin_sha256}"]
    lines += [f"trust file        sha256:{file.sha256}  {shown(file.name)}" for file in store.files]
    for anchor in sorted(store.entries, key=lambda a: (a.purpose.value, a.name)):
        lines += ["", *_row(anchor)]
    return "\n".join(lines) + "\n"
