"""The queue port over SQS. Dead letters, long delays and transactions are kept in Postgres, whatever SQS offers."""

import contextlib
from collections.abc import Mapping, Sequence

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.listen import Listener, Notifier
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.queue.backend import (
    Capabilities,
    Delivery,
    Envelope,
    KeyRule,
    QueueMetrics,
    Settlement,
    SlowFacts,
)
from fluxa.queue.backends.parking import redriven
from fluxa.queue.backends.pgmq.backend import PgmqBackend
from fluxa.queue.backends.pgmq.dead_letters import KeepsDeadLetters
from fluxa.queue.backends.pgmq.outbox import Outbox, Waiting
from fluxa.queue.backends.settling import one_key_each
from fluxa.queue.backends.spill import Spill
from fluxa.queue.backends.sqs.claims import Claims
from fluxa.queue.backends.sqs.client import Sqs
from fluxa.queue.backends.sqs.kept import KeptMessages
from fluxa.queue.backends.sqs.leases import Leases
from fluxa.queue.backends.sqs.queues import Place, Places
from fluxa.queue.backends.sqs.relay import Relay, RelayService
from fluxa.queue.backends.sqs.sending import Sender
from fluxa.queue.backends.sqs.settlement import Settler, by_queue, stores
from fluxa.queue.backends.sqs.sweep import Sweeper
from fluxa.queue.backends.sqs.wire import (
    BATCH_BYTES,
    DELAY_MAX_S,
    Outgoing,
    dedup_of,
    group_of,
    seconds,
)
from fluxa.queue.envelope import encode
from fluxa.telemetry.catalogue import Hook

_CAPABILITIES = Capabilities(
    transactional_send=True,  # by way of the outbox
    transactional_settle=False,
    max_message_bytes=BATCH_BYTES,
    max_delay_s=10 * 365 * 86400.0,  # likewise
)
_COUNTED_MAX = 10_000


