"""Keeps anchors of the audit log on time. Not: what an anchor is (anchors)."""

import asyncio

from fluxa.kernel.clock import Clock
from fluxa.kernel.ids import Tenant
from fluxa.kernel.lifecycle import cancel_and_wait
from fluxa.operations.ledger.anchors import Anchors
from fluxa.operations.ledger.ledger import Ledger
from fluxa.telemetry.catalogue import Hook, LedgerAnchored
from fluxa.telemetry.duty import take_turn

_REPEAT_S = 30.0


class Anchoring:
    """Anchors each chain that has grown, at the start and then each period. A `Service`; any number may run."""

    def __init__(self, ledger: Ledger, anchors: Anchors, *, clock: Clock, hook: Hook, period_s: float) -> None:
        self._ledger = ledger
        self._anchors = anchors
        self._clock = clock
        self._hook = hook
        self._period_s = period_s
        self._kept: dict[Tenant, int] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin in the background: no store that does not answer keeps a process from starting."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="ledger-anchoring")

    async def stop(self) -> None:
        """End the background work."""
        task, self._task = self._task, None
        await cancel_and_wait(task)

    async def anchor(self) -> int:
        """Anchor what has grown since the last time; how many chains.

        Raises:
            FluxaError: as `Anchors.write` does, or an outage.
        """
        grown = [head for head in await self._ledger.heads() if head.number > self._kept.get(head.tenant, 0)]
        for head in grown:
            await self._anchors.write([head])
            self._kept[head.tenant] = head.number
        if grown:
            self._hook(LedgerAnchored(len(grown)))
        return len(grown)

    async def _run(self) -> None:
        while True:
            worked = await take_turn("ledger-anchors", self.anchor, clock=self._clock, hook=self._hook)
            await asyncio.sleep(self._period_s if worked else min(_REPEAT_S, self._period_s))
