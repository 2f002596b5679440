"""What the commands for queues share: the way to the database, and which queue a name means."""

import contextlib
import difflib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fluxa.apps.application import application
from fluxa.apps.database import pool_config
from fluxa.apps.engines import health_reader, insight_of, open_queues
from fluxa.apps.settings import Settings
from fluxa.cli.commands import ground
from fluxa.cli.errors import CommandError, stderr
from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode
from fluxa.kernel.lifecycle import Lifetime
from fluxa.postgres.pool import Database
from fluxa.queue.backend import QueueBackend
from fluxa.queue.health.snapshot import HealthReader
from fluxa.queue.insight import Insight
from fluxa.queue.registry import QueueSpec, Registry
from fluxa.telemetry.catalogue import silent


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command works with.

    Attributes:
        database: the pool; not open where Postgres is away.
        backend: the engines.
        insight: looks into queues.
        registry: the queues that are known.
        reader: takes snapshots.
        outage: why nothing can be reached; None if it can.
    """

    database: Database
    backend: QueueBackend
    insight: Insight
    registry: Registry
    reader: HealthReader
    outage: DatabaseUnavailableError | None = None


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Desk]:
    """The way to the queues.

    Raises:
        FluxaError: an outage, or a schema that does not fit.
    """
    async with ground.opened(settings, "queue") as on:
        yield _desk(settings, on.database, on.backend, on.registry)


@contextlib.asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[Desk]:
    """The way to the queues for those who only look: without Postgres all they see is UNKNOWN, with the reason."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            desk = await stack.enter_async_context(opened(settings))
        except DatabaseUnavailableError as error:
            if settings.database_url is None:
                raise
            database = Database(pool_config(settings, settings.database_url, "queue"))
            stack.push_async_callback(database.stop)
            life = Lifetime()
            stack.push_async_callback(life.stop)
            registry = application(settings).registry
            backend = await open_queues(life, settings, database, registry=registry)
            desk = _desk(settings, database, backend, registry, error)
        yield desk


def _desk(
    settings: Settings,
    database: Database,
    backend: QueueBackend,
    registry: Registry,
    outage: DatabaseUnavailableError | None = None,
) -> Desk:
    reader = health_reader(settings, database, backend, registry, hook=silent)
    return Desk(database, backend, insight_of(database), registry, reader, outage)


async def known(desk: Desk, queue: str) -> None:
    """See to it that a queue is one: of Fluxa's own, or in the database.

    Raises:
        FluxaError: `NotFound`, with the nearest name there is; an outage.
    """
    if queue in desk.registry:
        return
    names = await desk.insight.names()
    if queue in names or f"{queue}_dlq" in names:
        desk.registry.add(QueueSpec(queue))
        return
    there = [*(spec.name for spec in desk.registry), *(name for name in names if not name.endswith("_dlq"))]
    near = difflib.get_close_matches(queue, there, n=1)
    action = f"Did you mean {near[0]}?" if near else "See fluxa queue list."
    raise CommandError(ErrorCode.NOT_FOUND, f"There is no queue {queue}.", action=action)


def warn_of_outage(desk: Desk) -> None:
    """Say why everything is UNKNOWN, if it is."""
    if desk.outage is not None:
        stderr().print(f"[bold red]✗[/] Postgres cannot be reached, so nothing is known: {desk.outage.detail}")
