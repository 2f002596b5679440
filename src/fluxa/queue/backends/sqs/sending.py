"""Sends messages to SQS in batches; what is too large goes to the object store first. Not: what the messages say."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.queue.backends.spill import Spill
from fluxa.queue.backends.sqs.client import MissingQueueError, Sqs
from fluxa.queue.backends.sqs.queues import Place, Places
from fluxa.queue.backends.sqs.wire import Outgoing, acceptable, batches, refer

_ROUNDS = 4
_PAUSE_S = 0.1
SPILL_MAX_BYTES = 16 * 1024 * 1024
"""The largest message that is kept in the object store: what it gives back at most."""


class Sender:
    """The sending half of the SQS backend."""

    def __init__(self, sqs: Sqs, places: Places, spill: Spill | None) -> None:
        self._sqs = sqs
        self._places = places
        self._spill = spill

    async def send(self, queue: str, messages: Sequence[Outgoing]) -> list[str]:
        """Store messages durably; returns their ids in order.

        SQS stores a batch in part at times: the rest is sent again, and where that fails too this raises, with some
        messages stored. A repeat of the whole is safe: FIFO queues recognise it, and elsewhere a record that comes
        twice has its effects once.

        Raises:
            FluxaError: `ProviderUnavailable` or `ProviderThrottled`, when not all are known to be stored;
                `EventTooLarge` before any is sent.
        """
        place = await self._places.find(queue)
        ready = [await self._fitted(place, message) for message in messages]
        groups = list(batches(ready, bytes_max=place.message_bytes, ordered=place.ordered))
        if place.rule is not None:  # the order within a group is that of the requests
            parts = [await self._batch(place, [ready[n] for n in group]) for group in groups]
        else:
            parts = await _all(*(self._batch(place, [ready[n] for n in group]) for group in groups))
        return [message_id for part in parts for message_id in part]

    async def _fitted(self, place: Place, message: Outgoing) -> Outgoing:
        text = acceptable(message.text)
        content = text.encode()
        if len(content) <= place.message_bytes:
            return replace(message, text=text)
        if self._spill is None or len(content) > SPILL_MAX_BYTES:
            raise FluxaError(
                ErrorCode.EVENT_TOO_LARGE,
                f"a message of {len(content)} bytes is more than the queue {place.queue} takes in SQS "
                f"({place.message_bytes}) or the object store keeps for it ({SPILL_MAX_BYTES * bool(self._spill)})",
            )
        found = refer(text)
        await self._spill.put(found.key, content)
        return replace(message, text=json.text(found))

    async def _batch(self, place: Place, messages: Sequence[Outgoing]) -> list[str]:
        ids: dict[int, str] = {}
        failed: list[dict[str, Any]] = []
        for turn in range(_ROUNDS):
            if turn:
                await asyncio.sleep(_PAUSE_S * 2**turn)
            left = [position for position in range(len(messages)) if position not in ids]
            answer = await self._request(place, [(position, messages[position]) for position in left])
            ids |= {int(entry["Id"]): str(entry["MessageId"]) for entry in answer.get("Successful", ())}
            failed = list(answer.get("Failed", ()))
            if not failed:
                return [ids[position] for position in range(len(messages))]
            if any(entry.get("SenderFault") for entry in failed):
                break
        reasons = ", ".join(sorted({f"{entry.get('Code')}: {entry.get('Message', '')}" for entry in failed}))
        fault = any(entry.get("SenderFault") for entry in failed)
        raise FluxaError(
            ErrorCode.PROVIDER_REJECTED if fault else ErrorCode.PROVIDER_UNAVAILABLE,
            f"SQS stored {len(ids)} of {len(messages)} messages for {place.queue}; of the rest it says {reasons}",
            retry_after_s=None if fault else 1.0,
        )

    async def _request(self, place: Place, numbered: Sequence[tuple[int, Outgoing]]) -> dict[str, Any]:
        entries = []
        for position, message in numbered:
            entry: dict[str, object] = {"Id": str(position), "MessageBody": message.text}
            if place.rule is not None:
                entry |= {"MessageGroupId": message.group, "MessageDeduplicationId": message.dedup}
            elif message.delay_s:
                entry["DelaySeconds"] = message.delay_s
            entries.append(entry)
        try:
            return await self._sqs.call("send_message_batch", QueueUrl=place.url, Entries=entries)
        except MissingQueueError:
            self._places.forget(place.queue)
            raise


async def _all(*work: Any) -> list[Any]:  # noqa: ANN401 - as `asyncio.gather`
    """All results, or the first error once everything has ended: nothing goes on behind the caller's back."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
