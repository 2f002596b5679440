"""Receipts for effects that are committed, so that they are not done again; owner of `fluxa.receipts`."""

from collections import Counter
from collections.abc import Sequence

from fluxa.kernel.clock import Clock
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.queue.record import Record
from fluxa.telemetry.catalogue import Hook
from fluxa.telemetry.duty import RareDuty

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


class ReceiptPruner(RareDuty):
    """Removes receipts that nobody can ask for any more, a bounded step at a time. A `Service`."""

    def __init__(
        self, database: Database, *, clock: Clock, hook: Hook, kept_s: float = KEPT_S, every_s: float = _EVERY_S
    ) -> None:
        super().__init__("receipts", self.prune, clock=clock, hook=hook, every_s=every_s)
        self._database = database
        self._kept_s = kept_s

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


def _names(records: Sequence[Record]) -> tuple[list[str], list[int]]:
    return [record.id for record in records], [record.redrives for record in records]
