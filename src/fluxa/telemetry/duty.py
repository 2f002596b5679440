"""Tells of a background duty only when it begins to fail or works again. Not: the duties themselves."""

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
        known = error if isinstance(error, FluxaError) else FluxaError(ErrorCode.INTERNAL, repr(error))
        self._hook(MaintenanceFinished(self._task, Status.FAILURE, 0.0, error_code=known.code, detail=known.detail))

    def worked(self) -> None:
        """A turn worked; told if the one before did not."""
        if self._failing_since_s is None:
            return
        latency_s = self._clock.monotonic() - self._failing_since_s
        self._failing_since_s = None
        self._hook(MaintenanceFinished(self._task, Status.SUCCESS, latency_s))
