"""A queue engine in memory, the twin of the real ones: same port, same message texts, time from a clock."""

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.transaction import Transaction
from fluxa.queue.backend import (
    Capabilities,
    DeadLetterFilter,
    DeadSummary,
    Defect,
    Delivery,
    Envelope,
    KeyRule,
    ParkedText,
    QueueMetrics,
    Settlement,
    SlowFacts,
)
from fluxa.queue.backends.parking import is_meant, key_of, read_code, read_letter, redriven, with_key
from fluxa.queue.backends.settling import effects, one_key_each
from fluxa.queue.envelope import decode, encode
from fluxa.queue.record import DeadLetter


@dataclass(slots=True)
class _Message:
    raw: str
    enqueued_at: dt.datetime
    visible_at: dt.datetime
    read_count: int = 0
    facts: str | None = None
    key: str | None = None
    settled: int = 0

    def is_leased(self, now: dt.datetime) -> bool:
        return self.visible_at > now and self.read_count > self.settled


@dataclass(slots=True)
class _Queue:
    messages: dict[int, _Message] = field(default_factory=dict)
    dead: dict[int, _Message] = field(default_factory=dict)
    last_id: int = 0
    last_dead_id: int = 0
    sent: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryBackend:
    """A `QueueBackend` for tests of handlers and workers; nothing outlives the process."""

    def __init__(self, clock: Clock, *, keys: Mapping[str, KeyRule] | None = None) -> None:
        self._clock = clock
        self._keys = keys or {}
        self._queues: dict[str, _Queue] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do: everything but to take part in a Postgres transaction."""
        return Capabilities(
            transactional_send=False,
            transactional_settle=False,
            max_message_bytes=2**31,
            max_delay_s=10 * 365 * 86400.0,
        )

    def capabilities_of(self, queue: str) -> Capabilities:  # noqa: ARG002 - the same for all
        """As `capabilities`."""
        return self.capabilities

    async def create(self, queue: str) -> None:
        """As `QueueBackend.create`."""
        self._queues.setdefault(queue, _Queue())

    async def send(
        self,
        queue: str,
        envelopes: Sequence[Envelope],
        *,
        delay_s: float = 0.0,
        tx: Transaction | None = None,
    ) -> list[str]:
        """As `QueueBackend.send`."""
        _refuse(tx)
        keys = one_key_each(envelopes) if queue in self._keys else [None] * len(envelopes)
        texts = [encode(envelope) for envelope in envelopes]
        return [self.put(queue, [text], delay_s=delay_s, key=key)[0] for text, key in zip(texts, keys, strict=True)]

    def put(self, queue: str, texts: Iterable[str], *, delay_s: float = 0.0, key: str | None = None) -> list[str]:
        """Store message texts as another program would; returns their message ids."""
        found = self._find(queue)
        ids = []
        now = self._clock.now()
        for text in texts:
            found.last_id += 1
            found.messages[found.last_id] = _Message(text, now, now + dt.timedelta(seconds=delay_s), key=key)
            ids.append(str(found.last_id))
        found.sent.set()
        return ids

    async def claim(self, queue: str, *, limit: int, lease_s: float, wait_s: float = 0.0) -> list[Delivery]:
        """As `QueueBackend.claim`; waiting ends early only by a `send`, since the clock may be a test's."""
        found = self._find(queue)
        found.sent.clear()
        claimed = self._claim_now(queue, found, limit, lease_s)
        if claimed or wait_s <= 0:
            return claimed
        try:
            async with asyncio.timeout(wait_s):
                while not claimed:
                    await found.sent.wait()
                    found.sent.clear()
                    claimed = self._claim_now(queue, found, limit, lease_s)
        except TimeoutError:
            return self._claim_now(queue, found, limit, lease_s)
        return claimed

    def _claim_now(self, queue: str, found: _Queue, limit: int, lease_s: float) -> list[Delivery]:
        now = self._clock.now()
        rule = self._keys.get(queue)
        held = Counter(message.key for message in found.messages.values() if message.is_leased(now))
        passed: set[str | None] = set()
        claimed: list[Delivery] = []
        for number, message in found.messages.items():
            key = message.key
            free = (
                rule is None or key is None or (held[key] < (1 if rule.ordered else rule.limit) and key not in passed)
            )
            if rule is not None and rule.ordered:
                passed.add(key)
            if not free or message.visible_at > now or len(claimed) == limit:
                continue
            held[key] += 1
            message.read_count += 1
            message.visible_at = now + dt.timedelta(seconds=lease_s)
            claimed.append(_delivery(queue, number, message))
        return claimed

    async def settle(self, settlements: Sequence[Settlement], *, tx: Transaction | None = None) -> list[Delivery]:
        """As `QueueBackend.settle`."""
        _refuse(tx)
        now = self._clock.now()
        planned = [(one.delivery, effects(one, now=now, in_place=self._is_ordered(one))) for one in settlements]
        lost = []
        for delivery, what in planned:
            found = self._find(delivery.queue)
            if not _is_held(found, delivery):
                lost.append(delivery)
                continue
            message = found.messages[int(delivery.message_id)]
            if what.kept is None:
                del found.messages[int(delivery.message_id)]
            else:
                message.raw = what.kept.message
                message.visible_at = now + dt.timedelta(seconds=what.kept.delay_s)
                message.read_count = message.settled = message.read_count + 1
                found.sent.set()
            for again in what.again:
                self.put(delivery.queue, [again.message], delay_s=again.delay_s, key=message.key)
            for parked in what.parked:
                found.last_dead_id += 1
                facts = with_key(parked.facts, message.key)
                found.dead[found.last_dead_id] = _Message(parked.message, now, now, facts=facts)
        return lost

    async def extend(self, deliveries: Sequence[Delivery], *, lease_s: float) -> list[Delivery]:
        """As `QueueBackend.extend`."""
        lost = []
        for delivery in deliveries:
            found = self._find(delivery.queue)
            message = found.messages.get(int(delivery.message_id))
            # A lease that ran out may be another message's turn of the key by now, so that one is not revived.
            late = message is None or (delivery.queue in self._keys and message.visible_at <= self._clock.now())
            if message is not None and not late and _is_held(found, delivery):
                message.visible_at = self._clock.now() + dt.timedelta(seconds=lease_s)
            else:
                lost.append(delivery)
        return lost

    async def metrics(self, queue: str) -> QueueMetrics:
        """As `QueueBackend.metrics`, always exact."""
        found = self._find(queue)
        now = self._clock.now()
        oldest = next(iter(found.messages.values()), None)
        return QueueMetrics(
            depth=len(found.messages),
            ready=sum(message.visible_at <= now for message in found.messages.values()),
            in_flight=sum(message.is_leased(now) for message in found.messages.values()),
            oldest_age_s=(now - oldest.enqueued_at).total_seconds() if oldest else 0.0,
            dead=len(found.dead),
        )

    async def why_slow(self, queue: str) -> SlowFacts:
        """As `QueueBackend.why_slow`: nothing slows it."""
        self._find(queue)
        return SlowFacts(holders=(), holders_complete=True, dead_rows=0)

    async def dead_letters(
        self, queue: str, which: DeadLetterFilter, *, limit: int, after: str | None = None
    ) -> list[DeadLetter]:
        """As `QueueBackend.dead_letters`."""
        found = self._find(queue).dead
        numbers = [number for number in _meant(found, which) if number > int(after or 0)]
        return [_letter(queue, number, found[number]) for number in numbers[:limit]]

    async def summarize_dead(self, queue: str, which: DeadLetterFilter) -> DeadSummary:
        """As `QueueBackend.summarize_dead`."""
        found = self._find(queue).dead
        letters = [_letter(queue, number, found[number]) for number in _meant(found, which)]
        # An altered letter counts by the code that parked it, as its headers say.
        codes = Counter(read_code(letter.facts) for letter in letters)
        oldest_at = min((letter.last_failed_at for letter in letters), default=None)
        return DeadSummary(codes, oldest_at, letters[-1].message_id if letters else None)

    async def withdraw(
        self, queue: str, message_ids: Sequence[str], *, tx: Transaction | None = None
    ) -> list[DeadLetter]:
        """As `QueueBackend.withdraw`."""
        _refuse(tx)
        found = self._find(queue).dead
        numbers = sorted({int(one) for one in message_ids if one.isdecimal()} & found.keys())
        return [_letter(queue, number, found.pop(number)) for number in numbers]

    async def park(self, queue: str, parked: Sequence[ParkedText], *, tx: Transaction | None = None) -> list[str]:
        """As `QueueBackend.park`."""
        _refuse(tx)
        found, now = self._find(queue), self._clock.now()
        ids = []
        for one in parked:
            found.last_dead_id += 1
            found.dead[found.last_dead_id] = _Message(one.raw, one.parked_at or now, now, facts=one.facts)
            ids.append(str(found.last_dead_id))
        return ids

    async def redrive(self, queue: str, message_ids: Sequence[str], *, tx: Transaction | None = None) -> int:
        """As `QueueBackend.redrive`."""
        _refuse(tx)
        letters = await self.withdraw(queue, message_ids)
        for letter in letters:
            self.put(queue, [redriven(letter)], key=key_of(letter) if queue in self._keys else None)
        return len(letters)

    async def purge(self, queue: str, message_ids: Sequence[str]) -> int:
        """As `QueueBackend.purge`."""
        found = self._find(queue)
        gone = [found.dead.pop(int(one), None) for one in message_ids if one.isdecimal()]
        return sum(message is not None for message in gone)

    def _is_ordered(self, settlement: Settlement) -> bool:
        rule = self._keys.get(settlement.delivery.queue)
        return rule is not None and rule.ordered

    def _find(self, queue: str) -> _Queue:
        try:
            return self._queues[queue]
        except KeyError:
            raise FluxaError(ErrorCode.DB_REJECTED, f"there is no queue {queue}; create it first") from None


