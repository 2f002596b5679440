"""Sends entries to a sink: in order, at least once, from where the cursor stands. Not: how a sink takes them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from fluxa.kernel.clock import Clock
from fluxa.kernel.errors import FluxaError
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.operations.ledger.chain import Entry
from fluxa.operations.ledger.sinks.cursors import Cursors
from fluxa.operations.ledger.sinks.sink import Sink
from fluxa.telemetry.catalogue import Hook, LedgerSent
from fluxa.telemetry.duty import Duty

_BATCH_ENTRIES = 200
_BATCH_BYTES = 1024 * 1024
_STOP_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class SendingConfig:
    """How it is sent.

    Attributes:
        period_s: seconds between two looks for new entries.
        hold_s: seconds after which another process goes on for one that died.
        retry_base_s: pause after the first failure; doubled after each one that follows.
        retry_cap_s: the longest pause.
    """

    period_s: float = 1.0
    hold_s: float = 10.0
    retry_base_s: float = 1.0
    retry_cap_s: float = 60.0


class Sending:
    """Sends to one sink in the background. A `Service`; any number of processes may run it, and one of them sends.

    An entry is passed over by nothing: whatever the sink says, it is tried again, and what follows waits behind it.

    Args:
        name: the sink's name in the settings.
        sink: takes the entries.
        cursors: remember what has arrived.
        holder: names this process.
        config: how.
        clock: measures turns.
        hook: hears what was sent, and what failed.
        chance: between 0 and 1, spreads repetitions.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        cursors: Cursors,
        *,
        holder: str,
        config: SendingConfig,
        clock: Clock,
        hook: Hook,
        chance: Callable[[], float],
    ) -> None:
        self._name = name
        self._sink = sink
        self._cursors = cursors
        self._holder = holder
        self._config = config
        self._hook = hook
        self._chance = chance
        self._duty = Duty(f"audit_sink {name}", clock=clock, hook=hook)
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background; an outage of the sink is waited out."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"audit sink {self._name}")

    async def stop(self) -> None:
        """End; what was under way is sent again by whoever goes on."""
        task, self._task = self._task, None
        if task is None:
            return
        await cancel_and_wait(task)
        # If not, another one takes over when this one has been silent for a while.
        await self._duty.farewell(lambda: self._cursors.leave(self._name, self._holder), within_s=_STOP_WITHIN_S)

    async def send(self) -> int:
        """Send all that waits; how many entries. None if another process sends.

        Raises:
            FluxaError: what kept it from being sent; it is noted, and nothing is lost.
        """
        sent = 0
        while await self._cursors.take(self._name, self._holder, self._config.hold_s):
            entries = _batch(await self._cursors.unsent(self._name, limit=_BATCH_ENTRIES))
            if not entries:
                break
            try:
                async with self._holding():
                    await self._sink.deliver(entries)
            except FluxaError as error:
                await self._cursors.failed(self._name, f"{error.code}: {error.detail}")
                raise
            await self._cursors.advance(self._name, entries)
            self._hook(LedgerSent(self._name, len(entries)))
            sent += len(entries)
        return sent

    async def _run(self) -> None:
        while True:
            pause_s = self._config.period_s
            try:
                await self.send()
            except Exception as error:  # noqa: BLE001 - told; what was not sent is sent by the next turn
                self._duty.failed(error)
                pause_s = self._backoff_s(error)
            else:
                self._duty.worked()
                self._failures = 0
            await asyncio.sleep(pause_s)

    def _backoff_s(self, error: Exception) -> float:
        config = self._config
        pause_s = min(config.retry_cap_s, config.retry_base_s * 2.0 ** min(self._failures, 30))
        self._failures += 1
        asked_s = error.retry_after_s if isinstance(error, FluxaError) else None
        return max(pause_s * (0.5 + self._chance() / 2), min(asked_s or 0.0, config.retry_cap_s))

    @contextlib.asynccontextmanager
    async def _holding(self) -> AsyncIterator[None]:
        """Nobody else sends while a delivery takes long."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(self._config.hold_s / 3)
                # If it fails another process may begin as well: then entries come twice, and none is missed.
                with contextlib.suppress(FluxaError):
                    await self._cursors.take(self._name, self._holder, self._config.hold_s)

        renewal = asyncio.create_task(renew(), name=f"audit sink {self._name} is held")
        try:
            yield
        finally:
            await cancel_and_wait(renewal)


def _batch(entries: Sequence[Entry]) -> Sequence[Entry]:
    """As many of the first entries as are not too large together; one at least."""
    size = 0
    for count, entry in enumerate(entries):
        size += len(entry.detail) + len(entry.actor) + len(entry.subject) + 500
        if count and size > _BATCH_BYTES:
            return entries[:count]
    return entries
