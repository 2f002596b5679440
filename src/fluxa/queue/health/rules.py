"""Decides what facts about a queue mean: watermarks with hysteresis, reports of several workers, the one word. Pure."""

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from fluxa.queue.backend import QueueMetrics
from fluxa.queue.health.facts import Exceeded, Measure, State, Watermark, WorkerState
from fluxa.queue.health.reports import WorkerReport
from fluxa.queue.insight import DeadByCode
from fluxa.queue.registry import QueueSpec, Watermarks
from fluxa.resilience.breaker import BreakerState

_CLEARED_AT = 0.8
"""A crossing ends at four fifths of its limit: a queue that breathes around it is told of once, not every minute."""

_WORST_FIRST = (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED)


def limit_of(marks: Watermarks, measure: Measure) -> float | None:
    """What a queue may hold at most; None for any amount."""
    match measure:
        case Measure.DEPTH:
            return marks.depth
        case Measure.OLDEST_AGE:
            return marks.oldest_age_s
        case Measure.DEAD:
            return marks.dead


def _value_of(metrics: QueueMetrics, measure: Measure) -> float | None:
    match measure:
        case Measure.DEPTH:
            return metrics.depth
        case Measure.OLDEST_AGE:
            return metrics.oldest_age_s
        case Measure.DEAD:
            return metrics.dead


def _compared(metrics: QueueMetrics, marks: Watermarks) -> Iterator[tuple[Measure, float, float]]:
    """Each watermark that is set and whose measure is known: what it looks at, what was found, what may be."""
    for measure in Measure:
        value, limit = _value_of(metrics, measure), limit_of(marks, measure)
        if value is not None and limit is not None:
            yield measure, value, limit


def exceeded(metrics: QueueMetrics, marks: Watermarks) -> tuple[Exceeded, ...]:
    """The watermarks that are exceeded at this moment."""
    return tuple(Exceeded(*compared) for compared in _compared(metrics, marks) if compared[1] > compared[2])


@dataclass(frozen=True, slots=True)
class Crossing:
    """A watermark was crossed, one way or the other.

    Attributes:
        measure: what it looks at.
        value: what was found.
        limit: the watermark.
        is_above: whether it is exceeded now.
    """

    measure: Measure
    value: float
    limit: float
    is_above: bool


@dataclass(frozen=True, slots=True)
class Marks:
    """The watermarks of one queue over time.

    Attributes:
        limits: what the queue may hold.
        above: the measures that were exceeded and have not come down to four fifths since.
    """

    limits: Watermarks
    above: frozenset[Measure] = field(default_factory=frozenset)

    def seen(self, metrics: QueueMetrics | None) -> tuple["Marks", tuple[Crossing, ...]]:
        """The state after one look, and what was crossed by it; what is unknown crosses nothing."""
        if metrics is None:
            return self, ()
        crossings = []
        for measure, value, limit in _compared(metrics, self.limits):
            was_above = measure in self.above
            is_above = value > (limit * _CLEARED_AT if was_above else limit)
            if is_above != was_above:
                crossings.append(Crossing(measure, value, limit, is_above))
        above = self.above ^ {crossing.measure for crossing in crossings}
        return replace(self, above=above), tuple(crossings)


def first_action(queue: str, measure: Measure) -> str:
    """What to do first about a watermark that is exceeded."""
    match measure:
        case Measure.DEPTH | Measure.OLDEST_AGE:
            return f"fluxa queue show {queue}"
        case Measure.DEAD:
            return f"fluxa dlq list --queue {queue}"


@dataclass(frozen=True, slots=True)
class Served:
    """What all workers together say of one queue.

    Attributes:
        workers: those that live.
        last_success_at: when any worker, gone or not, last finished a record.
        last_failure_at: when any failed last.
        last_error_code: why.
        error_streak: failures since the last success, of the living worker that has most; without one, of the last one.
        breaker: the worst of the living ones' breakers; None without any.
        rests_until: when the last of their rests ends.
    """

    workers: tuple[WorkerState, ...] = ()
    last_success_at: dt.datetime | None = None
    last_failure_at: dt.datetime | None = None
    last_error_code: str | None = None
    error_streak: int = 0
    breaker: str | None = None
    rests_until: dt.datetime | None = None


def merge(reports: Sequence[WorkerReport]) -> Served:
    """The reports on one queue as one."""
    if not reports:
        return Served()
    living = [one for one in reports if one.lives]
    failed = max(reports, key=lambda one: _moment(one.said.last_failure_at))
    last = min(reports, key=lambda one: one.age_s)
    states = {one.said.breaker for one in living}
    return Served(
        workers=tuple(_worker(one) for one in living),
        last_success_at=_latest(one.said.last_success_at for one in reports),
        last_failure_at=failed.said.last_failure_at,
        last_error_code=failed.said.last_error_code,
        error_streak=max((one.said.error_streak for one in living), default=last.said.error_streak),
        breaker=next((str(state) for state in _WORST_FIRST if state in states), None),
        rests_until=_latest(one.said.rests_until for one in living),
    )


def _worker(report: WorkerReport) -> WorkerState:
    said = report.said
    return WorkerState(
        worker=report.worker,
        host=report.host,
        pid=report.pid,
        in_flight=said.in_flight,
        error_streak=said.error_streak,
        breaker=said.breaker,
        rests_until=said.rests_until,
        done=said.done,
        retried=said.retried,
        parked=said.parked,
        age_s=report.age_s,
    )


_NEVER = dt.datetime.min.replace(tzinfo=dt.UTC)


def _moment(value: dt.datetime | None) -> dt.datetime:
    return _NEVER if value is None else value


def _latest(moments: Iterable[dt.datetime | None]) -> dt.datetime | None:
    known = [moment for moment in moments if moment is not None]
    return max(known, default=None)


def dead_by_code(found: DeadByCode, metrics: QueueMetrics | None) -> tuple[dict[str, int], tuple[str, ...]]:
    """Dead letters by code, and the codes of which there may be more.

    If only one code was not counted to its end, it has what the others leave of the total.
    """
    counts = dict(found.counts)
    if metrics is None or not found.all_codes or len(found.at_least) != 1:
        return counts, tuple(sorted(found.at_least))
    (code,) = found.at_least
    counts[code] = max(counts[code], metrics.dead - sum(counts.values()) + counts[code])
    return counts, ()


def watermark(metrics: QueueMetrics | None, found: Sequence[Exceeded]) -> Watermark:
    """Where a queue stands."""
    if metrics is None:
        return Watermark.UNKNOWN
    return Watermark.HIGH if found else Watermark.OK


def state(
    spec: QueueSpec | None, *, metrics: QueueMetrics | None, served: Served | None, paused: bool | None, is_high: bool
) -> State:
    """The one word about a queue: what to act on first.

    Args:
        spec: how the queue is worked on; None for another program's.
        metrics: what it holds; None if unknown.
        served: what its workers say; None if unknown.
        paused: whether an operator paused it; None if unknown.
        is_high: whether a watermark is exceeded.
    """
    if metrics is None or served is None or paused is None:
        return State.UNKNOWN
    if spec is None:
        return State.FOREIGN
    failing = served.breaker == BreakerState.HALF_OPEN or served.error_streak >= spec.breaker.failures
    worst_first = (
        (paused, State.PAUSED),
        (served.breaker == BreakerState.OPEN, State.RESTING),
        (bool(metrics.depth) and not served.workers, State.UNSERVED),
        (failing, State.FAILING),
        (is_high, State.HIGH),
    )
    return next((word for holds, word in worst_first if holds), State.OK)
