"""Carries out outcomes on SQS: what follows is stored first and the message deleted last, so that nothing is lost."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fluxa.kernel.clock import Clock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import Delivery, ParkedText, Settlement
from fluxa.queue.backends.pgmq.dead_letters import DeadLetters
from fluxa.queue.backends.pgmq.outbox import Outbox, Waiting
from fluxa.queue.backends.settling import Again, Effects, Kept, effects
from fluxa.queue.backends.sqs.kept import KeptMessages, KeptText
from fluxa.queue.backends.sqs.leases import Leases
from fluxa.queue.backends.sqs.queues import Place, Places
from fluxa.queue.backends.sqs.sending import Sender
from fluxa.queue.backends.sqs.wire import DELAY_MAX_S, VISIBILITY_MAX_S, Outgoing, dedup_of, group_of, seconds, storable
from fluxa.queue.envelope import decode
from fluxa.queue.record import Record

_SAFE_S = 30.0
"""A lease is renewed to last at least so long before anything is sent again or parked for its message."""
_Planned = tuple[Delivery, Effects]


class _Stage(enum.Enum):
    """How far a delivery has come in a settlement that failed half-way."""

    CARRIED = enum.auto()
    """What follows is stored; the message is still to be deleted."""
    GONE = enum.auto()
    """The message is deleted, or rests in its place."""


@dataclass(frozen=True, slots=True)
class _Stores:
    """Where messages and dead letters go."""

    database: Database
    outbox: Outbox
    dead: DeadLetters
    kept: KeptMessages
    sender: Sender


class Settler:
    """The settling half of the SQS backend.

    A settlement that fails half-way raises, and can be given again: what was carried out is not repeated by this
    process. A process that dies half-way leaves its messages to be delivered again beside what it already sent.
    """

    def __init__(self, places: Places, leases: Leases, stores: _Stores, clock: Clock) -> None:
        self._places = places
        self._leases = leases
        self._to = stores
        self._clock = clock
        self._stages: dict[str, _Stage] = {}

    async def settle(self, settlements: Sequence[Settlement]) -> list[Delivery]:
        """As `QueueBackend.settle`, for one queue."""
        now = self._clock.now()
        place = await self._places.find(settlements[0].delivery.queue)
        planned = [(one.delivery, effects(one, now=now, in_place=place.ordered)) for one in settlements]
        follow = [plan for plan in planned if _follows(plan[1]) and plan[0].receipt not in self._stages]
        lost = await self._fenced_out([delivery for delivery, _ in follow])
        if place.rule is not None:  # a FIFO queue takes no late deletion
            lost += [one for one, what in planned if not _follows(what) and self._leases.left_s(one) <= 0]
        await self._carry_out(place, [plan for plan in follow if plan[0] not in lost])
        left = [
            (delivery, what)
            for delivery, what in planned
            if delivery not in lost and self._stages.get(delivery.receipt) is not _Stage.GONE
        ]
        for delivery, what in left:
            if what.kept is not None:
                await self._rest(delivery, what.kept)
        lost += await self._delete(place, [delivery for delivery, what in left if what.kept is None])
        for delivery, _ in planned:
            self._stages.pop(delivery.receipt, None)
        return [delivery for delivery, _ in planned if delivery in lost]

    async def _fenced_out(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Whose lease is lost, or has ended: only a deletion may come late, since it can lose nothing that is not done.

        The others' leases are renewed, so that nobody else gets a message between what follows and its deletion.
        """
        over = [delivery for delivery in deliveries if self._leases.is_over(delivery)]
        held = [delivery for delivery in deliveries if delivery not in over]
        lease_s = max([_SAFE_S, *(self._leases.left_s(delivery) for delivery in held)])
        return over + await self._leases.extend(held, lease_s)

    async def _carry_out(self, place: Place, planned: Sequence[_Planned]) -> None:
        """Store what follows: in SQS what it can keep, the rest in one transaction."""
        if not planned:
            return
        found = _following(place, planned)
        if found.direct:
            await self._to.sender.send(place.queue, found.direct)
        if found.waiting or found.parked or found.kept:
            async with self._to.database.transaction() as handle:
                if found.parked:
                    await self._to.dead.park(handle, place.queue, found.parked)
                if found.waiting:
                    await self._to.outbox.put(handle, place.queue, found.waiting)
                if found.kept:
                    await self._to.kept.write(handle, place.queue, found.kept)
        for delivery, _ in planned:
            self._stages[delivery.receipt] = _Stage.CARRIED

    async def _rest(self, delivery: Delivery, kept: Kept) -> None:
        """Leave a message in its place until it is due; its lease is how SQS keeps it there."""
        await self._leases.extend([delivery], min(kept.delay_s, VISIBILITY_MAX_S))
        self._leases.give_up(delivery)
        self._stages[delivery.receipt] = _Stage.GONE

    async def _delete(self, place: Place, deliveries: Sequence[Delivery]) -> list[Delivery]:
        lost = await self._leases.delete(deliveries)
        for delivery in deliveries:
            if delivery not in lost:
                self._stages[delivery.receipt] = _Stage.GONE
        # What was carried out is done, even if a long pause has let somebody else have the message by now.
        lost = [one for one in lost if self._stages.get(one.receipt) is not _Stage.CARRIED]
        if place.ordered:
            again = [one.message_id for one in deliveries if one not in lost]
            await self._to.kept.remove(place.queue, again)
        return lost


