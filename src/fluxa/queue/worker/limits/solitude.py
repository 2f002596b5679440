"""Lets one suspicious record be worked on while the process holds nothing else. Not: who is suspicious (triage)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

WAIT_S = 10.0
"""Seconds that the other queues claim nothing so that a suspect can be alone; if they are not done by then, it goes
back: a handler of theirs that hangs must not keep everybody waiting."""
ALONE_S = 10.0
"""Seconds that a suspect is alone. What kills a worker mostly does so at once; a slow one must not stop the others."""


class Solitude:
    """All queues of a process together, or one record alone.

    Args of the constructor: `hands` counts the messages in work in the whole process, suspects that wait not counted.
    """

    def __init__(self, hands: Callable[[], int]) -> None:
        self._hands = hands
        self._turn = asyncio.Lock()
        self._emptied = asyncio.Event()
        self.is_wanted = False
        """Whether nobody is to claim or begin anything."""

    def look(self) -> None:
        """Something ended: it may be quiet now."""
        if self.is_wanted and not self._hands():
            self._emptied.set()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[bool]:
        """Be alone for the first `ALONE_S` of the block; the value says whether that came about."""
        async with self._turn:
            self.is_wanted = True
            self._emptied.clear()
            self.look()
            try:
                async with asyncio.timeout(WAIT_S):
                    await self._emptied.wait()
            except TimeoutError:
                self.is_wanted = False
                yield False
                return
            except BaseException:
                self.is_wanted = False
                raise
            timer = asyncio.get_running_loop().call_later(ALONE_S, self._release)
            try:
                yield True
            finally:
                timer.cancel()
                self._release()

    def _release(self) -> None:
        self.is_wanted = False
