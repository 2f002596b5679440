"""What a queue holds (QUEUE-10), at a cost bound by pages, rows and time. Not: why it is slow."""

from fluxa.kernel.errors import DatabaseUnavailableError
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row
from fluxa.queue.backend import QueueMetrics
from fluxa.queue.backends.pgmq.tables import dead_table, statement, table

PAGES_MAX = 2000
"""Tables up to this size, 16 MiB, are counted."""
HIDDEN_MAX = 10_000
DEAD_MAX = 200_000
"""With more dead rows than that, leases are not looked for among them."""
LOOK_MS = 25
LOOKS = 4
STEP = 500
"""Ids that one look for the oldest message covers, and where it begins before the place it should be at."""
_CANCELLED = "57014"


class Measures:
    """Measures queues; remembers where the oldest message was, since what lies before it is dead."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._oldest: dict[str, int] = {}

    async def read(self, queue: str, *, keyed: bool) -> QueueMetrics:
        """As `QueueBackend.metrics`: counted where the table is small, else estimated."""
        sizes, parked = await self._database.fetch(statement("read_counters", queue), [table(queue), dead_table(queue)])
        dead, dead_exact = int(parked["live"]), int(parked["pages"]) <= PAGES_MAX
        if dead_exact:
            dead = int(await self._database.fetch_value(statement("count_dead", queue)))
        if int(sizes["pages"]) > PAGES_MAX:
            return await self._estimate(queue, sizes, dead, keyed=keyed)
        row = await self._database.fetch_row(statement("count_queue", queue, keyed=keyed))
        assert row is not None  # noqa: S101 - an aggregate always gives one row
        return QueueMetrics(
            depth=int(row["depth"]),
            ready=int(row["ready"]),
            in_flight=int(row["in_flight"]),
            oldest_age_s=float(row["oldest_age_s"]),
            dead=dead,
            exact=dead_exact,
        )

    async def _estimate(self, queue: str, sizes: Row, dead: int, *, keyed: bool) -> QueueMetrics:
        depth = int(sizes["live"])
        hidden, in_flight = await self._hidden(queue, int(sizes["dead"]), keyed=keyed)
        oldest = await self._oldest_age_s(queue, depth, int(sizes["last_id"] or 0))
        return QueueMetrics(
            depth=depth,
            ready=None if hidden is None else max(0, depth - hidden),
            in_flight=in_flight,
            oldest_age_s=oldest if oldest is not None or depth else 0.0,
            dead=dead,
            exact=False,
        )

    async def _hidden(self, queue: str, dead: int, *, keyed: bool) -> tuple[int | None, int | None]:
        """Leased and delayed messages, and the leased ones alone; None where it would take too long to tell."""
        if dead > DEAD_MAX:
            return None, None
        try:
            async with self._database.transaction() as handle:
                await handle.fetch(statement("limit_time", queue), str(LOOK_MS))
                row = await handle.fetch_row(statement("count_hidden", queue, keyed=keyed), HIDDEN_MAX + 1)
        except DatabaseUnavailableError as error:
            if getattr(error.__cause__, "sqlstate", None) == _CANCELLED:
                return None, None
            raise
        assert row is not None  # noqa: S101 - an aggregate always gives one row
        hidden = int(row["hidden"])
        # As many as were asked for: there may be any number more.
        return (None, None) if hidden > HIDDEN_MAX else (hidden, int(row["in_flight"]))

    async def _oldest_age_s(self, queue: str, depth: int, last_id: int) -> float | None:
        """The age of the oldest message that a few short looks find; None if they find none.

        Messages leave in the order they came, nearly, so the oldest is about as far from the end as there are
        messages. One that stayed behind much longer is not seen: to find it among the dead would cost a walk.
        """
        known = self._oldest.get(queue, 0)
        above = max(known if known <= last_id else 0, last_id - depth - STEP)
        for _ in range(LOOKS):
            row = await self._database.fetch_row(statement("find_oldest", queue), above, above + STEP)
            if row is not None:
                self._oldest[queue] = int(row["msg_id"]) - 1
                return float(row["age_s"])
            above += STEP
        self._oldest[queue] = min(above, last_id)
        return None
