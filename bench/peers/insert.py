"""What every peer's handler does: put one event's row into `fluxa.events`."""

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Protocol

import asyncpg
from typing_extensions import override

from bench.rows import INSERT, Row, row
from fluxa.events.store import EVENT_COLUMNS

_GROUP_MAX = 1000


class Insert(Protocol):
    """Puts rows into the table."""

    async def insert(self, line: bytes) -> None:
        """Return when the row is durable."""
        ...


class SingleInsert(Insert):
    """One INSERT by parameters through a pool, committed by itself."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @override
    async def insert(self, line: bytes) -> None:
        await self._pool.execute(INSERT, *row(line, ord_=0, now=dt.datetime.now(dt.UTC)))


class GroupInsert(Insert):
    """Rows of handlers that run at the same time, in one COPY: kinder to a peer than its documentation is."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    @override
    async def insert(self, line: bytes) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row(line, ord_=0, now=dt.datetime.now(dt.UTC)), done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._flush())
        await done

    async def _flush(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:_GROUP_MAX], self._waiting[_GROUP_MAX:]
            rows = [waiting[0] for waiting in group]
            await self._pool.copy_records_to_table("events", schema_name="fluxa", columns=EVENT_COLUMNS, records=rows)
            for _row, done in group:
                done.set_result(None)


INSERTS: dict[str, Callable[[asyncpg.Pool], Insert]] = {"single": SingleInsert, "group": GroupInsert}
"""Both ways by name."""
