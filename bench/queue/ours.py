"""Fluxa as a contestant: its producer, and `fluxa worker` as a process."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence

from typing_extensions import override

from bench.processes import python
from bench.queue import jobs
from bench.queue.contestants import Command, Contestant, Producer
from fluxa.apps.engines import open_queues
from fluxa.apps.settings import Settings
from fluxa.kernel.clock import Clock, SystemClock
from fluxa.kernel.ids import uuid7
from fluxa.kernel.lifecycle import Lifetime
from fluxa.postgres.listen import Notifier
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backend import Envelope
from fluxa.queue.envelope import encode
from fluxa.queue.producer import Producer as FluxaProducer
from fluxa.queue.record import Record

_FILL = 50_000
"""Jobs given to the producer at once when a queue is filled: it packs them itself."""


class OurProducer(Producer):
    """`fluxa.queue.producer`, with wake-ups as a service has them."""

    def __init__(self, producer: FluxaProducer, queue: str) -> None:
        self._producer = producer
        self._queue = queue

    @override
    async def push(self, bodies: Sequence[bytes]) -> None:
        await self._producer.send(self._queue, bodies)

    @override
    async def fill(self, bodies: Sequence[bytes]) -> None:
        for start in range(0, len(bodies), _FILL):
            await self._producer.send(self._queue, bodies[start : start + _FILL])

    async def send_named(self, name: str, body: bytes) -> None:
        """Send one job under a name of ours."""
        await self._producer.send(self._queue, [body], ids=[name])


class Ours(Contestant):
    """One of the queues of `bench.queue.jobs`."""

    def __init__(self, name: str, settings: str, queue: str) -> None:
        self._name = name
        self._settings = settings
        self.queue = queue

    @property
    @override
    def name(self) -> str:
        return self._name

    @property
    @override
    def settings(self) -> str:
        return self._settings

    @property
    @override
    def table(self) -> str:
        return f"pgmq.q_{self.queue}"

    @override
    async def install(self, url: str) -> None:
        life = Lifetime()
        database = Database(PoolConfig(url=url, size_max=1))
        try:
            await life.start(database)
            backend = await open_queues(life, Settings(database_url=url), database)
            await backend.create(self.queue)
        finally:
            await life.stop()

    @override
    @contextlib.asynccontextmanager
    async def producer(self, url: str) -> AsyncIterator[OurProducer]:
        database = Database(PoolConfig(url=url, application="fluxa-bench", size_max=3))
        notifier, life = Notifier(database), Lifetime()
        try:
            await life.start(database)
            await life.start(notifier)
            backend = await open_queues(life, Settings(database_url=url), database, notifier=notifier)
            yield OurProducer(FluxaProducer(backend, jobs.app.registry, SystemClock()), self.queue)
        finally:
            await life.stop()

    @override
    def worker(self, url: str) -> Command:
        env = {
            "FLUXA_DATABASE_URL": url,
            "FLUXA_WORKER_PORT": "0",
            "FLUXA_LOG_LEVEL": "warning",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        line = python("-m", "fluxa", "worker", "--app", "bench.queue.jobs:app", "--queues", self.queue)
        return Command(line, env)


PACKED = Ours(
    "fluxa",
    "`fluxa worker`, one process; a producer's envelopes of 500, one handler call a job with a typed body; digests "
    "checked, leases renewed, acknowledgements fenced, retries, dead letters",
    jobs.SINGLE,
)
BATCHED = Ours("fluxa, batch handler", "the same with the batch form: up to 1000 jobs a call", jobs.BATCH)
ONES = Ours("fluxa, envelopes of one", "the same as the first with one job a message", jobs.ONES)


def texts(bodies: Sequence[bytes], numbers: Iterable[int], *, clock: Clock, records: int) -> list[str]:
    """Messages as the producer makes them, each of so many records with ids of their own.

    Args:
        bodies: taken in turns.
        numbers: one for each message.
        clock: when they are sent.
        records: in each message.
    """
    now, made = clock.now(), []
    for number in numbers:
        start = number * records
        envelope = tuple(
            Record(id=uuid7(), body=bodies[place % len(bodies)], created_at=now, correlation_id="bench")
            for place in range(start, start + records)
        )
        made.append(encode(Envelope(envelope)))
    return made
