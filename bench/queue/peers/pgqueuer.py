"""pgqueuer: jobs enqueued in lists, worked on by its manager with a large batch through an asyncpg pool."""

import os
from collections.abc import Sequence
from pathlib import Path

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from typing_extensions import override

from bench.queue.contestants import BATCH, Producer, connected
from bench.queue.progress import VARIABLE, Progress

_DEQUEUE = 500
_ENTRYPOINT = "noop"


class PgQueuerProducer(Producer):
    """Its own way to enqueue a list."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._queries = Queries(AsyncpgDriver(connection))

    @override
    async def push(self, bodies: Sequence[bytes]) -> None:
        await self._queries.enqueue([_ENTRYPOINT] * len(bodies), list(bodies), [0] * len(bodies))

    @override
    async def fill(self, bodies: Sequence[bytes]) -> None:
        for start in range(0, len(bodies), BATCH):
            await self.push(bodies[start : start + BATCH])


async def install(url: str) -> None:
    """Create its tables."""
    async with connected(url) as connection:
        await Queries(AsyncpgDriver(connection)).install()


async def work(url: str) -> None:
    """Handle jobs until the process is ended."""
    progress = Progress(Path(os.environ[VARIABLE]))
    async with asyncpg.create_pool(url, min_size=8, max_size=8) as pool:
        queuer = PgQueuer(AsyncpgPoolDriver(pool))

        @queuer.entrypoint(_ENTRYPOINT)
        async def handle(_job: Job) -> None:
            progress.add(1)

        await queuer.run(batch_size=_DEQUEUE)
