"""Looks into PGMQ's tables and changes nothing: names, dead letters by code, other programs' queues, messages."""

import functools
from collections.abc import Mapping

from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres.pool import Database
from fluxa.postgres.sql import load
from fluxa.queue.backend import QueueMetrics
from fluxa.queue.backends.pgmq.tables import dead_table, table
from fluxa.queue.insight import DeadByCode, Peeked

_INSIGHT: Mapping[str, str] = load("fluxa.queue.backends.pgmq", "insight.sql")
_COUNTED_MAX = 10_000
_LETTERS_MAX = 5_000
_CODES_MAX = 50


class PgmqInsight:
    """An `Insight` into a database. Dead letters stand here for the queues of every engine."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def names(self) -> list[str]:
        """As `Insight.names`."""
        return [str(row["queue_name"]) for row in await self._database.fetch(_INSIGHT["list_names"])]

    async def sent(self) -> dict[str, int]:
        """As `Insight.sent`."""
        return {
            str(row["queue_name"]): int(row["sent"] or 0) for row in await self._database.fetch(_INSIGHT["list_sent"])
        }

    async def dead_by_code(self, queue: str) -> DeadByCode:
        """As `Insight.dead_by_code`: exact up to 5000 letters of each of 50 codes."""
        rows = await self._database.fetch(_statement("count_dead_by_code", queue), _LETTERS_MAX + 1, _CODES_MAX + 1)
        counts = {str(row["code"]): int(row["letters"]) for row in rows[:_CODES_MAX]}
        return DeadByCode(
            counts={code: min(count, _LETTERS_MAX) for code, count in counts.items()},
            at_least=frozenset(code for code, count in counts.items() if count > _LETTERS_MAX),
            all_codes=len(rows) <= _CODES_MAX,
        )

    async def measure_plain(self, queue: str) -> QueueMetrics:
        """As `Insight.measure_plain`: exact up to 10 000 messages, beyond that Postgres' running count."""
        row = await self._database.fetch_row(_statement("measure_plain", queue), table(queue.lower()), _COUNTED_MAX + 1)
        assert row is not None  # noqa: S101 - a select without from always gives one row
        counted, is_exact = int(row["counted"]), int(row["counted"]) <= _COUNTED_MAX
        depth = counted if is_exact else max(counted, int(row["estimated"]))
        return QueueMetrics(
            depth=depth,
            ready=max(0, depth - int(row["hidden"])),
            in_flight=int(row["leased"]),
            oldest_age_s=float(row["oldest_age_s"]),
            dead=0,
            exact=is_exact,
        )

    async def peek(self, queue: str, *, limit: int, after: str | None = None) -> list[Peeked]:
        """As `Insight.peek`."""
        if queue not in await self.names():
            raise FluxaError(
                ErrorCode.REFUSED,
                f"{queue} does not lie in Postgres: its engine hands out messages only by a claim, which would count "
                "as an attempt. Its dead letters can be looked at: fluxa dlq list.",
            )
        rows = await self._database.fetch(_statement("peek_messages", queue), int(after or 0), limit)
        return [
            Peeked(
                message_id=str(row["msg_id"]),
                received_count=int(row["read_ct"]),
                enqueued_at=row["enqueued_at"],
                due_at=row["vt"],
                is_due=bool(row["is_due"]),
                raw=str(row["raw"]),
            )
            for row in rows
        ]


@functools.cache
def _statement(name: str, queue: str) -> str:
    """PGMQ lower-cases the names of its tables, though not those that it lists."""
    text, lower = _INSIGHT[name], queue.lower()
    return text.replace("{queue}", table(lower)).replace("{dead}", dead_table(lower))
