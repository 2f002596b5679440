"""The station: queues over HTTP for operators and for cron."""

import asyncio
from collections.abc import Mapping

import fluxa
from fluxa.apps.database import open_database, open_wakeups
from fluxa.apps.engines import health_reader, queue_backend, queue_monitor
from fluxa.apps.observe import Telemetry, observe
from fluxa.apps.process import Tie
from fluxa.apps.server import Draining, limits_of, listen, serve, url_of
from fluxa.apps.settings import Settings
from fluxa.auth.api_keys import ApiKeys
from fluxa.auth.key_guard import KeyGuard
from fluxa.auth.nonces import Nonces
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.kernel.lifecycle import Lifetime
from fluxa.postgres.pool import Database
from fluxa.queue.dead_letters.quarantine import Quarantine
from fluxa.queue.dead_letters.tasks import RedriveTasks
from fluxa.queue.health.controls import Controls
from fluxa.queue.registry import built_in
from fluxa.station.queues.routes import QueueDoor, routes
from fluxa.web import health, openapi, problems
from fluxa.web.app import App
from fluxa.web.identity import Guard, Identify, bearer
from fluxa.web.identity.cron import CronGuard, CronRights
from fluxa.web.identity.operators import operators
from fluxa.web.routes import Auth

SERVICE = "station"


async def station(settings: Settings, stopping: asyncio.Event, tie: Tie) -> None:
    """Run until `stopping` is set; a drain under way is finished or gives back what it holds.

    Raises:
        FluxaError: whatever keeps the service from starting.
    """
    told = observe(SERVICE, settings.log_level)
    life = Lifetime()
    bound = listen(tie, settings.station_host, settings.station_port, setting="station_port")
    address = url_of(bound)
    try:
        database = await open_database(life, settings, SERVICE, hook=told.hook)
        _, notifier = await open_wakeups(life, settings, database)
        backend = queue_backend(database, notifier=notifier)
        registry = built_in()
        for spec in registry:
            await backend.create(spec.name)
        monitor = queue_monitor(settings, told, database, backend, registry)
        await life.start(monitor)
        draining = Draining()
        readiness = health.Readiness({"accepting": draining.check, "database": database.check}, told.logger)
        door = QueueDoor(
            registry=registry,
            backend=backend,
            controls=Controls(database),
            tasks=RedriveTasks(database, backend, registry=registry),
            quarantine=Quarantine(database, backend),
            reader=health_reader(settings, database, backend, registry, hook=told.hook),
            monitor=monitor,
        )
        rows = [
            *routes(door),
            *health.routes(SERVICE, readiness, told.metrics, (monitor.refresh,)),
            problems.route(),
        ]
        rows.append(openapi.route(rows, version=fluxa.__version__))
        identify = bearer(KeyGuard(ApiKeys(database), SystemClock()).verify)
        guards = _guards(settings, told, database, identify)
        app = App(rows, identify=identify, guards=guards, hook=told.hook, logger=told.logger)
        await serve(
            app,
            bound,
            limits_of(settings),
            stopping=stopping,
            ready=lambda: told.ready(SERVICE, address, tie),
            drain=draining.drain,
        )
    finally:
        bound.close()
        await life.stop()
        told.logger.info("stopped")


def _guards(settings: Settings, told: Telemetry, database: Database, identify: Identify) -> Mapping[Auth, Guard]:
    """Who may run the queues, and who may call what cron calls."""
    tenant = Tenant(settings.default_tenant)
    override = settings.queue_processor_override_token
    legacy = settings.queue_processor_legacy_secret if settings.queue_processor_legacy_mode else None
    rights = CronRights(
        secrets=settings.cron_secret_list,
        override=None if override is None else override.encode(),
        legacy=None if legacy is None else legacy.encode(),
    )
    cron = CronGuard(rights, Nonces(database), tenant=tenant, clock=SystemClock(), logger=told.logger)
    return {Auth.OPERATOR: operators(identify, tenant), Auth.CRON: cron}
