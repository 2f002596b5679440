"""How a queue fares in this process: its breaker, its budget for retries, and the report of both. No I/O."""

import datetime as dt
from collections.abc import Callable

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, RetryClass
from fluxa.queue.health.reports import QueueReport
from fluxa.queue.outcome import Retry
from fluxa.queue.registry import QueueSpec
from fluxa.resilience.breaker import Breaker, BreakerState
from fluxa.resilience.budget import Budget
from fluxa.telemetry.catalogue import BreakerChanged, Hook


class Standing:
    """The state of one queue; `opened` is called when its breaker opens, after the state has changed."""

    def __init__(
        self, spec: QueueSpec, *, clock: Clock, chance: Callable[[], float], hook: Hook, opened: Callable[[], None]
    ) -> None:
        self._spec = spec
        self._clock = clock
        self._chance = chance
        self._hook = hook
        self._opened = opened
        self.breaker = Breaker(spec.breaker)
        self._budget = Budget.full(spec.budget, clock.monotonic())
        self._placed_s = float("-inf")
        self._firsts = 0
        self._streak = 0
        self._success_s: float | None = None
        self._failure_at: dt.datetime | None = None
        self._failure_code: str | None = None
        self._done = self._retried = self._parked = 0

    def allowance(self) -> int | None:
        """How many calls may begin now; None for no limit."""
        breaker = self.breaker
        return None if breaker.state is BreakerState.CLOSED else breaker.allowance(self._clock.monotonic())

    def begin(self, firsts: int) -> int:
        """A call begins with so many records that come for the first time: its permit. `allowance` was asked before."""
        breaker = self.breaker
        if breaker.state is not BreakerState.CLOSED:
            self._change(breaker.began(1, self._clock.monotonic()))
        self._firsts += firsts
        return self.breaker.rests

    def succeeded(self, permit: int, now_s: float) -> None:
        """The call did at least some of its work, and ended now."""
        self._success_s = now_s
        if self._streak or self.breaker.state is not BreakerState.CLOSED:
            self._streak = 0
            if permit == self.breaker.rests:
                self._change(self.breaker.succeeded())

    def failed(self, permit: int, code: str, *, repeat: bool) -> None:
        """The call failed whole; only what may succeed later speaks against the queue.

        A `repeat`, whose records had all failed before, that fails in the handler's own code once more speaks against
        these records: their repeats come close together, and would let a queue rest whose other work succeeds.
        """
        self._streak += 1
        self._failure_at, self._failure_code = self._clock.now(), code
        if permit != self.breaker.rests:
            return  # it began before a rest and says nothing about what is now
        if self._spec.retry.class_of(code) is RetryClass.TRANSIENT and not (repeat and code == ErrorCode.HANDLER_ERROR):
            self._change(self.breaker.failed(self._clock.monotonic(), self._chance()))
        else:
            self._change(self.breaker.abandoned())

    def settled(self, *, done: int = 0, retried: int = 0, parked: int = 0) -> None:
        """So many records have their outcome for good; counted for those who watch the queue."""
        self._done += done
        self._retried += retried
        self._parked += parked

    def abandoned(self, permit: int) -> None:
        """The call ended without saying anything about the queue."""
        if permit == self.breaker.rests:
            self._change(self.breaker.abandoned())

    def within_budget(self, retry: Retry) -> Retry:
        """The retry, later where the queue has retried enough: its attempts are a bounded share of the traffic.

        What the budget does not pay for is spread over the time to come, at the pace of its floor; never lost, and
        never later than the longest pause of the queue's policy.
        """
        now_s = self._clock.monotonic()
        self.look(now_s)
        if self._budget.allowance(now_s) >= 1:
            self._budget = self._budget.retried(1, now_s)
            return retry
        self._placed_s = max(self._placed_s, now_s) + 1.0 / max(self._spec.budget.floor_per_s, 1e-3)
        pause_s = min(self._placed_s - now_s, self._spec.retry.cap_s * (0.5 + self._chance() / 2))
        at = max(retry.at, self._clock.now() + dt.timedelta(seconds=pause_s))
        return Retry(at, retry.code, retry.detail)

    def look(self, now_s: float) -> None:
        """Bring the budget up to date, which is done ten times a second and not with each call."""
        if self._firsts:
            firsts, self._firsts = self._firsts, 0
            self._budget = self._budget.began(firsts, now_s)

    def report(self, in_flight: int) -> QueueReport:
        """What others may know of it."""
        now, now_s, breaker = self._clock.now(), self._clock.monotonic(), self.breaker
        rests = breaker.state is BreakerState.OPEN and breaker.until_s > now_s
        return QueueReport(
            queue=self._spec.name,
            in_flight=in_flight,
            error_streak=self._streak,
            last_success_at=None if self._success_s is None else _ago(now, now_s - self._success_s),
            last_failure_at=self._failure_at,
            last_error_code=self._failure_code,
            breaker=breaker.state,
            rests_until=_ago(now, now_s - breaker.until_s) if rests else None,
            done=self._done,
            retried=self._retried,
            parked=self._parked,
        )

    def _change(self, breaker: Breaker) -> None:
        before, self.breaker = self.breaker, breaker
        if before.state is breaker.state:
            return
        rest_s = max(0.0, breaker.until_s - self._clock.monotonic()) if breaker.state is BreakerState.OPEN else 0.0
        self._hook(BreakerChanged(self._spec.name, breaker.state, rest_s, self._failure_code or ""))
        if breaker.state is BreakerState.OPEN:
            self._opened()


def _ago(now: dt.datetime, seconds: float) -> dt.datetime:
    return (now - dt.timedelta(seconds=seconds)).replace(microsecond=0)
