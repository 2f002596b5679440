"""A processor that dies of one event: its schema check ends the process. Usage: `python poisoned_processor.py URL`."""

import asyncio
import os
import random
import signal
import sys

from fluxa.events.carriage import QUEUE
from fluxa.events.event import Event
from fluxa.events.process.lane import ProcessorConfig
from fluxa.events.process.processor import Processor
from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backends.pgmq.backend import PgmqBackend
from fluxa.queue.policy import RetryPolicy
from fluxa.telemetry.catalogue import silent
from making.pipeline import Objects


class Deadly:
    """A check that one type of event kills."""

    async def check(self, event: Event, data: bytes | None) -> None:
        if event.type == "poison" and data is not None:
            os.kill(os.getpid(), signal.SIGKILL)


async def work(url: str) -> None:
    database = Database(PoolConfig(url=url))
    await database.start()
    clock = SystemClock()
    backend = PgmqBackend(database, listener=None, notifier=None, clock=clock)
    processor = Processor(
        database=database,
        backend=backend,
        objects=Objects(),
        schemas=Deadly(),
        clock=clock,
        hook=silent,
        randomness=random.Random(1),  # noqa: S311 - spreads retries
        config=ProcessorConfig(wait_s=0.05, claim_messages=4, policy=RetryPolicy(attempts_max=4)),
    )
    await processor.start()
    while (await backend.metrics(QUEUE)).depth:  # noqa: ASYNC110 - the queue is a table, not an event
        await asyncio.sleep(0.01)
    await processor.stop()
    await database.stop()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
