"""The password of Postgres is changed while events come: none is refused, on a server that asks for passwords."""

import asyncio
import itertools
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from fluxa.apps.ingest import ingest
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.kernel.errors import FluxaError
from fluxa.postgres import migrate
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database, PoolConfig
from integration.process.rotation.stand import Files, Heard, load, posting, rotates, running

pytestmark = [pytest.mark.req("SEC-5")]

ROLE = "rotated"


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that asks one role for its password; the URL of its owner."""
    folder = tmp_path_factory.mktemp("strict")
    hba = folder / "hba.conf"
    hba.write_text(f"local all {ROLE} scram-sha-256\nlocal all all trust\n", "utf-8")
    server = EmbeddedPostgres(folder, settings={"hba_file": str(hba), "fsync": "off"})
    asyncio.run(server.start())
    try:
        asyncio.run(_say(server.url, f"create role {ROLE} superuser login"))
        yield server.url
    finally:
        asyncio.run(server.force_stop())


@pytest.fixture
async def strict(strict_server: str) -> str:
    """The same with a password that each test knows."""
    await _change(strict_server, "first")
    return strict_server


async def _say(owner: str, statement: str) -> None:
    admin = await asyncpg.connect(owner)
    await admin.execute(statement)
    await admin.close()


def _url(owner: str, password: str) -> str:
    return urllib.parse.urlsplit(owner)._replace(netloc=f"{ROLE}:{password}@").geturl()


async def _change(owner: str, password: str) -> None:
    await _say(owner, f"alter role {ROLE} password '{password}'")


async def _since(owner: str, what: str) -> int:
    """How many connections of the role are older than this moment."""
    admin = await asyncpg.connect(owner)
    count = await admin.fetchval(
        "select count(*) from pg_stat_activity where usename = $1 and backend_start < $2::text::timestamptz",
        ROLE,
        what,
    )
    await admin.close()
    return int(count)


@rotates("database_url", "database_listen_url")
async def test_the_password_is_changed_while_events_come(
    strict: str, tmp_path: Path, unused_tcp_port: int, heard: Heard
) -> None:
    files, numbers = Files(tmp_path), itertools.count()
    first = Database(PoolConfig(url=strict, size_max=1))
    await first.start()
    await migrate.migrate(first)
    key = (await ApiKeys(first).create("acme", "ci", role=Role.INTEGRATION)).token
    await first.stop()
    for name in ("database_url", "database_listen_url"):
        files.write(name, _url(strict, "first"))
    chosen = files.settings(ingest_port=unused_tcp_port)

    def event() -> object:
        return {"specversion": "1.0", "id": f"e-{next(numbers)}", "source": "/t", "type": "t", "data": {}}

    async with (
        running(ingest, chosen, unused_tcp_port) as url,
        httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/cloudevents+json"},
            trust_env=False,
            timeout=30,
        ) as client,
        load() as calls,
    ):
        calls.begin(posting(client, "/v1/events", event, expect=202), callers=1)
        await calls.more()
        for name in ("database_url", "database_listen_url"):
            files.write(name, _url(strict, "second"))
        await heard.refused("database_url")
        await _change(strict, "second")
        admin = await asyncpg.connect(strict)
        moment = await admin.fetchval("select clock_timestamp()::text")
        await admin.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(_url(strict, "first"))
        calls.begin(posting(client, "/v1/events", event, expect=202), callers=8)
        await heard.taken_up("database_listen_url")
        async with asyncio.timeout(30):
            while await _since(strict, moment):  # noqa: ASYNC110 - only the server knows
                await asyncio.sleep(0.05)
        await calls.more(50)


async def test_a_password_that_is_changed_before_the_next_look_is_known_already(strict: str) -> None:
    pool = Database(PoolConfig(url=_url(strict, "first"), size_min=1, size_max=2))
    ears = Listener(PoolConfig(url=_url(strict, "first")), reconnect_s=0.05)
    await pool.start()
    await ears.start()
    try:
        for part in (pool, ears):
            with pytest.raises(FluxaError, match="refused the login"):
                await part.use(_url(strict, "second"))
        assert await pool.fetch_value("select 1") == 1
        await _change(strict, "second")
        async with pool.connection(), pool.connection() as fresh:
            assert await fresh.fetch_value("select 1") == 1
        await pool.use(_url(strict, "second"))
        await ears.use(_url(strict, "second"))
        async with asyncio.timeout(30):
            while not ears.is_connected:  # noqa: ASYNC110 - it says so nowhere else
                await asyncio.sleep(0.02)
        assert pool.config.url == _url(strict, "second")
    finally:
        await ears.stop()
        await pool.stop()


async def test_a_password_that_nobody_was_told_of_is_still_refused(strict: str) -> None:
    pool = Database(PoolConfig(url=_url(strict, "first"), size_min=0, size_max=1))
    await pool.start()
    await _change(strict, "second")
    with pytest.raises(FluxaError, match="refused the login"):
        await pool.fetch_value("select 1")
    await pool.stop()
