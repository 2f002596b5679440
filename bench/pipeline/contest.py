"""The pipeline's part of the benchmark: every contestant in every round, events from the wire to the table."""

import asyncio
import os
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.measure import Measured, together
from bench.peers import baselines
from bench.peers import run as peers
from bench.pipeline import fluxa_stack, load, static
from bench.processes import child, python
from bench.report import charts, figures
from bench.report.book import Part
from bench.report.conditions import Run, conditions
from bench.report.figures import Figure
from bench.rows import Load
from bench.rows import load as make_load
from bench.server import Server
from fluxa.kernel.clock import SystemClock

PICTURE = "rates.svg"
PEERS = ("pgqueuer", "procrastinate", "chancy")

_REQUESTS = frozenset({"fluxa single", "static", "static bare"})
_SLICES = 4
_SPARE = 200
_IDLE_PAUSE_S = 0.03


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of each.

    Attributes:
        rounds: how often everything is measured.
        bulk: events for Fluxa in bulk and for the two baselines.
        single: requests of one event.
        idle: samples on an idle stack.
        peers: events for each peer.
    """

    rounds: int
    bulk: int
    single: int
    idle: int
    peers: dict[str, int]


FULL = Plan(3, 60_000, 8_000, 300, {"pgqueuer": 8_000, "procrastinate": 1_000, "chancy": 4_000})
QUICK = Plan(1, 5_000, 1_000, 30, {"pgqueuer": 1_000, "procrastinate": 200, "chancy": 500})

HOW = {
    "copy": "binary COPY of prepared rows, 1000 a commit, one connection",
    "claim_insert_delete": "hand-written: insert 1000 payloads; claim 1000 (SKIP LOCKED), parse, COPY, delete, commit",
    "fluxa bulk": "HTTP NDJSON, 1000 events a request, 4 connections; ingest, query and two processors as processes",
    "pgqueuer": "batch_size=500, asyncpg pool of 8, enqueued 1000 at a time; one INSERT a job",
    "pgqueuer +group": "the same, with rows of concurrent handlers gathered into one COPY by us",
    "procrastinate": "batch_defer of 1000, concurrency=50, done jobs deleted; one INSERT a job",
    "chancy": "push_many of 1000, asyncio executor, concurrency=500, eager polling; one INSERT a job",
    "chancy +group": "the same, with rows of concurrent handlers gathered into one COPY by us",
    "fluxa single": "one event a POST, 64 keep-alive connections, each answer after the commit; one processor",
    "static": "the same server and route table answering a constant, no key, no parsing; 64 connections",
    "static bare": "uvicorn alone answering the constant; 64 connections",
    "insert idle p50": "a plain one-row INSERT, as seldom as the events below: begin to durable",
    "insert idle p99": "likewise",
    "fluxa idle p50": "one event at a time; the queue's clock to the processor's",
    "fluxa idle p99": "likewise",
    "fluxa idle answer p50": "first byte of the request to the 202",
}
"""How each contestant was set up, in the order of the table."""

NOTES = (
    "`COPY` writes prepared rows and nothing else; Fluxa also parses, hashes, keeps identities, and queues durably.",
    "`claim_insert_delete` hashes once, checks no digest, keeps no identity and serves no HTTP.",
    "The peers enqueue in Python, without HTTP, and keep no identity. They get fewer events where they are slow.",
    "The peers' time ends when the rows are stored, not when their jobs are acknowledged.",
    "A peer's handler inserts one row through a pool: none documents a batch handler.",
    "`+group` adds a gathering COPY of our own, which no peer documents; it does not count for the bar.",
    "`static` runs without an API key and without telemetry of stages.",
    "Everything shares one machine: client, services and Postgres. What else ran there shows in the load average.",
    "`fluxa idle` begins at the insert, so it holds that commit's wait for the disk, and a wake-up of the processor.",
)


PROFILE = (
    "By hand, with py-spy and the processes' CPU clocks, on this machine beside other work; revised when code changes.",
    "Bulk, CPU an event: ingest 16-19 µs, processor 26-33 µs, Postgres 20-23 µs. Largest in ingest: parsing (half).",
    "In the processor: the binary encoding of COPY (a fifth), then reading and hashing the event again (two fifths).",
    "In Postgres: 15 µs for the row and its six indexes, as plain COPY, and 4-6 µs for the identity's key.",
    "With duplicates: identities by `insert … on conflict` cost 7 µs more, and batches that share one wait in turn.",
    "Single: ingest spends 130-200 µs a request: a third uvicorn and the socket, a fifth the door, the rest thin.",
    "Single, beside it: processor 50-85 µs and Postgres 80 µs of the same two cores; processor frozen: 0.5 of static.",
    "Idle: compare `insert idle`: here a plain INSERT alone has such a 99th percentile, by the disk and the scheduler.",
)
"""What profiling showed."""


@dataclass(slots=True)
class Results:
    """What was measured so far, by contestant."""

    rounds: dict[str, list[Measured]] = field(default_factory=lambda: defaultdict(list))
    idle: list[fluxa_stack.Idle] = field(default_factory=list)
    inserts: list[list[float]] = field(default_factory=list)

    def add(self, name: str, measured: Measured) -> None:
        """Enter one round of one contestant."""
        self.rounds[name].append(measured)
        extra = ", ".join(f"{key} {value:.2f}" for key, value in measured.extra.items())
        print(f"  {name:<22} {measured.rate:>10,.0f}/s   {measured.elapsed_s:6.2f} s   {extra}", flush=True)

    def figures(self) -> dict[str, Figure]:
        """Medians and spread, in the order of the table."""
        found = {
            name: figures.figure(rounds, HOW[name], "requests/s" if name in _REQUESTS else "events/s")
            for name, rounds in self.rounds.items()
        }
        halves, tails = zip(*(fluxa_stack.quantiles(one.to_claim_ms) for one in self.idle), strict=True)
        answers = [fluxa_stack.quantiles(one.answer_ms)[0] for one in self.idle]
        samples = len(self.idle[0].to_claim_ms)
        insert_halves, insert_tails = zip(*map(fluxa_stack.quantiles, self.inserts), strict=True)
        for name, values in (
            ("insert idle p50", insert_halves),
            ("insert idle p99", insert_tails),
            ("fluxa idle p50", halves),
            ("fluxa idle p99", tails),
            ("fluxa idle answer p50", answers),
        ):
            found[name] = figures.of_values(values, "ms", samples, HOW[name])
        return {name: found[name] for name in HOW if name in found}


async def _round(shared: Server, plan: Plan, events: Load, results: Results, log: Path) -> None:
    now = SystemClock().now()
    ceiling = Load(events.lines[: plan.bulk], events.rows[: plan.bulk])
    async with shared.fresh() as url:
        results.add("copy", await baselines.copy(url, ceiling))
    await _bulk(shared, plan, events.lines, results)
    await _fluxa(shared, plan, events.lines, results, log)
    async with shared.fresh() as url:
        results.add("claim_insert_delete", await baselines.claim_insert_delete(url, ceiling, now))
    for peer, count in plan.peers.items():
        async with shared.fresh() as url:
            results.add(peer, await peers.run(peer, url, count, log, insert="single"))
    for peer in ("pgqueuer", "chancy"):
        async with shared.fresh() as url:
            results.add(f"{peer} +group", await peers.run(peer, url, plan.peers[peer], log, insert="group"))


async def _bulk(shared: Server, plan: Plan, lines: Sequence[bytes], results: Results) -> None:
    """A stack on an empty database, warmed up with a few events."""
    warm = lines[-_SPARE:]
    with tempfile.TemporaryDirectory(prefix="fluxa-bench-") as home:
        async with (
            shared.fresh() as url,
            fluxa_stack.running(url, Path(home), processors=fluxa_stack.BULK_PROCESSORS) as target,
        ):
            await load.send(target, load.single(target, warm), 4)
            await fluxa_stack.settled(url, len(warm))
            results.add("fluxa bulk", await fluxa_stack.bulk(url, target, lines[: plan.bulk], warm=len(warm)))


async def _fluxa(shared: Server, plan: Plan, lines: Sequence[bytes], results: Results, log: Path) -> None:
    """Single events; then silence with one event now and then."""
    warm = lines[-_SPARE:]
    samples = lines[plan.single : plan.single + plan.idle]
    with tempfile.TemporaryDirectory(prefix="fluxa-bench-") as home:
        async with shared.fresh() as url, fluxa_stack.running(url, Path(home)) as target:
            await load.send(target, load.single(target, warm), 4)
            await fluxa_stack.settled(url, len(warm))
            await _single(url, target, lines[: plan.single], len(warm), results, log)
            found = await fluxa_stack.idle(url, target, samples, [_id(line) for line in samples])
            results.idle.append(found)
            half, tail = fluxa_stack.quantiles(found.to_claim_ms)
            print(f"  {'fluxa idle':<22} p50 {half:.2f} ms, p99 {tail:.2f} ms", flush=True)
    async with shared.fresh() as url:
        results.inserts.append(await baselines.idle_insert(url, plan.idle, _IDLE_PAUSE_S))
        half, tail = fluxa_stack.quantiles(results.inserts[-1])
        print(f"  {'insert idle':<22} p50 {half:.2f} ms, p99 {tail:.2f} ms", flush=True)


async def _single(
    url: str, target: load.Target, lines: Sequence[bytes], stored: int, results: Results, log: Path
) -> None:
    """One event a request, and the static answers, in turns: what shares a minute shares the machine's mood."""
    taken: dict[str, list[Measured]] = defaultdict(list)
    size = len(lines) // _SLICES
    async with child(*python("-m", "bench.pipeline.static"), log=log) as process:
        static_url = (await process.expect("ready")).split()[1]
        targets = {"static": static.PATH, "static bare": static.BARE_PATH}
        for number in range(_SLICES):
            part = lines[number * size : (number + 1) * size]
            taken["fluxa single"].append(await fluxa_stack.single(target, part))
            stored += len(part)
            await fluxa_stack.settled(url, stored)
            for name, path in targets.items():
                other = load.Target(static_url, path)
                requests = load.single(other, part)
                taken[name].append(await load.send(other, requests, fluxa_stack.SINGLE_CONNECTIONS))
    for name, parts in taken.items():
        results.add(name, together(parts))


