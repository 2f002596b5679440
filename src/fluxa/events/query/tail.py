"""Reads new events once for all who follow them: a horizon no late commit can pass, and a ring per tenant.

A follower keeps its own position: inside the ring it takes what was read for all, behind it (too slow, or
back from long ago) it reads by itself. So memory is bounded by the rings, and a slow one holds up nobody.
"""

import asyncio
import bisect
import itertools
from collections import deque
from dataclasses import dataclass, field

from fluxa.events.query.rules import cursor, listed_item, position_of
from fluxa.events.query.schemas import Position
from fluxa.events.query.store import EventReads, Filters
from fluxa.kernel import json
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.ids import Tenant
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres.transaction import Row
from fluxa.telemetry.catalogue import Hook, OutageBegan, OutageEnded

BATCH = 500
DEPENDENCY = "database"


@dataclass(frozen=True, slots=True)
class Frame:
    """One event as it is sent to followers.

    Attributes:
        position: where it stands.
        type: for filters.
        source: for filters.
        subject: for filters.
        text: the server-sent event.
    """

    position: Position
    type: str
    source: str
    subject: str | None
    text: bytes

    def fits(self, filters: Filters) -> bool:
        """Whether a follower with these filters wants it."""
        return (
            filters.type in {None, self.type}
            and filters.source in {None, self.source}
            and filters.subject in {None, self.subject}
        )


def frame(row: Row) -> Frame:
    """The frame of a row."""
    found = position_of(row)
    # Line breaks between the tokens of the producer's JSON would end the field; parsers join the lines again.
    lines = json.encode(listed_item(row)).splitlines()
    text = b"id: %s\n%s\n\n" % (cursor(found).encode(), b"\n".join(b"data: " + line for line in lines))
    return Frame(found, row["type"], row["source"], row["subject"], text)


@dataclass(slots=True)
class Ring:
    """The newest events of one tenant: all those after `start` and up to `end`.

    Attributes:
        start: followers before this position have missed something here.
        end: how far was read.
        frames: the events between the two.
        size_bytes: their length in all.
        followers: how many use it; without one it is given up.
        changed: set, and replaced, when there is something new.
    """

    start: Position
    end: Position
    frames: deque[Frame] = field(default_factory=deque)
    size_bytes: int = 0
    followers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def extend(self, frames: list[Frame], end: Position, max_bytes: int) -> None:
        """Take in what was read; forget the oldest beyond the limit."""
        for one in frames:
            self.frames.append(one)
            self.size_bytes += len(one.text)
        while self.size_bytes > max_bytes:
            oldest = self.frames.popleft()
            self.size_bytes -= len(oldest.text)
            self.start = oldest.position
        self.end = end
        if frames:
            self.wake()

    def after(self, position: Position) -> list[Frame] | None:
        """The frames after a position; None if some of them are forgotten."""
        if position < self.start:
            return None
        first = bisect.bisect_right(self.frames, position, key=lambda one: one.position)
        return list(itertools.islice(self.frames, first, None))

    def wake(self) -> None:
        """Wake all who wait."""
        self.changed.set()
        self.changed = asyncio.Event()


class Tailer:
    """The one reader of new events in this process. A `fluxa.kernel.lifecycle.Service`.

    Its `stop` ends all streams, so an app calls it before its server waits for open requests.

    Args:
        reads: where events are.
        hook: hears of outages.
        clock: measures them.
        poll_s: seconds between two looks, while anybody follows.
        ring_bytes: bytes of events kept for each tenant that is followed.
        followers_max: streams at once; each tenant among them costs up to `ring_bytes`.
    """

    def __init__(
        self,
        reads: EventReads,
        *,
        hook: Hook,
        clock: Clock,
        poll_s: float = 0.25,
        ring_bytes: int = 1024 * 1024,
        followers_max: int = 256,
    ) -> None:
        self._reads = reads
        self._hook = hook
        self._clock = clock
        self._poll_s = poll_s
        self._ring_bytes = ring_bytes
        self._followers_max = followers_max
        self._rings: dict[Tenant, Ring] = {}
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether streams go on."""
        return self._task is not None and not self._task.done()

    async def start(self) -> None:
        """Begin to read as soon as somebody follows."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="tailer")

    async def stop(self) -> None:
        """End the reading and all streams."""
        task, self._task = self._task, None
        for ring in self._rings.values():
            ring.wake()
        await cancel_and_wait(task)

    async def follow(self, tenant: Tenant) -> Ring:
        """The tenant's ring; to be given back by `leave`.

        Raises:
            FluxaError: `ShuttingDown`; `Overloaded` if there are too many streams; an outage.
        """
        if self._task is None:
            raise FluxaError(ErrorCode.SHUTTING_DOWN, retry_after_s=1)
        if self._task.done():
            self._task.result()  # raises what ended it: a defect, not an outage
        if sum(ring.followers for ring in self._rings.values()) >= self._followers_max:
            raise FluxaError(
                ErrorCode.OVERLOADED, f"This process serves {self._followers_max} streams already.", retry_after_s=5
            )
        ring = self._rings.get(tenant)
        if ring is None:
            horizon = await self._reads.horizon()
            ring = self._rings.setdefault(tenant, Ring(horizon, horizon))
        ring.followers += 1
        self._wanted.set()
        return ring

    def leave(self, tenant: Tenant) -> None:
        """One follower of the tenant less."""
        ring = self._rings[tenant]
        ring.followers -= 1
        if not ring.followers:
            del self._rings[tenant]

    async def _run(self) -> None:
        outage_began: float | None = None
        while True:
            if not self._rings and outage_began is None:
                self._wanted.clear()
                await self._wanted.wait()
            try:
                more = await self._look()
            except FluxaError as error:
                if outage_began is None:
                    outage_began = self._clock.monotonic()
                    self._hook(OutageBegan(DEPENDENCY, error.detail))
                more = False
            else:
                if outage_began is not None:
                    self._hook(OutageEnded(DEPENDENCY, self._clock.monotonic() - outage_began))
                    outage_began = None
            if not more:
                await asyncio.sleep(self._poll_s)

    async def _look(self) -> bool:
        """Read what is new for every tenant that is followed; whether there is more."""
        horizon = await self._reads.horizon()
        more = False
        for tenant, ring in list(self._rings.items()):
            if ring.end >= horizon:
                continue
            rows, reached = await self._reads.tail(tenant, ring.end, horizon, BATCH)
            ring.extend([frame(row) for row in rows], reached, self._ring_bytes)
            more = more or reached < horizon
        return more
