"""Steady load: a producer sends as fast as the worker handles, and the rate is taken in windows."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.queue.contestants import BATCH, Producer, Working


@dataclass(slots=True)
class Loop:
    """A producer that sends a batch whenever it is not too far ahead of the worker.

    Attributes:
        bodies: taken in turns.
        ahead: jobs sent and not handled yet, at most; enough that the worker is never out of work.
        sent: jobs sent so far, all of them to one worker, which began with this loop.
    """

    bodies: Sequence[bytes]
    ahead: int = 8 * BATCH
    sent: int = 0


async def rates(
    at_work: Working, producer: Producer, loop: Loop, *, warm_s: float, seconds: float, window_s: float
) -> list[float]:
    """Jobs handled a second in each window.

    Args:
        at_work: the worker.
        producer: how to send.
        loop: what, and how far ahead.
        warm_s: seconds before the first window.
        seconds: that are measured, in whole windows.
        window_s: seconds of a window.

    Raises:
        RuntimeError: if the worker ends.
        TimeoutError: if it handles nothing at first.
    """
    progress = at_work.progress
    enough = asyncio.Event()
    pushing = asyncio.create_task(_push(at_work, producer, loop, enough))
    found: list[float] = []
    try:
        await at_work.until(progress.count + 1, timeout_s=60)
        await _pause(pushing, warm_s)
        seen, at = progress.count, time.monotonic()
        for _ in range(round(seconds / window_s)):
            await _pause(pushing, max(0.0, at + window_s - time.monotonic()))
            count, now = progress.count, time.monotonic()
            found.append((count - seen) / (now - at))
            seen, at = count, now
    finally:
        enough.set()
        await asyncio.wait([pushing])
    pushing.result()
    return found


async def _pause(pushing: asyncio.Task[None], seconds: float) -> None:
    """Wait, unless the producer fails: its error is raised."""
    await asyncio.wait([pushing], timeout=seconds)
    if pushing.done():
        pushing.result()


async def _push(at_work: Working, producer: Producer, loop: Loop, enough: asyncio.Event) -> None:
    place = 0
    while not enough.is_set():
        if at_work.process.ended is not None:
            raise RuntimeError(f"the worker ended with {at_work.process.ended}")
        if loop.sent - at_work.progress.count > loop.ahead - BATCH:
            await asyncio.sleep(0.001)
            continue
        if place + BATCH > len(loop.bodies):
            place = 0
        await producer.push(loop.bodies[place : place + BATCH])
        place += BATCH
        loop.sent += BATCH
