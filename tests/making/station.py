"""The station over real HTTP on a real database: an operator, a stranger with a key, and cron."""

import contextlib
import io
import json
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from fluxa.application import Fluxa
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.keys.key_guard import GuardLimits, KeyGuard
from fluxa.auth.nonces import Nonces
from fluxa.auth.roles import Role
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger import Ledger
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, Envelope, QueueBackend, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend, PgmqInsight
from fluxa.queue.dead_letters.quarantine import Quarantine
from fluxa.queue.dead_letters.tasks import RedriveTasks
from fluxa.queue.health.controls import Controls, PauseWatch
from fluxa.queue.health.monitor import QueueMonitor
from fluxa.queue.health.snapshot import HealthReader
from fluxa.queue.outcome import Dead
from fluxa.queue.record import DeadLetter, Record
from fluxa.queue.registry import QueueSpec, Registry
from fluxa.queue.worker.dispatcher import DispatcherConfig
from fluxa.queue.worker.drain import Drainer
from fluxa.station.audit.routes import AuditDoor
from fluxa.station.queues.routes import QueueDoor, routes
from fluxa.telemetry.catalogue import Hook
from fluxa.telemetry.log import make_logger
from fluxa.telemetry.metrics import Metrics
from fluxa.testing.serving import serving
from fluxa.testing.signals import Signals
from fluxa.web import health, openapi, problems
from fluxa.web.app import App
from fluxa.web.health import Readiness
from fluxa.web.identity import Access, bearer
from fluxa.web.identity.cron import CronGuard, CronRights
from fluxa.web.routes import Auth
from making.callers.calls import LEGACY, OLDER, OVERRIDE, SECRET

TENANT = Tenant("default")
RIGHTS = CronRights((SECRET.encode(), OLDER.encode()), OVERRIDE.encode(), LEGACY.encode())


@dataclass
class StationStand:
    """Everything that answers, and what a test may change."""

    database: Database
    registry: Registry
    backend: QueueBackend
    app: App
    signals: Signals
    log: io.StringIO
    keys: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def client(self, tenant: str = TENANT) -> httpx.AsyncClient:
        """A client with the tenant's key."""
        headers = {"Authorization": f"Bearer {self.keys[tenant]}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60)

    def told(self, event: str) -> list[dict[str, Any]]:
        """The log lines of this event."""
        return [line for line in map(json.loads, self.log.getvalue().splitlines()) if line["event"] == event]

    async def send(self, queue: str, *records: Record) -> list[str]:
        """Put records into a queue, each in a message of its own."""
        return await self.backend.send(queue, [Envelope((one,)) for one in records])

    async def bury(self, queue: str, *failed: tuple[Record, str]) -> list[DeadLetter]:
        """Make dead letters of records, each with its error code; all there are of the queue now."""
        await self.send(queue, *(record for record, _ in failed))
        codes = {record.id: code for record, code in failed}
        deliveries = await self.backend.claim(queue, limit=len(failed), lease_s=30)
        await self.backend.settle(
            [Settlement(one, (Dead(codes[one.records[0].id], "it broke"),)) for one in deliveries]
        )
        return await self.backend.dead_letters(queue, DeadLetterFilter(), limit=1000)


def record(number: int | str, *, body: bytes = b'{"n": 1}', key: str | None = None) -> Record:
    """A record whose id ends with this number."""
    return Record(id=f"r-{number}", body=body, created_at=SystemClock().now(), key=key, correlation_id=f"c-{number}")


def _door(database: Database, app: Fluxa, backend: QueueBackend, watch: PauseWatch, hook: Hook) -> QueueDoor:
    """What the rows need."""
    clock, registry = SystemClock(), app.registry
    reader = HealthReader(
        database=database,
        backend=backend,
        insight=PgmqInsight(database),
        registry=registry,
        clock=clock,
        hook=hook,
    )
    monitor = QueueMonitor(reader, registry, metrics=Metrics(), clock=clock, hook=hook)
    drainer = Drainer(
        backend=backend,
        registry=registry,
        handlers=app.handlers,
        database=database,
        clock=clock,
        hook=hook,
        randomness=random.Random(7),  # noqa: S311 - spreads retries
        is_paused=watch.is_paused,
        config=DispatcherConfig(stop_within_s=0.5),
    )
    return QueueDoor(
        registry=registry,
        backend=backend,
        controls=Controls(database),
        tasks=RedriveTasks(database, backend, registry=registry),
        quarantine=Quarantine(database, backend),
        reader=reader,
        monitor=monitor,
        drainer=drainer,
        budget_max_s=20.0,
        clock=clock,
        audit=Ledger(database),
    )


@contextlib.asynccontextmanager
async def open_station(
    database: Database, specs: Sequence[QueueSpec] | None = None, *, app: Fluxa | None = None
) -> AsyncIterator[StationStand]:
    """The station, answering over HTTP, with a key for the default tenant and for another one."""
    clock, signals, log = SystemClock(), Signals(), io.StringIO()
    logger = make_logger("station", stream=log)
    user = app or Fluxa(Registry(specs or (QueueSpec("jobs", priority=1), QueueSpec("mails", priority=2))))
    registry = user.registry
    backend = PgmqBackend(database, listener=None, notifier=None, clock=clock, keys=registry.key_rules)
    for spec in registry:
        await backend.create(spec.name)
    watch = PauseWatch(database, clock=clock, hook=signals.hear, period_s=0.05)
    await watch.start()
    door = _door(database, user, backend, watch, signals.hear)
    rows = [
        *routes(door),
        *AuditDoor(Ledger(database)).routes(),
        *health.routes("station", Readiness({}, logger), Metrics()),
        problems.route(),
    ]
    identify = bearer(KeyGuard(ApiKeys(database), clock, GuardLimits(fresh_s=0.0, absent_s=0.0)).verify)
    cron = CronGuard(RIGHTS, Nonces(database), tenant=TENANT, clock=clock, logger=logger)
    served = App(
        [*rows, openapi.route(rows, version="0.1.0")],
        identify=identify,
        access=Access(Tenant(TENANT)),
        guards={Auth.CRON: cron},
        hook=signals.hear,
        logger=logger,
    )
    stand = StationStand(database, registry, backend, served, signals, log)
    for tenant in (TENANT, "acme"):
        stand.keys[tenant] = (await ApiKeys(database).create(tenant, f"{tenant} key", role=Role.ADMIN)).token
    try:
        async with serving(served, before_stop=door.drainer.end) as stand.url:
            yield stand
    finally:
        await watch.stop()
