"""Limits of one exchange, and which answers are worth another try. Imports no HTTP client.

Source: providers.md 2.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which an idempotent request may be sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Seconds for connecting, of silence, and in all; bytes of a body and of a header block."""

    connect_s: float = 5.0
    idle_s: float = 30.0
    total_s: float = 30.0
    body: int = 1 << 20
    headers: int = 256 << 10
