"""A processor that kills itself before its n-th statement; one that gets past its last one ends with 0.

Usage: `python killed_processor.py URL N`. It names the statement before it dies.
"""

import asyncio
import os
import random
import signal
import sys

import asyncpg
from typing_extensions import override

from fluxa.events.carriage import QUEUE
from fluxa.events.process.processor import Processor, ProcessorConfig
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backends.pgmq.backend import PgmqBackend
from fluxa.queue.policy import RetryPolicy
from fluxa.telemetry.catalogue import silent
from making.pipeline import NumbersOnly, Objects

_WORK_LEFT = "select exists (select from pgmq.q_events)"


class AwayAtFirst(Objects):
    """Every object is there, but the first question finds the store out of order."""

    @override
    async def get(self, key: str) -> bytes:
        await self.put(key, b'{"n": "%s"}' % key.encode())
        return await super().get(key)


class Countdown:
    """Counts statements once it is armed."""

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal
        self.count = 0
        self.armed = False

    def observe(self, statement: str) -> None:
        if not self.armed:
            return
        self.count += 1
        if self.count == self.fatal:
            sys.stdout.write(statement)
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)


async def work(url: str, fatal: int) -> None:
    countdown = Countdown(fatal)
    database = Database(PoolConfig(url=url, size_max=2), probe=countdown.observe)
    await database.start()
    clock = SystemClock()
    backend = PgmqBackend(database, listener=None, notifier=None, clock=clock)
    objects = AwayAtFirst()
    objects.fails = [FluxaError(ErrorCode.OBJECT_STORE_UNAVAILABLE)]
    processor = Processor(
        database=database,
        backend=backend,
        objects=objects,
        schemas=NumbersOnly(),
        clock=clock,
        hook=silent,
        randomness=random.Random(1),  # noqa: S311 - spreads retries
        config=ProcessorConfig(lanes=1, wait_s=0.5, policy=RetryPolicy(base_s=0.0)),
    )
    await backend.create(QUEUE)
    countdown.armed = True
    await processor.start()
    watch = await asyncpg.connect(url)
    while await watch.fetchval(_WORK_LEFT):  # noqa: ASYNC110 - the queue is a table, not an event
        await asyncio.sleep(0.01)
    await watch.close()
    await processor.stop()
    await database.stop()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
