"""The audit log: acts go in with the transaction that does them, entries come out in pages. Not: checking them."""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final

from fluxa.auth.audit import Act
from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant, is_tenant
from fluxa.operations.ledger.chain import Entry, Head
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction
from fluxa.telemetry.catalogue import ActRecorded, Hook, silent

_SQL = sql.load("fluxa.operations.ledger", "ledger.sql")
_ACTION = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+\Z")
_TEXT_MAX: Final = 1024
DETAIL_MAX_BYTES: Final = 64 * 1024
"""The largest detail of an entry."""


@dataclass(frozen=True, slots=True)
class Sought:
    """Which entries are wanted; what is None does not matter.

    Attributes:
        actor: exactly this one.
        action: this one, or all of its noun: `session` finds `session.revoked`.
        subject: exactly this one.
        correlation_id: exactly this one.
        since: committed at this time or later.
        until: committed before this time.
    """

    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    correlation_id: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None


ANY = Sought()
"""All entries."""


class Ledger:
    """The audit log of one database. An `fluxa.auth.audit.Audit`. Every verb may raise `DBConnectionError`."""

    def __init__(self, database: Database, *, hook: Hook = silent) -> None:
        self._database = database
        self._hook = hook

    async def record(self, tx: Transaction, act: Act) -> None:
        """Write it down in the transaction that does it: both are there, or neither.

        The entry gets its number and its hash when the transaction commits; only for that moment is the end of the
        tenant's chain locked. An act in a savepoint that is rolled back leaves nothing.

        Raises:
            FluxaError: `InvalidRequest` for an act that is none; an outage: the act must then not be done either.
        """
        if not is_tenant(act.tenant):
            raise FluxaError(ErrorCode.INVALID_REQUEST, f"{act.tenant[:80]!r} cannot name a tenant.")
        if not _ACTION.match(act.action):
            raise FluxaError(ErrorCode.INVALID_REQUEST, f"{act.action[:80]!r} is no action: noun.verb.")
        await tx.execute(
            _SQL["insert_act"],
            act.tenant,
            _plain(act.actor),
            act.action,
            _plain(act.subject),
            _detail(act),
            _plain(act.correlation_id),
        )
        tx.after_commit(lambda: self._hook(ActRecorded(act.action)))

    async def page(
        self, tenant: str, sought: Sought = ANY, *, before: int | None = None, limit: int = 100
    ) -> list[Entry]:
        """Entries of a tenant, the newest first.

        Args:
            tenant: whose.
            sought: which.
            before: only those with a smaller number: the last one of the page before.
            limit: entries at most.
        """
        rows = await self._database.fetch(
            _SQL["list_entries"],
            tenant,
            before,
            sought.actor,
            sought.action,
            sought.subject,
            sought.correlation_id,
            sought.since,
            sought.until,
            limit,
        )
        return [read_entry(row) for row in rows]

    async def get(self, tenant: str, number: int) -> Entry:
        """One entry.

        Raises:
            FluxaError: `NotFound`.
        """
        row = await self._database.fetch_row(_SQL["read_entry"], tenant, number)
        if row is None:
            raise FluxaError(ErrorCode.NOT_FOUND, f"Tenant {tenant} has no entry {number} in its audit log.")
        return read_entry(row)

    async def after(self, tenant: str, number: int, *, limit: int) -> list[Entry]:
        """The entries that follow a number, in order."""
        return [read_entry(row) for row in await self._database.fetch(_SQL["list_after"], tenant, number, limit)]

    async def heads(self, tenant: str | None = None) -> list[Head]:
        """The ends of all chains, or of one."""
        return [read_head(row) for row in await self._database.fetch(_SQL["list_heads"], tenant)]


def read_entry(row: Row) -> Entry:
    """The entry in a row."""
    return Entry(*row)


def read_head(row: Row) -> Head:
    """The head in a row."""
    return Head(Tenant(row["tenant"]), row["number"], row["hash"], row["at"])


def _plain(text: str) -> str:
    """What Postgres can keep of a text; whatever was sent to us must not keep an act from being written down."""
    kept = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return kept if len(kept) <= _TEXT_MAX else kept[: _TEXT_MAX - 1] + "…"


def _detail(act: Act) -> str:
    text = json.text(dict(act.detail))
    if len(text.encode()) > DETAIL_MAX_BYTES:
        raise FluxaError(
            ErrorCode.INVALID_REQUEST, f"The detail of an act has at most {DETAIL_MAX_BYTES} bytes: {act.action}."
        )
    return text
