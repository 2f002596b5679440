"""Hot statements keep their index, and what is dead costs nothing: measured on a real plan, not believed."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import asyncpg
import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import KeyRule, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.backends.pgmq.tables import statement
from fluxa.queue.outcome import DONE

pytestmark = pytest.mark.req("QUEUE-1")

_ROWS = 100_000
_FILL = """insert into pgmq.q_big (vt, message)
select clock_timestamp(), '{"n": 1}'::jsonb from generate_series(1, $1::int)"""


def _engine(database: Database, keys: Mapping[str, KeyRule] | None = None) -> PgmqBackend:
    return PgmqBackend(database, listener=None, notifier=None, clock=SystemClock(), keys=keys)


@pytest.fixture
async def backend(database: Database) -> PgmqBackend:
    """A queue of 100 000 messages that no statistics know of yet."""
    engine = _engine(database)
    await engine.create("big")
    await database.execute("alter table pgmq.q_big set (autovacuum_enabled = false)")
    await database.execute("alter table pgmq.q_big_dlq set (autovacuum_enabled = false)")
    async with database.connection() as handle:
        await handle.execute(_FILL, _ROWS)
        await handle.execute("select pg_stat_force_next_flush()")
    return engine


async def _explain(database: Database, name: str, *args: object, queue: str = "big") -> dict[str, Any]:
    """The plan as executed; what it did is rolled back."""
    async with database.connection() as handle:
        transaction = handle.connection.transaction()
        await transaction.start()
        try:
            text = await handle.fetch_value(
                f"explain (analyze, buffers, format json) {statement(name, queue, keyed=queue != 'big')}", *args
            )
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


@pytest.mark.req("QUEUE-10")
async def test_a_queue_too_long_to_count_is_measured_by_the_running_count(database: Database) -> None:
    engine = _engine(database)
    await engine.create("big")
    await database.execute("alter table pgmq.q_big set (autovacuum_enabled = false)")
    async with database.connection() as handle:
        await handle.execute(_FILL, 300_000)
        await handle.execute("delete from pgmq.q_big where msg_id <= 40000")
        await handle.execute("update pgmq.q_big set vt = now() + interval '1 hour' where msg_id > 295000")
        await handle.execute("update pgmq.q_big set read_ct = 1 where msg_id > 299000")
        await handle.execute("select pg_stat_force_next_flush()")
        await handle.execute("select 1")
    state = await engine.metrics("big")
    assert (state.depth, state.ready, state.in_flight, state.exact) == (260_000, 255_000, 1000, False)
    assert state.oldest_age_s is not None
    assert 0 < state.oldest_age_s < 600


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


@pytest.fixture
async def held(database_url: str) -> AsyncIterator[None]:
    """Somebody's forgotten transaction: nothing that was visible to it can be cleaned up."""
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction(isolation="repeatable_read")
    await transaction.start()
    await connection.fetchval("select count(*) from pgmq.meta")
    yield
    await transaction.rollback()
    await connection.close()


@pytest.mark.usefixtures("held")
async def test_under_a_held_snapshot_a_claim_above_the_floor_does_not_see_the_dead(
    database: Database, backend: PgmqBackend
) -> None:
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


_RULES = {"keyed": KeyRule(ordered=True), "limited": KeyRule(limit=2)}
_KEYED_FILL = """insert into pgmq.q_{queue} (vt, message, headers)
select clock_timestamp(), '{{"n": 1}}'::jsonb, jsonb_build_object('x-pgmq-group', case
    when n % 3 > 0 then 'hot' else 'k' || n % 5000 end) from generate_series(1, 150000) as n"""


_USE_UP = """update pgmq.q_{queue} set vt = clock_timestamp() - interval '10 min', read_ct = 1;
delete from pgmq.q_{queue}"""
_LEASE = "update pgmq.q_{queue} set vt = vt + interval '9 s' where msg_id = any ($1::bigint[])"


async def _used_up(database: Database, engine: PgmqBackend, queue: str, fill: str) -> tuple[int, Any]:
    """300 000 rows live and as many dead, which all were claimed and settled; the last id, and the server's time."""
    await engine.create(queue)
    await database.execute(f"alter table pgmq.q_{queue} set (autovacuum_enabled = false)")
    async with database.connection() as handle:
        for _ in range(2):
            await handle.execute(fill)
        await handle.execute(_USE_UP.format(queue=queue))
        last_id = await handle.fetch_value(f"select pg_sequence_last_value('pgmq.q_{queue}_msg_id_seq')")
        now = await handle.fetch_value("select clock_timestamp()")
        for _ in range(2):
            await handle.execute(fill)
        await handle.execute("select pg_stat_force_next_flush()")
        await handle.execute("select 1")
    return int(last_id), now


