"""The suite of every queue engine over SQS on a real server (QUEUE-1), standard and FIFO."""

import dataclasses
import uuid
from collections.abc import AsyncIterator

import pytest

from aws.queues import SqsHarness
from aws.servers import Ministack
from fluxa.postgres.pool import Database
from fluxa.queue.backends.sqs import Sqs
from fluxa.testing.key_conformance import KEY_RULES, KeyConformance
from fluxa.testing.queue_conformance import Harness, QueueConformance

pytestmark = pytest.mark.req("QUEUE-1", "QUEUE-3", "QUEUE-8", "QUEUE-9")


@pytest.fixture
async def sqs(ministack: Ministack) -> AsyncIterator[Sqs]:
    """A connection with a prefix of its own, so that tests share the server and no queue."""
    client = Sqs(dataclasses.replace(ministack.sqs, prefix=f"t{uuid.uuid4().hex[:8]}-"))
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


class TestSqs(QueueConformance):
    """Standard queues. Amazon's own promise no order and may show a message late; ministack's are strict."""

    @pytest.fixture
    def harness(self, ministack: Ministack, sqs: Sqs, database: Database) -> Harness:
        """Fresh queues and a fresh database."""
        return SqsHarness(ministack, sqs, database)


@pytest.mark.req("QUEUE-5")
class TestSqsFifo(KeyConformance):
    """FIFO queues, for queues with keys."""

    @pytest.fixture
    def harness(self, ministack: Ministack, sqs: Sqs, database: Database) -> Harness:
        """Fresh queues and a fresh database."""
        return SqsHarness(ministack, sqs, database, KEY_RULES)
