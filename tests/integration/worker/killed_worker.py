"""A worker that empties a queue and kills itself before a chosen statement: `killed_worker.py URL KIND STATEMENT`."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence

from fluxa import Fluxa, QueueSpec, Transaction
from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.worker.dispatcher import Dispatcher, DispatcherConfig
from fluxa.telemetry.catalogue import silent

WRITE = "insert into effects (job) values ($1)"


def application(kind: str) -> Fluxa:
    """One queue, whose handler writes each job down."""
    app = Fluxa()
    app.queue(QueueSpec("jobs", concurrency=1, batch=3, envelope_records=1 if kind == "single" else 3))
    if kind == "batch":

        @app.handler("jobs")
        async def write_all(jobs: Sequence[str], tx: Transaction) -> None:
            for job in jobs:
                await tx.execute(WRITE, job)
    elif kind == "poison":

        @app.handler("jobs")
        async def die(job: str) -> None:
            await asyncio.sleep(0.01)
            if job == "poison":
                os.kill(os.getpid(), signal.SIGKILL)

    else:

        @app.handler("jobs")
        async def write(job: str, tx: Transaction) -> None:
            await tx.execute(WRITE, job)

    return app


async def empty_queue(url: str, kind: str, kill_at: int) -> None:
    """Work until the queue is empty; die before statement number `kill_at` of the handlers' connection (0: live)."""
    sent = 0

    def probe(statement: str) -> None:
        nonlocal sent
        sent += 1
        if sent == kill_at:
            sys.stdout.write(statement)
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    plain, effects = Database(PoolConfig(url=url)), Database(PoolConfig(url=url), probe=probe)
    await plain.start()
    await effects.start()
    app, clock = application(kind), SystemClock()
    backend = PgmqBackend(plain, listener=None, notifier=None, clock=clock)
    dispatcher = Dispatcher(
        backend=backend,
        registry=app.registry,
        handlers=app.handlers,
        database=effects,
        clock=clock,
        hook=silent,
        randomness=random.Random(1),  # noqa: S311 - spreads retries
        config=DispatcherConfig(wait_s=0.02),
    )
    await dispatcher.start()
    async with asyncio.timeout(60):
        while (await backend.metrics("jobs")).depth:  # noqa: ASYNC110 - the queue is a table, not an event
            await asyncio.sleep(0.01)
    await dispatcher.stop()
    await effects.stop()
    await plain.stop()


if __name__ == "__main__":
    asyncio.run(empty_queue(sys.argv[1], sys.argv[2], int(sys.argv[3])))
