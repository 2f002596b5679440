"""Keeps a worker from claiming more than memory can bear. Not: what it does with what it has."""

from collections.abc import Callable

import psutil

from fluxa.telemetry.catalogue import Hook, MemoryLow, MemoryRecovered

RELEASE_SHARE = 0.9
"""Claims go on below this share of the limit, so that a worker at its limit does not flutter."""


def resident_bytes() -> int:
    """What this process holds in memory now, in bytes."""
    return int(psutil.Process().memory_info().rss)


class MemoryGuard:
    """Says whether the process holds too much to take on more. Work in hand goes on."""

    def __init__(self, limit_bytes: int | None, *, hook: Hook, read: Callable[[], int] = resident_bytes) -> None:
        self._limit_bytes = limit_bytes
        self._hook = hook
        self._read = read
        self.is_closed = False
        """Whether nothing new is to be claimed."""

    def look(self) -> None:
        """Measure once."""
        if self._limit_bytes is None:
            return
        used = self._read()
        if not self.is_closed and used > self._limit_bytes:
            self.is_closed = True
            self._hook(MemoryLow(used_bytes=used, limit_bytes=self._limit_bytes))
        elif self.is_closed and used < self._limit_bytes * RELEASE_SHARE:
            self.is_closed = False
            self._hook(MemoryRecovered(used_bytes=used, limit_bytes=self._limit_bytes))
