"""Servers other than our own: with PGMQ as an extension, with an owner who is no superuser, and the oldest allowed."""

import datetime as dt
import importlib.resources
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

import fluxa
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres import migrate, sql
from fluxa.postgres.embedded import EmbeddedPostgres, binaries
from fluxa.postgres.pool import Database, PoolConfig, refuse_old
from fluxa.queue.backend import Envelope, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.backends.pgmq.tables import filled
from fluxa.queue.outcome import DONE, Dead, Retry
from fluxa.queue.record import Record

_PATHS_SINCE = 18
_CONTROL = "default_version = '{}'\nrelocatable = false\nschema = 'pgmq'\nsuperuser = false\n"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[str]:
    """The URL, with its database left open, of a server that offers the extension, made of the package's own SQL."""
    installation = next(binaries.find())
    if installation.major < _PATHS_SINCE:
        pytest.skip("only Postgres 18 and later can be shown extensions outside their own folder")
    source = importlib.resources.files("pgmq").joinpath("sql")
    version = source.joinpath("VERSION").read_text("ascii").strip()
    folder = tmp_path / "offered" / "extension"
    folder.mkdir(parents=True)
    (folder / "pgmq.control").write_text(_CONTROL.format(version))
    (folder / f"pgmq--{version}.sql").write_text(source.joinpath("pgmq.sql").read_text("utf-8"))
    postgres = EmbeddedPostgres(
        tmp_path / "home",
        settings={"fsync": "off", "extension_control_path": f"{folder.parent}:$system"},
        find=lambda: [installation],
    )
    await postgres.start()
    yield urllib.parse.urlsplit(postgres.url)._replace(path="/{}").geturl()
    await postgres.force_stop()


async def _owned_by_an_ordinary_role(server: str) -> str:
    """The URL of an empty database whose owner may do what an owner may, and no more."""
    name = f"owner_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(server.format("postgres"))
    await admin.execute(f"create role {name} login")
    await admin.execute(f"grant fluxa_tenant to {name}" if await _has_role(admin) else f"alter role {name} createrole")
    await admin.execute(f"create database {name} owner {name}")
    await admin.close()
    return server.format(name).replace("//fluxa@", f"//{name}@")


async def _has_role(admin: asyncpg.Connection) -> bool:
    return bool(await admin.fetchval("select exists (select from pg_roles where rolname = 'fluxa_tenant')"))


async def _works(database: Database) -> None:
    """A queue takes, gives, retries, parks and settles."""
    engine = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    await engine.create("orders")
    await engine.create("orders")
    await engine.send("orders", [Envelope((Record(id=f"r{n}", body=b"{}", created_at=now),)) for n in range(3)])
    done, again, dead = await engine.claim("orders", limit=10, lease_s=30)
    lost = await engine.settle(
        [
            Settlement(done, (DONE,)),
            Settlement(again, (Retry(now, "HandlerError", "once more"),)),
            Settlement(dead, (Dead("PayloadMissing", "gone"),)),
        ]
    )
    assert lost == []
    (second,) = await engine.claim("orders", limit=10, lease_s=30)
    assert second.records[0].id == again.records[0].id
    state = await engine.metrics("orders")
    assert (state.depth, state.dead) == (1, 1)
    assert await database.fetch_value("select queue_length from pgmq.metrics('orders')") == 1


@pytest.mark.req("QUEUE-1")
async def test_the_extension_is_used_where_the_server_has_it(server: str) -> None:
    url = await _owned_by_an_ordinary_role(server)
    database = Database(PoolConfig(url=url))
    await database.start()
    try:
        await migrate.migrate(database)
        assert await database.fetch_value("select extversion from pg_extension where extname = 'pgmq'") is not None
        await _works(database)
        assert await migrate.migrate(database) == ()
    finally:
        await database.stop()


@pytest.mark.req("QUEUE-1")
async def test_without_the_extension_the_owner_of_a_database_needs_no_superuser(postgres_server: str) -> None:
    url = await _owned_by_an_ordinary_role(postgres_server)
    database = Database(PoolConfig(url=url))
    await database.start()
    try:
        await migrate.migrate(database)
        assert await database.fetch_value("select extversion from pg_extension where extname = 'pgmq'") is None
        await _works(database)
    finally:
        await database.stop()


@pytest.mark.system("postgresql-15")
@pytest.mark.req("QUEUE-1")
async def test_the_oldest_postgres_understands_every_statement(tmp_path: Path) -> None:
    installation = binaries.inspect(Path("/usr/lib/postgresql/15/bin"))
    if installation is None:
        pytest.skip("Postgres 15 is not installed; on Debian: apt-get install postgresql-15")
    postgres = EmbeddedPostgres(tmp_path / "home", settings={"fsync": "off"}, find=lambda: [installation])
    await postgres.start()
    database = Database(PoolConfig(url=postgres.url))
    await database.start()
    try:
        await migrate.migrate(database)
        await _works(database)
        refused: list[str] = []
        async with database.connection() as handle:
            for path, name, text in _statements():
                try:
                    await handle.connection.prepare(filled(text, "orders"))
                except asyncpg.PostgresError as error:
                    refused.append(f"{path.name} {name}: {error}")
        assert refused == []
    finally:
        await database.stop()
        await postgres.force_stop()


def _statements() -> Iterator[tuple[Path, str, str]]:
    for path in sorted(Path(fluxa.__file__).parent.rglob("*.sql")):
        if path.parent.name != "migrations":
            for name, text in sql.parse(path.read_text("utf-8")).items():
                yield path, name, text


@pytest.mark.parametrize(("major", "fits"), [(9, False), (14, False), (15, True), (18, True)])
def test_a_server_older_than_15_is_refused_with_its_version(major: int, *, fits: bool) -> None:
    version = asyncpg.types.ServerVersion(major, 3, 0, "final", 0)
    if fits:
        refuse_old(version)
        return
    with pytest.raises(FluxaError, match=f"Postgres {major}") as caught:
        refuse_old(version)
    assert caught.value.code == ErrorCode.CONFIGURATION
