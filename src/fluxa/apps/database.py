"""Opens the database that the settings name, or the embedded one. Not: pools, migrations or the server themselves."""

import contextlib
from collections.abc import AsyncIterator

from fluxa.apps.settings import Settings
from fluxa.kernel.lifecycle import Lifetime
from fluxa.postgres import migrate
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.listen import Listener, Notifier
from fluxa.postgres.pool import Database, PoolConfig
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


async def open_database(life: Lifetime, settings: Settings, service: str, *, hook: Hook = silent) -> Database:
    """A pool on the database, its schema checked; both end when `life` stops.

    Raises:
        FluxaError: `SchemaVersion` for a schema older or newer than this version; `DBConnectionError`.
    """
    url = await locate(life, settings, hook=hook)
    database = Database(pool_config(settings, url, service))
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
