"""How the processor fares with its queue, for those who watch queues: last success, last failure, failures in a row."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from fluxa.events.process.batch import Batch
from fluxa.kernel.clock import Clock
from fluxa.queue.health.reports import QueueReport
from fluxa.queue.outcome import Dead, Retry


class Standing:
    """One report for all lanes together."""

    def __init__(self, queue: str, clock: Clock) -> None:
        self._clock = clock
        self._report = QueueReport(queue)

    def report(self) -> QueueReport:
        """How it stands now."""
        return self._report

    @contextlib.contextmanager
    def holding(self, records: int) -> Iterator[None]:
        """So many records are in hand while the block runs."""
        self._report = replace(self._report, in_flight=self._report.in_flight + records)
        try:
            yield
        finally:
            self._report = replace(self._report, in_flight=self._report.in_flight - records)

    def finished(self, batch: Batch) -> None:
        """A batch is committed; what it stored ends a streak of failures."""
        now, bad = self._clock.now(), batch.bad
        if bad:
            code = bad[-1].failed.code if bad[-1].failed else None
            streak = self._report.error_streak + len(bad)
            self._report = replace(self._report, error_streak=streak, last_failure_at=now, last_error_code=code)
        if batch.good:
            self._report = replace(self._report, error_streak=0, last_success_at=now)
        retried = sum(isinstance(item.outcome, Retry) for item in bad)
        parked = sum(isinstance(item.outcome, Dead) for item in bad)
        self._report = replace(
            self._report,
            done=self._report.done + len(batch.good),
            retried=self._report.retried + retried,
            parked=self._report.parked + parked,
        )

    def failed(self, code: str) -> None:
        """A batch could not be committed, and will be tried again."""
        self._report = replace(
            self._report,
            error_streak=self._report.error_streak + 1,
            last_failure_at=self._clock.now(),
            last_error_code=code,
        )
