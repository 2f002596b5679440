"""One queue's service in a worker: claim what can be begun, sort it, hand it out, have it settled. Not: the calls."""

import asyncio
import contextlib
import datetime as dt
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres.pool import Database
from fluxa.queue.backend import Delivery, QueueBackend, Settlement
from fluxa.queue.health.reports import QueueReport
from fluxa.queue.outcome import DONE, Dead, Done, Outcome, Retry, Snooze
from fluxa.queue.registry import QueueSpec
from fluxa.queue.worker.calls.attempt import as_fluxa
from fluxa.queue.worker.calls.caller import Caller, Tools
from fluxa.queue.worker.calls.desk import Desk
from fluxa.queue.worker.calls.exact import Exact
from fluxa.queue.worker.calls.held import Held
from fluxa.queue.worker.calls.runner import Cut
from fluxa.queue.worker.handlers import Form, HandlerSpec
from fluxa.queue.worker.leases import LeaseKeeper
from fluxa.queue.worker.limits.admission import Admission
from fluxa.queue.worker.limits.guard import MemoryGuard
from fluxa.queue.worker.limits.outage import Outage
from fluxa.queue.worker.limits.solitude import Solitude
from fluxa.queue.worker.limits.standing import Standing
from fluxa.queue.worker.settler import Settler
from fluxa.queue.worker.triage import triage
from fluxa.resilience import backoff
from fluxa.telemetry.catalogue import HandlersReturned, Hook, LeasesLost, RecordParked, RecordRetried, RecordsSettled

_AHEAD_S = 0.25
"""Seconds of work that are claimed before a runner is free for it: enough to bridge a claim, too little to matter."""
_AHEAD_RECORDS_MAX = 4000
_MESSAGES_MAX = 256
_SIZE_SHARE = 0.2
_SUSPECT_PAUSE_S = 30.0
"""Seconds before a suspect comes again that could not be alone: asking for it stops the other queues' claims."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What the queues of a worker have in common.

    Attributes:
        backend: the engine.
        database: for handlers with transactions.
        settler: settles.
        outage: whether the engine answers.
        admission: who may begin.
        guard: whether there is memory.
        solitude: lets a suspect be alone.
        is_paused: whether an operator wants nothing claimed from a queue.
        wait_s: seconds that a claim waits for work.
        clock: the time.
        chance: a number in [0, 1).
        hook: hears what happens.
    """

    backend: QueueBackend
    database: Database | None
    settler: Settler
    outage: Outage
    admission: Admission | None
    guard: MemoryGuard
    solitude: Solitude
    is_paused: Callable[[str], bool]
    wait_s: float
    clock: Clock
    chance: Callable[[], float]
    hook: Hook


