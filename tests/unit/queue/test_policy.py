"""The retry policy: which failures are repeated, when, and how often."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.kernel.errors import ErrorCode, RetryClass, retry_class
from fluxa.queue.outcome import Dead, Retry
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.record import Record

_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_CHANCE = st.floats(0, 1, exclude_max=True)


def _record(attempt: int) -> Record:
    return Record(id="a", body=b"", created_at=_NOW, attempt=attempt)


@pytest.mark.req("PIPE-9")
@given(code=st.sampled_from(ErrorCode), attempt=st.integers(0, 20), received=st.integers(1, 5), chance=_CHANCE)
def test_only_transient_failures_are_repeated_and_only_so_often(
    code: ErrorCode, attempt: int, received: int, chance: float
) -> None:
    policy = RetryPolicy(attempts_max=8)
    outcome = policy.decide(_record(attempt), code, "x", now=_NOW, chance=chance, received_count=received)
    repeats = retry_class(code) is RetryClass.TRANSIENT and attempt + received < 8
    assert isinstance(outcome, Retry if repeats else Dead)
    assert getattr(outcome, "code", None) == code


@given(failed=st.integers(1, 10_000), chance=_CHANCE)
def test_the_delay_grows_to_its_cap_and_never_falls_below_half(failed: int, chance: float) -> None:
    policy = RetryPolicy(base_s=0.5, cap_s=60)
    whole = min(60, 0.5 * 2.0 ** min(failed - 1, 60))
    assert whole / 2 <= policy.delay_s(failed, chance) <= whole


@pytest.mark.req("PIPE-9")
def test_a_queue_may_class_a_code_otherwise_and_codes_of_ones_own_are_transient() -> None:
    policy = RetryPolicy(overrides={"PayloadMissing": RetryClass.TRANSIENT, "OutOfStock": RetryClass.PERMANENT})
    assert isinstance(policy.decide(_record(0), "PayloadMissing", "", now=_NOW, chance=0), Retry)
    assert isinstance(policy.decide(_record(0), "OutOfStock", "", now=_NOW, chance=0), Dead)
    assert isinstance(policy.decide(_record(0), "TheirOwnCode", "", now=_NOW, chance=0), Retry)


@pytest.mark.req("QUEUE-3")
@given(attempt=st.integers(0, 20), received=st.integers(1, 20))
def test_claims_that_were_never_settled_count_as_attempts(attempt: int, received: int) -> None:
    outcome = RetryPolicy(attempts_max=8).crashed(_record(attempt), received)
    if attempt + received - 1 >= 8:
        assert isinstance(outcome, Dead)
        assert outcome.code == ErrorCode.HANDLER_CRASH
    else:
        assert outcome is None
