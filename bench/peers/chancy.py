"""chancy: pushed in batches of 1000, one worker with its asyncio executor and eager polling."""

import logging
from collections.abc import Sequence

import asyncpg
from chancy import Chancy, Job, Queue, Worker

from bench.peers.insert import INSERTS, Insert

BATCH = 1000
SETTINGS = "push_many of 1000, asyncio executor, concurrency=500, eager_polling"

_CONCURRENCY = 500
_QUEUE = "events"


class _Target:
    """Where the jobs of this process insert; chancy finds the job's function by its import path."""

    store: Insert


async def handle(*, line: str) -> None:
    """The job."""
    await _Target.store.insert(line.encode())


def _chancy(url: str) -> Chancy:
    log = logging.getLogger("chancy")
    log.setLevel(logging.ERROR)
    return Chancy(url, min_connection_pool_size=2, max_connection_pool_size=10, log=log)


async def install(url: str) -> None:
    """Create its tables and the queue."""
    async with _chancy(url) as chancy:
        await chancy.migrate()
        await chancy.declare(
            Queue(
                name=_QUEUE,
                concurrency=_CONCURRENCY,
                executor=Chancy.Executor.Async,
                polling_interval=1,
                eager_polling=True,
            )
        )


async def produce(url: str, lines: Sequence[bytes]) -> None:
    """Push all lines."""
    async with _chancy(url) as chancy:
        jobs = [Job(func=f"{__name__}.handle", queue=_QUEUE, kwargs={"line": line.decode()}) for line in lines]
        async for _references in chancy.push_many(jobs, batch_size=BATCH):
            pass


async def work(url: str, insert: str) -> None:
    """Handle jobs until the process is ended."""
    async with asyncpg.create_pool(url, min_size=8, max_size=8) as pool, _chancy(url) as chancy:
        _Target.store = INSERTS[insert](pool)
        async with Worker(chancy, register_signal_handlers=False) as worker:
            print("ready", flush=True)
            await worker.wait_for_shutdown()
