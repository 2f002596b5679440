"""The processor: stores events from the queue once each; keeps the months; redrives; serves health and metrics."""

import asyncio
import random

import fluxa
from fluxa.apps.database import open_database, open_wakeups
from fluxa.apps.engines import object_store, queue_backend, queue_monitor
from fluxa.apps.observe import Telemetry, observe
from fluxa.apps.process import Tie
from fluxa.apps.server import Draining, limits_of, listen, serve, url_of
from fluxa.apps.settings import Settings
from fluxa.auth.api_keys import ApiKeys
from fluxa.auth.key_guard import KeyGuard
from fluxa.events.carriage import QUEUE
from fluxa.events.partitions import PartitionKeeper, Partitions
from fluxa.events.process.lane import ProcessorConfig
from fluxa.events.process.processor import Processor
from fluxa.events.schemas.registry import SchemaRegistry
from fluxa.events.schemas.store import SchemaStore
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.kernel.lifecycle import Lifetime
from fluxa.postgres.pool import Database
from fluxa.providers.object_store import ObjectStore
from fluxa.queue.backend import QueueBackend
from fluxa.queue.dead_letters.runner import RedriveRunner
from fluxa.queue.health.controls import PauseWatch
from fluxa.queue.health.monitor import QueueMonitor
from fluxa.queue.health.reports import Reporter, worker_id
from fluxa.queue.policy import RetryPolicy
from fluxa.queue.registry import built_in
from fluxa.web import health, openapi, problems
from fluxa.web.app import App
from fluxa.web.identity import bearer

SERVICE = "processor"


async def process(settings: Settings, stopping: asyncio.Event, tie: Tie) -> None:
    """Run until `stopping` is set; what was begun by then is finished or given back to the queue.

    Raises:
        FluxaError: whatever keeps the process from starting.
    """
    told = observe(SERVICE, settings.log_level)
    clock = SystemClock()
    life = Lifetime()
    bound = listen(tie, settings.processor_host, settings.processor_port, setting="processor_port")
    try:
        database = await open_database(life, settings, SERVICE, hook=told.hook)
        listener, notifier = await open_wakeups(life, settings, database)
        backend = queue_backend(database, listener=listener, notifier=notifier)
        objects = object_store(settings)
        await life.start(_keeper(settings, database, told))
        registry = SchemaRegistry(SchemaStore(database), told.logger)
        await life.start(registry)
        watch = PauseWatch(database, clock=clock, hook=told.hook, listener=listener)
        await life.start(watch)
        await life.start(
            RedriveRunner(database, backend, clock=clock, hook=told.hook, registry=built_in(), listener=listener)
        )
        processor = Processor(
            database=database,
            backend=backend,
            objects=objects,
            schemas=registry,
            clock=clock,
            hook=told.hook,
            randomness=random.SystemRandom(),
            is_paused=watch.is_paused,
            config=_config(settings),
        )
        await life.start(Reporter(database, worker_id(SERVICE), processor.reports, clock=clock, hook=told.hook))
        await life.start(processor)
        monitor = queue_monitor(settings, told, database, backend, built_in(), queues=(QUEUE,))
        await life.start(monitor)
        draining = Draining()
        app = _app(
            told,
            database=database,
            backend=backend,
            objects=objects,
            processor=processor,
            monitor=monitor,
            draining=draining,
        )
        await serve(
            app,
            bound,
            limits_of(settings),
            stopping=stopping,
            ready=lambda: told.ready(SERVICE, url_of(bound), tie),
            drain=draining.drain,
        )
    finally:
        bound.close()
        await life.stop()
        told.logger.info("stopped")


def _keeper(settings: Settings, database: Database, told: Telemetry) -> PartitionKeeper:
    """Makes months and drops old ones."""
    months = settings.retention_months or None
    return PartitionKeeper(Partitions(database), clock=SystemClock(), hook=told.hook, retention_months=months)


def _app(
    told: Telemetry,
    *,
    database: Database,
    backend: QueueBackend,
    objects: ObjectStore,
    processor: Processor,
    monitor: QueueMonitor,
    draining: Draining,
) -> App:
    """Health and metrics."""
    readiness = health.Readiness(
        {
            "accepting": draining.check,
            "database": database.check,
            "queue": lambda: backend.metrics(QUEUE),
            "object_store": objects.check,
            "lanes": processor.check,
        },
        told.logger,
    )
    rows = [*health.routes(SERVICE, readiness, told.metrics, (monitor.refresh,)), problems.route()]
    return App(
        [*rows, openapi.route(rows, version=fluxa.__version__)],
        identify=bearer(KeyGuard(ApiKeys(database), SystemClock()).verify),
        hook=told.hook,
        logger=told.logger,
    )


def _config(settings: Settings) -> ProcessorConfig:
    return ProcessorConfig(
        lanes=settings.processor_lanes,
        claim_messages=settings.processor_claim_messages,
        batch_records=settings.processor_batch_records,
        lease_s=settings.lease_s,
        stop_within_s=settings.shutdown_timeout_s,
        default_tenant=Tenant(settings.default_tenant),
        policy=RetryPolicy(
            attempts_max=settings.retry_attempts_max, base_s=settings.retry_base_s, cap_s=settings.retry_cap_s
        ),
    )
