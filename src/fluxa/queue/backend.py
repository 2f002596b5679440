"""The port that every queue engine fills (QUEUE-1). Conformance: `fluxa.testing.queue_conformance`."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fluxa.postgres.transaction import Transaction
from fluxa.queue.outcome import Outcome
from fluxa.queue.record import DeadLetter, Record


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do.

    Attributes:
        transactional_send: whether `send` can be part of the caller's Postgres transaction.
        transactional_settle: whether `settle` can; where not, effects need receipts to be exactly once.
        max_message_bytes: the largest message, encoded.
        max_delay_s: the longest delay the engine keeps by itself.
    """

    transactional_send: bool
    transactional_settle: bool
    max_message_bytes: int
    max_delay_s: float


@dataclass(frozen=True, slots=True)
class KeyRule:
    """How records of one key are kept apart, exactly and across all machines (QUEUE-5).

    In a queue with such a rule an envelope holds records of one key. Records without a key know no limit.

    Attributes:
        limit: envelopes of one key that are under lease at once, at most.
        ordered: whether they are worked on in the order sent; a failed one then keeps its place and its key waits.
    """

    limit: int = 1
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Envelope:
    """One queue message: one or more records that are claimed and acknowledged together."""

    records: tuple[Record, ...]

    @property
    def key(self) -> str | None:
        """The key that all records share; None if there is none, or several."""
        first = self.records[0].key
        return first if all(record.key == first for record in self.records) else None


@dataclass(frozen=True, slots=True)
class Defect:
    """Why a message could not be read: no bytes are lost, `raw` of the delivery has them.

    Attributes:
        code: `HashMismatch`, `MalformedMessage`, or `PayloadMissing` where its content is kept elsewhere.
        detail: what was found.
    """

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """An envelope under lease.

    Attributes:
        queue: where it was claimed.
        message_id: the engine's id of the message.
        receipt: what fences the acknowledgement: valid until another worker claims the message.
        received_count: how often it was claimed, this time included.
        enqueued_at: when the engine took the message.
        leased_until: when the lease ends unless it is extended.
        records: the records, in the order they were sent; empty if there is a defect.
        raw: the message's text as the engine holds it.
        defect: why the message could not be read, if so.
    """

    queue: str
    message_id: str
    receipt: str
    received_count: int
    enqueued_at: dt.datetime
    leased_until: dt.datetime
    records: tuple[Record, ...]
    raw: str
    defect: Defect | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """All outcomes of a delivery at once.

    Attributes:
        delivery: what was claimed.
        outcomes: one for each record, in order; exactly one for a delivery with a defect.
    """

    delivery: Delivery
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class QueueMetrics:
    """What a queue holds now (QUEUE-10).

    Attributes:
        depth: messages in all, delayed and leased ones included.
        ready: messages that are due; None where the engine cannot tell at a bounded cost.
        in_flight: messages under lease; None likewise.
        oldest_age_s: seconds since the oldest message was sent; 0 when empty, None likewise.
        dead: messages in its dead-letter queue.
        exact: whether the counts were counted; else they are the engine's own estimates.
    """

    depth: int
    ready: int | None
    in_flight: int | None
    oldest_age_s: float | None
    dead: int
    exact: bool = True


@dataclass(frozen=True, slots=True)
class SnapshotHolder:
    """Something that keeps Postgres from removing dead rows.

    Attributes:
        kind: `session`, `prepared` (a transaction nobody ended) or `slot` (of replication).
        name: the session's user, the prepared transaction's id, the slot's name.
        pid: the session's process, if it is one.
        age_s: seconds since its transaction began; None where Postgres does not say.
        application: what it calls itself.
        query: its last statement, shortened, without the values in it.
    """

    kind: str
    name: str
    pid: int | None
    age_s: float | None
    application: str = ""
    query: str = ""


@dataclass(frozen=True, slots=True)
class BlockedKey:
    """A key of an ordered queue whose oldest message is not ready, so that all behind it wait.

    Attributes:
        key: the key.
        message_id: its oldest message.
        age_s: seconds since that was sent.
        ready_in_s: seconds until it is tried again.
    """

    key: str
    message_id: str
    age_s: float
    ready_in_s: float


