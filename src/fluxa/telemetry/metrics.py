"""Prometheus families made from the catalogue, fed by signals."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import accumulate
from typing import assert_never

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from fluxa.telemetry import catalogue as c
from fluxa.telemetry.caches import CacheCount

Labels = tuple[str, ...]
_OfWorker = c.RecordsSettled | c.HandlersReturned | c.BreakerChanged | c.MemoryLow | c.MemoryRecovered | c.LoopBlocked


class _Tally:
    """The values of all families, added up in plain dictionaries; the library only writes them out.

    Its own counters take a lock and several calls each time, which a busy door feels. All signals of a
    process are heard on one thread, its event loop's.
    """

    def __init__(self, metrics: Iterable[c.Metric]) -> None:
        self._metrics = {metric.name: metric for metric in metrics}
        self._values: dict[str, dict[Labels, float]] = {name: {} for name in self._metrics}
        # Of a histogram: how many fell into each bucket, the last one without bound, then the sum.
        self._spreads: dict[str, dict[Labels, list[float]]] = {name: {} for name in self._metrics}
        self._followed: dict[tuple[str, Labels], Callable[[], float]] = {}
        for metric in self._metrics.values():
            if not metric.labels and not metric.absent:
                self._start(metric)

    def _start(self, metric: c.Metric) -> None:
        """One without labels is shown from the beginning."""
        if metric.kind is c.Kind.HISTOGRAM:
            self._spreads[metric.name][()] = [0.0] * (len(metric.buckets) + 2)
        else:
            self._values[metric.name][()] = 0.0

    def add(self, name: str, amount: float, labels: Labels) -> None:
        values = self._values[name]
        values[labels] = values.get(labels, 0.0) + amount

    def put(self, name: str, value: float, labels: Labels) -> None:
        self._values[name][labels] = value

    def follow(self, name: str, labels: Labels, count: Callable[[], float]) -> None:
        self._followed[name, labels] = count

    def _catch_up(self) -> None:
        for (name, labels), count in self._followed.items():
            self._values[name][labels] = count()

    def forget(self, name: str, labels: Labels) -> None:
        self._values[name].pop(labels, None)

    def totals(self, name: str) -> dict[Labels, float]:
        """By labels: the value, of a histogram how many were observed; nothing for one that there is not."""
        if name not in self._metrics:
            return {}
        if self._metrics[name].kind is c.Kind.HISTOGRAM:
            return {labels: sum(spread[:-1]) for labels, spread in self._spreads[name].items()}
        self._catch_up()
        return dict(self._values[name])

    def observe(self, name: str, value: float, labels: Labels) -> None:
        bounds = self._metrics[name].buckets
        spread = self._spreads[name].get(labels)
        if spread is None:
            spread = self._spreads[name][labels] = [0.0] * (len(bounds) + 2)
        spread[bisect_left(bounds, value)] += 1
        spread[-1] += value

    def collect(self) -> Iterable[Metric]:
        """What the library's registry asks when it is scraped."""
        self._catch_up()
        for name, metric in self._metrics.items():
            family: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
            match metric.kind:
                case c.Kind.COUNTER:
                    family = CounterMetricFamily(name.removesuffix("_total"), metric.help, labels=metric.labels)
                case c.Kind.GAUGE:
                    family = GaugeMetricFamily(name, metric.help, labels=metric.labels)
                case c.Kind.HISTOGRAM:
                    yield self._histogram(metric)
                    continue
                case _:
                    assert_never(metric.kind)
            for labels, value in self._values[name].items():
                family.add_metric([str(label) for label in labels], value)
            yield family

    def _histogram(self, metric: c.Metric) -> HistogramMetricFamily:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        bounds = [*(repr(float(bound)) for bound in metric.buckets), "+Inf"]
        for labels, spread in self._spreads[metric.name].items():
            buckets = list(zip(bounds, accumulate(spread[:-1]), strict=True))
            family.add_metric([str(label) for label in labels], buckets, sum_value=spread[-1])
        return family


