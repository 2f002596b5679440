"""Many queues in one process: starts their services, stops them, looks after them. Not: one queue's work (serving)."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres.pool import Database
from fluxa.queue.backend import QueueBackend
from fluxa.queue.health.reports import QueueReport
from fluxa.queue.registry import Registry
from fluxa.queue.worker.handlers import Handlers
from fluxa.queue.worker.limits.admission import Admission
from fluxa.queue.worker.limits.guard import MemoryGuard
from fluxa.queue.worker.limits.outage import Outage
from fluxa.queue.worker.limits.solitude import Solitude
from fluxa.queue.worker.serving import Serving, Shared
from fluxa.queue.worker.settler import Settler
from fluxa.telemetry.catalogue import Hook, LoopBlocked

_TICK_S = 0.1
_TICKS_A_SECOND = 10
_BLOCKED_S = 1.0
"""A loop that was away for longer was kept by somebody."""
_STALLED_S = 600.0
_LAST_S = 3.0
"""Seconds for what was cut short to clean up and be settled, once the time to stop is over."""


def _never(_queue: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class DispatcherConfig:
    """How a worker works.

    Attributes:
        capacity: handler calls at once of all queues together; 0 for as many as the queues may have each.
        memory_limit_bytes: nothing is claimed while the process holds more; None for no limit.
        wait_s: seconds that a claim waits for work; also how soon an idle worker notices `stop`.
        stop_within_s: seconds to finish what was begun before it is given back.
    """

    capacity: int = 0
    memory_limit_bytes: int | None = None
    wait_s: float = 1.0
    stop_within_s: float = 20.0


class Dispatcher:
    """Serves the queues that have handlers, side by side. A `Service`.

    Args of the constructor: `database` is needed where a handler takes a transaction; `queues` names those to serve
    (None: all that have a handler); while `is_paused` says so of a queue nothing is claimed from it.

    Raises:
        FluxaError: `Configuration` for a queue without a handler, `NotFound` for one that is not in the registry.
    """

    def __init__(
        self,
        *,
        backend: QueueBackend,
        registry: Registry,
        handlers: Handlers,
        database: Database | None,
        clock: Clock,
        hook: Hook,
        randomness: random.Random,
        queues: Sequence[str] | None = None,
        is_paused: Callable[[str], bool] = _never,
        config: DispatcherConfig | None = None,
    ) -> None:
        self._config = config = config or DispatcherConfig()
        names = [handler.queue for handler in handlers] if queues is None else list(dict.fromkeys(queues))
        specs = [registry.get(name) for name in names]
        specs.sort(key=lambda spec: (spec.priority, spec.name))
        chosen = {spec.name: handlers.get(spec.name) for spec in specs}
        if database is None and any(handler.tx is not None for handler in chosen.values()):
            raise FluxaError(ErrorCode.CONFIGURATION, "A handler takes a transaction, and there is no database.")
        self._backend = backend
        self._clock = clock
        self._hook = hook
        self._guard = MemoryGuard(config.memory_limit_bytes, hook=hook)
        self._solitude = Solitude(lambda: sum(serving.hands for serving in self._servings))
        outage = Outage("queue", clock=clock, hook=hook)
        self._settler = Settler(backend, outage=outage, clock=clock, chance=randomness.random)
        admission = Admission.of(specs, config.capacity)
        self._is_shared = admission.is_contested
        shared = Shared(
            backend=backend,
            database=database,
            settler=self._settler,
            outage=outage,
            admission=admission if self._is_shared else None,
            guard=self._guard,
            solitude=self._solitude,
            is_paused=is_paused,
            wait_s=config.wait_s,
            clock=clock,
            chance=randomness.random,
            hook=hook,
        )
        self._servings = [Serving(spec, chosen[spec.name], shared) for spec in specs]
        self._watch: asyncio.Task[None] | None = None

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues it serves, most urgent first."""
        return tuple(serving.queue for serving in self._servings)

    def reports(self) -> list[QueueReport]:
        """How each queue fares in this process."""
        return [serving.report() for serving in self._servings]

    def is_dry(self, queue: str, *, since_s: float) -> bool:
        """Whether nothing of a queue is in hand, and a claim begun since then (monotonic clock) found nothing."""
        serving = self._of(queue)
        return serving.is_empty and serving.dry_s >= since_s

    async def quiet(self, queue: str, *, within_s: float) -> None:
        """Have nothing of a paused queue in hand: what still runs after so many seconds is cut short and goes back."""
        serving = self._of(queue)
        for limit_s in (within_s, _LAST_S):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await serving.idle()
                    return
            serving.cut()

    async def start(self) -> None:
        """Make the queues that are new, and begin.

        Raises:
            FluxaError: an outage, or a name that cannot name a queue.
        """
        if self._watch is not None:
            return
        for serving in self._servings:
            await self._backend.create(serving.queue)
        for serving in self._servings:
            await serving.start()
        self._watch = asyncio.create_task(self._look_after(), name="worker-watch")

    async def stop(self) -> None:
        """Finish what was begun within the time for it; give the rest back to the queues at once."""
        if self._watch is None:
            return
        for serving in self._servings:
            serving.stop_taking()
        if not await self._emptied(self._config.stop_within_s):
            for serving in self._servings:
                serving.cut()
            await self._emptied(_LAST_S)
        await self._settler.stop()
        for serving in self._servings:
            await serving.end()
        watch, self._watch = self._watch, None
        await cancel_and_wait(watch)

    async def check(self) -> None:
        """Raise if a queue's service ended, or did nothing for ten minutes.

        An outage of the engine is no such thing: it is tried again and again.

        Raises:
            FluxaError: `Internal`, naming the queue.
        """
        now_s = self._clock.monotonic()
        if self._watch is not None and self._watch.done():
            raise FluxaError(ErrorCode.INTERNAL, "The watch of the worker has ended; restart the process.")
        for serving in self._servings if self._watch is not None else ():
            idle_s = now_s - serving.moved_s
            if not serving.is_running or idle_s > _STALLED_S:
                how = f"has not moved for {idle_s:.0f} s" if serving.is_running else "has ended"
                raise FluxaError(ErrorCode.INTERNAL, f"The service of {serving.queue} {how}; restart the process.")

    def _of(self, queue: str) -> Serving:
        return next(serving for serving in self._servings if serving.queue == queue)

    async def _emptied(self, within_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(serving.empty() for serving in self._servings))
                return True
        return False

    async def _look_after(self) -> None:
        ticks, last_s = 0, self._clock.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = self._clock.monotonic()
            if now_s - last_s - _TICK_S > _BLOCKED_S:
                self._hook(LoopBlocked(now_s - last_s - _TICK_S))
            last_s = now_s
            ticks += 1
            if ticks % _TICKS_A_SECOND == 0:
                self._guard.look()
            self._settler.look()
            self._solitude.look()
            for serving in self._servings:
                serving.look(now_s)
