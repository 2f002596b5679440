"""The ingest service: takes events in over HTTP and queues them durably."""

import asyncio

import fluxa
from fluxa.apps.database import open_database, open_wakeups
from fluxa.apps.engines import object_store, queue_backend
from fluxa.apps.observe import Telemetry, observe
from fluxa.apps.process import Tie
from fluxa.apps.server import Draining, limits_of, listen, serve, url_of
from fluxa.apps.settings import Settings
from fluxa.auth.api_keys import ApiKeys
from fluxa.auth.key_guard import KeyGuard
from fluxa.events.carriage import QUEUE
from fluxa.events.ingest.claim_check import ClaimCheck
from fluxa.events.ingest.collector import Collector, CollectorLimits
from fluxa.events.ingest.decode import Limits
from fluxa.events.ingest.door import Door
from fluxa.events.ingest.routes import routes
from fluxa.events.ingest.schema_routes import schema_routes
from fluxa.events.schemas.registry import SchemaRegistry
from fluxa.events.schemas.store import SchemaStore
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.lifecycle import Lifetime
from fluxa.postgres.pool import Database
from fluxa.providers.object_store import ObjectStore
from fluxa.web import health, openapi, problems
from fluxa.web.app import App
from fluxa.web.bodies import Bodies, BodyBudget
from fluxa.web.idempotency import RequestKeys
from fluxa.web.identity import bearer
from fluxa.web.routes import Route

SERVICE = "ingest"


async def ingest(settings: Settings, stopping: asyncio.Event, tie: Tie) -> None:
    """Run until `stopping` is set; what was acknowledged by then is durable.

    Raises:
        FluxaError: whatever keeps the service from starting.
    """
    told = observe(SERVICE, settings.log_level)
    life = Lifetime()
    bound = listen(tie, settings.ingest_host, settings.ingest_port, setting="ingest_port")
    address = url_of(bound)
    try:
        database = await open_database(life, settings, SERVICE, hook=told.hook)
        _, notifier = await open_wakeups(life, settings, database)
        backend = queue_backend(database, notifier=notifier)
        await backend.create(QUEUE)
        objects = object_store(settings)
        collector = Collector(backend, limits=_collector_limits(settings), hook=told.hook)
        await life.start(collector)
        draining = Draining()
        readiness = health.Readiness(
            {
                "accepting": draining.check,
                "database": database.check,
                "queue": lambda: backend.metrics(QUEUE),
                "object_store": objects.check,
            },
            told.logger,
        )
        rows = [
            *await _rows(life, settings, told, database=database, objects=objects, collector=collector),
            *health.routes(SERVICE, readiness, told.metrics),
            problems.route(),
        ]
        rows.append(openapi.route(rows, version=fluxa.__version__))
        verify = KeyGuard(ApiKeys(database), SystemClock()).verify
        app = App(rows, identify=bearer(verify), hook=told.hook, logger=told.logger)
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


def _collector_limits(settings: Settings) -> CollectorLimits:
    return CollectorLimits(
        waiting_records=settings.collector_max_events,
        waiting_bytes=settings.collector_max_bytes,
        envelope_records=settings.envelope_max_records,
        envelope_bytes=settings.envelope_max_bytes,
    )


async def _rows(
    life: Lifetime,
    settings: Settings,
    told: Telemetry,
    *,
    database: Database,
    objects: ObjectStore,
    collector: Collector,
) -> list[Route]:
    """The service's own routes; what they need to run ends when `life` stops."""
    store = SchemaStore(database)
    registry = SchemaRegistry(store, told.logger)
    await life.start(registry)
    keys = RequestKeys(database, told.logger)
    await life.start(keys)
    door = Door(
        collector=collector,
        claim_check=ClaimCheck(objects, inline_max_bytes=settings.claim_check_over_bytes),
        schema_check=registry,
        clock=SystemClock(),
        hook=told.hook,
        limits=Limits(event_bytes=settings.event_max_bytes, events=settings.request_max_events),
    )
    bodies = Bodies(
        max_bytes=settings.request_max_bytes,
        timeout_s=settings.http_body_timeout_s,
        budget=BodyBudget(settings.collector_max_bytes),
    )
    return [*routes(door, bodies, keys), *schema_routes(registry, store, bodies)]
