"""The same engine on another server, moto, which differs where Amazon leaves room: visibility, FIFO, batches."""

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator

import pytest

from aws.queues import make_backend
from aws.servers import Program
from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, Envelope, KeyRule, Settlement
from fluxa.queue.backends.sqs import Sqs, SqsBackend
from fluxa.queue.outcome import DONE, Dead, Retry, Snooze
from fluxa.queue.record import Record

pytestmark = pytest.mark.req("QUEUE-1", "QUEUE-3", "QUEUE-5")
_KEYS = {"ordered": KeyRule(ordered=True)}


@pytest.fixture
async def backend(moto: Program, database: Database) -> AsyncIterator[SqsBackend]:
    sqs = Sqs(dataclasses.replace(moto.sqs, prefix=f"t{uuid.uuid4().hex[:8]}-"))
    await sqs.start()
    try:
        backend = make_backend(sqs, database, SystemClock(), keys=_KEYS)
        await backend.create("plain")
        await backend.create("ordered")
        yield backend
    finally:
        await sqs.stop()


def _envelope(*names: str, key: str | None = None) -> Envelope:
    now = SystemClock().now()
    return Envelope(tuple(Record(id=name, body=b'{"a": 1}', created_at=now, key=key) for name in names))


async def test_many_are_sent_claimed_and_settled_in_batches(backend: SqsBackend) -> None:
    await backend.send("plain", [_envelope(str(n)) for n in range(25)])
    claimed = await backend.claim("plain", limit=25, lease_s=30, wait_s=2)
    assert sorted(int(one.records[0].id) for one in claimed) == list(range(25))
    assert await backend.extend(claimed, lease_s=60) == []
    assert await backend.settle([Settlement(one, (DONE,)) for one in claimed]) == []
    assert (await backend.metrics("plain")).depth == 0


async def test_each_record_of_an_envelope_has_its_own_ending(backend: SqsBackend) -> None:
    await backend.send("plain", [_envelope("done", "retry", "dead", "snooze")])
    (delivery,) = await backend.claim("plain", limit=1, lease_s=30, wait_s=2)
    now = SystemClock().now()
    outcomes = (DONE, Retry(now, "HandlerError", "once"), Dead("PayloadMissing", "gone"), Snooze(now))
    assert await backend.settle([Settlement(delivery, outcomes)]) == []
    again = await backend.claim("plain", limit=10, lease_s=30, wait_s=2)
    assert {one.records[0].id: one.records[0].attempt for one in again} == {"retry": 1, "snooze": 0}
    (letter,) = await backend.dead_letters("plain", DeadLetterFilter(), limit=9)
    assert await backend.redrive("plain", [letter.message_id]) == 1
    (back,) = await backend.claim("plain", limit=10, lease_s=30, wait_s=2)
    assert (back.records[0].id, back.records[0].redrives) == ("dead", 1)


async def test_a_lease_that_ran_out_is_another_workers(backend: SqsBackend) -> None:
    await backend.send("plain", [_envelope("a")])
    (late,) = await backend.claim("plain", limit=1, lease_s=1, wait_s=2)
    async with asyncio.timeout(10):
        while not (current := await backend.claim("plain", limit=1, lease_s=30, wait_s=1)):
            pass
    assert current[0].received_count == 2
    # moto takes any receipt handle that was ever good, as Amazon may: the clock here is what tells.
    retry = Retry(SystemClock().now(), "HandlerError", "")
    assert await backend.settle([Settlement(late, (retry,))]) == [late]
    assert await backend.settle([Settlement(current[0], (DONE,))]) == []
    assert (await backend.metrics("plain")).depth == 0


async def test_of_a_key_one_is_given_out_at_a_time_in_order(backend: SqsBackend) -> None:
    await backend.send("ordered", [_envelope(name, key=name[0]) for name in ("a1", "a2", "b1", "a3")])
    claimed = await backend.claim("ordered", limit=10, lease_s=30, wait_s=2)
    assert sorted(one.records[0].id for one in claimed) == ["a1", "b1"]
    assert await backend.claim("ordered", limit=10, lease_s=30) == []
    a1 = next(one for one in claimed if one.records[0].id == "a1")
    assert await backend.settle([Settlement(a1, (Retry(SystemClock().now(), "HandlerError", "once"),))]) == []
    (again,) = await backend.claim("ordered", limit=10, lease_s=30, wait_s=2)
    assert (again.records[0].id, again.records[0].attempt, again.received_count) == ("a1", 1, 1)
    assert await backend.settle([Settlement(again, (DONE,))]) == []
    (after,) = await backend.claim("ordered", limit=10, lease_s=30, wait_s=2)
    assert after.records[0].id == "a2"
