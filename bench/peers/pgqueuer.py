"""pgqueuer: enqueued in lists of 1000, drained by its manager with a large batch through an asyncpg pool."""

from collections.abc import Sequence

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.peers.insert import INSERTS

BATCH = 1000
SETTINGS = "batch_size=500, asyncpg pool of 8, lists of 1000 to enqueue"

_DEQUEUE = 500
_ENTRYPOINT = "store"


async def install(url: str) -> None:
    """Create its tables."""
    connection = await asyncpg.connect(url)
    try:
        await Queries(AsyncpgDriver(connection)).install()
    finally:
        await connection.close()


async def produce(url: str, lines: Sequence[bytes]) -> None:
    """Enqueue all lines."""
    connection = await asyncpg.connect(url)
    try:
        queries = Queries(AsyncpgDriver(connection))
        for start in range(0, len(lines), BATCH):
            batch = list(lines[start : start + BATCH])
            await queries.enqueue([_ENTRYPOINT] * len(batch), batch, [0] * len(batch))
    finally:
        await connection.close()


async def work(url: str, insert: str) -> None:
    """Handle jobs until the process is ended."""
    async with asyncpg.create_pool(url, min_size=8, max_size=8) as pool:
        store = INSERTS[insert](pool)
        queuer = PgQueuer(AsyncpgPoolDriver(pool))

        @queuer.entrypoint(_ENTRYPOINT)
        async def handle(job: Job) -> None:
            await store.insert(job.payload or b"")

        print("ready", flush=True)
        await queuer.run(batch_size=_DEQUEUE)
