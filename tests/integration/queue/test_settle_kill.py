"""A worker is killed before each statement of settling: afterwards every record is in exactly one place (QUEUE-3)."""

import asyncio
import os
import signal
import sys
from collections import Counter

import pytest

from fluxa.kernel.clock import SystemClock
from fluxa.postgres.pool import Database
from fluxa.queue.backend import DeadLetterFilter
from fluxa.queue.backends.pgmq import PgmqBackend
from making import settling

# One statement without a transaction, two in one of the backend's own, two in the caller's; each with its commit.
_STATEMENTS = {"one queue": 1, "two queues": 5, "caller": 5}


async def _settle(url: str, way: str, kill_at: int) -> int:
    """Run the program; the number of statements it sent. It must die if and only if it was told to."""
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        settling.__file__,
        url,
        way,
        str(kill_at),
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await program.communicate()
    assert program.returncode == (-signal.SIGKILL if kill_at else 0)
    return int(output or 0)


async def _places(database: Database, backend: PgmqBackend) -> Counter[tuple[str, str]]:
    """Where each record is: its name and its place."""
    found: Counter[tuple[str, str]] = Counter()
    for queue in settling.QUEUES:
        await database.execute(f"update pgmq.q_{queue} set vt = now() - interval '1 s'")  # noqa: S608 - a constant
        for delivery in await backend.claim(queue, limit=100, lease_s=30):
            found.update((record.id, "queue") for record in delivery.records)
        letters = await backend.dead_letters(queue, DeadLetterFilter(), limit=100)
        found.update((letter.record.id, "dead") for letter in letters)
    return found


def _expected(settled: bool, queues: tuple[str, ...]) -> Counter[tuple[str, str]]:  # noqa: FBT001 - the one question
    expected: Counter[tuple[str, str]] = Counter()
    for name in settling.names():
        queue, _, ending = name.split("-")
        if not settled or queue not in queues:
            expected[name, "queue"] += 1
        elif ending != "done":
            expected[name, "dead" if ending == "dead" else "queue"] += 1
    return expected


@pytest.mark.req("QUEUE-3", "QUEUE-8")
@pytest.mark.parametrize("way", list(_STATEMENTS))
async def test_settling_happens_whole_or_not_at_all(database: Database, database_url: str, way: str) -> None:
    queues = settling.QUEUES[:1] if way == "one queue" else settling.QUEUES
    last = _STATEMENTS[way]
    for kill_at in [*range(1, last + 1), 0]:
        await database.execute("drop table if exists pgmq.q_first, pgmq.q_second, pgmq.q_first_dlq, pgmq.q_second_dlq")
        # The tables are made anew, so the one who looks has to know nothing of the old ones.
        backend = PgmqBackend(database, listener=None, notifier=None, clock=SystemClock())
        await settling.fill(backend)
        sent = await _settle(database_url, way, kill_at)
        # The last probe of a transaction comes after its commit.
        settled = not kill_at or (way != "one queue" and kill_at == last)
        assert await _places(database, backend) == _expected(settled, queues)
        if not kill_at:
            assert sent == last, "settling sends another number of statements: kill at each of them"
