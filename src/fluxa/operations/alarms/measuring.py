"""Makes readings for rules out of what is known of queues, processes, schedules, sinks and the database."""

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.operations.alarms.load import DatabaseLoad, Load
from fluxa.operations.alarms.rule import Measure, Reading, Rule
from fluxa.operations.alarms.samples import (
    DENIED,
    FAILED,
    PERIOD_S,
    REQUESTS,
    SERVER_ERRORS,
    WORKED,
    Process,
    Samples,
)
from fluxa.operations.cron.schedules import Schedules
from fluxa.operations.cron.schedules import Standing as ScheduleStanding
from fluxa.operations.ledger.sinks.cursors import Cursors, SinkStanding
from fluxa.queue.health.facts import QueueHealth, Snapshot, State
from fluxa.queue.health.snapshot import HealthReader
from fluxa.queue.registry import Registry

LEDGER_FAULTS, TENANT_FAULTS = "ledger_faults", "tenant_faults"
"""Gauges that the processes write which verify the ledger and check the policies."""
_GAUGES = {Measure.LEDGER_FAULTS: LEDGER_FAULTS, Measure.TENANT_FAULTS: TENANT_FAULTS}
_ALIVE_S = 3 * PERIOD_S
_REPLACED_S = 120.0
"""How long before or after a process leaves another begins that is meant to take its place."""


@dataclass(frozen=True, slots=True)
class Found:
    """The readings of one rule.

    Attributes:
        readings: one a subject.
        failed: why none could be taken; then nothing is known of any subject. Empty if they could.
        silent: why nothing is known of a subject that there should be, if it has no reading.
    """

    readings: Sequence[Reading] = ()
    failed: str = ""
    silent: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Seen:
    """What one turn has looked at already: several rules ask for the same."""

    queues: Snapshot | None = None
    processes: Sequence[Process] | None = None
    schedules: Sequence[ScheduleStanding] | None = None
    load: Load | None = None
    increases: dict[float, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)


async def nothing_done() -> Sequence[Reading]:
    """The readings of checks that are not done."""
    return ()


class Measures:
    """Looks at everything that rules look at.

    Args:
        samples: what processes have counted.
        reader: takes snapshots of queues.
        registry: says what queues may hold.
        schedules: the schedules.
        load: how busy the database is.
        now: the time of day.
        expected: services that must be heard of, whether they ever were or not.
        cursors: what of the audit log has arrived at sinks.
        sinks: those that it is sent to.
        synthetic: what synthetic checks found, where any are done.
    """

    def __init__(
        self,
        *,
        samples: Samples,
        reader: HealthReader,
        registry: Registry,
        schedules: Schedules,
        load: DatabaseLoad,
        now: Callable[[], dt.datetime],
        cursors: Cursors,
        expected: Sequence[str] = (),
        sinks: Sequence[str] = (),
        synthetic: Callable[[], Awaitable[Sequence[Reading]]] = nothing_done,
    ) -> None:
        self._samples = samples
        self._reader = reader
        self._registry = registry
        self._schedules = schedules
        self._load = load
        self._now = now
        self._expected = expected
        self._cursors = cursors
        self._sinks = sinks
        self._synthetic = synthetic

    async def read(self, rules: Sequence[Rule]) -> Mapping[str, Found]:
        """The readings of each rule by its name; what fails is told there, and never raised."""
        seen = _Seen()
        found: dict[str, Found] = {}
        for rule in rules:
            try:
                found[rule.name] = Found(await self._of(rule, seen), silent=await self._silent(rule, seen))
            except Exception as error:  # noqa: BLE001 - what is not known is UNKNOWN, and the other rules go on
                known = error if isinstance(error, FluxaError) else FluxaError(ErrorCode.INTERNAL, repr(error))
                found[rule.name] = Found(failed=f"{known.code}: {known.detail}")
        return found

    async def _of(self, rule: Rule, seen: _Seen) -> Sequence[Reading]:
        readings: Sequence[Reading]
        match rule.measure:
            case Measure.FAILED_WORK_SHARE | Measure.SERVER_ERROR_SHARE | Measure.AUTHENTICATION_FAILURES:
                if rule.window_s not in seen.increases:
                    seen.increases[rule.window_s] = await self._samples.increase(rule.window_s)
                readings = counted(rule, seen.increases[rule.window_s])
            case Measure.SILENT_PROCESS:
                readings = silent(await self._processes(seen), self._expected)
            case Measure.LEDGER_FAULTS | Measure.TENANT_FAULTS:
                readings = gauged(await self._processes(seen), _GAUGES[rule.measure])
            case Measure.SYNTHETIC_FAILURES:
                readings = await self._synthetic()
            case Measure.DATABASE_CPU:
                load = seen.load = seen.load or await self._load.read()
                readings = (Reading("", load.percent, "; ".join((load.how, *load.queries))),)
            case Measure.MISSED_SCHEDULE:
                seen.schedules = await self._schedules.all() if seen.schedules is None else seen.schedules
                readings = [_overdue(one, self._now()) for one in seen.schedules]
            case Measure.AUDIT_SINK_LAG:
                standings = await self._cursors.standings(self._sinks) if self._sinks else ()
                readings = [_lag(one) for one in standings if one.sink in self._sinks]
            case (
                Measure.DEAD_LETTERS
                | Measure.TAMPERED_LETTERS
                | Measure.QUEUE_DEPTH
                | Measure.QUEUE_AGE
                | Measure.UNSERVED_QUEUE
            ):
                seen.queues = seen.queues or await self._reader.read()
                own = [one for one in seen.queues.queues if not one.foreign]
                readings = [_of_queue(rule.measure, one, self._registry) for one in own]
            case _:
                assert_never(rule.measure)
        return readings

    async def _silent(self, rule: Rule, seen: _Seen) -> Mapping[str, str]:
        if rule.measure is not Measure.SERVER_ERROR_SHARE:
            return {}
        return unheard(await self._processes(seen))

    async def _processes(self, seen: _Seen) -> Sequence[Process]:
        if seen.processes is None:
            seen.processes = await self._samples.processes()
        return seen.processes


