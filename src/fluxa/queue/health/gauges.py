"""Puts a snapshot into the metrics: what is unknown is absent there, never zero."""

from collections.abc import Iterator

from fluxa.queue.health.facts import QueueHealth, Snapshot
from fluxa.telemetry.metrics import Metrics

_Series = tuple[str, tuple[str, ...]]


class HealthGauges:
    """The gauges of queues in one process's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._shown: set[_Series] = set()

    def show(self, snapshot: Snapshot) -> None:
        """Bring the gauges up to a snapshot; what it does not know, or does not have any more, is taken out."""
        now: set[_Series] = set()
        for health in snapshot.queues:
            for name, value, *labels in _gauges(health):
                if value is not None:
                    series = (name, (health.queue, *labels))
                    self._metrics.set_gauge(name, float(value), *series[1])
                    now.add(series)
        for name, gone in self._shown - now:
            self._metrics.forget_gauge(name, *gone)
        self._shown = now


def _gauges(health: QueueHealth) -> Iterator[tuple[str, float | None, *tuple[str, ...]]]:
    success = health.last_success_at
    yield "fluxa_queue_depth", health.queue_length
    yield "fluxa_queue_ready", health.ready
    yield "fluxa_queue_in_flight", health.in_flight
    yield "fluxa_queue_oldest_age_seconds", health.oldest_age_s
    yield "fluxa_queue_dead", health.dead
    yield "fluxa_queue_error_streak", health.error_streak
    yield "fluxa_queue_last_success_timestamp_seconds", None if success is None else success.timestamp()
    yield "fluxa_queue_paused", health.paused
    yield "fluxa_queue_workers", None if health.workers is None else len(health.workers)
    if health.breaker is not None:
        for state in ("closed", "half_open", "open"):
            yield "fluxa_queue_breaker", health.breaker == state, state
    for code, count in (health.dead_by_code or {}).items():
        yield "fluxa_queue_dead_by_code", count, code
    if health.redrives is not None:
        yield "fluxa_queue_redrives", len(health.redrives)
        yield "fluxa_queue_redrive_remaining", sum(max(0, one.total - one.handled) for one in health.redrives)
    for part in health.unknown:
        yield "fluxa_queue_unknown", 1, part
