"""What a queue must offer to be compared, and how its worker is watched. Not: the queues themselves (ours, rivals)."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import asyncpg
from typing_extensions import override

from bench.processes import ROOT, Child, child
from bench.queue.progress import VARIABLE, Progress

QUEUE = "departures"
BATCH = 1000
"""Jobs that a producer sends at once."""


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a worker.

    Attributes:
        line: the command.
        env: added to its environment.
    """

    line: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


class Producer(Protocol):
    """A client that sends, on connections of its own."""

    async def push(self, bodies: Sequence[bytes]) -> None:
        """Send jobs; they are durable when it returns."""
        ...

    async def fill(self, bodies: Sequence[bytes]) -> None:
        """Send many jobs as fast as this client can, a batch at a time."""
        ...


class Contestant(Protocol):
    """One queue."""

    @property
    def name(self) -> str:
        """As in the table."""
        ...

    @property
    def settings(self) -> str:
        """How it was set up, and what it does for each job."""
        ...

    @property
    def table(self) -> str:
        """Holds a row for each job or envelope that is not finished."""
        ...

    async def install(self, url: str) -> None:
        """Make its tables in an empty database."""
        ...

    def producer(self, url: str) -> contextlib.AbstractAsyncContextManager[Producer]:
        """Open a client."""
        ...

    def worker(self, url: str) -> Command:
        """Its worker."""
        ...


class SqlProducer(Producer):
    """Sends with one statement that takes an array of JSON texts."""

    def __init__(self, connection: asyncpg.Connection, statement: str) -> None:
        self._connection = connection
        self._statement = statement

    @override
    async def push(self, bodies: Sequence[bytes]) -> None:
        await self._connection.execute(self._statement, [body.decode() for body in bodies])

    @override
    async def fill(self, bodies: Sequence[bytes]) -> None:
        for start in range(0, len(bodies), BATCH):
            await self.push(bodies[start : start + BATCH])


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class Working:
    """A worker at work.

    Attributes:
        progress: how far it is.
        process: the child.
    """

    progress: Progress
    process: Child

    async def until(self, count: int, *, timeout_s: float) -> None:
        """Wait until so many were handled.

        Raises:
            RuntimeError: if the worker ends before.
            TimeoutError: with how far it came.
        """
        deadline = time.monotonic() + timeout_s
        while self.progress.count < count:
            if self.process.ended is not None:
                raise RuntimeError(f"the worker ended with {self.process.ended} after {self.progress.count} jobs")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.progress.count} of {count} jobs were handled in {timeout_s:.0f} s")
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def working(contestant: Contestant, url: str, scratch: Path, log: Path) -> AsyncIterator[Working]:
    """Start a worker; end it afterwards."""
    path = scratch / f"progress-{time.monotonic_ns()}"
    progress = Progress(path)
    command = contestant.worker(url)
    env = {**command.env, VARIABLE: str(path)}
    async with child(*command.line, log=log, env=env, talks=False) as process:
        yield Working(progress, process)


async def empty(connection: asyncpg.Connection, contestant: Contestant, *, timeout_s: float = 60.0) -> float:
    """Wait until a queue's table has no row; the monotonic time at which it was seen.

    Raises:
        TimeoutError: if rows stay.
    """
    async with asyncio.timeout(timeout_s):
        while await connection.fetchval(f"select exists (select from {contestant.table})"):
            await asyncio.sleep(0.002)
    return time.monotonic()


async def finished(line: Sequence[str]) -> None:
    """Run a command to its end.

    Raises:
        RuntimeError: if it fails.
    """
    process = await asyncio.create_subprocess_exec(*line, cwd=ROOT)
    if await process.wait():
        raise RuntimeError(f"{' '.join(line[:5])} failed with {process.returncode}")
