"""Signals one can wait for, so that no test sleeps and hopes."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fluxa.telemetry.catalogue import Signal

S = TypeVar("S", bound=Signal)


class Signals:
    """A `telemetry.catalogue.Hook` that remembers, and wakes who waits."""

    def __init__(self) -> None:
        self.heard: list[Signal] = []
        self._changed = asyncio.Event()

    def hear(self, signal: Signal) -> None:
        """The hook."""
        self.heard.append(signal)
        self._changed.set()

    async def wait_for(
        self, kind: type[S], where: Callable[[S], bool] = lambda _signal: True, *, timeout_s: float = 10.0
    ) -> S:
        """The first signal of a kind for which the condition holds, past ones included.

        Raises:
            TimeoutError: if none comes in time.
        """
        seen = 0
        async with asyncio.timeout(timeout_s):
            while True:
                self._changed.clear()
                for signal in self.heard[seen:]:
                    if isinstance(signal, kind) and where(signal):
                        return signal
                seen = len(self.heard)
                await self._changed.wait()
