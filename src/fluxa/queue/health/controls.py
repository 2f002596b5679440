"""Pausing queues: who said so and why, and how every worker learns of it. Not: what a worker does then."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import override

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres import sql
from fluxa.postgres.listen import Following, Listener, notify
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Also, Row, nothing_more
from fluxa.telemetry.catalogue import Hook, QueuePaused, QueueResumed

_SQL = sql.load("fluxa.queue.health", "controls.sql")

TOPIC = "queue_controls"
"""The wake-up topic that says: an operator changed something."""

_TEXT_MAX = 1000


@dataclass(frozen=True, slots=True)
class Control:
    """The last word about a queue.

    Attributes:
        queue: which one.
        paused: whether nothing is to be claimed from it.
        by: who said so.
        reason: why.
        changed_at: when.
    """

    queue: str
    paused: bool
    by: str
    reason: str
    changed_at: dt.datetime


class Controls:
    """Pauses and resumes queues. A paused queue takes work in; what was claimed is finished; nothing new is claimed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pause(self, queue: str, by: str, reason: str, *, also: Also = nothing_more) -> Control:
        """Claim no more from a queue, on every machine, within a second or two.

        Args:
            queue: which one; whether it exists is the caller's to know.
            by: who says so.
            reason: why; whoever finds the queue paused reads it.
            also: done in the same transaction.

        Raises:
            FluxaError: `InvalidRequest` for a name or a reason that is missing; an outage.
        """
        for what, text in (("who pauses it", by), ("why", reason)):
            if not text.strip():
                raise FluxaError(ErrorCode.INVALID_REQUEST, f"A queue is paused only with a word on {what}.")
        return await self._put(queue, by, reason, paused=True, also=also)

    async def resume(self, queue: str, by: str, reason: str = "", *, also: Also = nothing_more) -> Control:
        """Claim from a queue again. Raises as `pause` does."""
        if not by.strip():
            raise FluxaError(ErrorCode.INVALID_REQUEST, "A queue is resumed only with a word on who resumes it.")
        return await self._put(queue, by, reason, paused=False, also=also)

    async def all(self) -> list[Control]:
        """What was last said about each queue that was ever paused, by name."""
        return [_control(row) for row in await self._database.fetch(_SQL["list_controls"])]

    async def _put(self, queue: str, by: str, reason: str, *, paused: bool, also: Also) -> Control:
        async with self._database.transaction() as tx:
            row = await tx.fetch_row(_SQL["put_control"], queue, paused, reason[:_TEXT_MAX], by[:_TEXT_MAX])
            await also(tx)
        await notify(self._database, TOPIC)
        assert row is not None  # noqa: S101 - an upsert that returns gives its row
        return _control(row)


def _control(row: Row) -> Control:
    return Control(row["queue"], row["paused"], row["changed_by"], row["reason"], row["changed_at"])


class PauseWatch(Following):
    """Knows at any moment which queues are paused. A `Service`.

    It looks every second, and at once when an operator speaks. While the database is out, what it knew last holds:
    a pause is not forgotten by an outage.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        hook: Hook,
        listener: Listener | None = None,
        period_s: float = 1.0,
    ) -> None:
        super().__init__("queue_controls", TOPIC, listener=listener, clock=clock, hook=hook, period_s=period_s)
        self._controls = Controls(database)
        self._hook = hook
        self._paused: Mapping[str, Control] = {}
        self._changed = asyncio.Event()

    def is_paused(self, queue: str) -> bool:
        """Whether nothing is to be claimed from a queue now."""
        return queue in self._paused

    def paused(self) -> Mapping[str, Control]:
        """The queues that are paused, with who and why."""
        return self._paused

    async def wait_change(self, timeout_s: float) -> None:
        """Return when a queue was paused or resumed, or after so many seconds."""
        changed = self._changed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await changed.wait()

    @override
    async def look(self) -> None:
        """Learn what is paused now, and tell what changed."""
        found = {control.queue: control for control in await self._controls.all() if control.paused}
        before, self._paused = self._paused, found
        if found.keys() == before.keys():
            return
        for queue in found.keys() - before.keys():
            self._hook(QueuePaused(queue, found[queue].by, found[queue].reason))
        for queue in before.keys() - found.keys():
            self._hook(QueueResumed(queue))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
