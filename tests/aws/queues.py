"""SQS for the conformance suite and the state machine: its server's clock goes on when a test says so."""

import asyncio
import contextlib
import datetime as dt
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aws.servers import Ministack
from fluxa.kernel.clock import Clock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import Envelope, KeyRule, QueueBackend
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.backends.pgmq.outbox import SUFFIX
from fluxa.queue.backends.pgmq.tables import table
from fluxa.queue.backends.spill import Spill
from fluxa.queue.backends.sqs import Sqs, SqsBackend
from fluxa.testing.clock import ManualClock


def make_backend(
    sqs: Sqs,
    database: Database,
    clock: Clock,
    *,
    keys: Mapping[str, KeyRule] | None = None,
    spill: Spill | None = None,
) -> SqsBackend:
    """A backend as one process has it."""
    boxes = PgmqBackend(database, listener=None, notifier=None, clock=clock, chance=lambda: 0.5)
    return SqsBackend(sqs, database, boxes=boxes, notifier=None, clock=clock, keys=keys, spill=spill)


class SqsHarness:
    """SQS on a real server, and Postgres beside it.

    Passing time moves the server's clock on, the due times in the outboxes back, and lets the relay have its turn.
    """

    takes_place_early = True  # in the outbox, by whose ids the relay goes

    def __init__(
        self, server: Ministack, sqs: Sqs, database: Database, keys: Mapping[str, KeyRule] | None = None
    ) -> None:
        self._server = server
        self._sqs = sqs
        self._database = database
        self._keys = keys
        self.clock = ManualClock()

    async def worker(self) -> QueueBackend:
        return make_backend(self._sqs, self._database, self.clock, keys=self._keys)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await asyncio.to_thread(self._server.tell, do="advance", seconds=seconds)
        backend = make_backend(self._sqs, self._database, self.clock, keys=self._keys)
        for row in await self._database.fetch("select queue_name from pgmq.meta where queue_name like '%outbox'"):
            await self._database.execute(
                f"update {table(row['queue_name'])} set vt = vt - make_interval(secs => $1)",  # noqa: S608 - a test's queue
                seconds,
            )
            await backend.relay.drain(str(row["queue_name"]).removesuffix(SUFFIX))

    def now(self) -> dt.datetime:
        return self.clock.now()

    async def begin_send(self, queue: str, envelopes: Sequence[Envelope]) -> Callable[[bool], Awaitable[None]]:
        """A send in a transaction: when that commits, the relay sends on."""
        stack = contextlib.AsyncExitStack()
        handle = await stack.enter_async_context(self._database.transaction())
        backend = make_backend(self._sqs, self._database, self.clock, keys=self._keys)
        await backend.send(queue, envelopes, tx=handle)

        async def end(commit: bool) -> None:  # noqa: FBT001 - the one thing to say
            if commit:
                await stack.aclose()
                await backend.relay.drain(queue)
            else:
                with contextlib.suppress(ZeroDivisionError):
                    await stack.__aexit__(ZeroDivisionError, ZeroDivisionError(), None)

        return end

    async def put(self, queue: str, text: str) -> str:
        place = await make_backend(self._sqs, self._database, self.clock, keys=self._keys).places.find(queue)
        own = uuid.uuid4().hex
        more: dict[str, Any] = {"MessageGroupId": own, "MessageDeduplicationId": own} if place.rule else {}
        return str((await self._sqs.call("send_message", QueueUrl=place.url, MessageBody=text, **more))["MessageId"])

    async def alter(self, queue: str, message_id: str, old: str, new: str) -> None:  # noqa: ARG002 - ids are unique
        changed = await asyncio.to_thread(self._server.tell, do="alter", id=message_id, old=old, new=new)
        assert changed == 1
