"""Claims from a queue table: which range to scan, when to sweep, how long to wait for work."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import FluxaError
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row, Transaction
from fluxa.queue.backend import Defect, Delivery, KeyRule
from fluxa.queue.backends.pgmq.claiming.horizon import Horizon
from fluxa.queue.backends.pgmq.claiming.keyed import KeyedClaims
from fluxa.queue.backends.pgmq.claiming.marks import read_mark
from fluxa.queue.backends.pgmq.claiming.timeline import Mark
from fluxa.queue.backends.pgmq.tables import statement
from fluxa.queue.envelope import decode

POLL_MIN_S = 0.02
POLL_MAX_S = 0.5
POLL_HEARING_MAX_S = 4.0
"""While wake-ups are heard, looking is for what nobody announces: leases that end, announcements that were lost."""
_ID_MAX = 2**63 - 1


@dataclass(slots=True)
class _Idle:
    """When a queue that had nothing is worth the next look; it outlives a single claim, which waits a second or so.

    Attributes:
        pause_s: seconds between two looks; doubled by each that finds nothing.
        look_at_s: when the next one is due, on the clock that never goes back.
    """

    pause_s: float = POLL_MIN_S
    look_at_s: float = float("-inf")


class Claims:
    """The claiming half of the PGMQ backend; keeps a horizon for each queue."""

    def __init__(
        self,
        database: Database,
        *,
        listener: Listener | None,
        clock: Clock,
        chance: Callable[[], float],
        keys: Mapping[str, KeyRule],
    ) -> None:
        self._keyed = {queue: KeyedClaims(database, queue, rule, clock) for queue, rule in keys.items()}
        self._database = database
        self._listener = listener
        self._clock = clock
        self._chance = chance
        self._horizons: dict[str, Horizon] = {}
        self._idle: dict[str, _Idle] = {}

    async def claim(self, queue: str, *, limit: int, lease_s: float, wait_s: float) -> list[Delivery]:
        """As `QueueBackend.claim`."""
        now_s = self._clock.monotonic()
        deadline_s = now_s + wait_s
        idle = self._idle.setdefault(queue, _Idle())
        woken = False
        if wait_s > 0 and now_s < idle.look_at_s:
            woken = await self._woken(queue, min(wait_s, idle.look_at_s - now_s))
            if not woken and self._clock.monotonic() < idle.look_at_s:
                return []
        while True:
            rows = await self._claim_now(queue, limit, lease_s, hinted=woken)
            if rows:
                idle.pause_s, idle.look_at_s = POLL_MIN_S, float("-inf")
                if self._listener is not None and len(rows) == limit:
                    self._listener.hear(queue)  # there may be more than one worker can carry
                rows.sort(key=_message_id)
                return [_delivery(queue, row) for row in rows]
            now_s = self._clock.monotonic()
            self._rest(idle, now_s, woken=woken)
            if deadline_s <= now_s:
                return []
            # Waking is a hint only: announcements may be lost, and retries come due without one.
            woken = await self._woken(queue, max(0.0, min(deadline_s, idle.look_at_s) - now_s))
            if not woken and deadline_s < idle.look_at_s:
                return []

    def expect(self, queue: str, delay_s: float) -> None:
        """Something comes due by then, which nobody will announce."""
        idle = self._idle.setdefault(queue, _Idle())
        due_s = self._clock.monotonic() + delay_s
        if due_s < idle.look_at_s:
            idle.look_at_s, idle.pause_s = due_s, POLL_MIN_S

    def _rest(self, idle: _Idle, now_s: float, *, woken: bool) -> None:
        """There was nothing: look again later, longer each time."""
        hears = self._listener is not None and self._listener.is_connected
        longest_s = POLL_HEARING_MAX_S if hears else POLL_MAX_S
        spread_s = idle.pause_s * (0.75 + self._chance() / 2)
        idle.look_at_s = now_s + spread_s
        idle.pause_s = POLL_MIN_S if woken else min(longest_s, idle.pause_s * 2)

    def shift(self, seconds: float) -> None:
        """Every time in the tables was moved back by so much: tests let time pass so."""
        for keyed in self._keyed.values():
            keyed.shift(seconds)
        for horizon in self._horizons.values():
            horizon.timeline.shift(seconds)

    async def _woken(self, queue: str, timeout_s: float) -> bool:
        if self._listener is not None:
            return await self._listener.wait(queue, timeout_s)
        await asyncio.sleep(timeout_s)
        return False

    async def _claim_now(self, queue: str, limit: int, lease_s: float, *, hinted: bool) -> list[Row]:
        keyed = self._keyed.get(queue)
        if keyed is not None:
            return await keyed.claim(limit, lease_s)
        horizon = self._horizons.setdefault(queue, Horizon())
        async with self._database.connection() as handle:
            claim = _Claim(handle, queue, horizon, lease_s, self._clock)
            try:
                return await claim.run(limit, hinted=hinted)
            except FluxaError:
                # A server that crashed has undone the last claims, whose commits do not wait for the disk.
                self._horizons.pop(queue, None)
                raise


class _Claim:
    """One try to claim, on one connection."""

    def __init__(self, handle: Transaction, queue: str, horizon: Horizon, lease_s: float, clock: Clock) -> None:
        self._handle = handle
        self._queue = queue
        self._horizon = horizon
        self._lease_s = lease_s
        self._clock = clock
        self._text = statement("claim_messages", queue)

    async def run(self, limit: int, *, hinted: bool) -> list[Row]:
        """Claim at most so many; `hinted` says that something was sent just now, which lies above the floor."""
        horizon, now_s = self._horizon, self._clock.monotonic()
        start = horizon.start(now_s)
        if horizon.due.is_due(now_s, self._lease_s / 2) and not hinted and not horizon.is_looked_below:
            return await self._thorough(limit)
        rows = await self._scan(start, limit)
        if not rows and start > horizon.floor:
            rows = await self._scan(horizon.start(now_s), limit)
        if not rows and horizon.due.is_cheap and not horizon.is_looked_below:
            rows = await self._thorough(limit)
        return rows

    async def _thorough(self, limit: int) -> list[Row]:
        """Look everywhere, and learn how far other workers have come: their rows need no scanning either."""
        self._horizon.is_looked_below = True
        try:
            began_s = self._clock.monotonic()
            rows, mark = await self._below(limit)
            left = limit - len(rows)
            if left:
                above = await self._scan(self._horizon.floor, left)
                if len(above) < left:
                    self._horizon.reached(began_s, mark.last_id)
                rows += above
            return rows
        finally:
            self._horizon.is_looked_below = False

    async def _scan(self, above: int, limit: int) -> list[Row]:
        scan = self._horizon.scan(self._clock.monotonic())
        try:
            rows = await self._fetch(above, _ID_MAX, limit)
            self._horizon.scanned(scan, max(map(_message_id, rows), default=0), full=len(rows) == limit)
        finally:
            self._horizon.ended(scan)
        return rows

    async def _below(self, limit: int) -> tuple[list[Row], Mark]:
        """What came due below the head since the last look, and what the net brings up."""
        horizon, began_s = self._horizon, self._clock.monotonic()
        behind_s, scans = horizon.scanning_s(began_s), horizon.scans
        mark = await read_mark(self._handle, self._queue)
        start = horizon.timeline.begin(mark, scans)
        due = statement("claim_due", self._queue)
        rows = list(await self._handle.fetch(due, start, horizon.head, limit, self._lease_s)) if horizon.head else []
        full = len(rows) == limit
        stopped_at = max(row["due_at"] for row in rows) if full else None
        horizon.timeline.looked(mark, stopped_at, behind_s=behind_s)
        horizon.due.done(began_s, self._clock.monotonic(), more=full)
        began_s = self._clock.monotonic()
        ids = None if full else horizon.net.next(began_s, horizon.head)
        if ids is not None:
            caught = await self._fetch(*ids, limit - len(rows))
            more = len(caught) == limit - len(rows)
            horizon.net.done(began_s, self._clock.monotonic(), horizon.head, more=more)
            rows += caught
        return rows, mark

    async def _fetch(self, above: int, up_to: int, limit: int) -> list[Row]:
        return list(await self._handle.fetch(self._text, above, up_to, limit, self._lease_s))


def _message_id(row: Row) -> int:
    return int(row["msg_id"])


def _delivery(queue: str, row: Row) -> Delivery:
    content = decode(row["raw"], message_id=str(row["msg_id"]), enqueued_at=row["enqueued_at"])
    return Delivery(
        queue=queue,
        message_id=str(row["msg_id"]),
        receipt=str(row["read_ct"]),
        received_count=row["read_ct"] - row["settled"],
        enqueued_at=row["enqueued_at"],
        leased_until=row["vt"],
        records=() if isinstance(content, Defect) else content,
        raw=row["raw"],
        defect=content if isinstance(content, Defect) else None,
    )


def fences(deliveries: Sequence[Delivery]) -> tuple[list[int], list[int]]:
    """Ids and read counts of deliveries, by id: rows are locked in the same order by everybody."""
    pairs = sorted((int(delivery.message_id), int(delivery.receipt)) for delivery in deliveries)
    return [message_id for message_id, _ in pairs], [read_ct for _, read_ct in pairs]
