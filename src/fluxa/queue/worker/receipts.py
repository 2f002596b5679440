"""Receipts for effects that are committed, so that they are not done again; owner of `fluxa.receipts`."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from fluxa.kernel.clock import Clock
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.queue.record import Record
from fluxa.telemetry.catalogue import Hook
from fluxa.telemetry.duty import take_turn

KEPT_S = 15 * 86400.0
"""A day longer than SQS keeps any message: after that nobody can ask for it again."""

_SQL = sql.load("fluxa.queue.worker", "receipts.sql")
_STEP = 5000
_EVERY_S = 3600.0


class Receipts:
    """Writes receipts inside the transaction of the effects that they stand for."""

    async def take(self, tx: Transaction, queue: str, records: Sequence[Record]) -> list[bool]:
        """Which of these records' effects are not committed yet; from now on those have a receipt."""
        rows = await tx.fetch(_SQL["take_receipts"], queue, *_names(records))
        new = Counter((str(row["record_id"]), int(row["redrives"])) for row in rows)
        found = []
        for record in records:
            name = (record.id, record.redrives)
            found.append(new[name] > 0)
            new[name] -= 1
        return found

    async def give_back(self, tx: Transaction, queue: str, records: Sequence[Record]) -> None:
        """These records are not done after all, but tried again."""
        if records:
            await tx.execute(_SQL["give_back_receipts"], queue, *_names(records))


class ReceiptPruner:
    """Removes receipts that nobody can ask for any more, a bounded step at a time. A `Service`."""

    def __init__(
        self, database: Database, *, clock: Clock, hook: Hook, kept_s: float = KEPT_S, every_s: float = _EVERY_S
    ) -> None:
        self._database = database
        self._clock = clock
        self._hook = hook
        self._kept_s = kept_s
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="receipt-pruner")

    async def stop(self) -> None:
        """End the background work."""
        task, self._task = self._task, None
        await cancel_and_wait(task)

    async def prune(self) -> int:
        """Remove all that are too old now; returns how many.

        Raises:
            FluxaError: an outage, or a refusal.
        """
        removed = 0
        while True:
            step = await self._database.execute(_SQL["prune_receipts"], self._kept_s, _STEP)
            removed += step
            if step < _STEP:
                return removed

    async def _run(self) -> None:
        while True:
            await take_turn("receipts", self.prune, clock=self._clock, hook=self._hook)
            await asyncio.sleep(self._every_s)


def _names(records: Sequence[Record]) -> tuple[list[str], list[int]]:
    return [record.id for record in records], [record.redrives for record in records]
