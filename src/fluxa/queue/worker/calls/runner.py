"""Calls a handler so that it can be cut short: time is up, its lease is lost, the worker stops. Not: what is called."""

import asyncio
import contextvars
import enum
import threading
from collections.abc import Callable, Sequence
from typing import Any

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import ErrorCode, FluxaError
from fluxa.queue.worker.calls.attempt import as_fluxa
from fluxa.queue.worker.calls.held import Held


class Cut(enum.Enum):
    """Why a call was cut short."""

    TIMEOUT = enum.auto()
    LOST = enum.auto()
    STOP = enum.auto()


class CutError(Exception):
    """The call was cut short."""

    def __init__(self, cut: Cut) -> None:
        self.cut = cut
        super().__init__(cut.name)


class Runner:
    """One of a queue's places to call its handler from. All calls of a place come from the task that runs it.

    A call is watched from outside by `look`: a timer for each call would cost more than many a handler.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._task: asyncio.Task[Any] | None = None
        self.story = ""
        """The correlation id that its lines of log carry now."""
        self.began_s = 0.0
        """When the last call began, on the clock that never goes back."""
        self.ended_s = 0.0
        """When it ended."""
        self._cut: Cut | None = None
        self._cancels = 0
        self._due_s = 0.0
        self._again_s = 0.0
        self.helds: Sequence[Held] = ()
        """What the handler works on now; empty between calls."""

    def settle_in(self) -> None:
        """From now on calls come from the current task."""
        self._task = asyncio.current_task()

    async def call(
        self,
        function: Callable[..., Any],
        job: object,
        extras: dict[str, object],
        *,
        helds: Sequence[Held],
        timeout_s: float,
    ) -> object:
        """The handler's answer.

        Raises:
            CutError: it was cut short, whatever it made of that.
            FluxaError: what it raised; `HandlerError` for what is not ours.
        """
        self.began_s = began_s = self._clock.monotonic()
        self._due_s = began_s + timeout_s
        self.helds = helds
        try:
            answer = await function(job, **extras)
        except asyncio.CancelledError:
            self._settle_cut()
            if self._task is not None and self._task.cancelling():
                raise  # the worker itself is being ended
            raise FluxaError(ErrorCode.HANDLER_ERROR, "the handler awaited something that was cancelled") from None
        except (Exception, SystemExit) as error:
            self._settle_cut()
            raise as_fluxa(error) from error
        finally:
            self.helds = ()
            self.ended_s = self._clock.monotonic()
        if self._cut is not None:
            self._settle_cut()  # it heard that it was to end, and went on to its own end: too late
        return answer

    def look(self, now_s: float) -> None:
        """Cut the call short if its time is up; one that does not heed is told again each second."""
        if self.helds and now_s >= self._due_s:
            if self._cut is None:
                self.cut(Cut.TIMEOUT)
            elif now_s >= self._again_s:
                self._cancel()

    def cut(self, why: Cut) -> None:
        """Cut the call short, if one runs; the first reason stands."""
        if self.helds and self._cut is None:
            self._cut = why
            self._cancel()

    def _cancel(self) -> None:
        self._again_s = self._clock.monotonic() + 1.0
        if self._task is not None:
            self._cancels += 1
            self._task.cancel()

    def _settle_cut(self) -> None:
        cut, self._cut = self._cut, None
        if cut is not None:
            for _ in range(self._cancels):
                if self._task is not None:
                    self._task.uncancel()
            self._cancels = 0
            raise CutError(cut) from None


class Threads:
    """Runs plain functions of one queue in threads, so many at once at most.

    A thread cannot be ended from outside: one whose call was cut short keeps its place until the function returns.
    The threads do not keep the process from ending.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._places = asyncio.Semaphore(limit)

    async def run(self, function: Callable[..., Any], job: object, extras: dict[str, object]) -> object:
        """The function's result, or its exception."""
        loop = asyncio.get_running_loop()
        await self._places.acquire()
        done: asyncio.Future[object] = loop.create_future()
        context = contextvars.copy_context()

        def tell(result: object, error: BaseException | None) -> None:
            self._places.release()
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)

        def work() -> None:
            result, problem = None, None
            try:
                result = context.run(function, job, **extras)
            except BaseException as error:  # noqa: BLE001 - handed to the one who waits
                problem = error if not isinstance(error, StopIteration) else RuntimeError(f"StopIteration: {error}")
            try:
                loop.call_soon_threadsafe(tell, result, problem)
            except RuntimeError:
                return  # the loop has ended: nobody waits any more

        try:
            threading.Thread(target=work, name=f"{self._name}-handler", daemon=True).start()
        except BaseException:
            self._places.release()  # the machine has no thread left
            raise
        return await done
