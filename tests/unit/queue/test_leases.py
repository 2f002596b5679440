"""The lease keeper: renews in time and together, rides out an outage, names what was lost."""

import asyncio
import datetime as dt
from collections.abc import Sequence

import pytest
from typing_extensions import override

from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import DatabaseUnavailableError
from fluxa.queue.backend import Delivery, Envelope, Settlement
from fluxa.queue.outcome import DONE
from fluxa.queue.record import Record
from fluxa.queue.worker.leases import LeaseKeeper
from fluxa.testing.memory_queue import MemoryBackend

_LEASE_S = 0.3


class _Seen(MemoryBackend):
    """Tells of every renewal, and fails the first ones if asked to."""

    def __init__(self, *, outages: int = 0) -> None:
        super().__init__(SystemClock())
        self.outages = outages
        self.renewals: asyncio.Queue[int] = asyncio.Queue()

    @override
    async def extend(self, deliveries: Sequence[Delivery], *, lease_s: float) -> list[Delivery]:
        if self.outages:
            self.outages -= 1
            raise DatabaseUnavailableError
        lost = await super().extend(deliveries, lease_s=lease_s)
        self.renewals.put_nowait(len(deliveries))
        return lost


async def _claimed(backend: MemoryBackend, count: int, lease_s: float = _LEASE_S) -> list[Delivery]:
    await backend.create("q")
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    await backend.send("q", [Envelope((Record(id=str(n), body=b"", created_at=now),)) for n in range(count)])
    return await backend.claim("q", limit=count, lease_s=lease_s)


async def _renewed(backend: _Seen, times: int) -> list[int]:
    async with asyncio.timeout(10):
        return [await backend.renewals.get() for _ in range(times)]


@pytest.mark.req("QUEUE-3")
async def test_leases_outlive_themselves_while_work_runs() -> None:
    backend = _Seen()
    claimed = await _claimed(backend, 3)
    async with LeaseKeeper(backend, lease_s=_LEASE_S) as keeper:
        with keeper.holding(claimed):
            assert await _renewed(backend, 5) == [3] * 5
            assert await backend.claim("q", limit=9, lease_s=1) == []
            assert await backend.settle([Settlement(one, (DONE,)) for one in claimed]) == []


@pytest.mark.req("QUEUE-3")
async def test_what_another_worker_took_is_named_once_and_not_renewed() -> None:
    backend = _Seen()
    claimed = await _claimed(backend, 2, lease_s=0)
    stolen = await backend.claim("q", limit=1, lease_s=60)
    lost: list[Delivery] = []
    async with LeaseKeeper(backend, lease_s=_LEASE_S, on_lost=lost.append) as keeper:
        keeper.hold(claimed)
        assert await _renewed(backend, 3) == [2, 1, 1]
        assert [one.message_id for one in lost] == [one.message_id for one in stolen]
        assert [keeper.is_lost(one) for one in claimed] == [True, False]
        keeper.release(claimed)
        assert not keeper.is_lost(claimed[0])


@pytest.mark.req("QUEUE-3")
async def test_an_outage_is_tried_again_before_the_lease_ends() -> None:
    backend = _Seen(outages=2)
    claimed = await _claimed(backend, 1)
    async with LeaseKeeper(backend, lease_s=_LEASE_S) as keeper:
        keeper.hold(claimed)
        assert await _renewed(backend, 2) == [1, 1]
        assert not keeper.is_lost(claimed[0])


async def test_with_nothing_in_hand_the_engine_is_left_alone() -> None:
    backend = _Seen()
    async with LeaseKeeper(backend, lease_s=0.03) as keeper:
        keeper.hold(await _claimed(backend, 1))
        await _renewed(backend, 1)
        keeper.release([])
        keeper.release(list(keeper._held.values()))
        await asyncio.sleep(0.05)
        assert backend.renewals.empty()