@dataclass(frozen=True, slots=True)
class SlowFacts:
    """Why a queue may be slow (QUEUE-10). None anywhere means: not known, which is not the same as no.

    Attributes:
        holders: who holds old snapshots, oldest first.
        holders_complete: False if there are sessions whose facts this role may not see.
        dead_rows: rows of the queue's table that are not cleaned up yet, as Postgres counts them.
        last_autovacuum_at: when the table was last cleaned up.
        oldest_lease_s: seconds since the oldest message under lease was sent.
        blocked_keys: keys of an ordered queue that wait for their oldest message; None if it is not ordered.
        blocked: the oldest few of them.
    """

    holders: tuple[SnapshotHolder, ...] | None = None
    holders_complete: bool = False
    dead_rows: int | None = None
    last_autovacuum_at: dt.datetime | None = None
    oldest_lease_s: float | None = None
    blocked_keys: int | None = None
    blocked: tuple[BlockedKey, ...] = ()


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters are meant; an empty filter means all of them.

    It goes by what was written when a letter was parked. One that was altered since is found by that too, and is
    shown as what it is now.

    Attributes:
        codes: only these error codes.
        message_ids: only these ids in the dead-letter queue.
        record_ids: only records of these ids.
        keys: only records of these keys.
        failed_from: only what failed last at this time or later.
        failed_before: only what failed last before this time.
        up_to: no id in the dead-letter queue beyond this one: what a task froze when it began.
    """

    codes: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()
    record_ids: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    failed_from: dt.datetime | None = None
    failed_before: dt.datetime | None = None
    up_to: str | None = None


@dataclass(frozen=True, slots=True)
class ParkedText:
    """A message of a dead-letter queue as the engine holds it, for carrying it elsewhere and back unchanged.

    Attributes:
        raw: the message's text.
        facts: the headers' text; None for a message without.
        parked_at: when it was put there; None for now.
    """

    raw: str
    facts: str | None = None
    parked_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class DeadSummary:
    """What a dead-letter queue holds of some letters.

    Attributes:
        by_code: how many, by the error code that parked them.
        oldest_at: when the oldest of them failed last; None if there are none.
        last_id: the highest id of them; None if there are none.
    """

    by_code: Mapping[str, int]
    oldest_at: dt.datetime | None
    last_id: str | None

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.by_code.values())


class QueueBackend(Protocol):
    """A queue engine. How keys are kept apart is given to it when it is made, by queue name.

    Every verb may raise `FluxaError`; an outage is of class transient and nothing has been lost by it.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do with any of its queues."""
        ...

    def capabilities_of(self, queue: str) -> Capabilities:
        """What can be done with one queue: where queues stand in several engines, more than with any of them."""
        ...

    async def create(self, queue: str) -> None:
        """Make the queue and its `<queue>_dlq` if they do not exist."""
        ...

    async def send(
        self,
        queue: str,
        envelopes: Sequence[Envelope],
        *,
        delay_s: float = 0.0,
        tx: Transaction | None = None,
    ) -> list[str]:
        """Store envelopes durably; returns their message ids in order.

        Args:
            queue: where to.
            envelopes: at least one; all are stored or none.
            delay_s: seconds before they can be claimed.
            tx: the caller's transaction, for engines that are `transactional`.
        """
        ...

    async def claim(self, queue: str, *, limit: int, lease_s: float, wait_s: float = 0.0) -> list[Delivery]:
        """Lease at most `limit` messages that are ready.

        Args:
            queue: where from.
            limit: messages at most.
            lease_s: seconds until the lease ends.
            wait_s: seconds to wait for a message when there is none; 0 returns at once.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement], *, tx: Transaction | None = None) -> list[Delivery]:
        """Carry out the outcomes of deliveries: acknowledge, send again, or park, in one transaction.

        The acknowledgement is fenced: a delivery that was claimed again in the meantime is left alone,
        none of its outcomes is carried out, and it is returned. Inside a caller's transaction that
        raises `LeaseLostError` instead, so that the effects of the work roll back with it.

        Returns:
            The deliveries whose lease was lost.
        """
        ...

    async def extend(self, deliveries: Sequence[Delivery], *, lease_s: float) -> list[Delivery]:
        """Renew leases to end `lease_s` from now; returns the deliveries whose lease was lost."""
        ...

    async def metrics(self, queue: str) -> QueueMetrics:
        """What the queue holds now."""
        ...

    async def why_slow(self, queue: str) -> SlowFacts:
        """Facts that explain why the queue is slow, as far as the engine knows any."""
        ...

    async def dead_letters(
        self, queue: str, which: DeadLetterFilter, *, limit: int, after: str | None = None
    ) -> list[DeadLetter]:
        """Dead letters of a queue, oldest first; `after` is the last message id of the page before."""
        ...

    async def redrive(self, queue: str, message_ids: Sequence[str], *, tx: Transaction | None = None) -> int:
        """Move dead letters back to their queue, each with `attempt` 0 and one more redrive, all or none.

        Dead letters are kept in Postgres whatever the engine, so this can be part of the caller's transaction.

        Returns:
            How many were moved; one that is gone by now is not counted.
        """
        ...

    async def purge(self, queue: str, message_ids: Sequence[str]) -> int:
        """Delete dead letters for good; returns how many were there."""
        ...

    async def summarize_dead(self, queue: str, which: DeadLetterFilter) -> DeadSummary:
        """Count dead letters by code; reads each once, and none of their bodies."""
        ...

    async def withdraw(
        self, queue: str, message_ids: Sequence[str], *, tx: Transaction | None = None
    ) -> list[DeadLetter]:
        """Take dead letters out and hand them over, oldest first; the caller keeps them from then on."""
        ...

    async def park(self, queue: str, parked: Sequence[ParkedText], *, tx: Transaction | None = None) -> list[str]:
        """Put messages into the dead-letter queue as they are; returns their new ids in order."""
        ...
