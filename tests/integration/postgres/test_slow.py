"""Statements that take long are told of by name, and nobody learns what they were given."""

import io
import json
from collections.abc import AsyncIterator

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import DatabaseUnavailableError
from fluxa.postgres import sql
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.postgres.slow import SlowStatements
from fluxa.telemetry.catalogue import Signal, StatementSlow
from fluxa.telemetry.log import LogHook, make_logger
from fluxa.telemetry.metrics import Metrics

_SQL = sql.parse("-- name: find_slowly\nselect pg_sleep($1), $2::text as said, query from pg_stat_activity limit 1;\n")
_SECRET = "nobody-may-read-this"  # noqa: S105 - what must not be seen


@pytest.fixture
def heard() -> list[Signal]:
    """What the hook hears."""
    return []


@pytest.fixture
async def watched(database_url: str, heard: list[Signal]) -> AsyncIterator[Database]:
    """A pool whose statements may take 50 ms."""
    slow = SlowStatements(hook=heard.append, clock=SystemClock(), over_s=0.05)
    pool = Database(PoolConfig(url=database_url, size_max=1), slow=slow)
    await pool.start()
    yield pool
    await pool.stop()


@pytest.mark.req("OBS-5")
async def test_a_slow_statement_is_told_by_its_name(watched: Database, heard: list[Signal]) -> None:
    await watched.fetch(_SQL["find_slowly"], 0.0, _SECRET)
    assert heard == []
    await watched.fetch(_SQL["find_slowly"], 0.06, _SECRET)
    (told,) = heard
    assert isinstance(told, StatementSlow)
    assert told.statement == "find_slowly"
    assert 0.05 <= told.latency_s < 10


@pytest.mark.req("OBS-5")
async def test_of_a_users_own_statement_nothing_is_told_but_its_time(watched: Database, heard: list[Signal]) -> None:
    async with watched.transaction() as tx:
        await tx.execute(f"select pg_sleep(0.06), '{_SECRET}'")
    stream, metrics = io.StringIO(), Metrics()
    hook = LogHook(make_logger("worker", stream=stream))
    for signal in heard:
        hook.hear(signal)
        metrics.hear(signal)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["statement"]) == ("slow statement", "unnamed")
    assert _SECRET not in stream.getvalue()
    assert 'fluxa_slow_statements_total{statement="unnamed"} 1.0' in metrics.exposition().decode()


@pytest.mark.req("OBS-5")
async def test_one_that_is_cut_short_took_its_time_as_well(watched: Database, heard: list[Signal]) -> None:
    async with watched.connection() as handle:
        with pytest.raises(DatabaseUnavailableError):
            await handle.execute("select pg_sleep(10)", timeout_s=0.06)
    assert [signal.statement for signal in heard if isinstance(signal, StatementSlow)] == ["unnamed"]


@pytest.mark.req("ALARM-4")
async def test_the_server_shows_a_statement_with_its_name(watched: Database) -> None:
    rows = await watched.fetch(_SQL["find_slowly"], 0.0, _SECRET)
    shown = await watched.fetch_value("select query from pg_stat_activity where pid = pg_backend_pid()")
    assert shown.startswith("select query")
    assert len(rows) == 1
    statement = _SQL["find_slowly"]
    assert statement.startswith("/* fluxa:find_slowly */ select")
    assert sql.name_of(statement) == "find_slowly"
    assert sql.name_of("select 1 /* fluxa:find_slowly */ ") == sql.UNNAMED
