"""Asks the server how tenants are kept apart, and tries it with a canary. Not: what the answers mean (rules)."""

from collections.abc import Mapping
from typing import Any

from fluxa.kernel.errors import FluxaError, RetryClass
from fluxa.kernel.ids import Tenant
from fluxa.operations.checks.routine import Verdict
from fluxa.operations.tenants.rules import GRANTS, Finding, Kind, judge_canary, judge_login, judge_role, judge_table
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.tenancy import enter

_SQL = sql.load("fluxa.operations.tenants", "inspect.sql")
_CANARIES = (Tenant("-canary-a"), Tenant("-canary-b"))
"""No tenant's name begins so."""


class _RolledBackError(Exception):
    """Nothing of a canary stays."""


async def check(database: Database) -> list[Finding]:
    """All that is wrong with the separation of tenants; empty if nothing is.

    Raises:
        DatabaseUnavailableError: an outage: it is not known.
    """
    role = await database.fetch_row(_SQL["inspect_role"])
    found = list(judge_role(None if role is None else dict(role)))
    if role is None:
        return found
    tables = [dict(table) for table in await database.fetch(_SQL["inspect_tables"])]
    found += judge_login(role["login_name"], tables)
    for table in tables:
        found += judge_table(table)
    for tenant in _CANARIES:
        found += await _canary(database, tenant)
    return found


async def _canary(database: Database, tenant: Tenant) -> list[Finding]:
    """Write rows for two tenants, read as one of them, roll back."""
    seen: Mapping[str, list[str]] = {}
    written = False
    try:
        async with database.transaction() as tx:
            written = await tx.execute(_SQL["write_canary"], list(_CANARIES)) > 0
            await enter(tx, tenant)
            rows = await tx.fetch(_SQL["count_canary"], list(_CANARIES))
            seen = {str(row["name"]): list(row["seen"] or ()) for row in rows}
            raise _RolledBackError  # noqa: TRY301 - leaving the block by an error is what rolls it back
    except _RolledBackError:
        pass  # as meant
    except FluxaError as error:
        if error.retry is RetryClass.TRANSIENT:
            raise
        return [
            Finding(Kind.LOCK_OUT, "canary", f"a tenant is refused: {error.detail}", "mend what else is found here")
        ]
    return [
        finding
        for table in sorted(GRANTS)
        for finding in judge_canary(table, tenant, seen[table], written=written or table != "events")
    ]


class TenantCheck:
    """The same as a check for `fluxa.operations.checks`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, _state: Mapping[str, Any]) -> Verdict:
        """One check.

        Raises:
            DatabaseUnavailableError: an outage: it is not known.
        """
        found = await check(self._database)
        told = "; ".join(f"{one.kind}: {one.what} {one.detail}" for one in found[:5])
        return Verdict(len(found), f"{len(found)} found. {told}. Run: fluxa tenants check" if found else "")
