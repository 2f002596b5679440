"""The audit log on a real Postgres: with its transaction or not at all, gapless, closed to everybody else (SEC-3)."""

import asyncio
import contextlib
import datetime as dt
import hashlib

import asyncpg
import pytest

from fluxa.auth.audit import Act
from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger import Ledger, Sought
from fluxa.operations.ledger.chain import GENESIS, Chain, Entry, digest
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.telemetry.catalogue import ActRecorded
from fluxa.testing.signals import Signals

pytestmark = pytest.mark.req("SEC-3")

ACME, OTHER = Tenant("acme"), Tenant("other")


def _act(number: int = 1, tenant: Tenant = ACME, action: str = "thing.changed") -> Act:
    return Act(tenant, "user:7", action, f"thing:{number}", {"n": number, "ü": ["€", None]}, f"c-{number}")


async def _write(database: Database, *acts: Act) -> None:
    ledger = Ledger(database)
    async with database.transaction() as tx:
        for act in acts:
            await ledger.record(tx, act)


async def _faults(database: Database, tenant: Tenant = ACME) -> list[str]:
    """What is wrong with a chain, by its own pages."""
    ledger, chain, found = Ledger(database), Chain(tenant), []
    while entries := await ledger.after(tenant, chain.number, limit=500):
        found += [finding for entry in entries for finding in chain.follow(entry)]
    for head in await ledger.heads(tenant):
        found += chain.end(head)
    return [finding.detail for finding in found]


async def test_an_act_is_there_with_its_transaction_and_linked_to_the_one_before(database: Database) -> None:
    signals = Signals()
    ledger = Ledger(database, hook=signals.hear)
    async with database.transaction() as tx:
        await ledger.record(tx, _act(1))
        await ledger.record(tx, _act(2))
        assert await ledger.page(ACME) == [], "it has no number before the commit"
    assert [one.action for one in signals.heard if isinstance(one, ActRecorded)] == ["thing.changed"] * 2
    second, first = await ledger.page(ACME)
    assert (first.number, first.previous, second.number, second.previous) == (1, GENESIS, 2, first.hash)
    assert first.detail == '{"n":1,"ü":["€",null]}'
    assert (first.actor, first.subject, first.correlation_id) == ("user:7", "thing:1", "c-1")
    assert digest(first) == first.hash
    assert first.at <= second.at
    assert await ledger.get(ACME, 2) == second
    assert await _faults(database) == []


async def test_what_is_rolled_back_leaves_nothing_and_no_gap(database: Database) -> None:
    ledger = Ledger(database)
    with contextlib.suppress(ZeroDivisionError):
        async with database.transaction() as tx:
            await ledger.record(tx, _act(1))
            raise ZeroDivisionError
    async with database.transaction() as tx:
        await ledger.record(tx, _act(2))
        with contextlib.suppress(ZeroDivisionError):
            async with tx.savepoint():
                await ledger.record(tx, _act(3))
                raise ZeroDivisionError
        await ledger.record(tx, _act(4))
    assert [(entry.number, entry.subject) for entry in await ledger.page(ACME)] == [(2, "thing:4"), (1, "thing:2")]


async def test_each_tenant_has_a_chain_of_its_own(database: Database) -> None:
    await _write(database, _act(1, OTHER), _act(2), _act(3, OTHER))
    ledger = Ledger(database)
    assert [(head.tenant, head.number) for head in await ledger.heads()] == [(ACME, 1), (OTHER, 2)]
    assert [entry.subject for entry in await ledger.page(OTHER)] == ["thing:3", "thing:1"]
    assert await _faults(database) == await _faults(database, OTHER) == []