def _refuse(tx: Transaction | None) -> None:
    if tx is not None:
        raise FluxaError(ErrorCode.CONFIGURATION, "the queue in memory cannot be part of a Postgres transaction")


def _is_held(found: _Queue, delivery: Delivery) -> bool:
    message = found.messages.get(int(delivery.message_id))
    return message is not None and str(message.read_count) == delivery.receipt


def _meant(dead: Mapping[int, _Message], which: DeadLetterFilter) -> list[int]:
    return [
        number
        for number, one in dead.items()
        if is_meant(which, message_id=str(number), parked_at=one.enqueued_at, raw=one.raw, facts=one.facts)
    ]


def _delivery(queue: str, number: int, message: _Message) -> Delivery:
    content = decode(message.raw, message_id=str(number), enqueued_at=message.enqueued_at)
    return Delivery(
        queue=queue,
        message_id=str(number),
        receipt=str(message.read_count),
        received_count=message.read_count - message.settled,
        enqueued_at=message.enqueued_at,
        leased_until=message.visible_at,
        records=() if isinstance(content, Defect) else content,
        raw=message.raw,
        defect=content if isinstance(content, Defect) else None,
    )


def _letter(queue: str, number: int, message: _Message) -> DeadLetter:
    return read_letter(
        queue=queue,
        message_id=str(number),
        enqueued_at=message.enqueued_at,
        raw=message.raw,
        facts=message.facts,
    )
