"""Brings what SQS moved aside by itself to the dead letters in Postgres, before SQS forgets it after 14 days."""

from collections.abc import Sequence
from typing import Any

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, retry_class
from fluxa.postgres.pool import Database
from fluxa.queue.backend import Defect, Delivery, ParkedText, Settlement
from fluxa.queue.backends.pgmq.dead_letters import DeadLetters
from fluxa.queue.backends.settling import effects
from fluxa.queue.backends.sqs.claims import Claims
from fluxa.queue.backends.sqs.client import Sqs
from fluxa.queue.backends.sqs.kept import KeptMessages
from fluxa.queue.backends.sqs.queues import Place, Places
from fluxa.queue.backends.sqs.wire import BATCH_ENTRIES, storable
from fluxa.queue.outcome import Dead
from fluxa.telemetry.catalogue import Hook, NativeDeadLettersSwept, RecordParked
from fluxa.telemetry.duty import RareDuty

_LEASE_S = 60


class Sweeper(RareDuty):
    """Empties the native dead-letter queues of SQS. A `fluxa.kernel.lifecycle.Service`.

    A message gets there when it was received a thousand times and settled by nobody: its worker died each time.

    Args:
        sqs: the connection.
        database: where the dead letters are.
        places: the queues in SQS.
        claims: reads messages.
        queues: which queues.
        clock: the time.
        hook: hears what was found, and how old it was.
        every_s: seconds between two turns.
    """

    def __init__(
        self,
        sqs: Sqs,
        database: Database,
        *,
        places: Places,
        claims: Claims,
        queues: Sequence[str],
        clock: Clock,
        hook: Hook,
        every_s: float = 60.0,
    ) -> None:
        super().__init__("sqs_sweep", self._sweep_all, clock=clock, hook=hook, every_s=every_s)
        self._sqs = sqs
        self._database = database
        self._dead = DeadLetters(database)
        self._kept = KeptMessages(database)
        self._places = places
        self._claims = claims
        self._queues = tuple(queues)

    async def _sweep_all(self) -> None:
        for queue in self._queues:
            await self.sweep(queue)
        await self._kept.prune()

    async def sweep(self, queue: str) -> int:
        """Move all that SQS moved aside; returns how many messages.

        Raises:
            FluxaError: an outage; what was not moved is still in SQS.
        """
        place = await self._places.find(queue)
        if not place.dead_url:
            return 0
        moved, oldest_age_s = 0, 0.0
        while found := await self._receive(place):
            deliveries = [await self._claims.read(place, message) for message in found]
            now = self._clock.now()
            oldest_age_s = max(oldest_age_s, *((now - one.enqueued_at).total_seconds() for one in deliveries))
            await self._park(place, deliveries)
            entries = [{"Id": str(n), "ReceiptHandle": one.receipt} for n, one in enumerate(deliveries)]
            # What is not deleted here comes again, and is parked again: twice is better than never.
            await self._sqs.call("delete_message_batch", QueueUrl=place.dead_url, Entries=entries)
            moved += len(deliveries)
        self._hook(NativeDeadLettersSwept(queue, moved, oldest_age_s))
        return moved

    async def _receive(self, place: Place) -> list[dict[str, Any]]:
        answer = await self._sqs.call(
            "receive_message",
            QueueUrl=place.dead_url,
            MaxNumberOfMessages=BATCH_ENTRIES,
            VisibilityTimeout=_LEASE_S,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        )
        return list(answer.get("Messages", ()))

    async def _park(self, place: Place, deliveries: Sequence[Delivery]) -> None:
        parked: list[ParkedText] = []
        for delivery in deliveries:
            outcome = _verdict(delivery)
            outcomes = (outcome,) * max(1, len(delivery.records))
            what = effects(Settlement(delivery, outcomes), now=self._clock.now())
            parked += [ParkedText(storable(one.message), one.facts) for one in what.parked]
        async with self._database.transaction() as handle:
            await self._dead.park(handle, place.queue, parked)
        for delivery in deliveries:
            verdict = _verdict(delivery)
            for record in delivery.records:
                self._hook(
                    RecordParked(place.queue, verdict.code, retry_class(verdict.code), record.id, record.correlation_id)
                )


def _verdict(delivery: Delivery) -> Dead:
    if isinstance(delivery.defect, Defect):
        return Dead(delivery.defect.code, delivery.defect.detail)
    return Dead(
        ErrorCode.HANDLER_CRASH,
        f"SQS moved it aside: received {delivery.received_count - 1} times, and settled by nobody",
    )
