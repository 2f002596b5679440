"""Messages that keep their place in a FIFO queue between attempts: SQS cannot change a message, so Postgres does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fluxa.postgres.pool import Database
from fluxa.postgres.sql import load
from fluxa.postgres.transaction import Transaction

_SQL = load("fluxa.queue.backends.sqs", "kept.sql")


@dataclass(frozen=True, slots=True)
class KeptText:
    """A message that waits in its place.

    Attributes:
        message_id: SQS's id.
        received: receipts that its text accounts for: they are no crashes.
        message: its text from now on, instead of the one in SQS.
    """

    message_id: str
    received: int
    message: str


class KeptMessages:
    """The texts of messages that wait in their place."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, handle: Transaction, queue: str, kept: Sequence[KeptText]) -> None:
        """Remember texts; receipts add up to those remembered before."""
        await handle.execute(
            _SQL["write_kept"],
            queue,
            [one.message_id for one in kept],
            [one.received for one in kept],
            [one.message for one in kept],
        )

    async def read(self, queue: str, message_ids: Sequence[str]) -> Mapping[str, KeptText]:
        """What is remembered of messages, by id."""
        if not message_ids:
            return {}
        rows = await self._database.fetch(_SQL["read_kept"], queue, list(message_ids))
        return {row["message_id"]: KeptText(row["message_id"], row["received"], row["message"]) for row in rows}

    async def remove(self, queue: str, message_ids: Sequence[str]) -> None:
        """Forget messages that are gone."""
        if message_ids:
            await self._database.execute(_SQL["remove_kept"], queue, list(message_ids))

    async def prune(self) -> int:
        """Forget what can be in SQS no more; returns how many."""
        return await self._database.execute(_SQL["prune_kept"])
