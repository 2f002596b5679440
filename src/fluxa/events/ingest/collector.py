"""Group commit (PIPE-5): while one flush commits, the next gathers; no timer, bounded memory.

A caller hands in records and waits until they are durable. What is too much is refused at once.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fluxa.events.carriage import QUEUE
from fluxa.kernel.clock import Clock, SystemClock
from fluxa.kernel.errors import DatabaseUnavailableError, ErrorCode, FluxaError, RetryClass
from fluxa.queue.backend import Envelope, QueueBackend
from fluxa.queue.record import Record
from fluxa.telemetry import trace
from fluxa.telemetry.catalogue import FlushFinished, Hook, OutageBegan, OutageEnded, Status, silent
from fluxa.telemetry.catalogue.spans import SpanName

_RECORD_OVERHEAD_BYTES = 400
_UNTRACED: contextlib.nullcontext[None] = contextlib.nullcontext()
Refused = Mapping[int, FluxaError]
"""Records that the engine refused for what they are, by their place in what was handed in."""


@dataclass(frozen=True, slots=True)
class CollectorLimits:
    """How much may wait, and how it is packed.

    Attributes:
        waiting_records: records that may be waiting or under way at once.
        waiting_bytes: the same in bytes.
        flush_records: records after which a flush takes no further request.
        flush_bytes: the same in bytes.
        envelope_records: records of one queue message.
        envelope_bytes: bytes of the records of one queue message, before packing.
        flushes: flushes under way at once.
        flush_timeout_s: seconds after which the engine is taken to be out of reach.
        retry_after_s: what a refused caller is told to wait.
    """

    waiting_records: int = 40_000
    waiting_bytes: int = 64 * 1024 * 1024
    flush_records: int = 5_000
    flush_bytes: int = 8 * 1024 * 1024
    envelope_records: int = 500
    envelope_bytes: int = 512 * 1024
    flushes: int = 2
    flush_timeout_s: float = 20.0
    retry_after_s: float = 1.0


class _Waiter:
    """One caller's records and the future it waits on; its result is what was refused, or the failure."""

    __slots__ = ("future", "place", "records", "size")

    def __init__(self, records: Sequence[Record], size: int, future: "asyncio.Future[Refused | FluxaError]") -> None:
        self.records = records
        self.size = size
        self.future = future
        self.place = trace.traceparent()


def _always() -> bool:
    return True


