"""Sends on what waits in outboxes. It may die at any point: a message that it sent and kept is only sent twice."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError, retry_class
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database
from fluxa.queue.backend import Delivery, ParkedText, QueueBackend, Settlement
from fluxa.queue.backends.parking import Facts, write_facts
from fluxa.queue.backends.pgmq.dead_letters import DeadLetters
from fluxa.queue.backends.pgmq.outbox import Outbox, outbox_of
from fluxa.queue.backends.sqs.queues import Place, Places
from fluxa.queue.backends.sqs.sending import Sender
from fluxa.queue.backends.sqs.wire import Outgoing, dedup_of, group_of, unstored
from fluxa.queue.outcome import DONE, Done
from fluxa.telemetry.catalogue import Hook, OutageBegan, OutageEnded

_LEASE_S = 60.0
_AT_ONCE = 100
_IDLE_MIN_S, _IDLE_MAX_S = 0.05, 2.0
_FAILED_MAX_S = 10.0
_STOP_WITHIN_S = 10.0
_DEPENDENCY = "sqs"
_HOPELESS = frozenset({ErrorCode.PROVIDER_REJECTED.value, ErrorCode.EVENT_TOO_LARGE.value})


@dataclass(frozen=True, slots=True)
class _Ends:
    database: Database
    places: Places
    sender: Sender
    dead: DeadLetters


class Relay:
    """Moves messages from outboxes to SQS. Any number may run side by side.

    Args:
        boxes: the engine of the outboxes.
        outbox: gives out what is to be sent on in order.
        database: where outboxes and dead letters are.
        places: the queues in SQS.
        sender: sends to them.
        dead: takes what SQS will never take.
        clock: the time.
    """

    def __init__(
        self,
        boxes: QueueBackend,
        outbox: Outbox,
        database: Database,
        *,
        places: Places,
        sender: Sender,
        dead: DeadLetters,
        clock: Clock,
    ) -> None:
        self._boxes = boxes
        self._outbox = outbox
        self._to = _Ends(database, places, sender, dead)
        self._clock = clock

    async def drain(self, queue: str) -> int:
        """Send on all that is due; returns how many messages.

        Raises:
            FluxaError: an outage; what was not sent waits.
        """
        moved = 0
        while count := await self.turn(queue):
            moved += count
        return moved

    async def turn(self, queue: str) -> int:
        """Send on some of what is due; returns how many messages.

        Raises:
            FluxaError: an outage; what was not sent waits.
        """
        if (await self._to.places.find(queue)).ordered:
            claimed = await self._outbox.claim_in_order(queue, limit=_AT_ONCE, lease_s=_LEASE_S)
        else:
            claimed = await self._boxes.claim(outbox_of(queue), limit=_AT_ONCE, lease_s=_LEASE_S)
        if not claimed:
            return 0
        try:
            await self._forward(queue, claimed)
        except BaseException:
            await self._boxes.extend(claimed, lease_s=0.0)  # others, or the next turn, need not wait for the lease
            raise
        return len(claimed)

    async def _forward(self, queue: str, claimed: Sequence[Delivery]) -> None:
        place = await self._to.places.find(queue)
        messages = [_outgoing(place, delivery) for delivery in claimed]
        try:
            await self._to.sender.send(queue, messages)
        except FluxaError as error:
            if error.code not in _HOPELESS:
                raise
            await self._one_by_one(place, claimed)
        else:
            await self._boxes.settle([Settlement(one, _done(one)) for one in claimed])

    async def _one_by_one(self, place: Place, claimed: Sequence[Delivery]) -> None:
        """Find what SQS refuses for good, and park it; the rest goes on."""
        for delivery in claimed:
            try:
                await self._to.sender.send(place.queue, [_outgoing(place, delivery)])
            except FluxaError as error:
                if error.code not in _HOPELESS:
                    raise
                await self._park(place.queue, delivery, error)
            else:
                await self._boxes.settle([Settlement(delivery, _done(delivery))])

    async def _park(self, queue: str, delivery: Delivery, error: FluxaError) -> None:
        now = self._clock.now()
        facts = Facts(
            queue=queue,
            code=error.code,
            retry=retry_class(error.code),
            reason=error.detail,
            attempts=delivery.received_count,
            first_failed_at=now,
            last_failed_at=now,
            readable=delivery.defect is None,
            redrives=delivery.records[0].redrives if delivery.records else 0,
        )
        async with self._to.database.transaction() as tx:
            await self._to.dead.park(tx, queue, [ParkedText(delivery.raw, write_facts(facts))])
            await self._boxes.settle([Settlement(delivery, _done(delivery))], tx=tx)


class RelayService:
    """Sends on what waits in the outboxes of some queues, until it is stopped. A `fluxa.kernel.lifecycle.Service`.

    Any number of processes may run it. An outage is told once, and ridden out.

    Args:
        relay: sends on.
        create: makes a queue if it does not exist yet.
        queues: the queues.
        listener: wakes it; without one it looks every second or two.
        clock: the time.
        hook: hears of outages.
        chance: in [0, 1), keeps processes from looking in step.
    """

    def __init__(
        self,
        relay: Relay,
        create: Callable[[str], Awaitable[None]],
        queues: Sequence[str],
        *,
        listener: Listener | None,
        clock: Clock,
        hook: Hook,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._relay = relay
        self._create = create
        self._queues = tuple(queues)
        self._listener = listener
        self._clock = clock
        self._hook = hook
        self._chance = chance
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._out_since_s: dict[str, float] = {}

    async def start(self) -> None:
        """Begin; SQS need not answer yet."""
        if not self._tasks:
            self._stopping.clear()
            self._tasks = [asyncio.create_task(self._run(queue), name=f"relay-{queue}") for queue in self._queues]

    async def stop(self) -> None:
        """Finish the turns that were begun; what waits stays in the outboxes."""
        tasks, self._tasks = self._tasks, []
        self._stopping.set()
        for queue in self._queues if tasks else ():
            if self._listener is not None:
                self._listener.hear(outbox_of(queue))
        if tasks:
            await asyncio.wait(tasks, timeout=_STOP_WITHIN_S)
        for task in tasks:
            await cancel_and_wait(task)

    async def _run(self, queue: str) -> None:
        made = False
        pause_s = _IDLE_MIN_S
        while not self._stopping.is_set():
            try:
                if not made:
                    await self._create(queue)
                    made = True
                moved = await self._relay.turn(queue)
            except FluxaError as error:
                self._failed(queue, error.detail)
                pause_s = min(_FAILED_MAX_S, pause_s * 2)
                await self._rest(pause_s)
                continue
            self._worked(queue)
            if moved:
                pause_s = _IDLE_MIN_S
            else:
                pause_s = _IDLE_MIN_S if await self._woken(queue, pause_s) else min(_IDLE_MAX_S, pause_s * 2)

    async def _woken(self, queue: str, pause_s: float) -> bool:
        """Wait for something to be put; a delay comes to its end unannounced."""
        spread_s = pause_s * (0.75 + self._chance() / 2)
        if self._listener is not None:
            return await self._listener.wait(outbox_of(queue), spread_s)
        await self._rest(spread_s)
        return False

    async def _rest(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _failed(self, queue: str, detail: str) -> None:
        if not self._out_since_s:
            self._hook(OutageBegan(_DEPENDENCY, detail))
        self._out_since_s.setdefault(queue, self._clock.monotonic())

    def _worked(self, queue: str) -> None:
        since_s = self._out_since_s.pop(queue, None)
        if since_s is not None and not self._out_since_s:
            self._hook(OutageEnded(_DEPENDENCY, self._clock.monotonic() - since_s))


def _done(delivery: Delivery) -> tuple[Done, ...]:
    return (DONE,) * max(1, len(delivery.records))


def _outgoing(place: Place, delivery: Delivery) -> Outgoing:
    text = unstored(delivery.raw)
    if place.rule is None:
        return Outgoing(text)
    first = delivery.records[0] if delivery.records else None
    return Outgoing(
        text,
        group=group_of(first.key if first else None, first.id if first else delivery.message_id, place.rule),
        dedup=dedup_of("outbox", place.queue, delivery.message_id, delivery.enqueued_at.isoformat()),
    )
