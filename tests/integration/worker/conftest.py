"""Workers on both engines that can be had in a test: what holds on one holds on the other."""

import pytest

from fluxa.postgres.pool import Database
from integration.worker.workshop import Workshop


@pytest.fixture(params=["memory", "pgmq"])
def workshop(request: pytest.FixtureRequest, database: Database) -> Workshop:
    """A workshop on each engine; handlers with transactions write to the same Postgres."""
    return Workshop.in_memory(database) if request.param == "memory" else Workshop.on_pgmq(database)
