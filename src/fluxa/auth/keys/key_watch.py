"""Keeps what a process remembers of API keys true, and writes down when they were used. Not: the checks (key_guard)."""

import asyncio
import datetime as dt
from collections.abc import Mapping
from typing import Final, Protocol

from typing_extensions import override

from fluxa.auth.keys.api_keys import TOPIC
from fluxa.auth.keys.key_guard import KeyGuard
from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import DatabaseUnavailableError, FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.postgres.listen import Listener
from fluxa.telemetry.catalogue import Hook
from fluxa.telemetry.duty import Duty, RareDuty

POLL_S: Final = 2.0
"""How long a process that hears nothing goes on with what it remembers."""
USE_S: Final = 60.0
"""Seconds between two writings of when keys were used."""
_FAREWELL_S: Final = 2.0


class ChangeCount(Protocol):
    """Counts changes; `fluxa.auth.keys.api_keys.ApiKeys` is one."""

    async def changes(self) -> int:
        """How often something was taken away from keys."""
        ...


class KeyWatch:
    """Makes the guard doubt its memory when a key was revoked, rotated or ended. A `fluxa.kernel.lifecycle.Service`.

    A wake-up says it within milliseconds. Where none is heard (the listener is away, or a pooler swallows it), the
    count of changes is compared every `poll_s`.
    """

    def __init__(
        self,
        guard: KeyGuard,
        keys: ChangeCount,
        *,
        listener: Listener,
        clock: Clock,
        hook: Hook,
        poll_s: float = POLL_S,
    ) -> None:
        self._guard = guard
        self._keys = keys
        self._listener = listener
        self._poll_s = poll_s
        self._duty = Duty("api keys", clock=clock, hook=hook)
        self._count: int | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Watch from now on, in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._follow(), name="api-keys")

    async def stop(self) -> None:
        """Watch no more."""
        task, self._task = self._task, None
        await cancel_and_wait(task)

    async def _follow(self) -> None:
        while True:
            if await self._listener.wait(TOPIC, self._poll_s):
                self._guard.doubt()
            try:
                await self._compare()
            except FluxaError as error:
                self._duty.failed(error)
            else:
                self._duty.worked()

    async def _compare(self) -> None:
        try:
            async with asyncio.timeout(self._poll_s):  # a slow answer must not keep a wake-up waiting
                count = await self._keys.changes()
        except TimeoutError:
            raise DatabaseUnavailableError("counting the changes of API keys took too long") from None
        if count != self._count:
            self._count = count
            self._guard.doubt()


class UseLog(Protocol):
    """Keeps when keys were used; `fluxa.auth.keys.api_keys.ApiKeys` is one."""

    async def note_use(self, used_at: Mapping[str, dt.datetime]) -> None:
        """Write these down together."""
        ...


class KeyUse(RareDuty):
    """Writes down when keys were used last, once a minute for all of them, and at the end."""

    def __init__(self, guard: KeyGuard, log: UseLog, *, clock: Clock, hook: Hook, every_s: float = USE_S) -> None:
        super().__init__("api keys used", self._write, clock=clock, hook=hook, every_s=every_s)
        self._guard = guard
        self._log = log
        self._end = Duty("api keys used", clock=clock, hook=hook)

    @override
    async def stop(self) -> None:
        """Write the last ones, then end."""
        await super().stop()
        await self._end.farewell(self._write, within_s=_FAREWELL_S)

    async def _write(self) -> None:
        # What an outage keeps from being written is lost: it says how a key was used within a minute, and no more.
        await self._log.note_use(self._guard.take_used())