class Collector:
    """Gathers the records of concurrent callers into few commits. A `fluxa.kernel.lifecycle.Service`.

    Args:
        backend: where the records go.
        queue: its queue.
        limits: how much may wait.
        hook: hears each flush, and when an outage begins and ends.
        clock: measures.
        is_packing: whether several records may share a message; asked at each flush.
    """

    def __init__(
        self,
        backend: QueueBackend,
        *,
        queue: str = QUEUE,
        limits: CollectorLimits | None = None,
        hook: Hook = silent,
        clock: Clock | None = None,
        is_packing: Callable[[], bool] = _always,
    ) -> None:
        self._backend = backend
        self._is_packing = is_packing
        self._queue = queue
        self._limits = limits or CollectorLimits()
        self._hook = hook
        self._clock = clock or SystemClock()
        # Packing cannot help random bytes and base64 adds a third, so raw bytes stay well below the engine's limit.
        self._envelope_bytes = min(self._limits.envelope_bytes, backend.capabilities.max_message_bytes * 2 // 3)
        self._gathering: deque[_Waiter] = deque()
        self._held_records = 0
        self._held_bytes = 0
        self._flushes: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._outage_since: float | None = None

    @property
    def held(self) -> tuple[int, int]:
        """Records and bytes that wait or are under way."""
        return self._held_records, self._held_bytes

    async def start(self) -> None:
        """Nothing to begin: a flush starts with the first record."""

    async def stop(self) -> None:
        """Take nothing new, and return when all that was taken is durable or has failed."""
        self._stopping = True
        while self._flushes:
            await asyncio.wait(self._flushes)

    async def add(self, records: Sequence[Record]) -> Refused:
        """Make records durable; they are when this returns, but for those that are refused.

        A caller that is cancelled leaves no harm: its records may be stored or not.

        Raises:
            FluxaError: `Overloaded` when too much waits; `ShuttingDown`; what the engine raised for the
                flush, so that some of the records may be stored all the same.
        """
        size = sum(len(record.body) for record in records) + _RECORD_OVERHEAD_BYTES * len(records)
        self._admit(len(records), size)
        waiter = _Waiter(records, size, asyncio.get_running_loop().create_future())
        self._gathering.append(waiter)
        self._held_records += len(records)
        self._held_bytes += size
        if len(self._flushes) < self._limits.flushes:
            task = asyncio.create_task(self._flush(), name="collector-flush")
            self._flushes.add(task)
            task.add_done_callback(self._flushes.discard)
        outcome = await waiter.future
        if isinstance(outcome, FluxaError):
            # A fresh one for each caller: an error that several raise would gather all their tracebacks.
            raise FluxaError(outcome.code, outcome.detail, retry_after_s=outcome.retry_after_s) from outcome
        return outcome

    def _admit(self, count: int, size: int) -> None:
        if self._stopping:
            raise FluxaError(ErrorCode.SHUTTING_DOWN, retry_after_s=self._limits.retry_after_s)
        if not self._held_records:
            return  # what is alone is let in whatever its size: the request's own limits hold
        if (
            self._held_records + count > self._limits.waiting_records
            or self._held_bytes + size > self._limits.waiting_bytes
        ):
            raise FluxaError(
                ErrorCode.OVERLOADED,
                f"{self._held_records} events wait to be stored; no more are taken until some are.",
                retry_after_s=self._limits.retry_after_s,
            )

    async def _flush(self) -> None:
        while waiters := self._take():
            try:
                await self._write(waiters)
            finally:
                for waiter in waiters:
                    self._release(waiter)
                    if not waiter.future.done():  # only when this task itself is cancelled
                        waiter.future.set_result(FluxaError(ErrorCode.SHUTTING_DOWN))

    def _take(self) -> list[_Waiter]:
        """The callers of the next flush, whole requests, in the order they came."""
        taken: list[_Waiter] = []
        count = size = 0
        while self._gathering and (
            not taken or (count < self._limits.flush_records and size < self._limits.flush_bytes)
        ):
            waiter = self._gathering.popleft()
            if waiter.future.done():  # its caller went away before its turn
                self._release(waiter)
                continue
            taken.append(waiter)
            count += len(waiter.records)
            size += waiter.size
        return taken

    def _release(self, waiter: _Waiter) -> None:
        self._held_records -= len(waiter.records)
        self._held_bytes -= waiter.size

    async def _write(self, waiters: list[_Waiter]) -> None:
        records = [record for waiter in waiters for record in waiter.records]
        began = self._clock.monotonic()
        refused: Refused = {}
        failure: FluxaError | None = None
        envelopes = 0
        try:
            with self._traced(waiters, len(records)):
                envelopes = await self._send(records)
        except FluxaError as error:
            if error.retry is RetryClass.TRANSIENT:
                failure = error
            else:
                refused, failure = await self._isolate(records, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must learn of it
            failure = FluxaError(ErrorCode.INTERNAL, f"{type(error).__name__}: {error}")
            failure.__cause__ = error
        self._tell(len(records), envelopes, began, failure)
        start = 0
        for waiter in waiters:
            end = start + len(waiter.records)
            if not waiter.future.done():
                own = {index - start: error for index, error in refused.items() if start <= index < end}
                waiter.future.set_result(own if failure is None else failure)
            start = end

    def _traced(self, waiters: list[_Waiter], records: int) -> contextlib.AbstractContextManager[object]:
        """The flush as a span of its own: it serves many requests, and is linked to them."""
        links = trace.sampled_links(waiter.place for waiter in waiters) if trace.tracer() is not None else ()
        if not links:
            return _UNTRACED
        return trace.span(
            SpanName.FLUSH, self._queue, links=links, attributes={"messaging.batch.message_count": records}, root=True
        )

    async def _send(self, records: Sequence[Record]) -> int:
        """Store records, all or none; the number of messages they made."""
        count = self._limits.envelope_records if self._is_packing() else 1
        envelopes = list(pack(records, count, self._envelope_bytes))
        try:
            async with asyncio.timeout(self._limits.flush_timeout_s):
                await self._backend.send(self._queue, envelopes)
        except TimeoutError:
            raise DatabaseUnavailableError(f"the queue did not answer in {self._limits.flush_timeout_s:g} s") from None
        return len(envelopes)

    async def _isolate(self, records: Sequence[Record], error: FluxaError) -> tuple[Refused, FluxaError | None]:
        """Store all but the records that the engine refuses, by halving; gives up if it is not just a few."""
        refused: dict[int, FluxaError] = {}
        if len(records) == 1:
            return {0: error}, None
        attempts = 4 * len(records).bit_length() + 16
        spans = deque([(0, len(records) // 2), (len(records) // 2, len(records))])
        while spans:
            start, end = spans.popleft()
            attempts -= 1
            if attempts < 0:
                return refused, error
            try:
                await self._send(records[start:end])
            except FluxaError as found:
                if found.retry is RetryClass.TRANSIENT:
                    return refused, found
                if end - start == 1:
                    refused[start] = found
                else:
                    middle = (start + end) // 2
                    spans.extend(((start, middle), (middle, end)))
        return refused, None

    def _tell(self, events: int, envelopes: int, began: float, failure: FluxaError | None) -> None:
        now = self._clock.monotonic()
        status = Status.SUCCESS if failure is None else Status.FAILURE
        self._hook(FlushFinished(events, envelopes, now - began, status))
        if failure is not None and self._outage_since is None and failure.retry is RetryClass.TRANSIENT:
            self._outage_since = began
            self._hook(OutageBegan("queue", failure.detail))
        elif failure is None and self._outage_since is not None:
            self._hook(OutageEnded("queue", now - self._outage_since))
            self._outage_since = None


def pack(records: Sequence[Record], count: int, size: int) -> Iterator[Envelope]:
    """Envelopes of at most so many records and bytes; one record alone may be larger."""
    start = held = 0
    for index, record in enumerate(records):
        need = len(record.body) + _RECORD_OVERHEAD_BYTES
        if index > start and (index - start == count or held + need > size):
            yield Envelope(tuple(records[start:index]))
            start, held = index, 0
        held += need
    if start < len(records):
        yield Envelope(tuple(records[start:]))
