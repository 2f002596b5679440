"""Processors and Postgres are killed at the worst moments; every event is stored once or parked once all the same."""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import asyncpg
import msgspec
import pytest

from fluxa.events.carriage import DATA_KEY
from fluxa.events.process.processor import ProcessorConfig
from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError
from fluxa.postgres import migrate
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.record import Record
from fluxa.telemetry.catalogue import OutageBegan, OutageEnded
from making.events import event_text, make_record
from making.pipeline import Pipeline

_KILLED = Path(__file__).parent / "killed_processor.py"
_POISONED = Path(__file__).parent / "poisoned_processor.py"
_STATEMENTS_MAX = 60
_CUT = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'fluxa'"


def _mixed(round_: int) -> list[Record]:
    """Two good records, one of them twice, one altered on the way, one whose object cannot be had at first."""
    forged = msgspec.structs.replace(make_record(f"{round_}-forged"), body=event_text(f"{round_}-forged", data=1))
    away = make_record(f"{round_}-away")
    bare = event_text(f"{round_}-away").replace(b', "data": {"n": "%d-away"}' % round_, b"")
    away = msgspec.structs.replace(away, body=bare, headers={**away.headers, DATA_KEY: f"{round_}-away"})
    return [*(make_record(f"{round_}-{n}") for n in (1, 2, 1)), forged, away]


async def _run(program: Path, *args: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        program,
        *args,
        stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode().strip()


@pytest.mark.req("PIPE-7")
@pytest.mark.parametrize("kind", ["clean", "mixed"])
async def test_a_kill_before_any_statement_neither_loses_nor_doubles(
    database: Database, database_url: str, kind: str
) -> None:
    pipeline = Pipeline(database)
    killed_at: list[str] = []
    forged: set[str] = set()
    good: set[str] = set()
    for fatal in range(1, _STATEMENTS_MAX):
        records = _mixed(fatal) if kind == "mixed" else [make_record(f"{fatal}-{n}") for n in range(3)]
        for record in records:
            pipeline.objects.content[f"{fatal}-away"] = b'{"n": "%d-away"}' % fatal
            (forged if "forged" in record.id else good).add(record.id)
        await pipeline.send(records)
        code, statement = await _run(_KILLED, database_url, str(fatal))
        await database.execute("update pgmq.q_events set vt = now()")  # the dead processor's leases end
        async with pipeline.running(ProcessorConfig(wait_s=0.02)):
            await pipeline.empty()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed_at.append(statement)
    else:
        pytest.fail("the program never came to its end")
    stored = await pipeline.stored()
    assert set(stored) == good
    assert stored.total() == len(good)
    dead = await pipeline.dead()
    assert sorted(letter.record.id for letter in dead) == sorted(forged)
    assert {letter.code for letter in dead} <= {ErrorCode.HASH_MISMATCH}
    parked = await database.fetch("select id from fluxa.failures where parked")
    assert sorted(row["id"] for row in parked) == sorted(forged)
    assert {"begin", "copy fluxa.events", "commit", "committed"} <= set(killed_at), killed_at


@pytest.mark.req("PIPE-7", "QUEUE-3")
async def test_an_event_that_kills_every_processor_is_parked_and_takes_no_neighbour_along(
    database: Database, database_url: str
) -> None:
    pipeline = Pipeline(database)
    good = [[make_record(f"{batch}-{n}") for n in range(10)] for batch in range(8)]
    good[3].insert(5, make_record("poison", type_="poison"))
    await pipeline.send(*good)
    codes: list[int] = []
    while not codes or codes[-1] != 0:
        assert len(codes) < 12
        code, _ = await _run(_POISONED, database_url)
        codes.append(code)
        await database.execute("update pgmq.q_events set vt = now()")  # the dead processor's leases end
    assert set(codes) == {0, -signal.SIGKILL}
    stored = await pipeline.stored()
    assert stored.total() == len(stored) == 80
    (letter,) = await pipeline.dead()
    assert (letter.record.id, letter.code) == ("e-poison", ErrorCode.HANDLER_CRASH)


@pytest.mark.req("PIPE-7", "PIPE-9")
async def test_postgres_killed_at_work_costs_time_and_nothing_else(home: Path) -> None:
    server = EmbeddedPostgres(home, settings={"shared_buffers": "64MB"})
    await server.start()
    database = Database(PoolConfig(url=server.url))
    await database.start()
    await migrate.migrate(database)
    pipeline = Pipeline(database)
    await pipeline.send(*([make_record(f"{batch}-{n}") for n in range(200)] for batch in range(40)))
    try:
        async with pipeline.running(ProcessorConfig(wait_s=0.05, claim_messages=2)):
            for kill in range(2):
                await _until_stored_more_than(database, 1500 * kill)
                pid = server.status().pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                count = kill + 1
                await pipeline.until(
                    lambda count=count: sum(isinstance(s, OutageEnded) for s in pipeline.signals.heard) >= count,  # type: ignore[misc]  # a default binds the loop's value
                    timeout_s=40,
                )
                await _until_it_answers(database)  # what began before the kill may end well after it, and say so
            await pipeline.empty(timeout_s=40)
        stored = await pipeline.stored()
        assert stored.total() == len(stored) == 8000
        assert not await pipeline.dead()
        assert sum(isinstance(signal_, OutageBegan) for signal_ in pipeline.signals.heard) >= 2
    finally:
        await database.stop()
        await server.force_stop()


async def _until_it_answers(database: Database) -> None:
    async with asyncio.timeout(40):
        while True:
            with contextlib.suppress(FluxaError):
                await database.check()
                return
            await asyncio.sleep(0.02)


async def _until_stored_more_than(database: Database, count: int) -> None:
    while await database.fetch_value("select count(*) from fluxa.events") <= count:  # noqa: ASYNC110 - a table
        await asyncio.sleep(0.005)


@pytest.mark.req("PIPE-7")
async def test_connections_cut_again_and_again_lose_nothing(database: Database, database_url: str) -> None:
    pipeline = Pipeline(database)
    await pipeline.send(*([make_record(f"{batch}-{n}") for n in range(100)] for batch in range(40)))
    admin = await asyncpg.connect(database_url)
    cut = 0
    brisk = ProcessorConfig(wait_s=0.05, claim_messages=1, lease_s=1.0)
    try:
        async with pipeline.running(brisk), asyncio.timeout(150):
            while await admin.fetchval("select count(*) from pgmq.q_events"):
                cut += len(await admin.fetch(_CUT))
                await asyncio.sleep(0.15)
    finally:
        await admin.close()
    assert cut > 3
    with contextlib.suppress(DatabaseUnavailableError):
        await database.fetch_value("select 1")  # the pool may still hold a connection that was cut
    stored = await pipeline.stored()
    assert stored.total() == len(stored) == 4000
