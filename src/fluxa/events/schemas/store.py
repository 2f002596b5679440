"""Owner of the table `fluxa.schemas`."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec

from fluxa.events.schemas.compiled import Schema
from fluxa.kernel import json
from fluxa.kernel.ids import Tenant
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.tenancy import as_tenant

_SQL = sql.load("fluxa.events.schemas", "store.sql")


class SchemaHead(msgspec.Struct, frozen=True, kw_only=True):
    """A registered schema, without its text.

    Attributes:
        type: the event type.
        version: 1 for the first, one more for each that differed.
        updated_at: when this version was registered.
    """

    type: str
    version: int
    updated_at: dt.datetime


class StoredSchema(SchemaHead, frozen=True, kw_only=True):
    """A registered schema.

    Attributes:
        schema: as JSON.
    """

    schema: dict[str, Any] | bool


class Version(msgspec.Struct, frozen=True):
    """Which schema of a tenant's type is in force."""

    tenant: Tenant
    type: str
    version: int
    updated_at: dt.datetime


class SchemaStore:
    """Reads and writes schemas; every verb raises `DatabaseUnavailableError` in an outage."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, tenant: Tenant, type_: str, schema: Schema) -> SchemaHead:
        """Register a schema; the same one again changes nothing."""
        async with as_tenant(self._database, tenant) as tx:
            row = await tx.fetch_row(_SQL["put_schema"], tenant, type_, json.text(schema))
        if row is None:
            found = await self.find(tenant, type_)
            if found is None:  # deleted between the two statements
                return await self.put(tenant, type_, schema)
            return SchemaHead(type=type_, version=found.version, updated_at=found.updated_at)
        return SchemaHead(type=type_, version=row["version"], updated_at=row["updated_at"])

    async def find(self, tenant: Tenant, type_: str) -> StoredSchema | None:
        """A type's schema, if it has one."""
        async with as_tenant(self._database, tenant) as tx:
            row = await tx.fetch_row(_SQL["find_schema"], tenant, type_)
        if row is None:
            return None
        return StoredSchema(
            type=row["type"],
            version=row["version"],
            updated_at=row["updated_at"],
            schema=json.decode(row["schema"]),
        )

    async def list(self, tenant: Tenant, *, after: str = "", limit: int = 1000) -> Sequence[SchemaHead]:
        """A tenant's schemas in the order of their types, from the one after `after`."""
        async with as_tenant(self._database, tenant) as tx:
            rows = await tx.fetch(_SQL["list_schemas"], tenant, after, limit)
        return [SchemaHead(type=row["type"], version=row["version"], updated_at=row["updated_at"]) for row in rows]

    async def delete(self, tenant: Tenant, type_: str) -> bool:
        """Remove a type's schema; whether there was one."""
        async with as_tenant(self._database, tenant) as tx:
            return await tx.execute(_SQL["delete_schema"], tenant, type_) > 0

    async def mark(self) -> str:
        """A text that is another one after any change to any schema."""
        return str(await self._database.fetch_value(_SQL["measure_change"]))

    async def versions(self) -> Sequence[Version]:
        """What is in force, for all tenants."""
        rows = await self._database.fetch(_SQL["list_versions"])
        return [Version(Tenant(row["tenant"]), row["type"], row["version"], row["updated_at"]) for row in rows]
