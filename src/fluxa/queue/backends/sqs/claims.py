"""Receives messages from SQS and makes deliveries of them. Not: what becomes of those."""

import asyncio
import contextlib
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import FluxaError, RetryClass
from fluxa.queue.backend import Defect, Delivery
from fluxa.queue.backends.spill import Spill
from fluxa.queue.backends.sqs.client import MissingQueueError, Sqs
from fluxa.queue.backends.sqs.kept import KeptMessages, KeptText
from fluxa.queue.backends.sqs.leases import Leases
from fluxa.queue.backends.sqs.queues import Place, Places
from fluxa.queue.backends.sqs.sending import Sender
from fluxa.queue.backends.sqs.wire import BATCH_ENTRIES, WAIT_MAX_S, Outgoing, Reference, lease, reference, resolved
from fluxa.queue.envelope import decode
from fluxa.queue.record import Record

_AT_ONCE = 10
_POSTPONED_S = 60
"""How long a message rests whose content cannot be fetched while the object store is out."""
_Message = dict[str, Any]


class Claims:
    """The claiming half of the SQS backend."""

    def __init__(
        self,
        sqs: Sqs,
        places: Places,
        leases: Leases,
        sender: Sender,
        *,
        kept: KeptMessages,
        spill: Spill | None,
        clock: Clock,
    ) -> None:
        self._sqs = sqs
        self._places = places
        self._leases = leases
        self._sender = sender
        self._kept = kept
        self._spill = spill
        self._clock = clock

    async def claim(self, queue: str, *, limit: int, lease_s: float, wait_s: float) -> list[Delivery]:
        """As `QueueBackend.claim`; raises an outage of the object store only if nothing else was claimed."""
        place = await self._places.find(queue)
        began = self._clock.now()
        try:
            messages = await self._receive(place, limit, lease(lease_s), wait_s)
        except MissingQueueError:
            self._places.forget(queue)
            raise
        received_s = self._clock.monotonic()
        kept = await self._kept_of(place, messages)
        made = await asyncio.gather(
            *(self._delivery(place, message, kept, began + dt.timedelta(seconds=lease_s)) for message in messages)
        )
        deliveries = [delivery for delivery, error in made if error is None]
        for delivery in deliveries:
            # SQS counts from its answer; what fetching took since then is gone.
            self._leases.hold(delivery, lease_s - (self._clock.monotonic() - received_s))
        unread = [delivery for delivery, error in made if error is not None]
        await self._postpone(place, unread)
        for _, error in made:
            if error is not None and not deliveries:
                raise error
        return sorted(deliveries, key=lambda delivery: delivery.enqueued_at)

    async def _postpone(self, place: Place, unread: Sequence[Delivery]) -> None:
        """Let messages rest that nobody can read now; where order allows, without counting it as an attempt."""
        if not unread:
            return
        with contextlib.suppress(FluxaError):  # they stay leased, and come again when the leases end
            if place.rule is None:
                await self._sender.send(place.queue, [Outgoing(one.raw, delay_s=_POSTPONED_S) for one in unread])
                await self._leases.delete(unread)
            else:
                await self._leases.extend(unread, _POSTPONED_S)

    async def _receive(self, place: Place, limit: int, visibility_s: int, wait_s: float) -> list[_Message]:
        """One request that may wait; where it is filled, as many at once as there is room for."""
        # Of one group SQS gives several messages to one request, so where keys are limited a request asks for one.
        size = 1 if place.rule is not None else BATCH_ENTRIES
        messages = await self._poll(place, min(size, limit), visibility_s, wait_s)
        while messages and len(messages) % size == 0 and len(messages) < limit:
            sizes = [min(size, limit - at) for at in range(len(messages), limit, size)][:_AT_ONCE]
            more = await asyncio.gather(
                *(self._request(place, one, visibility_s, 0) for one in sizes), return_exceptions=True
            )
            # What was received is in hand, whatever became of the other requests.
            got = [message for part in more if isinstance(part, list) for message in part]
            messages += got
            if len(got) < sum(sizes):
                break
        return messages

    async def _poll(self, place: Place, size: int, visibility_s: int, wait_s: float) -> list[_Message]:
        left_s = wait_s
        while True:
            turn_s = min(WAIT_MAX_S, math.floor(left_s + 0.5))
            messages = await self._request(place, size, visibility_s, turn_s)
            left_s -= turn_s
            if messages or turn_s == 0 or left_s <= 0:
                return messages

    async def _request(self, place: Place, size: int, visibility_s: int, wait_s: int) -> list[_Message]:
        answer = await self._sqs.call(
            "receive_message",
            patience_s=wait_s,
            QueueUrl=place.url,
            MaxNumberOfMessages=size,
            VisibilityTimeout=visibility_s,
            WaitTimeSeconds=wait_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
        )
        return list(answer.get("Messages", ()))

    async def _kept_of(self, place: Place, messages: Sequence[_Message]) -> Mapping[str, KeptText]:
        """What Postgres knows of messages that came back to their place in an ordered queue."""
        if not place.ordered:
            return {}
        return await self._kept.read(place.queue, [m["MessageId"] for m in messages if received_count(m) > 1])

    async def read(self, place: Place, message: _Message) -> Delivery:
        """A message that was received elsewhere.

        Raises:
            FluxaError: an outage that keeps its content away.
        """
        delivery, outage = await self._delivery(place, message, await self._kept_of(place, [message]), sent_at(message))
        if outage is not None:
            raise outage
        return delivery

    async def _delivery(
        self, place: Place, message: _Message, kept: Mapping[str, KeptText], leased_until: dt.datetime
    ) -> tuple[Delivery, FluxaError | None]:
        """The delivery, and the outage that keeps its content away, if there is one."""
        message_id, enqueued_at = str(message["MessageId"]), sent_at(message)
        known = kept.get(message_id)
        raw = known.message if known else str(message["Body"])
        content: tuple[Record, ...] | Defect = ()
        outage: FluxaError | None = None
        try:
            raw, content = await self._content(raw, message_id, enqueued_at)
        except FluxaError as error:
            if error.retry is RetryClass.TRANSIENT:
                outage = error
            else:
                content = Defect(error.code, error.detail)
        delivery = Delivery(
            queue=place.queue,
            message_id=message_id,
            receipt=str(message["ReceiptHandle"]),
            received_count=max(1, received_count(message) - (known.received if known else 0)),
            enqueued_at=enqueued_at,
            leased_until=leased_until,
            records=() if isinstance(content, Defect) else content,
            raw=raw,
            defect=content if isinstance(content, Defect) else None,
        )
        return delivery, outage

    async def _content(
        self, raw: str, message_id: str, enqueued_at: dt.datetime
    ) -> tuple[str, tuple[Record, ...] | Defect]:
        found = reference(raw)
        if found is not None and self._spill is not None:
            raw = await self._fetched(found, self._spill)
        return raw, decode(raw, message_id=message_id, enqueued_at=enqueued_at)

    async def _fetched(self, found: Reference, spill: Spill) -> str:
        return resolved(found, await spill.get(found.key))


def sent_at(message: _Message) -> dt.datetime:
    """When SQS took a message."""
    return dt.datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, dt.UTC)


def received_count(message: _Message) -> int:
    """How often a message was received, this time included."""
    return int(message["Attributes"]["ApproximateReceiveCount"])
