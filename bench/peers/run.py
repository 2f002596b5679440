"""Measures one peer: its worker and its producer as processes of their own, until the last row is stored."""

import asyncio
import contextlib
import time
from pathlib import Path

from bench.measure import Measured, until_stored
from bench.processes import child, python


async def run(peer: str, url: str, count: int, log: Path, *, workers: int = 1, insert: str = "group") -> Measured:
    """Enqueue and drain `count` events, at the same time."""
    command = python("-m", "bench.peers", peer)
    async with child(*command, "install", url, log=log) as setup:
        with contextlib.suppress(RuntimeError):
            await setup.expect("never", timeout_s=60)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(workers):
            worker = await stack.enter_async_context(child(*command, "work", url, insert, log=log))
            await worker.expect("ready")
        producer = await stack.enter_async_context(child(*command, "produce", url, str(count), log=log))
        await producer.expect("ready")
        stored = asyncio.create_task(until_stored(url, count))
        begin = time.monotonic()
        producer.say("go")
        end = await stored
    return Measured(count, end - begin)