async def test_transactions_that_record_in_crossed_order_do_not_wait_for_each_other(database: Database) -> None:
    """Each has recorded for its first tenant before either does for the second: a lock held from there would block."""
    ledger, both = Ledger(database), asyncio.Barrier(2)

    async def crossed(first: Tenant, second: Tenant) -> None:
        for number in range(20):
            async with database.transaction() as tx:
                await ledger.record(tx, _act(number, first))
                await both.wait()
                await ledger.record(tx, _act(number, second))
                await both.wait()

    async with asyncio.timeout(20):
        await asyncio.gather(crossed(ACME, OTHER), crossed(OTHER, ACME))
    assert [head.number for head in await ledger.heads()] == [40, 40]


async def test_nobody_can_change_what_is_written(database: Database) -> None:
    await _write(database, _act(1), _act(2))
    for statement in (
        "update fluxa.ledger set actor = 'x' where number = 1",
        "update fluxa.ledger set actor = 'x' where false",
        "delete from fluxa.ledger",
        "truncate fluxa.ledger",
        "insert into fluxa.ledger select * from fluxa.ledger where number = 2",
        "update fluxa.ledger_heads set number = 1",
        "delete from fluxa.ledger_heads",
        "truncate fluxa.ledger_heads",
        "insert into fluxa.ledger_heads select 'third', number, hash, at from fluxa.ledger_heads",
    ):
        with pytest.raises(FluxaError, match="the audit log only grows"):
            await database.execute(statement)
    assert await _faults(database) == []


async def test_a_role_needs_no_more_than_the_right_to_record(database: Database, database_url: str) -> None:
    role = f"recorder_{hashlib.sha256(database_url.encode()).hexdigest()[:12]}"
    await database.execute(f"create role {role}")
    try:
        await database.execute(f"grant usage on schema fluxa to {role}")
        columns = "(tenant, actor, action, subject, detail, correlation_id)"
        await database.execute(f"grant insert {columns} on fluxa.ledger_intake to {role}")
        await database.execute(f"create policy recording on fluxa.ledger_intake for insert to {role} with check (true)")
        ledger = Ledger(database)
        async with database.transaction() as tx:
            await tx.execute(f"set local role {role}")
            await ledger.record(tx, _act(1))
        for statement in (
            "select * from fluxa.ledger",
            "insert into fluxa.ledger_heads select 'x', 1, null, now()",
            "update fluxa.ledger_heads set number = 0",
            "delete from fluxa.ledger",
            "delete from fluxa.ledger_intake",
            "insert into fluxa.ledger_intake (xid, tenant) values ('7', 'x')",
        ):
            with pytest.raises(FluxaError, match="permission denied"):
                await _as(database, role, statement)
        assert [entry.subject for entry in await ledger.page(ACME)] == ["thing:1"]
    finally:
        await database.execute(f"drop owned by {role}")
        await database.execute(f"drop role {role}")


async def _as(database: Database, role: str, statement: str) -> None:
    async with database.transaction() as tx:
        await tx.execute(f"set local role {role}")
        await tx.execute(statement)


@pytest.mark.parametrize(
    "act",
    [
        Act(Tenant("No Tenant"), "cli", "thing.changed", "thing:1"),
        Act(ACME, "cli", "changed", "thing:1"),
        Act(ACME, "cli", "thing.changed\n", "thing:1"),
        Act(ACME, "cli", "thing.changed", "thing:1", {"long": "x" * 70_000}),
    ],
)
async def test_what_is_no_act_is_refused(database: Database, act: Act) -> None:
    with pytest.raises(FluxaError) as refused:
        await _write(database, act)
    assert refused.value.code == ErrorCode.INVALID_REQUEST


async def test_whatever_callers_call_themselves_can_be_written_down(database: Database) -> None:
    hostile = "a\x00b\n\ud800" + "é" * 2000
    await _write(database, Act(ACME, hostile, "thing.changed", hostile, {hostile[:2]: "\n\r\x00"}, hostile))
    [entry] = await Ledger(database).page(ACME)
    assert entry.actor.startswith("a\ufffdb\n?é")
    assert len(entry.actor) == 1024
    assert await _faults(database) == []


