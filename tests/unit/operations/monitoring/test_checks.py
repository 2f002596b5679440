"""Routine checks: each finds its fault, knows what it does not know, and takes bounds from outside."""

from collections.abc import Mapping

import pytest

from fluxa.operations.monitoring.check import Bounds, Outcome, Seen, Verdict, judged, worst
from fluxa.operations.monitoring.checks import CHECKS
from fluxa.operations.monitoring.pages import Page, read
from fluxa.telemetry import catalogue as c
from fluxa.telemetry.caches import CacheCount
from fluxa.telemetry.metrics import Metrics

pytestmark = pytest.mark.req("OBS-5")


def _metrics(*signals: c.Signal) -> Metrics:
    """A process that is well: it has a queue and looks at alarms."""
    metrics = Metrics()
    for signal in signals:
        metrics.hear(signal)
    metrics.set_gauge("fluxa_queue_dead", 0, "orders")
    metrics.set_gauge("fluxa_alarm_firing", 0, "DLQDepth", "warning")
    return metrics


def _page(metrics: Metrics, target: str = "here") -> Page:
    began = metrics.registry.get_sample_value("process_start_time_seconds") or 0.0
    return read(target, metrics.exposition().decode(), now_s=began + 60)


def _found(*pages: Page, bounds: Mapping[str, Bounds] | None = None, **more: Mapping[str, str]) -> dict[str, Outcome]:
    return {one.check: one for one in judged(CHECKS, Seen(pages, **more), bounds or {})}


def _served(count: int, status: int, latency_s: float = 0.01, route: str = "events_post") -> list[c.Signal]:
    return [c.RequestServed(route, "POST", status, latency_s)] * count


def test_all_is_well_in_a_process_that_has_done_nothing_yet() -> None:
    found = _found(_page(_metrics()))
    assert set(found) == {check.name for check in CHECKS}
    assert {one.verdict for one in found.values()} == {Verdict.OK}
    assert worst(list(found.values())) is Verdict.OK
    assert {one.action for one in found.values()} == {""}


@pytest.mark.parametrize(
    ("check", "signals", "verdict", "subject"),
    [
        ("server_errors", [*_served(199, 202), *_served(1, 500)], Verdict.WARNING, "here"),
        ("server_errors", [*_served(90, 202), *_served(10, 503)], Verdict.FAILED, "here"),
        ("server_errors", [*_served(2, 503)], Verdict.OK, "here"),
        ("server_errors", _served(50, 503, route="api_ready"), Verdict.OK, "here"),
        ("request_p95", _served(100, 202, 3.0), Verdict.FAILED, "events_post"),
        ("request_p95", [*_served(90, 202), *_served(10, 202, 0.9)], Verdict.WARNING, "events_post"),
        ("request_p95", _served(100, 200, 300.0, "stream_events"), Verdict.OK, ""),
        (
            "authentication_failures",
            [c.AuthenticationFailed("events_post", 403, "role", "192.0.2.1")] * 61,
            Verdict.FAILED,
            "role",
        ),
        ("slow_statements", [c.StatementSlow("claim_messages", 0.7)] * 5, Verdict.WARNING, "claim_messages"),
        ("dependencies", [c.OutageBegan("postgres", "gone")], Verdict.FAILED, "postgres of here"),
        (
            "call_failures",
            [c.CallFinished("mailer", c.CallEnding.DELIVERED, 0.1)] * 30
            + [c.CallFinished("mailer", c.CallEnding.THROTTLED, 0.1)] * 10,
            Verdict.FAILED,
            "mailer",
        ),
        (
            "call_p95",
            [c.CallFinished("mailer", c.CallEnding.DELIVERED, 4.0)] * 3,
            Verdict.WARNING,
            "mailer",
        ),
        ("work_failures", [c.RecordsSettled("orders", done=97, retried=2, parked=1)], Verdict.FAILED, ""),
    ],
)
def test_a_check_finds_its_fault(check: str, signals: list[c.Signal], verdict: Verdict, subject: str) -> None:
    found = _found(_page(_metrics(*signals)))
    assert (found[check].verdict, found[check].subject) == (verdict, subject), found[check]
    assert bool(found[check].action) == (verdict is not Verdict.OK)


def _cached(*counts: tuple[str, int, int]) -> Metrics:
    metrics = _metrics()
    for cache, hits, misses in counts:
        metrics.follow_caches({cache: CacheCount(hits, misses)})
    return metrics


def test_the_lowest_hit_rate_counts_and_is_bad_below_its_bound() -> None:
    page = _page(_cached(("api_keys", 995, 5), ("postgres", 60, 40)))
    found = _found(page)["cache_hit_rate"]
    assert (found.verdict, found.value, found.subject) == (Verdict.WARNING, 60.0, "postgres of here")
    assert found.said == "60 of 100"
    assert found.action
    for bounds, verdict in (
        (Bounds(60, None), Verdict.OK),
        (Bounds(80, 60), Verdict.WARNING),
        (Bounds(80, 61), Verdict.FAILED),
        (Bounds(None, None), Verdict.OK),
    ):
        assert _found(page, bounds={"cache_hit_rate": bounds})["cache_hit_rate"].verdict is verdict


