"""Leases in SQS: renewed, given back, deleted, and what is known here of their ends."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.queue.backend import Delivery
from fluxa.queue.backends.sqs.client import Sqs
from fluxa.queue.backends.sqs.queues import Places
from fluxa.queue.backends.sqs.wire import BATCH_ENTRIES, lease

_GONE = frozenset(
    {
        "ReceiptHandleIsInvalid",
        "MessageNotInflight",
        "AWS.SimpleQueueService.MessageNotInflight",
        "InvalidParameterValue",
    }
)
"""What SQS says of a receipt handle that is not the last one, or of a message that is not leased or not there."""
_ROUNDS = 3
_PAUSE_S = 0.1
_KNOWN_MAX = 20_000


class Leases:
    """What this process holds. SQS tells of a lost lease where it can; what it cannot tell, the clock here does."""

    def __init__(self, sqs: Sqs, places: Places, clock: Clock) -> None:
        self._sqs = sqs
        self._places = places
        self._clock = clock
        self._ends_s: dict[str, float] = {}

    def hold(self, delivery: Delivery, lease_s: float) -> None:
        """Remember when a lease ends, on the clock that never goes back."""
        if len(self._ends_s) >= _KNOWN_MAX:
            now_s = self._clock.monotonic()
            self._ends_s = {receipt: end_s for receipt, end_s in self._ends_s.items() if end_s > now_s}
        self._ends_s[delivery.receipt] = self._clock.monotonic() + lease_s

    def left_s(self, delivery: Delivery) -> float:
        """Seconds until a lease ends; 0 or less if it has."""
        end_s = self._ends_s.get(delivery.receipt)
        if end_s is None:
            return (delivery.leased_until - self._clock.now()).total_seconds()
        return end_s - self._clock.monotonic()

    def is_over(self, delivery: Delivery) -> bool:
        """Whether a lease that was taken here is known to have ended: others may have the message."""
        return delivery.receipt in self._ends_s and self.left_s(delivery) <= 0

    def give_up(self, delivery: Delivery) -> None:
        """Nothing more is done under this lease: the message is there for others."""
        self._ends_s[delivery.receipt] = float("-inf")

    async def extend(self, deliveries: Sequence[Delivery], lease_s: float) -> list[Delivery]:
        """Renew leases of one queue; returns what was lost. In a FIFO queue a lease that ended is not revived."""
        place = await self._places.find(deliveries[0].queue) if deliveries else None
        over = [one for one in deliveries if place is not None and place.rule is not None and self.left_s(one) <= 0]
        held = [one for one in deliveries if one not in over]
        return over + await self._extend(held, lease_s)

    async def _extend(self, deliveries: Sequence[Delivery], lease_s: float) -> list[Delivery]:
        renewed_s = self._clock.monotonic()
        lost = await self._each("change_message_visibility_batch", deliveries, {"VisibilityTimeout": lease(lease_s)})
        for delivery in deliveries:
            if delivery not in lost:
                self.hold(delivery, lease_s - (self._clock.monotonic() - renewed_s))
        return lost

    async def delete(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Remove messages of one queue for good; returns those that were not ours any more."""
        lost = await self._each("delete_message_batch", deliveries, {})
        for delivery in deliveries:
            self._ends_s.pop(delivery.receipt, None)
        return lost

    async def _each(self, verb: str, deliveries: Sequence[Delivery], more: dict[str, object]) -> list[Delivery]:
        if not deliveries:
            return []
        url = (await self._places.find(deliveries[0].queue)).url
        groups = [deliveries[at : at + BATCH_ENTRIES] for at in range(0, len(deliveries), BATCH_ENTRIES)]
        parts = await asyncio.gather(*(self._batch(verb, url, group, more) for group in groups), return_exceptions=True)
        lost: list[Delivery] = []
        for part in parts:
            if isinstance(part, BaseException):
                raise part
            lost += part
        return lost

    async def _batch(self, verb: str, url: str, group: Sequence[Delivery], more: dict[str, object]) -> list[Delivery]:
        left = dict(enumerate(group))
        lost: list[Delivery] = []
        failed: list[dict[str, Any]] = []
        for turn in range(_ROUNDS):
            if turn:
                await asyncio.sleep(_PAUSE_S * 2**turn)
            entries = [{"Id": str(n), "ReceiptHandle": one.receipt, **more} for n, one in left.items()]
            answer = await self._sqs.call(verb, QueueUrl=url, Entries=entries)
            failed = list(answer.get("Failed", ()))
            lost += [group[int(entry["Id"])] for entry in failed if entry.get("Code") in _GONE]
            left = {int(entry["Id"]): group[int(entry["Id"])] for entry in failed if entry.get("Code") not in _GONE}
            if not left:
                return lost
        reasons = ", ".join(sorted({str(entry.get("Code")) for entry in failed}))
        raise FluxaError(
            ErrorCode.PROVIDER_UNAVAILABLE,
            f"SQS did not do {verb} for {len(left)} messages: {reasons}",
            retry_after_s=1.0,
        )
