"""Redrive tasks against a model: random letters, orders, pauses, purges, and crashes between any two statements."""

import asyncio
import datetime as dt
import json
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import FluxaError, RetryClass, retry_class
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.dead_letters.runner import RedriveRunner
from fluxa.queue.dead_letters.tasks import RedriveState, RedriveTask, RedriveTasks
from fluxa.queue.outcome import DONE, Dead
from fluxa.telemetry.catalogue import silent
from making.dead_letters import BEGAN, parked
from making.machines.driving import drive, own_database

T = TypeVar("T")
_QUEUE = "machine"
_CODES = ("HandlerError", "ProviderUnavailable", "SchemaValidation", "HashMismatch")
_KEYS = ("a", "b", "c")
_PICK = st.integers(0, 10_000)
_STATEMENTS_MAX = 12


class Crash(BaseException):
    """The process dies here: nothing of it runs on, and Postgres rolls back what it had not committed."""


@dataclass(frozen=True)
class Letter:
    """A dead letter as the model knows it."""

    number: int
    name: str
    code: str
    key: str
    hour: int
    redrives: int
    tampered: bool


@dataclass
class Order:
    """A task as the model knows it: which letters it means, frozen, and on what terms."""

    meant: dict[int, Letter]
    forced: tuple[str, ...]
    redrives_max: int | None
    moved: list[int] = field(default_factory=list)
    quarantined: int = 0

    def verdict(self, letter: Letter) -> str:
        """What must become of a letter."""
        code = "HashMismatch" if letter.tampered else letter.code
        if code not in self.forced:
            if letter.tampered:
                return "quarantine"
            if retry_class(code) is not RetryClass.TRANSIENT:
                return "refuse"
        if self.redrives_max is not None and letter.redrives >= self.redrives_max:
            return "refuse"
        return "move"


