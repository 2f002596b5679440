"""A hundred thousand mixed dead letters: only the transient ones move, at the set rate, though the runner is killed."""

import asyncio
import contextlib
import datetime as dt
import itertools
import signal
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.listen import Listener, Notifier
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backend import DeadLetterFilter, Envelope, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.dead_letters.tasks import RedriveState, RedriveTask, RedriveTasks
from fluxa.queue.outcome import DONE
from fluxa.queue.record import Record
from making.dead_letters import fill, parked
from making.stack import Program, running, until

QUEUE = "orders"
LETTERS = 100_000
RATE_PER_S = 800.0
LIVE_PER_S = 100
WINDOW_S = 2.5
PAIRS = 3


class Traffic:
    """Live work on the queue, and what came back from the dead letters beside it."""

    def __init__(self, backend: PgmqBackend) -> None:
        self._backend = backend
        self.latencies_s: list[float] = []
        self.redriven: Counter[str] = Counter()
        self.live = 0

    async def produce(self) -> None:
        """Send at an even pace, whatever happens to what was sent."""
        clock = SystemClock()
        due = time.monotonic()
        while True:
            record = Record(id=f"live-{self.live}", body=b"{}", created_at=clock.now())
            self.live += 1
            await self._backend.send(QUEUE, [Envelope((record,))])
            due += 1 / LIVE_PER_S
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def consume(self) -> None:
        """Claim and settle, as a worker does."""
        clock = SystemClock()
        while True:
            claimed = await self._backend.claim(QUEUE, limit=25, lease_s=60, wait_s=1)
            now = clock.now()
            for delivery in claimed:
                (record,) = delivery.records
                if record.id.startswith("live-"):
                    self.latencies_s.append((now - record.created_at).total_seconds())
                else:
                    assert record.redrives == 1
                    self.redriven[record.id] += 1
            assert await self._backend.settle([Settlement(one, (DONE,)) for one in claimed]) == []

    async def p99_s(self) -> float:
        """How long live work waited in a window that begins now."""
        self.latencies_s.clear()
        await asyncio.sleep(WINDOW_S)
        return statistics.quantiles(self.latencies_s, n=100)[98]


@pytest.fixture
async def backend(database: Database, database_url: str) -> AsyncIterator[PgmqBackend]:
    """An engine that hears of new work, as a worker's does."""
    listener, notifier = Listener(PoolConfig(url=database_url)), Notifier(database)
    await listener.start()
    await notifier.start()
    yield PgmqBackend(database, listener=listener, notifier=notifier, clock=SystemClock())
    await notifier.stop()
    await listener.stop()


async def _fill(backend: PgmqBackend) -> Counter[str]:
    """One in five transient, one altered, three permanent; by the name of each kind how many."""
    kinds = ("transient", "permanent", "altered", "permanent", "permanent")
    made: Counter[str] = Counter()
    for start in range(0, LETTERS, 5000):
        page = []
        for number in range(start, start + 5000):
            kind = kinds[number % len(kinds)]
            made[kind] += 1
            code = "SchemaValidation" if kind == "permanent" else "HandlerError"
            page.append(parked(f"{kind}-{number}", code, queue=QUEUE, tampered=kind == "altered"))
        await fill(backend, QUEUE, page)
    return made


@contextlib.asynccontextmanager
async def _runner(name: str, home: Path, url: str) -> AsyncIterator[Program]:
    """A process that takes part in the redrive."""
    async with running("redrive", "watch", name, home=home, FLUXA_DATABASE_URL=url) as program:
        yield program


