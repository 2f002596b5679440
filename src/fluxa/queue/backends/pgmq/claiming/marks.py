"""Reads a mark from the server. What marks are good for, `timeline` knows."""

from fluxa.postgres.transaction import Transaction
from fluxa.queue.backends.pgmq.claiming.timeline import Mark
from fluxa.queue.backends.pgmq.tables import statement, table


async def read_mark(handle: Transaction, queue: str) -> Mark:
    """The server's time, the transactions that write, and the last id of a queue; a page or two, whatever it holds."""
    row = await handle.fetch_row(statement("read_mark", queue), table(queue))
    assert row is not None  # noqa: S101 - a select without from always gives one row
    return Mark(row["now"], frozenset(row["running"]), row["last_id"])
