"""What the tests of schedules share."""

import pytest

from fluxa.postgres.pool import Database
from integration.cron.running import Cron


@pytest.fixture
def cron(database: Database) -> Cron:
    """A runner on a fresh database."""
    return Cron(database)
