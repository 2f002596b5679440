"""Finds and makes queues in SQS, and remembers what each takes. Not: their messages."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.queue.backend import KeyRule
from fluxa.queue.backends.sqs.client import MissingQueueError, Sqs
from fluxa.queue.backends.sqs.wire import BATCH_BYTES, full_name

RETENTION_S = 14 * 86_400
"""As long as SQS keeps a message at most."""
_DEAD = "_dlq"
_RECEIVES_MAX = 1000
"""As many as SQS allows: Fluxa parks what kills workers long before; this is for what nobody settles."""


@dataclass(frozen=True, slots=True)
class Place:
    """One queue in SQS.

    Attributes:
        queue: its name here.
        url: its address.
        dead_url: the address of its native dead-letter queue; empty if it has none.
        rule: how its keys are kept apart; it is a FIFO queue if there is a rule.
        message_bytes: the largest message it takes.
    """

    queue: str
    url: str
    dead_url: str
    rule: KeyRule | None
    message_bytes: int

    @property
    def ordered(self) -> bool:
        """Whether records of a key keep their order."""
        return self.rule is not None and self.rule.ordered


class Places:
    """The queues of one SQS by name."""

    def __init__(self, sqs: Sqs, keys: Mapping[str, KeyRule]) -> None:
        self._sqs = sqs
        self._keys = keys
        self._known: dict[str, Place] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def find(self, queue: str) -> Place:
        """A queue that exists.

        Raises:
            FluxaError: `Configuration` if it does not.
        """
        known = self._known.get(queue)
        if known is not None:
            return known
        async with self._locks.setdefault(queue, asyncio.Lock()):
            if queue not in self._known:
                self._known[queue] = await self._look_up(queue)
            return self._known[queue]

    def forget(self, queue: str) -> None:
        """Look it up again next time: it was not where it was."""
        self._known.pop(queue, None)

    async def create(self, queue: str) -> Place:
        """The queue, made if it does not exist; one that does is left as it is."""
        self.forget(queue)
        try:
            return await self.find(queue)
        except MissingQueueError:
            await self._make(queue)
        return await self.find(queue)

    async def _make(self, queue: str) -> None:
        fifo = queue in self._keys
        attributes = {"MessageRetentionPeriod": str(RETENTION_S)}
        if fifo:
            # Throughput by group, and a repeat is a repeat within its group only.
            attributes |= {
                "FifoQueue": "true",
                "DeduplicationScope": "messageGroup",
                "FifoThroughputLimit": "perMessageGroupId",
            }
        dead_url = await self._make_one(self._name(queue, _DEAD), attributes)
        answer = await self._sqs.call("get_queue_attributes", QueueUrl=dead_url, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": answer["Attributes"]["QueueArn"], "maxReceiveCount": _RECEIVES_MAX}
        await self._make_one(self._name(queue), {**attributes, "RedrivePolicy": json.text(policy)})

    async def _make_one(self, name: str, attributes: Mapping[str, str]) -> str:
        try:
            answer = await self._sqs.call(
                "create_queue", QueueName=name, Attributes={**attributes, "MaximumMessageSize": str(BATCH_BYTES)}
            )
        except FluxaError as error:
            if error.code != ErrorCode.PROVIDER_REJECTED:
                raise
            # A server that is not Amazon's may know the older limit; what it takes is read from the queue.
            answer = await self._sqs.call("create_queue", QueueName=name, Attributes=dict(attributes))
        return str(answer["QueueUrl"])

    async def _look_up(self, queue: str) -> Place:
        url = str((await self._sqs.call("get_queue_url", QueueName=self._name(queue)))["QueueUrl"])
        try:
            dead_url = str((await self._sqs.call("get_queue_url", QueueName=self._name(queue, _DEAD)))["QueueUrl"])
        except MissingQueueError:
            dead_url = ""
        answer = await self._sqs.call("get_queue_attributes", QueueUrl=url, AttributeNames=["MaximumMessageSize"])
        message_bytes = int(answer.get("Attributes", {}).get("MaximumMessageSize", BATCH_BYTES))
        return Place(queue, url, dead_url, self._keys.get(queue), message_bytes)

    def _name(self, queue: str, suffix: str = "") -> str:
        return full_name(self._sqs.options.prefix, queue, fifo=queue in self._keys, suffix=suffix)
