"""Queues to be looked at, readers that look, and ways to take their eyesight."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Sequence

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backend import Envelope, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend, PgmqInsight
from fluxa.queue.health.probing import ProbeConfig
from fluxa.queue.health.snapshot import HealthReader
from fluxa.queue.outcome import Dead
from fluxa.queue.record import Record
from fluxa.queue.registry import QueueSpec, Registry, Watermarks
from fluxa.telemetry.catalogue import Hook, silent

QUICK = ProbeConfig(timeout_s=0.5, retries=0, budget_s=3.0)


def registry() -> Registry:
    """Three queues; the first is watched closely, the last one is never made."""
    return Registry(
        (
            QueueSpec("near", watermarks=Watermarks(depth=5, oldest_age_s=3600.0, dead=0)),
            QueueSpec("far", priority=6),
            QueueSpec("never", priority=7),
        )
    )


def engine(database: Database) -> PgmqBackend:
    return PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())


def reader(database: Database, *, hook: Hook = silent, config: ProbeConfig = QUICK) -> HealthReader:
    return HealthReader(
        database=database,
        backend=engine(database),
        insight=PgmqInsight(database),
        registry=registry(),
        clock=SystemClock(),
        hook=hook,
        config=config,
    )


def record(number: int) -> Record:
    return Record(id=f"r-{number}", body=b'{"n": %d}' % number, created_at=SystemClock().now())


async def fill(database: Database, queue: str, messages: int) -> None:
    await engine(database).create(queue)
    if messages:
        await engine(database).send(queue, [Envelope((record(number),)) for number in range(messages)])


async def park(database: Database, queue: str, codes: Sequence[str]) -> None:
    """Dead letters with these codes."""
    backend = engine(database)
    await fill(database, queue, len(codes))
    deliveries = await backend.claim(queue, limit=len(codes), lease_s=30)
    await backend.settle(
        [Settlement(delivery, (Dead(code, "made so"),)) for delivery, code in zip(deliveries, codes, strict=True)]
    )


@contextlib.asynccontextmanager
async def as_stranger(database: Database) -> AsyncIterator[tuple[Database, str]]:
    """A pool whose role may do everything here, until it is revoked; the role's name."""
    role = f"stranger_{secrets.token_hex(4)}"
    await database.execute(f"create role {role}")
    for schema in ("pgmq", "fluxa"):
        await database.execute(f"grant usage on schema {schema} to {role}")
        await database.execute(f"grant all on all tables in schema {schema} to {role}")
        await database.execute(f"grant all on all sequences in schema {schema} to {role}")
        await database.execute(f"grant execute on all functions in schema {schema} to {role}")
    url = database.config.url
    pool = Database(PoolConfig(url=f"{url}{'&' if '?' in url else '?'}role={role}"))
    await pool.start()
    try:
        yield pool, role
    finally:
        await pool.stop()
        await database.execute(f"drop owned by {role}")
        await database.execute(f"drop role {role}")
