"""The store writes each identity once, whatever the concurrency, against a real Postgres."""

import asyncio
import contextlib
import random
from collections import Counter

import asyncpg
import pytest

from fluxa.events.partitions import Partitions, month_of
from fluxa.events.store import EventStore, FailedAttempt, StoredEvent, Written
from fluxa.kernel.errors import DatabaseUnavailableError
from fluxa.postgres.pool import Database
from making.events import NOW, make_row

pytestmark = pytest.mark.req("PIPE-4", "PIPE-7")


@pytest.fixture
async def month(database: Database) -> None:
    await Partitions(database).ensure([month_of(NOW)])


async def _write(database: Database, rows: list[StoredEvent], store: EventStore | None = None) -> Written:
    async with database.transaction() as tx:
        return await (store or EventStore()).write(tx, rows)


async def _stored(database: Database) -> Counter[str]:
    return Counter(row["id"] for row in await database.fetch("select id from fluxa.events"))


@pytest.mark.usefixtures("month")
async def test_new_events_are_stored_with_their_order_and_transaction(database: Database) -> None:
    written = await _write(database, [make_row(n) for n in range(5)])
    assert written == Written(stored=5, duplicates=0)
    rows = await database.fetch("select id, ord, tx, data, attempt from fluxa.events order by ord")
    assert [row["id"] for row in rows] == [f"e-{n}" for n in range(5)]
    assert [row["ord"] for row in rows] == [0, 1, 2, 3, 4]
    assert len({row["tx"] for row in rows}) == 1
    assert rows[3]["data"] == b'{"n": 3}'
    keys = await database.fetch(
        "select k.id from fluxa.idempotency_keys k join fluxa.events e using (tenant, id, source, received_at, tx, ord)"
    )
    assert len(keys) == 5


@pytest.mark.usefixtures("month")
async def test_an_event_sent_again_is_counted_and_not_stored(database: Database) -> None:
    store = EventStore()
    await _write(database, [make_row(n) for n in range(10)], store)
    written = await _write(database, [make_row(n) for n in range(5, 15)], store)
    assert written == Written(stored=5, duplicates=5)
    assert await _stored(database) == Counter(f"e-{n}" for n in range(15))
    seen = await database.fetch("select id from fluxa.idempotency_keys where seen = 2 order by id")
    assert sorted(row["id"] for row in seen) == sorted(f"e-{n}" for n in range(5, 10))


@pytest.mark.usefixtures("month")
async def test_duplicates_within_one_write_are_stored_once(database: Database) -> None:
    written = await _write(database, [make_row(1), make_row(2), make_row(1), make_row(1)])
    assert written == Written(stored=2, duplicates=2)
    assert await _stored(database) == Counter(["e-1", "e-2"])
    assert await database.fetch_value("select seen from fluxa.idempotency_keys where id = 'e-1'") == 3


@pytest.mark.usefixtures("month")
async def test_a_write_of_nothing_but_duplicates_stores_nothing(database: Database) -> None:
    await _write(database, [make_row(1)])
    assert await _write(database, [make_row(1)]) == Written(stored=0, duplicates=1)


@pytest.mark.usefixtures("month")
async def test_tenants_do_not_share_identities(database: Database) -> None:
    written = await _write(database, [make_row(1, tenant="one"), make_row(1, tenant="two")])
    assert written == Written(stored=2, duplicates=0)


@pytest.mark.usefixtures("month")
async def test_a_write_that_rolls_back_leaves_the_identity_free(database: Database) -> None:
    async def write_and_fail() -> None:
        async with database.transaction() as tx:
            await EventStore().write(tx, [make_row(1)])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await write_and_fail()
    assert await _write(database, [make_row(1)]) == Written(stored=1, duplicates=0)


@pytest.mark.usefixtures("month")
async def test_a_second_writer_waits_and_takes_over_when_the_first_rolls_back(database: Database) -> None:
    held, release = asyncio.Event(), asyncio.Event()

    async def write_hold_and_roll_back() -> None:
        with contextlib.suppress(RuntimeError):
            async with database.transaction() as tx:
                await EventStore().write(tx, [make_row(1)])
                held.set()
                await release.wait()
                raise RuntimeError

    first = asyncio.create_task(write_hold_and_roll_back())
    await held.wait()
    second = asyncio.create_task(_write(database, [make_row(1)]))
    while not await database.fetch_value("select exists (select from pg_locks where not granted)"):
        assert not second.done()
    release.set()
    await first
    assert await second == Written(stored=1, duplicates=0)


@pytest.mark.usefixtures("month")
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_concurrent_writers_of_the_same_events_in_any_order_store_each_once(
    database: Database, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a shuffle

    async def writer() -> int:
        numbers = [chance.randrange(400) for _ in range(300)]
        store, stored = EventStore(), 0
        for start in range(0, 300, 60):
            rows = [make_row(n) for n in numbers[start : start + 60]]
            while True:
                try:
                    stored += (await _write(database, rows, store)).stored
                    break
                except DatabaseUnavailableError:
                    continue
        return stored

    total = sum(await asyncio.gather(*(writer() for _ in range(6))))
    stored = await _stored(database)
    assert total == stored.total() == len(stored)
    assert await database.fetch_value("select sum(seen) from fluxa.idempotency_keys") == 6 * 300


async def test_a_month_without_partition_is_refused_as_a_check_violation(database: Database) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await _write(database, [make_row(1)])


async def test_a_failed_attempt_is_written_even_if_its_text_is_no_text(database: Database) -> None:
    failure = FailedAttempt(
        tenant="default",
        correlation_id="c\x00",
        source=None,
        id="\ud800",
        queue="events",
        stage="process",
        attempt=1,
        error_code="InvalidEvent",
        detail="a\x00b",
        parked=True,
    )
    async with database.transaction() as tx:
        await EventStore().record_failures(tx, [failure])
        await EventStore().record_failures(tx, [])
    row = await database.fetch_row("select * from fluxa.failures")
    assert row is not None
    assert (row["detail"], row["parked"]) == ("a\ufffdb", True)


@pytest.mark.usefixtures("month")
async def test_the_duplicate_lookup_uses_the_primary_key(database: Database) -> None:
    await _write(database, [make_row(n) for n in range(3000)])
    await database.execute("analyze fluxa.idempotency_keys")
    plan = await database.fetch(
        "explain select * from fluxa.idempotency_keys where tenant = 'default' and id = 'e-7' and source = '/flights'"
    )
    assert "idempotency_keys_pkey" in " ".join(row[0] for row in plan)
