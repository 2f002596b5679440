"""What keeps tenants apart, broken in every way and mended by the command, which writes down what it did (SEC-4)."""

import asyncio
import uuid
from pathlib import Path

import asyncpg
import pytest

from fluxa.events.partitions import Partitions, month_of
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger import Ledger
from fluxa.operations.tenants.check import check
from fluxa.operations.tenants.repair import Ending, plan, repair
from fluxa.operations.tenants.rules import Step, Verb, judge_role
from fluxa.postgres import sql
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.postgres.tenancy import as_tenant
from integration.operations.test_tenants_check import LEAKS, LOCK_OUTS
from making.stack import fluxa, json_lines

pytestmark = pytest.mark.req("SEC-4")

ACME = Tenant("acme")
_WORDED = sql.load("fluxa.operations.tenants", "repair.sql")["word_step"]
MORE = {
    "two at once": "drop policy tenant on fluxa.events; revoke all on fluxa.request_keys from fluxa_tenant",
    "a policy where none belongs": (
        'create policy "it\'s" on fluxa.nonces using (true); alter table fluxa.nonces enable row level security'
    ),
}


@pytest.fixture
async def months(database: Database) -> Database:
    await Partitions(database).ensure([month_of(SystemClock().now())])
    return database


BREAKS = {**{name: one[0] for name, one in {**LEAKS, **LOCK_OUTS}.items()}, **MORE}


@pytest.mark.parametrize("what", BREAKS)
async def test_each_break_is_mended_and_written_down(months: Database, what: str) -> None:
    month = await months.fetch_value(
        "select relname from pg_class where relname like 'events\\_2%' and relispartition limit 1"
    )
    owner = await months.fetch_value("select relowner::regrole::text from pg_class where relname = 'nonces'")
    await months.execute(BREAKS[what].format(month=month))
    planned = await plan(months)
    assert planned.found
    assert {one.ending for one in planned.mended} == {Ending.PLANNED}
    assert await check(months) == list(planned.found), "a plan changes nothing"
    done = await repair(months, Ledger(months), tenant=ACME, by="cli:ada")
    assert {one.ending for one in done.mended} == {Ending.DONE}, done.mended
    assert list(done.left) == await check(months) == []
    (entry, *_) = await Ledger(months).page(ACME)
    assert (entry.action, entry.actor) == ("tenants.repaired", "cli:ada")
    assert done.mended[-1].statement.split()[0] in entry.detail
    assert owner == await months.fetch_value("select relowner::regrole::text from pg_class where relname = 'nonces'")
    async with as_tenant(months, ACME) as tx:
        assert await tx.fetch_value("select count(*) from fluxa.events") == 0
    again = await repair(months, Ledger(months), tenant=ACME, by="cli:ada")
    assert (list(again.mended), list(again.found)) == ([], [])


async def test_what_is_wrong_with_the_role_has_a_statement_that_the_server_takes(months: Database) -> None:
    """The role is the server's, which other tests use: what is done to it here is rolled back."""
    inspect = sql.load("fluxa.operations.tenants", "inspect.sql")["inspect_role"]
    async with months.connection() as handle:
        undo = handle.connection.transaction()
        await undo.start()
        await handle.execute(
            "alter role fluxa_tenant bypassrls superuser login; grant pg_read_all_data to fluxa_tenant"
        )
        steps = [step for one in judge_role(dict(await handle.fetch_row(inspect) or {})) for step in one.steps]
        assert {step.verb for step in steps} >= {Verb.NO_SUPERUSER, Verb.NO_BYPASS, Verb.NO_LOGIN, Verb.REVOKE_ROLE}
        for step in steps:
            await handle.execute(await handle.fetch_value(_WORDED, str(step.verb), step.target, step.what))
        assert list(judge_role(dict(await handle.fetch_row(inspect) or {}))) == []
        worded = [
            await handle.fetch_value(_WORDED, str(step.verb), step.target, step.what)
            for step in next(judge_role(None)).steps
        ]
        await undo.rollback()
    assert worded == ["create role fluxa_tenant nologin noinherit", "grant fluxa_tenant to fluxa"]


async def test_names_are_quoted_by_the_server(months: Database) -> None:
    hostile = 'x" ; drop table fluxa.events; --'
    worded = await months.fetch_value(_WORDED, *_of(Step(Verb.DROP_POLICY, hostile, "p'\"")))
    assert worded == 'drop policy "p\'""" on fluxa."x"" ; drop table fluxa.events; --"'
    assert all(
        [await months.fetch_value(_WORDED, str(verb), "fluxa", "select") or verb for verb in Verb if _plain(verb)]
    )


