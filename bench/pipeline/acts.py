"""How many acts a second the audit log takes: by one connection and many, for one tenant and many."""

import asyncio
import os
import time

from bench.measure import Measured
from bench.report.book import Part
from bench.report.conditions import Run, conditions
from bench.report.figures import Figure, of_values
from fluxa.auth.audit import Act
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger import Ledger
from fluxa.operations.ledger.verify import Verifier
from fluxa.postgres.pool import Database, PoolConfig

_ROUNDS, _QUICK_ROUNDS, _ROUND_S, _QUICK_ROUND_S = 5, 1, 3.0, 1.0
_MANY = 8
_ARMS = {
    "plain insert, 1 connection, 1 tenant": "the same row into a table without a chain, a transaction each",
    "1 connection, 1 tenant": "an act a transaction, one after the other",
    "8 connections, 1 tenant": "all on one chain: commits wait for each other",
    "8 connections, 8 tenants": "a chain each",
    "8 connections, 8 tenants, 20 acts": "twenty acts a transaction",
}
_SAID = (
    "Each act is committed with its transaction, hashed and linked by the trigger. What a chain costs is the",
    "difference to the plain INSERT; what verifying costs is in the last line.",
)
_PLAIN = (
    "insert into plain (tenant, actor, action, subject, detail, correlation_id) values ($1, $2, $3, $4, $5::json, $6)"
)


async def measure(run: Run) -> Part:
    """Rounds of all arms, in turns."""
    rounds, round_s = (_QUICK_ROUNDS, _QUICK_ROUND_S) if run.quick else (_ROUNDS, _ROUND_S)
    rates: dict[str, list[float]] = {name: [] for name in _ARMS}
    verified: list[float] = []
    loads, waits = [], []
    for _ in range(rounds):
        waits += await asyncio.to_thread(run.server.sync_ms)
        loads.append(os.getloadavg()[0])
        async with run.server.fresh() as url:
            database = Database(PoolConfig(url=url, size_max=_MANY))
            await database.start()
            try:
                await database.execute(
                    "create table plain (id bigint generated always as identity primary key, tenant text, actor text,"
                    " action text, subject text, detail json, correlation_id text, at timestamptz default now())"
                )
                for name in _ARMS:
                    measured = await _arm(database, name, round_s)
                    rates[name].append(measured.rate)
                    print(f"  {name:<36} {measured.rate:7.0f} acts/s", flush=True)
                began_s = time.monotonic()
                report = await Verifier(database).verify()
                verified.append(report.entries / (time.monotonic() - began_s))
                print(f"  {'verify':<36} {verified[-1]:7.0f} entries/s of {report.entries}", flush=True)
            finally:
                await database.stop()
    found: dict[str, Figure] = {name: of_values(rates[name], "acts/s", 0, how) for name, how in _ARMS.items()}
    found["verify"] = of_values(verified, "entries/s", 0, "the whole log, by one process")
    return Part(
        title="The audit log",
        said=_SAID,
        conditions=await conditions(run.server, loads, waits),
        ratios={},
        figures=found,
    )


async def _arm(database: Database, name: str, round_s: float) -> Measured:
    ledger, until_s = Ledger(database), time.monotonic() + round_s
    tenants = _MANY if "8 tenants" in name else 1
    acts = 20 if name.endswith("20 acts") else 1

    async def append(connection: int) -> int:
        count, tenant = 0, Tenant(f"t{connection % tenants}")
        while time.monotonic() < until_s:
            async with database.transaction() as tx:
                for _ in range(acts):
                    act = Act(tenant, "user:7", "thing.changed", f"thing:{count}", {"from": 1, "to": 2}, "c-1")
                    if name.startswith("plain"):
                        await tx.execute(_PLAIN, act.tenant, act.actor, act.action, act.subject, '{"from":1}', "c-1")
                    else:
                        await ledger.record(tx, act)
                    count += 1
        return count

    began_s = time.monotonic()
    counts = await asyncio.gather(*(append(number) for number in range(1 if "1 connection," in name else _MANY)))
    return Measured(sum(counts), time.monotonic() - began_s)
