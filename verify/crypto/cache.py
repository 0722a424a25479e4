"""A bounded map for facts of cryptography and parsing, never for a judgement by time or policy.

A hit must be observationally equal to a miss. The oldest entry leaves first. Source:
verification.md 12.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """At most ``limit`` entries; putting one more drops the oldest. Threads may share one."""

    __slots__ = ("_entries", "_limit", "_lock")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: dict[K, V] = {}
        self._lock = allocate_lock()

    def get(self, key: K) -> V | None:
        """Return what was put under ``key``, or None."""
        return self._entries.get(key)

    def put(self, key: K, value: V) -> V:
        """Keep ``value`` under ``key`` and return it."""
        with self._lock:
            if len(self._entries) >= self._limit and key not in self._entries:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = value
        return value

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
