"""The separation of tenants broken on purpose, one way after the other: each is found, named, and mended as told."""

import datetime as dt
import uuid
from collections.abc import Mapping

import pytest

from fluxa.events.partitions import Partitions, month_of
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode
from fluxa.operations.checks.routine import RoutineCheck
from fluxa.operations.tenants.check import _SQL, TenantCheck, check
from fluxa.operations.tenants.rules import Kind, judge_role
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.telemetry.catalogue import IntegrityChecked, MaintenanceFinished, Status
from fluxa.testing.signals import Signals

LEAKS: Mapping[str, tuple[str, str]] = {
    "security disabled": ("alter table fluxa.schemas disable row level security", "really read what another wrote"),
    "security of a month disabled": ("alter table fluxa.{month} disable row level security", "no row-level security"),
    "a policy altered": ("alter policy tenant on fluxa.failures using (true)", "really read what another wrote"),
    "a policy altered for writes": ("alter policy tenant on fluxa.schemas with check (true)", "other policies"),
    "a second policy": ("create policy more on fluxa.events using (true)", "really read what another wrote"),
    "a policy on a month": ("create policy more on fluxa.{month} using (true)", "other policies"),
    "a right too many": ("grant delete on fluxa.events to fluxa_tenant", "delete is granted"),
    "a right for everybody": ("grant select on fluxa.api_keys to public", "select is granted"),
    "a right on a column": ("grant select (hash) on fluxa.api_keys to fluxa_tenant", "select is granted"),
    "a right on a month": ("grant select on fluxa.{month} to fluxa_tenant", "select is granted"),
    "a right on the view": ("grant select on fluxa.events_json to fluxa_tenant", "select is granted"),
    "queues": ("grant usage on schema pgmq to fluxa_tenant", "schema of queues"),
    "the schema": ("grant create on schema fluxa to fluxa_tenant", "may create"),
    "a table owned": ("alter table fluxa.nonces owner to fluxa_tenant", "owns fluxa.nonces"),
    "a function that is somebody else": (
        (
            "create function fluxa.everything() returns bigint language sql security definer "
            "as 'select count(*) from fluxa.events'"
        ),
        "runs as its owner",
    ),
    "a new table": ("create table fluxa.mine (tenant text)", "no row-level security"),
}
LOCK_OUTS: Mapping[str, tuple[str, str]] = {
    "a policy dropped": ("drop policy tenant on fluxa.schemas", "does not see what it wrote"),
    "a policy that shows nothing": (
        "alter policy tenant on fluxa.failures using (false)",
        "does not see what it wrote",
    ),
    "a right lost": ("revoke select on fluxa.events from fluxa_tenant", "select is not granted"),
    "the schema lost": ("revoke usage on schema fluxa from fluxa_tenant", "may not enter"),
}


@pytest.fixture
async def months(database: Database) -> Database:
    await Partitions(database).ensure([month_of(dt.datetime.now(dt.UTC))])  # noqa: TID251 - the server's own month
    return database


@pytest.mark.req("SEC-4")
async def test_what_is_whole_is_found_whole_and_the_canary_leaves_nothing(months: Database) -> None:
    assert await check(months) == []
    for table in ("schemas", "request_keys", "idempotency_keys", "failures", "events"):
        assert await months.fetch_value(f"select count(*) from fluxa.{table}") == 0  # noqa: S608


@pytest.mark.req("SEC-4")
@pytest.mark.parametrize(
    ("kind", "what"), [(Kind.LEAK, key) for key in LEAKS] + [(Kind.LOCK_OUT, key) for key in LOCK_OUTS]
)
async def test_each_break_is_found(months: Database, kind: Kind, what: str) -> None:
    broken, told = {**LEAKS, **LOCK_OUTS}[what]
    month = await months.fetch_value(
        "select relname from pg_class where relname like 'events\\_2%' and relispartition limit 1"
    )
    await months.execute(broken.format(month=month))
    found = await check(months)
    assert any(one.kind is kind and told in one.detail for one in found), found


@pytest.mark.req("SEC-4")
async def test_a_broken_table_is_mended_by_what_the_finding_says(months: Database) -> None:
    await months.execute(
        "create policy more on fluxa.schemas using (true); alter table fluxa.schemas disable row level security"
    )
    (action,) = {
        one.action for one in await check(months) if one.action.startswith("run: select") and "then" not in one.action
    }
    await months.execute(action.removeprefix("run: "))
    assert await check(months) == []


@pytest.mark.req("SEC-4")
async def test_a_role_that_bypasses_is_found_and_so_is_a_login_that_may_not_take_it(
    database_url: str, months: Database
) -> None:
    """The role is the server's, which other tests use: it is broken in a transaction that is rolled back."""
    async with months.connection() as handle:
        undo = handle.connection.transaction()
        await undo.start()
        await handle.execute("alter role fluxa_tenant bypassrls login; grant pg_read_all_data to fluxa_tenant")
        found = [one.detail for one in judge_role(dict(await handle.fetch_row(_SQL["inspect_role"]) or {}))]
        await undo.rollback()
    assert found == ["bypasses row-level security", "can log in", "has the rights of pg_read_all_data"]
    name = f"login_{uuid.uuid4().hex[:12]}"
    await months.execute(f"create role {name} login; grant usage on schema fluxa to {name}")
    await months.execute(f"grant all on all tables in schema fluxa to {name}")
    other = Database(PoolConfig(url=database_url.replace("//fluxa@", f"//{name}@")))
    await other.start()
    try:
        told = [(one.kind, one.detail) for one in await check(other)]
    finally:
        await other.stop()
        await months.execute(f"drop owned by {name}; drop role {name}")
    assert (Kind.LOCK_OUT, f"{name} may not take it") in told
    assert any(detail.startswith("does not own the tables (") for _, detail in told)
    assert any(detail.startswith("a tenant is refused") for _, detail in told)


@pytest.mark.req("SEC-4")
async def test_the_station_tells_of_a_break_as_of_a_duty_that_failed(months: Database) -> None:
    signals = Signals()
    watch = RoutineCheck(
        "tenants",
        TenantCheck(months),
        months,
        holder="a",
        code=ErrorCode.DB_REJECTED,
        clock=SystemClock(),
        hook=signals.hear,
        every_s=0.01,
    )
    await months.execute("alter table fluxa.schemas disable row level security")
    await watch.start()
    try:
        told = await signals.wait_for(MaintenanceFinished, timeout_s=20)
    finally:
        await watch.stop()
    assert (told.task, told.status) == ("tenants", Status.FAILURE)
    assert "fluxa.schemas" in told.detail
    assert await signals.wait_for(IntegrityChecked, lambda one: bool(one.faults)) == IntegrityChecked("tenants", 3)
