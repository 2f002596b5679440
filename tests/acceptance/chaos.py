"""A stack of separate processes on one home, and who kills them: ingest, two processors, Postgres, connections."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from fluxa.apps.serving.server import bind, url_of
from fluxa.apps.settings import Settings, environment_of
from fluxa.apps.stack.supervisor import ChildPlan, RestartPolicy, Supervisor
from fluxa.auth.keys.api_keys import ApiKeys
from fluxa.auth.roles import Role
from fluxa.kernel.clock import SystemClock
from fluxa.postgres import migrate
from fluxa.postgres.embedded import EmbeddedPostgres
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.telemetry.catalogue import silent

_CUT = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'fluxa%'"
_WEIGHTS = {"ingest": 3, "processor-1": 3, "processor-2": 3, "postgres": 2, "connections": 2}


@dataclass
class Stack:
    """What runs.

    Attributes:
        home: its folder.
        url: of ingest.
        api_key: opens it.
        server: the embedded Postgres, of which this process is a user like the others.
        database: a pool of the test's own.
        supervisor: keeps the children running.
        lines: the last lines they wrote.
    """

    home: Path
    url: str
    api_key: str
    server: EmbeddedPostgres
    database: Database
    supervisor: Supervisor
    lines: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def running_stack(home: Path) -> AsyncIterator[Stack]:
    """Postgres, ingest and two processors, each its own process; leases of three seconds."""
    lines: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        server = EmbeddedPostgres(home, settings={"shared_buffers": "128MB"})
        await server.start()
        stack.push_async_callback(server.force_stop)
        database = Database(PoolConfig(url=server.url, application="test"))
        await database.start()
        stack.push_async_callback(database.stop)
        await migrate.migrate(database)
        key = await ApiKeys(database).create("default", "ledger", role=Role.ADMIN)
        settings = Settings(home=str(home), ingest_port=0, processor_port=0, lease_s=3.0, log_level="warning")
        environment = {**environment_of(settings), "PYTHONPATH": os.pathsep.join(sys.path)}
        plans = []
        for name in ("processor-1", "processor-2", "ingest"):
            listen = bind("127.0.0.1", 0, setting="ingest_port")
            listen.listen(256)
            stack.callback(listen.close)
            command = (sys.executable, "-m", "fluxa", name.partition("-")[0])
            plans.append(ChildPlan(name, command, environment, listen))
        supervisor = Supervisor(
            plans,
            hook=silent,
            clock=SystemClock(),
            on_line=lambda name, line: lines.append(f"{name}: {line}"),
            policy=RestartPolicy(base_s=0.1, cap_s=0.5),
        )
        ingest = plans[-1].listen
        assert ingest is not None
        url = url_of(ingest)
        stack.push_async_callback(supervisor.stop)
        await supervisor.start()
        yield Stack(home, url, key.token, server, database, supervisor, lines)


class Killer:
    """Kills at random moments, by a seed."""

    def __init__(self, stack: Stack, *, chance: random.Random, kills: int, pause_s: tuple[float, float]) -> None:
        self._stack = stack
        self._chance = chance
        self._wanted = kills
        self._pause_s = pause_s
        self.done: Counter[str] = Counter()

    @property
    def kills(self) -> int:
        """Processes killed so far; cut connections are not counted."""
        return self.done.total() - self.done["connections"]

    @property
    def finished(self) -> bool:
        """Whether it killed as often as it was to."""
        return self.kills >= self._wanted

    async def run(self) -> None:
        """Kill until it was enough."""
        names, weights = list(_WEIGHTS), list(_WEIGHTS.values())
        while not self.finished:
            await asyncio.sleep(self._chance.uniform(*self._pause_s))
            victim = self._chance.choices(names, weights)[0]
            if await self._strike(victim):
                self.done[victim] += 1

    async def _strike(self, victim: str) -> bool:
        """Whether there was something to strike."""
        if victim == "connections":
            try:
                return bool(await self._stack.database.fetch(_CUT))
            except Exception:  # noqa: BLE001 - Postgres is down already
                return False
        pid = self._stack.server.status().pid if victim == "postgres" else self._stack.supervisor.pids.get(victim)
        if pid is None or not psutil.pid_exists(pid):
            return False
        os.kill(pid, signal.SIGKILL)
        return True


async def drained(stack: Stack, *, timeout_s: float) -> None:
    """Wait until the queue is empty.

    Raises:
        TimeoutError: with what is left.
    """
    left: object = "unknown"
    try:
        async with asyncio.timeout(timeout_s):
            while left != 0:
                with contextlib.suppress(Exception):  # Postgres may still be recovering
                    left = await stack.database.fetch_value("select count(*) from pgmq.q_events")
                await asyncio.sleep(0.1)
    except TimeoutError:
        last = "\n".join(stack.lines[-20:])
        raise TimeoutError(f"{left} messages are left in the queue; the processes said last:\n{last}") from None
