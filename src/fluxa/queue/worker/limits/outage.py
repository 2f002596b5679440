"""Remembers whether something that all work needs answers, for all who need it, and tells when that changes."""

from fluxa.kernel.clock import Clock
from fluxa.telemetry.catalogue import Hook, OutageBegan, OutageEnded


class Outage:
    """The state of one dependency."""

    def __init__(self, dependency: str, *, clock: Clock, hook: Hook) -> None:
        self._dependency = dependency
        self._clock = clock
        self._hook = hook
        self._since: float | None = None

    def failed(self, detail: str) -> None:
        """It did not answer, or refused to work; told once until it does."""
        if self._since is None:
            self._since = self._clock.monotonic()
            self._hook(OutageBegan(self._dependency, detail))

    def worked(self) -> None:
        """It did what was asked."""
        if self._since is not None:
            duration_s = self._clock.monotonic() - self._since
            self._since = None
            self._hook(OutageEnded(self._dependency, duration_s))
