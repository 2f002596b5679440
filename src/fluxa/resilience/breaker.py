"""A circuit breaker whose rests grow: it stops work that would only fail, and probes until it succeeds again.

States and transitions (QUEUE-6): closed, *streak of failures* → open, *rest is over* → half open, *probes succeed* →
closed; *a probe fails* → open, for longer. Pure: every transition returns a new value.
"""

import enum
from dataclasses import dataclass, replace


class BreakerState(enum.StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and for how long.

    Attributes:
        failures: failures in a row that open it.
        rest_s: seconds of the first rest; doubled for each one that follows without a success between.
        rest_max_s: seconds of a rest at most.
        probes: attempts let through at once after a rest; as many successes close it.
    """

    failures: int = 5
    rest_s: float = 5.0
    rest_max_s: float = 300.0
    probes: int = 1


@dataclass(frozen=True, slots=True)
class Breaker:
    """The state of one breaker; times are seconds on a clock that never goes back.

    Attributes:
        policy: its limits.
        state: where it stands.
        streak: failures since the last success.
        rests: rests since it was last closed.
        until_s: when the rest ends; meant while open.
        out: probes that are under way; meant while half open.
        passed: probes that succeeded; meant while half open.
    """

    policy: BreakerPolicy
    state: BreakerState = BreakerState.CLOSED
    streak: int = 0
    rests: int = 0
    until_s: float = 0.0
    out: int = 0
    passed: int = 0

    def allowance(self, now_s: float) -> int | None:
        """How many attempts may begin now; None for no limit. Look only: `began` takes them."""
        match self.state:
            case BreakerState.CLOSED:
                return None
            case BreakerState.OPEN:
                return self.policy.probes if now_s >= self.until_s else 0
            case BreakerState.HALF_OPEN:
                return max(0, self.policy.probes - self.out - self.passed)

    def began(self, attempts: int, now_s: float) -> "Breaker":
        """So many attempts begin; after a rest they are its probes."""
        match self.state:
            case BreakerState.CLOSED:
                return self
            case BreakerState.OPEN if now_s < self.until_s:
                return self
            case BreakerState.OPEN:
                return replace(self, state=BreakerState.HALF_OPEN, out=attempts, passed=0)
            case BreakerState.HALF_OPEN:
                return replace(self, out=self.out + attempts)

    def succeeded(self) -> "Breaker":
        """An attempt succeeded."""
        match self.state:
            case BreakerState.CLOSED:
                return replace(self, streak=0) if self.streak else self
            case BreakerState.OPEN:
                return self  # begun before it opened: the rest is kept, a probe will tell
            case BreakerState.HALF_OPEN:
                passed = self.passed + 1
                if passed >= self.policy.probes:
                    return Breaker(self.policy)
                return replace(self, out=max(0, self.out - 1), passed=passed)

    def failed(self, now_s: float, chance: float) -> "Breaker":
        """An attempt failed in a way that speaks against the whole; `chance` in [0, 1) spreads the rest by a fifth."""
        streak = self.streak + 1
        if self.state is BreakerState.OPEN:
            return replace(self, streak=streak)  # begun before it opened
        if self.state is BreakerState.CLOSED and streak < self.policy.failures:
            return replace(self, streak=streak)
        rest_s = min(self.policy.rest_max_s, self.policy.rest_s * 2.0 ** min(self.rests, 32))
        return Breaker(
            self.policy,
            state=BreakerState.OPEN,
            streak=streak,
            rests=self.rests + 1,
            until_s=now_s + rest_s * (0.9 + chance / 5),
        )

    def abandoned(self) -> "Breaker":
        """An attempt ended without saying anything about the whole: a bad record, or a cancellation."""
        if self.state is BreakerState.HALF_OPEN:
            return replace(self, out=max(0, self.out - 1))
        return self
