"""PGMQ's own client: read a batch, call the handler for each message, delete the batch."""

import asyncio
import os
from pathlib import Path

import asyncpg
from pgmq.async_queue import PGMQueue

from bench.queue.contestants import QUEUE
from bench.queue.progress import VARIABLE, Progress

_READ = 500
_LEASE_S = 30
_LOOPS = 2


async def work(url: str) -> None:
    """Handle messages until the process is ended."""
    progress = Progress(Path(os.environ[VARIABLE]))
    async with asyncpg.create_pool(url, min_size=_LOOPS, max_size=_LOOPS) as pool, asyncio.TaskGroup() as loops:
        for _ in range(_LOOPS):
            loops.create_task(_loop(PGMQueue(conn_string=url, pool=pool, init_extension=False), progress))


async def _loop(queue: PGMQueue, progress: Progress) -> None:
    while True:
        messages = await queue.read_batch(QUEUE, vt=_LEASE_S, batch_size=_READ)
        if not messages:
            await asyncio.sleep(0.005)
            continue
        for message in messages:
            await _handle(message.message, progress)
        await queue.delete_batch(QUEUE, [message.msg_id for message in messages])


async def _handle(_message: object, progress: Progress) -> None:
    progress.add(1)