def stores(database: Database, outbox: Outbox, dead: DeadLetters, kept: KeptMessages, sender: Sender) -> _Stores:
    """Where a settler stores what follows."""
    return _Stores(database, outbox, dead, kept, sender)


def by_queue(settlements: Sequence[Settlement]) -> Mapping[str, list[Settlement]]:
    """Settlements by the queue of their delivery."""
    found: dict[str, list[Settlement]] = {}
    for settlement in settlements:
        found.setdefault(settlement.delivery.queue, []).append(settlement)
    return found


@dataclass(slots=True)
class _Following:
    """What is to be stored before messages are deleted."""

    direct: list[Outgoing] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    parked: list[ParkedText] = field(default_factory=list)
    kept: list[KeptText] = field(default_factory=list)


def _follows(what: Effects) -> bool:
    return bool(what.again or what.parked or what.kept)


def _following(place: Place, planned: Sequence[_Planned]) -> _Following:
    found = _Following()
    for delivery, what in planned:
        found.parked += [ParkedText(storable(one.message), one.facts) for one in what.parked]
        if what.kept is not None:
            found.kept.append(KeptText(delivery.message_id, delivery.received_count, what.kept.message))
        _sort(place, delivery, what.again, found)
    return found


def _sort(place: Place, delivery: Delivery, again: Sequence[Again], found: _Following) -> None:
    """What SQS can keep until it is due goes to SQS; what is due later, or is delayed in a FIFO queue, waits here."""
    for number, one in enumerate(again):
        delay_s = seconds(one.delay_s)
        if delay_s > (0 if place.rule else DELAY_MAX_S):
            found.waiting.append(Waiting(storable(one.message), one.delay_s))
            continue
        group = dedup = ""
        if place.rule is not None:
            record = _first(one.message, delivery)
            group = group_of(record.key, record.id, place.rule)
            dedup = dedup_of("again", delivery.message_id, str(delivery.received_count), str(number), one.message)
        found.direct.append(Outgoing(one.message, delay_s=delay_s, group=group, dedup=dedup))


def _first(text: str, delivery: Delivery) -> Record:
    """The record of a message that was made of one."""
    content = decode(text, message_id=delivery.message_id, enqueued_at=delivery.enqueued_at)
    if isinstance(content, tuple):
        return content[0]
    return Record(id=f"message-{delivery.message_id}", body=b"", created_at=delivery.enqueued_at)
