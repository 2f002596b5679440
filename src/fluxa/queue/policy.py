"""Decides what becomes of a record that failed: pure values in, an outcome out (PIPE-9, QUEUE-2)."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from fluxa.kernel.errors import ErrorCode, RetryClass, retry_class
from fluxa.queue.outcome import Dead, Outcome, Retry
from fluxa.queue.record import Record


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How a queue repeats failed work.

    Attributes:
        attempts_max: attempts in all, crashes included; then the record is parked.
        base_s: seconds before the second attempt; doubled for each one after it.
        cap_s: seconds at most between two attempts.
        overrides: this queue's own class for an error code, over the common table's.
    """

    attempts_max: int = 8
    base_s: float = 0.5
    cap_s: float = 60.0
    overrides: Mapping[str, RetryClass] = field(default_factory=dict)

    def class_of(self, code: str) -> RetryClass:
        """The class of an error code in this queue."""
        return self.overrides.get(code) or retry_class(code)

    def delay_s(self, failed_attempts: int, chance: float) -> float:
        """Seconds to wait after so many failed attempts; `chance` in [0, 1) spreads it by half (full-half jitter)."""
        whole = min(self.cap_s, self.base_s * 2.0 ** min(failed_attempts - 1, 32))
        return whole * (0.5 + chance / 2)

    def decide(
        self, record: Record, code: str, detail: str, *, now: dt.datetime, chance: float, received_count: int = 1
    ) -> Outcome:
        """What becomes of a record whose attempt just failed with this code.

        Claims before this one that were never settled (`received_count` - 1) were attempts too.
        """
        failed = record.attempt + received_count
        if self.class_of(code) is not RetryClass.TRANSIENT or failed >= self.attempts_max:
            return Dead(code, detail)
        return Retry(now + dt.timedelta(seconds=self.delay_s(failed, chance)), code, detail)

    def crashed(self, record: Record, received_count: int) -> Outcome | None:
        """What becomes of a record that workers claimed before and never settled; None: hand it out again.

        Every claim that was not settled was an attempt that ended in a crash (QUEUE-3).
        """
        if record.attempt + received_count - 1 >= self.attempts_max:
            return Dead(
                ErrorCode.HANDLER_CRASH, f"{received_count - 1} workers died or lost their lease while they held it"
            )
        return None