def _of(step: Step) -> tuple[str, str, str]:
    return str(step.verb), step.target, step.what


def _plain(verb: Verb) -> bool:
    """Whether its target may be any name."""
    return verb not in (Verb.REVOKE_ROLE, Verb.GIVE_BACK, Verb.REVOKE_FUNCTION)


async def test_what_is_locked_is_left_out_and_told(months: Database, database_url: str) -> None:
    await months.execute(
        "alter table fluxa.schemas disable row level security; revoke select on fluxa.events from fluxa_tenant"
    )
    busy = await asyncpg.connect(database_url)
    holding = busy.transaction()
    await holding.start()
    await busy.execute("select count(*) from fluxa.schemas")
    try:
        done = await repair(months, Ledger(months), tenant=ACME, by="cli")
    finally:
        await holding.rollback()
        await busy.close()
    endings = {one.statement: one.ending for one in done.mended}
    assert endings["alter table fluxa.schemas enable row level security"] is Ending.REFUSED
    assert endings["grant select on fluxa.events to fluxa_tenant"] is Ending.DONE
    assert {one.what for one in done.left} == {"fluxa.schemas"}


async def test_a_login_that_owns_nothing_is_named_and_changes_nothing(months: Database, database_url: str) -> None:
    name = f"login_{uuid.uuid4().hex[:12]}"
    await months.execute(
        f"create role {name} login; grant usage on schema fluxa to {name}; grant fluxa_tenant to {name}"
    )
    await months.execute(f"grant all on all tables in schema fluxa to {name}")
    await months.execute("revoke select on fluxa.events from fluxa_tenant")
    other = Database(PoolConfig(url=database_url.replace("//fluxa@", f"//{name}@")))
    await other.start()
    try:
        (login,) = [one for one in await check(other) if one.what == f"login {name}"]
        assert login.detail.startswith("does not own the tables (")
        assert login.action == f"log in as fluxa, who owns them, or let an administrator run: grant fluxa to {name}"
        done = await repair(other, Ledger(other), tenant=ACME, by="cli")
        assert list(done.mended) == []
        assert login in done.left
        await months.execute(f"grant fluxa to {name}")
        await months.execute("grant select on fluxa.events to fluxa_tenant")
        assert await check(other) == [], "what the action says is enough"
    finally:
        await other.stop()
        await months.execute(f"drop owned by {name}; drop role {name}")


async def test_security_that_is_forced_on_the_owner_is_taken_from_it(months: Database, database_url: str) -> None:
    """As the owner of a managed Postgres, who is no superuser."""
    name = f"owner_{uuid.uuid4().hex[:12]}"
    await months.execute(
        f"create role {name} login; grant fluxa_tenant to {name}; grant usage on schema fluxa to {name}"
    )
    relations = await months.fetch(
        "select oid::regclass::text as name from pg_class "
        "where relnamespace = 'fluxa'::regnamespace and relkind in ('r', 'p', 'v')"
    )
    for relation in relations:
        await months.execute(f"alter table {relation['name']} owner to {name}")
    owner = Database(PoolConfig(url=database_url.replace("//fluxa@", f"//{name}@")))
    await owner.start()
    try:
        assert await check(owner) == []
        await owner.execute("alter table fluxa.schemas force row level security")
        assert "is forced on its owner" in " ".join(one.detail for one in await check(owner))
        done = await repair(owner, Ledger(owner), tenant=ACME, by="cli")
        assert [one.statement for one in done.mended] == ["alter table fluxa.schemas no force row level security"]
        assert await check(owner) == []
    finally:
        await owner.stop()
        await months.execute(f"reassign owned by {name} to fluxa; drop owned by {name}; drop role {name}")


async def test_the_command_shows_first_and_mends_when_told(months: Database, database_url: str, tmp_path: Path) -> None:
    await months.execute("drop policy tenant on fluxa.schemas")
    at = {"home": tmp_path, "stdin": b"", "FLUXA_DATABASE_URL": database_url}
    shown = await asyncio.to_thread(fluxa, "tenants", "repair", **at)  # type: ignore[arg-type]
    assert shown.returncode == 1
    assert "select fluxa.keep_apart('fluxa.schemas')" in shown.stdout
    assert "Mend it with --yes" in shown.stderr
    done = await asyncio.to_thread(fluxa, "tenants", "repair", "--yes", "--json", **at)  # type: ignore[arg-type]
    (told,) = json_lines(done.stdout)
    assert (done.returncode, told["left"], told["mended"][0]["ending"]) == (0, [], "done")
    assert (await Ledger(months).page(Tenant("default")))[0].action == "tenants.repaired"
