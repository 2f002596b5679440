"""The queue port over PGMQ's tables: send, settle, extend, metrics. Claims and dead letters are next door."""

import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError, LeaseLostError
from fluxa.postgres.listen import Listener, Notifier
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction
from fluxa.queue.backend import (
    Capabilities,
    Delivery,
    Envelope,
    KeyRule,
    QueueMetrics,
    Settlement,
    SlowFacts,
)
from fluxa.queue.backends.parking import key_of, redriven
from fluxa.queue.backends.pgmq import slow
from fluxa.queue.backends.pgmq.claiming.claims import Claims, fences
from fluxa.queue.backends.pgmq.claiming.keyed import prepare_keys
from fluxa.queue.backends.pgmq.dead_letters import KeepsDeadLetters
from fluxa.queue.backends.pgmq.measure import Measures
from fluxa.queue.backends.pgmq.tables import DEAD_SUFFIX, checked, dead_table, statement, table
from fluxa.queue.backends.settling import Again, Effects, Kept, effects, one_key_each
from fluxa.queue.envelope import encode

_CAPABILITIES = Capabilities(
    transactional_send=True,
    transactional_settle=True,
    max_message_bytes=128 * 1024 * 1024,  # jsonb holds strings of up to 256 MiB; we stay well below
    max_delay_s=10 * 365 * 86400.0,
)


