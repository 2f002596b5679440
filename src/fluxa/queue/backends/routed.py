"""One `QueueBackend` over several: each queue has its engine. Not: which queue has which (settings)."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence

from fluxa.postgres.transaction import Transaction
from fluxa.queue.backend import (
    Capabilities,
    DeadLetterFilter,
    DeadSummary,
    Delivery,
    Envelope,
    ParkedText,
    QueueBackend,
    QueueMetrics,
    Settlement,
    SlowFacts,
)
from fluxa.queue.record import DeadLetter


class RoutedBackend:
    """Sends each verb to the engine of its queue.

    Args:
        default: the engine of queues that are not named.
        engines: the engine of those that are, by queue.
    """

    def __init__(self, default: QueueBackend, engines: Mapping[str, QueueBackend]) -> None:
        self._default = default
        self._engines = dict(engines)

    def engine_of(self, queue: str) -> QueueBackend:
        """The engine of a queue."""
        return self._engines.get(queue, self._default)

    @property
    def capabilities(self) -> Capabilities:
        """What all of the engines can do."""
        each = [engine.capabilities for engine in (self._default, *self._engines.values())]
        return Capabilities(
            transactional_send=all(one.transactional_send for one in each),
            transactional_settle=all(one.transactional_settle for one in each),
            max_message_bytes=min(one.max_message_bytes for one in each),
            max_delay_s=min(one.max_delay_s for one in each),
        )

    def capabilities_of(self, queue: str) -> Capabilities:
        """What the queue's engine can do."""
        return self.engine_of(queue).capabilities_of(queue)

    async def create(self, queue: str) -> None:
        """As `QueueBackend.create`."""
        await self.engine_of(queue).create(queue)

    async def send(
        self,
        queue: str,
        envelopes: Sequence[Envelope],
        *,
        delay_s: float = 0.0,
        tx: Transaction | None = None,
    ) -> list[str]:
        """As `QueueBackend.send`."""
        return await self.engine_of(queue).send(queue, envelopes, delay_s=delay_s, tx=tx)

    async def claim(self, queue: str, *, limit: int, lease_s: float, wait_s: float = 0.0) -> list[Delivery]:
        """As `QueueBackend.claim`."""
        return await self.engine_of(queue).claim(queue, limit=limit, lease_s=lease_s, wait_s=wait_s)

    async def settle(self, settlements: Sequence[Settlement], *, tx: Transaction | None = None) -> list[Delivery]:
        """As `QueueBackend.settle`, for each engine by itself: one that fails keeps the others from nothing."""
        by_engine: dict[int, list[Settlement]] = {}
        for one in settlements:
            by_engine.setdefault(id(self.engine_of(one.delivery.queue)), []).append(one)
        if tx is not None:  # one connection: one after the other
            done = [await self._engine(some).settle(some, tx=tx) for some in by_engine.values()]
        else:
            done = await _each(self._engine(some).settle(some) for some in by_engine.values())
        lost = [delivery for part in done for delivery in part]
        return [one.delivery for one in settlements if one.delivery in lost]

    def _engine(self, settlements: Sequence[Settlement]) -> QueueBackend:
        return self.engine_of(settlements[0].delivery.queue)

    async def extend(self, deliveries: Sequence[Delivery], *, lease_s: float) -> list[Delivery]:
        """As `QueueBackend.extend`, for each engine by itself."""
        by_engine: dict[int, list[Delivery]] = {}
        for one in deliveries:
            by_engine.setdefault(id(self.engine_of(one.queue)), []).append(one)
        done = await _each(self.engine_of(some[0].queue).extend(some, lease_s=lease_s) for some in by_engine.values())
        lost = [delivery for part in done for delivery in part]
        return [one for one in deliveries if one in lost]

    async def metrics(self, queue: str) -> QueueMetrics:
        """As `QueueBackend.metrics`."""
        return await self.engine_of(queue).metrics(queue)

    async def why_slow(self, queue: str) -> SlowFacts:
        """As `QueueBackend.why_slow`."""
        return await self.engine_of(queue).why_slow(queue)

    async def dead_letters(
        self, queue: str, which: DeadLetterFilter, *, limit: int, after: str | None = None
    ) -> list[DeadLetter]:
        """As `QueueBackend.dead_letters`."""
        return await self.engine_of(queue).dead_letters(queue, which, limit=limit, after=after)

    async def redrive(self, queue: str, message_ids: Sequence[str], *, tx: Transaction | None = None) -> int:
        """As `QueueBackend.redrive`."""
        return await self.engine_of(queue).redrive(queue, message_ids, tx=tx)

    async def purge(self, queue: str, message_ids: Sequence[str]) -> int:
        """As `QueueBackend.purge`."""
        return await self.engine_of(queue).purge(queue, message_ids)

    async def summarize_dead(self, queue: str, which: DeadLetterFilter) -> DeadSummary:
        """As `QueueBackend.summarize_dead`."""
        return await self.engine_of(queue).summarize_dead(queue, which)

    async def withdraw(
        self, queue: str, message_ids: Sequence[str], *, tx: Transaction | None = None
    ) -> list[DeadLetter]:
        """As `QueueBackend.withdraw`."""
        return await self.engine_of(queue).withdraw(queue, message_ids, tx=tx)

    async def park(self, queue: str, parked: Sequence[ParkedText], *, tx: Transaction | None = None) -> list[str]:
        """As `QueueBackend.park`."""
        return await self.engine_of(queue).park(queue, parked, tx=tx)


async def _each(work: Iterable[Awaitable[list[Delivery]]]) -> list[list[Delivery]]:
    """All results, or the first error once all have ended."""
    done: list[list[Delivery]] = []
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done
