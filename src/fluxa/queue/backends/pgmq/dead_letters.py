"""Dead letters in a PGMQ table, for every engine's queues. Not: how a record becomes one (settling, parking)."""

from collections.abc import Sequence

from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.queue.backend import DeadLetterFilter
from fluxa.queue.backends.parking import read_letter, redriven
from fluxa.queue.backends.pgmq.tables import statement
from fluxa.queue.record import DeadLetter


class DeadLetters:
    """Reads and removes the dead letters of any queue, whatever engine the queue itself is in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(
        self, queue: str, which: DeadLetterFilter, *, limit: int, after: str | None = None
    ) -> list[DeadLetter]:
        """As `QueueBackend.dead_letters`."""
        rows = await self._database.fetch(
            statement("list_dead", queue),
            _id(after) if after else 0,
            list(which.codes) or None,
            [_id(one) for one in which.message_ids] or None,
            limit,
        )
        return [
            read_letter(
                queue=queue,
                message_id=str(row["msg_id"]),
                enqueued_at=row["enqueued_at"],
                raw=row["raw"],
                facts=row["facts"],
            )
            for row in rows
        ]

    async def take(self, handle: Transaction, queue: str, message_ids: Sequence[str]) -> list[str]:
        """Remove dead letters for good; returns the texts of the messages that go back, oldest first."""
        rows = await handle.fetch(statement("remove_dead", queue), [_id(one) for one in message_ids])
        texts = []
        for row in sorted(rows, key=lambda row: int(row["msg_id"])):
            raw = str(row["raw"])
            letter = read_letter(
                queue=queue,
                message_id=str(row["msg_id"]),
                enqueued_at=row["enqueued_at"],
                raw=raw,
                facts=row["facts"],
            )
            texts.append(redriven(letter, raw))
        return texts

    async def purge(self, queue: str, message_ids: Sequence[str]) -> int:
        """As `QueueBackend.purge`."""
        return await self._database.execute(statement("purge_dead", queue), [_id(one) for one in message_ids])


def _id(message_id: str) -> int:
    """The number of a message; text that is none names no message, and numbers here begin with 1."""
    return int(message_id) if message_id.isascii() and message_id.isdigit() and len(message_id) < 19 else 0  # noqa: PLR2004
