"""A state machine drives each engine and a model side by side; whatever they disagree on is a fault (QUEUE-1)."""

import asyncio
import datetime as dt
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
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
from typing_extensions import override

from aws.queues import SqsHarness
from fluxa.kernel.errors import ErrorCode
from fluxa.queue.backend import DeadLetterFilter, Delivery, Envelope, KeyRule, QueueBackend, Settlement
from fluxa.queue.outcome import DONE, Dead, Outcome, Retry, Snooze
from fluxa.queue.record import DeadLetter, Record
from making.machines.driving import drive, own_database
from making.machines.queue_model import Item, Message, Model
from making.queues import MemoryHarness, PgmqHarness

T = TypeVar("T")
_RULES: Mapping[str, KeyRule | None] = {
    "machine": None,
    "machine_ordered": KeyRule(ordered=True),
    "machine_limited": KeyRule(limit=2),
}
_KEYS: Mapping[str, KeyRule] = {queue: rule for queue, rule in _RULES.items() if rule is not None}
_GROUPS = st.sampled_from(["a", "a", "b", "c", None])
# Coarse, since Postgres' own clock runs on a little while the model's stands still.
_LEASE_S, _DELAY_S = 3000.0, 1000.0
_KINDS = st.sampled_from(["done", "done", "retry", "retry later", "dead", "permanent", "snooze", "snooze later"])
_PICK = st.integers(0, 10_000)
STEPS = 40
"""How many a machine takes."""
_ALL = DeadLetterFilter()
Harness = MemoryHarness | PgmqHarness | SqsHarness


