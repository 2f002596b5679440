"""A paused processor claims nothing and finishes what it has; it says how it fares."""

import asyncio

import pytest
from typing_extensions import override

from fluxa.events.carriage import DATA_KEY, QUEUE
from fluxa.events.process.processor import Processor, ProcessorConfig
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.pool import Database
from fluxa.queue.health.controls import Controls, PauseWatch
from fluxa.queue.health.reports import QueueReport
from fluxa.queue.policy import RetryPolicy
from fluxa.telemetry.catalogue import QueuePaused, QueueResumed, Signal, Stage, StageFinished
from fluxa.testing.signals import Signals
from integration.process.test_processor import large_record
from making.events import make_record
from making.pipeline import Pipeline


class Noting(Signals):
    """Notes how the processor stands whenever it has something to tell."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[QueueReport] = []
        self.processor: Processor | None = None

    @override
    def hear(self, signal: Signal) -> None:
        super().hear(signal)
        if self.processor is not None:
            self.said += self.processor.reports()


@pytest.fixture
def pipeline(database: Database) -> Pipeline:
    return Pipeline(database)


@pytest.mark.req("QUEUE-2")
async def test_nothing_is_claimed_from_a_paused_queue_and_all_of_it_once_it_goes_on(pipeline: Pipeline) -> None:
    watch = PauseWatch(pipeline.database, clock=SystemClock(), hook=pipeline.signals.hear, period_s=0.02)
    controls = Controls(pipeline.database)
    await controls.pause(QUEUE, "ada", "moving house")
    await watch.start()
    pipeline.is_paused = watch.is_paused
    try:
        async with pipeline.running() as processor:
            await pipeline.signals.wait_for(QueuePaused)
            await pipeline.send([make_record(n) for n in range(20)])
            read = "select read_ct from pgmq.q_events"
            await asyncio.sleep(0.3)  # many times what a lane waits for work
            assert await pipeline.database.fetch_value(read) == 0
            await processor.check()
            await controls.resume(QUEUE, "ada")
            await pipeline.signals.wait_for(QueueResumed)
            await pipeline.empty()
    finally:
        await watch.stop()
    assert (await pipeline.stored()).total() == 20


async def test_what_was_claimed_before_a_pause_is_finished(pipeline: Pipeline) -> None:
    pipeline.objects.gate = asyncio.Event()
    await pipeline.send([large_record(1, b"data")])
    pipeline.objects.content[large_record(1, b"data").headers[DATA_KEY]] = b"data"
    paused: set[str] = set()
    pipeline.is_paused = paused.__contains__
    async with pipeline.running(ProcessorConfig(wait_s=0.05, lanes=1)) as processor:
        await pipeline.objects.asked.wait()
        paused.add(QUEUE)
        assert processor.reports()[0].in_flight == 1
        await pipeline.send([make_record("later")])
        pipeline.objects.gate.set()
        await pipeline.signals.wait_for(StageFinished, lambda one: one.stage is Stage.PERSIST)
        await pipeline.until(lambda: processor.reports()[0].in_flight == 0)
    assert set(await pipeline.stored()) == {"e-1"}
    assert (await pipeline.backend.metrics(QUEUE)).depth == 1


@pytest.mark.req("QUEUE-10")
async def test_a_streak_of_failures_is_counted_until_something_is_stored(pipeline: Pipeline) -> None:
    pipeline.objects.fails = [FluxaError(ErrorCode.OBJECT_STORE_UNAVAILABLE, "out") for _ in range(3)]
    pipeline.objects.content[large_record(1, b"data").headers[DATA_KEY]] = b"data"
    await pipeline.send([large_record(1, b"data")])
    policy = RetryPolicy(attempts_max=9, base_s=0.01, cap_s=0.02)
    noting = pipeline.signals = Noting()
    async with pipeline.running(ProcessorConfig(wait_s=0.05, policy=policy)) as processor:
        assert processor.reports() == [QueueReport(QUEUE)]
        noting.processor = processor
        await pipeline.empty()
        await pipeline.until(lambda: processor.reports()[0].error_streak == 0)
        last = processor.reports()[0]
    assert max(one.error_streak for one in noting.said) == 3
    assert last.last_error_code == "ObjectStoreUnavailable"
    assert last.last_success_at is not None
    assert last.last_failure_at is not None
    assert last.last_failure_at <= last.last_success_at
