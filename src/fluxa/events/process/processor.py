"""The processor as a service: its lanes, so that one decodes while Postgres commits another's batch."""

import asyncio
import random
from collections.abc import Callable

from fluxa.events.partitions import Partitions
from fluxa.events.process.lane import Lane, ProcessorConfig, Shared
from fluxa.events.process.persist import Persister
from fluxa.events.process.solitude import Solitude
from fluxa.events.process.standing import Standing
from fluxa.events.process.verify import Verifier
from fluxa.events.schema_check import SchemaCheck
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres.pool import Database
from fluxa.providers.object_store import ObjectStore
from fluxa.queue.backend import QueueBackend
from fluxa.queue.health.reports import QueueReport
from fluxa.queue.worker.limits.outage import Outage
from fluxa.telemetry.catalogue import Hook

_STALLED_S = 600.0
"""Longer than any batch takes whose large data comes slowly."""

__all__ = ["Processor", "ProcessorConfig"]


def _never(_queue: str) -> bool:
    return False


class Processor:
    """Takes events from the queue and stores each exactly once, or parks it. A `Service`.

    While `is_paused` says so of its queue it claims nothing; what it has in hand it finishes.
    """

    def __init__(
        self,
        *,
        database: Database,
        backend: QueueBackend,
        objects: ObjectStore,
        schemas: SchemaCheck,
        clock: Clock,
        hook: Hook,
        randomness: random.Random,
        is_paused: Callable[[str], bool] = _never,
        config: ProcessorConfig | None = None,
    ) -> None:
        self._config = config = config or ProcessorConfig()
        self._shared = Shared(
            config=config,
            backend=backend,
            verifier=Verifier(objects=objects, schemas=schemas, default_tenant=config.default_tenant),
            persister=Persister(
                database=database,
                backend=backend,
                partitions=Partitions(database),
                policy=config.policy,
                clock=clock,
                randomness=randomness,
                lease_s=config.lease_s,
            ),
            outage=Outage("postgres", clock=clock, hook=hook),
            solitude=Solitude(config.lanes),
            standing=Standing(config.queue, clock),
            is_paused=is_paused,
            stopping=asyncio.Event(),
            clock=clock,
            chance=randomness.random,
            hook=hook,
        )
        self._workers: list[Lane] = []
        self._lanes: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Make the queue if it is new, and begin.

        Raises:
            DatabaseUnavailableError: an outage.
        """
        if self._lanes:
            return
        await self._shared.backend.create(self._config.queue)
        self._shared.stopping.clear()
        self._workers = [Lane(self._shared) for _ in range(self._config.lanes)]
        self._lanes = [
            asyncio.create_task(lane.run(), name=f"processor-lane-{number}")
            for number, lane in enumerate(self._workers, start=1)
        ]

    async def stop(self) -> None:
        """Finish what was begun within the time for it; give the rest back to the queue at once."""
        lanes, self._lanes = self._lanes, []
        self._shared.stopping.set()
        if lanes:
            await asyncio.wait(lanes, timeout=self._config.stop_within_s)
        for lane in lanes:
            await cancel_and_wait(lane)

    def reports(self) -> list[QueueReport]:
        """How it fares with its queue."""
        return [self._shared.standing.report()]

    async def check(self) -> None:
        """Raise if a lane ended, or neither asked for work nor tried to store any for ten minutes.

        An outage of Postgres is no such thing: the lanes keep trying.

        Raises:
            FluxaError: `Internal`, naming the lane.
        """
        now_s = self._shared.clock.monotonic()
        for number, (lane, task) in enumerate(zip(self._workers, self._lanes, strict=False), start=1):
            idle_s = now_s - lane.moved_s
            if task.done() or idle_s > _STALLED_S:
                how = "has ended" if task.done() else f"has not moved for {idle_s:.0f} s"
                raise FluxaError(ErrorCode.INTERNAL, f"Lane {number} of the processor {how}; restart the process.")