class Serving:
    """Claims from one queue and sees its records through."""

    def __init__(self, spec: QueueSpec, handler: HandlerSpec, shared: Shared) -> None:
        self._in = shared
        self._spec = spec
        standing = Standing(spec, clock=shared.clock, chance=shared.chance, hook=shared.hook, opened=self._opened)
        self._standing = standing
        tools = Tools(spec, handler, standing, shared.admission, shared.clock, shared.chance)
        self._caller = Caller(tools)
        exact = None
        if handler.tx is not None and shared.database is not None:
            exact = Exact(tools, self._caller, database=shared.database, backend=shared.backend)
        self._desk = Desk(tools, self._caller, exact, self._ended)
        self._at_once = spec.concurrency * (spec.batch if handler.form is Form.BATCH else 1)
        self._size = float(max(1, spec.envelope_records))
        self._leases = LeaseKeeper(shared.backend, lease_s=spec.lease_s, on_lost=self._lost)
        self._life = contextlib.AsyncExitStack()
        self._helds: dict[tuple[str, str], Held] = {}
        self._suspects: set[asyncio.Task[None]] = set()
        self._runners: list[asyncio.Task[None]] = []
        self._claims: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._stopping = False
        self.moved_s = shared.clock.monotonic()
        """When it last asked for work, or had a reason not to, on the clock that never goes back."""
        self.dry_s = float("-inf")
        """When it last asked for work and there was none, on the same clock."""
        self._is_claiming = False

    @property
    def queue(self) -> str:
        """Whose service this is."""
        return self._spec.name

    @property
    def hands(self) -> int:
        """Messages in work; suspects that wait to be alone are not counted."""
        return sum(not held.waits for held in self._helds.values())

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in hand, suspects included; a claim may be under way."""
        return not self._helds

    @property
    def is_running(self) -> bool:
        """Whether all its tasks live."""
        tasks = [*self._runners, self._claims]
        return all(task is not None and not task.done() for task in tasks)

    def report(self) -> QueueReport:
        """How it fares."""
        return self._standing.report(self._desk.open_records)

    async def start(self) -> None:
        """Begin."""
        self._stopping = False
        await self._life.enter_async_context(self._leases)
        self._runners = [
            asyncio.create_task(self._desk.run(runner), name=f"{self.queue}-runner-{number}")
            for number, runner in enumerate(self._desk.runners, start=1)
        ]
        self._claims = asyncio.create_task(self._claim_on(), name=f"{self.queue}-claims")

    def look(self, now_s: float) -> None:
        """What is due ten times a second: cut calls whose time is up, let those look again who wait for a change."""
        for runner in self._desk.runners:
            runner.look(now_s)
        if self._desk.has_waiting:
            if self._in.is_paused(self.queue):
                self._desk.give_back()
            self._desk.wake()
        self._standing.look(now_s)
        self._changed.set()
        self._tell_calls()

    def stop_taking(self) -> None:
        """Take nothing new, and give back what is not begun."""
        self._stopping = True
        self._changed.set()
        self._desk.give_back()

    async def empty(self) -> None:
        """Return when nothing is in hand any more, and no claim under way."""
        if self._claims is not None:
            await asyncio.wait((self._claims,))
        while self._helds:
            self._changed.clear()
            await self._changed.wait()

    async def idle(self) -> None:
        """Return when nothing is in hand and no claim under way; for one from which nothing is claimed for now."""
        while self._helds or self._is_claiming:
            self._changed.clear()
            await self._changed.wait()

    def cut(self) -> None:
        """Cut short what runs: its records go back as they came."""
        for runner in self._desk.runners:
            runner.cut(Cut.STOP)

    async def end(self) -> None:
        """Be gone; what is still in hand is given back by ending its leases."""
        for task in (self._claims, *self._runners, *self._suspects):
            await cancel_and_wait(task)
        self._claims, self._runners = None, []
        await self._life.aclose()
        self._tell_calls()
        rest = [held.delivery for held in self._helds.values()]
        self._helds.clear()
        if rest:
            # What was settled is gone from the queue, so this touches the rest only; in an outage they just end.
            with contextlib.suppress(FluxaError, TimeoutError):
                async with asyncio.timeout(2):
                    await self._in.backend.extend(rest, lease_s=0.0)

    async def _claim_on(self) -> None:
        failures = 0
        while not self._stopping:
            self.moved_s = self._in.clock.monotonic()
            limit = self._room()
            if limit <= 0:
                self._changed.clear()
                await self._changed.wait()
                continue
            try:
                self._take_in(await self._claim(limit))
            except Exception as error:  # noqa: BLE001 - a queue's service outlives whatever happens to one claim
                failures += 1
                self._in.outage.failed(as_fluxa(error).detail)
                await self._pause(failures)
            else:
                failures = 0
                self._in.outage.worked()

    async def _claim(self, limit: int) -> list[Delivery]:
        self._is_claiming = True
        try:
            found = await self._in.backend.claim(
                self.queue, limit=limit, lease_s=self._spec.lease_s, wait_s=self._in.wait_s
            )
        finally:
            self._is_claiming = False
        if not found:
            self.dry_s = self.moved_s
        return found

    def _room(self) -> int:
        """How many messages can be begun now, or within a moment."""
        if not self._may_claim():
            return 0
        allowance = self._standing.allowance()
        in_hand, at_once = self._desk.open_records, self._at_once
        if self._in.admission is not None:
            places = self._in.admission.room(self.queue, self._in.clock.monotonic())
            at_once = min(at_once, in_hand + places * at_once // self._spec.concurrency)
        ahead = 0
        if self._caller.pace_s is not None and allowance is None:
            at_pace = _AHEAD_S / max(self._caller.pace_s, 1e-6) * self._spec.concurrency
            ahead = min(_AHEAD_RECORDS_MAX, int(at_pace))
        room = at_once + ahead - in_hand
        if room <= 0 or (ahead > at_once and in_hand > at_once and room < ahead // 2):
            return 0  # few small claims cost more than one that waits until it is worth while
        messages = max(1, math.ceil(room / self._size))
        return min(messages, _MESSAGES_MAX, messages if allowance is None else allowance)

    def _may_claim(self) -> bool:
        if self._in.guard.is_closed or self._in.solitude.is_wanted or self._in.is_paused(self.queue):
            return False
        allowance = self._standing.allowance()
        # After a rest what is in hand serves as the probe before anything is claimed for it.
        return allowance is None or (allowance > 0 and not self._desk.has_waiting)

    def _take_in(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        records = sum(max(1, len(delivery.records)) for delivery in deliveries)
        self._size += _SIZE_SHARE * (records / len(deliveries) - self._size)
        self._leases.hold(deliveries)
        keys = self._spec.keys
        ordered = keys is not None and keys.ordered
        found = triage(deliveries, self._spec.retry, now=self._in.clock.now(), ordered=ordered)
        for settlement in found.settle:
            # In hand until the engine has it: a suspect that begins before would, if it kills us, count against these.
            self._hold(settlement.delivery)
            self._in.settler.put(settlement, self._settled)
        for delivery in found.work:
            self._desk.put(self._hold(delivery))
        if found.alone is not None:
            held = self._hold(found.alone)
            held.waits = True
            # At once, not when its task begins: the next claim would hold others that may count its crash as theirs.
            self._in.solitude.ask(held)
            task = asyncio.create_task(self._alone(held), name=f"{self.queue}-suspect")
            self._suspects.add(task)
            task.add_done_callback(functools.partial(self._suspect_ended, held))
        if self._stopping or self._standing.allowance() == 0:
            self._desk.give_back()
        self._desk.wake()

    def _hold(self, delivery: Delivery) -> Held:
        held = self._helds[delivery.message_id, delivery.receipt] = Held(delivery)
        return held

    async def _alone(self, held: Held) -> None:
        """Work on a suspect with nothing else in hand; or, where that cannot be had, give it back for a while."""
        async with self._in.solitude.alone(held) as is_alone:
            held.waits = False
            if is_alone and not self._stopping and not held.is_lost:
                await self._desk.alone(held)
            else:
                pause_s = 0.0 if self._stopping else _SUSPECT_PAUSE_S
                self._desk.refuse(held, self._in.clock.now() + dt.timedelta(seconds=pause_s))

    def _suspect_ended(self, held: Held, task: asyncio.Task[None]) -> None:
        """However it ended; one that was cancelled before its turn must not be waited for."""
        self._suspects.discard(task)
        self._in.solitude.give_up(held)

    def _opened(self) -> None:
        """The breaker opened: no attempt is to be burnt on what waits."""
        self._desk.give_back()

    def _lost(self, delivery: Delivery) -> None:
        held = self._helds.get((delivery.message_id, delivery.receipt))
        if held is None:
            return
        held.is_lost = True
        self._desk.drop(held)
        for runner in self._desk.runners:
            if held in runner.helds and all(one.is_lost for one in runner.helds):
                runner.cut(Cut.LOST)

    def _ended(self, held: Held) -> None:
        """All records of a delivery have an outcome."""
        if held.is_settled or held.is_lost:
            self._settled(held.settlement(self._in.clock), not held.is_lost)
        else:
            self._in.settler.put(held.settlement(self._in.clock), self._settled)
        if self._desk.open_records <= self._at_once:
            self._changed.set()

    def _settled(self, settlement: Settlement, carried_out: bool) -> None:  # noqa: FBT001 - the one thing to say
        delivery = settlement.delivery
        self._leases.release((delivery,))
        self._helds.pop((delivery.message_id, delivery.receipt), None)
        self._changed.set()
        self._in.solitude.look()
        if carried_out:
            self._tell(settlement)
        else:
            self._in.hook(LeasesLost(self.queue, 1))

    def _tell(self, settlement: Settlement) -> None:
        outcomes = settlement.outcomes
        done = outcomes.count(DONE)
        if done == len(outcomes):
            self._standing.settled(done=done)
            self._in.hook(RecordsSettled(self.queue, done=done))
            return
        counts = {Retry: 0, Dead: 0, Snooze: 0, Done: 0}
        for place, outcome in enumerate(outcomes):
            counts[type(outcome)] += 1
            self._tell_failure(settlement.delivery, place, outcome)
        self._standing.settled(done=counts[Done], retried=counts[Retry], parked=counts[Dead])
        self._in.hook(RecordsSettled(self.queue, counts[Done], counts[Retry], counts[Dead], counts[Snooze]))

    def _tell_failure(self, delivery: Delivery, place: int, outcome: Outcome) -> None:
        record = delivery.records[place] if delivery.records else None
        if isinstance(outcome, Retry) and record is not None:
            self._in.hook(
                RecordRetried(
                    self.queue,
                    outcome.code,
                    record.attempt + delivery.received_count,
                    event_id=record.id,
                    correlation_id=record.correlation_id,
                    detail=outcome.detail,
                )
            )
        elif isinstance(outcome, Dead):
            self._in.hook(
                RecordParked(
                    self.queue,
                    outcome.code,
                    self._spec.retry.class_of(outcome.code),
                    event_id=record.id if record else f"message-{delivery.message_id}",
                    correlation_id=record.correlation_id if record else "",
                    detail=outcome.detail,
                )
            )

    def _tell_calls(self) -> None:
        if self._caller.durations_s:
            durations_s, self._caller.durations_s = self._caller.durations_s, []
            self._in.hook(HandlersReturned(self.queue, tuple(durations_s)))

    async def _pause(self, failures: int) -> None:
        """Wait before a repeat, longer each time, or until the worker stops."""
        pause_s = backoff.pause_s(failures, self._in.chance())
        end_s = self._in.clock.monotonic() + pause_s
        while not self._stopping and (left_s := end_s - self._in.clock.monotonic()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
