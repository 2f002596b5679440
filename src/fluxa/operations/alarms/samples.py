"""What each process counts, written to one table every few seconds, and rates over all processes from it."""

import asyncio
import datetime as dt
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fluxa.kernel import json
from fluxa.kernel.clock import Clock
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import Hook
from fluxa.telemetry.duty import Duty

_SQL = sql.load("fluxa.operations.alarms", "samples.sql")

PERIOD_S = 5.0
"""How often a process writes down what it has counted."""
_KEPT_S = 2 * 3600.0
"""Twice the longest window; of a process that is gone the last samples stay for a week."""
_PRUNED_S = 7 * 86400.0
_STOP_WITHIN_S = 2.0

WORKED, FAILED = "worked", "failed"
"""Counters: attempts at work that ended, and those that failed."""
REQUESTS, SERVER_ERRORS, DENIED = "requests", "server_errors", "denied"
"""Counters: requests answered, those with 5xx, those with 401 or 403."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, as it was last heard of.

    Attributes:
        process: its id.
        service: what it is.
        host: its machine.
        pid: its number there.
        started_age_s: seconds since it began.
        age_s: seconds since it was heard of, by the database's clock.
        ended: whether it said goodbye.
        gauges: what it last measured.
    """

    process: str
    service: str
    host: str
    pid: int
    started_age_s: float
    age_s: float
    ended: bool
    gauges: Mapping[str, float]


Counted = Callable[[], tuple[Mapping[str, float], Mapping[str, float]]]
"""The counters since the process began, and the gauges now."""


class Sampler:
    """Writes down what this process has counted. A `Service`; work never waits for it.

    Args of the constructor: `process` is an id that no other process has, ever; `source` says what was counted.
    """

    def __init__(
        self,
        database: Database,
        process: str,
        service: str,
        source: Counted,
        *,
        clock: Clock,
        hook: Hook,
        period_s: float = PERIOD_S,
    ) -> None:
        self._database = database
        self._process = process
        self._service = service
        self._source = source
        self._started_at: dt.datetime = clock.now()
        self._period_s = period_s
        self._duty = Duty("process_samples", clock=clock, hook=hook)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background; an outage is no reason not to work."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="sampler")

    async def stop(self) -> None:
        """End, and say goodbye: a process that does not is missed."""
        task, self._task = self._task, None
        if task is None:
            return
        await cancel_and_wait(task)
        # If not, somebody will ask where it is, which is right: its end was not in order.
        await self._duty.farewell(lambda: self.write(ended=True), within_s=_STOP_WITHIN_S)

    async def write(self, *, ended: bool = False) -> None:
        """Write one sample now.

        Raises:
            FluxaError: an outage.
        """
        counters, gauges = self._source()
        await self._database.execute(
            _SQL["put_sample"],
            self._process,
            self._service,
            platform.node(),
            os.getpid(),
            self._started_at,
            json.text(counters),
            json.text(gauges),
            ended,
            _KEPT_S,
        )

    async def _run(self) -> None:
        while True:
            try:
                await self.write()
            except Exception as error:  # noqa: BLE001 - the next turn tries again; counters lose nothing by it
                self._duty.failed(error)
            else:
                self._duty.worked()
            await asyncio.sleep(self._period_s)


class Samples:
    """What all processes have counted. Every verb may raise `DBConnectionError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def increase(self, window_s: float) -> Mapping[str, Mapping[str, float]]:
        """How much was counted in the last seconds, by service and counter.

        A process that began in between counts from nothing: its counters have an id of their own.
        """
        found: dict[str, dict[str, float]] = {}
        for row in await self._database.fetch(_SQL["read_increase"], window_s):
            of_service = found.setdefault(row["service"], {})
            last, base = json.decode(row["last"]), json.decode(row["base"])
            for name, value in last.items():
                of_service[name] = of_service.get(name, 0.0) + max(0.0, value - base.get(name, 0.0))
        return found

    async def processes(self) -> Sequence[Process]:
        """All processes that were heard of in the last days, each as it last was."""
        return [
            Process(
                process=row["process"],
                service=row["service"],
                host=row["host"],
                pid=row["pid"],
                started_age_s=row["started_age_s"],
                age_s=row["age_s"],
                ended=row["ended"],
                gauges=json.decode(row["gauges"]),
            )
            for row in await self._database.fetch(_SQL["list_processes"])
        ]

    async def prune(self) -> None:
        """Forget what is a week old."""
        await self._database.execute(_SQL["prune_samples"], _PRUNED_S)
