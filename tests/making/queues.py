"""Engines for the conformance suite and the state machine: time passes when a test says so."""

import datetime as dt

from fluxa.postgres.pool import Database
from fluxa.queue.backend import QueueBackend
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.backends.pgmq.tables import table
from fluxa.testing.clock import ManualClock
from fluxa.testing.memory_queue import MemoryBackend


class MemoryHarness:
    """The twin in memory. Its workers share one backend, since there is nothing else to share."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._backend = MemoryBackend(self.clock)

    async def worker(self) -> QueueBackend:
        return self._backend

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def now(self) -> dt.datetime:
        return self.clock.now()

    async def put(self, queue: str, text: str) -> None:
        self._backend.put(queue, [text])

    async def alter(self, queue: str, message_id: str, old: str, new: str) -> None:
        message = self._backend._queues[queue].messages[int(message_id)]
        assert old in message.raw
        message.raw = message.raw.replace(old, new)


class PgmqHarness:
    """PGMQ on a real Postgres. Postgres' clock cannot be moved, so passing time moves every due time back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.clock = ManualClock()

    async def worker(self) -> QueueBackend:
        return PgmqBackend(self._database, listener=None, notifier=None, clock=self.clock, chance=lambda: 0.5)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for row in await self._database.fetch("select queue_name from pgmq.meta where queue_name not like '%dlq'"):
            await self._database.execute(
                f"update {table(row['queue_name'])} set vt = vt - make_interval(secs => $1)",  # noqa: S608 - a test's queue
                seconds,
            )

    def now(self) -> dt.datetime:
        return self.clock.now()

    async def put(self, queue: str, text: str) -> None:
        await self._database.execute("select pgmq.send($1::text, $2::jsonb)", queue, text)

    async def alter(self, queue: str, message_id: str, old: str, new: str) -> None:
        changed = await self._database.execute(
            f"update {table(queue)} set message = replace(message::text, $2, $3)::jsonb "  # noqa: S608 - a test's queue
            "where msg_id = $1 and position($2 in message::text) > 0",
            int(message_id),
            old,
            new,
        )
        assert changed == 1
