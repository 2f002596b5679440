"""Statements run for one tenant, as a role that Postgres shows this tenant's rows and no others (SEC-4).

Which statements run as the owner instead, and why, is listed in docs/operating/tenants.md; a test compares.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.postgres", "server.sql")

ROLE: Final = "fluxa_tenant"
"""The role: it cannot log in, owns nothing, and row-level security binds it."""


@contextlib.asynccontextmanager
async def as_tenant(
    database: Database, tenant: Tenant, *, timeout_s: float | None = None
) -> AsyncIterator[Transaction]:
    """A transaction that sees and changes the rows of one tenant only, whatever its statements say.

    It costs one round trip more than a transaction does. Role and tenant end with the transaction, so it works behind
    a pooler that lends connections for one transaction, and a connection goes back to the pool as it came.

    What it cannot hold: a statement that sets the role or the tenant itself. There is none, and no text of a caller
    becomes one: statements stand in files, and a test holds that for those that are run here.

    Args:
        database: where.
        tenant: whose rows.
        timeout_s: seconds that one statement may take; None for the limits of pool and server.

    Raises:
        DatabaseUnavailableError: as `Database.transaction` does.
        FluxaError: `DBRejected`, if the login may not take the role (any more), with the command that says more.
    """
    async with database.transaction() as tx:
        await enter(tx, tenant, timeout_s=timeout_s)
        yield tx


async def enter(tx: Transaction, tenant: Tenant, *, timeout_s: float | None = None) -> None:
    """From here on, what this transaction does is done for one tenant. Takes and raises what `as_tenant` does."""
    limit = None if timeout_s is None else f"{round(timeout_s * 1000)}ms"
    try:
        await tx.execute(_SQL["enter_tenant"], tenant, limit)
    except FluxaError as error:
        if isinstance(error.__cause__, asyncpg.InvalidParameterValueError | asyncpg.InsufficientPrivilegeError):
            raise FluxaError(
                ErrorCode.DB_REJECTED,
                f"The login cannot act as {ROLE}, so no tenant can be served: {error.__cause__}. "
                "Run: fluxa tenants check",
            ) from error
        raise
