"""A transaction in hand: the few verbs that stores need, with errors mapped and statements observable."""

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

import asyncpg

from fluxa.postgres.errors import mapped
from fluxa.postgres.slow import SlowStatements

StatementProbe = Callable[[str], None]
"""Called with each statement before it is sent; fault tests kill the process here."""

Row = asyncpg.Record
"""One row; columns by name."""

Also = Callable[["Transaction"], Awaitable[None]]
"""What is to be done in the transaction of a verb besides its own work: writing down who asked for it."""


async def nothing_more(_tx: "Transaction") -> None:
    """The `Also` of one who asks for nothing else."""


class Transaction:
    """A connection, usually inside `BEGIN … COMMIT`. Not to be kept beyond its `async with`."""

    def __init__(
        self,
        connection: asyncpg.pool.PoolConnectionProxy,
        probe: StatementProbe | None = None,
        slow: SlowStatements | None = None,
    ) -> None:
        self.connection = connection
        self._probe = probe
        self._slow = slow
        self._after_commit: list[Callable[[], None]] = []

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call this once the work is committed; never, if it is rolled back or its outcome is unknown."""
        self._after_commit.append(callback)

    def committed(self) -> None:
        """Make the calls that waited for the commit; `Database` says when."""
        callbacks, self._after_commit = self._after_commit, []
        for callback in callbacks:
            callback()

    def observe(self, statement: str) -> None:
        """Tell the probe, if there is one, what is about to be sent."""
        if self._probe is not None:
            self._probe(statement)

    @contextlib.contextmanager
    def under_way(self, statement: str) -> Iterator[None]:
        """Round a statement: errors become ours, and one that takes long is told of."""
        slow = self._slow
        began_s = 0.0 if slow is None else slow.monotonic()
        try:
            with mapped():
                yield
        finally:
            if slow is not None:
                slow.ended(statement, began_s)

    async def execute(self, statement: str, *args: object, timeout_s: float | None = None) -> int:
        """Run a statement; the number of rows it touched.

        Args:
            statement: the SQL; without arguments it may be several statements.
            *args: what `$1` and so on stand for.
            timeout_s: seconds it may take; None for the pool's own limit.

        Raises:
            DatabaseUnavailableError: Postgres did not answer or ended the connection.
            FluxaError: `DBRejected`, any other refusal but a broken constraint.
        """
        self.observe(statement)
        with self.under_way(statement):
            status = await self.connection.execute(statement, *args, timeout=timeout_s)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def fetch(self, statement: str, *args: object) -> Sequence[Row]:
        """All rows of a statement. Raises as `execute` does."""
        self.observe(statement)
        with self.under_way(statement):
            return await self.connection.fetch(statement, *args)

    async def fetch_row(self, statement: str, *args: object) -> Row | None:
        """The first row of a statement, or None. Raises as `execute` does."""
        self.observe(statement)
        with self.under_way(statement):
            return await self.connection.fetchrow(statement, *args)

    async def fetch_value(self, statement: str, *args: object) -> Any:  # noqa: ANN401 - a column of any type
        """The first column of the first row, or None. Raises as `execute` does."""
        self.observe(statement)
        with self.under_way(statement):
            return await self.connection.fetchval(statement, *args)

    async def copy(self, schema: str, table: str, columns: Sequence[str], records: Iterable[Sequence[object]]) -> None:
        """Binary COPY of records into a table. Raises as `execute` does."""
        self.observe(f"copy {schema}.{table}")
        with self.under_way("copy"):
            await self.connection.copy_records_to_table(
                table, schema_name=schema, columns=list(columns), records=records
            )

    def savepoint(self) -> asyncpg.transaction.Transaction:
        """An `async with` block that can fail without ending the transaction."""
        return self.connection.transaction()
