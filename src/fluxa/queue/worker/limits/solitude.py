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
        self._asked: set[object] = set()
        self._is_held = False

    @property
    def is_wanted(self) -> bool:
        """Whether nobody is to claim or begin anything."""
        return self._is_held or bool(self._asked)

    def ask(self, who: object) -> None:
        """Until `who` has its turn or gives it up, nothing is to be claimed: it would be in hand beside."""
        self._asked.add(who)

    def give_up(self, who: object) -> None:
        """Do not wait for `who`, if anybody does."""
        self._asked.discard(who)

    def look(self) -> None:
        """Something ended: it may be quiet now."""
        if self.is_wanted and not self._hands():
            self._emptied.set()

    @contextlib.asynccontextmanager
    async def alone(self, who: object) -> AsyncIterator[bool]:
        """Be alone for the first `ALONE_S` of the block; the value says whether that came about."""
        await self._turn.acquire()
        self._is_held = True
        self._asked.discard(who)
        try:
            self._emptied.clear()
            self.look()
            try:
                async with asyncio.timeout(WAIT_S):
                    await self._emptied.wait()
            except TimeoutError:
                self._release()
                yield False
                return
            timer = asyncio.get_running_loop().call_later(ALONE_S, self._release)
            try:
                yield True
            finally:
                timer.cancel()
        finally:
            self._release()
            self._turn.release()

    def _release(self) -> None:
        self._is_held = False
