"""The query routes over real HTTP on a real database, with two tenants and their keys."""

import contextlib
import datetime as dt
import hashlib
import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from obstore.store import MemoryStore

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.keys.key_guard import GuardLimits, KeyGuard
from fluxa.auth.roles import Role
from fluxa.events.event import parse
from fluxa.events.partitions import Partitions, month_of
from fluxa.events.query.follow import StreamLimits
from fluxa.events.query.routes import QueryDoor
from fluxa.events.query.routes import routes as query_routes
from fluxa.events.query.store import EventReads
from fluxa.events.query.tail import Tailer
from fluxa.events.store import EventStore, FailedAttempt, StoredEvent
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import CorrelationId, Tenant
from fluxa.postgres.pool import Database
from fluxa.providers.vendors.object_store import Objects
from fluxa.telemetry.log import make_logger
from fluxa.telemetry.metrics import Metrics
from fluxa.testing.serving import serving
from fluxa.testing.signals import Signals
from fluxa.web import health, openapi, problems
from fluxa.web.app import App
from fluxa.web.health import Readiness
from fluxa.web.identity import Access, bearer

RECEIVED = dt.datetime(2026, 3, 15, 12, tzinfo=dt.UTC)
MS = dt.timedelta(milliseconds=1)


def stored(
    number: int | str,
    *,
    tenant: str = "acme",
    received_at: dt.datetime = RECEIVED,
    correlation: str = "",
    attempt: int = 1,
    data_key: str | None = None,
    **attributes: Any,  # noqa: ANN401 - whatever an event's JSON may hold
) -> StoredEvent:
    """A row: what came in at `received_at` was enqueued 2, claimed 5 milliseconds after it."""
    members: dict[str, Any] = {"specversion": "1.0", "id": f"e-{number}", "source": "/flights"}
    members |= {"type": "flight.departed"} | ({"data": {"n": number}} if "data_base64" not in attributes else {})
    event = parse(
        json.dumps(members | attributes).encode(),
        tenant=Tenant(tenant),
        correlation_id=CorrelationId(correlation or f"c-{number}"),
        now=received_at,
    )
    return StoredEvent(
        event=event,
        received_at=received_at,
        data_key=data_key,
        data_bytes=len(event.data or b""),
        attempt=attempt,
        enqueued_at=received_at + 2 * MS,
        claimed_at=received_at + 5 * MS,
    )


def failed(number: int | str, *, tenant: str = "acme", correlation: str = "", **values: Any) -> FailedAttempt:  # noqa: ANN401
    """A failed attempt at that event."""
    given: dict[str, Any] = {
        "source": "/flights",
        "queue": "events",
        "stage": "process",
        "attempt": 1,
        "error_code": "DBConnectionError",
        "detail": "away",
        "parked": False,
    }
    return FailedAttempt(
        tenant=tenant, correlation_id=correlation or f"c-{number}", id=f"e-{number}", **(given | values)
    )


@dataclass
class QueryStand:
    """Everything that answers, and what a test may change."""

    database: Database
    app: App
    tailer: Tailer
    objects: Objects
    signals: Signals
    keys: dict[str, str] = field(default_factory=dict)
    url: str = ""

    async def write(self, *rows: StoredEvent) -> None:
        """Store events in one transaction."""
        await Partitions(self.database).ensure({month_of(row.received_at) for row in rows})
        async with self.database.transaction() as tx:
            await EventStore().write(tx, rows)

    async def fail(self, *failures: FailedAttempt) -> None:
        """Write failed attempts."""
        async with self.database.transaction() as tx:
            await EventStore().record_failures(tx, failures)

    async def put(self, data: bytes) -> str:
        """Store an object under its digest."""
        key = hashlib.sha256(data).hexdigest()
        await self.objects.put(key, data)
        return key

    def client(self, tenant: str = "acme") -> httpx.AsyncClient:
        """A client with the tenant's key."""
        return httpx.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {self.keys[tenant]}"})


def make_stand(database: Database, *, stream: StreamLimits | None = None, read_timeout_s: float = 5.0) -> QueryStand:
    """The parts, wired, not yet started."""
    clock, signals = SystemClock(), Signals()
    reads = EventReads(database, timeout_s=read_timeout_s)
    tailer = Tailer(reads, hook=signals.hear, clock=clock, poll_s=0.02)
    objects = Objects(MemoryStore())
    logger = make_logger("query", stream=io.StringIO())
    door = QueryDoor(reads, objects, tailer, clock, stream or StreamLimits())
    rows = [*query_routes(door), *health.routes("query", Readiness({}, logger), Metrics()), problems.route()]
    app = App(
        [*rows, openapi.route(rows, version="0.1.0")],
        identify=bearer(KeyGuard(ApiKeys(database), clock, GuardLimits(fresh_s=0.0, absent_s=0.0)).verify),
        access=Access(Tenant("default")),
        hook=signals.hear,
        logger=logger,
    )
    return QueryStand(database, app, tailer, objects, signals)


@contextlib.asynccontextmanager
async def running(stand: QueryStand) -> AsyncIterator[QueryStand]:
    """The stand, answering over HTTP, with a key for each of two tenants."""
    for tenant in ("acme", "other"):
        stand.keys[tenant] = (await ApiKeys(stand.database).create(tenant, "test", role=Role.ADMIN)).token
    await stand.tailer.start()
    async with serving(stand.app, before_stop=stand.tailer.stop) as stand.url:
        yield stand
