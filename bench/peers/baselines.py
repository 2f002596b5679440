"""What Postgres itself can do: plain COPY of the rows, and a hand-written queue that inserts them."""

import asyncio
import datetime as dt
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import asyncpg

from bench.measure import Measured
from bench.rows import Load, Row, row
from fluxa.events.store import EVENT_COLUMNS

BATCH = 1000
"""Rows a commit, for both."""

_QUEUE = """
create table bench_queue (
    job_id bigint generated always as identity primary key,
    payload bytea not null
)
"""
_ENQUEUE = "insert into bench_queue (payload) select unnest($1::bytea[])"
_CLAIM = """
delete from bench_queue
where job_id = any (array(select job_id from bench_queue order by job_id limit $1 for update skip locked))
returning payload
"""

T = TypeVar("T")


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


async def copy(url: str, load: Load) -> Measured:
    """Binary COPY of prepared rows into `fluxa.events`, one commit a batch: the ceiling."""
    connection = await asyncpg.connect(url)
    try:
        begin = time.monotonic()
        for batch in _batches(load.rows):
            await _copy_rows(connection, batch)
        return Measured(len(load.rows), time.monotonic() - begin)
    finally:
        await connection.close()


async def claim_insert_delete(url: str, load: Load, now: dt.datetime) -> Measured:
    """Enqueue in batches while another connection claims, inserts and deletes a batch in one transaction."""
    producer, consumer = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        await producer.execute(_QUEUE)
        begin = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_produce(producer, load))
            tasks.create_task(_consume(consumer, len(load.lines), now))
        return Measured(len(load.lines), time.monotonic() - begin)
    finally:
        await producer.close()
        await consumer.close()


async def idle_insert(url: str, samples: int, pause_s: float) -> list[float]:
    """Milliseconds that one row takes to be durable on an idle server: what no queue on Postgres can beat."""
    connection = await asyncpg.connect(url)
    taken: list[float] = []
    try:
        await connection.execute(_QUEUE)
        for _ in range(samples):
            await asyncio.sleep(pause_s)
            begin = time.monotonic()
            await connection.execute(_ENQUEUE, [b"one"])
            taken.append((time.monotonic() - begin) * 1000)
    finally:
        await connection.close()
    return taken


async def _produce(connection: asyncpg.Connection, load: Load) -> None:
    for batch in _batches(load.lines):
        await connection.execute(_ENQUEUE, batch)


async def _consume(connection: asyncpg.Connection, count: int, now: dt.datetime) -> None:
    stored = 0
    while stored < count:
        async with connection.transaction():
            claimed = await connection.fetch(_CLAIM, BATCH)
            rows = [row(found["payload"], ord_=ord_, now=now) for ord_, found in enumerate(claimed)]
            await _copy_rows(connection, rows)
        stored += len(claimed)


async def _copy_rows(connection: asyncpg.Connection, rows: Sequence[Row]) -> None:
    await connection.copy_records_to_table("events", schema_name="fluxa", columns=EVENT_COLUMNS, records=rows)
