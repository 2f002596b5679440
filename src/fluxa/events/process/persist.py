"""The one transaction: events and identities stored, failures noted, deliveries settled, or none of it (PIPE-7)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from fluxa.events.partitions import Partitions, month_of
from fluxa.events.process import rules
from fluxa.events.process.batch import Batch, Item
from fluxa.events.store import EventStore, StoredEvent, Written
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError, LeaseLostError
from fluxa.postgres.pool import Database
from fluxa.queue.backend import Delivery, QueueBackend
from fluxa.queue.policy import RetryPolicy
from fluxa.telemetry.catalogue import Stage

_ROUNDS = 5
_NOTHING = Written(stored=0, duplicates=0)


@dataclass(slots=True)
class Persisted:
    """What was committed.

    Attributes:
        written: events stored and repeats acknowledged.
        lost: deliveries that were another worker's by then; nothing was done for them.
    """

    written: Written
    lost: list[Delivery] = field(default_factory=list)


class _TryOutError(Exception):
    """Rolls back a write that was only to be tried."""


class Persister:
    """Stores and settles batches."""

    def __init__(
        self,
        *,
        database: Database,
        backend: QueueBackend,
        partitions: Partitions,
        policy: RetryPolicy,
        clock: Clock,
        randomness: random.Random,
        lease_s: float,
    ) -> None:
        self._database = database
        self._backend = backend
        self._partitions = partitions
        self._policy = policy
        self._clock = clock
        self._chance = randomness.random
        self._lease_s = lease_s
        self._store = EventStore()

    async def persist(self, batch: Batch) -> Persisted:
        """Commit what the batch came to.

        Deliveries whose lease was lost are dropped and the rest is done without them. A record that
        Postgres refuses for what is in it is found and fails alone.

        Raises:
            DatabaseUnavailableError: an outage or a deadlock; nothing was committed, or the answer to
                the commit was lost: the same batch can be given again, the leases tell.
            FluxaError: `DBRejected`, where Postgres refuses the statement and not a record.
        """
        done = Persisted(_NOTHING)
        for _ in range(_ROUNDS):
            if not batch.deliveries:
                return done
            try:
                await self._commit(batch, done)
            except LeaseLostError:
                await self._drop_lost(batch, done)
            except asyncpg.CheckViolationError:
                self._partitions.forget()  # a month was dropped since we knew it
            except (asyncpg.IntegrityConstraintViolationError, FluxaError) as error:
                if not _is_fault_of_data(error) or not await self._fail_refused(batch.good):
                    raise _as_fluxa(error) from error
            else:
                return done
        # Others keep taking what is ours: they, or the end of the leases, will see to it.
        done.lost += batch.deliveries
        batch.drop(batch.deliveries)
        return done

    async def _commit(self, batch: Batch, done: Persisted) -> None:
        rows = [item.row for item in batch.good if item.row is not None]
        await self._partitions.ensure({month_of(moment) for moment in {row.received_at for row in rows}})
        batch.decide(self._policy, now=self._clock.now(), chance=self._chance)
        settlements = batch.settlements()
        transactional = all(
            self._backend.capabilities_of(one.delivery.queue).transactional_settle for one in settlements
        )
        if batch.stored is None:
            async with self._database.transaction() as tx:
                written = await self._store.write(tx, rows) if rows else _NOTHING
                await self._store.record_failures(tx, batch.failures())
                if transactional:
                    await self._backend.settle(settlements, tx=tx)
            batch.stored = written
        if not transactional:
            # The engine is elsewhere: what comes again because this fails is found to be stored.
            done.lost += await self._backend.settle(settlements)
        done.written = batch.stored

    async def _drop_lost(self, batch: Batch, done: Persisted) -> None:
        """Find out whose lease was lost, and renew the others."""
        lost = await self._backend.extend(batch.deliveries, lease_s=self._lease_s)
        batch.drop(lost)
        done.lost += lost

    async def _fail_refused(self, items: Sequence[Item]) -> bool:
        """Find the items that Postgres refuses and fail them; whether there were any.

        Halves are written and rolled back, so one bad record in thousands costs a dozen tries.
        """
        if not items:
            return False
        error = await self._try_out([item.row for item in items if item.row is not None])
        if error is None:
            return False
        if len(items) == 1:
            items[0].fail(_as_fluxa(error), Stage.PERSIST)
            return True
        found = [await self._fail_refused(half) for half in rules.halves(items)]
        return any(found)

    async def _try_out(self, rows: Sequence[StoredEvent]) -> Exception | None:
        """What Postgres says against rows for what is in them; writes nothing."""
        try:
            async with self._database.transaction() as tx:
                await self._store.write(tx, rows)
                raise _TryOutError  # noqa: TRY301 - what makes the transaction roll back
        except _TryOutError:
            return None
        except asyncpg.CheckViolationError as error:
            raise DatabaseUnavailableError(f"a month was dropped meanwhile: {error}") from error
        except (asyncpg.IntegrityConstraintViolationError, FluxaError) as error:
            if not _is_fault_of_data(error):
                raise
            return error


def _is_fault_of_data(error: Exception) -> bool:
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return True
    cause = error.__cause__
    sqlstate = cause.sqlstate if isinstance(cause, asyncpg.PostgresError) else None
    return isinstance(error, FluxaError) and rules.is_fault_of_data(error.code, sqlstate)


def _as_fluxa(error: Exception) -> FluxaError:
    if isinstance(error, FluxaError):
        return error
    sqlstate = error.sqlstate if isinstance(error, asyncpg.PostgresError) else None
    return FluxaError(ErrorCode.DB_REJECTED, f"{sqlstate}: {error}")
