"""What talks to Postgres, behind a real PgBouncer that lends server connections for one transaction only."""

import asyncio
import contextlib
import datetime as dt
import json
import os
import random
import shutil
import socket
import subprocess
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest

from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError, LeaseLostError
from fluxa.kernel.ids import Tenant
from fluxa.operations.tenants.check import check
from fluxa.postgres import migrate
from fluxa.postgres.listen import Listener, Notifier
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.postgres.tenancy import as_tenant
from fluxa.queue.backend import Envelope, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.outcome import DONE, Dead
from fluxa.queue.record import Record
from making.stack import stack, until

pytestmark = pytest.mark.system("pgbouncer")

_NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_SERVER_CONNECTIONS = 3


@dataclass(frozen=True, slots=True)
class Bouncer:
    """A running PgBouncer: where it listens, with the database's name left open, and its process."""

    url: str
    pid: int


@pytest.fixture(scope="module")
def bouncer(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bouncer]:
    """PgBouncer in transaction mode before the tests' server, with fewer connections than its clients want."""
    program = shutil.which("pgbouncer", path=f"{os.defpath}:/usr/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("PgBouncer is not installed; on Debian: apt-get install pgbouncer")
    folder = tmp_path_factory.mktemp("pgbouncer")
    server = urllib.parse.parse_qs(urllib.parse.urlsplit(postgres_server).query)["host"][0]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"""[databases]
* = host={server} port=5432 user=fluxa
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {_SERVER_CONNECTIONS}
max_client_conn = 200
logfile = {folder}/pgbouncer.log
"""
    )
    # It refuses root; in a user namespace root is nobody and can still reach the server's private socket.
    prefix = ["unshare", "--user", "--"] if os.geteuid() == 0 else []
    running = subprocess.Popen([*prefix, program, settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"postgresql://fluxa@127.0.0.1:{port}/{{}}"
        asyncio.run(_answers(url.format("postgres"), folder / "pgbouncer.log"))
        yield Bouncer(url, running.pid)
    finally:
        running.terminate()
        running.wait(20)


async def _answers(url: str, log: Path) -> None:
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError, asyncpg.PostgresError):
                    connection = await asyncpg.connect(url, statement_cache_size=0)
                    await connection.close()
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"PgBouncer did not come up: {await asyncio.to_thread(log.read_text)}")


@pytest.fixture
async def fresh(postgres_server: str, bouncer: Bouncer) -> AsyncIterator[str]:
    """The URL, through PgBouncer, of an empty database."""
    name = f"bounced_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_server.format("postgres"))
    await admin.execute(f"create database {name}")
    try:
        yield bouncer.url.format(name)
    finally:
        await admin.execute(f"drop database {name} with (force)")
        await admin.close()


@pytest.fixture
async def bounced(fresh: str) -> AsyncIterator[Database]:
    """A pool behind PgBouncer on a database that was migrated through it."""
    pool = Database(PoolConfig(url=fresh, prepared=False, size_max=20, connect_timeout_s=20))
    await pool.start()
    await migrate.migrate(pool)
    try:
        yield pool
    finally:
        await pool.stop()


def _record(number: int) -> Record:
    return Record(id=f"r{number}", body=b'{"n":%d}' % number, created_at=_NOW)


async def test_it_migrates_and_finds_nothing_left_to_do(bounced: Database) -> None:
    assert (await migrate.status(bounced)).pending == ()
    assert await migrate.migrate(bounced) == ()
    await migrate.check(bounced)


async def test_two_pools_that_migrate_at_once_apply_each_step_once(fresh: str) -> None:
    pools = [Database(PoolConfig(url=fresh, prepared=False)) for _ in range(2)]
    for pool in pools:
        await pool.start()
    applied = await asyncio.gather(*(migrate.migrate(pool) for pool in pools))
    assert sorted(step.number for steps in applied for step in steps) == [s.number for s in migrate.migrations()]
    for pool in pools:
        await pool.stop()