class RedriveMachine(RuleBasedStateMachine):
    """Two runners, one queue, any number of tasks."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], database: Database) -> None:
        super().__init__()
        self._run = run
        self.database = database
        self.backend = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
        self.tasks = RedriveTasks(database, self.backend)
        self.orders: dict[str, Order] = {}
        self.dead: dict[int, Letter] = {}
        self.queued: set[str] = set()
        self.quarantined: set[str] = set()
        self.left: set[str] = set()
        self.count = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it on the one loop of the test."""
        result: T = self._run(work)
        return result

    @initialize()
    def begin(self) -> None:
        async def clean() -> None:
            await self.backend.create(_QUEUE)
            await self.database.execute(
                "truncate pgmq.q_machine, pgmq.q_machine_dlq, fluxa.redrives, fluxa.quarantine restart identity"
            )

        self.run(clean())
        self.runners = [self._runner(), self._runner()]

    def _runner(self) -> RedriveRunner:
        return RedriveRunner(self.database, self.backend, clock=SystemClock(), hook=silent)

    @rule(
        made=st.lists(
            st.tuples(
                st.sampled_from(_CODES), st.sampled_from(_KEYS), st.integers(0, 5), st.integers(0, 6), st.booleans()
            ),
            min_size=1,
            max_size=12,
        )
    )
    def park(self, made: list[tuple[str, str, int, int, bool]]) -> None:
        letters = []
        for code, key, hour, redrives, spoilt in made:
            self.count += 1
            tampered = spoilt and self.count % 2 == 0
            letters.append(Letter(0, f"r{self.count}", code, key, hour, redrives, tampered))
        texts = [
            parked(
                one.name,
                one.code,
                queue=_QUEUE,
                key=one.key,
                redrives=one.redrives,
                at=BEGAN + dt.timedelta(hours=one.hour),
                tampered=one.tampered,
            )
            for one in letters
        ]
        ids = self.run(self.backend.park(_QUEUE, texts))
        for number, one in zip(map(int, ids), letters, strict=True):
            self.dead[number] = Letter(number, one.name, one.code, one.key, one.hour, one.redrives, one.tampered)

    @rule(
        codes=st.sets(st.sampled_from(_CODES), max_size=2),
        keys=st.sets(st.sampled_from(_KEYS), max_size=2),
        hours=st.none() | st.tuples(st.integers(0, 5), st.integers(0, 6)),
        picks=st.none() | st.sets(_PICK, min_size=1, max_size=8),
        forced=st.sets(st.sampled_from(_CODES), max_size=2),
        most=st.none() | st.integers(1, 6),
        rate=st.sampled_from([None, 5.0, 10.0, 15.0]),
    )
    def order(  # noqa: PLR0917 - hypothesis passes them by name
        self,
        codes: set[str],
        keys: set[str],
        hours: tuple[int, int] | None,
        picks: set[int] | None,
        forced: set[str],
        most: int | None,
        rate: float | None,
    ) -> None:
        """Rates that small make chunks of one to three letters."""
        numbers = sorted(self.dead)
        ids = {numbers[pick % len(numbers)] for pick in picks} if picks and numbers else set()
        which = DeadLetterFilter(
            codes=tuple(codes),
            keys=tuple(keys),
            message_ids=tuple(map(str, ids)),
            failed_from=BEGAN + dt.timedelta(hours=hours[0]) if hours else None,
            failed_before=BEGAN + dt.timedelta(hours=hours[1]) if hours else None,
        )
        meant = {
            number: one
            for number, one in self.dead.items()
            if (not codes or one.code in codes)
            and (not keys or one.key in keys)
            and (not ids or number in ids)
            and (hours is None or hours[0] <= one.hour < hours[1])
        }
        # Named by their order: a run that is repeated must pick the same ones.
        name = f"order-{len(self.orders):04}"
        task = self.run(
            self.tasks.create(_QUEUE, which, tuple(forced), rate, "model", redrives_max=most, redrive_id=name)
        )
        assert task.total == len(meant)
        self.orders[task.redrive_id] = Order(meant, tuple(forced), most)

    @rule(runner=st.integers(0, 1), steps=st.integers(1, 4))
    def step(self, runner: int, steps: int) -> None:
        for _ in range(steps):
            before = self._tasks()
            self._all_due()
            self.run(self.runners[runner].step())
            self._observe(before)

    @rule(runner=st.integers(0, 1), at=st.integers(1, _STATEMENTS_MAX))
    def crash(self, runner: int, at: int) -> None:
        """The runner dies before one of its statements, or between its commit and whatever follows."""
        before = self._tasks()
        self._all_due()
        sent = 0

        def probe(_statement: str) -> None:
            nonlocal sent
            sent += 1
            if sent == at:
                raise Crash

        async def doomed() -> None:
            self.database._probe = probe
            try:
                await self.runners[runner].step()
            except Crash:
                pass
            finally:
                self.database._probe = None

        self.run(doomed())
        self.runners[runner] = self._runner()
        self._observe(before)

    @rule()
    def step_both(self) -> None:
        before = self._tasks()
        self._all_due()

        async def together() -> None:
            await asyncio.gather(*(runner.step() for runner in self.runners))

        self.run(together())
        self._observe(before)

    @precondition(lambda self: self.orders)
    @rule(pick=_PICK, verb=st.sampled_from(["pause", "resume", "resume", "cancel"]))
    def steer(self, pick: int, verb: str) -> None:
        name = sorted(self.orders)[pick % len(self.orders)]
        before = self._tasks()[name]
        try:
            after = self.run(getattr(self.tasks, verb)(name))
        except FluxaError:
            assert not before.open
        else:
            wanted = {"pause": RedriveState.PAUSED, "resume": RedriveState.RUNNING, "cancel": RedriveState.CANCELLED}
            assert after.state is wanted[verb]

    # No precondition here nor for `work`: what two runners at once have moved may differ when a run is repeated.
    @rule(picks=st.sets(_PICK, min_size=1, max_size=5))
    def purge(self, picks: set[int]) -> None:
        numbers = sorted(self.dead)
        if not numbers:
            return
        chosen = {numbers[pick % len(numbers)] for pick in picks}
        assert self.run(self.backend.purge(_QUEUE, [str(one) for one in chosen])) == len(chosen)
        self.left |= {self.dead.pop(number).name for number in chosen}

    @rule(again=st.booleans())
    def work(self, again: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """A worker takes what came back: done, or parked again as a new letter with its count of redrives."""
        if not self.queued:
            return

        async def settle() -> list[Letter]:
            claimed = await self.backend.claim(_QUEUE, limit=1000, lease_s=300)
            outcome = Dead("HandlerError", "again") if again else DONE
            await self.backend.settle([Settlement(one, (outcome,)) for one in claimed])
            back = await self.backend.dead_letters(
                _QUEUE, DeadLetterFilter(), limit=10_000, after=str(max(self.dead, default=0))
            )
            return [
                Letter(
                    int(one.message_id), _name(one.raw), "HandlerError", one.record.key or "", -1, 0, not one.readable
                )
                if not one.readable
                else Letter(
                    int(one.message_id), one.record.id, one.code, one.record.key or "", -1, one.record.redrives, False
                )
                for one in back
                if int(one.message_id) not in self.dead and _name(one.raw) in self.queued
            ]

        back = self.run(settle())
        for letter in back:
            self.dead[letter.number] = letter
        self.left |= self.queued - {letter.name for letter in back}
        self.queued.clear()

    def _tasks(self) -> dict[str, RedriveTask]:
        return {task.redrive_id: task for task in self.run(self.tasks.list(limit=10_000))}

    def _all_due(self) -> None:
        """The pace is another test's; here every running task's turn has come, for any runner."""
        self.run(self.database.execute("update fluxa.redrives set next_at = now() - interval '1 hour', runner = ''"))

    def _observe(self, before: dict[str, RedriveTask]) -> None:
        """What a step did must follow from the orders that were open when it began."""

        async def look() -> tuple[list[str], list[str], set[int]]:
            queue = await self.database.fetch("select message::text as raw from pgmq.q_machine order by msg_id")
            held = await self.database.fetch("select raw from fluxa.quarantine")
            dead = await self.database.fetch("select msg_id from pgmq.q_machine_dlq")
            return (
                [_name(one["raw"]) for one in queue],
                [_name(one["raw"]) for one in held],
                {x["msg_id"] for x in dead},
            )

        queue, held, dead = self.run(look())
        assert len(queue) == len(set(queue)), "a letter was moved twice"
        assert len(held) == len(set(held)), "a letter was quarantined twice"
        after = self._tasks()
        acted = [name for name, task in after.items() if task.handled != before[name].handled]
        gone = [self.dead[number] for number in sorted(self.dead.keys() - dead)]
        moved = {one.name: one for one in gone if one.name in queue}
        away = {one.name: one for one in gone if one.name in held}
        assert moved.keys() | away.keys() == {one.name for one in gone}, "a letter was lost"
        assert not moved.keys() & away.keys()
        assert set(queue) == self.queued | moved.keys()
        assert set(held) == self.quarantined | away.keys()
        assert sum(after[name].moved - before[name].moved for name in acted) == len(moved)
        assert sum(after[name].quarantined - before[name].quarantined for name in acted) == len(away)
        for verdict, letters in (("move", moved), ("quarantine", away)):
            for letter in letters.values():
                assert any(
                    letter.number in self.orders[name].meant and self.orders[name].verdict(letter) == verdict
                    for name in acted
                ), f"{letter} was not meant to {verdict}"
        if len(acted) == 1:
            order = self.orders[acted[0]]
            numbers = [moved[name].number for name in queue if name in moved]
            assert numbers == sorted(numbers)
            assert not numbers or not order.moved or order.moved[-1] < numbers[0], "the order was not kept"
            order.moved += numbers
        self.queued |= moved.keys()
        self.quarantined |= away.keys()
        for one in gone:
            del self.dead[one.number]

    @invariant()
    def counts_add_up(self) -> None:
        for name, task in self._tasks().items():
            order = self.orders[name]
            assert task.moved + task.refused + task.quarantined + task.gone == max(
                task.handled, task.total if task.state is RedriveState.DONE else 0
            )
            assert task.gone >= 0
            assert sum(task.refused_by_code.values()) + task.looped == task.refused
            if task.state is RedriveState.DONE:
                left = Counter(order.verdict(one) for number, one in order.meant.items() if number in self.dead)
                assert set(left) <= {"refuse"}, "done, and not all that was meant has moved"


def _name(raw: str) -> str:
    return str(json.loads(raw)["id"])


def test_redrives_do_what_the_model_says(postgres_server: str) -> None:
    with own_database(postgres_server) as (runner, database):
        drive(lambda: RedriveMachine(runner.run, database), examples=40, steps=30)


pytestmark = pytest.mark.req("QUEUE-9")
