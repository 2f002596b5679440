"""Workers race, die and lose their connections; still every record takes effect once (QUEUE-3, PIPE-4)."""

import asyncio
import datetime as dt
import random

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import DatabaseUnavailableError, LeaseLostError
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backend import DeadLetterFilter, Delivery, Envelope, QueueBackend, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.outcome import DONE, Dead, Outcome, Retry, Snooze
from fluxa.queue.record import Record

_RECORDS, _WORKERS, _LEASE_S = 1500, 4, 0.4
_NAMES = frozenset(f"r{number}" for number in range(_RECORDS))


class _Storm:
    """Workers whose effect is a row, written in the transaction that settles."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database = database
        self.random = random.Random(seed)  # noqa: S311 - a storm that can be repeated
        self.sent = asyncio.Event()
        self.abandoned = self.broken = self.lost = 0

    def _engine(self, database: Database) -> PgmqBackend:
        return PgmqBackend(database, listener=None, notifier=None, clock=SystemClock(), chance=self.random.random)

    async def produce(self) -> None:
        """Send all records, in envelopes of one to five, some of them in slow transactions."""
        engine = self._engine(self.database)
        names = sorted(_NAMES)
        while names:
            size = self.random.randint(1, 5)
            batch, names = names[:size], names[size:]
            now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
            envelope = Envelope(tuple(Record(id=name, body=b"{}", created_at=now) for name in batch))
            async with self.database.transaction() as tx:
                await engine.send("storm", [envelope], tx=tx)
                if self.random.random() < 0.02:
                    await asyncio.sleep(0.3)  # longer than the floor waits for late commits
        self.sent.set()

    async def work(self, url: str) -> None:
        """Claim and settle until everything was sent and nothing is left."""
        database = Database(PoolConfig(url=url, application="storm", size_max=2))
        await database.start()
        engine = self._engine(database)
        try:
            while True:
                try:
                    claimed = await engine.claim("storm", limit=8, lease_s=_LEASE_S, wait_s=0.1)
                    if not claimed and self.sent.is_set() and not (await engine.metrics("storm")).depth:
                        return
                    await self._handle(database, engine, claimed)
                except DatabaseUnavailableError:
                    self.broken += 1
                except LeaseLostError:
                    self.lost += 1
        finally:
            await database.stop()

    async def _handle(self, database: Database, engine: QueueBackend, claimed: list[Delivery]) -> None:
        chance = self.random.random()
        if chance < 0.04:
            self.abandoned += 1
            return
        if chance < 0.08:
            await asyncio.sleep(_LEASE_S * 1.5)  # a slow worker, whose lease ends meanwhile
        settlements = [
            Settlement(delivery, tuple(self._outcome(record) for record in delivery.records)) for delivery in claimed
        ]
        async with database.transaction() as tx:
            for settlement in settlements:
                for record, outcome in zip(settlement.delivery.records, settlement.outcomes, strict=True):
                    if outcome is DONE:
                        await tx.execute("insert into effects (name) values ($1)", record.id)
            await engine.settle(settlements, tx=tx)

    def _outcome(self, record: Record) -> Outcome:
        now = SystemClock().now()
        chance = self.random.random()
        if int(record.id[1:]) % 50 == 0:
            return Dead("PayloadMissing", "by its number")
        if chance < 0.10:
            return Retry(now + dt.timedelta(seconds=chance), "HandlerError", "unlucky")
        return Snooze(now) if chance < 0.15 else DONE

    async def break_connections(self) -> None:
        """End a worker's connection now and then."""
        while True:
            await asyncio.sleep(0.15)
            await self.database.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'storm' "
                "and datname = current_database() order by random() limit 1"
            )


@pytest.mark.req("QUEUE-1", "QUEUE-3", "QUEUE-8", "PIPE-4")
@pytest.mark.parametrize("seed", [1, 2])
async def test_every_record_takes_effect_once_or_is_parked_once(
    database: Database, database_url: str, seed: int
) -> None:
    # No key: a record that takes effect twice is to be found, not to be kept out.
    await database.execute("create table effects (name text not null)")
    storm = _Storm(database, seed)
    await storm._engine(database).create("storm")
    breaking = asyncio.create_task(storm.break_connections())
    try:
        async with asyncio.timeout(90):
            await asyncio.gather(storm.produce(), *(storm.work(database_url) for _ in range(_WORKERS)))
    finally:
        breaking.cancel()
        await asyncio.wait([breaking])
    effects = [row["name"] for row in await database.fetch("select name from effects")]
    letters = await storm._engine(database).dead_letters("storm", DeadLetterFilter(), limit=_RECORDS)
    parked = [letter.record.id for letter in letters]
    assert sorted(effects + parked) == sorted(_NAMES)
    assert all(int(name[1:]) % 50 == 0 for name in parked)
    assert storm.abandoned
    assert storm.broken
    assert storm.lost
