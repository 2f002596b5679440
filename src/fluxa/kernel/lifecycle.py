"""How long-lived parts start and stop, in order and in reverse. Not: what they do in between."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Protocol


class Service(Protocol):
    """A part that runs for a while. Both verbs may be called twice; the second call does nothing."""

    async def start(self) -> None:
        """Be ready when this returns."""
        ...

    async def stop(self) -> None:
        """Finish what was begun, take nothing new, and be gone when this returns."""
        ...


class Lifetime:
    """Starts services in order and stops them in reverse, also when one of them fails to start."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()

    async def start(self, service: Service) -> None:
        """Start one service and remember to stop it."""
        await service.start()
        self._stack.push_async_callback(service.stop)

    def on_stop(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Remember something to do when stopping."""
        self._stack.push_async_callback(callback)

    async def stop(self) -> None:
        """Stop what was started, last first."""
        await self._stack.aclose()


async def cancel_and_wait(task: asyncio.Task[object] | asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it is gone; its own error, if any, is raised."""
    if task is None or task.done():
        return
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
