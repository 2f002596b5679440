"""A process that runs what is due and ends; with a number it kills itself before its n-th statement.

Usage: `python cron_worker.py URL NAME [N]`. It waits for a line on standard input first, so that several begin at once.
"""

import asyncio
import os
import signal
import sys

from fluxa.kernel.clock import SystemClock
from fluxa.operations.cron.runner import CronRunner
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backends.pgmq.backend import PgmqBackend
from fluxa.queue.registry import built_in
from fluxa.telemetry.catalogue import silent


class Countdown:
    """Counts statements from the first transaction of a run on."""

    def __init__(self, fatal: int) -> None:
        self.fatal = fatal
        self.count = 0
        self.armed = False

    def observe(self, statement: str) -> None:
        """A `StatementProbe`."""
        self.armed = self.armed or "idle_in_transaction" in statement
        if not self.armed:
            return
        self.count += 1
        if self.count == self.fatal:
            sys.stdout.write(statement)
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)


async def work(url: str, name: str, fatal: int) -> None:
    """Run everything that is due."""
    countdown = Countdown(fatal)
    database = Database(PoolConfig(url=url, size_max=2), probe=countdown.observe)
    await database.start()
    clock = SystemClock()
    backend = PgmqBackend(database, listener=None, notifier=None, clock=clock)
    runner = CronRunner(database, backend, built_in(), clock=clock, hook=silent, worker=name)
    await database.check()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    while await runner.run_due():
        pass
    await database.stop()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0))
