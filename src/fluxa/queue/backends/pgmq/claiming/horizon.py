"""Where the next scan of a queue begins: ids and times in, ranges out, and no I/O.

The *head* is the highest id claimed; the *floor* is what the head was a quarter of a second ago, so that ids which
commit late are still above it; dead rows below the start cost a scan nothing. What lies below and is ready again is
found by the time it came due (`timeline`), and in the last resort by a slow pass over everything (`pace`).
"""

from collections import deque

from fluxa.queue.backends.pgmq.claiming.pace import Pace, Pass
from fluxa.queue.backends.pgmq.claiming.timeline import Timeline

LAG_S = 0.25
"""How late a lower id may commit and still be found above the floor; later ones wait for a look below."""
HEAD_S = 0.05
"""How long scans may go on from the head while the backlog fills every claim."""


class Horizon:
    """What one process knows of one queue."""

    def __init__(self) -> None:
        self.floor = 0
        self.head = 0
        self.timeline = Timeline()
        self.due = Pace()
        self.net = Pass()
        self.is_looked_below = False
        self._floor_scan_at_s = float("-inf")
        self._marks: deque[tuple[float, int]] = deque()
        self._full = False
        self._scans: dict[int, float] = {}
        self._scan = 0

    def start(self, now_s: float) -> int:
        """Ids above this one are to be scanned."""
        while self._marks and self._marks[0][0] <= now_s - LAG_S:
            self.floor = max(self.floor, self._marks.popleft()[1])
        if self._full and now_s - self._floor_scan_at_s < HEAD_S:
            return self.head
        self._floor_scan_at_s = now_s
        return self.floor

    def scan(self, now_s: float) -> int:
        """A scan begins; returns its number."""
        self._scan += 1
        self._scans[self._scan] = now_s
        return self._scan

    def scanned(self, scan: int, highest: int, *, full: bool) -> None:
        """A scan claimed ids up to this one (0: none), and as many as it was allowed, or not."""
        self._full = full
        self.reached(self._scans[scan], highest)

    def ended(self, scan: int) -> None:
        """A scan is over, well or not."""
        del self._scans[scan]

    def scanning_s(self, now_s: float) -> float:
        """How long the oldest scan has been under way: the head may be moved by what it saw then."""
        return max((now_s - began_s for began_s in self._scans.values()), default=0.0)

    @property
    def scans(self) -> tuple[int, int]:
        """The oldest scan under way (the next one, if there is none) and the last one begun."""
        return min(self._scans, default=self._scan + 1), self._scan

    def reached(self, at_s: float, highest: int) -> None:
        """Whatever was committed by then up to this id is claimed, leased, or due later."""
        if highest > self.head:
            self.head = highest
            self._marks.append((at_s, highest))
