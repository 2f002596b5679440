"""procrastinate: deferred in batches of 1000, one worker with many concurrent jobs, done jobs deleted."""

from collections.abc import Sequence

import asyncpg
from procrastinate import App, PsycopgConnector

from bench.peers.insert import INSERTS

BATCH = 1000
SETTINGS = "batch_defer of 1000, concurrency=50, delete_jobs=always"

_CONCURRENCY = 50
_TASK = "store"


def _app(url: str) -> App:
    return App(connector=PsycopgConnector(conninfo=url, min_size=4, max_size=_CONCURRENCY + 4))


async def install(url: str) -> None:
    """Create its tables."""
    app = _app(url)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def produce(url: str, lines: Sequence[bytes]) -> None:
    """Defer all lines."""
    app = _app(url)
    async with app.open_async():
        deferrer = app.configure_task(_TASK)
        for start in range(0, len(lines), BATCH):
            await deferrer.batch_defer_async(*({"line": line.decode()} for line in lines[start : start + BATCH]))


async def work(url: str, insert: str) -> None:
    """Handle jobs until the process is ended."""
    app = _app(url)
    async with asyncpg.create_pool(url, min_size=8, max_size=8) as pool, app.open_async():
        store = INSERTS[insert](pool)

        @app.task(name=_TASK)
        async def handle(line: str) -> None:
            await store.insert(line.encode())

        print("ready", flush=True)
        await app.run_worker_async(concurrency=_CONCURRENCY, delete_jobs="always", fetch_job_polling_interval=0.5)
