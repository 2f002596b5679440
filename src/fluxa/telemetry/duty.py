"""Tells how background duties fare: of a rare one each turn, of a frequent one only changes. Not: the duties."""

from collections.abc import Awaitable, Callable

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
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


async def take_turn(task: str, turn: Callable[[], Awaitable[object]], *, clock: Clock, hook: Hook) -> bool:
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
