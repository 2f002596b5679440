"""Calls follow each other at the rate, never faster (QUEUE-13)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.resilience.limiter import Limiter, PacePolicy

pytestmark = pytest.mark.req("QUEUE-13", "HARDEN-1")

POLICIES = st.builds(PacePolicy, rate_per_s=st.floats(0.05, 1000.0), burst=st.integers(1, 20))


@given(POLICIES, st.lists(st.floats(0.0, 5.0), min_size=1, max_size=60))
def test_in_every_stretch_at_most_the_burst_and_the_rate_begin(policy: PacePolicy, pauses: list[float]) -> None:
    limiter, now_s = Limiter(policy), 1000.0
    begun: list[float] = []
    for pause_s in pauses:
        now_s += pause_s
        limiter, at_s = limiter.decide(now_s)
        assert at_s >= now_s
        begun.append(at_s)
    assert begun == sorted(begun)
    for first, from_s in enumerate(begun):
        for last in range(first, len(begun)):
            most = policy.burst + policy.rate_per_s * (begun[last] - from_s)
            assert last - first + 1 <= most * (1 + 1e-9) + 1e-6


@given(POLICIES, st.integers(1, 100))
def test_who_comes_no_faster_than_the_rate_never_waits(policy: PacePolicy, calls: int) -> None:
    limiter, now_s = Limiter(policy), 0.0
    for _ in range(calls):
        limiter, at_s = limiter.decide(now_s)
        assert at_s == pytest.approx(now_s)
        now_s = at_s + (1 + 1e-9) / policy.rate_per_s


def test_a_burst_comes_at_once_and_the_rest_evenly() -> None:
    limiter, begun = Limiter(PacePolicy(rate_per_s=2.0, burst=3)), []
    for _ in range(6):
        limiter, at_s = limiter.decide(10.0)
        begun.append(at_s)
    assert begun == pytest.approx([10.0, 10.0, 10.0, 10.5, 11.0, 11.5])


def test_a_decision_that_is_not_adopted_has_taken_nothing() -> None:
    limiter, _ = Limiter(PacePolicy(rate_per_s=1.0)).decide(0.0)
    assert limiter.decide(0.0)[1] == limiter.decide(0.0)[1] == 1.0


def test_nothing_begins_before_the_target_said_and_then_evenly() -> None:
    limiter, begun = Limiter(PacePolicy(rate_per_s=1.0)).held(30.0).held(20.0), []
    for _ in range(3):
        limiter, at_s = limiter.decide(0.0)
        begun.append(at_s)
    assert begun == [30.0, 31.0, 32.0]
