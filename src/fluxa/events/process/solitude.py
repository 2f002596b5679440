"""Lets one lane work while the others hold nothing: what may kill the process must not take neighbours along."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Solitude:
    """Lanes work together, or one of them alone."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._places = asyncio.Semaphore(lanes)
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Work beside the other lanes; waits while one of them is alone."""
        async with self._places:
            yield

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Work when the others are done with what they hold. Not to be asked for inside `together`."""
        async with self._turn, contextlib.AsyncExitStack() as places:
            for _ in range(self._lanes):
                await places.enter_async_context(self._places)
            yield
