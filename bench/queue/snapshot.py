"""`held_snapshot_vs_start`: steady load while another connection holds a snapshot, so that no dead row goes away."""

import asyncio
import contextlib
import os
import statistics
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from bench.queue import steady
from bench.queue.contestants import Contestant, connected, working
from bench.queue.ours import ONES, PACKED
from bench.queue.rivals import rivals
from bench.report import charts
from bench.report.book import Part
from bench.report.conditions import Run, conditions
from bench.report.figures import Curve, Figure, of_values
from bench.rows import load
from fluxa.kernel.clock import SystemClock

PICTURE = "snapshot.svg"
_BODIES = 20_000
_WARM_S = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long.

    Attributes:
        window_s: of a point of the curve.
        before_s: seconds without the snapshot.
        held_s: seconds under it.
    """

    window_s: float
    before_s: float
    held_s: float

    @property
    def ends(self) -> int:
        """Windows that are taken together at either end: a minute of the long run, less of the short ones."""
        return max(1, round(self.before_s / self.window_s))


_LONG = Plan(10.0, 60.0, 600.0)
_SHORT = Plan(5.0, 15.0, 75.0)
_QUICK = Plan(1.0, 3.0, 8.0)
_SAID = (
    "A producer sends 1000 jobs whenever fewer than 8000 are unhandled, and a worker process handles them.",
    "Then another connection opens a REPEATABLE READ transaction and keeps it: no vacuum can remove dead rows.",
    "The curve begins with the time before the snapshot. The bar compares the last minute with the minute *before* it.",
)
_NOTES = (
    "The bar is taken with envelopes of one: a row for each job, as the other queues have it. Packed, less rows die.",
    "The peers get the same fault for a shorter time: their curves are down long before ten minutes.",
    "All contestants slow down for a moment when a checkpoint falls into a window; nothing was left out.",
)


async def measure(run: Run) -> Part:
    """Ours for ten minutes, then packed and the peers for a shorter time."""
    others, skipped = await rivals(run.scratch)
    plans: list[tuple[Contestant, Plan]] = [(ONES, _LONG), (PACKED, _SHORT), *((one, _SHORT) for one in others)]
    bodies = load(_BODIES, SystemClock().now()).lines
    curves: dict[str, Curve] = {}
    figures: dict[str, Figure] = {}
    kept: dict[str, float] = {}
    loads, waits = [], []
    for contestant, full in plans:
        plan = _QUICK if run.quick else full
        waits += await asyncio.to_thread(run.server.sync_ms)
        loads.append(os.getloadavg()[0])
        rates = await _curve(run, contestant, plan, bodies)
        name = contestant.name
        curves[name] = Curve(plan.window_s, tuple(rates))
        for when, part in _ends(rates, plan).items():
            how = f"{len(part)} windows of {plan.window_s:g} s"
            figures[f"{name}, {when}"] = of_values(part, "jobs/s", round(sum(part) * plan.window_s), how)
        kept[name] = kept_share(rates, plan)
        print(f"  {name:<24} kept {kept[name]:.2f}: {', '.join(f'{rate:,.0f}' for rate in rates)}", flush=True)
    if not run.quick:
        charts.curves(curves, run.pictures / PICTURE, label="jobs handled a second, logarithmic")
    return Part(
        title="A snapshot is held",
        said=_SAID,
        conditions=await conditions(run.server, loads, waits),
        ratios={"held_snapshot_vs_start": (kept[ONES.name],)},
        figures=figures,
        curves=curves,
        picture=f"{run.pictures.name}/{PICTURE}",
        notes=(*_NOTES, *skipped, *_told(kept, {one.name: plan.held_s for one, plan in plans})),
    )


async def _curve(run: Run, contestant: Contestant, plan: Plan, bodies: Sequence[bytes]) -> list[float]:
    async with run.server.fresh() as url:
        await contestant.install(url)
        async with contestant.producer(url) as producer, working(contestant, url, run.scratch, run.log) as at_work:
            loop = steady.Loop(bodies)
            before = await steady.rates(
                at_work, producer, loop, warm_s=_WARM_S, seconds=plan.before_s, window_s=plan.window_s
            )
            async with held(url):
                under = await steady.rates(
                    at_work, producer, loop, warm_s=0, seconds=plan.held_s, window_s=plan.window_s
                )
    return [*before, *under]


@contextlib.asynccontextmanager
async def held(url: str) -> AsyncIterator[None]:
    """A transaction with a snapshot, on a connection of its own.

    Raises:
        RuntimeError: if the snapshot was not there any more at the end: nothing would have been measured.
    """
    horizon = "select backend_xmin::text from pg_stat_activity where pid = $1"
    async with connected(url) as holder, connected(url) as witness:
        transaction = holder.transaction(isolation="repeatable_read")
        await transaction.start()
        await holder.fetchval("select count(*) from pg_class")
        pid = holder.get_server_pid()
        first = await witness.fetchval(horizon, pid)
        yield
        last = await witness.fetchval(horizon, pid)
        if first is None or first != last:
            raise RuntimeError(f"the snapshot was not held: its horizon went from {first} to {last}")
        await transaction.rollback()


def _ends(rates: Sequence[float], plan: Plan) -> dict[str, Sequence[float]]:
    """The windows before the snapshot, the first ones under it, and the last."""
    return {
        "before": rates[: plan.ends],
        "first under it": rates[plan.ends : 2 * plan.ends],
        "last under it": rates[-plan.ends :],
    }


def kept_share(rates: Sequence[float], plan: Plan) -> float:
    """The mean of the last windows against that of the windows before the snapshot."""
    ends = _ends(rates, plan)
    return statistics.fmean(ends["last under it"]) / statistics.fmean(ends["before"])


def _told(kept: dict[str, float], held_s: dict[str, float]) -> list[str]:
    return [f"{name} kept {share:.0%} of its rate after {held_s[name]:.0f} s." for name, share in kept.items()]
