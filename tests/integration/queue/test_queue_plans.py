"""Hot statements keep their index, and what is dead costs nothing: measured on a real plan, not believed."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import Settlement
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.backends.pgmq.tables import statement
from fluxa.queue.outcome import DONE

pytestmark = pytest.mark.req("QUEUE-1")

_ROWS = 100_000
_FILL = """insert into pgmq.q_big (vt, message)
select clock_timestamp(), '{"n": 1}'::jsonb from generate_series(1, $1::int)"""


@pytest.fixture
async def backend(database: Database) -> PgmqBackend:
    """A queue of 100 000 messages that no statistics know of yet."""
    engine = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
    await engine.create("big")
    await database.execute("alter table pgmq.q_big set (autovacuum_enabled = false)")
    await database.execute("alter table pgmq.q_big_dlq set (autovacuum_enabled = false)")
    async with database.connection() as handle:
        await handle.execute(_FILL, _ROWS)
        await handle.execute("select pg_stat_force_next_flush()")
    return engine


async def _explain(database: Database, name: str, *args: object) -> dict[str, Any]:
    """The plan as executed; what it did is rolled back."""
    async with database.connection() as handle:
        transaction = handle.connection.transaction()
        await transaction.start()
        try:
            text = await handle.fetch_value(f"explain (analyze, buffers, format json) {statement(name, 'big')}", *args)
        finally:
            await transaction.rollback()
    plan: dict[str, Any] = json.loads(text)[0]["Plan"]
    return plan


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _scans(plan: dict[str, Any]) -> set[tuple[str, str]]:
    """How tables are read: the kind of scan and the index."""
    return {
        (node["Node Type"], node.get("Index Name", ""))
        for node in _nodes(plan)
        if node["Node Type"].endswith("Scan")
        and (node.get("Relation Name", "").startswith("q_") or "Index Name" in node)
    }


def _buffers(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


_BY_KEY = {("Index Scan", "q_big_pkey")}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("analyzed", [False, True])
async def test_hot_statements_go_by_the_primary_key(database: Database, *, analyzed: bool) -> None:
    if analyzed:
        await database.execute("analyze pgmq.q_big")
    ids, counts = list(range(1, 101)), [0] * 100
    for above, up_to in ((0, 2**63 - 1), (50_000, 2**63 - 1), (0, 60_000)):
        claim = await _explain(database, "claim_messages", above, up_to, 100, 30.0)
        assert _scans(claim) == _BY_KEY
        assert claim["Actual Rows"] == 100
        assert "Sort" not in {node["Node Type"] for node in _nodes(claim)}
    for name in ("delete_claimed", "extend_leases"):
        plan = await _explain(database, name, ids, counts, *([30.0] if name == "extend_leases" else []))
        assert _scans(plan) == _BY_KEY
        assert plan["Actual Rows"] == 100
    settle = await _explain(database, "settle_claimed", ids, counts, [1], ["{}"], [0.0], [2], ["{}"], ["{}"])
    assert _scans(settle) == _BY_KEY


async def test_a_queue_too_long_to_count_is_measured_by_the_running_count(
    database: Database, backend: PgmqBackend
) -> None:
    async with database.connection() as handle:
        await handle.execute("delete from pgmq.q_big where msg_id <= 40000")
        await handle.execute("update pgmq.q_big set vt = now() + interval '1 hour' where msg_id > 95000")
        await handle.execute("select pg_stat_force_next_flush()")
        await handle.execute("select 1")
    state = await backend.metrics("big")
    assert (state.depth, state.ready) == (60_000, 55_000)


@pytest.mark.usefixtures("backend")
async def test_a_page_of_dead_letters_costs_a_page(database: Database) -> None:
    await database.execute(
        """insert into pgmq.q_big_dlq (vt, message, headers)
        select clock_timestamp(), '{}', '{"code": "HandlerError"}' from generate_series(1, 50000)"""
    )
    plan = await _explain(database, "list_dead", 25_000, 2**63 - 1, None, None, None, None, None, 100)
    assert _scans(plan) == {("Index Scan", "q_big_dlq_pkey")}
    assert _buffers(plan) < 50
    removed = await _explain(database, "remove_dead", list(range(100, 200)))
    assert _scans(removed) <= {
        ("Index Scan", "q_big_dlq_pkey"),
        ("Bitmap Heap Scan", ""),
        ("Bitmap Index Scan", "q_big_dlq_pkey"),
    }


@pytest.mark.req("QUEUE-8")
@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("analyzed", [False, True])
async def test_a_page_of_a_rare_code_costs_a_page(database: Database, *, analyzed: bool) -> None:
    await database.execute(
        """insert into pgmq.q_big_dlq (vt, message, headers)
        select clock_timestamp(), '{}',
            jsonb_build_object('code', case when n % 1000 = 0 then 'Rare' else 'Common' end)
        from generate_series(1, 50000) n"""
    )
    if analyzed:
        await database.execute("analyze pgmq.q_big_dlq")
    for codes in (["Rare"], ["Common"], ["Common", "Rare", "Absent"]):
        plan = await _explain(database, "list_dead_by_code", 20_000, 40_000, None, None, None, None, None, 50, codes)
        assert {kind for kind, _ in _scans(plan)} == {"Index Scan"}
        assert not any("pkey" in index for _, index in _scans(plan))
        assert _buffers(plan) < 300


@pytest.fixture
async def snapshot(database_url: str, backend: PgmqBackend) -> AsyncIterator[PgmqBackend]:
    """Somebody's forgotten transaction: nothing that was visible to it can be cleaned up."""
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    await connection.fetchval("select count(*) from pgmq.meta")
    yield backend
    await transaction.rollback()
    await connection.close()


async def test_under_a_held_snapshot_a_claim_above_the_floor_does_not_see_the_dead(
    database: Database, snapshot: PgmqBackend
) -> None:
    backend = snapshot
    for _ in range(6):
        claimed = await backend.claim("big", limit=5000, lease_s=30)
        assert len(claimed) == 5000
        assert await backend.settle([Settlement(delivery, (DONE,)) for delivery in claimed]) == []
    await database.execute("vacuum pgmq.q_big")
    from_floor = await _explain(database, "claim_messages", 30_000, 2**63 - 1, 10, 30.0)
    from_start = await _explain(database, "claim_messages", 0, 2**63 - 1, 10, 30.0)
    assert from_floor["Actual Rows"] == from_start["Actual Rows"] == 10
    assert _buffers(from_floor) < 200
    assert _buffers(from_start) > 10 * _buffers(from_floor), "the dead rows are gone: this test proves nothing"
    assert backend._claims._horizons["big"].head >= 30_000
