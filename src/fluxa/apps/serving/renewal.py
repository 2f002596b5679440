"""Which secrets the parts that every process has take up while it runs. Not: how they are found again (rotation)."""

import asyncio
from typing import TYPE_CHECKING

from fluxa.apps.serving.identity import Identity, sealing
from fluxa.apps.serving.rotation import Rotation, Source, Use
from fluxa.apps.serving.tracing import headers_of
from fluxa.apps.settings import Settings, read_managed, read_secrets
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database
from fluxa.providers.valkey import ValkeyLink
from fluxa.telemetry.log import Logger

if TYPE_CHECKING:
    from fluxa.telemetry.otlp import Otlp


def rotation_of(settings: Settings, logger: Logger) -> Rotation:
    """What reads again wherever the settings say that secrets are."""
    sources = []
    if settings.secret_files:

        async def read() -> dict[str, str]:
            return await asyncio.to_thread(read_secrets, settings.secret_files)

        sources.append(Source("files", settings.secrets_reload_s, read))
    if settings.managed_secrets:
        sources.append(
            Source("secret manager", settings.secret_manager_reload_s, lambda: read_managed(settings)),
        )
    return Rotation(settings, logger, sources)


def renew_database(rotation: Rotation, database: Database) -> None:
    """Let a pool go on with the database's new password."""

    async def use(settings: Settings) -> None:
        if settings.database_url is not None:
            await database.use(settings.database_url)

    rotation.on_change(["database_url"], use)


def renew_ground(
    rotation: Rotation,
    *,
    database: Database,
    listener: Listener,
    valkey: ValkeyLink | None,
    identity: Identity,
    traces: "Otlp | None",
) -> None:
    """Let the parts that every process has go on with new secrets."""
    renew_database(rotation, database)
    rotation.on_change(["database_url", "database_listen_url"], _listening(listener))
    if valkey is not None:
        rotation.on_change(["valkey_url"], _sharing(valkey))

    async def seal(settings: Settings) -> None:
        identity.sealer.use(sealing(settings))

    rotation.on_change(["secret_key"], seal)
    if traces is not None:
        rotation.on_change(["otel_exporter_otlp_headers"], _exporting(traces))


def _listening(listener: Listener) -> Use:
    async def use(settings: Settings) -> None:
        url = settings.database_listen_url or settings.database_url
        if url is not None:
            await listener.use(url)

    return use


def _sharing(valkey: ValkeyLink) -> Use:
    async def use(settings: Settings) -> None:
        if settings.valkey_url is not None:
            await valkey.use(settings.valkey_url)

    return use


def _exporting(traces: "Otlp") -> Use:
    async def use(settings: Settings) -> None:
        traces.use(headers_of(settings))

    return use
