"""Where the next scan of a queue begins: ids and times in, ranges out, and no I/O.

Three starts, from cheap to thorough: the *head* is the highest id claimed; the *floor* is what the head was a
quarter of a second ago, so that ids which commit late are still above it; a *sweep* looks below the floor for
leases that ran out and for retries that came due. Dead rows below the start cost a scan nothing.
"""

from collections import deque

LAG_S = 0.25
"""How late a lower id may commit and still be found above the floor; later ones wait for a sweep."""
HEAD_S = 0.05
"""How long scans may go on from the head while the backlog fills every claim."""
SWEEP_MIN_S = 0.2
SWEEP_SHARE = 20
"""A sweep may cost one part in so many of all time."""
CHEAP_S = 0.002
"""A sweep below this cost is worth trying whenever there is nothing else."""


class Horizon:
    """What one process knows of one queue."""

    def __init__(self) -> None:
        self.floor = 0
        self.head = 0
        self.swept_at_s = float("-inf")
        self._floor_scan_at_s = float("-inf")
        self._marks: deque[tuple[float, int]] = deque()
        self._full = False
        self._cost_s = 0.0
        self._more = False

    def start(self, now_s: float) -> int:
        """Ids above this one are to be scanned."""
        while self._marks and self._marks[0][0] <= now_s - LAG_S:
            self.floor = max(self.floor, self._marks.popleft()[1])
        if self._full and now_s - self._floor_scan_at_s < HEAD_S:
            return self.head
        self._floor_scan_at_s = now_s
        return self.floor

    def scanned(self, began_s: float, highest: int, *, full: bool) -> None:
        """A scan that began then claimed ids up to this one (0: none), and as many as it was allowed, or not."""
        self._full = full
        self.reached(began_s, highest)

    def reached(self, at_s: float, highest: int) -> None:
        """Whatever was committed by then up to this id is claimed, leased, or due later."""
        if highest > self.head:
            self.head = highest
            self._marks.append((at_s, highest))

    def sweep_due(self, now_s: float, lease_s: float) -> bool:
        """Whether it is time to look below the floor."""
        pause_s = min(max(SWEEP_MIN_S, SWEEP_SHARE * self._cost_s), max(SWEEP_MIN_S, lease_s / 2))
        return self._more or now_s - self.swept_at_s >= pause_s

    @property
    def sweep_is_cheap(self) -> bool:
        """Whether a sweep costs so little that an idle worker may try it at any time."""
        return self._cost_s < CHEAP_S

    def swept(self, began_s: float, ended_s: float, *, full: bool) -> None:
        """A sweep is done; `full` says that it claimed as many as it was allowed."""
        self.swept_at_s = ended_s
        self._cost_s = ended_s - began_s
        self._more = full
