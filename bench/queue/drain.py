"""`drain_vs_best_peer`: a full queue is emptied by one worker process whose handlers do nothing."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Sequence

from bench.measure import Measured
from bench.queue.contestants import Contestant, connected, empty, working
from bench.queue.ours import BATCHED, ONES, PACKED
from bench.queue.rivals import rivals
from bench.report import charts
from bench.report.book import Part
from bench.report.conditions import Run, conditions
from bench.report.figures import Figure, best_of, figure, ratio
from bench.rows import load
from fluxa.kernel.clock import SystemClock

PICTURE = "drain.svg"
_ROUNDS, _QUICK_ROUNDS = 5, 1
_JOBS = {
    PACKED.name: 300_000,
    BATCHED.name: 300_000,
    ONES.name: 50_000,
    "graphile-worker": 60_000,
    "pgmq client": 60_000,
    "pgqueuer": 25_000,
}
"""Enough for some seconds each."""
_BODIES = 50_000
_TIMEOUT_S = 90.0
_SAID = (
    "Before each measurement the queue is filled and analysed, then one worker process is started. The clock runs from",
    "its first handler call until the table holds no unfinished job: start-up is left out, acknowledging is not.",
)
_NOTES = (
    "A job is an event of the demonstration as JSON. Every contestant has one worker process and the same Postgres.",
    "graphile-worker and pgmq's client parse the JSON, Fluxa decodes two fields of it, pgqueuer hands bytes over.",
    "PGMQ's client is a loop around two statements, without anything that makes a worker: it says what batches can do.",
    "Fluxa's envelopes are its producer's own: whoever sends a thousand jobs at once gets two messages.",
    "Whoever sends jobs one by one gets envelopes of one: that line is given so that nobody has to guess.",
)


async def measure(run: Run) -> Part:
    """All rounds, contestants in turns."""
    others, skipped = await rivals(run.scratch)
    contestants: list[Contestant] = [PACKED, BATCHED, ONES, *others]
    bodies = load(_BODIES, SystemClock().now()).lines
    rounds: dict[str, list[Measured]] = defaultdict(list)
    loads: list[float] = []
    waits: list[float] = []
    for number in range(_QUICK_ROUNDS if run.quick else _ROUNDS):
        waits += await asyncio.to_thread(run.server.sync_ms)
        loads.append(os.getloadavg()[0])
        turn = number % len(contestants)  # nobody is always first
        for contestant in (*contestants[turn:], *contestants[:turn]):
            count = _JOBS[contestant.name] // (10 if run.quick else 1)
            one = await drained(run, contestant, bodies, count)
            rounds[contestant.name].append(one)
            print(f"  {contestant.name:<24} {one.rate:>10,.0f}/s   {one.elapsed_s:6.2f} s", flush=True)
    how = {one.name: one.settings for one in contestants}
    found = {one.name: figure(rounds[one.name], how[one.name], "jobs/s") for one in contestants}
    if not run.quick:
        charts.bars(found, run.pictures / PICTURE, unit="jobs/s", label="jobs drained a second")
    return Part(
        title="A full queue, emptied",
        said=_SAID,
        conditions=await conditions(run.server, loads, waits),
        ratios=ratios(found, [one.name for one in others]),
        figures=found,
        picture=f"{run.pictures.name}/{PICTURE}",
        notes=(*_NOTES, *skipped, *_compared(found, [one.name for one in others])),
    )


async def drained(run: Run, contestant: Contestant, bodies: Sequence[bytes], count: int) -> Measured:
    """Fill a queue of a fresh database and empty it."""
    async with run.server.fresh() as url:
        await contestant.install(url)
        async with contestant.producer(url) as producer:
            full, rest = divmod(count, len(bodies))
            for part in [bodies] * full + [bodies[:rest]] * bool(rest):
                await producer.fill(part)
        async with connected(url) as connection:
            await connection.execute("analyze")
            await connection.execute("checkpoint")
            async with working(contestant, url, run.scratch, run.log) as at_work:
                await at_work.until(count, timeout_s=_TIMEOUT_S)
                end = await empty(connection, contestant, timeout_s=_TIMEOUT_S)
            if at_work.progress.count != count:
                raise RuntimeError(f"{contestant.name} called its handler {at_work.progress.count} times for {count}")
        return Measured(count, end - at_work.progress.first_s)


def ratios(found: dict[str, Figure], others: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """The bar's value in each round."""
    return {"drain_vs_best_peer": ratio(found[PACKED.name], found[best_of(found, others)])}


def _compared(found: dict[str, Figure], others: Sequence[str]) -> list[str]:
    """Every pair in numbers, so that nobody has to trust one choice."""
    ours = (PACKED.name, BATCHED.name, ONES.name)
    return [
        f"{name} against "
        + ", ".join(f"{other} {sorted(values)[len(values) // 2]:.2f}" for other, values in against.items())
        + " (medians of the rounds' ratios)."
        for name in ours
        if (against := {other: ratio(found[name], found[other]) for other in others})
    ]
