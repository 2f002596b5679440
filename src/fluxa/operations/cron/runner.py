"""Runs what is due: each due time once, on whichever machine comes first. Not: when that is (rules)."""

import asyncio
import datetime as dt

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.operations.cron.rules import Plan, corrected, due
from fluxa.operations.cron.schedule import Schedule
from fluxa.operations.cron.schedules import TOPIC, Schedules, read_schedule
from fluxa.operations.cron.timetable import Timetable
from fluxa.postgres import sql
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction
from fluxa.queue.backend import QueueBackend
from fluxa.queue.producer import Producer
from fluxa.queue.registry import Registry
from fluxa.telemetry.catalogue import Hook, ScheduleRan
from fluxa.telemetry.duty import Duty

_SQL = sql.load("fluxa.operations.cron", "runner.sql")

_LOOK_S = 60.0
"""Longest sleep: a hint that was lost, or a clock that was set, is noticed after this."""
_REPEAT_S = 1.0
_REPEAT_MAX_S = 30.0
_HELD_S = 0.1
_UNREADABLE = dt.timedelta(hours=1)
"""When a schedule that cannot be read is looked at again: a machine that knows its time zone may come."""
_PRUNE_S = 3600.0
_FINISH_S = 5.0
"""How long the schedule in hand may take when the process stops."""