async def test_many_transactions_at_once_see_only_their_own_work(bounced: Database) -> None:
    await bounced.execute("create table counts (who int, n int)")

    async def work(who: int) -> None:
        for n in range(10):
            async with bounced.transaction() as tx:
                await tx.execute("insert into counts values ($1, $2)", who, n)
                await tx.fetch_value("select pg_backend_pid()")
                assert await tx.fetch_value("select count(*) from counts where who = $1 and n = $2", who, n) == 1

    await asyncio.gather(*(work(who) for who in range(20)))
    assert await bounced.fetch_value("select count(*) from counts") == 200
    servers = await bounced.fetch_value("select count(*) from pg_stat_activity where datname = current_database()")
    assert servers <= _SERVER_CONNECTIONS


async def test_statements_with_types_of_the_database_itself_work_outside_transactions(bounced: Database) -> None:
    await bounced.execute("create type mood as enum ('ok', 'bad')")
    for _ in range(10):
        answers = await asyncio.gather(
            *(bounced.fetch_value("select array[$1::mood, 'bad']", "ok") for _ in range(10)),
            *(bounced.fetch_value("select $1::jsonb", '{"a": 1}') for _ in range(10)),
        )
        assert answers == [["ok", "bad"]] * 10 + ['{"a": 1}'] * 10


async def test_copy_works(bounced: Database) -> None:
    await bounced.execute("create table copied (n int, text text)")
    async with bounced.transaction() as tx:
        await tx.copy("public", "copied", ("n", "text"), [(n, f"row {n}") for n in range(1000)])
    assert await bounced.fetch_value("select sum(n) from copied") == 499_500


@pytest.mark.req("QUEUE-1")
async def test_a_queue_is_sent_claimed_and_settled(bounced: Database) -> None:
    engine = PgmqBackend(bounced, listener=None, notifier=None, clock=SystemClock())
    await engine.create("orders")
    await asyncio.gather(
        *(engine.send("orders", [Envelope((_record(n * 10 + m),)) for m in range(10)]) for n in range(20))
    )
    done: list[str] = []

    async def worker() -> None:
        while claimed := await engine.claim("orders", limit=7, lease_s=30):
            async with bounced.transaction() as tx:
                await engine.settle([Settlement(delivery, (DONE,)) for delivery in claimed], tx=tx)
            done.extend(record.id for delivery in claimed for record in delivery.records)

    await asyncio.gather(*(worker() for _ in range(8)))
    assert sorted(done) == sorted(f"r{n}" for n in range(200))
    assert (await engine.metrics("orders")).depth == 0


@pytest.mark.req("QUEUE-3", "QUEUE-8")
async def test_a_lost_lease_and_a_dead_letter_are_kept_apart(bounced: Database) -> None:
    engine = PgmqBackend(bounced, listener=None, notifier=None, clock=SystemClock())
    await engine.create("orders")
    await engine.send("orders", [Envelope((_record(1),)), Envelope((_record(2),))])
    one, two = await engine.claim("orders", limit=2, lease_s=30)
    assert await engine.settle([Settlement(one, (Dead("PayloadMissing", "gone"),))]) == []
    with pytest.raises(LeaseLostError):
        async with bounced.transaction() as tx:
            await engine.settle([Settlement(one, (DONE,)), Settlement(two, (DONE,))], tx=tx)
    state = await engine.metrics("orders")
    assert (state.depth, state.dead) == (1, 1)


async def test_a_waiter_falls_back_to_its_timeout_where_no_notification_comes_through(bounced: Database) -> None:
    listener = Listener(bounced.config)
    await listener.start()
    notifier = Notifier(bounced)
    notifier.announce("orders")
    await notifier.stop()
    await listener.wait("orders", 0.2)  # PgBouncer may or may not let it through; what counts is that it returns
    assert await listener.wait("orders", 0.2) is False
    await listener.stop()


async def test_prepared_statements_are_refused_with_the_setting_that_turns_them_off(fresh: str) -> None:
    pool = Database(PoolConfig(url=fresh, prepared=True))
    with pytest.raises(FluxaError, match="FLUXA_DATABASE_PREPARED=false") as caught:
        await pool.start()
    assert caught.value.code == ErrorCode.CONFIGURATION


async def test_a_server_connection_that_dies_is_an_outage_and_then_none(bounced: Database) -> None:
    with pytest.raises(DatabaseUnavailableError):
        async with bounced.transaction() as tx:
            await tx.fetch_value("select pg_terminate_backend(pg_backend_pid())")
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(DatabaseUnavailableError):
                assert await bounced.fetch_value("select 1") == 1
                break


