"""Whatever is done to the audit log behind its back is found, with the place where it was done (SEC-3)."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from fluxa.auth.audit import Act
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger import Fault, Ledger
from fluxa.operations.ledger.anchors import Anchors
from fluxa.operations.ledger.chain import Entry, Head
from fluxa.operations.ledger.export import export, verify_lines
from fluxa.operations.ledger.verify import FINDINGS_MAX, Verifier
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.providers.vendors.object_store import open_objects
from integration.operations.ledger.tampering import TAMPERINGS, chain, cut, forged, head_of, sealed, write

pytestmark = pytest.mark.req("SEC-3")

ACME = Tenant("acme")
_CHAINS, _LENGTH, _ROUNDS = 55, 12, 200
_WHOLE = 5
"""Chains of each round that nobody touches."""


async def test_ten_thousand_alterations_are_all_found(database: Database) -> None:
    """In each round fifty chains are altered, each in one of seven ways, and five are left alone."""
    rng, tried = random.Random(20261122), Counter[str]()  # noqa: S311 - not a secret
    chains = {Tenant(f"t{number:02}"): list(chain(Tenant(f"t{number:02}"), _LENGTH)) for number in range(_CHAINS)}
    heads = [head_of(entries[-1]) for entries in chains.values()]
    whole, verifier = list(chains)[:_WHOLE], Verifier(database)
    for _ in range(_ROUNDS):
        expected: dict[Tenant, int | None] = {}
        rows = [entry for tenant in whole for entry in chains[tenant]]
        for tenant in list(chains)[_WHOLE:]:
            tampering = rng.choice(TAMPERINGS)
            altered, expected[tenant] = tampering(chains[tenant], rng)
            assert altered != chains[tenant]
            tried[tampering.__name__] += 1
            rows += altered
        connection = database.connection()
        async with connection as handle:
            transaction = handle.connection.transaction()
            await transaction.start()
            await write(handle, rows, heads)
            report = await verifier.verify(tx=handle)
            await transaction.rollback()
        found = {tenant: {one.number for one in report.findings if one.tenant == tenant} for tenant in chains}
        assert [tenant for tenant, numbers in found.items() if not numbers] == whole
        assert [tenant for tenant, number in expected.items() if number and min(found[tenant]) > number] == []
        assert report.entries == len(rows)
    assert tried.total() == 10_000
    assert min(tried.values()) > 1000


async def _filled(database: Database, length: int = 30) -> list[Head]:
    """A chain as it comes about; its head after each entry."""
    ledger, heads = Ledger(database), []
    for number in range(length):
        async with database.transaction() as tx:
            await ledger.record(tx, Act(ACME, "cli", "thing.changed", f"thing:{number}"))
        heads += await ledger.heads()
    return heads


async def test_a_whole_log_is_found_whole_while_it_grows(database: Database) -> None:
    heads = await _filled(database)
    ledger, growing = Ledger(database), True

    async def grow() -> None:
        while growing:
            async with database.transaction() as tx:
                await ledger.record(tx, Act(ACME, "cli", "thing.changed", "thing:1"))

    task = asyncio.create_task(grow())
    for _ in range(20):
        seen: list[tuple[int, int]] = []
        report = await Verifier(database).verify(anchors=heads, progress=lambda *told, seen=seen: seen.append(told))
        assert (report.faults, report.chains, report.anchors) == (0, 1, 30)
        assert seen[-1] == (report.entries, report.entries)
    growing = False
    await task


async def test_a_log_that_was_rewritten_whole_is_found_by_its_anchors(database: Database, tmp_path: Path) -> None:
    """Chain and head agree with each other: only what is kept elsewhere knows better."""
    heads = await _filled(database)
    anchors = Anchors(open_objects(tmp_path.as_uri()))
    assert await anchors.write(heads[9::10]) == 3
    assert await anchors.write(heads[9::10]) == 3, "again is as once"
    assert await anchors.all() == await anchors.all("acme") == heads[9::10]
    rewritten = list(chain(ACME, 30))
    async with database.transaction() as tx:
        await tx.execute("set local session_replication_role = replica")
        await tx.execute("delete from fluxa.ledger")
        await tx.execute("delete from fluxa.ledger_heads")
        await write(tx, rewritten, [head_of(rewritten[-1])])
    verifier = Verifier(database)
    assert (await verifier.verify()).faults == 0
    report = await verifier.verify(anchors=await anchors.all())
    assert [(one.number, one.fault) for one in report.findings] == [(number, Fault.ANCHOR) for number in (10, 20, 30)]
    with pytest.raises(FluxaError, match="anchored before with another hash") as refused:
        await anchors.write(await Ledger(database).heads())
    assert refused.value.code == ErrorCode.HASH_MISMATCH


async def test_a_tenant_that_was_wiped_out_is_found_by_its_anchors(database: Database) -> None:
    heads = await _filled(database, 3)
    async with database.transaction() as tx:
        await tx.execute("set local session_replication_role = replica")
        await tx.execute("delete from fluxa.ledger")
        assert [one.fault for one in (await Verifier(database).verify(tx=tx)).findings] == [Fault.MISSING]
        await tx.execute("delete from fluxa.ledger_heads")
    assert (await Verifier(database).verify()).faults == 0
    [finding] = (await Verifier(database).verify(anchors=heads[-1:])).findings
    assert (finding.tenant, finding.number, finding.fault) == (ACME, 3, Fault.ANCHOR)
    assert (await Verifier(database).verify("other", anchors=heads)).faults == 0


async def test_rows_without_a_head_and_far_away_ones_are_found(database: Database) -> None:
    entries = list(chain(ACME, 3))
    async with database.transaction() as tx:
        await write(tx, entries)
    assert [one.fault for one in (await Verifier(database).verify()).findings] == [Fault.HEAD]
    far = sealed(msgspec.structs.replace(entries[2], number=10**15))
    async with database.transaction() as tx:
        await write(tx, [far], [head_of(entries[-1])])
    found = [(one.fault, one.number) for one in (await Verifier(database).verify()).findings]
    assert found == [(Fault.MISSING, 4), (Fault.HEAD, 10**15)]


async def test_a_flood_of_faults_is_counted_but_not_kept(database: Database) -> None:
    entries = list(chain(ACME, FINDINGS_MAX + 500))
    async with database.transaction() as tx:
        await write(tx, [sealed(msgspec.structs.replace(one, previous=b"x" * 32)) for one in entries])
    report = await Verifier(database).verify()
    assert (len(report.findings), report.faults) == (FINDINGS_MAX, FINDINGS_MAX + 501)


async def test_an_export_is_verified_without_the_database(database: Database) -> None:
    heads = await _filled(database)
    ledger = Ledger(database)
    async with database.transaction() as tx:
        await ledger.record(tx, Act(Tenant("other"), "ü", "thing.changed", "\n", {"b": 1, "a": [1.5, "\u2028"]}))
    lines = [line + b"\n" async for line in export(ledger)]
    assert len(lines) == 33
    report = verify_lines(lines, heads)
    assert (report.faults, report.chains, report.entries, report.anchors) == (0, 2, 31, 30)
    part = [line async for line in export(ledger, "acme", after=20)]
    assert verify_lines(part, heads).anchors == 10
    assert verify_lines(part).faults == 0
    for place in range(1, 31):
        assert verify_lines([*lines[:place], *lines[place + 1 :]]).faults, "a line is gone"
        assert verify_lines([*lines[:place], lines[place].replace(b"cli", b"you"), *lines[place + 1 :]]).faults
    assert verify_lines([*lines[:5], lines[6], lines[5], *lines[7:]]).faults
    assert [one.fault for one in verify_lines(lines[:20]).findings] == [Fault.MISSING]


@pytest.mark.parametrize("lines", [[b"x"], [b"{}"], [b'{"line":"entry"}'], [b"[" * 100_000]])
def test_a_file_that_is_no_export_is_refused_with_its_line(lines: list[bytes]) -> None:
    with pytest.raises(FluxaError, match=re.escape("Line 1 is not of an export")):
        verify_lines(lines)


async def test_a_million_entries_are_verified_in_little_memory(database_url: str) -> None:
    database = Database(PoolConfig(url=database_url, statement_timeout_s=300))
    await database.start()
    try:
        last: list[Head] = []

        def rows() -> Iterator[Entry]:
            for entry in chain(ACME, 1_000_000):
                if entry.number == 1_000_000:
                    last.append(head_of(entry))
                yield entry

        async with database.transaction() as tx:
            await write(tx, rows())
        async with database.transaction() as tx:
            await write(tx, [], last)
        process, most = psutil.Process(), 0
        before = process.memory_info().rss

        def look(_done: int, _of: int) -> None:
            nonlocal most
            most = max(most, process.memory_info().rss - before)

        report = await Verifier(database).verify(progress=look)
        assert (report.entries, report.faults) == (1_000_000, 0)
        assert most < 48 * 1024 * 1024, f"it grew by {most / 1024 / 1024:.0f} MiB"
    finally:
        await database.stop()


def test_the_ways_of_altering_alter() -> None:
    entries, rng = list(chain(ACME, 5)), random.Random(1)  # noqa: S311 - not a secret
    for tampering in (*TAMPERINGS, cut, forged):
        assert all(tampering(entries, rng)[0] != entries for _ in range(50)), tampering.__name__
