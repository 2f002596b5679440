"""What is particular to PGMQ: one round trip a verb, transactions of the caller, names, announcements."""

import datetime as dt
from collections.abc import AsyncIterator

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import FluxaError, LeaseLostError
from fluxa.postgres.listen import Listener, Notifier
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backend import DeadLetterFilter, Envelope, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.outcome import DONE, Dead, Retry, Snooze
from fluxa.queue.record import Record

_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def _record(name: str) -> Record:
    return Record(id=name, body=b'{"of":"%s"}' % name.encode(), created_at=_NOW)


@pytest.fixture
async def seen() -> list[str]:
    """The statements that were sent."""
    return []


@pytest.fixture
async def backend(database_url: str, seen: list[str]) -> AsyncIterator[PgmqBackend]:
    """A backend whose statements are seen."""
    database = Database(PoolConfig(url=database_url), probe=seen.append)
    await database.start()
    engine = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
    await engine.create("orders")
    seen.clear()
    yield engine
    await database.stop()


@pytest.mark.req("QUEUE-1")
async def test_each_verb_is_one_statement_however_many_records(backend: PgmqBackend, seen: list[str]) -> None:
    envelopes = [Envelope(tuple(_record(f"{n}-{m}") for m in range(20))) for n in range(30)]
    ids = await backend.send("orders", envelopes)
    assert len(seen) == 1
    claimed = await backend.claim("orders", limit=100, lease_s=30)
    assert [delivery.message_id for delivery in claimed] == ids
    seen.clear()
    assert await backend.extend(claimed, lease_s=60) == []
    assert len(seen) == 1
    seen.clear()
    outcomes = (DONE,) * 17 + (Retry(_NOW, "HandlerError", "once"), Snooze(_NOW), Dead("PayloadMissing", "gone"))
    assert await backend.settle([Settlement(delivery, outcomes) for delivery in claimed]) == []
    assert len(seen) == 1
    state = await backend.metrics("orders")
    assert (state.depth, state.dead) == (60, 30)


@pytest.mark.req("QUEUE-3", "PIPE-4")
async def test_a_lost_lease_inside_a_transaction_undoes_all_of_it(backend: PgmqBackend, database: Database) -> None:
    await backend.send("orders", [Envelope((_record("a"),)), Envelope((_record("b"),))])
    claimed = await backend.claim("orders", limit=2, lease_s=30)
    assert await backend.settle([Settlement(claimed[0], (DONE,))]) == []
    with pytest.raises(LeaseLostError):
        async with database.transaction() as tx:
            await backend.settle([Settlement(delivery, (DONE,)) for delivery in claimed], tx=tx)
    assert (await backend.metrics("orders")).depth == 1


async def _send_and_fail(engine: PgmqBackend, database: Database) -> None:
    async with database.transaction() as tx:
        await engine.send("orders", [Envelope((_record("a"),))], tx=tx)
        raise ZeroDivisionError


@pytest.mark.req("QUEUE-1")
async def test_what_a_transaction_sends_is_announced_after_its_commit_and_not_after_a_rollback(
    database: Database,
) -> None:
    listener = Listener(database.config)
    notifier = Notifier(database)
    engine = PgmqBackend(database, listener=listener, notifier=notifier, clock=SystemClock())
    await engine.create("orders")
    await listener.start()
    try:
        with pytest.raises(ZeroDivisionError):
            await _send_and_fail(engine, database)
        assert await engine.claim("orders", limit=1, lease_s=30) == []
        async with database.transaction() as tx:
            await engine.send("orders", [Envelope((_record("b"),))], tx=tx)
            assert await engine.claim("orders", limit=1, lease_s=30) == []
        claimed = await engine.claim("orders", limit=1, lease_s=30, wait_s=5)
        assert [record.id for delivery in claimed for record in delivery.records] == ["b"]
    finally:
        await listener.stop()
        await notifier.stop()


@pytest.mark.req("QUEUE-1")
@pytest.mark.parametrize("name", ["", "Orders", "9lives", "a-b", 'a"b', "a" * 44, "ä"])
async def test_a_name_that_pgmq_would_not_take_is_refused(backend: PgmqBackend, name: str) -> None:
    with pytest.raises(FluxaError, match="cannot name a queue"):
        await backend.create(name)


@pytest.mark.req("QUEUE-8", "PIPE-3")
async def test_a_dead_letter_that_was_altered_is_no_longer_readable_and_goes_back_as_it_is(
    backend: PgmqBackend, database: Database
) -> None:
    await backend.send("orders", [Envelope((_record("a"),))])
    claimed = await backend.claim("orders", limit=1, lease_s=30)
    await backend.settle([Settlement(claimed[0], (Dead("PayloadMissing", "no object"),))])
    await database.execute("""update pgmq.q_orders_dlq set message = jsonb_set(message, '{body}', '"{}"')""")
    (letter,) = await backend.dead_letters("orders", DeadLetterFilter(), limit=9)
    assert (letter.readable, letter.code) == (False, "HashMismatch")
    assert await backend.redrive("orders", [letter.message_id]) == 1
    (delivery,) = await backend.claim("orders", limit=1, lease_s=30)
    assert delivery.defect is not None
    assert delivery.defect.code == "HashMismatch"


@pytest.mark.req("QUEUE-8")
async def test_a_pgmq_without_headers_is_refused_with_what_to_do(backend: PgmqBackend, database: Database) -> None:
    await database.execute("select pgmq.create('old_dlq')")
    await database.execute("alter table pgmq.q_old_dlq drop column headers")
    with pytest.raises(FluxaError, match=r"1\.5\.0 or later") as caught:
        await backend.create("old")
    assert caught.value.code == "Configuration"


@pytest.mark.req("QUEUE-1")
async def test_the_message_column_is_kept_uncompressed_and_the_table_vacuumed_by_count(
    backend: PgmqBackend, database: Database, seen: list[str]
) -> None:
    row = await database.fetch_row(
        "select attstorage::text as storage, reloptions from pg_attribute join pg_class on pg_class.oid = attrelid "
        "where relname = 'q_orders' and attname = 'message'"
    )
    assert row is not None
    assert row["storage"] == "e"
    assert "autovacuum_vacuum_threshold=5000" in row["reloptions"]
    await backend.create("orders")
    assert not [text for text in seen if "alter table" in text], "altered again: that waits for everybody"
