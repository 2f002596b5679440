"""Redrive tasks: what was ordered, how far it is, and the orders to pause, go on and end. Moving is the runner's."""

import datetime as dt
import enum
import secrets
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from fluxa.kernel import json
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.postgres import sql
from fluxa.postgres.listen import notify
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Also, nothing_more
from fluxa.queue.backend import DeadLetterFilter, QueueBackend
from fluxa.queue.dead_letters.choice import REDRIVES_MAX, Planner, RedrivePlan, Terms, class_in
from fluxa.queue.dead_letters.pages import read_pages
from fluxa.queue.registry import Registry

_SQL = sql.load("fluxa.queue.dead_letters", "redrives.sql")

TOPIC = "fluxa:redrives"
"""The wake-up topic of runners; no queue can have this name."""

IDS_MAX = 100_000
"""Ids or keys that one task may name."""


class RedriveState(enum.StrEnum):
    """Where a task stands."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    DONE = "done"
    FAILED = "failed"
    """Something other than an outage is in the way; `detail` says what. It can be resumed."""


class RedriveTask(msgspec.Struct, frozen=True, kw_only=True):
    """A redrive that somebody ordered.

    Attributes:
        redrive_id: its name.
        queue: whose dead letters.
        state: where it stands.
        meant: which letters, as ordered; none beyond `up_to`.
        forced: codes of permanent or security failures that go back all the same.
        redrives_max: letters sent back so often stay; None: any number.
        rate_per_s: letters sent again a second, at most; None: as fast as it goes.
        up_to: the highest id that was meant when it began.
        cursor: the id up to which it has looked.
        total: letters that were meant when it began.
        handled: letters it has looked at.
        moved: letters that are back in their queue.
        refused: letters that stay, since their class or their count of redrives forbids it.
        looped: how many of these stay because of their count of redrives.
        quarantined: letters that were altered and are in quarantine.
        refused_by_code: how many stay because of their class, by error code.
        runner: who moved its last chunk; empty before the first and after a pause.
        detail: why it failed, if it did.
        created_by: who ordered it.
        created_at: when.
        updated_at: when its last step was.
        ended_at: when it was done, failed or was cancelled.
    """

    redrive_id: str
    queue: str
    state: RedriveState
    meant: DeadLetterFilter
    forced: tuple[str, ...]
    redrives_max: int | None
    rate_per_s: float | None
    up_to: int
    cursor: int
    total: int
    handled: int
    moved: int
    refused: int
    looped: int
    quarantined: int
    refused_by_code: dict[str, int]
    runner: str
    detail: str
    created_by: str
    created_at: dt.datetime
    updated_at: dt.datetime
    ended_at: dt.datetime | None

    @property
    def gone(self) -> int:
        """Letters that were meant and were not there any more: purged, or moved by another task."""
        looked_at = self.total if self.state is RedriveState.DONE else self.handled
        return max(looked_at, self.handled) - self.moved - self.refused - self.quarantined

    @property
    def open(self) -> bool:
        """Whether it may still move letters."""
        return self.state in {RedriveState.RUNNING, RedriveState.PAUSED}


_decode_task = msgspec.json.Decoder(RedriveTask)


def read_task(text: str) -> RedriveTask:
    """A task from its row as JSON."""
    return _decode_task.decode(text)


def new_redrive_id() -> str:
    """A name for a redrive that nobody has named."""
    return f"rd-{secrets.token_hex(6)}"


class RedriveTasks:
    """Orders and looks up redrives.

    Args of the constructor: `registry` knows each queue's own classes of error codes; without it the common
    table's count, and any queue is taken.
    """

    def __init__(self, database: Database, backend: QueueBackend, *, registry: Registry | None = None) -> None:
        self._database = database
        self._backend = backend
        self._registry = registry

    async def plan(
        self,
        queue: str,
        which: DeadLetterFilter,
        forced: Sequence[str] = (),
        *,
        redrives_max: int | None = REDRIVES_MAX,
    ) -> RedrivePlan:
        """What a redrive would do now (a dry run): reads and checks each letter, a page at a time.

        Raises:
            FluxaError: `NotFound` for an unknown queue, `InvalidRequest`; an outage.
        """
        self._check(queue, which)
        planner = Planner(Terms(frozenset(forced), redrives_max, class_in(self._registry, queue)))
        if which.up_to is None:
            last_id = (await self._backend.summarize_dead(queue, DeadLetterFilter())).last_id
            which = replace(which, up_to=last_id or "0")
        async for letters in read_pages(self._backend, queue, which):
            planner.add(letters)
        return planner.plan()

    async def create(
        self,
        queue: str,
        which: DeadLetterFilter,
        forced: Sequence[str] = (),
        rate_per_s: float | None = None,
        by: str = "",
        *,
        redrives_max: int | None = REDRIVES_MAX,
        redrive_id: str | None = None,
        also: Also = nothing_more,
    ) -> RedriveTask:
        """Order a redrive of the letters that are there now; letters that are parked later are not part of it.

        Args:
            queue: whose dead letters.
            which: which of them.
            forced: codes of permanent or security failures that are meant to go back all the same.
            rate_per_s: letters a second, over all machines; None: as fast as it goes.
            by: who orders it.
            redrives_max: letters sent back so often stay; None: any number.
            redrive_id: its name; with the name of a task that exists that one is returned, and nothing is ordered.
            also: done in the same transaction, if it is ordered.

        Raises:
            FluxaError: `NotFound` for an unknown queue, `InvalidRequest`; an outage.
        """
        self._check(queue, which)
        if rate_per_s is not None and not 0 < rate_per_s <= 1_000_000:  # noqa: PLR2004 - nobody moves more
            raise FluxaError(
                ErrorCode.INVALID_REQUEST, "The rate is more than 0 and at most 1 000 000 letters a second."
            )
        summary = await self._backend.summarize_dead(queue, which)
        name = redrive_id or new_redrive_id()
        async with self._database.transaction() as tx:
            ordered = await tx.execute(
                _SQL["insert_redrive"],
                name,
                queue,
                json.text(replace(which, up_to=summary.last_id or "0")),
                sorted(set(forced)),
                redrives_max,
                rate_per_s,
                int(summary.last_id or 0),
                summary.total,
                by,
            )
            if ordered:
                await also(tx)
        await notify(self._database, TOPIC)
        return await self.get(name)

    async def get(self, redrive_id: str) -> RedriveTask:
        """A task by its name.

        Raises:
            FluxaError: `NotFound`; an outage.
        """
        text = await self._database.fetch_value(_SQL["find_redrive"], redrive_id)
        if text is None:
            raise FluxaError(ErrorCode.NOT_FOUND, f"There is no redrive {redrive_id}.")
        return read_task(text)

    async def list(
        self, queue: str | None = None, states: Sequence[RedriveState] = (), *, limit: int = 100
    ) -> list[RedriveTask]:
        """The newest tasks first: of one queue and in some states only, if given."""
        rows = await self._database.fetch(_SQL["list_redrives"], queue, [str(one) for one in states] or None, limit)
        return [read_task(row["task"]) for row in rows]

    async def pause(self, redrive_id: str, also: Also = nothing_more) -> RedriveTask:
        """Stop a task until it is resumed; when this returns, it moves nothing more.

        Raises:
            FluxaError: `NotFound`; `Refused`, if it has ended; an outage.
        """
        return await self._change(redrive_id, also, RedriveState.PAUSED, RedriveState.RUNNING)

    async def resume(self, redrive_id: str, also: Also = nothing_more) -> RedriveTask:
        """Let a task that is paused or failed go on where it was. Raises as `pause` does."""
        task = await self._change(redrive_id, also, RedriveState.RUNNING, RedriveState.PAUSED, RedriveState.FAILED)
        await notify(self._database, TOPIC)
        return task

    async def cancel(self, redrive_id: str, also: Also = nothing_more) -> RedriveTask:
        """End a task; what it has moved stays moved. Raises as `pause` does."""
        ended_by = (RedriveState.RUNNING, RedriveState.PAUSED, RedriveState.FAILED)
        return await self._change(redrive_id, also, RedriveState.CANCELLED, *ended_by)

    async def _change(self, redrive_id: str, also: Also, state: RedriveState, *before: RedriveState) -> RedriveTask:
        async with self._database.transaction() as tx:
            text = await tx.fetch_value(_SQL["change_redrive"], redrive_id, str(state), [str(one) for one in before])
            if text is not None:
                await also(tx)
        if text is not None:
            return read_task(text)
        task = await self.get(redrive_id)
        if task.state is not state:
            raise FluxaError(ErrorCode.REFUSED, f"Redrive {redrive_id} is {task.state}: it cannot become {state}.")
        return task

    def _check(self, queue: str, which: DeadLetterFilter) -> None:
        if self._registry is not None:
            self._registry.get(queue)
        for what, given in (
            ("ids", which.message_ids),
            ("record ids", which.record_ids),
            ("keys", which.keys),
            ("codes", which.codes),
        ):
            if len(given) > IDS_MAX:
                raise FluxaError(ErrorCode.INVALID_REQUEST, f"A redrive names at most {IDS_MAX} {what}.")
