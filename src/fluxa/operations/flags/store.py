"""The table of flags: set, reset, listed. Not: how processes follow it (watch)."""

from typing import Final

from fluxa.auth.audit import Act, Audit
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.operations.flags.flag import KNOWN, FlagView, checked
from fluxa.postgres import sql
from fluxa.postgres.listen import notify
from fluxa.postgres.pool import Database

_SQL = sql.load("fluxa.operations.flags", "store.sql")

TOPIC: Final = "flags"
"""The wake-up that follows each change."""

_REASON_MAX = 1000


class Flags:
    """What flags are set to, in one database. Every verb may raise `DBConnectionError`.

    Args:
        database: where they are.
        audit: where changes are written down.
        tenant: in whose ledger: they concern the whole installation.
    """

    def __init__(self, database: Database, audit: Audit, tenant: Tenant) -> None:
        self._database = database
        self._audit = audit
        self._tenant = tenant

    async def given(self) -> dict[str, FlagView]:
        """Those that somebody has set, by name."""
        rows = await self._database.fetch(_SQL["list_flags"])
        return {row["name"]: FlagView(about=_about(row["name"]), **dict(row)) for row in rows}

    async def all(self) -> list[FlagView]:
        """Fluxa's own, and those that somebody has set."""
        found = {name: FlagView(name, flag.default, flag.about) for name, flag in KNOWN.items()} | await self.given()
        return [found[name] for name in sorted(found)]

    async def put(self, name: str, *, is_on: bool, by: str, reason: str = "", correlation_id: str = "") -> FlagView:
        """Set a flag; every process follows at once.

        Args:
            name: which.
            is_on: whether it is on from now on.
            by: who says so, as acts name actors.
            reason: why; it is shown beside the flag.
            correlation_id: the request it was asked in.

        Raises:
            FluxaError: `InvalidRequest`, if no flag can be called so.
        """
        why = reason.replace("\x00", "")[:_REASON_MAX]
        async with self._database.transaction() as tx:
            before = await tx.fetch_row(_SQL["lock_flag"], checked(name))
            row = await tx.fetch_row(_SQL["put_flag"], name, is_on, by, why)
            detail = {"before": before and before["is_on"], "is_on": is_on, "reason": why}
            act = Act(self._tenant, by, "flag.changed", f"flag:{name}", detail, correlation_id)
            await self._audit.record(tx, act)
        await notify(self._database, TOPIC)
        assert row is not None  # noqa: S101 - an upsert that returns gives its row
        return FlagView(about=_about(name), **dict(row))

    async def reset(self, name: str, *, by: str, correlation_id: str = "") -> None:
        """Let what the code says hold again.

        Raises:
            FluxaError: `NotFound`, if nobody has set it.
        """
        async with self._database.transaction() as tx:
            before = await tx.fetch_row(_SQL["delete_flag"], checked(name))
            if before is None:
                raise FluxaError(ErrorCode.NOT_FOUND, f"Nobody has set a flag named {name}.")
            detail = {"before": before["is_on"]}
            act = Act(self._tenant, by, "flag.reset", f"flag:{name}", detail, correlation_id)
            await self._audit.record(tx, act)
        await notify(self._database, TOPIC)


def _about(name: str) -> str:
    flag = KNOWN.get(name)
    return "" if flag is None else flag.about
