"""Lets one lane work while the others hold nothing: what may kill the process must not take neighbours along."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator


class Solitude:
    """Lanes work together, or one of them alone."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._places = asyncio.Semaphore(lanes)
        self._is_reserved = False

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Work beside the other lanes; waits while one of them is alone."""
        async with self._places:
            yield

    @contextlib.contextmanager
    def reserved(self, *, wanted: bool) -> Iterator[bool]:
        """Have the next time alone until the block ends, if it is wanted; the value says whether one has it.

        To be asked for inside `together`: whoever does not get it still gives back what it wanted it for, before the
        other is alone. A record that waited for its turn would count the other's crash as its own.
        """
        granted = wanted and not self._is_reserved
        self._is_reserved |= granted
        try:
            yield granted
        finally:
            if granted:
                self._is_reserved = False

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Work when the others are done with what they hold. For the one who has it `reserved`, after `together`."""
        async with contextlib.AsyncExitStack() as places:
            for _ in range(self._lanes):
                await places.enter_async_context(self._places)
            yield
