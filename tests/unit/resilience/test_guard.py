"""Limit, budget and breaker of one target together (HARDEN-1, HARDEN-7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.resilience import BreakerPolicy, BreakerState, BudgetPolicy, Guard, GuardPolicy, Obstacle, PacePolicy
from fluxa.resilience.guard import Permit, Refused

pytestmark = pytest.mark.req("HARDEN-1", "HARDEN-7", "QUEUE-13")

POLICY = GuardPolicy(
    pace=PacePolicy(rate_per_s=10.0),
    budget=BudgetPolicy(share=0.6, floor_per_s=0.0),
    breaker=BreakerPolicy(failures=2, rest_s=10.0),
    wait_max_s=1.0,
)


def entered(guard: Guard, now_s: float, *, retry: bool = False) -> tuple[Guard, Permit]:
    guard, at_s = guard.queue_up(now_s, retry=retry)
    assert not isinstance(at_s, Refused)
    guard, permit = guard.enter(at_s, retry=retry)
    assert isinstance(permit, Permit)
    return guard, permit


def refused(answer: object) -> Refused:
    assert isinstance(answer, Refused)
    return answer


def test_a_call_waits_for_its_place_but_not_longer_than_it_may() -> None:
    guard, places = Guard.fresh(POLICY, 0.0), []
    for _ in range(11):
        guard, at_s = guard.queue_up(0.0, retry=False)
        places.append(at_s)
    assert places == pytest.approx([number / 10 for number in range(11)])
    after, answer = guard.queue_up(0.0, retry=False)
    assert refused(answer).obstacle is Obstacle.PACE
    assert refused(answer).until_s == pytest.approx(1.1)
    assert after == guard


def test_retries_wait_for_first_attempts_to_earn_them() -> None:
    guard = Guard.fresh(POLICY, 0.0)
    assert refused(guard.queue_up(0.0, retry=True)[1]).obstacle is Obstacle.BUDGET
    guard, _ = entered(guard, 0.0)
    guard, _ = entered(guard, 0.0)
    guard, permit = guard.enter(0.0, retry=True)
    assert isinstance(permit, Permit)
    assert refused(guard.enter(0.0, retry=True)[1]).obstacle is Obstacle.BUDGET


def test_a_failing_target_is_left_alone_and_then_probed_by_one() -> None:
    guard = Guard.fresh(POLICY, 0.0)
    for _ in range(2):
        guard, permit = entered(guard, 0.0)
        guard = guard.failed(permit, 0.0, 0.5)
    assert refused(guard.queue_up(5.0, retry=False)[1]) == Refused(Obstacle.BREAKER, 10.0)
    guard, probe = entered(guard, 10.0)
    assert refused(guard.queue_up(10.0, retry=False)[1]) == Refused(Obstacle.BREAKER, 11.0)
    assert guard.succeeded(probe).breaker.state is BreakerState.CLOSED


def test_the_breaker_may_open_while_a_call_waits_for_its_place() -> None:
    guard = Guard.fresh(POLICY, 0.0)
    guard, first = entered(guard, 0.0)
    guard, second = entered(guard, 0.0)
    guard, at_s = guard.queue_up(0.0, retry=False)
    guard = guard.failed(first, 0.1, 0.5).failed(second, 0.1, 0.5)
    assert not isinstance(at_s, Refused)
    assert refused(guard.enter(at_s, retry=False)[1]).obstacle is Obstacle.BREAKER


def test_the_end_of_a_call_from_before_the_rest_says_nothing() -> None:
    guard = Guard.fresh(POLICY, 0.0)
    guard, old = entered(guard, 0.0)
    for _ in range(2):
        guard, permit = entered(guard, 0.0)
        guard = guard.failed(permit, 0.0, 0.5)
    guard, probe = entered(guard, 10.0)
    assert guard.succeeded(old) == guard.failed(old, 10.0, 0.5) == guard.abandoned(old) == guard
    assert guard.succeeded(probe).breaker.state is BreakerState.CLOSED


def test_a_target_that_asks_for_a_pause_gets_it() -> None:
    guard = Guard.fresh(POLICY, 0.0)
    guard, at_s = guard.queue_up(0.0, retry=False)
    guard = guard.held(30.0)
    assert at_s == 0.0
    assert refused(guard.enter(0.0, retry=False)[1]) == Refused(Obstacle.PACE, 30.0)
    assert refused(guard.queue_up(0.0, retry=False)[1]).until_s == 30.0
    assert [guard.queue_up(29.5, retry=False)[1], guard.enter(30.0, retry=False)[1]] == [30.0, Permit(0)]


def test_without_a_pace_calls_go_as_they_come() -> None:
    guard = Guard.fresh(GuardPolicy(), 0.0)
    for _ in range(1000):
        guard, at_s = guard.queue_up(0.0, retry=False)
        assert at_s == 0.0


@given(st.lists(st.sampled_from(["call", "retry", "ok", "fail", "none", "wait"]), max_size=80), st.integers(1, 3))
def test_after_a_rest_no_more_calls_are_out_than_probes(steps: list[str], probes: int) -> None:
    policy = GuardPolicy(breaker=BreakerPolicy(failures=2, rest_s=1.0, probes=probes))
    guard, now_s = Guard.fresh(policy, 0.0), 0.0
    out: list[Permit] = []
    for step in steps:
        match step:
            case "call" | "retry":
                guard, answer = guard.enter(now_s, retry=step == "retry")
                out += [answer] if isinstance(answer, Permit) else []
            case "wait":
                now_s += 0.7
            case "ok" if out:
                guard = guard.succeeded(out.pop(0))
            case "fail" if out:
                guard = guard.failed(out.pop(0), now_s, 0.0)
            case "none" if out:
                guard = guard.abandoned(out.pop(0))
        if guard.breaker.state is BreakerState.HALF_OPEN:
            assert sum(permit.rests == guard.breaker.rests for permit in out) + guard.breaker.passed <= probes
