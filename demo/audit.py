"""Asks the database what became of everything, after the last event was processed."""

import asyncio
import datetime as dt
import math
from collections import Counter
from dataclasses import dataclass

from demo.ledger import Found
from fluxa.postgres import sql
from fluxa.postgres.pool import Database

_SQL = sql.load("demo", "audit.sql")


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from the door to the table."""

    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Course:
    """How the run went over time, by seconds since it began.

    Attributes:
        flow: second to (received, stored).
        latency: second of arrival to (p50, p95, p99) in seconds.
    """

    flow: dict[int, tuple[int, int]]
    latency: dict[int, tuple[float, float, float]]


class Audit:
    """Questions about one tenant's events."""

    def __init__(self, database: Database, tenant: str) -> None:
        self._database = database
        self._tenant = tenant
        self._stored = 0
        self._horizon = "0"
        self._counting = asyncio.Lock()

    async def progress(self) -> int:
        """Events that are stored or parked by now; each call counts only what is new."""
        async with self._counting:
            row = await self._database.fetch_row(_SQL["count_stored_since"], self._tenant, self._horizon)
            if row is not None:
                self._stored += int(row["stored"])
                self._horizon = str(row["horizon"])
        return self._stored + int(await self._database.fetch_value(_SQL["count_parked"], self._tenant))

    async def found(self, queued: int) -> Found:
        """Everything that can be compared with the sender's book."""
        stored = await self._database.fetch(_SQL["list_stored"], self._tenant)
        seen = await self._database.fetch(_SQL["list_seen"], self._tenant)
        parked = await self._database.fetch(_SQL["list_parked"], self._tenant)
        return Found(
            stored=Counter({(row["source"], row["id"]): row["times"] for row in stored}),
            seen={(row["source"], row["id"]): row["seen"] for row in seen},
            parked={(row["source"], row["id"]): row["error_code"] for row in parked},
            queued=queued,
        )

    async def latency(self, began: dt.datetime) -> Latency:
        """From the door to the table, over all events that came since."""
        return Latency(*map(float, await self._database.fetch_value(_SQL["measure_latency"], self._tenant, began)))

    async def course(self, began: dt.datetime) -> Course:
        """How it went over time, from a moment on."""
        flow = await self._database.fetch(_SQL["list_flow"], self._tenant, began)
        latency = await self._database.fetch(_SQL["list_latency"], self._tenant, began)
        return Course(
            flow={_second(row["second"], began): (row["received"], row["stored"]) for row in flow},
            latency={_second(row["second"], began): tuple(map(float, row["seconds"])) for row in latency},  # type: ignore[misc]
        )

    async def busiest_story(self) -> str:
        """The correlation id with the most flights."""
        row = await self._database.fetch_row(_SQL["find_busiest_story"], self._tenant)
        return "" if row is None else str(row["correlation_id"])


def _second(moment: dt.datetime, began: dt.datetime) -> int:
    return max(0, math.ceil((moment - began).total_seconds()))
