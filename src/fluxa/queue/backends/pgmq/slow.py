"""Why a queue is slow: old snapshots, dead rows, old leases, blocked keys. Not: how much it holds (metrics)."""

import re

from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Row
from fluxa.queue.backend import BlockedKey, SlowFacts, SnapshotHolder
from fluxa.queue.backends.pgmq.tables import statement, table

_SHOWN = 5
_LOOKED_AT_MAX = 10_000
_DEAD_MAX = 50_000
_QUERY_MAX = 200
_HIDDEN = "<insufficient privilege>"
_COMMENT = re.compile(r"--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
# Postgres shows the first thousand bytes of a query, so a quotation may not end.
_VALUE = re.compile(
    r"\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)|'(?:[^'\\]|''|\\.)*(?:'|\Z)|(?<![\w$])-?\d[\w.]*", re.DOTALL | re.ASCII
)


async def why_slow(database: Database, queue: str, *, keyed: bool, ordered: bool) -> SlowFacts:
    """As `QueueBackend.why_slow`; what would cost more than a bounded look stays unknown."""
    async with database.connection() as handle:
        holders = await handle.fetch(statement("find_holders", queue), _SHOWN)
        hidden = await handle.fetch_value(statement("hides_sessions", queue))
        state = await handle.fetch_row(statement("read_table_state", queue), table(queue))
        dead = int(state["dead_rows"]) if state else 0
        oldest = None
        blocked: list[Row] = []
        if dead <= _DEAD_MAX:
            oldest = await handle.fetch_value(statement("find_oldest_lease", queue, keyed=keyed), _LOOKED_AT_MAX)
            if ordered:
                found = statement("find_blocked", queue, keyed=keyed)
                blocked = list(await handle.fetch(found, _LOOKED_AT_MAX, _SHOWN))
    known = ordered and dead <= _DEAD_MAX
    return SlowFacts(
        holders=tuple(_holder(row) for row in holders if row["query"] != _HIDDEN),
        holders_complete=not hidden,
        dead_rows=dead,
        last_autovacuum_at=state["last_autovacuum_at"] if state else None,
        oldest_lease_s=oldest,
        blocked_keys=(int(blocked[0]["keys"]) if blocked else 0) if known else None,
        blocked=tuple(
            BlockedKey(row["key"], str(row["msg_id"]), float(row["age_s"]), float(row["ready_in_s"])) for row in blocked
        ),
    )


def _holder(row: Row) -> SnapshotHolder:
    return SnapshotHolder(
        kind=row["kind"],
        name=row["name"],
        pid=row["pid"],
        age_s=row["age_s"],
        application=row["application"] or "",
        query=without_values(row["query"] or ""),
    )


def without_values(query: str) -> str:
    """A statement as one short line without comments, and with `?` for each value in it: those may be secrets."""
    plain = _VALUE.sub("?", _COMMENT.sub(" ", query))
    return " ".join(plain.split())[:_QUERY_MAX]
