"""`held_snapshot_vs_start`: steady load while another connection holds a snapshot, so that no dead row goes away."""

import asyncio
import contextlib
import os
import statistics
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from bench.queue import steady
from bench.queue.contestants import Contestant, Producer, Working, connected, working
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
        pairs: of half windows, in which the queue and a new one take turns at the end.
    """

    window_s: float
    before_s: float
    held_s: float
    pairs: int = 0

    @property
    def ends(self) -> int:
        """Windows that are taken together at either end: a minute of the long run, less of the short ones."""
        return max(1, round(self.before_s / self.window_s))


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one contestant.

    Attributes:
        rates: jobs a second in each window, before the snapshot and under it.
        pairs: then, in turns: jobs a second under it, and those of a new queue beside it.
    """

    rates: Sequence[float]
    pairs: Sequence[tuple[float, float]] = ()

    @property
    def shares(self) -> tuple[float, ...]:
        """What is left under the snapshot, in each pair."""
        return tuple(held / new for held, new in self.pairs)


@dataclass(frozen=True, slots=True)
class _Stack:
    """A queue with a worker and a producer."""

    at_work: Working
    producer: Producer
    loop: steady.Loop

    async def rates(self, seconds: float, window_s: float, *, warm_s: float = 0.0) -> list[float]:
        return await steady.rates(
            self.at_work, self.producer, self.loop, warm_s=warm_s, seconds=seconds, window_s=window_s
        )


_LONG = Plan(10.0, 60.0, 600.0, pairs=12)
_SHORT = Plan(5.0, 15.0, 75.0)
_QUICK = Plan(1.0, 3.0, 8.0, pairs=2)
_SAID = (
    "A producer sends 1000 jobs whenever fewer than 8000 are unhandled, and a worker process handles them.",
    "Then another connection opens a REPEATABLE READ transaction and keeps it: no vacuum can remove dead rows.",
    "The curve begins with the time before the snapshot. After its end the snapshot stays, and our queue takes turns",
    "with a new one in another database, whose dead rows can go: half a window each. The bar is what such a pair says;",
    "what the last minute was against the minute before the snapshot, which lie ten minutes apart, is in the notes.",
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
    shares: dict[str, tuple[float, ...]] = {}
    notes, loads, waits = [*_NOTES, *skipped], [], []
    for contestant, full in plans:
        plan = _QUICK if run.quick else full
        waits += await asyncio.to_thread(run.server.sync_ms)
        loads.append(os.getloadavg()[0])
        name = contestant.name
        found = await _contest(run, contestant, plan, bodies)
        curves[name] = Curve(plan.window_s, tuple(found.rates))
        for when, (part, window_s) in _parts(found, plan).items():
            how = f"{len(part)} windows of {window_s:g} s"
            figures[f"{name}, {when}"] = of_values(part, "jobs/s", round(sum(part) * window_s), how)
        shares[name] = found.shares
        notes.append(told(name, found, plan))
        shown = ", ".join(f"{rate:,.0f}" for rate in found.rates)
        print(f"  {notes[-1]} {shown}", flush=True)
    if not run.quick:
        charts.curves(curves, run.pictures / PICTURE, label="jobs handled a second, logarithmic")
    return Part(
        title="A snapshot is held",
        said=_SAID,
        conditions=await conditions(run.server, loads, waits),
        ratios={"held_snapshot_vs_start": shares[ONES.name]},
        figures=figures,
        curves=curves,
        picture=f"{run.pictures.name}/{PICTURE}",
        notes=tuple(notes),
    )


async def _contest(run: Run, contestant: Contestant, plan: Plan, bodies: Sequence[bytes]) -> Found:
    async with run.server.fresh() as url, run.server.fresh() as other:
        for one in (url, other):
            await contestant.install(one)
        async with _stack(run, contestant, url, bodies) as stack:
            before = await stack.rates(plan.before_s, plan.window_s, warm_s=_WARM_S)
            async with held(url):
                under = await stack.rates(plan.held_s, plan.window_s)
                if not plan.pairs:
                    return Found([*before, *under])
                async with _stack(run, contestant, other, bodies) as new:
                    return Found([*before, *under], await _in_turns(stack, new, plan))


async def _in_turns(stack: _Stack, new: _Stack, plan: Plan) -> list[tuple[float, float]]:
    """A window each; who comes first changes, so that neither always follows the other."""
    await new.rates(plan.window_s, plan.window_s, warm_s=_WARM_S)
    pairs = []
    half_s = plan.window_s / 2
    for number in range(plan.pairs):
        rates: dict[bool, float] = {}
        for ours in (True, False) if number % 2 else (False, True):
            (rates[ours],) = await (stack if ours else new).rates(half_s, half_s, warm_s=_WARM_S / 5)
        pairs.append((rates[True], rates[False]))
    return pairs


@contextlib.asynccontextmanager
async def _stack(run: Run, contestant: Contestant, url: str, bodies: Sequence[bytes]) -> AsyncIterator[_Stack]:
    async with contestant.producer(url) as producer, working(contestant, url, run.scratch, run.log) as at_work:
        yield _Stack(at_work, producer, steady.Loop(bodies))


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


def _parts(found: Found, plan: Plan) -> dict[str, tuple[Sequence[float], float]]:
    """The windows before the snapshot, the first ones under it, the last, and those in turns; with their seconds."""
    whole, half = plan.window_s, plan.window_s / 2
    parts = {
        "before": (found.rates[: plan.ends], whole),
        "first under it": (found.rates[plan.ends : 2 * plan.ends], whole),
        "last under it": (found.rates[-plan.ends :], whole),
    }
    if not found.pairs:
        return parts
    return {
        **parts,
        "in turns, under it": ([held for held, _ in found.pairs], half),
        "in turns, a new queue": ([new for _, new in found.pairs], half),
    }


def told(name: str, found: Found, plan: Plan) -> str:
    """What a queue kept, in words."""
    parts = _parts(found, plan)
    share = statistics.fmean(parts["last under it"][0]) / statistics.fmean(parts["before"][0])
    words = f"{name}: {share:.0%} of its rate before, after {plan.held_s:.0f} s"
    if not found.pairs:
        return f"{words}."
    return f"{words}; {statistics.median(found.shares):.0%} of a new queue's, in turns with it."
