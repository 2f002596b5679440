"""Events by way of SQS: delivered at least once, stored once, parked with their reason (PIPE-7)."""

import asyncio
import dataclasses
import random
import uuid
from collections.abc import AsyncIterator

import pytest

from aws.queues import make_backend
from aws.servers import Ministack
from fluxa.events.carriage import QUEUE
from fluxa.events.ingest.collector import Collector, CollectorLimits
from fluxa.events.process.lane import ProcessorConfig
from fluxa.events.process.processor import Processor
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, Envelope
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.backends.routed import RoutedBackend
from fluxa.queue.backends.sqs import Sqs
from fluxa.telemetry.catalogue import DuplicatesAcknowledged
from fluxa.testing.signals import Signals
from making.events import make_record
from making.pipeline import NumbersOnly, Objects


@pytest.fixture
async def backend(ministack: Ministack, database: Database) -> AsyncIterator[RoutedBackend]:
    """Events in SQS, everything else in Postgres."""
    sqs = Sqs(dataclasses.replace(ministack.sqs, prefix=f"t{uuid.uuid4().hex[:8]}-"))
    await sqs.start()
    pgmq = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
    try:
        yield RoutedBackend(pgmq, {QUEUE: make_backend(sqs, database, SystemClock(), spill=Objects())})
    finally:
        await sqs.stop()


@pytest.mark.req("PIPE-4", "PIPE-7", "QUEUE-1")
async def test_events_that_come_by_sqs_are_stored_once_and_parked_with_a_reason(
    backend: RoutedBackend, database: Database
) -> None:
    await backend.create(QUEUE)
    signals = Signals()
    collector = Collector(backend, limits=CollectorLimits(), hook=signals.hear)
    await collector.start()
    await asyncio.gather(*(collector.add([make_record(n)]) for n in range(50)))
    await collector.stop()
    # The same events once more, and one that does not fit its schema.
    await backend.send(QUEUE, [Envelope(tuple(make_record(n) for n in range(50)))])
    await backend.send(QUEUE, [Envelope((make_record("strict", type_="strict"),))])
    processor = Processor(
        database=database,
        backend=backend,
        objects=Objects(),
        schemas=NumbersOnly(),
        clock=SystemClock(),
        hook=signals.hear,
        randomness=random.Random(1),  # noqa: S311 - spreads retries
        config=ProcessorConfig(wait_s=1.0, lease_s=10.0),
    )
    await processor.start()
    try:
        await signals.wait_for(DuplicatesAcknowledged, timeout_s=30)
        async with asyncio.timeout(30):
            while (await backend.metrics(QUEUE)).depth:  # noqa: ASYNC110 - the queue is a server, not an event
                await asyncio.sleep(0.05)
    finally:
        await processor.stop()
    assert await database.fetch_value("select count(*) from fluxa.events") == 50
    (letter,) = await backend.dead_letters(QUEUE, DeadLetterFilter(), limit=10)
    assert letter.code == ErrorCode.SCHEMA_VALIDATION
    assert not backend.capabilities_of(QUEUE).transactional_settle
    assert backend.capabilities_of("pulse").transactional_settle
