"""The monitor tells of a watermark once a crossing, and its gauges never show a zero that nobody counted."""

import asyncio
import io
import json
from collections.abc import Sequence

import pytest

from fluxa.events.carriage import QUEUE
from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter
from fluxa.queue.health.monitor import QueueMonitor
from fluxa.queue.health.reports import QueueReport, Reporter
from fluxa.queue.registry import built_in
from fluxa.telemetry.catalogue import ProbeFailed, WatermarkCleared, WatermarkExceeded
from fluxa.telemetry.log import LogHook, fan_out, make_logger
from fluxa.telemetry.metrics import Metrics
from fluxa.testing.signals import Signals
from integration.queue.health.looking import as_stranger, engine, fill, park, reader, registry
from making.events import make_record
from making.pipeline import Pipeline


class Told:
    """All that one process tells."""

    def __init__(self) -> None:
        self.metrics, self.signals, self._log = Metrics(), Signals(), io.StringIO()
        log = LogHook(make_logger("worker", stream=self._log))
        self.hook = fan_out(self.metrics.hear, self.signals.hear, log.hear)

    def monitor(
        self, database: Database, *, period_s: float = 3600.0, queues: Sequence[str] | None = None
    ) -> QueueMonitor:
        return QueueMonitor(
            reader(database, hook=self.hook),
            registry(),
            metrics=self.metrics,
            clock=SystemClock(),
            hook=self.hook,
            queues=queues,
            period_s=period_s,
        )

    def gauge(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def lines(self, event: str) -> list[dict[str, object]]:
        return [line for text in self._log.getvalue().splitlines() if (line := json.loads(text))["event"] == event]


@pytest.mark.req("QUEUE-11", "ALARM-5")
async def test_a_watermark_is_told_once_a_crossing_with_what_to_do_first(database: Database) -> None:
    told = Told()
    await fill(database, "near", 6)
    monitor = told.monitor(database)
    for _ in range(3):
        await monitor.snapshot()
    (line,) = told.lines("watermark exceeded")
    assert {name: line[name] for name in ("level", "queue", "measure", "value", "limit", "first_action")} == {
        "level": "warning",
        "queue": "near",
        "measure": "depth",
        "value": 6,
        "limit": 5,
        "first_action": "fluxa queue show near",
    }
    assert told.gauge("fluxa_queue_watermark_exceeded", queue="near", measure="depth") == 1
    assert told.gauge("fluxa_queue_watermark_exceeded", queue="near", measure="dead") == 0
    backend = engine(database)
    await database.execute("delete from pgmq.q_near where msg_id <= 1")
    await monitor.snapshot()
    assert not told.lines("watermark cleared")
    await database.execute("delete from pgmq.q_near where msg_id <= 2")
    await monitor.snapshot()
    assert told.lines("watermark cleared")[0]["value"] == 4
    assert told.gauge("fluxa_queue_watermark_exceeded", queue="near", measure="depth") == 0
    await park(database, "near", ["HandlerError"])
    await monitor.snapshot()
    exceeded = [one for one in told.signals.heard if isinstance(one, WatermarkExceeded)]
    assert [(one.measure, one.first_action) for one in exceeded] == [
        ("depth", "fluxa queue show near"),
        ("dead", "fluxa dlq list --queue near"),
    ]
    assert told.gauge("fluxa_queue_watermark_crossings_total", queue="near", measure="dead") == 1
    letters = await backend.dead_letters("near", DeadLetterFilter(), limit=10)
    await backend.purge("near", [letter.message_id for letter in letters])
    await monitor.snapshot()
    assert [one.measure for one in told.signals.heard if isinstance(one, WatermarkCleared)] == ["depth", "dead"]


@pytest.mark.req("QUEUE-7", "QUEUE-10", "HARDEN-2")
async def test_gauges_show_what_is_known_and_nothing_for_what_is_not(database: Database) -> None:
    told = Told()
    for queue in ("near", "far"):
        await fill(database, queue, 3)
    await park(database, "far", ["HandlerError"])
    now = SystemClock().now()
    said = [QueueReport("near", 1, 2, now, now, "HandlerError", "open", now)]
    await Reporter(database, "w-1", lambda: said, clock=SystemClock(), hook=told.hook)._write(said)
    async with as_stranger(database) as (pool, role):
        monitor = told.monitor(pool)
        await monitor.refresh()
        assert told.gauge("fluxa_queue_depth", queue="near") == 3
        assert told.gauge("fluxa_queue_ready", queue="near") == 3
        assert told.gauge("fluxa_queue_in_flight", queue="near") == 0
        assert told.gauge("fluxa_queue_oldest_age_seconds", queue="near") is not None
        assert told.gauge("fluxa_queue_dead", queue="far") == 1
        assert told.gauge("fluxa_queue_dead_by_code", queue="far", error_code="HandlerError") == 1
        assert told.gauge("fluxa_queue_error_streak", queue="near") == 2
        assert told.gauge("fluxa_queue_last_success_timestamp_seconds", queue="near") == now.timestamp()
        assert told.gauge("fluxa_queue_workers", queue="near") == 1
        assert told.gauge("fluxa_queue_workers", queue="far") == 0
        assert told.gauge("fluxa_queue_paused", queue="near") == 0
        assert told.gauge("fluxa_queue_breaker", queue="near", state="open") == 1
        assert told.gauge("fluxa_queue_breaker", queue="near", state="closed") == 0
        assert told.gauge("fluxa_queue_redrives", queue="far") == 0
        assert told.gauge("fluxa_queue_unknown", queue="near", part="metrics") is None
        await database.execute(f"revoke all on pgmq.q_near, fluxa.queue_reports from {role}")
        await monitor.snapshot()
        for name in ("depth", "ready", "in_flight", "oldest_age_seconds", "dead", "error_streak", "workers"):
            assert told.gauge(f"fluxa_queue_{name}", queue="near") is None, name
        assert told.gauge("fluxa_queue_watermark_exceeded", queue="near", measure="depth") is None
        assert told.gauge("fluxa_queue_depth", queue="far") == 3
        assert told.gauge("fluxa_queue_paused", queue="near") == 0
        assert told.gauge("fluxa_queue_unknown", queue="near", part="metrics") == 1
        assert told.gauge("fluxa_queue_probe_failures_total", queue="near", probe="metrics") == 1
        assert told.gauge("fluxa_queue_probe_failures_total", queue="all", probe="reports") == 1
        for _ in range(3):
            await monitor.snapshot()
        assert told.gauge("fluxa_queue_probe_failures_total", queue="near", probe="metrics") == 4
        lines = told.lines("queue health unknown")
        assert [(one["level"], one["queue"], one["probe"]) for one in lines] == [
            ("warning", "all", "reports"),
            ("warning", "near", "metrics"),
        ]
        await database.execute(f"grant all on pgmq.q_near, fluxa.queue_reports to {role}")
        await monitor.snapshot()
        assert told.gauge("fluxa_queue_depth", queue="near") == 3
        assert told.gauge("fluxa_queue_unknown", queue="near", part="metrics") is None


async def test_scrapes_that_come_together_cost_one_reading(database: Database) -> None:
    told = Told()
    await fill(database, "near", 1)
    monitor = told.monitor(database)
    first, second = await asyncio.gather(monitor.snapshot(), monitor.snapshot())
    assert first is second
    await fill(database, "near", 1)
    await monitor.refresh()
    assert told.gauge("fluxa_queue_depth", queue="near") == 1
    assert (await monitor.snapshot()) is not first


async def test_it_looks_by_itself_and_only_at_its_own_queues(database: Database) -> None:
    told = Told()
    for queue in ("near", "far"):
        await fill(database, queue, 6)
    monitor = told.monitor(database, period_s=0.01, queues=("near",))
    await monitor.start()
    try:
        await told.signals.wait_for(WatermarkExceeded)
    finally:
        await monitor.stop()
    assert told.gauge("fluxa_queue_depth", queue="far") is None


@pytest.mark.req("QUEUE-7")
async def test_work_goes_on_while_its_queue_cannot_be_measured(database: Database) -> None:
    """The role that measures may not read; the role that works does."""
    told = Told()
    pipeline = Pipeline(database)
    await pipeline.send([make_record(n) for n in range(5)])
    async with as_stranger(database) as (pool, role):
        await database.execute(f"revoke all on pgmq.q_events from {role}")
        monitor = QueueMonitor(
            reader(pool, hook=told.hook),
            built_in(),
            metrics=told.metrics,
            clock=SystemClock(),
            hook=told.hook,
            queues=(QUEUE,),
            period_s=0.01,
        )
        await monitor.start()
        try:
            async with pipeline.running():
                await told.signals.wait_for(ProbeFailed)
                await pipeline.empty()
        finally:
            await monitor.stop()
    assert (await pipeline.stored()).total() == 5
    assert told.gauge("fluxa_queue_depth", queue=QUEUE) is None
    assert told.lines("queue health unknown")[0]["level"] == "warning"
