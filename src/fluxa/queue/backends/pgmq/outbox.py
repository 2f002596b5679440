"""Messages that wait in Postgres for another engine: written in a caller's transaction, sent on by a relay."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fluxa.postgres.listen import Notifier
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.queue.backends.pgmq.backend import PgmqBackend
from fluxa.queue.backends.pgmq.tables import statement

SUFFIX = "_outbox"


def outbox_of(queue: str) -> str:
    """The PGMQ queue in which messages wait for a queue."""
    return f"{queue}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message for an outbox.

    Attributes:
        text: as Postgres `jsonb` takes it.
        delay_s: seconds before it is sent on.
        key: messages of one key are sent on in order, where the outbox is ordered.
    """

    text: str
    delay_s: float = 0.0
    key: str | None = None


class Outbox:
    """The writing half of outboxes; the relay reads them as any queue is read."""

    def __init__(self, database: Database, backend: PgmqBackend, notifier: Notifier | None) -> None:
        self._database = database
        self._backend = backend
        self._notifier = notifier

    async def create(self, queue: str) -> None:
        """Make the outbox of a queue, if it does not exist."""
        await self._backend.create(outbox_of(queue))

    async def put(self, handle: Transaction, queue: str, messages: Sequence[Waiting]) -> list[str]:
        """Store messages in a transaction; returns what names them."""
        rows = await handle.fetch(
            statement("insert_waiting", outbox_of(queue)),
            [one.text for one in messages],
            [one.delay_s for one in messages],
            [one.key for one in messages],
        )
        if any(not one.delay_s for one in messages):
            handle.after_commit(self._announcement(queue))
        return [f"outbox:{row['msg_id']}" for row in rows]

    async def count(self, queue: str, limit: int) -> int:
        """How many wait; `limit` stands for as many or more."""
        return int(await self._database.fetch_value(statement("count_waiting", outbox_of(queue)), limit))

    def _announcement(self, queue: str) -> Callable[[], None]:
        def announce() -> None:
            if self._notifier is not None:
                self._notifier.announce(outbox_of(queue))

        return announce
