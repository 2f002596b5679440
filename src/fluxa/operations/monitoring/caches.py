"""How often Postgres and Valkey had at hand what they were asked for. Not: Fluxa's own caches, which count it too."""

import asyncio
from typing import Final

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.providers.valkey import ValkeyLink, outages
from fluxa.telemetry.caches import CacheCount
from fluxa.telemetry.duty import Duty

_SQL: Final = sql.load("fluxa.operations.monitoring", "caches.sql")


class ServerCache:
    """One server's cache, counted from the first look of this process on.

    Attributes:
        count: what is known so far.
    """

    def __init__(self) -> None:
        self.count = CacheCount()
        self._before: CacheCount | None = None

    def seen(self, now: CacheCount) -> None:
        """Add what grew since the last look; a server that began anew counts from nothing."""
        before, self._before = self._before, now
        if before is None:
            return
        if now.hits < before.hits or now.misses < before.misses:
            before = CacheCount()
        self.count.hits += now.hits - before.hits
        self.count.misses += now.misses - before.misses


class ServerCaches:
    """The buffers of one database and, where there is one, the keys of a Valkey: all that is asked of it, by anybody.

    Args:
        database: whose buffers.
        valkey: whose keys; None where there is none.
        duty: told when a server does not say; what is known stays as it is then.
    """

    def __init__(self, database: Database, valkey: ValkeyLink | None, *, duty: Duty) -> None:
        self._database = database
        self._valkey = valkey
        self._duty = duty
        # Of two looks at once the older answer may come last, and would pass for a server that began anew.
        self._looking = asyncio.Lock()
        self.postgres = ServerCache()
        self.valkey = ServerCache()

    async def refresh(self) -> None:
        """Look again, before a scrape."""
        async with self._looking:
            try:
                self.postgres.seen(await self._buffers())
                if self._valkey is not None:
                    self.valkey.seen(await _keys(self._valkey))
            except FluxaError as error:
                self._duty.failed(error)
            else:
                self._duty.worked()

    async def _buffers(self) -> CacheCount:
        row = await self._database.fetch_row(_SQL["read_buffer_counts"])
        if row is None:
            raise FluxaError(ErrorCode.INTERNAL, "Postgres has no counts of this database.")
        return CacheCount(row["hits"], row["misses"])


async def _keys(valkey: ValkeyLink) -> CacheCount:
    with outages():
        stats = await valkey.client.info("stats")
    try:
        return CacheCount(int(stats["keyspace_hits"]), int(stats["keyspace_misses"]))
    except (KeyError, ValueError):
        raise FluxaError(ErrorCode.PROVIDER_REJECTED, "Valkey does not say how often it found keys.") from None
