"""Where the PGMQ backend begins to scan: what has settled down is skipped, what may still come is not."""

from hypothesis import given
from hypothesis import strategies as st

from fluxa.queue.backends.pgmq.claiming.horizon import HEAD_S, LAG_S, Horizon


def _scanned(horizon: Horizon, now_s: float, highest: int, *, full: bool) -> None:
    scan = horizon.scan(now_s)
    horizon.scanned(scan, highest, full=full)
    horizon.ended(scan)


def test_the_floor_follows_the_head_a_quarter_of_a_second_behind() -> None:
    horizon = Horizon()
    assert horizon.start(10.0) == 0
    _scanned(horizon, 10.0, 500, full=False)
    assert horizon.start(10.0 + LAG_S / 2) == 0
    assert horizon.start(10.0 + LAG_S) == 500


def test_while_claims_are_full_scans_go_on_from_the_head_but_look_back_often() -> None:
    horizon = Horizon()
    horizon.start(10.0)
    _scanned(horizon, 10.0, 500, full=True)
    assert horizon.start(10.0 + HEAD_S / 2) == 500
    assert horizon.start(10.0 + HEAD_S) == 0


def test_how_long_a_scan_is_under_way_is_known() -> None:
    horizon = Horizon()
    first = horizon.scan(10.0)
    assert horizon.scans == (1, 1)
    second = horizon.scan(11.0)
    assert (horizon.scanning_s(12.0), horizon.scans) == (2.0, (1, 2))
    horizon.scanned(second, 70, full=True)
    horizon.ended(second)
    assert horizon.scanning_s(12.0) == 2.0
    horizon.ended(first)
    assert (horizon.scanning_s(12.0), horizon.scans, horizon.head) == (0.0, (3, 2), 70)


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
        _scanned(horizon, now_s, highest if more else 0, full=full)
