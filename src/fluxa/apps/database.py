"""Opens the database that the settings name, or the embedded one, and Valkey. Not: pools, migrations or the servers."""

import contextlib
from collections.abc import AsyncIterator

from fluxa.apps.settings import Settings
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.lifecycle import Lifetime
from fluxa.postgres import migrate
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.listen import Listener, Notifier
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.postgres.slow import SlowStatements
from fluxa.providers.valkey import ValkeyLink
from fluxa.telemetry.catalogue import Hook, silent


async def locate(life: Lifetime, settings: Settings, *, hook: Hook = silent) -> str:
    """The URL of the database; the embedded one is started, and left when `life` stops.

    Raises:
        FluxaError: `EmbeddedPostgres`, if it cannot be started.
    """
    if settings.database_url is not None:
        return settings.database_url
    server = EmbeddedPostgres(settings.home_folder, hook=hook)
    await life.start(server)
    return server.url


def pool_config(settings: Settings, url: str, service: str) -> PoolConfig:
    """How a service connects."""
    return PoolConfig(
        url=url,
        application=f"fluxa-{service}",
        size_min=settings.database_pool_min,
        size_max=settings.database_pool_max,
        prepared=settings.database_prepared,
        connect_timeout_s=settings.database_connect_timeout_s,
        statement_timeout_s=settings.database_statement_timeout_s,
    )


def slow_statements(settings: Settings, *, hook: Hook) -> SlowStatements | None:
    """What notices slow statements, if the settings want any to be noticed."""
    over_s = settings.database_slow_ms / 1000
    return SlowStatements(hook=hook, clock=SystemClock(), over_s=over_s) if over_s else None


async def open_database(life: Lifetime, settings: Settings, service: str, *, hook: Hook = silent) -> Database:
    """A pool on the database, its schema checked; both end when `life` stops.

    Raises:
        FluxaError: `SchemaVersion` for a schema older or newer than this version; `DBConnectionError`.
    """
    url = await locate(life, settings, hook=hook)
    database = Database(pool_config(settings, url, service), slow=slow_statements(settings, hook=hook))
    await life.start(database)
    await migrate.check(database)
    return database


async def open_wakeups(life: Lifetime, settings: Settings, database: Database) -> tuple[Listener, Notifier]:
    """What hears and announces new work on this database; both end when `life` stops."""
    listen = pool_config(settings, settings.database_listen_url or database.config.url, "listen")
    listener, notifier = Listener(listen), Notifier(database)
    await life.start(listener)
    await life.start(notifier)
    return listener, notifier


async def open_valkey(life: Lifetime, settings: Settings) -> ValkeyLink | None:
    """The way to the Valkey that the settings name, whether or not it answers now; None if they name none.

    Raises:
        FluxaError: `Configuration`, if the extra is not installed.
    """
    if settings.valkey_url is None:
        return None
    link = ValkeyLink(settings.valkey_url)
    await life.start(link)
    return link


@contextlib.asynccontextmanager
async def migrated(settings: Settings, service: str) -> AsyncIterator[Database]:
    """A pool on the database for a command, migrated where it is the embedded one, which is nobody else's."""
    life = Lifetime()
    try:
        if settings.database_url is not None:
            yield await open_database(life, settings, service)
            return
        url = await locate(life, settings)
        database = Database(pool_config(settings, url, service))
        await life.start(database)
        await migrate.migrate(database)
        yield database
    finally:
        await life.stop()
