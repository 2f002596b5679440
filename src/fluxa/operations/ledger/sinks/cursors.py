"""What has been sent to each sink, kept in Postgres, and who sends to it. Not: the sending (sending)."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger.chain import Entry
from fluxa.operations.ledger.ledger import read_entry
from fluxa.postgres import sql
from fluxa.postgres.pool import Database

_SQL = sql.load("fluxa.operations.ledger.sinks", "cursors.sql")
_ERROR_MAX = 1000


@dataclass(frozen=True, slots=True)
class SinkStanding:
    """How a sink stands.

    Attributes:
        sink: its name in the settings.
        sent_at: when something last arrived there.
        failing: whether the last delivery failed.
        error: why one last failed.
        error_at: when.
        sent: entries that have arrived, of all tenants.
        behind: entries that have not.
        oldest_s: seconds for which the oldest of those waits.
    """

    sink: str
    sent_at: dt.datetime | None
    failing: bool
    error: str | None
    error_at: dt.datetime | None
    sent: int
    behind: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a tenant's chain has been sent to a sink.

    Attributes:
        sink: where to.
        tenant: whose chain.
        number: the last entry that has arrived.
        at: when it had.
    """

    sink: str
    tenant: Tenant
    number: int
    at: dt.datetime


class Cursors:
    """The cursors of all sinks. Every verb may raise `DatabaseUnavailableError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, sink: str, holder: str, hold_s: float) -> bool:
        """Take or keep the sending to a sink for so many seconds; False if another process has it."""
        return await self._database.execute(_SQL["take_sink"], sink, holder, hold_s) > 0

    async def leave(self, sink: str, holder: str) -> None:
        """Let another process go on at once."""
        await self._database.execute(_SQL["leave_sink"], sink, holder)

    async def unsent(self, sink: str, *, limit: int) -> list[Entry]:
        """What is to be sent next: of each tenant its entries in order."""
        return [read_entry(row) for row in await self._database.fetch(_SQL["list_unsent"], sink, limit)]

    async def advance(self, sink: str, entries: Sequence[Entry]) -> None:
        """These have arrived, and with them all that precede them."""
        last = {entry.tenant: entry.number for entry in entries}
        await self._database.execute(_SQL["advance_cursors"], sink, list(last), list(last.values()))

    async def failed(self, sink: str, error: str) -> None:
        """A delivery failed."""
        await self._database.execute(_SQL["note_failure"], sink, error.replace("\x00", "")[:_ERROR_MAX])

    async def standings(self, sinks: Sequence[str] = ()) -> list[SinkStanding]:
        """How all sinks stand: these, and those that were sent to before."""
        return [SinkStanding(*row) for row in await self._database.fetch(_SQL["list_sinks"], list(sinks))]

    async def cursors(self, sink: str | None = None) -> list[Cursor]:
        """How far each chain has been sent to one sink, or to all."""
        return [Cursor(*row) for row in await self._database.fetch(_SQL["list_cursors"], sink)]