async def test_entries_are_found_by_what_they_are(database: Database) -> None:
    await _write(database, *(_act(number) for number in range(1, 6)), _act(6, action="other.done"))
    ledger = Ledger(database)

    async def numbers(sought: Sought, **more: int) -> list[int]:
        return [entry.number for entry in await ledger.page(ACME, sought, **more)]

    assert await numbers(Sought(action="thing")) == [5, 4, 3, 2, 1]
    assert await numbers(Sought(action="thing.changed"), limit=2) == [5, 4]
    assert await numbers(Sought(action="thin")) == []
    assert await numbers(Sought(), before=4, limit=2) == [3, 2]
    assert await numbers(Sought(subject="thing:6")) == [6]
    assert await numbers(Sought(actor="user:7", correlation_id="c-3")) == [3]
    at = (await ledger.get(ACME, 3)).at
    assert await numbers(Sought(since=at, until=at)) == []
    assert 3 in await numbers(Sought(since=at))
    with pytest.raises(FluxaError) as missing:
        await ledger.get(ACME, 7)
    assert missing.value.code == ErrorCode.NOT_FOUND


class _Storm:
    """Transactions that record for two tenants in either order, of which many are rolled back or killed."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ledger = Ledger(database)
        self.committed: set[str] = set()
        self.unknown: set[str] = set()

    async def append(self, worker: int) -> None:
        for turn in range(40):
            subject = f"thing:{worker}-{turn}"
            with contextlib.suppress(ZeroDivisionError, DatabaseUnavailableError):
                await self._one(worker, turn, subject)
                self.unknown.remove(subject)
                self.committed.add(subject)

    async def _one(self, worker: int, turn: int, subject: str) -> None:
        async with self.database.transaction() as tx:
            for tenant in (ACME, OTHER) if worker % 2 else (OTHER, ACME):
                await self.ledger.record(tx, Act(tenant, f"user:{worker}", "thing.changed", subject))
            if turn % 5 == 1:
                raise ZeroDivisionError
            if turn % 7 == 2:  # the server ends the session in the middle
                await tx.execute("select pg_terminate_backend(pg_backend_pid())")
            self.unknown.add(subject)


async def _kill_sessions(url: str) -> None:
    """End sessions wherever they are, in the middle of a commit too."""
    connection = await asyncpg.connect(url)
    try:
        for _ in range(30):
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
                " and pid <> pg_backend_pid() order by random() limit 1"
            )
            await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def test_sixteen_at_once_with_rollbacks_and_kills_leave_a_whole_chain(database_url: str) -> None:
    database = Database(PoolConfig(url=database_url, size_max=18))
    await database.start()
    storm = _Storm(database)
    try:
        async with asyncio.timeout(90):
            await asyncio.gather(_kill_sessions(database_url), *(storm.append(worker) for worker in range(16)))
        for head in await storm.ledger.heads():
            written = {entry.subject for entry in await storm.ledger.page(head.tenant, limit=10_000)}
            assert storm.committed <= written <= storm.committed | storm.unknown
            assert head.number == len(written)
            assert await _faults(database, head.tenant) == []
        assert len(storm.committed) > 300
    finally:
        await database.stop()


async def test_the_database_and_the_program_hash_alike(database: Database) -> None:
    """Texts that would run together, were parts only put side by side."""
    await _write(
        database,
        Act(ACME, "a", "b.c", "d:1,e"),
        Act(ACME, "a1:", "b.c", ",1:d"),
        Act(ACME, "", "b.c", "", {}, ""),
        Act(ACME, "😀", "b.c", "\u202e", {"k": 1.5e300, "m": -0.0}, "é"),
    )
    assert [digest(entry) == entry.hash for entry in await Ledger(database).page(ACME)] == [True] * 4


def test_an_entry_of_a_version_that_is_not_known_has_no_hash() -> None:
    entry = Entry(ACME, 1, 2, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "a", "b.c", "d", "{}", "", GENESIS, GENESIS)
    assert digest(entry) is None
