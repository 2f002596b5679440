"""The ingest service: takes events in over HTTP and queues them durably."""

import asyncio

from fluxa.apps.engines import object_store, open_queues
from fluxa.apps.operations.flags import follow_flags
from fluxa.apps.serving.ground import Ground, ground
from fluxa.apps.serving.process import Tie
from fluxa.apps.settings import Settings
from fluxa.events.carriage import QUEUE
from fluxa.events.ingest.claim_check import ClaimCheck
from fluxa.events.ingest.collector import Collector, CollectorLimits
from fluxa.events.ingest.decode import Limits
from fluxa.events.ingest.door import Door
from fluxa.events.ingest.routes import routes
from fluxa.events.ingest.schema_routes import schema_routes
from fluxa.events.schemas.registry import SchemaRegistry
from fluxa.events.schemas.store import SchemaStore
from fluxa.operations.flags import INGEST_PACKING
from fluxa.providers.object_store import ObjectStore
from fluxa.web.bodies import Bodies, BodyBudget
from fluxa.web.idempotency import RequestKeys
from fluxa.web.routes import Route

SERVICE = "ingest"


async def ingest(settings: Settings, stopping: asyncio.Event, tie: Tie) -> None:
    """Run until `stopping` is set; what was acknowledged by then is durable.

    Raises:
        FluxaError: whatever keeps the service from starting.
    """
    async with ground(settings, SERVICE, tie) as on:
        backend = await open_queues(on.life, settings, on.database, notifier=on.notifier, rotation=on.rotation)
        await backend.create(QUEUE)
        objects = object_store(settings, on.rotation)
        flags = await follow_flags(on)
        collector = Collector(
            backend,
            limits=_collector_limits(settings),
            hook=on.told.hook,
            is_packing=lambda: flags.is_on(INGEST_PACKING),
        )
        await on.life.start(collector)
        await on.serve(
            await _rows(on, objects, collector),
            stopping=stopping,
            checks={"queue": lambda: backend.metrics(QUEUE), "object_store": objects.check},
        )


def _collector_limits(settings: Settings) -> CollectorLimits:
    return CollectorLimits(
        waiting_records=settings.collector_max_events,
        waiting_bytes=settings.collector_max_bytes,
        envelope_records=settings.envelope_max_records,
        envelope_bytes=settings.envelope_max_bytes,
    )


async def _rows(on: Ground, objects: ObjectStore, collector: Collector) -> list[Route]:
    """The service's own routes; what they need to run ends with the process."""
    settings = on.settings
    store = SchemaStore(on.database)
    registry = SchemaRegistry(store, on.told.logger)
    await on.life.start(registry)
    on.told.metrics.follow_caches({"schemas": registry.count})
    keys = RequestKeys(on.database, on.told.logger)
    await on.life.start(keys)
    door = Door(
        collector=collector,
        claim_check=ClaimCheck(objects, inline_max_bytes=settings.claim_check_over_bytes),
        schema_check=registry,
        clock=on.clock,
        hook=on.told.hook,
        limits=Limits(event_bytes=settings.event_max_bytes, events=settings.request_max_events),
    )
    bodies = Bodies(
        max_bytes=settings.request_max_bytes,
        timeout_s=settings.http_body_timeout_s,
        budget=BodyBudget(settings.collector_max_bytes),
    )
    return [*routes(door, bodies, keys), *schema_routes(registry, store, bodies)]
