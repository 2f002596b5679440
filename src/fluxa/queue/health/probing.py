"""Asks one thing at a time and never fails: what cannot be found out is unknown, with the reason (QUEUE-7)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError, RetryClass
from fluxa.telemetry.catalogue import Hook, ProbeFailed

T = TypeVar("T")

ALL = "all"
"""The queue that a probe names which asks about all of them at once."""

_TIMEOUT = "Timeout"


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a probe found, or why it found nothing.

    Attributes:
        value: what it found; None if it is unknown.
        reason: why it is unknown; empty if it is known.
    """

    value: T | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProbeConfig:
    """How hard probes try.

    Attributes:
        timeout_s: seconds for one probe, repeats included.
        retries: repeats of a probe that failed in a way that may pass.
        at_once: probes under way at once, so that work keeps its database connections.
        budget_s: seconds for all probes of a snapshot; what was not asked by then is unknown.
    """

    timeout_s: float = 2.0
    retries: int = 1
    at_once: int = 3
    budget_s: float = 6.0


class Prober:
    """Runs the probes of a process. One that hangs keeps its place, so that hanging ones never grow in number."""

    def __init__(self, config: ProbeConfig, *, clock: Clock, hook: Hook) -> None:
        self._config = config
        self._clock = clock
        self._hook = hook
        self._slots = asyncio.Semaphore(config.at_once)
        self._under_way: set[asyncio.Task[Any]] = set()

    def deadline_s(self) -> float:
        """When a snapshot that begins now has used up its time."""
        return self._clock.monotonic() + self._config.budget_s

    async def ask(self, queue: str, probe: str, question: Callable[[], Awaitable[T]], *, until_s: float) -> Answer[T]:
        """The answer to one question, whatever happens.

        Args:
            queue: whom it is about, or `ALL`.
            probe: which part of the health it is for.
            question: asked again after a failure that may pass, as often as the configuration allows.
            until_s: when the time for the whole snapshot is over.
        """
        try:
            async with asyncio.timeout(until_s - self._clock.monotonic()):
                await self._slots.acquire()
        except TimeoutError:
            return self._unknown(queue, probe, _TIMEOUT, "not asked: other questions took all the time there was")
        task = asyncio.create_task(self._repeat(question), name=f"probe-{queue}-{probe}")
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        limit_s = min(self._config.timeout_s, max(0.0, until_s - self._clock.monotonic()))
        try:
            await asyncio.wait((task,), timeout=limit_s)
        finally:
            # Not waited for: a driver that cancels a statement may itself wait for a server that answers nothing.
            task.cancel()
        if not task.done():
            return self._unknown(queue, probe, _TIMEOUT, f"no answer within {limit_s:g} s")
        return self._told(queue, probe, task)

    def _told(self, queue: str, probe: str, task: asyncio.Task[T]) -> Answer[T]:
        error = task.exception()
        match error:
            case None:
                return Answer(task.result())
            case FluxaError():
                return self._unknown(queue, probe, error.code, error.detail)
            case TimeoutError():
                return self._unknown(queue, probe, _TIMEOUT, "the server did not answer in time")
            case _:
                # A defect in one probe must not hide what the others found.
                return self._unknown(queue, probe, ErrorCode.INTERNAL, f"{type(error).__name__}: {error}")

    async def _repeat(self, question: Callable[[], Awaitable[T]]) -> T:
        for _ in range(self._config.retries):
            try:
                return await question()
            except FluxaError as error:
                if error.retry is not RetryClass.TRANSIENT:
                    raise
        return await question()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        self._slots.release()
        if not task.cancelled():
            task.exception()  # read here, so that one which ended too late is not reported as forgotten

    def _unknown(self, queue: str, probe: str, code: str, reason: str) -> Answer[T]:
        self._hook(ProbeFailed(queue, probe, code, reason))
        return Answer(None, f"{code}: {reason}")
