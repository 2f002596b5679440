"""Looks at all rules every few seconds and writes down how they stand, with what is to be told, in one transaction."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fluxa.kernel.clock import Clock
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.operations.alarms.evaluate import Notice, Phase, Standing, advance, due, fresh, gone
from fluxa.operations.alarms.measuring import Found, Measures
from fluxa.operations.alarms.notices import Told, enqueue, told
from fluxa.operations.alarms.rule import Reading, Rule, Severity
from fluxa.operations.alarms.samples import Samples
from fluxa.operations.alarms.store import Alarm, Silence, Turns
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.queue.producer import Producer
from fluxa.telemetry.catalogue import AlarmTold, Hook
from fluxa.telemetry.duty import Duty

_PRUNE_S = 3600.0
_TAKE_OVER_S = 15.0
_TAKE_OVER_PERIODS = 3
_STOP_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class EvaluatorConfig:
    """How alarms are evaluated.

    Attributes:
        rules: which.
        targets: who is told, and of what severity at least.
        period_s: seconds between two looks.
        repeat_s: seconds after which what still fires is told again.
        runbook_url: where runbooks are read.
        history_days: for how long it is remembered what happened.
    """

    rules: Sequence[Rule]
    targets: Mapping[str, Severity] = field(default_factory=dict)
    period_s: float = 5.0
    repeat_s: float = 14_400.0
    runbook_url: str = ""
    history_days: int = 90


class Evaluator:
    """Evaluates alarms. A `Service`; any number may run, and one of them does it.

    Args:
        database: where alarms are kept; its clock counts.
        measures: what is looked at.
        producer: takes messages, as part of a transaction of this database.
        config: how.
        clock: monotonic, for pauses only.
        hook: hears of what is told.
        name: names this process.
        beats: tell watchdogs outside that alarms are evaluated, by name.
    """

    def __init__(
        self,
        database: Database,
        measures: Measures,
        producer: Producer,
        config: EvaluatorConfig,
        *,
        clock: Clock,
        hook: Hook,
        name: str,
        beats: Mapping[str, Callable[[], Awaitable[None]]] | None = None,
    ) -> None:
        self._database = database
        self._measures = measures
        self._producer = producer
        self._config = config
        self._clock = clock
        self._hook = hook
        self._beats = beats or {}
        self._turns = Turns(database, name)
        self._rules = [rule for rule in config.rules if rule.enabled]
        self._off = [replace(rule, clear_after_s=0.0) for rule in config.rules if not rule.enabled]
        self._duty = Duty("alarms", clock=clock, hook=hook)
        self._beat_duties = {name: Duty("alarm_heartbeat", clock=clock, hook=hook) for name in self._beats}
        self._beating: dict[str, asyncio.Task[None]] = {}
        self._pruned_s = float("-inf")
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background; an outage is waited out."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="alarms")

    async def stop(self) -> None:
        """End, and let another process go on."""
        task, self._task = self._task, None
        if task is None:
            return
        await cancel_and_wait(task)
        for beating in self._beating.values():
            await cancel_and_wait(beating)
        # If not, another one takes over when this one has been silent for a while.
        await self._duty.farewell(self._turns.leave, within_s=_STOP_WITHIN_S)

    async def evaluate(self) -> bool:
        """Look at everything once; False if another process does that.

        Raises:
            FluxaError: an outage; nothing was told then, and nothing is written.
        """
        after_s = max(_TAKE_OVER_S, _TAKE_OVER_PERIODS * self._config.period_s)
        if not await self._turns.take(after_s):
            return False
        # No transaction is open while it looks: an old snapshot would keep readers of events waiting.
        found = await self._measures.read(self._rules)
        async with self._database.transaction() as tx:
            now = await self._turns.hold(tx)
            if now is None:
                return False
            await self._apply(tx, found, now)
        return True

    async def _run(self) -> None:
        while True:
            began_s = self._clock.monotonic()
            try:
                mine = await self.evaluate()
                if mine:
                    await self._prune()
            except Exception as error:  # noqa: BLE001 - the next turn looks again; what is told is told by level
                self._duty.failed(error)
            else:
                self._duty.worked()
                if mine:
                    self._tell_watchdogs()
            await asyncio.sleep(max(0.0, self._config.period_s - (self._clock.monotonic() - began_s)))

    def _tell_watchdogs(self) -> None:
        """Tell each beside the others: one that is slow or down holds up neither a look nor another watchdog."""
        for name in self._beats:
            if name not in self._beating or self._beating[name].done():
                self._beating[name] = asyncio.create_task(self._tell_watchdog(name), name=f"watchdog {name}")

    async def _tell_watchdog(self, name: str) -> None:
        try:
            await self._beats[name]()
        except Exception as error:  # noqa: BLE001 - the watchdog notices by itself; alarms go on
            self._beat_duties[name].failed(error)
        else:
            self._beat_duties[name].worked()

    async def _prune(self) -> None:
        now_s = self._clock.monotonic()
        if now_s - self._pruned_s >= _PRUNE_S:
            self._pruned_s = now_s
            await Samples(self._database).prune()
            await self._turns.prune(self._config.history_days)

    async def _apply(self, tx: Transaction, found: Mapping[str, Found], now: dt.datetime) -> None:
        known: dict[str, dict[str, Alarm]] = {}
        for alarm in await self._turns.alarms(tx):
            known.setdefault(alarm.alarm, {})[alarm.subject] = alarm
        silences = await self._turns.silences(tx)
        to_tell: list[Told] = []
        for rule in self._rules:
            before = known.get(rule.name, {})
            for reading in _completed(rule, found[rule.name], list(before)):
                to_tell += await self._one(tx, rule, reading, before.get(reading.subject), silences, now)
        for rule in self._off:
            for subject, alarm in known.get(rule.name, {}).items():
                off = Reading(subject, rule.quiet, "The settings turned it off.")
                to_tell += await self._one(tx, rule, off, alarm, silences, now)
        for name in known.keys() - {rule.name for rule in self._config.rules}:
            for subject in known[name]:  # of an older version, which had it
                await self._turns.put(tx, name, subject, fresh(now), now)
        if to_tell:
            to_tell.sort(key=lambda one: (_PRESSING.index(one.notice), one.severity != Severity.CRITICAL))
            await enqueue(self._producer, tx, self._config.targets, to_tell, now=now)
            for one in to_tell:
                self._tell(tx, one)

    async def _one(
        self,
        tx: Transaction,
        rule: Rule,
        reading: Reading,
        before: Alarm | None,
        silences: Sequence[Silence],
        now: dt.datetime,
    ) -> list[Told]:
        was = fresh(now) if before is None else before.standing
        moved = advance(rule, was, reading, now)
        standing, notices = due(
            rule,
            moved,
            now,
            silenced=any(silence.covers(rule.name, reading.subject) for silence in silences),
            acknowledged=before is not None and before.acked_by is not None,
            repeat_s=self._config.repeat_s,
        )
        if before is not None or not standing.is_idle:
            await self._turns.put(tx, rule.name, reading.subject, standing, now)
        if _fires(moved) != _fires(was):
            what = Notice.FIRING if _fires(moved) else Notice.RESOLVED
            await self._turns.note(tx, rule.name, reading.subject, str(what), moved)
        for notice in notices:
            if notice in (Notice.UNKNOWN, Notice.KNOWN):
                await self._turns.note(tx, rule.name, reading.subject, str(notice), standing)
        url = self._config.runbook_url
        return [told(rule, reading.subject, notice, standing, runbook_url=url) for notice in notices]

    def _tell(self, tx: Transaction, one: Told) -> None:
        signal = AlarmTold(
            alarm=one.alarm,
            subject=one.subject,
            notice=one.notice,
            severity=one.severity,
            value=one.value,
            runbook=one.runbook,
            detail=one.detail,
        )
        tx.after_commit(lambda: self._hook(signal))


_PRESSING = (Notice.FIRING, Notice.REPEATED, Notice.UNKNOWN, Notice.RESOLVED, Notice.KNOWN)
"""What stands first in a message."""


def _fires(standing: Standing) -> bool:
    return standing.phase is Phase.FIRING


def _completed(rule: Rule, found: Found, before: Sequence[str]) -> list[Reading]:
    """The readings of a rule, with one for each subject that was known and was not found now."""
    if found.failed:
        return [Reading(subject, None, found.failed) for subject in before or [""]]
    subjects = {reading.subject for reading in found.readings}
    missing = [subject for subject in before if subject not in subjects]
    # Of what fell silent nobody knows whether it is well; what is not there any more is.
    silent = [Reading(subject, None, found.silent[subject]) for subject in missing if subject in found.silent]
    return [*found.readings, *silent, *(gone(rule, subject) for subject in missing if subject not in found.silent)]
