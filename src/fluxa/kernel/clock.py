"""Time as an argument: the one place that asks the operating system what time it is."""

import datetime as dt
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from; tests pass their own."""

    def now(self) -> dt.datetime:
        """The time of day, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        ...


class SystemClock:
    """The operating system's clock."""

    def now(self) -> dt.datetime:
        """The time of day, aware, in UTC."""
        return dt.datetime.fromtimestamp(time.time(), dt.UTC)

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""
        return time.monotonic()
