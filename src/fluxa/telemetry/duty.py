"""Background duties: when a rare one has its turn, and how all of them fare. Not: what they do."""

import asyncio
from collections.abc import Awaitable, Callable

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.telemetry.catalogue import Hook, MaintenanceFinished, Status


class Duty:
    """Whether a duty that has its turn every second works: a line each second would bury all others."""

    def __init__(self, task: str, *, clock: Clock, hook: Hook) -> None:
        self._task = task
        self._clock = clock
        self._hook = hook
        self._failing_since_s: float | None = None

    def failed(self, error: Exception) -> None:
        """A turn failed; told once until one works again."""
        if self._failing_since_s is not None:
            return
        self._failing_since_s = self._clock.monotonic()
        known = _known(error)
        self._hook(MaintenanceFinished(self._task, Status.FAILURE, 0.0, error_code=known.code, detail=known.detail))

    def worked(self) -> None:
        """A turn worked; told if the one before did not."""
        if self._failing_since_s is None:
            return
        latency_s = self._clock.monotonic() - self._failing_since_s
        self._failing_since_s = None
        self._hook(MaintenanceFinished(self._task, Status.SUCCESS, latency_s))

    async def farewell(self, last: Callable[[], Awaitable[object]], *, within_s: float) -> None:
        """Do the last thing of a service that ends; what keeps it from being done is told, and the end goes on."""
        try:
            async with asyncio.timeout(within_s):
                await last()
        except (FluxaError, TimeoutError) as error:
            self.failed(error)


class RareDuty:
    """A duty that has its turn in the background, at the start and then every so often. A `Service` to inherit from.

    Args:
        task: its name in logs and metrics.
        turn: does it once.
        clock: measures turns.
        hook: hears how each ended.
        every_s: seconds between two turns.
        repeat_s: seconds after one that failed; None: as after any.
    """

    def __init__(
        self,
        task: str,
        turn: Callable[[], Awaitable[object]],
        *,
        clock: Clock,
        hook: Hook,
        every_s: float,
        repeat_s: float | None = None,
    ) -> None:
        self._name = task
        self._turn = turn
        self._clock = clock
        self._hook = hook
        self._every_s = every_s
        self._repeat_s = every_s if repeat_s is None else repeat_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; the first turn is at once, in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """End; what a turn cut short leaves undone, the next one does."""
        task, self._task = self._task, None
        await cancel_and_wait(task)

    async def _run(self) -> None:
        while True:
            worked = await _take_turn(self._name, self._turn, clock=self._clock, hook=self._hook)
            await asyncio.sleep(self._every_s if worked else self._repeat_s)


async def _take_turn(task: str, turn: Callable[[], Awaitable[object]], *, clock: Clock, hook: Hook) -> bool:
    """Give a rare duty its turn and tell how it ended; whether it worked.

    Whatever happens in it, this one returns, so that there is a next turn.
    """
    began_s = clock.monotonic()
    status, code, detail = Status.SUCCESS, "", ""
    try:
        await turn()
    except Exception as error:  # noqa: BLE001 - told below; the duty must be done the next time, whatever happened now
        known = _known(error)
        status, code, detail = Status.FAILURE, known.code, known.detail
    hook(MaintenanceFinished(task, status, clock.monotonic() - began_s, error_code=code, detail=detail))
    return status is Status.SUCCESS


def _known(error: Exception) -> FluxaError:
    return error if isinstance(error, FluxaError) else FluxaError(ErrorCode.INTERNAL, repr(error))
