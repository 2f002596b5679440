"""How often a look that costs something may be taken, from what the last ones cost. Pure: no I/O."""

MIN_S = 0.2
SHARE = 20
"""A look may cost one part in so many of all time."""
CHEAP_S = 0.002
"""A look below this cost is worth trying whenever there is nothing else."""
PASS_SHARE = 50
PASS_MIN_S = 15.0
SLICE = 10_000
"""Ids that one step of the pass covers."""


class Pace:
    """Says when to look again."""

    def __init__(self) -> None:
        self._ended_s = float("-inf")
        self._cost_s = 0.0
        self._more = False

    def is_due(self, now_s: float, at_least_s: float) -> bool:
        """Whether it is time: after 0.2 s, later if it is dear, but always after `at_least_s`."""
        pause_s = min(max(MIN_S, SHARE * self._cost_s), max(MIN_S, at_least_s))
        return self._more or now_s - self._ended_s >= pause_s

    @property
    def is_cheap(self) -> bool:
        """Whether an idle worker may look at any time."""
        return self._cost_s < CHEAP_S

    def done(self, began_s: float, ended_s: float, *, more: bool) -> None:
        """A look is done; `more` says that it stopped before its end."""
        self._ended_s = ended_s
        self._cost_s = ended_s - began_s
        self._more = more


class Pass:
    """A walk over everything below the head, a slice at a time: the net below all cleverer looks.

    It takes one part in fifty of the time, and rests 15 s between two rounds, unless it costs next to nothing.
    """

    def __init__(self) -> None:
        self._at = 0
        self._not_before_s = float("-inf")

    def next(self, now_s: float, head: int) -> tuple[int, int] | None:
        """Ids of the next slice: behind the first, up to the second; None if it is not time yet."""
        if now_s < self._not_before_s or head <= 0:
            return None
        if self._at >= head:
            self._at = 0
        return self._at, min(self._at + SLICE, head)

    def done(self, began_s: float, ended_s: float, head: int, *, more: bool = False) -> None:
        """A slice was looked at; `more` says that there is more in it."""
        if more:
            return
        cost_s = ended_s - began_s
        self._at += SLICE
        self._not_before_s = ended_s + PASS_SHARE * cost_s
        if self._at >= head:
            self._at = 0
            if cost_s >= CHEAP_S or head > SLICE:
                self._not_before_s = ended_s + max(PASS_MIN_S, PASS_SHARE * cost_s)
