"""The ingest service: takes events in over HTTP and queues them durably."""

import asyncio

import fluxa
from fluxa.apps.database import open_database, open_wakeups
from fluxa.apps.engines import object_store, queue_backend
from fluxa.apps.observe import Telemetry, observe
from fluxa.apps.process import Tie
from fluxa.apps.server import Draining, limits_of, listen, serve
from fluxa.apps.settings import Settings
from fluxa.auth.api_keys import ApiKeys
from fluxa.auth.key_guard import KeyGuard
from fluxa.events.carriage import QUEUE
from fluxa.events.ingest import routes
from fluxa.events.ingest.claim_check import ClaimCheck
from fluxa.events.ingest.collector import Collector, CollectorLimits
from fluxa.events.ingest.decode import Limits
from fluxa.events.ingest.door import Door
from fluxa.events.schema_check import AnyData
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.lifecycle import Lifetime
from fluxa.postgres.pool import Database
from fluxa.providers.object_store import ObjectStore
from fluxa.queue.backend import QueueBackend
from fluxa.web import health, openapi
from fluxa.web.app import App
from fluxa.web.bodies import Bodies, BodyBudget
from fluxa.web.identity import bearer

SERVICE = "ingest"


async def ingest(settings: Settings, stopping: asyncio.Event, tie: Tie) -> None:
    """Run until `stopping` is set; what was acknowledged by then is durable.

    Raises:
        FluxaError: whatever keeps the service from starting.
    """
    told = observe(SERVICE, settings.log_level)
    life = Lifetime()
    bound = listen(tie, settings.ingest_host, settings.ingest_port, setting="ingest_port")
    try:
        database = await open_database(life, settings, SERVICE, hook=told.hook)
        _, notifier = await open_wakeups(life, settings, database)
        backend = queue_backend(database, notifier=notifier)
        await backend.create(QUEUE)
        objects = object_store(settings)
        # Started last, so stopped first: what the last requests left is committed while all else still works.
        collector = Collector(backend, limits=_collector_limits(settings), hook=told.hook)
        await life.start(collector)
        draining = Draining()
        app = _app(
            settings,
            told,
            database=database,
            backend=backend,
            objects=objects,
            collector=collector,
            draining=draining,
        )
        await serve(
            app,
            bound,
            limits_of(settings),
            stopping=stopping,
            ready=lambda: told.ready(tie.ready),
            drain=draining.begin,
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


def _app(
    settings: Settings,
    told: Telemetry,
    *,
    database: Database,
    backend: QueueBackend,
    objects: ObjectStore,
    collector: Collector,
    draining: Draining,
) -> App:
    clock = SystemClock()
    door = Door(
        collector=collector,
        claim_check=ClaimCheck(objects, inline_max_bytes=settings.claim_check_over_bytes),
        schema_check=AnyData(),
        clock=clock,
        hook=told.hook,
        limits=Limits(event_bytes=settings.event_max_bytes, events=settings.request_max_events),
    )
    bodies = Bodies(
        max_bytes=settings.request_max_bytes,
        timeout_s=settings.http_body_timeout_s,
        budget=BodyBudget(settings.collector_max_bytes),
    )
    readiness = health.Readiness(
        {
            "accepting": draining.check,
            "database": database.check,
            "queue": lambda: backend.metrics(QUEUE),
            "object_store": objects.check,
        },
        told.logger,
    )
    rows = [*routes.routes(door, bodies), *health.routes(SERVICE, readiness, told.metrics)]
    rows.append(openapi.route(rows, version=fluxa.__version__))
    return App(rows, identify=bearer(KeyGuard(ApiKeys(database), clock).verify), hook=told.hook, logger=told.logger)
