"""Works queues off for a bounded time and counts what came of it, beside any workers there are (QUEUE-12)."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from fluxa.kernel.clock import Clock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import QueueBackend
from fluxa.queue.health.reports import QueueReport
from fluxa.queue.registry import Registry
from fluxa.queue.worker.dispatcher import Dispatcher, DispatcherConfig
from fluxa.queue.worker.handlers import Handlers
from fluxa.resilience.breaker import BreakerState
from fluxa.telemetry.catalogue import Hook, LeasesLost, OutageBegan, OutageEnded, RecordsSettled, Signal

_TICK_S = 0.02
"""Between looks at whether a queue is done; nothing waits for it but the answer."""
_CLAIM_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class Drained:
    """What came of one queue.

    Attributes:
        done: records that are finished.
        retried: records that failed and will be tried again.
        dead: records that went to the dead letters.
        snoozed: records that were given back without an attempt.
        lost: messages that another worker had in the end.
        is_dry: whether a claim at the end found nothing more.
        is_resting: whether the queue's breaker opened, so that no more was tried.
        trouble: what kept the engine from answering, if anything did.
    """

    done: int = 0
    retried: int = 0
    dead: int = 0
    snoozed: int = 0
    lost: int = 0
    is_dry: bool = False
    is_resting: bool = False
    trouble: str = ""


class _Drain:
    """One call's drain while it goes on."""

    def __init__(self, queues: Sequence[str], began_s: float) -> None:
        self.began_s = began_s
        self.open = set(queues)
        """What is claimed from still."""
        self.found = {queue: Drained() for queue in queues}

    def change(self, queue: str, **news: object) -> None:
        """Note something about a queue."""
        self.found[queue] = replace(self.found[queue], **news)  # type: ignore[arg-type]  # the fields' own types


class Drainer:
    """Drains queues on demand with the machinery of workers; between drains nothing is claimed.

    How a queue fares is remembered from drain to drain: a breaker that is open stays so. A queue is drained by one
    call at a time; several calls side by side share the handlers' places.

    Args of the constructor: as of `Dispatcher`. What still runs when the time is over has `config.stop_within_s`
    more; then it is cut short, and its records go back as they came.
    """

    def __init__(
        self,
        *,
        backend: QueueBackend,
        registry: Registry,
        handlers: Handlers,
        database: Database,
        clock: Clock,
        hook: Hook,
        randomness: random.Random,
        is_paused: Callable[[str], bool],
        config: DispatcherConfig,
    ) -> None:
        self._clock = clock
        self._hook = hook
        self.is_paused = is_paused
        self._within_s = config.stop_within_s
        self._drains: dict[str, _Drain] = {}
        self._turn = asyncio.Lock()
        self._users = 0
        self._is_ending = False
        self._dispatcher = Dispatcher(
            backend=backend,
            registry=registry,
            handlers=handlers,
            database=database,
            clock=clock,
            hook=self._hear,
            randomness=randomness,
            is_paused=self._is_shut,
            config=replace(config, wait_s=_CLAIM_WAIT_S),
        )

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that have a handler here, most urgent first."""
        return self._dispatcher.queues

    def is_busy(self, queue: str) -> bool:
        """Whether another call drains the queue now."""
        return queue in self._drains

    def is_resting(self, queue: str) -> bool:
        """Whether the queue's breaker is open here and its rest is not over."""
        return any(
            one.queue == queue and one.breaker == BreakerState.OPEN and one.rests_until is not None
            for one in self._dispatcher.reports()
        )

    def reports(self) -> list[QueueReport]:
        """How the queues fare that are being drained now."""
        return [one for one in self._dispatcher.reports() if one.queue in self._drains]

    async def end(self) -> None:
        """Begin nothing new: the drains under way come to their end, and new ones find their time over."""
        self._is_ending = True

    async def drain(self, queues: Sequence[str], *, budget_s: float) -> Mapping[str, Drained]:
        """Work on queues until each has nothing ready, or the time is over.

        Args:
            queues: with a handler here, and none of them busy.
            budget_s: seconds in which new work is begun.

        Returns:
            What came of each, by queue.

        Raises:
            FluxaError: an outage before anything was begun.
        """
        if taken := [queue for queue in queues if queue in self._drains]:
            raise ValueError(f"being drained already: {', '.join(taken)}")
        drain = _Drain(queues, self._clock.monotonic())
        self._drains.update(dict.fromkeys(queues, drain))
        try:
            await self._enter()
            try:
                await self._until_over(drain, drain.began_s + budget_s)
            finally:
                drain.open.clear()
                await self._leave(queues)
        finally:
            for queue in queues:
                del self._drains[queue]
        return drain.found

    async def _until_over(self, drain: _Drain, until_s: float) -> None:
        while drain.open and not self._is_ending and self._clock.monotonic() < until_s:
            await asyncio.sleep(_TICK_S)
            for queue in list(drain.open):
                if self._dispatcher.is_dry(queue, since_s=drain.began_s):
                    drain.change(queue, is_dry=True)
                elif self.is_resting(queue):
                    drain.change(queue, is_resting=True)
                elif not self.is_paused(queue):
                    continue
                drain.open.discard(queue)

    async def _enter(self) -> None:
        """Have the dispatcher run."""
        async with self._turn:
            if not self._users:
                await self._dispatcher.start()
            self._users += 1

    async def _leave(self, queues: Sequence[str]) -> None:
        """Have nothing of these queues in hand; the last one to leave stops the dispatcher."""
        await asyncio.gather(*(self._dispatcher.quiet(queue, within_s=self._within_s) for queue in queues))
        async with self._turn:
            self._users -= 1
            if not self._users:
                await self._dispatcher.stop()

    def _is_shut(self, queue: str) -> bool:
        drain = self._drains.get(queue)
        return drain is None or queue not in drain.open or self.is_paused(queue)

    def _hear(self, signal: Signal) -> None:
        self._hook(signal)
        match signal:
            case RecordsSettled():
                self._count(signal)
            case LeasesLost() if (drain := self._drains.get(signal.queue)) is not None:
                drain.change(signal.queue, lost=drain.found[signal.queue].lost + signal.messages)
            case OutageBegan():
                self._trouble(signal.detail)
            case OutageEnded():
                self._trouble("")
            case _:
                pass  # told to the hook above; nothing to count

    def _count(self, signal: RecordsSettled) -> None:
        drain = self._drains.get(signal.queue)
        if drain is not None:
            known = drain.found[signal.queue]
            drain.change(
                signal.queue,
                done=known.done + signal.done,
                retried=known.retried + signal.retried,
                dead=known.dead + signal.parked,
                snoozed=known.snoozed + signal.snoozed,
            )

    def _trouble(self, detail: str) -> None:
        for queue, drain in self._drains.items():
            drain.change(queue, trouble=detail)
