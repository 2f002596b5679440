"""Prometheus families made from the catalogue, fed by signals."""

from typing import assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from fluxa.telemetry import catalogue as c


class Metrics:
    """One process's metrics. `hear` is a `catalogue.Hook`."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._counter_children: dict[tuple[str, ...], Counter] = {}
        self._histogram_children: dict[tuple[str, ...], Histogram] = {}
        self._active_children: dict[tuple[str, str], Gauge] = {}
        self._duration_children: dict[tuple[str, str, int], Histogram] = {}
        for metric in c.METRICS:
            self._add(metric)

    def _add(self, metric: c.Metric) -> None:
        name, text, labels = metric.name, metric.help, metric.labels
        match metric.kind:
            case c.Kind.COUNTER:
                self._counters[name] = Counter(name.removesuffix("_total"), text, labels, registry=self.registry)
            case c.Kind.GAUGE:
                self._gauges[name] = Gauge(name, text, labels, registry=self.registry)
            case c.Kind.HISTOGRAM:
                self._histograms[name] = Histogram(name, text, labels, registry=self.registry, buckets=metric.buckets)
            case _:
                assert_never(metric.kind)

    # Children are kept: to find one again by its labels costs the library more than to count.

    def _count(self, name: str, amount: float, *labels: str) -> None:
        child = self._counter_children.get((name, *labels))
        if child is None:
            family = self._counters[name]
            child = self._counter_children[name, *labels] = family.labels(*labels) if labels else family
        child.inc(amount)

    def _observe(self, name: str, value: float, *labels: str) -> None:
        child = self._histogram_children.get((name, *labels))
        if child is None:
            family = self._histograms[name]
            child = self._histogram_children[name, *labels] = family.labels(*labels) if labels else family
        child.observe(value)

    def set_gauge(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge that is read when scraped."""
        gauge = self._gauges[name]
        (gauge.labels(*labels) if labels else gauge).set(value)

    def forget_gauge(self, name: str, *labels: str) -> None:
        """Take a labelled gauge out of the scrape: an unknown value is absent, never zero."""
        self._gauges[name].remove(*labels)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    def hear(self, signal: c.Signal) -> None:  # noqa: C901, PLR0912 - one case a signal is the clearest form
        """Turn a signal into metrics."""
        match signal:
            case c.StageFinished():
                self._count("fluxa_stage_events_total", signal.events, signal.stage, signal.status, signal.error_code)
                self._observe("fluxa_stage_duration_seconds", signal.latency_s, signal.stage)
            case c.DuplicatesAcknowledged():
                self._count("fluxa_events_duplicate_total", signal.events)
            case c.RecordParked():
                self._count("fluxa_records_parked_total", 1, signal.queue, signal.error_code, signal.retry_class)
            case c.RecordRetried():
                self._count("fluxa_records_retried_total", 1, signal.queue, signal.error_code)
            case c.LeasesLost():
                self._count("fluxa_leases_lost_total", signal.messages, signal.queue)
            case c.FlushFinished():
                self._observe("fluxa_flush_events", signal.events)
                self._observe("fluxa_flush_duration_seconds", signal.latency_s, signal.status)
            case c.RequestStarted():
                self._active(signal.method, signal.route).inc()
            case c.RequestServed():
                self._hear_request(signal)
            case c.OutageBegan():
                self._count("fluxa_outages_total", 1, signal.dependency)
                self.set_gauge("fluxa_dependency_up", 0, signal.dependency)
            case c.OutageEnded():
                self.set_gauge("fluxa_dependency_up", 1, signal.dependency)
            case c.ProcessRestarted():
                self._count("fluxa_process_restarts_total", 1, signal.process)
            case c.MaintenanceFinished():
                self._count("fluxa_maintenance_total", 1, signal.task, signal.status)
            case _:
                assert_never(signal)

    def _active(self, method: str, route: str) -> Gauge:
        """The gauge's child, kept as well."""
        child = self._active_children.get((method, route))
        if child is None:
            child = self._active_children[method, route] = self._gauges["http_requests_active"].labels(method, route)
        return child

    def _duration(self, method: str, route: str, status: int) -> Histogram:
        child = self._duration_children.get((method, route, status))
        if child is None:
            family = self._histograms["http_request_duration_seconds"]
            child = self._duration_children[method, route, status] = family.labels(method, route, str(status))
        return child

    def _hear_request(self, signal: c.RequestServed) -> None:
        self._active(signal.method, signal.route).dec()
        self._duration(signal.method, signal.route, signal.status).observe(signal.latency_s)
        if signal.status >= 500:  # noqa: PLR2004 - the class of server errors
            self._count("http_requests_errors_total", 1, signal.method, signal.route, str(signal.status))
