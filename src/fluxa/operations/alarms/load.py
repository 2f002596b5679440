"""How busy the database's processors are, and which queries run longest. Not: whether that is too busy (rules)."""

import re
from dataclasses import dataclass

import psutil

from fluxa.kernel.clock import Clock
from fluxa.postgres import sql
from fluxa.postgres.pool import Database

_SQL = sql.load("fluxa.operations.alarms", "load.sql")

_SAME_S = 3.0
"""How far two clocks may differ about when one server began."""
_LITERAL = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|\b\d{4,}\b", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the database is.

    Attributes:
        percent: of all its processors; None if it cannot be known.
        how: how that was found, or why it was not.
        queries: those that run longest, in words; literals are left out, since they may be anybody's data.
    """

    percent: float | None
    how: str
    queries: tuple[str, ...] = ()


class DatabaseLoad:
    """Measures from one call to the next.

    On the machine of the database its processes are asked; elsewhere nobody tells about processors, so that
    backends that run and wait for nothing are counted against the cores that settings name.

    Args:
        database: which.
        clock: monotonic, between two measurements.
        cores: processors of a database on another machine; None if nobody knows.
    """

    def __init__(self, database: Database, *, clock: Clock, cores: int | None = None) -> None:
        self._database = database
        self._clock = clock
        self._cores = cores
        self._before: tuple[float, float] | None = None

    async def read(self) -> Load:
        """How busy it was since the last call; of the first one nothing is known but the queries.

        Raises:
            FluxaError: an outage.
        """
        async with self._database.connection() as handle:
            server = await handle.fetch_row(_SQL["read_server"])
            rows = await handle.fetch(_SQL["list_long_queries"])
            assert server is not None  # noqa: S101 - a select without from gives its row
            used_s = _used_s(server["pid"], server["started_s"])
        queries = tuple(
            f"pid {row['pid']} for {row['age_s']:.0f} s ({row['application']}): {_without_data(row['query'])}"
            for row in rows
        )
        if used_s is None:
            return self._counted(server["running"], queries)
        now_s, before = self._clock.monotonic(), self._before
        self._before = (now_s, used_s)
        if before is None or now_s <= before[0] or used_s < before[1]:
            return Load(None, "It is being measured; the next turn knows.", queries)
        cores = psutil.cpu_count() or 1
        percent = 100.0 * (used_s - before[1]) / (now_s - before[0]) / cores
        return Load(percent, f"by its processes, of {cores} cores", queries)

    def _counted(self, running: int, queries: tuple[str, ...]) -> Load:
        if self._cores is None:
            return Load(None, "The database is on another machine; say how many cores it has: database_cores.", queries)
        return Load(100.0 * running / self._cores, f"{running} backends run on {self._cores} cores", queries)


def _used_s(backend_pid: int, started_s: float) -> float | None:
    """Processor seconds of the server and all its processes so far; None if it is not on this machine."""
    try:
        postmaster = psutil.Process(backend_pid).parent()
        if postmaster is None or abs(postmaster.create_time() - started_s) > _SAME_S:
            return None
        times = postmaster.cpu_times()
        used_s = times.user + times.system + getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
        for child in postmaster.children():
            try:
                own = child.cpu_times()
            except psutil.NoSuchProcess:
                continue  # it has just ended, and the next turn finds its time among the postmaster's
            used_s += own.user + own.system
        return float(used_s)
    except psutil.Error:
        return None


def _without_data(query: str) -> str:
    return " ".join(_LITERAL.sub("…", query).split())[:160]
