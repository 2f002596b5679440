"""Messages that wait in Postgres for another engine: written in a caller's transaction, sent on by a relay."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fluxa.postgres.listen import Notifier
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction
from fluxa.queue.backend import Defect, Delivery
from fluxa.queue.backends.pgmq.backend import PgmqBackend
from fluxa.queue.backends.pgmq.tables import statement
from fluxa.queue.envelope import decode

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
    """Outboxes: what is put there, and taken where order matters; else the relay reads them as any queue is read."""

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

    async def claim_in_order(self, queue: str, *, limit: int, lease_s: float) -> list[Delivery]:
        """Lease messages so that those of one key are sent on in the order they were put, whoever relays."""
        async with self._database.transaction() as handle:
            await handle.execute(statement("lock_outbox", queue), outbox_of(queue))
            rows = await handle.fetch(statement("claim_waiting", outbox_of(queue)), limit, lease_s)
        return [_delivery(queue, row) for row in sorted(rows, key=lambda row: int(row["msg_id"]))]

    async def count(self, queue: str, limit: int) -> int:
        """How many wait; `limit` stands for as many or more."""
        return int(await self._database.fetch_value(statement("count_waiting", outbox_of(queue)), limit))

    def _announcement(self, queue: str) -> Callable[[], None]:
        def announce() -> None:
            if self._notifier is not None:
                self._notifier.announce(outbox_of(queue))

        return announce


def _delivery(queue: str, row: Row) -> Delivery:
    content = decode(row["raw"], message_id=str(row["msg_id"]), enqueued_at=row["enqueued_at"])
    return Delivery(
        queue=outbox_of(queue),
        message_id=str(row["msg_id"]),
        receipt=str(row["read_ct"]),
        received_count=row["read_ct"],
        enqueued_at=row["enqueued_at"],
        leased_until=row["vt"],
        records=() if isinstance(content, Defect) else content,
        raw=row["raw"],
        defect=content if isinstance(content, Defect) else None,
    )
