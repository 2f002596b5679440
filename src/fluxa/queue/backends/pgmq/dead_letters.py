"""Dead letters in a PGMQ table, for every engine's queues. Not: how a record becomes one (settling, parking)."""

import datetime as dt
from collections.abc import Sequence

from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction
from fluxa.queue.backend import DeadLetterFilter, DeadSummary, ParkedText
from fluxa.queue.backends.parking import harmless, moment_text, read_letter
from fluxa.queue.backends.pgmq.tables import DEAD_SUFFIX, checked, dead_table, statement
from fluxa.queue.record import DeadLetter

_HIGHEST = 2**63 - 1


class DeadLetters:
    """Reads, moves and removes the dead letters of any queue, whatever engine the queue itself is in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, handle: Transaction, queue: str) -> None:
        """Make the table, if it does not exist, for a queue that is in another engine."""
        await handle.execute(statement("create_queue", queue), f"{checked(queue)}{DEAD_SUFFIX}")
        await self.prepare(handle, queue)

    async def prepare(self, handle: Transaction, queue: str) -> None:
        """Make the index by code if it is not there; asked first, since to make one takes a lock that waits."""
        if not await handle.fetch_value(statement("find_code_index", queue), dead_table(queue)):
            await handle.execute(statement("create_code_index", queue))

    async def count(self, queue: str, limit: int) -> int:
        """How many there are; `limit` stands for as many or more."""
        return int(await self._database.fetch_value(statement("sample_dead", queue), limit))

    async def read(
        self, queue: str, which: DeadLetterFilter, *, limit: int, after: str | None = None
    ) -> list[DeadLetter]:
        """As `QueueBackend.dead_letters`."""
        meant = [*_meant(which, after), limit]
        if which.codes:
            rows = await self._database.fetch(statement("list_dead_by_code", queue), *meant, sorted(set(which.codes)))
        else:
            rows = await self._database.fetch(statement("list_dead", queue), *meant)
        return [_letter(queue, row) for row in rows]

    async def summarize(self, queue: str, which: DeadLetterFilter) -> DeadSummary:
        """As `QueueBackend.summarize_dead`."""
        rows = await self._database.fetch(
            statement("summarize_dead", queue), *_meant(which, None), list(which.codes) or None
        )
        if not rows:
            return DeadSummary({}, None, None)
        return DeadSummary(
            by_code={str(row["code"]): int(row["letters"]) for row in sorted(rows, key=lambda row: str(row["code"]))},
            oldest_at=dt.datetime.fromisoformat(min(str(row["oldest"]) for row in rows)).replace(tzinfo=dt.UTC),
            last_id=str(max(int(row["last_id"]) for row in rows)),
        )

    async def take(self, handle: Transaction, queue: str, message_ids: Sequence[str]) -> list[DeadLetter]:
        """As `QueueBackend.withdraw`, in this transaction."""
        rows = await handle.fetch(statement("remove_dead", queue), [_id(one) for one in message_ids])
        return [_letter(queue, row) for row in sorted(rows, key=lambda row: int(row["msg_id"]))]

    async def park(self, handle: Transaction, queue: str, parked: Sequence[ParkedText]) -> list[str]:
        """As `QueueBackend.park`, in this transaction."""
        rows = await handle.fetch(
            statement("insert_dead", queue),
            [one.raw for one in parked],
            [one.facts for one in parked],
            [one.parked_at for one in parked],
        )
        return [str(row["msg_id"]) for row in rows]

    async def purge(self, queue: str, message_ids: Sequence[str]) -> int:
        """As `QueueBackend.purge`."""
        return await self._database.execute(statement("purge_dead", queue), [_id(one) for one in message_ids])


class KeepsDeadLetters:
    """The verbs of `QueueBackend` for dead letters, which every engine inherits: whatever it is, they are in Postgres.

    Not `redrive`: how a letter goes back depends on the engine.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dead = DeadLetters(database)

    async def dead_letters(
        self, queue: str, which: DeadLetterFilter, *, limit: int, after: str | None = None
    ) -> list[DeadLetter]:
        """As `QueueBackend.dead_letters`."""
        return await self._dead.read(queue, which, limit=limit, after=after)

    async def purge(self, queue: str, message_ids: Sequence[str]) -> int:
        """As `QueueBackend.purge`."""
        return await self._dead.purge(queue, message_ids)

    async def summarize_dead(self, queue: str, which: DeadLetterFilter) -> DeadSummary:
        """As `QueueBackend.summarize_dead`."""
        return await self._dead.summarize(queue, which)

    async def withdraw(
        self, queue: str, message_ids: Sequence[str], *, tx: Transaction | None = None
    ) -> list[DeadLetter]:
        """As `QueueBackend.withdraw`."""
        async with self._database.joined(tx) as handle:
            return await self._dead.take(handle, queue, message_ids)

    async def park(self, queue: str, parked: Sequence[ParkedText], *, tx: Transaction | None = None) -> list[str]:
        """As `QueueBackend.park`."""
        async with self._database.joined(tx) as handle:
            return await self._dead.park(handle, queue, parked)


def _meant(which: DeadLetterFilter, after: str | None) -> list[object]:
    """The parameters that all readers share: $1 to $7."""
    return [
        _id(after) if after else 0,
        _id(which.up_to) if which.up_to is not None else _HIGHEST,
        [_id(one) for one in which.message_ids] or None,
        [harmless(one) for one in which.record_ids] or None,
        [harmless(one) for one in which.keys] or None,
        moment_text(which.failed_from) if which.failed_from else None,
        moment_text(which.failed_before) if which.failed_before else None,
    ]


def _letter(queue: str, row: Row) -> DeadLetter:
    return read_letter(
        queue=queue,
        message_id=str(row["msg_id"]),
        enqueued_at=row["enqueued_at"],
        raw=str(row["raw"]),
        facts=row["facts"],
    )


def _id(message_id: str) -> int:
    """The number of a message; text that is none names no message, and numbers here begin with 1."""
    return int(message_id) if message_id.isascii() and message_id.isdigit() and len(message_id) < 19 else 0  # noqa: PLR2004