@pytest.mark.req("QUEUE-1", "QUEUE-3", "QUEUE-10")
@pytest.mark.usefixtures("held")
async def test_hundreds_of_thousands_of_rows_live_and_dead_cost_nothing(database: Database) -> None:
    engine = _engine(database)
    last_id, now = await _used_up(database, engine, "big", _FILL.replace("$1::int", "150000"))
    ids, counts = list(range(last_id + 1, last_id + 101)), [0] * 100
    settled = (ids, counts, [ids[0]], ["{}"], [0.0], [ids[1]], ["{}"], ["{}"])
    plans = {
        "claim_messages": await _explain(database, "claim_messages", last_id, 2**63 - 1, 100, 30.0),
        "delete_claimed": await _explain(database, "delete_claimed", ids, counts),
        "settle_claimed": await _explain(database, "settle_claimed", *settled),
        "extend_leases": await _explain(database, "extend_leases", ids, counts, 30.0),
        "find_oldest": await _explain(database, "find_oldest", last_id, last_id + 500),
    }
    assert {name: _scans(plan) for name, plan in plans.items()} == dict.fromkeys(plans, _BY_KEY)
    counters = await _explain(database, "read_counters", ["pgmq.q_big", "pgmq.q_big_dlq"])
    assert all(_buffers(plan) < 3000 for plan in (*plans.values(), counters))
    # What came due before is behind the look, however much there is.
    due = await _explain(database, "claim_due", now, last_id + 50, 50, 30.0)
    late = await database.fetch_value("select clock_timestamp()")
    idle = await _explain(database, "claim_due", late, 2**62, 100, 30.0)
    assert due["Actual Rows"] == 50
    assert "q_big_vt_idx" in str(_scans(due))
    assert "q_big_vt_idx" in str(_scans(idle))
    assert _buffers(due) < 3000
    assert _buffers(idle) < 300
    state = await engine.metrics("big")
    assert (state.depth, state.ready, state.in_flight, state.exact) == (300_000, None, None, False)
    assert state.oldest_age_s is not None


@pytest.mark.req("QUEUE-5", "QUEUE-10")
@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("queue", ["keyed", "limited"])
async def test_a_hot_key_and_dead_rows_do_not_make_claims_by_key_dear(database: Database, queue: str) -> None:
    engine = _engine(database, _RULES)
    last_id, now = await _used_up(database, engine, queue, _KEYED_FILL.format(queue=queue))
    keys = ["hot", *(f"k{n}" for n in range(0, 3000, 30))]
    lows = [last_id + 1] * len(keys) if queue == "keyed" else [now] * len(keys)
    args = (keys, lows, 50, 30.0, [], *([] if queue == "keyed" else [2]))
    take = await _explain(database, "take_ordered" if queue == "keyed" else "take_limited", *args, queue=queue)
    ids, counts = list(range(last_id + 1, last_id + 101)), [0] * 100
    await database.execute(_LEASE.format(queue=queue), ids)
    kept = ([ids[0]], ["{}"], [0.0], [ids[1]], ["{}"], [0.0], [ids[2]], ["{}"], ["{}"])
    plans = {
        "look_above": await _explain(database, "look_above", last_id, 2000, queue=queue),
        "extend_keyed": await _explain(database, "extend_keyed", ids, counts, 30.0, queue=queue),
        "settle_keyed": await _explain(database, "settle_keyed", ids, counts, *kept, queue=queue),
    }
    due = await _explain(database, "look_due", now, last_id + 3000, 2000, queue=queue)
    index = "order" if queue == "keyed" else "due"
    assert _scans(take) == {
        ("Index Scan", f"q_{queue}_pkey"),
        ("Index Scan", f"q_{queue}_fluxa_{index}"),
        ("Index Scan", f"q_{queue}_fluxa_leases"),
    }
    assert take["Actual Rows"] >= 50
    for plan in plans.values():
        assert _scans(plan) == {("Index Scan", f"q_{queue}_pkey")}
    assert all(_buffers(plan) < 5000 for plan in (take, *plans.values()))
    assert f"q_{queue}_vt_idx" in str(_scans(due))
    assert _buffers(due) < 10_000, "a look at all that was sent since; the dead from before are not in it"
    claimed = await engine.claim(queue, limit=100, lease_s=30)
    assert len(claimed) == 100
