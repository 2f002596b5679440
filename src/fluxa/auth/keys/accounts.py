"""Service accounts: programs by name, which own keys and end with all of them. Not: people (people), or the keys."""

import datetime as dt
import re
import secrets
from typing import Final, Protocol

import msgspec

from fluxa.auth.audit import Act, Audit
from fluxa.auth.roles import Role
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant, can_be_given
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction

_SQL = sql.load("fluxa.auth.keys", "accounts.sql")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")
_ID_BYTES: Final = 8


class ServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A program that has keys.

    Attributes:
        account_id: never changes.
        tenant: whose data it opens.
        name: what it is called, once in its tenant.
        role: what it, and each of its keys, is to the tenant.
        disabled: whether it can have no keys.
        created_at: when it was made.
        changed_at: when it was disabled or enabled last.
    """

    account_id: str
    tenant: Tenant
    name: str
    role: Role
    disabled: bool
    created_at: dt.datetime
    changed_at: dt.datetime


async def owner(tx: Transaction, tenant: str, name: str) -> ServiceAccount:
    """The account that is to own a key, kept from being disabled until the transaction ends.

    Raises:
        FluxaError: `NotFound`; `Refused`, if it is disabled.
    """
    found = _found(await tx.fetch_row(_SQL["find_account"], tenant, name), name)
    if found.disabled:
        raise FluxaError(ErrorCode.REFUSED, f"The service account {name} is disabled; enable it first.")
    return found


class Keys(Protocol):
    """Ends keys; `fluxa.auth.keys.api_keys.ApiKeys` is one."""

    async def end_of_account(self, tx: Transaction, account_id: str) -> int:
        """Revoke all keys of an account in its transaction; how many."""
        ...

    async def tell(self) -> None:
        """Say to all processes that keys changed, once that is committed."""
        ...


class ServiceAccounts:
    """The service accounts of one database. Every verb may raise `DBConnectionError`."""

    def __init__(self, database: Database, keys: Keys, audit: Audit) -> None:
        self._database = database
        self._keys = keys
        self._audit = audit

    async def create(self, tenant: str, name: str, *, role: Role, by: str) -> ServiceAccount:
        """Make an account; it has no keys yet.

        Raises:
            FluxaError: `InvalidRequest` for a tenant or name that is none; `Refused` for a taken name.
        """
        if not can_be_given(tenant):
            raise FluxaError(ErrorCode.INVALID_REQUEST, f"{tenant!r} cannot name a tenant.", pointer="/tenant")
        if not _NAME.match(name):
            raise FluxaError(
                ErrorCode.INVALID_REQUEST,
                f"{name!r} cannot name a service account: 1 to 63 of a-z 0-9 . _ -, beginning with a letter or digit.",
                pointer="/name",
            )
        async with self._database.transaction() as tx:
            row = await tx.fetch_row(_SQL["insert_account"], secrets.token_hex(_ID_BYTES), tenant, name, role)
            if row is None:
                raise FluxaError(ErrorCode.REFUSED, f"{tenant} has a service account {name}.", pointer="/name")
            account = _account(row)
            await self._audit.record(tx, _act(account, by, "service_account.created", {"role": role}))
        return account

    async def list(self, tenant: str | None = None) -> list[ServiceAccount]:
        """All accounts, or those of a tenant, by name."""
        return [_account(row) for row in await self._database.fetch(_SQL["list_accounts"], tenant)]

    async def disable(self, tenant: str, name: str, *, by: str) -> int:
        """End an account and all its keys, at once and for good: enabling it again gives none of them back.

        Returns: how many valid keys ended.

        Raises:
            FluxaError: `NotFound`.
        """
        async with self._database.transaction() as tx:
            account = _found(await tx.fetch_row(_SQL["lock_account"], tenant, name), name)
            ended = await self._keys.end_of_account(tx, account.account_id)
            if not account.disabled:
                await tx.execute(_SQL["change_account"], account.account_id, True)
                await self._audit.record(tx, _act(account, by, "service_account.disabled", {"keys_ended": ended}))
        await self._keys.tell()
        return ended

    async def enable(self, tenant: str, name: str, *, by: str) -> ServiceAccount:
        """Let an account have keys again; those that ended stay so.

        Raises:
            FluxaError: `NotFound`.
        """
        async with self._database.transaction() as tx:
            account = _found(await tx.fetch_row(_SQL["lock_account"], tenant, name), name)
            if account.disabled:
                row = await tx.fetch_row(_SQL["change_account"], account.account_id, False)
                account = _found(row, name)
                await self._audit.record(tx, _act(account, by, "service_account.enabled", {}))
        return account


def _act(account: ServiceAccount, by: str, action: str, detail: dict[str, object]) -> Act:
    return Act(account.tenant, by, action, f"service_account:{account.account_id}", {"name": account.name, **detail})


def _found(row: Row | None, name: str) -> ServiceAccount:
    if row is None:
        raise FluxaError(ErrorCode.NOT_FOUND, f"There is no service account {name} in this tenant.")
    return _account(row)


def _account(row: Row) -> ServiceAccount:
    return ServiceAccount(
        account_id=row["account_id"],
        tenant=Tenant(row["tenant"]),
        name=row["name"],
        role=Role(row["role"]),
        disabled=row["disabled"],
        created_at=row["created_at"],
        changed_at=row["changed_at"],
    )
