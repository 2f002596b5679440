"""The tables of routes and role bindings: told, bound, unbound, listed. Not: how processes follow them (watch)."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from fluxa.auth.audit import Act, Audit
from fluxa.auth.principal import Principal
from fluxa.auth.roles import Role
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres import sql
from fluxa.postgres.listen import notify
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction
from fluxa.web.identity.bindings.grants import check_opening, roles_of
from fluxa.web.identity.bindings.rules import NewlyBound, RoleBinding, RouteTable, RouteView, check
from fluxa.web.routes import Route

_SQL = sql.load("fluxa.web.identity.bindings", "store.sql")

TOPIC: Final = "role_bindings"
"""The wake-up that follows each change."""

_REASON_MAX = 1000
_ROLES = frozenset(role.value for role in Role)


class Bindings:
    """Who may call what, in one database. Every verb may raise `DBConnectionError`.

    Args:
        database: where it is.
        audit: where changes are written down.
        tenant: in whose ledger: they concern the whole installation.
    """

    def __init__(self, database: Database, audit: Audit, tenant: Tenant) -> None:
        self._database = database
        self._audit = audit
        self._tenant = tenant

    async def tell(self, process: str, routes: Sequence[Route], *, version: str) -> None:
        """Say what a process serves from now on; what was said of it before is forgotten."""
        rows = [
            {
                "name": route.name,
                "path": route.path,
                "methods": route.methods,
                "auth": route.auth,
                "bucket": route.terms.bucket,
                "roles": sorted(route.terms.roles),
                "scope": route.terms.scope,
                "platform": route.terms.platform,
                "body_max_bytes": route.terms.body_max_bytes,
                "timeout_s": route.terms.timeout_s,
            }
            for route in sorted(routes, key=lambda route: route.name)
        ]
        async with self._database.transaction() as tx:
            await tx.execute(_SQL["lock_bindings"])
            await tx.execute(_SQL["put_routes"], process, json.text(rows), version)

    async def table(self) -> RouteTable:
        """All routes of all processes, with what is bound to them."""
        async with self._database.transaction() as tx:
            return await self._table(tx)

    async def all(self) -> list[RoleBinding]:
        """What is bound, by the routes' names."""
        return [_binding(row) for row in await self._database.fetch(_SQL["list_bindings"])]

    async def bind(
        self,
        route: str,
        roles: Iterable[Role],
        *,
        by: str,
        who: Principal | None = None,
        reason: str = "",
        correlation_id: str = "",
    ) -> NewlyBound:
        """Let these roles call a route from now on, on every process, and no others.

        Args:
            route: its name.
            roles: which; none: nobody may.
            by: who says so, as acts name actors.
            who: the caller, who gives nobody rights that he does not have; None for who works on the database itself.
            reason: why; it is shown beside the route.
            correlation_id: the request it was asked in.

        Raises:
            FluxaError: `NotFound` for a route that there is not, `InvalidRequest` for one where roles do not count,
                `Refused` where it would shut the admins out of changing bindings, `Forbidden` for what `who` may not.
        """
        given = sorted(set(roles))
        why = reason.replace("\x00", "")[:_REASON_MAX]
        async with self._database.transaction() as tx:
            await tx.execute(_SQL["lock_bindings"])
            check(route, given, {row["name"]: row["auths"] for row in await tx.fetch(_SQL["list_auths"])})
            routes = (await self._table(tx)).routes
            _check_given(who, route, given, routes)
            before = await tx.fetch_row(_SQL["get_binding"], route)
            row = await tx.fetch_row(_SQL["put_binding"], route, given, by, why)
            detail = {"before": before and before["roles"], "roles": given, "reason": why}
            await self._audit.record(
                tx, Act(self._tenant, by, "role_binding.changed", f"route:{route}", detail, correlation_id)
            )
        await notify(self._database, TOPIC)
        assert row is not None  # noqa: S101 - an upsert that returns gives its row
        own = {role for one in routes if one.name == route for role in one.roles}
        return NewlyBound(**msgspec.structs.asdict(_binding(row)), beyond_row=[one for one in given if one not in own])

    async def unbind(self, route: str, *, by: str, who: Principal | None = None, correlation_id: str = "") -> None:
        """Let the roles of its row call a route again.

        Raises:
            FluxaError: `NotFound`, if nothing is bound to it; `Forbidden`, if that gives rights that `who` has not.
        """
        async with self._database.transaction() as tx:
            await tx.execute(_SQL["lock_bindings"])
            before = None if "\x00" in route else await tx.fetch_row(_SQL["get_binding"], route)
            if before is None:
                raise FluxaError(ErrorCode.NOT_FOUND, f"Nothing is bound to a route named {route[:80]!r}.")
            routes = (await self._table(tx)).routes
            _check_given(who, route, {role for one in routes if one.name == route for role in one.roles}, routes)
            await tx.execute(_SQL["delete_binding"], route)
            detail = {"before": before["roles"]}
            await self._audit.record(
                tx, Act(self._tenant, by, "role_binding.removed", f"route:{route}", detail, correlation_id)
            )
        await notify(self._database, TOPIC)

    async def _table(self, tx: Transaction) -> RouteTable:
        bound = {row["route"]: _binding(row) for row in await tx.fetch(_SQL["list_bindings"])}
        routes = [
            msgspec.convert({**row, "binding": bound.get(row["name"])}, RouteView)
            for row in await tx.fetch(_SQL["list_routes"])
        ]
        there = {one.name for one in routes}
        return RouteTable(routes=routes, lost=[one for name, one in bound.items() if name not in there])


def _check_given(who: Principal | None, route: str, roles: Iterable[str], routes: Sequence[RouteView]) -> None:
    """Refuse what would open a route to roles for a caller who may not call it."""
    if who is None:
        return
    of = [one for one in routes if one.name == route]
    check_opening(who, route, {role for role in roles for one in of if role not in roles_of(one)}, of)


def _binding(row: Row) -> RoleBinding:
    """A row; a role that only a newer version knows opens nothing here."""
    return RoleBinding(
        route=row["route"],
        roles=[Role(role) for role in row["roles"] if role in _ROLES],
        changed_by=row["changed_by"],
        reason=row["reason"],
        changed_at=row["changed_at"],
    )
