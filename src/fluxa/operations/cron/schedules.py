"""The table of schedules: what operators and programs say, and the history of runs. Not: running them (runner)."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.cron.rules import Missed
from fluxa.operations.cron.schedule import Schedule
from fluxa.postgres import sql
from fluxa.postgres.listen import notify
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Also, Row, Transaction, nothing_more

_SQL = sql.load("fluxa.operations.cron", "schedules.sql")

TOPIC = "cron"
"""The wake-up topic that says: schedules have changed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A schedule as it stands.

    Attributes:
        schedule: what is sent, and when.
        enabled: whether it runs.
        next_at: when it is due next; meant while it is enabled.
        declared_by: the program that declares it; None for one of the operators.
        changed_by: who changed it last.
        changed_at: when.
        last_due_at: the latest due time in the history, if there is one.
        last_status: what became of that.
        last_detail: why, if it failed.
    """

    schedule: Schedule
    enabled: bool
    next_at: dt.datetime
    declared_by: str | None
    changed_by: str
    changed_at: dt.datetime
    last_due_at: dt.datetime | None = None
    last_status: str | None = None
    last_detail: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One row of the history.

    Attributes:
        name: which schedule.
        due_at: the time it was for; of a manual run, when it was asked for.
        status: sent, manual, skipped or failed.
        record_id: the record that was sent, if one was.
        worker: who did it.
        detail: why it failed, or which due times were let go.
        started_at: when it was done.
    """

    name: str
    due_at: dt.datetime
    status: str
    record_id: str
    worker: str
    detail: str
    started_at: dt.datetime


