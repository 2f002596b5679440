"""Reads how queues are: each part by a probe of its own, so that one that fails leaves the others known (QUEUE-7)."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from fluxa.kernel.clock import Clock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import QueueBackend, QueueMetrics, SlowFacts
from fluxa.queue.dead_letters.tasks import RedriveState, RedriveTask, RedriveTasks
from fluxa.queue.health import rules
from fluxa.queue.health.advice import advice
from fluxa.queue.health.controls import Control, Controls
from fluxa.queue.health.facts import Pause, QueueHealth, RedriveProgress, Snapshot
from fluxa.queue.health.probing import ALL, Answer, ProbeConfig, Prober
from fluxa.queue.health.reports import WorkerReport, read_reports
from fluxa.queue.insight import DeadByCode, Insight
from fluxa.queue.registry import QueueSpec, Registry
from fluxa.telemetry.catalogue import Hook

_BELONGING = ("_dlq", "_outbox")
"""Queues that are part of another are named after it with one of these."""

_NOTHING = QueueMetrics(depth=0, ready=0, in_flight=0, oldest_age_s=0.0, dead=0)

_OPEN = (RedriveState.RUNNING, RedriveState.PAUSED)
_REDRIVES_MAX = 1000


@dataclass(frozen=True, slots=True)
class _Shared:
    """What one question answers for all queues."""

    names: Answer[list[str]]
    controls: Answer[list[Control]]
    reports: Answer[list[WorkerReport]]
    redrives: Answer[list[RedriveTask]]

    @property
    def unknown(self) -> dict[str, str]:
        """Why parts of every queue are unknown."""
        parts = (
            ("controls", self.controls.reason),
            ("reports", self.reports.reason),
            ("redrives", self.redrives.reason),
        )
        return {part: reason for part, reason in parts if reason}


class HealthReader:
    """Takes snapshots of queues; never fails, and never takes more than a few connections or seconds.

    Args of the constructor: `registry` says which queues there are and what they may hold; `config` says how hard
    the probes try.
    """

    def __init__(
        self,
        *,
        database: Database,
        backend: QueueBackend,
        insight: Insight,
        registry: Registry,
        clock: Clock,
        hook: Hook,
        config: ProbeConfig | None = None,
    ) -> None:
        self._database = database
        self._controls = Controls(database)
        self._backend = backend
        self._insight = insight
        self._registry = registry
        self._tasks = RedriveTasks(database, backend)
        self._clock = clock
        self._prober = Prober(config or ProbeConfig(), clock=clock, hook=hook)

    async def read(self, queues: Collection[str] | None = None, *, why_slow: bool = False) -> Snapshot:
        """How queues are now.

        Args:
            queues: only these; None for all that the registry or the database knows.
            why_slow: whether to look for what makes each of them slow; costs one more question a queue.
        """
        until_s = self._prober.deadline_s()
        shared = await self._shared(until_s)
        names = queues if queues is not None else [spec.name for spec in self._registry]
        if queues is None:
            names = [*names, *self._strangers(shared.names.value or [])]
        found = await asyncio.gather(*(self._one(name, shared, until_s, why_slow=why_slow) for name in names))
        unknown = {"names": shared.names.reason} if shared.names.reason and queues is None else {}
        return Snapshot(self._clock.now(), tuple(found), unknown)

    def _strangers(self, names: Sequence[str]) -> list[str]:
        """Queues that are in the database and not in the registry; not those that belong to another queue."""
        known = {*names, *(spec.name for spec in self._registry)}
        belonging = {name + suffix for name in known for suffix in _BELONGING}
        return [name for name in names if name not in self._registry and name not in belonging]

    async def _shared(self, until_s: float) -> _Shared:
        names, controls, reports, redrives = await asyncio.gather(
            self._prober.ask(ALL, "names", self._insight.names, until_s=until_s),
            self._prober.ask(ALL, "controls", self._controls.all, until_s=until_s),
            self._prober.ask(ALL, "reports", lambda: read_reports(self._database), until_s=until_s),
            self._prober.ask(ALL, "redrives", self._open_redrives, until_s=until_s),
        )
        return _Shared(names, controls, reports, redrives)

    async def _open_redrives(self) -> list[RedriveTask]:
        return await self._tasks.list(states=_OPEN, limit=_REDRIVES_MAX)

    async def _one(self, queue: str, shared: _Shared, until_s: float, *, why_slow: bool) -> QueueHealth:
        spec = self._registry.get(queue) if queue in self._registry else None
        has_dead = spec is not None or f"{queue}_dlq" in (shared.names.value or ())
        if shared.names.value is not None and not {queue, f"{queue}_dlq"} & set(shared.names.value):
            # Not made yet, which is known: nobody has ever sent anything to it.
            return _health(queue, spec, Answer(_NOTHING), Answer(DeadByCode({})), Answer(None), shared)
        metrics = await self._prober.ask(queue, "metrics", lambda: self._metrics(queue, has_dead), until_s=until_s)
        by_code = Answer(DeadByCode({}))
        if has_dead and (metrics.value is None or metrics.value.dead):
            by_code = await self._prober.ask(
                queue, "dead_by_code", lambda: self._insight.dead_by_code(queue), until_s=until_s
            )
        why: Answer[SlowFacts] = Answer(None)
        if why_slow:
            why = await self._prober.ask(queue, "why_slow", lambda: self._backend.why_slow(queue), until_s=until_s)
        return _health(queue, spec, metrics, by_code, why, shared)

    async def _metrics(self, queue: str, has_dead: bool) -> QueueMetrics:  # noqa: FBT001 - one of two ways to measure
        if has_dead:
            return await self._backend.metrics(queue)
        return await self._insight.measure_plain(queue)


def _health(
    queue: str,
    spec: QueueSpec | None,
    metrics: Answer[QueueMetrics],
    by_code: Answer[DeadByCode],
    why: Answer[SlowFacts],
    shared: _Shared,
) -> QueueHealth:
    held, codes = metrics.value, by_code.value
    reports = shared.reports.value
    mine = None if reports is None else [one for one in reports if one.said.queue == queue]
    served = None if mine is None else rules.merge(mine)
    control = next((one for one in shared.controls.value or () if one.queue == queue and one.paused), None)
    paused = None if shared.controls.value is None else control is not None
    judged = spec or (QueueSpec(queue) if mine else None)
    exceeded = rules.exceeded(held, judged.watermarks) if held is not None and judged is not None else ()
    by_code_known, at_least = rules.dead_by_code(codes, held) if codes else (None, ())
    reasons = {"metrics": metrics.reason, "dead_by_code": by_code.reason, "why_slow": why.reason}
    state = rules.state(judged, metrics=held, served=served, paused=paused, is_high=bool(exceeded))
    tasks = shared.redrives.value
    redrives = None if tasks is None else tuple(_progress(task) for task in tasks if task.queue == queue)
    health = QueueHealth(
        queue=queue,
        state=state,
        foreign=spec is None,
        description=spec.description if spec else "",
        priority=spec.priority if spec else None,
        external=spec.external if spec else False,
        queue_length=held.depth if held else None,
        exact=held.exact if held else None,
        ready=held.ready if held else None,
        in_flight=held.in_flight if held else None,
        oldest_age_s=held.oldest_age_s if held else None,
        dead=held.dead if held else None,
        dead_by_code=by_code_known,
        dead_at_least=at_least,
        last_success_at=served.last_success_at if served else None,
        last_failure_at=served.last_failure_at if served else None,
        last_error_code=served.last_error_code if served else None,
        error_streak=served.error_streak if served else None,
        breaker=served.breaker if served else None,
        rests_until=served.rests_until if served else None,
        workers=served.workers if served else None,
        paused=paused,
        pause=Pause(control.by, control.reason, control.changed_at) if control else None,
        watermark=rules.watermark(held, exceeded),
        exceeded=exceeded,
        redrives=redrives,
        why_slow=why.value,
        unknown={**{part: reason for part, reason in reasons.items() if reason}, **shared.unknown},
    )
    return msgspec.structs.replace(health, advice=advice(health))


def _progress(task: RedriveTask) -> RedriveProgress:
    return RedriveProgress(
        redrive_id=task.redrive_id,
        state=str(task.state),
        total=task.total,
        handled=task.handled,
        moved=task.moved,
        rate_per_s=task.rate_per_s,
    )
