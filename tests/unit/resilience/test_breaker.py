"""The breaker's transitions (QUEUE-6, HARDEN-1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.resilience.breaker import Breaker, BreakerPolicy, BreakerState

pytestmark = pytest.mark.req("QUEUE-6", "HARDEN-1")

POLICY = BreakerPolicy(failures=3, rest_s=10.0, rest_max_s=35.0, probes=1)


def broken(breaker: Breaker, now_s: float = 0.0) -> Breaker:
    while breaker.state is not BreakerState.OPEN:
        breaker = breaker.failed(now_s, 0.5)
    return breaker


def test_it_opens_at_the_streak_and_a_success_before_that_forgets() -> None:
    breaker = Breaker(POLICY).failed(0, 0.5).failed(0, 0.5).succeeded().failed(0, 0.5).failed(0, 0.5)
    assert breaker.allowance(0) is None
    breaker = breaker.failed(0, 0.5)
    assert (breaker.state, breaker.allowance(9.9), breaker.allowance(10.0)) == (BreakerState.OPEN, 0, 1)


def test_a_probe_closes_it_or_makes_the_rest_longer_up_to_the_cap() -> None:
    breaker, now_s, rests = broken(Breaker(POLICY)), 0.0, []
    for _ in range(4):
        rests.append(breaker.until_s - now_s)
        now_s = breaker.until_s
        breaker = breaker.began(1, now_s)
        assert breaker.allowance(now_s) == 0
        breaker = breaker.failed(now_s, 0.5)
    assert rests == pytest.approx([10.0, 20.0, 35.0, 35.0])
    breaker = breaker.began(1, breaker.until_s).succeeded()
    assert breaker == Breaker(POLICY)


def test_a_probe_that_says_nothing_lets_another_one_try() -> None:
    breaker = broken(Breaker(POLICY))
    breaker = breaker.began(1, breaker.until_s).abandoned()
    assert (breaker.state, breaker.allowance(breaker.until_s)) == (BreakerState.HALF_OPEN, 1)


def test_what_began_before_it_opened_neither_closes_it_nor_lengthens_the_rest() -> None:
    breaker = broken(Breaker(POLICY))
    assert breaker.succeeded() == breaker
    assert breaker.failed(1, 0.5).until_s == breaker.until_s


@given(st.lists(st.sampled_from(["begin", "ok", "fail", "none", "wait"]), max_size=60), st.integers(1, 3))
def test_never_more_attempts_are_out_than_probes_after_a_rest(steps: list[str], probes: int) -> None:
    breaker, now_s, out = Breaker(BreakerPolicy(failures=2, rest_s=1.0, probes=probes)), 0.0, 0
    for step in steps:
        if step == "begin":
            allowed = breaker.allowance(now_s)
            if allowed != 0:
                breaker, out = breaker.began(1, now_s), out + 1
        elif step == "wait":
            now_s += 0.7
        elif out:
            out -= 1
            match step:
                case "ok":
                    breaker = breaker.succeeded()
                case "fail":
                    breaker = breaker.failed(now_s, 0.0)
                case _:
                    breaker = breaker.abandoned()
        if breaker.state is BreakerState.HALF_OPEN:
            assert breaker.out + breaker.passed <= probes
