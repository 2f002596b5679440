"""The dashboard over a window: an even grid without false gaps and without bridged ones (OBS-4)."""

import datetime as dt
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.kernel.errors import FluxaError
from fluxa.operations.dashboard.board import (
    POINTS_MAX,
    WINDOW_PATTERN,
    Board,
    Kept,
    board,
    last_of,
    step_of,
    window_of,
)
from fluxa.operations.dashboard.moment import Flow, Moment

pytestmark = pytest.mark.req("OBS-4")

BEGIN_S = 1_800_000_000.0


def _moment(over_s: float = 15.0, rate: float = 1.0) -> Moment:
    return Moment(
        over_s=over_s,
        up=1,
        expected=1,
        flows={"received": Flow(over_s, {"": rate}), "stored": Flow(over_s, {"": rate})},
        levels={"depth": {f"q{number}": float(number) for number in range(12)}},
    )


def _board(kept: list[Kept], window_s: int = 900, now_s: float | None = None) -> Board:
    end_s = now_s if now_s is not None else kept[-1].at_s + 1
    return board(kept, now=dt.datetime.fromtimestamp(end_s, dt.UTC), window_s=window_s, least_s=15)


def _values(found: Board, panel: str = "events", line: str = "stored") -> list[float | None]:
    (view,) = [one for one in found.panels if one.name == panel]
    return next((one.values for one in view.lines if one.name == line), [None] * len(found.times))


@given(st.lists(st.floats(14.0, 17.0), min_size=70, max_size=90))
def test_moments_that_drift_leave_no_gap_and_hold_their_rate(periods_s: list[float]) -> None:
    at_s, kept = BEGIN_S, []
    for period_s in periods_s:
        at_s += period_s
        kept.append(Kept(at_s, _moment(period_s)))
    values = _values(_board(kept))
    assert set(values[:-1]) == {1.0}


@given(st.integers(3, 20), st.integers(2, 30))
def test_a_pause_is_a_gap(before: int, missing: int) -> None:
    times_s = [BEGIN_S + 15 * number for number in range(before)]
    end_s = times_s[-1] + 15 * (missing + 1)
    found = _board([*(Kept(one, _moment()) for one in times_s), Kept(end_s, _moment())], now_s=end_s)
    values = dict(zip(found.times, _values(found), strict=True))
    for time, value in values.items():
        if times_s[-1] < time < end_s or time < BEGIN_S - 15:
            assert value is None, time
    assert all(values[int(time)] == 1.0 for time in times_s if int(time) in values)


@given(st.integers(1, 14 * 24 * 60))
def test_a_window_has_points_that_one_can_see(minutes: int) -> None:
    found = _board([Kept(BEGIN_S, _moment())], window_s=minutes * 60)
    assert 3 <= len(found.times) <= POINTS_MAX + 1
    assert found.times[-1] - found.times[0] + found.step_s <= minutes * 60 + found.step_s
    assert found.times[-1] >= BEGIN_S
    assert {len(line.values) for panel in found.panels for line in panel.lines} == {len(found.times)}
    assert step_of(minutes * 60, 15.0) == found.step_s


def test_without_any_moment_nothing_is_known() -> None:
    found = board([], now=dt.datetime.fromtimestamp(BEGIN_S, dt.UTC), window_s=3600, least_s=15)
    assert found.recorded_s is None
    assert not any(panel.known or panel.lines for panel in found.panels)


def test_the_highest_lines_are_shown_and_the_others_counted() -> None:
    found = _board([Kept(BEGIN_S, _moment())])
    (depth,) = [one for one in found.panels if one.name == "depth"]
    assert [line.name for line in depth.lines] == [f"q{number}" for number in range(11, 3, -1)]
    assert depth.more == 4
    assert last_of(depth)["q11"] == 11


def test_what_was_last_known_long_ago_is_not_what_is() -> None:
    found = _board([Kept(BEGIN_S, _moment())], now_s=BEGIN_S + 60)
    (events,) = [one for one in found.panels if one.name == "events"]
    assert last_of(events) == {"received": None, "stored": None}
    assert not events.known
    assert found.recorded_s == 60


@pytest.mark.parametrize(("text", "window_s"), [("1m", 60), ("99m", 5940), ("1h", 3600), ("14d", 14 * 86400)])
def test_windows(text: str, window_s: int) -> None:
    assert window_of(text) == window_s


@given(st.from_regex(WINDOW_PATTERN, fullmatch=True).filter(lambda text: not text.endswith("\n")))
def test_whatever_the_documentation_allows_is_a_window(text: str) -> None:
    assert 60 <= window_of(text) <= 14 * 86400


@given(st.text().filter(lambda text: re.fullmatch(WINDOW_PATTERN, text) is None))
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(FluxaError, match="A window is"):
        window_of(text)


def test_a_board_is_read_back_as_it_was_written() -> None:
    found = _board([Kept(BEGIN_S, _moment())])
    assert msgspec.json.decode(msgspec.json.encode(found), type=Board) == found
