"""The one Postgres that all contestants share: Fluxa's embedded one, a fresh database for each measurement."""

import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncpg

from fluxa.events.partitions import Partitions, month_of
from fluxa.kernel.clock import SystemClock
from fluxa.postgres import migrate
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.pool import Database, PoolConfig

SHOWN = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "wal_compression",
)
"""Server settings that a reader of the results wants to know."""

_TEMPLATE = "bench_template"


class Server:
    """The running server."""

    def __init__(self, postgres: EmbeddedPostgres, home: Path) -> None:
        self._postgres = postgres
        self.home = home

    def url(self, database: str) -> str:
        """The address of one of its databases."""
        before, _, after = self._postgres.url.partition("/fluxa?")
        return f"{before}/{database}?{after}"

    async def prepare(self) -> None:
        """Make the migrated template."""
        admin = await asyncpg.connect(self._postgres.url)
        await admin.execute(f"create database {_TEMPLATE}")
        await admin.close()
        database = Database(PoolConfig(url=self.url(_TEMPLATE), size_max=2))
        await database.start()
        await migrate.migrate(database)
        await Partitions(database).ensure([month_of(SystemClock().now())])
        await database.stop()

    def fresh(self) -> AbstractAsyncContextManager[str]:
        """The address of an empty, migrated database; what came before has been written out."""
        return self._created(_TEMPLATE)

    def empty(self) -> AbstractAsyncContextManager[str]:
        """The same without migrations, for a program that brings its own."""
        return self._created("template0")

    @contextlib.asynccontextmanager
    async def _created(self, template: str) -> AsyncIterator[str]:
        name = f"bench_{uuid.uuid4().hex[:8]}"
        admin = await asyncpg.connect(self._postgres.url)
        try:
            await admin.execute(f"create database {name} template {template}")
            await admin.execute("checkpoint")
            yield self.url(name)
        finally:
            await admin.execute(f"drop database if exists {name} with (force)")
            await admin.close()

    def sync_ms(self, samples: int = 200) -> list[float]:
        """How long this disk takes to make a page durable: what each commit waits for."""
        file = self.home / "sync.probe"
        taken: list[float] = []
        with file.open("wb", buffering=0) as probe:
            for _ in range(samples):
                probe.seek(0)
                probe.write(bytes(8192))
                begin = time.perf_counter()
                os.fdatasync(probe.fileno())
                taken.append((time.perf_counter() - begin) * 1000)
        file.unlink()
        return taken

    async def settings(self) -> dict[str, str]:
        """What was measured on."""
        admin = await asyncpg.connect(self._postgres.url)
        try:
            return {name: str(await admin.fetchval("select current_setting($1)", name)) for name in SHOWN}
        finally:
            await admin.close()


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Server]:
    """A server in a temporary folder, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="fluxa-bench-") as folder:
        home = Path(folder)
        postgres = EmbeddedPostgres(home)
        await postgres.start()
        try:
            server = Server(postgres, home)
            await server.prepare()
            yield server
        finally:
            await postgres.stop()
