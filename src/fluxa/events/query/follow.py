"""One stream of new events as server-sent events, from now or from where the client was (PIPE-8)."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fluxa.events.query.rules import cursor
from fluxa.events.query.schemas import Position
from fluxa.events.query.store import EventReads, Filters
from fluxa.events.query.tail import BATCH, Ring, Tailer, frame
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.kernel.ids import Tenant

MEDIA_TYPE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How a stream behaves.

    Attributes:
        heartbeat_s: seconds between signs of life when nothing happens.
        stall_s: seconds that a client may leave a chunk unread before its stream is ended.
        longest_s: seconds after which a stream is ended, so that its credential is checked again.
        retry_s: seconds between attempts to read during an outage.
    """

    heartbeat_s: float = 15.0
    stall_s: float = 30.0
    longest_s: float = 3600.0
    retry_s: float = 1.0


class Follower:
    """One client of the tail.

    Args:
        reads: where it reads by itself when it is behind the ring.
        tailer: who reads for all.
        tenant: whose events it may see.
        filters: type, source and subject that it wants.
        after: where it was; None for from now on.
        clock: measures the stream's life.
        limits: how the stream behaves.
    """

    def __init__(
        self,
        reads: EventReads,
        tailer: Tailer,
        *,
        tenant: Tenant,
        filters: Filters,
        after: Position | None,
        clock: Clock,
        limits: StreamLimits,
    ) -> None:
        self._reads = reads
        self._tailer = tailer
        self._tenant = tenant
        self._filters = filters
        self._after = after
        self._clock = clock
        self._limits = limits

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """What to send, piece by piece; ends with an `end` event that says why.

        Raises:
            FluxaError: before the first chunk: `ShuttingDown`, `Overloaded`, `Refused` or an outage.
        """
        ring = await self._tailer.follow(self._tenant)
        try:
            position = await self._begin(ring)
            ends_at = self._clock.monotonic() + self._limits.longest_s
            # The client learns its position at once, so that it can come back even before the first event.
            yield b"retry: 2000\nid: %s\n\n" % cursor(position).encode()
            sent_at = self._clock.monotonic()
            while self._tailer.running:
                changed = ring.changed
                text, position = await self._next(ring, position)
                if not text and position >= ring.end:
                    await _happened(changed, self._limits.heartbeat_s)
                now = self._clock.monotonic()
                if not text and now - sent_at >= self._limits.heartbeat_s:
                    text = b": still here\nid: %s\n\n" % cursor(position).encode()
                if text:
                    yield text
                    sent_at = now
                if now >= ends_at:
                    yield _end("the stream is as old as a stream may be; connect again")
                    return
            yield _end("the server is shutting down; connect again")
        finally:
            self._tailer.leave(self._tenant)

    async def _begin(self, ring: Ring) -> Position:
        """Where the stream begins."""
        if self._after is None:
            return ring.end
        if self._after > await self._reads.horizon():
            raise FluxaError(
                ErrorCode.REFUSED,
                "The position is ahead of all events: it is from another database, or from before a restore. "
                "What comes next cannot be told from it. Connect without it.",
            )
        return self._after

    async def _next(self, ring: Ring, position: Position) -> tuple[bytes, Position]:
        """What comes after a position, and how far that reaches."""
        if position >= ring.end:
            return b"", position
        frames = ring.after(position)
        if frames is not None:
            return b"".join(one.text for one in frames if one.fits(self._filters)), ring.end
        try:
            horizon = await self._reads.horizon()
            rows, reached = await self._reads.tail(self._tenant, position, horizon, BATCH)
        except FluxaError as error:
            if error.retry is not RetryClass.TRANSIENT:
                raise
            await asyncio.sleep(self._limits.retry_s)  # an outage: the tailer tells of it, and the position is kept
            return b"", position
        return b"".join(one.text for row in rows if (one := frame(row)).fits(self._filters)), reached


def _end(reason: str) -> bytes:
    return b'event: end\ndata: {"reason":"%s"}\n\n' % reason.encode()


async def _happened(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for the event, at most so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()
