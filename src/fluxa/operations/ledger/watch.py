"""Verifies the audit log while it runs: what is new each time, all of it once a day. Not: how (verify)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from fluxa.kernel.clock import Clock
from fluxa.kernel.ids import Tenant
from fluxa.operations.checks.routine import Verdict
from fluxa.operations.ledger.chain import Head
from fluxa.operations.ledger.ledger import read_head
from fluxa.operations.ledger.verify import Known, Report, Verifier
from fluxa.postgres import sql
from fluxa.postgres.pool import Database
from fluxa.postgres.transaction import Transaction

_SQL = sql.load("fluxa.operations.ledger", "watch.sql")
_AGAIN_S = 3600.0
"""While something is wrong all is verified this often: so it shows that it was mended."""
_TOLD = 5


class LedgerCheck:
    """A check for `fluxa.operations.checks`.

    Between two whole verifications each chain is checked from where it was last found whole. A chain in which something
    is wrong keeps its faults until a whole verification finds it intact.

    Args:
        database: where the log is.
        anchors: gives the heads that are kept elsewhere.
        clock: says when a whole verification is due.
        whole_every_s: seconds between two of them.
    """

    def __init__(
        self,
        database: Database,
        anchors: Callable[[], Awaitable[Sequence[Head]]],
        *,
        clock: Clock,
        whole_every_s: float,
    ) -> None:
        self._database = database
        self._anchors = anchors
        self._clock = clock
        self._whole_every_s = whole_every_s

    async def __call__(self, state: Mapping[str, Any]) -> Verdict:
        """Verify what is due.

        Raises:
            FluxaError: an outage of the database or of the store of anchors: it is not known.
        """
        now_s = self._clock.now().timestamp()
        whole_s, broken = state.get("whole_s"), dict(state.get("broken", {}))
        every_s = min(self._whole_every_s, _AGAIN_S) if broken else self._whole_every_s
        # A clock that was set back must not put the whole verification off.
        is_due = whole_s is None or not 0 <= now_s - whole_s < every_s
        checkpoints = [read_head(row) for row in await self._database.fetch(_SQL["list_checkpoints"])]
        verifier = Verifier(self._database)
        if is_due:
            report = await verifier.verify(anchors=await self._anchors(), known=Known(checkpoints))
            broken, whole_s = {}, now_s
        else:
            report = await verifier.verify(known=Known(checkpoints, only_after=True, broken=broken))
        broken |= report.broken

        async def keep(tx: Transaction) -> None:
            await _keep(tx, report.whole)

        detail = _told(report, broken) if broken else ""
        return Verdict(sum(broken.values()), detail, {"whole_s": whole_s, "broken": broken}, keep)


async def _keep(tx: Transaction, heads: Sequence[Head]) -> None:
    if heads:
        await tx.execute(
            _SQL["put_checkpoints"],
            [head.tenant for head in heads],
            [head.number for head in heads],
            [head.hash for head in heads],
            [head.at for head in heads],
        )


def _told(report: Report, broken: Mapping[Tenant, int]) -> str:
    whose = ", ".join(f"{tenant} ({faults})" for tenant, faults in sorted(broken.items())[:_TOLD])
    found = "; ".join(f"{one.tenant}: {one.detail}" for one in report.findings[:_TOLD])
    return f"{sum(broken.values())} faults in the chains of {whose}. {found}. Run: fluxa audit verify"