class CronRunner:
    """Sends what schedules say, at their times. A `Service`; every worker process has one.

    The record, the row of the run and the next due time are one transaction: it happens or it does not. The row's
    key is schedule and due time, so whatever clocks do, a due time is run once.

    Args:
        database: where the schedules are; its clock counts.
        backend: takes the records, as part of a transaction of this database.
        registry: the queues that this process knows; what is for others is left to processes that know those.
        clock: monotonic, for pauses only.
        hook: hears of runs.
        worker: names this process in the history.
        listener: wakes it when schedules change; without one that is noticed within a minute.
        history_days: for how long runs are remembered.
    """

    def __init__(
        self,
        database: Database,
        backend: QueueBackend,
        registry: Registry,
        *,
        clock: Clock,
        hook: Hook,
        worker: str,
        listener: Listener | None = None,
        history_days: int = 90,
    ) -> None:
        self._database = database
        self._backend = backend
        self._producer = Producer(backend, registry, clock)
        self._made: set[str] = set()
        self._queues = [spec.name for spec in registry]
        self._clock = clock
        self._hook = hook
        self._worker = worker
        self._listener = listener
        self._history_days = history_days
        self._schedules = Schedules(database)
        self._duty = Duty("cron", clock=clock, hook=hook)
        self._corrected_s = self._pruned_s = float("-inf")
        self._turn = asyncio.Lock()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background; an outage is waited out."""
        if self._task is None:
            self._stopping = False
            self._task = asyncio.create_task(self._run(), name="cron")

    async def stop(self) -> None:
        """Finish what is in hand, then end; what is not committed by then did not happen: another process does it."""
        task, self._task = self._task, None
        self._stopping = True
        try:
            async with asyncio.timeout(_FINISH_S), self._turn:
                await cancel_and_wait(task)  # it sleeps, or waits for its turn
        except TimeoutError:
            await cancel_and_wait(task)

    async def run_due(self) -> int:
        """Do everything that is due now; returns how many schedules were dealt with.

        Raises:
            FluxaError: an outage; what was committed before it is done.
        """
        await self._make_queues()
        dealt_with = 0
        while not self._stopping and await self._next():
            dealt_with += 1
        return dealt_with

    async def run_now(self, name: str) -> str:
        """Send a schedule's record now, beside its times; returns the record's id.

        Raises:
            FluxaError: `NotFound`, or what the queue says.
        """
        schedule = (await self._schedules.get(name)).schedule
        async with self._database.transaction() as tx:
            now: dt.datetime = await tx.fetch_value(_SQL["read_now"])
            record_id = f"cron-{name}-manual-{now:%Y%m%dT%H%M%S%fZ}"
            await tx.execute(_SQL["insert_run"], name, now, "manual", record_id, self._worker, "")
            await self._send(tx, schedule, record_id, now)
            tx.after_commit(lambda: self._hook(ScheduleRan(name, "manual", 0.0)))
        return record_id

    async def _run(self) -> None:
        pause_s = _REPEAT_S
        while True:
            try:
                async with self._turn:
                    wait_s = await self._take_turn()
            except Exception as error:  # noqa: BLE001 - what is due next must be run, whatever happened just now
                self._duty.failed(error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _REPEAT_MAX_S)
                continue
            self._duty.worked()
            pause_s = _REPEAT_S
            await self._sleep(wait_s)

    async def _take_turn(self) -> float:
        """Do what there is to do; returns the seconds until there is more."""
        await self._correct()
        await self.run_due()
        await self._prune()
        wait_s: float | None = await self._database.fetch_value(_SQL["read_wait"], self._queues)
        # What is due still is in another process' hands, which will end or die: soon, but no reason to spin.
        return _LOOK_S if wait_s is None else min(max(wait_s, _HELD_S), _LOOK_S)

    async def _sleep(self, seconds: float) -> None:
        if self._listener is not None:
            await self._listener.wait(TOPIC, seconds)
        else:
            await asyncio.sleep(seconds)

    async def _make_queues(self) -> None:
        """Make queues that schedules send to and that may not be there yet, since nobody has worked on them so far.

        Only for these is anything claimed: one that is added meanwhile waits for the next turn.
        """
        for row in await self._database.fetch(_SQL["list_queues"], self._queues):
            if row["queue"] not in self._made:
                await self._backend.create(row["queue"])
                self._made.add(row["queue"])

    async def _next(self) -> bool:
        """Deal with one schedule that is due; False if there is none that another process does not hold."""
        async with self._database.transaction() as tx:
            await tx.fetch_value(_SQL["limit_idle"])
            row = await tx.fetch_row(_SQL["claim_due"], list(self._made))
            if row is None:
                return False
            schedule = read_schedule(row)
            try:
                plan = due(schedule.timetable, next_at=row["next_at"], now=row["now"], missed=schedule.missed)
            except FluxaError as error:
                await self._unreadable(tx, row, error)
                return True
            await self._carry_out(tx, schedule, plan, now=row["now"])
            await tx.execute(_SQL["move_next"], schedule.name, plan.next_at)
        return True

    async def _carry_out(self, tx: Transaction, schedule: Schedule, plan: Plan, *, now: dt.datetime) -> None:
        if plan.skipped is not None:
            first, last = plan.skipped
            await self._note(tx, schedule.name, first, "skipped", f"due times up to {last:%Y-%m-%dT%H:%MZ} were missed")
        for due_at in plan.runs:
            record_id = f"cron-{schedule.name}-{due_at:%Y%m%dT%H%MZ}"
            values = (schedule.name, due_at, "sent", record_id, self._worker, "")
            if not await tx.execute(_SQL["insert_run"], *values):
                continue  # done before the clock was set back
            late_s = (now - due_at).total_seconds()
            try:
                async with tx.savepoint():
                    await self._send(tx, schedule, record_id, due_at)
            except Exception as error:
                if isinstance(error, FluxaError) and error.retry is RetryClass.TRANSIENT:
                    raise
                # It would fail in the same way for ever, and everything else would wait behind it.
                known = error if isinstance(error, FluxaError) else FluxaError(ErrorCode.INTERNAL, repr(error))
                await tx.execute(_SQL["fail_run"], schedule.name, due_at, known.detail)
                self._tell(tx, ScheduleRan(schedule.name, "failed", late_s, known.code, known.detail))
            else:
                self._tell(tx, ScheduleRan(schedule.name, "sent", late_s))

    async def _note(self, tx: Transaction, name: str, due_at: dt.datetime, status: str, detail: str) -> None:
        if await tx.execute(_SQL["insert_run"], name, due_at, status, "", self._worker, detail):
            self._tell(tx, ScheduleRan(name, status, 0.0, detail=detail))

    def _tell(self, tx: Transaction, signal: ScheduleRan) -> None:
        tx.after_commit(lambda: self._hook(signal))

    async def _send(self, tx: Transaction, schedule: Schedule, record_id: str, due_at: dt.datetime) -> None:
        await self._producer.send(
            schedule.queue,
            [schedule.body],
            key=schedule.key,
            ids=[record_id],
            headers={"schedule": schedule.name, "due_at": due_at.isoformat()},
            tx=tx,
        )

    async def _unreadable(self, tx: Transaction, row: Row, error: FluxaError) -> None:
        await self._note(tx, row["name"], row["next_at"], "failed", error.detail)
        await tx.execute(_SQL["move_next"], row["name"], row["now"] + _UNREADABLE)

    async def _correct(self) -> None:
        """Bring back schedules that a clock which was ahead has sent into the future."""
        now_s = self._clock.monotonic()
        if now_s - self._corrected_s < _LOOK_S:
            return
        for row in await self._database.fetch(_SQL["list_next"]):
            try:
                timetable = Timetable(row["expression"], row["timezone"])
                earlier = corrected(timetable, next_at=row["next_at"], now=row["now"])
            except FluxaError:
                continue  # told when it is due
            if earlier is not None:
                await self._database.execute(_SQL["correct_next"], row["name"], row["next_at"], earlier)
        self._corrected_s = now_s

    async def _prune(self) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._pruned_s >= _PRUNE_S:
            await self._schedules.prune(self._history_days)
            self._pruned_s = now_s
