"""Months are made ahead and on demand, by several processes at once, and dropped whole."""

import asyncio
import datetime as dt

import pytest

from fluxa.events.partitions import MONTHS_AHEAD, PartitionKeeper, Partitions, month_after, month_of
from fluxa.events.store import EventStore
from fluxa.kernel.errors import DatabaseUnavailableError
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import MaintenanceFinished, Status, silent
from fluxa.testing.clock import ManualClock
from fluxa.testing.signals import Signals
from making.events import make_row

pytestmark = pytest.mark.req("PIPE-7")
NOVEMBER = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)


async def _write(database: Database, moment: dt.datetime, number: int) -> None:
    async with database.transaction() as tx:
        await EventStore().write(tx, [make_row(number, received_at=moment)])


def test_a_month_is_that_of_utc() -> None:
    plus_two = dt.timezone(dt.timedelta(hours=2))
    assert month_of(dt.datetime(2026, 1, 1, 1, 59, tzinfo=plus_two)) == dt.date(2025, 12, 1)
    assert month_of(dt.datetime(2026, 1, 31, 23, 59, tzinfo=dt.UTC)) == dt.date(2026, 1, 1)


def test_months_are_counted_over_the_turn_of_the_year() -> None:
    assert month_after(dt.date(2026, 11, 1), 3) == dt.date(2027, 2, 1)
    assert month_after(dt.date(2026, 1, 1), -1) == dt.date(2025, 12, 1)
    assert month_after(dt.date(2026, 12, 1), 0) == dt.date(2026, 12, 1)


async def test_the_keeper_makes_the_months_ahead_over_the_turn_of_the_year(database: Database) -> None:
    partitions = Partitions(database)
    keeper = PartitionKeeper(partitions, clock=ManualClock(NOVEMBER), hook=silent)
    await keeper.start()
    await keeper.stop()
    expected = [dt.date(2026, 11, 1), dt.date(2026, 12, 1), dt.date(2027, 1, 1), dt.date(2027, 2, 1)]
    assert await partitions.existing() == expected
    assert len(expected) == MONTHS_AHEAD + 1


async def test_the_first_and_the_last_moment_of_a_month_are_in_it(database: Database) -> None:
    await Partitions(database).ensure([dt.date(2026, 12, 1), dt.date(2027, 1, 1)])
    first = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
    last = dt.datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)
    await _write(database, first, 1)
    await _write(database, last, 2)
    await _write(database, last + dt.timedelta(microseconds=1), 3)
    assert await database.fetch_value("select count(*) from fluxa.events_2026_12") == 2
    assert await database.fetch_value("select count(*) from fluxa.events_2027_01") == 1


async def test_a_partition_has_the_indexes_of_the_table(database: Database) -> None:
    await Partitions(database).ensure([dt.date(2026, 12, 1)])
    invalid = await database.fetch_value("select count(*) from pg_index where not indisvalid")
    count = "select count(*) from pg_indexes where schemaname = 'fluxa' and tablename = $1"
    assert invalid == 0
    assert await database.fetch_value(count, "events_2026_12") == await database.fetch_value(count, "events")


async def test_many_may_make_the_same_months_at_once_while_others_write(database: Database) -> None:
    await Partitions(database).ensure([dt.date(2026, 11, 1)])
    months = [month_after(dt.date(2026, 11, 1), n) for n in range(6)]
    async with database.transaction() as tx:
        await EventStore().write(tx, [make_row(1, received_at=NOVEMBER)])  # an open writer does not stop it
        await asyncio.gather(*(Partitions(database).ensure(months) for _ in range(6)))
    assert await Partitions(database).existing() == months


async def test_old_months_are_dropped_with_their_identities_and_failures(database: Database) -> None:
    partitions = Partitions(database)
    months = [dt.date(2026, n, 1) for n in (1, 2, 3)]
    await partitions.ensure(months)
    for number, month in enumerate(months):
        moment = dt.datetime(month.year, month.month, 28, tzinfo=dt.UTC)
        await _write(database, moment, number)
        await database.execute(
            "insert into fluxa.failures (at, tenant, correlation_id, queue, stage, attempt, error_code, detail, parked)"
            " values ($1, 'default', 'c', 'events', 'process', 1, 'X', '', false)",
            moment,
        )
    clock = ManualClock(dt.datetime(2026, 4, 2, tzinfo=dt.UTC))
    await PartitionKeeper(partitions, clock=clock, hook=silent, retention_months=1).keep()
    assert (await partitions.existing())[0] == dt.date(2026, 3, 1)
    for table in ("events", "idempotency_keys", "failures"):
        assert await database.fetch_value(f"select count(*) from fluxa.{table}") == 1, table  # noqa: S608 - our own names


async def test_thousands_of_old_identities_go_and_the_young_ones_stay(database: Database) -> None:
    partitions = Partitions(database)
    await database.execute(
        "insert into fluxa.idempotency_keys (tenant, id, source, received_at, ord)"
        " select 'default', n::text, 's', '2026-01-15T00:00:00Z'::timestamptz + make_interval(days => n % 60), n"
        " from generate_series(1, 30000) n"
    )
    young = await database.fetch_value(
        "select count(*) from fluxa.idempotency_keys where received_at >= '2026-02-01T00:00:00Z'"
    )
    await partitions.drop_before(dt.date(2026, 2, 1))
    assert await database.fetch_value("select count(*) from fluxa.idempotency_keys") == young > 0
    assert not await database.fetch_value(
        "select exists (select from fluxa.idempotency_keys where received_at < '2026-02-01T00:00:00Z')"
    )


async def test_a_pass_that_fails_is_told_and_repeated(database: Database) -> None:
    signals = Signals()
    clock = ManualClock(dt.datetime(2026, 4, 2, tzinfo=dt.UTC))
    await Partitions(database).ensure([dt.date(2026, 1, 1)])
    keeper = PartitionKeeper(Partitions(database), clock=clock, hook=signals.hear, retention_months=1)
    await database.execute("drop function fluxa.drop_month")
    await keeper.start()
    failed = await signals.wait_for(MaintenanceFinished)
    await keeper.stop()
    assert (failed.status, failed.error_code) == (Status.FAILURE, "DBRejected")


async def test_a_month_that_a_reader_holds_is_left_for_later(database: Database) -> None:
    partitions = Partitions(database)
    await partitions.ensure([dt.date(2026, 1, 1)])
    async with database.transaction() as tx:
        await tx.fetch("select * from fluxa.events")
        with pytest.raises(DatabaseUnavailableError):
            await partitions.drop_before(dt.date(2026, 2, 1), lock_timeout_s=0.05)
    assert await partitions.drop_before(dt.date(2026, 2, 1)) == [dt.date(2026, 1, 1)]
    await partitions.ensure([dt.date(2026, 1, 1)])
    assert await partitions.existing() == [dt.date(2026, 1, 1)]


async def test_the_keeper_tells_how_a_pass_ended(database: Database) -> None:
    signals = Signals()
    keeper = PartitionKeeper(Partitions(database), clock=ManualClock(NOVEMBER), hook=signals.hear)
    await keeper.start()
    finished = await signals.wait_for(MaintenanceFinished)
    await keeper.stop()
    assert finished.status is Status.SUCCESS


def test_a_retention_of_no_month_is_refused(database: Database) -> None:
    with pytest.raises(ValueError, match="retention_months"):
        PartitionKeeper(Partitions(database), clock=ManualClock(), hook=silent, retention_months=0)
