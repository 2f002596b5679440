"""Where a queue's records wait for its handler: runners take them, have them worked on, and note what came of it.

Not: claiming and settling (serving), or what a call is (caller).
"""

import asyncio
import datetime as dt
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.queue.outcome import Outcome, Retry, Snooze
from fluxa.queue.worker.calls.attempt import due
from fluxa.queue.worker.calls.caller import Caller, Tools, Unit
from fluxa.queue.worker.calls.exact import Exact
from fluxa.queue.worker.calls.held import Held
from fluxa.queue.worker.calls.runner import Runner
from fluxa.queue.worker.handlers import Form

_SLICE_S = 0.002
"""Seconds that a runner may go on without letting others have the loop, where its handler never waits."""


class Desk:
    """Records that wait, and the runners that take them; `ended` hears of each delivery whose records are all done."""

    def __init__(self, tools: Tools, caller: Caller, exact: Exact | None, ended: Callable[[Held], None]) -> None:
        self._in = tools
        self._caller = caller
        self._exact = exact
        self._ended = ended
        self._idle: deque[asyncio.Future[None]] = deque()
        self._is_batch = tools.handler.form is Form.BATCH
        self._is_keyed = tools.spec.keys is not None
        self._is_ordered = tools.spec.keys is not None and tools.spec.keys.ordered
        self._work: Callable[[Runner], Awaitable[None]] = self._way()
        self._taken: dict[Runner, Sequence[Unit]] = {}
        self._ready: deque[Held] = deque()
        self.open_records = 0
        """Records in hand without an outcome, begun or not."""
        self.runners = [Runner(tools.clock) for _ in range(tools.spec.concurrency)]

    @property
    def has_waiting(self) -> bool:
        """Whether there are records that are not begun."""
        return bool(self._ready)

    def put(self, held: Held) -> None:
        """Let a delivery wait for its turn."""
        self._ready.append(held)
        self.open_records += held.left

    def wake(self) -> None:
        """Let the runners look again: there is something to take, or somebody may begin."""
        idle, self._idle = self._idle, deque()
        for one in idle:
            if not one.done():
                one.set_result(None)

    async def run(self, runner: Runner) -> None:
        """A runner's life, until it is cancelled."""
        runner.settle_in()
        clock = self._in.clock
        slice_s = clock.monotonic()
        while True:
            if not self._ready or not self._may_begin():
                await self._rest()
                slice_s = clock.monotonic()
                continue
            try:
                await self._work(runner)
            except Exception as error:  # noqa: BLE001 - else the lease of what it holds would be renewed for ever
                self._fail_taken(runner, error)
            if runner.ended_s - slice_s > _SLICE_S:
                await asyncio.sleep(0)
                slice_s = clock.monotonic()

    async def alone(self, held: Held) -> None:
        """Work on one delivery that is not to wait with the others."""
        runner = Runner(self._in.clock)
        runner.settle_in()
        self.open_records += held.left
        self.runners.append(runner)
        try:
            await self._apart(runner, held)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail_taken(runner, error)
        finally:
            self.runners.remove(runner)

    def give_back(self) -> None:
        """Let nothing wait any longer: what is not begun goes back to the queue as it came."""
        ready, self._ready = self._ready, deque()
        for held in ready:
            self._give_back(held)

    def refuse(self, held: Held, until: dt.datetime) -> None:
        """Give one delivery back that did not come to wait here, to come again at that time."""
        self.open_records += held.left
        held.begun = len(held.outcomes)
        for place in range(held.begun):
            self._end((held, place), Snooze(until))

    def drop(self, held: Held) -> None:
        """Another worker has it: begin no more of it, and end what was begun."""
        if held in self._ready:
            self._ready.remove(held)
            self._give_back(held)

    def _give_back(self, held: Held) -> None:
        begun, held.begun = held.begun, len(held.outcomes)
        now = self._in.clock.now()
        for place in range(begun, len(held.outcomes)):
            self._end((held, place), Snooze(now))

    def _way(self) -> Callable[[Runner], Awaitable[None]]:
        """How this queue's records are taken."""
        if self._exact is not None:
            return self._take_exact
        if self._is_batch:
            return self._take_keyed if self._is_keyed else self._take_batch
        return self._take_keyed if self._is_keyed else self._take_one

    def _may_begin(self) -> bool:
        if self._in.standing.allowance() == 0:
            return False
        admission = self._in.admission
        return admission is None or admission.ask(self._in.spec.name, self._in.clock.monotonic())

    async def _rest(self) -> None:
        if not self._ready and self._in.admission is not None:
            self._in.admission.withdraw(self._in.spec.name)
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(waiting)
        await waiting

    def _fail_taken(self, runner: Runner, error: Exception) -> None:
        """A defect of ours fails the records that the runner had taken, and not the runner."""
        what = FluxaError(ErrorCode.INTERNAL, f"{type(error).__name__}: {error}")
        for unit in self._taken.get(runner, ()):
            if unit[0].outcomes[unit[1]] is None:
                self._end(unit, self._caller.failed(unit, what))

    async def _take_one(self, runner: Runner) -> None:
        held = self._ready[0]
        place = held.begun
        held.begun += 1
        if held.begun == len(held.outcomes):
            self._ready.popleft()
        unit = (held, place)
        self._taken[runner] = (unit,)
        outcome, _ = await self._caller.one(runner, unit)
        self._end(unit, outcome)

    async def _take_batch(self, runner: Runner) -> None:
        units: list[Unit] = []
        while self._ready and len(units) < self._in.spec.batch:
            held = self._ready[0]
            was_tried = held.delivery.records[held.begun].attempt > 0
            if was_tried and units:
                break  # what failed before is worked on alone, so that it cannot fail its neighbours again
            units.append((held, held.begun))
            held.begun += 1
            if held.begun == len(held.outcomes):
                self._ready.popleft()
            if was_tried:
                break
        self._taken[runner] = units
        outcomes, _ = await self._caller.many(runner, units)
        for unit, outcome in zip(units, outcomes, strict=True):
            self._end(unit, outcome)

    async def _take_keyed(self, runner: Runner) -> None:
        """Records of one key stand in one envelope, and one runner has it: in order, never two at once."""
        held = self._take_whole()
        if self._is_batch and not _was_tried(held) and len(held.outcomes) <= self._in.spec.batch:
            units = [(held, place) for place in range(len(held.outcomes))]
            self._taken[runner] = units
            outcomes, _ = await self._caller.many(runner, units)
            self._end_in_order(units, outcomes)
        else:
            await self._in_turn(runner, held)

    async def _in_turn(self, runner: Runner, held: Held) -> None:
        units = [(held, place) for place in range(len(held.outcomes))]
        self._taken[runner] = units
        for unit in units:
            if held.is_lost or (unit[1] and self._in.standing.allowance() == 0):
                break
            outcome = await self._one_alone(runner, unit)
            self._end(unit, outcome)
            if self._is_ordered and isinstance(outcome, Retry | Snooze):
                self._end_rest(units, due(outcome))
                return
        self._end_rest(units, Snooze(self._in.clock.now()))

    async def _one_alone(self, runner: Runner, unit: Unit) -> Outcome:
        if self._is_batch:
            outcomes, _ = await self._caller.many(runner, [unit])
            return outcomes[0]
        return (await self._caller.one(runner, unit))[0]

    async def _take_exact(self, runner: Runner) -> None:
        """A transaction settles whole deliveries."""
        helds = [self._take_whole()]
        records = len(helds[0].outcomes)
        while self._is_batch and self._ready and not _was_tried(helds[-1]):
            records += len(self._ready[0].outcomes)
            if records > self._in.spec.batch or _was_tried(self._ready[0]):
                break
            helds.append(self._take_whole())
        await self._exactly(runner, helds)

    async def _exactly(self, runner: Runner, helds: list[Held]) -> None:
        assert self._exact is not None  # noqa: S101 - the way was chosen by it
        self._taken[runner] = [(held, place) for held in helds for place in range(len(held.outcomes))]
        for unit, outcome in await self._exact.run(runner, helds):
            self._end(unit, outcome)

    async def _apart(self, runner: Runner, held: Held) -> None:
        held.begun = len(held.outcomes)
        if self._exact is not None:
            await self._exactly(runner, [held])
        else:
            await self._in_turn(runner, held)

    def _take_whole(self) -> Held:
        held = self._ready.popleft()
        held.begun = len(held.outcomes)
        return held

    def _end_in_order(self, units: Sequence[Unit], outcomes: Sequence[Outcome]) -> None:
        """Where order counts, what stands behind a record that is tried again waits for it."""
        for place, (unit, outcome) in enumerate(zip(units, outcomes, strict=True)):
            self._end(unit, outcome)
            if self._is_ordered and isinstance(outcome, Retry | Snooze):
                for behind, also in zip(units[place + 1 :], outcomes[place + 1 :], strict=True):
                    waits = isinstance(also, Retry | Snooze)
                    self._end(behind, due(outcome) if waits else also)
                return

    def _end_rest(self, units: Sequence[Unit], outcome: Outcome) -> None:
        for held, place in units:
            if held.outcomes[place] is None:
                self._end((held, place), outcome)

    def _end(self, unit: Unit, outcome: Outcome) -> None:
        held, place = unit
        self.open_records -= 1
        if held.end(place, outcome, self._in.clock):
            self._ended(held)


def _was_tried(held: Held) -> bool:
    return any(record.attempt for record in held.delivery.records)
