"""Why a queue is slow, asked of a real Postgres where something holds it up."""

import asyncpg
import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backends.pgmq import PgmqBackend

pytestmark = pytest.mark.req("QUEUE-10")


def _engine(database: Database) -> PgmqBackend:
    return PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())


async def _hold(url: str) -> asyncpg.Connection:
    """A session that keeps a snapshot from two seconds ago: its query sleeps, as a report would run."""
    connection = await asyncpg.connect(url, server_settings={"application_name": "nightly report"})
    await connection.execute("begin isolation level repeatable read; select 'secret' from pg_sleep(1.1)")
    return connection


async def test_who_holds_an_old_snapshot_is_named(database: Database, database_url: str) -> None:
    engine = _engine(database)
    await engine.create("work")
    holder = await _hold(database_url)
    try:
        facts = await engine.why_slow("work")
    finally:
        pid = holder.get_server_pid()
        await holder.close()
    assert facts.holders_complete
    assert facts.holders is not None
    (found,) = facts.holders
    assert (found.kind, found.pid, found.application) == ("session", pid, "nightly report")
    assert found.age_s is not None
    assert 1 <= found.age_s < 60
    assert "secret" not in found.query
    assert "pg_sleep(?)" in found.query
    assert (facts.oldest_lease_s, facts.blocked_keys) == (None, None)


async def test_a_role_that_may_not_see_other_sessions_says_so(database: Database, database_url: str) -> None:
    await _engine(database).create("work")
    role = f"plain_{database_url.rpartition('/')[2].partition('?')[0]}"
    await database.execute(
        f"create role {role} login; grant usage on schema pgmq to {role}; "
        f"grant all on all tables in schema pgmq to {role}"
    )
    holder = await _hold(database_url)
    plain = Database(PoolConfig(url=database_url, size_max=1))
    try:
        await plain.start()
        await plain.execute(f"set role {role}")
        facts = await _engine(plain).why_slow("work")
    finally:
        await plain.stop()
        await holder.close()
        await database.execute(f"drop owned by {role}; drop role {role}")
    assert facts.holders == ()
    assert not facts.holders_complete
    assert facts.dead_rows == 0
