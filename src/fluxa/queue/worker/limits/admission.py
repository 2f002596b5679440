"""Who may begin next where queues share a worker's capacity: priority, with ageing. Pure; times are arguments."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from fluxa.queue.registry import QueueSpec

AGEING_S = 0.5
"""Seconds of waiting that are worth one step of priority: who waits long enough comes before the most urgent."""
PATIENCE_S = 1.0
"""Seconds after which a call that still runs leaves its place in the shared capacity: from then on it counts only
against its own queue's concurrency. A queue whose handlers hang so keeps its own share and no more."""


@dataclass(slots=True)
class _Seat:
    priority: int
    limit: int
    running: int = 0
    waiting_since_s: float | None = None


@dataclass(slots=True)
class Admission:
    """The places of a worker.

    Nobody starves: every place is free again after `PATIENCE_S` at most, and the one who waits rises by one step each
    `AGEING_S`, so a queue waits no longer than its distance in priority times `AGEING_S`, plus a place's time for each
    queue that waited longer.

    Attributes:
        capacity: calls at once of all queues together, those that run too long not counted.
    """

    capacity: int
    _seats: dict[str, _Seat] = field(default_factory=dict)
    _young: dict[int, float] = field(default_factory=dict)
    _last_ticket: int = 0

    @classmethod
    def of(cls, specs: Iterable[QueueSpec], capacity: int) -> "Admission":
        """Places for these queues.

        Args:
            specs: the queues that are served.
            capacity: calls at once; 0 for as many as all queues together may have.
        """
        seats = {spec.name: _Seat(spec.priority, spec.concurrency) for spec in specs}
        most = sum(seat.limit for seat in seats.values())
        return cls(min(capacity, most) if capacity else most, seats)

    @property
    def is_contested(self) -> bool:
        """Whether queues can be in each other's way at all; if not, nobody needs to ask."""
        return self.capacity < sum(seat.limit for seat in self._seats.values())

    def ask(self, queue: str, now_s: float) -> bool:
        """Whether a call of this queue may begin now; if not, it waits from its first question on."""
        seat = self._seats[queue]
        if seat.running >= seat.limit:
            return False
        if seat.waiting_since_s is None:
            seat.waiting_since_s = now_s
        return self._free(now_s) > 0 and self._next(now_s) == queue

    def withdraw(self, queue: str) -> None:
        """The queue has nothing to begin any more."""
        self._seats[queue].waiting_since_s = None

    def began(self, queue: str, now_s: float) -> int:
        """A call begins; its ticket is given to `ended`."""
        seat = self._seats[queue]
        seat.running += 1
        seat.waiting_since_s = None
        self._last_ticket += 1
        self._young[self._last_ticket] = now_s
        return self._last_ticket

    def ended(self, queue: str, ticket: int) -> None:
        """A call ended."""
        self._seats[queue].running -= 1
        self._young.pop(ticket, None)

    def room(self, queue: str, now_s: float) -> int:
        """How many calls of this queue could begin now if nobody else waited; one at least may wait its turn."""
        seat = self._seats[queue]
        return min(seat.limit - seat.running, max(1, self._free(now_s)))

    def _free(self, now_s: float) -> int:
        while self._young:
            ticket = next(iter(self._young))  # the oldest: they stand in the order in which they began
            if self._young[ticket] > now_s - PATIENCE_S:
                break
            del self._young[ticket]
        return self.capacity - len(self._young)

    def _next(self, now_s: float) -> str | None:
        waiting = [
            (seat.priority - (now_s - seat.waiting_since_s) / AGEING_S, seat.waiting_since_s, name)
            for name, seat in self._seats.items()
            if seat.waiting_since_s is not None and seat.running < seat.limit
        ]
        return min(waiting)[2] if waiting else None