class _Named(msgspec.Struct):
    id: str


def _id(line: bytes) -> str:
    return msgspec.json.decode(line, type=_Named).id


async def measure(run: Run) -> Part:
    """All rounds, and what they say."""
    plan = QUICK if run.quick else FULL
    events = make_load(max(plan.bulk, plan.single + plan.idle) + _SPARE, SystemClock().now())
    results = Results()
    loads: list[float] = []
    waits: list[float] = []
    for number in range(1, plan.rounds + 1):
        print(f"round {number} of {plan.rounds}", flush=True)
        waits += await asyncio.to_thread(run.server.sync_ms)
        loads.append(os.getloadavg()[0])
        await _round(run.server, plan, events, results, run.log)
    found = results.figures()
    size = sum(map(len, events.lines)) // len(events.lines)
    best = figures.best_of(found, PEERS)
    if not run.quick:
        charts.bars(found, run.pictures / PICTURE, label="events stored a second")
    return Part(
        title="Events: from the wire to the table",
        said=(f"Everything goes through HTTP, the queue and the processor. The best peer was {best}.",),
        conditions={
            **await conditions(run.server, loads, waits),
            "event": f"a departure of the demonstration, {size} bytes of JSON",
            "rounds": f"{plan.rounds}, contestants interleaved",
        },
        ratios=ratios(found),
        figures=found,
        picture=f"{run.pictures.name}/{PICTURE}",
        notes=NOTES,
        profile=PROFILE,
    )


def ratios(found: Mapping[str, Figure]) -> dict[str, tuple[float, ...]]:
    """The bars' values in each round, by name."""
    return {
        "bulk_vs_copy": figures.ratio(found["fluxa bulk"], found["copy"]),
        "bulk_vs_best_peer": figures.ratio(found["fluxa bulk"], found[figures.best_of(found, PEERS)]),
        "single_vs_static": figures.ratio(found["fluxa single"], found["static"]),
        "events_idle_p99_ms": found["fluxa idle p99"].rounds,
    }
