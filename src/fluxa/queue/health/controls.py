"""Pausing queues: who said so and why, and how every worker learns of it. Not: what a worker does then."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres import sql
from fluxa.postgres.listen import Listener, notify
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Also, Row, nothing_more
from fluxa.telemetry.catalogue import Hook, QueuePaused, QueueResumed
from fluxa.telemetry.duty import Duty

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


class PauseWatch:
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
        self._controls = Controls(database)
        self._hook = hook
        self._listener = listener
        self._period_s = period_s
        self._duty = Duty("queue_controls", clock=clock, hook=hook)
        self._paused: Mapping[str, Control] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Learn what is paused, then keep up in the background.

        Raises:
            FluxaError: if it cannot be learnt: a worker that does not know must not claim.
        """
        if self._task is None:
            await self._look()
            self._task = asyncio.create_task(self._run(), name="pause-watch")

    async def stop(self) -> None:
        """End the background work."""
        task, self._task = self._task, None
        await cancel_and_wait(task)

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

    async def _run(self) -> None:
        while True:
            await self._rest()
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - what was known holds; the next turn looks again
                self._duty.failed(error)
            else:
                self._duty.worked()

    async def _rest(self) -> None:
        if self._listener is None:
            await asyncio.sleep(self._period_s)
        else:
            await self._listener.wait(TOPIC, self._period_s)

    async def _look(self) -> None:
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
