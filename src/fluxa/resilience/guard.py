"""Guards calls to one target: limit, then budget, then breaker.

Pure: the caller sleeps, calls, and tells what came of it.
"""

import enum
from dataclasses import dataclass, field, replace

from fluxa.resilience.breaker import Breaker, BreakerPolicy, BreakerState
from fluxa.resilience.budget import Budget, BudgetPolicy
from fluxa.resilience.limiter import Limiter, PacePolicy


class Obstacle(enum.StrEnum):
    """What keeps a call from being made."""

    PACE = "pace"
    BUDGET = "budget"
    BREAKER = "breaker"


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """The limits of one target.

    Attributes:
        pace: how fast calls follow each other; None: as they come.
        budget: how many of them may be retries.
        breaker: when the target is left alone because it fails.
        wait_max_s: seconds a call waits for its place at most; beyond that it is refused.
    """

    pace: PacePolicy | None = None
    budget: BudgetPolicy = field(default_factory=BudgetPolicy)
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    wait_max_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Refused:
    """No call now.

    Attributes:
        obstacle: what is in the way.
        until_s: when another question makes sense.
    """

    obstacle: Obstacle
    until_s: float


@dataclass(frozen=True, slots=True)
class Permit:
    """One call may be made; its end must be told once.

    Attributes:
        rests: how often the breaker had rested: the end of a call from before a rest says nothing about what is now.
    """

    rests: int


@dataclass(frozen=True, slots=True)
class Guard:
    """The state of one target; times are seconds on a clock that never goes back.

    Attributes:
        policy: its limits.
        limiter: its pace, if it has one.
        budget: what is left for retries.
        breaker: whether it is left alone.
        held_s: no call begins before this: the target asked for it.
    """

    policy: GuardPolicy
    limiter: Limiter | None
    budget: Budget
    breaker: Breaker
    held_s: float = float("-inf")

    @classmethod
    def fresh(cls, policy: GuardPolicy, now_s: float) -> "Guard":
        """The guard of a target that nobody has called yet."""
        return cls(
            policy,
            limiter=Limiter(policy.pace) if policy.pace is not None else None,
            budget=Budget.full(policy.budget, now_s),
            breaker=Breaker(policy.breaker),
        )

    def queue_up(self, now_s: float, *, retry: bool) -> tuple["Guard", float | Refused]:
        """Take a place in the pace: when to go on with `enter`, or why not.

        What would be refused at `enter` anyway takes no place.
        """
        if refusal := self._obstacle(now_s, retry=retry):
            return self, refusal
        limiter, at_s = (None, now_s) if self.limiter is None else self.limiter.decide(now_s)
        at_s = max(at_s, self.held_s)
        if at_s - now_s > self.policy.wait_max_s:
            return self, Refused(Obstacle.PACE, at_s)
        return replace(self, limiter=limiter), at_s

    def enter(self, now_s: float, *, retry: bool) -> tuple["Guard", Permit | Refused]:
        """Begin the call whose place has come, or learn why not: much may have happened while it waited."""
        if self.held_s > now_s:
            return self, Refused(Obstacle.PACE, self.held_s)
        if refusal := self._obstacle(now_s, retry=retry):
            return self, refusal
        budget = self.budget.retried(1, now_s) if retry else self.budget.began(1, now_s)
        breaker = self.breaker.began(1, now_s)
        return replace(self, budget=budget, breaker=breaker), Permit(breaker.rests)

    def succeeded(self, permit: Permit) -> "Guard":
        """The target answered as it should, or refused this one piece of work: it is well."""
        return replace(self, breaker=self.breaker.succeeded()) if self._counts(permit) else self

    def failed(self, permit: Permit, now_s: float, chance: float) -> "Guard":
        """The target is not well; `chance` in [0, 1) spreads the rest."""
        return replace(self, breaker=self.breaker.failed(now_s, chance)) if self._counts(permit) else self

    def abandoned(self, permit: Permit) -> "Guard":
        """The call ended without saying anything about the target."""
        return replace(self, breaker=self.breaker.abandoned()) if self._counts(permit) else self

    def held(self, until_s: float) -> "Guard":
        """The target asked to be left alone until then."""
        limiter = self.limiter.held(until_s) if self.limiter is not None else None
        return replace(self, limiter=limiter, held_s=max(self.held_s, until_s))

    def _counts(self, permit: Permit) -> bool:
        return self.breaker.rests == permit.rests

    def _obstacle(self, now_s: float, *, retry: bool) -> Refused | None:
        if retry and self.budget.allowance(now_s) < 1:
            return Refused(Obstacle.BUDGET, now_s + self.budget.wait_s(now_s))
        if self.breaker.allowance(now_s) == 0:
            # A probe is under way: its end opens or closes, and nobody knows when; ask again soon.
            resting = self.breaker.state is BreakerState.OPEN
            return Refused(Obstacle.BREAKER, self.breaker.until_s if resting else now_s + _ASK_AGAIN_S)
        return None


_ASK_AGAIN_S = 1.0
"""Seconds after which it makes sense to ask again while a probe is under way."""