def test_a_cache_that_hardly_anybody_asked_is_not_judged() -> None:
    few = _found(_page(_cached(("api_keys", 0, 99))))["cache_hit_rate"]
    assert (few.value, few.verdict, few.said) == (None, Verdict.OK, "too few requests to judge")
    metrics = _cached(("api_keys", 0, 150))
    began = metrics.registry.get_sample_value("process_start_time_seconds") or 0.0
    text = metrics.exposition().decode()
    seldom = _found(read("here", text, now_s=began + 3600))["cache_hit_rate"]
    assert (seldom.value, seldom.verdict) == (None, Verdict.OK)
    often = _found(read("here", text, now_s=began + 60))["cache_hit_rate"]
    assert (often.value, often.verdict) == (0.0, Verdict.WARNING)
    assert _found(read("theirs", "# TYPE up gauge\nup 1\n", now_s=0.0))["cache_hit_rate"].verdict is Verdict.UNKNOWN


def test_dead_letters_are_counted_once_however_many_tell_of_them() -> None:
    first, second = _metrics(), _metrics()
    for metrics in (first, second):
        metrics.set_gauge("fluxa_queue_dead", 3, "orders")
        metrics.set_gauge("fluxa_queue_dead", 4, "mails")
    found = _found(_page(first), _page(second, "there"))["dead_letters"]
    assert (found.value, found.subject, found.verdict) == (7.0, "mails", Verdict.WARNING)


def test_alarms_that_fire_are_told_by_severity() -> None:
    metrics = _metrics()
    metrics.set_gauge("fluxa_alarm_firing", 2, "DLQDepth", "warning")
    found = _found(_page(metrics))
    assert (found["warning_alarms"].verdict, found["warning_alarms"].said) == (Verdict.WARNING, "DLQDepth")
    assert found["critical_alarms"].verdict is Verdict.OK
    metrics.set_gauge("fluxa_alarm_firing", 1, "ProcessSilent", "critical")
    assert _found(_page(metrics))["critical_alarms"].verdict is Verdict.FAILED


def test_traces_are_on_everywhere_with_exporters_up_or_off_everywhere() -> None:
    on, off, broken = _metrics(), _metrics(), _metrics()
    for metrics, up in ((on, 1), (broken, 0)):
        metrics.set_gauge("fluxa_tracing_enabled", 1)
        metrics.set_gauge("fluxa_trace_exporter_up", up)
    metrics = on
    metrics.set_gauge("fluxa_trace_spans_total", 90, "exported")
    metrics.set_gauge("fluxa_trace_spans_total", 10, "dropped")
    assert _found(_page(off))["trace_export"].said.startswith("off everywhere")
    assert _found(_page(on))["trace_export"].verdict is Verdict.OK
    assert _found(_page(on))["spans_lost"].verdict is Verdict.FAILED
    mixed = _found(_page(on), _page(off, "there"))["trace_export"]
    assert (mixed.verdict, mixed.said) == (Verdict.FAILED, "there has it off")
    assert _found(_page(broken))["trace_export"].said == "here cannot export"


def test_what_could_not_be_read_is_not_well() -> None:
    found = _found(_page(_metrics()), missing={"there": "no answer"}, not_ready={"here": "database"})
    assert found["targets"].verdict is Verdict.FAILED
    assert found["targets"].said == "there: no answer"
    assert found["readiness"].verdict is Verdict.FAILED
    rest = {one.verdict for name, one in found.items() if name not in {"targets", "readiness"}}
    assert rest == {Verdict.UNKNOWN}
    assert _found()["targets"].verdict is Verdict.UNKNOWN


def test_a_program_that_tells_nothing_of_it_leaves_it_unknown() -> None:
    found = _found(read("theirs", "# TYPE up gauge\nup 1\n", now_s=0.0))
    assert {name for name, one in found.items() if one.verdict is not Verdict.UNKNOWN} == {"targets", "readiness"}
    outcomes = list(found.values())
    assert worst(outcomes) is Verdict.UNKNOWN
    page = Page("here", frozenset({"fluxa_slow_statements_total"}), {"fluxa_slow_statements_total": {(): 9.0}})
    assert _found(page)["slow_statements"].verdict is Verdict.UNKNOWN, "a rate needs to know since when"


def test_bounds_from_outside_count() -> None:
    metrics = _metrics(*_served(100, 202, 0.02))
    assert _found(_page(metrics), bounds={"request_p95": Bounds(0.001, None)})["request_p95"].verdict is Verdict.WARNING
    assert _found(_page(metrics), bounds={"request_p95": Bounds(None, 0.01)})["request_p95"].verdict is Verdict.FAILED
