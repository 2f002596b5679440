"""Writes the dashboard's moments down, on one station at a time. Not: how processes are read (apps)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from fluxa.kernel.clock import Clock
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.operations.checks.turns import Turns
from fluxa.operations.dashboard.history import History
from fluxa.operations.dashboard.sources import Memory, Reading
from fluxa.operations.monitoring.check import Bounds
from fluxa.postgres.pool import Database
from fluxa.telemetry.catalogue import Hook
from fluxa.telemetry.duty import Duty

NAME = "dashboard"
_HOLD_PERIODS = 2
_HOLD_LEAST_S = 15.0
_NOTHING_YET_S = 1.0
_ELSEWHERE_S = 5.0
_FIRST_S = 5.0
"""Of the first moment no rates are known: the second one follows sooner."""
_STOP_WITHIN_S = 2.0
_SERVICES = "services"

Look = Callable[[Mapping[str, str]], Awaitable[Reading | None]]
"""Asks all processes, given what is known of which is what; None: it is not known yet which there are."""


class Recorder:
    """The history of the dashboard. A `Service`; any number of stations have it, and one of them writes.

    Args:
        look: asks all processes.
        database: where turns and moments are kept.
        holder: names this process.
        bounds: from when on routine checks are not well, by name.
        clock: keeps the period.
        hook: hears if it cannot be done.
        every_s: seconds between two moments.
    """

    def __init__(
        self,
        look: Look,
        database: Database,
        *,
        holder: str,
        bounds: Mapping[str, Bounds],
        clock: Clock,
        hook: Hook,
        every_s: float,
    ) -> None:
        self._look = look
        self._database = database
        self._turns = Turns(database, NAME, holder)
        self._history = History(database)
        self._bounds = bounds
        self._memory = Memory(bounds)
        self._clock = clock
        self._every_s = every_s
        self._hold_s = max(_HOLD_LEAST_S, _HOLD_PERIODS * every_s)
        self._duty = Duty(NAME, clock=clock, hook=hook)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background; an outage is no reason not to work."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=NAME)

    async def stop(self) -> None:
        """End, and let another station go on at once."""
        task, self._task = self._task, None
        if task is None:
            return
        await cancel_and_wait(task)
        # If not, another one takes over when this one has been silent for a while.
        await self._duty.farewell(self._turns.leave, within_s=_STOP_WITHIN_S)

    async def turn(self) -> float:
        """Write a moment down, unless another station does, or nothing is there to read yet.

        Returns:
            Seconds until the next turn.

        Raises:
            FluxaError: an outage.
        """
        kept = await self._turns.take(self._hold_s)
        if kept is None:
            # What this one remembers will be old when its turn comes, and of a time that another one has written down.
            self._memory = Memory(self._bounds)
            return min(_ELSEWHERE_S, self._every_s)
        reading = await self._look(dict(kept.get(_SERVICES, {})))
        if reading is None:
            return min(_NOTHING_YET_S, self._every_s)
        is_first = self._memory.is_empty
        moment = await asyncio.to_thread(self._memory.moment, reading)
        async with self._database.transaction() as tx:
            if not await self._turns.put(tx, 0, "", {_SERVICES: dict(reading.services)}):
                self._memory = Memory(self._bounds)
                return min(_ELSEWHERE_S, self._every_s)
            await self._history.add(tx, moment)
        return min(_FIRST_S, self._every_s) if is_first else self._every_s

    async def _run(self) -> None:
        due_s = self._clock.monotonic()
        while True:
            wait_s = self._every_s
            try:
                wait_s = await self.turn()
            except Exception as error:  # noqa: BLE001 - told; what is not written down is a gap, and the next turn comes
                self._memory = Memory(self._bounds)
                self._duty.failed(error)
            else:
                self._duty.worked()
            # By the clock, so that moments do not drift; turns that were missed are not made up for.
            due_s = max(due_s + wait_s, self._clock.monotonic())
            await asyncio.sleep(due_s - self._clock.monotonic())
