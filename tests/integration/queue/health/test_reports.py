"""Reports of workers: written in one go, gone when the worker is, and never in the way of work."""

import asyncio
import datetime as dt
from collections.abc import Callable

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.health.reports import QueueReport, Reporter, WorkerReport, read_reports
from fluxa.telemetry.catalogue import MaintenanceFinished, Status
from fluxa.testing.clock import ManualClock
from fluxa.testing.signals import Signals

AT = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
BUSY = QueueReport("pulse", 3, 2, AT, AT, "ProviderThrottled", "open", AT + dt.timedelta(minutes=1))


async def until(database: Database, where: Callable[[list[WorkerReport]], bool]) -> list[WorkerReport]:
    """The reports, once the condition holds."""
    async with asyncio.timeout(10):
        while not where(found := await read_reports(database)):  # noqa: ASYNC110 - another connection's rows have no event
            await asyncio.sleep(0.01)
    return found


def reporter(
    database: Database,
    reports: list[QueueReport],
    *,
    worker: str = "w-1",
    signals: Signals | None = None,
    clock: ManualClock | None = None,
) -> Reporter:
    hook = (signals or Signals()).hear
    return Reporter(database, worker, lambda: reports, clock=clock or SystemClock(), hook=hook, period_s=0.01)


@pytest.mark.req("QUEUE-10")
async def test_what_a_worker_says_is_read_as_it_was_said(database: Database) -> None:
    said = [BUSY, QueueReport("events")]
    one = reporter(database, said)
    await one.start()
    try:
        found = await until(database, lambda rows: len(rows) == 2)
        assert {row.said.queue: row.said for row in found} == {"pulse": BUSY, "events": QueueReport("events")}
        assert all(row.worker == "w-1" and row.lives and row.host and row.pid for row in found)
        said[1] = QueueReport("events", in_flight=9)
        await until(database, lambda rows: any(row.said.in_flight == 9 for row in rows))
    finally:
        await one.stop()


async def test_a_worker_that_ends_in_order_is_gone_at_once_and_its_success_is_remembered(database: Database) -> None:
    one = reporter(database, [BUSY])
    await one.start()
    await until(database, lambda rows: len(rows) == 1)
    await one.stop()
    (row,) = await read_reports(database)
    assert not row.lives
    assert row.said.last_success_at == AT
    assert row.said.in_flight == 0


async def test_what_did_not_change_is_not_written_again_until_the_worker_would_be_taken_for_gone(
    database: Database,
) -> None:
    clock = ManualClock()
    one = reporter(database, [BUSY], clock=clock)
    place = "select xmin::text from fluxa.queue_reports"
    await one.start()
    try:
        await until(database, lambda rows: len(rows) == 1)
        first = await database.fetch_value(place)
        clock.advance(3)
        other = reporter(database, [QueueReport("events")], worker="w-2")
        await other.start()
        await until(database, lambda rows: len(rows) == 2)
        await other.stop()
        assert await database.fetch_value(place + " where worker = 'w-1'") == first
        clock.advance(2)
        async with asyncio.timeout(10):
            while await database.fetch_value(place + " where worker = 'w-1'") == first:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.01)
    finally:
        await one.stop()


async def test_a_report_that_cannot_be_written_is_told_once_and_the_next_one_is_tried(database: Database) -> None:
    signals = Signals()
    await database.execute("alter table fluxa.queue_reports rename to queue_reports_away")
    one = reporter(database, [BUSY], signals=signals)
    await one.start()
    try:
        await signals.wait_for(MaintenanceFinished, lambda told: told.status is Status.FAILURE)
        await database.execute("alter table fluxa.queue_reports_away rename to queue_reports")
        await until(database, lambda rows: len(rows) == 1)
        await signals.wait_for(MaintenanceFinished, lambda told: told.status is Status.SUCCESS)
    finally:
        await one.stop()
    told = [one.status for one in signals.heard if isinstance(one, MaintenanceFinished)]
    assert told == [Status.FAILURE, Status.SUCCESS]


async def test_of_workers_long_gone_only_the_last_success_of_a_queue_is_kept(database: Database) -> None:
    for number in range(4):
        past = reporter(database, [QueueReport("pulse", last_success_at=AT + dt.timedelta(hours=number))])
        past._worker = f"past-{number}"
        await past._write(past._source())
    await database.execute("update fluxa.queue_reports set reported_at = now() - interval '2 hours'")
    one = reporter(database, [QueueReport("events")], worker="now")
    await one.start()
    try:
        found = await until(database, lambda rows: len(rows) == 2)
    finally:
        await one.stop()
    assert {row.worker for row in found} == {"past-3", "now"}