class Metrics:
    """One process's metrics. `hear` is a `catalogue.Hook`."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._tally = _Tally(c.METRICS)
        self.registry.register(self._tally)
        ProcessCollector(registry=self.registry)

    def _count(self, name: str, amount: float, *labels: str) -> None:
        self._tally.add(name, amount, labels)

    def _observe(self, name: str, value: float, *labels: str) -> None:
        self._tally.observe(name, value, labels)

    def set_gauge(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge that is read when scraped."""
        self._tally.put(name, value, labels)

    def forget_gauge(self, name: str, *labels: str) -> None:
        """Take a labelled gauge out of the scrape: an unknown value is absent, never zero."""
        self._tally.forget(name, labels)

    def follow_caches(self, caches: Mapping[str, CacheCount]) -> None:
        """Show what caches count, by their names, as it stands whenever metrics are read."""
        for cache, count in caches.items():
            self._tally.follow("fluxa_cache_requests_total", (cache, "hit"), partial(getattr, count, "hits"))
            self._tally.follow("fluxa_cache_requests_total", (cache, "miss"), partial(getattr, count, "misses"))

    def totals(self, name: str) -> dict[Labels, float]:
        """What a metric has come to in this process, by labels; of a histogram how many were observed."""
        return self._tally.totals(name)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    def hear(self, signal: c.Signal) -> None:  # noqa: C901, PLR0912, PLR0915 - one case a signal is the clearest form
        """Turn a signal into metrics."""
        match signal:
            case c.RequestStarted():  # first what every request says: cases are tried one after the other
                self._count("http_requests_active", 1, signal.method, signal.route)
            case c.RequestServed():
                self._hear_request(signal)
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
            case c.OutageBegan():
                self._count("fluxa_outages_total", 1, signal.dependency)
                self.set_gauge("fluxa_dependency_up", 0, signal.dependency)
            case c.OutageEnded():
                self.set_gauge("fluxa_dependency_up", 1, signal.dependency)
            case c.ProcessRestarted():
                self._count("fluxa_process_restarts_total", 1, signal.process)
            case c.NativeDeadLettersSwept():
                self.set_gauge("fluxa_native_dead_oldest_age_seconds", signal.oldest_age_s, signal.queue)
            case c.MaintenanceFinished():
                self._count("fluxa_maintenance_total", 1, signal.task, signal.status)

            case (
                c.RecordsSettled()
                | c.HandlersReturned()
                | c.BreakerChanged()
                | c.MemoryLow()
                | c.MemoryRecovered()
                | c.LoopBlocked()
            ):
                self._hear_worker(signal)
            case c.RedriveAdvanced() | c.RedriveEnded() | c.RedrivesSeen():
                self._hear_redrive(signal)
            case c.ProbeFailed() | c.WatermarkExceeded() | c.StatementSlow() | c.SyntheticChecked():
                self._hear_watching(signal)
            case c.WatermarkCleared() | c.QueuePaused() | c.QueueResumed() | c.RoleBindingChanged() | c.FlagChanged():
                pass  # these are gauges that are read when scraped, or rare enough for the log alone
            case c.CallFinished():
                self._hear_call(signal)
            case c.ScheduleRan():
                self._hear_schedule(signal)
            case c.TokenRefused() | c.AuthenticationFailed() | c.RefreshReused():
                self._hear_access(signal)
            case c.ActRecorded() | c.LedgerAnchored() | c.IntegrityChecked() | c.LedgerSent():
                self._hear_ledger(signal)
            case c.AlarmTold():
                self._count("fluxa_alarm_notices_total", 1, signal.alarm, signal.notice)
            case _:
                assert_never(signal)

    def _hear_watching(
        self, signal: c.ProbeFailed | c.WatermarkExceeded | c.StatementSlow | c.SyntheticChecked
    ) -> None:
        match signal:
            case c.ProbeFailed():
                self._count("fluxa_queue_probe_failures_total", 1, signal.queue, signal.probe)
            case c.WatermarkExceeded():
                self._count("fluxa_queue_watermark_crossings_total", 1, signal.queue, signal.measure)
            case c.StatementSlow():
                self._count("fluxa_slow_statements_total", 1, signal.statement)
            case c.SyntheticChecked():
                self._count("fluxa_synthetic_runs_total", 1, signal.check, signal.result)
                if signal.duration_s is not None:
                    self._observe("fluxa_synthetic_duration_seconds", signal.duration_s, signal.check)
                for leg, seconds in signal.legs.items():
                    self._observe("fluxa_synthetic_leg_seconds", seconds, leg)

    def _hear_redrive(self, signal: c.RedriveAdvanced | c.RedriveEnded | c.RedrivesSeen) -> None:
        match signal:
            case c.RedriveAdvanced():
                for outcome in ("moved", "refused", "quarantined", "gone"):
                    self._count("fluxa_redrive_letters_total", getattr(signal, outcome), signal.queue, outcome)
            case c.RedriveEnded():
                self._count("fluxa_redrives_ended_total", 1, signal.queue, signal.state)
            case c.RedrivesSeen():
                self.set_gauge("fluxa_redrives_running", signal.running)

    def _hear_ledger(self, signal: c.ActRecorded | c.LedgerAnchored | c.IntegrityChecked | c.LedgerSent) -> None:
        match signal:
            case c.ActRecorded():
                self._count("fluxa_ledger_acts_total", 1, signal.action)
            case c.LedgerAnchored():
                self._count("fluxa_ledger_anchors_total", signal.chains)
            case c.LedgerSent():
                self._count("fluxa_audit_sink_entries_total", signal.entries, signal.sink)
            case c.IntegrityChecked():
                gauge = "fluxa_ledger_faults" if signal.check == "ledger" else "fluxa_tenant_faults"
                if signal.faults is None:
                    self.forget_gauge(gauge)
                else:
                    self.set_gauge(gauge, signal.faults)

    def _hear_schedule(self, signal: c.ScheduleRan) -> None:
        self._count("fluxa_cron_runs_total", 1, signal.schedule, signal.status)
        if signal.status == "sent":
            self._observe("fluxa_cron_lateness_seconds", signal.late_s)

    def _hear_call(self, signal: c.CallFinished) -> None:
        self._count("worker_backend_requests_total", 1, signal.target, signal.ending)
        if signal.ending is not c.CallEnding.NOT_SENT:
            self._observe("worker_backend_request_duration_seconds", signal.latency_s, signal.target)

    def _hear_worker(self, signal: _OfWorker) -> None:
        """What a worker tells of its handlers and its limits."""
        match signal:
            case c.RecordsSettled():
                for outcome in ("done", "retried", "parked", "snoozed"):
                    if records := getattr(signal, outcome):
                        self._count("fluxa_worker_records_total", records, signal.queue, outcome)
            case c.HandlersReturned():
                for duration_s in signal.durations_s:
                    self._observe("fluxa_handler_duration_seconds", duration_s, signal.queue)
            case c.BreakerChanged():
                self._count("fluxa_breaker_changes_total", 1, signal.queue, signal.state)
                self.set_gauge("fluxa_breaker_open", signal.state != "closed", signal.queue)
            case c.MemoryLow() | c.MemoryRecovered():
                self.set_gauge("fluxa_memory_guard_closed", isinstance(signal, c.MemoryLow))
            case c.LoopBlocked():
                self._count("fluxa_loop_blocked_seconds_total", signal.blocked_s)

    def _hear_access(self, signal: c.AuthenticationFailed | c.TokenRefused | c.RefreshReused) -> None:
        match signal:
            case c.RefreshReused():
                self._count("fluxa_refresh_reuse_total", 1)
            case c.TokenRefused():
                self._count("fluxa_tokens_refused_total", 1, signal.reason)
            case c.AuthenticationFailed():
                labels = (signal.route, str(signal.status), signal.reason)
                self._count("fluxa_authentication_failures_total", 1, *labels)

    def _hear_request(self, signal: c.RequestServed) -> None:
        status = str(signal.status)
        self._count("http_requests_active", -1, signal.method, signal.route)
        self._observe("http_request_duration_seconds", signal.latency_s, signal.method, signal.route, status)
        if signal.status >= 500:  # noqa: PLR2004 - the class of server errors
            self._count("http_requests_errors_total", 1, signal.method, signal.route, status)
