"""What came due is looked at once, and again only where a transaction was still open."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.queue.backends.pgmq.claiming.pace import CHEAP_S, MIN_S, PASS_MIN_S, PASS_SHARE, SHARE, SLICE, Pace, Pass
from fluxa.queue.backends.pgmq.claiming.timeline import BEFORE, LAG, Mark, Timeline

pytestmark = pytest.mark.req("QUEUE-1", "QUEUE-3")

_T0 = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def _at(seconds: float) -> dt.datetime:
    return _T0 + dt.timedelta(seconds=seconds)


def _mark(seconds: float, *running: str, last_id: int = 0) -> Mark:
    return Mark(_at(seconds), frozenset(running), last_id)


def test_time_that_passed_is_not_looked_at_again() -> None:
    line = Timeline()
    assert line.begin(_mark(100)) == _at(100) - LAG - BEFORE
    line.looked(_mark(100), None)
    assert line.begin(_mark(103)) == _at(100) - LAG
    line.looked(_mark(103), _at(101))
    assert line.begin(_mark(104)) == _at(101)


def test_when_a_transaction_ends_the_look_goes_back_to_before_it_was_seen() -> None:
    line = Timeline()
    for second, running in ((100, ()), (110, ()), (120, ("7",)), (130, ("7", "8")), (140, ("7",))):
        line.begin(_mark(second, *running))
        line.looked(_mark(second, *running), None)
    assert line.begin(_mark(150, "7")) == _at(140) - LAG
    line.looked(_mark(150, "7"), None)
    assert line.begin(_mark(160)) == _at(110) - LAG
    assert line.safe_at == _at(160) - LAG


def test_ids_are_safe_when_all_who_could_have_them_are_gone() -> None:
    line = Timeline()
    for second, last_id, running in ((100, 10, ()), (110, 20, ("7",)), (120, 30, ("7",)), (130, 40, ("7",))):
        line.begin(_mark(second, *running, last_id=last_id))
        line.looked(_mark(second, *running, last_id=last_id), None)
        assert line.safe_id <= 10
        assert line.safe_at <= _at(110)
    line.begin(_mark(140, last_id=50))
    assert line.safe_id == 40


def test_a_scan_that_began_before_a_commit_makes_the_look_go_back_once_more() -> None:
    line = Timeline()
    line.begin(_mark(100))
    line.looked(_mark(100), None)
    line.begin(_mark(110, "7"))
    line.looked(_mark(110, "7"), None)
    assert line.begin(_mark(120), (5, 6)) == _at(100) - LAG
    line.looked(_mark(120), None)
    assert line.begin(_mark(130), (6, 9)) == _at(120) - LAG
    line.looked(_mark(130), None)
    assert line.begin(_mark(140), (7, 9)) == _at(100) - LAG
    line.looked(_mark(140), None)
    assert line.begin(_mark(150), (7, 9)) == _at(140) - LAG


def test_a_clock_that_was_set_back_begins_anew() -> None:
    line = Timeline()
    line.begin(_mark(100))
    line.looked(_mark(100), None)
    assert line.begin(_mark(50)) == _at(50) - LAG - BEFORE


_STEP = st.sampled_from(["open", "write", "write", "commit", "look", "look some"])


@given(st.lists(st.tuples(_STEP, st.floats(0.0, 3.0), st.integers(0, 3), st.floats(0.0, 4.0)), max_size=80))
def test_whatever_is_committed_and_due_has_been_looked_at_after_a_look_to_the_end(
    steps: list[tuple[str, float, int, float]],
) -> None:
    line = Timeline()
    now, serial = 100.0, 0
    open_: list[str] = []
    written: dict[str, list[tuple[float, int]]] = {}
    rows: set[tuple[float, int]] = set()
    seen: set[tuple[float, int]] = set()
    for step, pause, pick, delay in steps:
        now += pause
        if step == "open":
            serial += 1
            open_.append(str(serial))
            written[str(serial)] = []
        elif step == "write" and open_:
            serial += 1
            written[open_[pick % len(open_)]].append((now + delay, serial))
        elif step == "commit" and open_:
            rows.update(written.pop(open_.pop(pick % len(open_))))
        elif step.startswith("look"):
            # A transaction is seen as writing from its first row on.
            mark = _mark(now, *(one for one in open_ if written[one]))
            start = line.begin(mark)
            due = sorted((at, number) for at, number in rows if _at(at) >= start and at <= now)
            if step == "look some" and len(due) > 1:
                due = due[: len(due) // 2]
                line.looked(mark, _at(due[-1][0]))
                seen.update(due)
                continue
            line.looked(mark, None)
            seen.update(due)
            assert {one for one in rows if one[0] <= now} <= seen


def test_a_cheap_look_may_be_taken_at_any_time_and_a_dear_one_is_rare() -> None:
    pace = Pace()
    assert pace.is_due(0.0, 15)
    pace.done(0.0, CHEAP_S / 2, more=False)
    cheap = [pace.is_cheap]
    assert not pace.is_due(0.1, 15)
    assert pace.is_due(CHEAP_S / 2 + MIN_S, 15)
    pace.done(100.0, 100.5, more=False)
    cheap.append(pace.is_cheap)
    assert cheap == [True, False]
    assert not pace.is_due(100.4 + SHARE * 0.5, 15)
    assert pace.is_due(100.6 + SHARE * 0.5, 15)
    assert pace.is_due(105.6, 5)
    pace.done(200.0, 200.5, more=True)
    assert pace.is_due(200.5, 15)


def test_the_pass_goes_over_everything_in_slices_and_takes_its_time() -> None:
    net = Pass()
    assert net.next(0.0, 0) is None
    head = 2 * SLICE + 5
    assert net.next(0.0, head) == (0, SLICE)
    net.done(0.0, 0.01, head, more=True)
    assert net.next(0.01, head) == (0, SLICE)
    net.done(0.01, 0.02, head)
    assert net.next(0.02 + PASS_SHARE * 0.01 - 0.001, head) is None
    assert net.next(1.0, head) == (SLICE, 2 * SLICE)
    net.done(1.0, 1.01, head)
    assert net.next(2.0, head) == (2 * SLICE, head)
    net.done(2.0, 2.001, head)
    assert net.next(PASS_MIN_S, head) is None
    assert net.next(2.1 + PASS_MIN_S, head) == (0, SLICE)