class Schedules:
    """What is said about schedules. Every verb may raise `DBConnectionError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> list[Standing]:
        """All schedules by name, each with its latest run."""
        return [
            _standing(row, last_due_at=row["due_at"], last_status=row["status"], last_detail=row["detail"])
            for row in await self._database.fetch(_SQL["list_schedules"])
        ]

    async def get(self, name: str) -> Standing:
        """One schedule.

        Raises:
            FluxaError: `NotFound`.
        """
        for standing in await self.all():
            if standing.schedule.name == name:
                return standing
        raise _missing(name)

    async def add(self, schedule: Schedule, *, by: str, replace: bool = False, also: Also = nothing_more) -> None:
        """Add a schedule of an operator; it is due from the next time on.

        Args:
            schedule: what and when.
            by: who says so.
            replace: whether it may take the place of one of its name; one that a program declares then stays as the
                operator wants it, whatever the program says later.
            also: done in the same transaction, as with the other verbs.

        Raises:
            FluxaError: `InvalidRequest` for what cannot be, `Refused` if the name is taken.
        """
        schedule.check()
        async with self._database.transaction() as tx:
            first = schedule.timetable.first_after(await tx.fetch_value(_SQL["read_clock"]))
            if not await tx.execute(_SQL["insert_schedule"], *_columns(schedule), first, None, None, by):
                if not replace:
                    raise FluxaError(ErrorCode.REFUSED, f"There is a schedule {schedule.name}: --replace changes it.")
                before = await tx.fetch_row(_SQL["read_schedule"], schedule.name)
                if before is None:
                    raise _missing(schedule.name)  # removed in this very moment
                declared = (before["declared_by"], before["declared"])
                await tx.execute(_SQL["update_schedule"], *_columns(schedule), first, *declared, by)
            await also(tx)
        await notify(self._database, TOPIC)

    async def remove(self, name: str, *, also: Also = nothing_more) -> None:
        """Remove a schedule; its history stays until it is pruned.

        Raises:
            FluxaError: `NotFound`; `Refused` for one that a program declares: it would come back.
        """
        async with self._database.transaction() as tx:
            row = await tx.fetch_row(_SQL["read_schedule"], name)
            if row is None:
                raise _missing(name)
            if row["declared_by"] is not None:
                raise FluxaError(
                    ErrorCode.REFUSED,
                    f"{row['declared_by']} declares {name}, so it would come back: fluxa cron disable {name} stops it.",
                )
            await tx.execute(_SQL["delete_schedule"], name)
            await also(tx)
        await notify(self._database, TOPIC)

    async def enable(self, name: str, *, by: str, also: Also = nothing_more) -> None:
        """Let a schedule run from its next due time on; what it missed while it was off is let go.

        Raises:
            FluxaError: `NotFound`.
        """
        await self._switch(name, by, also, enabled=True)

    async def disable(self, name: str, *, by: str, also: Also = nothing_more) -> None:
        """Stop a schedule. Raises as `enable` does."""
        await self._switch(name, by, also, enabled=False)

    async def _switch(self, name: str, by: str, also: Also, *, enabled: bool) -> None:
        async with self._database.transaction() as tx:
            row = await tx.fetch_row(_SQL["read_schedule"], name)
            if row is None:
                raise _missing(name)
            if row["enabled"] != enabled:
                first = read_schedule(row).timetable.first_after(row["now"])
                await tx.execute(_SQL["set_enabled"], name, enabled, first, by)
                await also(tx)
        await notify(self._database, TOPIC)

    async def declare(self, program: str, schedules: Sequence[Schedule]) -> None:
        """Bring the table in line with what a program declares; what operators changed stays as they want it.

        A schedule that the program no longer declares is removed, unless an operator changed it: then it is theirs.

        Args:
            program: names the program, the same at each start.
            schedules: all that it declares.

        Raises:
            FluxaError: `InvalidRequest` for what cannot be.
        """
        for schedule in schedules:
            schedule.check()
        async with self._database.transaction() as tx:
            await tx.execute(_SQL["lock_declarations"])
            for schedule in schedules:
                await self._declare(tx, program, schedule)
            wanted = {schedule.name for schedule in schedules}
            for row in await tx.fetch(_SQL["list_declared"], program):
                if row["name"] in wanted:
                    continue
                if _untouched(row):
                    await tx.execute(_SQL["delete_schedule"], row["name"])
                else:
                    await tx.execute(_SQL["set_declared"], row["name"], None, None)
        await notify(self._database, TOPIC)

    async def _declare(self, tx: Transaction, program: str, schedule: Schedule) -> None:
        row = await tx.fetch_row(_SQL["read_schedule"], schedule.name)
        declared = (program, schedule.digest)
        if row is None:
            first = schedule.timetable.first_after(await tx.fetch_value(_SQL["read_clock"]))
            await tx.execute(_SQL["insert_schedule"], *_columns(schedule), first, *declared, program)
        elif row["declared_by"] is None:
            return  # an operator's own, of the same name
        elif (row["declared_by"], row["declared"]) == declared:
            return
        elif _untouched(row):
            same_times = (row["expression"], row["timezone"]) == (schedule.expression, schedule.timezone)
            first = row["next_at"] if same_times else schedule.timetable.first_after(row["now"])
            await tx.execute(_SQL["update_schedule"], *_columns(schedule), first, *declared, program)
        else:
            await tx.execute(_SQL["set_declared"], schedule.name, *declared)

    async def history(self, *, name: str | None = None, status: str | None = None, limit: int = 50) -> list[Run]:
        """What was done, latest first."""
        return [Run(**dict(row)) for row in await self._database.fetch(_SQL["list_runs"], name, status, limit)]

    async def prune(self, days: int) -> int:
        """Forget runs that are older than so many days; returns how many."""
        return await self._database.execute(_SQL["delete_old_runs"], days)


def read_schedule(row: Row | Mapping[str, Any]) -> Schedule:
    """The schedule in a row."""
    return Schedule(
        name=row["name"],
        expression=row["expression"],
        queue=row["queue"],
        body=row["body"],
        timezone=row["timezone"],
        key=row["key"],
        missed=Missed(row["missed"]),
    )


def _columns(schedule: Schedule) -> tuple[object, ...]:
    return (
        schedule.name,
        schedule.expression,
        schedule.timezone,
        schedule.queue,
        schedule.body,
        schedule.key,
        schedule.missed,
    )


def _untouched(row: Row) -> bool:
    """Whether the row is as its program last declared it."""
    return bool(read_schedule(row).digest == row["declared"])


def _standing(
    row: Row, *, last_due_at: dt.datetime | None, last_status: str | None, last_detail: str | None
) -> Standing:
    return Standing(
        schedule=read_schedule(row),
        enabled=row["enabled"],
        next_at=row["next_at"],
        declared_by=row["declared_by"],
        changed_by=row["changed_by"],
        changed_at=row["changed_at"],
        last_due_at=last_due_at,
        last_status=last_status,
        last_detail=last_detail,
    )


def _missing(name: str) -> FluxaError:
    return FluxaError(ErrorCode.NOT_FOUND, f"There is no schedule {name}.")
