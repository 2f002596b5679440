"""Migrations against a real server."""

import pytest

from fluxa.kernel.errors import FluxaError
from fluxa.postgres import migrate
from fluxa.postgres.pool import Database


async def test_a_migrated_database_has_nothing_pending(database: Database) -> None:
    state = await migrate.status(database)
    assert state.pending == ()
    assert await migrate.migrate(database) == ()


async def test_an_older_binary_refuses_a_newer_schema(database: Database) -> None:
    await database.execute("insert into fluxa.migrations values (9999, 'pre', 'later', 'x')")
    with pytest.raises(FluxaError, match="Update Fluxa"):
        await migrate.check(database)


async def test_altered_sql_is_refused(database: Database) -> None:
    await database.execute("update fluxa.migrations set checksum = 'x' where number = 1")
    with pytest.raises(FluxaError, match="other SQL"):
        await migrate.migrate(database)


async def test_pgmq_is_there(database: Database) -> None:
    await database.execute("select pgmq.create('q')")
    assert await database.fetch_value("select pgmq.send('q', '{}'::jsonb)") == 1
