"""Claims from a queue that keeps keys apart: find keys that may have work, then claim under the queue's lock.

Finding needs no lock and may be wrong; what is claimed is decided by one statement at a time across all machines.
"""

import asyncio
import datetime as dt
from collections.abc import Sequence

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction
from fluxa.queue.backend import KeyRule
from fluxa.queue.backends.pgmq.claiming.keybook import KeyBook, Low
from fluxa.queue.backends.pgmq.claiming.marks import read_mark
from fluxa.queue.backends.pgmq.claiming.pace import Pace, Pass
from fluxa.queue.backends.pgmq.claiming.timeline import Mark, Timeline
from fluxa.queue.backends.pgmq.tables import statement, table

LOOK = 2000
"""Rows that one look passes; only their keys come back."""
PROBES = 200
"""Keys that one statement under the lock looks at."""
AGAIN = 1000
"""Keys known to wait that one claim looks at again."""
DUE_S = 5.0
"""A look for what came due is taken this often at least, whatever it costs."""
BUDGET_S = 0.05
"""How long one claim goes on finding keys that all have to wait."""
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


async def prepare_keys(handle: Transaction, queue: str, rule: KeyRule) -> None:
    """Make the indexes that keep a queue's claims cheap, where they are missing.

    Raises:
        FluxaError: `Configuration`, if PGMQ is too old to keep keys with messages.
    """
    if not await handle.fetch_value(statement("check_key_headers", queue), table(queue)):
        raise FluxaError(
            ErrorCode.CONFIGURATION,
            f"this database's PGMQ keeps no headers with {queue}, where the keys of its messages belong; "
            "update the extension to 1.5.0 or later, then drop and create that queue again",
        )
    for index, make in (
        ("order", "create_order_index") if rule.ordered else ("due", "create_due_index"),
        ("leases", "create_lease_index"),
    ):
        if not await handle.fetch_value(statement("find_index", queue), f"q_{queue}_fluxa_{index}"):
            await handle.execute(statement(make, queue, keyed=True))


class KeyedClaims:
    """Claims of one queue in one process; they take turns here already, since they would at the server."""

    def __init__(self, database: Database, queue: str, rule: KeyRule, clock: Clock) -> None:
        self._database = database
        self._queue = queue
        self._rule = rule
        self._clock = clock
        self._lock = asyncio.Lock()
        self._forget()

    def _forget(self) -> None:
        self._book = KeyBook()
        self._timeline = Timeline()
        self._pass = Pass()
        self._due = Pace()
        self._head = 0

    def shift(self, seconds: float) -> None:
        """As `Timeline.shift`."""
        self._timeline.shift(seconds)
        self._book.shift(seconds)

    async def claim(self, limit: int, lease_s: float) -> list[Row]:
        """Claim what may be claimed now, as far as it is found within a bounded time."""
        async with self._lock:
            try:
                return await self._claim(limit, lease_s)
            except BaseException:
                self._forget()  # what was taken out of the book for a look is not lost: all is found anew
                raise

    async def _claim(self, limit: int, lease_s: float) -> list[Row]:
        until_s = self._clock.monotonic() + BUDGET_S
        claimed: list[Row] = []
        self._book.begin()
        again = min(self._book.waiting, AGAIN)
        while True:
            while len(claimed) < limit and (again or self._book.fresh):
                keys, free = self._book.pick(PROBES, again, limit - len(claimed))
                again = max(0, again - PROBES // 2)
                claimed += await self._take(keys, free, limit - len(claimed), lease_s)
            if len(claimed) >= limit or self._clock.monotonic() > until_s or not await self._look():
                return claimed

    async def _take(self, keys: list[str], free: list[int], limit: int, lease_s: float) -> list[Row]:
        """Look at some keys of the book and claim what their rule allows."""
        ordered = self._rule.ordered
        lows = [self._book.low(key, 0 if ordered else _EPOCH) for key in keys]
        args: list[object] = [keys, lows, limit, lease_s, free, *([] if ordered else [self._rule.limit])]
        async with self._database.transaction() as handle:
            await handle.fetch(statement("lock_keys", self._queue), self._queue)
            rows = await handle.fetch(
                statement("take_ordered" if ordered else "take_limited", self._queue, keyed=True), *args
            )
        if ordered:
            self._learn_ordered(rows)
        else:
            self._learn_limited(rows)
        return [row for row in rows if row["msg_id"] is not None]

    def _learn_ordered(self, rows: Sequence[Row]) -> None:
        after = self._timeline.safe_id + 1
        for row in rows:
            key = row["of_key"]
            if key is None:
                continue
            head = row["head_id"]
            self._book.begins(key, after if head is None else min(head, after))
            # A head that is due later by itself is found again when it is: only a lease may end sooner.
            if head is not None and (row["msg_id"] is not None or row["is_leased"]):
                if row["more"]:
                    self._book.keep(key)
            elif row["is_due"]:
                self._book.keep(key)

    def _learn_limited(self, rows: Sequence[Row]) -> None:
        left: dict[str, dt.datetime | None] = {}
        for row in rows:
            key = row["of_key"]
            if key is None:
                continue
            at = row["waiting_vt"] if row["msg_id"] is None else None
            known = left.get(key)
            left[key] = min(at, known) if at is not None and known is not None else at or known
        safe_at = self._timeline.safe_at
        for key, at in left.items():
            low: Low = min(at, safe_at) if at is not None else safe_at
            self._book.begins(key, low)
            if at is not None:
                self._book.keep(key)

    async def _look(self) -> bool:
        """Find keys with something ready; whether there are any, or may be more."""
        async with self._database.connection() as handle:
            mark = await read_mark(handle, self._queue)
            full = self._note(await handle.fetch(statement("look_above", self._queue), self._head, LOOK))
            if not full:
                self._head = max(self._head, mark.last_id)
            began_s = self._clock.monotonic()
            if self._due.is_cheap or self._due.is_due(began_s, DUE_S):
                full |= await self._look_due(handle, mark, began_s)
            ids = self._pass.next(self._clock.monotonic(), self._head)
            if ids is not None:
                began_s = self._clock.monotonic()
                self._note(await handle.fetch(statement("look_between", self._queue), *ids))
                self._pass.done(began_s, self._clock.monotonic(), self._head)
        return full or self._book.fresh > 0

    async def _look_due(self, handle: Transaction, mark: Mark, began_s: float) -> bool:
        start = self._timeline.begin(mark)
        rows = await handle.fetch(statement("look_due", self._queue), start, self._head, LOOK)
        full = sum(int(row["messages"]) for row in rows) == LOOK
        for row in rows:
            self._book.note(row["key"], row["ids"] or ())
        stopped_at = max(row["last_vt"] for row in rows) if full else None
        if stopped_at is not None and stopped_at <= start:
            stopped_at += dt.timedelta(microseconds=1)  # thousands that are due at one instant: the net has the rest
        self._timeline.looked(mark, stopped_at)
        self._due.done(began_s, self._clock.monotonic(), more=full)
        return full

    def _note(self, rows: Sequence[Row]) -> bool:
        """Put what was found into the book; whether there may be more behind it."""
        for row in rows:
            self._book.note(row["key"], row["ids"] or ())
            self._head = max(self._head, row["last_id"])
        return sum(int(row["messages"]) for row in rows) == LOOK
