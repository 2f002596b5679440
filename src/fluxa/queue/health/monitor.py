"""Watches queues in the background: keeps the gauges fresh and tells when a watermark is crossed (QUEUE-11)."""

import asyncio
from collections.abc import Collection

from fluxa.kernel.clock import Clock
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.queue.backend import QueueMetrics
from fluxa.queue.health import rules
from fluxa.queue.health.facts import Measure, QueueHealth, Snapshot
from fluxa.queue.health.gauges import HealthGauges
from fluxa.queue.health.rules import Crossing, Marks
from fluxa.queue.health.snapshot import HealthReader
from fluxa.queue.registry import Registry
from fluxa.telemetry.catalogue import Hook, WatermarkCleared, WatermarkExceeded
from fluxa.telemetry.duty import Duty
from fluxa.telemetry.metrics import Metrics

_EXCEEDED = "fluxa_queue_watermark_exceeded"
_FRESH_S = 1.0
"""A snapshot this young is shown to a scrape as it is: several scrapers cost one reading."""


class QueueMonitor:
    """Takes a snapshot every few seconds. A `Service`; `refresh` is for those who show gauges.

    Each process watches the queues it serves, and the one that shows all of them watches all.
    """

    def __init__(
        self,
        reader: HealthReader,
        registry: Registry,
        *,
        metrics: Metrics,
        clock: Clock,
        hook: Hook,
        queues: Collection[str] | None = None,
        period_s: float = 5.0,
    ) -> None:
        """Watch.

        Args:
            reader: takes the snapshots.
            registry: what queues may hold.
            metrics: where the gauges are.
            clock: says how old a snapshot is.
            hook: hears of watermarks that are crossed.
            queues: only these; None for all.
            period_s: seconds between snapshots.
        """
        self._reader = reader
        self._registry = registry
        self._gauges = HealthGauges(metrics)
        self._metrics = metrics
        self._clock = clock
        self._hook = hook
        self._queues = queues
        self._period_s = period_s
        self._duty = Duty("queue_monitor", clock=clock, hook=hook)
        self._marks: dict[str, Marks] = {}
        self._latest: Snapshot | None = None
        self._taken_s = 0.0
        self._reading: asyncio.Task[Snapshot] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="queue-monitor")

    async def stop(self) -> None:
        """End the background work."""
        task, self._task = self._task, None
        await cancel_and_wait(task)
        reading, self._reading = self._reading, None
        await cancel_and_wait(reading)

    async def refresh(self) -> None:
        """Have gauges that are at most a second old; never raises."""
        await self.recent()

    async def recent(self) -> Snapshot:
        """How the queues were at most a second ago."""
        if self._latest is None or self._clock.monotonic() - self._taken_s > _FRESH_S:
            return await self.snapshot()
        return self._latest

    async def snapshot(self) -> Snapshot:
        """How the queues are now; those who ask at the same time get the same."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="queue-snapshot")
        return await asyncio.shield(self._reading)

    async def _run(self) -> None:
        while True:
            try:
                await self.snapshot()
            except Exception as error:  # noqa: BLE001 - the next turn looks again
                self._duty.failed(error)
            else:
                self._duty.worked()
            await asyncio.sleep(self._period_s)

    async def _read(self) -> Snapshot:
        taken_s = self._clock.monotonic()
        snapshot = await self._reader.read(self._queues)
        self._latest, self._taken_s = snapshot, taken_s
        self._gauges.show(snapshot)
        for health in snapshot.queues:
            if health.queue in self._registry:
                self._watch(health)
        return snapshot

    def _watch(self, health: QueueHealth) -> None:
        queue, held = health.queue, _metrics(health)
        marks = self._marks.get(queue) or Marks(self._registry.get(queue).watermarks)
        self._marks[queue], crossings = marks.seen(held)
        for crossing in crossings:
            self._tell(queue, crossing)
        for measure in Measure:
            if held is None or rules.limit_of(marks.limits, measure) is None:
                self._metrics.forget_gauge(_EXCEEDED, queue, measure)
            else:
                self._metrics.set_gauge(_EXCEEDED, measure in self._marks[queue].above, queue, measure)

    def _tell(self, queue: str, crossing: Crossing) -> None:
        measure, value, limit = crossing.measure, crossing.value, crossing.limit
        if crossing.is_above:
            self._hook(WatermarkExceeded(queue, measure, value, limit, rules.first_action(queue, measure)))
        else:
            self._hook(WatermarkCleared(queue, measure, value, limit))


def _metrics(health: QueueHealth) -> QueueMetrics | None:
    """What the queue holds, as the rules want it; None if unknown."""
    if health.queue_length is None or health.dead is None:
        return None
    return QueueMetrics(
        depth=health.queue_length,
        ready=health.ready or 0,
        in_flight=health.in_flight or 0,
        oldest_age_s=health.oldest_age_s,
        dead=health.dead,
    )
