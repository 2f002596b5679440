"""Carries out redrive tasks chunk by chunk, in any number of processes at once. Not: what was ordered (tasks)."""

import asyncio
import math
import secrets
from collections import Counter
from dataclasses import dataclass

import msgspec

from fluxa.kernel import json
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import FluxaError, RetryClass
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres import sql
from fluxa.postgres.listen import Listener
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction
from fluxa.queue.backend import QueueBackend
from fluxa.queue.dead_letters.choice import Judged, Terms, class_in, judge_all
from fluxa.queue.dead_letters.pages import PAGE, Page, read_page
from fluxa.queue.dead_letters.quarantine import Quarantine
from fluxa.queue.dead_letters.tasks import TOPIC, RedriveState, RedriveTask, read_task
from fluxa.queue.registry import Registry
from fluxa.telemetry.catalogue import Hook, RedriveAdvanced, RedriveEnded, RedrivesSeen
from fluxa.telemetry.duty import Duty

_SQL = sql.load("fluxa.queue.dead_letters", "redrives.sql")

_GRACE_S = 1.0
"""How long a task is left to the runner that was there last: a crashed one's is taken over after this."""

_CHUNK_S = 0.1
"""A task with a rate moves in chunks of this much time's letters."""

_LATE_MAX_S = 1.0
"""What is made up for at most; the statement that moves the pace on says the same."""

_IDLE_S = 5.0
_OUTAGE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Due:
    """What is next: a task or none, how long it has to wait, and how many there are."""

    task: RedriveTask | None
    due_in_s: float
    running: int


