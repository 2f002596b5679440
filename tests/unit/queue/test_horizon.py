"""Where the PGMQ backend begins to scan: what has settled down is skipped, what may still come is not."""

from hypothesis import given
from hypothesis import strategies as st

from fluxa.queue.backends.pgmq.claiming.horizon import HEAD_S, LAG_S, SWEEP_MIN_S, SWEEP_SHARE, Horizon


def test_the_floor_follows_the_head_a_quarter_of_a_second_behind() -> None:
    horizon = Horizon()
    assert horizon.start(10.0) == 0
    horizon.scanned(10.0, 500, full=False)
    assert horizon.start(10.0 + LAG_S / 2) == 0
    assert horizon.start(10.0 + LAG_S) == 500


def test_while_claims_are_full_scans_go_on_from_the_head_but_look_back_often() -> None:
    horizon = Horizon()
    horizon.start(10.0)
    horizon.scanned(10.0, 500, full=True)
    assert horizon.start(10.0 + HEAD_S / 2) == 500
    assert horizon.start(10.0 + HEAD_S) == 0


def test_a_cheap_sweep_is_worth_trying_at_any_time() -> None:
    horizon = Horizon()
    assert horizon.sweep_due(0.0, 30)
    horizon.swept(0.0, 0.001, full=False)
    assert horizon.sweep_is_cheap
    assert not horizon.sweep_due(0.1, 30)
    assert horizon.sweep_due(0.001 + SWEEP_MIN_S, 30)


def test_a_dear_sweep_is_rare_but_comes_within_half_a_lease() -> None:
    horizon = Horizon()
    horizon.swept(100.0, 100.5, full=False)
    assert not horizon.sweep_is_cheap
    assert not horizon.sweep_due(100.4 + SWEEP_SHARE * 0.5, 60)
    assert horizon.sweep_due(100.6 + SWEEP_SHARE * 0.5, 60)
    assert horizon.sweep_due(100.6 + 5, 10)


def test_a_sweep_that_took_all_it_may_is_followed_by_another() -> None:
    horizon = Horizon()
    horizon.swept(0.0, 0.001, full=True)
    assert horizon.sweep_due(0.001, 30)


@given(
    steps=st.lists(st.tuples(st.floats(0, 0.2), st.integers(0, 50), st.booleans()), max_size=60),
)
def test_the_floor_never_passes_what_was_reached_a_lag_ago(steps: list[tuple[float, int, bool]]) -> None:
    horizon = Horizon()
    now_s, highest = 0.0, 0
    reached: list[tuple[float, int]] = []
    for pause_s, more, full in steps:
        now_s += pause_s
        start = horizon.start(now_s)
        settled = max((mark for at_s, mark in reached if at_s <= now_s - LAG_S), default=0)
        assert horizon.floor == settled
        assert start in {horizon.floor, horizon.head}
        highest += more
        if more:
            reached.append((now_s, highest))
        horizon.scanned(now_s, highest if more else 0, full=full)
