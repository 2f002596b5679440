"""Retries stay a share of the traffic (HARDEN-7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.resilience.budget import Budget, BudgetPolicy

pytestmark = pytest.mark.req("HARDEN-1", "HARDEN-7")

STEPS = st.lists(st.tuples(st.sampled_from(["first", "retry", "wait", "back"]), st.integers(1, 50)), max_size=80)
POLICIES = st.builds(
    BudgetPolicy,
    share=st.floats(0.0, 1.0),
    floor_per_s=st.one_of(st.just(0.0), st.floats(0.01, 20.0)),
    window_s=st.floats(0.5, 60.0),
)


@given(POLICIES, STEPS)
def test_in_every_stretch_retries_are_bounded_by_what_was_left_the_share_and_the_floor(
    policy: BudgetPolicy, steps: list[tuple[str, int]]
) -> None:
    budget, now_s = Budget.full(policy, 100.0), 100.0
    seen: list[tuple[float, float, int, int]] = []  # left, time, first attempts, retries: each as they were
    firsts = retries = 0
    for step, amount in steps:
        budget = budget.began(0, now_s)  # brought to the present, nothing else
        seen.append((budget.earned + budget.spare, budget.at_s, firsts, retries))
        match step:
            case "first":
                budget, firsts = budget.began(amount, now_s), firsts + amount
            case "retry":
                taken = min(amount, budget.allowance(now_s))
                budget, retries = budget.retried(taken, now_s), retries + taken
            case "wait":
                now_s += amount / 10
            case _:
                now_s -= amount / 100
        latest_s = max(now_s, budget.at_s)
        for left, at_s, firsts_then, retries_then in seen:
            earned = policy.share * (firsts - firsts_then) + policy.floor_per_s * (latest_s - at_s)
            assert retries - retries_then <= left + earned + 1e-6


@given(POLICIES.filter(lambda policy: policy.floor_per_s > 0))
def test_where_there_is_a_floor_a_retry_is_always_allowed_after_the_wait_it_says(policy: BudgetPolicy) -> None:
    budget = Budget.full(policy, 0.0)
    budget = budget.retried(budget.allowance(0.0), 0.0)
    assert budget.allowance(0.0) == 0
    assert budget.allowance(budget.wait_s(0.0) + 1e-6) >= 1


def test_a_fifth_of_steady_traffic_may_be_retries_however_large_it_is() -> None:
    budget = Budget.full(BudgetPolicy(share=0.2, floor_per_s=1.0), 0.0)
    retries = 0
    for second in range(100):
        budget = budget.began(1000, float(second))
        taken = budget.allowance(float(second))
        budget, retries = budget.retried(taken, float(second)), retries + taken
    assert retries == pytest.approx(100 * 200 + 100 + 10, rel=0.01)


def test_what_was_earned_long_ago_pays_for_nothing() -> None:
    budget = Budget.full(BudgetPolicy(share=0.2, floor_per_s=0.0, window_s=10.0), 0.0).began(10_000, 0.0)
    assert budget.allowance(0.0) == 2000
    assert budget.allowance(120.0) == 0


def test_spending_more_than_allowed_leaves_no_debt() -> None:
    budget = Budget.full(BudgetPolicy(floor_per_s=1.0), 0.0).retried(1000, 0.0)
    assert budget.allowance(1.0) == 1
