"""A retry budget: retries are at most a share of the traffic that earns them, plus a small floor a second.

Without one, a target that fails gets several times its usual load just when it can bear least. Pure: every
transition returns a new value.
"""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """How many attempts may be repetitions.

    Attributes:
        share: retries that each first attempt earns.
        floor_per_s: retries a second that are free, so that a quiet target is retried at all.
        window_s: seconds after which what was earned is mostly forgotten: yesterday's traffic pays for no storm today.
    """

    share: float = 0.2
    floor_per_s: float = 1.0
    window_s: float = 10.0

    @property
    def spare_max(self) -> float:
        """The most free retries that gather: a window's, and at least one where there is a floor."""
        return max(1.0, self.floor_per_s * self.window_s) if self.floor_per_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left to be spent on retries; times are seconds on a clock that never goes back.

    In any stretch of time retries are at most what was left at its start, `share` of its first attempts, and
    `floor_per_s` of its seconds. What is left never exceeds a window's earnings.

    Attributes:
        policy: its limits.
        earned: retries that first attempts have earned; halves about every 0.7 windows.
        spare: free retries that have gathered.
        at_s: when both were right.
    """

    policy: BudgetPolicy
    earned: float
    spare: float
    at_s: float

    @classmethod
    def full(cls, policy: BudgetPolicy, now_s: float) -> "Budget":
        """The budget of one who begins: all free retries, nothing earned."""
        return cls(policy, earned=0.0, spare=policy.spare_max, at_s=now_s)

    def allowance(self, now_s: float) -> int:
        """How many retries may begin now. Look only: `retried` takes them."""
        now = self._at(now_s)
        return math.floor(now.earned + now.spare)

    def began(self, attempts: int, now_s: float) -> "Budget":
        """So many first attempts begin."""
        now = self._at(now_s)
        return replace(now, earned=now.earned + attempts * self.policy.share)

    def retried(self, attempts: int, now_s: float) -> "Budget":
        """So many retries begin; those beyond the allowance leave nothing, never a debt."""
        now = self._at(now_s)
        # What is earned goes first: it fades, while the free ones stay.
        from_earned = min(now.earned, float(attempts))
        return replace(now, earned=now.earned - from_earned, spare=max(0.0, now.spare - (attempts - from_earned)))

    def wait_s(self, now_s: float) -> float:
        """Seconds until a retry is free even if nothing is earned; 0 if one is allowed now.

        Without a floor nobody knows; then it is a window, whose first attempts may have earned one.
        """
        if self.allowance(now_s) > 0:
            return 0.0
        if self.policy.floor_per_s <= 0:
            return self.policy.window_s
        return (1.0 - self._at(now_s).spare) / self.policy.floor_per_s

    def _at(self, now_s: float) -> "Budget":
        """The same, brought to this time; one that went back is taken for the last one seen."""
        elapsed_s = now_s - self.at_s
        if elapsed_s <= 0:
            return self
        return replace(
            self,
            earned=self.earned * math.exp(-elapsed_s / self.policy.window_s),
            spare=min(self.policy.spare_max, self.spare + elapsed_s * self.policy.floor_per_s),
            at_s=now_s,
        )
