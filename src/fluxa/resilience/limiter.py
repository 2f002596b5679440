"""Pacing: calls are spread to a rate by the generic cell rate algorithm (ITU-T I.371), whose state is one time.

Pure: every transition returns a new value.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class PacePolicy:
    """How fast calls may follow each other.

    Attributes:
        rate_per_s: calls a second in the long run.
        burst: calls that may come at once after a pause.
    """

    rate_per_s: float
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Limiter:
    """The pace of one target; times are seconds on a clock that never goes back.

    In any stretch of `t` seconds at most `burst + rate_per_s * t` calls begin.

    Attributes:
        policy: its limits.
        due_s: when the next call would be due if all came evenly (the theoretical arrival time).
        held_s: no call begins before this; the target asked for it.
    """

    policy: PacePolicy
    due_s: float = float("-inf")
    held_s: float = float("-inf")

    def decide(self, now_s: float) -> tuple["Limiter", float]:
        """Take the next place: the state with it taken, and when the call may begin, now or later.

        One who will not wait so long keeps the old state, and has taken nothing.
        """
        interval_s = 1.0 / self.policy.rate_per_s
        from_s = max(now_s, self.held_s)
        allowed_at_s = max(from_s, self.due_s - (self.policy.burst - 1) * interval_s)
        # A place that lies ahead is not "now": what follows is counted from when the call really begins.
        return replace(self, due_s=max(self.due_s, allowed_at_s) + interval_s), allowed_at_s

    def held(self, until_s: float) -> "Limiter":
        """Let nothing begin before a time; an earlier one than was said before changes nothing."""
        return replace(self, held_s=max(self.held_s, until_s))
