"""A clock that is set between a decision and its settling moves no retry: it waits as long as was meant."""

import datetime as dt

import pytest

from fluxa.kernel.clock import Clock
from fluxa.queue.backend import Delivery, Settlement
from fluxa.queue.outcome import DONE, Dead, Outcome, Retry, Snooze
from fluxa.queue.record import Record
from fluxa.queue.worker.calls.held import Held
from fluxa.queue.worker.calls.steps import moved, offset_s, settlement_moved
from fluxa.testing.clock import ManualClock


class _SetClock(ManualClock):
    """A clock whose time of day somebody sets."""

    def set_by(self, seconds: float) -> None:
        self._now += dt.timedelta(seconds=seconds)


def _delivery(records: int, now: dt.datetime) -> Delivery:
    made = tuple(Record(id=str(number), body=b"1", created_at=now) for number in range(records))
    return Delivery("q", "1", "1", 1, now, now, made, "")


def _pause_s(outcome: Outcome, clock: Clock) -> float:
    assert isinstance(outcome, Retry | Snooze)
    at = outcome.at if isinstance(outcome, Retry) else outcome.until
    return (at - clock.now()).total_seconds()


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_what_was_put_off_waits_as_long_as_was_meant_whatever_the_clock_was_set_to(step_s: float) -> None:
    clock = _SetClock()
    held = Held(_delivery(3, clock.now()))
    held.end(0, Retry(clock.now() + dt.timedelta(seconds=10), "E", "d"), clock)
    clock.advance(1)
    clock.set_by(step_s)
    held.end(1, Snooze(clock.now() + dt.timedelta(seconds=5)), clock)
    assert held.end(2, DONE, clock)
    first, second, third = held.settlement(clock).outcomes
    assert _pause_s(first, clock) == pytest.approx(9)
    assert _pause_s(second, clock) == pytest.approx(5)
    assert third is DONE


def test_a_settlement_that_waits_for_the_engine_moves_with_the_clock() -> None:
    clock = _SetClock()
    retry = Retry(clock.now() + dt.timedelta(seconds=10), "E", "d")
    settlement = Settlement(_delivery(2, clock.now()), (retry, Dead("E", "d")))
    before_s = offset_s(clock)
    clock.advance(4)
    assert settlement_moved(settlement, offset_s(clock) - before_s) is settlement
    clock.set_by(-3600)
    waits, dead = settlement_moved(settlement, offset_s(clock) - before_s).outcomes
    assert _pause_s(waits, clock) == pytest.approx(6)
    assert dead == Dead("E", "d")


def test_a_clock_that_is_only_slewed_changes_nothing() -> None:
    snooze = Snooze(dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    assert moved(snooze, 0.1) is snooze
