"""Settles what handlers finished, many deliveries at once: while one settle runs, the next ones gather.

Not: what the outcomes are (calls).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import FluxaError, RetryClass
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.queue.backend import Delivery, QueueBackend, Settlement
from fluxa.queue.worker.calls.steps import offset_s, settlement_moved
from fluxa.queue.worker.limits.outage import Outage
from fluxa.resilience import backoff

Told = Callable[[Settlement, bool], None]
"""Hears of a settlement once it is over, and whether it was carried out; if not, another worker has the message."""

_AT_ONCE_MAX = 2000
_SLOW_S = 0.2
"""A settle that takes longer holds up its own queues only: another may run beside it."""
_BESIDE_MAX = 4


class _Waiting(NamedTuple):
    """What is to be settled, who hears of it, and how far the time of day was ahead when it was put here."""

    settlement: Settlement
    told: Told
    offset_s: float


class Settler:
    """Gathers settlements of all queues. An outage is waited out; leases are renewed by others meanwhile."""

    def __init__(self, backend: QueueBackend, *, outage: Outage, clock: Clock, chance: Callable[[], float]) -> None:
        self._backend = backend
        self._outage = outage
        self._clock = clock
        self._chance = chance
        self._pending: dict[str, list[_Waiting]] = {}
        self._busy: set[str] = set()
        self._running: dict[asyncio.Task[None], float] = {}

    def put(self, settlement: Settlement, told: Told) -> None:
        """Settle this soon; returns at once."""
        self._pending.setdefault(settlement.delivery.queue, []).append(
            _Waiting(settlement, told, offset_s(self._clock))
        )
        if not self._running:
            self._launch()

    def look(self) -> None:
        """Do not let a slow settle hold up the queues that are not in it."""
        if self._pending and len(self._running) < _BESIDE_MAX:
            now_s = self._clock.monotonic()
            if all(now_s - began_s > _SLOW_S for began_s in self._running.values()):
                self._launch()

    async def stop(self) -> None:
        """Give up what is not settled; its leases end by themselves, or are ended by whoever holds them."""
        for task in list(self._running):
            await cancel_and_wait(task)

    def _launch(self) -> None:
        task = asyncio.create_task(self._run(), name="settler")
        self._running[task] = self._clock.monotonic()

    async def _run(self) -> None:
        # Collected only now: what ended in the same moment goes along.
        group: list[_Waiting] = []
        queues = [queue for queue in self._pending if queue not in self._busy]
        for queue in queues:
            waiting = self._pending.pop(queue)
            group += waiting[:_AT_ONCE_MAX]
            if len(waiting) > _AT_ONCE_MAX:
                self._pending[queue] = waiting[_AT_ONCE_MAX:]
        self._busy.update(queues)
        try:
            if group:
                await self._settle(group)
        finally:
            self._busy.difference_update(queues)
            task = asyncio.current_task()
            if task is not None:
                self._running.pop(task, None)
        if not self._busy.issuperset(self._pending):
            self._launch()

    async def _settle(self, group: Sequence[_Waiting]) -> None:
        failures = 0
        while True:
            try:
                now_s = offset_s(self._clock)
                lost = await self._backend.settle(
                    [settlement_moved(one.settlement, now_s - one.offset_s) for one in group]
                )
            except Exception as error:  # noqa: BLE001 - nothing that happens here may lose an outcome
                if isinstance(error, FluxaError) and error.retry is RetryClass.TRANSIENT:
                    failures += 1
                    if failures > 1:  # the first may be a deadlock, which a repeat ends
                        self._outage.failed(error.detail)
                    await asyncio.sleep(backoff.pause_s(failures, self._chance()))
                    continue
                await self._refused(group, error)
                return
            self._outage.worked()
            self._tell(group, lost)
            return

    async def _refused(self, group: Sequence[_Waiting], error: Exception) -> None:
        """The engine will not have it, whatever is repeated: find the one it is about, and settle the others."""
        if len(group) > 1:
            middle = len(group) // 2
            await self._settle(group[:middle])
            await self._settle(group[middle:])
            return
        delivery = group[0].settlement.delivery
        self._outage.failed(f"{delivery.queue}: {type(error).__name__}: {error}")
        # Its lease runs out, and the one who claims it next counts a crash: it is parked in the end, not lost.
        self._tell(group, [delivery])

    def _tell(self, group: Sequence[_Waiting], lost: Sequence[Delivery]) -> None:
        gone = {(delivery.queue, delivery.message_id, delivery.receipt) for delivery in lost}
        for one in group:
            delivery = one.settlement.delivery
            is_lost = bool(gone) and (delivery.queue, delivery.message_id, delivery.receipt) in gone
            one.told(one.settlement, not is_lost)
