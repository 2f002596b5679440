"""Keeps what was decided by the time of day right when somebody sets the clock before it is carried out. Pure.

An outage may lie between a decision and its settling: a clock that is set back by an hour then would delay a retry
by as much.
"""

import datetime as dt
from dataclasses import replace
from typing import assert_never

from fluxa.kernel.clock import Clock
from fluxa.queue.backend import Settlement
from fluxa.queue.outcome import Dead, Done, Outcome, Retry, Snooze

_STEP_S = 0.5
"""Less is no step: clocks are slewed, and reading two of them takes time."""


def offset_s(clock: Clock) -> float:
    """How far the time of day is ahead of the clock that never goes back, in seconds; a step changes it."""
    return clock.now().timestamp() - clock.monotonic()


def moved(outcome: Outcome, by_s: float) -> Outcome:
    """The outcome by a clock that was set forward by so many seconds since it was decided."""
    if abs(by_s) < _STEP_S:
        return outcome
    match outcome:
        case Retry(at=at):
            return replace(outcome, at=at + dt.timedelta(seconds=by_s))
        case Snooze(until=until):
            return replace(outcome, until=until + dt.timedelta(seconds=by_s))
        case Done() | Dead():
            return outcome
        case _:
            assert_never(outcome)


def settlement_moved(settlement: Settlement, by_s: float) -> Settlement:
    """All outcomes of a settlement, likewise."""
    if abs(by_s) < _STEP_S:
        return settlement
    return Settlement(settlement.delivery, tuple(moved(outcome, by_s) for outcome in settlement.outcomes))
