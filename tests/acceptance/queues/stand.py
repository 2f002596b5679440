"""Two workers and their Postgres as processes of their own, and who does them harm, by a seed."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from acceptance.queues import jobs, skewed
from acceptance.queues.verdict import Fault
from fluxa.apps.settings import Settings, environment_of
from fluxa.apps.stack.supervisor import ChildPlan, RestartPolicy, Supervisor
from fluxa.kernel.clock import SystemClock
from fluxa.kernel.lifecycle import Lifetime
from fluxa.postgres import migrate
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.telemetry.catalogue import silent

_CUT = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'fluxa%'"
_EFFECTS = "create table public.chaos_effects (job text not null, worker int not null)"
_ORDERS = "create table public.chaos_orders (job text not null)"
_PROGRAM = Path(skewed.__file__)
_SKEW_S = (-40.0, 40.0)
WORKERS = ("worker-1", "worker-2")


@dataclass
class Stand:
    """What runs.

    Attributes:
        folder: of accounts and clocks.
        server: the embedded Postgres, of which this process is a user like the workers.
        database: the test's own pool, which is cut like the others.
        life: ends what the test opened.
        settings: what the workers see.
        supervisor: starts workers again.
        lines: what they wrote.
        made: the faults so far.
    """

    folder: Path
    server: EmbeddedPostgres
    database: Database
    life: Lifetime
    settings: Settings
    supervisor: Supervisor
    lines: list[str] = field(default_factory=list)
    made: list[Fault] = field(default_factory=list)

    async def answers(self) -> None:
        """Wait until Postgres does."""
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(Exception):  # that it fails for a while is what is waited out
                    await self.database.fetch_value("select 1")
                    return
                await asyncio.sleep(0.05)

    async def tasks(self) -> list[str]:
        """What the workers said last, and what each of their tasks waits for."""
        said = self.lines[-20:]
        before = len(self.lines)
        for pid in self.supervisor.pids.values():
            os.kill(pid, signal.SIGUSR2)
        await asyncio.sleep(2.0)
        return [*said, *self.lines[before:]]


@contextlib.asynccontextmanager
async def running(folder: Path, settings: Settings) -> AsyncIterator[Stand]:
    """Postgres and two workers with clocks that can be stepped; the second one begins an hour ahead."""
    lines: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        server = EmbeddedPostgres(settings.home_folder, settings={"shared_buffers": "128MB"})
        await server.start()
        stack.push_async_callback(server.force_stop)
        database = Database(PoolConfig(url=server.url, application="fluxa-test"))
        await database.start()
        stack.push_async_callback(database.stop)
        await migrate.migrate(database)
        for statement in (_EFFECTS, _ORDERS):
            await database.execute(statement)
        life = Lifetime()
        stack.push_async_callback(life.stop)
        plans = [_plan(name, number * 3600.0, folder, settings) for number, name in enumerate(WORKERS)]
        supervisor = Supervisor(
            plans,
            hook=silent,
            clock=SystemClock(),
            on_line=lambda name, line: lines.append(f"{name}: {line}"),
            policy=RestartPolicy(base_s=0.1, cap_s=0.5),
        )
        stack.push_async_callback(supervisor.stop)
        await supervisor.start()
        yield Stand(folder, server, database, life, settings, supervisor, lines)


def _plan(name: str, skew_s: float, folder: Path, settings: Settings) -> ChildPlan:
    clock = folder / f"{name}.clock"
    skewed.step(clock, skew_s)
    environment = {
        **environment_of(settings),
        "PYTHONPATH": os.pathsep.join(sys.path),
        skewed.VARIABLE: str(clock),
        jobs.FOLDER: str(folder),
    }
    queues = ",".join(jobs.QUEUES)
    command = (sys.executable, str(_PROGRAM), "worker", "--app", "acceptance.queues.jobs:app", "--queues", queues)
    return ChildPlan(name, command, environment)


Strike = Callable[[], Awaitable[Fault | None]]
"""Does harm; what it was, or None if there was nothing to harm."""


class Harm:
    """Strikes at random moments, by a seed."""

    def __init__(self, stand: Stand, chance: random.Random, *, strikes: int, pause_s: tuple[float, float]) -> None:
        self._stand = stand
        self._chance = chance
        self._wanted = strikes
        self._pause_s = pause_s
        self.kinds: dict[str, tuple[int, Strike]] = {
            "worker": (4, self._kill_worker),
            "postgres": (2, self._kill_postgres),
            "connections": (3, self._cut),
            "clock": (2, self._step),
        }
        """What can be done, and how often against the others."""
        self.done: Counter[str] = Counter()

    @property
    def finished(self) -> bool:
        """Whether it was enough, and every kind had its turn."""
        return self.done.total() >= self._wanted and self.done.keys() >= self.kinds.keys()

    async def run(self) -> None:
        """Strike until it was enough; at the end, kinds that had no turn yet."""
        while not self.finished:
            await asyncio.sleep(self._chance.uniform(*self._pause_s))
            names = list(self.kinds)
            if self.done.total() >= self._wanted:
                names = [name for name in names if name not in self.done]
            weights = [self.kinds[name][0] for name in names]
            name = self._chance.choices(names, weights)[0]
            if fault := await self.kinds[name][1]():
                self._stand.made.append(fault)
                self.done[name] += 1

    async def _kill_worker(self) -> Fault | None:
        pid = self._stand.supervisor.pids.get(self._chance.choice(WORKERS))
        if pid is None or not psutil.pid_exists(pid):
            return None
        began_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return Fault("worker", began_s, began_s, pid)

    async def _kill_postgres(self) -> Fault | None:
        pid = self._stand.server.status().pid
        if pid is None or not psutil.pid_exists(pid):
            return None
        began_s = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        await self._stand.answers()
        return Fault("postgres", began_s, time.monotonic() + jobs.LEASE_S)

    async def _cut(self) -> Fault | None:
        began_s = time.monotonic()
        # The statement ends its own connection too, among others.
        with contextlib.suppress(Exception):
            await self._stand.database.fetch(_CUT)
        await self._stand.answers()
        # As with a Postgres that was killed: a lease whose renewal was cut off ends later, and is found out then.
        return Fault("connections", began_s, time.monotonic() + jobs.LEASE_S)

    async def _step(self) -> Fault | None:
        """Nothing may follow from it: it explains no repeated delivery."""
        name = self._chance.choice(WORKERS)
        skewed.step(self._stand.folder / f"{name}.clock", self._chance.uniform(*_SKEW_S))
        return Fault("clock", 0.0, 0.0, -1)
