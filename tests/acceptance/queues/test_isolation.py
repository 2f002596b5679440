"""A queue whose handler hangs and one whose provider is out stand beside healthy ones, which do not notice.

Two workers take turns: one serves healthy queues only, the other has the two bad ones as well. What shares a few
seconds shares the machine's mood, so the pairs are compared, and their median counts.
"""

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from acceptance.queues import mixed
from acceptance.queues.mixed import BUSY, CALM, DOWN, HUNG, Job, Tally
from fluxa.apps.engines import open_queues
from fluxa.apps.settings import Settings
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.lifecycle import Lifetime
from fluxa.postgres.listen import Notifier
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter, QueueBackend
from fluxa.queue.producer import Producer
from making.stack import Program, running, until

_BATCH = 200
_AHEAD = 2_000
_RATE_S, _SAMPLES, _PACE_S = 1.5, 80, 0.012
_PAIRS_MIN, _PAIRS_MAX = 5, 14
_WITHIN = 0.10
_HUNG_JOBS, _DOWN_JOBS = 100, 300


@dataclass
class Stage:
    """What runs."""

    folder: Path
    backend: QueueBackend
    producer: Producer
    workers: dict[str, Program]

    async def rate(self, queues: Sequence[str]) -> float:
        """Jobs handled a second while the producer keeps these queues full."""
        tallies = [Tally(self.folder / queue) for queue in queues]
        base = [tally.count for tally in tallies]
        sent = [0] * len(queues)
        begin = time.monotonic()
        while (now := time.monotonic()) < begin + _RATE_S:
            for place, queue in enumerate(queues):
                if sent[place] - (tallies[place].count - base[place]) <= _AHEAD - _BATCH:
                    await self.producer.send(queue, [Job()] * _BATCH)
                    sent[place] += _BATCH
            await asyncio.sleep(0.001)
        handled = sum(tally.count for tally in tallies) - sum(base)
        await until(lambda: all(tally.count - at >= out for tally, at, out in zip(tallies, base, sent, strict=True)))
        return handled / (now - begin)

    async def latency_ms(self, queues: Sequence[str]) -> float:
        """The median way of a job from the call that sends it to its handler, one at a time."""
        queue = queues[0]
        before = len(mixed.latencies_ms(self.folder, queue))
        for _ in range(_SAMPLES):
            await self.producer.send(queue, [Job(time.monotonic_ns())])
            await asyncio.sleep(_PACE_S)
        await until(lambda: len(mixed.latencies_ms(self.folder, queue)) >= before + _SAMPLES)
        return statistics.median(mixed.latencies_ms(self.folder, queue)[before:])

    def calls(self, queue: str) -> int:
        """How often its handler was called."""
        return Tally(self.folder / queue).count


@contextlib.asynccontextmanager
async def _stage(folder: Path, database: Database) -> AsyncIterator[Stage]:
    notifier = Notifier(database)
    settings = {
        "FLUXA_DATABASE_URL": database.config.url,
        "FLUXA_WORKER_PORT": "0",
        "FLUXA_SHUTDOWN_TIMEOUT_S": "2",
        "PYTHONPATH": os.pathsep.join(sys.path),
        mixed.FOLDER: str(folder),
    }
    async with contextlib.AsyncExitStack() as stack:
        life = Lifetime()
        stack.push_async_callback(life.stop)
        backend = await open_queues(life, Settings(), database, notifier=notifier, registry=mixed.app.registry)
        for queue in (*CALM, *BUSY, HUNG, DOWN):
            await backend.create(queue)
        workers = {}
        for name, queues in (("alone", CALM), ("beside", (*BUSY, HUNG, DOWN))):
            arguments = ("worker", "--app", "acceptance.queues.mixed:app", "--queues", ",".join(queues))
            workers[name] = await stack.enter_async_context(running(*arguments, home=folder / name, **settings))
            await workers[name].line(lambda line: '"event": "ready"' in line)
        yield Stage(folder, backend, Producer(backend, mixed.app.registry, SystemClock()), workers)
        await notifier.stop()


@pytest.mark.req("QUEUE-5", "QUEUE-6")
async def test_bad_queues_do_not_slow_down_the_good_ones_nor_burn_attempts(tmp_path: Path, database: Database) -> None:
    async with _stage(tmp_path, database) as stage:
        for queues in (CALM, BUSY):  # both are warm before anything is bad
            await stage.rate(queues)
        await stage.producer.send(HUNG, [Job()] * _HUNG_JOBS)
        await stage.producer.send(DOWN, [Job()] * _DOWN_JOBS)
        concurrency = mixed.app.registry.get(HUNG).concurrency
        await until(lambda: stage.calls(HUNG) == concurrency and stage.calls(DOWN) >= mixed.DOWN_FAILURES)
        began_s = time.monotonic()
        await _compare(stage)
        assert stage.calls(HUNG) == concurrency
        await _attempts_were_kept(stage, time.monotonic() - began_s)
        await _provider_comes_back(stage)


async def _compare(stage: Stage) -> None:
    """Pairs of windows until their medians are close enough, or there were so many that they never will be."""
    rates: list[float] = []
    delays: list[float] = []
    for number in range(_PAIRS_MAX):
        first, second = (CALM, BUSY) if number % 2 else (BUSY, CALM)
        rate = {queues: await stage.rate(queues) for queues in (first, second)}
        delay_ms = {queues: await stage.latency_ms(queues) for queues in (second, first)}
        rates.append(rate[BUSY] / rate[CALM])
        delays.append(delay_ms[BUSY] / delay_ms[CALM])
        sys.stdout.write(
            f"{rate[CALM]:.0f} and {rate[BUSY]:.0f} jobs/s, {delay_ms[CALM]:.2f} and {delay_ms[BUSY]:.2f} ms\n"
        )
        if number + 1 >= _PAIRS_MIN and _is_close(rates, delays):
            return
    pytest.fail(f"rates {statistics.median(rates):.2f}, latencies {statistics.median(delays):.2f} of those alone")


def _is_close(rates: Sequence[float], delays: Sequence[float]) -> bool:
    return statistics.median(rates) >= 1 - _WITHIN and statistics.median(delays) <= 1 + _WITHIN


async def _attempts_were_kept(stage: Stage, elapsed_s: float) -> None:
    """While the breaker is open only its probes are attempts: nothing is parked, and nearly nothing was tried."""
    policy = mixed.app.registry.get(DOWN).breaker
    rests = elapsed_s / (0.9 * policy.rest_s) + 1
    calls = stage.calls(DOWN)
    sys.stdout.write(f"{calls} calls of the queue that is down in {elapsed_s:.0f} s\n")
    assert calls <= policy.failures + mixed.app.registry.get(DOWN).concurrency + policy.probes * rests
    assert not await stage.backend.dead_letters(DOWN, DeadLetterFilter(), limit=10)
    assert (await stage.backend.metrics(DOWN)).depth == _DOWN_JOBS


async def _provider_comes_back(stage: Stage) -> None:
    """A probe finds out, and the queue is worked off: every job was called once, and once more for each failure."""
    failed = stage.calls(DOWN)
    (stage.folder / mixed.PROVIDER_IS_BACK).touch()
    await until(lambda: _is_empty(stage, DOWN))
    assert failed + _DOWN_JOBS <= stage.calls(DOWN) <= failed + _DOWN_JOBS + 1
    assert not await stage.backend.dead_letters(DOWN, DeadLetterFilter(), limit=10)


async def _is_empty(stage: Stage, queue: str) -> bool:
    return (await stage.backend.metrics(queue)).depth == 0
