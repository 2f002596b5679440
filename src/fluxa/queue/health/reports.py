"""What workers tell of the queues they serve, kept in one table for all to read. Not: how it is judged (rules)."""

import asyncio
import datetime as dt
import os
import platform
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fluxa.kernel.clock import Clock
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import Hook
from fluxa.telemetry.duty import Duty

_SQL = sql.load("fluxa.queue.health", "reports.sql")

GONE_AFTER_S = 15.0
"""A worker that has said nothing for so long is gone: three times what it may be silent, and a little."""

_SILENT_MAX_S = 4.0
_PRUNE_EVERY_S = 60.0
_KEPT_S = 3600.0
_STOP_WITHIN_S = 2.0
_PERIOD_S = 1.0


@dataclass(frozen=True, slots=True)
class QueueReport:
    """How one worker process fares with one queue.

    Attributes:
        queue: which one.
        in_flight: records in hand.
        error_streak: failures since the last success.
        last_success_at: when a record was last finished.
        last_failure_at: when one last failed.
        last_error_code: why.
        breaker: `closed`, `open` or `half_open`.
        rests_until: when the rest ends, while the breaker is open.
        done: records finished since the process began.
        retried: attempts that failed and will be repeated, since then.
        parked: records sent to the dead letters, since then.
    """

    queue: str
    in_flight: int = 0
    error_streak: int = 0
    last_success_at: dt.datetime | None = None
    last_failure_at: dt.datetime | None = None
    last_error_code: str | None = None
    breaker: str = "closed"
    rests_until: dt.datetime | None = None
    done: int = 0
    retried: int = 0
    parked: int = 0


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A report, and whose it is.

    Attributes:
        worker: the process's id.
        host: the machine it ran on.
        pid: its number there.
        age_s: seconds since it said so, by the database's clock.
        said: what it said.
    """

    worker: str
    host: str
    pid: int
    age_s: float
    said: QueueReport

    @property
    def lives(self) -> bool:
        """Whether it is recent enough to be true now."""
        return self.age_s < GONE_AFTER_S


def worker_id(service: str) -> str:
    """A name for this process that no other has, on this machine or elsewhere, now or later."""
    return f"{service}-{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}"


async def read_reports(database: Database) -> list[WorkerReport]:
    """The last report of each worker on each queue, those of workers that are gone included.

    Raises:
        FluxaError: an outage, or a refusal.
    """
    return [
        WorkerReport(
            worker=row["worker"],
            host=row["host"],
            pid=row["pid"],
            age_s=row["age_s"],
            said=QueueReport(
                queue=row["queue"],
                in_flight=row["in_flight"],
                error_streak=row["error_streak"],
                last_success_at=row["last_success_at"],
                last_failure_at=row["last_failure_at"],
                last_error_code=row["last_error_code"],
                breaker=row["breaker"],
                rests_until=row["rests_until"],
                done=row["done"],
                retried=row["retried"],
                parked=row["parked"],
            ),
        )
        for row in await database.fetch(_SQL["list_reports"])
    ]


class Reporter:
    """Writes down every second what a worker process has to say of its queues. A `Service`.

    Work never waits for it: a report that cannot be written is told once, and the next one is tried.

    Args of the constructor: `worker_id` names the process and is its own; `source` says how it fares now;
    `period_s` is how often it is asked.
    """

    def __init__(
        self,
        database: Database,
        worker_id: str,
        source: Callable[[], Sequence[QueueReport]],
        *,
        clock: Clock,
        hook: Hook,
        period_s: float = _PERIOD_S,
    ) -> None:
        self._database = database
        self._worker = worker_id
        self._source = source
        self._clock = clock
        self._period_s = period_s
        self._duty = Duty("queue_reports", clock=clock, hook=hook)
        self._written: dict[str, tuple[QueueReport, float]] = {}
        self._pruned_s: float | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background; an outage is no reason not to work."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="queue-reporter")

    async def stop(self) -> None:
        """End, and say that this worker is gone."""
        task, self._task = self._task, None
        if task is None:
            return
        await cancel_and_wait(task)
        # If not, the rows are old in fifteen seconds, which says the same.
        await self._duty.farewell(lambda: self._write(self._source(), retire=True), within_s=_STOP_WITHIN_S)

    async def _run(self) -> None:
        while True:
            try:
                await self._write(self._news())
                await self._prune()
            except Exception as error:  # noqa: BLE001 - the next turn tries again; the work itself goes on
                self._written.clear()  # whether it was written is unknown
                self._duty.failed(error)
            else:
                self._duty.worked()
            await asyncio.sleep(self._period_s)

    def _news(self) -> list[QueueReport]:
        """What differs from what was written, or was written so long ago that the worker would be taken for gone."""
        now_s = self._clock.monotonic()
        news = []
        for report in self._source():
            known = self._written.get(report.queue)
            if known is None or known[0] != report or now_s - known[1] >= _SILENT_MAX_S:
                news.append(report)
        return news

    async def _write(self, reports: Sequence[QueueReport], *, retire: bool = False) -> None:
        if reports:
            await self._database.execute(
                _SQL["put_reports"],
                self._worker,
                platform.node(),
                os.getpid(),
                [one.queue for one in reports],
                [one.in_flight for one in reports],
                [one.error_streak for one in reports],
                [one.last_success_at for one in reports],
                [one.last_failure_at for one in reports],
                [one.last_error_code for one in reports],
                [one.breaker for one in reports],
                [one.rests_until for one in reports],
                [one.done for one in reports],
                [one.retried for one in reports],
                [one.parked for one in reports],
            )
        if retire:
            await self._database.execute(_SQL["retire_reports"], self._worker, GONE_AFTER_S)
            return
        now_s = self._clock.monotonic()
        self._written.update({one.queue: (one, now_s) for one in reports})

    async def _prune(self) -> None:
        now_s = self._clock.monotonic()
        if self._pruned_s is None or now_s - self._pruned_s >= _PRUNE_EVERY_S:
            await self._database.execute(_SQL["prune_reports"], _KEPT_S)
            self._pruned_s = now_s
