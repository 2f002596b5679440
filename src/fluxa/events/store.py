"""Writes events exactly once: an identity is claimed before its row is written, in one transaction.

Also writes the failed attempts that a trace shows. What may be read by whom is in `events/query`.
"""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

from fluxa.events.event import Event
from fluxa.kernel import json
from fluxa.postgres import sql
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.events", "store.sql")
_KEY_COLUMNS = ("tenant", "id", "source", "received_at", "ord")
EVENT_COLUMNS = (
    "received_at",
    "ord",
    "tenant",
    "source",
    "id",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "extensions",
    "correlation_id",
    "sha256",
    "data",
    "data_key",
    "data_bytes",
    "attempt",
    "enqueued_at",
    "claimed_at",
)
"""The columns of `fluxa.events` that a writer gives; `tx` and `stored_at` come from the server."""
_CAUTIOUS_WRITES = 8
"""Writes after one with duplicates that expect more of them."""
_ATTEMPT_MAX = 32_767
_DETAIL_MAX = 2_000

Identity = tuple[str, str, str]
"""(tenant, id, source), in the order of the primary key."""


class StoredEvent(NamedTuple):
    """An event with what the pipeline knows of its way.

    Attributes:
        event: what was received, checked.
        received_at: when it came through the door; says which month keeps it.
        data_key: where its data is in the object store; then no data is written to the row.
        data_bytes: how long its data is.
        attempt: which attempt at it this is, from 1.
        enqueued_at: when the queue took it.
        claimed_at: when a processor took it from the queue.
    """

    event: Event
    received_at: dt.datetime
    data_key: str | None
    data_bytes: int
    attempt: int
    enqueued_at: dt.datetime
    claimed_at: dt.datetime

    @property
    def identity(self) -> Identity:
        """What makes it the same event when it is sent again (PIPE-4)."""
        event = self.event
        return (event.tenant, event.id, event.source)


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One attempt that failed, as a trace shows it.

    Attributes:
        tenant: whose event it is.
        correlation_id: the story it belongs to.
        source: the event's source; None where the event could not be read.
        id: the event's id, or the record's where the event could not be read.
        queue: where the record came from.
        stage: where it failed.
        attempt: which attempt, from 1.
        error_code: what happened.
        detail: the error's text.
        parked: whether it went to the dead letters.
    """

    tenant: str
    correlation_id: str
    source: str | None
    id: str
    queue: str
    stage: str
    attempt: int
    error_code: str
    detail: str
    parked: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did.

    Attributes:
        stored: events that are new.
        duplicates: events that were stored before, or twice in the same write.
    """

    stored: int
    duplicates: int


class EventStore:
    """The one writer of `fluxa.events`, `fluxa.idempotency_keys` and `fluxa.failures`."""

    def __init__(self) -> None:
        self._cautious = 0

    async def write(self, tx: Transaction, rows: Sequence[StoredEvent]) -> Written:
        """Store the events whose identity is new; count the others as seen again.

        Two writers of the same identity wait for each other: the second one finds it stored, or stores
        it if the first rolled back.

        Raises:
            DatabaseUnavailableError: an outage, or a deadlock with another writer; try again.
            FluxaError: `DBRejected`, if Postgres refuses a row.
            asyncpg.CheckViolationError: if a month of `received_at` has no partition.
        """
        identities = [row.identity for row in rows]
        seen = Counter(identities)
        firsts = _firsts(identities, seen)
        keys = sorted((*identities[i], rows[i].received_at, i) for i in firsts)
        new = firsts
        if len(firsts) < len(rows) or self._cautious or not await self._claim_new(tx, keys):
            new = await self._claim_some(tx, keys, seen)
        if new:
            await tx.copy("fluxa", "events", EVENT_COLUMNS, [_event_row(rows[i], i) for i in new])
        duplicates = len(rows) - len(new)
        self._cautious = _CAUTIOUS_WRITES if duplicates else max(0, self._cautious - 1)
        return Written(stored=len(new), duplicates=duplicates)

    async def record_failures(self, tx: Transaction, failures: Sequence[FailedAttempt]) -> None:
        """Write failed attempts. Raises as `Transaction.execute` does."""
        if not failures:
            return
        columns = list(zip(*(_failure_row(failure) for failure in failures), strict=True))
        await tx.execute(_SQL["insert_failures"], *map(list, columns))

    async def erase(self, tx: Transaction, tenant: str, ids: Sequence[str], *, older_than_s: float) -> None:
        """Delete events of a tenant of our own as if they had never been: their identities and failures as well.

        Args:
            tx: in which it is done.
            tenant: whose they are.
            ids: which.
            older_than_s: those that came in so many seconds ago, too, whatever their ids are.

        Raises:
            DatabaseUnavailableError: an outage.
        """
        for name in ("erase_events", "erase_identities", "erase_failures"):
            await tx.execute(_SQL[name], tenant, list(ids), older_than_s)

    async def _claim_new(self, tx: Transaction, keys: list[tuple[str, str, str, dt.datetime, int]]) -> bool:
        """Take identities that nobody has; False, and nothing changed, if somebody has one of them."""
        try:
            async with tx.savepoint():
                await tx.copy("fluxa", "idempotency_keys", _KEY_COLUMNS, keys)
        except asyncpg.UniqueViolationError:
            return False
        return True

    async def _claim_some(
        self, tx: Transaction, keys: list[tuple[str, str, str, dt.datetime, int]], seen: Counter[Identity]
    ) -> list[int]:
        """Take the identities that nobody has; the indexes of their rows."""
        columns = [list(column) for column in zip(*keys, strict=True)]
        counts = [seen[key[:3]] for key in keys]
        won = await tx.fetch(_SQL["claim_identities"], *columns, counts)
        return sorted(int(row["ord"]) for row in won)


def _firsts(identities: Sequence[Identity], seen: Counter[Identity]) -> list[int]:
    """The index of the first row of each identity."""
    if len(seen) == len(identities):
        return list(range(len(identities)))
    first: dict[Identity, int] = {}
    for index, identity in enumerate(identities):
        first.setdefault(identity, index)
    return list(first.values())


def _event_row(row: StoredEvent, ordinal: int) -> tuple[object, ...]:
    event = row.event
    return (
        row.received_at,
        ordinal,
        event.tenant,
        event.source,
        event.id,
        event.type,
        event.subject,
        event.time,
        event.datacontenttype,
        event.dataschema,
        json.text(event.extensions) if event.extensions else None,
        event.correlation_id,
        event.sha256,
        None if row.data_key is not None else event.data,
        row.data_key,
        row.data_bytes,
        min(row.attempt, _ATTEMPT_MAX),
        row.enqueued_at,
        row.claimed_at,
    )


def _failure_row(failure: FailedAttempt) -> tuple[object, ...]:
    """What a message of an unknown sender holds may be no text for Postgres; a trace must not fail for that."""
    return (
        _plain(failure.tenant),
        _plain(failure.correlation_id),
        None if failure.source is None else _plain(failure.source),
        _plain(failure.id),
        failure.queue,
        failure.stage,
        failure.attempt,
        failure.error_code,
        _plain(failure.detail)[:_DETAIL_MAX],
        failure.parked,
    )


def _plain(text: str) -> str:
    """Text that Postgres takes: no NUL, no lone surrogates."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()
