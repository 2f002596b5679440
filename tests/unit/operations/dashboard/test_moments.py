"""Figures of a moment: what grew between two readings, gaps for what was not read, quantiles that are right (OBS-4)."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxa.operations.dashboard.moment import Flow, Moment, merged
from fluxa.operations.dashboard.panels import PANELS
from fluxa.operations.dashboard.sources import SOURCES, Kind, Memory, Reading
from fluxa.operations.monitoring.pages import START, Labels, Page, read
from fluxa.telemetry import catalogue as c
from fluxa.telemetry.metrics import Metrics

pytestmark = pytest.mark.req("OBS-4")

STORED = (("error_code", ""), ("stage", "persist"), ("status", "success"))
PERIOD_S = 15.0
BOUNDS = next(one.buckets for one in c.METRICS if one.name == "http_request_duration_seconds")
URLS = {"i:1": "ingest", "q:1": "query", "p:1": "processor", "s:1": "station"}


def drawn(panel: str, moment: Moment) -> dict[str, Any] | None:
    """What a panel draws of a moment."""
    values = next(one for one in PANELS if one.name == panel).draw(moment)
    return None if values is None else dict(values)


def reading(at_s: float, pages: Mapping[str, Page], missing: Sequence[str] = ()) -> Reading:
    """All of them read at a time, but those that are missing."""
    return Reading(at_s, pages, dict.fromkeys(missing, "no answer"), {}, URLS)


def counted(url: str, value: float, began_s: float, at_s: float) -> Page:
    """A page with one counter."""
    samples: dict[str, dict[Labels, float]] = {"fluxa_stage_events_total": {STORED: value}, START: {(): began_s}}
    return Page(url, frozenset(samples), samples, max(at_s - began_s, 1.0))


def served(url: str, latencies_s: Sequence[float]) -> Page:
    """A page with the histogram of these requests."""
    name, labels = "http_request_duration_seconds_bucket", (("method", "POST"), ("route", "x"), ("status_code", "202"))
    buckets = {
        tuple(sorted((*labels, ("le", str(bound))))): float(sum(one <= bound for one in latencies_s))
        for bound in (*BOUNDS, math.inf)
    }
    return Page(url, frozenset({name}), {name: buckets, START: {(): 0.0}}, 1000.0)


def page_of(url: str, *signals: c.Signal) -> Page:
    """The page of a process that has done this."""
    metrics = Metrics()
    for signal in signals:
        metrics.hear(signal)
    return read(url, metrics.exposition().decode(), now_s=0.0)


@dataclass(frozen=True)
class Step:
    """What a process does between two readings, and whether the second one reaches it."""

    before: int
    restarts: bool
    after: int
    is_read: bool


STEPS = st.lists(st.builds(Step, st.integers(0, 1000), st.booleans(), st.integers(0, 1000), st.booleans()), max_size=30)


@given(STEPS)
def test_what_a_process_counted_is_found_however_it_begins_anew_and_never_more(steps: list[Step]) -> None:
    memory = Memory()
    memory.moment(reading(0.0, {"p:1": counted("p:1", 7, -100.0, 0.0)}))
    value, began_s, seen, anew = 7, -100.0, 7, False
    for number, step in enumerate(steps, 1):
        at_s = number * PERIOD_S
        value += step.before
        if step.restarts:
            value, began_s, anew = 0, at_s - 5.0, True
        value += step.after
        if not step.is_read:
            moment = memory.moment(reading(at_s, {}, ["p:1"]))
            assert (moment.up, moment.expected) == (0, 1)
            assert "stored" not in moment.flows, "what was not read is not known, and no zero"
            continue
        moment = memory.moment(reading(at_s, {"p:1": counted("p:1", value, began_s, at_s)}))
        expected = value if anew else value - seen
        over_s = min(5.0, PERIOD_S) if step.restarts else None
        flow = moment.flows["stored"]
        rate = sum(flow.per_s.values())
        if expected == 0:
            assert rate == 0
        elif over_s is not None:
            assert rate == pytest.approx(expected / over_s)
        elif not anew:
            assert rate * PERIOD_S <= expected * (1 + 1e-9)
            assert rate > 0
        seen, anew = value, False


@given(st.lists(st.tuples(st.floats(0.5, 60), st.integers(0, 10_000)), min_size=1, max_size=40))
def test_moments_made_one_hold_what_they_held_apart(parts: list[tuple[float, int]]) -> None:
    moments = [
        Moment(over_s=over_s, up=1, expected=1, flows={"stored": Flow(over_s, {"": count / over_s})})
        for over_s, count in parts
    ]
    flow = merged(moments).flows["stored"]
    assert flow.per_s[""] * flow.over_s == pytest.approx(sum(count for _, count in parts), abs=1e-6)


def test_a_moment_without_a_figure_does_not_make_it_smaller() -> None:
    known = Moment(over_s=15, up=2, expected=2, flows={"stored": Flow(15, {"": 4.0})}, levels={"depth": {"a": 9.0}})
    gap = Moment(over_s=15, up=1, expected=2)
    whole = merged([known, gap, gap])
    assert whole.flows["stored"] == Flow(15, {"": 4.0})
    assert (whole.up, whole.expected, whole.over_s) == (1, 2, 45)
    assert whole.levels == {"depth": {"a": 9.0}}


@given(
    st.lists(st.lists(st.floats(0.0001, 4.9), max_size=40), min_size=1, max_size=6),
    st.lists(st.floats(0.0001, 4.9), max_size=40),
)
def test_quantiles_of_several_moments_lie_in_the_bucket_of_the_true_one(
    moments_s: list[list[float]], older_s: list[float]
) -> None:
    memory, done_s = Memory(), list(older_s)
    others = {url: served(url, ()) for url in ("q:1", "s:1")}
    found = [memory.moment(reading(0.0, {"i:1": served("i:1", done_s), **others}))]
    for number, latencies_s in enumerate(moments_s, 1):
        done_s += latencies_s
        found.append(memory.moment(reading(number * PERIOD_S, {"i:1": served("i:1", done_s), **others})))
    observed = sorted(one for latencies_s in moments_s for one in latencies_s)
    values = drawn("latency", merged(found))
    assert values is not None
    if not observed:
        assert set(values.values()) == {None}
        return
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        true = observed[max(0, math.ceil(q * len(observed)) - 1)]
        place = bisect_left(BOUNDS, true)
        low = BOUNDS[place - 1] if place else 0.0
        value = values[name]
        assert value is not None
        assert low - 1e-9 <= value <= BOUNDS[place] + 1e-9


def test_one_process_that_is_gone_leaves_gaps_where_it_would_have_told_and_nowhere_else() -> None:
    def pages(rounds: int) -> dict[str, Page]:
        served: list[c.Signal] = [c.RequestServed("x", "GET", 200, 0.1)] * rounds
        stored: list[c.Signal] = [c.StageFinished(c.Stage.PERSIST, c.Status.SUCCESS, 3, 0.1)] * rounds
        said: dict[str, list[c.Signal]] = {"ingest": served, "query": served, "processor": stored, "station": served}
        return {url: page_of(url, *said[name]) for url, name in URLS.items()}

    memory = Memory()
    memory.moment(reading(0.0, pages(1)))
    whole = memory.moment(reading(15.0, pages(2)))
    assert drawn("events", whole) == {"received": 0, "stored": pytest.approx(3 / 15)}
    assert drawn("requests", whole) == dict.fromkeys(("ingest", "query", "station"), pytest.approx(1 / 15))
    some = memory.moment(reading(30.0, {url: page for url, page in pages(3).items() if url != "q:1"}, ["q:1"]))
    assert drawn("processes", some) == {"up": 3, "expected": 4}
    assert drawn("events", some) == {"received": 0, "stored": pytest.approx(3 / 15)}
    assert drawn("requests", some) == dict.fromkeys(("ingest", "station"), pytest.approx(1 / 15))
    assert drawn("latency", some) is None
    assert drawn("not_served", some) is None
    assert [one.target for one in some.processes if one.reason] == ["q:1"]
    assert "targets" in {one.check for one in some.remarks}
    back = memory.moment(reading(45.0, pages(4)))
    assert drawn("requests", back) == {
        "ingest": pytest.approx(1 / 15),
        "query": pytest.approx(2 / 30),
        "station": pytest.approx(1 / 15),
    }


def test_nothing_that_grows_is_known_of_the_first_reading() -> None:
    first = Memory().moment(reading(5.0, {url: page_of(url, c.StatementSlow("s", 1.0)) for url in URLS}))
    assert first.flows == {}
    assert first.spreads == {}
    assert (first.up, first.over_s) == (4, 0.0)


def test_a_process_whose_kind_nobody_knows_makes_everything_unknown_while_it_is_silent() -> None:
    memory, pages = Memory(), {url: page_of(url) for url in URLS}
    memory.moment(reading(0.0, pages))
    some = memory.moment(reading(15.0, pages, ["x:1"]))
    assert drawn("events", some) == {"received": None, "stored": None}
    assert drawn("slow", some) is None


def test_gauges_that_all_tell_are_taken_once_and_those_of_each_are_added() -> None:
    def page(url: str, depth: float, active: int) -> Page:
        metrics = Metrics()
        metrics.set_gauge("fluxa_queue_depth", depth, "jobs")
        metrics.set_gauge("fluxa_queue_breaker", 1, "jobs", "half_open")
        metrics.set_gauge("fluxa_queue_breaker", 0, "jobs", "open")
        metrics.set_gauge("fluxa_alarm_firing", 1, "A", "critical")
        metrics.set_gauge("fluxa_alarm_firing", 2, "B", "critical")
        for _ in range(active):
            metrics.hear(c.RequestStarted("x", "GET"))
        return read(url, metrics.exposition().decode(), now_s=0.0)

    services = {"i:1": "ingest", "i:2": "ingest", "s:1": "station"}
    pages = {"i:1": page("i:1", 4, 1), "i:2": page("i:2", 5, 2), "s:1": page("s:1", 5, 4)}
    moment = Memory().moment(Reading(0.0, pages, {}, {}, services))
    assert drawn("depth", moment) == {"jobs": 5}
    assert drawn("active", moment) == {"ingest": 3, "station": 4}
    assert drawn("alarms", moment) == {"critical": 3}
    assert drawn("breakers", moment) == {"jobs": 1}
    del pages["i:2"]
    less = Memory().moment(Reading(0.0, pages, {"i:2": "gone"}, {}, services))
    assert drawn("active", less) == {"station": 4}, "half of ingest is not ingest"


def test_however_many_queues_there_are_a_moment_stays_small() -> None:
    metrics = Metrics()
    for number in range(2000):
        metrics.set_gauge("fluxa_queue_depth", number, f"q{number}")
    page = read("s:1", metrics.exposition().decode(), now_s=0.0)
    depth = Memory().moment(Reading(0.0, {"s:1": page}, {}, {}, {"s:1": "station"})).levels["depth"]
    assert len(depth) == 50
    assert min(depth.values()) == 1950


def test_every_source_is_a_metric_that_there_is_and_is_drawn() -> None:
    kinds = {
        Kind.FLOW: c.Kind.COUNTER,
        Kind.SPREAD: c.Kind.HISTOGRAM,
        Kind.SHARED: c.Kind.GAUGE,
        Kind.OWN: c.Kind.GAUGE,
    }
    metrics = {one.name: one for one in c.METRICS}
    for source in SOURCES:
        metric = metrics[source.metric.removesuffix("_count")]
        counts = source.metric.endswith("_count")
        assert metric.kind is (c.Kind.HISTOGRAM if counts else kinds[source.kind]), source.name
        named = {source.subject, *source.only, *source.but} - {""}
        assert named <= set(metric.labels), source.name
    everything = Moment(
        over_s=15,
        up=1,
        expected=1,
        flows={one.name: Flow(15, {"x": 1.0}) for one in SOURCES if one.kind is Kind.FLOW},
        spreads={one.name: {"x": {"1.0": 1.0, "+Inf": 1.0}} for one in SOURCES if one.kind is Kind.SPREAD},
        levels={one.name: {"x": 1.0} for one in SOURCES if one.kind in {Kind.SHARED, Kind.OWN}},
    )
    nothing = Moment(over_s=15, up=1, expected=1)
    assert len({one.name for one in PANELS}) == len(PANELS)
    for panel in PANELS:
        if panel.name not in {"requests", "latency_by_service"}:
            assert panel.draw(everything), panel.name
        unknown = panel.draw(nothing)
        if panel.name not in {"processes", "checks"}:
            assert not unknown or set(unknown.values()) == {None}, panel.name
