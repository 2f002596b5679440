"""The processor: stores events from the queue once each; keeps the months; redrives; serves health and metrics."""

import asyncio
import random

from fluxa.apps.application import application
from fluxa.apps.engines import object_store, open_served, queue_monitor
from fluxa.apps.serving.ground import Ground, ground
from fluxa.apps.serving.process import Tie
from fluxa.apps.settings import Settings
from fluxa.events.carriage import QUEUE
from fluxa.events.partitions import PartitionKeeper, Partitions
from fluxa.events.process.lane import ProcessorConfig
from fluxa.events.process.processor import Processor
from fluxa.events.schemas.registry import SchemaRegistry
from fluxa.events.schemas.store import SchemaStore
from fluxa.kernel.ids import Tenant
from fluxa.queue.dead_letters.runner import RedriveRunner
from fluxa.queue.health.reports import Reporter, worker_id
from fluxa.queue.policy import RetryPolicy

SERVICE = "processor"


async def process(settings: Settings, stopping: asyncio.Event, tie: Tie) -> None:
    """Run until `stopping` is set; what was begun by then is finished or given back to the queue.

    Raises:
        FluxaError: whatever keeps the process from starting.
    """
    queues = application(settings).registry
    async with ground(settings, SERVICE, tie) as on:
        database, clock, hook = on.database, on.clock, on.told.hook
        at = await open_served(on, queues)
        backend = at.backend
        objects = object_store(settings, on.rotation)
        await on.life.start(_keeper(on))
        registry = SchemaRegistry(SchemaStore(database), on.told.logger)
        await on.life.start(registry)
        on.told.metrics.follow_caches({"schemas": registry.count})
        redrives = RedriveRunner(database, backend, clock=clock, hook=hook, registry=queues, listener=at.listener)
        await on.life.start(redrives)
        processor = Processor(
            database=database,
            backend=backend,
            objects=objects,
            schemas=registry,
            clock=clock,
            hook=hook,
            randomness=random.SystemRandom(),
            is_paused=at.watch.is_paused,
            config=_config(settings),
        )
        await on.life.start(Reporter(database, worker_id(SERVICE), processor.reports, clock=clock, hook=hook))
        await on.life.start(processor)
        monitor = queue_monitor(settings, on.told, database, backend, queues, queues=(QUEUE,))
        await on.life.start(monitor)
        await on.serve(
            (),
            stopping=stopping,
            checks={
                "queue": lambda: backend.metrics(QUEUE),
                "object_store": objects.check,
                "lanes": processor.check,
            },
            refreshes=(monitor.refresh,),
        )


def _keeper(on: Ground) -> PartitionKeeper:
    """Makes months and drops old ones."""
    months = on.settings.retention_months or None
    return PartitionKeeper(Partitions(on.database), clock=on.clock, hook=on.told.hook, retention_months=months)


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