class PgmqBackend(KeepsDeadLetters):
    """A `QueueBackend` over PGMQ.

    Args of the constructor: `listener` wakes waiting claims, without one they poll; `notifier` announces what is
    sent; `chance` gives numbers in [0, 1) that keep idle workers from polling in step.
    """

    def __init__(
        self,
        database: Database,
        *,
        listener: Listener | None,
        notifier: Notifier | None,
        clock: Clock,
        keys: Mapping[str, KeyRule] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(database)
        self._keys = keys or {}
        self._notifier = notifier
        self._clock = clock
        self._measures = Measures(database)
        self._claims = Claims(database, listener=listener, clock=clock, chance=chance, keys=self._keys)

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""
        return _CAPABILITIES

    def capabilities_of(self, queue: str) -> Capabilities:  # noqa: ARG002 - the same for all
        """As `capabilities`."""
        return _CAPABILITIES

    async def create(self, queue: str) -> None:
        """As `QueueBackend.create`.

        Raises:
            FluxaError: `Configuration` if the name cannot name a queue, or PGMQ is too old for dead letters.
        """
        async with self._database.transaction() as handle:
            for name in (checked(queue), f"{queue}{DEAD_SUFFIX}"):
                await handle.execute(statement("create_queue", queue), name)
            if not await handle.fetch_value(statement("check_headers", queue), dead_table(queue)):
                raise FluxaError(
                    ErrorCode.CONFIGURATION,
                    f"this database's PGMQ keeps no headers with {queue}{DEAD_SUFFIX}, where the facts about a dead "
                    "letter belong; update the extension to 1.5.0 or later, then drop and create that queue again",
                )
            if queue in self._keys:
                await prepare_keys(handle, queue, self._keys[queue])
            await self._dead.prepare(handle, queue)
            if await handle.fetch_value(statement("check_tuning", queue), table(queue)):
                await handle.execute(statement("alter_storage", queue))
                await handle.execute(statement("alter_vacuum", queue))

    async def send(
        self,
        queue: str,
        envelopes: Sequence[Envelope],
        *,
        delay_s: float = 0.0,
        tx: Transaction | None = None,
    ) -> list[str]:
        """As `QueueBackend.send`."""
        texts = [encode(envelope) for envelope in envelopes]
        keys = one_key_each(envelopes) if queue in self._keys else None
        async with self._database.joined(tx) as handle:
            rows = await self._insert(handle, queue, texts, keys, delay_s)
            if not delay_s:
                self._announce(queue, handle)
        return [str(row["msg_id"]) for row in rows]

    async def _insert(
        self, handle: Transaction, queue: str, texts: list[str], keys: list[str | None] | None, delay_s: float
    ) -> Sequence[Row]:
        if keys is None:
            return await handle.fetch(statement("insert_messages", queue), texts, delay_s)
        return await handle.fetch(statement("insert_keyed", queue), texts, keys, delay_s)

    async def claim(self, queue: str, *, limit: int, lease_s: float, wait_s: float = 0.0) -> list[Delivery]:
        """As `QueueBackend.claim`."""
        return await self._claims.claim(queue, limit=limit, lease_s=lease_s, wait_s=wait_s)

    async def settle(self, settlements: Sequence[Settlement], *, tx: Transaction | None = None) -> list[Delivery]:
        """As `QueueBackend.settle`: one statement a queue, however many deliveries and outcomes."""
        now = self._clock.now()
        by_queue: dict[str, list[tuple[Delivery, Effects]]] = {}
        for settlement in settlements:
            delivery = settlement.delivery
            rule = self._keys.get(delivery.queue)
            what = effects(settlement, now=now, in_place=rule is not None and rule.ordered)
            by_queue.setdefault(delivery.queue, []).append((delivery, what))
        lost: list[Delivery] = []
        async with self._together(tx, len(by_queue)) as handle:
            for queue, settled in by_queue.items():
                lost += await self._settle_queue(handle, queue, settled)
            if tx is not None and lost:
                raise LeaseLostError(f"{len(lost)} of {len(settlements)} messages are another worker's now")
        return lost

    async def _settle_queue(
        self, handle: Transaction, queue: str, settled: Sequence[tuple[Delivery, Effects]]
    ) -> list[Delivery]:
        deliveries = [delivery for delivery, _ in settled]
        kept = [what.kept for _, what in settled if what.kept is not None]
        again = [one for _, what in settled for one in what.again]
        parked = [one for _, what in settled for one in what.parked]
        if kept or again or parked:
            keyed = queue in self._keys
            rows = await handle.fetch(
                statement("settle_keyed" if keyed else "settle_claimed", queue),
                *fences(deliveries),
                *(_columns(kept) if keyed else ()),
                *_columns(again),
                [int(one.origin) for one in parked],
                [one.message for one in parked],
                [one.facts for one in parked],
            )
        else:
            rows = await handle.fetch(statement("delete_claimed", queue), *fences(deliveries))
        # In a queue with keys whatever is settled may be what others waited for.
        if queue in self._keys or any(not one.delay_s for one in again):
            self._announce(queue, handle)
        for one in again:
            self._claims.expect(queue, one.delay_s)
        gone = {str(row["msg_id"]) for row in rows}
        return [delivery for delivery in deliveries if delivery.message_id not in gone]

    async def extend(self, deliveries: Sequence[Delivery], *, lease_s: float) -> list[Delivery]:
        """As `QueueBackend.extend`: one statement a queue."""
        by_queue: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_queue.setdefault(delivery.queue, []).append(delivery)
        lost: list[Delivery] = []
        for queue, held in by_queue.items():
            rows = await self._extend_queue(queue, held, lease_s)
            kept = {str(row["msg_id"]) for row in rows}
            lost += [delivery for delivery in held if delivery.message_id not in kept]
        return lost

    async def _extend_queue(self, queue: str, held: Sequence[Delivery], lease_s: float) -> Sequence[Row]:
        if queue not in self._keys:
            return await self._database.fetch(statement("extend_leases", queue), *fences(held), lease_s)
        async with self._database.transaction() as handle:
            await handle.fetch(statement("lock_keys", queue), queue)
            return await handle.fetch(statement("extend_keyed", queue), *fences(held), lease_s)

    async def metrics(self, queue: str) -> QueueMetrics:
        """As `QueueBackend.metrics`: counted while the table is small, else estimated, at a bounded cost."""
        return await self._measures.read(queue, keyed=queue in self._keys)

    async def why_slow(self, queue: str) -> SlowFacts:
        """As `QueueBackend.why_slow`."""
        rule = self._keys.get(queue)
        return await slow.why_slow(
            self._database, queue, keyed=rule is not None, ordered=rule is not None and rule.ordered
        )

    async def redrive(self, queue: str, message_ids: Sequence[str], *, tx: Transaction | None = None) -> int:
        """As `QueueBackend.redrive`: two statements in one transaction."""
        async with self._together(tx, 2) as handle:
            letters = await self._dead.take(handle, queue, message_ids)
            if letters:
                keys = [key_of(letter) for letter in letters] if queue in self._keys else None
                await self._insert(handle, queue, [redriven(letter) for letter in letters], keys, 0.0)
                self._announce(queue, handle)
        return len(letters)

    def _announce(self, queue: str, handle: Transaction) -> None:
        """Wake workers, once the transaction has committed: before that they would find nothing."""
        if self._notifier is not None:
            notifier = self._notifier
            handle.after_commit(lambda: notifier.announce(queue))

    @contextlib.asynccontextmanager
    async def _together(self, tx: Transaction | None, statements: int) -> AsyncIterator[Transaction]:
        """The caller's transaction, or one of our own where there is more than one statement to run."""
        if tx is not None or statements <= 1:
            async with self._database.joined(tx) as handle:
                yield handle
            return
        async with self._database.transaction() as handle:
            yield handle


def _columns(messages: Sequence[Again] | Sequence[Kept]) -> tuple[list[int], list[str], list[float]]:
    return [int(one.origin) for one in messages], [one.message for one in messages], [one.delay_s for one in messages]
