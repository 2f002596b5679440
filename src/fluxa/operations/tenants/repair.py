"""Mends what keeps tenants apart, as far as a login may. Not: what is wrong (check, rules)."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from fluxa.auth.audit import Act, Audit
from fluxa.kernel.errors import FluxaError, RetryClass
from fluxa.kernel.ids import Tenant
from fluxa.operations.tenants.check import check
from fluxa.operations.tenants.rules import LOGIN, Finding, Step
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.operations.tenants", "repair.sql")
_PASSES = 3
"""Without the role nobody can say what it may do: what a look finds after one repair, the next one mends."""


class Ending(enum.StrEnum):
    """What became of a statement."""

    PLANNED = "planned"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Mended:
    """One statement of a repair.

    Attributes:
        statement: the SQL.
        ending: what became of it.
        detail: why it was refused; empty else.
    """

    statement: str
    ending: Ending
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did.

    Attributes:
        found: what was wrong before.
        mended: the statements, in order.
        left: what is wrong still.
    """

    found: Sequence[Finding]
    mended: Sequence[Mended]
    left: Sequence[Finding]


async def plan(database: Database) -> Repair:
    """What a repair would do now; nothing is changed.

    Raises:
        DatabaseUnavailableError: an outage.
    """
    found = await check(database)
    async with database.connection() as handle:
        statements = [await _worded(handle, step) for step in _steps(found)]
    return Repair(found, [Mended(one, Ending.PLANNED) for one in statements], found)


async def repair(database: Database, audit: Audit, *, tenant: Tenant, by: str) -> Repair:
    """Mend all that can be mended, look again, and write down what was done in the transaction that does it.

    A statement that the login may not run, or that would wait for a lock, is told and left out. A login that does
    not own the tables tries nothing: much of what it is not allowed would only be a warning.

    Args:
        database: where.
        audit: where it is written down.
        tenant: in whose audit log.
        by: who gives the order.

    Raises:
        DatabaseUnavailableError: an outage; a pass that was not committed has changed nothing.
    """
    found = left = await check(database)
    if any(finding.what.startswith(f"{LOGIN} ") for finding in found):
        return Repair(found, (), found)
    mended: list[Mended] = []
    tried: set[Step] = set()
    for _ in range(_PASSES):
        steps = [step for step in _steps(left) if step not in tried]
        if not steps:
            break
        tried.update(steps)
        async with database.transaction() as tx:
            await tx.execute(_SQL["wait_briefly"])
            of_pass = [await _done(tx, step) for step in steps]
            done = [one.statement for one in of_pass if one.ending is Ending.DONE]
            if done:
                detail = {"statements": done, "found": [f"{one.what} {one.detail}" for one in left[:50]]}
                await audit.record(tx, Act(tenant, by, "tenants.repaired", "tenants", detail))
        mended += of_pass
        left = await check(database)
    return Repair(found, mended, left)


def _steps(found: Sequence[Finding]) -> list[Step]:
    """Each step once, in the order of the findings."""
    return list(dict.fromkeys(step for finding in found for step in finding.steps))


async def _worded(handle: Transaction, step: Step) -> str:
    return str(await handle.fetch_value(_SQL["word_step"], str(step.verb), step.target, step.what))


async def _done(tx: Transaction, step: Step) -> Mended:
    statement = f"{step.verb} {step.target} {step.what}".strip()
    try:
        async with tx.savepoint():
            statement = await _worded(tx, step)
            await tx.execute(statement)
    except FluxaError as error:
        # Of what may pass only a lock that is held is about this statement alone.
        if error.retry is RetryClass.TRANSIENT and not isinstance(error.__cause__, asyncpg.LockNotAvailableError):
            raise
        return Mended(statement, Ending.REFUSED, error.detail)
    return Mended(statement, Ending.DONE)
