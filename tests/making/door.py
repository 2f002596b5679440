"""A door over real HTTP: Postgres, PGMQ, a folder of objects, two tenants with a key each."""

import contextlib
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from fluxa.auth.principal import Principal
from fluxa.auth.roles import Role
from fluxa.events.carriage import QUEUE
from fluxa.events.ingest.claim_check import ClaimCheck
from fluxa.events.ingest.collector import Collector, CollectorLimits
from fluxa.events.ingest.door import Door
from fluxa.events.ingest.routes import routes
from fluxa.events.ingest.schema_routes import schema_routes
from fluxa.events.schemas.registry import SchemaRegistry
from fluxa.events.schemas.store import SchemaStore
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.postgres.pool import Database
from fluxa.providers.vendors.object_store import FolderObjects
from fluxa.queue.backends.pgmq.backend import PgmqBackend
from fluxa.queue.record import Record
from fluxa.telemetry.log import make_logger
from fluxa.testing.serving import serving
from fluxa.testing.signals import Signals
from fluxa.web import openapi
from fluxa.web.app import App
from fluxa.web.bodies import Bodies
from fluxa.web.idempotency import RequestKeys
from fluxa.web.identity import Access, VerifyToken, bearer

KEYS = {"key-acme": "acme", "key-other": "other"}


async def _verify(token: str) -> Principal | None:
    tenant = KEYS.get(token)
    return None if tenant is None else Principal(Tenant(tenant), tenant, Role.ADMIN)


@dataclass(slots=True)
class Stand:
    """What a test of the door holds in its hands."""

    client: httpx.AsyncClient
    backend: PgmqBackend
    objects: FolderObjects
    folder: Path
    signals: Signals
    log: io.StringIO
    registry: SchemaRegistry
    app: App

    async def queued(self) -> list[Record]:
        """All records that are in the queue and not claimed yet, in order; they are claimed now."""
        deliveries = await self.backend.claim(QUEUE, limit=1000, lease_s=60)
        return [record for delivery in deliveries for record in delivery.records]


@contextlib.asynccontextmanager
async def open_door(
    database: Database,
    folder: Path,
    *,
    limits: CollectorLimits | None = None,
    body_timeout_s: float = 5.0,
    verify: VerifyToken = _verify,
) -> AsyncIterator[Stand]:
    """The door, served on a free loopback port."""
    signals, log = Signals(), io.StringIO()
    logger = make_logger("ingest", stream=log)
    backend = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
    await backend.create(QUEUE)
    collector = Collector(backend, limits=limits, hook=signals.hear)
    store = SchemaStore(database)
    registry = SchemaRegistry(store, logger, refresh_s=0.05)
    objects = FolderObjects(folder)
    bodies = Bodies(timeout_s=body_timeout_s)
    door = Door(
        collector=collector,
        claim_check=ClaimCheck(objects),
        schema_check=registry,
        clock=SystemClock(),
        hook=signals.hear,
    )
    rows = [*routes(door, bodies, RequestKeys(database, logger)), *schema_routes(registry, store, bodies)]
    app = App(
        [*rows, openapi.route(rows, version="0")],
        identify=bearer(verify),
        access=Access(Tenant("default")),
        hook=signals.hear,
        logger=logger,
    )
    await registry.start()
    try:
        async with serving(app, before_stop=collector.stop) as url:
            headers = {"authorization": "Bearer key-acme"}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
                yield Stand(client, backend, objects, folder, signals, log, registry, app)
    finally:
        await registry.stop()
