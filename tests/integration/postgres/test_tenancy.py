"""Row-level security on the real server: one tenant sees, changes and breaks nothing of another's."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Mapping

import asyncpg
import pytest

from fluxa.events.partitions import Partitions
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres import migrate
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.postgres.tenancy import ROLE, as_tenant

ACME, OTHER = Tenant("acme"), Tenant("other")
MONTH = dt.date(2026, 3, 1)
TABLES = """
    select c.relname as name, c.relkind, c.relrowsecurity as secured, c.relispartition as part,
           (select count(*) from pg_policy p where p.polrelid = c.oid) as policies,
           has_any_column_privilege('fluxa_tenant', c.oid, 'select, insert, update, references') as granted
    from pg_class c
    where c.relnamespace = 'fluxa'::regnamespace and c.relkind in ('r', 'p')
      and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped)
"""
POLICIES = """
    select tablename, policyname, permissive, roles::text[] as roles, cmd, qual, with_check
    from pg_policies where schemaname = 'fluxa' order by 1, 2
"""
EXPECTED = "(tenant = NULLIF(current_setting('fluxa.tenant'::text, true), ''::text))"


@pytest.fixture
async def rows(database: Database) -> Database:
    """A row of each of two tenants in each table."""
    await Partitions(database).ensure([MONTH])
    for tenant in (ACME, OTHER):
        await database.execute("insert into fluxa.schemas (tenant, type, schema) values ($1, 't', 'true')", tenant)
        await database.execute(
            "insert into fluxa.request_keys (tenant, key, fingerprint, locked_until, expires_at) "
            "values ($1, 'k', '', now(), now())",
            tenant,
        )
        await database.execute(
            "insert into fluxa.idempotency_keys (tenant, id, source, received_at, ord) values ($1, 'e', '/s', $2, 1)",
            *(tenant, dt.datetime(2026, 3, 2, tzinfo=dt.UTC)),
        )
        await database.execute(
            "insert into fluxa.events (received_at, ord, tenant, source, id, type, correlation_id, sha256, data_bytes, "
            "attempt, enqueued_at, claimed_at) values ($2, 1, $1, '/s', 'e', 't', 'c', '', 0, 1, $2, $2)",
            *(tenant, dt.datetime(2026, 3, 2, tzinfo=dt.UTC)),
        )
        await database.execute(
            "insert into fluxa.failures (tenant, correlation_id, queue, stage, attempt, error_code, detail, parked) "
            "values ($1, 'c', 'q', 's', 1, 'E', '', false)",
            tenant,
        )
    return database


READABLE = ("events", "idempotency_keys", "failures", "request_keys", "schemas")


@pytest.mark.req("SEC-4")
async def test_every_table_with_a_tenant_has_row_level_security_and_the_policy(rows: Database) -> None:
    tables = {str(row["name"]): row for row in await rows.fetch(TABLES)}
    assert {"events", "events_2026_03", *READABLE} <= set(tables)
    policies = {str(row["tablename"]): row for row in await rows.fetch(POLICIES)}
    for name, row in tables.items():
        assert row["secured"], f"{name} has a column tenant: select fluxa.keep_apart('fluxa.{name}') in its migration"
        if row["part"]:
            assert (row["policies"], row["granted"]) == (0, False), f"{name} is to be read through its parent only"
            continue
        assert row["policies"] == 1, f"select fluxa.keep_apart('fluxa.{name}') in the migration that makes it"
        policy = policies[name]
        told = (policy["permissive"], policy["roles"], policy["cmd"], policy["qual"], policy["with_check"])
        assert told == ("PERMISSIVE", [ROLE], "ALL", EXPECTED, EXPECTED), name


@pytest.mark.req("SEC-4")
async def test_a_statement_without_a_filter_finds_the_tenants_rows_only(rows: Database) -> None:
    for tenant in (ACME, OTHER):
        async with as_tenant(rows, tenant) as tx:
            for table in READABLE:
                found = [row["tenant"] for row in await tx.fetch(f"select tenant from fluxa.{table}")]  # noqa: S608
                assert found == [tenant], table
                assert await tx.fetch_value(f"select count(*) from fluxa.{table} where tenant <> $1", tenant) == 0  # noqa: S608


@pytest.mark.req("SEC-4")
async def test_without_a_tenant_nothing_is_seen_before_and_after_one_was_set(rows: Database) -> None:
    async with rows.connection() as handle:
        for _ in range(2):
            async with handle.connection.transaction():
                await handle.execute("set local role fluxa_tenant")
                for table in READABLE:
                    assert await handle.fetch_value(f"select count(*) from fluxa.{table}") == 0  # noqa: S608
            async with handle.connection.transaction():
                await handle.execute(
                    "select set_config('fluxa.tenant', 'acme', true)"
                )  # it is '' from now on, not null


@pytest.mark.req("SEC-4")
async def test_role_and_tenant_end_with_the_transaction_however_it_ends(database_url: str) -> None:
    database = Database(PoolConfig(url=database_url, size_max=1))
    await database.start()
    try:
        before = await database.fetch_row("select current_user, current_setting('statement_timeout') as timeout")
        with pytest.raises(RuntimeError):
            async with as_tenant(database, ACME, timeout_s=1):
                raise RuntimeError
        with pytest.raises(FluxaError):
            async with as_tenant(database, ACME, timeout_s=1) as tx:
                await tx.execute("select 1 / 0")
        cut = asyncio.create_task(_held(database))
        await asyncio.sleep(0)
        cut.cancel()
        await asyncio.gather(cut, return_exceptions=True)
        async with as_tenant(database, ACME, timeout_s=1) as tx:
            assert await tx.fetch_value("select current_user") == ROLE
        after = await database.fetch_row("select current_user, current_setting('statement_timeout') as timeout")
        assert after == before
        assert await database.fetch_value("select current_setting('fluxa.tenant', true)") == ""
    finally:
        await database.stop()


async def _held(database: Database) -> None:
    async with as_tenant(database, ACME) as tx:
        await tx.execute("select pg_sleep(30)")


REFUSED: Mapping[str, str] = {
    "a row for another tenant": "insert into fluxa.schemas (tenant, type, schema) values ('other', 'x', 'true')",
    "a row that another tenant has": "insert into fluxa.schemas (tenant, type, schema) values ('other', 't', 'true')",
    "a row that another tenant has, politely": (
        "insert into fluxa.request_keys (tenant, key, fingerprint, locked_until, expires_at) values "
        "('other', 'k', '', now(), now()) on conflict (tenant, key) do update set fingerprint = 'x'"
    ),
    "a row given away": "update fluxa.schemas set tenant = 'other', type = 'y'",
    "a month by its own name": "select count(*) from fluxa.events_2026_03",
    "events to be written": "delete from fluxa.events",
    "API keys": "select count(*) from fluxa.api_keys",
    "queues": "select count(*) from fluxa.queue_controls",
    "messages": "select * from pgmq.list_queues()",
    "the view for people": "select count(*) from fluxa.events_json",
    "a month made": "select fluxa.ensure_month('2030-01-01')",
    "a month dropped": "select fluxa.drop_month('2026-03-01')",
    "the policy": "drop policy tenant on fluxa.schemas",
    "the security": "alter table fluxa.schemas disable row level security",
    "everything": "truncate fluxa.schemas",
    "a table in the schema": "create table fluxa.mine (x int)",
    "a trigger": "create trigger t before update on fluxa.schemas "
    "for each row execute function suppress_redundant_updates_trigger()",
    "the rows, or an error": "set local row_security = off; select count(*) from fluxa.schemas",
}


@pytest.mark.req("SEC-4")
@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_not_the_tenants_is_refused_and_the_refusal_shows_nothing(rows: Database, what: str) -> None:
    with pytest.raises(FluxaError) as caught:
        async with as_tenant(rows, ACME) as tx:
            await tx.execute(REFUSED[what])
    assert caught.value.code == ErrorCode.DB_REJECTED
    assert isinstance(caught.value.__cause__, asyncpg.InsufficientPrivilegeError)
    detail = caught.value.__cause__.detail
    assert detail is None or "other" not in detail
    assert await rows.fetch_value("select count(*) from fluxa.schemas") == 2


@pytest.mark.req("SEC-4")
async def test_changes_reach_the_tenants_rows_only(rows: Database) -> None:
    async with as_tenant(rows, ACME) as tx:
        assert await tx.execute("update fluxa.schemas set version = 7") == 1
        assert await tx.execute("delete from fluxa.request_keys") == 1
        assert await tx.execute("delete from fluxa.schemas where tenant = 'other'") == 0
    left = await rows.fetch("select tenant, version from fluxa.schemas order by tenant")
    assert [tuple(row) for row in left] == [("acme", 7), ("other", 1)]
    assert await rows.fetch_value("select string_agg(tenant, ',') from fluxa.request_keys") == OTHER


@pytest.mark.req("SEC-4")
async def test_a_login_that_lost_the_role_is_told_where_to_look(rows: Database, database_url: str) -> None:
    name = f"login_{uuid.uuid4().hex[:12]}"
    await rows.execute(f"create role {name} login")
    database = Database(PoolConfig(url=database_url.replace("//fluxa@", f"//{name}@")))
    await database.start()
    try:
        with pytest.raises(FluxaError, match="fluxa tenants check") as caught:
            async with as_tenant(database, ACME):
                pass
        assert caught.value.code == ErrorCode.DB_REJECTED
    finally:
        await database.stop()
        await rows.execute(f"drop role {name}")


@pytest.mark.req("SEC-4")
async def test_a_user_who_may_not_create_roles_is_told_what_an_administrator_runs(postgres_server: str) -> None:
    """The role is there already, and the user may not give it to himself; then an administrator does."""
    name = f"owner_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(postgres_server.format("postgres"))
    await admin.execute(f"create role {name} login")
    await admin.execute(f"create database {name} owner {name}")
    database = Database(PoolConfig(url=postgres_server.format(name).replace("//fluxa@", f"//{name}@")))
    await database.start()
    try:
        with pytest.raises(FluxaError, match=f"grant fluxa_tenant to {name};"):
            await migrate.migrate(database)
        state = await migrate.status(database)
        assert next(step.name for step in state.pending) == "tenants", "all before it is applied, nothing of it"
        await admin.execute(f"grant fluxa_tenant to {name}")
        assert await migrate.migrate(database)
        async with as_tenant(database, ACME) as tx:
            assert await tx.fetch_value("select count(*) from fluxa.schemas") == 0
    finally:
        await database.stop()
        await admin.execute(f"drop database {name}")
        await admin.execute(f"drop role {name}")
        await admin.close()
