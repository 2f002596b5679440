"""`idle_p99_ms`: from the call that sends a job to the start of its handler in a worker that has nothing else to do."""

import asyncio
import os
import random
import time
from pathlib import Path

import asyncpg

from bench.measure import percentile
from bench.processes import child
from bench.queue import jobs
from bench.queue.contestants import connected
from bench.queue.ours import Ours
from bench.report.book import Part
from bench.report.conditions import Run, conditions
from bench.report.figures import Figure, of_values
from bench.rows import load
from fluxa.kernel.clock import SystemClock

_ROUNDS, _SAMPLES, _WARM = 3, 150, 10
_QUICK_SAMPLES = 30
_PAUSE_S = (0.02, 0.12)
_OURS = Ours("fluxa", "", jobs.IDLE)
_HOW = {
    "fluxa p50": "one job at a time, as in the line below",
    "fluxa p99": "from the call of the producer to the first line of the handler, by one clock; durable in between",
    "fluxa after the commit p50": "from the producer's answer to the handler; below zero where the handler was first",
    "fluxa after the commit p99": "likewise",
    "insert and listen p50": "INSERT and NOTIFY in one transaction; another connection hears it and deletes the row",
    "insert and listen p99": "likewise: what nobody beats who uses LISTEN",
}
_SAID = (
    "A job every 20 to 120 ms, by chance, so that the worker has gone to sleep in between. The bar is the 99th",
    "percentile of each round's samples; the plain INSERT with LISTEN beside it shows what of that is Postgres and",
    "the machine.",
)


async def measure(run: Run) -> Part:
    """Rounds of both, in turns."""
    body = load(1, SystemClock().now()).lines[0]
    samples = _QUICK_SAMPLES if run.quick else _SAMPLES
    taken: dict[str, list[float]] = {name: [] for name in _HOW}
    loads, waits = [], []
    for number in range(1 if run.quick else _ROUNDS):
        waits += await asyncio.to_thread(run.server.sync_ms)
        loads.append(os.getloadavg()[0])
        chance = random.Random(number)  # noqa: S311 - pauses
        from_call, from_answer = await _fluxa(run, body, samples, chance)
        for name, values in (
            ("fluxa", from_call),
            ("fluxa after the commit", from_answer),
            ("insert and listen", await _listening(run, body, samples, chance)),
        ):
            half, tail = percentile(values, 0.5), percentile(values, 0.99)
            taken[f"{name} p50"].append(half)
            taken[f"{name} p99"].append(tail)
            print(f"  {name:<24} p50 {half:.2f} ms, p99 {tail:.2f} ms", flush=True)
    found: dict[str, Figure] = {name: of_values(values, "ms", samples, _HOW[name]) for name, values in taken.items()}
    return Part(
        title="An idle queue",
        said=_SAID,
        conditions=await conditions(run.server, loads, waits),
        ratios={"idle_p99_ms": found["fluxa p99"].rounds},
        figures=found,
        notes=("The producer is a process of its own, and its call holds the commit's wait for the disk.",),
    )


async def _fluxa(run: Run, body: bytes, samples: int, chance: random.Random) -> tuple[list[float], list[float]]:
    """Milliseconds from the call, and from its answer, to the start of the handler."""
    starts = run.scratch / f"starts-{time.monotonic_ns()}"
    called: dict[str, float] = {}
    answered: dict[str, float] = {}
    async with run.server.fresh() as url:
        await _OURS.install(url)
        command = _OURS.worker(url)
        env = {**command.env, jobs.STARTS: str(starts)}
        async with child(*command.line, log=run.log, env=env, talks=False), _OURS.producer(url) as producer:
            for number in range(_WARM + samples):
                name = f"job-{number}"
                called[name] = time.monotonic()
                await producer.send_named(name, body)
                answered[name] = time.monotonic()
                if number < _WARM:
                    await _until_lines(starts, number + 1, timeout_s=60)
                await asyncio.sleep(chance.uniform(*_PAUSE_S))
            await _until_lines(starts, _WARM + samples, timeout_s=10)
    began = {name: int(at_ns) / 1e9 for name, at_ns in map(str.split, starts.read_text().splitlines())}
    names = [f"job-{number}" for number in range(_WARM, _WARM + samples)]
    return (
        [(began[name] - called[name]) * 1000 for name in names],
        [(began[name] - answered[name]) * 1000 for name in names],
    )


async def _until_lines(file: Path, count: int, *, timeout_s: float) -> None:
    async with asyncio.timeout(timeout_s):
        while not file.exists() or file.read_bytes().count(b"\n") < count:
            await asyncio.sleep(0.005)


async def _listening(run: Run, body: bytes, samples: int, chance: random.Random) -> list[float]:
    """Milliseconds from the INSERT to the row in the listener's hands."""
    async with run.server.fresh() as url, connected(url) as sender, connected(url) as receiver:
        await sender.execute("create table bench_idle (job_id bigint generated always as identity, body bytea)")
        heard = asyncio.Event()
        await receiver.add_listener("bench_idle", lambda *_about: heard.set())
        taken: list[float] = []
        for _ in range(samples):
            await asyncio.sleep(chance.uniform(*_PAUSE_S))
            heard.clear()
            begin = time.monotonic()
            waiting = asyncio.create_task(_receive(receiver, heard))
            await sender.fetchval(
                "with sent as (insert into bench_idle (body) values ($1)) select pg_notify('bench_idle', '')", body
            )
            taken.append((await waiting - begin) * 1000)
        return taken


async def _receive(receiver: asyncpg.Connection, heard: asyncio.Event) -> float:
    async with asyncio.timeout(10):
        await heard.wait()
    if await receiver.fetchval("delete from bench_idle returning body") is None:
        raise RuntimeError("a notification came without its row")
    return time.monotonic()
