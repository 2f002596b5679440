"""A worker on an engine: queues of the test's own, handlers as the test says, signals to wait for."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from fluxa.application import Fluxa
from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, QueueBackend
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.producer import Producer
from fluxa.queue.record import DeadLetter
from fluxa.queue.registry import QueueSpec, Registry
from fluxa.queue.worker.dispatcher import Dispatcher, DispatcherConfig
from fluxa.telemetry.catalogue import RecordsSettled
from fluxa.testing.memory_queue import MemoryBackend
from fluxa.testing.signals import Signals


@dataclass
class Workshop:
    """One engine, one application, and workers on demand."""

    backend: QueueBackend
    database: Database | None = None
    signals: Signals = field(default_factory=Signals)
    paused: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        self.use(Fluxa(Registry()))

    def use(self, app: Fluxa) -> None:
        """Work with this application from now on."""
        self.app = app
        self.producer = Producer(self.backend, app.registry, self.clock)

    @classmethod
    def in_memory(cls, database: Database | None = None) -> "Workshop":
        return cls(MemoryBackend(SystemClock()), database)

    @classmethod
    def on_pgmq(cls, database: Database) -> "Workshop":
        backend = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
        return cls(backend, database)

    async def add(self, spec: QueueSpec) -> None:
        self.app.queue(spec)
        await self.backend.create(spec.name)

    def dispatcher(self, config: DispatcherConfig | None = None) -> Dispatcher:
        return Dispatcher(
            backend=self.backend,
            registry=self.app.registry,
            handlers=self.app.handlers,
            database=self.database,
            clock=self.clock,
            hook=self.signals.hear,
            randomness=random.Random(7),  # noqa: S311 - spreads retries
            is_paused=self.paused.__contains__,
            config=config or DispatcherConfig(wait_s=0.05, stop_within_s=5.0),
        )

    @contextlib.asynccontextmanager
    async def running(self, config: DispatcherConfig | None = None) -> AsyncIterator[Dispatcher]:
        dispatcher = self.dispatcher(config)
        await dispatcher.start()
        try:
            yield dispatcher
        finally:
            await dispatcher.stop()

    async def empty(self, queue: str, *, timeout_s: float = 20.0) -> None:
        """Wait until the queue holds nothing, leased and delayed messages included."""
        async with asyncio.timeout(timeout_s):
            while (await self.backend.metrics(queue)).depth:  # noqa: ASYNC110 - the queue is no event
                await asyncio.sleep(0.01)

    async def ready(self, queue: str) -> int | None:
        return (await self.backend.metrics(queue)).ready

    async def dead(self, queue: str) -> list[DeadLetter]:
        return await self.backend.dead_letters(queue, DeadLetterFilter(), limit=1000)

    async def until(self, met: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not met():  # noqa: ASYNC110 - any condition
                await asyncio.sleep(0.005)

    def settled(self, queue: str) -> RecordsSettled:
        """All outcomes told so far, added up."""
        found = [one for one in self.signals.heard if isinstance(one, RecordsSettled) and one.queue == queue]
        return RecordsSettled(
            queue,
            done=sum(one.done for one in found),
            retried=sum(one.retried for one in found),
            parked=sum(one.parked for one in found),
            snoozed=sum(one.snoozed for one in found),
        )
