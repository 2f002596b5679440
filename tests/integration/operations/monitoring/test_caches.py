"""Every cache counts what it was asked: Fluxa's own on real tables, Postgres and Valkey as they count themselves."""

import pytest

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.keys.key_guard import GuardLimits, KeyGuard
from fluxa.auth.roles import Role
from fluxa.events.schemas.registry import SchemaRegistry
from fluxa.events.schemas.store import SchemaStore
from fluxa.kernel.errors import DatabaseUnavailableError
from fluxa.kernel.ids import Tenant
from fluxa.operations.monitoring.caches import ServerCache, ServerCaches
from fluxa.postgres.pool import Database
from fluxa.providers.valkey import ValkeyLink, outages
from fluxa.telemetry.caches import CacheCount
from fluxa.telemetry.catalogue import MaintenanceFinished, Status
from fluxa.telemetry.duty import Duty
from fluxa.telemetry.log import make_logger
from fluxa.telemetry.metrics import Metrics
from fluxa.testing.clock import ManualClock
from fluxa.testing.signals import Signals
from identity.tokens import USER, office
from making.events import make_event
from making.stack import until

pytestmark = pytest.mark.req("OBS-5")


async def test_a_key_is_waited_for_once_and_known_until_it_is_asked_for_again(database: Database) -> None:
    keys, clock = ApiKeys(database), ManualClock()
    guard = KeyGuard(keys, clock, GuardLimits(fresh_s=30, absent_s=5))
    token = (await keys.create("acme", "ci", role=Role.ADMIN)).token
    for _ in range(10):
        assert await guard.verify(token) is not None
    assert guard.count == CacheCount(hits=9, misses=1)
    clock.advance(31)
    await guard.verify(token)
    assert guard.count == CacheCount(hits=9, misses=2)
    guard.doubt()
    await guard.verify(token)
    assert guard.count == CacheCount(hits=9, misses=3)
    unknown = token.replace(token.split("_")[1], "0" * len(token.split("_")[1]))
    for _ in range(3):
        assert await guard.verify(unknown) is None
    assert guard.count == CacheCount(hits=11, misses=4), "that there is none was remembered"


class _Away:
    """Finds keys until it is away."""

    def __init__(self, keys: ApiKeys) -> None:
        self.keys: ApiKeys | None = keys

    async def find(self, key_id: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - what keys give
        if self.keys is None:
            raise DatabaseUnavailableError("away")
        return await self.keys.find(key_id)


async def test_a_key_that_holds_in_an_outage_is_a_hit_but_for_whoever_waited(database: Database) -> None:
    keys, clock = ApiKeys(database), ManualClock()
    source = _Away(keys)
    guard = KeyGuard(source, clock, GuardLimits(fresh_s=30, retry_s=1))
    token = (await keys.create("acme", "ci", role=Role.ADMIN)).token
    await guard.verify(token)
    source.keys = None
    clock.advance(31)
    for _ in range(3):
        assert await guard.verify(token) is not None
    assert guard.count == CacheCount(hits=2, misses=2)
    clock.advance(2)
    assert await guard.verify(token) is not None
    assert guard.count == CacheCount(hits=3, misses=2)


async def test_a_token_is_taken_apart_once(database: Database) -> None:
    async with office(database) as at:
        token = await at.tokens.mint(USER, ttl_s=60)
        for _ in range(5):
            assert await at.tokens.verify(token) == USER
        assert at.tokens.count == CacheCount(hits=4, misses=1)


async def test_a_schema_is_compiled_once(database: Database) -> None:
    registry = SchemaRegistry(SchemaStore(database), make_logger("ingest", level="error"))
    await registry.start()
    try:
        acme, event = Tenant("acme"), make_event(1, tenant="acme")
        await registry.check(event, event.data)
        assert registry.count == CacheCount(), "a type without a schema asks no cache"
        await registry.put(acme, event.type, b"true")
        for _ in range(5):
            await registry.check(event, event.data)
        assert registry.count == CacheCount(hits=4, misses=1)
    finally:
        await registry.stop()


def test_a_server_is_counted_from_the_first_look_on_and_anew_when_it_begins_anew() -> None:
    cache = ServerCache()
    cache.seen(CacheCount(1000, 500))
    assert cache.count == CacheCount()
    cache.seen(CacheCount(1010, 501))
    assert cache.count == CacheCount(10, 1)
    cache.seen(CacheCount(7, 3))
    assert cache.count == CacheCount(17, 4)


async def test_what_postgres_and_valkey_had_at_hand_is_shown(database: Database, valkey_url: str) -> None:
    link, signals, metrics = ValkeyLink(valkey_url), Signals(), Metrics()
    await link.start()
    caches = ServerCaches(database, link, duty=Duty("cache_counts", clock=ManualClock(), hook=signals.hear))
    metrics.follow_caches({"postgres": caches.postgres.count, "valkey": caches.valkey.count})
    try:
        await caches.refresh()
        with outages():
            await link.client.set("there", "1")
            for name in ("there", "there", "there", "gone"):
                await link.client.get(name)

        async def read() -> bool:
            await database.fetch("select count(*) from pg_class, pg_stat_force_next_flush()")
            await caches.refresh()
            return caches.postgres.count.hits > 0

        await until(read)
        totals = metrics.totals("fluxa_cache_requests_total")
        assert totals["valkey", "hit"] == 3
        assert totals["valkey", "miss"] == 1
        assert totals["postgres", "hit"] == caches.postgres.count.hits
        assert not [one for one in signals.heard if isinstance(one, MaintenanceFinished)]
    finally:
        await link.stop()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a connection that was refused
async def test_a_server_that_does_not_say_is_told_once_and_the_other_goes_on(database: Database) -> None:
    link, signals = ValkeyLink("valkey://127.0.0.1:1/0", timeout_s=0.5), Signals()
    await link.start()
    caches = ServerCaches(database, link, duty=Duty("cache_counts", clock=ManualClock(), hook=signals.hear))
    try:

        async def read() -> bool:
            await database.fetch("select count(*) from pg_class, pg_stat_force_next_flush()")
            await caches.refresh()
            return caches.postgres.count.hits > 0

        await until(read)
        (told,) = [one for one in signals.heard if isinstance(one, MaintenanceFinished)]
        assert (told.task, told.status, told.error_code) == ("cache_counts", Status.FAILURE, "ProviderUnavailable")
    finally:
        await link.stop()
