"""PGMQ's own Python client and Fluxa share queues: each understands what the other sends (QUEUE-1)."""

import datetime as dt
import json
from collections.abc import Iterator

import pytest
from pgmq import PGMQueue
from pgmq.messages import Message
from psycopg_pool import ConnectionPool

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, Envelope, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.outcome import DONE, Dead
from fluxa.queue.record import Record

pytestmark = pytest.mark.req("QUEUE-1")

_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def client(database_url: str) -> Iterator[PGMQueue]:
    """The client as its users have it, on the test's database."""
    with ConnectionPool(database_url, min_size=1, max_size=2, open=True) as pool:
        yield PGMQueue(pool=pool, init_extension=False)


@pytest.fixture
async def backend(database: Database) -> PgmqBackend:
    """Fluxa on the same database."""
    return PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())


def _read(client: PGMQueue, queue: str) -> Message:
    message = client.read(queue, vt=30)
    assert isinstance(message, Message)
    return message


async def test_fluxa_understands_what_the_client_sends_to_a_queue_it_made(
    backend: PgmqBackend, client: PGMQueue
) -> None:
    client.create_queue("orders")
    await backend.create("orders")
    ids = client.send_batch("orders", [{"order": 7}, {"order": "ü"}])
    claimed = await backend.claim("orders", limit=9, lease_s=30)
    assert [int(delivery.message_id) for delivery in claimed] == ids
    assert [json.loads(delivery.records[0].body) for delivery in claimed] == [{"order": 7}, {"order": "ü"}]
    assert await backend.settle([Settlement(delivery, (DONE,)) for delivery in claimed]) == []
    assert client.metrics("orders").queue_length == 0


async def test_the_client_reads_an_envelope_of_one_and_deletes_it(backend: PgmqBackend, client: PGMQueue) -> None:
    await backend.create("orders")
    body = '{"amount": 1.0, "who": "ü"}'
    await backend.send("orders", [Envelope((Record(id="a", body=body.encode(), created_at=_NOW),))])
    message = _read(client, "orders")
    assert (message.message["id"], message.message["body"]) == ("a", body)
    assert await backend.claim("orders", limit=9, lease_s=30) == []
    assert client.delete("orders", message.msg_id)


@pytest.mark.req("QUEUE-3")
async def test_what_the_client_read_again_fluxa_can_no_longer_settle(backend: PgmqBackend, client: PGMQueue) -> None:
    await backend.create("orders")
    client.send("orders", {"order": 7})
    (delivery,) = await backend.claim("orders", limit=1, lease_s=0)
    assert client.read("orders", vt=30) is not None
    assert await backend.settle([Settlement(delivery, (DONE,))]) == [delivery]


@pytest.mark.req("QUEUE-8")
async def test_the_client_reads_a_dead_letter_and_why_it_is_there(backend: PgmqBackend, client: PGMQueue) -> None:
    await backend.create("orders")
    client.send("orders", {"order": 7})
    (delivery,) = await backend.claim("orders", limit=1, lease_s=30)
    await backend.settle([Settlement(delivery, (Dead("PayloadMissing", "no such object"),))])
    letter = _read(client, "orders_dlq")
    assert json.loads(letter.message["body"]) == {"order": 7}
    headers = letter.headers or {}
    assert (headers["queue"], headers["code"], headers["retry"]) == ("orders", "PayloadMissing", "permanent")
    assert (headers["reason"], headers["attempts"], headers["readable"]) == ("no such object", 1, True)
    assert {"first_failed_at", "last_failed_at", "redrives"} <= headers.keys()


@pytest.mark.req("QUEUE-8")
async def test_a_letter_that_the_client_put_there_is_listed_and_can_go_back(
    backend: PgmqBackend, client: PGMQueue
) -> None:
    await backend.create("orders")
    client.send("orders_dlq", {"order": 7})
    (letter,) = await backend.dead_letters("orders", DeadLetterFilter(), limit=9)
    assert "another program" in letter.reason
    assert await backend.redrive("orders", [letter.message_id]) == 1
    (delivery,) = await backend.claim("orders", limit=1, lease_s=30)
    assert json.loads(delivery.records[0].body) == {"order": 7}


@pytest.mark.req("PIPE-3")
async def test_a_body_altered_through_the_database_is_a_hash_mismatch(backend: PgmqBackend, database: Database) -> None:
    await backend.create("orders")
    await backend.send("orders", [Envelope((Record(id="a", body=b'{"amount": 1}', created_at=_NOW),))])
    await database.execute("""update pgmq.q_orders set message = jsonb_set(message, '{body}', '"{\\"amount\\": 9}"')""")
    (delivery,) = await backend.claim("orders", limit=1, lease_s=30)
    assert delivery.defect is not None
    assert delivery.defect.code == "HashMismatch"
    assert delivery.records == ()