class Watch:
    """Looks at a task from outside."""

    def __init__(self, tasks: RedriveTasks, name: str) -> None:
        self._tasks = tasks
        self.name = name

    async def moved_more_than(self, count: int) -> RedriveTask:
        """The task, once it has moved more."""

        async def has() -> bool:
            return (await self._tasks.get(self.name)).moved > count

        await until(has)
        return await self._tasks.get(self.name)

    async def rate_per_s(self) -> float:
        """Letters a second until it ends, by the database's clock: the median slope between looks 4 s or more apart.

        A runner that has to wait for a processor is late at one look and has made up for it at another.
        """
        seen = [await self.moved_more_than((await self._tasks.get(self.name)).moved)]
        while (task := await self._tasks.get(self.name)).state is RedriveState.RUNNING:
            if task.moved > seen[-1].moved:
                seen.append(task)
            await asyncio.sleep(0.2)
        slopes = [
            (late.moved - early.moved) / (late.updated_at - early.updated_at).total_seconds()
            for early, late in itertools.combinations(seen, 2)
            if late.updated_at - early.updated_at >= dt.timedelta(seconds=4)
        ]
        return statistics.median(slopes)

    async def pause(self) -> None:
        """Hold it."""
        await self._tasks.pause(self.name)

    async def resume(self) -> None:
        """Let it go on."""
        await self._tasks.resume(self.name)


async def _killed(watch: Watch, home: Path, url: str) -> None:
    """Run it a while, then kill the runner as a power cut would."""
    before = await watch.moved_more_than(-1)
    async with _runner(watch.name, home, url) as program:
        await watch.moved_more_than(before.moved + 1000)
        await program.stop(signal.SIGKILL)


async def _compare(watch: Watch, traffic: Traffic, home: Path, url: str) -> list[float]:
    """Live latency beside the redrive in units of what it is without, for several pairs of windows."""
    found = []
    for _ in range(PAIRS):
        without_s = await traffic.p99_s()
        # Its watcher ends when a redrive is paused, so each window has a runner of its own.
        await watch.resume()
        async with _runner(watch.name, home, url):
            await watch.moved_more_than((await watch.moved_more_than(-1)).moved + 200)
            found.append(await traffic.p99_s() / without_s)
            await watch.pause()
    return found


@pytest.mark.req("QUEUE-9", "HARDEN-3")
async def test_a_hundred_thousand_letters_move_at_their_rate_beside_live_work(
    database: Database, database_url: str, backend: PgmqBackend, tmp_path: Path
) -> None:
    made = await _fill(backend)
    tasks = RedriveTasks(database, backend)
    began = time.monotonic()
    plan = await tasks.plan(QUEUE, DeadLetterFilter())
    assert (plan.moving, plan.refused, plan.quarantined) == (made["transient"], made["permanent"], made["altered"])
    assert time.monotonic() - began < 30
    traffic = Traffic(backend)
    work = [asyncio.create_task(traffic.produce()), *(asyncio.create_task(traffic.consume()) for _ in range(2))]
    task = await tasks.create(QUEUE, DeadLetterFilter(), rate_per_s=RATE_PER_S)
    watch = Watch(tasks, task.redrive_id)
    for _ in range(2):
        await _killed(watch, tmp_path, database_url)
    await watch.pause()
    ratios = await _compare(watch, traffic, tmp_path, database_url)
    await watch.resume()
    async with _runner(watch.name, tmp_path, database_url) as program:
        rate = await watch.rate_per_s()
        assert await program.ended() == 0
    task = await tasks.get(task.redrive_id)

    async def all_done() -> bool:
        return traffic.redriven.total() == made["transient"] or any(one.done() for one in work)

    await until(all_done)
    for one in work:
        one.cancel()
    assert [one for one in await asyncio.gather(*work, return_exceptions=True) if isinstance(one, Exception)] == []
    assert task.state is RedriveState.DONE
    assert (task.total, task.handled, task.gone) == (LETTERS, LETTERS, 0)
    assert (task.moved, task.refused, task.quarantined) == (made["transient"], made["permanent"], made["altered"])
    assert set(traffic.redriven.values()) == {1}
    assert all(name.startswith("transient-") for name in traffic.redriven)
    assert (await backend.summarize_dead(QUEUE, DeadLetterFilter())).by_code == {"SchemaValidation": made["permanent"]}
    assert rate == pytest.approx(RATE_PER_S, rel=0.05)
    assert min(ratios) <= 1.5, ratios
