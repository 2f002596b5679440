"""The station: queues over HTTP for operators and for cron."""

import asyncio
from collections.abc import Mapping

from fluxa.apps.application import application
from fluxa.apps.database import open_wakeups
from fluxa.apps.engines import health_reader, open_queues, queue_monitor
from fluxa.apps.serving.ground import Ground, ground
from fluxa.apps.serving.process import Tie
from fluxa.apps.settings import Settings
from fluxa.auth.nonces import Nonces
from fluxa.kernel.ids import Tenant
from fluxa.queue.dead_letters.quarantine import Quarantine
from fluxa.queue.dead_letters.tasks import RedriveTasks
from fluxa.queue.health.controls import Controls
from fluxa.station.queues.routes import QueueDoor, routes
from fluxa.web.identity import Guard
from fluxa.web.identity.cron import CronGuard, CronRights
from fluxa.web.identity.operators import operators
from fluxa.web.routes import Auth

SERVICE = "station"


async def station(settings: Settings, stopping: asyncio.Event, tie: Tie) -> None:
    """Run until `stopping` is set; a drain under way is finished or gives back what it holds.

    Raises:
        FluxaError: whatever keeps the service from starting.
    """
    async with ground(settings, SERVICE, tie) as on:
        database, hook = on.database, on.told.hook
        _, notifier = await open_wakeups(on.life, settings, database)
        registry = application(settings).registry
        backend = await open_queues(on.life, settings, database, notifier=notifier, registry=registry)
        for spec in registry:
            await backend.create(spec.name)
        monitor = queue_monitor(settings, on.told, database, backend, registry)
        await on.life.start(monitor)
        door = QueueDoor(
            registry=registry,
            backend=backend,
            controls=Controls(database),
            tasks=RedriveTasks(database, backend, registry=registry),
            quarantine=Quarantine(database, backend),
            reader=health_reader(settings, database, backend, registry, hook=hook),
            monitor=monitor,
        )
        await on.serve(routes(door), stopping=stopping, checks={}, refreshes=(monitor.refresh,), guards=_guards(on))


def _guards(on: Ground) -> Mapping[Auth, Guard]:
    """Who may run the queues, and who may call what cron calls."""
    settings = on.settings
    tenant = Tenant(settings.default_tenant)
    override = settings.queue_processor_override_token
    legacy = settings.queue_processor_legacy_secret if settings.queue_processor_legacy_mode else None
    rights = CronRights(
        secrets=settings.cron_secret_list,
        override=None if override is None else override.encode(),
        legacy=None if legacy is None else legacy.encode(),
    )
    cron = CronGuard(rights, Nonces(on.database), tenant=tenant, clock=on.clock, logger=on.told.logger)
    return {Auth.OPERATOR: operators(on.identify, tenant), Auth.CRON: cron}
