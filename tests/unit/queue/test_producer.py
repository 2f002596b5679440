"""Payloads become records and envelopes; nothing is sent where something does not fit."""

import pytest

from fluxa.kernel.errors import FluxaError
from fluxa.queue.backend import Delivery
from fluxa.queue.producer import Producer, packed
from fluxa.queue.registry import QueueSpec, Registry
from fluxa.testing.clock import ManualClock
from fluxa.testing.memory_queue import MemoryBackend
from making.events import make_record


class Sent:
    def __init__(self, **spec: int) -> None:
        self.clock = ManualClock()
        self.backend = MemoryBackend(self.clock)
        self.producer = Producer(self.backend, Registry([QueueSpec("jobs", **spec)]), self.clock)  # type: ignore[arg-type]  # numbers only

    async def claim(self) -> list[Delivery]:
        return await self.backend.claim("jobs", limit=100, lease_s=30)


async def test_payloads_travel_in_envelopes_of_the_queues_size() -> None:
    sent = Sent(envelope_records=2)
    await sent.backend.create("jobs")
    ids = await sent.producer.send("jobs", [{"n": 1}, b'{"n": 2}', [3]], headers={"from": "test"}, key="k")
    claimed = await sent.claim()
    assert [len(delivery.records) for delivery in claimed] == [2, 1]
    records = [record for delivery in claimed for record in delivery.records]
    assert [record.id for record in records] == ids
    assert [record.body for record in records] == [b'{"n":1}', b'{"n": 2}', b"[3]"]
    assert {record.key for record in records} == {"k"}
    assert len({record.correlation_id for record in records}) == 1
    assert records[0].correlation_id
    assert records[0].headers == {"from": "test"}


async def test_a_delay_and_ids_of_ones_own_are_kept() -> None:
    sent = Sent()
    await sent.backend.create("jobs")
    assert await sent.producer.send("jobs", [1, 2], ids=["a", "b"], delay_s=5, correlation_id="c") == ["a", "b"]
    assert not await sent.claim()
    sent.clock.advance(6)
    assert [delivery.records[0].correlation_id for delivery in await sent.claim()] == ["c", "c"]


async def test_what_does_not_fit_is_refused_whole() -> None:
    sent = Sent()
    await sent.backend.create("jobs")
    for payloads, ids in (([1, object()], None), ([1, 2], ["a"]), (["\ud800"], None)):
        with pytest.raises(FluxaError) as caught:
            await sent.producer.send("jobs", payloads, ids=ids)
        assert caught.value.code == "InvalidRequest"
    with pytest.raises(FluxaError, match="Did you mean jobs"):
        await sent.producer.send("job", [1])
    assert await sent.producer.send("jobs", []) == []
    assert not await sent.claim()


def test_large_bodies_do_not_share_an_envelope_beyond_the_engines_limit() -> None:
    records = [make_record(str(n)) for n in range(5)]
    size = len(records[0].body)
    assert [len(one.records) for one in packed(records, records_max=10, bytes_max=2 * size)] == [2, 2, 1]
    assert [len(one.records) for one in packed(records, records_max=10, bytes_max=1)] == [1] * 5
