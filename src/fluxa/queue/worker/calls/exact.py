"""Calls a handler inside a transaction that also acknowledges: its effects happen exactly once. Not: plain calls."""

import asyncio

import asyncpg

from fluxa.kernel.errors import DatabaseUnavailableError, FluxaError, LeaseLostError
from fluxa.postgres.errors import mapped
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.queue.backend import QueueBackend, Settlement
from fluxa.queue.outcome import DONE, Outcome, Retry, Snooze
from fluxa.queue.record import Record
from fluxa.queue.worker.calls.attempt import as_fluxa, due
from fluxa.queue.worker.calls.caller import Caller, Tools, Unit
from fluxa.queue.worker.calls.held import Held
from fluxa.queue.worker.calls.runner import Runner
from fluxa.queue.worker.handlers import Form
from fluxa.queue.worker.receipts import Receipts

_ROUNDS = 3
"""How often a handler's work is done anew because Postgres went away, before its record goes back to the queue."""

Ended = list[tuple[Unit, Outcome]]


class _UndoError(Exception):
    """Rolls the transaction back, because the handler failed: here is what becomes of the records."""

    def __init__(self, ended: Ended) -> None:
        self.ended = ended
        super().__init__("rolled back")


class Exact:
    """One transaction: receipts where the engine needs them, the handler's writes, the acknowledgement."""

    def __init__(self, tools: Tools, caller: Caller, *, database: Database, backend: QueueBackend) -> None:
        self._in = tools
        self._queue = tools.spec.name
        self._caller = caller
        self._database = database
        self._backend = backend
        self._transactional = backend.capabilities_of(self._queue).transactional_settle
        self._receipts = Receipts()

    async def run(self, runner: Runner, helds: list[Held]) -> Ended:
        """Work on deliveries; what became of all their records.

        Deliveries that were acknowledged in the transaction are marked so; the others are still to be settled. Where
        the handler raised, its writes are undone; where it returned, they are kept, whatever outcome it returned.
        """
        ended: Ended | None = None
        for round_ in range(1, _ROUNDS + 1):
            mine = [held for held in helds if not held.is_lost]
            if not mine:
                break
            ended = await self._round(runner, mine, is_last=round_ == _ROUNDS)
            if ended is not None:
                break
            await asyncio.sleep(0.1 * round_ * (0.5 + self._in.chance()))
        ended = ended or []
        known = {(id(held), place) for (held, place), _ in ended}
        now = self._in.clock.now()
        # What another worker has by now gets an outcome too, which is dropped with its delivery.
        return ended + [(unit, Snooze(now)) for unit in _units(helds) if (id(unit[0]), unit[1]) not in known]

    async def _round(self, runner: Runner, helds: list[Held], *, is_last: bool) -> Ended | None:
        """One try; None if another one may end better."""
        try:
            return await self._once(runner, helds)
        except _UndoError as undo:
            return undo.ended
        except LeaseLostError:
            await self._find_lost(helds)
            return None
        except DatabaseUnavailableError as error:
            # Whether it was committed is not known. If it was, the next try finds the messages gone and undoes itself.
            return self._all_failed(helds, error) if is_last else None
        except (FluxaError, asyncpg.IntegrityConstraintViolationError) as error:
            return self._all_failed(helds, as_fluxa(error))

    async def _once(self, runner: Runner, helds: list[Held]) -> Ended:
        async with self._database.transaction() as tx:
            ended = await self._within(tx, runner, helds)
            if self._transactional:
                await self._backend.settle(_settlements(helds, ended), tx=tx)
            else:
                undone = [_record(unit) for unit, outcome in ended if outcome != DONE]
                await self._receipts.give_back(tx, self._queue, undone)
        if self._transactional:
            for held in helds:
                held.is_settled = True
        return ended

    async def _within(self, tx: Transaction, runner: Runner, helds: list[Held]) -> Ended:
        units = _units(helds)
        new = units
        if not self._transactional:
            is_new = await self._receipts.take(tx, self._queue, [_record(unit) for unit in units])
            new = [unit for unit, new_one in zip(units, is_new, strict=True) if new_one]
        repeated: Ended = [(unit, DONE) for unit in units if unit not in new]
        if self._in.handler.form is Form.SINGLE:
            if len(units) > 1:
                return await self._one_by_one(tx, runner, new) + repeated
            ended, ended_well = repeated, True
            if new:
                outcome, ended_well = await self._caller.one(runner, new[0], tx)
                ended = [(new[0], outcome)]
        else:
            outcomes, ended_well = await self._caller.many(runner, new, tx) if new else ([], True)
            ended = list(zip(new, outcomes, strict=True)) + repeated
        if not ended_well:
            raise _UndoError(ended)
        return ended

    async def _one_by_one(self, tx: Transaction, runner: Runner, units: list[Unit]) -> Ended:
        """Several records of one message share the transaction; what a failed one wrote is undone alone."""
        ended: Ended = []
        waits: Snooze | None = None
        for unit in units:
            if waits is not None:
                ended.append((unit, waits))
                continue
            try:
                with mapped():
                    async with tx.savepoint():
                        outcome, ended_well = await self._caller.one(runner, unit, tx)
                        if not ended_well:
                            raise _UndoError([(unit, outcome)])  # noqa: TRY301 - what rolls back to the savepoint
            except _UndoError as undo:
                outcome = undo.ended[0][1]
            ended.append((unit, outcome))
            if unit[0].is_lost:
                raise LeaseLostError
            waits = self._waits(outcome)
        return ended

    def _waits(self, outcome: Outcome) -> Snooze | None:
        """Where order counts, the records behind one that is tried again wait for it; nor is more begun in a rest."""
        keys = self._in.spec.keys
        if keys is not None and keys.ordered and isinstance(outcome, Retry | Snooze):
            return due(outcome)
        return Snooze(self._in.clock.now()) if self._in.standing.allowance() == 0 else None

    async def _find_lost(self, helds: list[Held]) -> None:
        try:
            lost = await self._backend.extend([held.delivery for held in helds], lease_s=self._in.spec.lease_s)
        except FluxaError:
            return  # an outage: the next try meets it too
        ids = {delivery.message_id for delivery in lost}
        for held in helds:
            held.is_lost = held.is_lost or held.delivery.message_id in ids

    def _all_failed(self, helds: list[Held], error: FluxaError) -> Ended:
        return [(unit, self._caller.failed(unit, error)) for unit in _units(helds)]


def _record(unit: Unit) -> Record:
    return unit[0].delivery.records[unit[1]]


def _units(helds: list[Held]) -> list[Unit]:
    return [(held, place) for held in helds for place in range(len(held.outcomes))]


def _settlements(helds: list[Held], ended: Ended) -> list[Settlement]:
    outcomes = {(id(held), place): outcome for (held, place), outcome in ended}
    return [
        Settlement(held.delivery, tuple(outcomes[id(held), place] for place in range(len(held.outcomes))))
        for held in helds
    ]
