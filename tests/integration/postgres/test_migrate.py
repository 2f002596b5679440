"""Migrations against a real server."""

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres import migrate
from fluxa.postgres.pool import Database, PoolConfig


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


@pytest.fixture
async def empty_url(postgres_server: str) -> AsyncIterator[str]:
    """The URL of a database that nothing has touched."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_server.format("postgres"))
    await admin.execute(f"create database {name}")
    try:
        yield postgres_server.format(name)
    finally:
        await admin.execute(f"drop database {name} with (force)")
        await admin.close()


_PROGRAM = """
import asyncio, sys
from fluxa.postgres import migrate
from fluxa.postgres.pool import Database, PoolConfig

async def main():
    database = Database(PoolConfig(url=sys.argv[1]))
    await database.start()
    print(*(step.number for step in await migrate.migrate(database)))
    await database.stop()

asyncio.run(main())
"""


async def test_processes_that_migrate_at_once_apply_each_step_once(empty_url: str) -> None:
    programs = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", _PROGRAM, empty_url),
            stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(4)
    ]
    answers = await asyncio.gather(*(program.communicate() for program in programs))
    assert [program.returncode for program in programs] == [0] * 4
    applied = sorted(int(number) for out, _ in answers for number in out.split())
    assert applied == [step.number for step in migrate.migrations()]


async def test_a_step_that_fails_is_named_and_undone_and_those_before_it_stay(empty_url: str) -> None:
    known = migrate.migrations()
    number = len(known) + 1
    good = migrate.Migration(number, "post", "good", "create table fluxa.good (n int)")
    bad = migrate.Migration(number + 1, "post", "bad", "create table fluxa.half (n int); select 1 / 0")
    database = Database(PoolConfig(url=empty_url))
    await database.start()
    try:
        with pytest.raises(FluxaError, match=rf"Migration {bad.number} \(bad\) failed and was undone") as caught:
            await migrate.migrate(database, [*known, good, bad])
        assert caught.value.code == ErrorCode.DB_REJECTED
        assert await database.fetch_value("select to_regclass('fluxa.good') is not null")
        assert await database.fetch_value("select to_regclass('fluxa.half') is null")
        mended = migrate.Migration(bad.number, "post", "bad", "create table fluxa.half (n int)")
        assert await migrate.migrate(database, [*known, good, mended]) == (mended,)
    finally:
        await database.stop()


async def test_a_database_that_was_never_migrated_is_told_what_to_run(empty_url: str) -> None:
    database = Database(PoolConfig(url=empty_url))
    await database.start()
    try:
        with pytest.raises(FluxaError, match="fluxa db migrate") as caught:
            await migrate.check(database)
        assert caught.value.code == ErrorCode.SCHEMA_VERSION
    finally:
        await database.stop()


async def test_a_step_may_take_longer_than_statements_may(empty_url: str) -> None:
    known = migrate.migrations()
    slow = migrate.Migration(len(known) + 1, "post", "slow", "select pg_sleep(1.2)")
    database = Database(PoolConfig(url=empty_url, statement_timeout_s=0.6))
    patient = Database(PoolConfig(url=empty_url))
    await database.start()
    await patient.start()
    try:
        await migrate.migrate(patient)
        assert await migrate.migrate(database, [*known, slow]) == (slow,)
    finally:
        await patient.stop()
        await database.stop()


def test_steps_are_numbered_without_gaps_and_pre_or_post() -> None:
    steps = migrate.migrations()
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert {step.phase for step in steps} <= {"pre", "post"}
