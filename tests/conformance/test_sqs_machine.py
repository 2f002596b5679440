"""The state machine over SQS on a real server (QUEUE-1), with the model made weaker where SQS is: see `SqsMachine`."""

import asyncio
import dataclasses
import uuid

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from typing_extensions import override

from aws.queues import SqsHarness
from aws.servers import Ministack
from conformance.test_queue_machine import (
    _DELAY_S,
    _GROUPS,
    _KEYS,
    _KINDS,
    _LEASE_S,
    _PICK,
    _RULES,
    STEPS,
    Harness,
    QueueMachine,
    _apart,
)
from fluxa.queue.backend import Delivery, Settlement
from fluxa.queue.backends.sqs import Sqs
from fluxa.queue.backends.sqs.wire import group_of
from fluxa.queue.outcome import Done
from making.machines.driving import drive, own_database
from making.machines.queue_model import Message, Model


class Lanes(Model):
    """The model, where a key that may be leased more than once has so many groups."""

    @override
    def ready(self) -> dict[tuple[str, ...], Message]:
        found = super().ready()
        if self.rule is None or self.rule.ordered:
            return found
        leased = {self._lane(one) for one in self.messages.values() if one.claims and one.due_s > self.now_s}
        return {key: one for key, one in found.items() if self._lane(one) not in leased}

    def _lane(self, message: Message) -> str:
        assert self.rule is not None
        return group_of(message.group, message.items[0].name, self.rule)


class SqsMachine(QueueMachine):
    """As the machine, but for what SQS cannot promise.

    - Ids have no order, and a message that goes by the outbox has another id when it arrives.
    - A lease that ended by the worker's own clock is not settled any more, unless all is done: Amazon's standard
      queues may take a late receipt handle for a good one, so asking the server would not be enough.
    - In FIFO queues not even a deletion may come late, and a key that may have several messages under lease at once has
      so many groups: two messages of one group are never leased together, so it may be fewer than the limit.
    - In an ordered queue a message that rests in its place counts as in flight, one that waits in the outbox behind a
      delayed one of its key is not ready, and of two sends at the same time either may be first.
    - Who extended a lease must be the one to settle it: the other worker's clock does not know of it.
    """

    @initialize()
    @override
    def begin(self) -> None:
        super().begin()
        self.model = Lanes(self.model.rule)
        self.known: set[tuple[int, str]] = set()
        self.everybody: list[object] = [*self.workers]  # kept, so that ids stay theirs

    @rule(worker=st.integers(0, 1))
    @override
    def crash(self, worker: int) -> None:
        super().crash(worker)
        self.everybody.append(self.workers[worker])

    @rule(sizes=st.lists(st.tuples(st.integers(1, 3), _GROUPS), min_size=1, max_size=4), late=st.booleans())
    @override
    def send(self, sizes: list[tuple[int, str | None]], late: bool) -> None:
        delay_s = _DELAY_S if late else 0.0
        made = [self._message(size, delay_s, group) for size, group in sizes]
        ids = self.run(self.workers[0].send(self.queue, [envelope for _, envelope in made], delay_s=delay_s))
        for (message, _), message_id in zip(made, ids, strict=True):
            self.model.put(message)
            if not late and not message_id.startswith("outbox:"):
                self.ids[message.key] = message_id

    @override
    def _claim(self, worker: int, limit: int) -> int:
        before = len(self.held)
        count = super()._claim(worker, limit)
        self.known |= {(id(self.workers[worker]), delivery.receipt) for delivery, _ in self.held[before:]}
        return count

    def _own(self, worker: int, picks: list[int]) -> list[tuple[Delivery, Message]]:
        """What this worker may act on: it knows of the lease, or nobody alive does."""
        mine, all_ = id(self.workers[worker]), {id(one) for one in self.workers}
        return [
            (delivery, message)
            for delivery, message in _apart(self._picked(picks))
            if (mine, delivery.receipt) in self.known
            or (self.model.rule is None and not any((one, delivery.receipt) in self.known for one in all_))
        ]

    @precondition(lambda self: len(self.open) < 2 and not (self.model.rule and self.model.rule.ordered))
    @rule(group=_GROUPS)
    @override
    def begin_slow_send(self, group: str | None) -> None:
        super().begin_slow_send(group)

    @invariant()
    @override
    def counts_agree(self) -> None:
        state = self.run(self.workers[0].metrics(self.queue))
        due, dead = self.model.due(), len(self.model.dead)
        assert (state.depth, state.dead) == (len(self.model.messages), dead)
        resting = self.model.rule is not None and self.model.rule.ordered
        assert state.ready is not None
        assert state.ready <= due if resting else state.ready == due
        leased = self.model.leased()
        assert state.in_flight is not None
        assert state.in_flight >= leased if resting else state.in_flight == leased

    @precondition(lambda self: self.held)
    @rule(
        worker=st.integers(0, 1),
        picks=st.lists(_PICK, min_size=1, max_size=4),
        kinds=st.lists(_KINDS, min_size=12, max_size=12),
    )
    @override
    def settle(self, worker: int, picks: list[int], kinds: list[str]) -> None:
        settlements, expected = [], []
        for delivery, message in self._own(worker, picks):
            made = [self._outcome(kinds.pop()) for _ in message.items]
            outcomes = tuple(outcome for outcome, _ in made)
            settlements.append(Settlement(delivery, outcomes))
            current = self.model.messages.get(message.key)
            over = (
                (id(self.workers[worker]), delivery.receipt) in self.known
                and current is not None
                and current.due_s <= self.model.now_s
                and not (self.model.rule is None and all(isinstance(outcome, Done) for outcome in outcomes))
            )
            if over or not self.model.settle(message, outcomes, tuple(delay_s for _, delay_s in made)):
                expected.append(delivery)
        assert self.run(self.workers[worker].settle(settlements)) == expected

    @precondition(lambda self: self.held)
    @rule(worker=st.integers(0, 1), picks=st.lists(_PICK, min_size=1, max_size=4))
    @override
    def extend(self, worker: int, picks: list[int]) -> None:
        chosen = self._own(worker, picks)
        expected = [delivery for delivery, message in chosen if not self.model.extend(message, _LEASE_S)]
        lost = self.run(self.workers[worker].extend([delivery for delivery, _ in chosen], lease_s=_LEASE_S))
        assert lost == expected
        self.known |= {(id(self.workers[worker]), one.receipt) for one, _ in chosen if one not in lost}


@pytest.mark.req("QUEUE-1", "QUEUE-3", "QUEUE-8", "QUEUE-9")
@pytest.mark.parametrize("queue", _RULES)
def test_sqs_does_what_the_model_does(ministack: Ministack, postgres_server: str, queue: str) -> None:
    with own_database(postgres_server) as (runner, database):
        sqs = Sqs(dataclasses.replace(ministack.sqs, prefix=f"machine-{uuid.uuid4().hex[:12]}-"))
        runner.run(sqs.start())

        async def fresh() -> Harness:
            harness = SqsHarness(ministack, sqs, database, _KEYS)
            await (await harness.worker()).create(queue)
            await database.execute(f"truncate pgmq.q_{queue}_outbox, pgmq.q_{queue}_dlq restart identity")
            await asyncio.to_thread(ministack.tell, do="wipe")
            return harness

        try:
            drive(lambda: SqsMachine(runner.run, fresh, queue), examples=10, steps=STEPS)
        finally:
            runner.run(sqs.stop())