@pytest.mark.req("SEC-4")
async def test_tenants_on_shared_server_connections_see_their_own_rows_whatever_they_ask(bounced: Database) -> None:
    """Role and tenant end with the transaction: who gets the connection next is somebody else, or nobody."""
    tenants, chance = [Tenant(f"t{number}") for number in range(6)], random.Random(4)  # noqa: S311 - questions
    for tenant in tenants:
        await bounced.execute(
            "insert into fluxa.schemas (tenant, type, schema) select $1, 't' || n, '{}' from generate_series(1, 5) n",
            tenant,
        )
    questions = [_question(chance) for _ in range(40)]
    assert await check(bounced) == []

    async def ask(tenant: Tenant, statement: str, *, fails: bool) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with as_tenant(bounced, tenant) as tx:
                row = await tx.fetch_row(statement)
                assert row is not None
                assert set(row["seen"] or ()) <= {tenant, None}, statement
                assert row["rows"] <= 25, statement
                if fails:
                    raise ZeroDivisionError

    async def as_owner() -> None:
        seen = await bounced.fetch_value("select count(distinct tenant) from fluxa.schemas")
        assert (seen, await bounced.fetch_value("select current_user")) == (len(tenants), "fluxa")
        assert await bounced.fetch_value("select coalesce(current_setting('fluxa.tenant', true), '')") == ""

    work = [ask(tenant, one, fails=chance.random() < 0.2) for one in questions for tenant in tenants]
    work += [as_owner() for _ in range(60)]
    chance.shuffle(work)
    await asyncio.gather(*work)
    servers = await bounced.fetch_value("select count(*) from pg_stat_activity where datname = current_database()")
    assert servers <= _SERVER_CONNECTIONS


def _question(chance: random.Random) -> str:
    """One that names no tenant, or the wrong one, from the same grammar as the random questions without PgBouncer."""
    source = chance.choice(
        (
            "fluxa.schemas",
            "fluxa.schemas join fluxa.schemas as twin using (tenant)",
            "fluxa.schemas left join lateral (select max(tenant) as top from fluxa.schemas) as m on true",
        )
    )
    conditions = (
        "true",
        "schemas.type <> 't1'",
        "exists (select from fluxa.schemas as o where o.tenant <> 't0')",
        "set_config('role', 'none', true) is not null",
        "current_setting('fluxa.tenant') <> ''",
    )
    wanted = " and ".join(chance.sample(conditions, 2))
    return f"select count(*) as rows, array_agg(distinct tenant) as seen from {source} where {wanted}"  # noqa: S608


@pytest.mark.req("PIPE-4", "PIPE-7")
async def test_the_whole_stack_stores_each_event_once_and_finds_it_again(bounced: Database, tmp_path: Path) -> None:
    token = (await ApiKeys(bounced).create("acme", "test", role=Role.ADMIN)).token
    headers = {"authorization": f"Bearer {token}", "content-type": "application/x-ndjson"}
    lines = "".join(
        json.dumps({"specversion": "1.0", "id": f"e{n}", "source": "/t", "type": "t", "data": {"n": n}}) + "\n"
        for n in range(400)
    )
    settings = {"FLUXA_DATABASE_URL": bounced.config.url, "FLUXA_DATABASE_PREPARED": "false"}
    async with (
        stack(tmp_path / "home", **settings) as program,
        httpx.AsyncClient(headers=headers, trust_env=False, timeout=30) as client,
    ):
        state = program.state
        answers = await asyncio.gather(
            *(client.post(f"{state['ingest_url']}/v1/events", content=lines.encode()) for _ in range(3))
        )
        assert {answer.status_code for answer in answers} == {httpx.codes.ACCEPTED}

        async def seen() -> bool:
            return bool(await bounced.fetch_value("select sum(seen) = 1200 from fluxa.idempotency_keys"))

        await until(seen)
        found = await client.get(f"{state['query_url']}/v1/events/e399")
        assert found.json()["event"]["data"] == {"n": 399}
    assert await bounced.fetch_value("select count(*) from fluxa.events") == 400
