"""With a queue that is not in the same Postgres the effect is the same: delivered at least once, stored once."""

import random
from collections.abc import Sequence

import pytest
from typing_extensions import override

from fluxa.events.carriage import QUEUE
from fluxa.events.process.lane import ProcessorConfig
from fluxa.events.process.processor import Processor
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.queue.backend import DeadLetterFilter, Delivery, Envelope, Settlement
from fluxa.telemetry.catalogue import DuplicatesAcknowledged, Stage, StageFinished, Status
from fluxa.testing.memory_queue import MemoryBackend
from fluxa.testing.signals import Signals
from making.events import make_record
from making.pipeline import NumbersOnly, Objects


class Unsteady(MemoryBackend):
    """An engine that is out of reach when the first acknowledgements are sent."""

    failures = 0

    @override
    async def settle(self, settlements: Sequence[Settlement], *, tx: Transaction | None = None) -> list[Delivery]:
        if self.failures:
            self.failures -= 1
            raise FluxaError(ErrorCode.DB_CONNECTION_ERROR, "the engine does not answer")
        return await super().settle(settlements, tx=tx)


def _processor(database: Database, backend: MemoryBackend, signals: Signals) -> Processor:
    return Processor(
        database=database,
        backend=backend,
        objects=Objects(),
        schemas=NumbersOnly(),
        clock=SystemClock(),
        hook=signals.hear,
        randomness=random.Random(1),  # noqa: S311 - spreads retries
        config=ProcessorConfig(wait_s=0.02, lease_s=0.3),
    )


async def _ids(database: Database) -> list[str]:
    return [row["id"] for row in await database.fetch("select id from fluxa.events order by id")]


@pytest.mark.req("PIPE-7")
async def test_an_acknowledgement_that_fails_is_repeated_without_storing_again(database: Database) -> None:
    backend, signals = Unsteady(SystemClock()), Signals()
    backend.failures = 3
    await backend.create(QUEUE)
    strict = make_record("strict", type_="strict")
    await backend.send(QUEUE, [Envelope((make_record(1), make_record(2), strict))])
    processor = _processor(database, backend, signals)
    await processor.start()
    await signals.wait_for(StageFinished, lambda s: s.stage is Stage.PERSIST and s.status is Status.SUCCESS)
    await processor.stop()
    assert await _ids(database) == ["e-1", "e-2"]
    assert await database.fetch_value("select sum(seen) from fluxa.idempotency_keys") == 2
    assert await database.fetch_value("select count(*) from fluxa.failures") == 1
    (letter,) = await backend.dead_letters(QUEUE, DeadLetterFilter(), limit=10)
    assert letter.code == ErrorCode.SCHEMA_VALIDATION
    assert (await backend.metrics(QUEUE)).depth == 0


@pytest.mark.req("PIPE-4", "PIPE-7")
async def test_what_was_stored_but_never_acknowledged_comes_again_and_is_recognised(database: Database) -> None:
    backend, signals = MemoryBackend(SystemClock()), Signals()
    await backend.create(QUEUE)
    await backend.send(QUEUE, [Envelope((make_record(1), make_record(2)))])
    await backend.send(QUEUE, [Envelope((make_record(2), make_record(3)))])
    processor = _processor(database, backend, signals)
    await processor.start()
    await signals.wait_for(DuplicatesAcknowledged)
    await processor.stop()
    assert await _ids(database) == ["e-1", "e-2", "e-3"]
    assert (await backend.metrics(QUEUE)).depth == 0