class QueueMachine(RuleBasedStateMachine):
    """Two workers, one queue, one model."""

    def __init__(
        self, run: Callable[[Coroutine[Any, Any, Any]], Any], fresh: Callable[[], Awaitable[Harness]], queue: str
    ) -> None:
        super().__init__()
        self.queue = queue
        self._run = run
        self._fresh = fresh
        self.model = Model(_RULES[queue])
        self.held: list[tuple[Delivery, Message]] = []
        self.ids: dict[tuple[str, ...], str] = {}
        self.open: list[tuple[Message, Callable[[bool], Awaitable[None]]]] = []
        self.count = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do it on the one loop of the test."""
        result: T = self._run(work)
        return result

    @initialize()
    def begin(self) -> None:
        async def prepare() -> tuple[Harness, list[QueueBackend]]:
            harness = await self._fresh()
            return harness, [await harness.worker(), await harness.worker()]

        self.harness, self.workers = self.run(prepare())

    def _message(self, size: int, delay_s: float = 0.0, group: str | None = None) -> tuple[Message, Envelope]:
        names = [f"r{self.count + n}" for n in range(size)]
        self.count += size
        now = self.harness.now()
        records = tuple(Record(id=name, body=b'{"v": "genuine"}', created_at=now, key=group) for name in names)
        return Message(tuple(map(Item, names)), self.model.now_s + delay_s, group=group), Envelope(records)

    @rule(sizes=st.lists(st.tuples(st.integers(1, 3), _GROUPS), min_size=1, max_size=4), late=st.booleans())
    def send(self, sizes: list[tuple[int, str | None]], late: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        delay_s = _DELAY_S if late else 0.0
        made = [self._message(size, delay_s, group) for size, group in sizes]
        ids = self.run(self.workers[0].send(self.queue, [envelope for _, envelope in made], delay_s=delay_s))
        assert ids == sorted(ids, key=int)
        for (message, _), message_id in zip(made, ids, strict=True):
            self.model.put(message)
            self.ids[message.key] = message_id

    @precondition(lambda self: len(self.open) < 2)
    @rule(group=_GROUPS)
    def begin_slow_send(self, group: str | None) -> None:
        message, envelope = self._message(1, group=group)
        if self.harness.takes_place_early:
            message = replace(message, place=self.model.reserve())
        self.open.append((message, self.run(self.harness.begin_send(self.queue, [envelope]))))

    @precondition(lambda self: self.open)
    @rule(pick=_PICK, commit=st.booleans())
    def end_slow_send(self, pick: int, commit: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        message, end = self.open.pop(pick % len(self.open))
        self.run(_awaited(end(commit)))
        if commit:
            self.model.put(replace(message, due_s=self.model.now_s))

    @rule()
    def put_foreign(self) -> None:
        message_id = self.run(self.harness.put(self.queue, '{"from": "elsewhere"}'))
        self.model.put(Message((Item(f"message-{message_id}"),), self.model.now_s))

    @precondition(lambda self: self._alterable())
    @rule(pick=_PICK)
    def alter(self, pick: int) -> None:
        keys = self._alterable()
        key = keys[pick % len(keys)]
        self.run(self.harness.alter(self.queue, self.ids.pop(key), "genuine", "tampered"))
        self.model.messages[key] = replace(self.model.messages[key], altered=True)

    def _alterable(self) -> list[tuple[str, ...]]:
        """Single messages that are still the ones first sent."""
        return [key for key in self.ids if len(key) == 1 and self.model.messages.get(key, _NONE).claims == 0]

    @rule(worker=st.integers(0, 1), limit=st.integers(1, 6))
    def claim(self, worker: int, limit: int) -> None:
        self._claim(worker, limit)

    def _claim(self, worker: int, limit: int) -> int:
        some = bool(self.model.ready())
        claimed = self.run(self.workers[worker].claim(self.queue, limit=limit, lease_s=_LEASE_S))
        assert len(claimed) <= limit
        assert bool(claimed) == some
        for delivery in claimed:
            key = _key(delivery)
            # Asked for each: what is claimed before it counts against the limit of its key.
            assert key in self.model.ready()
            message = self.model.claim(key, _LEASE_S)
            self.ids.pop(key, None)
            assert delivery.received_count == message.claims
            assert (delivery.defect is not None) == message.altered
            if delivery.defect is None:
                assert tuple(Item(one.id, one.attempt, one.redrives) for one in delivery.records) == message.items
            self.held.append((delivery, message))
        return len(claimed)

    def _picked(self, picks: list[int]) -> list[tuple[Delivery, Message]]:
        chosen = {pick % len(self.held) for pick in picks}
        return [self.held[number] for number in sorted(chosen)]

    @precondition(lambda self: self.held)
    @rule(
        worker=st.integers(0, 1),
        picks=st.lists(_PICK, min_size=1, max_size=4),
        kinds=st.lists(_KINDS, min_size=12, max_size=12),
    )
    def settle(self, worker: int, picks: list[int], kinds: list[str]) -> None:
        """Also deliveries that were settled before, or whose lease another worker has now."""
        chosen = _apart(self._picked(picks))
        settlements = []
        expected = []
        for delivery, message in chosen:
            made = [self._outcome(kinds.pop()) for _ in message.items]
            outcomes = tuple(outcome for outcome, _ in made)
            settlements.append(Settlement(delivery, outcomes))
            if not self.model.settle(message, outcomes, tuple(delay_s for _, delay_s in made)):
                expected.append(delivery)
        lost = self.run(self.workers[worker].settle(settlements))
        assert lost == expected

    def _outcome(self, kind: str) -> tuple[Outcome, float]:
        now = self.harness.now()
        later = now + dt.timedelta(seconds=_DELAY_S)
        outcomes: dict[str, tuple[Outcome, float]] = {
            "done": (DONE, 0.0),
            "retry": (Retry(now, "HandlerError", "x"), 0.0),
            "retry later": (Retry(later, "HandlerError", "x"), _DELAY_S),
            "dead": (Dead("HandlerError", "x"), 0.0),
            "permanent": (Dead("PayloadMissing", "x"), 0.0),
            "snooze": (Snooze(now), 0.0),
            "snooze later": (Snooze(later), _DELAY_S),
        }
        return outcomes[kind]

    @precondition(lambda self: self.held)
    @rule(worker=st.integers(0, 1), picks=st.lists(_PICK, min_size=1, max_size=4))
    def extend(self, worker: int, picks: list[int]) -> None:
        chosen = _apart(self._picked(picks))
        expected = [delivery for delivery, message in chosen if not self.model.extend(message, _LEASE_S)]
        lost = self.run(self.workers[worker].extend([delivery for delivery, _ in chosen], lease_s=_LEASE_S))
        assert lost == expected

    @rule(seconds=st.sampled_from([100.0, 700.0, 1100.0, 3100.0]))
    def pass_time(self, seconds: float) -> None:
        self.run(self.harness.pass_time(seconds))
        self.model.now_s += seconds

    @rule(worker=st.integers(0, 1))
    def crash(self, worker: int) -> None:
        """A new process in its place knows nothing of what the old one claimed; that one may still be late."""
        self.workers[worker] = self.run(self.harness.worker())

    def _letters(self) -> list[DeadLetter]:
        return self.run(self.workers[0].dead_letters(self.queue, _ALL, limit=10_000))

    @precondition(lambda self: self.model.dead)
    @rule(picks=st.lists(_PICK, min_size=1, max_size=4), again=st.booleans())
    def clear_dead_letters(self, picks: list[int], again: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        letters = self._letters()
        chosen = {letters[pick % len(letters)].message_id: _name(letters[pick % len(letters)]) for pick in picks}
        verb = self.workers[1].redrive if again else self.workers[1].purge
        assert self.run(verb(self.queue, [*chosen, "123456789"])) == len(chosen)
        for name in chosen.values():
            if again:
                self.model.redrive(name)
            else:
                del self.model.dead[name]

    @invariant()
    def counts_agree(self) -> None:
        state = self.run(self.workers[0].metrics(self.queue))
        assert (state.depth, state.ready, state.in_flight, state.dead) == (
            len(self.model.messages),
            self.model.due(),
            self.model.leased(),
            len(self.model.dead),
        )

    @override
    def teardown(self) -> None:
        """Every record is where the model says: claimable in the end, or parked; in one place."""
        if not hasattr(self, "harness"):
            return
        for _, end in self.open:
            self.run(_awaited(end(False)))
        letters = self._letters()
        assert {_name(letter): (letter.code, letter.readable) for letter in letters} == {
            name: (parked.code, not parked.altered) for name, parked in self.model.dead.items()
        }
        assert all(
            letter.attempts == self.model.dead[_name(letter)].item.attempt for letter in letters if letter.readable
        )
        self.pass_time(10_000.0)
        left = set(self.model.messages)
        found: set[tuple[str, ...]] = set()
        while claimed := self._claim(0, 4):
            for delivery, message in self.held[-claimed:]:
                found.add(message.key)
                assert self.model.settle(message, (DONE,) * len(message.items), (0.0,) * len(message.items))
                outcomes = (DONE,) * (1 if delivery.defect else len(delivery.records))
                assert self.run(self.workers[0].settle([Settlement(delivery, outcomes)])) == []
        assert found == left


_NONE = Message((), 0.0, claims=-1)


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def _key(delivery: Delivery) -> tuple[str, ...]:
    if delivery.defect is not None:
        assert delivery.defect.code == ErrorCode.HASH_MISMATCH
        return (str(json.loads(delivery.raw)["id"]),)
    return tuple(record.id for record in delivery.records)


def _name(letter: DeadLetter) -> str:
    return letter.record.id if letter.readable else str(json.loads(letter.record.body)["id"])


def _apart(chosen: list[tuple[Delivery, Message]]) -> list[tuple[Delivery, Message]]:
    """One delivery a message: a worker settles what it has, and it has a message once."""
    return list({message.key: (delivery, message) for delivery, message in chosen}.values())


@pytest.mark.req("QUEUE-1", "QUEUE-3", "QUEUE-5", "QUEUE-8", "QUEUE-9")
@pytest.mark.parametrize("queue", _RULES)
def test_the_twin_in_memory_does_what_the_model_does(queue: str) -> None:
    async def fresh() -> Harness:
        harness = MemoryHarness(_KEYS)
        await (await harness.worker()).create(queue)
        return harness

    with asyncio.Runner() as runner:
        drive(lambda: QueueMachine(runner.run, fresh, queue), examples=80, steps=STEPS)


@pytest.mark.req("QUEUE-1", "QUEUE-3", "QUEUE-5", "QUEUE-8", "QUEUE-9")
@pytest.mark.parametrize("queue", _RULES)
def test_pgmq_does_what_the_model_does(postgres_server: str, queue: str) -> None:
    with own_database(postgres_server) as (runner, database):

        async def fresh() -> Harness:
            harness = PgmqHarness(database, _KEYS)
            await (await harness.worker()).create(queue)
            await database.execute(f"truncate pgmq.q_{queue}, pgmq.q_{queue}_dlq restart identity")
            return harness

        drive(lambda: QueueMachine(runner.run, fresh, queue), examples=40, steps=STEPS)