class SqsBackend(KeepsDeadLetters):
    """A `QueueBackend` over SQS and Postgres.

    Standard queues know no order. A queue with a key rule is a FIFO queue: of one key at most as many messages are
    leased as the rule says. What goes by the outbox is sent on at once where that is possible, and else by a relay
    (`relaying`).

    Args:
        sqs: the connection, opened by its owner.
        database: where outboxes and dead letters are.
        boxes: PGMQ over the same database, for the outboxes.
        notifier: wakes relays.
        clock: the time.
        keys: how keys are kept apart, by queue.
        spill: takes messages that are too large for SQS.
    """

    def __init__(
        self,
        sqs: Sqs,
        database: Database,
        *,
        boxes: PgmqBackend,
        notifier: Notifier | None,
        clock: Clock,
        keys: Mapping[str, KeyRule] | None = None,
        spill: Spill | None = None,
    ) -> None:
        super().__init__(database)
        self._sqs = sqs
        self._outbox = Outbox(database, boxes, notifier)
        self.places = Places(sqs, keys or {})
        self._sender = Sender(sqs, self.places, spill)
        self._leases = Leases(sqs, self.places, clock)
        self._kept = KeptMessages(database)
        self._claims = Claims(sqs, self.places, self._leases, self._sender, kept=self._kept, spill=spill, clock=clock)
        to = stores(database, self._outbox, self._dead, self._kept, self._sender)
        self._settler = Settler(self.places, self._leases, to, clock)
        self.relay = Relay(
            boxes,
            self._outbox,
            database,
            places=self.places,
            sender=self._sender,
            dead=self._dead,
            clock=clock,
        )

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""
        return _CAPABILITIES

    def capabilities_of(self, queue: str) -> Capabilities:  # noqa: ARG002 - the same for all
        """As `capabilities`."""
        return _CAPABILITIES

    async def create(self, queue: str) -> None:
        """As `QueueBackend.create`; also its outbox, and in SQS a dead-letter queue of its own.

        Raises:
            FluxaError: `Configuration`, if the name cannot name a queue in both.
        """
        await self._outbox.create(queue)
        async with self._database.connection() as handle:
            await self._dead.create(handle, queue)
        await self.places.create(queue)

    async def send(
        self,
        queue: str,
        envelopes: Sequence[Envelope],
        *,
        delay_s: float = 0.0,
        tx: Transaction | None = None,
    ) -> list[str]:
        """As `QueueBackend.send`, but an error may leave some envelopes stored: a repeat is safe (see `Sender.send`).

        In a transaction, with a delay that SQS does not keep, and in ordered queues they go by the outbox.
        """
        place = await self.places.find(queue)
        if place.rule is not None:
            one_key_each(envelopes)
        texts = [encode(envelope) for envelope in envelopes]
        if tx is None and not place.ordered and seconds(delay_s) <= (0 if place.rule else DELAY_MAX_S):
            messages = [
                _outgoing(place, envelope, text, delay_s) for envelope, text in zip(envelopes, texts, strict=True)
            ]
            return await self._sender.send(queue, messages)
        waiting = [Waiting(text, delay_s, one.key) for text, one in zip(texts, envelopes, strict=True)]
        if tx is not None:
            return await self._outbox.put(tx, queue, waiting)
        async with self._database.transaction() as handle:
            ids = await self._outbox.put(handle, queue, waiting)
        await self._hurry(queue)
        return ids

    async def claim(self, queue: str, *, limit: int, lease_s: float, wait_s: float = 0.0) -> list[Delivery]:
        """As `QueueBackend.claim`."""
        return await self._claims.claim(queue, limit=limit, lease_s=lease_s, wait_s=wait_s)

    async def settle(self, settlements: Sequence[Settlement], *, tx: Transaction | None = None) -> list[Delivery]:
        """As `QueueBackend.settle`: what follows is stored, then the message is deleted; not one transaction.

        Raises:
            FluxaError: `Configuration`, if asked to be part of a transaction.
        """
        if tx is not None:
            raise FluxaError(ErrorCode.CONFIGURATION, "SQS cannot acknowledge in a Postgres transaction")
        lost: list[Delivery] = []
        for some in by_queue(settlements).values():
            lost += await self._settler.settle(some)
        return [one.delivery for one in settlements if one.delivery in lost]

    async def extend(self, deliveries: Sequence[Delivery], *, lease_s: float) -> list[Delivery]:
        """As `QueueBackend.extend`."""
        queues = dict.fromkeys(delivery.queue for delivery in deliveries)
        lost: list[Delivery] = []
        for queue in queues:
            lost += await self._leases.extend([one for one in deliveries if one.queue == queue], lease_s)
        return [one for one in deliveries if one in lost]

    async def metrics(self, queue: str) -> QueueMetrics:
        """As `QueueBackend.metrics`: SQS's approximate counts, and what waits in the outbox."""
        place = await self.places.find(queue)
        names = ["", "NotVisible", "Delayed"]
        answer = await self._sqs.call(
            "get_queue_attributes",
            QueueUrl=place.url,
            AttributeNames=[f"ApproximateNumberOfMessages{name}" for name in names],
        )
        found = answer.get("Attributes", {})
        ready, in_flight, delayed = (int(found.get(f"ApproximateNumberOfMessages{name}", 0)) for name in names)
        depth = ready + in_flight + delayed + await self._outbox.count(queue, _COUNTED_MAX)
        dead = await self._dead.count(queue, _COUNTED_MAX)
        # CloudWatch alone knows the oldest message's age.
        return QueueMetrics(depth, ready, in_flight, None if depth else 0.0, dead, exact=False)

    async def why_slow(self, queue: str) -> SlowFacts:  # noqa: ARG002 - the same for all
        """As `QueueBackend.why_slow`: SQS tells nothing of the kind."""
        return SlowFacts()

    async def redrive(self, queue: str, message_ids: Sequence[str], *, tx: Transaction | None = None) -> int:
        """As `QueueBackend.redrive`: from the dead letters to the outbox in one transaction, and on from there."""
        if tx is not None:
            return await self._redrive(tx, queue, message_ids)
        async with self._database.transaction() as handle:
            moved = await self._redrive(handle, queue, message_ids)
        if moved:
            await self._hurry(queue)
        return moved

    def relaying(self, queues: Sequence[str], *, listener: Listener | None, clock: Clock, hook: Hook) -> RelayService:
        """What sends on what waits in the outboxes of queues."""
        return RelayService(self.relay, self.create, queues, listener=listener, clock=clock, hook=hook)

    def sweeper(self, queues: Sequence[str], *, clock: Clock, hook: Hook) -> Sweeper:
        """What brings to Postgres what SQS moves aside by itself."""
        return Sweeper(
            self._sqs,
            self._database,
            places=self.places,
            claims=self._claims,
            queues=queues,
            clock=clock,
            hook=hook,
        )

    async def _redrive(self, handle: Transaction, queue: str, message_ids: Sequence[str]) -> int:
        letters = await self._dead.take(handle, queue, message_ids)
        if letters:
            again = [Waiting(redriven(letter), 0.0, letter.record.key) for letter in letters]
            await self._outbox.put(handle, queue, again)
        return len(letters)

    async def _hurry(self, queue: str) -> None:
        """Send on what was just put into the outbox."""
        with contextlib.suppress(FluxaError):  # it is durable there, and a relay will see to it
            await self.relay.drain(queue)


def _outgoing(place: Place, envelope: Envelope, text: str, delay_s: float) -> Outgoing:
    if place.rule is None:
        return Outgoing(text, delay_s=seconds(delay_s))
    # A repeat of the same sending is recognised: the text holds the ids of the records and when they were made.
    return Outgoing(text, group=group_of(envelope.key, envelope.records[0].id, place.rule), dedup=dedup_of(text))
