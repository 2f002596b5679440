"""Keeps leases alive while their work runs. Not: what happens to the work of a lease that was lost."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from fluxa.kernel.errors import FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.queue.backend import Delivery, QueueBackend

_Key = tuple[str, str, str]


class LeaseKeeper:
    """Renews the leases of the deliveries it holds, all in one call, every third of a lease.

    An outage is ridden out: what could not be renewed is tried again, three times as often, until the
    engine answers; whether the lease survived, the engine says then.

    Usage::

        async with LeaseKeeper(backend, lease_s=30, on_lost=cancel) as keeper:
            with keeper.holding(deliveries):
                await work()
    """

    def __init__(
        self,
        backend: QueueBackend,
        *,
        lease_s: float,
        on_lost: Callable[[Delivery], None] = lambda _delivery: None,
    ) -> None:
        self._backend = backend
        self._lease_s = lease_s
        self._on_lost = on_lost
        self._held: dict[_Key, Delivery] = {}
        self._lost: set[_Key] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="lease-keeper")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        await cancel_and_wait(task)

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """Renew these from now on."""
        for delivery in deliveries:
            self._held[_key(delivery)] = delivery

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Renew these no more: they are settled, or given up."""
        for delivery in deliveries:
            self._held.pop(_key(delivery), None)
            self._lost.discard(_key(delivery))

    @contextlib.contextmanager
    def holding(self, deliveries: Sequence[Delivery]) -> Iterator[None]:
        """`hold`, and `release` at the end of the block."""
        self.hold(deliveries)
        try:
            yield
        finally:
            self.release(deliveries)

    def is_lost(self, delivery: Delivery) -> bool:
        """Whether another worker was found to have it; what is done for it now will be rolled back."""
        return _key(delivery) in self._lost

    async def _run(self) -> None:
        pause_s = self._lease_s / 3
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._renew()
            except FluxaError:
                pause_s = self._lease_s / 9
            else:
                pause_s = self._lease_s / 3

    async def _renew(self) -> None:
        held = list(self._held.values())
        if not held:
            return
        for delivery in await self._backend.extend(held, lease_s=self._lease_s):
            key = _key(delivery)
            # It may have been settled and released while the engine was asked; then nothing was lost.
            if self._held.pop(key, None) is not None:
                self._lost.add(key)
                self._on_lost(delivery)


def _key(delivery: Delivery) -> _Key:
    # With the receipt: this process may claim again what it lost, while its old claim is not yet given up.
    return delivery.queue, delivery.message_id, delivery.receipt
