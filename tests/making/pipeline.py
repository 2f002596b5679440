"""The processor on a real queue and database, with an object store and schemas that tests can upset."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from fluxa.events.carriage import QUEUE
from fluxa.events.event import Event
from fluxa.events.process.processor import Processor, ProcessorConfig
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, Envelope
from fluxa.queue.backends.pgmq.backend import PgmqBackend
from fluxa.queue.record import DeadLetter, Record
from fluxa.testing.signals import Signals


class Objects:
    """An object store in memory that can be out of order, slow, or altered."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.fails: list[Exception] = []
        self.gate: asyncio.Event | None = None
        self.asked = asyncio.Event()

    async def put(self, key: str, content: bytes) -> None:
        self.content.setdefault(key, content)

    async def get(self, key: str) -> bytes:
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise self.fails.pop(0)
        if key not in self.content:
            raise FluxaError(ErrorCode.PAYLOAD_MISSING, f"{key} is not there")
        return self.content[key]

    async def check(self) -> None:
        pass


class NumbersOnly:
    """A schema check that refuses the type `strict` unless the data is a number."""

    async def check(self, event: Event, data: bytes | None) -> None:
        if event.type == "strict" and not (data or b"").isdigit():
            raise FluxaError(ErrorCode.SCHEMA_VALIDATION, "is not a number", pointer="/data")


@dataclass
class Pipeline:
    """One database with its queue, and processors on demand."""

    database: Database
    signals: Signals = field(default_factory=Signals)
    objects: Objects = field(default_factory=Objects)

    def __post_init__(self) -> None:
        self.clock = SystemClock()
        self.backend = self.backend_on(self.database)
        self.is_paused: Callable[[str], bool] = lambda _queue: False

    def backend_on(self, database: Database) -> PgmqBackend:
        return PgmqBackend(database, listener=None, notifier=None, clock=self.clock)

    def processor(self, config: ProcessorConfig | None = None, *, database: Database | None = None) -> Processor:
        used = database or self.database
        return Processor(
            database=used,
            backend=self.backend_on(used),
            objects=self.objects,
            schemas=NumbersOnly(),
            clock=self.clock,
            hook=self.signals.hear,
            randomness=random.Random(7),  # noqa: S311 - spreads retries
            is_paused=self.is_paused,
            config=config or ProcessorConfig(wait_s=0.05),
        )

    @contextlib.asynccontextmanager
    async def running(self, config: ProcessorConfig | None = None) -> AsyncIterator[Processor]:
        processor = self.processor(config)
        await processor.start()
        try:
            yield processor
        finally:
            await processor.stop()

    async def send(self, *envelopes: Sequence[Record]) -> list[str]:
        await self.backend.create(QUEUE)
        return await self.backend.send(QUEUE, [Envelope(tuple(records)) for records in envelopes])

    async def empty(self, *, timeout_s: float = 20.0) -> None:
        """Wait until the queue holds nothing."""

        async def is_empty() -> bool:
            return (await self.backend.metrics(QUEUE)).depth == 0

        async with asyncio.timeout(timeout_s):
            while not await is_empty():  # noqa: ASYNC110 - the queue is a table, not an event
                await asyncio.sleep(0.01)

    async def stored(self) -> Counter[str]:
        rows = await self.database.fetch("select id, count(*) as times from fluxa.events group by id")
        return Counter({row["id"]: row["times"] for row in rows})

    async def dead(self) -> list[DeadLetter]:
        return await self.backend.dead_letters(QUEUE, DeadLetterFilter(), limit=1000)

    async def until(self, met: Callable[[], bool], *, timeout_s: float = 10.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not met():  # noqa: ASYNC110 - any condition
                await asyncio.sleep(0.01)
