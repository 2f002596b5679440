"""A runner in the test's own process, and a look at what it left."""

import datetime as dt
from collections import Counter

from fluxa.kernel.clock import SystemClock
from fluxa.operations.cron import Missed, Schedule
from fluxa.operations.cron.runner import CronRunner
from fluxa.operations.cron.schedules import Schedules
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database
from fluxa.queue.backends.pgmq.backend import PgmqBackend
from fluxa.queue.record import Record
from fluxa.queue.registry import built_in
from fluxa.testing.signals import Signals

QUEUE = "pulse"
PAST = "update fluxa.schedules set next_at = date_trunc('minute', now()) - make_interval(mins => $1)"


class Cron:
    """A runner in this process, and what it left."""

    def __init__(self, database: Database, *, listener: Listener | None = None) -> None:
        self.database = database
        self.signals = Signals()
        self.schedules = Schedules(database)
        clock = SystemClock()
        self.backend = PgmqBackend(database, listener=None, notifier=None, clock=clock)
        self.runner = CronRunner(
            database,
            self.backend,
            built_in(),
            clock=clock,
            hook=self.signals.hear,
            worker="here",
            listener=listener,
        )

    async def add(self, name: str = "digest", *, when: str = "* * * * *", missed: Missed = Missed.ONCE) -> None:
        await self.backend.create(QUEUE)
        await self.schedules.add(Schedule(name, when, QUEUE, b'{"a": 1}', missed=missed), by="the test")

    async def miss(self, minutes: int) -> None:
        """Let time pass in which nobody was there."""
        await self.database.execute(PAST, minutes)

    async def sent(self) -> list[Record]:
        """What is in the queue, oldest first."""
        found: list[Record] = []
        while deliveries := await self.backend.claim(QUEUE, limit=100, lease_s=600):
            found += [record for delivery in deliveries for record in delivery.records]
        return found

    async def statuses(self) -> Counter[str]:
        return Counter(run.status for run in await self.schedules.history(limit=10_000))

    async def next_at(self, name: str = "digest") -> dt.datetime:
        return (await self.schedules.get(name)).next_at
