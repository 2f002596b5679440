"""The months of `fluxa.events`: made ahead, made on demand, dropped whole when they are too old."""

import datetime as dt
from collections.abc import Iterable

from typing_extensions import override

from fluxa.kernel.clock import Clock
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import Hook
from fluxa.telemetry.duty import RareDuty

_SQL = sql.load("fluxa.events", "partitions.sql")
MONTHS_AHEAD = 3
"""Months that are made before their first event."""
_DAY_S = 86_400.0
_REPEAT_S = 60.0
_DELETE_BLOCKS = 128


def month_of(moment: dt.datetime) -> dt.date:
    """The first day of the month, in UTC, that keeps events received at this moment."""
    return moment.astimezone(dt.UTC).date().replace(day=1)


def month_after(month: dt.date, months: int) -> dt.date:
    """The first day of the month so many months later, or earlier."""
    year, index = divmod(month.year * 12 + month.month - 1 + months, 12)
    return dt.date(year, index + 1, 1)


class Partitions:
    """Knows which months exist and makes those that do not; safe in any number of processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: set[dt.date] = set()

    async def ensure(self, months: Iterable[dt.date]) -> None:
        """Make the months that are not known to exist; free when all are known.

        Raises:
            DatabaseUnavailableError: an outage.
        """
        for month in sorted(set(months) - self._known):
            await self._database.fetch_value(_SQL["ensure_month"], month)
            self._known.add(month)

    def forget(self) -> None:
        """Believe nothing any more: some other process dropped a month."""
        self._known.clear()

    async def existing(self) -> list[dt.date]:
        """The months there are, ascending."""
        rows = await self._database.fetch(_SQL["list_partitions"])
        return [dt.datetime.strptime(row["name"], "events_%Y_%m").replace(tzinfo=dt.UTC).date() for row in rows]

    async def drop_before(self, oldest: dt.date, *, lock_timeout_s: float = 2.0) -> list[dt.date]:
        """Drop every month before `oldest`, with the identities and failures of that time.

        A month's events vanish at once; the rest follows in small transactions. What an interruption
        leaves is deleted by the next call.

        Args:
            oldest: the first month to keep.
            lock_timeout_s: how long readers and writers may be kept waiting for one month.

        Returns:
            The months that were dropped.

        Raises:
            DatabaseUnavailableError: an outage, or a long reader that holds a month; try again later.
        """
        dropped = []
        for month in await self.existing():
            if month >= oldest:
                break
            async with self._database.transaction() as tx:
                await tx.fetch_value(_SQL["limit_lock_wait"], f"{round(lock_timeout_s * 1000)}ms")
                if await tx.fetch_value(_SQL["drop_month"], month):
                    dropped.append(month)
        self._known = {month for month in self._known if month >= oldest}
        before = dt.datetime(oldest.year, oldest.month, 1, tzinfo=dt.UTC)
        await self._delete_old(before, "keys", find="find_old_keys", delete="delete_old_keys")
        await self._delete_old(before, "failures", find="find_old_failures", delete="delete_old_failures")
        return dropped

    async def _delete_old(self, before: dt.datetime, table: str, *, find: str, delete: str) -> None:
        """Delete in small transactions, one stretch of the table after the other."""
        if not await self._database.fetch_value(_SQL[find], before):
            return
        row = await self._database.fetch_row(_SQL["count_blocks"])
        for block in range(0, 0 if row is None else int(row[table]), _DELETE_BLOCKS):
            await self._database.execute(_SQL[delete], before, (block, 0), (block + _DELETE_BLOCKS, 0))


class PartitionKeeper(RareDuty):
    """Makes the coming months and drops the old ones, at the start and then daily. A `Service`."""

    def __init__(
        self, partitions: Partitions, *, clock: Clock, hook: Hook, retention_months: int | None = None
    ) -> None:
        """Keep the months.

        Args:
            partitions: what does it.
            clock: says which month it is.
            hook: hears how each pass ended.
            retention_months: whole months kept besides the current one; None keeps all.
        """
        if retention_months is not None and retention_months < 1:
            raise ValueError("retention_months must be at least 1")
        super().__init__("partitions", self.keep, clock=clock, hook=hook, every_s=_DAY_S, repeat_s=_REPEAT_S)
        self._partitions = partitions
        self._retention_months = retention_months

    @override
    async def start(self) -> None:
        """Make the months that are needed now, then go on in the background.

        Raises:
            DatabaseUnavailableError: an outage.
        """
        if self._task is None:
            await self._ensure_ahead()
            await super().start()

    async def keep(self) -> None:
        """One pass: months ahead, then retention.

        Raises:
            DatabaseUnavailableError: an outage, or a month that a long reader holds.
        """
        await self._ensure_ahead()
        if self._retention_months is not None:
            current = month_of(self._clock.now())
            await self._partitions.drop_before(month_after(current, -self._retention_months))

    async def _ensure_ahead(self) -> None:
        self._partitions.forget()
        current = month_of(self._clock.now())
        await self._partitions.ensure(month_after(current, ahead) for ahead in range(MONTHS_AHEAD + 1))
