"""A clock that stands still until it is told to go on."""

import datetime as dt


class ManualClock:
    """A `fluxa.kernel.clock.Clock` for tests."""

    def __init__(self, start: dt.datetime | None = None) -> None:
        self._now = start or dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        self._monotonic_s = 1000.0

    def now(self) -> dt.datetime:
        """The time it was set to."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that go on only by `advance`."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += dt.timedelta(seconds=seconds)
        self._monotonic_s += seconds
