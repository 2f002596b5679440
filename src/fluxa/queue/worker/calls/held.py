"""A delivery in hand: which of its records were begun, and what became of each so far."""

from dataclasses import dataclass, field

from fluxa.kernel.clock import Clock
from fluxa.queue.backend import Delivery, Settlement
from fluxa.queue.outcome import Outcome, Retry, Snooze
from fluxa.queue.worker.calls.attempt import Tried
from fluxa.queue.worker.calls.steps import moved, offset_s


@dataclass(slots=True, eq=False)
class Held:
    """One delivery under lease.

    Attributes:
        delivery: what was claimed.
        outcomes: what became of each record; None while that is open.
        left: records without an outcome.
        begun: records that were handed out, which are the first ones.
        is_lost: whether another worker has it: whatever comes of it is dropped.
        is_settled: whether it was acknowledged in the transaction of its handler.
        waits: whether it waits to be alone.
        offsets_s: by place, how far the time of day was ahead when something was put off.
    """

    delivery: Delivery
    outcomes: list[Outcome | None] = field(init=False)
    left: int = field(init=False)
    begun: int = 0
    is_lost: bool = False
    is_settled: bool = False
    waits: bool = False
    offsets_s: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.left = len(self.delivery.records)
        self.outcomes = [None] * self.left

    def end(self, place: int, outcome: Outcome, clock: Clock) -> bool:
        """Note what became of a record; whether that was the last one."""
        if isinstance(outcome, Retry | Snooze):
            self.offsets_s[place] = offset_s(clock)
        if self.outcomes[place] is None:
            self.left -= 1
        self.outcomes[place] = outcome
        return not self.left

    def tried(self, place: int, *, in_company: bool = False) -> Tried:
        """A record whose attempt ended."""
        return Tried(self.delivery.records[place], self.delivery.received_count, in_company)

    def settlement(self, clock: Clock) -> Settlement:
        """All outcomes, by the clock as it is now: other records of the delivery may have taken their time."""
        if not self.offsets_s:
            return Settlement(self.delivery, tuple(outcome for outcome in self.outcomes if outcome is not None))
        now_s = offset_s(clock)
        moves_s = {place: now_s - before_s for place, before_s in self.offsets_s.items()}
        outcomes = (
            moved(outcome, moves_s.get(place, 0.0))
            for place, outcome in enumerate(self.outcomes)
            if outcome is not None
        )
        return Settlement(self.delivery, tuple(outcomes))
