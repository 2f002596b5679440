"""When schedules are due, and what is done about times that passed (QUEUE-14)."""

import datetime as dt
import itertools
import zoneinfo
from typing import assert_never

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.cron.rules import GRACE_S, RUNS_MAX, Missed, corrected, due
from fluxa.operations.cron.schedule import Schedule
from fluxa.operations.cron.timetable import Timetable

pytestmark = pytest.mark.req("QUEUE-14")

VIENNA = "Europe/Vienna"
EXPRESSIONS = ("* * * * *", "*/7 * * * *", "15,45 2 * * *", "30 2 * * *", "0 */2 * * *", "0 9 * * 1-5", "0 0 1 * *")
MINUTE = dt.timedelta(minutes=1)
ZONES = ("UTC", VIENNA, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Santiago")
# A year in which all of these zones change their clocks.
MOMENTS = st.integers(0, 480_000).map(lambda minutes: dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + minutes * MINUTE)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def local(timetable: Timetable, since: str, count: int, zone: str = VIENNA) -> list[str]:
    found = itertools.islice(timetable.after(at(since)), count)
    return [f"{due.astimezone(zoneinfo.ZoneInfo(zone)):%d %H:%M%z}" for due in found]


def test_an_hour_that_summer_time_leaves_out_is_due_right_after_the_gap() -> None:
    assert local(Timetable("30 2 * * *", VIENNA), "2026-03-28T00:00", 3) == [
        "28 02:30+0100",
        "29 03:00+0200",
        "30 02:30+0200",
    ]


def test_an_hour_that_comes_twice_is_due_once() -> None:
    assert local(Timetable("30 2 * * *", VIENNA), "2026-10-24T00:00", 3) == [
        "24 02:30+0200",
        "25 02:30+0200",
        "26 02:30+0100",
    ]
    # Also for one who begins to look in the second of the two hours.
    assert local(Timetable("45 2 * * *", VIENNA), "2026-10-25T01:30", 1) == ["26 02:45+0100"]


def test_what_is_due_every_so_many_minutes_goes_on_evenly() -> None:
    for since in ("2026-03-29T00:00", "2026-10-25T00:00"):
        found = list(itertools.islice(Timetable("*/30 * * * *", VIENNA).after(at(since)), 10))
        assert {later - before for before, later in itertools.pairwise(found)} == {30 * MINUTE}


@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), MOMENTS, st.integers(0, 1000))
@settings(deadline=None)
def test_where_one_begins_to_look_does_not_matter(expression: str, zone: str, moment: dt.datetime, ahead: int) -> None:
    timetable = Timetable(expression, zone)
    until = moment + dt.timedelta(days=2)
    later = moment + ahead * MINUTE
    first = list(itertools.islice(timetable.between(moment, until), 500))
    assert all(before < after for before, after in itertools.pairwise(first))
    known = [found for found in first if found > later]
    again = list(itertools.islice(timetable.after(later), len(known)))
    assert again == known


@given(st.sampled_from(EXPRESSIONS), MOMENTS)
def test_in_utc_it_is_what_the_library_says(expression: str, moment: dt.datetime) -> None:
    mine = list(itertools.islice(Timetable(expression).after(moment), 20))
    assert mine == list(itertools.islice(CronSim(expression, moment), 20))


@given(st.text(alphabet="0123456789*/,-#LWMON @", max_size=30))
@settings(max_examples=300)
def test_any_text_is_a_timetable_or_refused_in_words(text: str) -> None:
    try:
        timetable = Timetable(text)
    except FluxaError as refused:
        code = refused.code
    else:
        code = ErrorCode.INVALID_REQUEST
        assert timetable.first_after(at("2026-01-01")) > at("2026-01-01")
    assert code == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 31 2 *", "0 0 30 2 *", "@often", "* * * * 5L/2", "1" * 300],
)
def test_what_is_never_due_is_refused(expression: str) -> None:
    with pytest.raises(FluxaError, match="no cron expression"):
        Timetable(expression)


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "", "../../etc/passwd", "Mars\0", "x" * 500])
def test_a_zone_that_nobody_knows_is_refused(zone: str) -> None:
    with pytest.raises(FluxaError, match="no time zone"):
        Timetable("@daily", zone)


@given(
    st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), MOMENTS, st.integers(0, 3000), st.sampled_from(list(Missed))
)
@settings(max_examples=100, deadline=None)
def test_the_plan_deals_with_every_due_time_once(
    expression: str, zone: str, since: dt.datetime, minutes: int, missed: Missed
) -> None:
    """Against a model that counts them all: what is run, what is let go, and what is next."""
    timetable, now = Timetable(expression, zone), since + minutes * MINUTE
    next_at = timetable.first_after(since)
    plan = due(timetable, next_at=next_at, now=now, missed=missed)
    passed = list(timetable.between(next_at, now))
    match missed:
        case Missed.ALL:
            expected = passed[-RUNS_MAX:]
        case Missed.ONCE:
            expected = passed[-1:]
        case Missed.SKIP:
            expected = [found for found in passed[-1:] if (now - found).total_seconds() <= GRACE_S]
        case _:
            assert_never(missed)
    let_go = passed[: len(passed) - len(expected)]
    assert list(plan.runs) == expected
    assert plan.skipped == ((let_go[0], let_go[-1]) if let_go else None)
    assert plan.next_at == timetable.first_after(now) > now


def test_a_run_on_time_is_run_whatever_the_rule() -> None:
    for missed in Missed:
        plan = due(Timetable("@daily"), next_at=at("2026-01-02"), now=at("2026-01-02") + MINUTE / 2, missed=missed)
        assert (plan.runs, plan.skipped, plan.next_at) == ((at("2026-01-02"),), None, at("2026-01-03"))


def test_years_of_minutes_are_not_counted_through() -> None:
    plan = due(Timetable("* * * * *"), next_at=at("2000-01-01"), now=at("2026-01-01"), missed=Missed.ALL)
    assert len(plan.runs) == RUNS_MAX
    assert plan.skipped == (at("2000-01-01"), at("2026-01-01") - RUNS_MAX * MINUTE)


@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), MOMENTS, st.integers(-5000, 5000))
def test_a_schedule_never_waits_beyond_its_next_time(expression: str, zone: str, now: dt.datetime, shift: int) -> None:
    timetable = Timetable(expression, zone)
    first = timetable.first_after(now)
    next_at = timetable.first_after(now + shift * MINUTE)
    assert corrected(timetable, next_at=next_at, now=now) == (first if next_at > first else None)


@pytest.mark.parametrize("name", ["", "Digest", "1st", "a b", "ü", "a.b", "a" * 64, "a\n"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(FluxaError, match="names no schedule"):
        Schedule(name, "@daily", "pulse").check()
    Schedule("digest-2_x", "@daily", "pulse").check()
