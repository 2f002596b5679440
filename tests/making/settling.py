"""A program that settles once and kills itself before a chosen statement: `settling.py URL WAY STATEMENT`."""

import asyncio
import datetime as dt
import os
import signal
import sys

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database, PoolConfig
from fluxa.queue.backend import Envelope, Settlement
from fluxa.queue.backends.pgmq import PgmqBackend
from fluxa.queue.outcome import DONE, Dead, Retry, Snooze
from fluxa.queue.record import Record

QUEUES = ("first", "second")
ENDINGS = ("done", "retry", "dead", "snooze")


def names() -> list[str]:
    """Every record that was sent."""
    return [f"{queue}-{number}-{ending}" for queue in QUEUES for number in range(3) for ending in ENDINGS]


async def fill(backend: PgmqBackend) -> None:
    """Send three envelopes of four records to each of two queues."""
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for queue in QUEUES:
        await backend.create(queue)
        await backend.send(
            queue,
            [
                Envelope(tuple(Record(id=f"{queue}-{n}-{end}", body=b"{}", created_at=now) for end in ENDINGS))
                for n in range(3)
            ],
        )


async def settle_once(url: str, way: str, kill_at: int) -> int:
    """Claim all, settle all; die before statement number `kill_at` of the settling (0: live). Returns how many."""
    sent = 0
    armed = False

    def probe(_statement: str) -> None:
        nonlocal sent
        if not armed:
            return
        sent += 1
        if sent == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    database = Database(PoolConfig(url=url), probe=probe)
    await database.start()
    backend = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
    claimed = [delivery for queue in QUEUES for delivery in await backend.claim(queue, limit=9, lease_s=30)]
    now = SystemClock().now()
    outcomes = (DONE, Retry(now, "HandlerError", "x"), Dead("PayloadMissing", "x"), Snooze(now))
    settlements = [Settlement(delivery, outcomes) for delivery in claimed]
    armed = True
    if way == "caller":
        async with database.transaction() as tx:
            await backend.settle(settlements, tx=tx)
    else:
        await backend.settle([one for one in settlements if way == "two queues" or one.delivery.queue == QUEUES[0]])
    armed = False
    await database.stop()
    return sent


if __name__ == "__main__":
    sys.stdout.write(str(asyncio.run(settle_once(sys.argv[1], sys.argv[2], int(sys.argv[3])))))