def counted(rule: Rule, increase: Mapping[str, Mapping[str, float]]) -> Sequence[Reading]:
    """Shares and rates from what was counted in the rule's window."""
    if not increase:
        reason = f"No process was heard of in the last {rule.window_s:.0f} s."
        return (Reading("", None, reason),) if not rule.per else ()
    if rule.measure is Measure.SERVER_ERROR_SHARE:
        return [
            _share(rule, service, of.get(SERVER_ERRORS, 0.0), of[REQUESTS])
            for service, of in increase.items()
            if REQUESTS in of
        ]
    total = {name: sum(of.get(name, 0.0) for of in increase.values()) for name in (WORKED, FAILED, DENIED)}
    if rule.measure is Measure.FAILED_WORK_SHARE:
        return (_share(rule, "", total[FAILED], total[WORKED]),)
    a_minute = 60.0 * total[DENIED] / rule.window_s
    return (Reading("", a_minute, f"{total[DENIED]:.0f} in {rule.window_s:.0f} s"),)


def _share(rule: Rule, subject: str, part: float, whole: float) -> Reading:
    detail = f"{part:.0f} of {whole:.0f} in {rule.window_s:.0f} s"
    if whole < rule.count_min:
        return Reading(subject, 0.0, f"{detail}: too few to judge")
    return Reading(subject, 100.0 * part / whole if whole else 0.0, detail)


def silent(processes: Sequence[Process], expected: Sequence[str] = ()) -> Sequence[Reading]:
    """For how long processes have been silent that did not say goodbye and have no successor, the longest a service.

    A process that began after another one of its service was last heard of takes its place, for good: when it has
    ended itself, nobody is to ask for the other again. One that began about when another said goodbye took that one's
    place, so that a deploy, which replaces all that still run, hides none that had fallen silent before.
    """
    readings = []
    for service in sorted({*(one.service for one in processes), *expected}):
        of = [one for one in processes if one.service == service]
        missing = _without_successor(of)
        if missing:
            longest = missing[0]
            detail = ", ".join(f"pid {one.pid} on {one.host}, silent for {one.age_s:.0f} s" for one in missing[:5])
            readings.append(Reading(service, longest.age_s, detail))
        elif service in expected and not any(not one.ended and one.age_s <= _ALIVE_S for one in of):
            since_s = min((one.age_s for one in of), default=7 * 86400.0)
            readings.append(Reading(service, since_s, "It should run, and none does."))
        else:
            readings.append(Reading(service, 0.0))
    return readings


