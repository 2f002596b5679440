"""Calls a queue's handler for one record or several and says what became of each. Not: noting or settling it."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.transaction import Transaction
from fluxa.queue.outcome import DONE, Dead, Done, Outcome, Retry, Snooze
from fluxa.queue.registry import QueueSpec
from fluxa.queue.worker.calls import attempt, spans
from fluxa.queue.worker.calls.held import Held
from fluxa.queue.worker.calls.runner import Cut, CutError, Runner, Threads
from fluxa.queue.worker.handlers import HandlerSpec
from fluxa.queue.worker.limits.admission import Admission
from fluxa.queue.worker.limits.standing import Standing
from fluxa.telemetry import trace
from fluxa.telemetry.log import correlate

Unit = tuple[Held, int]
"""One record of a delivery, by its place."""
_PACE_SHARE = 0.1
"""How much the last call counts in what is known of the handler's pace."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What calls need.

    Attributes:
        spec: the queue.
        handler: its handler.
        standing: its breaker and budget.
        admission: who may begin where queues share capacity; None where they do not.
        clock: the time.
        chance: a number in [0, 1).
    """

    spec: QueueSpec
    handler: HandlerSpec
    standing: Standing
    admission: Admission | None
    clock: Clock
    chance: Callable[[], float]


class Caller:
    """Calls the handler for one record or several, and says what became of each. Nothing is noted or settled here."""

    def __init__(self, tools: Tools) -> None:
        self._in = tools
        self._queue = tools.spec.name
        self._threads = Threads(self._queue, tools.spec.concurrency) if tools.handler.threaded else None
        self._function = tools.handler.function if self._threads is None else self._in_thread
        self._tickets: dict[Runner, int] = {}
        self.durations_s: list[float] = []
        """How long calls took, until somebody tells of them."""
        self.pace_s: float | None = None
        """Seconds that the handler takes for a record, about; None before the first call."""

    async def one(self, runner: Runner, unit: Unit, tx: Transaction | None = None) -> tuple[Outcome, bool]:
        """Call a single handler with one record; its outcome, and whether the handler came to its end by itself."""
        if trace.tracer() is None:
            return await self._one(runner, unit, tx)
        with spans.calling(self._queue, (unit[0].delivery.records[unit[1]],)) as seen:
            outcome, ended = await self._one(runner, unit, tx)
            seen.came_to((outcome,))
        return outcome, ended

    async def _one(self, runner: Runner, unit: Unit, tx: Transaction | None) -> tuple[Outcome, bool]:
        held, place = unit
        handler, spec, record = self._in.handler, self._in.spec, held.delivery.records[place]
        try:
            job = handler.decode(record)
        except FluxaError as error:
            return self._failed(held.tried(place), error), False
        extras: dict[str, object] = {}
        if handler.info is not None:
            extras[handler.info] = attempt.job_info(
                self._queue, held.tried(place), enqueued_at=held.delivery.enqueued_at, deadline=self._deadline()
            )
        if tx is not None and handler.tx is not None:
            extras[handler.tx] = tx
        permit = self._begin(runner, record.correlation_id, 0 if record.attempt else 1)
        try:
            answer = await runner.call(self._function, job, extras, helds=(held,), timeout_s=spec.timeout_s)
            if answer is None or answer is DONE:
                self._in.standing.succeeded(permit, runner.ended_s)
                return DONE, True
            outcome = attempt.outcome_of(answer, held.tried(place), handler, spec)
        except CutError as cut:
            return self._cut(cut.cut, (held.tried(place),), permit)[0], False
        except FluxaError as error:
            self._in.standing.failed(permit, error.code, repeat=record.attempt > 0)
            return self._failed(held.tried(place), error), False
        finally:
            self._finish(runner, 1)
        self._judge((outcome,), permit, runner.ended_s, repeat=record.attempt > 0)
        return self._budgeted(outcome), True

    async def many(
        self, runner: Runner, units: Sequence[Unit], tx: Transaction | None = None
    ) -> tuple[list[Outcome], bool]:
        """Call a batch handler; an outcome for each record, and whether the handler came to its end by itself."""
        if trace.tracer() is None:
            return await self._all(runner, units, tx)
        with spans.calling(self._queue, [held.delivery.records[place] for held, place in units]) as seen:
            outcomes, ended = await self._all(runner, units, tx)
            seen.came_to(outcomes)
        return outcomes, ended

    async def _all(self, runner: Runner, units: Sequence[Unit], tx: Transaction | None) -> tuple[list[Outcome], bool]:
        jobs: list[object] = []
        good: list[Unit] = []
        bad: dict[Unit, Outcome] = {}
        for held, place in units:
            try:
                jobs.append(self._in.handler.decode(held.delivery.records[place]))
                good.append((held, place))
            except FluxaError as error:
                bad[held, place] = self._failed(held.tried(place), error)
        if not good:
            return [bad[unit] for unit in units], False
        given, ended = await self._many(good, jobs, runner, tx)
        if not bad:
            return list(given), ended
        found = {**bad, **dict(zip(good, given, strict=True))}
        return [found[unit] for unit in units], ended

    async def _many(
        self, units: Sequence[Unit], jobs: list[object], runner: Runner, tx: Transaction | None
    ) -> tuple[Sequence[Outcome], bool]:
        handler, company = self._in.handler, len(units) > 1
        tried = [held.tried(place, in_company=company) for held, place in units]
        extras: dict[str, object] = {}
        if handler.info is not None:
            deadline = self._deadline()
            extras[handler.info] = [
                attempt.job_info(self._queue, one, enqueued_at=held.delivery.enqueued_at, deadline=deadline)
                for one, (held, _) in zip(tried, units, strict=True)
            ]
        if tx is not None and handler.tx is not None:
            extras[handler.tx] = tx
        stories = {one.record.correlation_id for one in tried}
        story = stories.pop() if len(stories) == 1 else ""
        firsts = sum(not one.record.attempt for one in tried)
        repeat = not firsts
        permit = self._begin(runner, story, firsts)
        helds, timeout_s = tuple(dict.fromkeys(held for held, _ in units)), self._in.spec.timeout_s
        try:
            answer = await runner.call(self._function, jobs, extras, helds=helds, timeout_s=timeout_s)
            outcomes = attempt.answered(answer, tried, handler, self._in.spec)
        except CutError as cut:
            return self._cut(cut.cut, tried, permit), False
        except FluxaError as error:
            self._in.standing.failed(permit, error.code, repeat=repeat)
            return [self._failed(one, error) for one in tried], False
        finally:
            self._finish(runner, len(units))
        self._judge(outcomes, permit, runner.ended_s, repeat=repeat)
        return [self._budgeted(outcome) for outcome in outcomes], True

    def _begin(self, runner: Runner, story: str, firsts: int) -> int:
        if story != runner.story:
            runner.story = story
            correlate(story)
        admission = self._in.admission
        if admission is not None:
            self._tickets[runner] = admission.began(self._queue, self._in.clock.monotonic())
        return self._in.standing.begin(firsts)

    def _finish(self, runner: Runner, records: int) -> None:
        if self._in.admission is not None:
            self._in.admission.ended(self._queue, self._tickets.pop(runner))
        took_s = runner.ended_s - runner.began_s
        self.durations_s.append(took_s)
        pace_s = took_s / records
        self.pace_s = pace_s if self.pace_s is None else self.pace_s + _PACE_SHARE * (pace_s - self.pace_s)

    async def _in_thread(self, job: object, **extras: object) -> object:
        assert self._threads is not None  # noqa: S101 - chosen where they were made
        return await self._threads.run(self._in.handler.function, job, extras)

    def _deadline(self) -> dt.datetime:
        return self._in.clock.now() + dt.timedelta(seconds=self._in.spec.timeout_s)

    def failed(self, unit: Unit, error: FluxaError) -> Outcome:
        """What becomes of a record whose effects could not be kept."""
        return self._failed(unit[0].tried(unit[1]), error)

    def _failed(self, tried: attempt.Tried, error: FluxaError) -> Outcome:
        outcome = attempt.failed(tried, error, self._in.spec, now=self._in.clock.now(), chance=self._in.chance())
        return outcome if tried.in_company else self._budgeted(outcome)

    def _budgeted(self, outcome: Outcome) -> Outcome:
        return self._in.standing.within_budget(outcome) if isinstance(outcome, Retry) else outcome

    def _cut(self, cut: Cut, tried: Sequence[attempt.Tried], permit: int) -> list[Outcome]:
        now = self._in.clock.now()
        if cut is not Cut.TIMEOUT:
            self._in.standing.abandoned(permit)
            return [Snooze(now)] * len(tried)  # given back as it came; dropped if the lease is lost
        error = FluxaError(
            ErrorCode.HANDLER_TIMEOUT, f"the handler did not end within its {self._in.spec.timeout_s:g} s"
        )
        self._in.standing.failed(permit, error.code, repeat=False)
        return [self._failed(one, error) for one in tried]

    def _judge(self, outcomes: Sequence[Outcome], permit: int, now_s: float, *, repeat: bool) -> None:
        """What a call's answers say about the queue: one that did some of its work did not fail."""
        standing, code = self._in.standing, None
        for outcome in outcomes:
            match outcome:
                case Done():
                    standing.succeeded(permit, now_s)
                    return
                case Retry() | Dead():
                    code = outcome.code
                case Snooze():
                    pass
        if code is None:
            standing.abandoned(permit)
        else:
            standing.failed(permit, code, repeat=repeat)
