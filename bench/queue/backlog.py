"""`backlog_10m_vs_empty`: the same steady load on a short queue and on one where ten million records wait."""

import asyncio
import itertools
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

import asyncpg

from bench.queue import jobs, steady
from bench.queue.contestants import connected, empty, working
from bench.queue.ours import ONES, PACKED, Ours, texts
from bench.report.book import Part
from bench.report.conditions import Run, conditions
from bench.report.figures import Figure, of_values, ratio
from bench.rows import load
from fluxa.kernel.clock import SystemClock

_ROUNDS = 3
_WARM_S, _MEASURED_S, _WINDOW_S = 3.0, 10.0, 2.0
_BODIES = 20_000
_CHUNK = 50_000
"""Records packed at once by a process of the pool."""
_AHEAD = 4
"""Chunks packed ahead of the copying."""
_KEPT = 0.95
"""The share of the backlog that must still be there at the end: the load must not live on it."""

_LEFT = "select coalesce(sum(coalesce((message ->> 'records')::bigint, 1)), 0) from {}"

_AHEAD_RECORDS = {PACKED.name: 20_000, ONES.name: 8_000}

RECORDS = {PACKED.name: 10_000_000, ONES.name: 1_000_000}
"""How many wait in each queue."""
_SAID = (
    "Two databases: in one the queues are short, in the other they were filled before. In turns, each gets a worker",
    "process and a producer that sends 1000 records whenever fewer than 20 000 (8000 in envelopes of one) of its own",
    "are unhandled: enough that the worker is never out of work.",
)
_NOTES = (
    "The backlog is made of messages as the producer packs them, each with its own ids and digests, loaded by COPY.",
    "The worker takes the oldest first, so with a backlog it reads what was loaded, and what is sent joins the end.",
    "A short queue holds at most what the producer is ahead, so a claim there finds less than it could carry.",
)


async def measure(run: Run) -> Part:
    """Load once, then measure both sides in turns."""
    bodies = load(_BODIES, SystemClock().now()).lines
    rates: dict[str, list[float]] = defaultdict(list)
    loads: list[float] = []
    waits: list[float] = []
    async with run.server.fresh() as short, run.server.fresh() as long:
        for contestant in (PACKED, ONES):
            await contestant.install(short)
            await contestant.install(long)
        loaded = await _load(long, bodies, share=50 if run.quick else 1)
        for _ in range(1 if run.quick else _ROUNDS):
            waits += await asyncio.to_thread(run.server.sync_ms)
            loads.append(os.getloadavg()[0])
            for contestant, (side, url) in itertools.product((PACKED, ONES), (("short", short), ("backlog", long))):
                name = f"{contestant.name}, {side}"
                rates[name].append(await _rate(run, contestant, url, bodies, is_short=url == short))
                print(f"  {name:<34} {rates[name][-1]:>10,.0f}/s", flush=True)
        await _still_there(long, loaded)
    found = {name: _figure(name, values, loaded) for name, values in rates.items()}
    return Part(
        title="Ten million records waiting",
        said=_SAID,
        conditions={
            **await conditions(run.server, loads, waits),
            "loaded": ", ".join(
                f"{records:,} records for {name}".replace(",", " ") for name, records in loaded.items()
            ),
        },
        ratios={"backlog_10m_vs_empty": _against(found, PACKED)},
        figures=found,
        notes=(*_NOTES, f"Envelopes of one, a million waiting against a short queue: {_told(_against(found, ONES))}."),
    )


async def _rate(run: Run, contestant: Ours, url: str, bodies: Sequence[bytes], *, is_short: bool) -> float:
    """The rate on one side; a short queue is left empty, as it was found."""
    loop = steady.Loop(bodies, _AHEAD_RECORDS[contestant.name])
    async with contestant.producer(url) as producer, working(contestant, url, run.scratch, run.log) as at_work:
        found = await steady.rates(at_work, producer, loop, warm_s=_WARM_S, seconds=_MEASURED_S, window_s=_WINDOW_S)
        if is_short:
            async with connected(url) as connection:
                await empty(connection, contestant)
    return sum(found) / len(found)


async def _load(url: str, bodies: Sequence[bytes], *, share: int) -> dict[str, int]:
    """Fill both queues; records in each."""
    begin = time.monotonic()
    loaded: dict[str, int] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=2, mp_context=context, initializer=_Packer.take, initargs=(bodies,)) as pool:
        async with connected(url) as connection:
            for contestant in (PACKED, ONES):
                records = RECORDS[contestant.name] // share
                an_envelope = jobs.app.registry.get(contestant.queue).envelope_records
                await _copy(connection, contestant.queue, pool, _chunks(records // an_envelope, an_envelope))
                loaded[contestant.name] = records
            await connection.execute("analyze")
            await connection.execute("checkpoint")
    print(f"  loaded in {time.monotonic() - begin:.0f} s", flush=True)
    return loaded


def _chunks(messages: int, records: int) -> Iterator[tuple[range, int]]:
    size = max(1, _CHUNK // records)
    for start in range(0, messages, size):
        yield range(start, min(messages, start + size)), records


async def _copy(
    connection: asyncpg.Connection, queue: str, pool: ProcessPoolExecutor, chunks: Iterator[tuple[range, int]]
) -> None:
    """Pack in the pool and copy, a few chunks ahead: all of them at once would fill the memory."""
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Future[list[str]]] = []
    while True:
        next_chunks = itertools.islice(chunks, _AHEAD - len(waiting))
        waiting += [loop.run_in_executor(pool, _Packer.pack, chunk) for chunk in next_chunks]
        if not waiting:
            return
        now = SystemClock().now()
        rows = [(now, text) for text in await waiting.pop(0)]
        await connection.copy_records_to_table(
            f"q_{queue}", schema_name="pgmq", columns=("vt", "message"), records=rows
        )


class _Packer:
    """What a process of the pool keeps."""

    bodies: Sequence[bytes] = ()

    @classmethod
    def take(cls, bodies: Sequence[bytes]) -> None:
        """Keep the bodies, once for all chunks."""
        cls.bodies = bodies

    @classmethod
    def pack(cls, chunk: tuple[range, int]) -> list[str]:
        """The messages of a chunk."""
        numbers, records = chunk
        return texts(cls.bodies, numbers, clock=SystemClock(), records=records)


async def _still_there(url: str, loaded: dict[str, int]) -> None:
    """The backlog was not eaten up meanwhile.

    Raises:
        RuntimeError: if it was.
    """
    async with connected(url) as connection:
        for contestant in (PACKED, ONES):
            left = int(await connection.fetchval(_LEFT.format(contestant.table)))
            print(f"  {left:,} records are left for {contestant.name}", flush=True)
            if left < _KEPT * loaded[contestant.name]:
                raise RuntimeError(f"only {left} of {loaded[contestant.name]} records were left in the backlog")


def _figure(name: str, values: Sequence[float], loaded: dict[str, int]) -> Figure:
    ours, _, side = name.rpartition(", ")
    how = f"{loaded[ours]:,} records wait".replace(",", " ") if side == "backlog" else "nothing else waits"
    return of_values(values, "records/s", round(values[0] * _MEASURED_S), how)


def _against(found: dict[str, Figure], contestant: Ours) -> tuple[float, ...]:
    return ratio(found[f"{contestant.name}, backlog"], found[f"{contestant.name}, short"])


def _told(values: Sequence[float]) -> str:
    return f"{sorted(values)[len(values) // 2]:.2f} ({min(values):.2f} – {max(values):.2f})"