def _without_successor(of: Sequence[Process]) -> Sequence[Process]:
    """Those that fell silent and whose place nobody took, the longest silent first."""
    begun = sorted(of, key=lambda one: one.started_age_s, reverse=True)
    left = sorted(of, key=lambda one: one.age_s, reverse=True)
    silent_ = [one for one in left if not one.ended and one.age_s > _ALIVE_S]

    def replaced(one: Process, within_s: float, before_s: float = 0.0) -> bool:
        """Whether somebody began at most so long after, or before, it left; who did replaces nobody else."""
        for other in begun:
            after_s = one.age_s - other.started_age_s
            if other.started_age_s < one.started_age_s and -before_s <= after_s <= within_s:
                begun.remove(other)
                return True
        return False

    # First who was started again at once, then who was replaced in order, and what is left is for the others.
    silent_ = [one for one in silent_ if not replaced(one, _REPLACED_S)]
    for one in left:
        if one.ended:
            replaced(one, _REPLACED_S, _REPLACED_S)
    return [one for one in silent_ if not replaced(one, float("inf"))]


def unheard(processes: Sequence[Process]) -> Mapping[str, str]:
    """Services of which no process is heard of any more, though one did not say goodbye; and since when."""
    found = {}
    for service in {one.service for one in processes}:
        left = [one for one in processes if one.service == service and not one.ended]
        age_s = min((one.age_s for one in left), default=0.0)
        if age_s > _ALIVE_S:
            found[service] = f"Nothing was heard of it for {age_s:.0f} s."
    return found


def gauged(processes: Sequence[Process], name: str) -> Sequence[Reading]:
    """The worst value of a gauge in processes that run; not known, where none of them has it."""
    of = [one for one in processes if name in one.gauges and not one.ended and one.age_s <= _ALIVE_S]
    if not of:
        return (Reading("", None, "No running process could find it out."),)
    worst = max(of, key=lambda one: one.gauges[name])
    return (Reading("", worst.gauges[name], f"as {worst.service} found"),)


def _overdue(standing: ScheduleStanding, now: dt.datetime) -> Reading:
    name = standing.schedule.name
    if not standing.enabled:
        return Reading(name, 0.0, "It is disabled.")
    late_s = max(0.0, (now - standing.next_at).total_seconds())
    return Reading(name, late_s, f"due at {standing.next_at:%Y-%m-%d %H:%M:%SZ}")


def _lag(standing: SinkStanding) -> Reading:
    # The code alone: what a sink answers is quoted to those who may read the log, not to whomever alarms are told.
    failed = f"; it last failed with {(standing.error or '').partition(':')[0]}" if standing.failing else ""
    return Reading(standing.sink, standing.oldest_s, f"{standing.behind} entries wait{failed}")


def _of_queue(measure: Measure, health: QueueHealth, registry: Registry) -> Reading:
    name, marks = health.queue, registry.get(health.queue).watermarks
    unmeasured = health.unknown.get("metrics", "It was not measured.")
    value: float | None = None
    match measure:
        case Measure.DEAD_LETTERS:
            value = health.dead
            codes = sorted((health.dead_by_code or {}).items())
            detail = ", ".join(f"{count} {code}" for code, count in codes)
        case Measure.TAMPERED_LETTERS:
            detail = health.unknown.get("dead_by_code", "")
            if health.dead_by_code is not None:
                value = float(health.dead_by_code.get(ErrorCode.HASH_MISMATCH, 0))
                detail = f"{value:.0f} of {sum(health.dead_by_code.values())} dead letters" if value else ""
        case Measure.QUEUE_DEPTH:
            return _against(name, health.queue_length, marks.depth, "messages", unmeasured)
        case Measure.QUEUE_AGE:
            return _against(name, health.oldest_age_s, marks.oldest_age_s, "s", unmeasured)
        case Measure.UNSERVED_QUEUE:
            detail = health.unknown.get("reports", f"{health.queue_length} messages")
            if health.queue_length is not None and health.workers is not None:
                value = float(health.state is State.UNSERVED)
        case _:
            raise FluxaError(ErrorCode.INTERNAL, f"{measure} is not of a queue.")
    return Reading(name, value, detail or (unmeasured if value is None else ""))


def _against(name: str, value: float | None, mark: float | None, unit: str, unmeasured: str) -> Reading:
    if mark is None:
        return Reading(name, 0.0, "It has no watermark.")
    if value is None:
        return Reading(name, None, unmeasured)
    # A mark of nothing is exceeded by anything.
    percent = 100.0 * value / mark if mark else (200.0 if value else 0.0)
    return Reading(name, percent, f"{value:.0f} {unit}, where {mark:g} are the mark")
