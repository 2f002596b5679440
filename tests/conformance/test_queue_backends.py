"""One suite over every queue engine (QUEUE-1)."""

import pytest

from fluxa.postgres.pool import Database
from fluxa.testing.key_conformance import KeyConformance
from fluxa.testing.queue_conformance import Harness, QueueConformance
from making.queues import MemoryHarness, PgmqHarness

pytestmark = pytest.mark.req("QUEUE-1", "QUEUE-3", "QUEUE-5", "QUEUE-8", "QUEUE-9", "PIPE-3")


class TestMemory(QueueConformance, KeyConformance):
    """The twin in memory."""

    @pytest.fixture
    def harness(self) -> Harness:
        """A fresh engine."""
        return MemoryHarness()


class TestPgmq(QueueConformance, KeyConformance):
    """PGMQ."""

    @pytest.fixture
    def harness(self, database: Database) -> Harness:
        """A fresh database."""
        return PgmqHarness(database)
