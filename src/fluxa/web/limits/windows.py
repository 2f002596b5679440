"""Counts requests in this process, in bounded memory.

The `limits` library's own store in memory looks at all clients with each request: with 10 000 of them 5 ms each time.
"""

from collections import OrderedDict
from typing import Final

from fluxa.kernel.clock import Clock
from fluxa.web.limits.rules import BucketRule, Window, used

CLIENTS_MAX: Final = 100_000
"""Clients remembered at most, about 20 MB; beyond it the one that was quiet for longest is forgotten."""


class _Entry:
    __slots__ = ("began", "current", "forget_at", "previous")

    def __init__(self, now: float) -> None:
        self.began = now
        self.previous = self.current = 0
        self.forget_at = now


class MemoryWindows:
    """The windows of the clients of one process.

    Args:
        clock: measures them.
        clients_max: how many are remembered.
    """

    def __init__(self, clock: Clock, *, clients_max: int = CLIENTS_MAX) -> None:
        self._monotonic = clock.monotonic
        self._clients_max = clients_max
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def hit(self, bucket: str, client: str, rule: BucketRule) -> tuple[bool, Window]:
        """Count a request if it may pass; what refuses is not counted."""
        now, key = self._monotonic(), (bucket, client)
        entry = self._entries.get(key)
        if entry is None:
            self._forget(now)
            entry = self._entries[key] = _Entry(now)
        else:
            self._entries.move_to_end(key)
        window_s = rule.window_s
        if now - entry.began >= 2 * window_s:
            entry.began, entry.previous, entry.current = now, 0, 0
        elif now - entry.began >= window_s:
            entry.began, entry.previous, entry.current = entry.began + window_s, entry.current, 0
        entry.forget_at = entry.began + 2 * window_s
        left_s = entry.began + window_s - now
        passes = used(rule, Window(entry.previous, left_s, entry.current, 0.0)) < rule.limit
        entry.current += passes
        return passes, Window(entry.previous, left_s, entry.current, left_s + window_s)

    def _forget(self, now: float) -> None:
        """Make room for one: the quietest are first, and mostly they count nothing any more."""
        for _ in range(2):
            oldest = next(iter(self._entries), None)
            if oldest is None or self._entries[oldest].forget_at > now:
                break
            del self._entries[oldest]
        while len(self._entries) >= self._clients_max:
            self._entries.popitem(last=False)
