"""Reads events and what befell them, always for one tenant, never longer than a time limit."""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncpg

from fluxa.events.query.schemas import LIST_DATA_MAX_BYTES, PAGE_MAX_BYTES, Position
from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.tenancy import as_tenant
from fluxa.postgres.transaction import Row, Transaction

_SQL = sql.load("fluxa.events.query", "store.sql")


@dataclass(frozen=True, slots=True)
class Filters:
    """Which events are meant; None means any.

    Attributes:
        type: the event's type.
        source: the event's source.
        subject: the event's subject.
        correlation_id: the story.
        time_from: earliest time of the event itself.
        time_to: the first time that is too late.
        received_from: earliest arrival.
        received_to: the first arrival that is too late.
    """

    type: str | None = None
    source: str | None = None
    subject: str | None = None
    correlation_id: str | None = None
    time_from: dt.datetime | None = None
    time_to: dt.datetime | None = None
    received_from: dt.datetime | None = None
    received_to: dt.datetime | None = None


class EventReads:
    """The reads of one database.

    Args:
        database: where the events are.
        timeout_s: seconds that one read may take.
    """

    def __init__(self, database: Database, *, timeout_s: float = 5.0) -> None:
        self._database = database
        self._timeout_s = timeout_s

    async def find(self, tenant: Tenant, event_id: str, source: str | None) -> Sequence[Row]:
        """The events of an id, one a source, at most 11."""
        async with self._guarded(tenant) as tx:
            return await tx.fetch(_SQL["find_event"], tenant, event_id, source)

    async def page(
        self, tenant: Tenant, filters: Filters, before: Position | None, limit: int
    ) -> tuple[Sequence[Row], bool]:
        """Events before a position, newest first, long data left out; and whether there are more."""
        async with self._guarded(tenant) as tx:
            rows = await tx.fetch(
                _SQL["list_events"],
                tenant,
                filters.type,
                filters.source,
                filters.subject,
                filters.correlation_id,
                filters.time_from,
                filters.time_to,
                filters.received_from,
                filters.received_to,
                None if before is None else before.tx,
                None if before is None else before.ord,
                limit + 1,
                LIST_DATA_MAX_BYTES,
                PAGE_MAX_BYTES,
            )
        shown = rows[:limit]
        return shown, bool(rows) and rows[0]["found"] > len(shown)

    async def horizon(self) -> Position:
        """The position that all later reads of the tail may go up to without missing a late commit."""
        return Position(int(await self._database.fetch_value(_SQL["find_horizon"])), -1)

    async def tail(
        self, tenant: Tenant, after: Position, until: Position, limit: int
    ) -> tuple[Sequence[Row], Position]:
        """Events after a position and before a horizon, oldest first, long data left out; and how far that reaches."""
        async with self._guarded(tenant) as tx:
            rows = await tx.fetch(
                _SQL["tail_events"],
                tenant,
                after.tx,
                after.ord,
                until.tx,
                limit,
                LIST_DATA_MAX_BYTES,
                PAGE_MAX_BYTES,
            )
        if not rows or (rows[0]["found"] == len(rows) < limit):
            return rows, until
        return rows, Position(int(rows[-1]["tx"]), int(rows[-1]["ord"]))

    async def trace(
        self, tenant: Tenant, correlation_id: str, event_id: str | None, limit: int
    ) -> tuple[Sequence[Row], Sequence[Row]]:
        """The stored events of a story, and the failed attempts at events of it; so many events of each at most."""
        async with self._guarded(tenant) as tx:
            events = await tx.fetch(_SQL["trace_events"], tenant, correlation_id, event_id, limit)
            failures = await tx.fetch(_SQL["trace_failures"], tenant, correlation_id, event_id, limit)
        return events, failures

    @contextlib.asynccontextmanager
    async def _guarded(self, tenant: Tenant) -> AsyncIterator[Transaction]:
        """A transaction of the tenant whose statements end in time and are planned for their values.

        Raises:
            FluxaError: `QueryTimeout`.
        """
        try:
            async with as_tenant(self._database, tenant, timeout_s=self._timeout_s) as tx:
                yield tx
        except DatabaseUnavailableError as error:
            if isinstance(error.__cause__, asyncpg.QueryCanceledError):
                raise FluxaError(
                    ErrorCode.QUERY_TIMEOUT,
                    f"The query was stopped after {self._timeout_s:g} seconds. Narrow it: give received_from "
                    "and received_to, a type, a source or a correlation_id, or a smaller limit.",
                    retry_after_s=1,
                ) from error
            raise
