"""Keeps anchors of the audit log on time. Not: what an anchor is (anchors)."""

from fluxa.kernel.clock import Clock
from fluxa.kernel.ids import Tenant
from fluxa.operations.ledger.anchors import Anchors
from fluxa.operations.ledger.ledger import Ledger
from fluxa.telemetry.catalogue import Hook, LedgerAnchored
from fluxa.telemetry.duty import RareDuty

_REPEAT_S = 30.0


class Anchoring(RareDuty):
    """Anchors each chain that has grown, at the start and then each period. A `Service`; any number may run."""

    def __init__(self, ledger: Ledger, anchors: Anchors, *, clock: Clock, hook: Hook, period_s: float) -> None:
        repeat_s = min(_REPEAT_S, period_s)
        super().__init__("ledger-anchors", self.anchor, clock=clock, hook=hook, every_s=period_s, repeat_s=repeat_s)
        self._ledger = ledger
        self._anchors = anchors
        self._kept: dict[Tenant, int] = {}

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
