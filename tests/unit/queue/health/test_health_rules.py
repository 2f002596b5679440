"""What facts about a queue mean: watermarks told once a crossing, several workers as one, one word for it all."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.queue.backend import QueueMetrics
from fluxa.queue.health import rules
from fluxa.queue.health.facts import Exceeded, Measure, State, Watermark
from fluxa.queue.health.reports import QueueReport, WorkerReport
from fluxa.queue.health.rules import Crossing, Marks, Served
from fluxa.queue.insight import DeadByCode
from fluxa.queue.registry import QueueSpec, Watermarks

AT = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
LIMITS = Watermarks(depth=100, oldest_age_s=60.0, dead=0)


def held(depth: int = 0, *, age_s: float | None = 0.0, dead: int = 0) -> QueueMetrics:
    return QueueMetrics(depth=depth, ready=depth, in_flight=0, oldest_age_s=age_s, dead=dead)


def said(worker: str, report: QueueReport, *, age_s: float = 1.0) -> WorkerReport:
    return WorkerReport(worker=worker, host="h", pid=1, age_s=age_s, said=report)


@pytest.mark.req("QUEUE-11", "ALARM-5")
def test_a_crossing_is_told_once_and_ends_at_four_fifths() -> None:
    marks, told = Marks(LIMITS), []
    for depth in (100, 101, 500, 100, 81, 80, 81, 100, 101):
        marks, crossings = marks.seen(held(depth))
        told += [(depth, crossing.is_above) for crossing in crossings]
    assert told == [(101, True), (80, False), (101, True)]


def test_each_measure_has_its_own_crossing() -> None:
    marks, crossings = Marks(LIMITS).seen(held(101, age_s=61.0, dead=1))
    assert crossings == (
        Crossing(Measure.DEPTH, 101, 100, is_above=True),
        Crossing(Measure.OLDEST_AGE, 61.0, 60.0, is_above=True),
        Crossing(Measure.DEAD, 1, 0, is_above=True),
    )
    assert marks.seen(held(101, age_s=61.0, dead=0))[1] == (Crossing(Measure.DEAD, 0, 0, is_above=False),)


def test_what_is_unknown_or_without_a_limit_crosses_nothing() -> None:
    marks = Marks(LIMITS, frozenset({Measure.DEPTH}))
    assert marks.seen(None) == (marks, ())
    assert marks.seen(held(200, age_s=None)) == (marks, ())
    assert Marks(Watermarks(depth=None, oldest_age_s=None, dead=None)).seen(held(10**9, age_s=1e9, dead=10**9))[1] == ()


@given(st.lists(st.one_of(st.none(), st.integers(0, 300)), max_size=60))
def test_crossings_alternate_whatever_the_depth_does(depths: list[int | None]) -> None:
    marks, directions = Marks(LIMITS), []
    for depth in depths:
        marks, crossings = marks.seen(None if depth is None else held(depth))
        directions += [crossing.is_above for crossing in crossings]
    assert directions == [place % 2 == 0 for place in range(len(directions))]


def test_the_moment_knows_no_hysteresis() -> None:
    assert rules.exceeded(held(101, dead=2), LIMITS) == (
        Exceeded(Measure.DEPTH, 101, 100),
        Exceeded(Measure.DEAD, 2, 0),
    )
    assert rules.exceeded(held(100, age_s=None), LIMITS) == ()
    assert rules.watermark(None, ()) is Watermark.UNKNOWN
    assert rules.watermark(held(), ()) is Watermark.OK
    assert rules.watermark(held(), (Exceeded(Measure.DEPTH, 101, 100),)) is Watermark.HIGH


def test_first_actions_are_commands() -> None:
    assert {rules.first_action("pulse", measure) for measure in Measure} == {
        "fluxa queue show pulse",
        "fluxa dlq list --queue pulse",
    }


def test_workers_are_merged_and_those_that_are_gone_only_remembered() -> None:
    later = AT + dt.timedelta(hours=1)
    served = rules.merge(
        [
            said("a", QueueReport("q", 3, 0, AT, None, None, "closed")),
            said("b", QueueReport("q", 1, 7, None, AT, "ProviderThrottled", "open", later)),
            said("gone", QueueReport("q", 9, 99, later, later, "HandlerError", "half_open"), age_s=60),
        ]
    )
    assert [one.worker for one in served.workers] == ["a", "b"]
    assert served.last_success_at == later
    assert (served.last_failure_at, served.last_error_code) == (later, "HandlerError")
    assert served.error_streak == 7
    assert (served.breaker, served.rests_until) == ("open", later)


def test_without_living_workers_the_last_one_speaks() -> None:
    reports = [
        said("old", QueueReport("q", error_streak=9), age_s=500),
        said("last", QueueReport("q", error_streak=4), age_s=50),
    ]
    served = rules.merge(reports)
    assert (served.workers, served.breaker, served.error_streak) == ((), None, 4)
    assert rules.merge([]) == Served()


WORKER = rules.merge([said("w", QueueReport("q"))])
SPEC = QueueSpec("q", watermarks=LIMITS)


def word(
    spec: QueueSpec | None = SPEC,
    *,
    metrics: QueueMetrics | None,
    served: Served | None = WORKER,
    paused: bool | None = False,
    is_high: bool = False,
) -> State:
    return rules.state(spec, metrics=metrics, served=served, paused=paused, is_high=is_high)


@pytest.mark.req("QUEUE-7", "QUEUE-10")
def test_what_is_not_known_is_unknown() -> None:
    assert word(metrics=None) is State.UNKNOWN
    assert word(metrics=held(), served=None) is State.UNKNOWN
    assert word(metrics=held(), paused=None) is State.UNKNOWN


def test_the_word_is_what_to_act_on_first() -> None:
    resting = rules.merge([said("w", QueueReport("q", breaker="open", error_streak=9))])
    probing = rules.merge([said("w", QueueReport("q", breaker="half_open"))])
    failing = rules.merge([said("w", QueueReport("q", error_streak=SPEC.breaker.failures))])
    assert word(metrics=held(5)) is State.OK
    assert word(metrics=held(5), is_high=True) is State.HIGH
    assert word(metrics=held(5), served=failing, is_high=True) is State.FAILING
    assert word(metrics=held(5), served=probing) is State.FAILING
    assert word(metrics=held(5), served=Served(), is_high=True) is State.UNSERVED
    assert word(metrics=held(0), served=Served()) is State.OK
    assert word(metrics=held(5), served=resting) is State.RESTING
    assert word(metrics=held(5), served=resting, paused=True) is State.PAUSED
    assert word(None, metrics=held(5)) is State.FOREIGN


def test_one_code_that_was_not_counted_to_its_end_has_what_the_others_leave() -> None:
    found = DeadByCode({"A": 10, "B": 5000}, at_least=frozenset({"B"}))
    assert rules.dead_by_code(found, held(dead=90_010)) == ({"A": 10, "B": 90_000}, ())
    assert rules.dead_by_code(found, None) == ({"A": 10, "B": 5000}, ("B",))
    several = DeadByCode({"A": 5000, "B": 5000}, at_least=frozenset({"A", "B"}))
    assert rules.dead_by_code(several, held(dead=90_010)) == ({"A": 5000, "B": 5000}, ("A", "B"))
    more = DeadByCode({"A": 10, "B": 5000}, at_least=frozenset({"B"}), all_codes=False)
    assert rules.dead_by_code(more, held(dead=90_010)) == ({"A": 10, "B": 5000}, ("B",))
