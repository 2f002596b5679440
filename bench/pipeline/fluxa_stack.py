"""Measures Fluxa as processes of its own: HTTP in, rows stored; one event a request; and an idle stack."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.measure import Measured, percentile, until_stored
from bench.pipeline import load
from bench.pipeline.load import Target
from demo import stack

PATH = "/v1/events"
EVENTS_PER_REQUEST = 1000
BULK_CONNECTIONS = 4
SINGLE_CONNECTIONS = 64
BULK_PROCESSORS = 2
"""Processors in the bulk measurement; the others run with the default of one."""

_PAUSE_S = 0.01
_STORED = "select exists (select from fluxa.idempotency_keys where tenant = 'default' and id = $1)"
_LATENCIES = """
select extract(epoch from claimed_at - enqueued_at) * 1000 as to_claim_ms,
       extract(epoch from stored_at - received_at) * 1000 as to_stored_ms
from fluxa.events where id = any ($1::text[])
"""


@dataclass(frozen=True, slots=True)
class Idle:
    """Milliseconds on an idle stack.

    Attributes:
        to_claim_ms: from the enqueueing to the start of the handler, of each sample.
        answer_ms: from the request's first byte to the answer, of each sample.
    """

    to_claim_ms: list[float]
    answer_ms: list[float]


@contextlib.asynccontextmanager
async def running(url: str, home: Path, *, processors: int = 1) -> AsyncIterator[Target]:
    """A stack on that database; where to send."""
    settings = {**stack.FREE_PORTS, "database_url": url, "log_level": "warning"}
    async with stack.running(home, settings=settings, arguments=("--processors", str(processors))) as fluxa:
        yield Target(fluxa.state.ingest_url, PATH, fluxa.api_key)


async def bulk(url: str, target: Target, lines: Sequence[bytes], *, warm: int) -> Measured:
    """NDJSON over a few connections, from the first byte sent until the last event is stored.

    Args:
        url: of the database.
        target: of the door.
        lines: the events.
        warm: events that are stored already.
    """
    requests = load.bulk(target, lines, EVENTS_PER_REQUEST)
    stored = asyncio.create_task(until_stored(url, warm + len(lines)))
    begin = time.monotonic()
    answered = await load.send(target, requests, BULK_CONNECTIONS)
    end = await stored
    extra = {**answered.extra, "accepted_per_s": len(lines) / answered.elapsed_s}
    return Measured(len(lines), end - begin, extra)


async def single(target: Target, lines: Sequence[bytes]) -> Measured:
    """One event a request over many connections; each answer says that the event is durable."""
    return await load.send(target, load.single(target, lines), SINGLE_CONNECTIONS)


async def settled(url: str, count: int) -> None:
    """Wait until everything sent so far is stored."""
    await until_stored(url, count)


async def idle(url: str, target: Target, lines: Sequence[bytes], ids: Sequence[str]) -> Idle:
    """One event at a time, each after the one before was stored and a pause."""
    connection = await asyncpg.connect(url)
    answers: list[float] = []
    try:
        for line, id_ in zip(lines, ids, strict=True):
            answered = await load.send(target, load.single(target, [line]), 1)
            answers.append(answered.elapsed_s * 1000)
            async with asyncio.timeout(10):
                while not await connection.fetchval(_STORED, id_):
                    await asyncio.sleep(_PAUSE_S)
            await asyncio.sleep(_PAUSE_S)
        rows = await connection.fetch(_LATENCIES, list(ids))
    finally:
        await connection.close()
    return Idle([float(row["to_claim_ms"]) for row in rows], answers)


def quantiles(values: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    return percentile(values, 0.5), percentile(values, 0.99)
