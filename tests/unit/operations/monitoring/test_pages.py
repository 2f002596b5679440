"""Metrics pages are read, compared and measured as Prometheus does."""

import math

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from fluxa.operations.monitoring.pages import buckets_by, grown, quantile, read
from fluxa.telemetry.catalogue import METRICS, PROCESS, RequestServed
from fluxa.telemetry.metrics import Metrics

pytestmark = pytest.mark.req("OBS-1", "OBS-5")


def test_a_page_of_ours_tells_every_metric_of_the_catalogue_and_since_when_it_counts() -> None:
    metrics = Metrics()
    metrics.hear(RequestServed("events_post", "POST", 202, 0.02))
    began = metrics.registry.get_sample_value("process_start_time_seconds")
    assert began is not None
    page = read("here", metrics.exposition().decode(), now_s=began + 120)
    assert page.families == {metric.name for metric in (*METRICS, *PROCESS)}
    assert page.over_s == pytest.approx(120)
    assert list(page.of("http_request_duration_seconds_count", route="events_post")) == [
        ({"method": "POST", "route": "events_post", "status_code": "202"}, 1.0)
    ]
    assert page.total("http_request_duration_seconds_count", status_code=("202", "200")) == 1.0
    assert page.total("http_request_duration_seconds_count", status_code="500") == 0.0


@pytest.mark.parametrize("text", ["", "<html></html>", "up{ 1", "up one", "# a remark"])
def test_what_is_no_metrics_page_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"metric|label|float"):
        read("there", text, now_s=0.0)


def test_what_grew_between_two_readings_is_counted_and_a_process_that_began_anew_counts_from_nothing() -> None:
    text = '# TYPE a counter\na_total{{x="1"}} {}\na_total{{x="2"}} {}\n# TYPE b gauge\nb {}\n'
    before = read("here", text.format(10, 100, 5), now_s=0.0)
    after = read("here", text.format(17, 3, 4), now_s=0.0)
    page = grown(before, after, over_s=2.0)
    assert {labels["x"]: value for labels, value in page.of("a_total")} == {"1": 7.0, "2": 3.0}
    assert page.total("b") == 4.0
    assert page.over_s == 2.0
    assert before.over_s is None


def test_a_quantile_lies_inside_its_bucket() -> None:
    buckets = {0.1: 50.0, 0.5: 90.0, 1.0: 100.0, math.inf: 100.0}
    assert quantile(0.5, buckets) == pytest.approx(0.1)
    assert quantile(0.9, buckets) == pytest.approx(0.5)
    assert quantile(0.95, buckets) == pytest.approx(0.75)
    assert quantile(0.25, buckets) == pytest.approx(0.05)
    assert quantile(0.95, {0.1: 1.0, math.inf: 10.0}) == 0.1, "beyond the last bound nobody knows how far"
    assert quantile(0.95, {0.1: 0.0, math.inf: 0.0}) is None
    assert quantile(0.95, {}) is None
    assert quantile(0.95, {0.1: 1.0}) is None, "without the infinite bound it is not whole"
    assert quantile(0.95, {math.inf: 3.0}) is None


def test_buckets_are_added_up_over_processes_and_other_labels() -> None:
    pages = []
    for target in ("one", "two"):
        registry = CollectorRegistry()
        family = Histogram("took_seconds", "how long", ["route", "status"], buckets=(0.1, 1.0), registry=registry)
        family.labels("a", "200").observe(0.05)
        family.labels("a", "500").observe(0.5)
        pages.append(read(target, generate_latest(registry).decode(), now_s=0.0))
    assert buckets_by(pages, "took_seconds", "route") == {"a": {0.1: 2.0, 1.0: 4.0, math.inf: 4.0}}
