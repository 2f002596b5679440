"""Engines for the conformance suite and the state machine: time passes when a test says so."""

import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence

from fluxa.postgres.pool import Database
from fluxa.queue.backend import Envelope, KeyRule, QueueBackend
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.backends.pgmq.tables import table
from fluxa.testing.clock import ManualClock
from fluxa.testing.key_conformance import KEY_RULES
from fluxa.testing.memory_queue import MemoryBackend


class MemoryHarness:
    """The twin in memory. Its workers share one backend, since there is nothing else to share."""

    takes_place_early = False
    """Whether a message has its place before its sender's transaction commits."""

    def __init__(self, keys: Mapping[str, KeyRule] = KEY_RULES) -> None:
        self.clock = ManualClock()
        self._backend = MemoryBackend(self.clock, keys=keys)

    async def worker(self) -> QueueBackend:
        return self._backend

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def now(self) -> dt.datetime:
        return self.clock.now()

    async def begin_send(self, queue: str, envelopes: Sequence[Envelope]) -> Callable[[bool], Awaitable[None]]:
        """A send that is visible when the returned function is called with True, and undone with False."""

        async def end(commit: bool) -> None:  # noqa: FBT001 - the one thing to say
            if commit:
                await self._backend.send(queue, envelopes)

        return end

    async def put(self, queue: str, text: str) -> str:
        return self._backend.put(queue, [text])[0]

    async def alter(self, queue: str, message_id: str, old: str, new: str) -> None:
        message = self._backend._queues[queue].messages[int(message_id)]
        assert old in message.raw
        message.raw = message.raw.replace(old, new)


class PgmqHarness:
    """PGMQ on a real Postgres. Postgres' clock cannot be moved, so passing time moves every due time back."""

    takes_place_early = True

    def __init__(self, database: Database, keys: Mapping[str, KeyRule] = KEY_RULES) -> None:
        self._database = database
        self._keys = keys
        self._workers: list[PgmqBackend] = []
        self.clock = ManualClock()

    async def worker(self) -> QueueBackend:
        worker = PgmqBackend(
            self._database, listener=None, notifier=None, clock=self.clock, keys=self._keys, chance=lambda: 0.5
        )
        self._workers.append(worker)
        return worker

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for row in await self._database.fetch("select queue_name from pgmq.meta where queue_name not like '%dlq'"):
            await self._database.execute(
                f"update {table(row['queue_name'])} set vt = vt - make_interval(secs => $1)",  # noqa: S608 - a test's queue
                seconds,
            )
        for worker in self._workers:
            worker._claims.shift(seconds)

    def now(self) -> dt.datetime:
        return self.clock.now()

    async def begin_send(self, queue: str, envelopes: Sequence[Envelope]) -> Callable[[bool], Awaitable[None]]:
        """A send in a transaction that has its ids now and commits later, or never."""
        stack = contextlib.AsyncExitStack()
        handle = await stack.enter_async_context(self._database.transaction())
        await (await self.worker()).send(queue, envelopes, tx=handle)

        async def end(commit: bool) -> None:  # noqa: FBT001 - the one thing to say
            if commit:
                await stack.aclose()
            else:
                with contextlib.suppress(ZeroDivisionError):
                    await stack.__aexit__(ZeroDivisionError, ZeroDivisionError(), None)

        return end

    async def put(self, queue: str, text: str) -> str:
        return str(await self._database.fetch_value("select pgmq.send($1::text, $2::jsonb)", queue, text))

    async def alter(self, queue: str, message_id: str, old: str, new: str) -> None:
        changed = await self._database.execute(
            f"update {table(queue)} set message = replace(message::text, $2, $3)::jsonb "  # noqa: S608 - a test's queue
            "where msg_id = $1 and position($2 in message::text) > 0",
            int(message_id),
            old,
            new,
        )
        assert changed == 1