class RedriveRunner:
    """Moves the letters of all running tasks. A `Service`; one for each worker process.

    A chunk is one transaction: it locks the task's row, moves its letters, and moves the task's cursor and counts.
    A process that dies in it has moved nothing.

    Args of the constructor: `registry` knows each queue's own classes of error codes; `listener` hears of new tasks,
    without one they are looked for every five seconds; `only` names the one task to work on.
    """

    def __init__(
        self,
        database: Database,
        backend: QueueBackend,
        *,
        clock: Clock,
        hook: Hook,
        registry: Registry | None = None,
        listener: Listener | None = None,
        only: str | None = None,
    ) -> None:
        self._database = database
        self._backend = backend
        self._quarantine = Quarantine(database, backend)
        self._clock = clock
        self._hook = hook
        self._registry = registry
        self._listener = listener
        self._only = only
        self._name = secrets.token_hex(8)
        self._running = 0
        self._duty = Duty("redrive", clock=clock, hook=hook)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background; an outage is waited out."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="redrive-runner")

    async def stop(self) -> None:
        """End; a chunk under way is undone or whole, and another runner goes on from there."""
        task, self._task = self._task, None
        await cancel_and_wait(task)

    async def _run(self) -> None:
        while True:
            try:
                wait_s = await self.step()
            except Exception as error:  # noqa: BLE001 - told, and tried again: the tasks' rows know how far they are
                self._duty.failed(error)
                wait_s = _OUTAGE_S
            else:
                self._duty.worked()
            if wait_s > 0:
                await self._rest(wait_s)

    async def _rest(self, seconds: float) -> None:
        if self._listener is None:
            await asyncio.sleep(seconds)
        else:
            await self._listener.wait(TOPIC, seconds)

    async def step(self) -> float:
        """Do one chunk of the task whose turn it is; returns the seconds to wait before the next step.

        A task that something other than an outage stands in the way of becomes `failed`.

        Raises:
            FluxaError: an outage; nothing is half done.
        """
        due = await self._pick()
        if due.running != self._running:
            self._running = due.running
            self._hook(RedrivesSeen(due.running))
        if due.task is None:
            return _IDLE_S
        if due.due_in_s > 0:
            return min(due.due_in_s, _IDLE_S)
        try:
            went_on = await self._advance(due.task, max(0.0, -due.due_in_s) if due.task.runner == self._name else 0.0)
        except Exception as error:
            if isinstance(error, FluxaError) and error.retry is RetryClass.TRANSIENT:
                raise
            await self._fail(due.task, error)
            return 0.0
        return 0.0 if went_on else _GRACE_S / 4

    async def _pick(self) -> _Due:
        row = await self._database.fetch_row(_SQL["pick_due"], self._name, _GRACE_S, self._only)
        if row is None:
            return _Due(None, _IDLE_S, 0)
        return _Due(read_task(row["task"]), float(row["due_in_s"]), int(row["running"]))

    async def _advance(self, task: RedriveTask, late_s: float) -> bool:
        """One chunk; False if another runner was there first, or the task has ended."""
        began_s = self._clock.monotonic()
        page, judged = await self._read(task, late_s)
        async with self._database.transaction() as tx:
            text = await tx.fetch_value(_SQL["lock_redrive"], task.redrive_id, task.cursor)
            if text is None:
                return False
            moved = await self._backend.redrive(task.queue, judged.move, tx=tx) if judged.move else 0
            quarantined = await self._quarantine.take(tx, task.queue, judged.quarantine, redrive_id=task.redrive_id)
            counts = _Counts(moved, quarantined, msgspec.json.decode(text, type=dict[str, int]))
            after = await self._note(tx, task, page, judged, counts)
        self._tell(task, after, len(page.letters), self._clock.monotonic() - began_s)
        return True

    async def _read(self, task: RedriveTask, late_s: float) -> tuple[Page, Judged]:
        """The letters of one chunk: as many as it takes to have a chunk's worth to send again."""
        moves = chunk_letters(task.rate_per_s, late_s)
        # Where most letters stay, a page of only so many would be a transaction for a handful.
        some = math.ceil(moves * (task.handled + moves) / (task.moved + moves))
        limit = min(PAGE, some)
        page = await read_page(self._backend, task.queue, task.meant, after=str(task.cursor), limit=limit)
        terms = Terms(frozenset(task.forced), task.redrives_max, class_in(self._registry, task.queue))
        judged = judge_all(page.letters, terms, moves_max=moves)
        if judged.seen < len(page.letters):
            letters = page.letters[: judged.seen]
            page = Page(letters, letters[-1].message_id, last=False)
        return page, judged

    async def _note(
        self, tx: Transaction, task: RedriveTask, page: Page, judged: Judged, counts: "_Counts"
    ) -> RedriveTask:
        refused_by_code = Counter(counts.refused_before)
        refused_by_code.update(judged.refused_by_code)
        text = await tx.fetch_value(
            _SQL["advance_redrive"],
            task.redrive_id,
            int(page.cursor),
            len(page.letters),
            counts.moved,
            judged.refused,
            judged.looped,
            counts.quarantined,
            json.text(refused_by_code),
            self._name,
            page.last,
        )
        return read_task(text)

    def _tell(self, before: RedriveTask, after: RedriveTask, letters: int, latency_s: float) -> None:
        moved, refused = after.moved - before.moved, after.refused - before.refused
        quarantined = after.quarantined - before.quarantined
        self._hook(
            RedriveAdvanced(
                redrive_id=after.redrive_id,
                queue=after.queue,
                moved=moved,
                refused=refused,
                quarantined=quarantined,
                gone=letters - moved - refused - quarantined,
                latency_s=latency_s,
            )
        )
        if after.state is RedriveState.DONE:
            self._hook(_ended(after))

    async def _fail(self, task: RedriveTask, error: Exception) -> None:
        detail = error.detail if isinstance(error, FluxaError) else repr(error)
        await self._database.execute(_SQL["fail_redrive"], task.redrive_id, detail[:4000].replace("\x00", ""))
        self._hook(_ended(msgspec.structs.replace(task, state=RedriveState.FAILED, detail=detail)))


@dataclass(frozen=True, slots=True)
class _Counts:
    """What a chunk really did, and what had been refused before it."""

    moved: int
    quarantined: int
    refused_before: dict[str, int]


def chunk_letters(rate_per_s: float | None, late_s: float = 0.0) -> int:
    """Letters that one chunk sends again at most: few enough that a rate is an even flow, and that a lock is short.

    A chunk that begins late, on a busy machine, takes what has come due since then along, or the rate is not held.
    """
    if rate_per_s is None:
        return PAGE
    return max(1, min(PAGE, math.ceil(rate_per_s * (_CHUNK_S + min(late_s, _LATE_MAX_S)))))


def _ended(task: RedriveTask) -> RedriveEnded:
    return RedriveEnded(
        redrive_id=task.redrive_id,
        queue=task.queue,
        state=str(task.state),
        moved=task.moved,
        refused=task.refused,
        quarantined=task.quarantined,
        detail=task.detail,
    )
