"""A stand for tests of alarms."""

import pytest

from fluxa.postgres.pool import Database
from integration.operations.alarms.standing import Stand


@pytest.fixture
async def stand(database: Database) -> Stand:
    made = Stand(database)
    for spec in made.registry:
        await made.backend.create(spec.name)
    return made
