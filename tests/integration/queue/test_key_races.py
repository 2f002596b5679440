"""Claimers race for keys over connections of their own: a key is never in two hands, and its order holds (QUEUE-5)."""

import asyncio
import datetime as dt
import random
from collections import Counter, defaultdict

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backend import Delivery, Envelope, KeyRule, QueueBackend, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.outcome import DONE, Outcome, Retry, Snooze
from fluxa.queue.record import Record

pytestmark = pytest.mark.req("QUEUE-3", "QUEUE-5")

_RULES = {"ordered": KeyRule(ordered=True), "limited": KeyRule(limit=3)}
_KEYS, _OF_EACH, _WORKERS = 12, 25, 5


class _Race:
    """Workers that note what they hold; a lease is long, so that whatever is held is under lease."""

    def __init__(self, queue: str, seed: int) -> None:
        self.queue = queue
        self.random = random.Random(seed)  # noqa: S311 - a race that can be repeated
        self.held: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.done: defaultdict[str, list[int]] = defaultdict(list)
        self.left = _KEYS * _OF_EACH

    async def produce(self, engine: QueueBackend) -> None:
        """Send each key's records in order, the keys mixed."""
        order = [f"k{key}" for key in range(_KEYS) for _ in range(_OF_EACH)]
        self.random.shuffle(order)
        sent: Counter[str] = Counter()
        for key in order:
            now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
            record = Record(id=f"{key}/{sent[key]}", body=b"{}", created_at=now, key=key)
            sent[key] += 1
            await engine.send(self.queue, [Envelope((record,))])

    async def work(self, url: str) -> None:
        """Claim, hold for a moment, settle; until all is done."""
        database = Database(PoolConfig(url=url, size_max=2))
        await database.start()
        engine = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock(), keys=_RULES)
        try:
            while self.left:
                claimed = await engine.claim(self.queue, limit=self.random.randint(1, 6), lease_s=60, wait_s=0.05)
                await asyncio.gather(*(self._handle(engine, delivery) for delivery in claimed))
        finally:
            await database.stop()

    async def _handle(self, engine: QueueBackend, delivery: Delivery) -> None:
        (record,) = delivery.records
        key = str(record.key)
        self.held[key] += 1
        self.most[key] = max(self.most[key], self.held[key])
        await asyncio.sleep(self.random.random() * 0.02)
        outcome = self._outcome()
        if outcome is DONE:
            self.done[key].append(int(record.id.partition("/")[2]))
            self.left -= 1
        self.held[key] -= 1
        assert await engine.settle([Settlement(delivery, (outcome,))]) == []

    def _outcome(self) -> Outcome:
        now = SystemClock().now()
        chance = self.random.random()
        if chance < 0.1:
            return Retry(now + dt.timedelta(seconds=chance), "HandlerError", "unlucky")
        return Snooze(now) if chance < 0.2 else DONE


@pytest.mark.parametrize("queue", list(_RULES))
async def test_racing_claimers_keep_the_rule(database: Database, database_url: str, queue: str) -> None:
    engine = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock(), keys=_RULES)
    await engine.create(queue)
    race = _Race(queue, 7)
    async with asyncio.timeout(90):
        await asyncio.gather(race.produce(engine), *(race.work(database_url) for _ in range(_WORKERS)))
    rule = _RULES[queue]
    assert max(race.most.values()) <= rule.limit
    assert {key: sorted(done) for key, done in race.done.items()} == {
        f"k{key}": list(range(_OF_EACH)) for key in range(_KEYS)
    }
    if rule.ordered:
        assert all(done == sorted(done) for done in race.done.values())
    else:
        assert max(race.most.values()) > 1, "nobody ever raced: this test proves nothing"
    assert (await engine.metrics(queue)).depth == 0


async def test_a_claimer_that_freezes_under_the_lock_is_ended_by_the_server(database: Database) -> None:
    engine = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock(), keys=_RULES)
    await engine.create("ordered")
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    await engine.send("ordered", [Envelope((Record(id="a", body=b"{}", created_at=now, key="k"),))])
    async with database.connection() as handle:
        await handle.execute("begin")
        await handle.execute("select pg_advisory_xact_lock(hashtextextended('fluxa keys ordered', 0))")
        await handle.execute("select set_config('idle_in_transaction_session_timeout', '1000', true)")
        async with asyncio.timeout(20):
            claimed = await engine.claim("ordered", limit=1, lease_s=60)
    assert len(claimed) == 1
