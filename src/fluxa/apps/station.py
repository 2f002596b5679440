"""The station: queues over HTTP for operators and for cron."""

import asyncio
import random
from collections.abc import Iterator, Mapping

from fluxa.application import Fluxa
from fluxa.apps.engines import (
    Served,
    cron_runner,
    dispatching,
    external_queues,
    health_reader,
    open_served,
    queue_monitor,
)
from fluxa.apps.operations.alarms import AlarmGauges, alarm_routes, alarm_rules, alarm_store, serve_alarms
from fluxa.apps.operations.audit import integrity_checks, ledger_anchoring
from fluxa.apps.operations.dashboard import dashboard_routes, record_dashboard
from fluxa.apps.operations.flags import flags_of
from fluxa.apps.operations.metrics import server_caches
from fluxa.apps.operations.people import identity_routes
from fluxa.apps.operations.sinks import SinkGauges, send_audit
from fluxa.apps.operations.synthetic import SyntheticGauges, serve_synthetic, synthetic_readings, synthetic_routes
from fluxa.apps.serving.ground import Ground, ground
from fluxa.apps.serving.process import Tie
from fluxa.apps.settings import Settings
from fluxa.apps.worker import for_effects, loaded
from fluxa.auth.nonces import Nonces
from fluxa.kernel.ids import Tenant
from fluxa.queue.dead_letters.quarantine import Quarantine
from fluxa.queue.dead_letters.tasks import RedriveTasks
from fluxa.queue.health.controls import Controls
from fluxa.queue.health.reports import Reporter, worker_id
from fluxa.queue.worker.drain import Drainer
from fluxa.station.audit.routes import AuditDoor
from fluxa.station.bindings.routes import BindingDoor
from fluxa.station.flags.routes import FlagDoor
from fluxa.station.queues.jobs import register
from fluxa.station.queues.routes import QueueDoor, routes
from fluxa.web.identity import Guard, jwks
from fluxa.web.identity.cron import CronGuard, CronRights
from fluxa.web.identity.webhook import Source, WebhookGuard
from fluxa.web.routes import Auth, Route

SERVICE = "station"
_GRACE_S = 5.0
"""What still runs when a drain's time is over may take so much longer; then it is cut short and goes back."""


async def station(settings: Settings, stopping: asyncio.Event, tie: Tie) -> None:
    """Run until `stopping` is set; a drain under way is finished or gives back what it holds.

    Raises:
        FluxaError: whatever keeps the service from starting.
    """
    app = loaded(settings)
    async with ground(settings, SERVICE, tie) as on:
        database, clock, hook, registry = on.database, on.clock, on.told.hook, app.registry
        externals = await external_queues(on.life, settings, registry, clock=clock, hook=hook, rotation=on.rotation)
        register(app, externals, clock)
        at = await open_served(on, registry)
        backend = at.backend
        for spec in registry:
            await backend.create(spec.name)
        monitor = queue_monitor(settings, on.told, database, backend, registry)
        await on.life.start(monitor)
        cron = cron_runner(
            settings, on.told, database, backend, registry, worker=worker_id(SERVICE), listener=at.listener
        )
        await on.life.start(cron)
        await send_audit(on)
        reader = health_reader(settings, database, backend, registry, hook=hook)
        await serve_alarms(on, at, registry, reader, synthetic=synthetic_readings(on))
        await serve_synthetic(on)
        alarms = alarm_store(settings, on)
        for duty in (ledger_anchoring(on), *integrity_checks(on)):
            await on.life.start(duty)
        await record_dashboard(on)
        drainer = await _drainer(on, app, at)
        door = QueueDoor(
            registry=registry,
            backend=backend,
            controls=Controls(database),
            tasks=RedriveTasks(database, backend, registry=registry),
            quarantine=Quarantine(database, backend),
            reader=reader,
            monitor=monitor,
            drainer=drainer,
            budget_max_s=settings.queue_processor_budget_max_s,
            clock=clock,
            audit=on.ledger,
        )
        await on.serve(
            (*routes(door), *alarm_routes(on, at, registry, alarms), *_rows_of_watching(on), *_rows_of_rights(on)),
            stopping=stopping,
            checks={},
            refreshes=(
                monitor.refresh,
                AlarmGauges(alarms, alarm_rules(settings), on.told.metrics).refresh,
                SinkGauges(on).refresh,
                server_caches(on).refresh,
                SyntheticGauges(on).refresh,
            ),
            guards=_guards(on),
            drain=drainer.end,
        )


def _rows_of_watching(on: Ground) -> Iterator[Route]:
    """The rows of how everything does."""
    yield from synthetic_routes(on)
    yield from dashboard_routes(on)


def _rows_of_rights(on: Ground) -> Iterator[Route]:
    """The rows of who may do what, of who did, and of what is switched off."""
    yield from AuditDoor(on.ledger).routes()
    yield from BindingDoor(on.bindings).routes()
    yield from FlagDoor(flags_of(on)).routes()
    yield from identity_routes(on)
    yield jwks.route(on.identity.ring.jwks)


async def _drainer(on: Ground, app: Fluxa, at: Served) -> Drainer:
    """What works queues off when cron calls; its queues are reported as a worker's are, while it does."""
    clock, hook = on.clock, on.told.hook
    drainer = Drainer(
        backend=at.backend,
        registry=app.registry,
        handlers=app.handlers,
        database=await for_effects(on, app, [handler.queue for handler in app.handlers]),
        clock=clock,
        hook=hook,
        randomness=random.SystemRandom(),
        is_paused=at.watch.is_paused,
        config=dispatching(on.settings, stop_within_s=_GRACE_S),
    )
    await on.life.start(Reporter(on.database, worker_id(SERVICE), drainer.reports, clock=clock, hook=hook))
    return drainer


def _guards(on: Ground) -> Mapping[Auth, Guard]:
    """Who may call what cron and providers call."""
    settings = on.settings
    tenant = Tenant(settings.default_tenant)
    cron = CronGuard(_rights(settings), Nonces(on.database), tenant=tenant, clock=on.clock, logger=on.told.logger)
    webhook = WebhookGuard(webhook_sources(settings), tenant=tenant, clock=on.clock, logger=on.told.logger)

    async def use_rights(changed: Settings) -> None:
        cron.use(_rights(changed))

    async def use_sources(changed: Settings) -> None:
        webhook.use(webhook_sources(changed))

    on.rotation.on_change(
        ["cron_secrets", "queue_processor_override_token", "queue_processor_legacy_secret"], use_rights
    )
    on.rotation.on_change(["webhook_secrets"], use_sources)
    return {Auth.CRON: cron, Auth.WEBHOOK: webhook}


def _rights(settings: Settings) -> CronRights:
    override = settings.queue_processor_override_token
    legacy = settings.queue_processor_legacy_secret if settings.queue_processor_legacy_mode else None
    return CronRights(
        secrets=settings.cron_secret_list,
        override=None if override is None else override.encode(),
        legacy=None if legacy is None else legacy.encode(),
    )


def webhook_sources(settings: Settings) -> Mapping[str, Source]:
    """Who may send webhooks, with the secrets in force."""
    return {
        name: Source(given.opened(name), given.window_s, given.remember_s)
        for name, given in settings.webhook_secrets.items()
    }
