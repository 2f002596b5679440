"""Messages that were altered: kept as they were found, out of everybody's way, until a person decides."""

import datetime as dt
from collections.abc import Mapping, Sequence

import msgspec

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.queue.backend import ParkedText, QueueBackend
from fluxa.queue.record import DeadLetter

_SQL = sql.load("fluxa.queue.dead_letters", "quarantine.sql")


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """One message in quarantine.

    Attributes:
        quarantine_id: its id there.
        queue: where it came from.
        message_id: its id among the dead letters.
        raw: its text as it was found.
        facts: the headers' text beside it, if there were any.
        parked_at: when it became a dead letter.
        code: what is wrong with it.
        reason: the same in words.
        redrive_id: the redrive that found it.
        found_at: when.
    """

    quarantine_id: int
    queue: str
    message_id: str
    raw: str
    facts: str | None
    parked_at: dt.datetime
    code: str
    reason: str
    redrive_id: str
    found_at: dt.datetime


_decode = msgspec.json.Decoder(Quarantined)


class Quarantine:
    """Puts messages into quarantine, shows them, and lets them go back to the dead letters or ends them."""

    def __init__(self, database: Database, backend: QueueBackend) -> None:
        self._database = database
        self._backend = backend

    async def take(self, tx: Transaction, queue: str, letters: Sequence[DeadLetter], *, redrive_id: str = "") -> int:
        """Move dead letters into quarantine in this transaction; returns how many were still there."""
        if not letters:
            return 0
        found = await self._backend.withdraw(queue, [letter.message_id for letter in letters], tx=tx)
        await tx.execute(
            _SQL["insert_quarantined"],
            queue,
            redrive_id,
            [letter.message_id for letter in found],
            [letter.raw for letter in found],
            [letter.facts for letter in found],
            [letter.parked_at for letter in found],
            [letter.code for letter in found],
            [letter.reason for letter in found],
        )
        return len(found)

    async def list(
        self, queue: str | None = None, ids: Sequence[int] = (), *, limit: int = 100, after: int = 0
    ) -> list[Quarantined]:
        """Messages in quarantine, first found first; `after` is the last id of the page before."""
        rows = await self._database.fetch(_SQL["list_quarantined"], after, queue, list(ids) or None, limit)
        return [_decode.decode(row["held"]) for row in rows]

    async def counts(self, queue: str | None = None) -> Mapping[str, int]:
        """How many there are, by queue."""
        rows = await self._database.fetch(_SQL["count_quarantined"], queue)
        return {str(row["queue"]): int(row["messages"]) for row in rows}

    async def get(self, quarantine_id: int) -> Quarantined:
        """One message.

        Raises:
            FluxaError: `NotFound`; an outage.
        """
        found = await self.list(ids=[quarantine_id], limit=1)
        if not found:
            raise FluxaError(ErrorCode.NOT_FOUND, f"There is no message {quarantine_id} in quarantine.")
        return found[0]

    async def release(self, ids: Sequence[int]) -> int:
        """Put messages back among the dead letters, unchanged and all or none; returns how many there were.

        They are still altered: the next redrive that means them finds that again, unless their code is forced.
        """
        async with self._database.transaction() as tx:
            held = await self._remove(tx, ids)
            for queue in sorted({one.queue for one in held}):
                texts = [ParkedText(one.raw, one.facts, one.parked_at) for one in held if one.queue == queue]
                await self._backend.park(queue, texts, tx=tx)
        return len(held)

    async def purge(self, ids: Sequence[int]) -> int:
        """Delete messages for good; returns how many there were."""
        async with self._database.transaction() as tx:
            return len(await self._remove(tx, ids))

    async def _remove(self, tx: Transaction, ids: Sequence[int]) -> Sequence[Quarantined]:
        rows = await tx.fetch(_SQL["delete_quarantined"], list(ids))
        return sorted((_decode.decode(row["held"]) for row in rows), key=lambda one: one.quarantine_id)
